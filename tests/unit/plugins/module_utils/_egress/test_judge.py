# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is let out, by table."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._egress._gre import classify
from ansible_collections.homeserver.hardening.plugins.module_utils._egress._judge import judge, port_row, verdict
from ansible_collections.homeserver.hardening.plugins.module_utils._egress._survey import TCP_PORTS, UDP_PORTS

GRE = {"state": "passed", "by": None, "reason": ""}


def probe(protocol: str, port: int, state: str = "open", verified: bool | None = True, family: str = "ipv4", sender: str | None = None) -> dict[str, Any]:
    seen = "44.1.1.1" if state == "open" and verified else None
    found = {"family": family, "protocol": protocol, "port": port, "state": state, "nonce_verified": verified if state == "open" else None}
    return {**found, "seen_as": seen, "icmp_from": sender, "rtt_ms": 1.0}


def rows(changes: dict[tuple[str, int], tuple[str, bool | None]], others: tuple[str, bool | None] = ("open", True)) -> list[dict[str, Any]]:
    keys = [("tcp", port) for port in TCP_PORTS] + [("udp", port) for port in UDP_PORTS]
    return [port_row(probe(*key, *changes.get(key, others)), True) for key in keys]


@pytest.mark.parametrize(
    ("state", "verified", "listening", "expected"),
    [
        ("open", True, True, "open"),
        ("open", True, False, "open"),
        ("open", False, True, "intercepted"),
        ("open", None, True, "intercepted"),
        ("open", False, False, "untested"),
        ("closed", None, True, "closed"),
        ("closed", None, False, "untested"),
        ("rejected", None, True, "rejected"),
        ("filtered", None, True, "dropped"),
        ("filtered", None, False, "untested"),
        ("open_or_filtered", None, True, "dropped"),
        ("local_drop", None, True, "local"),
        ("local_reject", None, False, "local"),
        ("no_route", None, False, "no_route"),
        ("host_unreachable", None, True, "rejected"),
        ("error", None, True, "error"),
        ("something_new", None, True, "error"),
    ],
)
def test_port(state: str, verified: bool | None, listening: bool, expected: str) -> None:
    assert port_row(probe("tcp", 25, state, verified, sender="44.1.1.254"), listening)["state"] == expected


def test_who_forbids_it_is_named() -> None:
    assert port_row(probe("tcp", 25, "rejected", sender="44.1.1.254"), True)["by"] == "44.1.1.254"
    assert port_row(probe("tcp", 25, "closed", sender="44.1.1.254"), True)["by"] is None


DROPPED = ("filtered", None)
TAKEN = ("open", False)


@pytest.mark.parametrize(
    ("changes", "others", "word", "part"),
    [
        ({}, ("open", True), "open", ""),
        ({("tcp", 25): DROPPED}, ("open", True), "restricted", "tcp 25"),
        ({("tcp", 25): ("closed", None), ("udp", 500): DROPPED}, ("open", True), "restricted", "tcp 25, udp 500"),
        ({("tcp", 80): TAKEN}, ("open", True), "proxied", "tcp 80"),
        ({("tcp", 80): TAKEN}, DROPPED, "captive_portal", "sign in"),
        ({("tcp", 443): TAKEN}, ("closed", None), "captive_portal", ""),
        ({("tcp", 25): TAKEN}, DROPPED, "proxied", ""),
        ({}, DROPPED, "undetermined", "may be down"),
        ({}, ("closed", None), "undetermined", "may be down"),
        ({}, ("local_drop", None), "local_firewall", ""),
        ({}, ("no_route", None), "no_network", ""),
        ({("tcp", 22): ("open", True)}, ("no_route", None), "restricted", ""),
        ({}, ("error", None), "undetermined", "could be tested"),
    ],
)
def test_verdict(changes: Any, others: Any, word: str, part: str) -> None:
    found = verdict(rows(changes, others))
    assert found[0] == word and part in found[1]


def by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in result["tunnels"]}


def test_tunnels_on_an_open_network() -> None:
    found = by_name(judge(rows({}), GRE))
    assert {name: row["state"] for name, row in found.items()} == dict.fromkeys(("wireguard", "ipsec", "tls", "ssh", "pptp"), "works")
    assert [name for name, row in found.items() if row["recommended"]] == ["wireguard"]
    assert found["wireguard"]["ports"][0] == 51820 and found["wireguard"]["note"] == ""
    assert "obsolete" in found["pptp"]["note"]


def test_wireguard_on_another_port() -> None:
    found = by_name(judge(rows({("udp", 51820): DROPPED}), GRE))["wireguard"]
    assert (found["state"], found["ports"][0], found["note"]) == ("works", 443, "let the server listen on udp 443")


def test_without_udp_tls_is_recommended() -> None:
    found = by_name(judge(rows({("udp", port): DROPPED for port in UDP_PORTS}), GRE))
    assert (found["wireguard"]["state"], found["ipsec"]["state"]) == ("blocked", "blocked")
    assert found["tls"]["recommended"] and not found["wireguard"]["recommended"]


@pytest.mark.parametrize(
    ("gre", "control", "state"),
    [
        ("passed", ("open", True), "works"),
        ("dropped", ("open", True), "blocked"),
        ("rejected", ("open", True), "blocked"),
        ("untested", ("open", True), "unknown"),
        ("passed", DROPPED, "blocked"),
        ("unknown", DROPPED, "blocked"),
    ],
)
def test_pptp_needs_both(gre: str, control: Any, state: str) -> None:
    found = by_name(judge(rows({("tcp", 1723): control}), {"state": gre, "by": None, "reason": ""}))["pptp"]
    assert (found["state"], found["recommended"]) == (state, False)


def test_of_a_helper_that_is_down_nothing_is_concluded() -> None:
    result = judge(rows({}, DROPPED), {"state": "unknown", "by": None, "reason": ""})
    assert result["verdict"] == "undetermined"
    assert {row["state"] for row in result["tunnels"]} == {"unknown"}


def test_families_are_judged_apart() -> None:
    mixed = [*rows({}), *(port_row(probe("tcp", port, "no_route", family="ipv6"), True) for port in TCP_PORTS)]
    result = judge(mixed, GRE)
    assert result["verdict"] == "open"
    assert result["families"]["ipv6"]["verdict"] == "no_network"
    assert result["families"]["ipv4"]["seen_as"] == ["44.1.1.1"]
    assert judge([], GRE)["verdict"] == "undetermined"


@pytest.mark.parametrize(
    ("answer", "sent", "state"),
    [
        (("192.0.2.1", 3, 2), True, "passed"),
        (("192.0.2.254", 3, 13), True, "rejected"),
        (("192.0.2.254", 3, 2), True, "rejected"),
        (("192.0.2.1", 3, 13), True, "rejected"),
        (("", 0, 0), True, "local"),
        (None, True, "silent"),
        (None, False, "local"),
    ],
)
def test_gre(answer: Any, sent: bool, state: str) -> None:
    assert classify("192.0.2.1", answer, sent) == state
