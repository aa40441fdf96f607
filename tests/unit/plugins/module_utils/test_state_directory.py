# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir, StateError
from ansible_collections.homeserver.hardening.plugins.module_utils._state_directory import apply, leftovers, make_plan


def run(path: Path, present: bool) -> int:
    plan = make_plan(str(path), present)
    apply(plan, StateDir(str(path)), os.geteuid())
    return len(plan.changes)


def test_the_four_calls_and_back(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert make_plan(str(path), True).changed
    assert not path.exists()
    assert (run(path, True), run(path, True), path.stat().st_mode & 0o7777) == (1, 0, 0o700)
    path.chmod(0o755)
    assert (run(path, True), path.stat().st_mode & 0o7777) == (1, 0o700)
    assert (run(path, False), run(path, False), path.exists()) == (1, 0, False)


def test_what_is_needed_to_take_something_back_keeps_it(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "state"))
    state.write("ddns.json", {})
    with state.lock():
        pass
    assert leftovers(state.path) == ["ddns.json"]
    assert run(Path(state.path), False) == 0
    state.remove("ddns.json")
    # The lock file alone is no reason.
    assert run(Path(state.path), False) == 1


def test_something_else_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(StateError, match="not a directory"):
            make_plan(str(tmp_path / name), True)
