# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of port mapping: what is wanted, what a router holds, and the interface that every kind of router offers.

Private to this collection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Union

TCP = "tcp"
UDP = "udp"
PROTOCOLS = (TCP, UDP)

IPV4 = "ipv4"
IPV6 = "ipv6"
FAMILIES = (IPV4, IPV6)

#: What can exist only once: a protocol and an external port, and the family where that is IPv6.
Key = Union[tuple[str, int], tuple[str, int, str]]

#: The longest lease that UPnP IGD 2 knows, a week; the shortest that is worth asking for.
MAX_LEASE = 604800
MIN_LEASE = 120

#: No description of ours is longer, because some routers return rubbish beyond 64 bytes.
MAX_DESCRIPTION = 60


def make_key(protocol: str, external_port: int, family: str = IPV4) -> Key:
    """Return what can exist only once."""
    return (protocol, external_port) if family == IPV4 else (protocol, external_port, family)


@dataclass(frozen=True)
class Wanted:
    """A mapping that somebody asks for.

    Attributes:
        name: the service's name.
        protocol: C(tcp) or C(udp).
        external_port: the router's port that the Internet shall see.
        port: the port on this host.
        lease: for how many seconds; 0 means as long as the router allows.
        family: C(ipv4) for a mapping; C(ipv6) for a pinhole, which opens a port of this host in the router's firewall.
    """

    name: str
    protocol: str
    external_port: int
    port: int
    lease: int = MAX_LEASE
    family: str = IPV4

    @property
    def key(self) -> Key:
        """What can exist only once in a router."""
        return make_key(self.protocol, self.external_port, self.family)


@dataclass(frozen=True)
class Entry:
    """A mapping that the router holds.

    Attributes:
        lease: the seconds that remain, 0 if the mapping has no end.
        remote_host: the only source that the mapping is for; empty for everybody.
        family: C(ipv6) for a pinhole.
    """

    protocol: str
    external_port: int
    internal_client: str
    internal_port: int
    description: str = ""
    enabled: bool = True
    lease: int = 0
    remote_host: str = ""
    family: str = IPV4

    @property
    def key(self) -> Key:
        """What can exist only once in a router; with IPv6, only once for each address of a host."""
        return make_key(self.protocol, self.external_port, self.family)

    def as_data(self) -> dict[str, Any]:
        """Return what a diff shows of a mapping."""
        data: dict[str, Any] = {
            "protocol": self.protocol,
            "external_port": self.external_port,
            "internal_client": self.internal_client,
            "internal_port": self.internal_port,
            "description": self.description,
            "enabled": self.enabled,
        }
        if self.remote_host:
            data["remote_host"] = self.remote_host
        if self.family != IPV4:
            data["family"] = self.family
        return data


#: The type of a list of mappings; a name of its own because Gateway has a method called list.
Entries = list[Entry]


@dataclass(frozen=True)
class GatewayInfo:
    """What is known about a router."""

    address: str
    method: str
    location: str
    service_type: str
    product: str
    interface: str
    source_address: str
    wan_address: str | None
    wan_status: str
    epoch: int | None = None


@dataclass(frozen=True)
class Capabilities:
    """What a kind of router, or rather of protocol, can do.

    Attributes:
        lists: whether all mappings can be read.
        tells_owner: whether a mapping says whose it is. NAT-PMP and PCP do not.
        keeps_port: whether the port asked for is granted or refused. NAT-PMP and PCP may grant another one instead.
        max_lease: the longest lease in seconds.
    """

    lists: bool
    tells_owner: bool
    keeps_port: bool
    max_lease: int


class Gateway(ABC):
    """A router that can be asked to map ports."""

    #: Which mappings it is asked for.
    family = IPV4
    #: Whether the WAN address can be known before something is mapped.
    tells_wan_address = True
    #: Why the last list may lack mappings that the router holds; empty if it is whole.
    incomplete = ""
    #: Whether the last list was read piece by piece, so that it may have moved meanwhile.
    piecemeal = False
    #: Why it could not be read what this host made by PCP and NAT-PMP; empty if it could, or if the router speaks neither.
    unread = ""

    @abstractmethod
    def describe(self) -> GatewayInfo:
        """Return what is known about the router."""

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Return what can be expected of it."""

    @abstractmethod
    def external_address(self) -> str | None:
        """Return the address of its WAN side as it sees it, None if it has none."""

    @abstractmethod
    def list(self) -> Entries:
        """Return every mapping that it shows."""

    @abstractmethod
    def find(self, protocol: str, external_port: int, family: str = IPV4) -> Entry | None:
        """Return the mapping of one external port, None if there is none."""

    @abstractmethod
    def add(self, entry: Entry) -> Entry:
        """Make a mapping, or renew the lease of an equal one; return what the router then holds, as read back."""

    @abstractmethod
    def delete(self, entry: Entry) -> None:
        """Remove a mapping and see that it is gone."""

    def renew_patience(self, seconds: float | None = None) -> None:
        """Let the router take so many seconds more, or as many as in the beginning. For routers that can keep this host waiting."""
        del seconds

    def require_global(self, accepts: Callable[[str], bool]) -> None:
        """Give back a mapping at once if the WAN address that comes with it is not accepted. For routers that tell it only then."""
        del accepts

    def recording(self, entries: Sequence[Entry]) -> AbstractContextManager[None]:
        """Write down what is going to be made before the first of it, and what came of it after the last. For routers that list nothing themselves."""
        del entries
        return nullcontext()

    def requested_port(self, protocol: str, external_port: int, family: str = IPV4) -> int:
        """Return the external port that was asked for when a mapping of ours got this one."""
        del protocol, family
        return external_port

    def method_of(self, protocol: str, external_port: int, family: str = IPV4) -> str:
        """Return the protocol that the mapping of a port was, or would be, made by."""
        del protocol, external_port, family
        return self.describe().method

    def max_lease(self, protocol: str, external_port: int, family: str = IPV4) -> int:
        """Return the longest lease that a mapping of this port can have."""
        del protocol, external_port, family
        return self.capabilities().max_lease

    def members(self) -> dict[str, Gateway]:
        """Return who is asked for the mappings of each family."""
        return {self.family: self}

    def require_open(self, wanted: Sequence[Wanted]) -> None:
        """Refuse what the router has already said that it will not do. For routers that say it."""
        del wanted

    def notes(self) -> Sequence[str]:
        """Return what people should know about what was done since the last call."""
        return ()
