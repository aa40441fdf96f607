# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who answers a search on the LAN, over IPv4 and IPv6: every answer until the deadline, then the description of each device.

Private to this collection.

Answers count from any port. A device is asked for its description only at the address that answered; where it names another one, that
is written down and nobody goes there. Over IPv6 every host has several addresses: who answers from one and names another is asked only if
the other one answers too.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import time
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from .._portmap import _http_client as http_client
from .._portmap._discovery import GROUP, PORT, open_search, parse_answer, search_message
from .._portmap._errors import GatewayError
from .._portmap._links import Link
from ._deadline import Deadline
from ._document import NoDescriptionError, is_gateway, own_url, read_device
from ._ipv6 import Place, Url6, find_place, host_of, read_cards
from ._ipv6 import open_search as open_search_over_ipv6
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
#: For an answer to whose network card an address is.
_RESOLVE = 0.5
_FORGED = "rebind.example"
_GROUP_6 = "ff02::c"


@dataclass(frozen=True)
class Census:
    """The devices that answered. C(cut): there were more than are looked at."""

    devices: tuple[Device, ...] = ()
    cut: bool = False


@dataclass
class _Heard:
    link: Link
    server: str
    #: Where it was heard over IPv6; None for IPv4.
    place: Place | None = None
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
    places = {link.interface: find_place(link.interface) for link in links}
    with contextlib.ExitStack() as stack:
        opened: list[_Opened] = []
        for link in links:
            for way in ("multicast",) if multicast_only else ("multicast", "unicast"):
                with contextlib.suppress(OSError):
                    opened.append(_Opened(stack.enter_context(open_search(link)), link, way))
            place = places[link.interface]
            # Devices answer to the kind of address that asks, and some have one of the two only.
            for source in filter(None, (place.address, place.link_local)):
                with contextlib.suppress(OSError):
                    opened.append(_Opened(stack.enter_context(open_search_over_ipv6(place, source)), link, "multicast", place))
        _listen(opened, gateway, timeout, heard)
    # The router first: the time may not last for all.
    rows = sorted(without_echoes(heard.rows).items(), key=lambda row: not _is_gateway(row[0][0], row[1], gateway))
    limit = Deadline(_DESCRIBE)
    with ThreadPoolExecutor(_THREADS) as pool:
        devices = list(pool.map(lambda row: _describe(row[0], row[1], gateway, limit), rows))
    indexes = {place.interface: place.index for place in places.values()}
    cards = _cards({(indexes[device.interface], device.address) for device in devices if ":" in device.address})
    routers = {link.interface: gateway or link.gateway or "" for link in links}
    return Census(
        tuple(with_ipv4(device, indexes.get(device.interface, 0), routers.get(device.interface, ""), devices, cards) for device in devices), heard.cut
    )


def _cards(wanted: Set[tuple[int, str]]) -> dict[tuple[int, str], bytes]:
    """Return the addresses of network cards. Whom this host only heard is asked once more, so that the kernel learns where he is."""
    cards = read_cards() if wanted else {}
    missing = [row for row in sorted(wanted) if row not in cards]
    for index, address in missing:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
            opened.sendto(search_message("upnp:rootdevice", f"[{address}]"), (address, PORT, 0, index))
    limit = Deadline(_RESOLVE if missing else 0)
    while not limit.over and any(row not in cards for row in missing):
        time.sleep(0.02)
        cards = read_cards()
    return cards


def without_echoes(rows: Mapping[tuple[str, str], _Heard]) -> dict[tuple[str, str], _Heard]:
    """Leave out who names over IPv6 a description on another address that answered for itself: there it is read."""
    own = {location for (address, location) in rows if host_of(location) == address}
    return {
        (address, location): heard for (address, location), heard in rows.items() if heard.place is None or host_of(location) == address or location not in own
    }


def with_ipv4(device: Device, index: int, router: str, devices: Sequence[Device], cards: Mapping[tuple[int, str], bytes]) -> Device:
    """Add to a device that answered over IPv6 the IPv4 address of the same network card: that of the router, or of another device that answered."""
    if ":" not in device.address:
        return device
    card = cards.get((index, device.address))
    known = [router, *(other.address for other in devices if other.interface == device.interface and ":" not in other.address)]
    same = next((address for address in known if card is not None and address and cards.get((index, address)) == card), "")
    is_router = device.default_gateway or (bool(same) and same == router)
    # The router may well name its address on the other side.
    return replace(device, ipv4=same, default_gateway=is_router, elsewhere=device.elsewhere and not is_router)


def at(location: http_client.Url, link: Link, gateway: str | None) -> Device:
    """Return the device whose description is at a known address."""
    return _describe((location.host, str(location)), _Heard(link, "", via={"option"}), gateway, Deadline(_DESCRIBE))


@dataclass(frozen=True)
class _Opened:
    """A socket that searches. C(place) is that of IPv6, None for IPv4."""

    socket: socket.socket
    link: Link
    way: str
    place: Place | None = None


def _is_gateway(address: str, heard: _Heard, gateway: str | None) -> bool:
    return address == (heard.place.gateway if heard.place else gateway or heard.link.gateway)


def _listen(opened: Sequence[_Opened], gateway: str | None, timeout: float, heard: _Answers) -> None:
    start = time.monotonic()
    rounds = list(_ROUNDS)
    sockets = [one.socket for one in opened]
    if not sockets:
        return
    while True:
        now = time.monotonic()
        if rounds and now >= start + rounds[0] * timeout:
            rounds.pop(0)
            for one in opened:
                _send(one, gateway)
        if now >= start + timeout:
            return
        until = start + rounds[0] * timeout if rounds else start + timeout
        ready = select.select(sockets, [], [], max(0.0, until - now))[0]
        for one in opened:
            if one.socket in ready:
                _receive(one, heard)


def _send(opened: _Opened, gateway: str | None) -> None:
    host = GROUP if opened.way == "multicast" else gateway or opened.link.gateway
    if host is None:
        return
    for target in _TARGETS:
        with contextlib.suppress(OSError):
            if opened.place is not None:
                opened.socket.sendto(search_message(target, f"[{_GROUP_6.upper()}]"), (_GROUP_6, PORT, 0, opened.place.index))
            else:
                opened.socket.sendto(search_message(target, host), (host, PORT))


def _receive(opened: _Opened, heard: _Answers) -> None:
    try:
        data, peer = opened.socket.recvfrom(8192)
    except OSError:
        return
    sender, link = str(peer[0]).partition("%")[0], opened.link
    answer = parse_answer(data)
    if answer is None or not (opened.place.reaches(sender) if opened.place else link.reaches(sender)):
        return
    key = (sender, answer.location[:400])
    if key not in heard.rows and not heard.has_room(sender, sender in (link.gateway, opened.place.gateway if opened.place else "")):
        return
    row = heard.rows.setdefault(key, _Heard(link, answer.server[:160], opened.place))
    row.via.add(opened.way)
    row.igd = row.igd or b"internetgatewaydevice" in data.lower() or b"service:wanipconnection" in data.lower()


def _describe(key: tuple[str, str], heard: _Heard, gateway: str | None, limit: Deadline) -> Device:
    address, location = key
    device = Device(
        address,
        heard.link.interface,
        location,
        server=heard.server,
        igd=heard.igd,
        default_gateway=_is_gateway(address, heard, gateway),
        via=tuple(sorted(heard.via)),
    )
    source = heard.link.source if heard.place is None else None
    host = host_of(location)
    if host != address and (heard.place is None or not _near(host, heard.place, heard.link)):
        return replace(device, elsewhere=True, problem=f"it names {host[:60] or 'no usable address'}, which did not answer; nobody was asked there")
    if host != address:
        # It may be an address of its own.
        return replace(device, problem=f"it names {host}, which did not answer; nobody was asked there")
    try:
        url = http_client.parse_url(location) if heard.place is None else _over_ipv6(location, heard.place, address)
        reply = http_client.get(url, source, limit.wait(http_client.TIMEOUT))
        device = replace(device, http_server=reply.headers.get("server", "")[:160])
        if reply.status != 200:
            return replace(device, problem=f"HTTP status {reply.status}")
        device_type, product, services = read_device(reply.body, url)
    except (GatewayError, NoDescriptionError) as error:
        return replace(device, problem=str(error)[:200])
    device = replace(device, device_type=device_type, product=product, services=services, igd=heard.igd or is_gateway(device_type, services))
    try:
        forged = http_client.request("GET", url, {"Host": f"{_FORGED}:{url.port}"}, source, limit.wait(http_client.TIMEOUT)).status
    except GatewayError:
        return device
    return replace(device, forged_host=forged)


def _near(host: str, place: Place, link: Link) -> bool:
    try:
        if ipaddress.ip_address(host).version == 4:
            return link.reaches(host)
        # Who has no address of the network that is announced does not know it.
        return place.reaches(host) or not place.networks
    except ValueError:
        return False


def _over_ipv6(location: str, place: Place, address: str) -> Url6:
    """Return where a description is that a device has at its own address."""
    found = own_url(location, location)
    if found is None:
        raise GatewayError(f"{location[:120]!r} is not a usable address: only http:// is used with devices")
    return place.url(address, found.port, found.path)
