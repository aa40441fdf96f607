# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other Pythons: a command in a throw-away view of a Debian root, with the checkout where imports expect it."""

from __future__ import annotations

import os

from . import images
from .util import CHECKOUT

AT = "opt/checkout/ansible_collections/homeserver/hardening"

# A private mount namespace: the root read-only, the checkout read-only in it, everything else in memory and gone with the process.
SCRIPT = """
root=$1 checkout=$2 at=$3 view=$4
shift 4
mount -t tmpfs lab "$view"
mkdir "$view/root"
mount --rbind "$root" "$view/root"
mount -o remount,bind,ro "$view/root"
mount -t tmpfs lab "$view/root/opt/checkout"
mkdir -p "$view/root/$at"
mount --bind "$checkout" "$view/root/$at"
mount -o remount,bind,ro "$view/root/$at"
mount -t tmpfs -o mode=1777 lab "$view/root/tmp"
mount -t tmpfs lab "$view/root/root"
mount -t proc proc "$view/root/proc"
mount --rbind /dev "$view/root/dev"
mount -t tmpfs -o mode=1777 lab "$view/root/dev/shm"
ip link set lo up
exec chroot "$view/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" PYTHONDONTWRITEBYTECODE=1 \
  PYTHONPATH=/opt/checkout:/opt/tests sh -c 'cd "$0" && exec python3 "$@"' "/$at" "$@"
"""


def execute(version: str, argv: list[str]) -> None:
    """Become that Python. No network but its own loopback."""
    root = images.root_path(version)
    view = root.parent / "view"
    view.mkdir(exist_ok=True)
    command = ["unshare", "-m", "-n", "-p", "-i", "--fork", "--kill-child", "--propagation", "private", "sh", "-ec", SCRIPT, "sh"]
    os.execvp("unshare", [*command, str(root), str(CHECKOUT), AT, str(view), *argv])
