# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Molecule scenarios, each on a fresh lab, several at a time; one line per scenario and a count at the end."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import lablib

SCENARIOS = lablib.ROOT / "extensions" / "molecule"
#: A scenario takes about a minute; this is for one that hangs.
TIMEOUT = 480


def scenarios() -> list[str]:
    """Return the names of all scenarios."""
    return sorted(path.parent.name for path in SCENARIOS.glob("*/molecule.yml"))


def step_problem(log: str) -> str:
    """Return why a log that ended well is not believed, or nothing.

    A play that matches no host ends well. So each step that shall touch the server must show it in its recap.
    """
    steps = re.split(r"^.*\[[^\]]+ > (\w+)\] Executing\s*$", log, flags=re.M)
    recaps: dict[str, list[bool]] = {}
    for action, text in zip(steps[1::2], steps[2::2]):
        recaps.setdefault(action, []).append(bool(re.search(r"^server\s+: ok=[1-9]", text, re.M)))
    for action in ("check", "converge", "idempotence", "verify"):
        if not any(recaps.get(action, [])):
            return f"step {action!r} did not touch the host server"
    return ""


def interesting(log: str) -> list[str]:
    """Return the part of a log that shows the first failure."""
    lines = [line for line in log.splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if re.match(r"fatal:|failed:|\[ERROR\]|ERROR|CRITICAL|Traceback", line)), len(lines) - 30)
    return lines[max(0, first - 3) : first + 40]


def run(scenario: str, system: str, keep: bool) -> tuple[str, str, float, str, Path]:
    """Run one scenario; return its name, system, seconds, what is wrong (empty: nothing) and its log."""
    name = lablib.name_of("m", system, scenario)
    place = lablib.OUTPUT / "molecule" / system
    state = place / f"{scenario}.state"
    log = place / f"{scenario}.log"
    place.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    lab = lablib.Lab(name, place / scenario)
    lab.down()
    env = {
        **lab.environment(),
        "LAB_OS": system,
        # Its own directory: Molecule's memory of what it created is otherwise shared by all checkouts.
        "MOLECULE_EPHEMERAL_DIRECTORY": str(state),
        "NO_COLOR": "1",
        "PY_COLORS": "0",
        "ANSIBLE_FORCE_COLOR": "0",
    }
    # Molecule writes its own configuration file, which wins by being named.
    env.pop("ANSIBLE_CONFIG")
    started = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            lablib.in_place(["molecule", "test", "-s", scenario, *(["--destroy", "never"] if keep else [])]),
            env=env,
            cwd=lablib.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(TIMEOUT)
            problem = f"molecule ended {process.returncode}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            problem = f"killed after {TIMEOUT} s"
    seconds = time.monotonic() - started
    problem = problem or step_problem(log.read_text(errors="replace"))
    lab.forget_connections()
    if not keep or not problem:
        lab.down()
        shutil.rmtree(state, ignore_errors=True)
    return scenario, system, seconds, problem, log


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--os", default="both", choices=["bookworm", "trixie", "both"])
    parser.add_argument("--jobs", type=int, default=2, help="scenarios at a time")
    parser.add_argument("--keep", action="store_true", help="leave the labs of failed scenarios up")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    options = parser.parse_args()
    known = scenarios()
    wanted = options.scenarios or known
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(known)}")
    if not wanted:
        parser.error("there are no scenarios")
    systems = ["bookworm", "trixie"] if options.os == "both" else [options.os]
    failed = []
    started = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in pool.map(lambda job: run(*job, options.keep), [(scenario, system) for scenario in wanted for system in systems]):
            scenario, system, seconds, problem, log = done
            print(f"{'failed' if problem else 'passed'}  {system:9} {scenario:16} {seconds:6.1f} s  {problem}", flush=True)
            if problem:
                failed.append(f"{system} {scenario}")
                print("\n".join("    " + line[:300] for line in interesting(log.read_text(errors="replace"))), f"\n    whole log: {log}", flush=True)
    total = len(wanted) * len(systems)
    print(f"molecule: {total - len(failed)} passed, {len(failed)} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
