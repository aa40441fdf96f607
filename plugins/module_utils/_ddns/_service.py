# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service of dynamic DNS on the host: settings, secret, a hardened oneshot unit and its timer.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from .._plan import CREATE, HIDDEN, REMOVE, UPDATE, Change, Plan, compare
from ._config import CONFIG_FILE, CREDENTIAL, CREDENTIAL_FILE, Config
from ._result import BUSY, CONFIG, EXIT_STATUS, LAGGING, UNKNOWN, DdnsError

SERVICE, TIMER = "homeserver-ddns.service", "homeserver-ddns.timer"
UNIT_DIRECTORY = "/etc/systemd/system"
#: Read by the unit; it exists only while a playbook run waits for the service.
RUN_FILE = "/run/homeserver-ddns.env"

_MIN_INTERVAL, _MAX_INTERVAL = 60, 86400
_BOOTED = "/run/systemd/system"

#: Runs a command; tests put their own in.
Runner = Callable[..., "subprocess.CompletedProcess[str]"]

_SERVICE_TEXT = """\
# Managed by the Ansible collection homeserver.hardening.
[Unit]
Description=Keep the DNS name of this host pointing at its public address
After=network.target time-sync.target nss-lookup.target

[Service]
Type=oneshot
ExecStart={command} ddns --state-dir {state_dir}
EnvironmentFile=-{run_file}
LoadCredential={credential}:{credential_file}
# Not failures: an authority that is behind will follow; a playbook run that holds the host ends.
SuccessExitStatus={lagging} {busy}
TimeoutStartSec=150
UMask=0077
ReadWritePaths={state_dir}
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
"""

_TIMER_TEXT = """\
# Managed by the Ansible collection homeserver.hardening.
[Unit]
Description=Keep the DNS name of this host pointing at its public address

[Timer]
OnActiveSec=45s
OnUnitInactiveSec={interval}s
RandomizedDelaySec=30s
AccuracySec=15s

[Install]
WantedBy=timers.target
"""


@dataclass(frozen=True)
class Paths:
    """Where things are."""

    config: str = CONFIG_FILE
    credential: str = CREDENTIAL_FILE
    units: str = UNIT_DIRECTORY
    command: str = "/usr/local/sbin/homeserver-agent"

    def unit(self, name: str) -> str:
        """Return the path of a unit file."""
        return os.path.join(self.units, name)


@dataclass(frozen=True)
class Wanted:
    """A file as it shall be."""

    text: str
    mode: int
    secret: bool = False


def service_text(state_dir: str, paths: Paths) -> str:
    """Return the unit of one run."""
    return _SERVICE_TEXT.format(
        command=paths.command,
        state_dir=state_dir,
        run_file=RUN_FILE,
        credential=CREDENTIAL,
        credential_file=paths.credential,
        lagging=EXIT_STATUS[LAGGING],
        busy=EXIT_STATUS[BUSY],
    )


def timer_text(interval: int) -> str:
    """Return the unit that starts the runs."""
    if not _MIN_INTERVAL <= interval <= _MAX_INTERVAL:
        raise DdnsError(CONFIG, f"interval is {interval}: it must be {_MIN_INTERVAL} to {_MAX_INTERVAL} seconds")
    return _TIMER_TEXT.format(interval=interval)


def wanted_files(settings: Mapping[str, Any], secret: str, interval: int, state_dir: str, paths: Paths) -> dict[str, Wanted]:
    """Return all files, checked; the order is the order of writing."""
    Config.from_mapping(settings).key(secret)
    if not os.path.isabs(state_dir) or any(char.isspace() or char in "%\"'\\$" for char in state_dir):
        raise DdnsError(CONFIG, f"state_dir is {state_dir!r}: it must be an absolute path without spaces, quotes, '%', '$' and backslashes")
    return {
        paths.credential: Wanted(secret.strip() + "\n", 0o600, secret=True),
        paths.config: Wanted(json.dumps(dict(settings), indent=2, sort_keys=True, ensure_ascii=False) + "\n", 0o644),
        paths.unit(SERVICE): Wanted(service_text(state_dir, paths), 0o644),
        paths.unit(TIMER): Wanted(timer_text(interval), 0o644),
    }


class Installation:
    """The service as it is, and the way to what it shall be."""

    def __init__(self, paths: Paths | None = None, run: Runner | None = None) -> None:
        self._paths = paths or Paths()
        self.run = run or _run
        self._booted = os.path.isdir(_BOOTED)

    def plan_started(self, files: Mapping[str, Wanted]) -> Plan:
        """Return what leads to a running timer."""
        plan = Plan()
        for path, wanted in files.items():
            plan.add(_compare_file(path, wanted))
        plan.add(compare("unit", TIMER, self._timer(), {"enabled": True, "active": True} if self._booted else {"enabled": True}))
        return plan

    def plan_stopped(self) -> Plan:
        """Return what leads to no more runs; settings and secret stay, for those who want to take the record back."""
        plan = Plan()
        plan.add(compare("unit", TIMER, self._timer() if shutil.which("systemctl") else None, None))
        for path in (self._paths.unit(TIMER), self._paths.unit(SERVICE)):
            plan.add(_removal(path))
        return plan

    def plan_absent(self) -> Plan:
        """Return what leads to nothing being left."""
        plan = self.plan_stopped()
        plan.add(_removal(self._paths.config))
        plan.add(_removal(self._paths.credential, secret=True))
        return plan

    def check(self, plan: Plan, files: Mapping[str, Wanted]) -> None:
        """Refuse what cannot work, before anything is changed."""
        if not os.access(self._paths.command, os.X_OK):
            raise DdnsError(CONFIG, f"{self._paths.command} is missing: install the agent first (homeserver.hardening.agent_bundle)")
        if any(change.kind == "file" and change.after is not None and self._is_unit(change.name) for change in plan.changes):
            self._verify({os.path.basename(path): wanted.text for path, wanted in files.items() if self._is_unit(path)})

    def apply(self, plan: Plan, files: Mapping[str, Wanted]) -> None:
        """Execute a plan."""
        units = [change for change in plan.changes if change.kind == "file" and self._is_unit(change.name)]
        for change in plan.changes:
            if change.kind == "unit" and change.after is None:
                self._systemctl("disable", "--now", TIMER)
                self._systemctl("stop", SERVICE)
        for change in plan.changes:
            if change.kind != "file":
                continue
            if change.after is None:
                os.unlink(change.name)
            else:
                _write(change.name, files[change.name])
        if plan.changed and self._booted:
            self._systemctl("daemon-reload")
            if any(change.after is None for change in units):
                # A failed last run would keep the name of the unit alive.
                self.run("systemctl", "reset-failed", SERVICE, TIMER)
        self._switch_on(plan, units)
        for directory in (os.path.dirname(self._paths.credential), os.path.dirname(self._paths.config)):
            # Others may keep things there.
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def _is_unit(self, path: str) -> bool:
        return os.path.dirname(path) == self._paths.units

    def _switch_on(self, plan: Plan, units: list[Change]) -> None:
        if any(change.kind == "unit" and change.after is not None for change in plan.changes):
            self._systemctl("enable", *(("--now",) if self._booted else ()), TIMER)
        if self._booted and any(change.action == UPDATE and change.name in (TIMER, self._paths.unit(TIMER)) for change in (*plan.changes, *units)):
            self._systemctl("restart", TIMER)

    def _timer(self) -> dict[str, bool] | None:
        """Return the state of the timer, None if it is off."""
        if not self._booted:
            enabled = self.run("systemctl", "is-enabled", "--quiet", TIMER).returncode == 0
            return {"enabled": True} if enabled else None
        shown = self.run("systemctl", "show", "--property=UnitFileState,ActiveState,NeedDaemonReload", TIMER).stdout.splitlines()
        enabled, active = "UnitFileState=enabled" in shown, "ActiveState=active" in shown
        if not enabled and not active:
            return None
        state = {"enabled": enabled, "active": active}
        # Whoever was killed between writing the file and telling systemd left it with the old one.
        return {**state, "outdated": True} if "NeedDaemonReload=yes" in shown else state

    def _systemctl(self, *arguments: str) -> None:
        done = self.run("systemctl", *arguments)
        if done.returncode and not (arguments[0] in ("disable", "stop") and not os.path.exists(self._paths.unit(arguments[-1]))):
            raise DdnsError(UNKNOWN, f"'systemctl {' '.join(arguments)}' failed: {done.stderr.strip() or done.returncode}")

    def _verify(self, texts: Mapping[str, str]) -> None:
        """Let systemd itself check the units, before they are where it reads them."""
        if not self._booted or shutil.which("systemd-analyze") is None:
            return
        with tempfile.TemporaryDirectory() as directory:
            for name, text in texts.items():
                with open(os.path.join(directory, name), "w", encoding="utf-8") as stream:
                    stream.write(text)
            done = self.run("systemd-analyze", "verify", "--recursive-errors=no", *(os.path.join(directory, name) for name in texts))
            if done.returncode:
                raise DdnsError(UNKNOWN, f"systemd refuses the units: {done.stderr.strip()[:500]}")


def _compare_file(path: str, wanted: Wanted) -> Change | None:
    before = _read(path)
    if before is not None and before == (wanted.text, wanted.mode):
        return None
    if wanted.secret:
        shown = {"content": HIDDEN, "mode": f"{wanted.mode:04o}"}
        return Change(UPDATE if before else CREATE, "file", path, {"content": "(another)", "mode": f"{before[1]:04o}"} if before else None, shown)
    return compare("file", path, None if before is None else _shown(*before), _shown(wanted.text, wanted.mode))


def _removal(path: str, secret: bool = False) -> Change | None:
    before = _read(path)
    if before is None:
        return None
    return Change(REMOVE, "file", path, {"content": HIDDEN} if secret else _shown(*before), None)


def _shown(text: str, mode: int) -> str:
    return f"mode {mode:04o}\n{text}"


def _read(path: str) -> tuple[str, int] | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(), os.fstat(stream.fileno()).st_mode & 0o7777
    except FileNotFoundError:
        return None


def _write(path: str, wanted: Wanted) -> None:
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        parent = os.path.dirname(directory)
        if not os.path.isdir(parent):
            os.mkdir(parent, 0o755)
            os.chmod(parent, 0o755)
        os.mkdir(directory, 0o700)
        os.chmod(directory, 0o700 if wanted.secret else 0o755)
    handle, temporary = tempfile.mkstemp(prefix=".ddns.", dir=directory)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(wanted.text)
            stream.flush()
            os.fchmod(stream.fileno(), wanted.mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        # The core has no AnsibleModule and so no run_command.
        # pylint: disable-next=ansible-bad-function
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False)
    except FileNotFoundError as error:
        raise DdnsError(CONFIG, f"{command[0]} is missing: this role needs a host with systemd") from error
