# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the router: SSDP to the default gateway and to the LAN, until the first good answer.

Private to this collection.

Any host of the LAN can answer. So only answers of the default gateway (or of the gateway that was asked for) count, and only its own
addresses are fetched. Whoever else calls itself a gateway is named in the error, because mapping ports there would lead nowhere.
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from . import _description as description
from . import _http_client as http_client
from ._errors import BadRequestError, GatewayError, NoGatewayError, PortmapError
from ._igd import IgdGateway
from ._links import Link
from ._patience import Patience

GROUP = "239.255.255.250"
PORT = 1900

_IGD_1 = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
_FIRST = (_IGD_1,)
#: For devices that do not answer to the first: some answer only to the service, some only to everything.
_THEN = (
    _IGD_1,
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
    "upnp:rootdevice",
    "ssdp:all",
)
#: Seconds after the start, and what is asked then.
_ROUNDS = ((0.0, _FIRST), (0.3, _THEN), (1.2, _THEN))
_MAX_CANDIDATES = 8
#: Bytes for answers that were not looked at yet: of twenty devices at once, or of one that floods.
ROOM = 1 << 20


@dataclass(frozen=True)
class Answer:
    """An answer to a search: where the description is, what the device calls itself, and which boot of it this is."""

    location: str
    server: str
    boot_id: str = ""


@dataclass
class _Search:
    """What has happened so far."""

    results: queue.Queue[IgdGateway | GatewayError] = field(default_factory=queue.Queue)
    asked: set[str] = field(default_factory=set)
    patience: Patience = field(default_factory=Patience)
    pending: int = 0
    problems: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


def search_message(target: str, host: str = GROUP) -> bytes:
    """Return a search request."""
    return f'M-SEARCH * HTTP/1.1\r\nHOST: {host}:{PORT}\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: {target}\r\n\r\n'.encode("ascii")


def parse_answer(data: bytes) -> Answer | None:
    """Read an answer; None if it is not one, or not that of a gateway."""
    head = data.decode("utf-8", errors="replace").replace("\r\n", "\n").split("\n\n")[0].split("\n")
    if not head[0].upper().startswith("HTTP/") or head[0].split()[1:2] != ["200"]:
        return None
    headers: dict[str, str] = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    location = headers.get("location", "")
    return Answer(location, headers.get("server", ""), headers.get("bootid.upnp.org", "")) if location else None


def usable_location(answer: Answer, sender: str) -> http_client.Url:
    """Return the address to fetch: that of the sender, whatever host the answer names.

    Routers with several addresses sometimes name another one than the one that they answer from. The port and the path are taken, the
    host is not, so that nobody can send this host elsewhere.
    """
    url = http_client.parse_url(answer.location)
    return http_client.Url(sender, url.port, url.path)


def at_location(location: str, links_for: Callable[[str], list[Link]], is_global: Callable[[str], bool], timeout: float) -> IgdGateway:
    """Open the gateway whose description is at a known address, without a search."""
    try:
        url = http_client.parse_url(location)
    except GatewayError as error:
        raise BadRequestError(f"gateway {error}") from error
    link = links_for(url.host)[0]
    try:
        patience = Patience(timeout)
        return IgdGateway.open(description.fetch(url, link.source, min(timeout, patience.left())), link.interface, link.source, is_global, patience)
    except GatewayError as error:
        raise NoGatewayError(
            f"gateway {location}: {error}. See that UPnP is on in the router and that this is the address of its description now (it may differ after a"
            " restart; without gateway it is searched for)"
        ) from error


def discover(links: Sequence[Link], is_global: Callable[[str], bool], timeout: float, gateway: str | None = None) -> IgdGateway:
    """Search on the links and return the first good gateway.

    Args:
        links: where to search.
        is_global: whether an address may be that of a WAN.
        timeout: when to give up, in seconds.
        gateway: the only router that counts; None for the default gateway of each link.
    """
    if not links:
        raise NoGatewayError("this host has no default route over IPv4, so there is no router to ask; name its interface or its gateway if there is one")
    search = _Search(patience=Patience(timeout))
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        wake_read, wake_write = os.pipe()
        stack.callback(os.close, wake_read)
        waker = _Waker(wake_write)
        stack.callback(waker.close)
        selector.register(wake_read, selectors.EVENT_READ, None)
        sockets: list[tuple[socket.socket, Link]] = []
        for link in links:
            try:
                opened = stack.enter_context(open_search(link))
            except OSError as error:
                search.problems.append(f"{link}: {error.strerror or error}")
                continue
            selector.register(opened, selectors.EVENT_READ, link)
            sockets.append((opened, link))
        found = _loop(search, selector, sockets, waker, is_global, time.monotonic() + timeout, gateway) if sockets else None
    if found is not None:
        return found
    raise NoGatewayError(_nobody(search, links, gateway, timeout))


class _Waker:
    """Wakes the loop from a thread; harmless once the loop is over."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def wake(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.write(self._descriptor, b"!")

    def close(self) -> None:
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = -1


def open_search(link: Link) -> socket.socket:
    """Return a socket from which a search goes out over a link, without waiting for answers."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.bind((link.source, 0))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        group = struct.pack("=4s4si", socket.inet_aton("0.0.0.0"), socket.inet_aton(link.source), socket.if_nametoindex(link.interface))
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, group)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    except BaseException:
        opened.close()
        raise
    return opened


def _loop(
    search: _Search,
    selector: selectors.BaseSelector,
    sockets: Sequence[tuple[socket.socket, Link]],
    waker: _Waker,
    is_global: Callable[[str], bool],
    deadline: float,
    gateway: str | None,
) -> IgdGateway | None:
    start = time.monotonic()
    rounds = list(_ROUNDS)
    while True:
        now = time.monotonic()
        while rounds and now >= start + rounds[0][0]:
            for opened, link in sockets:
                _send(search, opened, link, rounds[0][1], gateway)
            rounds.pop(0)
        try:
            while True:
                result = search.results.get_nowait()
                search.pending -= 1
                if isinstance(result, IgdGateway):
                    return result
                search.problems.append(str(result))
        except queue.Empty:
            pass
        if now >= deadline:
            return None
        until = min(deadline, start + rounds[0][0]) if rounds else deadline
        for key, _events in selector.select(max(0.0, until - now)):
            if key.data is None:
                os.read(key.fd, 64)
                continue
            _receive(search, key.fileobj, key.data, waker, is_global, gateway)  # type: ignore[arg-type]


def _send(search: _Search, opened: socket.socket, link: Link, targets: Sequence[str], gateway: str | None) -> None:
    # To the router itself first: its answer passes stateful firewalls of this host, the answer to a multicast does not.
    for host in dict.fromkeys((gateway or link.gateway, GROUP)):
        if host is None:
            continue
        for target in targets:
            try:
                opened.sendto(search_message(target, GROUP if host == GROUP else host), (host, PORT))
            except OSError as error:
                problem = f"{link}: a search to {host} cannot be sent: {error.strerror or error}"
                if problem not in search.problems:
                    search.problems.append(problem)
                break


def _receive(search: _Search, opened: socket.socket, link: Link, waker: _Waker, is_global: Callable[[str], bool], gateway: str | None) -> None:
    try:
        data, (sender, _port) = opened.recvfrom(4096)
    except OSError:
        return
    answer = parse_answer(data)
    if answer is None or not link.reaches(sender):
        return
    expected = gateway or link.gateway
    if expected is not None and sender != expected:
        if "gateway" in data.decode("latin-1").lower() and sender not in search.strangers and len(search.strangers) < _MAX_CANDIDATES:
            search.strangers.append(sender)
        return
    try:
        location = usable_location(answer, sender)
    except GatewayError as error:
        problem = f"answer from {sender}: {error}"
        if problem not in search.problems and len(search.problems) < _MAX_CANDIDATES:
            search.problems.append(problem)
        return
    if str(location) in search.asked or len(search.asked) >= _MAX_CANDIDATES:
        return
    search.asked.add(str(location))
    search.pending += 1
    threading.Thread(target=_fetch, args=(search, location, link, answer.server, waker, is_global), daemon=True).start()


def _fetch(search: _Search, location: http_client.Url, link: Link, server: str, waker: _Waker, is_global: Callable[[str], bool]) -> None:
    result: IgdGateway | GatewayError
    try:
        read = description.fetch(location, link.source, search.patience.left(), server)
        result = IgdGateway.open(read, link.interface, link.source, is_global, search.patience)
    except GatewayError as error:
        result = error
    except PortmapError as error:
        result = GatewayError(str(error))
    search.results.put(result)
    waker.wake()


def _nobody(search: _Search, links: Sequence[Link], gateway: str | None, timeout: float) -> str:
    where = " and ".join(f"{gateway or link.gateway or 'any host'} on {link}" for link in links)
    text = f"no router that maps ports by UPnP answered within {timeout:g} s; asked: {where}"
    if search.pending:
        text += f"; {search.pending} answered the search but not the request for its description"
    if search.problems:
        text += "; " + "; ".join(search.problems[:4])
    if search.strangers:
        strangers = ", ".join(search.strangers)
        text += f"; {strangers} calls itself a gateway, but the default route does not lead there, so it was not used (name it as the gateway if it is right)"
    text += ". Switch UPnP on in the router (it may be called UPnP, UPnP IGD or automatic port forwarding), or type the forwarding in on the router's own page"
    return text


def is_location(text: str) -> bool:
    """Whether the gateway option holds an address of a description; else it must be an IP address."""
    if "://" in text:
        return bool(urlsplit(text).scheme)
    return False


def check_address(text: str) -> str:
    """Return the gateway option as an address, or say what is wrong with it."""
    try:
        # Not ipaddress: before Python 3.9.5 it takes leading zeros, and means something else by them than others do.
        return socket.inet_ntoa(socket.inet_pton(socket.AF_INET, text))
    except (OSError, ValueError):
        raise BadRequestError(
            f"gateway {text!r} is neither an IPv4 address nor the http:// address of a device description: UPnP maps ports over IPv4;"
            " give the router's LAN address, for example 192.168.1.1, or leave the option out"
        ) from None
