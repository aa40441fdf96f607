# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasted text, in the shapes that real programs print."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._line._parse import MAX_TEXT, ParseError, address_from, parse_interfaces
from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import Reading
from ansible_collections.homeserver.hardening.plugins.module_utils._line._verdict import judge

FIXTURES = Path(__file__).parent / "fixtures"


def parsed(name: str, *more: str) -> dict[str, Any]:
    return parse_interfaces("".join((FIXTURES / f"{one}.txt").read_text() for one in (name, *more)))


def by_address(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["address"]: row for row in result["addresses"]}


def test_json_and_text_of_ip_say_the_same() -> None:
    one, other = parsed("ip-json"), parsed("ip-text")
    kinds = {row["name"]: row["kind"] for row in one["addresses"]}
    assert kinds["docker0"] == "bridge" and kinds["tailscale0"] == "tun"
    for row in [*one["addresses"], *other["addresses"]]:
        row["kind"] = None
        row["valid_lifetime"] = row["valid_lifetime"] and 1
        row["preferred_lifetime"] = row["preferred_lifetime"] and 1
        # tun has no carrier here, and text without -d does not tell that it is one: neither counts as outward
    assert one["addresses"] == other["addresses"]
    assert one["default_routes"] == other["default_routes"]


@pytest.mark.parametrize("name", ["ip-json", "ip-text"])
def test_flags_of_ip(name: str) -> None:
    rows = by_address(parsed(name))
    lan = rows["192.168.1.20"]
    assert (lan["name"], lan["prefix_length"], lan["dynamic"], lan["on_default_route"], lan["valid_lifetime"]) == ("eth0", 24, True, True, 42999)
    assert rows["2a0d:5600:8:1::dead"]["deprecated"] and not rows["2a0d:5600:8:1::dead"]["publish_candidate"]
    (temporary,) = [row for row in rows.values() if row["temporary"]]
    assert not temporary["publish_candidate"]
    assert rows["2a0d:5600:8:1:5054:ff:fe12:3456"]["publish_candidate"]
    assert not rows["100.101.102.103"]["on_default_route"]


@pytest.mark.parametrize("name", ["ip-json", "ip-text"])
def test_routes_of_ip(name: str) -> None:
    assert parsed(name)["default_routes"] == [
        {"family": "ipv4", "gateway": "192.168.1.1", "interface": "eth0", "source": "192.168.1.20", "metric": 100},
        {"family": "ipv6", "gateway": "fe80::1", "interface": "eth0", "source": parsed(name)["default_routes"][1]["source"], "metric": 1024},
    ]


def test_one_line_form() -> None:
    rows = by_address(parsed("ip-oneline"))
    assert rows["192.168.1.20"]["dynamic"] and rows["192.168.1.20"]["valid_lifetime"] == 42999
    assert rows["2a0d:5600:8:1::dead"]["deprecated"]
    assert parsed("ip-oneline")["default_routes"] is None


def test_debian_ifconfig_with_route() -> None:
    result = parsed("ifconfig-debian", "route")
    rows = by_address(result)
    assert rows["192.168.1.20"]["prefix_length"] == 24 and rows["192.168.1.20"]["up"]
    assert rows["192.168.1.20"]["dynamic"] is None
    # Which of them are temporary is not told, so none is proposed.
    assert [row["address"] for row in result["addresses"] if row["publish_candidate"]] == []
    assert result["default_routes"] == [{"family": "ipv4", "gateway": "192.168.1.1", "interface": "eth0", "source": "192.168.1.20", "metric": 100}]


def test_android() -> None:
    rows = by_address(parsed("ifconfig-android"))
    phone = rows["10.142.7.33"]
    assert (phone["name"], phone["prefix_length"], phone["address_class"], phone["up"]) == ("rmnet0", 30, "private", True)
    assert rows["2a0d:5600:77:1::1:33"]["name"] == "rmnet0"


def test_android_behind_464xlat() -> None:
    value = parsed("ifconfig-android-clat")
    assert by_address(value)["192.0.0.4"]["name"] == "v4-rmnet_data2"
    result = judge([Reading("interfaces", "pasted", value)])
    assert (result["verdict"], result["inbound_ipv4"]) == ("nat64_464xlat", "blocked")


def test_phone_in_a_carriers_range() -> None:
    text = (FIXTURES / "ifconfig-android.txt").read_text().replace("10.142.7.33", "100.92.7.33")
    result = judge([Reading("interfaces", "pasted", parse_interfaces(text))])
    assert (result["verdict"], result["host_address"]) == ("cgn", "100.92.7.33")


def test_old_ifconfig_with_alias() -> None:
    rows = by_address(parsed("ifconfig-old"))
    assert rows["203.0.113.6"]["name"] == "eth0"
    assert rows["192.168.0.15"]["prefix_length"] == 24


def test_macos() -> None:
    rows = by_address(parsed("ifconfig-macos"))
    assert rows["192.168.1.30"]["prefix_length"] == 24
    assert rows["2a0d:5600:8:1:f1b2:9e1f:33aa:4411"]["temporary"]
    assert rows["2a0d:5600:8:1:10a8:77ff:1a2b:3c4d"]["publish_candidate"]
    assert not rows["100.88.12.3"]["publish_candidate"]
    assert judge([Reading("interfaces", "pasted", parsed("ifconfig-macos"))])["host_address"] == "192.168.1.30"


def test_no_default_route_is_told_apart_from_not_told() -> None:
    text = "192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.20\n"
    assert parse_interfaces((FIXTURES / "ip-oneline.txt").read_text() + text)["default_routes"] == []
    ipv4 = "default via inet6 fe80::1 dev eth0 src 192.0.2.5"
    assert parse_interfaces(ipv4)["default_routes"] == [{"family": "ipv4", "gateway": "fe80::1", "interface": "eth0", "source": "192.0.2.5", "metric": 0}]


def test_routes_of_one_family_say_nothing_of_the_other() -> None:
    addresses = (FIXTURES / "ip-oneline.txt").read_text()
    only6 = parse_interfaces(addresses + "default via fe80::1 dev eth0 proto ra metric 1024 pref medium\n")
    assert only6["route_families"] == ["ipv6"]
    assert judge([Reading("interfaces", "pasted", only6)])["verdict"] == "nat_unknown"
    none4 = parse_interfaces(addresses + "192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.20\n")
    result = judge([Reading("interfaces", "pasted", none4)])
    assert (result["verdict"], result["inbound_ipv4"]) == ("nat_unknown", "blocked")


@pytest.mark.parametrize("text", ["", "  \n", "hello", "command not found", "[]", "[1, 2]", '{"a": 1}', "[" * 5000, "eth0"])
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="ip -j addr"):
        parse_interfaces(text)


def test_too_much_is_refused() -> None:
    with pytest.raises(ParseError, match="characters"):
        parse_interfaces("x" * (MAX_TEXT + 1))


@pytest.mark.parametrize("name", [path.stem for path in sorted(FIXTURES.glob("*.txt"))])
def test_cut_and_garbled_text_never_raises_anything_else(name: str) -> None:
    text, rng = (FIXTURES / f"{name}.txt").read_text(), random.Random(5)
    for _round in range(40):
        start, end = sorted(rng.sample(range(len(text)), 2))
        piece = list(text[start:end])
        for _change in range(rng.randrange(4)):
            piece[rng.randrange(len(piece))] = rng.choice("0[{}\":,/\n x%")
        try:
            result = parse_interfaces("".join(piece))
        except ParseError:
            continue
        judge([Reading("interfaces", "pasted", result)])


@pytest.mark.parametrize(
    ("text", "reason"),
    [("100.64.0", "four numbers"), ("2001:db8::1", "IPv6"), ("192.168.1.01", "leading zeros"), ("", "empty"), ("router", "neither")],
)
def test_typed_address(text: str, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        address_from(text, "observed.wan_address")
    assert address_from(" 100.64.1.2\n", "observed.wan_address") == "100.64.1.2"
