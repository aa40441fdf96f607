# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks that let out everything, some things, or nothing, with the real responder outside."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.line.lines import HERE as LINE_FILES
from ansible_collections.homeserver.hardening.tests.integration.line.lines import NEEDED, OCTET, PYTHON, STUN, Line, World, run

HERE = Path(__file__).resolve().parent
HELPER = STUN[1]
NONCE = "00112233445566778899aabbccddeeff"


@pytest.fixture(scope="module")
def outside() -> Iterator[tuple[World, Any]]:
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.fail(f"these tests need root and {', '.join(NEEDED)}; missing: {', '.join(missing) or 'root'}")
    directory = Path(tempfile.mkdtemp(prefix="homeserver-egress-"))
    world = World(directory)
    runtime = directory / "run"
    try:
        world.start(serve=False)
        # What is unusual is answered as often as it is asked.
        run(world.internet, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
        started = json.loads(run(world.internet, PYTHON, str(HERE / "responder.py"), str(directory), NONCE, str(runtime)))
        yield world, started
        code = "import sys; sys.path.insert(0, sys.argv[1]); from core._probe import _responder_control as c; c.stop(sys.argv[2], sys.argv[3])"
        run(world.internet, PYTHON, "-c", code, str(directory), started["id"], str(runtime))
    finally:
        world.stop()
        shutil.rmtree(directory, ignore_errors=True)


numbers = iter(range(1, 100))


def survey(outside: tuple[World, Any], rules: str = "", redirect: int = 0, inside: str = "", root: bool = True, **options: Any) -> dict[str, Any]:
    world, started = outside
    line = Line(world, next(numbers))
    line.router()
    line.host()
    if rules:
        line.rules(line.isp, f"table inet filter {{ chain forward {{ type filter hook forward priority 0; {rules}; }}; }}")
    if redirect:
        chain = f'chain pre {{ type nat hook prerouting priority dstnat; iifname "down1" tcp dport {redirect} redirect to :3128; }}'
        line.rules(line.isp, f"table ip proxy {{ {chain}; }}")
        line.world.spawn(line.isp, PYTHON, str(LINE_FILES / "echo_server.py"), "0.0.0.0", "3128", "<html>Please sign in</html>")
        line.wait(lambda: ":3128" in run(line.isp, "ss", "-Hltn"))
    if inside:
        line.rules(line.inner, f"table inet filter {{ chain output {{ type filter hook output priority 0; {inside}; }}; }}")
    request = {"host": HELPER, "nonce": NONCE, "listeners": started["listeners"], "timeout": 1.2, "families": ["ipv4"], **options}
    user = [] if root else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    result: dict[str, Any] = json.loads(run(line.inner, *user, PYTHON, "-I", str(world.directory / "survey.py"), str(world.directory), json.dumps(request)))
    return result


@pytest.fixture(scope="module", autouse=True)
def program(outside: tuple[World, Any]) -> None:
    shutil.copy(HERE / "survey.py", outside[0].directory)
    (outside[0].directory / "survey.py").chmod(0o644)


def states(result: dict[str, Any], state: str) -> set[str]:
    return {f"{row['protocol']} {row['port']}" for row in result["ports"] if row["state"] == state}


def tunnel(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in result["tunnels"] if row["name"] == name)


def test_open_network(outside: tuple[World, Any]) -> None:
    result = survey(outside)
    assert result["verdict"] == "open", result
    assert len(states(result, "open")) == len(result["ports"]) == 17
    assert result["gre"]["state"] == "passed", result["gre"]
    assert tunnel(result, "wireguard")["ports"][0] == 51820
    assert (tunnel(result, "pptp")["state"], tunnel(result, "pptp")["recommended"]) == ("works", False)


def test_an_ordinary_user_sees_all_but_gre(outside: tuple[World, Any]) -> None:
    result = survey(outside, root=False)
    assert result["verdict"] == "open"
    assert (result["gre"]["state"], tunnel(result, "pptp")["state"]) == ("untested", "unknown")
    assert "become" in result["gre"]["reason"]


def test_what_is_dropped_and_what_is_rejected(outside: tuple[World, Any]) -> None:
    result = survey(outside, "tcp dport 25 drop; tcp dport 22 reject with icmpx admin-prohibited; ip protocol gre drop; udp dport { 51820, 500 } drop")
    assert result["verdict"] == "restricted"
    assert states(result, "dropped") == {"tcp 25", "udp 51820", "udp 500"}
    (rejected,) = [row for row in result["ports"] if row["state"] == "rejected"]
    assert (rejected["port"], rejected["by"].startswith(f"{OCTET}.1.")) == (22, True)
    assert (result["gre"]["state"], tunnel(result, "pptp")["state"]) == ("dropped", "blocked")
    assert (tunnel(result, "wireguard")["state"], tunnel(result, "wireguard")["ports"][0]) == ("works", 443)
    assert tunnel(result, "ipsec")["state"] == "blocked"


def test_no_udp(outside: tuple[World, Any]) -> None:
    result = survey(outside, "meta l4proto udp drop")
    assert tunnel(result, "wireguard")["state"] == "blocked"
    assert tunnel(result, "tls")["recommended"]


def test_transparent_proxy(outside: tuple[World, Any]) -> None:
    result = survey(outside, redirect=80)
    assert (result["verdict"], states(result, "intercepted")) == ("proxied", {"tcp 80"})


def test_captive_portal(outside: tuple[World, Any]) -> None:
    result = survey(outside, "drop", redirect=80)
    assert result["verdict"] == "captive_portal"


def test_own_firewall(outside: tuple[World, Any]) -> None:
    result = survey(outside, inside="tcp dport 25 reject with tcp reset; udp dport 53 reject")
    assert "udp 53" in states(result, "local")
    assert result["verdict"] == "restricted"


def test_a_helper_that_is_down_is_not_taken_for_a_closed_network(outside: tuple[World, Any]) -> None:
    run(outside[0].internet, "ip", "route", "add", "blackhole", f"{OCTET}.200.9.9")
    result = survey(outside, host=f"{OCTET}.200.9.9", listeners=None, tcp_ports=[22, 25], udp_ports=[500])
    assert result["verdict"] == "undetermined"
    assert {row["state"] for row in result["tunnels"] if row["name"] != "pptp"} == {"unknown"}
