# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions that devices name, and the holes that were known in them. Data, and how it is read.

Private to this collection.

A banner proves nothing: distributions patch without changing the version, and makers keep a version for years. So a row says that a
version string is older than a fix, and no more. There is no row without a source.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NOTE = "this version string is older than the fix for {ids}; distributions patch without changing it"

#: When the rows were looked up.
DATE = "2026-11-24"


class Row(NamedTuple):
    """Versions below C(fixed) of a product have the hole; C(first) is the first that has it."""

    product: str
    first: tuple[int, ...]
    fixed: tuple[int, ...]
    ids: tuple[str, ...]
    severity: str
    source: str


class Support(NamedTuple):
    """A device that its maker no longer supports: what its banner or its product name holds, since when, and who says so."""

    pattern: str
    since: str
    source: str


_MINIUPNPD = r"MiniUPnPd/([0-9]+(?:\.[0-9]+)*)"
_LIBUPNP = r"Portable SDK for UPnP devices\s*/([0-9]+(?:\.[0-9]+)*)"

ROWS = (
    Row(_MINIUPNPD, (0,), (1, 4), ("CVE-2013-0229",), "high", "Rapid7, Security Flaws in Universal Plug and Play, 2013-01-29; UPnP Forum, 2013-02-08"),
    Row(_MINIUPNPD, (1, 0), (1, 1), ("CVE-2013-0230",), "critical", "Rapid7, Security Flaws in Universal Plug and Play, 2013-01-29"),
    Row(
        _MINIUPNPD,
        (0,),
        (2, 2),
        ("CVE-2019-12106", "CVE-2019-12107", "CVE-2019-12108", "CVE-2019-12109", "CVE-2019-12110", "CVE-2019-12111"),
        "medium",
        "NVD and Ubuntu USN-4542-1: MiniUPnPd through 2.1",
    ),
    Row(_MINIUPNPD, (0,), (2, 3, 10), ("CVE-2026-5720",), "medium", "NVD, 2026-04-17: miniupnpd before 2.3.10, by a host of the LAN"),
    Row(
        _LIBUPNP,
        (0,),
        (1, 6, 18),
        ("CVE-2012-5958", "CVE-2012-5959", "CVE-2012-5960", "CVE-2012-5961", "CVE-2012-5962", "CVE-2012-5963", "CVE-2012-5964", "CVE-2012-5965"),
        "critical",
        "CERT/CC VU#922681, 2013-01-29",
    ),
    Row(_LIBUPNP, (0,), (1, 14), ("CVE-2020-12695",), "medium", "pupnp 1.14.0, 2020, where UpnpInit, which cannot be fixed, was dropped"),
)

#: Empty on purpose: a row needs the maker's own page as its source.
SUPPORT: tuple[Support, ...] = ()


def versions(banner: str) -> list[tuple[str, tuple[int, ...], str]]:
    """Return the products of the table that a banner names: pattern, version, and the text as it stands."""
    found = []
    for pattern in dict.fromkeys(row.product for row in ROWS):
        for match in re.finditer(pattern, banner, re.IGNORECASE):
            found.append((pattern, tuple(int(part[:6]) for part in match.group(1).split(".")[:6]), match.group(0)))
    return found


def holes(banner: str) -> list[tuple[Row, str]]:
    """Return the rows that fit a banner, and what in it fits."""
    return [
        (row, text)
        for pattern, version, text in versions(banner)
        for row in ROWS
        if row.product == pattern and _padded(row.first) <= _padded(version) < _padded(row.fixed)
    ]


def unsupported(text: str, rows: tuple[Support, ...] = SUPPORT) -> list[Support]:
    """Return the rows of devices out of support that fit a banner or a product name."""
    return [row for row in rows if re.search(row.pattern, text, re.IGNORECASE)]


def _padded(version: tuple[int, ...]) -> tuple[int, ...]:
    return (*version, 0, 0, 0, 0, 0, 0)[:6]
