# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_probe_info
short_description: Find out the state of TCP and UDP ports, as seen from this host
version_added: 0.1.0
description:
  - Probes any number of ports of any number of hosts in one event loop, over IPv4 and IPv6, without root.
  - Tells apart what other tools call closed or filtered. A port can be open, closed, dropped or rejected on the way, or
    dropped or rejected by this very host; there may be no route, or nobody at the address.
  - With O(nonce) it proves who answered, see M(homeserver.hardening.probe_responder).
  - The result is what B(this) host sees. To learn what the Internet sees of a home server, run the module on a host elsewhere.
author: homeserver.hardening contributors (@homeserver-hardening)
extends_documentation_fragment:
  - homeserver.hardening.attributes
  - homeserver.hardening.attributes.info
options:
  targets:
    description: What to probe.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description:
          - A name or an address. Every address of a name is probed, each with rows of its own.
          - Link-local IPv6 addresses take a zone, as in V(fe80::1%eth0).
        type: str
        required: true
      ports:
        description: Ports, as numbers and ranges, for example V(22,80,8000-8010), or as a list of them.
        type: raw
        required: true
      protocol:
        description: The transport protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      families:
        description: The address families to probe. Left out means those that the host has.
        type: list
        elements: str
        choices: [ipv4, ipv6]
  timeout:
    description:
      - Seconds that the last attempt at a port waits. Earlier attempts are shorter and adapt to the round trip.
      - Below 1.1 seconds a single lost packet makes an open port look filtered, because the kernel repeats it after one second.
    type: float
    default: 1.5
  attempts:
    description: How many times, in all, a silent port is asked, each time from a fresh socket.
    type: int
    default: 2
  concurrency:
    description:
      - How many probes may wait for their first answer at the same time, up to 4096. Ports that stayed silent wait together, up to four times as many.
      - Left out, it is 256, and 1024 where only addresses of this host are probed.
      - Home routers track few connections. Do not raise this for targets behind one.
    type: int
  rate:
    description: The most probes to send per second. Left out means no limit.
    type: float
  nonce:
    description:
      - The nonce of a running M(homeserver.hardening.probe_responder), in hexadecimal.
      - Each open port is sent a challenge, and RV(probes[].nonce_verified) says whether the answer proves knowledge of the nonce.
    type: str
  interface:
    description:
      - Send through this interface.
      - Without root this needs Linux 5.7 or newer; on older ones probes start from the interface's address.
    type: str
  report:
    description:
      - Which ports get a row in RV(probes). RV(counts) always counts all of them.
    type: str
    choices: [all, not_closed, open]
    default: all
notes:
  - For UDP, silence does not tell an open port from a dropped one, and hosts answer only a few closed UDP ports per second.
    Use O(nonce) where you can.
  - The state of a port is enumerated openly. Treat an unknown one as undetermined.
seealso:
  - module: homeserver.hardening.probe_responder
  - module: ansible.builtin.wait_for
"""

EXAMPLES = r"""
- name: See which of three ports of the router answer
  homeserver.hardening.port_probe_info:
    targets:
      - host: 192.0.2.1
        ports: 22,80,443

- name: Look at the home server from a host in the Internet
  homeserver.hardening.port_probe_info:
    targets:
      - host: home.example.com
        ports: [443, 8000-8010]
      - host: home.example.com
        ports: 51820
        protocol: udp
        families: [ipv4]
    nonce: "{{ responder.nonce }}"
  delegate_to: vantage.example.net
  register: outside

- name: Find all open ports of a host, no more than 500 probes per second
  homeserver.hardening.port_probe_info:
    targets:
      - host: 2001:db8::10
        ports: 1-65535
    rate: 500
    report: open
"""

RETURN = r"""
probes:
  description: One row per address and port, in the order of the request. IPv4 addresses of a name come first.
  returned: always
  type: list
  elements: dict
  sample:
    - host: home.example.com
      address: 192.0.2.10
      family: ipv4
      protocol: tcp
      port: 443
      state: open
      confidence: high
      reason: {errno: null, icmp: null}
      attempts: 1
      rtt_ms: 8.2
      nonce_verified: true
      answered_by: web
      seen_as: 198.51.100.7
  contains:
    host:
      description: The host as it was asked for.
      type: str
      returned: success
    address:
      description: The probed address.
      type: str
      returned: success
    family:
      description: V(ipv4) or V(ipv6).
      type: str
      returned: success
    protocol:
      description: V(tcp) or V(udp).
      type: str
      returned: success
    port:
      description: The probed port.
      type: int
      returned: success
    state:
      description:
        - V(open), the port answered; V(closed), the target refused it.
        - V(filtered), nothing came back over TCP; V(open_or_filtered), nothing came back over UDP.
        - V(rejected), a packet filter on the way or on the target refused it with an ICMP error.
        - V(local_drop) and V(local_reject), this host's own packet filter dropped or refused it.
        - V(no_route), this host, or a router on the way, has no route.
        - V(host_unreachable), nobody answers at the address.
        - V(error), a limit of this host kept the port from being probed. It says nothing about the port.
      type: str
      returned: success
    confidence:
      description: V(high), V(medium) or V(low).
      type: str
      returned: success
    reason:
      description: What the state was derived from.
      type: dict
      returned: success
      contains:
        errno:
          description: Name of the socket's error, for example V(ECONNREFUSED).
          type: str
          returned: success
        icmp:
          description: The ICMP error, as C(type), C(code) and C(from).
          type: dict
          returned: success
    attempts:
      description: How many times the port was asked.
      type: int
      returned: success
    rtt_ms:
      description: Round trip in milliseconds.
      type: float
      returned: success
    nonce_verified:
      description: Whether the answer proved knowledge of O(nonce). Null where O(nonce) was left out or the port is not open.
      type: bool
      returned: success
    answered_by:
      description: Name of the listener that proved it.
      type: str
      returned: success
    seen_as:
      description: The address that the responder saw this host as.
      type: str
      returned: success
counts:
  description: How many ports are in each state, all ports counted.
  returned: always
  type: dict
  sample: {open: 1, closed: 0, filtered: 2}
vantage:
  description: Where the probes came from.
  returned: always
  type: dict
  contains:
    hostname:
      description: This host's name.
      type: str
      returned: success
    addresses:
      description: Source address of the first probe of each family, under V(ipv4) and V(ipv6).
      type: dict
      returned: success
  sample: {hostname: vantage, addresses: {ipv4: 198.51.100.7, ipv6: null}}
elapsed:
  description: Seconds that the probes took.
  returned: always
  type: float
  sample: 1.9
limits:
  description: Limits of this host that the run met.
  returned: always
  type: dict
  contains:
    descriptors:
      description: Soft limit of open descriptors during the run.
      type: int
      returned: success
    descriptors_hard:
      description: Hard limit of open descriptors.
      type: int
      returned: success
    concurrency:
      description: The most probes that were waiting at the same time.
      type: int
      returned: success
    reduced:
      description: How many times the concurrency was reduced, by name of the error.
      type: dict
      returned: success
  sample: {descriptors: 1024, descriptors_hard: 1048576, concurrency: 256, reduced: {}}
"""

import errno
import os
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._probe import _engine, _nonce, _ports, _states, _targets

_SHOWN = {
    "all": frozenset(_states.STATES),
    "not_closed": frozenset(_states.STATES) - {_states.CLOSED},
    "open": frozenset({_states.OPEN}),
}


def as_row(outcome: _engine.Outcome) -> dict[str, Any]:
    """Return an outcome in the shape of a result row."""
    icmp = outcome.icmp
    return {
        "host": outcome.target.host,
        "address": outcome.target.address,
        "family": "ipv6" if outcome.target.family == socket.AF_INET6 else "ipv4",
        "protocol": outcome.target.protocol,
        "port": outcome.port,
        "state": outcome.state,
        "confidence": outcome.confidence,
        "reason": {
            "errno": None if outcome.errno is None else errno.errorcode.get(outcome.errno, str(outcome.errno)),
            "icmp": None if icmp is None else {"type": icmp.type, "code": icmp.code, "from": icmp.sender},
        },
        "attempts": outcome.attempts,
        "rtt_ms": outcome.rtt_ms,
        "nonce_verified": outcome.nonce_verified,
        "answered_by": outcome.answered_by,
        "seen_as": outcome.seen_as,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "targets": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "host": {"type": "str", "required": True},
                    "ports": {"type": "raw", "required": True},
                    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
                    "families": {"type": "list", "elements": "str", "choices": ["ipv4", "ipv6"]},
                },
            },
            "timeout": {"type": "float", "default": _engine.DEFAULT_TIMEOUT},
            "attempts": {"type": "int", "default": _engine.DEFAULT_ATTEMPTS},
            "concurrency": {"type": "int"},
            "rate": {"type": "float"},
            "nonce": {"type": "str", "no_log": True},
            "interface": {"type": "str"},
            "report": {"type": "str", "choices": ["all", "not_closed", "open"], "default": "all"},
        },
        supports_check_mode=True,
    )
    params = module.params
    addresses: dict[str, str | None] = {"ipv4": None, "ipv6": None}
    result: dict[str, Any] = {
        "changed": False,
        "probes": [],
        "counts": dict.fromkeys(_states.STATES, 0),
        "vantage": {"hostname": socket.gethostname(), "addresses": addresses},
        "elapsed": 0.0,
        "limits": {},
    }
    try:
        options = _engine.Options(
            timeout=params["timeout"],
            attempts=params["attempts"],
            concurrency=params["concurrency"],
            rate=params["rate"],
            key=None if params["nonce"] is None else _nonce.parse_nonce(params["nonce"]),
            interface=params["interface"],
        )
        if params["interface"] is not None and not os.path.exists(f"/sys/class/net/{params['interface']}"):
            raise _engine.ProbeError(f"interface {params['interface']!r} does not exist on this host: name one of those that `ip link` lists")
        targets = []
        for target in params["targets"]:
            targets.extend(_targets.make_targets(target["host"], target["ports"], target["protocol"], target["families"]))
    except (_engine.ProbeError, _nonce.NonceError, _ports.ProbeInputError) as error:
        module.fail_json(msg=str(error), **result)

    rows: dict[int, dict[str, Any]] = {}
    shown = _SHOWN[params["report"]]

    def sink(key: int, outcome: _engine.Outcome) -> None:
        if outcome.state in shown:
            rows[key] = as_row(outcome)
        else:
            rows.pop(key, None)

    try:
        summary = _engine.Engine(options).run(targets, sink)
    except OSError as error:
        module.fail_json(msg=f"the probe ended early: {error}", **result)
    result["probes"] = [rows[key] for key in sorted(rows)]
    result["counts"] = summary.counts
    result["vantage"]["addresses"] = summary.addresses
    result["elapsed"] = round(summary.elapsed, 3)
    result["limits"] = summary.limits
    module.exit_json(**result)


if __name__ == "__main__":
    main()
