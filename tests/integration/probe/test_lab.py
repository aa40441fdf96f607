# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both modules in a lab: a booted home server behind a router, asked from the Internet, with the responder as a unit of systemd.

LAB_OS chooses the server's system.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
LAB = str(ROOT / "tests" / "lab" / "lab")
LINE = str(ROOT / "tests" / "lab" / "lines" / "dynamic_global.yml")
SSH_ARGS = "-o ControlMaster=auto -o ControlPersist=60s -o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=2"

SERVICE = """
import socket, time
web = socket.socket(socket.AF_INET6)
web.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
web.bind(("::", 443))
web.listen(16)
vpn = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
vpn.bind(("", 51820))
time.sleep(600)
"""

#: Different numbers outside and inside, as behind many routers.
FORWARDS = (("tcp", 80, 80), ("tcp", 8443, 443), ("udp", 51820, 51820))

LISTENERS = [{"name": "plain", "port": 80}, {"name": "web", "port": 443}, {"name": "vpn", "protocol": "udp", "port": 51820}]


class Lab:
    """A lab of its own, and plays in it."""

    def __init__(self) -> None:
        self._environment = {
            **os.environ,
            "LAB": f"probe-{os.getpid()}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_SSH_ARGS": SSH_ARGS,
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_NOCOLOR": "1",
        }

    def lab(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run([LAB, *arguments], capture_output=True, text=True, timeout=180, env=self._environment, check=False)
        assert not check or done.returncode == 0, f"lab {arguments}: {done.stderr}"
        return done.stdout

    def up(self) -> None:
        self.lab("up", LINE, "--replace", *(["--os", os.environ["LAB_OS"]] if os.environ.get("LAB_OS") else []))
        self.inventory = self.lab("path", "inventory").strip()
        self.facts: dict[str, Any] = json.loads(self.lab("inventory"))["all"]["vars"]

    def sh(self, host: str, command: str, check: bool = True) -> str:
        return self.lab("exec", host, "--", "sh", "-c", command, check=check).strip()

    def play(self, directory: Path, *plays: dict[str, Any]) -> None:
        path = directory / "play.json"
        path.write_text(json.dumps([{"gather_facts": False, **play} for play in plays]))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", self.inventory, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=self._environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def traces(self) -> str:
        """What a responder could have left on the server."""
        return self.sh(
            "server",
            "nft list tables | grep homeserver; ss -Htulnp | grep ':80 \\|127.0.0.1\\|::1'; ls -d /run/homeserver/probe-*; "
            "ls /run/systemd/transient | grep homeserver; systemctl --failed --plain --no-legend",
            check=False,
        )


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    try:
        made.up()
        address = made.facts["lab_server_address"]
        made.sh("server", f"systemd-run --unit=service --collect /usr/bin/python3 -c '{SERVICE}'")
        rules = "\n".join(
            f'add rule inet labrouter prerouting iifname "wan0" {kind} dport {outside} dnat ip to {address}:{port}' for kind, outside, port in FORWARDS
        )
        made.sh("router", f"nft '{rules}\ninsert rule inet labrouter forward ct status dnat accept'")
        yield made
    finally:
        made.lab("down", check=False)


def start(lab: Lab, **options: Any) -> dict[str, Any]:
    return {
        "hosts": "server",
        "tasks": [
            {
                "homeserver.hardening.probe_responder": {"listeners": LISTENERS, "sources": [lab.facts["lab_internet_address"]], **options},
                "become": True,
                "register": "responder",
            }
        ],
    }


def save(name: str, directory: Path) -> dict[str, Any]:
    content = "{{ " + name + " | to_json }}"
    return {"ansible.builtin.copy": {"content": content, "dest": str(directory / f"{name}.json"), "mode": "0600"}, "delegate_to": "localhost"}


def test_proved_from_the_internet_beside_the_running_service(lab: Lab, tmp_path: Path) -> None:
    outside = lab.facts["lab_wan_address"]
    targets = [{"host": outside, "ports": "80,8443"}, {"host": outside, "ports": 51820, "protocol": "udp"}]
    lab.play(
        tmp_path,
        start(lab),
        {
            "hosts": "internet",
            "vars": {"ansible_python_interpreter": "/usr/bin/python3"},
            "tasks": [
                {
                    "homeserver.hardening.port_probe_info": {"targets": targets, "nonce": "{{ hostvars.server.responder.nonce }}"},
                    "check_mode": True,
                    "register": "probed",
                },
                save("probed", tmp_path),
            ],
        },
        {
            "hosts": "server",
            "tasks": [
                {
                    "homeserver.hardening.probe_responder": {"state": "stopped", "id": "{{ responder.id }}"},
                    "become": True,
                    "register": "stopped",
                },
                save("responder", tmp_path),
                save("stopped", tmp_path),
            ],
        },
    )
    responder, probed, stopped = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("responder", "probed", "stopped"))
    modes = {row["name"]: row["mode"] for row in responder["listeners"] if row["family"] == "ipv4"}
    assert modes == {"plain": "bound", "web": "redirected", "vpn": "redirected"}
    rows = {(row["protocol"], row["port"]): row for row in probed["probes"]}
    for key, name in ((("tcp", 80), "plain"), (("tcp", 8443), "web"), (("udp", 51820), "vpn")):
        assert (rows[key]["state"], rows[key]["nonce_verified"], rows[key]["answered_by"]) == ("open", True, name), rows[key]
        assert rows[key]["seen_as"] == lab.facts["lab_internet_address"]
    assert sorted((visit["name"], visit["port"], visit["nonce_verified"]) for visit in stopped["visits"]) == [
        ("plain", 80, True),
        ("vpn", 51820, True),
        ("web", 443, True),
    ]
    assert not (responder["changed"] or probed["changed"] or stopped["changed"])
    assert lab.traces() == ""


def test_killed_it_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    lab.play(tmp_path, start(lab))
    assert "homeserver_probe_" in lab.traces()
    lab.sh("server", "kill -9 $(cat /run/homeserver/probe-*/pid)")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and lab.traces():
        time.sleep(0.2)
    assert lab.traces() == ""


def test_without_its_controller_it_ends_at_the_deadline(lab: Lab, tmp_path: Path) -> None:
    lab.play(tmp_path, start(lab, timeout=3))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and lab.traces():
        time.sleep(0.2)
    assert lab.traces() == ""


def test_check_mode_starts_nothing(lab: Lab, tmp_path: Path) -> None:
    play = start(lab)
    play["tasks"][0]["check_mode"] = True
    lab.play(tmp_path, play)
    assert lab.traces() == ""
