# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's spec and plan, and when the core confirms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.homeserver.hardening.plugins.module_utils._guard import guard as core
from ansible_collections.homeserver.hardening.plugins.module_utils._session import Session
from ansible_collections.homeserver.hardening.plugins.modules import rollback_guard

RECORD = {"id": "abc", "armed": "2026-01-31T04:20:00Z", "deadline": "2026-01-31T04:20:30Z", "uptime": 100.0}


def test_documentation_and_spec_agree() -> None:
    options = yaml.safe_load(rollback_guard.DOCUMENTATION)["options"]
    spec = rollback_guard._argument_spec()
    assert options.keys() == spec.keys()
    for name, real in spec.items():
        for key in ("type", "elements", "choices", "default", "required"):
            assert options[name].get(key) == real.get(key), (name, key)


class _Systemd:
    booted = True
    active = True

    def is_active(self, unit: str) -> bool:
        return self.active

    def call(self, *arguments: str) -> None:
        """Do nothing."""


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> core.Guard:
    """An armed guard, as its files say."""
    monkeypatch.setattr(core, "Systemd", _Systemd)
    monkeypatch.setattr(core, "unit_files", lambda unit: [str(tmp_path / f"{unit}.{end}") for end in ("link", "timer", "service")])
    monkeypatch.setattr(core, "current", lambda: Session("192.0.2.1", 1, 22, 120.0))
    made = core.Guard(state_directory=str(tmp_path / "state"))
    Path(made.directory).mkdir(parents=True)
    (Path(made.directory) / "armed").write_text(json.dumps(RECORD))
    return made


@pytest.mark.parametrize(
    ("state", "armed", "expected"),
    [
        ("armed", False, [("create", "")]),
        ("armed", True, [("remove", "left by a run that died; its change is taken back first"), ("create", "")]),
        ("confirmed", True, [("remove", "confirmed")]),
        ("confirmed", False, []),
        ("rolled_back", True, [("remove", "rolled back")]),
        ("rolled_back", False, []),
    ],
)
def test_plans(guard: core.Guard, state: str, armed: bool, expected: list[tuple[str, str]]) -> None:
    if not armed:
        shutil.rmtree(guard.directory)
    parameters = {"state": state, "timeout": 30, "nft_tables": [], "files": []}
    plan = rollback_guard._plan(guard, parameters, RECORD if armed else None)
    assert [(change.action, change.reason) for change in plan.changes] == expected


def test_a_new_connection_confirms(guard: core.Guard) -> None:
    guard.confirm(True, "abc")
    assert guard.record() is None and not Path(guard.directory).exists()


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (Session("192.0.2.1", 1, 22, 99.0), "older than the change"),
        (Session("192.0.2.1", 1, 22, None), "did not come by an SSH connection"),
        (None, "did not come by an SSH connection"),
    ],
)
def test_what_proves_nothing_is_refused(guard: core.Guard, monkeypatch: pytest.MonkeyPatch, session: Session | None, message: str) -> None:
    monkeypatch.setattr(core, "current", lambda: session)
    with pytest.raises(core.GuardError, match=message):
        guard.confirm(True)
    assert guard.record() == RECORD
    guard.confirm(False)
    assert guard.record() is None


def test_a_connection_between_arming_and_the_change_is_old(guard: core.Guard) -> None:
    (Path(guard.directory) / "changed").write_text("130.0\n")
    with pytest.raises(core.GuardError, match="older than the change"):
        guard.confirm(True)


def test_a_timer_that_does_not_wait_is_refused(guard: core.Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.systemd, "active", False, raising=False)
    with pytest.raises(core.GuardError, match="does not wait any more"):
        guard.confirm(True)


@pytest.mark.parametrize("name", ["rolling", "confirmed", None])
def test_nothing_to_confirm(guard: core.Guard, name: str | None) -> None:
    armed = Path(guard.directory) / "armed"
    armed.rename(armed.with_name(name)) if name else armed.unlink()
    with pytest.raises(core.GuardError, match="nothing to confirm: this guard is not armed any more"):
        guard.confirm(True)


def test_another_runs_guard_is_not_confirmed(guard: core.Guard) -> None:
    with pytest.raises(core.GuardError, match="nothing to confirm"):
        guard.confirm(True, "xyz")


def test_the_last_moment(guard: core.Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollback claims the guard between the check and the confirmation."""

    def rename(source: str, target: str) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(core.os, "rename", rename)
    with pytest.raises(core.GuardError, match="at this very moment"):
        guard.confirm(True)


def test_names_of_units(tmp_path: Path) -> None:
    assert core.Guard(state_directory=str(tmp_path)).unit == "homeserver-rollback"
    assert core.Guard("sshd", str(tmp_path)).unit == "homeserver-rollback-sshd"


def test_armed_guards(guard: core.Guard) -> None:
    state = str(Path(guard.directory).parent)
    assert core.armed_guards(state) == ["default"]
    core.note_change(state)
    assert float((Path(guard.directory) / "changed").read_text()) > 0
    guard.confirm(False)
    assert core.armed_guards(state) == []


@pytest.mark.parametrize("name", ["confirmed", None])
def test_what_a_dead_run_left_is_swept(guard: core.Guard, name: str | None) -> None:
    """It died after the confirmation, or before it was armed: nothing to take back, but things lie about."""
    armed = Path(guard.directory) / "armed"
    armed.rename(armed.with_name(name)) if name else armed.unlink()
    assert guard.left_over() and not guard.roll_back()
    plan = rollback_guard._plan(guard, {"state": "rolled_back"}, guard.record())
    assert [change.reason for change in plan.changes] == ["left by a run that died; it is not armed"]
    guard.sweep()
    assert not guard.left_over() and not Path(guard.directory).exists()
