# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What survives between two runs: what this host published, what was there before, and when the next try may be made.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
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
        failures, not_before, waiting_since: how often it failed in a row, when (seconds since 1970) the next try may be made, and when that was said.
        sent: by type, the last update that a provider accepted over HTTPS: its values, when, how often in a row, and for which account.
        last: the last outcome.
        intended_at: when the last update was about to be sent.
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
    waiting_since: float = 0.0
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    last: dict[str, Any] | None = None
    intended_at: float = 0.0

    @property
    def owned(self) -> list[str]:
        """The types that this host published, or was about to."""
        return list(dict.fromkeys((*self.published, *self.intended)))

    def ours(self, rtype: str, found: RecordSet) -> bool:
        """Return whether these records are what this host put there."""
        mine = [record_set.values for record_set in (self.published.get(rtype), self.intended.get(rtype)) if record_set is not None]
        return bool(found.values) and found.values in mine

    def failed(self, now: float, at_least: float = 0.0) -> None:
        """Count a failure; the next try comes later than the one before did, and not before the provider wants it."""
        self.failures += 1
        self.waiting_since = now
        self.not_before = now + max(min(FIRST_WAIT * 2 ** min(self.failures - 1, 10), LONGEST_WAIT), at_least)

    def waits(self, now: float) -> bool:
        """Return whether the next try may not be made yet. A clock that was set back must not silence this host for ever."""
        return self.waiting_since - 300 <= now < self.not_before

    def worked(self) -> None:
        """Forget the failures."""
        self.failures, self.not_before, self.waiting_since, self.stop = 0, 0.0, 0.0, None

    def accepted(self, rtype: str, values: tuple[str, ...], now: float, account: str) -> None:
        """Note that a provider accepted an update."""
        before = self.sent.get(rtype, {})
        times = before.get("times", 0) + 1 if before.get("values") == list(values) else 1
        self.sent[rtype] = {"values": list(values), "moment": now, "times": times, "account": account}

    def shown(self, rtypes: Iterable[str]) -> None:
        """Note that the authorities have what was accepted."""
        for rtype in rtypes:
            if rtype in self.sent:
                self.sent[rtype] = {**self.sent[rtype], "times": 0}

    def may_send_again(self, rtype: str, values: tuple[str, ...], patience: float, account: str, now: float) -> float:
        """Return from when on the same update may be sent once more; 0 for now."""
        sent = self.sent.get(rtype)
        if sent is None or not sent["times"] or sent["values"] != list(values) or sent["account"] != account:
            return 0.0
        until = float(sent["moment"]) + min(patience * 2 ** min(sent["times"] - 1, 10), 86400)
        return until if sent["moment"] - 300 <= now < until else 0.0

    def last_sent(self) -> float:
        """Return when the last update was accepted; 0 for never."""
        return max((float(entry["moment"]) for entry in self.sent.values()), default=0.0)

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
