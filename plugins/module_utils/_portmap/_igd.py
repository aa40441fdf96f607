# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""UPnP Internet Gateway Device, versions 1 and 2.

Private to this collection.

A success that a router reports is not believed: every write is read back.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from . import _soap as soap
from ._description import Description, Service
from ._document import Node, parse
from ._errors import AnswerError, BadRequestError, GatewayError, ProtocolError
from ._model import IPV4, MAX_DESCRIPTION, MAX_LEASE, PROTOCOLS, Capabilities, Entries, Entry, Gateway, GatewayInfo, Key
from ._patience import Patience

_MAX_ENTRIES = 512
#: Longer tables are read one by one: miniupnpd 2.3.1 crashes when it is asked for more than 128 mappings at once, whatever number it may return.
_AT_ONCE = 100
#: What routers answer to an index beyond the end.
_END_OF_LIST = (402, 501, 606, 713, 714)
_NO_ENTRY = (713, 714, 730)
#: Some daemons show mappings of PCP with the nonce, which is the right to remove them: not to be copied into reports.
_PCP_NONCE = re.compile(r"^(PCP MAP )[0-9a-fA-F]{8,}")
_CONNECTED = ("connected", "up")


class IgdGateway(Gateway):
    """A router with a WANIPConnection or WANPPPConnection service.

    Args:
        description: what it says about itself.
        service: the service that is used.
        interface: the name of this host's interface towards it.
        source: this host's address towards it; also the address that ports are mapped to.
        patience: how long it may take; None for the usual time.
    """

    def __init__(self, description: Description, service: Service, interface: str, source: str, patience: Patience | None = None) -> None:
        self._description = description
        self._service = service
        self._interface = interface
        self._source = source
        self._patience = patience or Patience()
        #: The state of the connection in the router's words, and the WAN address, None if it has none.
        self._wan_status = ""
        self._wan_address: str | None = None
        #: What the last list had and what was made since; None before the first list.
        self._known: set[Key] | None = None

    @classmethod
    def open(cls, description: Description, interface: str, source: str, is_global: Callable[[str], bool], patience: Patience | None = None) -> IgdGateway:
        """Choose the best of the services that a description names.

        Connected with a public address is best, then connected, then whatever comes first in the order of types.
        """
        best: IgdGateway | None = None
        best_score = -1
        problem: GatewayError | None = None
        patience = patience or Patience()
        for number, service in enumerate(description.services):
            candidate = cls(description, service, interface, source, patience)
            try:
                # A description can name many services: one that does not answer must leave time for the others.
                candidate._patience = patience.share(2) if number < len(description.services) - 1 else patience
                candidate._read_status()
            except GatewayError as error:
                problem = problem or error
                continue
            candidate._patience = patience
            connected = candidate._wan_status.lower() in _CONNECTED
            public = candidate._wan_address is not None and is_global(candidate._wan_address)
            score = 2 if connected and public else int(connected)
            if score > best_score:
                best, best_score = candidate, score
            if score == 2:
                break
        if best is None:
            raise problem or AnswerError(f"the device at {description.location} offers no service that maps ports")
        return best

    def describe(self) -> GatewayInfo:
        return GatewayInfo(
            address=self._description.location.host,
            method="upnp",
            location=str(self._description.location),
            service_type=self._service.service_type,
            product=self._description.product,
            interface=self._interface,
            source_address=self._source,
            wan_address=self._wan_address,
            wan_status=self._wan_status,
        )

    def capabilities(self) -> Capabilities:
        return Capabilities(lists=True, tells_owner=True, keeps_port=True, max_lease=MAX_LEASE)

    def external_address(self) -> str | None:
        text = self._call("GetExternalIPAddress").child_text("newexternalipaddress")
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            return None

    def renew_patience(self, seconds: float | None = None) -> None:
        self._patience.renew(seconds)

    def list(self) -> Entries:
        entries = self._read_list()
        self._known = {entry.key for entry in entries}
        return entries

    def find(self, protocol: str, external_port: int, family: str = IPV4) -> Entry | None:
        arguments = _key(protocol, external_port)
        try:
            answer = self._call("GetSpecificPortMappingEntry", arguments)
        except ProtocolError as error:
            if error.code in _NO_ENTRY:
                return None
            # Some routers do not know the question, some answer it with a code of their own where there is no entry: the list decides.
            return next((entry for entry in self._read_list() if entry.key == (protocol, external_port)), None)
        return _entry(answer, protocol=protocol, external_port=external_port)

    def add(self, entry: Entry) -> Entry:
        _check(entry)
        before = self.find(entry.protocol, entry.external_port)
        if before is not None and (before.internal_client, before.internal_port) != (entry.internal_client, entry.internal_port):
            raise GatewayError(f"{_name(entry)} is taken by {before.internal_client}:{before.internal_port} ({before.description!r}) since the router was read")
        try:
            self._add_with_lease(entry)
        except ProtocolError as error:
            raise self._explain(entry, error) from error
        after = self.find(entry.protocol, entry.external_port)
        if after is None:
            raise AnswerError(f"the router says that it maps {_name(entry)}, but its list does not have it{self._give_back_strays(entry)}")
        only = "" if entry.remote_host else after.remote_host
        wanted = (entry.internal_client, entry.internal_port, entry.enabled)
        if (after.internal_client, after.internal_port, after.enabled) != wanted or only:
            raise AnswerError(
                f"the router says that it maps {_name(entry)} to {entry.internal_client}:{entry.internal_port}, but it holds"
                f" {after.internal_client}:{after.internal_port}{'' if after.enabled else ', disabled'}{f', for {only} only' if only else ''}"
            )
        if self._known is not None:
            self._known.add(entry.key)
        return after

    def delete(self, entry: Entry) -> None:
        if entry.protocol not in PROTOCOLS or not 1 <= entry.external_port <= 65535:
            # Only a router's list can have such a thing.
            raise GatewayError(
                f"the router lists a mapping of protocol {entry.protocol[:20]!r}, port {entry.external_port} ({entry.description!r}), which cannot be named to"
                " it: remove it on the router's own page"
            )
        problem: ProtocolError | None = None
        try:
            self._call("DeletePortMapping", _key(entry.protocol, entry.external_port, entry.remote_host))
        except ProtocolError as error:
            if error.code not in _NO_ENTRY:
                problem = error
        left = self.find(entry.protocol, entry.external_port)
        if left is not None and problem is not None and entry.internal_client != self._source and self._service.version >= 2:
            # Made by this host when it had another address: version 2 has an action for the mappings of other clients. The router decides.
            try:
                self._call(
                    "DeletePortMappingRange",
                    [
                        ("NewStartPort", str(entry.external_port)),
                        ("NewEndPort", str(entry.external_port)),
                        ("NewProtocol", entry.protocol.upper()),
                        ("NewManage", "1"),
                    ],
                )
            except ProtocolError:
                pass
            else:
                left = self.find(entry.protocol, entry.external_port)
        if left is None:
            if problem is not None and entry.remote_host:
                # Asked for without its source, such a mapping is never there.
                raise GatewayError(f"the router does not let this host ({self._source}) remove {_name(entry)} for {entry.remote_host} ({problem})") from problem
            return
        where = f"{_name(entry)} to {left.internal_client}:{left.internal_port}"
        if problem is None:
            raise AnswerError(f"the router says that it removed {where}, but its list still has it")
        if left.internal_client != self._source:
            end = f"wait until its lease ends in {left.lease} s" if left.lease else "remove it on the router's own page"
            raise GatewayError(
                f"the router does not let this host ({self._source}) remove {where} ({problem}): {end}, or give this host its old address for a moment"
            )
        raise problem

    def _call(self, action: str, arguments: Sequence[tuple[str, str]] = ()) -> Node:
        return soap.call(self._service.control, self._service.service_type, action, arguments, self._source, self._patience.left())

    def _read_status(self) -> None:
        try:
            self._wan_status = " ".join(self._call("GetStatusInfo").child_text("newconnectionstatus").split())[:40]
        except ProtocolError:
            self._wan_status = ""
        try:
            self._wan_address = self.external_address()
        except ProtocolError:
            self._wan_address = None

    def _give_back_strays(self, entry: Entry) -> str:
        """Remove what the router made instead of what it was asked for; return words for the error."""
        if self._known is None:
            return ""
        made = (entry.protocol, entry.internal_client, entry.internal_port, entry.description)
        words = ""
        for stray in self._read_list():
            if (stray.protocol, stray.internal_client, stray.internal_port, stray.description.strip()) != made or stray.key in self._known:
                continue
            try:
                self.delete(stray)
            except GatewayError as error:
                words += f"; it gave port {stray.external_port} instead, which could not be given back: {error}"
            else:
                words += f"; it gave port {stray.external_port} instead, which was given back"
        return words

    def _read_list(self) -> Entries:
        self.incomplete, self.piecemeal = "", False
        if self._service.version >= 2 and not self._is_long():
            try:
                return self._list_at_once()
            except GatewayError:
                # Optional in practice, and its answer can be longer than what is read; one by one always works.
                pass
        self.piecemeal = True
        return self._list_by_index()

    def _is_long(self) -> bool:
        try:
            self._call("GetGenericPortMappingEntry", [("NewPortMappingIndex", str(_AT_ONCE))])
        except ProtocolError:
            return False
        return True

    def _list_at_once(self) -> Entries:
        entries: Entries = []
        for protocol in PROTOCOLS:
            try:
                answer = self._call(
                    "GetListOfPortMappings",
                    [
                        ("NewStartPort", "1"),
                        ("NewEndPort", "65535"),
                        ("NewProtocol", protocol.upper()),
                        ("NewManage", "1"),
                        ("NewNumberOfPorts", "0"),
                    ],
                )
            except ProtocolError as error:
                if error.code in _NO_ENTRY:
                    continue
                raise
            text = answer.child_text("newportlisting")
            listing = parse(text) if text else answer
            entries.extend(_entry(node, protocol=protocol) for node in listing.walk() if node.name == "portmappingentry")
        return entries

    def _list_by_index(self) -> Entries:
        entries: Entries = []
        seen: set[tuple[str, int, str]] = set()
        for index in range(_MAX_ENTRIES + 1):
            if index == _MAX_ENTRIES:
                self.incomplete = f"the router lists more than {_MAX_ENTRIES} mappings, and no more are read"
                break
            try:
                answer = self._call("GetGenericPortMappingEntry", [("NewPortMappingIndex", str(index))])
            except ProtocolError as error:
                if error.code in _END_OF_LIST:
                    break
                raise
            except AnswerError as error:
                raise AnswerError(f"the list of mappings could not be read to its end ({len(entries)} until then): {error}") from error
            entry = _entry(answer)
            # The list moves when others add and remove while it is read.
            if (entry.protocol, entry.external_port, entry.remote_host) not in seen:
                seen.add((entry.protocol, entry.external_port, entry.remote_host))
                entries.append(entry)
        return entries

    def _add_with_lease(self, entry: Entry) -> None:
        try:
            self._add_once(entry)
        except ProtocolError as error:
            # 725: permanent only. 402: some routers refuse any lease, some refuse none, and all of them say it this way.
            if error.code not in (402, 725):
                raise
            other = 0 if entry.lease else MAX_LEASE
            if error.code == 725 and other:
                raise
            self._add_once(replace(entry, lease=other))

    def _add_once(self, entry: Entry) -> None:
        # Routers read the arguments in this order, some of them only in this order.
        self._call(
            "AddPortMapping",
            [
                *_key(entry.protocol, entry.external_port, entry.remote_host),
                ("NewInternalPort", str(entry.internal_port)),
                ("NewInternalClient", entry.internal_client),
                ("NewEnabled", "1" if entry.enabled else "0"),
                ("NewPortMappingDescription", entry.description),
                ("NewLeaseDuration", str(entry.lease)),
            ],
        )

    def _explain(self, entry: Entry, error: ProtocolError) -> GatewayError:
        if error.code in (718, 729):
            holder = self.find(entry.protocol, entry.external_port)
            if holder is not None:
                return GatewayError(f"{_name(entry)} belongs to {holder.internal_client}:{holder.internal_port} ({holder.description!r}): {error}")
        if error.code == 501:
            wan = self._wan_address or "none"
            return GatewayError(f"{_name(entry)} was not mapped: {error}. Its WAN address, as it sees it: {wan}")
        return GatewayError(f"{_name(entry)} was not mapped: {error}")


def _name(entry: Entry) -> str:
    return f"{entry.protocol} port {entry.external_port}"


def _key(protocol: str, external_port: int, remote_host: str = "") -> list[tuple[str, str]]:
    return [("NewRemoteHost", remote_host), ("NewExternalPort", str(external_port)), ("NewProtocol", protocol.upper())]


def _check(entry: Entry) -> None:
    """Refuse what routers silently turn into something else; port 0 would mean all ports."""
    if entry.protocol not in PROTOCOLS:
        raise BadRequestError(f"{entry.protocol!r} is not a protocol that can be mapped: use tcp or udp")
    for port in (entry.external_port, entry.internal_port):
        if not 1 <= port <= 65535:
            raise BadRequestError(f"port {port} is out of the range 1 to 65535")
    if len(entry.description) > MAX_DESCRIPTION and entry.description.startswith("hs:"):
        raise BadRequestError(f"the description {entry.description!r} is longer than {MAX_DESCRIPTION} characters")


def _number(node: Node, name: str) -> int:
    text = node.child_text(name)
    try:
        return int(text) if len(text) <= 12 else -1
    except ValueError:
        return -1


def _entry(node: Node, protocol: str = "", external_port: int = 0) -> Entry:
    client = node.child_text("newinternalclient")
    try:
        client = str(ipaddress.IPv4Address(client))
    except ValueError:
        client = client[:60]
    stated = node.child_text("newprotocol").lower() or protocol
    remote = node.child_text("newremotehost")
    # The listing at once says LeaseTime where the single entry says LeaseDuration.
    lease = max(_number(node, "newleaseduration"), _number(node, "newleasetime"), 0)
    return Entry(
        protocol=stated,
        external_port=external_port or max(_number(node, "newexternalport"), 0),
        internal_client=client,
        internal_port=max(_number(node, "newinternalport"), 0),
        description=_PCP_NONCE.sub(r"\1...", node.child_text("newportmappingdescription") or node.child_text("newdescription"))[:128],
        enabled=node.child_text("newenabled").lower() not in ("0", "false", "no"),
        lease=lease,
        remote_host="" if remote in ("0.0.0.0", "*") else remote[:60],
    )
