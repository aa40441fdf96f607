# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of hosts, built without a registry, and roots with other Pythons. Rebuilt only when their recipe has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import cgroup, limits
from .holder import PODMAN_STATE
from .util import LAB_DIR, LabError, locked, run, say, store

REPOSITORY = "localhost/homeserver-lab"
RECIPE = LAB_DIR / "image"
BASE_PACKAGES = "systemd,systemd-sysv,dbus,python3,iproute2,nftables,ca-certificates,openssh-server,procps,sudo,debconf"


@dataclass(frozen=True)
class Root:
    """A Debian root with one Python, pytest, and openssl for certificates, for unit tests."""

    suite: str
    version: str
    wheels: tuple[str, ...]


HOSTS = ("bookworm", "trixie")
_WHEELS = ("pytest==8.4.2", "pluggy==1.6.0", "iniconfig==2.1.0", "packaging==25.0", "pygments==2.19.2")
_OLD_WHEELS = ("exceptiongroup==1.3.0", "tomli==2.2.1", "typing_extensions==4.15.0")
UNUSED_DAYS = 3
ROOTS = {"py39": Root("bullseye", "3.9", _WHEELS + _OLD_WHEELS), "py313": Root("trixie", "3.13", _WHEELS)}

# A private view of podman's global state for the build, and of cgroup v2 alone where the machine also has v1.
PRIVATE = """
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
for place in $1; do mount -t tmpfs -o mode=755 lab "$place"; done
shift
exec "$@"
"""

# A build dies with the command that started it, and its mounts with it: nothing is mounted where the next one cleans up.
OWN_MOUNTS = ("setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-p", "--propagation", "slave", "--fork", "--kill-child", "--mount-proc")


def mirror() -> str:
    return os.environ.get("HOMESERVER_LAB_MIRROR", "http://deb.debian.org/debian").rstrip("/")


def image_hash(suite: str) -> str:
    """What an image is made of."""
    digest = hashlib.sha256(f"1 {suite} {BASE_PACKAGES} {os.environ.get('HOMESERVER_LAB_BASE', '')}".encode())
    for path in sorted(path for path in RECIPE.rglob("*") if path.is_file()):
        digest.update(f"\0{path.relative_to(RECIPE)} {path.stat().st_mode & 0o777:o}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def root_hash(root: Root) -> str:
    return hashlib.sha256(f"3 {root}".encode()).hexdigest()[:12]


def _stamp(suite: str, wanted: str) -> Path:
    """One for each recipe: other checkouts, with other recipes, share the store."""
    return store() / "stamps" / f"{suite}-{wanted}"


def reference(suite: str) -> str:
    """The image to start a host from."""
    wanted = image_hash(suite)
    try:
        # Its time is when the image was last used.
        os.utime(_stamp(suite, wanted))
    except OSError as exc:
        raise LabError(f"there is no image for {suite!r} with the recipe {wanted} in {store()}: tests/lab/lab images {suite}") from exc
    return f"{REPOSITORY}:{suite}-{wanted}"


def root_path(version: str) -> Path:
    """The root that has a Python of this version."""
    for name, root in ROOTS.items():
        if root.version == version:
            path = store() / "roots" / f"{name}-{root_hash(root)}"
            if not (path / "complete").exists():
                raise LabError(f"there is no root with Python {version} in {store()}: tests/lab/lab images {name}")
            return path
    raise LabError(f"no root for Python {version!r}: there are {', '.join(root.version for root in ROOTS.values())}")


def build(names: list[str]) -> None:
    """Build what is missing or older than its recipe."""
    names = names or [*HOSTS, *ROOTS]
    for name in names:
        if name not in (*HOSTS, *ROOTS):
            raise LabError(f"no image is named {name!r}: there are {', '.join([*HOSTS, *ROOTS])}")
    with locked(store() / "build.lock"):
        for name in names:
            if name in ROOTS:
                _build_root(name, ROOTS[name])
            else:
                _build_host(name)


def _podman(*argv: str) -> list[str]:
    return [
        *(*OWN_MOUNTS, "sh", "-ec", PRIVATE, "sh", " ".join(PODMAN_STATE)),
        *("podman", "--root", f"{store()}/images", "--runroot", "/run/containers/storage", "--cgroup-manager", "cgroupfs", "--events-backend", "none", *argv),
    ]


def _build_host(suite: str) -> None:
    wanted = image_hash(suite)
    stamp = _stamp(suite, wanted)
    for path in PODMAN_STATE:
        Path(path).mkdir(parents=True, exist_ok=True)
    config = store() / "containers.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('[network]\nnetwork_backend = "netavark"\n', encoding="utf-8")
    env = {**os.environ, "CONTAINERS_CONF": str(config)}
    if stamp.exists() and _exists(f"{REPOSITORY}:{suite}-{wanted}", env):
        say(f"image {suite}: up to date ({wanted})")
        return
    base = os.environ.get("HOMESERVER_LAB_BASE") or _base(suite, env)
    say(f"image {suite}: installing the packages of the hosts")
    argv = ["build", "--isolation", "chroot", "--network", "host", "--layers", *limits.of_container()]
    argv += ["--build-arg", f"BASE={base}", "--label", f"homeserver-lab={wanted}", "-t", f"{REPOSITORY}:{suite}", "-t", f"{REPOSITORY}:{suite}-{wanted}"]
    _watched(_podman(*argv, str(RECIPE)), f"image {suite}", env)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(wanted + "\n", encoding="ascii")
    _forget_old(suite, wanted, env)
    say(f"image {suite}: ready ({wanted})")


def _exists(image: str, env: dict[str, str]) -> bool:
    return subprocess.run(_podman("image", "exists", image), env=env, capture_output=True, check=False).returncode == 0


def _base(suite: str, env: dict[str, str]) -> str:
    """A minimal Debian with systemd, from the Debian archive."""
    tag = hashlib.sha256(f"1 {suite} {BASE_PACKAGES}".encode()).hexdigest()[:12]
    base = f"localhost/homeserver-lab-base:{suite}-{tag}"
    if _exists(base, env):
        return base
    say(f"image {suite}: minimal Debian from {mirror()} (about 20 s)")
    archive = store() / "base.tar"
    try:
        _watched([*OWN_MOUNTS, "mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", suite, str(archive), mirror()], f"image {suite}", env)
        run(_podman("import", str(archive), base), what="podman import", timeout=300, env=env)
    finally:
        archive.unlink(missing_ok=True)
    return base


def _forget_old(suite: str, wanted: str, env: dict[str, str]) -> None:
    """Remove images that no checkout has used for some days, unless a running lab may stand on one."""
    if any(cgroup.lab_pid(name) for name in cgroup.names()):
        return
    for stamp in _stamp(suite, wanted).parent.glob(f"{suite}-*"):
        if time.time() - stamp.stat().st_mtime > UNUSED_DAYS * 86400:
            stamp.unlink()
            subprocess.run(_podman("rmi", f"{REPOSITORY}:{stamp.name}"), env=env, capture_output=True, check=False)


def _build_root(name: str, root: Root) -> None:
    path = store() / "roots" / f"{name}-{root_hash(root)}"
    if (path / "complete").exists():
        say(f"root {name}: up to date (Python {root.version})")
        return
    for old in (store() / "roots").glob(f"{name}-*"):
        shutil.rmtree(old)
    path.parent.mkdir(parents=True, exist_ok=True)
    say(f"root {name}: {root.suite} with Python {root.version} (about 10 s)")
    argv = [*OWN_MOUNTS, "mmdebstrap", "--variant=minbase", "--format=directory", "--include=python3,openssl", root.suite, str(path), mirror()]
    _watched(argv, f"root {name}", None)
    have = run(["chroot", str(path), "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    if have != root.version:
        raise LabError(f"root {name}: {root.suite} has Python {have}, not {root.version}")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--only-binary=:all:")
    run(
        [*pip, "--python-version", root.version, "--implementation", "py", "--target", str(path / "opt" / "tests"), *root.wheels],
        what=f"root {name}: pip (of {sys.executable}; Debian: python3-pip)",
        timeout=300,
    )
    # Not every suite has one, and tests speak to localhost.
    (path / "etc" / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n", encoding="ascii")
    (path / "opt" / "checkout").mkdir(parents=True, exist_ok=True)
    (path / "complete").write_text("", encoding="ascii")
    say(f"root {name}: ready")


def _watched(argv: list[str], what: str, env: dict[str, str] | None, timeout: float = 1200) -> None:
    """Run a long command; show now and then what it is doing, and all of its end when it fails."""
    lines: list[str] = []
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, text=True, errors="replace")
    assert process.stdout is not None
    watchdog = threading.Timer(timeout, process.kill)
    watchdog.start()
    shown = time.monotonic()
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if time.monotonic() - shown > 3 and line.strip():
                shown = time.monotonic()
                say(f"{what}: … {line.strip()[:110]}")
        status = process.wait()
    finally:
        watchdog.cancel()
    if status != 0:
        tail = "\n".join(lines[-25:])
        raise LabError(f"{what}: {argv[0]} … failed with status {status}:\n{tail}")
