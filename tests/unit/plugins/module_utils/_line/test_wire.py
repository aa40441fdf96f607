# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers and routers answer, byte by byte, and what is made of answers that are none."""

from __future__ import annotations

import os
import random
import socket
import struct
import zlib

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._line import _echo as echo
from ansible_collections.homeserver.hardening.plugins.module_utils._line._gateway import (
    GatewayError,
    announcement,
    parse_natpmp,
    parse_pcp,
)
from ansible_collections.homeserver.hardening.plugins.module_utils._line._hops import parse_error
from ansible_collections.homeserver.hardening.plugins.module_utils._line._pref64 import prefix_of
from ansible_collections.homeserver.hardening.plugins.module_utils._line._sockets import Endpoint, EndpointError, parse_endpoint
from ansible_collections.homeserver.hardening.plugins.module_utils._line._stun import COOKIE, Answer, StunError, parse_answer, request

# The sample responses of RFC 5769.
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
SAMPLE4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
SAMPLE6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


def message(*attributes: tuple[int, bytes], kind: int = 0x0101, transaction: bytes = TRANSACTION) -> bytes:
    body = b"".join(struct.pack("!HH", number, len(value)) + value + b"\0" * (-len(value) % 4) for number, value in attributes)
    return struct.pack("!HHI", kind, len(body), COOKIE) + transaction + body


def test_samples_of_the_rfc() -> None:
    assert parse_answer(SAMPLE4, TRANSACTION, "ipv4") == Answer("192.0.2.1", 32853)
    assert parse_answer(SAMPLE6, TRANSACTION, "ipv6") == Answer("2001:db8:1234:5678:11:2233:4455:6677", 32853)


def test_request() -> None:
    assert request(TRANSACTION) == struct.pack("!HHI", 1, 0, COOKIE) + TRANSACTION


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        SAMPLE4[:19],
        request(TRANSACTION),
        message(transaction=os.urandom(12)),
        b"\0\0\0\0" + SAMPLE4[4:],
        SAMPLE4[:4] + b"\0\0\0\0" + SAMPLE4[8:],
    ],
)
def test_what_is_no_answer_is_passed_over(data: bytes) -> None:
    assert parse_answer(data, TRANSACTION, "ipv4") is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (message((0x0001, bytes.fromhex("00018055c0000201"))), "XOR-MAPPED-ADDRESS"),
        (message(), "XOR-MAPPED-ADDRESS"),
        (message((0x0009, b"\0\0\x04\x01Unauthorized"), kind=0x0111), "401 Unauthorized"),
        (message(kind=0x0111), "without saying why"),
        (SAMPLE6, "wrong family"),
        (SAMPLE4[:-4] + b"\0\0\0\0", "checksum"),
        (SAMPLE4[:-2], "claims 60 bytes"),
        (message((0x0020, b"\0\x03\0\0\0\0\0\0")), "malformed"),
        (message((0x0020, b"\0\x01\0\0")), "malformed"),
        (message((0x0020, b"")), "malformed"),
        (struct.pack("!HHI", 0x0101, 4, COOKIE) + TRANSACTION + struct.pack("!HH", 0x0020, 8), "within an attribute"),
    ],
)
def test_answers_that_say_nothing_usable(data: bytes, reason: str) -> None:
    with pytest.raises(StunError, match=reason):
        parse_answer(data, TRANSACTION, "ipv4")


def test_garbled_answers_raise_nothing_else() -> None:
    rng = random.Random(2)
    for _round in range(3000):
        data = bytearray(rng.choice((SAMPLE4, SAMPLE6)))
        for _change in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data
        try:
            parse_answer(bytes(data), TRANSACTION, rng.choice(("ipv4", "ipv6")))
        except StunError:
            continue


def test_a_right_checksum_is_needed_only_where_there_is_one() -> None:
    plain = message((0x0020, bytes.fromhex("0001a147e112a643")))
    assert parse_answer(plain, TRANSACTION, "ipv4") == Answer("192.0.2.1", 32853)
    longer = struct.pack("!HH", 0x0101, len(plain) - 20 + 8) + plain[4:]
    checked = longer + struct.pack("!HHI", 0x8028, 4, zlib.crc32(longer) ^ 0x5354554E)
    assert parse_answer(checked, TRANSACTION, "ipv4") == Answer("192.0.2.1", 32853)


# --- routers


def test_natpmp() -> None:
    good = struct.pack("!BBHI", 0, 128, 0, 7) + socket.inet_aton("192.0.2.9")
    assert parse_natpmp(good) == {"address": "192.0.2.9", "method": "natpmp", "status": ""}
    assert parse_natpmp(good[:8] + b"\0\0\0\0") == {"address": None, "method": "natpmp", "status": ""}
    hidden = parse_natpmp(struct.pack("!BBHI", 0, 128, 3, 7) + b"\1\2\3\4")
    assert hidden is not None and hidden["address"] is None
    assert parse_natpmp(b"") is None
    assert parse_natpmp(struct.pack("!BBHI", 0, 129, 0, 7)) is None
    # A router that speaks PCP alone answers so to a version that it does not know.
    assert parse_natpmp(b"\x02\x81\0\1" + b"\0" * 20) is None
    with pytest.raises(GatewayError, match="not authorised"):
        parse_natpmp(struct.pack("!BBHI", 0, 128, 2, 7))
    with pytest.raises(GatewayError, match="10 bytes"):
        parse_natpmp(good[:10])


def test_pcp() -> None:
    packet = announcement("192.168.1.10")
    assert len(packet) == 24 and packet[:2] == b"\2\0" and packet[-4:] == socket.inet_aton("192.168.1.10")
    assert parse_pcp(b"\x02\x80\0\0" + b"\0" * 20) == {"result": 0, "mismatch": False}
    assert parse_pcp(b"\x02\x80\0\x0c" + b"\0" * 20) == {"result": 12, "mismatch": True}
    assert parse_pcp(b"\x02\x81\0\0" + b"\0" * 20) is None
    assert parse_pcp(b"\x02\x80\0\0") is None


def test_error_queue() -> None:
    data = struct.pack("=IBBBxII", 113, 2, 11, 0, 0, 0) + struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton("192.0.2.1"))
    assert parse_error(data) == ("192.0.2.1", 11, 0)
    assert parse_error(data[:20]) is None
    local = struct.pack("=IBBBxII", 113, 1, 0, 0, 0, 0) + data[16:]
    assert parse_error(local) is None


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("64:ff9b::192.0.0.170", "64:ff9b::/96"),
        ("2001:db8:1:2:3:4:192.0.0.171", "2001:db8:1:2:3:4::/96"),
        ("2001:db8:122:344:c0:0:aa00::", "2001:db8:122:344::/64"),
        ("2001:db8:c000:aa::", "2001:db8::/32"),
        ("2001:db8::1", None),
        ("", None),
    ],
)
def test_prefix_of_nat64(address: str, prefix: str | None) -> None:
    assert prefix_of(address) == prefix


# --- echo services


@pytest.mark.parametrize("body", [b"192.0.2.1", b"192.0.2.1\r\n", b'{"ip": "192.0.2.1"}', b'{"origin": "192.0.2.1", "x": 1}'])
def test_echo_answers(body: bytes) -> None:
    assert echo.parse_answer(body, "ipv4") == "192.0.2.1"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "another answer"),
        (b"<html>sign in</html>", "another answer"),
        (b"your address is 192.0.2.1", "another answer"),
        (b"192.0.2.1, 192.0.2.2", "another answer"),
        (b'{"ip": null}', "another answer"),
        (b"{", "another answer"),
        (b"\xff\xfe", "another answer"),
        (b"2001:db8::1", "wrong family"),
    ],
)
def test_other_answers(body: bytes, reason: str) -> None:
    with pytest.raises(echo.EchoError, match=reason):
        echo.parse_answer(body, "ipv4")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("stun.example.org", Endpoint("stun.example.org", 3478)),
        (" stun.example.org:19302 ", Endpoint("stun.example.org", 19302)),
        ("192.0.2.1", Endpoint("192.0.2.1", 3478)),
        ("2001:db8::1", Endpoint("2001:db8::1", 3478)),
        ("[2001:db8::1]", Endpoint("2001:db8::1", 3478)),
        ("[2001:db8::1]:5", Endpoint("2001:db8::1", 5)),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text, "stun_servers", 3478) == endpoint


@pytest.mark.parametrize("text", ["", ":", ":3478", "host:0", "host:65536", "host:x", "host:-1", "[2001:db8::1", "[::1]x", "a b", "stun:host/x", "host:٣"])
def test_endpoints_that_are_none(text: str) -> None:
    with pytest.raises(EndpointError, match="write it like"):
        parse_endpoint(text, "stun_servers", 3478)


def test_urls() -> None:
    found = echo.parse_url("https://ip.example.org/v4?format=text")
    assert (found.endpoint, found.path, found.tls) == (Endpoint("ip.example.org", 443), "/v4?format=text", True)
    assert echo.parse_url("http://[2001:db8::1]:8080").endpoint == Endpoint("2001:db8::1", 8080)


@pytest.mark.parametrize("text", ["", "ip.example.org", "ftp://x/", "https://", "https://x:99999/", "https://user:secret@x/"])
def test_urls_that_are_none(text: str) -> None:
    with pytest.raises(EndpointError, match="echo_urls"):
        echo.parse_url(text)
