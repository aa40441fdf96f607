# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a router whose UPnP was switched off: by table, in both languages, and every name has its text."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._upnp import _silence
from ansible_collections.homeserver.hardening.plugins.plugin_utils import _lockdown, _proof
from ansible_collections.homeserver.hardening.plugins.plugin_utils._lockdown import CHECKS, FAIL, OK, UNTESTED, WARN, Seen, UpnpTexts, build_report, judge

NOW = "2026-11-24T04:20:00Z"
MAPPING = {"protocol": "tcp", "external_port": 9999, "internal_client": "192.0.2.20", "internal_port": 80, "description": "camera"}
LISTED = {**MAPPING, "owner": "foreign", "decision": "not_consented", "state": "present", "error": ""}
VANTAGE = {"host": "vps1", "valid": True, "reason": "", "error": ""}
ROUTER: dict[str, Any] = {
    "driver": "linux",
    "chains": ["inet filter miniupnpd"],
    "rules_left": [],
    "other_chains": [],
    "mappings": [],
    "daemon": {"running": False},
    "connections_ended": 0,
}
OFF = {name: {"state": "silent", "reason": ""} for name in ("ssdp", "soap", "natpmp", "pcp")}
RULE = {"table": "inet filter", "chain": "prerouting_miniupnpd", "protocol": "tcp", "port": 9999, "client": "192.0.2.20", "client_port": 80}


def outside(reachable: bool = True, **status: str) -> dict[str, Any]:
    checks = []
    for audit in ("A1", "A2", "A3"):
        state = status.get(audit, "ok")
        checks.append(
            {
                "id": audit,
                "status": state,
                "reason": {"ok": "refused", "finding": "ssdp_answers_outside", "untested": "silence_unproved"}[state],
                "findings": [{"name": "ssdp_answers_outside"}] if state == "finding" else [],
                "evidence": {"addresses": [{"reachable": reachable}]},
            }
        )
    return {"vps1": {"checks": checks}}


def probe(state: str, protocol: str = "tcp", port: int = 9999) -> dict[str, Any]:
    return {"protocol": protocol, "port": port, "state": state}


def seen(**changes: Any) -> Seen:
    """A run after which all is well, as far as can be seen without a driver."""
    values: dict[str, Any] = {
        "mode": "disabled",
        "before": {"available": True, "former": [MAPPING], "mappings": [], "gateway": {"address": "192.0.2.1", "product": "Router"}},
        "after": {"available": False, "reason": "no router answered", "mappings": []},
        "silence": OFF,
        "outside": outside(),
        "probes": {"vps1": [probe("filtered")]},
        "inside": [{"host": "192.0.2.20", "port": 80, "protocol": "tcp", "state": "open"}],
        "vantages": [VANTAGE],
        "block": {"table": "inet homeserver_upnp"},
    }
    return Seen(**{**values, **changes})


def states(what: Seen) -> dict[str, str]:
    return {row["id"]: row["state"] for row in judge(what)}


def test_all_is_well_without_a_driver():
    """But for the list, which nobody shows any more, and the pinholes, which nobody ever lists."""
    found = states(seen())
    assert found.pop("table_empty") == UNTESTED
    assert found.pop("pinholes_gone") == UNTESTED
    assert set(found.values()) == {OK}
    assert list(found) == [name for name in CHECKS if name in found]


def test_all_is_well_with_a_driver():
    assert set(states(seen(router=ROUTER)).values()) == {OK}


UDP = {**MAPPING, "protocol": "udp"}
NOBODY: list[Any] = []
PORTS = [
    # what, probe, protocol, something listens, reachable, driver, state, reason
    ("open", "open", "tcp", True, True, None, FAIL, "open"),
    ("open although the rules are gone", "open", "tcp", True, True, ROUTER, FAIL, "open"),
    ("silent where something would answer", "filtered", "tcp", True, True, None, OK, "silent"),
    ("silent, but perhaps another address", "filtered", "tcp", True, False, None, UNTESTED, "silence_unproved"),
    ("silent, but nothing would answer", "filtered", "tcp", False, True, None, UNTESTED, "nobody_behind"),
    ("silent and the rules are gone", "filtered", "tcp", False, False, ROUTER, OK, "silent_and_rules_gone"),
    ("refused where something would answer", "closed", "tcp", True, True, None, OK, "closed"),
    ("refused, perhaps by the host behind", "closed", "tcp", False, True, None, UNTESTED, "refused_by_whom"),
    ("rejected, perhaps by the host behind", "rejected", "tcp", False, True, None, UNTESTED, "refused_by_whom"),
    ("refused and the rules are gone", "closed", "tcp", False, True, ROUTER, OK, "closed"),
    ("udp that answers", "open", "udp", False, True, ROUTER, FAIL, "open"),
    ("udp that is silent", "open_or_filtered", "udp", True, True, None, UNTESTED, "udp_is_silent"),
    ("udp that is silent, and the rules are gone", "open_or_filtered", "udp", False, True, ROUTER, OK, "silent_and_rules_gone"),
    ("udp that is refused", "closed", "udp", False, True, None, UNTESTED, "refused_by_whom"),
    ("not sent", "no_route", "tcp", True, True, ROUTER, UNTESTED, "nothing_learnt"),
    ("an error", "error", "tcp", True, True, ROUTER, UNTESTED, "nothing_learnt"),
    # the rules stay: neither silence nor refusal is worth anything
    ("rules stay", "filtered", "udp", False, True, {**ROUTER, "rules_left": [RULE]}, UNTESTED, "udp_is_silent"),
    ("other chains", "closed", "tcp", False, True, {**ROUTER, "other_chains": ["inet x upnp"]}, UNTESTED, "refused_by_whom"),
    # where its rules would be nobody knows
    ("chains never seen", "filtered", "udp", False, True, {**ROUTER, "chains": []}, UNTESTED, "udp_is_silent"),
    ("chains seen once", "filtered", "udp", False, True, {**ROUTER, "chains": [], "chains_seen": True}, OK, "silent_and_rules_gone"),
]


@pytest.mark.parametrize(("what", "found", "protocol", "listening", "reachable", "router", "state", "reason"), PORTS, ids=[row[0] for row in PORTS])
def test_a_port(what, found, protocol, listening, reachable, router, state, reason):
    rows = judge(
        seen(
            before={"available": True, "former": [{**MAPPING, "protocol": protocol}]},
            probes={"vps1": [probe(found, protocol)]},
            inside=[{"host": "192.0.2.20", "port": 80, "protocol": "tcp", "state": "open"}] if listening and protocol == "tcp" else [],
            outside=outside(reachable),
            router=router or {},
        )
    )
    check = next(row for row in rows if row["id"] == "ports_closed")
    assert (check["state"], check["evidence"]["ports"][0]["reason"]) == (state, reason)


def ports(what: Seen) -> tuple[str, str]:
    check = next(row for row in judge(what) if row["id"] == "ports_closed")
    return check["state"], check["reason"]


def test_ports_nobody_looked_at():
    assert ports(seen(vantages=[])) == (UNTESTED, "no_vantage")
    # One that does not count has seen nothing, whatever it says.
    assert ports(seen(vantages=[{**VANTAGE, "valid": False, "reason": "same_lan"}], probes={"vps1": [probe("open")]})) == (UNTESTED, "no_vantage")
    assert ports(seen(probes={})) == (UNTESTED, "not_probed")
    assert ports(seen(before={"available": True, "former": [{**MAPPING, "external_port": 0}]})) == (UNTESTED, "all_ports")
    # Nothing known is not nothing open.
    assert ports(seen(before={"available": False, "former": []})) == (UNTESTED, "no_ports")
    assert ports(seen(before={"available": True, "former": []})) == (OK, "no_ports")
    assert ports(seen(before={"available": False, "former": []}, router=ROUTER)) == (OK, "no_ports")
    assert ports(seen(before={"available": False, "former": []}, router={**ROUTER, "rules_left": [RULE]})) == (UNTESTED, "no_ports")
    assert ports(seen(wan_doubt="address_not_public", probes={})) == (UNTESTED, "address_not_public")


def test_ports_that_nobody_remembers():
    """A list that was cut off, or had too much in it."""
    cut = {"available": True, "former": [MAPPING], "cut": True}
    assert ports(seen(before=cut)) == (UNTESTED, "list_incomplete")
    assert ports(seen(before={**cut, "former": []})) == (UNTESTED, "list_incomplete")
    assert ports(seen(before=cut, probes={"vps1": [probe("open")]})) == (FAIL, "open")
    # No rule is left for any port.
    assert ports(seen(before=cut, router=ROUTER)) == (OK, "closed")
    assert ports(seen(before={**cut, "former": []}, router=ROUTER)) == (OK, "no_ports")


@pytest.mark.parametrize(
    ("found", "router", "port", "ssdp"),
    [
        ("filtered", {}, (UNTESTED, "address_remembered"), UNTESTED),
        ("open", {}, (FAIL, "open"), UNTESTED),
        # The rules and the daemon of the router itself were seen.
        ("filtered", ROUTER, (OK, "closed"), OK),
        ("filtered", {**ROUTER, "rules_left": [RULE]}, (UNTESTED, "address_remembered"), OK),
    ],
)
def test_an_address_that_the_router_told_in_an_earlier_run(found, router, port, ssdp):
    what = seen(wan_doubt="address_remembered", probes={"vps1": [probe(found)]}, router=router)
    assert ports(what) == port
    assert states(what)["ssdp_outside"] == ssdp
    finding = seen(wan_doubt="address_remembered", outside=outside(A1="finding"), router=router)
    assert states(finding)["ssdp_outside"] == FAIL


@pytest.mark.parametrize(
    ("given", "now", "earlier", "found"),
    [
        ("", "8.8.8.8", "8.8.4.4", ("8.8.8.8", "")),
        ("", None, "8.8.4.4", ("8.8.4.4", "address_remembered")),
        ("", "", None, ("", "")),
        # behind another router, the provider's, or nothing at all
        ("", "192.168.1.2", "8.8.4.4", ("", "address_not_public")),
        ("", "10.1.2.3", None, ("", "address_not_public")),
        ("", "100.64.7.7", None, ("", "address_not_public")),
        ("", "169.254.1.1", None, ("", "address_not_public")),
        ("", "127.0.0.1", None, ("", "address_not_public")),
        ("", "0.0.0.0", None, ("", "address_not_public")),
        ("", None, "192.168.1.2", ("", "address_not_public")),
        ("", "router.example", None, ("", "address_not_public")),
        # who says it knows it
        ("203.0.113.7", "192.168.1.2", None, ("203.0.113.7", "")),
        ("203.0.113.7", None, "8.8.4.4", ("203.0.113.7", "")),
    ],
)
def test_where_to_look_from_outside(given, now, earlier, found):
    assert _lockdown.outside_address(given, {"gateway": {"wan_address": now}, "remembered": {"wan_address": earlier}}) == found
    if now is None and earlier is None:
        assert _lockdown.outside_address(given, {"gateway": None, "remembered": None}) == found


def test_one_port_that_is_open_outweighs_all_others():
    former = [MAPPING, {**MAPPING, "external_port": 80}]
    found = seen(before={"available": True, "former": former}, probes={"vps1": [probe("error", port=80), probe("open")]})
    assert ports(found) == (FAIL, "open")
    two = [VANTAGE, {**VANTAGE, "host": "vps2"}]
    assert ports(seen(vantages=two, probes={"vps1": [probe("filtered")], "vps2": [probe("open")]})) == (FAIL, "open")
    assert ports(seen(vantages=two, probes={"vps1": [probe("filtered")], "vps2": [probe("error")]})) == (OK, "closed")


def test_ports_of_rules_that_the_daemon_no_longer_knew_are_looked_at():
    router = {**ROUTER, "mappings": [{"protocol": "tcp", "external_port": 8443, "internal_client": "192.0.2.30", "internal_port": 443}]}
    found = seen(router=router, probes={"vps1": [probe("filtered"), probe("open", port=8443)]})
    assert ports(found) == (FAIL, "open")


def test_ports_that_are_forwarded_otherwise_need_not_be_closed():
    assert ports(seen(forwarded=[{"protocol": "tcp", "external_port": 9999}], probes={"vps1": [probe("open")]})) == (OK, "no_ports")
    assert ports(seen(forwarded=[{"protocol": "udp", "external_port": 9999}], probes={"vps1": [probe("open")]})) == (FAIL, "open")


@pytest.mark.parametrize(
    ("answer", "router", "state"),
    [
        ({"state": "answered", "reason": ""}, {}, FAIL),
        ({"state": "answered", "reason": ""}, ROUTER, FAIL),
        ({"state": "refused", "reason": ""}, {}, OK),
        ({"state": "silent", "reason": ""}, {}, OK),
        ({"state": "untested", "reason": "silence_unproved"}, ROUTER, UNTESTED),
        ({"state": "untested", "reason": "location_unknown"}, {}, UNTESTED),
        ({"state": "untested", "reason": "location_unknown"}, ROUTER, OK),
        ({}, {}, UNTESTED),
    ],
)
def test_silence(answer, router, state):
    for name, check in (("ssdp", "ssdp_silent"), ("soap", "soap_refused"), ("natpmp", "natpmp_silent"), ("pcp", "pcp_silent")):
        assert states(seen(silence={**OFF, name: answer}, router=router))[check] == state


@pytest.mark.parametrize(
    ("after", "router", "state", "reason"),
    [
        ({"available": True, "mappings": []}, {}, OK, "empty"),
        ({"available": True, "mappings": [], "incomplete": "more than 512"}, {}, UNTESTED, "cannot_be_listed"),
        ({"available": True, "mappings": [LISTED]}, {}, FAIL, "mappings_left"),
        ({"available": True, "mappings": [LISTED]}, ROUTER, FAIL, "mappings_left"),
        ({"available": False, "mappings": []}, {}, UNTESTED, "cannot_be_listed"),
        ({"available": False, "mappings": []}, ROUTER, OK, "daemon_off"),
        ({"available": False, "mappings": []}, {**ROUTER, "rules_left": [RULE]}, UNTESTED, "cannot_be_listed"),
    ],
)
def test_the_table(after, router, state, reason):
    check = next(row for row in judge(seen(after=after, router=router)) if row["id"] == "table_empty")
    assert (check["state"], check["reason"]) == (state, reason)


def test_the_routers_own_rules():
    assert states(seen(router={**ROUTER, "rules_left": [RULE]}))["rules_gone"] == FAIL
    assert states(seen(router={**ROUTER, "other_chains": ["inet x upnp"]}))["rules_gone"] == UNTESTED
    assert states(seen(router={**ROUTER, "chains": []}))["rules_gone"] == UNTESTED
    assert states(seen(router={**ROUTER, "chains": [], "chains_seen": True}))["rules_gone"] == OK
    assert states(seen(router={**ROUTER, "daemon": {"running": True}}))["daemon_off"] == FAIL
    assert {"rules_gone", "daemon_off"} & set(states(seen())) == set()


@pytest.mark.parametrize(
    ("daemon", "state", "reason"),
    [
        ({"running": True, "enabled": False}, FAIL, "running"),
        ({"running": False, "enabled": False}, OK, "stopped"),
        # stopped, but back after a power cut, or nobody can tell
        ({"running": False, "enabled": True}, UNTESTED, "next_boot_unknown"),
        ({"running": False, "enabled": None}, UNTESTED, "next_boot_unknown"),
    ],
)
def test_the_next_boot(daemon, state, reason):
    check = next(row for row in judge(seen(router={**ROUTER, "daemon": daemon})) if row["id"] == "daemon_off")
    assert (check["state"], check["reason"]) == (state, reason)


@pytest.mark.parametrize(
    ("mode", "router", "state"),
    [
        ("disabled", {}, UNTESTED),
        ("disabled", {**ROUTER, "rules_left": [RULE]}, UNTESTED),
        ("disabled", {**ROUTER, "chains": []}, UNTESTED),
        # They are rules of the same chains.
        ("disabled", ROUTER, None),
        ("guarded", {}, None),
    ],
)
def test_pinholes(mode, router, state):
    assert states(seen(mode=mode, router=router)).get("pinholes_gone") == state


@pytest.mark.parametrize(("status", "router", "state"), [("ok", {}, OK), ("finding", ROUTER, FAIL), ("untested", {}, UNTESTED), ("untested", ROUTER, OK)])
def test_outside(status, router, state):
    assert states(seen(outside=outside(A1=status), router=router))["ssdp_outside"] == state


@pytest.mark.parametrize(
    ("inside", "reachable", "ssdp", "pmp"),
    [
        (("ssdp",), True, OK, UNTESTED),
        (("natpmp", "pcp"), True, UNTESTED, OK),
        (("pcp",), True, UNTESTED, UNTESTED),
        (("ssdp", "natpmp", "pcp"), False, UNTESTED, UNTESTED),
    ],
)
def test_silence_outside_counts_where_the_router_answers_the_same_inside(inside, reachable, ssdp, pmp):
    silence = {**OFF, **{name: {"state": "answered", "reason": ""} for name in inside}}
    found = states(seen(mode="guarded", silence=silence, outside=outside(reachable, A1="untested", A2="untested", A3="untested")))
    assert (found["ssdp_outside"], found["pmp_outside"], found["soap_outside"]) == (ssdp, pmp, UNTESTED)


def test_nobody_outside():
    found = states(seen(vantages=[], router=ROUTER))
    assert found["ssdp_outside"] == found["soap_outside"] == found["pmp_outside"] == UNTESTED


def guarded(after: dict[str, Any], before: dict[str, Any] | None = None) -> Seen:
    return seen(mode="guarded", after=after, before=before or {"available": True, "former": [MAPPING], "mappings": []}, block={}, silence={})


def test_guarded():
    ours = {**LISTED, "decision": "ours", "owner": "ours", "external_port": 80}
    declared = {**LISTED, "decision": "declared"}
    found = states(guarded({"available": True, "mappings": [ours, declared]}))
    assert (found["only_declared"], found["removed_gone"]) == (OK, OK)
    assert "ssdp_silent" not in found
    assert states(guarded({"available": True, "mappings": [ours, LISTED]}))["only_declared"] == WARN
    assert states(guarded({"available": True, "mappings": [], "incomplete": "x"}))["only_declared"] == UNTESTED
    assert states(guarded({"available": False, "mappings": []}))["only_declared"] == UNTESTED


def test_guarded_what_the_router_would_not_remove():
    consented = {**LISTED, "decision": "consented", "state": "refused", "error": "606"}
    rows = judge(guarded({"available": True, "mappings": [{**consented, "error": ""}]}, {"mappings": [consented]}))
    check = next(row for row in rows if row["id"] == "removed_gone")
    assert (check["state"], check["evidence"]["mappings"][0]["error"]) == (FAIL, "606")


def test_guarded_looks_at_the_ports_that_are_mapped_no_more():
    opened = {"vps1": [probe("open")]}
    gone = seen(mode="guarded", after={"available": True, "mappings": []}, probes=opened)
    still = seen(mode="guarded", after={"available": True, "mappings": [{**LISTED, "decision": "declared"}]}, probes=opened)
    assert ports(gone) == (FAIL, "open")
    assert ports(still) == (OK, "no_ports")


def test_guarded_without_the_list_says_nothing_of_ports():
    """What is mapped now may be open, and nobody told what that is."""
    for state in ("open", "filtered"):
        probes = {"vps1": [probe(state)]}
        assert ports(seen(mode="guarded", after={"available": False}, probes=probes)) == (UNTESTED, "cannot_be_listed")
        assert ports(seen(mode="guarded", after={"available": True, "mappings": [], "incomplete": "cut off"}, probes=probes)) == (UNTESTED, "list_incomplete")


def test_check_mode_says_nothing_of_what_is_not_yet_so():
    assert set(states(seen(pending=True, probes={"vps1": [probe("open")]})).values()) == {UNTESTED}


@pytest.mark.parametrize(
    ("gateway", "remembered", "found"),
    [
        (None, None, {}),
        ({"location": ""}, {"location": None}, {}),
        ({"location": "http://192.0.2.1:5000/d.xml"}, {"location": "http://192.0.2.1:5000/d.xml"}, {"http://192.0.2.1:5000/d.xml": 5000}),
        ({"location": "http://192.0.2.1/d.xml"}, {"location": "http://192.0.2.1:49152/"}, {"http://192.0.2.1/d.xml": 80, "http://192.0.2.1:49152/": 49152}),
        ({"location": "http://192.0.2.1:99999/"}, {"location": "https://192.0.2.1/"}, {}),
    ],
)
def test_locations(gateway, remembered, found):
    assert _lockdown.locations({"gateway": gateway, "remembered": remembered}) == found


def test_targets():
    rows = [MAPPING, {**MAPPING, "external_port": 80}, UDP, {**MAPPING, "external_port": 0}, {**MAPPING, "external_port": 81, "internal_client": ""}]
    assert _lockdown.outside_targets(rows, "203.0.113.7") == [
        {"host": "203.0.113.7", "protocol": "tcp", "ports": "80,81,9999", "families": ["ipv4"]},
        {"host": "203.0.113.7", "protocol": "udp", "ports": "9999", "families": ["ipv4"]},
    ]
    assert _lockdown.outside_targets(rows, "") == []
    assert _lockdown.inside_targets(rows) == [{"host": "192.0.2.20", "protocol": "tcp", "ports": "80", "families": ["ipv4"]}]


@pytest.mark.parametrize(
    "client", ["8.8.8.8", "0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "camera", "localhost", "", "fe80::1", "2001:db8::1", "192.168.1", "1"]
)
def test_nobody_outside_the_lan_is_asked_whether_he_listens(client):
    assert _lockdown.inside_targets([{**MAPPING, "internal_client": client}]) == []


@pytest.mark.parametrize("client", ["192.168.1.20", "10.0.0.20", "172.16.0.20", "100.64.0.20", "169.254.3.4"])
def test_hosts_of_a_lan_are_asked_whether_they_listen(client):
    assert _lockdown.inside_targets([{**MAPPING, "internal_client": client}]) == [{"host": client, "protocol": "tcp", "ports": "80", "families": ["ipv4"]}]


@pytest.mark.parametrize("protocol", ["sctp", "TCP", "", "tcp,udp"])
def test_odd_protocols_are_not_probed(protocol):
    rows = [{**MAPPING, "protocol": protocol, "internal_client": "192.168.1.20"}]
    assert _lockdown.outside_targets(rows, "8.8.8.8") == []
    assert _lockdown.inside_targets(rows) == []
    assert ports(seen(before={"available": True, "former": rows})) == (UNTESTED, "not_probed")


def block(language: str, what: Seen) -> str:
    report = build_report("home1", NOW, what)
    json.dumps(report)
    lines = _lockdown.render_block(report, UpnpTexts(language))
    text = "\n".join(lines)
    assert not re.search(r"\{(?!protocol)", text), text
    assert len(lines) < 45
    return text


@pytest.mark.parametrize(
    ("after", "reachable", "state"),
    [
        ({"available": True, "mappings": [], "gateway": {"method": "upnp"}}, True, OK),
        ({"available": True, "mappings": [], "gateway": {"method": "upnp"}}, False, UNTESTED),
        ({"available": True, "mappings": [], "gateway": {"method": "pcp"}}, True, UNTESTED),
        ({"available": False, "mappings": [], "gateway": {"method": "upnp"}}, True, UNTESTED),
    ],
)
def test_silence_of_soap_outside_counts_where_the_list_was_read_by_it_inside(after, reachable, state):
    assert states(seen(mode="guarded", after=after, outside=outside(reachable, A2="untested"), silence={}))["soap_outside"] == state


FOREIGN = {"available": True, "former": [MAPPING], "mappings": [LISTED], "gateway": {"address": "192.0.2.1", "product": "Aterm"}}
STILL_ON = {
    "before": FOREIGN,
    "after": {"available": True, "mappings": [LISTED]},
    "silence": {**OFF, "ssdp": {"state": "answered", "reason": ""}},
    "probes": {"vps1": [probe("open")]},
}


def test_the_answer_comes_first():
    assert block("en", seen(router=ROUTER)).splitlines()[0] == "home1: UPnP is off, and what it had opened is closed (12 checks, 04:20 UTC)"
    assert block("en", seen()).splitlines()[0].startswith("home1: nothing shows that UPnP is still on, but 2 of 11 checks could not be made")
    assert "UPnPは停止していて" in block("ja", seen(router=ROUTER)).splitlines()[0]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_what_is_still_on_gets_a_sheet_and_the_way_to_consent(language):
    text = block(language, seen(**STILL_ON))
    consent = "upnp_remove: [{protocol: tcp, external_port: 9999, internal_client: 192.0.2.20}]"
    for words in ("http://192.0.2.1/", "Aterm", "tcp 9999 -> 192.0.2.20:80 (camera)", consent):
        assert words in text, words


def test_no_sheet_where_a_driver_did_it_or_nothing_is_wrong():
    assert build_report("home1", NOW, seen(router=ROUTER))["sheet"] is False
    assert build_report("home1", NOW, seen())["sheet"] is False
    assert build_report("home1", NOW, seen(**STILL_ON))["sheet"] is True
    assert build_report("home1", NOW, seen(**STILL_ON, pending=True))["sheet"] is False


def test_rules_that_stayed_end_with_a_restart():
    left = seen(probes={"vps1": [probe("open")]})
    assert "Restart the router 192.0.2.1" in block("en", left)
    assert "再起動" in block("ja", left)


def test_what_strangers_wrote_is_shown_without_control_characters():
    nasty = {**LISTED, "description": "a\x1b[2J\nb" + "x" * 500}
    text = block("en", seen(**{**STILL_ON, "after": {"available": True, "mappings": [nasty]}}))
    assert "\x1b" not in text
    assert "x" * 70 not in text


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("mode", ["disabled", "guarded"])
def test_every_state_can_be_said(language, mode):
    stays = {**ROUTER, "rules_left": [RULE], "other_chains": ["x"], "connections_ended": None}
    unknown = {**ROUTER, "chains": [], "daemon": {"running": False, "enabled": None}}
    doubts = [{"wan_doubt": "address_remembered"}, {"wan_doubt": "address_not_public", "probes": {}, "outside": {}}]
    for changes in ({}, STILL_ON, {"pending": True}, {"vantages": []}, {"router": stays}, {"router": unknown}, *doubts):
        block(language, seen(mode=mode, **changes))
    block(language, seen(mode=mode, vantages=[{**VANTAGE, "valid": False, "reason": "same_lan"}]))


def leaves(node: Any, at: str = "") -> dict[str, str]:
    if not isinstance(node, dict):
        return {at: str(node)}
    return {key: value for name, inner in node.items() for key, value in leaves(inner, f"{at}.{name}").items()}


def test_both_languages_have_the_same_texts_with_the_same_values():
    english, japanese = (leaves(UpnpTexts(language)._texts) for language in ("en", "ja"))
    assert english.keys() == japanese.keys()
    for key, text in english.items():
        names = {name for name in re.findall(r"\{(\w+)\}", text) if name not in ("total",)}
        assert names == {name for name in re.findall(r"\{(\w+)\}", japanese[key]) if name not in ("total",)}, key


def words(node: ast.AST) -> set[str]:
    """Return the names in an expression, but for the keys that it looks up."""
    keys = {id(one.slice) for one in ast.walk(node) if isinstance(one, ast.Subscript)}
    keys |= {id(one.args[0]) for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.args}
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value and id(one) not in keys}


def reasons() -> set[str]:
    """The reasons that the judgement can give: what check() and _port() say, and what comes from the router's answers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(Path(_lockdown.__file__).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check" and len(node.args) == 3:
            found |= words(node.args[2])
        if isinstance(node, ast.FunctionDef) and node.name in ("_port", "_ports_closed"):
            for pair in ast.walk(node):
                if isinstance(pair, ast.Tuple) and len(pair.elts) > 1 and isinstance(pair.elts[0], ast.Name):
                    found |= words(pair.elts[1])
        if isinstance(node, ast.FunctionDef) and node.name == "_unprobed":
            found |= {word for one in ast.walk(node) if isinstance(one, ast.Return) and one.value for word in words(one.value)}
    for node in ast.walk(ast.parse(Path(_silence.__file__).read_text())):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values):
                if isinstance(key, ast.Constant) and key.value == "reason":
                    found |= words(value)
    return found


def test_every_reason_and_check_has_a_text():
    texts = UpnpTexts("en")
    found = reasons() | {_lockdown.REMEMBERED, _lockdown.NOT_PUBLIC}
    assert {"open", "udp_is_silent", "silence_unproved", "location_unknown", "mappings_left", "no_vantage"} <= found
    assert [name for name in sorted(found) if not texts.has(f"reason.{name}")] == []
    assert [name for name in CHECKS if not texts.has(f"check.{name}")] == []
    told = re.findall(r'reason = "(\w+)"', Path(_proof.__file__).read_text())
    assert told
    assert [name for name in told if not texts.has(f"vantage_reason.{name}")] == []
