# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""STUN (RFC 8489): which address and port of ours a server sees.

Private to this collection: no compatibility is promised to code outside it.

Parsing is apart from I/O. An answer counts only if it comes from the address that was asked, repeats the transaction's random id, and
carries XOR-MAPPED-ADDRESS: the older MAPPED-ADDRESS is rewritten by some routers.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ._sockets import Way

__all__ = ["Answer", "StunError", "ask", "parse_answer", "request", "sample"]

COOKIE = 0x2112A442
_REQUEST, _SUCCESS, _FAILURE = 0x0001, 0x0101, 0x0111
_ERROR_CODE, _XOR_MAPPED_ADDRESS, _FINGERPRINT = 0x0009, 0x0020, 0x8028
_FINGERPRINT_XOR = 0x5354554E
#: When a request is sent again, in seconds after the first time.
_AGAIN = (0.0, 0.25, 0.75, 1.5, 2.5, 4.5)


class StunError(Exception):
    """The answer says nothing usable; the text says why."""


@dataclass(frozen=True)
class Answer:
    """What a server saw."""

    address: str
    port: int


def request(transaction: bytes) -> bytes:
    """Return a binding request with a transaction id of 12 bytes."""
    return struct.pack("!HHI", _REQUEST, 0, COOKIE) + transaction


def parse_answer(data: bytes, transaction: bytes, family: str) -> Answer | None:
    """Return what a server saw; None if the packet is not the answer to this request.

    Raises:
        StunError: it is the answer, but says nothing usable.
    """
    if len(data) < 20:
        return None
    kind, length, cookie = struct.unpack_from("!HHI", data)
    if cookie != COOKIE or data[8:20] != transaction or kind not in (_SUCCESS, _FAILURE):
        return None
    if length % 4 or length != len(data) - 20:
        raise StunError(f"the answer claims {length} bytes of attributes and has {len(data) - 20}")
    mapped: Answer | None = None
    offset = 20
    while offset < len(data):
        number, size = struct.unpack_from("!HH", data, offset)
        value = data[offset + 4 : offset + 4 + size]
        if len(value) < size:
            raise StunError("the answer ends within an attribute")
        if number == _ERROR_CODE and kind == _FAILURE:
            code = value[2] * 100 + value[3] if len(value) >= 4 else 0
            raise StunError(f"the server refuses with error {code} {value[4:].decode('utf-8', 'replace')[:60]}".rstrip())
        if number == _FINGERPRINT and size == 4 and struct.unpack("!I", value)[0] != zlib.crc32(data[:offset]) ^ _FINGERPRINT_XOR:
            raise StunError("the answer's checksum is wrong: something on the way changed it")
        if number == _XOR_MAPPED_ADDRESS and mapped is None:
            mapped = _address(value, transaction, family)
        offset += 4 + size + (-size % 4)
    if kind == _FAILURE:
        raise StunError("the server refuses without saying why")
    if mapped is None:
        raise StunError("the answer has no XOR-MAPPED-ADDRESS: the server speaks an older version of STUN")
    return mapped


def _address(value: bytes, transaction: bytes, family: str) -> Answer:
    number = {1: "ipv4", 2: "ipv6"}.get(value[1]) if len(value) >= 4 else None
    if number is None or len(value) != (8 if number == "ipv4" else 20):
        raise StunError("the answer's address is malformed")
    if number != family:
        raise StunError(f"the answer is of the wrong family: asked over {family}, it names an address of {number}")
    port = struct.unpack_from("!H", value, 2)[0] ^ (COOKIE >> 16)
    mask = struct.pack("!I", COOKIE) + transaction
    packed = bytes(one ^ other for one, other in zip(value[4:], mask))
    return Answer(socket.inet_ntop(socket.AF_INET if number == "ipv4" else socket.AF_INET6, packed), port)


@dataclass
class _Pending:
    index: int
    server: tuple[str, int]
    transaction: bytes
    opened: socket.socket


#: index of the request, the local port, and the answer or why there is none
Told = Callable[[int, int, "Answer | StunError"], None]


def _exchange(pending: list[_Pending], family: str, deadline: float, told: Told) -> None:
    """Send, send again, and hand over each answer as it comes. What stays silent is handed over at the end."""
    start = time.monotonic()
    schedule = [start + pause for pause in _AGAIN]
    sockets = list({one.opened for one in pending})
    blocked: dict[int, StunError] = {}
    while pending:
        now = time.monotonic()
        if now >= deadline:
            break
        if schedule and now >= schedule[0]:
            schedule.pop(0)
            for one in pending:
                try:
                    one.opened.sendto(request(one.transaction), one.server)
                    blocked.pop(one.index, None)
                except OSError as error:
                    blocked[one.index] = StunError(f"cannot be sent: {error.strerror or error}")
            if len(blocked) == len(pending) and not schedule[3:]:
                break
        until = min(deadline, schedule[0]) if schedule else deadline
        ready, _write, _error = select.select(sockets, [], [], max(0.0, until - time.monotonic()))
        for opened in ready:
            _take(opened, pending, family, told)
    for one in pending:
        told(one.index, int(one.opened.getsockname()[1]), blocked.get(one.index, StunError("no answer in time")))


def _take(opened: socket.socket, pending: list[_Pending], family: str, told: Told) -> None:
    try:
        data, sender = opened.recvfrom(2048)
    except OSError:
        return  # an ICMP error for an earlier request; the silence is reported in the end
    for one in list(pending):
        if one.opened is not opened or (sender[0], sender[1]) != one.server:
            continue
        result: Answer | StunError | None
        try:
            result = parse_answer(data, one.transaction, family)
        except StunError as error:
            result = error
        if result is not None:
            pending.remove(one)
            told(one.index, int(opened.getsockname()[1]), result)


def ask(way: Way, family: str, servers: Sequence[tuple[str, int]], deadline: float, told: Told) -> None:
    """Ask all servers from one socket, so that the answers tell whether the mapping depends on the server."""
    with way.open(family, socket.SOCK_DGRAM) as opened:
        opened.bind(("::" if family == "ipv6" else "0.0.0.0", 0))
        _exchange([_Pending(index, server, os.urandom(12), opened) for index, server in enumerate(servers)], family, deadline, told)


def sample(way: Way, servers: Sequence[tuple[str, int]], count: int, deadline: float) -> list[tuple[int, int, str, str]]:
    """Ask servers in turn, each time from another socket, over IPv4. Return (local port, mapped port, mapped address, server) of the answers."""
    found: list[tuple[int, int, str, str]] = []

    def told(index: int, local: int, answer: Answer | StunError) -> None:
        if isinstance(answer, Answer):
            found.append((local, answer.port, answer.address, servers[index % len(servers)][0]))

    opened: list[socket.socket] = []
    try:
        pending = []
        for index in range(count):
            one = way.open("ipv4", socket.SOCK_DGRAM)
            opened.append(one)
            one.bind(("0.0.0.0", 0))
            pending.append(_Pending(index, servers[index % len(servers)], os.urandom(12), one))
        _exchange(pending, "ipv4", deadline, told)
    finally:
        for one in opened:
            one.close()
    return found
