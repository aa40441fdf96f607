# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints the block and writes report.json."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..plugin_utils import _report, _texts

_ARGUMENTS = {
    "kind": {"type": "str", "required": True, "choices": ["publish", "unpublish", "verify", "status", "diagnose"]},
    "plan": {"type": "dict"},
    "proof": {"type": "dict"},
    "closed": {"type": "list", "elements": "dict", "default": []},
    "name": {"type": "dict"},
    "changes": {"type": "dict", "default": {}},
    "journal": {"type": "dict"},
    "outcome": {"type": "str", "default": "done", "choices": ["done", "check_mode", "impossible", "failed", "failed_restored", "failed_both"]},
    "reason": {"type": "str", "default": ""},
    "untested": {"type": "str", "default": ""},
    "todo": {"type": "list", "elements": "dict", "default": []},
    "vantages": {"type": "list", "elements": "dict", "default": []},
    "mappings": {"type": "list", "elements": "dict", "default": []},
    "inbound": {"type": "list", "elements": "dict", "default": []},
    "language": {"type": "str", "default": ""},
    "dest": {"type": "path", "default": ""},
}

display = Display()


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        try:
            texts = _texts.Texts(_texts.choose_language(arguments.pop("language")))
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        dest = arguments.pop("dest")
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        report = _report.build_report(host=(task_vars or {}).get("inventory_hostname", "host"), time=now, **arguments)
        block = _report.render_block(report, texts)
        display.display("\n" + "\n".join(block))
        # A report is evidence of this run, not a state of the host: writing it never counts as a change.
        result.update(changed=False, report=report, block=block, path=None)
        if dest and not self._task.check_mode:
            result["path"] = _write(Path(dest) / report["host"] / "report.json", report)
        return result


def _write(path: Path, report: dict[str, Any]) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(prefix=".report.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(report, stream, indent=2, sort_keys=True, ensure_ascii=False)
                stream.write("\n")
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise AnsibleActionFail(f"{path} cannot be written: {error.strerror}; set homeserver_report_dir to a directory of yours, or to '' for none") from error
    return str(path)
