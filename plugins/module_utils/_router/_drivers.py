# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of routers that can be programmed.

Private to this collection.
"""

from __future__ import annotations

from ._miniupnpd import RouterError

LINUX = "linux"
DRIVERS = (LINUX,)
#: Kinds that are foreseen and that nobody has built.
FORESEEN = ("openwrt", "routeros", "opnsense", "pfsense", "fritzbox", "unifi", "vyos", "edgeos")


def check_driver(name: str) -> None:
    """Refuse a driver that is not there."""
    if name in DRIVERS:
        return
    have = ", ".join(DRIVERS)
    if name in FORESEEN:
        raise RouterError(f"driver {name} is not there yet; there is: {have}. Switch UPnP off on the router's own page. Nothing was changed")
    raise RouterError(f"driver {name!r} is unknown; there is: {have}. Nothing was changed")
