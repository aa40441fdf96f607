# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a port cannot be reached, by table and by what must never happen."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.plugin_utils._inbound import STATES, Trial, judge_port


def trial(state: str | None, **more: Any) -> Trial:
    return Trial(**{"protocol": "tcp", "port": 443, "state": state, **more})


@pytest.mark.parametrize(
    ("what", "state", "sure", "notes"),
    [
        (trial("open", nonce_verified=True), "published", True, []),
        (trial("open", nonce_verified=True, arrived=True, listening=False), "published", True, []),
        (trial("open", nonce_verified=False, port=2222), "another_device", True, []),
        (trial("open", nonce_verified=False, port=80), "another_device", True, ["router_page"]),
        (trial("open", nonce_verified=None, port=2222), "another_device", False, []),
        (trial("filtered", listening=True, arrived=True), "host_firewall", True, ["or_way_back"]),
        (trial("filtered", listening=True, arrived=False, control=True, port=53), "closed_before_home", True, []),
        (trial("filtered", listening=True, arrived=False, control=True, port=25), "closed_before_home", False, ["vantage_may_keep_it"]),
        (trial("filtered", listening=True, arrived=False, control=True, port=445), "closed_before_home", False, ["worm_port", "vantage_may_keep_it"]),
        (trial("filtered", listening=True, arrived=False, control=True, port=80), "closed_before_home", False, ["router_may_keep_it"]),
        (trial("filtered", listening=True, arrived=None, control=True, port=53), "closed_before_home", False, []),
        (trial("filtered", listening=True, arrived=False, control=False), "not_forwarded", False, ["line_or_forward"]),
        (trial("filtered", listening=True, arrived=False), "not_forwarded", False, ["no_control"]),
        (trial("closed", listening=True, arrived=False), "not_forwarded", True, ["router_refuses"]),
        (trial("closed", listening=True, arrived=False, control=True, port=53), "closed_before_home", True, []),
        (trial("closed", listening=True, arrived=True), "host_refuses", True, ["address_or_family"]),
        (trial("closed", listening=False, arrived=True), "service_down", True, ["path_works"]),
        (trial("filtered", listening=False), "unknown", False, ["start_responder"]),
        (trial("filtered", listening=False, arrived=False), "unknown", False, ["start_responder"]),
        (trial("filtered", listening=True), "unknown", False, ["watch_arrival"]),
        (trial("rejected", rejected_by="44.1.1.1"), "rejected_on_the_way", True, []),
        (trial("rejected", listening=True, arrived=True), "host_refuses", False, ["address_or_family"]),
        (trial("open_or_filtered", protocol="udp", listening=False, arrived=True), "service_down", False, []),
        (trial("open_or_filtered", protocol="udp", port=51820, listening=True, arrived=False, control=True), "closed_before_home", True, []),
        (trial(None), "untested", True, ["no_vantage"]),
        (trial("open", nonce_verified=True, outside_valid=False), "untested", True, ["hairpin"]),
        (trial("no_route"), "untested", True, ["vantage_cannot_ask"]),
        (trial("something_new", listening=True), "unknown", False, ["watch_arrival"]),
    ],
)
def test_table(what: Trial, state: str, sure: bool, notes: list[str]) -> None:
    assert judge_port(what) == {"state": state, "sure": sure, "notes": notes}


def test_never_reachable_without_the_nonce_from_a_valid_vantage() -> None:
    words = [None, "open", "closed", "filtered", "rejected", "open_or_filtered", "host_unreachable", "no_route", "local_drop", "error", "new"]
    maybe = [None, True, False]
    for state, verified, valid, listening, arrived, control in itertools.product(words, maybe, (True, False), maybe, maybe, maybe):
        for protocol, port in (("tcp", 80), ("udp", 445)):
            result = judge_port(Trial(protocol, port, state, verified, None, valid, listening, arrived, control))
            assert result["state"] in STATES
            assert (result["state"] == "published") == (valid and state == "open" and verified is True)
            if result["state"] == "closed_before_home":
                # Nobody is blamed unless the control came through and nothing arrived.
                assert control is True and arrived is not True


def test_every_state_occurs() -> None:
    words = ["open", "closed", "filtered", "rejected"]
    maybe = [None, True, False]
    seen = {judge_port(Trial("tcp", 25, *rest))["state"] for rest in itertools.product(words, maybe, [None], [True, False], maybe, maybe, maybe)}
    assert seen == set(STATES)
