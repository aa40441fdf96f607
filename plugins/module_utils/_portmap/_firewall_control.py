# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinholes by UPnP: WANIPv6FirewallControl version 1.

Private to this collection.

It cannot list either. A pinhole is known by the number that the router gave it (UniqueID), which means nothing once the router restarted. The router takes
what is asked for an address from that address only, so it is spoken to over IPv6.
"""

from __future__ import annotations

import re
import selectors
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import _description as description
from . import _http_client as http_client
from . import _moment as moments
from . import _soap as soap
from ._description import FIREWALL_CONTROL, Description, Service
from ._discovery import PORT, ROOM, parse_answer, search_message
from ._document import Node
from ._errors import AnswerError, GatewayError, NoGatewayError, ProtocolError
from ._links import Link6, socket_address
from ._model import IPV6, MIN_LEASE, Entries, Entry, GatewayInfo, Wanted
from ._packets import Answer
from ._patience import Patience
from ._recorded import RecordedGateway
from ._records import Clock, Record, RecordKey, Records

GROUP = "ff02::c"
_FIRST = (
    "urn:schemas-upnp-org:service:WANIPv6FirewallControl:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
)
_THEN = (*_FIRST, "upnp:rootdevice", "ssdp:all")
#: Seconds after the start, and what is asked then.
_ROUNDS = ((0.0, _FIRST), (0.3, _THEN), (1.2, _THEN))
_MAX_CANDIDATES = 8

_IP_PROTOCOL = {"tcp": "6", "udp": "17"}
_UNIQUE_ID = re.compile(r"[0-9]{1,5}\Z")
_NO_ENTRY = 704
_NO_CODE = 501

_PAGE = "open the port in the IPv6 firewall on the router's own page"
HINTS: Mapping[int, str] = {
    401: f"it does not know this action: {_PAGE}",
    402: f"it does not like one of the values: {_PAGE}",
    501: f"it could not do it: run again later, or {_PAGE}",
    602: f"it does not offer this: {_PAGE}",
    606: "its rules do not let this host open this port by UPnP. Most routers open only ports from 1024 on, for the asking host alone: switch PCP on in the"
    f" router, choose another port from 1024 on, or {_PAGE}",
    701: "it has no room for another pinhole: remove mappings that nobody needs, or restart it",
    702: "its IPv6 firewall is switched off, so there is nothing to open and everything is open: switch the firewall on, on the router's own page",
    703: f"its own settings do not allow pinholes for this host: permit this host to open ports for IPv6 there, or {_PAGE}",
    704: "it has no such pinhole",
    705: f"it does not open ports of this protocol: {_PAGE}",
    706: "it does not open all ports at once",
    707: "it does not open all protocols at once",
    708: "it does not take this source",
    709: "nothing has come through it yet",
}


@dataclass(frozen=True)
class Found:
    """The service of a router, and the number of its boot as far as it tells; 0 if it does not."""

    description: Description
    boot_id: int

    @property
    def service(self) -> Service:
        """What is asked."""
        return self.description.services[0]


def find(link: Link6, timeout: float, patience: Patience) -> Found:
    """Search the router for the service, until the first good answer."""
    gateway = link.gateway or ""
    host, _mark, scope = gateway.partition("%")
    deadline = time.monotonic() + timeout
    asked: set[http_client.Url] = set()
    problems: list[str] = []
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened, selectors.DefaultSelector() as selector:
            _prepare(opened, link, bool(scope))
            selector.register(opened, selectors.EVENT_READ)
            start, rounds = time.monotonic(), list(_ROUNDS)
            while (now := time.monotonic()) < deadline and len(asked) < _MAX_CANDIDATES:
                if rounds and now >= start + rounds[0][0]:
                    _send(opened, link, rounds.pop(0)[1])
                until = min(deadline, start + rounds[0][0]) if rounds else deadline
                if not selector.select(max(0.0, until - now)):
                    continue
                data, sender = opened.recvfrom(4096)
                answer = parse_answer(data)
                # Any host of the LAN can answer; only the router counts, and only its address is fetched.
                if answer is None or sender[0].partition("%")[0] != host:
                    continue
                try:
                    stated = _location(answer.location)
                    url = http_client.Url(host, stated.port, stated.path, scope)
                    if url in asked:
                        continue
                    asked.add(url)
                    part = patience.share(2)
                    return Found(description.fetch(url, link.source, part.left(), answer.server, FIREWALL_CONTROL), _boot_id(answer.boot_id))
                except GatewayError as error:
                    problems.append(str(error))
    except OSError as error:
        problems.append(f"{link}: {error.strerror or error}")
    said = f": {'; '.join(dict.fromkeys(problems[:4]))}" if problems else ""
    raise NoGatewayError(f"no WANIPv6FirewallControl of UPnP answered at {gateway} within {timeout:g} s, asked from {link}{said}")


def _prepare(opened: socket.socket, link: Link6, local: bool) -> None:
    index = socket.if_nametoindex(link.interface)
    # A router answers a link-local address from its own, by which it is known here.
    if local and link.local:
        opened.bind((link.local, 0, 0, index))
    else:
        opened.bind((link.source, 0))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, struct.pack("=I", index))
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 2)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)


def _send(opened: socket.socket, link: Link6, targets: tuple[str, ...]) -> None:
    # To the router itself first: its answer passes stateful firewalls of this host, the answer to a multicast does not.
    refused: list[OSError] = []
    addresses = (link.gateway or "", f"{GROUP}%{link.interface}")
    for address in addresses:
        for target in targets:
            try:
                opened.sendto(search_message(target, f"[{address.partition('%')[0]}]"), socket_address(address, PORT))
            except OSError as error:
                # A host's own firewall may refuse the one and allow the other.
                refused.append(error)
    if len(refused) == len(addresses) * len(targets):
        raise refused[0]


def _location(text: str) -> http_client.Url:
    """Read where the description is. Of the address only the port and the path are used, so its family does not matter."""
    try:
        return http_client.parse_url(text, family=IPV6)
    except GatewayError:
        return http_client.parse_url(text)


def _boot_id(text: str) -> int:
    return int(text) if re.match(r"[0-9]{1,10}\Z", text) else 0


class FirewallControlGateway(RecordedGateway):
    """A router that opens pinholes by UPnP."""

    method = "upnp"
    _link: Link6

    def _open(self) -> None:
        #: What the router does not know any more.
        self._gone: set[RecordKey] = set()
        #: Whether the router says that its numbers are those of the boot in which they were written down; and what it numbered since it was asked.
        self._same_boot = False
        self._numbered: dict[RecordKey, str] = {}
        self._refused = ProtocolError("", 0, "")
        self._found = find(self._link, self._timeout, self._patience)
        self._wan_address = self._link.source
        status = self._call("GetFirewallStatus", (), self._link.source)
        self._enabled, self._allowed = (_is_true(status.child_text(name)) for name in ("firewallenabled", "inboundpinholeallowed"))
        self._read_at = moments.now()
        self._note_epoch(self._found.boot_id)

    def describe(self) -> GatewayInfo:
        found = self._found
        return GatewayInfo(
            address=self._address,
            method=self.method,
            location=str(found.description.location),
            service_type=found.service.service_type,
            product=found.description.product,
            interface=self._link.interface,
            source_address=self._link.source,
            wan_address=self._wan_address,
            wan_status="",
        )

    def require_open(self, wanted: Sequence[Wanted]) -> None:
        del wanted
        if not self._enabled:
            raise GatewayError(f"nothing was changed: the router says that it opens no pinholes (FirewallEnabled 0): {HINTS[702]}")
        if not self._allowed:
            raise GatewayError(f"nothing was changed: the router says that it opens no pinholes (InboundPinholeAllowed 0): {HINTS[703]}")

    def _records(self) -> Records:
        return [replace(record, unsure=True) if record.key in self._gone else record for record in super()._records()]

    def _save(self, record: Record, instead_of: Record | None = None) -> None:
        super()._save(record, instead_of)
        self._gone.discard(record.key)

    def _restarted_since(self, clock: Clock, epoch: int) -> bool:
        # An answer without a boot number says nothing new.
        self._epoch = epoch or clock.epoch
        self._same_boot = bool(epoch) and clock.epoch == epoch
        # Numbers that were written down without one cannot be trusted once the router tells one.
        return bool(epoch) and not self._same_boot

    def _is_sure(self, record: Record) -> bool:
        """Whether the number is certainly that of this pinhole: after a restart it can be that of somebody else's."""
        if not record.unique_id or record.unsure:
            return False
        return self._same_boot or self._numbered.get(record.key) == record.unique_id

    def _nonce(self, entry: Entry) -> str:
        del entry
        return ""

    def _refusal(self, action: str, answer: Answer) -> ProtocolError:
        del answer
        return ProtocolError(action, self._refused.code, self._refused.text, HINTS.get(self._refused.code, _PAGE))

    def _ask_map(self, record: Record, lifetime: int) -> Answer:
        try:
            unique_id = self._make(record, lifetime) if lifetime else self._take_away(record)
        except ProtocolError as error:
            self._refused = error
            return Answer(error.code or _NO_CODE, self._epoch)
        return Answer(0, self._epoch, lifetime, record.external_port, record.internal_client, unique_id)

    def _make(self, record: Record, lifetime: int) -> str:
        if self._is_sure(record):
            try:
                self._ask("UpdatePinhole", record, [("UniqueID", record.unique_id), ("NewLeaseTime", str(lifetime))])
            except ProtocolError:
                # Whatever it says: asked for the same once more, it renews what is there or makes it anew.
                pass
            else:
                return record.unique_id
        arguments = [
            ("RemoteHost", ""),
            ("RemotePort", "0"),
            ("InternalClient", record.internal_client),
            ("InternalPort", str(record.internal_port)),
            ("Protocol", _IP_PROTOCOL[record.protocol]),
            ("LeaseTime", str(lifetime)),
        ]
        unique_id = self._ask("AddPinhole", record, arguments).child_text("uniqueid")
        if not _UNIQUE_ID.match(unique_id) or int(unique_id) > 65535:
            raise AnswerError(f"the router says that it opened {_name(record)}, but numbers it {unique_id[:20]!r}, which is no UniqueID")
        made = replace(record, unique_id=unique_id)
        if not self._knows(made):
            raise AnswerError(f"the router says that it opened {_name(record)} with the UniqueID {unique_id}, but does not know it when asked")
        self._numbered[record.key] = unique_id
        return unique_id

    def _take_away(self, record: Record) -> str:
        """Remove a pinhole. What the router may have forgotten is made anew for a moment, so that nothing else that has its number by now is removed."""
        known = record if self._is_sure(record) else replace(record, unique_id=self._make(record, MIN_LEASE))
        try:
            self._ask("DeletePinhole", known, [("UniqueID", known.unique_id)])
        except ProtocolError as error:
            # Some say something else of what they do not have.
            if error.code != _NO_ENTRY and self._knows(known):
                raise
        else:
            if self._knows(known, unless_told=False):
                raise AnswerError(f"the router says that it closed {_name(record)}, but still knows it when asked")
        return ""

    def _knows(self, record: Record, unless_told: bool = True) -> bool:
        """Whether the router has a pinhole of this number; the last argument, if it does not tell."""
        try:
            self._ask("GetPinholePackets", record, [("UniqueID", record.unique_id)])
        except ProtocolError as error:
            return error.code != _NO_ENTRY and unless_told
        return True

    def _ask(self, action: str, record: Record, arguments: Sequence[tuple[str, str]]) -> Node:
        return self._call(action, arguments, self._link_of(record).source)

    def _call(self, action: str, arguments: Sequence[tuple[str, str]], source: str) -> Node:
        service = self._found.service
        return soap.call(service.control, service.service_type, action, arguments, source, self._wait(), HINTS)

    def list(self) -> Entries:
        for record in super()._records():
            if not record.unsure and not self._knows(record):
                self._gone.add(record.key)
        return super().list()


def _is_true(text: str) -> bool:
    # What a router does not say is found out by asking.
    return text.strip().lower() not in ("0", "false", "no")


def _name(record: Record) -> str:
    return f"{record.protocol} port {record.external_port} over IPv6"
