# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard on a real host: systemd, sshd, a reboot, and a controller that dies."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import ansible.plugins.connection.ssh
import pytest
from labhost import LabHost
from namespaces import wait_until

GUARD = "homeserver.hardening.rollback_guard"
FILES = ["/etc/homeserver/kept", "/etc/homeserver/new", "/etc/systemd/system/homeserver-x.service", "/etc/homeserver/link"]
NEW = {"ansible_ssh_args": "-o ControlMaster=no -o ControlPath=none -o ConnectTimeout=4", "ansible_ssh_retries": 0}
#: New connections to sshd are dropped; old ones live on through conntrack.
CUT_NEW = (
    "nft 'add table inet homeserver { chain input { type filter hook input priority 0; policy accept; ct state established accept; tcp dport 22 drop; }; }'"
)
#: Old connections are dropped too.
CUT_ALL = "nft 'add table inet homeserver { chain input { type filter hook input priority 0; policy accept; tcp dport 22 drop; }; }'"
DETACHED = 'systemd-run --quiet --collect sh -c "sleep 0.5; {}"'


def _arm(**options: Any) -> dict[str, Any]:
    return {GUARD: {"state": "armed", "timeout": 8, "nft_tables": ["inet homeserver"], **options}, "register": "guard"}


def _confirm(**options: Any) -> dict[str, Any]:
    return {GUARD: {"state": "confirmed", **options}}


def _state(server: LabHost) -> str:
    files = "for f in /etc/homeserver/*; do stat -c '%n %F %a %U %N' $f; cat $f; done; ls -d /etc/systemd/system/homeserver* /var/lib/homeserver"
    command = f"nft -s list ruleset; {files}"
    return server.sh(command, check=False)


def _prepare(server: LabHost) -> str:
    server.sh(
        "mkdir -p /etc/homeserver; echo old >/etc/homeserver/kept; chown daemon:adm /etc/homeserver/kept; chmod 4751 /etc/homeserver/kept; "
        "ln -s kept /etc/homeserver/link; nft 'add table inet homeserver { chain input { type filter hook input priority 0; tcp dport 9 counter accept; }; }'"
    )
    return _state(server)


CHANGE = (
    "echo changed >/etc/homeserver/kept; chmod 600 /etc/homeserver/kept; chown root:root /etc/homeserver/kept; ln -sfn new /etc/homeserver/link; "
    "echo new >/etc/homeserver/new; "
    "printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\n' >/etc/systemd/system/homeserver-x.service; "
    "systemctl daemon-reload; systemctl start homeserver-x; nft add rule inet homeserver input tcp dport 10 drop"
)


def test_what_nobody_confirms_is_taken_back(server: LabHost, tmp_path: Path) -> None:
    before = _prepare(server)
    status, output = server.play([_arm(timeout=5, files=FILES), {"ansible.builtin.raw": CHANGE}], tmp_path)
    assert status == 0, output
    assert "changed" in _state(server)
    assert wait_until(lambda: not server.leftovers(), 12)
    assert _state(server) == before
    assert server.sh("systemctl show -P LoadState homeserver-x") == "not-found"


def test_a_confirmed_change_stays_and_nothing_of_the_guard(server: LabHost, tmp_path: Path) -> None:
    _prepare(server)
    tasks = [_arm(timeout=6, files=FILES), {"ansible.builtin.raw": CHANGE}, {**_confirm(id="{{ guard.id }}"), "vars": NEW}]
    status, output = server.play(tasks, tmp_path)
    assert status == 0, output
    assert not server.leftovers()
    changed = _state(server)
    time.sleep(7)
    assert _state(server) == changed and "tcp dport 10 drop" in changed


def test_rolled_back_on_request(server: LabHost, tmp_path: Path) -> None:
    before = _prepare(server)
    tasks = [
        _arm(timeout=600, files=FILES),
        {"ansible.builtin.raw": CHANGE},
        {GUARD: {"state": "rolled_back"}, "register": "r"},
        {GUARD: {"state": "rolled_back"}, "register": "again"},
    ]
    tasks.append({"ansible.builtin.assert": {"that": ["r.changed", "r.taken_back", "not r.armed", "not again.changed"]}})
    status, output = server.play(tasks, tmp_path)
    assert status == 0, output
    assert _state(server) == before and not server.leftovers()


def test_an_old_connection_confirms_nothing(server: LabHost, tmp_path: Path) -> None:
    """The connection of the first task lives on, through the controller's master and through conntrack, while new ones are dropped."""
    status, output = server.play([_arm(), {"ansible.builtin.raw": CUT_NEW}, _confirm()], tmp_path)
    assert status != 0 and "older than the change" in output, output
    assert not server.ssh()
    assert wait_until(server.ssh, 15)
    assert server.rules() == "" and not server.leftovers()


def test_without_the_check_an_old_connection_would_have_confirmed_it(server: LabHost, tmp_path: Path) -> None:
    """The planted fault: the same play with the check off keeps rules that admit nobody."""
    status, output = server.play([_arm(), {"ansible.builtin.raw": CUT_NEW}, _confirm(new_connection=False)], tmp_path)
    assert status == 0, output
    time.sleep(9)
    assert not server.ssh()


def test_a_confirmation_after_the_rollback_is_refused(server: LabHost, tmp_path: Path) -> None:
    """When everything is cut, the task hangs until the rollback revives its connection. It must not be taken for a success."""
    tasks = [
        _arm(timeout=6),
        {"ansible.builtin.raw": DETACHED.format(CUT_ALL.replace("'", '\\"').replace('\\"', "'"))},
        {"ansible.builtin.pause": {"seconds": 1}},
        _confirm(new_connection=False),
    ]
    status, output = server.play(tasks, tmp_path)
    assert status != 0 and ("not armed any more" in output or "UNREACHABLE" in output), output
    assert wait_until(server.ssh, 15)
    assert server.rules() == ""


def test_a_reboot_while_armed_takes_back_before_the_network_is_up(server: LabHost, tmp_path: Path) -> None:
    before = _prepare(server)
    status, output = server.play([_arm(timeout=600, files=FILES), {"ansible.builtin.raw": CHANGE}], tmp_path)
    assert status == 0, output
    server.sh("ln -s /etc/systemd/system/homeserver-x.service /etc/systemd/system/sysinit.target.wants/; nft 'add table inet planted { }'")
    server.reboot()
    assert wait_until(lambda: not server.leftovers(), 10)
    server.sh("rm -f /etc/systemd/system/sysinit.target.wants/homeserver-x.service")
    assert _state(server) == before
    assert server.ssh()
    assert server.sh("systemctl list-units --failed --plain --no-legend") == ""


def test_a_guard_left_by_a_dead_run_is_rolled_back_before_a_new_one_is_armed(server: LabHost, tmp_path: Path) -> None:
    _prepare(server)
    server.play([_arm(timeout=600, files=FILES), {"ansible.builtin.raw": CHANGE}], tmp_path)
    tasks = [
        _arm(timeout=600, files=FILES),
        {"ansible.builtin.assert": {"that": ["guard.taken_back", "guard.armed"]}},
        {"ansible.builtin.raw": "nft add rule inet homeserver input tcp dport 11 drop"},
        {**_confirm(), "vars": NEW},
    ]
    status, output = server.play(tasks, tmp_path)
    assert status == 0, output
    state = _state(server)
    assert "dport 10" not in state and "dport 11" in state and not server.leftovers()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"timeout": 2}, "5 to 3600"),
        ({"nft_tables": ["homeserver"]}, "family and name"),
        ({"files": ["/etc"]}, "/etc cannot be guarded"),
        ({"name": "X"}, "lower-case"),
    ],
)
def test_bad_input_arms_nothing(server: LabHost, tmp_path: Path, options: dict[str, Any], part: str) -> None:
    status, output = server.play([_arm(**options)], tmp_path)
    assert status != 0 and part in output, output
    assert not server.leftovers() and server.sh("ls /var/lib/homeserver", check=False) == ""


def test_check_mode_arms_nothing(server: LabHost, tmp_path: Path) -> None:
    tasks = [_arm(), {"ansible.builtin.assert": {"that": ["guard.changed", "not guard.armed"]}}, _confirm(), {GUARD: {"state": "rolled_back"}}]
    status, output = server.play(tasks, tmp_path, "--check", "--diff")
    assert status == 0 and "+rollback_guard default" in output, output
    assert not server.leftovers() and server.sh("ls -d /var/lib/homeserver", check=False) == ""


ROLE = "homeserver.hardening.host_firewall"
DENY = {"host_firewall_inbound": "deny", "host_firewall_services": [{"name": "web", "port": 80}], "host_firewall_guard_timeout": 15}
#: sshd listens elsewhere, so that the new rules admit no new connection.
WRONG = {**DENY, "host_firewall_management": [{"port": 2222, "sources": ["10.0.0.0/8"]}], "host_firewall_lockout_check": False}


def _role(**inputs: Any) -> dict[str, Any]:
    return {"ansible.builtin.include_role": {"name": ROLE}, "vars": inputs}


def test_the_role_keeps_good_rules(server: LabHost, tmp_path: Path) -> None:
    status, output = server.play([_role(**DENY)], tmp_path)
    assert status == 0 and "Confirm over a new connection" in output, output
    assert server.ssh() and not server.leftovers()
    status, output = server.play([_role(**DENY)], tmp_path)
    assert status == 0 and "changed=0" in output, output
    server.reboot()
    assert server.ssh()
    assert "policy drop" in server.rules() and server.sh("systemctl is-active homeserver-firewall nftables", check=False).split() == ["active", "inactive"]
    status, output = server.play([_role(**DENY)], tmp_path)
    assert status == 0 and "changed=0" in output, output


def test_the_role_takes_back_rules_that_would_lock_out(server: LabHost, tmp_path: Path) -> None:
    server.play([_role(**DENY)], tmp_path)
    before = _state(server)
    status, output = server.play([_role(**WRONG)], tmp_path)
    assert status == 2 and "admitted no new SSH connection, so they were taken back" in output, output
    assert _state(server) == before and server.ssh() and not server.leftovers()


def test_the_role_takes_back_rules_that_fail_half_way(server: LabHost, tmp_path: Path) -> None:
    before = _state(server)
    drop_in = "/etc/systemd/system/homeserver-firewall.service.d"
    server.sh(f"mkdir {drop_in}; printf '[Service]\\nExecStartPre=/bin/false\\n' >{drop_in}/x.conf")
    status, output = server.play([_role(**DENY)], tmp_path)
    server.sh(f"rm -r {drop_in}; systemctl daemon-reload")
    assert status == 2 and "could not be applied, so they were taken back" in output, output
    assert _state(server) == before and not server.leftovers()


def test_without_a_guard_an_older_one_does_not_take_back(server: LabHost, tmp_path: Path) -> None:
    server.play([_arm(timeout=10), {"ansible.builtin.raw": CUT_NEW}], tmp_path)
    status, output = server.play([_role(**DENY, host_firewall_guard=False)], tmp_path)
    assert status == 0, output
    time.sleep(11)
    assert "policy drop" in server.rules() and server.ssh() and not server.leftovers()


def test_the_role_refuses_at_once_what_would_lock_out(server: LabHost, tmp_path: Path) -> None:
    status, output = server.play([_role(**{**WRONG, "host_firewall_lockout_check": True})], tmp_path)
    assert status == 2 and "inbound deny would lock you out" in output and "Arm the guard" not in output, output
    assert server.rules() == ""


@pytest.mark.parametrize("die_at", ["Arm the guard", "Apply the rules", "Confirm over a new connection"])
def test_a_controller_that_dies_leaves_nothing_half_done(server: LabHost, tmp_path: Path, die_at: str) -> None:
    running = server.start([_role(**DENY)], tmp_path)
    assert running.stdout is not None
    seen = False
    for line in running.stdout:
        seen = seen or die_at in line
        if seen and line.startswith(("changed:", "ok:")):
            os.killpg(running.pid, signal.SIGKILL)
            break
    running.wait()
    assert seen
    # Either the next run comes first ...
    status, output = server.play([_role(**DENY)], tmp_path)
    assert status == 0, output
    assert "policy drop" in server.rules() and not server.leftovers() and server.ssh()
    time.sleep(16)
    assert "policy drop" in server.rules()


def test_a_controller_that_dies_and_never_comes_back(server: LabHost, tmp_path: Path) -> None:
    running = server.start([_role(**WRONG)], tmp_path)
    assert running.stdout is not None
    for line in running.stdout:
        if "Confirm over" in line:
            os.killpg(running.pid, signal.SIGKILL)
            break
    running.wait()
    assert not server.ssh()
    assert wait_until(server.ssh, 25)
    assert server.rules() == "" and not server.leftovers()


def test_absent_after_a_dead_run(server: LabHost, tmp_path: Path) -> None:
    before = _state(server)
    running = server.start([_role(**{**DENY, "host_firewall_guard_timeout": 600})], tmp_path)
    assert running.stdout is not None
    for line in running.stdout:
        if "Confirm over" in line:
            os.killpg(running.pid, signal.SIGKILL)
            break
    running.wait()
    status, output = server.play([_role(host_firewall_state="absent")], tmp_path)
    assert status == 0, output
    assert _state(server) == before and not server.leftovers()


def test_beside_nftables_service(server: LabHost, tmp_path: Path) -> None:
    """Its start, restart and reload flush everything; ours come back each time, also at boot, and we never start it."""
    server.play([_role(**DENY)], tmp_path)
    assert server.sh("systemctl is-active nftables", check=False) == "inactive"
    server.sh("systemctl enable --quiet nftables")
    try:
        server.reboot()
        for command in ("restart", "reload", "stop", "start"):
            rules = server.rules()
            assert "table inet homeserver" in rules and "table inet filter" in rules, f"before {command}: {rules}"
            server.sh(f"systemctl {command} nftables")
            if command == "stop":
                # What flushes everything takes ours along; its start brings both back.
                server.sh("systemctl start nftables")
            assert wait_until(lambda: "policy drop" in server.rules(), 5), command
    finally:
        server.sh("systemctl disable --now --quiet nftables")


def test_without_ssh_somebody_else_has_to_prove_it(server: LabHost, tmp_path: Path) -> None:
    # A connection that is SSH in fact, and by its name is not.
    (tmp_path / "connection_plugins").mkdir()
    shutil.copy(ansible.plugins.connection.ssh.__file__, tmp_path / "connection_plugins" / "serial.py")
    status, output = server.play([_role(**DENY, ansible_connection="serial")], tmp_path)
    assert status == 2 and "so that no new SSH connection can prove that it still can be reached" in output, output
    assert server.rules() == "" and not server.leftovers()
    # Where nothing can be locked out, nobody has to prove anything.
    status, output = server.play([_role(host_firewall_services=[{"name": "web", "port": 80}], ansible_connection="serial")], tmp_path)
    assert status == 0, output


def test_another_host_proves_it(server: LabHost, tmp_path: Path) -> None:
    status, output = server.play([_role(**DENY, host_firewall_confirm_from="neighbour")], tmp_path)
    assert status == 0 and "server -> neighbour" in output, output
    assert "policy drop" in server.rules() and not server.leftovers()
    server.clean()
    # From the Internet the router does not let it through.
    status, output = server.play([_role(**DENY, host_firewall_confirm_from="internet")], tmp_path)
    assert status == 2 and "taken back" in output, output
    assert server.rules() == "" and not server.leftovers()
