# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses of a host can be published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address import _interfaces
from ansible_collections.homeserver.hardening.plugins.module_utils._address._interfaces import DefaultRoute, describe_network, preferred
from ansible_collections.homeserver.hardening.plugins.module_utils._address._netlink import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_PERMANENT,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    InterfaceAddressRow,
    Link,
    Route,
    parse_address,
    parse_default_route,
    parse_link,
    parse_messages,
)

UP = 0x41
NAMES = {"eth0": 2, "wlan0": 3, "docker0": 4, "tailscale0": 5, "ppp0": 6, "he0": 7, "lo": 1}
KINDS = {"docker0": "bridge", "tailscale0": "tun", "he0": "sit", "ppp0": "ppp"}


def link(name, flags=UP):
    return Link(NAMES[name], name, KINDS.get(name), flags)


LINKS = [link(name) for name in NAMES]


def address(name, text, flags=IFA_F_PERMANENT, prefix_length=24, valid=None):
    return InterfaceAddressRow(NAMES[name], "ipv6" if ":" in text else "ipv4", text, prefix_length, flags, valid, valid)


def route(name, family="ipv4", metric=0, gateway="192.0.2.1", preference=1):
    return Route(family, gateway, NAMES[name], None, metric, preference)


def candidates(rows, routes, links=None):
    return [row.address for row in describe_network(links or LINKS, rows, routes).addresses if row.publish_candidate]


def test_captured():
    texts = json.loads((Path(__file__).parent / "fixtures" / "network.json").read_text(encoding="utf-8"))

    def payloads(name, kind):
        return [message.payload for text in texts[name] for message in parse_messages(bytes.fromhex(text)) if message.kind == kind]

    network = describe_network(
        [parse_link(payload) for payload in payloads("links", RTM_NEWLINK)],
        [parse_address(payload) for payload in payloads("addresses", RTM_NEWADDR)],
        [row for payload in payloads("default_routes", RTM_NEWROUTE) for row in parse_default_route(payload)],
    )
    assert [row.address for row in network.addresses if row.publish_candidate] == [
        "20.30.41.10",
        "20.30.41.11",
        "2a00:db8:5:0:5054:ff:fe12:3456",
        "2a00:db8:5::20",
    ]
    assert [row.address for row in preferred(network.addresses, "ipv6")] == ["2a00:db8:5::20", "2a00:db8:5:0:5054:ff:fe12:3456"]
    assert [row.address for row in preferred(network.addresses, "ipv4")] == ["20.30.41.11", "20.30.41.10"]
    assert [row.address for row in network.addresses if row.temporary] == ["2a00:db8:5:0:5501:4e12:96d9:85e8"]
    assert [row.address for row in network.addresses if row.deprecated] == ["2a00:db8:5::30"]
    assert {row.name for row in network.addresses if row.on_default_route} == {"wan0", "tunnel0"}
    assert network.default_routes == [
        DefaultRoute("ipv4", "20.30.41.1", "wan0", None, 100),
        DefaultRoute("ipv4", None, "tunnel0", None, 500),
        DefaultRoute("ipv6", "fe80::1", "wan0", None, 1024),
    ]
    row = next(row for row in network.addresses if row.address == "20.30.41.10")
    assert row.as_data() == {
        "name": "wan0",
        "address": "20.30.41.10",
        "family": "ipv4",
        "prefix_length": 24,
        "address_class": "global",
        "kind": "veth",
        "up": True,
        "temporary": False,
        "deprecated": False,
        "tentative": False,
        "dynamic": True,
        "valid_lifetime": 600,
        "preferred_lifetime": 300,
        "on_default_route": True,
        "publish_candidate": True,
    }


@pytest.mark.parametrize(
    "text",
    ["192.168.1.20", "100.64.3.4", "192.0.0.2", "169.254.1.1", "192.88.99.2", "192.31.196.1", "224.0.0.1"],
)
def test_only_global_ipv4(text):
    assert candidates([address("eth0", text)], [route("eth0")]) == []


@pytest.mark.parametrize("text", ["fe80::1", "fd00::1", "fec0::1", "2001:db8::1", "2002:808:808::1", "::1", "64:ff9b::808:808"])
def test_only_global_ipv6(text):
    assert candidates([address("eth0", text)], [route("eth0", "ipv6")]) == []


@pytest.mark.parametrize("flags", [IFA_F_TEMPORARY, IFA_F_DEPRECATED, IFA_F_TENTATIVE, IFA_F_DADFAILED | IFA_F_TENTATIVE, IFA_F_DADFAILED])
def test_spoilt_ipv6(flags):
    assert candidates([address("eth0", "2a00::1", flags), address("eth0", "2a00::2")], [route("eth0", "ipv6")]) == ["2a00::2"]


def test_a_secondary_ipv4_address_is_not_temporary():
    rows = [address("eth0", "8.8.8.8"), address("eth0", "8.8.8.9", IFA_F_PERMANENT | 0x01)]
    assert candidates(rows, [route("eth0")]) == ["8.8.8.8", "8.8.8.9"]
    assert not any(row.temporary for row in describe_network(LINKS, rows, []).addresses)


@pytest.mark.parametrize("flags", [0, 0x1, 0x40])
def test_interface_without_carrier(flags):
    assert candidates([address("eth0", "8.8.8.8")], [route("eth0")], [link("eth0", flags)]) == []


def test_no_default_route():
    assert candidates([address("eth0", "8.8.8.8"), address("eth0", "2a00::1")], []) == []


def test_each_family_has_its_own_route():
    rows = [address("eth0", "8.8.8.8"), address("eth0", "2a00::1")]
    assert candidates(rows, [route("eth0")]) == ["8.8.8.8"]
    assert candidates(rows, [route("eth0", "ipv6")]) == ["2a00::1"]


def test_the_first_interface_does_not_win():
    rows = [address("docker0", "20.99.0.1"), address("wlan0", "8.8.4.4"), address("eth0", "8.8.8.8")]
    assert candidates(rows, [route("eth0")]) == ["8.8.8.8"]


def test_the_best_default_route_counts():
    rows = [address("wlan0", "8.8.4.4"), address("eth0", "8.8.8.8")]
    routes = [route("wlan0", metric=600), route("eth0", metric=100)]
    assert candidates(rows, routes) == ["8.8.8.8"]
    assert [row.interface for row in describe_network(LINKS, rows, routes).default_routes] == ["eth0", "wlan0"]
    # behind a router on the best one: the other has an address of its own
    assert candidates([address("eth0", "192.168.1.2"), rows[0]], routes) == ["8.8.4.4"]
    # the cable of the best one is out
    assert candidates(rows, routes, [link("wlan0"), link("eth0", 0x1)]) == ["8.8.4.4"]


def test_router_preference():
    rows = [address("wlan0", "2a00::1"), address("eth0", "2a00::2")]
    routes = [route("wlan0", "ipv6", 1024, "fe80::1", 1), route("eth0", "ipv6", 1024, "fe80::1", 0)]
    assert candidates(rows, routes) == ["2a00::2"]


def test_inner_interfaces_count_only_with_the_default_route():
    rows = [address("docker0", "20.99.0.1"), address("tailscale0", "20.98.0.1"), address("he0", "2a00::1"), address("eth0", "192.168.1.2")]
    assert candidates(rows, [route("eth0"), route("eth0", "ipv6")]) == []
    assert candidates(rows, [route("eth0"), route("he0", "ipv6", gateway=None)]) == ["2a00::1"]


def test_an_address_on_loopback():
    """A router may send a single address here, which then sits on lo, while the link has private ones."""
    assert candidates([address("lo", "8.8.8.8"), address("eth0", "192.168.1.2")], [route("eth0")]) == ["8.8.8.8"]


def test_point_to_point():
    assert candidates([address("ppp0", "8.8.8.8"), address("eth0", "192.168.1.2")], [route("ppp0", gateway=None)]) == ["8.8.8.8"]


def test_an_interface_that_went_away():
    network = describe_network([link("eth0")], [address("wlan0", "8.8.8.8"), address("eth0", "8.8.8.9")], [route("wlan0"), route("eth0", metric=5)])
    assert [row.address for row in network.addresses if row.publish_candidate] == ["8.8.8.9"]
    assert [row.interface for row in network.default_routes] == ["eth0"]


def test_order_of_preference():
    rows = [
        address("eth0", "2a00::5054:ff:fe12:3456", 0, 64, 3600),
        address("eth0", "2a00::99", 0, 128, 3600),
        address("eth0", "2a00::10", IFA_F_PERMANENT, 64),
    ]
    network = describe_network(LINKS, rows, [route("eth0", "ipv6")])
    assert [row.address for row in preferred(network.addresses, "ipv6")] == ["2a00::10", "2a00::99", "2a00::5054:ff:fe12:3456"]
    assert preferred(network.addresses, "ipv4") == []


class Kernel:
    """Stands for the kernel, and notes what it is asked."""

    asked: list = []
    routes: list = []

    def __enter__(self):
        return self

    def __exit__(self, *_unused):
        pass

    def links(self):
        return LINKS

    def addresses(self):
        return [address("eth0", "8.8.8.8")]

    def default_routes(self):
        return self.routes

    def source_towards(self, family, towards, index):
        self.asked.append((family, towards, index))
        return "8.8.8.8" if family == "ipv4" else None


def test_reading(monkeypatch):
    monkeypatch.setattr(_interfaces, "Netlink", Kernel)
    monkeypatch.setattr(Kernel, "asked", [])
    monkeypatch.setattr(
        Kernel,
        "routes",
        [
            route("eth0"),
            route("ppp0", metric=2, gateway=None),
            route("wlan0", metric=3, gateway="fe80::1"),
            route("eth0", "ipv6", gateway="fe80::1"),
            Route("ipv4", "192.0.2.1", NAMES["eth0"], "192.0.2.9", 4),
        ],
    )
    network = _interfaces.read_network()
    assert [row.address for row in network.addresses if row.publish_candidate] == ["8.8.8.8"]
    assert [(row.interface, row.source) for row in network.default_routes] == [
        ("eth0", "8.8.8.8"),
        ("ppp0", "8.8.8.8"),
        ("wlan0", "8.8.8.8"),
        ("eth0", "192.0.2.9"),
        ("eth0", None),
    ]
    assert Kernel.asked == [("ipv4", "192.0.2.1", 2), ("ipv4", "192.0.2.1", 6), ("ipv4", "192.0.2.1", 3), ("ipv6", "2001:db8::1", 2)]
    assert network.default_routes[0].as_data() == {"family": "ipv4", "gateway": "192.0.2.1", "interface": "eth0", "source": "8.8.8.8", "metric": 0}


def test_this_host():
    network = _interfaces.read_network()
    assert "loopback" in {row.address_class for row in network.addresses} or not network.addresses
