# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Web services that answer with the address that they see.

Private to this collection: no compatibility is promised to code outside it.

What does not look like an address is not guessed at: a sign-in page or a proxy answers too.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from .._address._classify import InvalidAddress, classify
from ._sockets import Endpoint, EndpointError, Way

__all__ = ["EchoError", "EchoUrl", "fetch", "parse_answer", "parse_url"]

_MAX_BODY = 4096
_KEYS = ("ip", "address", "origin", "query", "ip_addr", "your_ip")


class EchoError(Exception):
    """No usable answer; the text says why."""


@dataclass(frozen=True)
class EchoUrl:
    """An address of such a service."""

    url: str
    endpoint: Endpoint
    path: str
    tls: bool


def parse_url(text: str, option: str = "echo_urls") -> EchoUrl:
    """Read a URL.

    Raises:
        EndpointError: it is not one that can be asked.
    """
    example = "write it like https://ip.example.org/"
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise EndpointError(f"{option} {text!r} is no URL ({error}); {example}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EndpointError(f"{option} {text!r} is no http or https URL; {example}")
    if parts.username is not None or parts.password is not None:
        raise EndpointError(f"{option} {text!r} carries a user or a password, which would be sent to an outside party and shown in results; leave it out")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    tls = parts.scheme == "https"
    return EchoUrl(text.strip(), Endpoint(parts.hostname, port or (443 if tls else 80)), path, tls)


def parse_answer(body: bytes, family: str) -> str:
    """Return the address in an answer: text that is an address and nothing else, or JSON that names it.

    Raises:
        EchoError: there is none, or one of the wrong family.
    """
    text = body.decode("utf-8", "replace").strip()
    found = text
    if text.startswith("{"):
        try:
            data = json.loads(text)
        except ValueError:
            data = {}
        found = next((str(data[key]) for key in _KEYS if key in data), text)
    try:
        address = classify(found)
    except InvalidAddress:
        raise EchoError(f"another answer than an address: {' '.join(text.split())[:60]!r}") from None
    if address.family != family:
        raise EchoError(f"the answer is of the wrong family: asked over {family}, it names {found}")
    return found


def fetch(way: Way, url: EchoUrl, family: str, address: str, deadline: float) -> tuple[str, str]:
    """Ask over one family and return (the address that was seen, this host's own).

    Raises:
        EchoError: there was no usable answer.
    """
    try:
        with way.open(family, socket.SOCK_STREAM) as plain:
            plain.connect_ex((address, url.endpoint.port))
            if not select.select([], [plain], [], max(0.0, deadline - time.monotonic()))[1]:
                raise EchoError("no answer in time")
            number = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number))
            own = str(plain.getsockname()[0])
            plain.settimeout(max(0.05, deadline - time.monotonic()))
            return parse_answer(_get(plain, url), family), own
    except ssl.SSLCertVerificationError as error:
        raise EchoError(f"another answer than that of {url.endpoint.host}: its certificate is not valid ({error.verify_message})") from None
    except (TimeoutError, socket.timeout):
        raise EchoError("no answer in time") from None
    except OSError as error:
        raise EchoError(f"cannot be asked: {error.strerror or error}") from None


def _get(plain: socket.socket, url: EchoUrl) -> bytes:
    connection = http.client.HTTPConnection(url.endpoint.host, url.endpoint.port)
    if url.tls:
        plain = ssl.create_default_context().wrap_socket(plain, server_hostname=url.endpoint.host)
    connection.sock = plain
    try:
        connection.request("GET", url.path, headers={"Accept": "text/plain, application/json", "User-Agent": "homeserver", "Connection": "close"})
        response = connection.getresponse()
        body = response.read(_MAX_BODY)
    except http.client.HTTPException as error:
        raise EchoError(f"another answer than HTTP: {error}"[:100]) from None
    finally:
        connection.close()
    if response.status != 200:
        where = response.getheader("Location")
        raise EchoError(f"another answer than an address: status {response.status}" + (f" to {where[:60]}" if where else ""))
    return body
