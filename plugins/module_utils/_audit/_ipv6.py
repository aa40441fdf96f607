# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's place in an IPv6 network, addresses of devices in it, and which of them are one device.

Private to this collection.
"""

from __future__ import annotations

import ipaddress
import random
import socket
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

from .._address import _netlink as netlink
from .._address._interfaces import NetlinkError, Network, read_network
from .._portmap import _http_client as http_client
from .._portmap._discovery import ROOM

_RTM_GETNEIGH = 30
_NDA_DST, _NDA_LLADDR = 1, 2


class Url6(http_client.Url):
    """An address whose host is an IPv6 literal. That of a link-local one carries its interface, which is nobody else's business."""

    @property
    def netloc(self) -> str:
        return f"[{self.host.partition('%')[0]}]:{self.port}"


@dataclass(frozen=True)
class Place:
    """What this host has on an interface.

    Attributes:
        interface: the interface's name.
        index: its number.
        address: the lasting address that the Internet could reach; empty if there is none.
        prefix: the network of that address.
        gateway: the router; empty if there is no default route.
        link_local: the address that is good on this link only.
        own: all addresses of this host on the interface.
        networks: what is reachable without a router, besides link-local addresses.
    """

    interface: str
    index: int = 0
    address: str = ""
    prefix: ipaddress.IPv6Network | None = None
    gateway: str = ""
    link_local: str = ""
    own: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv6Network, ...] = ()

    def reaches(self, text: str) -> bool:
        """Whether an address is that of another host on this link."""
        address = ipaddress.IPv6Address(text)
        if text in self.own or address.is_loopback or address.is_multicast or address.is_unspecified:
            return False
        return address.is_link_local or any(address in network for network in self.networks)

    @property
    def scope(self) -> int:
        """The interface's number where the router's address needs it."""
        return self.index if is_link_local(self.gateway) else 0

    def url(self, host: str, port: int, path: str) -> Url6:
        """Return where a host of this network is asked."""
        return Url6(f"{host}%{self.interface}" if is_link_local(host) else host, port, path)

    def unused(self) -> str:
        """Return an address of the network that nobody has, by all odds; empty if the network is too small for that."""
        if self.prefix is None or self.prefix.prefixlen > 96:
            return ""
        # Not for secrets: nothing is hidden by it.
        return str(self.prefix[random.getrandbits(128 - self.prefix.prefixlen)])


def find_place(interface: str, network: Network | None = None) -> Place:
    """Return what this host has on an interface, nothing if the kernel does not say."""
    try:
        network = network or read_network()
        index = socket.if_nametoindex(interface)
    except (NetlinkError, OSError):
        return Place(interface)
    routes = [route.gateway for route in network.default_routes if route.family == "ipv6" and route.interface == interface and route.gateway]
    every = [row for row in network.addresses if row.name == interface and row.family == "ipv6"]
    lasting = [row for row in every if not (row.temporary or row.deprecated or row.tentative)]
    rows = [row for row in lasting if _routable(row.address)]
    rows.sort(key=lambda row: (not row.publish_candidate, row.dynamic, row.address))
    # An address from DHCPv6 is one alone; the network around it has 64 bits all the same.
    prefix = ipaddress.IPv6Network((rows[0].address, 64 if rows[0].prefix_length == 128 else rows[0].prefix_length), strict=False) if rows else None
    around = (ipaddress.IPv6Network((row.address, row.prefix_length), strict=False) for row in every if row.prefix_length < 128)
    return Place(
        interface,
        index,
        rows[0].address if rows else "",
        prefix,
        routes[0] if routes else "",
        next((row.address for row in lasting if is_link_local(row.address)), ""),
        frozenset(row.address for row in every),
        tuple(network for network in around if not network.is_link_local),
    )


def open_search(place: Place, source: str) -> socket.socket:
    """Return a socket from which a search goes out from one of this host's addresses, without waiting for answers."""
    opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.bind((source, 0, 0, place.index))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, place.index)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 2)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    except BaseException:
        opened.close()
        raise
    return opened


def host_of(location: str) -> str:
    """Return the host of an address, as IP addresses are written and without an interface; empty if there is none."""
    try:
        host = (urlsplit(location).hostname or "").partition("%")[0]
        # Before Python 3.11.4, whatever stands in brackets was taken for an address.
        return str(ipaddress.ip_address(host)) if ":" in host or "[" in location.partition("://")[2].partition("/")[0] else host
    except ValueError:
        return ""


class _Neighbours(netlink.Netlink):
    """Lists whom this host has lately spoken with."""

    def payloads(self) -> list[bytes]:
        return [
            payload for family in (socket.AF_INET, socket.AF_INET6) for payload in self._dump(_RTM_GETNEIGH, struct.pack("=BxHiHBB", family, 0, 0, 0, 0, 0))
        ]


def read_cards() -> dict[tuple[int, str], bytes]:
    """Return the addresses of network cards, by the number of this host's interface and the IP address; empty if the kernel does not say."""
    try:
        neighbours = _Neighbours()
        with neighbours:
            return dict(filter(None, map(parse_neighbour, neighbours.payloads())))
    except OSError:
        return {}


def parse_neighbour(payload: bytes) -> tuple[tuple[int, str], bytes] | None:
    """Read the payload of RTM_NEWNEIGH: interface and IP address, and the card's address; None if that is not known."""
    family, index = struct.unpack_from("=BxxxI", payload)
    attributes = netlink.parse_attributes(payload[12:])
    address, card = attributes.get(_NDA_DST, b""), attributes.get(_NDA_LLADDR, b"")
    if not any(card) or (family, len(address)) not in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        return None
    return (index, socket.inet_ntop(family, address)), card


def is_link_local(text: str) -> bool:
    """Whether an address means something on one link only."""
    return text.lower().startswith("fe80:")


def _routable(text: str) -> bool:
    address = ipaddress.IPv6Address(text)
    return not (address.is_link_local or address.is_loopback or address in ipaddress.IPv6Network("fc00::/7"))
