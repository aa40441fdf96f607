# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: address_class
short_description: The kind of an address by the IANA registries
version_added: 0.1.0
author:
  - homeserver.hardening contributors (@homeserver-hardening)
description:
  - Gives the class of an IPv4 or IPv6 address, for example V(private), V(shared_cgn) or V(global).
  - Of a list, it gives a list that stands one to one with it.
  - The answers are those of the module M(homeserver.hardening.address_info).
positional: _input
options:
  _input:
    description:
      - An address or a list of addresses.
      - Text is taken strictly. An IPv4 address is a dotted quad without leading zeros, an IPv6 address has one of the forms of RFC 4291,
        without zone and prefix length.
    type: raw
    required: true
  record:
    description: Whether to give all that is known, as the module does, instead of the name of the class.
    type: bool
    default: false
  on_invalid:
    description:
      - What to do when the input, or something in it, is not an address.
      - V(fail) fails and names each.
      - V(report) gives V(none) as the class, or a record with V(valid=false) and the reason.
    type: str
    choices: [fail, report]
    default: fail
seealso:
  - module: homeserver.hardening.address_info
  - plugin: homeserver.hardening.publishable_address
    plugin_type: test
"""

EXAMPLES = r"""
- name: Refuse a router that has no address of its own
  ansible.builtin.assert:
    that: wan_address | homeserver.hardening.address_class == 'global'
    fail_msg: >-
      The router's outer address is {{ wan_address | homeserver.hardening.address_class }}.

- name: The classes of several addresses
  ansible.builtin.debug:
    msg: "{{ ['192.0.2.1', '100.64.0.1', '::1'] | homeserver.hardening.address_class }}"
    # ['documentation', 'shared_cgn', 'loopback']

- name: The IPv4 address inside an IPv6 address
  ansible.builtin.debug:
    msg: "{{ ('64:ff9b::203.0.113.7' | homeserver.hardening.address_class(record=true)).embedded_ipv4 }}"
    # 203.0.113.7
"""

RETURN = r"""
_value:
  description:
    - The class, or the record if O(record=true). A list of them, if the input is a list.
    - The record has the keys that RV(homeserver.hardening.address_info#module:addresses) describes.
  type: raw
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils._address._classify import describe

ON_INVALID = ("fail", "report")


def address_class(value: Any, record: bool = False, on_invalid: str = "fail") -> Any:
    """Give the class (or the record) of an address, or a list of them."""
    if on_invalid not in ON_INVALID:
        raise AnsibleFilterError(f"address_class: on_invalid is {on_invalid!r}; choose one of {', '.join(ON_INVALID)}")
    if not isinstance(record, bool):
        raise AnsibleFilterError(f"address_class: record is {record!r}; choose true or false")
    # Jinja's own filters may hand over a generator.
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    rows = [describe(text) for text in (value if several else [value])]
    invalid = [f"{row['address']!r}: {row['reason']}" for row in rows if not row["valid"]]
    if invalid and on_invalid == "fail":
        raise AnsibleFilterError(f"address_class: not an IP address: {'; '.join(invalid)}")
    answers = rows if record else [row["address_class"] for row in rows]
    return answers if several else answers[0]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"address_class": address_class}
