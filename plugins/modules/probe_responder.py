# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: probe_responder
short_description: Answer probes from outside for a short time, to prove that they reach this host
version_added: 0.1.0
description:
  - An open port does not say who answered. A router's own page, a provider's proxy or another machine may have.
    The responder answers a challenge with a code that only someone with the nonce can make,
    so that M(homeserver.hardening.port_probe_info) on a host elsewhere can tell.
  - Where nobody listens on a port, the responder listens there itself.
    Where the service listens, packets of the vantage alone are redirected to the responder, and the service goes on undisturbed.
    So the path to the service and the service itself are two separate facts.
  - A redirected packet keeps its destination, so that this host's packet filter judges the port that was asked for.
  - For UDP, only datagrams that carry a code word of the nonce are redirected. For TCP, new connections from O(sources) are;
    those that turn out to be no probe are passed on to the service.
  - It ends by itself after O(timeout), also when the controller is gone. Its rules belong to its process, in an nftables table of its own,
    and the kernel removes them with it, even when it is killed.
  - Nothing remains, so that the module never reports a change.
author: homeserver.hardening contributors (@homeserver-hardening)
extends_documentation_fragment:
  - homeserver.hardening.attributes
attributes:
  check_mode:
    support: full
    details:
      - In check mode nothing is started. Every listener has RV(listeners[].mode=none) and the reason says so.
  diff_mode:
    support: none
    details:
      - This module leaves nothing behind that could differ.
options:
  state:
    description:
      - V(started) starts a responder.
      - V(stopped) ends it and returns what it has seen. It is no error when it has ended already.
    type: str
    choices: [started, stopped]
    default: started
  listeners:
    description: The ports to answer on. Required when O(state=started).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the service, reported to the vantage.
        type: str
        required: true
      protocol:
        description: The transport protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      port:
        description: The port on this host. Behind a router that translates ports it differs from the one outside.
        type: int
        required: true
      families:
        description: The address families to answer over.
        type: list
        elements: str
        choices: [ipv4, ipv6]
        default: [ipv4, ipv6]
  sources:
    description:
      - Addresses, or networks, that the vantages send from, as this host sees them.
      - Needed only for TCP ports on which the service listens. Without it these get RV(listeners[].mode=none).
    type: list
    elements: str
    default: []
  nonce:
    description: The nonce, at least 32 hexadecimal digits. Made afresh and returned when left out, which is the better choice.
    type: str
  timeout:
    description: Seconds after which the responder ends by itself, at most 600.
    type: int
    default: 120
  id:
    description:
      - Which responder, as returned by the start.
      - When O(state=stopped) and it is left out, all responders of this host are stopped.
    type: str
notes:
  - Needs root.
  - The redirect needs C(libnftables), which the package nftables brings, and the kernel's C(nft_tproxy).
  - Where a container engine publishes the port by address translation, the vantage's packets are exempt from it,
    so that the proof covers the path to this host and not the one from there into the container.
  - With systemd the process is a transient unit called C(homeserver-probe-ID.service).
seealso:
  - module: homeserver.hardening.port_probe_info
"""

EXAMPLES = r"""
- name: Answer on the ports of two services
  homeserver.hardening.probe_responder:
    state: started
    listeners:
      - name: web
        port: 443
      - name: vpn
        protocol: udp
        port: 51820
        families: [ipv4]
    sources: [198.51.100.7]
  become: true
  register: responder

- name: Ask from the Internet
  homeserver.hardening.port_probe_info:
    targets:
      - host: home.example.com
        ports: 8443
    nonce: "{{ responder.nonce }}"
  delegate_to: vantage.example.net
  register: outside

- name: Stop answering
  homeserver.hardening.probe_responder:
    state: stopped
    id: "{{ responder.id }}"
  become: true
  register: seen
"""

RETURN = r"""
id:
  description: The responder's id. Null in check mode.
  returned: when O(state=started)
  type: str
  sample: 3f6c01ab
nonce:
  description: The nonce that the vantage needs. Null in check mode.
  returned: when O(state=started)
  type: str
  sample: 00112233445566778899aabbccddeeff
deadline:
  description: When the responder ends by itself. Null in check mode.
  returned: when O(state=started)
  type: str
  sample: "2026-01-31T12:00:00Z"
listeners:
  description: One row per listener and family, in the order of the request.
  returned: always
  type: list
  elements: dict
  sample:
    - {name: web, protocol: tcp, port: 443, family: ipv4, mode: redirected, reason: null, arrived: 1}
  contains:
    name:
      description: Name of the listener.
      type: str
      returned: success
    protocol:
      description: V(tcp) or V(udp).
      type: str
      returned: success
    port:
      description: The port on this host.
      type: int
      returned: success
    family:
      description: V(ipv4) or V(ipv6).
      type: str
      returned: success
    mode:
      description:
        - V(bound), the responder listens on the port itself.
        - V(redirected), a service listens there, and the vantage's packets are redirected.
        - V(none), it cannot answer.
      type: str
      returned: success
    reason:
      description: Why it cannot answer.
      type: str
      returned: success
    arrived:
      description:
        - How many packets of the vantages came as far as this host, counted before any packet filter and whether or not anything answered them.
          Over TCP, those from O(sources) that open a connection, repetitions included; over UDP, datagrams that carry the code word of the nonce.
        - Null where it could not be counted, such as over TCP without O(sources), or after the responder was killed.
      type: int
      returned: success
visits:
  description: What has reached the responder, in the order of arrival.
  returned: when O(state=stopped)
  type: list
  elements: dict
  sample:
    - name: web
      protocol: tcp
      port: 443
      family: ipv4
      source: 198.51.100.7
      source_port: 40312
      nonce_verified: true
      time: "2026-01-31T11:59:01Z"
  contains:
    name:
      description: Name of the listener.
      type: str
      returned: success
    protocol:
      description: V(tcp) or V(udp).
      type: str
      returned: success
    port:
      description: The port on this host.
      type: int
      returned: success
    family:
      description: V(ipv4) or V(ipv6).
      type: str
      returned: success
    source:
      description: The address that it came from.
      type: str
      returned: success
    source_port:
      description: The port that it came from.
      type: int
      returned: success
    nonce_verified:
      description: Whether it knew the nonce.
      type: bool
      returned: success
    time:
      description: When it arrived.
      type: str
      returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._probe import _nonce, _ports, _responder_control


def start(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Check the request, then start a responder."""
    listeners = params["listeners"]
    _responder_control.check_listeners(listeners)
    _responder_control.check_timeout(params["timeout"])
    sources = _responder_control.check_sources(params["sources"])
    if params["id"] is not None:
        _responder_control.check_id(params["id"])
    nonce = _nonce.new_nonce() if params["nonce"] is None else params["nonce"]
    _nonce.parse_nonce(nonce)
    if check_mode:
        rows = [
            {**{key: item[key] for key in ("name", "protocol", "port")}, "family": family, "mode": "none", "reason": "check mode", "arrived": None}
            for item in listeners
            for family in item["families"]
        ]
        return {"id": None, "nonce": None, "deadline": None, "listeners": rows}
    return {"nonce": nonce, **_responder_control.start(listeners, sources, nonce, params["timeout"], params["id"])}


def stop(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Stop one responder, or all."""
    if params["id"]:
        _responder_control.check_id(params["id"])
    result: dict[str, Any] = {"listeners": [], "visits": []}
    for identity in [params["id"]] if params["id"] else _responder_control.running():
        state = _responder_control.status(identity) or {"listeners": [], "visits": []} if check_mode else _responder_control.stop(identity)
        result["listeners"].extend(state["listeners"])
        result["visits"].extend(state["visits"])
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "listeners": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
                    "port": {"type": "int", "required": True},
                    "families": {"type": "list", "elements": "str", "choices": ["ipv4", "ipv6"], "default": ["ipv4", "ipv6"]},
                },
            },
            "sources": {"type": "list", "elements": "str", "default": []},
            "nonce": {"type": "str", "no_log": True},
            "timeout": {"type": "int", "default": 120},
            "id": {"type": "str"},
        },
        required_if=[("state", "started", ["listeners"])],
        supports_check_mode=True,
    )
    action = start if module.params["state"] == "started" else stop
    try:
        result = action(module.params, module.check_mode)
    except (_ports.ProbeInputError, _nonce.NonceError, _responder_control.ResponderError) as error:
        module.fail_json(msg=str(error), listeners=[])
    except OSError as error:
        module.fail_json(msg=f"the responder could not be {module.params['state']}: {error}", listeners=[])
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
