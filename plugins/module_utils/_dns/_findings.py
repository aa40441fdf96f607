# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a zone's servers or a name's records, as the answers show it: who lags, who does not speak for the zone, who else writes.

Private to this collection. Pure.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, cast

from ._authority import Answer, has, judged
from ._lookup import Server
from ._name import name_to_text
from ._serial import compare_serials, newest_serial

LAGGING = "dns-secondary-lagging"
NOT_AUTHORITATIVE = "dns-not-authoritative"
SILENT = "dns-authority-silent"
SECOND_WRITER = "dns-second-writer"

SUSPECTED, NOT_SEEN, UNKNOWN = "suspected", "not_seen", "unknown"

REMEDIES = {
    LAGGING: (
        "Look in that server's log for why it does not fetch the zone: NOTIFY or transfer refused, wrong TSIG key, TCP port 53 closed, zone frozen."
        " Then have it fetch the zone (BIND: rndc retransfer, Knot DNS: knotc zone-retransfer), or ask whoever runs it"
    ),
    NOT_AUTHORITATIVE: (
        "Have that server serve the zone, or take its NS record out of the zone and out of the zone above it (at the registrar)."
        " An answer SERVFAIL often means that its copy expired, because it cannot reach its primary"
    ),
    SILENT: (
        "Start the name server there and let UDP and TCP port 53 through, or take its NS record out of the zone and out of the zone above it (at the registrar)"
    ),
    SECOND_WRITER: (
        "Let one place alone update the name: switch dynamic DNS off in the router, or on this host (role ddns with ddns_state: absent)."
        " Look for ddclient and inadyn too, and for another host that has the same credentials"
    ),
}

#: Results that a server without the zone gives. Others are its own trouble.
_NOT_SERVED = ("REFUSED", "SERVFAIL", "NOTAUTH", "NOTIMP")


@dataclass(frozen=True)
class Published:
    """What this host published last.

    Attributes:
        records: the addresses by type.
        serial: the zone's serial when an authority was seen to have them, None if nobody knows.
    """

    records: Mapping[str, Sequence[str]]
    serial: int | None = None


@dataclass(frozen=True)
class State:
    """What a server had from a moment on."""

    moment: float
    serial: int
    records: Mapping[str, Sequence[str]]


class Observation:
    """What the servers said from one round of questions to the next."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.states: dict[Server, list[State]] = {}
        self.behind_since: dict[Server, float] = {}

    def note(self, answers: Sequence[Answer]) -> None:
        """Add one round."""
        moment = self._clock()
        for answer in speaking(answers):
            serial = cast(int, answer.serial)
            states, records = self.states.setdefault(answer.server, []), without_soa(answer.records)
            if not states or (states[-1].serial, states[-1].records) != (serial, records):
                states.append(State(moment, serial, records))
        late = {answer.server for answer in laggards(answers)}
        self.behind_since = {server: self.behind_since.get(server, moment) for server in late}

    def changes(self) -> list[tuple[Server, State]]:
        """Return each change of the records, in the order of time."""
        found = [(server, after) for server, states in self.states.items() for before, after in zip(states, states[1:]) if before.records != after.records]
        return sorted(found, key=lambda change: change[1].moment)

    def alternating(self) -> list[tuple[Server, list[State]]]:
        """Return the servers at which an earlier value came back, at ever newer serials."""
        found = [(server, _came_back(states)) for server, states in self.states.items()]
        return [(server, states) for server, states in found if states]


def speaking(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of authorities for the one zone that the first of them speaks for."""
    found = [answer for answer in judged(answers) if answer.error is None and answer.authoritative and answer.serial is not None]
    return [answer for answer in found if answer.zone == found[0].zone]


def leading_serial(answers: Sequence[Answer]) -> int | None:
    """Return the newest serial, None if nobody told one or they stand in no order."""
    return newest_serial(answer.serial for answer in speaking(answers) if answer.serial is not None)


def laggards(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of those whose serial is older than the newest."""
    newest = leading_serial(answers)
    return [] if newest is None else [answer for answer in speaking(answers) if answer.serial != newest]


def leaders(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of those that have the newest serial."""
    newest = leading_serial(answers)
    return [] if newest is None else [answer for answer in speaking(answers) if answer.serial == newest]


def second_writer(answers: Sequence[Answer], published: Published | None, observation: Observation, watched: bool) -> tuple[str | None, list[dict[str, Any]]]:
    """Return whether somebody else seems to write the records, and what speaks for it; None if nothing was given to judge by."""
    evidence: list[dict[str, Any]] = [
        {
            "kind": "alternates",
            **named(server),
            "serial": states[-1].serial,
            "records": states[-1].records,
            "earlier": [{"serial": state.serial, "records": state.records} for state in states[:-1]],
        }
        for server, states in observation.alternating()
    ]
    state: str | None = NOT_SEEN if watched else None
    if published is not None:
        found = leaders(answers)
        others = [answer for answer in found if not has(answer.records, published.records)]
        later = [answer for answer in others if _later(answer, published, observation)]
        evidence += [
            {"kind": "changed_after_publication", **named(answer.server), "serial": answer.serial, "records": answer.records, "earlier": [_as_row(published)]}
            for answer in later
        ]
        state = UNKNOWN if not found or len(others) > len(later) else NOT_SEEN
    return (SUSPECTED if evidence else state), evidence


def findings(answers: Sequence[Answer], lagging: Sequence[Mapping[str, Any]], writers: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return what should be looked at, the worst first."""
    found = []
    if writers:
        row = writers[0]
        said = "goes back and forth" if row["kind"] == "alternates" else "is no longer what this host published"
        reason = f"{name} {said}: {label(row)} has {shown(row['records'])} at serial {row['serial']}, and had {_earlier(row)}"
        found.append(_finding(SECOND_WRITER, "high", name, reason, [dict(row) for row in writers]))
    for row in lagging:
        effect = "what it says about the name is out of date" if row["records_differ"] else "what it says about the name is the same"
        since = f"; it last heard from its primary {row['since_earliest']}" if row["since_earliest"] else ""
        reason = f"{label(row)} has serial {row['serial']}, {' and '.join(row['ahead'])} {row['newest']}: {effect}{since}"
        found.append(_finding(LAGGING, "high" if row["records_differ"] else "low", label(row), reason, [dict(row)]))
    counted = judged(answers)
    for answer in counted:
        row = named(answer.server)
        if answer.error is None:
            continue
        evidence = [{**row, "error": answer.error, "error_kind": answer.error_kind}]
        if answer.error_kind == "not_authoritative" or (answer.error_kind == "rcode" and answer.rcode in _NOT_SERVED):
            found.append(_finding(NOT_AUTHORITATIVE, "high", label(row), answer.error, evidence))
        # Where no server answers, or none can be reached, the fault may be this host's.
        elif answer.error_kind != "no_route" and any(other.error is None for other in counted):
            found.append(_finding(SILENT, "medium", label(row), answer.error, evidence))
    order = ("high", "medium", "low")
    return sorted(found, key=lambda row: order.index(row["severity"]))


def without_soa(records: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the records that are the name's own; the SOA changes with anything in the zone."""
    return {rtype: values for rtype, values in records.items() if rtype != "SOA"}


def named(server: Server) -> dict[str, str | None]:
    """Return who a server is."""
    return {"name": None if server.name is None else name_to_text(server.name), "address": server.address}


def label(row: Mapping[str, Any]) -> str:
    """Return who a row is about, for people."""
    return f"{row['name']} ({row['address']})" if row["name"] else str(row["address"])


def shown(records: Mapping[str, Sequence[str]]) -> str:
    """Return records as text."""
    return ", ".join(f"{rtype} {value}" for rtype, values in records.items() for value in values) or "no record"


def _later(answer: Answer, published: Published, observation: Observation) -> bool:
    """Return whether the server is known to have had what was published before it had this."""
    serial = cast(int, answer.serial)
    if published.serial is not None and compare_serials(serial, published.serial) == 1:
        return True
    return any(
        has(state.records, published.records) and compare_serials(serial, state.serial) == 1
        for state in observation.states.get(answer.server, [])
    )


def _came_back(states: Sequence[State]) -> list[State]:
    """Return three states of which the last has the records of the first and the one in between has others; none if there are none."""
    rising: list[State] = []
    for state in states:
        # Several machines behind one address may lag behind one another: what an older serial says is no change.
        if rising and compare_serials(state.serial, rising[-1].serial) != 1:
            continue
        if rising and rising[-1].records == state.records:
            continue
        before = next((index for index in range(len(rising) - 2, -1, -1) if rising[index].records == state.records), None)
        if before is not None:
            return [rising[before], rising[before + 1], state]
        rising.append(state)
    return []


def _as_row(published: Published) -> dict[str, Any]:
    return {"serial": published.serial, "records": {rtype: list(values) for rtype, values in published.records.items()}}


def _earlier(row: Mapping[str, Any]) -> str:
    return ", then ".join(shown(state["records"]) + ("" if state["serial"] is None else f" at serial {state['serial']}") for state in row["earlier"])


def _finding(ident: str, severity: str, subject: str, reason: str, evidence: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": ident, "severity": severity, "subject": subject, "reason": reason, "evidence": evidence, "remedy": REMEDIES[ident]}
