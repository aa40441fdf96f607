# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What shall stay mapped between two runs: kept in the state directory, with when each lease was last set.

Private to this collection.

This is the wish, and says nothing about ownership: that is what the tag in the router proves, and for PCP and NAT-PMP the records.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .._state import StateDir, StateError
from ._errors import GatewayError
from ._model import IPV4, Key, make_key
from ._moment import Moment

FILE = "port_renewals.json"

HELD = "held"
CONFLICT = "conflict"
ERROR = "error"

#: Routers round, and a look takes its time.
_SLACK = 60.0
#: Seconds to the second try and at most between two tries; the wait doubles. The first is over when the timer comes again.
_FIRST_WAIT, _LONGEST_WAIT = 120.0, 1800.0


@dataclass(frozen=True)
class Way:
    """How the router is found again, as it was asked for; mappings that share it are renewed by one question.

    Attributes:
        other_port: whether another external port will do.
    """

    method: str = "auto"
    gateway: str | None = None
    interface: str | None = None
    timeout: float = 3.0
    other_port: bool = False


@dataclass(frozen=True)
class Kept:
    """A mapping that shall stay.

    Attributes:
        requested: the external port that was asked for.
        external_port: the one that the router gave.
        lease: for how many seconds to ask; 0 means as long as the router allows.
        method: the protocol that it was made by.
        router: the router's address in the LAN.
        client: this host's address towards it.
        granted: the seconds that were left of the lease at C(since); 0 if it has no end.
        since: when that was.
        state: C(held), C(conflict) if somebody else has the port, or C(error).
        error: why it is not held.
        failures: how often in a row the router refused, or did something else than it was asked for.
        tried: when it last did.
        family: C(ipv6) for a pinhole.
    """

    name: str
    protocol: str
    requested: int
    external_port: int
    port: int
    lease: int
    method: str
    router: str
    client: str
    granted: float
    since: Moment
    way: Way = field(default_factory=Way)
    state: str = HELD
    error: str = ""
    failures: int = 0
    tried: Moment | None = None
    family: str = IPV4

    @property
    def key(self) -> Key:
        """What can exist only once in a router."""
        return make_key(self.protocol, self.external_port, self.family)

    def left(self, now: Moment) -> float | None:
        """Return the seconds that are left as far as this host can tell, None if it has no end."""
        return max(0.0, self.granted - max(0.0, self.since.until(now))) if self.granted else None

    def waits(self, now: Moment) -> bool:
        """Whether the router is left alone for a while, because it refused: where it cannot list, each try may open another port for a moment."""
        if not self.failures or self.tried is None:
            return False
        wait = min(_FIRST_WAIT * float(2 ** min(self.failures - 1, 10)), _LONGEST_WAIT)
        return 0 <= self.tried.until(now) < wait


def due(kept: Kept, left: float, now: Moment) -> str:
    """Return why the lease must be set anew, empty if it need not.

    C(left) is what the router says, 0 for no end. It is not believed alone, because some routers always say what they were asked for.
    """
    if not left:
        # Permanent. If it is not, it is missed when it is gone.
        return ""
    granted = kept.granted or left
    passed = kept.since.until(now)
    if passed < 0 or left > granted + _SLACK:
        return "clock"
    return "half" if left <= granted / 2 or passed >= granted / 2 else ""


def status_row(kept: Kept, moment: Moment) -> dict[str, Any]:
    """Return what is told about a mapping."""
    left = kept.left(moment)
    return {
        "name": kept.name,
        "family": kept.family,
        "protocol": kept.protocol,
        "external_port": kept.external_port,
        "port": kept.port,
        "method": kept.method,
        "router": kept.router,
        "client": kept.client,
        "state": kept.state,
        "left": None if left is None else int(left),
        "renewed": int(kept.since.wall),
        "error": kept.error,
    }


@dataclass
class Keeping:
    """The content of the file.

    Attributes:
        mappings: what shall stay.
        last: how the last run of the agent ended.
        made_directory: this file's directory did not exist before, so it goes with it.
        records: something else of port mapping is in the directory; then the file stays to tell that.
    """

    mappings: list[Kept] = field(default_factory=list)
    last: dict[str, Any] | None = None
    made_directory: bool = False
    records: bool = False

    @property
    def names(self) -> list[str]:
        """The services, each once."""
        return sorted({kept.name for kept in self.mappings})

    def put(self, mappings: Sequence[Kept]) -> None:
        """Remember these, instead of what was remembered for the same services."""
        names = {kept.name for kept in mappings}
        self.mappings = sorted([*(kept for kept in self.mappings if kept.name not in names), *mappings], key=lambda kept: (kept.name, kept.key))

    def drop(self, names: Sequence[str] | None) -> None:
        """Forget these services, or all of them."""
        self.mappings = [] if names is None else [kept for kept in self.mappings if kept.name not in names]

    @classmethod
    def load(cls, state: StateDir) -> Keeping:
        """Read the file; where there is none, nothing is kept."""
        try:
            data = state.read(FILE)
        except StateError as error:
            raise GatewayError(str(error)) from error
        if data is None:
            return cls()
        try:
            if data["version"] not in (1, 2):
                raise ValueError(f"version {data['version']!r}")
            return cls([_kept(row) for row in data["mappings"]], data.get("last"), bool(data.get("made_directory")))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GatewayError(f"{os.path.join(state.path, FILE)} is damaged ({error!r}); remove it and run the role port_mapping again") from error

    def save(self, state: StateDir) -> None:
        """Write the file if its content changed, or remove it once nothing is kept."""
        try:
            if not self.mappings and not (self.made_directory and self.records):
                state.remove(FILE)
                return
            # Whoever does not know families would map a pinhole's port over IPv4.
            version = 2 if any(kept.family != IPV4 for kept in self.mappings) else 1
            data = {"version": version, "mappings": [asdict(kept) for kept in self.mappings], "last": self.last, "made_directory": self.made_directory}
            if state.read(FILE) != data:
                state.write(FILE, data)
        except StateError as error:
            raise GatewayError(str(error)) from error

    def leave(self, state: StateDir) -> None:
        """Remove the directory once nothing is in it, if it came with this file."""
        if self.made_directory and not self.mappings and not self.records:
            try:
                state.remove_if_empty()
            except StateError as error:
                raise GatewayError(str(error)) from error


def _kept(row: dict[str, Any]) -> Kept:
    known = {item.name for item in fields(Kept)}
    values = {name: value for name, value in row.items() if name in known}
    return Kept(**{**values, "since": Moment(**row["since"]), "tried": Moment(**row["tried"]) if row["tried"] else None, "way": Way(**row["way"])})
