# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes all readings at the same time, each in a thread of its own, and ends with the last of them or at the deadline.

Private to this collection: no compatibility is promised to code outside it.

    readings = collect(request)

Nobody outside the home is asked unless he is in C(stun_servers) or C(echo_urls), or C(resolver) is among the methods. Some readings wait for
others: whose the mapped address is can be asked once a helper has told it, and a second router is looked for where a hop has a private address.
"""

from __future__ import annotations

import functools
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from .._address._classify import GLOBAL, address_class
from .._address._interfaces import NetlinkError, Network, read_network
from .._history import entries_of
from .._portmap._errors import NoNatError, PortmapError
from .._portmap._service import Selection, open_gateway
from . import _echo as echo
from . import _gateway as gateway
from . import _hops as hops
from . import _stun as stun
from ._parse import parse_interfaces
from ._pref64 import WELL_KNOWN_NAME, prefix_of
from ._readings import PRIVATE, Reading
from ._sockets import Endpoint, EndpointError, Way, local_address, parse_endpoint, resolve

__all__ = ["DEFAULT_METHODS", "METHODS", "Observed", "Request", "RequestError", "collect", "now_text"]

METHODS = ("upnp", "natpmp", "pcp", "stun", "echo", "hops", "ports", "second_router", "resolver")
DEFAULT_METHODS = tuple(name for name in METHODS if name != "resolver")
MIN_TIMEOUT, MAX_TIMEOUT = 0.5, 30.0
_SAMPLES = 16
_MAX_HELPERS = 8
_MAX_TARGETS = 3
_HISTORY_SIZE = 1 << 20
#: What remains of the time for threads to hand over what they have.
_RESERVE = 0.1
#: How long the quick names wait for the slow ones.
_NAME_GRACE = 0.3

RequestError = EndpointError


@dataclass(frozen=True)
class Observed:
    """What the user saw and typed or pasted, instead of or beside what can be read."""

    interfaces: str | None = None
    wan_address: str | None = None
    static: bool | None = None
    inbound: Sequence[dict[str, Any]] = ()
    history: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Request:
    """What to read, and from whom."""

    stun_servers: Sequence[str] = ()
    echo_urls: Sequence[str] = ()
    gateway: str | None = None
    interface: str | None = None
    methods: Sequence[str] = DEFAULT_METHODS
    observed: Observed = field(default_factory=Observed)
    history: str | None = None
    timeout: float = 3.0


def now_text() -> str:
    """Return the present time in RFC 3339."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def collect(request: Request, network: Network | None = None) -> list[Reading]:
    """Return all readings, in a fixed order.

    Args:
        request: what to read.
        network: for tests; None reads the kernel's tables.

    Raises:
        RequestError: an option makes no sense; nothing was sent.
        ParseError: pasted text cannot be read.
    """
    return _Collector(request, network).run()


class _Collector:
    def __init__(self, request: Request, network: Network | None) -> None:
        if not MIN_TIMEOUT <= request.timeout <= MAX_TIMEOUT:
            raise RequestError(f"timeout {request.timeout:g} is out of the range {MIN_TIMEOUT:g} to {MAX_TIMEOUT:g} seconds")
        self._request = request
        self._servers = [parse_endpoint(text, "stun_servers", 3478) for text in dict.fromkeys(request.stun_servers)]
        self._urls = [echo.parse_url(text) for text in dict.fromkeys(request.echo_urls)]
        if len(self._servers) > _MAX_HELPERS or len(self._urls) > _MAX_HELPERS:
            raise RequestError(f"stun_servers and echo_urls have more than {_MAX_HELPERS} entries each: two or three at different places tell as much")
        self._start = time.monotonic()
        self._deadline = self._start + request.timeout
        self._way = Way(request.interface or None)
        self._events: queue.Queue[Callable[[], None]] = queue.Queue()
        self._running: dict[str, tuple[str, str]] = {}
        self._readings: list[Reading] = []
        self._targets: set[str] = set()
        self._seconds: set[str] = set()
        self._known_servers: dict[str, Endpoint] = {}
        self._stun_addresses: list[tuple[str, int]] = []
        self._path_target: str | None = None
        self._sampled = False
        self._interfaces = self._read_interfaces(network)

    # --- the loop

    def run(self) -> list[Reading]:
        self._said()
        self._history()
        self._platform()
        self._ask_gateway()
        if self._servers and "stun" in self._request.methods:
            self._spawn("stun", "stun_servers", self._resolve_servers)
        if "echo" in self._request.methods:
            for url in self._urls:
                self._spawn("echo", f"echo {url.url}", lambda url=url: self._ask_echo(url))  # type: ignore[misc]
        if "resolver" in self._request.methods:
            self._spawn("pref64", f"resolver {WELL_KNOWN_NAME}", self._ask_resolver)
        while self._running:
            try:
                self._events.get(timeout=max(0.0, self._deadline - time.monotonic()))()
            except queue.Empty:
                break
        for kind, source in self._running.values():
            self._add(kind, source, None, f"no answer within {self._request.timeout:g} s")
        order = {name: index for index, name in enumerate(_ORDER)}
        return sorted(self._readings, key=lambda reading: (order.get(reading.kind, len(order)), reading.source))

    def _spawn(self, kind: str, source: str, work: Callable[[], None]) -> None:
        """Start a thread. What it finds out it posts to the loop, which alone touches the results."""
        token = f"{kind} {source}"
        if token in self._running:
            return
        self._running[token] = (kind, source)

        def body() -> None:
            error: str | None = None
            try:
                work()
            except (OSError, PortmapError, gateway.GatewayError, echo.EchoError, stun.StunError) as problem:
                error = str(problem.strerror or problem) if isinstance(problem, OSError) else str(problem)
            except Exception as problem:  # one reading must not cost the others
                error = f"unexpected: {type(problem).__name__}: {problem}"
            self._events.put(lambda: self._ended(token, kind, source, error))

        threading.Thread(target=body, daemon=True).start()

    def _ended(self, token: str, kind: str, source: str, error: str | None) -> None:
        self._running.pop(token, None)
        if error is not None:
            self._add(kind, source, None, error)

    def _add(self, kind: str, source: str, value: dict[str, Any] | None, error: str = "") -> None:
        self._readings.append(Reading(kind, source, value, error, now_text(), time.monotonic() - self._start))

    def _post(self, kind: str, source: str, value: dict[str, Any] | None, error: str = "", then: Callable[[], None] | None = None) -> None:
        """Hand a reading over from a thread; C(then) is run by the loop."""

        def take() -> None:
            self._add(kind, source, value, error)
            if then is not None:
                then()

        self._events.put(take)

    def _until(self, seconds: float = MAX_TIMEOUT) -> float:
        return min(self._deadline - _RESERVE, time.monotonic() + seconds)

    # --- this host, and what the user says

    def _read_interfaces(self, network: Network | None) -> dict[str, Any] | None:
        if self._request.observed.interfaces:
            value = parse_interfaces(self._request.observed.interfaces)
            self._add("interfaces", "observed.interfaces", value)
            return value
        try:
            network = network or read_network()
        except NetlinkError as error:
            self._add("interfaces", "kernel", None, f"the kernel cannot be asked: {error.strerror or error}")
            return None
        names = {address.name for address in network.addresses}
        chosen = self._request.interface
        if chosen and chosen not in names:
            have = ", ".join(sorted(names)) or "none"
            raise RequestError(f"interface {chosen!r} does not exist on this host or has no address; there are: {have}")
        rows = [row.as_data() for row in network.addresses if chosen in (None, "", row.name)]
        routes = [route.as_data() for route in network.default_routes if not chosen or route.interface == chosen]
        value = {"addresses": rows, "default_routes": routes, "route_families": ["ipv4", "ipv6"]}
        if chosen and not any(route["family"] == "ipv4" for route in routes):
            # The routes of this interface are not in the main table; helpers show whether it has any.
            value["route_families"] = ["ipv6"] if routes else []
        self._add("interfaces", "kernel", value)
        return value

    def _said(self) -> None:
        observed = self._request.observed
        if observed.wan_address:
            self._add("wan", "observed.wan_address", {"address": observed.wan_address, "method": "typed", "status": ""})
        if observed.static is not None:
            self._add("told", "observed.static", {"static": observed.static})
        for row in observed.inbound:
            self._add("inbound", f"observed.inbound {row['family']} {row['protocol']} {row['port']}", dict(row))
        if observed.history:
            self._add("history", "observed.history", {"entries": [dict(entry) for entry in observed.history]})

    def _history(self) -> None:
        path = self._request.history
        if not path:
            return
        try:
            with open(path, encoding="utf-8") as file:
                entries = entries_of(json.loads(file.read(_HISTORY_SIZE)))
        except (OSError, ValueError) as error:
            self._add("history", path, None, f"cannot be read: {error}")
            return
        self._add("history", path, {"entries": entries})

    def _platform(self) -> None:
        parts = []
        for name in ("sys_vendor", "product_name"):
            try:
                with open(f"/sys/class/dmi/id/{name}", encoding="utf-8", errors="replace") as file:
                    parts.append(file.read(200).strip())
            except OSError:
                continue
        if any(parts):
            self._add("platform", "firmware", {"vendor": " ".join(part for part in parts if part)})

    # --- the router

    def _home_route(self) -> dict[str, Any] | None:
        """Return the best IPv4 route that leads over a router in a private network; that of a VPN has none."""
        routes = (self._interfaces or {}).get("default_routes") or []
        four = [route for route in routes if route["family"] == "ipv4"]
        return next((route for route in four if route["gateway"] and address_class(route["source"] or "") == PRIVATE), None)

    def _ask_gateway(self) -> None:
        """Ask the default gateway, but only if it can be a router of the home: behind a private address, or named by the user."""
        route = self._home_route()
        named = self._request.gateway or None
        if named is None and route is None:
            return
        pasted = self._request.observed.interfaces and named is None
        if pasted:  # the text is that of another device, whose router is not this host's
            return
        selection = Selection("auto", named, self._request.interface, min(60.0, max(0.5, self._request.timeout - _RESERVE)))
        if "upnp" in self._request.methods:
            self._spawn("wan", "upnp", lambda: self._ask_upnp(selection))
        address = named if named and address_class(named) else (route or {}).get("gateway")
        if not address or ":" in address:
            return
        if "natpmp" in self._request.methods:
            self._spawn("wan", f"natpmp {address}", lambda: self._post("wan", f"natpmp {address}", gateway.natpmp(self._way, address, self._until(2.0))))
        if "pcp" in self._request.methods:
            self._spawn("pcp", f"pcp {address}", lambda: self._post("pcp", f"pcp {address}", gateway.pcp(self._way, address, self._until(2.0))))

    def _ask_upnp(self, selection: Selection) -> None:
        try:
            info = open_gateway(selection).describe()
        except NoNatError:
            return
        value = {"address": info.wan_address, "method": info.method, "status": info.wan_status, "gateway": info.address, "product": info.product}
        self._post("wan", f"upnp {info.address}", value)

    # --- helpers outside

    def _resolve_servers(self) -> None:
        """Resolve all servers at the same time, then ask those of one family together from one socket. Slow names are asked later from another."""
        results: queue.Queue[tuple[int, dict[str, str] | OSError]] = queue.Queue()

        def one(index: int, server: Endpoint) -> None:
            try:
                results.put((index, resolve(server, self._until())))
            except OSError as error:
                results.put((index, error))

        for index, server in enumerate(self._servers):
            threading.Thread(target=one, args=(index, server), daemon=True).start()
        left = len(self._servers)
        grace = time.monotonic() + _NAME_GRACE
        batch: dict[int, dict[str, str] | OSError] = {}
        while left:
            until = grace if batch and time.monotonic() < grace else self._until()
            try:
                index, result = results.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                if not batch:
                    break
            else:
                batch[index] = result
                left -= 1
                if left and time.monotonic() < grace:
                    continue
            self._sort_servers(batch)
            batch = {}

    def _sort_servers(self, found: dict[int, dict[str, str] | OSError]) -> None:
        usable: dict[str, list[tuple[Endpoint, str]]] = {"ipv4": [], "ipv6": []}
        for index, addresses in sorted(found.items()):
            server = self._servers[index]
            if isinstance(addresses, OSError):
                self._post("stun", f"stun {server}", None, str(addresses))
                continue
            reachable = 0
            for family, address in addresses.items():
                if local_address(self._way, family, address, server.port) is None:
                    continue
                reachable += 1
                twin = self._known_servers.setdefault(address, server)
                if twin is not server:
                    why = f"it has the same address as {twin}; a second server tells something new only if it is elsewhere"
                    self._post("stun", f"stun {server} {family}", None, why)
                else:
                    usable[family].append((server, address))
            if not reachable:
                self._post("stun", f"stun {server}", None, "this host has no route to it")
        self._events.put(lambda: self._ask_servers(usable))

    def _ask_servers(self, usable: dict[str, list[tuple[Endpoint, str]]]) -> None:
        for family, servers in usable.items():
            if servers:
                self._spawn("stun", f"stun {servers[0][0]} over {family}", functools.partial(self._ask_stun, family, servers))
        if usable["ipv4"]:
            self._stun_addresses += [(address, server.port) for server, address in usable["ipv4"]]
            self._trace_path(self._stun_addresses[0][0])
            if "ports" in self._request.methods and not self._sampled:
                self._sampled = True
                self._spawn("ports", "ports", self._sample_ports)

    def _ask_stun(self, family: str, servers: list[tuple[Endpoint, str]]) -> None:
        locals_ = [local_address(self._way, family, address, server.port) for server, address in servers]

        def told(index: int, port: int, answer: stun.Answer | stun.StunError) -> None:
            server, address = servers[index]
            source = f"stun {server} {family}"
            if isinstance(answer, stun.StunError):
                self._post("stun", source, None, str(answer))
                return
            value = {"family": family, "server_address": address, "local_address": locals_[index], "local_port": port}
            value.update(mapped_address=answer.address, mapped_port=answer.port)
            self._post("stun", source, value, then=lambda: self._mapped(family, answer.address))

        stun.ask(self._way, family, [(address, server.port) for server, address in servers], self._until(), told)

    def _ask_echo(self, url: echo.EchoUrl) -> None:
        addresses = resolve(url.endpoint, self._until())
        usable = {family: address for family, address in addresses.items() if local_address(self._way, family, address, url.endpoint.port) is not None}
        if not usable:
            raise echo.EchoError("this host has no route to it")
        for family, address in usable.items():
            if family == "ipv4":
                self._events.put(lambda address=address: self._trace_path(address))  # type: ignore[misc]
            source = f"echo {url.url} {family}"
            self._events.put(lambda s=source, f=family, a=address: self._spawn("echo", s, lambda: self._fetch(url, s, f, a)))  # type: ignore[misc]

    def _fetch(self, url: echo.EchoUrl, source: str, family: str, address: str) -> None:
        seen, own = echo.fetch(self._way, url, family, address, self._until())
        value = {"family": family, "server_address": address, "local_address": own, "mapped_address": seen, "tls": url.tls}
        self._post("echo", source, value, then=lambda: self._mapped(family, seen))

    def _ask_resolver(self) -> None:
        addresses = resolve(Endpoint(WELL_KNOWN_NAME, 0), self._until())
        prefix = prefix_of(addresses.get("ipv6", ""))
        if prefix is None:
            raise OSError("the resolver makes no addresses for NAT64")
        self._post("pref64", f"resolver {WELL_KNOWN_NAME}", {"prefix": prefix})

    # --- what follows from an answer

    def _sample_ports(self) -> None:
        found = stun.sample(self._way, self._stun_addresses, _SAMPLES, self._until(2.0))
        seen = [address for _local, _mapped, address, _server in found]
        common = max(sorted(set(seen)), key=seen.count) if seen else None
        samples = [[local, mapped, server] for local, mapped, address, server in found if address == common]
        if len(samples) < _SAMPLES // 2:
            raise stun.StunError(f"only {len(samples)} of {_SAMPLES} sockets got the same kind of answer")
        self._post("ports", "ports", {"mapped_address": common, "samples": samples})

    def _mapped(self, family: str, address: str) -> None:
        if family != "ipv4" or "hops" not in self._request.methods or address in self._targets or len(self._targets) >= _MAX_TARGETS:
            return
        if address_class(address) != GLOBAL:
            return
        self._targets.add(address)
        self._spawn("hops", f"hops to {address}", lambda: self._trace("hops", address, range(1, 4)))

    def _trace_path(self, address: str) -> None:
        if self._path_target is None and "hops" in self._request.methods:
            self._path_target = address
            self._spawn("path", f"path to {address}", lambda: self._trace("path", address, range(1, 5)))

    def _trace(self, kind: str, target: str, ttls: range) -> None:
        answers = hops.trace(self._way, target, ttls, self._until())
        value = {"target": target, "family": "ipv4", "answers": answers}
        self._post(kind, f"{kind} to {target}", value if answers else None, "" if answers else "no hop answered", then=lambda: self._look_beyond(answers))

    def _look_beyond(self, answers: list[dict[str, Any]]) -> None:
        """Look for a second router where the second hop has a private address, if this host is itself behind one."""
        if "second_router" not in self._request.methods or self._home_route() is None:
            return
        for answer in answers:
            address = str(answer["from"])
            if answer["ttl"] != 2 or answer["type"] != 11 or address_class(address) != PRIVATE or address in self._seconds:
                continue
            self._seconds.add(address)
            source = f"second router {address}"
            work = self._second(source, address)
            self._spawn("second_gateway", source, work)

    def _second(self, source: str, address: str) -> Callable[[], None]:
        return lambda: self._post("second_gateway", source, gateway.second_router(self._way, address, self._until()))


_ORDER = ("interfaces", "told", "wan", "pcp", "stun", "echo", "ports", "hops", "path", "second_gateway", "pref64", "platform", "inbound", "history")
