# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..plugin_utils._bundle import build


class ActionModule(ActionBase):
    """Builds the archive here, asks the host what it has, and sends it only if it is not that."""

    TRANSFERS_FILES = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        for internal in ("digest", "src"):
            if internal in self._task.args:
                raise AnsibleActionFail(f"{internal} is set by the action plugin itself; leave it out")
        arguments = dict(self._task.args)
        try:
            bundle = build() if arguments.get("state", "present") == "present" else None
            if bundle is not None:
                arguments["digest"] = bundle.digest
            answer = self._call(arguments, task_vars)
            if bundle is not None and answer.pop("needs_bundle", False):
                directory = self._connection._shell.tmpdir or self._make_tmp_path()
                remote = self._connection._shell.join_path(directory, "agent.pyz")
                self._transfer_data(remote, bundle.data)
                self._fixup_perms2((directory, remote))
                answer = self._call({**arguments, "src": remote}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        # What only this plugin and its module have to say to each other is no part of the result.
        invocation = answer.get("invocation", {}).get("module_args")
        if isinstance(invocation, dict):
            invocation.pop("src", None)
        result.update(answer)
        return result

    def _call(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name="homeserver.hardening.agent_bundle", module_args=arguments, task_vars=task_vars)
        return answer
