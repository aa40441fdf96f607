# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking for device descriptions on the TCP ports of one address, without a search.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .._portmap import _http_client as http_client
from .._portmap import _soap as soap
from .._portmap._errors import GatewayError, ProtocolError
from ._document import MAPS_PORTS, NoDescriptionError, read_device
from ._model import Door
from ._wire import tcp_states

#: Where routers serve their description; ports change between models, and so do the paths.
PORTS = (49152, 5000, 2869, 1780, 5431, 52869, 37215, 49000, 2189)
PATHS = ("/rootDesc.xml", "/igd.xml", "/gatedesc.xml", "/igddesc.xml", "/description.xml", "/dyndev/uuid", "/")
_THREADS = 8


def knock(address: str, ports: Sequence[int], paths: Sequence[str], timeout: float, source: str | None = None) -> list[Door]:
    """Return the state of each port, and what description and what SOAP service are behind it."""
    wanted = list(dict.fromkeys(ports))
    states = tcp_states(address, wanted, timeout)
    asked = list(dict.fromkeys((*paths, *PATHS)))
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda port: _enter(address, port, states.get(port, "error"), asked, timeout, source), wanted))


def _enter(address: str, port: int, state: str, paths: Sequence[str], timeout: float, source: str | None) -> Door:
    if state != "open":
        return Door(address, port, state)
    server = ""
    for path in paths:
        url = http_client.Url(address, port, path)
        try:
            reply = http_client.get(url, source, timeout)
        except GatewayError:
            # Whoever does not speak HTTP does not serve another path either.
            break
        server = server or reply.headers.get("server", "")[:160]
        try:
            _kind, _product, services = read_device(reply.body, url) if reply.status == 200 else ("", "", ())
        except NoDescriptionError:
            continue
        if reply.status != 200:
            continue
        for service in services:
            if service.control is None or not MAPS_PORTS.search(service.service_type):
                continue
            try:
                answer = soap.call(service.control, service.service_type, "GetExternalIPAddress", (), source, timeout)
            except ProtocolError:
                return Door(address, port, state, str(url), "answered", server)
            except GatewayError:
                continue
            return Door(address, port, state, str(url), "answered", server, answer.child_text("newexternalipaddress")[:60])
        return Door(address, port, state, str(url), "refused" if services else "", server)
    return Door(address, port, state, "", "", server)
