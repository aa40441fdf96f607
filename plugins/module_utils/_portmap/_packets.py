# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packets of NAT-PMP (RFC 6886) and PCP (RFC 6887), and what their result codes mean. Pure.

Private to this collection.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

PORT = 5351
MAX_SIZE = 1100

PCP_ANNOUNCE, PCP_MAP = 0, 1
PREFER_FAILURE = struct.pack("!BBH", 2, 0, 0)
NO_RESOURCES, CANNOT_PROVIDE_EXTERNAL = 8, 11

_ANSWER = 0x80
_IP_PROTOCOL = {"tcp": 6, "udp": 17}
_NATPMP_OPCODE = {"udp": 1, "tcp": 2}
_HEADER, _MAP = 24, 60
_IPV4_MAPPED = b"\0" * 10 + b"\xff\xff"

NATPMP_RESULTS = {
    1: ("UNSUPP_VERSION", "it does not speak NAT-PMP, maybe only PCP: try method pcp"),
    2: ("NOT_AUTHORIZED", "its rules do not allow this host this port, or port mapping is switched off in it"),
    3: ("NETWORK_FAILURE", "its WAN side has no address that it would map; usually a private one, or none"),
    4: ("OUT_OF_RESOURCES", "it is full, or has no port to give: remove mappings that nobody needs"),
    5: ("UNSUPP_OPCODE", "it does not map this protocol"),
}
PCP_RESULTS = {
    1: ("UNSUPP_VERSION", "it does not speak PCP version 2, maybe only NAT-PMP: try method natpmp"),
    2: ("NOT_AUTHORIZED", "its rules do not allow this host this port, or the mapping was made with another nonce, so by something else: owner unknown"),
    3: ("MALFORMED_REQUEST", "it does not understand the request: try method upnp or natpmp"),
    4: ("UNSUPP_OPCODE", "it does not map ports by PCP: try method upnp or natpmp"),
    5: ("UNSUPP_OPTION", "it cannot promise the very port that is asked for: try method upnp"),
    6: ("MALFORMED_OPTION", "it does not understand the request: try method upnp or natpmp"),
    7: ("NETWORK_FAILURE", "its WAN side does not work now: run again later"),
    8: ("NO_RESOURCES", "it is full, or its WAN side has no public address"),
    9: ("UNSUPP_PROTOCOL", "it does not map this protocol"),
    10: ("USER_EX_QUOTA", "this host has as many mappings as it may have: remove some"),
    11: ("CANNOT_PROVIDE_EXTERNAL", "the port is taken or not allowed, and PCP does not tell by whom (owner unknown): choose another external_port"),
    12: ("ADDRESS_MISMATCH", "another NAT is between this host and it, so a mapping in it would not lead here: name the nearest router as the gateway"),
    13: ("EXCESSIVE_REMOTE_PEERS", "it does not take the request"),
}


#: The same where IPv6 was asked for, as far as something else is to be done.
PCP_RESULTS_IPV6 = {
    1: "it does not speak PCP version 2: try method upnp, or open the port on its own page",
    2: "its rules do not allow this host this port, or the pinhole was made with another nonce, so by something else: owner unknown. Permit this host on the"
    " router's own page, or open the port there",
    3: "it does not understand the request: try method upnp, or open the port on its own page",
    4: "it does not open ports by PCP: try method upnp, or open the port on its own page",
    5: "it cannot promise the very port that is asked for: try method upnp, or open the port on its own page",
    6: "it does not understand the request: try method upnp, or open the port on its own page",
    8: "it is full: remove mappings that nobody needs, or restart it",
    9: "it does not open ports of this protocol: open the port on its own page",
    11: "the port is not allowed, or something else has it, and PCP does not tell what (owner unknown): choose another port, or open it on the router's own"
    " page",
    12: "another router is between this host and it, so it would not lead here: open the port on the routers' own pages",
    13: "it does not take the request: open the port on its own page",
}


class PacketError(ValueError):
    """A datagram that is no answer to what was asked."""


@dataclass(frozen=True)
class Answer:
    """What a router said. Where C(result) is not 0, the fields after C(epoch) mean nothing, but C(lifetime) of PCP: try again after so many seconds.

    C(unique_id) is the number of a pinhole, where the router gives it one.
    """

    result: int
    epoch: int = 0
    lifetime: int = 0
    external_port: int = 0
    external_address: str | None = None
    unique_id: str = ""


def natpmp_address_request() -> bytes:
    """Ask for the WAN address."""
    return b"\0\0"


def natpmp_map_request(protocol: str, internal_port: int, external_port: int, lifetime: int) -> bytes:
    """Ask for a mapping; with lifetime 0 and external port 0, for its removal."""
    if internal_port == 0:
        raise PacketError("internal port 0 would mean every mapping of this host")
    return struct.pack("!BBHHHI", 0, _NATPMP_OPCODE[protocol], 0, internal_port, external_port, lifetime)


def pcp_announce_request(client: str) -> bytes:
    """Ask whether it is there, and for its epoch."""
    return struct.pack("!BBHI", 2, PCP_ANNOUNCE, 0, 0) + _mapped(client)


def pcp_map_request(client: str, protocol: str, internal_port: int, external_port: int, lifetime: int, nonce: bytes, options: bytes = b"") -> bytes:
    """Ask for a mapping; with lifetime 0, for its removal."""
    if internal_port == 0:
        raise PacketError("internal port 0 would mean every port of this host")
    if len(nonce) != 12:
        raise PacketError(f"a nonce has 12 bytes, not {len(nonce)}")
    header = struct.pack("!BBHI", 2, PCP_MAP, 0, lifetime) + _mapped(client)
    external = _mapped("::" if ":" in client else "0.0.0.0")
    return header + nonce + struct.pack("!B3xHH", _IP_PROTOCOL[protocol], internal_port, external_port) + external + options


def read_natpmp(request: bytes, data: bytes) -> Answer:
    """Read the answer to a request of NAT-PMP, or raise PacketError."""
    _is_answer(request, data, 8)
    result, epoch = struct.unpack("!HI", data[2:8])
    if result:
        return Answer(result, epoch)
    if request[1] == 0:
        _length(data, 12)
        return Answer(0, epoch, external_address=_address(data[8:12]))
    _length(data, 16)
    internal, external, lifetime = struct.unpack("!HHI", data[8:16])
    if internal != struct.unpack("!H", request[4:6])[0]:
        raise PacketError(f"an answer about internal port {internal}, which was not asked for")
    return Answer(0, epoch, lifetime, external)


def read_pcp(request: bytes, data: bytes) -> Answer:
    """Read the answer to a request of PCP, or raise PacketError."""
    if len(data) >= 4 and data[0] == 0 and data[1] & _ANSWER and struct.unpack("!H", data[2:4])[0] == 1:
        # What a router that knows NAT-PMP only says to another version.
        return Answer(1)
    _is_answer(request, data, _HEADER)
    if len(data) % 4 or len(data) > MAX_SIZE:
        raise PacketError(f"an answer of {len(data)} bytes, which PCP does not have")
    result, lifetime, epoch = struct.unpack("!BII", data[3:12])
    if request[1] == PCP_ANNOUNCE:
        return Answer(result, epoch, lifetime)
    if len(data) < _MAP:
        if result and len(data) == _HEADER:
            return Answer(result, epoch, lifetime)
        raise PacketError(f"an answer of {len(data)} bytes, too short for a mapping")
    if data[24:37] != request[24:37] or data[40:42] != request[40:42]:
        raise PacketError("an answer about another mapping (nonce, protocol or port differ)")
    if result:
        return Answer(result, epoch, lifetime)
    # What is asked for an IPv6 address is answered with one.
    external = _address(data[56:60]) if request[8:20] == _IPV4_MAPPED else _address6(data[44:60])
    return Answer(0, epoch, lifetime, struct.unpack("!H", data[42:44])[0], external)


def epoch_valid(old_epoch: int, old_time: float, epoch: int, now: float) -> bool:
    """Whether a router still holds what it held, by its clock and ours (RFC 6887, 8.5). RFC 6886 wants no more than this."""
    if epoch < old_epoch - 1 or now < old_time - 1:
        return False
    client, server = int(now - old_time), epoch - old_epoch
    return client + 2 >= server - server // 16 and server + 2 >= client - client // 16


def schedule(total: float, first: float = 0.25) -> list[float]:
    """When to send again: the moments in seconds from the start, each wait twice as long as the last one, none in the last tenth."""
    moments = [0.0]
    wait = first
    while moments[-1] + wait < total * 0.9:
        moments.append(moments[-1] + wait)
        wait *= 2
    return moments


def _is_answer(request: bytes, data: bytes, least: int) -> None:
    _length(data, 2)
    if data[0] != request[0] or data[1] != request[1] | _ANSWER:
        raise PacketError(f"an answer of version {data[0]}, opcode {data[1]}, which was not asked for")
    _length(data, least)


def _length(data: bytes, least: int) -> None:
    if len(data) < least:
        raise PacketError(f"an answer of {len(data)} bytes, too short")


def _mapped(address: str) -> bytes:
    parsed = ipaddress.ip_address(address)
    return parsed.packed if parsed.version == 6 else _IPV4_MAPPED + parsed.packed


def _address(data: bytes) -> str | None:
    address = ipaddress.IPv4Address(data)
    return None if address.is_unspecified else str(address)


def _address6(data: bytes) -> str | None:
    # Not is_unspecified: from Python 3.13 on that holds for IPv4's in IPv6 form, too.
    return str(ipaddress.IPv6Address(data)) if any(data) else None
