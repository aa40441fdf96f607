# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision: is the name right, what would make it right, may that be done, was it done.

Private to this collection. The same code runs in the module (with and without check mode) and in the agent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from .._dns._authority import Answer, Question, ask_until, judged, matches
from .._dns._lookup import Server
from .._dns._name import DnsError, Name, name_to_text
from .._dns._survey import rfc3339
from .._dns._wire import TYPES
from .._history import forget as forget_history
from .._history import note, prefix_of
from .._plan import Plan, compare
from .._state import StateDir, StateError
from ._config import RTYPES, Config
from ._driver import ChangedMeanwhile, Driver, RecordSet, RetryLater, StopTrying
from ._drivers import make_driver
from ._guard import check_publishable, passing
from ._memory import FILE, Memory
from ._reading import authorities_of
from ._result import BUSY, CONFIG, FOREIGN, LAGGING, OK, RETRY, STOP, UNCHANGED, UNKNOWN, DdnsError, Outcome
from ._sources import Source, make_source
from ._writers import find_writers, warning

KIND = "dns_record"

#: Sources that may be wrong for a moment: a change that they report must be seen twice.
_DOUBTFUL = ("router", "command")


class _Overtaken(DdnsError):
    """Somebody else changed the records between our reading and writing."""


class _NotYet(DdnsError):
    """What is to be sent would come too soon after what was sent. That is no failure."""


@dataclass(frozen=True)
class Parts:
    """What the engine works with; tests put their own in."""

    driver: Callable[[Config, str], Driver] = make_driver
    source: Callable[[Config], Source] = make_source
    authorities: Callable[[Config], Sequence[Server]] = authorities_of
    ask: Callable[..., list[Answer]] = ask_until
    passing: Callable[[str, str], str] = passing
    writers: Callable[[Name], list[dict[str, str]]] = find_writers
    clock: Callable[[], float] = time.time


class Engine:
    """One run.

    Args:
        config: the settings.
        secret: the TSIG secret in Base64, or the password.
        state: the state directory.
        apply: whether anything may be changed; if not, nothing is written anywhere.
        now: whether somebody waits for the result: then neither an earlier stop nor a back-off counts, and a change need not be seen twice.
        run_id: the playbook run that this run is a part of.
    """

    def __init__(
        self, config: Config, secret: str, state: StateDir, apply: bool = True, now: bool = False, run_id: str = "", parts: Parts | None = None
    ) -> None:
        self._config = config
        self._secret = secret
        self._state = state
        self._apply = apply
        self._now = now
        self._run_id = run_id
        self._parts = parts or Parts()
        self._memory = Memory()
        self._seen: dict[str, str] = {}
        self._error: DdnsError | None = None
        self._notes: list[str] = []
        self._outcome = Outcome(UNCHANGED, "", name=config.full_name)

    def present(self) -> Outcome:
        """Make the name point here."""
        return self._run(self._present)

    def absent(self) -> Outcome:
        """Take back what this host published, and forget it."""
        if not os.path.isdir(self._state.path):
            # Holding the lock would create the directory.
            self._finish(UNCHANGED, "this host publishes no name")
            return self._outcome
        return self._run(self._absent)

    # -- the frame around both --------------------------------------------------------------------------------------------------------------

    def _run(self, job: Callable[[], None]) -> Outcome:
        try:
            made = not os.path.isdir(self._state.path)
            with self._alone():
                self._memory = Memory.load(self._state)
                self._memory.made_directory |= made
                try:
                    self._check_name()
                    if self._held_back():
                        return self._outcome
                    job()
                except DdnsError as error:
                    self._error = error
                    self._finish(error.result, str(error))
                notes = (*self._notes, warning(self._config.full_name, self._outcome.second_writers))
                self._outcome.message = "; ".join(filter(None, (self._outcome.message, *notes)))
                self._remember()
        except DdnsError as error:
            self._finish(error.result, str(error))
        except StateError as error:
            self._finish(CONFIG, str(error))
        return self._outcome

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the host for the time of this run, if anything may be changed at all."""
        with contextlib.ExitStack() as stack:
            if self._apply:
                self._check_holder()
                try:
                    stack.enter_context(self._state.lock())
                except StateError as error:
                    raise DdnsError(BUSY if os.path.isdir(self._state.path) else CONFIG, str(error)) from error
                self._check_holder()
            yield

    def _check_holder(self) -> None:
        holder = self._state.run_holder()
        if holder is not None and holder.get("run_id") != (self._run_id or None):
            raise DdnsError(BUSY, f"the playbook run {holder.get('run_id')} is changing this host; nothing was done, the next run comes by itself")

    def _check_name(self) -> None:
        there = self._memory.name
        if self._memory.owned and there != self._config.full_name:
            raise DdnsError(
                CONFIG, f"name is {self._config.full_name}, but this host still publishes {there}; take that back first (role ddns with ddns_state: absent)"
            )

    def _held_back(self) -> bool:
        """Return whether an earlier failure forbids a try now, and say so."""
        memory = self._memory
        if self._now:
            return False
        if memory.stop is not None and memory.stop.get("fingerprint") == self._config.fingerprint(self._secret):
            self._finish(
                STOP, f"{memory.stop.get('reason')}. Since {memory.stop.get('since')} nothing was tried; a changed setting or a run of the role ends that"
            )
            return True
        if memory.waits(self._parts.clock()):
            reason = (memory.last or {}).get("message", "")
            self._finish(
                RETRY,
                f"the next try is made after {rfc3339(memory.not_before)}; the last one failed: {reason}".replace(
                    "; the last one failed: the next", "; the next"
                ),
            )
            return True
        return False

    def _finish(self, result: str, message: str) -> None:
        self._outcome.result = result
        self._outcome.message = message

    def _remember(self) -> None:
        """Write down how it ended, for the next run and for people."""
        if not self._apply:
            return
        if not self._memory.owned and not self._memory.lagging and (self._now or self._outcome.result == UNCHANGED):
            # Nothing is published, and nothing may be: a run that somebody watched leaves no trace.
            self._leave_no_trace()
            return
        memory, outcome, now = self._memory, self._outcome, self._parts.clock()
        if outcome.result in (OK, UNCHANGED, LAGGING):
            memory.worked()
        elif outcome.result == STOP:
            memory.stop = {"fingerprint": self._config.fingerprint(self._secret), "reason": outcome.message, "since": rfc3339(now)}
        elif outcome.result in (RETRY, UNKNOWN) and not isinstance(self._error, _NotYet):
            memory.failed(now, self._error.wait if isinstance(self._error, RetryLater) else 0.0)
        same = memory.last is not None and (memory.last.get("result"), memory.last.get("message")) == (outcome.result, outcome.message)
        # A quiet host writes once an hour.
        if not same or now - float((memory.last or {}).get("moment", 0)) >= 3600:
            memory.last = {"result": outcome.result, "exit_status": outcome.exit_status, "message": outcome.message, "time": rfc3339(now), "moment": int(now)}
        memory.save(self._state)
        if self._seen and memory.owned:
            prefix = prefix_of(self._seen["ipv6"]) if "ipv6" in self._seen else None
            note(self._state, {"time": rfc3339(now), "ipv4": self._seen.get("ipv4"), "ipv6_prefix": prefix})

    # -- publish ----------------------------------------------------------------------------------------------------------------------------

    def _present(self) -> None:
        self._outcome.second_writers = self._parts.writers(self._config.name)
        driver = self._parts.driver(self._config, self._secret)
        wanted, problems = self._wanted()
        # What was typed was not seen, and what a doubtful source says is believed once it is confirmed.
        source = self._config.address_source
        seen = {family: wanted[RTYPES[family]].values[0] for family in self._config.families if source != "static" and RTYPES[family] in wanted}
        self._seen = {} if source in _DOUBTFUL else seen
        current = driver.read(["A", "AAAA"])
        self._show_before(current)
        self._refuse_foreign(current, wanted)
        wanted = self._possible(driver, current, wanted)
        plan = Plan()
        for rtype, record_set in wanted.items():
            plan.add(compare(KIND, f"{self._config.full_name} {rtype}", current.get(rtype, RecordSet()).as_data(), record_set.as_data(), self._why(rtype)))
        waiting = self._unconfirmed(current, wanted)
        if waiting:
            self._finish(UNCHANGED, waiting)
            return
        self._seen = seen
        self._outcome.plan = plan
        self._outcome.changed = plan.changed
        self._outcome.after = {rtype: list(wanted.get(rtype, current.get(rtype, RecordSet())).values) for rtype in ("A", "AAAA")}
        shown = self._shown(wanted)
        if not plan.changed:
            self._settle(wanted)
            self._memory.shown(wanted)
            if not self._apply:
                # A new key would otherwise show that it is wrong only when the address changes.
                driver.check()
            text = f"{self._config.full_name} is {shown} already"
            if self._apply and self._renew(driver, current, wanted):
                text += "; the provider was told once more, because it forgets names that it does not hear of"
            self._prove(wanted, UNCHANGED, text) if self._memory.lagging else self._finish(UNCHANGED, text)
        elif not self._apply:
            self._outcome.changed = False
            driver.check()
            self._outcome.changed = True
            self._finish(OK, f"{self._config.full_name} would become {shown}")
        elif self._update(driver, current, wanted):
            self._prove(wanted, OK, f"{self._config.full_name} is {shown} now")
        if problems and self._outcome.result in (OK, UNCHANGED, LAGGING):
            self._finish(problems[0].result, f"{self._outcome.message}; but {'; '.join(str(problem) for problem in problems)}")

    def _possible(self, driver: Driver, current: Mapping[str, RecordSet], wanted: Mapping[str, RecordSet]) -> dict[str, RecordSet]:
        """Leave out what the provider cannot do: the TTL, or taking back a family that is no longer published."""
        found = {rtype: item if driver.sets_ttl else RecordSet(item.values, current.get(rtype, RecordSet()).ttl) for rtype, item in wanted.items()}
        given_up = {rtype: item for rtype, item in found.items() if not self._config.wants(rtype) and item.values != current.get(rtype, RecordSet()).values}
        # As long as an update may be on its way, the authorities may still have what this host published before it.
        known = not (driver.patience and self._memory.lagging)
        foreign = {t: "this host did not publish it" for t in given_up if known and current[t].values and not self._memory.ours(t, current[t])}
        refused = driver.refusals(current, {rtype: item for rtype, item in given_up.items() if rtype not in foreign})
        for rtype, reason in {**foreign, **refused}.items():
            del found[rtype]
            self._notes.append(f"{rtype} {' '.join(current[rtype].values)} stays, because {reason}")
            self._outcome.left.append({"type": rtype, "records": list(current[rtype].values)})
            for kept in (self._memory.published, self._memory.intended, self._memory.originals):
                kept.pop(rtype, None)
        return found

    def _wanted(self) -> tuple[dict[str, RecordSet], list[DdnsError]]:
        """Return the record sets that shall be there. A family whose address is not known stays as it is."""
        wanted: dict[str, RecordSet] = {}
        problems = []
        source = self._parts.source(self._config)
        for family in self._config.families:
            try:
                address = check_publishable(source(family), family, self._config.address_source, self._parts.passing)
            except DdnsError as error:
                problems.append(error)
                continue
            wanted[RTYPES[family]] = RecordSet((address,), self._config.ttl)
        if not wanted:
            raise problems[0]
        for rtype in self._memory.owned:
            if not self._config.wants(rtype):
                wanted[rtype] = self._memory.originals.get(rtype, RecordSet())
        return wanted, problems

    def _refuse_foreign(self, current: Mapping[str, RecordSet], wanted: Mapping[str, RecordSet]) -> None:
        if "CNAME" in current:
            target = ", ".join(current["CNAME"].values)
            raise DdnsError(FOREIGN, f"{self._config.full_name} is an alias of {target}; remove that record at the server, or choose another name")
        for rtype in wanted:
            found = current.get(rtype, RecordSet())
            if found.values and rtype not in self._memory.owned and not self._config.adopt:
                raise DdnsError(
                    FOREIGN,
                    f"{self._config.full_name} has the {rtype} record {', '.join(found.values)}, which this host did not publish; "
                    "choose another name, remove the record, or take it over with ddns_adopt: true",
                )

    def _why(self, rtype: str) -> str:
        return f"address from source {self._config.address_source}" if self._config.wants(rtype) else "the family is no longer published"

    def _unconfirmed(self, current: Mapping[str, RecordSet], wanted: Mapping[str, RecordSet]) -> str:
        """Return why a change waits for its confirmation; empty if it does not."""
        before, self._memory.candidate = self._memory.candidate, {}
        if self._now or self._config.address_source not in _DOUBTFUL:
            return ""
        for rtype, record_set in wanted.items():
            known = self._memory.published.get(rtype)
            if known is None or not self._config.wants(rtype) or record_set.values == known.values or record_set.values == current.get(rtype, known).values:
                continue
            self._memory.candidate[rtype] = record_set.values[0]
        if not self._memory.candidate or self._memory.candidate == before:
            self._memory.candidate = {}
            return ""
        seen = ", ".join(self._memory.candidate.values())
        return f"the {self._config.address_source} says {seen} for the first time; it is published if the next run sees it again"

    def _update(self, driver: Driver, current: Mapping[str, RecordSet], wanted: Mapping[str, RecordSet]) -> bool:
        """Send what differs; return whether anything was. What concerns one family only does not keep the other from being updated."""
        changing = {rtype: record_set for rtype, record_set in wanted.items() if current.get(rtype, RecordSet()).as_data() != record_set.as_data()}
        before = {rtype: current.get(rtype, RecordSet()) for rtype in changing}
        self._outcome.ttl_before = max((item.ttl for item in before.values() if item.values), default=None)
        self._outcome.changed = False
        problems: list[DdnsError] = []
        held: list[float] = []
        last = self._memory.last_sent()
        for group in [changing] if driver.together else [{rtype: record_set} for rtype, record_set in changing.items()]:
            until = self._not_before(driver, group, last)
            if until:
                held.append(until)
                continue
            try:
                self._send(driver, before, group)
            except DdnsError as error:
                problems.append(error)
                if isinstance(error, StopTrying):
                    break
        if problems:
            # A stop of one family is a stop; else who wants the longest wait gets it.
            raise max(problems, key=lambda error: (isinstance(error, StopTrying), error.wait if isinstance(error, RetryLater) else 0.0))
        if held and not self._outcome.changed:
            seen = ", ".join(f"{rtype} {' '.join(item.values) or '(none)'}" for rtype, item in before.items())
            self._finish(
                LAGGING,
                f"{self._config.row.title if self._config.row else 'the provider'} accepted {self._shown(changing)} for {self._config.full_name}, but the "
                f"authorities have {seen}; it is told again after {rfc3339(min(held))}. See whether another program, or the router, updates the name too",
            )
            return False
        for rtype in wanted:
            if rtype not in changing:
                self._settle({rtype: wanted[rtype]})
        return True

    def _not_before(self, driver: Driver, group: Mapping[str, RecordSet], last: float) -> float:
        """Return until when the same update is not repeated; 0 if it may be sent now.

        Raises:
            _NotYet: the provider takes no update so soon after the last one.
        """
        now, account = self._parts.clock(), self._config.account(self._secret)
        waits = [self._memory.may_send_again(rtype, item.values, driver.patience, account, now) for rtype, item in group.items()]
        if all(waits):
            return min(waits)
        if last - 300 <= now < last + driver.minimum:
            raise _NotYet(RETRY, f"the last update was sent less than {driver.minimum} s ago; the provider wants that much in between, so this one waits")
        return 0.0

    def _send(self, driver: Driver, before: Mapping[str, RecordSet], group: Mapping[str, RecordSet]) -> None:
        memory = self._memory
        earlier = dataclasses.replace(memory, originals=dict(memory.originals), intended=dict(memory.intended))
        for rtype in group:
            if rtype not in memory.owned and before[rtype].values:
                memory.originals[rtype] = before[rtype]
        memory.name, memory.settings = self._config.full_name, self._config.to_take_back()
        memory.intended.update(group)
        memory.intended_at = self._parts.clock()
        memory.lagging = True
        # Whoever dies between here and the answer leaves word of what may be there.
        memory.save(self._state)
        try:
            self._replace(driver, {rtype: before[rtype] for rtype in group}, group)
        except DdnsError as error:
            if isinstance(error, (StopTrying, _Overtaken)) or (isinstance(error, RetryLater) and not error.sent):
                # Refused or never received, so nothing of it is there.
                self._memory = earlier
            raise
        self._outcome.changed = True
        self._accepted(driver, group)
        self._settle(group)
        memory.save(self._state)

    def _accepted(self, driver: Driver, group: Mapping[str, RecordSet]) -> None:
        if driver.patience:
            for rtype, item in group.items():
                self._memory.accepted(rtype, item.values, self._parts.clock(), self._config.account(self._secret))

    def _renew(self, driver: Driver, current: Mapping[str, RecordSet], wanted: Mapping[str, RecordSet]) -> bool:
        """Tell the provider although nothing changed, where it drops names otherwise; return whether that was due."""
        if not driver.refresh:
            return False
        now = self._parts.clock()
        due = []
        for rtype, item in wanted.items():
            moment = float(self._memory.sent.get(rtype, {}).get("moment", 0))
            if item.values and self._config.wants(rtype) and not moment - 300 <= now < moment + driver.refresh:
                due.append(rtype)
        problems: list[DdnsError] = []
        for rtype in due:
            try:
                driver.replace({rtype: current[rtype]}, {rtype: wanted[rtype]})
            except DdnsError as error:
                problems.append(error)
                days = int((now - float(self._memory.sent.get(rtype, {}).get("moment", now))) // 86400)
                if days * 86400 >= 2 * driver.refresh:
                    self._notes.append(f"for {days} days no notice was accepted, and the provider drops names that it does not hear of; see to it soon")
                if isinstance(error, StopTrying):
                    break
                continue
            self._accepted(driver, {rtype: wanted[rtype]})
            self._memory.shown([rtype])
        if problems:
            raise max(problems, key=lambda error: (isinstance(error, StopTrying), error.wait if isinstance(error, RetryLater) else 0.0))
        return bool(due)

    def _replace(self, driver: Driver, before: Mapping[str, RecordSet], after: Mapping[str, RecordSet]) -> None:
        try:
            driver.replace(before, after)
        except ChangedMeanwhile as error:
            found = driver.read(list(after))
            if any(found.get(rtype, RecordSet()).values != record_set.values for rtype, record_set in after.items()):
                raise _Overtaken(RETRY, f"somebody else changed {self._config.full_name} at the same moment ({error}); nothing was done") from error

    def _settle(self, wanted: Mapping[str, RecordSet]) -> None:
        """Note what is published by this host now."""
        memory = self._memory
        memory.name, memory.settings = self._config.full_name, self._config.to_take_back()
        for rtype, record_set in wanted.items():
            memory.intended.pop(rtype, None)
            if self._config.wants(rtype):
                memory.published[rtype] = record_set
            else:
                memory.published.pop(rtype, None)
                memory.originals.pop(rtype, None)

    # -- proof ------------------------------------------------------------------------------------------------------------------------------

    def _prove(self, wanted: Mapping[str, RecordSet], result: str, text: str) -> None:
        """Ask every authority, until all have it or the time is over."""
        expected = {rtype: record_set.values for rtype, record_set in wanted.items()}
        try:
            servers = self._parts.authorities(self._config)
        except DnsError as error:
            self._memory.lagging = True
            self._finish(LAGGING, f"{text}, but the other authorities could not be found: {error}")
            return
        types = tuple(TYPES[rtype] for rtype in wanted)
        question = Question(self._config.name, types, self._config.zone)
        answers = self._parts.ask(servers, question, lambda found: matches(_reachable(found), expected), self._config.readback_timeout)
        self._outcome.authorities = [answer.as_data() for answer in answers]
        counted = judged(_reachable(answers))
        self._memory.lagging = not matches(counted, expected)
        if self._memory.lagging:
            late = "; ".join(_late(answer) for answer in counted if not matches([answer], expected))
            self._finish(LAGGING, f"{text}, but not at every authority: {late}")
        else:
            self._memory.shown(wanted)
            self._finish(result, f"{text}, at all {len(counted)} addresses of its authorities that this host can reach")

    # -- take back --------------------------------------------------------------------------------------------------------------------------

    def _absent(self) -> None:
        memory = self._memory
        if not memory.owned and not memory.lagging:
            self._forget("this host publishes no name")
            return
        driver = self._parts.driver(self._config, self._secret)
        # An update of a type that was never sent is no trace: the memory names every one that may have been.
        rtypes = memory.owned or ["A", "AAAA"]
        # Both are read: at some providers one cannot be removed without the other.
        current = driver.read(["A", "AAAA"])
        self._show_before(current)
        if self._on_its_way(driver, current):
            return
        wanted: dict[str, RecordSet] = {}
        for rtype in rtypes:
            found, original = current.get(rtype, RecordSet()), memory.originals.get(rtype, RecordSet())
            if not found.values or found.values == original.values:
                continue
            if memory.ours(rtype, found):
                wanted[rtype] = original
            elif memory.owned:
                self._outcome.left.append({"type": rtype, "records": list(found.values)})
        refusals = driver.refusals(current, wanted)
        for rtype in refusals:
            del wanted[rtype]
            self._outcome.left.append({"type": rtype, "records": list(current[rtype].values)})
        for rtype, record_set in wanted.items():
            reason = "back to what was there before" if record_set.values else "published by this host"
            self._outcome.plan.add(compare(KIND, f"{self._config.full_name} {rtype}", current[rtype].as_data(), record_set.as_data(), reason))
        self._outcome.changed = self._outcome.plan.changed
        self._outcome.after = {rtype: list(wanted.get(rtype, found).values) for rtype, found in current.items()}
        if not self._apply:
            self._finish(OK if wanted else UNCHANGED, f"{self._config.full_name} would be taken back: {self._shown(wanted) or 'nothing is left to take back'}")
            return
        if wanted:
            self._outcome.ttl_before = max(current[rtype].ttl for rtype in wanted)
            self._outcome.changed = False
            self._replace(driver, {rtype: current[rtype] for rtype in wanted}, wanted)
            self._outcome.changed = True
        kept = {row["type"]: row["records"] for row in self._outcome.left}
        expected = {rtype: wanted.get(rtype, current.get(rtype, RecordSet())) for rtype in rtypes if rtype not in kept}
        self._outcome.message = f"{self._config.full_name} was not touched"
        if expected:
            self._prove(expected, OK, f"{self._config.full_name} is {self._shown(expected)}")
            if self._outcome.result == LAGGING:
                return
        left = "".join(
            f"; {rtype} {' '.join(values)} was left alone, because {refusals.get(rtype, 'this host did not publish it')}" for rtype, values in kept.items()
        )
        self._forget(self._outcome.message + left, OK if wanted else UNCHANGED)

    def _on_its_way(self, driver: Driver, current: Mapping[str, RecordSet]) -> bool:
        """Return whether the authorities may still get what was sent: then that they do not have it proves nothing."""
        memory, now = self._memory, self._parts.clock()
        until = memory.intended_at + driver.patience
        seen = all(memory.ours(rtype, current.get(rtype, RecordSet())) for rtype in memory.owned)
        if seen or not memory.lagging or not memory.intended_at - 300 <= now < until:
            return False
        self._finish(
            LAGGING,
            f"the last update of {self._config.full_name} may still be on its way to the authorities, so nothing was taken back; run this again when they "
            f"have it, or after {rfc3339(until)}",
        )
        return True

    def _forget(self, message: str, result: str = UNCHANGED) -> None:
        self._memory = Memory(made_directory=self._memory.made_directory)
        self._finish(result, message)

    def _leave_no_trace(self) -> None:
        self._state.remove(FILE)
        forget_history(self._state)
        if self._memory.made_directory:
            self._state.remove_if_empty()

    # -- words ------------------------------------------------------------------------------------------------------------------------------

    def _show_before(self, current: Mapping[str, RecordSet]) -> None:
        self._outcome.before = {rtype: list(record_set.values) for rtype, record_set in current.items()}

    @staticmethod
    def _shown(wanted: Mapping[str, RecordSet]) -> str:
        return ", ".join(f"{rtype} {' '.join(item.values) if item.values else '(none)'}" for rtype, item in wanted.items())


def forget(state: StateDir, apply: bool) -> Outcome:
    """Forget what was published without taking it back."""
    memory = Memory.load(state)
    left = [{"type": rtype, "records": list(item.values)} for rtype, item in {**memory.published, **memory.intended}.items() if item.values]
    if apply and state.remove(FILE):
        forget_history(state)
        if memory.made_directory:
            state.remove_if_empty()
    message = f"{memory.name} was left as it is" if memory.name else "this host publishes no name"
    return Outcome(UNCHANGED, message, name=memory.name, left=left)


def _reachable(answers: list[Answer]) -> list[Answer]:
    """Leave out what no packet of this host can get to, for instance the IPv6 addresses where only IPv4 is to be had."""
    return [answer for answer in answers if answer.error_kind != "no_route"] or answers


def _late(answer: Answer) -> str:
    who = answer.server.address if answer.server.name is None else f"{name_to_text(answer.server.name)} ({answer.server.address})"
    if answer.error is not None:
        return f"{who}: {answer.error}"
    return f"{who} has {', '.join(f'{rtype} {value}' for rtype, values in answer.records.items() for value in values) or 'no record'}"
