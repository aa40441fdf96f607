# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts that a guard leaves on the host: a shell script that restores, and the units that run it. Pure.

The script needs sh, nft and systemctl, not Ansible and not Python. It claims its right to act by renaming a file, which
only one of "confirm" and "roll back" can do, and it can be run again wherever it was interrupted.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

#: The file that says that nobody has confirmed or rolled back yet.
ARMED = "armed"
#: What it is renamed to by whoever is first.
ROLLING = "rolling"
CONFIRMED = "confirmed"

UNIT_DIRECTORY = "/etc/systemd/system"


@dataclass(frozen=True)
class SavedFile:
    """What was at a path: a copy (its name below the guard's directory), a link's target, or nothing."""

    path: str
    copy: str = ""
    link: str = ""


@dataclass(frozen=True)
class Saved:
    """Everything that has to be put back.

    Attributes:
        files: in the order given.
        missing_directories: directories that did not exist, deepest first.
        inactive_units: units that were not active; stopped again before their files go.
    """

    files: tuple[SavedFile, ...] = ()
    missing_directories: tuple[str, ...] = ()
    inactive_units: tuple[str, ...] = ()


def restore_nft(tables: Sequence[tuple[str, str, str]]) -> str:
    """Return the transaction that puts tables back; each is family, name, and its listing (empty if it was not there)."""
    parts = ["# The tables as they were: absent before means absent after.\n"]
    for family, name, listing in tables:
        parts.append(f"add table {family} {name}\ndelete table {family} {name}\n")
        parts.append(listing if not listing or listing.endswith("\n") else listing + "\n")
    return "".join(parts)


def restore_script(directory: str, unit: str, saved: Saved, nft: str, remove_parent: bool = False) -> str:
    """Return the shell script that takes the change back."""
    quote = shlex.quote
    lines = [
        "#!/bin/sh",
        "# Takes back a change that nobody confirmed. Made by the Ansible collection homeserver.hardening, removed by itself.",
        "set -u",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "export PATH",
        f"guard={quote(directory)}",
        'cd "$guard" || exit 0',
        "status=0",
        'try() { "$@" || { status=1; echo "failed: $*" >&2; }; }',
        "clean() {",
        f"  systemctl stop {quote(unit)}.timer",
        *[f"  rm -f {quote(path)}" for path in unit_files(unit)],
        '  cd / && rm -rf "$guard"',
        *([f"  rmdir {quote(posixpath.dirname(directory))} 2>/dev/null"] if remove_parent else []),
        "  systemctl daemon-reload",
        "}",
        "# Only one of confirming and rolling back can rename this file.",
        f"if ! mv {ARMED} {ROLLING} 2>/dev/null && [ ! -e {ROLLING} ]; then",
        "  clean",
        "  exit 0",
        "fi",
    ]
    # Not blocking: at boot the unit's start may wait for this very script. A unit that never came to be cannot be stopped.
    lines += [f"systemctl --no-block stop {quote(name)} 2>/dev/null" for name in saved.inactive_units]
    for entry in saved.files:
        path = quote(entry.path)
        if entry.copy:
            temporary = quote(entry.path + ".rollback")
            lines.append(f"try mkdir -p {quote(posixpath.dirname(entry.path))}")
            lines.append(f'try cp -p "$guard"/{quote(entry.copy)} {temporary}')
            lines.append(f"try mv -f {temporary} {path}")
        elif entry.link:
            lines.append(f"try mkdir -p {quote(posixpath.dirname(entry.path))}")
            lines.append(f"try ln -sfn {quote(entry.link)} {path}")
        else:
            lines.append(f"try rm -f {path}")
    lines += [f"rmdir {quote(path)} 2>/dev/null" for path in saved.missing_directories]
    lines += [
        f'try {quote(nft)} -f "$guard"/before.nft',
        '[ "$status" -ne 0 ] || clean',
        'exit "$status"',
    ]
    return "\n".join(lines) + "\n"


def unit_files(unit: str) -> list[str]:
    """Return the files by which systemd knows a guard; the link comes first, because without it nothing runs at boot."""
    return [f"{UNIT_DIRECTORY}/sysinit.target.wants/{unit}.service", f"{UNIT_DIRECTORY}/{unit}.timer", f"{UNIT_DIRECTORY}/{unit}.service"]


def service_text(unit: str, directory: str, before: Sequence[str]) -> str:
    """Return the unit that takes the change back: when the timer asks for it, and at any boot while the guard is armed."""
    return f"""\
# Made by the Ansible collection homeserver.hardening, removed by itself.
[Unit]
Description=Take back a change that nobody confirmed
DefaultDependencies=no
RequiresMountsFor={directory}
After=systemd-remount-fs.service nftables.service
Wants=network-pre.target
Before={" ".join(["network-pre.target", *before])}
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=oneshot
ExecStart=/bin/sh {directory}/rollback.sh
Restart=on-failure
RestartSec=3s

[Install]
WantedBy=sysinit.target
"""


def timer_text(timeout: int) -> str:
    """Return the unit that waits; monotonic, so that setting the clock neither shortens nor lengthens it."""
    return f"""\
# Made by the Ansible collection homeserver.hardening, removed by itself.
[Unit]
Description=Wait for the confirmation of a change

[Timer]
OnActiveSec={timeout}s
AccuracySec=1s
"""


def valid_table(text: str) -> tuple[str, str] | None:
    """Return family and name of a table, None if the text does not name one."""
    match = re.match(r"(ip|ip6|inet|arp|bridge|netdev) ([A-Za-z_][A-Za-z0-9_/\\.-]{0,63})\Z", text)
    return (match.group(1), match.group(2)) if match else None
