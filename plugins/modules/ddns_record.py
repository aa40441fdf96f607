# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ddns_record
version_added: 0.1.0
author: homeserver.hardening contributors (@homeserver-hardening)
short_description: Make a name point at this host's public address, or take that back
description:
  - Finds the public address of the host that it runs on, compares it with what the provider's own server has, updates that if needed, and reads
    the record back at every authority of the zone.
  - Only global addresses are published. An empty, private or shared (carrier NAT) address is refused.
  - A record that this host did not publish is neither changed nor removed, unless O(adopt=true). At most providers a name has an address from the day
    on that it was made there, so the first run needs that.
  - What was published is noted in C(ddns.json) in the state directory before it is sent, so it can be taken back whatever happens in between.
  - The role P(homeserver.hardening.ddns#role) uses this module and adds a timer that keeps the record right.
extends_documentation_fragment:
  - homeserver.hardening.attributes
options:
  state:
    description:
      - V(present) makes the record right.
      - V(absent) takes back what this host published and proves that no authority has it any more. No other option is needed as long as the
        secret is where the role P(homeserver.hardening.ddns#role) put it.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The name that shall point at this host. Required with O(state=present).
    type: str
  zone:
    description: The zone that the name belongs to. Required with V(rfc2136) and V(cloudflare); else it is found.
    type: str
  provider:
    description:
      - Who is told. V(rfc2136) is any name server that takes updates signed with TSIG.
      - Over HTTPS these are told, with O(password) and mostly O(username). V(mydns_jp), V(no_ip), V(dynu), V(he_net), V(ovh), V(duckdns), V(cloudflare),
        V(desec), V(dynv6), with V(dyndns2) any server that speaks this protocol at O(url), and with V(custom) any other that one request tells an address.
      - Providers that exist no more are refused by name.
    type: str
    default: rfc2136
  username:
    description: The user at the provider. With V(he_net) and V(dynv6) there is a default.
    type: str
  password:
    description: The password, key or token. With V(duckdns) it is a part of the URL, since that provider has nothing else, see O(credentials_in_url).
    type: str
  url:
    description:
      - Where updates go, with V(https). Required with V(dyndns2) and V(custom); with the others it replaces the usual one.
      - With V(custom), C({name}), C({label}) (its first part), C({address}), C({family}) (V(ipv4) or V(ipv6)), C({username}) and C({password}) are filled
        in. Without C({address}) the provider has to take the address that the request comes from. Each family has a request of its own.
    type: str
  ca_file:
    description: A file on the host with the certificates that may sign that of the provider's server, in place of those that the system trusts.
    type: path
  credentials_in_url:
    description: Allow the secret to be a part of the URL, where it may end in the logs of servers.
    type: bool
    default: false
  success_pattern:
    description: With V(custom), a regular expression that finds success in the answer. Required there.
    type: str
  stop_pattern:
    description: With V(custom), one that finds answers after which nothing may be sent until a setting changes. It is tried first.
    type: str
  retry_pattern:
    description: With V(custom), one that finds answers after which it may work later.
    type: str
  server:
    description: The primary server of the zone, by address or name. Required with O(provider=rfc2136), as are O(tsig_name) and O(tsig_secret).
    type: str
  server_port:
    description: The port of that server.
    type: int
    default: 53
  tsig_name:
    description: The name of the TSIG key.
    type: str
  tsig_algorithm:
    description: The algorithm of the key.
    type: str
    choices: [hmac-sha256, hmac-sha384, hmac-sha512]
    default: hmac-sha256
  tsig_secret:
    description: The secret of the key in Base64.
    type: str
  ttl:
    description: The TTL of the record in seconds, where the provider lets it be chosen (V(rfc2136) and V(cloudflare)).
    type: int
    default: 60
  families:
    description: The families to publish. The records of other families stay as they are.
    type: list
    elements: str
    choices: [ipv4, ipv6]
    default: [ipv4]
  address_source:
    description:
      - V(interface) takes the address of the interface with the default route.
      - V(router) asks the router for its address by UPnP. IPv6 addresses are still taken from the interface.
      - V(command) runs O(address_command).
      - V(static) takes O(addresses).
    type: str
    choices: [interface, router, command, static]
    default: interface
  address_command:
    description: A program and its arguments that prints one address for each family, on a line of its own.
    type: list
    elements: str
  addresses:
    description: The addresses to publish, at most one for each family.
    type: list
    elements: str
  gateway:
    description: With O(address_source=router), the address of the router, or the URL of its UPnP description. By default it is searched for.
    type: str
  resolver:
    description: Addresses of the resolvers to find the authorities with; by default those in C(/etc/resolv.conf).
    type: list
    elements: str
  adopt:
    description: Take over records of the name that this host did not publish. O(state=absent) then puts them back.
    type: bool
    default: false
  leave_record:
    description: With O(state=absent), forget the record without taking it back, for instance because the provider is gone.
    type: bool
    default: false
  readback_timeout:
    description: For how many seconds to wait until every authority has the change.
    type: float
    default: 20
  state_dir:
    description: The directory where this collection keeps what it must remember.
    type: path
    default: /var/lib/homeserver
  run_id:
    description: The playbook run that this is a part of. While another run changes the host, nothing is done.
    type: str
    default: ""
seealso:
  - module: homeserver.hardening.dns_record_info
"""

EXAMPLES = r"""
- name: Publish the address of this host
  homeserver.hardening.ddns_record:
    name: home.example.net
    zone: example.net
    server: ns1.example.net
    tsig_name: ddns-home
    tsig_secret: "{{ vault_ddns_secret }}"
    address_source: router

- name: Keep a name at MyDNS.JP
  homeserver.hardening.ddns_record:
    name: home.example.net
    provider: mydns_jp
    username: mydns123456
    password: "{{ vault_mydns_password }}"
    address_source: router
    adopt: true

- name: Take it back
  homeserver.hardening.ddns_record:
    state: absent
"""

RETURN = r"""
result:
  description:
    - How it ended. V(ok), V(unchanged), V(lagging) (right at the provider, but not yet at every authority), V(no_address), V(not_public), V(config),
      V(retry), V(stop), V(unknown), V(foreign) or V(busy).
  returned: always
  type: str
  sample: ok
message:
  description: The explanation, for people.
  returned: always
  type: str
  sample: home.example.net. is A 203.0.113.45 now, at all 2 addresses of its authorities that this host can reach
name:
  description: The name in full.
  returned: always
  type: str
  sample: home.example.net.
before:
  description: The addresses by type that the provider's server had.
  returned: always
  type: dict
  sample: {"A": [], "AAAA": []}
after:
  description: The addresses by type that it has now, or would have in check mode.
  returned: always
  type: dict
  sample: {"A": ["203.0.113.45"], "AAAA": []}
authorities:
  description: What each authority said afterwards, as RV(homeserver.hardening.dns_record_info#module:servers). Empty if nothing had to be proved.
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
        - The values by type, sorted. Every type that was asked for has a list; an alias is shown as C(CNAME).
        - Empty if there is RV(authorities[].error).
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
left:
  description: Records that were left alone, because this host did not publish them, or because the provider removes none.
  returned: always
  type: list
  elements: dict
  contains:
    type:
      description: The type of the records.
      type: str
      returned: success
      sample: A
    records:
      description: Their values.
      type: list
      elements: str
      returned: success
      sample: [203.0.113.9]
second_writers:
  description: Other programs on this host whose settings name the same name, with RV(second_writers[].program) and RV(second_writers[].file).
  returned: always
  type: list
  elements: dict
  contains:
    program:
      description: V(ddclient) or V(inadyn).
      type: str
      sample: ddclient
    file:
      description: The file with its settings.
      type: str
      sample: /etc/ddclient.conf
stale_until:
  description: Until when a resolver somewhere may still serve what was there before, RFC 3339 in UTC, V(null) if nothing was replaced.
  returned: always
  type: str
  sample: "2026-01-01T04:25:00Z"
plan:
  description: The changes, each with RV(plan[].action), RV(plan[].kind), RV(plan[].name), RV(plan[].before), RV(plan[].after) and RV(plan[].reason).
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(remove).
      type: str
      sample: create
    kind:
      description: Always V(dns_record).
      type: str
      sample: dns_record
    name:
      description: The name and the type of the record.
      type: str
      sample: home.example.net. A
    before:
      description: The values and the TTL that are there.
      type: dict
      sample: null
    after:
      description: The values and the TTL that will be there.
      type: dict
      sample: {"values": ["203.0.113.45"], "ttl": 60}
    reason:
      description: Why.
      type: str
      sample: address from source router
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ddns._engine import Engine, forget
from ..module_utils._ddns._request import prepare
from ..module_utils._ddns._result import LAGGING, DdnsError, Outcome
from ..module_utils._dns._survey import rfc3339
from ..module_utils._state import StateDir, StateError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str"},
            "zone": {"type": "str"},
            "provider": {"type": "str", "default": "rfc2136"},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "url": {"type": "str"},
            "ca_file": {"type": "path"},
            "credentials_in_url": {"type": "bool", "default": False},
            "success_pattern": {"type": "str"},
            "stop_pattern": {"type": "str"},
            "retry_pattern": {"type": "str"},
            "server": {"type": "str"},
            "server_port": {"type": "int", "default": 53},
            "tsig_name": {"type": "str"},
            "tsig_algorithm": {"type": "str", "choices": ["hmac-sha256", "hmac-sha384", "hmac-sha512"], "default": "hmac-sha256"},
            "tsig_secret": {"type": "str", "no_log": True},
            "ttl": {"type": "int", "default": 60},
            "families": {"type": "list", "elements": "str", "choices": ["ipv4", "ipv6"], "default": ["ipv4"]},
            "address_source": {"type": "str", "choices": ["interface", "router", "command", "static"], "default": "interface"},
            "address_command": {"type": "list", "elements": "str"},
            "addresses": {"type": "list", "elements": "str"},
            "gateway": {"type": "str"},
            "resolver": {"type": "list", "elements": "str"},
            "adopt": {"type": "bool", "default": False},
            "leave_record": {"type": "bool", "default": False},
            "readback_timeout": {"type": "float", "default": 20},
            "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
            "run_id": {"type": "str", "default": ""},
        },
        required_if=[("state", "present", ("name",))],
        supports_check_mode=True,
    )
    present = module.params["state"] == "present"
    outcome = Outcome("unchanged", "", name=module.params["name"] or "")
    try:
        state = StateDir(module.params["state_dir"])
        leave = not present and module.params["leave_record"]
        prepared = None if leave else prepare(module.params, state)
        if leave:
            outcome = forget(state, apply=not module.check_mode)
        elif prepared is None:
            outcome.message = "this host publishes no name"
        else:
            engine = Engine(prepared[0], prepared[1], state, apply=not module.check_mode, now=True, run_id=module.params["run_id"])
            outcome = engine.present() if present else engine.absent()
    except DdnsError as error:
        outcome.result, outcome.message = error.result, str(error)
    except StateError as error:
        outcome.result, outcome.message = "config", str(error)
    result = outcome.as_data()
    for internal in ("exit_status", "record_changed", "ttl_before"):
        del result[internal]
    result["changed"] = outcome.changed
    result["stale_until"] = None if outcome.ttl_before is None else rfc3339(time.time() + outcome.ttl_before)
    if module._diff:
        result["diff"] = outcome.plan.diff()
    if not outcome.good and not (present and outcome.result == LAGGING):
        module.fail_json(msg=outcome.message, **result)
    if outcome.result == LAGGING or outcome.second_writers:
        module.warn(outcome.message)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
