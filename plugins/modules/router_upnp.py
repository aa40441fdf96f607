# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: router_upnp
short_description: Switch UPnP, NAT-PMP and PCP of a router off or on
version_added: 0.1.0
description:
  - Runs on the router, or is delegated to it. With O(driver=linux) that is a Linux router with miniupnpd and nftables.
  - Switching off takes more than stopping the daemon. It also empties the lease file, from which a daemon that starts again would make its mappings
    again, and the chains of nftables, since a daemon that ended leaves what it opened open.
  - Reads back what remains, see RV(rules_left), and fails rather than report as gone what could not be looked at.
  - Chains are emptied, never removed. Nothing else of the router is touched.
extends_documentation_fragment:
  - homeserver.hardening.attributes
options:
  driver:
    description:
      - The kind of router. There is V(linux); other kinds are refused by name.
    type: str
    required: true
  state:
    description:
      - V(disabled) stops the daemon, keeps it from starting at boot, and takes away what it opened.
      - V(enabled) starts the daemon, and lets it start at boot.
      - V(restored) does that only as far as it was so when this module first disabled it. If this module never did, it does nothing.
      - Mappings do not come back with V(enabled) and V(restored). Their owners have to ask for them again, which most programs do by themselves.
    type: str
    choices: [disabled, enabled, restored]
    default: disabled
  unit:
    description:
      - The unit of systemd. If systemd does not know it, O(process) and O(pid_file) tell which processes to end.
    type: str
    default: miniupnpd.service
  process:
    description:
      - The name of the daemon's process. Processes of this name that are left once the unit is stopped are ended as well.
    type: str
    default: miniupnpd
  pid_file:
    description:
      - A file with the number of the daemon's process, for a daemon whose process has another name.
    type: path
    default: ""
  start_command:
    description:
      - With O(state=enabled) and O(state=restored), the command that starts the daemon on a router without a unit for it.
    type: list
    elements: str
    default: []
  chains:
    description:
      - The chains of nftables that the daemon writes into.
    type: list
    elements: str
    default: [miniupnpd, prerouting_miniupnpd, postrouting_miniupnpd]
  table:
    description:
      - The table that they are in, family and name, such as V(inet filter). If empty, they are looked for in all tables.
    type: str
    default: ""
  configuration:
    description:
      - The daemon's configuration file. It names the lease file.
    type: path
    default: /etc/miniupnpd/miniupnpd.conf
  lease_file:
    description:
      - The lease file, if it is not the one that O(configuration) names.
    type: path
    default: ""
  keep_rules:
    description:
      - With O(state=disabled), leave the rules in force. What they forward stays open. RV(rules_left) lists them.
    type: bool
    default: false
  end_connections:
    description:
      - With O(state=disabled), also end the connections that came in through the rules that are there. They go on otherwise. This needs C(conntrack).
        What could not be ended is made up for in a later run.
    type: bool
    default: false
  state_dir:
    description:
      - The directory on the router that keeps how the daemon was, for O(state=restored).
    type: path
    default: /var/lib/homeserver
author:
  - homeserver.hardening contributors (@homeserver-hardening)
notes:
  - It needs root on the router.
  - A daemon whose unit has a last command of its own, as some distributions have it, may empty or remove the chains by itself. Both are fine.
seealso:
  - module: homeserver.hardening.port_mapping_info
  - module: homeserver.hardening.upnp_audit_info
"""

EXAMPLES = r"""
- name: Switch UPnP off on the router, and end what came in through it
  homeserver.hardening.router_upnp:
    driver: linux
    end_connections: true
  delegate_to: router1
  become: true
  register: router

- name: Nothing that it opened is left
  ansible.builtin.assert:
    that: router.rules_left == []

- name: Have it as it was
  homeserver.hardening.router_upnp:
    driver: linux
    state: restored
  delegate_to: router1
  become: true
"""

RETURN = r"""
driver:
  description: The driver.
  returned: success
  type: str
  sample: linux
daemon:
  description: The daemon, as it is now.
  returned: success
  type: dict
  contains:
    unit:
      description: Its unit. Empty if systemd knows none.
      type: str
      returned: success
      sample: miniupnpd.service
    running:
      description: Whether it runs.
      type: bool
      returned: success
      sample: false
    enabled:
      description: Whether it starts at boot. V(null) where no unit decides that.
      type: bool
      returned: success
      sample: false
chains:
  description: The chains that were found, with family and table.
  returned: success
  type: list
  elements: str
  sample: ["inet filter miniupnpd", "inet filter prerouting_miniupnpd", "inet filter postrouting_miniupnpd"]
chains_seen:
  description: Whether such chains are there, or were there when this module first disabled the daemon. If not, that no rule is left says nothing.
  returned: success
  type: bool
  sample: true
rules:
  description: The rules that were in them before.
  returned: success
  type: list
  elements: dict
  contains:
    table:
      description: Family and name of the table.
      type: str
      returned: success
      sample: inet filter
    chain:
      description: The chain.
      type: str
      returned: success
      sample: prerouting_miniupnpd
    protocol:
      description: The protocol. Empty if the rule could not be read.
      type: str
      returned: success
      sample: tcp
    port:
      description: The port that it matches.
      type: int
      returned: success
      sample: 8443
    client:
      description: The address that it leads to.
      type: str
      returned: success
      sample: 192.0.2.20
    client_port:
      description: The port that it translates to. V(0) if it translates nothing.
      type: int
      returned: success
      sample: 443
rules_left:
  description: The rules that are in them now. Under check mode, what is there.
  returned: success
  type: list
  elements: dict
  contains:
    table:
      description: Family and name of the table.
      type: str
      returned: success
      sample: inet filter
    chain:
      description: The chain.
      type: str
      returned: success
      sample: prerouting_miniupnpd
    protocol:
      description: The protocol. Empty if the rule could not be read.
      type: str
      returned: success
      sample: tcp
    port:
      description: The port that it matches.
      type: int
      returned: success
      sample: 8443
    client:
      description: The address that it leads to.
      type: str
      returned: success
      sample: 192.0.2.20
    client_port:
      description: The port that it translates to. V(0) if it translates nothing.
      type: int
      returned: success
      sample: 443
mappings:
  description: The mappings that the rules made before, also those that the daemon no longer knew.
  returned: success
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
      sample: 8443
    internal_client:
      description: The address that it led to.
      type: str
      returned: success
      sample: 192.0.2.20
    internal_port:
      description: The port that it led to.
      type: int
      returned: success
      sample: 443
leases_left:
  description: How many leases are in the lease files now.
  returned: success
  type: int
  sample: 0
other_chains:
  description: Chains that hold rules and look like a UPnP daemon's, but are not named in O(chains) or are base chains, which are never emptied.
  returned: success
  type: list
  elements: str
  sample: []
connections_ended:
  description: How many connections were ended, with those that had ended shortly before. V(null) if C(conntrack) is not installed.
  returned: success
  type: int
  sample: 1
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
      sample: update
    kind:
      description: V(unit_file), V(daemon), V(lease_file) or V(nft_chain).
      type: str
      returned: success
      sample: nft_chain
    name:
      description: Its name.
      type: str
      returned: success
      sample: inet filter prerouting_miniupnpd
    before:
      description: What was there.
      type: raw
      returned: success
      sample: tcp port 8443 to 192.0.2.20:443
    after:
      description: What is there then.
      type: raw
      returned: success
      sample: ""
    reason:
      description: Why, where that is not obvious.
      type: str
      returned: success
      sample: ""
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.homeserver.hardening.plugins.module_utils._router._drivers import check_driver
from ansible_collections.homeserver.hardening.plugins.module_utils._router._linux import DISABLED, ENABLED, RESTORED, Options, disable_or_enable
from ansible_collections.homeserver.hardening.plugins.module_utils._router._miniupnpd import CHAINS, RouterError


def argument_spec():
    """Return the options."""
    return {
        "driver": {"type": "str", "required": True},
        "state": {"type": "str", "choices": [DISABLED, ENABLED, RESTORED], "default": DISABLED},
        "unit": {"type": "str", "default": "miniupnpd.service"},
        "process": {"type": "str", "default": "miniupnpd"},
        "pid_file": {"type": "path", "default": ""},
        "start_command": {"type": "list", "elements": "str", "default": []},
        "chains": {"type": "list", "elements": "str", "default": list(CHAINS)},
        "table": {"type": "str", "default": ""},
        "configuration": {"type": "path", "default": "/etc/miniupnpd/miniupnpd.conf"},
        "lease_file": {"type": "path", "default": ""},
        "keep_rules": {"type": "bool", "default": False},
        "end_connections": {"type": "bool", "default": False},
        "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = dict(module.params)
    driver = params.pop("driver")
    try:
        check_driver(driver)
        result = disable_or_enable(Options(**params), module.check_mode)
    except RouterError as error:
        module.fail_json(msg=str(error))
    for warning in result.warnings:
        module.warn(warning)
    # Connections that an earlier run could not end may be all that was left to do.
    module.exit_json(changed=result.plan.changed or bool(result.data["connections_ended"]), driver=driver, diff=result.plan.diff(), **result.data)


if __name__ == "__main__":
    main()
