# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address._interfaces import DefaultRoute, InterfaceAddress, Network
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import BadRequestError, NoGatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._links import read_link6, read_links


def address(name: str, text: str, prefix: int = 24, family: str = "ipv4") -> InterfaceAddress:
    values: dict[str, Any] = dict.fromkeys(InterfaceAddress.__dataclass_fields__)
    for field in ("temporary", "deprecated", "tentative", "dynamic", "on_default_route", "publish_candidate"):
        values[field] = False
    return InterfaceAddress(**{**values, "name": name, "address": text, "family": family, "prefix_length": prefix, "address_class": "private", "up": True})


HOME = [address("lo", "127.0.0.1", 8), address("eth0", "192.168.1.10"), address("docker0", "172.17.0.1", 16), address("eth0", "2001:db8::10", 64, "ipv6")]
ROUTE = DefaultRoute("ipv4", "192.168.1.1", "eth0", "192.168.1.10", 100)
VPN_ROUTE = DefaultRoute("ipv4", "10.8.0.1", "tun0", "10.8.0.2", 5)
VPN = address("tun0", "10.8.0.2")


def test_the_default_route_decides() -> None:
    links = read_links(network=Network(HOME, [DefaultRoute("ipv6", "fe80::1", "eth0", None, 1), ROUTE]))
    assert [(link.interface, link.source, link.gateway) for link in links] == [("eth0", "192.168.1.10", "192.168.1.1")]
    assert read_links(network=Network(HOME, [])) == []


def test_two_default_routes_are_both_asked_in_their_order() -> None:
    links = read_links(network=Network([*HOME, VPN], [VPN_ROUTE, ROUTE]))
    assert [link.interface for link in links] == ["tun0", "eth0"]
    assert [link.interface for link in read_links("eth0", network=Network([*HOME, VPN], [VPN_ROUTE, ROUTE]))] == ["eth0"]


def test_a_point_to_point_route_has_no_router_to_ask() -> None:
    assert read_links(network=Network([*HOME, VPN], [DefaultRoute("ipv4", None, "tun0", "10.8.0.2", 5)])) == []


def test_an_interface_without_a_default_route() -> None:
    link = read_links("eth0", network=Network([*HOME, VPN], [VPN_ROUTE]))[0]
    assert (link.interface, link.source, link.gateway) == ("eth0", "192.168.1.10", None)


def test_a_gateway_is_asked_from_the_link_that_reaches_it() -> None:
    network = Network([*HOME, VPN], [VPN_ROUTE, ROUTE])
    assert read_links(gateway="192.168.1.1", network=network)[0].interface == "eth0"
    assert read_links(gateway="192.168.1.254", network=network)[0].interface == "eth0"
    assert read_links(gateway="10.8.0.1", network=network)[0].interface == "tun0"


@pytest.mark.parametrize(
    "gateway",
    ["203.0.113.1", "192.168.2.1", "192.168.1.10", "192.168.1.0", "192.168.1.255", "127.0.0.1", "127.0.0.2", "0.0.0.0", "224.0.0.1", "239.255.255.250"],
)
def test_a_gateway_that_is_not_on_the_lan(gateway: str) -> None:
    with pytest.raises(BadRequestError, match=gateway) as caught:
        read_links(gateway=gateway, network=Network(HOME, [ROUTE]))
    assert "192.168.1.0/24" in str(caught.value)


def test_a_gateway_on_another_interface_than_the_one_named() -> None:
    with pytest.raises(BadRequestError, match=r"192\.168\.1\.1"):
        read_links("docker0", "192.168.1.1", network=Network(HOME, [ROUTE]))


def test_an_interface_that_does_not_exist() -> None:
    with pytest.raises(BadRequestError, match="'eth9'.*docker0, eth0, lo"):
        read_links("eth9", network=Network(HOME, [ROUTE]))


def test_an_interface_without_ipv4() -> None:
    with pytest.raises(BadRequestError, match="'six0' has no IPv4"):
        read_links("six0", network=Network([*HOME, address("six0", "2001:db8::1", 64, "ipv6")], [ROUTE]))


def test_a_gateway_outside_of_the_prefix_counts_if_the_default_route_says_so() -> None:
    network = Network([address("eth0", "203.0.113.5", 32)], [DefaultRoute("ipv4", "172.31.1.1", "eth0", "203.0.113.5", 0)])
    assert read_links(network=network)[0].reaches("172.31.1.1")


def six(text: str, kind: str = "global", name: str = "eth0", prefix: int = 64, **flags: Any) -> InterfaceAddress:
    fit = kind == "global" and not {"temporary", "deprecated", "tentative"} & set(flags)
    return replace(address(name, text, prefix, "ipv6"), address_class=kind, publish_candidate=fit, **flags)


SIX = [six("::1", "loopback", "lo", 128), six("fe80::10", "link_local"), six("fd00::10", "ula"), six("2a00:77::10")]
TEMPORARY, OLD = six("2a00:77::dead", temporary=True, dynamic=True), six("2a00:76::10", deprecated=True)
ROUTE6 = DefaultRoute("ipv6", "fe80::1", "eth0", "2a00:77::dead", 100)


def test_the_address_that_pinholes_are_for() -> None:
    link = read_link6(network=Network([TEMPORARY, OLD, *SIX], [ROUTE, ROUTE6]))
    assert (link.interface, link.source, link.gateway, link.local) == ("eth0", "2a00:77::10", "fe80::1%eth0", "fe80::10")
    assert link.addresses == {"2a00:77::10", "2a00:77::dead", "2a00:76::10", "fd00::10", "fe80::10"}
    assert link.reaches("fe80::1%eth0")
    assert str(link) == "eth0 (2a00:77::10)"


def test_a_router_with_a_global_address() -> None:
    assert read_link6(network=Network(SIX, [replace(ROUTE6, gateway="2a00:77::1")])).gateway == "2a00:77::1"


def test_an_address_configured_for_ever_before_one_that_is_announced() -> None:
    dynamic = six("2a00:70::10", dynamic=True)
    assert read_link6(network=Network([dynamic, *SIX], [ROUTE6])).source == "2a00:77::10"
    assert read_link6("eth1", Network([*SIX, replace(dynamic, name="eth1")], [ROUTE6, replace(ROUTE6, interface="eth1")])).source == "2a00:70::10"


@pytest.mark.parametrize(
    ("addresses", "routes", "words"),
    [
        (SIX, [ROUTE], "no default route over IPv6"),
        (SIX[:3], [ROUTE6], r"eth0 fe80::10 \(link_local\), eth0 fd00::10 \(ula\)"),
        ([*SIX[:3], TEMPORARY, OLD], [ROUTE6], r"2a00:77::dead \(temporary, global\), eth0 2a00:76::10 \(deprecated, global\)"),
        ([*SIX[:3], six("2a00:77::10", tentative=True)], [ROUTE6], r"2a00:77::10 \(tentative, global\)"),
        ([], [ROUTE6], "it has: none"),
        (SIX, [replace(ROUTE6, gateway=None, interface="ppp0")], "ppp0 without a router before it"),
    ],
)
def test_no_address_to_open_a_port_for(addresses: list[InterfaceAddress], routes: list[DefaultRoute], words: str) -> None:
    with pytest.raises(NoGatewayError, match=words):
        read_link6(network=Network(addresses, routes))


def test_another_interface_has_none() -> None:
    with pytest.raises(NoGatewayError, match="no default route over IPv6 over eth1"):
        read_link6("eth1", Network(SIX, [ROUTE6]))
