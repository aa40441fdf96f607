# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of real lines: right, or a weaker word; with every reading removed once; fast; as an ordinary user."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._line._decide import WEAKER
from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import Reading
from ansible_collections.homeserver.hardening.plugins.module_utils._line._verdict import judge
from ansible_collections.homeserver.hardening.tests.integration.line.cases import CASES, Case
from ansible_collections.homeserver.hardening.tests.integration.line.lines import STUN, Line, World, run

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


RECORD = """
table inet record {
  set seen { type ipv4_addr; flags dynamic; }
  counter there { }
  counter back { }
  chain pre { type filter hook prerouting priority -300; iifname "down1" add @seen { ip daddr }; iifname "down1" meta nfproto ipv4 counter name "there"; }
  chain post { type filter hook postrouting priority 300; oifname "down1" meta nfproto ipv4 counter name "back"; }
}
"""


def recorded(line: Line) -> tuple[set[str], int]:
    """Return whom the home sent packets to, and how many bytes went there and back."""
    listing = json.loads(run(line.isp, "nft", "-j", "list", "table", "inet", "record"))["nftables"]
    seen = next(one["set"].get("elem", []) for one in listing if "set" in one)
    return set(seen), sum(one["counter"]["bytes"] for one in listing if "counter" in one)


def test_nobody_else_is_asked(world: World) -> None:
    line = Line(world, 200)
    line.router()
    router = line.inner
    line.host()
    line.miniupnpd(router, "192.168.1.0/24", "down2")
    line.rules(line.isp, RECORD)
    alone = line.judge(stun_servers=[], echo_urls=[])
    assert alone["line"]["wan_address"] == line.wan
    assert recorded(line) == (set(), 0)
    line.judge(stun_servers=[f"{STUN[0]}:3478"], echo_urls=[])
    seen, _count = recorded(line)
    assert seen == {STUN[0]}
    line.judge()
    seen, count = recorded(line)
    assert seen == set(STUN)
    # What the documentation promises for one run with two servers and one web service; this is a run and a half.
    assert count < 1.5 * 16384


def test_a_carriers_router_is_not_asked(world: World) -> None:
    """The second hop is asked only if its address is private, and the first only if it can be the home's own."""
    line = Line(world, 201)
    line.router("fully-random", part="carrier")
    line.router("", "100.64.7.1", "100.64.7.2")
    line.host()
    carrier = f"{world.prefix}-201-carrier"
    line.rules(carrier, RECORD.replace("down1", "down2"))
    result = line.judge()
    assert result["line"]["verdict"] == "cgn"
    listing = json.loads(run(carrier, "nft", "-j", "list", "set", "inet", "record", "seen"))["nftables"]
    seen = set(next(one["set"]["elem"] for one in listing if "set" in one))
    assert seen <= {*STUN, line.wan}


def test_the_module_runs_in_check_mode(world: World) -> None:
    line = Line(world, 202)
    line.router()
    line.host()
    services = [{"name": "a", "protocol": "tcp", "external_port": 80}]
    arguments = {"ANSIBLE_MODULE_ARGS": {"_ansible_check_mode": True, "stun_servers": list(STUN), "services": services}}
    result = json.loads(run(line.inner, sys.executable, "-c", RUNNER, text=json.dumps(arguments)))
    assert (result["line"]["verdict"], result["changed"]) == ("nat_single", False)
    assert result["services"][0]["ipv4"] == "after_forward"


RUNNER = """
import importlib, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module("ansible_collections.homeserver.hardening.plugins.modules.line_info").main()
"""
