# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: upnp_mappings
short_description: Judge the router's port mappings, and remove those that are named
version_added: 0.1.0
description:
  - Lists the mappings of the router and says of each whether it is this host's own, declared, named for removal, or none of these.
  - Removes those that are named in O(remove), whoever made them. Nothing else is touched. This host's own are removed by
    M(homeserver.hardening.port_mapping) alone.
  - Remembers on the host which mappings it has seen. Once UPnP is off nobody can list what it had opened, and these are the ports to look at from outside.
extends_documentation_fragment:
  - homeserver.hardening.attributes
  - homeserver.hardening.router
options:
  state:
    description:
      - V(enforced) does the above.
      - V(forgotten) removes what was remembered, and asks the router nothing.
    type: str
    choices: [enforced, forgotten]
    default: enforced
  declared:
    description:
      - Mappings that may stay, whoever made them.
    type: list
    elements: dict
    default: []
    suboptions:
      protocol:
        description: The protocol.
        type: str
        choices: [tcp, udp]
        required: true
      external_port:
        description: The router's port.
        type: int
        required: true
      internal_client:
        description: The address that it leads to. If omitted, any.
        type: str
      description:
        description: What its maker called it. If omitted, anything.
        type: str
  remove:
    description:
      - Mappings to remove. Each is named by its protocol, external port and internal client, or by its description; what is given has to hold exactly.
      - One that is not there is no error, see RV(unmatched).
      - Routers need not let this host remove mappings of others. What they refuse is reported, see RV(mappings[].error).
    type: list
    elements: dict
    default: []
    suboptions:
      protocol:
        description: The protocol.
        type: str
        choices: [tcp, udp]
      external_port:
        description: The router's port.
        type: int
      internal_client:
        description: The address that it leads to.
        type: str
      description:
        description: What its maker called it. It removes all that are called so.
        type: str
  state_dir:
    description:
      - Where the host remembers, in C(upnp.json), and where M(homeserver.hardening.port_mapping) records what it made by PCP and NAT-PMP.
    type: path
    default: /var/lib/homeserver
author:
  - homeserver.hardening contributors (@homeserver-hardening)
notes:
  - Needs root to remember. Without it, it says so.
seealso:
  - module: homeserver.hardening.port_mapping
  - module: homeserver.hardening.port_mapping_info
"""

EXAMPLES = r"""
- name: See which mappings nobody declared
  homeserver.hardening.upnp_mappings:
    declared:
      - {protocol: udp, external_port: 3074, internal_client: 192.0.2.30}
  become: true
  register: router

- name: Remove two of them
  homeserver.hardening.upnp_mappings:
    remove:
      - {protocol: tcp, external_port: 9999, internal_client: 192.0.2.20}
      - {description: Old camera}
  become: true
"""

RETURN = r"""
available:
  description: Whether a router answered and let its mappings be listed.
  returned: always
  type: bool
  sample: true
reason:
  description: Why not; empty if RV(available=true).
  returned: always
  type: str
  sample: ""
incomplete:
  description: Why the list may lack mappings; empty if it is whole.
  returned: always
  type: str
  sample: ""
gateway:
  description: The router, as RV(homeserver.hardening.port_mapping_info#module:gateway). V(null) if none was found.
  returned: always
  type: dict
  sample: {address: 192.0.2.1, method: upnp}
mappings:
  description: Every mapping that the router shows, as it was before.
  returned: always
  type: list
  elements: dict
  contains:
    protocol:
      description: The protocol.
      type: str
      returned: success
      sample: tcp
    external_port:
      description: The router's port. V(0) stands for all ports.
      type: int
      returned: success
      sample: 9999
    internal_client:
      description: The address that it leads to.
      type: str
      returned: success
      sample: 192.0.2.20
    internal_port:
      description: The port that it leads to.
      type: int
      returned: success
      sample: 80
    description:
      description: What its maker called it.
      type: str
      returned: success
      sample: camera
    lease:
      description: The seconds that remain, V(0) for a mapping without end.
      type: int
      returned: success
      sample: 3600
    owner:
      description: As in M(homeserver.hardening.port_mapping_info).
      type: str
      returned: success
      sample: foreign
    name:
      description: The service's name, if the description is a tag. V(null) otherwise.
      type: str
      returned: success
      sample: https
    decision:
      description:
        - V(ours) is this host's own, V(declared) is named in O(declared), V(consented) is named in O(remove), V(not_consented) is none of these and was left.
      type: str
      returned: success
      sample: consented
    state:
      description: V(present), V(removed) or V(refused). Under check mode V(removed) is what would be tried.
      type: str
      returned: success
      sample: removed
    error:
      description: Why it could not be removed.
      type: str
      returned: success
      sample: ""
unmatched:
  description: What is named in O(remove) and is not there, or not any more, as it was named.
  returned: always
  type: list
  elements: dict
  contains:
    protocol:
      description: The protocol. V(null) if it was not given.
      type: str
      returned: success
      sample: tcp
    external_port:
      description: The router's port. V(null) if it was not given.
      type: int
      returned: success
      sample: 9999
    internal_client:
      description: The client. V(null) if it was not given.
      type: str
      returned: success
      sample: 192.0.2.20
    description:
      description: The description. V(null) if it was not given.
      type: str
      returned: success
      sample: camera
former:
  description: Every mapping that was ever seen, until it is forgotten, at most 1024.
  returned: always
  type: list
  elements: dict
  contains:
    protocol:
      description: The protocol.
      type: str
      returned: success
      sample: tcp
    external_port:
      description: The router's port.
      type: int
      returned: success
      sample: 9999
    internal_client:
      description: The address that it led to.
      type: str
      returned: success
      sample: 192.0.2.20
    internal_port:
      description: The port that it led to.
      type: int
      returned: success
      sample: 80
    description:
      description: What its maker called it.
      type: str
      returned: success
      sample: camera
    owner:
      description: Whose it was.
      type: str
      returned: success
      sample: foreign
    seen:
      description: When it was last listed.
      type: str
      returned: success
      sample: "2026-01-31T12:00:00Z"
cut:
  description: Whether RV(former) lacks mappings, because there were too many or a list could not be read to its end. It stays so until they are forgotten.
  returned: always
  type: bool
  sample: false
remembered:
  description: The router when it last let its mappings be listed. V(null) if it never did.
  returned: always
  type: dict
  contains:
    address:
      description: Its address in the LAN.
      type: str
      returned: success
      sample: 192.0.2.1
    location:
      description: Where its device description was.
      type: str
      returned: success
      sample: http://192.0.2.1:5000/rootDesc.xml
    product:
      description: What it called itself.
      type: str
      returned: success
      sample: Home router
    wan_address:
      description: Its WAN address.
      type: str
      returned: success
      sample: 203.0.113.7
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
plan:
  description: What changed, or would change under check mode; also what the router refused.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(remove).
      type: str
      returned: success
      sample: remove
    kind:
      description: V(port_mapping), or V(file) for what is remembered.
      type: str
      returned: success
      sample: port_mapping
    name:
      description: Its name.
      type: str
      returned: success
      sample: tcp 9999
    before:
      description: What was there.
      type: raw
      returned: success
      sample: {}
    after:
      description: What is there then.
      type: raw
      returned: success
      sample: null
    reason:
      description: Why, where that is not obvious.
      type: str
      returned: success
      sample: named in remove
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import METHODS, Selection
from ansible_collections.homeserver.hardening.plugins.module_utils._upnp._mappings import Request, run


def argument_spec():
    """Return the options."""
    named = {
        "external_port": {"type": "int"},
        "internal_client": {"type": "str"},
        "description": {"type": "str"},
    }
    declared = {**named, "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True}, "external_port": {"type": "int", "required": True}}
    return {
        "state": {"type": "str", "choices": ["enforced", "forgotten"], "default": "enforced"},
        "declared": {"type": "list", "elements": "dict", "default": [], "options": declared},
        "remove": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {**named, "protocol": {"type": "str", "choices": ["tcp", "udp"]}},
        },
        "method": {"type": "str", "choices": list(METHODS), "default": "auto"},
        "gateway": {"type": "str"},
        "interface": {"type": "str"},
        "timeout": {"type": "float", "default": 3.0},
        "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    result = run(
        Request(params["declared"], params["remove"], params["state"] == "forgotten"),
        Selection(params["method"], params["gateway"], params["interface"], params["timeout"], params["state_dir"]),
        module.check_mode,
    )
    for warning in result.warnings:
        module.warn(warning)
    if result.error:
        module.fail_json(msg=result.error, **result.data)
    module.exit_json(changed=result.changed, diff=result.plan.diff(), **result.data)


if __name__ == "__main__":
    main()
