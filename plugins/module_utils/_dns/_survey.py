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

from . import _findings as findings
from ._authority import Answer, Question, ask_expire, ask_until, consistent, judged, longest_memory, matches
from ._lookup import Resolver, Server, check_address, find_delegation
from ._name import DnsError, Name, is_below, name_from_text, name_to_text
from ._public import ask_public, askable
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
    public_resolvers: tuple[str, ...] = ()
    published: findings.Published | None = None
    watch: float = 0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Request:
        """Check the options of the module; nothing was sent yet if one is wrong."""
        name = name_from_text(options["name"])
        zone = name_from_text(options["zone"]) if options.get("zone") else None
        if zone is not None and not is_below(name, zone):
            raise DnsError(f"the name does not lie in the zone {name_to_text(zone)}; correct the zone, or leave it out", "name")
        expected = _record_sets(options.get("expected"))
        published = _record_sets(options.get("published"))
        if published is not None and not published:
            raise DnsError("published names no records; give A, AAAA or both", "name")
        types = [TYPES[rtype] for rtype in options["types"]]
        types.extend(TYPES[rtype] for rtype in (*(expected or {}), *(published or {})))
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
            tuple(check_address(address, "public_resolvers") for address in options.get("public_resolvers") or ()),
            None if published is None else findings.Published(published, _serial(options["published"].get("serial"))),
            _between("watch", options.get("watch") or 0, 0, _MAX_WAIT),
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

    observation = findings.Observation()
    answers = ask_until(servers, question, done, request.wait, noted=observation.note)
    if request.watch:
        answers = ask_until(servers, question, lambda found: False, request.watch, noted=observation.note)
    zone = next((answer.zone for answer in answers if answer.zone is not None), zone)
    agree = consistent(answers)
    memory = request.previous_ttl if agree else max(longest_memory(answers) or 0, request.previous_ttl or 0) or None
    negative = max((answer.negative_ttl for answer in judged(answers) if answer.negative_ttl is not None), default=None)
    lagging = _lagging_rows(answers, question, observation)
    second_writer, evidence = findings.second_writer(answers, request.published, observation, request.watch > 0)
    name = name_to_text(request.name)
    return {
        "name": name,
        "zone": None if zone is None else name_to_text(zone),
        "servers": [answer.as_data() for answer in answers],
        "consistent": agree,
        "stale_until": _after(memory),
        "negative_until": _after(negative),
        "matches_expected": None if request.expected is None else matches(answers, request.expected),
        "serial": findings.leading_serial(answers),
        "lagging": lagging,
        "second_writer": second_writer,
        "changes": [
            {"time": rfc3339(state.moment), **findings.named(server), "serial": state.serial, "records": state.records}
            for server, state in observation.changes()
        ],
        "public_resolvers": _public_rows(request, question, answers),
        "findings": findings.findings(answers, lagging, evidence, name),
    }


def _lagging_rows(answers: Sequence[Answer], question: Question, observation: findings.Observation) -> list[dict[str, Any]]:
    """Return who is behind whom, and since when as far as that can be said."""
    ahead = findings.leaders(answers)
    rows = []
    for answer in findings.laggards(answers):
        expire = ask_expire(answer, question)
        lasting = None if expire is None or answer.soa is None or expire > answer.soa.expire else answer.soa.expire - expire
        rows.append(
            {
                **findings.named(answer.server),
                "serial": answer.serial,
                "newest": ahead[0].serial,
                "ahead": [findings.label(findings.named(other.server)) for other in ahead],
                "records_differ": (findings.without_soa(answer.records), answer.exists) != (findings.without_soa(ahead[0].records), ahead[0].exists),
                "since_earliest": None if lasting is None else rfc3339(time.time() - lasting),
                "since_latest": rfc3339(observation.behind_since[answer.server]),
                "expires": None if lasting is None else _after(expire),
            }
        )
    return rows


def _public_rows(request: Request, question: Question, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    if not request.public_resolvers:
        return []
    types = askable(answers, question)
    ahead = findings.leaders(answers)
    rows = []
    for answer in ask_public(request.public_resolvers, question, types):
        missing = any(not values for rtype, values in answer.records.items() if rtype != "CNAME") and "CNAME" not in answer.records
        left = max((value for value in (answer.ttl, answer.negative_ttl if missing else None) if value is not None), default=None)
        same = bool(ahead) and all(values == ahead[0].records.get(rtype) for rtype, values in findings.without_soa(answer.records).items())
        rows.append(
            {
                "address": answer.server.address,
                "records": answer.records,
                "exists": answer.exists,
                "ttl": left,
                "until": _after(left),
                "agrees": None if answer.error is not None else same,
                "error": answer.error,
                "error_kind": answer.error_kind,
            }
        )
    return rows


def _after(seconds: int | None) -> str | None:
    return None if seconds is None else rfc3339(time.time() + seconds)


def rfc3339(moment: float) -> str:
    """Return a time as text, in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _record_sets(options: Mapping[str, Any] | None) -> dict[str, list[str]] | None:
    if options is None:
        return None
    return {rtype: _canonical(rtype, options[rtype]) for rtype in ("A", "AAAA") if options.get(rtype) is not None}


def _serial(value: int | None) -> int | None:
    return None if value is None else int(_between("published.serial", value, 0, (1 << 32) - 1))


def _canonical(rtype: str, values: Sequence[str]) -> list[str]:
    number = {"A": TYPE_A, "AAAA": TYPE_AAAA}[rtype]
    return sorted({Record((), number, 0, address_rdata(number, value)).value for value in values})


def _between(name: str, value: float, lowest: float, highest: float) -> float:
    if not lowest <= value <= highest:
        raise DnsError(f"{name} is {value:g}; it must be {lowest:g} to {highest:g}", "name")
    return value
