# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to one address: a datagram and everything that comes back, a ping, a list of TCP ports, an address resolution.

Private to this collection. Linux only.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import socket
import struct
import time
from collections.abc import Collection, Sequence

from .._probe import _engine as engine
from .._probe._ports import ProbeInputError
from .._probe._states import IP_RECVERR, IPV6_RECVERR, decode_control
from .._probe._targets import make_targets
from ._model import ANSWERED, REFUSED, REJECTED, SILENT, UNSENT, Contact, Reply

_MSG_ERRQUEUE = 0x2000
_PORT_UNREACHABLE = ((4, 3, 3), (6, 1, 4))
#: Where traceroute sends, because nobody listens there.
_UNUSED_PORT = 33434
_ETHERTYPE_ARP = 0x0806
_ETHERTYPE_IPV4 = 0x0800
_MAX_ARP = 64
#: More errors than that at once are not about what was sent.
_MAX_ERRORS = 32


def ask(address: str, port: int, datagram: bytes, question: str, wait: float, source: str | None = None, scope: int = 0, one_will_do: bool = False) -> Reply:
    """Send a datagram, once more if nothing comes, and count everything that the address sends back until the wait is over.

    Devices answer from another port than the one that was asked, so the socket is not connected. With C(one_will_do), the first answer ends it.
    """
    six = ":" in address
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.setsockopt(*((socket.IPPROTO_IPV6, IPV6_RECVERR, 1) if six else (socket.IPPROTO_IP, IP_RECVERR, 1)))
        target: tuple[str, int] | tuple[str, int, int, int] = (address, port, 0, scope) if six else (address, port)
        try:
            if source:
                opened.bind((source, 0))
            opened.sendto(datagram, target)
        except OSError:
            return Reply(address, question, UNSENT)
        sent, packets, received, ports, server, state = len(datagram), 0, 0, [], "", SILENT
        start = time.monotonic()
        again = start + wait / 3
        while state != REFUSED and not (one_will_do and packets) and time.monotonic() < start + wait:
            now = time.monotonic()
            if not packets and now >= again:
                again = start + wait
                with contextlib.suppress(OSError):
                    sent += opened.sendto(datagram, target)
            until = start + wait if packets else min(again, start + wait)
            select.select([opened], [], [], max(0.0, min(until - now, 0.25)))
            verdict = _refusal(opened, address)
            if verdict and not packets:
                state = verdict
            try:
                # Whoever sends without end does not stretch the time.
                while time.monotonic() < start + wait:
                    data, sender = opened.recvfrom(65535)
                    if _same(sender[0], address):
                        packets += 1
                        received += len(data)
                        ports.append(sender[1])
                        server = server or _server(data)
                        state = ANSWERED
            except OSError:
                pass
    return Reply(address, question, state, sent, packets, received, tuple(sorted(set(ports))), server)


def _refusal(opened: socket.socket, address: str) -> str:
    """Read the errors that came back: what the address itself says counts more than what others say."""
    verdict = ""
    for _index in range(_MAX_ERRORS):
        try:
            _data, control, _flags, _sender = opened.recvmsg(512, 512, _MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except OSError:
            return verdict
        icmp = decode_control(control)
        if icmp is None:
            continue
        if icmp.key in _PORT_UNREACHABLE and _same(icmp.sender, address):
            return REFUSED
        verdict = REJECTED
    return verdict


def _same(sender: str, address: str) -> bool:
    return sender.partition("%")[0] == address.partition("%")[0]


def _server(data: bytes) -> str:
    for line in data.decode("utf-8", errors="replace").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if colon and name.strip().lower() == "server":
            return value.strip()[:160]
    return ""


def contact(address: str, wait: float, open_or_closed: Collection[int] = ()) -> Contact:
    """Find out whether packets get to an address and back, by other ways than the ones that are judged.

    Args:
        address: the address.
        wait: for how many seconds.
        open_or_closed: TCP ports of it that are known to have answered.
    """
    tcp = bool(open_or_closed)
    by = [f"tcp {port}" for port in sorted(open_or_closed)[:1]]
    reply = ask(address, _UNUSED_PORT, b"", "control", wait)
    udp = reply.state in (REFUSED, ANSWERED)
    if udp:
        by.append("udp")
    if ping(address, wait):
        by.append("ping")
    return Contact(address, tuple(by), udp, tcp)


def ping(address: str, wait: float) -> bool:
    """Whether an address answers an echo request; False also where this process may not send one."""
    six = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError:
            continue
        with opened:
            mark = os.urandom(8)
            packet = _echo(6 if six else 4, mark)
            try:
                opened.connect((address, 0))
                opened.send(packet)
                end = time.monotonic() + wait
                while True:
                    opened.settimeout(max(0.01, end - time.monotonic()))
                    data = opened.recv(1500)
                    # A raw socket gets the request back too where the target is this host: an answer has another type.
                    start = 20 if kind == socket.SOCK_RAW and not six else 0
                    if data[start:][:1] == (b"\x81" if six else b"\0") and data.endswith(mark):
                        return True
                    if time.monotonic() >= end:
                        return False
            except OSError:
                return False
    return False


def _echo(version: int, mark: bytes) -> bytes:
    head = struct.pack("!BBHHH", 8 if version == 4 else 128, 0, 0, os.getpid() & 0xFFFF, 1)
    words = struct.unpack(f"!{(len(head) + len(mark)) // 2}H", head + mark)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    # The kernel fills in that of ICMPv6.
    return head[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF if version == 4 else 0) + head[4:] + mark


def tcp_states(address: str, ports: Sequence[int], timeout: float) -> dict[int, str]:
    """Return the state of TCP ports, in the words of port_probe_info; C(rejected_on_the_way) if another address says no."""
    states: dict[int, str] = {}
    if not ports:
        return states

    def sink(_key: int, outcome: engine.Outcome) -> None:
        elsewhere = outcome.state == "rejected" and (outcome.icmp is None or not _same(outcome.icmp.sender, address))
        states[outcome.port] = "rejected_on_the_way" if elsewhere else outcome.state

    try:
        engine.Engine(engine.Options(timeout=timeout)).run(make_targets(address, ",".join(str(port) for port in ports), "tcp"), sink)
    except (OSError, engine.ProbeError, ProbeInputError):
        return dict.fromkeys(ports, "error")
    return states


def answers_arp(interface: str, source: str, addresses: Sequence[str], wait: float = 1.0) -> dict[str, bool]:
    """Ask who has these IPv4 addresses; nothing is sent to them but the question. Empty where this process may not."""
    try:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE_ARP))
    except (OSError, AttributeError):
        return {}
    wanted = list(dict.fromkeys(addresses))[:_MAX_ARP]
    found = dict.fromkeys(wanted, False)
    with opened:
        try:
            opened.bind((interface, _ETHERTYPE_ARP))
            own = opened.getsockname()[4][:6]
            if len(own) != 6:
                return {}
            start = time.monotonic()
            rounds = [0.0, wait * 0.3, wait * 0.6]
            while time.monotonic() < start + wait and not all(found.values()):
                if rounds and time.monotonic() >= start + rounds[0]:
                    rounds.pop(0)
                    for address in (one for one in wanted if not found[one]):
                        opened.send(_who_has(own, source, address))
                if select.select([opened], [], [], 0.05)[0]:
                    answer = opened.recv(128)[14:42]
                    if len(answer) == 28 and answer[6:8] == b"\0\2":
                        sender = socket.inet_ntoa(answer[14:18])
                        if sender in found:
                            found[sender] = True
        except OSError:
            return {}
    return found


def _who_has(own: bytes, source: str, address: str) -> bytes:
    question = struct.pack("!HHBBH", 1, _ETHERTYPE_IPV4, 6, 4, 1) + own + socket.inet_aton(source) + b"\0" * 6 + socket.inet_aton(address)
    return b"\xff" * 6 + own + struct.pack("!H", _ETHERTYPE_ARP) + question


def neighbours(path: str = "/proc/net/arp") -> set[str]:
    """Return the IPv4 addresses that this host has lately spoken with in its networks."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            rows = [line.split() for line in stream.readlines()[1:]]
    except OSError:
        return set()
    return {row[0] for row in rows if len(row) > 3 and row[2] != "0x0"}


def listening(directory: str = "/proc/net") -> frozenset[tuple[str, int]] | None:
    """Return the ports that this host listens on; None if it does not say."""
    found: set[tuple[str, int]] = set()
    for name, protocol, states in (("tcp", "tcp", ("0A",)), ("tcp6", "tcp", ("0A",)), ("udp", "udp", ("07",)), ("udp6", "udp", ("07",))):
        try:
            with open(os.path.join(directory, name), encoding="ascii", errors="replace") as stream:
                rows = [line.split() for line in stream.readlines()[1:]]
        except FileNotFoundError:
            # Without IPv6 there is no list of its sockets.
            if name.endswith("6"):
                continue
            return None
        except OSError:
            return None
        for row in rows:
            if len(row) > 3 and row[3] in states:
                found.add((protocol, int(row[1].rpartition(":")[2], 16)))
    return frozenset(found)


def unused_candidates(network: str, source: str, taken: Collection[str], offset: int) -> list[str]:
    """Return addresses of a network that nothing is known of, at most eight, beginning somewhere in it. Of a large network, those near this host."""
    whole = ipaddress.IPv4Network(network)
    near = ipaddress.IPv4Network(f"{source}/24", strict=False) if whole.prefixlen < 24 else whole
    hosts = [str(address) for address in near.hosts()]
    if len(hosts) < 4:
        return []
    start = offset % len(hosts)
    return [address for address in hosts[start:] + hosts[:start] if address not in taken and address != source][:8]
