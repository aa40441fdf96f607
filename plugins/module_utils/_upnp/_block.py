# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that keep programs of this host from asking a router for mappings: a table of our own, and a unit that loads it at boot.

Private to this collection.

What runs as root may still ask, and so may this collection: what it asks tells whether the router is silent.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from .._firewall.boot import DIRECTORY, UNIT_DIRECTORY, rules_header, unit_links, unit_text
from .._firewall.system import FileState, Nft, Systemd, SystemProblem, read_file, remove_file, run, write_file
from .._plan import Plan, compare

FAMILY = "inet"
TABLE = "homeserver_upnp"
UNIT = "homeserver-upnp.service"
RULES_FILE = f"{DIRECTORY}/upnp.nft"
UNIT_FILE = f"{UNIT_DIRECTORY}/{UNIT}"
LINKS = unit_links(UNIT)
FILES = (RULES_FILE, UNIT_FILE, *LINKS)

#: The groups that SSDP asks: RFC 2365 for IPv4; link, site, organisation and global scope for IPv6.
_GROUP4 = "239.255.255.250"
_GROUPS6 = ("ff02::c", "ff05::c", "ff08::c", "ff0e::c")
_PORTS = (1900, 5351)

_DESCRIPTION = "Rules of homeserver.hardening that keep this host from asking for port mappings (table inet homeserver_upnp)"
BODY = f"""\
table {FAMILY} {TABLE} {{
\tchain ask {{
\t\tudp dport {{ {", ".join(str(port) for port in _PORTS)} }} reject with icmpx admin-prohibited
\t\tip daddr {_GROUP4} reject with icmpx admin-prohibited
\t\tip6 daddr {{ {", ".join(_GROUPS6)} }} reject with icmpx admin-prohibited
\t}}
\tchain output {{
\t\ttype filter hook output priority 0; policy accept;
\t\toifname "lo" accept
\t\tmeta skuid != 0 jump ask
\t}}
\tchain forward {{
\t\ttype filter hook forward priority 0; policy accept;
\t\tjump ask
\t}}
}}
"""
_EMPTY = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"


def _payload(protocol: str, name: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": name}}, "right": right}}


_REJECT = {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}
_ASK = {"jump": {"target": "ask"}}
#: What nft lists of the table: per chain where it hooks in, and its rules.
WANTED: dict[str, tuple[Any, list[Any]]] = {
    "ask": (
        None,
        [
            [_payload("udp", "dport", {"set": sorted(_PORTS)}), _REJECT],
            [_payload("ip", "daddr", _GROUP4), _REJECT],
            [_payload("ip6", "daddr", {"set": sorted(_GROUPS6)}), _REJECT],
        ],
    ),
    "output": (
        ("filter", "output", 0, "accept"),
        [
            [{"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "lo"}}, {"accept": None}],
            [{"match": {"op": "!=", "left": {"meta": {"key": "skuid"}}, "right": 0}}, _ASK],
        ],
    ),
    "forward": (("filter", "forward", 0, "accept"), [[_ASK]]),
}


def read_table(listing: dict[str, Any]) -> dict[str, tuple[Any, list[Any]]] | None:
    """Return the table from what nft lists, without handles and in one order; None if it is not there."""
    there = False
    chains: dict[str, tuple[Any, list[Any]]] = {}
    for entry in listing.get("nftables", ()):
        for kind, value in entry.items():
            if value.get("family") != FAMILY:
                continue
            if kind == "table":
                there = there or value.get("name") == TABLE
            elif value.get("table") != TABLE:
                continue
            elif kind == "chain":
                hook = (value["type"], value["hook"], value["prio"], value["policy"]) if "hook" in value else None
                chains[value["name"]] = (hook, [])
            elif kind == "rule":
                chains[value["chain"]][1].append([_plain(one) for one in value.get("expr", ())])
            else:
                # We make nothing else, so that it differs.
                chains[f"{kind} {value.get('name', '')}"] = (None, [])
    return chains if there else None


def _plain(expression: Any) -> Any:
    match = expression.get("match") if isinstance(expression, dict) else None
    if not isinstance(match, dict):
        return expression
    right = match.get("right")
    if isinstance(right, dict) and isinstance(right.get("set"), list):
        right = {"set": sorted(right["set"], key=str) if not all(isinstance(one, int) for one in right["set"]) else sorted(right["set"])}
    if match.get("left") == {"meta": {"key": "skuid"}} and right == "root":
        right = 0
    return {"match": {**match, "right": right}}


@dataclass
class Outcome:
    """What there is to do."""

    plan: Plan = field(default_factory=Plan)
    files: dict[str, FileState | None] = field(default_factory=lambda: dict.fromkeys(FILES))


class Block:
    """The rules on the host that this runs on."""

    def __init__(self, present: bool) -> None:
        self.systemd = Systemd()
        self.nft: Nft | None
        try:
            self.nft = Nft()
        except SystemProblem:
            if present:
                raise
            # Without nft there are no rules of ours either, but there may be files.
            self.nft = None

    def prepare(self, present: bool) -> Outcome:
        """Read the host and return what there is to do; nothing is changed."""
        outcome = Outcome()
        plan, files = outcome.plan, outcome.files
        if present and self.nft:
            self._execute(["-c", "-f", "-"], _EMPTY + BODY)
            files[RULES_FILE] = FileState(rules_header(UNIT) + _EMPTY + BODY, 0o600)
            files[UNIT_FILE] = FileState(unit_text(_DESCRIPTION, self.nft.path, RULES_FILE))
            for link in LINKS:
                files[link] = FileState(link=UNIT_FILE)
        elif self.systemd.is_active(UNIT):
            plan.add(compare("unit", UNIT, "active", "inactive"))
        for directory in dict.fromkeys(os.path.dirname(path) for path in files):
            if present and not os.path.isdir(directory):
                plan.add(compare("directory", directory, None, {"mode": "0755"}))
        for path, wanted in files.items():
            found = read_file(path)
            if found != wanted:
                kind = "link" if (found or wanted or FileState()).link else "file"
                plan.add(compare(kind, path, None if found is None else found.text(), None if wanted is None else wanted.text()))
        if present and read_file(UNIT_FILE) == files[UNIT_FILE] and self.systemd.is_stale(UNIT):
            plan.add(compare("systemd", UNIT, "an older file", "the file on disk", "a run that died did not tell systemd"))
        if not present:
            for directory in dict.fromkeys(os.path.dirname(path) for path in files):
                if _only_ours(directory):
                    plan.add(compare("directory", directory, {"mode": "0755"}, None, "nothing else is in it"))
        table = read_table(self.nft.ruleset()) if self.nft else None
        if table != (WANTED if present else None):
            before = None if table is None else BODY if table == WANTED else "other rules\n"
            plan.add(compare("nft_table", f"{FAMILY} {TABLE}", before, BODY if present else None))
        if present and self.systemd.booted and not self.systemd.is_active(UNIT):
            plan.add(compare("unit", UNIT, "inactive", "active"))
        return outcome

    def apply(self, outcome: Outcome, present: bool) -> None:
        """Execute the plan, in its order: what a boot would load comes before the kernel's own rules."""
        reload_needed = False
        for change in outcome.plan.changes:
            if reload_needed and change.kind in ("nft_table", "unit") and change.after not in (None, "inactive"):
                self.systemd.call("daemon-reload")
                reload_needed = False
            if change.kind == "directory":
                if change.after is None:
                    os.rmdir(change.name)
                else:
                    os.makedirs(change.name, 0o755, exist_ok=True)
            elif change.kind in ("file", "link"):
                reload_needed = reload_needed or change.name != RULES_FILE
                wanted = outcome.files[change.name]
                if wanted is None:
                    remove_file(change.name)
                else:
                    write_file(change.name, wanted)
            elif change.kind == "systemd":
                reload_needed = True
            elif change.kind == "nft_table":
                self._execute(["-f", "-"], _EMPTY + (BODY if present else ""))
            elif change.kind == "unit":
                self.systemd.call("start" if change.after == "active" else "stop", UNIT)
        if reload_needed:
            self.systemd.call("daemon-reload")

    def _execute(self, arguments: list[str], script: str) -> None:
        answer = run([self.nft.path if self.nft else "nft", *arguments], script)
        if answer.returncode != 0:
            raise SystemProblem(f"nft refuses the rules of table {FAMILY} {TABLE}: {answer.stderr.strip()}")


def _only_ours(directory: str) -> bool:
    """Return whether a directory will be empty once our files are gone; those of systemd stay, but for the one that we made."""
    if directory in (UNIT_DIRECTORY, os.path.dirname(LINKS[0])) or not os.path.isdir(directory):
        return False
    return all(os.path.join(directory, name) in FILES for name in os.listdir(directory))
