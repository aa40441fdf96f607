# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding out who opens ports for IPv6: PCP, else WANIPv6FirewallControl of UPnP.

Private to this collection.
"""

from __future__ import annotations

from ._errors import BadRequestError, NoGatewayError
from ._links import Link6
from ._model import Gateway
from ._recorded import PcpGateway
from ._records import Store


def open_pinholes(link: Link6, method: str, store: Store, timeout: float) -> Gateway:
    """Find the router's way to open ports of this host for IPv6."""
    if method == "natpmp":
        raise BadRequestError("method natpmp does not know IPv6: use method auto, pcp or upnp, or leave ipv6 out of families")
    try:
        return PcpGateway(link, link.gateway or "", store, timeout)
    except NoGatewayError as error:
        raise NoGatewayError(
            f"the router does not open ports for IPv6 by PCP: {error}. Switch PCP on in the router, or open the port in the IPv6 firewall on its own page"
        ) from error
