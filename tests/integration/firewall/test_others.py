# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside ufw and firewalld, started for real, and as a user who is not root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from labhost import LabHost
from namespaces import wait_until

ROLE = "homeserver.hardening.host_firewall"
WEB = {"name": "web", "port": 8443}
WAIT = "for i in $(seq 50); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.2; done; firewall-cmd --state"
START = {
    "ufw": "systemctl unmask ufw; ufw allow 22/tcp; ufw --force enable",
    "firewalld": f"systemctl unmask firewalld; systemctl start firewalld; {WAIT}",
}
STOP = {
    "ufw": "ufw --force reset; ufw disable; systemctl mask ufw; nft flush ruleset",
    "firewalld": "systemctl stop firewalld; systemctl mask firewalld; nft flush ruleset",
}
OPEN = {"ufw": "ufw allow proto tcp to any port 8443", "firewalld": "firewall-cmd --permanent --add-port=8443/tcp && firewall-cmd --reload"}


def _role(**inputs: Any) -> dict[str, Any]:
    return {"ansible.builtin.include_role": {"name": ROLE}, "vars": {f"host_firewall_{name}": value for name, value in inputs.items()}}


@contextmanager
def _running(server: LabHost, tool: str) -> Iterator[None]:
    try:
        server.sh(START[tool])
        server.sh("systemd-run --quiet --collect --unit=web python3 -m http.server 8443")
        yield
    finally:
        server.sh(f"systemctl stop web; {STOP[tool]}", check=False)


def _reached(server: LabHost) -> bool:
    address = server.sh("ip -o -4 address show dev lan0 | awk '{print $4}' | cut -d/ -f1")
    ask = f"python3 -c \"import socket; socket.create_connection(('{address}', 8443), 1).close()\" 2>/dev/null && echo yes || echo no"
    return server.on("neighbour", ask) == "yes"


def _foreign(server: LabHost) -> str:
    """Every table but ours. The text of the listing ends a table with a brace in the first column."""
    tables = (server.rules() + "\n").split("\n}\n")
    return "\n".join(table for table in tables if "table inet homeserver " not in table)


@pytest.mark.parametrize("tool", START)
def test_a_request_that_would_not_hold_is_refused_and_the_remedy_helps(server: LabHost, tmp_path: Path, tool: str) -> None:
    with _running(server, tool):
        before = server.rules()
        status, output = server.play([_role(services=[WEB])], tmp_path)
        assert status == 2 and f"{tool} drops TCP 8443" in output and OPEN[tool] in output, output
        assert server.rules() == before and not _reached(server)
        # What it says is what helps.
        server.sh(OPEN[tool])
        foreign = _foreign(server)
        status, output = server.play([_role(services=[WEB])], tmp_path)
        assert status == 0, output
        assert wait_until(lambda: _reached(server), 5) and _foreign(server) == foreign
        status, output = server.play([_role(services=[WEB], inbound="deny")], tmp_path)
        assert status == 0 and server.ssh(), output
        status, output = server.play([_role(state="absent")], tmp_path)
        assert status == 0 and _foreign(server) == foreign and "inet homeserver" not in server.rules(), output


def test_a_user_who_is_not_root(server: LabHost, tmp_path: Path) -> None:
    """sudo hides the SSH connection from the environment; the guard must see it all the same."""
    admin = {"ansible_user": "admin"}
    deny = _role(inbound="deny", services=[WEB])
    status, output = server.play([{**deny, "vars": {**deny["vars"], **admin}}], tmp_path)
    assert status == 0 and "Confirm over a new connection" in output, output
    assert "policy drop" in server.rules() and not server.leftovers()
    server.clean()
    wrong = _role(inbound="deny", management=[{"port": 2222, "sources": ["10.0.0.0/8"]}], lockout_check=False, guard_timeout=15)
    status, output = server.play([{**wrong, "vars": {**wrong["vars"], **admin}}], tmp_path)
    assert status == 2 and "taken back" in output, output
    assert server.rules() == "" and not server.leftovers()


def test_without_root_it_says_so(server: LabHost, tmp_path: Path) -> None:
    task = {"homeserver.hardening.firewall_policy": {"services": [WEB]}, "vars": {"ansible_user": "admin"}, "become": False}
    status, output = server.play([task], tmp_path)
    assert status == 2 and "become: true" in output, output
