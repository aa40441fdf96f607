# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One router that is asked for mappings over IPv4 and for pinholes over IPv6, so that both are made or none.

Private to this collection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from ._errors import GatewayError, PortmapError
from ._model import IPV4, Capabilities, Entries, Entry, Gateway, GatewayInfo, Wanted


class FamiliesGateway(Gateway):
    """Leaves each mapping to who is asked for its family.

    Args:
        members: who that is; the first one is described.
        tolerant: whether a list that cannot be read shall not keep the others from being read.
    """

    def __init__(self, members: Mapping[str, Gateway], tolerant: bool = False) -> None:
        self._members = dict(members)
        self._tolerant = tolerant
        #: What could not be read.
        self.problems: list[str] = []

    def members(self) -> dict[str, Gateway]:
        return dict(self._members)

    def describe(self) -> GatewayInfo:
        return self._first().describe()

    def capabilities(self) -> Capabilities:
        return self._first().capabilities()

    def external_address(self) -> str | None:
        return self._first().external_address()

    def list(self) -> Entries:
        entries: Entries = []
        problems: dict[str, PortmapError] = {}
        for family, member in self._members.items():
            try:
                entries.extend(member.list())
            except GatewayError as error:
                if not self._tolerant:
                    raise
                problems[family] = error
        if len(problems) == len(self._members):
            raise next(iter(problems.values()))
        self.problems = [f"{error}. {error.advice}" if error.advice else str(error) for error in problems.values()]
        self.incomplete = "; ".join(member.incomplete for member in self._members.values() if member.incomplete)
        self.piecemeal = any(member.piecemeal for member in self._members.values())
        return entries

    def find(self, protocol: str, external_port: int, family: str = IPV4) -> Entry | None:
        return self._members[family].find(protocol, external_port, family) if family in self._members else None

    def add(self, entry: Entry) -> Entry:
        return self._members[entry.family].add(entry)

    def delete(self, entry: Entry) -> None:
        self._members[entry.family].delete(entry)

    def renew_patience(self, seconds: float | None = None) -> None:
        for member in self._members.values():
            member.renew_patience(seconds)

    def require_global(self, accepts: Callable[[str], bool]) -> None:
        for member in self._members.values():
            member.require_global(accepts)

    def require_open(self, wanted: Sequence[Wanted]) -> None:
        for family, member in self._members.items():
            # Who is only asked to take back something need not open anything.
            mine = [one for one in wanted if one.family == family]
            if mine:
                try:
                    member.require_open(mine)
                except PortmapError as error:
                    error.family = family
                    raise

    @contextlib.contextmanager
    def recording(self, entries: Sequence[Entry]) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for family, member in self._members.items():
                stack.enter_context(member.recording([entry for entry in entries if entry.family == family]))
            yield

    def requested_port(self, protocol: str, external_port: int, family: str = IPV4) -> int:
        return self._members[family].requested_port(protocol, external_port, family)

    def method_of(self, protocol: str, external_port: int, family: str = IPV4) -> str:
        return self._members[family].method_of(protocol, external_port, family)

    def max_lease(self, protocol: str, external_port: int, family: str = IPV4) -> int:
        return self._members[family].max_lease(protocol, external_port, family)

    def notes(self) -> Sequence[str]:
        return [note for member in self._members.values() for note in member.notes()]

    def _first(self) -> Gateway:
        return next(iter(self._members.values()))
