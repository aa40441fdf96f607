# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults planted into a real line are noticed: the runner ends with 1, for the reason that was planted. Needs root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
#: Where each fault is planted, and what has to be said of it.
CASES = (
    ("dnat_removed", "dynamic_global", "inbound: web is not_forwarded, not published"),
    ("port_filter", "dynamic_global", "inbound: web is closed_before_home, not published"),
    ("foreign_traffic", "cgn", "destinations: the home sent udp to "),
    ("verdict_forced", "cgn", "verdict: verdict is nat_single, not cgn"),
    ("published_forced", "cgn", "safety: the report says that planted can be reached"),
)


@pytest.mark.parametrize(("plant", "line", "complaint"), CASES, ids=[plant for plant, _line, _complaint in CASES])
def test_a_planted_fault_ends_the_run_with_1(plant: str, line: str, complaint: str) -> None:
    done = subprocess.run([str(HERE / "run"), "--plant", plant, line], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert complaint in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "lines: 0 of 1 right"
