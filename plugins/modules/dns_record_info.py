# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dns_record_info
version_added: 0.1.0
author: homeserver.hardening contributors (@homeserver-hardening)
short_description: Ask every authority of a name what it says
description:
  - Finds the zone of a name and that zone's servers, asks each of them at each of its addresses at the same time, without recursion, and
    compares the answers.
  - A resolver is used to find the zone and its servers only. What it remembers of the name itself is never believed. It is asked for the zone
    above the name, and for the name only where nothing above can be asked, so that it does not remember that the name does not exist.
  - That a name, or a record of it, does not exist is an answer, not a failure. A server that does not answer is a row with RV(servers[].error).
    A resolver that does not answer fails the module.
  - No server is asked but those of O(resolver) and the authorities of the zone and, where O(zone) is left out, of the zone above it.
extends_documentation_fragment:
  - homeserver.hardening.attributes
  - homeserver.hardening.attributes.info
options:
  name:
    description: The name to ask for.
    type: str
    required: true
  zone:
    description:
      - The zone that the name belongs to. If left out, it is looked up.
    type: str
  types:
    description: The types of record to ask for.
    type: list
    elements: str
    choices: [A, AAAA, CNAME, NS, SOA]
    default: [A, AAAA]
  servers:
    description:
      - Addresses of the authorities. If given, nothing is looked up and no resolver is used.
    type: list
    elements: str
  resolver:
    description:
      - Addresses of the resolvers to find the zone and its servers with.
      - By default those in C(/etc/resolv.conf) of the host that the module runs on.
    type: list
    elements: str
  expected:
    description:
      - The records that every authority should have. A type that is not named is not compared; an empty list means that there should be none.
    type: dict
    suboptions:
      A:
        description: The IPv4 addresses.
        type: list
        elements: str
      AAAA:
        description: The IPv6 addresses.
        type: list
        elements: str
  wait:
    description:
      - Ask again for at most so many seconds, until all authorities have what is O(expected), or until they agree if nothing is expected.
    type: float
    default: 0
  previous_ttl:
    description:
      - The TTL in seconds of the records that were there before a change. Resolvers may serve those for so long, although the authorities agree by now.
    type: int
  timeout:
    description: How many seconds to wait for one answer.
    type: float
    default: 3
  attempts:
    description: How often to ask a server that does not answer.
    type: int
    default: 2
seealso:
  - module: homeserver.hardening.ddns_record
"""

EXAMPLES = r"""
- name: What do all servers of the zone say?
  homeserver.hardening.dns_record_info:
    name: home.example.net
  register: answer

- name: Wait until every authority has the new address
  homeserver.hardening.dns_record_info:
    name: home.example.net
    zone: example.net
    expected:
      A: [203.0.113.45]
    wait: 60
    previous_ttl: 300
  register: answer
  failed_when: not answer.matches_expected

- name: Ask one server alone, without any resolver
  homeserver.hardening.dns_record_info:
    name: home.example.net
    servers: [198.51.100.53]
"""

RETURN = r"""
name:
  description: The name that was asked for, in full.
  returned: always
  type: str
  sample: home.example.net.
zone:
  description: The zone that it belongs to, V(null) if no authority answered.
  returned: always
  type: str
  sample: example.net.
servers:
  description: One row for each address of each authority.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The server's name, V(null) if its address was given.
      type: str
      sample: ns1.example.net.
    address:
      description: The address that was asked.
      type: str
      sample: 198.51.100.53
    authoritative:
      description: Whether it spoke as an authority for the zone.
      type: bool
      sample: true
    exists:
      description: Whether the name exists there, V(null) if that is not known.
      type: bool
      sample: true
    records:
      description:
        - The values by type, sorted. Every type of O(types) has a list; an alias is shown as C(CNAME).
        - Empty if there is RV(servers[].error).
      type: dict
      sample: {"A": ["203.0.113.45"], "AAAA": []}
    ttl:
      description: The largest TTL of the records, V(null) if there are none.
      type: int
      sample: 60
    negative_ttl:
      description: For how many seconds a resolver may remember that something does not exist.
      type: int
      sample: 300
    serial:
      description: The serial number of the zone.
      type: int
      sample: 2026010101
    error:
      description: Why there is no answer, V(null) if there is one.
      type: str
      sample: 198.51.100.53 did not answer for 3 s (UDP)
    error_kind:
      description: "The same as a word: V(timeout), V(refused), V(no_route), V(not_authoritative), V(rcode), V(malformed) or V(error)."
      type: str
      sample: timeout
consistent:
  description:
    - Whether every authority answered, and with the same records.
    - An address that this host has no route to does not count if the same server answered at another one.
  returned: always
  type: bool
  sample: true
stale_until:
  description:
    - Until when a resolver somewhere may still serve something else than what all authorities will have in the end, RFC 3339 in UTC.
    - The longest TTL if the authorities disagree, O(previous_ttl) if they agree and it is given, else V(null).
  returned: always
  type: str
  sample: "2026-01-01T04:25:00Z"
matches_expected:
  description: Whether every authority has exactly what is O(expected), V(null) if nothing is.
  returned: always
  type: bool
  sample: true
elapsed:
  description: How many seconds it took.
  returned: always
  type: float
  sample: 0.04
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._dns._name import DnsError
from ..module_utils._dns._survey import Request, survey


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "zone": {"type": "str"},
            "types": {"type": "list", "elements": "str", "choices": ["A", "AAAA", "CNAME", "NS", "SOA"], "default": ["A", "AAAA"]},
            "servers": {"type": "list", "elements": "str"},
            "resolver": {"type": "list", "elements": "str"},
            "expected": {
                "type": "dict",
                "options": {"A": {"type": "list", "elements": "str"}, "AAAA": {"type": "list", "elements": "str"}},
            },
            "wait": {"type": "float", "default": 0},
            "previous_ttl": {"type": "int"},
            "timeout": {"type": "float", "default": 3},
            "attempts": {"type": "int", "default": 2},
        },
        supports_check_mode=True,
    )
    started = time.monotonic()
    result: dict[str, Any] = {
        "name": module.params["name"],
        "zone": module.params["zone"],
        "servers": [],
        "consistent": False,
        "stale_until": None,
        "matches_expected": None,
        "elapsed": 0.0,
    }
    try:
        result.update(survey(Request.from_options(module.params)))
    except DnsError as error:
        result["elapsed"] = round(time.monotonic() - started, 3)
        module.fail_json(msg=f"{module.params['name']}: {error}", **result)
    result["elapsed"] = round(time.monotonic() - started, 3)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
