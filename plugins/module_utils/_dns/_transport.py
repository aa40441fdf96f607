# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One question to one server and the answer that belongs to it, over UDP, then over TCP where the answer is too long.

Private to this collection.
"""

from __future__ import annotations

import errno
import secrets
import socket
import struct
import time

from ._name import DnsError
from ._wire import Message, WireError, decode

DEFAULT_PORT = 53

_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL, errno.EACCES, errno.EPERM}


class NoAnswer(DnsError):
    """The server gave no usable answer."""


def new_id() -> int:
    """Return an unpredictable message id. The source port is the kernel's choice, which is random as well."""
    return secrets.randbelow(1 << 16)


def exchange(address: str, query: Message, port: int = DEFAULT_PORT, timeout: float = 3.0, attempts: int = 2) -> Message:
    """Ask over UDP; go on over TCP if the answer is truncated."""
    data = query.encode()
    for attempt in range(attempts):
        try:
            answer = decode(udp(address, data, port, timeout))
        except NoAnswer as error:
            if attempt + 1 < attempts and error.kind == "timeout":
                continue
            raise
        return decode(tcp(address, data, port, timeout)) if answer.truncated else answer
    raise NoAnswer(f"{_where(address, port)} was not asked", "error")


def udp(address: str, data: bytes, port: int = DEFAULT_PORT, timeout: float = 3.0) -> bytes:
    """Send a datagram; return the first answer that comes from that server and belongs to the question."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            # A connected socket takes datagrams of this address and port alone, and learns of "port unreachable".
            sock.connect((address, port))
            sock.send(data)
            deadline = time.monotonic() + timeout
            strange = False
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                sock.settimeout(left)
                try:
                    answer = sock.recv(65535)
                except socket.timeout:
                    break
                if belongs(answer, data):
                    return answer
                strange = True
    except OSError as error:
        raise _no_answer(address, port, "UDP", error) from error
    if strange:
        raise NoAnswer(f"{_where(address, port)} sent answers that do not belong to the question, and none that does, for {timeout:g} s", "malformed")
    raise NoAnswer(f"{_where(address, port)} did not answer for {timeout:g} s (UDP)", "timeout")


def tcp(address: str, data: bytes, port: int = DEFAULT_PORT, timeout: float = 3.0) -> bytes:
    """Do the same over a connection; the time is for all of it."""
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection((address, port), timeout=timeout) as sock:
            sock.sendall(struct.pack("!H", len(data)) + data)
            size = struct.unpack("!H", _read(sock, 2, deadline))[0]
            answer = _read(sock, size, deadline)
    except socket.timeout as error:
        raise NoAnswer(f"{_where(address, port)} did not answer for {timeout:g} s (TCP)", "timeout") from error
    except OSError as error:
        raise _no_answer(address, port, "TCP", error) from error
    if not belongs(answer, data):
        raise NoAnswer(f"{_where(address, port)} sent an answer that does not belong to the question (TCP)", "malformed")
    return answer


def belongs(answer: bytes, query: bytes) -> bool:
    """Return whether one message is an answer to the other: same id, same kind, same question."""
    try:
        got, asked = decode(answer), decode(query)
    except WireError:
        return False
    if got.id != asked.id or not got.is_response or got.opcode != asked.opcode:
        return False
    # Servers may leave the question out when they could not even read the request.
    return got.questions == asked.questions or (not got.questions and got.rcode != 0)


def _read(sock: socket.socket, size: int, deadline: float) -> bytes:
    parts = []
    while size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout
        sock.settimeout(left)
        part = sock.recv(size)
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "the connection was closed in the middle of an answer")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _where(address: str, port: int) -> str:
    return address if port == DEFAULT_PORT else f"{address} port {port}"


def _no_answer(address: str, port: int, protocol: str, error: OSError) -> NoAnswer:
    if error.errno == errno.ECONNREFUSED:
        return NoAnswer(f"{_where(address, port)} refuses DNS ({protocol}): nothing listens there, or a firewall rejects it", "refused")
    if error.errno in _NO_ROUTE:
        return NoAnswer(f"{_where(address, port)} cannot be reached from this host: {error.strerror}", "no_route")
    return NoAnswer(f"{_where(address, port)} gave no answer ({protocol}): {error.strerror or error}", "error")
