# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTPS request and its answer. Certificates are verified, always; redirects are not followed; size and time are bounded.

Private to this collection. No proxy is used, whatever the environment says: some providers publish the address that the request comes from.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import http.client
import re
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ._driver import NotUnderstood, RetryLater
from ._result import CONFIG, DdnsError

#: Seconds for a connection, and for everything.
CONNECT_TIMEOUT, TIMEOUT = 8.0, 20.0
MAX_BODY = 65536
USER_AGENT = "homeserver.hardening ddns/Linux-0.1"

_MAX_WAIT = 86400.0
_MAX_ADDRESSES = 4
_FAMILIES = {"": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


@dataclass(frozen=True)
class Call:
    """What is asked.

    Attributes:
        url: may hold a secret, so it stands in no message.
        family: the family to connect by; empty for any.
        source: the address to connect from, if this host has it; empty for any.
        ca_file: who may sign the server's certificate; empty for those that the system trusts.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    family: str = ""
    source: str = ""
    ca_file: str = ""
    timeout: float = TIMEOUT

    @property
    def host(self) -> str:
        """The server, as it is named in messages."""
        return urllib.parse.urlsplit(self.url).netloc


@dataclass(frozen=True)
class Reply:
    """What was answered; C(wait) is what the server asks to wait for, in seconds."""

    status: int
    body: str
    wait: float | None = None
    location: str = ""


def fetch(call: Call) -> Reply:
    """Ask; whatever prevents an answer is raised as what it means for the next try."""
    with _opened(call) as connection, _bounded(connection, call.timeout) as expired:
        try:
            parts = urllib.parse.urlsplit(call.url)
            target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            connection.request(call.method, target, call.body, {"User-Agent": USER_AGENT, "Accept": "*/*", **call.headers})
            response = connection.getresponse()
            data = response.read(MAX_BODY + 1)
        except (OSError, http.client.HTTPException) as error:
            if expired.is_set() or isinstance(error, socket.timeout):
                raise RetryLater(f"{call.host} gave no whole answer within {call.timeout:g} s") from error
            if isinstance(error, (OSError, http.client.RemoteDisconnected, http.client.IncompleteRead)):
                raise RetryLater(f"{call.host} broke off without a whole answer ({_reason(error)})") from error
            raise NotUnderstood(f"{call.host} sent an answer that is no HTTP ({type(error).__name__})") from error
        # A connection that was shut down in the middle of an answer without a length looks like its end.
        if expired.is_set():
            raise RetryLater(f"{call.host} gave no whole answer within {call.timeout:g} s")
        if response.length and len(data) <= MAX_BODY:
            raise RetryLater(f"{call.host} broke off in the middle of its answer")
        if len(data) > MAX_BODY:
            raise NotUnderstood(f"{call.host} sent more than {MAX_BODY} bytes; no provider does")
        location = urllib.parse.urlsplit(response.headers.get("Location", "")).hostname or ""
        return Reply(response.status, data.decode("utf-8", "replace").strip(), _wait(response.headers.get("Retry-After")), location)


def try_connection(call: Call) -> None:
    """Connect, verify the certificate, and send nothing."""
    with _opened(call):
        pass


@contextlib.contextmanager
def _opened(call: Call) -> Iterator[http.client.HTTPSConnection]:
    """Return a connection over which nothing was sent yet."""
    parts = urllib.parse.urlsplit(call.url)
    host, port = parts.hostname or "", parts.port or 443
    context = _context(call.ca_file)
    connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT, context=context)
    try:
        plain = _connect(call, host, port)
        try:
            connection.sock = context.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            text = f"the certificate of {call.host} is not accepted ({error.verify_message}); nothing was sent"
            raise RetryLater(f"{text}. For a private server, give the file of its authority; else somebody may be in between", sent=False) from error
        except OSError as error:
            plain.close()
            raise RetryLater(f"no secure connection to {call.host} ({_reason(error)}); nothing was sent", sent=False) from error
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def _bounded(connection: http.client.HTTPSConnection, timeout: float) -> Iterator[threading.Event]:
    """End the connection when the time is over; a timeout of the socket alone would begin anew with each byte."""
    expired = threading.Event()
    sock = connection.sock

    def end() -> None:
        expired.set()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    sock.settimeout(timeout)
    timer = threading.Timer(timeout, end)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise DdnsError(CONFIG, f"ca_file is {ca_file!r}: it cannot be read as certificates ({_reason(error)})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _connect(call: Call, host: str, port: int) -> socket.socket:
    where = f"{call.host} over {call.family}" if call.family else call.host
    try:
        found = socket.getaddrinfo(host, port, _FAMILIES[call.family], socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RetryLater(f"the name of {where} cannot be resolved ({_reason(error)}); nothing was sent", sent=False) from error
    deadline = time.monotonic() + CONNECT_TIMEOUT * 2
    reasons: list[str] = []
    for family, kind, protocol, _unused, address in found[:_MAX_ADDRESSES]:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            # A kernel without IPv6 resolves IPv6 addresses nevertheless.
            reasons.append(_reason(error))
            continue
        try:
            sock.settimeout(min(CONNECT_TIMEOUT, left))
            if call.source:
                _bind(sock, call)
            sock.connect(address)
        except OSError as error:
            sock.close()
            reasons.append(_reason(error))
            continue
        except DdnsError:
            sock.close()
            raise
        return sock
    raise RetryLater(f"{where} cannot be reached ({', '.join(dict.fromkeys(reasons)) or 'no address'}); nothing was sent", sent=False)


def _bind(sock: socket.socket, call: Call) -> None:
    """Speak from the address that shall be published, because it is what the provider sees that counts."""
    try:
        sock.bind((call.source, 0))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        # Behind NAT the router has it. There is none with IPv6: from another address, another address would be published.
        if call.family == "ipv6":
            raise RetryLater(f"this host does not have {call.source} (any more); nothing was sent", sent=False) from error


def _wait(text: str | None) -> float | None:
    """Read C(Retry-After): seconds, or a date."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII):
        return min(float(text), _MAX_WAIT)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return min(max(0.0, moment - time.time()), _MAX_WAIT)


def _reason(error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "TLS")
    return str(getattr(error, "strerror", None) or type(error).__name__)
