# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the stages of a test tier and says which passed. Python 3.9+, standard library only.

tools/stages TIER [STAGE...]    run the tier (check, test, all), or only these stages (glob patterns) of all there are
tools/stages --list             say which stages there are

A stage is a command, and two run at a time. Of those that need whole labs, one runs at a time, beside something else. Each writes
tests/output/stages/NAME.log. A command that does not exist fails its stage: nothing is skipped.
The last line is "N passed, N failed", and the exit status is 0 only when none failed.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
LOGS = REPO / "tests" / "output" / "stages"
RECORDS = REPO / "tests" / "output" / "returns"
TIERS = ("check", "test", "all")
TAIL = 40


@dataclass(frozen=True)
class Stage:
    name: str
    tier: str  # the smallest tier that contains it
    what: str
    command: tuple[str, ...]
    venv: str = "dev"
    group: str = ""  # of one group, one stage runs at a time
    minutes: float = 5
    after: tuple[str, ...] = ()
    debian: tuple[str, ...] = ("base",)
    env: dict[str, str] = field(default_factory=dict)
    instead_of: str = ""  # the stage of a smaller tier that this one contains

    @property
    def argv(self) -> list[str]:
        return ["tools/env", "run", self.venv, "tools/inplace", *self.command]


def lab(name: str, tier: str, what: str, *command: str, minutes: float, group: str = "lab", instead_of: str = "") -> Stage:
    return Stage(
        name,
        tier,
        what,
        command,
        group=group,
        minutes=minutes,
        after=("images",),
        debian=("base", "lab"),
        env={
            # A lab of its own name, so that what one stage leaves behind cannot change the next.
            "LAB": f"t-{name}",
            # What our modules return there is written down for the stage "returns".
            "ANSIBLE_CALLBACK_PLUGINS": str(REPO / "tests" / "recorder"),
            "ANSIBLE_CALLBACKS_ENABLED": "record_returns",
            "HOMESERVER_RECORD": str(RECORDS / name),
        },
        instead_of=instead_of,
    )


PYTEST = ("python", "-m", "pytest", "-q", "--durations=10")
UNITS = ("tests/unit", "tests/e2e/unit", "tests/lines/unit")
#: A stage of their own, several at a time: they wait for answers that never come, and need hardly any of the machine. What they need they need at once,
#: since they measure how long it takes.
AT_ONCE = ("nice", "-n", "-10")
ROUTERS = ("tests/integration/port_mapping", "tests/integration/router_upnp", "tests/integration/upnp_audit")
NOT_ROUTERS = tuple(f"--ignore={path}" for path in ROUTERS)
CORE = ("-m", "pytest", "-q", "tests/unit/plugins/module_utils")

STAGES = (
    Stage("lint", "check", "ruff, yamllint, ansible-lint (production), shellcheck", ("tools/stage/lint",), group="lint"),
    Stage("types", "check", "mypy, strict", ("tools/stage/types",)),
    Stage("units", "check", "unit tests on this machine's Python", (*PYTEST, *UNITS, "--ignore-glob=*test_contract*")),
    Stage("contract", "check", "role inputs, arrows, return keys, documents", (*PYTEST, "-m", "contract", "tests/unit")),
    Stage("reuse", "check", "licence of every file", ("reuse", "lint", "--lines")),
    Stage("changelog", "check", "changelog fragments", ("antsibull-changelog", "lint")),
    Stage("docs", "check", "plugin documentation", ("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", ".")),
    Stage(
        "images",
        "test",
        "images of the lab's hosts",
        ("tests/lab/lab", "images"),
        group="lab",
        minutes=20,
        debian=("base", "lab"),
    ),
    # The longest row first: these need one or two whole labs at a time and stand in line for it, all else runs beside them.
    lab("e2e", "test", "publish and unpublish on four lines, and what else is done end to end", "tests/e2e/run", minutes=30),
    lab("molecule-bookworm", "test", "each role on Debian 12", "tests/molecule/run", "--os", "bookworm", minutes=30),
    lab("molecule-trixie", "test", "each role on Debian 13", "tests/molecule/run", "--os", "trixie", minutes=30),
    lab("kill", "test", "the controller killed after each task that changes something", "tests/e2e/kill", minutes=30),
    lab("consumer", "test", "a project that includes our roles", "tests/consumer/run", minutes=15),
    lab("lines", "test", "what is said of every line, with readings missing and false", "tests/lines/run", minutes=20),
    lab("lines-planted", "test", "faults planted into a line, which have to be noticed", *PYTEST, "tests/lines/test_planted.py", minutes=10),
    lab("integration", "test", "each module against the real daemon", *PYTEST, "tests/integration", *NOT_ROUTERS, minutes=25, group="daemons"),
    lab("routers", "test", "port mapping and UPnP against real and hostile routers", *AT_ONCE, *PYTEST, "-n", "3", *ROUTERS, minutes=25, group="daemons"),
    lab("lab", "test", "the lab itself", *PYTEST, "tests/lab", minutes=15, group="daemons"),
    lab("units-py39", "test", "unit tests of the core on Python 3.9", "tests/lab/lab", "python", "3.9", "--", *CORE, minutes=10, group=""),
    lab("units-py313", "test", "unit tests of the core on Python 3.13", "tests/lab/lab", "python", "3.13", "--", *CORE, minutes=10, group=""),
    Stage("tarball", "test", "build, install into an empty place, run by FQCN from there", ("tools/stage/tarball",)),
    Stage("importer", "test", "what Ansible Galaxy checks an upload with", ("tools/stage/importer",), venv="importer", group="lint", minutes=10),
    Stage("sanity-2.18", "test", "ansible-test sanity, oldest core", ("tools/stage/sanity",), venv="core218", group="ansible-test", minutes=20),
    Stage("sanity-newest", "test", "ansible-test sanity, newest core", ("tools/stage/sanity",), venv="newest", group="ansible-test", minutes=20),
    Stage(
        "returns",
        "test",
        "what modules returned in the lab is what they document",
        ("python", "tests/unit/return_checks.py", "tests/output/returns"),
        after=("integration", "routers", "molecule-bookworm", "molecule-trixie", "e2e", "e2e-all", "lines", "consumer"),
    ),
    lab("e2e-all", "all", "every line on every system", "tests/e2e/run", "--all", minutes=120, instead_of="e2e"),
    lab("kill-all", "all", "each task with both repairs", "tests/e2e/kill", "--all", minutes=120, instead_of="kill"),
)


class Run:
    """One stage that was started: its process, its log and how it ended."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.log = LOGS / f"{stage.name}.log"
        self.started = 0.0
        self.seconds = 0.0
        self.status: int | None = None
        self.reason = ""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.started = time.monotonic()
        LOGS.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(RECORDS / self.stage.name, ignore_errors=True)
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "ANSIBLE_NOCOLOR": "1", "NO_COLOR": "1", **self.stage.env}
        env.pop("ANSIBLE_FORCE_COLOR", None)
        with open(self.log, "wb") as out:
            out.write(f"$ {' '.join(self.stage.argv)}\n".encode())
            out.flush()
            try:
                self.process = subprocess.Popen(
                    self.stage.argv, cwd=REPO, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
                )
            except OSError as error:
                self.end(127, f"cannot start: {error.strerror}")

    def poll(self) -> bool:
        """True when it has ended."""
        if self.status is not None:
            return True
        assert self.process is not None
        status = self.process.poll()
        if status is not None:
            self.end(status, "" if status == 0 else f"exit status {status}")
        elif time.monotonic() - self.started > self.stage.minutes * 60:
            self.kill()
            self.end(124, f"took longer than {self.stage.minutes:g} minutes")
        return self.status is not None

    def end(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        self.seconds = time.monotonic() - self.started

    def kill(self) -> None:
        assert self.process is not None
        for number, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(timeout=patience)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def last_line(self) -> str:
        try:
            with open(self.log, "rb") as handle:
                handle.seek(max(0, os.fstat(handle.fileno()).st_size - 2000))
                text = handle.read().decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).strip() for line in re.split(r"[\r\n]", text)]
        return next((line for line in reversed(lines) if re.search(r"\w", line)), "")

    def tail(self) -> str:
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:])
        except OSError as error:
            return str(error)


class Screen:
    """One live line on a terminal; on anything else a line a minute, so that nobody takes silence for a hang."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.spoken = time.monotonic()

    def line(self, text: str = "") -> None:
        print(("\r\x1b[K" if self.live else "") + text, flush=True)
        self.spoken = time.monotonic()

    def progress(self, running: list[Run], done: int, total: int) -> None:
        now = time.monotonic()
        if not running or (not self.live and now - self.spoken < 60):
            return
        parts = [f"{run.stage.name} {now - run.started:.0f} s: {run.last_line()[:70]}" for run in running]
        text = f"[{done}/{total}] " + " | ".join(parts)
        if self.live:
            width = os.get_terminal_size().columns if sys.stdout.isatty() else 120
            print("\r\x1b[K" + text[: width - 1], end="", flush=True)
        else:
            self.line(text)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def execute(stages: list[Stage], jobs: int, fail_fast: bool) -> list[Run]:
    screen = Screen()
    waiting, running, done = list(stages), [], []
    names = {stage.name for stage in stages}
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        while (waiting or running) and not stop.is_set():
            finished = {run.stage.name for run in done}
            for stage in list(waiting):
                if len(running) >= jobs:
                    break
                busy = {run.stage.group for run in running if run.stage.group}
                if stage.group in busy or any(name in names and name not in finished for name in stage.after):
                    continue
                waiting.remove(stage)
                run = Run(stage)
                run.start()
                running.append(run)
                if not screen.live:
                    screen.line(f"start {stage.name}: {stage.what}")
            for run in list(running):
                if not run.poll():
                    continue
                running.remove(run)
                done.append(run)
                screen.line(f"{'PASS' if run.status == 0 else 'FAIL'}  {run.stage.name}  {clock(run.seconds)}" + (f"  ({run.reason})" if run.reason else ""))
                if run.status != 0:
                    screen.line(f"--- the last {TAIL} lines of {run.log.relative_to(REPO)}\n{run.tail()}\n---")
                    if fail_fast:
                        stop.set()
            screen.progress(running, len(done), len(stages))
            time.sleep(0.2)
    except KeyboardInterrupt:
        stop.set()
    for run in running:
        run.kill()
        run.end(130, "interrupted")
        done.append(run)
    for stage in waiting:
        run = Run(stage)
        run.end(130, "not started")
        run.seconds = 0.0
        done.append(run)
    return done


def summary(runs: list[Run], seconds: float) -> int:
    failed = [run for run in runs if run.status != 0]
    width = max(len(run.stage.name) for run in runs)
    print("\nstage".ljust(width + 3) + "result   time")
    for run in runs:
        print(f"{run.stage.name.ljust(width)}  {'PASS' if run.status == 0 else 'FAIL'}  {clock(run.seconds):>7}" + (f"  {run.reason}" if run.reason else ""))
    print(f"{'together'.ljust(width)}        {clock(seconds):>7}")
    for run in failed:
        print(f"{run.stage.name}: {run.reason}; the whole output is in {run.log.relative_to(REPO)}; again with: make test STAGES={run.stage.name}")
    print(f"{len(runs) - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


def chosen(tier: str, patterns: list[str]) -> list[Stage]:
    if not patterns:
        stages = [stage for stage in STAGES if TIERS.index(stage.tier) <= TIERS.index(tier)]
        contained = {stage.instead_of for stage in stages}
        return [stage for stage in stages if stage.name not in contained]
    for pattern in patterns:
        if not any(fnmatch.fnmatch(stage.name, pattern) for stage in STAGES):
            sys.exit(f"stages: there is no stage {pattern}; there are: {' '.join(stage.name for stage in STAGES)}")
    names = {stage.name for stage in STAGES if any(fnmatch.fnmatch(stage.name, pattern) for pattern in patterns)}
    # What a stage cannot do without comes along; after others it only stands back.
    names |= {"images" for stage in STAGES if stage.name in names and "images" in stage.after}
    return [stage for stage in STAGES if stage.name in names]


def as_root(stages: list[Stage]) -> None:
    """The lab makes namespaces and bridges. Without root, the whole run goes through sudo once, rather than each stage by itself."""
    if os.geteuid() == 0:
        return
    namespaces = subprocess.run(["unshare", "-mrn", "true"], check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    if namespaces and not any("lab" in stage.debian for stage in stages):
        return
    for path in (p for p in os.environ.get("PATH", "").split(":") if os.access(os.path.join(p, "sudo"), os.X_OK)):
        print("stages: this needs root (namespaces, bridges): going on through sudo", flush=True)
        os.execv(os.path.join(path, "sudo"), ["sudo", "--preserve-env=CI,STAGES,JOBS,FAIL_FAST,XDG_CACHE_HOME,TERM", "-H", sys.executable, *sys.argv])
    sys.exit(f"stages: this needs root, and there is no sudo. As root, run: {' '.join(sys.argv)}")


def hand_back() -> None:
    """After sudo, what was written into the checkout belongs to the person again."""
    owner = os.environ.get("SUDO_UID")
    if os.geteuid() == 0 and owner and owner != "0":
        subprocess.run(["chown", "-R", f"{owner}:{os.environ.get('SUDO_GID', owner)}", str(REPO / "tests" / "output")], check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tier", nargs="?", choices=TIERS, default="test")
    parser.add_argument("stages", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("JOBS") or 2))
    parser.add_argument("--fail-fast", action="store_true", default=bool(os.environ.get("FAIL_FAST")))
    args = parser.parse_args()
    if args.list:
        for stage in STAGES:
            print(f"{stage.name.ljust(18)} {stage.tier.ljust(6)} {stage.what}")
        return 0
    stages = chosen(args.tier, args.stages)
    as_root(stages)
    started = time.monotonic()
    groups = sorted({group for stage in stages for group in stage.debian})
    venvs = [name for name in ("dev", "core218", "newest", "importer") if any(stage.venv == name for stage in stages)]
    if subprocess.run(["tools/env", "setup", "--debian", ",".join(groups), *venvs], cwd=REPO, check=False, stdin=subprocess.DEVNULL).returncode:
        print("the setup failed; no stage was started\n0 passed, 1 failed")
        return 1
    runs = execute(stages, args.jobs, args.fail_fast)
    hand_back()
    return summary(runs, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
