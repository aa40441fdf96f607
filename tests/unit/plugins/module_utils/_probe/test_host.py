# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket

from ansible_collections.homeserver.hardening.plugins.module_utils._probe import _host

# Shortened copies of what kernels show: since 6.8 with OutTransmits, before without.
SNMP_NEW = """\
Ip: Forwarding DefaultTTL InReceives ForwDatagrams OutRequests OutDiscards OutTransmits
Ip: 2 64 26374 7 24964 10 24951
Tcp: RtoAlgorithm OutSegs
Tcp: 1 20000
"""
SNMP6_NEW = """\
Ip6InReceives                   \t1200
Ip6OutForwDatagrams             \t3
Ip6OutRequests                  \t1300
Ip6OutTransmits                 \t1299
"""
SNMP_OLD = """\
Ip: Forwarding DefaultTTL InReceives ForwDatagrams OutRequests OutDiscards
Ip: 2 64 26374 7 24964 10
Tcp: RtoAlgorithm OutSegs
Tcp: 1 20000
"""
SNMP6_OLD = """\
Ip6InReceives                   \t1200
Ip6OutRequests                  \t1300
"""


def test_counters_of_new_kernels() -> None:
    # Forwarded packets are sent without having been wanted.
    assert _host.parse_counters(socket.AF_INET, SNMP_NEW, SNMP6_NEW) == (24964, 24951 - 7)
    assert _host.parse_counters(socket.AF_INET6, SNMP_NEW, SNMP6_NEW) == (1300, 1299 - 3)


def test_counters_of_older_kernels() -> None:
    assert _host.parse_counters(socket.AF_INET, SNMP_OLD, SNMP6_OLD) == (20000, 24964 + 1300)
    assert _host.parse_counters(socket.AF_INET6, SNMP_OLD, SNMP6_OLD) is None


def test_counters_without_ipv6() -> None:
    assert _host.parse_counters(socket.AF_INET, SNMP_NEW, "") == (24964, 24951 - 7)
    assert _host.parse_counters(socket.AF_INET6, SNMP_NEW, "") is None
    assert _host.parse_counters(socket.AF_INET, "", "") is None


def test_attributes_round_trip() -> None:
    data = _host._attribute(1, b"abcde") + _host._attribute(5, b"\x01\x02\x03\x04")
    assert len(data) % 4 == 0
    assert _host._attributes(data) == [(1, b"abcde"), (5, b"\x01\x02\x03\x04")]
    assert _host._attributes(b"\0\0\0\0") == []


def test_own_addresses() -> None:
    assert _host.is_own_address(socket.AF_INET, ("127.0.0.1", 0))
    assert not _host.is_own_address(socket.AF_INET, ("192.0.2.1", 0))
    assert not _host.is_own_address(socket.AF_INET6, ("2001:db8::1", 0, 0, 0))


def test_no_neighbour_is_missing_on_loopback() -> None:
    assert _host.neighbour_missing(socket.AF_INET, "127.0.0.1", ("127.0.0.1", 0)) is False
