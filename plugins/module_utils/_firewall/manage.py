# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to a plan, and from the plan to the host. The plan is computed once; check mode, diff and apply share it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._ownership import host_id
from .._plan import Plan, added_removed, compare
from .._session import Session, current
from .boot import DIRECTORY, UNIT_DIRECTORY, rules_header, unit_links, unit_text
from .conflicts import REFUSE, Conflict, find_conflicts
from .foreign import needs_text, read_foreign
from .policy import DENY, Access, Policy, PolicyError, build_table, can_drop, parse_policy
from .ruleset import FAMILY, TABLE, Network, Table, read_table, script
from .system import FileState, Nft, Systemd, interfaces, lan_networks, read_file, remove_file, surroundings, write_file

RULES_FILE = f"{DIRECTORY}/firewall.nft"
UNIT = "homeserver-firewall.service"
UNIT_FILE = f"{UNIT_DIRECTORY}/{UNIT}"
LINKS = unit_links(UNIT)
#: Everything on disk that a change of the firewall may touch, for a guard to keep.
FILES = (RULES_FILE, UNIT_FILE, *LINKS)

_DESCRIPTION = "Packet filter rules of homeserver.hardening (table inet homeserver)"


@dataclass(frozen=True)
class Request:
    """What the user asks for; C(management) None means the default: this connection's port, from home and from where it comes."""

    present: bool = True
    inbound: str = "keep"
    services: Sequence[Mapping[str, Any]] = ()
    management: Sequence[Mapping[str, Any]] | None = None
    persist: bool = True
    lockout_check: bool = True


@dataclass
class Outcome:
    """What there is to do and to know."""

    plan: Plan = field(default_factory=Plan)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    management: list[dict[str, Any]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    guard_needed: bool = False
    guard_reason: str = ""
    connection: dict[str, Any] | None = None
    table: Table | None = None
    files: dict[str, FileState | None] = field(default_factory=lambda: dict.fromkeys(FILES))

    @property
    def refused(self) -> list[Conflict]:
        """Return the conflicts that make the request untrue."""
        return [conflict for conflict in self.conflicts if conflict.severity == REFUSE]

    def as_data(self) -> dict[str, Any]:
        """Return what the module returns besides changed and diff."""
        return {
            "plan": self.plan.as_data(),
            "rules": {"added": self.added, "removed": self.removed},
            "backend": "nftables",
            "conflicts": [conflict.as_data() for conflict in self.conflicts],
            "management": self.management,
            "addresses": self.addresses,
            "guard": {"needed": self.guard_needed, "reason": self.guard_reason},
            "connection": self.connection,
        }


class Firewall:
    """The firewall of the host this runs on."""

    def __init__(self) -> None:
        self.nft = Nft()
        self.systemd = Systemd()
        self.session = current()

    def prepare(self, request: Request) -> Outcome:
        """Read the host and return what the request means for it. Nothing is changed, not for a second."""
        outcome = Outcome(connection=_connection(self.session))
        policy = parse_policy(request.inbound, request.services, request.management or ()) if request.present else None
        listing = self.nft.ruleset()
        before = read_table(listing)
        if policy is not None:
            links = interfaces()
            around = surroundings(links)
            outcome.addresses = list(around.addresses)
            if policy.inbound == DENY:
                if request.management is None:
                    policy = Policy(policy.inbound, policy.services, _default_management(lan_networks(links), self.session))
                elif request.lockout_check:
                    refuse_lockout(policy, self.session)
            outcome.management = [_access_data(access) for access in policy.management]
            foreign = read_foreign(listing, self.nft.text() if needs_text(listing) else "")
            outcome.conflicts = find_conflicts(policy, foreign, around)
            outcome.table = build_table(policy, host_id())
            self.nft.check(script(outcome.table))
        self._plan(outcome, before, policy is not None and request.persist)
        return outcome

    def _plan(self, outcome: Outcome, before: Table | None, persist: bool) -> None:
        plan, after = outcome.plan, outcome.table
        files = outcome.files
        if persist and after is not None:
            files[RULES_FILE] = FileState(rules_header(UNIT) + script(after), 0o600)
            files[UNIT_FILE] = FileState(unit_text(_DESCRIPTION, self.nft.path, RULES_FILE))
            for link in LINKS:
                files[link] = FileState(link=UNIT_FILE)
        if not persist and self.systemd.is_active(UNIT):
            plan.add(compare("unit", UNIT, "active", "inactive"))
        directories = dict.fromkeys(os.path.dirname(path) for path in files)
        if persist:
            for directory in directories:
                if not os.path.isdir(directory):
                    plan.add(compare("directory", directory, None, {"mode": "0755"}))
        for path, wanted in files.items():
            found = read_file(path)
            kind = "link" if (found or wanted or FileState()).link else "file"
            if found != wanted:
                plan.add(compare(kind, path, None if found is None else found.text(), None if wanted is None else wanted.text()))
        if persist and read_file(UNIT_FILE) == files[UNIT_FILE] and self.systemd.is_stale(UNIT):
            plan.add(compare("systemd", UNIT, "an older file", "the file on disk", "a run that died did not tell systemd"))
        if not persist:
            for directory in directories:
                if _only_ours(directory):
                    plan.add(compare("directory", directory, {"mode": "0755"}, None, "nothing else is in it"))
        outcome.added, outcome.removed = added_removed(before.lines() if before else [], after.lines() if after else [])
        if before != after:
            reason = "only their order differs" if before and after and not outcome.added and not outcome.removed else ""
            plan.add(compare("nft_table", f"{FAMILY} {TABLE}", _table_text(before), _table_text(after), reason))
        if persist and self.systemd.booted and not self.systemd.is_active(UNIT):
            plan.add(compare("unit", UNIT, "inactive", "active"))
        outcome.guard_needed, outcome.guard_reason = _guard(before, after, self.session)

    def apply(self, outcome: Outcome) -> None:
        """Execute the plan, in its order: what a boot would load comes before the kernel's own rules."""
        reload_needed = False
        for change in outcome.plan.changes:
            if change.kind == "directory":
                if change.after is None:
                    os.rmdir(change.name)
                else:
                    os.makedirs(change.name, 0o755, exist_ok=True)
            elif change.kind in ("file", "link"):
                reload_needed = reload_needed or change.name != RULES_FILE
                wanted = outcome.files[change.name]
                if wanted is None:
                    remove_file(change.name)
                else:
                    write_file(change.name, wanted)
            elif change.kind == "systemd":
                reload_needed = True
            elif change.kind == "nft_table":
                if reload_needed:
                    self.systemd.call("daemon-reload")
                    reload_needed = False
                self.nft.load(script(outcome.table))
            elif change.kind == "unit":
                if reload_needed and change.after == "active":
                    self.systemd.call("daemon-reload")
                    reload_needed = False
                self.systemd.call("start" if change.after == "active" else "stop", UNIT)
        if reload_needed:
            self.systemd.call("daemon-reload")


def _only_ours(directory: str) -> bool:
    """Return whether a directory will be empty once our files are gone; one that systemd owns stays."""
    if directory == UNIT_DIRECTORY or not os.path.isdir(directory):
        return False
    return all(os.path.join(directory, name) in FILES for name in os.listdir(directory)) and directory != os.path.dirname(LINKS[0])


def _table_text(table: Table | None) -> str | None:
    if table is None:
        return None
    return table.body() + "".join(f"{line}\n" for line in table.extra)


def _guard(before: Table | None, after: Table | None, session: Session | None) -> tuple[bool, str]:
    """Return whether the change could cut the way by which the host is managed, and why."""
    if before == after:
        return False, "the rules do not change"
    if after is None:
        return False, "taking the rules away only opens"
    port = session.port if session else None
    if can_drop(after, "tcp", port):
        return True, "the new rules can drop packets of a new SSH connection"
    return False, "the new rules drop nothing that is addressed to SSH" if port else "the new rules drop nothing"


def _connection(session: Session | None) -> dict[str, Any] | None:
    return None if session is None else {"client": session.client, "port": session.port}


def _default_management(networks: list[Network], session: Session | None) -> tuple[Access, ...]:
    sources: list[Network] = list(networks)
    if session is not None:
        client = ipaddress.ip_address(session.client)
        if not any(client in network for network in sources if network.version == client.version):
            sources.append(ipaddress.ip_network(session.client))
    if not sources:
        raise PolicyError(
            "inbound deny would leave nobody who may manage this host: no interface towards a router carries a private address, and this is no SSH "
            "connection; name the networks in management"
        )
    families = tuple(family for family, version in (("ipv4", 4), ("ipv6", 6)) if any(network.version == version for network in sources))
    return (Access("ssh", "tcp", session.port if session else 22, families, tuple(sources)),)


def refuse_lockout(policy: Policy, session: Session | None) -> None:
    """Refuse a policy that would not let this very connection in again."""
    if session is None:
        return
    client = ipaddress.ip_address(session.client)
    family = f"ipv{client.version}"
    for access in (*policy.management, *policy.services):
        admits = access.sources is None or any(client in network for network in access.sources if network.version == client.version)
        if admits and access.protocol == "tcp" and access.port == session.port and family in access.families:
            return
    raise PolicyError(
        f"this SSH connection comes from {session.client} to port {session.port}, which neither management nor a service admits, so inbound deny would lock "
        f"you out; add the source to management (for example {ipaddress.ip_network(session.client)}), or leave management out for the default"
    )


def _access_data(access: Access) -> dict[str, Any]:
    return {
        "name": access.name,
        "protocol": access.protocol,
        "port": access.port,
        "families": list(access.families),
        "sources": None if access.sources is None else [str(network) for network in access.sources],
    }
