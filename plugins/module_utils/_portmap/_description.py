# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device description: which services of a router map ports, and where they are.

Private to this collection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import _http_client as http_client
from ._document import Node, parse
from ._errors import AnswerError, GatewayError

#: Best first. The last two are older than the forum's own names and still in the field.
SERVICE_TYPES = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
    "urn:dslforum-org:service:WANIPConnection:1",
    "urn:dslforum-org:service:WANPPPConnection:1",
)

_SERVICE_TYPE = re.compile(r"urn:[A-Za-z0-9.-]+:service:(WAN(?:IP|PPP)Connection):([0-9]{1,2})\Z", re.IGNORECASE)
#: Of a router that opens pinholes for IPv6.
FIREWALL_CONTROL = re.compile(r"urn:[A-Za-z0-9.-]+:service:WANIPv6FirewallControl:[0-9]{1,2}\Z", re.IGNORECASE)
_MAX_SERVICES = 16


@dataclass(frozen=True)
class Service:
    """A service that maps ports: its exact type, as requests must repeat it, and where to send them."""

    service_type: str
    control: http_client.Url

    @property
    def version(self) -> int:
        """The version of the service."""
        match = _SERVICE_TYPE.match(self.service_type)
        return int(match.group(2)) if match else 1

    @property
    def rank(self) -> int:
        """How good the type is, 0 is best."""
        known = [name.lower() for name in SERVICE_TYPES]
        lowered = self.service_type.lower()
        return known.index(lowered) if lowered in known else len(known)


@dataclass(frozen=True)
class Description:
    """What a router says about itself."""

    location: http_client.Url
    product: str
    services: tuple[Service, ...]


def fetch(
    location: http_client.Url, source: str | None = None, timeout: float = http_client.TIMEOUT, server: str = "", wanted: re.Pattern[str] = _SERVICE_TYPE
) -> Description:
    """Read a description from a router."""
    reply = http_client.get(location, source, timeout)
    if reply.status != 200:
        raise AnswerError(f"{location} answers with HTTP status {reply.status}")
    return read(reply.body, location, server, wanted)


def read(body: bytes, location: http_client.Url, server: str = "", wanted: re.Pattern[str] = _SERVICE_TYPE) -> Description:
    """Read a description; services that lead to another host are left out."""
    root = parse(body)
    base = location
    stated = root.find("urlbase")
    if stated is not None and stated.text.strip():
        try:
            text = stated.text.strip()
            base = http_client.resolve(location, text) if ":" in location.host else http_client.parse_url(text, allowed_host=location.host)
        except GatewayError:
            # Some routers state a base that is wrong, such as a name or their address on the WAN side: the location is known to be right.
            base = location
    services: list[Service] = []
    refused: list[str] = []
    for node in root.walk():
        if node.name != "service" or len(services) >= _MAX_SERVICES:
            continue
        service_type = node.child_text("servicetype")
        if not wanted.match(service_type):
            continue
        control = node.child_text("controlurl")
        try:
            services.append(Service(service_type, http_client.resolve(base, control)))
        except GatewayError as error:
            refused.append(str(error))
    if not services:
        if refused:
            raise AnswerError(f"the description at {location} names no usable service: {refused[0]}")
        what = "WANIPv6FirewallControl, so it opens no ports for IPv6 by UPnP" if wanted is FIREWALL_CONTROL else "service that maps ports"
        raise GatewayError(f"the device at {location} offers no {what}")
    services.sort(key=lambda service: service.rank)
    return Description(location, _product(root, server), tuple(services))


def _product(root: Node, server: str) -> str:
    device = root.find("device") or root
    words: list[str] = []
    for name in ("friendlyname", "manufacturer", "modelname", "modelnumber"):
        text = " ".join(device.child_text(name).split())
        if text and text not in words:
            words.append(text)
    text = " ".join(server.split())
    if text:
        words.append(f"({text})")
    return " ".join(words)[:200]
