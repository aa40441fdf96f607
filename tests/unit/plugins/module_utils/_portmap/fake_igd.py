# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routers for tests: one that speaks HTTP and can be told to misbehave, and one that is only an object."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from html import escape, unescape
from typing import Any

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _http_client as http_client
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._description import Description, Service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import GatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._igd import IgdGateway
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import IPV4, Capabilities, Entry, Gateway, GatewayInfo, Key, make_key
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._patience import Patience

SOURCE = "127.0.0.1"


class RawServer:
    """Answers every connection with what a function writes; the function gets the request and the connection."""

    def __init__(self, answer: Callable[[bytes, socket.socket], None], host: str = "127.0.0.1", listener: socket.socket | None = None) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._listener = listener or socket.create_server((host, 0))
        self.host, self.port = self._listener.getsockname()[:2]
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def url(self) -> http_client.Url:
        return http_client.Url(self.host, self.port, "/rootDesc.xml")

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_exc: object) -> None:
        # A thread that waits in accept holds the port until it is woken.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _sender = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(5)
                request = b""
                while b"\r\n\r\n" not in request:
                    data = connection.recv(8192)
                    if not data:
                        return
                    request += data
                head, _mark, body = request.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                while length and len(body) < int(length.group(1)):
                    body += connection.recv(8192)
                self.requests.append(head + b"\r\n\r\n" + body)
                self._answer(head + b"\r\n\r\n" + body, connection)
            except OSError:
                pass


def reply(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    """Return a whole answer."""
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def drip(connection: socket.socket, data: bytes, pause: float = 0.05) -> None:
    """Send a byte at a time."""
    for index in range(len(data)):
        connection.sendall(data[index : index + 1])
        time.sleep(pause)


class FakeIgd:
    """A stateful router over HTTP.

    Attributes:
        entries: what it holds, by (PROTOCOL, external port).
        faults: codes to answer with, by action.
        hook: called with (action, arguments) before anything else; may return a body that is sent instead of the real one.
        calls: the actions that were asked for, with their arguments in order.
    """

    def __init__(self, version: int = 2, listener: socket.socket | None = None) -> None:
        self.version = version
        self.service = f"urn:schemas-upnp-org:service:WANIPConnection:{version}"
        self.entries: dict[tuple[str, int], dict[str, str]] = {}
        self.faults: dict[str, int] = {}
        self.hook: Callable[[str, dict[str, str]], str | None] = lambda action, arguments: None
        self.calls: list[tuple[str, list[tuple[str, str]]]] = []
        self.wan: str = "44.128.1.2"
        self.status = "Connected"
        self.server = RawServer(self._answer, listener=listener)

    def __enter__(self) -> FakeIgd:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.server.__exit__()

    def gateway(self, patience: Patience | None = None) -> IgdGateway:
        """Return the client that is tested."""
        description = Description(self.server.url, "Fake", (Service(self.service, http_client.Url(self.server.host, self.server.port, "/ctl")),))
        return IgdGateway.open(description, "lo", SOURCE, lambda address: True, patience)

    def put(self, protocol: str, port: int, client: str, internal: int, description: str = "", lease: int = 0) -> None:
        self.entries[(protocol, port)] = {"client": client, "port": str(internal), "description": description, "lease": str(lease), "enabled": "1"}

    def actions(self) -> list[str]:
        return [action for action, _arguments in self.calls]

    def _answer(self, request: bytes, connection: socket.socket) -> None:
        head, _mark, body = request.partition(b"\r\n\r\n")
        found = re.search(rb'SOAPAction: "([^"#]+)#([A-Za-z]+)"', head)
        assert found is not None
        action = found.group(2).decode()
        pairs = [(name, unescape(value)) for name, value in re.findall(r"<(New\w+)>([^<]*)</New\w+>", body.decode())]
        self.calls.append((action, pairs))
        arguments = dict(pairs)
        made = self.hook(action, arguments)
        if made is None:
            code = self.faults.get(action)
            made = self._fault(code) if code else self._perform(action, arguments)
        status = "500 Internal Server Error" if "errorCode" in made else "200 OK"
        connection.sendall(reply(made.encode(), status))

    def fault(self, code: int) -> str:
        return self._fault(code)

    def _fault(self, code: int) -> str:
        return (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
            "<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>"
            f'<detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode><errorDescription>Words</errorDescription></UPnPError>'
            "</detail></s:Fault></s:Body></s:Envelope>"
        )

    def response(self, action: str, inner: str = "") -> str:
        return (
            '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
            f'<u:{action}Response xmlns:u="{self.service}">{inner}</u:{action}Response></s:Body></s:Envelope>'
        )

    def _perform(self, action: str, arguments: dict[str, str]) -> str:
        key = (arguments.get("NewProtocol", ""), int(arguments.get("NewExternalPort", "0")))
        if action == "GetStatusInfo":
            return self.response(action, f"<NewConnectionStatus>{self.status}</NewConnectionStatus>")
        if action == "GetExternalIPAddress":
            return self.response(action, f"<NewExternalIPAddress>{self.wan}</NewExternalIPAddress>")
        if action == "GetSpecificPortMappingEntry":
            return self.response(action, _fields(self.entries[key])) if key in self.entries else self._fault(714)
        if action == "GetGenericPortMappingEntry":
            index = int(arguments["NewPortMappingIndex"])
            if index >= len(self.entries):
                return self._fault(713)
            (protocol, port), entry = next(itertools.islice(self.entries.items(), index, None))
            return self.response(action, f"<NewExternalPort>{port}</NewExternalPort><NewProtocol>{protocol}</NewProtocol>{_fields(entry)}")
        if action == "AddPortMapping":
            self.put(
                arguments["NewProtocol"],
                key[1],
                arguments["NewInternalClient"],
                int(arguments["NewInternalPort"]),
                arguments["NewPortMappingDescription"],
                int(arguments["NewLeaseDuration"]),
            )
            return self.response(action)
        if action == "DeletePortMapping":
            return self.response(action) if self.entries.pop(key, None) else self._fault(714)
        if action == "GetListOfPortMappings" and self.version >= 2:
            rows = [
                f"<p:PortMappingEntry><p:NewExternalPort>{port}</p:NewExternalPort><p:NewProtocol>{protocol}</p:NewProtocol>"
                + _fields(entry)
                .replace("NewLeaseDuration", "NewLeaseTime")
                .replace("NewPortMappingDescription", "NewDescription")
                .replace("<New", "<p:New")
                .replace("</New", "</p:New")
                + "</p:PortMappingEntry>"
                for (protocol, port), entry in self.entries.items()
                if protocol == arguments["NewProtocol"]
            ]
            if not rows:
                return self._fault(730)
            listing = f'<p:PortMappingList xmlns:p="urn:schemas-upnp-org:gw:WANIPConnection">{"".join(rows)}</p:PortMappingList>'
            return self.response(action, f"<NewPortListing><![CDATA[{listing}]]></NewPortListing>")
        return self._fault(401)


def _fields(entry: dict[str, str]) -> str:
    return (
        f"<NewInternalPort>{entry['port']}</NewInternalPort><NewInternalClient>{entry['client']}</NewInternalClient><NewEnabled>{entry['enabled']}</NewEnabled>"
        f"<NewPortMappingDescription>{escape(entry['description'])}</NewPortMappingDescription><NewLeaseDuration>{entry['lease']}</NewLeaseDuration>"
    )


class MemoryGateway(Gateway):
    """A router without a wire.

    Attributes:
        fail_at: the number of writes after which writing fails, by the word of the operation; None for never.
    """

    def __init__(self, entries: list[Entry] | None = None, wan: str | None = "44.128.1.2", source: str = "192.168.1.10") -> None:
        self.entries: dict[Key, Entry] = {entry.key: entry for entry in entries or []}
        self.wan = wan
        self.source = source
        self.writes: list[tuple[str, Entry]] = []
        self.refuse: Callable[[str, Entry], bool] = lambda operation, entry: False
        self.unlisted: set[Key] = set()
        self.keep_description = True
        self.kept_length = 128

    def describe(self) -> GatewayInfo:
        return GatewayInfo("192.168.1.1", "upnp", "http://192.168.1.1:80/", "urn:x", "Memory", "eth0", self.source, self.wan, "Connected")

    def capabilities(self) -> Capabilities:
        return Capabilities(True, True, True, 604800)

    def external_address(self) -> str | None:
        return self.wan

    def list(self) -> Any:
        return [entry for entry in self.entries.values() if entry.key not in self.unlisted]

    def find(self, protocol: str, external_port: int, family: str = IPV4) -> Entry | None:
        return self.entries.get(make_key(protocol, external_port, family))

    def add(self, entry: Entry) -> Entry:
        self._write("add", entry)
        kept = replace(entry, description=entry.description[: self.kept_length] if self.keep_description else "UPnP")
        self.entries[entry.key] = kept
        return kept

    def delete(self, entry: Entry) -> None:
        self._write("delete", entry)
        self.entries.pop(entry.key, None)

    def _write(self, operation: str, entry: Entry) -> None:
        if self.refuse(operation, entry):
            raise GatewayError(f"no {operation} of {entry.external_port}")
        self.writes.append((operation, entry))
