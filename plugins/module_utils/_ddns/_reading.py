# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the authorities of the zone have: the answer that counts, whatever a provider says.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._dns._authority import Answer, Question, ask_all
from .._dns._lookup import Resolver, Server, find_delegation
from .._dns._wire import TYPES
from ._config import Config
from ._driver import RecordSet, RetryLater


def authorities_of(config: Config) -> Sequence[Server]:
    """Return every address of every server of the zone."""
    resolver = Resolver(config.resolver) if config.resolver else Resolver.from_system()
    return find_delegation(config.name, config.zone, resolver).servers


def read_records(config: Config, rtypes: Sequence[str], servers: Sequence[Server]) -> dict[str, RecordSet]:
    """Return the records as the authorities that are furthest ahead have them."""
    answers = ask_all(servers, Question(config.name, tuple(TYPES[rtype] for rtype in rtypes), config.zone))
    usable = [answer for answer in answers if answer.error is None]
    if not usable:
        raise RetryLater(f"no authority of the zone answers: {'; '.join(str(answer.error) for answer in answers[:4])}", sent=False)
    return newest(usable)


def newest(answers: Sequence[Answer]) -> dict[str, RecordSet]:
    """Return what those say that have the newest version of the zone; all that they say, if they contradict each other."""
    ahead = answers[0].serial or 0
    for answer in answers:
        # RFC 1982: the half of all numbers that follow a number is newer than that.
        if 0 < ((answer.serial or 0) - ahead) % 2**32 < 2**31:
            ahead = answer.serial or 0
    counted = [answer for answer in answers if (answer.serial or 0) == ahead]
    found: dict[str, RecordSet] = {}
    for rtype in dict.fromkeys(rtype for answer in counted for rtype in answer.records):
        values = {value for answer in counted for value in answer.records.get(rtype, ())}
        found[rtype] = RecordSet(tuple(sorted(values)), max((answer.ttls.get(rtype, 0) for answer in counted), default=0))
    return found
