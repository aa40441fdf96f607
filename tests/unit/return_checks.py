# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares what modules returned with what their documentation says they return, at every depth.

As a program: python tests/unit/return_checks.py DIRECTORY… reads what tests/recorder/record_returns.py wrote there, and wants at least one
result of every module that did not fail.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

# What Ansible itself adds, or gives a meaning of its own that no module documents.
COMMON = {
    "ansible_facts",
    "changed",
    "deprecations",
    "diff",
    "exception",
    "failed",
    "failed_when_result",
    "failed_when_suppressed_exception",
    "invocation",
    "msg",
    "skipped",
    "stderr",
    "stderr_lines",
    "stdout",
    "stdout_lines",
    "warnings",
    "ansible_loop_var",
    "ansible_index_var",
    "attempts",
}
# What Ansible adds about the file where a result names its "path".
ABOUT_PATH = {"gid", "group", "mode", "owner", "secontext", "size", "state", "uid"}
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "raw": (object,),
    "complex": (list, dict),
}


def documented(path: Path) -> dict[str, Any]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "RETURN":
            return yaml.safe_load(ast.literal_eval(node.value)) or {}
    raise ValueError(f"{path} documents nothing that it returns")


def compare(spec: dict[str, Any], result: dict[str, Any], failed: bool = False, where: str = "") -> list[str]:
    """Complaints about one result. A module that failed may return less than it documents, but nothing else."""
    bad = []
    for key, value in result.items():
        if not where and (key in COMMON or key.startswith("_ansible_") or (key == result.get("ansible_loop_var"))):
            continue
        if not where and key in ABOUT_PATH and key not in spec and "path" in result:
            continue
        name = f"{where}{key}"
        if key not in spec:
            bad.append(f"returns {name}, which is not documented")
            continue
        how = spec[key]
        if value is None:
            continue
        kind = how.get("type", "str")
        if not isinstance(value, TYPES.get(kind, ())) or (isinstance(value, bool) and kind in ("int", "float")):
            bad.append(f"returns {name} as {type(value).__name__}, documented is {kind}")
            continue
        inner = how.get("contains")
        if inner:
            rows = value if isinstance(value, list) else [value]
            for row in rows:
                if isinstance(row, dict):
                    bad += compare(inner, row, failed, f"{name}[]." if isinstance(value, list) else f"{name}.")
                elif row is not None:
                    bad.append(f"returns {name} of {type(row).__name__}, documented are dicts")
        elif isinstance(value, list):
            elements = how.get("elements", "raw")
            bad += [f"returns {name} with a {type(row).__name__}, documented are {elements}" for row in value if not isinstance(row, TYPES[elements])]
            if elements == "dict" and any(value):
                bad.append(f"returns rows in {name}, and their keys are not documented")
    if not failed:
        # Within a row the usual thing is that a key is always there.
        always = {key for key, how in spec.items() if str(how.get("returned", "always" if where else "")).lower() in ("always", "success")}
        bad += [f"documents {where}{key} as returned always, and did not return it" for key in sorted(always - result.keys())]
    return bad


def check(modules: Path, rows: Iterable[dict[str, Any]], complete: bool = True) -> list[str]:
    """Complaints about recorded results, each once; with complete, also about modules of which no result is there that did not fail."""
    specs = {path.stem: documented(path) for path in sorted(modules.glob("*.py")) if path.stem != "__init__"}
    bad: dict[str, None] = {}
    seen = set()
    for row in rows:
        name = row["module"]
        if name not in specs:
            bad[f"{name}: there is no such module"] = None
            continue
        if not row["failed"]:
            seen.add(name)
        for complaint in compare(specs[name], row["result"], row["failed"]):
            bad[f"{name} {complaint}"] = None
    if complete:
        bad.update(dict.fromkeys(f"{name}: no result was recorded that did not fail" for name in sorted(specs.keys() - seen)))
    return list(bad)


def read(folders: Iterable[Path]) -> list[dict[str, Any]]:
    return [json.loads(line) for folder in folders for path in sorted(folder.glob("**/*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]


def main(argv: list[str]) -> int:
    rows = read(Path(name) for name in argv)
    complaints = check(Path("plugins/modules"), rows)
    for complaint in complaints:
        print(complaint)
    print(f"{len(rows)} results of {len({row['module'] for row in rows})} modules compared, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
