# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each thing that can be wrong with a line is complained of, and nothing that is right. No lab needed."""

from __future__ import annotations

import copy
from typing import Any

import judging
import plants
import pytest


def line(**more: Any) -> dict[str, Any]:
    return {"verdict": "nat_single", "inbound_ipv4": "needs_forward", "verdict_reasons": ["nat_single", "wan_seen"], "contradictions": [], **more}


def inbound(service: str, state: str, family: str = "ipv4") -> dict[str, Any]:
    return {"service": service, "family": family, "protocol": "tcp", "external_port": 80, "state": state}


def port(protocol: str, number: int, state: str, family: str = "ipv4") -> dict[str, Any]:
    return {"family": family, "protocol": protocol, "port": number, "state": state}


def finding(**more: Any) -> dict[str, Any]:
    """Return a line on which everything is right."""
    plain = {
        "line": "some",
        "seed": 7,
        "expect": {
            "line": {"verdict": "nat_single", "inbound_ipv4": "needs_forward", "reasons": ["wan_seen"]},
            "inbound": {"web": "published", "smtp": "closed_before_home", "web ipv6": "not_forwarded"},
            "egress": {"verdict": "restricted", "tcp 25": "dropped"},
        },
        "report": {
            "line": line(),
            "services": [],
            "inbound": [inbound("web", "published"), inbound("smtp", "closed_before_home"), inbound("web", "not_forwarded", "ipv6")],
        },
        "looks": [{"elapsed": 1.2, "line": line(readings=[{"elapsed": 1.0}, {"elapsed": 0.2}])}],
        "returncode": 0,
        "seconds": 5.0,
        "tasks": 9,
        "egress": {"verdict": "restricted", "ports": [port("tcp", 22, "open"), port("tcp", 25, "dropped")], "gre": {"state": "passed"}},
        "contacted": [["20.1.1.1", "udp", 3478], ["2a00::1", "tcp", 80]],
        "allowed": [["20.1.1.1", "udp", 3478, 3478], ["2a00:0::1", "tcp", 80, 80], ["20.1.1.1", "udp", 33434, 33466]],
        "outside": {"web": "open"},
        "left_behind": [],
    }
    return {**copy.deepcopy(plain), **more}


def said(found: dict[str, Any]) -> list[str]:
    return [str(one) for one in judging.complaints(found)]


def test_nothing_is_wrong() -> None:
    assert said(finding()) == []


def report(**more: Any) -> dict[str, Any]:
    return {"report": {**finding()["report"], **more}}


def egress(**more: Any) -> dict[str, Any]:
    return {"egress": {**finding()["egress"], **more}}


def looks(elapsed: float) -> dict[str, Any]:
    return {"looks": [{"elapsed": elapsed, "line": line(readings=[{"elapsed": 1.0}])}]}


PUBLISHED_IPV6 = [{"name": "a", "proof": [{"path": "proved", "family": "ipv6"}]}]
TWO_STATES = [*finding()["report"]["inbound"], inbound("smtp", "not_forwarded")]
WRONG = [
    (report(line=line(verdict="cgn")), "verdict: verdict is cgn, not nat_single (nat_single, wan_seen)"),
    (report(line=line(inbound_ipv4="unknown")), "verdict: inbound_ipv4 is unknown, not needs_forward (nat_single, wan_seen)"),
    (report(line=line(contradictions=[{"name": "wan_not_seen", "text": "T"}])), "verdict: contradictions are wan_not_seen, not none (T)"),
    (report(line=line(verdict_reasons=["x"])), "verdict: reasons are x, without wan_seen"),
    (report(line=None), "verdict: verdict is None, not nat_single (no reasons)"),
    (report(inbound=finding()["report"]["inbound"][:2]), "inbound: web ipv6 is nothing, not not_forwarded"),
    (report(inbound=[*finding()["report"]["inbound"], inbound("x", "unknown")]), "inbound: x is unknown, not nothing"),
    (report(inbound=TWO_STATES), "inbound: smtp is closed_before_home/not_forwarded, not closed_before_home"),
    ({"outside": {"web": "silent"}}, "safety: the report says that web can be reached, but a client outside finds it silent"),
    ({"outside": {}}, "safety: the report says that web can be reached, but a client outside finds it untried"),
    (report(services=PUBLISHED_IPV6), "safety: the report says that a ipv6 can be reached, but a client outside finds it untried"),
    (egress(verdict="open"), "egress: verdict is open, not restricted"),
    (egress(ports=[port("tcp", 22, "dropped"), port("tcp", 25, "dropped")]), "egress: tcp 22 is dropped, not open"),
    (egress(ports=[port("tcp", 22, "untested"), port("tcp", 25, "dropped")]), "egress: tcp 22 is untested, not open"),
    (egress(ports=[port("tcp", 22, "open"), port("tcp", 25, "open")]), "egress: tcp 25 is open, not dropped"),
    (egress(ports=[port("tcp", 22, "open")]), "egress: tcp 25 is nothing, not dropped"),
    (egress(ports=[*finding()["egress"]["ports"], port("tcp", 25, "open", "ipv6")]), "egress: tcp 25 ipv6 is open, not dropped"),
    (egress(gre={"state": "dropped"}), "egress: gre is dropped, not passed"),
    ({"egress": None}, "egress: verdict is nothing, not restricted"),
    ({"contacted": [["20.1.1.1", "tcp", 3478]]}, "destinations: the home sent tcp to 20.1.1.1 port 3478, which nobody configured"),
    ({"contacted": [["20.1.1.2", "udp", 3478]]}, "destinations: the home sent udp to 20.1.1.2 port 3478, which nobody configured"),
    ({"tasks": 11}, "cost: the diagnosis shows 11 tasks, more than 10"),
    ({"seconds": 12.1}, "cost: the diagnosis took 12.1 s, more than 12"),
    (looks(1.31), "cost: line_info took 1.31 s, though the slowest reading was there after 1.00 s"),
    ({"looks": []}, "run: line_info did not run"),
    ({"returncode": 2}, "run: the diagnosis ended with status 2"),
    ({"left_behind": ["rules of router are not as before"]}, "run: left behind: rules of router are not as before"),
    ({"error": "LabError: x"}, "run: LabError: x"),
    ({"expect": {}}, "verdict: the line's file expects nothing of the line, so there is nothing to compare with"),
]


@pytest.mark.parametrize(("more", "complaint"), WRONG, ids=[text[:60] for _more, text in WRONG])
def test_a_fault_is_complained_of(more: dict[str, Any], complaint: str) -> None:
    assert complaint in said(finding(**more))


@pytest.mark.parametrize(("more", "complaint"), [row for row in WRONG if "error" not in row[0] and "expect" not in row[0]])
def test_and_nothing_else_is(more: dict[str, Any], complaint: str) -> None:
    assert {text.split(":")[0] for text in said(finding(**more))} == {complaint.split(":")[0]}


def test_a_line_that_lets_nothing_out() -> None:
    """There the file names only what is not plain silence."""
    expect = {**finding()["expect"], "egress": {"verdict": "captive_portal", "tcp 80": "intercepted"}}
    rows = [port("tcp", 80, "intercepted"), port("tcp", 25, "dropped")]
    found = finding(expect=expect, egress={"verdict": "captive_portal", "ports": rows, "gre": {"state": "unknown"}})
    assert said(found) == []
    rows[1]["state"] = "open"
    assert said(found) == ["egress: tcp 25 is open, not not open"]


def test_a_line_without_ipv4_has_no_gre() -> None:
    rows = [port("tcp", 22, "open", "ipv6")]
    found = finding(expect={**finding()["expect"], "egress": {}}, egress={"verdict": "open", "ports": rows, "gre": {"state": "untested"}})
    assert said(found) == []


def test_a_file_that_says_nothing_of_inbound_wants_no_rows() -> None:
    expect = {name: value for name, value in finding()["expect"].items() if name != "inbound"}
    assert "inbound: web is published, not nothing" in said(finding(expect=expect))
    assert said(finding(expect=expect, **report(inbound=[]))) == []


def test_matrix() -> None:
    rows = [("cgn", "cgn"), ("cgn", "cgn"), ("nat_single", "cgn"), ("cgn", "offline")]
    assert judging.matrix(rows, "verdict") == [
        "verdict     cgn  nat_single  offline",
        "cgn           2           .        1",
        "nat_single    1           .        .",
    ]
    assert judging.matrix([], "inbound") == ["inbound: nothing"]


def test_a_line_that_could_not_be_looked_at_is_in_the_matrix() -> None:
    assert judging.pairs(finding(error="x"), "verdict") == [("nat_single", "nothing")]
    assert judging.pairs({"error": "x"}, "verdict") == [("nothing", "nothing")]
    assert judging.pairs(finding(error="x"), "egress") == []


@pytest.mark.parametrize("name", [name for name, plant in plants.PLANTS.items() if plant.change])
def test_a_planted_fault_of_what_was_found_is_noticed(name: str) -> None:
    plant = plants.PLANTS[name]
    found = finding()
    assert plant.change is not None
    plant.change(found)
    assert {one.about for one in judging.complaints(found)} == {plant.about} | ({"inbound"} if name == "published_forced" else set())


def test_planted_faults_of_the_lab_are_for_the_line_that_is_planted() -> None:
    lab = {
        "lab_expect": {"inbound": {"web": "closed_before_home", "alt": "published"}},
        "lab_services": [{"name": "web", "protocol": "tcp", "port": 80}, {"name": "alt", "protocol": "tcp", "port": 443, "external_port": 8443}],
        "lab_internet_address": "20.1.1.1",
    }
    scripts = {name: plant.scripts(lab) for name, plant in plants.PLANTS.items() if plant.scripts}
    assert "tcp dport 8443 drop" in scripts["port_filter"]["isp"]
    assert "20.1.1.1/9" in scripts["foreign_traffic"]["server"]
    assert "flush chain" in scripts["dnat_removed"]["router"]
