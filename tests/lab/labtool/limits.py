# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the machine that hosts of the lab run into."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from .util import LabError, say

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
# systemd takes four or five in each host, dbus and logind one each.
INOTIFY_OF_A_HOST = 7


def of_container() -> list[str]:
    """podman asks for more than the machine may allow, and fails; so ask for what there is, with the usual soft limit."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    most = 524288 if files == resource.RLIM_INFINITY else min(files, 524288)
    return ["--ulimit", f"nofile={min(1024, most)}:{most}", "--ulimit", f"nproc={processes}:{processes}"]


def _inotify_in_use() -> int:
    count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid == 0:
                count += sum(os.readlink(entry.path) == "anon_inode:inotify" for entry in os.scandir(f"/proc/{pid}/fd"))
        except OSError:
            continue
    return count


def make_room(hosts: int) -> None:
    """Root's inotify instances: Debian allows 128, which is four labs. Beyond that daemons fail with "too many open files"."""
    limit = int(INOTIFY.read_text(encoding="ascii"))
    needed = _inotify_in_use() + hosts * INOTIFY_OF_A_HOST
    if needed <= limit:
        return
    wanted = max(1024, 2 * needed)
    try:
        INOTIFY.write_text(str(wanted), encoding="ascii")
    except OSError as exc:
        raise LabError(f"this lab would need {needed} inotify instances, {limit} are allowed: sysctl fs.inotify.max_user_instances={wanted}") from exc
    say(f"raised fs.inotify.max_user_instances from {limit} to {wanted} until the next boot: this lab would not have had enough")
