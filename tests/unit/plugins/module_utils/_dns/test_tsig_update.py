# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import hmac
import struct

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._dns._name import name_from_text
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._tsig import (
    ALGORITHMS,
    BADKEY,
    BADSIG,
    BADTIME,
    Key,
    TsigError,
    _mac,
    _rdata,
    sign,
    verify,
)
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._update import Replacement, make_update
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._wire import (
    CLASS_ANY,
    FLAG_QR,
    TYPE_A,
    TYPE_AAAA,
    TYPE_TSIG,
    Record,
    WireError,
    decode,
    encode_record,
)

NOW = 1_800_000_000
SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
KEY = Key.from_text("ddns-home", "hmac-sha256", SECRET)
ZONE = name_from_text("example.net")
HOME = name_from_text("home.example.net")


def request() -> bytes:
    return make_update(77, ZONE, HOME, [Replacement(TYPE_A, [], ["203.0.113.45"], 60)]).encode()


def answer(key: Key = KEY, request_mac: bytes = b"", rcode: int = 0, error: int = 0, time: int = NOW, other: bytes = b"", mac: bytes | None = None) -> bytes:
    """What a server would send."""
    plain = struct.pack("!6H", 77, FLAG_QR | 5 << 11 | rcode, 0, 0, 0, 0)
    if mac is None:
        mac = _mac(key, struct.pack("!H", len(request_mac)) + request_mac + plain, time, 300, error, other)
    record = encode_record(Record(key.name, TYPE_TSIG, 0, _rdata(key, time, 300, mac, 77, error, other), CLASS_ANY))
    return plain[:10] + struct.pack("!H", 1) + record


def test_signature_is_what_rfc_8945_says() -> None:
    plain = request()
    signed, mac = sign(plain, KEY, NOW)
    variables = b"\x09ddns-home\0" + struct.pack("!HI", 255, 0) + b"\x0bhmac-sha256\0" + struct.pack("!HIHHH", 0, NOW, 300, 0, 0)
    assert mac == hmac.new(b"0123456789abcdef0123456789abcdef", plain + variables, hashlib.sha256).digest()
    message = decode(signed)
    assert message.tsig is not None
    assert (message.tsig.name, message.tsig.ttl, message.tsig.rclass) == (KEY.name, 0, 255)
    assert signed[: message.last_offset] == plain[:10] + b"\0\1" + plain[12:]


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_an_answer_signed_for_this_request_is_taken(algorithm: str) -> None:
    key = Key.from_text("ddns-home", algorithm.upper() + ".", SECRET)
    mac = sign(request(), key, NOW)[1]
    assert verify(answer(key, mac), key, mac, NOW + 299).rcode == 0
    assert verify(answer(key, mac, rcode=5), key, mac, NOW).rcode_name == "REFUSED"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"request_mac": b"another request"}, "FORGED"),
        ({"key": Key.from_text("ddns-home", "hmac-sha256", base64.b64encode(b"another secret!!").decode())}, "FORGED"),
        ({"key": Key.from_text("other", "hmac-sha256", SECRET)}, "FORGED"),
        ({"key": Key.from_text("ddns-home", "hmac-sha512", SECRET)}, "FORGED"),
        ({"mac": b""}, "FORGED"),
        ({"mac": b"x" * 32}, "FORGED"),
        ({"error": BADSIG, "rcode": 9, "mac": b""}, "BADSIG"),
        ({"error": BADKEY, "rcode": 9, "mac": b""}, "BADKEY"),
        ({"error": BADTIME, "rcode": 9, "other": b"\0\0\0\0\0\1"}, "BADTIME"),
        ({"error": BADTIME, "rcode": 9, "other": b"\0\0\0\0\0\1", "mac": b"x" * 32}, "FORGED"),
        ({"time": NOW - 301}, "BADTIME"),
        ({"time": NOW + 301}, "BADTIME"),
    ],
)
def test_any_other_answer_is_refused(change: dict, word: str) -> None:
    mac = sign(request(), KEY, NOW)[1]
    with pytest.raises(TsigError) as caught:
        verify(answer(**{"request_mac": mac, **change}), KEY, mac, NOW)
    assert caught.value.word == word
    assert SECRET not in str(caught.value)


def test_unsigned_answer_proves_nothing() -> None:
    with pytest.raises(TsigError) as caught:
        verify(struct.pack("!6H", 77, FLAG_QR | 5 << 11, 0, 0, 0, 0), KEY, b"", NOW)
    assert caught.value.word == "UNSIGNED"


def test_changed_byte_is_found() -> None:
    mac = sign(request(), KEY, NOW)[1]
    good = answer(request_mac=mac)
    for index in range(2, len(good)):
        bad = bytearray(good)
        bad[index] ^= 1
        with pytest.raises((TsigError, WireError)):
            verify(bytes(bad), KEY, mac, NOW)


@pytest.mark.parametrize(
    ("algorithm", "secret", "says"),
    [
        ("hmac-md5", SECRET, "not one of"),
        ("hmac-sha1", SECRET, "not one of"),
        ("hmac-sha224", SECRET, "not one of"),
        ("hmac-sha256", "not base64 but secret", "not Base64"),
        ("hmac-sha256", "c2hvcnQ=", "only 5 bytes"),
        ("hmac-sha256", "", "only 0 bytes"),
    ],
)
def test_bad_keys_are_refused_without_showing_the_secret(algorithm: str, secret: str, says: str) -> None:
    with pytest.raises(TsigError, match=says) as caught:
        Key.from_text("ddns-home", algorithm, secret)
    assert not secret or secret not in str(caught.value)


def test_secret_is_not_in_the_repr() -> None:
    assert "0123456789" not in repr(KEY)


def test_update_touches_each_family_alone() -> None:
    message = make_update(
        9,
        ZONE,
        HOME,
        [Replacement(TYPE_A, ["198.51.100.1"], ["203.0.113.45"], 60), Replacement(TYPE_AAAA, [], [], 60), Replacement(TYPE_AAAA, None, ["2001:db8::1"], 60)],
    )
    again = decode(message.encode())
    assert (again.opcode, again.questions[0].name, again.questions[0].rtype) == (5, ZONE, 6)
    assert [(r.rtype, r.rclass, r.ttl, r.value) for r in again.answers] == [(TYPE_A, 1, 0, "198.51.100.1"), (TYPE_AAAA, 254, 0, "\\# 0")]
    assert [(r.rtype, r.rclass, r.ttl, r.value) for r in again.authorities] == [
        (TYPE_A, 255, 0, "\\# 0"),
        (TYPE_A, 1, 60, "203.0.113.45"),
        (TYPE_AAAA, 255, 0, "\\# 0"),
        (TYPE_AAAA, 255, 0, "\\# 0"),
        (TYPE_AAAA, 1, 60, "2001:db8::1"),
    ]
