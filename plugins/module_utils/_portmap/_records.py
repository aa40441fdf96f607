# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host has mapped by protocols that cannot list mappings: kept in the state directory, with what proves it.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from .._state import DEFAULT_DIRECTORY, StateDir, StateError
from ._errors import GatewayError
from ._model import IPV4, IPV6
from ._moment import Moment

FILE = "port_mappings.json"

RecordKey = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class Record:
    """A mapping of ours.

    Attributes:
        requested: the external port that was asked for.
        expires: when its lease ends, in seconds since 1970.
        boot: the boot in which that was written.
        ends: when its lease ends, in seconds since that boot.
        unsure: whether the router may not hold it: its answer never came, or it restarted.
        family: C(ipv6) for a pinhole.
        unique_id: the number by which WANIPv6FirewallControl knows a pinhole; empty if it never told one.
        abandoned: whether the router did not let go of it, after this host lost the address that it leads to.
    """

    method: str
    gateway: str
    protocol: str
    external_port: int
    requested: int
    internal_client: str
    internal_port: int
    description: str
    nonce: str
    expires: float
    unsure: bool = False
    boot: str = ""
    ends: float = 0.0
    shown: bool = False
    family: str = IPV4
    unique_id: str = ""
    abandoned: bool = False

    def left(self, now: Moment) -> float:
        """Return the seconds that remain of the lease."""
        return now.until(Moment(self.expires, self.boot, self.ends))

    @property
    def key(self) -> RecordKey:
        """What can exist only once; a pinhole, once for each address of this host."""
        return (self.method, self.gateway, self.protocol, self.external_port, self.internal_client if self.family == IPV6 else "")


#: The type of a list of records, for classes that have a method called list.
Records = list[Record]


@dataclass(frozen=True)
class Clock:
    """The epoch that a router told, and when it did: in seconds since 1970, and since that boot."""

    epoch: int
    time: float
    boot: str = ""
    ticks: float = 0.0

    def passed(self, now: Moment) -> float:
        """Return the seconds since then."""
        return Moment(self.time, self.boot, self.ticks).until(now)


Table = dict[RecordKey, Record]
Update = Callable[[Table, dict[str, Clock]], None]


class Store:
    """The file. Nothing is created until something is written."""

    #: Why it could not be read, for somebody who goes on without it.
    unread = ""

    def __init__(self, path: str = DEFAULT_DIRECTORY) -> None:
        try:
            self._state = StateDir(path)
        except StateError as error:
            raise GatewayError(str(error)) from error
        #: Which file was read last and what was in it: a run with many mappings reads it many times.
        self._seen: tuple[tuple[int, ...], list[Record], dict[str, Clock]] | None = None
        #: While changes are collected: how the file will be, and what makes it so.
        self._view: tuple[Table, dict[str, Clock]] | None = None
        self._queue: list[Update] = []

    @property
    def state(self) -> StateDir:
        """The directory that it is in."""
        return self._state

    def usable(self) -> bool:
        """Whether it can be read, and written if need be."""
        try:
            self.require_usable()
        except GatewayError:
            return False
        return True

    def require_usable(self) -> None:
        """Refuse before anything is asked of the router if its answer could not be kept."""
        place = self._state.path
        while not os.path.lexists(place):
            place = os.path.dirname(place)
        if not os.path.isdir(place) or not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise GatewayError(
                f"the state directory {self._state.path} cannot be written, and without it nobody could tell this host's mappings from others later: run as"
                " root (become: true), or choose another state_dir"
            )
        self.read()

    def read(self) -> tuple[list[Record], dict[str, Clock]]:
        """Return the records, and the clocks of routers by C(clock_name)."""
        if self._view is not None:
            return list(self._view[0].values()), dict(self._view[1])
        return self._parsed()

    def _parsed(self) -> tuple[list[Record], dict[str, Clock]]:
        before = self._signature()
        if before and self._seen is not None and self._seen[0] == before:
            return list(self._seen[1]), dict(self._seen[2])
        records, clocks = _parse(self._read(), self._state.path)
        if before:
            # If it was replaced meanwhile, its signature is another one, and it is read again.
            self._seen = (before, records, clocks)
        return list(records), dict(clocks)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Write what changes in this block when it ends, or when C(flush) is called: each time that a disk is waited for takes a while."""
        if self._view is not None:
            yield
            return
        records, clocks = self.read()
        self._view = ({record.key: record for record in records}, clocks)
        try:
            yield
        finally:
            self._view = None
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        queue, self._queue = self._queue, []
        if queue:
            self._write(queue)

    def update(self, change: Update) -> None:
        """Change the file under the lock of the state directory. The change may be made twice, on a copy and on the file."""
        if self._view is not None:
            change(*self._view)
            self._queue.append(change)
        else:
            self._write([change])

    def _write(self, changes: list[Update]) -> None:
        try:
            # A run that holds the host for all that it does writes more than once.
            with self._state.lock(nested=True):
                # Not what is collected, but what others may have written meanwhile.
                records, clocks = self._parsed()
                table = {record.key: record for record in records}
                for change in changes:
                    change(table, clocks)
                if table:
                    rows = [vars(table[key]) for key in sorted(table)]
                    self._state.write(FILE, {"version": 1, "mappings": rows, "routers": _clock_data(clocks)}, indent=None)
                else:
                    # Without a mapping there is nothing that a router could have forgotten.
                    self._state.remove(FILE)
        except StateError as error:
            raise GatewayError(str(error)) from error

    def _signature(self) -> tuple[int, ...]:
        """Return what changes whenever the file is replaced, which is the only way that it changes; empty if it cannot be told."""
        try:
            found = os.stat(os.path.join(self._state.path, FILE))
        except OSError:
            return ()
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _read(self) -> Any:
        try:
            return self._state.read(FILE)
        except StateError as error:
            raise GatewayError(str(error)) from error


class ReadingStore(Store):
    """The file for somebody who only looks: what cannot be read is not there, and C(unread) says why."""

    def read(self) -> tuple[list[Record], dict[str, Clock]]:
        try:
            return super().read()
        except GatewayError as error:
            self.unread = str(error)
            return [], {}


def clock_name(method: str, gateway: str) -> str:
    """Return the key of a router's clock."""
    return f"{method} {gateway}"


def _clock_data(clocks: dict[str, Clock]) -> dict[str, Any]:
    return {name: asdict(clock) for name, clock in sorted(clocks.items())}


def _clock(row: dict[str, Any]) -> Clock:
    return Clock(int(row["epoch"]), float(row["time"]), str(row.get("boot", "")), float(row.get("ticks", 0.0)))


def _parse(data: Any, path: str) -> tuple[list[Record], dict[str, Clock]]:
    if data is None:
        return [], {}
    try:
        if data["version"] != 1:
            raise ValueError(f"version {data['version']!r}")
        names = {field.name for field in fields(Record)}
        records = [Record(**{name: row[name] for name in names if name in row}) for row in data["mappings"]]
        for record in records:
            bytes.fromhex(record.nonce)
        clocks = {name: _clock(row) for name, row in data["routers"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GatewayError(f"{os.path.join(path, FILE)} is damaged ({error!r}); move it away and run again, once the leases in it are over") from error
    return records, clocks
