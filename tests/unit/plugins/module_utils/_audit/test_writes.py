# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes that write, against routers that keep mappings in each of the ways that are known: nothing stays, or it is said."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._audit import _wire as wire
from ansible_collections.homeserver.hardening.plugins.module_utils._audit import _writes as writes
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._deadline import Deadline, OutOfTimeError
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._model import Device, ServiceInfo, Subscription, Table
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._writes import (
    LEASE,
    SOURCE_OUTSIDE,
    SOURCE_OUTSIDE_6,
    Writer,
    low_port,
    pinhole_by_upnp,
    subscribe,
)
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _http_client as http_client
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._document import Node
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import AnswerError, ProtocolError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Entry

ROUTER, HOST, TARGET, TAG = "192.0.2.1", "192.0.2.10", "192.0.2.99", "hs:00000000:audit"


@dataclass
class Router:
    """A router in memory, and its clock. What it does otherwise than others is set by the test."""

    #: How a mapping with a remote host is found and removed: by that alone, by none alone, or by either.
    found_by: str = "either"
    #: Seconds for an answer; whoever waits for less gets none, but what was asked is done.
    delay: float = 0.01
    #: From which request on it takes so long.
    slow_from: int = 0
    slow_to: int = 1000
    #: Error code for an action, 0 for none.
    refuses: dict[str, int] = field(default_factory=dict)
    wildcard_only: bool = False
    #: Says yes and does nothing.
    lies: bool = False
    #: Maps another port than the one that it was asked for.
    other_port: int = 0
    shows_table: bool = True
    now: float = 0.0
    entries: dict[tuple[str, int], Entry] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def call(self, action: str, arguments: Sequence[tuple[str, str]], timeout: float) -> Node:
        values = dict(arguments)
        self.asked.append((action, values))
        delay = self.delay if self.slow_from < len(self.asked) <= self.slow_to else 0.01
        self.now += min(delay, timeout)
        try:
            answer = self._act(action, values)
        finally:
            if delay > timeout:
                raise AnswerError("no answer")
        return answer

    def _keys(self, values: dict[str, str]) -> list[tuple[str, int]]:
        port = int(values["NewExternalPort"])
        names = {"exact": [values["NewRemoteHost"]], "none": [""] if not values["NewRemoteHost"] else [], "either": ["", SOURCE_OUTSIDE]}[self.found_by]
        return [(name, port) for name in names]

    def _stored(self, values: dict[str, str]) -> tuple[str, int] | None:
        return next((key for key in self._keys(values) if key in self.entries), None)

    def _act(self, action: str, values: dict[str, str]) -> Node:
        if self.refuses.get(action):
            raise ProtocolError(action, self.refuses[action], "")
        if action == "GetSpecificPortMappingEntry":
            key = self._stored(values)
            if key is None:
                raise ProtocolError(action, 714, "")
            entry = self.entries[key]
            node = Node("answer")
            for name, text in (
                ("newinternalclient", entry.internal_client),
                ("newinternalport", str(entry.internal_port)),
                ("newportmappingdescription", entry.description),
            ):
                node.children.append(Node(name, text=text))
            return node
        if action == "AddPortMapping":
            if self.wildcard_only and values["NewRemoteHost"]:
                raise ProtocolError(action, 726, "")
            port = self.other_port or int(values["NewExternalPort"])
            name = "" if self.found_by == "none" else values["NewRemoteHost"]
            if not self.lies:
                self.entries[name, port] = Entry("tcp", port, values["NewInternalClient"], int(values["NewInternalPort"]), values["NewPortMappingDescription"])
        elif action == "DeletePortMapping":
            key = self._stored(values)
            if key is None:
                raise ProtocolError(action, 714, "")
            del self.entries[key]
        elif action == "DeletePortMappingRange":
            for key in [key for key in self.entries if key[1] == int(values["NewStartPort"])]:
                del self.entries[key]
        return Node("answer")

    def table(self, limit: Deadline) -> Table:
        self.now += min(0.01, limit.left)
        return Table(ROUTER, tuple(self.entries.values())) if self.shows_table else Table(ROUTER, reason="table_not_shown")

    def writer(self, taken: Sequence[int] = ()) -> Writer:
        return Writer(self.call, self.table, ROUTER, TAG, taken, self.clock)

    def actions(self) -> list[str]:
        return [action for action, _values in self.asked]


CASES: list[tuple[str, Router, str, str, str, bool, int]] = [
    # what, router, state, note, removed by, left, entries that it holds afterwards
    ("found by either", Router(), "accepted", "", "DeletePortMapping", False, 0),
    ("found under the source alone", Router("exact"), "accepted", "", "DeletePortMapping", False, 0),
    ("found under no source alone", Router("none"), "accepted", "", "DeletePortMapping", False, 0),
    ("refuses", Router(refuses={"AddPortMapping": 606}), "refused", "", "", False, 0),
    ("cannot map", Router(refuses={"AddPortMapping": 501}), "cannot", "", "", False, 0),
    ("takes mappings for all sources only", Router("exact", wildcard_only=True), "accepted", "", "DeletePortMapping", False, 0),
    ("says yes and does nothing", Router("exact", lies=True), "unclear", "not_held", "", False, 0),
    ("gives another port", Router("exact", other_port=40000), "accepted", "", "DeletePortMapping", False, 0),
    ("removes by range alone", Router("exact", refuses={"DeletePortMapping": 606}), "accepted", "", "DeletePortMappingRange", False, 0),
    ("keeps it", Router("exact", refuses={"DeletePortMapping": 606, "DeletePortMappingRange": 606}), "accepted", "", "", True, 1),
    ("does not know the question, shows its list", Router(refuses={"GetSpecificPortMappingEntry": 401}), "accepted", "", "DeletePortMapping", False, 0),
    (
        "does not know the question, hides its list",
        Router(refuses={"GetSpecificPortMappingEntry": 401}, shows_table=False),
        "unclear",
        "no_answer",
        "",
        False,
        0,
    ),
]


@pytest.mark.parametrize(("what", "router", "state", "note", "removed_by", "left", "held"), CASES, ids=[row[0] for row in CASES])
def test_an_attempt(what: str, router: Router, state: str, note: str, removed_by: str, left: bool, held: int) -> None:
    attempt = router.writer().attempt("third_party", TARGET)
    assert (attempt.state, attempt.note, attempt.removed_by, attempt.left) == (state, note, removed_by, left), what
    assert len(router.entries) == held


def test_what_is_written() -> None:
    router = Router("exact")
    router.writer().attempt("third_party", TARGET)
    (values,) = [values for action, values in router.asked if action == "AddPortMapping"]
    assert (values["NewRemoteHost"], values["NewInternalClient"], values["NewLeaseDuration"]) == (SOURCE_OUTSIDE, TARGET, str(LEASE))
    assert values["NewPortMappingDescription"] == TAG
    # That the port is free is asked under both names, before anything is written.
    before = router.asked[: router.actions().index("AddPortMapping")]
    assert [values["NewRemoteHost"] for _action, values in before] == ["", SOURCE_OUTSIDE]


def test_a_port_of_this_host_is_never_opened_to_everybody() -> None:
    router = Router("exact", wildcard_only=True)
    attempt = router.writer().attempt("low_port", HOST, low=True)
    assert (attempt.state, attempt.code, attempt.note, attempt.left) == ("cannot", 726, "any_source_only", False)
    assert [values["NewRemoteHost"] for action, values in router.asked if action == "AddPortMapping"] == [SOURCE_OUTSIDE]


@pytest.mark.parametrize("name", ["", SOURCE_OUTSIDE])
def test_what_others_have_is_left_alone(name: str) -> None:
    router = Router("exact")
    theirs = {(name, port): Entry("tcp", port, HOST, port, "theirs") for port in (1023, 1021)}
    router.entries.update(theirs)
    attempt = router.writer(taken=[1019]).attempt("low_port", HOST, low=True)
    assert (attempt.external_port, attempt.state, attempt.left) == (1015, "accepted", False)
    assert router.entries == theirs


def test_no_port_is_free() -> None:
    router = Router()
    attempt = router.writer(taken=range(1, 65536)).attempt("third_party", TARGET)
    assert (attempt.state, attempt.note) == ("unclear", "no_free_port")
    assert router.asked == []


SLOW: list[tuple[str, Router, str, str, bool, int]] = [
    # what, router, state, note, left, entries that it holds afterwards
    ("slow but in time", Router("exact", delay=1.5), "accepted", "", False, 0),
    ("slow as soon as it is asked to write", Router("exact", delay=3.5, slow_from=2), "accepted", "", False, 0),
    ("one answer gets lost", Router("exact", delay=60, slow_from=2, slow_to=3), "accepted", "", False, 0),
    ("silent as soon as it is asked to write, and does it", Router("exact", delay=60, slow_from=2), "unclear", "", True, 0),
    ("silent from the start", Router("exact", delay=60), "unclear", "no_answer", False, 0),
    ("too slow from the start", Router("exact", delay=2.5), "unclear", "no_answer", False, 0),
]


@pytest.mark.parametrize(("what", "router", "state", "note", "left", "held"), SLOW, ids=[row[0] for row in SLOW])
def test_a_slow_router(what: str, router: Router, state: str, note: str, left: bool, held: int) -> None:
    attempt = router.writer().attempt("third_party", TARGET)
    assert (attempt.state, attempt.note, attempt.left) == (state, note, left), what
    # Whether it answers or not, it was asked to take back what it may have made.
    assert len(router.entries) == held
    assert ("AddPortMapping" in router.actions()) == ("DeletePortMapping" in router.actions())
    assert router.now <= 30


def test_what_is_not_there_yet_is_taken_back_too() -> None:
    """Without an answer the mapping may be made after the router was read."""
    router = Router("exact", lies=True, delay=60, slow_from=2, slow_to=3)
    attempt = router.writer().attempt("third_party", TARGET)
    assert (attempt.state, attempt.left) == ("unclear", False)
    assert "DeletePortMapping" in router.actions()


def test_each_attempt_has_its_own_time() -> None:
    router = Router("exact", delay=1.4)
    writer = router.writer()
    assert [writer.attempt("third_party", TARGET).state for _index in range(5)] == ["accepted"] * 5
    assert router.entries == {}


def test_a_deadline() -> None:
    router = Router()
    limit = Deadline(10, router.clock)
    assert (limit.wait(3), limit.part(60).left, limit.part(2).left) == (3, 10, 2)
    router.now = 8
    assert (limit.wait(3), limit.over) == (2, False)
    router.now = 11
    assert (limit.left, limit.over) == (0, True)
    with pytest.raises(OutOfTimeError):
        limit.wait(3)


@pytest.mark.parametrize(("code", "answered"), [(0, True), (730, True), (401, False), (602, False)])
def test_the_range_action(code: int, answered: bool) -> None:
    router = Router(refuses={"DeletePortMappingRange": code})
    assert router.writer().range_action() == (answered, code)


def test_the_range_action_of_a_router_that_does_not_answer() -> None:
    router = Router(delay=60)
    assert router.writer().range_action() == (None, 0)
    assert "DeletePortMappingRange" not in router.actions()


@dataclass
class Firewall:
    """A router's WANIPv6FirewallControl in memory."""

    refuses: dict[str, int] = field(default_factory=dict)
    #: The requests, by number from 0, of which the answer is lost.
    loses: tuple[int, ...] = ()
    #: It says yes and removes nothing.
    keeps: bool = False
    pinholes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def call(self, action: str, arguments: Sequence[tuple[str, str]], timeout: float) -> Node:
        assert 0 < timeout <= 5
        values = dict(arguments)
        self.asked.append((action, values))
        if action in self.refuses:
            raise ProtocolError(action, self.refuses[action], "")
        answer = Node("answer")
        if action == "AddPinhole":
            number = next((number for number, made in self.pinholes.items() if made == values), str(len(self.asked)))
            self.pinholes[number] = values
            answer.children.append(Node("uniqueid", number))
        elif values["UniqueID"] not in self.pinholes:
            raise ProtocolError(action, 704, "")
        elif action == "DeletePinhole" and not self.keeps:
            del self.pinholes[values["UniqueID"]]
        if len(self.asked) - 1 in self.loses:
            raise AnswerError("no answer")
        return answer


PINHOLE_CASES: list[tuple[str, Firewall, str, int, bool, int]] = [
    # what, router, state, code, left, pinholes that it holds afterwards
    ("granted", Firewall(), "accepted", 0, False, 0),
    ("refused", Firewall(refuses={"AddPinhole": 606}), "refused", 606, False, 0),
    ("not allowed", Firewall(refuses={"AddPinhole": 703}), "refused", 703, False, 0),
    ("full", Firewall(refuses={"AddPinhole": 701}), "cannot", 701, False, 0),
    ("the answer is lost", Firewall(loses=(0,)), "accepted", 0, False, 0),
    ("the answer to the removal is lost", Firewall(loses=(1,)), "accepted", 0, False, 0),
    ("no answer at all", Firewall(loses=(0, 1)), "unclear", 0, True, 1),
    ("says that it removed it", Firewall(keeps=True), "accepted", 0, True, 1),
    ("does not remove it", Firewall(refuses={"DeletePinhole": 606}), "accepted", 0, True, 1),
]


@pytest.mark.parametrize(("what", "router", "state", "code", "left", "held"), PINHOLE_CASES, ids=[row[0] for row in PINHOLE_CASES])
def test_a_pinhole(what: str, router: Firewall, state: str, code: int, left: bool, held: int) -> None:
    attempt = pinhole_by_upnp(router.call, "low_port", "fe80::1", "2001:db8::10", 1023, "ipv6")
    assert (attempt.state, attempt.code, attempt.left) == (state, code, left), what
    assert len(router.pinholes) == held
    values = router.asked[0][1]
    assert (values["RemoteHost"], values["InternalClient"], values["InternalPort"], values["Protocol"]) == (SOURCE_OUTSIDE_6, "2001:db8::10", "1023", "6")
    assert int(values["LeaseTime"]) == LEASE


def test_a_low_port_on_which_nothing_listens() -> None:
    assert low_port(()) == 1023
    assert low_port({("tcp", 1023), ("udp", 1021)}) == 1021


class Events:
    """An HTTP server on loopback that answers each request with what it was given, and nothing for None."""

    def __init__(self, *answers: str | None) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = http_client.Url("127.0.0.1", self._server.getsockname()[1], "/event")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for answer in self._answers:
            connection, _peer = self._server.accept()
            self.asked.append(connection.recv(4096).decode())
            if answer is not None:
                connection.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
                connection.close()
            self._open.append(connection)

    def subscribe(self) -> Subscription:
        device = Device("127.0.0.1", "lo", "", services=(ServiceInfo("x", event=self.url),))
        (row,) = subscribe(device, None, Deadline(10))
        return row

    def close(self) -> None:
        self._server.close()
        for connection in self._open:
            connection.close()


GRANTED = "200 OK\r\nSID: uuid:1\r\nTIMEOUT: Second-300"

SUBSCRIPTION_CASES: list[tuple[str, tuple[str | None, ...], int | None, bool, bool, int]] = [
    # what, answers, status, granted, left, ends in
    ("refused", ("412 No",), 412, False, False, 60),
    ("granted and ended", (GRANTED, "200 OK"), 200, True, False, 300),
    ("granted and not known any more", (GRANTED, "412 No"), 200, True, False, 300),
    ("granted and not ended", (GRANTED, "500 No"), 200, True, True, 300),
    ("granted for ever and not ended", ("200 OK\r\nSID: uuid:1\r\nTIMEOUT: Second-infinite", "500 No"), 200, True, True, 0),
    ("granted, and it does not say for how long", ("200 OK\r\nSID: uuid:1", "500 No"), 200, True, True, 60),
    ("granted without a name", ("200 OK",), 200, False, True, 60),
    ("a redirect", ("302 Found",), None, False, False, 60),
    ("no answer", (None,), None, False, True, 60),
]


@pytest.mark.parametrize(("what", "answers", "status", "granted", "left", "ends_in"), SUBSCRIPTION_CASES, ids=[row[0] for row in SUBSCRIPTION_CASES])
def test_a_subscription(what: str, answers: tuple[str | None, ...], status: int | None, granted: bool, left: bool, ends_in: int) -> None:
    events = Events(*answers)
    try:
        row = events.subscribe()
    finally:
        events.close()
    assert (row.status, row.granted, row.left, row.ends_in) == (status, granted, left, ends_in), what
    lines = events.asked[0].split("\r\n")
    assert lines[0] == "SUBSCRIBE /event HTTP/1.1"
    assert {"CALLBACK: <http://203.0.113.1:9/>", "NT: upnp:event", "TIMEOUT: Second-60", f"Host: {events.url.netloc}"} <= set(lines)


def test_a_device_that_is_not_there_holds_no_subscription() -> None:
    events = Events()
    events.close()
    row = events.subscribe()
    assert (row.status, row.left) == (None, False)


def test_no_time_for_a_subscription() -> None:
    device = Device("127.0.0.1", "lo", "", services=(ServiceInfo("x", event=http_client.Url("127.0.0.1", 9, "/")),))
    assert [(row.note, row.left) for row in subscribe(device, None, Deadline(0))] == [("out_of_time", False)]


def test_what_another_made_meanwhile_is_left_alone() -> None:
    """The request to map gets no answer, and then somebody else has the port."""
    router = Router("exact", lies=True, delay=60, slow_from=2, slow_to=3)
    real = router.call

    def call(action: str, arguments: Sequence[tuple[str, str]], timeout: float) -> Node:
        if action == "AddPortMapping":
            port = int(dict(arguments)["NewExternalPort"])
            router.entries["", port] = Entry("tcp", port, HOST, 80, "theirs")
        return real(action, arguments, timeout)

    attempt = Writer(call, router.table, ROUTER, TAG, (), router.clock).attempt("third_party", TARGET)
    assert (attempt.state, attempt.note, attempt.left) == ("unclear", "taken_meanwhile", False)
    assert len(router.entries) == 1
    assert not [action for action in router.actions() if action.startswith("Delete")]


@pytest.fixture
def babbler() -> Iterator[int]:
    """A UDP port that answers with rubbish, and goes on and on."""
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.bind(("::1", 0))
    stop = threading.Event()

    def run() -> None:
        _data, peer = server.recvfrom(2048)
        while not stop.is_set():
            server.sendto(b"rubbish", peer)
            time.sleep(0.001)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    stop.set()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as waker:
        waker.sendto(b"", server.getsockname())
    thread.join()
    server.close()


def test_rubbish_does_not_stretch_the_time_of_a_pinhole(monkeypatch: pytest.MonkeyPatch, babbler: int) -> None:
    monkeypatch.setattr(writes.packets, "PORT", babbler)
    monkeypatch.setattr(writes, "_ADD", 0.3)
    monkeypatch.setattr(writes, "_BACK_ANSWER", 0.3)
    start = time.monotonic()
    # It may have been made, and nobody said that it was taken back.
    assert writes.pinhole("::1", 0, "::1", 22) == ("unclear", -1, True)
    assert time.monotonic() - start < 3


def test_rubbish_does_not_stretch_the_time_of_a_question(babbler: int) -> None:
    start = time.monotonic()
    assert wire.ask("::1", babbler, b"x", "q", 0.3).state == "answered"
    assert time.monotonic() - start < 3
