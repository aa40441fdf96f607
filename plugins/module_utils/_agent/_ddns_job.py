# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-command ddns: one run of dynamic DNS, by itself or inside its service.

Private to this collection.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
from typing import Any

from .._ddns._config import CONFIG_FILE, Config, read_config, read_secret
from .._ddns._engine import Engine
from .._ddns._memory import Memory
from .._ddns._result import BUSY, CONFIG, EXIT_STATUS, UNKNOWN, DdnsError, Outcome
from .._state import StateDir, StateError

UNIT = "homeserver-ddns.service"
#: Read by the unit; it exists only while a playbook run waits for the service.
RUN_FILE = "/run/homeserver-ddns.env"

_RUN_ID = re.compile(r"[A-Za-z0-9._:+@-]{0,128}\Z")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    environment = os.environ
    parser.add_argument("--config", default=CONFIG_FILE, help="the settings (default: %(default)s)")
    parser.add_argument("--now", action="store_true", default=bool(environment.get("HOMESERVER_NOW")), help="do not wait for the end of a back-off or stop")
    parser.add_argument("--run-id", default=environment.get("HOMESERVER_RUN_ID", ""), help="the playbook run that this is a part of")
    parser.add_argument("--in-unit", action="store_true", help=f"start {UNIT} and wait for its result, which proves that the service works")


def run(options: argparse.Namespace, state: StateDir) -> dict[str, Any]:
    """Make the name right; return what the command prints."""
    if not _RUN_ID.match(options.run_id):
        return Outcome(CONFIG, f"run id is {options.run_id[:80]!r}: it has characters that no run id has").as_data()
    if options.in_unit:
        return _in_unit(options.run_id, state)
    try:
        config = Config.from_mapping(read_config(options.config))
        secret = read_secret()
    except DdnsError as error:
        return Outcome(error.result, str(error)).as_data()
    return Engine(config, secret, state, now=options.now, run_id=options.run_id).present().as_data()


def _in_unit(run_id: str, state: StateDir) -> dict[str, Any]:
    try:
        with contextlib.ExitStack() as stack:
            handle = os.open(RUN_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            stack.callback(os.unlink, RUN_FILE)
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(f"HOMESERVER_NOW=1\nHOMESERVER_RUN_ID={run_id}\n")
            # A run of the timer may be on its way: it does not know of this one, so its result is not waited for.
            _systemctl("stop", UNIT)
            started = _systemctl("start", UNIT)
        shown = _systemctl("show", "--property=ExecMainStatus,Result", UNIT).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Outcome(UNKNOWN, f"{UNIT} cannot be started: {error}").as_data()
    properties = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    status = int(properties.get("ExecMainStatus") or -1)
    result = next((word for word, number in EXIT_STATUS.items() if number == status), UNKNOWN)
    try:
        last = Memory.load(state).last or {}
    except StateError as error:
        return Outcome(UNKNOWN, str(error)).as_data()
    if result == UNKNOWN and status != EXIT_STATUS[UNKNOWN]:
        reason = f"result {properties.get('Result')}, status {status}; {started.stderr.strip()}"
        return Outcome(UNKNOWN, f"{UNIT} did not run ({reason}); see 'journalctl -u {UNIT}'").as_data()
    if result == BUSY or last.get("exit_status") != status:
        return Outcome(result, f"{UNIT} ended with status {status}; see 'journalctl -u {UNIT}'").as_data()
    return Outcome(str(last["result"]), str(last["message"])).as_data()


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=180, check=False)
