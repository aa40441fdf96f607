# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arming, confirming and rolling back on the host."""

from __future__ import annotations

import contextlib
import datetime
import glob
import json
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._firewall.system import FileState, Nft, Systemd, run, write_file
from .._session import current
from .._state import DEFAULT_DIRECTORY
from .script import ARMED, CONFIRMED, ROLLING, UNIT_DIRECTORY, Saved, SavedFile, restore_nft, restore_script, service_text, timer_text, unit_files, valid_table

DEFAULT_NAME = "default"
_PREFIX = "rollback-"
#: A process's start is known to a clock tick; a connection this much older than the change still counts as newer.
_TICK = 0.02


class GuardError(Exception):
    """The guard cannot do what was asked; the message says why, and what that means for the host."""


@dataclass(frozen=True)
class Protected:
    """What the guard keeps."""

    nft_tables: Sequence[str] = ()
    files: Sequence[str] = ()


class Guard:
    """One guard, known by its name; different names do not know of each other."""

    def __init__(self, name: str = DEFAULT_NAME, state_directory: str = DEFAULT_DIRECTORY) -> None:
        self.name = name
        self.directory = os.path.join(state_directory, _PREFIX + name)
        self.unit = "homeserver-rollback" + ("" if name == DEFAULT_NAME else f"-{name}")
        self.systemd = Systemd()

    def record(self) -> dict[str, Any] | None:
        """Return what was noted when the guard was armed; None if it is not armed."""
        for name in (ARMED, ROLLING):
            try:
                with open(os.path.join(self.directory, name), encoding="utf-8") as stream:
                    record: dict[str, Any] = json.load(stream)
                    return record
            except (OSError, ValueError):
                continue
        return None

    def left_over(self) -> bool:
        """Return whether something of a guard is there that is not armed: a run died while it armed or removed it."""
        return self.record() is None and (os.path.isdir(self.directory) or any(os.path.lexists(path) for path in unit_files(self.unit)))

    def sweep(self) -> None:
        """Remove what is left of a guard that is not armed."""
        parent_made = False
        with contextlib.suppress(OSError, ValueError), open(os.path.join(self.directory, CONFIRMED), encoding="utf-8") as stream:
            parent_made = bool(json.load(stream).get("parent_made"))
        self._remove(parent_made)

    def arm(self, timeout: int, protected: Protected) -> dict[str, Any]:
        """Save the state before and start to wait; after this returns, the host takes back by itself what nobody confirms."""
        if not self.systemd.booted:
            raise GuardError("a guard needs systemd, and this host is not booted with it; make the change from a console")
        for path in protected.files:
            if not os.path.isabs(path) or os.path.normpath(path) != path or os.path.isdir(path) and not os.path.islink(path):
                raise GuardError(f"{path} cannot be guarded; name a file by its absolute path")
        nft = Nft()
        self._remove()
        parent_made = not os.path.isdir(os.path.dirname(self.directory))
        missing = _missing_directories([self.directory, *protected.files])
        try:
            os.makedirs(os.path.join(self.directory, "files"), mode=0o700)
            saved = self._save_files(protected.files, [path for path in missing if not self.directory.startswith(path)])
            before = restore_nft([self._save_table(nft, text) for text in protected.nft_tables])
            nft.check(before)
            self._write("before.nft", before)
            self._write("rollback.sh", restore_script(self.directory, self.unit, saved, nft.path, remove_parent=parent_made))
            service = service_text(self.unit, self.directory, [os.path.basename(path) for path in protected.files if path.endswith(".service")][:1])
            link, timer, unit = unit_files(self.unit)
            write_file(unit, FileState(service))
            write_file(timer, FileState(timer_text(timeout)))
            os.makedirs(os.path.dirname(link), mode=0o755, exist_ok=True)
            write_file(link, FileState(link=unit))
            self.systemd.call("daemon-reload")
            now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
            record = {
                "id": uuid.uuid4().hex,
                "armed": _rfc3339(now),
                "deadline": _rfc3339(now + datetime.timedelta(seconds=timeout)),
                "timeout": timeout,
                "uptime": _uptime(),
                "parent_made": parent_made,
            }
            self._write(ARMED, json.dumps(record) + "\n")
            self.systemd.call("start", f"{self.unit}.timer")
            if not self._waiting():
                raise GuardError(f"{self.unit}.timer did not start; nothing was changed")
        except BaseException:
            self._remove(parent_made)
            raise
        return record

    def confirm(self, new_connection: bool, guard_id: str = "") -> None:
        """Keep the change; refuses unless the guard is still waiting and, if asked, this process came by a new SSH connection."""
        record = self.record()
        if record is None or not os.path.exists(os.path.join(self.directory, ARMED)) or guard_id not in ("", record["id"]):
            raise GuardError(
                "there is nothing to confirm: this guard is not armed any more. If it was, its time ran out or the host was rebooted, "
                "and the change was taken back"
            )
        if new_connection:
            self._require_new_connection(record)
        if not self._waiting():
            raise GuardError(f"{self.unit}.timer does not wait any more, so the change is being taken back")
        try:
            os.rename(os.path.join(self.directory, ARMED), os.path.join(self.directory, CONFIRMED))
        except FileNotFoundError as error:
            raise GuardError("the time ran out at this very moment, and the change was taken back") from error
        self._remove(bool(record.get("parent_made")))

    def roll_back(self) -> bool:
        """Take the change back now and wait for it; returns whether a guard was armed."""
        if self.record() is None:
            return False
        result = run(["systemctl", "start", f"{self.unit}.service"])
        if self.record() is not None:
            journal = run(["journalctl", "--no-pager", "--output=cat", "--lines=5", f"--unit={self.unit}.service"]).stdout
            reason = " ".join((result.stderr + " " + journal).split())
            raise GuardError(f"the change could not be taken back completely; see 'journalctl -u {self.unit}'. {reason}")
        return True

    def _require_new_connection(self, record: dict[str, Any]) -> None:
        session = current()
        if session is None or session.started is None:
            raise GuardError(
                "this module did not come by an SSH connection, so that it runs proves nothing about new ones; try one from another host, "
                "then confirm with new_connection=false"
            )
        since = max(float(record["uptime"]), self._changed())
        if session.started < since - _TICK:
            raise GuardError(
                "this confirmation came over an SSH connection that is older than the change; an old connection survives rules that admit no new one, so it "
                "proves nothing. Use a connection of its own (ControlPath=none)"
            )

    def _changed(self) -> float:
        try:
            with open(os.path.join(self.directory, "changed"), encoding="ascii") as stream:
                return float(stream.read())
        except (OSError, ValueError):
            return 0.0

    def _waiting(self) -> bool:
        return self.systemd.is_active(f"{self.unit}.timer")

    def _save_files(self, paths: Sequence[str], missing: list[str]) -> Saved:
        files: list[SavedFile] = []
        for number, path in enumerate(paths):
            if os.path.islink(path):
                files.append(SavedFile(path, link=os.readlink(path)))
            elif os.path.exists(path):
                copy = f"files/{number}"
                target = os.path.join(self.directory, copy)
                shutil.copy2(path, target)
                status = os.stat(path)
                os.chown(target, status.st_uid, status.st_gid)
                os.chmod(target, status.st_mode & 0o7777)
                files.append(SavedFile(path, copy=copy))
            else:
                files.append(SavedFile(path))
        units = [os.path.basename(path) for path in paths if os.path.dirname(path) == UNIT_DIRECTORY and path.endswith((".service", ".timer"))]
        return Saved(tuple(files), tuple(missing), tuple(unit for unit in units if not self.systemd.is_active(unit)))

    @staticmethod
    def _save_table(nft: Nft, text: str) -> tuple[str, str, str]:
        table = valid_table(text)
        if table is None:
            raise GuardError(f"{text!r} does not name a table of nftables; write family and name, for example 'inet homeserver'")
        result = run([nft.path, "list", "table", *table])
        if result.returncode != 0 and "No such file" not in result.stderr:
            raise GuardError(f"nft cannot list table {text}: {result.stderr.strip()}")
        return (*table, result.stdout if result.returncode == 0 else "")

    def _write(self, name: str, content: str) -> None:
        write_file(os.path.join(self.directory, name), FileState(content, 0o600))

    def _remove(self, remove_parent: bool = False) -> None:
        """Remove everything that makes this guard; harmless if there is nothing."""
        link, timer, unit = unit_files(self.unit)
        known = [path for path in (link, timer, unit) if os.path.lexists(path)]
        if known:
            run(["systemctl", "stop", f"{self.unit}.timer"])
            for path in known:
                os.unlink(path)
            run(["systemctl", "daemon-reload"])
            run(["systemctl", "reset-failed", f"{self.unit}.service"])
        shutil.rmtree(self.directory, ignore_errors=True)
        if remove_parent:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self.directory))


def _missing_directories(paths: Sequence[str]) -> list[str]:
    found: list[str] = []
    for path in paths:
        parent = os.path.dirname(path)
        while parent not in ("", "/") and not os.path.isdir(parent):
            found.append(parent)
            parent = os.path.dirname(parent)
    return sorted(set(found), key=lambda path: (-path.count("/"), path))


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def armed_guards(state_directory: str = DEFAULT_DIRECTORY) -> list[str]:
    """Return the names of the guards that wait for a confirmation."""
    found = glob.glob(os.path.join(glob.escape(state_directory), _PREFIX + "*", ARMED)) + glob.glob(
        os.path.join(glob.escape(state_directory), _PREFIX + "*", ROLLING)
    )
    return sorted({os.path.basename(os.path.dirname(path))[len(_PREFIX) :] for path in found})


def note_change(state_directory: str = DEFAULT_DIRECTORY) -> None:
    """Tell the armed guards that something changed now: only a connection newer than this may confirm."""
    for name in armed_guards(state_directory):
        write_file(os.path.join(state_directory, _PREFIX + name, "changed"), FileState(f"{_uptime():.3f}\n", 0o600))
