# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the router says of its WAN address: NAT-PMP (RFC 6886) and PCP (RFC 6887), and what a second router in front of it says.

Private to this collection: no compatibility is promised to code outside it.

Nothing is mapped. NAT-PMP has a question for the WAN address alone. PCP has none, but its answer to an announcement tells whether
the server sees this host under its own address: if not, something translates between the two.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from .._address._classify import is_publishable
from .._portmap import _description as description
from .._portmap._discovery import parse_answer, search_message, usable_location
from .._portmap._errors import PortmapError
from .._portmap._igd import IgdGateway
from ._sockets import Way, local_address

__all__ = ["GatewayError", "natpmp", "parse_natpmp", "parse_pcp", "pcp", "second_router"]

PORT = 5351
_SSDP = 1900
_ADDRESS_MISMATCH = 12
_AGAIN = (0.0, 0.25, 0.75, 1.75)
_NATPMP_RESULTS = {1: "unsupported version", 2: "not authorised", 3: "no WAN address", 4: "out of resources", 5: "unsupported question"}
_PAGES = (80, 443, 8080)


class GatewayError(Exception):
    """The router did not answer, or not usably."""


def parse_natpmp(data: bytes) -> dict[str, Any] | None:
    """Read the answer to the question for the WAN address; None if it is none.

    Raises:
        GatewayError: the router refuses.
    """
    if len(data) < 8 or data[0] != 0 or data[1] != 128:
        return None
    (result,) = struct.unpack_from("!H", data, 2)
    if result == 3:
        return {"address": None, "method": "natpmp", "status": _NATPMP_RESULTS[3]}
    if result:
        raise GatewayError(f"the router refuses: {_NATPMP_RESULTS.get(result, 'error')} ({result})")
    if len(data) < 12:
        raise GatewayError(f"the router's answer has {len(data)} bytes instead of 12")
    address = socket.inet_ntop(socket.AF_INET, data[8:12])
    return {"address": None if address == "0.0.0.0" else address, "method": "natpmp", "status": ""}


def announcement(source: str) -> bytes:
    """Return a PCP announcement from an IPv4 address."""
    return struct.pack("!BBHI", 2, 0, 0, 0) + b"\0" * 10 + b"\xff\xff" + socket.inet_aton(source)


def parse_pcp(data: bytes) -> dict[str, Any] | None:
    """Read the answer to an announcement; None if it is none."""
    if len(data) < 24 or data[0] != 2 or data[1] != 0x80:
        return None
    return {"result": data[3], "mismatch": data[3] == _ADDRESS_MISMATCH}


def _ask(way: Way, address: str, packet: bytes, parse: Callable[[bytes], dict[str, Any] | None], deadline: float, ttl: int | None = None) -> dict[str, Any]:
    try:
        with way.open("ipv4", socket.SOCK_DGRAM, ttl) as opened:
            # Connected: the kernel drops what others send, and tells when nobody listens.
            opened.connect((address, PORT))
            schedule = [time.monotonic() + pause for pause in _AGAIN]
            while time.monotonic() < deadline:
                if schedule and time.monotonic() >= schedule[0]:
                    schedule.pop(0)
                    opened.send(packet)
                until = min(deadline, schedule[0]) if schedule else deadline
                ready, _write, _error = select.select([opened], [], [], max(0.0, until - time.monotonic()))
                if ready:
                    found = parse(opened.recv(1100))
                    if found is not None:
                        return found
    except ConnectionRefusedError:
        raise GatewayError("the router does not speak this protocol") from None
    except OSError as error:
        raise GatewayError(f"cannot be asked: {error.strerror or error}") from None
    raise GatewayError("no answer in time")


def natpmp(way: Way, address: str, deadline: float, ttl: int | None = None) -> dict[str, Any]:
    """Ask a router for its WAN address.

    Raises:
        GatewayError: it did not tell.
    """
    return _ask(way, address, b"\0\0", parse_natpmp, deadline, ttl)


def pcp(way: Way, address: str, deadline: float) -> dict[str, Any]:
    """Announce this host to a router and see whether it knows it by its own address.

    Raises:
        GatewayError: it did not answer.
    """
    source = local_address(way, "ipv4", address, PORT)
    if source is None:
        raise GatewayError("cannot be asked: there is no way to it")
    return _ask(way, address, announcement(source), parse_pcp, deadline)


def second_router(way: Way, address: str, deadline: float) -> dict[str, Any]:
    """Find out whether the second hop is a home router: whether it answers to what home routers answer to. No packet goes further than it."""
    how: list[str] = []
    wan: str | None = None
    try:
        found = natpmp(way, address, min(deadline, time.monotonic() + 0.6), ttl=2)
        how.append("natpmp")
        wan = found["address"]
    except GatewayError:
        pass
    how += [f"tcp {port}" for port in _open_pages(way, address, min(deadline, time.monotonic() + 0.6))]
    upnp = _upnp(way, address, min(deadline, time.monotonic() + 0.8))
    if upnp is not None:
        how.append("upnp")
        wan = wan or upnp or None
    return {"address": address, "reachable": bool(how), "how": how, "wan_address": wan}


def _open_pages(way: Way, address: str, deadline: float) -> list[int]:
    """Return the ports of router pages that accept a connection."""
    opened: dict[socket.socket, int] = {}
    accepted: list[int] = []
    try:
        for port in _PAGES:
            one = way.open("ipv4", socket.SOCK_STREAM, ttl=2)
            opened[one] = port
            one.connect_ex((address, port))
        waiting = list(opened)
        while waiting and time.monotonic() < deadline:
            _read, ready, _error = select.select([], waiting, [], max(0.0, deadline - time.monotonic()))
            for one in ready:
                waiting.remove(one)
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    accepted.append(opened[one])
    except OSError:
        return sorted(accepted)
    finally:
        for one in opened:
            one.close()
    return sorted(accepted)


def _upnp(way: Way, address: str, deadline: float) -> str | None:
    """Return the WAN address that a router names by UPnP, empty if it answers but names none; None if it does not answer."""
    try:
        with way.open("ipv4", socket.SOCK_DGRAM, ttl=2) as opened:
            opened.connect((address, _SSDP))
            opened.send(search_message("urn:schemas-upnp-org:device:InternetGatewayDevice:1", address))
            ready, _write, _error = select.select([opened], [], [], max(0.0, deadline - time.monotonic()))
            answer = parse_answer(opened.recv(4096)) if ready else None
            source = str(opened.getsockname()[0])
    except OSError:
        return None
    if answer is None:
        return None
    try:
        url = usable_location(answer, address)
        gateway = IgdGateway.open(description.fetch(url, source, max(0.1, deadline - time.monotonic())), "", source, is_publishable)
        return gateway.describe().wan_address or ""
    except PortmapError:
        return ""
