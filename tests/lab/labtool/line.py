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
class Line:
    """The parameters of one line."""

    name: str
    description: str
    # Home routers between the provider and the LAN: 0, 1 or 2.
    routers: int = 1
    # What the provider hands out: a global address, or one behind its own NAT.
    wan: str = "global"
    ipv6: bool = False
    upnp: Upnp = field(default_factory=Upnp)
    port_filter: PortFilter = field(default_factory=PortFilter)
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
    expect, topology = top.take("expect", dict, {}), _Reader(top.take("topology", dict, required=True), "topology", path)
    top.end()
    upnp = _Reader(topology.take("upnp", dict, {}), "topology.upnp", path)
    plain = Upnp()
    known_routers = ("router", "router2")
    upnp_routers = tuple(upnp.take("routers", list, list(plain.routers)))
    if any(router not in known_routers for router in upnp_routers):
        raise LabError(f"{path}: topology.upnp.routers is {list(upnp_routers)!r}; allowed: {', '.join(known_routers)}")
    the_upnp = Upnp(
        enabled=upnp.take("enabled", bool, plain.enabled),
        secure_mode=upnp.take("secure_mode", bool, plain.secure_mode),
        rules=upnp.take("rules", str, plain.rules, ("default", "open")),
        variant=upnp.take("variant", str, plain.variant, ("good", "vulnerable")),
        routers=upnp_routers,
    )
    upnp.end()
    ports = _Reader(topology.take("port_filter", dict, {}), "topology.port_filter", path)
    the_filter = PortFilter(ports.ports("inbound"), ports.ports("outbound"), ports.take("action", str, "drop", ("drop", "reject")))
    ports.end()
    line = Line(
        name=name,
        description=description,
        routers=topology.take("routers", int, 1, (0, 1, 2)),
        wan=topology.take("wan", str, "global", ("global", "cgn")),
        ipv6=topology.take("ipv6", bool, False),
        upnp=the_upnp,
        port_filter=the_filter,
        expect=expect,
    )
    topology.end()
    return line
