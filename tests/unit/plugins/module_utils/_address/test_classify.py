# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classification against tables that are read and searched independently of it: the slow way, with Python's ipaddress."""

from __future__ import annotations

import csv
import ipaddress
import random
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address import _classify
from ansible_collections.homeserver.hardening.plugins.module_utils._address._classify import (
    InvalidAddress,
    address_class,
    classify,
    describe,
    is_publishable,
)

FIXTURES = Path(__file__).parent / "fixtures"
REACHABLE = {"true": True, "false": False, "null": None, "True": True, "False": False, "N/A": None, "": None}


def read(name):
    with (FIXTURES / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


CLASSES = [(ipaddress.ip_network(row["block"]), row) for row in read("address-classes.csv")]
REGISTRY = [(ipaddress.ip_network(row["address_block"]), row) for family in (4, 6) for row in read(f"iana-ipv{family}-special.csv")]


def longest(table, address):
    rows = [(network.prefixlen, row) for network, row in table if network.version == address.version and address in network]
    return max(rows, key=lambda row: row[0])[1] if rows else None


def edges(network):
    """Give first, last, the one before the first and the one after the last."""
    make = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    first, last, end = int(network.network_address), int(network.broadcast_address), 2**network.max_prefixlen - 1
    return [make(number) for number in dict.fromkeys((first, last, max(first - 1, 0), min(last + 1, end)))]


EDGES = sorted({(address.version, str(address)) for network, _row in [*CLASSES, *REGISTRY] for address in edges(network)})


def mismatches(answer):
    """List where an answer (text → class, globally_reachable) differs from the tables."""
    found = []
    for _version, text in EDGES:
        row = longest(CLASSES, ipaddress.ip_address(text))
        if answer(text) != (row["address_class"], REACHABLE[row["globally_reachable"]]):
            found.append(text)
    return found


def ours(text):
    address = classify(text)
    return address.address_class, address.globally_reachable


def test_there_are_38_classes_and_enough_edges():
    assert len({row["address_class"] for _network, row in CLASSES}) == 38
    assert len(REGISTRY) == 51
    assert len(EDGES) > 150


@pytest.mark.parametrize("text", [text for _version, text in EDGES])
def test_edges_of_every_row(text):
    row = longest(CLASSES, ipaddress.ip_address(text))
    registered = longest(REGISTRY, ipaddress.ip_address(text))
    address = classify(text)
    assert address.address == text
    assert address.family == row["family"]
    assert address.address_class == row["address_class"] == address_class(text)
    assert address.globally_reachable is REACHABLE[row["globally_reachable"]]
    assert address.iana_block == (registered and registered["address_block"])
    assert address.iana_name == (registered and registered["name"])
    if registered:
        assert address.rfc == registered["rfc"]
        assert address.globally_reachable is REACHABLE[registered["globally_reachable"]]
        assert address.source == "iana_special"
    assert address.publishable is is_publishable(text) is (row["address_class"] == "global")
    assert describe(text) == {**address._asdict(), "valid": True, "reason": None, "publishable": address.publishable}


def test_the_check_of_all_edges_finds_nothing():
    assert mismatches(ours) == []


@pytest.mark.parametrize("block", ["192.88.99.2/32", "2001:1::3/128", "100.64.0.0/10", "5f00::/16"])
def test_the_check_of_all_edges_finds_a_missing_row(block, monkeypatch):
    """Planted fault: a row is given the class of what surrounds it."""
    network = ipaddress.ip_network(block)
    starts, name = (_classify._STARTS4, "_ROWS4") if network.version == 4 else (_classify._STARTS6, "_ROWS6")
    position = starts.index(network.network_address.packed) + 1
    rows = list(getattr(_classify, name))
    rows[position] = rows[position - 1]
    monkeypatch.setattr(_classify, name, rows)
    assert str(network.network_address) in mismatches(ours)


def test_random_addresses():
    source = random.Random(7)
    for _repetition in range(3000):
        network, _row = source.choice(CLASSES)
        bits = network.max_prefixlen
        number = int(network.network_address) ^ source.getrandbits(source.randint(1, bits))
        address = (ipaddress.IPv4Address if bits == 32 else ipaddress.IPv6Address)(number)
        row = longest(CLASSES, address)
        assert ours(str(address)) == (row["address_class"], REACHABLE[row["globally_reachable"]]), address
        assert address_class(str(address)) == row["address_class"]


# What the registries say and other software does not.
@pytest.mark.parametrize(
    ("text", "name", "reachable"),
    [
        # three values, not two
        ("2001::1", "teredo", None),
        ("2002::1", "sixtofour", None),
        ("192.88.99.1", "deprecated_6to4_relay", None),
        ("2001:10::1", "deprecated_orchid", None),
        # the longest match flips both ways
        ("192.0.0.8", "dummy", False),
        ("192.0.0.9", "anycast_pcp", True),
        ("192.0.0.10", "anycast_turn", True),
        ("192.0.0.11", "ietf_protocol", False),
        ("192.0.0.255", "ietf_protocol", False),
        ("2001:1::1", "anycast_pcp", True),
        ("2001:1::2", "anycast_turn", True),
        ("2001:3::1", "amt", True),
        ("2001:4:112::1", "as112", True),
        ("2001:20::1", "orchidv2", True),
        ("2001:30::1", "drone_det", True),
        ("2001:5::1", "ietf_protocol", False),
        ("192.88.99.2", "relay_6a44", False),
        # in no special-purpose registry
        ("224.0.0.1", "multicast", False),
        ("239.192.0.1", "multicast", False),
        ("226.84.185.150", "multicast", False),
        ("ff01::", "multicast", False),
        ("ff02::1", "multicast", False),
        ("fec0::1", "site_local", False),
        ("4000::1", "reserved_ietf", False),
        ("::2", "ipv4_compatible", False),
        ("::ffff:0:10.0.0.1", "ipv4_translated", False),
        ("1::1", "reserved_ietf", False),
        ("8000::", "reserved_ietf", False),
        # newer than most libraries
        ("3fff::1", "documentation", False),
        ("5f00::1", "srv6_sid", False),
        ("2001:1::3", "anycast_dnssd_srp", True),
        ("100:0:0:1::1", "dummy", False),
        ("100::1", "discard", False),
        ("64:ff9b:1::1", "nat64_local", False),
        ("2001:2:0:ffff:ffff:ffff:ffff:ffff", "benchmarking", False),
        ("2001:2:ffff::1", "ietf_protocol", False),
        # said to be public, or private, elsewhere
        ("100.64.0.0", "shared_cgn", False),
        ("100.127.255.255", "shared_cgn", False),
        ("100.128.0.0", "global", True),
        ("128.0.0.0", "global", True),
        ("1.255.255.255", "global", True),
        ("192.0.0.2", "ipv4_service_continuity", False),
        ("192.31.196.1", "as112", True),
        ("192.52.193.1", "amt", True),
        # nobody has it yet, or only a closed network: global all the same, so a test of reachability is needed as well
        ("2d00::1", "global", True),
        ("2408::1", "global", True),
        ("2002:a00:1::", "sixtofour", None),
    ],
)
def test_traps(text, name, reachable):
    assert (classify(text).address_class, classify(text).globally_reachable) == (name, reachable)


@pytest.mark.parametrize(
    ("text", "name", "embedded", "effective"),
    [
        ("::ffff:8.8.8.8", "ipv4_mapped", "8.8.8.8", True),
        ("::FFFF:808:808", "ipv4_mapped", "8.8.8.8", True),
        ("::ffff:100.64.0.1", "ipv4_mapped", "100.64.0.1", False),
        ("::fFFf:127.0.0.1", "ipv4_mapped", "127.0.0.1", False),
        ("::ffff:192.88.99.1", "ipv4_mapped", "192.88.99.1", None),
        ("::ffff:0.0.0.0", "ipv4_mapped", "0.0.0.0", False),
        ("::ffff:255.255.255.255", "ipv4_mapped", "255.255.255.255", False),
        ("64:ff9b::8.8.8.8", "nat64", "8.8.8.8", True),
        ("64:ff9b::10.0.0.1", "nat64", "10.0.0.1", False),
        ("64:ff9b::c0a8:101", "nat64", "192.168.1.1", False),
        ("64:ff9b:1::8.8.8.8", "nat64_local", None, False),
        ("2002:808:808::1", "sixtofour", "8.8.8.8", None),
        ("2002:c0a8:101::1", "sixtofour", "192.168.1.1", False),
        ("2002:c058:6301::", "sixtofour", "192.88.99.1", None),
        # RFC 4380: port and address of the client are inverted
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "teredo", "192.0.2.45", False),
        ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "teredo", "8.8.8.8", None),
        ("::8.8.8.8", "ipv4_compatible", "8.8.8.8", False),
        ("::ffff:0:8.8.8.8", "ipv4_translated", "8.8.8.8", False),
        # not embedded, though it looks like it
        ("::", "unspecified", None, False),
        ("::1", "loopback", None, False),
        ("2a00::8.8.8.8", "global", None, True),
        ("2a00::5efe:808:808", "global", None, True),
    ],
)
def test_embedded_addresses(text, name, embedded, effective):
    address = classify(text)
    assert (address.address_class, address.embedded_ipv4, address.effective_global) == (name, embedded, effective)
    assert not address.publishable or embedded is None


VALID = [
    ("0.0.0.0", "unspecified"),
    ("255.255.255.255", "broadcast"),
    ("1.20.255.9", "global"),
    ("::", "unspecified"),
    ("1::", "reserved_ietf"),
    ("2A00:0DB8:0000:0000:0008:0800:200c:417A", "global"),
    ("2a00:db8:0:0:8:800:200c:417a", "global"),
    ("2a00:db8::8:800:200c:417a", "global"),
    ("2a00:1:2:3:4:5:6::", "global"),
    ("::2:3:4:5:6:7:8", "reserved_ietf"),
    ("0:0:0:0:0:FFFF:129.144.52.38", "ipv4_mapped"),
    ("1:2:3:4:5:6:1.2.3.4", "reserved_ietf"),
    ("1:2:3:4:5::1.2.3.4", "reserved_ietf"),
    ("::1.2.3.4", "ipv4_compatible"),
]

INVALID = [
    ("", "empty"),
    (" ", "blanks"),
    ("1.2.3.4 ", "blanks"),
    (" 1.2.3.4", "blanks"),
    ("1.2.3.4\n", "blanks"),
    ("\t::1", "blanks"),
    ("1.2.3", "four numbers"),
    ("127.1", "four numbers"),
    ("2130706433", "four numbers"),
    ("1.2.3.4.5", "four numbers"),
    ("1.2.3.", "four numbers"),
    ("1.2.3.4.", "four numbers"),
    ("1..3.4", "four numbers"),
    ("01.2.3.4", "leading zeros"),
    ("012.1.2.3", "leading zeros"),
    ("1.2.3.04", "leading zeros"),
    ("1.2.3.00", "leading zeros"),
    ("1.2.3.256", "greater than 255"),
    ("1.2.3.1000", "greater than 255"),
    ("0x7f.0.0.1", "neither"),
    ("0x7f000001", "neither"),
    ("+1.2.3.4", "neither"),
    ("-1.2.3.4", "neither"),
    ("1,2,3,4", "neither"),
    ("1.2.3.4\0", "neither"),
    ("localhost", "names are not resolved"),
    ("server.example.net", "names are not resolved"),
    ("１.2.3.4", "ASCII"),
    ("1.2.3.٤", "ASCII"),
    ("\ud800:", "ASCII"),
    ("1.2.3.4/32", "prefix length"),
    ("::/0", "prefix length"),
    ("1.2.3.4:80", "a port"),
    ("[::1]", "brackets"),
    ("[::1]:80", "brackets"),
    ("fe80::1%eth0", "zone (%eth0)"),
    ("fe80::1%", "zone"),
    ("1.2.3.4%eth0", "zone"),
    (":", "eight groups"),
    (":::", "once"),
    ("1::2::3", "once"),
    ("1:::2", "once"),
    ("1:2:3:4:5:6:7", "eight groups"),
    ("1:2:3:4:5:6:7:8:9", "eight groups"),
    ("1:2:3:4:5:6:7:8::", "eight groups"),
    ("1:2:3:4::5:6:7:8", "eight groups"),
    ("::1:2:3:4:5:6:7:8", "eight groups"),
    (":1:2:3:4:5:6:7", "eight groups"),
    ("1:2:3:4:5:6:7:", "eight groups"),
    (":1::", "eight groups"),
    ("1::2:", "eight groups"),
    ("10.0.0.1:dead", "eight groups"),
    ("12345::", "four digits"),
    ("00001::", "four digits"),
    ("::g", "hexadecimal"),
    ("1:2:3:4:5:6:7:1.2.3.4", "eight groups"),
    ("::1.2.3", "four numbers"),
    ("::1.2.3.04", "leading zeros"),
    ("::1.2.3.256", "greater than 255"),
    ("::ffff:0x7f.0.0.1", "last part"),
    ("1.2.3.4::", "eight groups"),
    ("::1.2.3.4:5", "eight groups"),
    (None, "NoneType"),
    (3232235777, "int"),
    (True, "bool"),
    (b"1.2.3.4", "bytes"),
    (["1.2.3.4"], "list"),
    ({"1:": 2}, "dict"),
]

# The parser of the C library, and ours for those that are lenient.
PARSERS = pytest.mark.parametrize("parser", [_classify.inet_pton, _classify._careful_pton], ids=["libc", "careful"])


@PARSERS
@pytest.mark.parametrize(("text", "name"), VALID)
def test_valid_text(text, name, parser, monkeypatch):
    monkeypatch.setattr(_classify, "_pton", parser)
    assert classify(text).address_class == address_class(text) == name


@PARSERS
@pytest.mark.parametrize(("text", "reason"), INVALID, ids=[repr(text) for text, _reason in INVALID])
def test_invalid_text(text, reason, parser, monkeypatch):
    monkeypatch.setattr(_classify, "_pton", parser)
    assert address_class(text) is None
    assert not is_publishable(text)
    with pytest.raises(InvalidAddress, match="is not an IP address") as caught:
        classify(text)
    assert reason in caught.value.reason
    assert repr(text) in str(caught.value)
    row = describe(text)
    assert row["address"] == text
    assert (row["valid"], row["publishable"], row["reason"]) == (False, False, caught.value.reason)
    assert all(value is None for key, value in row.items() if key not in ("address", "valid", "reason", "publishable"))
    assert set(row) == set(describe("::1"))


def test_both_parsers_take_the_same_texts():
    source = random.Random(3)
    pieces = ["1", "0", "255", "256", "01", "ffff", "abcd", "10000", ".", ".", ":", ":", "::", "1.2.3.4", "g", "%", "/", " ", "-", ""]
    accepted = 0
    for _repetition in range(20000):
        text = "".join(source.choice(pieces) for _piece in range(source.randint(1, 15)))
        family = _classify.AF_INET6 if ":" in text else _classify.AF_INET
        answer = _classify._accepts(family, text)
        accepted += answer
        assert (_classify._is_ipv6(text) if ":" in text else _classify._is_ipv4(text)) is answer, text
    assert accepted > 100


def test_a_lenient_library_is_noticed(monkeypatch):
    assert _classify._choose_pton() is _classify.inet_pton
    strict = _classify.inet_pton
    monkeypatch.setattr(_classify, "inet_pton", lambda family, text: strict(family, text.replace("01.", "1.")))
    assert _classify._choose_pton() is _classify._careful_pton


def test_python_itself_would_not_do():
    """Planted fault: what the standard library answers differs from the registries, and the check sees it."""

    def standard(text):
        address = ipaddress.ip_address(text)
        return longest(CLASSES, address)["address_class"], address.is_global

    assert {"ff00::", "fec0::", "5f00::", "192.88.99.2", "2001::", "192.88.99.0"} <= set(mismatches(standard))
