# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three namespaces in a row, vantage, router and target, and the engine run in the first as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PYTHON = "/usr/bin/python3"
NOBODY = "65534"

#: Addresses of the benchmarking and documentation ranges; they exist in the namespaces only.
VANTAGE = {"ipv4": "198.18.1.2", "ipv6": "2001:db8:1::2"}
ROUTER = {"ipv4": "198.18.1.1", "ipv6": "2001:db8:1::1"}
TARGET = {"ipv4": "198.18.2.2", "ipv6": "2001:db8:2::2"}
SILENT_NEIGHBOUR = {"ipv4": "198.18.1.99", "ipv6": "2001:db8:1::99"}
FAMILIES = ("ipv4", "ipv6")

# Reads a request from standard input and writes rows to standard output.
RUNNER = textwrap.dedent("""
    import json, resource, sys
    sys.path.insert(0, sys.argv[1])
    from _probe import _engine, _nonce, _targets
    request = json.load(sys.stdin)
    if request.get("nofile"):
        resource.setrlimit(resource.RLIMIT_NOFILE, tuple(request["nofile"]))
    options = request.get("options", {})
    if "nonce" in options:
        options["key"] = _nonce.parse_nonce(options.pop("nonce"))
    engine = _engine.Engine(_engine.Options(**options))
    targets = []
    for target in request["targets"]:
        targets.extend(_targets.make_targets(**target))
    rows = {}
    def sink(key, o):
        rows[key] = {
            "address": o.target.address, "protocol": o.target.protocol, "port": o.port, "state": o.state, "confidence": o.confidence, "errno": o.errno,
            "icmp": None if o.icmp is None else [o.icmp.type, o.icmp.code, o.icmp.sender], "attempts": o.attempts, "rtt_ms": o.rtt_ms,
            "nonce_verified": o.nonce_verified, "answered_by": o.answered_by, "seen_as": o.seen_as,
        }
    hold = []
    for kind, count, argument in request.get("hold", []):
        import socket
        for number in range(count):
            sock = socket.socket()
            if kind == "connect":
                sock.connect(tuple(argument))
            hold.append(sock)
    if request.get("steal"):
        # Take descriptors away once the engine has counted those that are free.
        feed, engine._feed = engine._feed, lambda: steal()
        def steal():
            for number in range(request["steal"]):
                try:
                    hold.append(open("/dev/null"))
                except OSError:
                    break
            yield from feed()
    summary = engine.run(targets, sink)
    json.dump({"rows": [rows[key] for key in sorted(rows)], "counts": summary.counts, "elapsed": summary.elapsed,
               "limits": summary.limits, "addresses": summary.addresses}, sys.stdout)
""")


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command and show what it said when it fails."""
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False, **options)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Net:
    """The namespaces and what runs in them."""

    def __init__(self, prefix: str, code: Path) -> None:
        self.prefix = prefix
        self.code = code
        self.processes: list[subprocess.Popen[str]] = []

    def name(self, host: str) -> str:
        return f"{self.prefix}{host}"

    def exec(self, host: str, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        return run("ip", "netns", "exec", self.name(host), *command, check=check, **options)

    def start(self, host: str, *command: str) -> subprocess.Popen[str]:
        """Start a program in a namespace and wait for its first line."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name(host), *command], text=True, stdout=subprocess.PIPE, stdin=subprocess.PIPE, start_new_session=True
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        return process

    def stop(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait(10)
        self.processes.remove(process)

    def listen(self, host: str, ports: str, protocol: str = "tcp", answer: str = "") -> subprocess.Popen[str]:
        """Listen on all ports of both families; answer with fixed bytes, an echo, or nothing."""
        return self.start(host, PYTHON, "-I", str(self.code / "listen.py"), protocol, ports, answer)

    @contextmanager
    def rules(self, host: str, text: str) -> Iterator[None]:
        """Load a rule set into a namespace for the duration of a block."""
        self.exec(host, "nft", "-f", "-", input=text)
        try:
            yield
        finally:
            self.exec(host, "nft", "flush", "ruleset")

    def probe(
        self,
        targets: list[dict[str, Any]],
        options: dict[str, Any] | None = None,
        host: str = "v",
        user: str = NOBODY,
        prlimit: str | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        """Run the engine as an ordinary user; return rows and summary."""
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", PYTHON, "-I", str(self.code / "runner.py"), str(self.code)]
        if prlimit:
            command = ["prlimit", f"--nofile={prlimit}", *command]
        done = self.exec(host, *command, input=json.dumps({"targets": targets, "options": options or {}, **request}))
        result: dict[str, Any] = json.loads(done.stdout)
        return result


LISTENER = textwrap.dedent("""
    import resource, selectors, socket, sys
    protocol, ports, answer = sys.argv[1:4]
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    selector = selectors.DefaultSelector()
    first, _, last = ports.partition("-")
    for port in range(int(first), int(last or first) + 1):
        for family in (socket.AF_INET, socket.AF_INET6):
            sock = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if protocol == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("" if family == socket.AF_INET else "::", port))
            if protocol == "tcp":
                sock.listen(512)
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
    print("ready", flush=True)
    seen = set()
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            try:
                if protocol == "udp":
                    data, peer = sock.recvfrom(2048)
                    if answer:
                        sock.sendto(data if answer == "echo" else answer.encode(), peer)
                elif sock in seen:
                    data = sock.recv(2048)
                    if data and answer == "echo":
                        sock.send(data)
                    elif not data or answer != "hold":
                        selector.unregister(sock); seen.discard(sock); sock.close()
                else:
                    connection, _ = sock.accept()
                    if answer in ("echo", "hold"):
                        connection.setblocking(False)
                        seen.add(connection)
                        selector.register(connection, selectors.EVENT_READ)
                    else:
                        if answer:
                            connection.send(answer.encode())
                        connection.close()
            except OSError:
                pass
""")


@pytest.fixture(scope="session")
def net() -> Iterator[Net]:
    """Bring the namespaces up, and take them away again."""
    if os.geteuid() != 0:
        pytest.fail("these tests make network namespaces: run them as root", pytrace=False)
    for tool in ("ip", "nft", "setpriv", "prlimit", PYTHON):
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is missing: apt-get install iproute2 nftables util-linux python3", pytrace=False)
    code = Path(tempfile.mkdtemp(prefix="probe-"))
    code.chmod(0o755)
    shutil.copytree(ROOT / "plugins/module_utils/_probe", code / "_probe", ignore=shutil.ignore_patterns("__pycache__"))
    (code / "runner.py").write_text(RUNNER)
    (code / "listen.py").write_text(LISTENER)
    made = Net(f"hsp{os.getpid()}", code)
    try:
        _build(made)
        yield made
    finally:
        for process in list(made.processes):
            made.stop(process)
        for host in "vrt":
            run("ip", "netns", "delete", made.name(host), check=False)
        shutil.rmtree(code)


def _build(net: Net) -> None:
    for host in "vrt":
        run("ip", "netns", "add", net.name(host))
        net.exec(host, "ip", "link", "set", "lo", "up")
        # A kernel that limits its ICMP errors turns "closed" and "rejected" into silence after a few probes.
        settings = {
            "net.ipv4.icmp_ratelimit": "0",
            "net.ipv6.icmp.ratelimit": "0",
            "net.ipv4.icmp_msgs_per_sec": "100000",
            "net.ipv4.icmp_msgs_burst": "100000",
            "net.ipv4.ip_forward": "1" if host == "r" else "0",
            "net.ipv6.conf.all.forwarding": "1" if host == "r" else "0",
        }
        for name, value in settings.items():
            net.exec(host, "sh", "-c", f"echo {value} >/proc/sys/{name.replace('.', '/')}", check="icmp_msgs" not in name)
    for left, right, name, peer in (("v", "r", "wan0", "in0"), ("r", "t", "out0", "lan0")):
        run("ip", "link", "add", name, "netns", net.name(left), "type", "veth", "peer", "name", peer, "netns", net.name(right))
    for host, link, four, six in (
        ("v", "wan0", VANTAGE["ipv4"], VANTAGE["ipv6"]),
        ("r", "in0", ROUTER["ipv4"], ROUTER["ipv6"]),
        ("r", "out0", "198.18.2.1", "2001:db8:2::1"),
        ("t", "lan0", TARGET["ipv4"], TARGET["ipv6"]),
    ):
        net.exec(host, "ip", "addr", "add", f"{four}/24", "dev", link)
        net.exec(host, "ip", "addr", "add", f"{six}/64", "dev", link, "nodad")
        net.exec(host, "ip", "link", "set", link, "up")
    for host, four, six in (("v", ROUTER["ipv4"], ROUTER["ipv6"]), ("t", "198.18.2.1", "2001:db8:2::1")):
        # Not a default route: where there is no route, there shall be none.
        for destination, gateway in (("198.18.0.0/15", four), ("2001:db8::/32", six)):
            net.exec(host, "ip", "route", "add", destination, "via", gateway)
    for number, kind in enumerate(("prohibit", "unreachable", "blackhole")):
        net.exec("v", "ip", "route", "add", kind, f"198.18.{60 + number}.0/24")
        net.exec("v", "ip", "-6", "route", "add", kind, f"2001:db8:{60 + number}::/48")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if net.exec("v", PYTHON, "-c", "import socket; socket.create_connection(('2001:db8:2::2', 9), 1)", check=False).stderr.find("refused") > 0:
            return
        time.sleep(0.1)
    raise AssertionError("the namespaces do not reach each other")
