# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only for tests: kills the controller, as a power cut would, right after the n-th task that can change something.

HOMESERVER_KILL_LIST names a file that gets one line per such task. HOMESERVER_KILL_AFTER is the number of the task after
which everything of this run on the controller is killed with SIGKILL, HOMESERVER_KILL_TASK that task's name.
"""

from __future__ import annotations

DOCUMENTATION = """
name: kill_after
type: notification
short_description: Kills the controller after a task
description: Only for tests.
"""

import os
import signal

from ansible.plugins.callback import CallbackBase

#: What can change nothing: neither on a host nor on the controller. Everything else counts, whether it changed something or not.
READ_ONLY = {
    "add_host",
    "assert",
    "debug",
    "fail",
    "find",
    "gather_facts",
    "getent",
    "group_by",
    "import_playbook",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "package_facts",
    "pause",
    "ping",
    "service_facts",
    "set_fact",
    "set_stats",
    "setup",
    "slurp",
    "stat",
    "validate_argument_spec",
    "wait_for",
    "wait_for_connection",
    # Ours that end in _info read only; so does this one, which decides.
    "publication_plan",
}


def can_change(task) -> bool:
    """Whether a task can change something."""
    name = task.action.rsplit(".", 1)[-1]
    if name == "publication_journal" and task.args.get("state") == "status":
        return False
    return name not in READ_ONLY and not name.endswith("_info")


class CallbackModule(CallbackBase):
    """Counts tasks, and kills."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "kill_after"

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.number = 0
        self.after = int(os.environ.get("HOMESERVER_KILL_AFTER") or 0)
        self.task = os.environ.get("HOMESERVER_KILL_TASK")
        self.list = os.environ.get("HOMESERVER_KILL_LIST")

    def v2_runner_on_ok(self, result):
        """Count a task that was carried out; a skipped one is not."""
        task = getattr(result, "task", None) or result._task
        host = getattr(result, "host", None) or result._host
        if not can_change(task):
            return
        self.number += 1
        if self.list:
            with open(self.list, "a", encoding="utf-8") as stream:
                stream.write(f"{host.get_name()}\t{task.action}\t{task.get_name()}\n")
        if self.number == self.after or (self.task and self.task == task.name):
            kill()


def kill():
    """End this process and everything below it at once; SSH masters live on, as they do in life."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                parents[int(pid)] = int(stream.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    doomed = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in doomed} - doomed
        if not more:
            break
        doomed |= more
    for pid in sorted(doomed - {os.getpid()}):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.kill(os.getpid(), signal.SIGKILL)
