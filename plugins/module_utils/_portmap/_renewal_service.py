# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job that renews port mappings, and the run that proves that it works as it is installed.

Private to this collection.
"""

from __future__ import annotations

from .._state import StateDir
from .._timer import Installation, Job, TimerError, run_once
from ._errors import PortmapError
from ._kept import Keeping
from ._renewal import BUSY, CONFIG, EXIT_STATUS, RETRY

JOB = Job(
    name="renew",
    description="Renew what the router forwards to this host",
    after="network.target time-sync.target",
    tolerated=(EXIT_STATUS[BUSY],),
    tolerated_because="a playbook run that holds the host ends",
)


def run_service(run_id: str, state: StateDir, installation: Installation) -> tuple[str, str]:
    """Start the service for a playbook run; return in one word and in a sentence how its run ended."""
    service = installation.job.service
    try:
        status, said = run_once(installation, run_id)
        last = Keeping.load(state).last or {}
    except TimerError as error:
        return error.result, str(error)
    except PortmapError as error:
        return CONFIG, str(error)
    words = [word for word, number in EXIT_STATUS.items() if number == status]
    if not words:
        return RETRY, f"{service} did not run ({said}); see 'journalctl -u {service}'"
    if last.get("result") not in words:
        return words[-1], f"{service} ended with status {status} ({words[-1]}); see 'journalctl -u {service}'"
    return str(last["result"]), str(last["message"])
