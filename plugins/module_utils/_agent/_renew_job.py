# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-command renew: one run of lease renewal.

Private to this collection.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from .._portmap._renewal import Renewal
from .._state import StateDir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    environment = os.environ
    parser.add_argument("--now", action="store_true", default=bool(environment.get("HOMESERVER_NOW")), help="ask the router also if it refused just now")
    parser.add_argument("--run-id", default=environment.get("HOMESERVER_RUN_ID", ""), help="the playbook run that this is a part of")


def run(options: argparse.Namespace, state: StateDir) -> dict[str, Any]:
    """Keep up what is mapped; return what the command prints."""
    return Renewal(state, options.run_id, options.now).run().as_data()
