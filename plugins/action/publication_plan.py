# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges the request and decides the paths; reads nothing itself and changes nothing."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..plugin_utils import _proof, _publication, _services, _texts

_ARGUMENTS = {
    "services": {"type": "raw", "required": True},
    "accept_risk": {"type": "raw", "default": []},
    "interfaces": {"type": "list", "elements": "dict"},
    "default_routes": {"type": "list", "elements": "dict", "default": []},
    "mapping": {"type": "dict", "default": {}},
    "line": {"type": "dict"},
    "peers": {"type": "list", "elements": "dict", "default": []},
    "vantages": {"type": "raw", "default": []},
    "on_problem": {"type": "str", "default": "fail", "choices": ["fail", "report"]},
    "adopt": {"type": "bool", "default": False},
    "require_proof": {"type": "bool", "default": False},
    "language": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        if not _services.HAS_NETADDR:
            raise AnsibleActionFail("the Python package netaddr is missing on the controller; run 'pip install netaddr' in Ansible's environment")
        try:
            language = _texts.choose_language(arguments["language"])
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        request = _services.read_services(arguments["services"])
        problems = list(request.problems)
        problems += _services.judge_acceptance(request.services, arguments["accept_risk"])
        accepted = arguments["accept_risk"] if isinstance(arguments["accept_risk"], list) else []
        problems += _services.judge_risks(request.services, _services.read_risks(_texts.load_data("risks.yml")), accepted, language)
        # Before anything was read, the vantages are what the user wrote; later they are readings, with that in them.
        problems += _proof.read_vantages(arguments["vantages"], given=arguments["interfaces"] is None)
        result.update(changed=False, plan=None, vantages=[], targets=[], problems=[problem.as_data() for problem in problems])
        if problems:
            return _fail(result, problems)
        if arguments["interfaces"] is None:
            return result
        readings = _publication.Readings(arguments["interfaces"], arguments["default_routes"], arguments["mapping"], arguments["line"])
        plan = _publication.plan_publication(request.services, readings, [_read_peer(peer) for peer in arguments["peers"]], arguments["adopt"])
        data = plan.as_data()
        name = str((task_vars or {}).get("inventory_hostname", ""))
        vantages = _proof.judge_vantages(arguments["vantages"], arguments["interfaces"], data["line"]["wan_address"], name)
        problems = plan.problems + _judge_vantages(vantages, request.services, arguments["require_proof"], _texts.Texts(language))
        # A report names the vantages that do not count by themselves; they make nothing impossible.
        against = problems if arguments["on_problem"] == "fail" else plan.problems
        data["problems"] = [problem.as_data() for problem in against]
        data["possible"] = data["possible"] and not against
        result.update(
            plan=data,
            problems=[problem.as_data() for problem in problems],
            vantages=vantages,
            targets=[
                {"host": vantage["host"], "targets": _proof.targets(data, vantage["families"]), "sources": vantage["sources"]}
                for vantage in vantages
                if vantage["valid"]
            ],
        )
        return _fail(result, problems) if problems and arguments["on_problem"] == "fail" else result


def _fail(result: dict[str, Any], problems: list[_services.Problem]) -> dict[str, Any]:
    lines = [str(problem) for problem in problems]
    result["failed"] = True
    result["msg"] = "Nothing was changed. " + (lines[0] if len(lines) == 1 else "\n".join(["Please correct:"] + [f"- {line}" for line in lines]))
    return result


def _read_peer(peer: dict[str, Any]) -> dict[str, Any]:
    return {"host": peer["host"], "wan_address": peer.get("wan_address"), "services": _services.read_services(peer.get("services") or []).services}


def _judge_vantages(
    vantages: list[dict[str, Any]], services: list[_services.Service], require_proof: bool, texts: _texts.Texts
) -> list[_services.Problem]:
    problems = [
        _services.Problem(
            f"vantage-{vantage['reason']}",
            f"publish_vantages: {vantage['host']}",
            texts.get(f"vantage.{vantage['reason']}", host=vantage["host"], error=vantage["error"]),
            "Name a host outside this home that Ansible can reach, or remove it",
        )
        for vantage in vantages
        if not vantage["valid"]
    ]
    if require_proof and not vantages and any(service.verify != "none" for service in services):
        problems.append(
            _services.Problem(
                "vantage-none",
                "publish_vantages: []",
                "publish_require_proof is true, but there is no host outside that could prove anything",
                "Name an inventory host outside this home, or set publish_require_proof: false and accept that nothing is proved",
            )
        )
    return problems
