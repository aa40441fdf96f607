# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the service, started by a playbook run and waited for: the proof that the service works as it is installed.

Private to this collection.
"""

from __future__ import annotations

from .._state import StateDir, StateError
from .._timer import Installation, TimerError, run_once
from ._memory import Memory
from ._result import BUSY, EXIT_STATUS, UNKNOWN, Outcome


def run_service(run_id: str, state: StateDir, installation: Installation, run_file: str = "") -> Outcome:
    """Start the service for a playbook run; return how its run ended."""
    service = installation.job.service
    try:
        status, said = run_once(installation, run_id, run_file)
        last = Memory.load(state).last or {}
    except TimerError as error:
        return Outcome(error.result, str(error))
    except StateError as error:
        return Outcome(UNKNOWN, str(error))
    words = [word for word, number in EXIT_STATUS.items() if number == status]
    if not words:
        return Outcome(UNKNOWN, f"{service} did not run ({said}); see 'journalctl -u {service}'")
    if last.get("result") not in words or words[0] == BUSY:
        return Outcome(words[0], f"{service} ended with status {status} ({words[0]}); see 'journalctl -u {service}'")
    return Outcome(str(last["result"]), str(last["message"]))
