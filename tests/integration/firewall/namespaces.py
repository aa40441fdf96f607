# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host and a visitor, each a network namespace, with the core run in the host's; /etc is an overlay, so that nothing real is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
NEEDED = ("ip", "nft", "unshare", "nsenter")

#: Addresses of the benchmarking and documentation ranges; they exist in the namespaces only.
HOST = {"ipv4": "198.18.7.1", "ipv6": "2001:db8:7::1"}
VISITOR = {"ipv4": "198.18.7.2", "ipv6": "2001:db8:7::2"}
STRANGER = {"ipv4": "198.18.7.3", "ipv6": "2001:db8:7::3"}
FAMILIES = ("ipv4", "ipv6")

# Answers on TCP and UDP ports of both families until it is killed.
_SERVER = textwrap.dedent("""
    import selectors, socket, sys
    chosen = selectors.DefaultSelector()
    for text in sys.argv[1:]:
        protocol, port = text.split("/")
        for family in (socket.AF_INET, socket.AF_INET6):
            s = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", int(port)))
            if protocol == "tcp":
                s.listen(16)
            chosen.register(s, selectors.EVENT_READ, protocol)
    print("ready", flush=True)
    while True:
        for key, _events in chosen.select():
            if key.data == "tcp":
                key.fileobj.accept()[0].close()
            else:
                data, peer = key.fileobj.recvfrom(100)
                key.fileobj.sendto(data, peer)
""")

_CLIENT = textwrap.dedent("""
    import json, socket, sys
    protocol, source, target, port, own = sys.argv[1:6]
    s = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(0.7)
    try:
        s.bind((source, int(own)))
        s.connect((target, int(port)))
        if protocol == "udp":
            s.send(b"hello")
            s.recv(100)
        print("open")
    except TimeoutError:
        print("silent")
    except OSError as error:
        print("refused" if error.errno in (111,) else f"error {error}")
""")

_CORE = textwrap.dedent("""
    import json, sys
    sys.path.insert(0, sys.argv[1])
    from plugins.module_utils._firewall.manage import Firewall, Request
    from plugins.module_utils._firewall.policy import PolicyError
    from plugins.module_utils._firewall.system import SystemProblem
    asked = json.load(sys.stdin)
    check = asked.pop("check", False)
    try:
        firewall = Firewall()
        outcome = firewall.prepare(Request(**asked))
        if not outcome.refused and not check:
            firewall.apply(outcome)
        print(json.dumps({**outcome.as_data(), "changed": outcome.plan.changed, "refused": bool(outcome.refused)}))
    except (PolicyError, SystemProblem) as error:
        print(json.dumps({"error": str(error)}))
""")


def _table(kind: str, body: dict[str, Any]) -> str:
    return str(body["name"] if kind == "table" else body["table"])


class Home:
    """The two namespaces; both go with their holders."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.holders: list[subprocess.Popen[str]] = []
        self.servers: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        """Make the namespaces and the link between them."""
        for _number in range(2):
            holder = subprocess.Popen(["unshare", "-n", "-m", "sh", "-c", "echo ready; exec sleep 900"], stdout=subprocess.PIPE, text=True)
            assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
            self.holders.append(holder)
        overlay = self.directory / "overlay"
        overlay.mkdir()
        script = f"""
            mount -t tmpfs tmpfs {overlay}
            mkdir {overlay}/upper {overlay}/work
            mount -t overlay -o lowerdir=/etc,upperdir={overlay}/upper,workdir={overlay}/work overlay /etc
            rm -rf /etc/homeserver; echo 0123456789abcdef0123456789abcdef >/etc/machine-id
            sysctl -qw net.ipv4.ip_forward=0
            ip link set lo up
            ip link add lan0 type veth peer name wan0 netns {self.holders[1].pid}
        """
        self.host("sh", "-ec", script)
        for side, device, addresses in ((self.host, "lan0", [HOST]), (self.visitor, "wan0", [VISITOR, STRANGER])):
            lines = [f"ip link set {device} up"]
            for entry in addresses:
                lines += [f"ip address add {entry['ipv4']}/24 dev {device}", f"ip -6 address add {entry['ipv6']}/64 dev {device} nodad"]
            side("sh", "-ec", "; ".join(lines))
        self.host("sh", "-ec", f"ip route add default via {VISITOR['ipv4']}; ip -6 route add default via {VISITOR['ipv6']}")

    def stop(self) -> None:
        """End everything that was started here."""
        for process in (*self.servers, *self.holders):
            process.kill()
            process.wait()

    def _enter(self, number: int, *command: str, text: str | None = None) -> str:
        arguments = ["nsenter", "-t", str(self.holders[number].pid), "-n", "-m", *command]
        result = subprocess.run(arguments, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, f"{command}: {result.stderr}"
        return result.stdout

    def host(self, *command: str, text: str | None = None) -> str:
        """Run a command on the host."""
        return self._enter(0, *command, text=text)

    def visitor(self, *command: str) -> str:
        """Run a command where the visitors are."""
        return self._enter(1, *command)

    def serve(self, *ports: str) -> None:
        """Answer on ports of the host, each as protocol/port."""
        arguments = ["nsenter", "-t", str(self.holders[0].pid), "-n", "-m", PYTHON, "-c", _SERVER, *ports]
        server = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        self.servers.append(server)

    def visit(self, port: str, family: str = "ipv4", source: dict[str, str] | None = None, own_port: int = 0) -> str:
        """Return what a visitor meets at a port: open, refused or silent."""
        protocol, number = port.split("/")
        return self.visitor(PYTHON, "-c", _CLIENT, protocol, (source or VISITOR)[family], HOST[family], number, str(own_port)).strip()

    def nft(self, script: str) -> None:
        """Load rules on the host, as other programs do."""
        self.host("nft", "-f", "-", text=script)

    def rules(self, without: str = "") -> list[Any]:
        """Return everything that nftables holds, without one table, and without counters."""
        listing = json.loads(self.host("nft", "-j", "list", "ruleset") or '{"nftables": []}')["nftables"]
        kept = [entry for entry in listing if "metainfo" not in entry and not any(_table(kind, body) == without for kind, body in entry.items())]
        return json.loads(json.dumps(kept), object_hook=lambda entry: {key: 0 if key in ("packets", "bytes") else value for key, value in entry.items()})

    def etc(self) -> dict[str, str]:
        """Return what was written below /etc, by path."""
        upper = "find /etc -xdev -newer /etc/machine-id -type f -o -xdev -newer /etc/machine-id -type l | sort"
        return dict.fromkeys(self.host("sh", "-c", upper).split(), "")

    def core(self, **request: Any) -> dict[str, Any]:
        """Ask the core on the host for a policy."""
        answer: dict[str, Any] = json.loads(self.host(PYTHON, "-c", _CORE, str(ROOT), text=json.dumps(request)))
        return answer


def missing() -> list[str]:
    """Return what these tests need and the machine lacks."""
    found = [name for name in NEEDED if not shutil.which(name)]
    return found if os.geteuid() == 0 else [*found, "root"]


def wait_until(condition: Any, seconds: float, step: float = 0.2) -> bool:
    """Return whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(step)
    return bool(condition())
