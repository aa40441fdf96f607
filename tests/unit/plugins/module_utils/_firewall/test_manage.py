# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to a plan: nft, systemd and the host are stand-ins that remember."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._firewall import manage, system
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.manage import Firewall, Request, refuse_lockout
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.policy import PolicyError, build_table, parse_policy
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.ruleset import Table
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.system import (
    FileState,
    Interface,
    lan_networks,
    read_file,
    remove_file,
    write_file,
)
from ansible_collections.homeserver.hardening.plugins.module_utils._session import Session

HOST = "01234567"
WEB = [{"name": "web", "port": 80}]
HOME = Interface("lan0", (ipaddress.ip_interface("192.168.10.20/24"), ipaddress.ip_interface("fe80::1/64")), True)
SESSION = Session("192.168.10.2", 40000, 22, 1.0)


class FakeNft:
    """Holds our table as nft would; what is loaded is listed."""

    path = "/usr/sbin/nft"

    def __init__(self) -> None:
        self.table: Table | None = None
        self.loaded: list[str] = []
        self.foreign: list[dict[str, Any]] = []

    def ruleset(self) -> dict[str, Any]:
        return {"nftables": self.foreign}

    def text(self) -> str:
        return ""

    def check(self, script: str) -> None:
        assert script.startswith("add table")

    def load(self, script: str) -> None:
        self.loaded.append(script)


class FakeSystemd:
    """Remembers what it was told."""

    booted = True
    stale = False

    def __init__(self) -> None:
        self.active = False
        self.calls: list[tuple[str, ...]] = []

    def is_active(self, unit: str) -> bool:
        return self.active

    def is_stale(self, unit: str) -> bool:
        return self.stale

    def call(self, *arguments: str) -> None:
        self.stale = self.stale and arguments != ("daemon-reload",)
        self.calls.append(arguments)
        if arguments[0] in ("start", "stop"):
            self.active = arguments[0] == "start"


@pytest.fixture
def firewall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Firewall:
    """A firewall whose files are below a directory of the test."""
    units = tmp_path / "systemd"
    (units / "sysinit.target.wants").mkdir(parents=True)
    files = tuple(str(tmp_path / path.replace("/etc/systemd/system", "systemd").lstrip("/")) for path in manage.FILES)
    for name, value in (("RULES_FILE", files[0]), ("UNIT_FILE", files[1]), ("LINKS", files[2:]), ("FILES", files), ("UNIT_DIRECTORY", str(units))):
        monkeypatch.setattr(manage, name, value)
    monkeypatch.setattr(manage, "host_id", lambda: HOST)
    monkeypatch.setattr(manage, "interfaces", lambda: [HOME])
    monkeypatch.setattr(manage, "current", lambda: SESSION)
    monkeypatch.setattr(manage, "Nft", FakeNft)
    monkeypatch.setattr(manage, "Systemd", FakeSystemd)
    made = Firewall()
    monkeypatch.setattr(manage, "read_table", lambda _listing: made.nft.table)
    load = made.nft.load

    def remember(script: str) -> None:
        load(script)
        made.nft.table = last[-1].table

    last: list[Any] = []
    prepare = made.prepare
    monkeypatch.setattr(made, "prepare", lambda request: last.append(prepare(request)) or last[-1])
    monkeypatch.setattr(made.nft, "load", remember)
    return made


def _kinds(outcome: Any) -> list[tuple[str, str]]:
    return [(change.action, change.kind) for change in outcome.plan.changes]


def test_the_four_calls(firewall: Firewall) -> None:
    request = Request(services=WEB)
    first = firewall.prepare(request)
    assert _kinds(first) == [("create", kind) for kind in ("directory", "directory", "file", "file", "link", "link", "nft_table")] + [("update", "unit")]
    assert not Path(manage.RULES_FILE).exists() and firewall.nft.loaded == []
    firewall.apply(first)
    assert firewall.nft.loaded and "tcp dport 80" in Path(manage.RULES_FILE).read_text()
    assert Path(manage.RULES_FILE).stat().st_mode & 0o777 == 0o600
    assert firewall.systemd.calls == [("daemon-reload",), ("start", manage.UNIT)]
    again = firewall.prepare(request)
    assert not again.plan.changed and again.added == again.removed == []
    gone = firewall.prepare(Request(present=False))
    firewall.apply(gone)
    assert not Path(manage.RULES_FILE).parent.exists() and not any(Path(path).exists() for path in manage.FILES)
    assert not firewall.prepare(Request(present=False)).plan.changed


def test_what_boot_loads_is_written_before_the_rules_change(firewall: Firewall) -> None:
    kinds = [kind for _action, kind in _kinds(firewall.prepare(Request(services=WEB)))]
    assert kinds.index("file") < kinds.index("nft_table")


def test_a_directory_with_other_files_stays(firewall: Firewall) -> None:
    firewall.apply(firewall.prepare(Request(services=WEB)))
    other = Path(manage.RULES_FILE).parent / "ddns.json"
    other.write_text("{}")
    firewall.apply(firewall.prepare(Request(present=False)))
    assert other.exists()


def test_without_persistence_nothing_is_written(firewall: Firewall) -> None:
    assert _kinds(firewall.prepare(Request(services=WEB, persist=False))) == [("create", "nft_table")]


def test_a_changed_file_is_repaired_without_touching_the_rules(firewall: Firewall) -> None:
    firewall.apply(firewall.prepare(Request(services=WEB)))
    Path(manage.RULES_FILE).write_text("flush ruleset\n")
    assert _kinds(firewall.prepare(Request(services=WEB))) == [("update", "file")]


def test_systemd_is_told_of_what_a_dead_run_wrote(firewall: Firewall) -> None:
    firewall.apply(firewall.prepare(Request(services=WEB)))
    firewall.systemd.stale = True
    outcome = firewall.prepare(Request(services=WEB))
    assert _kinds(outcome) == [("update", "systemd")]
    firewall.apply(outcome)
    assert not firewall.prepare(Request(services=WEB)).plan.changed


@pytest.mark.parametrize(
    ("request_", "needed", "reason"),
    [
        (Request(services=WEB), False, "the new rules drop nothing that is addressed to SSH"),
        (Request(services=[{"name": "files", "port": 445, "allow_from": ["192.0.2.0/24"]}]), False, "the new rules drop nothing that is addressed to SSH"),
        (Request(services=[{"name": "ssh", "port": 22, "allow_from": ["192.0.2.0/24"]}]), True, "the new rules can drop packets of a new SSH connection"),
        (Request(inbound="deny"), True, "the new rules can drop packets of a new SSH connection"),
        (Request(present=False), False, "the rules do not change"),
    ],
)
def test_when_a_guard_is_needed(firewall: Firewall, request_: Request, needed: bool, reason: str) -> None:
    outcome = firewall.prepare(request_)
    assert (outcome.guard_needed, outcome.guard_reason) == (needed, reason)


def test_without_ssh_any_drop_needs_a_guard(firewall: Firewall) -> None:
    firewall.session = None
    assert firewall.prepare(Request(services=[{"name": "files", "port": 445, "allow_from": ["192.0.2.0/24"]}])).guard_needed
    assert not firewall.prepare(Request(services=WEB)).guard_needed


def test_opening_needs_no_guard(firewall: Firewall) -> None:
    firewall.apply(firewall.prepare(Request(inbound="deny")))
    assert not firewall.prepare(Request(services=WEB)).guard_needed
    assert not firewall.prepare(Request(present=False)).guard_needed


def test_the_default_management_is_home_and_this_connection(firewall: Firewall) -> None:
    assert firewall.prepare(Request(inbound="deny")).management == [
        {"name": "ssh", "protocol": "tcp", "port": 22, "families": ["ipv4", "ipv6"], "sources": ["192.168.10.0/24", "fe80::/10"]}
    ]
    firewall.session = Session("203.0.113.9", 40000, 2222)
    entry = firewall.prepare(Request(inbound="deny")).management[0]
    assert (entry["port"], entry["sources"]) == (2222, ["192.168.10.0/24", "fe80::/10", "203.0.113.9/32"])


def test_deny_without_anybody_to_manage_is_refused(firewall: Firewall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manage, "interfaces", list)
    firewall.session = None
    with pytest.raises(PolicyError, match="would leave nobody who may manage this host"):
        firewall.prepare(Request(inbound="deny"))


def test_a_conflict_refuses_before_anything_changes(firewall: Firewall) -> None:
    firewall.nft.foreign = [{"chain": {"family": "inet", "table": "x", "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}]
    outcome = firewall.prepare(Request(services=WEB))
    assert [conflict.source for conflict in outcome.refused] == ["nftables table inet x"]
    assert json.dumps(outcome.as_data())


LOCKOUT = [
    ([{"name": "ssh", "port": 22, "sources": ["192.168.10.0/24"]}], [], SESSION, True),
    ([{"name": "ssh", "port": 2222, "sources": ["192.168.10.0/24"]}], [], SESSION, False),
    ([{"name": "ssh", "port": 22, "sources": ["192.168.11.0/24"]}], [], SESSION, False),
    ([{"name": "ssh", "port": 22, "protocol": "udp", "sources": ["192.168.10.0/24"]}], [], SESSION, False),
    ([], [{"name": "ssh", "port": 22}], SESSION, True),
    ([], [{"name": "ssh", "port": 22, "families": ["ipv6"]}], SESSION, False),
    ([], [{"name": "ssh", "port": 22, "allow_from": ["192.168.10.2"]}], SESSION, True),
    ([{"name": "ssh", "port": 22, "sources": ["2001:db8::/64"]}], [], Session("2001:db8::7", 1, 22), True),
    ([{"name": "ssh", "port": 22, "sources": ["192.168.10.0/24"]}], [], Session("2001:db8::7", 1, 22), False),
    ([], [], None, True),
]


@pytest.mark.parametrize(("management", "services", "session", "allowed"), LOCKOUT)
def test_the_present_connection_must_come_in_again(management: list[Any], services: list[Any], session: Session | None, allowed: bool) -> None:
    policy = parse_policy("deny", services, management)
    if allowed:
        refuse_lockout(policy, session)
        return
    with pytest.raises(PolicyError, match="inbound deny would lock you out"):
        refuse_lockout(policy, session)


def _link(name: str, *addresses: str, route: bool = False, kind: str = "") -> Interface:
    return Interface(name, tuple(ipaddress.ip_interface(text) for text in addresses), route, kind)


NETWORKS = [
    ([_link("eth0", "192.168.10.20/24", "2001:db8:1::20/64", "fe80::1/64", route=True)], ["192.168.10.0/24", "2001:db8:1::/64", "fe80::/10"]),
    ([_link("eth0", "10.1.2.3/8", "fd00::1/64", route=True)], ["10.0.0.0/8", "fd00::/64", "fe80::/10"]),
    # A host that the provider numbers, with a LAN of its own: strangers share the first link, and its link-local addresses.
    ([_link("wan0", "198.51.100.7/24", "fe80::1/64", route=True), _link("lan0", "192.168.10.20/24", "fe80::2/64")], ["192.168.10.0/24"]),
    ([_link("wan0", "198.51.100.7/24", "2001:db8::7/64", route=True)], []),
    ([_link("wan0", "100.64.3.9/10", route=True)], []),
    # Containers and tunnels are no home, unless the router is behind them.
    (
        [_link("eth0", "192.168.10.20/24", route=True), _link("docker0", "172.17.0.1/16", kind="bridge"), _link("wg0", "10.8.0.1/24", kind="wireguard")],
        ["192.168.10.0/24", "fe80::/10"],
    ),
    ([_link("br0", "192.168.10.20/24", route=True, kind="bridge")], ["192.168.10.0/24", "fe80::/10"]),
    # A mask that nobody has at home.
    ([_link("eth0", "10.0.0.1/4", route=True)], []),
    ([], []),
]


@pytest.mark.parametrize(("links", "expected"), NETWORKS)
def test_networks_at_home(links: list[Interface], expected: list[str]) -> None:
    found = [str(network) for network in lan_networks(links)]
    assert found == (expected if found != ["fe80::/10"] else [])


def test_files_and_links(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    assert read_file(path) is None
    for state in (FileState("one\n", 0o600), FileState("two\n", 0o644), FileState(link="/nowhere"), FileState(link="/elsewhere"), FileState("three", 0o640)):
        write_file(path, state)
        assert read_file(path) == state
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    remove_file(path)
    remove_file(path)
    assert read_file(path) is None


def test_a_missing_tool_says_which_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "SEARCH_PATH", "/nonexistent")
    with pytest.raises(system.SystemProblem, match=r"nft is not installed on this host; install the package nftables \(on Debian: apt-get install nftables\)"):
        system.Nft()


def test_the_table_of_a_request_is_the_policys(firewall: Firewall) -> None:
    assert firewall.prepare(Request(services=WEB)).table == build_table(parse_policy("keep", WEB, []), HOST)
