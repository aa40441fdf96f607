# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the router silent? Ask it, inside the home, in every way by which mappings are asked for; nothing is written.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._audit import _wire as wire
from .._audit._census import census
from .._audit._deadline import Deadline
from .._audit._doors import PORTS, knock
from .._audit._model import ANSWERED, REFUSED, SILENT, UNSENT, Device, Door
from .._portmap import _http_client as http_client
from .._portmap import _packets as packets
from .._portmap._discovery import PORT, check_address, is_location, search_message
from .._portmap._errors import BadRequestError
from .._portmap._links import Link, read_links

#: How long to wait for an answer to a datagram that is sent to the router alone.
_UNICAST = 1.0
#: How long all that is behind the router's ports may take.
_KNOCK = 5.0
_MIN_TIMEOUT, _MAX_TIMEOUT = 0.5, 30.0
#: TCP states in which nobody spoke.
_SHUT = ("closed", "rejected")


def look(gateway: str | None, interface: str | None, locations: Sequence[str], timeout: float) -> dict[str, Any]:
    """Ask, and return what came back."""
    if not _MIN_TIMEOUT <= timeout <= _MAX_TIMEOUT:
        raise BadRequestError(f"timeout {timeout:g} is out of the range {_MIN_TIMEOUT:g} to {_MAX_TIMEOUT:g} seconds")
    known = [http_client.parse_url(text) for text in locations if text]
    if gateway and is_location(gateway):
        url = http_client.parse_url(gateway)
        known.append(url)
        address: str | None = url.host
    else:
        address = check_address(gateway) if gateway else None
    links = read_links(interface or None, address)
    link = links[0] if links else None
    router = address or (link.gateway if link else None)
    if link is None or router is None:
        return {"gateway": None, "reached": False, **judge("", [], [], {}, [], [], False)}
    # The router first, by itself: one that limits its refusals has sent none yet.
    wait = min(timeout, _UNICAST)
    ssdp = wire.ask(router, PORT, search_message("ssdp:all", router), "ssdp:all", wait, link.source, one_will_do=True).state
    pmp = {
        name: wire.ask(router, packets.PORT, datagram, name, wait, link.source, one_will_do=True).state
        for name, datagram in (("natpmp", packets.natpmp_address_request()), ("pcp", packets.pcp_announce_request(link.source)))
    }
    devices = census(links, router, timeout, multicast_only=ssdp == REFUSED).devices
    here = [url for url in known if url.host == router]
    doors = knock(router, [*(url.port for url in here), *PORTS], [url.path for url in here], min(timeout, 2.0), Deadline(_KNOCK), link.source)
    reached = _reached(link, router, [ssdp, *pmp.values()], doors)
    return {"gateway": router, "reached": reached, **judge(ssdp, devices, doors, pmp, [url.port for url in here], [str(url) for url in here], reached)}


def _reached(link: Link, router: str, states: Sequence[str], doors: Sequence[Door]) -> bool:
    """Whether packets get to the router: only then its silence is an answer."""
    if any(state in (ANSWERED, REFUSED) for state in states) or any(door.state in ("open", "closed") for door in doors):
        return True
    return router in wire.neighbours() or wire.answers_arp(link.interface, link.source, [router]).get(router, False)


def judge(
    ssdp: str, devices: Sequence[Device], doors: Sequence[Door], pmp: dict[str, str], ports: Sequence[int], locations: Sequence[str], reached: bool
) -> dict[str, Any]:
    """Return the four answers, each with a state: C(answered), C(refused), C(silent) or C(untested), and why it is untested."""
    gateways = [device for device in devices if device.igd]
    router = [device for device in devices if device.default_gateway]
    if ssdp == ANSWERED and router and all(device.device_type and not device.igd for device in router):
        # It answers as another device, such as a media server.
        ssdp = SILENT
    return {
        "ssdp": {
            **_state(ANSWERED if gateways else ssdp, reached),
            "devices": [{"address": device.address, "location": device.location, "server": device.server, "product": device.product} for device in gateways],
        },
        "soap": {**_soap(doors, ports, reached), "ports": [door.as_data() for door in doors], "locations": list(locations)},
        "natpmp": _state(pmp.get("natpmp", ""), reached),
        "pcp": _state(pmp.get("pcp", ""), reached),
    }


def _state(state: str, reached: bool) -> dict[str, str]:
    if state in (ANSWERED, REFUSED):
        return {"state": state, "reason": ""}
    if state == SILENT and reached:
        return {"state": SILENT, "reason": ""}
    if state == SILENT:
        return {"state": "untested", "reason": "silence_unproved"}
    return {"state": "untested", "reason": "not_sent" if state == UNSENT else "rejected_on_the_way" if state else "no_gateway"}


def _soap(doors: Sequence[Door], ports: Sequence[int], reached: bool) -> dict[str, str]:
    """An answer at any port counts; a refusal only at the port where the router used to answer."""
    if any(door.soap == ANSWERED for door in doors):
        return {"state": ANSWERED, "reason": ""}
    known = [door for door in doors if door.port in ports]
    if not doors:
        return {"state": "untested", "reason": "no_gateway"}
    if not known:
        return {"state": "untested", "reason": "location_unknown"}
    # A daemon that hangs takes connections, and one that is busy may not answer what it describes.
    if any(door.state == "open" and (door.http not in ("answered", "other") or (door.description and door.soap != REFUSED)) for door in known):
        return {"state": "untested", "reason": "no_answer"}
    if all(door.state in (*_SHUT, "open") for door in known):
        return {"state": REFUSED, "reason": ""}
    if all(door.state in (*_SHUT, "open", "filtered") for door in known):
        return {"state": SILENT, "reason": ""} if reached else {"state": "untested", "reason": "silence_unproved"}
    return {"state": "untested", "reason": "not_sent"}
