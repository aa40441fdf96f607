# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._dns._authority import Answer, Question, ask_expire
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._findings import (
    REMEDIES,
    Observation,
    Published,
    findings,
    laggards,
    leaders,
    leading_serial,
    second_writer,
)
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._lookup import Server
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._name import DnsError, name_from_text
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._public import ask_public, askable
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._serial import compare_serials, newest_serial
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._survey import Request
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._wire import FLAG_QR, Message, Record, decode

ZONE, NAME = name_from_text("example.net"), name_from_text("home.example.net")
ONE, TWO, NONE = {"A": ["20.1.1.1"]}, {"A": ["20.1.1.2"]}, {"A": []}
HALF, TOP = 1 << 31, (1 << 32) - 1


def answer(number: int, serial: int | None, records: dict[str, list[str]] | None = None, **changes: Any) -> Answer:
    server = Server(name_from_text(f"ns{number}.example.net"), f"20.0.0.{number}")
    return Answer(server, **{"authoritative": True, "exists": True, "zone": ZONE, "records": ONE if records is None else records, "serial": serial, **changes})


def failed(number: int, kind: str, **changes: Any) -> Answer:
    return answer(number, None, {}, authoritative=False, exists=None, zone=None, error="because", error_kind=kind, **changes)


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [
        (1, 1, 0),
        (2, 1, 1),
        (0, TOP, 1),
        (5, TOP - 5, 1),
        (HALF - 1, 0, 1),
        (HALF, 0, None),
        (HALF + 1, 0, -1),
        (TOP, HALF, 1),
        (TOP, HALF - 1, None),
        (2026010102, 2026010101, 1),
    ],
)
def test_serials_are_compared_by_rfc_1982(left: int, right: int, result: int | None) -> None:
    assert compare_serials(left, right) == result
    assert compare_serials(right, left) == (None if result is None else -result)


@pytest.mark.parametrize(
    ("serials", "newest"),
    [([], None), ([7], 7), ([7, 7, 6], 7), ([TOP, 3], 3), ([0, HALF], None), ([0, 1 << 30, 3 << 30], None), ([TOP - 1, TOP, 0], 0), ([1, 1 << 30, HALF], HALF)],
)
def test_the_newest_of_several(serials: list[int], newest: int | None) -> None:
    assert newest_serial(serials) == newest
    assert newest_serial(reversed(serials)) == newest


@pytest.mark.parametrize(
    ("answers", "newest", "late"),
    [
        ([], None, []),
        ([answer(1, 5)], 5, []),
        ([answer(1, 5), answer(2, 5)], 5, []),
        ([answer(1, 5), answer(2, 4), answer(3, 5)], 5, [2]),
        ([answer(1, 2), answer(2, TOP)], 2, [2]),
        ([answer(1, 0), answer(2, HALF)], None, []),
        # Who does not answer, does not speak for the zone, or speaks for another one is not behind.
        ([answer(1, 5), failed(2, "timeout"), answer(3, 4, authoritative=False)], 5, []),
        ([answer(1, 5), answer(2, 4, zone=NAME)], 5, []),
    ],
)
def test_who_is_behind(answers: list[Answer], newest: int | None, late: list[int]) -> None:
    assert leading_serial(answers) == newest
    assert [row.server.address for row in laggards(answers)] == [f"20.0.0.{number}" for number in late]
    assert not {id(row) for row in leaders(answers)} & {id(row) for row in laggards(answers)}


def watching(*rounds: list[Answer]) -> Observation:
    moments = iter(range(100, 1000, 10))
    observation = Observation(clock=lambda: float(next(moments)))
    for answers in rounds:
        observation.note(answers)
    return observation


def test_since_when_somebody_is_behind() -> None:
    late, right = [answer(1, 5), answer(2, 4)], [answer(1, 5), answer(2, 5)]
    assert watching(late, late).behind_since == {late[1].server: 100}
    assert watching(late, right).behind_since == {}
    assert watching(late, right, late).behind_since == {late[1].server: 120}


def test_changes_are_told_in_the_order_in_which_they_were_seen() -> None:
    seen = watching([answer(1, 5), answer(2, 5)], [answer(1, 6, TWO), answer(2, 5)], [answer(1, 7, TWO), answer(2, 7, TWO)]).changes()
    assert [(server.address, state.moment, state.serial, state.records) for server, state in seen] == [
        ("20.0.0.1", 110, 6, TWO),
        ("20.0.0.2", 120, 7, TWO),
    ]


def test_the_zones_own_record_is_no_record_of_the_name() -> None:
    assert watching([answer(1, 5, {"SOA": ["x 5"]})], [answer(1, 6, {"SOA": ["x 6"]})], [answer(1, 7, {"SOA": ["x 5"]})]).changes() == []


@pytest.mark.parametrize(
    ("states", "back"),
    [
        ([(1, ONE)], False),
        ([(1, ONE), (2, TWO)], False),
        ([(1, ONE), (2, TWO), (3, ONE)], True),
        ([(TOP, ONE), (0, TWO), (1, ONE)], True),
        ([(1, ONE), (2, NONE), (3, TWO)], False),
        ([(1, ONE), (2, TWO), (3, NONE), (4, ONE)], True),
        # Another name of the zone changed.
        ([(1, ONE), (2, ONE), (3, ONE)], False),
        # Two machines behind one address, one of them behind the other.
        ([(1, ONE), (2, TWO), (1, ONE), (2, TWO)], False),
        ([(1, ONE), (2, TWO), (1, ONE), (3, TWO)], False),
        ([(1, ONE), (2, TWO), (1, ONE), (3, ONE)], True),
    ],
)
def test_a_value_that_comes_back(states: list[tuple[int, dict[str, list[str]]]], back: bool) -> None:
    observation = watching(*([answer(1, serial, records)] for serial, records in states))
    assert bool(observation.alternating()) is back
    state, evidence = second_writer([answer(1, *states[-1])], None, observation, watched=True)
    assert state == ("suspected" if back else "not_seen")
    assert [row["kind"] for row in evidence] == ["alternates"] * back


@pytest.mark.parametrize(
    ("answers", "published", "state"),
    [
        ([answer(1, 5)], Published(ONE, 4), "not_seen"),
        ([answer(1, 5)], Published(ONE), "not_seen"),
        ([answer(1, 5)], Published({"AAAA": []}), "not_seen"),
        ([answer(1, 5)], Published(TWO, 4), "suspected"),
        ([answer(1, 5)], Published(NONE, 4), "suspected"),
        ([answer(1, 5, NONE)], Published(ONE, 4), "suspected"),
        ([answer(1, 5, {"A": [], "CNAME": ["router.example.org."]})], Published(ONE, 4), "suspected"),
        ([answer(1, 1)], Published(TWO, TOP), "suspected"),
        # Whoever has the older serial has not heard of it yet, which is no sign of another writer.
        ([answer(1, 5), answer(2, 4, TWO)], Published(ONE, 4), "not_seen"),
        ([answer(1, 3)], Published(TWO, 4), "unknown"),
        ([answer(1, 4)], Published(TWO, 4), "unknown"),
        ([answer(1, 5)], Published(TWO), "unknown"),
        ([answer(1, 0), answer(2, HALF)], Published(ONE, 0), "unknown"),
        ([failed(1, "timeout")], Published(ONE, 4), "unknown"),
        ([], Published(ONE, 4), "unknown"),
        ([answer(1, 5)], None, None),
    ],
)
def test_what_makes_another_writer_likely(answers: list[Answer], published: Published | None, state: str | None) -> None:
    found, evidence = second_writer(answers, published, watching(answers), watched=False)
    assert found == state
    assert bool(evidence) is (state == "suspected")


def test_an_overwrite_that_was_watched_needs_no_serial_from_before() -> None:
    seen = watching([answer(1, 5, TWO)], [answer(1, 6, ONE)])
    assert second_writer([answer(1, 6, ONE)], Published(TWO), seen, watched=True)[0] == "suspected"
    # It arrived while we watched.
    assert second_writer([answer(1, 6, ONE)], Published(ONE), seen, watched=True)[0] == "not_seen"


def lagging_row(differ: bool, since: str | None = None) -> dict[str, Any]:
    return {"name": "ns2.example.net.", "address": "20.0.0.2", "serial": 4, "newest": 5, "ahead": ["ns1"], "records_differ": differ, "since_earliest": since}


@pytest.mark.parametrize(
    ("answers", "lagging", "found"),
    [
        ([answer(1, 5)], [], []),
        ([answer(1, 5), answer(2, 4)], [lagging_row(True)], [("dns-secondary-lagging", "high")]),
        ([answer(1, 5), answer(2, 4)], [lagging_row(False)], [("dns-secondary-lagging", "low")]),
        ([answer(1, 5), failed(2, "not_authoritative")], [], [("dns-not-authoritative", "high")]),
        ([answer(1, 5), failed(2, "rcode", rcode="REFUSED")], [], [("dns-not-authoritative", "high")]),
        ([failed(1, "rcode", rcode="SERVFAIL")], [], [("dns-not-authoritative", "high")]),
        ([answer(1, 5), failed(2, "rcode", rcode="FORMERR")], [], [("dns-authority-silent", "medium")]),
        ([answer(1, 5), failed(2, "timeout")], [], [("dns-authority-silent", "medium")]),
        ([answer(1, 5), failed(2, "no_route")], [], []),
        ([failed(1, "timeout"), failed(2, "timeout")], [], []),
        (
            [answer(1, 5), failed(2, "timeout"), failed(3, "not_authoritative"), answer(4, 4)],
            [lagging_row(False)],
            [("dns-not-authoritative", "high"), ("dns-authority-silent", "medium"), ("dns-secondary-lagging", "low")],
        ),
    ],
)
def test_findings_by_what_was_answered(answers: list[Answer], lagging: list[dict[str, Any]], found: list[tuple[str, str]]) -> None:
    rows = findings(answers, lagging, [], "home.example.net.")
    assert [(row["id"], row["severity"]) for row in rows] == found
    for row in rows:
        assert row["remedy"] == REMEDIES[row["id"]]
        assert row["evidence"] and row["reason"]


def test_a_finding_says_who_has_what_and_since_when() -> None:
    row = findings([answer(1, 5)], [lagging_row(True, "2026-01-01T00:00:00Z")], [], "x")[0]
    assert row["reason"] == (
        "ns2.example.net. (20.0.0.2) has serial 4, ns1 5: what it says about the name is out of date; it last heard from its primary 2026-01-01T00:00:00Z"
    )
    evidence = second_writer([answer(1, 5)], Published(TWO, 4), Observation(), watched=False)[1]
    row = findings([answer(1, 5)], [], evidence, "home.example.net.")[0]
    assert row["id"] == "dns-second-writer"
    assert row["reason"] == (
        "home.example.net. is no longer what this host published: ns1.example.net. (20.0.0.1) has A 20.1.1.1 at serial 5, and had A 20.1.1.2 at serial 4"
    )
    evidence = second_writer([answer(1, 3)], None, watching([answer(1, 1)], [answer(1, 2, NONE)], [answer(1, 3)]), watched=True)[1]
    row = findings([answer(1, 3)], [], evidence, "home.example.net.")[0]
    assert "goes back and forth" in row["reason"]
    assert row["reason"].endswith("and had A 20.1.1.1 at serial 1, then no record at serial 2")


@pytest.mark.parametrize(
    ("answers", "types"),
    [
        ([], ()),
        ([answer(1, 5)], (1,)),
        ([answer(1, 5), answer(2, 4, TWO)], (1,)),
        ([answer(1, 5), answer(2, 4, NONE)], ()),
        ([answer(1, 5), failed(2, "timeout")], ()),
        ([answer(1, 5, {"A": ["20.1.1.1"], "AAAA": ["2a00::1"]})], (1, 28)),
        ([answer(1, 5, {"A": [], "AAAA": [], "CNAME": ["x."]})], (1, 28)),
    ],
)
def test_what_a_resolver_may_be_asked(answers: list[Answer], types: tuple[int, ...]) -> None:
    assert askable(answers, Question(NAME, (1, 28))) == types


def test_a_resolver_that_may_not_be_asked_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    rows = ask_public(["20.0.0.53"], Question(NAME, (1,)), ())
    assert [(row.error_kind, row.records) for row in rows] == [("not_asked", {})]


OPTIONS = {"name": "home.example.net", "types": ["A"], "timeout": 3, "attempts": 2}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"watch": -1}, "watch is -1"),
        ({"watch": 3601}, "watch is 3601"),
        ({"public_resolvers": ["dns.example"]}, "not an IP address"),
        ({"published": {}}, "names no records"),
        ({"published": {"A": None, "AAAA": None, "serial": 4}}, "names no records"),
        ({"published": {"A": ["::1"]}}, "no address"),
        ({"published": {"A": [], "serial": -1}}, "serial is -1"),
        ({"published": {"A": [], "serial": 1 << 32}}, "serial is "),
    ],
)
def test_requests_are_checked_before_anything_is_sent(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DnsError, match=says):
        Request.from_options({**OPTIONS, **changes})


def test_published_types_are_asked_for_and_written_in_one_way() -> None:
    request = Request.from_options({**OPTIONS, "published": {"A": None, "AAAA": ["2001:DB8:0::1"], "serial": TOP}})
    assert request.types == (1, 28)
    assert request.published == Published({"AAAA": ["2001:db8::1"]}, TOP)


@pytest.fixture
def server() -> Iterator[tuple[int, list[bytes]]]:
    """A server that says what it is told to in an OPT record."""
    options: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, peer = sock.recvfrom(512)
                if not data:
                    return
                query = decode(data)
                assert [(record.rtype, record.rdata) for record in query.additionals] == [(41, b"\0\t\0\0")]
                reply = Message(query.id, FLAG_QR, query.questions, additionals=[Record((), 41, 0, option, 1232) for option in options])
                sock.sendto(reply.encode(), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()[1], options
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", sock.getsockname())
        thread.join()


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ([], None),
        ([b""], None),
        ([struct.pack("!2HI", 9, 4, 86399)], 86399),
        ([struct.pack("!2H3s2HI", 12, 3, b"xyz", 9, 4, 7)], 7),
        ([struct.pack("!2H", 9, 0)], None),
        ([struct.pack("!2HH", 9, 2, 1)], None),
        ([struct.pack("!2HH", 9, 4, 1)], None),
        ([struct.pack("!2H", 3, 65535)], None),
    ],
)
def test_what_a_secondary_says_about_its_copy(server: tuple[int, list[bytes]], options: list[bytes], seconds: int | None) -> None:
    port, answered = server
    answered[:] = options
    asked = Answer(Server(None, "127.0.0.1", port), zone=ZONE)
    assert ask_expire(asked, Question(NAME, (1,), timeout=1, attempts=1)) == seconds
    assert ask_expire(Answer(asked.server), Question(NAME, (1,))) is None
