# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _discovery as discovery
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._discovery import Answer, discover, parse_answer, search_message, usable_location
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import BadRequestError, GatewayError, NoGatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._links import Link
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import RawServer, drip, reply

IGD = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"


def test_search_message() -> None:
    text = search_message(IGD).decode()
    assert text.startswith("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n")
    assert text.endswith(f"ST: {IGD}\r\n\r\n")
    assert 'MAN: "ssdp:discover"' in text


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: http://192.0.2.1/d.xml\r\nSERVER: Linux\r\n\r\n", Answer("http://192.0.2.1/d.xml", "Linux")),
        (b"HTTP/1.1 200 OK\nLocation:http://192.0.2.1/d.xml\n", Answer("http://192.0.2.1/d.xml", "")),
        (b"http/1.0 200 OK\r\nlocation: a\r\nLOCATION: b\r\n\r\n", Answer("a", "")),
        (b"HTTP/1.1 404 Not Found\r\nLOCATION: a\r\n\r\n", None),
        (b"NOTIFY * HTTP/1.1\r\nLOCATION: a\r\n\r\n", None),
        (b"M-SEARCH * HTTP/1.1\r\nLOCATION: a\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nST: x\r\n\r\nLOCATION: a", None),
        (b"HTTP/1.1", None),
        (b"\xff\x00\r\n\r\n", None),
        (b"", None),
    ],
)
def test_parse_answer(data: bytes, answer: Answer | None) -> None:
    assert parse_answer(data) == answer


def test_only_the_sender_is_fetched() -> None:
    assert str(usable_location(Answer("http://192.0.2.1:5000/d.xml", ""), "192.0.2.1")) == "http://192.0.2.1:5000/d.xml"
    assert str(usable_location(Answer("http://203.0.113.9:80/d.xml", ""), "192.0.2.1")) == "http://192.0.2.1:80/d.xml"


@pytest.mark.parametrize("location", ["https://192.0.2.1/", "file:///etc/passwd", "http://router.lan/", "http://u:p@192.0.2.1/", "x"])
def test_locations_that_are_not_fetched(location: str) -> None:
    with pytest.raises(GatewayError):
        usable_location(Answer(location, ""), "192.0.2.1")


@pytest.mark.parametrize("text", ["router", "192.168.1", "192.168.1.1/24", "192.168.01.1", "fe80::1", ""])
def test_what_is_no_gateway(text: str) -> None:
    with pytest.raises(BadRequestError, match="neither an IPv4 address"):
        discovery.check_address(text)


class Responder:
    """A router that answers searches with the locations that it is told to, from a loopback address of its own."""

    def __init__(self) -> None:
        generator = random.SystemRandom()
        self.address = ".".join(["127", *(str(generator.randint(1, 254)) for _part in range(3))])
        self.locations: list[str] = []
        self.searches = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.address, discovery.PORT))
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def link(self) -> Link:
        return Link("lo", "127.0.0.1", self.address, ())

    def close(self) -> None:
        # Wakes the thread, so that the port is free at once.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.sendto(b"end", (self.address, discovery.PORT))

    def _run(self) -> None:
        with self._socket:
            while True:
                data, sender = self._socket.recvfrom(2048)
                if data == b"end":
                    return
                self.searches += 1
                for location in self.locations:
                    self._socket.sendto(f"HTTP/1.1 200 OK\r\nST: {IGD}\r\nLOCATION: {location}\r\n\r\n".encode(), sender)


@pytest.fixture
def responder() -> Iterator[Responder]:
    made = Responder()
    yield made
    made.close()


def device(service: str = "urn:schemas-upnp-org:service:WANIPConnection:1") -> bytes:
    return (
        f"<root><device><serviceList><service><serviceType>{service}</serviceType><controlURL>/ctl</controlURL></service></serviceList></device></root>"
    ).encode()


def answer_all(request: bytes, connection: socket.socket) -> None:
    """A router that knows its description and no more; that is enough to be good."""
    if request.startswith(b"GET"):
        connection.sendall(reply(device()))
    else:
        connection.sendall(reply(b"<errorCode>401</errorCode>", "500 Error"))


def find(responder: Responder, timeout: float = 3.0) -> str:
    return discover([responder.link], lambda address: True, timeout).describe().location


def test_the_first_good_answer_ends_the_search(responder: Responder) -> None:
    with RawServer(answer_all, responder.address) as server:
        responder.locations = [str(server.url), str(server.url)]
        start = time.monotonic()
        assert find(responder) == str(server.url)
        assert time.monotonic() - start < 0.3
        # Answers that say the same are asked once.
        assert sum(request.startswith(b"GET") for request in server.requests) == 1


def test_a_bad_answer_does_not_hide_a_good_one(responder: Responder) -> None:
    def slow(_request: bytes, connection: socket.socket) -> None:
        drip(connection, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000)

    with RawServer(slow, responder.address) as dripping, RawServer(answer_all, responder.address) as good:
        other = RawServer(lambda request, connection: connection.sendall(reply(device("urn:x:service:Other:1"))), responder.address)
        with other:
            responder.locations = [str(dripping.url), str(other.url), "https://x/", "http://127.0.0.1:1/", str(good.url)]
            start = time.monotonic()
            assert find(responder) == str(good.url)
            assert time.monotonic() - start < 1


def test_no_good_answer_is_explained_within_the_time(responder: Responder) -> None:
    evil = b"<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>" + device()
    with RawServer(lambda request, connection: connection.sendall(reply(evil)), responder.address) as server:
        responder.locations = [str(server.url)]
        start = time.monotonic()
        with pytest.raises(NoGatewayError, match="DOCTYPE") as caught:
            find(responder, 0.8)
        assert 0.7 < time.monotonic() - start < 1.5
    assert responder.address in str(caught.value)


def test_another_host_is_never_contacted(responder: Responder) -> None:
    with RawServer(answer_all, "127.0.0.1") as victim:
        responder.locations = [f"http://127.0.0.1:{victim.port}/rootDesc.xml"]
        with pytest.raises(NoGatewayError):
            find(responder, 0.8)
        assert victim.requests == []


def test_a_redirect_leads_nowhere(responder: Responder) -> None:
    with RawServer(answer_all, "127.0.0.1") as victim:
        moved = reply(b"", "302 Found", f"Location: http://127.0.0.1:{victim.port}/\r\n")
        with RawServer(lambda request, connection: connection.sendall(moved), responder.address) as server:
            responder.locations = [str(server.url)]
            with pytest.raises(NoGatewayError, match="redirect"):
                find(responder, 0.8)
        assert victim.requests == []


def test_a_flood_of_answers_is_bounded(responder: Responder) -> None:
    with RawServer(lambda request, connection: connection.sendall(reply(b"")), responder.address) as server:
        responder.locations = [f"http://{responder.address}:{server.port}/{number}" for number in range(400)]
        with pytest.raises(NoGatewayError):
            find(responder, 2.0)
        assert len(server.requests) <= 8


def test_silence_costs_the_time_and_no_more(responder: Responder) -> None:
    start = time.monotonic()
    with pytest.raises(NoGatewayError, match="within 0.6 s"):
        find(responder, 0.6)
    assert time.monotonic() - start < 1
    # Asked again, for more targets, because searches get lost.
    assert responder.searches > 2


def test_no_link_is_said() -> None:
    with pytest.raises(NoGatewayError, match="no default route"):
        discover([], lambda address: True, 1.0)
