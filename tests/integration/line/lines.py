# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines in network namespaces, each with real routers, real address translation and real servers behind them. Needs root.

    world = World(directory)        the Internet: two STUN servers (coturn) and a web service
    line = Line(world, 3)           one line to it; its methods add hosts and routers from the Internet inwards
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NEEDED = ("ip", "nft", "setpriv", "miniupnpd")
#: The addresses of the Internet are others in each run, so that nothing can depend on them. HOMESERVER_SEED repeats a run.
SEED = int(os.environ.get("HOMESERVER_SEED") or random.SystemRandom().randrange(1 << 32))
_random = random.Random(SEED)
OCTET = _random.choice((20, 31, 44, 62, 77, 83, 91, 109, 151, 178, 188))
SIX = f"2a{_random.randrange(0x100):02x}:{_random.randrange(0x1000, 0x10000):x}"
STUN = (f"{OCTET}.200.1.1", f"{OCTET}.200.2.2")
STUN6 = (f"{SIX}:ffff:1::1", f"{SIX}:ffff:2::2")
ECHO_PORT = 80
PYTHON = "/usr/bin/python3"

_worlds = itertools.count(1)

_MASQUERADE = """
table ip nat {{
  chain post {{ type nat hook postrouting priority srcnat; policy accept; oifname "wan" masquerade {flags}; }}
}}
"""


def ip(lines: Sequence[str], namespace: str | None = None) -> None:
    """Run ip commands."""
    command = ["ip", *(("-n", namespace) if namespace else ()), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=False, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{namespace}: {lines}: {done.stderr}")


def run(namespace: str, *command: str, text: str | None = None) -> str:
    """Run a command in a namespace and return its output."""
    done = subprocess.run(["ip", "netns", "exec", namespace, *command], input=text, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{namespace}: {command}: {done.stdout}{done.stderr}")
    return done.stdout


@functools.cache
def find_turnserver() -> tuple[str, ...]:
    """Return the command that starts coturn's server.

    Where its package is not installed, it and what it needs are only unpacked, because installing it would start a server on this machine.
    """
    installed = shutil.which("turnserver")
    if installed:
        return (installed,)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "homeserver-hardening" / "coturn"
    program = cache / "usr" / "bin" / "turnserver"
    if not program.exists():
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "partial").mkdir()
            where = ["-o", f"Dir::Cache::archives={directory}", "-o", "APT::Sandbox::User=root"]
            command = ["apt-get", "-q", "-y", *where, "install", "--no-install-recommends", "--download-only", "coturn"]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            for package in sorted(Path(directory).glob("*.deb"), key=lambda path: path.name.startswith("coturn_")):
                subprocess.run(["dpkg-deb", "-x", str(package), str(cache)], check=True)
    libraries = ":".join(str(path) for path in (cache / "usr" / "lib").glob("*-linux-gnu*"))
    return ("env", f"LD_LIBRARY_PATH={libraries}", str(program)) if libraries else (str(program),)


class World:
    """The Internet. C(stop) removes it and every line."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.prefix = f"ln-{os.getpid()}-{next(_worlds)}"
        self.internet = f"{self.prefix}-inet"
        self._namespaces: list[str] = []
        self._children: list[subprocess.Popen[bytes]] = []
        self._daemons: list[int] = []

    def start(self, serve: bool = True) -> None:
        """Make the Internet and its servers, or the Internet alone."""
        self.copy_core()
        self.namespace(self.internet)
        ip([*(f"addr add {one}/32 dev lo" for one in STUN), *(f"addr add {one}/128 dev lo" for one in STUN6)], self.internet)
        if not serve:
            return
        listening = [argument for one in (*STUN, *STUN6) for argument in ("-L", one)]
        self.spawn(
            *(self.internet, *find_turnserver(), "-n", "--stun-only", "--no-tls", "--no-dtls", "--no-tcp", *listening),
            *("-p", "3478", "--pidfile", str(self.directory / "turn.pid"), "--userdb", str(self.directory / "turn.db"), "--log-file", "/dev/null"),
        )
        self.spawn(self.internet, PYTHON, str(HERE / "echo_server.py"), STUN[0], str(ECHO_PORT))
        deadline = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError("the servers of the Internet did not start")
            time.sleep(0.05)

    def _answers(self) -> bool:
        udp, tcp = run(self.internet, "ss", "-Hlun"), run(self.internet, "ss", "-Hltn")
        return all(f"{one}:3478" in udp for one in STUN) and all(f"[{one}]:3478" in udp for one in STUN6) and f":{ECHO_PORT}" in tcp

    def copy_core(self) -> None:
        """Put the core where an ordinary user can read it, wherever the checkout is."""
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "plugins" / "module_utils", self.directory / "core", ignore=ignore)
        (self.directory / "core" / "__init__.py").touch()
        shutil.copy(HERE / "judge_line.py", self.directory)
        for path in (self.directory, *self.directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def namespace(self, name: str) -> str:
        """Make a namespace that forwards."""
        ip([f"netns add {name}"])
        self._namespaces.append(name)
        ip(["link set lo up"], name)
        keys = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
        run(name, "sysctl", "-qw", *keys)
        return name

    def spawn(self, namespace: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on running."""
        child = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self._children.append(child)
        return child

    def daemon(self, pid_file: Path) -> None:
        """Remember a process that put itself into the background."""
        deadline = time.monotonic() + 5
        while not (pid_file.exists() and pid_file.read_text().strip()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing wrote {pid_file}")
            time.sleep(0.02)
        self._daemons.append(int(pid_file.read_text()))

    def stop(self) -> None:
        """End every process and remove every namespace that was made."""
        for child in self._children:
            child.kill()
            child.wait()
        for pid in self._daemons:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        for name in self._namespaces:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


class Line:
    """One line, built from the Internet inwards.

    Attributes:
        wan: the global IPv4 address of the line; C(outside) is the provider's next to it.
        inner: the namespace that the next part is connected to; in the end the host's.
    """

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.outside, self.wan = f"{OCTET}.1.{number}.1", f"{OCTET}.1.{number}.5"
        self.prefix6 = f"{SIX}:{number:x}"
        self.isp = self._named("isp")
        ip([f"link add line{number} netns {world.internet} type veth peer name core0 netns {self.isp}"])
        near = [f"addr add {OCTET}.255.{number}.1/24 dev line{number}", f"addr add {SIX}:fe:{number:x}::1/64 dev line{number}"]
        ip([*near, f"link set line{number} up"], world.internet)
        ip([f"addr add {OCTET}.255.{number}.2/24 dev core0", f"addr add {SIX}:fe:{number:x}::2/64 dev core0", "link set core0 up"], self.isp)
        ip([f"route add default via {OCTET}.255.{number}.1", f"route add default via {SIX}:fe:{number:x}::1"], self.isp)
        ip([f"route add {OCTET}.1.{number}.0/24 via {OCTET}.255.{number}.2", f"route add {self.prefix6}::/48 via {SIX}:fe:{number:x}::2"], world.internet)
        self.inner = self.isp
        self._parts = 0

    def _named(self, part: str) -> str:
        return self.world.namespace(f"{self.world.prefix}-{self.number}-{part}")

    def attach(self, part: str, theirs: str | None, ours: str | None, name: str = "wan", theirs6: str | None = None, ours6: str | None = None) -> str:
        """Connect a new namespace to the innermost one. Addresses without a length are of a /24, or a /64."""
        self._parts += 1
        inside, down = self._named(part), f"down{self._parts}"
        ip([f"link add {name} netns {inside} type veth peer name {down} netns {self.inner}"])
        pairs = [(theirs, ours, 24), (theirs6, ours6, 64)]
        outer, inner = [f"link set {down} up"], [f"link set {name} up"]
        for their, our, length in pairs:
            if their and our:
                outer.append(f"addr add {their}/{length} dev {down}")
                inner += [f"addr add {our}/{length} dev {name}", f"route add default via {their} dev {name}"]
        ip(outer, self.inner)
        ip(inner, inside)
        self.inner = inside
        return inside

    def nat(self, flags: str = "") -> None:
        """Let the innermost namespace translate what leaves by its WAN side."""
        run(self.inner, "nft", "-f", "-", text=_MASQUERADE.format(flags=flags))

    def router(self, flags: str = "", theirs: str | None = None, ours: str | None = None, part: str = "router") -> None:
        """Add a router that translates, by default with the line's global address."""
        self.attach(part, theirs or self.outside, ours or self.wan)
        self.nat(flags)

    def host(self, theirs: str = "192.168.1.1", ours: str = "192.168.1.10", ipv6: bool = False) -> None:
        """Add the host; with IPv6 if the line has it."""
        six = (f"{self.prefix6}:1::1", f"{self.prefix6}:1::10") if ipv6 else (None, None)
        self.attach("host", theirs, ours, "eth0", *six)

    def route_inside(self, network: str, via: str) -> None:
        """Let the provider send a network to the line."""
        ip([f"route add {network} via {via}"], self.isp)

    def announce(self, network: str) -> None:
        """Let the Internet send a network to this line's provider."""
        ip([f"route add {network} via {OCTET}.255.{self.number}.2"], self.world.internet)

    def rules(self, namespace: str, text: str) -> None:
        """Load nftables rules in a namespace."""
        run(namespace, "nft", "-f", "-", text=text)

    def listen(self, namespace: str, address: str, port: int) -> None:
        """Let something accept connections."""
        code = "import socket,sys\ns=socket.create_server((sys.argv[1], int(sys.argv[2])))\nwhile True: s.accept()[0].close()"
        self.world.spawn(namespace, PYTHON, "-c", code, address, str(port))
        self.wait(lambda: f"{address}:{port}" in run(namespace, "ss", "-Hltn"))

    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + 5
        while not ready():
            if time.monotonic() > deadline:
                raise RuntimeError("it does not start")
            time.sleep(0.02)

    def miniupnpd(self, namespace: str, lan: str, interface: str, external: str | None = None) -> None:
        """Start the real daemon on a router, with UPnP, NAT-PMP and PCP."""
        directory = self.world.directory / f"upnp-{self.number}-{interface}-{namespace.rpartition('-')[2]}"
        directory.mkdir()
        names = ("upnp_table_name=up", "upnp_nat_table_name=up", "upnp_forward_chain=upfwd", "upnp_nat_chain=uppre", "upnp_nat_postrouting_chain=uppost")
        chains = "".join(f"chain {name} {{ }}\n" for name in ("upfwd", "uppre", "uppost"))
        self.rules(namespace, f"table inet up {{\n{chains}}}\n")
        (directory / "leases").touch()
        settings = [
            *("ext_ifname=wan", f"listening_ip={interface}", "http_port=5000", "enable_natpmp=yes", "enable_upnp=yes", "secure_mode=yes", "system_uptime=yes"),
            *("uuid=c0ffee00-fbcf-46f4-8107-f20c8955b43f", f"lease_file={directory / 'leases'}", *names, *([f"ext_ip={external}"] if external else [])),
            *(f"allow 1-65535 {lan} 1-65535", "deny 0-65535 0.0.0.0/0 0-65535"),
        ]
        (directory / "conf").write_text("\n".join(settings) + "\n")
        run(namespace, "miniupnpd", "-f", str(directory / "conf"), "-P", str(directory / "pid"))
        self.world.daemon(directory / "pid")
        self.wait(lambda: ":5000" in run(namespace, "ss", "-Hltn"))

    def judge(self, **options: Any) -> dict[str, Any]:
        """Judge the line from the host, as an ordinary user."""
        chosen = {"stun_servers": [f"{one}:3478" for one in STUN], "echo_urls": [f"http://{STUN[0]}:{ECHO_PORT}/"], "timeout": 2.0, **options}
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PYTHON, "-I", str(self.world.directory / "judge_line.py")]
        result: dict[str, Any] = json.loads(run(self.inner, *command, str(self.world.directory), json.dumps(chosen)))
        return result


def map_e_rules(address: str, blocks: Sequence[tuple[int, int]]) -> str:
    """Return rules of a router that uses only the ports of a port set."""
    chains = "".join(
        f"  chain set{index} {{ meta l4proto udp snat to {address}:{first}-{last}; meta l4proto tcp snat to {address}:{first}-{last}; }}\n"
        for index, (first, last) in enumerate(blocks)
    )
    jumps = ", ".join(f"{index} : jump set{index}" for index in range(len(blocks)))
    choose = f'oifname "wan" numgen random mod {len(blocks)} vmap {{ {jumps} }}'
    return f"table ip nat {{\n{chains}  chain post {{ type nat hook postrouting priority srcnat; policy accept; {choose}; }}\n}}\n"
