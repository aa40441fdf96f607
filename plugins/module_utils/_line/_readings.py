# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readings of a line, and the facts in which several of them agree. Pure.

Private to this collection: no compatibility is promised to code outside it.

A reading is one observation. Any can be missing, fail, or lie. C(gather) puts what they say into facts: where readings of one thing
disagree, what most of them say counts, and nothing if there is no majority. Every disagreement is noted.

The kinds of readings and what their values hold:

    interfaces      addresses and default_routes, rows as those of _address, or of pasted text; route_families: whose routes were read
    wan             address (None: it has none), method, status
    pcp             result, mismatch: the router sees this device under another address
    stun            family, local_address, local_port, mapped_address, mapped_port
    echo            family, mapped_address
    hops            target, answers [{ttl, from, type, code}]: towards one's own mapped address
    path            the same towards an outside helper
    ports           samples [[local, mapped, server]]
    second_gateway  address, reachable, wan_address
    pref64          prefix
    platform        vendor
    inbound         family, protocol, port: a nonce came back from outside
    history         entries [{time, ipv4, ipv6_prefix}]
    told            static: what the user says of the address
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._address._classify import GLOBAL, address_class
from ._map_e import PortSet, fit

__all__ = ["KINDS", "Contradiction", "Facts", "Reading", "gather"]

KINDS = (
    *("interfaces", "wan", "pcp", "stun", "echo", "hops", "path", "ports"),
    *("second_gateway", "pref64", "platform", "inbound", "history", "told"),
)

SHARED = "shared_cgn"
PRIVATE = "private"
CONTINUITY = "ipv4_service_continuity"

#: Kinds of interfaces, and beginnings of names where the kind is not known, that lead into a tunnel through which another host speaks to the Internet.
_TUNNEL_KINDS = frozenset({"wireguard", "tun"})
_TUNNEL_NAMES = ("wg", "tun", "utun", "tailscale", "zt", "ipsec", "nordlynx", "proton")
#: Those that lead to containers and virtual machines.
_INNER_KINDS = frozenset({"bridge", "veth", "netkit", "ifb", "vxlan", "geneve", "gtp", "bareudp", "batadv"})
_INNER_NAMES = ("docker", "br-", "cni", "veth", "virbr", "flannel", "cali", "podman", "lxc", "lxdbr", "vnet")
#: Those that carry IPv4 over IPv6: of DS-Lite, and of 464XLAT.
_B4_KINDS = frozenset({"ip6tnl"})
_B4_NAMES = ("ds-lite", "dslite", "ip6tnl")
_CLAT_NAMES = ("clat", "v4-", "464xlat")

_UNREACHABLE, _EXCEEDED = 3, 11
_PORT_UNREACHABLE = 3
#: Of how many ports it counts what happened to them.
_SAMPLES = 8
#: Over how many numbers ports have to be spread to be called random.
_WIDE = 16384


@dataclass(frozen=True)
class Reading:
    """One observation. C(value) is None if there was no answer; then C(error) says why."""

    kind: str
    source: str
    value: Mapping[str, Any] | None = None
    error: str = ""
    time: str = ""
    elapsed: float = 0.0

    def as_data(self) -> dict[str, Any]:
        """Return the reading as a plain mapping."""
        value = dict(self.value) if self.value is not None else None
        return {"kind": self.kind, "source": self.source, "value": value, "error": self.error, "time": self.time, "elapsed": round(self.elapsed, 3)}


@dataclass(frozen=True)
class Contradiction:
    """Readings that cannot all be true."""

    name: str
    text: str
    sources: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """Return the contradiction as a plain mapping."""
        return {"name": self.name, "text": self.text, "sources": list(self.sources)}


@dataclass
class Facts:
    """What the readings come to.

    Attributes:
        interfaces_known: whether the device's own addresses are known; C(routes_known) and C(routes6_known) likewise.
        own: IPv4 addresses of the device that could be those of the line, without overlays and containers.
        local: the IPv4 address that it sends from.
        tunnel: the interface of a VPN through which it speaks to the Internet.
        continuity: C(clat) or C(b4) if it has an address of 464XLAT or DS-Lite, C(either) if that cannot be told.
        mapped: the IPv4 address that outside helpers see, C(seen) all that were seen, by whom.
        wan: the router's WAN address, C(wan_hidden) if it says that it has none.
        owner: how far away the owner of the mapped address is: C(self), C(gateway), C(beyond), or None.
        first_hop: whether the router was seen to be the first hop.
        next_class: the class of the second hop's address.
        preserved: whether the router keeps port numbers; None if not known.
        random: whether it is known to choose ports that lie in no port set; sampled: whether enough ports were seen to tell.
        ports: the port set that the mapped ports betray.
        varies: whether the mapping depends on the destination.
    """

    interfaces_known: bool = False
    routes_known: bool = False
    routes6_known: bool = False
    route4: Mapping[str, Any] | None = None
    route6: Mapping[str, Any] | None = None
    own: list[Mapping[str, Any]] = field(default_factory=list)
    own6: list[Mapping[str, Any]] = field(default_factory=list)
    local: Mapping[str, Any] | None = None
    tunnel: str | None = None
    continuity: str | None = None
    pref64: str | None = None
    mapped: str | None = None
    seen: dict[str, list[str]] = field(default_factory=dict)
    seen6: dict[str, list[str]] = field(default_factory=dict)
    helpers: int = 0
    wan: str | None = None
    wan_sources: list[str] = field(default_factory=list)
    wan_hidden: bool = False
    wan_disputed: bool = False
    mismatch: bool = False
    owner: str | None = None
    first_hop: bool = False
    next_hop: str | None = None
    next_class: str | None = None
    preserved: bool | None = None
    random: bool = False
    sampled: bool = False
    ports: PortSet | None = None
    helper_ports: list[int] = field(default_factory=list)
    sampled_ports: list[int] = field(default_factory=list)
    varies: bool | None = None
    second: Mapping[str, Any] | None = None
    vendor: str = ""
    inbound: list[Mapping[str, Any]] = field(default_factory=list)
    entries: list[Mapping[str, Any]] = field(default_factory=list)
    static: bool | None = None
    failed: dict[str, list[str]] = field(default_factory=dict)
    portal: bool = False
    contradictions: list[Contradiction] = field(default_factory=list)

    def contradict(self, name: str, text: str, *sources: str) -> None:
        """Note that readings cannot all be true, once."""
        if all(one.name != name for one in self.contradictions):
            self.contradictions.append(Contradiction(name, text, sources))

    @property
    def local_class(self) -> str | None:
        """The class of the address that the device sends from."""
        return str(self.local["address_class"]) if self.local else None

    @property
    def wan_class(self) -> str | None:
        """The class of the router's WAN address."""
        return address_class(self.wan) if self.wan else None

    def proved(self, family: str) -> bool:
        """Whether something came in from outside."""
        return any(one.get("family") == family for one in self.inbound)


def _kind_or_name(row: Mapping[str, Any], kinds: Iterable[str], names: tuple[str, ...]) -> bool:
    kind = row.get("kind")
    return kind in kinds if kind else str(row["name"]).startswith(names)


def is_tunnel(row: Mapping[str, Any]) -> bool:
    """Whether an address lies on an interface of a VPN or an overlay."""
    return _kind_or_name(row, _TUNNEL_KINDS, _TUNNEL_NAMES)


def is_inner(row: Mapping[str, Any]) -> bool:
    """Whether an address lies on an interface that leads to containers or virtual machines."""
    return _kind_or_name(row, _INNER_KINDS, _INNER_NAMES)


def is_b4(row: Mapping[str, Any]) -> bool:
    """Whether an address lies on a tunnel that carries IPv4 over IPv6."""
    return _kind_or_name(row, _B4_KINDS, _B4_NAMES) or str(row["name"]).startswith(_B4_NAMES)


def gather(readings: Sequence[Reading]) -> Facts:
    """Return what the readings come to."""
    facts = Facts()
    for reading in readings:
        if reading.value is None:
            facts.failed.setdefault(reading.kind, []).append(reading.source)
            facts.portal = facts.portal or (reading.kind == "echo" and "another answer" in reading.error)
    good = {kind: [reading for reading in readings if reading.kind == kind and reading.value is not None] for kind in KINDS}
    _interfaces(facts, good["interfaces"], [*good["stun"], *good["echo"]])
    for reading in good["pref64"]:
        facts.pref64 = _value(reading)["prefix"]
    for reading in good["inbound"]:
        facts.inbound.append(_value(reading))
    _wan(facts, good["wan"])
    facts.mismatch = any(_value(reading).get("mismatch") for reading in good["pcp"])
    _mapped(facts, good["stun"], good["echo"], good["hops"])
    _hops(facts, good["hops"], good["path"])
    _ports(facts, good["stun"], good["ports"])
    for reading in good["second_gateway"]:
        facts.second = _value(reading)
    for reading in good["platform"]:
        facts.vendor = str(_value(reading).get("vendor") or "")
    for reading in good["history"]:
        facts.entries += list(_value(reading).get("entries") or [])
    for reading in good["told"]:
        facts.static = _value(reading).get("static")
    return facts


def _value(reading: Reading) -> Mapping[str, Any]:
    return reading.value or {}


def _interfaces(facts: Facts, readings: Sequence[Reading], helpers: Sequence[Reading]) -> None:
    if not readings:
        return
    value = _value(readings[0])
    rows = [row for row in value.get("addresses") or [] if row.get("up", True)]
    routes = value.get("default_routes")
    facts.interfaces_known = True
    families = value.get("route_families", ["ipv4", "ipv6"]) if routes is not None else []
    facts.routes_known, facts.routes6_known = "ipv4" in families, "ipv6" in families
    for route in routes or []:
        if route["family"] == "ipv4":
            facts.route4 = facts.route4 or route
        else:
            facts.route6 = facts.route6 or route
    outward = {route["interface"] for route in routes or []}
    for row in rows:
        if row["address_class"] in ("loopback", "link_local") or (row["name"] not in outward and (is_inner(row) or is_tunnel(row))):
            continue
        (facts.own if row["family"] == "ipv4" else facts.own6).append(row)
    source = facts.route4.get("source") if facts.route4 else None
    on_route = [row for row in facts.own if facts.route4 and row["name"] == facts.route4["interface"]]
    candidates = [*(row for row in on_route if row["address"] == source), *on_route, *(() if facts.routes_known else facts.own)]
    facts.local = candidates[0] if candidates else None
    # Policy routing hides from the main table where packets go, but a helper's socket knows from where they went.
    used = {_value(one).get("local_address") for one in helpers if _value(one).get("family") == "ipv4"}
    through = next((row for row in rows if row["address"] in used and is_tunnel(row)), None)
    if through is None and facts.local is not None and is_tunnel(facts.local):
        through = facts.local
    facts.tunnel = str(through["name"]) if through else None
    _continuity(facts)


def _continuity(facts: Facts) -> None:
    rows = [row for row in facts.own if row["address_class"] == CONTINUITY]
    tunnel = next((row for row in facts.own if is_b4(row)), None)
    if facts.local is not None and not is_b4(facts.local) and facts.local["address_class"] != CONTINUITY:
        return
    if any(str(row["name"]).startswith(_CLAT_NAMES) for row in rows):
        facts.continuity = "clat"
    elif tunnel is not None and (facts.route4 is None or tunnel["name"] == facts.route4["interface"]):
        facts.continuity = "b4"
    elif rows:
        facts.continuity = "either"


def _wan(facts: Facts, readings: Sequence[Reading]) -> None:
    said: dict[str, list[str]] = {}
    for reading in readings:
        value = _value(reading)
        if value.get("address"):
            said.setdefault(str(value["address"]), []).append(reading.source)
        else:
            facts.wan_hidden = True
    if len(said) > 1:
        text = "; ".join(f"{address} by {', '.join(sources)}" for address, sources in said.items())
        who = [one for sources in said.values() for one in sources]
        facts.contradict("wan_addresses_differ", f"the router's WAN address is told in different ways: {text}", *who)
    facts.wan = _majority({address: len(sources) for address, sources in said.items()})
    facts.wan_disputed = bool(said) and facts.wan is None
    facts.wan_sources = said.get(facts.wan or "", [])
    if facts.wan:
        facts.wan_hidden = False


def _majority(votes: Mapping[str, int]) -> str | None:
    ranked = sorted(votes.items(), key=lambda item: -item[1])
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _mapped(facts: Facts, stun: Sequence[Reading], echo: Sequence[Reading], hops: Sequence[Reading]) -> None:
    for reading in [*stun, *echo]:
        value = _value(reading)
        address = str(value["mapped_address"])
        if value["family"] == "ipv6":
            facts.seen6.setdefault(address, []).append(reading.source)
            continue
        facts.helpers += 1
        if address_class(address) != GLOBAL:
            text = f"{reading.source} sees this line as {address}, which is no address of the Internet: it stands inside the same network, or is not truthful"
            facts.contradict("mapped_not_global", text, reading.source)
            continue
        facts.seen.setdefault(address, []).append(reading.source)
    votes = {address: len(sources) for address, sources in facts.seen.items()}
    for witness in [*(row["address"] for row in facts.own), facts.wan, *_owned(hops)]:
        if witness in votes:
            votes[witness] += 1
    facts.mapped = _majority(votes)
    if len(facts.seen) > 1:
        text = "; ".join(f"{address} by {', '.join(sources)}" for address, sources in facts.seen.items())
        why = "a proxy or a VPN carries part of the traffic, the provider uses several addresses, or a helper does not tell the truth"
        facts.contradict("mapped_addresses_differ", f"this line is seen as {text}: {why}", *(one for sources in facts.seen.values() for one in sources))


def _owned(hops: Sequence[Reading]) -> list[str]:
    """Return mapped addresses whose owner is this host or its gateway, as the hops say."""
    return [str(_value(one)["target"]) for one in hops if _owner(_value(one)["answers"], str(_value(one)["target"])) in (0, 1)]


def _owner(answers: Sequence[Mapping[str, Any]], target: str) -> int | None:
    """Return at which hop the owner of the target is, -1 for somewhere behind the first, None if nobody said."""
    for answer in sorted(answers, key=lambda one: int(one["ttl"])):
        if answer["type"] == _UNREACHABLE and answer["code"] == _PORT_UNREACHABLE and answer["from"] == target:
            return int(answer["ttl"])
        if answer["type"] == _EXCEEDED and answer["ttl"] == 1:
            return -1
    return None


def _on_link(local: Mapping[str, Any] | None, address: str) -> bool:
    """Whether an address is in the network that this device is connected to: routers that share an address answer from their own."""
    if local is None or ":" in address:
        return False
    return ipaddress.IPv4Address(address) in ipaddress.IPv4Network((local["address"], local["prefix_length"]), strict=False)


def _hops(facts: Facts, hops: Sequence[Reading], path: Sequence[Reading]) -> None:
    # A router that passes packets on without counting them down makes the one behind it look like the first.
    gateway = facts.route4.get("gateway") if facts.route4 else None
    first = {str(answer["from"]) for one in [*hops, *path] for answer in _value(one)["answers"] if answer["ttl"] == 1 and answer["type"] == _EXCEEDED}
    strangers = sorted(one for one in first - {gateway} if not _on_link(facts.local, one)) if gateway and not facts.tunnel else []
    if strangers and facts.mapped not in {row["address"] for row in facts.own}:
        text = f"the first hop is {strangers[0]}, but the router is {gateway}: it does not count packets down, so the hops tell nothing of what it owns"
        facts.contradict("router_keeps_ttl", text, *(one.source for one in [*hops, *path]))
        hops = []
    facts.first_hop = bool(first) and not strangers
    for reading in hops:
        value = _value(reading)
        if value["target"] != facts.mapped:
            continue
        at = _owner(value["answers"], str(value["target"]))
        if at is not None:
            mine = facts.mapped in {row["address"] for row in facts.own}
            facts.owner = "self" if at == 1 and mine else "gateway" if at == 1 else "beyond"
    second: dict[str, list[str]] = {}
    further: list[str] = []
    for reading in [*hops, *path]:
        for answer in _value(reading)["answers"]:
            address = str(answer["from"])
            if answer["type"] != _EXCEEDED or answer["ttl"] < 2 or address == facts.mapped:
                continue
            if answer["ttl"] == 2 and reading.source not in second.get(address, []):
                second.setdefault(address, []).append(reading.source)
            further.append(address)
    kinds = {address_class(address) for address in second}
    if len(kinds) > 1:
        text = "; ".join(f"{address} by {', '.join(sources)}" for address, sources in second.items())
        facts.contradict("hops_differ", f"the second hop is told in different ways: {text}", *(one for sources in second.values() for one in sources))
        return
    facts.next_hop = next(iter(second), None)
    facts.next_class = kinds.pop() if kinds else None
    if facts.next_class != SHARED and SHARED in {address_class(address) for address in further[:6]} and facts.next_class != PRIVATE:
        facts.next_class = SHARED


def _ports(facts: Facts, stun: Sequence[Reading], ports: Sequence[Reading]) -> None:
    values = [_value(one) for one in stun if _value(one)["family"] == "ipv4" and _value(one)["mapped_address"] == facts.mapped]
    facts.helper_ports = sorted({int(value["mapped_port"]) for value in values})
    by_socket: dict[int, set[int]] = {}
    for value in values:
        by_socket.setdefault(int(value["local_port"]), set()).add(int(value["mapped_port"]))
    if any(len(mapped) > 1 for mapped in by_socket.values()):
        facts.varies = True
    elif len(values) > 1:
        facts.varies = False
    kept = [value for value in values if value["local_port"] == value["mapped_port"]]
    if values:
        facts.preserved = bool(kept)
    rows = [(int(row[0]), int(row[1]), row[2] if len(row) > 2 else "") for one in ports for row in _value(one).get("samples") or []]
    samples = [(local, mapped) for local, mapped, _server in rows]
    if len(samples) < _SAMPLES:
        return
    sources = [one.source for one in [*stun, *ports]]
    keeps = sum(local == mapped for local, mapped in samples) >= len(samples) / 2
    facts.sampled_ports = sorted({mapped for _local, mapped in samples})
    facts.sampled = True
    facts.ports = fit(samples)
    if facts.ports is None and any(fit([row[:2] for row in rows if row[2] == server]) for server in {row[2] for row in rows}):
        facts.contradict("ports_differ", "by one helper all ports lie in the port set of a shared address, by another they do not", *sources)
        facts.preserved = None
    elif facts.ports is not None and any(int(value["mapped_port"]) not in facts.ports for value in kept):
        text = "one reading sees that port numbers are kept, another that all of them lie in the port set of a shared address"
        facts.contradict("ports_differ", text, *sources)
        facts.preserved = None
    elif values and keeps != bool(kept) and facts.ports is None:
        facts.contradict("ports_differ", "one reading sees that port numbers are kept, another that they are not", *sources)
        facts.preserved = None
    else:
        by_server = {server: [local == mapped for local, mapped, one in rows if one == server] for server in {row[2] for row in rows}}
        if len({sum(kept_there) * 2 >= len(kept_there) for kept_there in by_server.values() if len(kept_there) >= _SAMPLES / 2}) > 1:
            facts.contradict("ports_differ", "by one helper port numbers are kept, by another they are not", *sources)
        facts.preserved = keeps
        # Ports out of one narrow range may be a part of a port set, or a carrier's block.
        facts.random = facts.ports is None and not keeps and facts.sampled_ports[-1] - facts.sampled_ports[0] > _WIDE
