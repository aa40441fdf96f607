# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stage runner says what happened: a fault in a stage reaches the summary and the exit status."""

from __future__ import annotations

import importlib.util
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def load(name):
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


stages = load("stages")
env = load("env")


@dataclass(frozen=True)
class Plain(stages.Stage):
    """A stage without environment and mounts."""

    @property
    def argv(self):
        return list(self.command)


def stage(name, script="true", **more):
    return Plain(name, "check", name, ("sh", "-c", script), **more)


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "REPO", tmp_path)
    monkeypatch.setattr(stages, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(stages, "RECORDS", tmp_path / "records")
    return tmp_path / "logs"


def run(*wanted, jobs=2, fail_fast=False):
    runs = stages.execute(list(wanted), jobs, fail_fast)
    return {one.stage.name: one for one in runs}, runs


def test_all_pass(capsys):
    _found, runs = run(stage("a"), stage("b"))
    assert stages.summary(runs, 1) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 0 failed"


def test_a_failing_stage_fails_the_run_and_shows_its_end(capsys):
    _found, runs = run(stage("good"), stage("bad", "echo the reason; exit 3"), stage("after", "true"))
    assert stages.summary(runs, 1) == 1
    out = capsys.readouterr().out
    assert "the reason" in out
    assert re.search(r"bad +FAIL .*exit status 3", out)
    assert out.splitlines()[-1] == "2 passed, 1 failed"


def test_a_missing_command_fails(capsys):
    _found, runs = run(Plain("gone", "check", "gone", ("/nonexistent/command",)))
    assert stages.summary(runs, 1) == 1
    assert "cannot start" in capsys.readouterr().out


def test_a_stage_that_hangs_is_ended_with_its_children(tmp_path):
    found, _runs = run(stage("slow", f"(sleep 60; touch {tmp_path}/late) & sleep 60", minutes=0.01))
    assert found["slow"].status == 124
    assert "longer than" in found["slow"].reason


def test_one_of_a_group_at_a_time(tmp_path):
    script = f"! test -e {tmp_path}/busy && touch {tmp_path}/busy && sleep 0.5 && rm {tmp_path}/busy"
    found, _runs = run(stage("a", script, group="lab"), stage("b", script, group="lab"), stage("c", script, group="lab"), jobs=3)
    assert [one.status for one in found.values()] == [0, 0, 0]


def test_without_a_group_two_run_beside_each_other():
    started = time.monotonic()
    run(stage("a", "sleep 1"), stage("b", "sleep 1"))
    assert time.monotonic() - started < 1.8


def test_a_stage_waits_for_those_that_it_comes_after(tmp_path):
    found, _runs = run(stage("second", f"test -e {tmp_path}/first", after=("first",)), stage("first", f"sleep 0.5; touch {tmp_path}/first"))
    assert found["second"].status == 0


def test_fail_fast_says_what_was_not_started(capsys):
    found, runs = run(stage("bad", "false"), stage("next"), jobs=1, fail_fast=True)
    assert found["next"].reason == "not started"
    assert stages.summary(runs, 1) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 2 failed"


def test_the_output_is_kept(logs):
    run(stage("a", "echo out; echo err >&2"))
    assert (logs / "a.log").read_text(encoding="utf-8").splitlines()[1:] == ["out", "err"]


def test_tiers_contain_each_other():
    names = [{one.name for one in stages.chosen(tier, [])} for tier in stages.TIERS]
    assert names[0] < names[1]
    assert {"e2e-all", "kill-all"} <= names[2]
    assert names[1] - names[2] == {"e2e", "kill"}


def test_every_tool_of_the_oldest_and_newest_core_is_there():
    names = {one.name: one for one in stages.STAGES}
    assert {names["sanity-2.18"].venv, names["sanity-newest"].venv, names["importer"].venv} == {"core218", "newest", "importer"}
    assert {one.venv for one in stages.STAGES} <= set(env.VENVS)


def test_a_pattern_chooses_and_a_wrong_one_is_refused():
    assert {one.name for one in stages.chosen("test", ["molecule-*"])} == {"images", "molecule-bookworm", "molecule-trixie"}
    with pytest.raises(SystemExit, match="there is no stage nonsense"):
        stages.chosen("test", ["nonsense"])


def test_an_interpreter_that_does_not_work_is_not_taken(tmp_path):
    shim = tmp_path / "python3"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    version = ".".join(map(str, sys.version_info[:2]))
    assert not env.works(shim, version)
    assert not env.works(tmp_path / "absent", version)
    assert not env.works(Path(sys.executable), "2.7")


def test_an_environment_is_new_when_pins_or_interpreter_change(tmp_path, monkeypatch):
    monkeypatch.setattr(env, "REPO", tmp_path)
    (tmp_path / "requirements").mkdir()
    pins = tmp_path / "requirements" / "dev.txt"
    pins.write_text("# one\npytest==1\n", encoding="utf-8")
    first = env.venv_path("dev", Path("/usr/bin/python3"))
    pins.write_text("# another comment\npytest==1\n", encoding="utf-8")
    assert env.venv_path("dev", Path("/usr/bin/python3")) == first
    assert env.venv_path("dev", Path("/usr/bin/python3.13")) != first
    pins.write_text("pytest==2\n", encoding="utf-8")
    assert env.venv_path("dev", Path("/usr/bin/python3")) != first


def test_every_requirement_is_pinned_exactly():
    loose = [
        f"{name}: {line}" for name in env.VENVS for line in env.listed(ROOT / "requirements" / f"{name}.txt") if not re.fullmatch(r"[\w.-]+==[\w.]+", line)
    ]
    assert loose == []
