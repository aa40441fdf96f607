# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run ended: one word, one exit status, one explanation.

Private to this collection. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._plan import Plan

OK = "ok"
UNCHANGED = "unchanged"
NO_ADDRESS = "no_address"
NOT_PUBLIC = "not_public"
CONFIG = "config"
RETRY = "retry"
STOP = "stop"
UNKNOWN = "unknown"
FOREIGN = "foreign"
LAGGING = "lagging"
BUSY = "busy"

#: The exit status of C(homeserver-agent ddns), by result. docs/ddns.md explains each.
EXIT_STATUS = {
    OK: 0,
    UNCHANGED: 0,
    NO_ADDRESS: 10,
    NOT_PUBLIC: 11,
    CONFIG: 12,
    RETRY: 20,
    STOP: 21,
    UNKNOWN: 22,
    FOREIGN: 23,
    LAGGING: 30,
    BUSY: 75,
}


class DdnsError(Exception):
    """A run cannot go on.

    Attributes:
        result: one of the words above.
    """

    def __init__(self, result: str, text: str) -> None:
        super().__init__(text)
        self.result = result


@dataclass
class Outcome:
    """What a run found and did.

    Attributes:
        result: one of the words above.
        message: the explanation, for people.
        changed: whether a record was changed, or would be in check mode.
        plan: the changes.
        name: the name that it is about, in full.
        before: the addresses by type that the authority had.
        after: those that it has now, or would have.
        authorities: what each authority said afterwards.
        left: records that were left alone because this host did not publish them.
        second_writers: other programs on this host that update the same name.
        ttl_before: the longest TTL of the records that were replaced, None if there were none.
    """

    result: str
    message: str
    changed: bool = False
    plan: Plan = field(default_factory=Plan)
    name: str = ""
    before: dict[str, list[str]] = field(default_factory=dict)
    after: dict[str, list[str]] = field(default_factory=dict)
    authorities: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)
    second_writers: list[dict[str, str]] = field(default_factory=list)
    ttl_before: int | None = None

    @property
    def exit_status(self) -> int:
        """The exit status that tells the same."""
        return EXIT_STATUS[self.result]

    @property
    def good(self) -> bool:
        """Whether everything is as it shall be."""
        return self.exit_status == 0

    def as_data(self) -> dict[str, Any]:
        """Return the outcome as a plain mapping."""
        return {
            "result": self.result,
            "exit_status": self.exit_status,
            "message": self.message,
            "record_changed": self.changed,
            "plan": self.plan.as_data(),
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "authorities": self.authorities,
            "left": self.left,
            "second_writers": self.second_writers,
            "ttl_before": self.ttl_before,
        }
