# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines as readings: each kind of line with everything that can be read of it, and what has to be said of it.

The addresses are of no real line, apart from those in the published mapping rules.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.homeserver.hardening.plugins.module_utils._address._classify import address_class
from ansible_collections.homeserver.hardening.plugins.module_utils._line._map_e import PortSet
from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import Reading

ROUTER, HOST, WAN = "192.168.1.1", "192.168.1.10", "44.128.1.2"
SHARED_WAN, CARRIER_HOP, CARRIER_OUT = "100.72.3.9", "100.64.7.1", "44.9.9.9"
SECOND, SECOND_WAN = "192.168.0.1", "192.168.0.2"
V6 = "2a0d:5600:8:1::10"
SERVERS = ("stun-a:3478", "stun-b:3478")
ECHO = "https://echo.example/"
LOCAL_PORT = 40001


def row(name: str, address: str, **more: Any) -> dict[str, Any]:
    family = "ipv6" if ":" in address else "ipv4"
    found = {
        "name": name,
        "address": address,
        "family": family,
        "prefix_length": 64 if family == "ipv6" else 24,
        "address_class": address_class(address),
        "kind": None,
        "up": True,
        "temporary": False,
        "deprecated": False,
        "tentative": False,
        "dynamic": False,
        "valid_lifetime": None,
        "on_default_route": True,
        "publish_candidate": address_class(address) == "global",
    }
    return {**found, **more}


def route(interface: str, source: str, gateway: str | None) -> dict[str, Any]:
    return {"family": "ipv6" if ":" in source else "ipv4", "gateway": gateway, "interface": interface, "source": source, "metric": 100}


def interfaces(*rows: dict[str, Any], routes: Any = None) -> Reading:
    default = [route(one["name"], one["address"], ROUTER) for one in rows if one["on_default_route"]]
    return Reading("interfaces", "kernel", {"addresses": list(rows), "default_routes": default if routes is None else routes})


def lan(*more: dict[str, Any], v6: str | None = V6, host: str = HOST) -> Reading:
    rows = [row("lo", "127.0.0.1", on_default_route=False), row("eth0", host, dynamic=True, valid_lifetime=3600)]
    return interfaces(*rows, *([row("eth0", v6, dynamic=True)] if v6 else []), *more)


def wan(address: str | None, source: str = "upnp") -> Reading:
    return Reading("wan", source, {"address": address, "method": source, "status": "Connected", "mismatch": False})


def stun(mapped: str, ports: tuple[int, int] = (LOCAL_PORT, LOCAL_PORT), local: str = HOST) -> list[Reading]:
    family = "ipv6" if ":" in mapped else "ipv4"
    return [
        Reading("stun", f"stun {server}", {"family": family, "local_address": local, "local_port": LOCAL_PORT, "mapped_address": mapped, "mapped_port": port})
        for server, port in zip(SERVERS, ports)
    ]


def echo(mapped: str) -> Reading:
    return Reading("echo", ECHO, {"family": "ipv6" if ":" in mapped else "ipv4", "mapped_address": mapped})


def answer(ttl: int, sender: str, owner: bool = False) -> dict[str, Any]:
    return {"ttl": ttl, "from": sender, "type": 3 if owner else 11, "code": 3 if owner else 0}


def hops(target: str, *answers: dict[str, Any]) -> Reading:
    return Reading("hops", "hops", {"target": target, "family": "ipv4", "answers": list(answers)})


def path(*answers: dict[str, Any]) -> Reading:
    return Reading("path", "path", {"target": "198.51.100.1", "family": "ipv4", "answers": list(answers)})


def ports(mapped: Any = None) -> Reading:
    local = list(range(50000, 50016))
    return Reading("ports", "ports", {"samples": [[one, other, SERVERS[one % 2]] for one, other in zip(local, mapped or local)]})


def chosen(port_set: PortSet, count: int = 16, seed: int = 1) -> list[int]:
    everything = [port for first, last in port_set.ranges() for port in range(first, last + 1)]
    return random.Random(seed).sample(everything, count)


def inbound(port: int = 443, family: str = "ipv4") -> Reading:
    return Reading("inbound", f"nonce tcp {port}", {"family": family, "protocol": "tcp", "port": port})


def random_ports(seed: int = 3) -> list[int]:
    return random.Random(seed).sample(range(1024, 65536), 16)


@dataclass(frozen=True)
class Line:
    """A line: its readings, and what is true of it."""

    name: str
    readings: tuple[Reading, ...]
    verdict: str
    inbound: str
    confidence: str = "high"
    reasons: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    #: What the line is, where the verdict has to stay a weaker word.
    truth: str = ""
    expect: dict[str, Any] = field(default_factory=dict)

    def without(self, index: int) -> Line:
        return replace(self, readings=self.readings[:index] + self.readings[index + 1 :])


def line(name: str, *readings: Any, verdict: str, inbound: str, **more: Any) -> Line:
    flat = [one for group in readings for one in (group if isinstance(group, list) else [group])]
    return Line(name, tuple(flat), verdict, inbound, **more)


V6PLUS = "240b:10:a460:6100::10"
V6PLUS_SET, V6PLUS_WAN = PortSet(4, 8, 97), "106.72.164.96"
OCN = "2400:4050:12:2100::10"
OCN_SET, OCN_WAN = PortSet(6, 6, 33), "153.240.0.72"
OTHER_SET = PortSet(4, 8, 40)

OWN = hops(WAN, answer(1, WAN, owner=True))
NAT = (stun(WAN), echo(WAN), OWN, path(answer(1, ROUTER), answer(2, "44.0.0.1")), ports())
CGN = (
    *(stun(CARRIER_OUT, (1001, 1002)), echo(CARRIER_OUT)),
    hops(CARRIER_OUT, answer(1, ROUTER), answer(2, CARRIER_HOP), answer(3, CARRIER_OUT, owner=True)),
    *(path(answer(1, ROUTER), answer(2, CARRIER_HOP)), ports(random_ports())),
)
DOUBLE = (
    *(stun(WAN), echo(WAN)),
    *(hops(WAN, answer(1, ROUTER), answer(2, WAN, owner=True)), path(answer(1, ROUTER), answer(2, SECOND)), ports()),
)


def map_e(prefix: str | None, address: str, port_set: PortSet, *more: Any) -> tuple[Any, ...]:
    used = chosen(port_set, 18)
    return (lan(v6=prefix), stun(address, (used[16], used[17])), echo(address), ports(used[:16]), *more)


LINES = [
    line(
        "public_static",
        *(interfaces(row("eth0", WAN), row("eth0", V6)), stun(WAN, local=WAN), echo(WAN)),
        *(hops(WAN, answer(1, WAN, owner=True)), path(answer(1, "44.0.0.1")), ports()),
        verdict="public_direct", inbound="open", expect={"wan_address": WAN, "stability": ("static", "configured")},
    ),
    line(
        "public_dhcp",
        *(interfaces(row("eth0", WAN, dynamic=True, valid_lifetime=3600)), stun(WAN, local=WAN), echo(WAN)),
        verdict="public_direct", inbound="open", expect={"wan_address": WAN, "stability": ("dynamic", "lease")},
    ),
    line(
        "public_pppoe",
        *(interfaces(row("ppp0", WAN), routes=[route("ppp0", WAN, None)]), stun(WAN, local=WAN), echo(WAN)),
        verdict="public_direct", inbound="open", expect={"stability": ("unknown", "none")},
    ),
    line("nat_upnp", lan(), wan(WAN), *NAT, verdict="nat_single", inbound="needs_forward", expect={"wan_address": WAN}),
    line("nat_no_upnp", lan(), *NAT, verdict="nat_single", inbound="needs_forward", expect={"wan_address": WAN}),
    line("nat_shared_gateway_address", lan(), *(stun(WAN), echo(WAN), OWN, path(answer(1, "192.168.1.2"), answer(2, "44.0.0.1")), ports()),
         verdict="nat_single", inbound="needs_forward"),
    line("nat_silent_hops", lan(), wan(WAN), stun(WAN), echo(WAN), ports(), verdict="nat_single", inbound="needs_forward"),
    line("nat_random_ports", lan(), wan(WAN), stun(WAN, (7001, 7002)), OWN, echo(WAN), ports(random_ports()), verdict="nat_single", inbound="needs_forward"),
    line("nat_core_on_rfc1918", lan(), wan(WAN), stun(WAN), echo(WAN), OWN, path(answer(1, ROUTER), answer(2, "10.0.0.1")), ports(),
         verdict="nat_single", inbound="needs_forward", contradictions=("owner_and_next_hop",)),
    line("nat_overlay", lan(row("tailscale0", "100.101.102.103", kind="tun", on_default_route=False),
                            row("docker0", "172.17.0.1", kind="bridge", on_default_route=False)),
         wan(WAN), *NAT, verdict="nat_single", inbound="needs_forward", expect={"host_address": HOST}),
    line("nat_pods", lan(row("cni0", "100.64.3.1", kind="bridge", on_default_route=False)), wan(WAN), *NAT, verdict="nat_single", inbound="needs_forward"),
    line("nat_gateway_silent", lan(), stun(WAN), echo(WAN), ports(), verdict="nat_unknown", inbound="unknown", confidence="low", truth="nat_single"),
    line("nat_no_helpers", lan(), wan(WAN), verdict="nat_unknown", inbound="unknown", confidence="low", truth="nat_single",
         expect={"questions": ["allow_outside"]}),
    line("nat_proved", lan(), wan(WAN), inbound(443), verdict="nat_single", inbound="needs_forward", confidence="proof"),
    line("nat_http_proxy", lan(), wan(WAN), stun(WAN), echo("44.7.7.7"), OWN, ports(), verdict="nat_single", inbound="needs_forward",
         reasons=("proxy_suspected",), contradictions=("mapped_addresses_differ",)),
    line("cgn_6598", lan(), wan(SHARED_WAN), *CGN, verdict="cgn", inbound="blocked", expect={"wan_address": SHARED_WAN}),
    line("cgn_6598_no_upnp", lan(), *CGN, verdict="cgn", inbound="blocked"),
    line("cgn_wan_hidden", lan(), wan(None), *CGN, verdict="cgn", inbound="blocked"),
    line("cgn_typed", lan(), wan(SHARED_WAN, "typed"), verdict="cgn", inbound="blocked", confidence="medium"),
    line("cgn_own_address", interfaces(row("wwan0", "100.80.1.1")), stun(CARRIER_OUT, (1, 2)), echo(CARRIER_OUT), verdict="cgn", inbound="blocked"),
    line("cgn_public_range", lan(), wan("25.1.2.3"), stun(CARRIER_OUT, (1001, 1002)), echo(CARRIER_OUT),
         hops(CARRIER_OUT, answer(1, ROUTER), answer(2, "44.3.3.3")), ports(random_ports()),
         verdict="cgn", inbound="blocked", confidence="medium", contradictions=("wan_not_seen",)),
    line("cgn_rfc1918", lan(), wan("10.20.30.40"), stun(CARRIER_OUT, (1001, 1002)), echo(CARRIER_OUT),
         hops(CARRIER_OUT, answer(1, ROUTER), answer(2, "10.0.0.1")), ports(random_ports()),
         verdict="double_nat_or_cgn", inbound="unknown", confidence="medium", truth="cgn", expect={"questions": ["second_router"]}),
    line("cgn_any_ttl", lan(), wan(SHARED_WAN), stun(CARRIER_OUT), echo(CARRIER_OUT), hops(CARRIER_OUT, answer(1, CARRIER_OUT, owner=True)),
         path(answer(1, CARRIER_HOP)), ports(), verdict="cgn", inbound="blocked", contradictions=("router_keeps_ttl",)),
    line("cgn_any_ttl_squat", lan(), wan("25.1.2.3"), stun(CARRIER_OUT), echo(CARRIER_OUT), hops(CARRIER_OUT, answer(1, CARRIER_OUT, owner=True)), ports(),
         path(answer(1, "44.3.3.3")), verdict="nat_unknown", inbound="unknown", confidence="low", truth="cgn",
         contradictions=("wan_not_seen", "router_keeps_ttl")),
    line("double_nat_open", lan(), wan(SECOND_WAN), *DOUBLE, Reading("second_gateway", SECOND, {"address": SECOND, "reachable": True, "wan_address": WAN}),
         verdict="double_nat", inbound="needs_forward", reasons=("second_router",)),
    line("double_nat_no_upnp", lan(), *DOUBLE, Reading("second_gateway", SECOND, {"address": SECOND, "reachable": True, "wan_address": None}),
         verdict="double_nat", inbound="needs_forward", confidence="medium"),
    line("double_nat_closed", lan(), wan(SECOND_WAN), *DOUBLE, Reading("second_gateway", SECOND, {"address": SECOND, "reachable": False, "wan_address": None}),
         verdict="double_nat_or_cgn", inbound="unknown", confidence="medium", truth="double_nat"),
    line("double_nat_then_cgn", lan(), wan(SECOND_WAN), stun(CARRIER_OUT, (1, 2)), echo(CARRIER_OUT), hops(CARRIER_OUT, answer(1, ROUTER), answer(2, SECOND)),
         Reading("second_gateway", SECOND, {"address": SECOND, "reachable": True, "wan_address": SHARED_WAN}),
         verdict="cgn", inbound="blocked", confidence="medium", reasons=("double_nat",)),
    line("map_e_v6plus", *map_e(V6PLUS, V6PLUS_WAN, V6PLUS_SET, wan(V6PLUS_WAN), hops(V6PLUS_WAN, answer(1, V6PLUS_WAN, owner=True))),
         verdict="map_e", inbound="port_set", reasons=("map_rule", "map_ports"), expect={"ports": (5648, 5663), "wan_address": V6PLUS_WAN}),
    line("map_e_ocn", *map_e(OCN, OCN_WAN, OCN_SET, hops(OCN_WAN, answer(1, OCN_WAN, owner=True))), verdict="map_e", inbound="port_set"),
    line("map_e_unknown_rule", *map_e(V6, WAN, OTHER_SET, wan(WAN), OWN), verdict="map_e", inbound="port_set", confidence="medium", reasons=("map_ports",)),
    line("map_e_first_block", lan(), wan(WAN), stun(WAN, (5650, 5651)), echo(WAN), OWN, ports(list(range(5648, 5664))),
         verdict="nat_unknown", inbound="unknown", confidence="low", truth="map_e", reasons=("sharing_not_excluded",)),
    line("nat_sequential_ports", lan(), wan(WAN), stun(WAN, (6000, 6001)), echo(WAN), OWN, ports(list(range(6002, 6018))),
         verdict="nat_unknown", inbound="unknown", confidence="low", truth="nat_single"),
    line("map_e_no_ipv6", *map_e(None, WAN, OTHER_SET, OWN), verdict="map_e", inbound="port_set", confidence="medium"),
    line("map_e_second_router", *map_e(V6PLUS, V6PLUS_WAN, V6PLUS_SET, wan(SECOND_WAN), hops(V6PLUS_WAN, answer(1, ROUTER), answer(2, V6PLUS_WAN, owner=True)),
                                       path(answer(1, ROUTER), answer(2, SECOND))),
         verdict="map_e", inbound="port_set", reasons=("map_rule", "double_nat")),
    line("map_e_no_helpers", lan(v6=V6PLUS), wan(V6PLUS_WAN), verdict="map_e", inbound="port_set", confidence="medium"),
    line("pppoe_beside_map_e", lan(v6=V6PLUS), wan(WAN), *NAT, verdict="nat_single", inbound="needs_forward", reasons=("map_rule_not_used",)),
    line("ds_lite_router", lan(v6="2409:10:1::5"), stun(CARRIER_OUT, (1, 2)), echo(CARRIER_OUT),
         hops(CARRIER_OUT, answer(1, ROUTER), answer(2, "192.0.0.1")), ports(random_ports()), verdict="ds_lite", inbound="blocked"),
    line("ds_lite_wan", lan(), wan("192.0.0.2"), stun(CARRIER_OUT, (1, 2)), echo(CARRIER_OUT), verdict="ds_lite", inbound="blocked"),
    line("ds_lite_silent", lan(v6="2409:10:1::5"), stun(CARRIER_OUT, (1, 2)), echo(CARRIER_OUT), hops(CARRIER_OUT, answer(1, ROUTER)), ports(random_ports()),
         verdict="nat_unknown", inbound="unknown", confidence="low", truth="ds_lite", reasons=("ds_lite_prefix",)),
    line("ds_lite_host", interfaces(row("ds0", "192.0.0.2", kind="ip6tnl"), row("eth0", V6)), stun(CARRIER_OUT, (1, 2)), echo(CARRIER_OUT),
         verdict="ds_lite", inbound="blocked"),
    line("clat_phone", interfaces(row("v4-rmnet0", "192.0.0.4"), row("rmnet0", V6)), stun(CARRIER_OUT, (1, 2)), echo(CARRIER_OUT),
         verdict="nat64_464xlat", inbound="blocked"),
    line("nat64_only", interfaces(row("eth0", V6)), Reading("pref64", "resolver", {"prefix": "64:ff9b::/96"}), verdict="nat64_464xlat", inbound="blocked"),
    line("ipv6_only", interfaces(row("eth0", V6)), stun(V6, local=V6), echo(V6), inbound(443, "ipv6"), verdict="no_ipv4", inbound="blocked",
         expect={"inbound_ipv6": "open"}),
    line("one_to_one", lan(), stun(WAN), echo(WAN), hops(WAN, answer(1, ROUTER), answer(2, "44.0.0.1")), ports(), inbound(443),
         verdict="one_to_one_nat", inbound="open", confidence="medium"),
    line("one_to_one_cloud", lan(), stun(WAN), echo(WAN), hops(WAN, answer(1, ROUTER)), ports(), Reading("platform", "firmware", {"vendor": "Amazon EC2"}),
         verdict="one_to_one_nat", inbound="unknown", confidence="medium"),
    line("one_to_one_unproved", lan(), stun(WAN), echo(WAN), hops(WAN, answer(1, ROUTER), answer(2, "44.0.0.1")), ports(),
         verdict="nat_unknown", inbound="unknown", confidence="low", truth="one_to_one_nat"),
    line("vpn_default", interfaces(row("wg0", "10.8.0.2", kind="wireguard"), row("eth0", HOST, on_default_route=False)), wan(WAN),
         stun("44.200.1.1", local="10.8.0.2"), echo("44.200.1.1"), verdict="vpn_or_proxy_egress", inbound="unknown", confidence="medium"),
    line("vpn_by_policy", lan(row("wg0", "10.8.0.2", kind="wireguard", on_default_route=False)), wan(WAN), stun("44.200.1.1", local="10.8.0.2"),
         echo("44.200.1.1"), path(answer(1, "10.8.0.1")), hops("44.200.1.1", answer(1, "44.200.1.1", owner=True)),
         verdict="vpn_or_proxy_egress", inbound="unknown", confidence="medium"),
    line("mobile_global", interfaces(row("wwan0", WAN)), stun(WAN, local=WAN), echo(WAN), verdict="public_direct", inbound="open"),
    line("helper_inside", lan(), wan(WAN), stun(HOST), stun(WAN)[:1], echo(WAN), OWN, ports(), verdict="nat_single", inbound="needs_forward",
         contradictions=("mapped_not_global",)),
    line("offline", interfaces(row("eth0", "169.254.3.4", on_default_route=False), routes=[]), verdict="offline", inbound="blocked"),
    line("no_answers", lan(v6=None), wan(None), *[Reading("stun", one, error="no answer") for one in SERVERS], Reading("echo", ECHO, error="no answer"),
         verdict="offline", inbound="blocked", confidence="medium"),
    line("portal", lan(v6=None), *[Reading("stun", one, error="no answer") for one in SERVERS], Reading("echo", ECHO, error="another answer: <html>"),
         verdict="nat_unknown", inbound="unknown", confidence="low", reasons=("captive_portal",), truth="offline"),
    line("nothing", verdict="nat_unknown", inbound="unknown", confidence="low", truth="nat_single"),
]  # fmt: skip
