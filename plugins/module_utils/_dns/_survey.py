# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole question of one name: find its authorities, ask them, compare, say how long resolvers may lag behind.

Private to this collection. This is what the module dns_record_info does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._authority import Answer, Question, ask_until, consistent, longest_memory, matches
from ._lookup import Resolver, Server, check_address, find_delegation
from ._name import DnsError, Name, is_below, name_from_text, name_to_text
from ._update import address_rdata
from ._wire import TYPE_A, TYPE_AAAA, TYPES, Record

_MAX_WAIT = 3600.0


@dataclass(frozen=True)
class Request:
    """The options, checked."""

    name: Name
    zone: Name | None
    types: tuple[int, ...]
    servers: tuple[Server, ...]
    resolver: tuple[str, ...]
    expected: Mapping[str, Sequence[str]] | None
    wait: float
    previous_ttl: int | None
    timeout: float
    attempts: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Request:
        """Check the options of the module; nothing was sent yet if one is wrong."""
        name = name_from_text(options["name"])
        zone = name_from_text(options["zone"]) if options.get("zone") else None
        if zone is not None and not is_below(name, zone):
            raise DnsError(f"the name does not lie in the zone {name_to_text(zone)}; correct the zone, or leave it out", "name")
        expected = None
        if options.get("expected") is not None:
            expected = {rtype: _canonical(rtype, values) for rtype, values in options["expected"].items() if values is not None}
        types = [TYPES[rtype] for rtype in options["types"]]
        types.extend(TYPES[rtype] for rtype in expected or {})
        if not types:
            raise DnsError("types is empty; name at least one type, for example A", "name")
        return cls(
            name,
            zone,
            tuple(dict.fromkeys(types)),
            tuple(Server(None, check_address(address, "server")) for address in options.get("servers") or ()),
            tuple(check_address(address, "resolver") for address in options.get("resolver") or ()),
            expected,
            _between("wait", options.get("wait") or 0, 0, _MAX_WAIT),
            options.get("previous_ttl"),
            _between("timeout", options["timeout"], 0.1, 60),
            int(_between("attempts", options["attempts"], 1, 10)),
        )


def survey(request: Request) -> dict[str, Any]:
    """Return what the module returns."""
    zone, servers = request.zone, request.servers
    if not servers:
        resolver = (
            Resolver(request.resolver, request.timeout, request.attempts) if request.resolver else Resolver.from_system(request.timeout, request.attempts)
        )
        found = find_delegation(request.name, request.zone, resolver)
        zone, servers = found.zone, found.servers
    question = Question(request.name, request.types, zone, timeout=request.timeout, attempts=request.attempts)

    def done(answers: list[Answer]) -> bool:
        return consistent(answers) if request.expected is None else matches(answers, request.expected)

    answers = ask_until(servers, question, done, request.wait)
    zone = next((answer.zone for answer in answers if answer.zone is not None), zone)
    agree = consistent(answers)
    memory = request.previous_ttl if agree else max(longest_memory(answers) or 0, request.previous_ttl or 0) or None
    return {
        "name": name_to_text(request.name),
        "zone": None if zone is None else name_to_text(zone),
        "servers": [answer.as_data() for answer in answers],
        "consistent": agree,
        "stale_until": None if memory is None else rfc3339(time.time() + memory),
        "matches_expected": None if request.expected is None else matches(answers, request.expected),
    }


def rfc3339(moment: float) -> str:
    """Return a time as text, in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _canonical(rtype: str, values: Sequence[str]) -> list[str]:
    number = {"A": TYPE_A, "AAAA": TYPE_AAAA}[rtype]
    return sorted({Record((), number, 0, address_rdata(number, value)).value for value in values})


def _between(name: str, value: float, lowest: float, highest: float) -> float:
    if not lowest <= value <= highest:
        raise DnsError(f"{name} is {value:g}; it must be {lowest:g} to {highest:g}", "name")
    return value
