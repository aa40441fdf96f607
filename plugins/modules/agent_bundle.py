# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_bundle
version_added: 0.1.0
author: homeserver.hardening contributors (@homeserver-hardening)
short_description: Install the agent that keeps things up between two playbook runs
description:
  - Packs the part of this collection that jobs on the host need into one Python archive, and installs it as C(/usr/local/lib/homeserver/agent-HASH.pyz),
    with the link C(agent.pyz) beside it and the command C(/usr/local/sbin/homeserver-agent).
  - The archive depends on nothing but the content of its files, so the same collection gives the same bytes everywhere, and a second run changes nothing.
    It needs Python 3.9 or later on the host, and nothing else.
  - The link is switched in one step. Archives of other versions are removed afterwards.
extends_documentation_fragment:
  - homeserver.hardening.attributes
attributes:
  action:
    description: The archive is built by an action plugin on the controller and transferred only if the host does not have it.
    support: full
options:
  state:
    description:
      - V(absent) removes the agent, unless another O(consumer) still needs it.
    type: str
    choices: [present, absent]
    default: present
  consumer:
    description: Who needs the agent. It stays until nobody does.
    type: str
    default: homeserver
  digest:
    description: The SHA-256 of the archive. Set by the action plugin.
    type: str
  src:
    description: Where the archive was transferred to. Set by the action plugin.
    type: path
seealso:
  - module: homeserver.hardening.ddns_record
"""

EXAMPLES = r"""
- name: Install the agent
  homeserver.hardening.agent_bundle:

- name: Remove it, if no role of this collection needs it any more
  homeserver.hardening.agent_bundle:
    state: absent
"""

RETURN = r"""
path:
  description: The path of the archive, V(null) with O(state=absent).
  returned: always
  type: str
  sample: /usr/local/lib/homeserver/agent-0123456789abcdef.pyz
sha256:
  description: The SHA-256 of the archive, V(null) with O(state=absent).
  returned: always
  type: str
  sample: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
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
      description: Always V(file).
      type: str
      sample: file
    name:
      description: The path.
      type: str
      sample: /usr/local/sbin/homeserver-agent
    before:
      description: Hash and mode, or the target of a link.
      type: dict
      sample: null
    after:
      description: The same for what will be there.
      type: dict
      sample: {"link": "agent-0123456789abcdef.pyz"}
    reason:
      description: Why.
      type: str
      sample: ""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._agent._install import CONSUMER, Installation, InstallError, Layout, bundle_name


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "consumer": {"type": "str", "default": "homeserver"},
            "digest": {"type": "str"},
            "src": {"type": "path"},
        },
        supports_check_mode=True,
    )
    present, digest, consumer = module.params["state"] == "present", module.params["digest"], module.params["consumer"]
    layout = Layout()
    result: dict[str, Any] = {"changed": False, "path": None, "sha256": None, "plan": []}
    if not CONSUMER.match(consumer):
        module.fail_json(msg=f"consumer is {consumer!r}: use a lower-case letter, then up to 30 of a-z, 0-9 and '_'", **result)
    if present and not digest:
        module.fail_json(msg="digest is missing: this module is called through its action plugin of the same name", **result)
    try:
        installation = Installation(layout)
        plan = installation.plan(installation.wanted(digest, consumer) if present else installation.without(consumer))
        result.update(changed=plan.changed, plan=plan.as_data())
        if present:
            result.update(path=layout.path(bundle_name(digest)), sha256=digest)
        if module._diff:
            result["diff"] = plan.diff()
        if plan.changed and not module.check_mode:
            if installation.needs_bundle(plan) and not module.params["src"]:
                # The action plugin transfers the archive and calls again.
                module.exit_json(needs_bundle=True, **result)
            data = b""
            if module.params["src"]:
                with open(module.params["src"], "rb") as stream:
                    data = stream.read()
            installation.apply(plan, data)
    except (InstallError, OSError) as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
