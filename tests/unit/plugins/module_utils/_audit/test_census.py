# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who counts as whom among those who answer a search, over IPv4 and IPv6."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address._interfaces import DefaultRoute, InterfaceAddress, Network
from ansible_collections.homeserver.hardening.plugins.module_utils._audit import _census as census
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._document import read_device
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._ipv6 import Place, Url6, find_place, host_of, parse_neighbour
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._model import Device
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._links import Link

LINK = Link("eth0", "192.0.2.10", "192.0.2.1", (ipaddress.IPv4Network("192.0.2.0/24"),))
PLACE = Place(
    "eth0",
    2,
    "2001:db8::10",
    ipaddress.IPv6Network("2001:db8::/64"),
    "fe80::1",
    "fe80::10",
    frozenset({"2001:db8::10", "fe80::10"}),
    (ipaddress.IPv6Network("2001:db8::/64"),),
)
SPEAKER = "2001:db8::20"
ROUTER_CARD, OTHER_CARD = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


def heard(place: Place | None = PLACE) -> census._Heard:
    return census._Heard(LINK, "Acme/1", place, via={"multicast"})


def address(text: str, prefix_length: int = 64, **changed: bool) -> InterfaceAddress:
    flags = {"temporary": False, "deprecated": False, "tentative": False, "dynamic": True, **changed}
    return InterfaceAddress(
        *("lo", text, "ipv6", prefix_length, "global", None, True),
        **flags,
        valid_lifetime=None,
        preferred_lifetime=None,
        on_default_route=True,
        publish_candidate=not flags["temporary"],
    )


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        # From its link-local address it names the other one, which answers too.
        ({("fe80::1", "http://[2001:db8::1]:5000/d"), ("2001:db8::1", "http://[2001:db8::1]:5000/d")}, {"2001:db8::1"}),
        ({("fe80::1", "http://[2001:db8::1]:5000/d"), ("2001:db8::1", "http://[2001:db8::1]:5001/other")}, {"fe80::1", "2001:db8::1"}),
        ({("fe80::1", "http://192.0.2.1:5000/d"), ("192.0.2.1", "http://192.0.2.1:5000/d")}, {"192.0.2.1"}),
        # Over IPv4 a host has one address: who names another is written down.
        ({("192.0.2.20", "http://192.0.2.1:5000/d"), ("192.0.2.1", "http://192.0.2.1:5000/d")}, {"192.0.2.20", "192.0.2.1"}),
        ({("fe80::1", "http://[FE80:0::1%25eth0]:5000/d")}, {"fe80::1"}),
    ],
)
def test_who_is_left_out(rows: set[tuple[str, str]], kept: set[str]) -> None:
    left = census.without_echoes({row: heard(PLACE if ":" in row[0] else None) for row in rows})
    assert {sender for sender, _location in left} == kept


CARDS = {
    (2, "192.0.2.1"): ROUTER_CARD,
    (2, "fe80::1"): ROUTER_CARD,
    (2, "2001:db8::1"): ROUTER_CARD,
    (2, "192.0.2.20"): OTHER_CARD,
    (2, SPEAKER): OTHER_CARD,
    (3, "2001:db8::30"): ROUTER_CARD,
}


@pytest.mark.parametrize(
    ("sender", "ipv4", "default_gateway"),
    [
        ("2001:db8::1", "192.0.2.1", True),
        ("fe80::1", "192.0.2.1", True),
        (SPEAKER, "192.0.2.20", False),
        # On another link the same number says nothing.
        ("2001:db8::30", "", False),
        ("2001:db8::99", "", False),
        ("192.0.2.20", "", False),
    ],
)
def test_the_ipv4_address_of_a_device(sender: str, ipv4: str, default_gateway: bool) -> None:
    known = [Device("192.0.2.20", "eth0", "http://192.0.2.20/d")]
    seen = census.with_ipv4(Device(sender, "eth0", ""), 2, "192.0.2.1", known, CARDS)
    assert (seen.ipv4, seen.default_gateway) == (ipv4, default_gateway)


@pytest.mark.parametrize(("sender", "elsewhere"), [("2001:db8::1", False), (SPEAKER, True)])
def test_the_router_may_name_its_address_on_the_other_side(sender: str, elsewhere: bool) -> None:
    seen = Device(sender, "eth0", "http://[2001:db8:9::1]/d", elsewhere=True, problem="it names 2001:db8:9::1")
    named = census.with_ipv4(seen, 2, "192.0.2.1", [Device("192.0.2.20", "eth0", "")], CARDS)
    assert (named.elsewhere, named.problem) == (elsewhere, seen.problem)


def test_a_gateway_over_ipv4_that_names_another_stays_one_that_does() -> None:
    seen = Device("192.0.2.1", "eth0", "http://192.0.2.9/d", default_gateway=True, elsewhere=True)
    assert census.with_ipv4(seen, 2, "192.0.2.1", [], CARDS) == seen


def test_without_the_kernels_list_nobody_is_the_router_by_his_card() -> None:
    seen = census.with_ipv4(Device("2001:db8::1", "eth0", ""), 2, "192.0.2.1", [], {})
    assert (seen.ipv4, seen.default_gateway) == ("", False)


@pytest.mark.parametrize(
    ("sender", "location", "elsewhere", "problem"),
    [
        (SPEAKER, "http://[2001:db8:9::1]/d", True, "it names 2001:db8:9::1, which did not answer"),
        (SPEAKER, "http://203.0.113.9/d", True, "it names 203.0.113.9"),
        (SPEAKER, "http://tv/d", True, "it names tv"),
        (SPEAKER, "nonsense", True, "it names no usable address"),
        # Another address of the network may be its own.
        (SPEAKER, "http://[2001:db8::21]/d", False, "it names 2001:db8::21, which did not answer"),
        (SPEAKER, "http://[fe80::21]/d", False, "it names fe80::21"),
        (SPEAKER, "http://192.0.2.21/d", False, "it names 192.0.2.21"),
        (SPEAKER, f"https://[{SPEAKER}]/d", False, "only http://"),
        (SPEAKER, f"http://me@[{SPEAKER}]/d", False, "only http://"),
    ],
)
def test_who_names_another_address_is_not_asked(monkeypatch: pytest.MonkeyPatch, sender: str, location: str, elsewhere: bool, problem: str) -> None:
    def asked(*_arguments: object) -> None:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(census.http_client, "get", asked)
    monkeypatch.setattr(census.http_client, "request", asked)
    device = census._describe((sender, location), heard(), None, census.Deadline(5))
    assert (device.elsewhere, device.device_type) == (elsewhere, "")
    assert problem in device.problem


def test_one_device_does_not_keep_out_the_others() -> None:
    answers = census._Answers()
    for number in range(20):
        if answers.has_room("192.0.2.20", False):
            answers.rows["192.0.2.20", str(number)] = heard(None)
    assert len(answers.rows) == 8
    assert answers.cut
    for number in range(100):
        if answers.has_room(f"192.0.2.{number + 100}", False):
            answers.rows[f"192.0.2.{number + 100}", ""] = heard(None)
    assert len(answers.rows) == 64
    assert not answers.has_room("192.0.2.21", False)
    assert answers.has_room("192.0.2.1", True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("fe80::1", True), ("2001:db8::1", True), ("2001:db8::10", False), ("fe80::10", False), ("2001:db8:9::1", False), ("ff02::c", False), ("::1", False)],
)
def test_who_is_on_the_link(text: str, expected: bool) -> None:
    assert PLACE.reaches(text) is expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://[2001:DB8:0::1]:80/", "2001:db8::1"),
        ("http://[fe80::1%25eth0]/", "fe80::1"),
        ("http://192.0.2.1:5000/d", "192.0.2.1"),
        ("http://[x]/", ""),
        ("http://[fe80::1", ""),
        ("", ""),
    ],
)
def test_the_host_of_an_address(location: str, expected: str) -> None:
    assert host_of(location) == expected


def test_the_place_on_an_interface() -> None:
    rows = [address("fe80::10"), address("2001:db8::aaaa", temporary=True), address("2001:db8::10"), address("fd00::10"), address("2001:db8:1::5", 128)]
    place = find_place("lo", Network(rows, [DefaultRoute("ipv6", "fe80::1", "lo", None, 0), DefaultRoute("ipv6", "fe80::2", "eth9", None, 0)]))
    assert (place.address, place.link_local, place.gateway) == ("2001:db8:1::5", "fe80::10", "fe80::1")
    assert str(place.prefix) == "2001:db8:1::/64"
    assert place.scope == place.index == socket.if_nametoindex("lo")
    assert {str(network) for network in place.networks} == {"2001:db8::/64", "fd00::/64"}
    assert place.own == {row.address for row in rows}
    unused = ipaddress.IPv6Address(place.unused())
    assert unused in ipaddress.IPv6Network("2001:db8:1::/64")
    assert str(unused) not in place.own


def test_no_place() -> None:
    assert find_place("lo", Network([], [])).address == ""
    assert find_place("no-such-interface", Network([], [])) == Place("no-such-interface")
    assert Place("lo", prefix=ipaddress.IPv6Network("2001:db8::/120")).unused() == ""


def test_an_address_on_this_link_only() -> None:
    url = PLACE.url("fe80::1", 5000, "/d")
    assert (url.host, url.netloc, str(url)) == ("fe80::1%eth0", "[fe80::1]:5000", "http://[fe80::1]:5000/d")
    assert PLACE.url("2001:db8::1", 80, "/").host == "2001:db8::1"
    body = b"<root><device><deviceType>x</deviceType><serviceList><service><serviceType>urn:s:service:X:1</serviceType><controlURL>/ctl</controlURL>"
    body += b"<eventSubURL>http://[fe80::2]/evt</eventSubURL></service></serviceList></device></root>"
    _kind, _product, services = read_device(body, url)
    assert services[0].control == Url6("fe80::1%eth0", 5000, "/ctl")
    assert services[0].event is None


def test_a_neighbour() -> None:
    def payload(family: int, host: bytes, card: bytes) -> bytes:
        text = struct.pack("=BxHiHBB", family, 0, 2, 2, 0, 1)
        for kind, value in ((1, host), (2, card)):
            text += struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
        return text

    assert parse_neighbour(payload(socket.AF_INET, bytes((192, 0, 2, 1)), ROUTER_CARD)) == ((2, "192.0.2.1"), ROUTER_CARD)
    assert parse_neighbour(payload(socket.AF_INET6, ipaddress.IPv6Address("fe80::1").packed, ROUTER_CARD)) == ((2, "fe80::1"), ROUTER_CARD)
    # Of loopback, and of whom did not answer.
    assert parse_neighbour(payload(socket.AF_INET, bytes((127, 0, 0, 1)), bytes(6))) is None
    assert parse_neighbour(payload(socket.AF_INET, bytes((192, 0, 2, 1)), b"")) is None
