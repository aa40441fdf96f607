# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit from one side: ask, then judge.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from .._address._classify import InvalidAddress, classify, is_publishable
from .._ownership import OwnershipError, host_id, make_tag
from .._portmap import _http_client as http_client
from .._portmap import _packets as packets
from .._portmap import _soap as soap
from .._portmap._description import Description, Service
from .._portmap._discovery import PORT, check_address, is_location, search_message
from .._portmap._document import Node
from .._portmap._errors import BadRequestError, GatewayError, ProtocolError
from .._portmap._igd import IgdGateway
from .._portmap._links import Link, read_links
from .._portmap._model import TCP
from .._portmap._records import Store
from .._state import DEFAULT_DIRECTORY
from . import _wire as wire
from ._census import at, census
from ._deadline import Deadline, OutOfTimeError
from ._document import IPV6_FIREWALL, MAPS_PORTS, NoDescriptionError, actions, read_device
from ._doors import PATHS, PORTS, knock
from ._ipv6 import Place, find_place
from ._judge import devices_data, judge_lan, judge_wan, place_of
from ._mappings import mappings_data
from ._model import (
    ANSWERED,
    REFUSED,
    UNSENT,
    Attempt,
    Contact,
    Deletion,
    Device,
    Door,
    Former,
    LanView,
    PinholeAttempt,
    Pinholes,
    Reply,
    ServiceInfo,
    Subscription,
    Table,
    WanView,
)
from ._writes import LEASE, TARGET_OUTSIDE, Writer, high_port, low_port, pinhole, pinhole_by_upnp, subscribe

#: After so many seconds, and those for listening to answers, nothing more is begun from inside. The longest that can be begun is a mapping, and its
#: taking back: half a minute with a router that answers just in time.
_BEGIN = 25.0
#: For looking for descriptions on the ports of an address.
_KNOCK = 10.0
_MIN_TIMEOUT, _MAX_TIMEOUT = 0.5, 30.0
_END_OF_LIST = (713, 714)
#: The attempts, in the order in which they are made.
_KINDS = ("third_party", "outside", "router", "loopback", "low_port")
#: What nobody should find open on an address of a home by accident.
_IPV6_PORTS = (22, 23, 139, 445, 3389, 5900, 8080)
#: The router is one hop away: after so many seconds it does not answer a question of its own.
_UNICAST = 1.5
#: A long list takes many questions.
_TABLE = 5.0
_THREADS = 8
_MAX_ADDRESSES = 16


@dataclass(frozen=True)
class LanOptions:
    """What the audit from inside was asked for."""

    gateway: str | None = None
    interface: str | None = None
    active: bool = False
    check_mode: bool = False
    known_clients: Sequence[str] = ()
    outside: Mapping[str, Any] = field(default_factory=dict)
    former: Sequence[Former] = ()
    probes: Sequence[Mapping[str, Any]] = ()
    timeout: float = 3.0
    state_dir: str = DEFAULT_DIRECTORY


@dataclass(frozen=True)
class WanOptions:
    """What the audit from outside was asked for."""

    addresses: Sequence[str] = ()
    location_ports: Sequence[int] = ()
    location_paths: Sequence[str] = ()
    timeout: float = 3.0


@dataclass(frozen=True)
class _Router:
    """A device that maps ports, ready to be asked."""

    device: Device
    gateway: IgdGateway
    service: ServiceInfo
    control: http_client.Url
    source: str

    def call(self, action: str, arguments: Sequence[tuple[str, str]] = (), timeout: float = http_client.TIMEOUT) -> Node:
        """Perform an action of the service."""
        return soap.call(self.control, self.service.service_type, action, arguments, self.source, timeout)


def run_lan(options: LanOptions) -> dict[str, Any]:
    """Return what the module returns for side lan."""
    start = time.monotonic()
    _check(options.timeout)
    outside = check_outside(options.outside)
    known = [_ipv4(client) for client in options.known_clients]
    view = LanView(
        active=options.active,
        check_mode=options.check_mode,
        known_clients=tuple(known),
        host_id=_host_id(),
        former=tuple(options.former),
        probes=tuple(dict(row) for row in options.probes),
        outside=outside,
    )
    view = _look(view, options)
    return _result([check.as_data() for check in judge_lan(view)], "lan", start, view)


def run_wan(options: WanOptions) -> dict[str, Any]:
    """Return what the module returns for side wan."""
    start = time.monotonic()
    _check(options.timeout)
    addresses = []
    for text in options.addresses:
        try:
            addresses.append(classify(text).address)
        except InvalidAddress as error:
            raise BadRequestError(f"addresses: {error}") from error
    addresses = list(dict.fromkeys(addresses))[:_MAX_ADDRESSES]
    for port in options.location_ports:
        if not 1 <= port <= 65535:
            raise BadRequestError(f"location_ports: {port} is out of the range 1 to 65535")
    for path in options.location_paths:
        if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
            raise BadRequestError(f"location_paths: {path!r} is not a path: give what follows host and port in a description's address, such as /rootDesc.xml")
    view = _look_from_outside(addresses, options)
    return _result([check.as_data() for check in judge_wan(view)], "wan", start, None)


def _result(checks: list[dict[str, Any]], side: str, start: float, view: LanView | None) -> dict[str, Any]:
    return {
        "side": side,
        "checks": checks,
        "findings": [{"check": check["id"], "vantage": check["vantage"], **row} for check in checks for row in check["findings"]],
        "gateways": devices_data(view.devices) if view else [],
        "mappings": mappings_data(view) if view else [],
        "location_ports": sorted({port for port, _path in _locations(view)}) if view else [],
        "location_paths": sorted({path for _port, path in _locations(view)}) if view else [],
        "left": _left(view) if view else [],
        "elapsed": round(time.monotonic() - start, 3),
    }


def _locations(view: LanView) -> list[tuple[int, str]]:
    places = [place_of(device.location) for device in view.igds if not device.elsewhere]
    return [place for place in places if place is not None]


def check_outside(outside: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a run from outside, or say what is wrong with it. An empty one means that there is none."""
    if not outside or outside.get("skipped"):
        return {}
    checks = outside.get("checks")
    wanted = ("id", "status", "evidence", "findings")
    if outside.get("side") != "wan" or not isinstance(checks, list) or not all(isinstance(row, dict) and all(key in row for key in wanted) for row in checks):
        raise BadRequestError("outside is not the result of a run with side: wan: register that run, delegated to a host outside, and give what was registered")
    return {"checks": checks}


def _check(timeout: float) -> None:
    if not _MIN_TIMEOUT <= timeout <= _MAX_TIMEOUT:
        raise BadRequestError(f"timeout {timeout:g} is out of the range {_MIN_TIMEOUT:g} to {_MAX_TIMEOUT:g} seconds")


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise BadRequestError(f"known_clients: {text!r} is not an IPv4 address: give the addresses of your own devices in the LAN") from None


def _host_id() -> str:
    try:
        return host_id()
    except OwnershipError:
        # Then nothing is ours; the audit goes on.
        return ""


# From inside


def _links(options: LanOptions) -> tuple[list[Link], str | None, http_client.Url | None]:
    location = None
    address = None
    if options.gateway and is_location(options.gateway):
        try:
            location = http_client.parse_url(options.gateway)
        except GatewayError as error:
            raise BadRequestError(f"gateway {error}") from error
        address = location.host
    elif options.gateway:
        address = check_address(options.gateway)
    links = read_links(options.interface or None, address, shown=options.gateway)
    if address is None and not options.interface:
        # Where this host itself has a global address, the next hop is the provider's, and none of our business.
        links = [link for link in links if not is_publishable(link.source)]
    return links, address, location


def _look(view: LanView, options: LanOptions) -> LanView:
    links, address, location = _links(options)
    if not links:
        return replace(view, no_lan="no_lan")
    limit = Deadline(_BEGIN + options.timeout)
    link = links[0]
    gateway = address or link.gateway or ""
    # First, one at a time and before the census: routers send only a few refusals per second, and theirs are answers.
    ssdp = _search(gateway, link, options.timeout)
    inside = _pmp(gateway, link.source, options.timeout)
    found = census(links, address, options.timeout, ssdp == REFUSED)
    devices = list(found.devices)
    if location is not None and str(location) not in {device.location for device in devices}:
        devices.append(at(location, link, address))
    sources = {one.interface: one.source for one in links}
    gateways = sorted((device for device in devices if device.igd and ":" not in device.address), key=lambda device: not device.default_gateway)
    with ThreadPoolExecutor(_THREADS) as pool:
        visits = list(pool.map(lambda device: _visit(device, sources.get(device.interface, link.source), limit), gateways))
    routers = [router for router, _seen in visits if router is not None]
    doors: list[Door] = []
    if gateway and not any(device.default_gateway and ":" not in device.address for device in devices):
        doors = knock(gateway, PORTS, (), min(options.timeout, 2.0), limit.part(_KNOCK), link.source)
    tables = [table for _router, table in visits if table is not None]
    tables += _only_over_ipv6(devices)
    tables += [Table(door.address, reason="not_announced") for door in doors if door.soap == ANSWERED]
    view = replace(
        view,
        source=link.source,
        networks=tuple(dict.fromkeys(str(network) for one in links for network in one.networks)),
        gateway=gateway,
        devices=tuple(devices),
        cut=found.cut,
        multicast_answered=any("multicast" in device.via and ":" not in device.address for device in devices),
        gateway_ssdp=ssdp,
        gateway_doors=tuple(doors),
        inside=tuple(inside),
        tables=tuple(tables),
        listening=wire.listening(),
        alive=_alive(tables, link),
    )
    writing = options.active and not options.check_mode
    attempts: list[Attempt] = []
    # A router that did not show its table was not asked for anything else either.
    unread = [table for router, table in visits if router is None and table is not None] + _only_over_ipv6(devices)
    skipped = {kind: table.reason for table in unread for kind in _KINDS} if writing else {}
    if writing and routers:
        unused = _unused(view, link)
        # Routers next to each other, the questions to one of them one after the other.
        with ThreadPoolExecutor(_THREADS) as pool:
            for made, missing in pool.map(lambda router: _attempts(router, view, unused, limit), routers):
                attempts += made
                skipped.update(missing)
    pinholes = _pinholes(view, link.interface, options, writing, limit)
    deletions = [_deletion(router, view, writing, limit) for router in routers]
    subscriptions: list[Subscription] = []
    if writing:
        with ThreadPoolExecutor(_THREADS) as pool:
            for rows in pool.map(lambda device: subscribe(device, _source(device, sources, link), limit), devices):
                subscriptions += rows
    return replace(
        view,
        attempts=tuple(attempts),
        not_attempted=skipped,
        subscriptions=tuple(subscriptions),
        deletions=tuple(deletions),
        pinholes=pinholes,
    )


def _search(gateway: str, link: Link, timeout: float) -> str:
    if not gateway:
        return UNSENT
    return wire.ask(gateway, PORT, search_message("ssdp:all", gateway), "ssdp:all", min(timeout, _UNICAST), link.source, one_will_do=True).state


def _pmp(gateway: str, source: str, timeout: float) -> list[Reply]:
    if not gateway:
        return []
    questions = (("natpmp", packets.natpmp_address_request()), ("pcp", packets.pcp_announce_request(source)))
    return [wire.ask(gateway, packets.PORT, datagram, name, min(timeout, _UNICAST), source, one_will_do=True) for name, datagram in questions]


def _only_over_ipv6(devices: Sequence[Device]) -> list[Table]:
    """Return what is to be said of routers that are known over IPv6 alone: ports are mapped over IPv4."""
    known = {device.address for device in devices if device.igd and ":" not in device.address}
    router = any(device.igd and device.default_gateway and ":" not in device.address for device in devices)
    rows = [
        device
        for device in devices
        if device.igd and ":" in device.address and device.known_as not in known and not (device.default_gateway and router)
        if any(MAPS_PORTS.search(service.service_type) for service in device.services)
    ]
    return [Table(address, reason="only_over_ipv6") for address in sorted({device.address for device in rows})]


def _source(device: Device, sources: Mapping[str, str], link: Link) -> str | None:
    """Return from which address a device is asked; over IPv6 the kernel knows best."""
    return None if ":" in device.address else sources.get(device.interface, link.source)


def _visit(device: Device, source: str, limit: Deadline) -> tuple[_Router | None, Table | None]:
    """Return a router that maps ports, and its table; without a table there is no service that could have one."""
    if device.elsewhere or not device.device_type:
        return None, Table(device.address, reason="no_description")
    if not any(MAPS_PORTS.search(service.service_type) for service in device.services):
        return None, None
    if limit.over:
        return None, Table(device.address, reason="out_of_time")
    router = _open(device, source)
    if router is None:
        return None, Table(device.address, reason="no_answer")
    return router, _table(router, limit)


def _open(device: Device, source: str) -> _Router | None:
    """Return the best service of a device that maps ports."""
    services = [(Service(one.service_type, one.control), one) for one in device.services if one.control is not None and MAPS_PORTS.search(one.service_type)]
    if not services:
        return None
    services.sort(key=lambda pair: pair[0].rank)
    description = Description(http_client.parse_url(device.location), device.product, tuple(pair[0] for pair in services))
    try:
        gateway = IgdGateway.open(description, device.interface, source, is_publishable)
    except GatewayError:
        return None
    chosen = next(pair for pair in services if pair[0].service_type == gateway.describe().service_type)
    return _Router(device, gateway, chosen[1], chosen[0].control, source)


def _table(router: _Router, limit: Deadline) -> Table:
    """Read the table. A refusal of the first entry is not the end of an empty list."""
    code = 0
    try:
        router.call("GetGenericPortMappingEntry", [("NewPortMappingIndex", "0")], limit.wait(http_client.TIMEOUT))
        first = True
    except ProtocolError as error:
        first, code = False, error.code
    except GatewayError:
        return Table(router.device.address, reason="no_answer")
    try:
        router.gateway.renew_patience(limit.wait(_TABLE))
        entries = router.gateway.list()
    except GatewayError:
        return Table(router.device.address, reason="table_incomplete" if first else "no_answer", code=code)
    if entries:
        return Table(router.device.address, tuple(entries), "table_incomplete" if router.gateway.incomplete else "")
    if first:
        return Table(router.device.address, reason="table_contradicts_itself")
    return Table(router.device.address, reason="" if code in _END_OF_LIST else "table_not_shown", code=code)


def _alive(tables: Sequence[Table], link: Link) -> dict[str, bool]:
    clients = {entry.internal_client for table in tables for entry in table.entries}
    local = [client for client in sorted(clients) if client != link.source and _reaches(link, client)]
    return wire.answers_arp(link.interface, link.source, local) if local else {}


def _reaches(link: Link, client: str) -> bool:
    try:
        return link.reaches(client)
    except ValueError:
        return False


def _attempts(router: _Router, view: LanView, unused: str | None, limit: Deadline) -> tuple[list[Attempt], dict[str, str]]:
    """Return the attempts on a router, and why others were not made, by kind."""
    writer = _writer(router, view)
    targets = dict(zip(_KINDS, (unused, TARGET_OUTSIDE, router.device.address, "127.0.0.1", router.source)))
    made: list[Attempt] = []
    missing: dict[str, str] = {}
    for kind, target in targets.items():
        if target is None:
            missing[kind] = "no_unused_address"
        elif limit.over:
            missing[kind] = "out_of_time"
        else:
            made.append(writer.attempt(kind, target, low=kind == "low_port"))
    return made, missing


def _writer(router: _Router, view: LanView) -> Writer:
    tag = make_tag(view.host_id, "audit") if view.host_id else "homeserver audit"
    taken = {entry.external_port for table in view.tables if table.gateway == router.device.address for entry in table.entries if entry.protocol == TCP}
    return Writer(router.call, lambda limit: _table(router, limit), router.device.address, tag, taken)


def _unused(view: LanView, link: Link) -> str | None:
    """Return an address of the LAN that nobody has, as far as can be seen: nothing mentions it, and nobody answers for it."""
    clients = {entry.internal_client for table in view.tables for entry in table.entries}
    taken = {*clients, *view.known_clients, view.gateway, link.source, *(device.address for device in view.devices), *wire.neighbours()}
    for network in link.networks:
        candidates = wire.unused_candidates(str(network), link.source, taken, random.randrange(256))
        answers = wire.answers_arp(link.interface, link.source, candidates) if candidates else {}
        free = [candidate for candidate in candidates if not answers.get(candidate)]
        if free:
            return free[0]
    return None


def _deletion(router: _Router, view: LanView, writing: bool, limit: Deadline) -> Deletion:
    product = f"{router.device.server} {router.device.http_server} {router.device.product}".strip()[:200]
    described = None
    if router.service.scpd is not None:
        try:
            reply = http_client.get(router.service.scpd, router.source, limit.wait(http_client.TIMEOUT))
            described = "DeletePortMappingRange" in actions(reply.body) if reply.status == 200 else None
        except (GatewayError, NoDescriptionError):
            described = None
    answered, code = None, 0
    if writing and not limit.over:
        answered, code = _writer(router, view).range_action()
    return Deletion(router.device.address, product, described, answered, code)


def _pinholes(view: LanView, interface: str, options: LanOptions, writing: bool, limit: Deadline) -> Pinholes:
    place = find_place(interface)
    routers = [device for device in view.devices if device.default_gateway and device.device_type and not device.elsewhere]
    controls = [
        (service.control, service.service_type, device)
        for device in routers
        for service in device.services
        if service.control is not None and IPV6_FIREWALL.search(service.service_type)
    ]
    seen = Pinholes(place.address, place.gateway, offered=bool(controls) if routers else None)
    for control, service_type, _device in controls:
        source = place.address if ":" in control.host else view.source
        with contextlib.suppress(GatewayError):
            answer = soap.call(control, service_type, "GetFirewallStatus", (), source, limit.wait(http_client.TIMEOUT))
            enabled, allowed = (_switch(answer, name) for name in ("firewallenabled", "inboundpinholeallowed"))
            seen = replace(seen, firewall_enabled=enabled, inbound_allowed=allowed)
    if not place.address or not place.gateway or limit.over:
        return seen
    announce = packets.pcp_announce_request(place.address)
    wait = min(options.timeout, _UNICAST)
    seen = replace(seen, pcp=wire.ask(place.gateway, packets.PORT, announce, "pcp", wait, place.address, place.scope, one_will_do=True).state)
    if not writing:
        return seen
    if seen.pcp == ANSWERED and not limit.over:
        kept = _published_22(options.state_dir)
        state, result, left = (kept, -1, False) if kept else pinhole(place.gateway, place.scope, place.address, 22)
        seen = replace(seen, port_22=state, result=result, left=left)
    if not controls:
        return seen
    attempts, missing = _pinholes_by_upnp(view, place, controls, limit)
    return replace(seen, attempts=tuple(attempts), not_attempted=missing)


def _switch(answer: Node, name: str) -> bool | None:
    text = (answer.child_text(name) or answer.child_text(f"new{name}")).lower()
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text)


def _pinholes_by_upnp(
    view: LanView, place: Place, controls: Sequence[tuple[http_client.Url, str, Device]], limit: Deadline
) -> tuple[list[PinholeAttempt], str]:
    """Ask for what should be refused, over IPv6, because there the router sees who asks. Return why it was not asked, if so."""
    found: tuple[http_client.Url, str] | None = next(((control, kind) for control, kind, _device in controls if ":" in control.host), None)
    if found is None:
        found, problem = _control_over_ipv6(place, controls[0][2], limit)
        if problem:
            return [], problem
    # Where it is not served over IPv6 at all, what it says over IPv4 is all that it says.
    control, service_type = found or controls[0][:2]
    over, source = ("ipv6", place.address) if ":" in control.host else ("ipv4", view.source)
    wanted = [("low_port", place.address, low_port(view.listening or ())), ("third_party", place.unused(), high_port())]
    attempts: list[PinholeAttempt] = []
    for kind, target, port in wanted:
        if limit.over:
            return attempts, "out_of_time"
        if not target:
            return attempts, "no_unused_address"
        attempts.append(
            pinhole_by_upnp(
                lambda action, arguments, timeout: soap.call(control, service_type, action, arguments, source, timeout),
                *(kind, control.host.partition("%")[0], target, port, over),
            )
        )
    return attempts, ""


def _control_over_ipv6(place: Place, device: Device, limit: Deadline) -> tuple[tuple[http_client.Url, str] | None, str]:
    """Return the service at the router's IPv6 address, or why that is not known. Nothing of both means that nothing is served there."""
    try:
        known = http_client.parse_url(device.location)
        url = place.url(place.gateway, known.port, known.path)
        reply = http_client.get(url, place.address, limit.wait(http_client.TIMEOUT))
        _kind, _product, services = read_device(reply.body, url)
    except OutOfTimeError:
        return None, "out_of_time"
    except GatewayError as error:
        return None, "" if isinstance(error.__cause__, ConnectionRefusedError) else "no_ipv6_control"
    except NoDescriptionError:
        return None, "no_ipv6_control"
    found = [(one.control, one.service_type) for one in services if one.control is not None and IPV6_FIREWALL.search(one.service_type)]
    return (found[0], "") if found else (None, "no_ipv6_control")


def _published_22(state_dir: str) -> str:
    """Whether this host holds a mapping of that port by PCP: asking again, and taking back, would take that away."""
    try:
        records, _clocks = Store(state_dir).read()
    except GatewayError:
        return "records_unreadable"
    return "published" if any(22 in (record.internal_port, record.external_port) for record in records) else ""


def _left(view: LanView) -> list[dict[str, Any]]:
    """Return what could not be taken back, and when it ends by itself."""
    rows: list[dict[str, Any]] = [
        {
            "what": "mapping",
            "address": attempt.gateway,
            "detail": f"tcp {attempt.external_port} to {attempt.target}:{attempt.external_port}",
            "ends_in": LEASE,
        }
        for attempt in view.attempts
        if attempt.left
    ]
    rows += [{"what": "subscription", "address": row.address, "detail": row.url, "ends_in": row.ends_in} for row in view.subscriptions if row.left]
    rows += [
        {"what": "pinhole", "address": attempt.gateway, "detail": f"tcp {attempt.port} of {attempt.target}", "ends_in": LEASE}
        for attempt in view.pinholes.attempts
        if attempt.left
    ]
    if view.pinholes.left:
        rows.append({"what": "pinhole", "address": view.pinholes.gateway, "detail": f"tcp 22 of {view.pinholes.address}", "ends_in": LEASE})
    return rows


# From outside


def _look_from_outside(addresses: Sequence[str], options: WanOptions) -> WanView:
    ports = list(dict.fromkeys((*options.location_ports, *PORTS)))
    with ThreadPoolExecutor(_MAX_ADDRESSES) as pool:
        seen = list(pool.map(lambda address: _look_at(address, ports, options), addresses))
    return WanView(
        addresses=tuple(addresses),
        location_ports=tuple(options.location_ports),
        paths=tuple(dict.fromkeys((*options.location_paths, *PATHS))),
        contacts=tuple(row[0] for row in seen),
        ssdp=tuple(reply for row in seen for reply in row[1]),
        pmp=tuple(reply for row in seen for reply in row[2]),
        doors=tuple(door for row in seen for door in row[3]),
        ipv6_doors=tuple(door for row in seen for door in row[4]),
    )


def _look_at(address: str, ports: Sequence[int], options: WanOptions) -> tuple[Contact, list[Reply], list[Reply], list[Door], list[Door]]:
    six = ":" in address
    # Datagrams one after the other: routers send only a few refusals per second, and theirs are answers.
    with ThreadPoolExecutor(1) as pool:
        datagrams = pool.submit(_datagrams, address, options.timeout)
        doors = knock(address, ports, options.location_paths, options.timeout, Deadline(_KNOCK + 3 * options.timeout))
        ipv6_doors = [Door(address, port, state) for port, state in wire.tcp_states(address, _IPV6_PORTS, options.timeout).items()] if six else []
        ssdp, pmp = datagrams.result()
    answering = {door.port for door in (*doors, *ipv6_doors) if door.state in ("open", "closed", "rejected")}
    return wire.contact(address, options.timeout / 2, answering), ssdp, pmp, doors, ipv6_doors


def _datagrams(address: str, timeout: float) -> tuple[list[Reply], list[Reply]]:
    six = ":" in address
    host = f"[{address}]" if six else address
    ssdp = [wire.ask(address, PORT, search_message(target, host), target, timeout) for target in ("ssdp:all", "upnp:rootdevice")]
    questions = [("pcp", packets.pcp_announce_request(_own_address(address)))]
    if not six:
        questions.insert(0, ("natpmp", packets.natpmp_address_request()))
    return ssdp, [wire.ask(address, packets.PORT, datagram, name, timeout / 2) for name, datagram in questions]


def _own_address(towards: str) -> str:
    """Return the address that this host would send from; nothing is sent."""
    six = ":" in towards
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as opened:
        try:
            opened.connect((towards, 9))
            return str(opened.getsockname()[0]).partition("%")[0]
        except OSError:
            return "::" if six else "0.0.0.0"
