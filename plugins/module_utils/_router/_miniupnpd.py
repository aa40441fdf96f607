# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What miniupnpd leaves in a Linux router: its rules in nftables, its leases, its configuration. Pure.

Private to this collection.

miniupnpd writes its matches as raw payload, which nft(8) lists but does not read again while such a rule is there. So the rules are only ever flushed.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The names that miniupnpd gives its chains unless it is told otherwise.
CHAINS = ("miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd")

#: Where the protocol and the destination lie in the network header, in bits: IPv4, IPv6.
_PROTOCOL = ((72, 8), (48, 8))
_DESTINATION = ((128, 32), (192, 128))
_NUMBERS = {6: "tcp", 17: "udp", "6": "tcp", "17": "udp", "tcp": "tcp", "udp": "udp"}
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,63}$")
_FAMILIES = ("inet", "ip", "ip6")
_LOOKS_LIKE_UPNP = re.compile(r"upnp", re.IGNORECASE)


class RouterError(Exception):
    """The router cannot be dealt with; the message says what, why and what to do."""


@dataclass(frozen=True)
class Chain:
    """A chain of the kernel's rules."""

    family: str
    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True)
class Rule:
    """A rule that a mapping or a pinhole made. What is not in it is empty or 0.

    Attributes:
        port: the port that the rule matches: the external one where it translates, else the one behind the translation.
        client: the address that it leads to.
        client_port: the port that it translates to, 0 where it does not.
    """

    chain: Chain
    handle: int
    protocol: str = ""
    port: int = 0
    client: str = ""
    client_port: int = 0
    text: str = ""

    @property
    def translates(self) -> bool:
        """Whether this is the rule that sends an external port to a host of the LAN."""
        return bool(self.client_port)

    def as_data(self) -> dict[str, Any]:
        """Return the rule as the module does."""
        return {
            "table": f"{self.chain.family} {self.chain.table}",
            "chain": self.chain.name,
            "protocol": self.protocol,
            "port": self.port,
            "client": self.client,
            "client_port": self.client_port,
        }

    def __str__(self) -> str:
        if not self.protocol:
            return self.text
        to = f" to {self.client}" if self.client else ""
        return f"{self.protocol} port {self.port}{to}{f':{self.client_port}' if self.client_port else ''}"


@dataclass(frozen=True)
class Found:
    """What the kernel's rules hold.

    Attributes:
        chains: those of the names that were asked for.
        rules: the rules in them.
        others: chains of other names that look like a UPnP daemon's and hold rules.
    """

    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()
    others: tuple[Chain, ...] = ()


def check_names(chains: Sequence[str], table: str) -> None:
    """Refuse names that cannot be those of chains and tables, before any of them is written into a script."""
    if not chains:
        raise RouterError("chains is empty: name the chains of the UPnP daemon, or leave the option out for " + ", ".join(CHAINS))
    for name in chains:
        if not _NAME.match(name):
            raise RouterError(f"chains: {name!r} is not the name of a chain of nftables")
    words = table.split()
    if table and (len(words) != 2 or words[0] not in _FAMILIES or not _NAME.match(words[1])):
        raise RouterError(f"table: {table!r} does not name a table; write family and name, such as 'inet filter', or leave it out to have it found")


def find(listing: Mapping[str, Any], names: Sequence[str], table: str = "") -> Found:
    """Find the daemon's chains in what C(nft -j list ruleset) printed, in all tables or in one."""
    chains: dict[Chain, None] = {}
    rules: list[Rule] = []
    others: dict[Chain, int] = {}
    for entry in listing.get("nftables", ()):
        for kind, value in entry.items():
            if kind not in ("chain", "rule") or value.get("family") not in _FAMILIES:
                continue
            chain = Chain(value["family"], value["table"], value["name"] if kind == "chain" else value["chain"])
            asked = chain.name in names and table in ("", f"{chain.family} {chain.table}")
            if kind == "chain" and asked:
                # A base chain of that name is somebody's own: the daemon's are jumped to.
                if "hook" not in value:
                    chains[chain] = None
            elif kind == "rule" and chain in chains:
                rules.append(read_rule(chain, value))
            elif kind == "rule" and (asked or _LOOKS_LIKE_UPNP.search(chain.name)):
                others[chain] = others.get(chain, 0) + 1
    return Found(tuple(chains), tuple(rules), tuple(others))


def read_rule(chain: Chain, value: Mapping[str, Any]) -> Rule:
    """Return a rule; what is not understood of it stays in its text."""
    protocol, port, client, client_port = "", 0, "", 0
    for expression in value.get("expr", ()):
        if "match" in expression:
            left, right = expression["match"].get("left"), expression["match"].get("right")
            payload = left.get("payload") if isinstance(left, dict) else None
            if isinstance(left, dict) and left.get("meta", {}).get("key") == "l4proto":
                protocol = _NUMBERS.get(right, protocol) if isinstance(right, (int, str)) else protocol
            elif isinstance(payload, dict):
                where = (payload.get("offset"), payload.get("len")) if payload.get("base") == "nh" else None
                field = payload.get("field")
                if (where in _PROTOCOL or field in ("protocol", "nexthdr")) and isinstance(right, (int, str)):
                    protocol = _NUMBERS.get(right, protocol)
                elif where in _DESTINATION or field == "daddr":
                    client = _address(right, 32 if where == _DESTINATION[0] else 128) or client
                elif field == "dport" and isinstance(right, int):
                    port = right
                    if payload.get("protocol") in ("tcp", "udp"):
                        protocol = payload["protocol"]
        elif isinstance(expression.get("dnat"), dict):
            client = _address(expression["dnat"].get("addr"), 32) or client
            to = expression["dnat"].get("port")
            client_port = to if isinstance(to, int) else port
    return Rule(chain, int(value.get("handle", 0)), protocol, port, client, client_port, json.dumps(value.get("expr"), sort_keys=True))


def _address(value: Any, bits: int) -> str:
    try:
        if isinstance(value, int):
            return str(ipaddress.IPv4Address(value) if bits == 32 else ipaddress.IPv6Address(value))
        return str(ipaddress.ip_address(value))
    except ValueError:
        return ""


def mappings(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Return the mappings that rules make, each once."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for rule in rules:
        if rule.translates and rule.protocol:
            row = {"protocol": rule.protocol, "external_port": rule.port, "internal_client": rule.client, "internal_port": rule.client_port}
            found.setdefault((rule.protocol, rule.port), row)
    return list(found.values())


def flush_script(chains: Iterable[Chain]) -> str:
    """Return the transaction that empties chains; the chains themselves belong to the router."""
    return "".join(f"flush chain {chain}\n" for chain in chains)


def flow_filters(rules: Iterable[Rule]) -> list[list[str]]:
    """Return the arguments by which conntrack(8) finds the connections that came in through these rules."""
    found: dict[tuple[str, ...], None] = {}
    for rule in rules:
        if not rule.protocol or not rule.client:
            continue
        if rule.translates:
            found[("-p", rule.protocol, "--orig-port-dst", str(rule.port), "--reply-src", rule.client)] = None
        elif ":" in rule.client and rule.port:
            # A pinhole: nothing is translated.
            found[("-f", "ipv6", "-p", rule.protocol, "--orig-dst", rule.client, "--orig-port-dst", str(rule.port))] = None
    return [list(one) for one in found]


def lease_files(configuration: str) -> list[str]:
    """Return the lease files that a configuration of miniupnpd names. It knows comments as whole lines only."""
    found: dict[str, None] = {}
    for line in configuration.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() in ("lease_file", "lease_file6") and value.strip().startswith("/"):
            found[value.strip()] = None
    return list(found)


def leases(content: str) -> list[str]:
    """Return the leases of a file, without what their makers called them."""
    return [":".join(line.split(":")[:4]) for line in content.splitlines() if line.strip()]
