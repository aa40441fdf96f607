# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.plugin_utils import _publication, _services

LAN = {"name": "lan0", "address": "192.168.7.20", "address_class": "private", "on_default_route": True, "publish_candidate": False}
GLOBAL = {"name": "wan0", "address": "20.30.40.50", "address_class": "global", "on_default_route": True, "publish_candidate": True}
GLOBAL6 = {"name": "wan0", "address": "2a00:1::5", "address_class": "global", "on_default_route": True, "publish_candidate": True}
ROUTE = {"family": "ipv4", "gateway": "192.168.7.1", "interface": "lan0"}
ROUTE6 = {"family": "ipv6", "gateway": "fe80::1", "interface": "lan0"}


def router(wan, wan_class, **more):
    return {"available": True, "gateway": {"address": "192.168.7.1", "wan_address": wan, "wan_address_class": wan_class}, "mappings": [], **more}


NO_ROUTER = {"available": False, "reason": "nobody answered", "gateway": None, "mappings": []}


def plan(services, interfaces=(LAN,), routes=(ROUTE,), mapping=None, peers=()):
    read = _services.read_services(services)
    assert read.problems == []
    return _publication.plan_publication(read.services, _publication.Readings(interfaces, routes, mapping or router("20.1.2.3", "global")), peers)


@pytest.mark.parametrize(
    ("interfaces", "routes", "mapping", "verdict", "blocked"),
    [
        ([GLOBAL], [ROUTE], NO_ROUTER, "public_direct", ""),
        ([LAN], [ROUTE], router("20.1.2.3", "global"), "nat_single", ""),
        ([LAN], [ROUTE], router("100.72.3.9", "shared_cgn"), "cgn", "wan_shared"),
        ([LAN], [ROUTE], router("10.0.0.7", "private"), "double_nat_or_cgn", "wan_private"),
        ([LAN], [ROUTE], router(None, None), "double_nat_or_cgn", "wan_hidden"),
        ([LAN], [ROUTE], router("", None), "double_nat_or_cgn", "wan_hidden"),
        ([LAN], [ROUTE], router("198.51.100.7", "documentation"), "nat_unknown", "wan_not_global"),
        ([LAN], [ROUTE], NO_ROUTER, "nat_unknown", "no_gateway"),
        ([LAN], [], NO_ROUTER, "offline", "no_route"),
        ([LAN], [ROUTE6], NO_ROUTER, "no_ipv4", "no_route"),
    ],
)
def test_the_line_is_judged_by_its_readings(interfaces, routes, mapping, verdict, blocked):
    line = _publication.judge_line(_publication.Readings(interfaces, routes, mapping))
    assert (line["verdict"], line["blocked_by"]) == (verdict, blocked)


PORTS = [{"first": 5648, "last": 5663}, {"first": 9744, "last": 9759}]


def line_info(verdict, inbound, **more):
    """What line_info says, as far as the plan heeds it."""
    empty = dict.fromkeys(("wan_address", "wan_address_class", "map_e", "address_stability", "inbound_ipv6"))
    lists = {key: [] for key in ("verdict_reasons", "candidates", "ports", "contradictions", "consequences", "questions")}
    return {"verdict": verdict, "inbound_ipv4": inbound, "confidence": "high", **empty, **lists, **more}


@pytest.mark.parametrize(
    ("mapping", "found", "verdict", "blocked"),
    [
        (router("20.1.2.3", "global"), line_info("nat_single", "needs_forward"), "nat_single", ""),
        # A router at home may believe in its global address although the provider translates it once more.
        (router("20.1.2.3", "global"), line_info("cgn", "blocked"), "cgn", "wan_shared"),
        (router("20.1.2.3", "global"), line_info("ds_lite", "blocked"), "ds_lite", "ds_lite"),
        (router("20.1.2.3", "global"), line_info("nat64_464xlat", "blocked"), "nat64_464xlat", "nat64_464xlat"),
        (router("20.1.2.3", "global"), line_info("offline", "blocked"), "offline", "no_route"),
        # Where the line is not known, the router's word is tried, and the proof decides.
        (router("20.1.2.3", "global"), line_info("nat_unknown", "unknown", candidates=["nat_single", "map_e"]), "nat_unknown", ""),
        # Without a mapping nothing is published, whatever the line could carry.
        (NO_ROUTER, line_info("nat_single", "needs_forward"), "nat_single", "no_gateway"),
        (router("10.0.0.7", "private"), line_info("double_nat", "needs_forward"), "double_nat", "wan_private"),
        # Nobody outside was asked, but the router says enough; not so where something contradicts it.
        (router(None, None), line_info("nat_unknown", "unknown"), "double_nat_or_cgn", "wan_hidden"),
        (router(None, None), line_info("nat_unknown", "unknown", contradictions=[{"name": "hops_differ"}]), "nat_unknown", "wan_hidden"),
    ],
)
def test_the_verdict_of_more_readings_stands_over_the_router_s_word(mapping, found, verdict, blocked):
    line = _publication.judge_line(_publication.Readings([LAN], [ROUTE], mapping, found))
    assert (line["verdict"], line["blocked_by"]) == (verdict, blocked)
    assert line["confidence"] == "high"


@pytest.mark.parametrize(("port", "possible"), [(80, False), (5647, False), (5648, True), (5663, True), (5664, False), (9750, True)])
def test_of_a_shared_address_only_the_own_ports_are_published(port, possible):
    found = line_info("map_e", "port_set", ports=PORTS, wan_address="20.1.2.3", wan_address_class="global")
    read = _services.read_services([{"name": "http", "port": 80, "external_port": port}])
    readings = _publication.Readings([LAN], [ROUTE], router("20.1.2.3", "global"), found)
    publication = _publication.plan_publication(read.services, readings)
    decision = publication.services[0][1]["ipv4"]
    assert publication.possible is possible
    assert decision.path == ("port_mapping" if possible else "impossible")
    if not possible:
        assert (decision.reason, decision.ways[0]) == ("port_not_in_set", "other_port")


def test_mail_of_other_servers_comes_to_port_25_alone():
    found = line_info("map_e", "port_set", ports=PORTS, wan_address="20.1.2.3", wan_address_class="global")
    read = _services.read_services([{"name": "smtp", "port": 25}])
    decision = _publication.plan_publication(read.services, _publication.Readings([LAN], [ROUTE], router("20.1.2.3", "global"), found)).services[0][1]["ipv4"]
    assert decision.reason == "port_not_in_set"
    assert "other_port" not in decision.ways
    assert "fixed_ip" in decision.ways


def test_a_port_of_the_host_that_two_services_lead_to_is_opened_and_answered_once():
    services = [{"name": "https", "port": 443}, {"name": "alt", "port": 443, "external_port": 8443, "families": ["ipv4"]}]
    data = plan(services).as_data()
    assert data["firewall_services"] == data["listeners"] == [{"name": "https", "protocol": "tcp", "port": 443, "families": ["ipv4"]}]


def test_behind_one_router_ports_are_mapped_with_two_numbers():
    publication = plan([{"name": "https", "port": 443, "external_port": 8443}, {"name": "wg", "protocol": "udp", "port": 51820}])
    assert publication.possible
    assert publication.mappings == [
        {"name": "https", "protocol": "tcp", "external_port": 8443, "port": 443},
        {"name": "wg", "protocol": "udp", "external_port": 51820, "port": 51820},
    ]
    assert [row["port"] for row in publication.firewall_services] == [443, 51820]
    families = publication.as_data()["services"][0]["families"]
    assert families == {"ipv4": {"path": "port_mapping", "address": "20.1.2.3", "required": True, "reason": "", "ways": []}}


def test_a_global_address_needs_no_mapping_and_ipv6_comes_along_without_being_required():
    publication = plan([{"name": "http", "port": 80}], interfaces=[GLOBAL, GLOBAL6], routes=[ROUTE, ROUTE6], mapping=NO_ROUTER)
    families = publication.as_data()["services"][0]["families"]
    assert {family: (row["path"], row["address"], row["required"]) for family, row in families.items()} == {
        "ipv4": ("direct", "20.30.40.50", True),
        "ipv6": ("direct", "2a00:1::5", False),
    }
    assert publication.mappings == []


@pytest.mark.parametrize(
    ("service", "interfaces", "mapping", "reason"),
    [
        ({"external_port": 8080}, [GLOBAL], NO_ROUTER, "port_translation_without_nat"),
        ({"path": "port_mapping"}, [GLOBAL], NO_ROUTER, "not_direct"),
        ({"path": "direct"}, [LAN], router("20.1.2.3", "global"), "not_direct"),
        ({"families": ["ipv6"]}, [LAN], router("20.1.2.3", "global"), "no_global_ipv6"),
        ({"families": ["ipv6"], "path": "port_mapping"}, [LAN, GLOBAL6], router("20.1.2.3", "global"), "no_mapping_for_ipv6"),
        ({}, [LAN], router("100.64.0.1", "shared_cgn"), "wan_shared"),
        ({}, [LAN], NO_ROUTER, "no_gateway"),
    ],
)
def test_what_cannot_be_is_said_with_its_reason_and_ways(service, interfaces, mapping, reason):
    publication = plan([{"name": "http", "port": 80, **service}], interfaces=interfaces, mapping=mapping)
    assert not publication.possible
    decision = list(publication.services[0][1].values())[0]
    assert (decision.path, decision.reason) == ("impossible", reason)
    assert decision.ways
    assert publication.mappings == []
    assert publication.firewall_services == []


def test_ipv6_is_a_way_only_where_there_is_ipv6():
    cgn = router("100.64.0.1", "shared_cgn")
    without = plan([{"name": "http", "port": 80}], mapping=cgn)
    with_ipv6 = plan([{"name": "http", "port": 80}], interfaces=[LAN, GLOBAL6], mapping=cgn)
    assert "ipv6" not in without.services[0][1]["ipv4"].ways
    assert with_ipv6.services[0][1]["ipv4"].ways[0] == "ipv6"


def test_two_hosts_behind_one_address_share_its_ports():
    peer = {"host": "other", "wan_address": "20.1.2.3", "services": _services.read_services([{"name": "web", "port": 8080, "external_port": 80}]).services}
    publication = plan([{"name": "http", "port": 80}], peers=[peer])
    assert not publication.possible
    assert [problem.check for problem in publication.problems] == ["external-port-twice"]
    assert "host other" in publication.problems[0].reason
    assert plan([{"name": "http", "port": 80}], peers=[{**peer, "wan_address": "20.9.9.9"}]).possible


def test_mappings_of_ours_that_nobody_wants_any_more_are_found_and_foreign_ones_are_not():
    rows = [
        {"owner": "ours", "name": "http"},
        {"owner": "ours", "name": "old"},
        {"owner": "foreign", "name": None},
        {"owner": "homeserver", "name": "old2"},
    ]
    assert plan([{"name": "http", "port": 80}], mapping=router("20.1.2.3", "global", mappings=rows)).stale_mappings == ["old"]


def test_a_pinhole_is_no_mapping_of_a_publication():
    """It takes no port of the router's, and is another role's to remove."""
    rows = [{"owner": "ours", "name": "old", "protocol": "tcp", "external_port": 81, "family": "ipv6"}]
    rows += [{"owner": "foreign", "name": None, "protocol": "tcp", "external_port": 80, "family": "ipv6"}]
    publication = plan([{"name": "http", "port": 80}], mapping=router("20.1.2.3", "global", mappings=rows))
    assert (publication.stale_mappings, publication.problems) == ([], [])
    forwarded = [{**row, "family": "ipv4"} for row in rows]
    publication = plan([{"name": "http", "port": 80}], mapping=router("20.1.2.3", "global", mappings=forwarded))
    assert (publication.stale_mappings, [problem.check for problem in publication.problems]) == (["old"], ["mapping-foreign"])


def test_who_may_come_is_passed_to_the_firewall():
    publication = plan([{"name": "http", "port": 80, "allow_from": ["198.51.100.0/24"]}, {"name": "wg", "protocol": "udp", "port": 51820}])
    assert publication.firewall_services[0]["allow_from"] == ["198.51.100.0/24"]
    assert "allow_from" not in publication.firewall_services[1]
    assert publication.as_data()["listeners"][0] == {"name": "http", "protocol": "tcp", "port": 80, "families": ["ipv4"]}


def test_a_published_service_is_asked_for_at_its_present_address():
    publication = plan([{"name": "http", "port": 80}]).as_data()
    now = _publication.Readings([LAN], [ROUTE], router("20.7.7.7", "global"))
    silent = _publication.Readings([LAN], [ROUTE], NO_ROUTER)
    address = [_publication.readdress(publication["services"], readings)[0]["families"]["ipv4"]["address"] for readings in (now, silent)]
    assert address == ["20.7.7.7", None]


@pytest.mark.parametrize(
    ("owner", "internal_port", "adopt", "checks"),
    [
        ("foreign", 80, False, ["mapping-foreign"]),
        ("foreign", 80, True, ["mapping-foreign"]),
        ("homeserver", 80, True, ["mapping-foreign"]),
        ("untagged_ours", 80, False, ["mapping-adoptable"]),
        ("untagged_ours", 80, True, []),
        ("untagged_ours", 8080, True, ["mapping-foreign"]),
        ("ours", 8080, False, []),
        ("unknown", 80, True, ["mapping-unknown"]),
        ("unknown", 8080, False, ["mapping-unknown"]),
    ],
)
def test_a_port_that_the_router_forwards_for_somebody_else_is_refused_before_anything_is_changed(owner, internal_port, adopt, checks):
    target = {"internal_client": "192.168.7.9", "internal_port": internal_port, "description": "Camera"}
    row = {"owner": owner, "name": "http", "protocol": "tcp", "external_port": 80, **target}
    services = _services.read_services([{"name": "http", "port": 80}]).services
    readings = _publication.Readings([LAN], [ROUTE], router("20.1.2.3", "global", mappings=[row, {**row, "external_port": 81}]))
    publication = _publication.plan_publication(services, readings, adopt=adopt)
    assert [problem.check for problem in publication.problems] == checks
    assert publication.possible is (not checks)
    for problem in publication.problems:
        assert "192.168.7.9" in problem.reason
        assert "Camera" in problem.reason
