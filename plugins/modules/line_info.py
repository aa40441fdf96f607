# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: line_info
short_description: Find out what kind of Internet line this is, and which ports it can carry
version_added: 0.1.0
description:
  - Takes readings of the line, all at the same time, and tells from them what kind of line it is, whether something can come in,
    on which ports, and which ways remain where it cannot.
  - Any reading may be missing, fail, or be false. Then the verdict is a weaker word, what does not fit together is listed, and the question
    is asked that would decide. The verdict is never a guess.
  - Works without root, changes nothing, and does the same in check mode.
  - Nobody outside the home is asked unless named in O(stun_servers) or O(echo_urls), or O(methods) has V(resolver).
    Behind a private address the default gateway is asked for its WAN address.
extends_documentation_fragment:
  - homeserver.hardening.attributes.info
author:
  - homeserver.hardening contributors (@homeserver-hardening)
options:
  stun_servers:
    description:
      - Servers outside that are asked by STUN (RFC 8489) which address and port they see, as C(host), C(host:port) or C([address]:port).
      - Two at different addresses show whether the router's mapping depends on the destination, and outvote one that is wrong with other evidence.
      - Each is sent a few dozen packets of 20 bytes, which hold a random number only.
      - The first one's address is also the target of four packets without content whose TTL ends one to four hops from this host.
    type: list
    elements: str
    default: []
  echo_urls:
    description:
      - Web services that answer with the address that they see, as plain text or as JSON with C(ip), C(address), C(origin) or C(query).
      - Each is asked once over IPv4 and once over IPv6, without cookies, past any proxy that is configured for this host.
      - The answer to a C(http://) URL can be made up by anybody on the way.
    type: list
    elements: str
    default: []
  gateway:
    description:
      - The router's address in the LAN, or the C(http://) address of its UPnP device description.
      - If omitted or empty, the default gateway is asked, but only where this host's own address is a private one.
    type: str
  interface:
    description:
      - The interface of the line. Needed where a VPN carries the default route.
      - If omitted or empty, packets go where the routing table sends them.
    type: str
  methods:
    description:
      - Which readings to take. Those of this host itself are always taken.
      - V(upnp), V(natpmp) and V(pcp) ask the router. Nothing is mapped.
      - V(stun) and V(echo) ask those that O(stun_servers) and O(echo_urls) name. V(ports) asks the former from sixteen sockets,
        to see how the router chooses port numbers.
      - V(hops) finds out which hop owns the address that outside helpers see, and what lies beyond the router.
      - V(second_router) asks the second hop, if its address is private, whether it is a home router. No packet goes further than that hop.
      - V(resolver) asks the resolver of this host for C(ipv4only.arpa), which shows NAT64 (RFC 7050).
    type: list
    elements: str
    choices: [upnp, natpmp, pcp, stun, echo, hops, ports, second_router, resolver]
    default: [upnp, natpmp, pcp, stun, echo, hops, ports, second_router]
  map_rules:
    description:
      - MAP-E rules (RFC 7597) that the collection's table does not have. They count before those of the table.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The name of the service.
        type: str
        required: true
      ipv6_prefix:
        description:
          - The Rule IPv6 prefix.
        type: str
        required: true
      ipv4_prefix:
        description:
          - The Rule IPv4 prefix.
        type: str
        required: true
      ea_length:
        description:
          - The length of the EA bits.
        type: int
        required: true
      psid_offset:
        description:
          - How many bits of a port stand before the PSID.
        type: int
        required: true
  observed:
    description:
      - What you saw yourself.
    type: dict
    default: {}
    suboptions:
      interfaces:
        description:
          - The output of C(ip -j addr), C(ip addr), C(ip route), C(route -n) or C(ifconfig), several one after the other if you like.
          - The device that it comes from is judged instead of this host, for example a phone.
        type: str
      wan_address:
        description:
          - The IPv4 address that the router's own page shows for its WAN side.
        type: str
      static:
        description:
          - Whether your provider assigned you a fixed address.
        type: bool
      inbound:
        description:
          - What was proved to come in from outside, by a nonce.
        type: list
        elements: dict
        default: []
        suboptions:
          family:
            description:
              - The address family.
            type: str
            choices: [ipv4, ipv6]
            required: true
          protocol:
            description:
              - The protocol.
            type: str
            choices: [tcp, udp]
            required: true
          port:
            description:
              - The port that was asked from outside.
            type: int
            required: true
      history:
        description:
          - The addresses that the line had before, as RV(homeserver.hardening.publication_journal#module:history), instead of the file O(history).
        type: list
        elements: dict
        default: []
        suboptions:
          time:
            description:
              - When it was seen, RFC 3339.
            type: str
            required: true
          ipv4:
            description:
              - The line's global IPv4 address.
            type: str
          ipv6_prefix:
            description:
              - The prefix of the host's IPv6 address.
            type: str
  history:
    description:
      - A JSON file with the addresses that the line had before, C({"entries":[{"time", "ipv4", "ipv6_prefix"}]}). It is read only.
    type: path
  services:
    description:
      - Services to judge by the line.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The name.
        type: str
        required: true
      protocol:
        description:
          - The protocol.
        type: str
        choices: [tcp, udp]
        required: true
      external_port:
        description:
          - The port that the Internet shall see.
        type: int
        required: true
  provider:
    description:
      - The name of the provider or of its service, to find what is documented of it. By default the service that was recognised.
    type: str
  timeout:
    description:
      - For how many seconds at most to wait. The module ends with the last answer.
    type: float
    default: 3.0
notes:
  - That nothing stands against a port on this side of the line does not prove that it can be reached. Only a probe from outside does.
  - The MAP-E rules are read off routers and not published by the providers. They count only where the address that they compute was also seen.
seealso:
  - module: homeserver.hardening.address_info
  - module: homeserver.hardening.port_mapping_info
  - module: homeserver.hardening.port_probe_info
"""

EXAMPLES = r"""
- name: Say what can be known without asking anybody outside
  homeserver.hardening.line_info:
  register: here

- name: Find out what kind of line this is
  homeserver.hardening.line_info:
    stun_servers: [stun.example.org, stun.example.net]
    echo_urls: [https://ip.example.org/]
    services:
      - {name: https, protocol: tcp, external_port: 443}
      - {name: wg, protocol: udp, external_port: 51820}
  register: here

- name: Show what stands against each service and what remains
  ansible.builtin.debug:
    msg: "{{ here.services }}"

- name: Judge a phone by what it shows
  homeserver.hardening.line_info:
    methods: []
    observed:
      interfaces: |
        rmnet0    Link encap:UNSPEC
                  inet addr:100.92.7.33  Mask:255.255.255.252
                  UP RUNNING  MTU:1500  Metric:1

- name: Judge by the address that the router's page shows
  homeserver.hardening.line_info:
    observed:
      wan_address: 100.72.3.9
"""

RETURN = r"""
line:
  description: The line. V(null) if an option made no sense.
  returned: always
  type: dict
  contains:
    verdict:
      description:
        - V(public_direct) is a global address on this host. V(nat_single) is one router with a global address of its own, V(double_nat) are two routers
          of yours. V(one_to_one_nat) is a translation before the line that lets things in.
        - V(cgn) is the provider's own NAT, V(ds_lite) and V(nat64_464xlat) are the same beyond IPv6. V(map_e) is an address shared by port ranges.
        - V(double_nat_or_cgn) and V(nat_unknown) are weaker words, where the readings do not suffice. RV(line.candidates) says what it may be.
        - V(vpn_or_proxy_egress) means that a tunnel hides the line. V(no_ipv4) and V(offline) have no way over IPv4, or none at all.
        - Later versions may know more.
      returned: always
      type: str
      sample: nat_single
    verdict_reasons:
      description: What the verdict rests on, and what else is true. They add up, for example V(map_e) and V(double_nat).
      returned: always
      type: list
      elements: str
      sample: [nat_single, wan_seen]
    confidence:
      description: V(proof), V(high), V(medium) or V(low).
      returned: always
      type: str
      sample: high
    candidates:
      description: What the line may be. V(nat_unknown) in it means anything.
      returned: always
      type: list
      elements: str
      sample: [nat_single]
    inbound_ipv4:
      description:
        - Whether something can come in over IPv4, as far as the line decides.
        - V(open), V(needs_forward), V(port_set) (only on RV(line.ports), with a forward), V(blocked) or V(unknown).
      returned: always
      type: str
      sample: needs_forward
    inbound_ipv6:
      description: The same for IPv6. V(unknown) where there is an address, as the router's filter shows itself to a probe from outside only.
      returned: always
      type: str
      sample: unknown
    inbound_proved:
      description: The families over which O(observed.inbound) proves that something came in.
      returned: always
      type: list
      elements: str
      sample: []
    ports:
      description: The external ports that can be this line's over IPv4. Empty where none can or nothing is known.
      returned: always
      type: list
      elements: dict
      contains:
        first:
          description: The first port of a range.
          returned: always
          type: int
          sample: 5648
        last:
          description: The last port of a range.
          returned: always
          type: int
          sample: 5663
    wan_address:
      description: The IPv4 address of the line as far as it is known, behind carrier-grade NAT the provider's inner one. V(null) if not.
      returned: always
      type: str
      sample: 192.0.2.1
    wan_address_class:
      description: Its class, as in M(homeserver.hardening.address_info).
      returned: always
      type: str
      sample: global
    host_address:
      description: The IPv4 address that this host sends from.
      returned: always
      type: str
      sample: 192.168.1.20
    host_ipv6_address:
      description: The IPv6 address to publish, neither temporary nor deprecated nor tentative nor local. V(null) if there is none.
      returned: always
      type: str
      sample: 2001:db8:1:1::20
    mapped_addresses:
      description: The addresses that helpers outside see.
      returned: always
      type: list
      elements: dict
      contains:
        address:
          description: The address.
          returned: always
          type: str
          sample: 192.0.2.1
        family:
          description: V(ipv4) or V(ipv6).
          returned: always
          type: str
          sample: ipv4
        sources:
          description: Who sees it.
          returned: always
          type: list
          elements: str
          sample: ["stun stun.example.org:3478 ipv4"]
        believed:
          description: Whether the verdict takes it for the line's. V(null) for IPv6.
          returned: always
          type: bool
          sample: true
    map_e:
      description: The shared address and the port set. V(null) if the line is no MAP-E line.
      returned: always
      type: dict
      contains:
        service:
          description: The service whose rule fits. V(null) if the ports alone show it.
          returned: always
          type: str
          sample: v6plus
        address:
          description: The shared IPv4 address.
          returned: always
          type: str
          sample: 192.0.2.18
        psid:
          description: The port set's number.
          returned: always
          type: int
          sample: 97
        psid_offset:
          description: How many bits of a port stand before it.
          returned: always
          type: int
          sample: 4
        psid_length:
          description: How many bits it has.
          returned: always
          type: int
          sample: 8
        count:
          description: How many ports the set has.
          returned: always
          type: int
          sample: 240
        rule_source:
          description: V(table) or V(user).
          returned: always
          type: str
          sample: table
        rule_date:
          description: The date of the table.
          returned: always
          type: str
          sample: "2025-06-08"
        by:
          description: V(rule), V(ports), or both.
          returned: always
          type: list
          elements: str
          sample: [rule, ports]
    address_stability:
      description: Whether the addresses stay.
      returned: always
      type: dict
      contains:
        kind:
          description: V(static), V(dynamic) or V(unknown). V(static) only where it is configured or told.
          returned: always
          type: str
          sample: dynamic
        evidence:
          description: V(told), V(configured), V(lease), V(history) or V(none).
          returned: always
          type: str
          sample: lease
        ipv4:
          description: What O(history) shows of the IPv4 address.
          returned: always
          type: dict
          contains:
            stable_days:
              description: For how many days it has been the same. V(null) without history.
              returned: always
              type: int
              sample: 12
            changes:
              description: How often it changed.
              returned: always
              type: int
              sample: 1
            observed_days:
              description: For how many days it has been watched. V(null) without history.
              returned: always
              type: int
              sample: 22
        ipv6_prefix:
          description: The same for the IPv6 prefix.
          returned: always
          type: dict
          contains:
            stable_days:
              description: For how many days it has been the same. V(null) without history.
              returned: always
              type: int
              sample: 22
            changes:
              description: How often it changed.
              returned: always
              type: int
              sample: 0
            observed_days:
              description: For how many days it has been watched. V(null) without history.
              returned: always
              type: int
              sample: 22
    observation:
      description: What to append to the entries of O(history), to know later how long the addresses stay.
      returned: always
      type: dict
      contains:
        time:
          description: Now, in RFC 3339.
          returned: always
          type: str
          sample: "2026-01-01T00:00:00Z"
        ipv4:
          description: The line's global IPv4 address. V(null) if it has none or it is not known.
          returned: always
          type: str
          sample: 192.0.2.1
        ipv6_prefix:
          description: The prefix of this host's IPv6 address. V(null) if it has none.
          returned: always
          type: str
          sample: 2001:db8:1:1::/64
    readings:
      description: Every reading, also those that failed.
      returned: always
      type: list
      elements: dict
      contains:
        kind:
          description: What was read.
          returned: always
          type: str
          sample: wan
        source:
          description: Of whom.
          returned: always
          type: str
          sample: upnp 192.168.1.1
        value:
          description: What it says; the keys depend on the kind. V(null) if it failed.
          returned: always
          type: dict
          sample: {address: 192.0.2.1, method: upnp, status: Connected}
        error:
          description: Why it failed, empty if it did not.
          returned: always
          type: str
          sample: ""
        time:
          description: When it was there, in RFC 3339.
          returned: always
          type: str
          sample: "2026-01-01T00:00:00Z"
        elapsed:
          description: How many seconds after the start it was there.
          returned: always
          type: float
          sample: 0.012
    contradictions:
      description: Readings that cannot all be true.
      returned: always
      type: list
      elements: dict
      contains:
        name:
          description: A stable name.
          returned: always
          type: str
          sample: wan_not_seen
        text:
          description: What does not fit together.
          returned: always
          type: str
          sample: the router's WAN address is told as 192.0.2.1, but the line is seen as 192.0.2.9
        sources:
          description: Whose readings they are.
          returned: always
          type: list
          elements: str
          sample: [upnp 192.168.1.1]
    consequences:
      description: What follows for somebody who wants to publish a service.
      returned: always
      type: list
      elements: dict
      contains:
        name:
          description: A stable name.
          returned: always
          type: str
          sample: one_forward
        text:
          description: What follows.
          returned: always
          type: str
          sample: a forward in the router is needed for each port
    questions:
      description: What would decide where the verdict is not sure, the best first.
      returned: always
      type: list
      elements: dict
      contains:
        name:
          description: A stable name.
          returned: always
          type: str
          sample: type_wan_address
        text:
          description: The question.
          returned: always
          type: str
          sample: Which address does the router's own page show for its WAN or Internet side? Give it as observed.wan_address.
services:
  description: One row for each of O(services), in the same order.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The service.
      returned: always
      type: str
      sample: https
    protocol:
      description: Its protocol.
      returned: always
      type: str
      sample: tcp
    external_port:
      description: Its port.
      returned: always
      type: int
      sample: 443
    ipv4:
      description: V(possible), V(after_forward), V(impossible) or V(unknown), as far as the line decides.
      returned: always
      type: str
      sample: impossible
    ipv6:
      description: V(possible), V(impossible) or V(unknown).
      returned: always
      type: str
      sample: unknown
    reason:
      description: Why, a verdict or V(port_not_in_set). Empty if nothing stands against it.
      returned: always
      type: str
      sample: port_not_in_set
    nearest_port:
      description: The nearest port that could be published instead. V(null) unless the address is shared.
      returned: always
      type: int
      sample: 5648
    forwards:
      description: In how many routers a forward is needed. V(null) if that is not known.
      returned: always
      type: int
      sample: 0
    often_filtered:
      description: Whether many providers close the port, because worms use it.
      returned: always
      type: bool
      sample: false
    note:
      description: What else is to be said of the port.
      returned: always
      type: str
      sample: ""
    ways:
      description: How it could be reached all the same, the least effort first.
      returned: always
      type: list
      elements: dict
      contains:
        name:
          description: A stable name.
          returned: always
          type: str
          sample: other_port
        effort:
          description: V(low), V(medium) or V(high).
          returned: always
          type: str
          sample: low
        left_out:
          description: Who cannot reach it then.
          returned: always
          type: str
          sample: whoever does not know the port; certificates by HTTP-01
        text:
          description: What to do.
          returned: always
          type: str
          sample: use tcp port 5648, which is this line's own, as external port
        port:
          description: The port to use. V(null) unless another port is the way.
          returned: always
          type: int
          sample: 5648
interfaces:
  description:
    - One row for each address of this host, in the kernel's order, as M(homeserver.hardening.address_info) returns them.
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
      description: The class, as in M(homeserver.hardening.address_info).
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
    - Only the main routing table is read.
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
elapsed:
  description: How many seconds the readings took.
  returned: always
  type: float
  sample: 0.81
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._address._interfaces import NetlinkError, read_network
from ..module_utils._line._collect import DEFAULT_METHODS, METHODS, Observed, Request, RequestError, collect, now_text
from ..module_utils._line._map_e import RuleError, known_rules, rule_from
from ..module_utils._line._parse import ParseError, address_from
from ..module_utils._line._verdict import judge
from ..module_utils._line._ways import check_services, service_rows


def argument_spec():
    """Return the options."""

    def text(**more):
        return {"type": "str", **more}

    def rows(**options):
        return {"type": "list", "elements": "dict", "default": [], "options": options}

    port = {"type": "int", "required": True}
    rule = {name: text(required=True) for name in ("name", "ipv6_prefix", "ipv4_prefix")}
    history = rows(time=text(required=True), ipv4=text(), ipv6_prefix=text())
    proof = rows(family=text(choices=["ipv4", "ipv6"], required=True), protocol=text(choices=["tcp", "udp"], required=True), port=port)
    return {
        "stun_servers": {"type": "list", "elements": "str", "default": []},
        "echo_urls": {"type": "list", "elements": "str", "default": []},
        "gateway": text(),
        "interface": text(),
        "methods": {"type": "list", "elements": "str", "choices": list(METHODS), "default": list(DEFAULT_METHODS)},
        "map_rules": rows(**rule, ea_length={"type": "int", "required": True}, psid_offset={"type": "int", "required": True}),
        "observed": {
            "type": "dict",
            "default": {},
            "options": {"interfaces": text(), "wan_address": text(), "static": {"type": "bool"}, "inbound": proof, "history": history},
        },
        "history": {"type": "path"},
        "services": rows(name=text(required=True), protocol=text(choices=["tcp", "udp"], required=True), external_port=port),
        "provider": text(),
        "timeout": {"type": "float", "default": 3.0},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    seen = params["observed"]
    start = time.monotonic()
    result = {"changed": False, "line": None, "services": [], "interfaces": [], "default_routes": [], "elapsed": 0.0}
    try:
        network = read_network()
        result["interfaces"] = [row.as_data() for row in network.addresses]
        result["default_routes"] = [route.as_data() for route in network.default_routes]
    except NetlinkError:
        # The reading of the interfaces says why, and the line is judged by what else is known.
        network = None
    try:
        check_services(params["services"])
        check_services(seen.get("inbound") or [], "observed.inbound", "port")
        rules = [*known_rules(), *(rule_from(rule) for rule in params["map_rules"])]
        wan = address_from(seen["wan_address"], "observed.wan_address") if seen.get("wan_address") else None
        observed = Observed(seen.get("interfaces") or None, wan, seen.get("static"), seen.get("inbound") or [], seen.get("history") or [])
        names = ("stun_servers", "echo_urls", "gateway", "interface", "methods")
        readings = collect(Request(*(params[name] for name in names), observed, params["history"], params["timeout"]), network)
    except (RequestError, RuleError, ParseError) as error:
        module.fail_json(msg=str(error), **result)
    result["elapsed"] = round(time.monotonic() - start, 3)
    result["line"] = judge(readings, rules, now_text())
    result["services"] = service_rows(result["line"], params["services"], params["provider"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
