# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request: which services shall be reachable. Reads and judges it; knows nothing of the line.

Runs on the controller only. Pure: no I/O, no Ansible.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

try:
    from netaddr import AddrFormatError, IPNetwork
except ImportError:  # pragma: no cover - the callers check HAS_NETADDR and say what to install
    HAS_NETADDR = False
else:
    HAS_NETADDR = True

from ..module_utils._ownership import SERVICE_NAME

FAMILIES = ("ipv4", "ipv6")
PROTOCOLS = ("tcp", "udp")

#: How a visitor's packet can get to the host, as far as this version can arrange it.
PATHS = ("auto", "direct", "port_mapping")
#: Paths that have a name already, but nothing behind it yet.
FUTURE_PATHS = ("router", "tunnel", "manual")

_KNOWN = {"name", "protocol", "port", "external_port", "families", "allow_from", "path", "target", "until", "verify"}


@dataclass(frozen=True)
class Service:
    """One service that shall be reachable.

    Attributes:
        name: what people and tags call it.
        protocol: C(tcp) or C(udp).
        port: where it listens on the host, 1..65535.
        external_port: where visitors find it, 1..65535.
        families: the address families asked for; empty means: IPv4, and IPv6 where the host has a global address.
        allow_from: networks that may use it, as CIDR text; empty means the whole Internet.
        path: one of L(PATHS).
        verify: C(nonce) or C(none).
    """

    name: str
    protocol: str
    port: int
    external_port: int
    families: tuple[str, ...] = ()
    allow_from: tuple[str, ...] = ()
    path: str = "auto"
    verify: str = "nonce"

    def as_data(self) -> dict[str, Any]:
        """Return the service as a plain mapping."""
        return {
            "name": self.name,
            "protocol": self.protocol,
            "port": self.port,
            "external_port": self.external_port,
            "families": list(self.families),
            "allow_from": list(self.allow_from),
            "path": self.path,
            "verify": self.verify,
        }


@dataclass(frozen=True)
class Problem:
    """Why a request cannot be carried out.

    Attributes:
        check: stable id of the rule that it breaks.
        subject: what the user wrote, for example C(publish_services[0].port: 70000).
        reason: why that cannot be.
        remedy: what to write instead.
        service: name of the service concerned, empty if none.
    """

    check: str
    subject: str
    reason: str
    remedy: str
    service: str = ""

    def as_data(self) -> dict[str, str]:
        """Return the problem as a plain mapping."""
        return {"check": self.check, "subject": self.subject, "reason": self.reason, "remedy": self.remedy, "service": self.service}

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}. {self.remedy}"


@dataclass
class Request:
    """The services that could be read, and what was wrong with the rest."""

    services: list[Service] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Risk:
    """A kind of service that should hardly ever face the Internet; texts by language code."""

    id: str
    name: Mapping[str, str]
    why: Mapping[str, str]
    instead: Mapping[str, str]
    ports: frozenset[tuple[str, int]]


def read_risks(rows: Iterable[Mapping[str, Any]]) -> list[Risk]:
    """Return the risks of the data file, ports expanded."""
    risks = []
    for row in rows:
        ports = frozenset((protocol, int(port)) for protocol in PROTOCOLS for port in row.get(protocol, ()))
        risks.append(Risk(row["id"], row["name"], row["why"], row["instead"], ports))
    return risks


def read_services(entries: Any, where: str = "publish_services") -> Request:
    """Read a list of services as the user wrote it. Everything is judged, so that one run shows all mistakes."""
    request = Request()
    if not isinstance(entries, Sequence) or isinstance(entries, (str, bytes)):
        request.problems.append(
            Problem("services-list", f"{where}: {entries!r}", "it is not a list", "Write a list of mappings, each with name, protocol and port")
        )
        return request
    names: dict[str, int] = {}
    listeners: dict[tuple[str, int], str] = {}
    for index, entry in enumerate(entries):
        service, problems = _read_service(entry, f"{where}[{index}]")
        if service is not None and service.name in names:
            problems.append(
                Problem(
                    "service-name-twice",
                    f"{where}[{index}].name: {service.name}",
                    f"{where}[{names[service.name]}] has the same name",
                    "Give each service a name of its own",
                    service.name,
                )
            )
        if service is not None:
            names.setdefault(service.name, index)
            key = (service.protocol, service.external_port)
            if key in listeners and listeners[key] != service.name:
                problems.append(external_port_taken(service, f"service {listeners[key]}", f"{where}[{index}]"))
            listeners.setdefault(key, service.name)
            other = next((one for one in request.services if (one.protocol, one.port) == (service.protocol, service.port)), None)
            if other is not None and set(other.allow_from) != set(service.allow_from):
                problems.append(_admitted_twice(service, other, f"{where}[{index}]"))
        request.problems.extend(problems)
        if service is not None and not problems:
            request.services.append(service)
    return request


def _admitted_twice(service: Service, other: Service, where: str) -> Problem:
    """Return the problem of two services on one port of the host that do not admit the same."""
    return Problem(
        "port-admits-twice",
        f"{where}.allow_from: {', '.join(service.allow_from) or 'everybody'}",
        f"service {other.name} leads to {service.protocol.upper()} {service.port} of this host as well and admits {', '.join(other.allow_from) or 'everybody'};"
        " the host cannot tell by which of the two a visitor came",
        "Give both the same allow_from, or let the service listen on a second port",
        service.name,
    )


def external_port_taken(service: Service, by: str, where: str) -> Problem:
    """Return the problem of two services that want one port of the Internet side."""
    return Problem(
        "external-port-twice",
        f"{where}.external_port: {service.external_port}",
        f"{by} already uses {service.protocol.upper()} {service.external_port} on the same address, and a port can lead to one place only",
        "Choose another external_port for one of the two",
        service.name,
    )


def judge_risks(services: Sequence[Service], risks: Sequence[Risk], accepted: Sequence[str], language: str = "en") -> list[Problem]:
    """Return a problem for each service that should not face the Internet and whose risk was not accepted by name."""
    problems = []
    for service in services:
        for risk in risks:
            if (service.protocol, service.port) not in risk.ports or service.name in accepted:
                continue
            problems.append(
                Problem(
                    f"risk-{risk.id}",
                    f"service {service.name} ({service.protocol.upper()} {service.port})",
                    f"{_text(risk.name, language)}: {_text(risk.why, language)}",
                    f"{_text(risk.instead, language)} (publish_accept_risk: [{service.name}])",
                    service.name,
                )
            )
    return problems


def judge_acceptance(services: Sequence[Service], accepted: Any) -> list[Problem]:
    """Return a problem for each accepted risk that matches no service, since it is most likely a slip of the pen."""
    if not isinstance(accepted, Sequence) or isinstance(accepted, (str, bytes)):
        return [Problem("accept-risk-list", f"publish_accept_risk: {accepted!r}", "it is not a list", "Write a list of service names")]
    names = {service.name for service in services}
    return [
        Problem("accept-risk-unknown", f"publish_accept_risk: {name}", "no service has this name", "Remove it, or correct it to the name of a service")
        for name in accepted
        if name not in names
    ]


def read_network(text: Any) -> str:
    """Return a network in its canonical form.

    Raises:
        ValueError: with the reason and, where there is one, the form that was probably meant.
    """
    if not isinstance(text, str) or not re.match(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?\Z", text):
        raise ValueError("it is not an address or a network such as 198.51.100.7 or 2001:db8::/32")
    if re.match(r"[0-9.]+(/|\Z)", text) and text.split("/")[0].count(".") != 3:
        raise ValueError("an IPv4 network needs all four numbers, as in 192.0.2.0/24")
    try:
        network = IPNetwork(text)
    except (AddrFormatError, ValueError) as error:
        raise ValueError(f"it is not an address or a network ({error})") from error
    if network.prefixlen == 0:
        raise ValueError("it is the whole Internet; leave allow_from out if that is meant")
    if network.ip != network.network:
        raise ValueError(f"it names a host inside the network; write {network.cidr} or {network.ip}")
    return str(network.cidr)


def _read_service(entry: Any, where: str) -> tuple[Service | None, list[Problem]]:
    if not isinstance(entry, Mapping):
        return None, [Problem("service-mapping", f"{where}: {entry!r}", "it is not a mapping", "Write name, protocol and port")]
    problems = []
    name = entry.get("name")
    if not isinstance(name, str) or not SERVICE_NAME.match(name):
        problems.append(
            Problem(
                "service-name",
                f"{where}.name: {name!r}",
                "a name is a lower-case letter and then up to 30 letters, digits and hyphens",
                "Write for example name: https",
            )
        )
        name = ""
    for key in sorted(set(entry) - _KNOWN, key=str):
        problems.append(Problem("service-key", f"{where}.{key}", "there is no such key", f"The keys are {', '.join(sorted(_KNOWN))}", name))
    protocol = entry.get("protocol", "tcp")
    if protocol not in PROTOCOLS:
        problems.append(
            Problem("service-protocol", f"{where}.protocol: {protocol!r}", "only tcp and udp have ports that can be published", "Write tcp or udp", name)
        )
    if "port" not in entry:
        problems.append(Problem("service-port", f"{where}.port", "it is missing", "Write the port on which the service listens, 1 to 65535", name))
        port = 0
    else:
        port = _read_port(entry["port"], f"{where}.port", name, problems)
    external = entry.get("external_port")
    external_port = port if external is None else _read_port(external, f"{where}.external_port", name, problems)
    families = _read_families(entry.get("families"), where, name, problems)
    allow_from = _read_allow_from(entry.get("allow_from"), where, name, problems)
    path = entry.get("path", "auto")
    if path in FUTURE_PATHS:
        problems.append(Problem("service-path", f"{where}.path: {path}", "this version cannot arrange that path yet", f"Use one of {', '.join(PATHS)}", name))
    elif path not in PATHS:
        problems.append(Problem("service-path", f"{where}.path: {path!r}", "there is no such path", f"Use one of {', '.join(PATHS)}", name))
    for key, why in (
        ("target", "this version publishes services of the managed host only, not of other devices"),
        ("until", "this version cannot take a publication back by itself at a given time"),
    ):
        if entry.get(key) is not None:
            problems.append(Problem(f"service-{key}", f"{where}.{key}: {entry[key]!r}", why, f"Leave {key} out", name))
    verify = entry.get("verify") or {}
    kind = verify.get("type", "nonce") if isinstance(verify, Mapping) else verify
    if kind not in ("nonce", "none"):
        problems.append(Problem("service-verify", f"{where}.verify.type: {kind!r}", "this version proves a path by nonce only", "Write nonce or none", name))
    if not name:
        return None, problems
    return Service(name, str(protocol), port, external_port, families, allow_from, str(path), str(kind)), problems


def _read_port(value: Any, where: str, name: str, problems: list[Problem]) -> int:
    try:
        port = int(value) if not isinstance(value, (bool, float)) else 0
    except (TypeError, ValueError):
        port = 0
    if 1 <= port <= 65535:
        return port
    problems.append(Problem("service-port", f"{where}: {value}", "a port is a whole number from 1 to 65535", "Write the port's number", name))
    return 0


def _read_families(value: Any, where: str, name: str, problems: list[Problem]) -> tuple[str, ...]:
    if value is None:
        return ()
    rows = [value] if isinstance(value, str) else value
    if not isinstance(rows, Sequence) or not rows or [row for row in rows if row not in FAMILIES]:
        problems.append(
            Problem("service-families", f"{where}.families: {value!r}", "the address families are ipv4 and ipv6", "Write for example families: [ipv4]", name)
        )
        return ()
    return tuple(family for family in FAMILIES if family in rows)


def _read_allow_from(value: Any, where: str, name: str, problems: list[Problem]) -> tuple[str, ...]:
    if value is None:
        return ()
    rows = [value] if isinstance(value, str) else value
    if not isinstance(rows, Sequence) or not rows:
        problems.append(
            Problem(
                "service-allow-from",
                f"{where}.allow_from: {value!r}",
                "an empty list would let nobody in",
                "Leave allow_from out for the whole Internet, or remove the service",
                name,
            )
        )
        return ()
    networks = []
    for row in rows:
        try:
            networks.append(read_network(row))
        except ValueError as error:
            problems.append(Problem("service-allow-from", f"{where}.allow_from: {row}", str(error), "Correct it", name))
    return tuple(networks)


def _text(texts: Mapping[str, str], language: str) -> str:
    return texts.get(language) or texts["en"]
