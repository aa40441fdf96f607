# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsing what a kernel sent (fixtures/network.json, taken in a network namespace), and what it could send."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address import _netlink
from ansible_collections.homeserver.hardening.plugins.module_utils._address._netlink import (
    InterfaceAddressRow,
    Link,
    Netlink,
    NetlinkError,
    Route,
    parse_address,
    parse_attributes,
    parse_default_route,
    parse_link,
    parse_messages,
    parse_source,
)

CAPTURED = {
    name: [bytes.fromhex(text) for text in texts]
    for name, texts in json.loads((Path(__file__).parent / "fixtures" / "network.json").read_text(encoding="utf-8")).items()
}


def payloads(name, kind):
    return [message.payload for data in CAPTURED[name] for message in parse_messages(data) if message.kind == kind]


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def message(kind, payload=b"", flags=_netlink.NLM_F_MULTI):
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, 1, 0) + payload + b"\0" * (-len(payload) % 4)


def route(*attributes, family=socket.AF_INET, length=0, table=254, kind=1):
    return struct.pack("=BBBBBBBBI", family, length, 0, 0, table, 3, 0, kind, 0) + b"".join(attributes)


def number(value):
    return struct.pack("=I", value)


def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def test_captured_links():
    assert [(link.index, link.name, link.kind, link.up) for link in map(parse_link, payloads("links", _netlink.RTM_NEWLINK))] == [
        (1, "lo", None, True),
        (2, "far0", "veth", True),
        (3, "wan0", "veth", True),
        (4, "docker0", "bridge", True),
        (5, "tunnel0", "tun", False),
    ]


def test_captured_addresses():
    rows = {row.address: row for row in map(parse_address, payloads("addresses", _netlink.RTM_NEWADDR))}
    assert len(rows) == 17
    assert rows["20.30.41.10"] == InterfaceAddressRow(3, "ipv4", "20.30.41.10", 24, 0, 600, 300)
    # for IPv4 the lowest bit is "secondary", not "temporary"
    assert rows["20.30.41.11"] == InterfaceAddressRow(3, "ipv4", "20.30.41.11", 24, 0x81, None, None)
    # the address of this side, not 10.8.0.1 of the other
    assert rows["10.8.0.2"].prefix_length == 32
    assert rows["2a00:db8:5:0:5501:4e12:96d9:85e8"] == InterfaceAddressRow(3, "ipv6", "2a00:db8:5:0:5501:4e12:96d9:85e8", 64, 0x41, 7200, 3600)
    # more than the eight bits of the header
    assert rows["2a00:db8:5:0:5054:ff:fe12:3456"].flags == _netlink.IFA_F_MANAGETEMPADDR | 0x02
    assert rows["2a00:db8:5::30"].flags & _netlink.IFA_F_DEPRECATED
    assert rows["2a00:db8:5::30"].preferred_lifetime == 0
    assert rows["2a00:db8:5::40"].flags == _netlink.IFA_F_TENTATIVE | _netlink.IFA_F_PERMANENT


def test_captured_default_routes():
    routes = [row for payload in payloads("default_routes", _netlink.RTM_NEWROUTE) for row in parse_default_route(payload)]
    # neither that of table 77 nor the blackhole
    assert routes == [
        Route("ipv4", "20.30.41.1", 3, None, 100),
        Route("ipv4", None, 5, None, 500),
        Route("ipv6", "fe80::1", 3, None, 1024, 0),
    ]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (route(attribute(4, number(2))), [Route("ipv4", None, 2, None, 0)]),
        (
            route(attribute(5, packed("192.0.2.1")), attribute(4, number(2)), attribute(7, packed("192.0.2.9")), attribute(6, number(50))),
            [Route("ipv4", "192.0.2.1", 2, "192.0.2.9", 50)],
        ),
        # IPv4 over an IPv6 gateway
        (route(attribute(18, struct.pack("=H", socket.AF_INET6) + packed("fe80::1")), attribute(4, number(2))), [Route("ipv4", "fe80::1", 2, None, 0)]),
        (route(attribute(18, b""), attribute(4, number(2))), [Route("ipv4", None, 2, None, 0)]),
        # a table with a number above 255 is in the attribute only; 252 says so
        (route(attribute(4, number(2)), attribute(15, number(51820)), table=252), []),
        (route(attribute(4, number(2)), attribute(15, number(254)), table=252), [Route("ipv4", None, 2, None, 0)]),
        (route(attribute(4, number(2)), table=77), []),
        (route(attribute(4, number(2)), length=1), []),
        (route(attribute(4, number(2)), kind=7), []),
        (route(attribute(4, number(2)), family=socket.AF_UNIX), []),
        (route(family=socket.AF_INET6), []),
        # router preferences of RFC 4191
        (route(attribute(4, number(2)), attribute(20, b"\x01"), family=socket.AF_INET6), [Route("ipv6", None, 2, None, 0, 0)]),
        (route(attribute(4, number(2)), attribute(20, b"\x00"), family=socket.AF_INET6), [Route("ipv6", None, 2, None, 0, 1)]),
        (route(attribute(4, number(2)), attribute(20, b"\x03"), family=socket.AF_INET6), [Route("ipv6", None, 2, None, 0, 2)]),
        # two next hops
        (
            route(
                attribute(6, number(7)),
                attribute(
                    9,
                    struct.pack("=HBBi", 16, 0, 0, 2) + attribute(5, packed("192.0.2.1")) + struct.pack("=HBBi", 8, 0, 0, 3),
                ),
            ),
            [Route("ipv4", "192.0.2.1", 2, None, 7), Route("ipv4", None, 3, None, 7)],
        ),
    ],
)
def test_routes(payload, expected):
    assert parse_default_route(payload) == expected


@pytest.mark.parametrize(
    ("family", "attributes", "expected"),
    [
        (socket.AF_INET, [attribute(1, packed("192.0.2.1"))], InterfaceAddressRow(9, "ipv4", "192.0.2.1", 24, 0x80, None, None)),
        (
            socket.AF_INET,
            [attribute(1, packed("192.0.2.1")), attribute(2, packed("192.0.2.2"))],
            InterfaceAddressRow(9, "ipv4", "192.0.2.2", 24, 0x80, None, None),
        ),
        (socket.AF_INET6, [attribute(1, packed("::1")), attribute(8, number(0x880))], InterfaceAddressRow(9, "ipv6", "::1", 24, 0x880, None, None)),
        (
            socket.AF_INET6,
            [attribute(1, packed("::1")), attribute(6, struct.pack("=IIII", 5, 0xFFFFFFFF, 0, 0))],
            InterfaceAddressRow(9, "ipv6", "::1", 24, 0x80, None, 5),
        ),
        (socket.AF_INET, [], None),
        (socket.AF_INET6, [attribute(1, packed("192.0.2.1"))], None),
        (socket.AF_UNIX, [attribute(1, packed("192.0.2.1"))], None),
    ],
)
def test_addresses(family, attributes, expected):
    assert parse_address(struct.pack("=BBBBI", family, 24, 0x80, 0, 9) + b"".join(attributes)) == expected


def test_links():
    header = struct.pack("=BxHiII", 0, 1, 4, 0x1, 0)
    assert parse_link(header + attribute(3, b"eth0\0")) == Link(4, "eth0", None, 0x1)
    assert parse_link(header + attribute(18 | 0x8000, attribute(1, b"vlan\0")) + attribute(3, b"lan.5\0")) == Link(4, "lan.5", "vlan", 0x1)
    assert not parse_link(header).up


def test_source():
    assert parse_source(route(attribute(7, packed("192.0.2.9")))) == "192.0.2.9"
    assert parse_source(route()) is None
    assert parse_source(route(family=socket.AF_UNIX)) is None


@pytest.mark.parametrize("data", [b"\x08\0\0\0" + b"\0" * 12, struct.pack("=IHHII", 32, 16, 0, 0, 0)])
def test_broken_messages(data):
    with pytest.raises(NetlinkError, match="netlink message"):
        list(parse_messages(data))


@pytest.mark.parametrize("data", [struct.pack("=HH", 3, 1), struct.pack("=HH", 8, 1)])
def test_broken_attributes(data):
    with pytest.raises(NetlinkError, match="netlink attribute"):
        parse_attributes(data)


@pytest.mark.parametrize("length", [0, 7, 16])
def test_broken_next_hops(length):
    with pytest.raises(NetlinkError, match="next hop"):
        parse_default_route(route(attribute(9, struct.pack("=HBBi", length, 0, 0, 2))))


class Kernel:
    """Stands for the socket: answers each request with the next of the given reads."""

    def __init__(self, *reads):
        self.reads = list(reads)
        self.sent = []

    def send(self, data):
        self.sent.append(data)

    def recvmsg(self, _size):
        read = self.reads.pop(0)
        if isinstance(read, Exception):
            raise read
        return (*read, None) if isinstance(read, tuple) else (read, [], 0, None)

    def close(self):
        pass


@pytest.fixture
def netlink():
    with Netlink() as connection:
        connection._socket.close()
        yield connection


DONE = message(_netlink.NLMSG_DONE, number(0))
ROW = struct.pack("=BBBBI", socket.AF_INET, 24, 0x80, 0, 9) + attribute(1, packed("192.0.2.1"))


def test_dump_over_several_reads(netlink):
    netlink._socket = Kernel(message(20, ROW) + message(20, ROW), message(20, ROW), DONE)
    assert [row.address for row in netlink.addresses()] == ["192.0.2.1"] * 3
    assert struct.unpack_from("=IHH", netlink._socket.sent[0]) == (24, 22, 0x301)


def test_disturbed_dump_is_repeated(netlink):
    disturbed = message(20, ROW, _netlink.NLM_F_MULTI | _netlink.NLM_F_DUMP_INTR) + DONE
    netlink._socket = Kernel(disturbed, disturbed, message(20, ROW) + DONE)
    assert len(netlink.addresses()) == 1
    assert len(netlink._socket.sent) == 3


def test_a_dump_that_is_disturbed_for_ever_ends(netlink):
    disturbed = message(20, ROW, _netlink.NLM_F_MULTI | _netlink.NLM_F_DUMP_INTR) + DONE
    netlink._socket = Kernel(*[disturbed] * 5)
    assert len(netlink.addresses()) == 1


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (message(_netlink.NLMSG_ERROR, struct.pack("=i", -1) + b"\0" * 16, 0), "Operation not permitted"),
        (TimeoutError("timed out"), "the kernel did not answer: timed out"),
        (ConnectionRefusedError(111, "Connection refused"), "the kernel did not answer: Connection refused"),
        ((message(20, ROW), [], socket.MSG_TRUNC), "longer than 64 KiB"),
    ],
)
def test_failed_dump(netlink, read, reason):
    netlink._socket = Kernel(read)
    with pytest.raises(NetlinkError, match=reason):
        netlink.addresses()


def test_lookup(netlink):
    netlink._socket = Kernel(message(24, route(attribute(7, packed("192.0.2.9"))), 0))
    assert netlink.source_towards("ipv4", "192.0.2.1", 2) == "192.0.2.9"
    netlink._socket = Kernel(message(_netlink.NLMSG_ERROR, struct.pack("=i", -101) + b"\0" * 16, 0))
    assert netlink.source_towards("ipv6", "2001:db8::1", 2) is None
    netlink._socket = Kernel(message(_netlink.NLMSG_ERROR, struct.pack("=i", 0) + b"\0" * 16, 0))
    assert netlink.source_towards("ipv4", "192.0.2.1", 2) is None


def test_without_netlink(monkeypatch):
    monkeypatch.delattr(socket, "AF_NETLINK")
    with pytest.raises(NetlinkError, match="on Linux only"):
        Netlink()


def test_netlink_forbidden(monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(NetlinkError, match="cannot open a netlink socket: Permission denied"):
        Netlink()


def test_this_host_answers():
    with Netlink() as netlink:
        links = netlink.links()
        netlink.addresses()
        netlink.default_routes()
    assert "lo" in [link.name for link in links]
