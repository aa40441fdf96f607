# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The responder: a process that answers challenges for a bounded time and leaves nothing behind, however it ends.

Where nobody listens, it listens itself. Where the service listens, packets of the vantage are handed to it by a transparent
proxy rule: the packet keeps its destination, so that every packet filter judges the port that was really asked for, and the
service sees nothing of it. The rule lives in a table that belongs to this process and that the kernel removes with it.

Private to this collection. Runs by itself from an archive of this module and _nonce, as root, on Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import select
import selectors
import shutil
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from datetime import datetime, timezone
from typing import Any

from . import _nonce

#: Files in the responder's directory.
CONFIG = "config.json"
CONTROL = "control"
FAILURE = "failure"
PID = "pid"
VISITS = "visits.json"

BOUND = "bound"
REDIRECTED = "redirected"
NONE = "none"

TABLE_PREFIX = "homeserver_probe_"

#: Names of the counters in the table, by their number.
_COUNTER = "arrived_"
_COUNTED = re.compile(rf"counter {_COUNTER}(\d+) \{{\s*packets (\d+) ")

_IP_PKTINFO = 8
_IP_TRANSPARENT = 19
_IP_RECVORIGDSTADDR = 20
_IPV6_RECVPKTINFO = 49
_IPV6_PKTINFO = 50
_IPV6_RECVORIGDSTADDR = 74
_IPV6_TRANSPARENT = 75

_MOST_CONNECTIONS = 64
_MOST_VISITS = 1000
#: Seconds that a connection may take to send its challenge before it is passed on to the service, or closed.
_CHALLENGE_WAIT = 2.0
_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_LOOPBACK = {"ipv4": "127.0.0.1", "ipv6": "::1"}


class RuleError(Exception):
    """The packet filter did not take the rules."""


class OwnedTable:
    """An nftables table that exists exactly as long as this object's process: the kernel drops it with its owner's socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._context: Any = None

    def load(self, redirects: list[str], exemptions: list[str], arrivals: list[str]) -> None:
        """Make the table.

        Raises:
            RuleError: libnftables is missing, or the kernel refused the rules.
        """
        try:
            library = ctypes.CDLL("libnftables.so.1")
        except OSError:
            raise RuleError("libnftables.so.1 is missing on this host: install the package nftables") from None
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_free.argtypes = [ctypes.c_void_p]
        for function in ("nft_ctx_buffer_error", "nft_ctx_buffer_output", "nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(library, function).argtypes = [ctypes.c_void_p]
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        context = library.nft_ctx_new(0)
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_buffer_output(context)
        if library.nft_run_cmd_from_buffer(context, table_text(self.name, redirects, exemptions, arrivals).encode()) != 0:
            message = (library.nft_ctx_get_error_buffer(context) or b"").decode("utf-8", "replace").strip()
            library.nft_ctx_free(context)
            raise RuleError(f"the kernel refused the temporary rule: {message.splitlines()[0] if message else 'no reason given'}")
        self._context = context
        self._library = library

    def arrived(self) -> dict[int, int]:
        """Return how many packets each of the arrivals given to load() has matched, by its place there; what cannot be read is missing."""
        # Nobody else may be asked: the table ends with this process, and its counters with it.
        if self._context is None or self._library.nft_run_cmd_from_buffer(self._context, f"list counters table inet {self.name}".encode()) != 0:
            return {}
        text = (self._library.nft_ctx_get_output_buffer(self._context) or b"").decode("ascii", "replace")
        return {int(number): int(packets) for number, packets in _COUNTED.findall(text)}

    def close(self) -> None:
        """Give the table up."""
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None


def table_text(name: str, redirects: list[str], exemptions: list[str], arrivals: list[str]) -> str:
    """Return the table as nft reads it."""
    chains = [("to_responder", "filter", "mangle", [f"{rule} accept" for rule in redirects])]
    if arrivals:
        # Before every filter that a host may have, even those that act before connections are tracked.
        chains.insert(0, ("arrivals", "filter", "raw - 50", [f"{rule} counter name {_COUNTER}{number}" for number, rule in enumerate(arrivals)]))
    if exemptions:
        # A translation to where it goes anyway: then nobody else translates it, as container engines would.
        chains.append(("untranslated", "nat", "dstnat - 1", exemptions))
    body = "".join(
        f"  chain {chain} {{\n    type {kind} hook prerouting priority {priority}; policy accept;\n"
        + "".join(f"    fib daddr type local {rule}\n" for rule in rules)
        + "  }\n"
        for chain, kind, priority, rules in chains
    )
    counters = "".join(f"  counter {_COUNTER}{number} {{ }}\n" for number in range(len(arrivals)))
    return f"table inet {name} {{\n  flags owner\n{counters}{body}}}\n"


def match(family: str, protocol: str, port: int, sources: list[str], tag: bytes) -> str:
    """Return the part of a rule that finds the vantage's packets."""
    if protocol == "udp":
        # The code word tells our datagrams from the service's. Nobody else's are touched, whoever sends them.
        return f"meta nfproto {family} udp dport {port} @th,64,64 0x{tag.hex()}"
    # Not what this host sends to itself: connections that are passed on to the service would come back.
    return f'iifname != "lo" {_keyword(family)} saddr {{ {", ".join(sources)} }} tcp dport {port}'


def opening(protocol: str) -> str:
    """Return the part of a rule that tells a packet that opens a connection from those that follow."""
    return "" if protocol == "udp" else " tcp flags & (fin | syn | rst | ack) == syn"


def redirect(family: str, to: int) -> str:
    """Return the part of a rule that hands packets to the responder's own port."""
    place = f"[{_LOOPBACK[family]}]" if family == "ipv6" else _LOOPBACK[family]
    return f"tproxy {_keyword(family)} to {place}:{to}"


def exempt(family: str) -> str:
    """Return the part of a rule that keeps packets from being translated to another address."""
    return f"dnat {_keyword(family)} to {_keyword(family)} daddr"


def _keyword(family: str) -> str:
    return "ip6" if family == "ipv6" else "ip"


def datagram(family: str, source: str, source_port: int, destination: str, destination_port: int, payload: bytes) -> bytes:
    """Return an IP packet with a UDP datagram, for a raw socket."""
    number = _FAMILIES[family]
    addresses = socket.inet_pton(number, source) + socket.inet_pton(number, destination.partition("%")[0])
    length = 8 + len(payload)
    header = struct.pack("!HHHH", source_port, destination_port, length, 0)
    pseudo = addresses + struct.pack("!IxxxB", length, socket.IPPROTO_UDP) if family == "ipv6" else addresses + struct.pack("!xBH", socket.IPPROTO_UDP, length)
    code = _checksum(pseudo + header + payload) or 0xFFFF
    header = header[:6] + struct.pack("!H", code)
    if family == "ipv6":
        return struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + addresses + header + payload
    # The kernel fills in identification and checksum.
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses + header + payload


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Responder:
    """The state of the process."""

    def __init__(self, directory: str, config: dict[str, Any]) -> None:
        self._directory = directory
        self._key = _nonce.parse_nonce(config["nonce"])
        self._sources: list[str] = config["sources"]
        self._end = time.monotonic() + config["timeout"]
        self._wanted: list[dict[str, Any]] = config["listeners"]
        self._table = OwnedTable(TABLE_PREFIX + config["id"])
        self._selector = selectors.DefaultSelector()
        self._names: dict[tuple[str, str, int], str] = {}
        self._raw: dict[str, socket.socket] = {}
        self._visits: list[dict[str, Any]] = []
        self._guard = threading.Lock()
        self._connections = 0
        self._counted: list[dict[str, Any]] = []
        self.listeners: list[dict[str, Any]] = []

    # ---- listening ----------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Listen wherever that is possible, and say how."""
        occupied: list[dict[str, Any]] = []
        for wanted in self._wanted:
            for family in wanted["families"]:
                row = {key: wanted[key] for key in ("name", "protocol", "port")}
                row.update(family=family, mode=NONE, reason=None, arrived=None)
                self.listeners.append(row)
                self._names[row["protocol"], family, row["port"]] = row["name"]
                try:
                    self._bind(row)
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        occupied.append(row)
                    else:
                        row["reason"] = f"cannot listen: {error.strerror}"
        redirects, made = self._redirects(occupied)
        self._load(redirects, made)

    def _bind(self, row: dict[str, Any]) -> None:
        sock = _socket(row["family"], row["protocol"])
        try:
            if row["protocol"] == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            elif row["family"] == "ipv6":
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.bind(("::" if row["family"] == "ipv6" else "0.0.0.0", row["port"]))
            if row["protocol"] == "tcp":
                sock.listen(_MOST_CONNECTIONS)
        except OSError:
            sock.close()
            raise
        self._register(sock, row["family"], row["protocol"], False)
        row["mode"] = BOUND

    def _redirects(self, rows: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
        """Return rules for the ports on which services listen, and the rows that they are for."""
        rules, made = [], []
        ports: dict[tuple[str, str], int] = {}
        for row in rows:
            family, protocol = row["family"], row["protocol"]
            found = self._match(row)
            if found is None:
                row["reason"] = (
                    f"a service listens on TCP port {row['port']}, and a redirect needs to know whose packets: give the vantage's {family} address in sources"
                )
                continue
            try:
                if (family, protocol) not in ports:
                    ports[family, protocol] = self._transparent(family, protocol)
            except OSError as error:
                row["reason"] = f"a service listens on the port, and this host allows no transparent listener: {error.strerror}"
                continue
            rules.append(f"{found} {redirect(family, ports[family, protocol])}")
            made.append(row)
        return rules, made

    def _match(self, row: dict[str, Any]) -> str | None:
        sources = [source for source in self._sources if (":" in source) == (row["family"] == "ipv6")]
        if row["protocol"] == "tcp" and not sources:
            return None
        return match(row["family"], row["protocol"], row["port"], sources, _nonce.tag(self._key))

    def _load(self, redirects: list[str], made: list[dict[str, Any]]) -> None:
        matches = [(row, found) for row in self.listeners for found in [self._match(row)] if found is not None]
        exemptions = [f"{found} {exempt(row['family'])}" for row, found in matches if row["mode"] == BOUND or row in made]
        arrivals = [f"{found}{opening(row['protocol'])}" for row, found in matches]
        reason = ""
        for chosen, counted in ((exemptions, arrivals), ([], arrivals), ([], [])):
            # Without address translation in the kernel there is nothing to be exempt from.
            try:
                if redirects or chosen or counted:
                    self._table.load(redirects, chosen, counted)
            except RuleError as error:
                reason = str(error)
                continue
            for row in made:
                row["mode"] = REDIRECTED
            self._counted = [row for row, _found in matches] if counted else []
            return
        for row in made:
            row["reason"] = f"a service listens on the port, and {reason}"

    def _count(self) -> None:
        """Write down how many packets of the vantages have come as far as this host, whatever became of them then."""
        arrived = self._table.arrived()
        for number, row in enumerate(self._counted):
            row["arrived"] = arrived.get(number)

    def _transparent(self, family: str, protocol: str) -> int:
        sock = _socket(family, protocol)
        level = socket.IPPROTO_IPV6 if family == "ipv6" else socket.IPPROTO_IP
        try:
            sock.setsockopt(level, _IPV6_TRANSPARENT if family == "ipv6" else _IP_TRANSPARENT, 1)
            if protocol == "udp":
                sock.setsockopt(level, _IPV6_RECVORIGDSTADDR if family == "ipv6" else _IP_RECVORIGDSTADDR, 1)
                # An ordinary socket cannot answer from a port that the service holds.
                self._raw[family] = socket.socket(_FAMILIES[family], socket.SOCK_RAW, socket.IPPROTO_RAW)
            if protocol == "tcp":
                # Connections taken here end with the service's own port in TIME_WAIT; without this, the service could not be restarted for a minute.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((_LOOPBACK[family], 0))
            if protocol == "tcp":
                sock.listen(_MOST_CONNECTIONS)
        except OSError:
            sock.close()
            raise
        self._register(sock, family, protocol, True)
        return int(sock.getsockname()[1])

    def _register(self, sock: socket.socket, family: str, protocol: str, redirected: bool) -> None:
        sock.setblocking(False)
        handler = self._accept if protocol == "tcp" else self._receive
        self._selector.register(sock, selectors.EVENT_READ, (handler, sock, family, redirected))

    # ---- answering ----------------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket, family: str, redirected: bool) -> None:
        try:
            connection, peer = listener.accept()
        except OSError:
            return
        if self._connections >= _MOST_CONNECTIONS:
            connection.close()
            return
        with self._guard:
            self._connections += 1
        threading.Thread(target=self._converse, args=(connection, family, peer, redirected), daemon=True).start()

    def _converse(self, connection: socket.socket, family: str, peer: tuple[Any, ...], redirected: bool) -> None:
        try:
            with connection:
                port = int(connection.getsockname()[1])
                data = _read_challenge(connection, _nonce.tag(self._key))
                challenge = _nonce.read_challenge(self._key, data, "tcp")
                self._visit("tcp", port, family, peer, challenge is not None)
                if challenge is not None:
                    name = self._names.get(("tcp", family, port), "")
                    connection.sendall(_nonce.make_answer(self._key, challenge, name, port, peer[0], peer[1]))
                elif redirected:
                    self._pass_on(connection, data)
        except OSError:
            pass
        finally:
            with self._guard:
                self._connections -= 1

    def _pass_on(self, connection: socket.socket, data: bytes) -> None:
        """Hand a connection that is no probe to the service: the vantage may also be one of its clients."""
        with socket.create_connection(connection.getsockname()[:2], _CHALLENGE_WAIT) as service:
            service.sendall(data)
            service.settimeout(None)
            connection.settimeout(None)
            other = {connection: service, service: connection}
            reading = [connection, service]
            while reading:
                for sock in select.select(reading, [], [])[0]:
                    chunk = sock.recv(65536)
                    if chunk:
                        other[sock].sendall(chunk)
                    else:
                        reading.remove(sock)
                        other[sock].shutdown(socket.SHUT_WR)

    def _receive(self, sock: socket.socket, family: str, redirected: bool) -> None:
        try:
            data, control, _flags, peer = sock.recvmsg(2048, 256)
        except OSError:
            return
        address, port = _destination(control)
        if not redirected:
            port = int(sock.getsockname()[1])
        challenge = _nonce.read_challenge(self._key, data, "udp")
        self._visit("udp", port, family, peer, challenge is not None)
        if challenge is None or address is None:
            return
        answer = _nonce.make_answer(self._key, challenge, self._names.get(("udp", family, port), ""), port, peer[0], peer[1])
        try:
            if redirected:
                # A raw IPv6 socket takes the address without a port.
                self._raw[family].sendto(datagram(family, address, port, peer[0], peer[1], answer), (peer[0], 0, *peer[2:]))
            elif family == "ipv6":
                info = socket.inet_pton(socket.AF_INET6, address) + struct.pack("=I", peer[3] if _is_link_local(address) else 0)
                sock.sendmsg([answer], [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, info)], 0, peer)
            else:
                info = struct.pack("=I4s4s", 0, socket.inet_pton(socket.AF_INET, address), b"\0" * 4)
                sock.sendmsg([answer], [(socket.IPPROTO_IP, _IP_PKTINFO, info)], 0, peer)
        except OSError:
            pass

    def _visit(self, protocol: str, port: int, family: str, peer: tuple[Any, ...], verified: bool) -> None:
        row = {
            "name": self._names.get((protocol, family, port), ""),
            "protocol": protocol,
            "port": port,
            "family": family,
            "source": str(peer[0]).partition("%")[0],
            "source_port": peer[1],
            "nonce_verified": verified,
            "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        with self._guard:
            # Strangers must not push out the visits that count.
            if len(self._visits) < (_MOST_VISITS if verified else _MOST_VISITS // 2):
                self._visits.append(row)
                write_private(os.path.join(self._directory, VISITS), json.dumps(self._visits).encode())

    # ---- life ---------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Answer until told to stop or until the deadline, then remove every trace."""
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = os.path.join(self._directory, CONTROL)
        control.bind(path + ".new")
        control.listen(8)
        # Only a complete socket has the name that others look for.
        os.rename(path + ".new", path)
        self._selector.register(control, selectors.EVENT_READ, (None, control, "", False))
        last: socket.socket | None = None
        while last is None:
            left = self._end - time.monotonic()
            if left <= 0:
                break
            for key, _mask in self._selector.select(min(left, 60)):
                handler, sock, family, redirected = key.data
                if handler is None:
                    last = self._command(sock) or last
                else:
                    handler(sock, family, redirected)
        self._count()
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(self._directory))
        if last is not None:
            self._report(last)
            last.close()

    def _command(self, control: socket.socket) -> socket.socket | None:
        """Serve one request. Return the connection that asked to stop, to be answered when all is gone."""
        connection, _peer = control.accept()
        connection.settimeout(2.0)
        try:
            command = connection.recv(16).strip()
            if command == b"stop":
                return connection
            self._count()
            self._report(connection)
        except OSError:
            pass
        connection.close()
        return None

    def _report(self, connection: socket.socket) -> None:
        with self._guard:
            data = json.dumps({"listeners": self.listeners, "visits": self._visits}).encode()
        with contextlib.suppress(OSError):
            connection.sendall(data)

    def close(self) -> None:
        """Stop listening and give up the table."""
        self._table.close()
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.data[1].close()
        for raw in self._raw.values():
            raw.close()


def write_private(path: str, data: bytes) -> None:
    """Replace a file that only its owner may read."""
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)


def _socket(family: str, protocol: str) -> socket.socket:
    sock = socket.socket(_FAMILIES[family], socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    if family == "ipv6":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _read_challenge(connection: socket.socket, tag: bytes) -> bytes:
    """Read until the challenge is complete, or the first bytes show that it is none, or for a while."""
    end = time.monotonic() + _CHALLENGE_WAIT
    data = b""
    while len(data) < _nonce.CHALLENGE_LENGTH and data[: len(tag)] == tag[: len(data)]:
        left = end - time.monotonic()
        if left <= 0:
            break
        connection.settimeout(left)
        try:
            chunk = connection.recv(_nonce.CHALLENGE_LENGTH - len(data))
        except socket.timeout:  # noqa: UP041 - another class before Python 3.10
            break
        if not chunk:
            break
        data += chunk
    connection.settimeout(_CHALLENGE_WAIT)
    return data


def _destination(control: list[tuple[int, int, bytes]]) -> tuple[str | None, int]:
    """Return the address and, where it was redirected, the port that a datagram was sent to."""
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, _IP_RECVORIGDSTADDR):
            return socket.inet_ntop(socket.AF_INET, data[4:8]), struct.unpack("!H", data[2:4])[0]
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR):
            return socket.inet_ntop(socket.AF_INET6, data[8:24]), struct.unpack("!H", data[2:4])[0]
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return socket.inet_ntop(socket.AF_INET, data[8:12]), 0
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            return socket.inet_ntop(socket.AF_INET6, data[:16]), 0
    return None, 0


def _is_link_local(address: str) -> bool:
    return address.startswith(("fe8", "fe9", "fea", "feb"))


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def main() -> None:
    """Run from the directory that the archive lies in."""
    directory = os.path.dirname(os.path.abspath(sys.argv[0]))
    signal.signal(signal.SIGTERM, _leave)
    responder: Responder | None = None
    try:
        path = os.path.join(directory, CONFIG)
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        # It holds the nonce, and nobody needs it any more.
        os.unlink(path)
        write_private(os.path.join(directory, PID), str(os.getpid()).encode())
        responder = Responder(directory, config)
        responder.listen()
        responder.serve()
    except SystemExit:
        if responder is not None:
            responder.close()
        shutil.rmtree(directory, ignore_errors=True)
    except Exception:
        write_private(os.path.join(directory, FAILURE), traceback.format_exc(limit=3).encode())
        raise SystemExit(1) from None
