# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._agent._status_job import run
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._memory import Memory
from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir


@pytest.mark.parametrize("lagging", [True, False])
def test_status_names_the_finding_while_an_authority_lags(lagging: bool, tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "state"))
    with state.lock():
        Memory(name="home.example.net", lagging=lagging, last={"result": "lagging", "message": "because"}).save(state)
    told = run(argparse.Namespace(), state)
    assert told["ddns"]["lagging"] is lagging
    assert ("dns-secondary-lagging" in told["message"]) is lagging
