# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of real lines: right, or a weaker word; with every reading removed once; fast; as an ordinary user."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._line._decide import WEAKER
from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import Reading
from ansible_collections.homeserver.hardening.plugins.module_utils._line._verdict import judge
from ansible_collections.homeserver.hardening.tests.integration.line.cases import CASES, Case

INBOUND = {"public_direct": "open", "nat_single": "needs_forward", "double_nat": "needs_forward", "map_e": "port_set", "one_to_one_nat": "open"}


def result_of(judged: dict[str, Any], case: Case) -> Any:
    result = judged[case.name]
    if isinstance(result, Exception):
        raise result
    return result


def explain(line: dict[str, Any]) -> str:
    readings = "\n".join(f"  {one['kind']}: {one['source']}: {one['error'] or one['value']}" for one in line["readings"] if one["kind"] != "interfaces")
    return f"{line['verdict']} {line['confidence']} {line['verdict_reasons']} {line['contradictions']}\n{readings}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict(judged: dict[str, Any], case: Case) -> None:
    line = result_of(judged, case)["line"]
    assert (line["verdict"], line["inbound_ipv4"]) == (case.verdict, case.inbound), explain(line)
    assert not case.confidence or line["confidence"] == case.confidence, explain(line)
    assert set(case.reasons) <= set(line["verdict_reasons"]), explain(line)
    assert {one["name"] for one in line["contradictions"]} == set(case.contradictions), explain(line)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_without_any_one_reading(judged: dict[str, Any], case: Case) -> None:
    line = result_of(judged, case)["line"]
    readings = [Reading(**one) for one in line["readings"]]
    truth = case.truth or case.verdict
    for index, reading in enumerate(readings):
        found = judge(readings[:index] + readings[index + 1 :])
        where = f"without {reading.kind} {reading.source}: {found['verdict']} {found['verdict_reasons']}"
        assert found["verdict"] in (truth, "nat_unknown") or truth in WEAKER.get(found["verdict"], ()), where
        assert found["inbound_ipv4"] in ("unknown", INBOUND.get(truth, "blocked")), where


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_ends_with_the_slowest_reading(judged: dict[str, Any], case: Case) -> None:
    result = result_of(judged, case)
    slowest = max(one["elapsed"] for one in result["line"]["readings"])
    assert result["elapsed"] <= slowest + 0.3
