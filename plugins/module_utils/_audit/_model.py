# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the audit: what was observed, and what is said about it.

Private to this collection.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .._portmap._http_client import Url
from .._portmap._model import Entry

OK, FINDING, UNTESTED = "ok", "finding", "untested"
#: Worst last.
SEVERITIES = ("info", "low", "medium", "high", "critical")
LAN, WAN, BOTH = "lan", "wan", "lan+wan"

NAMES = {
    "A1": "ssdp_on_wan",
    "A2": "soap_on_wan",
    "A3": "natpmp_pcp_on_wan",
    "A4": "third_party_targets",
    "A5": "outside_and_router_targets",
    "A6": "low_ports",
    "A7": "event_callbacks",
    "A8": "version_banners",
    "A9": "mapping_table",
    "A10": "foreign_deletion",
    "A11": "ipv6_pinholes",
    "A12": "after_disable",
    "A13": "several_gateways",
    "A14": "dns_rebinding",
}

#: What came of a question over UDP. C(refused): the address itself says that nothing listens. C(rejected): something on the way says no.
ANSWERED, REFUSED, REJECTED, SILENT, UNSENT = "answered", "refused", "rejected", "silent", "unsent"

#: How an attempt to write ended. C(cannot): refused for a reason that has nothing to do with what was asked. C(unclear): no usable answer.
ACCEPTED, CANNOT, UNCLEAR = "accepted", "cannot", "unclear"


@dataclass(frozen=True)
class Check:
    """One of the fourteen questions and its answer."""

    id: str
    status: str
    reason: str
    vantage: str
    evidence: dict[str, Any] = field(default_factory=dict)
    findings: tuple[dict[str, Any], ...] = ()

    def as_data(self) -> dict[str, Any]:
        """Return the check as the module returns it; it is as severe as its worst finding."""
        worst = max((SEVERITIES.index(row["severity"]) for row in self.findings), default=0)
        return {
            "id": self.id,
            "name": NAMES[self.id],
            "status": self.status,
            "severity": SEVERITIES[worst],
            "vantage": self.vantage,
            "reason": self.reason,
            "evidence": self.evidence,
            "findings": [dict(row) for row in self.findings],
        }


@dataclass(frozen=True)
class Reply:
    """A question over UDP to one address, and what came back from it, whatever port it came from."""

    address: str
    question: str
    state: str
    sent_bytes: int = 0
    packets: int = 0
    received_bytes: int = 0
    ports: tuple[int, ...] = ()
    server: str = ""

    @property
    def factor(self) -> float:
        """How many bytes come back for each that is sent."""
        return round(self.received_bytes / self.sent_bytes, 1) if self.sent_bytes else 0.0

    def as_data(self) -> dict[str, Any]:
        """Return the reply as evidence."""
        return {**asdict(self), "ports": list(self.ports), "amplification": self.factor}


@dataclass(frozen=True)
class Contact:
    """Whether anything at all came back from an address. C(udp), C(tcp): so did an answer to that, so that it gets there."""

    address: str
    by: tuple[str, ...] = ()
    udp: bool = False
    tcp: bool = False

    @property
    def reachable(self) -> bool:
        """Whether packets get there and back."""
        return bool(self.by)


@dataclass(frozen=True)
class Door:
    """A TCP port of an address.

    Attributes:
        description: where a device description was read.
        soap: C(answered), C(refused) for a description without such a service, or empty for not asked or no usable answer.
        http: of an open port, C(answered), C(other) for something else than HTTP, or C(silent); empty for not asked.
    """

    address: str
    port: int
    state: str
    description: str = ""
    soap: str = ""
    server: str = ""
    external_address: str = ""
    http: str = ""

    def as_data(self) -> dict[str, Any]:
        """Return the port as evidence."""
        return asdict(self)


@dataclass(frozen=True)
class ServiceInfo:
    """A service of a device; an address is None if there is none or if it leads to another host."""

    service_type: str
    control: Url | None = None
    event: Url | None = None
    scpd: Url | None = None


@dataclass(frozen=True)
class Device:
    """Something that answered the search. C(elsewhere): it names a description on another host, which was not asked."""

    address: str
    interface: str
    location: str
    server: str = ""
    http_server: str = ""
    device_type: str = ""
    product: str = ""
    igd: bool = False
    default_gateway: bool = False
    elsewhere: bool = False
    via: tuple[str, ...] = ()
    services: tuple[ServiceInfo, ...] = ()
    problem: str = ""
    #: The HTTP status for a request that names another host; None if there was no answer.
    forged_host: int | None = None
    #: Of a device that answered over IPv6, the IPv4 address that the same network card answers for; empty if not known.
    ipv4: str = ""

    @property
    def known_as(self) -> str:
        """One address for a device that answers over IPv4 and IPv6."""
        return self.ipv4 or self.address

    def as_data(self) -> dict[str, Any]:
        """Return what is reported about a device."""
        return {
            "address": self.address,
            "interface": self.interface,
            "ipv4_address": self.ipv4,
            "location": self.location,
            "location_elsewhere": self.elsewhere,
            "server": self.server,
            "http_server": self.http_server,
            "device_type": self.device_type,
            "product": self.product,
            "gateway_device": self.igd,
            "default_gateway": self.default_gateway,
            "via": list(self.via),
            "services": [service.service_type for service in self.services],
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Attempt:
    """A mapping that was asked for in order to be refused, and its removal.

    Attributes:
        kind: what the target is: C(third_party), C(outside), C(router), C(loopback), C(low_port).
        state: C(accepted), C(refused), C(cannot) or C(unclear).
        code: the router's error code, 0 if there is none.
        removed_by: the action that removed it; empty if there was nothing to remove.
        left: it could not be removed.
    """

    kind: str
    gateway: str
    target: str
    external_port: int
    state: str
    code: int = 0
    removed_by: str = ""
    left: bool = False
    note: str = ""

    def as_data(self) -> dict[str, Any]:
        """Return the attempt as evidence."""
        return asdict(self)


@dataclass(frozen=True)
class Subscription:
    """An attempt to have a device send its events to a host outside.

    Attributes:
        status: the HTTP status; None without an answer.
        left: it could not be ended, or it may have been made by a device that did not answer.
        ends_in: when it ends by itself, by the device's word; 0 for never.
    """

    address: str
    url: str
    status: int | None
    granted: bool = False
    left: bool = False
    note: str = ""
    ends_in: int = 0

    def as_data(self) -> dict[str, Any]:
        """Return the attempt as evidence."""
        return asdict(self)


@dataclass(frozen=True)
class Table:
    """The mappings of one router. C(reason) says why it could not be read; C(code) is the router's error code."""

    gateway: str
    entries: tuple[Entry, ...] = ()
    reason: str = ""
    code: int = 0


@dataclass(frozen=True)
class Deletion:
    """What is known about removing the mappings of others: whether the range action is described and answered, by the router's error code (0: 200)."""

    gateway: str
    product: str
    described: bool | None = None
    answered: bool | None = None
    code: int = 0


@dataclass(frozen=True)
class PinholeAttempt:
    """A pinhole that was asked for by UPnP in order to be refused, and its removal.

    Attributes:
        kind: C(low_port) of this host, or C(third_party) for another address of its network.
        over: C(ipv6) or C(ipv4), which the router was asked over.
        state, code, left, note: as in Attempt.
    """

    kind: str
    gateway: str
    target: str
    port: int
    over: str
    state: str
    code: int = 0
    left: bool = False
    note: str = ""

    def as_data(self) -> dict[str, Any]:
        """Return the attempt as evidence."""
        return asdict(self)


@dataclass(frozen=True)
class Pinholes:
    """What opens the router's IPv6 firewall.

    Attributes:
        address: this host's IPv6 address that was tried; empty if it has none.
        gateway: the router's IPv6 address; empty if there is no IPv6 route.
        firewall_enabled, inbound_allowed: what the router says of itself by UPnP; None if it does not.
        pcp: what came of PCP ANNOUNCE over IPv6; empty if not asked.
        port_22: C(granted), C(refused) or C(unclear); C(published) or C(records_unreadable) where it was not tried, since this host publishes it
            or may do so; empty for not tried.
        result: PCP's result code for it.
        left: it could not be taken back.
        offered: whether the router's description has WANIPv6FirewallControl; None if it was not read.
        attempts: what came of asking for pinholes there.
        not_attempted: why that was not asked.
    """

    address: str = ""
    gateway: str = ""
    firewall_enabled: bool | None = None
    inbound_allowed: bool | None = None
    pcp: str = ""
    port_22: str = ""
    result: int = -1
    left: bool = False
    offered: bool | None = None
    attempts: tuple[PinholeAttempt, ...] = ()
    not_attempted: str = ""

    def as_data(self) -> dict[str, Any]:
        """Return it as evidence."""
        return {**asdict(self), "attempts": [attempt.as_data() for attempt in self.attempts]}


@dataclass(frozen=True)
class Former:
    """A mapping that was there before UPnP was switched off. C(listening): something answers behind it, so a refusal is the router's."""

    protocol: str
    external_port: int
    listening: bool = False


@dataclass(frozen=True)
class LanView:
    """Everything that was seen from inside."""

    active: bool = False
    check_mode: bool = False
    #: Why there was nothing to look at: no LAN behind a router, or no address in it.
    no_lan: str = ""
    source: str = ""
    networks: tuple[str, ...] = ()
    gateway: str = ""
    devices: tuple[Device, ...] = ()
    #: More answered than are looked at.
    cut: bool = False
    multicast_answered: bool = False
    gateway_ssdp: str = UNSENT
    gateway_doors: tuple[Door, ...] = ()
    inside: tuple[Reply, ...] = ()
    tables: tuple[Table, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    #: Why an attempt was not made, by kind.
    not_attempted: dict[str, str] = field(default_factory=dict)
    subscriptions: tuple[Subscription, ...] = ()
    deletions: tuple[Deletion, ...] = ()
    pinholes: Pinholes = field(default_factory=Pinholes)
    #: By address: whether a client answers in the LAN; without an entry it is not known.
    alive: dict[str, bool] = field(default_factory=dict)
    #: The ports that this host listens on, as (protocol, port); None if not known.
    listening: frozenset[tuple[str, int]] | None = None
    known_clients: tuple[str, ...] = ()
    host_id: str = ""
    former: tuple[Former, ...] = ()
    probes: tuple[dict[str, Any], ...] = ()
    outside: dict[str, Any] = field(default_factory=dict)

    @property
    def igds(self) -> tuple[Device, ...]:
        """The devices that call themselves gateways."""
        return tuple(device for device in self.devices if device.igd)


@dataclass(frozen=True)
class WanView:
    """Everything that was seen from outside."""

    addresses: tuple[str, ...] = ()
    location_ports: tuple[int, ...] = ()
    #: The paths that were asked for a description on each open port.
    paths: tuple[str, ...] = ()
    contacts: tuple[Contact, ...] = ()
    ssdp: tuple[Reply, ...] = ()
    pmp: tuple[Reply, ...] = ()
    doors: tuple[Door, ...] = ()
    #: Ports of IPv6 addresses, to see what a pinhole or a missing firewall lets in.
    ipv6_doors: tuple[Door, ...] = ()
