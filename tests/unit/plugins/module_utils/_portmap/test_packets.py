# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of NAT-PMP and PCP: bytes out, bytes in, and what is no answer."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _packets as packets
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._packets import Answer, PacketError

NONCE = bytes(range(12))
CLIENT = "192.168.1.10"
MAP_TCP = packets.natpmp_map_request("tcp", 8080, 80, 3600)
PCP_TCP = packets.pcp_map_request(CLIENT, "tcp", 8080, 80, 3600, NONCE, packets.PREFER_FAILURE)


def pcp_answer(result: int = 0, lifetime: int = 3600, epoch: int = 7, port: int = 80, nonce: bytes = NONCE, inside: int = 8080, protocol: int = 6) -> bytes:
    header = struct.pack("!BBBBII", 2, 0x81, 0, result, lifetime, epoch) + bytes(12)
    body = nonce + struct.pack("!B3xHH", protocol, inside, port) + bytes(10) + b"\xff\xff" + bytes([203, 0, 113, 7])
    return header + body


def test_requests_as_bytes() -> None:
    assert packets.natpmp_address_request() == bytes.fromhex("0000")
    assert bytes.fromhex("0002 0000 1f90 0050 00000e10") == MAP_TCP
    assert packets.natpmp_map_request("udp", 53, 0, 0) == bytes.fromhex("0001 0000 0035 0000 00000000")
    client = "00000000000000000000ffffc0a8010a"
    assert packets.pcp_announce_request(CLIENT) == bytes.fromhex("02000000 00000000" + client)
    assert bytes.fromhex("02010000 00000e10" + client + "000102030405060708090a0b 06000000 1f90 0050 00000000000000000000ffff00000000 02000000") == PCP_TCP
    assert packets.pcp_map_request(CLIENT, "udp", 1, 1, 0, NONCE)[36] == 17
    assert len(PCP_TCP) % 4 == 0


def test_requests_that_would_mean_everything() -> None:
    with pytest.raises(PacketError, match="every mapping"):
        packets.natpmp_map_request("tcp", 0, 0, 0)
    with pytest.raises(PacketError, match="every port"):
        packets.pcp_map_request(CLIENT, "tcp", 0, 80, 1, NONCE)
    with pytest.raises(PacketError, match="12 bytes"):
        packets.pcp_map_request(CLIENT, "tcp", 1, 80, 1, b"short")


@pytest.mark.parametrize(
    ("request_", "data", "answer"),
    [
        (b"\0\0", bytes.fromhex("0080 0000 00000007 cb007107"), Answer(0, 7, external_address="203.0.113.7")),
        (b"\0\0", bytes.fromhex("0080 0000 00000007 00000000"), Answer(0, 7)),
        # Where the result is not 0, rubbish follows.
        (b"\0\0", bytes.fromhex("0080 0003 00000007 deadbeef"), Answer(3, 7)),
        (b"\0\0", bytes.fromhex("0080 0002 00000007"), Answer(2, 7)),
        (MAP_TCP, bytes.fromhex("0082 0000 00000007 1f90 0400 00000e10"), Answer(0, 7, 3600, 1024)),
        (MAP_TCP, bytes.fromhex("0082 0004 00000007 0000 0000 00000000"), Answer(4, 7)),
    ],
)
def test_natpmp_answers(request_: bytes, data: bytes, answer: Answer) -> None:
    assert packets.read_natpmp(request_, data) == answer


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (pcp_answer(), Answer(0, 7, 3600, 80, "203.0.113.7")),
        (pcp_answer(port=1024) + bytes.fromhex("02000000"), Answer(0, 7, 3600, 1024, "203.0.113.7")),
        *((pcp_answer(result, 30), Answer(result, 7, 30)) for result in packets.PCP_RESULTS),
        (pcp_answer(99, 30), Answer(99, 7, 30)),
        (pcp_answer(1, 30)[:24], Answer(1, 7, 30)),
        # What knows NAT-PMP only.
        (bytes.fromhex("0081 0001 00000007"), Answer(1)),
    ],
)
def test_pcp_answers(data: bytes, answer: Answer) -> None:
    assert packets.read_pcp(PCP_TCP, data) == answer


def test_pcp_over_ipv6() -> None:
    client = ipaddress.IPv6Address("2a00:77::10").packed
    request_ = packets.pcp_map_request("2a00:77::10", "tcp", 443, 443, 3600, NONCE, packets.PREFER_FAILURE)
    assert request_[8:24] == client
    assert request_[44:60] == bytes(16)
    answer = struct.pack("!BBBBII", 2, 0x81, 0, 0, 3600, 7) + bytes(12) + NONCE + struct.pack("!B3xHH", 6, 443, 443)
    assert packets.read_pcp(request_, answer + client) == Answer(0, 7, 3600, 443, "2a00:77::10")
    assert packets.read_pcp(request_, answer + bytes(16)) == Answer(0, 7, 3600, 443, None)
    odd = packets.read_pcp(request_, answer + bytes(10) + b"\xff\xff" + bytes(4)).external_address
    # Python from 3.13 on writes it with dots.
    assert odd is not None
    assert ipaddress.IPv6Address(odd) == ipaddress.IPv6Address("::ffff:0:0")
    assert set(packets.PCP_RESULTS_IPV6) <= set(packets.PCP_RESULTS)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 12, 15])
def test_short_natpmp_answers(length: int) -> None:
    with pytest.raises(PacketError):
        packets.read_natpmp(MAP_TCP, bytes.fromhex("0082 0000 00000007 1f90 0050 00000e10")[:length])


@pytest.mark.parametrize(
    "data",
    [
        *(pcp_answer()[:length] for length in (0, 1, 4, 23, 24, 28, 59)),
        pcp_answer() + b"x",
        pcp_answer() + bytes(1100),
        pcp_answer(nonce=bytes(12)),
        pcp_answer(inside=8081),
        pcp_answer(protocol=17),
        b"\x02\x01" + pcp_answer()[2:],
        b"\x02\x80" + pcp_answer()[2:],
        b"\x03\x81" + pcp_answer()[2:],
        PCP_TCP,
        b"HTTP/1.1 200 OK\r\n",
    ],
)
def test_what_is_no_pcp_answer(data: bytes) -> None:
    with pytest.raises(PacketError):
        packets.read_pcp(PCP_TCP, data)


@pytest.mark.parametrize(
    "data",
    ["0080 0000 00000007 cb007107 00000000", "0081 0000 00000007 1f90 0050 00000e10", "0082 0000 00000007 1f91 0050 00000e10", "0182 0000 00000007 1f90 0050"],
)
def test_what_is_no_natpmp_answer(data: str) -> None:
    with pytest.raises(PacketError):
        packets.read_natpmp(MAP_TCP, bytes.fromhex(data))


@pytest.mark.parametrize(
    ("old", "then", "new", "now", "valid"),
    [
        (100, 1000.0, 100, 1000.0, True),
        (100, 1000.0, 99, 1000.5, True),
        (100, 1000.0, 98, 1000.5, False),
        (100, 1000.0, 3700, 4600.0, True),
        (100, 1000.0, 3500, 4600.0, True),
        (100, 1000.0, 3300, 4600.0, False),
        (100, 1000.0, 5000, 1001.0, False),
        # The router restarted and has run longer than before since.
        (100, 1000.0, 200, 9000.0, False),
        # This host's clock went back.
        (100, 1000.0, 110, 500.0, False),
    ],
)
def test_the_epoch(old: int, then: float, new: int, now: float, valid: bool) -> None:
    assert packets.epoch_valid(old, then, new, now) is valid


def test_the_schedule() -> None:
    assert packets.schedule(3.0) == [0.0, 0.25, 0.75, 1.75]
    assert packets.schedule(0.5) == [0.0, 0.25]
    assert packets.schedule(0.2) == [0.0]
    assert len(packets.schedule(60.0)) == 8
