# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All lines are built and judged at the same time, once; the tests look at what came out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.line.cases import CASES
from ansible_collections.homeserver.hardening.tests.integration.line.lines import NEEDED, SEED, World
from ansible_collections.homeserver.hardening.tests.integration.line.matrix import judge_all


def pytest_report_header() -> str:
    """Say how to repeat the run."""
    return f"HOMESERVER_SEED={SEED}"


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The Internet."""
    # A test that cannot run is a test that failed: skipped tests are not looked at.
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.fail(f"these tests need root and {', '.join(NEEDED)}; missing: {', '.join(missing) or 'root'}")
    directory = Path(tempfile.mkdtemp(prefix="homeserver-line-"))
    made = World(directory)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def judged(world: World) -> dict[str, Any]:
    """The results by the case's name; an exception where a line could not be built or judged."""

    return dict(zip((case.name for case in CASES), judge_all(world, CASES)))
