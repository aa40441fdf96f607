# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of every line, against what its file expects: the whole diagnosis in a lab, and then the verdict with readings missing and false.

tests/lines/run [LINE…]                 names of lines, or paths of files anywhere; all of tests/lab/lines if none is given
tests/lines/run --plant FAULT [LINE]    does something wrong on purpose, which has to be noticed: the exit status is 1

The last line is C(lines: N of M right), and the exit status is 0 only if all are.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import judging
import looking
import plants
import robust
import yaml

from ansible_collections.homeserver.hardening.plugins.module_utils._line._map_e import known_rules, rule_from
from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import Reading
from ansible_collections.homeserver.hardening.plugins.module_utils._line._verdict import judge

LINES = looking.lablib.LINES
#: One of each kind, for where there is little time.
SOME = ("static_global", "dynamic_global", "no_upnp", "double_nat", "cgn", "cgn_public", "map_e_v6plus", "ds_lite", "udp_dropped", "vpn_default_route")


def paths(names: Sequence[str]) -> list[Path]:
    """Return the files of lines that are named, by name or by path."""
    known = {path.stem: path for path in sorted(LINES.glob("*.yml"))}
    found = []
    for name in names or list(known):
        path = known.get(name) or Path(name).resolve()
        if not path.is_file():
            raise SystemExit(f"lines: there is no line {name}; there are {', '.join(known)}, and any file's path will do")
        found.append(path)
    return found


def robustness(finding: dict[str, Any], path: Path, forced: tuple[str, str] | None) -> tuple[list[judging.Complaint], dict[str, int]]:
    """Judge the readings of the last look again, one after the other missing and lying."""
    expect = finding["expect"].get("line")
    if not finding["looks"] or not expect:
        return [], {}
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    rules = [*known_rules(), *(rule_from(rule) for rule in (given.get("diagnose") or {}).get("diagnose_map_rules") or ())]
    readings = [Reading(**one) for one in finding["looks"][-1]["line"]["readings"]]

    def judged(some: Sequence[Reading]) -> dict[str, Any]:
        return {**judge(some, rules), **({"verdict": forced[0], "inbound_ipv4": forced[1]} if forced else {})}

    truth = robust.Truth.of(expect, given["topology"])
    return [judging.Complaint("robustness", text) for text in robust.faults(readings, truth, judged)], robust.count_of(readings)


def examine(path: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[judging.Complaint], dict[str, int], float]:
    """Look at one line and judge what was found; what was found is kept as a file."""
    started = time.monotonic()
    plant = plants.PLANTS.get(options.plant)
    finding = looking.Look(path, options.os, options.seed, options.plant or "").finding(options.keep)
    found, counts = judging.complaints(finding), {}
    if not finding.get("error"):
        more, counts = robustness(finding, path, plant.verdict if plant else None)
        found += more
    looking.OUTPUT.mkdir(parents=True, exist_ok=True)
    (looking.OUTPUT / f"{path.stem}.json").write_text(json.dumps(finding, indent=1), encoding="utf-8")
    return finding, found, counts, time.monotonic() - started


def show(finding: dict[str, Any], found: list[judging.Complaint], path: Path, counts: dict[str, int], seconds: float) -> None:
    """Print one line's result, and how to repeat it."""
    cost = f"diagnosis {finding['seconds']:4.1f} s, {finding['tasks']:2} tasks, " if "tasks" in finding else ""
    tried = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"{'WRONG' if found else 'right':5}  {finding['line']:20} {cost}{tried}, {seconds:.0f} s, seed {finding['seed']}", flush=True)
    for one in found:
        print(f"       {one}")
    if found:
        print(f"       again: tests/lines/run --seed {finding['seed']} {path}; all that was found: {looking.OUTPUT / (path.stem + '.json')}", flush=True)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*", help="names, or paths")
    parser.add_argument("--some", action="store_true", help=f"one of each kind: {', '.join(SOME)}")
    parser.add_argument("--jobs", type=int, default=2, help="labs at a time")
    parser.add_argument("--os", choices=("bookworm", "trixie"), default="bookworm", help="the server's Debian")
    parser.add_argument("--seed", type=int, help="repeat the addresses of an earlier run")
    parser.add_argument("--keep", action="store_true", help="leave the labs up")
    parser.add_argument("--plant", choices=sorted(plants.PLANTS), help="; ".join(f"{name}: {plant.what}" for name, plant in plants.PLANTS.items()))
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Entry point."""
    # Taken down rather than left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = parse(argv)
    chosen = paths(options.lines or (SOME if options.some else ()))
    results = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for path, result in zip(chosen, pool.map(lambda one: examine(one, options), chosen)):
            finding, found, counts, seconds = result
            show(finding, found, path, counts, seconds)
            results.append((finding, found))
    # How long it takes is a promise for one lab; beside another one, a small machine may be too slow.
    for index, (finding, found) in enumerate(results):
        if options.jobs > 1 and not options.plant and {one.about for one in found} == {"cost"}:
            print(f"{chosen[index].stem}: again, alone", flush=True)
            finding, found, counts, seconds = examine(chosen[index], argparse.Namespace(**{**vars(options), "seed": finding["seed"]}))
            show(finding, found, chosen[index], counts, seconds)
            results[index] = finding, found
    for about in ("verdict", "inbound", "egress"):
        rows = [pair for finding, _found in results for pair in judging.pairs(finding, about)]
        print("", *judging.matrix(rows, about), sep="\n")
    right = sum(not found for _finding, found in results)
    print(f"\nlines: {right} of {len(results)} right")
    return 0 if results and right == len(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
