# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an ordinary user can learn about this host: its addresses, limits, counters, next hops and neighbours.

Private to this collection. Linux only.
"""

from __future__ import annotations

import os
import socket
import struct

SO_BINDTODEVICE = 25

#: Neighbour states that mean: address resolution has no answer.
_NUD_INCOMPLETE = 0x01
_NUD_FAILED = 0x20

_RTM_NEWROUTE = 24
_RTM_GETROUTE = 26
_RTM_NEWNEIGH = 28
_RTM_GETNEIGH = 30
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 1
_NLM_F_DUMP = 0x300
_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_VIA = 18
_NDA_DST = 1

_MISSING = 0
_KNOWN = 1
_ABSENT = 2


def is_own_address(family: int, sockaddr: tuple[object, ...]) -> bool:
    """Whether an address belongs to this host: only then can a socket be bound to it."""
    try:
        with open("/proc/sys/net/ipv4/ip_nonlocal_bind" if family == socket.AF_INET else "/proc/sys/net/ipv6/ip_nonlocal_bind", encoding="ascii") as file:
            if file.read().strip() != "0":
                return _connects_to_itself(family, sockaddr)
    except OSError:
        pass
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((sockaddr[0], 0, *sockaddr[2:]))
    except OSError:
        return False
    return True


def _connects_to_itself(family: int, sockaddr: tuple[object, ...]) -> bool:
    # Where any address may be bound, ask the routing table: towards itself a host sends from the very same address.
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((sockaddr[0], 9, *sockaddr[2:]))
            return bool(sock.getsockname()[0] == sockaddr[0])
    except OSError:
        return False


def open_files() -> int:
    """Number of descriptors that this process holds."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 16


def raise_descriptor_limit(wanted: int) -> tuple[int, int]:
    """Raise the soft limit of descriptors as far as needed and allowed; return soft and hard limit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
            soft = new
        except (ValueError, OSError):
            pass
    return soft, hard


class Counters:
    """Packets that this host wanted to send and has sent, of one family, from /proc/self/net/snmp.

    What was wanted but never sent was dropped by this host's own packet filter. Needs no privilege.
    """

    def __init__(self, family: int) -> None:
        self._family = family

    def read(self) -> tuple[int, int] | None:
        """Return (wanted, sent), or None if this kernel cannot tell."""
        try:
            with open("/proc/self/net/snmp", encoding="ascii") as file:
                four = file.read()
            six = ""
            if os.path.exists("/proc/self/net/snmp6"):
                with open("/proc/self/net/snmp6", encoding="ascii") as file:
                    six = file.read()
        except OSError:
            return None
        return parse_counters(self._family, four, six)


def parse_counters(family: int, snmp: str, snmp6: str) -> tuple[int, int] | None:
    """Return (wanted, sent) from the texts of snmp and snmp6, None if this kernel cannot tell for the family."""
    table6 = dict(line.split()[:2] for line in snmp6.splitlines() if len(line.split()) == 2)
    if family == socket.AF_INET6:
        if "Ip6OutTransmits" not in table6:
            return None
        return int(table6["Ip6OutRequests"]), int(table6["Ip6OutTransmits"]) - int(table6.get("Ip6OutForwDatagrams", 0))
    table = _parse_snmp(snmp)
    ip = table.get("Ip", {})
    if "OutTransmits" in ip:
        # Forwarded packets are transmitted but were never requested.
        return ip["OutRequests"], ip["OutTransmits"] - ip.get("ForwDatagrams", 0)
    if "OutRequests" in ip and "OutSegs" in table.get("Tcp", {}):
        # Before Linux 6.8 OutRequests was counted behind the packet filter, so that segments which TCP handed down and
        # that are missing there were dropped. IPv6 counts in front of it: take its share away.
        return table["Tcp"]["OutSegs"], ip["OutRequests"] + int(table6.get("Ip6OutRequests", 0))
    return None


def _parse_snmp(text: str) -> dict[str, dict[str, int]]:
    lines = [line.split() for line in text.splitlines()]
    table = {}
    for names, values in zip(lines[::2], lines[1::2]):
        if names and values and names[0] == values[0]:
            table[names[0].rstrip(":")] = dict(zip(names[1:], (int(value) for value in values[1:])))
    return table


def interface_address(name: str, family: int, destination: str) -> str | None:
    """Return the address that packets to destination would leave the interface with, None if it has none."""
    # The kernel's own choice, asked for through a socket that is tied to the interface.
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, name.encode() + b"\0")
            sock.connect((destination, 9))
        except OSError:
            return None
        return str(sock.getsockname()[0])


def neighbour_missing(family: int, address: str, sockaddr: tuple[object, ...]) -> bool:
    """Whether the next hop towards an address does not answer address resolution (ARP, neighbour discovery)."""
    return _next_hop_state(family, address, sockaddr) == _MISSING


def _next_hop_state(family: int, address: str, sockaddr: tuple[object, ...]) -> int:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            sock.settimeout(1.0)
            sock.bind((0, 0))
            packed = socket.inet_pton(family, address.partition("%")[0])
            scope = sockaddr[3] if len(sockaddr) == 4 and isinstance(sockaddr[3], int) else 0
            index, hop = _route(sock, family, packed, scope)
            for message_index, state, neighbour in _neighbours(sock, family):
                if message_index == index and neighbour == hop:
                    return _MISSING if state & (_NUD_INCOMPLETE | _NUD_FAILED) else _KNOWN
    except (OSError, struct.error, ValueError):
        pass
    return _ABSENT


def _route(sock: socket.socket, family: int, packed: bytes, scope: int) -> tuple[int, bytes]:
    body = struct.pack("=BBBBBBBBI", family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0) + _attribute(_RTA_DST, packed)
    if scope:
        body += _attribute(_RTA_OIF, struct.pack("=I", scope))
    index, hop = 0, packed
    for kind, data in _ask(sock, _RTM_GETROUTE, _NLM_F_REQUEST, body):
        if kind == _RTM_NEWROUTE:
            attributes = dict(_attributes(data[12:]))
            if _RTA_OIF in attributes:
                (index,) = struct.unpack("=I", attributes[_RTA_OIF])
            if _RTA_GATEWAY in attributes:
                hop = attributes[_RTA_GATEWAY]
            elif _RTA_VIA in attributes:
                hop = attributes[_RTA_VIA][2:]
    return index, hop


def _neighbours(sock: socket.socket, family: int) -> list[tuple[int, int, bytes]]:
    found = []
    for kind, data in _ask(sock, _RTM_GETNEIGH, _NLM_F_REQUEST | _NLM_F_DUMP, struct.pack("=BxxxiHBB", family, 0, 0, 0, 0)):
        if kind == _RTM_NEWNEIGH:
            _family, index, state, _flags, _type = struct.unpack_from("=BxxxiHBB", data)
            destination = dict(_attributes(data[12:])).get(_NDA_DST, b"")
            found.append((index, state, destination))
    return found


def _ask(sock: socket.socket, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
    sock.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    answers: list[tuple[int, bytes]] = []
    while True:
        data = sock.recv(65536)
        while len(data) >= 16:
            length, answer, answer_flags, _sequence, _port = struct.unpack_from("=IHHII", data)
            if answer in (_NLMSG_DONE, _NLMSG_ERROR) or length < 16:
                return answers
            answers.append((answer, data[16:length]))
            if not flags & _NLM_F_DUMP:
                return answers
            data = data[(length + 3) & ~3 :]


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data.ljust((len(data) + 3) & ~3, b"\0")


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found.append((kind & 0x3FFF, data[4:length]))
        data = data[(length + 3) & ~3 :]
    return found
