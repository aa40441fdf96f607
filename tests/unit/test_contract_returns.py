# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules return is what their documentation says: by real calls, and by faults planted into documentation and results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.tests.unit.return_checks import check, compare, documented, read

pytestmark = pytest.mark.contract

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "plugins" / "modules"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("returns")
    env = {
        **os.environ,
        "HOMESERVER_RECORD": str(scratch / "record"),
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "recorder"),
        "ANSIBLE_CALLBACKS_ENABLED": "record_returns",
        "ANSIBLE_LOCAL_TEMP": str(scratch / "local"),
        "ANSIBLE_REMOTE_TEMP": str(scratch / "remote"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    playbook = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-e", f"scratch={scratch}", str(ROOT / "tests/unit/returns.yml")]
    # No network but loopback: a module that looks for a router must not find one of this machine's.
    alone = ["unshare", "-n", *([] if os.geteuid() == 0 else ["-r"]), "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    run = subprocess.run([*alone, *playbook], check=False, env=env, cwd=scratch, capture_output=True, text=True, timeout=170, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    yield read([scratch / "record"])
    shutil.rmtree(scratch, ignore_errors=True)


def test_every_module_is_called(recorded):
    assert {row["module"] for row in recorded} == {path.stem for path in MODULES.glob("*.py") if path.stem != "__init__"}


def test_what_modules_return_is_documented(recorded):
    assert "\n".join(check(MODULES, recorded, complete=False)) == ""


def test_every_return_value_is_described():
    def walk(spec, where):
        for key, how in spec.items():
            if not how.get("description") or not how.get("type"):
                yield f"{where}{key}"
            if how.get("type") == "list" and "elements" not in how:
                yield f"{where}{key}: elements"
            yield from walk(how.get("contains") or {}, f"{where}{key}.")

    assert [text for path in sorted(MODULES.glob("*.py")) for text in walk(documented(path), f"{path.stem}: ")] == []


SPEC = {
    "rows": {
        "type": "list",
        "elements": "dict",
        "returned": "always",
        "contains": {"port": {"type": "int"}, "name": {"type": "str"}, "error": {"type": "str", "returned": "when it failed"}},
    },
    "gateway": {"type": "dict", "returned": "when there is one", "contains": {"address": {"type": "str"}}},
    "counts": {"type": "dict", "returned": "always"},
}
RESULT = {"changed": False, "rows": [{"port": 80, "name": "http"}], "gateway": {"address": "192.0.2.1"}, "counts": {"open": 1}}


def test_sound_results_pass():
    assert compare(SPEC, RESULT) == []
    assert compare(SPEC, {**RESULT, "gateway": None, "invocation": {}, "_ansible_no_log": False}) == []
    assert compare(SPEC, {"failed": True, "msg": "no"}, failed=True) == []


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        ({**RESULT, "extra": 1}, "returns extra, which is not documented"),
        ({key: value for key, value in RESULT.items() if key != "counts"}, "documents counts as returned always"),
        ({**RESULT, "rows": [{"port": 80, "name": "x", "colour": "red"}]}, "returns rows[].colour"),
        ({**RESULT, "rows": [{"port": 80}]}, "documents rows[].name as returned always"),
        ({**RESULT, "rows": [{"port": "80", "name": "x"}]}, "returns rows[].port as str, documented is int"),
        ({**RESULT, "rows": [{"port": True, "name": "x"}]}, "returns rows[].port as bool, documented is int"),
        ({**RESULT, "rows": ["x"]}, "returns rows of str"),
        ({**RESULT, "gateway": {"address": "x", "kind": "y"}}, "returns gateway.kind"),
        ({**RESULT, "gateway": []}, "returns gateway as list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_planted_faults_are_found(result, complaint):
    assert any(complaint in text for text in compare(SPEC, result)), compare(SPEC, result)


def test_what_ansible_adds_about_a_file_is_not_ours():
    spec = {"path": {"type": "str", "returned": "always"}}
    assert compare(spec, {"path": "/x", "mode": "0644", "uid": 0}) == []
    assert compare({}, {"mode": "0644"}) == ["returns mode, which is not documented"]


def test_rows_without_documented_keys_are_found():
    assert "their keys are not documented" in compare({"rows": {"type": "list", "elements": "dict"}}, {"rows": [{"a": 1}]})[0]


def test_a_module_that_nobody_called_is_found(tmp_path):
    (tmp_path / "lamp_info.py").write_text("RETURN = '''\nwatts: {type: int, returned: always}\n'''\n", encoding="utf-8")
    assert check(tmp_path, []) == ["lamp_info: no result was recorded that did not fail"]
    assert check(tmp_path, [{"module": "lamp_info", "failed": False, "result": {"watts": 40}}]) == []
    assert "there is no such module" in check(tmp_path, [{"module": "lamp", "failed": False, "result": {}}], complete=False)[0]
