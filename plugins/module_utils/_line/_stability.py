# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the address of a line stays: as configured, as told, or as seen over time. Pure.

Private to this collection: no compatibility is promised to code outside it.

One look cannot prove that an address is fixed. It is called static only if it is configured so on this device or the user says so.
"""

from __future__ import annotations

from typing import Any

from .._history import counted
from ._readings import Facts

__all__ = ["stability"]

#: Point-to-point links show no lifetime, though their addresses usually change with each session.
_SESSION_NAMES = ("ppp", "pppoe", "rmnet", "wwan", "ccmni")


def stability(facts: Facts, verdict: str, now: str) -> dict[str, Any]:
    """Return what is known of how long the line's addresses stay."""
    kind, evidence = "unknown", "none"
    if facts.static is not None:
        kind, evidence = ("static" if facts.static else "dynamic"), "told"
    elif verdict == "public_direct" and facts.local is not None:
        if facts.local.get("dynamic") or facts.local.get("valid_lifetime") is not None:
            kind, evidence = "dynamic", "lease"
        elif facts.local.get("dynamic") is False and not str(facts.local["name"]).startswith(_SESSION_NAMES):
            kind, evidence = "static", "configured"
    ipv4 = counted(facts.entries, "ipv4", now)
    if kind == "unknown" and ipv4["changes"]:
        kind, evidence = "dynamic", "history"
    return {"kind": kind, "evidence": evidence, "ipv4": ipv4, "ipv6_prefix": counted(facts.entries, "ipv6_prefix", now)}
