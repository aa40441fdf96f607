# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTPS request against servers that send whatever a test wants."""

from __future__ import annotations

import email.utils
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._driver import NotUnderstood, RetryLater
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._http import MAX_BODY, Call, fetch
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._ddns.fake_providers import Authority, make_authority

HEAD = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Answers each connection with the same pieces, with a pause after each."""

    def __init__(self, authority: Authority) -> None:
        self.pieces: Sequence[bytes] = ()
        self.pause = 0.0
        self.received = b""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.certificate("DNS:localhost"))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._socket.getsockname()[1]}/x?y=z"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _unused = self._socket.accept()
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self.received = connection.recv(65536)
                    for piece in self.pieces:
                        connection.sendall(piece)
                        time.sleep(self.pause)
            except ssl.SSLError:
                continue
            except OSError:
                if self._socket.fileno() < 0:
                    return

    def stop(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    server = Server(authority)
    yield server
    server.stop()


def test_request_and_answer(server: Server, authority: Authority) -> None:
    server.pieces = (HEAD + b"Transfer-Encoding: chunked\r\nRetry-After: 90\r\n\r\n", b"4\r\n go", b"o\r\n0\r\n\r\n")
    reply = fetch(Call(server.url, headers={"Authorization": "x"}, ca_file=authority.file))
    assert (reply.status, reply.body, reply.wait) == (200, "goo", 90)
    lines = server.received.decode().split("\r\n")
    assert lines[0] == "GET /x?y=z HTTP/1.1"
    assert sum(line.lower().startswith("user-agent:") for line in lines) == 1
    assert "Accept-Encoding: identity" in lines


@pytest.mark.parametrize(
    ("pieces", "error", "says"),
    [
        ([b""], RetryLater, "broke off"),
        ([HEAD + b"Content-Length: 100\r\n\r\ngood"], RetryLater, "broke off in the middle"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\ngood"], RetryLater, "broke off"),
        ([b"SSH-2.0-x\r\n\r\n"], NotUnderstood, "no HTTP"),
        ([HEAD + b"X: " + b"a" * 70000 + b"\r\n\r\n"], NotUnderstood, "no HTTP"),
        ([HEAD + b"a: b\r\n" * 200 + b"\r\n"], NotUnderstood, "no HTTP"),
        ([HEAD + b"\r\n" + b"a" * (MAX_BODY + 1)], NotUnderstood, "more than 65536 bytes"),
        ([HEAD + b"Content-Length: 99999999\r\n\r\n" + b"a" * (MAX_BODY + 1)], NotUnderstood, "more than 65536 bytes"),
    ],
)
def test_what_is_no_whole_answer(server: Server, authority: Authority, pieces: list[bytes], error: type[Exception], says: str) -> None:
    server.pieces = pieces
    with pytest.raises(error, match=says):
        fetch(Call(server.url, ca_file=authority.file))


@pytest.mark.parametrize("start", [b"", HEAD, HEAD + b"\r\n", HEAD + b"Content-Length: 1000\r\n\r\n"])
def test_an_answer_that_drips_ends_in_time(server: Server, authority: Authority, start: bytes) -> None:
    server.pieces, server.pause = [start, *[b"a"] * 100], 0.05
    started = time.monotonic()
    with pytest.raises(RetryLater, match="no whole answer within 0.5 s"):
        fetch(Call(server.url, ca_file=authority.file, timeout=0.5))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("0", 0, 0),
        ("120", 120, 120),
        ("999999999", 86400, 86400),
        ("-5", None, None),
        ("soon", None, None),
        (email.utils.formatdate(time.time() + 600, usegmt=True), 500, 600),
        (email.utils.formatdate(time.time() - 600, usegmt=True), 0, 0),
        ("Thu, 99 Foo 2026 00:00:00 GMT", None, None),
    ],
)
def test_retry_after(server: Server, authority: Authority, text: str, low: float | None, high: float | None) -> None:
    server.pieces = [b"HTTP/1.1 429 x\r\nRetry-After: " + text.encode() + b"\r\nContent-Length: 0\r\n\r\n"]
    wait = fetch(Call(server.url, ca_file=authority.file)).wait
    assert (wait is None) if low is None or high is None else (wait is not None and low <= wait <= high)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_encryption_is_refused(server: Server, authority: Authority) -> None:
    server._context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(RetryLater, match="nothing was sent") as caught:
        fetch(Call(server.url, ca_file=authority.file))
    assert not caught.value.sent
