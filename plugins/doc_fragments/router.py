# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # How modules that map ports find the router and speak to it.
    DOCUMENTATION = r"""
options:
  method:
    description:
      - The protocol towards the router.
      - V(auto) takes V(pcp), then V(upnp), then V(natpmp), whatever answers first in this order. Where the router speaks UPnP as well, that tells whose a port
        is. A mapping stays with the protocol that it was made by. Where O(state_dir) cannot be written, V(auto) maps by V(upnp) alone, since nothing renews
        then; all three can be read.
      - V(pcp) and V(natpmp) cannot list mappings. What this host made by them is recorded in O(state_dir), for everything else the owner is unknown.
    type: str
    choices: [auto, upnp, pcp, natpmp]
    default: auto
  gateway:
    description:
      - The router's address in the LAN, or the C(http://) address of its UPnP device description, which saves the search.
      - If omitted or empty, the default gateway is asked. It is not asked if this host's own address is a global one, since there is no NAT then.
    type: str
  interface:
    description:
      - The interface to ask from. Needed where the default route does not lead to the home router, such as with a VPN.
      - If omitted or empty, those of the default routes.
    type: str
  timeout:
    description:
      - For how many seconds at most to search for the router. The search ends with the first good answer.
      - Also for how many seconds, but at least 3, the router may keep the host waiting in all until its mappings are read. Each mapping that it makes
        or removes buys as much again. Raise it for a router that is only slow.
      - With PCP and NAT-PMP, for how many seconds to wait for each answer.
    type: float
    default: 3.0
  state_dir:
    description:
      - Where mappings made by PCP and NAT-PMP are recorded on the host, in C(port_mappings.json), readable by its owner only.
        Whoever knows what is in it can remove them. What shall be renewed is in C(port_renewals.json) beside it.
    type: path
    default: /var/lib/homeserver
"""
