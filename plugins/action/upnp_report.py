# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says what to look at from outside and from this host, and afterwards judges, prints the block and sets the fact."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..plugin_utils import _lockdown, _proof, _texts

_ARGUMENTS = {
    "state": {"type": "str", "default": "reported", "choices": ["planned", "reported"]},
    "mode": {"type": "str", "required": True, "choices": [_lockdown.DISABLED, _lockdown.GUARDED]},
    "before": {"type": "dict", "default": {}},
    "after": {"type": "dict", "default": {}},
    "ours": {"type": "dict", "default": {}},
    "router": {"type": "dict", "default": {}},
    "block": {"type": "dict", "default": {}},
    "silence": {"type": "dict", "default": {}},
    "outside": {"type": "dict", "default": {}},
    "probes": {"type": "dict", "default": {}},
    "inside": {"type": "dict", "default": {}},
    "vantages": {"type": "list", "elements": "dict", "default": []},
    "interfaces": {"type": "list", "elements": "dict", "default": []},
    "forwarded": {"type": "list", "elements": "dict", "default": []},
    "wan_address": {"type": "str", "default": ""},
    "language": {"type": "str", "default": ""},
}

display = Display()


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        host = (task_vars or {}).get("inventory_hostname", "host")
        before = arguments["before"]
        wan, doubt = _lockdown.outside_address(arguments["wan_address"], before)
        result.update(changed=False)
        if arguments["state"] == "planned":
            ports = _lockdown.former_ports(
                before.get("former") or (),
                arguments["after"].get("mappings") or (),
                arguments["router"].get("mappings") or (),
                arguments["forwarded"],
                arguments["mode"],
            )
            locations = _lockdown.locations(before)
            result.update(
                wan_address=wan,
                ports=ports,
                locations=list(locations),
                location_ports=sorted(set(locations.values())),
                outside=_lockdown.outside_targets(ports, wan),
                inside=_lockdown.inside_targets(ports),
            )
            return result
        try:
            texts = _lockdown.UpnpTexts(_texts.choose_language(arguments["language"]))
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        pending = self._task.check_mode and any(arguments[name].get("changed") for name in ("before", "ours", "router", "block"))
        seen = _lockdown.Seen(
            mode=arguments["mode"],
            before=before,
            after=arguments["after"],
            router=arguments["router"],
            block=arguments["block"],
            silence=arguments["silence"],
            outside=_by_vantage(arguments["outside"], "checks"),
            probes={name: row["probes"] for name, row in _by_vantage(arguments["probes"], "probes").items()},
            inside=arguments["inside"].get("probes") or (),
            vantages=_proof.judge_vantages(arguments["vantages"], arguments["interfaces"], wan or None, host),
            forwarded=arguments["forwarded"],
            pending=bool(pending),
            wan_doubt=doubt,
        )
        report = _lockdown.build_report(host, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), seen)
        block = _lockdown.render_block(report, texts)
        display.display("\n" + "\n".join(block))
        result.update(report=report, block=block, ansible_facts={"upnp_report": report})
        return result


def _by_vantage(registered: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the results of a loop over vantages by their names; one that failed has seen nothing."""
    return {row["item"]["host"]: row for row in registered.get("results") or () if key in row}
