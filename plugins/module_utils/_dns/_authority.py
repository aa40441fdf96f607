# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the authorities say about a name: each server at each of its addresses, asked at the same time, without recursion.

Private to this collection.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable

from ._lookup import Server
from ._name import DnsError, Name, is_below, name_to_text
from ._transport import exchange, new_id
from ._wire import TYPE_CNAME, TYPE_NAMES, TYPE_SOA, Message, Record, Soa, make_query

_MAX_WORKERS = 16

_TYPE_OPT, _OPTION_EXPIRE, _UDP_SIZE = 41, 9, 1232


@dataclass
class Answer:
    """What one server said at one address.

    Attributes:
        exists: whether the name exists there; None if nothing is known.
        records: the values by type, sorted; every type that was asked for has a list.
        ttls: the TTL by type, of the types that have records.
        negative_ttl: for how long a resolver may remember that something is not there.
        soa: the zone's own record, with the times that its secondaries go by.
        rcode: the result of the last question that it answered, as a word.
        error: why there is no answer, for people; C(error_kind) is for programs.
    """

    server: Server
    authoritative: bool = False
    exists: bool | None = None
    zone: Name | None = None
    records: dict[str, list[str]] = field(default_factory=dict)
    ttls: dict[str, int] = field(default_factory=dict)
    negative_ttl: int | None = None
    serial: int | None = None
    soa: Soa | None = None
    rcode: str | None = None
    error: str | None = None
    error_kind: str | None = None

    @property
    def ttl(self) -> int | None:
        """The largest TTL of the records, None if there are none."""
        return max(self.ttls.values(), default=None)

    def as_data(self) -> dict[str, Any]:
        """Return the answer as a plain mapping."""
        return {
            "name": None if self.server.name is None else name_to_text(self.server.name),
            "address": self.server.address,
            "authoritative": self.authoritative,
            "exists": self.exists,
            "records": self.records,
            "ttl": self.ttl,
            "negative_ttl": self.negative_ttl,
            "serial": self.serial,
            "error": self.error,
            "error_kind": self.error_kind,
        }


@dataclass(frozen=True)
class Question:
    """What is asked of every authority."""

    name: Name
    types: tuple[int, ...]
    zone: Name | None = None
    timeout: float = 3.0
    attempts: int = 2


def ask(server: Server, question: Question) -> Answer:
    """Ask one server. Whatever happens becomes part of the answer."""
    answer = Answer(server)
    try:
        _ask_soa(server, question, answer)
        for rtype in question.types:
            _ask_type(server, question, rtype, answer)
    except DnsError as error:
        answer.error, answer.error_kind = str(error), error.kind
        answer.records, answer.ttls, answer.exists = {}, {}, None
    return answer


def ask_all(servers: Sequence[Server], question: Question) -> list[Answer]:
    """Ask all servers at the same time; the answers stand in the order of the servers."""
    with ThreadPoolExecutor(max_workers=max(1, min(len(servers), _MAX_WORKERS))) as pool:
        return list(pool.map(lambda server: ask(server, question), servers))


def ask_until(
    servers: Sequence[Server],
    question: Question,
    done: Callable[[list[Answer]], bool],
    wait: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    noted: Callable[[list[Answer]], None] = lambda answers: None,
) -> list[Answer]:
    """Ask again, ever more slowly, until the answers are as wanted or the time is over; each round is handed to C(noted)."""
    deadline = clock() + wait
    pause = 0.25
    while True:
        answers = ask_all(servers, question)
        noted(answers)
        left = deadline - clock()
        if done(answers) or left <= 0:
            return answers
        sleep(min(pause, left))
        pause = min(pause * 2, 5.0)


def ask_expire(answer: Answer, question: Question) -> int | None:
    """Return in how many seconds a server will give its copy of the zone up, if it says so (RFC 7314)."""
    if answer.zone is None:
        return None
    query = make_query(new_id(), answer.zone, TYPE_SOA)
    query.additionals.append(Record((), _TYPE_OPT, 0, struct.pack("!2H", _OPTION_EXPIRE, 0), _UDP_SIZE))
    try:
        message = exchange(answer.server.address, query, port=answer.server.port, timeout=question.timeout, attempts=question.attempts)
    except DnsError:
        # Nobody has to understand the question.
        return None
    return next((value for record in message.additionals if record.rtype == _TYPE_OPT for value in _expire_of(record.rdata)), None)


def judged(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers that count: an address without a route from here does not, as long as its server answered at another one."""
    reached = {answer.server.name for answer in answers if answer.error_kind != "no_route"}
    return [answer for answer in answers if answer.error_kind != "no_route" or answer.server.name is None or answer.server.name not in reached]


def consistent(answers: Sequence[Answer]) -> bool:
    """Return whether every authority gave the same records."""
    counted = judged(answers)
    return bool(counted) and all(
        answer.error is None and answer.authoritative and answer.records == counted[0].records and answer.exists == counted[0].exists for answer in counted
    )


def matches(answers: Sequence[Answer], expected: Mapping[str, Sequence[str]]) -> bool:
    """Return whether every authority has exactly the expected records of the named types, and no alias instead."""
    counted = judged(answers)
    return bool(counted) and all(answer.error is None and answer.authoritative and has(answer.records, expected) for answer in counted)


def longest_memory(answers: Sequence[Answer]) -> int | None:
    """Return for how many seconds a resolver may keep what it got from any of these servers."""
    times = [value for answer in answers for value in (answer.ttl, answer.negative_ttl if _something_missing(answer) else None) if value is not None]
    return max(times, default=None)


def has(records: Mapping[str, Sequence[str]], expected: Mapping[str, Sequence[str]]) -> bool:
    """Return whether these are exactly the expected records of the named types, and no alias instead."""
    if "CNAME" in records and "CNAME" not in expected:
        return False
    return all(list(records.get(rtype, [])) == sorted(values) for rtype, values in expected.items())


def _something_missing(answer: Answer) -> bool:
    return answer.error is None and any(not values for values in answer.records.values())


def _send(server: Server, question: Question, name: Name, rtype: int) -> Message:
    query = make_query(new_id(), name, rtype)
    return exchange(server.address, query, port=server.port, timeout=question.timeout, attempts=question.attempts)


def _ask_soa(server: Server, question: Question, answer: Answer) -> None:
    message = _send(server, question, question.zone or question.name, TYPE_SOA)
    answer.rcode = message.rcode_name
    records = [record for record in (*message.answers, *message.authorities) if record.rtype == TYPE_SOA]
    found = [record for record in records if is_below(question.name, record.name)]
    if message.rcode not in (0, 3):
        raise DnsError(f"{server.address} answered {message.rcode_name} when asked for the zone", "rcode")
    if not message.authoritative or not found or question.zone not in (None, found[0].name):
        zone = name_to_text(question.zone) if question.zone else f"the zone of {name_to_text(question.name)}"
        raise DnsError(f"{server.address} answers, but is no authority for {zone}", "not_authoritative")
    soa = found[0].soa()
    answer.authoritative = True
    answer.zone = found[0].name
    answer.serial, answer.soa = soa.serial, soa
    # RFC 2308, section 5.
    answer.negative_ttl = min(found[0].ttl, soa.minimum)


def _ask_type(server: Server, question: Question, rtype: int, answer: Answer) -> None:
    message = _send(server, question, question.name, rtype)
    answer.rcode = message.rcode_name
    if message.rcode not in (0, 3):
        raise DnsError(f"{server.address} answered {message.rcode_name} when asked for {name_to_text(question.name)}", "rcode")
    if not message.authoritative:
        answer.authoritative = False
        raise DnsError(f"{server.address} answers, but is no authority for {name_to_text(question.name)}", "not_authoritative")
    take_records(answer, message, question.name, rtype)


def take_records(answer: Answer, message: Message, name: Name, rtype: int) -> None:
    """Take over what a message says about one type of the name, and about an alias instead."""
    answer.exists = message.rcode == 0
    for wanted in dict.fromkeys((rtype, TYPE_CNAME)):
        found = [record for record in message.answers if record.rtype == wanted and record.name == name]
        if found or wanted == rtype:
            answer.records[TYPE_NAMES[wanted]] = sorted({record.value for record in found})
        if found:
            answer.ttls[TYPE_NAMES[wanted]] = max(record.ttl for record in found)


def _expire_of(options: bytes) -> list[int]:
    found = []
    while len(options) >= 4:
        code, size = struct.unpack_from("!2H", options)
        value, options = options[4 : 4 + size], options[4 + size :]
        if code == _OPTION_EXPIRE and len(value) == 4:
            found.append(int.from_bytes(value, "big"))
    return found
