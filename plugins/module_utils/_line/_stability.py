# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the address of a line stays: as configured, as told, or as seen over time. Pure.

Private to this collection: no compatibility is promised to code outside it.

One look cannot prove that an address is fixed. It is called static only if it is configured so on this device or the user says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ._readings import Facts

__all__ = ["remember", "stability"]

#: Point-to-point links show no lifetime, though their addresses usually change with each session.
_SESSION_NAMES = ("ppp", "pppoe", "rmnet", "wwan", "ccmni")
#: How many changes are remembered.
_MAX_ENTRIES = 500


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
    ipv4 = _history(facts.entries, "ipv4", now)
    if kind == "unknown" and ipv4["changes"]:
        kind, evidence = "dynamic", "history"
    return {"kind": kind, "evidence": evidence, "ipv4": ipv4, "ipv6_prefix": _history(facts.entries, "ipv6_prefix", now)}


def _history(entries: Sequence[Mapping[str, Any]], key: str, now: str) -> dict[str, Any]:
    """Count changes, and the days since the last one. What cannot be read as an entry is left out."""
    seen: list[tuple[datetime, str]] = []
    for entry in entries:
        time = _time(entry.get("time"))
        if time is not None and entry.get(key):
            seen.append((time, str(entry[key])))
    seen.sort()
    changes = [later[0] for earlier, later in zip(seen, seen[1:]) if earlier[1] != later[1]]
    until = _time(now) or (seen[-1][0] if seen else None)
    since = changes[-1] if changes else seen[0][0] if seen else None
    stable = max(0, (until - since).days) if until is not None and since is not None else None
    observed = max(0, (until - seen[0][0]).days) if until is not None and seen else None
    return {"stable_days": stable, "changes": len(changes), "observed_days": observed}


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def remember(entries: Sequence[Mapping[str, Any]], now: str, ipv4: str | None, ipv6_prefix: str | None) -> list[dict[str, Any]]:
    """Return the history with one more look. Looks that saw the same as the one before and the one after are not kept."""
    kept = [dict(entry) for entry in entries]
    new = {"time": now, "ipv4": ipv4, "ipv6_prefix": ipv6_prefix}

    def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return all(one.get(key) == other.get(key) for key in ("ipv4", "ipv6_prefix"))

    if len(kept) >= 2 and same(kept[-1], new) and same(kept[-2], new):
        kept[-1] = new
    else:
        kept.append(new)
    return kept[-_MAX_ENTRIES:]
