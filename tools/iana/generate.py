# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make plugins/module_utils/_address/_iana.py out of the IANA registries, and tell what a newer copy would change.

    generate.py                                   write the table
    generate.py --check                           exit 1 if the table is not what its sources give
    generate.py --compare FILE4 FILE6             print rows added, removed and changed; exit 1 if there are any
    generate.py --update FILE4 FILE6 --date DATE  take newer copies as sources and write the table

FILE4 and FILE6 are the CSV files that IANA publishes (addresses in source.json). Nothing here uses the network.
classes.csv is ours: it gives each block one class, and covers what the registries do not list (multicast, the unassigned rest of IPv6).
"""

from __future__ import annotations

import argparse
import csv
import datetime
import ipaddress
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent.parent / "plugins" / "module_utils" / "_address" / "_iana.py"
SOURCES = {"ipv4": HERE / "iana-ipv4-special-registry-1.csv", "ipv6": HERE / "iana-ipv6-special-registry-1.csv"}
CLASSES = HERE / "classes.csv"
SOURCE = HERE / "source.json"

#: What classes.csv calls rows that must also be in the registries.
SPECIAL = "IANA special-purpose registry"

#: Columns of IANA's files, each with the name used in reports.
COLUMNS = {
    "Name": "name",
    "RFC": "rfc",
    "Allocation Date": "allocated",
    "Termination Date": "terminated",
    "Source": "source",
    "Destination": "destination",
    "Forwardable": "forwardable",
    "Globally Reachable": "globally_reachable",
    "Reserved-by-Protocol": "reserved_by_protocol",
}
FLAGS = ("source", "destination", "forwardable", "globally_reachable", "reserved_by_protocol")

#: The documents behind the rows of classes.csv that are in no special-purpose registry.
OTHER_RFC = {
    ("ipv4", "224.0.0.0/4"): "[RFC5771]",
    ("ipv6", "::/96"): "[RFC4291], Section 2.5.5.1",
    ("ipv6", "::ffff:0:0:0/96"): "[RFC2765], Section 2.1",
    ("ipv6", "fec0::/10"): "[RFC3879]",
    ("ipv6", "ff00::/8"): "[RFC4291], Section 2.7",
    ("ipv6", "2000::/3"): "[RFC4291], Section 2.4",
    ("ipv6", "::/8"): "[RFC4291], Section 2.4",
    ("ipv6", "::/0"): "[RFC4291], Section 2.4",
}

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


class SourceError(Exception):
    """A source file is not what it should be."""


@dataclass(frozen=True)
class Block:
    """One row of the table."""

    text: str
    network: Network
    address_class: str
    iana_block: str | None
    iana_name: str | None
    rfc: str | None
    globally_reachable: bool | None
    source: str


def clean(value: str) -> str:
    """Drop footnote marks, the quotes around "This network", and line breaks inside a field."""
    value = re.sub(r"\s*\[[0-9]+\]", "", value)
    return " ".join(value.replace('"', "").split())


def read_registry(path: Path, family: str) -> dict[str, dict[str, str]]:
    """Read a file in IANA's format: block → fields. A row that lists several blocks becomes several."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
            header = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: {error}") from error
    missing = [name for name in ["Address Block", *COLUMNS] if name not in header]
    if missing:
        raise SourceError(f"{path}: not in IANA's format, column missing: {', '.join(missing)}")
    wanted = 4 if family == "ipv4" else 6
    result: dict[str, dict[str, str]] = {}
    for row in rows:
        fields = {ours: clean(row[theirs] or "") for theirs, ours in COLUMNS.items()}
        for flag in FLAGS:
            if fields[flag] not in ("True", "False", "N/A", ""):
                raise SourceError(f"{path}: {row['Address Block']}: {flag} is {fields[flag]!r}, not True, False, N/A or empty")
        for text in clean(row["Address Block"]).split(","):
            try:
                network = ipaddress.ip_network(text.strip())
            except ValueError as error:
                raise SourceError(f"{path}: {error}") from error
            if network.version != wanted:
                raise SourceError(f"{path}: {network} is not {family}")
            # The text itself: how Python writes ::ffff:0:0/96 depends on its version.
            if text.strip() in result:
                raise SourceError(f"{path}: {network} is listed twice")
            result[text.strip()] = fields
    if not result:
        raise SourceError(f"{path}: no rows")
    return result


def reachable(value: str) -> bool | None:
    """Keep the three answers apart: what the registry calls N/A or leaves empty is neither yes nor no."""
    return {"True": True, "False": False}.get(value)


def read_blocks(registries: dict[str, dict[str, dict[str, str]]]) -> dict[str, list[Block]]:
    """Join the registries with our classes; anything that one knows and the other does not is an error."""
    with CLASSES.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    result: dict[str, list[Block]] = {"ipv4": [], "ipv6": []}
    seen = set()
    for row in rows:
        family, text = row["family"], row["block"]
        expected = {"true": True, "false": False, "null": None}[row["globally_reachable"]]
        fields = registries[family].get(text)
        if (fields is not None) != (row["source"] == SPECIAL):
            raise SourceError(f"classes.csv: {text}: its source is {row['source']!r}, but the registry {'lists' if fields else 'does not list'} it")
        if fields and reachable(fields["globally_reachable"]) is not expected:
            said = fields["globally_reachable"] or "nothing"
            raise SourceError(f"classes.csv: {text}: globally_reachable is {row['globally_reachable']}, the registry says {said}")
        seen.add((family, text))
        result[family].append(
            Block(
                text=text,
                network=ipaddress.ip_network(text),
                address_class=row["address_class"],
                iana_block=text if fields else None,
                iana_name=fields["name"] if fields else None,
                rfc=fields["rfc"] if fields else OTHER_RFC.get((family, text)),
                globally_reachable=expected,
                source="iana_special" if fields else "iana_address_space" if "IANA" in row["source"] else "rfc" if "RFC" in row["source"] else "none",
            )
        )
    for family, registry in registries.items():
        for text, fields in registry.items():
            if (family, text) not in seen:
                raise SourceError(f"classes.csv: no class for {text} ({fields['name']}); choose one, then run this again")
    for blocks in result.values():
        blocks.sort(key=lambda block: (int(block.network.network_address), block.network.prefixlen))
    return result


def flatten(blocks: Sequence[Block]) -> list[tuple[int, int]]:
    """Cut nested blocks into segments that do not overlap: (first address, index of the longest block there)."""
    segments: list[tuple[int, int]] = []
    open_blocks: list[tuple[int, int]] = []

    def start(first: int, index: int) -> None:
        if segments and segments[-1][0] == first:
            segments.pop()
        if not segments or segments[-1][1] != index:
            segments.append((first, index))

    def close(before: int) -> None:
        while open_blocks and open_blocks[-1][0] < before:
            last, _index = open_blocks.pop()
            if open_blocks:
                start(last + 1, open_blocks[-1][1])

    for index, block in enumerate(blocks):
        first, last = int(block.network.network_address), int(block.network.broadcast_address)
        close(first)
        start(first, index)
        open_blocks.append((last, index))
    end = int(blocks[0].network.broadcast_address)
    close(end)
    return [segment for segment in segments if segment[0] <= end]


def render(blocks: dict[str, list[Block]], registry_date: str) -> str:
    """Give the text of the table."""
    lines = [
        "# Copyright: (c) 2026, homeserver.hardening contributors",
        "# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)",
        "# SPDX-License-Identifier: GPL-3.0-or-later",
        "#",
        "# Generated by tools/iana/generate.py. Do not edit: change its sources in tools/iana and run it again.",
        "# Source: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), and RFC 4291, RFC 5771 for what they do not list.",
        f"# Registry date: {registry_date}",
        '"""The address blocks that are not ordinary ones, as data."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Optional",
        "",
        "Block = tuple[str, str, Optional[str], Optional[str], Optional[str], Optional[bool], str]",
        "",
        "#: The day on which the registries were last found to be as they are here.",
        f'REGISTRY_DATE = "{registry_date}"',
        "",
    ]
    for family in ("ipv4", "ipv6"):
        name = family.upper()
        digits = 8 if family == "ipv4" else 32
        lines += [
            "#: block, class, block in the registry, its name there, RFC, globally reachable, where the row comes from",
            f"{name}_BLOCKS: tuple[Block, ...] = (",
        ]
        for block in blocks[family]:
            values = (block.text, block.address_class, block.iana_block, block.iana_name, block.rfc, block.globally_reachable, block.source)
            lines.append("    (" + ", ".join("None" if v is None else str(v) if isinstance(v, bool) else json.dumps(v) for v in values) + "),")
        lines += [
            ")",
            "",
            "#: first address of a segment, and the index of the longest block that holds it",
            f"{name}_SEGMENTS: tuple[tuple[int, int], ...] = (",
        ]
        lines += [f"    (0x{first:0{digits}X}, {index})," for first, index in flatten(blocks[family])]
        lines += [")", ""]
    return "\n".join(lines[:-1]) + "\n"


def build() -> str:
    """Give the table that the sources in this directory make."""
    registry_date = json.loads(SOURCE.read_text(encoding="utf-8"))["registry_date"]
    datetime.date.fromisoformat(registry_date)
    return render(read_blocks({family: read_registry(path, family) for family, path in SOURCES.items()}), registry_date)


def compare(old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]) -> list[str]:
    """Say in lines what is different in a newer registry."""
    lines = []
    for block in sorted({*old, *new}, key=lambda text: (int(ipaddress.ip_network(text).network_address), ipaddress.ip_network(text).prefixlen)):
        if block not in old:
            fields = new[block]
            lines.append(f"added    {block}: {fields['name']}, {fields['rfc']}, globally_reachable={fields['globally_reachable'] or 'empty'}")
        elif block not in new:
            lines.append(f"removed  {block}: {old[block]['name']}")
        else:
            changes = [f"{key} {old[block][key]!r} -> {new[block][key]!r}" for key in COLUMNS.values() if old[block][key] != new[block][key]]
            if changes:
                lines.append(f"changed  {block}: {'; '.join(changes)}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="exit 1 if the table is not what its sources give")
    group.add_argument("--compare", nargs=2, type=Path, metavar=("FILE4", "FILE6"), help="print what is different in newer copies")
    group.add_argument("--update", nargs=2, type=Path, metavar=("FILE4", "FILE6"), help="take newer copies as sources")
    parser.add_argument("--date", type=datetime.date.fromisoformat, help="the day on which the newer copies were fetched")
    options = parser.parse_args(arguments)
    if (options.update is None) != (options.date is None):
        parser.error("--update and --date belong together")
    try:
        if options.compare:
            lines = []
            for family, path in zip(SOURCES, options.compare):
                lines += compare(read_registry(SOURCES[family], family), read_registry(path, family))
            print("\n".join(lines) if lines else "no difference")
            return 1 if lines else 0
        if options.update:
            newer = {family: read_registry(path, family) for family, path in zip(SOURCES, options.update)}
            read_blocks(newer)  # refuses before anything is written
            for family, path in zip(SOURCES, options.update):
                SOURCES[family].write_text(path.read_text(encoding="utf-8-sig").replace("\r\n", "\n"), encoding="utf-8")
            source = json.loads(SOURCE.read_text(encoding="utf-8"))
            source["registry_date"] = options.date.isoformat()
            SOURCE.write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
        text = build()
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    if options.check:
        if not TABLE.exists() or TABLE.read_text(encoding="utf-8") != text:
            print(f"{TABLE} is not what tools/iana gives; run tools/iana/generate.py", file=sys.stderr)
            return 1
        return 0
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
