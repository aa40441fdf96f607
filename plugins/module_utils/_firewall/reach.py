# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What other people's rules do to a visitor's first packet. Pure, and careful: it says "unclear" rather than guess.

A match is true, false, narrow (true for some of the packets in question) or unknown. Only what is certainly true for all
of them decides: a ban list, a rate limit or an exception for one network changes nothing about a port that is open to all.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from .foreign import Expression, Foreign, ForeignChain
from .ruleset import Network

TRUE = "true"
FALSE = "false"
NARROW = "narrow"
UNKNOWN = "unknown"

ACCEPTED = "accepted"
DROPPED = "dropped"
UNCLEAR = "unclear"

_PROTOCOLS = {"tcp": ("tcp", 6), "udp": ("udp", 17)}
_FAMILIES = {"ip": 4, "ip6": 6}
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Packet:
    """The first packets of visits: to one port, by one protocol and family, from one network (None for everywhere).

    C(interfaces) and C(addresses) are those at which the packets may arrive; empty if that is not known.
    """

    family: str
    protocol: str
    port: int
    source: Network | None = None
    interfaces: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """Return 4 or 6."""
        return _FAMILIES[self.family]


@dataclass(frozen=True)
class Fate:
    """What happens to the packets, and where."""

    outcome: str
    chain: ForeignChain | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Rewrite:
    """A rule that sends the packets elsewhere before any input filter sees them."""

    chain: ForeignChain
    kind: str
    target: str


def fate(foreign: Foreign, packet: Packet) -> Fate:
    """Return what the foreign filters at the hooks before a local process do to the packets; the first drop counts."""
    unclear: Fate | None = None
    for chain in foreign.base_chains("filter", "prerouting", "input"):
        if not _sees(chain, packet):
            continue
        walk = _Walk(foreign, packet)
        outcome = walk.run(chain, 0)
        dropped = outcome == DROPPED or (outcome is None and chain.policy == "drop")
        if dropped and not walk.maybe_accepted:
            where = walk.where or chain
            return Fate(DROPPED, where, walk.verdict if outcome == DROPPED else "policy drop")
        if unclear is None and (dropped or walk.maybe_dropped):
            unclear = Fate(UNCLEAR, walk.where or chain, "rules that cannot be read")
    return unclear or Fate(ACCEPTED)


def rewrites(foreign: Foreign, packet: Packet) -> list[Rewrite]:
    """Return the rules that redirect or forward the packets."""
    found: list[Rewrite] = []
    for chain in foreign.base_chains("nat", "prerouting"):
        if _sees(chain, packet):
            _collect(foreign, chain, packet, found, 0)
    return found


def published_ports(foreign: Foreign, family: str, interfaces: tuple[str, ...], addresses: tuple[str, ...]) -> dict[tuple[str, int], Rewrite]:
    """Return the ports of this host that foreign rules forward to another address, such as a container's."""
    candidates: set[tuple[str, int]] = set()
    for chain in foreign.chains.values():
        for expressions in chain.rules:
            if any("dnat" in expression for expression in expressions):
                candidates |= {(protocol, port) for protocol, ports in _dports(expressions) for port in ports}
    found: dict[tuple[str, int], Rewrite] = {}
    for protocol, port in sorted(candidates):
        packet = Packet(family, protocol, port, None, interfaces, addresses)
        forwards = [rewrite for rewrite in rewrites(foreign, packet) if rewrite.kind == "dnat"]
        if forwards:
            found[protocol, port] = forwards[0]
    return found


def _dports(expressions: list[Expression]) -> list[tuple[str, list[int]]]:
    found: list[tuple[str, list[int]]] = []
    for expression in expressions:
        payload = expression.get("match", {}).get("left", {})
        payload = payload.get("payload", {}) if isinstance(payload, dict) else {}
        if payload.get("field") == "dport":
            ports: list[int] = []
            for value in _members(expression["match"]["right"]):
                if isinstance(value, int):
                    ports.append(value)
                elif isinstance(value, dict) and "range" in value:
                    # A range is represented by its ends: enough to name it.
                    ports += [int(end) for end in value["range"]]
            protocols = ["tcp", "udp"] if payload.get("protocol") == "th" else [str(payload.get("protocol"))]
            found += [(protocol, ports) for protocol in protocols if protocol in _PROTOCOLS]
    return found


def _sees(chain: ForeignChain, packet: Packet) -> bool:
    return chain.family in ("inet", packet.family)


def _collect(foreign: Foreign, chain: ForeignChain, packet: Packet, found: list[Rewrite], depth: int) -> None:
    if depth > _MAX_DEPTH:
        return
    for expressions in chain.rules:
        if any(_match(foreign, chain, expression["match"], packet) == FALSE for expression in expressions if "match" in expression):
            continue
        for expression in expressions:
            for kind in ("dnat", "redirect"):
                if kind in expression:
                    found.append(Rewrite(chain, kind, _target(expression[kind])))
            for kind in ("jump", "goto"):
                if kind in expression:
                    target = foreign.chains.get((chain.family, chain.table, expression[kind]["target"]))
                    if target is not None:
                        _collect(foreign, target, packet, found, depth + 1)


def _target(body: Any) -> str:
    if not isinstance(body, dict):
        return ""
    if "text" in body:
        text = str(body["text"])
        return text.split(" to ", 1)[-1].removeprefix("to ") if text else ""
    parts = [str(body[key]) for key in ("addr", "port") if isinstance(body.get(key), (str, int))]
    return ":".join(parts)


class _Walk:
    """One walk of the packets through a base chain and what it jumps to."""

    def __init__(self, foreign: Foreign, packet: Packet) -> None:
        self.foreign = foreign
        self.packet = packet
        self.where: ForeignChain | None = None
        self.verdict = ""
        self.maybe_accepted = False
        self.maybe_dropped = False

    def run(self, chain: ForeignChain, depth: int) -> str | None:
        """Return ACCEPTED or DROPPED, or None when the chain ends without a verdict."""
        if depth > _MAX_DEPTH:
            self.maybe_accepted = self.maybe_dropped = True
            return None
        for expressions in chain.rules:
            done, outcome = self._rule(chain, expressions, depth)
            if done:
                return outcome
        return None

    def _rule(self, chain: ForeignChain, expressions: list[Expression], depth: int) -> tuple[bool, str | None]:
        certainty = TRUE
        for expression in expressions:
            kind, body = next(iter(expression.items()))
            if kind == "match":
                certainty = _both(certainty, _match(self.foreign, chain, body, self.packet))
                if certainty == FALSE:
                    return False, None
            elif kind == "limit" or kind == "quota":
                certainty = _both(certainty, NARROW)
            elif kind == "xt":
                certainty = _both(certainty, _extension(body))
            elif kind in ("ct count", "meter", "queue"):
                certainty = _both(certainty, UNKNOWN)
            elif kind == "vmap":
                verdict = self._vmap(chain, body)
                if verdict is not None:
                    ((kind, body),) = verdict.items()
            if kind in ("accept", "drop", "reject", "return", "jump", "goto"):
                return self._verdict(chain, kind, body, certainty, depth)
        return False, None

    def _verdict(self, chain: ForeignChain, kind: str, body: Any, certainty: str, depth: int) -> tuple[bool, str | None]:
        if kind in ("jump", "goto"):
            target = self.foreign.chains.get((chain.family, chain.table, str((body or {}).get("target"))))
            if target is None:
                return False, None
            if certainty != TRUE:
                if certainty == UNKNOWN:
                    self.maybe_accepted = True
                return False, None
            outcome = self.run(target, depth + 1)
            return outcome is not None or kind == "goto", outcome
        if certainty != TRUE:
            if certainty == UNKNOWN:
                self.maybe_accepted |= kind == "accept"
                self.maybe_dropped |= kind in ("drop", "reject")
            return False, None
        if kind == "return":
            return True, None
        if kind == "accept":
            return True, ACCEPTED
        self.where, self.verdict = chain, kind
        return True, DROPPED

    def _vmap(self, chain: ForeignChain, body: Any) -> Expression | None:
        pairs = body.get("data")
        members = self._members(chain, pairs)
        for pair in members or []:
            if isinstance(pair, list) and len(pair) == 2:
                condition = {"op": "==", "left": body["key"], "right": pair[0]}
                if _match(self.foreign, chain, condition, self.packet) == TRUE and isinstance(pair[1], dict):
                    return pair[1]
        return None

    def _members(self, chain: ForeignChain, data: Any) -> list[Any] | None:
        if isinstance(data, str) and data.startswith("@"):
            return self.foreign.sets.get((chain.family, chain.table, data[1:]))
        return _members(data)


#: Extensions of iptables that never match a visit's first packet, and those that match some visits only.
_NEVER = ("rt", "icmp", "icmp6", "ah", "esp", "frag", "hbh", "dst", "ipv6header", "mh", "sctp", "dccp")
_SOMETIMES = ("hl", "ttl", "recent", "limit", "hashlimit", "connlimit", "set", "string", "time", "quota", "statistic", "geoip", "length", "mac")


def _extension(body: Any) -> str:
    name = str(body.get("name") if isinstance(body, dict) else body).rsplit(" ", 1)[-1].strip('"')
    return FALSE if name in _NEVER else NARROW if name in _SOMETIMES else UNKNOWN


def _both(first: str, second: str) -> str:
    for certainty in (FALSE, UNKNOWN, NARROW):
        if certainty in (first, second):
            return certainty
    return TRUE


def _invert(certainty: str) -> str:
    return {TRUE: FALSE, FALSE: TRUE}.get(certainty, certainty)


def _members(right: Any) -> list[Any]:
    if isinstance(right, dict) and "set" in right:
        right = right["set"]
    members = right if isinstance(right, list) else [right]
    return [member["elem"]["val"] if isinstance(member, dict) and "elem" in member else member for member in members]


def _match(foreign: Foreign, chain: ForeignChain, body: dict[str, Any], packet: Packet) -> str:
    right = body["right"]
    if isinstance(right, str) and right.startswith("@"):
        elements = foreign.sets.get((chain.family, chain.table, right[1:]), [])
        if elements is None:
            return NARROW
        right = {"set": elements}
    members = _members(right)
    result = _left(body["left"], members, packet)
    return _invert(result) if body["op"] in ("!=", "!") else result


def _left(left: Any, members: list[Any], packet: Packet) -> str:
    if not isinstance(left, dict) or len(left) != 1:
        return UNKNOWN
    ((kind, body),) = left.items()
    if kind == "concat":
        results = [FALSE]
        for member in members:
            parts = member.get("concat", []) if isinstance(member, dict) else []
            result = TRUE
            for part_left, part in zip(body, parts):
                result = _both(result, _left(part_left, [part], packet))
            results.append(result)
        return next((result for result in (TRUE, UNKNOWN, NARROW) if result in results), FALSE)
    if kind == "payload":
        return _payload(body, members, packet)
    if kind == "meta":
        return _meta(str(body.get("key")), members, packet)
    if kind == "ct":
        return _ct(str(body.get("key")), members)
    if kind == "fib":
        return _fib(body, members)
    if kind == "&" and isinstance(body, list) and body and body[0] == {"payload": {"protocol": "tcp", "field": "flags"}}:
        # The usual question whether this is a connection's first packet: it is.
        return (TRUE if members == ["syn"] else NARROW) if packet.protocol == "tcp" else FALSE
    return UNKNOWN if kind in ("xt", "osf", "socket") else NARROW


def _payload(body: dict[str, Any], members: list[Any], packet: Packet) -> str:
    protocol, name = str(body.get("protocol")), str(body.get("field"))
    if protocol in _FAMILIES:
        if protocol != packet.family:
            return FALSE
        if name == "saddr":
            return _source(members, packet)
        if name == "daddr":
            return _destination(members, packet)
        return _word(members, _PROTOCOLS[packet.protocol]) if name in ("protocol", "nexthdr") else NARROW
    if protocol not in ("th", packet.protocol):
        return FALSE
    if name != "dport":
        return NARROW
    return TRUE if any(_holds(member, packet.port) for member in members) else FALSE


def _holds(member: Any, port: int) -> bool:
    if isinstance(member, dict) and "range" in member:
        return int(member["range"][0]) <= port <= int(member["range"][1])
    return bool(member == port)


def _bounds(member: Any) -> tuple[int, int] | None:
    try:
        if isinstance(member, dict) and "prefix" in member:
            network = ipaddress.ip_network((member["prefix"]["addr"], member["prefix"]["len"]), strict=False)
            return int(network.network_address), int(network.broadcast_address)
        if isinstance(member, dict) and "range" in member:
            return int(ipaddress.ip_address(member["range"][0])), int(ipaddress.ip_address(member["range"][1]))
        address = int(ipaddress.ip_address(member))
    except (ValueError, KeyError, TypeError):
        return None
    return address, address


def _source(members: list[Any], packet: Packet) -> str:
    source = packet.source or ipaddress.ip_network("0.0.0.0/0" if packet.version == 4 else "::/0")
    first, last = int(source.network_address), int(source.broadcast_address)
    result = FALSE
    for member in members:
        bounds = _bounds(member)
        if bounds is None:
            return UNKNOWN
        if bounds[0] <= first and last <= bounds[1]:
            return TRUE
        if bounds[0] <= last and first <= bounds[1]:
            result = NARROW
    return result


def _destination(members: list[Any], packet: Packet) -> str:
    all_bounds = [_bounds(member) for member in members]
    if None in all_bounds:
        return UNKNOWN
    if not packet.addresses:
        return NARROW
    mine = [int(address) for address in map(ipaddress.ip_address, packet.addresses) if address.version == packet.version]
    return TRUE if any(bounds and bounds[0] <= address <= bounds[1] for bounds in all_bounds for address in mine) else FALSE


def _word(members: list[Any], values: tuple[Any, ...]) -> str:
    return TRUE if any(member in values for member in members) else FALSE


def _meta(key: str, members: list[Any], packet: Packet) -> str:
    if key in ("iifname", "iif"):
        names = [str(member) for member in members if str(member) != "lo"]
        if not names:
            return FALSE
        if not packet.interfaces:
            return NARROW
        hits = [any(name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])) for pattern in names) for name in packet.interfaces]
        return TRUE if all(hits) else NARROW if any(hits) else FALSE
    if key == "l4proto":
        return _word(members, _PROTOCOLS[packet.protocol])
    if key == "nfproto":
        return _word(members, (f"ipv{packet.version}", {4: 2, 6: 10}[packet.version]))
    if key == "protocol":
        return _word(members, (packet.family,))
    if key == "pkttype":
        return _word(members, ("host", "unicast"))
    return NARROW


def _ct(key: str, members: list[Any]) -> str:
    if key == "state":
        return _word(members, ("new",))
    if key == "status":
        return FALSE if set(map(str, members)) <= {"dnat", "snat", "assured", "seen-reply", "dying"} else NARROW
    if key == "direction":
        return _word(members, ("original", 0))
    return NARROW


def _fib(body: dict[str, Any], members: list[Any]) -> str:
    flags = body.get("flags", [])
    flags = flags if isinstance(flags, list) else [flags]
    if body.get("result") == "type" and "daddr" in flags:
        return _word(members, ("local",))
    if body.get("result") == "oif" and "saddr" in flags:
        # "missing" asks for a source without a way back; a visitor has one.
        return FALSE if members in ([False], ["missing"]) else TRUE if members in ([True], ["exists"]) else NARROW
    return NARROW
