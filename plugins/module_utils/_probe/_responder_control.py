# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and stopping the responder.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from datetime import datetime, timedelta, timezone
from typing import Any

from . import _nonce, _responder
from ._ports import HIGHEST, LOWEST, ProbeInputError

RUNTIME = "/run/homeserver"
MAXIMUM_TIMEOUT = 600
UNIT_PREFIX = "homeserver-probe-"

_DIRECTORY_PREFIX = "probe-"
_ID = re.compile(r"[0-9a-f]{8}\Z")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
_SYSTEMD = "/run/systemd/system"
_START_WAIT = 15.0
_STOP_WAIT = 3.0
#: What the process may do, in a transient unit. Nothing that needs a mount namespace: containers may not have one.
_PROPERTIES = (
    "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_DAC_READ_SEARCH",
    "NoNewPrivileges=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RuntimeDirectoryMode=0700",
    "TimeoutStopSec=2",
    "UMask=0077",
)


class ResponderError(Exception):
    """The responder could not be started or stopped. The message names the reason and the fix."""


def check_listeners(listeners: list[dict[str, Any]]) -> None:
    """Refuse listeners that cannot be.

    Raises:
        ProbeInputError: a bad name or port, or one port twice.
    """
    if not listeners:
        raise ProbeInputError("listeners is empty: name at least one port to answer on")
    seen: dict[tuple[str, int], str] = {}
    for listener in listeners:
        name, protocol, port = listener["name"], listener["protocol"], listener["port"]
        if not _NAME.match(name):
            raise ProbeInputError(f"listener name {name!r}: use a to z, 0 to 9 and hyphens, starting with a letter, at most 31 characters")
        if not LOWEST <= port <= HIGHEST:
            raise ProbeInputError(f"port {port} of listener {name} is outside {LOWEST} to {HIGHEST}: give the port that the service listens on")
        if not listener["families"]:
            raise ProbeInputError(f"families of listener {name} is empty: give ipv4, ipv6 or both")
        other = seen.setdefault((protocol, port), name)
        if other != name:
            raise ProbeInputError(f"listeners {other} and {name} are both on {protocol} port {port}: one port can prove one service")


def check_sources(sources: list[str]) -> list[str]:
    """Return the vantages' addresses and networks in the form that the packet filter takes.

    Raises:
        ProbeInputError: something in it is no address.
    """
    found = []
    for source in sources:
        try:
            network = ipaddress.ip_network(source.partition("%")[0].strip(), strict=False)
        except ValueError:
            raise ProbeInputError(f"source {source!r} is no address: give the addresses that the vantages send from, as numbers") from None
        text = str(network.network_address) if network.num_addresses == 1 else str(network)
        if text not in found:
            found.append(text)
    return found


def check_timeout(timeout: int) -> None:
    """Refuse a timeout that is not bounded.

    Raises:
        ProbeInputError: it is out of range.
    """
    if not 1 <= timeout <= MAXIMUM_TIMEOUT:
        raise ProbeInputError(f"timeout {timeout} is not between 1 and {MAXIMUM_TIMEOUT} seconds: the responder ends by itself, give the seconds until then")


def check_id(identity: str) -> None:
    """Refuse an id that start() would not make.

    Raises:
        ProbeInputError: it has another form.
    """
    if not _ID.match(identity):
        raise ProbeInputError(f"id {identity!r} is not eight hexadecimal digits: give the id that the start has returned")


def archive() -> bytes:
    """Return the responder as a program in one file."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("__main__.py", "from _probe import _responder\n\n_responder.main()\n")
        made.writestr("_probe/__init__.py", "")
        for module in (_nonce, _responder):
            name = module.__name__.rpartition(".")[2]
            loader: Any = module.__loader__
            source = loader.get_source(module.__name__)
            if source is None:
                raise ResponderError(f"the source of {module.__name__} cannot be read")
            made.writestr(f"_probe/{name}.py", source)
    return data.getvalue()


def start(listeners: list[dict[str, Any]], sources: list[str], nonce: str, timeout: int, identity: str | None = None, runtime: str = RUNTIME) -> dict[str, Any]:
    """Start a responder; return its id, listeners and deadline once it answers.

    Raises:
        ResponderError: it did not start.
    """
    if os.geteuid() != 0:
        raise ResponderError("the responder needs root, to listen on low ports and to redirect packets: run the task with become: true")
    sweep(runtime)
    identity = identity or os.urandom(4).hex()
    directory = _directory(identity, runtime)
    os.makedirs(runtime, 0o755, exist_ok=True)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        raise ResponderError(f"a responder with id {identity} is there already: stop it first, or leave out id") from None
    config = {"id": identity, "nonce": nonce, "sources": sources, "timeout": timeout, "listeners": listeners}
    try:
        _responder.write_private(os.path.join(directory, _responder.CONFIG), json.dumps(config).encode())
        program = os.path.join(directory, "responder.pyz")
        _responder.write_private(program, archive())
        deadline = datetime.now(timezone.utc) + timedelta(seconds=timeout)
        _launch(identity, program, timeout, runtime)
        state = _await(directory)
    except BaseException:
        _end(identity, directory)
        raise
    return {"id": identity, "listeners": state["listeners"], "deadline": deadline.strftime("%Y-%m-%dT%H:%M:%SZ")}


def status(identity: str, runtime: str = RUNTIME) -> dict[str, Any] | None:
    """Return listeners and visits of a running responder, None if none runs."""
    return _ask(_directory(identity, runtime), "status")


def stop(identity: str, runtime: str = RUNTIME) -> dict[str, Any]:
    """Stop a responder; return its listeners and visits, or what it has left behind."""
    directory = _directory(identity, runtime)
    state = _ask(directory, "stop") or {"listeners": [], "visits": _left_visits(directory)}
    _end(identity, directory)
    with contextlib.suppress(OSError):
        os.rmdir(runtime)
    return state


def running(runtime: str = RUNTIME) -> list[str]:
    """Return the ids of responders that have a directory, dead ones among them."""
    try:
        names = sorted(os.listdir(runtime))
    except OSError:
        return []
    found = [name[len(_DIRECTORY_PREFIX) :] for name in names if name.startswith(_DIRECTORY_PREFIX)]
    return [identity for identity in found if _ID.match(identity)]


def sweep(runtime: str = RUNTIME) -> None:
    """Remove what responders that were killed have left. Only files: their rules went with them."""
    for identity in running(runtime):
        directory = _directory(identity, runtime)
        try:
            old = time.time() - os.stat(directory).st_mtime > _START_WAIT
        except OSError:
            continue
        if old and _ask(directory, "status") is None and _process(directory) is None:
            shutil.rmtree(directory, ignore_errors=True)


def _directory(identity: str, runtime: str) -> str:
    return os.path.join(runtime, _DIRECTORY_PREFIX + identity)


def _launch(identity: str, program: str, timeout: int, runtime: str) -> None:
    python = [sys.executable or "/usr/bin/python3", "-I"]
    command = [*python, program]
    if runtime == RUNTIME and os.path.isdir(_SYSTEMD) and shutil.which("systemd-run"):
        # A unit of its own outlives the connection of the controller, and does not outlive its time.
        unit = ["systemd-run", "--quiet", "--collect", f"--unit={UNIT_PREFIX}{identity}", "--description=Answers a probe from outside for a short time"]
        properties = (*_PROPERTIES, f"RuntimeMaxSec={timeout + 5}", f"RuntimeDirectory=homeserver/{_DIRECTORY_PREFIX}{identity}")
        command = [*unit, *(f"--property={value}" for value in properties), *command]
        # The core has no AnsibleModule and so no run_command.
        # pylint: disable-next=ansible-bad-function
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
        if done.returncode == 0:
            return
        # A manager that starts no units, as in some containers. The process bounds its life by itself, too.
    # Its parent ends at once, so that init takes it over.
    first = "import os, subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
    # The core has no AnsibleModule and so no run_command.
    # pylint: disable-next=ansible-bad-function
    subprocess.run(
        [*python, "-c", first, *python, program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=True,
        timeout=20,
        check=True,
        cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
    )


def _await(directory: str) -> dict[str, Any]:
    end = time.monotonic() + _START_WAIT
    while time.monotonic() < end:
        state = _ask(directory, "status")
        if state is not None:
            return state
        try:
            with open(os.path.join(directory, _responder.FAILURE), encoding="utf-8") as file:
                reason = file.read().strip().splitlines()[-1]
            raise ResponderError(f"the responder ended while it started: {reason}")
        except OSError:
            pass
        time.sleep(0.02)
    raise ResponderError(f"the responder did not come up within {_START_WAIT:.0f} seconds: look at the journal of this host")


def _ask(directory: str, command: str) -> dict[str, Any] | None:
    data = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_STOP_WAIT)
            sock.connect(os.path.join(directory, _responder.CONTROL))
            sock.sendall(command.encode())
            while True:
                chunk = sock.recv(65536)
                if not chunk:
                    break
                data += chunk
        state: dict[str, Any] = json.loads(data)
    except (OSError, ValueError):
        return None
    return state


def _left_visits(directory: str) -> list[dict[str, Any]]:
    try:
        with open(os.path.join(directory, _responder.VISITS), encoding="utf-8") as file:
            visits: list[dict[str, Any]] = json.load(file)
    except (OSError, ValueError):
        return []
    return visits


def _process(directory: str) -> int | None:
    """Return the pid of the responder of a directory, None if it is gone and the number belongs to another."""
    try:
        with open(os.path.join(directory, _responder.PID), encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return pid if os.fsencode(directory) in file.read() else None
    except (OSError, ValueError):
        return None


def _end(identity: str, directory: str) -> None:
    """Make sure that process, unit and directory are gone."""
    end = time.monotonic() + _STOP_WAIT
    pid = _process(directory)
    if pid is not None:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    unit = f"{UNIT_PREFIX}{identity}.service"
    while os.path.exists(f"/run/systemd/transient/{unit}") and time.monotonic() < end:
        time.sleep(0.02)
    if os.path.exists(f"/run/systemd/transient/{unit}"):
        # The core has no AnsibleModule and so no run_command.
        # pylint: disable-next=ansible-bad-function
        subprocess.run(["systemctl", "stop", unit], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    shutil.rmtree(directory, ignore_errors=True)
