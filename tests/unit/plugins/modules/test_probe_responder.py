# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: what it refuses, what check mode leaves undone, and that it returns what it documents."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible.module_utils import basic

from ansible_collections.homeserver.hardening.plugins.module_utils._probe import _responder_control
from ansible_collections.homeserver.hardening.plugins.modules import probe_responder

DOCUMENTED = yaml.safe_load(probe_responder.RETURN)
WEB = {"name": "web", "port": 443}
ROW = {"name": "web", "protocol": "tcp", "port": 443, "family": "ipv4", "mode": "bound", "reason": None, "arrived": None}
VISIT = {
    "name": "web",
    "protocol": "tcp",
    "port": 443,
    "family": "ipv4",
    "source": "192.0.2.7",
    "source_port": 50000,
    "nonce_verified": True,
    "time": "2026-01-31T12:00:00Z",
}


def run(capsys: Any, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run the module in this process and return its result."""
    data = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}}
    profile = mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True)  # since ansible-core 2.19
    with mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps(data).encode()), profile, pytest.raises(SystemExit) as end:
        probe_responder.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert bool(end.value.code) is result.get("failed", False)
    return result


def names(result: dict[str, Any]) -> set[str]:
    return set(result) - {"changed", "invocation", "failed", "msg"}


def documented(state: str) -> set[str]:
    return {name for name, value in DOCUMENTED.items() if value["returned"] in ("always", f"when O(state={state})")}


def test_start(capsys: Any) -> None:
    answer = {"id": "01234567", "listeners": [ROW], "deadline": "2026-01-31T12:00:00Z"}
    with mock.patch.object(_responder_control, "start", return_value=answer) as start:
        result = run(capsys, listeners=[WEB], sources=["192.0.2.7"])
    assert result["changed"] is False
    assert len(bytes.fromhex(result["nonce"])) == 32
    start.assert_called_once_with([{**WEB, "protocol": "tcp", "families": ["ipv4", "ipv6"]}], ["192.0.2.7"], result["nonce"], 120, None)
    assert names(result) == documented("started")
    assert set(ROW) == set(DOCUMENTED["listeners"]["contains"])


def test_check_mode_starts_nothing(capsys: Any) -> None:
    with mock.patch.object(_responder_control, "start", side_effect=AssertionError("something was started")):
        result = run(capsys, True, listeners=[WEB, {"name": "vpn", "protocol": "udp", "port": 51820, "families": ["ipv6"]}])
    assert [(row["name"], row["protocol"], row["family"], row["mode"], row["reason"]) for row in result["listeners"]] == [
        ("web", "tcp", "ipv4", "none", "check mode"),
        ("web", "tcp", "ipv6", "none", "check mode"),
        ("vpn", "udp", "ipv6", "none", "check mode"),
    ]
    assert result["id"] is None and result["nonce"] is None
    assert names(result) == documented("started")


def test_stop(capsys: Any) -> None:
    with mock.patch.object(_responder_control, "stop", return_value={"listeners": [ROW], "visits": [VISIT]}) as stop:
        result = run(capsys, state="stopped", id="01234567")
    stop.assert_called_once_with("01234567")
    assert result["changed"] is False
    assert result["visits"] == [VISIT]
    assert names(result) == documented("stopped")
    assert set(VISIT) == set(DOCUMENTED["visits"]["contains"])


def test_stop_all(capsys: Any) -> None:
    with (
        mock.patch.object(_responder_control, "running", return_value=["01234567", "89abcdef"]),
        mock.patch.object(_responder_control, "stop", return_value={"listeners": [], "visits": [VISIT]}),
    ):
        assert len(run(capsys, state="stopped")["visits"]) == 2


def test_stop_of_what_is_gone_is_no_error(capsys: Any) -> None:
    for _round in range(2):
        result = run(capsys, state="stopped", id="00000000")
        assert (result["visits"], result["listeners"], result["changed"]) == ([], [], False)


def test_check_mode_stops_nothing(capsys: Any) -> None:
    with (
        mock.patch.object(_responder_control, "stop", side_effect=AssertionError("something was stopped")),
        mock.patch.object(_responder_control, "status", return_value={"listeners": [ROW], "visits": [VISIT]}),
    ):
        assert run(capsys, True, state="stopped", id="01234567")["visits"] == [VISIT]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, ["listeners"]),
        ({"listeners": []}, ["listeners is empty"]),
        ({"listeners": [{"name": "web", "port": 0}]}, ["port 0", "web", "outside 1 to 65535"]),
        ({"listeners": [{"name": "web", "port": 70000}]}, ["70000", "outside 1 to 65535"]),
        ({"listeners": [{"name": "web", "port": 80, "protocol": "sctp"}]}, ["sctp"]),
        ({"listeners": [WEB, {"name": "other", "port": 443}]}, ["both on tcp port 443"]),
        ({"listeners": [WEB], "sources": ["vantage.example.net"]}, ["vantage.example.net", "no address"]),
        ({"listeners": [WEB], "timeout": 601}, ["601", "600"]),
        ({"listeners": [WEB], "nonce": "f00d"}, ["2 bytes", "leave it out"]),
        ({"listeners": [WEB], "id": "../etc"}, ["../etc", "eight hexadecimal"]),
        ({"state": "stopped", "id": "../etc"}, ["eight hexadecimal"]),
    ],
)
def test_bad_input_is_refused(capsys: Any, arguments: dict[str, Any], words: list[str]) -> None:
    with mock.patch.object(_responder_control, "start", side_effect=AssertionError("something was started")):
        result = run(capsys, **arguments)
    assert result["failed"] is True
    for word in words:
        assert word in result["msg"]


def test_failures_say_why(capsys: Any) -> None:
    with mock.patch.object(_responder_control, "start", side_effect=_responder_control.ResponderError("run the task with become: true")):
        assert "become: true" in run(capsys, listeners=[WEB])["msg"]
