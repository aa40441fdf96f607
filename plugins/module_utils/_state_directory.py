# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the state directory, or remove it once nothing is left in it.

Private to this collection.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from ._plan import Plan, compare
from ._state import StateDir, StateError

_MODE = 0o700
_LOCK = "lock"


def describe(path: str) -> dict[str, Any] | None:
    """Return owner and mode of a directory, None if there is nothing."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        raise StateError(f"{path} is not a directory; move it away, or name another state directory")
    return {"owner": found.st_uid, "mode": f"{stat.S_IMODE(found.st_mode):04o}"}


def leftovers(path: str) -> list[str]:
    """Return what keeps the directory from being removed."""
    try:
        return sorted(set(os.listdir(path)) - {_LOCK})
    except FileNotFoundError:
        return []


def make_plan(path: str, present: bool, owner: int | None = None) -> Plan:
    """Return what leads to the directory, or to its absence if nothing is left in it."""
    before = describe(path)
    plan = Plan()
    if present:
        plan.add(compare("directory", path, before, {"owner": os.geteuid() if owner is None else owner, "mode": f"{_MODE:04o}"}))
    elif before is not None and not leftovers(path):
        plan.add(compare("directory", path, before, None))
    return plan


def apply(plan: Plan, state: StateDir, owner: int) -> None:
    """Execute a plan."""
    for change in plan.changes:
        if change.after is None:
            state.remove_if_empty()
            continue
        os.makedirs(state.path, mode=_MODE, exist_ok=True)
        os.chown(state.path, owner, -1)
        os.chmod(state.path, _MODE)
