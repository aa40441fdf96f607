# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test publishable_address."""

from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.test import publishable_address as plugin


def test_name():
    assert plugin.TestModule().tests() == {"publishable_address": plugin.publishable_address}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8.8.8.8", True),
        ("2a00::1", True),
        ("100.64.0.1", False),
        ("192.168.1.1", False),
        ("192.31.196.1", False),
        ("::ffff:8.8.8.8", False),
        ("2002:808:808::1", False),
        ("fe80::1", False),
        ("server.example.net", False),
        ("", False),
        (None, False),
        (8, False),
        (["8.8.8.8"], False),
    ],
)
def test_answers(value, expected):
    assert plugin.publishable_address(value) is expected
