# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a line to hosts with addresses: pure, and different in every run unless a seed is given."""

from __future__ import annotations

import base64
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from .line import Line

GROUPS = {"server": "homeserver", "internet": "vantages", "isp": "isps", "router": "routers", "router2": "routers", "neighbour": "neighbours"}


@dataclass
class Segment:
    """One Ethernet link. The controller has a leg in each, as an operator's laptop at home."""

    name: str
    v4: IPv4Network
    v6: IPv6Network | None
    numbers: list[int]

    def take(self) -> int:
        return self.numbers.pop()

    def v4_of(self, number: int) -> IPv4Interface:
        return IPv4Interface(f"{self.v4[number]}/{self.v4.prefixlen}")

    def v6_of(self, number: int) -> IPv6Interface | None:
        return IPv6Interface(f"{self.v6[number]}/64") if self.v6 else None


@dataclass
class Interface:
    """A host's leg in a segment."""

    name: str
    segment: str
    v4: IPv4Interface
    v6: IPv6Interface | None
    # Fixed, as a network card's: a host that comes back with another one is silence to its neighbours until their caches expire.
    mac: str
    more_v4: list[IPv4Interface] = field(default_factory=list)


@dataclass
class Host:
    """One booted machine."""

    name: str
    interfaces: list[Interface]
    forward: bool = False
    default4: IPv4Address | None = None
    default6: IPv6Address | None = None
    routes: list[tuple[IPv4Network | IPv6Network, IPv4Address | IPv6Address]] = field(default_factory=list)
    # Where the controller reaches it.
    ssh: IPv4Address = IPv4Address(0)

    def interface(self, name: str) -> Interface:
        return next(leg for leg in self.interfaces if leg.name == name)


@dataclass
class Topology:
    """Everything about one lab before anything exists."""

    line: Line
    server_os: str
    seed: int
    segments: dict[str, Segment]
    controller: dict[str, int]
    hosts: dict[str, Host]
    zone: str
    tsig_name: str
    tsig_secret: str
    resolver: IPv4Address
    authorities: list[IPv4Address]
    wan_address: IPv4Address | None
    router_chain: list[str]
    upnp_port: int
    upnp_uuids: dict[str, str]

    @property
    def server_name(self) -> str:
        return f"home.{self.zone}"


def _global_v4(rng: random.Random) -> IPv4Network:
    # None of these first octets holds a block of the IANA special-purpose registry or one that miniupnpd takes for reserved.
    first = rng.choice([*range(20, 100), *range(128, 168)])
    return IPv4Network(f"{first}.{rng.randrange(256)}.{rng.randrange(256)}.0/24")


def _private_v4(rng: random.Random) -> IPv4Network:
    if rng.random() < 0.5:
        return IPv4Network(f"192.168.{rng.randrange(256)}.0/24")
    return IPv4Network(f"10.{rng.randrange(256)}.{rng.randrange(256)}.0/24")


def _cgn_v4(rng: random.Random) -> IPv4Network:
    return IPv4Network(f"100.{rng.randrange(64, 128)}.{rng.randrange(256)}.0/24")


def _global_v6(rng: random.Random) -> IPv6Network:
    first = rng.choice([0x2400, 0x2404, 0x240B, 0x2600, 0x2804, 0x2A01, 0x2A02])
    return IPv6Network((first << 112 | rng.randrange(0x100, 0x10000) << 96 | rng.randrange(0x10000) << 80 | rng.randrange(0x10000) << 64, 64))


def _fresh(rng: random.Random, make: Callable[[random.Random], IPv4Network], used: list[IPv4Network]) -> IPv4Network:
    while True:
        network = make(rng)
        if not any(network.overlaps(other) for other in used):
            used.append(network)
            return network


def plan(line: Line, server_os: str, seed: int) -> Topology:
    """Decide every address and name."""
    rng = random.Random(seed)
    used: list[IPv4Network] = []
    makers = {"core": _global_v4, "access": _cgn_v4 if line.wan == "cgn" else _global_v4}
    if line.routers == 2:
        makers["mid"] = _private_v4
    makers["lan"] = _private_v4
    segments: dict[str, Segment] = {}
    for name, make in makers.items():
        # The management LAN of a home without a router is no part of the Internet.
        v6 = _global_v6(rng) if line.ipv6 and not (name == "lan" and line.routers == 0) else None
        segments[name] = Segment(name, _fresh(rng, make, used), v6, rng.sample(range(2, 250), 12))
    if line.routers:
        # Where home routers like to sit.
        segments["lan"].numbers.append(rng.choice([1, 254, segments["lan"].take()]))
    controller: dict[str, int] = {}
    hosts: dict[str, Host] = {}

    def leg(interface: str, segment: str) -> Interface:
        number = segments[segment].take()
        mac = ":".join(f"{byte:02x}" for byte in (2, *rng.randbytes(5)))
        return Interface(interface, segment, segments[segment].v4_of(number), segments[segment].v6_of(number), mac)

    chain = ["router2", "router"][2 - line.routers :]
    links = ["access", *(["mid"] if line.routers == 2 else []), *(["lan"] if line.routers else [])]
    for index, name in enumerate(chain):
        inner = leg("lan0", links[index + 1])
        hosts[name] = Host(name, [leg("wan0", links[index]), inner], forward=True, ssh=inner.v4.ip)
    hosts["internet"] = Host("internet", [leg("net0", "core")])
    net0 = hosts["internet"].interface("net0")
    net0.more_v4.append(segments["core"].v4_of(segments["core"].take()))
    hosts["isp"] = Host("isp", [leg("core0", "core"), leg("access0", "access")], forward=True)
    for name in ("server", "neighbour"):
        legs = [leg("lan0", "lan")]
        if line.routers == 0:
            legs.append(leg("wan0", "access"))
        hosts[name] = Host(name, legs, ssh=legs[0].v4.ip)
    for name in segments:
        controller[name] = segments[name].take()

    core0, access0 = hosts["isp"].interfaces
    hosts["internet"].ssh, hosts["isp"].ssh = net0.v4.ip, core0.v4.ip
    _routes(line, segments, hosts, chain, core0, access0)
    label = f"{rng.choice('bcdfghjkmnprstvwz')}{rng.randrange(1 << 24):06x}"
    outer = hosts[chain[0]] if chain else hosts["server"]
    return Topology(
        line=line,
        server_os=server_os,
        seed=seed,
        segments=segments,
        controller=controller,
        hosts=hosts,
        zone=f"{label}.example.{rng.choice(['net', 'org', 'com'])}",
        tsig_name=f"key-{rng.randrange(1 << 24):06x}",
        tsig_secret=base64.b64encode(rng.randbytes(32)).decode("ascii"),
        resolver=net0.more_v4[0].ip,
        authorities=[net0.v4.ip, core0.v4.ip],
        wan_address=outer.interface("wan0").v4.ip if line.wan == "global" else None,
        router_chain=chain,
        upnp_port=rng.randrange(1025, 32000),
        upnp_uuids={name: str(uuid.UUID(int=rng.getrandbits(128), version=4)) for name in chain},
    )


def _routes(line: Line, segments: dict[str, Segment], hosts: dict[str, Host], chain: list[str], core0: Interface, access0: Interface) -> None:
    """Default routes towards the Internet; towards the home only what is not behind a NAT."""
    internet, isp = hosts["internet"], hosts["isp"]
    if line.wan == "global":
        internet.routes.append((segments["access"].v4, core0.v4.ip))
    upstream = access0
    for name in chain:
        hosts[name].default4, hosts[name].default6 = upstream.v4.ip, upstream.v6.ip if upstream.v6 else None
        upstream = hosts[name].interface("lan0")
    for name in ("server", "neighbour"):
        hosts[name].default4, hosts[name].default6 = upstream.v4.ip, upstream.v6.ip if upstream.v6 else None
    if not line.ipv6:
        return
    # IPv6 has no NAT: each hop knows the way down to the home's prefixes.
    inner = [link for link in ("mid", "lan") if link in segments and segments[link].v6 and chain]
    for link in ["access", *inner]:
        prefix = segments[link].v6
        assert prefix and core0.v6
        internet.routes.append((prefix, core0.v6.ip))
        if link != "access":
            first = hosts[chain[0]].interface("wan0").v6
            assert first
            isp.routes.append((prefix, first.ip))
    if len(chain) == 2 and segments["lan"].v6:
        via = hosts["router"].interface("wan0").v6
        assert via
        hosts["router2"].routes.append((segments["lan"].v6, via.ip))
