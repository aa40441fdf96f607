# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: one home of each kind for all tests, with an empty router for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import started
from ansible_collections.homeserver.hardening.tests.integration.upnp_audit import homes


@pytest.fixture(scope="session")
def _vulnerable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[homes.AuditedHome]:
    yield from started(homes.vulnerable(tmp_path_factory.mktemp("vulnerable")))


@pytest.fixture(scope="session")
def _good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[homes.AuditedHome]:
    yield from started(homes.good(tmp_path_factory.mktemp("good")))


@pytest.fixture
def vulnerable(_vulnerable: homes.AuditedHome) -> Iterator[homes.AuditedHome]:
    """The router of which every setting is wrong, with nothing mapped, and no fake device beside it."""
    _vulnerable.daemon(homes.VULNERABLE)
    try:
        yield _vulnerable
    finally:
        _vulnerable.stop_fakes()


@pytest.fixture
def good(_good: homes.AuditedHome) -> Iterator[homes.AuditedHome]:
    """The router that is set up well, with nothing mapped, and no fake device beside it."""
    _good.daemon(homes.GOOD, pcp_over_ipv6=False)
    try:
        yield _good
    finally:
        _good.stop_fakes()
