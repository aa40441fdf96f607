# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: spec and wiring. What it does is tested where it is done."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._planning import Named
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import Wanted
from ansible_collections.homeserver.hardening.plugins.modules.port_mapping import argument_spec, request_of
from ansible_collections.homeserver.hardening.plugins.modules.port_mapping_info import argument_spec as info_spec


def params(**changes: Any) -> dict[str, Any]:
    row = {"name": "web", "protocol": "tcp", "external_port": None, "port": 8080, "lease": 604800, "families": ["ipv4"]}
    return {
        **{name: option.get("default") for name, option in argument_spec().items()},
        "mappings": [{**row, **mapping} for mapping in changes.pop("mappings", [{}])],
        **changes,
    }


def test_the_external_port_is_the_port_unless_said() -> None:
    request = request_of(params(mappings=[{}, {"name": "tls", "external_port": 443, "port": 8443, "lease": 0}]))
    assert list(request.wanted) == [Wanted("web", "tcp", 8080, 8080, 604800), Wanted("tls", "tcp", 443, 8443, 0)]
    assert (request.state, request.adopt, request.allow_other_external_port, request.require_global_wan) == ("present", False, False, True)


def test_an_external_port_of_zero_is_not_taken_for_none() -> None:
    assert list(request_of(params(mappings=[{"external_port": 0}])).wanted)[0].external_port == 0


def test_the_port_is_required() -> None:
    with pytest.raises(ValueError, match="'web': port is required"):
        request_of(params(mappings=[{"port": None}]))


def test_absent_needs_names_only() -> None:
    assert request_of(params(state="absent", mappings=[])).named is None
    named = request_of(params(state="absent", mappings=[{"port": None}, {"external_port": 80}])).named
    assert named == [Named("web", "tcp", None, None), Named("web", "tcp", 80, 8080)]


def test_each_family_is_a_mapping_of_its_own() -> None:
    request = request_of(params(mappings=[{"families": ["ipv6", "ipv4", "ipv6"]}]))
    assert list(request.wanted) == [Wanted("web", "tcp", 8080, 8080, 604800, "ipv6"), Wanted("web", "tcp", 8080, 8080, 604800, "ipv4")]
    named = request_of(params(state="absent", mappings=[{"families": ["ipv4", "ipv6"]}])).named
    assert named == [Named("web", "tcp", 8080, 8080), Named("web", "tcp", 8080, 8080, "ipv6")]
    with pytest.raises(ValueError, match="'web': families is empty"):
        request_of(params(mappings=[{"families": []}]))


def test_both_modules_choose_the_router_alike() -> None:
    spec = argument_spec()
    assert info_spec() == {name: spec[name] for name in ("method", "gateway", "interface", "timeout", "state_dir")}
