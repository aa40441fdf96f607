# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_mapping_service
version_added: 0.1.0
author: homeserver.hardening contributors (@homeserver-hardening)
short_description: Install the timer that renews port mappings, or remove it
description:
  - Installs a hardened service that runs C(homeserver-agent renew), and its timer, switches the timer on, runs the service once and waits for its result.
  - It renews what M(homeserver.hardening.port_mapping) has mapped with O(homeserver.hardening.port_mapping#module:renew=true), and nothing else. Where nothing
    is mapped, it sends nothing.
  - The agent must be there already, see M(homeserver.hardening.agent_bundle).
extends_documentation_fragment:
  - homeserver.hardening.attributes
options:
  state:
    description:
      - V(started) installs and runs it.
      - V(absent) removes it.
    type: str
    choices: [started, absent]
    default: started
  interval:
    description: How many seconds after the end of one run the next one starts. So long may a router that restarted be without the mappings.
    type: int
    default: 300
  state_dir:
    description: The directory where this collection keeps what it must remember.
    type: path
    default: /var/lib/homeserver
  run_id:
    description: The playbook run that this is a part of.
    type: str
    default: ""
seealso:
  - module: homeserver.hardening.port_mapping
  - module: homeserver.hardening.agent_bundle
"""

EXAMPLES = r"""
- name: Install the agent
  homeserver.hardening.agent_bundle:
    consumer: port_mapping

- name: Keep up what is mapped
  homeserver.hardening.port_mapping_service:
"""

RETURN = r"""
result:
  description:
    - How the run of the service ended, V(ok), V(unchanged), V(retry), V(foreign), V(config), V(busy) or V(unknown). V(null) if it was not run.
    - V(foreign) means that somebody else has the port of a mapping by now, and V(busy) that another playbook run holds the host.
  returned: always
  type: str
  sample: unchanged
message:
  description: The explanation, for people.
  returned: always
  type: str
  sample: 2 of 2 mappings held
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
      description: V(file) or V(unit).
      type: str
      sample: unit
    name:
      description: The path, or the name of the unit.
      type: str
      sample: homeserver-renew.timer
    before:
      description: Mode and content of a file, or the state of a unit.
      type: raw
      sample: null
    after:
      description: The same for what will be there.
      type: raw
      sample: {"enabled": true, "active": true}
    reason:
      description: Why.
      type: str
      sample: ""
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._portmap._renewal import BUSY, FOREIGN, OK, UNCHANGED
from ..module_utils._portmap._renewal_service import JOB, run_service
from ..module_utils._state import StateDir, StateError
from ..module_utils._timer import Installation, TimerError, unit_files

_GOOD = (OK, UNCHANGED, BUSY)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "absent"], "default": "started"},
            "interval": {"type": "int", "default": 300},
            "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
            "run_id": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    started = params["state"] == "started"
    result: dict[str, Any] = {"changed": False, "result": None, "message": "", "plan": []}
    try:
        job = Installation(JOB)
        files = unit_files(JOB, params["interval"], params["state_dir"]) if started else {}
        plan = job.plan_started(files) if started else job.plan_absent()
        result.update(plan=plan.as_data(), changed=plan.changed)
        if module._diff:
            result["diff"] = plan.diff()
        if not module.check_mode:
            if started:
                result["changed"] = False
                job.check(plan, files)
                result["changed"] = plan.changed
            job.apply(plan, files)
            if started and os.path.isdir("/run/systemd/system"):
                result["result"], result["message"] = run_service(params["run_id"], StateDir(params["state_dir"]), job)
                if result["result"] == FOREIGN:
                    module.warn(result["message"])
                elif result["result"] not in _GOOD:
                    module.fail_json(msg=result["message"], **result)
    except TimerError as error:
        result.update(result=error.result, message=str(error))
        module.fail_json(msg=str(error), **result)
    except (StateError, OSError) as error:
        result["message"] = str(error)
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
