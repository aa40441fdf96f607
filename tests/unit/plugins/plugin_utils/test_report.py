# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._line._map_e import nearest
from ansible_collections.homeserver.hardening.plugins.plugin_utils import _proof, _publication, _report, _services, _texts

LAN = {"name": "lan0", "address": "192.168.7.20", "address_class": "private", "on_default_route": True, "publish_candidate": False}
ROUTE = {"family": "ipv4", "gateway": "192.168.7.1", "interface": "lan0"}
NOW = "2026-11-24T04:20:00Z"
SERVICES = [
    {"name": "http", "port": 80},
    {"name": "https", "port": 443, "external_port": 8443},
    {"name": "wg", "protocol": "udp", "port": 51820},
]
VANTAGE = {"host": "vps1", "families": ["ipv4"], "valid": True, "reason": "", "error": "", "sources": ["20.5.5.5"], "seen_families": ["ipv4"]}


def make_plan(wan="20.1.2.3", wan_class="global", services=None):
    gateway = {"address": "192.168.7.1", "wan_address": wan, "wan_address_class": wan_class, "product": "Aterm (x/1)"}
    mapping = {"available": True, "gateway": gateway, "mappings": []}
    return _publication.plan_publication(_services.read_services(services or SERVICES).services, _publication.Readings([LAN], [ROUTE], mapping)).as_data()


def make_proof(plan, states=()):
    states = dict(states)
    probes, listeners = [], []
    for service in plan["services"]:
        state = states.get(service["name"], "open")
        probes.append(
            {
                "protocol": service["protocol"],
                "family": "ipv4",
                "port": service["external_port"],
                "address": "20.1.2.3",
                "state": state,
                "nonce_verified": True if state == "open" else None,
            }
        )
        listeners.append({"protocol": service["protocol"], "family": "ipv4", "port": service["port"], "mode": "bound"})
    return _proof.judge_proof(plan, [VANTAGE], {"vps1": probes}, {}, {"listeners": listeners})


def block(language, **arguments):
    report = _report.build_report(host="home1", time=NOW, **arguments)
    json.dumps(report)
    lines = _report.render_block(report, _texts.Texts(language))
    assert len(lines) <= 20
    assert all("{" not in line for line in lines if "_observed" not in line)
    return "\n".join(lines)


def test_all_proved_says_so_first_with_vantage_and_time():
    plan = make_plan()
    text = block("en", kind="publish", plan=plan, proof=make_proof(plan), changes={"rules": 3, "mappings": 3, "records": 1})
    first, picture, *rest = text.splitlines()
    assert first == "home1: 3 of 3 services are reachable from the Internet (proved 04:20 UTC from vps1)"
    assert picture == "  Internet == 20.1.2.3 Aterm 192.168.7.1 == home1 192.168.7.20"
    assert any(line.startswith("  OK    http TCP 80 (IPv4), https TCP 8443 to 443 (IPv4), wg UDP 51820 (IPv4): forwarded by the router") for line in rest)
    assert "unpublish_server    Changed: 3 rules, 3 mappings, 1 records." in text


def test_what_is_not_proved_is_named_with_its_state():
    plan = make_plan()
    text = block("en", kind="publish", plan=plan, proof=make_proof(plan, {"http": "filtered"}))
    assert "2 of 3" in text.splitlines()[0]
    assert "  NO    http TCP 80 (IPv4): no packet came through" in text


def test_without_a_proof_nothing_is_claimed():
    plan = make_plan()
    proof = _proof.judge_proof(plan, [], {}, {}, {})
    text = block("en", kind="publish", plan=plan, proof=proof)
    assert "nothing was proved from outside" in text.splitlines()[0]
    assert "reachable" not in text
    assert "  OK " not in text


def test_an_impossible_line_names_services_reasons_and_ways_and_that_nothing_was_changed():
    plan = make_plan("100.72.3.9", "shared_cgn")
    text = block("en", kind="publish", plan=plan, outcome="impossible")
    assert "Nothing was changed." in text.splitlines()[0]
    assert "carrier NAT" in text
    assert "WAYS  a) ask the provider" in text
    assert "DMZ" not in text


def test_a_name_that_is_withheld_is_said():
    plan = make_plan()
    name = {"name": "home.example.jp", "state": "withheld", "addresses": [], "authorities": 0, "stale_until": ""}
    assert "is not published" in block("en", kind="publish", plan=plan, proof=make_proof(plan, {"http": "filtered"}), name=name)


@pytest.mark.parametrize("language", _texts.LANGUAGES)
@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "publish", "states": {}},
        {"kind": "publish", "states": {"http": "closed", "wg": "open_or_filtered"}},
        {"kind": "publish", "states": {"http": "filtered", "https": "filtered", "wg": "open_or_filtered"}},
        {"kind": "publish", "outcome": "check_mode"},
        {"kind": "publish", "outcome": "failed", "reason": "x"},
        {"kind": "publish", "outcome": "failed_restored", "reason": "x"},
        {"kind": "publish", "outcome": "failed_both", "reason": "x"},
        {"kind": "verify", "states": {}},
        {"kind": "status", "states": {}, "journal": {"committed": {"since": NOW}}},
        {"kind": "status", "journal": {"pending": {"since": NOW}}},
        {"kind": "diagnose"},
        {"kind": "unpublish", "untested": "no_vantage"},
        {"kind": "publish", "todo": [{"id": "lan_address_dynamic", "router": "r", "host_address": "h"}]},
        {"kind": "publish", "todo": [{"id": "address_dynamic_seen", "name": "n", "minutes": 6, "changes": 2, "days": 30}]},
        {"kind": "publish", "todo": [{"id": "address_dynamic", "name": "n", "minutes": 6, "changes": 0, "days": 0}]},
        {"kind": "publish", "vantages": [{**VANTAGE, "valid": False, "reason": "same_lan"}]},
    ],
)
def test_every_outcome_can_be_said_in_every_language(language, arguments):
    plan = make_plan()
    arguments = dict(arguments)
    states = arguments.pop("states", None)
    if states is not None:
        arguments["proof"] = make_proof(plan, states)
    assert block(language, plan=plan, **arguments)


@pytest.mark.parametrize("language", _texts.LANGUAGES)
def test_every_reason_and_every_way_has_a_text_in_every_language(language):
    texts = _texts.Texts(language)
    values = {"router": "r", "inner_address": "w", "host_address": "h", "ports": "p"}
    for reason, ways in _publication.WAYS.items():
        assert texts.get(f"impossible.{reason}")
        for way in ways:
            assert texts.get(f"way.{way}", **values)


def test_every_language_has_the_same_texts():
    def keys(entry, prefix=""):
        for key, value in entry.items():
            assert isinstance(key, str)
            yield prefix + key
            if isinstance(value, dict):
                yield from keys(value, f"{prefix}{key}.")

    english, japanese = (set(keys(_texts.load_data(f"texts/{language}.yml"))) for language in _texts.LANGUAGES)
    assert english == japanese


@pytest.mark.parametrize(
    ("wanted", "environment", "language"),
    [("", {}, "en"), ("", {"LANG": "ja_JP.UTF-8"}, "ja"), ("", {"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"), ("ja", {}, "ja"), ("en", {"LANG": "ja"}, "en")],
)
def test_the_language_is_the_one_that_was_asked_for_else_the_environments(wanted, environment, language):
    assert _texts.choose_language(wanted, environment) == language


def test_a_language_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'fr' is not available; use one of en, ja"):
        _texts.choose_language("fr", {})


def test_taken_back_is_counted_by_what_was_seen():
    plan = make_plan()
    rows = [
        {"service": "http", "protocol": "tcp", "external_port": 80, "family": "ipv4", "address": "20.1.2.3", "method": "port_mapping"},
        {"service": "https", "protocol": "tcp", "external_port": 8443, "family": "ipv4", "address": "20.1.2.3", "method": "port_mapping"},
    ]
    seen = {80: "filtered", 8443: "open"}
    probes = [{"protocol": "tcp", "family": "ipv4", "address": "20.1.2.3", "port": port, "state": state} for port, state in seen.items()]
    closed = _proof.judge_closed([{**row, "port": 1} for row in rows], {"vps1": probes}, {})
    text = block("en", kind="unpublish", plan=plan, closed=closed)
    assert "1 ports still answer" in text.splitlines()[0]
    assert "STILL OPEN" in text


@pytest.mark.parametrize("language", _texts.LANGUAGES)
def test_a_diagnosis_lists_what_the_router_forwards_and_a_long_list_is_cut(language):
    row = {"owner": "foreign", "protocol": "tcp", "external_port": 80, "internal_client": "192.168.7.9", "internal_port": 8080, "description": "Camera"}
    text = block(language, kind="diagnose", plan=make_plan(), mappings=[{**row, "external_port": port} for port in range(1, 10)])
    assert "192.168.7.9" in text
    assert "Camera" in text
    assert "3" in text.splitlines()[-1]


@pytest.mark.parametrize("language", _texts.LANGUAGES)
def test_whose_a_mapping_is_that_only_root_can_tell(language):
    row = {"protocol": "tcp", "external_port": 80, "internal_client": "192.168.7.9", "internal_port": 8080, "description": "PCP MAP"}
    said = {owner: block(language, kind="diagnose", plan=make_plan(), mappings=[{**row, "owner": owner}]) for owner in ("unknown", "foreign", "untagged_ours")}
    assert len(set(said.values())) == 3
    assert "root" in said["unknown"]
    # A word that this version does not know is no claim that it is ours.
    assert block(language, kind="diagnose", plan=make_plan(), mappings=[{**row, "owner": "new"}]) == said["foreign"]


SHARED = {
    **dict.fromkeys(("verdict_reasons", "candidates"), []),
    "verdict": "map_e",
    "inbound_ipv4": "port_set",
    "inbound_ipv6": "unknown",
    "confidence": "high",
    "wan_address": "20.1.2.3",
    "wan_address_class": "global",
    "ports": [{"first": 5648 + step, "last": 5663 + step} for step in range(0, 40960, 4096)],
    "map_e": {"service": "v6plus", "count": 240},
    "address_stability": {"kind": "dynamic", "evidence": "history", "ipv4": {"stable_days": 12, "changes": 3, "observed_days": 40}},
    "contradictions": [{"name": "wan_not_seen", "text": "", "sources": ["upnp 192.168.7.1"]}],
    "consequences": [{"name": name, "text": ""} for name in ("address_shared", "lan_address_dynamic", "no_ipv6")],
    "questions": [{"name": "type_wan_address", "text": ""}],
}


def diagnosed(line, services=None, mapping=None):
    gateway = {"address": "192.168.7.1", "wan_address": "20.1.2.3", "wan_address_class": "global", "product": "Aterm (x/1)"}
    readings = _publication.Readings([LAN], [ROUTE], mapping or {"available": True, "gateway": gateway, "mappings": []}, line)
    return _publication.plan_publication(_services.read_services(services or SERVICES[:2]).services, readings).as_data()


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["v6plus", "20.1.2.3", "240 ports", "5648-5663", "same for 12 days; it changed 3 times in 40 days", "upnp 192.168.7.1", "http: port 5648"]),
        ("ja", ["v6plus", "20.1.2.3", "240個", "5648-5663", "12日間", "3回", "upnp 192.168.7.1", "http は 5648番"]),
    ],
)
def test_a_diagnosis_says_what_a_shared_address_can_carry(language, words):
    text = block(language, kind="diagnose", plan=diagnosed(SHARED))
    assert [word for word in words if word not in text] == []
    assert "https" in text
    assert "9759" in text
    # The line is known; the router's own ports go on after the third range.
    assert "17936" not in text


@pytest.mark.parametrize(("wanted", "found"), [(7702, 5662), (7703, 9744), (7704, 9744)])
def test_the_report_names_the_port_that_the_diagnosis_names(wanted, found):
    # 7703 is as far from one range as from the other.
    line = {**SHARED, "ports": [{"first": 5648, "last": 5662}, {"first": 9744, "last": 9759}]}
    assert nearest([(row["first"], row["last"]) for row in line["ports"]], wanted) == found
    text = block("en", kind="diagnose", plan=diagnosed(line, [{"name": "http", "port": wanted}]))
    assert f"http: port {found}" in text


@pytest.mark.parametrize("language", _texts.LANGUAGES)
def test_where_the_line_is_not_known_the_question_is_asked_that_would_decide(language):
    unknown = {**SHARED, "verdict": "nat_unknown", "inbound_ipv4": "unknown", "confidence": "low", "map_e": None, "ports": [], "contradictions": []}
    text = block(language, kind="diagnose", plan=diagnosed({**unknown, "candidates": ["nat_single", "map_e"]}))
    assert text.splitlines()[0] == "home1: " + _texts.Texts(language).get("diagnosis.to_be_tried")
    assert "MAP-E" in text
    assert "wan_address: ..." in text


def tried(service, state, *notes, family="ipv4", sure=True, reason=""):
    return {"service": service, "family": family, "state": state, "sure": sure, "notes": list(notes), "reason": reason, "vantage": "vps1"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (tried("http", "published", "no_service_yet"), ["1 of 1 ports came in when tried from vps1", "OK", "nonce came back", "no service listens"]),
        (tried("http", "closed_before_home", "worm_port"), ["0 of 1 ports", "NO ", "closed before it reaches this home", "worms"]),
        (tried("http", "closed_before_home", "router_may_keep_it", sure=False), ["UNSURE", "or the router keeps it"]),
        (tried("http", "host_firewall", "or_way_back", sure=False), ["NOTE", "publishing opens it"]),
        (tried("http", "service_down", "path_works"), ["TODO", "start the service"]),
        (tried("http", "untested", "mapping_refused", reason="error 718"), ["UNSURE", "the router does not forward it", "error 718"]),
        (tried("http", "untested", "no_vantage"), ["NOTE", "forwarded by the router", "publish_vantages"]),
    ],
)
def test_a_diagnosis_says_what_came_in(row, words):
    text = block("en", kind="diagnose", plan=make_plan(), inbound=[row])
    assert block("ja", kind="diagnose", plan=make_plan(), inbound=[row]) != text
    assert [word for word in words if word not in text] == [], text
    if row["state"] == "untested":
        assert "came in" not in text


def server(name, *addresses, authoritative=True, error=None):
    return {"name": name, "authoritative": authoritative, "records": {"A": list(addresses), "AAAA": []}, "error": error}


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([server("ns1", "20.1.2.3"), server("ns2", "20.1.2.3")], "= 20.1.2.3 at 2 of 2 authorities"),
        # One server with two addresses is one server.
        ([server("ns1", "20.1.2.3"), server("ns1", "20.1.2.3")], "at 1 of 1 authorities"),
        ([server("ns1", "20.1.2.3"), server("ns2", "20.9.9.9")], "at 1 of 2 authorities only"),
        ([server("ns1", "20.1.2.3"), server("ns2", authoritative=False, error="timeout")], "at 1 of 2 authorities only"),
    ],
)
def test_a_name_is_published_where_the_authorities_say_so(servers, words):
    plan = make_plan()
    name = {"name": "home.example.jp", "state": "published", "expected": ["20.1.2.3"], "servers": servers, "stale_until": ""}
    assert words in block("en", kind="publish", plan=plan, proof=make_proof(plan), name=name)


def test_numbers_stay_numbers_on_every_core():
    report = _report.build_report(kind="publish", host="home1", time=NOW, changes={"rules": "3", "mappings": 3})
    assert report["changes"] == {"rules": 3, "mappings": 3}
