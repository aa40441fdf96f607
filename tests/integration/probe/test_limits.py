# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of this host, loss and pace: none of them may turn into a state of a port."""

from __future__ import annotations

import pytest

from .conftest import FAMILIES, TARGET, Net

DROP_SYNS = """
table inet loss {
  chain input {
    type filter hook input priority filter; policy accept;
    tcp flags syn / syn,ack,rst,fin numgen random mod 100 < 5 drop
  }
}
"""
DROP_ALL = """
table inet silence {
  chain input {
    type filter hook input priority filter; policy accept;
    tcp dport 5000-5999 drop
  }
}
"""


def test_soft_and_hard_limit_of_1024_descriptors(net: Net) -> None:
    listener = net.listen("t", "4000-4999")
    try:
        for options in ({}, {"concurrency": 4096}):
            result = net.probe([{"host": TARGET["ipv4"], "ports": "4000-4999"}], options, prlimit="1024:1024")
            assert result["counts"]["open"] == 1000, result["counts"]
            assert result["limits"]["descriptors"] == 1024
    finally:
        net.stop(listener)


def test_the_soft_limit_is_raised_where_it_may_be(net: Net) -> None:
    result = net.probe([{"host": TARGET["ipv4"], "ports": "1-2000"}], {"concurrency": 2000}, prlimit="64:4096")
    assert result["counts"]["closed"] == 2000
    assert result["limits"]["descriptors"] > 2000


@pytest.mark.parametrize("family", FAMILIES)
def test_too_few_descriptors_slow_the_probe_and_change_nothing(net: Net, family: str) -> None:
    result = net.probe([{"host": TARGET[family], "ports": "2000-2199"}], prlimit="24:24")
    assert result["counts"]["closed"] == 200, result["counts"]


def test_descriptors_that_vanish_during_the_run(net: Net) -> None:
    # The engine counts on free descriptors; the run takes them away after it has looked.
    with net.rules("t", DROP_ALL):
        result = net.probe([{"host": TARGET["ipv4"], "ports": "5000-5063"}], {"timeout": 0.3}, nofile=[48, 48], steal=30)
    assert result["counts"]["filtered"] == 64, result
    assert "EMFILE" in result["limits"]["reduced"], result["limits"]


def test_no_descriptor_at_all_is_an_error_and_no_state(net: Net) -> None:
    result = net.probe([{"host": TARGET["ipv4"], "ports": "2000-2009"}], nofile=[48, 48], steal=48)
    assert result["counts"]["error"] == 10, result["counts"]
    assert {row["errno"] for row in result["rows"]} == {24}
    assert result["elapsed"] < 5


def test_used_up_local_ports_are_an_error_and_no_state(net: Net) -> None:
    listener = net.listen("t", "1200", answer="hold")
    net.exec("v", "sh", "-c", "echo 40000 40099 >/proc/sys/net/ipv4/ip_local_port_range")
    try:
        result = net.probe(
            [{"host": TARGET["ipv4"], "ports": "1200"}, {"host": TARGET["ipv4"], "ports": "1201-1300"}],
            nofile=[1024, 1024],
            hold=[["connect", 100, [TARGET["ipv4"], 1200]]],
        )
    finally:
        net.exec("v", "sh", "-c", "echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range")
        net.stop(listener)
    assert result["rows"][0]["state"] == "error", result["rows"][0]
    assert result["rows"][0]["errno"] == 99
    # Other destinations have all those local ports to themselves.
    assert {row["state"] for row in result["rows"][1:]} == {"closed"}


def test_one_used_up_port_does_not_slow_the_others(net: Net) -> None:
    listener = net.listen("t", "1198", answer="hold")
    net.exec("v", "sh", "-c", "echo 40000 40099 >/proc/sys/net/ipv4/ip_local_port_range")
    try:
        with net.rules("t", DROP_ALL):
            result = net.probe(
                [{"host": TARGET["ipv4"], "ports": "5000-5255,1198,5256-5599"}],
                nofile=[2048, 2048],
                hold=[["connect", 100, [TARGET["ipv4"], 1198]]],
            )
    finally:
        net.exec("v", "sh", "-c", "echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range")
        net.stop(listener)
    assert (result["counts"]["error"], result["counts"]["filtered"]) == (1, 600), result["counts"]
    assert result["elapsed"] < 6


def test_local_ports_that_become_free_again(net: Net) -> None:
    net.exec("v", "sh", "-c", "echo 40000 40019 >/proc/sys/net/ipv4/ip_local_port_range")
    try:
        result = net.probe([{"host": TARGET["ipv4"], "ports": "1201-1300"}])
    finally:
        net.exec("v", "sh", "-c", "echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range")
    assert result["counts"]["closed"] == 100, result["counts"]


def test_lost_packets_do_not_become_states(net: Net) -> None:
    listener = net.listen("t", "4000-4999")
    try:
        with net.rules("t", DROP_SYNS):
            # Planted fault: asked once and not for long, this very loss makes false states.
            hasty = net.probe([{"host": TARGET["ipv4"], "ports": "4000-4999"}], {"attempts": 1, "timeout": 0.3})
            runs = [net.probe([{"host": TARGET["ipv4"], "ports": "4000-4999"}]) for _round in range(3)]
    finally:
        net.stop(listener)
    assert hasty["counts"]["filtered"] > 10, hasty["counts"]
    # Three SYNs, each lost once in twenty times: one port in eight thousand.
    assert sum(1000 - run["counts"]["open"] for run in runs) <= 3, [run["counts"] for run in runs]
    assert max(run["elapsed"] for run in runs) < 3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_thousand_silent_ports_take_less_than_four_seconds(net: Net, family: str) -> None:
    with net.rules("t", DROP_ALL):
        result = net.probe([{"host": TARGET[family], "ports": "5000-5999"}])
    assert result["counts"]["filtered"] == 1000, result["counts"]
    assert result["elapsed"] < 4
    assert {row["attempts"] for row in result["rows"]} == {2}


def test_the_rate_is_kept(net: Net) -> None:
    result = net.probe([{"host": TARGET["ipv4"], "ports": "2000-2049"}], {"rate": 100})
    assert result["counts"]["closed"] == 50
    assert 0.4 < result["elapsed"] < 1.2


def test_an_interface_is_used_by_name(net: Net) -> None:
    result = net.probe([{"host": TARGET["ipv4"], "ports": "2000"}], {"interface": "wan0"})
    assert result["counts"]["closed"] == 1
    result = net.probe([{"host": TARGET["ipv4"], "ports": "2000"}], {"interface": "lo"})
    assert result["counts"]["closed"] == 0
