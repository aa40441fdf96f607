# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges every line and prints what came out beside what was expected. The last line says how many were right.

    python -m ansible_collections.homeserver.hardening.tests.integration.line.matrix [NAME…]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible_collections.homeserver.hardening.tests.integration.line.cases import CASES, Case
from ansible_collections.homeserver.hardening.tests.integration.line.lines import SEED, Line, World


def judge_all(world: World, chosen: list[Case]) -> list[Any]:
    """Return one result per line, an exception where it could not be built or judged."""

    def one(number: int) -> Any:
        try:
            line = Line(world, number + 1)
            return line.judge(**(chosen[number].build(line) or {}))
        except Exception as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, range(len(chosen))))


def wrong(case: Case, result: Any) -> str:
    """Return what is not as expected, nothing if all is."""
    if isinstance(result, Exception):
        return f"{type(result).__name__}: {result}"[:200]
    line = result["line"]
    found = []
    if line["verdict"] != case.verdict:
        found.append(f"verdict {line['verdict']}")
    if line["inbound_ipv4"] != case.inbound:
        found.append(f"inbound {line['inbound_ipv4']}")
    if case.confidence and line["confidence"] != case.confidence:
        found.append(f"confidence {line['confidence']}")
    names = {one["name"] for one in line["contradictions"]}
    if names != set(case.contradictions):
        found.append(f"contradictions {', '.join(sorted(names)) or 'none'}")
    if not set(case.reasons) <= set(line["verdict_reasons"]):
        found.append(f"reasons {', '.join(line['verdict_reasons'])}")
    return "; ".join(found)


def main(names: list[str]) -> int:
    """Judge the named lines, or all."""
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        print(f"no line is called {', '.join(sorted(unknown))}; there are: {', '.join(case.name for case in CASES)}")
        return 2
    chosen = [case for case in CASES if not names or case.name in names]
    directory = Path(tempfile.mkdtemp(prefix="homeserver-line-"))
    world = World(directory)
    try:
        world.start()
        results = judge_all(world, chosen)
    finally:
        world.stop()
        shutil.rmtree(directory, ignore_errors=True)
    right = 0
    for case, result in zip(chosen, results):
        fault = wrong(case, result)
        right += not fault
        elapsed = f"{result['elapsed']:.2f} s" if isinstance(result, dict) else ""
        print(f"{'WRONG' if fault else 'right':5}  {case.name:18} {case.verdict:20} {case.inbound:14} {elapsed:7} {fault}".rstrip())
    print(f"HOMESERVER_SEED={SEED}")
    print(f"lines: {right} of {len(chosen)} right")
    return 0 if right == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
