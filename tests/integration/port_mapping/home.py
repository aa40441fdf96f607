# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A home in network namespaces: two hosts, a router with the real miniupnpd, and the Internet behind it.

Needs root, iproute2, nftables and miniupnpd with its nftables backend. Nothing leaves the namespaces.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROUTER, HOST, NEIGHBOUR = "192.168.77.1", "192.168.77.10", "192.168.77.11"
GLOBAL_WAN, PRIVATE_WAN = "44.128.1.2", "10.99.0.2"
NEEDED = ("ip", "nft", "miniupnpd", "upnpc", "natpmpc")

_counter = itertools.count(1)

HomeT = TypeVar("HomeT", bound="Home")

#: Of a router. What its input chain does with the rest is filled in.
RULES = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy %s;
    iif "lo" accept
    ct state established,related accept
    iifname "lan0" accept
    meta l4proto { icmp, icmpv6 } accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan0" oifname "wan0" accept
    meta l4proto icmpv6 accept
    jump miniupnpd
  }
  chain miniupnpd { }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    jump prerouting_miniupnpd
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    jump postrouting_miniupnpd
    oifname "wan0" ip saddr 192.168.77.0/24 masquerade
  }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
}
"""

#: Of miniupnpd, what does not differ from test to test.
COMMON = """
ext_ifname=wan0
listening_ip=lan0
http_port=5555
notify_interval=60
clean_ruleset_interval=0
uuid=c0ffee00-fbcf-46f4-8107-f20c8955b43f
lease_file={directory}/leases
presentation_url=
upnp_table_name=filter
upnp_nat_table_name=filter
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
"""

_CONFIGURATION = (
    COMMON
    + """enable_natpmp={recorded}
enable_upnp={upnp}
secure_mode=yes
{extra}
allow {first_port}-65535 192.168.77.0/24 1-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
)

#: Each host has an id of its own; the mount is seen by that one process only.
_MACHINE_ID = 'mount --bind "$1" /etc/machine-id; shift; exec "$@"'

_RUNNER = """
import importlib, json, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module("ansible_collections.homeserver.hardening.plugins.modules." + sys.argv[1]).main()
"""

#: Runs the agent with a clock that is set by the test: seconds to add to the time of day, to the time since the boot, and the boot itself.
_AGENT = """
import dataclasses, importlib, sys
base = "ansible_collections.homeserver.hardening.plugins.module_utils."
moments = importlib.import_module(base + "_portmap._moment")
wall, ticks, boot = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
real = moments.now
def now():
    true = real()
    return dataclasses.replace(true, wall=true.wall + wall, ticks=true.ticks + ticks, boot=boot or true.boot)
moments.now = now
sys.exit(importlib.import_module(base + "_agent._cli").main(sys.argv[4:]))
"""


def started(made: HomeT) -> Iterator[HomeT]:
    """Start a home for as long as a fixture lasts."""
    # A test that cannot run is a test that failed: skipped tests are not looked at.
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.fail(f"these tests need root and {', '.join(NEEDED)}; missing: {', '.join(missing) or 'root'}")
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Home:
    """The namespaces. C(stop) removes them and every process that was started in them."""

    def __init__(self, directory: Path, wan: str = GLOBAL_WAN) -> None:
        self.directory = directory
        self.wan = wan
        prefix = f"pm-{os.getpid()}-{next(_counter)}"
        self.host, self.neighbour, self.router, self.internet = (f"{prefix}-{part}" for part in ("host", "near", "rtr", "inet"))
        self._children: list[subprocess.Popen[bytes]] = []
        self._daemon: int | None = None

    def start(self) -> None:
        """Make the namespaces and their links."""
        wan_net = self.wan.rpartition(".")[0]
        for name in (self.host, self.neighbour):
            (self.directory / f"id-{name}").write_text(f"{uuid.uuid4().hex}\n")
        lines = [f"netns add {name}" for name in (self.host, self.neighbour, self.router, self.internet)]
        batch(lines)
        batch(["link set lo up", "link add lan0 type bridge"], self.router)
        for index, (name, address) in enumerate(((self.host, HOST), (self.neighbour, NEIGHBOUR))):
            batch([f"link add eth0 netns {name} type veth peer name lanp{index} netns {self.router}"])
            batch([f"link set lanp{index} master lan0 up"], self.router)
            batch(["link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up", f"route add default via {ROUTER}"], name)
        batch([f"link add wan0 netns {self.router} type veth peer name eth0 netns {self.internet}"])
        batch([f"addr add {wan_net}.1/24 dev eth0", "link set lo up", "link set eth0 up"], self.internet)
        batch(
            [
                *(f"addr add {ROUTER}/24 dev lan0", f"addr add {self.wan}/24 dev wan0"),
                *("link set lan0 up", "link set wan0 up", f"route add default via {wan_net}.1"),
            ],
            self.router,
        )
        self.run(self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        # Where the kernel filters bridged packets, the router's rules would come between two hosts of the LAN.
        self.run(self.router, "sysctl", "-eqw", "net.bridge.bridge-nf-call-iptables=0", check=False)
        self.run(self.router, "nft", "-f", "-", text=RULES % "drop")

    def stop(self) -> None:
        """Remove everything."""
        self.stop_daemon()
        self.end_children()
        for name in (self.host, self.neighbour, self.router, self.internet):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def end_children(self) -> None:
        """End what was left running, so that no test finds the servers of an earlier one."""
        for child in self._children:
            child.kill()
            child.wait()
        self._children.clear()

    def start_daemon(self, extra: Sequence[str] = (), first_port: int = 1, keep_leases: bool = False, recorded: bool = False, upnp: bool = True) -> None:
        """Start miniupnpd on the router, with nothing mapped."""
        self.stop_daemon()
        if not keep_leases:
            self.forget()
            for name in (self.host, self.neighbour):
                shutil.rmtree(self.state_dir(name), ignore_errors=True)
        if not any(line.startswith("system_uptime") for line in extra):
            extra = ["system_uptime=no", *extra]
        text = _CONFIGURATION.format(directory=self.directory, extra="\n".join(extra), first_port=first_port, **_yes(recorded=recorded, upnp=upnp))
        self.start_configured(text, upnp)

    def start_configured(self, text: str, upnp: bool) -> None:
        """Start miniupnpd with a configuration of one's own."""
        configuration, pid_file = self.directory / "miniupnpd.conf", self.directory / "miniupnpd.pid"
        configuration.write_text(text)
        pid_file.unlink(missing_ok=True)
        self.run(self.router, "miniupnpd", "-f", str(configuration), "-P", str(pid_file))
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if pid_file.exists() and pid_file.read_text().strip() and (not upnp or ":5555" in self.run(self.router, "ss", "-Hltn")):
                self._daemon = int(pid_file.read_text())
                return
            time.sleep(0.02)
        raise RuntimeError("miniupnpd did not start")

    def stop_daemon(self) -> None:
        """End miniupnpd; its rules stay."""
        if self._daemon is None:
            return
        # It takes two seconds to end by itself, and its rules stay either way.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._daemon, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while _runs(self._daemon) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._daemon = None

    def run(self, namespace: str, *command: str, text: str | None = None, check: bool = True) -> str:
        """Run a command in a namespace and return its output."""
        arguments = ["ip", "netns", "exec", namespace, *command]
        done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False, errors="replace", timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def spawn(self, namespace: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on running."""
        child = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._children.append(child)
        return child

    def module(self, name: str, namespace: str | None = None, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        """Run a module as Ansible would, on the host unless said otherwise."""
        result: dict[str, Any] = json.loads(self.process(name, namespace, check_mode, **options).stdout)
        return result

    def process(self, name: str, namespace: str | None = None, check_mode: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a module and return its process, which is over."""
        namespace = namespace or self.host
        arguments = {"_ansible_check_mode": check_mode, "_ansible_diff": True, "state_dir": str(self.state_dir(namespace)), **options}
        return self._process(name, namespace, arguments)

    def call(self, name: str, namespace: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Run a module with these arguments and no others."""
        result: dict[str, Any] = json.loads(self._process(name, namespace, arguments).stdout)
        return result

    def _process(self, name: str, namespace: str, arguments: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", namespace, "sh", "-ec", _MACHINE_ID, "sh", str(self.directory / f"id-{namespace}")]
        command += [sys.executable, "-c", _RUNNER, name]
        given = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, errors="replace", timeout=60)

    def agent(self, *arguments: str, wall: float = 0, ticks: float = 0, boot: str = "") -> dict[str, Any]:
        """Run the agent on the host as its timer would, by a clock that may be wrong."""
        command = ["sh", "-ec", _MACHINE_ID, "sh", str(self.directory / f"id-{self.host}"), sys.executable, "-c", _AGENT, str(wall), str(ticks), boot]
        output = self.run(self.host, *command, *arguments, "--json", "--state-dir", str(self.state_dir()), check=False)
        result: dict[str, Any] = json.loads(output)
        return result

    def move(self, address: str) -> None:
        """Give the host another address in the LAN."""
        batch(["addr flush dev eth0 scope global", f"addr add {address}/24 dev eth0", f"route add default via {ROUTER}"], self.host)

    def forget(self) -> None:
        """Let the router lose everything that it maps, as when it is switched off."""
        self.stop_daemon()
        for chain in ("miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"):
            self.run(self.router, "nft", "flush", "chain", "inet", "filter", chain)
        (self.directory / "leases").write_text("")

    def let_pass(self, seconds: int) -> None:
        """Let the router's leases be so many seconds older: its daemon reads them anew, and forgets those that are over."""
        text = (self.directory / "leases").read_text()
        self.forget()
        lines = [line.split(":", 5) for line in text.splitlines()]
        older = [[*line[:4], str(int(line[4]) - seconds), line[5]] for line in lines if int(line[4]) - seconds > time.time()]
        (self.directory / "leases").write_text("".join(":".join(line) + "\n" for line in older))
        self.start_daemon(recorded=True, keep_leases=True)

    def state_dir(self, namespace: str | None = None) -> Path:
        """Return the state directory of a host."""
        return self.directory / f"state-{namespace or self.host}"

    def upnpc(self, namespace: str, *arguments: str) -> str:
        """Use the other client, as other programs of a home would."""
        return self.run(namespace, "upnpc", "-u", f"http://{ROUTER}:5555/rootDesc.xml", *arguments, check=False)

    def forwards(self) -> list[str]:
        """Return the router's rules that forward, as text."""
        return [line.strip() for line in self.run(self.router, "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd").splitlines() if "dnat" in line]

    def connects(self, port: int, timeout: float = 0.7) -> bool:
        """Ask the router's WAN address from the Internet."""
        code = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()"
        arguments = ["ip", "netns", "exec", self.internet, sys.executable, "-c", code, self.wan, str(port), str(timeout)]
        return subprocess.run(arguments, capture_output=True, check=False).returncode == 0

    def listen(self, port: int) -> None:
        """Let the host listen on a TCP port, whatever its address is."""
        code = "import socket,sys\ns=socket.create_server((sys.argv[1], int(sys.argv[2])))\nwhile True: s.accept()[0].close()"
        self.spawn(self.host, sys.executable, "-c", code, "0.0.0.0", str(port))
        deadline = time.monotonic() + 5
        while f":{port} " not in self.run(self.host, "ss", "-Hltn"):
            if time.monotonic() > deadline:
                raise RuntimeError("nothing listens")
            time.sleep(0.05)


def _yes(**switches: bool) -> dict[str, str]:
    return {name: "yes" if on else "no" for name, on in switches.items()}


def _runs(pid: int) -> bool:
    """Whether a process still does anything; what init has not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def batch(lines: Sequence[str], namespace: str | None = None) -> None:
    """Run several commands of ip, in a namespace or outside."""
    command = ["ip", *(("-n", namespace) if namespace else ()), "-batch", "-"]
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)
