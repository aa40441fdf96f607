# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_guard
short_description: Take back a change by itself unless it is confirmed over a new connection
version_added: 0.1.0
description:
  - A dead man's switch for changes that can lock people out. O(state=armed) saves nftables tables and files and starts a timer on the host.
    Unless O(state=confirmed) stops it in time, the host puts everything back by itself, with a small shell script that needs neither Ansible nor Python.
  - A guard survives a reboot. A host that boots while a guard is armed puts everything back before its network comes up.
  - A confirmation is refused unless it comes over an SSH connection that is provably newer than the change. An old connection says nothing.
    It lives on through connection tracking when the new rules admit no new one, and through a controller's C(ControlPersist).
  - After a confirmation or a rollback nothing of the guard remains.
extends_documentation_fragment:
  - homeserver.hardening.attributes
author:
  - homeserver.hardening contributors (@homeserver-hardening)
options:
  state:
    description:
      - V(armed) saves the state as it is now and starts to wait. A guard of the same name that is armed already belongs to a run that died;
        its change is taken back first, and RV(taken_back) says so.
      - V(confirmed) keeps the change and removes the guard. It fails if the guard is not waiting any more, because then the change is not there any more.
      - V(rolled_back) takes the change back now and waits until that is done. If no guard is armed, it only removes what a run that died left of one.
    type: str
    choices: [armed, confirmed, rolled_back]
    required: true
  name:
    description:
      - Which guard. Guards of different names do not know of each other, so let each protect things of its own.
    type: str
    default: default
  timeout:
    description:
      - How many seconds the host waits for the confirmation, from 5 to 3600. This is how long a mistake can last.
    type: int
    default: 30
  nft_tables:
    description:
      - The nftables tables to keep, each as family and name. A table that does not exist when the guard is armed will not exist after a rollback.
    type: list
    elements: str
    default: []
  files:
    description:
      - The files to keep, with content, mode and owner, or their absence. Symbolic links are kept as such, so that the enablement of a unit can be kept
        by naming its link. Units in C(/etc/systemd/system) that were not active are stopped before their files are put back.
    type: list
    elements: path
    default: []
  id:
    description:
      - With O(state=confirmed), refuse any guard but the one whose arming returned this RV(id).
    type: str
    default: ""
  new_connection:
    description:
      - With O(state=confirmed), whether this module must have come by an SSH connection that is newer than the change.
      - Use V(false) only where something else has tried a new connection, as with C(ansible_connection=local).
    type: bool
    default: true
  state_dir:
    description:
      - Where the saved state is kept on the host.
    type: path
    default: /var/lib/homeserver
requirements:
  - Debian with systemd and the program C(nft), and root.
notes:
  - To confirm over a connection of its own, give the task O(ignore:ansible_ssh_args) with C(-o ControlPath=none), and C(ansible_ssh_retries) of 0.
    The role P(homeserver.hardening.host_firewall#role) shows how.
  - In check mode nothing is armed, and V(confirmed) and V(rolled_back) only tell what they would do.
seealso:
  - module: homeserver.hardening.firewall_policy
"""

EXAMPLES = r"""
- name: Arm the guard
  homeserver.hardening.rollback_guard:
    state: armed
    timeout: 30
    nft_tables: [inet homeserver]
  register: guard

- name: Change the rules
  homeserver.hardening.firewall_policy:
    inbound: deny

- name: Confirm over a new connection
  homeserver.hardening.rollback_guard:
    state: confirmed
    id: "{{ guard.id }}"
  vars:
    ansible_ssh_args: -o ControlMaster=no -o ControlPath=none -o ConnectTimeout=5
    ansible_ssh_retries: 0

- name: Do not wait, take it back
  homeserver.hardening.rollback_guard:
    state: rolled_back
"""

RETURN = r"""
armed:
  description: Whether the guard is armed when the module ends.
  returned: always
  type: bool
  sample: true
id:
  description: What tells this guard from a later one. Empty if none was armed.
  returned: always
  type: str
  sample: 5f0c4f2c6f5a4f0b9d7f3c1e2a4b6d8f
deadline:
  description: When the host will take the change back, in UTC. V(null) if it is not going to.
  returned: always
  type: str
  sample: "2026-01-31T04:20:00Z"
taken_back:
  description: Whether a change was taken back, with V(rolled_back) the guarded one, with V(armed) that of a run that died.
  returned: always
  type: bool
  sample: false
plan:
  description: What there was to change.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: V(create) or V(remove).
      returned: always
      type: str
      sample: create
    kind:
      description: V(rollback_guard).
      returned: always
      type: str
      sample: rollback_guard
    name:
      description: The guard's name.
      returned: always
      type: str
      sample: default
    before:
      description: What is there. V(null) if nothing is.
      returned: always
      type: raw
      sample: null
    after:
      description: What will be there. V(null) if nothing will.
      returned: always
      type: raw
      sample: {"timeout": 30, "nft_tables": ["inet homeserver"], "files": []}
    reason:
      description: Why, if that is not obvious.
      returned: always
      type: str
      sample: confirmed
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.system import SystemProblem
from ansible_collections.homeserver.hardening.plugins.module_utils._guard.guard import Guard, GuardError, Protected
from ansible_collections.homeserver.hardening.plugins.module_utils._ownership import SERVICE_NAME
from ansible_collections.homeserver.hardening.plugins.module_utils._plan import CREATE, REMOVE, Change, Plan


def _argument_spec() -> dict[str, Any]:
    return {
        "state": {"type": "str", "choices": ["armed", "confirmed", "rolled_back"], "required": True},
        "name": {"type": "str", "default": "default"},
        "timeout": {"type": "int", "default": 30},
        "nft_tables": {"type": "list", "elements": "str", "default": []},
        "files": {"type": "list", "elements": "path", "default": []},
        "id": {"type": "str", "default": ""},
        "new_connection": {"type": "bool", "default": True},
        "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
    }


def _plan(guard: Guard, parameters: dict[str, Any], record: dict[str, Any] | None) -> Plan:
    plan = Plan()
    name, state = guard.name, parameters["state"]
    before = None if record is None else {"armed": record["armed"], "deadline": record["deadline"]}
    if before is not None:
        reasons = {"armed": "left by a run that died; its change is taken back first", "confirmed": "confirmed", "rolled_back": "rolled back"}
        plan.add(Change(REMOVE, "rollback_guard", name, before, None, reasons[state]))
    elif state == "rolled_back" and guard.left_over():
        plan.add(Change(REMOVE, "rollback_guard", name, {"armed": None, "deadline": None}, None, "left by a run that died; it is not armed"))
    if state == "armed":
        after = {"timeout": parameters["timeout"], "nft_tables": parameters["nft_tables"], "files": parameters["files"]}
        plan.add(Change(CREATE, "rollback_guard", name, None, after))
    return plan


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=_argument_spec(), supports_check_mode=True)
    parameters = module.params
    result: dict[str, Any] = {"changed": False, "armed": False, "id": "", "deadline": None, "taken_back": False, "plan": []}
    if not SERVICE_NAME.match(parameters["name"]):
        module.fail_json(msg=f"name {parameters['name']!r} is wrong; use a lower-case letter, then up to 30 of a-z, 0-9 and '-'", **result)
    if not 5 <= parameters["timeout"] <= 3600:
        module.fail_json(msg=f"timeout {parameters['timeout']} is out of range; write 5 to 3600 seconds", **result)
    try:
        guard = Guard(parameters["name"], parameters["state_dir"])
        record = guard.record()
        plan = _plan(guard, parameters, record)
        result.update(plan=plan.as_data(), diff=plan.diff(), changed=plan.changed)
        if not module.check_mode:
            if parameters["state"] == "confirmed":
                guard.confirm(parameters["new_connection"], parameters["id"])
            elif parameters["state"] == "rolled_back":
                result["taken_back"] = guard.roll_back()
                if guard.left_over():
                    guard.sweep()
            else:
                result["taken_back"] = guard.roll_back()
                record = guard.arm(parameters["timeout"], Protected(parameters["nft_tables"], parameters["files"]))
                result.update(id=record["id"], deadline=record["deadline"])
    except (GuardError, SystemProblem, OSError) as error:
        result.update(changed=False, armed=Guard(parameters["name"], parameters["state_dir"]).record() is not None)
        module.fail_json(msg=str(error), **result)
    result["armed"] = guard.record() is not None
    module.exit_json(**result)


if __name__ == "__main__":
    main()
