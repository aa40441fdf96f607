# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""That a benchmark which misses its bound says so."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[3] / "bench"


@pytest.fixture
def common(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("bench_common", BENCH / "common.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("ours", "theirs", "bounds", "passed", "status"),
    [
        (1.0, 8.0, {"at_least": 8}, "PASS", 0),
        (1.0, 7.9, {"at_least": 8}, "MISS", 1),
        (1.0, None, {"at_least": 8}, "MISS", 1),
        (2.0, 1.0, {"at_most_times": 2}, "PASS", 0),
        (2.1, 1.0, {"at_most_times": 2}, "MISS", 1),
        (4.0, None, {"at_most": 4}, "PASS", 0),
        (4.1, 9.0, {"at_most": 4}, "MISS", 1),
        (4.1, 50.0, {"at_most": 4, "at_least": 10}, "MISS", 1),
        (0.0, 1.0, {"at_most": 0}, "PASS", 0),
        (9.0, 1.0, {}, "", 0),
    ],
)
def test_bounds(common, capsys, ours, theirs, bounds, passed, status):
    rows = [common.Row("subject", "we", ours, "they", theirs, **bounds), common.Row("other", "we", 1.0)]
    common.show("Title", rows)
    line = next(line for line in capsys.readouterr().out.splitlines() if "subject" in line)
    assert [word for word in ("PASS", "MISS") if word in line] == ([passed] if passed else [])
    assert common.verdict(rows) == status


def test_minimum_of_turns(common):
    calls = []
    times = common.best(lambda: calls.append("a"), lambda: calls.append("b"), repetitions=3)
    assert calls == ["a", "b"] * 3
    assert len(times) == 2
    assert all(0 <= value < 1 for value in times)


def test_peak_memory_is_that_of_the_program(common):
    """However large the process is that asks."""
    ballast = bytearray(80 << 20)
    small = common.peak_memory([sys.executable, "-ISc", "pass"])
    large = common.peak_memory([sys.executable, "-ISc", "x = b'x' * (50 << 20)"])
    assert len(ballast) / (1 << 20) > small + 30
    assert 45 < large - small < 60
    with pytest.raises(RuntimeError, match="status 3"):
        common.peak_memory([sys.executable, "-ISc", "raise SystemExit(3)"])
