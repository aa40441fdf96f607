# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MAP-E (RFC 7597): one IPv4 address shared by many homes, each with a set of ports of its own. Pure.

Private to this collection: no compatibility is promised to code outside it.

    PortSet(4, 8, 97).ranges()                    the ports of one home
    compute(rule, "240b:10:a460:6100::1", 64)     the shared address and the port set that an IPv6 prefix stands for; None if it does not fit
    fit([(local, mapped), …])                     the port set that mapped ports betray; None if they betray none
    rule_from(…)                                  a rule as a user writes it; raises RuleError

A port is A * 2^(16-a) + PSID * 2^m + j: a bits above the PSID (the offset), k bits of PSID, m = 16 - a - k bits below. A = 0 is left out if a > 0.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ._map_rules import AFTR, EA_END, HINTS, RULES, RULES_DATE, SERVICES

__all__ = ["AFTR", "MapAddress", "MapRule", "PortSet", "RuleError", "compute", "fit", "hints", "known_rules", "matching", "rule_from"]

#: A fit is believed if chance would bring it about once in 2^40 lines.
_FIT_BITS = 40
_FIT_SAMPLES = 8
_FIT_BLOCKS = 2
#: Shapes (a, k) that are in use; of shapes that fit about as well they are preferred, the longest first.
_KNOWN_SHAPES = ((6, 8), (4, 8), (6, 6))


class RuleError(ValueError):
    """A mapping rule is impossible. The message names the value, the reason and the fix."""


@dataclass(frozen=True)
class PortSet:
    """The ports of one home. C(offset) is a, C(length) is k of the formula."""

    offset: int
    length: int
    psid: int

    @property
    def low_bits(self) -> int:
        """How many bits lie below the PSID: m."""
        return 16 - self.offset - self.length

    @property
    def count(self) -> int:
        """How many ports there are."""
        return len(self._starts()) << self.low_bits

    def _starts(self) -> range:
        return range(1 if self.offset else 0, 1 << self.offset)

    def ranges(self) -> list[tuple[int, int]]:
        """Return the ports as ranges, in order, joined where they touch; never port 0."""
        result: list[tuple[int, int]] = []
        for high in self._starts():
            first = (high << (16 - self.offset)) + (self.psid << self.low_bits)
            last = first + (1 << self.low_bits) - 1
            first = max(first, 1)
            if result and result[-1][1] + 1 == first:
                result[-1] = (result[-1][0], last)
            elif first <= last:
                result.append((first, last))
        return result

    def __contains__(self, port: object) -> bool:
        if not isinstance(port, int) or not 0 < port < 65536:
            return False
        if self.offset and not port >> (16 - self.offset):
            return False
        return (port >> self.low_bits) & ((1 << self.length) - 1) == self.psid

    def nearest(self, port: int) -> int:
        """Return the port of the set that is nearest to a wanted one, the higher of two."""
        return nearest(self.ranges(), port)


def nearest(ranges: Iterable[tuple[int, int]], port: int) -> int:
    """Return the port in some ranges that is nearest to a wanted one, the higher of two."""
    candidates = [min(max(port, first), last) for first, last in ranges]
    return min(candidates, key=lambda one: (abs(one - port), -one))


@dataclass(frozen=True)
class MapRule:
    """A basic mapping rule.

    Attributes:
        service: the name of the service.
        ea_length: how many bits after the IPv6 prefix make up the rest of the IPv4 address and the PSID.
        offset: how many bits of a port stand above the PSID.
        source: C(table) or C(user).
    """

    service: str
    ipv6: ipaddress.IPv6Network
    ipv4: ipaddress.IPv4Network
    ea_length: int
    offset: int
    source: str = "table"
    date: str | None = None

    @property
    def psid_length(self) -> int:
        """How many bits the PSID has."""
        return self.ea_length - (32 - self.ipv4.prefixlen)


@dataclass(frozen=True)
class MapAddress:
    """What a rule makes of an IPv6 prefix."""

    rule: MapRule
    ipv4: str
    ports: PortSet


@lru_cache(maxsize=1)
def known_rules() -> tuple[MapRule, ...]:
    """Return the rules of the table."""
    found: list[MapRule] = []
    for service, rows in RULES.items():
        for prefix, ipv4 in rows:
            ipv6 = ipaddress.IPv6Network(prefix)
            found.append(MapRule(service, ipv6, ipaddress.IPv4Network(ipv4), EA_END - ipv6.prefixlen, SERVICES[service][0], "table", RULES_DATE))
    return tuple(found)


def rule_from(data: Mapping[str, Any]) -> MapRule:
    """Return a rule that a user wrote down.

    Raises:
        RuleError: it cannot be one.
    """
    where = f"map rule {data.get('name') or 'without a name'}"
    try:
        ipv6 = ipaddress.IPv6Network(str(data["ipv6_prefix"]))
    except ValueError as error:
        raise RuleError(f"{where}: ipv6_prefix {data['ipv6_prefix']!r} is no IPv6 prefix ({error}); write it like 2001:db8::/32") from None
    try:
        ipv4 = ipaddress.IPv4Network(str(data["ipv4_prefix"]))
    except ValueError as error:
        raise RuleError(f"{where}: ipv4_prefix {data['ipv4_prefix']!r} is no IPv4 prefix ({error}); write it like 192.0.2.0/24") from None
    ea_length, offset = int(data["ea_length"]), int(data["psid_offset"])
    suffix = 32 - ipv4.prefixlen
    if not 0 <= offset <= 15:
        raise RuleError(f"{where}: psid_offset {offset} is out of the range 0 to 15: a port has 16 bits; 4 and 6 are usual")
    if ea_length < suffix:
        raise RuleError(
            f"{where}: ea_length {ea_length} is shorter than the {suffix} bits that {ipv4} leaves open, so no whole address is assigned"
            f" and no port set exists; at least {suffix} is needed"
        )
    if ipv6.prefixlen + ea_length > 64:
        bits = ipv6.prefixlen + ea_length
        raise RuleError(f"{where}: ipv6_prefix /{ipv6.prefixlen} and ea_length {ea_length} make {bits} bits, but a site's prefix has at most 64")
    length = ea_length - suffix
    if offset + length > 16:
        bits = offset + length
        raise RuleError(f"{where}: psid_offset {offset} and a PSID of {length} bits make {bits} bits, but a port has 16; check ea_length and psid_offset")
    return MapRule(str(data.get("name") or "user"), ipv6, ipv4, ea_length, offset, "user", None)


def compute(rule: MapRule, address: str, known_bits: int = 64) -> MapAddress | None:
    """Return the shared address and the ports that an IPv6 address or prefix stands for.

    Args:
        rule: the mapping rule.
        address: an address of the site, or its prefix without a length.
        known_bits: how many leading bits are sure to be those of the site.

    Returns:
        None if the address is not in the rule's prefix, or too little of it is known.
    """
    value = ipaddress.IPv6Address(address)
    if value not in rule.ipv6 or rule.ipv6.prefixlen + rule.ea_length > known_bits:
        return None
    bits = (int(value) >> (128 - rule.ipv6.prefixlen - rule.ea_length)) & ((1 << rule.ea_length) - 1)
    length = rule.psid_length
    ipv4 = ipaddress.IPv4Address(int(rule.ipv4.network_address) + (bits >> length))
    return MapAddress(rule, str(ipv4), PortSet(rule.offset, length, bits & ((1 << length) - 1)))


def matching(rules: Sequence[MapRule], addresses: Iterable[str]) -> list[MapAddress]:
    """Return what the rules make of some addresses, each result once; of several rules for one address the longest prefix counts."""
    found: list[MapAddress] = []
    for address in addresses:
        computed = [result for result in (compute(rule, address) for rule in rules) if result is not None]
        if computed:
            # The user's own rule beats the table's, which may be old.
            best = max(computed, key=lambda result: (result.rule.source == "user", result.rule.ipv6.prefixlen))
            if best not in found:
                found.append(best)
    return found


def hints(addresses: Iterable[str]) -> list[tuple[str, str]]:
    """Return (service, technique) that prefixes of addresses suggest, each once."""
    networks = [(ipaddress.IPv6Network(prefix), service, technique) for prefix, service, technique in HINTS]
    found: list[tuple[str, str]] = []
    for address in addresses:
        value = ipaddress.IPv6Address(address)
        found += [(service, technique) for network, service, technique in networks if value in network and (service, technique) not in found]
    return found


def fit(samples: Sequence[tuple[int, int]]) -> PortSet | None:
    """Return the port set that all mapped ports lie in, None if there is none or chance would explain it.

    One block of ports is not enough: carriers hand out single blocks too.

    Args:
        samples: pairs of the port that was sent from and the port that a server saw.
    """
    ports = sorted({mapped for local, mapped in samples if local != mapped})
    if len(ports) < _FIT_SAMPLES or len(ports) < len({mapped for _local, mapped in samples}):
        return None
    found: list[PortSet] = []
    for offset in range(1, 16):
        if ports[0] >> (16 - offset) == 0:
            continue
        blocks = len({port >> (16 - offset) for port in ports})
        if blocks < _FIT_BLOCKS:
            continue
        for length in range(1, 17 - offset):
            shift = 16 - offset - length
            values = {(port >> shift) & ((1 << length) - 1) for port in ports}
            if len(values) == 1 and length * (len(ports) - 1) >= _FIT_BITS:
                found.append(PortSet(offset, length, values.pop()))
    if not found:
        return None
    longest = max(one.length for one in found)
    # Few samples fit longer PSIDs by chance, because some bits above or below happen to be the same in all.
    for shape in _KNOWN_SHAPES:
        for one in found:
            if (one.offset, one.length) == shape and one.length >= longest - 2:
                return one
    return max(found, key=lambda one: (one.length, -one.offset))
