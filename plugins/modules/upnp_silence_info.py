# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: upnp_silence_info
short_description: See whether the router is silent to requests for port mappings
version_added: 0.1.0
description:
  - Asks the router, from inside the home, by SSDP, SOAP, NAT-PMP and PCP. Each has one answer, V(answered), V(refused), V(silent) or V(untested).
  - Silence counts only where something else shows that packets get to the router. A refused request to a port where the router never answered says nothing.
extends_documentation_fragment:
  - homeserver.hardening.attributes
  - homeserver.hardening.attributes.info
options:
  gateway:
    description:
      - The router's address in the LAN, or the C(http://) address of its UPnP device description.
      - If omitted or empty, the default gateway.
    type: str
  interface:
    description:
      - The interface to ask from. If omitted or empty, those of the default routes.
    type: str
  locations:
    description:
      - Addresses at which the router's description was earlier, as RV(homeserver.hardening.upnp_mappings#module:remembered) has it.
      - Without any, SOAP cannot be found refused, only answered, on one of the ports that are common.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - For how many seconds to listen to answers of the search.
    type: float
    default: 3.0
author:
  - homeserver.hardening contributors (@homeserver-hardening)
notes:
  - Run it as root. M(homeserver.hardening.upnp_host_block) lets nobody else ask.
seealso:
  - module: homeserver.hardening.upnp_audit_info
"""

EXAMPLES = r"""
- name: Ask
  homeserver.hardening.upnp_silence_info:
    locations: ["http://192.0.2.1:5000/rootDesc.xml"]
  become: true
  register: silence
"""

RETURN = r"""
gateway:
  description: The router's address. V(null) if there is none.
  returned: success
  type: str
  sample: 192.0.2.1
reached:
  description: Whether packets get to it.
  returned: success
  type: bool
  sample: true
ssdp:
  description: Whether a router answers the search.
  returned: success
  type: dict
  contains:
    state:
      description: V(answered), V(refused), V(silent) or V(untested).
      type: str
      returned: success
      sample: silent
    reason:
      description: Why it is untested. Empty otherwise.
      type: str
      returned: success
      sample: ""
    devices:
      description: The routers that answered.
      type: list
      elements: dict
      returned: success
      contains:
        address:
          description: The address that answered.
          type: str
          returned: success
          sample: 192.0.2.1
        location:
          description: Where its description is.
          type: str
          returned: success
          sample: http://192.0.2.1:5000/rootDesc.xml
        server:
          description: What it calls itself in the answer.
          type: str
          returned: success
          sample: Linux/5.10 UPnP/1.1 MiniUPnPd/2.3.1
        product:
          description: Its name, maker and model.
          type: str
          returned: success
          sample: Home router
soap:
  description: Whether it takes requests.
  returned: success
  type: dict
  contains:
    state:
      description: V(answered), V(refused), V(silent) or V(untested).
      type: str
      returned: success
      sample: silent
    reason:
      description: Why it is untested. Empty otherwise.
      type: str
      returned: success
      sample: ""
    ports:
      description: The TCP ports that were looked at.
      type: list
      elements: dict
      returned: success
      contains:
        address:
          description: The router's address.
          type: str
          returned: success
          sample: 192.0.2.1
        port:
          description: The port.
          type: int
          returned: success
          sample: 5000
        state:
          description: As in M(homeserver.hardening.port_probe_info).
          type: str
          returned: success
          sample: closed
        description:
          description: Where a device description was read. Empty if none was.
          type: str
          returned: success
          sample: ""
        soap:
          description: V(answered), V(refused), or empty if nothing was there to ask or nothing usable came back.
          type: str
          returned: success
          sample: ""
        server:
          description: What it calls itself over HTTP.
          type: str
          returned: success
          sample: ""
        external_address:
          description: The WAN address that it told.
          type: str
          returned: success
          sample: ""
        http:
          description: Of an open port, V(answered), V(other) for something else than HTTP, or V(silent). Empty if it was not asked.
          type: str
          returned: success
          sample: ""
    locations:
      description: Which of O(locations) are this router's.
      type: list
      elements: str
      returned: success
      sample: []
natpmp:
  description: Whether it answers NAT-PMP.
  returned: success
  type: dict
  contains:
    state:
      description: V(answered), V(refused), V(silent) or V(untested).
      type: str
      returned: success
      sample: silent
    reason:
      description: Why it is untested. Empty otherwise.
      type: str
      returned: success
      sample: ""
pcp:
  description: Whether it answers PCP.
  returned: success
  type: dict
  contains:
    state:
      description: V(answered), V(refused), V(silent) or V(untested).
      type: str
      returned: success
      sample: silent
    reason:
      description: Why it is untested. Empty otherwise.
      type: str
      returned: success
      sample: ""
elapsed:
  description: How many seconds it took.
  returned: success
  type: float
  sample: 3.1
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import PortmapError
from ansible_collections.homeserver.hardening.plugins.module_utils._upnp._silence import look


def argument_spec():
    """Return the options."""
    return {
        "gateway": {"type": "str"},
        "interface": {"type": "str"},
        "locations": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "float", "default": 3.0},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    start = time.monotonic()
    try:
        result = look(params["gateway"], params["interface"], params["locations"], params["timeout"])
    except PortmapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, elapsed=round(time.monotonic() - start, 3), **result)


if __name__ == "__main__":
    main()
