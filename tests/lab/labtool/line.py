# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line: a YAML file with the topology's parameters and what diagnosis and publication must say about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .util import LAB_DIR, LabError

LINES = LAB_DIR / "lines"

#: What the provider hands out, see topology.py. Where it translates itself, nothing comes in by IPv4.
WANS = ("global", "cgn", "cgn_private", "cgn_public", "one_to_one", "ds_lite", "clat", "map_e", "none")
TRANSLATED = frozenset({"cgn", "cgn_private", "cgn_public", "ds_lite", "clat"})
MAP_SERVICES = ("v6plus", "biglobe_ipv6_option", "ocn_virtual_connect")
ROUTERS = ("router", "router2")
#: An external port of the line's own port set, another one in each run.
IN_SET = "in_set"


@dataclass(frozen=True)
class Upnp:
    """How miniupnpd runs on the home routers."""

    enabled: bool = True
    # Refuse mappings to another host than the one that asks.
    secure_mode: bool = True
    # open: the LAN may map every port. default: as routers ship it, 1024 and above.
    rules: str = "open"
    # vulnerable: no filter towards the Internet, no permission rules, mappings for third parties.
    variant: str = "good"
    routers: tuple[str, ...] = ("router", "router2")


@dataclass(frozen=True)
class PortFilter:
    """Ports that the provider does not let through."""

    inbound: tuple[int, ...] = ()
    outbound: tuple[int, ...] = ()
    action: str = "drop"


@dataclass(frozen=True)
class Service:
    """What the server wants to offer."""

    name: str
    protocol: str
    port: int
    # A number, IN_SET, or nothing: the same as inside.
    external_port: int | str | None = None
    # Nothing: those that the line has.
    families: tuple[str, ...] = ()


SERVICES = (Service("web", "tcp", 80), Service("alt", "tcp", 443, 8443), Service("wg", "udp", 51820))


@dataclass(frozen=True)
class Line:
    """The parameters of one line."""

    name: str
    description: str
    # Home routers between the provider and the LAN: 0, 1 or 2.
    routers: int = 1
    # What the provider hands out: one of WANS.
    wan: str = "global"
    ipv6: bool = False
    # Whether home routers let connections in over IPv6.
    ipv6_inbound: str = "closed"
    # The server's interface of the line, where there is no router.
    interface: str = "wan0"
    # For how many seconds the server's address is valid, where there is no router; 0: for ever.
    lease: int = 0
    # Whose rules of MAP-E.
    map_service: str = "v6plus"
    # Home routers with a web page on their LAN side.
    page: tuple[str, ...] = ()
    # Home routers that send no ICMP.
    silent: tuple[str, ...] = ()
    # The server's VPN: none, one that carries the default route, one that only has an address of 100.64.0.0/10.
    vpn: str = "none"
    # What the provider does not let through whatever the port. Of UDP, DNS passes.
    blocks: tuple[str, ...] = ()
    # What the provider does with web pages: open, proxy, portal.
    web: str = "open"
    upnp: Upnp = field(default_factory=Upnp)
    port_filter: PortFilter = field(default_factory=PortFilter)
    services: tuple[Service, ...] = SERVICES
    diagnose: dict[str, Any] = field(default_factory=dict)
    expect: dict[str, Any] = field(default_factory=dict)


class _Reader:
    """Takes values out of a mapping, and refuses what is left."""

    def __init__(self, value: Any, where: str, file: Path) -> None:
        self.file, self.where, self.seen = file, where, set[str]()
        if not isinstance(value, dict):
            raise LabError(f"{file}: {where} must be a mapping, not {value!r}")
        self.value = value

    def _key(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def take(self, key: str, kind: type, default: Any = None, allowed: tuple[Any, ...] = (), required: bool = False) -> Any:
        self.seen.add(key)
        if key not in self.value:
            if required:
                raise LabError(f"{self.file}: {self._key(key)} is missing")
            return default
        value = self.value[key]
        # In Python a truth value is a number; here it is not.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise LabError(f"{self.file}: {self._key(key)} must be of type {kind.__name__}, not {value!r}")
        if allowed and value not in allowed:
            raise LabError(f"{self.file}: {self._key(key)} is {value!r}; allowed: {', '.join(map(str, allowed))}")
        return value

    def ports(self, key: str) -> tuple[int, ...]:
        ports = self.take(key, list, [])
        for port in ports:
            if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
                raise LabError(f"{self.file}: {self._key(key)} has {port!r}; ports are numbers from 1 to 65535")
        return tuple(ports)

    def words(self, key: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
        words = self.take(key, list, [])
        if any(word not in allowed for word in words):
            raise LabError(f"{self.file}: {self._key(key)} is {words!r}; allowed: {', '.join(allowed)}")
        return tuple(words)

    def port(self, key: str, required: bool = False) -> int | None:
        port: int | None = self.take(key, int, required=required)
        if port is not None and not 1 <= port <= 65535:
            raise LabError(f"{self.file}: {self._key(key)} is {port}; ports are numbers from 1 to 65535")
        return port

    def end(self) -> None:
        for key in self.value:
            if key not in self.seen:
                raise LabError(f"{self.file}: unknown key {self._key(str(key))!r}; allowed here: {', '.join(sorted(self.seen))}")


def load(path: Path) -> Line:
    """Read and check a line."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        shipped = ", ".join(sorted(str(one) for one in LINES.glob("*.yml")))
        raise LabError(f"the line {str(path)!r} cannot be read: {exc.strerror}. Lines that ship: {shipped}") from exc
    except yaml.YAMLError as exc:
        raise LabError(f"{path} is not YAML: {exc}") from exc
    top = _Reader(data, "", path)
    name, description = top.take("name", str, required=True), top.take("description", str, required=True)
    expect, diagnose = top.take("expect", dict, {}), top.take("diagnose", dict, {})
    services = _services(top.take("services", list), path)
    topology = _Reader(top.take("topology", dict, required=True), "topology", path)
    top.end()
    line = Line(
        name=name,
        description=description,
        routers=topology.take("routers", int, 1, (0, 1, 2)),
        wan=topology.take("wan", str, "global", WANS),
        ipv6=topology.take("ipv6", bool, False),
        ipv6_inbound=topology.take("ipv6_inbound", str, "closed", ("closed", "open")),
        interface=topology.take("interface", str, "wan0"),
        lease=topology.take("lease", int, 0),
        map_service=topology.take("map_service", str, "v6plus", MAP_SERVICES),
        page=topology.words("page", ROUTERS),
        silent=topology.words("silent", ROUTERS),
        vpn=topology.take("vpn", str, "none", ("none", "default_route", "overlay")),
        blocks=topology.words("blocks", ("gre", "udp", "everything")),
        web=topology.take("web", str, "open", ("open", "proxy", "portal")),
        upnp=_upnp(_Reader(topology.take("upnp", dict, {}), "topology.upnp", path), path),
        port_filter=_port_filter(_Reader(topology.take("port_filter", dict, {}), "topology.port_filter", path)),
        services=services,
        diagnose=diagnose,
        expect=expect,
    )
    topology.end()
    _possible(line, path)
    return line


def _upnp(given: _Reader, path: Path) -> Upnp:
    plain = Upnp()
    routers = tuple(given.take("routers", list, list(plain.routers)))
    if any(router not in ROUTERS for router in routers):
        raise LabError(f"{path}: topology.upnp.routers is {list(routers)!r}; allowed: {', '.join(ROUTERS)}")
    upnp = Upnp(
        enabled=given.take("enabled", bool, plain.enabled),
        secure_mode=given.take("secure_mode", bool, plain.secure_mode),
        rules=given.take("rules", str, plain.rules, ("default", "open")),
        variant=given.take("variant", str, plain.variant, ("good", "vulnerable")),
        routers=routers,
    )
    given.end()
    return upnp


def _port_filter(given: _Reader) -> PortFilter:
    ports = PortFilter(given.ports("inbound"), given.ports("outbound"), given.take("action", str, "drop", ("drop", "reject")))
    given.end()
    return ports


def _services(rows: list[Any] | None, path: Path) -> tuple[Service, ...]:
    if rows is None:
        return SERVICES
    services = []
    for index, row in enumerate(rows):
        given = _Reader(row, f"services[{index}]", path)
        name, protocol = given.take("name", str, required=True), given.take("protocol", str, required=True, allowed=("tcp", "udp"))
        inside = given.port("port", required=True)
        outside: int | str | None = IN_SET if given.value.get("external_port") == IN_SET else None
        given.seen.add("external_port")
        services.append(Service(name, protocol, inside or 0, outside or given.port("external_port"), given.words("families", ("ipv4", "ipv6"))))
        given.end()
    return tuple(services)


def _possible(line: Line, path: Path) -> None:
    """Refuse what contradicts itself."""
    wrong = ""
    if line.wan in ("map_e", "one_to_one", "ds_lite") and not line.routers:
        wrong = f"topology.wan {line.wan} needs a home router; topology.routers: 1"
    elif line.wan == "clat" and line.routers:
        wrong = "topology.wan clat is a device without a home router; topology.routers: 0"
    elif line.wan == "none" and not line.ipv6:
        wrong = "topology.wan none without IPv6 is no line; topology.ipv6: true"
    elif line.wan == "map_e" and not line.ipv6:
        wrong = "topology.wan map_e is made of the home's IPv6 prefix; topology.ipv6: true"
    elif line.routers and (line.lease or line.interface != "wan0"):
        wrong = "topology.lease and topology.interface are for a server without a router; topology.routers: 0"
    elif line.lease < 0:
        wrong = f"topology.lease is {line.lease}; it is a number of seconds, 0 for ever"
    elif line.wan != "map_e" and any(one.external_port == IN_SET for one in line.services):
        wrong = f"external_port {IN_SET} needs a port set; topology.wan: map_e"
    elif line.vpn == "default_route" and not line.routers:
        wrong = "topology.vpn default_route needs a home router; topology.routers: 1"
    if wrong:
        raise LabError(f"{path}: {wrong}")
