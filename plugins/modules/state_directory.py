# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: state_directory
version_added: 0.1.0
author: homeserver.hardening contributors (@homeserver-hardening)
short_description: Create the state directory of this collection, or remove it once it is empty
description:
  - The directory holds what this collection must remember on a host. Only root may read it.
  - It is never removed while anything but the lock file is left in it, because that may be needed to take something back.
extends_documentation_fragment:
  - homeserver.hardening.attributes
options:
  state:
    description:
      - V(absent) removes the directory if nothing is left in it.
    type: str
    choices: [present, absent]
    default: present
  path:
    description: The directory, as an absolute path.
    type: path
    default: /var/lib/homeserver
"""

EXAMPLES = r"""
- name: Create the state directory
  homeserver.hardening.state_directory:

- name: Remove it, if nothing is left in it
  homeserver.hardening.state_directory:
    state: absent
"""

RETURN = r"""
left:
  description: The names of the files that keep the directory from being removed with O(state=absent).
  returned: always
  type: list
  elements: str
  sample: [ddns.json]
plan:
  description: The change, if any, with RV(plan[].action), RV(plan[].kind), RV(plan[].name), RV(plan[].before), RV(plan[].after) and RV(plan[].reason).
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(remove).
      type: str
      sample: create
    kind:
      description: Always V(directory).
      type: str
      sample: directory
    name:
      description: The path.
      type: str
      sample: /var/lib/homeserver
    before:
      description: Owner and mode.
      type: dict
      sample: null
    after:
      description: The same for what will be there.
      type: dict
      sample: {"owner": 0, "mode": "0700"}
    reason:
      description: Why.
      type: str
      sample: ""
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._state import StateDir, StateError
from ..module_utils._state_directory import apply, leftovers, make_plan


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "path": {"type": "path", "default": "/var/lib/homeserver"},
        },
        supports_check_mode=True,
    )
    result: dict[str, Any] = {"changed": False, "left": [], "plan": []}
    present = module.params["state"] == "present"
    try:
        state = StateDir(module.params["path"])
        if not present:
            result["left"] = leftovers(state.path)
        plan = make_plan(state.path, present)
        result.update(plan=plan.as_data(), changed=plan.changed)
        if module._diff:
            result["diff"] = plan.diff()
        if not module.check_mode:
            apply(plan, state, os.geteuid())
    except (StateError, OSError) as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
