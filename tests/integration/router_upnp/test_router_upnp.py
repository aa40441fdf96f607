# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real miniupnpd, started without a unit, switched off and on; and what its router forwards meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import HOST, Home, started

#: Says what it hears, for as long as the connection lives.
_ECHO = """
import socket, sys, threading
def answer(one):
    while data := one.recv(100):
        one.sendall(data)
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""
#: Connects, and says for each line that it reads whether it came back.
_CALL = """
import socket, sys
one = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
one.settimeout(1.5)
print("connected", flush=True)
for line in sys.stdin:
    try:
        one.sendall(line.encode())
        print("echo" if one.recv(100) else "end", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    for one in started(Home(tmp_path)):
        (tmp_path / f"id-{one.router}").write_text(f"{uuid.uuid4().hex}\n")
        one.start_daemon(recorded=True)
        one.spawn(one.host, sys.executable, "-c", _ECHO, "8080")
        deadline = time.monotonic() + 5
        while ":8080 " not in one.run(one.host, "ss", "-Hltn") and time.monotonic() < deadline:
            time.sleep(0.05)
        one.upnpc(one.host, "-e", "my server", "-a", HOST, "8080", "8443", "tcp")
        one.upnpc(one.neighbour, "-e", "camera", "-r", "80", "9999", "udp")
        assert len(one.forwards()) == 2
        assert one.connects(8443)
        yield one


def options(home: Home, **changes: Any) -> dict[str, Any]:
    """There is a systemd on the machine that runs this, but no unit for this daemon."""
    start = ["miniupnpd", "-f", str(home.directory / "miniupnpd.conf"), "-P", str(home.directory / "miniupnpd.pid")]
    return {"driver": "linux", "unit": "", "configuration": str(home.directory / "miniupnpd.conf"), "start_command": start, **changes}


def call(home: Home) -> subprocess.Popen[str]:
    """Open a connection from the Internet that goes on."""
    arguments = ["ip", "netns", "exec", home.internet, sys.executable, "-c", _CALL, home.wan, "8443"]
    one = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert one.stdout is not None
    assert one.stdout.readline().strip() == "connected"
    return one


def says(one: subprocess.Popen[str]) -> str:
    assert one.stdin is not None and one.stdout is not None
    one.stdin.write("still there?\n")
    one.stdin.flush()
    return one.stdout.readline().strip()


@pytest.mark.parametrize("end_connections", [False, True])
def test_check_do_again_and_back(home, end_connections):
    line = call(home)
    try:
        assert says(line) == "echo"
        given = options(home, end_connections=end_connections)
        check = home.module("router_upnp", home.router, True, **given)
        assert check["changed"] and len(check["rules_left"]) == len(check["rules"]) >= 4
        assert home.connects(8443)

        done = home.module("router_upnp", home.router, **given)
        assert done["changed"] and done["plan"] == check["plan"]
        assert done["rules_left"] == [] and done["leases_left"] == 0 and not done["daemon"]["running"]
        assert {(row["protocol"], row["external_port"], row["internal_client"], row["internal_port"]) for row in done["mappings"]} == {
            ("tcp", 8443, HOST, 8080),
            ("udp", 9999, "192.168.77.11", 80),
        }
        # Those that have just ended are still in the kernel's table, and count.
        assert (done["connections_ended"] > 0) is end_connections
        assert not home.connects(8443)
        assert home.forwards() == []
        # A connection that is there goes on, unless it is ended.
        assert (says(line) == "echo") is not end_connections

        again = home.module("router_upnp", home.router, **given)
        assert not again["changed"] and again["plan"] == []

        back = home.module("router_upnp", home.router, **{**given, "state": "restored"})
        assert back["changed"] and back["daemon"]["running"]
        assert not home.module("router_upnp", home.router, **{**given, "state": "restored"})["changed"]
        assert not home.state_dir(home.router).exists()
        # What was mapped does not come back by itself, and can be asked for again.
        assert not home.connects(8443)
        home.upnpc(home.host, "-e", "my server", "-a", HOST, "8080", "8443", "tcp")
        assert home.connects(8443)
    finally:
        line.kill()
        line.wait()
        home.module("router_upnp", home.router, **options(home))


def test_a_daemon_that_was_killed_leaves_its_rules_and_they_are_taken_away(home):
    home.stop_daemon()
    assert home.connects(8443)
    done = home.module("router_upnp", home.router, **options(home))
    assert {change["kind"] for change in done["plan"]} == {"lease_file", "nft_chain"}
    assert done["rules_left"] == []
    assert not home.connects(8443)


def test_rules_that_shall_stay_stay_and_are_listed(home):
    done = home.module("router_upnp", home.router, **options(home, keep_rules=True))
    assert {row["port"] for row in done["rules_left"] if row["client_port"]} == {8443, 9999}
    assert home.connects(8443)
    assert "open from the Internet" in json.dumps(done["warnings"])


def test_chains_of_another_table_are_not_looked_at_in_vain(home):
    refused = home.module("router_upnp", home.router, **options(home, table="inet other"))
    assert refused["failed"] and "inet filter prerouting_miniupnpd" in refused["msg"] and "Nothing was changed" in refused["msg"]
    assert home.connects(8443)
    home.stop_daemon()


def test_another_host_is_no_router(home):
    """It sees the process of the daemon, which serves another network."""
    refused = home.module("router_upnp", home.neighbour, **options(home))
    assert refused["failed"] and "it is not the router" in refused["msg"]
    assert home.connects(8443)
    home.stop_daemon()
