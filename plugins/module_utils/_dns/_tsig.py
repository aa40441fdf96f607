# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transaction signatures (TSIG, RFC 8945): sign a request, verify the answer to it.

Private to this collection. Pure; the time is a parameter.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from typing import Any, Callable

from ._name import DnsError, Name, name_from_text, name_to_text
from ._wire import CLASS_ANY, TYPE_TSIG, Message, Record, WireError, decode, encode_name, encode_record, read_name

#: What may be asked for. MD5, SHA-1 and SHA-224 are refused.
ALGORITHMS: dict[str, Callable[..., Any]] = {
    "hmac-sha256": hashlib.sha256,
    "hmac-sha384": hashlib.sha384,
    "hmac-sha512": hashlib.sha512,
}

FUDGE = 300

BADSIG, BADKEY, BADTIME, BADTRUNC = 16, 17, 18, 22

_ERRORS = {
    BADSIG: ("BADSIG", "the secret is not the server's secret for this key; copy it again from the server's configuration"),
    BADKEY: ("BADKEY", "the server knows no key of this name with this algorithm; compare both with the server's configuration"),
    BADTIME: ("BADTIME", f"the clocks of this host and of the server differ by more than {FUDGE} s; set this host's clock (timedatectl status)"),
    BADTRUNC: ("BADTRUNC", "the server refused the length of the signature"),
}


class TsigError(DnsError):
    """The server refused our signature, or its own does not hold.

    Attributes:
        code: the error of the TSIG record, 0 if it is our own finding about the answer.
        word: C(BADSIG), C(BADKEY), C(BADTIME), C(BADTRUNC), C(UNSIGNED) or C(FORGED).
    """

    def __init__(self, word: str, text: str, code: int = 0) -> None:
        super().__init__(text, "tsig")
        self.word = word
        self.code = code


@dataclass(frozen=True)
class Key:
    """A shared secret with its name and algorithm. The secret never shows in a repr."""

    name: Name
    algorithm: str
    secret: bytes = field(repr=False)

    @classmethod
    def from_text(cls, name: str, algorithm: str, secret: str) -> Key:
        """Check and convert what stands in a configuration. No error shows the secret."""
        lower = algorithm.lower().rstrip(".")
        if lower not in ALGORITHMS:
            known = ", ".join(sorted(ALGORITHMS))
            raise TsigError("BADKEY", f"the TSIG algorithm {algorithm!r} is not one of {known}; make a new key with 'tsig-keygen -a hmac-sha256'")
        try:
            data = base64.b64decode("".join(secret.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise TsigError("BADKEY", f"the TSIG secret of key {name!r} is not Base64; copy what stands between the quotes after 'secret'") from error
        if len(data) < 8:
            raise TsigError("BADKEY", f"the TSIG secret of key {name!r} has only {len(data)} bytes; make a new key with 'tsig-keygen -a hmac-sha256'")
        return cls(name_from_text(name), lower, data)


def sign(message: bytes, key: Key, now: int) -> tuple[bytes, bytes]:
    """Return the message with a signature at its end, and the signature alone."""
    mac = _mac(key, message, now, FUDGE, 0, b"")
    ident = struct.unpack_from("!H", message)[0]
    rdata = _rdata(key, now, FUDGE, mac, ident, 0, b"")
    record = encode_record(Record(key.name, TYPE_TSIG, 0, rdata, CLASS_ANY))
    return _with_additionals(message, 1) + record, mac


def verify(data: bytes, key: Key, request_mac: bytes, now: int) -> Message:
    """Return the answer if it is signed by whoever holds the key, as an answer to that request.

    An error of the server about our signature is raised as what it is: BADSIG and BADKEY cannot be signed.
    """
    message = decode(data)
    record = message.tsig
    if record is None:
        raise TsigError("UNSIGNED", f"the server's answer ({message.rcode_name}) is not signed; it may come from somebody else, so it proves nothing")
    fields = _parse(record)
    if fields.error in (BADSIG, BADKEY):
        word, text = _ERRORS[fields.error]
        raise TsigError(word, f"the server answered {message.rcode_name} ({word}) for key {name_to_text(key.name)} {key.algorithm}: {text}", fields.error)
    if record.rclass != CLASS_ANY or record.ttl:
        raise WireError("a signature has the wrong class or a TTL")
    if record.name != key.name or fields.algorithm != name_from_text(key.algorithm):
        raise TsigError("FORGED", f"the server's answer is signed with another key ({name_to_text(record.name)[:80]})")
    unsigned = _with_additionals(struct.pack("!H", fields.original_id) + data[2 : message.last_offset], -1)
    prefix = struct.pack("!H", len(request_mac)) + request_mac
    expected = _mac(key, prefix + unsigned, fields.time, fields.fudge, fields.error, fields.other)
    if not hmac.compare_digest(expected, fields.mac):
        raise TsigError("FORGED", "the signature of the server's answer is wrong; the answer may come from somebody else")
    if fields.error:
        word, text = _ERRORS.get(fields.error, (f"TSIG error {fields.error}", "see the server's log"))
        raise TsigError(word, f"the server answered {message.rcode_name} ({word}) for key {name_to_text(key.name)} {key.algorithm}: {text}", fields.error)
    if abs(now - fields.time) > fields.fudge:
        raise TsigError(
            "BADTIME", f"the server's answer is {abs(now - fields.time)} s away from this host's clock; set the clock (timedatectl status)", BADTIME
        )
    return message


@dataclass(frozen=True)
class _Fields:
    algorithm: Name
    time: int
    fudge: int
    mac: bytes
    original_id: int
    error: int
    other: bytes


def _parse(record: Record) -> _Fields:
    data = record.rdata
    algorithm, offset = read_name(data, 0)
    try:
        high, low, fudge, size = struct.unpack_from("!HIHH", data, offset)
        offset += 10
        mac = data[offset : offset + size]
        offset += size
        original_id, error, other_size = struct.unpack_from("!3H", data, offset)
    except struct.error as problem:
        raise WireError("a signature ends in the middle") from problem
    offset += 6
    other = data[offset : offset + other_size]
    if len(mac) != size or len(other) != other_size or offset + other_size != len(data):
        raise WireError("a signature has the wrong length")
    return _Fields(algorithm, high << 32 | low, fudge, mac, original_id, error, other)


def _rdata(key: Key, time: int, fudge: int, mac: bytes, ident: int, error: int, other: bytes) -> bytes:
    return b"".join(
        (
            encode_name(name_from_text(key.algorithm)),
            struct.pack("!HIHH", time >> 32, time & 0xFFFFFFFF, fudge, len(mac)),
            mac,
            struct.pack("!3H", ident, error, len(other)),
            other,
        )
    )


def _mac(key: Key, message: bytes, time: int, fudge: int, error: int, other: bytes) -> bytes:
    variables = b"".join(
        (
            encode_name(key.name),
            struct.pack("!HI", CLASS_ANY, 0),
            encode_name(name_from_text(key.algorithm)),
            struct.pack("!HIHHH", time >> 32, time & 0xFFFFFFFF, fudge, error, len(other)),
            other,
        )
    )
    return hmac.new(key.secret, message + variables, ALGORITHMS[key.algorithm]).digest()


def _with_additionals(message: bytes, difference: int) -> bytes:
    count = struct.unpack_from("!H", message, 10)[0] + difference
    return message[:10] + struct.pack("!H", count) + message[12:]
