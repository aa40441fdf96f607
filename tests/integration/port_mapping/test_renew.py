# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent keeps mappings up against the real miniupnpd: what it makes is asked from the Internet, and what others made must stay."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import HOST, NEIGHBOUR, Home

WEB = {"name": "web", "protocol": "tcp", "external_port": 80, "port": 8080}
WG = {"name": "wg", "protocol": "udp", "port": 51820}
METHODS = ["auto", "upnp", "pcp", "natpmp"]
#: By which of them the mapping is made in the end.
MADE_BY = {"auto": "pcp", "upnp": "upnp", "pcp": "pcp", "natpmp": "natpmp"}
OTHER = "192.168.77.23"
YEAR = 365 * 86400.0


@pytest.fixture
def both(home: Home) -> Home:
    """A router that speaks everything, a service that answers, and a mapping of a neighbour."""
    home.start_daemon(recorded=True)
    _camera(home)
    if ":8080 " not in home.run(home.host, "ss", "-Hltn"):
        home.listen(8080)
    return home


@pytest.fixture
def moved(both: Home) -> Iterator[Home]:
    """The same, and the host gets its address back in the end."""
    yield both
    both.move(HOST)


def _camera(home: Home) -> None:
    home.upnpc(home.neighbour, "-e", "camera", "-a", NEIGHBOUR, "81", "81", "tcp", "7200")


def _present(home: Home, method: str, *mappings: dict[str, Any], **options: Any) -> None:
    done = home.module("port_mapping", method=method, mappings=list(mappings), **options)
    assert not done.get("failed"), done["msg"]
    assert done["kept"] == sorted(row["name"] for row in mappings)


def _ports(home: Home) -> list[str]:
    """What the router forwards, and where to."""
    return sorted(f"{line.split('dport ')[1].split()[0]} {line.split('dnat ip to ')[1].split()[0]}" for line in home.forwards())


def _kept(home: Home) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((home.state_dir() / "port_renewals.json").read_text())["mappings"]
    return rows


def _age(home: Home, seconds: float) -> None:
    """Let what the host wrote down have been written earlier. The router's clock and the host's go on together, so neither is turned."""
    for name in ("port_renewals.json", "port_mappings.json"):
        file = home.state_dir() / name
        if file.exists():
            data = json.loads(file.read_text())
            for row in data["mappings"]:
                for place in (row, row.get("since", {})):
                    for key in {"wall", "ticks", "expires", "ends"} & set(place):
                        place[key] -= seconds
            file.write_text(json.dumps(data))


def _says(home: Home, result: str, actions: list[str], **clock: Any) -> dict[str, Any]:
    said = home.agent("renew", "--now", **clock)
    assert (said["result"], [row["action"] for row in said["mappings"]]) == (result, actions), said["message"]
    return said


def _holds(home: Home, host: str = HOST) -> None:
    """The mapping is there and forwards, nothing else is there, and what the neighbour made is as it was."""
    assert _ports(home) == [f"80 {host}:8080", f"81 {NEIGHBOUR}:81"]
    assert home.connects(80)


def _gone(home: Home, method: str) -> None:
    """Nothing is left, in the router or on the host."""
    assert home.module("port_mapping", method=method, state="absent")["kept"] == []
    assert _ports(home) == [f"81 {NEIGHBOUR}:81"]
    assert not home.state_dir().exists()


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_sent_before_it_is_due(both: Home, method: str) -> None:
    assert both.agent("renew")["result"] == "unchanged"
    assert not both.state_dir().exists()
    _present(both, method, WEB)
    before = _kept(both)
    _says(both, "unchanged", [""])
    assert _kept(both) == before
    status = both.agent("status")
    assert [(row["name"], row["method"], row["state"], row["error"]) for row in status["renew"]["mappings"]] == [("web", MADE_BY[method], "held", "")]
    assert 0 < status["renew"]["mappings"][0]["left"] <= 604800
    _holds(both)
    _gone(both, method)
    assert both.agent("renew")["message"] == "nothing is mapped that has to be renewed"


@pytest.mark.parametrize("method", METHODS)
def test_half_of_the_lease_is_over(both: Home, method: str) -> None:
    _present(both, method, WEB)
    _age(both, _kept(both)[0]["granted"] / 2 + 1)
    said = _says(both, "ok", ["half"])
    assert "renewed, half" in said["message"]
    _holds(both)
    _says(both, "unchanged", [""])
    _gone(both, method)


@pytest.mark.parametrize("method", METHODS)
def test_the_router_was_switched_off(both: Home, method: str) -> None:
    _present(both, method, WEB)
    # Where UPnP does not show what is there, only a router that was up for longer than clocks may differ can be seen to restart.
    time.sleep(5 if method in ("pcp", "natpmp") else 0)
    both.forget()
    assert not both.connects(80)
    assert both.agent("renew")["result"] == "retry"
    both.start_daemon(recorded=True, keep_leases=True)
    _camera(both)
    _says(both, "ok", ["missing" if method == "upnp" else "restarted"])
    _holds(both)
    _says(both, "unchanged", [""])
    _gone(both, method)


@pytest.mark.parametrize("method", METHODS)
def test_the_daemon_restarted_and_kept_its_leases(both: Home, method: str) -> None:
    _present(both, method, WEB)
    time.sleep(5 if method != "upnp" else 0)
    both.start_daemon(recorded=True, keep_leases=True)
    said = both.agent("renew")
    # The epoch cannot tell whether the leases were kept: asking again is what the protocols want, and it changes nothing.
    assert [row["action"] for row in said["mappings"]] == ["" if method == "upnp" else "restarted"]
    _holds(both)
    _says(both, "unchanged", [""])
    _gone(both, method)


@pytest.mark.parametrize("method", ["auto", "upnp"])
def test_the_address_of_the_host_changed(moved: Home, method: str) -> None:
    _present(moved, method, WEB)
    moved.move(OTHER)
    _says(moved, "ok", ["address"])
    _holds(moved, OTHER)
    _says(moved, "unchanged", [""])
    _gone(moved, method)


@pytest.mark.parametrize("method", ["auto", "upnp"])
def test_the_host_leaves_with_another_address_than_it_came_with(moved: Home, method: str) -> None:
    _present(moved, method, WEB)
    moved.move(OTHER)
    _gone(moved, method)


def test_a_router_whose_clock_does_not_tell_that_its_daemon_restarted(both: Home) -> None:
    both.start_daemon(["system_uptime=yes"], recorded=True)
    _camera(both)
    _present(both, "auto", WEB)
    both.forget()
    both.start_daemon(["system_uptime=yes"], recorded=True, keep_leases=True)
    _camera(both)
    _says(both, "ok", ["restarted"])
    _holds(both)
    _says(both, "unchanged", [""])
    _gone(both, "auto")


def test_two_mappings_to_one_port_of_the_host(both: Home) -> None:
    two = [WEB, {**WEB, "name": "alt", "external_port": 8081}]
    _present(both, "auto", *two)
    _age(both, _kept(both)[0]["granted"] / 2 + 1)
    # This daemon may take a question by PCP about one of them for one about the other; both stay all the same.
    _says(both, "ok", ["half", "half"])
    assert _ports(both) == [f"80 {HOST}:8080", f"8081 {HOST}:8080", f"81 {NEIGHBOUR}:81"]
    _says(both, "unchanged", ["", ""])
    _gone(both, "auto")


def test_an_earlier_address_where_the_router_lets_nobody_remove_it(moved: Home) -> None:
    moved.start_daemon(["min_lifetime=1", "max_lifetime=4"], recorded=True, upnp=False)
    moved.module("port_mapping", method="pcp", mappings=[WEB])
    moved.move(OTHER)
    said = moved.agent("renew")
    assert said["result"] == "retry"
    assert "an address that it had earlier" in said["message"]
    # It ends by itself, because nobody renews it. Then the port is free again.
    time.sleep(7)
    _says(moved, "ok", ["missing"])
    assert _ports(moved) == [f"80 {OTHER}:8080"]
    assert moved.connects(80)
    assert moved.module("port_mapping", method="pcp", state="absent")["changed"]
    assert _ports(moved) == []
    assert not moved.state_dir().exists()


def test_a_day_with_a_lease_of_an_hour(both: Home) -> None:
    """Between two runs of the timer ten minutes pass for the leases of the router and for what the host wrote down."""
    _present(both, "upnp", {**WEB, "lease": 3600}, {**WG, "lease": 3600})
    actions: list[str] = []
    for run in range(24 * 6):
        both.let_pass(600)
        if run % 9 == 0:
            _camera(both)
        _age(both, 600)
        said = both.agent("renew")
        actions += [row["action"] for row in said["mappings"] if row["name"] == "web"]
        assert _ports(both) == [f"51820 {HOST}:51820", f"80 {HOST}:8080", f"81 {NEIGHBOUR}:81"]
        if run % 24 == 0:
            assert both.connects(80)
    # Each time when half of it was over, and never too late: then it would have been missing.
    assert set(actions) == {"", "half"}
    assert actions.count("half") == 24 * 2
    # Without the agent it is over within the hour.
    both.let_pass(3600)
    assert not both.connects(80)


def test_leases_of_seconds_are_renewed_in_time(both: Home) -> None:
    both.start_daemon(["min_lifetime=1", "max_lifetime=6"], recorded=True)
    both.module("port_mapping", method="pcp", mappings=[WEB])
    end = time.monotonic() + 20
    actions = []
    while time.monotonic() < end:
        assert both.connects(80)
        actions += [row["action"] for row in both.agent("renew")["mappings"]]
        time.sleep(1)
    assert set(actions) == {"", "half"}
    assert 4 <= actions.count("half") <= 7


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("jump", [YEAR, -YEAR, 1800.0, -1800.0])
def test_a_jump_of_the_clock_changes_nothing(both: Home, method: str, jump: float) -> None:
    _present(both, method, WEB)
    _says(both, "unchanged", [""], wall=jump)
    _holds(both)
    assert both.module("port_mapping", method=method, mappings=[WEB])["changed"] is False
    _gone(both, method)


@pytest.mark.parametrize("method", METHODS)
def test_a_clock_that_was_ahead_when_the_host_was_switched_off(both: Home, method: str) -> None:
    _present(both, method, WEB)
    # Another boot, and a clock that starts a year earlier: what is written down comes from the future.
    _says(both, "ok", ["clock"] if method == "upnp" else ["restarted"], wall=-YEAR, ticks=-1e6, boot="another")
    _holds(both)
    _says(both, "unchanged", [""], wall=-YEAR, ticks=-1e6, boot="another")
    # And a third one with the right time: a year later, all that is known is over, unless the router can be asked whether it is there.
    _says(both, "ok", [{"auto": "restarted", "upnp": "half"}.get(method, "missing")])
    _holds(both)
    _gone(both, method)


def test_a_port_that_somebody_took_meanwhile_is_not_taken_back(both: Home) -> None:
    _present(both, "upnp", WEB, WG)
    both.forget()
    both.start_daemon(recorded=True, keep_leases=True)
    both.upnpc(both.neighbour, "-e", "other", "-a", NEIGHBOUR, "80", "80", "tcp", "3600")
    said = both.agent("renew")
    assert (said["result"], said["exit_status"]) == ("foreign", 23)
    assert "'other'" in said["message"]
    assert [(row["name"], row["state"], row["action"]) for row in said["mappings"]] == [("web", "conflict", ""), ("wg", "held", "missing")]
    # One mapping that cannot be had keeps no other one from being there.
    assert _ports(both) == [f"51820 {HOST}:51820", f"80 {NEIGHBOUR}:80"]
    status = both.agent("status")
    assert "conflict: mapping 'web'" in status["message"]
    # Once it is free again, it is ours again.
    both.upnpc(both.neighbour, "-d", "80", "tcp")
    assert [row["action"] for row in both.agent("renew")["mappings"]] == ["missing", ""]
    assert _ports(both) == [f"51820 {HOST}:51820", f"80 {HOST}:8080"]


@pytest.mark.parametrize("method", ["pcp", "natpmp"])
def test_a_port_that_somebody_took_is_not_taken_back_where_nobody_tells_by_whom(both: Home, method: str) -> None:
    _present(both, method, WEB)
    time.sleep(5)
    both.forget()
    both.start_daemon(recorded=True, keep_leases=True)
    both.upnpc(both.neighbour, "-e", "other", "-a", NEIGHBOUR, "80", "80", "tcp", "3600")
    said = both.agent("renew")
    assert (said["result"], said["mappings"][0]["state"]) == ("retry", "error")
    assert _ports(both) == [f"80 {NEIGHBOUR}:80"]
    # It waits, unless somebody waits for it.
    assert both.agent("renew")["mappings"][0]["error"] == said["mappings"][0]["error"]
    both.upnpc(both.neighbour, "-d", "80", "tcp")
    _says(both, "ok", ["missing"])
    assert _ports(both) == [f"80 {HOST}:8080"]


def test_a_playbook_run_that_holds_the_host_is_not_disturbed(both: Home) -> None:
    _present(both, "upnp", WEB)
    (both.state_dir() / "run.json").write_text(json.dumps({"run_id": "run-1", "expires": time.time() + 60}))
    both.forget()
    both.start_daemon(recorded=True, keep_leases=True)
    said = both.agent("renew")
    assert (said["result"], said["exit_status"], _ports(both)) == ("busy", 75, [])
    assert both.agent("renew", "--run-id", "run-1")["result"] == "ok"
    assert len(_ports(both)) == 1


@pytest.mark.parametrize("method", METHODS)
def test_what_is_tried_only_is_not_renewed(both: Home, method: str) -> None:
    done = both.module("port_mapping", method=method, mappings=[WEB], renew=False)
    assert (done.get("failed"), done["kept"]) == (None, [])
    assert both.agent("renew")["mappings"] == []
    _holds(both)
    _gone(both, method)
