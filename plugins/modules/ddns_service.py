# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ddns_service
version_added: 0.1.0
author: homeserver.hardening contributors (@homeserver-hardening)
short_description: Install the timer that keeps a name right, or remove it
description:
  - Writes the settings to C(/etc/homeserver/ddns.json), the secret to C(ddns-tsig) or C(ddns-password) in C(/etc/homeserver/credentials) (root, mode 0600),
    a hardened service and its timer, switches the timer on, runs the service once and waits for its result.
  - The secret reaches the service through systemd's C(LoadCredential). It is in no unit file, no argument, and no diff.
  - The agent must be there already, see M(homeserver.hardening.agent_bundle).
extends_documentation_fragment:
  - homeserver.hardening.attributes
options:
  state:
    description:
      - V(started) installs and runs it.
      - V(stopped) removes the units; settings and secret stay, so that M(homeserver.hardening.ddns_record) can take the record back.
      - V(absent) removes everything.
    type: str
    choices: [started, stopped, absent]
    default: started
  settings:
    description:
      - What to publish, with the options of M(homeserver.hardening.ddns_record) as keys, without the secret. Required with O(state=started).
      - Keys without a value are left out.
    type: dict
  tsig_secret:
    description: The secret in Base64. Required with O(state=started) if the provider in O(settings) is V(rfc2136), which it is by default.
    type: str
  password:
    description: The password, key or token. Required with O(state=started) if the provider is another one.
    type: str
  interval:
    description: How many seconds after the end of one run the next one starts.
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
  - module: homeserver.hardening.ddns_record
  - module: homeserver.hardening.agent_bundle
"""

EXAMPLES = r"""
- name: Keep the name right
  homeserver.hardening.ddns_service:
    settings:
      name: home.example.net
      zone: example.net
      server: ns1.example.net
      tsig_name: ddns-home
      families: [ipv4]
      address_source: router
    tsig_secret: "{{ vault_ddns_secret }}"
"""

RETURN = r"""
result:
  description: How the run of the service ended, as RV(homeserver.hardening.ddns_record#module:result). V(null) if it was not run.
  returned: always
  type: str
  sample: unchanged
message:
  description: The explanation, for people.
  returned: always
  type: str
  sample: home.example.net. is A 203.0.113.45 already
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
      sample: homeserver-ddns.timer
    before:
      description: Mode and content of a file, without the secret, or the state of a unit.
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

from ..module_utils._ddns._request import secret_of
from ..module_utils._ddns._result import LAGGING, DdnsError
from ..module_utils._ddns._service import Paths, installation, wanted_files
from ..module_utils._ddns._trial import run_service
from ..module_utils._state import StateDir, StateError
from ..module_utils._timer import TimerError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
            "settings": {"type": "dict"},
            "tsig_secret": {"type": "str", "no_log": True},
            "password": {"type": "str", "no_log": True},
            "interval": {"type": "int", "default": 300},
            "state_dir": {"type": "path", "default": "/var/lib/homeserver"},
            "run_id": {"type": "str", "default": ""},
        },
        required_if=[("state", "started", ("settings",))],
        supports_check_mode=True,
    )
    params, paths = module.params, Paths()
    result: dict[str, Any] = {"changed": False, "result": None, "message": "", "plan": []}
    try:
        job = installation(paths)
        if params["state"] == "started":
            settings = {key: value for key, value in params["settings"].items() if value not in (None, "", [])}
            files = wanted_files(settings, secret_of(settings.get("provider", "rfc2136"), params), params["interval"], params["state_dir"], paths)
            plan = job.plan_started(files)
        else:
            files = {}
            plan = job.plan_stopped() if params["state"] == "stopped" else job.plan_absent()
        result.update(plan=plan.as_data(), changed=plan.changed)
        if module._diff:
            result["diff"] = plan.diff()
        if not module.check_mode:
            if params["state"] == "started":
                result["changed"] = False
                job.check(plan, files)
                result["changed"] = plan.changed
            job.apply(plan, files)
            if params["state"] == "started" and os.path.isdir("/run/systemd/system"):
                outcome = run_service(params["run_id"], StateDir(params["state_dir"]), job)
                result.update(result=outcome.result, message=outcome.message)
                if not outcome.good and outcome.result != LAGGING:
                    module.fail_json(msg=outcome.message, **result)
    except (DdnsError, TimerError) as error:
        result.update(result=error.result, message=str(error))
        module.fail_json(msg=str(error), **result)
    except (StateError, OSError) as error:
        result["message"] = str(error)
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
