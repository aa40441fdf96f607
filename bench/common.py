# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks share: timing, and a table with ours and theirs side by side.

    rows = [Row("class only", "homeserver.hardening", 0.03, "netaddr", 0.55, at_least=8)]
    show("Classification", rows)      # prints the table
    return verdict(rows)              # 1 if a bound is missed
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Each measurement is the minimum of so many repetitions: noise only ever adds.
REPETITIONS = 5

# The core needs relative imports alone, so it can be measured without Ansible and without the collection's path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins"))


@dataclass(frozen=True)
class Row:
    """One comparison. Numbers are in C(unit); C(theirs) may be missing where there is a bound for ours alone.

    Attributes:
        at_least: theirs divided by ours must not be less (we are so many times faster).
        at_most_times: ours divided by theirs must not be more.
        at_most: ours must not be more.
        note: what exactly is compared.
    """

    subject: str
    ours_name: str
    ours: float
    theirs_name: str = ""
    theirs: float | None = None
    at_least: float | None = None
    at_most_times: float | None = None
    at_most: float | None = None
    unit: str = "s"
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether every bound is kept, None if there is none."""
        checks = []
        if self.at_least is not None:
            checks.append(self.theirs is not None and self.theirs >= self.at_least * self.ours)
        if self.at_most_times is not None:
            checks.append(self.theirs is not None and self.ours <= self.at_most_times * self.theirs)
        if self.at_most is not None:
            checks.append(self.ours <= self.at_most)
        return all(checks) if checks else None

    @property
    def bound(self) -> str:
        """The bounds in words."""
        words = []
        if self.at_least is not None:
            words.append(f"≥ {self.at_least:g}x faster")
        if self.at_most_times is not None:
            words.append(f"≤ {self.at_most_times:g}x theirs")
        if self.at_most is not None:
            words.append(f"≤ {self.at_most:g} {self.unit}".rstrip())
        return ", ".join(words) or "-"


def best(*functions: Callable[[], object], repetitions: int = REPETITIONS) -> list[float]:
    """Time functions in turns, so that a slow moment of the machine hits all of them, and return the minimum of each in seconds."""
    times = [float("inf")] * len(functions)
    for _repetition in range(repetitions):
        for position, function in enumerate(functions):
            begin = time.perf_counter()
            function()
            times[position] = min(times[position], time.perf_counter() - begin)
    return times


# A process begins with the peak of the one that started it, so a small one stands between.
_WITNESS = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_memory(command: Sequence[str]) -> float:
    """Run a program and return the most memory that it held, in MiB. Less than about 10 cannot be told."""
    done = subprocess.run([sys.executable, "-ISc", _WITNESS, *command], stdout=subprocess.PIPE, text=True, check=True)
    status, kibibytes = done.stdout.split()
    if status != "0":
        raise RuntimeError(f"{command[0]} ended with status {status}")
    return int(kibibytes) / 1024


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.4g} {unit}".rstrip()


def show(title: str, rows: Sequence[Row]) -> None:
    """Print a table."""
    table = [["", "ours", "", "theirs", "", "ratio", "bound", ""]]
    for row in rows:
        ratio = "-" if row.theirs is None or not row.ours else f"{row.theirs / row.ours:.1f}"
        verdict_text = {True: "PASS", False: "MISS", None: ""}[row.passed]
        ours, theirs = _number(row.ours, row.unit), _number(row.theirs, row.unit)
        table.append([row.subject, ours, row.ours_name, theirs, row.theirs_name, ratio, row.bound, verdict_text])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    print(f"\n{title}")
    for number, line in enumerate(table):
        cells = [cell.rjust(width) if column in (1, 3, 5) else cell.ljust(width) for column, (cell, width) in enumerate(zip(line, widths))]
        print("  " + "  ".join(cells).rstrip())
        if number and rows[number - 1].note:
            print(f"      {rows[number - 1].note}")
    sys.stdout.flush()


def verdict(rows: Sequence[Row]) -> int:
    """Return the exit status: 1 if a bound is missed."""
    return int(any(row.passed is False for row in rows))
