# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._config import Config
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._driver import (
    ChangedMeanwhile,
    Driver,
    NotUnderstood,
    RecordSet,
    RetryLater,
    StopTrying,
)
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._engine import Engine, Parts, forget
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._memory import FILE, Memory
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._result import DdnsError, Outcome
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._authority import Answer
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._lookup import Server
from ansible_collections.homeserver.hardening.plugins.module_utils._history import load
from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir

SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0"
NOW = 1_800_000_000.0
SETTINGS: dict[str, Any] = {"name": "home.example.net", "zone": "example.net", "server": "20.0.0.53", "tsig_name": "key", "families": ["ipv4"]}


class Killed(BaseException):
    """The process dies here."""


class World(Driver):
    """A provider, the addresses of the host and a clock; every step counts, and the process can be killed at any of them."""

    def __init__(self) -> None:
        self.records: dict[str, RecordSet] = {}
        self.late = False
        self.addresses: dict[str, str | Exception] = {"ipv4": "20.1.1.1", "ipv6": "2a00::1"}
        self.error: Exception | None = None
        self.now = NOW
        self.log: list[str] = []
        self.die_at = -1

    def step(self, what: str) -> None:
        self.log.append(what)
        if len(self.log) - 1 == self.die_at:
            raise Killed

    def read(self, rtypes: Sequence[str]) -> dict[str, RecordSet]:
        self.step("read")
        found = {rtype: self.records.get(rtype, RecordSet()) for rtype in rtypes}
        return {**found, "CNAME": self.records["CNAME"]} if "CNAME" in self.records else found

    def replace(self, before: Mapping[str, RecordSet], after: Mapping[str, RecordSet]) -> None:
        self.step("send")
        if self.error is not None:
            raise self.error
        for rtype, record_set in before.items():
            if self.records.get(rtype, RecordSet()).values != record_set.values:
                raise ChangedMeanwhile("NXRRSET")
        self.records.update(after)
        self.step("answer")

    def check(self) -> None:
        self.step("check")
        if self.error is not None:
            raise self.error

    def source(self, family: str) -> str:
        found = self.addresses[family]
        if isinstance(found, Exception):
            raise found
        return found

    def ask(self, servers: Sequence[Server], question: Any, done: Callable[[list[Answer]], bool], wait: float) -> list[Answer]:
        self.step("ask")
        records = {} if self.late else {rtype: list(item.values) for rtype, item in self.records.items() if item.values}
        return [Answer(server, authoritative=True, exists=bool(records), records=records) for server in servers]

    def parts(self) -> Parts:
        return Parts(
            driver=lambda config, secret: self,
            source=lambda config: self.source,
            authorities=lambda config: [Server(None, "20.0.0.53")],
            ask=self.ask,
            clock=lambda: self.now,
        )

    def values(self, rtype: str = "A") -> list[str]:
        return list(self.records.get(rtype, RecordSet()).values)


class Host:
    """A host in that world."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.path = path / "state"
        self.settings = dict(SETTINGS)

    def engine(self, **how: Any) -> Engine:
        state = StateDir(str(self.path))
        write = state.write

        def counted(name: str, data: Any) -> None:
            self.world.step("before write")
            write(name, data)
            self.world.step("write")

        state.write = counted  # type: ignore[method-assign]
        return Engine(Config.from_mapping(self.settings), SECRET, state, parts=self.world.parts(), **how)

    def present(self, **how: Any) -> Outcome:
        return self.engine(**how).present()

    def absent(self, **how: Any) -> Outcome:
        return self.engine(now=True, **how).absent()

    def memory(self) -> Memory:
        return Memory.load(StateDir(str(self.path)))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def host(world: World, tmp_path: Path) -> Host:
    return Host(world, tmp_path)


def test_the_four_calls_and_back(world: World, host: Host) -> None:
    planned = host.present(apply=False, now=True)
    assert (planned.changed, planned.result, world.log) == (True, "ok", ["read", "check"])
    assert not host.path.exists()
    done = host.present(now=True)
    assert (done.changed, done.result, done.plan.as_data()) == (True, "ok", planned.plan.as_data())
    assert world.values() == ["20.1.1.1"]
    assert world.log.index("write") < world.log.index("send") < world.log.index("ask")
    again = host.present(now=True)
    assert (again.changed, again.result) == (False, "unchanged")
    assert host.absent(apply=False).changed
    gone = host.absent()
    assert (gone.changed, gone.result, world.values()) == (True, "ok", [])
    assert not host.path.exists()
    assert host.absent().result == "unchanged"


def test_check_mode_finds_a_wrong_key_and_changes_nothing(world: World, host: Host) -> None:
    world.error = StopTrying("BADSIG")
    outcome = host.present(apply=False, now=True)
    assert (outcome.result, outcome.changed, world.log) == ("stop", False, ["read", "check"])
    assert not host.path.exists()


def test_a_directory_that_was_there_stays(world: World, host: Host) -> None:
    host.path.mkdir()
    host.present(now=True)
    host.absent()
    assert [entry.name for entry in host.path.iterdir()] == ["lock"]


def _kill_somewhere(world: World, job: Callable[[], Outcome]) -> bool:
    try:
        job()
    except Killed:
        return True
    finally:
        world.die_at = -1
    return False


@pytest.mark.parametrize("then", ["present", "absent"])
@pytest.mark.parametrize("first", ["present", "change", "adopt", "absent"])
def test_killed_anywhere_the_next_run_completes_or_takes_back(tmp_path: Path, first: str, then: str) -> None:
    """No step exists after whose end the next run, in either direction, does not end with everything right."""
    for number in range(40):
        world, host = World(), Host(World(), tmp_path / f"{number}")
        host.world = world
        host.path.parent.mkdir()
        before: list[str] = []
        if first == "adopt":
            world.records["A"] = RecordSet(("20.9.9.9",), 300)
            before = ["20.9.9.9"]
            host.settings["adopt"] = True
        if first in ("change", "absent"):
            host.present(now=True)
        if first == "change":
            world.addresses["ipv4"] = "20.1.1.2"
        world.log.clear()
        world.die_at = number
        killed = _kill_somewhere(world, host.absent if first == "absent" else partial(host.present, now=True))
        outcome = host.present(now=True) if then == "present" else host.absent()
        assert outcome.good, (number, outcome.message)
        if then == "present":
            assert world.values() == [world.addresses["ipv4"]]
            outcome = host.absent()
            assert outcome.good, outcome.message
        assert world.values() == before, number
        assert not (host.path / FILE).exists()
        if not killed:
            assert number >= 3
            return
    pytest.fail("there is no end")


def test_planted_fault_without_the_word_before_sending_a_killed_run_leaves_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    host = Host(world, tmp_path)
    monkeypatch.setattr(Memory, "save", lambda self, state: None)
    world.die_at = 2
    assert _kill_somewhere(world, partial(host.present, now=True))
    assert world.log == ["read", "send", "answer"]
    host.absent()
    assert world.values() == ["20.1.1.1"]


@pytest.mark.parametrize("family", ["A", "AAAA"])
def test_what_somebody_else_published_is_refused(world: World, host: Host, family: str) -> None:
    host.settings["families"] = ["ipv4", "ipv6"]
    world.records[family] = RecordSet(("20.9.9.9",), 300)
    outcome = host.present(now=True)
    assert (outcome.result, outcome.exit_status, outcome.changed, world.log) == ("foreign", 23, False, ["read"])
    assert "20.9.9.9" in outcome.message
    assert not host.path.exists()


def test_even_if_it_is_the_right_address(world: World, host: Host) -> None:
    world.records["A"] = RecordSet(("20.1.1.1",), 60)
    assert host.present(now=True).result == "foreign"
    host.settings["adopt"] = True
    assert (host.present(now=True).result, host.absent().result) == ("unchanged", "ok")


def test_alias_is_never_touched(world: World, host: Host) -> None:
    world.records["CNAME"] = RecordSet(("www.example.org.",), 60)
    host.settings["adopt"] = True
    outcome = host.present(now=True)
    assert outcome.result == "foreign"
    assert "www.example.org." in outcome.message


def test_refused_update_is_not_remembered_as_published(world: World, host: Host) -> None:
    world.error = StopTrying("BADSIG")
    assert host.present().result == "stop"
    assert host.memory().owned == []
    # So a record that comes from elsewhere later is not ours.
    world.error = None
    world.records["A"] = RecordSet(("20.9.9.9",), 300)
    assert host.present(now=True).result == "foreign"


def test_update_without_an_answer_is_remembered_as_perhaps_published(world: World, host: Host) -> None:
    world.error = RetryLater("timeout")
    assert host.present(now=True).result == "retry"
    assert host.memory().owned == ["A"]
    world.error = None
    world.records["A"] = RecordSet(("20.1.1.1",), 60)
    assert (host.absent().result, world.values()) == ("ok", [])


def test_stop_holds_until_the_configuration_changes_or_somebody_asks(world: World, host: Host) -> None:
    world.error = StopTrying("BADSIG for key")
    assert host.present().result == "stop"
    world.error = None
    world.log.clear()
    world.now += 10**7
    again = host.present()
    assert (again.result, world.log, "BADSIG for key" in again.message) == ("stop", [], True)
    host.settings["ttl"] = 61
    assert host.present().result == "ok"
    assert host.memory().stop is None


def test_stop_ends_when_somebody_asks(world: World, host: Host) -> None:
    host.present()
    world.addresses["ipv4"], world.error = "20.1.1.2", StopTrying("REFUSED")
    assert (host.present().result, host.present(now=True).result) == ("stop", "stop")
    world.error = None
    assert host.present().result == "stop"
    assert host.present(now=True).result == "ok"
    assert host.present().result == "unchanged"


@pytest.mark.parametrize("error", [RetryLater("timeout"), NotUnderstood("strange")])
def test_back_off_doubles_up_to_an_hour(world: World, host: Host, error: Exception) -> None:
    host.present()
    world.addresses["ipv4"], world.error = "20.1.1.2", error
    waits = []
    for _unused in range(9):
        outcome = host.present()
        assert outcome.exit_status in (20, 22)
        wait = host.memory().not_before - world.now
        waits.append(wait)
        world.now += wait - 1
        world.log.clear()
        held = host.present()
        assert (held.result, world.log) == ("retry", [])
        assert str(error) in held.message
        world.now += 1
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    world.error = None
    assert host.present().result == "ok"
    assert host.memory().failures == 0


def test_clock_that_was_set_back_does_not_silence_the_host(world: World, host: Host) -> None:
    host.present()
    world.addresses["ipv4"], world.error = "20.1.1.2", RetryLater("timeout")
    host.present()
    world.error = None
    world.now -= 10**8
    assert host.present().result == "ok"


@pytest.mark.parametrize("source", ["router", "command"])
def test_change_from_a_doubtful_source_is_seen_twice(world: World, host: Host, source: str) -> None:
    host.settings["address_source"] = source
    if source == "command":
        host.settings["address_command"] = ["/bin/x"]
    assert host.present().result == "ok"
    for address in ("20.1.1.2", "20.1.1.3"):
        world.addresses["ipv4"] = address
        outcome = host.present()
        assert (outcome.result, outcome.changed, world.values()) == ("unchanged", False, ["20.1.1.1"])
    assert (host.present().result, world.values()) == ("ok", ["20.1.1.3"])
    world.addresses["ipv4"] = "20.1.1.4"
    assert (host.present(now=True).result, world.values()) == ("ok", ["20.1.1.4"])


@pytest.mark.parametrize("first", ["ipv4", "ipv6"])
def test_missing_family_leaves_both_as_they_are(world: World, host: Host, first: str) -> None:
    host.settings["families"] = ["ipv4", "ipv6"]
    host.present()
    world.addresses[first] = DdnsError("no_address", "nothing there")
    outcome = host.present()
    assert (outcome.result, outcome.changed) == ("no_address", False)
    assert (world.values(), world.values("AAAA")) == (["20.1.1.1"], ["2a00::1"])


@pytest.mark.parametrize("address", ["", "10.0.0.1", "100.64.0.1", "2a00::1", "0.0.0.0", "rubbish"])
def test_nothing_unfit_is_ever_sent(world: World, host: Host, address: str) -> None:
    world.addresses["ipv4"] = address
    outcome = host.present()
    assert outcome.exit_status == 11
    assert world.values() == []
    assert "send" not in world.log


def test_lagging_authority_is_asked_again_without_another_update(world: World, host: Host) -> None:
    world.late = True
    assert host.present().exit_status == 30
    assert host.present().exit_status == 30
    world.late = False
    assert host.present().result == "unchanged"
    assert world.log.count("send") == 1
    world.log.clear()
    host.present()
    assert "ask" not in world.log


def test_taking_back_is_not_claimed_while_an_authority_still_has_it(world: World, host: Host) -> None:
    host.present()
    original_ask = world.ask

    def still_there(servers: Sequence[Server], *rest: Any) -> list[Answer]:
        return [Answer(server, authoritative=True, exists=True, records={"A": ["20.1.1.1"]}) for server in servers]

    world.ask = still_there  # type: ignore[method-assign]
    assert host.absent().result == "lagging"
    assert host.memory().owned == ["A"]
    world.ask = original_ask  # type: ignore[method-assign]
    outcome = host.absent()
    assert (outcome.good, outcome.changed, (host.path / FILE).exists()) == (True, False, False)


def test_somebody_is_faster(world: World, host: Host) -> None:
    host.present()
    world.addresses["ipv4"] = "20.1.1.2"
    original_read = world.read

    def read_then_changed(rtypes: Sequence[str]) -> dict[str, RecordSet]:
        found = original_read(rtypes)
        world.records["A"] = RecordSet(("20.7.7.7",), 60)
        return found

    world.read = read_then_changed  # type: ignore[method-assign]
    outcome = host.present(now=True)
    assert (outcome.result, outcome.changed, world.values()) == ("retry", False, ["20.7.7.7"])
    world.read = original_read  # type: ignore[method-assign]
    assert (host.present(now=True).result, world.values()) == ("ok", ["20.1.1.2"])


def test_other_name_is_refused_while_one_is_published(world: World, host: Host) -> None:
    host.present()
    host.settings["name"] = "other.example.net"
    outcome = host.present()
    assert (outcome.result, outcome.changed) == ("config", False)
    assert "home.example.net." in outcome.message


def test_quiet_host_writes_once_an_hour(world: World, host: Host) -> None:
    host.present()
    host.present()
    world.log.clear()
    for _unused in range(11):
        world.now += 300
        host.present()
    assert "write" not in world.log
    world.now += 300
    host.present()
    # What it remembers of itself, and of the line.
    assert world.log.count("write") == 2


def test_holder_of_the_host_is_respected(world: World, host: Host) -> None:
    host.present()
    state = StateDir(str(host.path))
    state.take_run({"run_id": "r1", "expires": 9e9})
    world.log.clear()
    for job in (host.present, lambda: host.present(now=True), lambda: host.present(run_id="r2"), host.absent):
        assert job().exit_status == 75
    assert world.log == []
    assert host.present(run_id="r1").result == "unchanged"
    assert host.absent(run_id="r1").result == "ok"


def test_forgetting_leaves_the_record(world: World, host: Host) -> None:
    host.present()
    outcome = forget(StateDir(str(host.path)), apply=True)
    assert outcome.left == [{"type": "A", "records": ["20.1.1.1"]}]
    assert world.values() == ["20.1.1.1"]
    assert not host.path.exists()


def test_secret_is_nowhere_in_the_memory_or_the_outcome(world: World, host: Host) -> None:
    world.error = StopTrying("BADSIG")
    outcome = host.present()
    assert SECRET not in json.dumps(outcome.as_data())
    assert SECRET not in (host.path / FILE).read_text()
    assert ((host.path / FILE).stat().st_mode & 0o777, host.path.stat().st_mode & 0o777) == (0o600, 0o700)


def seen(host: Host) -> list[tuple[Any, Any]]:
    return [(entry["ipv4"], entry["ipv6_prefix"]) for entry in load(StateDir(str(host.path)))]


def test_every_run_remembers_what_it_saw_of_the_line(world: World, host: Host) -> None:
    host.settings["families"] = ["ipv4", "ipv6"]
    host.present(apply=False)
    assert not host.path.exists()
    host.present()
    assert seen(host) == [("20.1.1.1", "2a00::/64")]
    # A server that is down says nothing about the line; the prefix counts, not the host's part.
    world.now += 4000
    world.addresses.update(ipv4="20.1.1.2", ipv6="2a00::2")
    world.error = RetryLater("down")
    assert host.present().result == "retry"
    assert seen(host)[1:] == [("20.1.1.2", "2a00::/64")]
    world.now += 4000
    world.addresses["ipv4"] = DdnsError("no_address", "none")
    host.present()
    assert seen(host)[2:] == [(None, "2a00::/64")]
    world.error = None
    assert host.absent().result == "ok"
    assert not host.path.exists()


def test_what_was_typed_was_not_seen(world: World, host: Host) -> None:
    host.settings.update(address_source="static", addresses=["20.1.1.1"])
    assert host.present().result == "ok"
    assert seen(host) == []


def test_a_doubtful_address_is_remembered_once_it_is_confirmed(world: World, host: Host) -> None:
    host.settings.update(address_source="router")
    host.present()
    world.addresses["ipv4"] = "20.1.1.2"
    assert "for the first time" in host.present().message
    assert seen(host) == [("20.1.1.1", None)]
    host.present()
    assert seen(host) == [("20.1.1.1", None), ("20.1.1.2", None)]


def test_the_history_stays_with_what_else_is_published(world: World, host: Host) -> None:
    host.present()
    (host.path / "publication.json").write_text("{}")
    host.absent()
    assert seen(host) == [("20.1.1.1", None)]
    host.present()
    (host.path / "publication.json").unlink()
    forget(StateDir(str(host.path)), apply=True)
    assert seen(host) == []
