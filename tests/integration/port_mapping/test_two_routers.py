# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two routers of one home, one behind the other, both real and both willing to map ports."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import COMMON, GLOBAL_WAN, HOST, PRIVATE_WAN, ROUTER, RULES, Home, started

WEB = {"name": "web", "protocol": "tcp", "external_port": 80, "port": 8080}
OUTER = "10.99.0.1"
_OUTER_RULES = "enable_natpmp=yes\nenable_upnp=yes\nsecure_mode=yes\nsystem_uptime=no\nallow 1-65535 10.99.0.0/24 1-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n"


class TwoRouters(Home):
    """A home whose router is behind another one. What was its Internet is the outer router, and the Internet is behind that."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, wan=PRIVATE_WAN)
        self.far = f"{self.internet}-far"
        self._outer_daemon: int | None = None

    def start(self) -> None:
        super().start()
        outer = self.internet
        subprocess.run(["ip", "netns", "add", self.far], check=True)
        for command in (
            *("link set eth0 down", "link set eth0 name lan0", f"addr replace {OUTER}/24 dev lan0", "link set lan0 up"),
            *(f"link add wan0 type veth peer name eth0 netns {self.far}", f"addr add {GLOBAL_WAN}/24 dev wan0", "link set wan0 up"),
        ):
            self.run(outer, "ip", *command.split())
        for command in ("addr add 44.128.1.1/24 dev eth0", "link set lo up", "link set eth0 up"):
            self.run(self.far, "ip", *command.split())
        self.run(outer, "ip", "route", "replace", "default", "via", "44.128.1.1")
        self.run(outer, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.run(outer, "nft", "-f", "-", text=(RULES % "drop").replace("192.168.77.0", "10.99.0.0"))
        directory = self.directory / "outer"
        directory.mkdir()
        (directory / "leases").write_text("")
        (directory / "conf").write_text(COMMON.format(directory=directory) + _OUTER_RULES)
        self.run(outer, "miniupnpd", "-f", str(directory / "conf"), "-P", str(directory / "pid"))
        deadline = time.monotonic() + 5
        while ":5555" not in self.run(outer, "ss", "-Hltn") or not (directory / "pid").read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self._outer_daemon = int((directory / "pid").read_text())

    def stop(self) -> None:
        if self._outer_daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._outer_daemon, signal.SIGKILL)
        super().stop()
        subprocess.run(["ip", "netns", "del", self.far], capture_output=True, check=False)

    def reached(self, port: int) -> bool:
        """Ask the outer router's address from the Internet."""
        code = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.7).close()"
        arguments = ["ip", "netns", "exec", self.far, sys.executable, "-c", code, GLOBAL_WAN, str(port)]
        return subprocess.run(arguments, capture_output=True, check=False).returncode == 0

    def outer(self, *arguments: str) -> str:
        """Speak to the outer router as the inner one may."""
        return self.run(self.router, "upnpc", "-u", f"http://{OUTER}:5555/rootDesc.xml", *arguments, check=False)

    def outer_forwards(self) -> Sequence[str]:
        return [line for line in self.run(self.internet, "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd").splitlines() if "dnat" in line]


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRouters]:
    yield from started(TwoRouters(tmp_path_factory.mktemp("two")))


@pytest.fixture
def two(_shared: TwoRouters) -> Iterator[TwoRouters]:
    """Both routers, with nothing mapped in either."""
    yield _shared
    _shared.outer("-d", "80", "tcp")
    assert _shared.outer_forwards() == []


@pytest.mark.parametrize("method", ["auto", "upnp", "pcp", "natpmp"])
def test_the_inner_one_is_asked_and_its_private_address_is_refused_before_anything_is_written(two: TwoRouters, method: str) -> None:
    two.start_daemon(recorded=True)
    info = two.module("port_mapping_info", method=method)
    assert info["available"], info["reason"]
    assert info["gateway"]["address"] == ROUTER
    assert info["gateway"]["wan_address"] in (None, PRIVATE_WAN)
    result = two.module("port_mapping", method=method, mappings=[WEB])
    assert result["failed"]
    assert not result["changed"]
    assert "nothing was changed" in result["msg"]
    # What is the matter, and both ways out: the provider, or the other router.
    assert "no WAN address" in result["msg"] or f"{PRIVATE_WAN}, of the class private" in result["msg"]
    assert "Ask the provider for a global address" in result["msg"]
    assert "if another router in front of this one forwards everything, set require_global_wan to false" in result["msg"]
    assert two.forwards() == []
    assert two.outer_forwards() == []


@pytest.mark.parametrize("method", ["auto", "upnp", "pcp", "natpmp"])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_the_outer_one_cannot_be_named_from_behind_the_inner_one(two: TwoRouters, method: str, state: str) -> None:
    """It could be reached, and would map to the inner router instead of to this host: so no packet is sent."""
    two.start_daemon(recorded=True)
    assert "is redirected" in two.outer("-e", "theirs", "-a", PRIVATE_WAN, "80", "80", "tcp", "3600")
    # It answers this host, too.
    assert "theirs" in two.run(two.host, "upnpc", "-u", f"http://{OUTER}:5555/rootDesc.xml", "-l")
    before = two.outer_forwards()
    begin = time.monotonic()
    result = two.module("port_mapping", method=method, gateway=OUTER, state=state, mappings=[WEB])
    assert time.monotonic() - begin < 3
    assert result["failed"]
    assert not result["changed"]
    assert f"gateway {OUTER} is not in a network that this host is connected to (eth0 (192.168.77.0/24)" in result["msg"]
    assert "port mappings can be asked for from inside only" in result["msg"]
    assert two.outer_forwards() == before
    assert two.forwards() == []


def test_its_description_cannot_be_named_either(two: TwoRouters) -> None:
    two.start_daemon(recorded=True)
    location = f"http://{OUTER}:5555/rootDesc.xml"
    for module in ("port_mapping", "port_mapping_info"):
        result = two.module(module, gateway=location, **({"mappings": [WEB]} if module == "port_mapping" else {}))
        assert result["failed"]
        assert f"gateway {location} is not in a network that this host is connected to" in result["msg"]
    assert two.outer_forwards() == []


@pytest.mark.parametrize("method", ["upnp", "pcp", "natpmp"])
def test_with_a_forward_in_each_the_host_is_reached_and_with_one_it_is_not(two: TwoRouters, method: str) -> None:
    # Who runs the inner router has told it the address of the outer one.
    two.start_daemon([f"ext_ip={GLOBAL_WAN}"], recorded=True)
    if ":8080 " not in two.run(two.host, "ss", "-Hltn"):
        two.listen(8080)
    done = two.module("port_mapping", method=method, mappings=[WEB])
    assert not done.get("failed"), done["msg"]
    assert done["gateway"]["wan_address"] == GLOBAL_WAN
    assert [row["internal_client"] for row in done["mappings"]] == [HOST]
    # A mapping that the router lists is no proof, as ever.
    assert len(two.forwards()) == 1
    assert two.outer_forwards() == []
    assert not two.reached(80)
    two.outer("-e", "to the inner router", "-a", PRIVATE_WAN, "80", "80", "tcp", "3600")
    assert two.reached(80)
    gone = two.module("port_mapping", method=method, state="absent")
    assert gone["changed"]
    assert not two.reached(80)
    # Ours is gone, and the outer router's stays as it was.
    assert two.forwards() == []
    assert len(two.outer_forwards()) == 1
