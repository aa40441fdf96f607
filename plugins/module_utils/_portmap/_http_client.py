# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP client for one purpose: asking the router, and nobody else.

Private to this collection.

Any host of the LAN can answer a search with any address, so the client goes only where it is told (an IP literal, over http),
follows no redirect, knows no proxy, sends no credentials, reads a bounded number of bytes and ends at a deadline that a slow
sender cannot stretch.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from ._errors import AnswerError, GatewayError
from ._model import IPV4, IPV6

MAX_BODY = 64 * 1024
TIMEOUT = 3.0

_MAX_HEAD = 16 * 1024
_STATUS = re.compile(rb"HTTP/[0-9.]+ +([0-9]{3})")
_SAFE_PATH = re.compile(r"/[!-~]*\Z")


@dataclass(frozen=True)
class Url:
    """An address that may be asked: scheme http, host an IP literal; the scope is the interface of a link-local address, which nobody else needs to know."""

    host: str
    port: int
    path: str
    scope: str = ""

    @property
    def netloc(self) -> str:
        """Host and port, as they stand in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"http://{self.netloc}{self.path}"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def parse_url(text: str, allowed_host: str | None = None, family: str = IPV4) -> Url:
    """Check an address that came from outside.

    Args:
        text: the address.
        allowed_host: the only host that it may name; None if any will do.
        family: that of the host.
    """
    shown = text if len(text) <= 120 else text[:120] + "…"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise GatewayError(f"{shown!r} is not a usable address: {error}") from error
    if parts.scheme.lower() != "http":
        raise GatewayError(f"{shown!r} is not a usable address: only http:// is used with routers")
    if parts.username is not None or parts.password is not None:
        raise GatewayError(f"{shown!r} is not a usable address: it carries credentials")
    host = parts.hostname or ""
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0]) if family == IPV6 else ipaddress.IPv4Address(host)
    except ValueError:
        wanted = "IPv6" if family == IPV6 else "IPv4"
        raise GatewayError(f"{shown!r} is not a usable address: its host must be an {wanted} address, not a name") from None
    if port == 0:
        raise GatewayError(f"{shown!r} is not a usable address: port 0")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _SAFE_PATH.match(path):
        raise GatewayError(f"{shown!r} is not a usable address: its path has characters that a request cannot carry")
    if allowed_host is not None and str(address) != allowed_host:
        raise GatewayError(f"{shown!r} leads to another host than {allowed_host}, which answered; it is not followed")
    return Url(str(address), port or 80, path)


def resolve(base: Url, reference: str) -> Url:
    """Return where a reference in a document of the router leads; it must stay on the router."""
    try:
        text = urljoin(str(base), reference.strip())
    except ValueError as error:
        raise GatewayError(f"{reference[:120]!r} is not a usable address: {error}") from error
    if ":" in base.host:
        # A router has more than one IPv6 address. The one that answered is used, whatever a document names.
        found = parse_url(text, family=IPV6)
        return replace(base, port=found.port, path=found.path)
    return parse_url(text, allowed_host=base.host)


def get(url: Url, source: str | None = None, timeout: float = TIMEOUT) -> Reply:
    """Fetch a document."""
    return _exchange("GET", url, {}, b"", source, timeout)


def post(url: Url, headers: Mapping[str, str], body: bytes, source: str | None = None, timeout: float = TIMEOUT) -> Reply:
    """Send a document and return the answer."""
    return _exchange("POST", url, headers, body, source, timeout)


def request(method: str, url: Url, headers: Mapping[str, str], source: str | None = None, timeout: float = TIMEOUT) -> Reply:
    """Send a request without a body. A header C(Host) takes the place of the router's own address, to see whether it looks at it."""
    return _exchange(method, url, headers, b"", source, timeout)


def _exchange(method: str, url: Url, headers: Mapping[str, str], body: bytes, source: str | None, timeout: float) -> Reply:
    deadline = time.monotonic() + timeout
    lines = [
        f"{method} {url.path} HTTP/1.1",
        f"Host: {headers.get('Host', url.netloc)}",
        "User-Agent: homeserver.hardening UPnP/1.1",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    lines.extend(f"{name}: {value}" for name, value in headers.items() if name != "Host")
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise GatewayError(f"a request to {url} would carry a line break in its head")
    try:
        host = f"{url.host}%{url.scope}" if url.scope else url.host
        with socket.create_connection((host, url.port), timeout, (source, 0) if source else None) as connection:
            reader = _Reader(connection, deadline, url)
            # The time that connecting took does not come back.
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
            return _read_reply(reader, url)
    except socket.timeout:
        raise AnswerError(f"{url} did not answer within {timeout:.2g} s") from None
    except (ConnectionResetError, BrokenPipeError) as error:
        raise AnswerError(f"{url} broke the connection off: {error.strerror or error}") from error
    except OSError as error:
        raise AnswerError(f"{url} cannot be reached: {error.strerror or error}") from error


class _Reader:
    """Reads from a socket until a deadline."""

    def __init__(self, connection: socket.socket, deadline: float, url: Url) -> None:
        self._connection = connection
        self._deadline = deadline
        self._url = url
        self._buffer = b""
        self._ended = False

    def fill(self) -> bool:
        """Read some more; return False at the end."""
        if self._ended:
            return False
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise socket.timeout
        self._connection.settimeout(remaining)
        data = self._connection.recv(8192)
        self._ended = not data
        self._buffer += data
        return bool(data)

    def begins_with(self, mark: bytes) -> bool:
        """Whether this comes next; nothing is dropped."""
        while len(self._buffer) < len(mark) and mark.startswith(self._buffer) and self.fill():
            pass
        return self._buffer.startswith(mark)

    def until(self, mark: bytes, limit: int) -> bytes:
        """Return what stands before the mark and drop both."""
        while mark not in self._buffer:
            if len(self._buffer) > limit:
                raise AnswerError(f"{self._url} sends more than {limit} bytes where {mark!r} should have come")
            if not self.fill():
                raise AnswerError(f"{self._url} ended its answer too early")
        before, _mark, self._buffer = self._buffer.partition(mark)
        return before

    def exactly(self, size: int) -> bytes:
        """Return so many bytes, or fewer if the sender ended early."""
        while len(self._buffer) < size and self.fill():
            pass
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def rest(self, limit: int) -> bytes:
        """Return everything up to the end, which must come within the limit."""
        while len(self._buffer) <= limit and self.fill():
            pass
        if len(self._buffer) > limit:
            raise AnswerError(f"{self._url} sends more than {limit // 1024} KiB, which no router needs; the answer was dropped")
        return self._buffer


def _read_reply(reader: _Reader, url: Url) -> Reply:
    while True:
        if not reader.begins_with(b"HTTP/"):
            raise AnswerError(f"{url} does not answer with HTTP")
        head = reader.until(b"\r\n\r\n", _MAX_HEAD)
        first, *rest = head.split(b"\r\n")
        match = _STATUS.match(first)
        if not match:
            raise AnswerError(f"{url} does not answer with HTTP")
        status = int(match.group(1))
        # 100 (Continue) announces the real answer.
        if status >= 200:
            break
    headers = {}
    for line in rest:
        name, _colon, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if 300 <= status < 400:
        raise AnswerError(f"{url} answers with a redirect ({status}), which is not followed")
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding not in ("", "identity"):
        raise AnswerError(f"{url} sends its answer encoded as {encoding[:40]!r}, which was not asked for")
    too_much = AnswerError(f"{url} sends more than {MAX_BODY // 1024} KiB, which no router needs; the answer was dropped")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while True:
            size_text = reader.until(b"\r\n", 256).partition(b";")[0].strip()
            if not re.match(rb"[0-9a-fA-F]{1,8}\Z", size_text):
                raise AnswerError(f"{url} sends a malformed answer: {size_text[:20]!r} is not the size of a chunk")
            size = int(size_text, 16)
            if size == 0:
                return Reply(status, headers, body)
            if len(body) + size > MAX_BODY:
                raise too_much
            body += reader.exactly(size)
            reader.until(b"\r\n", 2)
    length = headers.get("content-length", "")
    if re.match(r"[0-9]{1,12}\Z", length):
        if int(length) > MAX_BODY:
            raise too_much
        return Reply(status, headers, reader.exactly(int(length)))
    return Reply(status, headers, reader.rest(MAX_BODY))
