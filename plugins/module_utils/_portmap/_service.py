# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules call: find the router, read, plan, write, report.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Union

from .._address._classify import address_class, is_publishable
from .._ownership import OwnershipError, host_id, parse_tag
from .._plan import Plan
from .._state import DEFAULT_DIRECTORY, StateError
from . import _moment as moments
from ._apply import ApplyError, make, remove
from ._auto import Kind, open_auto, open_recorded
from ._discovery import at_location, check_address, discover, is_location
from ._errors import BadRequestError, GatewayError, NoGatewayError, NoNatError, PortmapError, ProtocolError
from ._families import FamiliesGateway
from ._kept import Keeping, Kept, Way
from ._links import Link, read_link6, read_links
from ._model import FAMILIES, IPV4, IPV6, MAX_LEASE, Entry, Gateway, Key, Wanted, make_key
from ._patience import UNDO
from ._pinholes import open_pinholes
from ._planning import OURS, UNTAGGED_OURS, Host, MappingPlan, Named, Row, check, owner_of, plan_absent, plan_present
from ._recorded import NatPmpGateway, PcpGateway, entry_of
from ._records import ReadingStore, Record, Store

METHODS = ("auto", "upnp", "pcp", "natpmp")
_RECORDED: dict[str, Kind] = {"pcp": PcpGateway, "natpmp": NatPmpGateway}
#: How often what is to be removed is looked for at most.
_READINGS = 3
_MIN_TIMEOUT, _MAX_TIMEOUT = 0.5, 60.0
_FAMILY_NAMES = {IPV4: "IPv4", IPV6: "IPv6"}
#: How long to wait for a job of a timer that is at work on this host.
_LOCK_TIMEOUT = 60.0


@dataclass(frozen=True)
class Selection:
    """Which router, and how to speak to it.

    C(state_dir) is where mappings are recorded that the router cannot list; without it, C(auto) is UPnP.
    C(writes), C(other_port) and C(family) are set by what is asked for.
    """

    method: str = "auto"
    gateway: str | None = None
    interface: str | None = None
    timeout: float = 3.0
    state_dir: str | None = None
    writes: bool = False
    other_port: bool = False
    family: str = IPV4


@dataclass(frozen=True)
class Request:
    """What the module was asked for.

    C(named) restricts removal to these services, None means all of ours. C(originals) is what was there before it was taken over.
    C(renew) is whether the agent shall renew what is mapped, where there is a state directory to tell it.
    """

    state: str
    wanted: Sequence[Wanted] = ()
    named: Sequence[Named] | None = None
    adopt: bool = False
    allow_other_external_port: bool = False
    require_global_wan: bool = True
    originals: Sequence[Entry] = ()
    renew: bool = True


@dataclass
class Result:
    """What the module returns; C(error) is the text it fails with."""

    changed: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None


Opener = Callable[[Selection], Gateway]


def open_gateway(selection: Selection) -> Gateway:
    """Find the router and return it behind the interface that all kinds share."""
    if selection.method not in METHODS:
        raise BadRequestError(f"method {selection.method!r} is unknown: use {', '.join(METHODS)}")
    if not _MIN_TIMEOUT <= selection.timeout <= _MAX_TIMEOUT:
        raise BadRequestError(f"timeout {selection.timeout:g} is out of the range {_MIN_TIMEOUT:g} to {_MAX_TIMEOUT:g} seconds")
    recorded = _RECORDED.get(selection.method)
    store = (Store if selection.writes else ReadingStore)(selection.state_dir or DEFAULT_DIRECTORY)
    if selection.family == IPV6:
        if selection.writes:
            store.require_usable()
        return open_pinholes(read_link6(selection.interface or None), selection.method, store, selection.timeout)
    if selection.gateway and is_location(selection.gateway):
        if recorded is not None:
            raise BadRequestError(f"gateway {selection.gateway} is the address of a UPnP description: with method {selection.method} give the router's address")
        location = selection.gateway
        return at_location(location, lambda host: read_links(selection.interface or None, host, shown=location), is_publishable, selection.timeout)
    address = check_address(selection.gateway) if selection.gateway else None
    links = read_links(selection.interface or None, address)
    if address is None and not selection.interface:
        links = _behind_nat(links)
    if selection.method == "upnp" or (recorded is None and selection.state_dir is None):
        return discover(links, is_publishable, selection.timeout, address)
    if recorded is None:
        return open_auto(links, address, is_publishable, selection.timeout, store, selection.other_port, selection.writes)
    if selection.writes:
        store.require_usable()
    return open_recorded(recorded, links, address, store, selection.timeout, selection.other_port)


def _behind_nat(links: list[Link]) -> list[Link]:
    """Leave out links on which the next hop is the provider's: this host has a global address there, or one that only carriers give (RFC 6598, RFC 7335)."""
    behind = [link for link in links if not _is_carriers(link.source)]
    if links and not behind:
        source = links[0].source
        address = f"the global address {source}" if is_publishable(source) else f"the address {source} ({address_class(source)}), which providers give,"
        raise NoNatError(
            f"this host has {address} on {links[0].interface}, so there is no NAT of this home and no port to map; if a router maps ports all the"
            " same, name it as the gateway"
        )
    return behind


def _is_carriers(source: str) -> bool:
    return is_publishable(source) or address_class(source) in ("shared_cgn", "ipv4_service_continuity")


def gateway_data(gateway: Gateway) -> dict[str, Any]:
    """Return what is reported about a router."""
    info = gateway.describe()
    return {
        "address": info.address,
        "method": info.method,
        "location": info.location,
        "service_type": info.service_type,
        "product": info.product,
        "interface": info.interface,
        "source_address": info.source_address,
        "wan_address": info.wan_address,
        "wan_address_class": address_class(info.wan_address) if info.wan_address else None,
        "wan_status": info.wan_status,
        "epoch": info.epoch,
    }


def _missing(gateway: Gateway, selection: Selection) -> str:
    """Return what keeps mappings from being made by whoever only looked; empty if nothing does. UPnP alone needs no record."""
    if gateway.describe().method == "upnp":
        return ""
    try:
        Store(selection.state_dir or DEFAULT_DIRECTORY).require_usable()
    except GatewayError as error:
        return str(error)
    return ""


def run_info(selection: Selection, opener: Opener = open_gateway) -> Result:
    """Read what the router holds. No router is an answer, not a failure."""
    start = time.monotonic()
    result = Result(data={"available": False, "reason": "", "missing": "", "gateway": None, "gateway_ipv6": None, "mappings": [], "elapsed": 0.0})
    # Each may wait for answers that never come.
    pool = ThreadPoolExecutor(1)
    pinholes = pool.submit(_ask_for_pinholes, selection, opener)
    pool.shutdown(wait=False)
    try:
        gateway = opener(selection)
        result.data["gateway"] = gateway_data(gateway)
        entries = gateway.list()
        try:
            host = host_of(gateway)
        except OwnershipError as error:
            # The router can be read all the same; no tag can be this host's.
            host = Host(gateway.describe().source_address, "")
            result.warnings.append(str(error))
    except BadRequestError as error:
        result.error = str(error)
    except PortmapError as error:
        result.data["reason"] = _text(error)
    else:
        result.data["available"] = True
        result.data["mappings"] = [_info_row(entry, host, gateway.unread) for entry in entries]
        result.data["missing"] = _missing(gateway, selection)
        if gateway.unread:
            result.warnings.append(
                f"{gateway.unread}. So what this host mapped by PCP or NAT-PMP is not listed, or its owner is unknown: run as root (become: true) to see it"
            )
        if result.data["missing"]:
            result.warnings.append(f"port_mapping could not map by {gateway.describe().method} as this run is: {result.data['missing']}")
        if gateway.incomplete:
            result.warnings.append(f"{gateway.incomplete}: what is shown is not all. A restart of the router clears most tables")
    _add_pinholes(*_open_records(selection), pinholes.result(), result)
    result.data["elapsed"] = round(time.monotonic() - start, 3)
    return result


def _ask_for_pinholes(selection: Selection, opener: Opener) -> tuple[dict[str, Any], list[Entry]] | PortmapError | None:
    if not any(record.family == IPV6 for record in _open_records(selection)[0]):
        return None
    try:
        gateway = opener(replace(selection, family=IPV6, method="auto"))
        return gateway_data(gateway), gateway.list()
    except PortmapError as error:
        return error


def _add_pinholes(records: list[Record], unread: str, told: tuple[dict[str, Any], list[Entry]] | PortmapError | None, result: Result) -> None:
    """Show what this host opened for IPv6, as the router knows it. Nobody lists pinholes, so the records say what there is; without one nobody is asked."""
    if result.error is not None:
        return
    records = [record for record in records if record.family == IPV6]
    if unread and not any(unread in warning for warning in result.warnings):
        result.warnings.append(f"{unread}. So what this host opened for IPv6 is not listed: run as root (become: true) to see it")
    if not records or told is None:
        return
    if not isinstance(told, PortmapError):
        result.data["gateway_ipv6"], entries = told
    else:
        result.warnings.append(
            f"what this host opened for IPv6 is shown as it was recorded, since the router does not tell whether it holds it: {_text(told)}"
        )
        entries = [replace(entry_of(record), enabled=False) for record in records if not record.abandoned]
    try:
        host = Host("", host_id())
    except OwnershipError:
        host = Host("", "")
    result.data["mappings"].extend(_info_row(entry, host) for entry in entries)


def _open_records(selection: Selection) -> tuple[list[Record], str]:
    """Return the records of what may be open, and why they could not be read, if so."""
    if selection.state_dir is None:
        return [], ""
    store, moment = ReadingStore(selection.state_dir), moments.now()
    return [record for record in store.read()[0] if record.left(moment) > 0], store.unread


def run(request: Request, selection: Selection, check_mode: bool, opener: Opener = open_gateway) -> Result:
    """Make the mappings be there, or take ours back."""
    result = Result(data={"mappings": [], "gateway": None, "gateway_ipv6": None, "left": [], "plan": [], "kept": []})
    try:
        with _keeping(request, selection, check_mode) as keeping:
            try:
                _run(request, selection, check_mode, opener, result, keeping)
            finally:
                if keeping is not None:
                    predicted = {one.name for one in request.wanted} if check_mode and request.renew and result.error is None else ()
                    result.data["kept"] = sorted({*keeping.names, *predicted})
    except (PortmapError, OwnershipError) as error:
        result.error = _text(error)
        if not result.data["mappings"]:
            # It ended before the mappings were judged; each gets its row all the same.
            family = getattr(error, "family", "")
            other = f"not looked at, since what is wanted over {_FAMILY_NAMES.get(family, '')} cannot be had"
            rows = [
                Row(
                    *(one.name, one.protocol, one.external_port, one.port, "error", one.external_port),
                    error=result.error if family in ("", one.family) else other,
                    family=one.family,
                )
                for one in request.wanted
            ]
            result.data["mappings"] = [_row_data(row, None, None) for row in rows]
    return result


@contextlib.contextmanager
def _keeping(request: Request, selection: Selection, check_mode: bool) -> Iterator[Keeping | None]:
    """Hold the host against its timers, and keep what the agent shall renew. Whoever cannot write the state directory has nothing renewed: None."""
    store = Store(selection.state_dir or DEFAULT_DIRECTORY)
    there = os.path.isdir(store.state.path)
    if selection.state_dir is None or not store.usable():
        yield None
    elif check_mode or not (there or request.state == "present"):
        yield Keeping.load(store.state)
    else:
        try:
            with store.state.lock(_LOCK_TIMEOUT):
                keeping = Keeping.load(store.state)
                keeping.made_directory |= not there
                if request.state != "present":
                    # Before the router is told: whatever happens now, nobody makes it anew.
                    keeping.drop(_names(request))
                    keeping.save(store.state)
                try:
                    yield keeping
                finally:
                    keeping.records = bool(store.read()[0])
                    keeping.save(store.state)
                    keeping.leave(store.state)
        except StateError as error:
            raise GatewayError(str(error)) from error


def _names(request: Request) -> list[str] | None:
    return None if request.named is None else [one.name for one in request.named]


def _run(request: Request, selection: Selection, check_mode: bool, opener: Opener, result: Result, keeping: Keeping | None) -> None:
    check(request.wanted, request.named or ())
    if request.state != "present" and keeping is not None:
        keeping.drop(_names(request))
    if request.state == "present" and not request.wanted:
        raise BadRequestError("mappings is empty: name at least one mapping, or use state: absent to take all of this host's mappings back")
    gateway = _find(request, selection, opener, result, keeping)
    if gateway is None:
        result.data["mappings"] = [_row_data(row, None, None) for row in plan_absent(request.named, (), Host("", "")).rows]
        with contextlib.suppress(OwnershipError):
            result.warnings.extend(_not_asked(request, selection, MappingPlan(), None, Host("", host_id())))
        return
    members = gateway.members()
    result.data["gateway"], result.data["gateway_ipv6"] = (gateway_data(members[family]) if family in members else None for family in FAMILIES)
    host = host_of(gateway)
    if request.state == "present":
        if request.require_global_wan and any(one.family == IPV4 for one in request.wanted):
            _require_global(members[IPV4], result.data["gateway"])
        gateway.require_open(request.wanted)
    plan = read_plan(request, gateway, host)
    result.plan = plan.plan
    result.warnings.extend(
        f"{entry.protocol} port {entry.external_port} of the router still leads to port {entry.internal_port} of this host; it was made by something else"
        f" (description {entry.description!r}) and was left alone"
        for entry in plan.left
    )
    if request.state != "present":
        result.warnings.extend(_not_asked(request, selection, plan, gateway, host))
    result.data["plan"] = plan.plan.as_data()
    _report(result, plan, gateway, host, {})
    if plan.refusals:
        result.error = "nothing was changed: " + "; ".join(plan.refusals)
        return
    result.changed = plan.plan.changed
    if gateway.incomplete:
        result.warnings.append(f"{gateway.incomplete}: whether more of them are this host's is unknown. A restart of the router clears most tables")
    if check_mode:
        if request.state != "present":
            _require_all_lists(gateway)
        return
    if request.state != "present":
        _remove(request, result, plan, gateway, host)
        return
    try:
        outcome = make(gateway, plan)
    except ApplyError as error:
        result.changed = not error.complete
        _blame(plan.rows, error, host)
        _report(result, plan, gateway, host, {})
        raise
    except PortmapError as error:
        result.changed = True
        for row in plan.rows:
            if row.state != "present":
                row.state, row.error = "error", _text(error)
        _report(result, plan, gateway, host, {})
        raise
    result.warnings.extend([*outcome.warnings, *gateway.notes()])
    _report(result, plan, gateway, host, outcome.entries)
    if keeping is not None and not request.renew:
        keeping.drop([one.name for one in request.wanted])
    elif keeping is not None:
        way = Way(selection.method, selection.gateway, selection.interface, selection.timeout, request.allow_other_external_port)
        keeping.put(_kept(plan, request.wanted, gateway, host, way, {**{kept.key: kept for kept in keeping.mappings}, **dict.fromkeys(outcome.entries)}))
    if outcome.failures:
        result.changed = True
        raise GatewayError("; ".join(outcome.failures.values()))


Opened = Union[Gateway, PortmapError]


def _find(request: Request, selection: Selection, opener: Opener, result: Result, keeping: Keeping | None) -> Gateway | None:
    """Find who is to be asked; None if nobody is there of whom anything could be taken back."""
    wanted = {one.family for one in request.wanted} if request.state == "present" else {IPV4}
    families = [family for family in FAMILIES if family in wanted | _left_in(request, selection, keeping)]
    unread = _open_records(selection)[1] if request.state != "present" else ""
    if unread:
        result.warnings.append(f"{unread}. So what this host opened by PCP, NAT-PMP or for IPv6 was not looked for, and may stay. Run as root (become: true)")
    selection = replace(selection, writes=True, other_port=request.allow_other_external_port)

    def find(family: str) -> Opened:
        # What is only to be taken back is taken back by the protocol that it was made by.
        method = selection.method if family in wanted else "auto"
        try:
            return opener(replace(selection, family=family, method=method))
        except PortmapError as error:
            return error

    with contextlib.ExitStack() as stack:
        # Each may wait for answers that never come.
        search = map if len(families) == 1 else stack.enter_context(ThreadPoolExecutor(len(families))).map
        found = dict(zip(families, search(find, families)))
    failed = [family for family, problem in found.items() if isinstance(problem, PortmapError)]
    for family, problem in found.items():
        if not isinstance(problem, PortmapError):
            continue
        if family in wanted and (request.state == "present" or not isinstance(problem, NoGatewayError)):
            problem.family = family if len(failed) == 1 else ""
            raise problem
        _warn_not_found(family, problem, result)
    members = {family: member for family, member in found.items() if isinstance(member, Gateway)}
    if len(families) > 1:
        for member in members.values():
            # Waiting for the other one is not its fault.
            member.renew_patience()
    if len(members) > 1:
        return FamiliesGateway(members, tolerant=request.state != "present")
    return next(iter(members.values()), None)


def _left_in(request: Request, selection: Selection, keeping: Keeping | None) -> set[str]:
    """Return the families in which this host may have made mappings of the same services, as far as it wrote that down."""
    names = {one.name for one in request.wanted} if request.state == "present" else _names(request)
    tags = [(parse_tag(record.description), record.family) for record in _open_records(selection)[0]]
    families = {family for tag, family in tags if tag is not None and (names is None or tag.name in names)}
    if keeping is not None and names is not None:
        families.update(kept.family for kept in keeping.mappings if kept.name in names)
    return families


def _not_asked(request: Request, selection: Selection, plan: MappingPlan, gateway: Gateway | None, host: Host) -> list[str]:
    """Name what is recorded as this host's and is not removed: a protocol that does not answer now, or another router, may hold it still."""
    names, moment = _names(request), moments.now()
    removed = {(entry.key, entry.internal_client) for step in plan.steps for entry in step.delete}
    told = []
    for record in _open_records(selection)[0]:
        entry = entry_of(record)
        owner, name = owner_of(entry, host)
        if owner != OURS or not (names is None or name in names) or (entry.key, entry.internal_client) in removed:
            continue
        if gateway is not None and _is_taken(gateway, record):
            continue
        what = f"{entry.protocol} port {entry.external_port}{' over IPv6' if entry.family == IPV6 else ''} to {entry.internal_client} ({name})"
        left = f"until its lease ends in {max(1, int(record.left(moment)))} s"
        if record.abandoned:
            told.append(f"{what} stays open {left}: the router did not let go of it when this host's address changed")
        else:
            told.append(
                f"{what} was made by {record.method} at {record.gateway}, which was not asked or does not answer now, so it was not taken back and may be open"
                f" {left}. Run again with method auto once that router answers"
            )
    return told


def _is_taken(gateway: Gateway, record: Record) -> bool:
    """Whether the router shows that a port leads elsewhere by now, so that what is recorded is over."""
    member = gateway.members().get(IPV4)
    if record.family != IPV4 or member is None or member.describe().address != record.gateway:
        return False
    with contextlib.suppress(PortmapError):
        shown = member.find(record.protocol, record.external_port)
        return shown is not None and (shown.internal_client, shown.internal_port) != (record.internal_client, record.internal_port)
    return False


def _warn_not_found(family: str, problem: PortmapError, result: Result) -> None:
    # Nothing can be read and nothing removed. On most lines without UPnP nothing was ever mapped, so this is no failure.
    if family == IPV6:
        result.warnings.append(f"what this host opened for IPv6 could not be taken back: {_text(problem)}. It is open until its lease ends, a day at most")
    elif not isinstance(problem, NoNatError):
        result.warnings.append(
            f"no mapping could be looked for: {problem}. If this host had mappings and UPnP was switched off in the router since, they may still be open"
            " there until it is restarted"
        )


def _kept(plan: MappingPlan, wanted: Sequence[Wanted], gateway: Gateway, host: Host, way: Way, earlier: dict[Key, Kept | None]) -> list[Kept]:
    """Return what shall stay. When a lease was last set is known better from earlier, unless it was set now."""
    moment, members = moments.now(), gateway.members()
    mappings = []
    for row, one in zip(plan.rows, wanted):
        if row.entry is None or row.external_port is None:
            continue
        key = make_key(one.protocol, row.external_port, one.family)
        client, router = host.address_of(one.family), members[one.family].describe().address
        before = earlier.get(key)
        same = before is not None and (before.name, before.port, before.client) == (one.name, one.port, client)
        granted, since = (before.granted, before.since) if before is not None and same else (float(row.entry.lease), moment)
        method = gateway.method_of(*key)
        mappings.append(
            Kept(
                *(one.name, one.protocol, one.external_port, row.external_port, one.port, one.lease, method, router, client, granted, since, way),
                family=one.family,
            )
        )
    return mappings


def _remove(request: Request, result: Result, plan: MappingPlan, gateway: Gateway, host: Host) -> None:
    failures: dict[Entry, str] = {}
    advice = ""
    steps, again = plan.steps, plan
    for _reading in range(_READINGS):
        outcome = remove(gateway, again)
        failures.update(outcome.failures)
        advice = advice or outcome.advice
        result.warnings.extend(outcome.warnings)
        if not again.steps and not gateway.piecemeal:
            break
        # What others write while a list is read one by one moves it, and something of ours may have been passed over.
        again = _left_over(request, gateway, host, failures, result)
        if not again.steps:
            break
        steps = [*steps, *again.steps]
        if request.named is None:
            plan.rows.extend(again.rows)
    result.warnings.extend(gateway.notes())
    for row in plan.rows:
        if row.entry in failures:
            row.state, row.error = "error", failures[row.entry]
        else:
            row.state, row.entry, row.owner = "absent", None, None
    result.plan = replace(plan, steps=steps).plan
    result.data["plan"] = result.plan.as_data()
    result.changed = len(failures) < len(steps)
    _report(result, plan, gateway, host, {})
    if failures:
        rest = "; every other mapping was removed" if result.changed else ""
        problem = GatewayError(f"{'; '.join(failures.values())}{rest}")
        problem.advice = advice
        raise problem
    _require_all_lists(gateway, "; everything else was removed")


def _require_all_lists(gateway: Gateway, rest: str = "; everything else would be removed") -> None:
    if isinstance(gateway, FamiliesGateway) and gateway.problems:
        raise GatewayError(f"{'; '.join(gateway.problems)}{rest}")


def _left_over(request: Request, gateway: Gateway, host: Host, failures: dict[Entry, str], result: Result) -> MappingPlan:
    gateway.renew_patience(UNDO)
    try:
        entries = gateway.list()
    except GatewayError as error:
        # Each removal was read back by itself.
        result.warnings.append(f"whether the router lists more of this host's mappings could not be read in the end: {_text(error)}")
        return MappingPlan()
    failed = {entry.key for entry in failures}
    return plan_absent(request.named, [entry for entry in entries if entry.key not in failed], host, request.originals)


def host_of(gateway: Gateway) -> Host:
    """Return this host as the router sees it."""
    sources = {family: member.describe().source_address for family, member in gateway.members().items()}
    return Host(sources.get(IPV4, ""), host_id(), sources.get(IPV6, ""))


def _text(error: PortmapError | OwnershipError) -> str:
    """Return what happened and what to do about it."""
    advice = getattr(error, "advice", "")
    return f"{error}. {advice}" if advice else str(error)


def _blame(rows: Sequence[Row], error: ApplyError, host: Host) -> None:
    """Say of the mapping that failed why, and of those that could not be put back; the others are only not there because of it."""
    for entry in (*error.unsettled, *([error.failed] if error.failed is not None else [])):
        concerned = [row for row in rows if row.key == entry.key]
        # What had to go first because its service moved, belongs to that service.
        concerned = concerned or [row for row in rows if owner_of(entry, host) == (OURS, row.name)]
        for row in concerned:
            row.error = _text(error.cause) if error.complete else _text(error)
            if row.state != "present":
                row.state = "error"


def _require_global(gateway: Gateway, data: dict[str, Any]) -> None:
    wan, kind = data["wan_address"], data["wan_address_class"]
    gateway.require_global(is_publishable)
    if wan is not None and is_publishable(wan):
        return
    if wan is None and not gateway.tells_wan_address:
        # It comes with the first mapping, which is given back if the address is of no use.
        return
    what = f"the WAN address of the router is {wan}, of the class {kind}, so" if wan else "the router has no WAN address that it could name, so"
    problem = NoGatewayError(
        f"nothing was changed: {what} the Internet cannot reach it and a mapping would lead nowhere. Ask the provider for a global address, or, if another"
        " router in front of this one forwards everything, set require_global_wan to false"
    )
    problem.family = IPV4
    raise problem


def read_plan(request: Request, gateway: Gateway, host: Host) -> MappingPlan:
    """Read what the router holds, and plan from there."""
    entries = gateway.list()
    if request.state != "present":
        if gateway.incomplete:
            entries.extend(_named_beyond(request.named, gateway, {entry.key for entry in entries}))
        return plan_absent(request.named, entries, host, request.originals)
    translating = gateway.members().get(IPV4)
    if translating is not None and not translating.capabilities().lists:
        _check_inside([one for one in request.wanted if one.family == IPV4], translating.describe().method)
    listed = {entry.key for entry in entries}
    wanted = [_as_granted(one, request, gateway, entries, host) for one in request.wanted]
    for one in wanted:
        if one.key in listed:
            continue
        # Forwardings that were typed in on the router's page are missing in some routers' lists, but are found when asked for.
        try:
            found = gateway.find(*one.key)
        except ProtocolError:
            continue
        if found is not None:
            entries.append(found)
    plan = plan_present(wanted, entries, host, request.adopt, request.allow_other_external_port)
    for row, asked in zip(plan.rows, request.wanted):
        row.requested_external_port = asked.external_port
    return plan


def _named_beyond(named: Sequence[Named] | None, gateway: Gateway, listed: set[Key]) -> list[Entry]:
    """Return what a list that is not whole does not have, as far as its port is known."""
    if not named or any(one.external_port is None for one in named):
        raise GatewayError(
            f"nothing was removed: {gateway.incomplete}, so this host's mappings cannot all be found. Give the external_port of each mapping that shall go, or"
            " restart the router, which clears most tables"
        )
    keys = dict.fromkeys(make_key(one.protocol or "tcp", one.external_port or 0) for one in named if one.family == IPV4)
    found = [gateway.find(*key) for key in keys if key not in listed]
    return [entry for entry in found if entry is not None]


def _check_inside(wanted: Sequence[Wanted], method: str) -> None:
    """NAT-PMP and PCP know a mapping by the port of the host, so there is one for each."""
    seen: dict[tuple[str, int], str] = {}
    for one in wanted:
        other = seen.setdefault((one.protocol, one.port), one.name)
        if other != one.name:
            raise BadRequestError(
                f"mapping {one.name!r}: port {one.port}/{one.protocol} of this host is mapped for {other!r} too, and {method} gives each port of a host one"
                " external port only: use method upnp, or another port"
            )


def _as_granted(one: Wanted, request: Request, gateway: Gateway, entries: Sequence[Entry], host: Host) -> Wanted:
    """Ask for no longer lease than there is, and for the port that was given last time, if any will do."""
    port = one.external_port
    if request.allow_other_external_port and one.family == IPV4:
        taken = {other.key for other in request.wanted}
        for entry in entries:
            same = (
                (entry.protocol, entry.family) == (one.protocol, one.family) and entry.internal_port == one.port and owner_of(entry, host) == ("ours", one.name)
            )
            if same and entry.key not in taken and gateway.requested_port(*entry.key) == port:
                port = entry.external_port
                break
    longest = gateway.max_lease(one.protocol, port, one.family)
    lease = longest if longest < MAX_LEASE and not 0 < one.lease <= longest else one.lease
    return replace(one, external_port=port, lease=lease)


def _report(result: Result, plan: MappingPlan, gateway: Gateway, host: Host, entries: dict[Key, Entry]) -> None:
    for row in plan.rows:
        if row.key is None:
            continue
        after = entries.get(row.key)
        if after is not None:
            row.entry, row.state, row.owner, row.external_port = after, "present", "ours", after.external_port
    result.data["mappings"] = [_row_data(row, _method(row, gateway), host) for row in plan.rows]
    result.data["left"] = [_info_row(entry, host) for entry in plan.left]


def _method(row: Row, gateway: Gateway) -> str | None:
    member = gateway.members().get(row.family)
    if member is None:
        return None
    return member.describe().method if row.key is None else member.method_of(*row.key)


def _row_data(row: Row, method: str | None, host: Host | None) -> dict[str, Any]:
    entry = row.entry
    foreign = None
    if entry is not None and row.owner != "ours":
        foreign = {"internal_client": entry.internal_client, "internal_port": entry.internal_port, "description": entry.description}
    return {
        "name": row.name,
        "family": row.family,
        "protocol": row.protocol,
        "external_port": row.external_port,
        "requested_external_port": row.requested_external_port,
        "port": row.port,
        "method": method,
        "internal_client": (host.address_of(row.family) or None) if host else None,
        "state": row.state,
        "owner": row.owner,
        "lease": entry.lease if entry is not None and row.state != "absent" else None,
        "renewed": row.renewed,
        "description": entry.description if entry is not None and row.state != "absent" else None,
        "foreign": foreign,
        "error": row.error,
    }


def _info_row(entry: Entry, host: Host, unread: str = "") -> dict[str, Any]:
    owner, name = owner_of(entry, host)
    if unread and owner == UNTAGGED_OURS:
        # Routers show what was made by PCP and NAT-PMP without our tag: only the records could tell.
        owner = "unknown"
    return {**entry.as_data(), "family": entry.family, "remote_host": entry.remote_host, "lease": entry.lease, "owner": owner, "name": name}


__all__ = ["METHODS", "Named", "Request", "Result", "Selection", "Wanted", "open_gateway", "run", "run_info"]
