# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy, by table: what is refused and with which words, and which rules it becomes."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.policy import PolicyError, build_table, can_drop, parse_networks, parse_policy
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.ruleset import Chain, Rule, Table, numbers, rule

HOST = "01234567"
WEB = {"name": "web", "port": 80}
SSH = {"name": "ssh", "port": 22, "sources": ["192.168.10.0/24"]}


def _rules(inbound: str, services: list[dict[str, Any]], management: list[dict[str, Any]] | None = None) -> list[str]:
    table = build_table(parse_policy(inbound, services, management or []), HOST)
    return [entry.text() for entry in table.chains[0].rules if ":base" not in entry.comment]


REFUSED = [
    ({**WEB, "port": 0}, "service web: port 0 does not exist; write a number from 1 to 65535"),
    ({**WEB, "port": 65536}, "port 65536 does not exist"),
    ({**WEB, "port": None}, "port None does not exist"),
    ({**WEB, "port": True}, "port True does not exist"),
    ({**WEB, "protocol": "sctp"}, "protocol 'sctp' is unknown; write tcp or udp"),
    ({**WEB, "name": "Web"}, "service 'Web': a name is a lower-case letter"),
    ({**WEB, "name": "w" * 32}, "a name is a lower-case letter"),
    ({**WEB, "name": ""}, "service '': a name"),
    ({**WEB, "name": 'x" accept'}, "a name is a lower-case letter"),
    ({**WEB, "families": []}, "families [] is wrong"),
    ({**WEB, "families": ["ipv5"]}, "families ['ipv5'] is wrong"),
    ({**WEB, "allow_from": []}, "allow_from is an empty list, which admits nobody; leave it out for the whole Internet"),
    ({**WEB, "allow_from": ["0.0.0.0/0"]}, "0.0.0.0/0 is the whole Internet; leave the option out"),
    ({**WEB, "allow_from": ["::/0"]}, "::/0 is the whole Internet"),
    (
        {**WEB, "allow_from": ["192.168.1.7/24"]},
        "192.168.1.7/24 has bits set behind the prefix; write 192.168.1.0/24 for the network or 192.168.1.7 for the one address",
    ),
    ({**WEB, "allow_from": ["2001:db8::1/64"]}, "write 2001:db8::/64 for the network or 2001:db8::1"),
    ({**WEB, "allow_from": ["home.example.org"]}, "'home.example.org' is not an address or a network"),
    ({**WEB, "allow_from": ["192.168.1.0/33"]}, "'192.168.1.0/33' is not an address or a network"),
    ({**WEB, "allow_from": ["192.168.001.0/24"]}, "is not an address or a network"),
    ({**WEB, "allow_from": [""]}, "'' is not an address"),
    ({**WEB, "families": ["ipv4"], "allow_from": ["2001:db8::/32"]}, "names 2001:db8::/32, but families is ['ipv4']; add ipv6"),
]


@pytest.mark.parametrize(("service", "message"), REFUSED)
def test_a_wrong_service_is_refused_by_value_reason_and_fix(service: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy("keep", [service], [])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ([WEB, {"name": "web", "port": 81}], "service web is listed twice"),
        ([WEB, {"name": "other", "port": 80}], "services web and other both ask for TCP 80"),
        ([{**WEB, "families": ["ipv6"]}, {"name": "other", "port": 80}], "services web and other both ask for TCP 80"),
    ],
)
def test_services_that_contradict_each_other(services: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_policy("keep", services, [])


def test_what_only_looks_like_a_contradiction() -> None:
    parse_policy("keep", [WEB, {"name": "quic", "protocol": "udp", "port": 80}], [])
    parse_policy("keep", [{**WEB, "families": ["ipv4"]}, {"name": "six", "port": 80, "families": ["ipv6"]}], [])


@pytest.mark.parametrize(
    ("entry", "message"),
    [({**SSH, "sources": []}, "empty list"), ({**SSH, "sources": ["0.0.0.0/0"]}, "whole Internet"), ({"name": "ssh", "port": 22}, "sources is missing")],
)
def test_management_is_never_open_to_the_internet(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_policy("deny", [], [entry])


def test_inbound_is_keep_or_deny() -> None:
    with pytest.raises(PolicyError, match="inbound 'drop' is unknown; write keep or deny"):
        parse_policy("drop", [], [])


def test_networks_are_unique_and_sorted() -> None:
    found = parse_networks(["2001:db8::/32", "10.0.0.0/8", "10.0.0.0/8", "192.0.2.7"], "x")
    assert [str(network) for network in found] == ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]


RULES = [
    ("keep", [WEB], ['tcp dport 80 counter accept comment "hs:01234567:web"']),
    ("keep", [{**WEB, "families": ["ipv6"]}], ['meta nfproto ipv6 tcp dport 80 counter accept comment "hs:01234567:web"']),
    ("keep", [{**WEB, "protocol": "udp", "families": ["ipv6", "ipv4", "ipv6"]}], ['udp dport 80 counter accept comment "hs:01234567:web"']),
    (
        "keep",
        [{**WEB, "allow_from": ["192.0.2.7", "2001:db8::/33", "2001:db8:8000::/33"]}],
        [
            'ip saddr 192.0.2.7 tcp dport 80 counter accept comment "hs:01234567:web"',
            'ip6 saddr 2001:db8::/32 tcp dport 80 counter accept comment "hs:01234567:web"',
            'tcp dport 80 counter drop comment "hs:01234567:web"',
        ],
    ),
    # Named for IPv4 alone, it is closed in IPv6 as well: the limit is on the port.
    (
        "keep",
        [{**WEB, "families": ["ipv4"], "allow_from": ["192.0.2.0/24", "198.51.100.9"]}],
        [
            'ip saddr { 192.0.2.0/24, 198.51.100.9 } tcp dport 80 counter accept comment "hs:01234567:web"',
            'tcp dport 80 counter drop comment "hs:01234567:web"',
        ],
    ),
    # With a policy of drop, nothing has to be dropped by hand.
    ("deny", [{**WEB, "allow_from": ["192.0.2.0/24"]}], ['ip saddr 192.0.2.0/24 tcp dport 80 counter accept comment "hs:01234567:web"']),
]


@pytest.mark.parametrize(("inbound", "services", "expected"), RULES)
def test_rules_of_services(inbound: str, services: list[dict[str, Any]], expected: list[str]) -> None:
    assert _rules(inbound, services) == expected


def test_management_comes_before_services() -> None:
    found = _rules("deny", [WEB], [SSH])
    assert [text.rsplit(":", 1)[1] for text in found] == ['ssh"', 'web"']


def test_deny_lets_in_what_any_host_needs() -> None:
    chain = build_table(parse_policy("deny", [], [SSH]), HOST).chains[0]
    assert chain.policy == "drop"
    text = "\n".join(entry.text() for entry in chain.rules)
    for part in (
        "ct state established,related",
        'iifname "lo"',
        "nd-neighbor-solicit",
        "nd-router-advert",
        "packet-too-big",
        "echo-request limit rate",
        "dport 68",
        "dport 546",
    ):
        assert part in text
    # Only a packet that comes from the link itself may change who a neighbour or the router is.
    assert all("hoplimit 255" in entry.text() for entry in chain.rules if "nd-" in entry.text())
    assert all(entry.comment == "hs:01234567:base" for entry in chain.rules[:-1])


def test_keep_without_limits_needs_no_connection_tracking() -> None:
    table = build_table(parse_policy("keep", [WEB], []), HOST)
    assert "ct " not in table.body() and table.chains[0].policy == "accept"


DROP_22 = rule([numbers("tcp dport", [22])], "drop")


@pytest.mark.parametrize(
    ("table", "port", "expected"),
    [
        (None, 22, False),
        (Table((Chain("input", "accept"),)), 22, False),
        (Table((Chain("input", "drop"),)), 22, True),
        (Table((Chain("input", rules=(DROP_22,)),)), 22, True),
        (Table((Chain("input", rules=(DROP_22,)),)), 2222, False),
        # Which port matters is not known: any drop could be the one.
        (Table((Chain("input", rules=(rule([numbers("udp dport", [9])], "drop"),)),)), None, True),
        (Table((Chain("input", rules=(rule([numbers("udp dport", [22])], "drop"),)),)), 22, False),
        (Table((Chain("input", rules=(rule([], "drop"),)),)), 22, True),
        (Table((Chain("input", rules=(Rule(raw="?"),)),)), 22, True),
        (Table((Chain("input"),), ("set x",)), 22, True),
    ],
)
def test_what_can_drop_a_connection(table: Table | None, port: int | None, expected: bool) -> None:
    assert can_drop(table, "tcp", port) is expected
