# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCP, NAT-PMP and auto against the real miniupnpd, which speaks all three."""

from __future__ import annotations

import json
import stat
import time
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import HOST, NEIGHBOUR, ROUTER, Home

WEB = {"name": "web", "protocol": "tcp", "external_port": 80, "port": 8080}
WG = {"name": "wg", "protocol": "udp", "port": 51820}
METHODS = ["pcp", "natpmp"]


def states(result: dict[str, Any]) -> list[str]:
    return [row["state"] for row in result["mappings"]]


@pytest.fixture
def both(home: Home) -> Home:
    home.start_daemon(recorded=True)
    return home


@pytest.mark.parametrize("method", METHODS)
def test_there_and_back(both: Home, method: str) -> None:
    if ":8080 " not in both.run(both.host, "ss", "-Hltn"):
        both.listen(8080)
    predicted = both.module("port_mapping", method=method, mappings=[WEB, WG], check_mode=True)
    assert predicted["changed"], predicted
    assert both.forwards() == []
    assert not both.state_dir().exists()
    done = both.module("port_mapping", method=method, mappings=[WEB, WG])
    assert not done.get("failed"), done["msg"]
    assert done["plan"] == predicted["plan"]
    assert states(done) == ["present"] * 2
    assert [row["method"] for row in done["mappings"]] == [method] * 2
    assert 86000 < done["mappings"][0]["lease"] <= 86400
    assert both.connects(80)
    assert len(both.forwards()) == 2
    file = both.state_dir() / "port_mappings.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for check_mode in (True, False):
        again = both.module("port_mapping", method=method, mappings=[WEB, WG], check_mode=check_mode)
        assert (again["changed"], again["plan"], again["diff"]) == (False, [], {"before": "", "after": ""})
        assert not again["mappings"][0]["renewed"]
    info = both.module("port_mapping_info", method=method)
    assert info["available"]
    assert (info["gateway"]["address"], info["gateway"]["method"], info["gateway"]["wan_address"]) == (ROUTER, method, both.wan)
    assert info["gateway"]["epoch"] >= 0
    assert [(row["external_port"], row["owner"], row["name"], row["enabled"]) for row in info["mappings"]] == [
        (80, "ours", "web", True),
        (51820, "ours", "wg", True),
    ]
    if method == "pcp":
        assert json.loads(file.read_text())["mappings"][0]["nonce"] not in json.dumps(info)
    gone = both.module("port_mapping", method=method, state="absent", mappings=[{"name": "web"}])
    assert gone["changed"]
    assert not both.connects(80)
    assert both.module("port_mapping", method=method, state="absent")["changed"]
    assert both.forwards() == []
    assert not file.exists()
    assert not both.module("port_mapping", method=method, state="absent")["changed"]


@pytest.mark.parametrize("method", METHODS)
def test_a_port_that_somebody_else_has(both: Home, method: str) -> None:
    both.upnpc(both.neighbour, "-e", "camera", "-a", NEIGHBOUR, "80", "80", "tcp", "3600")
    before = both.forwards()
    result = both.module("port_mapping", method=method, mappings=[WG, WEB])
    assert result["failed"]
    assert not result["changed"]
    assert "owner unknown" in result["msg"]
    assert both.forwards() == before
    assert not (both.state_dir() / "port_mappings.json").exists()
    other = both.module("port_mapping", method=method, mappings=[WEB], allow_other_external_port=True)
    assert not other.get("failed"), other["msg"]
    row = other["mappings"][0]
    assert row["external_port"] != 80
    assert row["requested_external_port"] == 80
    again = both.module("port_mapping", method=method, mappings=[WEB], allow_other_external_port=True)
    assert not again["changed"], again["plan"]
    assert again["mappings"][0]["external_port"] == row["external_port"]
    assert again["mappings"][0]["requested_external_port"] == 80
    both.module("port_mapping", method=method, state="absent")
    assert both.forwards() == before


@pytest.mark.parametrize("method", METHODS)
def test_a_port_that_the_rules_deny(home: Home, method: str) -> None:
    home.start_daemon(recorded=True, first_port=1024)
    result = home.module("port_mapping", method=method, mappings=[WG, WEB])
    assert result["failed"]
    assert not result["changed"]
    assert home.forwards() == []


@pytest.mark.parametrize("method", METHODS)
def test_a_router_that_forgot(both: Home, method: str) -> None:
    both.module("port_mapping", method=method, mappings=[WEB])
    # Clocks may differ by two seconds (RFC 6887, 8.5), and each may be read a second late: only a router that was up for longer can be seen to restart.
    time.sleep(5)
    both.run(both.router, "nft", "flush", "chain", "inet", "filter", "prerouting_miniupnpd")
    both.run(both.router, "nft", "flush", "chain", "inet", "filter", "miniupnpd")
    (both.directory / "leases").write_text("")
    both.start_daemon(recorded=True, keep_leases=True)
    assert [row["enabled"] for row in both.module("port_mapping_info", method=method)["mappings"]] == [False]
    again = both.module("port_mapping", method=method, mappings=[WEB])
    assert not again.get("failed"), again["msg"]
    assert again["changed"]
    assert len(both.forwards()) == 1
    assert not both.module("port_mapping", method=method, mappings=[WEB])["changed"]
    assert both.module("port_mapping", method=method, state="absent")["changed"]
    assert both.forwards() == []


def test_a_lease_that_ended(home: Home) -> None:
    # NAT-PMP leases of this daemon are not cut, and no shorter one is asked for than 120 s.
    method = "pcp"
    home.start_daemon(["min_lifetime=1", "max_lifetime=2"], recorded=True)
    assert home.module("port_mapping", method=method, mappings=[WEB])["mappings"][0]["lease"] <= 2
    # Two seconds of lease, and as many for the daemon to look.
    time.sleep(4)
    assert home.module("port_mapping_info", method=method)["mappings"] == []
    assert home.module("port_mapping", method=method, mappings=[WEB])["changed"]


@pytest.mark.parametrize("method", METHODS)
def test_a_service_that_moved(both: Home, method: str) -> None:
    both.module("port_mapping", method=method, mappings=[WEB])
    moved = both.module("port_mapping", method=method, mappings=[{**WEB, "external_port": 81}])
    assert not moved.get("failed"), moved["msg"]
    assert [(change["action"], change["name"]) for change in moved["plan"]] == [("remove", "tcp 80"), ("create", "tcp 81")]
    assert len(both.forwards()) == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_private_wan_is_refused_before_anything_is_written(private_home: Home, method: str) -> None:
    private_home.start_daemon(recorded=True)
    result = private_home.module("port_mapping", method=method, mappings=[WEB])
    assert result["failed"]
    assert "no WAN address" in result["msg"]
    forced = private_home.module("port_mapping", method=method, mappings=[WEB], require_global_wan=False)
    assert forced["failed"]
    assert ("NO_RESOURCES" if method == "pcp" else "NETWORK_FAILURE") in forced["msg"]
    assert not (private_home.state_dir() / "port_mappings.json").exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_closed_router_and_a_bad_gateway(home: Home, method: str) -> None:
    result = home.module("port_mapping", method=method, mappings=[WEB])
    assert result["failed"]
    assert "closed" in result["msg"]
    assert not home.module("port_mapping", method=method, state="absent").get("failed")
    named = home.module("port_mapping", method=method, mappings=[WEB], gateway=f"http://{ROUTER}:5555/rootDesc.xml")
    assert "UPnP description" in named["msg"]


def test_auto_takes_pcp_and_asks_upnp_whose_a_port_is(both: Home) -> None:
    both.upnpc(both.neighbour, "-e", "camera", "-a", NEIGHBOUR, "80", "81", "tcp", "3600")
    before = both.forwards()
    both.module("port_mapping", method="upnp", mappings=[WG])
    done = both.module("port_mapping", mappings=[WEB, WG])
    assert [(change["action"], change["name"]) for change in done["plan"]] == [("create", "tcp 80")]
    # A mapping stays with the protocol that it was made by.
    assert [row["method"] for row in done["mappings"]] == ["pcp", "upnp"]
    assert 86000 < done["mappings"][0]["lease"] <= 86400
    assert not both.module("port_mapping", mappings=[WEB, WG])["changed"]
    refused = both.module("port_mapping", mappings=[{**WEB, "external_port": 81}])
    assert states(refused) == ["foreign"]
    assert refused["mappings"][0]["foreign"]["description"] == "camera"
    rows = both.module("port_mapping_info")["mappings"]
    assert sorted((row["external_port"], row["owner"]) for row in rows) == [(80, "ours"), (81, "foreign"), (51820, "ours")]
    gone = both.module("port_mapping", state="absent")
    assert states(gone) == ["absent", "absent"]
    assert both.forwards() == before


def test_auto_leaves_to_upnp_what_pcp_cannot(both: Home) -> None:
    two = [WEB, {**WEB, "name": "alt", "external_port": 8081}]
    done = both.module("port_mapping", mappings=two)
    assert not done.get("failed"), done["msg"]
    assert [row["method"] for row in done["mappings"]] == ["pcp", "upnp"]
    assert not both.module("port_mapping", mappings=two)["changed"]
    assert both.module("port_mapping", state="absent")["changed"]
    assert both.forwards() == []


def test_auto_adopts_and_gives_back(both: Home) -> None:
    both.upnpc(both.host, "-e", "old tool", "-a", HOST, "8080", "80", "tcp", "3600")
    assert both.module("port_mapping", mappings=[WEB], adopt=True)["changed"]
    assert not both.module("port_mapping", mappings=[WEB])["changed"]
    original = {"protocol": "tcp", "external_port": 80, "internal_client": HOST, "internal_port": 8080, "description": "old tool"}
    assert both.module("port_mapping", state="absent", restore=[original])["changed"]
    assert [row["description"] for row in both.module("port_mapping_info")["mappings"]] == ["old tool"]


def test_auto_without_a_state_directory_is_upnp(both: Home) -> None:
    blocked = both.directory / "blocked"
    blocked.write_text("")
    done = both.module("port_mapping", mappings=[WEB], state_dir=str(blocked))
    assert done["gateway"]["method"] == "upnp"
    refused = both.module("port_mapping", method="pcp", mappings=[WG], state_dir=str(blocked))
    assert str(blocked) in refused["msg"]


def test_two_hosts_that_want_one_port(both: Home) -> None:
    for method in METHODS:
        assert both.module("port_mapping", both.neighbour, method="pcp", mappings=[WEB])["mappings"][0]["state"] == "present"
        late = both.module("port_mapping", method=method, mappings=[WEB])
        assert late["failed"]
        assert "owner unknown" in late["msg"]
        assert len(both.forwards()) == 1
