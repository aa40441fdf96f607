# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall_policy
short_description: Open and limit the ports of this host in a packet filter table of its own
version_added: 0.1.0
description:
  - Keeps the nftables table C(inet homeserver) equal to a policy. No other table is ever touched, and nothing that is off is switched on.
  - The rules are compared with what the kernel holds, not with a file, so that changes made by hand are found and repaired.
    They are loaded in one transaction. Packets see the old rules or the new ones, never none.
  - Other firewalls on the host still decide. Where the rules of ufw, firewalld, Docker, Podman or any other nftables table would make a request
    silently untrue, the module fails before it changes anything, and names what stands in the way and what to do.
  - A change that can cut the way by which the host is managed belongs between M(homeserver.hardening.rollback_guard) V(state=armed) and V(state=confirmed).
    The role P(homeserver.hardening.host_firewall#role) does that.
extends_documentation_fragment:
  - homeserver.hardening.attributes
author:
  - homeserver.hardening contributors (@homeserver-hardening)
options:
  state:
    description:
      - V(present) makes the table hold the policy.
      - V(absent) removes the table, the rules file, the unit, and the directory C(/etc/homeserver) if it is empty.
    type: str
    choices: [present, absent]
    default: present
  backend:
    description:
      - What carries the rules. V(auto) takes nftables, the only backend of this version.
    type: str
    choices: [auto, nftables]
    default: auto
  inbound:
    description:
      - V(keep) denies nothing by itself. Only the ports of services that have O(services[].allow_from) are closed to everyone else.
      - V(deny) denies every packet to this host that does not belong to O(services) or O(management), with the exceptions that any host needs.
        These are answers to its own connections, the loopback interface, ICMP and ICMPv6 errors, echo requests (at a limited rate), neighbour discovery,
        multicast listener discovery and DHCP.
      - Neither concerns packets that the host forwards, for example to containers.
    type: str
    choices: [keep, deny]
    default: keep
  services:
    description:
      - The ports that shall be reachable.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name, a lower-case letter followed by up to 30 of C(a-z), C(0-9) and C(-). It stands in the comment of each of its rules.
        type: str
        required: true
      protocol:
        description: The transport protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      port:
        description: The port on this host, from 1 to 65535.
        type: int
        required: true
      families:
        description: The address families in which it is offered.
        type: list
        elements: str
        choices: [ipv4, ipv6]
        default: [ipv4, ipv6]
      allow_from:
        description:
          - The addresses and networks (CIDR) that may reach it. All others may not, whatever O(inbound) says.
          - Leave it out for the whole Internet. An empty list, V(0.0.0.0/0) and V(::/0) are errors, so that neither nobody nor everybody is meant by accident.
        type: list
        elements: str
  management:
    description:
      - The ports by which the host is managed. Their rules stand before those of the services.
      - If left out with O(inbound=deny), the port of sshd that this connection uses is admitted from the networks at home and from the address that
        this connection comes from. Networks at home are those of the interfaces that carry an RFC 1918 or unique local address, but not of bridges and
        tunnels unless a default route goes over them, and fe80::/10 if no other interface has a link of its own.
        An address from outside is thus admitted as long as the policy is applied from there, and no longer.
    type: list
    elements: dict
    suboptions:
      name:
        description: Its name, as with O(services[].name).
        type: str
        default: ssh
      protocol:
        description: The transport protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      port:
        description: The port on this host, from 1 to 65535.
        type: int
        default: 22
      sources:
        description: The addresses and networks (CIDR) that may reach it. The whole Internet is an error; list it in O(services) if that is what you want.
        type: list
        elements: str
        required: true
  persist:
    description:
      - Whether the rules survive a reboot, in C(/etc/homeserver/firewall.nft), loaded by the unit C(homeserver-firewall.service) before the network comes up.
      - The unit needs no C(nftables.service) and does not start it. Where that is used, our rules are loaded again after each of its starts and reloads,
        since those flush all tables.
      - With V(false) the file and the unit are removed.
    type: bool
    default: true
  lockout_check:
    description:
      - Whether to refuse a policy of O(inbound=deny) that would not let the present SSH connection in again.
      - Switch it off only where something else takes a wrong policy back.
    type: bool
    default: true
  state_dir:
    description:
      - Where M(homeserver.hardening.rollback_guard) keeps its state, to tell whether one is armed.
    type: path
    default: /var/lib/homeserver
requirements:
  - The programs C(nft) and C(ip), which Debian has in the packages C(nftables) and C(iproute2), and root.
notes:
  - Rules of the old C(iptables-legacy) cannot be seen by nftables. If there are any, the module warns.
  - An accept in one nftables table does not overrule a drop in another, therefore such drops are conflicts.
  - With O(inbound=deny), answers to multicast queries that this host sends (SSDP, mDNS) do not count as answers and are dropped,
    and containers cannot reach services of the host, such as Podman's name server, unless a service with O(services[].allow_from) admits their network.
seealso:
  - module: homeserver.hardening.rollback_guard
"""

EXAMPLES = r"""
- name: Admit the web from everywhere, file sharing from home only, and leave everything else as it is
  homeserver.hardening.firewall_policy:
    services:
      - name: https
        port: 443
      - name: smb
        port: 445
        allow_from: [192.168.10.0/24]

- name: Deny everything but WireGuard and SSH from home
  homeserver.hardening.firewall_policy:
    inbound: deny
    services:
      - name: wg
        protocol: udp
        port: 51820
    management:
      - name: ssh
        port: 22
        sources: [192.168.10.0/24, "fe80::/10"]

- name: Take all of it back
  homeserver.hardening.firewall_policy:
    state: absent
"""

RETURN = r"""
plan:
  description: What there was to change, in the order of execution.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(remove).
      returned: always
      type: str
      sample: create
    kind:
      description: V(nft_table), V(file), V(link), V(directory), V(unit) or V(systemd).
      returned: always
      type: str
      sample: nft_table
    name:
      description: The table, path or unit.
      returned: always
      type: str
      sample: inet homeserver
    before:
      description: What is there. V(null) if nothing is.
      returned: always
      type: raw
      sample: null
    after:
      description: What will be there. V(null) if nothing will.
      returned: always
      type: raw
      sample: "table inet homeserver { ... }"
    reason:
      description: Why, if that is not obvious.
      returned: always
      type: str
      sample: only their order differs
rules:
  description: The difference between the rules wanted and those that the kernel holds.
  returned: always
  type: dict
  contains:
    added:
      description: Rules that were missing.
      returned: always
      type: list
      elements: str
      sample: ['chain input: tcp dport 443 counter accept comment "hs:0a1b2c3d:https"']
    removed:
      description: Rules that were too many.
      returned: always
      type: list
      elements: str
      sample: []
backend:
  description: What carries the rules.
  returned: always
  type: str
  sample: nftables
conflicts:
  description: What other programs' rules do to the request, the serious ones first.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: Whose rules these are, for example V(ufw), V(firewalld), V(Docker), or the name of a table.
      returned: always
      type: str
      sample: ufw
    detail:
      description: What they do.
      returned: always
      type: str
      sample: "ufw drops TCP 443 over IPv4 (table ip filter, chain INPUT: policy drop), and no rule of ours can overrule that"
    services:
      description: The services concerned.
      returned: always
      type: list
      elements: str
      sample: [https]
    severity:
      description: V(refuse) if the request would not hold, so that the module fails. V(warn) if it is as well to know.
      returned: always
      type: str
      sample: refuse
    remedy:
      description: What to do.
      returned: always
      type: str
      sample: "Run: ufw allow proto tcp to any port 443"
management:
  description: How the host is managed, as given or as found. Empty unless given or O(inbound=deny).
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      returned: always
      type: str
      sample: ssh
    protocol:
      description: The transport protocol.
      returned: always
      type: str
      sample: tcp
    port:
      description: The port.
      returned: always
      type: int
      sample: 22
    families:
      description: The address families.
      returned: always
      type: list
      elements: str
      sample: [ipv4, ipv6]
    sources:
      description: Who is admitted.
      returned: always
      type: list
      elements: str
      sample: [192.168.10.0/24, "fe80::/10"]
addresses:
  description: The addresses of this host at which visitors arrive.
  returned: always
  type: list
  elements: str
  sample: [192.168.10.20]
guard:
  description: Whether the change wants M(homeserver.hardening.rollback_guard).
  returned: always
  type: dict
  contains:
    needed:
      description: Whether the change could cut the way by which the host is managed.
      returned: always
      type: bool
      sample: true
    reason:
      description: Why.
      returned: always
      type: str
      sample: the new rules can drop packets of a new SSH connection
    armed:
      description: Whether a guard is armed already, for example by a run that was killed. What the kernel holds is provisional then.
      returned: always
      type: bool
      sample: false
connection:
  description: The SSH connection that this module came by. V(null) if there is none.
  returned: always
  type: dict
  contains:
    client:
      description: Where it comes from, as the host sees it.
      returned: always
      type: str
      sample: 192.168.10.2
    port:
      description: The port of sshd.
      returned: always
      type: int
      sample: 22
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.manage import Firewall, Outcome, Request
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.policy import PolicyError
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.system import SystemProblem
from ansible_collections.homeserver.hardening.plugins.module_utils._guard.guard import armed_guards, note_change
from ansible_collections.homeserver.hardening.plugins.module_utils._ownership import OwnershipError


def _argument_spec() -> dict[str, Any]:
    families = {"type": "list", "elements": "str", "choices": ["ipv4", "ipv6"], "default": ["ipv4", "ipv6"]}
    protocol = {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"}
    return {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "backend": {"type": "str", "choices": ["auto", "nftables"], "default": "auto"},
        "inbound": {"type": "str", "choices": ["keep", "deny"], "default": "keep"},
        "services": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "protocol": protocol,
                "port": {"type": "int", "required": True},
                "families": families,
                "allow_from": {"type": "list", "elements": "str"},
            },
        },
        "management": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "default": "ssh"},
                "protocol": protocol,
                "port": {"type": "int", "default": 22},
                "sources": {"type": "list", "elements": "str", "required": True},
            },
        },
        "persist": {"type": "bool", "default": True},
        "lockout_check": {"type": "bool", "default": True},
        "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=_argument_spec(), supports_check_mode=True)
    parameters = module.params
    result: dict[str, Any] = {"changed": False, **Outcome().as_data()}
    result["guard"]["armed"] = False
    try:
        firewall = Firewall()
        request = Request(
            present=parameters["state"] == "present",
            inbound=parameters["inbound"],
            services=parameters["services"],
            management=parameters["management"],
            persist=parameters["persist"],
            lockout_check=parameters["lockout_check"],
        )
        outcome = firewall.prepare(request)
        result.update(outcome.as_data(), diff=outcome.plan.diff())
        result["guard"]["armed"] = bool(armed_guards(parameters["state_dir"]))
        for conflict in outcome.conflicts:
            if conflict not in outcome.refused:
                module.warn(conflict.text())
        if outcome.refused:
            reasons = " ".join(conflict.text() for conflict in outcome.refused)
            module.fail_json(msg=f"Nothing was changed, because the request would not hold. {reasons}", **result)
        result["changed"] = outcome.plan.changed
        if outcome.plan.changed and not module.check_mode:
            firewall.apply(outcome)
            note_change(parameters["state_dir"])
    except (PolicyError, SystemProblem, OwnershipError, OSError) as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
