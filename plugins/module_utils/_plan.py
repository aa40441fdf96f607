# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What shall change, as data: computed once, then printed (check mode), rendered (diff) or executed.

Private to this collection: no compatibility is promised to code outside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: The three things that can happen to an object.
CREATE = "create"
UPDATE = "update"
REMOVE = "remove"

#: What stands in a diff where a secret would.
HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


@dataclass(frozen=True)
class Change:
    """One object that will not be as it was.

    Attributes:
        action: C(create), C(update) or C(remove).
        kind: what sort of object, for example C(port_mapping) or C(nft_rule).
        name: how people know it; unique within its kind.
        before: JSON-serialisable description of what is there, None if nothing is.
        after: the same for what will be there, None if nothing will.
        reason: why, for people; may be empty.
    """

    action: str
    kind: str
    name: str
    before: Any = None
    after: Any = None
    reason: str = ""

    def __post_init__(self) -> None:
        expected = {CREATE: (True, False), UPDATE: (False, False), REMOVE: (False, True)}
        if self.action not in expected:
            raise ValueError(f"unknown action {self.action!r}")
        if (self.before is None, self.after is None) != expected[self.action]:
            raise ValueError(f"{self.action} of {self.kind} {self.name!r} does not fit before={self.before!r} after={self.after!r}")

    def as_data(self) -> dict[str, Any]:
        """Return the change as a plain mapping."""
        return {
            "action": self.action,
            "kind": self.kind,
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "reason": self.reason,
        }


@dataclass
class Plan:
    """An ordered list of changes; the order is the order of execution."""

    changes: list[Change] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether executing the plan would change anything."""
        return bool(self.changes)

    def add(self, change: Change | None) -> None:
        """Append a change; None is ignored, so that a comparison can be passed directly."""
        if change is not None:
            self.changes.append(change)

    def as_data(self) -> list[dict[str, Any]]:
        """Return the changes as plain mappings, in order."""
        return [change.as_data() for change in self.changes]

    def diff(self) -> dict[str, str]:
        """Return the plan in the shape of Ansible's diff: one block of text before, one after."""
        return {
            "before": "".join(_render(change, change.before) for change in self.changes),
            "after": "".join(_render(change, change.after) for change in self.changes),
        }


def compare(kind: str, name: str, before: Any, after: Any, reason: str = "") -> Change | None:
    """Return the change that leads from before to after, or None if they are equal."""
    if before == after:
        return None
    if before is None:
        return Change(CREATE, kind, name, before, after, reason)
    if after is None:
        return Change(REMOVE, kind, name, before, after, reason)
    return Change(UPDATE, kind, name, before, after, reason)


def compare_all(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Plan:
    """Compare two mappings of name to description: removals first, then the rest in the order asked for."""
    plan = Plan()
    for name in before:
        if name not in after:
            plan.add(compare(kind, name, before[name], None))
    for name, wanted in after.items():
        plan.add(compare(kind, name, before.get(name), wanted))
    return plan


def _render(change: Change, state: Any) -> str:
    if state is None:
        return ""
    text = state if isinstance(state, str) else json.dumps(state, indent=2, sort_keys=True, ensure_ascii=False)
    lines = [f"{change.kind} {change.name}"]
    lines.extend("  " + line for line in text.splitlines())
    return "\n".join(lines) + "\n"


def added_removed(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what stands in after only and what stands in before only, each in its own order."""
    return [line for line in after if line not in before], [line for line in before if line not in after]
