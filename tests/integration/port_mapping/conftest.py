# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: one home for all tests of a session, with an empty router for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import PRIVATE_WAN, Home, started


@pytest.fixture(scope="session")
def _shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    yield from started(Home(tmp_path_factory.mktemp("home")))


@pytest.fixture
def home(_shared_home: Home) -> Home:
    """A home whose router maps nothing yet, and whose hosts offer nothing."""
    _shared_home.end_children()
    _shared_home.start_daemon()
    return _shared_home


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[Home]:
    """A home that the test may bend; its router does not map ports yet."""
    yield from started(Home(tmp_path))


@pytest.fixture
def private_home(tmp_path: Path) -> Iterator[Home]:
    """A home whose router has a private WAN address."""
    yield from started(Home(tmp_path, wan=PRIVATE_WAN))


@pytest.fixture(scope="module")
def fake_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home for all tests of a module, whose router runs no daemon: the fake router takes its place."""
    yield from started(Home(tmp_path_factory.mktemp("fake")))
