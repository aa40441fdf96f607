# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.homeserver.hardening.tests.integration.dns.authlab import NEGATIVE, Authorities, find_programs
from ansible_collections.homeserver.hardening.tests.integration.dns.bindlab import PRIMARY, RESOLVER, SECONDARY, SECRET
from ansible_collections.homeserver.hardening.tests.unit import return_checks

Module = Callable[..., dict[str, Any]]
# A resolver remembers, so what is asked of it has names of its own.
HOME, OLD, LATE = "home.example.net", "old.example.net", "late.example.net"
DOCUMENTED = Path(__file__).resolve().parents[3] / "plugins" / "modules" / "dns_record_info.py"
NS1, NS2 = f"ns1.example.net. ({PRIMARY})", f"ns2.example.net. ({SECONDARY})"


@pytest.fixture(scope="session")
def programs() -> dict[str, tuple[str, ...]]:
    """Fetch what is missing; that cannot be done from inside a namespace."""
    return find_programs()


@pytest.fixture(scope="module")
def zone(programs: dict[str, tuple[str, ...]], namespace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authorities]:
    setup = Authorities(tmp_path_factory.mktemp("authorities"), programs=programs)
    try:
        setup.start()
        yield setup
    finally:
        setup.stop()


@pytest.fixture
def ask(zone: Authorities, module: Module) -> Iterator[Module]:
    """Ask about a name as the module does; afterwards the zone is as before."""

    def call(name: str = HOME, **options: Any) -> dict[str, Any]:
        result = module("dns_record_info", **{"name": name, "resolver": [RESOLVER], "types": ["A"], "timeout": 1, "attempts": 2, **options})
        assert not result.get("failed"), result
        assert result["changed"] is False
        assert return_checks.compare(return_checks.documented(DOCUMENTED), result) == []
        return result

    yield call
    zone.daemons["secondary"].suspend(False)
    zone.knotc("zone-thaw", "example.net")
    for apex in ("example.net", "second.net"):
        zone.write(apex, *(f"update delete {name}.{apex}." for name in ("home", "other", "old", "late")))
    zone.settle()


@pytest.fixture
def frozen(zone: Authorities, ask: Module) -> Iterator[Callable[[], None]]:
    """The secondary has what is there now, and gets nothing new until the call."""
    zone.change(f"update add {HOME}. 60 A 20.1.1.1")
    zone.knotc("zone-freeze", "example.net")
    thawed = []

    def thaw() -> None:
        zone.knotc("zone-thaw", "example.net")
        thawed.append(True)

    yield thaw
    if not thawed:
        thaw()


def moment(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()


def until(said: Callable[[], bool], seconds: float) -> float:
    """Wait until something is so; return how long it took."""
    started = time.monotonic()
    while not said():
        assert time.monotonic() - started < seconds, f"it took more than {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - started


def ids(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(row["id"], row["severity"], row["subject"]) for row in result["findings"]]


def test_nothing_is_found_where_all_is_right(zone: Authorities, ask: Module) -> None:
    zone.change(f"update add {HOME}. 60 A 20.1.1.1")
    result = ask(expected={"A": ["20.1.1.1"]})
    assert (result["consistent"], result["matches_expected"], result["lagging"], result["findings"]) == (True, True, [], [])
    assert (result["second_writer"], result["changes"], result["public_resolvers"]) == (None, [], [])
    assert {row["serial"] for row in result["servers"]} == {result["serial"]}
    assert result["servers"][0]["negative_ttl"] == NEGATIVE
    assert moment(result["negative_until"]) == pytest.approx(time.time() + NEGATIVE, abs=2)


def test_a_frozen_secondary_is_found_and_right_again_after_the_thaw(zone: Authorities, ask: Module, frozen: Callable[[], None]) -> None:
    before = time.time()
    zone.update(f"update delete {HOME}. A", f"update add {HOME}. 60 A 20.1.1.2")
    result = ask(expected={"A": ["20.1.1.2"]}, wait=3)
    assert (result["consistent"], result["matches_expected"]) == (False, False)
    assert [row["records"] for row in result["servers"]] == [{"A": ["20.1.1.2"]}, {"A": ["20.1.1.1"]}]
    assert [(row["name"], row["address"], row["ahead"], row["records_differ"]) for row in result["lagging"]] == [("ns2.example.net.", SECONDARY, [NS1], True)]
    row = result["lagging"][0]
    assert (row["serial"], row["newest"]) == (result["serial"] - 1, result["serial"])
    # It says itself when it last heard from its primary: that was before the change, and it was seen to be behind after it.
    assert moment(row["since_earliest"]) <= before + 1
    assert moment(row["since_earliest"]) >= before - 60
    assert before - 1 <= moment(row["since_latest"]) <= time.time()
    assert moment(row["expires"]) == pytest.approx(moment(row["since_earliest"]) + 86400, abs=2)
    assert moment(result["stale_until"]) >= time.time() + 55
    assert ids(result) == [("dns-secondary-lagging", "high", NS2)]
    assert "knotc zone-retransfer" in result["findings"][0]["remedy"]
    assert result["findings"][0]["evidence"] == result["lagging"]

    frozen()
    result = ask(expected={"A": ["20.1.1.2"]}, wait=10)
    assert (result["consistent"], result["matches_expected"], result["lagging"], result["findings"]) == (True, True, [], [])


def test_a_secondary_that_lags_in_other_names_is_told_too(zone: Authorities, ask: Module, frozen: Callable[[], None]) -> None:
    zone.update("update add other.example.net. 60 A 20.1.1.3")
    result = ask()
    assert (result["consistent"], [row["records_differ"] for row in result["lagging"]]) == (True, [False])
    assert ids(result) == [("dns-secondary-lagging", "low", NS2)]


def test_serials_wrap_around(zone: Authorities, ask: Module, frozen: Callable[[], None]) -> None:
    frozen()
    soa = f"update add example.net. {NEGATIVE} SOA ns1.example.net. hostmaster.example.net. {{}} 3600 600 86400 300"
    for serial in ((1 << 31) - 1, (1 << 32) - 2):
        # Each step is as far as a serial may go.
        zone.change(soa.format(serial))
    zone.change(f"update delete {HOME}. A", f"update add {HOME}. 60 A 20.1.1.2")
    assert ask()["serial"] == (1 << 32) - 1
    zone.knotc("zone-freeze", "example.net")
    zone.update(f"update delete {HOME}. A", f"update add {HOME}. 60 A 20.1.1.3")
    result = ask()
    assert result["serial"] in (0, 1)
    assert [(row["address"], row["serial"]) for row in result["lagging"]] == [(SECONDARY, (1 << 32) - 1)]
    frozen()
    assert ask(expected={"A": ["20.1.1.3"]}, wait=10)["lagging"] == []


def test_a_server_that_does_not_have_the_zone_is_no_authority(zone: Authorities, ask: Module) -> None:
    result = ask("fixed.lame.net")
    assert ids(result) == [("dns-not-authoritative", "high", NS2)]
    assert result["consistent"] is False
    assert result["servers"][0]["records"] == {"A": ["20.1.1.1"]}
    # A resolver knows the answer, and still is no authority.
    assert zone.resolve("fixed.example.net") == ["20.1.1.1"]
    result = ask("fixed.example.net", zone="example.net", servers=[PRIMARY, RESOLVER])
    assert ids(result) == [("dns-not-authoritative", "high", RESOLVER)]


def test_a_silent_authority(zone: Authorities, ask: Module) -> None:
    zone.daemons["secondary"].suspend(True)
    result = ask("fixed.example.net", timeout=0.5, attempts=1)
    zone.daemons["secondary"].suspend(False)
    assert ids(result) == [("dns-authority-silent", "medium", NS2)]
    assert result["lagging"] == []
    assert ask("fixed.example.net")["findings"] == []


@pytest.mark.parametrize("apex", ["example.net", "second.net"])
def test_a_resolver_forgets_that_a_name_is_missing_when_we_say_so(zone: Authorities, ask: Module, apex: str) -> None:
    """The smaller of the two numbers counts (RFC 2308), whichever it is."""
    name = f"home.{apex}"
    # The SOA record that the resolver holds from another name that is missing would end sooner, and what rests on it as well.
    time.sleep(NEGATIVE + 1)
    assert zone.resolve(name) == []
    asked = time.time()
    said = ask(name)
    assert {row["negative_ttl"] for row in said["servers"]} == {NEGATIVE}
    zone.write(apex, f"update add {name}. 60 A 20.1.1.1")
    result = ask(name, expected={"A": ["20.1.1.1"]}, wait=10, public_resolvers=[RESOLVER])
    seen = result["public_resolvers"][0]
    assert (seen["records"], seen["exists"], seen["agrees"], seen["error"]) == ({"A": []}, False, False, None)
    assert seen["ttl"] <= NEGATIVE
    # What a resolver says decides nothing.
    assert (result["consistent"], result["matches_expected"], result["findings"]) == (True, True, [])
    until(lambda: zone.resolve(name) == ["20.1.1.1"], 2 * NEGATIVE + 2)
    lasted = time.time() - asked
    assert NEGATIVE - 1 <= lasted <= NEGATIVE + 1.5, lasted
    assert time.time() <= moment(said["negative_until"]) + 2
    assert moment(seen["until"]) == pytest.approx(asked + lasted, abs=2.5)
    assert ask(name, public_resolvers=[RESOLVER])["public_resolvers"][0]["agrees"] is True


def test_a_resolver_forgets_sooner_if_it_missed_something_else_before(zone: Authorities, ask: Module) -> None:
    time.sleep(NEGATIVE + 1)
    assert zone.resolve("fixed.example.net", "AAAA") == []
    time.sleep(NEGATIVE / 2)
    assert zone.resolve(LATE) == []
    zone.change(f"update add {LATE}. 60 A 20.1.1.1")
    assert until(lambda: zone.resolve(LATE) == ["20.1.1.1"], NEGATIVE) <= NEGATIVE / 2 + 1


def test_how_long_a_resolver_serves_the_old_address(zone: Authorities, ask: Module) -> None:
    zone.change(f"update add {OLD}. 5 A 20.1.1.1")
    assert zone.resolve(OLD) == ["20.1.1.1"]
    zone.change(f"update delete {OLD}. A", f"update add {OLD}. 5 A 20.1.1.2")
    result = ask(OLD, expected={"A": ["20.1.1.2"]}, previous_ttl=5, public_resolvers=[RESOLVER, "127.0.0.5"])
    assert (result["consistent"], result["matches_expected"], result["findings"]) == (True, True, [])
    old, deaf = result["public_resolvers"]
    assert (old["address"], old["records"], old["agrees"]) == (RESOLVER, {"A": ["20.1.1.1"]}, False)
    assert 0 <= old["ttl"] <= 5
    assert (deaf["address"], deaf["records"], deaf["agrees"], deaf["error_kind"], deaf["ttl"]) == ("127.0.0.5", {}, None, "refused", None)
    until(lambda: zone.resolve(OLD) == ["20.1.1.2"], 8)
    assert time.time() <= moment(result["stale_until"]) + 2
    assert time.time() == pytest.approx(moment(old["until"]), abs=2.5)


def test_a_resolver_is_not_asked_for_what_an_authority_lacks(zone: Authorities, ask: Module, frozen: Callable[[], None]) -> None:
    zone.update("update add other.example.net. 60 A 20.1.1.3")
    row = ask("other.example.net", public_resolvers=[RESOLVER])["public_resolvers"][0]
    assert (row["error_kind"], row["records"], row["agrees"]) == ("not_asked", {}, None)
    frozen()
    row = ask("other.example.net", types=["A", "AAAA"], expected={"A": ["20.1.1.3"]}, wait=10, public_resolvers=[RESOLVER])["public_resolvers"][0]
    assert (row["records"], row["agrees"]) == ({"A": ["20.1.1.3"]}, True)
    zone.change("update add other.example.net. 60 AAAA 2a00:1::1")
    # Had it been asked before, it would remember that there is none.
    assert zone.resolve("other.example.net", "AAAA") == ["2a00:1::1"]


def test_another_writer_is_found_by_what_it_leaves(zone: Authorities, ask: Module, module: Module, tmp_path: Any) -> None:
    mine = module(
        "ddns_record",
        name=HOME,
        zone="example.net",
        server=PRIMARY,
        tsig_name="ddns-home",
        tsig_secret=SECRET,
        address_source="static",
        addresses=["20.1.1.1"],
        resolver=[RESOLVER],
        state_dir=str(tmp_path / "state"),
    )
    assert mine["result"] == "ok", mine
    published = {**mine["after"], "serial": mine["authorities"][0]["serial"]}
    result = ask(published=published)
    assert (result["second_writer"], result["findings"]) == ("not_seen", [])

    # Others may write what is theirs.
    zone.change("update add other.example.net. 60 A 20.1.1.3")
    assert ask(published=published)["second_writer"] == "not_seen"

    zone.update(f"update delete {HOME}. A", f"update add {HOME}. 60 A 20.9.9.9", key="router")
    zone.settle()
    result = ask(published=published)
    assert result["second_writer"] == "suspected"
    assert ids(result) == [("dns-second-writer", "high", f"{HOME}.")]
    found = result["findings"][0]
    assert {row["address"] for row in found["evidence"]} == {PRIMARY, SECONDARY}
    assert all((row["kind"], row["records"]["A"]) == ("changed_after_publication", ["20.9.9.9"]) for row in found["evidence"])
    assert "switch dynamic DNS off in the router" in found["remedy"]
    # Without the serial it could as well be a publication that has not arrived.
    result = ask(published={"A": ["20.1.1.1"]})
    assert (result["second_writer"], result["findings"]) == ("unknown", [])


@pytest.mark.parametrize(("name", "suspected"), [(HOME, True), ("other.example.net", False)])
def test_two_writers_in_turn_are_seen_in_a_watch(zone: Authorities, ask: Module, name: str, suspected: bool) -> None:
    zone.change(f"update add {HOME}. 60 A 20.1.1.1", "update add other.example.net. 60 A 20.1.1.1")
    problems: list[BaseException] = []

    def write() -> None:
        try:
            # The watch asks every 5 s at least.
            for pause, address, key in ((4, "20.9.9.9", "router"), (6, "20.1.1.1", "ddns-home")):
                time.sleep(pause)
                zone.update(f"update delete {name}. A", f"update add {name}. 60 A {address}", key=key if name == HOME else "admin")
        except BaseException as error:
            problems.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    result = ask(watch=16)
    writer.join()
    assert not problems, problems
    assert result["second_writer"] == ("suspected" if suspected else "not_seen")
    assert [row["id"] for row in result["findings"]] == ["dns-second-writer"] * suspected
    for address in (PRIMARY, SECONDARY):
        seen = [row["records"]["A"] for row in result["changes"] if row["address"] == address]
        assert seen == ([["20.9.9.9"], ["20.1.1.1"]] if suspected else [])
    if suspected:
        assert [row["kind"] for row in result["findings"][0]["evidence"]] == ["alternates", "alternates"]
        assert "goes back and forth" in result["findings"][0]["reason"]
