# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real primary, a real secondary and a real resolver (BIND), in a network namespace that nothing leaves and that ends with the tests."""

from __future__ import annotations

import ctypes
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

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

SECRET = "Jq9u3T9rjV0cD0sM3q7cQyqkFh0W3oVt9m7Yx0m2l7A="
OTHER_SECRET = "AAAAu3T9rjV0cD0sM3q7cQyqkFh0W3oVt9m7Yx0m2l7A="
PRIMARY, SECONDARY, RESOLVER, DELEGATED = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"
WAN = "20.30.41.10"


@functools.cache
def find_named() -> str:
    """Return the path of BIND's server.

    Where its package is not installed, it is only unpacked, because installing it would start a name server on this machine.
    """
    installed = shutil.which("named")
    if installed:
        return installed
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "homeserver-hardening" / "named"
    program = cache / "usr" / "sbin" / "named"
    if not program.exists():
        # Its libraries are those of dig and nsupdate, in the same version.
        version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "bind9-libs"], check=True, capture_output=True, text=True).stdout
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", f"bind9={version}"], check=True, cwd=directory)
            package = next(Path(directory).glob("bind9_*.deb"))
            subprocess.run(["dpkg-deb", "-x", str(package), str(cache)], check=True)
    return str(program)


@dataclass
class Named:
    """One running name server."""

    config: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = find_named()
        self.process = subprocess.Popen(
            [program, "-g", "-c", str(self.config), "-n", "1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.config.parent / "log").open("wb"),
            # It must not outlive the tests, whatever ends them.
            preexec_fn=lambda: LIBC.prctl(1, signal.SIGKILL),
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self, frozen: bool) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)


@dataclass
class Bind:
    """The three servers, and what to call them with."""

    directory: Path
    servers: dict[str, Named] = field(default_factory=dict)

    def dig(self, server: str, name: str, rtype: str = "A", *more: str) -> list[str]:
        done = subprocess.run(["dig", "+short", "+norecurse", "+time=1", f"@{server}", name, rtype, *more], capture_output=True, text=True, check=False)
        return sorted(done.stdout.split())

    def update(self, *commands: str, key: str = "admin") -> None:
        script = "\n".join([f"server {PRIMARY}", "zone example.net.", *commands, "send", ""])
        subprocess.run(["nsupdate", "-y", f"hmac-sha256:{key}:{SECRET}"], input=script.encode(), check=True, capture_output=True)

    def change(self, *commands: str) -> None:
        """Update the primary and wait until the secondary has it."""
        self.update(*commands)
        self.settle()

    def settle(self) -> None:
        """Wait until both authorities have the same serial."""
        deadline = time.monotonic() + 20
        while self.dig(PRIMARY, "example.net", "SOA") != self.dig(SECONDARY, "example.net", "SOA"):
            assert time.monotonic() < deadline, "the secondary does not follow"
            time.sleep(0.05)


def write_server(directory: Path, name: str, listen: str, text: str, v6: str = "none;") -> Named:
    place = directory / name
    place.mkdir()
    (place / "named.conf").write_text(
        textwrap.dedent(
            f"""
            options {{
              directory "{place}"; pid-file none; session-keyfile none; listen-on {{ {listen} }}; listen-on-v6 {{ {v6} }};
              dnssec-validation no; notify-delay 0; minimal-responses no; query-source address {listen.split(";")[0]};
              transfer-source {listen.split(";")[0]}; notify-source {listen.split(";")[0]}; request-ixfr yes; empty-zones-enable no; max-cache-size 16m;
            }};
            controls {{ }};
            key ddns-home {{ algorithm hmac-sha256; secret "{SECRET}"; }};
            key admin {{ algorithm hmac-sha256; secret "{SECRET}"; }};
            """
        )
        + textwrap.dedent(text)
    )
    return Named(place / "named.conf")


def zone_text(apex: str, *more: str) -> str:
    lines = ["$TTL 60", f"@ IN SOA ns1.{apex}. hostmaster.{apex}. 1 3600 600 86400 30", *more]
    return "\n".join(lines) + "\n"
