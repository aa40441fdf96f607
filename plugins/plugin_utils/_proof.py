# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof: what the vantages saw, put against what was planned.

Runs on the controller only. Pure: no I/O, no Ansible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..module_utils._address._classify import address_class
from ._services import Problem

try:
    from netaddr import AddrFormatError, IPAddress, IPNetwork
except ImportError:  # pragma: no cover - the callers check HAS_NETADDR and say what to install
    HAS_NETADDR = False
else:
    HAS_NETADDR = True

PROVED = "proved"
NOT_PROVED = "not_proved"
UNTESTED = "untested"

#: States that say something of the vantage and nothing of the way: what it saw then is no observation.
_NOT_TESTED = (None, "error", "no_route", "local_drop", "local_reject")

_VANTAGE_KEYS = ("host", "families", "addresses")


def read_vantages(entries: Any, where: str = "publish_vantages", given: bool = True) -> list[Problem]:
    """Return what is wrong with the vantages as the user wrote them.

    Args:
        entries: the vantages.
        where: what the user calls them.
        given: whether they are as he wrote them; else what was read on them stands beside it.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, (str, bytes)):
        return [Problem("vantages-list", f"{where}: {entries!r}", "it is not a list", "Write a list of mappings, each with host")]
    problems = []
    for index, entry in enumerate(entries):
        here = f"{where}[{index}]"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("host"), str) or not entry["host"]:
            problems.append(Problem("vantage-host", f"{here}: {entry!r}", "it names no host", "Write host: the inventory name of a host outside this home"))
            continue
        for key in sorted(set(entry) - set(_VANTAGE_KEYS), key=str) if given else ():
            problems.append(Problem("vantage-key", f"{here}.{key}", "there is no such key", f"The keys are {', '.join(_VANTAGE_KEYS)}"))
        families = entry.get("families")
        if families is not None and (not isinstance(families, list) or not families or [row for row in families if row not in ("ipv4", "ipv6")]):
            problems.append(
                Problem("vantage-families", f"{here}.families: {families!r}", "it is not a list of ipv4 and ipv6", "Write for example families: [ipv4]")
            )
        addresses = entry.get("addresses")
        if addresses is not None and not isinstance(addresses, list):
            problems.append(Problem("vantage-addresses", f"{here}.addresses: {addresses!r}", "it is not a list", "Write for example addresses: [198.51.100.7]"))
            continue
        for address in addresses or ():
            if address_class(str(address)) is None:
                problems.append(Problem("vantage-addresses", f"{here}.addresses: {address}", "it is not an IP address", "Correct it"))
    return problems


def judge_vantages(
    vantages: Sequence[Mapping[str, Any]],
    host_interfaces: Sequence[Mapping[str, Any]],
    wan_address: str | None,
    host: str = "",
) -> list[dict[str, Any]]:
    """Decide which vantages count, and for which families: one inside sees only the inside.

    Addresses tell a part of it; what the published host itself saw of the visit tells the rest, see L(judge_proof).

    Args:
        vantages: C({host, families, addresses, reached, error, interfaces}), interfaces as rows of C(address_info), addresses as the user
            knows them, for a vantage that is behind NAT itself.
        host_interfaces: the published host's own rows.
        wan_address: the home's address on the Internet, None if unknown.
        host: the published host's inventory name.

    Returns:
        per vantage C({host, families, valid, reason, sources, seen_families}); sources are the addresses that it may be seen from,
        seen_families those in which one of them is global, so that it is known from where it will come.
    """
    return [_judge_vantage(vantage, host_interfaces, wan_address, host) for vantage in vantages]


def _judge_vantage(
    vantage: Mapping[str, Any], host_interfaces: Sequence[Mapping[str, Any]], wan_address: str | None, host: str
) -> dict[str, Any]:
    interfaces = vantage.get("interfaces") or ()
    known = [str(address) for address in vantage.get("addresses") or ()]
    own = [str(row["address"]) for row in interfaces if row.get("address_class") not in ("loopback", "link_local") and not row.get("tentative")]
    sources = own + [address for address in known if address not in own]
    outside = known + [str(row["address"]) for row in interfaces if row.get("address_class") == "global"]
    wanted = list(vantage.get("families") or ("ipv4", "ipv6"))
    leaving = _leaving(interfaces)
    families = [
        family
        for family in wanted
        # A vantage of which nothing is known may be anywhere; the visit will tell.
        if not leaving + known or _of_family(known, family) or (_of_family(leaving, family) and not _share_link(leaving, host_interfaces, family))
    ]
    reason = ""
    if vantage["host"] == host or _identity(interfaces) & _identity(host_interfaces):
        reason = "same_host"
    elif not vantage.get("reached"):
        reason = "unreachable"
    elif wan_address and wan_address in sources:
        reason = "same_line"
    elif not families:
        reason = "same_lan"
    return {
        "host": vantage["host"],
        "families": families or wanted,
        "valid": not reason,
        "reason": reason,
        "error": str(vantage.get("error") or ""),
        "sources": sources,
        "seen_families": [family for family in ("ipv4", "ipv6") if _of_family(outside, family)],
    }


def _identity(interfaces: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return addresses that only one host can have: global ones, and the link-local ones that stem from an interface's own hardware address.

    A private address says nothing: half of all homes have a 192.168.1.2, and every Docker host has 172.17.0.1.
    """
    return {
        str(row["address"])
        for row in interfaces
        if row.get("address_class") == "global" or (row.get("address_class") == "link_local" and ":" in str(row["address"]) and row.get("on_default_route"))
    }


def _leaving(interfaces: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the addresses from which a host would leave for the Internet."""
    return [
        str(row["address"])
        for row in interfaces
        if row.get("address_class") not in ("loopback", "link_local") and (row.get("on_default_route") or row.get("publish_candidate"))
    ]


def _share_link(leaving: Sequence[str], host_interfaces: Sequence[Mapping[str, Any]], family: str) -> bool:
    """Whether all these addresses lie in a network that the published host is on, too."""
    own = set(_leaving(host_interfaces))
    networks = [
        IPNetwork(f"{row['address']}/{row['prefix_length']}") for row in host_interfaces if str(row["address"]) in own and row.get("prefix_length")
    ]
    return all(_inside(address, networks) for address in _of_family(leaving, family))


def _of_family(addresses: Sequence[str], family: str) -> list[str]:
    return [address for address in addresses if (":" in address) == (family == "ipv6")]


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
        responder: result of C(probe_responder); C(listeners) says where it could answer, C(visits) who came. A visit that came from
            an address of the inside is one that never left the home.
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
        "wanted": any(row["wanted"] for row in rows),
        "proved": any(row["path"] == PROVED for row in rows) and all(row["path"] == PROVED for row in rows if row["required"] and row["wanted"]),
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
        return {**row, "reason": "no_responder", "detail": str((listener or responder).get("reason") or responder.get("msg") or "")}
    inside = _came_from_inside(responder.get("visits") or (), service, family)
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
        if seen and seen.get("nonce_verified") is True and inside:
            observation["state"] = "seen_inside"
        elif seen and seen.get("nonce_verified") is True:
            if row["path"] != PROVED:
                row.update(path=PROVED, vantage=vantage["host"], reason="")
        elif seen and seen.get("nonce_verified") is False and listener["mode"] == "redirected" and family not in vantage["seen_families"]:
            # The service itself answered, since this host could not know the vantage by the address that its NAT gave it.
            observation["state"] = "unknown_source"
        elif seen and seen.get("state") not in _NOT_TESTED and row["path"] == UNTESTED:
            another = seen.get("state") == "open" and seen.get("nonce_verified") is False
            row.update(path=NOT_PROVED, vantage=vantage["host"], reason="another_answers" if another else str(seen["state"]))
        if after and after.get("state") == "open":
            row["service_state"] = "answered"
        elif after and row["service_state"] == "unknown" and service["protocol"] == "tcp":
            # A UDP service that stays silent may well be alive: WireGuard never answers a stranger.
            row["service_state"] = "silent"
    if row["path"] == UNTESTED:
        reasons = {"unknown_source": "vantage_behind_nat", "seen_inside": "seen_inside", "no_route": "no_route"}
        states = [observation["state"] for observation in row["observations"]]
        row["reason"] = next((reasons[state] for state in states if state in reasons), "probe_error")
    return row


def judge_closed(
    rows: Sequence[Mapping[str, Any]],
    probes: Mapping[str, Sequence[Mapping[str, Any]]],
    responder: Mapping[str, Any],
    given_back: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return, for services that were taken back, whether anything still answers from outside.

    Args:
        rows: C({service, protocol, family, address, external_port, port, method}).
        probes: rows of C(port_probe_info) by vantage, taken while the responder answered.
        responder: result of C(probe_responder). Where it could not answer, silence of a UDP port says nothing.
        given_back: mappings of others that had been taken over, C({protocol, external_port}), and lead here again.
    """
    judged = []
    for row in rows:
        seen = {}
        for vantage, seen_rows in probes.items():
            probe = _find_probe(seen_rows, row, row["family"], row["address"])
            if probe is not None and probe["state"] not in (*_NOT_TESTED, "host_unreachable"):
                seen[vantage] = probe
        listener = _find(responder.get("listeners") or (), row, row["family"], "port", row["port"])
        answering = listener is not None and listener.get("mode") not in (None, "none")
        # Where nobody listens, a way that is open looks like one that is closed, unless something on it drops or rejects.
        telling = [probe for probe in seen.values() if answering or probe["state"] in ("filtered", "rejected")]
        if any(probe["state"] == "open" or probe.get("nonce_verified") for probe in seen.values()):
            # Without NAT and without a filter of ours an own service answers whatever this collection does.
            state = "open_unfiltered" if row["method"] == "direct" else "still_open"
            # Only mappings over IPv4 are taken over.
            if row["family"] == "ipv4" and any((entry["protocol"], entry["external_port"]) == (row["protocol"], row["external_port"]) for entry in given_back):
                state = "given_back"
        else:
            state = "closed" if telling else UNTESTED
        judged.append({**row, "state": state, "observations": {vantage: probe["state"] for vantage, probe in seen.items()}})
    return judged


def _came_from_inside(visits: Sequence[Mapping[str, Any]], service: Mapping[str, Any], family: str) -> bool:
    """Whether all who asked for the nonce came from addresses that the Internet does not carry."""
    sources = [
        str(visit.get("source"))
        for visit in visits
        if visit.get("nonce_verified") and (visit.get("protocol"), visit.get("port"), visit.get("family")) == (service["protocol"], service["port"], family)
    ]
    return bool(sources) and not any(address_class(source) == "global" for source in sources)


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


def _admitted(vantage: Mapping[str, Any], allow_from: Sequence[str]) -> bool:
    networks = [IPNetwork(text) for text in allow_from]
    return not networks or any(_inside(source, networks) for source in vantage["sources"])


def _inside(address: str, networks: Sequence[Any]) -> bool:
    try:
        return any(IPAddress(address) in network for network in networks)
    except AddrFormatError:
        return False
