# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NAT-PMP, PCP and what else lists nothing, behind the interface of all routers.

Private to this collection.

None of them can list mappings. What this host has mapped is what the state directory proves; of everything else the owner is unknown.
With IPv6 a mapping is a pinhole: a port of this host that the router's firewall lets in. Its external port is its port.
The record is written before the router is asked, so that what it did can be taken back even if its answer never came.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from . import _moment as moments
from . import _packets as packets
from ._errors import AnswerError, GatewayError, NoGatewayError, ProtocolError
from ._links import Link, Link6, socket_address
from ._model import IPV4, IPV6, MIN_LEASE, Capabilities, Entries, Entry, Gateway, GatewayInfo, Key, make_key
from ._moment import Moment
from ._packets import Answer, PacketError
from ._patience import WRITE, Patience
from ._records import Clock, Record, RecordKey, Records, Store, Table, clock_name

#: RFC 6887 has clients treat anything longer as a day.
_DAY = 86400
_MAX_DATAGRAMS = 200

Reader = Callable[[bytes, bytes], Answer]


def exchange(link: Link, address: str, request: bytes, read: Reader, timeout: float) -> Answer:
    """Ask the router, again and again until it answers or the time is over. What is no answer to this request is passed over."""
    where = f"{address} (UDP port {packets.PORT}, from {link.source} on {link.interface})"
    rubbish = ""
    start = time.monotonic()
    moments = packets.schedule(timeout)
    left = _MAX_DATAGRAMS
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as opened:
        try:
            opened.bind((link.source, 0))
            # Connected, so that nobody else is heard and a closed port is noticed.
            opened.connect(socket_address(address, packets.PORT))
            while True:
                now = time.monotonic() - start
                if now >= timeout or left <= 0:
                    break
                if moments and now >= moments[0]:
                    moments.pop(0)
                    opened.send(request)
                opened.settimeout(max(0.001, (moments[0] if moments else timeout) - now))
                try:
                    data = opened.recv(2048)
                except socket.timeout:
                    continue
                left -= 1
                try:
                    return read(request, data)
                except PacketError as error:
                    rubbish = f"; what came was {error}"
        except ConnectionRefusedError as error:
            raise NoGatewayError(f"{where} is closed: it speaks neither NAT-PMP nor PCP, or they are switched off") from error
        except OSError as error:
            raise NoGatewayError(f"{where} cannot be asked: {error.strerror or error}") from error
    if left <= 0:
        raise NoGatewayError(f"{where} sent {_MAX_DATAGRAMS} datagrams, and none of them answers what was asked{rubbish}")
    raise NoGatewayError(f"{where} did not answer within {timeout:.2g} s{rubbish}")


class RecordedGateway(Gateway):
    """What both protocols share.

    Args:
        link: the network that the router is in.
        address: the router's address in it.
        store: where mappings of this host are recorded.
        timeout: for how many seconds to wait for an answer.
        other_port: whether another external port than the one asked for is welcome.
    """

    method = ""

    def __init__(self, link: Link, address: str, store: Store, timeout: float, other_port: bool = False) -> None:
        self._link = link
        self.family = IPV6 if isinstance(link, Link6) else IPV4
        self._address = address
        self._store = store
        self._timeout = timeout
        self._patience = Patience(timeout)
        self._other_port = other_port
        self._wan_address: str | None = None
        self._accepts: Callable[[str], bool] | None = None
        self._epoch = 0
        #: When the epoch was read.
        self._read_at = Moment(0.0)
        self._restarted = False
        self._confirmed: set[Key] = set()
        #: What is recorded as wanted and has not been asked for yet.
        self._intended: set[RecordKey] = set()
        self._notes: list[str] = []
        self._open()

    def wait_for(self, timeout: float, patience: Patience) -> None:
        """Wait so long for answers from now on."""
        self._timeout = timeout
        self._patience = patience

    def renew_patience(self, seconds: float | None = None) -> None:
        self._patience.renew(seconds)

    def describe(self) -> GatewayInfo:
        return GatewayInfo(self._address, self.method, "", "", "", self._link.interface, self._link.source, self._wan_address, "", self._epoch)

    def capabilities(self) -> Capabilities:
        return Capabilities(lists=False, tells_owner=False, keeps_port=False, max_lease=_DAY)

    def external_address(self) -> str | None:
        return self._wan_address

    def require_global(self, accepts: Callable[[str], bool]) -> None:
        self._accepts = accepts

    @contextlib.contextmanager
    def recording(self, entries: Sequence[Entry]) -> Iterator[None]:
        fresh = [self._fresh(entry) for entry in entries if self._recorded(entry) is None]

        def intend(table: Table, _clocks: dict[str, Clock]) -> None:
            table.update({record.key: record for record in fresh})

        # If it cannot be written, each of them says so when it is asked for.
        with contextlib.suppress(GatewayError):
            if fresh and self._store.usable():
                self._store.update(intend)
                self._intended = {record.key for record in fresh}
        with self._store.batch():
            try:
                yield
            finally:
                for record in fresh:
                    if record.key in self._intended:
                        self._forget(record)
                self._intended = set()

    def requested_port(self, protocol: str, external_port: int, family: str = IPV4) -> int:
        record = self._record(protocol, external_port)
        return external_port if record is None else record.requested

    def notes(self) -> Sequence[str]:
        notes, self._notes = self._notes, []
        return notes

    def list(self) -> Entries:
        return [entry_of(record) for record in self._records()]

    def find(self, protocol: str, external_port: int, family: str = IPV4) -> Entry | None:
        record = self._record(protocol, external_port)
        return None if record is None else entry_of(record)

    def add(self, entry: Entry) -> Entry:
        self._store.require_usable()
        kept = self._abandoned(entry)
        if kept is not None:
            # Put back after something else failed: the router never let go of it.
            kept = replace(kept, abandoned=False)
            self._save(kept)
            return entry_of(kept)
        if not self._here(entry.internal_client):
            raise GatewayError(f"{_name(entry)} can be mapped to this host ({self._link.source}) only, not to {entry.internal_client}")
        others = self._others(entry)
        if others:
            raise GatewayError(
                f"{_name(entry)} cannot be mapped: {self.method} gives a port of this host one external port only, and {entry.internal_port} has"
                f" {others[0].external_port} already ({others[0].description})"
            )
        before = self._recorded(entry)
        record = before or self._fresh(entry)
        if _inside(record) != _inside(entry):
            raise GatewayError(f"{_name(entry)} leads to port {record.internal_port} since the router was read")
        if record.key in self._intended:
            self._intended.discard(record.key)
            before = None
        else:
            self._save(record)
            if before is None:
                # Before the router is asked.
                self._store.flush()
        if before is not None:
            self._clear(record)
        answer = self._map(record, entry.lease or _DAY)
        if answer.result:
            if before is None:
                self._forget(record)
            raise self._refusal(f"the mapping of {_name(entry)}", answer)
        granted = replace(
            record,
            external_port=answer.external_port,
            unsure=False,
            abandoned=False,
            unique_id=answer.unique_id,
            description=entry.description,
            **self._end(answer.lifetime),
        )
        problem = self._problem(entry, answer)
        if problem:
            if before is None or granted.key != record.key:
                self._give_back(record, granted)
            raise AnswerError(problem) if not answer.lifetime or not answer.external_port else GatewayError(problem)
        self._save(granted, instead_of=record)
        return entry_of(granted)

    def delete(self, entry: Entry) -> None:
        self._store.require_usable()
        record = self._recorded(entry)
        if record is None:
            raise GatewayError(f"{_name(entry)} is not recorded as this host's, so its owner is unknown; it was left alone")
        if self.family == IPV6 and record.internal_client != self._link.source:
            self._abandon(entry, record)
            return
        if record.internal_client != self._link.source:
            raise GatewayError(
                f"the router does not let this host ({self._link.source}) remove {_name(entry)} to {record.internal_client}, an address that it had earlier:"
                f" wait until its lease ends in {max(1, int(record.left(moments.now())))} s, or give this host its old address for a moment"
            )
        self._remove(entry, record)

    def _remove(self, entry: Entry, record: Record) -> None:
        answer = self._map(record, 0)
        if answer.result == packets.NO_RESOURCES and self.method == "pcp":
            # So says miniupnpd of what it does not have. Made anew for a moment, it can be removed for certain.
            again = self._map(record, MIN_LEASE)
            if again.result == packets.CANNOT_PROVIDE_EXTERNAL:
                # Somebody else has the port by now.
                self._forget(record)
                return
            if not again.result:
                answer = self._map(replace(record, external_port=again.external_port), 0)
        if answer.result:
            raise self._refusal(f"the removal of {_name(entry)}", answer)
        if answer.lifetime:
            raise AnswerError(f"the router was asked to remove {_name(entry)}, but says that it keeps it for {answer.lifetime} s")
        self._forget(record)

    def _abandon(self, entry: Entry, record: Record) -> None:
        """Remove a pinhole to an address that this host had earlier. It takes no port from anybody, so if it stays, nothing else fails."""
        timeout, self._timeout = self._timeout, min(self._timeout, WRITE)
        try:
            self._remove(entry, record)
        except GatewayError as error:
            # A router that does not answer the old address shall have time for the new one.
            self._patience.renew(WRITE)
            self._save(replace(record, abandoned=True))
            self._notes.append(
                f"{_name(entry)} stays open to {record.internal_client}, an address that this host had earlier, until its lease ends in"
                f" {max(1, int(record.left(moments.now())))} s: {error}"
            )
        finally:
            self._timeout = timeout

    def has_room(self, entry: Entry) -> bool:
        """Whether the port of this host is free for another external port."""
        return not self._others(entry)

    def confirm(self, shown: Entries) -> None:
        """Believe those records that are seen to be true, although their time seems to be over: then the clock of this host was wrong."""
        leads = {(entry.key, entry.internal_client, entry.internal_port) for entry in shown}
        for record in self._mine():
            key = _key(record)
            if (key, record.internal_client, record.internal_port) in leads:
                self._confirmed.add(key)

    def note_shown(self, entry: Entry) -> None:
        """Remember that the router shows a mapping by UPnP too."""
        record = self._recorded(entry)
        if record is not None and not record.shown:
            self._save(replace(record, shown=True))

    def missed(self, entry: Entry) -> bool:
        """Whether a mapping must be gone, since UPnP does not show it."""
        record = self._recorded(entry)
        return record is not None and record.shown

    def forget(self, entry: Entry) -> None:
        """Take the record of a mapping away, because it is known to be gone."""
        record = self._recorded(entry)
        if record is not None:
            self._forget(record)

    def _others(self, entry: Entry) -> Records:
        """Return what leads to the same port of this host from another one; what is only wanted as yet may still be made another way."""
        return [
            record
            for record in self._records()
            if _inside(record) == _inside(entry) and record.external_port != entry.external_port and record.key not in self._intended
        ]

    def _fresh(self, entry: Entry) -> Record:
        return Record(
            method=self.method,
            gateway=self._address,
            protocol=entry.protocol,
            external_port=entry.external_port,
            requested=entry.external_port,
            internal_client=entry.internal_client,
            internal_port=entry.internal_port,
            description=entry.description,
            nonce=self._nonce(entry),
            unsure=True,
            family=self.family,
            **self._end(entry.lease or _DAY),
        )

    def _clear(self, record: Record) -> None:
        """Do what a router needs before a mapping of ours can be renewed."""

    def _map(self, record: Record, lifetime: int) -> Answer:
        try:
            return self._ask_map(record, lifetime)
        except NoGatewayError as error:
            # It was there a moment ago, so this is a write that failed.
            raise AnswerError(f"{record.protocol} port {record.external_port}: {error}") from error

    def _here(self, client: str) -> bool:
        """Whether this host can ask for an address. With IPv6 it often has several, and an old one may still be there."""
        return client == self._link.source or (isinstance(self._link, Link6) and client in self._link.addresses)

    def _link_of(self, record: Record) -> Link:
        """Return the link from which a mapping has to be asked for: the router looks at the sender."""
        return replace(self._link, source=record.internal_client) if self._here(record.internal_client) else self._link

    def _wait(self) -> float:
        return min(self._timeout, self._patience.left())

    @abstractmethod
    def _open(self) -> None:
        """See that the router answers, and read its epoch."""

    @abstractmethod
    def _ask_map(self, record: Record, lifetime: int) -> Answer:
        """Ask for a mapping, or with lifetime 0 for its removal."""

    @abstractmethod
    def _nonce(self, entry: Entry) -> str:
        """Return the nonce for a new mapping."""

    @abstractmethod
    def _refusal(self, action: str, answer: Answer) -> ProtocolError:
        """Put a result code into words."""

    def _note_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        try:
            clock = self._store.read()[1].get(clock_name(self.method, self._address))
        except GatewayError:
            # What needs them says so.
            return
        self.unread = self._store.unread
        self._restarted = clock is not None and self._restarted_since(clock, epoch)

    def _restarted_since(self, clock: Clock, epoch: int) -> bool:
        """Whether the router forgot what it had, by what it told when that was written down and what it tells now."""
        return not packets.epoch_valid(clock.epoch, 0.0, epoch, clock.passed(self._read_at))

    def _problem(self, entry: Entry, answer: Answer) -> str:
        """Say what is wrong with what was granted; empty if nothing is."""
        if not answer.lifetime or not answer.external_port:
            return f"the router says that it maps {_name(entry)}, but for {answer.lifetime} s, as port {answer.external_port}"
        if self.family == IPV6:
            return self._problem6(entry, answer)
        if answer.external_port != entry.external_port and not self._other_port:
            return (
                f"{_name(entry)} is taken or not allowed, and {self.method} does not tell by whom (owner unknown): the router gave port {answer.external_port}"
                " instead, which was given back. Choose another external_port, or set allow_other_external_port"
            )
        if answer.external_address and self._accepts is not None and not self._accepts(answer.external_address):
            return (
                f"{_name(entry)} was given back: the WAN address of the router is {answer.external_address}, which the Internet cannot reach. Ask the provider"
                " for a global address, or, if another router in front of this one forwards everything, set require_global_wan to false"
            )
        self._wan_address = answer.external_address or self._wan_address
        return ""

    def _problem6(self, entry: Entry, answer: Answer) -> str:
        if answer.external_port != entry.external_port:
            return (
                f"{_name(entry)} cannot be opened: the router opened port {answer.external_port} instead, which was given back; with IPv6 there is nothing"
                " that could turn one into the other. Open the port on the router's own page"
            )
        if answer.external_address not in (None, entry.internal_client):
            return (
                f"{_name(entry)} was given back: the router translates {entry.internal_client} to {answer.external_address} (NPTv6), so the Internet does not"
                " reach this host by the address that it publishes. Switch that translation off in the router, or open the port on its own page"
            )
        return ""

    def _give_back(self, record: Record, granted: Record) -> None:
        self._save(granted, instead_of=record)
        answer = self._map(granted, 0)
        if answer.result:
            raise self._refusal(f"the removal of {granted.protocol} port {granted.external_port}, which it gave instead of {record.external_port},", answer)
        self._forget(granted)

    def _records(self) -> Records:
        now = moments.now()
        mine = [record for record in self._mine() if not self._over(record, now) and not (record.abandoned and record.internal_client != self._link.source)]
        return [replace(record, unsure=True) for record in mine] if self._restarted else mine

    def _mine(self) -> Records:
        return [record for record in self._store.read()[0] if (record.method, record.gateway) == (self.method, self._address)]

    def _over(self, record: Record, now: Moment) -> bool:
        confirmed = (record.method, record.gateway) == (self.method, self._address) and _key(record) in self._confirmed
        return record.left(now) <= 0 and not confirmed

    def _record(self, protocol: str, external_port: int) -> Record | None:
        found = [record for record in self._records() if (record.protocol, record.external_port) == (protocol, external_port)]
        return min(found, key=lambda record: record.internal_client != self._link.source, default=None)

    def _recorded(self, entry: Entry) -> Record | None:
        """Return the record of a mapping: over IPv4 that of its port, for a pinhole that of its port and its address."""
        if self.family == IPV4:
            return self._record(entry.protocol, entry.external_port)
        return next((record for record in self._records() if (_key(record), record.internal_client) == (entry.key, entry.internal_client)), None)

    def _abandoned(self, entry: Entry) -> Record | None:
        """Return the record of a pinhole to an address that this host had earlier, if the router did not let go of it."""
        if entry.internal_client == self._link.source:
            return None
        now, leads = moments.now(), (entry.key, entry.internal_client)
        mine = [record for record in self._mine() if record.abandoned and not self._over(record, now)]
        return next((record for record in mine if (_key(record), record.internal_client) == leads), None)

    def _end(self, lifetime: int) -> dict[str, Any]:
        # Longer leases than a day are to be taken for a day (RFC 6887, 15): nobody knows what the router will be by then.
        end = moments.now().after(min(lifetime, _DAY))
        return {"expires": end.wall, "boot": end.boot, "ends": end.ticks}

    def _save(self, record: Record, instead_of: Record | None = None) -> None:
        restarted = self._restarted

        def change(table: Table, clocks: dict[str, Clock]) -> None:
            self._clean(table, clocks, restarted)
            if instead_of is not None:
                table.pop(instead_of.key, None)
            table[record.key] = record

        self._store.update(change)
        self._restarted = False

    def _forget(self, record: Record) -> None:
        restarted = self._restarted

        def change(table: Table, clocks: dict[str, Clock]) -> None:
            self._clean(table, clocks, restarted)
            table.pop(record.key, None)

        self._store.update(change)
        self._restarted = False

    def _clean(self, table: Table, clocks: dict[str, Clock], restarted: bool) -> None:
        now = moments.now()
        for key, record in list(table.items()):
            if self._over(record, now):
                del table[key]
            elif restarted and (record.method, record.gateway) == (self.method, self._address):
                table[key] = replace(record, unsure=True)
        clocks[clock_name(self.method, self._address)] = Clock(self._epoch, self._read_at.wall, self._read_at.boot, self._read_at.ticks)


class NatPmpGateway(RecordedGateway):
    """A router that speaks NAT-PMP."""

    method = "natpmp"

    def _open(self) -> None:
        answer = self._ask(packets.natpmp_address_request())
        if answer.result not in (0, 3):
            raise self._refusal("the question for its WAN address", answer)
        self._wan_address = answer.external_address
        self._read_at = moments.now()
        self._note_epoch(answer.epoch)

    def _ask(self, request: bytes) -> Answer:
        return exchange(self._link, self._address, request, packets.read_natpmp, self._wait())

    def _ask_map(self, record: Record, lifetime: int) -> Answer:
        # For a removal the external port must be 0.
        answer = self._ask(packets.natpmp_map_request(record.protocol, record.internal_port, record.external_port if lifetime else 0, lifetime))
        return replace(answer, external_address=self._wan_address)

    def _nonce(self, entry: Entry) -> str:
        return ""

    def _refusal(self, action: str, answer: Answer) -> ProtocolError:
        text, hint = packets.NATPMP_RESULTS.get(answer.result, ("", "a code that NAT-PMP does not have"))
        return ProtocolError(action, answer.result, text, hint)


class PcpGateway(RecordedGateway):
    """A router that speaks PCP."""

    method = "pcp"

    def _open(self) -> None:
        answer = self._ask(packets.pcp_announce_request(self._link.source), self._link)
        if answer.result:
            raise self._refusal("the question whether it speaks PCP", answer)
        self._read_at = moments.now()
        self._note_epoch(answer.epoch)
        if self.family == IPV6:
            # Nothing is translated, so the address of this host is the one that the Internet sees.
            self._wan_address = self._link.source
            return
        # PCP tells the WAN address with a mapping only; most routers speak NAT-PMP at the same port, which tells it without.
        try:
            told = exchange(self._link, self._address, packets.natpmp_address_request(), packets.read_natpmp, min(self._wait(), 0.7))
        except (NoGatewayError, AnswerError):
            self.tells_wan_address = False
        else:
            self._wan_address = told.external_address
            self.tells_wan_address = told.result in (0, 3)

    def _ask(self, request: bytes, link: Link) -> Answer:
        return exchange(link, self._address, request, packets.read_pcp, self._wait())

    def _ask_map(self, record: Record, lifetime: int) -> Answer:
        options = packets.PREFER_FAILURE if lifetime and not self._other_port else b""
        arguments = (record.protocol, record.internal_port, record.external_port, lifetime, bytes.fromhex(record.nonce))
        if not self._here(record.internal_client):
            raise GatewayError(f"PCP takes this from {record.internal_client} only, which this host no longer has")
        link = self._link_of(record)
        return self._ask(packets.pcp_map_request(link.source, *arguments, options), link)

    def _clear(self, record: Record) -> None:
        # miniupnpd 2.3.1 knows the nonce of a pinhole no more once it was renewed, and then lets nobody close it. So it is closed, and opened anew at once.
        if self.family == IPV6:
            self._save(replace(record, unsure=True))
            self._map(record, 0)

    def _nonce(self, entry: Entry) -> str:
        return os.urandom(12).hex()

    def _refusal(self, action: str, answer: Answer) -> ProtocolError:
        text, hint = packets.PCP_RESULTS.get(answer.result, ("", "a code that PCP does not have"))
        if self.family == IPV6:
            hint = packets.PCP_RESULTS_IPV6.get(answer.result, hint)
        if 0 < answer.lifetime <= _DAY and answer.result in (7, 8, 10):
            hint += f". It says to try again after {answer.lifetime} s"
        return ProtocolError(action, answer.result, text, hint)


def entry_of(record: Record) -> Entry:
    """Return what is recorded as the router would show it."""
    lease = max(1, round(record.left(moments.now())))
    return Entry(
        *(record.protocol, record.external_port, record.internal_client, record.internal_port, record.description),
        enabled=not record.unsure,
        lease=lease,
        family=record.family,
    )


def _inside(one: Entry | Record) -> tuple[str, str, int]:
    return (one.protocol, one.internal_client, one.internal_port)


def _key(record: Record) -> Key:
    return make_key(record.protocol, record.external_port, record.family)


def _name(entry: Entry) -> str:
    return f"{entry.protocol} port {entry.external_port}" + (" over IPv6" if entry.family == IPV6 else "")
