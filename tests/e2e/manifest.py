# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab's hosts, router and DNS look like, written down at one moment and compared with another.

manifest.yml says what is compared and what is left out for which reason.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

import lablib

SPECIFICATION = Path(__file__).with_name("manifest.yml")
COLLECTOR = Path(__file__).with_name("collector.py")

Manifest = dict[str, dict[str, dict[str, Any]]]


def specification() -> dict[str, Any]:
    """Return the content of manifest.yml; refuse an exclusion without a reason."""
    spec: dict[str, Any] = yaml.safe_load(SPECIFICATION.read_text())
    for row in spec["exclusions"]:
        if not str(row.get("reason") or "").strip():
            raise ValueError(f"the exclusion {row} has no reason")
    return spec


def excluded(spec: Mapping[str, Any], host: str, facet: str, item: str) -> bool:
    """Whether an item is left out."""
    return any(
        re.fullmatch(row["facet"], facet) and re.fullmatch(row["item"], item) and re.fullmatch(row.get("host", ".*"), host) for row in spec["exclusions"]
    )


def collect(lab: lablib.Lab, spec: Mapping[str, Any] | None = None) -> Manifest:
    """Read everything, all hosts at the same time."""
    spec = spec or specification()
    present = lab.raw_inventory()["_meta"]["hostvars"]
    variables = lab.vars
    program = COLLECTOR.read_text()

    def one(host: str) -> dict[str, dict[str, Any]]:
        facets = dict(spec["hosts"][host])
        if facets.get("dns"):
            facets["dns"] = {"servers": variables["lab_dns_servers"], "zone": variables["lab_zone"]}
        facts: dict[str, dict[str, Any]] = lab.python(host, program, json.dumps(facets))
        return {facet: {item: value for item, value in items.items() if not excluded(spec, host, facet, item)} for facet, items in facts.items()}

    hosts = [host for host in spec["hosts"] if host in present]
    if "server" not in hosts or "internet" not in hosts:
        raise lablib.LabError(f"the lab {lab.name} shows only the hosts {sorted(present)}")
    with ThreadPoolExecutor(len(hosts)) as pool:
        return dict(zip(hosts, pool.map(one, hosts)))


def compare(before: Manifest, after: Manifest) -> list[str]:
    """Return each difference as text for people; an empty list means equal."""
    differences = []
    for host in sorted(before.keys() | after.keys()):
        for facet in sorted(before.get(host, {}).keys() | after.get(host, {}).keys()):
            was, now = before.get(host, {}).get(facet, {}), after.get(host, {}).get(facet, {})
            for item in sorted(was.keys() | now.keys()):
                if was.get(item) != now.get(item):
                    differences.append(f"{host}: {facet}: {item}\n" + _change(was.get(item), now.get(item)))
    return differences


def _change(was: Any, now: Any) -> str:
    if isinstance(was or [], list) and isinstance(now or [], list):
        lines = list(difflib.unified_diff(was or [], now or [], lineterm="", n=0))[2:]
        head = "    (new)\n" if was is None else "    (gone)\n" if now is None else ""
        return head + "\n".join("    " + line for line in lines if not line.startswith("@@"))
    return f"    before: {'(nothing)' if was is None else was}\n    now:    {'(nothing)' if now is None else now}"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for action, text in {"collect": "write a manifest", "unchanged": "compare the lab with a manifest"}.items():
        sub = actions.add_parser(action, help=text)
        sub.add_argument("--lab", required=True)
        sub.add_argument("file", type=Path)
    sub = actions.add_parser("compare", help="compare two manifests")
    sub.add_argument("before", type=Path)
    sub.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.action == "collect":
        manifest = collect(lablib.Lab(options.lab))
        options.file.write_text(json.dumps(manifest, indent=1, sort_keys=True))
        print(f"{options.file}: {sum(len(items) for facets in manifest.values() for items in facets.values())} items of {len(manifest)} hosts")
        return 0
    if options.action == "unchanged":
        before, after = json.loads(options.file.read_text()), collect(lablib.Lab(options.lab))
    else:
        before, after = json.loads(options.before.read_text()), json.loads(options.after.read_text())
    differences = compare(before, after)
    print("\n".join(differences) + f"\n{len(differences)} differences" if differences else "no difference")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
