# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prefix by which a network translates between IPv6 and IPv4 (NAT64), from what its resolver makes up (RFC 7050). Pure.

Private to this collection: no compatibility is promised to code outside it.
"""

from __future__ import annotations

import ipaddress

__all__ = ["WELL_KNOWN_NAME", "prefix_of"]

#: It has IPv4 addresses only. A resolver of a NAT64 network answers with IPv6 addresses that hold them.
WELL_KNOWN_NAME = "ipv4only.arpa"
_WELL_KNOWN = frozenset(ipaddress.IPv4Address(text).packed for text in ("192.0.0.170", "192.0.0.171"))
#: RFC 6052: where the bytes of the IPv4 address stand for each length; byte 8 is left out.
_PLACES = {96: (12, 13, 14, 15), 64: (9, 10, 11, 12), 56: (7, 9, 10, 11), 48: (6, 7, 9, 10), 40: (5, 6, 7, 9), 32: (4, 5, 6, 7)}


def prefix_of(address: str) -> str | None:
    """Return the prefix that an address of the well-known name was made with, None if it was not made up."""
    try:
        packed = ipaddress.IPv6Address(address).packed
    except ValueError:
        return None
    for length, places in _PLACES.items():
        if bytes(packed[place] for place in places) in _WELL_KNOWN:
            return str(ipaddress.IPv6Network((packed, length), strict=False))
    return None
