# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module, and that filter and test answer as it does."""

from __future__ import annotations

import csv
import ipaddress
import json
from pathlib import Path
from unittest import mock

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils import basic

from ansible_collections.homeserver.hardening.plugins.filter.address_class import address_class
from ansible_collections.homeserver.hardening.plugins.module_utils._address._interfaces import DefaultRoute, InterfaceAddress, NetlinkError, Network
from ansible_collections.homeserver.hardening.plugins.modules import address_info
from ansible_collections.homeserver.hardening.plugins.test.publishable_address import publishable_address

FIXTURES = Path(__file__).parents[1] / "module_utils" / "_address" / "fixtures"
DOCUMENTED = yaml.safe_load(address_info.RETURN)

NETWORK = Network(
    [InterfaceAddress("eth0", "8.8.8.8", "ipv4", 24, "global", None, True, False, False, False, True, 600, 300, True, True)],
    [DefaultRoute("ipv4", "8.8.8.1", "eth0", "8.8.8.8", 100)],
)


def run(capsys, check=False, **arguments):
    """Run the module in this process and return its result."""
    data = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}}
    profile = mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True)  # since ansible-core 2.19
    with mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps(data).encode()), profile, pytest.raises(SystemExit) as end:
        address_info.main()
    result = json.loads(capsys.readouterr().out)
    assert bool(end.value.code) is result.get("failed", False)
    return result


def keys(documented):
    return set(documented["contains"])


def edges():
    with (FIXTURES / "address-classes.csv").open(encoding="utf-8", newline="") as stream:
        networks = [ipaddress.ip_network(row["block"]) for row in csv.DictReader(stream)]
    for network in networks:
        make = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
        first, last, end = int(network.network_address), int(network.broadcast_address), 2**network.max_prefixlen - 1
        yield from (str(make(number)) for number in (first, last, max(first - 1, 0), min(last + 1, end)))


MIXED = [*edges(), "::ffff:8.8.8.8", "2002:808:808::", "64:ff9b::10.0.0.1", "", "01.2.3.4", "fe80::1%eth0", "name", "1.2.3.4/8"]


def test_rows_stand_one_to_one_with_the_request(capsys):
    texts = ["::1", "8.8.8.8", "::1", "100.64.0.1"]
    result = run(capsys, addresses=texts)
    assert [row["address"] for row in result["addresses"]] == texts
    assert [row["address_class"] for row in result["addresses"]] == ["loopback", "global", "loopback", "shared_cgn"]
    assert result["changed"] is False
    assert result["interfaces"] == result["default_routes"] == []
    assert result["registry_date"] == "2026-08-07"


def test_nothing_asked(capsys):
    assert run(capsys)["addresses"] == []


def test_returned_keys_are_the_documented_ones(capsys, monkeypatch):
    monkeypatch.setattr(address_info, "read_network", lambda: NETWORK)
    result = run(capsys, addresses=["::1", "x"], on_invalid="report", include_interfaces=True)
    assert set(result) - {"changed", "invocation"} == set(DOCUMENTED)
    for row in result["addresses"]:
        assert set(row) == keys(DOCUMENTED["addresses"])
    for name in ("interfaces", "default_routes"):
        assert set(result[name][0]) == keys(DOCUMENTED[name])


def test_documented_types_are_the_returned_ones(capsys, monkeypatch):
    monkeypatch.setattr(address_info, "read_network", lambda: NETWORK)
    result = run(capsys, addresses=["::ffff:8.8.8.8", "x"], on_invalid="report", include_interfaces=True)
    types = {"str": str, "bool": bool, "int": int}
    for name in ("addresses", "interfaces", "default_routes"):
        for row in result[name]:
            for key, value in row.items():
                assert value is None or value.__class__ is types[DOCUMENTED[name]["contains"][key]["type"]], key


@pytest.mark.parametrize("check", [False, True])
def test_check_mode_does_the_same(capsys, monkeypatch, check):
    monkeypatch.setattr(address_info, "read_network", lambda: NETWORK)
    result = run(capsys, check=check, addresses=["::1"], include_interfaces=True)
    assert result["addresses"][0]["address_class"] == "loopback"
    assert result["interfaces"][0]["publish_candidate"] is True
    assert result["default_routes"] == [{"family": "ipv4", "gateway": "8.8.8.1", "interface": "eth0", "source": "8.8.8.8", "metric": 100}]


def test_invalid_text_fails_with_value_reason_and_fix(capsys):
    result = run(capsys, addresses=["8.8.8.8", "10.0.0.01", "fe80::1%eth0"])
    assert result["failed"] is True
    assert "'10.0.0.01': a number has leading zeros" in result["msg"]
    assert "'fe80::1%eth0': it carries a zone" in result["msg"]
    assert "on_invalid=report" in result["msg"]
    assert "8.8.8.8" not in result["msg"]
    assert [row["valid"] for row in result["addresses"]] == [True, False, False]


def test_interfaces_that_cannot_be_read(capsys, monkeypatch):
    def refuse():
        raise NetlinkError(13, "cannot open a netlink socket: Permission denied")

    monkeypatch.setattr(address_info, "read_network", refuse)
    result = run(capsys, addresses=["::1"], include_interfaces=True)
    assert result["failed"] is True
    assert "cannot open a netlink socket: Permission denied" in result["msg"]
    assert result["addresses"][0]["valid"] is True


def test_filter_and_test_answer_as_the_module(capsys):
    rows = run(capsys, addresses=MIXED, on_invalid="report")["addresses"]
    assert address_class(MIXED, record=True, on_invalid="report") == rows
    assert address_class(MIXED, on_invalid="report") == [row["address_class"] for row in rows]
    for text, row in zip(MIXED, rows):
        assert publishable_address(text) is row["publishable"]
        if row["valid"]:
            assert address_class(text) == row["address_class"]
            assert address_class(text, record=True) == row
        else:
            with pytest.raises(AnsibleFilterError):
                address_class(text)
