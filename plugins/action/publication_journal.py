# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knows what only the controller knows about a run: its id, its process, and whether another run's process still lives."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

_MODULE = "homeserver.hardening.publication_journal"


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("state") != "status":
            arguments.update(_this_run())
        answer = self._execute_module(module_name=_MODULE, module_args=arguments, task_vars=task_vars)
        holder = answer.get("holder") or {}
        if answer.get("failed") and arguments["state"] == "pending" and holder and _is_dead(holder):
            arguments["break_run"] = holder["run_id"]
            answer = self._execute_module(module_name=_MODULE, module_args=arguments, task_vars=task_vars)
            self._display.v(f"The run {holder['run_id']} has ended without a commit; this run continues from its record")
        result.update(answer)
        return result


def _this_run() -> dict[str, Any]:
    # Actions run in worker processes; their parent is the one process of this playbook run.
    pid = os.getppid()
    started = _process_start(pid) or 0
    controller = _controller_id()
    return {
        "run_id": uuid.uuid5(uuid.NAMESPACE_OID, f"{controller}/{pid}/{started}").hex[:12],
        "controller": controller,
        "pid": pid,
        "pid_started": started,
    }


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the run's process was one of this machine and exists no more."""
    if holder.get("controller") != _controller_id():
        return False
    return _process_start(int(holder["pid"])) != holder.get("pid_started")


def _process_start(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot (proc(5)), None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    # A zombie has ended; only its parent has not looked yet.
    return None if fields[0] in "ZX" else int(fields[19])


def _controller_id() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = "unknown"
    return f"{os.uname().nodename}/{boot[:8]}"
