# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils import _ownership, _plan


def test_equal_states_need_no_change():
    assert _plan.compare("x", "a", {"p": 1}, {"p": 1}) is None
    assert not _plan.compare_all("x", {"a": 1}, {"a": 1}).changed


def test_removals_come_first_then_the_rest_in_the_order_asked_for():
    plan = _plan.compare_all("rule", {"old": 1, "same": 2, "other": 3}, {"new": 4, "same": 2, "other": 5})
    assert [(change.action, change.name) for change in plan.changes] == [("remove", "old"), ("create", "new"), ("update", "other")]


def test_the_diff_shows_each_side_where_it_exists():
    diff = _plan.compare_all("rule", {"old": "drop"}, {"new": {"b": 1, "a": "ä"}}).diff()
    assert diff["before"] == "rule old\n  drop\n"
    assert diff["after"] == 'rule new\n  {\n    "a": "ä",\n    "b": 1\n  }\n'


@pytest.mark.parametrize(("action", "before", "after"), [("create", 1, 2), ("remove", 1, 2), ("update", None, 2), ("create", None, None), ("move", 1, 2)])
def test_a_change_that_contradicts_itself_is_refused(action, before, after):
    with pytest.raises(ValueError):
        _plan.Change(action, "x", "a", before, after)


def test_the_host_id_is_stable_and_not_the_machine_id(tmp_path):
    path = tmp_path / "machine-id"
    path.write_text("0123456789abcdef0123456789abcdef\n", encoding="ascii")
    host_id = _ownership.host_id(str(path))
    assert host_id == _ownership.host_id(str(path))
    assert len(host_id) == 8
    assert host_id not in path.read_text(encoding="ascii")


@pytest.mark.parametrize("content", ["", "uninitialized", "xyz"])
def test_without_a_machine_id_there_is_no_host_id(tmp_path, content):
    path = tmp_path / "machine-id"
    path.write_text(content, encoding="ascii")
    with pytest.raises(_ownership.OwnershipError, match="systemd-machine-id-setup"):
        _ownership.host_id(str(path))
    with pytest.raises(_ownership.OwnershipError, match="cannot be read"):
        _ownership.host_id(str(tmp_path / "none"))


def test_a_tag_goes_there_and_back():
    tag = _ownership.make_tag("0a1b2c3d", "https")
    assert tag == "hs:0a1b2c3d:https"
    assert _ownership.parse_tag(f" {tag} ") == _ownership.Tag("0a1b2c3d", "https")
    assert len(_ownership.make_tag("0a1b2c3d", "x" * 31)) == 43


@pytest.mark.parametrize("text", ["", "hs:", "hs:0a1b2c3d:", "hs:0A1B2C3D:x", "hs:0a1b2c3:x", "xhs:0a1b2c3d:x", "hs:0a1b2c3d:X", "hs:0a1b2c3d:x\nhs"])
def test_what_only_looks_like_a_tag_is_none(text):
    assert _ownership.parse_tag(text) is None


def test_a_name_that_is_no_service_name_gets_no_tag():
    with pytest.raises(ValueError, match="is not a service name"):
        _ownership.make_tag("0a1b2c3d", "No Good")
