# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: publishable_address
short_description: May an address stand in public DNS
version_added: 0.1.0
author:
  - homeserver.hardening contributors (@homeserver-hardening)
description:
  - Tells whether a text is an IPv4 or IPv6 address of the class V(global), by the IANA registries.
    Addresses for special purposes may not be published, even if they are globally reachable.
  - What is not an address is not publishable. It is no error.
  - That an address can be published does not mean that the Internet can reach it.
options:
  _input:
    description: An address.
    type: str
    required: true
seealso:
  - module: homeserver.hardening.address_info
  - plugin: homeserver.hardening.address_class
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Refuse to publish an address that nobody could reach
  ansible.builtin.assert:
    that: new_address is homeserver.hardening.publishable_address

- name: Addresses of this host that could be published
  ansible.builtin.debug:
    msg: "{{ ansible_facts.all_ipv4_addresses | select('homeserver.hardening.publishable_address') }}"
"""

RETURN = r"""
_value:
  description: Whether it may stand in public DNS.
  type: bool
"""

from collections.abc import Callable
from typing import Any

from ..module_utils._address._classify import is_publishable


def publishable_address(value: Any) -> bool:
    """Tell whether a value is an address that may stand in public DNS."""
    return is_publishable(value)


class TestModule:
    """Tests of this file."""

    def tests(self) -> dict[str, Callable[[Any], bool]]:
        return {"publishable_address": publishable_address}
