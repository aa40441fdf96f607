# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's wiring, and what the role and it must agree on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.homeserver.hardening.plugins.module_utils._firewall import manage
from ansible_collections.homeserver.hardening.plugins.modules import firewall_policy

ROOT = Path(__file__).resolve().parents[4]


def test_the_role_guards_every_file_that_the_module_may_touch() -> None:
    variables = yaml.safe_load((ROOT / "roles/host_firewall/vars/main.yml").read_text())
    assert tuple(variables["__host_firewall_files"]) == manage.FILES


def test_documentation_and_spec_agree() -> None:
    options = yaml.safe_load(firewall_policy.DOCUMENTATION)["options"]
    spec = firewall_policy._argument_spec()
    assert options.keys() == spec.keys()

    def compare(documented: dict[str, Any], real: dict[str, Any]) -> None:
        for key in ("type", "elements", "choices", "default", "required"):
            assert documented.get(key) == real.get(key), (documented, key)
        assert documented.get("suboptions", {}).keys() == real.get("options", {}).keys()
        for name, sub in real.get("options", {}).items():
            compare(documented["suboptions"][name], sub)

    for name, real in spec.items():
        compare(options[name], real)


def test_examples_use_documentation_values_only() -> None:
    assert "0.0.0.0/0" not in firewall_policy.EXAMPLES


@pytest.mark.parametrize("state", ["present", "absent"])
def test_the_role_knows_the_same_options(state: str) -> None:
    specs = yaml.safe_load((ROOT / "roles/host_firewall/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert state in specs["host_firewall_state"]["choices"]
    module = firewall_policy._argument_spec()
    for name in ("services", "management"):
        role = specs[f"host_firewall_{name}"]["options"]
        assert role.keys() == module[name]["options"].keys()
        for key, option in role.items():
            for part in ("type", "elements", "choices", "default", "required"):
                assert option.get(part) == module[name]["options"][key].get(part), (name, key, part)
