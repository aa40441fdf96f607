# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe engine: one event loop over plain non-blocking sockets, for an ordinary user.

A short first round answers for everything that is near and talks. What stayed silent is asked again on a fresh socket, in a
last round that outlives the kernel's first SYN retransmission, so that one lost packet does not make a port look filtered.

Private to this collection. Linux only.
"""

from __future__ import annotations

import errno
import heapq
import select
import socket
import struct
import time
from array import array

from . import _host, _states
from ._states import Icmp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ._ports import PortSet

#: Seconds that the last attempt waits: longer than the first SYN retransmission (1 s) and a slow answer to it.
DEFAULT_TIMEOUT = 1.5
DEFAULT_ATTEMPTS = 2
#: Probes that wait for a first answer at the same time. Home routers track a few thousand connections.
DEFAULT_CONCURRENCY = 256
#: The same where nothing leaves this host.
LOCAL_CONCURRENCY = 1024
MAXIMUM_CONCURRENCY = 4096

#: Wait of a short round while no round trip to the target is known, and the least wait when one is.
_FIRST_WAIT = 0.25
_LEAST_WAIT = 0.1
#: Silent ports wait together in the last round, up to this multiple of the concurrency.
_LAST_ROUND_FACTOR = 4
#: Address resolution gives up after three seconds; its verdict is worth waiting for.
_NEIGHBOUR_WAIT = 3.5
_NEIGHBOUR_STEP = 0.2
#: How long to wait, in all, for descriptors or local ports to become free.
_LIMIT_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
#: Least seconds between two sendings of the same datagram in the last round.
_RESEND = 0.5
#: The check whether this host itself drops the probes: ports at a time, seconds in all.
_BURST = 64
_BURST_BUDGET = 0.5
_BURST_BUDGET_PER_PORT = 1e-4
_CLOSED_SAMPLE = 16

_TCP_ESTABLISHED = 1
_TCP_SYN_SENT = 2
_TCP_SYN_RECV = 3
_TCP_CLOSE = 7
_TCP_INFO_LENGTH = 72
_TCP_INFO_RTT = struct.Struct("=I")
_TCP_INFO_RTT_OFFSET = 68

_IP_BIND_ADDRESS_NO_PORT = 24
_ERRORS = select.EPOLLERR | select.EPOLLHUP

#: Datagrams that common services answer. Others get an empty one.
_DATAGRAMS = {
    53: b"\x68\x73\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01",
    123: b"\x23" + b"\0" * 47,
    3478: b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"homeserverho",
}


class ProbeError(Exception):
    """The probe cannot start. The message names the value, the reason and the fix."""


class Target:
    """Ports of one address, of one protocol."""

    __slots__ = ("address", "family", "host", "own", "ports", "protocol", "scope_id", "tcp")

    def __init__(self, host: str, address: str, family: int, protocol: str, ports: PortSet, scope_id: int = 0) -> None:
        self.host = host
        self.address = address
        self.family = family
        self.protocol = protocol
        self.ports = ports
        self.scope_id = scope_id
        self.tcp = protocol == "tcp"
        self.own = False

    def sockaddr(self, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """Return the address in the shape that sockets take."""
        if self.family == socket.AF_INET6:
            return self.address.partition("%")[0], port, 0, self.scope_id
        return self.address, port


class Outcome:
    """What is known about one port in the end."""

    __slots__ = ("answered_by", "attempts", "confidence", "errno", "icmp", "nonce_verified", "port", "rtt_ms", "seen_as", "state", "target")

    def __init__(self, target: Target, port: int, state: str, confidence: str, attempts: int) -> None:
        self.target = target
        self.port = port
        self.state = state
        self.confidence = confidence
        self.attempts = attempts
        self.errno: int | None = None
        self.icmp: Icmp | None = None
        self.rtt_ms: float | None = None
        self.nonce_verified: bool | None = None
        self.answered_by: str | None = None
        self.seen_as: str | None = None


class Options:
    """How to probe. What is None is chosen by the engine."""

    __slots__ = ("attempts", "concurrency", "interface", "key", "rate", "timeout")

    def __init__(
        self,
        timeout: float = DEFAULT_TIMEOUT,
        attempts: int = DEFAULT_ATTEMPTS,
        concurrency: int | None = None,
        rate: float | None = None,
        key: bytes | None = None,
        interface: str | None = None,
    ) -> None:
        if not 0 < timeout <= 60:
            raise ProbeError(f"timeout {timeout!r} is not between 0 and 60 seconds: give the seconds that an attempt may wait, like {DEFAULT_TIMEOUT}")
        if not 1 <= attempts <= 10:
            raise ProbeError(f"attempts {attempts!r} is not between 1 and 10: give the number of times that a silent port is asked")
        if concurrency is not None and not 1 <= concurrency <= MAXIMUM_CONCURRENCY:
            raise ProbeError(f"concurrency {concurrency!r} is not between 1 and {MAXIMUM_CONCURRENCY}: give how many probes may wait at the same time")
        if rate is not None and not rate > 0:
            raise ProbeError(f"rate {rate!r} is not above 0: give probes per second, or leave it out for no limit")
        self.timeout = timeout
        self.attempts = attempts
        self.concurrency = concurrency
        self.rate = rate
        self.key = key
        self.interface = interface


class Summary:
    """What is known about the run as a whole."""

    __slots__ = ("addresses", "counts", "elapsed", "limits")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_states.STATES, 0)
        self.elapsed = 0.0
        self.addresses: dict[str, str | None] = {"ipv4": None, "ipv6": None}
        self.limits: dict[str, object] = {}


class Pace:
    """A token bucket: so many events per second, with a burst at the start of at most so many."""

    __slots__ = ("_credit", "_interval", "_next")

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1.0 / rate
        self._credit = (max(burst, 1.0) - 1.0) * self._interval
        self._next = 0.0

    def delay(self, now: float) -> float:
        """Return the seconds until the next event is allowed, 0 if it is allowed now."""
        wait = self._next - self._credit - now
        # Less than this is rounding.
        return wait if wait > 1e-9 else 0.0

    def take(self, now: float) -> None:
        """Count one event."""
        self._next = max(self._next, now) + self._interval


class _Probe:
    __slots__ = ("answering", "challenge", "deadline", "fd", "icmp", "key", "number", "port", "received", "resend", "sock", "started", "target")

    def __init__(self, key: int, target: Target, port: int, sock: socket.socket, started: float) -> None:
        self.key = key
        self.target = target
        self.port = port
        self.sock = sock
        self.fd = sock.fileno()
        self.started = started
        self.deadline = 0.0
        self.resend = 0.0
        self.answering = False
        self.icmp: Icmp | None = None
        self.number = 0
        self.challenge = b""
        self.received = b""


class Engine:
    """Probes targets and hands an outcome per port to a sink.

    An outcome may be handed in a second time, corrected: the later one counts.
    """

    def __init__(self, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._targets: list[Target] = []
        self._sink: Callable[[int, Outcome], None] = lambda key, outcome: None
        self._summary = Summary()
        self._active: dict[int, _Probe] = {}
        self._timers: list[tuple[float, int, _Probe]] = []
        self._serial = 0
        self._round = 0
        self._silent: array[int] = array("Q")
        self._closed: array[int] = array("Q")
        self._rtt: dict[str, float] = {}
        self._first: dict[str, float] = {}
        self._dead: dict[str, tuple[int, Icmp | None]] = {}
        self._neighbours: dict[str, tuple[float, bool]] = {}
        self._pauses = 0
        self._persisting = False
        self._window = 0
        self._window_cap = MAXIMUM_CONCURRENCY
        self._peak = 0
        self._reduced: dict[int, int] = {}
        self._paces: list[Pace] = []

    def run(self, targets: Iterable[Target], sink: Callable[[int, Outcome], None]) -> Summary:
        """Probe every port of every target. The sink gets a key that sorts like the request, and the outcome."""
        begin = self._clock()
        self._targets = list(targets)
        self._sink = sink
        for target in self._targets:
            target.own = _host.is_own_address(target.family, target.sockaddr(0))
        remote = any(not target.own for target in self._targets)
        total = sum(len(target.ports) for target in self._targets)
        concurrency = self._options.concurrency or (DEFAULT_CONCURRENCY if remote else LOCAL_CONCURRENCY)
        last_window = min(concurrency * _LAST_ROUND_FACTOR, max(concurrency, LOCAL_CONCURRENCY))
        used = _host.open_files()
        soft, hard = _host.raise_descriptor_limit(min(last_window, total) + used + 16)
        if soft > 0:
            self._window_cap = max(1, min(self._window_cap, soft - used - 8))
        self._epoll = select.epoll()
        try:
            self._rounds(concurrency, last_window, remote)
        finally:
            for probe in self._active.values():
                probe.sock.close()
            self._active.clear()
            self._epoll.close()
        summary = self._summary
        summary.elapsed = self._clock() - begin
        summary.limits = {
            "descriptors": soft,
            "descriptors_hard": hard,
            "concurrency": self._peak,
            "reduced": {errno.errorcode.get(number, str(number)): count for number, count in sorted(self._reduced.items())},
        }
        return summary

    # ---- rounds -------------------------------------------------------------------------------------------------------

    def _rounds(self, concurrency: int, last_window: int, remote: bool) -> None:
        options = self._options
        keys: Iterator[int] = self._feed()
        for number in range(options.attempts):
            self._round = number
            last = number == options.attempts - 1
            self._silent = array("Q")
            self._paces = []
            if options.rate is not None:
                self._paces.append(Pace(options.rate, options.rate / 20))
            if last and number and remote:
                # Nobody has answered these yet. Do not send them all in the same instant.
                self._paces.append(Pace(concurrency * 10.0, concurrency))
            self._window = min(last_window if last and number else concurrency, self._window_cap)
            self._one_round(keys, last)
            if last or not self._silent:
                break
            keys = iter(self._silent)
        silent, self._silent = self._silent, array("Q")
        self._after(silent)

    def _feed(self) -> Iterator[int]:
        for index, target in enumerate(self._targets):
            base = index << 16
            for position in range(len(target.ports)):
                yield base | position

    def _split(self, key: int) -> tuple[Target, int]:
        """Return the target and the port that a key stands for: a key is the target's number and the port's place in its list."""
        target = self._targets[key >> 16]
        return target, target.ports[key & 0xFFFF]

    def _one_round(self, keys: Iterator[int], last: bool) -> None:
        clock = self._clock
        active = self._active
        waiting: list[int] = []
        deferred: list[int] = []
        exhausted = False
        while True:
            now = clock()
            pause = 0.0
            while len(active) < self._window:
                if self._paces:
                    pause = max(pace.delay(now) for pace in self._paces)
                    if pause > 0:
                        break
                if waiting:
                    key = waiting.pop()
                else:
                    following = next(keys, -1)
                    if following < 0:
                        exhausted = True
                        break
                    key = following
                limit = self._start(key, now, last)
                if limit == errno.EADDRNOTAVAIL and active:
                    # Local ports towards this one port are used up. Others have them to themselves.
                    self._count_limit(limit)
                    deferred.append(key)
                    continue
                if limit:
                    if self._limited(key, limit):
                        waiting.append(key)
                    break
                for pace in self._paces:
                    pace.take(now)
                now = clock()
            if not active:
                if exhausted and not waiting:
                    if not deferred:
                        return
                    waiting, deferred = deferred, waiting
                if pause > 0:
                    time.sleep(pause)
                continue
            if len(active) > self._peak:
                self._peak = len(active)
            # What had run out before the poll got its last chance in it: a slow host must not turn late reading into silence.
            before = clock()
            wait = self._next_deadline() - before
            if pause > 0 and pause < wait:
                wait = pause
            for fd, mask in self._epoll.poll(max(0.0, wait), MAXIMUM_CONCURRENCY):
                probe = active.get(fd)
                if probe is not None:
                    if probe.target.tcp:
                        self._on_tcp(probe, mask, clock())
                    else:
                        self._on_udp(probe, mask, clock())
            self._expire(last, before)

    def _next_deadline(self) -> float:
        timers = self._timers
        while timers:
            deadline, _serial, probe = timers[0]
            if self._active.get(probe.fd) is probe and probe.deadline == deadline:
                return deadline
            heapq.heappop(timers)
        return self._clock() + 1.0

    def _schedule(self, probe: _Probe, deadline: float) -> None:
        probe.deadline = deadline
        self._serial += 1
        heapq.heappush(self._timers, (deadline, self._serial, probe))

    def _expire(self, last: bool, now: float) -> None:
        while self._timers and self._next_deadline() <= now:
            _deadline, _serial, probe = heapq.heappop(self._timers)
            target = probe.target
            if probe.answering:
                self._open(probe, now, False)
            elif probe.icmp is not None:
                self._error(probe, probe.icmp.errno, now)
            elif probe.resend and now < probe.resend:
                self._resend(probe, now)
            elif last and self._still_resolving(target, now):
                self._schedule(probe, now + _NEIGHBOUR_STEP)
            else:
                self._drop(probe)
                self._silent.append(probe.key)

    def _wait(self, target: Target, last: bool) -> float:
        timeout = self._options.timeout
        if last:
            return timeout
        rtt = self._rtt.get(target.address)
        wait = _FIRST_WAIT if rtt is None else max(_LEAST_WAIT, 4 * rtt)
        return min(wait * float(1 << self._round), timeout)

    # ---- one probe ----------------------------------------------------------------------------------------------------

    def _start(self, key: int, now: float, last: bool) -> int:
        """Send one probe. Return 0, or the error number of a limit of this host that kept it from being sent."""
        target, port = self._split(key)
        address = target.address
        if address in self._dead:
            self._finish_dead(key, target, port)
            return 0
        try:
            sock = socket.socket(target.family, (socket.SOCK_STREAM if target.tcp else socket.SOCK_DGRAM) | socket.SOCK_NONBLOCK)
        except OSError as error:
            number = error.errno or errno.EIO
            if number in _states.LOCAL_LIMITS:
                return number
            self._immediate(key, target, port, number, None)
            return 0
        probe = _Probe(key, target, port, sock, now)
        try:
            if target.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, _states.IPV6_RECVERR, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _states.IP_RECVERR, 1)
            if self._options.interface is not None:
                self._bind(sock, target)
            number = sock.connect_ex(target.sockaddr(port))
            if not target.tcp and number == 0:
                number = self._send(probe)
        except OSError as error:
            number = error.errno or errno.EIO
        if number and number != errno.EINPROGRESS:
            icmp = _drain(sock)
            sock.close()
            if number in _states.LOCAL_LIMITS and not self._no_source(number, target):
                return number
            self._persisting = False
            self._immediate(key, target, port, errno.ENETUNREACH if number == errno.EADDRNOTAVAIL else number, icmp)
            return 0
        self._persisting = False
        self._pauses = 0
        if address not in self._first:
            self._first[address] = now
            self._note_source(sock, target.family)
        fd = probe.fd
        self._active[fd] = probe
        self._epoll.register(fd, select.EPOLLOUT if target.tcp else select.EPOLLIN)
        wait = self._wait(target, last)
        if last and not target.tcp and self._options.key is not None and self._options.rate is None:
            # One lost datagram shall not decide whether a path is proved.
            probe.resend = now + wait
            wait = min(wait, _RESEND)
        self._schedule(probe, now + wait)
        return 0

    def _bind(self, sock: socket.socket, target: Target) -> None:
        name = self._options.interface or ""
        try:
            sock.setsockopt(socket.SOL_SOCKET, _host.SO_BINDTODEVICE, name.encode() + b"\0")
            return
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
        # Linux before 5.7 keeps this for root. The interface's own address is the next best thing.
        source = _host.interface_address(name, target.family, target.address)
        if source is None:
            # Never send through another interface than the one that was asked for.
            raise OSError(errno.ENETUNREACH, "the interface has no address of this family")
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))

    def _send(self, probe: _Probe) -> int:
        if self._options.key is not None:
            from . import _nonce

            if not probe.challenge:
                probe.challenge = _nonce.make_challenge(self._options.key, probe.target.protocol, probe.port)
            data = probe.challenge
        else:
            data = _DATAGRAMS.get(probe.port, b"")
        try:
            probe.sock.send(data)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _resend(self, probe: _Probe, now: float) -> None:
        number = self._send(probe)
        if number:
            self._error(probe, number, now)
        else:
            self._schedule(probe, min(now + _RESEND, probe.resend))
            if probe.deadline >= probe.resend:
                probe.resend = 0.0

    def _note_source(self, sock: socket.socket, family: int) -> None:
        name = "ipv6" if family == socket.AF_INET6 else "ipv4"
        if self._summary.addresses[name] is None:
            self._summary.addresses[name] = str(sock.getsockname()[0])

    def _no_source(self, number: int, target: Target) -> bool:
        """Whether the error means that this host has no address to send from, rather than that its ports are used up."""
        if number != errno.EADDRNOTAVAIL:
            return False
        try:
            with socket.socket(target.family, socket.SOCK_DGRAM) as sock:
                return sock.connect_ex(target.sockaddr(9)) == errno.EADDRNOTAVAIL
        except OSError:
            return False

    def _count_limit(self, number: int) -> None:
        self._reduced[number] = self._reduced.get(number, 0) + 1

    def _limited(self, key: int, number: int) -> bool:
        """Handle a limit of this host. Return whether the probe shall be tried again."""
        self._count_limit(number)
        if self._active:
            self._window = self._window_cap = max(1, len(self._active))
            return True
        if not self._persisting and self._pauses < len(_LIMIT_PAUSES):
            time.sleep(_LIMIT_PAUSES[self._pauses])
            self._pauses += 1
            return True
        self._persisting = True
        outcome = Outcome(*self._split(key), _states.ERROR, _states.HIGH, self._round)
        outcome.errno = number
        self._emit(key, outcome)
        return False

    def _on_tcp(self, probe: _Probe, mask: int, now: float) -> None:
        if probe.answering:
            self._read_answer(probe, now)
            return
        sock = probe.sock
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_LENGTH)
        state = info[0]
        if state not in (_TCP_SYN_SENT, _TCP_SYN_RECV, _TCP_CLOSE):
            # Connected, perhaps already half closed by a service that greets and hangs up.
            rtt = _TCP_INFO_RTT.unpack_from(info, _TCP_INFO_RTT_OFFSET)[0] / 1e6 if len(info) == _TCP_INFO_LENGTH else now - probe.started
            self._learn(probe.target, rtt)
            probe.number = int(rtt * 1e6)
            if self._options.key is None:
                self._open(probe, now, None)
            else:
                self._challenge(probe, now)
            return
        if not mask & _ERRORS:
            return
        # Order matters: emptying the error queue clears the socket's error, and the queue may be filled before the error is set.
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        icmp = _drain(sock)
        if icmp is not None:
            probe.icmp = icmp
        if number == 0 and state != _TCP_CLOSE:
            # A router's word that has not (yet) ended the attempt: give the kernel a moment to end it.
            if icmp is not None:
                self._schedule(probe, min(probe.deadline, now + 0.02))
            return
        if number == 0:
            number = probe.icmp.errno if probe.icmp is not None else errno.ECONNRESET
        self._error(probe, number, now)

    def _on_udp(self, probe: _Probe, mask: int, now: float) -> None:
        sock = probe.sock
        if mask & select.EPOLLERR:
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            icmp = _drain(sock)
            if icmp is not None:
                probe.icmp = icmp
            if number or icmp is not None:
                self._error(probe, number or (icmp.errno if icmp is not None else 0), now)
                return
        if mask & select.EPOLLIN:
            try:
                data = sock.recv(2048)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    self._error(probe, error.errno or errno.EIO, now)
                return
            self._learn(probe.target, now - probe.started)
            probe.number = int((now - probe.started) * 1e6)
            probe.received = data
            self._open(probe, now, None if self._options.key is None else False)

    def _challenge(self, probe: _Probe, now: float) -> None:
        number = self._send(probe)
        if number:
            self._open(probe, now, False)
            return
        probe.answering = True
        self._epoll.modify(probe.fd, select.EPOLLIN)
        self._schedule(probe, now + self._options.timeout)

    def _read_answer(self, probe: _Probe, now: float) -> None:
        from . import _nonce

        try:
            data = probe.sock.recv(_nonce.CHALLENGE_LENGTH)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return
            data = b""
        probe.received += data
        length = _nonce.answer_length(probe.received)
        seen = probe.received[: _nonce.TAG_LENGTH]
        if not data or not probe.challenge.startswith(seen) or (length is not None and len(probe.received) >= length):
            self._open(probe, now, False)

    # ---- results ------------------------------------------------------------------------------------------------------

    def _drop(self, probe: _Probe) -> None:
        del self._active[probe.fd]
        # Closing takes the descriptor out of the poll set as well.
        probe.sock.close()

    def _learn(self, target: Target, rtt: float) -> None:
        known = self._rtt.get(target.address)
        self._rtt[target.address] = rtt if known is None else max(rtt, known * 0.75)

    def _emit(self, key: int, outcome: Outcome) -> None:
        self._summary.counts[outcome.state] += 1
        self._sink(key, outcome)

    def _open(self, probe: _Probe, now: float, verified: bool | None) -> None:
        outcome = Outcome(probe.target, probe.port, _states.OPEN, _states.HIGH, self._round + 1)
        outcome.rtt_ms = probe.number / 1000
        outcome.nonce_verified = verified
        if self._options.key is not None and probe.received:
            from . import _nonce

            answer = _nonce.read_answer(self._options.key, probe.challenge, probe.received)
            if answer is not None:
                outcome.nonce_verified = True
                outcome.answered_by = answer.name
                outcome.seen_as = answer.peer_address
        self._drop(probe)
        self._emit(probe.key, outcome)

    def _error(self, probe: _Probe, number: int, now: float) -> None:
        target, icmp = probe.target, probe.icmp
        if icmp is None and (number == errno.ETIMEDOUT or (number == errno.EHOSTUNREACH and target.address in self._dead)):
            self._drop(probe)
            self._silent.append(probe.key)
            return
        own_name = str(probe.sock.getsockname()[0]).partition("%")[0]
        self._drop(probe)
        self._decide(probe.key, target, probe.port, number, icmp, own_name, now - probe.started)

    def _immediate(self, key: int, target: Target, port: int, number: int, icmp: Icmp | None) -> None:
        if icmp is not None:
            self._decide(key, target, port, number, icmp, "", 0.0)
            return
        if number == errno.EPERM and not target.tcp:
            state, confidence = _states.LOCAL_DROP, _states.HIGH
        else:
            state, confidence = _states.decide_immediate(number)
        outcome = Outcome(target, port, state, confidence, self._round + 1)
        outcome.errno = number
        self._emit(key, outcome)

    def _decide(self, key: int, target: Target, port: int, number: int, icmp: Icmp | None, own_name: str, took: float) -> None:
        from_target = icmp is not None and icmp.sender == target.address.partition("%")[0]
        from_own = icmp is not None and not from_target and self._is_own(icmp.sender, own_name, target)
        missing = False
        if from_own:
            missing = target.address in self._dead or _host.neighbour_missing(target.family, target.address, target.sockaddr(0))
        state, confidence = _states.decide_error(target.protocol, number, icmp, from_own, from_target, missing)
        if state == _states.HOST_UNREACHABLE and from_own:
            self._dead[target.address] = (number, icmp)
        outcome = Outcome(target, port, state, confidence, self._round + 1)
        outcome.errno = number
        outcome.icmp = icmp
        if from_target or (icmp is None and state in (_states.CLOSED, _states.OPEN)):
            outcome.rtt_ms = round(took * 1000, 3)
            self._learn(target, took)
        if state == _states.CLOSED and target.tcp and not target.own:
            self._closed.append(key)
        self._emit(key, outcome)

    def _is_own(self, sender: str, own_name: str, target: Target) -> bool:
        if sender == own_name:
            return True
        family = socket.AF_INET6 if ":" in sender else socket.AF_INET
        sockaddr = (sender, 0, 0, target.scope_id) if family == socket.AF_INET6 else (sender, 0)
        return bool(sender) and _host.is_own_address(family, sockaddr)

    def _finish_dead(self, key: int, target: Target, port: int) -> None:
        number, icmp = self._dead[target.address]
        outcome = Outcome(target, port, _states.HOST_UNREACHABLE, _states.HIGH, self._round + 1)
        outcome.errno = number
        outcome.icmp = icmp
        self._emit(key, outcome)

    def _still_resolving(self, target: Target, now: float) -> bool:
        """Whether the next hop's address is still being asked for, so that silence says nothing about the port yet."""
        address = target.address
        if target.own or address in self._rtt or address in self._dead or now > self._first.get(address, now) + _NEIGHBOUR_WAIT:
            return False
        checked, missing = self._neighbours.get(address, (-1.0, True))
        if missing and now - checked >= _NEIGHBOUR_STEP / 2:
            missing = _host.neighbour_missing(target.family, address, target.sockaddr(0))
            self._neighbours[address] = (now, missing)
        return missing

    # ---- afterwards: does this host drop the probes itself? -----------------------------------------------------------

    def _after(self, silent: array[int]) -> None:
        options = self._options
        local = self._dropped_here(silent)
        for key in silent:
            target, port = self._split(key)
            if target.address in self._dead:
                self._finish_dead(key, target, port)
                continue
            if key in local:
                outcome = Outcome(target, port, _states.LOCAL_DROP, local[key], options.attempts)
            else:
                state, confidence = _states.decide_silence(target.protocol, target.address in self._rtt, options.attempts)
                outcome = Outcome(target, port, state, confidence, options.attempts)
            self._emit(key, outcome)
        # A local rule that answers with a reset looks like a closed port. A sample shows whether there is such a rule.
        closed, self._closed = self._closed, array("Q")
        if closed:
            step = max(1, len(closed) // _CLOSED_SAMPLE)
            if self._dropped_here(closed[::step][:_CLOSED_SAMPLE]):
                for key, confidence in self._dropped_here(closed).items():
                    outcome = Outcome(*self._split(key), _states.LOCAL_REJECT, confidence, options.attempts)
                    outcome.errno = errno.ECONNREFUSED
                    self._summary.counts[_states.CLOSED] -= 1
                    self._emit(key, outcome)

    def _dropped_here(self, keys: array[int]) -> dict[int, str]:
        """Return those of the TCP ports whose packets never leave this host, with confidence."""
        found: dict[int, str] = {}
        end = self._clock() + _BURST_BUDGET + len(keys) * _BURST_BUDGET_PER_PORT
        for family in (socket.AF_INET, socket.AF_INET6):
            mine = [key for key in keys if self._is_candidate(key, family)]
            if not mine:
                continue
            counters = _host.Counters(family)
            if counters.read() is None:
                for key in mine[:_CLOSED_SAMPLE]:
                    if self._refused_datagram(key):
                        found[key] = _states.MEDIUM
                continue
            size = len(mine) if self._options.rate is None else max(1, int(self._options.rate))
            for begin in range(0, len(mine), min(_BURST, size)):
                if self._clock() > end:
                    break
                for key in self._bisect(mine[begin : begin + min(_BURST, size)], counters, end):
                    found[key] = _states.HIGH
        return found

    def _is_candidate(self, key: int, family: int) -> bool:
        target = self._targets[key >> 16]
        return target.tcp and target.family == family and target.address not in self._dead

    def _bisect(self, keys: list[int], counters: _host.Counters, end: float) -> list[int]:
        missing = self._burst(keys, counters)
        if missing <= 0 or self._clock() > end:
            return []
        # Again, because other programs' packets may be dropped in the same moment.
        if len(keys) == 1:
            return keys if self._burst(keys, counters) >= 1 and self._burst(keys, counters) >= 1 else []
        # Exactly one each, also alone: where answers that this host makes up are dropped too, one probe counts for two.
        if missing == len(keys) == self._burst(keys, counters) and all(self._burst([key], counters) == 1 for key in (keys[0], keys[-1])):
            return keys
        middle = len(keys) // 2
        return self._bisect(keys[:middle], counters, end) + self._bisect(keys[middle:], counters, end)

    def _burst(self, keys: list[int], counters: _host.Counters) -> int:
        """Send one SYN to each port; return how many packets this host wanted to send and did not."""
        if self._options.rate is not None:
            time.sleep(len(keys) / self._options.rate)
        socks = []
        before = counters.read()
        try:
            for key in keys:
                target, port = self._split(key)
                sock = socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                socks.append(sock)
                if self._options.interface is not None:
                    self._bind(sock, target)
                sock.connect_ex(target.sockaddr(port))
            after = counters.read()
        except OSError:
            return 0
        finally:
            for sock in socks:
                sock.close()
        if before is None or after is None:
            return 0
        return (after[0] - before[0]) - (after[1] - before[1])

    def _refused_datagram(self, key: int) -> bool:
        """Whether this host refuses a datagram to the same port: a rule for every protocol covers TCP too."""
        target, port = self._split(key)
        try:
            with socket.socket(target.family, socket.SOCK_DGRAM) as sock:
                sock.connect(target.sockaddr(port))
                sock.send(b"")
        except OSError as error:
            return error.errno == errno.EPERM
        return False


def _drain(sock: socket.socket) -> Icmp | None:
    """Empty the error queue; return the last ICMP error in it that ends an attempt."""
    found = None
    while True:
        try:
            _data, control, _flags, _address = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return found
        icmp = _states.decode_control(control)
        if icmp is not None and icmp.errno != errno.EMSGSIZE:
            found = icmp
