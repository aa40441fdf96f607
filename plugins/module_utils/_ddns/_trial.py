# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the service, started by a playbook run and waited for: the proof that the service works as it is installed.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from typing import Any

from .._state import StateDir, StateError
from ._memory import Memory
from ._result import BUSY, CONFIG, EXIT_STATUS, UNKNOWN, Outcome
from ._service import RUN_FILE, SERVICE, Runner

_RUN_ID = re.compile(r"[A-Za-z0-9._:+@-]{0,128}\Z")


def valid_run_id(run_id: str) -> bool:
    """Return whether a text can be the id of a playbook run."""
    return bool(_RUN_ID.match(run_id))


def run_service(run_id: str, state: StateDir, run: Runner, run_file: str = RUN_FILE) -> Outcome:
    """Start the service for a playbook run; return how its run ended."""
    if not valid_run_id(run_id):
        return Outcome(CONFIG, f"run id is {run_id[:80]!r}: it has characters that no run id has")
    try:
        with contextlib.ExitStack() as stack:
            handle = os.open(run_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            stack.callback(os.unlink, run_file)
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(f"HOMESERVER_NOW=1\nHOMESERVER_RUN_ID={run_id}\n")
            # A run of the timer may be on its way: it does not know of this playbook run, so its result is not waited for.
            run("systemctl", "stop", SERVICE)
            started = run("systemctl", "start", SERVICE)
        shown = run("systemctl", "show", "--property=ExecMainStatus,Result", SERVICE).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Outcome(UNKNOWN, f"{SERVICE} cannot be started: {error}")
    properties: dict[str, Any] = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    status = int(properties.get("ExecMainStatus") or 0)
    try:
        last = Memory.load(state).last or {}
    except StateError as error:
        return Outcome(UNKNOWN, str(error))
    words = [word for word, number in EXIT_STATUS.items() if number == status]
    if not words or (status == 0 and started.returncode):
        reason = f"result {properties.get('Result')}, status {status}; {started.stderr.strip()}"
        return Outcome(UNKNOWN, f"{SERVICE} did not run ({reason}); see 'journalctl -u {SERVICE}'")
    if last.get("result") not in words or words[0] == BUSY:
        return Outcome(words[0], f"{SERVICE} ended with status {status} ({words[0]}); see 'journalctl -u {SERVICE}'")
    return Outcome(str(last["result"]), str(last["message"]))
