# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small helpers: errors, progress, locks, commands and the places where things lie."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

RUN = Path("/run/homeserver-lab")
LAB_DIR = Path(__file__).resolve().parent.parent
CHECKOUT = LAB_DIR.parent.parent
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
STARTED = time.monotonic()


class LabError(Exception):
    """Something the user has to know; printed without a traceback."""


def say(text: str) -> None:
    """One line of progress with the time since the start."""
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def store() -> Path:
    """Where images, roots of interpreters and the disks of labs lie."""
    return Path(os.environ.get("HOMESERVER_LAB_STORE") or "/var/lib/homeserver-lab").resolve()


def run(argv: Sequence[str], what: str = "", timeout: float = 60, env: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """Run a command and return its output; fail with its last lines."""
    try:
        done = subprocess.run(list(argv), input=stdin, capture_output=True, text=True, timeout=timeout, env=env, check=False)
    except FileNotFoundError as exc:
        raise LabError(f"the program {exc.filename!r} is missing. {how_to_install()}") from exc
    except subprocess.TimeoutExpired as exc:
        raise LabError(f"{what or argv[0]} did not end within {timeout:.0f} s") from exc
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise LabError(f"{what or ' '.join(argv)} failed with status {done.returncode}:\n{tail}")
    return done.stdout


def packages() -> list[str]:
    """The Debian packages that the lab needs on this machine."""
    lines = (CHECKOUT / "requirements" / "debian-lab.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def how_to_install() -> str:
    """What to type when a program is missing."""
    known = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"], capture_output=True, text=True, check=False).stdout
    here = {line.split()[0] for line in known.splitlines() if line.endswith(" installed")}
    missing = [package for package in packages() if package not in here] or packages()
    return f"Install: apt-get install -y --no-install-recommends {' '.join(missing)}"


def require_machine() -> None:
    """Root and the packages: say so before anything is changed."""
    if os.geteuid() != 0:
        raise LabError("the lab makes namespaces, mounts and network interfaces: run it as root (sudo)")
    paths = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin", "/usr/local/sbin"]
    needed = ["podman", "crun", "mmdebstrap", "catatonit", "unshare", "nsenter", "nft", "iptables", "ssh", "ssh-keygen"]
    missing = [tool for tool in needed if not any(os.access(os.path.join(path, tool), os.X_OK) for path in paths)]
    if not any(Path(path).exists() for path in ("/usr/lib/podman/netavark", "/usr/libexec/podman/netavark", "/usr/local/lib/podman/netavark")):
        missing.append("netavark")
    if missing:
        raise LabError(f"missing here: {', '.join(missing)}. {how_to_install()}")
    os.environ["PATH"] = ":".join(dict.fromkeys(path for path in paths if path))


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a file lock; yields False when somebody else has it and we must not wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The descriptor is not inherited, so that a lab's processes never hold the lock of the command that made them.
    with open(path, "w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


@dataclass(frozen=True)
class Places:
    """Every path that belongs to one lab."""

    name: str

    @staticmethod
    def of(name: str) -> Places:
        if not NAME.fullmatch(name):
            raise LabError(f"--name {name!r}: a lab's name is up to 31 lower-case letters, digits and hyphens, and begins with a letter")
        return Places(name)

    @property
    def state(self) -> Path:
        return RUN / "labs" / self.name

    @property
    def disk(self) -> Path:
        return store() / "labs" / self.name

    @property
    def lock(self) -> Path:
        return RUN / f"{self.name}.lock"

    @property
    def complete(self) -> Path:
        return self.state / "complete"

    @property
    def inventory(self) -> Path:
        return self.state / "inventory.json"

    @property
    def ssh_config(self) -> Path:
        return self.state / "ssh_config"
