# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of our table as values that can be compared, and their text in the language of nft(8).

A rule is built here in two ways, from a policy and from what the kernel lists, and both ways end in one canonical form:
no handles, no counter values, address and port sets as merged intervals, matches in a fixed order.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

FAMILY = "inet"
TABLE = "homeserver"

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Interval = tuple[int, int]

#: The matches that our rules use, in the order in which they are written and compared.
ORDER = (
    "ct state",
    "ct direction",
    "ct status",
    "iifname",
    "meta nfproto",
    "ip saddr",
    "ip6 saddr",
    "icmp type",
    "icmpv6 type",
    "ip6 hoplimit",
    "udp sport",
    "tcp dport",
    "udp dport",
    "meta l4proto",
    "ct original proto-dst",
)
_BITS = {"ip saddr": 32, "ip6 saddr": 128}
_NUMBERS = ("tcp dport", "udp dport", "udp sport", "ip6 hoplimit", "ct original proto-dst")


class RulesetError(Exception):
    """What nft(8) listed cannot be understood."""


@dataclass(frozen=True)
class Match:
    """One condition: a key as nft(8) writes it, and either words or intervals of numbers (addresses count as numbers)."""

    key: str
    words: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ()

    def text(self) -> str:
        """Return the condition in the language of nft(8)."""
        if self.words:
            values = list(self.words)
            if self.key in ("ct state", "ct status"):
                return f"{self.key} {','.join(values)}"
        elif self.key in _BITS:
            values = [_address_text(network) for network in _networks(self.key, self.intervals)]
        else:
            values = [str(first) if first == last else f"{first}-{last}" for first, last in self.intervals]
        if self.key == "iifname":
            values = [f'"{value}"' for value in values]
        return f"{self.key} {values[0]}" if len(values) == 1 else f"{self.key} {{ {', '.join(values)} }}"


@dataclass(frozen=True)
class Rule:
    """One rule; C(raw) holds the listing of a rule that our vocabulary does not know, and nothing else is set then."""

    matches: tuple[Match, ...] = ()
    verdict: str = ""
    limit: str = ""
    counter: bool = False
    comment: str = ""
    raw: str = ""

    def text(self) -> str:
        """Return the rule in the language of nft(8); for a rule unknown to us, its JSON."""
        if self.raw:
            return self.raw
        parts = [match.text() for match in self.matches]
        if self.limit:
            parts.append(f"limit rate {self.limit}")
        if self.counter:
            parts.append("counter")
        parts.append(self.verdict)
        if self.comment:
            parts.append(f'comment "{self.comment}"')
        return " ".join(parts)


@dataclass(frozen=True)
class Chain:
    """A chain of our table."""

    name: str
    policy: str = "accept"
    kind: str = "filter"
    hook: str = "input"
    priority: int = 0
    rules: tuple[Rule, ...] = ()

    def heading(self) -> str:
        """Return the line that declares where the chain hooks in."""
        return f"type {self.kind} hook {self.hook} priority {self.priority}; policy {self.policy};"


@dataclass(frozen=True)
class Table:
    """Our table; C(extra) holds texts of objects in it that we never make."""

    chains: tuple[Chain, ...] = ()
    extra: tuple[str, ...] = field(default=())

    def lines(self) -> list[str]:
        """Return every fact about the table as a line, for a comparison that people can read."""
        found: list[str] = []
        for chain in self.chains:
            found.append(f"chain {chain.name}: {chain.heading()}")
            found.extend(f"chain {chain.name}: {rule.text()}" for rule in chain.rules)
        return found + list(self.extra)

    def body(self) -> str:
        """Return the table as nft(8) writes it."""
        out = [f"table {FAMILY} {TABLE} {{"]
        for chain in self.chains:
            out.append(f"\tchain {chain.name} {{")
            out.append(f"\t\t{chain.heading()}")
            out.extend(f"\t\t{rule.text()}" for rule in chain.rules)
            out.append("\t}")
        out.append("}")
        return "\n".join(out) + "\n"


def script(table: Table | None) -> str:
    """Return the transaction that makes the kernel's table equal this one, whatever was there before; None removes it.

    nft(8) executes a file as one transaction: packets see the old rules or the new ones, never none.
    """
    start = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
    return start if table is None else start + table.body()


def addresses(key: str, networks: Iterable[Network]) -> Match:
    """Return a match on addresses; adjacent and overlapping networks are merged."""
    return Match(key, intervals=_merge((int(network.network_address), int(network.broadcast_address)) for network in networks))


def numbers(key: str, values: Iterable[int]) -> Match:
    """Return a match on ports and other numbers."""
    return Match(key, intervals=_merge((value, value) for value in values))


def words(key: str, *values: str) -> Match:
    """Return a match on named values."""
    return Match(key, words=tuple(sorted(values)))


def rule(matches: Sequence[Match], verdict: str, *, comment: str = "", limit: str = "", counter: bool = False) -> Rule:
    """Return a rule in canonical form."""
    return Rule(tuple(sorted(matches, key=lambda match: ORDER.index(match.key))), verdict, limit, counter, comment)


def read_table(listing: dict[str, Any]) -> Table | None:
    """Return our table from the JSON of C(nft list ruleset) or C(nft list table), None if it is not there."""
    present = False
    chains: dict[str, dict[str, Any]] = {}
    rules: dict[str, list[Rule]] = {}
    extra: list[str] = []
    for entry in listing.get("nftables", []):
        for kind, value in entry.items():
            if kind == "metainfo" or value.get("family") != FAMILY:
                continue
            if kind == "table":
                if value.get("name") == TABLE:
                    present = True
                    if value.get("flags"):
                        extra.append("table flags " + ",".join(_flags(value["flags"])))
            elif value.get("table") != TABLE:
                continue
            elif kind == "chain":
                chains[value["name"]] = value
            elif kind == "rule":
                rules.setdefault(value["chain"], []).append(_read_rule(value))
            elif kind != "element":
                extra.append(f"{kind} {value.get('name', '')}".strip())
    if not present:
        return None
    return Table(tuple(_read_chain(value, rules.get(name, [])) for name, value in chains.items()), tuple(extra))


def _flags(value: Any) -> list[str]:
    return [str(flag) for flag in value] if isinstance(value, list) else [str(value)]


def _read_chain(value: dict[str, Any], rules: list[Rule]) -> Chain:
    return Chain(
        value["name"],
        str(value.get("policy", "none")),
        str(value.get("type", "none")),
        str(value.get("hook", "none")),
        int(value.get("prio", 0)),
        tuple(rules),
    )


def _read_rule(value: dict[str, Any]) -> Rule:
    matches: list[Match] = []
    verdict = limit = ""
    counter = False
    try:
        for expression in value.get("expr", []):
            ((kind, body),) = expression.items()
            if verdict:
                raise RulesetError("something follows the verdict")
            if kind == "match":
                matches.append(_read_match(body))
            elif kind == "counter":
                counter = True
            elif kind == "limit":
                limit = _read_limit(body)
            elif kind in ("accept", "drop") and body is None:
                verdict = kind
            else:
                raise RulesetError(f"unknown statement {kind}")
        if not verdict:
            raise RulesetError("no verdict")
        return rule(matches, verdict, comment=str(value.get("comment", "")), limit=limit, counter=counter)
    except (RulesetError, ValueError, KeyError, TypeError, AttributeError):
        return Rule(raw=_raw(value))


def _raw(value: dict[str, Any]) -> str:
    expressions = [{"counter": None} if "counter" in item else item for item in value.get("expr", [])]
    text = json.dumps(expressions, sort_keys=True)
    return f"{text} comment {json.dumps(value['comment'])}" if value.get("comment") else text


def _read_limit(body: dict[str, Any]) -> str:
    if set(body) - {"rate", "burst", "per", "rate_unit", "burst_unit", "inv"} or body.get("inv"):
        raise RulesetError("unknown limit")
    return f"{body['rate']}/{body['per']} burst {body.get('burst', 5)} packets"


def _read_match(body: dict[str, Any]) -> Match:
    key = _read_key(body["left"])
    if key not in ORDER:
        raise RulesetError(f"unknown match {key}")
    flags = key in ("ct state", "ct status")
    if body["op"] != ("in" if flags else "=="):
        raise RulesetError(f"unknown operator {body['op']}")
    right = body["right"]
    values = right["set"] if isinstance(right, dict) and set(right) == {"set"} else right
    values = values if isinstance(values, list) else [values]
    if key in _BITS:
        return Match(key, intervals=_merge(_read_address(value) for value in values))
    if key in _NUMBERS:
        return Match(key, intervals=_merge(_read_number(value) for value in values))
    if not all(isinstance(value, str) for value in values):
        raise RulesetError(f"unknown value of {key}")
    return words(key, *values)


def _read_key(left: dict[str, Any]) -> str:
    ((kind, body),) = left.items()
    if kind == "payload":
        return f"{body['protocol']} {body['field']}"
    if kind == "ct":
        return " ".join(["ct", *([body["dir"]] if "dir" in body else []), body["key"]])
    if kind == "meta":
        return str(body["key"]) if body["key"] == "iifname" else f"meta {body['key']}"
    raise RulesetError(f"unknown key {kind}")


def _read_address(value: Any) -> Interval:
    if isinstance(value, dict):
        if "prefix" in value:
            network = ipaddress.ip_network((value["prefix"]["addr"], value["prefix"]["len"]))
            return int(network.network_address), int(network.broadcast_address)
        first, last = value["range"]
        return int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))
    address = int(ipaddress.ip_address(value))
    return address, address


def _read_number(value: Any) -> Interval:
    if isinstance(value, dict):
        first, last = value["range"]
        return int(first), int(last)
    return int(value), int(value)


def _merge(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return tuple(merged)


def _networks(key: str, intervals: Iterable[Interval]) -> list[Network]:
    kind: Any = ipaddress.IPv4Address if _BITS[key] == 32 else ipaddress.IPv6Address
    return [network for first, last in intervals for network in ipaddress.summarize_address_range(kind(first), kind(last))]


def _address_text(network: Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
