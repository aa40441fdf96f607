# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnose every line in the lab and print what came out beside what its file expects. The last line says how many were right.

    tests/lines/run [NAME or path/to/line.yml …] [--jobs N]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import lablib

#: What a diagnosis may take, in seconds and in tasks of the recap.
SECONDS, TASKS = 12.0, 10


@dataclass
class Result:
    """What was found on one line."""

    name: str
    expected: str = "?"
    found: str = "-"
    seconds: float = 0.0
    tasks: int = 0
    seed: int = 0
    wrong: list[str] = field(default_factory=list)


def compare(expected: dict[str, Any], line: dict[str, Any]) -> list[str]:
    """Return what is not as the line's file expects it. Reasons may be more than the expected ones, contradictions may not."""
    exact = [key for key in expected if key not in ("reasons", "contradictions")]
    wrong = [f"{key} {line.get(key)} instead of {expected[key]}" for key in exact if line.get(key) != expected[key]]
    missing = sorted(set(expected.get("reasons") or ()) - set(line["verdict_reasons"]))
    if missing:
        wrong.append(f"no reason {', '.join(missing)} among {', '.join(line['verdict_reasons'])}")
    found, wanted = sorted(row["name"] for row in line["contradictions"]), sorted(expected.get("contradictions") or ())
    if found != wanted:
        wrong.append(f"contradictions {', '.join(found) or 'none'} instead of {', '.join(wanted) or 'none'}")
    return wrong


def diagnose(lab: lablib.Lab, result: Result) -> None:
    """Run the diagnosis as a user would, and compare."""
    values = lab.vars
    expected = values["lab_expect"]["line"]
    result.expected, result.seed = expected["verdict"], values["lab_seed"]
    outside = {"stun_servers": values["lab_stun_servers"], "echo_urls": values.get("lab_echo_urls") or []}
    extra = {"homeserver_outside": outside, "publish_services": values.get("lab_services") or values["publish_services"], **(values.get("lab_diagnose") or {})}
    run = lab.playbook("homeserver.hardening.diagnose", extra=extra)
    result.seconds = run.seconds
    result.tasks = sum(int(number) for number in re.findall(r"\b(?:ok|skipped)=(\d+)", run.output))
    if run.returncode:
        result.wrong.append(f"diagnose ended {run.returncode}, see {run.log}")
        return
    reports = sorted((lab.output / "reports").rglob("report.json"), key=lambda path: path.stat().st_mtime)
    line = json.loads(reports[-1].read_text())["line"]
    result.found = line["verdict"]
    result.wrong += compare(expected, line)
    if result.seconds > SECONDS:
        result.wrong.append(f"it took {result.seconds:.1f} s, more than {SECONDS:g}")
    if result.tasks > TASKS:
        result.wrong.append(f"it took {result.tasks} tasks, more than {TASKS}")


def one(line: str) -> Result:
    """Bring one line up, diagnose it, take it down."""
    result = Result(Path(line).stem)
    lab = lablib.Lab(lablib.name_of("l", result.name))
    try:
        lab.up(line)
        diagnose(lab, result)
    except Exception as error:
        # One line that cannot be built must not hide the others.
        result.wrong.append(f"{type(error).__name__}: {error}")
    finally:
        lab.forget_connections()
        lab.down()
    word = "WRONG" if result.wrong else "right"
    print(f"{word}  {result.name:22} {result.found:20} {result.seconds:5.1f} s {result.tasks:3} tasks  seed {result.seed}", flush=True)
    for text in result.wrong:
        print(f"       {text}", flush=True)
    return result


def matrix(results: list[Result]) -> str:
    """Return the confusion matrix: a row for each verdict that was expected, a column for each that was found."""
    rows, columns = sorted({one.expected for one in results}), sorted({one.found for one in results})
    wide = max(map(len, [*rows, "expected"])) + 2
    lines = [f"{'expected':{wide}}" + "".join(f"{name:>{len(name) + 2}}" for name in columns)]
    for row in rows:
        counts = [sum(1 for one in results if (one.expected, one.found) == (row, column)) for column in columns]
        lines.append(f"{row:{wide}}" + "".join(f"{count or '.':>{len(name) + 2}}" for name, count in zip(columns, counts)))
    return "\n".join(lines)


def main() -> int:
    """Run the lines that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lines", nargs="*", help="names, or paths of files anywhere; all that ship by default")
    parser.add_argument("--jobs", type=int, default=2, help="labs at a time")
    options = parser.parse_args()
    lines = options.lines or sorted(path.stem for path in lablib.LINES.glob("*.yml"))
    started = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(one, lines))
    right = sum(1 for result in results if not result.wrong)
    print(f"\n{matrix(results)}\n\n{time.monotonic() - started:.0f} s")
    print(f"lines: {right} of {len(results)} right")
    return 0 if right == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
