# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter address_class."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homeserver.hardening.plugins.filter.address_class import FilterModule, address_class


def test_name():
    assert FilterModule().filters() == {"address_class": address_class}


def test_one():
    assert address_class("100.64.0.1") == "shared_cgn"


def test_record():
    record = address_class("64:ff9b::8.8.8.8", record=True)
    assert (record["address_class"], record["embedded_ipv4"], record["effective_global"], record["valid"]) == ("nat64", "8.8.8.8", True, True)


@pytest.mark.parametrize("make", [list, tuple, iter, lambda texts: (text for text in texts), lambda texts: map(str, texts)])
def test_several(make):
    assert address_class(make(["192.0.2.1", "::1", "192.0.2.1"])) == ["documentation", "loopback", "documentation"]


def test_none_at_all():
    assert address_class([]) == []


def test_invalid():
    with pytest.raises(AnsibleFilterError, match=r"not an IP address: '1\.2\.3': an IPv4 address has four numbers.*; 5: it is not text but int"):
        address_class(["1.2.3", "::1", 5])


@pytest.mark.parametrize("value", ["x", "", None, 5, {"a": "::1"}, b"::1", ["x"]])
def test_invalid_is_reported(value):
    assert address_class(value, on_invalid="report") == ([None] if isinstance(value, list) else None)
    record = address_class(value, record=True, on_invalid="report")
    assert (record[0] if isinstance(value, list) else record)["valid"] is False


@pytest.mark.parametrize(("arguments", "reason"), [({"on_invalid": "ignore"}, "choose one of fail, report"), ({"record": "please"}, "choose true or false")])
def test_wrong_options(arguments, reason):
    with pytest.raises(AnsibleFilterError, match=reason):
        address_class("::1", **arguments)
