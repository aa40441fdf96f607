# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: upnp_report
short_description: Judge whether UPnP is off, or guarded, and print that
version_added: 0.1.0
description:
  - With O(state=planned), says which ports have to be looked at.
  - With O(state=reported), judges what was seen, prints a block of text in English or Japanese, the answer first, and sets the fact C(upnp_report).
  - Each check is V(ok), V(warn), V(fail) or V(untested). What nobody could see is V(untested), never V(ok).
  - Works on the controller only and changes nothing on any host. The role P(homeserver.hardening.upnp#role) is made of it.
author:
  - homeserver.hardening contributors (@homeserver-hardening)
extends_documentation_fragment:
  - homeserver.hardening.attributes.action
options:
  state:
    description:
      - V(planned) comes before the probes, V(reported) after them.
    type: str
    choices: [planned, reported]
    default: reported
  mode:
    description:
      - Whether UPnP shall be off, or on with declared mappings only.
    type: str
    choices: [disabled, guarded]
    required: true
  before:
    description:
      - What M(homeserver.hardening.upnp_mappings) returned before anything else changed.
    type: dict
    default: {}
  after:
    description:
      - The same, afterwards.
    type: dict
    default: {}
  ours:
    description:
      - What M(homeserver.hardening.port_mapping) returned when it took this host's mappings back.
    type: dict
    default: {}
  router:
    description:
      - What M(homeserver.hardening.router_upnp) returned.
    type: dict
    default: {}
  block:
    description:
      - What M(homeserver.hardening.upnp_host_block) returned.
    type: dict
    default: {}
  silence:
    description:
      - What M(homeserver.hardening.upnp_silence_info) returned.
    type: dict
    default: {}
  outside:
    description:
      - The registered result of a loop of M(homeserver.hardening.upnp_audit_info) over the vantages.
    type: dict
    default: {}
  probes:
    description:
      - The registered result of a loop of M(homeserver.hardening.port_probe_info) over the vantages.
    type: dict
    default: {}
  inside:
    description:
      - What M(homeserver.hardening.port_probe_info) returned on this host, for RV(inside).
    type: dict
    default: {}
  vantages:
    description:
      - The vantages, as the filter P(homeserver.hardening.publication_vantages#filter) returns them.
    type: list
    elements: dict
    default: []
  interfaces:
    description:
      - This host's own addresses, RV(homeserver.hardening.address_info#module:interfaces).
    type: list
    elements: dict
    default: []
  forwarded:
    description:
      - Ports that are forwarded by other means, each with C(protocol) and C(external_port). They need not be closed.
    type: list
    elements: dict
    default: []
  wan_address:
    description:
      - The home's address on the Internet. If empty, what the router says, or last said, unless that is no address on the Internet.
    type: str
    default: ""
  language:
    description:
      - V(en) or V(ja). Empty takes the controller's locale.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Say how it stands
  homeserver.hardening.upnp_report:
    mode: disabled
    before: "{{ mappings_before }}"
    after: "{{ mappings_after }}"
    silence: "{{ silence }}"
"""

RETURN = r"""
wan_address:
  description: The home's address on the Internet, as far as it is known. With O(state=planned).
  type: str
  returned: O(state=planned)
ports:
  description: The ports that have to be closed, with what they led to.
  type: list
  elements: dict
  returned: O(state=planned)
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
locations:
  description: Where the router's description is or was.
  type: list
  elements: str
  returned: O(state=planned)
location_ports:
  description: The TCP ports of RV(locations).
  type: list
  elements: int
  returned: O(state=planned)
outside:
  description: Targets for M(homeserver.hardening.port_probe_info) on the vantages.
  type: list
  elements: dict
  returned: O(state=planned)
  contains:
    host:
      description: The address.
      type: str
      returned: success
      sample: 203.0.113.7
    protocol:
      description: The protocol.
      type: str
      returned: success
      sample: tcp
    ports:
      description: The ports.
      type: str
      returned: success
      sample: "80,9999"
    families:
      description: The families.
      type: list
      elements: str
      returned: success
      sample: [ipv4]
inside:
  description: Targets for the same on this host, since a refusal tells something only where a service listens.
  type: list
  elements: dict
  returned: O(state=planned)
  contains:
    host:
      description: The address.
      type: str
      returned: success
      sample: 203.0.113.7
    protocol:
      description: The protocol.
      type: str
      returned: success
      sample: tcp
    ports:
      description: The ports.
      type: str
      returned: success
      sample: "80,9999"
    families:
      description: The families.
      type: list
      elements: str
      returned: success
      sample: [ipv4]
report:
  description: The report, also as the fact C(upnp_report).
  type: dict
  returned: O(state=reported)
block:
  description: The lines that were printed.
  type: list
  elements: str
  returned: O(state=reported)
"""
