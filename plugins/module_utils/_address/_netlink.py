# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links, addresses and routes as the kernel lists them (rtnetlink).

Private to this collection: no compatibility is promised to code outside it.

This works without root, without iproute2, and tells what other sources leave out: /proc/net/if_inet6 has eight flag bits only,
ifconfig shows one address per label, and Ansible's facts have neither flags nor lifetimes.
Parsing is apart from I/O: the functions parse_* take the bytes that the kernel sent.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

NLM_F_REQUEST = 0x001
NLM_F_MULTI = 0x002
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3
RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26

IFF_UP = 0x1
IFF_RUNNING = 0x40

IFA_F_TEMPORARY = 0x01  # for IPv6; for IPv4 the same bit says "secondary"
IFA_F_DADFAILED = 0x08
IFA_F_DEPRECATED = 0x20
IFA_F_TENTATIVE = 0x40
IFA_F_PERMANENT = 0x80
IFA_F_MANAGETEMPADDR = 0x100
IFA_F_STABLE_PRIVACY = 0x800

FOREVER = 0xFFFFFFFF
RT_TABLE_MAIN = 254
RTN_UNICAST = 1

_FAMILIES: dict[int, str] = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
_BYTES = {"ipv4": 4, "ipv6": 16}
#: How often a dump is asked for anew that was disturbed by a change meanwhile.
_DUMP_TRIES = 5


class NetlinkError(OSError):
    """The kernel could not be asked, or refused."""


@dataclass(frozen=True)
class Link:
    """A network interface. C(kind) is the kernel's word for a virtual one (C(bridge), C(wireguard)), None for a physical one."""

    index: int
    name: str
    kind: str | None
    flags: int

    @property
    def up(self) -> bool:
        """Whether it is switched on and has a carrier."""
        return self.flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING


@dataclass(frozen=True)
class InterfaceAddressRow:
    """An address on an interface. Lifetimes are seconds, None is for ever."""

    index: int
    family: str
    address: str
    prefix_length: int
    flags: int
    valid_lifetime: int | None
    preferred_lifetime: int | None


@dataclass(frozen=True)
class Route:
    """A route to everything, one per next hop. C(preference) is that of RFC 4191: 0 high, 1 medium, 2 low."""

    family: str
    gateway: str | None
    index: int
    source: str | None
    metric: int
    preference: int = 1


@dataclass(frozen=True)
class Message:
    """One netlink message."""

    kind: int
    flags: int
    payload: bytes


# --- parsing


def parse_messages(data: bytes) -> Iterator[Message]:
    """Split what one read from the socket gave."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, _sequence, _port = struct.unpack_from("=IHHII", data, offset)
        if length < 16 or offset + length > len(data):
            raise NetlinkError(f"netlink message of {length} bytes in {len(data) - offset}")
        yield Message(kind, flags, data[offset + 16 : offset + length])
        offset += (length + 3) & ~3


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Split type-length-value attributes. Of two of one type the first counts."""
    result: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4 or offset + length > len(data):
            raise NetlinkError(f"netlink attribute of {length} bytes in {len(data) - offset}")
        # The two topmost bits say "nested" and "network byte order".
        result.setdefault(kind & 0x3FFF, data[offset + 4 : offset + length])
        offset += (length + 3) & ~3
    return result


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def _address(family: str, data: bytes | None) -> str | None:
    if data is None or len(data) != _BYTES[family]:
        return None
    return socket.inet_ntop(socket.AF_INET if family == "ipv4" else socket.AF_INET6, data)


def _lifetime(value: int) -> int | None:
    return None if value == FOREVER else value


def parse_link(payload: bytes) -> Link:
    """Read the payload of RTM_NEWLINK."""
    _family, _type, index, flags, _change = struct.unpack_from("=BxHiII", payload)
    attributes = parse_attributes(payload[16:])
    info = parse_attributes(attributes.get(18, b""))  # IFLA_LINKINFO
    return Link(index, _text(attributes.get(3, b"")), _text(info[1]) if 1 in info else None, flags)  # IFLA_IFNAME, IFLA_INFO_KIND


def parse_address(payload: bytes) -> InterfaceAddressRow | None:
    """Read the payload of RTM_NEWADDR, None if it is not of IPv4 or IPv6."""
    number, prefix_length, flags, _scope, index = struct.unpack_from("=BBBBI", payload)
    family = _FAMILIES.get(number)
    if family is None:
        return None
    attributes = parse_attributes(payload[8:])
    # On point-to-point links IFA_ADDRESS (1) is the other end, and IFA_LOCAL (2) is ours.
    address = _address(family, attributes.get(2, attributes.get(1)))
    if address is None:
        return None
    if 8 in attributes:  # IFA_FLAGS: all 32 bits
        flags = _number(attributes[8])
    preferred: int | None = None
    valid: int | None = None
    if 6 in attributes:  # IFA_CACHEINFO
        preferred, valid = (_lifetime(value) for value in struct.unpack_from("=II", attributes[6]))
    return InterfaceAddressRow(index, family, address, prefix_length, flags, valid, preferred)


def _via(data: bytes) -> str | None:
    """Read RTA_VIA: a next hop of another family (IPv4 over an IPv6 gateway)."""
    family = _FAMILIES.get(struct.unpack_from("=H", data)[0]) if len(data) >= 2 else None
    return _address(family, data[2:]) if family else None


def _gateway(family: str, attributes: dict[int, bytes]) -> str | None:
    return _address(family, attributes[5]) if 5 in attributes else _via(attributes[18]) if 18 in attributes else None


def parse_default_route(payload: bytes) -> list[Route]:
    """Read the payload of RTM_NEWROUTE: the next hops if it is a default route of the main table, else nothing."""
    number, length, _source_length, _tos, table, _protocol, _scope, kind, _flags = struct.unpack_from("=BBBBBBBBI", payload)
    family = _FAMILIES.get(number)
    attributes = parse_attributes(payload[12:])
    table = _number(attributes[15]) if 15 in attributes else table  # RTA_TABLE
    if family is None or length or kind != RTN_UNICAST or table != RT_TABLE_MAIN:
        return []
    source = _address(family, attributes.get(7))  # RTA_PREFSRC
    metric = _number(attributes[6]) if 6 in attributes else 0  # RTA_PRIORITY
    preference = {1: 0, 3: 2}.get(attributes[20][0], 1) if attributes.get(20) else 1  # RTA_PREF
    routes = []
    if 4 in attributes:  # RTA_OIF
        routes.append(Route(family, _gateway(family, attributes), _number(attributes[4]), source, metric, preference))
    hops = attributes.get(9, b"")  # RTA_MULTIPATH
    while len(hops) >= 8:
        hop_length, _hop_flags, _weight, index = struct.unpack_from("=HBBi", hops)
        if hop_length < 8 or hop_length > len(hops):
            raise NetlinkError(f"next hop of {hop_length} bytes in {len(hops)}")
        routes.append(Route(family, _gateway(family, parse_attributes(hops[8:hop_length])), index, source, metric, preference))
        hops = hops[(hop_length + 3) & ~3 :]
    return routes


def parse_source(payload: bytes) -> str | None:
    """Read the answer to a route lookup: the address that the kernel sends from."""
    family = _FAMILIES.get(payload[0])
    return _address(family, parse_attributes(payload[12:]).get(7)) if family else None


# --- asking


class Netlink:
    """A connection to the kernel, for one thread."""

    def __init__(self, timeout: float = 5.0) -> None:
        if not hasattr(socket, "AF_NETLINK"):
            raise NetlinkError("interfaces can be read on Linux only")
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except OSError as error:
            raise NetlinkError(error.errno, f"cannot open a netlink socket: {error.strerror}") from error
        try:
            self._socket.settimeout(timeout)
            self._socket.bind((0, 0))
        except OSError as error:
            self._socket.close()
            raise NetlinkError(error.errno, f"cannot use a netlink socket: {error.strerror}") from error
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._socket.close()

    def _send(self, kind: int, flags: int, payload: bytes) -> None:
        self._sequence += 1
        self._socket.send(struct.pack("=IHHII", 16 + len(payload), kind, flags | NLM_F_REQUEST, self._sequence, 0) + payload)

    def _receive(self) -> Iterator[Message]:
        while True:
            # 64 KiB hold any message of a dump; the kernel sizes dumps by what the reader offers.
            data, _ancillary, flags, _sender = self._socket.recvmsg(65536)
            if flags & socket.MSG_TRUNC:
                raise NetlinkError("a netlink message is longer than 64 KiB")
            for message in parse_messages(data):
                if message.kind == NLMSG_ERROR:
                    number = -int(struct.unpack_from("=i", message.payload)[0])
                    if number:
                        raise NetlinkError(number, os.strerror(number))
                    return
                if message.kind == NLMSG_DONE:
                    return
                yield message
                if not message.flags & NLM_F_MULTI:
                    return

    def _ask(self, kind: int, flags: int, payload: bytes) -> list[Message]:
        try:
            self._send(kind, flags, payload)
            return list(self._receive())
        except NetlinkError:
            raise
        except OSError as error:
            raise NetlinkError(error.errno, f"the kernel did not answer: {error.strerror or error}") from error

    def _dump(self, kind: int, payload: bytes) -> list[bytes]:
        for _attempt in range(_DUMP_TRIES):
            messages = self._ask(kind, NLM_F_DUMP, payload)
            if not any(message.flags & NLM_F_DUMP_INTR for message in messages):
                break
        return [message.payload for message in messages if message.kind == kind - 2]

    def links(self) -> list[Link]:
        """List the interfaces."""
        return [parse_link(payload) for payload in self._dump(RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0))]

    def addresses(self) -> list[InterfaceAddressRow]:
        """List the IPv4 and IPv6 addresses."""
        rows = (parse_address(payload) for payload in self._dump(RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)))
        return [row for row in rows if row is not None]

    def default_routes(self) -> list[Route]:
        """List the next hops of the default routes in the main table, in the kernel's order."""
        result: list[Route] = []
        for number in _FAMILIES:
            for payload in self._dump(RTM_GETROUTE, struct.pack("=BBBBBBBBI", number, 0, 0, 0, 0, 0, 0, 0, 0)):
                result += parse_default_route(payload)
        return result

    def source_towards(self, family: str, address: str, index: int) -> str | None:
        """Ask which address the kernel would send from, None if it would not. Nothing is sent."""
        number = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        packed = socket.inet_pton(number, address)
        payload = struct.pack("=BBBBBBBBI", number, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
        payload += struct.pack("=HH", 4 + len(packed), 1) + packed  # RTA_DST
        payload += struct.pack("=HHI", 8, 4, index)  # RTA_OIF
        try:
            messages = self._ask(RTM_GETROUTE, 0, payload)
        except NetlinkError:
            return None
        return parse_source(messages[0].payload) if messages else None
