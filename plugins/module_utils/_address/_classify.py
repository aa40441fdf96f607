# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of address a text is, by the IANA registries.

Private to this collection: no compatibility is promised to code outside it.

    address_class("100.64.0.1")     "shared_cgn"; None if the text is no address
    classify("::ffff:10.0.0.1")     an Address; raises InvalidAddress
    describe("10.0.0.01")           the same as plain data, {"valid": False, "reason": …} instead of an exception
    is_publishable("2001:db8::1")   may it stand in public DNS?  False for what is no address

Text is strict: a dotted quad without leading zeros, or one of the forms of RFC 4291. No zone, prefix length, brackets or blanks.
The answers come from our own table, so they do not depend on the version of Python that happens to be on a host.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any, NamedTuple

from ._iana import IPV4_BLOCKS, IPV4_SEGMENTS, IPV6_BLOCKS, IPV6_SEGMENTS, REGISTRY_DATE, Block

__all__ = ["REGISTRY_DATE", "Address", "InvalidAddress", "address_class", "classify", "describe", "is_publishable"]

#: The class of addresses that can be published: assigned to somebody, and unique in the Internet.
GLOBAL = "global"


class InvalidAddress(ValueError):
    """The text is not an address."""

    def __init__(self, address: object, reason: str) -> None:
        super().__init__(f"{address!r} is not an IP address: {reason}")
        self.address = address
        self.reason = reason


class Address(NamedTuple):
    """One address and what is known of it.

    Attributes:
        address: the text as it was given.
        family: C(ipv4) or C(ipv6).
        address_class: one of the 38 classes.
        iana_block: the longest block of the IANA special-purpose registries that holds it, None if none does.
        iana_name: the registry's name for that block.
        rfc: the registry's references for that block, or where the class is defined that no registry lists.
        globally_reachable: what the row says. None where it says "N/A" or nothing.
        embedded_ipv4: the IPv4 address that an IPv6 address carries.
        effective_global: whether the Internet reaches what the address stands for, the embedded address considered. None if undecided.
        source: where the class comes from: C(iana_special), C(iana_address_space), C(rfc) or C(none) (nothing longer matches).
    """

    address: str
    family: str
    address_class: str
    iana_block: str | None
    iana_name: str | None
    rfc: str | None
    globally_reachable: bool | None
    embedded_ipv4: str | None
    effective_global: bool | None
    source: str

    @property
    def publishable(self) -> bool:
        """Whether the address may stand in public DNS: special-purpose addresses may not, even if they are globally reachable."""
        return self.address_class == GLOBAL

    def as_data(self) -> dict[str, Any]:
        """Return the address as a plain mapping, in the shape that the module returns."""
        return {
            "address": self.address,
            "valid": True,
            "reason": None,
            "family": self.family,
            "address_class": self.address_class,
            "iana_block": self.iana_block,
            "iana_name": self.iana_name,
            "rfc": self.rfc,
            "globally_reachable": self.globally_reachable,
            "embedded_ipv4": self.embedded_ipv4,
            "effective_global": self.effective_global,
            "publishable": self.publishable,
            "source": self.source,
        }


# --- text

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_QUAD = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_GROUP = re.compile("[0-9A-Fa-f]{1,4}")


def _is_ipv4(text: str) -> bool:
    return _QUAD.fullmatch(text) is not None


def _is_ipv6(text: str) -> bool:
    head, gap, tail = text.partition("::")
    if "::" in tail or tail.startswith(":"):
        return False
    groups = (head.split(":") if head else []) + (tail.split(":") if tail else [])
    length = len(groups)
    if groups and "." in groups[-1]:
        if (gap and not tail) or not _is_ipv4(groups.pop()):
            return False
        length += 1
    if not all(_GROUP.fullmatch(group) for group in groups):
        return False
    return length <= 7 if gap else length == 8


#: Texts that a lenient C library takes for addresses.
_TRICKS4 = (
    *("1.2.3", "127.1", "16909060", "01.2.3.4", "1.2.3.04", "1.2.3.00", "0x7f.0.0.1", "1.2.3.256"),
    *("1.2.3.4 ", " 1.2.3.4", "1.2.3.4.", "+1.2.3.4", "1.2.3.4\n", ""),
)
_TRICKS6 = (
    *("1::2::3", "::01.2.3.4", "::1.2.3", "12345::", "00001::", "1:2:3:4:5:6:7::8:9", "1:2:3:4:5:6:7:8::", ":1::", "1::2:", "1:2:3"),
    *("fe80::1%lo", "[::1]", "::1/128", "::1 ", ""),
)


def _accepts(family: int, text: str) -> bool:
    try:
        inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def _careful_pton(family: int, text: str) -> bytes:
    if not (_is_ipv6(text) if family == AF_INET6 else _is_ipv4(text)):
        raise OSError("not an address")
    return inet_pton(family, text)


def _choose_pton() -> Callable[[int, str], bytes]:
    """Return the C library's parser where it is as strict as we want to be (glibc and musl are), else a checked one."""
    lenient = any(_accepts(AF_INET, text) for text in _TRICKS4) or any(_accepts(AF_INET6, text) for text in _TRICKS6)
    return _careful_pton if lenient else inet_pton


_pton = _choose_pton()


def _explain(value: object) -> str:
    """Say why a value is not an address, and what to write instead where that can be guessed."""
    if not isinstance(value, str):
        return f"it is not text but {type(value).__name__}; quote it"
    if not value:
        return "it is empty"
    if value != value.strip() or any(character.isspace() for character in value):
        return "it contains blanks; remove them"
    if not value.isascii():
        return "it contains characters outside ASCII"
    if value.startswith("[") or value.endswith("]"):
        return "brackets belong to URLs; give the address alone"
    if "%" in value:
        return f"it carries a zone (%{value.partition('%')[2]}), which means something on one host only; give the address without it"
    if "/" in value:
        return "it carries a prefix length; give the address without it"
    if ":" not in value and re.fullmatch(r"[0-9.]+", value):
        parts = value.split(".")
        if len(parts) != 4 or "" in parts:
            return "an IPv4 address has four numbers separated by dots"
        if any(len(part) > 1 and part[0] == "0" for part in parts):
            return "a number has leading zeros, which some programs read as octal; write it without them"
        return "a number is greater than 255"
    if re.fullmatch(r"[0-9.]+:[0-9]+", value):
        return "it carries a port; give the address alone"
    if ":" not in value:
        return "it is neither an IPv4 nor an IPv6 address; names are not resolved here"
    if value.count("::") > 1 or ":::" in value:
        return "'::' may stand once only"
    last = value.rpartition(":")[2]
    if "." in last and not _is_ipv4(last):
        return f"its last part is not an IPv4 address: {_explain(last) if re.fullmatch(r'[0-9.]+', last) else last}"
    if not re.fullmatch(r"[0-9A-Fa-f:.]+", value):
        return "an IPv6 address has hexadecimal digits and colons only"
    if any(len(group) > 4 for group in value.split(":") if "." not in group):
        return "a group has more than four digits"
    return "an IPv6 address has eight groups, fewer only with '::'"


# --- tables


def _ipv4_of_tail(packed: bytes) -> bytes:
    return packed[12:]


def _ipv4_of_6to4(packed: bytes) -> bytes:
    return packed[2:6]


def _ipv4_of_teredo(packed: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in packed[12:])


#: How IPv6 addresses of a class carry an IPv4 address.
#: 64:ff9b:1::/48 is missing: where the bytes lie depends on the prefix that a network chose inside it (RFC 6052, RFC 8215).
_EMBEDDED: dict[str, Callable[[bytes], bytes]] = {
    "ipv4_mapped": _ipv4_of_tail,
    "nat64": _ipv4_of_tail,
    "ipv4_compatible": _ipv4_of_tail,
    "ipv4_translated": _ipv4_of_tail,
    "sixtofour": _ipv4_of_6to4,
    "teredo": _ipv4_of_teredo,
}

#: Classes of which the embedded address alone decides: a mapped address is IPv4 in another notation, RFC 6052 translates one to one.
_AS_EMBEDDED = ("ipv4_mapped", "nat64")


def _row(family: str, block: Block) -> tuple[Any, ...]:
    _block, name, iana_block, iana_name, rfc, reachable, source = block
    return (family, name, iana_block, iana_name, rfc, reachable, None, reachable, source)


_STARTS4 = [first.to_bytes(4, "big") for first, _index in IPV4_SEGMENTS]
_STARTS6 = [first.to_bytes(16, "big") for first, _index in IPV6_SEGMENTS]
# One more at the front: bisect_right gives the position after the segment that holds an address.
_CLASSES4 = ["", *(IPV4_BLOCKS[index][1] for _first, index in IPV4_SEGMENTS)]
_CLASSES6 = ["", *(IPV6_BLOCKS[index][1] for _first, index in IPV6_SEGMENTS)]
_ROWS4: list[tuple[Any, ...]] = [(), *(_row("ipv4", IPV4_BLOCKS[index]) for _first, index in IPV4_SEGMENTS)]
_ROWS6: list[tuple[Any, ...]] = [(), *(_row("ipv6", IPV6_BLOCKS[index]) for _first, index in IPV6_SEGMENTS)]
_EMBEDDING = [_EMBEDDED.get(name) for name in _CLASSES6]
_new: Any = tuple.__new__


def _carrying(text: str, row: tuple[Any, ...], embedded: bytes) -> Address:
    family, name, block, block_name, rfc, reachable, _embedded, _effective, source = row
    inner: bool | None = _ROWS4[bisect_right(_STARTS4, embedded)][5]
    if name in _AS_EMBEDDED:
        effective = inner
    elif reachable is None:
        effective = False if inner is False else None
    else:
        effective = False
    return Address(text, family, name, block, block_name, rfc, reachable, inet_ntop(AF_INET, embedded), effective, source)


# --- answers


def classify(text: str) -> Address:
    """Return all that the registries say of an address.

    Raises:
        InvalidAddress: the text is not an address.
    """
    try:
        if ":" in text:
            packed = _pton(AF_INET6, text)
            position = bisect_right(_STARTS6, packed)
            embedding = _EMBEDDING[position]
            if embedding is not None:
                return _carrying(text, _ROWS6[position], embedding(packed))
            address: Address = _new(Address, (text, *_ROWS6[position]))
        else:
            address = _new(Address, (text, *_ROWS4[bisect_right(_STARTS4, _pton(AF_INET, text))]))
    except (OSError, ValueError, TypeError):
        raise InvalidAddress(text, _explain(text)) from None
    return address


def address_class(text: str) -> str | None:
    """Return the class of an address, None if the text is none. The fast way if nothing else is wanted."""
    try:
        if ":" in text:
            return _CLASSES6[bisect_right(_STARTS6, _pton(AF_INET6, text))]
        return _CLASSES4[bisect_right(_STARTS4, _pton(AF_INET, text))]
    except (OSError, ValueError, TypeError):
        return None


def is_publishable(text: str) -> bool:
    """Tell whether a text is an address that may stand in public DNS."""
    return address_class(text) == GLOBAL


def describe(text: str) -> dict[str, Any]:
    """Return what the module returns for one address, also for a text that is none."""
    try:
        return classify(text).as_data()
    except InvalidAddress as error:
        return {
            "address": text,
            "valid": False,
            "reason": error.reason,
            "family": None,
            "address_class": None,
            "iana_block": None,
            "iana_name": None,
            "rfc": None,
            "globally_reachable": None,
            "embedded_ipv4": None,
            "effective_global": None,
            "publishable": False,
            "source": None,
        }
