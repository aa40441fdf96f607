# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening ports for IPv6 (pinholes): by PCP, else by WANIPv6FirewallControl of UPnP. A pinhole stays with the protocol that it was made by.

Private to this collection.

PCP comes first, since many routers open ports below 1024 by nothing else. Neither can list, so both need the records of the state directory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from ._errors import BadRequestError, GatewayError, NoGatewayError, PortmapError, ProtocolError
from ._firewall_control import FirewallControlGateway
from ._links import Link6
from ._model import IPV4, IPV6, Capabilities, Entries, Entry, Gateway, GatewayInfo, Key, Wanted
from ._patience import Patience
from ._recorded import PcpGateway, RecordedGateway
from ._records import Store

_PROBE = 0.7
#: How long PCP is waited for before UPnP is searched as well; it usually answers in some milliseconds.
_HEAD_START = 0.15
_PAGE = "Switch PCP or UPnP on in the router, for IPv6 as well, or open the port in the IPv6 firewall on its own page"


class JoinedPinholes(Gateway):
    """A router that opens pinholes by more than one protocol.

    Args:
        first: by which new ones are made.
        others: by which some were made earlier.
        more: opens another protocol, for what the first one refuses; raises PortmapError where there is none.
    """

    family = IPV6

    def __init__(self, first: RecordedGateway, others: Sequence[RecordedGateway], more: Callable[[], RecordedGateway] | None = None) -> None:
        self._members = [first, *others]
        self._more = more
        self._holder: dict[tuple[Key, str], RecordedGateway] = {}

    def describe(self) -> GatewayInfo:
        return self._members[0].describe()

    def capabilities(self) -> Capabilities:
        return self._members[0].capabilities()

    def external_address(self) -> str | None:
        return self._members[0].external_address()

    def require_open(self, wanted: Sequence[Wanted]) -> None:
        self._members[0].require_open(wanted)

    def renew_patience(self, seconds: float | None = None) -> None:
        for member in self._members:
            member.renew_patience(seconds)

    def notes(self) -> Sequence[str]:
        return [note for member in self._members for note in member.notes()]

    @contextlib.contextmanager
    def recording(self, entries: Sequence[Entry]) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for member in list(self._members):
                stack.enter_context(member.recording([entry for entry in entries if self._of(entry) is member]))
            yield

    def find(self, protocol: str, external_port: int, family: str = IPV4) -> Entry | None:
        found = [(entry, member) for member in self._members if (entry := member.find(protocol, external_port, family)) is not None]
        for entry, member in found:
            self._holder.setdefault((entry.key, entry.internal_client), member)
        source = self.describe().source_address
        return min((entry for entry, _member in found), key=lambda entry: entry.internal_client != source, default=None)

    def add(self, entry: Entry) -> Entry:
        member = self._of(entry)
        try:
            after = member.add(entry)
        except ProtocolError as error:
            other = self._another(member, entry)
            if other is None:
                raise
            try:
                after = other.add(entry)
            except GatewayError as second:
                raise GatewayError(f"{error}; by UPnP: {second}") from second
            member = other
        self._holder[(after.key, after.internal_client)] = member
        return after

    def delete(self, entry: Entry) -> None:
        self._of(entry).delete(entry)
        # What led to an earlier address can only be put back by the protocol that it was made by.
        if entry.internal_client == self.describe().source_address:
            self._holder.pop((entry.key, entry.internal_client), None)

    def method_of(self, protocol: str, external_port: int, family: str = IPV4) -> str:
        entry = self.find(protocol, external_port, family)
        return (self._members[0] if entry is None else self._of(entry)).method

    def list(self) -> Entries:
        entries: Entries = []
        for member in self._members:
            for entry in member.list():
                # What was made by two protocols is held by the first one, until it is over for the other.
                if self._holder.setdefault((entry.key, entry.internal_client), member) is member:
                    entries.append(entry)
        return entries

    def _of(self, entry: Entry) -> RecordedGateway:
        return self._holder.get((entry.key, entry.internal_client), self._members[0])

    def _another(self, member: RecordedGateway, entry: Entry) -> RecordedGateway | None:
        """Return who else may open what the first one refused and never had."""
        if member is not self._members[0] or (entry.key, entry.internal_client) in self._holder:
            return None
        if len(self._members) == 1 and self._more is not None:
            with contextlib.suppress(PortmapError):
                self._members.append(self._more())
            self._more = None
        return self._members[1] if len(self._members) > 1 else None


def open_pinholes(link: Link6, method: str, store: Store, timeout: float) -> Gateway:
    """Find out by what the router opens ports for IPv6."""
    address = link.gateway or ""
    if method == "natpmp":
        raise BadRequestError("method natpmp does not know IPv6: use method auto, pcp or upnp, or leave ipv6 out of families")
    if method != "auto":
        kind = PcpGateway if method == "pcp" else FirewallControlGateway
        try:
            return kind(link, address, store, timeout)
        except (GatewayError, NoGatewayError) as error:
            raise NoGatewayError(f"the router opens no ports for IPv6 by {method}: {error}. {_PAGE}") from error

    def firewall() -> RecordedGateway:
        return FirewallControlGateway(link, address, store, timeout)

    patience = Patience(timeout)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(PcpGateway, link, address, store, min(timeout, _PROBE))
        wait([asked], _HEAD_START)
        quick = asked.done() and asked.exception() is None
        upnp: RecordedGateway | PortmapError | None = None
        if not quick or _has_records(store, FirewallControlGateway.method, address):
            try:
                upnp = firewall()
            except PortmapError as error:
                upnp = error
        pcp = _outcome(asked)
    if isinstance(pcp, RecordedGateway):
        pcp.wait_for(timeout, patience)
        others = [upnp] if isinstance(upnp, RecordedGateway) else []
        return JoinedPinholes(pcp, others, None if upnp is not None else firewall)
    if isinstance(upnp, RecordedGateway):
        return upnp
    raise NoGatewayError(f"the router opens no ports for IPv6: by PCP, {pcp}; by UPnP, {upnp}. {_PAGE}")


def _has_records(store: Store, method: str, gateway: str) -> bool:
    return any((record.method, record.gateway) == (method, gateway) for record in store.read()[0])


def _outcome(asked: Future[PcpGateway]) -> RecordedGateway | PortmapError:
    error = asked.exception()
    if isinstance(error, PortmapError):
        return error
    return asked.result()
