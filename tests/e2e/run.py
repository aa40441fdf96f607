# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End to end: each line, and the cases that need a home of their own. Every job has a fresh lab; several run at a time."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import lablib

SYSTEMS = ("bookworm", "trixie")
#: Where a server is published and taken back. What is said of every other line, tests/lines/run compares.
LINES = ("dynamic_global", "static_global", "cgn", "double_nat")
#: Longest that one job may take.
TIMEOUT = 900


@dataclass(frozen=True)
class Job:
    """Test files that share a lab."""

    line: str
    system: str
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{Path(self.line).stem} {self.system} {'+'.join(name.removeprefix('test_') for name in self.files)}"


#: Cases on the ordinary home, the longest last.
CASES = (("test_foreign",), ("test_lockout", "test_docker"), ("test_inputs",), ("test_upnp",))


def jobs(lines: list[str], systems: list[str], everything: bool) -> list[Job]:
    """Return what to run: by default each line on one system and each case on one, in turn; with everything, each on both."""
    result = []
    for turn, line in enumerate(lines):
        # The ordinary home is what nearly everybody has: on both systems always.
        for system in systems if everything or line == "dynamic_global" or len(systems) == 1 else [systems[turn % len(systems)]]:
            result.append(Job(line, system, ("test_line",)))
    if "dynamic_global" in lines:
        for number, files in enumerate(CASES):
            result.extend(Job("dynamic_global", system, files) for system in (systems if everything else [systems[number % len(systems)]]))
    # The longest is begun first, so that nothing waits for it in the end.
    return result[::-1]


def run(job: Job, arguments: list[str]) -> tuple[Job, int, float, str, Path]:
    """Run one job; return its exit status, seconds, counts and log."""
    place = lablib.OUTPUT / "e2e"
    place.mkdir(parents=True, exist_ok=True)
    log = place / f"{job.name.replace(' ', '-')}.log"
    name = lablib.name_of("e", job.system[0], job.files[0].removeprefix("test_")[:4], Path(job.line).stem[:14])
    argv = [sys.executable, "-m", "pytest", "-q", "--durations=0", "--durations-min=2", "--tb=short", "--rootdir", str(lablib.E2E), "-c", os.devnull]
    argv += ["-p", "no:cacheprovider", "--line", job.line, "--os", job.system, "--lab", name, *arguments]
    argv += [str(lablib.E2E / f"{file}.py") for file in job.files]
    started = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, cwd=lablib.E2E, start_new_session=True, env={**os.environ, "NO_COLOR": "1"}
        )
        try:
            status = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = 124
            stream.write(f"\nkilled after {TIMEOUT} s\n".encode())
            lablib.Lab(name).down()
    text = log.read_text(errors="replace")
    counts = re.findall(r"^=*\s*(\d+ (?:passed|failed|error|skipped|deselected).*?) in ", text, re.M)
    return job, status, time.monotonic() - started, counts[-1] if counts else "no result", log


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--line", action="append", help="only this line (a name, or a path); may be repeated")
    parser.add_argument("--os", choices=SYSTEMS, help="only this system")
    parser.add_argument("--file", action="append", help="only this test file, for example test_inputs; may be repeated")
    parser.add_argument("--all", action="store_true", help="each line and each case on each system")
    parser.add_argument("--jobs", type=int, default=2, help="labs at a time")
    parser.add_argument("--keep", action="store_true", help="leave the labs up")
    parser.add_argument("-k", dest="expression", help="only tests that match, as in pytest")
    options = parser.parse_args()
    known = sorted(path.stem for path in lablib.LINES.glob("*.yml"))
    lines = options.line or list(LINES)
    for line in lines:
        if line not in known and not Path(line).is_file():
            parser.error(f"no such line: {line}; there are {', '.join(known)}")
    wanted = jobs(lines, [options.os] if options.os else list(SYSTEMS), options.all)
    if options.file:
        names = [name.removesuffix(".py") for name in options.file]
        wanted = [Job(job.line, job.system, tuple(file for file in job.files if file in names)) for job in wanted if set(job.files) & set(names)]
    arguments = [*(["--keep"] if options.keep else []), *(["-k", options.expression] if options.expression else [])]
    if not wanted:
        parser.error("that leaves nothing to run")
    failed = 0
    started = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        for job, status, seconds, counts, log in pool.map(lambda one: run(one, arguments), wanted):
            # Status 5: -k left no test in this job.
            bad = status not in ((0, 5) if options.expression else (0,))
            failed += bad
            print(f"{'failed' if bad else 'passed'}  {job.name:46} {seconds:6.1f} s  {counts}", flush=True)
            if bad:
                tail = log.read_text(errors="replace").splitlines()
                at = next((number for number, text in enumerate(tail) if re.match(r"=+ (FAILURES|ERRORS)", text)), max(0, len(tail) - 60))
                print("\n".join("    " + text[:400] for text in tail[at : at + 80]), f"\n    whole log: {log}", flush=True)
    print(f"end to end: {len(wanted) - failed} passed, {failed} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
