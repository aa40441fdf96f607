# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who answers a search on the LAN: every answer until the deadline, then the description of each device.

Private to this collection.

Answers count from any port. A device is asked for its description only at the address that answered; where it names another one, that
is written down and nobody goes there.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from .._portmap import _http_client as http_client
from .._portmap._discovery import GROUP, PORT, open_search, parse_answer, search_message
from .._portmap._errors import GatewayError
from .._portmap._links import Link
from ._deadline import Deadline
from ._document import NoDescriptionError, is_gateway, read_device
from ._model import Device

_TARGETS = (
    "ssdp:all",
    "upnp:rootdevice",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
#: Parts of the time at which the questions are sent: datagrams get lost.
_ROUNDS = (0.0, 0.35)
_MAX_DEVICES = 64
#: One device must not keep out the others.
_MAX_LOCATIONS = 8
_THREADS = 16
#: For reading all descriptions.
_DESCRIBE = 12.0
_FORGED = "rebind.example"


@dataclass(frozen=True)
class Census:
    """The devices that answered. C(cut): there were more than are looked at."""

    devices: tuple[Device, ...] = ()
    cut: bool = False


@dataclass
class _Heard:
    link: Link
    server: str
    igd: bool = False
    via: set[str] = field(default_factory=set)


@dataclass
class _Answers:
    """What was heard, by who answered and what it names."""

    rows: dict[tuple[str, str], _Heard] = field(default_factory=dict)
    cut: bool = False

    def has_room(self, sender: str, first: bool) -> bool:
        """Whether another answer of a device is taken. With C(first), the others do not count: there must be room for the router."""
        mine = sum(1 for address, _location in self.rows if address == sender)
        room = mine < _MAX_LOCATIONS and (first or len(self.rows) < _MAX_DEVICES)
        self.cut = self.cut or not room
        return room


def census(links: Sequence[Link], gateway: str | None, timeout: float, multicast_only: bool = False) -> Census:
    """Return every device that answers within the time, described. With C(multicast_only), the router is not asked by itself once more."""
    heard = _Answers()
    with contextlib.ExitStack() as stack:
        opened: list[tuple[socket.socket, Link, str]] = []
        for link in links:
            for way in ("multicast",) if multicast_only else ("multicast", "unicast"):
                with contextlib.suppress(OSError):
                    opened.append((stack.enter_context(_open(link)), link, way))
        _listen(opened, gateway, timeout, heard)
    # The router first: the time may not last for all.
    rows = sorted(heard.rows.items(), key=lambda row: row[0][0] != (gateway or row[1].link.gateway))
    limit = Deadline(_DESCRIBE)
    with ThreadPoolExecutor(_THREADS) as pool:
        return Census(tuple(pool.map(lambda row: _describe(row[0], row[1], gateway, limit), rows)), heard.cut)


def at(location: http_client.Url, link: Link, gateway: str | None) -> Device:
    """Return the device whose description is at a known address."""
    return _describe((location.host, str(location)), _Heard(link, "", via={"option"}), gateway, Deadline(_DESCRIBE))


def _open(link: Link) -> socket.socket:
    opened = open_search(link)
    # Twenty devices at once, with a dozen answers each.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return opened


def _listen(opened: Sequence[tuple[socket.socket, Link, str]], gateway: str | None, timeout: float, heard: _Answers) -> None:
    start = time.monotonic()
    rounds = list(_ROUNDS)
    sockets = [row[0] for row in opened]
    if not sockets:
        return
    while True:
        now = time.monotonic()
        if rounds and now >= start + rounds[0] * timeout:
            rounds.pop(0)
            for one, link, way in opened:
                _send(one, GROUP if way == "multicast" else gateway or link.gateway)
        if now >= start + timeout:
            return
        until = start + rounds[0] * timeout if rounds else start + timeout
        ready = select.select(sockets, [], [], max(0.0, until - now))[0]
        for one, link, way in opened:
            if one in ready:
                _receive(one, link, way, heard)


def _send(opened: socket.socket, host: str | None) -> None:
    if host is None:
        return
    for target in _TARGETS:
        with contextlib.suppress(OSError):
            opened.sendto(search_message(target, host), (host, PORT))


def _receive(opened: socket.socket, link: Link, way: str, heard: _Answers) -> None:
    try:
        data, (sender, _port) = opened.recvfrom(8192)
    except OSError:
        return
    answer = parse_answer(data)
    if answer is None or not link.reaches(sender):
        return
    key = (sender, answer.location[:400])
    if key not in heard.rows and not heard.has_room(sender, sender == link.gateway):
        return
    row = heard.rows.setdefault(key, _Heard(link, answer.server[:160]))
    row.via.add(way)
    row.igd = row.igd or b"internetgatewaydevice" in data.lower() or b"service:wanipconnection" in data.lower()


def _host(location: str) -> str:
    try:
        return urlsplit(location).hostname or ""
    except ValueError:
        return ""


def _describe(key: tuple[str, str], heard: _Heard, gateway: str | None, limit: Deadline) -> Device:
    address, location = key
    device = Device(
        address,
        heard.link.interface,
        location,
        server=heard.server,
        igd=heard.igd,
        default_gateway=address == (gateway or heard.link.gateway),
        via=tuple(sorted(heard.via)),
    )
    try:
        url = http_client.parse_url(location)
    except GatewayError as error:
        return replace(device, elsewhere=_host(location) != address, problem=str(error)[:200])
    if url.host != address:
        return replace(device, elsewhere=True, problem=f"it names {url.host}, which did not answer; nobody was asked there")
    try:
        reply = http_client.get(url, heard.link.source, limit.wait(http_client.TIMEOUT))
        device = replace(device, http_server=reply.headers.get("server", "")[:160])
        if reply.status != 200:
            return replace(device, problem=f"HTTP status {reply.status}")
        device_type, product, services = read_device(reply.body, url)
    except (GatewayError, NoDescriptionError) as error:
        return replace(device, problem=str(error)[:200])
    device = replace(device, device_type=device_type, product=product, services=services, igd=heard.igd or is_gateway(device_type, services))
    try:
        forged = http_client.request("GET", url, {"Host": f"{_FORGED}:{url.port}"}, heard.link.source, limit.wait(http_client.TIMEOUT)).status
    except GatewayError:
        return device
    return replace(device, forged_host=forged)
