# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of this host, and which of them can be published.

Private to this collection: no compatibility is promised to code outside it.

    network = read_network()
    network.addresses                         [InterfaceAddress]
    network.default_routes                    [DefaultRoute], the best of each family first
    preferred(network.addresses, "ipv6")      what to publish, the best first
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ._classify import GLOBAL, address_class
from ._netlink import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_PERMANENT,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    InterfaceAddressRow,
    Link,
    Netlink,
    NetlinkError,
    Route,
)

__all__ = ["DefaultRoute", "InterfaceAddress", "Network", "NetlinkError", "describe_network", "preferred", "read_network"]

#: Virtual interfaces that lead to containers, to virtual machines or into an overlay. Their addresses are candidates only if they carry the default route.
#: The kind counts, not the name: names are chosen freely.
_INNER_KINDS = frozenset(
    {
        *("bridge", "veth", "netkit", "ifb", "tun", "wireguard", "vxlan", "geneve", "gtp", "bareudp", "batadv"),
        *("gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan", "ipip", "sit", "ip6tnl", "vti", "vti6", "xfrm"),
    }
)

#: A destination in the space of IPv6 addresses, to ask the kernel which source it would choose. It is never sent to.
_SOMEWHERE = "2001:db8::1"


@dataclass(frozen=True)
class DefaultRoute:
    """Where packets for the Internet go.

    Attributes:
        family: C(ipv4) or C(ipv6).
        gateway: the router's address; None on point-to-point links.
        interface: the name of the interface.
        source: the address that the kernel sends from. For IPv6 that may be a temporary address: not one to publish.
        metric: the kernel's metric, lower is better.
    """

    family: str
    gateway: str | None
    interface: str
    source: str | None
    metric: int

    def as_data(self) -> dict[str, Any]:
        """Return the route as a plain mapping."""
        return asdict(self)


@dataclass(frozen=True)
class InterfaceAddress:
    """An address of this host. Lifetimes are seconds, None is for ever.

    Attributes:
        kind: the kernel's word for a virtual interface, None for a physical one.
        up: the interface is switched on and has a carrier.
        temporary: a privacy address (RFC 8981) that the host will replace.
        deprecated: not to be used for new connections.
        tentative: not usable, because its uniqueness is not proved yet or was refuted.
        dynamic: from a lease or a router's announcement, not configured for ever.
        on_default_route: its interface carries a default route of its family.
        publish_candidate: fit for public DNS, as far as this host can tell.
    """

    name: str
    address: str
    family: str
    prefix_length: int
    address_class: str
    kind: str | None
    up: bool
    temporary: bool
    deprecated: bool
    tentative: bool
    dynamic: bool
    valid_lifetime: int | None
    preferred_lifetime: int | None
    on_default_route: bool
    publish_candidate: bool

    def as_data(self) -> dict[str, Any]:
        """Return the address as a plain mapping."""
        return asdict(self)


@dataclass(frozen=True)
class Network:
    """What this host knows of its place in the network."""

    addresses: list[InterfaceAddress]
    default_routes: list[DefaultRoute]


def _fits(row: InterfaceAddressRow, link: Link) -> bool:
    """Tell whether an address could be published, whatever the routes are."""
    spoilt = IFA_F_DEPRECATED | IFA_F_TENTATIVE | IFA_F_DADFAILED
    if row.family == "ipv6":
        spoilt |= IFA_F_TEMPORARY
    return link.up and not row.flags & spoilt and address_class(row.address) == GLOBAL


def _candidates(links: dict[int, Link], rows: Sequence[InterfaceAddressRow], routes: Sequence[Route]) -> set[tuple[int, str]]:
    """Choose the addresses to publish: those on the interface of the best default route, else of another one, else elsewhere.

    Without a default route of their family none can answer the Internet.
    """
    chosen: set[tuple[int, str]] = set()
    for family in ("ipv4", "ipv6"):
        indexes = [route.index for route in routes if route.family == family]
        ranked: dict[int, set[tuple[int, str]]] = {}
        for row in rows:
            link = links.get(row.index)
            if row.family != family or not indexes or link is None or not _fits(row, link):
                continue
            if row.index not in indexes and link.kind in _INNER_KINDS:
                continue
            rank = indexes.index(row.index) if row.index in indexes else len(indexes)
            ranked.setdefault(rank, set()).add((row.index, row.address))
        if ranked:
            chosen |= ranked[min(ranked)]
    return chosen


def sort_routes(routes: Sequence[Route], links: Sequence[Link]) -> list[Route]:
    """Put IPv4 before IPv6, routes over interfaces that have a carrier first, and among these the one that the kernel takes."""
    up = {link.index for link in links if link.up}
    return sorted(routes, key=lambda route: (route.family, route.index not in up, route.metric, route.preference))


def describe_network(links: Sequence[Link], rows: Sequence[InterfaceAddressRow], routes: Sequence[Route]) -> Network:
    """Join what the kernel lists."""
    by_index = {link.index: link for link in links}
    routes = sort_routes(routes, links)
    candidates = _candidates(by_index, rows, routes)
    on_route = {(route.index, route.family) for route in routes}
    addresses = []
    for row in rows:
        link = by_index.get(row.index)
        if link is None:  # it went away between two questions
            continue
        addresses.append(
            InterfaceAddress(
                name=link.name,
                address=row.address,
                family=row.family,
                prefix_length=row.prefix_length,
                address_class=address_class(row.address) or "",
                kind=link.kind,
                up=link.up,
                temporary=row.family == "ipv6" and bool(row.flags & IFA_F_TEMPORARY),
                deprecated=bool(row.flags & IFA_F_DEPRECATED),
                tentative=bool(row.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)),
                dynamic=not row.flags & IFA_F_PERMANENT,
                valid_lifetime=row.valid_lifetime,
                preferred_lifetime=row.preferred_lifetime,
                on_default_route=(row.index, row.family) in on_route,
                publish_candidate=(row.index, row.address) in candidates,
            )
        )
    return Network(
        addresses,
        [DefaultRoute(route.family, route.gateway, by_index[route.index].name, route.source, route.metric) for route in routes if route.index in by_index],
    )


def preferred(addresses: Sequence[InterfaceAddress], family: str) -> list[InterfaceAddress]:
    """Return the candidates of a family, what stays longest first: configured for ever, then from DHCPv6 (/128), then from announcements."""
    return sorted(
        (row for row in addresses if row.family == family and row.publish_candidate),
        key=lambda row: (row.dynamic, row.family == "ipv6" and row.prefix_length != 128, row.address),
    )


def _with_source(netlink: Netlink, route: Route) -> Route:
    if route.source is not None:
        return route
    towards = route.gateway if route.family == "ipv4" and route.gateway and ":" not in route.gateway else None
    towards = towards or (_SOMEWHERE if route.family == "ipv6" else "192.0.2.1")
    source = netlink.source_towards(route.family, towards, route.index)
    return Route(route.family, route.gateway, route.index, source, route.metric, route.preference)


def read_network() -> Network:
    """Ask the kernel.

    Raises:
        NetlinkError: it did not answer.
    """
    with Netlink() as netlink:
        links, rows = netlink.links(), netlink.addresses()
        routes = [_with_source(netlink, route) for route in netlink.default_routes()]
    return describe_network(links, rows, routes)
