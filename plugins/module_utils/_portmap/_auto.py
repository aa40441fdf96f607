# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The method C(auto): PCP, then UPnP, then NAT-PMP; where a router speaks several, each keeps what was made by it.

Private to this collection.

PCP comes first, since it gives the very port or refuses, and lets nobody else remove it. Where the router speaks UPnP as well, that is asked whose a port is.
NAT-PMP comes last, since it cannot demand a port. PCP and NAT-PMP list nothing: their records say what this host made by them. Where none can be written,
whatever shall be mapped is left to UPnP; all three are asked by those who only look.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Union

from .._ownership import parse_tag
from ._discovery import discover
from ._errors import GatewayError, NoGatewayError, PortmapError, ProtocolError
from ._igd import IgdGateway
from ._links import Link
from ._model import IPV4, Capabilities, Entries, Entry, Gateway, GatewayInfo, Key
from ._patience import Patience
from ._recorded import NatPmpGateway, PcpGateway, RecordedGateway
from ._records import Store

Kind = Union[type[PcpGateway], type[NatPmpGateway]]

_PROBE = 0.7
_HEAD_START = 0.1
#: How long UPnP is searched for once PCP has answered; it usually takes a tenth of a second.
_UPNP_AFTER_PCP = 1.0
#: So PCP says that a mapping was made with another nonce.
_NOT_AUTHORIZED = 2


class JoinedGateway(Gateway):
    """One router that speaks UPnP, and other protocols too. A mapping stays with the protocol that it was made by.

    Args:
        igd: tells what there is.
        recorded: the protocols by which this host makes mappings, or made some earlier.
        first: the one of them by which new ones are made; None for UPnP.
    """

    def __init__(self, igd: IgdGateway, recorded: Sequence[RecordedGateway], first: RecordedGateway | None = None) -> None:
        self._igd = igd
        self._recorded = recorded
        self._first = first
        self._holder: dict[Key, Gateway] = {}
        self.unread = next((member.unread for member in recorded if member.unread), "")

    def describe(self) -> GatewayInfo:
        return self._igd.describe()

    def capabilities(self) -> Capabilities:
        return self._igd.capabilities()

    def external_address(self) -> str | None:
        return self._igd.external_address()

    def require_global(self, accepts: Callable[[str], bool]) -> None:
        for member in self._recorded:
            member.require_global(accepts)

    @contextlib.contextmanager
    def recording(self, entries: Sequence[Entry]) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for member in self._recorded:
                stack.enter_context(member.recording([entry for entry in entries if self._of(*entry.key) is member]))
            yield

    def renew_patience(self, seconds: float | None = None) -> None:
        for member in (self._igd, *self._recorded):
            member.renew_patience(seconds)

    def requested_port(self, protocol: str, external_port: int, family: str = IPV4) -> int:
        return self._of(protocol, external_port).requested_port(protocol, external_port)

    def max_lease(self, protocol: str, external_port: int, family: str = IPV4) -> int:
        return self._of(protocol, external_port).max_lease(protocol, external_port)

    def list(self) -> Entries:
        listed = {entry.key: entry for entry in self._igd.list()}
        self.incomplete, self.piecemeal = self._igd.incomplete, self._igd.piecemeal
        entries: Entries = []
        for member in self._recorded:
            member.confirm(list(listed.values()))
            for entry in member.list():
                shown = listed.get(entry.key)
                if shown is not None and not _same(shown, entry):
                    # Somebody else has the port by now; what is recorded is over.
                    continue
                listed.pop(entry.key, None)
                self._holder[entry.key] = member
                entries.append(replace(entry, enabled=False) if shown is None and member.missed(entry) else entry)
        for key in listed:
            self._holder[key] = self._igd
        return [*entries, *listed.values()]

    def find(self, protocol: str, external_port: int, family: str = IPV4) -> Entry | None:
        shown = self._igd.find(protocol, external_port)
        for member in self._recorded:
            member.confirm([shown] if shown is not None else [])
            entry = member.find(protocol, external_port)
            if entry is not None and (shown is None or _same(shown, entry)):
                self._holder[entry.key] = member
                return replace(entry, enabled=False) if shown is None and member.missed(entry) else entry
        if shown is not None:
            self._holder[shown.key] = self._igd
        return shown

    def add(self, entry: Entry) -> Entry:
        # What is given back to another program has a description that only UPnP keeps.
        member = self._of(*entry.key) if parse_tag(entry.description) else self._igd
        new = entry.key not in self._holder
        if new and member is self._first and not self._first.has_room(entry):
            member = self._igd
        try:
            return self._add_by(member, entry)
        except ProtocolError as error:
            if member is self._igd or not (new or error.code == _NOT_AUTHORIZED):
                raise
            if not new:
                # Some routers mistake one of two mappings to the same port of a host for the other.
                self._remove_by_igd(member, entry)
            # Some speak PCP without mapping anything by it.
            try:
                return self._add_by(self._igd, entry)
            except ProtocolError as second:
                raise second from error

    def _add_by(self, member: Gateway, entry: Entry) -> Entry:
        after = member.add(entry)
        self._holder[after.key] = member
        if isinstance(member, RecordedGateway):
            shown = self._igd.find(*after.key)
            if shown is not None and _same(shown, after):
                member.note_shown(after)
        return after

    def delete(self, entry: Entry) -> None:
        member = self._of(*entry.key)
        try:
            member.delete(entry)
        except GatewayError:
            shown = self._igd.find(*entry.key)
            if member is self._igd or shown is None or not _same(shown, entry):
                raise
            # For instance because it leads to an address that this host had earlier. Some routers let UPnP remove it all the same.
            self._remove_by_igd(member, entry)

    def _remove_by_igd(self, member: Gateway, entry: Entry) -> None:
        self._igd.delete(entry)
        if isinstance(member, RecordedGateway):
            member.forget(entry)

    def method_of(self, protocol: str, external_port: int, family: str = IPV4) -> str:
        return self._of(protocol, external_port).describe().method

    def _of(self, protocol: str, external_port: int) -> Gateway:
        return self._holder.get((protocol, external_port), self._first or self._igd)


def open_recorded(kind: Kind, links: Sequence[Link], address: str | None, store: Store, timeout: float, other_port: bool) -> RecordedGateway:
    """Open the first router that speaks NAT-PMP or PCP."""
    problems: list[str] = []
    for link in links:
        target = address or link.gateway
        if target is None:
            problems.append(f"no default route leads over {link.interface}: name the router as the gateway")
            continue
        try:
            return kind(link, target, store, timeout, other_port)
        except PortmapError as error:
            problems.append(str(error))
    raise NoGatewayError(
        f"no router speaks {kind.method}: {'; '.join(problems) or 'this host has no default route over IPv4'}. Switch PCP or NAT-PMP on in the router, or try"
        " method upnp"
    )


def open_auto(
    links: Sequence[Link], address: str | None, is_global: Callable[[str], bool], timeout: float, store: Store, other_port: bool = False, writes: bool = True
) -> Gateway:
    """Find the router by every protocol at once."""
    if writes and not store.usable():
        # Without records PCP and NAT-PMP would lose track of what they made.
        return discover(links, is_global, timeout, address)
    probe, patience = min(timeout, _PROBE), Patience(timeout)
    with ThreadPoolExecutor(2) as pool:
        kinds: tuple[Kind, ...] = (PcpGateway, NatPmpGateway)
        asked = [pool.submit(open_recorded, kind, links, address, store, probe, other_port) for kind in kinds]
        wait(asked, _HEAD_START)
        problem: PortmapError | None = None
        igd: IgdGateway | None = None
        quick = asked[0].done() and asked[0].exception() is None
        try:
            igd = discover(links, is_global, min(timeout, _UPNP_AFTER_PCP) if quick else timeout, address)
        except PortmapError as error:
            problem = error
        pcp, natpmp = (_outcome(one) for one in asked)
    for found in (pcp, natpmp):
        if found is not None:
            found.wait_for(timeout, patience)
    if igd is None:
        other = pcp or natpmp
        if other is None:
            raise problem or NoGatewayError("no router answered")
        return other
    there = [one for one in (pcp, natpmp) if one is not None and _at(one) == _at(igd)]
    first = pcp if pcp in there else None
    recorded = [one for one in there if one is first or one.list() or one.unread]
    return JoinedGateway(igd, recorded, first) if recorded else igd


def _outcome(asked: Future[RecordedGateway]) -> RecordedGateway | None:
    error = asked.exception()
    if error is None:
        return asked.result()
    if isinstance(error, PortmapError):
        return None
    raise error


def _at(gateway: Gateway) -> tuple[str, str]:
    info = gateway.describe()
    return (info.address, info.source_address)


def _same(one: Entry, other: Entry) -> bool:
    return (one.internal_client, one.internal_port) == (other.internal_client, other.internal_port)
