# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils import _history
from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir


def look(time: str, ipv4: str | None = "44.1.1.1", ipv6_prefix: str | None = None) -> dict[str, Any]:
    return {"time": time, "ipv4": ipv4, "ipv6_prefix": ipv6_prefix}


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(str(tmp_path / "state"))


def test_what_a_file_may_hold() -> None:
    entries = [look("2026-01-01T00:00:00Z")]
    assert _history.entries_of({"entries": entries}) == entries
    assert _history.entries_of(entries) == entries
    for wrong in ({}, [1], "x", None, {"entries": {}}, {"entries": [None]}):
        with pytest.raises(ValueError, match="no list of entries"):
            _history.entries_of(wrong)


def test_a_quiet_line_is_written_once_an_hour(state: StateDir) -> None:
    times = [f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z" for minute in range(0, 180, 5)]
    seen = []
    for time in times:
        _history.note(state, look(time))
        seen.append(_history.load(state))
    assert [entry["time"] for entry in seen[-1]] == ["2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"]
    assert sum(earlier != later for earlier, later in zip(seen, seen[1:])) == 2
    _history.note(state, look("2026-01-01T02:56:00Z", "44.1.1.2"))
    assert [entry["ipv4"] for entry in _history.load(state)] == ["44.1.1.1", "44.1.1.1", "44.1.1.2"]


def test_who_knows_less_adds_nothing_and_who_knows_more_does(state: StateDir) -> None:
    _history.note(state, look("2026-01-01T00:00:00Z", ipv6_prefix="2a0d::/64"))
    _history.note(state, look("2026-01-01T00:05:00Z"))
    assert len(_history.load(state)) == 1
    _history.note(state, look("2026-01-01T01:05:00Z"))
    _history.note(state, look("2026-01-01T01:10:00Z", ipv6_prefix="2a0d::/64"))
    assert [entry["ipv6_prefix"] for entry in _history.load(state)] == ["2a0d::/64", None, "2a0d::/64"]


def test_a_clock_that_was_wrong_does_not_stop_the_history() -> None:
    entries = [look("2026-01-01T00:00:00Z"), look("2036-01-01T00:00:00Z")]
    assert _history.remember(entries, "2026-01-02T00:00:00Z", "44.1.1.1", None)[-1]["time"] == "2026-01-02T00:00:00Z"


def test_nobody_but_root_reads_it(state: StateDir) -> None:
    _history.note(state, look("2026-01-01T00:00:00Z"))
    assert stat.S_IMODE(os.stat(state.path).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(state.file(_history.FILE)).st_mode) == 0o600


@pytest.mark.parametrize("nothing", [look("rubbish"), look("2026-01-01T00:00:00Z", None), {}])
def test_a_look_that_saw_nothing_is_not_kept(state: StateDir, nothing: dict[str, Any]) -> None:
    _history.note(state, nothing)
    assert not os.path.exists(state.path)


@pytest.mark.parametrize("text", ["{", "{}", '{"entries": [1]}', "7", "\udcff"])
def test_a_damaged_history_is_begun_anew(state: StateDir, text: str) -> None:
    os.mkdir(state.path)
    Path(state.file(_history.FILE)).write_bytes(text.encode(errors="surrogateescape"))
    assert _history.load(state) == []
    _history.note(state, look("2026-01-01T00:00:00Z"))
    assert _history.load(state) == [look("2026-01-01T00:00:00Z")]


@pytest.mark.parametrize("keeper", ["publication.json", "pending.json", "ddns.json"])
def test_it_stays_as_long_as_anything_is_published(state: StateDir, keeper: str) -> None:
    _history.note(state, look("2026-01-01T00:00:00Z"))
    state.write(keeper, {})
    _history.forget(state)
    assert len(_history.load(state)) == 1
    state.remove(keeper)
    _history.forget(state)
    assert os.listdir(state.path) == []


def test_prefix_and_count() -> None:
    assert _history.prefix_of("2a0d:5600:8:1:5::7") == "2a0d:5600:8:1::/64"
    entries = [look("2026-01-01T00:00:00Z"), look("2026-01-05T00:00:00Z", "44.1.1.2"), look("2026-01-09T00:00:00", None)]
    assert _history.counted(entries, "ipv4", "2026-01-08T00:00:00Z") == {"stable_days": 3, "changes": 1, "observed_days": 7}
    assert _history.counted(entries, "ipv6_prefix", "2026-01-08T00:00:00Z") == {"stable_days": None, "changes": 0, "observed_days": None}
