# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From probes of a helper outside to what the network in between lets through. Pure.

Private to this collection: no compatibility is promised to code outside it.

A connection proves nothing: transparent proxies and sign-in pages accept every one. Only the nonce that comes back from the helper does.
And nothing is said of the path as long as the helper has not proved itself on any port: it may be down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["OPEN", "judge", "port_row", "tunnels", "verdict"]

OPEN = "open"
INTERCEPTED = "intercepted"
CLOSED = "closed"
REJECTED = "rejected"
DROPPED = "dropped"
LOCAL = "local"
NO_ROUTE = "no_route"
UNTESTED = "untested"
ERROR = "error"

#: How the states of a probe are called here, where no nonce came back.
_STATES = {
    "open": INTERCEPTED,
    "closed": CLOSED,
    "rejected": REJECTED,
    "filtered": DROPPED,
    "open_or_filtered": DROPPED,
    "host_unreachable": REJECTED,
    "local_drop": LOCAL,
    "local_reject": LOCAL,
    "no_route": NO_ROUTE,
    "error": ERROR,
}
_NOTES = {
    INTERCEPTED: "something on the way answers in place of the helper: a transparent proxy or a sign-in page",
    CLOSED: "refused, though the helper listens: something on the way answers for it, or the helper's own firewall",
    REJECTED: "a router on the way forbids it",
    DROPPED: "it is lost on the way",
    LOCAL: "this host's own firewall does not let it out",
    NO_ROUTE: "this host has no route",
    UNTESTED: "the helper does not listen there",
}
#: Pages that a sign-in page imitates.
_WEB = (80, 443)
#: UDP ports that a WireGuard server can use, the best first.
_WIREGUARD = (51820, 443, 53, 123, 4500, 500, 3478)


def port_row(probe: Mapping[str, Any], listening: bool) -> dict[str, Any]:
    """Return what one probe says of the path.

    Args:
        probe: family, protocol, port, state, nonce_verified, seen_as, icmp (from), rtt_ms.
        listening: whether the helper listens on the port.
    """
    if probe["state"] == "open" and probe["nonce_verified"]:
        state = OPEN
    elif probe["state"] in ("no_route", "local_drop", "local_reject", "error") or listening:
        state = _STATES.get(probe["state"], ERROR)
    else:
        state = UNTESTED
    return {
        "family": probe["family"],
        "protocol": probe["protocol"],
        "port": probe["port"],
        "state": state,
        "by": probe.get("icmp_from") if state in (REJECTED, LOCAL) else None,
        "seen_as": probe["seen_as"],
        "rtt_ms": probe["rtt_ms"],
        "note": _NOTES.get(state, ""),
    }


def verdict(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return what the rows of one family come to, and why."""
    tested = [row for row in rows if row["state"] not in (UNTESTED, ERROR)]
    if not tested:
        return "undetermined", "no port could be tested"
    states = {row["state"] for row in tested}
    if states == {NO_ROUTE}:
        return "no_network", "this host has no route to the helper"
    opened = [row for row in tested if row["state"] == OPEN]
    taken = [row for row in tested if row["state"] == INTERCEPTED]
    if not opened:
        if any(row["protocol"] == "tcp" and row["port"] in _WEB for row in taken):
            return "captive_portal", "web ports are answered by something else, and nothing else passes: sign in first, then run this again"
        if taken:
            return "proxied", "connections are answered by something else, and nothing passes to the helper itself"
        if states <= {LOCAL, NO_ROUTE}:
            return "local_firewall", "this host's own firewall lets none of these ports out"
        return "undetermined", "the helper proved itself on no port: it may be down, or nothing is let out; try it from another network"
    if taken:
        return "proxied", f"{_names(taken)}: answered by something else than the helper"
    if len(opened) < len(tested):
        return "restricted", f"{_names([row for row in tested if row['state'] != OPEN])}: not let out"
    return "open", "every port that was tested is let out"


def _names(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{row['protocol']} {row['port']}" for row in rows)


def _passes(rows: Sequence[Mapping[str, Any]], protocol: str, port: int) -> bool | None:
    states = {row["state"] for row in rows if row["protocol"] == protocol and row["port"] == port}
    if OPEN in states:
        return True
    return False if states - {UNTESTED, ERROR} else None


def _all(*passes: bool | None) -> str:
    if all(passes):
        return "works"
    return "blocked" if False in passes else "unknown"


def tunnels(rows: Sequence[Mapping[str, Any]], gre: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return which tunnels could be used from here, the best first. PPTP is named, and not recommended whatever the network lets out."""
    if not any(row["state"] == OPEN for row in rows):
        # Nothing is known of the path, so nothing is said to be blocked by it.
        rows = [row for row in rows if row["state"] in (LOCAL, NO_ROUTE)]
    udp = [port for port in _WIREGUARD if _passes(rows, "udp", port)]
    known = [port for port in _WIREGUARD if _passes(rows, "udp", port) is not None]
    wireguard = "works" if udp else "blocked" if len(known) == len(_WIREGUARD) else "unknown"
    other = f"let the server listen on udp {udp[0]}" if udp and udp[0] != 51820 else ""
    passed = {"passed": True, "dropped": False, "rejected": False}.get(str(gre["state"]))
    pptp = "it is obsolete: its encryption can be broken by anybody who records it; use WireGuard"
    return [
        {"name": "wireguard", "state": wireguard, "ports": udp, "recommended": bool(udp), "note": other},
        {"name": "ipsec", "state": _all(_passes(rows, "udp", 500), _passes(rows, "udp", 4500)), "ports": [500, 4500], "recommended": not udp, "note": ""},
        {
            "name": "tls",
            "state": _all(_passes(rows, "tcp", 443)),
            "ports": [443],
            "recommended": not udp,
            "note": "a tunnel over TCP is slow when packets are lost; take it where UDP does not pass",
        },
        {"name": "ssh", "state": _all(_passes(rows, "tcp", 22)), "ports": [22], "recommended": False, "note": ""},
        {"name": "pptp", "state": _all(_passes(rows, "tcp", 1723), passed), "ports": [1723], "recommended": False, "note": pptp},
    ]


def judge(rows: Sequence[Mapping[str, Any]], gre: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole picture."""
    families = [family for family in ("ipv4", "ipv6") if any(row["family"] == family for row in rows)]
    by_family = {}
    for family in families:
        own = [row for row in rows if row["family"] == family]
        word, why = verdict(own)
        by_family[family] = {"verdict": word, "reason": why, "seen_as": sorted({str(row["seen_as"]) for row in own if row["seen_as"]})}
    words = [by_family[family]["verdict"] for family in families]
    # The better family is what a user has; the other one's state stands in its own row.
    order = ("open", "restricted", "proxied", "captive_portal", "local_firewall", "undetermined", "no_network")
    best = min(words, key=order.index) if words else "undetermined"
    return {"verdict": best, "families": by_family, "ports": list(rows), "gre": dict(gre), "tunnels": tunnels(rows, gre)}
