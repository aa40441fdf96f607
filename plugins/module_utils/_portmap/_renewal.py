# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the agent: look whether the router still holds what shall stay, renew what is due, make anew what is gone.

Private to this collection.

The same reading and planning as in the module decides; but here one mapping that cannot be had keeps no other one from being renewed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .._ownership import OwnershipError
from .._state import StateDir, StateError
from . import _moment as moments
from ._apply import make
from ._errors import GatewayError, PortmapError
from ._kept import CONFLICT, ERROR, HELD, Keeping, Kept, Way, due, status_row
from ._model import IPV6, Entry, Gateway, Key, Wanted
from ._patience import WRITE
from ._planning import OURS, Host, MappingPlan, Row, Step, owner_of
from ._service import Opener, Request, Selection, host_of, open_gateway, read_plan

OK = "ok"
UNCHANGED = "unchanged"
CONFIG = "config"
RETRY = "retry"
FOREIGN = "foreign"
BUSY = "busy"

#: The exit status of C(homeserver-agent renew), by result; equal words have equal numbers in all sub-commands. docs/port-mapping.md explains each.
EXIT_STATUS = {OK: 0, UNCHANGED: 0, CONFIG: 12, RETRY: 20, FOREIGN: 23, BUSY: 75}

_BUSY_AFTER = 10.0


@dataclass
class Renewed:
    """What a run found and did.

    Attributes:
        result: one of the words above.
        message: the explanation, for people.
        rows: what became of each mapping.
    """

    result: str
    message: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """The exit status that tells the same."""
        return EXIT_STATUS[self.result]

    def as_data(self) -> dict[str, Any]:
        """Return the outcome as a plain mapping."""
        return {"result": self.result, "exit_status": self.exit_status, "message": self.message, "mappings": self.rows}


class _Busy(Exception):
    """Somebody else is changing this host."""


class Renewal:
    """One run.

    Args:
        state: the state directory.
        run_id: the playbook run that this run is a part of.
        now: whether somebody waits for the result: then no earlier refusal keeps the router from being asked.
        opener: finds the router; tests put their own in.
    """

    def __init__(self, state: StateDir, run_id: str = "", now: bool = False, opener: Opener = open_gateway) -> None:
        self._state = state
        self._run_id = run_id
        self._now = now
        self._opener = opener
        self._actions: dict[tuple[str, Key], str] = {}
        self._left: list[str] = []

    def run(self) -> Renewed:
        """Keep everything mapped. Where nothing shall be, nothing is sent and nothing is created."""
        try:
            if not Keeping.load(self._state).mappings:
                return Renewed(UNCHANGED, "nothing is mapped that has to be renewed")
            with self._alone():
                keeping = Keeping.load(self._state)
                keeping.mappings = [kept for way, family in _ways(keeping.mappings) for kept in self._renew(way, family, keeping.mappings)]
                keeping.put([])
                outcome = self._outcome(keeping.mappings)
                self._remember(keeping, outcome)
        except _Busy as error:
            return Renewed(BUSY, str(error))
        except (PortmapError, StateError) as error:
            return Renewed(CONFIG, str(error))
        return outcome

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the host for the time of this run."""
        with contextlib.ExitStack() as stack:
            self._check_holder()
            try:
                stack.enter_context(self._state.lock(_BUSY_AFTER))
            except StateError as error:
                raise _Busy(str(error)) from error
            self._check_holder()
            yield

    def _check_holder(self) -> None:
        holder = self._state.run_holder()
        if holder is not None and holder.get("run_id") != (self._run_id or None):
            raise _Busy(f"the playbook run {holder.get('run_id')} is changing this host; nothing was done, the next run comes by itself")

    def _renew(self, way: Way, family: str, everything: Sequence[Kept]) -> list[Kept]:
        """Renew what is found in the same way."""
        mine = [kept for kept in everything if (kept.way, kept.family) == (way, family)]
        try:
            selection = Selection(way.method, way.gateway, way.interface, way.timeout, self._state.path, True, way.other_port, family)
            gateway = self._opener(selection)
            host = host_of(gateway)
            wanted = [Wanted(kept.name, kept.protocol, kept.requested, kept.port, kept.lease, family) for kept in mine]
            gateway.require_open(wanted)
            plan = read_plan(Request("present", wanted, allow_other_external_port=way.other_port), gateway, host)
        except (PortmapError, OwnershipError) as error:
            return [replace(kept, state=ERROR, error=str(error)) for kept in mine]
        steps = {entry.key: step for step in plan.steps for entry in step.add}
        self._leave_earlier_address(gateway, plan, mine, host)
        return [self._keep(kept, row, steps, gateway, host) for kept, row in zip(mine, plan.rows)]

    def _keep(self, kept: Kept, row: Row, steps: dict[Key, Step], gateway: Gateway, host: Host) -> Kept:
        if row.refused or row.external_port is None:
            return replace(kept, state=CONFLICT, error=row.error or "")
        moment = moments.now()
        step = steps.get(row.key) if row.key is not None else None
        if step is None and row.entry is not None:
            reason = due(kept, row.entry.lease, moment)
            if not reason:
                return replace(kept, state=HELD, error="", failures=0, tried=None, external_port=row.external_port)
            target = replace(row.entry, lease=_lease(kept, gateway, row.entry.key))
        elif step is not None:
            reason, target = _why(step, host), step.add[0]
        else:
            return replace(kept, state=ERROR, error=f"mapping {kept.name!r}: the router gave no answer that could be judged")
        if kept.waits(moment) and not self._now:
            return kept
        try:
            after = _execute(gateway, step, target)
        except PortmapError as error:
            return replace(kept, state=ERROR, error=str(error), failures=kept.failures + 1, tried=moment)
        finally:
            self._left.extend(gateway.notes())
        info = gateway.describe()
        renewed = replace(
            kept,
            external_port=after.external_port,
            method=gateway.method_of(*after.key),
            router=info.address,
            client=host.address_of(kept.family),
            granted=float(after.lease),
            since=moment,
            state=HELD,
            error="",
            failures=0,
            tried=None,
        )
        self._actions[_id(renewed)] = reason
        return renewed

    def _leave_earlier_address(self, gateway: Gateway, plan: MappingPlan, mine: Sequence[Kept], host: Host) -> None:
        """Remove what still leads to the address that this host had, on ports that are not asked for again."""
        earlier = {kept.client for kept in mine} - {host.address, host.address6}
        for step in plan.steps:
            for entry in step.delete:
                if not step.add and entry.internal_client in earlier and owner_of(entry, host)[0] == OURS:
                    gateway.renew_patience(WRITE)
                    try:
                        gateway.delete(entry)
                        gateway.renew_patience()
                    except PortmapError as error:
                        # It ends with its lease, since nothing renews it.
                        self._left.append(str(error))
                    self._left.extend(gateway.notes())

    def _outcome(self, mappings: Sequence[Kept]) -> Renewed:
        moment = moments.now()
        rows = [{**status_row(kept, moment), "action": self._action(kept)} for kept in mappings]
        conflicts = [kept.error for kept in mappings if kept.state == CONFLICT]
        errors = list(dict.fromkeys(kept.error for kept in mappings if kept.state == ERROR))
        words = [f"{kept.name} ({kept.protocol} {kept.external_port}{_over(kept)}): {_WORDS[action]}" for kept in mappings if (action := self._action(kept))]
        held = f"{sum(kept.state == HELD for kept in mappings)} of {len(mappings)} mapping{'s' if len(mappings) != 1 else ''} held"
        message = "; ".join([held, *words, *conflicts, *errors, *self._left])
        if errors:
            return Renewed(RETRY, message, rows)
        return Renewed(FOREIGN if conflicts else OK if words else UNCHANGED, message, rows)

    def _action(self, kept: Kept) -> str:
        return self._actions.get(_id(kept), "")

    def _remember(self, keeping: Keeping, outcome: Renewed) -> None:
        last = keeping.last or {}
        moment = moments.now()
        same = (last.get("result"), last.get("message")) == (outcome.result, outcome.message)
        # A quiet host writes once an hour.
        if not same or not 0 <= moment.wall - float(last.get("moment", 0)) < 3600:
            keeping.last = {"result": outcome.result, "exit_status": outcome.exit_status, "message": outcome.message, "moment": int(moment.wall)}
        keeping.save(self._state)


_WORDS = {
    "half": "renewed, half of the lease was over",
    "clock": "renewed, since the clock of this host was changed",
    "missing": "made anew, the router had forgotten it",
    "restarted": "made anew, the router restarted",
    "address": "made anew, the address of this host changed",
    "changed": "put right, something had changed it",
}


def _id(kept: Kept) -> tuple[str, Key]:
    return (kept.name, kept.key)


def _over(kept: Kept) -> str:
    return " over IPv6" if kept.family == IPV6 else ""


def _ways(mappings: Sequence[Kept]) -> list[tuple[Way, str]]:
    return list(dict.fromkeys((kept.way, kept.family) for kept in mappings))


def _lease(kept: Kept, gateway: Gateway, key: Key) -> int:
    longest = gateway.max_lease(*key)
    return kept.lease if 0 < kept.lease <= longest else longest if kept.lease else 0


def _why(step: Step, host: Host) -> str:
    if not step.delete:
        return "missing"
    before = step.delete[0]
    if before.internal_client != host.address_of(before.family):
        return "address"
    return "changed" if before.enabled else "restarted"


def _execute(gateway: Gateway, step: Step | None, target: Entry) -> Entry:
    """Make what is wanted, taking back what went wrong; what is there and would be the same is set anew without a gap."""
    away = tuple(entry for entry in step.delete if replace(entry, enabled=True, lease=target.lease) != target) if step is not None else ()
    if step is not None and (away or not step.delete):
        return make(gateway, MappingPlan(steps=[replace(step, delete=away)])).entries[target.key]
    gateway.renew_patience(WRITE)
    after = gateway.add(target)
    gateway.renew_patience()
    if after.description.strip() != target.description:
        where = f"{target.protocol} port {target.external_port}"
        raise GatewayError(f"the router holds {where} with the description {after.description!r} instead of {target.description!r}")
    return after
