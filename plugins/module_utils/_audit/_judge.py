# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the observations mean: the fourteen checks. Pure.

Private to this collection.

What could not be tested is C(untested). Silence is an answer only where something else shows that the question got there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from . import _banners as banners
from ._mappings import judge_mappings
from ._model import (
    ACCEPTED,
    ANSWERED,
    BOTH,
    CANNOT,
    FINDING,
    LAN,
    OK,
    REFUSED,
    SILENT,
    UNCLEAR,
    UNTESTED,
    WAN,
    Attempt,
    Check,
    Contact,
    Device,
    Door,
    Former,
    LanView,
    Reply,
    WanView,
)

_NO_ANSWER = "no answer from this vantage"
#: States of a probed port that are the host's or the vantage's own trouble and say nothing about the port.
_NOTHING_LEARNT = ("no_route", "host_unreachable", "local_drop", "local_reject", "open_or_filtered", "error")
_FIREWALL_OFF = 702
_RANGE_BYPASS = re.compile(r"miniupnpd", re.IGNORECASE)


def finding(name: str, severity: str, **figures: Any) -> dict[str, Any]:
    """Return a finding: its stable name, how bad it is, and figures."""
    return {"name": name, "severity": severity, **figures}


def settle(check: str, vantage: str, findings: Sequence[dict[str, Any]], untested: Sequence[str], good: str, evidence: dict[str, Any]) -> Check:
    """A finding outweighs what could not be tested, and that outweighs what is well."""
    if findings:
        return Check(check, FINDING, findings[0]["name"], vantage, evidence, tuple(findings))
    if untested:
        return Check(check, UNTESTED, untested[0], vantage, evidence)
    return Check(check, OK, good, vantage, evidence)


# From outside


def judge_wan(view: WanView) -> list[Check]:
    """Say what a vantage outside saw. What needs to be known from inside is settled when both are put together."""
    contacts = {contact.address: contact for contact in view.contacts}
    reach = {}
    for address in view.addresses:
        one = contacts.get(address, Contact(address))
        reach[address] = {"reachable": one.reachable, "udp_reached": one.udp, "tcp_reached": one.tcp}
    by = {contact.address: list(contact.by) for contact in view.contacts}

    def rows(replies: Iterable[Reply]) -> list[dict[str, Any]]:
        return [
            {
                "address": address,
                **reach[address],
                "reached_by": by.get(address, []),
                "questions": [{**reply.as_data(), **({"note": _NO_ANSWER} if reply.state == SILENT else {})} for reply in replies if reply.address == address],
            }
            for address in view.addresses
        ]

    ports = [
        {
            "address": address,
            **reach[address],
            "reached_by": by.get(address, []),
            "ports": [{**door.as_data(), **({"note": _NO_ANSWER} if door.state == "filtered" else {})} for door in view.doors if door.address == address],
        }
        for address in view.addresses
    ]
    seen = [(door.address, door.server) for door in view.doors if door.server] + [(reply.address, reply.server) for reply in view.ssdp if reply.server]
    return [
        _a1({"addresses": rows(view.ssdp)}, None),
        _a2({"addresses": ports, "location_ports": list(view.location_ports), "paths": list(view.paths)}, {}),
        _a3({"addresses": rows(view.pmp)}, None),
        _a8(seen, WAN),
        _a11_outside(view.ipv6_doors, reach),
    ]


def _datagrams(evidence: dict[str, Any], inside: bool | None) -> tuple[list[str], str]:
    """Say which addresses remain untested, and why all is well with the others.

    Silence counts where packets get there and back, and either datagrams do or the router is known to answer the same question inside.
    """
    untested: list[str] = []
    good = REFUSED
    for row in evidence["addresses"]:
        for question in row["questions"]:
            if question["state"] in (ANSWERED, REFUSED):
                continue
            if question["state"] == SILENT and row["reachable"] and (row["udp_reached"] or inside):
                good = SILENT
            else:
                untested.append({"unsent": "not_sent", "rejected": "rejected_on_the_way"}.get(question["state"], "silence_unproved"))
    if not any(row["questions"] for row in evidence["addresses"]):
        untested.append("nothing_asked")
    return untested, good


def _a1(evidence: dict[str, Any], inside: bool | None) -> Check:
    findings = [
        finding(
            "ssdp_answers_outside",
            "high",
            address=row["address"],
            question=question["question"],
            packets=question["packets"],
            bytes=question["received_bytes"],
            amplification=question["amplification"],
            ports=question["ports"],
        )
        for row in evidence["addresses"]
        for question in row["questions"]
        if question["state"] == ANSWERED
    ]
    # The worst reflector first.
    findings.sort(key=lambda row: -row["amplification"])
    return settle("A1", WAN, findings, *_datagrams(evidence, inside), evidence)


def _a3(evidence: dict[str, Any], inside: bool | None) -> Check:
    findings = [
        finding(f"{question['question']}_answers_outside", "high", address=row["address"])
        for row in evidence["addresses"]
        for question in row["questions"]
        if question["state"] == ANSWERED
    ]
    return settle("A3", WAN, findings, *_datagrams(evidence, inside), evidence)


def _a2(evidence: dict[str, Any], inside: dict[int, set[str]]) -> Check:
    """Say whether the description is served and SOAP answers. C(inside): the paths of the router's description inside, by port.

    A filtered port counts as closed where packets get there and back, and either those of TCP do or the router is known to serve its description inside.
    """
    findings: list[dict[str, Any]] = []
    untested: list[str] = []
    good = REFUSED
    known = {*evidence["location_ports"], *inside}
    for row in evidence["addresses"]:
        for door in row["ports"]:
            if door["soap"] == "answered":
                where = {"address": door["address"], "port": door["port"]}
                findings.append(finding("soap_answers_outside", "critical", **where, external_address=door["external_address"]))
            elif door["description"]:
                where = {"address": door["address"], "port": door["port"]}
                findings.append(finding("description_served_outside", "high", **where, location=door["description"]))
            elif door["state"] in _NOTHING_LEARNT:
                untested.append("not_sent")
            elif door["state"] == "rejected_on_the_way":
                untested.append("rejected_on_the_way")
            elif door["state"] == "filtered":
                good = "filtered"
                if not (row["reachable"] and (row.get("tcp_reached") or inside)):
                    untested.append("silence_unproved")
            elif door["state"] == "open" and door.get("http") not in ("answered", "other"):
                untested.append("no_answer")
            elif door["state"] == "open" and inside.get(door["port"], set()) - set(evidence.get("paths", ())):
                untested.append("location_paths_not_asked")
        if not known:
            untested.append("location_ports_unknown")
        elif known - {door["port"] for door in row["ports"]}:
            untested.append("location_ports_not_asked")
    if not evidence["addresses"]:
        untested.append("nothing_asked")
    findings.sort(key=lambda row: row["name"] != "soap_answers_outside")
    return settle("A2", WAN, findings, untested, good, evidence)


def _a11_outside(doors: Sequence[Door], reach: dict[str, dict[str, bool]]) -> Check:
    findings = [finding("ipv6_port_open_outside", "medium", address=door.address, port=door.port) for door in doors if door.state == "open"]
    untested = [
        "silence_unproved"
        for door in doors
        if door.state in ("filtered", "rejected", "rejected_on_the_way") and not reach.get(door.address, {}).get("reachable")
    ]
    untested += ["not_sent" for door in doors if door.state in _NOTHING_LEARNT]
    if not doors:
        untested = ["no_ipv6_address"]
    return settle("A11", WAN, findings, untested, "closed_outside", {"ports": [door.as_data() for door in doors]})


# From inside


def judge_lan(view: LanView) -> list[Check]:
    """Say what was seen from inside, together with what a vantage saw."""
    seen = [(device.address, banner) for device in view.devices for banner in (device.server, device.http_server, device.product) if banner]
    outside = {row["id"]: row for row in view.outside.get("checks", ())}
    return [
        *_outside_checks(view, outside),
        _attempted("A4", view, ("third_party",), {"third_party": ("third_party_target_accepted", "high")}),
        _attempted(
            "A5",
            view,
            ("outside", "router", "loopback"),
            {
                "outside": ("outside_target_accepted", "critical"),
                "router": ("router_target_accepted", "high"),
                "loopback": ("loopback_target_accepted", "high"),
            },
        ),
        _attempted("A6", view, ("low_port",), {"low_port": ("low_port_accepted", "low")}),
        _a7(view),
        _with_outside(_a8(seen, LAN, view.cut), outside.get("A8")),
        _a9(view),
        _a10(view),
        _with_outside(_a11(view), outside.get("A11")),
        _a12(view),
        _a13(view),
        _a14(view),
    ]


def _outside_checks(view: LanView, outside: dict[str, Any]) -> list[Check]:
    # Whether the router answers the same question inside: then its silence outside is its own.
    ssdp_inside = view.gateway_ssdp == ANSWERED or any(device.default_gateway for device in view.devices)
    pmp_inside = any(reply.state == ANSWERED for reply in view.inside)
    served: dict[int, set[str]] = {}
    for device in view.igds:
        if device.device_type and not device.elsewhere and (place := place_of(device.location)) is not None:
            served.setdefault(place[0], set()).add(place[1])
    evidence = {check: outside[check]["evidence"] for check in ("A1", "A2", "A3") if check in outside}
    none = [Check(check, UNTESTED, "no_vantage", WAN) for check in ("A1", "A2", "A3")]
    return [
        _a1(evidence["A1"], ssdp_inside) if "A1" in evidence else none[0],
        _a2(evidence["A2"], served) if "A2" in evidence else none[1],
        _a3(evidence["A3"], pmp_inside) if "A3" in evidence else none[2],
    ]


def _with_outside(check: Check, outside: dict[str, Any] | None) -> Check:
    """Add what a vantage saw to a check that has two sides."""
    if not outside:
        return check
    evidence = {**check.evidence, "outside": outside["evidence"]}
    findings = (*check.findings, *outside["findings"])
    vantage = check.vantage if outside["status"] == UNTESTED else BOTH
    if findings:
        return Check(check.id, FINDING, findings[0]["name"], vantage, evidence, findings)
    return Check(check.id, check.status, check.reason, vantage, evidence)


def no_upnp(view: LanView) -> bool:
    """Whether the router is known not to speak UPnP: it refuses the search, and no port of it serves a description."""
    return (
        view.gateway_ssdp == REFUSED
        and not view.igds
        and bool(view.gateway_doors)
        and all(door.state == "closed" or (door.state == "open" and not door.description and door.http in ("answered", "other")) for door in view.gateway_doors)
    )


def _not_read(view: LanView) -> list[str]:
    """Why there may be more to see among the devices of the LAN than was seen. What is described over IPv4 is known."""
    described = {device.address for device in view.devices if device.device_type}
    unread = any(not device.device_type and device.known_as not in described for device in view.devices)
    return ["no_description"] * unread + ["too_many_devices"] * view.cut


def _without_gateway(view: LanView) -> str:
    return view.no_lan or ("no_answer" if not view.igds else "no_service")


def _not_sent(view: LanView) -> str:
    if not view.active:
        return "not_active"
    return "check_mode" if view.check_mode else ""


def _attempted(check: str, view: LanView, kinds: Sequence[str], names: dict[str, tuple[str, str]]) -> Check:
    if no_upnp(view):
        return Check(check, OK, "no_upnp", LAN, {"gateway": view.gateway})
    made = [attempt for attempt in view.attempts if attempt.kind in kinds]
    evidence: dict[str, Any] = {"attempts": [attempt.as_data() for attempt in made]}
    reasons = {kind: view.not_attempted[kind] for kind in kinds if kind in view.not_attempted}
    if reasons:
        evidence["not_attempted"] = reasons
    if not made:
        reason = _without_gateway(view) if not any(device.services for device in view.igds) else _not_sent(view) or next(iter(reasons.values()), "no_answer")
        return Check(check, UNTESTED, reason, LAN, evidence)
    findings = [
        finding(
            *names[attempt.kind],
            gateway=attempt.gateway,
            target=attempt.target,
            external_port=attempt.external_port,
            removed_by=attempt.removed_by,
            left=attempt.left,
        )
        for attempt in made
        if attempt.state == ACCEPTED
    ]
    untested = [_why_unclear(attempt) for attempt in made if attempt.state in (CANNOT, UNCLEAR)] + list(reasons.values())
    return settle(check, LAN, findings, untested, REFUSED, evidence)


def _why_unclear(attempt: Attempt) -> str:
    return attempt.note or ("router_cannot_map" if attempt.state == CANNOT else "no_answer")


def _a7(view: LanView) -> Check:
    evidence = {"subscriptions": [row.as_data() for row in view.subscriptions]}
    events = [service for device in view.devices for service in device.services if service.event is not None]
    if not view.devices:
        return Check("A7", UNTESTED, view.no_lan or "no_device", LAN, evidence)
    if not events:
        return settle("A7", LAN, [], _not_read(view), "no_events", evidence)
    if not view.subscriptions:
        return Check("A7", UNTESTED, _not_sent(view) or "no_answer", LAN, evidence)
    findings = [
        finding("callback_outside_accepted", "high", address=row.address, url=row.url, cve="CVE-2020-12695", left=row.left)
        for row in view.subscriptions
        if row.granted
    ]
    # Anything but an error of the request is no refusal: a device that fails may yet have taken it.
    untested = [row.note or "no_answer" for row in view.subscriptions if not row.granted and (row.status is None or not 400 <= row.status < 500)]
    return settle("A7", LAN, findings, untested + _not_read(view), REFUSED, evidence)


def _a8(seen: Sequence[tuple[str, str]], vantage: str, cut: bool = False) -> Check:
    pairs = list(dict.fromkeys(seen))
    findings = []
    named = set()
    for address, banner in pairs:
        for row, text in banners.holes(banner):
            if (address, text, row.ids) in named:
                continue
            named.add((address, text, row.ids))
            findings.append(
                finding(
                    "version_older_than_fix",
                    row.severity,
                    address=address,
                    version=text,
                    fixed=".".join(str(part) for part in row.fixed),
                    cves=list(row.ids),
                    source=row.source,
                    source_date=banners.DATE,
                    note=banners.NOTE.format(ids=", ".join(row.ids)),
                )
            )
        findings += [
            finding("maker_support_ended", "medium", address=address, device=banner, since=row.since, source=row.source) for row in banners.unsupported(banner)
        ]
    evidence = {"banners": [{"address": address, "banner": banner} for address, banner in pairs], "table_date": banners.DATE}
    # Banners that the table does not know are no proof of anything, but there is nothing against them.
    return settle("A8", vantage, findings, ["no_banner"] * (not pairs) + ["too_many_devices"] * cut, "nothing_known_against_it", evidence)


def _a9(view: LanView) -> Check:
    tables = [{"gateway": table.gateway, "entries": len(table.entries), "reason": table.reason, "code": table.code} for table in view.tables]
    evidence: dict[str, Any] = {
        "tables": tables,
        "clients_asked": len(view.alive),
        "listening_ports_known": view.listening is not None,
        "known_clients": list(view.known_clients),
    }
    findings = [finding(flag, severity, **_shown(row)) for row in judge_mappings(view) for flag, severity in row["judged"]]
    order = ("critical", "high", "medium", "low", "info")
    findings.sort(key=lambda row: order.index(row["severity"]))
    untested = [table.reason for table in view.tables if table.reason]
    if not view.tables:
        # That the router does not speak UPnP does not say what it forwards.
        untested = [view.no_lan or ("cannot_be_listed" if any(reply.state == ANSWERED for reply in view.inside) or no_upnp(view) else "no_answer")]
    return settle("A9", LAN, findings, untested, "nothing_against_it" if any(row["entries"] for row in tables) else "empty", evidence)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    keys = ("gateway", "protocol", "external_port", "internal_client", "internal_port", "description", "lease", "owner")
    return {key: row[key] for key in keys}


def _a10(view: LanView) -> Check:
    if no_upnp(view):
        # PCP and NAT-PMP remove only what the asking address made.
        return Check("A10", OK, "no_upnp", LAN, {"gateway": view.gateway})
    # A mapping to another address, made by the attempts above, is another's as far as the router can tell.
    proved = [attempt for attempt in view.attempts if attempt.kind == "third_party" and attempt.state == ACCEPTED and attempt.removed_by]
    evidence: dict[str, Any] = {
        "proved": bool(proved),
        "range_action": [
            {"gateway": row.gateway, "product": row.product, "described": row.described, "answered": row.answered, "code": row.code} for row in view.deletions
        ],
    }
    findings = [finding("foreign_deletion_accepted", "medium", gateway=attempt.gateway, action=attempt.removed_by, proved=True) for attempt in proved]
    shown = {attempt.gateway for attempt in proved}
    findings += [
        finding("range_deletion_known_of_product", "medium", gateway=row.gateway, action="DeletePortMappingRange", product=row.product, proved=False)
        for row in view.deletions
        if row.gateway not in shown and _RANGE_BYPASS.search(row.product) and (row.described if row.answered is None else row.answered)
    ]
    if not view.deletions:
        return settle("A10", LAN, findings, [_without_gateway(view)], "", evidence)
    # Whether a mapping of another host can be removed shows only on a mapping of another host, and those are left alone.
    return settle("A10", LAN, findings, ["needs_foreign_mapping"], "", evidence)


def _a11(view: LanView) -> Check:
    seen = view.pinholes
    evidence = seen.as_data()
    findings = []
    if seen.firewall_enabled is False or any(attempt.code == _FIREWALL_OFF for attempt in seen.attempts):
        findings.append(finding("ipv6_firewall_off", "high", gateway=view.gateway))
    if seen.port_22 == "granted":
        findings.append(finding("pinhole_for_ssh_granted", "high", address=seen.address, gateway=seen.gateway, left=seen.left))
    findings += [
        finding(
            *{"low_port": ("low_pinhole_granted", "medium"), "third_party": ("third_party_pinhole_granted", "high")}[attempt.kind],
            address=attempt.target,
            port=attempt.port,
            gateway=attempt.gateway,
            left=attempt.left,
        )
        for attempt in seen.attempts
        if attempt.state == ACCEPTED
    ]
    if not seen.gateway or not seen.address:
        untested = [view.no_lan or "no_ipv6"]
    else:
        untested = [reason for reason in (_pcp_not_tested(view), *_upnp_pinholes_not_tested(view)) if reason]
    refused = seen.port_22 == "refused" or any(attempt.state == REFUSED for attempt in seen.attempts)
    return settle("A11", LAN, findings, untested, REFUSED if refused else "no_pcp_over_ipv6", evidence)


def _pcp_not_tested(view: LanView) -> str:
    seen = view.pinholes
    if seen.port_22 in ("published", "records_unreadable"):
        return seen.port_22
    if seen.port_22 == "unclear" or (seen.pcp not in (ANSWERED, REFUSED) and not seen.port_22):
        return "no_answer"
    return _not_sent(view) or "no_answer" if seen.pcp == ANSWERED and not seen.port_22 else ""


def _upnp_pinholes_not_tested(view: LanView) -> list[str]:
    seen = view.pinholes
    if seen.offered is None:
        # What the router offers is not known, unless it offers nothing.
        return [] if no_upnp(view) else ["no_description" if view.igds else "no_answer"]
    if not seen.offered:
        return []
    if not seen.attempts:
        # A router that says that it opens nothing is believed where nothing may be written.
        return [] if seen.inbound_allowed is False and not seen.not_attempted else [_not_sent(view) or seen.not_attempted or "no_answer"]
    unclear = [attempt.note or "router_cannot_open" for attempt in seen.attempts if attempt.state in (CANNOT, UNCLEAR) and attempt.code != _FIREWALL_OFF]
    return [*unclear, seen.not_attempted]


def _a12(view: LanView) -> Check:
    if not view.former:
        return Check("A12", UNTESTED, "nothing_given", LAN, {"ports": []})
    listed = {entry.key for table in view.tables for entry in table.entries}
    # An address that answers on some port is the right one, so that silence on another port is a filter.
    answering = {row.get("address") for row in view.probes if row.get("state") in ("open", "closed")}
    findings: list[dict[str, Any]] = []
    untested: list[str] = []
    rows = []
    for former in view.former:
        key = (former.protocol, former.external_port)
        if key in listed:
            findings.append(finding("mapping_still_listed", "medium", protocol=former.protocol, external_port=former.external_port))
        probed = [row for row in view.probes if (row.get("protocol"), row.get("port")) == key]
        verdicts = [_after(former, row, answering) for row in probed] or ["not_probed"]
        rows.append(
            {
                "protocol": former.protocol,
                "external_port": former.external_port,
                "listed": key in listed,
                "states": [row.get("state", "") for row in probed],
                "verdict": verdicts[0],
            }
        )
        findings += [
            finding("port_still_open", "high", protocol=former.protocol, external_port=former.external_port) for verdict in verdicts if verdict == "open"
        ]
        untested += [verdict for verdict in verdicts if verdict not in ("open", "closed")]
    findings.sort(key=lambda row: row["name"] != "port_still_open")
    return settle("A12", BOTH, findings, untested, "closed", {"ports": rows})


def _after(former: Former, row: dict[str, Any], answering: set[Any]) -> str:
    state = row.get("state")
    if state == "open":
        return "open"
    if state == "closed":
        # Refused by the router, or by a host behind a rule that is still there: only with a listener behind it is it the router.
        return "closed" if former.listening else "refused_by_whom"
    if state in ("filtered", "rejected"):
        return "closed" if row.get("address") in answering else "silence_unproved"
    return "not_learnt"


def _a13(view: LanView) -> Check:
    # A router that answers over IPv4 and IPv6 is one.
    strangers = {device.known_as: device for device in sorted(view.igds, key=lambda one: ":" not in one.address) if not device.default_gateway}
    gateways = sorted({*strangers, *([view.gateway] if any(device.default_gateway for device in view.igds) else [])})
    evidence = {"gateway": view.gateway, "multicast_answered": view.multicast_answered, "gateway_devices": gateways}
    findings = []
    for device in strangers.values():
        findings.append(finding("gateway_is_not_default_route", "high", address=device.address, location=device.location, product=device.product))
    if len(gateways) > 1:
        findings.append(finding("several_gateways", "medium", addresses=gateways))
    for device in view.devices:
        if device.elsewhere:
            findings.append(finding("location_elsewhere", "high" if device.igd else "medium", address=device.address, location=device.location))
    described = {device.address for device in view.devices if device.device_type}
    unread = [row for row in view.devices if row.problem and not row.elsewhere and not row.default_gateway and row.known_as not in described]
    untested = []
    if not view.multicast_answered:
        # Nobody heard the question, or this host does not hear the answers.
        untested.append(view.no_lan or "no_answer")
    elif unread:
        untested.append("no_description")
    untested += ["too_many_devices"] * view.cut
    return settle("A13", LAN, findings, untested, "one_gateway" if view.igds else "no_gateway_device", evidence)


def _a14(view: LanView) -> Check:
    if no_upnp(view) and not view.devices:
        return Check("A14", OK, "no_upnp", LAN, {"devices": []})
    asked = [device for device in view.devices if device.device_type and not device.elsewhere]
    evidence = {"devices": [{"address": device.address, "location": device.location, "status": device.forged_host} for device in asked]}
    if not asked:
        return Check("A14", UNTESTED, view.no_lan or ("no_description" if view.devices else "no_device"), LAN, evidence)
    findings = [
        finding("host_header_not_checked", "medium" if device.igd else "low", address=device.address, location=device.location)
        for device in asked
        if device.forged_host is not None and 200 <= device.forged_host < 300
    ]
    untested = ["no_answer" for device in asked if device.forged_host is None or device.forged_host >= 500]
    untested += _not_read(view)
    return settle("A14", LAN, findings, untested, REFUSED, evidence)


def place_of(location: str) -> tuple[int, str] | None:
    """Return the port and the path of an address."""
    match = re.match(r"http://(?:\[[^]/]*\]|[^]/:]*)(?::([0-9]{1,5}))?(/.*)?\Z", location)
    return (int(match.group(1) or 80), match.group(2) or "/") if match else None


def devices_data(devices: Sequence[Device]) -> list[dict[str, Any]]:
    """Return the census, gateways first."""
    return [device.as_data() for device in sorted(devices, key=lambda one: (not one.default_gateway, not one.igd, one.address, one.location))]
