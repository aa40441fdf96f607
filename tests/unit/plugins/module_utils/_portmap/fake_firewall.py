# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routers that open pinholes, for tests: WANIPv6FirewallControl over HTTP, and PCP as a function. Both can be told to misbehave."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Callable
from html import unescape
from typing import Any

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _http_client as http_client
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _packets as packets
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._description import Description, Service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import NoGatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._firewall_control import Found
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._packets import Answer
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import RawServer, reply

SERVICE = "urn:schemas-upnp-org:service:WANIPv6FirewallControl:1"

#: Whose pinhole it is: protocol, address and port.
Leads = tuple[str, str, int]


class FakeFirewall:
    """A stateful router over HTTP.

    Attributes:
        pinholes: what is open, by UniqueID.
        leases: for how long each was last asked for.
        faults: codes to answer with, by action.
        hook: called with (action, arguments) before anything else; may return a body that is sent instead of the real one.
        actions: the actions that were asked for.
    """

    def __init__(self, listener: socket.socket | None = None) -> None:
        self.pinholes: dict[str, Leads] = {}
        self.leases: dict[str, int] = {}
        self.faults: dict[str, int] = {}
        self.hook: Callable[[str, dict[str, str]], str | None] = lambda action, arguments: None
        self.actions: list[str] = []
        self.enabled, self.allowed = "1", "1"
        self.boot_id = 1
        self.first_port = 1024
        self._next = 1
        self.server = RawServer(self.answer, listener=listener or socket.create_server(("::1", 0), family=socket.AF_INET6))

    def __enter__(self) -> FakeFirewall:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.server.__exit__()

    @property
    def open(self) -> set[Leads]:
        return set(self.pinholes.values())

    def found(self, *_arguments: object) -> Found:
        """Return what a search finds."""
        control = http_client.Url(self.server.host, self.server.port, "/ctl")
        return Found(Description(self.server.url, "Fake", (Service(SERVICE, control),)), self.boot_id)

    def restart(self, forgets: bool = True, first_id: int = 1) -> None:
        """Be switched off and on again."""
        self.boot_id += 1
        if forgets:
            self.pinholes, self.leases, self._next = {}, {}, first_id

    def put(self, protocol: str, client: str, port: int) -> str:
        """Open something, as another program would."""
        unique_id, self._next = str(self._next), self._next + 1
        self.pinholes[unique_id] = (protocol, client, port)
        return unique_id

    def answer(self, request: bytes, connection: socket.socket) -> None:
        head, _mark, body = request.partition(b"\r\n\r\n")
        found = re.search(rb'SOAPAction: "([^"#]+)#([A-Za-z]+)"', head)
        assert found is not None
        action = found.group(2).decode()
        arguments = {name: unescape(value) for name, value in re.findall(r"<(\w+)>([^<]*)</\w+>", body.decode())}
        self.actions.append(action)
        made = self.hook(action, arguments)
        if made is None:
            code = self.faults.get(action)
            made = self.fault(code) if code else self.perform(action, arguments)
        connection.sendall(reply(made.encode(), "500 Internal Server Error" if "errorCode" in made else "200 OK"))

    def fault(self, code: int) -> str:
        return (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client</faultcode>'
            '<faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
            f"<errorCode>{code}</errorCode><errorDescription>Words</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
        )

    def response(self, action: str, **values: str) -> str:
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
        return (
            '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
            f'<u:{action}Response xmlns:u="{SERVICE}">{inner}</u:{action}Response></s:Body></s:Envelope>'
        )

    def perform(self, action: str, arguments: dict[str, str]) -> str:
        unique_id = arguments.get("UniqueID", "")
        if action == "GetFirewallStatus":
            return self.response(action, FirewallEnabled=self.enabled, InboundPinholeAllowed=self.allowed)
        if action == "AddPinhole":
            return self._add(arguments)
        if unique_id not in self.pinholes:
            return self.fault(704)
        if action == "DeletePinhole":
            del self.pinholes[unique_id]
            return self.response(action)
        if action == "UpdatePinhole":
            self.leases[unique_id] = int(arguments["NewLeaseTime"])
            return self.response(action)
        if action == "GetPinholePackets":
            return self.response(action, PinholePackets="0")
        return self.fault(401)

    def _add(self, arguments: dict[str, str]) -> str:
        port, lease = int(arguments["InternalPort"]), int(arguments["LeaseTime"])
        leads = ({"6": "tcp", "17": "udp"}[arguments["Protocol"]], arguments["InternalClient"], port)
        if not 1 <= lease <= 86400 or arguments["RemotePort"] != "0" or arguments["RemoteHost"]:
            return self.fault(402)
        if port < self.first_port:
            return self.fault(606)
        there = next((unique_id for unique_id, other in self.pinholes.items() if other == leads), None)
        unique_id = there or self.put(*leads)
        self.leases[unique_id] = lease
        return self.response("AddPinhole", UniqueID=unique_id)


class FakePcp:
    """A router that speaks PCP over IPv6, in place of the exchange of packets.

    Attributes:
        pinholes: what is open, with its nonce.
        override: returns an answer, None for the honest one, or raises.
        on: whether it answers at all.
    """

    def __init__(self) -> None:
        self.pinholes: dict[Leads, bytes] = {}
        self.epoch = 1000
        self.on = True
        self.asked: list[tuple[str, int]] = []
        self.override: Callable[[bytes], Answer | None] = lambda request: None

    @property
    def open(self) -> set[Leads]:
        return set(self.pinholes)

    def __call__(self, link: Any, address: str, request: bytes, read: Any, timeout: float) -> Answer:
        if not self.on:
            raise NoGatewayError(f"{address} is closed")
        client = str(ipaddress.IPv6Address(request[8:24]))
        # The router looks at the sender.
        assert client == link.source
        if request[1] == packets.PCP_ANNOUNCE:
            return Answer(0, self.epoch)
        answer = self.override(request)
        if answer is not None:
            return answer
        lifetime = struct.unpack("!I", request[4:8])[0]
        nonce, protocol, (inside, outside) = request[24:36], {6: "tcp", 17: "udp"}[request[36]], struct.unpack("!HH", request[40:44])
        leads = (protocol, client, inside)
        self.asked.append((client, lifetime))
        if self.pinholes.get(leads, nonce) != nonce:
            return Answer(2, self.epoch)
        if not lifetime:
            self.pinholes.pop(leads, None)
            return Answer(0, self.epoch, 0, inside, client)
        assert (inside, request[60:]) == (outside, packets.PREFER_FAILURE)
        self.pinholes[leads] = nonce
        return Answer(0, self.epoch, lifetime, inside, client)
