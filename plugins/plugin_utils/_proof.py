# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof: what the vantages saw, put against what was planned.

Runs on the controller only. Pure: no I/O, no Ansible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

try:
    from netaddr import AddrFormatError, IPAddress, IPNetwork
except ImportError:  # pragma: no cover - the callers check HAS_NETADDR and say what to install
    HAS_NETADDR = False
else:
    HAS_NETADDR = True

PROVED = "proved"
NOT_PROVED = "not_proved"
UNTESTED = "untested"

#: States of a port that mean that a packet came through and something answered it.
_ANSWERED = ("open",)


def judge_vantages(
    vantages: Sequence[Mapping[str, Any]],
    host_interfaces: Sequence[Mapping[str, Any]],
    wan_address: str | None,
) -> list[dict[str, Any]]:
    """Decide which vantages count: one inside the same NAT sees only the inside.

    Args:
        vantages: C({host, families, addresses, reached, error, interfaces}), interfaces as rows of C(address_info), addresses as the user
            knows them, for a vantage that is behind NAT itself.
        host_interfaces: the published host's own rows.
        wan_address: the home's address on the Internet, None if unknown.

    Returns:
        per vantage C({host, families, valid, reason, sources, seen_families}); sources are the addresses that it may be seen from,
        seen_families those in which one of them is global, so that it is known from where it will come.
    """
    lan = _networks(host_interfaces)
    own = {str(row.get("address")) for row in host_interfaces}
    judged = []
    for vantage in vantages:
        sources = [
            str(row["address"])
            for row in vantage.get("interfaces") or ()
            if row.get("address_class") not in ("loopback", "link_local") and not row.get("tentative")
        ]
        usable = [row for row in vantage.get("interfaces") or () if row.get("on_default_route") or row.get("publish_candidate")]
        known = [str(address) for address in vantage.get("addresses") or ()]
        outside = known + [str(row["address"]) for row in vantage.get("interfaces") or () if row.get("address_class") == "global"]
        reason = ""
        if not vantage.get("reached"):
            reason = "unreachable"
        elif own & set(sources):
            reason = "same_host"
        elif wan_address and wan_address in sources:
            reason = "same_line"
        elif usable and all(_inside(str(row["address"]), lan) for row in usable if ":" not in str(row["address"])) and any(
            ":" not in str(row["address"]) for row in usable
        ):
            reason = "same_lan"
        judged.append(
            {
                "host": vantage["host"],
                "families": list(vantage.get("families") or ("ipv4", "ipv6")),
                "valid": not reason,
                "reason": reason,
                "error": str(vantage.get("error") or ""),
                "sources": sources + [address for address in known if address not in sources],
                "seen_families": [family for family in ("ipv4", "ipv6") if any((":" in address) == (family == "ipv6") for address in outside)],
            }
        )
    return judged


def targets(plan: Mapping[str, Any], families: Sequence[str] = ("ipv4", "ipv6")) -> list[dict[str, Any]]:
    """Return what a vantage has to probe, in the shape of C(port_probe_info)'s option targets."""
    rows = []
    for service in plan.get("services") or ():
        for family, decision in service["families"].items():
            if decision["path"] == "impossible" or not decision["address"] or family not in families:
                continue
            rows.append({"host": decision["address"], "ports": [service["external_port"]], "protocol": service["protocol"], "families": [family]})
    return rows


def judge_proof(
    plan: Mapping[str, Any],
    vantages: Sequence[Mapping[str, Any]],
    nonce_probes: Mapping[str, Sequence[Mapping[str, Any]]],
    service_probes: Mapping[str, Sequence[Mapping[str, Any]]],
    responder: Mapping[str, Any],
    untested: str = "",
) -> dict[str, Any]:
    """Return the proof of every planned service and family.

    Args:
        plan: the plan as data.
        vantages: as L(judge_vantages) returns them.
        nonce_probes: rows of C(port_probe_info) by vantage, taken while the responder answered.
        service_probes: the same, taken after it had stopped.
        responder: result of C(probe_responder); C(listeners) says where it could answer, C(visits) who came.
        untested: why nothing was tried at all, for example C(check_mode); empty otherwise.
    """
    rows = []
    for service in plan.get("services") or ():
        for family, decision in service["families"].items():
            if decision["path"] == "impossible":
                continue
            rows.append(_judge_row(service, family, decision, vantages, nonce_probes, service_probes, responder, untested))
    return {
        "rows": rows,
        "families": _provable_families(rows),
        "proved": bool(rows) and all(row["path"] == PROVED for row in rows if row["required"] and row["wanted"]),
    }


def _judge_row(
    service: Mapping[str, Any],
    family: str,
    decision: Mapping[str, Any],
    vantages: Sequence[Mapping[str, Any]],
    nonce_probes: Mapping[str, Sequence[Mapping[str, Any]]],
    service_probes: Mapping[str, Sequence[Mapping[str, Any]]],
    responder: Mapping[str, Any],
    untested: str,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "service": service["name"],
        "protocol": service["protocol"],
        "family": family,
        "address": decision["address"],
        "external_port": service["external_port"],
        "port": service["port"],
        "method": decision["path"],
        "required": decision["required"],
        "wanted": service.get("verify", "nonce") != "none",
        "path": UNTESTED,
        "service_state": "unknown",
        "vantage": None,
        "reason": untested,
        "observations": [],
    }
    if untested:
        return row
    if not row["wanted"]:
        return {**row, "reason": "not_wanted"}
    able = [vantage for vantage in vantages if vantage["valid"] and family in vantage["families"]]
    if not able:
        return {**row, "reason": "no_vantage"}
    able = [vantage for vantage in able if _admitted(vantage, service.get("allow_from") or ())]
    if not able:
        return {**row, "reason": "not_admitted"}
    listener = _find(responder.get("listeners") or (), service, family, "port", service["port"])
    if listener is None or listener.get("mode") in (None, "none"):
        return {**row, "reason": "no_responder", "detail": str((listener or {}).get("reason") or "")}
    for vantage in able:
        seen = _find_probe(nonce_probes.get(vantage["host"]) or (), service, family, decision["address"])
        after = _find_probe(service_probes.get(vantage["host"]) or (), service, family, decision["address"])
        observation = {
            "vantage": vantage["host"],
            "state": seen.get("state") if seen else None,
            "nonce_verified": seen.get("nonce_verified") if seen else None,
            "rtt_ms": seen.get("rtt_ms") if seen else None,
            "state_after": after.get("state") if after else None,
        }
        row["observations"].append(observation)
        if seen and seen.get("nonce_verified") is True:
            if row["path"] != PROVED:
                row.update(path=PROVED, vantage=vantage["host"], reason="")
        elif seen and seen.get("nonce_verified") is False and listener["mode"] == "redirected" and family not in vantage["seen_families"]:
            # The service itself answered, since this host could not know the vantage by the address that its NAT gave it.
            observation["state"] = "unknown_source"
        elif seen and seen.get("state") not in (None, "error") and row["path"] == UNTESTED:
            another = seen.get("state") in _ANSWERED and seen.get("nonce_verified") is False
            row.update(path=NOT_PROVED, vantage=vantage["host"], reason="another_answers" if another else str(seen["state"]))
        if after and after.get("state") == "open":
            row["service_state"] = "answered"
        elif after and row["service_state"] == "unknown" and service["protocol"] == "tcp":
            # A UDP service that stays silent may well be alive: WireGuard never answers a stranger.
            row["service_state"] = "silent"
    if row["path"] == UNTESTED:
        hidden = any(observation["state"] == "unknown_source" for observation in row["observations"])
        row["reason"] = "vantage_behind_nat" if hidden else "probe_error"
    return row


def judge_closed(
    rows: Sequence[Mapping[str, Any]],
    probes: Mapping[str, Sequence[Mapping[str, Any]]],
    responder: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return, for services that were taken back, whether anything still answers from outside.

    Args:
        rows: C({service, protocol, family, address, external_port, port, method}).
        probes: rows of C(port_probe_info) by vantage, taken while the responder answered.
        responder: result of C(probe_responder). Where it could not answer, silence of a UDP port says nothing.
    """
    judged = []
    for row in rows:
        seen = {}
        for vantage, seen_rows in probes.items():
            probe = _find_probe(seen_rows, row, row["family"], row["address"])
            if probe is not None and probe["state"] != "error":
                seen[vantage] = probe
        listener = _find(responder.get("listeners") or (), row, row["family"], "port", row["port"])
        answering = listener is not None and listener.get("mode") not in (None, "none")
        if any(probe["state"] == "open" or probe.get("nonce_verified") for probe in seen.values()):
            # Without NAT and without a filter of ours an own service answers whatever this collection does.
            state = "open_unfiltered" if row["method"] == "direct" else "still_open"
        elif not seen or (row["protocol"] == "udp" and not answering):
            state = UNTESTED
        else:
            state = "closed"
        judged.append({**row, "state": state, "observations": {vantage: probe["state"] for vantage, probe in seen.items()}})
    return judged


def _provable_families(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the families a name may be published for: something is proved there, and nothing that works elsewhere fails there."""
    proved = {(row["service"], row["family"]) for row in rows if row["path"] == PROVED}
    families = []
    for family in ("ipv4", "ipv6"):
        here = {service for service, other in proved if other == family}
        planned = {row["service"] for row in rows if row["family"] == family and row["wanted"]}
        elsewhere = {service for service, other in proved if other != family}
        if here and not (planned - here) & elsewhere:
            families.append(family)
    return families


def _find(rows: Sequence[Mapping[str, Any]], service: Mapping[str, Any], family: str, key: str, port: int) -> Mapping[str, Any] | None:
    for row in rows:
        if row.get("protocol") == service["protocol"] and row.get("family") == family and row.get(key) == port:
            return row
    return None


def _find_probe(rows: Sequence[Mapping[str, Any]], service: Mapping[str, Any], family: str, address: str | None) -> Mapping[str, Any] | None:
    for row in rows:
        if (
            row.get("protocol") == service["protocol"]
            and row.get("family") == family
            and row.get("port") == service["external_port"]
            and row.get("address") == address
        ):
            return row
    return None


def _networks(interfaces: Sequence[Mapping[str, Any]]) -> list[Any]:
    networks = []
    for row in interfaces:
        if row.get("address_class") in ("loopback", "link_local", "global") or not row.get("prefix_length"):
            continue
        networks.append(IPNetwork(f"{row['address']}/{row['prefix_length']}"))
    return networks


def _admitted(vantage: Mapping[str, Any], allow_from: Sequence[str]) -> bool:
    networks = [IPNetwork(text) for text in allow_from]
    return not networks or any(_inside(source, networks) for source in vantage["sources"])


def _inside(address: str, networks: Sequence[Any]) -> bool:
    try:
        return any(IPAddress(address) in network for network in networks)
    except AddrFormatError:
        return False
