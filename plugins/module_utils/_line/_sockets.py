# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets that leave by the interface of the line.

Private to this collection: no compatibility is promised to code outside it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Endpoint", "EndpointError", "Way", "local_address", "parse_endpoint", "resolve"]

_SO_BINDTODEVICE = 25
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


class EndpointError(ValueError):
    """An option names no host and port. The message names the value, the reason and the fix."""


@dataclass(frozen=True)
class Endpoint:
    """A host and a port that somebody configured."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Way:
    """How to leave this host: by which interface, None for the one that the routing table says."""

    interface: str | None = None

    def open(self, family: str, kind: int, ttl: int | None = None) -> socket.socket:
        """Return a non-blocking socket.

        Raises:
            OSError: it cannot be bound to the interface, or the family is not available.
        """
        opened = socket.socket(FAMILIES[family], kind | socket.SOCK_CLOEXEC)
        try:
            opened.setblocking(False)
            if self.interface:
                opened.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, self.interface.encode() + b"\0")
            if ttl is not None:
                opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        except BaseException:
            opened.close()
            raise
        return opened


def parse_endpoint(text: str, option: str, default_port: int) -> Endpoint:
    """Read C(host:port), C([address]:port), C(host) or an address.

    Raises:
        EndpointError: it is none of them.
    """
    rest, port = text.strip(), ""
    example = f"write it like stun.example.org:{default_port} or [2001:db8::1]:{default_port}"
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise EndpointError(f"{option} {text!r} has an opening bracket without a closing one before the port; {example}")
        port = tail[1:]
    elif rest.count(":") == 1:
        host, _colon, port = rest.partition(":")
    else:
        host = rest
    if not host or "/" in host or any(character.isspace() for character in host):
        raise EndpointError(f"{option} {text!r} names no host; {example}")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise EndpointError(f"{option} {text!r} has the port {port!r}, which is not a number from 1 to 65535; {example}")
    return Endpoint(host, int(port) if port else default_port)


def resolve(endpoint: Endpoint, deadline: float) -> dict[str, str]:
    """Return the first address of each family, by the resolver of this host.

    Raises:
        OSError: there is none, or no answer in time.
    """
    found: list[Sequence[tuple[int, str]] | OSError] = []

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM)
            found.append([(row[0], str(row[4][0])) for row in rows])
        except (OSError, UnicodeError) as error:
            found.append(error if isinstance(error, OSError) else OSError(str(error)))

    # The library's resolver has no deadline of its own.
    _in_time(ask, deadline)
    if not found:
        raise OSError(f"the name {endpoint.host} was not resolved in time")
    result = found[0]
    if isinstance(result, OSError):
        raise OSError(f"the name {endpoint.host} cannot be resolved: {result.strerror or result}")
    addresses: dict[str, str] = {}
    for number, address in result:
        for family, constant in FAMILIES.items():
            if constant == number:
                addresses.setdefault(family, address)
    return addresses


def _in_time(ask: Callable[[], None], deadline: float) -> None:
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))


def local_address(way: Way, family: str, address: str, port: int) -> str | None:
    """Return the address that this host would send from, None if it could not send at all. Nothing is sent."""
    try:
        with way.open(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))
            return str(probe.getsockname()[0])
    except OSError:
        return None
