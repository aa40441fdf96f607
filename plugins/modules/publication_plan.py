# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: publication_plan
short_description: Decide by which path each service can be reached
version_added: 0.1.0
description:
  - Judges the list of services, and decides for each service and address family by which path the Internet can reach it on this line,
    or says why it cannot and which ways remain.
  - Reads nothing itself and changes nothing. Without O(interfaces) only the request is judged, before any host is contacted.
  - All mistakes are reported at once, each with what was written, why it cannot be, and what to write instead.
author:
  - homeserver.hardening contributors (@homeserver-hardening)
extends_documentation_fragment:
  - homeserver.hardening.attributes.action
requirements:
  - netaddr on the controller
options:
  services:
    description:
      - The services, as role C(publish) takes them in C(publish_services).
    type: raw
    required: true
  accept_risk:
    description:
      - Names of services that shall be published although their kind should hardly ever face the Internet.
    type: raw
    default: []
  interfaces:
    description:
      - What M(homeserver.hardening.address_info) returned as RV(homeserver.hardening.address_info#module:interfaces).
    type: list
    elements: dict
  default_routes:
    description:
      - What M(homeserver.hardening.address_info) returned as C(default_routes).
    type: list
    elements: dict
    default: []
  mapping:
    description:
      - What M(homeserver.hardening.port_mapping_info) returned.
    type: dict
    default: {}
  line:
    description:
      - What M(homeserver.hardening.line_info) returned as RV(homeserver.hardening.line_info#module:line). Then its verdict counts, and a port that
        a shared address does not have is refused. If omitted, the line is judged by the host's addresses and the router's word alone.
    type: dict
  peers:
    description:
      - Other hosts of the same run, each with C(host), C(services) and C(wan_address). Hosts behind one address share its ports.
    type: list
    elements: dict
    default: []
  vantages:
    description:
      - The hosts that shall prove it. Without O(interfaces), as role C(publish) takes them in C(publish_vantages);
        else each with C(host), C(families), C(addresses), C(reached), C(error) and C(interfaces).
    type: raw
    default: []
  on_problem:
    description:
      - Whether to fail when the plan cannot be carried out, or only to report it. A request that cannot be understood always fails.
    type: str
    choices: [fail, report]
    default: fail
  adopt:
    description:
      - Whether a mapping in the router that points at this host already, but was made by something else, may be taken over.
    type: bool
    default: false
  require_proof:
    description:
      - Whether it is a mistake that nothing can prove the result.
    type: bool
    default: false
  language:
    description:
      - Language of the texts, V(en) or V(ja). Empty takes the controller's locale.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Judge the request before anything is contacted
  homeserver.hardening.publication_plan:
    services:
      - name: https
        protocol: tcp
        port: 443
        external_port: 8443

- name: Decide the paths
  homeserver.hardening.publication_plan:
    services: "{{ publish_services }}"
    interfaces: "{{ addresses.interfaces }}"
    default_routes: "{{ addresses.default_routes }}"
    mapping: "{{ router }}"
  register: plan
"""

RETURN = r"""
plan:
  description: The plan, V(none) if only the request was judged or it cannot be planned.
  type: dict
  returned: always
  contains:
    line:
      description:
        - What the readings say about the line.
      type: dict
      contains:
        verdict:
          description:
            - With O(line), that of M(homeserver.hardening.line_info).
            - Else one of V(public_direct), V(nat_single), V(cgn), V(double_nat_or_cgn), V(nat_unknown), V(no_ipv4), V(offline).
          type: str
          sample: nat_single
        blocked_by:
          description: Why IPv4 cannot be forwarded, empty if it can.
          type: str
        wan_address:
          description: The address on the Internet side, as the router says it, V(none) if unknown.
          type: str
        wan_address_class:
          description: Its class, as in RV(homeserver.hardening.address_info#module:addresses[].address_class).
          type: str
          sample: global
        router_wan_address:
          description: The WAN address that the router itself names, V(none) if it names none. Behind a second router it is not that of the line.
          type: str
        router_address:
          description: The router's address on the LAN.
          type: str
        router_product:
          description: What the router calls itself.
          type: str
        host_address:
          description: The host's own IPv4 address.
          type: str
        host_ipv6_address:
          description: The host's IPv6 address that is fit to be published.
          type: str
        mapping_available:
          description: Whether a gateway that maps ports was found.
          type: bool
        mapping_reason:
          description: Why none was found.
          type: str
        confidence:
          description: How sure the verdict is. From O(line), V(none) without it.
          type: str
        verdict_reasons:
          description: What it rests on. From O(line), V(none) without it.
          type: list
          elements: str
        candidates:
          description: What the line may be. From O(line), V(none) without it.
          type: list
          elements: str
        inbound_ipv4:
          description: Whether something can come in over IPv4. From O(line), V(none) without it.
          type: str
        inbound_ipv6:
          description: The same for IPv6. From O(line), V(none) without it.
          type: str
        ports:
          description: The external ports that can be this line's over IPv4. From O(line), V(none) without it.
          type: list
          elements: dict
          contains:
            first:
              description: The first port of a range.
              type: int
            last:
              description: The last port of a range.
              type: int
        map_e:
          description: The shared address and the port set. From O(line), V(none) without it.
          type: dict
        address_stability:
          description: Whether the addresses stay. From O(line), V(none) without it.
          type: dict
        contradictions:
          description: Readings that cannot all be true. From O(line), V(none) without it.
          type: list
          elements: dict
          contains:
            name:
              description: A stable name.
              type: str
            text:
              description: What does not fit together.
              type: str
            sources:
              description: Whose readings they are.
              type: list
              elements: str
        consequences:
          description: What follows. From O(line), V(none) without it.
          type: list
          elements: dict
          contains:
            name:
              description: A stable name.
              type: str
            text:
              description: What follows.
              type: str
        questions:
          description: What would decide. From O(line), V(none) without it.
          type: list
          elements: dict
          contains:
            name:
              description: A stable name.
              type: str
            text:
              description: The question.
              type: str
    possible:
      description: Whether everything that was asked for can be done.
      type: bool
    services:
      description: The services, in the order of the request.
      type: list
      elements: dict
      contains:
        name:
          description: The service.
          type: str
          sample: http
        protocol:
          description: V(tcp) or V(udp).
          type: str
          sample: tcp
        port:
          description: The port on this host.
          type: int
          sample: 443
        external_port:
          description: The port on the Internet side.
          type: int
          sample: 8443
        families:
          description: For each family that was asked for, how the Internet reaches the service. The keys are V(ipv4) and V(ipv6), the values have
            C(path), C(address), C(required), C(reason) and C(ways).
          type: dict
        allow_from:
          description: From where it is admitted, empty for the whole Internet.
          type: list
          elements: str
        path:
          description: The path that was asked for.
          type: str
          sample: auto
        verify:
          description: How it shall be proved.
          type: str
          sample: nonce
    problems:
      description: What stands against it.
      type: list
      elements: dict
      contains:
        check:
          description: The stable id of the check.
          type: str
          sample: port_taken
        subject:
          description: What it is about.
          type: str
        reason:
          description: Why.
          type: str
        remedy:
          description: What to do.
          type: str
        service:
          description: The service, empty for the whole request.
          type: str
    mappings:
      description: The mappings that are needed, for M(homeserver.hardening.port_mapping).
      type: list
      elements: dict
      contains:
        name:
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
        port:
          description: The port on this host.
          type: int
          sample: 443
    stale_mappings:
      description: Names of mappings of ours that are not needed any more.
      type: list
      elements: str
    firewall_services:
      description: The services that the host's firewall has to admit, for M(homeserver.hardening.firewall_policy).
      type: list
      elements: dict
      contains:
        name:
          description: The service.
          type: str
          sample: http
        protocol:
          description: V(tcp) or V(udp).
          type: str
          sample: tcp
        port:
          description: The port on this host.
          type: int
          sample: 443
        families:
          description: V(ipv4), V(ipv6).
          type: list
          elements: str
        allow_from:
          description: From where it is admitted.
          type: list
          elements: str
          returned: when it is not the whole Internet
    listeners:
      description: Where the host has to answer a nonce, for M(homeserver.hardening.probe_responder).
      type: list
      elements: dict
      contains:
        name:
          description: The service.
          type: str
          sample: http
        protocol:
          description: V(tcp) or V(udp).
          type: str
          sample: tcp
        port:
          description: The port on this host.
          type: int
          sample: 443
        families:
          description: V(ipv4), V(ipv6).
          type: list
          elements: str
problems:
  description: What stands against it. Also returned on failure.
  type: list
  elements: dict
  returned: always
  contains:
    check:
      description: The stable id of the check.
      type: str
      sample: port_taken
    subject:
      description: What it is about.
      type: str
    reason:
      description: Why.
      type: str
    remedy:
      description: What to do.
      type: str
    service:
      description: The service, empty for the whole request.
      type: str
vantages:
  description: The vantages.
  type: list
  elements: dict
  returned: always
  contains:
    host:
      description: The inventory host.
      type: str
      sample: vps1
    families:
      description: V(ipv4), V(ipv6).
      type: list
      elements: str
    valid:
      description: Whether a proof from there counts.
      type: bool
    reason:
      description: Why it does not count.
      type: str
    error:
      description: What went wrong when it was read.
      type: str
    sources:
      description: The addresses that its packets come from.
      type: list
      elements: str
    seen_families:
      description: Those of V(ipv4) and V(ipv6) in which one of these addresses is global.
      type: list
      elements: str
targets:
  description: What each valid vantage has to probe.
  type: list
  elements: dict
  returned: always
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
    sources:
      description: The addresses that its packets come from.
      type: list
      elements: str
"""
