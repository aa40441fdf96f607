# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every cause that a port can have, made for real, and the state that an ordinary user is told. IPv4 and IPv6."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import FAMILIES, SILENT_NEIGHBOUR, TARGET, VANTAGE, Net

LISTENER = 1000

TARGET_RULES = """
table inet cause {
  chain input {
    type filter hook input priority filter; policy accept;
    meta l4proto { tcp, udp } th dport 1001 drop
    tcp dport 1002 reject with tcp reset
    th dport 1003 meta l4proto { tcp, udp } reject with icmpx port-unreachable
    th dport 1004 meta l4proto { tcp, udp } reject with icmpx admin-prohibited
    th dport 1005 meta l4proto { tcp, udp } reject with icmpx host-unreachable
    th dport 1006 meta l4proto { tcp, udp } reject with icmpx no-route
    th dport 1007 meta nfproto ipv4 meta l4proto { tcp, udp } reject with icmp prot-unreachable
    th dport 1007 meta nfproto ipv6 meta l4proto { tcp, udp } reject with icmpv6 policy-fail
    th dport 1008 meta nfproto ipv4 meta l4proto { tcp, udp } reject with icmp host-prohibited
    th dport 1008 meta nfproto ipv6 meta l4proto { tcp, udp } reject with icmpv6 reject-route
    th dport 1009 meta nfproto ipv4 meta l4proto { tcp, udp } reject with icmp net-prohibited
    th dport 1009 meta nfproto ipv6 meta l4proto { tcp, udp } reject with icmpv6 admin-prohibited
  }
}
"""
ROUTER_RULES = """
table inet cause {
  chain forward {
    type filter hook forward priority filter; policy accept;
    meta l4proto { tcp, udp } th dport 1010 drop
    th dport 1011 meta l4proto { tcp, udp } reject with icmpx admin-prohibited
    th dport 1012 meta l4proto { tcp, udp } reject with icmpx host-unreachable
    th dport 1013 meta l4proto { tcp, udp } reject with icmpx no-route
    th dport 1014 meta l4proto { tcp, udp } reject with icmpx port-unreachable
    tcp dport 1015 reject with tcp reset
  }
}
"""
VANTAGE_RULES = """
table inet cause {
  chain output {
    type filter hook output priority filter; policy accept;
    meta l4proto { tcp, udp } th dport 1020 drop
    th dport 1021 meta l4proto { tcp, udp } reject with icmpx port-unreachable
    th dport 1022 meta l4proto { tcp, udp } reject with icmpx admin-prohibited
    th dport 1023 meta l4proto { tcp, udp } reject with icmpx host-unreachable
    tcp dport 1024 reject with tcp reset
  }
}
"""

#: port, what happens there, state over TCP, state over UDP (None: this cause does not exist there)
CAUSES = [
    (1000, "a service listens", "open", "open"),
    (999, "nothing listens", "closed", "closed"),
    (1001, "the target drops", "filtered", "open_or_filtered"),
    (1002, "the target rejects with a reset", "closed", None),
    (1003, "the target rejects with port unreachable", "rejected", "closed"),
    (1004, "the target rejects as prohibited", "rejected", "rejected"),
    (1005, "the target rejects with host unreachable", "rejected", "rejected"),
    (1006, "the target rejects with network unreachable", "rejected", "rejected"),
    (1007, "the target rejects with protocol unreachable", "rejected", "rejected"),
    (1008, "the target rejects with host prohibited", "rejected", "rejected"),
    (1009, "the target rejects with network prohibited", "rejected", "rejected"),
    (1010, "the router drops", "filtered", "open_or_filtered"),
    (1011, "the router rejects as prohibited", "rejected", "rejected"),
    (1012, "the router says that the host is unreachable", "host_unreachable", "host_unreachable"),
    (1013, "the router has no route", "no_route", "no_route"),
    (1014, "the router rejects with port unreachable", "rejected", "rejected"),
    (1015, "the router rejects with a reset", "closed", None),
    (1020, "this host drops", "local_drop", "local_drop"),
    (1021, "this host rejects with port unreachable", "local_reject", "local_reject"),
    (1022, "this host rejects as prohibited", "local_reject", "local_reject"),
    (1023, "this host rejects with host unreachable", "local_reject", "local_reject"),
    (1024, "this host rejects with a reset", "local_reject", None),
]


@pytest.fixture(scope="module")
def rows(net: Net) -> dict[tuple[str, str, int], dict[str, Any]]:
    """All causes at once: one run of the engine per family."""
    listeners = [net.listen("t", str(LISTENER)), net.listen("t", str(LISTENER), "udp", "here")]
    found = {}
    with net.rules("t", TARGET_RULES), net.rules("r", ROUTER_RULES), net.rules("v", VANTAGE_RULES):
        for family in FAMILIES:
            ports = ",".join(str(port) for port, *_rest in CAUSES)
            result = net.probe([{"host": TARGET[family], "ports": ports, "protocol": protocol} for protocol in ("tcp", "udp")])
            assert result["addresses"][family] == VANTAGE[family]
            for row in result["rows"]:
                found[family, row["protocol"], row["port"]] = row
    for listener in listeners:
        net.stop(listener)
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("port", "cause", "state"), [(port, cause, tcp) for port, cause, tcp, _udp in CAUSES])
def test_tcp(rows: dict[Any, dict[str, Any]], family: str, port: int, cause: str, state: str) -> None:
    row = rows[family, "tcp", port]
    if (family, port) == ("ipv6", 1024):
        # Linux counts the reset that it makes up over IPv6 as sent but not as wanted, which hides the packet that it dropped.
        state = "closed"
    assert row["state"] == state, (cause, row)
    if state in ("open", "closed", "rejected"):
        assert row["attempts"] == 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("port", "cause", "state"), [(port, cause, udp) for port, cause, _tcp, udp in CAUSES if udp])
def test_udp(rows: dict[Any, dict[str, Any]], family: str, port: int, cause: str, state: str) -> None:
    row = rows[family, "udp", port]
    assert row["state"] == state, (cause, row)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sender_of_an_icmp_error_is_named(rows: dict[Any, dict[str, Any]], family: str) -> None:
    assert rows[family, "tcp", 1004]["icmp"] == ([3, 13] if family == "ipv4" else [1, 1]) + [TARGET[family]]
    router = "198.18.1.1" if family == "ipv4" else "2001:db8:1::1"
    assert rows[family, "tcp", 1011]["icmp"] == ([3, 13] if family == "ipv4" else [1, 1]) + [router]
    assert rows[family, "tcp", 1021]["icmp"] == ([3, 3] if family == "ipv4" else [1, 4]) + [VANTAGE[family]]
    assert rows[family, "tcp", 999]["icmp"] is None


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("cause", "address", "number"),
    [
        ("prohibit", "198.18.60.1", 13),
        ("prohibit", "2001:db8:60::1", 13),
        ("unreachable", "198.18.61.1", 113),
        ("unreachable", "2001:db8:61::1", 113),
        ("blackhole", "198.18.62.1", 22),
        ("blackhole", "2001:db8:62::1", 22),
        ("none", "203.0.113.1", 101),
        ("none", "2001:db9::1", 101),
    ],
)
def test_no_route(net: Net, protocol: str, cause: str, address: str, number: int) -> None:
    result = net.probe([{"host": address, "ports": "80", "protocol": protocol}])
    row = result["rows"][0]
    assert (row["state"], row["errno"], row["icmp"]) == ("no_route", number, None), cause
    assert result["elapsed"] < 0.2


def test_nobody_answers_address_resolution(net: Net) -> None:
    result = net.probe([{"host": SILENT_NEIGHBOUR[family], "ports": "22,80-90", "protocol": protocol} for family in FAMILIES for protocol in ("tcp", "udp")])
    assert result["counts"]["host_unreachable"] == 48, result
    assert {tuple(row["icmp"]) for row in result["rows"]} == {(3, 1, VANTAGE["ipv4"]), (1, 3, VANTAGE["ipv6"])}
    assert result["elapsed"] < 4.5


def test_more_ports_than_the_queue_of_a_missing_neighbour_holds(net: Net) -> None:
    # The kernel keeps a few hundred packets for a neighbour that it looks for and forgets the rest without a word.
    result = net.probe([{"host": SILENT_NEIGHBOUR[family].replace("99", "98"), "ports": "1-1000"} for family in FAMILIES])
    assert result["counts"]["host_unreachable"] == 2000, result["counts"]
    assert result["elapsed"] < 6


def test_a_reset_after_the_handshake_is_open(net: Net) -> None:
    listener = net.listen("t", "1100", answer="220 hello")
    try:
        rows = net.probe([{"host": TARGET["ipv4"], "ports": "1100"}])["rows"]
    finally:
        net.stop(listener)
    assert rows[0]["state"] == "open"
