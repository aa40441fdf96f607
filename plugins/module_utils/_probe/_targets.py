# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From hosts as people write them to addresses. Everything is checked before the first packet.

Private to this collection.
"""

from __future__ import annotations

import socket

from ._engine import Target
from ._ports import ProbeInputError, parse_ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
PROTOCOLS = ("tcp", "udp")


def make_targets(
    host: str,
    ports: object,
    protocol: str = "tcp",
    families: Sequence[str] | None = None,
    resolve: Callable[..., list[Any]] | None = None,
) -> list[Target]:
    """Return one target per address of a host, IPv4 first.

    Raises:
        ProbeInputError: bad ports, an unknown protocol or family, or a name without an address.
    """
    host = host.strip()
    if not host:
        raise ProbeInputError("host is empty: give a name or an address")
    if protocol not in PROTOCOLS:
        raise ProbeInputError(f"protocol {protocol!r} of {host} is unknown: give tcp or udp")
    unknown = [family for family in families or () if family not in FAMILIES]
    if unknown:
        raise ProbeInputError(f"family {unknown[0]!r} of {host} is unknown: give ipv4, ipv6 or both")
    try:
        port_set = parse_ports(ports)
    except ProbeInputError as error:
        raise ProbeInputError(f"target {host}: {error}") from None
    wanted = [FAMILIES[family] for family in ("ipv4", "ipv6") if not families or family in families]
    found = _literal(host)
    if found is not None:
        if found[0] not in wanted:
            raise ProbeInputError(f"{host} is not an address of {' or '.join(families or ())}: correct the address or the families")
        return [Target(host, found[1], found[0], protocol, port_set, found[2])]
    addresses = _resolve(host, wanted, families, resolve or socket.getaddrinfo)
    return [Target(host, address, family, protocol, port_set, scope) for family, address, scope in addresses]


def _literal(host: str) -> tuple[int, str, int] | None:
    bare, _percent, zone = host.partition("%")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            packed = socket.inet_pton(family, bare)
        except (OSError, ValueError):
            continue
        address = socket.inet_ntop(family, packed)
        _check_host(host, family, packed)
        if not zone:
            return family, address, 0
        if family == socket.AF_INET:
            raise ProbeInputError(f"host {host!r}: an IPv4 address has no zone: leave out {'%' + zone!r}")
        try:
            scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
        except OSError:
            raise ProbeInputError(f"host {host!r}: this host has no interface {zone!r}: name one of those that `ip link` lists") from None
        return family, f"{address}%{zone}", scope
    # All digits and dots, yet no address: never ask a resolver, some take 127.1 for an address.
    if bare.replace(".", "").isdigit():
        raise ProbeInputError(f"host {host!r} is neither a name nor an IPv4 address of four numbers from 0 to 255: correct it")
    return None


def _resolve(host: str, wanted: list[socket.AddressFamily], families: Sequence[str] | None, resolve: Callable[..., list[Any]]) -> list[tuple[int, str, int]]:
    family = wanted[0] if len(wanted) == 1 else socket.AF_UNSPEC
    try:
        answers = resolve(host, None, family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        what = f" of {families[0]}" if families and len(families) == 1 else ""
        raise ProbeInputError(f"host {host!r} has no address{what} ({reason}): correct the name, or this host's resolver") from None
    found: list[tuple[int, str, int]] = []
    for number in wanted:
        for answer in answers:
            sockaddr = answer[4]
            if answer[0] == number and isinstance(sockaddr, tuple):
                scope = sockaddr[3] if len(sockaddr) == 4 else 0
                entry = (int(number), str(sockaddr[0]), int(scope))
                _check_host(host, number, socket.inet_pton(number, entry[1].partition("%")[0]))
                if entry not in found:
                    found.append(entry)
    if not found:
        raise ProbeInputError(f"host {host!r} has no address of {' or '.join(families or FAMILIES)}: correct the name or the families")
    return found


def _check_host(host: str, family: int, packed: bytes) -> None:
    """Refuse addresses that no single host has. The kernel would take some of them for this host."""
    address = socket.inet_ntop(family, packed)
    what = f"host {host!r}" if host == address else f"host {host!r} ({address})"
    if not any(packed):
        raise ProbeInputError(f"{what} is the unspecified address, which no host has; filtering resolvers give it for blocked names: correct the host")
    if family == socket.AF_INET and (packed[0] >= 224 and packed[0] < 240 or packed == b"\xff" * 4) or family == socket.AF_INET6 and packed[0] == 0xFF:
        raise ProbeInputError(f"{what} is a multicast or broadcast address: give the address of one host")
    if family == socket.AF_INET6 and packed[:12] == b"\0" * 10 + b"\xff\xff":
        raise ProbeInputError(f"{what} is an IPv4 address in IPv6 clothes: write {socket.inet_ntop(socket.AF_INET, packed[12:])}")
