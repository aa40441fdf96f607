# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the verdict stands when a reading is missing or false. Pure, and fast: it judges readings that were taken once.

A reading that is missing may make the verdict weaker, never wrong. One that lies may do no more than that either, and the lie is listed
as a contradiction, unless nothing else speaks of the same thing. That is a rule, not a list of exceptions:

    the address that others see    is told by STUN and echo. It is witnessed by every other such reading of the same family, and by each
                                   reading that names the true address as the line's own: the router's WAN address, that of a second
                                   router, an address of this host. Over IPv6, by the addresses of this host.
    the router's WAN address       is witnessed by every other reading of it, and, as a global WAN address is what others see, by each
                                   reading of that.

A lie about something without a witness cannot be told from the truth by anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.homeserver.hardening.plugins.module_utils._line._decide import WEAKER
from ansible_collections.homeserver.hardening.plugins.module_utils._line._readings import Reading

__all__ = ["Truth", "count_of", "faults", "lies", "right_or_weaker", "witnesses"]

#: What can come in over IPv4 by the lines whose kind is known. Everything else is blocked.
INBOUND = {"public_direct": "open", "nat_single": "needs_forward", "double_nat": "needs_forward", "map_e": "port_set", "one_to_one_nat": "open"}
#: What a provider hands out, where it is no global address and no carrier-grade NAT.
KINDS = {"ds_lite": "ds_lite", "clat": "nat64_464xlat", "map_e": "map_e", "none": "no_ipv4", "one_to_one": "one_to_one_nat"}
UNSURE = "nat_unknown"
#: What liars say. Two, so that one of them is always false.
FALSE = {"ipv4": ("9.9.9.9", "8.8.4.4"), "ipv6": ("2620:fe::fe", "2001:4860:4860::8844")}

Judge = Callable[[Sequence[Reading]], Mapping[str, Any]]


@dataclass(frozen=True)
class Truth:
    """What may be said of a line: C(words) are verdicts, C(inbound) what may be said of IPv4."""

    words: frozenset[str]
    inbound: frozenset[str]

    @classmethod
    def of(cls, expect: Mapping[str, Any], topology: Mapping[str, Any]) -> Truth:
        """Read it from what a line's file expects, which may be a weaker word, and from how the line is built, which says what it is."""
        kinds = _kinds(topology)
        sure = {INBOUND.get(kind, "blocked") for kind in kinds if kind != "vpn_or_proxy_egress"}
        return cls(frozenset({str(expect["verdict"]), *kinds}), frozenset({"unknown", str(expect.get("inbound_ipv4") or "unknown"), *sure}))


def _kinds(topology: Mapping[str, Any]) -> set[str]:
    """Return what a line is, by how it is built."""
    wan = str(topology.get("wan") or "global")
    by_routers = ("public_direct", "nat_single", "double_nat")[int(topology.get("routers", 1))]
    kinds = {by_routers if wan == "global" else KINDS.get(wan, "cgn")}
    if "everything" in (topology.get("blocks") or ()) or topology.get("web") == "portal":
        kinds.add("offline")
    if topology.get("vpn") == "default_route":
        kinds.add("vpn_or_proxy_egress")
    return kinds


def right_or_weaker(found: Mapping[str, Any], truth: Truth) -> bool:
    """Whether a verdict is the truth, or a word that may stand for it."""
    verdict = found["verdict"]
    right = verdict == UNSURE or verdict in truth.words or bool(truth.words & WEAKER.get(verdict, frozenset()))
    return right and found["inbound_ipv4"] in truth.inbound


def _seen(reading: Reading) -> str | None:
    """Return the family over which a reading says what others see."""
    return str(reading.value["family"]) if reading.kind in ("stun", "echo") and reading.value else None


def _wan(reading: Reading) -> str | None:
    return str(reading.value["address"]) if reading.kind == "wan" and reading.value and reading.value.get("address") else None


def lies(readings: Sequence[Reading]) -> Iterator[tuple[int, str, Reading]]:
    """Yield (index, what is told, the reading as a liar would give it) for everything that comes from outside."""
    for index, reading in enumerate(readings):
        family, wan = _seen(reading), _wan(reading)
        name = "mapped_address" if family else "address"
        said = str((reading.value or {}).get(name))
        false = [one for one in FALSE[family or "ipv4"] if one != said][0]
        if family or wan:
            yield index, "seen" if family else "wan", replace(reading, value={**(reading.value or {}), name: false})


def witnesses(readings: Sequence[Reading], index: int) -> list[Reading]:
    """Return the readings that show a lie of this one."""
    liar = readings[index]
    family = _seen(liar)
    others = [*readings[:index], *readings[index + 1 :]]
    if family is None:
        return [one for one in others if _wan(one) or _seen(one) == "ipv4"]
    true = str((liar.value or {})["mapped_address"])
    same = [one for one in others if _seen(one) == family] if family == "ipv4" else []
    return same + [one for one in others if _names(one, true, family)]


def _names(reading: Reading, address: str, family: str) -> bool:
    """Whether a reading names an address as that of the line itself. Over IPv6 nothing translates, so the host's own addresses are all there are."""
    value = reading.value or {}
    if reading.kind == "interfaces":
        return family == "ipv6" or address in {row["address"] for row in value.get("addresses") or ()}
    return address == (_wan(reading) or (value.get("wan_address") if reading.kind == "second_gateway" else None))


def faults(readings: Sequence[Reading], truth: Truth, judge: Judge) -> list[str]:
    """Return what is wrong when one reading after the other is missing, and when one after the other lies."""
    found = []
    for index, reading in enumerate(readings):
        said = judge([*readings[:index], *readings[index + 1 :]])
        if not right_or_weaker(said, truth):
            found.append(f"without {reading.kind} of {reading.source}: {_say(said)}")
    for index, about, liar in lies(readings):
        if not witnesses(readings, index):
            continue
        said = judge([*readings[:index], liar, *readings[index + 1 :]])
        where = f"with a false {about} address by {liar.kind} of {liar.source}"
        if not said["contradictions"]:
            found.append(f"{where}: no contradiction is listed; {_say(said)}")
        if not right_or_weaker(said, truth):
            found.append(f"{where}: {_say(said)}")
    return found


def count_of(readings: Sequence[Reading]) -> dict[str, int]:
    """Return how much C(faults) tried: readings removed, lies told, and lies that nobody could notice."""
    told = list(lies(readings))
    unseen = sum(not witnesses(readings, index) for index, _about, _liar in told)
    return {"removed": len(readings), "lies": len(told) - unseen, "unnoticeable": unseen}


def _say(said: Mapping[str, Any]) -> str:
    return f"{said['verdict']}, inbound {said['inbound_ipv4']} ({', '.join(said.get('verdict_reasons') or ())})"
