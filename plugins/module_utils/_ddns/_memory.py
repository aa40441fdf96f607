# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What survives between two runs: what this host published, what was there before, and when the next try may be made.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .._state import StateDir
from ._driver import RecordSet

FILE = "ddns.json"
_FORMAT = 1

#: Seconds to the second try and at most between two tries; the wait doubles.
FIRST_WAIT, LONGEST_WAIT = 60, 3600


@dataclass
class Memory:
    """The content of the state file.

    Attributes:
        name: what was published, in full.
        settings: where and by which key, without the secret: enough to take it back.
        made_directory: this file's directory did not exist before, so it goes with it.
        published: by type, what this host put there.
        intended: by type, what it was about to put there when it was last heard of; written before the update is sent.
        originals: by type, what was there before this host came; only where it was taken over.
        lagging: not every authority had the records yet.
        candidate: by type, an address that was seen once and waits for its confirmation.
        stop: why nothing is tried, and for which configuration that holds.
        failures, not_before: how often it failed in a row, and when (seconds since 1970) the next try may be made.
        last: the last outcome.
    """

    name: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    made_directory: bool = False
    published: dict[str, RecordSet] = field(default_factory=dict)
    intended: dict[str, RecordSet] = field(default_factory=dict)
    originals: dict[str, RecordSet] = field(default_factory=dict)
    lagging: bool = False
    candidate: dict[str, str] = field(default_factory=dict)
    stop: dict[str, str] | None = None
    failures: int = 0
    not_before: float = 0.0
    last: dict[str, Any] | None = None

    @property
    def owned(self) -> list[str]:
        """The types that this host published, or was about to."""
        return list(dict.fromkeys((*self.published, *self.intended)))

    def ours(self, rtype: str, found: RecordSet) -> bool:
        """Return whether these records are what this host put there."""
        mine = [record_set.values for record_set in (self.published.get(rtype), self.intended.get(rtype)) if record_set is not None]
        return bool(found.values) and found.values in mine

    def failed(self, now: float) -> None:
        """Count a failure; the next try comes later than the one before did."""
        self.failures += 1
        self.not_before = now + min(FIRST_WAIT * 2 ** min(self.failures - 1, 10), LONGEST_WAIT)

    def worked(self) -> None:
        """Forget the failures."""
        self.failures, self.not_before, self.stop = 0, 0.0, None

    @classmethod
    def load(cls, state: StateDir) -> Memory:
        """Read the state file; an absent one is an empty memory."""
        data = state.read(FILE) or {}
        known = {entry.name for entry in dataclasses.fields(cls)}
        memory = cls(**{key: value for key, value in data.items() if key in known})
        for key in ("published", "intended", "originals"):
            setattr(memory, key, {rtype: RecordSet(tuple(item["values"]), item["ttl"]) for rtype, item in data.get(key, {}).items()})
        return memory

    def save(self, state: StateDir) -> None:
        """Write the state file, if its content changed."""
        data: dict[str, Any] = {"format": _FORMAT, **dataclasses.asdict(self)}
        for key in ("published", "intended", "originals"):
            data[key] = {rtype: {"values": list(item.values), "ttl": item.ttl} for rtype, item in getattr(self, key).items()}
        if state.read(FILE) != data:
            state.write(FILE, data)
