# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that restores, run for real with stand-ins for systemctl and nft."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._guard.script import (
    ARMED,
    CONFIRMED,
    ROLLING,
    Saved,
    SavedFile,
    restore_nft,
    restore_script,
    service_text,
    timer_text,
    unit_files,
    valid_table,
)

SAVED_CONTENT = "as it was\n"


class Guarded:
    """A directory that stands for a host."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self.guard = directory / "state" / "rollback-default"
        (self.guard / "files").mkdir(parents=True)
        (directory / "bin").mkdir()
        for name in ("systemctl", "nft"):
            tool = directory / "bin" / name
            tool.write_text(f'#!/bin/sh\necho "{name} $*" >>{directory}/calls\ntest ! -e {directory}/fail-{name}\n')
            tool.chmod(0o755)
        (self.guard / "files" / "0").write_text(SAVED_CONTENT)
        (self.guard / "files" / "0").chmod(0o640)
        (self.guard / ARMED).write_text("{}")
        self.path = directory / "etc" / "a file"
        self.path.parent.mkdir()
        saved = Saved(
            (
                SavedFile(str(self.path), copy="files/0"),
                SavedFile(str(directory / "etc" / "new")),
                SavedFile(str(directory / "etc" / "link"), link="target"),
                SavedFile(str(directory / "made" / "deep" / "file")),
            ),
            (str(directory / "made" / "deep"), str(directory / "made")),
            ("x.service",),
        )
        text = restore_script(str(self.guard), "homeserver-unit-test", saved, "nft", remove_parent=True)
        self.script = text.replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={directory}/bin:/usr/bin:/bin").replace("/etc/systemd", f"{directory}/units")

    def change(self) -> None:
        """Do what a run would do."""
        self.path.write_text("changed\n")
        self.path.chmod(0o600)
        (self.root / "etc" / "new").write_text("new")
        (self.root / "etc" / "link").symlink_to("elsewhere")
        (self.root / "made" / "deep").mkdir(parents=True)
        (self.root / "made" / "deep" / "file").write_text("new")

    def restored(self) -> bool:
        """Whether all is as it was."""
        return (
            self.path.read_text() == SAVED_CONTENT
            and self.path.stat().st_mode & 0o777 == 0o640
            and not (self.root / "etc" / "new").exists()
            and os.readlink(self.root / "etc" / "link") == "target"
            and not (self.root / "made").exists()
        )

    def run(self) -> int:
        """Run the script."""
        return subprocess.run(["sh", "-c", self.script], capture_output=True, timeout=10, check=False).returncode

    def calls(self) -> list[str]:
        """What the stand-ins were asked."""
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    made = Guarded(tmp_path)
    made.change()
    return made


def test_it_restores_and_removes_itself(guarded: Guarded) -> None:
    assert guarded.run() == 0
    assert guarded.restored() and not guarded.guard.exists() and not guarded.guard.parent.exists()
    assert guarded.calls() == [
        "systemctl --no-block stop x.service",
        f"nft -f {guarded.guard}/before.nft",
        "systemctl stop homeserver-unit-test.timer",
        "systemctl daemon-reload",
    ]


def test_after_a_confirmation_it_only_cleans_up(guarded: Guarded) -> None:
    (guarded.guard / ARMED).rename(guarded.guard / CONFIRMED)
    assert guarded.run() == 0
    assert not guarded.restored() and not guarded.guard.exists()


def test_it_goes_on_where_it_was_interrupted(guarded: Guarded) -> None:
    (guarded.guard / ARMED).rename(guarded.guard / ROLLING)
    guarded.path.write_text(SAVED_CONTENT)
    assert guarded.run() == 0
    assert guarded.restored() and not guarded.guard.exists()


def test_a_failure_is_tried_again(guarded: Guarded) -> None:
    (guarded.root / "fail-nft").touch()
    assert guarded.run() != 0
    assert guarded.restored() and (guarded.guard / ROLLING).exists()
    (guarded.root / "fail-nft").unlink()
    assert guarded.run() == 0
    assert not guarded.guard.exists()


def test_a_unit_that_cannot_be_stopped_is_no_failure(guarded: Guarded) -> None:
    (guarded.root / "fail-systemctl").touch()
    assert guarded.run() == 0
    assert guarded.restored()


def test_without_a_guard_it_does_nothing(guarded: Guarded) -> None:
    guarded.run()
    guarded.change_again = True  # type: ignore[attr-defined]
    guarded.path.write_text("later\n")
    assert guarded.run() == 0
    assert guarded.path.read_text() == "later\n"


def test_tables_that_were_not_there_will_not_be_there() -> None:
    text = restore_nft([("inet", "homeserver", ""), ("ip", "mine", "table ip mine {\n}")])
    assert text.splitlines()[1:] == [
        "add table inet homeserver",
        "delete table inet homeserver",
        "add table ip mine",
        "delete table ip mine",
        "table ip mine {",
        "}",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inet homeserver", ("inet", "homeserver")),
        ("ip6 a_b.c", ("ip6", "a_b.c")),
        ("homeserver", None),
        ("inet  homeserver", None),
        ("inet homeserver; flush ruleset", None),
        ("inet homeserver\n", None),
        ("inet -f", None),
        ("unix x", None),
        ("", None),
    ],
)
def test_names_of_tables(text: str, expected: tuple[str, str] | None) -> None:
    assert valid_table(text) == expected


def test_units() -> None:
    service = service_text("homeserver-rollback", "/var/lib/homeserver/rollback-default", ["homeserver-firewall.service"])
    assert "Before=network-pre.target homeserver-firewall.service\n" in service
    assert "After=systemd-remount-fs.service nftables.service\n" in service
    timer = timer_text(30)
    assert "OnActiveSec=30s\n" in timer and "AccuracySec=1s\n" in timer and "OnCalendar" not in timer
    assert unit_files("u") == ["/etc/systemd/system/sysinit.target.wants/u.service", "/etc/systemd/system/u.timer", "/etc/systemd/system/u.service"]
