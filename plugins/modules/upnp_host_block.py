# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: upnp_host_block
short_description: Keep programs of this host from asking a router for port mappings
version_added: 0.1.0
description:
  - Keeps a table of its own in nftables, C(inet homeserver_upnp). It refuses what programs send to UDP ports 1900 (SSDP) and 5351 (NAT-PMP and PCP), and to
    the multicast groups of SSDP, and what this host forwards to them for containers and virtual machines.
  - What runs as root may still ask. So may this collection, whose questions tell whether the router is silent.
  - A unit of systemd loads the rules at boot. No other table is touched.
extends_documentation_fragment:
  - homeserver.hardening.attributes
options:
  state:
    description:
      - Whether the rules are there.
    type: str
    choices: [present, absent]
    default: present
author:
  - homeserver.hardening contributors (@homeserver-hardening)
notes:
  - Needs root, and nftables on the host.
  - DLNA and other programs that announce themselves by SSDP are not found by others any more, unless they run as root.
  - A program that knows the address of the router's UPnP service without a search can still speak to it. Only the router can stop that.
"""

EXAMPLES = r"""
- name: Let no program of this host ask
  homeserver.hardening.upnp_host_block:
  become: true
"""

RETURN = r"""
table:
  description: The table.
  returned: success
  type: str
  sample: inet homeserver_upnp
plan:
  description: What changed, or would change under check mode.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(remove).
      type: str
      returned: success
      sample: create
    kind:
      description: V(nft_table), V(file), V(link), V(directory), V(unit) or V(systemd).
      type: str
      returned: success
      sample: nft_table
    name:
      description: Its name.
      type: str
      returned: success
      sample: inet homeserver_upnp
    before:
      description: What was there.
      type: raw
      returned: success
      sample: null
    after:
      description: What is there then.
      type: raw
      returned: success
      sample: table inet homeserver_upnp {}
    reason:
      description: Why, where that is not obvious.
      type: str
      returned: success
      sample: ""
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.system import SystemProblem
from ansible_collections.homeserver.hardening.plugins.module_utils._upnp._block import FAMILY, TABLE, Block


def argument_spec():
    """Return the options."""
    return {"state": {"type": "str", "choices": ["present", "absent"], "default": "present"}}


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    present = module.params["state"] == "present"
    try:
        block = Block(present)
        outcome = block.prepare(present)
        if not module.check_mode:
            block.apply(outcome, present)
    except (SystemProblem, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=outcome.plan.changed, diff=outcome.plan.diff(), table=f"{FAMILY} {TABLE}", plan=outcome.plan.as_data())


if __name__ == "__main__":
    main()
