# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill the controller after every task of publish_server that can change something, one run per task.

After each kill either the next run completes the publication (and unpublish takes it back), or unpublish takes everything
back at once; both end with a lab that equals the virgin one. By default the two repairs take turns, with --all each task
gets both. unpublish_server itself is killed after each of its tasks as well (with --all, or --playbook unpublish).
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import lablib
import manifest

PUBLISH = "homeserver.hardening.publish_server"
UNPUBLISH = "homeserver.hardening.unpublish_server"
PLUGINS = {"ANSIBLE_CALLBACK_PLUGINS": str(lablib.E2E / "callback_plugins"), "ANSIBLE_CALLBACKS_ENABLED": "kill_after"}


class Wrong(Exception):
    """A repair that did not repair."""


@dataclass(frozen=True)
class Case:
    """Kill a playbook after a task, then repair."""

    playbook: str
    number: int
    task: str
    repair: str


class Worker:
    """One lab, and the cases that run on it."""

    def __init__(self, number: int, system: str) -> None:
        self.lab = lablib.Lab(lablib.name_of("k", str(number)), lablib.OUTPUT / "kill" / str(number))
        self.system = system
        self.home = lablib.Home(self.lab)

    def up(self) -> None:
        """A fresh lab."""
        self.lab.forget_connections()
        self.lab.down()
        self.lab.up("dynamic_global", self.system)
        self.home.start_services()
        self.virgin = manifest.collect(self.lab)

    def down(self) -> None:
        """Leave nothing."""
        self.lab.forget_connections()
        self.lab.down()

    def run(self, playbook: str) -> lablib.Run:
        """Run a playbook that must end well."""
        run = self.lab.playbook(playbook)
        if run.returncode:
            raise Wrong(str(run))
        return run

    def tasks(self, playbook: str) -> list[str]:
        """Run a playbook whole; return its tasks that can change something."""
        path = self.lab.output / "tasks.txt"
        path.unlink(missing_ok=True)
        run = self.lab.playbook(playbook, env={**PLUGINS, "HOMESERVER_KILL_LIST": str(path)})
        if run.returncode:
            raise Wrong(str(run))
        return path.read_text().splitlines()

    def is_virgin(self) -> None:
        """All is as it was."""
        differences = manifest.compare(self.virgin, manifest.collect(self.lab))
        if differences:
            raise Wrong("not as it was before:\n" + "\n".join(differences))
        if self.home.open_names():
            raise Wrong(f"still open from outside: {self.home.open_names()}")

    def is_published(self) -> None:
        """Everything answers someone on the Internet."""
        seen = self.home.from_outside()
        if set(seen.values()) != {"open"}:
            raise Wrong(f"not reachable: {seen}")
        if self.home.resolve() != [self.lab.vars["lab_wan_address"]]:
            raise Wrong(f"the name leads to {self.home.resolve()}")

    def case(self, case: Case) -> None:
        """One kill and its repair."""
        if case.playbook == UNPUBLISH:
            self.run(PUBLISH)
        killed = self.lab.playbook(case.playbook, env={**PLUGINS, "HOMESERVER_KILL_AFTER": str(case.number)})
        if killed.returncode not in (-9, 137):
            raise Wrong(f"the run was to be killed and ended {killed.returncode}\n{killed}")
        if case.repair == "publish":
            self.run(PUBLISH)
            self.is_published()
            if set(self.run(PUBLISH).changed.values()) != {0}:
                raise Wrong("the run after the repair changed something again")
        self.run(UNPUBLISH)
        self.is_virgin()


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="both repairs after every task, and unpublish_server killed as well")
    parser.add_argument("--playbook", choices=["publish", "unpublish"], default="publish")
    parser.add_argument("--jobs", type=int, default=2, help="labs at a time")
    parser.add_argument("--task", type=int, action="append", help="only this task's number; may be repeated")
    parser.add_argument("--repair", choices=["publish", "unpublish"], help="only this repair")
    parser.add_argument("--list", action="store_true", help="only say which tasks can change something")
    options = parser.parse_args()
    started = time.monotonic()
    shutil.rmtree(lablib.OUTPUT / "kill", ignore_errors=True)
    workers = [Worker(number, ("bookworm", "trixie")[number % 2]) for number in range(options.jobs)]
    todo: queue.Queue[Case] = queue.Queue()
    failed: list[str] = []
    done = 0
    lock = threading.Lock()

    def work(worker: Worker) -> None:
        nonlocal done
        fresh = True
        while True:
            try:
                case = todo.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            problem = ""
            try:
                if not fresh:
                    worker.up()
                worker.case(case)
                fresh = True
            except (Wrong, lablib.LabError, OSError, ValueError) as error:
                problem = str(error) or type(error).__name__
                fresh = False
            with lock:
                done += 1
                name = f"{case.playbook.rsplit('.', 1)[-1]} killed after {case.number} ({case.task}), then {case.repair}"
                print(f"{'failed' if problem else 'passed'}  {time.monotonic() - began:6.1f} s  {name}", flush=True)
                if problem:
                    failed.append(name)
                    print("\n".join("    " + text[:400] for text in problem.splitlines()[-60:]), flush=True)

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            list(pool.map(Worker.up, workers))
        tasks = {}
        try:
            tasks[PUBLISH] = workers[0].tasks(PUBLISH)
            tasks[UNPUBLISH] = workers[0].tasks(UNPUBLISH)
            workers[0].is_virgin()
        except Wrong as error:
            print(f"the run that should not be killed failed:\n{error}")
            return 1
        playbooks = [PUBLISH, UNPUBLISH] if options.all else [PUBLISH if options.playbook == "publish" else UNPUBLISH]
        for playbook in playbooks:
            print(f"{playbook}: {len(tasks[playbook])} tasks can change something", flush=True)
            for number, task in enumerate(tasks[playbook], 1):
                _host, action, name = task.split("\t")
                text = f"{name}: {action.rsplit('.', 1)[-1]}"
                if options.list:
                    print(f"{number:4} {text}")
                repairs = ["publish", "unpublish"] if options.all else [("publish", "unpublish")[number % 2]]
                for repair in [options.repair] if options.repair else repairs:
                    if not options.list and (not options.task or number in options.task):
                        todo.put(Case(playbook, number, text, repair))
        if options.list:
            return 0
        with ThreadPoolExecutor(len(workers)) as pool:
            list(pool.map(work, workers))
    finally:
        for worker in workers:
            with contextlib.suppress(Exception):
                worker.down()
    print(f"kill test: {done - len(failed)} passed, {len(failed)} failed, {done} runs were killed, {time.monotonic() - started:.0f} s")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
