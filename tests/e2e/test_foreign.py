# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to others: mappings on the wanted port, mappings that lie, a vantage that is not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import lablib
import manifest
import pytest
from conftest import PUBLISH, UNPUBLISH, ok, refused

pytestmark = pytest.mark.usefixtures("virgin", "fresh_after_failure")


@contextlib.contextmanager
def mapping(lab: lablib.Lab, host: str, description: str, port: int, external: int, protocol: str) -> Iterator[str]:
    """A mapping that a program on a host of the LAN makes; yields the host's address."""
    address = lab.sh(host, f"ip -4 route get {lab.vars['lab_router_lan_address']} | sed -n 's/.* src \\([^ ]*\\).*/\\1/p'").strip()
    lab.exec(host, "upnpc", "-e", description, "-a", address, str(port), str(external), protocol)
    try:
        yield address
    finally:
        lab.exec(host, "upnpc", "-d", str(external), protocol, check=False)


@pytest.mark.parametrize(("port", "external", "protocol"), [(3074, 8443, "tcp"), (51820, 51820, "udp")])
def test_neighbour_holds_the_port(lab: lablib.Lab, unchanged: Any, port: int, external: int, protocol: str) -> None:
    """Refused, naming whose it is and what it is called; nothing changed, the neighbour's mapping least of all."""
    with mapping(lab, "neighbour", "Game Box 3", port, external, protocol) as address:
        before = manifest.collect(lab)
        run = refused(lab.playbook(PUBLISH), address, "Game Box 3", str(external))
        assert set(run.changed.values()) == {0}, str(run)
        assert manifest.compare(before, manifest.collect(lab)) == []
    unchanged()


def test_neighbour_holds_another_protocol(lab: lablib.Lab, home: lablib.Home, unchanged: Any) -> None:
    """The same number with the other protocol is another port: both live side by side."""
    with mapping(lab, "neighbour", "Game Box 3", 3074, 8443, "udp"):
        before = manifest.collect(lab)
        ok(lab.playbook(PUBLISH))
        assert set(home.from_outside().values()) == {"open"}
        ok(lab.playbook(UNPUBLISH))
        assert manifest.compare(before, manifest.collect(lab)) == []
    unchanged()


def test_untagged_mapping_of_ours(lab: lablib.Lab, home: lablib.Home, unchanged: Any) -> None:
    """What another program mapped to this very service is reported, not touched, and taken over when told so."""
    with mapping(lab, "server", "my web server", 80, 80, "tcp"):
        before = manifest.collect(lab)
        run = refused(lab.playbook(PUBLISH), "my web server", "adopt", "80")
        assert set(run.changed.values()) == {0}, str(run)
        assert manifest.compare(before, manifest.collect(lab)) == []

        ok(lab.playbook(PUBLISH, extra={"publish_adopt": True}))
        assert set(home.from_outside().values()) == {"open"}
        leases = manifest.collect(lab)["router"]["leases"]
        assert "my web server" not in leases["tcp 80"], leases
        assert set(ok(lab.playbook(PUBLISH)).changed.values()) == {0}

        ok(lab.playbook(UNPUBLISH))
        # Back to what it was before: the other program's mapping is there again.
        assert manifest.compare(before, manifest.collect(lab)) == []
    unchanged()


def test_untagged_mapping_to_another_port_of_ours(lab: lablib.Lab, unchanged: Any) -> None:
    """A mapping of the wanted port that leads to another service of this host is not the one that is wanted."""
    with mapping(lab, "server", "old web server", 8081, 80, "tcp"):
        before = manifest.collect(lab)
        refused(lab.playbook(PUBLISH), "old web server", "80")
        assert manifest.compare(before, manifest.collect(lab)) == []
    unchanged()


def test_listed_but_not_forwarding(lab: lablib.Lab, home: lablib.Home, unchanged: Any) -> None:
    """A mapping that is in the router's list but has lost its rule is found by the proof, not believed."""
    ok(lab.playbook(PUBLISH))
    rules = lab.sh("router", "nft -a list table inet labrouter")
    handles = [line.rsplit("# handle ", 1)[1].strip() for line in rules.splitlines() if "dnat" in line and " 80 " in line.replace(":", " ") + " "]
    assert handles, rules
    chain = lab.sh("router", "nft -s list ruleset | sed -n 's/.*chain \\(prerouting_miniupnpd\\).*/\\1/p'").split()[0]
    for handle in handles:
        lab.sh("router", f"nft delete rule inet labrouter {chain} handle {handle}")
    assert "80" in lab.sh("neighbour", "upnpc -l")
    assert home.from_outside()["http"] != "open"

    run = refused(lab.playbook("homeserver.hardening.verify"), "2 of 3", "http")
    assert "https" in run.output
    run = lab.playbook(PUBLISH)
    # Either it is told, or it was repaired; believed it must not be.
    if run.returncode == 0:
        assert set(home.from_outside().values()) == {"open"}, str(run)
    else:
        assert "http" in run.output, str(run)
    ok(lab.playbook(UNPUBLISH))
    # The daemon, too, trips over the rule that is missing, and leaves the other half of the pair. That is the router's own affair.
    lab.sh("router", "systemctl restart nftables.service")
    unchanged()


def test_vantage_is_not_in_the_inventory(lab: lablib.Lab, unchanged: Any) -> None:
    """A name that nobody knows is said before anything happens."""
    refused(lab.playbook(PUBLISH, extra={"publish_vantages": [{"host": "moonbase"}]}), "moonbase")
    unchanged()


def test_vantage_cannot_be_reached(lab: lablib.Lab, unchanged: Any) -> None:
    """A vantage that does not answer is said before anything happens."""
    lab.forget_connections()
    # The socket's rules rather than the daemon: so that the manifest needs no excuse.
    rules = "table inet cut { chain in { type filter hook input priority -300; tcp dport 22 drop; }; }"
    lab.exec("internet", "nft", "-f", "-", stdin=rules)
    try:
        run = lab.playbook(PUBLISH)
    finally:
        lab.sh("internet", "nft delete table inet cut")
    assert run.returncode != 0, str(run)
    assert "the vantage internet cannot be reached" in " ".join(run.output.split()), str(run)
    assert run.changed.get("server", 0) == 0, str(run)
    unchanged()


def test_vantage_in_the_same_lan(lab: lablib.Lab, unchanged: Any) -> None:
    """A neighbour sees only the inside: it is no vantage."""
    refused(lab.playbook(PUBLISH, extra={"publish_vantages": [{"host": "neighbour"}]}), "neighbour", "same")
    unchanged()


def test_name_that_resolves_to_nothing(lab: lablib.Lab, unchanged: Any) -> None:
    """A zone that no authority knows is said before anything happens."""
    name = "home.no-such-zone.invalid"
    run = refused(lab.playbook(PUBLISH, extra={"publish_name": name, "ddns_name": name, "ddns_zone": "no-such-zone.invalid"}), "no-such-zone.invalid")
    assert set(run.changed.values()) == {0}, str(run)
    unchanged()


def test_wrong_key(lab: lablib.Lab, unchanged: Any) -> None:
    """A key that the authority does not accept is said before anything happens, and not shown."""
    run = refused(lab.playbook(PUBLISH, extra={"ddns_tsig_secret": "bm90IHRoZSBzZWNyZXQgYXQgYWxs"}))
    assert "TSIG" in run.output or "key" in run.output, str(run)
    assert "bm90IHRoZSBzZWNyZXQgYXQgYWxs" not in run.output
    assert set(run.changed.values()) == {0}, str(run)
    unchanged()


def test_key_that_is_no_key(lab: lablib.Lab, unchanged: Any) -> None:
    """A key that cannot be read is an error that does not print it."""
    run = refused(lab.playbook(PUBLISH, extra={"ddns_tsig_secret": "this is not base64!"}), "TSIG secret", "not Base64")
    assert set(run.changed.values()) == {0}, str(run)
    assert "this is not base64!" not in run.output
    unchanged()
