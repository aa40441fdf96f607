# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services a line carries, and the ways for the others."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._line._providers import PROVIDERS, provider
from ansible_collections.homeserver.hardening.plugins.module_utils._line._sockets import EndpointError
from ansible_collections.homeserver.hardening.plugins.module_utils._line._verdict import judge
from ansible_collections.homeserver.hardening.plugins.module_utils._line._ways import _WAYS, BY_VERDICT, WORM_PORTS, check_services, service_rows
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._line.line_cases import LINES

WEB = {"name": "http", "protocol": "tcp", "external_port": 80}
WG = {"name": "wg", "protocol": "udp", "external_port": 51820}
MAIL = {"name": "smtp", "protocol": "tcp", "external_port": 25}
OWN = {"name": "own", "protocol": "tcp", "external_port": 5650}


def rows(name: str, *services: dict[str, Any], by: str | None = None) -> list[dict[str, Any]]:
    return service_rows(judge(next(line for line in LINES if line.name == name).readings), services, by)


def names(row: dict[str, Any]) -> list[str]:
    return [way["name"] for way in row["ways"]]


def test_shared_address() -> None:
    web, wg, mail, own = rows("map_e_v6plus", WEB, WG, MAIL, OWN)
    assert (web["ipv4"], web["reason"], web["nearest_port"]) == ("impossible", "port_not_in_set", 5648)
    assert (wg["ipv4"], wg["nearest_port"]) == ("impossible", 50719)
    assert names(web) == ["other_port", "ipv6", "pppoe", "provider_global_address", "fixed_ip"]
    assert "port 5648" in web["ways"][0]["text"] and web["ways"][0]["port"] == 5648
    assert "conagi.jp" in web["ways"][3]["text"]
    assert "other_port" not in names(mail)
    assert (own["ipv4"], own["ways"], own["forwards"]) == ("after_forward", [], 1)


def test_without_ipv6_it_is_to_be_asked_for() -> None:
    assert "provider_ipv6" in names(rows("map_e_no_ipv6", WEB)[0])
    assert "ipv6" not in names(rows("map_e_no_ipv6", WEB)[0])


@pytest.mark.parametrize(
    ("line", "state", "forwards", "ways"),
    [
        ("public_static", "possible", 0, []),
        ("nat_upnp", "after_forward", 1, []),
        ("double_nat_open", "after_forward", 2, []),
        ("map_e_second_router", "impossible", 0, ["other_port", "ipv6", "bridge_mode", "pppoe", "provider_global_address", "fixed_ip"]),
        ("cgn_6598", "impossible", 0, ["ipv6", "provider_global_address", "fixed_ip"]),
        ("ds_lite_router", "impossible", 0, ["ipv6", "pppoe", "provider_global_address", "fixed_ip"]),
        ("double_nat_closed", "unknown", None, ["ipv6", "bridge_mode", "forward_twice", "provider_global_address", "fixed_ip"]),
        ("nat_gateway_silent", "unknown", None, ["ipv6", "fixed_ip"]),
    ],
)
def test_states(line: str, state: str, forwards: int | None, ways: list[str]) -> None:
    (row,) = rows(line, WEB)
    assert (row["ipv4"], row["forwards"], names(row)) == (state, forwards, ways)


def test_provider_is_named_with_its_source() -> None:
    (row,) = rows("cgn_6598", WEB, by="UQ WiMAX")
    assert "a global address is sold as an option" in row["ways"][1]["text"]
    assert "medier.net" in row["ways"][1]["text"]


def test_worm_ports_are_explained() -> None:
    (row,) = rows("nat_upnp", {"name": "smb", "protocol": "tcp", "external_port": 445})
    assert row["often_filtered"] and "worms" in row["note"]
    assert not rows("nat_upnp", WEB)[0]["often_filtered"]
    assert len(WORM_PORTS) == 5


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_every_line_has_an_answer_for_every_port(line: Any) -> None:
    result = judge(line.readings)
    for port in (1, 25, 80, 443, 5650, 8443, 65535):
        (row,) = service_rows(result, [{"name": "x", "protocol": "tcp", "external_port": port}])
        assert row["ipv4"] in ("possible", "after_forward", "impossible", "unknown")
        if row["ipv4"] == "impossible" and line.verdict != "offline":
            assert row["ways"]
        if row["nearest_port"]:
            assert any(one["first"] <= row["nearest_port"] <= one["last"] for one in result["ports"])


def test_tables_are_complete() -> None:
    assert {name for ways in BY_VERDICT.values() for name in ways} | {"provider_ipv6"} == set(_WAYS)
    for row in PROVIDERS:
        assert row["source"].startswith("https://") and row["verified"] in ("doc", "real") and date.fromisoformat(row["date"])
        assert set(row["options"]) <= set(_WAYS)
        assert provider(row["name"]) is row
    assert provider(None) is None and provider("nobody") is None


def test_the_first_and_the_last_port_are_ports() -> None:
    check_services([{**WEB, "external_port": 1}, {**WEB, "external_port": 65535}])


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_what_is_no_port_is_refused_by_name(port: int) -> None:
    with pytest.raises(EndpointError, match=rf"services: http: external_port {port} is out of the range 1 to 65535"):
        check_services([{**WEB, "external_port": port}])
