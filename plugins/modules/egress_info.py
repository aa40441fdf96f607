# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: egress_info
short_description: Find out what a network lets out, and which tunnels can be used from it
version_added: 0.1.0
description:
  - Probes a helper outside, on which M(homeserver.hardening.probe_responder) runs, on the ports that home servers and tunnels use.
    It tells what the network in between lets through, what it forbids, and where something answers in place of the helper.
  - A connection proves nothing, since transparent proxies and sign-in pages accept every one. Only the nonce that comes back does.
  - Can be run on a home server, or on a laptop in a network elsewhere, with one's own home server as the helper.
  - Works without root, but for GRE. Changes nothing, and does the same in check mode.
extends_documentation_fragment:
  - homeserver.hardening.attributes.info
author:
  - homeserver.hardening contributors (@homeserver-hardening)
options:
  host:
    description:
      - The helper's name or address.
    type: str
    required: true
  nonce:
    description:
      - The nonce of the helper's running M(homeserver.hardening.probe_responder), in hexadecimal.
    type: str
    required: true
  listeners:
    description:
      - What M(homeserver.hardening.probe_responder) returned as RV(homeserver.hardening.probe_responder#module:listeners).
        Ports where it does not listen are not judged.
      - If omitted, it is taken to listen on every port that is probed.
    type: list
    elements: dict
  families:
    description:
      - The address families to probe. If omitted, those that this host and the helper have.
    type: list
    elements: str
    choices: [ipv4, ipv6]
  tcp_ports:
    description:
      - The TCP ports to probe. 1723 is the control connection of PPTP.
    type: list
    elements: int
    default: [22, 25, 53, 80, 443, 465, 587, 993, 1723, 8443]
  udp_ports:
    description:
      - The UDP ports to probe.
    type: list
    elements: int
    default: [53, 123, 443, 500, 3478, 4500, 51820]
  gre:
    description:
      - Whether to probe GRE over IPv4, which PPTP needs. Without root it stays untested.
      - PPTP is named because people still use it. It is obsolete, and never recommended.
    type: bool
    default: true
  interface:
    description:
      - Send through this interface.
    type: str
  timeout:
    description:
      - Seconds that the last attempt at a port waits.
    type: float
    default: 1.5
notes:
  - Nothing is said of the network as long as the helper has not proved itself on any port, since it may be down.
seealso:
  - module: homeserver.hardening.probe_responder
  - module: homeserver.hardening.port_probe_info
"""

EXAMPLES = r"""
- name: Answer on a host in the Internet
  homeserver.hardening.probe_responder:
    listeners:
      - {name: https, protocol: tcp, port: 443}
      - {name: wireguard, protocol: udp, port: 51820}
  delegate_to: vantage.example.net
  become: true
  register: helper

- name: See what this network lets out
  homeserver.hardening.egress_info:
    host: vantage.example.net
    nonce: "{{ helper.nonce }}"
    listeners: "{{ helper.listeners }}"
    tcp_ports: [443]
    udp_ports: [51820]
  register: network

- name: Show which tunnel to use from here
  ansible.builtin.debug:
    msg: "{{ network.egress.tunnels | selectattr('recommended') }}"
"""

RETURN = r"""
egress:
  description: What is let out. V(null) if an option made no sense.
  returned: always
  type: dict
  contains:
    verdict:
      description:
        - V(open) lets everything out that was tested, V(restricted) not everything.
        - V(proxied) answers some connections itself, V(captive_portal) does so for web pages and lets nothing else out.
        - V(local_firewall) means that this host itself does not let it out, V(no_network) that it has no route.
        - V(undetermined) means that the helper did not prove itself on any port.
        - Of two families that of the better one.
      returned: always
      type: str
      sample: restricted
    families:
      description: The same for each family that was probed, V(ipv4) and V(ipv6).
      returned: always
      type: dict
      sample: {ipv4: {verdict: restricted, reason: "tcp 25: not let out", seen_as: [192.0.2.1]}}
    ports:
      description: One row per family, protocol and port.
      returned: always
      type: list
      elements: dict
      contains:
        family:
          description: The family.
          returned: always
          type: str
          sample: ipv4
        protocol:
          description: The protocol.
          returned: always
          type: str
          sample: tcp
        port:
          description: The port.
          returned: always
          type: int
          sample: 25
        state:
          description:
            - V(open) is proved by the nonce. V(intercepted) is answered by something else.
            - V(closed), V(rejected) and V(dropped) are not let out. V(local) is stopped by this host.
            - V(no_route), V(untested) and V(error) say nothing of the network.
          returned: always
          type: str
          sample: dropped
        by:
          description: The address of the router that forbids it, if it said so.
          returned: always
          type: str
          sample: 192.0.2.254
        seen_as:
          description: The address that the helper saw.
          returned: always
          type: str
          sample: 192.0.2.1
        rtt_ms:
          description: The round trip in milliseconds.
          returned: always
          type: float
          sample: 8.2
        note:
          description: What the state means.
          returned: always
          type: str
          sample: it is lost on the way
    gre:
      description: What happened to GRE.
      returned: always
      type: dict
      contains:
        state:
          description: V(passed), V(dropped), V(rejected), V(local), V(unknown), V(untested) or V(error).
          returned: always
          type: str
          sample: dropped
        by:
          description: The address of the router that forbids it, if it said so.
          returned: always
          type: str
          sample: 192.0.2.254
        reason:
          description: Why.
          returned: always
          type: str
          sample: another unusual protocol reaches the helper, GRE does not
    tunnels:
      description: Which tunnels could be used from here.
      returned: always
      type: list
      elements: dict
      contains:
        name:
          description: V(wireguard), V(ipsec), V(tls), V(ssh) or V(pptp).
          returned: always
          type: str
          sample: wireguard
        state:
          description: V(works), V(blocked) or V(unknown).
          returned: always
          type: str
          sample: works
        ports:
          description: The ports that it can use, for WireGuard those that are let out, the best first.
          returned: always
          type: list
          elements: int
          sample: [51820, 443]
        recommended:
          description: Whether to use it.
          returned: always
          type: bool
          sample: true
        note:
          description: What to mind.
          returned: always
          type: str
          sample: ""
    elapsed:
      description: How many seconds it took.
      returned: always
      type: float
      sample: 1.6
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._egress._survey import TCP_PORTS, UDP_PORTS, Request, survey
from ..module_utils._probe._engine import ProbeError
from ..module_utils._probe._nonce import NonceError
from ..module_utils._probe._ports import ProbeInputError


def argument_spec():
    """Return the options."""
    return {
        "host": {"type": "str", "required": True},
        "nonce": {"type": "str", "required": True, "no_log": True},
        "listeners": {"type": "list", "elements": "dict"},
        "families": {"type": "list", "elements": "str", "choices": ["ipv4", "ipv6"]},
        "tcp_ports": {"type": "list", "elements": "int", "default": list(TCP_PORTS)},
        "udp_ports": {"type": "list", "elements": "int", "default": list(UDP_PORTS)},
        "gre": {"type": "bool", "default": True},
        "interface": {"type": "str"},
        "timeout": {"type": "float", "default": 1.5},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    names = ("host", "nonce", "families", "tcp_ports", "udp_ports", "listeners", "gre", "interface", "timeout")
    try:
        result = survey(Request(*(params[name] for name in names)))
    except (ProbeError, ProbeInputError, NonceError) as error:
        module.fail_json(msg=str(error), egress=None)
    except KeyError as error:
        module.fail_json(msg=f"listeners has a row without {error}: give what probe_responder returned as listeners, or leave it out", egress=None)
    except OSError as error:
        module.fail_json(msg=f"this host cannot probe: {error}", egress=None)
    module.exit_json(changed=False, egress=result)


if __name__ == "__main__":
    main()
