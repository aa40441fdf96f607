# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules, loaded into a real kernel and judged by what visitors meet."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from namespaces import FAMILIES, STRANGER, VISITOR, Home

FOREIGN = """
table ip nat {
  chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; tcp dport 8080 counter dnat to 172.17.0.2:80; }
}
table inet mine {
  set banned { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 }; }
  chain input { type filter hook input priority -5; policy accept; ip saddr @banned drop; tcp dport 4444 counter drop; }
}
"""
PORTS = ("tcp/80", "tcp/445", "tcp/2222", "udp/5353", "udp/5354")
WEB = {"name": "web", "protocol": "tcp", "port": 80}
FILES = {"name": "files", "protocol": "tcp", "port": 445, "allow_from": [VISITOR["ipv4"], VISITOR["ipv6"]]}
NAMES = {"name": "names", "protocol": "udp", "port": 5353}
MANAGEMENT = [{"name": "ssh", "port": 2222, "sources": ["198.18.7.2/31", "2001:db8:7::2/127"]}]


def _view(home: Home, family: str) -> dict[str, tuple[str, str]]:
    return {port: (home.visit(port, family), home.visit(port, family, STRANGER)) for port in PORTS}


@pytest.mark.parametrize("family", FAMILIES)
def test_keep_limits_what_is_limited_and_nothing_else(home: Home, family: str) -> None:
    home.serve(*PORTS)
    everything = dict.fromkeys(PORTS, ("open", "open"))
    # The planted fault: without our rules a stranger gets in, so that "silent" below is our doing.
    assert _view(home, family) == everything
    home.core(services=[WEB, FILES, NAMES])
    assert _view(home, family) == {**everything, "tcp/445": ("open", "silent")}
    home.core(present=False)
    assert _view(home, family) == everything


@pytest.mark.parametrize("family", FAMILIES)
def test_deny_denies_all_but_services_and_management(home: Home, family: str) -> None:
    home.serve(*PORTS)
    home.core(inbound="deny", services=[WEB, FILES, NAMES], management=MANAGEMENT)
    shut = ("silent", "silent")
    managed = ("open", "open")
    assert _view(home, family) == {
        "tcp/80": ("open", "open"),
        "tcp/445": ("open", "silent"),
        "tcp/2222": managed,
        "udp/5353": ("open", "open"),
        "udp/5354": shut,
    }


def test_deny_leaves_the_network_working(home: Home) -> None:
    home.serve("tcp/80")
    home.core(inbound="deny", services=[WEB], management=MANAGEMENT)
    for device, side in (("lan0", home.host), ("wan0", home.visitor)):
        side("ip", "neighbour", "flush", "dev", device)
    # Neighbour discovery from zero, and an answer to a connection that the host opened.
    assert home.visit("tcp/80", "ipv6") == "open"
    server = f"import socket; s=socket.socket(socket.AF_INET6); s.settimeout(2); s.connect(('{VISITOR['ipv6']}', 9))"
    result = home.host("python3", "-c", f"try:\n {server}\nexcept ConnectionRefusedError:\n print('answered')")
    assert result.strip() == "answered"


def test_families_of_a_service(home: Home) -> None:
    home.serve(*PORTS)
    home.core(inbound="deny", services=[{**WEB, "families": ["ipv4"]}], management=MANAGEMENT)
    assert (home.visit("tcp/80", "ipv4"), home.visit("tcp/80", "ipv6")) == ("open", "silent")


def test_a_limit_closes_the_other_family_too(home: Home) -> None:
    home.serve(*PORTS)
    home.core(services=[{"name": "files", "port": 445, "families": ["ipv4"], "allow_from": [VISITOR["ipv4"]]}])
    assert (home.visit("tcp/445", "ipv4"), home.visit("tcp/445", "ipv6")) == ("open", "silent")


def test_answers_to_a_limited_port_are_not_visits(home: Home) -> None:
    home.core(services=[{"name": "wg", "protocol": "udp", "port": 51820, "allow_from": ["203.0.113.9"]}])
    # The host itself speaks from port 51820 to a stranger, who answers.
    peer = "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('%s', 7000)); s.settimeout(5); d, p = s.recvfrom(9); s.sendto(d, p)"
    arguments = ["nsenter", "-t", str(home.holders[1].pid), "-n", "python3", "-c", peer % VISITOR["ipv4"]]
    answering = subprocess.Popen(arguments)
    home.servers.append(answering)
    ask = (
        "import socket, time; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 51820)); s.settimeout(0.3)\n"
        f"for attempt in range(12):\n s.sendto(b'hello', ('{VISITOR['ipv4']}', 7000))\n"
        " try:\n  print(s.recv(9).decode()); break\n except OSError:\n  time.sleep(0.1)"
    )
    assert home.host("python3", "-c", ask).strip() == "hello"


REQUESTS = [
    {"services": [WEB]},
    {"services": [WEB, FILES, {**NAMES, "families": ["ipv6"]}]},
    {"inbound": "deny", "services": [WEB, FILES, {"name": "container", "port": 8080}], "management": MANAGEMENT},
    {
        "services": [
            {
                "name": "many",
                "port": 7,
                "allow_from": ["10.0.0.0/9", "10.128.0.0/9", "10.3.0.1", "192.0.2.0/31", "192.0.2.2", "2001:db8::/33", "2001:db8:8000::/33"],
            }
        ]
    },
    {"services": [WEB], "persist": False},
    {},
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_check_do_check_again_do_again(home: Home, request_: dict[str, Any]) -> None:
    home.nft(FOREIGN)
    before, etc = home.rules(), home.etc()
    assert home.core(check=True, **request_)["changed"]
    assert (home.rules(), home.etc()) == (before, etc)
    assert home.core(**request_)["changed"]
    applied = home.rules()
    again = home.core(check=True, **request_)
    assert not again["changed"] and not again["plan"], again["plan"]
    assert not home.core(**request_)["changed"]
    assert home.rules() == applied
    assert home.rules(without="homeserver") == before
    assert home.core(present=False)["changed"]
    assert not home.core(present=False)["changed"]
    assert (home.rules(), home.etc()) == (before, etc)


DRIFTS = {
    "a rule is gone": "flush chain inet homeserver input",
    "a rule was added": "add rule inet homeserver input tcp dport 23 accept",
    "a rule was added in front": "insert rule inet homeserver input counter accept",
    "an unknown rule was added": 'add rule inet homeserver input meta mark 7 log prefix "x" accept',
    "the policy changed": "add chain inet homeserver input { policy accept; }",
    "another chain": "add chain inet homeserver other",
    "another base chain": "add chain inet homeserver early { type filter hook input priority -300; policy drop; }",
    "a set": "add set inet homeserver s { type ipv4_addr; }",
    "asleep": "add table inet homeserver { flags dormant; }",
}


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS.keys())
def test_drift_is_found_and_repaired(home: Home, drift: str) -> None:
    request = {"inbound": "deny", "services": [WEB, FILES], "management": MANAGEMENT}
    home.core(**request)
    wanted = home.rules()
    home.nft(drift + "\n")
    found = home.core(check=True, **request)
    assert found["changed"] and (found["rules"]["added"] or found["rules"]["removed"])
    home.core(**request)
    strip = [{key: {name: value for name, value in body.items() if name != "handle"} for key, body in entry.items()} for entry in home.rules()]
    assert strip == [{key: {name: value for name, value in body.items() if name != "handle"} for key, body in entry.items()} for entry in wanted]


def test_counters_are_no_drift(home: Home) -> None:
    home.serve("tcp/80")
    home.core(services=[WEB])
    assert home.visit("tcp/80") == "open"
    assert not home.core(services=[WEB])["changed"]


def test_the_order_of_rules_is_part_of_the_policy(home: Home) -> None:
    request = {"inbound": "deny", "services": [WEB, NAMES], "management": MANAGEMENT}
    home.core(**request)
    listing = home.host("nft", "-a", "list", "chain", "inet", "homeserver", "input")
    handle = next(line.rsplit(" ", 1)[1] for line in listing.splitlines() if "tcp dport 80" in line)
    rule = next(line.split(" # ")[0].strip().replace(" packets 0 bytes 0", "") for line in listing.splitlines() if "tcp dport 80" in line)
    home.nft(f"delete rule inet homeserver input handle {handle}\nadd rule inet homeserver input {rule}\n")
    found = home.core(check=True, **request)
    assert found["changed"] and found["plan"][0]["reason"] == "only their order differs"


def test_foreign_rules_that_decide_are_named(home: Home) -> None:
    home.nft(FOREIGN)
    home.nft("table inet strict { chain input { type filter hook input priority 0; policy drop; tcp dport 80 accept; ct state established accept;\n}\n}\n")
    before = home.rules()
    answer = home.core(services=[WEB, {"name": "wg", "protocol": "udp", "port": 51820}, {"name": "app", "port": 8080, "allow_from": ["203.0.113.0/24"]}])
    assert answer["refused"] and home.rules() == before
    named = {(conflict["source"], *conflict["services"]) for conflict in answer["conflicts"] if conflict["severity"] == "refuse"}
    assert named == {("nftables table inet strict", "wg"), ("nftables table ip nat", "app")}


def test_what_is_refused_would_indeed_not_hold(home: Home) -> None:
    """The twin: with the conflicts ignored, the service is not reachable, and the limit does not limit."""
    home.serve("tcp/80", "tcp/445")
    home.nft("table inet strict { chain input { type filter hook input priority 0; policy drop;\n}\n}\n")
    home.nft("table inet homeserver { chain input { type filter hook input priority 0; policy accept; tcp dport 80 counter accept;\n}\n}\n")
    assert home.visit("tcp/80") == "silent"
    assert home.core(services=[WEB])["refused"]
    home.nft("delete table inet strict\n")
    home.nft("table ip other { chain pre { type nat hook prerouting priority dstnat; tcp dport 8445 redirect to :445;\n}\n}\n")
    limited = {"name": "files", "port": 8445, "allow_from": [VISITOR["ipv4"]]}
    home.nft("table inet homeserver { chain input { tcp dport 8445 drop;\n}\n}\n")
    assert home.visit("tcp/8445", source=STRANGER) == "open"
    assert home.core(services=[limited])["refused"]


def test_bad_input_changes_nothing(home: Home) -> None:
    before = (home.rules(), home.etc())
    for services, part in (
        ([{"name": "x", "port": 0}], "port 0"),
        ([{"name": "x", "port": 80, "allow_from": []}], "empty list"),
        ([{"name": "x", "port": 80, "allow_from": ["0.0.0.0/0"]}], "whole Internet"),
        ([{"name": "x", "port": 80, "allow_from": ["192.168.1.7/24"]}], "192.168.1.0/24"),
    ):
        assert part in home.core(services=services)["error"]
    assert "leave nobody" in home.core(inbound="deny")["error"]
    assert (home.rules(), home.etc()) == before
