# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where packets with a small TTL die, and who says so. For an ordinary user, by the error queue of plain UDP sockets (Linux).

Private to this collection: no compatibility is promised to code outside it.

A packet to one's own mapped address with TTL 1 tells whose address that is: the router answers C(port unreachable) if it owns it, and
C(time exceeded) if it would have to pass it on. Silence tells nothing.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Any

from ._sockets import Way

__all__ = ["parse_error", "trace"]

_IP_RECVERR = 11
_MSG_ERRQUEUE = 0x2000
_SO_EE_ORIGIN_ICMP = 2
#: Ports that traceroute uses and where nobody listens.
_FIRST_PORT = 33434
_AGAIN = (0.0, 0.25, 0.5)
#: How long an answer is awaited after the last sending.
_WAIT = 0.4
#: How long the first hop is asked alone.
_FIRST_ALONE = 0.06


def parse_error(data: bytes) -> tuple[str, int, int] | None:
    """Read struct sock_extended_err with the offender's address: (from, type, code); None if no router reported it."""
    if len(data) < 24:
        return None
    _errno, origin, kind, code = struct.unpack_from("=IBBB", data)
    if origin != _SO_EE_ORIGIN_ICMP or struct.unpack_from("=H", data, 16)[0] != socket.AF_INET:
        return None
    return socket.inet_ntop(socket.AF_INET, data[20:24]), kind, code


def _drain(opened: socket.socket) -> tuple[str, int, int] | None:
    try:
        _data, control, _flags, _address = opened.recvmsg(512, 512, _MSG_ERRQUEUE)
    except OSError:
        return None
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == _IP_RECVERR:
            return parse_error(data)
    return None


def trace(way: Way, target: str, ttls: range, deadline: float) -> list[dict[str, Any]]:
    """Return who answered for each TTL, in order: C({ttl, from, type, code}). Silent ones are left out.

    Raises:
        OSError: nothing can be sent.
    """
    sockets: dict[int, socket.socket] = {}
    found: dict[int, dict[str, Any]] = {}
    try:
        for ttl in ttls:
            sockets[ttl] = way.open("ipv4", socket.SOCK_DGRAM, ttl)
            sockets[ttl].setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            sockets[ttl].connect((target, _FIRST_PORT + ttl))
        start = time.monotonic()
        schedule = [start + pause for pause in _AGAIN]
        end = min(deadline, schedule[-1] + _WAIT)
        # Routers send only a few ICMP messages a second. So the further ones wait for the first, which often suffices.
        further = start + _FIRST_ALONE
        poll = select.poll()
        by_number = {}
        for ttl, opened in sockets.items():
            poll.register(opened, select.POLLIN | select.POLLERR)
            by_number[opened.fileno()] = ttl
        while len(found) < len(sockets):
            now = time.monotonic()
            if now >= end:
                break
            if further and (now >= further or ttls[0] in found):
                further = 0.0
                for ttl in ttls[1:]:
                    _send(sockets[ttl])
            if schedule and now >= schedule[0]:
                schedule.pop(0)
                for ttl, opened in sockets.items():
                    if ttl not in found and (ttl == ttls[0] or not further):
                        _send(opened)
            until = min([end, *schedule[:1], *([further] if further else [])])
            for number, _event in poll.poll(max(0.0, until - time.monotonic()) * 1000):
                ttl = by_number[number]
                error = _drain(sockets[ttl])
                if error is not None and ttl not in found:
                    found[ttl] = {"ttl": ttl, "from": error[0], "type": error[1], "code": error[2]}
                    poll.unregister(number)
                elif error is None:
                    _discard(sockets[ttl])
            # The owner has answered: what lies behind it is of no interest.
            owners = [ttl for ttl, answer in found.items() if answer["from"] == target and answer["type"] == 3]
            if owners and all(ttl in found for ttl in sockets if ttl < min(owners)):
                break
    finally:
        for opened in sockets.values():
            opened.close()
    owners = [ttl for ttl, answer in found.items() if answer["from"] == target and answer["type"] == 3]
    return [found[ttl] for ttl in sorted(found) if not owners or ttl <= min(owners)]


def _send(opened: socket.socket) -> None:
    try:
        opened.send(b"")
    except OSError:
        # The error of an earlier packet; it waits in the queue and is read there.
        return


def _discard(opened: socket.socket) -> None:
    opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    try:
        opened.recv(512)
    except OSError:
        return
