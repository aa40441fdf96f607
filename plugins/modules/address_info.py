# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: address_info
short_description: Tell what kind of addresses these are, and which address of this host can be published
version_added: 0.1.0
description:
  - Classifies IPv4 and IPv6 addresses by the IANA special-purpose address registries (RFC 6890), by longest match.
    The table is part of the collection, so that the answer does not depend on the Python of the host.
  - With O(include_interfaces=true), also lists the addresses of the host with what the kernel knows of them,
    and says which could stand in public DNS.
  - Works without root, sends nothing, and needs no program on the host.
extends_documentation_fragment:
  - homeserver.hardening.attributes.info
author:
  - homeserver.hardening contributors (@homeserver-hardening)
options:
  addresses:
    description:
      - The addresses to classify.
      - Text is taken strictly. An IPv4 address is a dotted quad without leading zeros, an IPv6 address has one of the forms of RFC 4291.
        A zone (V(fe80::1%eth0)), a prefix length, brackets and blanks make it invalid.
      - Names are not resolved.
    type: list
    elements: str
    default: []
  include_interfaces:
    description:
      - Whether to list the addresses and default routes of the host.
    type: bool
    default: false
  on_invalid:
    description:
      - What to do when something in O(addresses) is not an address.
      - V(fail) fails the task and names each. The results are returned all the same.
      - V(report) says so in the result.
    type: str
    choices: [fail, report]
    default: fail
notes:
  - That an address is of class V(global) does not mean that the Internet can reach it. That is found out by a probe from outside only.
  - V(shared_cgn) (100.64.0.0/10) on an overlay's interface, for example a VPN's, says nothing about the line.
seealso:
  - plugin: homeserver.hardening.address_class
    plugin_type: filter
  - plugin: homeserver.hardening.publishable_address
    plugin_type: test
  - name: IANA IPv4 Special-Purpose Address Registry
    description: Where the classes of IPv4 addresses come from.
    link: https://www.iana.org/assignments/iana-ipv4-special-registry/
  - name: IANA IPv6 Special-Purpose Address Registry
    description: Where the classes of IPv6 addresses come from.
    link: https://www.iana.org/assignments/iana-ipv6-special-registry/
"""

EXAMPLES = r"""
- name: Find out whether the router's outer address is a real one
  homeserver.hardening.address_info:
    addresses:
      - 100.64.12.1
  register: wan

- name: Stop behind carrier-grade NAT
  ansible.builtin.assert:
    that: wan.addresses[0].address_class != 'shared_cgn'

- name: Look at the host's own addresses
  homeserver.hardening.address_info:
    include_interfaces: true
  register: own

- name: Show which can be published
  ansible.builtin.debug:
    msg: "{{ own.interfaces | selectattr('publish_candidate') | map(attribute='address') }}"

- name: Sort texts of unknown quality
  homeserver.hardening.address_info:
    addresses: "{{ lines_of_a_log }}"
    on_invalid: report
"""

RETURN = r"""
addresses:
  description: One row for each of O(addresses), in the same order.
  returned: always
  type: list
  elements: dict
  contains:
    address:
      description: The text as it was given.
      returned: always
      type: str
      sample: "::ffff:8.8.8.8"
    valid:
      description: Whether the text is an address.
      returned: always
      type: bool
      sample: true
    reason:
      description: Why it is none. V(null) if it is one.
      returned: always
      type: str
      sample: a number has leading zeros, which some programs read as octal; write it without them
    family:
      description: V(ipv4) or V(ipv6). V(null) if the text is no address, as with all that follows but RV(addresses[].publishable).
      returned: always
      type: str
      sample: ipv6
    address_class:
      description:
        - The class.
        - V(global) are ordinary addresses of the Internet. V(private), V(ula), V(link_local), V(site_local), V(loopback), V(unspecified), V(this_network),
          V(broadcast), V(multicast) and V(documentation) are what their names say.
        - V(shared_cgn) is the range between a provider's carrier-grade NAT and its customers, V(ipv4_service_continuity) that of DS-Lite and 464XLAT.
        - V(ipv4_mapped), V(ipv4_compatible), V(ipv4_translated), V(nat64), V(nat64_local), V(sixtofour) and V(teredo) stand for IPv4 addresses.
        - V(as112), V(amt), V(anycast_pcp), V(anycast_turn), V(anycast_dnssd_srp), V(orchidv2) and V(drone_det) are reachable, yet nobody's own address.
        - V(benchmarking), V(discard), V(dummy), V(ietf_protocol), V(nat64_discovery), V(relay_6a44), V(srv6_sid), V(reserved), V(reserved_ietf),
          V(deprecated_6to4_relay) and V(deprecated_orchid) are the rest.
        - Later versions may know more.
      returned: always
      type: str
      sample: ipv4_mapped
    iana_block:
      description: The longest block of the registries that holds the address. V(null) if none does.
      returned: always
      type: str
      sample: "::ffff:0:0/96"
    iana_name:
      description: The registry's name for that block.
      returned: always
      type: str
      sample: IPv4-mapped Address
    rfc:
      description: The documents that the registry names for that block, or those that define a class which is in no registry.
      returned: always
      type: str
      sample: "[RFC4291]"
    globally_reachable:
      description:
        - What the registry says of that block. For addresses that are in none, V(true) exactly if the class is V(global).
        - V(null) where the registry says "N/A" or nothing.
      returned: always
      type: bool
      sample: false
    embedded_ipv4:
      description:
        - The IPv4 address that an IPv6 address carries, for Teredo that of the client.
        - V(null) for 64:ff9b:1::/48, because there its place depends on the network.
      returned: always
      type: str
      sample: 8.8.8.8
    effective_global:
      description:
        - Whether the Internet reaches what the address stands for.
        - For IPv4-mapped and NAT64 (64:ff9b::/96) addresses the answer is that of the embedded address.
        - For 6to4 and Teredo it is V(false) if the embedded address is not global, else V(null).
        - For all others it equals RV(addresses[].globally_reachable).
      returned: always
      type: bool
      sample: true
    publishable:
      description: Whether the address may stand in public DNS, which is so for the class V(global) alone.
      returned: always
      type: bool
      sample: false
    source:
      description:
        - Where the class comes from.
        - V(iana_special) is a special-purpose registry, V(iana_address_space) another registry of IANA, V(rfc) a document,
          and V(none) means that nothing special is known.
      returned: always
      type: str
      sample: iana_special
interfaces:
  description:
    - One row for each address of the host, in the kernel's order.
    - Empty unless O(include_interfaces=true).
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The interface.
      returned: always
      type: str
      sample: eth0
    address:
      description: The address.
      returned: always
      type: str
      sample: 192.168.1.20
    family:
      description: V(ipv4) or V(ipv6).
      returned: always
      type: str
      sample: ipv4
    prefix_length:
      description: The length of the prefix.
      returned: always
      type: int
      sample: 24
    address_class:
      description: The class, as in RV(addresses[].address_class).
      returned: always
      type: str
      sample: private
    kind:
      description: The kernel's word for a virtual interface, for example V(bridge), V(vlan) or V(wireguard). V(null) for a physical one.
      returned: always
      type: str
      sample: vlan
    up:
      description: Whether the interface is switched on and has a carrier.
      returned: always
      type: bool
      sample: true
    temporary:
      description: Whether this is a privacy address (RFC 8981), which the host replaces by itself.
      returned: always
      type: bool
      sample: false
    deprecated:
      description: Whether its preferred lifetime is over.
      returned: always
      type: bool
      sample: false
    tentative:
      description: Whether it cannot be used, because nobody proved yet that no neighbour has it, or a neighbour does.
      returned: always
      type: bool
      sample: false
    dynamic:
      description: Whether it comes from a lease or from a router's announcement.
      returned: always
      type: bool
      sample: true
    valid_lifetime:
      description: For how many seconds it remains. V(null) is for ever.
      returned: always
      type: int
      sample: 86123
    preferred_lifetime:
      description: For how many seconds it is used for new connections. V(null) is for ever.
      returned: always
      type: int
      sample: 14123
    on_default_route:
      description: Whether its interface carries a default route of its family.
      returned: always
      type: bool
      sample: true
    publish_candidate:
      description:
        - Whether the address is fit for public DNS as far as the host can tell.
        - It is of class V(global), neither temporary nor deprecated nor tentative, and its interface is up. There is a default route of its family.
          Of several interfaces, only that of the best default route counts, if it has such an address.
          Interfaces of containers, virtual machines and overlays count only if they carry the default route.
        - Several addresses can be candidates.
      returned: always
      type: bool
      sample: false
default_routes:
  description:
    - Where the host sends what is for the Internet, the best route of each family first.
    - Empty unless O(include_interfaces=true). Only the main routing table is read.
  returned: always
  type: list
  elements: dict
  contains:
    family:
      description: V(ipv4) or V(ipv6).
      returned: always
      type: str
      sample: ipv4
    gateway:
      description: The router's address. V(null) on point-to-point links.
      returned: always
      type: str
      sample: 192.168.1.1
    interface:
      description: The interface.
      returned: always
      type: str
      sample: eth0
    source:
      description: The address that the host sends from. For IPv6 it may be a temporary one, which must not be published.
      returned: always
      type: str
      sample: 192.168.1.20
    metric:
      description: The kernel's metric. Lower is better.
      returned: always
      type: int
      sample: 100
registry_date:
  description: The day on which IANA's registries were last found to be as they are in this collection.
  returned: always
  type: str
  sample: "2026-08-07"
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._address._classify import REGISTRY_DATE, describe
from ..module_utils._address._interfaces import NetlinkError, read_network


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "addresses": {"type": "list", "elements": "str", "default": []},
            "include_interfaces": {"type": "bool", "default": False},
            "on_invalid": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
        },
        supports_check_mode=True,
    )
    rows = [describe(text) for text in module.params["addresses"]]
    result: dict[str, Any] = {"changed": False, "addresses": rows, "interfaces": [], "default_routes": [], "registry_date": REGISTRY_DATE}
    if module.params["include_interfaces"]:
        try:
            network = read_network()
        except NetlinkError as error:
            msg = f"The addresses of this host cannot be read: {error.strerror or error}. Run this on a Linux host that permits netlink sockets."
            module.fail_json(msg=msg, **result)
        result["interfaces"] = [row.as_data() for row in network.addresses]
        result["default_routes"] = [route.as_data() for route in network.default_routes]
    invalid = [f"{row['address']!r}: {row['reason']}" for row in rows if not row["valid"]]
    if invalid and module.params["on_invalid"] == "fail":
        module.fail_json(msg=f"Not an IP address: {'; '.join(invalid)}. Correct it, or set on_invalid=report to have it reported only.", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
