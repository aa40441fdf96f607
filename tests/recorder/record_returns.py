# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only for tests: writes down what our modules return wherever they run, to be compared with what their documentation says.

HOMESERVER_RECORD names a directory; each run appends to a file of its own there.
"""

from __future__ import annotations

DOCUMENTATION = """
name: record_returns
type: notification
short_description: Writes down what our modules return
description: Only for tests.
"""

import json
import os

from ansible.plugins.callback import CallbackBase

PREFIX = "homeserver.hardening."


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record_returns"

    def _record(self, result, failed=False):
        task = result._task
        name = getattr(task, "resolved_action", None) or task.action
        folder = os.environ.get("HOMESERVER_RECORD")
        returned = result._result
        # A censored result shows nothing, an unreachable host returned nothing, and a loop as a whole repeats its items.
        nothing = "censored" in returned or returned.get("unreachable") or (task.loop and "results" in returned)
        if not folder or not name.startswith(PREFIX) or nothing:
            return
        row = {"module": name[len(PREFIX) :], "failed": bool(failed or returned.get("failed")), "result": returned}
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"{os.getpid()}.jsonl"), "a", encoding="utf-8") as out:
            out.write(json.dumps(row, default=str) + "\n")

    def v2_runner_on_ok(self, result):
        self._record(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._record(result, failed=True)

    def v2_runner_item_on_ok(self, result):
        self._record(result)

    def v2_runner_item_on_failed(self, result):
        self._record(result, failed=True)
