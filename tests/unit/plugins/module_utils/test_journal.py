# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils import _journal, _state

A = {"services": [{"name": "http"}]}
B = {"services": [{"name": "https"}]}
RUN = _journal.Run("run1", "controller", 100, 5)
OTHER = _journal.Run("run2", "controller", 200, 6)


@pytest.fixture
def journal(tmp_path):
    return _journal.Journal(_state.StateDir(str(tmp_path / "state")))


def names(status):
    return [service["name"] for service in _journal.known_services(status)]


def test_reading_creates_nothing(journal, tmp_path):
    assert journal.status() == {"committed": None, "pending": None, "proof": None, "holder": None, "history": []}
    assert journal.plan_pending(A).changed
    assert os.listdir(tmp_path) == []


def test_a_run_that_ends_leaves_one_record_and_no_holder(journal):
    assert journal.begin(RUN, A, {"mapping": 1}).changed
    assert journal.status()["holder"]["run_id"] == "run1"
    assert journal.commit(RUN, A, {"rows": []}).changed
    status = journal.status()
    assert status["committed"]["publication"] == A
    assert status["committed"]["originals"] == {"mapping": 1}
    assert (status["pending"], status["holder"]) == (None, None)
    assert status["proof"]["proof"] == {"rows": []}


def test_the_same_publication_again_changes_nothing(journal):
    journal.begin(RUN, A, {})
    journal.commit(RUN, A, None)
    assert not journal.begin(OTHER, A, {}).changed
    assert not journal.commit(OTHER, A, {"rows": []}).changed
    assert journal.status()["holder"] is None


def test_the_first_originals_are_kept(journal):
    journal.begin(RUN, A, {"firewall": False})
    journal.commit(RUN, A, None)
    journal.begin(OTHER, B, {"firewall": True})
    journal.commit(OTHER, B, None)
    assert journal.status()["committed"]["originals"] == {"firewall": False}


def test_nothing_published_leaves_no_trace(journal, tmp_path):
    journal.begin(RUN, A, {})
    journal.commit(RUN, A, {"rows": []})
    assert journal.begin(RUN, None, {}).changed
    assert journal.commit(RUN, None, None).changed
    assert os.listdir(tmp_path) == []
    assert not journal.begin(RUN, None, {}).changed
    assert not journal.commit(RUN, None, None).changed
    assert os.listdir(tmp_path) == []


def test_another_run_is_refused_and_named(journal):
    journal.begin(RUN, A, {}, now=1000.0)
    with pytest.raises(_journal.RunHeld, match="run1 on controller .process 100.* since 1970-01-01T00:16:40Z"):
        journal.begin(OTHER, B, {}, now=1001.0)
    with pytest.raises(_journal.RunHeld):
        journal.commit(OTHER, B, None, now=1001.0)
    assert journal.status()["pending"]["publication"] == A


def test_a_dead_run_is_taken_over_and_what_it_began_is_remembered(journal):
    journal.begin(RUN, A, {"x": 1})
    journal.begin(OTHER, B, {"x": 2}, break_run="run1")
    status = journal.status()
    assert status["holder"]["run_id"] == "run2"
    assert status["pending"]["interrupted"] == A
    assert status["pending"]["originals"] == {"x": 1}
    assert names(status) == ["http", "https"]


def test_several_dead_runs_are_remembered_together(journal):
    journal.begin(RUN, A, {})
    journal.begin(OTHER, B, {}, break_run="run1")
    journal.begin(RUN, None, {}, break_run="run2")
    assert names(journal.status()) == ["http", "https"]


def test_a_run_whose_time_is_over_needs_no_breaking(journal):
    journal.begin(RUN, A, {}, now=0.0)
    assert journal.begin(OTHER, A, {}, now=_journal.RUN_LIFETIME + 1.0).changed


def test_a_released_host_keeps_its_record(journal):
    journal.begin(RUN, A, {})
    journal.release(OTHER)
    assert journal.status()["holder"]
    journal.release(RUN)
    assert journal.status()["holder"] is None
    assert journal.status()["pending"]


def test_state_files_are_private(journal, tmp_path):
    journal.begin(RUN, A, {})
    for path in (tmp_path / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0 or path.name == "lock"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_damaged_record_is_named(journal, tmp_path):
    journal.begin(RUN, A, {})
    (tmp_path / "state" / "pending.json").write_text("{", encoding="utf-8")
    with pytest.raises(_state.StateError, match="pending.json is damaged"):
        journal.status()


@pytest.mark.parametrize("path", ["relative", "/", "//", ""])
def test_a_state_directory_is_an_absolute_path(path):
    with pytest.raises(_state.StateError, match="absolute path"):
        _state.StateDir(path)


def test_the_short_lock_is_waited_for_and_then_named(tmp_path):
    state = _state.StateDir(str(tmp_path))
    with state.lock(), pytest.raises(_state.StateError, match="is held by another process"), state.lock(timeout=0.1):
        pass


def service(name, external_port):
    return {"name": name, "protocol": "tcp", "port": 443, "external_port": external_port}


def test_a_port_that_a_dead_run_changed_is_remembered_with_both_numbers(journal):
    journal.begin(RUN, {"services": [service("https", 8443)]}, {})
    journal.commit(RUN, {"services": [service("https", 8443)]}, None)
    journal.begin(RUN, {"services": [service("https", 9443)]}, {})
    journal.begin(OTHER, None, {}, break_run="run1")
    assert [row["external_port"] for row in _journal.known_services(journal.status())] == [8443, 9443]


def test_every_name_that_may_be_published_is_remembered(journal):
    journal.begin(RUN, {"services": [], "name": "a.example"}, {})
    journal.commit(RUN, {"services": [], "name": "a.example"}, None)
    journal.begin(RUN, {"services": [], "name": "b.example"}, {})
    journal.begin(OTHER, {"services": [], "name": "c.example"}, {}, break_run="run1")
    journal.begin(RUN, {"services": [], "name": ""}, {}, break_run="run2")
    assert _journal.known_names(journal.status()) == ["a.example", "b.example", "c.example"]


def look(hour, ipv4="44.1.1.1"):
    return {"time": f"2026-01-01T{hour:02}:00:00Z", "ipv4": ipv4, "ipv6_prefix": None}


def test_a_run_notes_what_it_saw_of_the_line_and_that_is_no_change(journal, tmp_path):
    journal.begin(RUN, A, {})
    journal.commit(RUN, A, None, look(1))
    journal.begin(OTHER, A, {})
    assert not journal.commit(OTHER, A, None, look(2, "44.1.1.2")).changed
    assert journal.status()["history"] == [look(1), look(2, "44.1.1.2")]
    # A run of some of the steps, one that saw nothing, and one that does not hold the host any more.
    journal.begin(RUN, B, {})
    journal.release(OTHER, look(3, "44.1.1.9"))
    journal.release(RUN, look(3, "44.1.1.3"))
    journal.release(RUN, look(4, "44.1.1.9"))
    journal.begin(RUN, A, {})
    journal.commit(RUN, A, None)
    assert [entry["ipv4"] for entry in journal.status()["history"]] == ["44.1.1.1", "44.1.1.2", "44.1.1.3"]
    # With the last service goes the history.
    journal.begin(RUN, None, {})
    assert len(journal.status()["history"]) == 3
    journal.commit(RUN, None, None, look(5))
    assert os.listdir(tmp_path) == []


def test_what_dynamic_dns_needs_still_outlives_the_publication(journal, tmp_path):
    journal.begin(RUN, A, {})
    journal.commit(RUN, A, None, look(1))
    (tmp_path / "state" / "ddns.json").write_text("{}")
    journal.begin(RUN, None, {})
    journal.commit(RUN, None, None)
    assert journal.status()["history"] == [look(1)]


def test_a_damaged_history_keeps_nobody_from_publishing(journal, tmp_path):
    journal.begin(RUN, A, {})
    (tmp_path / "state" / "line.json").write_text("{")
    assert journal.status()["history"] == []
    journal.commit(RUN, A, None, look(1))
    assert journal.status()["history"] == [look(1)]
