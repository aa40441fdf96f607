# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._dns._authority import (
    Answer,
    Question,
    ask_until,
    consistent,
    judged,
    longest_memory,
    matches,
)
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._lookup import LookupFailed, Resolver, Server, check_address, nameservers
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._name import DnsError, name_from_text
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._survey import Request, rfc3339

NS1, NS2 = name_from_text("ns1.example.net"), name_from_text("ns2.example.net")


def answer(records: dict[str, list[str]] | None = None, name: Any = NS1, **changes: Any) -> Answer:
    values: dict[str, Any] = {"authoritative": True, "exists": bool(records), "records": {"A": []} if records is None else records, "negative_ttl": 30}
    return Answer(Server(name, "20.0.0.1"), **{**values, **changes})


def failed(kind: str, name: Any = NS1) -> Answer:
    return Answer(Server(name, "20.0.0.1"), error="because", error_kind=kind)


ONE = {"A": ["20.1.1.1"]}


@pytest.mark.parametrize(
    ("answers", "agree", "match"),
    [
        ([], False, False),
        ([answer(ONE)], True, True),
        ([answer(ONE), answer(ONE, NS2)], True, True),
        ([answer(ONE), answer({"A": ["20.1.1.2"]}, NS2)], False, False),
        ([answer(ONE), answer(None, NS2)], False, False),
        ([answer({"A": ["20.1.1.1", "20.1.1.2"]})], True, False),
        ([answer({"A": [], "CNAME": ["www.example.net."]})], True, False),
        ([answer({"A": ["20.1.1.1"], "CNAME": ["www.example.net."]})], True, False),
        ([answer(ONE, authoritative=False)], False, False),
        ([answer(ONE), failed("timeout", NS2)], False, False),
        ([failed("timeout")], False, False),
        # No route from here to one of a server's addresses says nothing about the server.
        ([answer(ONE), failed("no_route")], True, True),
        ([answer(ONE), failed("no_route", NS2)], False, False),
        ([answer(ONE, None), failed("no_route", None)], False, False),
        ([failed("no_route")], False, False),
    ],
)
def test_what_counts_as_agreement(answers: list[Answer], agree: bool, match: bool) -> None:
    assert consistent(answers) is agree
    assert matches(answers, ONE) is match


def test_nothing_expected_is_matched_by_nothing_there() -> None:
    assert matches([answer(None)], {"A": []})
    assert not matches([answer(ONE)], {"A": []})


def test_order_of_expected_values_does_not_matter() -> None:
    assert matches([answer({"A": ["20.1.1.1", "20.1.1.2"]})], {"A": ["20.1.1.2", "20.1.1.1"]})


def test_judged_keeps_the_order() -> None:
    rows = [failed("no_route"), answer(ONE, NS2), answer(ONE)]
    assert judged(rows) == rows[1:]


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        ([], None),
        ([answer(ONE, ttls={"A": 300})], 300),
        ([answer(ONE, ttls={"A": 60}), answer(None)], 60),
        ([answer(ONE, ttls={"A": 20}), answer(None)], 30),
        ([failed("timeout")], None),
    ],
)
def test_how_long_resolvers_remember(answers: list[Answer], seconds: int | None) -> None:
    assert longest_memory(answers) == seconds


def test_asking_again_ends_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moments, pauses, calls = [0.0], [], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        moments[0] += seconds

    def ask_all(servers: Any, question: Any) -> list[Answer]:
        calls.append(moments[0])
        return [answer(ONE)]

    monkeypatch.setattr("ansible_collections.homeserver.hardening.plugins.module_utils._dns._authority.ask_all", ask_all)
    question = Question(name_from_text("home.example.net"), (1,))
    ask_until([], question, lambda found: False, 20, clock=lambda: moments[0], sleep=sleep)
    assert moments[0] == 20
    assert pauses[:5] == [0.25, 0.5, 1, 2, 4]
    assert len(calls) < 12
    calls.clear()
    ask_until([], question, lambda found: False, 0, clock=lambda: moments[0], sleep=sleep)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("nameserver 20.0.0.53\n", ["20.0.0.53"]),
        ("# nameserver 20.0.0.1\n; x\nsearch a\n  nameserver\t2001:DB8::1  # ours\nnameserver fe80::1%eth0\n", ["2001:db8::1", "fe80::1%eth0"]),
        ("nameserver rubbish\nnameserver 020.0.0.53\nnameserver\nnameserver 20.0.0.54", ["20.0.0.54"]),
        ("".join(f"nameserver 20.0.0.{number}\n" for number in range(1, 6)), ["20.0.0.1", "20.0.0.2", "20.0.0.3"]),
    ],
)
def test_resolv_conf(text: str, found: list[str]) -> None:
    assert nameservers(text) == found


def test_resolvers_are_addresses() -> None:
    assert check_address("2001:DB8:0::1", "resolver") == "2001:db8::1"
    for addresses in ([], ["ns1.example.net"], ["020.0.0.53"], ["20.0.0.53", ""]):
        with pytest.raises(LookupFailed):
            Resolver(addresses)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"types": []}, "types is empty"),
        ({"wait": -1}, "wait is -1"),
        ({"wait": 3601}, "wait is 3601"),
        ({"attempts": 0}, "attempts is 0"),
        ({"timeout": 61}, "timeout is 61"),
        ({"zone": "example.org"}, "does not lie"),
        ({"expected": {"A": ["x"]}}, "no address"),
        ({"servers": ["x"]}, "not an IP address"),
    ],
)
def test_requests_are_checked_before_anything_is_sent(changes: dict[str, Any], says: str) -> None:
    options = {"name": "home.example.net", "types": ["A"], "timeout": 3, "attempts": 2, **changes}
    with pytest.raises(DnsError, match=says):
        Request.from_options(options)


def test_expected_types_are_asked_for_and_written_in_one_way() -> None:
    request = Request.from_options(
        {"name": "home.example.net", "types": ["A"], "timeout": 3, "attempts": 2, "expected": {"A": None, "AAAA": ["2001:DB8:0::1"]}}
    )
    assert request.types == (1, 28)
    assert request.expected == {"AAAA": ["2001:db8::1"]}


def test_times_are_utc() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
