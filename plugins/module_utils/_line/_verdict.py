# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From readings to a verdict on the line. Pure: it reads no clock and asks nobody.

Private to this collection: no compatibility is promised to code outside it.

    judge(readings, rules, now)     the line, in the shape that the module returns
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._address._classify import GLOBAL, address_class
from .._history import prefix_of
from ._decide import Decision, decide
from ._map_e import MapAddress, MapRule, hints, known_rules, matching
from ._readings import Facts, Reading, gather
from ._stability import stability

__all__ = ["judge"]

_BLOCKED = frozenset({"cgn", "ds_lite", "nat64_464xlat", "no_ipv4", "offline"})
_EVERYTHING = [{"first": 1, "last": 65535}]
_WELL_KNOWN = (22, 25, 80, 443)


def judge(readings: Sequence[Reading], rules: Sequence[MapRule] | None = None, now: str = "") -> dict[str, Any]:
    """Return what the readings say of the line.

    Args:
        readings: any of them may be missing, failed or false.
        rules: the MAP-E rules to consider; None for those of the table.
        now: the present time in RFC 3339, to tell for how long an address has been the same.
    """
    facts = gather(readings)
    computed = matching(known_rules() if rules is None else rules, [row["address"] for row in facts.own6 if row["address_class"] == GLOBAL])
    decision = decide(facts, computed)
    _notice(facts, decision)
    inbound4 = _inbound_ipv4(facts, decision)
    wan = _wan_address(facts, decision)
    own6 = _publishable_ipv6(facts)
    return {
        "verdict": decision.verdict,
        "verdict_reasons": _reasons(facts, decision),
        "confidence": decision.confidence,
        "candidates": decision.candidates,
        "inbound_ipv4": inbound4,
        "inbound_ipv6": _inbound_ipv6(facts, own6),
        "inbound_proved": [family for family in ("ipv4", "ipv6") if facts.proved(family)],
        "ports": _ports(decision, inbound4),
        "wan_address": wan,
        "wan_address_class": address_class(wan) if wan else None,
        "host_address": facts.local["address"] if facts.local else None,
        "host_ipv6_address": own6["address"] if own6 else None,
        "mapped_addresses": _mapped_addresses(facts),
        "map_e": _map_e(facts, decision, computed),
        "address_stability": stability(facts, decision.verdict, now),
        "observation": _observation(wan, own6, now),
        "readings": [reading.as_data() for reading in readings],
        "contradictions": [one.as_data() for one in facts.contradictions],
        "consequences": _consequences(facts, decision, inbound4, own6),
        "questions": _questions(facts, decision),
    }


def _notice(facts: Facts, decision: Decision) -> None:
    """List what does not fit together whatever the verdict is."""
    own6 = {row["address"] for row in facts.own6 if row["address_class"] == GLOBAL}
    for address in facts.seen6:
        if facts.interfaces_known and address not in own6:
            facts.contradict("ipv6_translated", f"over IPv6 this device is seen as {address}, which is not an address of its own", *facts.seen6[address])
    if decision.verdict == "public_direct" and facts.wan and facts.wan != (facts.local or {}).get("address"):
        facts.contradict("wan_without_nat", f"this device has a global address, yet a router names the WAN address {facts.wan}", *facts.wan_sources)
    if decision.verdict == "public_direct" and facts.owner == "beyond":
        facts.contradict("own_address_and_owner", f"{facts.mapped} is an address of this device, yet a router answers for it as somebody else's")
    if decision.verdict in ("nat_single", "public_direct") and facts.ports is not None:
        facts.contradict("ports_differ", "the ports that were seen from outside lie in one port set, as with a shared address")
    # With an address of the carrier's own, the next hop is the carrier's, and may well be the one that translates.
    behind = facts.local_class == "private"
    if behind and decision.verdict in ("nat64_464xlat", "ds_lite", "cgn") and facts.owner in ("gateway", "self"):
        facts.contradict("wan_and_owner", f"the verdict is {decision.verdict}, yet a device at home answers for {facts.mapped}")


def _reasons(facts: Facts, decision: Decision) -> list[str]:
    reasons = [*([decision.verdict] if decision.verdict != "nat_unknown" else []), *decision.reasons]
    if facts.mismatch:
        reasons.append("pcp_address_mismatch")
    if len(facts.seen) > 1 and facts.mapped:
        reasons.append("proxy_suspected")
    if facts.portal:
        reasons.append("captive_portal")
    if facts.varies:
        reasons.append("mapping_varies")
    return list(dict.fromkeys(reasons))


def _inbound_ipv4(facts: Facts, decision: Decision) -> str:
    verdict = decision.verdict
    if verdict == "map_e":
        return "port_set"
    if verdict in _BLOCKED or (verdict == "nat_unknown" and set(decision.candidates) <= _BLOCKED):
        return "blocked"
    if verdict in ("nat_single", "double_nat"):
        return "needs_forward"
    if verdict == "public_direct":
        return "open" if facts.mapped or facts.proved("ipv4") else "unknown"
    if verdict == "one_to_one_nat":
        return "open" if facts.proved("ipv4") else "unknown"
    return "unknown"


def _ports(decision: Decision, inbound: str) -> list[dict[str, int]]:
    if decision.ports is not None:
        return [{"first": first, "last": last} for first, last in decision.ports.ranges()]
    return [dict(one) for one in _EVERYTHING] if inbound in ("open", "needs_forward") else []


def _wan_address(facts: Facts, decision: Decision) -> str | None:
    """Return the address that names have to point to, or the carrier's address in front of it; None if it is not known."""
    if decision.verdict == "public_direct":
        return facts.mapped or (str(facts.local["address"]) if facts.local else None)
    if decision.verdict in ("nat_single", "double_nat", "map_e", "one_to_one_nat"):
        return facts.mapped or facts.wan
    if decision.verdict == "cgn" and facts.local_class == "shared_cgn" and facts.local:
        return str(facts.local["address"])
    return facts.wan


def _mapped_addresses(facts: Facts) -> list[dict[str, Any]]:
    rows = [("ipv4", facts.seen), ("ipv6", facts.seen6)]
    return [
        {"address": address, "family": family, "sources": sources, "believed": address == facts.mapped if family == "ipv4" else None}
        for family, seen in rows
        for address, sources in seen.items()
    ]


def _map_e(facts: Facts, decision: Decision, computed: Sequence[MapAddress]) -> dict[str, Any] | None:
    if decision.ports is None:
        return None
    rule = decision.rule.rule if decision.rule else None
    return {
        "service": rule.service if rule else None,
        "address": decision.rule.ipv4 if decision.rule else facts.mapped,
        "psid": decision.ports.psid,
        "psid_offset": decision.ports.offset,
        "psid_length": decision.ports.length,
        "count": decision.ports.count,
        "rule_source": rule.source if rule else None,
        "rule_date": rule.date if rule else None,
        "by": [one for one, there in (("rule", rule is not None), ("ports", facts.ports is not None)) if there],
    }


def _observation(wan: str | None, own6: Any, now: str) -> dict[str, Any]:
    """Return what to remember of this look, to know later how long the addresses stay."""
    prefix = prefix_of(own6["address"]) if own6 else None
    return {"time": now, "ipv4": wan if wan and address_class(wan) == GLOBAL else None, "ipv6_prefix": prefix}


def _publishable_ipv6(facts: Facts) -> Any:
    """Choose the IPv6 address to publish: never temporary, deprecated, tentative or local; what stays longest first."""
    fit = [row for row in facts.own6 if row.get("publish_candidate") and row["address_class"] == GLOBAL]
    fit = [row for row in fit if not (row.get("temporary") or row.get("deprecated") or row.get("tentative"))]
    return min(fit, key=lambda row: (bool(row.get("dynamic")), row.get("prefix_length") != 128, row["address"]), default=None)


def _inbound_ipv6(facts: Facts, own6: Any) -> str:
    if facts.proved("ipv6"):
        return "open"
    if not facts.interfaces_known:
        return "unknown"
    if own6 is None:
        return "blocked"
    return "unknown"


def _consequences(facts: Facts, decision: Decision, inbound: str, own6: Any) -> list[dict[str, Any]]:
    found: list[tuple[str, str]] = []
    if inbound == "blocked":
        found.append(("no_inbound_ipv4", "nothing can come in over IPv4 by this line: no setting of a router at home changes that"))
    if decision.ports is not None:
        ports = [port for port in _WELL_KNOWN if port not in decision.ports]
        if ports:
            names = ", ".join(map(str, ports))
            text = f"ports {names} cannot be published over IPv4: the address is shared, and only {decision.ports.count} other ports are this line's"
            found.append(("well_known_ports_impossible", text))
        found.append(("address_shared", "other homes use the same IPv4 address, so an access list that allows it allows them too"))
    if inbound != "blocked" and (decision.verdict == "double_nat" or "double_nat" in decision.reasons):
        found.append(("two_forwards", "two routers translate, one behind the other: each needs a forward, or the inner one has to become a bridge"))
    if decision.verdict == "nat_single":
        found.append(("one_forward", "a forward in the router is needed for each port"))
    behind = facts.local_class == "private" and decision.verdict in ("nat_single", "double_nat", "map_e", "double_nat_or_cgn", "nat_unknown")
    if behind and inbound != "blocked" and facts.local and facts.local.get("dynamic"):
        text = f"{facts.local['address']} comes from DHCP: reserve it in the router, else forwards lead nowhere when it changes"
        found.append(("lan_address_dynamic", text))
    if decision.verdict == "vpn_or_proxy_egress":
        text = f"this device speaks to the Internet through {facts.tunnel or 'a proxy'}, so its far end was seen and not the line; name the line's interface"
        found.append(("look_past_the_tunnel", text))
    if inbound in ("blocked", "port_set") and own6 is not None:
        found.append(("ipv6_remains", f"over IPv6 {own6['address']} may be reachable, if the router lets connections in; visitors without IPv6 stay out"))
    if own6 is None and facts.interfaces_known:
        found.append(("no_ipv6", "there is no IPv6 address that could be published"))
    if facts.portal:
        found.append(("captive_portal", "something on the way answers in place of the server that was asked: a sign-in page, or a proxy"))
    services = hints(row["address"] for row in facts.own6 if row["address_class"] == GLOBAL)
    for service, technique in services:
        if technique != "none" and decision.rule is None and decision.verdict in ("nat_unknown", "double_nat_or_cgn", "cgn"):
            found.append(("service_hint", f"the IPv6 prefix is one that {service} uses ({technique}); this is a hint, no proof"))
    return [{"name": name, "text": text} for name, text in found]


def _questions(facts: Facts, decision: Decision) -> list[dict[str, str]]:
    """Return the question that would decide, the best first."""
    if decision.confidence in ("high", "proof"):
        return []
    found: list[tuple[str, str]] = []
    if not facts.wan and decision.verdict in ("nat_unknown", "double_nat_or_cgn"):
        found.append(("type_wan_address", "Which address does the router's own page show for its WAN or Internet side? Give it as observed.wan_address."))
    if not facts.helpers and not facts.seen6:
        asked = "May outside helpers be asked how this line looks from there? Give stun_servers (two at different addresses) or echo_urls."
        found.append(("allow_outside", asked))
    elif decision.verdict == "nat_unknown" and set(decision.candidates) == {"nat_single", "map_e"}:
        found.append(("allow_outside", "Is the IPv4 address shared with other homes (MAP-E)? A STUN server in stun_servers shows it by the ports."))
    if decision.verdict == "double_nat_or_cgn" or (decision.verdict == "nat_unknown" and "one_to_one_nat" in decision.candidates):
        found.append(("second_router", "Is there a second router of your own, for instance the provider's box, between your router and the Internet?"))
    if decision.verdict == "vpn_or_proxy_egress":
        found.append(("name_interface", "Which interface leads to the router at home? Give it as interface."))
    if not found and decision.verdict == "nat_unknown":
        found.append(("prove_from_outside", "Can something come in? Only a probe from outside decides here; give what it proved as observed.inbound."))
    return [{"name": name, "text": text} for name, text in found]
