# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a publication: what is being changed, what was changed last, and who is doing it.

Private to this collection. A run writes what it is going to do before it does it (pending), and what it did when all of
it is done (committed). A run that was killed leaves its pending record; the next run, in either direction, starts from the
union of both records, so that nothing that may exist is forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import _history
from ._plan import Change, Plan, compare
from ._state import StateDir

COMMITTED = "publication.json"
PENDING = "pending.json"
PROOF = "proof.json"

#: For how long a run is believed to be alive when nobody can look (seconds).
RUN_LIFETIME = 1800


class JournalError(Exception):
    """The journal cannot be written now."""


class RunHeld(JournalError):
    """Another run holds this host.

    Attributes:
        holder: its record.
    """

    def __init__(self, holder: Mapping[str, Any]) -> None:
        super().__init__(
            f"the run {holder.get('run_id')} on {holder.get('controller')} (process {holder.get('pid')}) has been changing this host since "
            f"{rfc3339(float(holder.get('started', 0)))}; wait for its end, or until {rfc3339(float(holder.get('expires', 0)))} if it is dead"
        )
        self.holder = dict(holder)


@dataclass(frozen=True)
class Run:
    """The playbook run that calls.

    Attributes:
        run_id: unique per run.
        controller: id of the machine that Ansible runs on.
        pid: process of that run there.
        pid_started: start time of the process as the kernel counts it; tells a reused pid from the same process.
    """

    run_id: str
    controller: str
    pid: int
    pid_started: int

    def record(self, now: float, lifetime: float) -> dict[str, Any]:
        """Return the run's record for the state directory."""
        return {
            "run_id": self.run_id,
            "controller": self.controller,
            "pid": self.pid,
            "pid_started": self.pid_started,
            "started": now,
            "expires": now + lifetime,
        }


class Journal:
    """The journal in a state directory. Reading creates nothing."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def status(self) -> dict[str, Any]:
        """Return committed, pending and proof as they were written, and the run that holds the host, None for what is absent; and the line's history."""
        return {
            "committed": self._state.read(COMMITTED),
            "pending": self._state.read(PENDING),
            "proof": self._state.read(PROOF),
            "holder": self._state.run_holder(),
            "history": _history.load(self._state),
        }

    def plan_pending(self, publication: Mapping[str, Any] | None) -> Plan:
        """Return what a run that leads to this publication (None: to nothing) would add to the journal."""
        status = self.status()
        before = _content(status["committed"])
        plan = Plan()
        if before != publication or status["pending"] is not None:
            plan.add(compare("journal", PENDING, status["pending"], {"publication": publication, "after": before}))
        return plan

    def begin(self, run: Run, publication: Mapping[str, Any] | None, originals: Mapping[str, Any], break_run: str = "", now: float | None = None) -> Plan:
        """Take the host for this run and write down what it is going to do.

        Args:
            run: the caller.
            publication: what shall be published when the run is over, None for nothing.
            originals: foreign things as they are before this run changes them, by name.
            break_run: id of a holder that is known to be dead.
            now: seconds since 1970, for tests.

        Raises:
            RunHeld: another run holds the host.
        """
        moment = time.time() if now is None else now
        with self._state.lock():
            holder = self._state.run_holder(moment)
            if holder is not None and holder.get("run_id") not in (run.run_id, break_run):
                raise RunHeld(holder)
            status = self.status()
            plan = self.plan_pending(publication)
            self._state.take_run(run.record(moment, RUN_LIFETIME))
            if plan.changed:
                earlier = status["pending"] or {}
                self._state.write(
                    PENDING,
                    {
                        "publication": publication,
                        "after": _content(status["committed"]),
                        # What an earlier run that never ended was about: it may have been done in part.
                        "interrupted": _merge(earlier.get("interrupted"), earlier.get("publication")),
                        "originals": {**dict(originals), **earlier.get("originals", {})},
                        "since": rfc3339(moment),
                        "run_id": run.run_id,
                    },
                )
        return plan

    def commit(
        self,
        run: Run,
        publication: Mapping[str, Any] | None,
        proof: Mapping[str, Any] | None,
        observation: Mapping[str, Any] | None = None,
        now: float | None = None,
    ) -> Plan:
        """Write down that it is done and let the host go. A publication of None removes every trace of the journal.

        What was observed of the line goes into its history; that is no change.
        """
        moment = time.time() if now is None else now
        plan = self.plan_commit(publication)
        with self._state.lock():
            holder = self._state.run_holder(moment)
            if holder is not None and holder.get("run_id") != run.run_id:
                raise RunHeld(holder)
            pending = self._state.read(PENDING) or {}
            if publication is None:
                for name in (COMMITTED, PENDING, PROOF):
                    self._state.remove(name)
                _history.forget(self._state)
            else:
                if plan.changed:
                    committed = self._state.read(COMMITTED) or {}
                    self._state.write(
                        COMMITTED,
                        {
                            "publication": publication,
                            "since": rfc3339(moment),
                            "originals": {**pending.get("originals", {}), **committed.get("originals", {})},
                        },
                    )
                if proof is not None:
                    self._state.write(PROOF, {"proof": proof, "time": rfc3339(moment)})
                if observation is not None:
                    _history.note(self._state, observation)
                self._state.remove(PENDING)
            self._state.release_run()
        if publication is None:
            self._state.remove_if_empty()
        return plan

    def plan_commit(self, publication: Mapping[str, Any] | None) -> Plan:
        """Return how the committed record would change."""
        plan = Plan()
        plan.add(compare("journal", COMMITTED, _content(self._state.read(COMMITTED)), publication))
        if publication is None and not plan.changed and self._state.read(PENDING) is not None:
            plan.add(Change("remove", "journal", PENDING, self._state.read(PENDING)))
        return plan

    def release(self, run: Run, observation: Mapping[str, Any] | None = None) -> None:
        """Let the host go without a commit; the pending record stays."""
        with self._state.lock():
            holder = self._state.run_holder()
            if holder is not None and holder.get("run_id") == run.run_id:
                if observation is not None:
                    _history.note(self._state, observation)
                self._state.release_run()


def known_services(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every service that may be published now: of the committed plan, of the pending one and of interrupted ones.

    A service whose port was changed stands there with each of its ports.
    """
    pending = status.get("pending") or {}
    return _union(pending.get("interrupted"), pending.get("publication"), _content(status.get("committed")))


def known_names(status: Mapping[str, Any]) -> list[str]:
    """Return every DNS name that may be published now."""
    pending = status.get("pending") or {}
    names = []
    for publication in (pending.get("interrupted"), pending.get("publication"), _content(status.get("committed"))):
        publication = publication or {}
        names += [publication.get("name"), *(publication.get("earlier_names") or ())]
    return sorted({name for name in names if name})


def rfc3339(moment: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _content(record: Any) -> Any:
    return record.get("publication") if isinstance(record, dict) else None


def _merge(first: Any, second: Any) -> Any:
    if not first or not second:
        return first or second
    names = sorted({name for name in (first.get("name"), *(first.get("earlier_names") or ())) if name})
    return {**first, **second, "services": _union(first, second), "earlier_names": names}


def _union(*publications: Any) -> list[dict[str, Any]]:
    services: dict[tuple[str, ...], dict[str, Any]] = {}
    for publication in publications:
        for service in (publication or {}).get("services") or ():
            key = tuple(str(service.get(part, "")) for part in ("name", "protocol", "port", "external_port"))
            services[key] = dict(service)
    return [services[key] for key in sorted(services)]
