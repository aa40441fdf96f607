# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be published, where, and by which key: checked once, before anything is sent.

Private to this collection. Pure, apart from reading the two files.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._dns._lookup import check_address
from .._dns._name import DnsError, Name, is_below, name_from_text, name_to_text
from .._dns._tsig import Key
from ._providers import BASIC, BEARER, CUSTOM, DEAD, IN_URL, KNOWN, PROVIDERS, RFC2136, Provider
from ._result import CONFIG, DdnsError

CONFIG_FILE = "/etc/homeserver/ddns.json"
#: The secrets of the two kinds of providers, as systemd knows them and as files.
CREDENTIAL, PASSWORD = "ddns-tsig", "ddns-password"
CREDENTIAL_FILE = "/etc/homeserver/credentials/" + CREDENTIAL
PASSWORD_FILE = "/etc/homeserver/credentials/" + PASSWORD

FAMILIES = ("ipv4", "ipv6")
SOURCES = ("interface", "router", "command", "static")
#: The type of record by family.
RTYPES = {"ipv4": "A", "ipv6": "AAAA"}

_MIN_TTL, _MAX_TTL = 1, 86400
#: The settings, as options of a module too.
KEYS = (
    *("name", "zone", "provider", "server", "server_port", "tsig_name", "tsig_algorithm", "ttl", "families"),
    *("username", "url", "ca_file", "credentials_in_url", "success_pattern", "stop_pattern", "retry_pattern"),
    *("address_source", "address_command", "addresses", "gateway", "resolver", "adopt", "readback_timeout"),
)
_PATTERNS = ("success_pattern", "stop_pattern", "retry_pattern")
_FOR_HTTP = ("username", "url", "ca_file", "credentials_in_url", *_PATTERNS)
_FOR_RFC2136 = ("server", "tsig_name")


@dataclass(frozen=True)
class Config:
    """The settings. None of them is secret."""

    name: Name
    zone: Name | None
    provider: str
    server: str
    server_port: int
    tsig_name: str
    tsig_algorithm: str
    ttl: int
    families: tuple[str, ...]
    username: str
    url: str
    ca_file: str
    credentials_in_url: bool
    success_pattern: str
    stop_pattern: str
    retry_pattern: str
    address_source: str
    address_command: tuple[str, ...]
    addresses: tuple[str, ...]
    gateway: str
    resolver: tuple[str, ...]
    adopt: bool
    readback_timeout: float

    @property
    def full_name(self) -> str:
        """The name as text, with the dot at its end."""
        return name_to_text(self.name)

    @property
    def row(self) -> Provider | None:
        """The row of a provider that is told over HTTPS."""
        return PROVIDERS.get(self.provider)

    @property
    def secret_in_url(self) -> bool:
        """Whether the secret is a part of the URL."""
        return "{password}" in self.url or (self.row is not None and self.row.auth == IN_URL)

    @property
    def tells_address(self) -> bool:
        """Whether the provider is told an address; else it takes the one that it is asked from."""
        row = self.row
        return row is None or row.auth == BEARER or "{address}" in self.url or any("{address}" in text or "{ipv4}" in text for _unused, text in row.query)

    @property
    def together(self) -> bool:
        """Whether both families are updated at once."""
        return self.row is None or self.row.together

    def wants(self, rtype: str) -> bool:
        """Return whether records of a type are to be published."""
        return any(RTYPES[family] == rtype for family in self.families)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Config:
        """Check settings; the error names the value, the reason and the way out."""
        unknown = sorted(set(data) - set(KEYS))
        if unknown:
            raise _bad(unknown[0], data[unknown[0]], "there is no such setting")
        provider = _provider(data.get("provider", RFC2136))
        row = PROVIDERS.get(provider)
        for option in _FOR_RFC2136 if row else _FOR_HTTP:
            if data.get(option):
                raise _bad(option, data[option], f"the provider {provider} takes none; leave it out, or choose another provider")
        name = _name("name", data)
        # The authorities of a name are found without its zone. Whoever writes into a zone has to know it.
        zone = None if row and row.auth != BEARER and not data.get("zone") else _name("zone", data)
        if zone is not None and not is_below(name, zone):
            raise _bad("name", data["name"], f"it does not lie in the zone {name_to_text(zone)}; correct one of the two")
        families = tuple(data.get("families") or ())
        if not families:
            raise _bad("families", list(families), "it is empty; name ipv4, ipv6 or both")
        for family in families:
            _one_of("families", family, FAMILIES)
            if row and family not in row.families:
                raise _bad("families", list(families), f"{row.title} takes {' and '.join(row.families)} only")
        if row and name[0] == b"*" and not row.wildcard:
            raise _bad("name", data["name"], f"{row.title} takes no wildcards")
        source = _one_of("address_source", data.get("address_source", "interface"), SOURCES)
        command = tuple(data.get("address_command") or ())
        if (source == "command") != bool(command):
            raise _bad("address_command", list(command), f"the address source is {source}; the two belong together")
        if command and not os.path.isabs(command[0]):
            raise _bad("address_command", list(command), "its first word must be the absolute path of a program")
        addresses = tuple(data.get("addresses") or ())
        if (source == "static") != bool(addresses):
            raise _bad("addresses", list(addresses), f"the address source is {source}; the two belong together")
        return cls(
            name=name,
            zone=zone,
            provider=provider,
            server="" if row else _server(data.get("server", "")),
            server_port=int(_number("server_port", data.get("server_port", 53), 1, 65535)),
            tsig_name="" if row else name_to_text(_name("tsig_name", data)),
            tsig_algorithm=str(data.get("tsig_algorithm", "hmac-sha256")),
            ttl=int(_number("ttl", data.get("ttl", 60), row.min_ttl if row else _MIN_TTL, _MAX_TTL)),
            families=tuple(dict.fromkeys(families)),
            **_http_settings(provider, row, data, name_to_text(name)[:-1]),
            address_source=source,
            address_command=command,
            addresses=addresses,
            gateway=str(data.get("gateway") or ""),
            resolver=tuple(_address("resolver", text) for text in data.get("resolver") or ()),
            adopt=bool(data.get("adopt", False)),
            readback_timeout=_number("readback_timeout", data.get("readback_timeout", 20), 0, 600),
        )

    def to_take_back(self) -> dict[str, Any]:
        """Return those settings that are needed to take back what was published."""
        found: dict[str, Any] = {
            "name": self.full_name,
            "zone": name_to_text(self.zone) if self.zone is not None else "",
            "provider": self.provider,
            "families": list(self.families),
            "resolver": list(self.resolver),
        }
        if self.row is None:
            return {**found, "server": self.server, "server_port": self.server_port, "tsig_name": self.tsig_name, "tsig_algorithm": self.tsig_algorithm}
        patterns = {key: getattr(self, key) for key in _PATTERNS} if self.provider == CUSTOM else {}
        return {**found, "username": self.username, "url": self.url, "ca_file": self.ca_file, "credentials_in_url": self.credentials_in_url, **patterns}

    def check_secret(self, secret: str) -> None:
        """Refuse a secret that cannot be the right one."""
        if self.row is None and not secret:
            raise DdnsError(CONFIG, "tsig_secret is empty: give the secret of the key in Base64")
        if self.row is None:
            self.key(secret)
        elif not secret or not secret.isprintable():
            raise DdnsError(CONFIG, f"password is {'empty' if not secret else 'not printable text'}: give the password, key or token for {self.row.title}")
        elif self.row.auth == BEARER and not re.fullmatch(r"[!-~]+", secret):
            raise DdnsError(CONFIG, f"password is no token of {self.row.title}: a token has ASCII characters without spaces")

    def key(self, secret: str) -> Key:
        """Return the key that updates are signed with."""
        try:
            return Key.from_text(self.tsig_name, self.tsig_algorithm, secret)
        except DnsError as error:
            raise DdnsError(CONFIG, str(error)) from error

    def fingerprint(self, secret: str) -> str:
        """Return what changes as soon as any setting or the secret changes. It tells nothing about the secret."""
        return self._digest(secret, tuple(self.__dataclass_fields__))

    def account(self, secret: str) -> str:
        """Return what changes as soon as the provider is told by another account, or about another name."""
        return self._digest(secret, ("name", "provider", "url", "username"))

    def _digest(self, secret: str, fields: tuple[str, ...]) -> str:
        text = json.dumps([str(getattr(self, field)) for field in fields])
        return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def read_config(path: str = CONFIG_FILE) -> dict[str, Any]:
    """Read the settings that the role wrote."""
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
    except FileNotFoundError as error:
        raise DdnsError(CONFIG, f"{path} does not exist: dynamic DNS is not set up on this host; run the role ddns") from error
    except (OSError, ValueError) as error:
        raise DdnsError(CONFIG, f"{path} cannot be read ({error}); run the role ddns again") from error
    if not isinstance(data, dict):
        raise DdnsError(CONFIG, f"{path} does not hold settings; run the role ddns again")
    return data


def read_secret(provider: str = RFC2136, path: str = "") -> str:
    """Read the secret: from systemd's credentials in a service, else from the file that they come from.

    In a container whose root is not mounted "shared", systemd 252 gives the service an empty directory instead of the credential.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    name, usual = (CREDENTIAL, CREDENTIAL_FILE) if provider == RFC2136 else (PASSWORD, PASSWORD_FILE)
    handed = os.path.join(directory, name) if directory else ""
    source = handed if handed and os.path.exists(handed) else path or usual
    try:
        with open(source, encoding="utf-8") as stream:
            return stream.read(4096).strip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DdnsError(CONFIG, f"the secret cannot be read from {source} ({reason}); run the role ddns again, as root") from error


def _provider(value: Any) -> str:
    text = str(value)
    if text in DEAD:
        raise _bad("provider", text, f"{DEAD[text]}; choose another one: {', '.join(KNOWN)}")
    return _one_of("provider", text, KNOWN)


def _http_settings(provider: str, row: Provider | None, data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Check what only providers that are told over HTTPS take."""
    if row is None:
        return {"username": "", "url": "", "ca_file": "", "credentials_in_url": False, **dict.fromkeys(_PATTERNS, "")}
    own = provider == CUSTOM
    url = _url(str(data.get("url") or row.url), row, own)
    in_url = row.auth == IN_URL or "{password}" in url
    allowed = bool(data.get("credentials_in_url", False))
    if in_url and not allowed:
        raise _bad(
            "credentials_in_url",
            allowed,
            f"{row.title} takes the secret in the URL only, where it may end in the logs of servers; set it to true if you accept that",
        )
    username = str(data.get("username") or row.username.replace("{name}", name))
    if row.auth == BASIC and not in_url and not username:
        raise _bad("username", username, f"{row.title} wants a user name")
    if ":" in username or not username.isprintable():
        raise _bad("username", username, "it has a colon, or something that is no text")
    ca_file = str(data.get("ca_file") or "")
    if ca_file and not os.path.isabs(ca_file):
        raise _bad("ca_file", ca_file, "it must be an absolute path on the host")
    patterns = {}
    for option, known in zip(_PATTERNS, (row.success, row.stop, row.retry)):
        given = str(data.get(option) or "")
        if given and not own:
            raise _bad(option, given, f"only the provider {CUSTOM} takes it")
        try:
            re.compile(given or known)
        except (re.error, OverflowError, RecursionError) as error:
            raise _bad(option, given, f"it is no regular expression: {error}") from error
        patterns[option] = given or known
    if not patterns["success_pattern"]:
        raise _bad("success_pattern", "", "without it nobody knows a success; give a pattern of the answer, for example '^good '")
    if re.search(patterns["success_pattern"], ""):
        raise _bad("success_pattern", patterns["success_pattern"], "it fits an empty answer, so everything would be a success")
    return {"username": username, "url": url, "ca_file": ca_file, "credentials_in_url": allowed, **patterns}


def _url(url: str, row: Provider, own: bool) -> str:
    if not url:
        raise _bad("url", url, f"it is empty; give the address for updates, as {row.title} documents it")
    allowed = {"name", "label", "address", "family", "username", "password"} if own else {"family"}
    unknown = set(re.findall(r"\{(\w*)\}", url)) - allowed
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad("url", url, f"it is no URL: {error}") from error
    if parts.scheme != "https" or not parts.hostname or port == 0 or not re.fullmatch(r"[!-~]+", url):
        raise _bad("url", url, "it must begin with https:// and name a host, and have no spaces: the secret is sent there")
    if "@" in parts.netloc or parts.fragment:
        raise DdnsError(CONFIG, "url holds a user, a password or a fragment: leave them out, and give user name and password by their own options")
    if re.search(r"\{(?!family\})", parts.netloc):
        raise _bad("url", url, "its host has braces around something else than {family}; a name is asked for in the open, and stands in messages")
    if unknown or re.search(r"[{}]", re.sub(r"\{\w+\}", "", url)):
        raise _bad("url", url, f"it has braces around something else; known here are {', '.join(sorted('{' + word + '}' for word in allowed))}")
    if not own and parts.query:
        raise _bad("url", url, f"it has parameters; those of {row.title} are added by itself")
    return url


def _bad(option: str, value: Any, reason: str) -> DdnsError:
    return DdnsError(CONFIG, f"{option} is {value!r}: {reason}")


def _name(option: str, data: Mapping[str, Any]) -> Name:
    text = data.get(option) or ""
    try:
        name = name_from_text(text)
    except DnsError as error:
        raise _bad(option, text, f"{error}; give a full domain name") from error
    if not name:
        raise _bad(option, text, "the root cannot be updated; give a full domain name")
    return name


def _one_of(option: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise _bad(option, value, f"known are {', '.join(known)}")
    return str(value)


def _number(option: str, value: Any, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value <= highest:
        raise _bad(option, value, f"it must be a number from {lowest} to {highest}")
    return value


def _address(option: str, text: str) -> str:
    try:
        return check_address(text, option)
    except DnsError as error:
        raise _bad(option, text, "it is no IP address") from error


def _server(text: str) -> str:
    if not text:
        raise _bad("server", text, "it is empty; give the address or the name of the zone's primary server")
    try:
        return _address("server", text)
    except DdnsError:
        pass
    try:
        return name_to_text(name_from_text(text))
    except DnsError as error:
        raise _bad("server", text, f"it is neither an address nor a name: {error}") from error
