# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes that write, and take back at once: mappings that should be refused, event subscriptions, a pinhole.

Private to this collection.

Nothing is written where something is, and only what carries this host's tag is removed. A mapping is for one documentation address as its
source and for two minutes, so that it leads nowhere and ends by itself even if this process is killed. Targets outside are documentation
addresses, which nobody has.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from collections.abc import Sequence

from .._portmap import _http_client as http_client
from .._portmap import _packets as packets
from .._portmap import _soap as soap
from .._portmap._errors import GatewayError, ProtocolError
from .._portmap._igd import IgdGateway
from .._portmap._model import TCP, Entry
from ._model import ACCEPTED, CANNOT, REFUSED, UNCLEAR, Attempt, Device, Subscription

#: Nobody has these addresses (RFC 5737).
SOURCE_OUTSIDE = "203.0.113.1"
TARGET_OUTSIDE = "198.51.100.1"
LEASE = 120
_CALLBACK = f"<http://{SOURCE_OUTSIDE}:9/>"

#: Refusals that are about the target or the port. Everything else is about the router's own state or about how it was asked.
_REFUSALS = (600, 601, 606, 718)
_REMOTE_HOST_WILDCARD_ONLY = 726
_NO_SUCH_ACTION = (401, 602)
_LOW_PORTS = (1023, 1021, 1019, 1015, 1009, 1006)
_TRIES = 4


class Writer:
    """Tries mappings on one router.

    Args:
        gateway: the router, for reading.
        control: where its service is.
        service_type: the exact type of the service.
        address: the router's address.
        source: this host's address towards it.
        tag: what the mappings are called.
    """

    def __init__(self, gateway: IgdGateway, control: http_client.Url, service_type: str, address: str, source: str, tag: str) -> None:
        self._gateway = gateway
        self._control = control
        self._service_type = service_type
        self._address = address
        self._source = source
        self._tag = tag

    def attempt(self, kind: str, target: str, low: bool = False) -> Attempt:
        """Ask for a mapping to a target, read back what the router made of it, and take it back."""
        port = self._free(low)
        if port is None:
            return Attempt(kind, self._address, target, 0, UNCLEAR, note="no_free_port")
        state, code = self._add(target, port, SOURCE_OUTSIDE)
        if code == _REMOTE_HOST_WILDCARD_ONLY:
            state, code = self._add(target, port, "")
        if state in (REFUSED, CANNOT):
            return Attempt(kind, self._address, target, port, state, code)
        # It said yes, or nothing that can be understood: what it holds decides.
        held = self._held(port, target)
        if held is False:
            return Attempt(kind, self._address, target, port, UNCLEAR, code, note="not_held" if state == ACCEPTED else "")
        removed_by = self._remove(port, target)
        left = not removed_by
        return Attempt(
            kind, self._address, target, port, ACCEPTED if held else UNCLEAR, code, removed_by if held else "", left, "" if held else "not_read_back"
        )

    def range_action(self) -> tuple[bool | None, int]:
        """Ask for the removal of a range in which there is nothing: whether the router knows the action, and its code."""
        port = self._free(False)
        if port is None:
            return None, 0
        try:
            self._call("DeletePortMappingRange", [*_range(port), ("NewManage", "1")])
        except ProtocolError as error:
            return error.code not in _NO_SUCH_ACTION, error.code
        except GatewayError:
            return None, 0
        return True, 0

    def _free(self, low: bool) -> int | None:
        for index in range(_TRIES):
            # Not for secrets: any port that is free will do.
            port = _LOW_PORTS[index] if low else random.randint(50000, 65000)
            try:
                if self._gateway.find(TCP, port) is None:
                    return port
            except GatewayError:
                return None
        return None

    def _add(self, target: str, port: int, remote_host: str) -> tuple[str, int]:
        arguments = [
            ("NewRemoteHost", remote_host),
            ("NewExternalPort", str(port)),
            ("NewProtocol", "TCP"),
            ("NewInternalPort", str(port)),
            ("NewInternalClient", target),
            ("NewEnabled", "1"),
            ("NewPortMappingDescription", self._tag),
            ("NewLeaseDuration", str(LEASE)),
        ]
        try:
            self._call("AddPortMapping", arguments)
        except ProtocolError as error:
            return (REFUSED if error.code in _REFUSALS else CANNOT), error.code
        except GatewayError:
            return UNCLEAR, 0
        return ACCEPTED, 0

    def _held(self, port: int, target: str) -> bool | None:
        """Whether the router holds our mapping; None if it does not tell."""
        try:
            entry = self._gateway.find(TCP, port)
        except GatewayError:
            return None
        return entry is not None and self._ours(entry, port, target)

    def _ours(self, entry: Entry, port: int, target: str) -> bool:
        return (entry.internal_client, entry.internal_port) == (target, port) or entry.description == self._tag

    def _remove(self, port: int, target: str) -> str:
        """Remove our mapping and return the action that did it; empty if it is still there, or if that cannot be read."""
        plain = [("NewExternalPort", str(port)), ("NewProtocol", "TCP")]
        steps: Sequence[tuple[str, list[tuple[str, str]]]] = (
            ("DeletePortMapping", [("NewRemoteHost", SOURCE_OUTSIDE), *plain]),
            ("DeletePortMapping", [("NewRemoteHost", ""), *plain]),
            ("DeletePortMappingRange", [*_range(port), ("NewManage", "1")]),
        )
        for action, arguments in steps:
            with contextlib.suppress(GatewayError):
                self._call(action, arguments)
            if self._held(port, target) is False:
                return action
        return ""

    def _call(self, action: str, arguments: Sequence[tuple[str, str]]) -> None:
        soap.call(self._control, self._service_type, action, arguments, self._source)


def _range(port: int) -> list[tuple[str, str]]:
    return [("NewStartPort", str(port)), ("NewEndPort", str(port)), ("NewProtocol", "TCP")]


def subscribe(device: Device, source: str) -> list[Subscription]:
    """Ask each service of a device to send its events to a documentation address, and end at once what it grants."""
    rows = []
    for url in dict.fromkeys(service.event for service in device.services if service.event is not None):
        try:
            reply = http_client.request("SUBSCRIBE", url, {"CALLBACK": _CALLBACK, "NT": "upnp:event", "TIMEOUT": "Second-60"}, source)
        except GatewayError:
            rows.append(Subscription(device.address, str(url), None))
            continue
        sid = reply.headers.get("sid", "")
        granted = reply.status == 200 and bool(sid)
        rows.append(Subscription(device.address, str(url), reply.status, granted, granted and not _unsubscribe(url, sid, source)))
    return rows


def _unsubscribe(url: http_client.Url, sid: str, source: str) -> bool:
    try:
        # 412: it does not know the subscription any more.
        return http_client.request("UNSUBSCRIBE", url, {"SID": sid}, source).status in (200, 412)
    except GatewayError:
        return False


def pinhole(gateway: str, scope: int, client: str, port: int, wait: float, nonce: bytes | None = None) -> tuple[str, int, bool]:
    """Ask by PCP for a pinhole to a port of this host and take it back: what came of it, the result code, and whether it is left."""
    nonce = nonce or os.urandom(12)
    answer = _pcp(gateway, scope, client, packets.pcp_map_request(client, TCP, port, port, LEASE, nonce, packets.PREFER_FAILURE), wait)
    if answer is not None and answer.result:
        return "refused", answer.result, False
    # Without an answer it may have been made all the same.
    back = _pcp(gateway, scope, client, packets.pcp_map_request(client, TCP, port, 0, 0, nonce), wait)
    if answer is None:
        return "unclear", -1, False
    return "granted", 0, back is None or back.result != 0


def _pcp(gateway: str, scope: int, client: str, request: bytes, wait: float) -> packets.Answer | None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
        try:
            opened.bind((client, 0))
            opened.connect((gateway, packets.PORT, 0, scope))
            for part in (0.4, 0.6):
                opened.send(request)
                opened.settimeout(wait * part)
                try:
                    while True:
                        try:
                            return packets.read_pcp(request, opened.recv(packets.MAX_SIZE + 1))
                        except (packets.PacketError, struct.error):
                            continue
                except socket.timeout:
                    continue
        except OSError:
            return None
    return None
