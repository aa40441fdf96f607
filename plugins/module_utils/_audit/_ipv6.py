# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's place in an IPv6 network, and addresses of devices in it.

Private to this collection.
"""

from __future__ import annotations

import ipaddress
import random
import socket
from dataclasses import dataclass

from .._address._interfaces import NetlinkError, Network, read_network
from .._portmap import _http_client as http_client


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
    """

    interface: str
    index: int = 0
    address: str = ""
    prefix: ipaddress.IPv6Network | None = None
    gateway: str = ""

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
    rows = [
        row
        for row in network.addresses
        if row.name == interface and row.family == "ipv6" and not (row.temporary or row.deprecated or row.tentative) and _routable(row.address)
    ]
    rows.sort(key=lambda row: (not row.publish_candidate, row.dynamic, row.address))
    gateway = routes[0] if routes else ""
    if not rows:
        return Place(interface, index, gateway=gateway)
    # An address from DHCPv6 is one alone; the network around it has 64 bits all the same.
    prefix = ipaddress.IPv6Network((rows[0].address, 64 if rows[0].prefix_length == 128 else rows[0].prefix_length), strict=False)
    return Place(interface, index, rows[0].address, prefix, gateway)


def is_link_local(text: str) -> bool:
    """Whether an address means something on one link only."""
    return text.lower().startswith("fe80:")


def _routable(text: str) -> bool:
    address = ipaddress.IPv6Address(text)
    return not (address.is_link_local or address.is_loopback or address in ipaddress.IPv6Network("fc00::/7"))
