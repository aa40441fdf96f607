# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A trial from plan to verdict: what is set up, what is asked, and every way that what came of it can be read."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._probe._responder_control import check_listeners
from ansible_collections.homeserver.hardening.plugins.plugin_utils import _trial
from ansible_collections.homeserver.hardening.plugins.plugin_utils._inbound import STATES

WAN = "44.1.1.1"
OWN6 = "2a0d:1::10"
OUTSIDE = "45.2.2.2"
OUTSIDE6 = "2a0e:2::2"
HOST = "192.168.1.10"


def service(name: str, port: int, external: int | None = None, protocol: str = "tcp", **families: str) -> dict[str, Any]:
    address = {"ipv4": WAN, "ipv6": OWN6}
    rows = {family: {"path": path, "address": address[family]} for family, path in (families or {"ipv4": "port_mapping"}).items()}
    return {"name": name, "protocol": protocol, "port": port, "external_port": external or port, "families": rows}


def plan(*services: dict[str, Any], **line: Any) -> dict[str, Any]:
    return {"line": {"wan_address": WAN, **line}, "services": list(services)}


def router(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"available": True, "reason": "", "mappings": list(rows), **more}


def entry(port: int, owner: str, internal: int | None = None, protocol: str = "tcp", client: str = HOST) -> dict[str, Any]:
    place = {"internal_client": client, "internal_port": internal or port}
    return {"protocol": protocol, "external_port": port, **place, "description": "camera", "owner": owner}


WEB = service("web", 80)
ALT = service("alt", 443, 8443)
WG = service("wg", 51820, protocol="udp")
VANTAGES = [
    {
        "host": "vps1",
        "targets": [
            {"host": WAN, "ports": [80], "protocol": "tcp", "families": ["ipv4"]},
            {"host": WAN, "ports": [8443], "protocol": "tcp", "families": ["ipv4"]},
            {"host": WAN, "ports": [51820], "protocol": "udp", "families": ["ipv4"]},
        ],
        "sources": [OUTSIDE, OUTSIDE6],
    }
]


# ---- setting up ---------------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_reached_is_not_tried() -> None:
    one = service("web", 80, ipv4="port_mapping", ipv6="direct")
    one["families"]["ipv4"] = {"path": "impossible", "address": None}
    two = service("alt", 443)
    two["families"]["ipv4"]["address"] = None
    assert [(path.service, path.family) for path in _trial.make_paths(plan(one, two))] == [("web", "ipv6")]
    assert _trial.make_paths({}) == []


def test_a_pinhole_is_not_taken_for_a_forwarding() -> None:
    pinhole = {**entry(80, "ours", client=OWN6), "family": "ipv6", "enabled": True}
    path = _trial.set_up(_trial.make_paths(plan(WEB)), router(pinhole))[0]
    assert (path.refused, bool(path.mapping)) == ("", True)
    path = _trial.set_up(_trial.make_paths(plan(WEB)), router({**entry(80, "foreign"), "family": "ipv4"}))[0]
    assert "camera" in path.refused


def test_each_port_gets_a_mapping_and_each_protocol_one_control() -> None:
    paths = _trial.set_up(_trial.make_paths(plan(WEB, ALT, WG)), router())
    assert [(row["name"], row["protocol"], row["external_port"], row["port"], row["lease"]) for row in _trial.mappings(paths, 120)] == [
        ("trial-1", "tcp", 80, 80, 120),
        ("trial-2", "tcp", 8443, 443, 120),
        ("trial-3", "udp", 51820, 51820, 120),
        ("trial-4", "tcp", 20000, 20000, 120),
        ("trial-5", "udp", 20001, 20001, 120),
    ]
    assert [(row["name"], row["port"], row["families"]) for row in _trial.listeners(paths)] == [
        ("web", 80, ["ipv4"]),
        ("alt", 443, ["ipv4"]),
        ("wg", 51820, ["ipv4"]),
        ("control-tcp", 20000, ["ipv4"]),
        ("control-udp", 20001, ["ipv4"]),
    ]
    asked = _trial.targets(paths, VANTAGES)
    assert [(row["host"], row["ports"], row["protocol"], row["families"]) for row in asked[0]["targets"]] == [
        (WAN, [80], "tcp", ["ipv4"]),
        (WAN, [8443], "tcp", ["ipv4"]),
        (WAN, [51820], "udp", ["ipv4"]),
        (WAN, [20000], "tcp", ["ipv4"]),
        (WAN, [20001], "udp", ["ipv4"]),
    ]


def test_what_the_start_knows_survives_being_written() -> None:
    paths = _trial.set_up(_trial.make_paths(plan(WEB, ALT, WG)), router())
    assert _trial.from_data(json.loads(json.dumps(_trial.as_data(paths)))) == paths


def test_a_line_without_a_router_needs_no_mapping_but_a_control() -> None:
    paths = _trial.set_up(_trial.make_paths(plan(service("web", 80, ipv4="direct", ipv6="direct"))), None)
    assert _trial.mappings(paths, 120) == []
    assert [(path.service, path.family, path.address, path.external_port) for path in paths] == [
        ("web", "ipv4", WAN, 80),
        ("web", "ipv6", OWN6, 80),
        ("control-tcp", "ipv4", WAN, 20000),
        ("control-tcp", "ipv6", OWN6, 20000),
    ]
    assert _trial.listeners(paths) == [
        {"name": "web", "protocol": "tcp", "port": 80, "families": ["ipv4", "ipv6"]},
        {"name": "control-tcp", "protocol": "tcp", "port": 20000, "families": ["ipv4", "ipv6"]},
    ]


def test_ipv6_is_never_mapped() -> None:
    paths = _trial.set_up(_trial.make_paths(plan(service("web", 80, ipv4="port_mapping", ipv6="direct"))), router())
    assert [(path.service, path.family, path.mapping) for path in paths] == [
        ("web", "ipv4", "trial-1"),
        ("web", "ipv6", ""),
        ("control-tcp", "ipv4", "trial-2"),
        ("control-tcp", "ipv6", ""),
    ]


def test_two_outer_ports_of_one_service_share_a_listener() -> None:
    paths = _trial.set_up(_trial.make_paths(plan(service("https", 443), ALT)), router())
    rows = _trial.listeners(paths)
    check_listeners(rows)
    assert [row["port"] for row in rows] == [443, 20000]
    assert len(_trial.mappings(paths, 120)) == 3


@pytest.mark.parametrize("owner", ["ours", "untagged_ours"])
def test_what_leads_here_already_stays_as_it_is(owner: str) -> None:
    paths = _trial.set_up(_trial.make_paths(plan(WEB)), router(entry(80, owner)))
    assert [(path.service, path.mapping, path.refused) for path in paths] == [("web", "", ""), ("control-tcp", "trial-1", "")]


@pytest.mark.parametrize("change", [{"enabled": False}, {"internal_client": "192.168.1.77"}])
def test_what_is_not_in_force_blames_nobody(change: dict[str, Any]) -> None:
    gateway = {"gateway": {"source_address": HOST}}
    good = _trial.set_up(_trial.make_paths(plan(WEB)), router({**entry(80, "ours"), "enabled": True}, **gateway))
    assert good[0].refused == ""
    paths = _trial.set_up(_trial.make_paths(plan(WEB)), router({**entry(80, "ours"), **change}, **gateway))
    assert "not in force" in paths[0].refused
    assert [path.mapping for path in paths] == [""]


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (entry(80, "foreign", client="192.168.1.20"), "192.168.1.20 port 80, described as 'camera'"),
        (entry(80, "homeserver", client="192.168.1.20"), "192.168.1.20"),
        # Ours, but another service's: to change it would break that one.
        (entry(80, "ours", 8080), "192.168.1.10 port 8080"),
        (entry(80, "untagged_ours", 8080), "192.168.1.10 port 8080"),
    ],
)
def test_what_the_router_gives_to_somebody_else_is_not_asked_for(row: dict[str, Any], word: str) -> None:
    paths = _trial.set_up(_trial.make_paths(plan(WEB, WG)), router(row))
    assert word in paths[0].refused
    assert [path.service for path in paths if path.control] == ["control-udp"]
    assert [port for target in _trial.targets(paths, VANTAGES)[0]["targets"] for port in target["ports"]] == [51820, 20000]
    assert [row["name"] for row in _trial.listeners(paths)] == ["wg", "control-udp"]
    found = _trial.judge(paths, {"vps1": [OUTSIDE]}, {}, {}, WAN)[0]
    assert (found["state"], found["notes"], found["vantage"]) == ("untested", ["mapping_refused"], None)
    assert word in found["reason"]


@pytest.mark.parametrize(
    ("answer", "word"),
    [({"available": False, "reason": "nobody answered"}, "nobody answered"), ({"failed": True, "msg": "broken"}, "broken"), ({}, "no router was found")],
)
def test_without_a_mapping_nothing_of_it_is_tried(answer: dict[str, Any], word: str) -> None:
    paths = _trial.set_up(_trial.make_paths(plan(WEB)), answer)
    assert [word in path.refused for path in paths] == [True]
    assert _trial.targets(paths, VANTAGES) == _trial.mappings(paths, 120) == _trial.listeners(paths) == []


def test_refused_late() -> None:
    paths = _trial.refuse(_trial.set_up(_trial.make_paths(plan(WEB, WG)), router()), {"trial-1": "the router said no"})
    assert [(path.service, path.mapping, path.refused) for path in paths][0] == ("web", "", "the router said no")
    assert [row["name"] for row in _trial.mappings(paths, 120)] == ["trial-2", "trial-3", "trial-4"]
    # The control of TCP has nothing to be compared with; only that of UDP is asked for.
    assert [port for target in _trial.targets(paths, VANTAGES)[0]["targets"] for port in target["ports"]] == [51820, 20001]


def test_the_control_is_nobodys() -> None:
    taken = [service("a", 20000), service("b", 20001, 20002)]
    paths = _trial.set_up(_trial.make_paths(plan(*taken)), router(entry(20003, "foreign"), entry(20004, "ours", protocol="udp")))
    assert [path.external_port for path in paths if path.control] == [20005]


def test_the_control_is_one_of_the_ports_that_the_line_has() -> None:
    line = {"inbound_ipv4": "port_set", "ports": [{"first": 5648, "last": 5650}, {"first": 9744, "last": 9745}]}
    paths = _trial.set_up(_trial.make_paths(plan(service("web", 80, 5648), WG)), router(), line, max)
    assert [path.external_port for path in paths if path.control] == [9745, 9744]
    whole = {"inbound_ipv4": "needs_forward", "ports": [{"first": 1, "last": 65535}]}
    assert next(path for path in _trial.set_up(_trial.make_paths(plan(WEB)), router(), whole) if path.control).external_port == 20000
    # Not one left: then there is none, and the verdict says so.
    full = {"inbound_ipv4": "port_set", "ports": [{"first": 5648, "last": 5648}]}
    assert not [path for path in _trial.set_up(_trial.make_paths(plan(service("web", 80, 5648))), router(), full) if path.control]


def test_vantages_ask_what_the_plan_wants_of_them() -> None:
    six = {"host": "vps2", "targets": [{"host": OWN6, "ports": [80], "protocol": "tcp", "families": ["ipv6"]}], "sources": [OUTSIDE6]}
    paths = _trial.set_up(_trial.make_paths(plan(service("web", 80, ipv4="port_mapping", ipv6="direct"))), router())
    asked = {row["host"]: [(one["host"], one["ports"][0]) for one in row["targets"]] for row in _trial.targets(paths, [*VANTAGES, six])}
    assert asked == {"vps1": [(WAN, 80), (WAN, 20000)], "vps2": [(OWN6, 80), (OWN6, 20000)]}


# ---- judging ------------------------------------------------------------------------------------------------------------------------

CONTROL = {"tcp": 20000, "udp": 20001}


def probe(port: int, state: str, verified: bool | None = None, protocol: str = "tcp", seen_as: str = OUTSIDE, address: str = WAN) -> dict[str, Any]:
    return {
        "address": address,
        "family": "ipv6" if ":" in address else "ipv4",
        "protocol": protocol,
        "port": port,
        "state": state,
        "nonce_verified": verified if state == "open" else None,
        "seen_as": seen_as if verified else None,
        "reason": {"errno": None, "icmp": None},
    }


def heard(port: int, arrived: int | None, mode: str = "bound", protocol: str = "tcp", family: str = "ipv4") -> dict[str, Any]:
    return {"name": "x", "protocol": protocol, "port": port, "family": family, "mode": mode, "reason": "why" if mode == "none" else None, "arrived": arrived}


GOOD_CONTROL = (probe(20000, "open", True), heard(20000, 1))
BAD_CONTROL = (probe(20000, "filtered"), heard(20000, 0))


def judge(
    row: dict[str, Any] | None,
    listener: dict[str, Any] | None,
    control: tuple[dict[str, Any], dict[str, Any]] | None = None,
    sources: list[str] | None = None,
    one: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Judge one service by what one vantage and this host saw."""
    paths = _trial.set_up(_trial.make_paths(plan(one or WEB)), router())
    rows = [item for item in (row, control and control[0]) if item]
    listeners = [item for item in (listener, control and control[1]) if item]
    vantages = {"vps1": [OUTSIDE, OUTSIDE6] if sources is None else sources}
    return _trial.judge(paths, vantages, {"vps1": {"probes": rows}}, {"listeners": listeners}, WAN)[0]


@pytest.mark.parametrize(
    ("row", "listener", "control", "state", "notes"),
    [
        # As in the table of the design: listening here, the view from outside, seen here.
        (probe(80, "open", True), heard(80, 1, "redirected"), GOOD_CONTROL, "published", []),
        (probe(80, "open", False), heard(80, 0, "redirected"), GOOD_CONTROL, "another_device", ["router_page"]),
        (probe(80, "filtered"), heard(80, 3, "redirected"), GOOD_CONTROL, "host_firewall", ["or_way_back"]),
        (probe(80, "filtered"), heard(80, 0, "redirected"), GOOD_CONTROL, "closed_before_home", ["router_may_keep_it"]),
        (probe(80, "filtered"), heard(80, 0, "redirected"), BAD_CONTROL, "not_forwarded", ["line_or_forward"]),
        (probe(80, "closed"), heard(80, 0, "redirected"), BAD_CONTROL, "not_forwarded", ["router_refuses"]),
        (probe(80, "closed"), heard(80, 1, "redirected"), GOOD_CONTROL, "host_refuses", ["address_or_family"]),
        # Nobody listens: the responder stands in, so that what the design calls unknown can be told.
        (probe(80, "open", True), heard(80, 1), GOOD_CONTROL, "published", ["no_service_yet"]),
        (probe(80, "filtered"), heard(80, 0), BAD_CONTROL, "not_forwarded", ["line_or_forward"]),
        # A filter of this host that drops everything drops the control, too; that it arrived tells all the same that the way is good.
        (probe(80, "filtered"), heard(80, 2), (probe(20000, "filtered"), heard(20000, 2)), "host_firewall", ["or_way_back"]),
        (probe(80, "filtered"), heard(80, 0), (probe(20000, "filtered"), heard(20000, 2)), "closed_before_home", ["router_may_keep_it"]),
        # No control, or one that could not be.
        (probe(80, "filtered"), heard(80, 0), None, "not_forwarded", ["no_control"]),
        (probe(80, "filtered"), heard(80, 0), (probe(20000, "filtered"), heard(20000, 0, "none")), "not_forwarded", ["no_control"]),
        # The packet filter could not count.
        (probe(80, "filtered"), heard(80, None), GOOD_CONTROL, "closed_before_home", ["router_may_keep_it"]),
        (probe(80, "filtered"), heard(80, None), BAD_CONTROL, "unknown", ["watch_arrival"]),
        # Nobody could answer: never a verdict on the line.
        (probe(80, "open", False), heard(80, 1, "none"), GOOD_CONTROL, "untested", ["no_responder"]),
        (probe(80, "filtered"), heard(80, 0, "none"), GOOD_CONTROL, "untested", ["no_responder"]),
        (probe(80, "closed"), heard(80, 1, "none"), GOOD_CONTROL, "untested", ["no_responder"]),
        (probe(80, "filtered"), None, None, "untested", ["no_responder"]),
        # It ended too soon, but what it had proved remains proved.
        (probe(80, "open", True), None, None, "published", []),
        (None, heard(80, 0), None, "untested", ["no_vantage"]),
        (probe(80, "no_route"), heard(80, 0), None, "untested", ["vantage_cannot_ask"]),
    ],
)
def test_table(
    row: dict[str, Any] | None, listener: dict[str, Any] | None, control: tuple[dict[str, Any], dict[str, Any]] | None, state: str, notes: list[str]
) -> None:
    found = judge(row, listener, control)
    assert (found["state"], found["notes"]) == (state, notes)
    assert found["vantage"] == (None if row is None else "vps1")


def test_worm_ports_are_named() -> None:
    found = judge(probe(445, "filtered"), heard(445, 0), GOOD_CONTROL, one=service("smb", 445))
    assert (found["state"], found["sure"], found["notes"]) == ("closed_before_home", False, ["worm_port", "vantage_may_keep_it"])


@pytest.mark.parametrize("seen_as", ["192.168.1.1", "192.168.1.33", "100.64.3.4", WAN])
def test_a_vantage_behind_the_same_nat_measures_the_hairpin(seen_as: str) -> None:
    found = judge(probe(80, "open", True, seen_as=seen_as), heard(80, 1), sources=["192.168.1.33"])
    assert (found["state"], found["notes"]) == ("untested", ["hairpin"])
    # Also where only the control came back.
    control = (probe(20000, "open", True, seen_as=seen_as), heard(20000, 1))
    found = judge(probe(80, "filtered"), heard(80, 0), control, sources=["192.168.1.33"])
    assert (found["state"], found["notes"]) == ("untested", ["hairpin"])


@pytest.mark.parametrize("state", ["open", "closed", "filtered", "rejected"])
def test_of_a_vantage_that_may_be_inside_only_a_proof_counts(state: str) -> None:
    found = judge(probe(80, state, False), heard(80, 0), BAD_CONTROL, sources=["192.168.7.2"])
    assert (found["state"], found["notes"]) == ("untested", ["vantage_behind_nat"])
    found = judge(probe(80, "open", True), heard(80, 0), BAD_CONTROL, sources=["192.168.7.2"])
    assert found["state"] == "published"


def test_a_vantage_that_comes_from_where_nobody_expected_it_is_not_counted_against_the_line() -> None:
    """Its packets were not counted, for nobody knew them; the control tells that."""
    control = (probe(20000, "open", True, seen_as="45.9.9.9"), heard(20000, 0))
    found = judge(probe(80, "filtered"), heard(80, 0), control)
    assert (found["state"], found["notes"]) == ("untested", ["vantage_behind_nat"])


def test_datagrams_are_known_by_their_code_word() -> None:
    control = (probe(20000, "open", True, "udp"), heard(20000, 1, protocol="udp"))
    found = judge(probe(51820, "open_or_filtered", protocol="udp"), heard(51820, 2, protocol="udp"), control, one=WG)
    assert found["state"] == "host_firewall"
    found = judge(probe(51820, "open_or_filtered", protocol="udp"), heard(51820, 0, protocol="udp"), control, one=WG)
    assert (found["state"], found["sure"]) == ("closed_before_home", True)


def two(first: dict[str, Any], second: dict[str, Any], arrived: int, control: tuple[dict[str, Any], dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Judge 443 and 8443 of the router, which lead to one port of this host."""
    paths = _trial.set_up(_trial.make_paths(plan(service("https", 443), ALT)), router())
    rows = {"vps1": {"probes": [first, second, control[0]]}}
    found = _trial.judge(paths, {"vps1": [OUTSIDE]}, rows, {"listeners": [heard(443, arrived), control[1]]}, WAN)
    return [(row["state"], row["notes"]) for row in found]


def test_packets_of_another_port_are_not_taken_for_this_ones() -> None:
    """Planted fault: with the count alone, 443 would have come as far as the host."""
    assert two(probe(443, "filtered"), probe(8443, "open", True), 1, GOOD_CONTROL) == [
        ("closed_before_home", ["router_may_keep_it"]),
        ("published", ["no_service_yet"]),
    ]
    assert two(probe(443, "filtered"), probe(8443, "filtered"), 0, GOOD_CONTROL)[0][0] == "closed_before_home"
    # One of both came, and nobody knows which: nobody is blamed.
    assert two(probe(443, "filtered"), probe(8443, "filtered"), 2, GOOD_CONTROL) == [("unknown", ["watch_arrival"])] * 2


def test_several_vantages() -> None:
    paths = _trial.set_up(_trial.make_paths(plan(WEB)), router())
    views = {"gone": {"msg": "no way in", "unreachable": True}, "deaf": {"probes": [probe(80, "no_route")]}, "far": {"probes": [probe(80, "filtered")]}}
    seen = {"listeners": [heard(80, 0)]}
    vantages = {"gone": [OUTSIDE], "deaf": [OUTSIDE], "far": [OUTSIDE]}
    found = _trial.judge(paths, vantages, views, seen, WAN)[0]
    assert (found["state"], found["vantage"]) == ("not_forwarded", "far")
    views["good"] = {"probes": [probe(80, "open", True)]}
    found = _trial.judge(paths, {**vantages, "good": [OUTSIDE]}, views, seen, WAN)[0]
    assert (found["state"], found["vantage"]) == ("published", "good")
    found = _trial.judge(paths, {"gone": [OUTSIDE]}, views, seen, WAN)[0]
    assert (found["state"], found["notes"], found["reason"], found["vantage"]) == ("untested", ["no_vantage"], "no way in", None)
    assert _trial.judge(paths, {}, {}, seen, WAN)[0]["notes"] == ["no_vantage"]


@pytest.mark.parametrize("reason", ["check_mode", "no_vantage", "nothing_planned"])
def test_what_was_not_tried_is_untested(reason: str) -> None:
    found = _trial.judge(_trial.make_paths(plan(WEB, WG)), {"vps1": [OUTSIDE]}, {}, {}, WAN, reason)
    assert [(row["service"], row["state"], row["notes"]) for row in found] == [("web", "untested", [reason]), ("wg", "untested", [reason])]


def test_results_of_a_loop() -> None:
    rows = [{"item": {"host": "a"}, "probes": [1]}, {"item": {"host": "b"}, "unreachable": True, "msg": "x"}, {"item": "odd"}, "odd"]
    assert _trial.by_vantage({"results": rows}) == {"a": rows[0], "b": rows[1]}
    assert _trial.by_vantage(None) == _trial.by_vantage({}) == _trial.by_vantage({"skipped": True}) == {}


def test_never_reachable_without_the_nonce_and_nobody_blamed_without_a_control() -> None:
    """Over everything that can be seen, and some that cannot."""
    words = ["open", "closed", "filtered", "rejected", "host_unreachable", "no_route", "error", "new"]
    counts, modes, maybe = [None, 0, 2], ["bound", "redirected", "none"], [True, False]
    wholly = itertools.product(words, maybe, modes, counts, [None, GOOD_CONTROL, BAD_CONTROL], [[OUTSIDE], ["10.0.0.2"], []], [OUTSIDE, "10.0.0.2", WAN])
    for state, verified, mode, count, control, sources, seen_as in wholly:
        found = judge(probe(80, state, verified, seen_as=seen_as), heard(80, count, mode), control, sources)
        assert found["state"] in STATES
        if found["state"] == "published":
            assert state == "open"
            assert verified
            assert seen_as == OUTSIDE
        elif state == "open" and verified:
            assert found["notes"] == ["hairpin"]
        if found["state"] == "closed_before_home":
            assert control is GOOD_CONTROL
            assert not count
        if found["state"] not in ("published", "untested"):
            assert mode != "none"
            assert sources == [OUTSIDE] or control is GOOD_CONTROL


def test_a_control_is_no_service() -> None:
    paths = [replace(path, control=True) for path in _trial.make_paths(plan(WEB))]
    assert _trial.judge(paths, {"vps1": [OUTSIDE]}, {}, {}, WAN) == []
