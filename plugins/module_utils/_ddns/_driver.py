# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every provider must be able to do, and the words in which it says that it could not.

Private to this collection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ._result import RETRY, STOP, UNKNOWN, DdnsError


@dataclass(frozen=True)
class RecordSet:
    """The records of one type: their values, sorted, and their TTL. No values, no records."""

    values: tuple[str, ...] = ()
    ttl: int = 0

    def as_data(self) -> dict[str, object] | None:
        """Return what a diff shows, None for nothing."""
        if not self.values:
            return None
        # Before a record exists, nobody knows the TTL that the provider will choose.
        return {"values": list(self.values), "ttl": self.ttl} if self.ttl else {"values": list(self.values)}


class RetryLater(DdnsError):
    """It may work later: the server is down, busy, or cannot be reached.

    Attributes:
        wait: for how many seconds at least nothing may be tried.
        sent: whether the update may have been received.
    """

    def __init__(self, text: str, wait: float = 0.0, sent: bool = True) -> None:
        super().__init__(RETRY, text)
        self.wait = wait
        self.sent = sent


class StopTrying(DdnsError):
    """It will not work until somebody changes the configuration, here or there."""

    def __init__(self, text: str) -> None:
        super().__init__(STOP, text)


class NotUnderstood(DdnsError):
    """The answer is none that is known. That counts as a failure."""

    def __init__(self, text: str) -> None:
        super().__init__(UNKNOWN, text)


class ChangedMeanwhile(Exception):
    """The records are not what they were when they were read; nothing was changed."""


class Driver(ABC):
    """One kind of provider.

    Attributes:
        together: all types are replaced at once; else each for itself, whatever happens to the others.
        sets_ttl: the TTL is what was asked for; else the provider chooses it.
        minimum: seconds that must lie between two updates.
        patience: seconds until the same update may be sent once more, if the authorities do not show what was accepted; it doubles.
        refresh: seconds after which an update is sent although nothing changed; 0 for never.
    """

    together = True
    sets_ttl = True
    minimum = 0
    patience = 0
    refresh = 0

    @abstractmethod
    def read(self, rtypes: Sequence[str]) -> dict[str, RecordSet]:
        """Return what the provider's own server has now; under C(CNAME) what the name is an alias for, if it is one."""

    @abstractmethod
    def replace(self, before: Mapping[str, RecordSet], after: Mapping[str, RecordSet]) -> None:
        """Replace record sets, all or none, if they still are what they were before.

        Raises:
            ChangedMeanwhile: they are not.
        """

    def refusals(self, current: Mapping[str, RecordSet], after: Mapping[str, RecordSet]) -> dict[str, str]:
        """Return why a type cannot be taken back at this provider, for those that cannot."""
        return {}

    @abstractmethod
    def check(self) -> None:
        """Find out whether the provider accepts the key, without changing anything."""
