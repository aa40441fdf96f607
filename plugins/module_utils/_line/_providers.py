# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is documented of providers' lines. Data only.

Private to this collection.

Every row has a source, the date of what the source says (or of when it was read), and whether it was read (C(doc)) or seen on a real line (C(real)).
Contracts change: a row is a reason to ask the provider, no proof.
"""

from __future__ import annotations

from typing import Any

__all__ = ["PROVIDERS", "provider"]

#: address: public, shared (MAP-E), carrier_nat, private. options: names of ways. closed_outbound: ports that cannot be reached from such a line.
PROVIDERS: tuple[dict[str, Any], ...] = (
    {
        "name": "v6plus",
        "aliases": ("jpne", "v6プラス"),
        "address": "shared",
        "closed_outbound": (),
        "options": ("provider_global_address",),
        "note": "240 ports of a shared address; the variant with a fixed IPv4 address has all ports",
        "source": "https://conagi.jp/content/?p=902",
        "date": "2024-03-01",
        "verified": "doc",
    },
    {
        "name": "xpass",
        "aliases": ("クロスパス",),
        "address": "carrier_nat",
        "closed_outbound": (),
        "options": ("provider_global_address",),
        "note": "DS-Lite; the variant with a fixed IPv4 address has all ports",
        "source": "https://conagi.jp/content/?p=902",
        "date": "2024-03-01",
        "verified": "doc",
    },
    {
        "name": "ocn_virtual_connect",
        "aliases": ("ocn",),
        "address": "shared",
        "closed_outbound": (25,),
        "options": (),
        "note": "1008 ports of a shared address; port 25 outwards is closed from dynamic addresses",
        "source": "https://service.ocn.ne.jp/ (op25b.html), tables of MAP-E rules",
        "date": "2025-06-08",
        "verified": "doc",
    },
    {
        "name": "biglobe_ipv6_option",
        "aliases": ("biglobe",),
        "address": "shared",
        "closed_outbound": (),
        "options": (),
        "note": "240 ports of a shared address",
        "source": "https://ipv4.web.fc2.com/map-e.html",
        "date": "2025-06-08",
        "verified": "doc",
    },
    {
        "name": "transix",
        "aliases": (),
        "address": "carrier_nat",
        "closed_outbound": (),
        "options": (),
        "note": "DS-Lite: nothing comes in over IPv4",
        "source": "https://github.com/ikm-san/openwrt (calib.lua)",
        "date": "2025-06-08",
        "verified": "doc",
    },
    {
        "name": "uq_wimax",
        "aliases": ("uq wimax", "wimax"),
        "address": "private",
        "closed_outbound": (),
        "options": ("provider_global_address",),
        "note": "private addresses by default; a global address is sold as an option",
        "source": "https://medier.net/internet/?p=575",
        "date": "2026-11-24",
        "verified": "doc",
    },
    {
        "name": "iijmio",
        "aliases": ("iij",),
        "address": "unknown",
        "closed_outbound": (25,),
        "options": (),
        "note": "port 25 outwards is closed to all destinations on FiberAccess, IIJmio Hikari and IIJmio mobile since 2006-11-21",
        "source": "https://www.iijmio.jp/guide/care/op25b",
        "date": "2006-11-21",
        "verified": "doc",
    },
    {
        "name": "interlink",
        "aliases": (),
        "address": "unknown",
        "closed_outbound": (25,),
        "options": ("provider_global_address",),
        "note": "port 25 outwards is closed from dynamic addresses only; plans with a fixed address are exempt",
        "source": "https://faq.interlink.or.jp/ (id=960)",
        "date": "2019-01-01",
        "verified": "doc",
    },
    {
        "name": "ymobile",
        "aliases": ("y!mobile",),
        "address": "unknown",
        "closed_outbound": (25,),
        "options": (),
        "note": "port 25 outwards is closed",
        "source": "https://www.ymobile.jp/ (faq 20885)",
        "date": "2026-11-24",
        "verified": "doc",
    },
    {
        "name": "comcast",
        "aliases": ("xfinity",),
        "address": "unknown",
        "closed_outbound": (25,),
        "options": (),
        "note": "port 25 outwards is closed for homes by default since 2012-08-01, opened on request",
        "source": "https://corporate.comcast.com/ (Updated Management of SMTP Port 25)",
        "date": "2012-08-01",
        "verified": "doc",
    },
)


def provider(name: str | None) -> dict[str, Any] | None:
    """Return what is documented of a provider or service, None if nothing is."""
    wanted = (name or "").strip().lower().replace("-", "_")
    for row in PROVIDERS:
        if wanted and wanted in (row["name"], *row["aliases"], row["name"].replace("_", " ")):
            return row
    return None
