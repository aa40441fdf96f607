# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._probe import _targets
from ansible_collections.homeserver.hardening.plugins.module_utils._probe._ports import ProbeInputError


def answers(*addresses: str) -> list[Any]:
    found: list[Any] = []
    for address in addresses:
        bare, _percent, scope = address.partition("%")
        if ":" in bare:
            found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, "", (bare, 0, 0, int(scope or 0))))
        else:
            found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", (bare, 0)))
    return found


def make(host: str, *addresses: str, **options: Any) -> list[tuple[str, int, str]]:
    def resolve(name: str, port: object, family: int, kind: int) -> list[Any]:
        if not addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return answers(*addresses)

    made = _targets.make_targets(host, "80", resolve=resolve, **options)
    return [(target.address, target.family, target.protocol) for target in made]


def test_a_literal_is_not_resolved() -> None:
    assert make("192.0.2.1") == [("192.0.2.1", socket.AF_INET, "tcp")]
    assert make("2001:DB8:0::1") == [("2001:db8::1", socket.AF_INET6, "tcp")]


def test_every_address_of_a_name_once_ipv4_first() -> None:
    assert make("host.example", "2001:db8::1", "192.0.2.1", "192.0.2.1", protocol="udp") == [
        ("192.0.2.1", socket.AF_INET, "udp"),
        ("2001:db8::1", socket.AF_INET6, "udp"),
    ]


def test_families_limit_a_name() -> None:
    assert [row[0] for row in make("host.example", "2001:db8::1", "192.0.2.1", families=["ipv6"])] == ["2001:db8::1"]


def test_a_zone_becomes_a_number() -> None:
    target = _targets.make_targets("fe80::1%lo", "80")[0]
    assert target.sockaddr(80) == ("fe80::1", 80, 0, socket.if_nametoindex("lo"))
    assert target.address == "fe80::1%lo"


@pytest.mark.parametrize(
    ("host", "options", "words"),
    [
        ("nowhere.example", {}, ["'nowhere.example'", "has no address", "Name or service not known", "correct the name"]),
        ("nowhere.example", {"families": ["ipv6"]}, ["of ipv6"]),
        ("", {}, ["host is empty"]),
        ("192.0.2.1", {"families": ["ipv6"]}, ["192.0.2.1", "not an address of ipv6"]),
        ("192.0.2.1", {"protocol": "sctp"}, ["'sctp'", "tcp or udp"]),
        ("192.0.2.1", {"families": ["ipv5"]}, ["'ipv5'", "ipv4, ipv6 or both"]),
        ("127.1", {}, ["'127.1'", "four numbers"]),
        ("192.0.2.256", {}, ["four numbers"]),
        ("2130706433", {}, ["four numbers"]),
        ("fe80::1%nosuchlink0", {}, ["no interface 'nosuchlink0'"]),
        ("192.0.2.1%eth0", {}, ["no zone"]),
        ("0.0.0.0", {}, ["'0.0.0.0'", "unspecified"]),
        ("::", {}, ["unspecified"]),
        ("224.0.0.1", {}, ["multicast"]),
        ("255.255.255.255", {}, ["broadcast"]),
        ("ff02::1", {}, ["multicast"]),
        ("::ffff:192.0.2.1", {}, ["write 192.0.2.1"]),
    ],
)
def test_bad_targets(host: str, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ProbeInputError) as caught:
        make(host, **options)
    for word in words:
        assert word in str(caught.value)


def test_bad_ports_name_the_target() -> None:
    with pytest.raises(ProbeInputError, match=r"192\.0\.2\.1.*'70000'"):
        _targets.make_targets("192.0.2.1", "70000")


def test_a_name_without_the_wanted_family() -> None:
    with pytest.raises(ProbeInputError, match="no address of ipv6"):
        make("host.example", "192.0.2.1", families=["ipv6"])


def test_a_blocked_name() -> None:
    with pytest.raises(ProbeInputError, match=r"'blocked\.example' \(0\.0\.0\.0\).*unspecified"):
        make("blocked.example", "0.0.0.0")
