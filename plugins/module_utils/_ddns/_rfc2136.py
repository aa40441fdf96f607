# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The provider is a name server that takes signed updates: RFC 2136 with TSIG.

Private to this collection.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence

from .._dns._authority import Question, ask
from .._dns._lookup import Server
from .._dns._name import DnsError, name_to_text
from .._dns._transport import NoAnswer, new_id, tcp, udp
from .._dns._tsig import Key, TsigError, sign, verify
from .._dns._update import Replacement, make_update
from .._dns._wire import TYPE_SOA, TYPES, Message, make_query
from ._config import Config
from ._driver import ChangedMeanwhile, Driver, NotUnderstood, RecordSet, RetryLater, StopTrying

_TIMEOUT = 5.0

_STOP = {
    "REFUSED": "the key may not change this name; allow it in the server's update-policy (or acl)",
    "NOTAUTH": "the server is not the primary of this zone; correct the server or the zone",
    "NOTZONE": "the name does not lie in the zone as the server knows it; correct the zone",
    "NOTIMP": "the server takes no updates; switch them on, or name another server",
    "FORMERR": "the server does not understand the update",
}


class Rfc2136(Driver):
    """Reads with plain questions, writes with one signed message."""

    def __init__(self, config: Config, key: Key) -> None:
        self._config = config
        self._zone = config.zone or ()
        self._key = key

    def read(self, rtypes: Sequence[str]) -> dict[str, RecordSet]:
        problems = []
        for address in self._addresses():
            server = Server(None, address, self._config.server_port)
            answer = ask(server, Question(self._config.name, tuple(TYPES[rtype] for rtype in rtypes), self._config.zone))
            if answer.error is None:
                return {rtype: RecordSet(tuple(values), answer.ttls.get(rtype, 0)) for rtype, values in answer.records.items()}
            problems.append(answer.error)
        # Nothing of this is signed, and a server says the like while it starts: it is worth another try.
        raise RetryLater("; ".join(problems))

    def replace(self, before: Mapping[str, RecordSet], after: Mapping[str, RecordSet]) -> None:
        replacements = [Replacement(TYPES[rtype], before[rtype].values, wanted.values, wanted.ttl) for rtype, wanted in after.items()]
        self._judge(self._ask(make_update(new_id(), self._zone, self._config.name, replacements)))

    def check(self) -> None:
        # A server verifies the signature of a question, too. What the key may change, only an update would show.
        answer = self._ask(make_query(new_id(), self._zone, TYPE_SOA))
        if answer.rcode_name != "NOERROR":
            self._judge(answer)

    def _ask(self, message: Message) -> Message:
        try:
            return self._send(message)
        except TsigError as error:
            if error.word in ("BADSIG", "BADKEY", "BADTRUNC"):
                raise StopTrying(str(error)) from error
            if error.word == "BADTIME":
                raise RetryLater(str(error)) from error
            raise NotUnderstood(str(error)) from error
        except NoAnswer as error:
            raise RetryLater(str(error)) from error
        except DnsError as error:
            raise NotUnderstood(f"{self._config.server} sent an answer that cannot be read: {error}") from error

    def _judge(self, answer: Message) -> None:
        word = answer.rcode_name
        zone = name_to_text(self._zone)
        told = f"{self._config.server} answered {word} about {self._config.full_name} in {zone} with key {self._config.tsig_name}"
        if word == "NOERROR":
            return
        if word in ("NXRRSET", "YXRRSET", "NXDOMAIN", "YXDOMAIN"):
            raise ChangedMeanwhile(told)
        if word in _STOP:
            raise StopTrying(f"{told}: {_STOP[word]}")
        if word == "SERVFAIL":
            raise RetryLater(f"{told}: the server could not write the zone; see its log")
        raise NotUnderstood(f"{told}: that is not a result of an update")

    def _send(self, message: Message) -> Message:
        """Send over TCP, because nobody can slip in an answer there; over UDP where no connection is possible."""
        data = message.encode()
        problem: NoAnswer | None = None
        for address in self._addresses():
            for way in (tcp, udp):
                now = int(time.time())
                signed, mac = sign(data, self._key, now)
                try:
                    raw = way(address, signed, self._config.server_port, _TIMEOUT)
                except NoAnswer as error:
                    problem = problem or error
                    continue
                return verify(raw, self._key, mac, int(time.time()))
        raise problem or NoAnswer(f"{self._config.server} has no address", "error")

    def _addresses(self) -> list[str]:
        try:
            found = socket.getaddrinfo(self._config.server, self._config.server_port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise RetryLater(f"the name of the server {self._config.server} cannot be resolved: {error.strerror}") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:4]
