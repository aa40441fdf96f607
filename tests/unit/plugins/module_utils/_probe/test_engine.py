# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._probe import _engine, _host, _targets


@pytest.mark.parametrize(("rate", "burst"), [(100.0, 1.0), (100.0, 10.0), (7.0, 3.0), (1000.0, 256.0)])
def test_pace_keeps_the_rate_and_the_burst(rate: float, burst: float) -> None:
    pace = _engine.Pace(rate, burst)
    now, count, first = 1000.0, 0, 0
    while now < 1010.0:
        wait = pace.delay(now)
        if wait > 0:
            first = first or count
            now += wait
        else:
            pace.take(now)
            count += 1
    assert first == burst
    assert count == pytest.approx(rate * 10 + burst, abs=1.5)


def test_pace_gives_no_credit_for_more_than_the_burst() -> None:
    pace = _engine.Pace(10.0, 5.0)
    for now in (0.0, 1000.0):
        taken = 0
        while pace.delay(now) <= 0:
            pace.take(now)
            taken += 1
        assert taken == 5


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": 61}, "timeout"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": 11}, "attempts"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 5000}, "concurrency"),
        ({"rate": 0}, "rate"),
        ({"rate": -1}, "rate"),
    ],
)
def test_options_are_checked(options: dict[str, Any], word: str) -> None:
    with pytest.raises(_engine.ProbeError, match=word):
        _engine.Options(**options)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(16)
        yield sock


def run(ports: object, protocol: str = "tcp", **options: Any) -> tuple[dict[int, _engine.Outcome], _engine.Summary, list[int]]:
    outcomes: dict[int, _engine.Outcome] = {}
    keys: list[int] = []

    def sink(key: int, outcome: _engine.Outcome) -> None:
        keys.append(key)
        outcomes[outcome.port] = outcome

    summary = _engine.Engine(_engine.Options(**options)).run(_targets.make_targets("127.0.0.1", ports, protocol), sink)
    return outcomes, summary, keys


def test_open_and_closed_on_loopback(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
        outcomes, summary, _keys = run([port, closed])
    assert (outcomes[port].state, outcomes[port].errno) == ("open", None)
    assert (outcomes[closed].state, outcomes[closed].errno) == ("closed", errno.ECONNREFUSED)
    assert summary.counts["open"] == summary.counts["closed"] == 1
    assert summary.addresses == {"ipv4": "127.0.0.1", "ipv6": None}


def test_keys_sort_like_the_request() -> None:
    found: dict[int, int] = {}
    targets = [*_targets.make_targets("127.0.0.1", "20009,20000-20002"), *_targets.make_targets("127.0.0.1", "5")]
    _engine.Engine(_engine.Options()).run(targets, lambda key, outcome: found.update({key: outcome.port}))
    assert [found[key] for key in sorted(found)] == [20009, 20000, 20001, 20002, 5]


def test_local_limits_become_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def refuse(family: int, kind: int, *rest: Any) -> socket.socket:
        if kind & socket.SOCK_STREAM:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(family, kind, *rest)

    monkeypatch.setattr(_engine.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(_engine.socket, "socket", refuse)
    outcomes, summary, _keys = run("20000-20009")
    assert {outcome.state for outcome in outcomes.values()} == {"error"}
    assert {outcome.errno for outcome in outcomes.values()} == {errno.EMFILE}
    assert summary.counts["error"] == 10
    assert summary.limits["reduced"] == {"EMFILE": 15}


@pytest.mark.parametrize(
    ("dropped", "noise", "expected"),
    [
        (set(), 0, set()),
        ({20003}, 0, {20003}),
        (set(range(20000, 20010)), 0, set(range(20000, 20010))),
        ({20000, 20009}, 0, {20000, 20009}),
        # Other programs' packets are dropped in every moment: no port may be blamed for them.
        (set(), 1, set()),
        ({20003}, 1, {20003}),
    ],
)
def test_the_search_for_local_drops(monkeypatch: pytest.MonkeyPatch, dropped: set[int], noise: int, expected: set[int]) -> None:
    engine = _engine.Engine(_engine.Options())
    calls = [0]

    def burst(keys: list[int], _counters: object) -> int:
        calls[0] += 1
        return len([key for key in keys if 20000 + key in dropped]) + (noise if calls[0] % 2 else 0)

    monkeypatch.setattr(engine, "_burst", burst)
    engine._targets = _targets.make_targets("192.0.2.1", "20000-20009")
    found = engine._dropped_here(_engine.array("Q", range(10)))
    assert {20000 + key for key in found} == expected


def test_where_counters_are_missing_a_refused_datagram_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine.Engine(_engine.Options())
    engine._targets = _targets.make_targets("192.0.2.1", "20000-20009")
    monkeypatch.setattr(_host, "parse_counters", lambda *_arguments: None)
    monkeypatch.setattr(engine, "_refused_datagram", lambda key: key == 4)
    assert engine._dropped_here(_engine.array("Q", range(10))) == {4: "medium"}


def test_tcp_info_is_read_where_the_kernel_puts_it(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as sock:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _engine._TCP_INFO_LENGTH)
    assert info[0] == _engine._TCP_ESTABLISHED
    assert 0 < struct.unpack_from("=I", info, _engine._TCP_INFO_RTT_OFFSET)[0] < 1_000_000


def test_where_one_probe_counts_for_two_no_other_port_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine.Engine(_engine.Options())
    engine._targets = _targets.make_targets("192.0.2.1", "20000-20009")
    monkeypatch.setattr(engine, "_burst", lambda keys, _counters: 2 * len([key for key in keys if key % 2]))
    assert set(engine._dropped_here(_engine.array("Q", range(10)))) == {1, 3, 5, 7, 9}
