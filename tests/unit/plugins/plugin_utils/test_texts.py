# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every stable name that the line's verdict can emit has a text in each language; the names are read off the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._line import _decide, _verdict, _ways
from ansible_collections.homeserver.hardening.plugins.plugin_utils import _inbound, _publication, _trial
from ansible_collections.homeserver.hardening.plugins.plugin_utils._texts import Texts

LINE = Path(_verdict.__file__).parent
VERDICTS = sorted(
    {
        *("public_direct", "nat_single", "cgn", "double_nat", "double_nat_or_cgn", "map_e", "ds_lite"),
        *("nat64_464xlat", "one_to_one_nat", "vpn_or_proxy_egress", "nat_unknown", "no_ipv4", "offline"),
    }
)


def strings(node: ast.AST) -> Iterator[str]:
    """Yield the names of one expression: a word, or either side of a condition."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str) and re.fullmatch(r"[a-z][a-z0-9_]+", child.value):
            yield child.value


def contradictions() -> set[str]:
    names = set()
    for path in LINE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "contradict":
                names |= set(strings(node.args[0]))
    return names


def found_in(function: str) -> set[str]:
    """Return the first words of the pairs that a function appends."""
    tree = ast.parse(Path(_verdict.__file__).read_text())
    body = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    calls = (node for node in ast.walk(body) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append")
    return {name for call in calls if isinstance(call.args[0], ast.Tuple) for name in strings(call.args[0].elts[0])}


def inbound_notes() -> set[str]:
    """Return the names that explain a state: the last arguments of _result, those of _untested, and what is added to a proof."""
    names = {_trial.CHECK_MODE, _trial.NO_VANTAGE, _trial.NOTHING_PLANNED, _trial.MAPPING_REFUSED, _trial.NO_RESPONDER}
    for module in (_inbound, _trial):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("worm", "vantage", "router"):
                names |= set(strings(node.value))
            if not isinstance(node, ast.Call):
                continue
            function = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
            noted = {"_result": node.args[2:], "_untested": node.args, "append": [one for one in node.args if isinstance(one, ast.Constant)]}.get(function, [])
            names |= {name for argument in noted for name in strings(argument)}
    return names


def test_the_names_are_found() -> None:
    assert {"wan_not_seen", "ports_differ"} <= contradictions()
    assert {"two_forwards", "lan_address_dynamic"} <= found_in("_consequences")
    assert {"type_wan_address", "allow_outside"} <= found_in("_questions")
    assert {"worm_port", "vantage_may_keep_it", "router_page", "or_way_back", "no_service_yet", "hairpin", "no_control"} <= inbound_notes()
    assert set(VERDICTS) >= set(_decide.WEAKER)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_name_has_a_text(language: str) -> None:
    texts = Texts(language)
    wanted = [f"contradiction.{name}" for name in contradictions()]
    wanted += [f"consequence.{name}" for name in found_in("_consequences")]
    wanted += [f"question.{name}" for name in found_in("_questions")]
    wanted += [f"{section}.{name}" for name in VERDICTS for section in ("diagnosis", "line", "kind")]
    wanted += [f"way.{name}" for ways in (*_publication.WAYS.values(), *_ways.BY_VERDICT.values()) for name in ways]
    wanted += [f"impossible.{name}" for name in _publication.WAYS]
    wanted += [f"inbound_note.{name}" for name in inbound_notes()]
    wanted += [f"inbound.{name}" for name in _inbound.STATES if name != _inbound.UNTESTED]
    assert [name for name in sorted(set(wanted)) if not texts.has(name)] == []
