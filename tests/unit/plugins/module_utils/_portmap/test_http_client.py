# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import time

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _http_client as http_client
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import GatewayError
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import RawServer, drip, reply


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://192.0.2.1:5000/a/b.xml", http_client.Url("192.0.2.1", 5000, "/a/b.xml")),
        ("HTTP://192.0.2.1", http_client.Url("192.0.2.1", 80, "/")),
        ("http://192.0.2.1/x?y=1#z", http_client.Url("192.0.2.1", 80, "/x?y=1")),
    ],
)
def test_good_addresses(text: str, url: http_client.Url) -> None:
    assert http_client.parse_url(text) == url
    assert http_client.parse_url(text, allowed_host="192.0.2.1") == url


@pytest.mark.parametrize(
    "text",
    [
        "https://192.0.2.1/",
        "ftp://192.0.2.1/",
        "file:///etc/passwd",
        "gopher://192.0.2.1/",
        "http://router.lan/",
        "http://localhost/",
        "http://[fe80::1]/",
        "http://3221225985/",
        "http://0300.0.2.1/",
        "http://192.0.2.1:99999/",
        "http://192.0.2.1:0/",
        "http://192.0.2.1:port/",
        "http://user:secret@192.0.2.1/",
        "http://192.0.2.2@192.0.2.1/",
        "http://192.0.2.1/a b",
        "http://192.0.2.1/\u00e4",
        "//192.0.2.1/",
        "192.0.2.1",
        "",
        "http://",
        "http://[::1",
    ],
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(GatewayError):
        http_client.parse_url(text)


@pytest.mark.parametrize(
    ("reference", "path"), [("/ctl", "/ctl"), ("ctl", "/dir/ctl"), ("http://192.0.2.1:7777/x", "/x"), ("//192.0.2.1/y", "/y"), ("?a", "/dir/desc.xml?a")]
)
def test_references_stay_on_the_router(reference: str, path: str) -> None:
    assert http_client.resolve(http_client.Url("192.0.2.1", 80, "/dir/desc.xml"), reference).path == path


@pytest.mark.parametrize("reference", ["http://192.0.2.2/ctl", "//192.0.2.2/ctl", "https://192.0.2.1/ctl", "http://127.0.0.1/", "http://169.254.169.254/"])
def test_references_to_others_are_refused(reference: str) -> None:
    with pytest.raises(GatewayError):
        http_client.resolve(http_client.Url("192.0.2.1", 80, "/desc.xml"), reference)


def test_request_and_reply() -> None:
    with RawServer(lambda request, connection: connection.sendall(reply(b"body", head="X-Y:  z \r\n"))) as server:
        got = http_client.get(server.url, "127.0.0.1")
    assert (got.status, got.body, got.headers["x-y"]) == (200, b"body", "z")
    head = server.requests[0]
    assert head.startswith(b"GET /rootDesc.xml HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in head
    # Routers show an older version of themselves to this word.
    assert b"Microsoft" not in head


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\nhello",
    ],
)
def test_ways_to_send_a_body(answer: bytes) -> None:
    with RawServer(lambda request, connection: connection.sendall(answer)) as server:
        assert http_client.get(server.url).body == b"hello"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect"])
def test_redirects_are_not_followed(status: str) -> None:
    with RawServer(lambda request, connection: connection.sendall(reply(b"", status, "Location: http://127.0.0.1:1/\r\n"))) as server:
        with pytest.raises(GatewayError, match="redirect"):
            http_client.get(server.url)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n",
        b"HTTP/1.1 200 OK\r\nX: ",
    ],
)
def test_a_flood_is_dropped(head: bytes) -> None:
    def flood(_request: bytes, connection: socket.socket) -> None:
        connection.sendall(head)
        for _round in range(1000):
            connection.sendall(b"x" * 65536)

    with RawServer(flood) as server, pytest.raises(GatewayError, match="more than"):
        http_client.get(server.url)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000, b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b"x" * 900, b"HTTP/" + b"x" * 1000]
)
def test_a_slow_sender_cannot_stretch_the_deadline(data: bytes) -> None:
    start = time.monotonic()
    with RawServer(lambda request, connection: drip(connection, data)) as server, pytest.raises(GatewayError, match="did not answer within"):
        http_client.get(server.url, timeout=0.4)
    assert time.monotonic() - start < 1.5


def test_a_sender_that_falls_silent_cannot_stretch_the_deadline() -> None:
    def start_late(_request: bytes, connection: socket.socket) -> None:
        time.sleep(0.5)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        time.sleep(2)

    start = time.monotonic()
    with RawServer(start_late) as server, pytest.raises(GatewayError, match="did not answer within"):
        http_client.get(server.url, timeout=0.7)
    assert time.monotonic() - start < 1.0


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x" * 500])
def test_an_encoding_that_was_not_asked_for(encoding: str) -> None:
    answer = reply(b"\x1f\x8b\x08", head=f"Content-Encoding: {encoding}\r\n")
    with RawServer(lambda request, connection: connection.sendall(answer)) as server, pytest.raises(GatewayError, match=encoding[:40]) as caught:
        http_client.get(server.url)
    assert len(str(caught.value)) < 200


def test_a_page_without_a_head_is_dropped_at_once() -> None:
    def page(_request: bytes, connection: socket.socket) -> None:
        connection.sendall(b"<html>")
        time.sleep(2)

    start = time.monotonic()
    with RawServer(page) as server, pytest.raises(GatewayError, match="does not answer with HTTP"):
        http_client.get(server.url)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_what_is_no_http(data: bytes) -> None:
    with RawServer(lambda request, connection: connection.sendall(data)) as server, pytest.raises(GatewayError):
        http_client.get(server.url)


def test_a_closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(GatewayError, match="cannot be reached"):
        http_client.get(http_client.Url("127.0.0.1", port, "/"))


def test_proxies_of_the_environment_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    with RawServer(lambda request, connection: connection.sendall(reply(b"direct"))) as server:
        assert http_client.get(server.url).body == b"direct"


def test_line_breaks_cannot_be_smuggled() -> None:
    with pytest.raises(GatewayError, match="line break"):
        http_client.post(http_client.Url("127.0.0.1", 1, "/"), {"SOAPAction": "x\r\nEvil: 1"}, b"")


def test_the_host_can_be_another_one_to_see_whether_it_is_looked_at() -> None:
    with RawServer(lambda _request, connection: connection.sendall(reply(b"", "404 Not Found"))) as server:
        answer = http_client.request("GET", server.url, {"Host": "rebind.example:1"})
        assert http_client.get(server.url).status == 404
    assert answer.status == 404
    hosts = [line for request in server.requests for line in request.split(b"\r\n") if line.lower().startswith(b"host:")]
    assert hosts == [b"Host: rebind.example:1", f"Host: {server.host}:{server.port}".encode()]


def test_ipv6_addresses_stand_in_brackets() -> None:
    assert str(http_client.Url("2001:db8::1", 5000, "/x")) == "http://[2001:db8::1]:5000/x"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://[2a00:77::1]:5000/a", http_client.Url("2a00:77::1", 5000, "/a")),
        ("http://[fe80::1%25eth0]:5000/a", http_client.Url("fe80::1", 5000, "/a")),
        ("http://[FE80:0::1]", http_client.Url("fe80::1", 80, "/")),
    ],
)
def test_addresses_over_ipv6(text: str, url: http_client.Url) -> None:
    assert http_client.parse_url(text, family="ipv6") == url


@pytest.mark.parametrize(
    "text", ["http://192.0.2.1/", "http://router.lan/", "https://[::1]/", "http://[::1]:0/", "http://u:p@[::1]/", "http://[x]/", "http://::1/"]
)
def test_bad_addresses_over_ipv6(text: str) -> None:
    with pytest.raises(GatewayError):
        http_client.parse_url(text, family="ipv6")


@pytest.mark.parametrize("reference", ["/ctl/x", "ctl/x", "http://[fe80::1]:5000/ctl/x", "http://[2a00:99::1]:5000/ctl/x"])
def test_a_reference_over_ipv6_stays_at_the_address_that_answered(reference: str) -> None:
    base = http_client.Url("fe80::1", 5000, "/rootDesc.xml", "eth0")
    assert http_client.resolve(base, reference) == http_client.Url("fe80::1", 5000, "/ctl/x", "eth0")
    assert str(base) == "http://[fe80::1]:5000/rootDesc.xml"


def test_a_request_over_ipv6() -> None:
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    with RawServer(lambda request, connection: connection.sendall(reply(b"yes")), listener=listener) as server:
        assert http_client.get(http_client.Url(server.host, server.port, "/x"), "::1").body == b"yes"
        assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]
