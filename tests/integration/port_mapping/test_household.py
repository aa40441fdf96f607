# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a home brings with it, against the real miniupnpd: several hosts, tools that were there before, a host that leaves, and a long time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import HOST, NEIGHBOUR, ROUTER, Home
from ansible_collections.homeserver.hardening.tests.integration.port_mapping.test_renew import _age

WEB = {"name": "web", "protocol": "tcp", "external_port": 80, "port": 7080}
WG = {"name": "wg", "protocol": "udp", "port": 51820}
OTHER = "192.168.77.23"

#: Asks the router as another program would, in any bytes.
_SOAP = """
import sys, urllib.request
action, body = sys.argv[1], bytes.fromhex(sys.argv[2])
request = urllib.request.Request("http://192.168.77.1:5555/ctl/IPConn", body, {
    "Content-Type": 'text/xml; charset="utf-8"',
    "SOAPAction": '"urn:schemas-upnp-org:service:WANIPConnection:1#' + action + '"',
})
sys.stdout.write(urllib.request.urlopen(request, timeout=5).read().decode("utf-8", "replace"))
"""

_ECHO = """
import socket, sys, threading
def talk(connection):
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)
tcp = socket.create_server(("0.0.0.0", int(sys.argv[1])))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", int(sys.argv[2])))
def datagrams():
    while True:
        data, sender = udp.recvfrom(100)
        udp.sendto(data, sender)
threading.Thread(target=datagrams, daemon=True).start()
while True:
    threading.Thread(target=talk, args=(tcp.accept()[0],), daemon=True).start()
"""

_ASK_UDP = """
import socket, sys
opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
opened.settimeout(0.7)
opened.connect((sys.argv[1], int(sys.argv[2])))
opened.send(b"there?")
sys.exit(opened.recv(100) != b"there?")
"""

#: Opens a connection, and says a word each time that it is told to.
_TALK = """
import socket, sys
opened = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
opened.settimeout(2)
for word in sys.stdin:
    try:
        opened.sendall(word.encode())
        print(opened.recv(100).decode().strip(), flush=True)
    except OSError as error:
        print(error, flush=True)
"""


def ports(home: Home) -> list[str]:
    """What the router forwards, and where to."""
    return sorted(f"{line.split('dport ')[1].split()[0]} {line.split('dnat ip to ')[1].split()[0]}" for line in home.forwards())


def entries(home: Home, namespace: str | None = None) -> list[tuple[str, int, str, int, str]]:
    """What the router lists, whoever made it."""
    keys = ("protocol", "external_port", "internal_client", "internal_port", "description")
    return sorted((*(row[key] for key in keys),) for row in home.module("port_mapping_info", namespace, method="upnp")["mappings"])


def echo(home: Home) -> None:
    """Let the host answer, by TCP on 7080 and by UDP on 51820."""
    if ":51820 " not in home.run(home.host, "ss", "-Hlun"):
        home.spawn(home.host, sys.executable, "-c", _ECHO, "7080", "51820")
        deadline = time.monotonic() + 5
        while ":51820 " not in home.run(home.host, "ss", "-Hlun"):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def answers(home: Home, port: int) -> bool:
    """Ask by UDP from the Internet."""
    command = ["ip", "netns", "exec", home.internet, sys.executable, "-c", _ASK_UDP, home.wan, str(port)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def add_raw(home: Home, namespace: str, external: int, client: str, internal: int, description: bytes, lease: int = 0) -> None:
    """Make a mapping as a tool does that this collection does not know, with a description in any bytes."""
    fields = {
        "NewRemoteHost": b"",
        "NewExternalPort": str(external).encode(),
        "NewProtocol": b"TCP",
        "NewInternalPort": str(internal).encode(),
        "NewInternalClient": client.encode(),
        "NewEnabled": b"1",
        "NewPortMappingDescription": description,
        "NewLeaseDuration": str(lease).encode(),
    }
    inner = b"".join(b"<%s>%s</%s>" % (name.encode(), value, name.encode()) for name, value in fields.items())
    body = (
        b'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        b' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        b'<u:AddPortMapping xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">%s</u:AddPortMapping></s:Body></s:Envelope>' % inner
    )
    home.run(namespace, sys.executable, "-c", _SOAP, "AddPortMapping", body.hex())


@pytest.fixture
def both(home: Home) -> Home:
    home.start_daemon(recorded=True)
    return home


# ---- two hosts --------------------------------------------------------------------------------------------------------


@contextmanager
def speaking_only(home: Home, method: str) -> Iterator[None]:
    """Let the router speak one protocol alone: UPnP is off, and what has the version of the other one in its first byte is dropped."""
    home.start_daemon(recorded=True, upnp=False)
    dropped = {"pcp": 0, "natpmp": 2}[method]
    rules = f"table inet only {{\nchain input {{\ntype filter hook input priority -10;\nudp dport 5351 @th,64,8 {dropped} drop\n}}\n}}\n"
    home.run(home.router, "nft", "-f", "-", text=rules)
    try:
        yield
    finally:
        home.run(home.router, "nft", "delete", "table", "inet", "only")


@pytest.mark.parametrize("asked", ["auto", "same"])
@pytest.mark.parametrize("method", ["pcp", "natpmp"])
def test_the_second_of_two_hosts_is_refused_by_a_router_that_speaks_one_protocol_alone(home: Home, method: str, asked: str) -> None:
    options = {"method": method if asked == "same" else "auto", "timeout": 0.8}
    with speaking_only(home, method):
        other = {"pcp": "natpmp", "natpmp": "pcp"}[method]
        assert not home.module("port_mapping_info", method=other, timeout=0.8)["available"]
        assert not home.module("port_mapping_info", method="upnp", timeout=0.8)["available"]
        first = home.module("port_mapping", home.neighbour, mappings=[WEB], **options)
        assert [(row["method"], row["state"]) for row in first["mappings"]] == [(method, "present")]
        before = home.forwards()
        assert len(before) == 1
        late = home.module("port_mapping", mappings=[WG, WEB], **options)
        assert late["failed"]
        assert not late["changed"]
        assert "owner unknown" in late["msg"]
        # The one that was refused, and it alone.
        assert [row["error"] is None for row in late["mappings"]] == [True, False]
        if method == "natpmp":
            assert "which was given back" in late["msg"]
        # Also what was granted instead, and what had been made before it, is gone again.
        assert home.forwards() == before
        assert not (home.state_dir() / "port_mappings.json").exists()
        assert home.module("port_mapping_info", **options)["mappings"] == []
        # What was refused has not touched the first one, which is still its own to remove.
        assert home.module("port_mapping", state="absent", **options)["changed"] is False
        assert home.forwards() == before
        assert home.module("port_mapping", home.neighbour, state="absent", **options)["changed"]
        assert home.module("port_mapping", mappings=[WEB], **options)["changed"]
        assert home.module("port_mapping", state="absent", **options)["changed"]
        assert home.forwards() == []


# ---- what other tools have made ---------------------------------------------------------------------------------------

#: As such tools leave it: nothing, their name, a name in UTF-8, and one in the encoding of the Windows of its time.
_BY_TOOLS = {
    "empty": b"",
    "upnpcj": b"UPnPCJ",
    "kaihokun": "\u958b\u653e\u304f\u3093".encode(),
    "kaihokun_sjis": "\u958b\u653e\u304f\u3093".encode("shift_jis"),
    "blanks": b"   ",
}


@pytest.mark.parametrize("tool", _BY_TOOLS)
@pytest.mark.parametrize("recorded", [False, True], ids=["upnp", "pcp"])
def test_what_a_tool_made_for_this_host_is_adopted_when_told_and_given_back(home: Home, tool: str, recorded: bool) -> None:
    home.start_daemon(recorded=recorded)
    echo(home)
    add_raw(home, home.host, 80, HOST, 7080, _BY_TOOLS[tool])
    add_raw(home, home.neighbour, 81, NEIGHBOUR, 81, _BY_TOOLS[tool])
    listed = sorted(home.module("port_mapping_info", method="upnp")["mappings"], key=lambda row: row["external_port"])
    assert [(row["external_port"], row["owner"], row["name"]) for row in listed] == [(80, "untagged_ours", None), (81, "foreign", None)]
    original = {key: listed[0][key] for key in ("protocol", "external_port", "internal_client", "internal_port", "description")}
    before = entries(home)
    refused = home.module("port_mapping", mappings=[WEB])
    assert [row["state"] for row in refused["mappings"]] == ["adoptable"]
    assert "adopt: true" in refused["msg"]
    predicted = home.module("port_mapping", mappings=[WEB], adopt=True, check_mode=True)
    assert [change["action"] for change in predicted["plan"]] == ["update"]
    assert entries(home) == before
    adopted = home.module("port_mapping", mappings=[WEB], adopt=True)
    assert not adopted.get("failed"), adopted["msg"]
    assert adopted["plan"] == predicted["plan"]
    assert [(row["state"], row["owner"]) for row in adopted["mappings"]] == [("present", "ours")]
    assert not home.module("port_mapping", mappings=[WEB])["changed"]
    assert home.connects(80)
    # The neighbour's, with the same description, is not ours to take.
    theirs = home.module("port_mapping", mappings=[{**WEB, "external_port": 81}], adopt=True)
    assert [row["state"] for row in theirs["mappings"]] == ["foreign"]
    # And back: it leads here as it did, under the name that it had, as far as that can be read: what is no UTF-8 stays unreadable.
    assert home.module("port_mapping", state="absent", restore=[original])["changed"]
    assert entries(home) == before
    assert home.connects(80)
    assert not home.module("port_mapping", state="absent")["changed"]
    assert entries(home) == before


# ---- the host leaves --------------------------------------------------------------------------------------------------


def _household(home: Home) -> list[tuple[str, int, str, int, str]]:
    """Let others map what looks like ours in one way or another; return it."""
    home.upnpc(home.neighbour, "-e", "camera", "-a", NEIGHBOUR, "81", "81", "tcp", "3600")
    home.upnpc(home.neighbour, "-e", "hs:00000000:web", "-a", NEIGHBOUR, "82", "82", "tcp", "3600")
    home.upnpc(home.neighbour, "-e", "web", "-a", NEIGHBOUR, "7080", "8083", "tcp", "3600")
    home.run(home.neighbour, "natpmpc", "-g", ROUTER, "-a", "84", "84", "udp", "3600")
    home.upnpc(home.host, "-e", "hs", "-a", HOST, "6881", "6881", "udp", "3600")
    home.upnpc(home.host, "-e", "old tool", "-a", HOST, "7080", "8085", "tcp", "3600")
    home.run(home.host, "natpmpc", "-g", ROUTER, "-a", "86", "86", "tcp", "3600")
    assert home.module("port_mapping", home.neighbour, mappings=[{**WEB, "external_port": 87}])["changed"]
    found = entries(home)
    assert len(found) == 8
    return found


def _map_by_all(home: Home) -> None:
    for number, (method, protocol) in enumerate((method, protocol) for method in ("upnp", "pcp", "natpmp") for protocol in ("tcp", "udp")):
        row = {"name": f"s{number}", "protocol": protocol, "external_port": 9000 + number, "port": 7000 + number}
        done = home.module("port_mapping", method=method, mappings=[row])
        assert not done.get("failed"), done["msg"]


def test_the_sweep_takes_all_of_ours_and_nothing_else(both: Home) -> None:
    others = _household(both)
    _map_by_all(both)
    assert len(both.forwards()) == 8 + 6
    predicted = both.module("port_mapping", state="absent", check_mode=True)
    assert len(predicted["plan"]) == 6
    assert len(both.forwards()) == 8 + 6
    gone = both.module("port_mapping", state="absent")
    assert not gone.get("failed"), gone.get("msg")
    assert sorted((row["name"], row["state"]) for row in gone["mappings"]) == [(f"s{number}", "absent") for number in range(6)]
    # What leads here and is not ours is said, and left.
    assert sorted(row["external_port"] for row in gone["left"]) == [86, 6881, 8085]
    assert gone["kept"] == []
    assert entries(both) == others
    assert len(both.forwards()) == 8
    assert not both.state_dir().exists()
    assert not both.module("port_mapping", state="absent")["changed"]


def test_the_sweep_of_a_host_whose_address_changed(both: Home) -> None:
    others = _household(both)
    done = both.module("port_mapping", mappings=[WEB, WG])
    assert not done.get("failed"), done["msg"]
    both.move(OTHER)
    try:
        gone = both.module("port_mapping", state="absent")
        assert not gone.get("failed"), gone.get("msg")
        assert sorted((row["name"], row["state"]) for row in gone["mappings"]) == [("web", "absent"), ("wg", "absent")]
        assert entries(both, both.neighbour) == others
    finally:
        both.move(HOST)
    assert not both.state_dir().exists()


# ---- what goes on after a removal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["upnp", "pcp", "natpmp"])
def test_an_open_connection_outlives_its_mapping_and_no_new_one_comes_in(both: Home, method: str) -> None:
    """The router's doing, and no promise of ours: docs/port-mapping.md says so. What is promised is that nothing new comes in."""
    echo(both)
    assert both.module("port_mapping", method=method, mappings=[WEB, WG])["changed"]
    assert both.connects(80)
    assert answers(both, 51820)
    command = ["ip", "netns", "exec", both.internet, sys.executable, "-c", _TALK, both.wan, "80"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as talk:
        assert talk.stdin is not None
        assert talk.stdout is not None
        try:
            talk.stdin.write("before\n")
            assert talk.stdout.readline() == "before\n"
            gone = both.module("port_mapping", method=method, state="absent")
            assert [row["state"] for row in gone["mappings"]] == ["absent", "absent"]
            assert both.forwards() == []
            talk.stdin.write("after\n")
            assert talk.stdout.readline() == "after\n"
            assert not both.connects(80)
            # From another source port, so that it is no part of the earlier exchange.
            assert not answers(both, 51820)
        finally:
            talk.kill()
    assert not both.connects(80)


# ---- a long time ------------------------------------------------------------------------------------------------------


def _camera(home: Home) -> None:
    home.upnpc(home.neighbour, "-e", "camera", "-a", NEIGHBOUR, "81", "81", "tcp", "7200")


def _restart(home: Home) -> None:
    home.start_daemon(recorded=True, keep_leases=True)


def _reboot(home: Home) -> None:
    home.forget()
    _restart(home)
    _camera(home)


def _outage(home: Home) -> None:
    home.forget()
    assert home.agent("renew", "--now")["result"] == "retry"
    _restart(home)
    _camera(home)


#: What may happen to a home in a day, and by which clock the agent runs then.
_EVENTS: list[tuple[str, Callable[[Home], None], dict[str, Any]]] = [
    ("nothing", lambda home: None, {}),
    ("the daemon restarts", _restart, {}),
    ("the router is switched off and on", _reboot, {}),
    ("the router is away for a while", _outage, {}),
    ("the address changes", lambda home: home.move(OTHER), {}),
    ("the clock goes forward", lambda home: None, {"wall": 365 * 86400.0}),
    ("the clock goes back", lambda home: None, {"wall": -365 * 86400.0}),
    ("the host boots with a wrong clock", lambda home: None, {"wall": -365 * 86400.0, "ticks": -1e6, "boot": "another"}),
    ("the address changes again", lambda home: home.move(HOST), {}),
    ("the daemon restarts once more", _restart, {}),
]


@pytest.mark.parametrize("method", ["auto", "upnp"])
def test_after_all_that_may_happen_it_is_there_and_forwards_and_nothing_else_is(both: Home, method: str) -> None:
    echo(both)
    _camera(both)
    done = both.module("port_mapping", method=method, mappings=[WEB, WG])
    assert not done.get("failed"), done["msg"]
    client = HOST
    try:
        for name, happen, clock in _EVENTS:
            # A router that was up for longer than clocks may differ can be seen to restart.
            time.sleep(5 if "restarts" in name or "router" in name else 0)
            happen(both)
            client = {"the address changes": OTHER, "the address changes again": HOST}.get(name, client)
            said = both.agent("renew", "--now", **clock)
            assert said["result"] in ("ok", "unchanged"), (name, said["message"])
            assert [row["state"] for row in said["mappings"]] == ["held", "held"], name
            assert ports(both) == [f"51820 {client}:51820", f"80 {client}:7080", f"81 {NEIGHBOUR}:81"], name
            assert both.connects(80), name
            assert answers(both, 51820), name
            assert ("tcp", 81, NEIGHBOUR, 81, "camera") in entries(both, both.neighbour), name
            kept = json.loads((both.state_dir() / "port_renewals.json").read_text())["mappings"]
            assert [row["name"] for row in kept] == ["web", "wg"], name
    finally:
        if client != HOST:
            both.move(HOST)
    gone = both.module("port_mapping", method=method, state="absent")
    assert not gone.get("failed"), gone.get("msg")
    assert ports(both) == [f"81 {NEIGHBOUR}:81"]
    assert not both.connects(80)
    assert not answers(both, 51820)
    assert not both.state_dir().exists()


@pytest.mark.parametrize("method", ["auto", "pcp", "natpmp"])
def test_a_day_with_leases_of_four_hours(home: Home, method: str) -> None:
    """Between two runs of the agent an hour passes for the router's leases and for what the host wrote down. For UPnP see test_renew."""
    uptime = ["system_uptime=yes"]
    home.start_daemon(uptime, recorded=True)
    echo(home)
    _camera(home)
    mappings = [{**WEB, "lease": 14400}, {**WG, "lease": 14400}]
    done = home.module("port_mapping", method=method, mappings=mappings)
    assert not done.get("failed"), done["msg"]
    actions: list[list[str]] = []
    for hour in range(24):
        home.let_pass(3600)
        # Read anew by a daemon whose epoch is the machine's, so that nothing but the leases has changed.
        home.start_daemon(uptime, recorded=True, keep_leases=True)
        _camera(home)
        _age(home, 3600)
        said = home.agent("renew")
        assert said["result"] in ("ok", "unchanged"), (hour, said["message"])
        actions.append([row["action"] for row in said["mappings"]])
        assert ports(home) == [f"51820 {HOST}:51820", f"80 {HOST}:7080", f"81 {NEIGHBOUR}:81"], hour
        assert home.connects(80), hour
        assert answers(home, 51820), hour
    # Each time that half of it was over, and never too late: then it would have been missing.
    assert {action for row in actions for action in row} == {"", "half"}
    assert [sum(row[index] == "half" for row in actions) for index in (0, 1)] == [12, 12]
    assert home.module("port_mapping", method=method, state="absent")["kept"] == []
    assert ports(home) == [f"81 {NEIGHBOUR}:81"]
    assert not home.connects(80)
    assert not home.state_dir().exists()
