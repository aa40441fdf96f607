# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines where readings do not fit together, or where much is missing. What is true is not known here, so a weaker word is right."""

from __future__ import annotations

from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import Reading
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._line.line_cases import (
    CARRIER_HOP,
    CARRIER_OUT,
    ECHO,
    OTHER_SET,
    OWN,
    ROUTER,
    SECOND,
    SECOND_WAN,
    SHARED_WAN,
    V6,
    V6PLUS,
    V6PLUS_SET,
    V6PLUS_WAN,
    WAN,
    answer,
    chosen,
    echo,
    hops,
    inbound,
    interfaces,
    lan,
    line,
    map_e,
    path,
    ports,
    random_ports,
    row,
    stun,
    wan,
)

ELSEWHERE = "44.250.1.1"
UNKNOWN = {"verdict": "nat_unknown", "inbound": "unknown", "confidence": "low"}
BLOCKED = {"verdict": "nat_unknown", "inbound": "blocked", "confidence": "low"}
BEYOND = hops(WAN, answer(1, ROUTER), answer(2, WAN, owner=True))
HERE = interfaces(row("eth0", WAN))
PREF64 = Reading("pref64", "resolver", {"prefix": "64:ff9b::/96"})
SECOND_ROUTER = Reading("second_gateway", SECOND, {"address": SECOND, "reachable": True, "wan_address": None})

EDGES = [
    # Addresses of 464XLAT and DS-Lite that say not which
    line("continuity", interfaces(row("net0", "192.0.0.3")), **BLOCKED, reasons=("continuity_address",)),
    line("continuity_pref64", interfaces(row("net0", "192.0.0.3")), PREF64, verdict="nat64_464xlat", inbound="blocked"),
    line("pref64_beside_ipv4", lan(), wan(WAN), *stun(WAN), OWN, ports(), PREF64, verdict="nat_single", inbound="needs_forward"),
    line("continuity_beside_ipv4", lan(row("clat4", "192.0.0.4", on_default_route=False)), wan(WAN), *stun(WAN), OWN, ports(),
         verdict="nat_single", inbound="needs_forward"),
    # Routes that contradict answers
    line("no_route_but_answers", interfaces(row("eth0", "192.168.1.9", on_default_route=False), routes=[]), *stun(WAN), **UNKNOWN,
         contradictions=("no_route_but_answers",)),
    line("no_route_but_answers_6", interfaces(row("eth0", "192.168.1.9", on_default_route=False), routes=[]), *stun(V6), **UNKNOWN,
         contradictions=("no_route_but_answers", "ipv6_translated")),
    # A global address that helpers do not see
    line("own_disputed", HERE, *stun(ELSEWHERE)[:1], **UNKNOWN, contradictions=("own_address_not_seen",)),
    line("own_disputed_by_two", HERE, stun(ELSEWHERE)[0], stun(WAN)[1], stun(ELSEWHERE)[1], **UNKNOWN, contradictions=("mapped_addresses_differ",)),
    line("own_translated", HERE, *stun(ELSEWHERE), hops(ELSEWHERE, answer(1, ROUTER)), verdict="cgn", inbound="blocked", confidence="medium",
         contradictions=("own_address_not_seen",)),
    line("own_and_router", HERE, *stun(WAN), wan(SHARED_WAN), verdict="public_direct", inbound="open", contradictions=("wan_without_nat",)),
    line("own_unseen", HERE, verdict="public_direct", inbound="unknown", confidence="medium"),
    line("own_shared_unseen", interfaces(row("wwan0", "100.80.1.1")), verdict="cgn", inbound="blocked", confidence="medium"),
    # Something came in although nothing can
    line("cgn_but_inbound", lan(), wan(SHARED_WAN), *stun(CARRIER_OUT), inbound(443), **UNKNOWN, contradictions=("inbound_works",)),
    # What the router says makes no sense, or two things
    line("wan_not_usable", lan(), wan("192.0.2.7"), *stun(WAN), ports(), **UNKNOWN, contradictions=("wan_not_usable",)),
    line("wan_disputed", lan(), wan(WAN), wan(SHARED_WAN, "natpmp"), *stun(WAN), ports(), **UNKNOWN, contradictions=("wan_addresses_differ",)),
    line("wan_majority", lan(), wan(WAN), wan(WAN, "natpmp"), wan(SHARED_WAN, "typed"), *stun(WAN), OWN, ports(),
         verdict="nat_single", inbound="needs_forward", contradictions=("wan_addresses_differ",)),
    # MAP-E against other evidence
    line("map_rule_but_all_ports", lan(v6=V6PLUS), wan(V6PLUS_WAN), stun(V6PLUS_WAN), ports(), **UNKNOWN, contradictions=("ports_outside_set",)),
    line("map_rule_but_kept", lan(v6=V6PLUS), wan(V6PLUS_WAN), stun(V6PLUS_WAN), **UNKNOWN, contradictions=("ports_outside_set",)),
    line("map_rule_and_ports_differ", lan(v6=V6PLUS), stun(V6PLUS_WAN), ports(chosen(V6PLUS_SET)), **UNKNOWN, contradictions=("ports_differ",)),
    line("map_rule_and_noise", lan(v6=V6PLUS), stun(V6PLUS_WAN, (5650, 9750)), ports(random_ports()), verdict="map_e", inbound="port_set",
         confidence="medium", contradictions=("ports_outside_set",)),
    line("map_rule_only_noise", lan(v6=V6PLUS), echo(V6PLUS_WAN), ports(random_ports()), **UNKNOWN, contradictions=("ports_outside_set",)),
    line("map_ports_but_another", lan(), stun(WAN, (5000, 6000)), ports(chosen(OTHER_SET)), **UNKNOWN, contradictions=("ports_outside_set",)),
    line("map_inbound_inside", *map_e(V6PLUS, V6PLUS_WAN, V6PLUS_SET, inbound(5650)), verdict="map_e", inbound="port_set"),
    line("map_inbound_outside", *map_e(V6PLUS, V6PLUS_WAN, V6PLUS_SET, inbound(443)), **UNKNOWN, contradictions=("inbound_outside_set",)),
    line("map_inbound_ipv6", *map_e(V6PLUS, V6PLUS_WAN, V6PLUS_SET, inbound(443, "ipv6")), verdict="map_e", inbound="port_set"),
    line("map_rule_and_carrier", *map_e(V6PLUS, V6PLUS_WAN, V6PLUS_SET, wan(SHARED_WAN)), verdict="map_e", inbound="port_set", confidence="medium",
         contradictions=("wan_shared_and_map",)),
    line("map_ports_and_carrier", *map_e(V6, WAN, OTHER_SET, wan(SHARED_WAN)), **UNKNOWN, contradictions=("wan_shared_and_map",)),
    line("map_rule_by_router_and_ports", lan(v6=V6PLUS), wan(V6PLUS_WAN), ports(chosen(V6PLUS_SET)), verdict="map_e", inbound="port_set"),
    line("map_rule_by_helper", lan(v6=V6PLUS), echo(V6PLUS_WAN), verdict="map_e", inbound="port_set"),
    line("map_second_unnamed", *map_e(V6, WAN, OTHER_SET, BEYOND), verdict="map_e", inbound="port_set", confidence="medium", reasons=("double_nat",)),
    line("map_second_silent", *map_e(V6, WAN, OTHER_SET, wan(SECOND_WAN)), verdict="map_e", inbound="port_set", confidence="medium", reasons=("double_nat",)),
    # Whose the mapped address is, against what the router says
    line("shared_but_owner", lan(), wan(SHARED_WAN), *stun(WAN), OWN, ports(), **UNKNOWN, contradictions=("wan_and_owner",)),
    line("shared_but_owner_and_hop", lan(), wan(SHARED_WAN), *stun(WAN), OWN, path(answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(),
         verdict="cgn", inbound="blocked", confidence="medium", contradictions=("wan_and_owner",)),
    line("shared_and_hop", lan(), wan(SHARED_WAN), path(answer(1, ROUTER), answer(2, CARRIER_HOP)), verdict="cgn", inbound="blocked",
         reasons=("next_hop_shared",)),
    line("shared_but_second", lan(), wan(SHARED_WAN), *stun(WAN), SECOND_ROUTER, verdict="double_nat_or_cgn", inbound="unknown", confidence="medium",
         truth="cgn", contradictions=("wan_and_second_router",)),
    line("private_but_owner", lan(), wan(SECOND_WAN), *stun(WAN), OWN, ports(), **UNKNOWN, contradictions=("wan_and_owner",)),
    line("private_but_hop", lan(), wan(SECOND_WAN), *stun(WAN), path(answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(),
         verdict="double_nat_or_cgn", inbound="unknown", confidence="medium", truth="cgn", contradictions=("wan_and_next_hop",)),
    line("global_disputed", lan(), wan(ELSEWHERE), stun(WAN)[0], stun("44.3.3.3")[1], **UNKNOWN, contradictions=("mapped_addresses_differ",)),
    line("global_but_hop", lan(), wan(WAN), path(answer(1, ROUTER), answer(2, CARRIER_HOP)), **UNKNOWN, contradictions=("wan_and_next_hop",)),
    line("not_seen_proved", lan(), wan(ELSEWHERE), *stun(WAN), inbound(443), **UNKNOWN, contradictions=("wan_not_seen",)),
    line("not_seen_private_hop", lan(), wan(ELSEWHERE), *stun(WAN), path(answer(1, ROUTER), answer(2, SECOND)), ports(),
         verdict="double_nat_or_cgn", inbound="unknown", confidence="medium", truth="cgn", contradictions=("wan_not_seen",)),
    line("not_seen_carrier_hop", lan(), wan(ELSEWHERE), *stun(WAN), path(answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(),
         verdict="cgn", inbound="blocked", confidence="medium", contradictions=("wan_not_seen",)),
    line("not_seen_beyond_carrier", lan(), wan(ELSEWHERE), *stun(WAN), hops(WAN, answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(),
         verdict="cgn", inbound="blocked", contradictions=("wan_not_seen",)),
    line("not_seen_silent", lan(), wan(ELSEWHERE), *stun(WAN), ports(), **UNKNOWN, contradictions=("wan_not_seen",)),
    line("seen_but_beyond", lan(), wan(WAN), *stun(WAN), BEYOND, ports(), **UNKNOWN, contradictions=("wan_and_owner",)),
    line("seen_but_beyond_proved", lan(), wan(WAN), *stun(WAN), BEYOND, ports(), inbound(443), verdict="one_to_one_nat", inbound="open",
         confidence="medium", contradictions=("wan_and_owner",)),
    line("seen_but_beyond_carrier", lan(), wan(WAN), *stun(WAN), hops(WAN, answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(),
         verdict="cgn", inbound="blocked", confidence="medium", contradictions=("wan_and_owner",)),
    line("seen_carrier_hop", lan(), wan(WAN), *stun(WAN), path(answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(), **UNKNOWN,
         contradictions=("owner_and_next_hop",)),
    line("seen_owned_carrier_hop", lan(), wan(WAN), *stun(WAN), OWN, path(answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(),
         verdict="nat_single", inbound="needs_forward", contradictions=("owner_and_next_hop",)),
    line("seen_private_hop", lan(), wan(WAN), *stun(WAN), path(answer(1, ROUTER), answer(2, SECOND)), ports(),
         verdict="nat_single", inbound="needs_forward", confidence="medium", contradictions=("owner_and_next_hop",)),
    line("owned_carrier_hop", lan(), *stun(WAN), OWN, path(answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(), **UNKNOWN,
         contradictions=("owner_and_next_hop",)),
    line("owned_private_hop", lan(), *stun(WAN), OWN, path(answer(1, ROUTER), answer(2, SECOND)), ports(),
         verdict="nat_single", inbound="needs_forward", confidence="medium", contradictions=("owner_and_next_hop",)),
    line("owned_no_path", lan(), *stun(WAN), OWN, ports(), verdict="nat_single", inbound="needs_forward", confidence="medium"),
    # Little is known
    line("only_carrier_hop", lan(), path(answer(1, ROUTER), answer(2, CARRIER_HOP)), **UNKNOWN, reasons=("nothing_seen",)),
    line("seen_and_carrier_hop", lan(), *stun(WAN), path(answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(), **UNKNOWN, reasons=("nothing_decides",)),
    line("disputed_and_hop", lan(), stun(WAN)[0], echo(ELSEWHERE), path(answer(1, ROUTER), answer(2, "44.0.0.1")), **UNKNOWN,
         contradictions=("mapped_addresses_differ",)),
    line("disputed", lan(), stun(WAN)[0], echo(ELSEWHERE), **UNKNOWN, contradictions=("mapped_addresses_differ",)),
    line("kept_once", lan(), wan(WAN), *stun(WAN), OWN, verdict="nat_single", inbound="needs_forward", confidence="medium"),
    line("proved_low_ipv6", lan(), wan(WAN), inbound(443, "ipv6"), **UNKNOWN),
    line("proved_high", lan(), wan(WAN), inbound(8443), **UNKNOWN),
    line("one_helper_down", lan(v6=None), Reading("stun", "stun", error="no answer"), Reading("echo", ECHO, error="no answer"), **UNKNOWN),
    line("only_udp_helpers_down", lan(v6=None), *[Reading("stun", f"stun {one}", error="no answer") for one in "abc"], **UNKNOWN),
    line("only_ipv6_answers", lan(), *[Reading("stun", f"stun {one}", error="no answer") for one in "ab"], Reading("echo", ECHO, error="no answer"),
         *stun(V6), **UNKNOWN),
    line("hops_disagree", lan(), *stun(WAN), hops(WAN, answer(1, ROUTER), answer(2, CARRIER_HOP)), path(answer(1, ROUTER), answer(2, SECOND)), ports(),
         **UNKNOWN, contradictions=("hops_differ",)),
]  # fmt: skip
