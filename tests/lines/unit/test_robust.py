# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lies can be noticed follows from a rule, and a judge that believes liars or guesses is found out. No lab needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import robust

from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import Reading
from ansible_collections.homeserver.hardening.plugins.module_utils._line._verdict import judge

HOME = "62.3.4.5"
SIX = "2a02:1:2:3::4"
TRUTH = robust.Truth.of({"verdict": "nat_single", "inbound_ipv4": "needs_forward"}, {"routers": 1})


def stun(address: str, server: str = "a", family: str = "ipv4", kept: bool = True) -> Reading:
    value = {"family": family, "local_address": "192.168.1.2", "local_port": 4000, "mapped_address": address, "mapped_port": 4000 if kept else 4001}
    return Reading("stun", f"stun {server}", {**value, "server_address": server})


def echo(address: str, family: str = "ipv4") -> Reading:
    return Reading("echo", "echo x", {"family": family, "mapped_address": address})


def wan(address: str | None, source: str = "upnp") -> Reading:
    return Reading("wan", source, {"address": address, "method": source, "status": ""})


def second(address: str) -> Reading:
    return Reading("second_gateway", "second", {"address": "10.0.0.1", "reachable": True, "wan_address": address})


def interfaces(*addresses: str) -> Reading:
    rows = [
        {
            "name": "eth0",
            "family": "ipv6" if ":" in address else "ipv4",
            "address": address,
            "prefix_length": 64 if ":" in address else 24,
            "address_class": "private" if address.startswith("192.168.") else "global",
            "up": True,
        }
        for address in addresses
    ]
    routes = [{"family": "ipv4", "interface": "eth0", "gateway": "192.168.1.1", "source": None}]
    return Reading("interfaces", "this host", {"addresses": rows, "default_routes": routes, "route_families": ["ipv4", "ipv6"]})


def hops(target: str) -> Reading:
    return Reading("hops", f"hops {target}", {"target": target, "answers": [{"ttl": 1, "from": target, "type": 3, "code": 3}]})


FULL = [interfaces("192.168.1.2"), wan(HOME), wan(HOME, "natpmp"), stun(HOME), stun(HOME, "b"), echo(HOME), hops(HOME)]


def noticed(*readings: Reading) -> list[bool]:
    """Return for each lie that can be told whether somebody can notice it."""
    return [bool(robust.witnesses(readings, index)) for index, _about, _liar in robust.lies(readings)]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param([interfaces("192.168.1.2"), stun(HOME)], [False], id="one helper, nothing else"),
        pytest.param([interfaces("192.168.1.2"), stun(HOME), stun(HOME, "b")], [True, True], id="two helpers"),
        pytest.param([stun(HOME), echo(HOME)], [True, True], id="two kinds of helpers"),
        pytest.param([interfaces("192.168.1.2"), wan(HOME)], [False], id="one word of the router, nothing else"),
        pytest.param([wan(HOME), wan(HOME, "natpmp")], [True, True], id="two words of the router"),
        pytest.param([wan(HOME), stun(HOME)], [True, True], id="the router and a helper"),
        # The lie makes the WAN address global, which it cannot be where others see another. But nothing witnesses what a carrier's NAT shows.
        pytest.param([wan("100.64.1.1"), stun(HOME)], [True, False], id="the router behind a carrier, and a helper"),
        pytest.param([wan(None), stun(HOME)], [False], id="a router without a word"),
        pytest.param([interfaces(HOME), stun(HOME)], [True], id="an address of this host's own"),
        pytest.param([second(HOME), stun(HOME)], [True], id="a second router"),
        pytest.param([hops(HOME), stun(HOME)], [False], id="hops only go where the helper sent them"),
        pytest.param([interfaces(SIX), stun(SIX, family="ipv6")], [True], id="over IPv6 with own addresses"),
        pytest.param([stun(SIX, family="ipv6"), stun(HOME)], [False, False], id="another family is no witness"),
        pytest.param([Reading("stun", "stun a", None, "no answer"), wan(HOME)], [False], id="what failed is no witness"),
    ],
)
def test_which_lies_can_be_noticed(readings: list[Reading], expected: list[bool]) -> None:
    assert noticed(*readings) == expected


def test_a_lie_is_false() -> None:
    readings = [stun("9.9.9.9"), stun("2620:fe::fe", family="ipv6"), wan("9.9.9.9")]
    for index, about, liar in robust.lies(readings):
        name = "address" if about == "wan" else "mapped_address"
        assert liar.value is not None
        true = dict(readings[index].value or {})
        assert liar.value[name] != true[name]
        assert {**liar.value, name: true[name]} == true


def test_the_verdict_stands() -> None:
    assert robust.faults(FULL, TRUTH, judge) == []
    assert robust.count_of(FULL) == {"removed": 7, "lies": 5, "unnoticeable": 0}


def test_it_is_fast() -> None:
    """Each line is judged some twenty times."""
    import time

    started = time.monotonic()
    for _time in range(20):
        judge(FULL)
    assert time.monotonic() - started < 2


def forced(verdict: str, inbound: str) -> Any:
    return lambda _readings: {"verdict": verdict, "inbound_ipv4": inbound, "contradictions": [], "verdict_reasons": []}


def test_a_judge_that_always_says_the_same_is_found_out() -> None:
    assert [text for text in robust.faults(FULL, TRUTH, forced("cgn", "blocked")) if text.startswith("without")]
    # Even one that is right by chance: it lists no contradiction.
    found = robust.faults(FULL, TRUTH, forced("nat_single", "needs_forward"))
    assert len(found) == 5
    assert all("no contradiction is listed" in text for text in found)


def test_a_judge_that_promises_too_much_is_found_out() -> None:
    assert robust.faults(FULL, TRUTH, forced("nat_single", "open"))


def test_a_judge_that_believes_the_last_liar_is_found_out() -> None:
    def gullible(readings: Sequence[Reading]) -> Any:
        told = [one.value["mapped_address"] for one in readings if one.kind in ("stun", "echo") and one.value]
        said = forced("nat_single", "needs_forward") if told[-1] == HOME else forced("cgn", "blocked")
        return {**said(readings), "contradictions": [{}] if len(set(told)) > 1 else []}

    assert any("with a false seen address by echo" in text and "cgn" in text for text in robust.faults(FULL, TRUTH, gullible))


WEAKER = ("nat_unknown", "unknown")
FORWARD = ("nat_single", "needs_forward")


@pytest.mark.parametrize(
    ("verdict", "inbound", "topology", "good", "bad"),
    [
        ("nat_single", "needs_forward", {"routers": 1}, [WEAKER, FORWARD], [("cgn", "blocked"), ("nat_unknown", "blocked")]),
        ("double_nat_or_cgn", "unknown", {"wan": "cgn_private"}, [("cgn", "blocked"), ("double_nat_or_cgn", "unknown")], [("double_nat", "needs_forward")]),
        ("map_e", "port_set", {"wan": "map_e"}, [("double_nat_or_cgn", "unknown")], [FORWARD]),
        ("nat64_464xlat", "blocked", {"wan": "clat", "routers": 0}, [("no_ipv4", "blocked")], [("public_direct", "open")]),
        ("offline", "blocked", {"blocks": ["everything"]}, [WEAKER, ("offline", "blocked")], [("cgn", "unknown")]),
        ("nat_unknown", "unknown", {"wan": "one_to_one"}, [("one_to_one_nat", "open")], [("public_direct", "open")]),
        ("vpn_or_proxy_egress", "unknown", {"vpn": "default_route"}, [FORWARD], [("public_direct", "open")]),
        ("public_direct", "open", {"routers": 0}, [("public_direct", "unknown")], [("public_direct", "needs_forward")]),
    ],
)
def test_right_or_weaker(verdict: str, inbound: str, topology: dict[str, Any], good: list[tuple[str, str]], bad: list[tuple[str, str]]) -> None:
    truth = robust.Truth.of({"verdict": verdict, "inbound_ipv4": inbound}, topology)
    for word, state in [*good, *bad]:
        assert robust.right_or_weaker({"verdict": word, "inbound_ipv4": state}, truth) is ((word, state) in good), (word, state)
