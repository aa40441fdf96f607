# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinholes with a fake router that misbehaves, over IPv6 and real sockets.

Whatever it does: each call ends within five seconds, with a result and no traceback, an error says what to do, and nothing of ours stays open.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Optional

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import started
from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home6 import HOST6, NEIGHBOUR6, ROUTER6, Home6
from ansible_collections.homeserver.hardening.tests.integration.port_mapping.hostile import HTTP, RECORDED, SSDP, inside, ssdp
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_firewall import SERVICE, FakeFirewall
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import RawServer, drip, reply

WEB = {"name": "web", "protocol": "tcp", "port": 8443, "families": ["ipv6"]}
HANG = 5.0
FOREVER = 6.0
ADVICE = re.compile(
    r"open the port in|open it on the router's own page|open the port there|remove (some|mappings)|restart the router|run again later|switch the firewall on"
    r"|open the port on|open the ports? on",
    re.IGNORECASE,
)

#: What is answered to PCP, in place of the real answer; None for the real one.
Bend = Callable[[bytes], Optional["list[bytes]"]]


class Router:
    """Answers SSDP, HTTP and PCP at the router's link-local address.

    Attributes:
        upnp: what speaks WANIPv6FirewallControl.
        maps: what is open by PCP, by protocol and port.
        pcp: bends the answers of PCP.
        search: what is answered to a search.
        raw: answers an HTTP request instead of the router, where it returns True.
    """

    def __init__(self, home: Home6) -> None:
        self.home = home
        self.location = f"http://[{ROUTER6}]:{HTTP}/rootDesc.xml"
        self.service = SERVICE
        self.control = "/ctl"
        self.search: Callable[[], list[bytes]] = lambda: [ssdp(self.location, SERVICE)]
        self.raw: Callable[[str, socket.socket], bool] = lambda action, connection: False
        self.pcp: Bend = lambda request: None
        self.maps: dict[tuple[int, int], int] = {}
        self.upnp = FakeFirewall(inside(home.router, lambda: _listener(ROUTER6, HTTP)))
        self.upnp.server._answer = self._http
        self._sockets = [self._open(SSDP), self._open(RECORDED)]
        for opened, answer in zip(self._sockets, (self._ssdp, self._answer_pcp)):
            threading.Thread(target=_serve, args=(opened, answer), daemon=True).start()

    def stop(self) -> None:
        self.upnp.__exit__()
        for opened in self._sockets:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    @property
    def ours(self) -> bool:
        """Whether anything is open for the host."""
        return bool(self.maps or {leads for leads in self.upnp.open if leads[1] == HOST6})

    def _open(self, port: int) -> socket.socket:
        def make() -> socket.socket:
            opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((ROUTER6, port, 0, socket.if_nametoindex("lan0")))
            return opened

        return inside(self.home.router, make)

    def _http(self, request: bytes, connection: socket.socket) -> None:
        first = request.split(b"\r\n", 1)[0]
        action = request.partition(b"#")[2].partition(b'"')[0].decode() if first.startswith(b"POST") else ""
        if self.raw(action, connection):
            return
        if action:
            self.upnp.answer(request, connection)
        elif first.split()[1] == b"/rootDesc.xml":
            inner = f"<serviceType>{self.service}</serviceType><controlURL>{self.control}</controlURL>"
            connection.sendall(reply(f"<root><device><serviceList><service>{inner}</service></serviceList></device></root>".encode()))
        else:
            connection.sendall(reply(b"", "404 Not Found"))

    def _ssdp(self, _request: bytes) -> list[bytes]:
        return self.search()

    def _answer_pcp(self, request: bytes) -> list[bytes]:
        bent = self.pcp(request)
        return [self.real(request)] if bent is None else bent

    def real(self, request: bytes, result: int = 0, port: int | None = None, address: str = HOST6, nonce: bytes | None = None) -> bytes:
        """Return the true answer, or one that is bent in one place, after doing what it says."""
        head = struct.pack("!BBBBII12x", 2, request[1] | 0x80, 0, result, struct.unpack("!I", request[4:8])[0], 5000)
        if request[1] == 0:
            return head
        inner, _outer = struct.unpack("!HH", request[40:44])
        key = (request[36], inner)
        if request[4:8] == bytes(4):
            self.maps.pop(key, None)
        elif not result and nonce is None:
            self.maps[key] = port or inner
        body = (nonce or request[24:36]) + request[36:40] + struct.pack("!HH", inner, port or inner)
        return head + body + socket.inet_pton(socket.AF_INET6, address)


def _listener(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port, 0, socket.if_nametoindex("lan0")))
    listener.listen(128)
    return listener


def _serve(opened: socket.socket, answer: Callable[[bytes], list[bytes]]) -> None:
    with suppress(OSError):
        while True:
            data, sender = opened.recvfrom(2048)
            if not data:
                return
            for datagram in answer(data):
                opened.sendto(datagram, sender)


def silence(_request: bytes) -> list[bytes]:
    """Answer nothing."""
    return []


@pytest.fixture(scope="module")
def fake_home6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home6]:
    """A home whose router runs no daemon: the fake router takes its place."""
    yield from started(Home6(tmp_path_factory.mktemp("fake6")))


@pytest.fixture
def router(fake_home6: Home6) -> Iterator[Router]:
    shutil.rmtree(fake_home6.state_dir(), ignore_errors=True)
    made = Router(fake_home6)
    made.upnp.put("tcp", NEIGHBOUR6, 81)
    try:
        yield made
    finally:
        made.stop()
        assert ("tcp", NEIGHBOUR6, 81) in made.upnp.open


def call(home: Home6, **options: Any) -> dict[str, Any]:
    begin = time.monotonic()
    done = home.process("port_mapping", **options)
    took = time.monotonic() - begin
    assert took < HANG, f"took {took:.1f} s: {done.stdout[:2000]}"
    assert done.stderr == ""
    assert "Traceback" not in done.stdout
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def refused(router: Router, words: str, method: str, left: bool = False) -> None:
    """It fails in time with an error that says what and what to do, and nothing stays open."""
    result = call(router.home, method=method, mappings=[WEB])
    assert result.get("failed"), result
    assert re.search(words, result["msg"]), result["msg"]
    assert ADVICE.search(result["msg"]), f"no advice in: {result['msg']}"
    assert len(result["msg"]) < 1500
    assert [row["state"] for row in result["mappings"]] == ["error"]
    assert left or not result["changed"]
    assert left or not router.ours
    gone = call(router.home, method=method, state="absent")
    assert left or not gone.get("failed"), gone["msg"]
    assert left or not router.ours


def test_the_fake_is_a_good_router_unless_it_is_bent(router: Router) -> None:
    # What fails always proves nothing.
    for method in ("pcp", "upnp", "auto"):
        assert call(router.home, method=method, mappings=[WEB])["changed"]
        assert router.ours
        assert not call(router.home, method=method, mappings=[WEB])["changed"]
        assert call(router.home, method=method, state="absent")["changed"]
        assert not router.ours


def mapped(router: Router, **bent: Any) -> Bend:
    """Bend answers to what asks for a pinhole, not to what takes one back."""
    return lambda request: [router.real(request, **bent)] if request[1] and request[4:8] != bytes(4) else None


@pytest.mark.parametrize(
    ("bent", "words"),
    [
        ({"nonce": bytes(12)}, "another mapping"),
        ({"port": 8444}, "port 8444 instead"),
        ({"address": "2a00:78::1"}, "NPTv6"),
        ({"result": 2}, "NOT_AUTHORIZED"),
        ({"result": 3}, "MALFORMED_REQUEST"),
        ({"result": 4}, "UNSUPP_OPCODE"),
        ({"result": 5}, "UNSUPP_OPTION"),
        ({"result": 7}, "NETWORK_FAILURE"),
        ({"result": 8}, "NO_RESOURCES"),
        ({"result": 10}, "USER_EX_QUOTA"),
        ({"result": 11}, "CANNOT_PROVIDE_EXTERNAL"),
        ({"result": 12}, "ADDRESS_MISMATCH"),
    ],
    ids=lambda value: "-".join(f"{name}-{item!r}" for name, item in value.items())[:20] if isinstance(value, dict) else "",
)
def test_pcp_answers_that_are_wrong(router: Router, bent: dict[str, Any], words: str) -> None:
    router.pcp = mapped(router, **bent)
    refused(router, words, "pcp")


def test_pcp_is_silent_or_sends_rubbish(router: Router) -> None:
    router.pcp = silence
    refused(router, "did not answer within", "pcp")
    router.pcp = lambda request: [b"", b"\xff" * 900, request, b"\x02\x81" + bytes(22)] * 20
    refused(router, "none of them answers|did not answer", "pcp")
    # Where PCP is of no use, UPnP is.
    assert [row["method"] for row in call(router.home, mappings=[WEB])["mappings"]] == ["upnp"]
    assert call(router.home, state="absent")["changed"]


@pytest.mark.parametrize("code", [402, 501, 606, 701, 702, 703, 705, 999])
def test_upnp_refuses(router: Router, code: int) -> None:
    router.upnp.faults = {"AddPinhole": code}
    refused(router, f"error {code}", "upnp")


@pytest.mark.parametrize(("action", "code"), [("UpdatePinhole", 704), ("UpdatePinhole", 606), ("DeletePinhole", 402)])
def test_upnp_refuses_later(router: Router, action: str, code: int) -> None:
    assert call(router.home, method="upnp", mappings=[WEB])["changed"]
    router.upnp.faults = {action: code}
    data = json.loads((router.home.state_dir() / "port_mappings.json").read_text())
    for row in data["mappings"]:
        row["ends"] -= 50000
        row["expires"] -= 50000
    (router.home.state_dir() / "port_mappings.json").write_text(json.dumps(data))
    again = call(router.home, method="upnp", mappings=[WEB])
    assert [row["renewed"] for row in again["mappings"]] == [True]
    gone = call(router.home, method="upnp", state="absent")
    if action == "DeletePinhole":
        assert "DeletePinhole" in gone["msg"] or "removal" in gone["msg"]
        assert router.ours
        router.upnp.faults = {}
        assert call(router.home, method="upnp", state="absent")["changed"]
    assert not router.ours


@pytest.mark.parametrize(("enabled", "allowed"), [("0", "1"), ("1", "0")])
def test_the_firewall_says_no_in_advance(router: Router, enabled: str, allowed: str) -> None:
    router.upnp.enabled, router.upnp.allowed = enabled, allowed
    refused(router, "nothing was changed", "upnp")
    assert "AddPinhole" not in router.upnp.actions


def answered(data: bytes) -> Callable[[str, socket.socket], bool]:
    """Answer every request with this."""

    def raw(_action: str, connection: socket.socket) -> bool:
        connection.sendall(data)
        return True

    return raw


def redirect(router: Router) -> str:
    router.raw = answered(reply(b"", "302 Found", f"Location: http://[{NEIGHBOUR6}]/\r\n"))
    return "redirect"


def names(router: Router) -> str:
    router.location = "http://router.lan/rootDesc.xml"
    return "not a usable address"


def nothing_there(router: Router) -> str:
    router.location = f"http://[{ROUTER6}]:{HTTP}/else.xml"
    return "HTTP status 404"


def without_the_service(router: Router) -> str:
    router.service = "urn:schemas-upnp-org:service:Layer3Forwarding:1"
    return "offers no WANIPv6FirewallControl"


def doctype(router: Router) -> str:
    router.raw = answered(reply(b'<!DOCTYPE a [<!ENTITY b "c">]><root/>'))
    return "DOCTYPE"


def dripping(router: Router) -> str:
    def raw(action: str, connection: socket.socket) -> bool:
        drip(connection, reply(b"<root>" + b" " * 2000 + b"</root>"), 0.1)
        return True

    router.raw = raw
    return "did not answer within"


def hanging(router: Router) -> str:
    def raw(action: str, connection: socket.socket) -> bool:
        time.sleep(FOREVER)
        return True

    router.raw = raw
    return "did not answer within"


def flood(router: Router) -> str:
    rubbish = [b"", b"\xff" * 900, b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nLOCATION:\r\n\r\n"]
    router.search = lambda: [*(rubbish * 40), *(ssdp(f"http://[{ROUTER6}]:{HTTP}/{number}.xml") for number in range(40))]
    return "HTTP status 404"


def hanging_status(router: Router) -> str:
    def raw(action: str, connection: socket.socket) -> bool:
        if action == "GetFirewallStatus":
            time.sleep(FOREVER)
        return action == "GetFirewallStatus"

    router.raw = raw
    return "did not answer within"


@pytest.mark.parametrize("case", [redirect, names, nothing_there, without_the_service, doctype, dripping, hanging, flood, hanging_status])
def test_a_description_that_cannot_be_used(router: Router, case: Callable[[Router], str]) -> None:
    words = case(router)
    result = call(router.home, method="upnp", mappings=[WEB])
    assert re.search(words, result["msg"]), result["msg"]
    assert ADVICE.search(result["msg"]), result["msg"]
    assert not router.ours


@pytest.mark.parametrize("action", ["AddPinhole", "GetPinholePackets"])
def test_an_answer_that_never_comes(router: Router, action: str) -> None:
    def raw(asked: str, connection: socket.socket) -> bool:
        if asked == action:
            time.sleep(FOREVER)
        return asked == action

    router.raw = raw
    result = call(router.home, method="upnp", mappings=[WEB])
    assert "did not answer within" in result["msg"] or "too slow" in result["msg"]
    # What may be open is recorded, so that it can be taken back once the router answers.
    router.raw = lambda asked, connection: False
    gone = call(router.home, method="upnp", state="absent")
    assert not gone.get("failed"), gone["msg"]
    assert not router.ours


def test_what_a_third_host_says_is_not_followed(router: Router) -> None:
    caught: list[bytes] = []
    near = inside(router.home.neighbour, partial(socket.create_server, (NEIGHBOUR6, HTTP), family=socket.AF_INET6))
    with RawServer(lambda request, connection: caught.append(request), listener=near):
        # The path is taken, the host is not.
        router.location = f"http://[{NEIGHBOUR6}]:{HTTP}/rootDesc.xml"
        router.control = f"http://[{NEIGHBOUR6}]:{HTTP}/ctl"
        assert call(router.home, method="upnp", mappings=[WEB])["changed"]
        assert call(router.home, method="upnp", state="absent")["changed"]
    assert caught == []


def test_a_third_host_that_answers_a_search_is_not_used(router: Router) -> None:
    router.search = list

    def member() -> socket.socket:
        opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        index = socket.if_nametoindex("eth0")
        opened.bind(("::", SSDP))
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, "ff02::c") + struct.pack("=I", index))
        return opened

    heard: list[bytes] = []
    caught: list[bytes] = []
    opened = inside(router.home.neighbour, member)
    near = inside(router.home.neighbour, partial(socket.create_server, (NEIGHBOUR6, HTTP), family=socket.AF_INET6))

    def answer(request: bytes) -> list[bytes]:
        heard.append(request)
        return [ssdp(f"http://[{NEIGHBOUR6}]:{HTTP}/rootDesc.xml", SERVICE), ssdp(f"http://[{ROUTER6}]:{HTTP}/rootDesc.xml", SERVICE)]

    with opened, RawServer(lambda request, connection: caught.append(request), listener=near):
        threading.Thread(target=_serve, args=(opened, answer), daemon=True).start()
        refused(router, "no WANIPv6FirewallControl of UPnP answered", "upnp")
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
    # It was asked and it answered; that did not count.
    assert heard
    assert caught == []
