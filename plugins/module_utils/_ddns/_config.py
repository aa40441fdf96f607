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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._dns._lookup import check_address
from .._dns._name import DnsError, Name, is_below, name_from_text, name_to_text
from .._dns._tsig import Key
from ._result import CONFIG, DdnsError

CONFIG_FILE = "/etc/homeserver/ddns.json"
CREDENTIAL = "ddns-tsig"
CREDENTIAL_FILE = "/etc/homeserver/credentials/" + CREDENTIAL

PROVIDERS = ("rfc2136",)
FAMILIES = ("ipv4", "ipv6")
SOURCES = ("interface", "router", "command", "static")
#: The type of record by family.
RTYPES = {"ipv4": "A", "ipv6": "AAAA"}

_MIN_TTL, _MAX_TTL = 1, 86400
_KEYS = frozenset(
    {
        *("name", "zone", "provider", "server", "server_port", "tsig_name", "tsig_algorithm", "ttl", "families"),
        *("address_source", "address_command", "addresses", "gateway", "resolver", "adopt", "readback_timeout"),
    }
)


@dataclass(frozen=True)
class Config:
    """The settings. None of them is secret."""

    name: Name
    zone: Name
    provider: str
    server: str
    server_port: int
    tsig_name: str
    tsig_algorithm: str
    ttl: int
    families: tuple[str, ...]
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

    def wants(self, rtype: str) -> bool:
        """Return whether records of a type are to be published."""
        return any(RTYPES[family] == rtype for family in self.families)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Config:
        """Check settings; the error names the value, the reason and the way out."""
        unknown = sorted(set(data) - _KEYS)
        if unknown:
            raise _bad(unknown[0], data[unknown[0]], "there is no such setting")
        name, zone = _name("name", data), _name("zone", data)
        if not is_below(name, zone):
            raise _bad("name", data["name"], f"it does not lie in the zone {name_to_text(zone)}; correct one of the two")
        _one_of("provider", data.get("provider", "rfc2136"), PROVIDERS)
        families = tuple(data.get("families") or ())
        if not families:
            raise _bad("families", list(families), "it is empty; name ipv4, ipv6 or both")
        for family in families:
            _one_of("families", family, FAMILIES)
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
            provider=data.get("provider", "rfc2136"),
            server=_server(data.get("server", "")),
            server_port=int(_number("server_port", data.get("server_port", 53), 1, 65535)),
            tsig_name=name_to_text(_name("tsig_name", data)),
            tsig_algorithm=str(data.get("tsig_algorithm", "hmac-sha256")),
            ttl=int(_number("ttl", data.get("ttl", 60), _MIN_TTL, _MAX_TTL)),
            families=tuple(dict.fromkeys(families)),
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
        return {
            "name": self.full_name,
            "zone": name_to_text(self.zone),
            "provider": self.provider,
            "server": self.server,
            "server_port": self.server_port,
            "tsig_name": self.tsig_name,
            "tsig_algorithm": self.tsig_algorithm,
            "families": list(self.families),
            "resolver": list(self.resolver),
        }

    def key(self, secret: str) -> Key:
        """Return the key that updates are signed with."""
        try:
            return Key.from_text(self.tsig_name, self.tsig_algorithm, secret)
        except DnsError as error:
            raise DdnsError(CONFIG, str(error)) from error

    def fingerprint(self, secret: str) -> str:
        """Return what changes as soon as any setting or the secret changes. It tells nothing about the secret."""
        text = json.dumps([str(getattr(self, field)) for field in self.__dataclass_fields__])
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


def read_secret(path: str = CREDENTIAL_FILE) -> str:
    """Read the secret: from systemd's credentials in a service, else from the file that they come from.

    In a container whose root is not mounted "shared", systemd 252 gives the service an empty directory instead of the credential.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    handed = os.path.join(directory, CREDENTIAL) if directory else ""
    source = handed if handed and os.path.exists(handed) else path
    try:
        with open(source, encoding="ascii") as stream:
            return stream.read(4096).strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DdnsError(CONFIG, f"the TSIG secret cannot be read from {source} ({reason}); run the role ddns again, as root") from error


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
