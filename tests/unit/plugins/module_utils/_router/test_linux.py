# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a Linux router, and what is done, in which order, to a router that is made of files and answers."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._router import _linux as linux
from ansible_collections.homeserver.hardening.plugins.module_utils._router._linux import Daemon, Options, Reading, make_plan
from ansible_collections.homeserver.hardening.plugins.module_utils._router._miniupnpd import Chain, Found, RouterError, Rule

CHAIN = Chain("inet", "filter", "prerouting_miniupnpd")
RULE = Rule(CHAIN, 1, "tcp", 8443, "192.0.2.20", 443)
UNIT = "miniupnpd.service"
ON = Daemon(UNIT, True, True, (7,))
OFF = Daemon(UNIT, False, False)


def reading(daemon: Daemon, rules: tuple[Rule, ...] = (RULE,), leases: tuple[str, ...] = ("TCP:8443:192.0.2.20:443",)) -> Reading:
    return Reading(daemon, Found((CHAIN,), rules), {"/leases": list(leases)})


ALL = [("unit_file", UNIT), ("daemon", UNIT), ("lease_file", "/leases"), ("nft_chain", str(CHAIN))]


@pytest.mark.parametrize(
    ("options", "before", "record", "kinds"),
    [
        (Options("disabled"), reading(ON), None, ALL),
        (Options("disabled", keep_rules=True), reading(ON), None, ALL[:3]),
        # killed behind: what it left
        (Options("disabled"), reading(Daemon(UNIT, False, True)), None, [ALL[0], *ALL[2:]]),
        (Options("disabled"), reading(OFF), None, ALL[2:]),
        (Options("disabled"), reading(OFF, leases=()), None, ALL[3:]),
        (Options("disabled"), reading(OFF, (), ()), None, []),
        # started by hand, beside its unit or without one
        (Options("disabled"), reading(Daemon(UNIT, False, False, (9,)), (), ()), None, [("daemon", UNIT)]),
        (Options("disabled"), reading(Daemon(pids=(9,)), (), ()), None, [("daemon", "miniupnpd")]),
        # a unit that is neither enabled nor disabled
        (Options("disabled"), reading(Daemon(UNIT, True, None, (9,)), (), ()), None, [("daemon", UNIT)]),
        (Options("enabled"), reading(OFF), None, [("unit_file", UNIT), ("daemon", UNIT)]),
        (Options("enabled"), reading(ON), None, []),
        (Options("enabled"), reading(Daemon(UNIT, False, None)), None, [("daemon", UNIT)]),
        (Options("enabled", start_command=["x"]), reading(Daemon()), None, [("daemon", "miniupnpd")]),
        (Options("restored"), reading(OFF), None, []),
        (Options("restored"), reading(OFF), {"enabled": True, "running": True}, [("unit_file", UNIT), ("daemon", UNIT)]),
        (Options("restored"), reading(OFF), {"enabled": False, "running": True}, [("daemon", UNIT)]),
        (Options("restored"), reading(OFF), {"enabled": True, "running": False}, [("unit_file", UNIT)]),
        (Options("restored"), reading(OFF), {"enabled": False, "running": False}, []),
        (Options("restored"), reading(ON), {"enabled": True, "running": True}, []),
    ],
)
def test_plan(options, before, record, kinds):
    plan = make_plan(options, before, record)
    assert [(change.kind, change.name) for change in plan.changes] == kinds
    assert "192.0.2.20" not in json.dumps(plan.diff()["after"])


class FakeNft:
    path = "nft"

    def __init__(self, router: FakeRouter) -> None:
        self.router = router

    def ruleset(self) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        for chain, rules in self.router.chains.items():
            rows.append({"chain": {"family": "inet", "table": "filter", "name": chain}})
            for number in rules:
                expressions = [
                    {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": number}},
                    {"dnat": {"addr": "192.0.2.20", "port": 443}},
                ]
                rows.append({"rule": {"family": "inet", "table": "filter", "chain": chain, "handle": 1, "expr": expressions}})
        return {"nftables": rows}


class FakeRouter:
    """A router that is a few values; C(log) is what was done to it."""

    def __init__(self, tmp_path: Any, monkeypatch: Any) -> None:
        self.chains: dict[str, list[int]] = {"miniupnpd": [], "prerouting_miniupnpd": [8443]}
        self.unit: dict[str, str] = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}
        self.log: list[str] = []
        self.stubborn = False
        self.comes_back = False
        self.leases = tmp_path / "leases"
        self.leases.write_text("TCP:8443:192.0.2.20:443:0:camera\n")
        configuration = tmp_path / "miniupnpd.conf"
        configuration.write_text(f"ext_ifname=wan0\nlease_file={self.leases}\n")
        self.options = {"configuration": str(configuration), "state_dir": str(tmp_path / "state"), "process": "no-such-daemon"}
        monkeypatch.setattr(linux, "Nft", lambda: FakeNft(self))
        monkeypatch.setattr(linux, "run", self.run)
        monkeypatch.setattr(linux, "tool", lambda name, package: name)
        monkeypatch.setattr(linux.os.path, "isdir", lambda path, real=linux.os.path.isdir: path == "/run/systemd/system" or real(path))
        monkeypatch.setattr(linux.shutil, "which", lambda name, path: self.conntrack)
        self.conntrack: str | None = "conntrack"

    def run(self, arguments: list[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
        out, status = "", 0
        if arguments[0] == "env":
            arguments = [one for one in arguments[1:] if "=" not in one]
        verb = arguments[1]
        if verb == "show":
            out = "".join(f"{key}={value}\n" for key, value in self.unit.items())
        elif arguments[0] == "nft":
            for line in (text or "").splitlines():
                self.log.append(line)
                assert line.rsplit(" ", 1)[-1] in self.chains, "a chain that is gone cannot be flushed"
                if not self.stubborn:
                    self.chains[line.rsplit(" ", 1)[-1]] = []
        else:
            self.log.append(" ".join(arguments))
            if verb in ("start", "stop") and not (verb == "stop" and self.comes_back):
                self.unit["ActiveState"] = "active" if verb == "start" else "inactive"
            if verb in ("enable", "disable"):
                self.unit["UnitFileState"] = f"{verb}d"
            if verb == "-D":
                out = "tcp 6 ESTABLISHED\n"
        return subprocess.CompletedProcess(arguments, status, out, "")

    def do(self, state: str, check_mode: bool = False, **options: Any) -> linux.Result:
        return linux.disable_or_enable(Options(state, **{**self.options, **options}), check_mode)


@pytest.fixture
def router(tmp_path, monkeypatch):
    return FakeRouter(tmp_path, monkeypatch)


def test_check_do_again_and_back(router):
    check = router.do("disabled", check_mode=True)
    assert check.plan.changed
    assert router.log == []
    assert [row["port"] for row in check.data["rules_left"]] == [8443]

    done = router.do("disabled", end_connections=True)
    assert done.plan.as_data() == check.plan.as_data()
    assert router.log == [
        f"systemctl disable {UNIT}",
        f"systemctl stop {UNIT}",
        "flush chain inet filter prerouting_miniupnpd",
        "conntrack -D -p tcp --orig-port-dst 8443 --reply-src 192.0.2.20",
    ]
    assert done.data["rules_left"] == []
    assert done.data["daemon"] == {"unit": UNIT, "running": False, "enabled": False}
    assert done.data["mappings"] == [{"protocol": "tcp", "external_port": 8443, "internal_client": "192.0.2.20", "internal_port": 443}]
    assert done.data["connections_ended"] == 1
    assert router.leases.read_text() == ""

    router.log.clear()
    assert not router.do("disabled").plan.changed
    assert router.log == []

    back = router.do("restored")
    assert [change.kind for change in back.plan.changes] == ["unit_file", "daemon"]
    assert router.log == [f"systemctl enable {UNIT}", f"systemctl start {UNIT}"]
    assert not router.do("restored").plan.changed
    assert not (router.leases.parent / "state").exists()


def test_restored_keeps_what_was_off_off(router):
    router.unit.update(ActiveState="inactive", UnitFileState="disabled")
    assert router.do("disabled").plan.changed
    assert not router.do("restored").plan.changed
    assert router.unit["ActiveState"] == "inactive"


def test_restored_has_a_daemon_run_that_had_died(router):
    router.unit.update(ActiveState="failed")
    router.do("disabled")
    router.do("restored")
    assert router.unit == {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}


def test_a_second_disabling_does_not_forget_how_it_was(router):
    router.do("disabled")
    router.chains["prerouting_miniupnpd"] = [80]
    assert router.do("disabled").plan.changed
    router.do("restored")
    assert router.unit == {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}


def test_rules_that_stay_are_said(router):
    done = router.do("disabled", keep_rules=True)
    assert [row["port"] for row in done.data["rules_left"]] == [8443]
    assert any("open from the Internet" in warning for warning in done.warnings)


def test_rules_that_do_not_go_are_a_failure(router):
    router.stubborn = True
    with pytest.raises(RouterError, match="came back after the chains were emptied: tcp port 8443"):
        router.do("disabled")


def test_a_daemon_that_something_starts_again_is_a_failure(router):
    router.comes_back = True
    with pytest.raises(RouterError, match=f"{UNIT} runs again"):
        router.do("disabled")


def test_chains_that_the_unit_removes_by_itself_are_gone(router):
    real = router.run

    def run(arguments, text=None):
        if "stop" in arguments:
            router.chains.clear()
        return real(arguments, text)

    linux.run = run
    done = router.do("disabled")
    assert done.data["rules_left"] == []
    assert done.data["chains"] == []
    assert not router.do("disabled").plan.changed


def test_chains_of_other_names(router):
    """That nothing was found is no proof that nothing is there."""
    router.chains = {"upnp_forward": [80]}
    with pytest.raises(RouterError, match="inet filter upnp_forward"):
        router.do("disabled")
    assert router.log == []
    done = router.do("disabled", chains=["upnp_forward"])
    assert done.data["rules_left"] == []


def test_not_the_router(router):
    router.chains.clear()
    router.unit["LoadState"] = "not-found"
    with pytest.raises(RouterError, match="it is not the router"):
        router.do("disabled")


def test_a_daemon_that_was_uninstalled_afterwards(router):
    """What it was stays on record: disabled it is, and there is nothing to restore."""
    router.do("disabled")
    router.chains.clear()
    router.unit["LoadState"] = "not-found"
    again = router.do("disabled")
    assert not again.plan.changed
    assert (again.data["chains"], again.data["chains_seen"], again.data["rules_left"]) == ([], True, [])
    with pytest.raises(RouterError, match=r"if it was uninstalled, there is nothing to restore: remove .*router_upnp.json"):
        router.do("restored")
    router.do("restored", start_command=["rc", "start"])
    assert not router.do("restored").plan.changed


def test_restored_where_nothing_ever_was(router):
    router.chains.clear()
    router.unit["LoadState"] = "not-found"
    assert not router.do("restored").plan.changed
    assert router.log == []


def test_chains_that_nobody_ever_saw(router):
    router.chains = {}
    router.unit.update(ActiveState="inactive")
    assert router.do("disabled").data["chains_seen"] is False
    assert router.do("disabled").data["chains_seen"] is False
    router.chains = {"miniupnpd": []}
    assert router.do("disabled").data["chains_seen"] is True


def test_a_lease_file_that_the_unit_takes_along(router):
    real = router.run

    def run(arguments, text=None):
        if "stop" in arguments:
            router.leases.unlink()
        return real(arguments, text)

    linux.run = run
    assert router.do("disabled").data["leases_left"] == 0
    assert not router.leases.exists()
    assert not router.do("disabled").plan.changed


CONNTRACK = "conntrack -D -p tcp --orig-port-dst 8443 --reply-src 192.0.2.20"


def test_connections_that_could_not_be_ended_are_ended_later(router):
    router.conntrack = None
    assert router.do("disabled", end_connections=True).data["connections_ended"] is None
    router.conntrack = "conntrack"
    router.log.clear()
    assert router.do("disabled", check_mode=True, end_connections=True).data["connections_ended"] == 0
    assert router.log == []
    assert router.do("disabled", end_connections=True).data["connections_ended"] == 1
    assert router.log == [CONNTRACK]
    # Once.
    router.log.clear()
    assert router.do("disabled", end_connections=True).data["connections_ended"] == 0
    assert router.log == []


def test_connections_are_ended_by_the_run_after_one_that_failed(router):
    real = router.run

    def run(arguments, text=None):
        if "-D" in arguments:
            raise RouterError("interrupted")
        return real(arguments, text)

    linux.run = run
    with pytest.raises(RouterError, match="interrupted"):
        router.do("disabled", end_connections=True)
    linux.run = real
    router.log.clear()
    router.do("disabled", end_connections=True)
    assert router.log[-1] == CONNTRACK


def test_rules_without_a_daemon(router):
    router.unit["LoadState"] = "not-found"
    done = router.do("disabled")
    assert done.data["rules_left"] == []
    assert done.data["daemon"] == {"unit": "", "running": False, "enabled": None}
    with pytest.raises(RouterError, match="start_command"):
        router.do("enabled")


def test_without_conntrack(router):
    router.conntrack = None
    done = router.do("disabled", end_connections=True)
    assert done.data["connections_ended"] is None
    assert any("conntrack is not installed" in warning for warning in done.warnings)


def test_names_are_judged_first(router):
    with pytest.raises(RouterError, match="not the name of a chain"):
        router.do("disabled", chains=["x; flush ruleset"])
    assert router.log == []


def test_processes_by_name_and_by_file(router, tmp_path):
    with subprocess.Popen(["sleep", "30"]) as child:
        try:
            (tmp_path / "pid").write_text(f"{child.pid}\n")
            # The kernel gives a process its name a moment after it began to run the program.
            deadline = time.monotonic() + 5
            while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n" and time.monotonic() < deadline:
                time.sleep(0.005)
            named = linux.LinuxRouter(Options("disabled", process="sleep"))
            filed = linux.LinuxRouter(Options("disabled", process="no-such-daemon", pid_file=str(tmp_path / "pid")))
            neither = linux.LinuxRouter(Options("disabled", process="no-such-daemon"))
            assert child.pid in list(named._pids())
            assert list(filed._pids()) == [child.pid]
            assert list(neither._pids()) == []
            # The number was given to another program since.
            os.utime(tmp_path / "pid", (1, 1))
            with pytest.raises(RouterError, match=rf"names process {child.pid} \(sleep\), which began after the file was written"):
                list(filed._pids())
            both = linux.LinuxRouter(Options("disabled", process="sleep", pid_file=str(tmp_path / "pid")))
            assert child.pid in list(both._pids())
        finally:
            child.kill()
