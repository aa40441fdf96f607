# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is judged of real rule sets of ufw, firewalld and Docker, and of rules made up to be difficult."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.conflicts import Conflict, Surroundings, find_conflicts
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.foreign import Foreign, needs_text, parse_line, read_foreign
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.policy import parse_policy
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.reach import ACCEPTED, DROPPED, UNCLEAR, Packet, fate, rewrites

DATA = Path(__file__).parent / "data"
AROUND = Surroundings(("lan0",), ("192.168.5.5", "2001:db8:5::5"))


def _real(name: str) -> Foreign:
    return read_foreign(json.loads((DATA / f"{name}.json").read_text()), (DATA / f"{name}.txt").read_text())


def _service(protocol: str, port: int, *sources: str, families: tuple[str, ...] = ("ipv4", "ipv6")) -> dict[str, Any]:
    return {"name": "asked", "protocol": protocol, "port": port, "allow_from": list(sources) or None, "families": list(families)}


def _judge(foreign: Foreign, *services: dict[str, Any], inbound: str = "keep", around: Surroundings = AROUND) -> list[Conflict]:
    return find_conflicts(parse_policy(inbound, services, []), foreign, around)


REAL = [
    # rule set, service, severity and source; None where nothing stands against it
    ("ufw", _service("tcp", 22), None),
    ("ufw", _service("tcp", 80), None),  # a list of ports, which only the text listing explains
    ("ufw", _service("tcp", 8443), None),
    ("ufw", _service("udp", 53), None),
    ("ufw", _service("tcp", 53), None),
    ("ufw", _service("udp", 1005), None),
    ("ufw", _service("udp", 1011), ("refuse", "ufw")),
    ("ufw", _service("tcp", 443), ("refuse", "ufw")),
    ("ufw", _service("udp", 22), ("refuse", "ufw")),
    ("ufw", _service("tcp", 2222, families=("ipv4",)), None),
    ("ufw", _service("tcp", 445), ("refuse", "ufw")),  # open to one network, not to all
    ("ufw", _service("tcp", 445, "192.168.10.0/25"), None),
    ("ufw", _service("tcp", 445, "192.168.10.0/23"), ("refuse", "ufw")),
    ("ufw", _service("tcp", 445, "2001:db8::/64"), ("refuse", "ufw")),
    ("firewalld", _service("tcp", 22), None),
    ("firewalld", _service("tcp", 443), None),
    ("firewalld", _service("tcp", 80), ("refuse", "firewalld")),
    ("firewalld", _service("udp", 51820), None),
    ("firewalld", _service("tcp", 51820), ("refuse", "firewalld")),
    ("firewalld", _service("tcp", 445, "192.168.10.7"), None),
    ("firewalld", _service("tcp", 445), ("refuse", "firewalld")),
    ("firewalld", _service("tcp", 9000, families=("ipv4",)), ("warn", "firewalld")),
    ("firewalld", _service("tcp", 9000, "192.168.10.0/24"), ("refuse", "firewalld")),
    ("docker", _service("tcp", 443), None),
    ("docker", _service("tcp", 8080), ("warn", "Docker")),
    ("docker", _service("tcp", 8080, "192.168.0.0/16"), ("refuse", "Docker")),
    ("docker", _service("udp", 9090, "192.168.0.0/16"), ("refuse", "Docker")),
    ("docker", _service("tcp", 7070, "192.168.0.0/16"), None),  # published on 127.0.0.1 only
    ("docker", _service("udp", 8080, "192.168.0.0/16"), None),
]


@pytest.mark.parametrize(("name", "service", "expected"), REAL)
def test_real_rule_sets(name: str, service: dict[str, Any], expected: tuple[str, str] | None) -> None:
    found = _judge(_real(name), service)
    assert [(conflict.severity, conflict.source) for conflict in found] == ([expected] if expected else [])
    assert all(conflict.services == ("asked",) and conflict.remedy for conflict in found)


@pytest.mark.parametrize(
    ("name", "service", "remedy"),
    [
        ("ufw", _service("tcp", 443), "Run: ufw allow proto tcp to any port 443"),
        ("ufw", _service("udp", 443, "192.0.2.0/24"), "Run: ufw allow proto udp from 192.0.2.0/24 to any port 443"),
        ("firewalld", _service("tcp", 80), "Run: firewall-cmd --permanent --add-port=80/tcp && firewall-cmd --reload"),
        ("firewalld", _service("tcp", 80, "2001:db8::/64"), "rule family=ipv6 source address=2001:db8::/64 port port=80 protocol=tcp accept"),
        ("docker", _service("tcp", 8080, "192.0.2.0/24"), "DOCKER-USER"),
    ],
)
def test_the_remedy_can_be_typed(name: str, service: dict[str, Any], remedy: str) -> None:
    assert remedy in _judge(_real(name), service)[0].remedy


def test_deny_does_not_hold_for_published_ports() -> None:
    found = _judge(_real("docker"), _service("tcp", 443), inbound="deny")
    # 7070 is published on 127.0.0.1 only, and in IPv4 only.
    assert [conflict.severity for conflict in found] == ["refuse", "refuse"]
    assert {"UDP 9090", "TCP 8080"} == {part for part in ("UDP 9090", "TCP 8080", "TCP 7070") for conflict in found if part in conflict.detail}
    listed = [{"name": "a", "port": 8080}, {"name": "b", "protocol": "udp", "port": 9090}]
    assert {conflict.severity for conflict in _judge(_real("docker"), *listed, inbound="deny")} == {"warn"}


def test_without_the_text_listing_the_truth_would_be_missed() -> None:
    """The planted fault: the JSON alone hides Docker's target, and ufw's list of ports."""
    docker = json.loads((DATA / "docker.json").read_text())
    assert needs_text(docker) and _judge(read_foreign(docker), _service("tcp", 8080, "192.168.0.0/16")) == []
    ufw = json.loads((DATA / "ufw.json").read_text())
    assert [conflict.severity for conflict in _judge(read_foreign(ufw), _service("tcp", 80))] == ["warn"]


def _made_up(
    *rules: list[dict[str, Any]], policy: str = "accept", family: str = "inet", hook: str = "input", kind: str = "filter", **sets: list[Any]
) -> Foreign:
    listing: list[dict[str, Any]] = [{"table": {"family": family, "name": "t"}}]
    listing.append({"chain": {"family": family, "table": "t", "name": "c", "type": kind, "hook": hook, "prio": 0, "policy": policy}})
    listing.append({"chain": {"family": family, "table": "t", "name": "sub"}})
    listing += [{"set": {"family": family, "table": "t", "name": name, "elem": elements}} for name, elements in sets.items()]
    listing += [{"rule": {"family": family, "table": "t", "chain": "c", "handle": 1, "expr": rule}} for rule in rules]
    listing.append({"rule": {"family": family, "table": "t", "chain": "sub", "handle": 1, "expr": [_port(80), {"accept": None}]}})
    listing.append({"rule": {"family": family, "table": "t", "chain": "sub", "handle": 1, "expr": [_port(81), {"return": None}]}})
    listing.append({"rule": {"family": family, "table": "t", "chain": "sub", "handle": 1, "expr": [{"drop": None}]}})
    return read_foreign({"nftables": listing})


def _if(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def _port(*ports: Any, protocol: str = "tcp") -> dict[str, Any]:
    return _if({"payload": {"protocol": protocol, "field": "dport"}}, {"set": list(ports)})


def _from(text: str, op: str = "==", protocol: str = "ip") -> dict[str, Any]:
    address, _slash, length = text.partition("/")
    return _if({"payload": {"protocol": protocol, "field": "saddr"}}, {"prefix": {"addr": address, "len": int(length)}}, op)


def _state(*states: str) -> dict[str, Any]:
    return _if({"ct": {"key": "state"}}, list(states), "in")


def _by(name: str, op: str = "==") -> dict[str, Any]:
    return _if({"meta": {"key": "iifname"}}, name, op)


ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
JUMP: dict[str, Any] = {"jump": {"target": "sub"}}
GOTO: dict[str, Any] = {"goto": {"target": "sub"}}
SYN = _if({"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn", "rst", "ack"]]}, "syn")

MADE_UP = [
    ("nothing", [], "accept", ACCEPTED),
    ("policy", [], "drop", DROPPED),
    ("accept before policy", [[_port(80), ACCEPT]], "drop", ACCEPTED),
    ("another port", [[_port(81), ACCEPT]], "drop", DROPPED),
    ("a range", [[_port({"range": [70, 90]}), ACCEPT]], "drop", ACCEPTED),
    ("another protocol", [[_port(80, protocol="udp"), ACCEPT]], "drop", DROPPED),
    ("either protocol", [[_port(80, protocol="th"), ACCEPT]], "drop", ACCEPTED),
    ("a final drop", [[_port(443), ACCEPT], [DROP]], "accept", DROPPED),
    ("a final reject", [[{"reject": {"type": "icmpx"}}]], "accept", DROPPED),
    ("drop before accept", [[_port(80), DROP], [_port(80), ACCEPT]], "accept", DROPPED),
    ("only answers", [[_state("established", "related"), ACCEPT]], "drop", DROPPED),
    ("new connections", [[_state("new"), _port(80), ACCEPT]], "drop", ACCEPTED),
    ("not new", [[_state("invalid"), DROP]], "accept", ACCEPTED),
    ("by the loopback", [[_by("lo"), ACCEPT]], "drop", DROPPED),
    ("not by the loopback", [[_by("lo", "!="), DROP]], "accept", DROPPED),
    ("by the right interface", [[_by("lan0"), ACCEPT]], "drop", ACCEPTED),
    ("by a pattern", [[_by("lan*"), ACCEPT]], "drop", ACCEPTED),
    ("by another interface", [[_by("wan0"), ACCEPT]], "drop", DROPPED),
    ("dropped for one network", [[_from("203.0.113.0/24"), DROP]], "accept", ACCEPTED),
    ("accepted for one network", [[_from("192.168.0.0/16"), ACCEPT]], "drop", DROPPED),
    ("accepted but for one network", [[_from("203.0.113.0/24", "!="), ACCEPT]], "drop", DROPPED),
    ("for the other family", [[_from("2001:db8::/32", protocol="ip6"), ACCEPT]], "drop", DROPPED),
    ("a rate limit", [[_port(80), {"limit": {"rate": 3, "per": "minute"}}, ACCEPT]], "drop", DROPPED),
    ("dropped above a rate", [[_port(80), {"limit": {"rate": 3, "per": "minute", "inv": True}}, DROP]], "accept", ACCEPTED),
    ("a jump", [[JUMP]], "accept", ACCEPTED),
    ("a jump from a condition", [[_port(80), JUMP]], "drop", ACCEPTED),
    ("a jump that is not taken", [[_port(443), JUMP]], "accept", ACCEPTED),
    ("a chain that is not there", [[{"jump": {"target": "gone"}}]], "accept", ACCEPTED),
    ("log and count", [[{"counter": {"packets": 1, "bytes": 1}}, {"log": {"prefix": "x"}}], [_port(80), ACCEPT]], "drop", ACCEPTED),
    ("a verdict map", [[{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", ACCEPT], ["new", JUMP]]}}}]], "drop", ACCEPTED),
    ("a verdict map without it", [[{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", ACCEPT]]}}}]], "drop", DROPPED),
    ("a verdict map by port", [[{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[80, ACCEPT]]}}}]], "drop", ACCEPTED),
    ("a named set", [[_if({"payload": {"protocol": "tcp", "field": "dport"}}, "@ports"), ACCEPT]], "drop", ACCEPTED),
    ("a named set without it", [[_if({"payload": {"protocol": "tcp", "field": "dport"}}, "@others"), ACCEPT]], "drop", DROPPED),
    ("first packets", [[SYN, _port(80), ACCEPT]], "drop", ACCEPTED),
    ("to this host", [[_if({"payload": {"protocol": "ip", "field": "daddr"}}, "192.168.5.5"), ACCEPT]], "drop", ACCEPTED),
    ("to another host", [[_if({"payload": {"protocol": "ip", "field": "daddr"}}, "192.168.5.6"), ACCEPT]], "drop", DROPPED),
    ("for local addresses", [[_if({"fib": {"result": "type", "flags": ["daddr"]}}, "local"), ACCEPT]], "drop", ACCEPTED),
    ("for multicast", [[_if({"meta": {"key": "pkttype"}}, "multicast"), ACCEPT]], "drop", DROPPED),
    ("ipv4", [[_if({"meta": {"key": "nfproto"}}, "ipv4"), ACCEPT]], "drop", ACCEPTED),
    ("ipv6", [[_if({"meta": {"key": "nfproto"}}, "ipv6"), ACCEPT]], "drop", DROPPED),
    ("an unreadable accept", [[{"xt": {"type": "match", "name": "owner"}}, ACCEPT]], "drop", UNCLEAR),
    ("an unreadable drop", [[{"xt": {"type": "match", "name": "owner"}}, DROP]], "accept", UNCLEAR),
    ("a drop of routing headers", [[{"xt": {"type": "match", "name": "rt"}}, DROP]], "accept", ACCEPTED),
    ("a recent visitor, in text", [parse_line('tcp dport 80 xt match "recent" drop')], "accept", ACCEPTED),
    ("a list of addresses", [[{"xt": {"type": "match", "name": "set"}}, DROP]], "accept", ACCEPTED),
    (
        "a pair",
        [[_if({"concat": [{"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}, {"set": [{"concat": ["tcp", 80]}]}), ACCEPT]],
        "drop",
        ACCEPTED,
    ),
]


@pytest.mark.parametrize(("rules", "policy", "expected"), [row[1:] for row in MADE_UP], ids=[row[0] for row in MADE_UP])
def test_made_up_rules(rules: list[list[dict[str, Any]]], policy: str, expected: str) -> None:
    foreign = _made_up(*rules, policy=policy, ports=[80, 443], others=[22])
    assert fate(foreign, Packet("ip", "tcp", 80, None, ("lan0",), ("192.168.5.5",))).outcome == expected


@pytest.mark.parametrize(("port", "expected"), [(80, ACCEPTED), (81, DROPPED), (82, DROPPED)])
def test_goto_does_not_come_back(port: int, expected: str) -> None:
    foreign = _made_up([GOTO], [_port(81), ACCEPT], policy="drop")
    assert fate(foreign, Packet("ip", "tcp", port)).outcome == expected
    back = _made_up([JUMP], [_port(81), ACCEPT], policy="drop")
    assert fate(back, Packet("ip", "tcp", 81)).outcome == ACCEPTED


def test_chains_that_call_each_other_for_ever() -> None:
    foreign = _made_up([JUMP])
    foreign.chains["inet", "t", "sub"].rules.insert(0, [{"jump": {"target": "sub"}}])
    assert fate(foreign, Packet("ip", "tcp", 80)).outcome == UNCLEAR


def test_a_table_of_the_other_family_does_not_see_it() -> None:
    foreign = _made_up(policy="drop", family="ip6")
    assert fate(foreign, Packet("ip", "tcp", 80)).outcome == ACCEPTED
    assert fate(foreign, Packet("ip6", "tcp", 80)).outcome == DROPPED


@pytest.mark.parametrize("hook", ["forward", "output", "postrouting"])
def test_other_hooks_do_not_count(hook: str) -> None:
    assert fate(_made_up(policy="drop", hook=hook), Packet("ip", "tcp", 80)).outcome == ACCEPTED


def test_a_drop_in_prerouting_counts() -> None:
    assert fate(_made_up([_port(80), DROP], hook="prerouting"), Packet("ip", "tcp", 80)).outcome == DROPPED


def test_our_own_tables_are_not_foreign() -> None:
    tables = [
        {"chain": {"family": "inet", "table": name, "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}
        for name in ("homeserver", "homeserver_probe_1")
    ]
    assert read_foreign({"nftables": tables}).chains == {}
    other = read_foreign({"nftables": [{"chain": {**tables[0]["chain"], "table": "homeservers"}}]})
    assert len(other.chains) == 1


def test_redirections_of_somebody_else() -> None:
    foreign = _made_up([_port(80), {"redirect": {"port": 8080}}], hook="prerouting", kind="nat")
    assert [(found.kind, found.target) for found in rewrites(foreign, Packet("ip", "tcp", 80))] == [("redirect", "8080")]
    assert rewrites(foreign, Packet("ip", "tcp", 81)) == []
    assert [conflict.severity for conflict in _judge(foreign, _service("tcp", 80))] == ["warn"]
    assert [conflict.severity for conflict in _judge(foreign, _service("tcp", 80), inbound="deny")] == ["refuse"]
    assert [conflict.severity for conflict in _judge(foreign, _service("tcp", 80, "192.0.2.0/24"))] == ["refuse"]


def test_what_cannot_be_seen_is_said() -> None:
    legacy = _judge(read_foreign({}), _service("tcp", 80), around=Surroundings(legacy_tables=("filter",)))
    assert [(conflict.severity, conflict.source) for conflict in legacy] == [("warn", "iptables-legacy")]
    asleep = _judge(read_foreign({}), _service("tcp", 80), around=Surroundings(ufw_enabled=True))
    assert [(conflict.severity, conflict.source) for conflict in asleep] == [("warn", "ufw")]


LINES = [
    ("tcp dport 8080 counter packets 0 bytes 0 dnat to 172.17.0.2:80", ["match", "dnat"]),
    ('iifname != "docker0" tcp dport 8080 counter packets 1 bytes 2 xt target "DNAT"', ["match", "match", "dnat"]),
    ("meta l4proto tcp tcp dport { 80, 8443 } counter packets 0 bytes 0 accept", ["match", "match", "accept"]),
    ('tcp dport 22 ct state new xt match "recent" counter packets 0 bytes 0 jump ufw-user-limit', ["match", "match", "xt", "jump"]),
    ('limit rate 3/minute burst 10 packets counter packets 0 bytes 0 log prefix "[UFW BLOCK] "', ["limit"]),
    ("fib daddr type local counter packets 0 bytes 0 jump DOCKER", ["match", "jump"]),
    ("ip saddr 10.0.0.0/8 ip daddr != 127.0.0.0/8 return", ["match", "match", "return"]),
    ('comment "a, b" drop', ["drop"]),
    ("reject with icmp port-unreachable", ["reject"]),
    ("masquerade random", ["masquerade"]),
]


@pytest.mark.parametrize(("line", "kinds"), LINES)
def test_lines_of_the_text_listing(line: str, kinds: list[str]) -> None:
    assert [next(iter(expression)) for expression in parse_line(line)][: len(kinds)] == kinds


def test_values_of_the_text_listing() -> None:
    expressions = parse_line("tcp dport { 80, 100-200 } ip saddr { 10.0.0.0/8, 192.0.2.1-192.0.2.9, 192.0.2.77 } accept")
    assert expressions[0]["match"]["right"] == {"set": [80, {"range": [100, 200]}]}
    assert expressions[1]["match"]["right"] == {"set": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, {"range": ["192.0.2.1", "192.0.2.9"]}, "192.0.2.77"]}
