# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import random
import struct
import time

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._dns._name import name_from_text
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._update import address_rdata
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._wire import (
    FLAG_AA,
    FLAG_QR,
    TYPE_A,
    TYPE_AAAA,
    TYPE_CNAME,
    TYPE_NS,
    TYPE_SOA,
    TYPE_TSIG,
    Message,
    Question,
    Record,
    WireError,
    decode,
    encode_name,
    encode_record,
    make_query,
    read_name,
)

NAME = name_from_text("home.example.net")
ZONE = name_from_text("example.net")
SOA_DATA = encode_name(name_from_text("ns1.example.net")) + encode_name(name_from_text("root.example.net")) + struct.pack("!5I", 7, 1, 2, 3, 60)


def full_message() -> Message:
    return Message(
        0xBEEF,
        FLAG_QR | FLAG_AA,
        [Question(NAME, TYPE_A)],
        [
            Record(NAME, TYPE_A, 60, address_rdata(TYPE_A, "203.0.113.45")),
            Record(NAME, TYPE_AAAA, 60, address_rdata(TYPE_AAAA, "2001:db8::1")),
            Record(NAME, TYPE_CNAME, 0, encode_name(ZONE)),
        ],
        [Record(ZONE, TYPE_SOA, 2**31 - 1, SOA_DATA), Record(ZONE, TYPE_NS, 5, encode_name(name_from_text("ns1.example.net")))],
        [Record(ZONE, 16, 5, b"\x03abc")],
    )


def test_message_comes_back() -> None:
    message = full_message()
    again = decode(message.encode())
    message.last_offset = again.last_offset
    assert again == message
    assert [record.value for record in again.answers] == ["203.0.113.45", "2001:db8::1", "example.net."]
    assert [record.value for record in again.authorities] == ["ns1.example.net. root.example.net. 7 1 2 3 60", "ns1.example.net."]
    assert again.additionals[0].value == "\\# 4 03616263"
    assert (again.is_response, again.authoritative, again.truncated, again.opcode, again.rcode_name) == (True, True, False, 0, "NOERROR")


def test_query_is_what_rfc_1035_says() -> None:
    data = make_query(0x1234, NAME, TYPE_A).encode()
    assert data == bytes.fromhex("123400000001000000000000") + b"\x04home\x07example\x03net\0" + bytes.fromhex("00010001")
    assert make_query(1, NAME, TYPE_A, recursive=True).encode()[2:4] == b"\x01\x00"


def test_compressed_names_are_expanded_also_inside_data() -> None:
    head = struct.pack("!6H", 1, FLAG_QR, 1, 3, 0, 0)
    question = b"\x04HOME\x07example\x03net\0" + struct.pack("!2H", TYPE_A, 1)
    pointer, zone = b"\xc0\x0c", b"\xc0\x11"
    mx = pointer + struct.pack("!2HIH", TYPE_CNAME, 1, 9, 6) + b"\x03ns1" + zone
    ns = zone + struct.pack("!2HIH", TYPE_NS, 1, 9, 2) + pointer
    soa_data = pointer + zone + struct.pack("!5I", 1, 2, 3, 4, 5)
    soa = zone + struct.pack("!2HIH", TYPE_SOA, 1, 9, len(soa_data)) + soa_data
    answers = decode(head + question + mx + ns + soa).answers
    assert [record.name for record in answers] == [NAME, ZONE, ZONE]
    assert answers[0].target() == name_from_text("ns1.example.net")
    assert answers[1].target() == NAME
    assert answers[2].soa().minimum == 5
    assert answers[2].soa().mname == NAME


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",  # at itself
        b"\xc0\x0e",  # forward
        b"\x01a\xc0\x0c",  # back to its own beginning
        b"\x40a\0",  # unknown kind of label
        b"\x80a\0",
        b"\x05ab",  # over the end
        b"\xc0",
        b"\x3f" + b"a" * 63,
        (b"\x3f" + b"a" * 63) * 4 + b"\0",  # longer than 255
    ],
)
def test_bad_names_are_refused(name: bytes) -> None:
    with pytest.raises(WireError):
        read_name(b"\0" * 12 + name, 12)


def test_chain_of_pointers_costs_nothing() -> None:
    # Each pointer points at the one before it: as deep as a message can be.
    data = b"\0\0" + b"".join(struct.pack("!H", 0xC000 | index * 2) for index in range(8000))
    started = time.monotonic()
    assert read_name(data, len(data) - 2)[0] == ()
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("rtype", "rdata"),
    [(TYPE_A, b"123"), (TYPE_A, b"12345"), (TYPE_AAAA, b"1234"), (TYPE_NS, b"\x01a\0x"), (TYPE_SOA, b"\0\0" + b"x" * 19), (TYPE_CNAME, b"\x01a")],
)
def test_data_of_the_wrong_form_is_refused(rtype: int, rdata: bytes) -> None:
    with pytest.raises(WireError):
        decode(struct.pack("!6H", 1, FLAG_QR, 0, 1, 0, 0) + encode_record(Record(ZONE, rtype, 1, rdata)))


def test_counts_and_rests_must_fit() -> None:
    data = full_message().encode()
    with pytest.raises(WireError, match="left over"):
        decode(data + b"\0")
    for size in range(len(data)):
        with pytest.raises(WireError):
            decode(data[:size])
    with pytest.raises(WireError):
        decode(struct.pack("!6H", 1, 0, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF))


def test_signature_must_stand_at_the_end() -> None:
    message = full_message()
    message.additionals.insert(0, Record(ZONE, TYPE_TSIG, 0, b"x", 255))
    with pytest.raises(WireError, match="signature"):
        decode(message.encode())


def test_ttl_with_the_highest_bit_is_zero() -> None:
    record = encode_name(ZONE) + struct.pack("!2HIH", TYPE_A, 1, 1 << 31, 4) + b"\x01\x02\x03\x04"
    assert decode(struct.pack("!6H", 1, FLAG_QR, 0, 1, 0, 0) + record).answers[0].ttl == 0


@pytest.mark.parametrize("ttl", [-1, 1 << 31])
def test_ttl_out_of_range_is_not_written(ttl: int) -> None:
    with pytest.raises(WireError):
        encode_record(Record(ZONE, TYPE_A, ttl, b"\0\0\0\0"))


def test_whatever_comes_in_decoding_ends_with_a_message_or_its_own_error() -> None:
    source = random.Random(2136)
    good = full_message().encode()
    started = time.monotonic()
    for _unused in range(6000):
        data = bytearray(good)
        for _unused in range(source.randrange(1, 6)):
            data[source.randrange(len(data))] = source.choice((0, 1, 0xC0, 0xFF, source.randrange(256)))
        if source.random() < 0.3:
            del data[source.randrange(len(data)) :]
        try:
            message = decode(bytes(data))
            for record in (*message.answers, *message.authorities, *message.additionals):
                assert isinstance(record.value, str)
        except WireError:
            pass
    for _unused in range(2000):
        with contextlib.suppress(WireError):
            decode(bytes(source.randrange(256) for _unused in range(source.randrange(80))))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("address", ["", "203.0.113", "203.0.113.045", "::1", "home.example"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(WireError):
        address_rdata(TYPE_A, address)
