# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The namespaces of a lab: one holder process, entered by its pid."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from . import cgroup
from .util import LabError, Places, run, store

# Global places of podman. A tmpfs over each lets its state die with the lab, and keeps the user's own podman out of it.
PODMAN_STATE = ("/run/containers", "/run/libpod", "/run/crun", "/run/netns", "/dev/shm", "/etc/containers/networks")

# Runs as the child of unshare: number 1 of the lab's pid namespace in the end.
INSIDE = """
set -e
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir /sys/fs/cgroup/init
echo 0 >/sys/fs/cgroup/init/cgroup.procs
for place in $2; do mount -t tmpfs -o mode=755 lab "$place"; done
ip link set lo up
for family in iptables ip6tables arptables; do
  [ ! -e /proc/sys/net/bridge/bridge-nf-call-$family ] || echo 0 >/proc/sys/net/bridge/bridge-nf-call-$family
done
# Addresses of the new hosts' interfaces are usable at once: nobody else is on these links.
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
: >"$1/ready"
exec catatonit -P
"""

# Joins the cgroup before it unshares, so that the lab's cgroup is the root of the new cgroup namespace.
OUTSIDE = """
echo 0 >"$3/cgroup.procs"
exec unshare -m -n -p -C --propagation slave --fork --kill-child --mount-proc sh -c "$4" sh "$1" "$2"
"""

# Joins the cgroup first, so that a command in flight dies with the lab.
ENTER = 'echo 0 >"$1/init/cgroup.procs" && shift && exec "$@"'


def create(places: Places) -> None:
    """Start the holder of a lab, and the cgroup tree that its hosts need."""
    for path in PODMAN_STATE:
        Path(path).mkdir(parents=True, exist_ok=True)
    group = cgroup.of(places.name)
    try:
        group.mkdir()
    except OSError as exc:
        raise LabError(f"{group} cannot be made: {exc.strerror}. Inside a container the lab needs a writable cgroup v2 (privileged)") from exc
    with open(places.state / "holder.log", "w", encoding="utf-8") as log:
        holder = subprocess.Popen(
            ["sh", "-c", OUTSIDE, "sh", str(places.state), " ".join(PODMAN_STATE), str(group), INSIDE],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    end = time.monotonic() + 10
    while not (places.state / "ready").exists():
        if holder.poll() is not None or time.monotonic() > end:
            log_text = (places.state / "holder.log").read_text(encoding="utf-8").strip()
            raise LabError(f"the lab's namespaces could not be made: {log_text or 'no answer within 10 s'}")
        time.sleep(0.005)
    # unshare's own process has to leave the top of the tree too, or no controller can be handed down.
    (group / "init" / "cgroup.procs").write_text(str(holder.pid), encoding="ascii")
    for controller in (group / "cgroup.controllers").read_text(encoding="ascii").split():
        (group / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")


def write_podman_config(places: Places) -> None:
    """An own store for the lab's hosts on top of the read-only store of images."""
    places.disk.mkdir(parents=True, exist_ok=True)
    (places.state / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{places.disk}/storage"\nrunroot = "/run/containers/storage"\n'
        f'[storage.options]\nadditionalimagestores = ["{store()}/images"]\n',
        encoding="utf-8",
    )
    (places.state / "containers.conf").write_text(
        '[containers]\nlog_driver = "k8s-file"\n[network]\nnetwork_backend = "netavark"\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n',
        encoding="utf-8",
    )


def enter(places: Places, *argv: str) -> list[str]:
    """The command line that runs argv inside the lab (not inside one of its hosts)."""
    pid = cgroup.lab_pid(places.name)
    if pid is None:
        raise LabError(f"lab {places.name!r} is not running: tests/lab/lab up LINE.yml --name {places.name}")
    return [
        *("sh", "-c", ENTER, "sh", str(cgroup.of(places.name))),
        *("nsenter", "-t", str(pid), "-m", "-n", "-p", "-C", "env"),
        f"CONTAINERS_STORAGE_CONF={places.state}/storage.conf",
        f"CONTAINERS_CONF={places.state}/containers.conf",
        *argv,
    ]


def podman(places: Places, *argv: str, timeout: float = 60) -> str:
    return run(enter(places, "podman", *argv), what=f"podman {argv[0]} {argv[-1]}", timeout=timeout)


def network_only(places: Places, *argv: str, bound: bool = False) -> list[str]:
    """The command line that runs argv of this machine in the lab's network; bound: it dies with the lab."""
    pid = cgroup.lab_pid(places.name)
    if pid is None:
        raise LabError(f"lab {places.name!r} is not running: tests/lab/lab up LINE.yml --name {places.name}")
    join = ["sh", "-c", ENTER, "sh", str(cgroup.of(places.name))] if bound else []
    return [*join, "nsenter", "-t", str(pid), "-n", *argv]


def host_pid(places: Places, host: str) -> int | None:
    """The process of this machine that is number 1 of one of the lab's hosts."""
    try:
        identity = (places.state / "ids" / host).read_text(encoding="ascii").strip()
    except OSError:
        return None
    group = cgroup.of(places.name)
    for directory in group.rglob(f"libpod-{identity}"):
        found = cgroup.first_process(directory, 3)
        if found is not None:
            return found
    return None


def enter_host(places: Places, host: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs argv inside one of the lab's hosts, as root, with a plain environment."""
    pid = host_pid(places, host)
    if pid is None:
        known = sorted(path.name for path in (places.state / "ids").glob("*"))
        if cgroup.lab_pid(places.name) is None:
            raise LabError(f"lab {places.name!r} is not running: tests/lab/lab up LINE.yml --name {places.name}")
        if host not in known:
            raise LabError(f"lab {places.name!r} has no host {host!r}: it has {', '.join(known)}")
        raise LabError(f"host {host!r} of lab {places.name!r} is not running: tests/lab/lab reboot {host} --name {places.name}")
    return [
        *("sh", "-c", ENTER, "sh", str(cgroup.of(places.name))),
        *("nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-C", "env", "-i"),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        f"TERM={os.environ.get('TERM', 'dumb')}",
        "LANG=C.UTF-8",
        *argv,
    ]
