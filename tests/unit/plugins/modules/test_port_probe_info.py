# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: what it refuses, and that it returns what it documents."""

from __future__ import annotations

import json
import socket
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible.module_utils import basic

from ansible_collections.homeserver.hardening.plugins.module_utils._probe import _engine, _states
from ansible_collections.homeserver.hardening.plugins.modules import port_probe_info

DOCUMENTED = yaml.safe_load(port_probe_info.RETURN)
OPTIONS = yaml.safe_load(port_probe_info.DOCUMENTATION)["options"]


def run(capsys: Any, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run the module in this process and return its result."""
    data = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}}
    profile = mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True)  # since ansible-core 2.19
    with mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps(data).encode()), profile, pytest.raises(SystemExit) as end:
        port_probe_info.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert bool(end.value.code) is result.get("failed", False)
    return result


def names(result: dict[str, Any]) -> set[str]:
    return set(result) - {"changed", "invocation", "failed", "msg", "warnings", "deprecations"}


@pytest.mark.parametrize("check", [False, True])
def test_rows_in_the_order_of_the_request(capsys: Any, check: bool) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(4)
        port = sock.getsockname()[1]
        result = run(capsys, check, targets=[{"host": "127.0.0.1", "ports": [port, "1"]}, {"host": "127.0.0.1", "ports": 2, "protocol": "udp"}])
    assert [(row["protocol"], row["port"], row["state"]) for row in result["probes"]] == [("tcp", port, "open"), ("tcp", 1, "closed"), ("udp", 2, "closed")]
    assert result["changed"] is False
    assert result["counts"]["open"] == 1
    assert result["probes"][2]["reason"] == {"errno": "ECONNREFUSED", "icmp": {"type": 3, "code": 3, "from": "127.0.0.1"}}
    assert result["vantage"] == {"hostname": socket.gethostname(), "addresses": {"ipv4": "127.0.0.1", "ipv6": None}}
    assert names(result) == set(DOCUMENTED)
    assert set(result["probes"][0]) == set(DOCUMENTED["probes"]["contains"])
    assert set(result["limits"]) == set(DOCUMENTED["limits"]["contains"])
    assert not {"failed", "unreachable", "changed", "skipped"} & set(result["probes"][0])


@pytest.mark.parametrize(("report", "rows"), [("all", 2), ("not_closed", 1), ("open", 1)])
def test_the_report_is_shortened_and_the_counts_are_not(capsys: Any, report: str, rows: int) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(4)
        result = run(capsys, targets=[{"host": "127.0.0.1", "ports": [1, sock.getsockname()[1]]}], report=report)
    assert len(result["probes"]) == rows
    assert (result["counts"]["open"], result["counts"]["closed"]) == (1, 1)
    assert set(result["counts"]) == set(_states.STATES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"targets": [{"host": "127.0.0.1", "ports": "0"}]}, ["127.0.0.1", "'0'", "outside 1 to 65535"]),
        ({"targets": [{"host": "127.0.0.1", "ports": "80"}, {"host": "127.0.0.1", "ports": "65536"}]}, ["'65536'"]),
        ({"targets": [{"host": "127.0.0.1", "ports": "80", "protocol": "sctp"}]}, ["sctp", "tcp, udp"]),
        ({"targets": [{"host": "no such name.invalid", "ports": "80"}]}, ["no such name.invalid", "has no address"]),
        ({"targets": [{"host": "127.0.0.1", "ports": "80"}], "timeout": 0}, ["timeout"]),
        ({"targets": [{"host": "127.0.0.1", "ports": "80"}], "concurrency": 100000}, ["concurrency 100000", "4096"]),
        ({"targets": [{"host": "127.0.0.1", "ports": "80"}], "nonce": "f00d"}, ["2 bytes"]),
        ({"targets": [{"host": "127.0.0.1", "ports": "80"}], "interface": "nosuchlink0"}, ["nosuchlink0", "ip link"]),
    ],
)
def test_bad_input_is_refused_before_the_first_packet(capsys: Any, arguments: dict[str, Any], words: list[str]) -> None:
    with mock.patch.object(_engine.Engine, "run", side_effect=AssertionError("a packet was sent")):
        result = run(capsys, **arguments)
    assert result["failed"] is True
    for word in words:
        assert word in result["msg"]


def test_results_are_returned_on_failure_as_well(capsys: Any) -> None:
    result = run(capsys, targets=[{"host": "127.0.0.1", "ports": "0"}])
    assert names(result) == set(DOCUMENTED)


def test_documented_defaults_are_those_of_the_engine() -> None:
    assert OPTIONS["timeout"]["default"] == _engine.DEFAULT_TIMEOUT
    assert OPTIONS["attempts"]["default"] == _engine.DEFAULT_ATTEMPTS
    assert str(_engine.DEFAULT_CONCURRENCY) in "".join(OPTIONS["concurrency"]["description"])
    assert str(_engine.MAXIMUM_CONCURRENCY) in "".join(OPTIONS["concurrency"]["description"])
    for state in _states.STATES:
        assert f"V({state})" in "".join(DOCUMENTED["probes"]["contains"]["state"]["description"])
