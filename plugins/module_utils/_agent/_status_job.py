# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-command status: what is published and how the last runs ended. It changes nothing.

Private to this collection.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from .._ddns._memory import Memory
from .._dns._survey import rfc3339
from .._history import counted, load
from .._portmap import _moment as moments
from .._portmap._errors import GatewayError
from .._portmap._kept import Keeping, status_row
from .._state import StateDir, StateError


def run(options: argparse.Namespace, state: StateDir) -> dict[str, Any]:
    """Return what the command prints."""
    try:
        memory = Memory.load(state)
        keeping = Keeping.load(state)
        holder = state.run_holder()
    except (StateError, GatewayError) as error:
        return {"message": str(error), "exit_status": 1}
    published = {rtype: list(item.values) for rtype, item in memory.published.items() if item.values}
    last = memory.last or {}
    entries, now = load(state), rfc3339(time.time())
    line = {key: counted(entries, key, now) for key in ("ipv4", "ipv6_prefix")}
    moment = moments.now()
    rows = [{**row, "renewed": rfc3339(row["renewed"])} for row in (status_row(kept, moment) for kept in keeping.mappings)]
    lines = []
    if memory.name:
        records = ", ".join(f"{rtype} {' '.join(values)}" for rtype, values in published.items())
        lines.append(f"ddns: {memory.name} = {records or '(nothing yet)'}")
        lines.append(f"last result: {last.get('result')} ({last.get('time')}): {last.get('message')}")
    else:
        lines.append("ddns: this host publishes no name")
    if memory.lagging:
        lines.append("not proved at every authority: dns_record_info says which one lags, or does not answer (docs/dns.md, dns-secondary-lagging)")
    if memory.stop is not None:
        lines.append(f"stopped since {memory.stop.get('since')}: {memory.stop.get('reason')}")
    elif memory.failures:
        lines.append(f"failed {memory.failures} times in a row; next try after {rfc3339(memory.not_before)}")
    lines += _mappings(rows)
    if keeping.last is not None:
        lines.append(f"last renewal run: {keeping.last.get('result')} ({rfc3339(keeping.last.get('moment', 0))}): {keeping.last.get('message')}")
    lines += [_stability(text, line[key]) for key, text in (("ipv4", "IPv4 address"), ("ipv6_prefix", "IPv6 prefix")) if line[key]["observed_days"] is not None]
    if holder is not None:
        lines.append(f"the playbook run {holder.get('run_id')} is changing this host now")
    return {
        "message": "\n".join(lines),
        "exit_status": 0,
        "ddns": {
            "name": memory.name,
            "published": published,
            "lagging": memory.lagging,
            "failures": memory.failures,
            "not_before": rfc3339(memory.not_before) if memory.failures else None,
            "stopped": None if memory.stop is None else {"since": memory.stop.get("since"), "reason": memory.stop.get("reason")},
            "last": memory.last,
        },
        "renew": {"mappings": rows, "last": keeping.last},
        "line": line,
        "run": None if holder is None else holder.get("run_id"),
    }


def _mappings(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["port mappings: none that has to be renewed"]
    lines = []
    for row in rows:
        end = "without end" if row["left"] is None else f"{row['left']} s left"
        lines.append(
            f"port mapping {row['name']}: {row['protocol']} {row['external_port']} to {row['client']} port {row['port']} by {row['method']}, {end},"
            f" set {row['renewed']}"
        )
        if row["error"]:
            lines.append(f"  {row['state']}: {row['error']}")
    return lines


def _stability(what: str, found: dict[str, Any]) -> str:
    days, changes = found["stable_days"], found["changes"]
    return f"line: {what} stable for {days} day{'' if days == 1 else 's'}, changed {changes} time{'' if changes == 1 else 's'}"
