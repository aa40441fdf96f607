# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake router that misbehaves as it is told, in the namespace of a home's router; and a recorder of what is sent to third hosts.

It is a fake because no real daemon can be made to do these things. It keeps state: what it says of its table follows from what was asked of it,
but for the one thing that a test bends. It speaks SSDP, UPnP IGD 1 or 2, NAT-PMP and PCP over real sockets.
"""

from __future__ import annotations

import ctypes
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Optional, TypeVar

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import NEIGHBOUR, ROUTER, Home
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import FakeIgd, RawServer, reply

HTTP, SSDP, RECORDED = 5555, 1900, 5351
GROUP = "239.255.255.250"
UUID = "uuid:00000000-0000-0000-0000-000000000001"
_CLONE_NEWNET = 0x40000000
_IP_TRANSPARENT = 19

Made = TypeVar("Made")
#: Gets the action (empty for the description), the request and the connection; returns whether it answered.
Raw = Callable[[str, bytes, socket.socket], bool]
Datagram = Callable[[bytes], Optional["list[bytes]"]]


def inside(namespace: str, make: Callable[[], Made]) -> Made:
    """Call a function in a network namespace; the sockets that it makes stay there."""
    made: list[Made] = []
    problem: list[BaseException] = []

    def work() -> None:
        try:
            with open(f"/run/netns/{namespace}", "rb") as handle:
                if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(make())
        except BaseException as error:
            problem.append(error)

    # A namespace belongs to a thread; this one ends with its only task.
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return made[0]


def datagrams(address: str, port: int, group: str | None = None, forged: bool = False) -> socket.socket:
    """Return a bound UDP socket, to be called in a namespace."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if forged:
        opened.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
    if group:
        # Multicast is not received on a socket that is bound to an address of this host.
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(address))
        opened.bind(("", port))
    else:
        opened.bind((address, port))
    return opened


def ssdp(location: str, target: str = "urn:schemas-upnp-org:device:InternetGatewayDevice:1", uuid: str = UUID) -> bytes:
    """Return an answer to a search."""
    lines = ["HTTP/1.1 200 OK", "CACHE-CONTROL: max-age=120", f"ST: {target}", f"USN: {uuid}::{target}", "EXT:", "SERVER: Fake/1.0", f"LOCATION: {location}"]
    return "\r\n".join([*lines, "", ""]).encode()


class Recorded:
    """The state of a router that speaks NAT-PMP and PCP: what it maps, by protocol and port of the host.

    Attributes:
        maps: what it holds: external port and lease.
        bend: gets a request; returns what is sent instead of the real answer, None for the real one.
        other: the port that is given instead of the one asked for, if any.
        wan: the address that it tells.
    """

    def __init__(self) -> None:
        self.maps: dict[tuple[int, int], tuple[int, int]] = {}
        self.bend: Datagram = lambda request: None
        self.other: int | None = None
        self.wan = "44.128.1.2"
        self.requests: list[bytes] = []
        self._began = time.time() - 5000

    def answer(self, request: bytes) -> list[bytes]:
        self.requests.append(request)
        bent = self.bend(request)
        return [self.real(request)] if bent is None else bent

    def real(self, request: bytes) -> bytes:
        """Return the true answer, after doing what it says."""
        epoch = int(time.time() - self._began)
        if request[0] == 2:
            head = struct.pack("!BBBBII12x", 2, request[1] | 0x80, 0, 0, 0, epoch)
            if request[1] == 0:
                return head
            lease = struct.unpack("!I", request[4:8])[0]
            protocol, (inner, outer) = request[36], struct.unpack("!HH", request[40:44])
            outer, lease = self._map(protocol, inner, outer, lease)
            head = struct.pack("!BBBBII12x", 2, 0x81, 0, 0, lease, epoch)
            return head + request[24:40] + struct.pack("!HH", inner, outer) + b"\0" * 10 + b"\xff\xff" + socket.inet_aton(self.wan)
        if request[1] == 0:
            return struct.pack("!BBHI4s", 0, 0x80, 0, epoch, socket.inet_aton(self.wan))
        inner, outer, lease = struct.unpack("!HHI", request[4:12])
        outer, lease = self._map({1: 17, 2: 6}[request[1]], inner, outer, lease)
        return struct.pack("!BBHIHHI", 0, request[1] | 0x80, 0, epoch, inner, outer, lease)

    def _map(self, protocol: int, inner: int, outer: int, lease: int) -> tuple[int, int]:
        if not lease:
            self.maps.pop((protocol, inner), None)
            return 0, 0
        self.maps[(protocol, inner)] = (self.other or outer, lease)
        return self.maps[(protocol, inner)]


class HostileRouter(FakeIgd):
    """The whole router. Nothing is answered at the port of a method that is not on.

    Attributes:
        raw: answers instead of the router where it returns True.
        search: gets a search; returns the answers to it.
        root: the description, without its services.
        control: where the services are said to be.
    """

    def __init__(self, home: Home, version: int = 2) -> None:
        self.raw: Raw = lambda action, request, connection: False
        self.location = f"http://{ROUTER}:{HTTP}/rootDesc.xml"
        self.search: Callable[[bytes], list[bytes]] = lambda request: [ssdp(self.location)]
        self.base = ""
        self.controls = ["/ctl"]
        self.namespace = ""
        self.recorded = Recorded()
        #: Called before what was made is taken back.
        self.between: Callable[[], object] = lambda: None
        #: What the other host of the LAN answers to a search, from its own address or from the router's.
        self.neighbour: Callable[[bytes], list[bytes]] = lambda request: []
        self.forged: Callable[[bytes], list[bytes]] = lambda request: []
        self._sockets: list[socket.socket] = []
        super().__init__(version, inside(home.router, lambda: socket.create_server((ROUTER, HTTP), backlog=128)))
        self._ssdp = self._open(home.router, lambda: datagrams(ROUTER, SSDP, GROUP))
        self._near = self._open(home.neighbour, lambda: datagrams(NEIGHBOUR, SSDP, GROUP))
        self._fake = self._open(home.neighbour, lambda: datagrams(ROUTER, SSDP, forged=True))
        self._udp = self._open(home.router, lambda: datagrams(ROUTER, RECORDED))
        #: The same address, another port.
        self.elsewhere = self._open(home.router, lambda: datagrams(ROUTER, 0))
        self.asker: tuple[str, int] = ("", 0)
        for work in (self._answer_search, self._answer_near, self._answer_recorded):
            threading.Thread(target=work, daemon=True).start()

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        for opened in self._sockets:
            # A thread that waits in recvfrom holds the port until it is woken.
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def description(self) -> str:
        """Return the device description."""
        services = "".join(
            f"<service><serviceType>{self.service}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>"
            f"<controlURL>{control}</controlURL></service>"
            for control in self.controls
        )
        return (
            f'<?xml version="1.0"?><root xmlns="{self.namespace or "urn:schemas-upnp-org:device-1-0"}">{self.base}<device>'
            f"<friendlyName>Fake</friendlyName><UDN>{UUID}</UDN><serviceList>{services}</serviceList></device></root>"
        )

    def table(self) -> dict[tuple[str, int], dict[str, str]]:
        """Return a copy of what it holds."""
        return {key: dict(entry) for key, entry in self.entries.items()}

    def ours(self) -> list[tuple[str, int]]:
        """Return the keys of what carries a tag."""
        return [key for key, entry in self.entries.items() if entry["description"].startswith("hs:")]

    def _open(self, namespace: str, make: Callable[[], socket.socket]) -> socket.socket:
        self._sockets.append(inside(namespace, make))
        return self._sockets[-1]

    def _answer(self, request: bytes, connection: socket.socket) -> None:
        first = request.split(b"\r\n", 1)[0]
        action = ""
        if first.startswith(b"POST"):
            action = request.partition(b"#")[2].partition(b'"')[0].decode()
        if self.raw(action, request, connection):
            return
        if action:
            super()._answer(request, connection)
        elif first.split()[1] == b"/rootDesc.xml":
            connection.sendall(reply(self.description().encode()))
        else:
            connection.sendall(reply(b"", "404 Not Found"))

    def _answer_search(self) -> None:
        with suppress(OSError):
            while True:
                data, sender = self._ssdp.recvfrom(2048)
                if not data:
                    return
                for answer in self.search(data):
                    self._ssdp.sendto(answer, sender)
                for answer in self.forged(data):
                    self._fake.sendto(answer, sender)

    def _answer_near(self) -> None:
        with suppress(OSError):
            while True:
                data, sender = self._near.recvfrom(2048)
                if not data:
                    return
                for answer in self.neighbour(data):
                    self._near.sendto(answer, sender)

    def _answer_recorded(self) -> None:
        with suppress(OSError):
            while True:
                data, self.asker = self._udp.recvfrom(2048)
                if not data:
                    return
                for answer in self.recorded.answer(data):
                    self._udp.sendto(answer, self.asker)


_COUNTER = """
table inet recorder {{
  chain out {{
    type filter hook output priority 0; policy accept;
    oif "lo" accept
    ip daddr {{ {router}, {group} }} accept
    meta l4proto {{ tcp, udp, icmp }} counter comment "third"
  }}
}}
"""


class Recorder:
    """Counts what the host sends to anybody but the router: every packet, and what real listeners at third addresses were asked."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.internet = home.wan.rpartition(".")[0] + ".1"
        self._listeners: list[RawServer] = []

    def count(self) -> int:
        """Return how many packets and requests there were."""
        rules = json.loads(self._home.run(self._home.host, "nft", "-j", "list", "chain", "inet", "recorder", "out"))["nftables"]
        packets = sum(part["counter"]["packets"] for item in rules for part in item.get("rule", {}).get("expr", []) if "counter" in part)
        return int(packets) + sum(len(listener.requests) for listener in self._listeners)

    def start(self) -> None:
        for namespace, address in ((self._home.neighbour, NEIGHBOUR), (self._home.internet, self.internet)):
            for port in (80, HTTP):
                listener = inside(namespace, partial(socket.create_server, (address, port)))
                self._listeners.append(RawServer(lambda request, connection: connection.sendall(reply(b"caught")), listener=listener))
        self._home.run(self._home.host, "nft", "-f", "-", text=_COUNTER.format(router=ROUTER, group=GROUP))

    def stop(self) -> None:
        for listener in self._listeners:
            listener.__exit__()


@contextmanager
def recorder(home: Home) -> Iterator[Recorder]:
    """Record as long as the block lasts."""
    made = Recorder(home)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def silence(_request: bytes) -> list[bytes]:
    """Answer nothing."""
    return []
