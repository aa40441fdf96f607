# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-command ddns: one run of dynamic DNS.

Private to this collection.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from .._ddns._config import CONFIG_FILE, Config, read_config, read_secret
from .._ddns._engine import Engine
from .._ddns._result import DdnsError, Outcome
from .._state import StateDir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    environment = os.environ
    parser.add_argument("--config", default=CONFIG_FILE, help="the settings (default: %(default)s)")
    parser.add_argument("--now", action="store_true", default=bool(environment.get("HOMESERVER_NOW")), help="do not wait for the end of a back-off or stop")
    parser.add_argument("--run-id", default=environment.get("HOMESERVER_RUN_ID", ""), help="the playbook run that this is a part of")


def run(options: argparse.Namespace, state: StateDir) -> dict[str, Any]:
    """Make the name right; return what the command prints."""
    try:
        config = Config.from_mapping(read_config(options.config))
        secret = read_secret(config.provider)
    except DdnsError as error:
        return Outcome(error.result, str(error)).as_data()
    return Engine(config, secret, state, now=options.now, run_id=options.run_id).present().as_data()
