# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the router's mappings, remove those that were named, and remember all that were seen.

Private to this collection.

Once UPnP is off nobody can list what it had opened. So it is written down while it can be.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._ownership import OwnershipError, host_id
from .._plan import Plan, compare
from .._portmap._errors import BadRequestError, NoGatewayError, PortmapError
from .._portmap._model import Gateway
from .._portmap._planning import Host
from .._portmap._service import Opener, Selection, gateway_data, open_gateway
from .._state import StateDir, StateError
from ._judge import CONSENTED, MAX_FORMER, Judged, check, judge, merge_former, unmatched

RECORD = "upnp.json"
_LOCK_TIMEOUT = 60.0
#: What is remembered of the router.
_REMEMBERED = ("address", "location", "product", "wan_address", "interface", "source_address")


@dataclass(frozen=True)
class Request:
    """What the module was asked for."""

    declared: Sequence[Mapping[str, Any]] = ()
    remove: Sequence[Mapping[str, Any]] = ()
    forget: bool = False


@dataclass
class Result:
    """What the module returns; C(error) is the text it fails with."""

    data: dict[str, Any] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    warnings: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def changed(self) -> bool:
        """Whether something is not as it was: what the router refused is planned and did not happen."""
        refused = sum(row["state"] != "removed" for row in self.data["mappings"] if row["decision"] == CONSENTED)
        return bool(len(self.plan.changes) > refused)


def run(request: Request, selection: Selection, check_mode: bool, opener: Opener = open_gateway) -> Result:
    """Do it, or say what would be done."""
    result = Result(
        data={
            "available": False,
            "reason": "",
            "incomplete": "",
            "gateway": None,
            "mappings": [],
            "unmatched": [],
            "former": [],
            "cut": False,
            "remembered": None,
        }
    )
    try:
        state = StateDir(selection.state_dir or "")
        if request.forget:
            _forget(state, result, check_mode)
        else:
            check(request.declared, request.remove)
            _run(request, selection, check_mode, opener, state, result)
    except (BadRequestError, OwnershipError, StateError) as error:
        result.error = str(error)
    result.data["plan"] = result.plan.as_data()
    return result


def _forget(state: StateDir, result: Result, check_mode: bool) -> None:
    record = state.read(RECORD)
    if record is None:
        return
    result.plan.add(compare("file", state.file(RECORD), f"{len(record.get('former') or ())} mappings", None))
    if not check_mode:
        with state.lock(_LOCK_TIMEOUT):
            state.remove(RECORD)
        state.remove_if_empty()


def _run(request: Request, selection: Selection, check_mode: bool, opener: Opener, state: StateDir, result: Result) -> None:
    data = result.data
    record = state.read(RECORD)
    record = record if isinstance(record, dict) else {}
    data["former"], data["remembered"] = list(record.get("former") or ()), record.get("gateway")
    data["cut"] = bool(record.get("cut"))
    try:
        gateway = opener(selection)
        data["gateway"] = gateway_data(gateway)
        entries = gateway.list()
    except BadRequestError:
        raise
    except PortmapError as error:
        # Where UPnP is off that is what is wanted.
        data["reason"] = _text(error)
        if not isinstance(error, NoGatewayError):
            result.warnings.append(f"the router's mappings cannot be read: {data['reason']}")
        return
    data["available"] = gateway.capabilities().lists
    data["incomplete"] = gateway.incomplete
    if not data["available"]:
        data["reason"] = f"the router speaks {data['gateway']['method']} only, which lists nothing; what is shown are this host's own mappings"
    rows = judge(entries, Host(data["gateway"]["source_address"], host_id()), request.declared, request.remove)
    data["unmatched"] = [dict(request.remove[number]) for number in unmatched(rows, request.remove)]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    data["former"] = merge_former(data["former"], rows, now)
    # Ports that nobody remembers cannot be shown closed, in no later run either.
    data["cut"] = data["cut"] or bool(data["incomplete"]) or len(data["former"]) >= MAX_FORMER
    data["remembered"] = {key: data["gateway"][key] or (record.get("gateway") or {}).get(key) for key in _REMEMBERED}
    if not check_mode:
        _remember(state, data, result)
    outcomes: list[tuple[str, str]] = []
    for row in rows:
        if row.decision == CONSENTED:
            name = f"{row.entry.protocol} {row.entry.external_port}"
            result.plan.add(compare("port_mapping", name, row.entry.as_data(), None, "named in remove"))
        outcomes.append(_carry_out(gateway, row, check_mode))
    data["mappings"] = [_row(row, *outcome) for row, outcome in zip(rows, outcomes)]
    problems = [f"{row['protocol']} port {row['external_port']}: {row['error']}" for row in data["mappings"] if row["error"]]
    if problems:
        result.warnings.append(f"not removed: {'; '.join(problems)}")


def _carry_out(gateway: Gateway, row: Judged, check_mode: bool) -> tuple[str, str]:
    """Return the state of a mapping, and why it could not be removed."""
    if row.decision != CONSENTED:
        return "present", ""
    if check_mode:
        return "removed", ""
    try:
        gateway.renew_patience()
        there = gateway.find(*row.entry.key)
        if there is not None and (there.internal_client, there.internal_port) != (row.entry.internal_client, row.entry.internal_port):
            return "present", f"it leads to {there.internal_client}:{there.internal_port} by now, which nobody named"
        if there is not None or row.entry.remote_host:
            gateway.delete(row.entry)
    except PortmapError as error:
        return "refused", _text(error)
    return "removed", ""


def _remember(state: StateDir, data: dict[str, Any], result: Result) -> None:
    try:
        with state.lock(_LOCK_TIMEOUT):
            state.write(RECORD, {"former": data["former"], "gateway": data["remembered"], "cut": data["cut"]})
    except (StateError, OSError) as error:
        result.warnings.append(f"what the router maps cannot be remembered, so a later run cannot tell whether these ports were closed: {error}")


def _row(row: Judged, state: str, error: str) -> dict[str, Any]:
    entry = row.entry
    return {
        "protocol": entry.protocol,
        "external_port": entry.external_port,
        "internal_client": entry.internal_client,
        "internal_port": entry.internal_port,
        "description": entry.description,
        "lease": entry.lease,
        "owner": row.owner,
        "name": row.name,
        "decision": row.decision,
        "state": state,
        "error": error,
    }


def _text(error: PortmapError) -> str:
    return f"{error}. {error.advice}" if error.advice else str(error)
