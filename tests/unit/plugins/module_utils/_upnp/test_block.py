# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table that keeps programs from asking, as nft lists it, and what counts as another one."""

from __future__ import annotations

import copy
import subprocess
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._upnp import _block
from ansible_collections.homeserver.hardening.plugins.module_utils._upnp._block import FAMILY, TABLE, WANTED, read_table


def listing() -> dict[str, Any]:
    """What nft -j list ruleset prints, beside a table of somebody else."""
    rows: list[dict[str, Any]] = [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": FAMILY, "name": TABLE, "handle": 1}}]
    rows.append({"table": {"family": "inet", "name": "other", "handle": 2}})
    rows.append({"chain": {"family": "inet", "table": "other", "name": "output", "handle": 1}})
    rows.append({"rule": {"family": "inet", "table": "other", "chain": "output", "handle": 2, "expr": [{"drop": None}]}})
    for name, (hook, rules) in WANTED.items():
        chain = {"family": FAMILY, "table": TABLE, "name": name, "handle": 3}
        rows.append({"chain": {**chain, **dict(zip(("type", "hook", "prio", "policy"), hook or ()))}})
        rows += [{"rule": {"family": FAMILY, "table": TABLE, "chain": name, "handle": 4, "expr": copy.deepcopy(rule)}} for rule in rules]
    return {"nftables": rows}


def test_it_is_read_as_it_is_wanted():
    assert read_table(listing()) == WANTED


def test_sets_in_another_order_and_root_by_name_are_the_same():
    found = listing()
    for row in found["nftables"]:
        for expression in row.get("rule", {}).get("expr", ()):
            match = expression.get("match", {})
            if isinstance(match.get("right"), dict):
                match["right"]["set"].reverse()
            elif match.get("left") == {"meta": {"key": "skuid"}}:
                match["right"] = "root"
    assert read_table(found) == WANTED


def test_none():
    assert read_table({"nftables": [{"table": {"family": "inet", "name": "other"}}]}) is None
    assert read_table({}) is None
    assert read_table({"nftables": [{"table": {"family": "ip", "name": TABLE}}]}) is None


def rules_of(found: dict[str, Any], chain: str) -> list[dict[str, Any]]:
    return [row for row in found["nftables"] if row.get("rule", {}).get("chain") == chain and row["rule"]["table"] == TABLE]


@pytest.mark.parametrize("chain", ["ask", "output", "forward"])
def test_a_rule_that_is_missing_or_more_is_seen(chain):
    found = listing()
    row = rules_of(found, chain)[-1]
    found["nftables"].remove(row)
    assert read_table(found) != WANTED
    found["nftables"] += [row, row]
    assert read_table(found) != WANTED


def test_other_numbers_hooks_and_objects_are_seen():
    found = listing()
    rules_of(found, "ask")[0]["rule"]["expr"][0]["match"]["right"] = {"set": [1900]}
    assert read_table(found) != WANTED
    found = listing()
    next(row for row in found["nftables"] if row.get("chain", {}).get("hook") == "output")["chain"]["policy"] = "drop"
    assert read_table(found) != WANTED
    found = listing()
    found["nftables"].append({"set": {"family": FAMILY, "table": TABLE, "name": "more"}})
    assert read_table(found) != WANTED


class FakeNft:
    path = "/usr/sbin/nft"
    rules: dict[str, Any] = {"nftables": []}

    def ruleset(self) -> dict[str, Any]:
        return self.rules


class FakeSystemd:
    booted = True
    active = False
    calls: list[tuple[str, ...]] = []

    def is_active(self, unit: str) -> bool:
        return self.active

    def is_stale(self, unit: str) -> bool:
        return False

    def call(self, *arguments: str) -> None:
        self.calls.append(arguments)
        FakeSystemd.active = {"start": True, "stop": False}.get(arguments[0], FakeSystemd.active)


@pytest.fixture
def host(tmp_path, monkeypatch):
    FakeNft.rules, FakeSystemd.active, FakeSystemd.calls = {"nftables": []}, False, []
    files = {name: str(tmp_path / name) for name in ("etc", "units")}
    rules, unit = f"{files['etc']}/upnp.nft", f"{files['units']}/{_block.UNIT}"
    (tmp_path / "units").mkdir()
    links = tuple(f"{files['units']}/{target}.wants/{_block.UNIT}" for target in ("sysinit.target", "nftables.service"))
    for name, value in {
        "RULES_FILE": rules,
        "UNIT_FILE": unit,
        "UNIT_DIRECTORY": files["units"],
        "LINKS": links,
        "FILES": (rules, unit, *links),
        "Nft": FakeNft,
        "Systemd": FakeSystemd,
    }.items():
        monkeypatch.setattr(_block, name, value)

    def run(arguments, script):
        if "-c" not in arguments:
            FakeNft.rules = listing() if script.endswith(_block.BODY) else {"nftables": []}
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(_block, "run", run)
    return tmp_path


def test_check_do_again_and_back(host):
    block = _block.Block(True)
    planned = block.prepare(True)
    kinds = [change.kind for change in planned.plan.changes]
    assert kinds == ["directory", "directory", "directory", "file", "file", "link", "link", "nft_table", "unit"]
    assert not (host / "etc").exists()
    block.apply(planned, True)
    assert FakeSystemd.calls == [("daemon-reload",), ("start", _block.UNIT)]
    assert block.prepare(True).plan.changes == []
    assert f"ExecStart=/usr/sbin/nft -f {host}/etc/upnp.nft" in (host / "units" / _block.UNIT).read_text()

    # Somebody flushed everything.
    FakeNft.rules = {"nftables": []}
    assert [change.kind for change in block.prepare(True).plan.changes] == ["nft_table"]

    FakeSystemd.calls.clear()
    block.apply(block.prepare(False), False)
    assert block.prepare(False).plan.changes == []
    assert FakeNft.rules == {"nftables": []}
    assert ("stop", _block.UNIT) in FakeSystemd.calls and ("daemon-reload",) in FakeSystemd.calls
    assert not (host / "etc").exists()
    assert not (host / "units" / _block.UNIT).exists()
