# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""line_info and egress_info as a play runs them, in check mode and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))

INTERFACES = """\
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500
    inet 192.168.1.20/24 scope global dynamic eth0
"""

TASKS = [
    {
        "homeserver.hardening.line_info": {"methods": [], "observed": {"wan_address": "100.72.3.9", "interfaces": INTERFACES}},
        "register": "found",
    },
    {"ansible.builtin.assert": {"that": ["found.line.verdict == 'cgn'", "found.line.inbound_ipv4 == 'blocked'", "found is not changed"]}},
    {
        "homeserver.hardening.egress_info": {
            "host": "127.0.0.1",
            "nonce": "00112233445566778899aabbccddeeff",
            "tcp_ports": [9],
            "udp_ports": [9],
            "timeout": 0.2,
        },
        "register": "out",
    },
    {"ansible.builtin.assert": {"that": ["out is not changed"]}},
]


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_a_play(tmp_path: Path, options: list[str]) -> None:
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}}
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([{**play, "tasks": TASKS}]), encoding="utf-8")
    done = subprocess.run(
        [PLAYBOOK, "-i", "localhost,", str(path), *options],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
