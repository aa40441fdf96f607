# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where other people's rules would make a request silently untrue. Pure: it judges what was read, and touches nothing.

nftables asks every base chain at a hook. An accept of ours overrides no drop of theirs, and our table never sees a packet
that theirs sends to a container. So each request is tried against their rules first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .foreign import Foreign, ForeignChain
from .policy import DENY, IPV4, Access, Policy
from .reach import ACCEPTED, DROPPED, Fate, Packet, Rewrite, fate, published_ports, rewrites
from .ruleset import Network

REFUSE = "refuse"
WARN = "warn"

_NFT_FAMILY = {"ipv4": "ip", "ipv6": "ip6"}


@dataclass(frozen=True)
class Surroundings:
    """What else is known about the host.

    Attributes:
        interfaces: those by which visitors arrive.
        addresses: the host's addresses on them.
        legacy_tables: tables of the old iptables, which nft(8) cannot show.
        ufw_enabled: whether ufw's configuration says that it is on.
    """

    interfaces: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    legacy_tables: tuple[str, ...] = ()
    ufw_enabled: bool = False


@dataclass(frozen=True)
class Conflict:
    """One foreign thing that stands against the request, or that the user should know of."""

    source: str
    detail: str
    services: tuple[str, ...]
    severity: str
    remedy: str

    def as_data(self) -> dict[str, Any]:
        """Return the conflict as a plain mapping."""
        return {"source": self.source, "detail": self.detail, "services": list(self.services), "severity": self.severity, "remedy": self.remedy}

    def text(self) -> str:
        """Return the conflict as a sentence."""
        return f"{self.detail}. {self.remedy}"


def find_conflicts(policy: Policy, foreign: Foreign, around: Surroundings) -> list[Conflict]:
    """Return everything that stands against the policy, most serious first."""
    found: list[Conflict] = []
    for service in policy.services:
        found += _filters(service, foreign, around)
        found += _rewritten(service, policy, foreign, around)
    if policy.inbound == DENY:
        found += _published(policy, foreign, around)
    found += _unseen(policy, foreign, around)
    return sorted(_join(found), key=lambda conflict: conflict.severity != REFUSE)


def _packets(service: Access, around: Surroundings) -> Iterator[Packet]:
    for family in service.families:
        sources: list[Network | None] = [None] if service.sources is None else [*service.sources_of(family)]
        for source in sources:
            yield Packet(_NFT_FAMILY[family], service.protocol, service.port, source, around.interfaces, around.addresses)


def _filters(service: Access, foreign: Foreign, around: Surroundings) -> Iterator[Conflict]:
    found: dict[tuple[str, str, str], list[tuple[Packet, Fate]]] = {}
    for packet in _packets(service, around):
        if rewrites(foreign, packet):
            # These packets meet the input filters under another port, or not at all; that is judged elsewhere.
            continue
        result = fate(foreign, packet)
        if result.outcome != ACCEPTED and result.chain is not None:
            tool = tool_of(result.chain, foreign)
            found.setdefault((tool, result.outcome, str(packet.source or "")), []).append((packet, result))
    for (tool, outcome, _source), cases in found.items():
        packet, result = cases[0]
        if result.chain is None:
            continue
        what = _what(service, [case for case, _result in cases])
        if outcome == DROPPED:
            detail = f"{tool} drops {what} ({result.chain}: {result.verdict}), and no rule of ours can overrule that"
            yield Conflict(tool, detail, (service.name,), REFUSE, _remedy(tool, service, packet))
        else:
            detail = f"whether {tool} lets {what} pass cannot be seen ({result.chain} uses extensions that nft does not explain)"
            yield Conflict(tool, detail, (service.name,), WARN, "Look at its rules; only a probe from outside will tell.")


def _rewritten(service: Access, policy: Policy, foreign: Foreign, around: Surroundings) -> Iterator[Conflict]:
    for family in service.families:
        packet = Packet(_NFT_FAMILY[family], service.protocol, service.port, None, around.interfaces, around.addresses)
        for rewrite in rewrites(foreign, packet):
            tool = tool_of(rewrite.chain, foreign)
            name = f"{service.protocol.upper()} {service.port}"
            verb = "redirects" if rewrite.kind == "redirect" else "forwards"
            to = f" to {rewrite.target}" if rewrite.target else ""
            fact = f"{tool} {verb} {name}{to} before any input rule sees it ({rewrite.chain})"
            if service.sources is not None:
                yield Conflict(
                    tool, f"{fact}, so allow_from of service {service.name} would not hold", (service.name,), REFUSE, _limit_remedy(tool, service, rewrite)
                )
            elif rewrite.kind == "redirect" and policy.inbound == DENY:
                detail = f"{fact}, so with inbound deny the packets arrive at a port that is not open"
                yield Conflict(tool, detail, (service.name,), REFUSE, f"Name the port that {tool} redirects to as the service's port, or remove that rule.")
            else:
                detail = f"{fact}; our rule for service {service.name} has no effect, and {tool} decides who gets in"
                yield Conflict(tool, detail, (service.name,), WARN, "Nothing to do if that is what you want.")


def _published(policy: Policy, foreign: Foreign, around: Surroundings) -> Iterator[Conflict]:
    for family in ("ipv4", "ipv6"):
        known = {(service.protocol, service.port) for service in policy.services if family in service.families}
        for (protocol, port), rewrite in published_ports(foreign, _NFT_FAMILY[family], around.interfaces, around.addresses).items():
            if (protocol, port) not in known:
                tool = tool_of(rewrite.chain, foreign)
                detail = f"{tool} forwards {protocol.upper()} {port} to {rewrite.target} ({rewrite.chain}), so inbound deny would not hold for it"
                remedy = f"Publish that port on 127.0.0.1 only, remove it, or list it as a service if the Internet shall reach it ({protocol} {port})."
                yield Conflict(tool, detail, (), REFUSE, remedy)


def _unseen(policy: Policy, foreign: Foreign, around: Surroundings) -> Iterator[Conflict]:
    names = tuple(service.name for service in policy.services)
    if around.legacy_tables:
        detail = f"rules of the old iptables are loaded (tables {', '.join(around.legacy_tables)}), which nft cannot show"
        yield Conflict("iptables-legacy", detail, names, WARN, "Look at them with iptables-legacy-save; only a probe from outside will tell.")
    if around.ufw_enabled and not foreign.has_chain("ufw-", "ufw6-") and names:
        detail = "ufw is enabled in /etc/ufw/ufw.conf, but its rules are not loaded now; it will load them at the next boot"
        yield Conflict("ufw", detail, names, WARN, "Allow the ports in ufw as well, or disable it with 'ufw disable'.")


def _join(conflicts: list[Conflict]) -> list[Conflict]:
    """Merge what differs only by address family or source."""
    found: dict[tuple[str, str, str], Conflict] = {}
    for conflict in conflicts:
        key = (conflict.source, conflict.detail, conflict.severity)
        known = found.get(key)
        services = conflict.services if known is None else tuple(dict.fromkeys(known.services + conflict.services))
        found[key] = Conflict(conflict.source, conflict.detail, services, conflict.severity, conflict.remedy)
    return list(found.values())


def _what(service: Access, packets: Sequence[Packet]) -> str:
    source = "" if packets[0].source is None else f" from {packets[0].source}"
    versions = " and ".join(dict.fromkeys(f"IPv{packet.version}" for packet in packets))
    return f"{service.protocol.upper()} {service.port} over {versions}{source}"


def tool_of(chain: ForeignChain, foreign: Foreign) -> str:
    """Return who made a chain, by the names that the tools give."""
    name = chain.name.upper()
    if chain.table == "firewalld":
        return "firewalld"
    if chain.name.startswith(("ufw-", "ufw6-")):
        return "ufw"
    if name.startswith("DOCKER") or chain.table.startswith("docker"):
        return "Docker"
    if name.startswith(("NETAVARK", "CNI-", "PODMAN")) or chain.table == "netavark":
        return "Podman"
    if name.startswith("LIBVIRT") or chain.table.startswith("libvirt"):
        return "libvirt"
    if name == "INPUT" and chain.table == "filter" and foreign.has_chain("ufw-", "ufw6-"):
        return "ufw"
    return f"nftables table {chain.family} {chain.table}"


def _remedy(tool: str, service: Access, packet: Packet) -> str:
    port = f"{service.port}/{service.protocol}"
    if tool == "ufw":
        origin = "" if packet.source is None else f"from {packet.source} "
        return f"Run: ufw allow proto {service.protocol} {origin}to any port {service.port}"
    if tool == "firewalld":
        if packet.source is None:
            return f"Run: firewall-cmd --permanent --add-port={port} && firewall-cmd --reload"
        family = IPV4 if packet.version == 4 else "ipv6"
        rule = f"rule family={family} source address={packet.source} port port={service.port} protocol={service.protocol} accept"
        return f"Run: firewall-cmd --permanent --add-rich-rule='{rule}' && firewall-cmd --reload"
    origin = "" if packet.source is None else f"{packet.family} saddr {packet.source} "
    return f"Add '{origin}{service.protocol} dport {service.port} accept' to that chain where you keep its rules, or remove the chain."


def _limit_remedy(tool: str, service: Access, rewrite: Rewrite) -> str:
    if tool == "Docker":
        return f"Limit it in Docker's chain DOCKER-USER, publish the port on 127.0.0.1 only, or take allow_from of {service.name} out."
    return f"Limit it where the rule is made ({rewrite.chain}), or take allow_from of {service.name} out."
