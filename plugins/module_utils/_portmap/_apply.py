# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a plan: mappings are made all or none, and removed as many as possible.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .._ownership import parse_tag
from ._errors import GatewayError, PortmapError
from ._model import Entry, Gateway, Key
from ._patience import UNDO, WRITE
from ._planning import MappingPlan


class ApplyError(GatewayError):
    """A write failed; what had been written before in the same call was taken back, as far as the text says.

    Attributes:
        cause: what failed.
        failed: the mapping that could not be made or removed.
        unsettled: those that could not be put back as they were.
    """

    def __init__(self, message: str, cause: PortmapError, failed: Entry | None = None, unsettled: Sequence[Entry] = ()) -> None:
        self.cause = cause
        self.failed = failed
        self.unsettled = tuple(unsettled)
        self.advice = cause.advice
        super().__init__(message)

    @property
    def complete(self) -> bool:
        """Whether the router holds what it held before."""
        return not self.unsettled


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        entries: what the router holds now, by the key that it was asked for.
        failures: what could not be removed, or was lost when it was to be renewed, and why.
        warnings: what is worth a warning.
        advice: what to do about the failures, where they do not say so themselves.
    """

    entries: dict[Key, Entry] = field(default_factory=dict)
    failures: dict[Entry, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    advice: str = ""


def make(gateway: Gateway, plan: MappingPlan) -> Outcome:
    """Make every change of a plan, or none of them, and renew what is due."""
    with gateway.recording([entry for step in plan.steps for entry in step.add]):
        return _make(gateway, plan)


def _make(gateway: Gateway, plan: MappingPlan) -> Outcome:
    outcome = Outcome()
    undo: list[_Undo] = []
    # Who does what is asked may go on taking time: each change that was made buys the next one as much again.
    gateway.renew_patience(WRITE)
    try:
        for step in plan.steps:
            # Noted before it is done: a router may do it and lose the answer.
            for entry in step.delete:
                undo.append(_Undo(entry, True, entry))
                gateway.delete(entry)
            for entry in step.add:
                undo.append(_Undo(entry, False, entry))
                after = gateway.add(entry)
                # Another port than the one asked for, where that is allowed.
                undo[-1] = _Undo(entry, False, after)
                _check_description(entry, after)
                outcome.entries[entry.key] = after
            gateway.renew_patience()
    except PortmapError as error:
        raise _take_back(gateway, undo, error) from error
    for row, entry in plan.renewals:
        try:
            after = gateway.add(entry)
        except PortmapError as error:
            row.renewed = False
            if _is_lost(gateway, entry):
                # Some are closed first, because they can be renewed in no other way.
                row.state, row.error = "error", f"mapping {row.name!r} was closed to be renewed, or had ended, and could not be made again: {error}"
                outcome.failures[entry] = row.error
                continue
            outcome.warnings.append(f"mapping {row.name!r} is there, but its lease was not renewed: {error}")
        else:
            outcome.entries[entry.key] = after
            gateway.renew_patience()
    return outcome


def _is_lost(gateway: Gateway, entry: Entry) -> bool:
    """Whether a mapping that was there is gone, as far as that can be told."""
    try:
        there = gateway.find(*entry.key)
    except PortmapError:
        return False
    return there is None or not there.enabled


def remove(gateway: Gateway, plan: MappingPlan) -> Outcome:
    """Remove what a plan removes, and give back what was taken over. One that cannot be removed does not keep the others open."""
    with gateway.recording([entry for step in plan.steps for entry in step.add]):
        return _remove(gateway, plan)


def _remove(gateway: Gateway, plan: MappingPlan) -> Outcome:
    outcome = Outcome()
    gateway.renew_patience(WRITE)
    removed = False
    for step in plan.steps:
        if removed:
            gateway.renew_patience()
        removed = False
        for entry in step.delete:
            try:
                gateway.delete(entry)
                removed = True
            except PortmapError as error:
                outcome.failures[entry] = str(error)
                outcome.advice = outcome.advice or error.advice
                break
        else:
            for entry in step.add:
                try:
                    gateway.add(entry)
                except PortmapError as error:
                    outcome.warnings.append(
                        f"{entry.protocol} port {entry.external_port} was removed, but what had been there before ({entry.description!r}) could not be put"
                        f" back: {error}. Start the program that made it again"
                    )
    return outcome


def _check_description(asked: Entry, after: Entry) -> None:
    kept = after.description.strip()
    if kept == asked.description:
        return
    if kept and asked.description.startswith(kept):
        raise GatewayError(
            f"the router cuts descriptions after {len(kept)} characters ({asked.description!r} came back as {kept!r}), so nobody could tell this mapping from"
            f" those of others later: choose a name for the service that is at least {len(asked.description) - len(kept)} characters shorter, or make the"
            " forwarding on the router's own page"
        )
    raise GatewayError(
        f"the router does not keep descriptions ({asked.description!r} came back as {kept!r}), so nobody could tell this mapping from those of others later:"
        " make the forwarding on the router's own page"
    )


@dataclass(frozen=True)
class _Undo:
    """What was done, or tried: an entry that was asked for, or was there and had to go; and how the router has, or had it."""

    asked: Entry
    was_there: bool
    entry: Entry


def _take_back(gateway: Gateway, undo: list[_Undo], error: PortmapError) -> ApplyError:
    problems: list[str] = []
    unsettled: list[Entry] = []
    restored = 0
    gateway.renew_patience(UNDO)
    for one in reversed(undo):
        was_there, entry = one.was_there, one.entry
        try:
            there = gateway.find(*entry.key)
            same = there is not None and (there.internal_client, there.internal_port) == (entry.internal_client, entry.internal_port)
            if there is not None and not was_there and parse_tag(entry.description) and there.description.strip() == entry.description:
                # It has our name, wherever the router made it lead to.
                same = True
            if was_there and not same:
                gateway.add(entry)
                restored += 1
            elif not was_there and same and there is not None:
                # Only what is as it was made here; what somebody else made meanwhile is theirs.
                gateway.delete(there)
                restored += 1
            gateway.renew_patience()
        except PortmapError as problem:
            problems.append(f"{entry.protocol} port {entry.external_port}: {problem}")
            unsettled.append(one.asked)
    # The last thing that was noted is what failed.
    failed = undo[-1].asked if undo else None
    if problems:
        return ApplyError(f"{error}. Not everything could be put back as it was: {'; '.join(problems)}", error, failed, unsettled)
    back = f"; {restored} earlier change{'s' if restored != 1 else ''} of this run {'were' if restored != 1 else 'was'} taken back" if restored else ""
    return ApplyError(f"{error}. The router holds what it held before{back}", error, failed)
