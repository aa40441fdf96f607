# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The promises hold for this repository, and each check finds what it is there for when it is planted into a small sound tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.tests.unit.contract_checks import CHECKS, contents, lab_names

pytestmark = pytest.mark.contract

ROOT = Path(__file__).resolve().parents[2]
HEADER = "".join(line + "\n" for line in Path(__file__).read_text(encoding="utf-8").splitlines()[:3])

SOUND = {
    "galaxy.yml": "version: 0.1.0\ntags: [networking]\n",
    "changelogs/changelog.yaml": "releases: {0.1.0: {}}\n",
    "README.md": "`lamp` `base_info` `shine` `bright`\n",
    "README.ja.md": "`lamp` `base_info` `shine` `bright`\n",
    "docs/light.md": "Light\n",
    "docs/light.ja.md": "光\n",
    "playbooks/shine.yml": "- name: Shine\n  hosts: all\n  roles: [homeserver.hardening.lamp]\n",
    "plugins/filter/bright.py": "DOCUMENTATION = '''\nname: bright\n'''\nfrom ansible.errors import AnsibleError\nfrom ..plugin_utils import _bulb\n",
    "plugins/plugin_utils/_bulb.py": """import yaml
try:
    from netaddr import IPAddress
except ImportError:
    IPAddress = None
from ..module_utils._wire import _copper
""",
    "plugins/modules/base_info.py": """from ansible.module_utils.basic import AnsibleModule
from ..module_utils._wire._copper import pull
from ..module_utils._plan import Plan
""",
    "plugins/module_utils/_plan.py": "import json\n",
    "plugins/module_utils/_wire/__init__.py": "",
    "plugins/module_utils/_wire/_copper.py": "import os.path\nfrom .._plan import Plan\n",
    "plugins/module_utils/_switch/__init__.py": "",
    "plugins/module_utils/_switch/_toggle.py": "from .._wire import _copper\n",
    "roles/lamp/defaults/main.yml": "lamp_state: present\nlamp_watts: 40\nlamp_dir: \"{{ homeserver_dir | default('/x') }}\"\n",
    "roles/lamp/meta/argument_specs.yml": """argument_specs:
  main:
    short_description: Light.
    version_added: 0.1.0
    options:
      lamp_state: {type: str, choices: [present, absent], default: present, description: State.}
      lamp_watts: {type: int, default: 40, description: Watts.}
      lamp_dir: {type: path, default: "{{ homeserver_dir | default('/x') }}", description: Where.}
""",
    "roles/lamp/README.md": "`lamp_state` `lamp_watts` `lamp_dir`\n",
    "roles/lamp/README.ja.md": "`lamp_state` `lamp_watts` `lamp_dir`\n",
    "roles/lamp/tasks/main.yml": "- name: Shine\n  ansible.builtin.debug:\n    msg: '{{ lamp_watts }}'\n  tags: [lamp]\n",
}
PUBLISH = {
    "roles/publish/defaults/main.yml": "publish_state: present\n",
    "roles/publish/meta/argument_specs.yml": """argument_specs:
  main:
    short_description: Publish.
    version_added: 0.1.0
    options:
      publish_state: {type: str, choices: [present, absent], default: present, description: State.}
""",
    "roles/publish/README.md": "`publish_state`\n",
    "roles/publish/README.ja.md": "`publish_state`\n",
    "roles/publish/tasks/main.yml": """- name: Light
  ansible.builtin.include_role:
    name: homeserver.hardening.lamp
  vars:
    lamp_watts: 60
""",
    "README.md": SOUND["README.md"] + "`publish`\n",
    "README.ja.md": SOUND["README.ja.md"] + "`publish`\n",
}
HERE = "ansible_collections.homeserver.hardening.plugins"
USES_LAMP = "- name: X\n  ansible.builtin.debug: {msg: '{{ lamp_watts }}'}\n"
SPECS_PATH = "roles/lamp/meta/argument_specs.yml"
SPECS = SOUND["roles/lamp/meta/argument_specs.yml"]


def build(root: Path, *layers: dict[str, str]) -> Path:
    for name, text in {key: value for layer in layers for key, value in layer.items()}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = f"<!--\n{HEADER}-->\n{text}"
        elif name != "changelogs/changelog.yaml" and text:
            text = HEADER + text
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("name", CHECKS)
def test_this_repository_keeps_its_promises(name):
    assert "\n".join(CHECKS[name](ROOT)) == ""


def test_the_repository_has_what_the_checks_look_at():
    """A check of nothing would pass."""
    found = contents(ROOT)
    assert {"publish", "diagnose", "homeserver", "host_firewall", "port_mapping", "ddns"} <= set(found["role"])
    assert {"publish_server", "unpublish_server", "verify", "diagnose", "status"} <= set(found["playbook"])
    assert len(found["module"]) >= 12
    assert {"address_class"} <= set(found["filter"])
    assert {"publishable_address"} <= set(found["test"])


@pytest.mark.parametrize("layers", [(SOUND,), (SOUND, PUBLISH)], ids=["sound", "with an orchestrator"])
@pytest.mark.parametrize("name", CHECKS)
def test_a_sound_tree_passes(tmp_path, name, layers):
    assert CHECKS[name](build(tmp_path, *layers)) == []


FAULTS = [
    # check, what the complaint says, the file that is wrong, its content
    ("role_inputs", "default 60 in its specification, 40", SPECS_PATH, SPECS.replace("default: 40", "default: 60")),
    ("role_inputs", "default '40' in its specification", SPECS_PATH, SPECS.replace("default: 40", "default: '40'")),
    ("role_inputs", "lamp_watts has no type", SPECS_PATH, SPECS.replace("type: int, ", "")),
    ("role_inputs", "is no bool", SPECS_PATH, SPECS.replace("type: int", "type: bool")),
    ("role_inputs", "no description", SPECS_PATH, SPECS.replace(", description: Watts.", "")),
    ("role_inputs", "in no entry point", "roles/lamp/defaults/main.yml", SOUND["roles/lamp/defaults/main.yml"] + "lamp_colour: red\n"),
    ("role_inputs", "is not in defaults", "roles/lamp/defaults/main.yml", "lamp_state: present\nlamp_watts: 40\n"),
    ("role_inputs", "none in its specification", SPECS_PATH, SPECS.replace("default: 40, ", "")),
    ("role_inputs", "is required, but has a default", SPECS_PATH, SPECS.replace("default: 40", "required: true")),
    ("role_inputs", "lamp_state with the choices", SPECS_PATH, SPECS.replace("choices: [present, absent], ", "")),
    ("role_inputs", "none of the choices", SPECS_PATH, SPECS.replace("[present, absent], default: present", "[on, absent], default: present")),
    ("role_inputs", "does not start with lamp_", SPECS_PATH, SPECS.replace("lamp_watts", "watts")),
    ("role_inputs", "is a list without elements", SPECS_PATH, SPECS.replace("type: int, default: 40", "type: list, default: []")),
    ("role_inputs", "no entry point main", SPECS_PATH, SPECS.replace("  main:", "  other:")),
    ("role_inputs", "short_description", SPECS_PATH, SPECS.replace("    short_description: Light.\n", "")),
    ("role_inputs", "version_added", SPECS_PATH, SPECS.replace("    version_added: 0.1.0\n", "")),
    ("role_inputs", "missing", "roles/dark/tasks/main.yml", "[]\n"),
    ("role_readmes", "README.md does not name `lamp_watts`", "roles/lamp/README.md", "`lamp_state` `lamp_dir` lamp_watts\n"),
    ("role_readmes", "README.ja.md does not name `lamp_dir`", "roles/lamp/README.ja.md", "`lamp_state` `lamp_watts`\n"),
    ("role_readmes", "README.md is missing", "roles/dark/tasks/main.yml", "[]\n"),
    ("arrows", "must not use plugins/plugin_utils", "plugins/modules/base_info.py", "from ..plugin_utils import _bulb\n"),
    ("arrows", "must not use plugins/modules", "plugins/module_utils/_wire/_copper.py", "from ...modules import base_info\n"),
    ("arrows", "is not for module_utils", "plugins/module_utils/_wire/_copper.py", "from ansible.module_utils.basic import AnsibleModule\n"),
    ("arrows", "is not for modules", "plugins/modules/base_info.py", "from ansible.errors import AnsibleError\n"),
    ("arrows", "only plugin_utils uses other packages", "plugins/module_utils/_wire/_copper.py", "import requests\n"),
    ("arrows", "only plugin_utils uses other packages", "plugins/modules/base_info.py", "try:\n    import requests\nexcept ImportError:\n    pass\n"),
    ("arrows", "only plugin_utils uses other packages", "plugins/plugin_utils/_bulb.py", "import netaddr\n"),
    ("arrows", "imports inside the core are relative", "plugins/module_utils/_plan.py", f"import {HERE}.module_utils._wire\n"),
    ("arrows", "must not use plugins/plugin_utils", "plugins/modules/base_info.py", f"from {HERE}.plugin_utils import _bulb\n"),
    ("arrows", "in a circle: _switch → _wire → _switch", "plugins/module_utils/_wire/_copper.py", "from .._switch import _toggle\n"),
    ("arrows", "so it uses none", "plugins/module_utils/_plan.py", "from ._wire import _copper\n"),
    ("arrows", "not foreseen", "plugins/lookup/x.py", "import os\n"),
    ("role_variables", "lamp_watts is a variable of the role lamp", "roles/dark/tasks/main.yml", USES_LAMP),
    ("role_variables", "lamp_watts is a variable of the role lamp", "roles/dark/templates/x.j2", "{% if lamp_watts > 3 %}\n"),
    ("role_variables", "lamp_watts is a variable of the role lamp", "roles/dark/defaults/main.yml", "dark_watts: '{{ lamp_watts }}'\n"),
    ("role_variables", "__lamp_bulb is internal", "roles/dark/vars/main.yml", "__dark_x: '{{ __lamp_bulb }}'\n"),
    (
        "role_variables",
        "put roles together; this includes lamp",
        "roles/dark/tasks/main.yml",
        "- name: X\n  block:\n    - name: Y\n      ansible.builtin.include_role: {name: homeserver.hardening.lamp}\n",
    ),
    ("names", "module Base-Info", "plugins/modules/Base-Info.py", "import os\n"),
    ("names", "role two__bars", "roles/two__bars/tasks/main.yml", "[]\n"),
    ("names", "playbook shine-on", "playbooks/shine-on.yml", "[]\n"),
    ("names", "tag lamp-on", "roles/lamp/tasks/main.yml", "- name: X\n  ansible.builtin.debug:\n  tags: [lamp-on]\n"),
    ("names", "galaxy.yml: tag net_work", "galaxy.yml", "version: 0.1.0\ntags: [net_work]\n"),
    ("names", "__main__.py: Galaxy's importer refuses", "plugins/module_utils/_wire/__main__.py", "import os\n"),
    ("readme", "does not name the playbook `dim`", "playbooks/dim.yml", "[]\n"),
    ("readme", "does not name the role `dark`", "roles/dark/tasks/main.yml", "[]\n"),
    ("readme", "does not name the module `extra`", "plugins/modules/extra.py", "import os\n"),
    ("readme", "does not name the filter `dull`", "plugins/filter/dull.yml", "DOCUMENTATION: {name: dull}\n"),
    ("languages", "light.ja.md has no English", "docs/x/light.ja.md", "x\n"),
    ("languages", "dark.md has no Japanese", "docs/dark.md", "x\n"),
    ("release", "galaxy.yml has the version 0.2.0", "galaxy.yml", "version: 0.2.0\ntags: []\n"),
]

LAB = {
    "tests/lab/labtool/topology.py": 'GROUPS = {"server": "homeserver", "internet": "vantages", "isp": "isps"}\nDNS = "9.9.9.9"\n',
    "tests/lab/labtool/render.py": 'RULES = "add table inet labrouter"\nUNIT = "etc/systemd/system/lab-stun.service"\n',
    "tests/lab/use.yml": "- hosts: internet\n  vars: {x: '{{ lab_seed }} 9.9.9.9'}\n",
    "extensions/molecule/lamp/verify.yml": "- hosts: server\n  vars: {x: '{{ lab_seed }}'}\n",
}
KNOWS_THE_LAB = [
    ("lab_seed is a variable of the lab", "roles/lamp/tasks/more.yml", "- name: '{{ lab_seed }}'\n"),
    ("lab_anything is a variable of the lab", "docs/light.md", "`lab_anything`\n"),
    ("labrouter is a thing in the lab", "plugins/module_utils/_plan.py", "TABLE = 'labrouter'\n"),
    ("lab-stun is a thing in the lab", "bench/run.py", "UNIT = 'lab-stun.service'\n"),
    ("hosts: server is a host of the lab", "playbooks/shine.yml", "- hosts: server\n"),
    ("delegate_to: internet is a host of the lab", "roles/lamp/tasks/more.yml", "- name: X\n  delegate_to: internet\n"),
    ("HOST == 'isp' is a host of the lab", "plugins/module_utils/_plan.py", "IS = HOST == 'isp'\n"),
    ("groups.isps is a group of the lab", "roles/lamp/tasks/more.yml", "- name: '{{ groups.isps }}'\n"),
    ("groups['vantages is a group of the lab", "playbooks/shine.yml", "- name: '{{ groups['vantages'] }}'\n"),
    ("9.9.9.9 is an address in the lab", "plugins/module_utils/_plan.py", "ASK = '9.9.9.9'\n"),
]


@pytest.mark.parametrize(("complaint", "name", "content"), KNOWS_THE_LAB, ids=[complaint for complaint, _name, _content in KNOWS_THE_LAB])
def test_what_knows_the_lab_is_found(tmp_path, complaint, name, content):
    assert CHECKS["lab"](build(tmp_path, SOUND, LAB)) == []
    assert f"{name}: {complaint}" in CHECKS["lab"](build(tmp_path, {name: content}))


def test_the_lab_has_names_that_can_be_looked_for():
    """And no address that could be: it has others in each run."""
    patterns, fixed = lab_names(ROOT)
    assert {"a variable of the lab", "a thing in the lab", "a host of the lab", "a group of the lab"} == set(patterns.values())
    assert any("labrouter" in pattern for pattern in patterns)
    assert fixed == set()


@pytest.mark.parametrize(("check", "complaint", "name", "content"), FAULTS, ids=[f"{check}: {complaint}" for check, complaint, _name, _content in FAULTS])
def test_a_planted_fault_is_found(tmp_path, check, complaint, name, content):
    root = build(tmp_path, SOUND, {name: content})
    complaints = CHECKS[check](root)
    assert any(complaint in text for text in complaints), complaints


def test_true_is_not_one(tmp_path):
    fault = {
        "roles/lamp/defaults/main.yml": SOUND["roles/lamp/defaults/main.yml"].replace("lamp_watts: 40", "lamp_watts: 1"),
        "roles/lamp/meta/argument_specs.yml": SPECS.replace("type: int, default: 40", "type: raw, default: true"),
    }
    assert "default True in its specification, 1 in" in CHECKS["role_inputs"](build(tmp_path, SOUND, fault))[0]


def test_an_orchestrator_hands_over_and_does_not_read(tmp_path):
    task = PUBLISH["roles/publish/tasks/main.yml"].replace("lamp_watts: 60", "lamp_watts: '{{ lamp_watts + 1 }}'")
    assert CHECKS["role_variables"](build(tmp_path, SOUND, PUBLISH, {"roles/publish/tasks/main.yml": task})) != []


@pytest.mark.parametrize("suffix", [".py", ".yml", ".j2", ".md", ""])
def test_a_missing_header_is_found(tmp_path, suffix):
    build(tmp_path, SOUND)
    (tmp_path / f"bare{suffix}").write_text("x\n", encoding="utf-8")
    assert CHECKS["headers"](tmp_path) == [f"bare{suffix} does not start with the licence header"]


def test_line_is_for_its_module_alone(tmp_path):
    line = {
        "plugins/module_utils/_line/__init__.py": "",
        "plugins/module_utils/_line/_read.py": "from .._probe import x\n",
        "plugins/module_utils/_probe/__init__.py": "",
        "plugins/modules/line_info.py": "from ..module_utils._line import _read\n",
    }
    check = CHECKS["arrows"]
    assert check(build(tmp_path / "sound", SOUND, line)) == []
    user = {"plugins/module_utils/_switch/_toggle.py": "from .._line import _read\n"}
    assert "_line is for its module" in check(build(tmp_path / "used", SOUND, line, user))[0]
    uses = {"plugins/module_utils/_line/_read.py": "from .._wire import _copper\n"}
    assert "_line uses" in check(build(tmp_path / "uses", SOUND, line, uses))[0]
    agent = {"plugins/module_utils/_agent/__init__.py": "", "plugins/module_utils/_wire/_copper.py": "from .._agent import x\n"}
    assert "nothing in the core uses the agent" in check(build(tmp_path / "agent", SOUND, agent))[0]
