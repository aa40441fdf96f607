# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the benchmarks: python3 bench/run.py [classify] [probe] [portmap]. Exit status 1 if a bound is missed, 2 if one could not be measured."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

#: Each is a module of this directory with main() → exit status, which prints its own tables.
BENCHMARKS = ("classify", "probe", "portmap")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the benchmarks. Exit status 1 if a bound is missed, 2 if one could not be measured.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all of them without a name")
    names = parser.parse_args().names or BENCHMARKS
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}")
    print(f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores; minimum of 5 repetitions, ours and theirs in turns")
    status = 0
    for name in names:
        try:
            status = max(status, int(importlib.import_module(name).main() or 0))
        except ImportError as error:
            print(f"\n{name}: {error}", file=sys.stderr)
            status = 2
    print("\n" + {0: "all bounds kept", 1: "a bound is missed"}.get(status, "not everything could be measured"))
    return status


if __name__ == "__main__":
    sys.exit(main())
