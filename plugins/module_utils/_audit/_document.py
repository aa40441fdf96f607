# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The description of any UPnP device: what it is, and the addresses of its services on itself. Pure.

Private to this collection.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from .._portmap._document import Node, parse
from .._portmap._errors import GatewayError
from .._portmap._http_client import Url
from ._model import ServiceInfo

_MAX_SERVICES = 32
_SAFE_PATH = re.compile(r"/[!-~]*\Z")
_GATEWAY = re.compile(r":device:InternetGatewayDevice:[0-9]+\Z", re.IGNORECASE)
MAPS_PORTS = re.compile(r":service:WAN(?:IP|PPP)Connection:[0-9]+\Z", re.IGNORECASE)
IPV6_FIREWALL = re.compile(r":service:WANIPv6FirewallControl:[0-9]+\Z", re.IGNORECASE)


class NoDescriptionError(ValueError):
    """The document does not describe a device."""


def read_device(body: bytes, location: Url) -> tuple[str, str, tuple[ServiceInfo, ...]]:
    """Return the device's type, what it calls itself, and its services.

    An address that leads to another host is left out: only the device itself is ever asked.
    """
    try:
        root = parse(body)
    except GatewayError as error:
        raise NoDescriptionError(str(error)) from error
    device = root.find("device")
    if device is None:
        raise NoDescriptionError("the document describes no device")
    stated = root.find("urlbase")
    base = (_on_device(location, location, stated.text.strip()) if stated is not None and stated.text.strip() else None) or location
    services: list[ServiceInfo] = []
    for node in root.walk():
        if node.name == "service" and len(services) < _MAX_SERVICES:
            urls = {name: _on_device(location, base, node.child_text(name)) for name in ("controlurl", "eventsuburl", "scpdurl")}
            services.append(ServiceInfo(node.child_text("servicetype")[:120], urls["controlurl"], urls["eventsuburl"], urls["scpdurl"]))
    return device.child_text("devicetype")[:120], _product(device), tuple(services)


def is_gateway(device_type: str, services: tuple[ServiceInfo, ...]) -> bool:
    """Whether a device calls itself a router, or offers what only a router can."""
    return bool(_GATEWAY.search(device_type)) or any(MAPS_PORTS.search(service.service_type) for service in services)


def _on_device(location: Url, base: Url, reference: str) -> Url | None:
    """Return where a reference leads, on the address at which the device was asked."""
    found = own_url(str(base), reference, location.host.partition("%")[0])
    return replace(location, port=found.port, path=found.path) if found else None


def own_url(base: str, reference: str, host: str | None = None) -> Url | None:
    """Return where a reference leads, None if that is another host or nowhere. Hosts are literals; a name is another host."""
    if not reference:
        return None
    try:
        parts = urlsplit(urljoin(base, reference))
        port = parts.port or 80
        found = parts.hostname or ""
    except ValueError:
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme.lower() != "http" or parts.username is not None or found != (host or urlsplit(base).hostname) or not _SAFE_PATH.match(path):
        return None
    return Url(found, port, path)


def actions(body: bytes) -> set[str]:
    """Return the names of the actions that the description of a service lists."""
    try:
        root = parse(body)
    except GatewayError as error:
        raise NoDescriptionError(str(error)) from error
    return {node.child_text("name") for node in root.walk() if node.name == "action"}


def _product(device: Node) -> str:
    words: list[str] = []
    for name in ("friendlyname", "manufacturer", "modelname", "modelnumber"):
        text = " ".join(device.child_text(name).split())
        if text and text not in words:
            words.append(text)
    return " ".join(words)[:200]
