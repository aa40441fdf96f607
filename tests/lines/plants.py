# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults to plant, each of which has to be noticed. Some are done to the lab behind everybody's back, some to what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PLANTS", "Plant", "RECEIVER_PORT"]

#: Where the planted traffic goes on the vantage: nobody configured it.
RECEIVER_PORT = 9

#: Of a verdict, one that it is not.
OTHER = {"nat_single": ("cgn", "blocked")}
FORCED = ("nat_single", "needs_forward")


@dataclass(frozen=True)
class Plant:
    """A fault.

    Attributes:
        about: what has to complain, as in Complaint.
        what: what is done.
        scripts: shell for the lab's hosts, run before the diagnosis; a host that the line does not have is left out.
        change: changes what was found.
        verdict: what judging readings always says then.
    """

    about: str
    what: str
    scripts: Callable[[Mapping[str, Any]], dict[str, str]] | None = None
    change: Callable[[dict[str, Any]], None] | None = None
    verdict: tuple[str, str] | None = None


def _service(lab: Mapping[str, Any]) -> tuple[str, int]:
    """Return protocol and external port of the first service that the line's file expects to be published."""
    published = {name.split()[0] for name, state in ((lab["lab_expect"] or {}).get("inbound") or {}).items() if state == "published"}
    row = next((one for one in lab["lab_services"] if one["name"] in published), lab["lab_services"][0])
    return row["protocol"], row.get("external_port") or row["port"]


def _filter(lab: Mapping[str, Any]) -> dict[str, str]:
    protocol, port = _service(lab)
    rule = f'iifname "core0" {protocol} dport {port} drop'
    return {"isp": f"nft 'add table inet plant; add chain inet plant f {{ type filter hook forward priority -5; }}; add rule inet plant f {rule}'"}


def _flush(_lab: Mapping[str, Any]) -> dict[str, str]:
    loop = "while :; do nft flush chain inet labrouter prerouting_miniupnpd; sleep 0.01; done"
    return {"router": f"systemd-run --quiet --collect --unit=plant sh -c '{loop}'"}


def _speak(lab: Mapping[str, Any]) -> dict[str, str]:
    loop = f"while :; do echo x >/dev/udp/{lab['lab_internet_address']}/{RECEIVER_PORT}; sleep 0.2; done"
    return {"server": f"systemd-run --quiet --collect --unit=plant bash -c '{loop}'"}


def _swap(finding: dict[str, Any]) -> None:
    expect = finding["expect"]["line"]
    expect["verdict"], expect["inbound_ipv4"] = OTHER.get(expect["verdict"], FORCED)


def _force(finding: dict[str, Any]) -> None:
    verdict, inbound = OTHER.get((finding["expect"].get("line") or {}).get("verdict", ""), FORCED)
    finding["report"]["line"].update(verdict=verdict, inbound_ipv4=inbound)


def _publish(finding: dict[str, Any]) -> None:
    row = {"service": "planted", "family": "ipv4", "protocol": "tcp", "external_port": 1, "state": "published"}
    finding["report"].setdefault("inbound", []).append(row)


def _forget_to_publish(finding: dict[str, Any]) -> None:
    finding["report"]["inbound"] = []


def _open_egress(finding: dict[str, Any]) -> None:
    for row in finding["egress"]["ports"][:1]:
        row["state"] = "dropped" if row["state"] == "open" else "open"


def _delay(finding: dict[str, Any]) -> None:
    for look in finding["looks"]:
        look["elapsed"] += 1


PLANTS = {
    "dnat_removed": Plant("inbound", "the router's mappings are taken away as soon as they are made", scripts=_flush),
    "port_filter": Plant("inbound", "the provider closes a port of which the line's file expects that it is open", scripts=_filter),
    "foreign_traffic": Plant("destinations", "the server speaks to somebody who was not configured", scripts=_speak),
    "expectation_swapped": Plant("verdict", "the line's file expects another verdict", change=_swap),
    "verdict_forced": Plant("verdict", "the verdict is another one, whatever the readings are", change=_force, verdict=("public_direct", "open")),
    "published_forced": Plant("safety", "the report calls something reachable that is not", change=_publish),
    "inbound_missing": Plant("inbound", "the report says nothing of what comes in", change=_forget_to_publish),
    "egress_forced": Plant("egress", "what gets out is said to be the contrary", change=_open_egress),
    "slow": Plant("cost", "line_info goes on waiting for a second", change=_delay),
}
