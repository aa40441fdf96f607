# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_mapping
short_description: Have the router forward ports to this host, or take that back
version_added: 0.1.0
description:
  - Asks the router, by PCP, UPnP IGD version 1 or 2, or NAT-PMP, to forward external ports to this host, and takes such mappings back.
  - Reads first. A mapping that belongs to another host is refused by name, an untagged one that already leads to this host is taken over only
    with O(adopt=true). All mappings are judged before any is written, and one that cannot be had fails the module with nothing changed.
  - Reads every write back, because routers report success for what they did not do. If one fails midway, those before it are taken back.
    A mapping that cannot be removed with O(state=absent) fails the module, but does not keep the others from being removed.
  - Every mapping carries a tag, V(hs:HOSTID:NAME), as its description. Nothing else is ever removed, but for what O(adopt=true) replaces.
  - Never gets another external port than the one that was asked for, unless O(allow_other_external_port=true).
  - Ports are mapped to the host that runs the module, never to a third one. It needs no program on the host, and root only for PCP and NAT-PMP.
extends_documentation_fragment:
  - homeserver.hardening.attributes
  - homeserver.hardening.router
author:
  - homeserver.hardening contributors (@homeserver-hardening)
options:
  state:
    description:
      - V(present) makes every mapping of O(mappings) be there, and removes mappings of the same services that this host made earlier
        on other ports or with an address that it no longer has.
      - V(absent) removes the mappings that this host made for the services named in O(mappings), or all that it ever made if O(mappings) is empty.
        What leads to this host but was not made by this module stays, and is listed in RV(left).
        If no router answers, there is a warning and no failure, because on most lines without UPnP nothing was ever mapped.
        What is recorded in O(state_dir) and cannot be asked for by the protocol that it was made by, is named in a warning with the time that it has left.
    type: str
    choices: [present, absent]
    default: present
  mappings:
    description:
      - The mappings, each with its own answer in RV(mappings), in the same order.
      - A port may be asked for once per protocol.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The service's name, a lower-case letter followed by up to 30 of a-z, 0-9 and C(-).
        type: str
        required: true
      protocol:
        description:
          - The protocol. With O(state=absent) the name alone decides what is removed.
        type: str
        choices: [tcp, udp]
        default: tcp
      external_port:
        description:
          - The port of the router that the Internet shall see, 1 to 65535.
          - If omitted, the same as O(mappings[].port).
        type: int
      port:
        description:
          - The port of this host, 1 to 65535. Required with O(state=present).
        type: int
      lease:
        description:
          - For how many seconds to ask, 120 to 604800. V(0) asks for as long as the router allows.
          - IGD version 2 knows nothing longer than a week and turns V(0) into a week. Routers that only take permanent mappings get one.
          - PCP and NAT-PMP are asked for a day at most.
          - A run renews what has less than half of its lease left, or more than was asked for. That is no change; see RV(mappings[].renewed).
            Over IPv6, PCP closes a mapping to renew it. If it cannot be opened again, that is an error.
          - For IPv6 a day at most is asked for.
        type: int
        default: 604800
      families:
        description:
          - V(ipv4) forwards an external port to this host.
          - V(ipv6) opens the port in the router's firewall for this host's global IPv6 address (a pinhole), and needs a O(state_dir) that can be written. There
            is no NAT, so O(mappings[].external_port) must be the same as O(mappings[].port). O(gateway) is for IPv4; over IPv6 the router of the default
            route is asked, on O(interface) if that is given.
          - With O(state=present) what this host made for the same service in a family that is not named is removed. With O(state=absent) the service's
            mappings of all families are removed, and this only says for which there shall be a row in RV(mappings).
        type: list
        elements: str
        choices: [ipv4, ipv6]
        default: [ipv4]
  adopt:
    description:
      - Whether to take over an untagged mapping that already leads to the wanted port of this host.
    type: bool
    default: false
  restore:
    description:
      - With O(state=absent), mappings as they were before O(adopt=true) took them over. Where such a mapping is removed now, the earlier one is made again.
      - Those that led elsewhere, or that nothing of ours replaced, are ignored.
    type: list
    elements: dict
    default: []
    suboptions:
      protocol:
        description: The transport protocol.
        type: str
        choices: [tcp, udp]
        required: true
      external_port:
        description: The router's port.
        type: int
        required: true
      internal_client:
        description: The host to which it led.
        type: str
        required: true
      internal_port:
        description: The port to which it led.
        type: int
        required: true
      description:
        description: Its description.
        type: str
        default: ""
      lease:
        description: For how many seconds to ask; V(0) as long as the router allows.
        type: int
        default: 0
  allow_other_external_port:
    description:
      - Whether another external port will do where the one that was asked for is taken. It is the same one in every run as far as possible.
    type: bool
    default: false
  renew:
    description:
      - Whether C(homeserver-agent renew) shall renew these mappings, and make them anew when the router forgot them. It does so only where its timer is
        installed, see M(homeserver.hardening.port_mapping_service), and where O(state_dir) can be written.
      - V(false) ends that for the services of O(mappings).
    type: bool
    default: true
  require_global_wan:
    description:
      - Whether to refuse, before anything is written, if the router's WAN address is missing or not a global one, because the
        Internet could not reach the mapping.
    type: bool
    default: true
notes:
  - PCP and NAT-PMP do not say in advance whether a port is free, so check mode cannot tell either.
  - A mapping that the router lists does not prove that the Internet reaches the host. Ask from outside.
  - A mapping ends with its lease unless somebody renews it in time, and routers forget mappings when they restart, unless they keep them in a file.
    C(homeserver-agent renew) sees to both, see O(renew).
  - O(state=absent) ends no connection. Nothing new comes in, but what was open before usually goes on until one of its ends closes it. To end it at once,
    restart the service.
seealso:
  - module: homeserver.hardening.port_mapping_info
  - module: homeserver.hardening.port_mapping_service
"""

EXAMPLES = r"""
- name: Publish a web server, which listens on 8443, on 443
  homeserver.hardening.port_mapping:
    mappings:
      - name: https
        protocol: tcp
        external_port: 443
        port: 8443

- name: Let the web server be reached over IPv6 as well
  homeserver.hardening.port_mapping:
    mappings:
      - name: https
        port: 443
        families: [ipv4, ipv6]

- name: Take over a mapping that a program on this host made earlier
  homeserver.hardening.port_mapping:
    mappings:
      - name: wg
        protocol: udp
        port: 51820
    adopt: true

- name: Take the web server's mapping back
  homeserver.hardening.port_mapping:
    state: absent
    mappings:
      - name: https

- name: Take all mappings of this host back, from a router that is known
  homeserver.hardening.port_mapping:
    state: absent
    gateway: 192.0.2.1
"""

RETURN = r"""
mappings:
  description:
    - What became of each mapping, in the order of O(mappings). With O(state=absent) and no O(mappings), one row for each that was removed.
    - A mapping for two families has a row for each, in their order.
    - Returned on failure as well.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The service's name.
      type: str
      returned: success
      sample: https
    family:
      description: V(ipv4) for a forwarding, V(ipv6) for a pinhole.
      type: str
      returned: success
      sample: ipv4
    protocol:
      description: The protocol.
      type: str
      returned: success
      sample: tcp
    external_port:
      description: The router's port. With IPv6, this host's.
      type: int
      returned: success
      sample: 443
    requested_external_port:
      description: The router's port that was asked for; differs only with O(allow_other_external_port=true).
      type: int
      returned: success
      sample: 443
    port:
      description: This host's port.
      type: int
      returned: success
      sample: 8443
    method:
      description: The protocol that was spoken with the router.
      type: str
      returned: success
      sample: upnp
    internal_client:
      description: This host's address, to which ports are mapped.
      type: str
      returned: success
      sample: 192.0.2.10
    state:
      description:
        - V(present) and V(absent) say what the router holds now. In check mode that is what was found, and RV(plan) says what would change.
        - V(foreign) is held by another host, V(conflict) leads to another port of this host and was made by something else,
          V(adoptable) leads to the wanted port of this host but is not ours, V(error) could not be done, or was not looked at because of another one.
      type: str
      returned: success
      sample: present
    owner:
      description: Whose the mapping is, V(ours), V(foreign) or V(untagged). V(null) if there is none.
      type: str
      returned: success
      sample: ours
    lease:
      description: The seconds that remain, V(0) for a mapping without end, V(null) if there is none.
      type: int
      returned: success
      sample: 604800
    renewed:
      description: Whether the lease of a mapping that was there already was set anew, or would have been in check mode.
      type: bool
      returned: success
      sample: false
    description:
      description: The description that the router holds.
      type: str
      returned: success
      sample: hs:0123abcd:https
    foreign:
      description: What holds the port, if it is not ours. V(null) otherwise.
      type: dict
      returned: success
      contains:
        internal_client:
          description: The address that the port leads to.
          type: str
          returned: success
          sample: 192.0.2.20
        internal_port:
          description: The port there.
          type: int
          returned: success
          sample: 80
        description:
          description: What its maker called it.
          type: str
          returned: success
          sample: camera
    error:
      description:
        - Why the mapping cannot be had. V(null) if it can, also where it is not there only because another one of the same call cannot be had.
      type: str
      returned: success
gateway:
  description: The router. V(null) if none was found.
  returned: always
  type: dict
  contains:
    address:
      description: Its address in the LAN.
      type: str
      returned: success
      sample: 192.0.2.1
    method:
      description: The protocol that was spoken with it.
      type: str
      returned: success
      sample: upnp
    location:
      description: Where its device description is. It may differ after a restart of the router.
      type: str
      returned: success
      sample: http://192.0.2.1:5000/rootDesc.xml
    service_type:
      description: The service that maps ports.
      type: str
      returned: success
      sample: urn:schemas-upnp-org:service:WANIPConnection:2
    product:
      description: What it calls itself.
      type: str
      returned: success
      sample: Home router
    interface:
      description: This host's interface towards it.
      type: str
      returned: success
      sample: eth0
    source_address:
      description: This host's address towards it.
      type: str
      returned: success
      sample: 192.0.2.10
    wan_address:
      description: Its WAN address as it sees it. V(null) if it has none.
      type: str
      returned: success
      sample: 203.0.113.7
    wan_address_class:
      description: The class of that address, as M(homeserver.hardening.address_info) names it.
      type: str
      returned: success
      sample: global
    wan_status:
      description: The state of its connection in its own words, usually V(Connected). Empty if it does not say.
      type: str
      returned: success
      sample: Connected
    epoch:
      description: With PCP and NAT-PMP, for how many seconds the router has kept its mappings. V(null) with UPnP alone.
      type: int
      returned: success
      sample: 86400
gateway_ipv6:
  description: The router that was asked for IPv6, with the same keys as RV(gateway). Its C(wan_address) is this host's own. V(null) if none was asked.
  returned: always
  type: dict
left:
  description: With O(state=absent), mappings that lead to this host but do not carry its tag, and were left alone.
  returned: always
  type: list
  elements: dict
  contains:
    protocol:
      description: The protocol.
      type: str
      returned: success
      sample: tcp
    family:
      description: V(ipv4) or V(ipv6).
      type: str
      returned: success
      sample: ipv4
    external_port:
      description: The router's port. V(0) stands for all ports.
      type: int
      returned: success
      sample: 443
    internal_client:
      description: The address that it leads to.
      type: str
      returned: success
      sample: 192.0.2.10
    internal_port:
      description: The port that it leads to.
      type: int
      returned: success
      sample: 8443
    description:
      description: What its maker called it.
      type: str
      returned: success
      sample: old tool
    enabled:
      description: Whether the router says that it is in force. With PCP and NAT-PMP, V(false) if the router restarted since or never answered.
      type: bool
      returned: success
      sample: true
    lease:
      description: The seconds that remain, V(0) for a mapping without end.
      type: int
      returned: success
      sample: 604800
    remote_host:
      description: The only source that it is for, empty for everybody. Routers do not tell it reliably.
      type: str
      returned: success
      sample: ""
    owner:
      description: Always V(untagged_ours).
      type: str
      returned: success
      sample: untagged_ours
    name:
      description: Always V(null), since the description is no tag.
      type: str
      returned: success
kept:
  description:
    - The names of all services of this host that C(homeserver-agent renew) shall keep mapped after this run.
    - Empty where O(state_dir) cannot be written.
  returned: always
  type: list
  elements: str
  sample: [https]
plan:
  description: What was changed, or would be in check mode, in the order of execution. Empty if there was nothing to do or something was refused.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(remove).
      type: str
      returned: success
      sample: create
    kind:
      description: Always V(port_mapping).
      type: str
      returned: success
      sample: port_mapping
    name:
      description: Protocol and external port.
      type: str
      returned: success
      sample: tcp 443
    before:
      description: The mapping that was there. V(null) if there was none.
      type: dict
      returned: success
    after:
      description: The mapping that is there afterwards. V(null) if there is none.
      type: dict
      returned: success
    reason:
      description: Why.
      type: str
      returned: success
      sample: service https
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Entry
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import METHODS, Named, Request, Selection, Wanted, run


def argument_spec():
    """Return the options."""
    return {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "mappings": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
                "external_port": {"type": "int"},
                "port": {"type": "int"},
                "lease": {"type": "int", "default": 604800},
                "families": {"type": "list", "elements": "str", "choices": ["ipv4", "ipv6"], "default": ["ipv4"]},
            },
        },
        "method": {"type": "str", "choices": list(METHODS), "default": "auto"},
        "gateway": {"type": "str"},
        "interface": {"type": "str"},
        "adopt": {"type": "bool", "default": False},
        "restore": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
                "external_port": {"type": "int", "required": True},
                "internal_client": {"type": "str", "required": True},
                "internal_port": {"type": "int", "required": True},
                "description": {"type": "str", "default": ""},
                "lease": {"type": "int", "default": 0},
            },
        },
        "allow_other_external_port": {"type": "bool", "default": False},
        "renew": {"type": "bool", "default": True},
        "require_global_wan": {"type": "bool", "default": True},
        "timeout": {"type": "float", "default": 3.0},
        "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
    }


def request_of(params):
    """Turn the options into a request, or raise ValueError."""
    if params["state"] == "absent":
        named = [
            Named(row["name"], row["protocol"], row["external_port"] or row["port"], row["port"], family)
            for row in params["mappings"]
            for family in families_of(row)
        ]
        originals = [
            Entry(row["protocol"], row["external_port"], row["internal_client"], row["internal_port"], row["description"], True, row["lease"])
            for row in params["restore"]
        ]
        return Request(state="absent", named=named or None, originals=originals)
    wanted = []
    for row in params["mappings"]:
        if row["port"] is None:
            raise ValueError(f"mapping {row['name']!r}: port is required with state: present; it is the port that the service listens on")
        external = row["port"] if row["external_port"] is None else row["external_port"]
        wanted.extend(Wanted(row["name"], row["protocol"], external, row["port"], row["lease"], family) for family in families_of(row))
    return Request(
        state="present",
        wanted=wanted,
        adopt=params["adopt"],
        allow_other_external_port=params["allow_other_external_port"],
        require_global_wan=params["require_global_wan"],
        renew=params["renew"],
    )


def families_of(row):
    """Return the families of a mapping, each once."""
    if not row["families"]:
        raise ValueError(f"mapping {row['name']!r}: families is empty: name ipv4, ipv6 or both, or leave it out for ipv4")
    return list(dict.fromkeys(row["families"]))


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    try:
        request = request_of(params)
    except ValueError as error:
        module.fail_json(msg=str(error), changed=False, mappings=[], gateway=None, gateway_ipv6=None, left=[], plan=[], kept=[])
    selection = Selection(params["method"], params["gateway"], params["interface"], params["timeout"], params["state_dir"])
    result = run(request, selection, module.check_mode)
    for warning in result.warnings:
        module.warn(warning)
    if result.error is not None:
        module.fail_json(msg=result.error, changed=result.changed, **result.data)
    module.exit_json(changed=result.changed, diff=result.plan.diff(), **result.data)


if __name__ == "__main__":
    main()
