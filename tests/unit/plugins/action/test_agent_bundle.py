# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.homeserver.hardening.plugins.action.agent_bundle import ActionModule
from ansible_collections.homeserver.hardening.plugins.plugin_utils._bundle import build


def make(arguments: dict[str, Any], answers: list[dict[str, Any]]) -> tuple[ActionModule, list[dict[str, Any]], dict[str, bytes]]:
    """The action, what it calls the module with, and what it sends."""
    task = MagicMock(args=arguments, async_val=0, check_mode=False)
    connection = MagicMock()
    connection._shell.tmpdir = "/tmp/remote"
    connection._shell.join_path = lambda *parts: "/".join(parts)
    action = ActionModule(task, connection, MagicMock(), MagicMock(), MagicMock(), None)
    calls: list[dict[str, Any]] = []
    sent: dict[str, bytes] = {}
    left = list(answers)

    def execute(module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert module_name == "homeserver.hardening.agent_bundle"
        calls.append(dict(module_args))
        return left.pop(0)

    action._execute_module = execute
    action._transfer_data = lambda path, data: sent.update({path: data})
    action._fixup_perms2 = MagicMock()
    action._remove_tmp_path = MagicMock()
    return action, calls, sent


def test_host_that_has_it_gets_nothing() -> None:
    action, calls, sent = make({}, [{"changed": False, "path": "x"}])
    assert action.run(task_vars={})["changed"] is False
    assert [call["digest"] for call in calls] == [build().digest]
    assert sent == {}


def test_host_that_lacks_it_gets_it_once() -> None:
    answers = [{"changed": True, "needs_bundle": True}, {"changed": True, "invocation": {"module_args": {"src": "/tmp/remote/agent.pyz"}}}]
    action, calls, sent = make({"consumer": "ddns"}, answers)
    result = action.run(task_vars={})
    assert result["changed"] is True
    assert "needs_bundle" not in result
    assert result["invocation"] == {"module_args": {}}
    assert sent == {"/tmp/remote/agent.pyz": build().data}
    assert calls[1] == {"consumer": "ddns", "digest": build().digest, "src": "/tmp/remote/agent.pyz"}
    action._remove_tmp_path.assert_called_once()


def test_removal_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.homeserver.hardening.plugins.action.agent_bundle.build", MagicMock(side_effect=AssertionError))
    action, calls, _sent = make({"state": "absent"}, [{"changed": True}])
    action.run(task_vars={})
    assert calls == [{"state": "absent"}]


@pytest.mark.parametrize("name", ["src", "digest"])
def test_what_the_action_sets_cannot_be_given(name: str) -> None:
    action, _calls, _sent = make({name: "x"}, [])
    with pytest.raises(AnsibleActionFail, match=name):
        action.run(task_vars={})
