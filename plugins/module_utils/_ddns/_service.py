# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service of dynamic DNS on the host: settings, secret, and the job that a timer starts.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import _timer as timer
from .._plan import Plan
from .._timer import Wanted
from ._config import CONFIG_FILE, CREDENTIAL, CREDENTIAL_FILE, PASSWORD, PASSWORD_FILE, Config
from ._result import BUSY, EXIT_STATUS, LAGGING

JOB = timer.Job(
    name="ddns",
    description="Keep the DNS name of this host pointing at its public address",
    after="network.target time-sync.target nss-lookup.target",
    tolerated=(EXIT_STATUS[LAGGING], EXIT_STATUS[BUSY]),
    tolerated_because="an authority that is behind will follow; a playbook run that holds the host ends",
    credential=CREDENTIAL,
)
#: The same with the secret of a provider that is told over HTTPS.
HTTP_JOB = dataclasses.replace(JOB, credential=PASSWORD)


@dataclass(frozen=True)
class Paths:
    """Where things are."""

    config: str = CONFIG_FILE
    credential: str = CREDENTIAL_FILE
    units: str = timer.UNIT_DIRECTORY
    command: str = timer.COMMAND
    password: str = PASSWORD_FILE

    def unit(self, name: str) -> str:
        """Return the path of a unit file."""
        return os.path.join(self.units, name)


def wanted_files(settings: Mapping[str, Any], secret: str, interval: int, state_dir: str, paths: Paths) -> dict[str, Wanted]:
    """Return all files, checked; the order is the order of writing."""
    config = Config.from_mapping(settings)
    config.check_secret(secret)
    job, credential = (JOB, paths.credential) if config.row is None else (HTTP_JOB, paths.password)
    return {
        credential: Wanted(secret.strip("\r\n") + "\n", 0o600, secret=True),
        # The user name, and perhaps more of what a provider wants to know, is nobody else's business.
        paths.config: Wanted(json.dumps(dict(settings), indent=2, sort_keys=True, ensure_ascii=False) + "\n", 0o644 if config.row is None else 0o600),
        **timer.unit_files(job, interval, state_dir, paths.units, paths.command, credential),
    }


class Installation(timer.Installation):
    """The job as it is on this host."""

    def plan_started(self, files: Mapping[str, Wanted]) -> Plan:
        """Return what leads to a running timer; the secret of another provider does not stay."""
        plan = super().plan_started(files)
        for path in self._secrets:
            if path not in files:
                plan.add(timer._removal(path, secret=True))
        return plan


def installation(paths: Paths, run: timer.Runner | None = None) -> Installation:
    """Return the job as it is on this host."""
    secrets = (paths.credential, paths.password)
    return Installation(JOB, (paths.config, *secrets), secrets, paths.units, paths.command, run)
