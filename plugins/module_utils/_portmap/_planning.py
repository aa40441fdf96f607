# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to change in the router: computed from what is wanted and what it holds. Pure.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .._ownership import SERVICE_NAME, make_tag, parse_tag
from .._plan import CREATE, REMOVE, UPDATE, Change, Plan
from ._errors import BadRequestError
from ._model import FAMILIES, IPV4, IPV6, MAX_LEASE, MIN_LEASE, PROTOCOLS, Entry, Key, Wanted, make_key

KIND = "port_mapping"

OURS = "ours"
HOMESERVER = "homeserver"
UNTAGGED_OURS = "untagged_ours"
FOREIGN = "foreign"

#: How far a lease may be above the one asked for before it is set anew; routers round.
_LEASE_SLACK = 60
_FIRST_FREE = 49152


@dataclass(frozen=True)
class Host:
    """This host, as mappings show it: its address towards the router, its id in tags, and the address that pinholes are for."""

    address: str
    host_id: str
    address6: str = ""

    def address_of(self, family: str) -> str:
        """Return this host's address in the mappings of a family."""
        return self.address6 if family == IPV6 else self.address


@dataclass(frozen=True)
class Named:
    """A mapping that shall not be there. Only the name is needed."""

    name: str
    protocol: str | None = None
    external_port: int | None = None
    port: int | None = None
    family: str = IPV4

    @property
    def key(self) -> Key | None:
        """What can exist only once, as far as it is known."""
        return None if self.protocol is None or self.external_port is None else make_key(self.protocol, self.external_port, self.family)


@dataclass
class Row:
    """The answer to one mapping that was asked for."""

    name: str
    protocol: str | None
    external_port: int | None
    port: int | None
    state: str
    requested_external_port: int | None = None
    entry: Entry | None = None
    owner: str | None = None
    error: str | None = None
    renewed: bool = False
    family: str = IPV4

    @property
    def key(self) -> Key | None:
        """What can exist only once, as far as it is known."""
        return None if self.protocol is None or self.external_port is None else make_key(self.protocol, self.external_port, self.family)

    @property
    def refused(self) -> bool:
        """Whether nothing may be written because of this row."""
        return self.error is not None


@dataclass(frozen=True)
class Step:
    """One change and how it is made: first what is removed, then what is added."""

    change: Change
    delete: tuple[Entry, ...] = ()
    add: tuple[Entry, ...] = ()


@dataclass
class MappingPlan:
    """Everything that follows from what is wanted and what is there."""

    rows: list[Row] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    renewals: list[tuple[Row, Entry]] = field(default_factory=list)
    left: list[Entry] = field(default_factory=list)

    @property
    def plan(self) -> Plan:
        """The changes."""
        return Plan([step.change for step in self.steps])

    @property
    def refusals(self) -> list[str]:
        """Why nothing may be written, one sentence for each mapping that cannot be had."""
        return [row.error for row in self.rows if row.error is not None]


def owner_of(entry: Entry, host: Host) -> tuple[str, str | None]:
    """Return whose a mapping is, and the service's name if its description is a tag."""
    tag = parse_tag(entry.description)
    if tag is not None:
        return (OURS if tag.host_id == host.host_id else HOMESERVER, tag.name)
    return (UNTAGGED_OURS if entry.internal_client == host.address_of(entry.family) else FOREIGN, None)


def check(wanted: Sequence[Wanted], named: Sequence[Named] = ()) -> None:
    """Refuse what makes no sense, all of it at once."""
    problems = [
        f"name {name!r} is not a service name: use a lower-case letter, then up to 30 of a-z, 0-9 and '-'"
        for name in (*(one.name for one in wanted), *(one.name for one in named))
        if not SERVICE_NAME.match(name)
    ]
    seen: dict[Key, str] = {}
    for one in wanted:
        if one.family not in FAMILIES:
            problems.append(f"mapping {one.name!r}: {one.family!r} is not a family of addresses: use ipv4 or ipv6")
        if one.family == IPV6 and one.external_port != one.port:
            problems.append(
                f"mapping {one.name!r}: external_port {one.external_port} differs from port {one.port}, and IPv6 has no NAT that could turn one into the other:"
                f" let the service listen on port {one.external_port} and give that as port, or leave external_port out"
            )
        if one.protocol not in PROTOCOLS:
            problems.append(f"mapping {one.name!r}: protocol {one.protocol!r} cannot be mapped: use tcp or udp")
        for what, port in (("external_port", one.external_port), ("port", one.port)):
            if not 1 <= port <= 65535:
                note = " (a router takes 0 for all ports)" if port == 0 else ""
                problems.append(f"mapping {one.name!r}: {what} {port} is out of the range 1 to 65535{note}")
        if one.lease != 0 and not MIN_LEASE <= one.lease <= MAX_LEASE:
            problems.append(
                f"mapping {one.name!r}: lease {one.lease} is out of the range {MIN_LEASE} to {MAX_LEASE} (a week, the longest that UPnP IGD 2 knows);"
                " 0 means as long as the router allows"
            )
        if one.key in seen:
            problems.append(
                f"mapping {one.name!r}: external_port {one.external_port}/{one.protocol} is asked for by {seen[one.key]!r} too; a router has each port once:"
                " give one of them another external_port"
            )
        seen.setdefault(one.key, one.name)
    if problems:
        raise BadRequestError("; ".join(problems))


def plan_present(wanted: Sequence[Wanted], entries: Sequence[Entry], host: Host, adopt: bool = False, other_port: bool = False) -> MappingPlan:
    """Plan for mappings that shall be there. Every one is judged, also after one that cannot be had."""
    result = MappingPlan()
    kept: set[Key] = {one.key for one in wanted}
    creations: list[Step] = []
    for one in wanted:
        row, step = _judge(one, entries, host, adopt)
        if row.state in ("foreign", "conflict") and other_port:
            row, step = _elsewhere(one, entries, host, kept)
        result.rows.append(row)
        if row.external_port is not None:
            kept.add(make_key(one.protocol, row.external_port, one.family))
        if step is not None:
            creations.append(step)
        elif row.state == "present" and row.entry is not None and _needs_renewal(row.entry, one):
            row.renewed = True
            result.renewals.append((row, _target(one, host, row.entry.external_port)))
    names = {one.name for one in wanted}
    for entry in entries:
        owner, name = owner_of(entry, host)
        if owner == OURS and name in names and entry.key not in kept:
            result.steps.append(_removal(entry, "an earlier mapping of the same service"))
    result.steps.extend(creations)
    return result


def plan_absent(named: Sequence[Named] | None, entries: Sequence[Entry], host: Host, originals: Sequence[Entry] = ()) -> MappingPlan:
    """Plan for taking ours back: those of the named services, or all of them if named is None.

    The name decides; the ports that were asked for only say which of several of one service belongs to which row.
    What was taken over from something else on this host gets its earlier description again instead of vanishing.
    """
    result = MappingPlan()
    given_back = {entry.key: entry for entry in originals if owner_of(entry, host)[0] == UNTAGGED_OURS}
    names = None if named is None else {one.name for one in named}
    removed: list[tuple[str, Entry]] = []
    for entry in entries:
        owner, name = owner_of(entry, host)
        if owner == OURS and name is not None and (names is None or name in names):
            removed.append((name, entry))
            original = given_back.get(entry.key)
            result.steps.append(_removal(entry, "no longer wanted") if original is None else _return(entry, original))
        elif owner == UNTAGGED_OURS:
            result.left.append(entry)
    if named is None:
        result.rows = [_removal_row(name, entry) for name, entry in removed]
        return result
    for one in named:
        mine = [item for item in removed if item[0] == one.name and item[1].family == one.family]
        exact = [item for item in mine if item[1].key == one.key]
        if mine:
            chosen = (exact or mine)[0]
            removed.remove(chosen)
            result.rows.append(_removal_row(*chosen))
        else:
            result.rows.append(Row(one.name, one.protocol, one.external_port, one.port, "absent", one.external_port, family=one.family))
    return result


def _removal_row(name: str, entry: Entry) -> Row:
    return Row(name, entry.protocol, entry.external_port, entry.internal_port, "present", entry.external_port, entry, OURS, family=entry.family)


def _judge(one: Wanted, entries: Sequence[Entry], host: Host, adopt: bool) -> tuple[Row, Step | None]:
    row = Row(one.name, one.protocol, one.external_port, one.port, "absent", one.external_port, family=one.family)
    there = [entry for entry in entries if entry.key == one.key]
    target = _target(one, host, one.external_port)
    if not there:
        change = Change(CREATE, KIND, _title(target), None, _after(target), f"service {one.name}")
        return row, Step(change, add=(target,))
    owners = [owner_of(entry, host) for entry in there]
    # Of several for one port (for different sources), one that is not ours decides.
    worst = max(range(len(there)), key=lambda index: (OURS, UNTAGGED_OURS, HOMESERVER, FOREIGN).index(owners[index][0]))
    entry, owner = there[worst], owners[worst][0]
    row.entry = entry
    where = f"{one.protocol} port {one.external_port}"
    if owner in (FOREIGN, HOMESERVER):
        row.state, row.owner = "foreign", "foreign"
        by = "another host that this collection manages" if owner == HOMESERVER else "another host"
        row.error = (
            f"mapping {one.name!r}: {where} of the router belongs to {by}: it leads to {entry.internal_client} port {entry.internal_port}"
            f" (description {entry.description!r}). Choose another external_port, or remove that mapping there if it is not needed"
        )
        return row, None
    if owner == UNTAGGED_OURS:
        row.owner = "untagged"
        if entry.internal_port != one.port:
            row.state = "conflict"
            row.error = (
                f"mapping {one.name!r}: {where} of the router already leads to port {entry.internal_port} of this host, not {one.port}, and was made by"
                f" something else (description {entry.description!r}). Choose another external_port, or remove that mapping with the program that made it"
            )
            return row, None
        row.state = "adoptable"
        if not adopt:
            row.error = (
                f"mapping {one.name!r}: {where} of the router already leads to {entry.internal_client} port {entry.internal_port}, but was made by something"
                f" else (description {entry.description!r}). With adopt: true it is taken over; whatever made it may make it again"
            )
            return row, None
        change = Change(UPDATE, KIND, _title(target), entry.as_data(), _after(target), f"taken over for service {one.name}")
        return row, Step(change, delete=tuple(there), add=(target,))
    row.owner = OURS
    if len(there) == 1 and entry.as_data() == target.as_data():
        row.state = "present"
        return row, None
    change = Change(UPDATE, KIND, _title(target), entry.as_data(), _after(target), f"service {one.name}")
    return row, Step(change, delete=tuple(there), add=(target,))


def _elsewhere(one: Wanted, entries: Sequence[Entry], host: Host, kept: set[Key]) -> tuple[Row, Step | None]:
    """The port is taken and any other will do: the one that was given last time, or a free one that is the same in every run."""
    tag = make_tag(host.host_id, one.name)
    mine = [
        entry
        for entry in entries
        if entry.description.strip() == tag
        and entry.protocol == one.protocol
        and entry.key not in kept
        and entry.as_data() == _target(one, host, entry.external_port).as_data()
    ]
    if mine:
        entry = min(mine, key=lambda entry: entry.external_port)
        return Row(one.name, one.protocol, entry.external_port, one.port, "present", one.external_port, entry, OURS), None
    taken = {key[1] for key in (*(entry.key for entry in entries), *kept) if key == make_key(one.protocol, key[1], one.family)}
    start = _FIRST_FREE + (one.external_port * 31 + one.port) % (65536 - _FIRST_FREE)
    order = [one.port] if one.port >= 1024 else []
    order.extend(range(start, 65536))
    order.extend(range(_FIRST_FREE, start))
    port = next((port for port in order if port not in taken), None)
    if port is None:
        return Row(
            one.name, one.protocol, one.external_port, one.port, "error", one.external_port, error=f"mapping {one.name!r}: the router has no free port left"
        ), None
    target = _target(one, host, port)
    change = Change(CREATE, KIND, _title(target), None, _after(target), f"service {one.name}; port {one.external_port} is taken")
    return Row(one.name, one.protocol, port, one.port, "absent", one.external_port), Step(change, add=(target,))


def _target(one: Wanted, host: Host, external_port: int) -> Entry:
    client = host.address_of(one.family)
    return Entry(one.protocol, external_port, client, one.port, make_tag(host.host_id, one.name), True, one.lease, family=one.family)


def _needs_renewal(entry: Entry, one: Wanted) -> bool:
    if one.lease == 0:
        return 0 < entry.lease < MAX_LEASE // 2
    return entry.lease < one.lease // 2 or entry.lease > one.lease + _LEASE_SLACK


def _removal(entry: Entry, reason: str) -> Step:
    return Step(Change(REMOVE, KIND, _title(entry), entry.as_data(), None, reason), delete=(entry,))


def _return(entry: Entry, original: Entry) -> Step:
    change = Change(UPDATE, KIND, _title(entry), entry.as_data(), _after(original), "given back to what made it")
    return Step(change, delete=(entry,), add=(original,))


def _title(entry: Entry) -> str:
    family = " over IPv6" if entry.family == IPV6 else ""
    return f"{entry.protocol} {entry.external_port}{family}" + (f" from {entry.remote_host}" if entry.remote_host else "")


def _after(entry: Entry) -> dict[str, Any]:
    return {**entry.as_data(), "lease": entry.lease}
