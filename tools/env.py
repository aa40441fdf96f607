# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs what the repository's commands need, and runs commands in it. Python 3.9+, standard library only.

tools/env setup [--debian base,lab,bench] [VENV...]   install Debian packages and virtual environments
tools/env run VENV CMD...                            run a command with that virtual environment first in PATH
tools/env path VENV                                  print where the virtual environment lies
tools/env versions                                   print the Python interpreters that would be used

Virtual environments lie in ${XDG_CACHE_HOME:-~/.cache}/homeserver-hardening, named by a hash of the interpreter and of the pinned
requirements: several checkouts share them, a changed pin makes a new one, and nothing is installed twice.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import locale
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

REPO = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "homeserver-hardening"
TRIXIE = "trixie-python"
TRIXIE_PACKAGES = "python3,python3-venv,ca-certificates,git,util-linux"

# venv → the Python versions that its packages support, best first.
VENVS = {
    "dev": ("3.11", "3.12", "3.13"),
    "core218": ("3.11", "3.12", "3.13"),
    "newest": ("3.13", "3.12", "3.14"),
    "importer": ("3.11", "3.12", "3.13"),
}


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


def die(text: str) -> NoReturn:
    say(text)
    sys.exit(1)


def listed(path: Path) -> list[str]:
    return [line for line in (raw.split("#")[0].strip() for raw in path.read_text(encoding="utf-8").splitlines()) if line]


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"another run is installing {name}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def progress(command: list[str], label: str, log: Path) -> None:
    """Run a long command with its output in a log; say each ten seconds that it is alive; show the end of the log when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            while True:
                try:
                    status = process.wait(timeout=10)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{label}: {time.monotonic() - started:.0f} s")
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    if status:
        print("".join(log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-25:]), file=sys.stderr)
        die(f"{label} failed with status {status}; the whole output is in {log}")
    say(f"{label}: done in {time.monotonic() - started:.0f} s")


# --- Debian packages ---------------------------------------------------------------------------------------------------------------------


def debian_missing(groups: list[str]) -> list[str]:
    wanted = [name for group in groups for name in listed(REPO / "requirements" / f"debian-{group}.txt")]
    if not shutil.which("dpkg-query"):
        die(f"this is not a Debian system. Install these (or what they are called here) by hand: {' '.join(wanted)}")
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *wanted], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout
    have = {line.split()[0] for line in found.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in have]


def debian(groups: list[str]) -> None:
    missing = debian_missing(groups)
    if not missing:
        return
    say(f"Debian packages to install: {' '.join(missing)}")
    root: list[str] = []
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            die(f"neither root nor sudo. As root, run: apt-get update && apt-get install -y --no-install-recommends {' '.join(missing)}")
        root = ["sudo"]
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]
    with locked("debian"):
        progress([*apt, "update"], "apt-get update", CACHE / "log" / "apt-update.log")
        progress([*apt, "install", "-y", "--no-install-recommends", *missing], "apt-get install", CACHE / "log" / "apt-install.log")
    still = debian_missing(groups)
    if still:
        die(f"still not installed: {' '.join(still)}")


# --- interpreters ------------------------------------------------------------------------------------------------------------------------


def works(path: Path, version: str) -> bool:
    """Is this a Python of that version with which a virtual environment can be made? A shim that only exists is not."""
    if not os.access(path, os.X_OK):
        return False
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        run = subprocess.run([str(path), "-c", code], check=False, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
        return run.returncode == 0 and run.stdout.strip() == version
    return False


def interpreter(name: str) -> Path | None:
    versions = VENVS[name]
    if name == "newest" and os.environ.get("HOMESERVER_NEWEST") == TRIXIE:
        return None
    places = [Path("/usr/bin"), Path("/usr/local/bin")]
    for version in versions:
        # The system's own first, so that people and CI use the same one.
        for candidate in [Path("/usr/bin/python3"), *(place / f"python{version}" for place in places), *pyenv(version)]:
            if works(candidate, version):
                return candidate
    return None


def pyenv(version: str) -> list[Path]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [path for path in root.glob(f"{version}.*") if re.fullmatch(r"[0-9.]+", path.name)]
    return [path / "bin" / f"python{version}" for path in sorted(found, key=lambda p: [int(x) for x in p.name.split(".")], reverse=True)]


def trixie() -> Path:
    """A Debian 13 root with Python 3.13, for a machine that has no Python new enough."""
    root = CACHE / TRIXIE
    if (root / ".complete").exists():
        return root
    if os.geteuid() != 0:
        die("the newest ansible-core needs Python 3.12 or newer, and there is none here. Run this as root, so that a Debian 13 root can be made for it")
    debian(["lab"])
    with locked(TRIXIE):
        if not (root / ".complete").exists():
            say(f"no Python 3.12 or newer here: making a Debian 13 root for the newest ansible-core in {root}")
            shutil.rmtree(root, ignore_errors=True)
            progress(
                ["mmdebstrap", "--variant=minbase", "--mode=root", f"--include={TRIXIE_PACKAGES}", "trixie", str(root)],
                "mmdebstrap trixie",
                CACHE / "log" / "trixie.log",
            )
            (root / ".complete").touch()
    return root


CHROOT = r"""
root=$1 cache=$2 repo=$3; shift 3
# A mount of its own, or nothing below could make a mount namespace in turn.
mount --bind "$root" "$root"
for d in proc sys dev; do mount --rbind /$d "$root/$d"; done
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root$cache" "$root$repo"
mount --bind "$cache" "$root$cache"
mount --bind "$repo" "$root$repo"
for f in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/xdg/pip /etc/ssl/certs; do
  [ -e "$f" ] || continue
  if [ -d "$f" ]; then mkdir -p "$root$f"; else [ -e "$root$f" ] || { mkdir -p "$(dirname "$root$f")"; : >"$root$f"; }; fi
  mount --bind "$f" "$root$f"
done
exec chroot "$root" /bin/sh -ec 'cd "$1"; shift; exec "$@"' sh "$PWD" "$@"
"""


def chrooted(root: Path, command: list[str]) -> list[str]:
    return ["unshare", "-m", "--propagation", "private", "sh", "-ec", CHROOT, "sh", str(root), str(CACHE), str(REPO), *command]


# --- virtual environments ----------------------------------------------------------------------------------------------------------------


def venv_path(name: str, python: Path | None) -> Path:
    pins = "\n".join(listed(REPO / "requirements" / f"{name}.txt"))
    digest = hashlib.sha256(f"{python or TRIXIE}\n{pins}\n".encode()).hexdigest()[:12]
    return CACHE / "venvs" / f"{name}-{digest}"


def venv(name: str, install: bool = True) -> tuple[Path, Path | None]:
    """The path of a virtual environment, and the root that it lives in (None: this machine)."""
    if name not in VENVS:
        die(f"unknown environment {name}; there are {', '.join(VENVS)}")
    python = interpreter(name)
    path = venv_path(name, python)
    complete = path / ".complete"
    if python is None and not (name == "newest" and install):
        if name == "newest" and complete.exists():
            return path, CACHE / TRIXIE
        if name != "newest":
            die(f"no Python {' or '.join(VENVS[name])} with venv found. On Debian 12 and 13: apt-get install python3 python3-venv")
    root = trixie() if python is None else None
    if not complete.exists():
        if not install:
            die(f"the environment {name} is not installed. Run: make setup")
        with locked(path.name):
            if not complete.exists():
                pins = REPO / "requirements" / f"{name}.txt"
                say(f"PyPI packages to install for {name} (Python {python or '3.13 of the Debian 13 root'}): {' '.join(listed(pins))}")
                shutil.rmtree(path, ignore_errors=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                script = '"$1" -m venv "$2" && exec "$2/bin/pip" install --disable-pip-version-check --no-input --no-deps -r "$3"'
                command = ["sh", "-ec", script, "sh", str(python or "/usr/bin/python3"), str(path), str(pins)]
                progress(chrooted(root, command) if root else command, f"environment {name}", CACHE / "log" / f"{path.name}.log")
                complete.touch()
    return path, root


def environment(path: Path) -> dict[str, str]:
    env = dict(os.environ)
    env["PATH"] = f"{path / 'bin'}:{env.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"
    env["VIRTUAL_ENV"] = str(path)
    env.pop("PYTHONHOME", None)
    # Ansible refuses to start where the locale is not UTF-8.
    if locale.getpreferredencoding(False).lower().replace("-", "") != "utf8" or env.get("LC_ALL") in ("C", "POSIX"):
        env["LC_ALL"] = "C.UTF-8"
    return env


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup")
    setup.add_argument("--debian", default="base", help="groups of Debian packages, separated by commas")
    setup.add_argument("venvs", nargs="*")
    run = commands.add_parser("run")
    run.add_argument("venv")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    path = commands.add_parser("path")
    path.add_argument("venv")
    commands.add_parser("versions")
    args = parser.parse_args()

    if args.command == "setup":
        debian([group for group in args.debian.split(",") if group])
        for name in args.venvs:
            venv(name)
        return 0
    if args.command == "versions":
        for name in VENVS:
            print(f"{name}: {interpreter(name) or 'none; a Debian 13 root is made for it'}")
        return 0
    where, root = venv(args.venv, install=False)
    if args.command == "path":
        print(where)
        return 0
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        parser.error("run needs a command")
    if root:
        argv = chrooted(root, argv)
    env = environment(where)
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        die(f"cannot run {argv[0]}: {error.strerror}")


if __name__ == "__main__":
    sys.exit(main())
