# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: upnp_audit_info
short_description: Audit what UPnP, NAT-PMP and PCP let others do to a home
version_added: 0.1.0
description:
  - Asks the router and the other UPnP devices of the LAN, and from a host outside the home's addresses, and answers fourteen questions, A1 to A14.
  - What could not be tested is V(untested), never V(ok). Silence is an answer only where something else shows that the question got there.
  - By default nothing is written. With O(active=true) it also asks for what should be refused, and takes back at once what is granted.
  - The check table, what is sent to whom, and what passes are described in the collection's C(docs/audit.md).
extends_documentation_fragment:
  - homeserver.hardening.attributes
  - homeserver.hardening.attributes.info
attributes:
  check_mode:
    details:
      - Under check mode O(active) sends nothing that writes. What needs it is V(untested) with the reason V(check_mode).
options:
  side:
    description:
      - Where this host is. V(lan) is a host in the home, such as the home server.
      - V(wan) is a host outside, to which the task is delegated. It looks at O(addresses) only.
    type: str
    choices: [lan, wan]
    default: lan
  gateway:
    description:
      - With O(side=lan), the router's address in the LAN, or the C(http://) address of its UPnP device description, which is then looked at even if the
        router does not answer the search.
      - If omitted or empty, the default gateway is asked. It is not asked if this host's own address is a global one, since there is no NAT then.
    type: str
  interface:
    description:
      - With O(side=lan), the interface to ask from. Needed where the default route does not lead to the home router, such as with a VPN.
      - If omitted or empty, those of the default routes.
    type: str
  active:
    description:
      - With O(side=lan), also try what should be refused. These are mappings to an unused address of the LAN, to a documentation address outside, to
        the router itself and to loopback, and a mapping of a low port to this host (A4 to A6); events of each UPnP device of the LAN to a documentation
        address (A7); the removal of a range in which there is nothing (A10); and pinholes over IPv6 (A11), by PCP to port 22 of this host, by UPnP to a
        low port of this host on which nothing listens and to an unused address of its network.
      - Each mapping is for a documentation address as its source and for two minutes. It is taken back at once, and RV(left) names what could not be.
      - A router that takes mappings for any source only is not asked for a low port of this host, since that would open it to everybody.
    type: bool
    default: false
  known_clients:
    description:
      - With O(side=lan), the IPv4 addresses of your own devices. A mapping to any other address of the LAN is flagged V(client_unknown).
      - If empty, no mapping is flagged so.
    type: list
    elements: str
    default: []
  outside:
    description:
      - With O(side=lan), what a task with O(side=wan) returned on a host outside. Without it, what only shows from outside is V(untested) with the reason
        V(no_vantage).
    type: dict
    default: {}
  former:
    description:
      - With O(side=lan), mappings that were there before UPnP was switched off, for A12.
    type: list
    elements: dict
    default: []
    suboptions:
      protocol:
        description: The protocol.
        type: str
        choices: [tcp, udp]
        required: true
      external_port:
        description: The router's port.
        type: int
        required: true
      listening:
        description:
          - Whether something answered on the port behind it while it was probed. Only then does a refusal show that the router no longer forwards;
            otherwise the refusal could come from the host behind a rule that is still there.
        type: bool
        default: false
  probes:
    description:
      - With O(side=lan), the rows of M(homeserver.hardening.port_probe_info), run on a host outside, for the ports in O(former).
      - Include a port that is known to answer. A silent address may be the wrong one, and then nothing is known about its ports.
    type: list
    elements: dict
    default: []
  addresses:
    description:
      - With O(side=wan), the addresses of the home as the Internet sees them, IPv4 and IPv6, at most 16. Nothing else is contacted.
    type: list
    elements: str
    default: []
  location_ports:
    description:
      - With O(side=wan), the TCP ports on which the router serves its description inside, see RV(location_ports). They are asked first.
    type: list
    elements: int
    default: []
  location_paths:
    description:
      - With O(side=wan), the paths of the router's description inside, see RV(location_paths).
    type: list
    elements: str
    default: []
  timeout:
    description:
      - For how many seconds to listen to answers of the search, and to wait for each answer.
    type: float
    default: 3.0
  state_dir:
    description:
      - With O(side=lan), where M(homeserver.hardening.port_mapping) records mappings made by PCP. If port 22 is among them, A11 does not try it, since
        that would take the mapping away.
    type: path
    default: /var/lib/homeserver
author:
  - homeserver.hardening contributors (@homeserver-hardening)
notes:
  - Run it as root where you can. Otherwise it cannot ask by ARP whether the client of a mapping is there, nor that the third party of A4 is not.
  - Only the router and devices that answered the search are contacted. A device that names a description on another host is reported; that host is not asked.
  - From inside it ends within a minute with the default O(timeout), whatever the devices do. What there was no time for is V(untested).
seealso:
  - module: homeserver.hardening.port_mapping_info
  - module: homeserver.hardening.port_probe_info
"""

EXAMPLES = r"""
- name: Look from inside, without writing
  homeserver.hardening.upnp_audit_info:
  register: inside

- name: Look at the home from a host outside
  homeserver.hardening.upnp_audit_info:
    side: wan
    addresses: [203.0.113.7, "2001:db8::10"]
    location_ports: "{{ inside.location_ports }}"
    location_paths: "{{ inside.location_paths }}"
  delegate_to: vps1
  register: outside

- name: Put both together, and try what should be refused
  homeserver.hardening.upnp_audit_info:
    active: true
    outside: "{{ outside }}"
    known_clients: [192.0.2.20, 192.0.2.21]
  register: audit

- name: Show what was found
  ansible.builtin.debug:
    msg: "{{ audit.findings }}"

- name: After UPnP was switched off, see whether the ports are closed
  homeserver.hardening.upnp_audit_info:
    former:
      - {protocol: tcp, external_port: 8443, listening: true}
    probes: "{{ probed_from_outside.probes }}"
"""

RETURN = r"""
side:
  description: Where this host is.
  returned: success
  type: str
  sample: lan
checks:
  description: The checks, in order. With O(side=lan) always all fourteen, with O(side=wan) A1, A2, A3, A8 and A11.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: V(A1) to V(A14).
      type: str
      returned: success
      sample: A1
    name:
      description: What it is about.
      type: str
      returned: success
      sample: ssdp_on_wan
    status:
      description: V(ok), V(finding), or V(untested) where it could not be tested.
      type: str
      returned: success
      sample: finding
    severity:
      description: That of the worst finding, V(info) if there is none. One of V(critical), V(high), V(medium), V(low), V(info).
      type: str
      returned: success
      sample: high
    vantage:
      description: From where it was tested, or would have to be. V(lan), V(wan) or V(lan+wan).
      type: str
      returned: success
      sample: wan
    reason:
      description: Why it has this status, as a stable name; with V(finding) that of the first finding.
      type: str
      returned: success
      sample: ssdp_answers_outside
    evidence:
      description: What was observed. Its keys depend on the check.
      type: raw
      returned: success
      sample: {}
    findings:
      description: What was found, each with a stable C(name), its C(severity) and figures.
      type: raw
      returned: success
      sample: []
findings:
  description: All findings of all checks, each with the C(check) and the C(vantage) that it comes from.
  returned: success
  type: raw
  sample: []
gateways:
  description: Every router and other UPnP device that answered the search, routers first. Empty with O(side=wan).
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: The address that answered.
      type: str
      returned: success
      sample: 192.0.2.1
    interface:
      description: This host's interface towards it.
      type: str
      returned: success
      sample: eth0
    ipv4_address:
      description: Of a device that answered over IPv6, the IPv4 address of the same network card. Empty if not known.
      type: str
      returned: success
      sample: ""
    location:
      description: Where it says that its description is.
      type: str
      returned: success
      sample: http://192.0.2.1:5000/rootDesc.xml
    location_elsewhere:
      description: Whether that is another host, which was not asked.
      type: bool
      returned: success
      sample: false
    server:
      description: What it calls itself in the answer to the search.
      type: str
      returned: success
      sample: Linux/5.10 UPnP/1.1 MiniUPnPd/2.3.1
    http_server:
      description: What it calls itself over HTTP.
      type: str
      returned: success
      sample: Linux/5.10 UPnP/1.1 MiniUPnPd/2.3.1
    device_type:
      description: The type of the device. Empty if its description could not be read.
      type: str
      returned: success
      sample: urn:schemas-upnp-org:device:InternetGatewayDevice:2
    product:
      description: Its name, maker and model.
      type: str
      returned: success
      sample: Home router
    gateway_device:
      description: Whether it calls itself a router.
      type: bool
      returned: success
      sample: true
    default_gateway:
      description: Whether it is the router that was asked for, or the default gateway.
      type: bool
      returned: success
      sample: true
    via:
      description: How it was found. V(multicast), V(unicast), V(option).
      type: list
      elements: str
      returned: success
      sample: [multicast, unicast]
    services:
      description: The types of its services.
      type: list
      elements: str
      returned: success
      sample: ["urn:schemas-upnp-org:service:WANIPConnection:2"]
    problem:
      description: Why its description could not be read. Empty if it could.
      type: str
      returned: success
      sample: ""
mappings:
  description: Every mapping that the routers show, judged. Empty with O(side=wan).
  returned: success
  type: list
  elements: dict
  contains:
    gateway:
      description: The router.
      type: str
      returned: success
      sample: 192.0.2.1
    protocol:
      description: The protocol.
      type: str
      returned: success
      sample: tcp
    external_port:
      description: The router's port. V(0) stands for all ports.
      type: int
      returned: success
      sample: 8443
    internal_client:
      description: The address that it leads to.
      type: str
      returned: success
      sample: 192.0.2.20
    internal_port:
      description: The port that it leads to.
      type: int
      returned: success
      sample: 445
    description:
      description: What its maker called it.
      type: str
      returned: success
      sample: camera
    enabled:
      description: Whether the router says that it is in force.
      type: bool
      returned: success
      sample: true
    lease:
      description: The seconds that remain, V(0) for a mapping without end.
      type: int
      returned: success
      sample: 3600
    remote_host:
      description: The only source that it is for, empty for everybody. Routers do not tell it reliably.
      type: str
      returned: success
      sample: ""
    owner:
      description: As in M(homeserver.hardening.port_mapping_info).
      type: str
      returned: success
      sample: foreign
    service:
      description: The service's name, if the description is a tag. V(null) otherwise.
      type: str
      returned: success
      sample: https
    flags:
      description:
        - What is to be said against it. V(malware_mark), V(client_public), V(client_outside_lan), V(client_is_gateway), V(client_is_loopback),
          V(client_is_broadcast), V(client_not_an_address), V(client_unknown), V(client_silent), V(nothing_listens), V(dangerous_port), V(all_ports),
          V(same_external_port), V(permanent_lease), V(long_lease).
      type: list
      elements: str
      returned: success
      sample: [dangerous_port]
location_ports:
  description: The ports on which routers of the LAN serve their description, for O(location_ports) of the run from outside. Empty with O(side=wan).
  returned: success
  type: list
  elements: int
  sample: [5000]
location_paths:
  description: The paths of these descriptions, for O(location_paths). Empty with O(side=wan).
  returned: success
  type: list
  elements: str
  sample: [/rootDesc.xml]
left:
  description:
    - What O(active) could not take back, and what may have been made by a device that did not answer. Empty if all is as before.
  returned: success
  type: list
  elements: dict
  contains:
    what:
      description: V(mapping), V(subscription) or V(pinhole).
      type: str
      returned: success
      sample: mapping
    address:
      description: The device that holds it.
      type: str
      returned: success
      sample: 192.0.2.1
    detail:
      description: What it is.
      type: str
      returned: success
      sample: tcp 50123 to 192.0.2.99:50123
    ends_in:
      description: After how many seconds it ends by itself, if the device keeps its word. V(0) if it does not.
      type: int
      returned: success
      sample: 120
elapsed:
  description: How many seconds it took.
  returned: success
  type: float
  sample: 4.1
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.homeserver.hardening.plugins.module_utils._audit._model import Former
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._run import LanOptions, WanOptions, run_lan, run_wan
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import PortmapError


def argument_spec():
    """Return the options."""
    return {
        "side": {"type": "str", "choices": ["lan", "wan"], "default": "lan"},
        "gateway": {"type": "str"},
        "interface": {"type": "str"},
        "active": {"type": "bool", "default": False},
        "known_clients": {"type": "list", "elements": "str", "default": []},
        "outside": {"type": "dict", "default": {}},
        "former": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
                "external_port": {"type": "int", "required": True},
                "listening": {"type": "bool", "default": False},
            },
        },
        "probes": {"type": "list", "elements": "dict", "default": []},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "location_ports": {"type": "list", "elements": "int", "default": []},
        "location_paths": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "float", "default": 3.0},
        "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    try:
        if params["side"] == "wan":
            if not params["addresses"]:
                module.fail_json(msg="addresses is empty: with side: wan, give the addresses of the home as the Internet sees them")
            result = run_wan(WanOptions(params["addresses"], params["location_ports"], params["location_paths"], params["timeout"]))
        else:
            result = run_lan(
                LanOptions(
                    gateway=params["gateway"],
                    interface=params["interface"],
                    active=params["active"],
                    check_mode=module.check_mode,
                    known_clients=params["known_clients"],
                    outside=params["outside"],
                    former=[Former(row["protocol"], row["external_port"], row["listening"]) for row in params["former"]],
                    probes=params["probes"],
                    timeout=params["timeout"],
                    state_dir=params["state_dir"],
                )
            )
    except PortmapError as error:
        module.fail_json(msg=str(error))
    for row in result["left"]:
        end = f"it should end by itself in {row['ends_in']} s" if row["ends_in"] else "it does not end by itself: restart the device"
        module.warn(f"{row['what']} {row['detail']} on {row['address']} could not be taken back, or may be there; {end}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
