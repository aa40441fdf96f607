# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our table: text for nft, and back from what nft lists, in one canonical form."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.policy import build_table, parse_policy
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.ruleset import (
    RulesetError,
    Table,
    addresses,
    numbers,
    read_table,
    rule,
    script,
    words,
)

DATA = Path(__file__).parent / "data"
POLICY = parse_policy(
    "deny",
    [
        {"name": "http", "protocol": "tcp", "port": 80},
        {"name": "wg", "protocol": "udp", "port": 51820, "families": ["ipv6"]},
        {"name": "smb", "protocol": "tcp", "port": 445, "allow_from": ["192.168.0.0/17", "192.168.128.0/17", "2001:db8::/48", "10.0.0.5"]},
    ],
    [{"name": "ssh", "port": 22, "sources": ["192.168.10.0/24", "fe80::/10"]}],
)


def _listing(name: str) -> dict[str, Any]:
    return json.loads((DATA / f"{name}.json").read_text())


def _wanted(inbound: str) -> Table:
    return build_table(dataclasses.replace(POLICY, inbound=inbound), "01234567")


@pytest.mark.parametrize("version", ["1.0.6", "1.1.3"])
@pytest.mark.parametrize("inbound", ["deny", "keep"])
def test_what_nft_lists_equals_what_was_asked_for(inbound: str, version: str) -> None:
    assert read_table(_listing(f"ours-{inbound}-{version}")) == _wanted(inbound)


def _rule(listing: dict[str, Any], number: int) -> dict[str, Any]:
    return [entry["rule"] for entry in listing["nftables"] if "rule" in entry][number]


def _set(path: str, value: Any) -> Any:
    def change(listing: dict[str, Any]) -> None:
        for entry in listing["nftables"]:
            kind, key = path.split(".")
            if kind in entry:
                entry[kind][key] = value

    return change


def _expression(number: int, **body: Any) -> Any:
    def change(listing: dict[str, Any]) -> None:
        _rule(listing, number)["expr"].insert(0, body)

    return change


def _verdict(listing: dict[str, Any]) -> None:
    _rule(listing, -1)["expr"][-1] = {"accept": None}


def _comment(listing: dict[str, Any]) -> None:
    _rule(listing, 1)["comment"] = "hs:01234567:other"


def _append(**entry: Any) -> Any:
    return lambda listing: listing["nftables"].append({kind: {"family": "inet", "table": "homeserver", **body} for kind, body in entry.items()})


DRIFT = {
    "another policy": _set("chain.policy", "drop"),
    "another priority": _set("chain.prio", -300),
    "another hook": _set("chain.hook", "forward"),
    "dormant": _set("table.flags", "dormant"),
    "another verdict": _verdict,
    "another comment": _comment,
    "one condition more": _expression(0, match={"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}),
    "an inverted condition": _expression(0, match={"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 81}),
    "an unknown condition": _expression(0, match={"op": "==", "left": {"meta": {"key": "mark"}}, "right": 7}),
    "an unknown statement": _expression(0, log=None),
    "a limit": _expression(0, limit={"rate": 1, "burst": 5, "per": "second"}),
    "a limit of bytes": _expression(0, limit={"rate": 1, "burst": 5, "per": "second", "rate_unit": "mbytes", "inv": True}),
    "another set": _append(set={"name": "x", "type": "ipv4_addr"}),
    "another chain": _append(chain={"name": "x"}),
    "another rule": _append(rule={"chain": "input", "handle": 99, "expr": [{"drop": None}]}),
}


@pytest.mark.parametrize("change", DRIFT.values(), ids=DRIFT.keys())
def test_every_drift_is_seen(change: Any) -> None:
    listing = _listing("ours-keep-1.0.6")
    change(listing)
    found = read_table(listing)
    assert found != _wanted("keep")
    assert found is not None and found.lines() != _wanted("keep").lines()


def _counters(listing: dict[str, Any]) -> None:
    for entry in listing["nftables"]:
        for expression in entry.get("rule", {}).get("expr", []):
            if "counter" in expression:
                expression["counter"] = {"packets": 7, "bytes": 700}


def _handles(listing: dict[str, Any]) -> None:
    for entry in listing["nftables"]:
        for body in entry.values():
            if "handle" in body:
                body["handle"] += 100


def _foreign(listing: dict[str, Any]) -> None:
    for family, table in (("inet", "filter"), ("ip", "homeserver")):
        listing["nftables"].append({"table": {"family": family, "name": table}})
        listing["nftables"].append({"rule": {"family": family, "table": table, "chain": "input", "expr": [{"drop": None}]}})


def _set_order(listing: dict[str, Any]) -> None:
    for entry in listing["nftables"]:
        for expression in entry.get("rule", {}).get("expr", []):
            right = expression.get("match", {}).get("right")
            if isinstance(right, dict) and "set" in right:
                right["set"].reverse()


def _split_interval(listing: dict[str, Any]) -> None:
    for entry in listing["nftables"]:
        for expression in entry.get("rule", {}).get("expr", []):
            match = expression.get("match", {})
            if match.get("right") == {"set": ["10.0.0.5", {"prefix": {"addr": "192.168.0.0", "len": 16}}]}:
                match["right"] = {"set": [{"range": ["192.168.0.0", "192.168.99.255"]}, {"range": ["192.168.100.0", "192.168.255.255"]}, "10.0.0.5"]}


@pytest.mark.parametrize("change", [_counters, _handles, _foreign, _set_order, _split_interval])
def test_what_means_the_same_is_no_drift(change: Any) -> None:
    listing = _listing("ours-deny-1.1.3")
    before = json.dumps(listing)
    change(listing)
    assert json.dumps(listing) != before
    assert read_table(listing) == _wanted("deny")


def test_no_table() -> None:
    assert read_table({"nftables": []}) is None
    assert read_table({}) is None


def test_the_script_replaces_in_one_transaction() -> None:
    text = script(_wanted("deny"))
    assert text.startswith("add table inet homeserver\ndelete table inet homeserver\ntable inet homeserver {\n")
    assert "flush ruleset" not in text
    assert script(None) == "add table inet homeserver\ndelete table inet homeserver\n"


def test_addresses_are_merged() -> None:
    networks = [ipaddress.ip_network(text) for text in ("10.0.0.0/9", "10.128.0.0/9", "10.1.2.3", "192.0.2.0", "192.0.2.1", "192.0.2.2")]
    assert addresses("ip saddr", networks).text() == "ip saddr { 10.0.0.0/8, 192.0.2.0/31, 192.0.2.2 }"


def test_numbers_and_words() -> None:
    assert numbers("tcp dport", [81, 80, 443]).text() == "tcp dport { 80-81, 443 }"
    assert words("ct state", "related", "established").text() == "ct state established,related"
    assert words("iifname", "lo").text() == 'iifname "lo"'


def test_conditions_have_one_order() -> None:
    port, source = numbers("tcp dport", [1]), words("meta nfproto", "ipv4")
    assert rule([port, source], "accept") == rule([source, port], "accept")


def test_the_error_is_the_modules_own() -> None:
    assert issubclass(RulesetError, Exception)
