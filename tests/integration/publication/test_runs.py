# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal, the plan and the report as Ansible runs them, on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

PLAYBOOK = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")
COLLECTION = "homeserver.hardening"


class Play:
    """A play of some tasks on localhost."""

    def __init__(self, directory):
        self.directory = directory
        self.state_dir = str(directory / "state")
        self.count = 0

    def write(self, *tasks):
        self.count += 1
        path = self.directory / f"play{self.count}.yml"
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}}
        path.write_text(yaml.safe_dump([{**play, "tasks": list(tasks)}]), encoding="utf-8")
        return [PLAYBOOK, "-i", "localhost,", str(path)]

    def run(self, *tasks, options=()):
        environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_NOCOLOR": "1"}
        return subprocess.run([*self.write(*tasks), *options], capture_output=True, text=True, timeout=60, env=environment, check=False)

    def journal(self, state, **more):
        return {f"{COLLECTION}.publication_journal": {"state": state, "state_dir": self.state_dir, **more}}


@pytest.fixture
def play(tmp_path):
    return Play(tmp_path)


def publication(name):
    return {"services": [{"name": name}]}


def test_a_living_run_is_refused_and_a_dead_one_is_taken_over(play, tmp_path):
    marker = tmp_path / "held"
    holder = subprocess.Popen(
        play.write(
            play.journal("pending", publication=publication("first")),
            {"ansible.builtin.file": {"path": str(marker), "state": "touch"}},
            {"ansible.builtin.pause": {"seconds": 60}},
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not marker.exists() and time.monotonic() < deadline:
            assert holder.poll() is None
            time.sleep(0.1)
        refused = play.run(play.journal("pending", publication=publication("second")))
        assert refused.returncode != 0
        assert f"process {holder.pid}" in refused.stdout + refused.stderr
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
    taken = play.run(play.journal("pending", publication=publication("second")))
    assert taken.returncode == 0, taken.stdout + taken.stderr
    pending = json.loads((tmp_path / "state" / "pending.json").read_text(encoding="utf-8"))
    assert pending["interrupted"] == publication("first")


def test_a_run_of_another_controller_is_never_taken_over(play, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    record = {"run_id": "x", "controller": "elsewhere/1", "pid": 1, "pid_started": 1, "started": time.time(), "expires": time.time() + 600}
    (state / "run.json").write_text(json.dumps(record), encoding="utf-8")
    refused = play.run(play.journal("pending", publication=publication("second")))
    assert refused.returncode != 0
    assert "elsewhere/1" in refused.stdout + refused.stderr


def test_check_mode_writes_nothing(play, tmp_path):
    done = play.run(
        play.journal("pending", publication=publication("a")), play.journal("committed", publication=publication("a")), options=["--check", "--diff"]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=2" in done.stdout
    assert "+journal publication.json" in done.stdout
    assert not (tmp_path / "state").exists()


def test_a_whole_run_and_its_repetition(play):
    tasks = [play.journal("pending", publication=publication("a")), play.journal("committed", publication=publication("a"), proof={"rows": []})]
    assert "changed=2" in play.run(*tasks).stdout
    assert "changed=0" in play.run(*tasks).stdout


def test_what_a_run_saw_of_the_line_is_handed_to_the_next_one(play, tmp_path):
    def commit(**more):
        return play.run(
            play.journal("pending", publication=publication("a")), play.journal("committed", publication=publication("a"), **more), options=["-v"]
        ).stdout

    seen = {"time": "2026-01-01T00:00:00Z", "ipv4": "44.1.1.1", "ipv6_prefix": None}
    commit()
    assert "changed=0" in commit(observation=seen)
    assert json.loads((tmp_path / "state" / "line.json").read_text(encoding="utf-8")) == {"entries": [seen]}
    # Check mode writes none, and a run that read no line hands none over.
    play.run(play.journal("committed", publication=publication("a"), observation={**seen, "ipv4": "44.1.1.2"}), options=["--check"])
    assert "44.1.1.1" in commit(observation="{{ nothing.line.observation | default(omit) }}")
    assert json.loads((tmp_path / "state" / "line.json").read_text(encoding="utf-8")) == {"entries": [seen]}
    play.run(play.journal("pending"), play.journal("committed"))
    assert not (tmp_path / "state").exists()


def test_mistakes_in_the_request_are_listed_with_reason_and_remedy(play):
    services = [{"name": "a", "port": 70000}, {"name": "b", "port": 445}, {"name": "c", "port": 80, "protocol": "sctp"}]
    failed = play.run({f"{COLLECTION}.publication_plan": {"services": services}})
    text = failed.stdout + failed.stderr
    assert failed.returncode != 0
    for part in ("Nothing was changed.", "publish_services[0].port: 70000", "1 to 65535", "SMB", "publish_accept_risk: [b]", "sctp"):
        assert part in text


def test_the_report_is_written_for_its_owner_only_and_not_at_all_in_check_mode(play, tmp_path):
    task = {f"{COLLECTION}.publication_report": {"kind": "unpublish", "dest": str(tmp_path / "reports"), "language": "ja"}}
    assert play.run(task, options=["--check"]).returncode == 0
    assert not (tmp_path / "reports").exists()
    done = play.run(task)
    assert "localhost: 公開しているものはありません。" in done.stdout
    assert "changed=0" in done.stdout
    path = tmp_path / "reports" / "localhost" / "report.json"
    assert path.stat().st_mode & 0o077 == 0
    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == 1


def test_a_language_that_is_not_there_and_a_directory_that_cannot_be_written_are_named(play):
    failed = play.run({f"{COLLECTION}.publication_report": {"kind": "unpublish", "language": "fr"}})
    assert "'fr' is not available" in failed.stdout + failed.stderr
    failed = play.run({f"{COLLECTION}.publication_report": {"kind": "unpublish", "dest": "/proc/none"}})
    assert "/proc/none" in failed.stdout + failed.stderr
    assert failed.returncode != 0
