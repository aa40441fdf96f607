# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the trial calls on the host, in which order, and that it takes back what it made whatever happens."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from ansible_collections.homeserver.hardening.plugins.action.inbound_trial import ActionModule
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Wanted
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._planning import Named
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import Request, Selection
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import run as run_mapping
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import MemoryGateway

WAN, VANTAGE, NONCE = "44.1.1.1", "45.2.2.2", "ab" * 32
PLAN = {
    "line": {"wan_address": WAN},
    "services": [
        {"name": "web", "protocol": "tcp", "port": 80, "external_port": 80, "families": {"ipv4": {"path": "port_mapping", "address": WAN}}},
        {"name": "wg", "protocol": "udp", "port": 51820, "external_port": 51820, "families": {"ipv4": {"path": "port_mapping", "address": WAN}}},
    ],
}
TARGETS = [
    {
        "host": "vps1",
        "targets": [
            {"host": WAN, "ports": [80], "protocol": "tcp", "families": ["ipv4"]},
            {"host": WAN, "ports": [51820], "protocol": "udp", "families": ["ipv4"]},
        ],
        "sources": [VANTAGE],
    }
]


class Home:
    """A host with a router, as far as the three modules show it."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []
        self.forwards: dict[str, dict[str, Any]] = {}
        self.refused: dict[int, str] = {}
        self.answers = True
        self.running: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self.asked: list[dict[str, Any]] = []
        self.broken: dict[str, Any] = {}

    def execute(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        name = module_name.removeprefix("homeserver.hardening.")
        self.calls.append((name, module_args.get("state", "")))
        self.asked.append(module_args)
        fault = self.broken.get(f"{name} {module_args.get('state', '')}".strip())
        if isinstance(fault, Exception):
            raise fault
        if fault:
            return {"failed": True, **fault}
        answer: dict[str, Any] = getattr(self, name)(module_args)
        return answer

    def port_mapping_info(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {"available": self.answers, "reason": "" if self.answers else "nobody answered", "mappings": self.listed}

    def port_mapping(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments["state"] == "absent":
            for row in arguments["mappings"]:
                self.forwards.pop(row["name"], None)
            gateway = {"address": "192.168.1.1"} if self.answers else None
            warnings = [] if self.answers else ["no mapping could be looked for"]
            return {"gateway": gateway, "mappings": [{"name": row["name"], "state": "absent"} for row in arguments["mappings"]], "warnings": warnings}
        rows = [
            {**row, "state": "error" if row["external_port"] in self.refused else "absent", "error": self.refused.get(row["external_port"])}
            for row in arguments["mappings"]
        ]
        if any(row["error"] for row in rows):
            return {"failed": True, "msg": "nothing was changed", "mappings": rows}
        self.forwards.update({row["name"]: row for row in arguments["mappings"]})
        return {"mappings": [{**row, "state": "present", "error": None} for row in rows]}

    def probe_responder(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments["state"] == "stopped":
            self.running = [identity for identity in self.running if identity != arguments.get("id", identity)]
            return {"listeners": [], "visits": []}
        self.running.append("0000abcd")
        return {"id": "0000abcd", "nonce": NONCE, "listeners": [], "invocation": {"module_args": {"nonce": NONCE}}}


def run(home: Home, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    task = MagicMock(args=arguments, async_val=0, check_mode=check_mode)
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), None)
    action._execute_module = home.execute
    result: dict[str, Any] = action.run(task_vars={})
    assert result["changed"] is False
    return result


def start(home: Home, **more: Any) -> dict[str, Any]:
    return run(home, **{"state": "started", "plan": PLAN, "targets": TARGETS, **more})


def stop(home: Home, trial: dict[str, Any], **more: Any) -> dict[str, Any]:
    return run(home, **{"state": "stopped", "plan": PLAN, "trial": trial, **more})


def states(result: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    return [(row["service"], row["state"], row["notes"]) for row in result["inbound"]]


def test_there_and_back() -> None:
    home = Home()
    started = start(home, gateway="192.168.1.1", timeout=30)
    assert home.calls == [("probe_responder", "stopped"), ("port_mapping_info", ""), ("port_mapping", "present"), ("probe_responder", "started")]
    assert sorted(home.forwards) == ["trial-1", "trial-2", "trial-3", "trial-4"]
    assert {row["lease"] for row in home.forwards.values()} == {120}
    assert (started["nonce"], started["reason"]) == (NONCE, "")
    assert home.asked[3]["sources"] == [VANTAGE]
    assert home.asked[3]["timeout"] == 30
    controls = [home.forwards[name]["external_port"] for name in ("trial-3", "trial-4")]
    assert [row["ports"] for row in started["targets"][0]["targets"]] == [[80], [51820], *[[port] for port in controls]]
    # What is handed back is shown to everybody.
    assert NONCE not in json.dumps(started["trial"])
    stopped = stop(home, json.loads(json.dumps(started["trial"])), probes={"results": []}, gateway="192.168.1.1")
    assert home.calls[4:] == [("probe_responder", "stopped"), ("port_mapping", "absent")]
    assert (home.running, home.forwards, stopped["left"]) == ([], {}, [])
    assert states(stopped) == [("web", "untested", ["no_vantage"]), ("wg", "untested", ["no_vantage"])]
    assert all(asked["gateway"] == "192.168.1.1" for (name, _state), asked in zip(home.calls, home.asked) if name != "probe_responder")


def test_controls_differ_from_run_to_run() -> None:
    def control() -> int:
        home = Home()
        start(home)
        return int(home.forwards["trial-3"]["external_port"])

    assert len({control() for _number in range(5)}) > 1


def test_a_long_trial_has_a_longer_lease() -> None:
    home = Home()
    start(home, timeout=600)
    assert {row["lease"] for row in home.forwards.values()} == {660}


@pytest.mark.parametrize(
    ("change", "check_mode", "reason"),
    [
        ({}, True, "check_mode"),
        ({"targets": []}, False, "no_vantage"),
        ({"plan": {"services": []}}, False, "nothing_planned"),
    ],
)
def test_nothing_is_made_where_there_is_nothing_to_try(change: dict[str, Any], check_mode: bool, reason: str) -> None:
    home = Home()
    arguments = {"state": "started", "plan": PLAN, "targets": TARGETS, **change}
    started = run(home, check_mode, **arguments)
    assert (started["reason"], started["targets"], started["nonce"]) == (reason, [], None)
    stopped = run(home, check_mode, state="stopped", plan=arguments["plan"], trial=started["trial"])
    assert [row["notes"] for row in stopped["inbound"]] == ([] if reason == "nothing_planned" else [[reason], [reason]])
    assert home.calls == []


def test_what_the_router_refuses_does_not_keep_the_rest_from_being_tried() -> None:
    home = Home()
    home.refused = {80: "ConflictInMappingEntry"}
    started = start(home)
    assert [call for call in home.calls if call[0] == "port_mapping"] == [("port_mapping", "present")] * 2 + [("port_mapping", "absent")]
    # Of what was refused something may have been made all the same.
    assert [row["name"] for row in home.asked[-2]["mappings"]] == ["trial-1"]
    assert 80 not in [port for row in started["targets"][0]["targets"] for port in row["ports"]]
    stopped = stop(home, started["trial"], probes=None)
    assert home.forwards == {}
    assert stopped["left"] == []
    assert (states(stopped)[0], stopped["inbound"][0]["reason"]) == (("web", "untested", ["mapping_refused"]), "ConflictInMappingEntry")


class WritingHome(Home):
    """Its router is asked by the code of port_mapping, and refuses some ports only when they are written."""

    def __init__(self, *denied: int) -> None:
        super().__init__()
        self.router = MemoryGateway()
        self.router.refuse = lambda operation, entry: operation == "add" and entry.external_port in denied

    def port_mapping(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments["state"] == "absent":
            request = Request("absent", named=[Named(row["name"]) for row in arguments["mappings"]])
        else:
            request = Request(
                "present", [Wanted(row["name"], row["protocol"], row["external_port"], row["port"], row["lease"]) for row in arguments["mappings"]]
            )
        result = run_mapping(request, Selection(), False, lambda _selection: self.router)
        return {**result.data, **({"failed": True, "msg": result.error} if result.error else {})}


SSH = {"name": "ssh", "protocol": "tcp", "port": 22, "external_port": 22, "families": {"ipv4": {"path": "port_mapping", "address": WAN}}}


@pytest.mark.parametrize(
    ("denied", "tested"), [((80,), ["wg", "ssh"]), ((51820,), ["web", "ssh"]), ((80, 22), ["wg"]), ((22, 51820), ["web"]), ((80, 22, 51820), [])]
)
def test_a_port_that_is_refused_on_writing_is_the_only_one(denied: tuple[int, ...], tested: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_service, "host_id", lambda: "01234567")
    home = WritingHome(*denied)
    three = {**PLAN, "services": [*PLAN["services"], SSH]}
    targets = [{**TARGETS[0], "targets": [*TARGETS[0]["targets"], {"host": WAN, "ports": [22], "protocol": "tcp", "families": ["ipv4"]}]}]
    started = start(home, plan=three, targets=targets)
    ports = {"web": 80, "wg": 51820, "ssh": 22}
    asked = [port for vantage in started["targets"] for row in vantage["targets"] for port in row["ports"]]
    assert [port for port in asked if port in ports.values()] == [ports[name] for name in ("web", "wg", "ssh") if name in tested]
    stopped = stop(home, started["trial"], plan=three)
    rows = {row["service"]: row for row in stopped["inbound"]}
    assert {name: rows[name]["reason"] for name in ports if name not in tested} == {name: f"no add of {ports[name]}" for name in ports if name not in tested}
    # Nobody looked in this test; but nothing of the router's is said about what it did forward.
    assert {tuple(rows[name]["notes"]) for name in tested} <= {("no_vantage",)}
    assert (home.router.entries, stopped["left"]) == ({}, [])


def test_a_control_that_is_refused_on_writing_keeps_nothing_from_being_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_service, "host_id", lambda: "01234567")
    home = WritingHome(*range(20000, 32768))
    started = start(home)
    assert [row["ports"] for row in started["targets"][0]["targets"]] == [[80], [51820]]
    assert sorted(port for _protocol, port in home.router.entries) == [80, 51820]
    stop(home, started["trial"])
    assert home.router.entries == {}


def test_what_was_refused_and_may_be_there_all_the_same_is_taken_back_at_the_stop() -> None:
    home = Home()
    home.refused = {80: "made, and could not be put back"}
    home.broken = {"port_mapping absent": {"msg": "error 501", "gateway": {}, "mappings": [{"name": "trial-1", "state": "error"}]}}
    started = start(home, state_dir="/srv/state")
    assert started["trial"]["left"] == ["trial-1"]
    home.broken = {}
    assert stop(home, started["trial"], state_dir="/srv/state")["left"] == []
    assert {"name": "trial-1"} in home.asked[-1]["mappings"]
    assert {row.get("state_dir") for (name, _state), row in zip(home.calls, home.asked) if name.startswith("port_mapping")} == {"/srv/state"}


def test_a_router_that_makes_none() -> None:
    home = Home()
    home.broken = {"port_mapping present": {"msg": "the WAN address is not global", "mappings": []}}
    started = start(home)
    assert (started["targets"], started["reason"], started["nonce"], home.running) == ([], "mapping_refused", None, [])
    assert [row["reason"] for row in stop(home, started["trial"])["inbound"]] == ["the WAN address is not global"] * 2


def test_no_router_at_all() -> None:
    home = Home()
    home.answers = False
    started = start(home)
    assert home.calls == [("probe_responder", "stopped"), ("port_mapping_info", "")]
    assert started["reason"] == "mapping_refused"
    assert [row["reason"] for row in stop(home, started["trial"])["inbound"]] == ["nobody answered"] * 2


def test_ports_of_others_are_left_alone() -> None:
    home = Home()
    foreign = {"protocol": "tcp", "external_port": 80, "internal_client": "192.168.1.20", "internal_port": 80, "description": "camera", "owner": "foreign"}
    home.listed = [foreign]
    started = start(home)
    assert {row["external_port"] for row in home.forwards.values()} >= {51820}
    assert 80 not in {row["external_port"] for row in home.forwards.values()}
    assert "192.168.1.20" in stop(home, started["trial"])["inbound"][0]["reason"]


def test_what_a_killed_run_left_goes_first() -> None:
    """Its mapping would end in the middle of this trial, and its responder answers with another nonce."""
    home = Home()
    home.running = ["0000dead"]
    here = {"internal_client": "192.168.1.10", "owner": "ours"}
    home.listed = [
        {"protocol": "tcp", "external_port": 80, "internal_port": 80, "name": "trial-3", "description": "hs:0:trial-3", **here},
        {"protocol": "udp", "external_port": 51820, "internal_port": 51820, "name": "wg", "description": "hs:0:wg", **here},
    ]
    started = start(home)
    assert home.calls[:3] == [("probe_responder", "stopped"), ("port_mapping_info", ""), ("port_mapping", "absent")]
    assert home.asked[2]["mappings"] == [{"name": "trial-3"}]
    assert home.running == [started["trial"]["id"]]
    # The port is mapped anew; what was published before is tried as it is, and stays.
    assert 80 in {row["external_port"] for row in home.forwards.values()}
    assert 51820 not in {row["external_port"] for row in home.forwards.values()}
    stop(home, started["trial"])
    assert {"name": "wg"} not in home.asked[-1]["mappings"]


def test_a_responder_that_does_not_start_takes_the_mappings_along() -> None:
    home = Home()
    home.broken = {"probe_responder started": {"msg": "the responder needs root"}}
    started = start(home)
    assert (started["targets"], started["reason"]) == ([], "no_responder")
    assert home.forwards == {}
    rows = stop(home, started["trial"])["inbound"]
    assert {(row["state"], *row["notes"], row["reason"]) for row in rows} == {("untested", "no_responder", "the responder needs root")}


@pytest.mark.parametrize("where", ["port_mapping present", "probe_responder started"])
def test_a_connection_that_breaks_takes_the_mappings_along(where: str) -> None:
    home = Home()
    home.broken = {where: AnsibleConnectionFailure("gone")}
    with pytest.raises(AnsibleConnectionFailure):
        start(home)
    assert home.forwards == {}
    assert home.calls[-1] == ("port_mapping", "absent")


@pytest.mark.parametrize("fault", [{"msg": "no such thing"}, AnsibleConnectionFailure("gone")])
def test_mappings_go_also_when_the_responder_is_gone(fault: Any) -> None:
    home = Home()
    started = start(home)
    home.broken = {"probe_responder stopped": fault}
    if isinstance(fault, Exception):
        with pytest.raises(AnsibleConnectionFailure):
            stop(home, started["trial"])
    else:
        assert "ends by itself: no such thing" in stop(home, started["trial"])["warnings"][0]
    assert home.forwards == {}


def test_a_router_that_does_not_take_back_is_no_reason_to_forget_what_was_seen() -> None:
    home = Home()
    started = start(home)
    home.broken = {"port_mapping absent": {"msg": "error 501", "gateway": {}, "mappings": [{"name": "trial-1", "state": "error"}]}}
    stopped = stop(home, started["trial"])
    assert len(stopped["inbound"]) == 2
    assert stopped["left"] == ["trial-1", "trial-2", "trial-3", "trial-4"]
    assert "may still forward trial-1" in stopped["warnings"][0]
    assert "error 501" in stopped["warnings"][0]
    home.broken = {}
    home.answers = False
    assert stop(home, {**started["trial"], "id": None})["left"] == ["trial-1", "trial-2", "trial-3", "trial-4"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"state": "stopped", "plan": PLAN}, "trial"),
        ({"state": "started"}, "plan"),
        ({"state": "gone", "plan": PLAN}, "started"),
        ({"state": "started", "plan": PLAN, "colour": "red"}, "colour"),
        ({"state": "stopped", "plan": PLAN, "trial": {}}, "hand back its return value trial unchanged"),
        ({"state": "stopped", "plan": PLAN, "trial": {"paths": [{"x": 1}], "vantages": {}, "id": None, "untested": "", "why": "", "left": []}}, "unchanged"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(AnsibleActionFail, match=word):
        run(Home(), **arguments)
