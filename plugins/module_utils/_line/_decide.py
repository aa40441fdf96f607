# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kind of line the facts mean: the decision table. Pure.

Private to this collection: no compatibility is promised to code outside it.

The rule above all others: a fact that could be wrong, and which nothing else supports, does not decide against another one. Then the
verdict is a weaker word (C(nat_unknown), C(double_nat_or_cgn)), the candidates are named, and the contradiction is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .._address._classify import GLOBAL, address_class
from ._map_e import MapAddress, PortSet, hints
from ._readings import CONTINUITY, PRIVATE, SHARED, Facts

__all__ = ["WEAKER", "Decision", "decide"]

#: For the weaker words, what they may stand for. C(nat_unknown) stands for everything.
WEAKER: dict[str, frozenset[str]] = {
    "double_nat_or_cgn": frozenset({"double_nat", "cgn", "ds_lite", "one_to_one_nat", "map_e"}),
    "no_ipv4": frozenset({"nat64_464xlat"}),
}

#: Makers of virtual machines whose public addresses are translated one to one. The texts are those of the firmware, vendor and product.
_CLOUDS = ("Amazon EC2", "Google Google Compute Engine", "DigitalOcean", "Hetzner")


@dataclass
class Decision:
    """The verdict on IPv4 and what led to it."""

    verdict: str
    confidence: str
    reasons: list[str] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    ports: PortSet | None = None
    rule: MapAddress | None = None

    def __post_init__(self) -> None:
        self.candidates = self.candidates or (["double_nat", "cgn"] if self.verdict == "double_nat_or_cgn" else [self.verdict])


def _unknown(reason: str, *candidates: str) -> Decision:
    return Decision("nat_unknown", "low", [reason], list(candidates) or ["nat_unknown"])


def decide(facts: Facts, computed: Sequence[MapAddress]) -> Decision:
    """Return the verdict.

    Args:
        facts: what the readings come to. Contradictions that show here are added to it.
        computed: what the mapping rules make of this device's IPv6 prefixes.
    """
    decision = _by_route(facts) or _by_own_address(facts) or _behind_nat(facts, computed)
    if facts.proved("ipv4") and decision.verdict in ("cgn", "ds_lite", "nat64_464xlat", "no_ipv4", "offline"):
        facts.contradict("inbound_works", f"something came in from outside, which the verdict {decision.verdict} excludes")
        return _unknown("inbound_works", decision.verdict, "one_to_one_nat", "nat_single")
    return decision


def _by_route(facts: Facts) -> Decision | None:
    """Judge a device without a native way over IPv4, and one whose way is a tunnel."""
    if facts.continuity == "clat" or (facts.continuity == "either" and facts.pref64):
        return Decision("nat64_464xlat", "high", ["clat_address"])
    if facts.continuity == "b4":
        return Decision("ds_lite", "high", ["b4_address"])
    if facts.continuity == "either":
        return _unknown("continuity_address", "ds_lite", "nat64_464xlat")
    if facts.tunnel:
        return Decision("vpn_or_proxy_egress", "medium", ["tunnel_route"])
    if not facts.routes_known or facts.route4:
        return None
    if facts.helpers:
        facts.contradict("no_route_but_answers", "this device has no default route for IPv4, yet a helper answered over IPv4")
        return _unknown("no_route_but_answers")
    if facts.pref64:
        return Decision("nat64_464xlat", "high", ["pref64"])
    if facts.route6:
        return Decision("no_ipv4", "high", ["no_ipv4_route"])
    if facts.seen6:
        facts.contradict("no_route_but_answers", "this device has no default route, yet a helper answered over IPv6")
        return _unknown("no_route_but_answers")
    if not facts.routes6_known:
        return _unknown("no_ipv4_route", "no_ipv4", "offline")
    return Decision("offline", "high", ["no_route"])


def _by_own_address(facts: Facts) -> Decision | None:
    """Judge a device that has an address of the Internet, or of a carrier, itself."""
    if facts.local_class == SHARED:
        return Decision("cgn", "high" if facts.mapped else "medium", ["own_address_shared"])
    if facts.local_class != GLOBAL or facts.local is None:
        return None
    own = {row["address"] for row in facts.own}
    if facts.mapped in own:
        return Decision("public_direct", "high", ["own_address_seen"])
    if not facts.seen:
        return Decision("public_direct", "medium", ["own_address_global"])
    if facts.mapped is None:
        return _unknown("mapped_addresses_differ", "public_direct", "vpn_or_proxy_egress", "cgn")
    facts.contradict("own_address_not_seen", f"this device has the global address {facts.local['address']}, but is seen as {facts.mapped}")
    if facts.owner == "beyond":
        return Decision("cgn", "medium", ["own_address_translated"], ["cgn", "vpn_or_proxy_egress"])
    return _unknown("own_address_not_seen", "cgn", "vpn_or_proxy_egress", "one_to_one_nat")


def _behind_nat(facts: Facts, computed: Sequence[MapAddress]) -> Decision:
    if facts.mapped is None and facts.wan is None and not facts.next_class:
        return _nothing_seen(facts)
    if CONTINUITY in (facts.wan_class, facts.next_class) and facts.owner != "gateway":
        return Decision("ds_lite", "high", ["b4_address"])
    decision = _map_e(facts, computed)
    if decision is not None:
        return decision
    if facts.wan_class == SHARED:
        decision = _wan_shared(facts)
    elif facts.wan_class == PRIVATE:
        decision = _wan_private(facts)
    elif facts.wan is not None and facts.wan_class == GLOBAL:
        decision = _wan_global(facts)
    elif facts.wan is not None:
        facts.contradict("wan_not_usable", f"the router's WAN address is told as {facts.wan}, which no line has ({facts.wan_class})", *facts.wan_sources)
        decision = _unknown("wan_not_usable", "cgn", "double_nat", "nat_single")
    elif facts.wan_disputed:
        decision = _unknown("wan_addresses_differ", "nat_single", "cgn", "double_nat")
    else:
        decision = _wan_unknown(facts)
    return _unless_shared(facts, computed, decision) if decision.verdict in ("nat_single", "double_nat") else decision


def _nothing_seen(facts: Facts) -> Decision:
    """Judge where nobody outside answered and the router said nothing."""
    if facts.seen:
        return _unknown("mapped_addresses_differ", "vpn_or_proxy_egress", "nat_single", "cgn")
    failed = facts.failed
    if facts.portal:
        return _unknown("captive_portal")
    if facts.seen6:
        return _unknown("nothing_seen", "nat_single", "cgn", "ds_lite", "no_ipv4")
    # Both kinds of helpers must be silent: one protocol alone may be filtered, and one helper alone may be down.
    if facts.interfaces_known and failed.get("stun") and failed.get("echo") and len(failed["stun"]) + len(failed["echo"]) > 2 and facts.next_hop is None:
        return Decision("offline", "medium", ["no_answer"], ["offline", "nat_unknown"])
    return _unknown("wan_hidden" if facts.wan_hidden else "nothing_seen")


# --- MAP-E


def _map_e(facts: Facts, computed: Sequence[MapAddress]) -> Decision | None:
    """Judge by rule and by mapped ports. None if nothing suggests a shared address."""
    outer = facts.mapped or facts.wan
    rule = next((one for one in computed if one.ipv4 == outer), None)
    reasons = ["map_rule"] if rule else []
    shared = rule.ports if rule else facts.ports
    if shared is None:
        return None
    if any(one.name == "ports_differ" for one in facts.contradictions):
        return _unknown("ports_differ", "map_e", "nat_single")
    outside = [port for port in [*facts.helper_ports, *facts.sampled_ports] if port not in shared]
    if rule is not None and outside:
        text = f"by the rule of {rule.rule.service} the address {rule.ipv4} is shared, but port {outside[0]} was used, which is not in the set of this line"
        facts.contradict("ports_outside_set", text)
        if not facts.helper_ports or facts.preserved or any(port not in shared for port in facts.helper_ports):
            return _unknown("ports_outside_set", "map_e", "nat_single")
    if any(one.get("family") == "ipv4" and int(one["port"]) not in shared for one in facts.inbound):
        facts.contradict("inbound_outside_set", "something came in from outside on a port that is not in the set of this line")
        return _unknown("inbound_outside_set", "map_e", "nat_single")
    if rule is None and outside:
        facts.contradict("ports_outside_set", f"many ports lie in one port set, as with MAP-E, but port {outside[0]} was used too, which is not in it")
        return _unknown("ports_outside_set", "map_e", "nat_single", "cgn")
    if facts.ports is not None:
        reasons.append("map_ports")
    if facts.wan_class == SHARED:
        facts.contradict("wan_shared_and_map", f"the router's WAN address {facts.wan} is a carrier's, yet the line looks like MAP-E", *facts.wan_sources)
        if rule is None:
            return _unknown("wan_shared_and_map", "cgn", "map_e")
    confidence = "high" if rule is not None and (facts.mapped or facts.ports) and not outside and facts.wan_class != SHARED else "medium"
    if facts.owner == "beyond" and facts.wan == outer:
        text = f"the router names {outer} as its own WAN address, but it is not the router that answers for it"
        facts.contradict("wan_and_owner", text, *facts.wan_sources)
    elif facts.owner == "gateway" and facts.wan_class == PRIVATE:
        text = f"the router's WAN address is told as {facts.wan}, a private one, yet the router answers for {facts.mapped} itself"
        facts.contradict("wan_and_owner", text, *facts.wan_sources)
    elif facts.owner == "beyond" or facts.wan_class == PRIVATE:
        # Another router stands between this device and the one that holds the shared address: two forwards are needed.
        reasons.append("double_nat")
    if facts.wan and facts.wan != outer and facts.wan_class == GLOBAL:
        text = f"the router's WAN address is told as {facts.wan}, but the line is seen as {outer}"
        facts.contradict("wan_not_seen", text, *facts.wan_sources)
    return Decision("map_e", confidence, reasons, ports=shared, rule=rule)


def _unless_shared(facts: Facts, computed: Sequence[MapAddress], decision: Decision) -> Decision:
    """Claim an ordinary NAT only where the address is not shared: a router with MAP-E looks just the same, but for its ports."""
    low = any(one.get("family") == "ipv4" and int(one["port"]) < 1024 for one in facts.inbound)
    if facts.preserved or facts.random or low:
        if computed:
            decision.reasons.append("map_rule_not_used")
        if low:
            decision.confidence = "proof"
        elif not facts.sampled and decision.confidence == "high":
            # One port that is kept may be one of the set by chance.
            decision.confidence = "medium"
        return decision
    reasons = [*decision.reasons, "sharing_not_excluded", *(["map_rule_known"] if computed else [])]
    if decision.verdict == "double_nat":
        return Decision("double_nat_or_cgn", "medium", reasons, ["double_nat", "map_e", "cgn"])
    return Decision("nat_unknown", "low", reasons, ["nat_single", "map_e"])


# --- what the router says


def _wan_shared(facts: Facts) -> Decision:
    if facts.owner == "gateway":
        text = f"the router's WAN address is told as {facts.wan}, a carrier's, yet the router answers for {facts.mapped} itself"
        facts.contradict("wan_and_owner", text, *facts.wan_sources)
        if facts.next_class == SHARED:
            return Decision("cgn", "medium", ["wan_shared", "next_hop_shared"])
        return _unknown("wan_and_owner", "cgn", "nat_single")
    if (facts.second or {}).get("reachable"):
        text = f"the router's WAN address is told as {facts.wan}, a carrier's, yet a second home router answers at {(facts.second or {}).get('address')}"
        facts.contradict("wan_and_second_router", text, *facts.wan_sources)
        return Decision("double_nat_or_cgn", "medium", ["wan_shared", "second_router"])
    sure = facts.mapped is not None or facts.next_class == SHARED
    return Decision("cgn", "high" if sure else "medium", ["wan_shared", *(["next_hop_shared"] if facts.next_class == SHARED else [])])


def _wan_private(facts: Facts) -> Decision:
    if facts.owner == "gateway":
        text = f"the router's WAN address is told as {facts.wan}, a private one, yet the router answers for {facts.mapped} itself"
        facts.contradict("wan_and_owner", text, *facts.wan_sources)
        return _unknown("wan_and_owner", "nat_single", "double_nat")
    if facts.next_class == SHARED:
        text = f"the router's WAN address {facts.wan} is private, but the next hop {facts.next_hop} is a carrier's"
        facts.contradict("wan_and_next_hop", text, *facts.wan_sources)
        return Decision("double_nat_or_cgn", "medium", ["wan_private", "next_hop_shared"])
    return _second_router(facts, ["wan_private"])


def _second_router(facts: Facts, reasons: list[str]) -> Decision:
    """Judge private addresses before the Internet: somebody's second router, or a carrier that uses private addresses."""
    second = facts.second or {}
    further = second.get("wan_address")
    if not second.get("reachable"):
        return Decision("double_nat_or_cgn", "medium", reasons)
    reasons = [*reasons, "second_router"]
    if further and further == facts.mapped:
        return Decision("double_nat", "high", reasons)
    if further:
        reasons.append("double_nat")
        if address_class(str(further)) == SHARED:
            return Decision("cgn", "medium", [*reasons, "wan_shared"])
    return Decision("double_nat", "medium", reasons)


def _wan_global(facts: Facts) -> Decision:
    if facts.mapped is None:
        if facts.seen:
            return _unknown("mapped_addresses_differ", "nat_single", "vpn_or_proxy_egress", "map_e")
        if facts.next_class == SHARED:
            text = f"the router's WAN address {facts.wan} is global, but the next hop {facts.next_hop} is a carrier's"
            facts.contradict("wan_and_next_hop", text, *facts.wan_sources)
            return _unknown("wan_and_next_hop", "nat_single", "cgn", "map_e")
        return Decision("nat_single", "medium", ["wan_global"])
    if facts.wan == facts.mapped:
        return _wan_is_mapped(facts)
    facts.contradict("wan_not_seen", f"the router's WAN address is told as {facts.wan}, but the line is seen as {facts.mapped}", *facts.wan_sources)
    if facts.owner == "gateway":
        return _unknown("wan_and_owner", "nat_single", "cgn", "vpn_or_proxy_egress")
    if facts.proved("ipv4"):
        return _unknown("wan_not_seen", "one_to_one_nat", "nat_single", "vpn_or_proxy_egress")
    if facts.next_class == PRIVATE:
        return Decision("double_nat_or_cgn", "medium", ["wan_not_seen", "next_hop_private"])
    if facts.next_class == SHARED:
        return Decision("cgn", "high" if facts.owner == "beyond" else "medium", ["wan_not_seen", "next_hop_shared"])
    if facts.owner == "beyond" and facts.interfaces_known:
        return Decision("cgn", "medium", ["wan_not_seen"], ["cgn", "vpn_or_proxy_egress"])
    return _unknown("wan_not_seen", "cgn", "vpn_or_proxy_egress", "nat_single")


def _wan_is_mapped(facts: Facts) -> Decision:
    if facts.owner == "beyond":
        text = f"the router names {facts.mapped} as its own WAN address, but it is not the router that answers for it"
        facts.contradict("wan_and_owner", text, *facts.wan_sources)
        if facts.proved("ipv4"):
            return Decision("one_to_one_nat", "medium", ["owner_beyond", "inbound_works"])
        if facts.next_class == SHARED:
            return Decision("cgn", "medium", ["owner_beyond", "next_hop_shared"])
        return _unknown("wan_and_owner", "nat_single", "one_to_one_nat", "cgn", "double_nat")
    if facts.next_class in (SHARED, PRIVATE):
        text = f"the router owns {facts.mapped}, but the next hop {facts.next_hop} is {'a carrier' if facts.next_class == SHARED else 'private'}"
        facts.contradict("owner_and_next_hop", text)
        if facts.next_class == SHARED and facts.owner is None:
            return _unknown("owner_and_next_hop", "nat_single", "cgn")
        return Decision("nat_single", "high" if facts.owner else "medium", ["wan_seen"])
    return Decision("nat_single", "high", ["wan_seen"])


def _wan_unknown(facts: Facts) -> Decision:
    if facts.mapped is None:
        why = "mapped_addresses_differ" if facts.seen else "nothing_seen"
        return _unknown(why, *(["cgn", "nat_single"] if facts.next_class == SHARED else []))
    if not facts.interfaces_known:
        # Whose address the helpers see is not known: this device's own, or that of a NAT.
        candidates = ["public_direct", "nat_single", "double_nat", "cgn", "map_e"]
        return _unknown("interfaces_unknown", *candidates)
    if facts.owner in ("gateway", "self"):
        if facts.next_class == SHARED:
            facts.contradict("owner_and_next_hop", f"the router owns {facts.mapped}, but the next hop {facts.next_hop} is a carrier's")
            return _unknown("owner_and_next_hop", "nat_single", "cgn")
        if facts.next_class == PRIVATE:
            facts.contradict("owner_and_next_hop", f"the router owns {facts.mapped}, but the next hop {facts.next_hop} is private")
        sure = facts.first_hop and facts.next_class != PRIVATE
        return Decision("nat_single", "high" if sure else "medium", ["owner_gateway"])
    if facts.owner is None:
        return _unknown("nothing_decides", *(["cgn", "nat_single"] if facts.next_class == SHARED else []))
    if facts.next_class == SHARED:
        return Decision("cgn", "high", ["owner_beyond", "next_hop_shared"])
    if facts.next_class == PRIVATE:
        return _second_router(facts, ["owner_beyond", "next_hop_private"])
    if facts.proved("ipv4"):
        return Decision("one_to_one_nat", "medium", ["owner_beyond", "inbound_works"])
    if facts.vendor.startswith(_CLOUDS) and facts.preserved:
        return Decision("one_to_one_nat", "medium", ["owner_beyond", "cloud_machine"])
    if any(technique == "ds_lite" for _service, technique in hints(row["address"] for row in facts.own6)):
        return _unknown("ds_lite_prefix", "ds_lite", "cgn", "double_nat", "one_to_one_nat")
    return _unknown("owner_beyond", "cgn", "double_nat", "one_to_one_nat", "ds_lite")
