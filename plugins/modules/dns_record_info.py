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
  - No server is asked but those of O(resolver) and the authorities of the zone and, where O(zone) is left out, of the zone above it; and those of
    O(public_resolvers), last of all.
  - What is wrong with the servers or the records is told in RV(findings), each with a stable id and a remedy.
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
  published:
    description:
      - What this host published last, to find out whether somebody else writes the same name. See RV(second_writer).
      - A type that is not named is not compared; an empty list means that nothing of that type is published.
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
      serial:
        description:
          - The zone's serial when an authority was seen to have these records, for instance from RV(homeserver.hardening.ddns_record#module:authorities).
          - Without it, nobody can tell a publication that was overwritten from one that has not arrived yet.
        type: int
  watch:
    description:
      - Go on asking for so many seconds, after O(wait), to see whether the records change. It never ends early.
      - Two writers that work every five minutes each show themselves within ten.
    type: float
    default: 0
  public_resolvers:
    description:
      - Addresses of resolvers, for instance public ones, to ask what they remember, and for how long. Information only, it decides nothing.
      - They are asked only for types that every authority has records of; else they would remember that there are none.
    type: list
    elements: str
    default: []
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

- name: Publish the name
  homeserver.hardening.ddns_record:
    name: home.example.net
    zone: example.net
    server: ns1.example.net
    tsig_name: ddns-home
    tsig_secret: "{{ vault_ddns_secret }}"
  register: mine

- name: Does anything else write it as well?
  homeserver.hardening.dns_record_info:
    name: home.example.net
    zone: example.net
    published: "{{ mine.after | combine({'serial': mine.authorities[0].serial}) }}"
    watch: 900
    public_resolvers: [198.51.100.1]
  register: answer
  when: mine.authorities | length > 0

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
negative_until:
  description:
    - Until when a resolver that asked just now may say that something does not exist which does not exist yet, RFC 3339 in UTC (RFC 2308).
    - The longest RV(servers[].negative_ttl) from now on, V(null) if no authority answered. Many resolvers forget sooner.
  returned: always
  type: str
  sample: "2026-01-01T04:25:00Z"
matches_expected:
  description: Whether every authority has exactly what is O(expected), V(null) if nothing is.
  returned: always
  type: bool
  sample: true
serial:
  description: The newest serial, by the arithmetic of RFC 1982; V(null) if no authority answered, or if the serials stand in no order.
  returned: always
  type: int
  sample: 2026010102
lagging:
  description: The authorities with an older serial than another one. A primary that is not listed as an authority is not seen.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The server's name, V(null) if its address was given.
      type: str
      sample: ns2.example.net.
    address:
      description: The address that was asked.
      type: str
      sample: 198.51.100.54
    serial:
      description: The serial that it has.
      type: int
      sample: 2026010101
    newest:
      description: The newest serial.
      type: int
      sample: 2026010102
    ahead:
      description: Those that have it.
      type: list
      elements: str
      sample: ["ns1.example.net. (198.51.100.53)"]
    records_differ:
      description: Whether what it says about the name is out of date too.
      type: bool
      sample: true
    since_earliest:
      description:
        - When it last heard from its primary, as it says itself (RFC 7314), RFC 3339 in UTC. It is behind since then at the earliest.
        - V(null) if it does not say.
      type: str
      sample: "2026-01-01T03:20:00Z"
    since_latest:
      description: When it was first seen to be behind by this call. It is behind since then at the latest.
      type: str
      sample: "2026-01-01T04:20:00Z"
    expires:
      description: When it will stop answering if it hears nothing from its primary until then, V(null) if it does not say.
      type: str
      sample: "2026-01-15T03:20:00Z"
second_writer:
  description:
    - V(suspected) if the authorities with the newest serial have something else than what is O(published), and had that at an earlier serial; or if an
      earlier value came back while the records were watched.
    - V(not_seen) if they have it, or nothing went back and forth while they were watched.
    - V(unknown) if they have something else, and it cannot be told which came first. V(null) with neither O(published) nor O(watch).
  returned: always
  type: str
  sample: not_seen
changes:
  description: What changed while the authorities were asked again, in the order in which it was seen.
  returned: always
  type: list
  elements: dict
  contains:
    time:
      description: When it was seen, RFC 3339 in UTC.
      type: str
      sample: "2026-01-01T04:20:00Z"
    name:
      description: The server's name, V(null) if its address was given.
      type: str
      sample: ns1.example.net.
    address:
      description: The address that was asked.
      type: str
      sample: 198.51.100.53
    serial:
      description: The serial then.
      type: int
      sample: 2026010102
    records:
      description: The values by type that it had from then on.
      type: dict
      sample: {"A": ["203.0.113.45"], "AAAA": []}
public_resolvers:
  description: One row for each of O(public_resolvers), in that order.
  returned: always
  type: list
  elements: dict
  contains:
    address:
      description: The address that was asked.
      type: str
      sample: 198.51.100.1
    records:
      description: The values by type, of the types that it was asked for. Empty if there is RV(public_resolvers[].error).
      type: dict
      sample: {"A": ["203.0.113.44"]}
    exists:
      description: Whether the name exists for it, V(null) if that is not known.
      type: bool
      sample: true
    ttl:
      description: For how many seconds more it may say this, V(null) if that is not known.
      type: int
      sample: 41
    until:
      description: The same as a time, RFC 3339 in UTC.
      type: str
      sample: "2026-01-01T04:20:41Z"
    agrees:
      description: Whether it says the same as the authorities with the newest serial, V(null) if there is an error.
      type: bool
      sample: false
    error:
      description: Why there is no answer, V(null) if there is one.
      type: str
      sample: 198.51.100.1 did not answer for 3 s (UDP)
    error_kind:
      description: The same as a word, as in RV(servers[].error_kind); V(not_asked) if asking would have done harm.
      type: str
      sample: timeout
findings:
  description: What should be looked at, the worst first. See docs/dns.md.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: V(dns-second-writer), V(dns-secondary-lagging), V(dns-not-authoritative) or V(dns-authority-silent).
      type: str
      sample: dns-secondary-lagging
    severity:
      description: V(high), V(medium) or V(low).
      type: str
      sample: high
    subject:
      description: The server or the name that it is about.
      type: str
      sample: ns2.example.net. (198.51.100.54)
    reason:
      description: What was seen.
      type: str
      sample: "ns2.example.net. (198.51.100.54) has serial 1, ns1.example.net. (198.51.100.53) 2: what it says about the name is out of date"
    evidence:
      description: The rows that it follows from. Their keys depend on the finding.
      type: raw
      sample: []
    remedy:
      description: What to do.
      type: str
      sample: Have that server serve the zone
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
            "published": {
                "type": "dict",
                "options": {"A": {"type": "list", "elements": "str"}, "AAAA": {"type": "list", "elements": "str"}, "serial": {"type": "int"}},
            },
            "watch": {"type": "float", "default": 0},
            "public_resolvers": {"type": "list", "elements": "str", "default": []},
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
        "negative_until": None,
        "matches_expected": None,
        "serial": None,
        "lagging": [],
        "second_writer": None,
        "changes": [],
        "public_resolvers": [],
        "findings": [],
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
