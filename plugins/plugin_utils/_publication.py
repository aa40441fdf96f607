# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision: by which path can each service be reached on this line, and what has to be done for it.

Runs on the controller only. Pure: readings in, plan out; no I/O, no Ansible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..module_utils._line._map_e import nearest
from ..module_utils._line._ways import BY_VERDICT
from ._services import Problem, Service, external_port_taken

DIRECT = "direct"
PORT_MAPPING = "port_mapping"
IMPOSSIBLE = "impossible"

#: Reasons why a family cannot carry a service, and the ways that remain, best first.
WAYS: Mapping[str, tuple[str, ...]] = {
    "wan_shared": BY_VERDICT["cgn"],
    "wan_private": ("bridge_mode", "forward_twice", "ipv6", "provider_global_address", "fixed_ip"),
    "wan_hidden": ("bridge_mode", "ipv6", "provider_global_address", "fixed_ip"),
    "wan_not_global": ("provider_global_address", "ipv6", "fixed_ip"),
    "no_gateway": ("enable_upnp", "forward_by_hand", "ipv6", "fixed_ip"),
    "no_route": ("connect",),
    "no_global_ipv6": ("provider_ipv6",),
    "not_direct": ("path_port_mapping",),
    "no_mapping_for_ipv6": ("path_direct",),
    "port_translation_without_nat": ("same_port",),
    "port_not_in_set": BY_VERDICT["map_e"],
    **{verdict: BY_VERDICT[verdict] for verdict in ("ds_lite", "nat64_464xlat", "no_ipv4")},
}

#: What stands in the way of IPv4 where M(line_info) says that nothing can come in, by its verdict.
_BLOCKED_BY: Mapping[str, str] = {"cgn": "wan_shared", "ds_lite": "ds_lite", "nat64_464xlat": "nat64_464xlat", "no_ipv4": "no_ipv4", "offline": "no_route"}

#: What M(line_info) knows beyond what the router and the kernel say; null where it was not asked.
_FROM_LINE_INFO = (
    *("confidence", "verdict_reasons", "candidates", "inbound_ipv4", "inbound_ipv6", "ports", "map_e"),
    *("address_stability", "contradictions", "consequences", "questions"),
)


@dataclass(frozen=True)
class Readings:
    """What was read on the host before anything was decided.

    Attributes:
        interfaces: rows of C(address_info).
        default_routes: rows of C(address_info).
        mapping: result of C(port_mapping_info).
        line: C(line) of C(line_info), None if it was not asked.
    """

    interfaces: Sequence[Mapping[str, Any]]
    default_routes: Sequence[Mapping[str, Any]]
    mapping: Mapping[str, Any]
    line: Mapping[str, Any] | None = None

    def publish_address(self, family: str) -> str | None:
        """Return the host's own global address of a family, as far as it is fit to be published."""
        for row in self.interfaces:
            address = str(row.get("address", ""))
            if row.get("publish_candidate") and (":" in address) == (family == "ipv6"):
                return address
        return None

    def lan_address(self) -> str | None:
        """Return the host's IPv4 address on the interface of the default route."""
        for row in self.interfaces:
            if row.get("on_default_route") and ":" not in str(row.get("address", "")):
                return str(row["address"])
        return None

    @property
    def gateway(self) -> Mapping[str, Any]:
        """The router as it answered to UPnP, empty if none did."""
        return self.mapping.get("gateway") or {}

    def has_route(self, family: str) -> bool:
        """Whether the host has a default route of a family."""
        return any(row.get("family") == family for row in self.default_routes)


@dataclass
class FamilyPlan:
    """How one service is reached over one address family.

    Attributes:
        path: C(direct), C(port_mapping) or C(impossible).
        address: the address at which visitors find it, None if it is not known.
        required: whether the user asked for this family; a family that was only added because the host has it may fail.
        reason: why it is impossible, a key of L(WAYS); empty otherwise.
        ways: what remains, best first.
    """

    path: str
    address: str | None = None
    required: bool = True
    reason: str = ""
    ways: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """Return the decision as a plain mapping."""
        return {"path": self.path, "address": self.address, "required": self.required, "reason": self.reason, "ways": list(self.ways)}


@dataclass
class Publication:
    """The plan of one host."""

    line: dict[str, Any]
    services: list[tuple[Service, dict[str, FamilyPlan]]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    mappings: list[dict[str, Any]] = field(default_factory=list)
    stale_mappings: list[str] = field(default_factory=list)
    firewall_services: list[dict[str, Any]] = field(default_factory=list)

    @property
    def possible(self) -> bool:
        """Whether every family that was asked for has a path, and nothing else stands against it."""
        return not self.problems and not any(plan.required and plan.path == IMPOSSIBLE for _service, families in self.services for plan in families.values())

    def as_data(self) -> dict[str, Any]:
        """Return the plan as a plain mapping."""
        return {
            "line": self.line,
            "possible": self.possible,
            "services": [
                {**service.as_data(), "families": {family: plan.as_data() for family, plan in families.items()}} for service, families in self.services
            ],
            "problems": [problem.as_data() for problem in self.problems],
            "mappings": self.mappings,
            "stale_mappings": self.stale_mappings,
            "firewall_services": self.firewall_services,
            "listeners": [{key: row[key] for key in ("name", "protocol", "port", "families")} for row in self.firewall_services],
        }


def judge_line(readings: Readings) -> dict[str, Any]:
    """Return what the readings say about the line: verdict, the reason in the way of IPv4, and the evidence.

    The verdict is one of the words of C(line_info). Where that was not asked, it is only as sure as the host's addresses and the
    router's own statement about its WAN address.
    """
    gateway = readings.gateway
    wan_class = gateway.get("wan_address_class")
    line: dict[str, Any] = {
        "verdict": "nat_unknown",
        "blocked_by": "",
        "wan_address": gateway.get("wan_address") or None,
        "router_wan_address": gateway.get("wan_address") or None,
        "wan_address_class": wan_class,
        "router_address": gateway.get("address") or _router_address(readings),
        "router_product": gateway.get("product"),
        "host_address": readings.lan_address(),
        "host_ipv6_address": readings.publish_address("ipv6"),
        "mapping_available": bool(readings.mapping.get("available")),
        "mapping_reason": readings.mapping.get("reason") or "",
    }
    own = readings.publish_address("ipv4")
    if own:
        line.update(verdict="public_direct", wan_address=own, wan_address_class="global", router_address=None)
    elif not readings.has_route("ipv4"):
        line.update(verdict="no_ipv4" if readings.has_route("ipv6") else "offline", blocked_by="no_route")
    elif not line["mapping_available"]:
        line.update(verdict="nat_unknown", blocked_by="no_gateway")
    elif not line["wan_address"]:
        # A home router that is connected but cannot name a global address of its own stands behind another NAT.
        line.update(verdict="double_nat_or_cgn", blocked_by="wan_hidden")
    elif wan_class == "global":
        line.update(verdict="nat_single")
    elif wan_class == "shared_cgn":
        line.update(verdict="cgn", blocked_by="wan_shared")
    elif wan_class == "private":
        line.update(verdict="double_nat_or_cgn", blocked_by="wan_private")
    else:
        line.update(verdict="nat_unknown", blocked_by="wan_not_global")
    line.update({key: (readings.line or {}).get(key) for key in _FROM_LINE_INFO})
    if readings.line is not None:
        _heed_line_info(line, readings.line)
    return line


def _heed_line_info(line: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Let what more readings say of the line stand over what the router alone says of it.

    What blocks a mapping stays: behind a router without a mapping nothing is published, whatever the line could carry.
    """
    verdict = found["verdict"]
    if verdict == "nat_unknown" and line["verdict"] == "double_nat_or_cgn" and not found["contradictions"]:
        # Nobody outside was asked, but a router that is connected and has no global address to name says enough.
        verdict = line["verdict"]
    line["verdict"] = verdict
    if verdict not in ("nat_unknown", "public_direct"):
        line.update(wan_address=found["wan_address"] or line["wan_address"], wan_address_class=found["wan_address_class"] or line["wan_address_class"])
    if found["inbound_ipv4"] == "blocked":
        line["blocked_by"] = _BLOCKED_BY.get(verdict, line["blocked_by"] or "wan_not_global")


def plan_publication(
    services: Sequence[Service],
    readings: Readings,
    peers: Sequence[Mapping[str, Any]] = (),
    adopt: bool = False,
) -> Publication:
    """Decide for each service and family.

    Args:
        services: the services as asked for.
        readings: what was read on the host.
        peers: other hosts of the same run, C({host, services: [Service], wan_address}); those behind the same WAN address
            share its ports.
        adopt: whether a mapping that points at this host already, but is not ours, may be taken over.
    """
    publication = Publication(judge_line(readings))
    for index, service in enumerate(services):
        families = {
            family: _plan_family(service, family, readings, publication.line, required=not service.families or family in service.families)
            for family in _wanted_families(service, readings)
        }
        if not service.families and "ipv6" in families:
            families["ipv6"].required = False
        publication.services.append((service, families))
        if any(plan.path == PORT_MAPPING for plan in families.values()):
            where = f"publish_services[{index}]"
            found = (_taken_by_peer(service, publication.line, peers, where), _taken_in_router(service, readings, where, adopt))
            publication.problems.extend(problem for problem in found if problem is not None)
    publication.mappings = [
        {"name": service.name, "protocol": service.protocol, "external_port": service.external_port, "port": service.port}
        for service, families in publication.services
        if any(plan.path == PORT_MAPPING for plan in families.values())
    ]
    wanted = {row["name"] for row in publication.mappings}
    publication.stale_mappings = sorted(
        {
            str(row["name"])
            for row in readings.mapping.get("mappings") or []
            if row.get("owner") == "ours" and row.get("name") not in wanted and not _is_pinhole(row)
        }
    )
    publication.firewall_services = _firewall_services(publication.services)
    return publication


def nearest_port(line: Mapping[str, Any], port: int) -> int:
    """Return the port of a line that has some ports only that is nearest to a wanted one, by the rule of C(line_info)."""
    return nearest([(int(row["first"]), int(row["last"])) for row in line["ports"]], port)


def _firewall_services(services: Sequence[tuple[Service, Mapping[str, FamilyPlan]]]) -> list[dict[str, Any]]:
    """Return what the host lets in: each of its ports once, however many services lead there from outside."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for service, plans in services:
        families = [family for family, plan in plans.items() if plan.path != IMPOSSIBLE]
        if not families:
            continue
        row: dict[str, Any] = {"name": service.name, "protocol": service.protocol, "port": service.port, "families": []}
        row = found.setdefault((service.protocol, service.port), {**row, **({"allow_from": list(service.allow_from)} if service.allow_from else {})})
        row["families"] += [family for family in families if family not in row["families"]]
    return list(found.values())


def readdress(services: Sequence[Mapping[str, Any]], readings: Readings) -> list[dict[str, Any]]:
    """Return services of the journal with the addresses that they have now, None where that is not known.

    A dynamic address may be somebody else's by now, and what a stranger answers says nothing.
    """
    current = []
    for service in services:
        families = {}
        for family, decision in service["families"].items():
            address = readings.publish_address(family) if decision["path"] == DIRECT else readings.gateway.get("wan_address")
            families[family] = {**decision, "address": address or None} if decision["path"] != IMPOSSIBLE else dict(decision)
        current.append({**service, "families": families})
    return current


def _wanted_families(service: Service, readings: Readings) -> list[str]:
    if service.families:
        return list(service.families)
    return ["ipv4", "ipv6"] if readings.publish_address("ipv6") and service.external_port == service.port else ["ipv4"]


def _plan_family(service: Service, family: str, readings: Readings, line: Mapping[str, Any], required: bool) -> FamilyPlan:
    own = readings.publish_address(family)
    if family == "ipv6":
        if service.path == PORT_MAPPING:
            return _impossible("no_mapping_for_ipv6", readings, required)
        if not own:
            return _impossible("no_global_ipv6", readings, required)
    if own:
        if service.path == PORT_MAPPING:
            return _impossible("not_direct", readings, required)
        if service.external_port != service.port:
            return _impossible("port_translation_without_nat", readings, required)
        return FamilyPlan(DIRECT, own, required)
    if service.path == DIRECT or line["blocked_by"]:
        return _impossible(line["blocked_by"] or "not_direct", readings, required)
    if line["inbound_ipv4"] == "port_set" and not any(row["first"] <= service.external_port <= row["last"] for row in line["ports"]):
        # Mail between servers goes to port 25 alone; another port would receive nothing.
        return _impossible("port_not_in_set", readings, required, without=("other_port",) if (service.protocol, service.external_port) == ("tcp", 25) else ())
    return FamilyPlan(PORT_MAPPING, line["wan_address"], required)


def _impossible(reason: str, readings: Readings, required: bool, without: Sequence[str] = ()) -> FamilyPlan:
    has_ipv6 = readings.publish_address("ipv6") is not None
    # Advice that cannot be followed here is no advice.
    ways = tuple(way for way in WAYS[reason] if way not in without and (way != "ipv6" or has_ipv6))
    return FamilyPlan(IMPOSSIBLE, None, required, reason, ways)


def _taken_by_peer(service: Service, line: Mapping[str, Any], peers: Sequence[Mapping[str, Any]], where: str) -> Problem | None:
    for peer in peers:
        if not line["wan_address"] or peer.get("wan_address") != line["wan_address"]:
            continue
        for other in peer.get("services") or ():
            if (other.protocol, other.external_port) == (service.protocol, service.external_port):
                return external_port_taken(service, f"host {peer['host']} (service {other.name})", where)
    return None


def _is_pinhole(row: Mapping[str, Any]) -> bool:
    """Whether something is open for IPv6: it takes no port of the router's, and no publication makes such a thing."""
    return row.get("family") == "ipv6"


def _taken_in_router(service: Service, readings: Readings, where: str, adopt: bool) -> Problem | None:
    """Return the problem of an external port that the router forwards for somebody else already."""
    for row in readings.mapping.get("mappings") or ():
        if (str(row.get("protocol")).lower(), row.get("external_port")) != (service.protocol, service.external_port) or row.get("owner") == "ours":
            continue
        if _is_pinhole(row):
            continue
        subject = f"{where}.external_port: {service.external_port}"
        target = f"{row.get('internal_client')} port {row.get('internal_port')}, described as {row.get('description')!r}"
        if row.get("owner") == "unknown":
            return Problem(
                "mapping-unknown",
                subject,
                f"the router already forwards {service.protocol.upper()} {service.external_port} to this host ({target}), and whether this collection made that"
                " could not be read",
                "Run as root (become: true): only root may read what this host mapped by PCP and NAT-PMP",
                service.name,
            )
        # One of this host that leads to another of its ports belongs to another service: to take it over would break that one.
        if row.get("owner") != "untagged_ours" or row.get("internal_port") != service.port:
            return Problem(
                "mapping-foreign",
                subject,
                f"the router forwards {service.protocol.upper()} {service.external_port} to {target}, and that is not ours to take",
                "Choose another external_port, or remove that mapping where it was made",
                service.name,
            )
        if not adopt:
            return Problem(
                "mapping-adoptable",
                subject,
                f"the router already forwards {service.protocol.upper()} {service.external_port} to this host ({target}), but it was made by something else",
                "Set publish_adopt: true to take it over, or remove it where it was made",
                service.name,
            )
    return None


def _router_address(readings: Readings) -> str | None:
    for row in readings.default_routes:
        if row.get("family") == "ipv4" and row.get("gateway"):
            return str(row["gateway"])
    return None
