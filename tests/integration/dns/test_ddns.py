# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._ddns import _rfc2136
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._config import Config
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._driver import RecordSet, RetryLater
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._rfc2136 import Rfc2136
from ansible_collections.homeserver.hardening.plugins.plugin_utils._bundle import build
from ansible_collections.homeserver.hardening.tests.integration.dns.bindlab import OTHER_SECRET, PRIMARY, RESOLVER, SECONDARY, SECRET, WAN, Bind

Module = Callable[..., dict[str, Any]]
HOME = "home.example.net"


@pytest.fixture
def publish(bind: Bind, module: Module, tmp_path: Path) -> Iterator[Module]:
    """Call ddns_record with everything that it needs; afterwards the name is gone."""

    def call(**changes: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "name": HOME,
            "zone": "example.net",
            "server": PRIMARY,
            "tsig_name": "ddns-home",
            "tsig_secret": SECRET,
            "resolver": [RESOLVER],
            "state_dir": str(tmp_path / "state"),
            "readback_timeout": 10,
        }
        result = module("ddns_record", **{**arguments, **changes})
        assert SECRET not in json.dumps(result)
        return result

    yield call
    bind.change(f"update delete {HOME}.", "update delete other.example.net.")


def records(bind: Bind, rtype: str = "A", name: str = HOME) -> list[list[str]]:
    return [bind.dig(server, name, rtype) for server in (PRIMARY, SECONDARY)]


def test_the_four_calls_and_back(bind: Bind, publish: Module, tmp_path: Path) -> None:
    planned = publish(check=True)
    assert (planned["changed"], planned.get("failed", False)) == (True, False), planned
    assert [(row["action"], row["name"], row["before"], row["after"]) for row in planned["plan"]] == [
        ("create", "home.example.net. A", None, {"values": [WAN], "ttl": 60})
    ]
    assert "home.example.net. A" in planned["diff"]["after"]
    assert planned["diff"]["before"] == ""
    assert records(bind) == [[], []]
    assert not (tmp_path / "state").exists()

    done = publish()
    assert (done["changed"], done["result"], done["plan"]) == (True, "ok", planned["plan"]), done
    assert records(bind) == [[WAN], [WAN]]
    assert {row["address"] for row in done["authorities"]} == {PRIMARY, SECONDARY}

    assert publish(check=True)["changed"] is False
    again = publish()
    assert (again["changed"], again["result"]) == (False, "unchanged")

    assert publish(state="absent", check=True)["changed"] is True
    assert records(bind) == [[WAN], [WAN]]
    gone = publish(state="absent")
    assert (gone["changed"], gone["result"]) == (True, "ok"), gone
    assert records(bind) == [[], []]
    assert not (tmp_path / "state").exists()
    assert publish(state="absent")["changed"] is False


def test_both_families_in_one_message_and_one_family_less(bind: Bind, publish: Module) -> None:
    first = publish(families=["ipv4", "ipv6"])
    assert first["result"] == "ok", first
    assert records(bind, "AAAA") == [["2a00:20:30::10"]] * 2
    less = publish()
    assert [(row["action"], row["name"]) for row in less["plan"]] == [("remove", "home.example.net. AAAA")]
    assert (records(bind), records(bind, "AAAA")) == ([[WAN]] * 2, [[]] * 2)


def test_a_missing_family_never_takes_away_the_other(bind: Bind, publish: Module) -> None:
    publish(families=["ipv4", "ipv6"])
    result = publish(families=["ipv4", "ipv6"], address_source="static", addresses=["20.30.41.11"])
    assert result["failed"]
    assert (result["result"], result["changed"]) == ("no_address", True)
    assert records(bind) == [["20.30.41.11"]] * 2
    assert records(bind, "AAAA") == [["2a00:20:30::10"]] * 2


def test_a_wrong_record_is_repaired_although_the_memory_says_otherwise(bind: Bind, publish: Module) -> None:
    publish()
    bind.change(f"update delete {HOME}. A", f"update add {HOME}. 60 A 20.7.7.7")
    result = publish()
    assert (result["result"], result["before"]["A"]) == ("ok", ["20.7.7.7"])
    assert result["stale_until"] is not None
    assert records(bind) == [[WAN]] * 2


@pytest.mark.parametrize(
    ("changes", "result", "says"),
    [
        ({"tsig_secret": OTHER_SECRET}, "stop", "BADSIG"),
        ({"tsig_name": "nobody"}, "stop", "BADKEY"),
        ({"tsig_algorithm": "hmac-sha512"}, "stop", "BAD"),
        ({"name": "strange.example.net"}, "stop", "update-policy"),
        ({"server": SECONDARY}, "stop", "NOTAUTH|REFUSED|NOTIMP"),
        ({"server": RESOLVER}, "retry", "no authority|REFUSED|NOTAUTH"),
        ({"server": "127.0.0.5"}, "retry", "refuses DNS"),
        ({"server": "no-such-host.invalid"}, "retry", "cannot be resolved"),
        ({"zone": "home.example.net"}, "retry", "no authority"),
        ({"zone": "example.org"}, "config", "does not lie in the zone"),
        ({"tsig_secret": "no base64!"}, "config", "not Base64"),
        ({"address_source": "static", "addresses": ["192.168.1.20"]}, "not_public", "home network"),
        ({"address_source": "static", "addresses": ["100.64.3.9"]}, "not_public", "dynamic DNS cannot help"),
        ({"address_source": "static", "addresses": ["127.0.0.1"]}, "not_public", "class loopback"),
        ({"address_source": "static", "addresses": ["203.0.113.45"]}, "not_public", "documentation"),
        ({"address_source": "static", "addresses": [""]}, "no_address", "gave no ipv4"),
        ({"address_source": "static", "addresses": ["020.30.41.10"]}, "not_public", "no address"),
        ({"address_source": "static", "addresses": ["20.1.1.1", "20.1.1.2"]}, "no_address", "several"),
        ({"address_source": "static"}, "config", "belong together"),
        ({"address_source": "command", "address_command": ["/bin/true"]}, "no_address", "gave no ipv4"),
        ({"address_source": "command", "address_command": ["/bin/false"]}, "no_address", "status 1"),
        ({"address_source": "command", "address_command": ["/nonexistent"]}, "no_address", "cannot be run"),
        ({"address_source": "command", "address_command": ["/bin/echo", "<html>10.1.2.3</html>"]}, "not_public", "no address"),
        ({"address_source": "command", "address_command": ["/bin/echo", "10.1.2.3"]}, "not_public", "home network"),
        ({"name": "fixed.example.net"}, "foreign", "20.1.1.1"),
        ({"name": "alias.example.net"}, "foreign", "alias of fixed.example.net."),
        ({"server_port": 0}, "config", "1 to 65535"),
        ({"ttl": 0}, "config", "1 to 86400"),
        ({"families": []}, "config", "empty"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_no_trace(
    bind: Bind, publish: Module, tmp_path: Path, changes: dict[str, Any], result: str, says: str
) -> None:
    answer = publish(**changes)
    assert answer["failed"]
    assert answer["result"] == result, answer["msg"]
    assert any(part in answer["msg"] for part in says.split("|")), answer["msg"]
    assert answer["changed"] is False
    assert records(bind) == [[], []]
    left = {path.name for path in (tmp_path / "state").glob("*")}
    assert left <= {"lock"}


@pytest.mark.parametrize(
    ("changes", "result", "says"),
    [
        ({"tsig_secret": OTHER_SECRET}, "stop", "BADSIG"),
        ({"tsig_name": "nobody"}, "stop", "BADKEY"),
        ({"address_source": "static", "addresses": ["10.0.0.1"]}, "not_public", "home"),
    ],
)
def test_check_mode_finds_what_would_fail(bind: Bind, publish: Module, tmp_path: Path, changes: dict[str, Any], result: str, says: str) -> None:
    answer = publish(check=True, **changes)
    assert (answer["failed"], answer["result"], answer["changed"], says in answer["msg"]) == (True, result, False, True), answer
    assert not (tmp_path / "state").exists()


def test_server_is_reached_over_ipv6_too(bind: Bind, publish: Module) -> None:
    result = publish(server="::1")
    assert (result["result"], records(bind)) == ("ok", [[WAN]] * 2), result


def test_where_no_connection_is_possible_the_update_goes_over_udp(bind: Bind, publish: Module) -> None:
    rules = "table inet block { chain input { type filter hook input priority 0; ip saddr != 127.0.0.2 tcp dport 53 reject with tcp reset; }; }"
    subprocess.run(["nft", rules], check=True)
    try:
        assert publish()["result"] == "ok"
        assert records(bind) == [[WAN]] * 2
    finally:
        subprocess.run(["nft", "delete table inet block"], check=True)


@pytest.mark.parametrize(("off", "result"), [(-299, None), (-400, "retry"), (400, "retry")])
def test_clock_that_is_wrong(bind: Bind, monkeypatch: pytest.MonkeyPatch, off: int, result: str | None) -> None:
    config = Config.from_mapping({"name": HOME, "zone": "example.net", "server": PRIMARY, "tsig_name": "ddns-home", "families": ["ipv4"]})
    driver = Rfc2136(config, config.key(SECRET))
    clock = time.time
    monkeypatch.setattr(_rfc2136.time, "time", lambda: clock() + off)
    if result is None:
        driver.replace({"A": RecordSet()}, {"A": RecordSet()})
    else:
        with pytest.raises(RetryLater, match="BADTIME.*timedatectl"):
            driver.replace({"A": RecordSet()}, {"A": RecordSet()})


def test_record_of_somebody_else_is_taken_over_only_on_request_and_put_back(bind: Bind, publish: Module) -> None:
    bind.change(f"update add {HOME}. 300 A 20.5.5.5")
    refused = publish()
    assert (refused["result"], refused["changed"]) == ("foreign", False)
    assert "20.5.5.5" in refused["msg"]
    taken = publish(adopt=True)
    assert (taken["result"], taken["before"]["A"]) == ("ok", ["20.5.5.5"])
    assert records(bind) == [[WAN]] * 2
    back = publish(state="absent")
    assert back["result"] == "ok", back
    assert records(bind) == [["20.5.5.5"]] * 2


def test_taking_back_leaves_what_somebody_else_put_there(bind: Bind, publish: Module) -> None:
    publish()
    bind.change(f"update delete {HOME}. A", f"update add {HOME}. 60 A 20.6.6.6")
    result = publish(state="absent")
    assert not result.get("failed"), result
    assert (result["changed"], result["left"]) == (False, [{"type": "A", "records": ["20.6.6.6"]}])
    assert records(bind) == [["20.6.6.6"]] * 2


def test_a_secondary_that_hangs_is_reported_and_taking_back_is_not_claimed(bind: Bind, publish: Module, tmp_path: Path) -> None:
    secondary = bind.servers["secondary"]
    secondary.freeze(True)
    try:
        result = publish(readback_timeout=0.5)
        assert (result["result"], result["changed"]) == ("lagging", True)
        assert not result.get("failed")
        assert SECONDARY in result["message"]
        gone = publish(state="absent", readback_timeout=0.5)
        assert gone["failed"]
        assert (gone["result"], gone["changed"]) == ("lagging", True)
        assert (tmp_path / "state" / "ddns.json").exists()
    finally:
        secondary.freeze(False)
    proved = publish(state="absent")
    assert (proved.get("failed", False), proved["changed"]) == (False, False), proved
    assert records(bind) == [[], []]
    assert not (tmp_path / "state" / "ddns.json").exists()


def test_a_run_that_died_before_the_answer_is_taken_up(bind: Bind, publish: Module, tmp_path: Path) -> None:
    publish()
    state = tmp_path / "state" / "ddns.json"
    memory = json.loads(state.read_text())
    # As it was just after the update had been sent.
    memory.update(intended=memory["published"], published={}, lagging=True)
    state.write_text(json.dumps(memory))
    assert publish()["result"] == "unchanged"
    memory.update(intended=memory["intended"], published={}, lagging=True)
    state.write_text(json.dumps(memory))
    assert publish(state="absent")["result"] == "ok"
    assert records(bind) == [[], []]


def test_another_name_is_refused_while_one_is_published(bind: Bind, publish: Module) -> None:
    publish()
    result = publish(name="other.example.net")
    assert (result["result"], result["changed"]) == ("config", False)
    assert "home.example.net." in result["msg"]


def test_run_of_another_playbook_is_respected(bind: Bind, publish: Module, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "run.json").write_text(json.dumps({"run_id": "other", "expires": time.time() + 60}))
    assert publish()["result"] == "busy"
    assert publish(run_id="mine")["result"] == "busy"
    assert records(bind) == [[], []]
    assert publish(run_id="other")["result"] == "ok"
    assert publish(state="absent")["result"] == "busy"
    (tmp_path / "state" / "run.json").write_text(json.dumps({"run_id": "other", "expires": time.time() - 1}))
    assert publish(state="absent")["result"] == "ok"


class Agent:
    """The bundle as it runs on a host, with its own settings, secret and state."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "credentials").mkdir()
        (directory / "agent.pyz").write_bytes(build().data)
        self.settings: dict[str, Any] = {
            "name": HOME,
            "zone": "example.net",
            "server": PRIMARY,
            "tsig_name": "ddns-home",
            "families": ["ipv4"],
            "resolver": [RESOLVER],
            "readback_timeout": 5,
        }
        self.secret(SECRET)

    def secret(self, text: str) -> None:
        (self.directory / "credentials" / "ddns-tsig").write_text(text + "\n")

    def run(self, *arguments: str, **settings: Any) -> tuple[int, dict[str, Any]]:
        self.settings.update(settings)
        (self.directory / "ddns.json").write_text(json.dumps(self.settings))
        command = [sys.executable, "-I", str(self.directory / "agent.pyz"), "ddns", "--json", "--state-dir", str(self.directory / "state")]
        done = subprocess.run(
            [*command, "--config", str(self.directory / "ddns.json"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={"CREDENTIALS_DIRECTORY": str(self.directory / "credentials"), "PATH": os.environ["PATH"]},
        )
        assert done.stderr == ""
        assert SECRET not in done.stdout
        assert base64.b64decode(SECRET).hex() not in done.stdout
        return done.returncode, json.loads(done.stdout)

    def line(self) -> list[str]:
        """The IPv4 addresses that it remembers of the line."""
        return [entry["ipv4"] for entry in json.loads((self.directory / "state" / "line.json").read_text())["entries"]]


@pytest.fixture
def agent(publish: Module, tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def test_agent_publishes_then_finds_it_unchanged(bind: Bind, agent: Agent) -> None:
    assert agent.run()[0] == 0
    assert records(bind) == [[WAN]] * 2
    status, result = agent.run()
    assert (status, result["result"], result["record_changed"]) == (0, "unchanged", False)


def test_agent_stops_until_the_configuration_changes(bind: Bind, agent: Agent) -> None:
    agent.secret(OTHER_SECRET)
    assert agent.run()[0] == 21
    # Nothing is sent any more, so a server that does not answer is not noticed.
    bind.servers["primary"].freeze(True)
    try:
        started = time.monotonic()
        status, result = agent.run()
        assert (status, "BADSIG" in result["message"]) == (21, True)
        assert time.monotonic() - started < 2
    finally:
        bind.servers["primary"].freeze(False)
    assert agent.run("--now")[0] == 21
    agent.secret(SECRET)
    assert agent.run()[0] == 0
    assert records(bind) == [[WAN]] * 2


def test_agent_backs_off_and_comes_back(bind: Bind, agent: Agent) -> None:
    assert agent.run()[0] == 0
    status, _result = agent.run(server="127.0.0.5", address_source="static", addresses=["20.30.41.12"])
    assert status == 20
    status, result = agent.run(server=PRIMARY)
    assert (status, "next try" in result["message"]) == (20, True)
    memory = json.loads((agent.directory / "state" / "ddns.json").read_text())
    assert memory["failures"] == 1
    assert 50 < memory["not_before"] - time.time() <= 60
    assert agent.run("--now")[0] == 0
    assert records(bind) == [["20.30.41.12"]] * 2
    assert agent.run()[0] == 0


def test_agent_believes_a_doubtful_source_only_the_second_time(bind: Bind, agent: Agent) -> None:
    assert agent.run(address_source="command", address_command=["/bin/echo", "20.30.41.20"])[0] == 0
    status, result = agent.run(address_command=["/bin/echo", "20.30.41.21"])
    assert (status, result["result"], "for the first time" in result["message"]) == (0, "unchanged", True)
    assert records(bind) == [["20.30.41.20"]] * 2
    assert agent.line() == ["20.30.41.20"]
    assert agent.run()[0] == 0
    assert records(bind) == [["20.30.41.21"]] * 2
    assert agent.line() == ["20.30.41.20", "20.30.41.21"]


def test_agent_keeps_the_record_when_the_address_is_not_public(bind: Bind, agent: Agent) -> None:
    assert agent.run()[0] == 0
    assert agent.run(address_source="static", addresses=["100.64.0.9"])[0] == 11
    assert agent.run(addresses=[" "])[0] == 10
    assert records(bind) == [[WAN]] * 2


def test_agent_reports_a_lagging_authority_until_it_has_it(bind: Bind, agent: Agent) -> None:
    bind.servers["secondary"].freeze(True)
    try:
        assert agent.run(readback_timeout=0.2)[0] == 30
        assert agent.run()[0] == 30
    finally:
        bind.servers["secondary"].freeze(False)
    assert agent.run(readback_timeout=10)[0] == 0


def test_agent_does_nothing_while_a_playbook_run_holds_the_host(bind: Bind, agent: Agent) -> None:
    assert agent.run()[0] == 0
    state = agent.directory / "state"
    (state / "run.json").write_text(json.dumps({"run_id": "r1", "expires": time.time() + 60}))
    before = (state / "ddns.json").read_bytes()
    bind.change(f"update delete {HOME}. A")
    assert agent.run()[0] == 75
    assert (state / "ddns.json").read_bytes() == before
    assert records(bind) == [[]] * 2
    assert agent.run("--run-id", "r1")[0] == 0
    assert records(bind) == [[WAN]] * 2


def test_nothing_that_stays_holds_the_secret(bind: Bind, agent: Agent) -> None:
    agent.run()
    agent.secret(OTHER_SECRET)
    agent.run(address_source="static", addresses=["20.30.41.13"])
    for path in agent.directory.rglob("*"):
        if path.is_file() and path.parent.name != "credentials":
            assert SECRET.encode() not in path.read_bytes()
            assert OTHER_SECRET.encode() not in path.read_bytes()
