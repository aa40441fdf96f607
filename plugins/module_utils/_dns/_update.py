# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates of a zone (RFC 2136): replace record sets, all or none, and only if they still are what was read.

Private to this collection. Pure.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from ._name import Name
from ._wire import (
    CLASS_ANY,
    CLASS_IN,
    CLASS_NONE,
    OPCODE_UPDATE,
    TYPE_A,
    TYPE_AAAA,
    TYPE_SOA,
    Message,
    Question,
    Record,
    WireError,
)


@dataclass(frozen=True)
class Replacement:
    """One record set of one name: what it must be now, and what it becomes.

    Attributes:
        rtype: the type, A or AAAA.
        before: the addresses that were read; the server refuses the whole update if they are others by now. None asks for nothing.
        after: the addresses that it gets; none removes it.
        ttl: the TTL of the new records.
    """

    rtype: int
    before: Sequence[str] | None
    after: Sequence[str]
    ttl: int


def address_rdata(rtype: int, address: str) -> bytes:
    """Return the data of an address record."""
    family = {TYPE_A: socket.AF_INET, TYPE_AAAA: socket.AF_INET6}.get(rtype)
    if family is None:
        raise WireError(f"records of type {rtype} hold no address")
    try:
        # Not ipaddress: before Python 3.9.5 it takes leading zeros, and means something else by them than others do.
        return socket.inet_pton(family, address)
    except (OSError, ValueError) as error:
        raise WireError(f"{address!r} is no address for a record of type {rtype}") from error


def make_update(ident: int, zone: Name, name: Name, replacements: Sequence[Replacement]) -> Message:
    """Return one message with all replacements.

    Each type has its own removal and additions, so a missing IPv6 address never takes away the IPv4 one. The server executes a
    message as a whole: nobody sees a name without address in between.
    """
    message = Message(ident, OPCODE_UPDATE << 11, [Question(zone, TYPE_SOA)])
    for item in replacements:
        if item.before is not None:
            if item.before:
                # The set exists and holds exactly these records; a prerequisite's TTL is zero.
                message.answers.extend(Record(name, item.rtype, 0, address_rdata(item.rtype, text), CLASS_IN) for text in item.before)
            else:
                message.answers.append(Record(name, item.rtype, 0, b"", CLASS_NONE))
        message.authorities.append(Record(name, item.rtype, 0, b"", CLASS_ANY))
        message.authorities.extend(Record(name, item.rtype, item.ttl, address_rdata(item.rtype, text), CLASS_IN) for text in item.after)
    return message
