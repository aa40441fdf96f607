# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other people's rules as nft(8) lists them, made readable: chains, rules as lists of expressions, elements of sets.

Rules that iptables made through its nft backend contain extensions that the JSON listing only names ("xt"). The text
listing translates most of them, so both are read, and the text fills what the JSON leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .ruleset import TABLE

Expression = dict[str, Any]
ChainKey = tuple[str, str, str]


@dataclass
class ForeignChain:
    """A chain that is not ours."""

    family: str
    table: str
    name: str
    kind: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    rules: list[list[Expression]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"table {self.family} {self.table}, chain {self.name}"


@dataclass
class Foreign:
    """All chains and sets that are not ours."""

    chains: dict[ChainKey, ForeignChain] = field(default_factory=dict)
    sets: dict[ChainKey, list[Any] | None] = field(default_factory=dict)

    def base_chains(self, kind: str, *hooks: str) -> list[ForeignChain]:
        """Return the chains that the kernel calls at these hooks, in its order."""
        found = [chain for chain in self.chains.values() if chain.kind == kind and chain.hook in hooks]
        return sorted(found, key=lambda chain: (hooks.index(chain.hook), chain.priority))

    def has_chain(self, *prefixes: str) -> bool:
        """Return whether a chain's name starts so; tools are known by the names that they give."""
        return any(name.startswith(prefixes) for _family, _table, name in self.chains)


def is_ours(table: str) -> bool:
    """Return whether a table is made by this collection: the policy's, or a short-lived one of a probe."""
    return table == TABLE or table.startswith(TABLE + "_")


def read_foreign(listing: dict[str, Any], text: str = "") -> Foreign:
    """Read C(nft -j list ruleset), with C(nft -a list ruleset) for what the former cannot say."""
    lines = dict(_lines(text))
    found = Foreign()
    for entry in listing.get("nftables", []):
        for kind, value in entry.items():
            if kind == "metainfo" or is_ours(str(value.get("table", ""))):
                continue
            if kind == "chain":
                key = (value["family"], value["table"], value["name"])
                found.chains[key] = ForeignChain(
                    *key, str(value.get("type", "")), str(value.get("hook", "")), int(value.get("prio", 0)), str(value.get("policy", "accept"))
                )
            elif kind == "rule":
                chain = found.chains.get((value["family"], value["table"], value["chain"]))
                if chain is not None:
                    chain.rules.append(_expressions(value, lines))
            elif kind in ("set", "map"):
                changing = bool({"dynamic", "timeout"} & set(value.get("flags", [])))
                found.sets[value["family"], value["table"], value["name"]] = None if changing else list(value.get("elem", []))
    return found


def needs_text(listing: dict[str, Any]) -> bool:
    """Return whether the JSON holds extensions that only the text listing explains."""
    return any("xt" in expression for entry in listing.get("nftables", []) for expression in entry.get("rule", {}).get("expr", []))


def _expressions(value: dict[str, Any], lines: dict[tuple[str, str, int], str]) -> list[Expression]:
    expressions: list[Expression] = list(value.get("expr", []))
    if not any("xt" in expression for expression in expressions):
        return expressions
    line = lines.get((value["family"], value["table"], value["handle"]))
    return expressions if line is None else parse_line(line)


def _lines(text: str) -> Iterator[tuple[tuple[str, str, int], str]]:
    family = table = ""
    for line in text.splitlines():
        heading = re.match(r"table (\S+) (\S+) \{", line)
        if heading:
            family, table = heading.group(1), heading.group(2)
            continue
        found = re.match(r"\s+(.*?) # handle (\d+)$", line)
        if found and not found.group(1).endswith("{"):
            yield (family, table, int(found.group(2))), found.group(1)


_VALUE = r"(?P<value>\{[^}]*\}|\"[^\"]*\"|\S+)"
_NOT = r"(?P<not>!= )?"
_STATEMENTS = [
    (re.compile(r"counter packets \d+ bytes \d+"), None),
    (re.compile(r'comment "[^"]*"'), None),
    (re.compile(r"(?P<protocol>tcp|udp|th) (?P<field>dport|sport) " + _NOT + _VALUE), "payload"),
    (re.compile(r"(?P<protocol>ip6?) (?P<field>saddr|daddr) " + _NOT + _VALUE), "payload"),
    (re.compile(r"(?P<key>iifname|oifname|iif|oif) " + _NOT + _VALUE), "meta"),
    (re.compile(r"meta (?P<key>l4proto|nfproto|protocol|pkttype) " + _NOT + _VALUE), "meta"),
    (re.compile(r"ct (?P<key>state|status) " + _NOT + _VALUE), "ct"),
    (re.compile(r"fib (?P<flags>[a-z. ]+?) type " + _NOT + _VALUE), "fib"),
    (re.compile(r"(?P<verdict>jump|goto) (?P<target>\S+)"), "jump"),
    (re.compile(r"(?P<verdict>accept|drop|return)(?!\S)"), "verdict"),
    (re.compile(r"reject( with .*)?$"), "reject"),
    (re.compile(r"(?P<verdict>dnat|redirect|masquerade)(?P<rest>.*)$"), "nat"),
    (re.compile(r"limit rate (over )?\S+( burst \d+ \S+)?"), "limit"),
    (re.compile(r"log( (prefix \"[^\"]*\"|level \S+|flags \S+|group \d+))*"), None),
    (re.compile(r'xt target "?(?P<target>[A-Za-z0-9]+)"?'), "target"),
]


def parse_line(line: str) -> list[Expression]:
    """Return the expressions of one rule in text; what is not understood becomes C({"xt": text}), so that it counts as unknown."""
    found: list[Expression] = []
    rest = line.strip()
    while rest:
        for pattern, kind in _STATEMENTS:
            match = pattern.match(rest)
            if match:
                if kind is not None:
                    found.append(_build(kind, match))
                rest = rest[match.end() :].lstrip()
                break
        else:
            unknown = re.match(r"xt match \S+|\S+", rest)
            text = unknown.group() if unknown else rest
            found.append({"xt": text})
            rest = rest[len(text) :].lstrip()
    return found


def _build(kind: str, match: re.Match[str]) -> Expression:
    group = match.groupdict()
    if kind == "jump":
        return {group["verdict"]: {"target": group["target"]}}
    if kind == "verdict":
        return {group["verdict"]: None}
    if kind in ("reject", "limit"):
        return {kind: None}
    if kind == "nat":
        return {group["verdict"]: {"text": group["rest"].strip()}}
    if kind == "target":
        known: dict[str, Expression] = {"DNAT": {"dnat": {"text": ""}}, "REDIRECT": {"redirect": {"text": ""}}, "REJECT": {"reject": None}}
        harmless = {"LOG": {"log": None}, "NFLOG": {"log": None}, "MASQUERADE": {"masquerade": None}}
        return {**known, **harmless}.get(group["target"], {"xt": match.group()})
    if kind == "payload":
        left: Expression = {"payload": {"protocol": group["protocol"], "field": group["field"]}}
    elif kind == "fib":
        left = {"fib": {"result": "type", "flags": group["flags"].split(" . ")}}
    else:
        left = {kind: {"key": group["key"]}}
    return {"match": {"op": "!=" if group["not"] else "==", "left": left, "right": {"set": _values(group["value"])}}}


def _values(text: str) -> list[Any]:
    return [_value(part.strip().strip('"')) for part in text.strip("{} ").split(",") if part.strip()]


def _value(text: str) -> Any:
    if re.match(r"\d+\Z", text):
        return int(text)
    numbers = re.match(r"(\d+)-(\d+)\Z", text)
    if numbers:
        return {"range": [int(numbers.group(1)), int(numbers.group(2))]}
    prefix = re.match(r"([0-9a-fA-F.:]+)/(\d+)\Z", text)
    if prefix:
        return {"prefix": {"addr": prefix.group(1), "len": int(prefix.group(2))}}
    addresses = re.match(r"([0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*)-([0-9a-fA-F.:]+)\Z", text)
    return {"range": [addresses.group(1), addresses.group(2)]} if addresses else text
