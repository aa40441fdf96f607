# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict by table; with any reading removed; with any reading lying."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address._classify import address_class
from ansible_collections.homeserver.hardening.plugins.module_utils._history import remember
from ansible_collections.homeserver.hardening.plugins.module_utils._line._decide import WEAKER
from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import Reading
from ansible_collections.homeserver.hardening.plugins.module_utils._line._verdict import judge
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._line import line_cases as cases
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._line.line_cases import LINES, Line
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._line.line_edges import EDGES

CONFIDENCE = ["low", "medium", "high", "proof"]
#: What inbound_ipv4 may be for each kind of line. C(unknown) is right for all.
INBOUND = {
    "public_direct": {"open"},
    "nat_single": {"needs_forward"},
    "double_nat": {"needs_forward"},
    "map_e": {"port_set"},
    "one_to_one_nat": {"open"},
    **{name: {"blocked"} for name in ("cgn", "ds_lite", "nat64_464xlat", "no_ipv4", "offline")},
}


def names(result: dict[str, Any], key: str) -> set[str]:
    return {one["name"] for one in result[key]}


def truth_of(line: Line) -> str:
    return line.truth or line.verdict


def right_or_weaker(line: Line, result: dict[str, Any]) -> str:
    """Return what is wrong, nothing if the verdict is right or a weaker word."""
    verdict, truth = result["verdict"], truth_of(line)
    if verdict not in (truth, "nat_unknown") and truth not in WEAKER.get(verdict, ()):
        return f"verdict {verdict} ({result['confidence']})"
    if result["inbound_ipv4"] not in {"unknown", *INBOUND.get(truth, ())}:
        return f"inbound {result['inbound_ipv4']}"
    if verdict == "map_e" and not result["ports"]:
        return "no ports"
    return ""


@pytest.mark.parametrize("line", [*LINES, *EDGES], ids=lambda line: line.name)
def test_table(line: Line) -> None:
    result = judge(line.readings)
    assert (result["verdict"], result["inbound_ipv4"], result["confidence"]) == (line.verdict, line.inbound, line.confidence), result["verdict_reasons"]
    assert set(line.reasons) <= set(result["verdict_reasons"])
    assert names(result, "contradictions") == set(line.contradictions)
    expect = dict(line.expect)
    if "stability" in expect:
        assert (result["address_stability"]["kind"], result["address_stability"]["evidence"]) == expect.pop("stability")
    if "questions" in expect:
        assert set(expect.pop("questions")) <= names(result, "questions")
    if "ports" in expect:
        first, last = expect.pop("ports")
        assert result["ports"][0] == {"first": first, "last": last}
    for key, value in expect.items():
        assert result[key] == value
    assert result["verdict"] in result["candidates"] or result["verdict"] in ("double_nat_or_cgn", "nat_unknown")
    assert truth_of(line) in result["candidates"] or result["verdict"] == "nat_unknown"
    if result["confidence"] in ("high", "proof"):
        assert result["questions"] == []


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_without_any_one_reading(line: Line) -> None:
    for index, reading in enumerate(line.readings):
        result = judge(line.without(index).readings)
        assert right_or_weaker(line, result) == "", f"without {reading.kind} {reading.source}: {result['verdict_reasons']}"
        failed = (*line.readings[:index], Reading(reading.kind, reading.source, error="no answer"), *line.readings[index + 1 :])
        assert right_or_weaker(line, judge(failed)) == "", f"{reading.kind} {reading.source} failed"


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_without_any_two_readings(line: Line) -> None:
    for first in range(len(line.readings)):
        for second in range(first, len(line.readings) - 1):
            one = line.without(first)
            removed = f"{line.readings[first].source}, {one.readings[second].source}"
            result = judge(one.without(second).readings)
            if "any_ttl" in line.name and {reading.kind for reading in one.without(second).readings} == {"interfaces", "stun", "echo", "hops", "ports"}:
                continue  # without the path nothing tells a router that does not count packets down
            assert right_or_weaker(line, result) == "", f"without {removed}: {result['verdict_reasons']}"


@pytest.mark.parametrize("line", [*LINES, *EDGES], ids=lambda line: line.name)
def test_order_does_not_matter(line: Line) -> None:
    there, back = judge(line.readings), judge(tuple(reversed(line.readings)))
    for key in ("verdict", "confidence", "inbound_ipv4", "ports", "wan_address", "candidates"):
        assert there[key] == back[key], key
    assert names(there, "contradictions") == names(back, "contradictions")


# --- lies

LIE = "44.250.1.1"


def lies_of_class(truth: str) -> list[str]:
    """Return addresses of other classes: another address of the same class says the same about the line."""
    return [address for address in (LIE, "192.168.5.5", "100.70.1.1") if address_class(address) != address_class(truth) or address == LIE]


def lies(reading: Reading) -> list[Reading]:
    """Return what a lying or broken source could say instead."""
    value: Any = dict(reading.value or {})
    if reading.kind in ("stun", "echo") and value.get("family") == "ipv4":
        return [replace(reading, value={**value, "mapped_address": address}) for address in (LIE, "10.1.1.1", "100.64.9.9")]
    if reading.kind == "wan" and value.get("address"):
        return [replace(reading, value={**value, "address": address}) for address in lies_of_class(value["address"])]
    if reading.kind == "hops":
        target = value["target"]
        owned = [{"ttl": 1, "from": target, "type": 3, "code": 3}]
        beyond = [{"ttl": 1, "from": cases.ROUTER, "type": 11, "code": 0}, {"ttl": 2, "from": target, "type": 3, "code": 3}]
        return [replace(reading, value={**value, "answers": answers}) for answers in (owned, beyond) if answers[:1] != value["answers"][:1]]
    if reading.kind == "ports":
        rows = value["samples"]
        kept = [[local, local, server] for local, _mapped, server in rows]
        other_set, other = cases.chosen(cases.PortSet(4, 8, 200), 16, 9), cases.random_ports(9)
        lies = [kept, [[row[0], mapped, row[2]] for row, mapped in zip(rows, other_set)]]
        # One of the two servers lies about its half.
        lies.append([[row[0], mapped, row[2]] if index % 2 else row for index, (row, mapped) in enumerate(zip(rows, other))])
        return [replace(reading, value={"samples": samples}) for samples in lies]
    return []


#: Lines on which enough is read that one lie is outvoted or at least noticed.
RICH = [
    line
    for line in LINES
    if line.name
    in (
        "public_static",
        "nat_upnp",
        "nat_random_ports",
        "cgn_6598",
        "double_nat_open",
        "map_e_v6plus",
        "map_e_unknown_rule",
        "map_e_second_router",
        "pppoe_beside_map_e",
    )
]


@pytest.mark.parametrize("line", RICH, ids=lambda line: line.name)
def test_a_lie_is_noticed_and_does_not_decide(line: Line) -> None:
    for index, reading in enumerate(line.readings):
        for lie in lies(reading):
            if lie.value == reading.value:
                continue
            result = judge((*line.readings[:index], lie, *line.readings[index + 1 :]))
            assert right_or_weaker(line, result) == "", f"{lie.source} says {lie.value}: {result['verdict_reasons']}, {names(result, 'contradictions')}"
            if (line.name, lie.kind) not in UNNOTICED:
                assert names(result, "contradictions") > set(line.contradictions), f"{lie.source} says {lie.value}"


#: Lies that cannot be told from a truth, because nothing else depends on it: how a router chooses port numbers.
UNNOTICED = {
    ("nat_random_ports", "ports"),
    ("cgn_6598", "ports"),
    ("double_nat_open", "ports"),
    ("public_static", "ports"),
    ("public_static", "hops"),
}


# --- what else is said


def line_named(name: str) -> Line:
    return next(line for line in LINES if line.name == name)


def test_shared_address_rules_out_well_known_ports() -> None:
    result = judge(line_named("map_e_v6plus").readings)
    assert {"well_known_ports_impossible", "address_shared", "ipv6_remains", "lan_address_dynamic"} <= names(result, "consequences")
    assert result["map_e"] == {
        "service": "v6plus",
        "address": cases.V6PLUS_WAN,
        "psid": 97,
        "psid_offset": 4,
        "psid_length": 8,
        "count": 240,
        "rule_source": "table",
        "rule_date": result["map_e"]["rule_date"],
        "by": ["rule", "ports"],
    }


def test_two_forwards() -> None:
    assert "two_forwards" in names(judge(line_named("map_e_second_router").readings), "consequences")
    assert "two_forwards" in names(judge(line_named("double_nat_open").readings), "consequences")
    assert "two_forwards" not in names(judge(line_named("map_e_v6plus").readings), "consequences")


@pytest.mark.parametrize("flaw", ["temporary", "deprecated", "tentative"])
def test_only_a_lasting_ipv6_address_is_named(flaw: str) -> None:
    bad = cases.row("eth0", "2a0d:5600:8:1::bad", **{flaw: True})
    ula = cases.row("eth0", "fd00::1")
    assert judge([cases.interfaces(bad, ula)])["host_ipv6_address"] is None
    assert judge([cases.interfaces(bad, ula)])["inbound_ipv6"] == "blocked"
    good = cases.row("eth0", cases.V6, dynamic=True)
    assert judge([cases.interfaces(bad, good)])["host_ipv6_address"] == cases.V6


def test_translated_ipv6_is_noticed() -> None:
    result = judge([cases.lan(), *cases.stun("2a0d:5600:9::1")])
    assert "ipv6_translated" in names(result, "contradictions")


def test_history() -> None:
    entries = [
        {"time": "2026-01-01T00:00:00Z", "ipv4": "44.1.1.1", "ipv6_prefix": "2a0d::/56"},
        {"time": "2026-01-11T00:00:00Z", "ipv4": "44.1.1.2", "ipv6_prefix": "2a0d::/56"},
        {"time": "rubbish", "ipv4": "44.1.1.9"},
    ]
    readings = [*line_named("nat_upnp").readings, Reading("history", "file", {"entries": entries})]
    found = judge(readings, now="2026-01-23T12:00:00Z")["address_stability"]
    assert found["ipv4"] == {"stable_days": 12, "changes": 1, "observed_days": 22}
    assert found["ipv6_prefix"] == {"stable_days": 22, "changes": 0, "observed_days": 22}
    assert (found["kind"], found["evidence"]) == ("dynamic", "history")
    told = judge([*readings, Reading("told", "user", {"static": True})])["address_stability"]
    assert (told["kind"], told["evidence"]) == ("static", "told")


def test_readings_come_back_with_their_errors() -> None:
    result = judge([Reading("stun", "stun a", error="no answer", time="2026-01-01T00:00:00Z", elapsed=1.23456)])
    assert result["readings"] == [{"kind": "stun", "source": "stun a", "value": None, "error": "no answer", "time": "2026-01-01T00:00:00Z", "elapsed": 1.235}]


def test_what_to_remember() -> None:
    now = "2026-01-23T12:00:00Z"
    assert judge(line_named("nat_upnp").readings, now=now)["observation"] == {"time": now, "ipv4": cases.WAN, "ipv6_prefix": "2a0d:5600:8:1::/64"}
    assert judge(line_named("cgn_6598").readings, now=now)["observation"]["ipv4"] is None
    assert judge([], now=now)["observation"] == {"time": now, "ipv4": None, "ipv6_prefix": None}


def test_memory_keeps_changes_and_the_last_look() -> None:
    entries: list[dict[str, Any]] = []
    for day, address in enumerate(["44.1.1.1"] * 5 + ["44.1.1.2"] * 5, start=1):
        entries = remember(entries, f"2026-01-{day:02}T00:00:00Z", address, None)
    assert [(entry["time"][8:10], entry["ipv4"]) for entry in entries] == [("01", "44.1.1.1"), ("05", "44.1.1.1"), ("06", "44.1.1.2"), ("10", "44.1.1.2")]
    found = judge([Reading("history", "file", {"entries": entries})], now="2026-01-12T00:00:00Z")["address_stability"]["ipv4"]
    assert found == {"stable_days": 6, "changes": 1, "observed_days": 11}
    for day in range(600):
        entries = remember(entries, f"2027-01-01T00:{day % 60:02}:00Z", f"44.2.{day // 250}.{day % 250}", None)
    assert len(entries) == 500


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_a_wrong_verdict_would_be_noticed(line: Line) -> None:
    """The twin of the tests above: what they call right or weaker is not everything."""
    right = judge(line.readings)
    truth = truth_of(line)
    for verdict in INBOUND:
        wrong = {**right, "verdict": verdict, "inbound_ipv4": next(iter(INBOUND[verdict])), "ports": [{"first": 1, "last": 2}]}
        allowed = verdict == truth or truth in WEAKER.get(verdict, ())
        assert bool(right_or_weaker(line, wrong)) is not allowed, verdict
    reachable = {**right, "inbound_ipv4": "open"}
    assert (right_or_weaker(line, reachable) == "") is ("open" in INBOUND.get(truth, ()))


SHARED = ["well_known_ports_impossible", "address_shared"]
DHCP = "lan_address_dynamic"


@pytest.mark.parametrize(
    ("name", "consequences", "questions", "wan"),
    [
        ("public_static", [], [], cases.WAN),
        ("public_dhcp", ["no_ipv6"], [], cases.WAN),
        ("nat_upnp", ["one_forward", DHCP], [], cases.WAN),
        ("nat_gateway_silent", [DHCP], ["type_wan_address"], None),
        ("nat_no_helpers", [DHCP], ["allow_outside"], cases.WAN),
        ("cgn_6598", ["no_inbound_ipv4", "ipv6_remains"], [], cases.SHARED_WAN),
        ("cgn_typed", ["no_inbound_ipv4", "ipv6_remains"], ["allow_outside"], cases.SHARED_WAN),
        ("cgn_own_address", ["no_inbound_ipv4", "no_ipv6"], [], "100.80.1.1"),
        ("cgn_rfc1918", [DHCP], ["second_router"], "10.20.30.40"),
        ("cgn_any_ttl_squat", [DHCP], ["prove_from_outside"], "25.1.2.3"),
        ("double_nat_open", ["two_forwards", DHCP], [], cases.WAN),
        ("double_nat_then_cgn", ["no_inbound_ipv4", "ipv6_remains"], [], cases.SECOND_WAN),
        ("map_e_v6plus", [*SHARED, DHCP, "ipv6_remains"], [], cases.V6PLUS_WAN),
        ("map_e_no_ipv6", [*SHARED, DHCP, "no_ipv6"], [], cases.WAN),
        ("map_e_second_router", [*SHARED, "two_forwards", DHCP, "ipv6_remains"], [], cases.V6PLUS_WAN),
        ("map_e_no_helpers", [*SHARED, DHCP, "ipv6_remains"], ["allow_outside"], cases.V6PLUS_WAN),
        ("map_e_first_block", [DHCP], ["allow_outside"], cases.WAN),
        ("ds_lite_silent", [DHCP, "service_hint"], ["type_wan_address", "second_router"], None),
        ("one_to_one", [], [], cases.WAN),
        ("one_to_one_unproved", [DHCP], ["type_wan_address", "second_router"], None),
        ("vpn_default", ["look_past_the_tunnel", "no_ipv6"], ["name_interface"], cases.WAN),
        ("offline", ["no_inbound_ipv4", "no_ipv6"], [], None),
        ("portal", [DHCP, "no_ipv6", "captive_portal"], ["type_wan_address", "allow_outside"], None),
        ("nothing", [], ["type_wan_address", "allow_outside"], None),
    ],
)
def test_what_follows_and_what_is_asked(name: str, consequences: list[str], questions: list[str], wan: str | None) -> None:
    result = judge(line_named(name).readings)
    assert [one["name"] for one in result["consequences"]] == consequences
    assert [one["name"] for one in result["questions"]] == questions
    assert result["wan_address"] == wan
    assert all(one["text"] for key in ("consequences", "questions") for one in result[key])


def test_who_is_believed() -> None:
    rows = judge(line_named("nat_http_proxy").readings)["mapped_addresses"]
    assert [(row["address"], row["believed"]) for row in rows] == [(cases.WAN, True), ("44.7.7.7", False)]


def test_the_address_that_the_route_names_is_the_one_that_is_used() -> None:
    rows = [cases.row("eth0", "192.168.1.9"), cases.row("eth0", "192.168.1.10")]
    for source in ("192.168.1.9", "192.168.1.10"):
        routes = [cases.route("eth0", source, cases.ROUTER)]
        assert judge([cases.interfaces(*rows, routes=routes)])["host_address"] == source


def test_a_carriers_address_further_on_counts() -> None:
    far = cases.path(cases.answer(1, cases.ROUTER), cases.answer(2, "44.0.0.1"), cases.answer(3, cases.CARRIER_HOP))
    beyond = cases.hops(cases.CARRIER_OUT, cases.answer(1, cases.ROUTER))
    result = judge([cases.lan(), *cases.stun(cases.CARRIER_OUT), beyond, far, cases.ports(cases.random_ports())])
    assert result["verdict"] == "cgn"
