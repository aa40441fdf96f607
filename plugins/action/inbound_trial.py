# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens the way for a trial from outside and closes it again; what is asked and what it means is decided in _trial."""

from __future__ import annotations

import secrets
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..plugin_utils import _trial

_ARGUMENTS = {
    "state": {"type": "str", "required": True, "choices": ["started", "stopped"]},
    "plan": {"type": "dict", "required": True},
    "targets": {"type": "list", "elements": "dict", "default": []},
    "trial": {"type": "dict"},
    "probes": {"type": "raw"},
    "gateway": {"type": "str", "default": ""},
    "interface": {"type": "str", "default": ""},
    "state_dir": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 60},
}
_PREFIX = "homeserver.hardening."
#: The shortest lease that routers are asked for. It outlives the responder, whoever comes to stop both.
_SHORTEST_LEASE = 120
_DONE = ("present", "absent")


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(argument_spec=_ARGUMENTS, required_if=[("state", "stopped", ["trial"])])
        self._variables = task_vars
        self._router = {key: arguments[key] for key in ("gateway", "interface", "state_dir") if arguments[key]}
        self._warnings: list[str] = []
        result["changed"] = False
        result.update(self._start(arguments) if arguments["state"] == "started" else self._stop(arguments))
        if self._warnings:
            result["warnings"] = self._warnings
        return result

    # ---- start --------------------------------------------------------------------------------------------------------

    def _start(self, arguments: dict[str, Any]) -> dict[str, Any]:
        paths = _trial.make_paths(arguments["plan"])
        reason = _trial.CHECK_MODE if self._task.check_mode else "" if paths else _trial.NOTHING_PLANNED
        if not reason and not arguments["targets"]:
            reason = _trial.NO_VANTAGE
        sources = {str(row["host"]): list(row.get("sources") or ()) for row in arguments["targets"]}
        trial: dict[str, Any] = {"id": None, "paths": _trial.as_data(paths), "vantages": sources, "untested": reason, "why": "", "left": []}
        if reason:
            return {"trial": trial, "nonce": None, "targets": [], "reason": reason}
        # One that a killed run left would answer with a nonce that nobody knows any more.
        self._call("probe_responder", {"state": "stopped"})
        router = None
        if any(path.path == "port_mapping" for path in paths):
            leftovers, router = _trial.split_leftovers(self._call("port_mapping_info", self._router))
            self._unmap(leftovers)
        paths = _trial.set_up(paths, router, arguments["plan"].get("line"), secrets.choice)
        responder: dict[str, Any] = {}
        targets: list[dict[str, Any]] = []
        names = [row["name"] for row in _trial.mappings(paths, 0)]
        try:
            paths = self._map(paths, max(_SHORTEST_LEASE, arguments["timeout"] + 60))
            # Of what was refused something may have been made all the same.
            made = {row["name"] for row in _trial.mappings(paths, 0)}
            trial["left"] = self._unmap([name for name in names if name not in made])
            targets = _trial.targets(paths, arguments["targets"])
            if targets:
                responder = self._call(
                    "probe_responder",
                    {
                        "state": "started",
                        "listeners": _trial.listeners(paths),
                        "sources": sorted({source for rows in sources.values() for source in rows}),
                        "timeout": arguments["timeout"],
                    },
                )
        except BaseException:
            self._unmap(names)
            raise
        if responder.get("failed"):
            # Nobody would answer with the nonce, so that the silence would say nothing.
            targets, reason = [], _trial.NO_RESPONDER
            trial.update(untested=reason, why=str(responder.get("msg") or ""))
        elif not targets:
            reason = _trial.MAPPING_REFUSED
        if not targets:
            # A control without anything to compare it with.
            trial["left"] = self._unmap(names)
        trial.update(id=responder.get("id"), paths=_trial.as_data(paths))
        return {"trial": trial, "nonce": responder.get("nonce"), "targets": targets, "reason": reason}

    def _map(self, paths: list[_trial.Path], lease: int) -> list[_trial.Path]:
        """Have the router forward what it will. One that it refuses must not keep the others from being tried."""
        while wanted := _trial.mappings(paths, lease):
            answer = self._call("port_mapping", {**self._router, "state": "present", "mappings": wanted, "renew": False})
            if not answer.get("failed"):
                break
            message = str(answer.get("msg") or "the router refused it")
            names = {row["name"] for row in wanted}
            refused = {
                row["name"]: str(row.get("error") or message)
                for row in answer.get("mappings") or ()
                if row.get("name") in names and (row.get("error") or row.get("state") not in _DONE)
            }
            paths = _trial.refuse(paths, refused or dict.fromkeys(names, message))
        return paths

    # ---- stop ---------------------------------------------------------------------------------------------------------

    def _stop(self, arguments: dict[str, Any]) -> dict[str, Any]:
        trial = arguments["trial"]
        try:
            paths = _trial.from_data(trial["paths"])
            vantages, identity, untested, why = dict(trial["vantages"]), trial["id"], str(trial["untested"]), str(trial["why"])
            names = list(dict.fromkeys([row["name"] for row in _trial.mappings(paths, 0)] + list(trial["left"])))
        except (KeyError, TypeError, ValueError) as error:
            raise AnsibleActionFail(f"trial is not what the start has returned ({error}): hand back its return value trial unchanged") from error
        seen: dict[str, Any] = {}
        try:
            if identity:
                seen = self._call("probe_responder", {"state": "stopped", "id": identity})
                if seen.get("failed"):
                    self._warnings.append(f"The responder could not be stopped and ends by itself: {seen.get('msg')}")
        finally:
            left = self._unmap(names)
        wan_address = (arguments["plan"].get("line") or {}).get("wan_address")
        rows = _trial.judge(paths, vantages, _trial.by_vantage(arguments["probes"]), seen, wan_address, untested, why)
        return {"inbound": rows, "left": left}

    def _unmap(self, names: list[str]) -> list[str]:
        """Take mappings back; return the names of those that may still be there."""
        if not names:
            return []
        answer = self._call("port_mapping", {**self._router, "state": "absent", "mappings": [{"name": name} for name in names]})
        self._warnings.extend(str(text) for text in answer.get("warnings") or ())
        # A router that does not answer is no failure of that module, and says nothing of what it forwards.
        rows = (answer.get("mappings") or ()) if answer.get("gateway") else ()
        gone = {row["name"] for row in rows if row.get("state") == "absent"}
        left = [name for name in names if name not in gone]
        if answer.get("failed"):
            self._warnings.append(
                f"The router may still forward {', '.join(left) or 'what the trial needed'} until the lease ends in {_SHORTEST_LEASE} seconds or a"
                f" little more: {answer.get('msg')}"
            )
        return left

    def _call(self, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=_PREFIX + module, module_args=arguments, task_vars=self._variables)
        return answer
