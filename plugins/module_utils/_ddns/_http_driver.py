# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The provider is told over HTTPS, as its row in the table says; what its authorities have is asked by DNS.

Private to this collection.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import signal
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from .._dns._lookup import Server
from .._dns._name import DnsError, name_to_text
from ._config import RTYPES, Config
from ._driver import Driver, NotUnderstood, RecordSet, RetryLater, StopTrying
from ._http import TIMEOUT, Call, Reply, fetch, try_connection
from ._providers import BEARER, BY_API, CLEAR, EMPTY, IN_URL, NEVER, Provider
from ._reading import read_records

#: What is meant by the words of the protocol that most providers took over.
_WORDS = {
    "badauth": "user name or password is wrong",
    "abuse": "the name or the account is blocked for abuse; have it unblocked there",
    "nohost": "the name does not exist in this account",
    "notfqdn": "the name is no full domain name",
    "numhost": "too many names",
    "!yours": "the name belongs to another account",
    "!donator": "the account does not include this",
    "badagent": "the provider blocks this program",
    "badsys": "the parameters are wrong",
    "badrequest": "the parameters are wrong",
    "911": "the provider has a fault",
    "dnserr": "the provider has a fault",
    "servererror": "the provider has a fault",
    "ko": "the token is wrong, or the name does not belong to it",
}
_SHOWN = 120
_PATTERN_TIME = 2.0


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """End a search that takes too long: patterns are the user's, and some of them need years. The search looks at signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_unused: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, _PATTERN_TIME)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class HttpDriver(Driver):
    """Reads by DNS, writes by HTTPS."""

    # An authority that is behind must not make the same update be sent with each run: providers block for that.
    patience = 600
    timeout = TIMEOUT

    def __init__(self, config: Config, provider: Provider, secret: str, authorities: Callable[[Config], Sequence[Server]]) -> None:
        self._config = config
        self._provider = provider
        self._secret = secret
        self._authorities = authorities
        self._name = name_to_text(config.name)[:-1]
        self.together = config.together
        self.sets_ttl = provider.sets_ttl
        self.minimum = provider.minimum
        self.refresh = provider.refresh

    def read(self, rtypes: Sequence[str]) -> dict[str, RecordSet]:
        try:
            servers = self._authorities(self._config)
        except DnsError as error:
            raise RetryLater(str(error), sent=False) from error
        return read_records(self._config, rtypes, servers)

    def refusals(self, current: Mapping[str, RecordSet], after: Mapping[str, RecordSet]) -> dict[str, str]:
        found = {}
        removal = self._provider.removal
        for rtype, wanted in after.items():
            if not wanted.values and removal == NEVER:
                found[rtype] = "the provider's update protocol removes nothing; remove the record on its web page"
            elif not wanted.values and removal == CLEAR and any(item.values and other not in after for other, item in current.items()):
                found[rtype] = "the provider removes both families at once only; remove the record on its web page"
            elif wanted.values and not self._tells_address:
                found[rtype] = "the provider takes no address but the one that it is asked from; correct the record on its web page"
            elif len(wanted.values) > 1 and removal != BY_API:
                found[rtype] = "the provider takes one address for each family; correct the record on its web page"
        return found

    def replace(self, before: Mapping[str, RecordSet], after: Mapping[str, RecordSet]) -> None:
        addresses = {family: after[rtype].values for family, rtype in RTYPES.items() if rtype in after}
        if self.together:
            self._update({family: values[0] if values else "" for family, values in addresses.items()})
        else:
            for family, values in addresses.items():
                self._update({family: values[0] if values else ""})

    def check(self) -> None:
        # There is no way to try a password without an update, and an update that changes nothing is held against the host by some.
        for family in self._config.families if "{family}" in self._config.url else ("",):
            try_connection(Call(self._url({family: ""}), family="" if self._tells_address else family, ca_file=self._config.ca_file))

    @property
    def _tells_address(self) -> bool:
        return self._config.tells_address

    def _update(self, addresses: Mapping[str, str]) -> None:
        """Send one request. An empty address removes the record, a family that is not named stays as it is."""
        family = "" if self.together else next(iter(addresses))
        silent = not self._tells_address
        call = Call(
            self._url(addresses),
            headers=self._headers(),
            family=family if silent else "",
            source=addresses[family] if silent else "",
            ca_file=self._config.ca_file,
            timeout=self.timeout,
        )
        self._judge(call, fetch(call))

    def _url(self, addresses: Mapping[str, str]) -> str:
        """Fill in the address of the request."""
        provider, family = self._provider, next(iter(addresses))
        known = {
            "name": self._name,
            "label": self._name.split(".", 1)[0],
            "username": self._config.username,
            "password": self._secret,
            "family": family,
            "address": addresses[family],
        }
        query = []
        clear = provider.removal == CLEAR and not any(addresses.values())
        for key, template in provider.query:
            which = {"{ipv4}": "ipv4", "{ipv6}": "ipv6"}.get(template)
            if which is None:
                query.append((key, _filled(template, known, plain=True)))
            elif addresses.get(which) or (which in addresses and provider.removal == EMPTY):
                query.append((key, addresses[which]))
            elif provider.keep:
                query.append((key, provider.keep))
        if clear:
            query.append(("clear", "true"))
        url = _filled(self._config.url, known)
        return f"{url}{'&' if '?' in url else '?'}{urllib.parse.urlencode(query)}" if query else url

    def _headers(self) -> dict[str, str]:
        if self._provider.auth == BEARER:
            return {"Authorization": f"Bearer {self._secret}"}
        if self._provider.auth == IN_URL or self._config.secret_in_url:
            return {}
        pair = f"{self._config.username}:{self._secret}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def _judge(self, call: Call, reply: Reply) -> None:
        """Raise what an answer means, unless it is success."""
        config, provider, status = self._config, self._provider, reply.status
        told = f"{call.host} answered {status}{self._shown(reply.body)} about {config.full_name}"
        if 300 <= status < 400:
            where = f", to go to {reply.location}" if reply.location else ""
            raise NotUnderstood(f"{told}{where}: redirects are not followed, because the password would go along; correct the URL")
        if status in (408, 429) or status >= 500:
            raise RetryLater(f"{told}: {'too many requests' if status == 429 else 'the provider has a fault'}", reply.wait or 0.0)
        try:
            with _limited():
                stop, retry, success = (
                    bool(pattern and re.search(pattern, reply.body)) for pattern in (config.stop_pattern, config.retry_pattern, config.success_pattern)
                )
        except TimeoutError as error:
            raise NotUnderstood(f"{told}: the patterns need more than {_PATTERN_TIME:g} s for that answer; write simpler ones") from error
        if stop:
            raise StopTrying(f"{told}: {_meaning(reply.body) or 'it refuses the update; correct user name, password and name'}")
        if retry:
            raise RetryLater(f"{told}: {_meaning(reply.body) or 'it has a fault'}", max(reply.wait or 0.0, provider.pause))
        if status in provider.stop_statuses:
            why = "user name, password or token is wrong" if status == 401 else "it refuses the update"
            raise StopTrying(f"{told}: {why}; correct user name, password (or token) and name, or ask the provider")
        if 200 <= status < 300 and success:
            return
        raise NotUnderstood(f"{told}: that is no answer to an update; is the URL right?")

    def _shown(self, body: str) -> str:
        """Return the beginning of an answer, for a message; a provider may repeat what it was told."""
        text = body
        secret = self._secret
        pair = base64.b64encode(f"{self._config.username}:{secret}".encode()).decode()
        for form in (pair, secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)):
            text = text.replace(form, "***")
        text = " ".join("".join(char if char.isprintable() else " " for char in text[:1000]).split())
        return f" '{text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''}'" if text else " with nothing"


class Cloudflare(HttpDriver):
    """Records are objects here: found, changed, made, removed."""

    def replace(self, before: Mapping[str, RecordSet], after: Mapping[str, RecordSet]) -> None:
        zone = self._zone()
        # All is read before anything is changed.
        there = {rtype: self._records(zone, rtype) for rtype in after}
        for rtype, wanted in after.items():
            path = f"zones/{zone}/dns_records"
            records = there[rtype]
            for number, value in enumerate(wanted.values):
                content = {"type": rtype, "name": self._name, "content": value, "ttl": wanted.ttl or self._config.ttl}
                if number < len(records):
                    self._ask("PATCH", f"{path}/{_id(records[number])}", content)
                else:
                    self._ask("POST", path, {**content, "proxied": False})
            for record in records[len(wanted.values) :]:
                self._ask("DELETE", f"{path}/{_id(record)}")

    def check(self) -> None:
        zone = self._zone()
        for family in self._config.families:
            self._records(zone, RTYPES[family])

    def _zone(self) -> str:
        name = name_to_text(self._config.zone or ())[:-1]
        found = self._read("zones", {"name": name})
        if not found:
            raise StopTrying(f"{self._provider.title} shows this token no zone {name}; give it Zone:Read and DNS:Edit for the zone, or correct the zone")
        return _id(found[0])

    def _records(self, zone: str, rtype: str) -> list[dict[str, Any]]:
        found = self._read(f"zones/{zone}/dns_records", {"type": rtype, "name": self._name})
        if any(record.get("proxied") for record in found):
            raise StopTrying(
                f"the {rtype} record of {self._config.full_name} is proxied at {self._provider.title}, so visitors are told its address, not yours; "
                "switch it to 'DNS only' there, or choose another name"
            )
        return found

    def _read(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        try:
            found = self._ask("GET", f"{path}?{urllib.parse.urlencode(query)}")
        except RetryLater as error:
            error.sent = False
            raise
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise NotUnderstood(f"{self._provider.title} sent no list when asked for {path.rsplit('/', 1)[-1]}")
        return found

    def _ask(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        headers = {**self._headers(), **({} if body is None else {"Content-Type": "application/json"})}
        call = Call(f"{self._config.url.rstrip('/')}/{path}", method, headers, body, ca_file=self._config.ca_file, timeout=self.timeout)
        reply = fetch(call)
        self._judge(call, reply)
        try:
            return json.loads(reply.body).get("result")
        except (ValueError, AttributeError) as error:
            raise NotUnderstood(f"{call.host} sent an answer that is no JSON object") from error


def _id(found: Mapping[str, Any]) -> str:
    text = str(found.get("id", ""))
    if not re.fullmatch(r"[0-9A-Za-z]{1,64}", text):
        raise NotUnderstood("an object without a usable id was answered")
    return text


def _meaning(body: str) -> str:
    return _WORDS.get(body.split(None, 1)[0].lower() if body else "", "")


def _filled(template: str, known: Mapping[str, str], plain: bool = False) -> str:
    """Put values in the place of C({words})."""
    return re.sub(r"\{(\w+)\}", lambda found: known[found[1]] if plain else urllib.parse.quote(known[found[1]], safe=""), template)
