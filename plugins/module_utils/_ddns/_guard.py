# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse what must not stand in public DNS, and say what can be done instead.

Private to this collection. Pure, apart from one look at the addresses of this host.
"""

from __future__ import annotations

import socket
from typing import Callable

from .._address._classify import InvalidAddress, classify
from .._address._interfaces import NetlinkError, read_network
from ._result import NOT_PUBLIC, DdnsError

_BECAUSE = {
    "private": "it is an address of the home network; use the router's address (source 'router' or 'command'), or publish IPv6",
    "unique_local": "it is an address of the home network; publish an address that your provider announced",
    "shared_cgn": (
        "it is shared by many customers of your provider (carrier NAT), so dynamic DNS cannot help; "
        "ask your provider for a global address, publish IPv6, or use a tunnel"
    ),
    "link_local": "it is valid on one cable only; this host has got no real address yet",
    "loopback": "it means 'this host itself' for everybody who asks",
    "documentation": "it is an example from a manual; put your own address there",
}


def passing(address: str, family: str) -> str:
    """Return why an address of this host will not stay; empty if it is none of this host, or stays."""
    if family != "ipv6":
        return ""
    try:
        rows = [row for row in read_network().addresses if row.address == address]
    except NetlinkError:
        return ""
    for word in ("temporary", "deprecated", "tentative"):
        if any(getattr(row, word) for row in rows):
            return word
    return ""


def check_publishable(address: str, family: str, source: str, transient: Callable[[str, str], str] = passing) -> str:
    """Return the address in its usual form, if the whole Internet may be sent to it."""
    if not address.strip():
        raise DdnsError(NOT_PUBLIC, f"the address source {source!r} gave an empty {family} address; nothing is published for it")
    try:
        known = classify(address)
    except InvalidAddress as error:
        raise DdnsError(NOT_PUBLIC, f"the address source {source!r} gave {address[:80]!r}, which is no address: {error.reason}") from error
    if known.family != family:
        raise DdnsError(NOT_PUBLIC, f"the address source {source!r} gave {known.address} as {family}; it is {known.family}")
    if not known.publishable:
        reason = _BECAUSE.get(known.address_class, f"nobody can reach it ({known.iana_name or 'special purpose'}); publish a global address")
        raise DdnsError(NOT_PUBLIC, f"{known.address} (from source {source!r}, class {known.address_class}) is not published: {reason}")
    # DNS and the kernel have the usual form only: any other would be no address of this host, and never what the authorities have.
    kind = socket.AF_INET6 if family == "ipv6" else socket.AF_INET
    usual = socket.inet_ntop(kind, socket.inet_pton(kind, known.address))
    word = transient(usual, family)
    if word:
        raise DdnsError(NOT_PUBLIC, f"{known.address} (from source {source!r}) is not published: it is a {word} address of this host; give it a stable one")
    return usual
