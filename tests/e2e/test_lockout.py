# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that would cut SSH take themselves back: in the same run, without the controller, and across a reboot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lablib
import manifest
import pytest
from conftest import ok, refused

pytestmark = pytest.mark.usefixtures("virgin", "fresh_after_failure")

PLAYBOOKS = Path(__file__).resolve().parent / "playbooks"
FIREWALL = str(PLAYBOOKS / "firewall.yml")
GOOD: dict[str, Any] = {"host_firewall_inbound": "deny", "host_firewall_services": [{"name": "http", "protocol": "tcp", "port": 80}]}
#: Nobody here has that address. The check that would refuse it is off, since it is the guard that is tested.
BAD: dict[str, Any] = {
    **GOOD,
    "host_firewall_management": [{"name": "ssh", "protocol": "tcp", "port": 22, "sources": ["198.51.100.1"]}],
    "host_firewall_lockout_check": False,
    "host_firewall_guard_timeout": 15,
}
KILL = {
    "ANSIBLE_CALLBACK_PLUGINS": str(lablib.E2E / "callback_plugins"),
    "ANSIBLE_CALLBACKS_ENABLED": "kill_after",
    "HOMESERVER_KILL_TASK": "Apply the rules",
}


def can_log_in(lab: lablib.Lab) -> bool:
    """Whether a new SSH connection comes about."""
    lab.forget_connections()
    return lab.playbook(str(PLAYBOOKS / "ping.yml"), timeout=40).returncode == 0


def wait_for_login(lab: lablib.Lab, seconds: float) -> float:
    """Return after how many seconds a new connection comes about; fail if it does not."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if can_log_in(lab):
            return time.monotonic() - began
        time.sleep(1)
    rules = lab.sh("server", "nft list ruleset; systemctl list-timers --all --no-pager; journalctl -q --no-pager -n 30")
    pytest.fail(f"no new connection within {seconds} s\n{rules}")


def cut(lab: lablib.Lab) -> None:
    """Load rules that admit no new connection, and lose the controller before it notices."""
    lab.forget_connections()
    run = lab.playbook(FIREWALL, extra=BAD, env=KILL)
    assert run.returncode == -9, str(run)
    assert "198.51.100.1" in lab.sh("server", "nft list table inet homeserver")


def test_refused_when_it_is_plain(lab: lablib.Lab, unchanged: Any) -> None:
    """With its check on, the role sees that this connection would not come back, and changes nothing."""
    refused(lab.playbook(FIREWALL, extra={**BAD, "host_firewall_lockout_check": True}))
    unchanged()


def test_taken_back_in_the_same_run(lab: lablib.Lab, unchanged: Any) -> None:
    """A new connection is tried, does not come about, and the old rules return while the run still lasts."""
    run = refused(lab.playbook(FIREWALL, extra=BAD), "taken back")
    assert run.seconds < 60
    assert can_log_in(lab)
    ok(lab.playbook(FIREWALL, extra={"host_firewall_state": "absent"}))
    unchanged()


@pytest.mark.steps
class TestOldRulesReturn:
    """A host that has rules already gets these back, not none."""

    before: dict[str, Any] = {}

    def rules(self, lab: lablib.Lab) -> dict[str, Any]:
        """What counts: the rules, their file and their unit."""
        state = manifest.collect(lab)["server"]
        return {
            **state["nftables"],
            **{item: text for item, text in state["files"].items() if item.startswith("/etc")},
            **{item: text for item, text in state["unit_files"].items() if "homeserver" in item},
        }

    def test_good_rules(self, lab: lablib.Lab, home: lablib.Home) -> None:
        """Good rules stay: the port that is allowed answers, another does not, and one can log in."""
        assert ok(lab.playbook(FIREWALL, extra=GOOD)).changed["server"] > 0
        assert ok(lab.playbook(FIREWALL, extra=GOOD)).changed["server"] == 0
        assert can_log_in(lab)
        questions = [{"protocol": "tcp", "host": lab.vars["lab_server_address"], "port": port} for port in (80, 443)]
        assert [row["state"] == "answered" for row in home.ask(questions, "neighbour")] == [True, False]
        self.before.update(self.rules(lab))

    def test_in_the_same_run(self, lab: lablib.Lab) -> None:
        """As above."""
        refused(lab.playbook(FIREWALL, extra=BAD), "taken back")
        assert can_log_in(lab)
        assert self.rules(lab) == self.before

    def test_without_the_controller(self, lab: lablib.Lab) -> None:
        """The controller is gone; the host helps itself when the time is over."""
        cut(lab)
        assert not can_log_in(lab)
        wait_for_login(lab, 40)
        assert self.rules(lab) == self.before

    @pytest.mark.parametrize("how", ["in good order", "power failure"])
    def test_across_a_reboot(self, lab: lablib.Lab, how: str) -> None:
        """The host restarts before the time is over; it comes up with the old rules, or gets them back soon."""
        cut(lab)
        lab.lab("reboot", "server", *(["--hard"] if how == "power failure" else []), check=False)
        lab.forget_connections()
        wait_for_login(lab, 60)
        # The deadline itself may still be to come where the old rules were loaded at once.
        time.sleep(1)
        assert self.rules(lab) == self.before
        ok(lab.playbook(FIREWALL, extra=GOOD))

    def test_the_next_run_is_not_disturbed(self, lab: lablib.Lab) -> None:
        """A run right after one that died: its good rules are not taken back when the dead run's time is over."""
        cut(lab)
        wait_for_login(lab, 40)
        ok(lab.playbook(FIREWALL, extra=GOOD))
        time.sleep(16)
        assert self.rules(lab) == self.before

    def test_absent(self, lab: lablib.Lab, home: lablib.Home, unchanged: Any) -> None:
        """Nothing is left, not even of the guard."""
        home.start_services()
        ok(lab.playbook(FIREWALL, extra={"host_firewall_state": "absent"}))
        unchanged()
