# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mapping is due, what a run does about it, and what it leaves alone; with routers that are only objects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _moment as moments
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _service as service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import AnswerError, GatewayError, NoGatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._kept import FILE, Keeping, Kept, Way, due
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import MAX_LEASE, Entry, Gateway, Wanted
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._moment import Moment
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._patience import Patience
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._planning import Named
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._renewal import EXIT_STATUS, Renewal, Renewed
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import Request, Result, Selection, run
from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import SOURCE, FakeIgd, MemoryGateway

ADDRESS = "192.168.1.10"
WEB = Wanted("web", "tcp", 80, 8080)
TLS = Wanted("tls", "tcp", 443, 8443)
THEN = Moment(1_000_000.0, "one", 5000.0)
KEPT = Kept("web", "tcp", 80, 80, 8080, 3600, "upnp", "192.168.1.1", ADDRESS, 3600.0, THEN)
DAY = 86400.0


@pytest.mark.parametrize(
    ("granted", "left", "now", "reason"),
    [
        # What the router says.
        (3600, 3500, Moment(1_000_100, "one", 5100), ""),
        (3600, 1801, Moment(1_000_100, "one", 5100), ""),
        (3600, 1800, Moment(1_000_100, "one", 5100), "half"),
        (3600, 1, Moment(1_000_100, "one", 5100), "half"),
        # What this host counts, where the router always says the same.
        (3600, 3600, Moment(1_001_799, "one", 6799), ""),
        (3600, 3600, Moment(1_001_800, "one", 6800), "half"),
        # Nothing without end is renewed, however long it is there.
        (0, 0, Moment(9_000_000, "one", 900_000), ""),
        (3600, 0, Moment(9_000_000, "one", 900_000), ""),
        # It was without end, and is not any more.
        (0, 3600, Moment(1_000_000, "one", 5000), ""),
        (0, 3600, Moment(1_002_000, "one", 7000), "half"),
        # The clock jumps within one boot: only the time since the boot counts.
        (3600, 3500, Moment(9_000_000, "one", 5100), ""),
        (3600, 3500, Moment(10, "one", 5100), ""),
        # Another boot: the clock counts, and one that went back is not believed.
        (3600, 3500, Moment(1_000_100, "two", 10), ""),
        (3600, 3500, Moment(1_001_800, "two", 10), "half"),
        (3600, 3500, Moment(999_999, "two", 10), "clock"),
        (3600, 3500, Moment(10, "two", 10), "clock"),
        # More is left than there ever was: a record from the future.
        (3600, 3600 + DAY, Moment(1_000_100, "one", 5100), "clock"),
        (3600, 3650, Moment(1_000_100, "one", 5100), ""),
        (MAX_LEASE, MAX_LEASE // 2 + 1, Moment(1_000_100, "one", 5100), ""),
        (MAX_LEASE, MAX_LEASE // 2, Moment(1_000_100, "one", 5100), "half"),
    ],
)
def test_what_is_due(granted: float, left: float, now: Moment, reason: str) -> None:
    assert due(replace(KEPT, granted=float(granted)), left, now) == reason


@pytest.mark.parametrize(
    ("failures", "seconds", "waits"),
    [
        *((0, 0, False), (1, 0, True), (1, 119, True), (1, 120, False), (2, 239, True), (2, 240, False)),
        *((5, 1799, True), (50, 1799, True), (50, 1800, False), (1, -1, False)),
    ],
)
def test_how_long_the_router_is_left_alone(failures: int, seconds: float, waits: bool) -> None:
    assert replace(KEPT, failures=failures, tried=THEN).waits(THEN.after(seconds)) is waits


def test_what_is_left_is_never_less_than_nothing_nor_more_than_there_was() -> None:
    assert [KEPT.left(THEN.after(seconds)) for seconds in (0, 600, 3600, 9999, -600)] == [3600, 3000, 0, 0, 3600]
    assert replace(KEPT, granted=0.0).left(THEN) is None


def test_the_file_is_read_as_it_was_written_and_damage_is_told(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "state"))
    assert Keeping.load(state) == Keeping()
    keeping = Keeping([replace(KEPT, tried=THEN, failures=2, way=Way("pcp", "192.168.1.1", "eth0", 2.0, True))], {"result": "ok"}, True)
    keeping.save(state)
    assert Keeping.load(state) == keeping
    for text in ("{", "[]", '{"version": 2}', '{"version": 1, "mappings": [{}]}', '{"version": 1, "mappings": [{"since": {}, "way": {}, "tried": null}]}'):
        (tmp_path / "state" / FILE).write_text(text)
        with pytest.raises(GatewayError, match=FILE):
            Keeping.load(state)
        assert Renewal(state).run().exit_status == 12


class Home:
    """A host, its router, and a clock that the test turns."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.router = MemoryGateway()
        self.moment = Moment(time.time(), "one", 1000.0)
        self.opened = 0
        self.opener: Callable[[Selection], Gateway] = lambda selection: self.router
        monkeypatch.setattr(moments, "now", lambda: self.moment)
        monkeypatch.setattr(service, "host_id", lambda: "01234567")

    def present(self, *wanted: Wanted, check_mode: bool = False, **options: Any) -> Result:
        return run(Request("present", wanted, **options), Selection(state_dir=str(self.path)), check_mode, self.opener)

    def absent(self, *named: Named, check_mode: bool = False) -> Result:
        return run(Request("absent", named=named or None), Selection(state_dir=str(self.path)), check_mode, self.opener)

    def renew(self, **options: Any) -> Renewed:
        def opened(selection: Selection) -> Gateway:
            self.opened += 1
            return self.opener(selection)

        return Renewal(StateDir(str(self.path)), opener=opened, **options).run()

    def pass_time(self, seconds: int) -> None:
        """Let time pass for the host and for the router, which forgets what is over."""
        self.moment = self.moment.after(seconds)
        for key, entry in list(self.router.entries.items()):
            if entry.lease:
                if entry.lease <= seconds:
                    del self.router.entries[key]
                else:
                    self.router.entries[key] = replace(entry, lease=entry.lease - seconds)

    def kept(self) -> list[str]:
        return Keeping.load(StateDir(str(self.path))).names


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home(tmp_path / "state", monkeypatch)


def actions(done: Renewed) -> list[tuple[str, str, str]]:
    return [(row["name"], row["state"], row["action"]) for row in done.rows]


def test_where_nothing_is_mapped_nobody_is_asked(home: Home) -> None:
    done = home.renew()
    assert (done.result, done.exit_status, home.opened, home.path.exists()) == ("unchanged", 0, 0, False)
    home.present(WEB, renew=False)
    assert home.renew().result == "unchanged"
    assert (home.opened, home.path.exists()) == (0, False)


def test_a_day_of_renewals(home: Home) -> None:
    home.present(replace(WEB, lease=3600))
    seen = []
    for _tick in range(288):
        home.pass_time(300)
        seen += [action for _name, _state, action in actions(home.renew())]
        assert list(home.router.entries) == [("tcp", 80)]
    assert set(seen) == {"", "half"}
    assert seen.count("half") == 48


def test_check_mode_keeps_nothing_and_predicts_it(home: Home) -> None:
    assert home.present(WEB, check_mode=True).data["kept"] == ["web"]
    assert not home.path.exists()
    assert home.present(WEB).data["kept"] == ["web"]
    before = (home.path / FILE).read_text()
    assert home.absent(check_mode=True).data["kept"] == []
    assert (home.path / FILE).read_text() == before


def test_what_is_refused_is_not_kept(home: Home) -> None:
    home.router = MemoryGateway([Entry("tcp", 80, "192.168.1.9", 80, "camera")])
    assert home.present(WEB).data["kept"] == []
    assert not home.path.exists()


def test_what_is_taken_back_is_forgotten_even_if_the_router_does_not_answer(home: Home) -> None:
    home.present(WEB, TLS)
    assert home.absent(Named("web")).data["kept"] == ["tls"]

    def silent(_selection: Selection) -> Gateway:
        raise NoGatewayError("silence")

    home.opener = silent
    gone = home.absent()
    assert (gone.error, gone.data["kept"]) == (None, [])
    assert not home.path.exists()


def test_renewal_can_be_ended_for_a_service(home: Home) -> None:
    home.present(WEB, TLS)
    assert home.present(WEB, renew=False).data["kept"] == ["tls"]
    assert len(home.router.entries) == 2


def test_a_playbook_does_not_make_a_lease_look_younger(home: Home) -> None:
    # This router always says what it was asked for.
    home.present(replace(WEB, lease=3600))
    for _run in range(5):
        home.moment = home.moment.after(400)
        assert not home.present(replace(WEB, lease=3600)).changed
    assert actions(home.renew()) == [("web", "held", "half")]


def test_one_that_somebody_took_is_left_to_them_and_the_others_are_renewed(home: Home) -> None:
    home.present(WEB, TLS)
    taken = Entry("tcp", 80, "192.168.1.9", 80, "camera", lease=500)
    home.router = MemoryGateway([taken])
    done = home.renew()
    assert (done.result, done.exit_status) == ("foreign", 23)
    assert "192.168.1.9" in done.message
    assert actions(done) == [("tls", "held", "missing"), ("web", "conflict", "")]
    assert home.router.entries[("tcp", 80)] == taken
    # The same for what another program of this host has put there, and for another host's tag.
    for other in (Entry("tcp", 80, ADDRESS, 8080, "old tool"), Entry("tcp", 80, "192.168.1.9", 80, "hs:76543210:web")):
        home.router.entries[("tcp", 80)] = other
        assert home.renew().result == "foreign"
        assert home.router.entries[("tcp", 80)] == other
    del home.router.entries[("tcp", 80)]
    assert actions(home.renew()) == [("tls", "held", ""), ("web", "held", "missing")]


def test_the_address_of_the_host_changed(home: Home) -> None:
    foreign = Entry("tcp", 8443, "192.168.1.9", 80, "camera")
    moved = Entry("tcp", 8080, "192.168.1.8", 80, "hs:01234567:web")
    home.router = MemoryGateway([foreign, moved])
    home.present(WEB)
    entries = home.router.entries
    entries[("tcp", 80)] = replace(entries[("tcp", 80)], internal_client="192.168.1.77")
    entries[("tcp", 81)] = replace(entries[("tcp", 80)], external_port=81)
    keeping = Keeping.load(StateDir(str(home.path)))
    keeping.mappings = [replace(kept, client="192.168.1.77") for kept in keeping.mappings]
    keeping.save(StateDir(str(home.path)))
    entries[moved.key] = moved
    assert actions(home.renew()) == [("web", "held", "address")]
    assert entries[("tcp", 80)].internal_client == ADDRESS
    # On other ports, too, nothing leads to the earlier address; what else there is stays, since it may be this host on another link.
    assert set(entries) == {("tcp", 80), foreign.key, moved.key}
    # One that the router does not let go is said.
    entries[("tcp", 81)] = replace(entries[("tcp", 80)], external_port=81, internal_client="192.168.1.77")
    keeping.save(StateDir(str(home.path)))
    home.router.refuse = lambda operation, entry: operation == "delete"
    done = home.renew()
    assert (actions(done), "no delete of 81" in done.message) == ([("web", "held", "")], True)


def test_a_router_that_fails_is_asked_again_later(home: Home) -> None:
    home.present(WEB)
    home.router.entries.clear()
    asked: list[str] = []

    def refuse(operation: str, _entry: Entry) -> bool:
        asked.append(operation)
        return True

    home.router.refuse = refuse
    assert (home.renew().exit_status, len(asked)) == (20, 1)
    home.pass_time(60)
    assert (home.renew().result, len(asked)) == ("retry", 1)
    home.pass_time(60)
    assert (home.renew().result, len(asked)) == ("retry", 2)
    home.router.refuse = lambda operation, entry: False
    assert home.renew().result == "retry"
    # Whoever waits for the result is not put off.
    assert home.renew(now=True).result == "ok"


class Bent(MemoryGateway):
    """Makes a mapping that leads elsewhere, as routers do whose table is spoilt."""

    def add(self, entry: Entry) -> Entry:
        kept = super().add(replace(entry, internal_port=4464))
        raise AnswerError(f"it holds {kept.internal_port} instead")


@pytest.mark.parametrize("bad", ["leads elsewhere", "forgets descriptions", "cuts descriptions"])
def test_what_went_wrong_when_it_was_made_anew_is_taken_back(home: Home, bad: str) -> None:
    home.present(WEB)
    camera = Entry("tcp", 443, "192.168.1.9", 80, "camera")
    home.router = Bent([camera]) if bad == "leads elsewhere" else MemoryGateway([camera])
    home.router.keep_description = bad != "forgets descriptions"
    home.router.kept_length = 12 if bad == "cuts descriptions" else 128
    done = home.renew()
    assert (done.result, actions(done)) == ("retry", [("web", "error", "")])
    assert home.router.entries == {camera.key: camera}
    # So it is not taken for somebody else's later.
    home.router = MemoryGateway([camera])
    assert actions(home.renew(now=True)) == [("web", "held", "missing")]


def test_a_renewal_that_fails_takes_nothing_away(home: Home) -> None:
    home.present(replace(WEB, lease=3600))
    home.pass_time(1900)
    before = dict(home.router.entries)
    home.router.refuse = lambda operation, entry: operation == "add"
    assert home.renew().result == "retry"
    assert home.router.entries == before


def test_a_slow_router_gets_time_for_each_mapping(home: Home) -> None:
    """It takes three seconds for all, but each mapping that it makes buys the next one as much again."""
    wanted = [replace(WEB, name=f"web-{number}", external_port=8000 + number, port=8000 + number) for number in range(10)]
    with FakeIgd() as router:
        home.opener = lambda selection: router.gateway()
        assert home.present(*wanted).error is None
        router.entries.clear()
        ticks = [0.0]

        def answer(_action: str, _arguments: dict[str, str]) -> None:
            ticks[0] += 0.15

        router.hook = answer
        home.opener = lambda selection: router.gateway(Patience(3.0, lambda: ticks[0]))
        done = home.renew()
        assert (done.result, len(router.entries)) == ("ok", 10)
        assert ticks[0] > 3


def test_no_router_is_no_reason_to_forget(home: Home) -> None:
    home.present(WEB)

    def silent(_selection: Selection) -> Gateway:
        raise NoGatewayError("silence")

    honest, home.opener = home.opener, silent
    assert (home.renew().result, home.kept()) == ("retry", ["web"])
    home.opener = honest
    assert home.renew().result == "unchanged"


def test_busy(home: Home) -> None:
    home.present(WEB)
    state = StateDir(str(home.path))
    state.take_run({"run_id": "run-1", "expires": home.moment.wall + 100})
    done = home.renew()
    assert (done.result, done.exit_status, home.opened) == ("busy", 75, 0)
    assert home.renew(run_id="run-1").result == "unchanged"
    state.take_run({"run_id": "run-1", "expires": home.moment.wall - 100})
    assert home.renew().result == "unchanged"


def test_a_quiet_host_writes_once_an_hour(home: Home) -> None:
    home.present(WEB)
    home.renew()
    before = (home.path / FILE).read_text()
    home.pass_time(300)
    home.renew()
    assert (home.path / FILE).read_text() == before
    home.pass_time(3600)
    home.renew()
    assert json.loads((home.path / FILE).read_text())["last"]["moment"] == int(home.moment.wall)


def test_words_have_statuses() -> None:
    assert set(EXIT_STATUS.values()) == {0, 12, 20, 23, 75}


@pytest.mark.parametrize("version", [1, 2])
def test_a_router_that_knows_permanent_mappings_only(home: Home, version: int) -> None:
    with FakeIgd(version) as router:

        def permanent(action: str, arguments: dict[str, str]) -> str | None:
            router.faults = {"AddPortMapping": 725} if action == "AddPortMapping" and arguments["NewLeaseDuration"] != "0" else {}
            return None

        router.hook = permanent
        home.opener = lambda selection: router.gateway()
        done = home.present(WEB)
        assert done.error is None, done.error
        assert done.data["mappings"][0]["lease"] == 0
        router.calls.clear()
        home.moment = home.moment.after(40 * DAY)
        assert actions(home.renew()) == [("web", "held", "")]
        assert "AddPortMapping" not in router.actions()
        # It is made anew all the same when the router lost it.
        router.entries.clear()
        assert actions(home.renew()) == [("web", "held", "missing")]
        assert router.entries[("TCP", 80)]["client"] == SOURCE
