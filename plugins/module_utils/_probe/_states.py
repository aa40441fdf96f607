# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an answer, an error or silence says about a port. No I/O here.

Private to this collection. The rules follow from what Linux shows to an ordinary user through connect(), SO_ERROR and
the error queue (IP_RECVERR).
"""

from __future__ import annotations

import errno
import socket
import struct

OPEN = "open"
CLOSED = "closed"
FILTERED = "filtered"
REJECTED = "rejected"
LOCAL_DROP = "local_drop"
LOCAL_REJECT = "local_reject"
NO_ROUTE = "no_route"
HOST_UNREACHABLE = "host_unreachable"
OPEN_OR_FILTERED = "open_or_filtered"
ERROR = "error"

#: All states, in the order in which a summary names them.
STATES = (OPEN, CLOSED, FILTERED, REJECTED, LOCAL_DROP, LOCAL_REJECT, NO_ROUTE, HOST_UNREACHABLE, OPEN_OR_FILTERED, ERROR)

HIGH = "high"
MEDIUM = "medium"
LOW = "low"

IP_RECVERR = 11
IPV6_RECVERR = 25

_SO_EE_ORIGIN_ICMP = 2
_SO_EE_ORIGIN_ICMP6 = 3

#: Errors that say something about this host's resources and nothing about the port.
LOCAL_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EADDRINUSE})

#: connect() that fails at once, without a packet: this host's routing table has no way.
_ROUTING = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ENETDOWN, errno.EAFNOSUPPORT})

# (family, type, code) of ICMP messages.
_PORT_UNREACHABLE = frozenset({(4, 3, 3), (6, 1, 4)})
_HOST_UNREACHABLE = frozenset({(4, 3, 1), (4, 3, 7), (6, 1, 3)})
_NO_ROUTE = frozenset({(4, 3, 0), (4, 3, 6), (6, 1, 0), (4, 11, 0), (6, 3, 0)})


class Icmp:
    """An ICMP error as the kernel reports it: what, and who sent it."""

    __slots__ = ("code", "errno", "family", "sender", "type")

    def __init__(self, family: int, type_: int, code: int, sender: str, number: int) -> None:
        self.family = family
        self.type = type_
        self.code = code
        self.sender = sender
        self.errno = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Icmp) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.family, self.type, self.code, self.sender, self.errno))

    def __repr__(self) -> str:
        return f"Icmp({self.family}, {self.type}, {self.code}, {self.sender!r}, {self.errno})"

    @property
    def key(self) -> tuple[int, int, int]:
        """Family, type and code."""
        return self.family, self.type, self.code


def decode_control(messages: list[tuple[int, int, bytes]]) -> Icmp | None:
    """Return the ICMP error among the control messages of one entry of the error queue."""
    for level, kind, data in messages:
        if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
            found = decode_extended_error(data)
            if found is not None:
                return found
    return None


def decode_extended_error(data: bytes) -> Icmp | None:
    """Decode struct sock_extended_err and the sender's address behind it; None if it is not an ICMP error."""
    if len(data) < 16:
        return None
    number, origin, type_, code = struct.unpack_from("=IBBB", data)
    if origin == _SO_EE_ORIGIN_ICMP:
        family = 4
    elif origin == _SO_EE_ORIGIN_ICMP6:
        family = 6
    else:
        return None
    return Icmp(family, type_, code, _decode_address(data[16:]), number)


def _decode_address(data: bytes) -> str:
    if len(data) < 2:
        return ""
    (family,) = struct.unpack_from("=H", data)
    if family == socket.AF_INET and len(data) >= 8:
        return socket.inet_ntop(socket.AF_INET, data[4:8])
    if family == socket.AF_INET6 and len(data) >= 24:
        packed = data[8:24]
        if packed[:12] == b"\0" * 10 + b"\xff\xff":
            return socket.inet_ntop(socket.AF_INET, packed[12:])
        return socket.inet_ntop(socket.AF_INET6, packed)
    return ""


def decide_immediate(number: int) -> tuple[str, str]:
    """State and confidence when connect() failed at once and no ICMP error explains it."""
    if number == errno.ECONNREFUSED:
        return CLOSED, HIGH
    if number in _ROUTING:
        return NO_ROUTE, HIGH
    if number == errno.EPERM:
        return LOCAL_REJECT, MEDIUM
    return ERROR, HIGH


def decide_error(protocol: str, number: int, icmp: Icmp | None, from_own: bool, from_target: bool, neighbour_missing: bool) -> tuple[str, str]:
    """State and confidence after an error that arrived later.

    Args:
        protocol: tcp or udp.
        number: the socket's error.
        icmp: the ICMP error behind it, if there was one.
        from_own: the ICMP error came from an address of this host, and this host is not the target.
        from_target: it came from the probed address.
        neighbour_missing: the next hop does not answer address resolution.
    """
    if icmp is not None:
        if from_own:
            if icmp.key in _HOST_UNREACHABLE and neighbour_missing:
                return HOST_UNREACHABLE, HIGH
            return LOCAL_REJECT, HIGH
        if icmp.key in _PORT_UNREACHABLE:
            if protocol == "udp" and from_target:
                return CLOSED, HIGH
            return REJECTED, HIGH
        if not from_target:
            # A router's word about the host or the net. A firewall there can say the same on purpose.
            if icmp.key in _HOST_UNREACHABLE:
                return HOST_UNREACHABLE, MEDIUM
            if icmp.key in _NO_ROUTE:
                return NO_ROUTE, MEDIUM
        return REJECTED, HIGH
    if number == errno.ECONNREFUSED:
        return CLOSED, HIGH
    if number in (errno.ECONNRESET, errno.EPIPE):
        # The handshake was done before the other side hung up.
        return (OPEN, MEDIUM) if protocol == "tcp" else (ERROR, HIGH)
    if number == errno.EHOSTUNREACH:
        return HOST_UNREACHABLE, MEDIUM
    if number == errno.ENETUNREACH:
        return NO_ROUTE, MEDIUM
    if number in (errno.EACCES, errno.ENOPROTOOPT, errno.EPROTO, errno.ECONNABORTED):
        return REJECTED, MEDIUM
    if number == errno.EPERM:
        return LOCAL_DROP, HIGH
    return ERROR, HIGH


def decide_silence(protocol: str, heard_from_target: bool, attempts: int) -> tuple[str, str]:
    """State and confidence when nothing came back."""
    if protocol == "udp":
        return OPEN_OR_FILTERED, LOW
    if attempts < 2:
        return FILTERED, LOW
    return FILTERED, HIGH if heard_from_target else MEDIUM
