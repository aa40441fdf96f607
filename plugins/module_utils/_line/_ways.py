# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services a line can carry, and by which ways the others could still be reached. Pure.

Private to this collection: no compatibility is promised to code outside it.

    service_rows(line, services, provider)      one row per service, in order; line is what _verdict.judge returned
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._map_e import nearest
from ._providers import provider as known_provider
from ._sockets import EndpointError

__all__ = ["BY_VERDICT", "WORM_PORTS", "check_services", "service_rows"]

#: Ports that worms use and providers therefore close.
WORM_PORTS = frozenset({135, 137, 138, 139, 445})

#: How a state follows from inbound_ipv4, where the port itself is not the reason.
_STATES = {"open": "possible", "needs_forward": "after_forward", "blocked": "impossible", "unknown": "unknown"}

_EFFORTS = ("low", "medium", "high")

#: name: (effort, who is left out, what to do)
_WAYS: dict[str, tuple[str, str, str]] = {
    "other_port": ("low", "whoever does not know the port; certificates by HTTP-01", "use {protocol} port {port}, which is this line's own, as external port"),
    "ipv6": ("low", "visitors without IPv6", "publish {ipv6} over IPv6, and let the router's IPv6 filter pass it"),
    "bridge_mode": ("medium", "nobody", "make the outer router a bridge, so that one router alone translates"),
    "forward_twice": ("medium", "nobody", "forward the port in both routers, in the outer one to the inner one's WAN address"),
    "provider_global_address": ("medium", "nobody", "ask the provider for an IPv4 address of your own{note}"),
    "pppoe": ("medium", "nobody", "run a PPPoE session beside the present connection, if the contract has it: it gets an IPv4 address with all ports"),
    "provider_ipv6": ("medium", "visitors without IPv6", "ask the provider for IPv6"),
    "fixed_ip": ("high", "nobody", "take a fixed address through a VPN to a server that has one; only the listed ports are forwarded"),
}
#: What remains where a line cannot carry a service over IPv4, by its verdict, the best first.
BY_VERDICT: dict[str, tuple[str, ...]] = {
    "map_e": ("other_port", "ipv6", "pppoe", "provider_global_address", "fixed_ip"),
    "ds_lite": ("ipv6", "pppoe", "provider_global_address", "fixed_ip"),
    "cgn": ("ipv6", "provider_global_address", "fixed_ip"),
    "nat64_464xlat": ("ipv6", "provider_global_address", "fixed_ip"),
    "no_ipv4": ("ipv6", "provider_global_address", "fixed_ip"),
    "double_nat": ("bridge_mode", "forward_twice", "ipv6", "fixed_ip"),
    "double_nat_or_cgn": ("bridge_mode", "forward_twice", "ipv6", "provider_global_address", "fixed_ip"),
    "nat_unknown": ("ipv6", "fixed_ip"),
    "vpn_or_proxy_egress": ("fixed_ip",),
    "one_to_one_nat": ("ipv6", "fixed_ip"),
}


def service_rows(line: Mapping[str, Any], services: Sequence[Mapping[str, Any]], provider: str | None = None) -> list[dict[str, Any]]:
    """Return for each service whether the line can carry it over IPv4, and the ways that remain if not, the best first."""
    return [_row(line, service, provider) for service in services]


def _row(line: Mapping[str, Any], service: Mapping[str, Any], provider: str | None) -> dict[str, Any]:
    port = int(service["external_port"])
    ranges = [(int(one["first"]), int(one["last"])) for one in line["ports"]]
    inbound = line["inbound_ipv4"]
    inside = any(first <= port <= last for first, last in ranges)
    if inbound == "port_set":
        state, reason = ("after_forward", "") if inside else ("impossible", "port_not_in_set")
    else:
        state, reason = _STATES.get(inbound, "unknown"), line["verdict"] if inbound in ("blocked", "unknown") else ""
    closest = nearest(ranges, port) if inbound == "port_set" and not inside and ranges else None
    return {
        "name": service["name"],
        "protocol": service["protocol"],
        "external_port": port,
        "ipv4": state,
        "ipv6": {"open": "possible", "blocked": "impossible"}.get(line["inbound_ipv6"], "unknown"),
        "reason": reason,
        "nearest_port": closest,
        "forwards": 0 if state == "impossible" else _forwards(line),
        "often_filtered": port in WORM_PORTS,
        "note": f"many providers close port {port}, because worms use it" if port in WORM_PORTS else "",
        "ways": _ways(line, service, closest, provider) if state in ("impossible", "unknown") else [],
    }


def _forwards(line: Mapping[str, Any]) -> int | None:
    """Return in how many routers a forward is needed, None if that is not known."""
    if line["inbound_ipv4"] == "open":
        return 0
    if line["inbound_ipv4"] not in ("needs_forward", "port_set"):
        return None
    return 2 if line["verdict"] == "double_nat" or "double_nat" in line["verdict_reasons"] else 1


def _ways(line: Mapping[str, Any], service: Mapping[str, Any], port: int | None, provider: str | None) -> list[dict[str, Any]]:
    names = list(BY_VERDICT.get(line["verdict"], ()))
    ipv6 = line["host_ipv6_address"]
    # Mail between servers goes to port 25 alone; another port would receive nothing.
    if "other_port" in names and (port is None or int(service["external_port"]) == 25):
        names.remove("other_port")
    if "ipv6" in names and not ipv6:
        names[names.index("ipv6")] = "provider_ipv6"
    if "double_nat" in line["verdict_reasons"] and "bridge_mode" not in names:
        names.insert(0, "bridge_mode")
    map_e = line.get("map_e") or {}
    known = known_provider(provider or map_e.get("service"))
    sold = known if known is not None and "provider_global_address" in known["options"] else None
    note = f" ({sold['name']}: {sold['note']}; {sold['source']}, {sold['date']}, {sold['verified']})" if sold else ""
    values = {"protocol": service["protocol"], "port": port, "ipv6": ipv6, "note": note}
    ways = []
    for name in names:
        effort, left_out, text = _WAYS[name]
        ways.append({"name": name, "effort": effort, "left_out": left_out, "text": text.format(**values), "port": port if name == "other_port" else None})
    return sorted(ways, key=lambda way: _EFFORTS.index(way["effort"]))


def check_services(services: Sequence[Mapping[str, Any]], option: str = "services", key: str = "external_port") -> None:
    """Refuse ports that are none.

    Raises:
        EndpointError: one is out of range.
    """
    for service in services:
        if not 0 < int(service[key]) < 65536:
            name = service.get("name")
            where = f"{option}: {name}: {key}" if name else f"{option}: {key}"
            raise EndpointError(f"{where} {service[key]} is out of the range 1 to 65535; port 0 would stand for all ports with some routers")
