# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: what it refuses, that its options are those of its documentation, and that it returns what it documents."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible.module_utils import basic

from ansible_collections.homeserver.hardening.plugins.module_utils._line._map_e import PortSet
from ansible_collections.homeserver.hardening.plugins.modules import line_info

DOCUMENTED = yaml.safe_load(line_info.RETURN)
OPTIONS = yaml.safe_load(line_info.DOCUMENTATION)["options"]

PHONE = """
rmnet0    Link encap:UNSPEC
          inet addr:100.92.7.33  Mask:255.255.255.252
          UP RUNNING  MTU:1500  Metric:1
"""
HOME = """
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500
    inet 192.168.1.20/24 scope global dynamic eth0
    inet6 240b:10:a460:6100::10/64 scope global dynamic eth0
default via 192.168.1.1 dev eth0
"""
WEB = {"name": "https", "protocol": "tcp", "external_port": 443}


def run(capsys: Any, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run the module in this process and return its result. Nobody is asked unless the test says so."""
    data = {"ANSIBLE_MODULE_ARGS": {"methods": [], **arguments, "_ansible_check_mode": check}}
    profile = mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True)  # since ansible-core 2.19
    with mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps(data).encode()), profile, pytest.raises(SystemExit) as end:
        line_info.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert bool(end.value.code) is result.get("failed", False)
    return result


@pytest.mark.parametrize("check", [False, True])
def test_shared_address(capsys: Any, check: bool) -> None:
    result = run(capsys, check, observed={"interfaces": HOME, "wan_address": "106.72.164.96"}, services=[WEB, {**WEB, "name": "own", "external_port": 5650}])
    assert result["changed"] is False
    line = result["line"]
    assert (line["verdict"], line["inbound_ipv4"], line["map_e"]["psid"]) == ("map_e", "port_set", 97)
    assert [(one["first"], one["last"]) for one in line["ports"]] == PortSet(4, 8, 97).ranges()
    assert [(row["ipv4"], row["nearest_port"]) for row in result["services"]] == [("impossible", 5648), ("after_forward", None)]
    assert set(result) - {"changed", "invocation", "warnings", "deprecations"} == set(DOCUMENTED)
    assert set(line) == set(DOCUMENTED["line"]["contains"])
    for key in ("map_e", "address_stability"):
        assert set(line[key]) == set(DOCUMENTED["line"]["contains"][key]["contains"])
    for key in ("readings", "consequences", "questions", "contradictions"):
        for row in line[key]:
            assert set(row) == set(DOCUMENTED["line"]["contains"][key]["contains"])
    assert set(result["services"][0]) == set(DOCUMENTED["services"]["contains"])
    assert set(result["services"][0]["ways"][0]) == set(DOCUMENTED["services"]["contains"]["ways"]["contains"])


def test_phone(capsys: Any) -> None:
    line = run(capsys, observed={"interfaces": PHONE})["line"]
    assert (line["verdict"], line["host_address"]) == ("cgn", "100.92.7.33")


def test_own_rule(capsys: Any) -> None:
    rule = {"name": "mine", "ipv6_prefix": "240b::/24", "ipv4_prefix": "44.5.0.0/16", "ea_length": 32, "psid_offset": 0}
    line = run(capsys, map_rules=[rule], observed={"interfaces": HOME, "wan_address": "44.5.16.164"})["line"]
    assert line["map_e"]["service"] == "mine"


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({"timeout": 0}, ["timeout 0", "0.5 to 30"]),
        ({"observed": {"wan_address": "100.64.1"}}, ["observed.wan_address '100.64.1'", "four numbers"]),
        ({"observed": {"interfaces": "nothing here"}}, ["observed.interfaces", "ip -j addr"]),
        ({"stun_servers": ["host:70000"]}, ["stun_servers 'host:70000'", "1 to 65535"]),
        ({"echo_urls": ["example.org"]}, ["echo_urls 'example.org'", "https://"]),
        ({"services": [{**WEB, "external_port": 0}]}, ["services: https: external_port 0", "1 to 65535"]),
        ({"observed": {"inbound": [{"family": "ipv4", "protocol": "tcp", "port": 65536}]}}, ["observed.inbound: port 65536"]),
        ({"interface": "eth99"}, ["interface 'eth99' does not exist"]),
        ({"methods": ["guess"]}, ["guess"]),
        (
            {"map_rules": [{"name": "x", "ipv6_prefix": "2001:db8::/40", "ipv4_prefix": "192.0.2.0/24", "ea_length": 4, "psid_offset": 6}]},
            ["map rule x", "ea_length 4", "at least 8"],
        ),
    ],
)
def test_refusals_name_value_reason_and_fix(capsys: Any, options: dict[str, Any], reasons: list[str]) -> None:
    result = run(capsys, **options)
    assert result["failed"]
    for reason in reasons:
        assert reason in result["msg"]
    if "methods" not in options:
        assert result["line"] is None and result["services"] == []


def same(spec: dict[str, Any], documented: dict[str, Any], where: str) -> None:
    assert set(spec) == set(documented), where
    for name, how in spec.items():
        told = documented[name]
        for key in ("type", "choices", "default", "elements", "required"):
            assert how.get(key) == told.get(key), f"{where}{name}: {key}"
        if "options" in how:
            same(how["options"], told["suboptions"], f"{where}{name}.")


def test_options_are_those_of_the_documentation() -> None:
    same(line_info.argument_spec(), OPTIONS, "")


def test_empty_text_counts_as_left_out(capsys: Any) -> None:
    empty = {"gateway": "", "interface": "", "provider": "", "history": "", "observed": {"interfaces": "", "wan_address": ""}}
    assert run(capsys, **empty)["line"]["verdict"]
