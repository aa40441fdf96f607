# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command homeserver-agent.

Private to this collection.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from .._state import DEFAULT_DIRECTORY, StateDir, StateError
from . import _ddns_job, _renew_job, _status_job

_LATER = ("watch",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; return its exit status."""
    parser = _parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    for word in words:
        if word in _LATER:
            parser.error(f"the sub-command {word!r} is not in this version of the agent; it knows ddns, renew and status")
        if not word.startswith("-"):
            break
    options = parser.parse_args(words)
    os.umask(0o077)
    try:
        state = StateDir(options.state_dir)
    except StateError as error:
        parser.error(str(error))
    result: dict[str, Any] = options.job(options, state)
    text = json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False) if options.json else str(result["message"])
    sys.stdout.write(text + "\n")
    return int(result["exit_status"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="homeserver-agent", description="Keeps up what was published from this host. It runs from systemd timers.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print everything as JSON")
    common.add_argument("--state-dir", default=os.environ.get("HOMESERVER_STATE_DIR") or DEFAULT_DIRECTORY, help="the state directory (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{ddns,renew,status}")
    ddns = commands.add_parser("ddns", parents=[common], help="make this host's name point at its public address")
    _ddns_job.add_arguments(ddns)
    ddns.set_defaults(job=_ddns_job.run)
    renew = commands.add_parser("renew", parents=[common], help="renew what the router forwards to this host, and make it anew where the router forgot it")
    _renew_job.add_arguments(renew)
    renew.set_defaults(job=_renew_job.run)
    status = commands.add_parser("status", parents=[common], help="say what is published and how the last runs ended; changes nothing")
    status.set_defaults(job=_status_job.run)
    return parser
