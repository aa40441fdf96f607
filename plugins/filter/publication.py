# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters around the proof from outside."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import _proof, _publication


def publication_targets(services: Any, families: Any = ("ipv4", "ipv6")) -> list[dict[str, Any]]:
    """Return what a vantage has to probe for services of a plan or of the journal."""
    if not isinstance(services, list):
        raise AnsibleFilterError(f"publication_targets needs a list of services, not {type(services).__name__}")
    return _proof.targets({"services": services}, families)


def publication_current(services: Any, interfaces: Any = (), mapping: Any = None) -> list[dict[str, Any]]:
    """Return services of the journal with the addresses that they have now."""
    if not isinstance(services, list):
        raise AnsibleFilterError(f"publication_current needs a list of services, not {type(services).__name__}")
    return _publication.readdress(services, _publication.Readings(interfaces, (), mapping or {}))


def publication_proof(
    plan: Any,
    vantages: Any = (),
    nonce_probes: Any = None,
    service_probes: Any = None,
    responder: Any = None,
    untested: str = "",
) -> dict[str, Any]:
    """Return the proof of every planned service and family."""
    if not isinstance(plan, dict):
        raise AnsibleFilterError(f"publication_proof needs a plan, not {type(plan).__name__}")
    return _proof.judge_proof(plan, vantages, _by_vantage(nonce_probes), _by_vantage(service_probes), responder or {}, untested)


def publication_closed(services: Any, probes: Any = None, responder: Any = None, given_back: Any = ()) -> list[dict[str, Any]]:
    """Return whether services that were taken back are closed from outside."""
    if not isinstance(services, list):
        raise AnsibleFilterError(f"publication_closed needs a list of services, not {type(services).__name__}")
    rows = [
        {
            "service": service["name"],
            "protocol": service["protocol"],
            "external_port": service["external_port"],
            "port": service["port"],
            "family": family,
            "address": decision["address"],
            "method": decision["path"],
        }
        for service in services
        for family, decision in service["families"].items()
        if decision["path"] != "impossible"
    ]
    return _proof.judge_closed(rows, _by_vantage(probes), responder or {}, given_back)


def publication_vantages(addresses: Any) -> list[dict[str, Any]]:
    """Return vantages with what was read on them, from the registered result of a loop of C(address_info) over them.

    One that cannot be reached is said to be so, and judged with the rest.
    """
    if not isinstance(addresses, dict):
        raise AnsibleFilterError(f"publication_vantages needs the registered result of a loop, not {type(addresses).__name__}")
    rows = []
    for row in addresses.get("results") or []:
        vantage, reached = row["item"], "interfaces" in row
        rows.append(
            {
                "host": vantage["host"],
                "families": vantage.get("families") or ["ipv4", "ipv6"],
                "addresses": vantage.get("addresses") or [],
                "reached": reached,
                "error": "" if reached else str(row.get("msg") or "no answer"),
                "interfaces": row.get("interfaces") or [],
            }
        )
    return rows


def _by_vantage(results: Any) -> dict[str, Any]:
    """Return probe rows by vantage, from the registered result of a loop over vantages; one that failed has seen nothing."""
    rows = results.get("results", []) if isinstance(results, dict) else results or []
    return {row["item"]["host"]: row["probes"] for row in rows if "probes" in row}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "publication_current": publication_current,
            "publication_targets": publication_targets,
            "publication_vantages": publication_vantages,
            "publication_proof": publication_proof,
            "publication_closed": publication_closed,
        }
