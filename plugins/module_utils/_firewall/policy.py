# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What shall hold on the host, checked, and the rules that make it so. Pure: nothing here looks at a host."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._ownership import SERVICE_NAME, make_tag
from .ruleset import Chain, Match, Network, Rule, Table, addresses, numbers, rule, words

KEEP = "keep"
DENY = "deny"
IPV4 = "ipv4"
IPV6 = "ipv6"
FAMILIES = (IPV4, IPV6)
PROTOCOLS = ("tcp", "udp")

#: The name in the tag of the rules that belong to no service.
BASE = "base"
CHAIN = "input"

_SADDR = {IPV4: "ip saddr", IPV6: "ip6 saddr"}
_LINK_LOCAL = ipaddress.IPv6Network("fe80::/10")
_ECHO_LIMIT = "20/second burst 40 packets"


class PolicyError(Exception):
    """The request is wrong; the message names the value, the reason and what to write instead."""


@dataclass(frozen=True)
class Access:
    """Who may reach one port: a service, or a way to manage the host.

    C(sources) is None for everybody.
    """

    name: str
    protocol: str
    port: int
    families: tuple[str, ...] = FAMILIES
    sources: tuple[Network, ...] | None = None

    def sources_of(self, family: str) -> list[Network]:
        """Return the sources of one family."""
        version = 4 if family == IPV4 else 6
        return [network for network in self.sources or () if network.version == version]


@dataclass(frozen=True)
class Policy:
    """Everything that shall hold."""

    inbound: str = KEEP
    services: tuple[Access, ...] = ()
    management: tuple[Access, ...] = ()


def parse_networks(values: Sequence[str], where: str) -> tuple[Network, ...]:
    """Return networks from text; refuse what is not exactly one, and what means the whole Internet."""
    found: list[Network] = []
    for value in values:
        text = str(value).strip()
        try:
            network = _network(text)
        except ValueError as error:
            raise PolicyError(f"{where}: {_explain_network(text)}") from error
        if network.prefixlen == 0:
            raise PolicyError(f"{where}: {text} is the whole Internet; leave the option out if that is what you mean, else name networks")
        found.append(network)
    return tuple(sorted(set(found), key=lambda network: (network.version, int(network.network_address), network.prefixlen)))


def _network(text: str, strict: bool = True) -> Network:
    # Before Python 3.9.5 ipaddress takes leading zeros, and means something else by them than others do.
    if ":" not in text and re.search(r"(^|\.)0[0-9]", text):
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=strict)


def _explain_network(text: str) -> str:
    try:
        corrected = _network(text, strict=False)
    except ValueError:
        return f"{text!r} is not an address or a network in CIDR notation; write for example 192.0.2.7, 192.168.1.0/24 or 2001:db8:1::/64"
    return f"{text} has bits set behind the prefix; write {corrected} for the network or {text.split('/', 1)[0]} for the one address"


def parse_access(entry: Mapping[str, Any], kind: str, sources_key: str) -> Access:
    """Return one service or one way of management from module parameters."""
    name = str(entry.get("name") or "")
    if not SERVICE_NAME.match(name):
        raise PolicyError(f"{kind} {name!r}: a name is a lower-case letter, then up to 30 of a-z, 0-9 and '-'")
    where = f"{kind} {name}"
    protocol = entry.get("protocol") or "tcp"
    if protocol not in PROTOCOLS:
        raise PolicyError(f"{where}: protocol {protocol!r} is unknown; write tcp or udp")
    port = entry.get("port")
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise PolicyError(f"{where}: port {port!r} does not exist; write a number from 1 to 65535")
    families = FAMILIES if entry.get("families") is None else tuple(dict.fromkeys(entry["families"]))
    unknown = [family for family in families if family not in FAMILIES]
    if unknown or not families:
        raise PolicyError(f"{where}: families {list(families)!r} is wrong; write one or both of ipv4 and ipv6, or leave it out for both")
    values = entry.get(sources_key)
    if values is None:
        return Access(name, protocol, port, families)
    if not values:
        raise PolicyError(f"{where}: {sources_key} is an empty list, which admits nobody; leave it out for the whole Internet, or name networks")
    sources = parse_networks(values, f"{where}: {sources_key}")
    for network in sources:
        if f"ipv{network.version}" not in families:
            raise PolicyError(f"{where}: {sources_key} names {network}, but families is {list(families)}; add ipv{network.version} or take the network out")
    return Access(name, protocol, port, families, sources)


def parse_policy(inbound: str, services: Sequence[Mapping[str, Any]], management: Sequence[Mapping[str, Any]]) -> Policy:
    """Return the policy from module parameters, checked as a whole."""
    if inbound not in (KEEP, DENY):
        raise PolicyError(f"inbound {inbound!r} is unknown; write keep or deny")
    parsed_services = tuple(parse_access(entry, "service", "allow_from") for entry in services)
    parsed_management = tuple(parse_access(entry, "management", "sources") for entry in management)
    for access in parsed_management:
        if access.sources is None:
            raise PolicyError(
                f"management {access.name}: sources is missing, which would admit the whole Internet; name networks, or make it a service if it shall be public"
            )
    _refuse_doubles(parsed_services)
    return Policy(inbound, parsed_services, parsed_management)


def _refuse_doubles(services: Sequence[Access]) -> None:
    by_name: dict[str, Access] = {}
    by_port: dict[tuple[str, str, int], Access] = {}
    for service in services:
        if service.name in by_name:
            raise PolicyError(f"service {service.name} is listed twice; give the second one another name")
        by_name[service.name] = service
        for family in service.families:
            other = by_port.setdefault((family, service.protocol, service.port), service)
            if other is not service:
                raise PolicyError(
                    f"services {other.name} and {service.name} both ask for {service.protocol.upper()} {service.port}; keep one of them, "
                    "with the sources of both"
                )


def build_table(policy: Policy, host: str) -> Table:
    """Return our table for this policy; C(host) is the host id of the tags."""
    deny = policy.inbound == DENY
    rules: list[Rule] = []
    limited = [service for service in policy.services if service.sources is not None]
    base = make_tag(host, BASE)
    if deny:
        rules += _base_rules(base)
    elif limited:
        # Answers to connections that this host opened from such a port are not visits.
        rules.append(rule([words("ct direction", "reply")], "accept", comment=base))
    for access in policy.management:
        rules += _accept_rules(access, make_tag(host, access.name))
    for service in policy.services:
        tag = make_tag(host, service.name)
        rules += _accept_rules(service, tag)
        if service.sources is not None and not deny:
            rules.append(rule([_dport(service)], "drop", comment=tag, counter=True))
    return Table((Chain(CHAIN, "drop" if deny else "accept", rules=tuple(rules)),))


def _dport(access: Access) -> Match:
    return numbers(f"{access.protocol} dport", [access.port])


def _accept_rules(access: Access, tag: str) -> list[Rule]:
    port = _dport(access)
    if access.sources is not None:
        found = []
        for family in access.families:
            networks = access.sources_of(family)
            if networks:
                found.append(rule([addresses(_SADDR[family], networks), port], "accept", comment=tag, counter=True))
        return found
    if set(access.families) == set(FAMILIES):
        return [rule([port], "accept", comment=tag, counter=True)]
    return [rule([words("meta nfproto", family), port], "accept", comment=tag, counter=True) for family in access.families]


def _base_rules(tag: str) -> list[Rule]:
    """Return what any host needs before a policy of drop: answers, itself, ICMP (RFC 4890), address configuration."""
    link_local = addresses("ip6 saddr", [_LINK_LOCAL])
    lists: list[tuple[list[Match], str]] = [
        ([words("ct state", "established", "related")], ""),
        ([words("iifname", "lo")], ""),
        # Errors, among them what path MTU discovery needs.
        ([words("icmp type", "destination-unreachable", "time-exceeded", "parameter-problem")], ""),
        ([words("icmpv6 type", "destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem")], ""),
        ([words("icmp type", "echo-request")], _ECHO_LIMIT),
        ([words("icmpv6 type", "echo-request")], _ECHO_LIMIT),
        # Neighbour discovery; a hop limit of 255 proves that the packet comes from the link itself (RFC 4861).
        ([words("icmpv6 type", "nd-neighbor-solicit", "nd-neighbor-advert"), numbers("ip6 hoplimit", [255])], ""),
        ([words("icmpv6 type", "nd-router-advert", "nd-redirect"), link_local, numbers("ip6 hoplimit", [255])], ""),
        # Without answers to multicast listener queries, snooping switches stop delivering neighbour discovery.
        ([words("icmpv6 type", "mld-listener-query", "mld-listener-report", "mld-listener-done", "mld2-listener-report"), link_local], ""),
        # DHCP: servers may answer by broadcast, which is no answer to conntrack.
        ([words("meta nfproto", IPV4), numbers("udp sport", [67]), numbers("udp dport", [68])], ""),
        ([link_local, numbers("udp sport", [547]), numbers("udp dport", [546])], ""),
    ]
    return [rule(matches, "accept", comment=tag, limit=limit) for matches, limit in lists]


def can_drop(table: Table | None, protocol: str, port: int | None) -> bool:
    """Return whether a table of ours could drop a packet to this port; None stands for a port that is not known."""
    if table is None:
        return False
    if table.extra or any(chain.policy == "drop" for chain in table.chains):
        return True
    for chain in table.chains:
        for entry in chain.rules:
            if entry.raw:
                return True
            if entry.verdict == "drop" and (port is None or _covers(entry, protocol, port)):
                return True
    return False


def _covers(entry: Rule, protocol: str, port: int) -> bool:
    for match in entry.matches:
        if match.key in ("tcp dport", "udp dport"):
            return match.key == f"{protocol} dport" and any(first <= port <= last for first, last in match.intervals)
    return True
