# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether GRE gets through to a helper. Needs root: GRE is no TCP and no UDP.

Private to this collection: no compatibility is promised to code outside it.

A host without a GRE tunnel answers a GRE packet with C(protocol unreachable), and that answer proves that the packet arrived. As a
control, the same is asked with a protocol number that nobody uses: if that gets through and GRE does not, the path drops GRE.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Any

__all__ = ["classify", "probe", "untested"]

GRE = 47
#: For experiments (RFC 3692): filtered by nobody in particular, used by nobody.
CONTROL = 253
_IP_RECVERR = 11
_MSG_ERRQUEUE = 0x2000
_SO_EE_ORIGIN_ICMP = 2
_SO_EE_ORIGIN_LOCAL = 1
_UNREACHABLE, _PROTOCOL = 3, 2
_AGAIN = (0.0, 0.3, 0.7)
_REASONS = {
    "passed": "the helper received it",
    "rejected": "a router on the way forbids it",
    "local": "this host's own firewall does not let it out",
}


def untested(reason: str) -> dict[str, Any]:
    """Return the result where nothing was sent."""
    return {"state": "untested", "by": None, "reason": reason}


def _errors(opened: socket.socket) -> tuple[str, int, int] | None:
    try:
        _data, control, _flags, _address = opened.recvmsg(512, 512, _MSG_ERRQUEUE)
    except OSError:
        return None
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == _IP_RECVERR and len(data) >= 24:
            _number, origin, icmp, code = struct.unpack_from("=IBBB", data)
            if origin == _SO_EE_ORIGIN_ICMP:
                return socket.inet_ntop(socket.AF_INET, data[20:24]), icmp, code
            if origin == _SO_EE_ORIGIN_LOCAL:
                return "", 0, 0
    return None


def classify(target: str, answer: tuple[str, int, int] | None, sent: bool) -> str:
    """Return what happened to one protocol: C(passed), C(rejected), C(local), or C(silent)."""
    if not sent:
        return "local"
    if answer is None:
        return "silent"
    sender, icmp, code = answer
    if sender == target and icmp == _UNREACHABLE and code == _PROTOCOL:
        return "passed"
    return "rejected" if sender else "local"


def _ask(target: str, number: int, payload: bytes, interface: str | None, timeout: float) -> tuple[str, str | None]:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, number) as opened:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if interface:
            opened.setsockopt(socket.SOL_SOCKET, 25, interface.encode() + b"\0")
        opened.connect((target, 0))
        schedule = [time.monotonic() + pause for pause in _AGAIN]
        end = schedule[0] + timeout
        poll = select.poll()
        poll.register(opened, select.POLLIN | select.POLLERR)
        sent = False
        while time.monotonic() < end:
            if schedule and time.monotonic() >= schedule[0]:
                schedule.pop(0)
                try:
                    opened.send(payload)
                    sent = True
                except PermissionError:
                    return "local", None
                except OSError:
                    sent = True  # the error of the packet before, which waits in the queue
            until = min(end, schedule[0]) if schedule else end
            for _number, event in poll.poll(max(0.0, until - time.monotonic()) * 1000):
                answer = _errors(opened) if event & select.POLLERR else None
                if answer is not None:
                    return classify(target, answer, sent), answer[0] or None
                try:
                    opened.recv(512)
                except OSError:
                    continue
                return "passed", target  # it speaks the protocol itself
        return classify(target, None, sent), None


def probe(target: str, interface: str | None = None, timeout: float = 1.5) -> dict[str, Any]:
    """Return C(state): passed, dropped, rejected, local, unknown, untested, error; C(by): who rejected it; C(reason)."""
    # Flags and version of the GRE that PPTP uses (RFC 2637), with an empty payload.
    packet = struct.pack("!HHHH", 0x2001, 0x880B, 0, 0)
    try:
        state, by = _ask(target, GRE, packet, interface, timeout)
        if state != "silent":
            return {"state": state, "by": by if state == "rejected" else None, "reason": _REASONS[state]}
        control, _by = _ask(target, CONTROL, b"\0" * 8, interface, timeout)
    except PermissionError:
        return untested("this needs root: run the task with become: true")
    except OSError as error:
        return {"state": "error", "by": None, "reason": f"it cannot be sent: {error.strerror or error}"}
    if control == "passed":
        return {"state": "dropped", "by": None, "reason": "another unusual protocol reaches the helper, GRE does not"}
    return {"state": "unknown", "by": None, "reason": "neither GRE nor another unusual protocol was answered: the helper may not answer them"}
