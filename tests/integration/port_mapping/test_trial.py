# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A trial from outside through the real miniupnpd, which refuses one of the wanted ports only when it is asked to write it."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from typing import Any
from unittest.mock import MagicMock

import pytest

from ansible_collections.homeserver.hardening.plugins.action.inbound_trial import ActionModule
from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import _MACHINE_ID, _RUNNER, HOST, NEIGHBOUR, Home

VANTAGE = "44.128.1.1"
#: Ports of the host on which no other test listens.
PORTS = {"web": ("tcp", 80, 18080), "ssh": ("tcp", 22, 12222), "wg": ("udp", 51820, 15182)}
DENIED = "deny {} 192.168.77.0/24 0-65535"
#: Files of a responder that other tests do not see, and no service manager, which would start it in another network. For that one process only.
_OWN_RUN = """
mkdir -p /run/homeserver
mount --bind "$1/homeserver" /run/homeserver
[ ! -d /run/systemd ] || mount --bind "$1/empty" /run/systemd
shift
"""
#: What the router speaks, as switches of its daemon.
ROUTERS = {"upnp": {}, "all": {"recorded": True}, "recorded": {"recorded": True, "upnp": False}}


class Run:
    """A trial as a play would do it. The responder keeps its files in a directory that no other test sees."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.runtime = home.directory / f"run-{uuid.uuid4().hex[:8]}"
        for name in ("homeserver", "empty"):
            (self.runtime / name).mkdir(parents=True)
        self.calls: list[tuple[str, str]] = []
        (home.directory / f"id-{home.internet}").write_text(f"{uuid.uuid4().hex}\n")
        families = {"ipv4": {"path": "port_mapping", "address": home.wan}}
        self.plan = {
            "line": {"wan_address": home.wan},
            "services": [
                {"name": name, "protocol": protocol, "external_port": external, "port": port, "families": families}
                for name, (protocol, external, port) in PORTS.items()
            ],
        }

    def do(self, **arguments: Any) -> dict[str, Any]:
        """Run the action."""
        action = ActionModule(MagicMock(args=arguments, async_val=0, check_mode=False), MagicMock(), MagicMock(), MagicMock(), MagicMock(), None)
        action._execute_module = self._execute
        result: dict[str, Any] = action.run(task_vars={})
        return result

    def _execute(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        name = module_name.rpartition(".")[2]
        self.calls.append((name, module_args.get("state", "")))
        more = {} if name == "probe_responder" else {"state_dir": str(self.home.state_dir())}
        namespace, identity = self.home.host, self.home.directory / f"id-{self.home.host}"
        command = ["ip", "netns", "exec", namespace, "sh", "-ec", _OWN_RUN + _MACHINE_ID, "sh", str(self.runtime), str(identity)]
        given = json.dumps({"ANSIBLE_MODULE_ARGS": {**more, **module_args}})
        done = subprocess.run([*command, sys.executable, "-c", _RUNNER, name], input=given, capture_output=True, text=True, check=False, timeout=60)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def whole(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start, ask from the Internet, stop."""
        asked = [{"host": self.home.wan, "ports": [external], "protocol": protocol, "families": ["ipv4"]} for protocol, external, _port in PORTS.values()]
        started = self.do(state="started", plan=self.plan, targets=[{"host": "vps1", "targets": asked, "sources": [VANTAGE]}])
        results = [
            {**self.home.call("port_probe_info", self.home.internet, {"targets": row["targets"], "nonce": started["nonce"], "timeout": 1.0}), "item": row}
            for row in started["targets"]
        ]
        return started, self.do(state="stopped", plan=self.plan, trial=started["trial"], probes={"results": results})


def rows(result: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    return {row["service"]: (row["state"], row["notes"]) for row in result["inbound"]}


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("refused", PORTS)
def test_one_port_that_the_rules_deny_keeps_no_other_from_being_tried(home: Home, router: str, refused: str) -> None:
    protocol, external, _port = PORTS[refused]
    home.start_daemon([DENIED.format(external)], **ROUTERS[router])
    camera = []
    if router != "recorded":
        home.upnpc(home.neighbour, "-e", "camera", "-a", NEIGHBOUR, "81", "81", "tcp", "3600")
        camera = home.forwards()
    run = Run(home)
    started, stopped = run.whole()
    assert rows(stopped) == {name: ("untested", ["mapping_refused"]) if name == refused else ("published", ["no_service_yet"]) for name in PORTS}, stopped
    reason = next(row["reason"] for row in stopped["inbound"] if row["service"] == refused)
    assert f"{protocol} port {external} " in reason
    assert not any(f"port {number} " in reason for number in (80, 22, 51820) if number != external)
    # The router was asked once more, without the one that it refused, and no third time.
    assert run.calls.count(("port_mapping", "present")) == 2
    assert (started["trial"]["left"], stopped["left"]) == ([], [])
    # Nothing is left, and nothing of others was touched.
    assert home.forwards() == camera
    assert not list(home.directory.glob("run-*/homeserver/probe-*"))


def test_all_that_is_refused_is_named_each_by_its_own(home: Home) -> None:
    home.start_daemon([DENIED.format(22), DENIED.format(80)])
    _started, stopped = Run(home).whole()
    assert rows(stopped) == {"web": ("untested", ["mapping_refused"]), "ssh": ("untested", ["mapping_refused"]), "wg": ("published", ["no_service_yet"])}, (
        stopped
    )
    for row in stopped["inbound"][:2]:
        assert f"tcp port {row['external_port']} was not mapped" in row["reason"]
        assert "606" in row["reason"]
    assert home.forwards() == []


def test_the_whole_call_of_port_mapping_stays_all_or_nothing(home: Home) -> None:
    home.start_daemon([DENIED.format(22)])
    mappings = [{"name": name, "protocol": protocol, "external_port": external, "port": port} for name, (protocol, external, port) in PORTS.items()]
    result = home.module("port_mapping", mappings=mappings)
    assert result["failed"]
    assert [(row["name"], row["state"], row["error"] is None) for row in result["mappings"]] == [
        ("web", "absent", True),
        ("ssh", "error", False),
        ("wg", "absent", True),
    ]
    assert home.forwards() == []
    assert HOST not in json.dumps(home.module("port_mapping_info")["mappings"])
