# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from typing import Any, Callable

import pytest

from ansible_collections.homeserver.hardening.tests.integration.dns.bindlab import DELEGATED, PRIMARY, RESOLVER, SECONDARY, Bind

Module = Callable[..., dict[str, Any]]


def test_every_authority_is_asked(bind: Bind, module: Module) -> None:
    result = module("dns_record_info", name="fixed.example.net", resolver=[RESOLVER], expected={"A": ["20.1.1.1"], "AAAA": ["2a00:1:0:0::1"]})
    assert not result.get("failed"), result
    assert result["changed"] is False
    assert (result["name"], result["zone"]) == ("fixed.example.net.", "example.net.")
    assert [(row["name"], row["address"]) for row in result["servers"]] == [("ns1.example.net.", PRIMARY), ("ns2.example.net.", SECONDARY)]
    for row in result["servers"]:
        assert row["records"] == {"A": ["20.1.1.1"], "AAAA": ["2a00:1::1"]}
        assert (row["authoritative"], row["exists"], row["ttl"], row["negative_ttl"], row["error"]) == (True, True, 60, 30, None)
        assert row["serial"] >= 1
    assert (result["consistent"], result["matches_expected"], result["stale_until"]) == (True, True, None)


def test_a_name_that_does_not_exist_is_an_answer_and_the_resolver_never_hears_of_it(bind: Bind, module: Module) -> None:
    result = module("dns_record_info", name="nothing.example.net", resolver=[RESOLVER], expected={"A": []})
    assert not result.get("failed"), result
    assert [row["exists"] for row in result["servers"]] == [False, False]
    assert [row["records"] for row in result["servers"]] == [{"A": [], "AAAA": []}] * 2
    assert (result["consistent"], result["matches_expected"]) == (True, True)
    bind.update("update add nothing.example.net. 60 A 20.9.9.9")
    try:
        # Had the resolver been asked before, it would now say for 30 s that there is no such name.
        assert bind.dig(RESOLVER, "nothing.example.net", "A", "+recurse") == ["20.9.9.9"]
    finally:
        bind.update("update delete nothing.example.net. A")


@pytest.mark.parametrize(
    ("name", "zone", "value"), [("host.sub.example.net", "sub.example.net.", "20.3.3.3"), ("sub.example.net", "sub.example.net.", "20.3.3.1")]
)
def test_zone_further_down_is_found(bind: Bind, module: Module, name: str, zone: str, value: str) -> None:
    result = module("dns_record_info", name=name, types=["A"], resolver=[RESOLVER])
    assert result["zone"] == zone
    assert [(row["address"], row["records"]) for row in result["servers"]] == [(DELEGATED, {"A": [value]})]


def test_apex_of_a_zone_without_a_known_parent(bind: Bind, module: Module) -> None:
    result = module("dns_record_info", name="example.net", types=["NS", "SOA"], resolver=[RESOLVER], timeout=1, attempts=1)
    assert result["zone"] == "example.net.", result
    assert result["servers"][0]["records"]["NS"] == ["ns1.example.net.", "ns2.example.net."]
    assert result["servers"][0]["records"]["SOA"][0].startswith("ns1.example.net. hostmaster.example.net. ")


def test_alias_is_shown_and_is_not_what_was_expected(bind: Bind, module: Module) -> None:
    result = module("dns_record_info", name="alias.example.net", types=["A"], resolver=[RESOLVER], expected={"A": ["20.1.1.1"]})
    assert result["servers"][0]["records"] == {"A": [], "CNAME": ["fixed.example.net."]}
    assert result["matches_expected"] is False


def test_long_answer_comes_over_tcp(bind: Bind, module: Module) -> None:
    result = module("dns_record_info", name="many.example.net", types=["A"], servers=[PRIMARY])
    assert len(result["servers"][0]["records"]["A"]) == 90
    assert result["servers"][0]["error"] is None


def test_servers_that_do_not_speak_for_the_zone_are_rows_with_errors(bind: Bind, module: Module) -> None:
    result = module(
        "dns_record_info",
        name="fixed.example.net",
        servers=[PRIMARY, DELEGATED, RESOLVER, "127.0.0.5", "192.0.2.1"],
        zone="example.net",
        timeout=0.5,
        attempts=1,
    )
    assert not result.get("failed"), result
    assert [row["error_kind"] for row in result["servers"][:1]] == [None]
    assert result["servers"][2]["error_kind"] in ("not_authoritative", "rcode")
    assert result["servers"][3]["error_kind"] == "refused"
    assert result["servers"][4]["error_kind"] in ("no_route", "timeout")
    assert all(row["records"] == {} and row["exists"] is None for row in result["servers"][2:])
    assert result["consistent"] is False


def test_silent_resolver_is_a_failure_that_says_what_to_do(bind: Bind, module: Module) -> None:
    started = time.monotonic()
    result = module("dns_record_info", name="fixed.example.net", resolver=["127.0.0.5"], timeout=0.5, attempts=1)
    assert result["failed"]
    assert "127.0.0.5" in result["msg"]
    assert result["servers"] == []
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "a..b"}, "empty label"),
        ({"name": "fixed.example.net", "zone": "example.org"}, "does not lie in the zone"),
        ({"name": "fixed.example.net", "zone": "nozone.example.net"}, "does not lie in the zone"),
        ({"name": "fixed.example.net", "servers": ["ns1.example.net"]}, "not an IP address"),
        ({"name": "fixed.example.net", "expected": {"A": ["::1"]}}, "no address"),
        ({"name": "x.fixed.example.net", "zone": "fixed.example.net"}, "is not a zone"),
        ({"name": "fixed.example.net", "timeout": 0}, "timeout is 0"),
    ],
)
def test_bad_input_is_refused(bind: Bind, module: Module, arguments: dict[str, Any], says: str) -> None:
    result = module("dns_record_info", **{"resolver": [RESOLVER], **arguments})
    assert result["failed"]
    assert says in result["msg"], result["msg"]
    assert result["consistent"] is False


def test_waiting_for_a_secondary_that_hangs(bind: Bind, module: Module) -> None:
    secondary = bind.servers["secondary"]
    secondary.freeze(True)
    try:
        bind.update("update add slow.example.net. 90 A 20.8.8.8")
        result = module("dns_record_info", name="slow.example.net", types=["A"], resolver=[RESOLVER], expected={"A": ["20.8.8.8"]}, timeout=0.3, attempts=1)
        assert (result["consistent"], result["matches_expected"]) == (False, False)
        assert [row["error_kind"] for row in result["servers"]] == [None, "timeout"]
        assert result["stale_until"] is not None
    finally:
        secondary.freeze(False)
    result = module("dns_record_info", name="slow.example.net", types=["A"], resolver=[RESOLVER], expected={"A": ["20.8.8.8"]}, wait=10, previous_ttl=60)
    assert (result["consistent"], result["matches_expected"]) == (True, True)
    assert result["stale_until"] is not None
    bind.update("update delete slow.example.net. A")
