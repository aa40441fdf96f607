# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's server, reached by Ansible as at home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
LAB = str(ROOT / "tests" / "lab" / "lab")
LINE = str(ROOT / "tests" / "lab" / "lines" / "dynamic_global.yml")
SSH_ARGS = "-o ControlMaster=auto -o ControlPersist=60s -o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=2"


class LabHost:
    """A lab, and plays against its server."""

    def __init__(self) -> None:
        self.name = f"fw-{os.getpid()}"
        self.environment = {
            **os.environ,
            "LAB": self.name,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_SSH_ARGS": SSH_ARGS,
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_DISPLAY_FAILED_STDERR": "0",
            "ANSIBLE_NOCOLOR": "1",
        }

    def _lab(self, *arguments: str, check: bool = True) -> str:
        result = subprocess.run([LAB, *arguments], capture_output=True, text=True, timeout=120, check=False, env=self.environment)
        assert not check or result.returncode == 0, f"lab {arguments}: {result.stderr}"
        return result.stdout

    def up(self) -> None:
        """Start the lab."""
        self._lab("up", LINE, "--replace", *(["--os", os.environ["LAB_OS"]] if os.environ.get("LAB_OS") else []))
        self.inventory = self._lab("path", "inventory").strip()

    def down(self) -> None:
        """Remove it."""
        self._lab("down", check=False)

    def on(self, host: str, command: str, check: bool = True) -> str:
        """Run a shell command inside a host, not by SSH."""
        return self._lab("exec", host, "--", "sh", "-c", command, check=check).strip()

    def sh(self, command: str, check: bool = True) -> str:
        """Run a shell command inside the server."""
        return self.on("server", command, check)

    def reboot(self) -> None:
        """Reboot the server; returns when it has booted."""
        self._lab("reboot", "server")

    def clean(self) -> None:
        """Take away every rule of ours and every guard."""
        commands = [
            "systemctl stop homeserver-rollback.timer homeserver-firewall.service",
            *[f"nft delete table inet {table}" for table in ("homeserver", "planted", "filter")],
            "find /etc/systemd/system -name 'homeserver-*' -delete",
            "rm -rf /etc/homeserver /var/lib/homeserver",
            "rmdir /etc/systemd/system/nftables.service.wants",
            "systemctl daemon-reload; systemctl reset-failed",
        ]
        self.sh("; ".join(f"{command} 2>/dev/null" for command in commands), check=False)

    def rules(self) -> str:
        """Return the server's rules as text, without counters."""
        return self.sh("nft -s list ruleset")

    def leftovers(self) -> list[str]:
        """Return what is there of guards: files, units known to systemd."""
        found = self.sh(
            "find /etc/systemd/system /var/lib -name '*rollback*'; systemctl list-units --all --plain --no-legend 'homeserver-rollback*'", check=False
        )
        return found.splitlines()

    def start(self, tasks: list[dict[str, Any]], directory: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a play against the server."""
        play = [{"hosts": "server", "gather_facts": False, "tasks": tasks}]
        path = directory / "play.json"
        path.write_text(json.dumps(play))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", self.inventory, str(path), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment, start_new_session=True)

    def play(self, tasks: list[dict[str, Any]], directory: Path, *arguments: str) -> tuple[int, str]:
        """Run a play against the server; returns its exit status and what it printed."""
        running = self.start(tasks, directory, *arguments)
        output, _nothing = running.communicate(timeout=240)
        return running.returncode, output

    def ssh(self) -> bool:
        """Return whether a new SSH connection gets in."""
        config = self._lab("path", "ssh_config").strip()
        options = ["-o", "ControlPath=none", "-o", "ConnectTimeout=3", "-o", "BatchMode=yes"]
        command = ["ssh", "-F", config, *options, "server", "true"]
        return subprocess.run(command, capture_output=True, timeout=20, check=False, env=self.environment).returncode == 0
