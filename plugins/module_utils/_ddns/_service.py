# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service of dynamic DNS on the host: settings, secret, and the job that a timer starts.

Private to this collection.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import _timer as timer
from .._timer import Wanted
from ._config import CONFIG_FILE, CREDENTIAL, CREDENTIAL_FILE, Config
from ._result import BUSY, EXIT_STATUS, LAGGING

JOB = timer.Job(
    name="ddns",
    description="Keep the DNS name of this host pointing at its public address",
    after="network.target time-sync.target nss-lookup.target",
    tolerated=(EXIT_STATUS[LAGGING], EXIT_STATUS[BUSY]),
    tolerated_because="an authority that is behind will follow; a playbook run that holds the host ends",
    credential=CREDENTIAL,
)


@dataclass(frozen=True)
class Paths:
    """Where things are."""

    config: str = CONFIG_FILE
    credential: str = CREDENTIAL_FILE
    units: str = timer.UNIT_DIRECTORY
    command: str = timer.COMMAND

    def unit(self, name: str) -> str:
        """Return the path of a unit file."""
        return os.path.join(self.units, name)


def wanted_files(settings: Mapping[str, Any], secret: str, interval: int, state_dir: str, paths: Paths) -> dict[str, Wanted]:
    """Return all files, checked; the order is the order of writing."""
    Config.from_mapping(settings).key(secret)
    return {
        paths.credential: Wanted(secret.strip() + "\n", 0o600, secret=True),
        paths.config: Wanted(json.dumps(dict(settings), indent=2, sort_keys=True, ensure_ascii=False) + "\n", 0o644),
        **timer.unit_files(JOB, interval, state_dir, paths.units, paths.command, paths.credential),
    }


def installation(paths: Paths, run: timer.Runner | None = None) -> timer.Installation:
    """Return the job as it is on this host."""
    return timer.Installation(JOB, (paths.config, paths.credential), (paths.credential,), paths.units, paths.command, run)
