# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inbound_trial
short_description: Try ports from outside before anything is published, and take back what that needs
version_added: 0.1.0
description:
  - Tells why a port cannot be reached, before the service is published. A port that the provider closes, a missing forward, the host's own firewall,
    a service that is down, the router's own page and another device look the same from outside.
  - With O(state=started) the router forwards the wanted ports for a short time, and a responder answers on them. Beside them stands a control port per
    protocol, a high one that nobody blocks, with the same kind of mapping, in the same minute.
    Then ask with M(homeserver.hardening.port_probe_info) from hosts elsewhere.
  - With O(state=stopped) the responder ends, the mappings go, and what was seen outside is put against what came as far as this host.
  - Of nothing is said that it is reachable unless the nonce came back from outside.
  - In check mode nothing is created, and nothing is tested.
  - What is created ends by itself if nobody comes to stop it. The responder ends after O(timeout), the mappings with a lease of 120 seconds, or of
    O(timeout) and a minute where that is more. A router that only takes permanent mappings keeps them until the next trial.
  - Never reports a change, since nothing remains.
author:
  - homeserver.hardening contributors (@homeserver-hardening)
extends_documentation_fragment:
  - homeserver.hardening.attributes.action
options:
  state:
    description:
      - V(started) opens the way, V(stopped) closes it and judges.
    type: str
    choices: [started, stopped]
    required: true
  plan:
    description:
      - RV(homeserver.hardening.publication_plan#module:plan).
    type: dict
    required: true
  targets:
    description:
      - RV(homeserver.hardening.publication_plan#module:targets), what each vantage shall ask. With O(state=started).
    type: list
    elements: dict
    default: []
  trial:
    description:
      - RV(trial) of the start, unchanged. Required when O(state=stopped).
    type: dict
  probes:
    description:
      - What M(homeserver.hardening.port_probe_info) returned in a loop over RV(targets), as it was registered. Vantages that failed are no failure.
    type: raw
  gateway:
    description:
      - As in M(homeserver.hardening.port_mapping). The same at the start and at the stop.
    type: str
    default: ""
  interface:
    description:
      - As in M(homeserver.hardening.port_mapping). The same at the start and at the stop.
    type: str
    default: ""
  state_dir:
    description:
      - As in M(homeserver.hardening.port_mapping). The same at the start and at the stop.
    type: str
    default: ""
  timeout:
    description:
      - Seconds after which the responder ends by itself, at most 600. All vantages have to have asked by then.
    type: int
    default: 60
notes:
  - Needs root on the host, as M(homeserver.hardening.probe_responder) does.
  - A port that the router forwards already to where it shall lead is tried as it is. One that leads elsewhere is not tried.
  - A host firewall that drops what is not published yet gives RV(inbound[].state=host_firewall). That the packets arrived is then what counts.
seealso:
  - module: homeserver.hardening.publication_plan
  - module: homeserver.hardening.port_probe_info
  - module: homeserver.hardening.probe_responder
  - module: homeserver.hardening.port_mapping
"""

EXAMPLES = r"""
- name: Open the way for a trial
  homeserver.hardening.inbound_trial:
    state: started
    plan: "{{ planned.plan }}"
    targets: "{{ planned.targets }}"
  become: true
  register: trial
  # It holds the nonce.
  no_log: true

- name: Ask from the Internet
  homeserver.hardening.port_probe_info:
    targets: "{{ item.targets }}"
    nonce: "{{ trial.nonce }}"
  delegate_to: "{{ item.host }}"
  loop: "{{ trial.targets }}"
  loop_control:
    label: "{{ item.host }}"
  register: outside
  # A vantage that failed has seen nothing; another may have.
  failed_when: false
  ignore_unreachable: true
  no_log: true

- name: Close the way, and judge
  homeserver.hardening.inbound_trial:
    state: stopped
    trial: "{{ trial.trial }}"
    plan: "{{ planned.plan }}"
    probes: "{{ outside }}"
  become: true
  register: tried
"""

RETURN = r"""
trial:
  description: What the stop needs to know. It holds nothing secret; its keys are no interface.
  returned: when O(state=started)
  type: dict
nonce:
  description: The nonce that the vantages need. Null if nothing was started.
  returned: when O(state=started)
  type: str
  sample: 00112233445566778899aabbccddeeff
reason:
  description:
    - Why there is nothing to ask, V(check_mode), V(no_vantage), V(nothing_planned), V(mapping_refused) or V(no_responder); empty if there is.
  returned: when O(state=started)
  type: str
  sample: ""
targets:
  description: What each vantage has to ask, controls included.
  returned: when O(state=started)
  type: list
  elements: dict
  contains:
    host:
      description: The inventory host.
      type: str
      sample: vps1
    targets:
      description: For the option O(homeserver.hardening.port_probe_info#module:targets).
      type: list
      elements: dict
      contains:
        host:
          description: The address.
          type: str
        ports:
          description: The ports.
          type: list
          elements: int
        protocol:
          description: V(tcp) or V(udp).
          type: str
          sample: tcp
        families:
          description: V(ipv4), V(ipv6).
          type: list
          elements: str
inbound:
  description: One row per service and family that has a path, in the order of the plan.
  returned: when O(state=stopped)
  type: list
  elements: dict
  contains:
    service:
      description: The service.
      type: str
      sample: http
    protocol:
      description: V(tcp) or V(udp).
      type: str
      sample: tcp
    external_port:
      description: The port on the Internet side.
      type: int
      sample: 8443
    family:
      description: V(ipv4) or V(ipv6).
      type: str
      sample: ipv4
    state:
      description:
        - V(published), the nonce came back.
        - V(another_device), something answers that is not this host.
        - V(closed_before_home), the control came through and this port did not.
        - V(not_forwarded), neither came as far as this host, or the router refuses it.
        - V(rejected_on_the_way), somebody on the way refuses it.
        - V(host_firewall), it came as far as this host, and no answer came back.
        - V(host_refuses), it came as far as this host, and was refused.
        - V(service_down), the way is good and nothing listens.
        - V(untested), RV(inbound[].notes) says why.
        - V(unknown), it cannot be told from what was seen.
      type: str
      sample: closed_before_home
    sure:
      description: Whether nothing else explains what was seen.
      type: bool
    notes:
      description:
        - What else there is to say, by stable names. V(worm_port), V(vantage_may_keep_it), V(router_may_keep_it), V(router_page), V(router_refuses),
          V(line_or_forward), V(no_control), V(or_way_back), V(address_or_family), V(path_works), V(no_service_yet), V(start_responder), V(watch_arrival).
        - Of what is V(untested), V(check_mode), V(no_vantage), V(nothing_planned), V(mapping_refused), V(no_responder), V(hairpin),
          V(vantage_behind_nat), V(vantage_cannot_ask).
      type: list
      elements: str
    reason:
      description: What the router or the host gave as the reason that it was not tried. Empty otherwise.
      type: str
    vantage:
      description: The inventory host whose view this is, V(none) if nobody has seen it.
      type: str
      sample: vps1
    evidence:
      description: What it was judged by.
      type: dict
      contains:
        outside:
          description: RV(homeserver.hardening.port_probe_info#module:probes[].state) of the vantage.
          type: str
          sample: filtered
        arrived:
          description: RV(homeserver.hardening.probe_responder#module:listeners[].arrived) of this host's port.
          type: int
        listening:
          description: Whether a service listened on this host's port by itself.
          type: bool
        control:
          description: Whether the control was reached over the same way. V(none) if there was none.
          type: bool
left:
  description: Names of mappings that may still be in the router, because it did not answer. They end with their lease.
  returned: when O(state=stopped)
  type: list
  elements: str
"""
