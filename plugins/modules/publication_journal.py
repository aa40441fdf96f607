# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: publication_journal
short_description: Write down what a publication changes, before and after it does
version_added: 0.1.0
description:
  - Keeps the record that makes a publication undoable in the state directory of the managed host.
  - V(pending) takes the host for this run and writes what is going to be done, synchronously, before anything is done.
    V(committed) writes that it is done and lets the host go. A run that was killed in between leaves its pending record,
    and the next run, in either direction, knows everything that may exist.
  - While a run holds the host, the jobs of this collection on the host change nothing, and a run of another controller is refused.
    A run of the same controller whose process has ended is known to be dead and is taken over.
author:
  - homeserver.hardening contributors (@homeserver-hardening)
extends_documentation_fragment:
  - homeserver.hardening.attributes
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
options:
  state:
    description:
      - V(status) reads.
      - V(pending) begins a run that leads to O(publication).
      - V(committed) ends it. Without O(publication) nothing is published any more, and the journal is removed.
      - V(released) lets the host go and leaves the pending record, for a run that did only a part.
    type: str
    choices: [status, pending, committed, released]
    required: true
  publication:
    description:
      - What is published when the run is over, as C(homeserver.hardening.publication_plan) returns it. Leave out for nothing.
    type: dict
  proof:
    description:
      - What the vantages saw. Kept as evidence; recording it does not count as a change.
    type: dict
  originals:
    description:
      - Foreign things as they are before this run changes them, by name.
    type: dict
    default: {}
  observation:
    description:
      - What was seen of the line now, as RV(homeserver.hardening.line_info#module:line.observation).
      - V(committed) and V(released) append it to the history of the line's addresses, unless nothing is published. Recording it does not count as a change.
    type: dict
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
  state_dir:
    description:
      - The state directory.
    type: path
    default: /var/lib/homeserver
  run_id:
    description:
      - Set by the action plugin. Unique per run.
    type: str
  controller:
    description:
      - Set by the action plugin. Which machine Ansible runs on.
    type: str
  pid:
    description:
      - Set by the action plugin. The process of the run there.
    type: int
  pid_started:
    description:
      - Set by the action plugin. When that process started, as its kernel counts.
    type: int
  break_run:
    description:
      - Set by the action plugin. A run that is known to be dead.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: See what is published
  homeserver.hardening.publication_journal:
    state: status
  become: true
  register: journal

- name: Begin
  homeserver.hardening.publication_journal:
    state: pending
    publication: "{{ plan.plan }}"
  become: true
"""

RETURN = r"""
committed:
  description: The record of the last run that was completed, V(none) if nothing is published.
  type: dict
  returned: always
  contains:
    publication:
      description: What is published, as it was planned.
      type: dict
    since:
      description: Since when, RFC 3339 in UTC.
      type: str
    originals:
      description: Foreign things as they were before.
      type: dict
  sample: {publication: {services: []}, since: "2026-11-24T04:20:00Z", originals: {}}
pending:
  description: The record of a run that has begun and is not completed, V(none) if there is none.
  type: dict
  returned: always
  contains:
    publication:
      description: What shall be published, V(none) for nothing.
      type: dict
    after:
      description: What was published before.
      type: dict
    interrupted:
      description: What earlier runs that never ended were about, V(none) if there were none.
      type: dict
    originals:
      description: Foreign things as they were before.
      type: dict
    since:
      description: Since when, RFC 3339 in UTC.
      type: str
    run_id:
      description: Which run.
      type: str
  sample: null
proof:
  description: The last proof from outside, V(none) if there was none.
  type: dict
  returned: always
  contains:
    proof:
      description: What the vantages saw.
      type: dict
    time:
      description: When, RFC 3339 in UTC.
      type: str
  sample: null
holder:
  description: The run that holds the host now, V(none) if none does.
  type: dict
  returned: always
  contains:
    run_id:
      description: Which run.
      type: str
    controller:
      description: Where it was started.
      type: str
    pid:
      description: Its process there.
      type: int
    pid_started:
      description: When that process was started, in ticks since that machine's boot.
      type: int
    started:
      description: Since when, in seconds since 1970.
      type: float
    expires:
      description: Until when without another sign of life, in seconds since 1970.
      type: float
  sample: null
history:
  description:
    - Which addresses the line had, oldest first, for O(homeserver.hardening.line_info#module:observed).
    - It is in the state directory, which only root can read; so it is handed on here. It is removed with the last thing that is published.
  type: list
  elements: dict
  returned: always
  contains:
    time:
      description: When it was seen, RFC 3339.
      type: str
      sample: "2026-11-24T04:20:00Z"
    ipv4:
      description: The line's global IPv4 address, V(none) if it was not known.
      type: str
      sample: 192.0.2.1
    ipv6_prefix:
      description: The prefix of the host's IPv6 address, V(none) if it was not known.
      type: str
      sample: 2001:db8:1:1::/64
  sample: []
services:
  description: Every service that may be published now, by the committed record, the pending one, or those of interrupted runs.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The service.
      type: str
      sample: http
    protocol:
      description: V(tcp) or V(udp).
      type: str
      sample: tcp
      returned: when the publication says so
    port:
      description: The port on this host.
      type: int
      sample: 443
      returned: when the publication says so
    external_port:
      description: The port on the Internet side.
      type: int
      sample: 8443
      returned: when the publication says so
    families:
      description: As in RV(homeserver.hardening.publication_plan#module:plan.services[].families).
      type: dict
      returned: when the publication says so
    allow_from:
      description: From where it is admitted, empty for the whole Internet.
      type: list
      elements: str
      returned: when the publication says so
    path:
      description: The path that was asked for.
      type: str
      sample: auto
      returned: when the publication says so
    verify:
      description: How it shall be proved.
      type: str
      sample: nonce
      returned: when the publication says so
  sample: []
names:
  description: Every DNS name that may be published now, by the same records.
  type: list
  elements: str
  returned: always
  sample: [home.example.org]
run_id:
  description: The run that called.
  type: str
  returned: when O(state) is not V(status)
  sample: 4b7f0a52
plan:
  description: What changes in the journal.
  type: list
  elements: dict
  returned: always
  contains:
    action:
      description: V(create), V(update) or V(remove).
      type: str
      sample: create
    kind:
      description: Always V(journal).
      type: str
      sample: journal
    name:
      description: The file in the state directory.
      type: str
      sample: pending.json
    before:
      description: The record before, V(none) if there was none.
      type: raw
    after:
      description: The record after, V(none) if there is none.
      type: raw
    reason:
      description: Why.
      type: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._journal import Journal, JournalError, Run, RunHeld, known_names, known_services
from ..module_utils._plan import Plan
from ..module_utils._state import StateDir, StateError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["status", "pending", "committed", "released"], "required": True},
            "publication": {"type": "dict"},
            "proof": {"type": "dict"},
            "originals": {"type": "dict", "default": {}},
            "observation": {"type": "dict", "options": {"time": {"type": "str", "required": True}, "ipv4": {"type": "str"}, "ipv6_prefix": {"type": "str"}}},
            "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
            "run_id": {"type": "str"},
            "controller": {"type": "str"},
            "pid": {"type": "int"},
            "pid_started": {"type": "int"},
            "break_run": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    state = module.params["state"]
    result: dict = {}
    try:
        journal = Journal(StateDir(module.params["state_dir"]))
        plan = Plan()
        if state != "status":
            if not module.params["run_id"]:
                module.fail_json(msg="run_id is missing: this module is called through its action plugin of the same name")
            run = Run(module.params["run_id"], module.params["controller"] or "", module.params["pid"] or 0, module.params["pid_started"] or 0)
            result["run_id"] = run.run_id
            plan = _run(module, journal, run, state)
        result.update(journal.status(), plan=plan.as_data(), changed=plan.changed)
        result["services"] = known_services(result)
        result["names"] = known_names(result)
        if plan.changed:
            result["diff"] = plan.diff()
    except RunHeld as error:
        module.fail_json(msg=str(error), holder=error.holder, **result)
    except (JournalError, StateError) as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


def _run(module: AnsibleModule, journal: Journal, run: Run, state: str) -> Plan:
    publication = module.params["publication"]
    if state == "pending":
        if module.check_mode:
            return journal.plan_pending(publication)
        return journal.begin(run, publication, module.params["originals"], module.params["break_run"])
    if state == "committed":
        if module.check_mode:
            return journal.plan_commit(publication)
        return journal.commit(run, publication, module.params["proof"], module.params["observation"])
    if not module.check_mode:
        journal.release(run, module.params["observation"])
    return Plan()


if __name__ == "__main__":
    main()
