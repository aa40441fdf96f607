# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinholes against the real miniupnpd over IPv6: what is opened is asked from the Internet, and what others opened must stay."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import started
from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home6 import HOST6, NEIGHBOUR6, OTHER_PREFIX, PREFIX, ROUTER6, Home6
from ansible_collections.homeserver.hardening.tests.integration.port_mapping.hostile import inside

WEB = {"name": "web", "protocol": "tcp", "port": 8443, "families": ["ipv6"]}
TLS = {"name": "tls", "protocol": "tcp", "port": 443, "families": ["ipv6"]}
DNS = {"name": "dns", "protocol": "udp", "port": 5353, "families": ["ipv6"]}
BOTH = {**WEB, "families": ["ipv4", "ipv6"]}
METHODS = ["pcp", "upnp"]
NEXT = f"{OTHER_PREFIX}10"


@pytest.fixture(scope="module")
def _home6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home6]:
    yield from started(Home6(tmp_path_factory.mktemp("home6")))


@pytest.fixture
def home(_home6: Home6) -> Iterator[Home6]:
    """A router that speaks everything, services that answer, and a pinhole of a neighbour."""
    _home6.start_daemon(recorded=True)
    for port in (8443, 443):
        _home6.listen6(port)
    _camera(_home6)
    yield _home6
    _home6.renumber(HOST6)
    _home6.restore_pcp()


def _camera(home: Home6) -> None:
    """Open a port for the neighbour, as its own programs would."""

    def ask() -> bytes:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
            opened.settimeout(2)
            opened.bind((NEIGHBOUR6, 0))
            opened.connect((ROUTER6, 5351, 0, socket.if_nametoindex("eth0")))
            client = socket.inet_pton(socket.AF_INET6, NEIGHBOUR6)
            opened.send(struct.pack("!BBHI", 2, 1, 0, 7200) + client + bytes(range(12)) + struct.pack("!B3xHH", 6, 81, 81) + bytes(16))
            return opened.recv(1100)

    assert inside(home.neighbour, ask)[3] == 0


def _open(home: Home6) -> list[str]:
    """What the router lets in but for what the neighbour opened, which must be there."""
    found = home.pinholes()
    camera = f"{NEIGHBOUR6} 81"
    assert camera in found
    return [hole for hole in found if hole != camera]


def _present(home: Home6, method: str, *mappings: dict[str, Any], **options: Any) -> dict[str, Any]:
    done = home.module("port_mapping", method=method, mappings=list(mappings), **options)
    assert not done.get("failed"), done["msg"]
    return done


def _gone(home: Home6, method: str) -> None:
    """Nothing is left, in the router or on the host."""
    gone = home.module("port_mapping", method=method, state="absent")
    assert not gone.get("failed"), gone["msg"]
    assert gone["kept"] == []
    assert _open(home) == []
    assert home.forwards() == []
    assert not home.state_dir().exists()


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_there_and_back(home: Home6, method: str) -> None:
    assert not home.reaches(8443)
    predicted = home.module("port_mapping", method=method, mappings=[WEB, DNS], check_mode=True)
    assert predicted["changed"]
    assert (_open(home), home.state_dir().exists()) == ([], False)
    done = _present(home, method, WEB, DNS)
    assert done["changed"]
    assert done["plan"] == predicted["plan"]
    assert done["diff"] == predicted["diff"]
    assert done["kept"] == ["dns", "web"]
    by = {"auto": "pcp"}.get(method, method)
    assert [(row["family"], row["state"], row["method"], row["internal_client"], row["owner"]) for row in done["mappings"]] == [
        ("ipv6", "present", by, HOST6, "ours")
    ] * 2
    assert (done["gateway"], done["gateway_ipv6"]["address"], done["gateway_ipv6"]["wan_address_class"]) == (None, f"{ROUTER6}%eth0", "global")
    assert _open(home) == [f"{HOST6} 5353", f"{HOST6} 8443"]
    assert home.reaches(8443)
    assert not home.reaches(443)
    for check_mode in (True, False):
        again = home.module("port_mapping", method=method, mappings=[WEB, DNS], check_mode=check_mode)
        assert (again["changed"], again["plan"], again["diff"]) == (False, [], {"before": "", "after": ""})
    info = home.module("port_mapping_info", method=method)
    rows = [(row["family"], row["name"], row["owner"], row["external_port"], row["enabled"]) for row in info["mappings"] if row["family"] == "ipv6"]
    assert sorted(rows) == [("ipv6", "dns", "ours", 5353, True), ("ipv6", "web", "ours", 8443, True)]
    one = home.module("port_mapping", method=method, state="absent", mappings=[{"name": "dns", "families": ["ipv6"]}])
    assert (one["changed"], [row["state"] for row in one["mappings"]]) == (True, ["absent"])
    assert _open(home) == [f"{HOST6} 8443"]
    _gone(home, method)
    assert not home.reaches(8443)
    assert not home.module("port_mapping", method=method, state="absent")["changed"]


def test_a_low_port(home: Home6) -> None:
    _present(home, "pcp", TLS)
    assert home.reaches(443)
    _gone(home, "pcp")
    refused = home.module("port_mapping", method="upnp", mappings=[WEB, TLS])
    assert refused["failed"]
    assert "606" in refused["msg"]
    assert "from 1024 on" in refused["msg"]
    assert "switch PCP on" in refused["msg"]
    assert not refused["changed"]
    assert (_open(home), home.state_dir().exists()) == ([], False)
    # PCP is what opens it, even where UPnP would not.
    assert [row["method"] for row in _present(home, "auto", TLS)["mappings"]] == ["pcp"]
    _gone(home, "auto")


def test_upnp_where_pcp_is_off(home: Home6) -> None:
    home.silence_pcp()
    done = _present(home, "auto", WEB)
    assert [row["method"] for row in done["mappings"]] == ["upnp"]
    assert home.reaches(8443)
    assert not home.module("port_mapping", mappings=[WEB])["changed"]
    refused = home.module("port_mapping", mappings=[WEB, TLS])
    assert "606" in refused["msg"]
    assert _open(home) == [f"{HOST6} 8443"]
    _gone(home, "auto")


def test_nothing_that_opens_ports(home: Home6) -> None:
    home.stop_daemon()
    for method in ("auto", *METHODS):
        begin = time.monotonic()
        result = home.module("port_mapping", method=method, mappings=[WEB])
        assert time.monotonic() - begin < 5
        assert "opens no ports for IPv6" in result["msg"]
        assert "on its own page" in result["msg"]
        assert [row["state"] for row in result["mappings"]] == ["error"]
    assert not home.state_dir().exists()


@pytest.mark.parametrize("method", ["auto", "upnp"])
def test_both_families(home: Home6, method: str) -> None:
    done = _present(home, method, BOTH)
    assert [(row["family"], row["state"]) for row in done["mappings"]] == [("ipv4", "present"), ("ipv6", "present")]
    assert done["kept"] == ["web"]
    assert (len(home.forwards()), _open(home)) == (1, [f"{HOST6} 8443"])
    assert not home.module("port_mapping", method=method, mappings=[BOTH])["changed"]
    assert home.module("port_mapping", method=method, mappings=[{**WEB, "families": ["ipv4"]}])["changed"]
    assert (len(home.forwards()), _open(home)) == (1, [])
    _present(home, method, BOTH)
    _gone(home, method)


def test_a_forwarding_that_cannot_be_had_keeps_the_pinhole_from_being_made(home: Home6) -> None:
    home.start_daemon(["deny 8443 0.0.0.0/0 0-65535"], recorded=True)
    _camera(home)
    result = home.module("port_mapping", mappings=[WEB, {**WEB, "name": "other", "families": ["ipv4"]}])
    assert result["failed"]
    assert not result["changed"]
    assert (_open(home), home.forwards()) == ([], [])


def test_no_address_that_stays(home: Home6) -> None:
    home.run(home.host, "ip", "-6", "addr", "flush", "dev", "eth0", "scope", "global")
    home.run(home.host, "ip", "-6", "addr", "add", "fd00:77::10/64", "dev", "eth0", "nodad")
    home.run(home.host, "ip", "-6", "addr", "add", f"{PREFIX}dead/64", "dev", "eth0", "nodad", "preferred_lft", "0")
    home.run(home.host, "ip", "-6", "route", "replace", "default", "via", ROUTER6, "dev", "eth0")
    result = home.module("port_mapping", mappings=[WEB])
    assert "no global IPv6 address that stays" in result["msg"]
    assert "fd00:77::10 (ula)" in result["msg"]
    assert "(deprecated, global)" in result["msg"]


def test_the_external_port_must_be_the_port(home: Home6) -> None:
    result = home.module("port_mapping", mappings=[{**WEB, "external_port": 443}])
    assert "external_port 443 differs from port 8443" in result["msg"]
    assert _open(home) == []


def _age(home: Home6, seconds: float) -> None:
    for name in ("port_renewals.json", "port_mappings.json"):
        file = home.state_dir() / name
        data = json.loads(file.read_text())
        for row in data["mappings"]:
            for place in (row, row.get("since", {})):
                for key in {"wall", "ticks", "expires", "ends"} & set(place):
                    place[key] -= seconds
        file.write_text(json.dumps(data))


def _says(home: Home6, result: str, actions: list[str], **clock: Any) -> dict[str, Any]:
    said = home.agent("renew", "--now", **clock)
    assert (said["result"], [row["action"] for row in said["mappings"]]) == (result, actions), said["message"]
    return said


@pytest.mark.parametrize("method", METHODS)
def test_renewal(home: Home6, method: str) -> None:
    _present(home, method, WEB)
    _says(home, "unchanged", [""])
    _age(home, 43201)
    _says(home, "ok", ["half"])
    assert (_open(home), home.reaches(8443)) == ([f"{HOST6} 8443"], True)
    _says(home, "unchanged", [""])
    status = home.agent("status")["renew"]["mappings"][0]
    assert (status["family"], status["client"], status["state"]) == ("ipv6", HOST6, "held")
    assert status["left"] > 86000
    _gone(home, method)


@pytest.mark.parametrize("method", METHODS)
def test_an_open_connection_outlives_a_renewal(home: Home6, method: str) -> None:
    mapping = {**WEB, "port": 9443}
    _present(home, method, mapping)
    with inside(home.host, lambda: socket.create_server(("::", 9443), family=socket.AF_INET6)) as listener:
        caller = inside(home.internet, lambda: socket.create_connection((HOST6, 9443), 2))
        answerer, _sender = listener.accept()
        with caller, answerer:
            _age(home, 43201)
            _says(home, "ok", ["half"])
            caller.sendall(b"still here")
            answerer.settimeout(2)
            assert answerer.recv(100) == b"still here"
    _gone(home, method)


def test_leases_of_seconds_are_renewed_in_time(home: Home6) -> None:
    # By PCP the router says for how long at most.
    home.start_daemon(["min_lifetime=1", "max_lifetime=6"], recorded=True)
    _present(home, "pcp", WEB)
    end = time.monotonic() + 14
    actions = []
    while time.monotonic() < end:
        assert home.reaches(8443)
        actions += [row["action"] for row in home.agent("renew")["mappings"]]
        time.sleep(1)
    assert set(actions) == {"", "half"}
    # Without the agent it ends.
    time.sleep(8)
    assert not home.reaches(8443)


@pytest.mark.parametrize("method", METHODS)
def test_the_router_was_switched_off(home: Home6, method: str) -> None:
    _present(home, method, WEB, DNS)
    time.sleep(5)
    home.forget()
    assert not home.reaches(8443)
    assert home.agent("renew")["result"] == "retry"
    home.start_daemon(recorded=True, keep_leases=True)
    _camera(home)
    _says(home, "ok", ["restarted", "restarted"])
    assert (_open(home), home.reaches(8443)) == ([f"{HOST6} 5353", f"{HOST6} 8443"], True)
    _says(home, "unchanged", ["", ""])
    _gone(home, method)


@pytest.mark.parametrize("method", METHODS)
def test_the_daemon_restarted_and_its_rules_stayed(home: Home6, method: str) -> None:
    _present(home, method, WEB)
    time.sleep(5)
    home.start_daemon(recorded=True, keep_leases=True)
    _says(home, "ok", ["restarted"])
    assert (_open(home), home.reaches(8443)) == ([f"{HOST6} 8443"], True)
    _says(home, "unchanged", [""])
    time.sleep(5)
    home.start_daemon(recorded=True, keep_leases=True)
    _gone(home, method)


@pytest.mark.parametrize("method", METHODS)
def test_the_prefix_changed_and_the_old_address_is_still_there(home: Home6, method: str) -> None:
    _present(home, method, WEB)
    home.renumber(NEXT, keep=[HOST6])
    said = _says(home, "ok", ["address"])
    assert said["mappings"][0]["client"] == NEXT
    assert _open(home) == [f"{NEXT} 8443"]
    assert (home.reaches(8443, NEXT), home.reaches(8443)) == (True, False)
    _says(home, "unchanged", [""])
    assert not home.module("port_mapping", method=method, mappings=[WEB])["changed"]
    _gone(home, method)


@pytest.mark.parametrize("method", METHODS)
def test_the_prefix_changed_and_the_old_address_is_gone(home: Home6, method: str) -> None:
    _present(home, method, WEB)
    home.renumber(NEXT)
    done = _present(home, method, WEB)
    assert done["changed"]
    assert any(f"stays open to {HOST6}" in json.dumps(warning) for warning in done["warnings"])
    assert home.reaches(8443, NEXT)
    assert not home.module("port_mapping", method=method, mappings=[WEB])["changed"]
    gone = home.module("port_mapping", method=method, state="absent")
    assert not gone.get("failed"), gone["msg"]
    # Nobody has that address; the router would not let another one close it.
    assert _open(home) == [f"{HOST6} 8443"]
    home.renumber(HOST6)
    _present(home, method, WEB)
    assert _open(home) == [f"{HOST6} 8443"]
    _gone(home, method)


def test_the_agent_reads_the_state_of_a_host_without_ipv6(home: Home6, tmp_path: Path) -> None:
    _present(home, "upnp", {**WEB, "families": ["ipv4"]})
    for file in home.state_dir().glob("*.json"):
        data = json.loads(file.read_text())
        data["mappings"] = [{key: value for key, value in row.items() if key not in ("family", "unique_id", "abandoned")} for row in data["mappings"]]
        file.write_text(json.dumps(data))
    _says(home, "unchanged", [""])
    _gone(home, "upnp")
