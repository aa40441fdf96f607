# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readings against servers on this host that answer, lie, or keep silent."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address._interfaces import Network
from ansible_collections.homeserver.hardening.plugins.module_utils._line._collect import MAX_TIMEOUT, METHODS, Observed, Request, RequestError, collect
from ansible_collections.homeserver.hardening.plugins.module_utils._line._parse import ParseError
from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import KINDS, Reading
from ansible_collections.homeserver.hardening.plugins.module_utils._line._stun import COOKIE

NOWHERE = Network([], [])
Answering = Callable[[bytes, "tuple[str, int]"], "list[bytes]"]


#: Made once with "openssl req -x509 -newkey ec … -days 36500 -addext subjectAltName=IP:127.0.0.1"; guards nothing but these tests.
CERTIFICATE = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgGPiUzLY1jG8PDld7
W64UR7/EZ3cLmXkut/uWlFFju46hRANCAAQyPQ39On63bptuUasJSH0s+HhaFMvY
3/DMgW/J7qdIMoux4FKhqQ28epHOTXhnoZ1/aEAF0bu2AIJlNVYGL/c3
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUGmg3BtzDwgLTlxXQksyNuLhACpcwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyNDA5MTQwM1oYDzIxMjYxMDMx
MDkxNDAzWjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQyPQ39On63bptuUasJSH0s+HhaFMvY3/DMgW/J7qdIMoux4FKhqQ28
epHOTXhnoZ1/aEAF0bu2AIJlNVYGL/c3o2QwYjAdBgNVHQ4EFgQU+9GiRvpyF51S
MQz+FWdiRTwpW9kwHwYDVR0jBBgwFoAU+9GiRvpyF51SMQz+FWdiRTwpW9kwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IAcFgks25xvPcDUYmCr543Fh9UBZifr2j4p4FdCDRBk8AiEAmeiYYp9qpnAGgF24
6dvwqvSrGiVbLZKEfXux/9qDFzM=
-----END CERTIFICATE-----
"""


def answer(data: bytes, client: tuple[str, int], address: str = "", transaction: bytes = b"", family: int = 1) -> bytes:
    port = struct.pack("!H", client[1] ^ (COOKIE >> 16))
    packed = bytes(a ^ b for a, b in zip(socket.inet_aton(address or client[0]), struct.pack("!I", COOKIE)))
    value = bytes([0, family]) + port + packed
    return struct.pack("!HHI", 0x0101, 12, COOKIE) + (transaction or data[8:20]) + struct.pack("!HH", 0x0020, len(value)) + value


@contextlib.contextmanager
def stun_server(answering: Answering, address: str = "127.0.0.1") -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((address, 0))
        opened.settimeout(0.05)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    data, client = opened.recvfrom(2048)
                except (TimeoutError, socket.timeout):
                    continue
                for packet in answering(data, client):
                    opened.sendto(packet, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{address}:{opened.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


@contextlib.contextmanager
def web_server(body: bytes, pause: float = 0.0, certificate: Path | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(pause)
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate for 127.0.0.1 and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_text(CERTIFICATE, encoding="ascii")
    return path


def readings(kind: str, **options: Any) -> list[Reading]:
    options.setdefault("timeout", 0.7)
    return [reading for reading in collect(Request(**options), NOWHERE) if reading.kind == kind]


def honest(data: bytes, client: tuple[str, int]) -> list[bytes]:
    return [answer(data, client)]


def test_two_servers_from_one_socket() -> None:
    with stun_server(honest) as one, stun_server(honest, "127.0.0.2") as other:
        found = readings("stun", stun_servers=[one, other])
    assert [reading.error for reading in found] == ["", ""]
    values = [dict(reading.value or {}) for reading in found]
    assert values[0]["local_port"] == values[1]["local_port"] == values[0]["mapped_port"]
    assert {value["server_address"] for value in values} == {"127.0.0.1", "127.0.0.2"}


@pytest.mark.parametrize(
    ("answering", "error"),
    [
        (lambda data, client: [answer(data, client, transaction=b"x" * 12)], "no answer"),
        (lambda data, client: [], "no answer"),
        (lambda data, client: [b"", b"\0" * 1500, data], "no answer"),
        (lambda data, client: [answer(data, client, family=2)], "malformed"),
        (lambda data, client: [answer(data, client)[:-4]], "claims 12 bytes"),
    ],
    ids=["other transaction", "silent", "rubbish", "other family", "cut"],
)
def test_a_bad_server_costs_only_its_own_reading(answering: Answering, error: str) -> None:
    with stun_server(answering) as bad, stun_server(honest, "127.0.0.2") as good:
        found = {reading.source.split()[1]: reading for reading in readings("stun", stun_servers=[bad, good])}
    assert error in found[bad].error and found[bad].value is None
    assert found[good].error == "" and found[good].value is not None


def test_answers_from_elsewhere_do_not_count() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.3", 0))

        def misdirect(data: bytes, client: tuple[str, int]) -> list[bytes]:
            stranger.sendto(answer(data, client, "44.1.1.1"), client)
            return []

        with stun_server(misdirect) as server:
            (found,) = readings("stun", stun_servers=[server])
    assert found.value is None and "no answer" in found.error


def test_the_same_server_twice_tells_nothing_new() -> None:
    with stun_server(honest) as one, stun_server(honest) as other:
        found = readings("stun", stun_servers=[one, other])
    assert sorted(bool(reading.value) for reading in found) == [False, True]
    assert any("same address" in reading.error for reading in found)


def test_names_that_do_not_resolve() -> None:
    (found,) = readings("stun", stun_servers=["no-such-name.invalid"])
    assert "no-such-name.invalid" in found.error


def test_ports() -> None:
    with stun_server(honest) as one:
        (found,) = readings("ports", stun_servers=[one])
    samples = dict(found.value or {})["samples"]
    assert len(samples) == 16 and all(local == mapped and server == "127.0.0.1" for local, mapped, server in samples)


def test_echo() -> None:
    with web_server(b"127.0.0.1\n") as url:
        (found,) = readings("echo", echo_urls=[url])
    value = dict(found.value or {})
    assert (value["mapped_address"], value["local_address"], value["family"], value["tls"]) == ("127.0.0.1", "127.0.0.1", "ipv4", False)


def test_echo_without_an_address() -> None:
    with web_server(b"<html>Please sign in") as url:
        (found,) = readings("echo", echo_urls=[url])
    assert found.value is None and "another answer" in found.error


def test_echo_over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with web_server(b"127.0.0.1\n", certificate=certificate) as url:
        (found,) = readings("echo", echo_urls=[url], timeout=2.0)
    assert found.error == "" and dict(found.value or {})["tls"] is True


def test_a_certificate_of_somebody_else_is_no_answer(certificate: Path) -> None:
    with web_server(b"127.0.0.1\n", certificate=certificate) as url:
        (found,) = readings("echo", echo_urls=[url], timeout=2.0)
    assert found.value is None and "another answer" in found.error and "certificate" in found.error


def test_a_slow_server_does_not_hold_up_the_end() -> None:
    with web_server(b"127.0.0.1", pause=1.5) as url:
        start = time.monotonic()
        (found,) = readings("echo", echo_urls=[url], timeout=0.6)
        elapsed = time.monotonic() - start
    assert elapsed < 0.9
    assert found.value is None and "no answer" in found.error


def test_it_ends_with_the_last_answer() -> None:
    with stun_server(honest) as one, web_server(b"127.0.0.1") as url:
        start = time.monotonic()
        collect(Request([one], [url], timeout=MAX_TIMEOUT, methods=["stun", "echo", "ports"]), NOWHERE)
        assert time.monotonic() - start < 1


def test_nothing_is_asked_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found = collect(Request(timeout=0.5), NOWHERE)
    assert {reading.kind for reading in found} <= {"interfaces", "platform"}
    with_helpers = collect(Request(["stun.example.org"], ["https://ip.example.org/"], methods=[], timeout=0.5), NOWHERE)
    assert {reading.kind for reading in with_helpers} <= {"interfaces", "platform"}


def test_what_the_user_says() -> None:
    text = "2: eth0: <UP,LOWER_UP>\n    inet 192.168.1.5/24 scope global eth0\n"
    seen = [{"time": "2026-01-01T00:00:00Z", "ipv4": "44.1.1.1", "ipv6_prefix": None}]
    said = Observed(text, "100.64.1.1", True, [{"family": "ipv6", "protocol": "tcp", "port": 443}], seen)
    found = {reading.kind: reading for reading in collect(Request(observed=said, methods=[]), NOWHERE)}
    assert {"interfaces", "wan", "told", "inbound"} <= set(found)
    assert found["interfaces"].source == "observed.interfaces"
    assert found["history"].value == {"entries": seen}
    assert dict(found["wan"].value or {})["address"] == "100.64.1.1"
    assert set(found) <= set(KINDS)


def test_history(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    entries = [{"time": "2026-01-01T00:00:00Z", "ipv4": "44.1.1.1"}]
    for text, good in ((json.dumps({"entries": entries}), True), (json.dumps(entries), True), ("{", False), ("{}", False), ("[1]", False), ('"x"', False)):
        path.write_text(text)
        (found,) = readings("history", history=str(path), methods=[])
        assert (found.value == {"entries": entries}) is good
        assert bool(found.error) is not good
    (found,) = readings("history", history=str(tmp_path / "missing"), methods=[])
    assert "cannot be read" in found.error


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"timeout": 0.1}, "0.5 to 30"),
        ({"timeout": 31.0}, "0.5 to 30"),
        ({"stun_servers": ["host:0"]}, "stun_servers 'host:0'"),
        ({"echo_urls": ["host"]}, "echo_urls 'host'"),
        ({"stun_servers": [f"h{number}" for number in range(9)]}, "more than 8"),
        ({"interface": "eth99"}, "interface 'eth99' does not exist"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        collect(Request(**options), NOWHERE)


def test_pasted_rubbish() -> None:
    with pytest.raises(ParseError):
        collect(Request(observed=Observed("rubbish")), NOWHERE)


def test_methods_are_documented_by_their_names() -> None:
    assert len(set(METHODS)) == len(METHODS)
