# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""UPnP on a Linux router that runs miniupnpd: read what is there, plan, apply, read back.

Private to this collection.

A daemon that is stopped leaves its rules, and its lease file brings them back. So stopping it is a third of the work.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._files import replace_file
from .._firewall.system import SEARCH_PATH, Nft, SystemProblem, run, tool
from .._plan import Plan, compare
from .._state import DEFAULT_DIRECTORY, StateDir, StateError
from . import _miniupnpd as miniupnpd
from ._miniupnpd import CHAINS, Found, RouterError

RECORD = "router_upnp.json"
ENABLED, DISABLED, RESTORED = "enabled", "disabled", "restored"
_STOP_TIMEOUT = 10.0
_LOCK_TIMEOUT = 60.0


@dataclass(frozen=True)
class Options:
    """What the module was asked for."""

    state: str
    unit: str = "miniupnpd.service"
    process: str = "miniupnpd"
    pid_file: str = ""
    start_command: Sequence[str] = ()
    chains: Sequence[str] = CHAINS
    table: str = ""
    configuration: str = "/etc/miniupnpd/miniupnpd.conf"
    lease_file: str = ""
    keep_rules: bool = False
    end_connections: bool = False
    state_dir: str = DEFAULT_DIRECTORY


@dataclass(frozen=True)
class Daemon:
    """How the daemon stands.

    Attributes:
        unit: the unit, empty if systemd knows none.
        active: whether systemd takes it for running.
        enabled: whether it starts at boot; None where systemd does not decide that.
        pids: the processes, also those that systemd knows nothing of.
    """

    unit: str = ""
    active: bool = False
    enabled: bool | None = None
    pids: tuple[int, ...] = ()

    @property
    def running(self) -> bool:
        """Whether it runs, however it was started."""
        return self.active or bool(self.pids)

    def as_data(self) -> dict[str, Any]:
        """Return it as the module does."""
        return {"unit": self.unit, "running": self.running, "enabled": self.enabled}


@dataclass(frozen=True)
class Reading:
    """What is there at one moment; C(leases) by file."""

    daemon: Daemon
    found: Found
    leases: dict[str, list[str]]


@dataclass
class Result:
    """What the module returns."""

    plan: Plan = field(default_factory=Plan)
    data: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def make_plan(options: Options, reading: Reading, record: dict[str, Any] | None) -> Plan:
    """Return what leads from what is there to what is asked for, in the order of execution."""
    plan = Plan()
    daemon = reading.daemon
    if options.state == DISABLED:
        if daemon.enabled:
            plan.add(compare("unit_file", daemon.unit, "enabled", "disabled"))
        if daemon.running:
            plan.add(compare("daemon", daemon.unit or options.process, "running", "stopped"))
        for path, rows in reading.leases.items():
            if rows:
                plan.add(compare("lease_file", path, "\n".join(rows), "", "a daemon that starts again would make these mappings again"))
        if not options.keep_rules:
            for chain in reading.found.chains:
                rules = [str(rule) for rule in reading.found.rules if rule.chain == chain]
                if rules:
                    plan.add(compare("nft_chain", str(chain), "\n".join(rules), ""))
        return plan
    if options.state == RESTORED and record is None:
        return plan
    was = record if options.state == RESTORED and record else {"enabled": daemon.enabled is not None, "running": True}
    if was.get("enabled") and daemon.enabled is False:
        plan.add(compare("unit_file", daemon.unit, "disabled", "enabled"))
    if was.get("running") and not daemon.running:
        plan.add(compare("daemon", daemon.unit or options.process, "stopped", "running"))
    return plan


class LinuxRouter:
    """The router that this runs on."""

    def __init__(self, options: Options) -> None:
        miniupnpd.check_names(options.chains, options.table)
        self.options = options
        self.nft = Nft()
        self.booted = os.path.isdir("/run/systemd/system")
        self.state = StateDir(options.state_dir)
        #: By which connections are found that came in through what is or was there, and whether they were ended.
        self.flows: list[list[str]] = []
        self.flows_ended = False

    def run(self, check_mode: bool) -> Result:
        """Bring it into the state that is asked for, or say what that would be."""
        result = Result()
        before = self._read()
        record = self.state.read(RECORD)
        record = record if isinstance(record, dict) else None
        self._refuse_nothing(before, record)
        result.plan = make_plan(self.options, before, record)
        ended: int | None = 0
        if not check_mode:
            with self._remembering(before, record, result.plan):
                ended = self._apply(before, result)
        after = before if check_mode else self._read()
        if self.options.state == DISABLED and not check_mode:
            self._refuse_untrue(after)
        self._warn(after, result)
        result.data = {
            "daemon": after.daemon.as_data(),
            "chains": [str(chain) for chain in after.found.chains],
            "chains_seen": bool(before.found.chains) or bool(record and record.get("chains")),
            "rules": [rule.as_data() for rule in before.found.rules],
            "rules_left": [rule.as_data() for rule in after.found.rules],
            "mappings": miniupnpd.mappings(before.found.rules),
            "leases_left": sum(len(rows) for rows in after.leases.values()),
            "other_chains": [str(chain) for chain in after.found.others],
            "connections_ended": ended,
            "plan": result.plan.as_data(),
        }
        return result

    # Reading.

    def _read(self) -> Reading:
        return Reading(self._daemon(), miniupnpd.find(self.nft.ruleset(), self.options.chains, self.options.table), self._leases())

    def _daemon(self) -> Daemon:
        pids = tuple(self._pids())
        if not self.booted or not self.options.unit:
            return Daemon(pids=pids)
        wanted = "LoadState,ActiveState,UnitFileState"
        answer = run([tool("systemctl", "systemd"), "show", f"--property={wanted}", "--", self.options.unit]).stdout
        values = dict(line.partition("=")[::2] for line in answer.splitlines())
        if values.get("LoadState") in (None, "not-found", ""):
            return Daemon(pids=pids)
        # Static and masked units are not enabled or disabled.
        enabled = {"enabled": True, "enabled-runtime": True, "disabled": False}.get(values.get("UnitFileState", ""))
        active = values.get("ActiveState") in ("active", "activating", "reloading")
        return Daemon(self.options.unit, active, enabled, pids)

    def _pids(self) -> Iterator[int]:
        """Yield the daemon's processes. One in another network namespace is another router's."""
        named = self._pid_of_file()
        here = os.stat("/proc/self/ns/net").st_ino
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/comm", encoding="utf-8", errors="replace") as stream:
                    comm = stream.read().strip()
                # The kernel keeps 15 characters of a name.
                if (comm == self.options.process[:15] or int(name) == named) and os.stat(f"/proc/{name}/ns/net").st_ino == here:
                    yield int(name)

    def _pid_of_file(self) -> int:
        text = (_text(self.options.pid_file) or "").strip() if self.options.pid_file else ""
        if not text.isdigit():
            return 0
        try:
            with open(f"/proc/{text}/stat", encoding="utf-8", errors="replace") as stream:
                name, _end, rest = stream.read().partition("(")[2].rpartition(")")
            written = os.stat(self.options.pid_file).st_mtime
        except OSError:
            return 0
        began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(rest.split()[19]) / os.sysconf("SC_CLK_TCK")
        if name != self.options.process[:15] and began > written + 2:
            raise RouterError(
                f"{self.options.pid_file} names process {text} ({name}), which began after the file was written, so it seems to be another program by now."
                " Remove the file if the daemon is gone; if it is the daemon and the clock was set since, restart it or name it in process. Nothing was changed"
            )
        return int(text)

    def _leases(self) -> dict[str, list[str]]:
        paths = [self.options.lease_file] if self.options.lease_file else []
        if not paths and self.options.configuration:
            paths = miniupnpd.lease_files(_text(self.options.configuration) or "")
        texts = {path: _text(path) for path in paths}
        return {path: miniupnpd.leases(text) for path, text in texts.items() if text is not None}

    def _refuse_nothing(self, reading: Reading, record: dict[str, Any] | None) -> None:
        """Refuse a host where nothing that was named is found: all of it would count as gone."""
        daemon = reading.daemon
        if self.options.state == DISABLED and daemon.running and not reading.found.chains:
            others = ", ".join(str(chain) for chain in reading.found.others) or "none"
            raise RouterError(
                f"{self.options.process} runs, but no chain of nftables has one of the names {', '.join(self.options.chains)}"
                f"{' in table ' + self.options.table if self.options.table else ''}, so whether its rules are gone could not be told; give the names in chains"
                f" (chains that look like a UPnP daemon's: {others}). Nothing was changed"
            )
        if record is None and self.options.state != RESTORED and not daemon.unit and not daemon.running and not reading.found.chains:
            raise RouterError(
                f"this host has neither a unit {self.options.unit or '(none named)'} nor a process {self.options.process}, nor a chain"
                f" {', '.join(self.options.chains)}: it is not the router, or its names are others; see unit, process and chains. Nothing was changed"
            )
        start = self.options.state == ENABLED or (self.options.state == RESTORED and bool(record and record.get("running")))
        if start and not daemon.unit and not daemon.running and not self.options.start_command:
            gone = f"; if it was uninstalled, there is nothing to restore: remove {self.state.file(RECORD)}" if self.options.state == RESTORED else ""
            raise RouterError(f"systemd has no unit {self.options.unit or '(none named)'}; name the unit, or give start_command{gone}. Nothing was changed")

    def _refuse_untrue(self, after: Reading) -> None:
        if after.daemon.running:
            who = after.daemon.unit or f"process {', '.join(str(pid) for pid in after.daemon.pids)}"
            raise RouterError(f"{who} runs again after it was stopped: something else starts it; find out what, and name it in unit")
        if after.found.rules and not self.options.keep_rules:
            raise RouterError(f"rules came back after the chains were emptied: {'; '.join(str(rule) for rule in after.found.rules[:5])}")

    def _warn(self, after: Reading, result: Result) -> None:
        if self.options.state != DISABLED:
            return
        if after.found.rules:
            result.warnings.append(f"{len(after.found.rules)} rules of {self.options.process} are in force: what they forward is open from the Internet")
        if after.found.others:
            names = ", ".join(str(chain) for chain in after.found.others)
            result.warnings.append(f"these chains look like a UPnP daemon's and hold rules, but are base chains, or not named in chains: {names}")
        if after.daemon.enabled is None:
            result.warnings.append(f"whether {self.options.process} starts at the next boot is not decided by a unit that can be disabled; see to it yourself")

    # Changing.

    @contextlib.contextmanager
    def _remembering(self, before: Reading, record: dict[str, Any] | None, plan: Plan) -> Iterator[None]:
        """Keep how the daemon was until it is so again. Written before anything changes."""
        if self.options.state == DISABLED:
            if record is None and plan.changed:
                # One that is enabled and has died is meant to run, and would at the next boot.
                enabled = bool(before.daemon.enabled)
                record = {"enabled": enabled, "running": before.daemon.running or enabled, "chains": bool(before.found.chains)}
            flows = [list(one) for one in (record or {}).get("flows", ())]
            self.flows = flows + [one for one in miniupnpd.flow_filters(before.found.rules) if one not in flows]
            if record is not None and plan.changed:
                record = {**record, "chains": bool(record.get("chains") or before.found.chains), "flows": self.flows}
                self.state.write(RECORD, record)
            yield
            if record is not None and self.flows and self.flows_ended:
                self.state.write(RECORD, {**record, "flows": []})
            return
        yield
        if record is not None:
            self.state.remove(RECORD)
            self.state.remove_if_empty()

    def _apply(self, before: Reading, result: Result) -> int | None:
        ended: int | None = 0
        flush = []
        for change in result.plan.changes:
            if change.kind == "unit_file":
                # Debian's systemctl would also change the links of a SysV script of that name, which do nothing beside a unit.
                self._systemctl("enable" if change.after == "enabled" else "disable", before.daemon.unit, "SYSTEMCTL_SKIP_SYSV=1")
            elif change.kind == "daemon" and change.after == "running":
                self._start(before.daemon)
            elif change.kind == "daemon":
                self._stop(before.daemon)
            elif change.kind == "lease_file":
                self._empty(change.name)
            elif change.kind == "nft_chain":
                flush.append(next(chain for chain in before.found.chains if str(chain) == change.name))
        if flush:
            # The unit may have removed the chains with its own last command.
            there = miniupnpd.find(self.nft.ruleset(), self.options.chains, self.options.table).chains
            script = miniupnpd.flush_script(chain for chain in flush if chain in there)
            answer = run([self.nft.path, "-f", "-"], script)
            if answer.returncode != 0:
                raise RouterError(f"nft could not empty the chains {', '.join(str(chain) for chain in flush)}: {answer.stderr.strip()}")
        if self.options.end_connections and self.options.state == DISABLED:
            ended = self._end_connections(result)
        return ended

    def _systemctl(self, verb: str, unit: str, *environment: str) -> None:
        answer = run([tool("env", "coreutils"), *environment, tool("systemctl", "systemd"), verb, unit])
        if answer.returncode != 0:
            raise RouterError(f"systemctl {verb} {unit} failed: {answer.stderr.strip()}")

    def _start(self, daemon: Daemon) -> None:
        if daemon.unit:
            self._systemctl("start", daemon.unit)
            return
        answer = run(list(self.options.start_command))
        if answer.returncode != 0:
            raise RouterError(f"start_command {self.options.start_command[0]} ended {answer.returncode}: {answer.stderr.strip()[:300]}")

    def _stop(self, daemon: Daemon) -> None:
        if daemon.unit and daemon.active:
            self._systemctl("stop", daemon.unit)
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + _STOP_TIMEOUT
        while list(self._pids()):
            if time.monotonic() >= end:
                raise RouterError(f"{self.options.process} (process {', '.join(str(pid) for pid in self._pids())}) does not end within {_STOP_TIMEOUT:g} s")
            time.sleep(0.05)

    def _empty(self, path: str) -> None:
        """Empty the lease file and keep whose it is: the daemon does not make a new one everywhere."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            # The unit took it along, as one with a directory of its own below /run does.
            return
        replace_file(path, b"", found.st_mode & 0o7777)
        os.chown(path, found.st_uid, found.st_gid)

    def _end_connections(self, result: Result) -> int | None:
        conntrack = shutil.which("conntrack", path=SEARCH_PATH)
        if conntrack is None:
            result.warnings.append(
                "conntrack is not installed (on Debian: apt-get install conntrack), so connections that came in through the mappings go on until they end"
            )
            return None
        ended = 0
        for one in self.flows:
            # It ends with 1 where there is none.
            answer = run([conntrack, "-D", *one])
            ended += len(answer.stdout.splitlines())
        self.flows_ended = True
        return ended


def _text(path: str) -> str | None:
    """Return what is in a file; None if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RouterError(f"{path} cannot be read: {error.strerror}; this needs root (become: true)") from error


def disable_or_enable(options: Options, check_mode: bool) -> Result:
    """Do what the module is asked for."""
    try:
        router = LinuxRouter(options)
        if check_mode or not os.path.isdir(options.state_dir):
            return router.run(check_mode)
        with router.state.lock(_LOCK_TIMEOUT):
            return router.run(check_mode)
    except (SystemProblem, StateError) as error:
        raise RouterError(str(error)) from error
