# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong inputs: the error names value, reason and fix, and nothing has changed."""

from __future__ import annotations

from typing import Any

import lablib
import pytest
from conftest import PUBLISH, ok, refused

pytestmark = pytest.mark.usefixtures("virgin", "fresh_after_failure")

WEB = {"name": "web", "protocol": "tcp", "port": 80}

#: What the user wrote; words that the message must have: the value, why, what to do.
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "port 0": ({"publish_services": [{**WEB, "port": 0}]}, ("port: 0", "1 to 65535")),
    "port 70000": ({"publish_services": [{**WEB, "port": 70000}]}, ("70000", "1 to 65535")),
    "external port 0": ({"publish_services": [{**WEB, "external_port": 0}]}, ("external_port: 0", "1 to 65535")),
    "external port -1": ({"publish_services": [{**WEB, "external_port": -1}]}, ("external_port: -1", "1 to 65535")),
    "protocol": ({"publish_services": [{**WEB, "protocol": "sctp"}]}, ("sctp", "tcp", "udp")),
    "same external port": (
        {"publish_services": [{**WEB, "external_port": 8080}, {"name": "other", "protocol": "tcp", "port": 81, "external_port": 8080}]},
        ("8080", "web", "other"),
    ),
    "two audiences of one port": (
        {"publish_services": [WEB, {**WEB, "name": "alt", "external_port": 8080, "allow_from": ["192.0.2.0/24"]}]},
        ("192.0.2.0/24", "everybody", "second port"),
    ),
    "same name": ({"publish_services": [WEB, {**WEB, "port": 81}]}, ("web", "name")),
    "name": ({"publish_services": [{**WEB, "name": "My Web"}]}, ("My Web", "letter")),
    "no port": ({"publish_services": [{"name": "web", "protocol": "tcp"}]}, ("port", "missing")),
    "unknown key": ({"publish_services": [{**WEB, "extern_port": 8080}]}, ("extern_port",)),
    "nobody may come": ({"publish_services": [{**WEB, "allow_from": []}]}, ("allow_from", "Leave allow_from out")),
    "allow_from": ({"publish_services": [{**WEB, "allow_from": ["192.0.2.300"]}]}, ("192.0.2.300",)),
    "smb": ({"publish_services": [{"name": "files", "protocol": "tcp", "port": 445}]}, ("445", "SMB", "publish_accept_risk", "files")),
    "camera": ({"publish_services": [{"name": "cam", "protocol": "tcp", "port": 554}]}, ("554", "camera", "publish_accept_risk")),
    "pptp": ({"publish_services": [{"name": "vpn", "protocol": "tcp", "port": 1723}]}, ("1723", "PPTP", "WireGuard")),
    "accepting the wrong one": ({"publish_services": [WEB], "publish_accept_risk": ["files"]}, ("files",)),
    "path": ({"publish_services": [{**WEB, "path": "pigeon"}]}, ("pigeon",)),
    "not a list": ({"publish_services": "web"}, ("publish_services",)),
    "nothing": ({"publish_services": []}, ("publish_services",)),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(lab: lablib.Lab, case: str) -> None:
    """Each by itself; whether anything changed is looked at once, afterwards, which is just as strict."""
    extra, words = CASES[case]
    run = refused(lab.playbook(PUBLISH, extra=extra), *words)
    assert set(run.changed.values()) == {0}, str(run)


def test_all_mistakes_at_once(lab: lablib.Lab) -> None:
    """One run shows every mistake."""
    services = [{**WEB, "port": 70000}, {"name": "files", "protocol": "sctp", "port": 445}]
    refused(lab.playbook(PUBLISH, extra={"publish_services": services}), "70000", "sctp")


def test_nothing_changed(unchanged: Any) -> None:
    """Nothing of all this left a trace."""
    unchanged()


def test_risk_accepted_by_name(lab: lablib.Lab) -> None:
    """Whoever names the service may go on; check mode is enough to see it."""
    run = lab.playbook(
        PUBLISH, "--check", extra={"publish_services": [{"name": "files", "protocol": "tcp", "port": 445}], "publish_accept_risk": ["files"]}
    )
    assert run.returncode == 0, str(run)


def test_unreadable_ssh_key(lab: lablib.Lab, tmp_path: Any, unchanged: Any) -> None:
    """A key file that is none is said by name."""
    key = tmp_path / "key"
    key.write_text("not a key\n")
    key.chmod(0o600)
    lab.forget_connections()
    # Given first, it is the first that SSH tries; alone, it must not get in.
    common = lab.vars["ansible_ssh_common_args"]
    connection = {"ansible_ssh_common_args": f"-o IdentityFile=none {common}", "ansible_ssh_private_key_file": str(key), "ansible_user": "nobody"}
    run = lab.playbook(PUBLISH, extra=connection)
    lab.forget_connections()
    assert run.returncode != 0, str(run)
    assert "UNREACHABLE" in run.output or "unreachable" in run.output, str(run)
    unchanged()


def test_two_hosts_behind_one_router(lab: lablib.Lab, unchanged: Any) -> None:
    """Two hosts of one run cannot have one external port."""
    inventory = lab.inventory()
    web = [{"name": "web", "protocol": "tcp", "port": 8080}]
    hosts = {"homeserver_hosts": "server:neighbour", "publish_services": web, "publish_vantages": [{"host": "internet"}], "publish_name": ""}
    assert "neighbour" in inventory["_meta"]["hostvars"]
    run = refused(lab.playbook(PUBLISH, extra=hosts), "8080", "server", "neighbour")
    assert set(run.changed.values()) == {0}, str(run)
    unchanged()


def test_two_outer_ports_to_one_of_the_host(lab: lablib.Lab, home: lablib.Home, unchanged: Any) -> None:
    """One service may be found under two ports; the host opens and answers its own once."""
    services = [{"name": name, "protocol": "tcp", "port": 443, "external_port": port} for name, port in (("web", 443), ("alt", 8443))]
    run = ok(lab.playbook(PUBLISH, extra={"publish_services": services}))
    assert "2 of 2" in run.output, str(run)
    assert set(home.from_outside(services).values()) == {"open"}
    ok(lab.playbook("homeserver.hardening.unpublish_server"))
    unchanged()
