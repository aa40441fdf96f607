# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses the line had, and since when: what a single look cannot tell.

Private to this collection. An entry is C({time, ipv4, ipv6_prefix}). Pure, apart from the last three functions, which keep the entries in the
state directory. The history is evidence only: nobody fails for want of it, and one that cannot be read is begun anew.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ._state import StateDir, StateError

FILE = "line.json"
#: The records of what is published from this host. The history stays as long as any of them.
_KEPT_FOR = ("publication.json", "pending.json", "ddns.json")
_KEYS = ("ipv4", "ipv6_prefix")
#: How many entries are remembered.
_MAX_ENTRIES = 500
#: A line that stays as it is needs no entry more often.
_QUIET = timedelta(hours=1)


def entries_of(data: Any) -> list[dict[str, Any]]:
    """Return the entries of a file's content, of the list itself as well.

    Raises:
        ValueError: it is something else.
    """
    entries = data.get("entries") if isinstance(data, Mapping) else data
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("it holds no list of entries")
    return entries


def prefix_of(address: str) -> str:
    """Return the /64 of an IPv6 address."""
    return str(ipaddress.IPv6Network((address, 64), strict=False))


def remember(entries: Sequence[Mapping[str, Any]], now: str, ipv4: str | None, ipv6_prefix: str | None) -> list[dict[str, Any]]:
    """Return the history with one more look. Looks that saw the same as the one before and the one after are not kept.

    A look within an hour of the last one that contradicts it in nothing is not kept either.
    """
    kept = [dict(entry) for entry in entries]
    new = {"time": now, "ipv4": ipv4, "ipv6_prefix": ipv6_prefix}

    def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return all(one.get(key) == other.get(key) for key in _KEYS)

    if kept and all(new[key] in (None, kept[-1].get(key)) for key in _KEYS):
        last, moment = _time(kept[-1].get("time")), _time(now)
        if last is not None and moment is not None and abs(moment - last) < _QUIET:
            return kept
    if len(kept) >= 2 and same(kept[-1], new) and same(kept[-2], new):
        kept[-1] = new
    else:
        kept.append(new)
    return kept[-_MAX_ENTRIES:]


def counted(entries: Sequence[Mapping[str, Any]], key: str, now: str) -> dict[str, Any]:
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


def load(state: StateDir) -> list[dict[str, Any]]:
    """Return the entries in the state directory."""
    with contextlib.suppress(StateError, ValueError):
        return entries_of(state.read(FILE) or [])
    return []


def note(state: StateDir, observation: Mapping[str, Any]) -> None:
    """Remember a look; the caller holds the lock. A look that saw nothing, or does not say when, is none."""
    if _time(observation.get("time")) is None or not any(observation.get(key) for key in _KEYS):
        return
    before = load(state)
    after = remember(before, str(observation["time"]), *(observation.get(key) for key in _KEYS))
    if after != before:
        state.write(FILE, {"entries": after})


def forget(state: StateDir) -> None:
    """Remove the history, unless something is published still."""
    with contextlib.suppress(StateError):
        if any(state.read(name) is not None for name in _KEPT_FOR):
            return
    state.remove(FILE)
