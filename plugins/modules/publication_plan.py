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
  peers:
    description:
      - Other hosts of the same run, each with C(host), C(services) and C(wan_address). Hosts behind one address share its ports.
    type: list
    elements: dict
    default: []
  vantages:
    description:
      - The hosts that shall prove it, each with C(host), C(families), C(reached), C(error) and C(interfaces).
    type: list
    elements: dict
    default: []
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
        - What the readings say about the line. C(verdict) is one of C(public_direct), C(nat_single), C(cgn), C(double_nat_or_cgn), C(nat_unknown),
          C(no_ipv4), C(offline).
      type: dict
    possible:
      description: Whether everything that was asked for can be done.
      type: bool
    services:
      description: The services, each with C(families); per family C(path), C(address), C(required), C(reason) and C(ways).
      type: list
      elements: dict
    problems:
      description: What stands against it.
      type: list
      elements: dict
    mappings:
      description: The mappings that are needed, for M(homeserver.hardening.port_mapping).
      type: list
      elements: dict
    stale_mappings:
      description: Names of mappings of ours that are not needed any more.
      type: list
      elements: str
    firewall_services:
      description: The services that the host's firewall has to admit, for M(homeserver.hardening.firewall_policy).
      type: list
      elements: dict
    listeners:
      description: Where the host has to answer a nonce, for M(homeserver.hardening.probe_responder).
      type: list
      elements: dict
problems:
  description: What stands against it, each with C(check), C(subject), C(reason), C(remedy) and C(service). Also returned on failure.
  type: list
  elements: dict
  returned: always
vantages:
  description: The vantages, each with C(host), C(families), C(valid), C(reason), C(error) and C(sources).
  type: list
  elements: dict
  returned: always
targets:
  description: What each valid vantage has to probe, C(host), C(targets) and C(sources).
  type: list
  elements: dict
  returned: always
"""
