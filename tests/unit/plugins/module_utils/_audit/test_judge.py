# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fourteen checks, each with what is well, what is found, and what could not be tested."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._audit._judge import judge_lan, judge_wan
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._model import (
    NAMES,
    Attempt,
    Contact,
    Deletion,
    Device,
    Door,
    Former,
    LanView,
    PinholeAttempt,
    Pinholes,
    Reply,
    ServiceInfo,
    Subscription,
    Table,
    WanView,
)
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._http_client import Url
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Entry

ROUTER, HOST, OTHER, HOME = "192.0.2.1", "192.0.2.10", "192.0.2.20", "198.51.100.7"
IGD = "urn:schemas-upnp-org:device:InternetGatewayDevice:2"
WANIP = ServiceInfo("urn:schemas-upnp-org:service:WANIPConnection:2", Url(ROUTER, 5000, "/ctl"), Url(ROUTER, 5000, "/evt"), Url(ROUTER, 5000, "/scpd"))
GATEWAY = Device(
    ROUTER,
    "eth0",
    f"http://{ROUTER}:5000/rootDesc.xml",
    server="Linux/5.10 UPnP/1.1 MiniUPnPd/2.3.11",
    device_type=IGD,
    igd=True,
    default_gateway=True,
    via=("multicast",),
    services=(WANIP,),
    forged_host=404,
)
SPEAKER = Device(OTHER, "eth0", f"http://{OTHER}:8080/d.xml", server="Acme/1", device_type="urn:x:device:Speaker:1", via=("multicast",), forged_host=400)
#: A LAN in which all was looked at and nothing is wrong.
GOOD = LanView(
    active=True,
    source=HOST,
    networks=("192.0.2.0/24",),
    gateway=ROUTER,
    devices=(GATEWAY, SPEAKER),
    multicast_answered=True,
    gateway_ssdp="answered",
    inside=(Reply(ROUTER, "natpmp", "answered"), Reply(ROUTER, "pcp", "answered")),
    tables=(Table(ROUTER, code=713),),
    attempts=tuple(Attempt(kind, ROUTER, "x", 50000, "refused", 606) for kind in ("third_party", "outside", "router", "loopback", "low_port")),
    subscriptions=(Subscription(ROUTER, f"http://{ROUTER}:5000/evt", 412),),
    deletions=(Deletion(ROUTER, "Acme router", False, False, 401),),
    pinholes=Pinholes("2001:db8::10", "fe80::1", True, False, "refused", offered=True),
    listening=frozenset({("tcp", 443)}),
    former=(Former("tcp", 8443),),
    probes=({"address": HOME, "protocol": "tcp", "port": 8443, "state": "filtered"}, {"address": HOME, "protocol": "tcp", "port": 22, "state": "closed"}),
)
OFF = LanView(active=True, source=HOST, gateway=ROUTER, gateway_ssdp="refused", gateway_doors=(Door(ROUTER, 5000, "closed"), Door(ROUTER, 49152, "closed")))
SILENT = Reply(HOME, "ssdp:all", "silent", 90)
#: A home seen from outside where everything refuses.
SHUT = WanView(
    (HOME,),
    (5000,),
    ("/rootDesc.xml", "/"),
    (Contact(HOME, ("udp",), True),),
    (Reply(HOME, "ssdp:all", "refused", 90),),
    (Reply(HOME, "natpmp", "refused", 2), Reply(HOME, "pcp", "refused", 24)),
    (Door(HOME, 5000, "closed"), Door(HOME, 49152, "closed")),
    (Door("2001:db8::10", 22, "closed"),),
)


def checks(view: LanView | WanView) -> dict[str, dict[str, Any]]:
    judged = judge_wan(view) if isinstance(view, WanView) else judge_lan(view)
    return {check.id: check.as_data() for check in judged}


def outside(view: WanView) -> dict[str, Any]:
    return {"checks": [check.as_data() for check in judge_wan(view)]}


def entry(client: str = HOST, external: int = 8443, internal: int = 443, lease: int = 600, description: str = "x", protocol: str = "tcp") -> Entry:
    return Entry(protocol, external, client, internal, description, True, lease)


def with_entries(*entries: Entry) -> LanView:
    return replace(GOOD, tables=(Table(ROUTER, entries),))


def other_attempts(**changed: Any) -> LanView:
    kind = changed.pop("kind")
    return replace(GOOD, attempts=tuple(replace(attempt, **changed) if attempt.kind == kind else attempt for attempt in GOOD.attempts))


PASSIVE = replace(GOOD, active=False, attempts=(), subscriptions=())
UNDER_CHECK = replace(GOOD, check_mode=True, attempts=(), subscriptions=())
NOBODY = LanView(active=True, source=HOST, gateway=ROUTER, gateway_ssdp="silent", inside=(Reply(ROUTER, "natpmp", "silent"),))
PCP6 = Pinholes("2001:db8::10", "fe80::1", True, False, "answered", offered=True)
PINHOLES = Pinholes(
    "2001:db8::10",
    "fe80::1",
    True,
    True,
    "refused",
    offered=True,
    attempts=tuple(PinholeAttempt(kind, "fe80::1", "2001:db8::10", 1023, "ipv6", "refused", 606) for kind in ("low_port", "third_party")),
)
UNKNOWN = replace(PINHOLES, inbound_allowed=None, attempts=())
GATEWAY_6 = replace(GATEWAY, address="2001:db8::1", location="http://[2001:db8::1]:5000/rootDesc.xml", ipv4=ROUTER)
TWO = replace(GATEWAY, address=OTHER, location=f"http://{OTHER}:1/d.xml", default_gateway=False)
ELSEWHERE = replace(SPEAKER, location="http://203.0.113.9/d.xml", elsewhere=True, device_type="", problem="names another host")


def pinholes(index: int, **changed: Any) -> LanView:
    attempts = [replace(attempt, **changed) if number == index else attempt for number, attempt in enumerate(PINHOLES.attempts)]
    return replace(GOOD, pinholes=replace(PINHOLES, attempts=tuple(attempts)))


LAN_CASES: list[tuple[str, str, LanView, str, str, str]] = [
    # what, check, view, status, reason, severity
    ("no vantage", "A1", GOOD, "untested", "no_vantage", "info"),
    ("no vantage", "A2", GOOD, "untested", "no_vantage", "info"),
    ("no vantage", "A3", GOOD, "untested", "no_vantage", "info"),
    ("refused", "A4", GOOD, "ok", "refused", "info"),
    ("accepted", "A4", other_attempts(kind="third_party", state="accepted", removed_by="DeletePortMapping"), "finding", "third_party_target_accepted", "high"),
    ("passive", "A4", PASSIVE, "untested", "not_active", "info"),
    ("check mode", "A4", UNDER_CHECK, "untested", "check_mode", "info"),
    ("nobody answers", "A4", NOBODY, "untested", "no_answer", "info"),
    ("UPnP is off", "A4", OFF, "ok", "no_upnp", "info"),
    ("the search is not answered, which is no refusal", "A4", replace(OFF, gateway_ssdp="silent"), "untested", "no_answer", "info"),
    (
        "the search is refused, a description is served",
        "A4",
        replace(OFF, gateway_doors=(Door(ROUTER, 5000, "open", "http://x/"),)),
        "untested",
        "no_answer",
        "info",
    ),
    (
        "the search is refused, a port does not answer over HTTP",
        "A4",
        replace(OFF, gateway_doors=(Door(ROUTER, 5000, "open", http="silent"),)),
        "untested",
        "no_answer",
        "info",
    ),
    (
        "the search is refused, a port serves other things",
        "A4",
        replace(OFF, gateway_doors=(Door(ROUTER, 5000, "open", http="answered"),)),
        "ok",
        "no_upnp",
        "info",
    ),
    ("there was no time for it", "A4", replace(GOOD, not_attempted={"third_party": "out_of_time"}), "untested", "out_of_time", "info"),
    ("the search is refused, a port says nothing", "A4", replace(OFF, gateway_doors=(Door(ROUTER, 5000, "filtered"),)), "untested", "no_answer", "info"),
    ("it cannot map at all", "A4", other_attempts(kind="third_party", state="cannot", code=501), "untested", "router_cannot_map", "info"),
    ("no usable answer", "A4", other_attempts(kind="third_party", state="unclear"), "untested", "no_answer", "info"),
    (
        "every address of the LAN is taken",
        "A4",
        replace(GOOD, attempts=GOOD.attempts[1:], not_attempted={"third_party": "no_unused_address"}),
        "untested",
        "no_unused_address",
        "info",
    ),
    ("no LAN", "A4", LanView(active=True, no_lan="no_lan"), "untested", "no_lan", "info"),
    ("refused", "A5", GOOD, "ok", "refused", "info"),
    ("outside", "A5", other_attempts(kind="outside", state="accepted"), "finding", "outside_target_accepted", "critical"),
    ("router", "A5", other_attempts(kind="router", state="accepted"), "finding", "router_target_accepted", "high"),
    ("loopback", "A5", other_attempts(kind="loopback", state="accepted"), "finding", "loopback_target_accepted", "high"),
    ("one of three unclear", "A5", other_attempts(kind="router", state="unclear"), "untested", "no_answer", "info"),
    ("passive", "A5", PASSIVE, "untested", "not_active", "info"),
    ("refused", "A6", GOOD, "ok", "refused", "info"),
    ("accepted", "A6", other_attempts(kind="low_port", state="accepted"), "finding", "low_port_accepted", "low"),
    ("said yes, held nothing", "A6", other_attempts(kind="low_port", state="unclear", note="not_held"), "untested", "not_held", "info"),
    ("only for any source", "A6", other_attempts(kind="low_port", state="cannot", code=726, note="any_source_only"), "untested", "any_source_only", "info"),
    ("refused", "A7", GOOD, "ok", "refused", "info"),
    ("granted", "A7", replace(GOOD, subscriptions=(Subscription(OTHER, "u", 200, True),)), "finding", "callback_outside_accepted", "high"),
    ("no answer", "A7", replace(GOOD, subscriptions=(Subscription(OTHER, "u", None),)), "untested", "no_answer", "info"),
    ("it fails", "A7", replace(GOOD, subscriptions=(Subscription(OTHER, "u", 500),)), "untested", "no_answer", "info"),
    ("200 without a subscription", "A7", replace(GOOD, subscriptions=(Subscription(OTHER, "u", 200),)), "untested", "no_answer", "info"),
    (
        "no time",
        "A7",
        replace(GOOD, subscriptions=(*GOOD.subscriptions, Subscription(OTHER, "u", None, note="out_of_time"))),
        "untested",
        "out_of_time",
        "info",
    ),
    ("one device is not described", "A7", replace(GOOD, devices=(GATEWAY, ELSEWHERE)), "untested", "no_description", "info"),
    ("more devices than are looked at", "A7", replace(GOOD, cut=True), "untested", "too_many_devices", "info"),
    ("passive", "A7", PASSIVE, "untested", "not_active", "info"),
    ("check mode", "A7", UNDER_CHECK, "untested", "check_mode", "info"),
    ("no device", "A7", NOBODY, "untested", "no_device", "info"),
    ("devices without events", "A7", replace(GOOD, devices=(SPEAKER,), subscriptions=()), "ok", "no_events", "info"),
    ("devices not described", "A7", replace(GOOD, devices=(ELSEWHERE,), subscriptions=()), "untested", "no_description", "info"),
    ("new versions", "A8", GOOD, "ok", "nothing_known_against_it", "info"),
    ("an old version", "A8", replace(GOOD, devices=(replace(GATEWAY, server="Linux UPnP/1.0 MiniUPnPd/1.3"),)), "finding", "version_older_than_fix", "high"),
    (
        "an old version over HTTP",
        "A8",
        replace(GOOD, devices=(replace(SPEAKER, http_server="Linux, UPnP/1.0, Portable SDK for UPnP devices/1.6.6"),)),
        "finding",
        "version_older_than_fix",
        "critical",
    ),
    ("more devices than are looked at", "A8", replace(GOOD, cut=True), "untested", "too_many_devices", "info"),
    ("no banner", "A8", NOBODY, "untested", "no_banner", "info"),
    ("empty", "A9", GOOD, "ok", "empty", "info"),
    ("nothing against it", "A9", with_entries(entry()), "ok", "nothing_against_it", "info"),
    ("malware", "A9", with_entries(entry(OTHER, description="Galleta Silenciosa")), "finding", "malware_mark", "critical"),
    ("refused the first entry", "A9", replace(GOOD, tables=(Table(ROUTER, reason="table_not_shown", code=606),)), "untested", "table_not_shown", "info"),
    ("cut off", "A9", replace(GOOD, tables=(Table(ROUTER, (entry(),), "table_incomplete"),)), "untested", "table_incomplete", "info"),
    (
        "cut off, and what there is decides",
        "A9",
        replace(GOOD, tables=(Table(ROUTER, (entry(OTHER, internal=445),), "table_incomplete"),)),
        "finding",
        "dangerous_port",
        "high",
    ),
    (
        "one of two tables not read",
        "A9",
        replace(GOOD, tables=(Table(ROUTER, (entry(),)), Table(OTHER, reason="no_answer"))),
        "untested",
        "no_answer",
        "info",
    ),
    ("nobody answers", "A9", NOBODY, "untested", "no_answer", "info"),
    ("NAT-PMP alone", "A9", replace(NOBODY, inside=(Reply(ROUTER, "natpmp", "answered"),)), "untested", "cannot_be_listed", "info"),
    ("UPnP is off, which does not say what is forwarded", "A9", OFF, "untested", "cannot_be_listed", "info"),
    ("UPnP is off", "A10", OFF, "ok", "no_upnp", "info"),
    (
        "removed a mapping of another address",
        "A10",
        other_attempts(kind="third_party", state="accepted", removed_by="DeletePortMapping"),
        "finding",
        "foreign_deletion_accepted",
        "medium",
    ),
    (
        "a product that is known",
        "A10",
        replace(GOOD, deletions=(Deletion(ROUTER, "MiniUPnPd/2.3.1", True),)),
        "finding",
        "range_deletion_known_of_product",
        "medium",
    ),
    (
        "not described but answered",
        "A10",
        replace(GOOD, deletions=(Deletion(ROUTER, "MiniUPnPd/2.3.1", False, True, 730),)),
        "finding",
        "range_deletion_known_of_product",
        "medium",
    ),
    (
        "described but not there",
        "A10",
        replace(GOOD, deletions=(Deletion(ROUTER, "MiniUPnPd/9", True, False, 401),)),
        "untested",
        "needs_foreign_mapping",
        "info",
    ),
    ("another product", "A10", GOOD, "untested", "needs_foreign_mapping", "info"),
    ("nobody answers", "A10", NOBODY, "untested", "no_answer", "info"),
    ("no PCP", "A11", GOOD, "ok", "no_pcp_over_ipv6", "info"),
    ("refused", "A11", replace(GOOD, pinholes=replace(PCP6, port_22="refused", result=2)), "ok", "refused", "info"),
    ("granted", "A11", replace(GOOD, pinholes=replace(PCP6, port_22="granted", result=0)), "finding", "pinhole_for_ssh_granted", "high"),
    ("no firewall", "A11", replace(GOOD, pinholes=replace(PCP6, firewall_enabled=False)), "finding", "ipv6_firewall_off", "high"),
    ("passive", "A11", replace(PASSIVE, pinholes=PCP6), "untested", "not_active", "info"),
    ("check mode", "A11", replace(UNDER_CHECK, pinholes=PCP6), "untested", "check_mode", "info"),
    ("silent", "A11", replace(GOOD, pinholes=replace(PCP6, pcp="silent")), "untested", "no_answer", "info"),
    ("published", "A11", replace(GOOD, pinholes=replace(PCP6, port_22="published")), "untested", "published", "info"),
    ("UPnP refuses pinholes", "A11", replace(GOOD, pinholes=PINHOLES), "ok", "refused", "info"),
    ("a low pinhole", "A11", pinholes(0, state="accepted", code=0), "finding", "low_pinhole_granted", "medium"),
    ("a pinhole for another", "A11", pinholes(1, state="accepted", code=0), "finding", "third_party_pinhole_granted", "high"),
    ("the firewall is off, it says", "A11", pinholes(0, state="cannot", code=702), "finding", "ipv6_firewall_off", "high"),
    ("no room for a pinhole", "A11", pinholes(0, state="cannot", code=701), "untested", "router_cannot_open", "info"),
    ("no answer about a pinhole", "A11", pinholes(0, state="unclear", code=0, note="no_answer"), "untested", "no_answer", "info"),
    (
        "the second was not asked",
        "A11",
        replace(GOOD, pinholes=replace(PINHOLES, attempts=PINHOLES.attempts[:1], not_attempted="out_of_time")),
        "untested",
        "out_of_time",
        "info",
    ),
    ("pinholes are allowed, and nobody tried", "A11", replace(PASSIVE, pinholes=replace(PINHOLES, attempts=())), "untested", "not_active", "info"),
    ("pinholes may be allowed, and nobody tried", "A11", replace(PASSIVE, pinholes=UNKNOWN), "untested", "not_active", "info"),
    ("pinholes are allowed, under check mode", "A11", replace(UNDER_CHECK, pinholes=replace(PINHOLES, attempts=())), "untested", "check_mode", "info"),
    ("pinholes are not allowed, it says", "A11", replace(PASSIVE, pinholes=replace(UNKNOWN, inbound_allowed=False)), "ok", "no_pcp_over_ipv6", "info"),
    ("no control over IPv6", "A11", replace(GOOD, pinholes=replace(UNKNOWN, not_attempted="no_ipv6_control")), "untested", "no_ipv6_control", "info"),
    ("it has no such service", "A11", replace(GOOD, pinholes=replace(UNKNOWN, offered=False)), "ok", "no_pcp_over_ipv6", "info"),
    ("its description was not read", "A11", replace(GOOD, pinholes=replace(UNKNOWN, offered=None)), "untested", "no_description", "info"),
    ("it was not heard", "A11", replace(NOBODY, pinholes=replace(UNKNOWN, offered=None)), "untested", "no_answer", "info"),
    ("UPnP is off", "A11", replace(OFF, pinholes=replace(UNKNOWN, offered=None)), "ok", "no_pcp_over_ipv6", "info"),
    ("no IPv6", "A11", replace(GOOD, pinholes=Pinholes()), "untested", "no_ipv6", "info"),
    ("filtered", "A12", GOOD, "ok", "closed", "info"),
    ("open", "A12", replace(GOOD, probes=({**GOOD.probes[0], "state": "open"},)), "finding", "port_still_open", "high"),
    ("still listed", "A12", replace(with_entries(entry(external=8443)), former=GOOD.former), "finding", "mapping_still_listed", "medium"),
    ("nothing given", "A12", replace(GOOD, former=()), "untested", "nothing_given", "info"),
    ("not probed", "A12", replace(GOOD, probes=()), "untested", "not_probed", "info"),
    ("silence of what may be another address", "A12", replace(GOOD, probes=GOOD.probes[:1]), "untested", "silence_unproved", "info"),
    ("refused by whom", "A12", replace(GOOD, probes=({**GOOD.probes[0], "state": "closed"},)), "untested", "refused_by_whom", "info"),
    (
        "refused though somebody listens",
        "A12",
        replace(GOOD, former=(Former("tcp", 8443, True),), probes=({**GOOD.probes[0], "state": "closed"},)),
        "ok",
        "closed",
        "info",
    ),
    ("the vantage's own trouble", "A12", replace(GOOD, probes=({**GOOD.probes[0], "state": "no_route"},)), "untested", "not_learnt", "info"),
    ("one", "A13", GOOD, "ok", "one_gateway", "info"),
    ("one over IPv4 and IPv6", "A13", replace(GOOD, devices=(GATEWAY, GATEWAY_6)), "ok", "one_gateway", "info"),
    ("one, known over IPv6 by its route", "A13", replace(GOOD, devices=(GATEWAY, replace(GATEWAY_6, ipv4=""))), "ok", "one_gateway", "info"),
    (
        "another one over IPv6",
        "A13",
        replace(GOOD, devices=(GATEWAY, replace(GATEWAY_6, ipv4="", default_gateway=False))),
        "finding",
        "gateway_is_not_default_route",
        "high",
    ),
    ("heard over IPv6 only", "A13", replace(GOOD, multicast_answered=False), "untested", "no_answer", "info"),
    ("none among devices", "A13", replace(GOOD, devices=(SPEAKER,)), "ok", "no_gateway_device", "info"),
    ("another one", "A13", replace(GOOD, devices=(GATEWAY, TWO)), "finding", "gateway_is_not_default_route", "high"),
    ("elsewhere", "A13", replace(GOOD, devices=(GATEWAY, ELSEWHERE)), "finding", "location_elsewhere", "medium"),
    ("nobody answers", "A13", NOBODY, "untested", "no_answer", "info"),
    (
        "a device that cannot be read",
        "A13",
        replace(GOOD, devices=(GATEWAY, replace(SPEAKER, device_type="", problem="HTTP status 500"))),
        "untested",
        "no_description",
        "info",
    ),
    ("more devices than are looked at", "A13", replace(GOOD, cut=True), "untested", "too_many_devices", "info"),
    ("more devices than are looked at", "A14", replace(GOOD, cut=True), "untested", "too_many_devices", "info"),
    ("described over IPv4, not over IPv6", "A14", replace(GOOD, devices=(GATEWAY, replace(GATEWAY_6, device_type="", problem="x"))), "ok", "refused", "info"),
    ("one device is not described", "A14", replace(GOOD, devices=(GATEWAY, ELSEWHERE)), "untested", "no_description", "info"),
    ("refused", "A14", GOOD, "ok", "refused", "info"),
    ("served", "A14", replace(GOOD, devices=(replace(GATEWAY, forged_host=200),)), "finding", "host_header_not_checked", "medium"),
    ("served by a speaker", "A14", replace(GOOD, devices=(GATEWAY, replace(SPEAKER, forged_host=200))), "finding", "host_header_not_checked", "low"),
    ("no answer", "A14", replace(GOOD, devices=(replace(GATEWAY, forged_host=None),)), "untested", "no_answer", "info"),
    ("no device", "A14", NOBODY, "untested", "no_device", "info"),
    ("UPnP is off", "A14", OFF, "ok", "no_upnp", "info"),
]

WAN_CASES: list[tuple[str, str, WanView, str, str, str]] = [
    ("refused", "A1", SHUT, "ok", "refused", "info"),
    ("answered", "A1", replace(SHUT, ssdp=(Reply(HOME, "ssdp:all", "answered", 90, 13, 5400, (1900,)),)), "finding", "ssdp_answers_outside", "high"),
    ("silent, but datagrams get there", "A1", replace(SHUT, ssdp=(SILENT,)), "ok", "silent", "info"),
    (
        "silent, and only TCP is known to get there",
        "A1",
        replace(SHUT, ssdp=(SILENT,), contacts=(Contact(HOME, ("tcp 80",)),)),
        "untested",
        "silence_unproved",
        "info",
    ),
    ("silent, and nothing is known to get there", "A1", replace(SHUT, ssdp=(SILENT,), contacts=(Contact(HOME),)), "untested", "silence_unproved", "info"),
    ("refused by another", "A1", replace(SHUT, ssdp=(replace(SILENT, state="rejected"),)), "untested", "rejected_on_the_way", "info"),
    ("not sent", "A1", replace(SHUT, ssdp=(replace(SILENT, state="unsent"),)), "untested", "not_sent", "info"),
    ("nothing asked", "A1", replace(SHUT, ssdp=()), "untested", "nothing_asked", "info"),
    ("closed", "A2", SHUT, "ok", "refused", "info"),
    (
        "filtered, and another port answers",
        "A2",
        replace(SHUT, doors=(Door(HOME, 5000, "filtered"), Door(HOME, 49152, "closed")), contacts=(Contact(HOME, ("tcp 49152",), tcp=True),)),
        "ok",
        "filtered",
        "info",
    ),
    (
        "filtered, and only a ping is known to get there",
        "A2",
        replace(SHUT, doors=(Door(HOME, 5000, "filtered"),), contacts=(Contact(HOME, ("ping",)),)),
        "untested",
        "silence_unproved",
        "info",
    ),
    ("rejected by the address itself", "A2", replace(SHUT, doors=(Door(HOME, 5000, "rejected"),)), "ok", "refused", "info"),
    ("rejected by another", "A2", replace(SHUT, doors=(Door(HOME, 5000, "rejected_on_the_way"),)), "untested", "rejected_on_the_way", "info"),
    ("open, and no answer", "A2", replace(SHUT, doors=(Door(HOME, 5000, "open", http="silent"),)), "untested", "no_answer", "info"),
    ("not all ports were asked", "A2", replace(SHUT, doors=(Door(HOME, 49152, "closed"),)), "untested", "location_ports_not_asked", "info"),
    (
        "filtered, and nothing is known to get there",
        "A2",
        replace(SHUT, doors=(Door(HOME, 5000, "filtered"),), contacts=()),
        "untested",
        "silence_unproved",
        "info",
    ),
    ("served", "A2", replace(SHUT, doors=(Door(HOME, 5000, "open", "http://x/r.xml", "refused"),)), "finding", "description_served_outside", "high"),
    ("SOAP", "A2", replace(SHUT, doors=(Door(HOME, 5000, "open", "http://x/r.xml", "answered"),)), "finding", "soap_answers_outside", "critical"),
    ("something else listens", "A2", replace(SHUT, doors=(Door(HOME, 5000, "open", http="other"),)), "ok", "refused", "info"),
    ("where it would be is not known", "A2", replace(SHUT, location_ports=()), "untested", "location_ports_unknown", "info"),
    ("the vantage cannot send", "A2", replace(SHUT, doors=(Door(HOME, 5000, "no_route"),)), "untested", "not_sent", "info"),
    ("refused", "A3", SHUT, "ok", "refused", "info"),
    ("answered", "A3", replace(SHUT, pmp=(Reply(HOME, "pcp", "answered", 24, 1, 24),)), "finding", "pcp_answers_outside", "high"),
    ("silent", "A3", replace(SHUT, pmp=(replace(SILENT, question="pcp"),), contacts=(Contact(HOME, ("ping",)),)), "untested", "silence_unproved", "info"),
    ("no banner", "A8", SHUT, "untested", "no_banner", "info"),
    ("a banner", "A8", replace(SHUT, doors=(Door(HOME, 5000, "open", server="MiniUPnPd/1.0"),)), "finding", "version_older_than_fix", "critical"),
    ("a new banner", "A8", replace(SHUT, doors=(Door(HOME, 5000, "open", server="MiniUPnPd/2.3.11"),)), "ok", "nothing_known_against_it", "info"),
    ("closed", "A11", replace(SHUT, contacts=(Contact("2001:db8::10", ("ping",)),)), "ok", "closed_outside", "info"),
    ("open", "A11", replace(SHUT, ipv6_doors=(Door("2001:db8::10", 22, "open"),)), "finding", "ipv6_port_open_outside", "medium"),
    ("filtered", "A11", replace(SHUT, ipv6_doors=(Door("2001:db8::10", 22, "filtered"),)), "untested", "silence_unproved", "info"),
    ("no IPv6", "A11", replace(SHUT, ipv6_doors=()), "untested", "no_ipv6_address", "info"),
]


@pytest.mark.parametrize(("what", "check", "view", "status", "reason", "severity"), LAN_CASES, ids=[f"{row[1]} {row[0]}" for row in LAN_CASES])
def test_from_inside(what: str, check: str, view: LanView, status: str, reason: str, severity: str) -> None:
    row = checks(view)[check]
    assert (row["status"], row["reason"], row["severity"]) == (status, reason, severity), what


@pytest.mark.parametrize(("what", "check", "view", "status", "reason", "severity"), WAN_CASES, ids=[f"{row[1]} {row[0]}" for row in WAN_CASES])
def test_from_outside(what: str, check: str, view: WanView, status: str, reason: str, severity: str) -> None:
    row = checks(view)[check]
    assert (row["status"], row["reason"], row["severity"]) == (status, reason, severity), what


def test_every_check_has_every_status() -> None:
    seen = {(row[1], row[3]) for row in (*LAN_CASES, *WAN_CASES)}
    assert seen >= {(check, status) for check in NAMES for status in ("ok", "finding", "untested")}


@pytest.mark.parametrize("view", [GOOD, PASSIVE, UNDER_CHECK, NOBODY, OFF, LanView()], ids=["good", "passive", "check", "nobody", "off", "empty"])
def test_all_fourteen_always(view: LanView) -> None:
    assert [check.id for check in judge_lan(view)] == list(NAMES)
    assert all(check.findings or check.status != "finding" for check in judge_lan(view))


def test_nothing_looked_at_is_nothing_well() -> None:
    assert {check.status for check in judge_lan(LanView(no_lan="no_lan"))} == {"untested"}


@pytest.mark.parametrize(
    ("view", "lan", "check", "status", "reason"),
    [
        # The router answers the search inside, so that its silence outside is its own.
        (replace(SHUT, ssdp=(SILENT,), contacts=(Contact(HOME, ("ping",)),)), GOOD, "A1", "ok", "silent"),
        (replace(SHUT, ssdp=(SILENT,), contacts=(Contact(HOME, ("ping",)),)), NOBODY, "A1", "untested", "silence_unproved"),
        (replace(SHUT, ssdp=(SILENT,), contacts=()), GOOD, "A1", "untested", "silence_unproved"),
        (replace(SHUT, pmp=(replace(SILENT, question="pcp"),), contacts=(Contact(HOME, ("ping",)),)), GOOD, "A3", "ok", "silent"),
        (replace(SHUT, pmp=(replace(SILENT, question="pcp"),), contacts=(Contact(HOME, ("ping",)),)), OFF, "A3", "untested", "silence_unproved"),
        # Inside it serves its description on a port that was not asked outside.
        (SHUT, GOOD, "A2", "ok", "refused"),
        (SHUT, replace(GOOD, devices=(replace(GATEWAY, location=f"http://{ROUTER}:41234/x.xml"),)), "A2", "untested", "location_ports_not_asked"),
        (replace(SHUT, location_ports=()), GOOD, "A2", "ok", "refused"),
        # It is there and serves inside, so that a filtered port outside is its own doing.
        (replace(SHUT, doors=(Door(HOME, 5000, "filtered"),), contacts=(Contact(HOME, ("ping",)),)), GOOD, "A2", "ok", "filtered"),
        (replace(SHUT, doors=(Door(HOME, 5000, "filtered"),), contacts=(Contact(HOME, ("ping",)),)), OFF, "A2", "untested", "silence_unproved"),
        (replace(SHUT, doors=(Door(HOME, 5000, "filtered"),), contacts=()), GOOD, "A2", "untested", "silence_unproved"),
        # Something answers on the port of the description, and nobody asked for the description.
        (replace(SHUT, doors=(Door(HOME, 5000, "open", http="answered"),), paths=("/",)), GOOD, "A2", "untested", "location_paths_not_asked"),
        (replace(SHUT, doors=(Door(HOME, 5000, "open", http="answered"),)), GOOD, "A2", "ok", "refused"),
        (replace(SHUT, doors=(Door(HOME, 5000, "open", server="MiniUPnPd/1.0"),)), GOOD, "A8", "finding", "version_older_than_fix"),
        (replace(SHUT, ipv6_doors=(Door("2001:db8::10", 22, "open"),)), GOOD, "A11", "finding", "ipv6_port_open_outside"),
        (replace(SHUT, ipv6_doors=()), GOOD, "A11", "ok", "no_pcp_over_ipv6"),
    ],
)
def test_both_sides_together(view: WanView, lan: LanView, check: str, status: str, reason: str) -> None:
    row = checks(replace(lan, outside=outside(view)))[check]
    assert (row["status"], row["reason"]) == (status, reason)


def test_silence_is_worded_as_what_it_is() -> None:
    row = checks(replace(SHUT, ssdp=(SILENT,)))["A1"]
    assert row["evidence"]["addresses"][0]["questions"][0]["note"] == "no answer from this vantage"


def test_the_amplification_is_told() -> None:
    found = checks(replace(SHUT, ssdp=(Reply(HOME, "ssdp:all", "answered", 90, 13, 5400, (1900, 40000)),)))["A1"]["findings"][0]
    assert (found["amplification"], found["packets"], found["ports"]) == (60.0, 13, [1900, 40000])


def test_a_version_is_never_called_vulnerable() -> None:
    found = checks(replace(GOOD, devices=(replace(GATEWAY, server="MiniUPnPd/2.3.1"),)))["A8"]["findings"][0]
    assert found["note"] == "this version string is older than the fix for CVE-2026-5720; distributions patch without changing it"
    assert found["source"]
    assert found["source_date"]


def test_vantages() -> None:
    judged = checks(GOOD)
    assert {check: row["vantage"] for check, row in judged.items()} == {
        **dict.fromkeys(("A1", "A2", "A3"), "wan"),
        **dict.fromkeys(("A4", "A5", "A6", "A7", "A8", "A9", "A10", "A11", "A13", "A14"), "lan"),
        "A12": "lan+wan",
    }
    both = checks(replace(GOOD, outside=outside(replace(SHUT, contacts=(Contact("2001:db8::10", ("ping",)),)))))
    assert both["A11"]["vantage"] == "lan+wan"


def test_another_gateway_over_both_is_named_once() -> None:
    six = replace(GATEWAY_6, ipv4=OTHER, default_gateway=False)
    check = checks(replace(GOOD, devices=(GATEWAY, GATEWAY_6, six, TWO)))["A13"]
    assert [(row["name"], row.get("address")) for row in check["findings"]] == [("gateway_is_not_default_route", OTHER), ("several_gateways", None)]
    assert check["evidence"]["gateway_devices"] == [ROUTER, OTHER]
