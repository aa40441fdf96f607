# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mappings may stay, and which may be removed because somebody said so by name. Pure.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._portmap._errors import BadRequestError
from .._portmap._model import PROTOCOLS, Entry
from .._portmap._planning import OURS, Host, owner_of

#: What becomes of a mapping.
OURS_STAYS, DECLARED, CONSENTED, NOT_CONSENTED = "ours", "declared", "consented", "not_consented"
#: How many former mappings are remembered.
MAX_FORMER = 1024

_WHOLE = ("protocol", "external_port", "internal_client")


@dataclass(frozen=True)
class Judged:
    """A mapping of the router, whose it is, and what becomes of it; C(consent) is the number of what named it."""

    entry: Entry
    owner: str
    name: str | None
    decision: str
    consent: int | None = None


def check(declared: Sequence[Mapping[str, Any]], remove: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what names no mapping, all of it at once."""
    problems = []
    for option, rows in (("declared", declared), ("remove", remove)):
        for number, row in enumerate(rows):
            where = f"{option}[{number}]"
            given = {key: value for key, value in row.items() if value not in (None, "")}
            port = given.get("external_port")
            if given.get("protocol") not in (None, *PROTOCOLS):
                problems.append(f"{where}: protocol {given['protocol']!r} cannot be mapped: use tcp or udp")
            if port is not None and not 0 <= port <= 65535:
                problems.append(f"{where}: external_port {port} is out of the range 0 to 65535 (a router takes 0 for all ports)")
            if option == "declared" and ("protocol" not in given or port is None):
                problems.append(f"{where} needs protocol and external_port")
            if option == "remove" and "description" not in given and any(key not in given for key in _WHOLE):
                missing = ", ".join(key for key in _WHOLE if key not in given)
                problems.append(
                    f"{where} does not name a mapping: it lacks {missing}. Give protocol, external_port and internal_client, or the description, as the router"
                    " lists them, so that no other mapping is removed that has come to this port meanwhile"
                )
    if problems:
        raise BadRequestError("; ".join(problems))


def _names(row: Mapping[str, Any], entry: Entry) -> bool:
    """Whether everything that is given holds."""
    given = {key: value for key, value in row.items() if value not in (None, "")}
    return bool(given) and all(getattr(entry, key) == value for key, value in given.items())


def judge(entries: Sequence[Entry], host: Host, declared: Sequence[Mapping[str, Any]], remove: Sequence[Mapping[str, Any]]) -> list[Judged]:
    """Return what becomes of each mapping, in the router's order."""
    check(declared, remove)
    rows, both = [], []
    for entry in entries:
        owner, name = owner_of(entry, host)
        wanted = any(_names(row, entry) for row in declared)
        consent = next((number for number, row in enumerate(remove) if _names(row, entry)), None)
        if wanted and consent is not None:
            both.append(f"{entry.protocol} port {entry.external_port} to {entry.internal_client} ({entry.description!r})")
        decision = DECLARED if wanted else CONSENTED if consent is not None else OURS_STAYS if owner == OURS else NOT_CONSENTED
        if decision == CONSENTED and owner == OURS:
            # The module port_mapping removes those: it also sees to it that nobody makes them anew.
            decision, consent = OURS_STAYS, None
        rows.append(Judged(entry, owner, name, decision, consent))
    if both:
        raise BadRequestError(f"named both in declared and in remove: {'; '.join(both)}. Nothing was changed")
    return rows


def unmatched(rows: Sequence[Judged], remove: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the numbers of what was named and is not there, or not any more."""
    seen = {number for row in rows for number, one in enumerate(remove) if _names(one, row.entry)}
    return [number for number in range(len(remove)) if number not in seen]


def merge_former(former: Sequence[Mapping[str, Any]], entries: Sequence[Judged], time: str) -> list[dict[str, Any]]:
    """Return the mappings that were ever seen: a port that once was open has to be shown closed. The newest are kept where they are too many."""
    found = {(str(row["protocol"]), int(row["external_port"])): dict(row) for row in former}
    for one in entries:
        entry = one.entry
        key = (entry.protocol, entry.external_port)
        found.pop(key, None)
        found[key] = {
            "protocol": entry.protocol,
            "external_port": entry.external_port,
            "internal_client": entry.internal_client,
            "internal_port": entry.internal_port,
            "description": entry.description,
            "owner": one.owner,
            "seen": time,
        }
    return list(found.values())[-MAX_FORMER:]
