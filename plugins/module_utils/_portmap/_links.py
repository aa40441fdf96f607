# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From which interface, and with which address, this host speaks to its router: for mappings over IPv4, for pinholes over IPv6.

Private to this collection.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from .._address._interfaces import InterfaceAddress, NetlinkError, Network, preferred, read_network
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


@dataclass(frozen=True)
class Link6(Link):
    """The network in which the router for IPv6 is.

    Attributes:
        source: the address of this host that pinholes are for: global, and neither temporary nor on its way out.
        gateway: the router's address, with the interface as its scope where it is link-local.
        addresses: every IPv6 address that this host has now.
        local: this host's link-local address towards the router, empty if there is none.
    """

    addresses: frozenset[str] = frozenset()
    local: str = ""

    def reaches(self, address: str) -> bool:
        return address == self.gateway

    def __str__(self) -> str:
        return f"{self.interface} ({self.source})"


def socket_address(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return what a socket takes for an address; the scope of a link-local one is a number there."""
    host, _mark, scope = address.partition("%")
    return (host, port, 0, socket.if_nametoindex(scope)) if scope else (host, port)


def read_links(interface: str | None = None, gateway: str | None = None, network: Network | None = None, shown: str | None = None) -> list[Link]:
    """Return the links on which to look for a router, best first.

    Args:
        interface: the only interface to use; None for those that default routes lead over.
        gateway: the router's address, if it is known; then the link that reaches it is returned.
        network: for tests; None reads the kernel's tables.
        shown: how the router's address was given, for messages.
    """
    network = network or _read_network()
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


def _read_network() -> Network:
    try:
        return read_network()
    except NetlinkError as error:
        raise NoGatewayError(f"the kernel's routing table cannot be read: {error}") from error


def read_link6(interface: str | None = None, network: Network | None = None) -> Link6:
    """Return the link to the router for IPv6, with the address to open ports for: the one that is published, see C(preferred).

    Args:
        interface: the only interface to use; None for that of the best default route.
        network: for tests; None reads the kernel's tables.
    """
    network = network or _read_network()
    own = [address for address in network.addresses if address.family == "ipv6" and address.address_class not in ("loopback", "multicast")]
    fit = [address for address in preferred(own, "ipv6") if interface in (None, address.name)]
    routes = [route for route in network.default_routes if route.family == "ipv6" and interface in (None, route.interface)]
    where = f" over {interface}" if interface else ""
    if not routes:
        raise NoGatewayError(
            f"this host has no default route over IPv6{where}, so there is no router that could open a port; see that IPv6 is on in the router"
        )
    if not fit:
        have = ", ".join(_shown(address) for address in own if interface in (None, address.name)) or "none"
        raise NoGatewayError(
            f"this host has no global IPv6 address that stays{where}, so there is nothing to open a port for; it has: {have}. See that the router announces a"
            " global prefix, and that the host has an address in it that is not temporary"
        )
    address = fit[0]
    route = next((route for route in routes if route.interface == address.name), routes[0])
    if route.gateway is None or ":" not in route.gateway:
        raise NoGatewayError(f"the default route over IPv6 leads to {route.interface} without a router before it, so nobody has to open a port")
    local = next((item.address for item in own if item.name == route.interface and item.address_class == "link_local" and not item.tentative), "")
    gateway = f"{route.gateway}%{route.interface}" if ipaddress.IPv6Address(route.gateway).is_link_local else route.gateway
    return Link6(route.interface, address.address, gateway, (), frozenset(item.address for item in own if not item.tentative), local)


def _shown(address: InterfaceAddress) -> str:
    words = [word for word in ("temporary", "deprecated", "tentative") if getattr(address, word)]
    return f"{address.name} {address.address} ({', '.join([*words, address.address_class])})"


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
