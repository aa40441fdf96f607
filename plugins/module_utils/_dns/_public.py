# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What resolvers of others remember of a name. It is told to people and never decides anything.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ._authority import Answer, Question, judged, take_records
from ._lookup import Server
from ._name import DnsError, name_to_text
from ._transport import exchange, new_id
from ._wire import TYPE_CNAME, TYPE_NAMES, TYPE_SOA, make_query


def askable(answers: Sequence[Answer], question: Question) -> tuple[int, ...]:
    """Return the types that every authority has records of; one that gave no answer is not known to have any.

    A resolver that is asked for anything else, or too early, remembers that it is not there, and visitors get to hear that.
    """
    counted = judged(answers)
    found = [
        rtype for rtype in question.types if all(answer.records.get(TYPE_NAMES[rtype]) or answer.records.get(TYPE_NAMES[TYPE_CNAME]) for answer in counted)
    ]
    return tuple(found) if counted else ()


def ask_public(addresses: Sequence[str], question: Question, types: Sequence[int]) -> list[Answer]:
    """Ask all resolvers at the same time for these types; the answers stand in the order of the addresses."""
    servers = [Server(None, address) for address in addresses]
    with ThreadPoolExecutor(max_workers=max(1, min(len(servers), 16))) as pool:
        return list(pool.map(lambda server: _ask(server, question, types), servers))


def _ask(server: Server, question: Question, types: Sequence[int]) -> Answer:
    answer = Answer(server)
    if not types:
        answer.error = "not asked: while an authority lacks the records, asking would make the resolver remember that they are missing"
        answer.error_kind = "not_asked"
        return answer
    try:
        for rtype in types:
            query = make_query(new_id(), question.name, rtype, recursive=True)
            message = exchange(server.address, query, port=server.port, timeout=question.timeout, attempts=question.attempts)
            if message.rcode not in (0, 3):
                raise DnsError(f"{server.address} answered {message.rcode_name} when asked for {name_to_text(question.name)}", "rcode")
            take_records(answer, message, question.name, rtype)
            # RFC 2308, section 5: the SOA that comes along counts down with what it is about.
            left = [min(record.ttl, record.soa().minimum) for record in message.authorities if record.rtype == TYPE_SOA]
            answer.negative_ttl = max([*left, *([] if answer.negative_ttl is None else [answer.negative_ttl])], default=None)
    except DnsError as error:
        answer.error, answer.error_kind = str(error), error.kind
        answer.records, answer.ttls, answer.exists = {}, {}, None
    return answer
