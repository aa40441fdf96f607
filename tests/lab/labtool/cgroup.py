# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cgroup of a lab: it finds the lab's processes, and kills them all at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .util import LabError

PREFIX = "homeserver-lab-"


def mount_point(mountinfo: str | None = None) -> Path:
    """The cgroup v2 hierarchy of this machine: all of it, or the part beside cgroup v1."""
    text = mountinfo if mountinfo is not None else Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    found = []
    for line in text.splitlines():
        left, right = line.split(" - ", 1)
        if right.split(" ", 1)[0] == "cgroup2":
            found.append(left.split()[4])
    # Others may have mounted it a second time somewhere; these two places are the machine's own.
    for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if place in found:
            return Path(place)
    if found:
        return Path(found[0])
    raise LabError("no cgroup2 mount in /proc/self/mountinfo: the lab needs a kernel with cgroup v2 (pure, or beside v1)")


def of(name: str) -> Path:
    return mount_point() / f"{PREFIX}{name}"


def names() -> set[str]:
    """The labs that have a cgroup, alive or not."""
    return {path.name[len(PREFIX) :] for path in mount_point().glob(f"{PREFIX}*") if path.is_dir()}


def populated(group: Path) -> bool:
    try:
        return "populated 1" in (group / "cgroup.events").read_text(encoding="ascii")
    except OSError:
        return False


def pids(group: Path) -> list[int]:
    try:
        return [int(word) for word in (group / "cgroup.procs").read_text(encoding="ascii").split()]
    except OSError:
        return []


def namespace_ids(pid: int) -> list[int]:
    """The numbers of a process in each pid namespace, the outermost first."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return [int(word) for word in line.split()[1:]]
    except OSError:
        pass
    return []


def first_process(group: Path, depth: int) -> int | None:
    """The process that is number 1 of the namespace at this depth (2: the lab, 3: a host in it)."""
    for directory, _dirs, _files in os.walk(group):
        for pid in pids(Path(directory)):
            ids = namespace_ids(pid)
            if len(ids) >= depth and ids[-1] == 1:
                return pid
    return None


def lab_pid(name: str) -> int | None:
    """The process to enter a lab by. It is read, never remembered: a number that is used again cannot mislead."""
    for pid in pids(of(name) / "init"):
        ids = namespace_ids(pid)
        if len(ids) > 1 and ids[-1] == 1:
            return pid
    return None


def remove(group: Path, patience: float = 10) -> None:
    """Kill everything in a cgroup and remove it."""
    if not group.is_dir():
        return
    (group / "cgroup.kill").write_text("1", encoding="ascii")
    end = time.monotonic() + patience
    while populated(group):
        if time.monotonic() > end:
            raise LabError(f"the processes in {group} did not end within {patience:.0f} s")
        time.sleep(0.01)
    while True:
        for directory, _dirs, _files in os.walk(group, topdown=False):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass
            except OSError as exc:
                # A dying process leaves its cgroup a moment after the event.
                if time.monotonic() > end:
                    raise LabError(f"{directory} cannot be removed: {exc}") from exc
        if not group.is_dir():
            return
        time.sleep(0.01)
