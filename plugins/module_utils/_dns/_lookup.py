# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers speak for a name, found with the host's resolver.

Private to this collection.

The resolver is asked for the zone above the name; below that, the zone's own servers say where the name belongs. A resolver remembers
for minutes that a name does not exist, so asking it for the name before that is published would delay the publication. That is done only
where nothing above the name can be asked.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ._name import DnsError, Name, is_below, name_to_text
from ._transport import DEFAULT_PORT, exchange, new_id
from ._wire import TYPE_A, TYPE_AAAA, TYPE_CNAME, TYPE_NS, TYPE_SOA, Message, Record, make_query

RESOLV_CONF = "/etc/resolv.conf"

_MAX_SERVERS = 16
_MAX_DESCENTS = 8


class LookupFailed(DnsError):
    """The zone or its servers could not be found."""


@dataclass(frozen=True)
class Server:
    """One address of a server that is said to speak for a zone."""

    name: Name | None
    address: str
    port: int = DEFAULT_PORT


@dataclass(frozen=True)
class Delegation:
    """A zone and its servers."""

    zone: Name
    servers: tuple[Server, ...]


class Resolver:
    """The resolvers that this host uses; they are asked in order."""

    def __init__(self, addresses: Sequence[str], timeout: float = 3.0, attempts: int = 2, source: str = "") -> None:
        if not addresses:
            raise LookupFailed(f"no resolver is known{source and ' from ' + source}; name one with the option 'resolver'", "name")
        self.addresses = tuple(check_address(address, "resolver") for address in addresses)
        self.timeout = timeout
        self.attempts = attempts
        self.source = source

    @classmethod
    def from_system(cls, timeout: float = 3.0, attempts: int = 2, path: str = RESOLV_CONF) -> Resolver:
        """Read the resolvers from C(/etc/resolv.conf)."""
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                text = stream.read(65536)
        except OSError as error:
            raise LookupFailed(f"{path} cannot be read ({error.strerror}); name a resolver with the option 'resolver'", "error") from error
        return cls(nameservers(text) or ["127.0.0.1"], timeout, attempts, path)

    def query(self, name: Name, rtype: int) -> Message:
        """Return the first answer that says something: the records, or that there are none."""
        reasons = []
        for address in self.addresses:
            try:
                answer = exchange(address, make_query(new_id(), name, rtype, recursive=True), timeout=self.timeout, attempts=self.attempts)
            except DnsError as error:
                reasons.append(str(error))
                continue
            if answer.rcode in (0, 3):
                return answer
            reasons.append(f"{address} answered {answer.rcode_name}")
        origin = f" (from {self.source})" if self.source else ""
        raise LookupFailed(f"no resolver{origin} gave an answer about {name_to_text(name)}: {'; '.join(reasons)}", "timeout")


def nameservers(text: str) -> list[str]:
    """Return the C(nameserver) addresses of a C(resolv.conf), at most three, as the C library does."""
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) >= 2 and words[0] == "nameserver":
            with contextlib.suppress(DnsError):
                found.append(check_address(words[1], "nameserver"))
    return found[:3]


def check_address(text: str, what: str) -> str:
    """Return an address in its usual form; a zone id (fe80::1%eth0) is allowed."""
    base, percent, zone = text.partition("%")
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            return f"{socket.inet_ntop(family, socket.inet_pton(family, base))}{percent}{zone}"
    raise LookupFailed(f"{what} {text[:80]!r} is not an IP address; give an address, not a name", "name")


def find_delegation(name: Name, zone: Name | None, resolver: Resolver) -> Delegation:
    """Return the zone that a name belongs to, and that zone's servers."""
    if zone is not None:
        if not is_below(name, zone):
            raise LookupFailed(f"{name_to_text(name)} does not lie in the zone {name_to_text(zone)}", "name")
        return Delegation(zone, servers_of(zone, resolver))
    if not name:
        raise LookupFailed("the root itself is not looked up; give the name of a host", "name")
    found = Delegation(start := _zone_above(name, resolver), servers_of(start, resolver))
    for _unused in range(_MAX_DESCENTS):
        deeper = _descend(name, found, resolver)
        if deeper is None:
            return found
        found = deeper
    raise LookupFailed(f"the way from {name_to_text(start)} down to {name_to_text(name)} has no end; give the zone", "error")


def servers_of(zone: Name, resolver: Resolver) -> tuple[Server, ...]:
    """Return every address of every server of a zone."""
    answer = resolver.query(zone, TYPE_NS)
    names = [record.target() for record in answer.answers if record.rtype == TYPE_NS and record.name == zone]
    if not names:
        raise LookupFailed(
            f"{name_to_text(zone)} is not a zone: the resolver knows no name servers of it ({answer.rcode_name}); correct the zone, or leave it out", "name"
        )
    return addresses_of(names, answer.additionals, resolver)


def addresses_of(names: Iterable[Name], known: Sequence[Record], resolver: Resolver) -> tuple[Server, ...]:
    """Return the addresses of servers; what the resolver does not know is taken from the records that came along."""
    # Resolvers rotate what they list; people compare two runs.
    ordered = sorted(set(names))[:_MAX_SERVERS]
    jobs = [(name, rtype) for name in ordered for rtype in (TYPE_A, TYPE_AAAA)]
    with ThreadPoolExecutor(max_workers=min(len(jobs), 16)) as pool:
        results = list(pool.map(lambda job: _addresses(job[0], job[1], resolver), jobs))
    servers: list[Server] = []
    for name in ordered:
        values = [value for job, found in zip(jobs, results) if job[0] == name for value in found]
        if not values:
            values = [record.value for record in known if record.name == name and record.rtype in (TYPE_A, TYPE_AAAA)]
        servers.extend(Server(name, value) for value in sorted(set(values), key=lambda text: (":" in text, text)))
    if not servers:
        raise LookupFailed(f"none of the name servers {', '.join(name_to_text(name) for name in ordered)} has an address", "error")
    return tuple(servers)


def _addresses(name: Name, rtype: int, resolver: Resolver) -> list[str]:
    try:
        answer = resolver.query(name, rtype)
    except DnsError:
        return []
    return [record.value for record in answer.answers if record.rtype == rtype]


def _zone_above(name: Name, resolver: Resolver) -> Name:
    """Return the zone of the name above, or of the name itself where nothing above it can be asked."""
    problem: LookupFailed | None = None
    for start in (name[1:], name):
        candidate = start
        while True:
            try:
                answer = resolver.query(candidate, TYPE_SOA)
            except LookupFailed as error:
                problem = problem or error
                break
            owners = [record.name for record in (*answer.answers, *answer.authorities) if record.rtype == TYPE_SOA]
            aliased = any(record.rtype == TYPE_CNAME and record.name == candidate for record in answer.answers)
            for owner in owners:
                if is_below(candidate, owner) and not aliased and owner:
                    return owner
            if not candidate:
                break
            candidate = candidate[1:]
    if problem is not None:
        raise problem
    raise LookupFailed(f"the resolver knows no zone that {name_to_text(name)} belongs to; give the zone, or the addresses of its servers", "name")


def _descend(name: Name, found: Delegation, resolver: Resolver) -> Delegation | None:
    """Ask the zone's servers whether the name lies in a zone further down."""
    problems = []
    for server in found.servers:
        try:
            answer = exchange(server.address, make_query(new_id(), name, TYPE_SOA), timeout=resolver.timeout, attempts=resolver.attempts)
        except DnsError as error:
            problems.append(str(error))
            continue
        if answer.authoritative:
            records = (*answer.answers, *answer.authorities)
            deeper = [record.name for record in records if record.rtype == TYPE_SOA and _between(record.name, name, found.zone)]
            return Delegation(deeper[0], servers_of(deeper[0], resolver)) if deeper else None
        below = [record for record in answer.authorities if record.rtype == TYPE_NS and _between(record.name, name, found.zone)]
        if below:
            return Delegation(below[0].name, addresses_of([record.target() for record in below], answer.additionals, resolver))
        problems.append(f"{server.address} answered {answer.rcode_name}, not as an authority")
    raise LookupFailed(f"no server of {name_to_text(found.zone)} says where {name_to_text(name)} belongs: {'; '.join(problems)}; give the zone", "timeout")


def _between(owner: Name, name: Name, zone: Name) -> bool:
    return is_below(name, owner) and is_below(owner, zone) and owner != zone
