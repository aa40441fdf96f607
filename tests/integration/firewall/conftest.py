# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: a home in namespaces for the rules, and a lab for what needs systemd and SSH."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from labhost import LabHost
from namespaces import Home, missing


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A host and its visitors."""
    # A test that cannot run is a test that failed: skipped tests are not looked at.
    if missing():
        pytest.fail(f"these tests need: {', '.join(missing())}")
    made = Home(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def lab() -> Iterator[LabHost]:
    """A lab of its own, for all tests of a session."""
    made = LabHost()
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def server(lab: LabHost) -> Iterator[LabHost]:
    """The lab's server, without rules of ours and without a guard, and put back to that."""
    lab.clean()
    yield lab
    lab.clean()
