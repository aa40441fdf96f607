# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking for device descriptions on the TCP ports of one address, without a search.

Private to this collection.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .._portmap import _http_client as http_client
from .._portmap import _soap as soap
from .._portmap._errors import GatewayError, ProtocolError
from ._deadline import Deadline, OutOfTimeError, is_silence
from ._document import MAPS_PORTS, NoDescriptionError, read_device
from ._model import Door
from ._wire import tcp_states

#: Where routers serve their description; ports change between models, and so do the paths.
PORTS = (49152, 5000, 2869, 1780, 5431, 52869, 37215, 49000, 2189)
PATHS = ("/rootDesc.xml", "/igd.xml", "/gatedesc.xml", "/igddesc.xml", "/description.xml", "/dyndev/uuid", "/")
_THREADS = 8


def knock(address: str, ports: Sequence[int], paths: Sequence[str], timeout: float, limit: Deadline, source: str | None = None) -> list[Door]:
    """Return the state of each port, and what description and what SOAP service are behind it, as far as the time goes."""
    wanted = list(dict.fromkeys(ports))
    states = tcp_states(address, wanted, timeout)
    asked = list(dict.fromkeys((*paths, *PATHS)))
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda port: _enter(address, port, states.get(port, "error"), asked, timeout, limit, source), wanted))


def _enter(address: str, port: int, state: str, paths: Sequence[str], timeout: float, limit: Deadline, source: str | None) -> Door:
    if state != "open":
        return Door(address, port, state)
    server = http = ""
    for path in paths:
        url = http_client.Url(address, port, path)
        start = time.monotonic()
        try:
            reply = http_client.get(url, source, limit.wait(timeout))
        except OutOfTimeError:
            http = "silent"
            break
        except GatewayError:
            if is_silence(start, timeout) or limit.over:
                http = "silent"
                break
            # Something else than HTTP, or a redirect.
            http = http or "other"
            continue
        http = "answered"
        server = server or reply.headers.get("server", "")[:160]
        try:
            _kind, _product, services = read_device(reply.body, url) if reply.status == 200 else ("", "", ())
        except NoDescriptionError:
            continue
        if reply.status != 200:
            continue
        unclear = False
        for service in services:
            if service.control is None or not MAPS_PORTS.search(service.service_type):
                continue
            try:
                answer = soap.call(service.control, service.service_type, "GetExternalIPAddress", (), source, limit.wait(timeout))
            except ProtocolError:
                return Door(address, port, state, str(url), "answered", server, http=http)
            except GatewayError:
                # It has the service; that it does not answer now is no refusal.
                unclear = True
                continue
            return Door(address, port, state, str(url), "answered", server, answer.child_text("newexternalipaddress")[:60], http)
        return Door(address, port, state, str(url), "" if unclear else "refused", server, http=http)
    return Door(address, port, state, "", "", server, http=http)
