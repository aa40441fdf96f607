# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job of the agent on the host: a hardened oneshot unit, its timer, and the files that it needs.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ._files import replace_file
from ._plan import CREATE, HIDDEN, REMOVE, UPDATE, Change, Plan, compare

UNIT_DIRECTORY = "/etc/systemd/system"
COMMAND = "/usr/local/sbin/homeserver-agent"

_MIN_INTERVAL, _MAX_INTERVAL = 60, 86400
_BOOTED = "/run/systemd/system"
_RUN_ID = re.compile(r"[A-Za-z0-9._:+@-]{0,128}\Z")

#: Runs a command; tests put their own in.
Runner = Callable[..., "subprocess.CompletedProcess[str]"]

_SERVICE_TEXT = """\
# Managed by the Ansible collection homeserver.hardening.
[Unit]
Description={description}
After={after}

[Service]
Type=oneshot
ExecStart={command} {name} --state-dir {state_dir}
EnvironmentFile=-{run_file}
{credential}# Not failures: {tolerated_because}.
SuccessExitStatus={tolerated}
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
Description={description}

[Timer]
OnActiveSec=45s
OnUnitInactiveSec={interval}s
RandomizedDelaySec=30s
AccuracySec=15s

[Install]
WantedBy=timers.target
"""


class TimerError(Exception):
    """The job cannot be installed, removed or run.

    Attributes:
        result: C(config) if something that was asked for is wrong or missing, else C(unknown).
    """

    def __init__(self, result: str, text: str) -> None:
        super().__init__(text)
        self.result = result


CONFIG, UNKNOWN = "config", "unknown"


@dataclass(frozen=True)
class Job:
    """A sub-command of the agent that a timer starts.

    Attributes:
        name: the sub-command.
        description: what it does, for C(systemctl status).
        after: the targets that it waits for.
        tolerated: exit statuses that are no failure of the unit.
        tolerated_because: why.
        credential: the name of a secret that systemd hands over; empty if there is none.
    """

    name: str
    description: str
    after: str
    tolerated: tuple[int, ...]
    tolerated_because: str
    credential: str = ""

    @property
    def service(self) -> str:
        """The unit of one run."""
        return f"homeserver-{self.name}.service"

    @property
    def timer(self) -> str:
        """The unit that starts the runs."""
        return f"homeserver-{self.name}.timer"

    @property
    def run_file(self) -> str:
        """Read by the unit; it exists only while a playbook run waits for the service."""
        return f"/run/homeserver-{self.name}.env"

    def service_text(self, state_dir: str, command: str, credential_file: str = "") -> str:
        """Return the unit of one run."""
        if not os.path.isabs(state_dir) or any(char.isspace() or char in "%\"'\\$" for char in state_dir):
            raise TimerError(CONFIG, f"state_dir is {state_dir!r}: it must be an absolute path without spaces, quotes, '%', '$' and backslashes")
        return _SERVICE_TEXT.format(
            name=self.name,
            description=self.description,
            after=self.after,
            command=command,
            state_dir=state_dir,
            run_file=self.run_file,
            credential=f"LoadCredential={self.credential}:{credential_file}\n" if self.credential else "",
            tolerated=" ".join(str(status) for status in self.tolerated),
            tolerated_because=self.tolerated_because,
        )

    def timer_text(self, interval: int) -> str:
        """Return the unit that starts the runs."""
        if not _MIN_INTERVAL <= interval <= _MAX_INTERVAL:
            raise TimerError(CONFIG, f"interval is {interval}: it must be {_MIN_INTERVAL} to {_MAX_INTERVAL} seconds")
        return _TIMER_TEXT.format(description=self.description, interval=interval)


@dataclass(frozen=True)
class Wanted:
    """A file as it shall be."""

    text: str
    mode: int
    secret: bool = False


def unit_files(job: Job, interval: int, state_dir: str, units: str = UNIT_DIRECTORY, command: str = COMMAND, credential_file: str = "") -> dict[str, Wanted]:
    """Return both units, by path."""
    return {
        os.path.join(units, job.service): Wanted(job.service_text(state_dir, command, credential_file), 0o644),
        os.path.join(units, job.timer): Wanted(job.timer_text(interval), 0o644),
    }


class Installation:
    """The job as it is, and the way to what it shall be.

    Args:
        job: the job.
        files: what it needs beside its units, in the order of removal.
        secrets: those of them that no diff shows.
        units: where units are.
        command: the agent.
        run: runs a command.
    """

    def __init__(
        self,
        job: Job,
        files: Sequence[str] = (),
        secrets: Sequence[str] = (),
        units: str = UNIT_DIRECTORY,
        command: str = COMMAND,
        run: Runner | None = None,
    ) -> None:
        self.job = job
        self._files = files
        self._secrets = secrets
        self._units = units
        self._command = command
        self.run = run or _run
        self._booted = os.path.isdir(_BOOTED)

    def plan_started(self, files: Mapping[str, Wanted]) -> Plan:
        """Return what leads to a running timer."""
        plan = Plan()
        for path, wanted in files.items():
            plan.add(_compare_file(path, wanted))
        plan.add(compare("unit", self.job.timer, self._timer(), {"enabled": True, "active": True} if self._booted else {"enabled": True}))
        return plan

    def plan_stopped(self) -> Plan:
        """Return what leads to no more runs; everything else stays."""
        plan = Plan()
        plan.add(compare("unit", self.job.timer, self._timer() if shutil.which("systemctl") else None, None))
        for path in (self._unit(self.job.timer), self._unit(self.job.service)):
            plan.add(_removal(path))
        return plan

    def plan_absent(self) -> Plan:
        """Return what leads to nothing being left."""
        plan = self.plan_stopped()
        for path in self._files:
            plan.add(_removal(path, secret=path in self._secrets))
        return plan

    def check(self, plan: Plan, files: Mapping[str, Wanted]) -> None:
        """Refuse what cannot work, before anything is changed."""
        if not os.access(self._command, os.X_OK):
            raise TimerError(CONFIG, f"{self._command} is missing: install the agent first (homeserver.hardening.agent_bundle)")
        if any(change.kind == "file" and change.after is not None and self._is_unit(change.name) for change in plan.changes):
            self._verify({os.path.basename(path): wanted.text for path, wanted in files.items() if self._is_unit(path)})

    def apply(self, plan: Plan, files: Mapping[str, Wanted]) -> None:
        """Execute a plan."""
        units = [change for change in plan.changes if change.kind == "file" and self._is_unit(change.name)]
        for change in plan.changes:
            if change.kind == "unit" and change.after is None:
                self._systemctl("disable", "--now", self.job.timer)
                self._systemctl("stop", self.job.service)
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
                self.run("systemctl", "reset-failed", self.job.service, self.job.timer)
        self._switch_on(plan, units)
        for directory in dict.fromkeys(os.path.dirname(path) for path in reversed(self._files)):
            # Others may keep things there.
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def _unit(self, name: str) -> str:
        return os.path.join(self._units, name)

    def _is_unit(self, path: str) -> bool:
        return os.path.dirname(path) == self._units

    def _switch_on(self, plan: Plan, units: list[Change]) -> None:
        if any(change.kind == "unit" and change.after is not None for change in plan.changes):
            self._systemctl("enable", *(("--now",) if self._booted else ()), self.job.timer)
        if self._booted and any(change.action == UPDATE and change.name in (self.job.timer, self._unit(self.job.timer)) for change in (*plan.changes, *units)):
            self._systemctl("restart", self.job.timer)

    def _timer(self) -> dict[str, bool] | None:
        """Return the state of the timer, None if it is off."""
        if not self._booted:
            enabled = self.run("systemctl", "is-enabled", "--quiet", self.job.timer).returncode == 0
            return {"enabled": True} if enabled else None
        shown = self.run("systemctl", "show", "--property=UnitFileState,ActiveState,NeedDaemonReload", self.job.timer).stdout.splitlines()
        enabled, active = "UnitFileState=enabled" in shown, "ActiveState=active" in shown
        if not enabled and not active:
            return None
        state = {"enabled": enabled, "active": active}
        # Whoever was killed between writing the file and telling systemd left it with the old one.
        return {**state, "outdated": True} if "NeedDaemonReload=yes" in shown else state

    def _systemctl(self, *arguments: str) -> None:
        done = self.run("systemctl", *arguments)
        if done.returncode and not (arguments[0] in ("disable", "stop") and not os.path.exists(self._unit(arguments[-1]))):
            raise TimerError(UNKNOWN, f"'systemctl {' '.join(arguments)}' failed: {done.stderr.strip() or done.returncode}")

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
                raise TimerError(UNKNOWN, f"systemd refuses the units: {done.stderr.strip()[:500]}")


def run_once(installation: Installation, run_id: str, run_file: str = "") -> tuple[int | None, str]:
    """Start the service for a playbook run and wait: the proof that it works as it is installed.

    Returns its exit status, None if it did not come so far, and what systemd says.
    """
    job, run = installation.job, installation.run
    if not _RUN_ID.match(run_id):
        raise TimerError(CONFIG, f"run id is {run_id[:80]!r}: it has characters that no run id has")
    path = run_file or job.run_file
    try:
        with contextlib.ExitStack() as stack:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            stack.callback(os.unlink, path)
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(f"HOMESERVER_NOW=1\nHOMESERVER_RUN_ID={run_id}\n")
            # A run of the timer may be on its way: it does not know of this playbook run, so its result is not waited for.
            run("systemctl", "stop", job.service)
            started = run("systemctl", "start", job.service)
        shown = run("systemctl", "show", "--property=ExecMainStatus,Result", job.service).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise TimerError(UNKNOWN, f"{job.service} cannot be started: {error}") from error
    properties: dict[str, Any] = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    status = int(properties.get("ExecMainStatus") or 0)
    said = f"result {properties.get('Result')}, status {status}; {started.stderr.strip()}"
    return (None if status == 0 and started.returncode else status), said


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
    replace_file(path, wanted.text.encode(), wanted.mode)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        # The core has no AnsibleModule and so no run_command.
        # pylint: disable-next=ansible-bad-function
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False)
    except FileNotFoundError as error:
        raise TimerError(CONFIG, f"{command[0]} is missing: this role needs a host with systemd") from error
