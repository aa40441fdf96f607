# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a line to hosts with addresses: pure, and different in every run unless a seed is given."""

from __future__ import annotations

import base64
import importlib.util
import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from .line import IN_SET, Line
from .util import LAB_DIR

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
    more_v6: list[IPv6Interface] = field(default_factory=list)


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


@dataclass(frozen=True)
class MapE:
    """The home's share of an IPv4 address: RFC 7597. Ports lie in the blocks."""

    address: IPv4Address
    site: IPv6Network
    blocks: tuple[tuple[int, int], ...]

    def has(self, port: int) -> bool:
        return any(first <= port <= last for first, last in self.blocks)


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
    resolver: IPv4Address | IPv6Address
    authorities: list[IPv4Address]
    wan_address: IPv4Address | None
    router_chain: list[str]
    upnp_port: int
    upnp_uuids: dict[str, str]
    services: list[dict[str, Any]]
    map_e: MapE | None
    # The address that the provider translates one to one.
    one_to_one: IPv4Address | None
    # On the internet host, addresses of their own: two servers that tell what they see, and the far end of the server's VPN.
    helpers: list[IPv4Interface]
    helpers6: list[IPv6Interface]
    vpn_end: IPv4Address
    vpn_net: IPv4Network
    overlay: IPv4Address

    @property
    def all_helpers(self) -> list[str]:
        return [*(str(one.ip) for one in self.helpers), *(str(one.ip) for one in self.helpers6)]

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


def _continuity_v4(_rng: random.Random) -> IPv4Network:
    # RFC 7335: the only one there is.
    return IPv4Network("192.0.0.0/29")


ACCESS = {"cgn": _cgn_v4, "cgn_private": _private_v4, "ds_lite": _continuity_v4, "clat": _continuity_v4}
#: The provider's end is the first; RFC 6333 gives a home router the second, RFC 7335 a translator in the host any other.
CONTINUITY_NUMBERS = {"ds_lite": [5, 1, 2], "clat": [5, 6, 4, 1]}


def _global_v6(rng: random.Random) -> IPv6Network:
    while True:
        first = rng.choice([0x2400, 0x2404, 0x240B, 0x2600, 0x2804, 0x2A01, 0x2A02])
        network = IPv6Network((first << 112 | rng.randrange(0x100, 0x10000) << 96 | rng.randrange(0x10000) << 80 | rng.randrange(0x10000) << 64, 64))
        # A home with a prefix of somebody's MAP-E would look like one that has it.
        if not any(network.subnet_of(IPv6Network(prefix)) for rows in _map_rules().RULES.values() for prefix, _ipv4 in rows):
            return network


@cache
def _map_rules() -> Any:
    """The collection's table of mapping rules, read as a file: it is data, and the lab runs outside Ansible."""
    path = LAB_DIR.parents[1] / "plugins" / "module_utils" / "_line" / "_map_rules.py"
    spec = importlib.util.spec_from_file_location("lab_map_rules", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _map_e(rng: random.Random, service: str, unwanted: Iterable[int]) -> MapE:
    """A home of the service: EA bits (rest of the IPv4 address, PSID) at random. None of the ports that services ask for by number is in its set."""
    table = _map_rules()
    offset = table.SERVICES[service][0]
    unwanted = set(unwanted)
    while True:
        prefix, ipv4 = _rule(rng, table.RULES[service])
        ea = rng.getrandbits(table.EA_END - prefix.prefixlen)
        psid_bits = table.EA_END - prefix.prefixlen - (32 - ipv4.prefixlen)
        psid, low = ea & ((1 << psid_bits) - 1), 16 - offset - psid_bits
        address = ipv4[ea >> psid_bits]
        starts = [(high << (16 - offset)) + (psid << low) for high in range(1, 1 << offset)]
        site = IPv6Network((int(prefix.network_address) | ea << (128 - table.EA_END), table.EA_END))
        found = MapE(address, site, tuple((one, one + (1 << low) - 1) for one in starts))
        if not any(found.has(port) for port in unwanted) and 0 < int(address) & 255 < 255:
            return found


def _rule(rng: random.Random, rows: tuple[tuple[str, str], ...]) -> tuple[IPv6Network, IPv4Network]:
    prefix, ipv4 = rng.choice(rows)
    return IPv6Network(prefix), IPv4Network(ipv4)


def _fresh(rng: random.Random, make: Callable[[random.Random], IPv4Network], used: list[IPv4Network]) -> IPv4Network:
    while True:
        network = make(rng)
        if not any(network.overlaps(other) for other in used):
            used.append(network)
            return network


def plan(line: Line, server_os: str, seed: int) -> Topology:
    """Decide every address and name."""
    rng = random.Random(seed)
    # Podman keeps this one for a network of its own.
    used = [IPv4Network("10.88.0.0/16")]
    shared: MapE | None = None
    if line.wan == "map_e":
        shared = _map_e(rng, line.map_service, [port for one in line.services for port in (one.port, one.external_port) if isinstance(port, int)])
        used.append(IPv4Network(shared.address))
    makers = {"core": _global_v4, "access": ACCESS.get(line.wan, _global_v4)}
    if line.routers == 2:
        makers["mid"] = _private_v4
    makers["lan"] = _private_v4
    segments: dict[str, Segment] = {}
    subnets = iter(rng.sample(list(shared.site.subnets(new_prefix=64)), 2)) if shared else iter(())
    for name, make in makers.items():
        v6: IPv6Network | None = None
        # The management LAN of a home without a router is no part of the Internet.
        if line.ipv6 and not (name == "lan" and line.routers == 0):
            v6 = next(subnets) if shared and name in ("mid", "lan") else _global_v6(rng)
        numbers = rng.sample(range(2, 250), 12)
        segments[name] = Segment(name, _fresh(rng, make, used), v6, list(CONTINUITY_NUMBERS[line.wan]) if make is _continuity_v4 else numbers)
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
    extra = [segments["core"].take() for _one in range(3)]
    net0.more_v4 = [segments["core"].v4_of(number) for number in extra]
    net0.more_v6 = [six for number in extra[:2] if (six := segments["core"].v6_of(number))]
    hosts["isp"] = Host("isp", [leg("core0", "core"), leg("access0", "access")], forward=True)
    for name in ("server", "neighbour"):
        legs = [leg("lan0", "lan")]
        if line.routers == 0:
            legs.append(leg(line.interface, "access"))
        hosts[name] = Host(name, legs, ssh=legs[0].v4.ip)
    for name in segments:
        controller[name] = segments[name].take()

    core0, access0 = hosts["isp"].interfaces
    hosts["internet"].ssh, hosts["isp"].ssh = net0.v4.ip, core0.v4.ip
    mapped = segments["access"].v4[segments["access"].take()] if line.wan == "one_to_one" else None
    _routes(line, segments, hosts, chain, core0, access0)
    label = f"{rng.choice('bcdfghjkmnprstvwz')}{rng.randrange(1 << 24):06x}"
    outer = hosts[chain[0]].interface("wan0") if chain else hosts["server"].interface(line.interface)
    if shared:
        hosts["internet"].routes.append((IPv4Network(shared.address), core0.v4.ip))
        hosts["isp"].routes.append((IPv4Network(shared.address), outer.v4.ip))
    wan_address = shared.address if shared else mapped or (outer.v4.ip if line.wan == "global" else None)
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
        resolver=net0.more_v6[0].ip if line.wan == "none" else net0.more_v4[0].ip,
        authorities=[net0.v4.ip, core0.v4.ip],
        wan_address=wan_address,
        router_chain=chain,
        upnp_port=rng.randrange(1025, 32000),
        upnp_uuids={name: str(uuid.UUID(int=rng.getrandbits(128), version=4)) for name in chain},
        services=_services(rng, line, shared),
        map_e=shared,
        one_to_one=mapped,
        helpers=net0.more_v4[:2],
        helpers6=net0.more_v6,
        vpn_end=net0.more_v4[2].ip,
        vpn_net=_fresh(rng, _private_v4, used),
        overlay=_cgn_v4(rng)[rng.randrange(1, 255)],
    )


def _services(rng: random.Random, line: Line, shared: MapE | None) -> list[dict[str, Any]]:
    """What the server wants to publish, with numbers. Without NAT, nothing translates a port."""
    rows: list[dict[str, Any]] = []
    for one in line.services:
        row: dict[str, Any] = {"name": one.name, "protocol": one.protocol, "port": one.port}
        if one.families:
            row["families"] = list(one.families)
        if one.external_port == IN_SET:
            assert shared
            row["external_port"] = rng.randint(*rng.choice(shared.blocks))
        elif one.external_port is not None and line.routers:
            row["external_port"] = one.external_port
        rows.append(row)
    return rows


def _routes(line: Line, segments: dict[str, Segment], hosts: dict[str, Host], chain: list[str], core0: Interface, access0: Interface) -> None:
    """Default routes towards the Internet; towards the home only what is not behind a NAT."""
    internet, isp = hosts["internet"], hosts["isp"]
    if line.wan in ("global", "one_to_one"):
        internet.routes.append((segments["access"].v4, core0.v4.ip))
    upstream = access0
    for name in chain:
        hosts[name].default4, hosts[name].default6 = upstream.v4.ip, upstream.v6.ip if upstream.v6 else None
        upstream = hosts[name].interface("lan0")
    for name in ("server", "neighbour"):
        hosts[name].default4, hosts[name].default6 = upstream.v4.ip, upstream.v6.ip if upstream.v6 else None
    if line.wan == "none":
        for name in (*chain, "server", "neighbour"):
            hosts[name].default4 = None
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
