# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""port_mapping and port_mapping_info against the real miniupnpd."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import HOST, NEIGHBOUR, PRIVATE_WAN, ROUTER, Home

WEB = {"name": "web", "protocol": "tcp", "external_port": 80, "port": 8080}
TLS = {"name": "tls", "protocol": "tcp", "external_port": 8443, "port": 443}
WG = {"name": "wg", "protocol": "udp", "port": 51820}


def states(result: dict[str, Any]) -> list[str]:
    return [row["state"] for row in result["mappings"]]


def test_there_and_back(home: Home) -> None:
    home.listen(8080)
    assert not home.connects(80)
    predicted = home.module("port_mapping", mappings=[WEB, TLS, WG], check_mode=True)
    assert predicted["changed"]
    assert [(change["action"], change["name"]) for change in predicted["plan"]] == [("create", "tcp 80"), ("create", "tcp 8443"), ("create", "udp 51820")]
    assert states(predicted) == ["absent"] * 3
    assert home.forwards() == []

    done = home.module("port_mapping", mappings=[WEB, TLS, WG])
    assert done["changed"]
    assert done["plan"] == predicted["plan"]
    assert states(done) == ["present"] * 3
    assert [row["owner"] for row in done["mappings"]] == ["ours"] * 3
    assert len(home.forwards()) == 3
    assert home.connects(80)

    for check_mode in (True, False):
        again = home.module("port_mapping", mappings=[WEB, TLS, WG], check_mode=check_mode)
        assert not again["changed"]
        assert again["plan"] == []
        assert again["diff"] == {"before": "", "after": ""}

    one = home.module("port_mapping", state="absent", mappings=[{"name": "tls"}])
    assert one["changed"]
    assert states(one) == ["absent"]
    assert len(home.forwards()) == 2

    predicted = home.module("port_mapping", state="absent", check_mode=True)
    assert predicted["changed"]
    assert states(predicted) == ["present", "present"]
    rest = home.module("port_mapping", state="absent")
    assert rest["changed"]
    assert states(rest) == ["absent", "absent"]
    assert home.forwards() == []
    assert not home.connects(80)
    assert not home.module("port_mapping", state="absent")["changed"]
    assert not home.module("port_mapping", state="absent", mappings=[WEB])["changed"]


def test_the_router_is_described(home: Home) -> None:
    start = time.monotonic()
    info = home.module("port_mapping_info")
    assert time.monotonic() - start < 2
    assert info["available"]
    assert info["reason"] == ""
    gateway = info["gateway"]
    assert (gateway["address"], gateway["method"], gateway["source_address"], gateway["interface"]) == (ROUTER, "upnp", HOST, "eth0")
    assert (gateway["wan_address"], gateway["wan_address_class"], gateway["wan_status"]) == (home.wan, "global", "Connected")
    assert gateway["service_type"].endswith("WANIPConnection:2")
    assert "MiniUPnPd" in gateway["product"]
    assert info["mappings"] == []


def test_foreign_owner_is_refused_and_nothing_is_changed(home: Home) -> None:
    assert "is redirected" in home.upnpc(home.neighbour, "-e", "camera", "-a", NEIGHBOUR, "80", "8443", "tcp", "3600")
    before = home.forwards()
    result = home.module("port_mapping", mappings=[WEB, TLS, WG])
    assert result["failed"]
    assert states(result) == ["absent", "foreign", "absent"]
    assert NEIGHBOUR in result["msg"]
    assert "camera" in result["msg"]
    assert result["mappings"][1]["foreign"] == {"internal_client": NEIGHBOUR, "internal_port": 80, "description": "camera"}
    assert not result["changed"]
    assert home.forwards() == before
    # Adopting is for what leads to this host.
    assert home.module("port_mapping", mappings=[TLS], adopt=True)["failed"]
    assert not home.module("port_mapping", state="absent")["changed"]
    assert home.forwards() == before


def test_another_port_only_if_it_may_be(home: Home) -> None:
    home.upnpc(home.neighbour, "-e", "camera", "-a", NEIGHBOUR, "80", "8443", "tcp", "3600")
    done = home.module("port_mapping", mappings=[TLS], allow_other_external_port=True)
    row = done["mappings"][0]
    assert done["changed"]
    assert row["state"] == "present"
    assert row["requested_external_port"] == 8443
    assert row["external_port"] >= 1024
    again = home.module("port_mapping", mappings=[TLS], allow_other_external_port=True)
    assert not again["changed"]
    assert again["mappings"][0]["external_port"] == row["external_port"]
    assert len(home.forwards()) == 2


def test_untagged_mapping_of_this_host_is_adopted_only_if_told(home: Home) -> None:
    home.upnpc(home.host, "-e", "old tool", "-a", HOST, "8080", "80", "tcp", "0")
    info = home.module("port_mapping_info")
    assert [row["owner"] for row in info["mappings"]] == ["untagged_ours"]
    refused = home.module("port_mapping", mappings=[WEB])
    assert refused["failed"]
    assert states(refused) == ["adoptable"]
    assert "adopt: true" in refused["msg"]
    left = home.module("port_mapping", state="absent")
    assert not left["changed"]
    assert [row["description"] for row in left["left"]] == ["old tool"]
    assert len(home.forwards()) == 1

    adopted = home.module("port_mapping", mappings=[WEB], adopt=True)
    assert adopted["changed"]
    assert [change["action"] for change in adopted["plan"]] == ["update"]
    assert adopted["mappings"][0]["description"].endswith(":web")
    assert not home.module("port_mapping", mappings=[WEB], adopt=True)["changed"]
    assert len(home.forwards()) == 1


def test_mapping_of_another_program_to_another_port_stays(home: Home) -> None:
    home.upnpc(home.host, "-e", "torrent", "-a", HOST, "6881", "80", "tcp", "0")
    result = home.module("port_mapping", mappings=[WEB], adopt=True)
    assert result["failed"]
    assert states(result) == ["conflict"]
    assert "6881" in result["msg"]
    assert len(home.forwards()) == 1


def test_mapping_of_another_homeserver_is_foreign(home: Home) -> None:
    home.upnpc(home.neighbour, "-e", "hs:00000000:web", "-a", NEIGHBOUR, "8080", "80", "tcp", "0")
    info = home.module("port_mapping_info")
    assert [(row["owner"], row["name"]) for row in info["mappings"]] == [("homeserver", "web")]
    result = home.module("port_mapping", mappings=[WEB], adopt=True)
    assert states(result) == ["foreign"]
    assert "hs:00000000:web" in result["msg"]
    assert not home.module("port_mapping", state="absent")["changed"]


def test_two_hosts_that_want_one_port(home: Home) -> None:
    assert home.module("port_mapping", home.neighbour, mappings=[WEB])["changed"]
    late = home.module("port_mapping", mappings=[WEB], adopt=True)
    assert states(late) == ["foreign"]
    assert "another host that this collection manages" in late["msg"]
    assert not home.module("port_mapping", state="absent")["changed"]
    assert [row["owner"] for row in home.module("port_mapping_info", home.neighbour)["mappings"]] == ["ours"]


def test_two_hosts_that_want_one_port_at_once(home: Home) -> None:
    for _attempt in range(3):
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(home.module, "port_mapping", namespace, mappings=[TLS, WEB]) for namespace in (home.host, home.neighbour)]
            results = [future.result() for future in asked]
        winners = [result for result in results if not result.get("failed")]
        assert len(winners) <= 1
        # Either one has all, or nobody has anything: never half of it.
        assert len(home.forwards()) == (2 if winners else 0), results
        for namespace in (home.host, home.neighbour):
            home.module("port_mapping", namespace, state="absent")


def test_a_moved_service_leaves_nothing_behind(home: Home) -> None:
    home.module("port_mapping", mappings=[WEB, TLS])
    moved = home.module("port_mapping", mappings=[{**WEB, "external_port": 8081}])
    assert [(change["action"], change["name"]) for change in moved["plan"]] == [("remove", "tcp 80"), ("create", "tcp 8081")]
    rebound = home.module("port_mapping", mappings=[{**WEB, "external_port": 8081, "port": 8088}])
    assert [(change["action"], change["name"]) for change in rebound["plan"]] == [("update", "tcp 8081")]
    assert sorted(line.rpartition(" ")[2] for line in home.forwards()) == [f"{HOST}:443", f"{HOST}:8088"]


def test_a_lease_is_renewed_below_half_without_a_change(home: Home) -> None:
    made = home.module("port_mapping", mappings=[{**WEB, "lease": 300}])
    assert 295 <= made["mappings"][0]["lease"] <= 300
    due = home.module("port_mapping", mappings=[WEB], check_mode=True)
    assert due["mappings"][0]["renewed"]
    assert due["mappings"][0]["lease"] <= 300
    renewed = home.module("port_mapping", mappings=[WEB])
    assert not renewed["changed"]
    assert renewed["mappings"][0]["renewed"]
    assert renewed["mappings"][0]["lease"] > 604000
    assert not home.module("port_mapping", mappings=[WEB])["mappings"][0]["renewed"]
    # A week is what version 2 makes of no end.
    assert not home.module("port_mapping", mappings=[{**WEB, "lease": 0}])["mappings"][0]["renewed"]


def test_an_address_that_changed_takes_the_mapping_along(own_home: Home) -> None:
    home = own_home
    home.start_daemon()
    home.module("port_mapping", mappings=[WEB, TLS])
    home.run(home.host, "ip", "addr", "add", "192.168.77.44/24", "dev", "eth0")
    home.run(home.host, "ip", "addr", "del", f"{HOST}/24", "dev", "eth0")
    home.run(home.host, "ip", "addr", "replace", "192.168.77.44/24", "dev", "eth0")
    home.run(home.host, "ip", "route", "replace", "default", "via", ROUTER)
    moved = home.module("port_mapping", mappings=[WEB, TLS])
    assert not moved.get("failed"), moved["msg"]
    assert [change["action"] for change in moved["plan"]] == ["update", "update"]
    assert sorted(line.rpartition(" ")[2] for line in home.forwards()) == ["192.168.77.44:443", "192.168.77.44:8080"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_refusal_midway_takes_back_what_was_written(home: Home, version: int) -> None:
    home.start_daemon(["force_igd_desc_v1=yes"] if version == 1 else [], first_port=1024)
    result = home.module("port_mapping", mappings=[TLS, WEB])
    assert result["failed"]
    assert not result["changed"]
    assert "606" in result["msg"]
    assert "1024" in result["msg"]
    assert "taken back" in result["msg"]
    assert home.forwards() == []


def test_version_1(home: Home) -> None:
    home.start_daemon(["force_igd_desc_v1=yes"])
    home.upnpc(home.neighbour, "-e", "camera", "-a", NEIGHBOUR, "80", "8000", "tcp", "0")
    assert home.module("port_mapping_info")["gateway"]["service_type"].endswith("WANIPConnection:1")
    assert home.module("port_mapping", mappings=[WEB, WG])["changed"]
    assert not home.module("port_mapping", mappings=[WEB, WG])["changed"]
    assert len(home.module("port_mapping_info")["mappings"]) == 3
    assert home.module("port_mapping", state="absent")["changed"]
    assert [row["description"] for row in home.module("port_mapping_info")["mappings"]] == ["camera"]


def test_private_wan_is_refused_before_anything_is_written(private_home: Home) -> None:
    home = private_home
    home.start_daemon()
    info = home.module("port_mapping_info")
    assert info["available"]
    # Newer versions of the daemon tell the address.
    assert info["gateway"]["wan_address"] in (None, PRIVATE_WAN)
    result = home.module("port_mapping", mappings=[WEB])
    assert result["failed"]
    assert result["plan"] == []
    assert "no WAN address" in result["msg"] or "private" in result["msg"]
    forced = home.module("port_mapping", mappings=[WEB], require_global_wan=False)
    assert forced["failed"]
    assert "501" in forced["msg"]
    assert home.forwards() == []
    assert not home.module("port_mapping", state="absent").get("failed")
    assert PRIVATE_WAN not in str(info["mappings"])


def test_rubbish_in_descriptions_of_others(home: Home) -> None:
    for port, text in (
        (8001, "x" * 120),
        (8002, "a&<b>]]>'\"\u30ab\u30e1\u30e9"),
        (8003, "<NewInternalClient>192.168.77.10</NewInternalClient>"),
        (8004, "\x1b[31mred"),
    ):
        home.upnpc(home.neighbour, "-e", text, "-a", NEIGHBOUR, "80", str(port), "tcp", "3600")
    info = home.module("port_mapping_info")
    assert info["available"], info["reason"]
    assert {row["external_port"] for row in info["mappings"]} >= {8001, 8002, 8004}
    assert {row["internal_client"] for row in info["mappings"]} == {NEIGHBOUR}
    assert "\x1b" not in str(info["mappings"])
    assert home.module("port_mapping", mappings=[WEB])["changed"]
    refused = home.module("port_mapping", mappings=[{**WEB, "external_port": 8001}])
    assert states(refused) == ["foreign"]


def test_the_gateway_can_be_named(home: Home) -> None:
    for gateway in (ROUTER, f"http://{ROUTER}:5555/rootDesc.xml"):
        assert home.module("port_mapping_info", gateway=gateway)["available"]


@pytest.mark.parametrize(
    "gateway", ["203.0.113.9", "192.168.77.0", HOST, "127.0.0.1", "239.255.255.250", "router.lan", "fe80::1", "http://203.0.113.9/x", "https://192.168.77.1/"]
)
def test_a_gateway_that_is_not_on_the_lan(home: Home, gateway: str) -> None:
    result = home.module("port_mapping", mappings=[WEB], gateway=gateway)
    assert result["failed"]
    assert gateway in result["msg"]


@pytest.mark.parametrize("option", [{"interface": "eth9"}, {"timeout": 1000.0}, {"state_dir": "relative"}])
def test_bad_options_are_named(home: Home, option: dict[str, Any]) -> None:
    result = home.module("port_mapping", mappings=[WEB], **option)
    assert result["failed"]
    assert str(next(iter(option.values()))).partition(".")[0] in result["msg"]
    assert home.forwards() == []


@pytest.mark.parametrize("silence", ["closed", "dropped"])
def test_a_silent_router_costs_a_bounded_time(own_home: Home, silence: str) -> None:
    if silence == "dropped":
        own_home.run(own_home.router, "nft", "insert", "rule", "inet", "filter", "input", "iifname", "lan0", "drop")
    start = time.monotonic()
    info = own_home.module("port_mapping_info", timeout=1.5)
    assert not info["available"]
    assert ROUTER in info["reason"]
    assert info["elapsed"] < 2
    failed = own_home.module("port_mapping", mappings=[WEB], timeout=1.0)
    assert failed["failed"]
    gone = own_home.module("port_mapping", state="absent", mappings=[WEB], timeout=1.0)
    assert not gone.get("failed")
    assert not gone["changed"]
    assert gone["gateway"] is None
    assert time.monotonic() - start < 8


def test_a_firewall_on_the_host_that_admits_answers_only(own_home: Home) -> None:
    home = own_home
    home.start_daemon()
    rules = "table inet strict {\nchain input {\ntype filter hook input priority 0; policy drop;\nct state established,related accept\n}\n}\n"
    home.run(home.host, "nft", "-f", "-", text=rules)
    assert home.module("port_mapping_info")["elapsed"] < 1
    assert home.module("port_mapping", mappings=[WEB])["changed"]


def test_a_router_that_answers_multicast_only(own_home: Home) -> None:
    home = own_home
    home.start_daemon()
    home.run(home.router, "nft", "insert", "rule", "inet", "filter", "input", "ip", "daddr", ROUTER, "udp", "dport", "1900", "reject")
    info = home.module("port_mapping_info")
    assert info["available"], info["reason"]
    assert info["elapsed"] < 1


def test_two_uplinks(own_home: Home) -> None:
    home = own_home
    home.start_daemon()
    home.run(home.host, "ip", "link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
    home.run(home.host, "ip", "addr", "add", "10.8.0.2/24", "dev", "vpn0")
    home.run(home.host, "ip", "link", "set", "vpn0", "up")
    home.run(home.host, "ip", "link", "set", "vpn1", "up")
    home.run(home.host, "ip", "route", "change", "default", "via", ROUTER, "metric", "100", check=False)
    home.run(home.host, "ip", "route", "add", "default", "via", "10.8.0.1", "metric", "5")
    # Both default routes are asked at once.
    home.run(home.host, "ip", "route", "replace", "default", "via", ROUTER, "metric", "100")
    assert home.module("port_mapping_info")["gateway"]["source_address"] == HOST
    # Only the VPN's route is left: the answer says where it looked, and the interface can be named.
    home.run(home.host, "ip", "route", "del", "default", "via", ROUTER, "metric", "100")
    home.run(home.host, "ip", "route", "del", "default", "via", ROUTER, check=False)
    lost = home.module("port_mapping_info", timeout=1.0)
    assert not lost["available"]
    assert "vpn0" in lost["reason"]
    for option in ({"interface": "eth0"}, {"gateway": ROUTER}):
        assert home.module("port_mapping_info", **option)["gateway"]["source_address"] == HOST
    assert home.module("port_mapping", mappings=[WEB], interface="eth0")["mappings"][0]["internal_client"] == HOST


_POSING = """
import socket, sys
own, router = sys.argv[1:]
opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
opened.bind(("", 1900))
opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.255.255.250") + socket.inet_aton(own))
while True:
    _data, sender = opened.recvfrom(2000)
    for host in (own, router):
        lines = ["HTTP/1.1 200 OK", "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1", f"LOCATION: http://{host}:5555/rootDesc.xml", "", ""]
        opened.sendto("\\r\\n".join(lines).encode(), sender)
"""


def test_another_host_that_poses_as_gateway_is_not_used(own_home: Home) -> None:
    home = own_home
    home.spawn(home.neighbour, sys.executable, "-c", _POSING, NEIGHBOUR, ROUTER)
    deadline = time.monotonic() + 5
    while ":1900" not in home.run(home.neighbour, "ss", "-Hlun"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    info = home.module("port_mapping_info", timeout=1.5)
    assert not info["available"]
    assert NEIGHBOUR in info["reason"]
    home.start_daemon()
    assert home.module("port_mapping_info")["gateway"]["address"] == ROUTER
