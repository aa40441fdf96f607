# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire format of DNS messages (RFC 1035), as far as addresses, authorities and updates need it.

Private to this collection. Pure: bytes in, bytes out. Whatever bytes come in, decoding ends soon, with a message or with C(WireError).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

from ._name import MAX_NAME, DnsError, Name, name_to_text

CLASS_IN, CLASS_NONE, CLASS_ANY = 1, 254, 255
TYPE_A, TYPE_NS, TYPE_CNAME, TYPE_SOA, TYPE_AAAA, TYPE_TSIG, TYPE_ANY = 1, 2, 5, 6, 28, 250, 255
TYPES = {"A": TYPE_A, "NS": TYPE_NS, "CNAME": TYPE_CNAME, "SOA": TYPE_SOA, "AAAA": TYPE_AAAA}
TYPE_NAMES = {number: text for text, number in TYPES.items()}

OPCODE_QUERY, OPCODE_UPDATE = 0, 5

FLAG_QR, FLAG_AA, FLAG_TC, FLAG_RD = 0x8000, 0x0400, 0x0200, 0x0100

RCODES = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
    6: "YXDOMAIN",
    7: "YXRRSET",
    8: "NXRRSET",
    9: "NOTAUTH",
    10: "NOTZONE",
}

_NAME_TYPES = (TYPE_NS, TYPE_CNAME)
_FIXED = {TYPE_A: 4, TYPE_AAAA: 16}


class WireError(DnsError):
    """Bytes are not a DNS message, or a value does not fit into one."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "malformed")


@dataclass(frozen=True)
class Question:
    """What is asked; in an update the zone that it is about."""

    name: Name
    rtype: int
    rclass: int = CLASS_IN


@dataclass(frozen=True)
class Record:
    """A resource record. Names inside C(rdata) are uncompressed and in lower case, so records can be compared."""

    name: Name
    rtype: int
    ttl: int
    rdata: bytes
    rclass: int = CLASS_IN

    @property
    def value(self) -> str:
        """The data as text: an address, a name, the fields of an SOA, or RFC 3597's form for what is not known here."""
        if self.rtype == TYPE_A and len(self.rdata) == 4:
            return socket.inet_ntop(socket.AF_INET, self.rdata)
        if self.rtype == TYPE_AAAA and len(self.rdata) == 16:
            return socket.inet_ntop(socket.AF_INET6, self.rdata)
        if self.rtype in _NAME_TYPES and self.rdata:
            return name_to_text(_read_name(self.rdata, 0)[0])
        if self.rtype == TYPE_SOA and self.rdata:
            soa = self.soa()
            return f"{name_to_text(soa.mname)} {name_to_text(soa.rname)} {soa.serial} {soa.refresh} {soa.retry} {soa.expire} {soa.minimum}"
        return f"\\# {len(self.rdata)} {self.rdata.hex()}".rstrip()

    def target(self) -> Name:
        """Return the name that an NS or CNAME record points at."""
        if self.rtype not in _NAME_TYPES:
            raise WireError(f"a record of type {self.rtype} points at no name")
        return _read_name(self.rdata, 0)[0]

    def soa(self) -> Soa:
        """Return the fields of an SOA record."""
        if self.rtype != TYPE_SOA:
            raise WireError(f"a record of type {self.rtype} is no SOA")
        mname, offset = _read_name(self.rdata, 0)
        rname, offset = _read_name(self.rdata, offset)
        if len(self.rdata) - offset != 20:
            raise WireError("an SOA record has the wrong length")
        return Soa(mname, rname, *struct.unpack_from("!5I", self.rdata, offset))


@dataclass(frozen=True)
class Soa:
    """The fields of an SOA record."""

    mname: Name
    rname: Name
    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int


@dataclass
class Message:
    """A DNS message. In an update the sections are called zone, prerequisite, update and additional.

    Attributes:
        last_offset: where the last additional record began in the bytes that the message was decoded from; TSIG needs it.
    """

    id: int = 0
    flags: int = 0
    questions: list[Question] = field(default_factory=list)
    answers: list[Record] = field(default_factory=list)
    authorities: list[Record] = field(default_factory=list)
    additionals: list[Record] = field(default_factory=list)
    last_offset: int = 0

    @property
    def is_response(self) -> bool:
        """Whether the message is an answer."""
        return bool(self.flags & FLAG_QR)

    @property
    def opcode(self) -> int:
        """What is to be done: 0 is a question, 5 an update."""
        return self.flags >> 11 & 0xF

    @property
    def authoritative(self) -> bool:
        """Whether the server speaks for the zone."""
        return bool(self.flags & FLAG_AA)

    @property
    def truncated(self) -> bool:
        """Whether there is more, to be asked for over TCP."""
        return bool(self.flags & FLAG_TC)

    @property
    def rcode(self) -> int:
        """The number of the result."""
        return self.flags & 0xF

    @property
    def rcode_name(self) -> str:
        """The result as a word."""
        return RCODES.get(self.rcode, f"RCODE{self.rcode}")

    @property
    def tsig(self) -> Record | None:
        """The signature, if there is one."""
        if self.additionals and self.additionals[-1].rtype == TYPE_TSIG:
            return self.additionals[-1]
        return None

    def encode(self) -> bytes:
        """Write the message, without compression."""
        sections = (self.answers, self.authorities, self.additionals)
        parts = [struct.pack("!6H", self.id, self.flags, len(self.questions), *(len(section) for section in sections))]
        for question in self.questions:
            parts.append(encode_name(question.name) + struct.pack("!2H", question.rtype, question.rclass))
        for section in sections:
            parts.extend(encode_record(record) for record in section)
        return b"".join(parts)


def make_query(ident: int, name: Name, rtype: int, recursive: bool = False) -> Message:
    """Return a question of class IN."""
    return Message(ident, FLAG_RD if recursive else 0, [Question(name, rtype)])


def encode_name(name: Name) -> bytes:
    """Write a name without compression."""
    data = b"".join(bytes((len(label),)) + label for label in name) + b"\0"
    if len(data) > MAX_NAME or any(not 0 < len(label) < 64 for label in name):
        raise WireError(f"{name_to_text(name)[:80]} does not fit into a message")
    return data


def encode_record(record: Record) -> bytes:
    """Write a record."""
    if not 0 <= record.ttl < 1 << 31 or len(record.rdata) > 0xFFFF:
        raise WireError(f"the TTL {record.ttl} or the data of {name_to_text(record.name)[:80]} does not fit into a message")
    return encode_name(record.name) + struct.pack("!2HIH", record.rtype, record.rclass, record.ttl, len(record.rdata)) + record.rdata


def decode(data: bytes) -> Message:
    """Read a message; everything must be there and nothing may be left."""
    if len(data) < 12:
        raise WireError(f"{len(data)} bytes are too few for a DNS message")
    ident, flags, *counts = struct.unpack_from("!6H", data)
    message = Message(ident, flags)
    offset = 12
    for _unused in range(counts[0]):
        name, offset = _read_name(data, offset)
        rtype, rclass = _unpack("!2H", data, offset)
        offset += 4
        message.questions.append(Question(name, rtype, rclass))
    for count, section in zip(counts[1:], (message.answers, message.authorities, message.additionals)):
        for _unused in range(count):
            message.last_offset = offset
            record, offset = _read_record(data, offset)
            section.append(record)
    if offset != len(data):
        raise WireError(f"{len(data) - offset} bytes are left over after the end of a DNS message")
    signed = [record for record in (*message.answers, *message.authorities, *message.additionals[:-1]) if record.rtype == TYPE_TSIG]
    if signed:
        raise WireError("a signature stands elsewhere than at the end of a DNS message")
    return message


def _unpack(form: str, data: bytes, offset: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, data, offset)
    except struct.error as error:
        raise WireError("a DNS message ends in the middle") from error


def read_name(data: bytes, offset: int) -> tuple[Name, int]:
    """Read a name; return it and the offset of what follows it."""
    return _read_name(data, offset)


def _read_name(data: bytes, offset: int) -> tuple[Name, int]:
    labels: list[bytes] = []
    length = 1
    end = -1
    # A pointer must point before everything that was read of this name so far: that alone bounds the loop.
    lowest = offset
    while True:
        if offset >= len(data):
            raise WireError("a name runs over the end of a DNS message")
        size = data[offset]
        offset += 1
        if size == 0:
            break
        if size & 0xC0 == 0xC0:
            if offset >= len(data):
                raise WireError("a name runs over the end of a DNS message")
            target = (size & 0x3F) << 8 | data[offset]
            if end < 0:
                end = offset + 1
            if target >= lowest:
                raise WireError("a compressed name points forward or at itself")
            lowest = offset = target
            continue
        if size & 0xC0:
            raise WireError(f"a name has a label of the unknown kind {size >> 6}")
        label = data[offset : offset + size]
        offset += size
        length += size + 1
        if len(label) != size or length > MAX_NAME:
            raise WireError("a name is too long or runs over the end of a DNS message")
        labels.append(label.lower())
    return tuple(labels), end if end >= 0 else offset


def _read_record(data: bytes, offset: int) -> tuple[Record, int]:
    name, offset = _read_name(data, offset)
    rtype, rclass, ttl, size = _unpack("!2HIH", data, offset)
    offset += 10
    end = offset + size
    if end > len(data):
        raise WireError("the data of a record runs over the end of a DNS message")
    rdata = data[offset:end]
    # Updates carry records without data; with data they have the form of their type.
    if rdata and rtype in _FIXED and size != _FIXED[rtype]:
        raise WireError(f"an address record has {size} bytes")
    if rdata and rtype in _NAME_TYPES:
        target, after = _read_name(data, offset)
        if after != end:
            raise WireError("the name in a record has the wrong length")
        rdata = encode_name(target)
    elif rdata and rtype == TYPE_SOA:
        mname, after = _read_name(data, offset)
        rname, after = _read_name(data, after)
        if end - after != 20:
            raise WireError("an SOA record has the wrong length")
        rdata = encode_name(mname) + encode_name(rname) + data[after:end]
    # RFC 2181, section 8: a TTL with the highest bit set counts as zero.
    return Record(name, rtype, ttl if ttl < 1 << 31 else 0, rdata, rclass), end
