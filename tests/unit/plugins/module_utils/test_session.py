# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SSH connection that a process came by, read from trees of processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._session import Session, current

TICKS = os.sysconf("SC_CLK_TCK")
Row = tuple[int, int, str, float, str]


def _tree(directory: Path, rows: list[Row]) -> str:
    for pid, parent, name, started, environment in rows:
        (directory / str(pid)).mkdir()
        fields = ["S", str(parent), *["0"] * 17, str(int(started * TICKS)), "0"]
        (directory / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
        (directory / str(pid) / "environ").write_bytes(environment.replace(" ; ", "\0").encode() + b"\0")
    return str(directory)


CONNECTION = "PATH=/bin ; SSH_CONNECTION=192.0.2.7 40000 192.168.10.20 22 ; HOME=/root"
LISTENER: Row = (100, 1, "sshd", 5.0, "")

TREES = [
    (
        [LISTENER, (200, 100, "sshd", 50.0, ""), (201, 200, "sh", 60.0, CONNECTION), (202, 201, "python3", 61.0, CONNECTION)],
        Session("192.0.2.7", 40000, 22, 50.0),
    ),
    # sudo drops the variable; the shell above has it.
    (
        [LISTENER, (200, 100, "sshd", 50.0, ""), (201, 200, "sh", 60.0, CONNECTION), (204, 201, "sudo", 60.0, ""), (202, 204, "python3", 61.0, "")],
        Session("192.0.2.7", 40000, 22, 50.0),
    ),
    # Privilege separation: the user's own sshd, a child of root's, is the nearer one. Newer versions call it sshd-session.
    (
        [
            LISTENER,
            (199, 100, "sshd-session", 50.0, ""),
            (200, 199, "sshd-session", 50.5, ""),
            (201, 200, "sh", 60.0, CONNECTION),
            (202, 201, "python3", 61.0, ""),
        ],
        Session("192.0.2.7", 40000, 22, 50.5),
    ),
    # Not by SSH.
    ([(201, 1, "sh", 60.0, "PATH=/bin"), (202, 201, "python3", 61.0, "")], None),
    # The variable was inherited by something that no sshd started.
    ([(201, 1, "tmux: server", 60.0, CONNECTION), (202, 201, "python3", 61.0, CONNECTION)], Session("192.0.2.7", 40000, 22, None)),
    # A name with brackets and blanks; IPv6, with a zone, and an IPv4 address in IPv6 clothes.
    ([(200, 1, "sshd", 7.0, ""), (202, 200, "a) (b 1", 61.0, "SSH_CONNECTION=fe80::1%eth0 1 fe80::2 22")], Session("fe80::1", 1, 22, 7.0)),
    ([(200, 1, "sshd", 7.0, ""), (202, 200, "x", 61.0, "SSH_CONNECTION=::ffff:192.0.2.7 1 ::ffff:192.0.2.8 22")], Session("192.0.2.7", 1, 22, 7.0)),
    ([(200, 1, "sshd", 7.0, ""), (202, 200, "x", 61.0, "SSH_CONNECTION=nonsense")], None),
]


@pytest.mark.parametrize(("rows", "expected"), TREES)
def test_trees(tmp_path: Path, rows: list[Row], expected: Session | None) -> None:
    assert current(_tree(tmp_path, rows), 202) == expected


def test_it_ends_when_processes_vanish(tmp_path: Path) -> None:
    assert current(str(tmp_path), 202) is None
