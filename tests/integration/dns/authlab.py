# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of different makes for one zone: BIND as primary, Knot DNS as secondary, Unbound as resolver."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import tempfile
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.homeserver.hardening.tests.integration.dns.bindlab import LIBC, PRIMARY, RESOLVER, SECONDARY, SECRET, Bind, Named, write_server

#: For how many seconds a resolver may remember that something is missing: the smaller of the SOA record's TTL and its last field.
NEGATIVE = 6
ZONES = {"example.net": (NEGATIVE, 300), "second.net": (300, NEGATIVE), "lame.net": (60, 60)}


@functools.cache
def find_program(package: str, program: str) -> tuple[str, ...]:
    """Return the command that starts a program.

    Where its package is not installed, it and what it needs are only unpacked, because installing it would start a server on this machine.
    """
    installed = shutil.which(program)
    if installed:
        return (installed,)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "homeserver-hardening" / package
    path = cache / "usr" / "sbin" / program
    if not path.exists():
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "partial").mkdir()
            where = ["-o", f"Dir::Cache::archives={directory}", "-o", "APT::Sandbox::User=root"]
            command = ["apt-get", "-q", "-y", *where, "install", "--no-install-recommends", "--download-only", package]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            # The program comes last, so that it is there only if all is.
            for archive in sorted(Path(directory).glob("*.deb"), key=lambda found: found.name.startswith(f"{package}_")):
                subprocess.run(["dpkg-deb", "-x", str(archive), str(cache)], check=True)
    libraries = ":".join(str(found) for found in (cache / "usr" / "lib").glob("*-linux-gnu*"))
    return ("env", f"LD_LIBRARY_PATH={libraries}", str(path)) if libraries else (str(path),)


def find_programs() -> dict[str, tuple[str, ...]]:
    return {"knotd": find_program("knot", "knotd"), "knotc": find_program("knot", "knotc"), "unbound": find_program("unbound", "unbound")}


@dataclass
class Daemon:
    """One running server."""

    command: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # It must not outlive the tests, whatever ends them.
                preexec_fn=lambda: LIBC.prctl(1, signal.SIGKILL),
            )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def suspend(self, suspended: bool) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if suspended else signal.SIGCONT)


@dataclass
class Authorities(Bind):
    """The three servers, and what to do with them."""

    programs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    daemons: dict[str, Daemon] = field(default_factory=dict)

    def start(self) -> None:
        self.servers["primary"] = self._primary()
        self.daemons["secondary"] = self._secondary()
        self.daemons["resolver"] = self._resolver()
        for server in (*self.servers.values(), *self.daemons.values()):
            server.start()
        deadline = time.monotonic() + 20
        wanted = ((PRIMARY,), (SECONDARY,), (RESOLVER, "+recurse"))
        while not all(self.dig(address, f"fixed.{zone}", "A", *more) for address, *more in wanted for zone in ("example.net", "second.net")):
            logs = "".join(path.read_text()[-2000:] for path in self.directory.glob("*/log"))
            assert time.monotonic() < deadline, f"the servers did not start: {logs}"
            time.sleep(0.1)

    def stop(self) -> None:
        for server in (*self.servers.values(), *self.daemons.values()):
            server.stop()

    def knotc(self, *arguments: str) -> str:
        socket = self.directory / "secondary" / "knot.sock"
        # -b waits until it is done, -f goes on in spite of warnings.
        done = subprocess.run([*self.programs["knotc"], "-b", "-s", str(socket), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, zone: str, *commands: str, key: str = "admin") -> None:
        """Update any of the zones."""
        script = "\n".join([f"server {PRIMARY}", f"zone {zone}.", *commands, "send", ""])
        done = subprocess.run(["nsupdate", "-y", f"hmac-sha256:{key}:{SECRET}"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def resolve(self, name: str, rtype: str = "A") -> list[str]:
        """Ask as a visitor does."""
        return self.dig(RESOLVER, name, rtype, "+recurse")

    def _primary(self) -> Named:
        zones = "".join(
            f"""
            zone "{zone}" {{
              type primary; file "{zone}"; also-notify {{ {SECONDARY}; }}; notify explicit;
              update-policy {{ grant ddns-home name home.{zone}. A AAAA; grant router name home.{zone}. A AAAA; grant admin zonesub ANY; }};
            }};
            """
            for zone in ZONES
        )
        server = write_server(self.directory, "primary", f"{PRIMARY};", f'key router {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n{zones}')
        for zone, (ttl, minimum) in ZONES.items():
            lines = [
                "$TTL 60",
                f"@ {ttl} IN SOA ns1.example.net. hostmaster.example.net. 1 3600 600 86400 {minimum}",
                "@ IN NS ns1.example.net.",
                "@ IN NS ns2.example.net.",
                "fixed IN A 20.1.1.1",
                *((f"ns1 IN A {PRIMARY}", f"ns2 IN A {SECONDARY}") if zone == "example.net" else ()),
            ]
            (self.directory / "primary" / zone).write_text("\n".join(lines) + "\n")
        return server

    def _secondary(self) -> Daemon:
        place = self.directory / "secondary"
        place.mkdir()
        zones = "".join(f"  - domain: {zone}\n" for zone in ZONES if zone != "lame.net")
        text = f"""\
            server:
              rundir: "{place}"
              listen: {SECONDARY}@53
              udp-workers: 1
              tcp-workers: 1
              background-workers: 1
            control:
              listen: "{place}/knot.sock"
            log:
              - target: stderr
                any: info
            database:
              storage: "{place}"
            remote:
              - id: primary
                address: {PRIMARY}
                via: {SECONDARY}
            acl:
              - id: notify
                address: {PRIMARY}
                action: notify
            template:
              - id: default
                storage: "{place}"
                master: primary
                acl: notify
                zonefile-sync: -1
                journal-content: all
            """
        (place / "knot.conf").write_text(textwrap.dedent(text) + "zone:\n" + zones)
        return Daemon((*self.programs["knotd"], "-c", str(place / "knot.conf")), place / "log")

    def _resolver(self) -> Daemon:
        place = self.directory / "resolver"
        place.mkdir()
        zones = "".join(f"stub-zone:\n  name: {zone}\n  stub-addr: {PRIMARY}\n" for zone in ZONES)
        text = f"""\
            server:
              directory: "{place}"
              chroot: ""
              username: ""
              pidfile: ""
              use-syslog: no
              do-daemonize: no
              num-threads: 1
              module-config: "iterator"
              interface: {RESOLVER}
              outgoing-interface: {RESOLVER}
              access-control: 127.0.0.0/8 allow
              do-not-query-localhost: no
              do-ip6: no
            remote-control:
              control-enable: no
            """
        (place / "unbound.conf").write_text(textwrap.dedent(text) + zones)
        return Daemon((*self.programs["unbound"], "-d", "-c", str(place / "unbound.conf")), place / "log")
