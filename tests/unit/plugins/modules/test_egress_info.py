# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: what it refuses, and that options and results are those of its documentation."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible.module_utils import basic

from ansible_collections.homeserver.hardening.plugins.modules import egress_info

DOCUMENTED = yaml.safe_load(egress_info.RETURN)
OPTIONS = yaml.safe_load(egress_info.DOCUMENTATION)["options"]
NONCE = "00" * 16


def run(capsys: Any, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run the module in this process and return its result."""
    data = {"ANSIBLE_MODULE_ARGS": {"host": "127.0.0.1", "nonce": NONCE, "gre": False, "timeout": 0.3, **arguments, "_ansible_check_mode": check}}
    profile = mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True)  # since ansible-core 2.19
    with mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps(data).encode()), profile, pytest.raises(SystemExit) as end:
        egress_info.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert bool(end.value.code) is result.get("failed", False)
    return result


@pytest.mark.parametrize("check", [False, True])
def test_result(capsys: Any, check: bool) -> None:
    result = run(capsys, check, tcp_ports=[1, 2], udp_ports=[3])
    egress = result["egress"]
    assert (result["changed"], egress["verdict"]) == (False, "undetermined")
    documented = DOCUMENTED["egress"]["contains"]
    assert set(egress) == set(documented)
    assert [(row["protocol"], row["port"]) for row in egress["ports"]] == [("tcp", 1), ("tcp", 2), ("udp", 3)]
    assert set(egress["ports"][0]) == set(documented["ports"]["contains"])
    assert set(egress["gre"]) == set(documented["gre"]["contains"])
    assert set(egress["tunnels"][0]) == set(documented["tunnels"]["contains"])
    assert NONCE not in json.dumps(egress)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"nonce": "xyz"}, "not hexadecimal"),
        ({"nonce": "00"}, "1 bytes"),
        ({"host": ""}, "host is empty"),
        ({"tcp_ports": [0]}, "0"),
        ({"udp_ports": [65536]}, "65536"),
        ({"timeout": 0}, "between 0 and 60"),
        ({"interface": "eth99"}, "interface 'eth99' does not exist"),
        ({"listeners": [{"port": 1}]}, "probe_responder returned"),
        ({"host": "::1", "families": ["ipv4"]}, "is not an address of ipv4"),
    ],
)
def test_refusals(capsys: Any, options: dict[str, Any], reason: str) -> None:
    result = run(capsys, **options)
    assert result["failed"] and reason in result["msg"]
    assert result["egress"] is None


def test_options_are_those_of_the_documentation() -> None:
    spec = egress_info.argument_spec()
    assert set(spec) == set(OPTIONS)
    for name, how in spec.items():
        for key in ("type", "choices", "default", "elements", "required"):
            assert how.get(key) == OPTIONS[name].get(key), f"{name}: {key}"
