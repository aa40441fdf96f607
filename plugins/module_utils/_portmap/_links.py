# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From which interface, and with which address, this host speaks to its router.

Private to this collection.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from .._address._interfaces import NetlinkError, Network, preferred, read_network
from ._errors import BadRequestError, NoGatewayError


@dataclass(frozen=True)
class Link:
    """A network that this host is connected to.

    Attributes:
        interface: the interface's name.
        source: this host's address in it.
        gateway: the default gateway in it, None if the default route does not lead there.
        networks: what is reachable without a router.
    """

    interface: str
    source: str
    gateway: str | None
    networks: tuple[ipaddress.IPv4Network, ...]

    def reaches(self, address: str) -> bool:
        """Whether an address is that of another host on this link."""
        if address == self.gateway:
            return True
        parsed = ipaddress.IPv4Address(address)
        if address == self.source or parsed.is_loopback or parsed.is_multicast or parsed.is_unspecified:
            return False
        return any(parsed in network and parsed not in (network.network_address, network.broadcast_address) for network in self.networks)

    def __str__(self) -> str:
        return f"{self.interface} ({', '.join(str(network) for network in self.networks) or self.source})"


def read_links(interface: str | None = None, gateway: str | None = None, network: Network | None = None, shown: str | None = None) -> list[Link]:
    """Return the links on which to look for a router, best first.

    Args:
        interface: the only interface to use; None for those that default routes lead over.
        gateway: the router's address, if it is known; then the link that reaches it is returned.
        network: for tests; None reads the kernel's tables.
        shown: how the router's address was given, for messages.
    """
    if network is None:
        try:
            network = read_network()
        except NetlinkError as error:
            raise NoGatewayError(f"the kernel's routing table cannot be read: {error}") from error
    names = {address.name for address in network.addresses}
    if interface is not None and interface not in names:
        have = ", ".join(sorted(names)) or "none"
        raise BadRequestError(f"interface {interface!r} does not exist on this host or has no address; there are: {have}")
    found = [link for link in _default_links(network) if interface in (None, link.interface)]
    if gateway is not None:
        everywhere = [*found, *(link for name in sorted(names) if interface in (None, name) for link in _links_of(network, name))]
        for link in everywhere:
            if link.reaches(gateway):
                return [link]
        where = ", ".join(dict.fromkeys(str(link) for link in everywhere)) or "none"
        raise BadRequestError(
            f"gateway {shown or gateway} is not in a network that this host is connected to ({where}): port mappings can be asked for from inside only;"
            " give the address that the router has in the LAN, or leave the option out"
        )
    if not found and interface is not None:
        found = _links_of(network, interface)
        if not found:
            raise BadRequestError(f"interface {interface!r} has no IPv4 address, so no router can be asked from it")
    return found


def _default_links(network: Network) -> list[Link]:
    links: list[Link] = []
    for route in network.default_routes:
        if route.family != "ipv4":
            continue
        networks = _networks(network, route.interface)
        source = route.source or next((str(address) for address in _sources(network, route.interface)), None)
        if source is not None and route.gateway is not None:
            links.append(Link(route.interface, source, route.gateway, networks))
    return links


def _links_of(network: Network, name: str) -> list[Link]:
    sources = _sources(network, name)
    return [Link(name, sources[0], None, _networks(network, name))] if sources else []


def _sources(network: Network, name: str) -> list[str]:
    own = [address for address in network.addresses if address.name == name and address.family == "ipv4"]
    best = [address.address for address in preferred(own, "ipv4")]
    return best + [address.address for address in own if address.address not in best]


def _networks(network: Network, name: str) -> tuple[ipaddress.IPv4Network, ...]:
    return tuple(
        dict.fromkeys(
            ipaddress.IPv4Network((address.address, address.prefix_length), strict=False)
            for address in network.addresses
            if address.name == name and address.family == "ipv4" and address.prefix_length < 32
        )
    )
