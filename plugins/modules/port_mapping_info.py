# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_mapping_info
short_description: List the port mappings of the router
version_added: 0.1.0
description:
  - Finds the router by UPnP, PCP or NAT-PMP and lists every port mapping that it shows, with its owner, and the router's WAN address.
  - Changes nothing. Sends a search to the router and to the LAN of the host, and requests to the router only.
  - Ends with the first good answer. That there is no router that maps ports is an answer and no failure.
  - Needs no root, by any protocol. What this host mapped by PCP and NAT-PMP is recorded in O(state_dir), which usually only root may read; without it there
    is a warning, and mappings whose owner only the records could tell are V(unknown).
extends_documentation_fragment:
  - homeserver.hardening.attributes.info
  - homeserver.hardening.router
author:
  - homeserver.hardening contributors (@homeserver-hardening)
notes:
  - Some routers do not list forwardings that were made on their own page.
  - None lists what it opens for IPv6. Of that only what this host recorded in O(state_dir) is shown.
seealso:
  - module: homeserver.hardening.port_mapping
"""

EXAMPLES = r"""
- name: Read the router
  homeserver.hardening.port_mapping_info:
  register: router

- name: Show which mappings lead to other hosts
  ansible.builtin.debug:
    msg: "{{ router.mappings | selectattr('owner', 'equalto', 'foreign') }}"

- name: Read a router that the default route does not lead to
  homeserver.hardening.port_mapping_info:
    interface: eth0
    gateway: 192.0.2.1
"""

RETURN = r"""
available:
  description:
    - Whether a router answered and let its mappings be listed.
    - This is about the router and says nothing of what this run would be allowed to do; see RV(missing).
  returned: always
  type: bool
  sample: true
reason:
  description: Why not; empty if RV(available=true).
  returned: always
  type: str
  sample: ""
missing:
  description:
    - What keeps M(homeserver.hardening.port_mapping) from mapping with the same options as the same user, although RV(available=true). Empty if nothing does.
    - That is O(state_dir) where it cannot be written and the router speaks only PCP or NAT-PMP, or only they were asked for. UPnP maps without it.
  returned: always
  type: str
  sample: ""
gateway:
  description: The router. V(null) if none was found.
  returned: always
  type: dict
  contains:
    address:
      description: Its address in the LAN.
      type: str
      returned: success
      sample: 192.0.2.1
    method:
      description: The protocol that was spoken with it.
      type: str
      returned: success
      sample: upnp
    location:
      description: Where its device description is. It may differ after a restart of the router.
      type: str
      returned: success
      sample: http://192.0.2.1:5000/rootDesc.xml
    service_type:
      description: The service that maps ports.
      type: str
      returned: success
      sample: urn:schemas-upnp-org:service:WANIPConnection:2
    product:
      description: What it calls itself.
      type: str
      returned: success
      sample: Home router
    interface:
      description: This host's interface towards it.
      type: str
      returned: success
      sample: eth0
    source_address:
      description: This host's address towards it.
      type: str
      returned: success
      sample: 192.0.2.10
    wan_address:
      description: Its WAN address as it sees it. V(null) if it has none.
      type: str
      returned: success
      sample: 203.0.113.7
    wan_address_class:
      description: The class of that address, as M(homeserver.hardening.address_info) names it.
      type: str
      returned: success
      sample: global
    wan_status:
      description: The state of its connection in its own words, usually V(Connected). Empty if it does not say.
      type: str
      returned: success
      sample: Connected
    epoch:
      description: With PCP and NAT-PMP, for how many seconds the router has kept its mappings. V(null) with UPnP alone.
      type: int
      returned: success
      sample: 86400
gateway_ipv6:
  description:
    - The router that was asked for IPv6, with the same keys as RV(gateway). V(null) if none was asked, because this host has opened nothing for IPv6 as far
      as it may read O(state_dir), or if it did not answer.
  returned: always
  type: dict
mappings:
  description:
    - Every mapping that the router shows; with PCP and NAT-PMP, those of this host that are recorded and whose lease is not over.
    - Also what this host opened for IPv6, whatever RV(available) says of IPv4.
  returned: always
  type: list
  elements: dict
  contains:
    protocol:
      description: The protocol.
      type: str
      returned: success
      sample: tcp
    family:
      description: V(ipv4) for a forwarding, V(ipv6) for a port that the router's firewall lets in (a pinhole).
      type: str
      returned: success
      sample: ipv4
    external_port:
      description: The router's port. V(0) stands for all ports.
      type: int
      returned: success
      sample: 443
    internal_client:
      description: The address that it leads to.
      type: str
      returned: success
      sample: 192.0.2.10
    internal_port:
      description: The port that it leads to.
      type: int
      returned: success
      sample: 8443
    description:
      description: What its maker called it.
      type: str
      returned: success
      sample: hs:0123abcd:https
    enabled:
      description: Whether the router says that it is in force. With PCP and NAT-PMP, V(false) if the router restarted since or never answered, or, for
        IPv6, could not be asked.
      type: bool
      returned: success
      sample: true
    lease:
      description: The seconds that remain, V(0) for a mapping without end.
      type: int
      returned: success
      sample: 604800
    remote_host:
      description: The only source that it is for, empty for everybody. Routers do not tell it reliably.
      type: str
      returned: success
      sample: ""
    owner:
      description:
        - V(ours) carries this host's tag, V(homeserver) that of another host that this collection manages.
        - V(untagged_ours) leads to this host but was made by something else. V(unknown) leads to this host, and may have been made by this collection by PCP
          or NAT-PMP, but its records could not be read. Everything else is V(foreign).
      type: str
      returned: success
      sample: ours
    name:
      description: The service's name, if the description is a tag. V(null) otherwise.
      type: str
      returned: success
      sample: https
elapsed:
  description: How many seconds it took.
  returned: always
  type: float
  sample: 0.12
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import METHODS, Selection, run_info


def argument_spec():
    """Return the options."""
    return {
        "method": {"type": "str", "choices": list(METHODS), "default": "auto"},
        "gateway": {"type": "str"},
        "interface": {"type": "str"},
        "timeout": {"type": "float", "default": 3.0},
        "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    result = run_info(Selection(params["method"], params["gateway"], params["interface"], params["timeout"], params["state_dir"]))
    for warning in result.warnings:
        module.warn(warning)
    if result.error is not None:
        module.fail_json(msg=result.error, **result.data)
    module.exit_json(changed=False, **result.data)


if __name__ == "__main__":
    main()
