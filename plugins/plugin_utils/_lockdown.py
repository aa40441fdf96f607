# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is UPnP off, and is what it had opened closed? The checks of one host as data, and the block that a person in a hurry reads.

Runs on the controller only. Pure: no I/O, no Ansible.

What nobody could see is C(untested). That a port does not answer says something only where it is known that packets get to the address and that
something would answer behind it, or where the router's own rules are seen to be gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..module_utils._address._classify import address_class, is_publishable
from ._texts import Texts, load_data

SCHEMA = 1
OK, WARN, FAIL, UNTESTED = "ok", "warn", "fail", "untested"
DISABLED, GUARDED = "disabled", "guarded"
#: What may be wrong with the address that vantages look at.
REMEMBERED, NOT_PUBLIC = "address_remembered", "address_not_public"

#: How many mappings and ports of one kind the block names.
_SHOWN = 8
#: The audit's questions from outside, and our ids for them.
_OUTSIDE = {"A1": "ssdp_outside", "A2": "soap_outside", "A3": "pmp_outside"}
#: In the order in which the block says them.
CHECKS = (
    "ssdp_silent",
    "soap_refused",
    "natpmp_silent",
    "pcp_silent",
    "table_empty",
    "only_declared",
    "removed_gone",
    "daemon_off",
    "rules_gone",
    "ports_closed",
    "pinholes_gone",
    *_OUTSIDE.values(),
    "host_blocked",
)


@dataclass(frozen=True)
class Seen:
    """What a run saw, as the modules returned it. Nothing is an empty dict.

    Attributes:
        before: C(upnp_mappings), before anything changed.
        after: the same, afterwards.
        router: C(router_upnp).
        block: C(upnp_host_block).
        silence: C(upnp_silence_info).
        outside: C(upnp_audit_info) by vantage, of those that ran.
        probes: rows of C(port_probe_info) by vantage.
        inside: rows of C(port_probe_info) from this host to what the mappings lead to.
        vantages: as L(_proof.judge_vantages) returns them.
        forwarded: ports that are forwarded by other means, C({protocol, external_port}).
        pending: whether this is check mode and a run would change something.
        wan_doubt: as L(outside_address) returns it.
    """

    mode: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    router: Mapping[str, Any] = field(default_factory=dict)
    block: Mapping[str, Any] = field(default_factory=dict)
    silence: Mapping[str, Any] = field(default_factory=dict)
    outside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    probes: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    inside: Sequence[Mapping[str, Any]] = ()
    vantages: Sequence[Mapping[str, Any]] = ()
    forwarded: Sequence[Mapping[str, Any]] = ()
    pending: bool = False
    wan_doubt: str = ""

    @property
    def rules_gone(self) -> bool:
        """Whether the router's own rules were read, and none is left."""
        router = self.router
        return bool(router and (router.get("chains") or router.get("chains_seen")) and not router.get("rules_left") and not router.get("other_chains"))

    @property
    def daemon_off(self) -> bool:
        """Whether the router was seen not to run the daemon."""
        return bool(self.router) and not (self.router.get("daemon") or {}).get("running", True)


def check(name: str, state: str, reason: str, **evidence: Any) -> dict[str, Any]:
    """Return a check: its stable id, its state, why as a stable name, and what was seen."""
    return {"id": name, "state": state, "reason": reason, "evidence": evidence}


def former_ports(
    former: Iterable[Mapping[str, Any]],
    current: Iterable[Mapping[str, Any]],
    rules: Iterable[Mapping[str, Any]],
    forwarded: Iterable[Mapping[str, Any]],
    mode: str,
) -> list[dict[str, Any]]:
    """Return the mappings whose ports have to be closed, each port once.

    With UPnP on, what is in the table now is judged as a mapping, not as a port.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in (*former, *rules):
        key = _key(row)
        found[key] = {
            "protocol": key[0],
            "external_port": key[1],
            "internal_client": row.get("internal_client") or "",
            "internal_port": int(row.get("internal_port") or 0),
            "description": row.get("description") or found.get(key, {}).get("description", ""),
        }
    out = {_key(row) for row in forwarded}
    if mode == GUARDED:
        out |= {_key(row) for row in current}
    return [row for key, row in sorted(found.items()) if key not in out]


def _key(row: Mapping[str, Any]) -> tuple[str, int]:
    return str(row["protocol"]), int(row["external_port"])


def locations(before: Mapping[str, Any]) -> dict[str, int]:
    """Return where the router's description is, and where it was when it last answered, each with its TCP port."""
    found: dict[str, int] = {}
    for row in (before.get("gateway"), before.get("remembered")):
        text = str((row or {}).get("location") or "")
        try:
            url = urlsplit(text)
            port = url.port or 80
        except ValueError:
            continue
        if url.scheme == "http" and url.hostname:
            found[text] = port
    return found


def outside_address(given: str, before: Mapping[str, Any]) -> tuple[str, str]:
    """Return the address at which a vantage has to look, and what may be wrong with it.

    Behind another router, or the provider's, the router's address is another host's where the vantage is, or nobody's.
    """
    known = (before.get("gateway") or {}).get("wan_address") or ""
    told = known or (before.get("remembered") or {}).get("wan_address") or ""
    if given or not told:
        return given, ""
    if not is_publishable(told):
        return "", NOT_PUBLIC
    return told, "" if known else REMEMBERED


def outside_targets(ports: Sequence[Mapping[str, Any]], address: str) -> list[dict[str, Any]]:
    """Return what a vantage has to probe."""
    return _targets([(address, str(row["protocol"]), int(row["external_port"])) for row in ports] if address else [])


def inside_targets(ports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what this host has to probe to see whether something listens behind a mapping; over UDP nothing can be seen."""
    rows = [(str(row["internal_client"]), "tcp", int(row["internal_port"])) for row in ports if row["protocol"] == "tcp" and _in_a_lan(row["internal_client"])]
    return _targets(rows)


def _in_a_lan(client: Any) -> bool:
    """Whether a client can be a host of the home. Lists also hold names, broadcast addresses, loopback and hosts on the Internet: nobody is asked there."""
    return ":" not in str(client) and address_class(str(client)) in ("private", "shared_cgn", "link_local", "documentation")


def _targets(rows: Iterable[tuple[str, str, int]]) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, str], set[int]] = {}
    for host, protocol, port in rows:
        if 1 <= port <= 65535 and protocol in ("tcp", "udp"):
            grouped.setdefault((host, protocol), set()).add(port)
    return [
        {"host": host, "protocol": protocol, "ports": ",".join(str(port) for port in sorted(ports)), "families": ["ipv4"]}
        for (host, protocol), ports in grouped.items()
    ]


def judge(seen: Seen) -> list[dict[str, Any]]:
    """Return the checks of a mode, in order."""
    checks = list(_disabled(seen) if seen.mode == DISABLED else _guarded(seen))
    checks += [_ports_closed(seen), *_outside(seen)]
    if seen.block:
        blocked = bool(seen.block.get("table")) and not seen.pending
        checks.append(check("host_blocked", OK if blocked else UNTESTED, "rules_in_force" if blocked else "check_mode"))
    if seen.pending:
        # What is there now is not what will be there then.
        checks = [check(row["id"], UNTESTED, "check_mode") for row in checks]
    return sorted(checks, key=lambda row: CHECKS.index(row["id"]))


def _disabled(seen: Seen) -> Iterable[dict[str, Any]]:
    for name, question in (("ssdp_silent", "ssdp"), ("soap_refused", "soap"), ("natpmp_silent", "natpmp"), ("pcp_silent", "pcp")):
        yield _silent(name, seen.silence.get(question) or {}, seen)
    mappings = list(seen.after.get("mappings") or ())
    if mappings:
        yield check("table_empty", FAIL, "mappings_left", mappings=mappings)
    elif seen.after.get("available") and not seen.after.get("incomplete"):
        yield check("table_empty", OK, "empty")
    elif seen.rules_gone and seen.daemon_off:
        yield check("table_empty", OK, "daemon_off")
    else:
        # A table that nobody shows any more need not be empty: the rules may be in force.
        yield check("table_empty", UNTESTED, "cannot_be_listed", why=seen.after.get("reason", ""))
    if not seen.rules_gone:
        # Nobody lists pinholes, and no port of another host is looked at over IPv6.
        yield check("pinholes_gone", UNTESTED, "pinholes_unlisted")
    if seen.router:
        daemon = seen.router.get("daemon") or {}
        if seen.daemon_off and daemon.get("enabled", False) is not False:
            yield check("daemon_off", UNTESTED, "next_boot_unknown", daemon=daemon)
        else:
            yield check("daemon_off", OK if seen.daemon_off else FAIL, "stopped" if seen.daemon_off else "running", daemon=daemon)
        yield _rules_gone(seen)


def _silent(name: str, answer: Mapping[str, Any], seen: Seen) -> dict[str, Any]:
    state = answer.get("state")
    evidence = {"devices": answer["devices"]} if answer.get("devices") else {}
    if state == "answered":
        return check(name, FAIL, "answered", **evidence)
    if state in ("refused", "silent"):
        return check(name, OK, str(state))
    if answer.get("reason") == "location_unknown" and seen.daemon_off:
        return check(name, OK, "daemon_off")
    return check(name, UNTESTED, str(answer.get("reason") or "not_asked"))


def _rules_gone(seen: Seen) -> dict[str, Any]:
    router = seen.router
    if router.get("rules_left"):
        return check("rules_gone", FAIL, "rules_left", rules=list(router["rules_left"]))
    if router.get("other_chains"):
        return check("rules_gone", UNTESTED, "other_chains", chains=list(router["other_chains"]))
    if not router.get("chains") and not router.get("chains_seen"):
        return check("rules_gone", UNTESTED, "chains_never_seen")
    return check("rules_gone", OK, "empty" if router.get("chains") else "no_chains", chains=list(router.get("chains") or ()))


def _guarded(seen: Seen) -> Iterable[dict[str, Any]]:
    after = seen.after
    if not after.get("available"):
        yield check("only_declared", UNTESTED, "cannot_be_listed", why=after.get("reason", ""))
        yield check("removed_gone", UNTESTED, "cannot_be_listed", why=after.get("reason", ""))
        return
    strangers = [row for row in after.get("mappings") or () if row["decision"] == "not_consented"]
    if strangers:
        yield check("only_declared", WARN, "not_declared", mappings=strangers)
    elif after.get("incomplete"):
        yield check("only_declared", UNTESTED, "list_incomplete", why=after["incomplete"])
    else:
        yield check("only_declared", OK, "declared", mappings=list(after.get("mappings") or ()))
    refused = {_key(row): row.get("error", "") for row in seen.before.get("mappings") or () if row["decision"] == "consented" and row["state"] != "removed"}
    there = [{**row, "error": refused.get(_key(row), "")} for row in after.get("mappings") or () if row["decision"] == "consented"]
    yield check("removed_gone", FAIL if there else OK, "still_there" if there else "gone", mappings=there)


def _ports_closed(seen: Seen) -> dict[str, Any]:
    ports = former_ports(seen.before.get("former") or (), seen.after.get("mappings") or (), seen.router.get("mappings") or (), seen.forwarded, seen.mode)
    if seen.mode == GUARDED and (not seen.after.get("available") or seen.after.get("incomplete")):
        # What is mapped now may be open, and what that is nobody told.
        return check("ports_closed", UNTESTED, "list_incomplete" if seen.after.get("available") else "cannot_be_listed", ports=[])
    if not ports:
        if seen.before.get("cut") and not seen.rules_gone:
            return check("ports_closed", UNTESTED, "list_incomplete", ports=[])
        return check("ports_closed", OK if seen.before.get("available") or seen.rules_gone else UNTESTED, "no_ports", ports=[])
    valid = {vantage["host"] for vantage in seen.vantages if vantage.get("valid")}
    reachable = {host for host in valid if _reachable(seen.outside.get(host) or {})}
    listening = {(str(row["host"]), int(row["port"])) for row in seen.inside if row.get("protocol") == "tcp" and row.get("state") == "open"}
    rows = []
    for port in ports:
        seen_rows = [
            (host, row)
            for host in sorted(valid)
            for row in seen.probes.get(host) or ()
            if (row["protocol"], int(row["port"])) == (port["protocol"], port["external_port"])
        ]
        answers = (port["internal_client"], port["internal_port"]) in listening
        verdicts = [(*_port(str(row["state"]), port["protocol"], answers, host in reachable, seen.rules_gone), host, row["state"]) for host, row in seen_rows]
        if not verdicts:
            verdicts = [(UNTESTED, "all_ports" if not port["external_port"] else _unprobed(seen, bool(valid)), "", "")]
        if seen.wan_doubt == REMEMBERED and not seen.rules_gone:
            verdicts = [(UNTESTED, REMEMBERED, *one[2:]) if one[0] == OK else one for one in verdicts]
        worst = min(verdicts, key=lambda one: (FAIL, OK, UNTESTED).index(one[0]))
        rows.append({**port, "state": worst[0], "reason": worst[1], "vantage": worst[2], "probe": worst[3], "listening": answers})
    for state in (FAIL, UNTESTED):
        bad = [row for row in rows if row["state"] == state]
        if bad:
            return check("ports_closed", state, bad[0]["reason"], ports=rows)
    if seen.before.get("cut") and not seen.rules_gone:
        return check("ports_closed", UNTESTED, "list_incomplete", ports=rows)
    return check("ports_closed", OK, "closed", ports=rows)


def _unprobed(seen: Seen, vantage: bool) -> str:
    """Say why nobody looked."""
    return "no_vantage" if not vantage else NOT_PUBLIC if seen.wan_doubt == NOT_PUBLIC else "not_probed"


def _reachable(outside: Mapping[str, Any]) -> bool:
    """Whether packets from a vantage get to the address at all, by another way than the ports that are judged."""
    for row in outside.get("checks") or ():
        if row.get("id") == "A1":
            addresses = (row.get("evidence") or {}).get("addresses") or ()
            return bool(addresses) and all(address.get("reachable") for address in addresses)
    return False


def _port(probe: str, protocol: str, answers: bool, reachable: bool, rules_gone: bool) -> tuple[str, str]:
    """Say of one port what a probe means."""
    if probe == "open":
        return FAIL, "open"
    if probe in ("closed", "rejected"):
        # The refusal can come from the host behind a rule that is still there.
        return (OK, "closed") if rules_gone or answers else (UNTESTED, "refused_by_whom")
    if probe in ("filtered", "open_or_filtered"):
        if rules_gone:
            return OK, "silent_and_rules_gone"
        if protocol == "udp":
            return UNTESTED, "udp_is_silent"
        if not answers:
            return UNTESTED, "nobody_behind"
        return (OK, "silent") if reachable else (UNTESTED, "silence_unproved")
    return UNTESTED, "nothing_learnt"


def _outside(seen: Seen) -> Iterable[dict[str, Any]]:
    valid = [vantage["host"] for vantage in seen.vantages if vantage.get("valid")]
    for audit, name in _OUTSIDE.items():
        rows = [(host, row) for host in valid for row in (seen.outside.get(host) or {}).get("checks") or () if row.get("id") == audit]
        findings = [{"vantage": host, **one} for host, row in rows for one in row.get("findings") or ()]
        open_questions = [row["reason"] for _host, row in rows if row["status"] == "untested"]
        if findings:
            yield check(name, FAIL, str(findings[0]["name"]), findings=findings)
        elif not rows:
            yield check(name, UNTESTED, _unprobed(seen, bool(valid)))
        elif open_questions and seen.mode == DISABLED and seen.daemon_off:
            yield check(name, OK, "daemon_off")
        elif seen.wan_doubt == REMEMBERED and not (seen.mode == DISABLED and seen.daemon_off):
            yield check(name, UNTESTED, REMEMBERED)
        elif set(open_questions) == {"silence_unproved"} and _answers_inside(audit, seen) and all(_reachable(seen.outside[host]) for host, _row in rows):
            # The router answers this very question in the home, and packets get to it.
            yield check(name, OK, "silent")
        elif open_questions:
            yield check(name, UNTESTED, open_questions[0])
        else:
            yield check(name, OK, str(rows[0][1]["reason"]))


def _answers_inside(audit: str, seen: Seen) -> bool:
    if audit == "A2" and seen.after.get("available") and (seen.after.get("gateway") or {}).get("method") == "upnp":
        # Its list was read by SOAP a moment ago.
        return True
    questions = {"A1": ("ssdp",), "A3": ("natpmp", "pcp")}.get(audit, ())
    return bool(questions) and all((seen.silence.get(question) or {}).get("state") == "answered" for question in questions)


def build_report(host: str, time: str, seen: Seen) -> dict[str, Any]:
    """Return the report as data; everything that the block says is in it."""
    checks = judge(seen)
    mappings = []
    after = {_key(row): row for row in seen.after.get("mappings") or ()}
    for row in seen.before.get("mappings") or ():
        mappings.append({**row, "there": None if seen.pending or not seen.after.get("available") else _key(row) in after})
    gateway = seen.before.get("gateway") or {}
    remembered = seen.before.get("remembered") or {}
    sheet = (
        seen.mode == DISABLED
        and not seen.router
        and not seen.pending
        and any(row["state"] == FAIL and row["id"] in ("ssdp_silent", "soap_refused", "natpmp_silent", "pcp_silent", "table_empty") for row in checks)
    )
    return {
        "schema": SCHEMA,
        "kind": "upnp",
        "mode": seen.mode,
        "host": host,
        "time": time,
        "pending": seen.pending,
        "checks": checks,
        "counts": {state: sum(row["state"] == state for row in checks) for state in (OK, WARN, FAIL, UNTESTED)},
        "mappings": mappings,
        "unmatched": list(seen.before.get("unmatched") or ()),
        "router": {
            "address": gateway.get("address") or remembered.get("address") or seen.silence.get("gateway") or "",
            "product": gateway.get("product") or remembered.get("product") or "",
            "wan_address": gateway.get("wan_address") or remembered.get("wan_address") or "",
            "driver": seen.router.get("driver", ""),
        },
        "connections_ended": seen.router.get("connections_ended"),
        "sheet": sheet,
        # After rules that stayed, only the router can close a port.
        "restart": any(row["id"] == "ports_closed" and row["state"] == FAIL for row in checks) and not seen.router and not sheet,
        "vantages": [{key: vantage.get(key) for key in ("host", "valid", "reason", "error")} for vantage in seen.vantages],
    }


class UpnpTexts(Texts):
    """The texts of this report, in one language."""

    def __init__(self, language: str) -> None:
        super().__init__(language)
        self._texts = load_data(f"texts/upnp/{language}.yml")


def render_block(report: Mapping[str, Any], texts: Texts) -> list[str]:
    """Return the block: the answer first, what was found, what to do, and how to undo."""
    block = _Block(report, texts)
    block.headline()
    for row in report["checks"]:
        block.check(row)
    block.mappings()
    block.todo()
    return block.lines


class _Block:
    def __init__(self, report: Mapping[str, Any], texts: Texts) -> None:
        self.report = report
        self.texts = texts
        self.lines: list[str] = []

    def add(self, tag: str, text: str) -> None:
        self.lines.append(self.texts.line(tag, text))

    def headline(self) -> None:
        report, counts = self.report, self.report["counts"]
        outcome = next((state for state in (FAIL, WARN, UNTESTED) if counts[state]), OK)
        key = "check_mode" if report["pending"] else f"{report['mode']}_{outcome}"
        values = {"host": report["host"], "total": len(report["checks"]), "time": report["time"][11:16]}
        self.lines.append(self.texts.get(f"headline.{key}", **values, **{f"n_{state}": counts[state] for state in counts}))

    def check(self, row: Mapping[str, Any]) -> None:
        if self.report["pending"]:
            return
        evidence = row["evidence"]
        reason = self.texts.get(f"reason.{row['reason']}") if self.texts.has(f"reason.{row['reason']}") else str(row["reason"])
        tag = {OK: "OK", WARN: "NOTE", FAIL: "NO", UNTESTED: "UNSURE"}[row["state"]]
        self.add(tag, f"{self.texts.get('check.' + row['id'])}: {reason}")
        if row["state"] == OK:
            return
        for port in self._some(one for one in evidence.get("ports") or () if one["state"] != OK):
            why = self.texts.get(f"reason.{port['reason']}") if port["reason"] != row["reason"] or port["state"] == FAIL else ""
            self._item(f"{self._mapping(port)}{f': {why}' if why else ''}")
        for mapping in self._some(evidence.get("mappings") or ()):
            self._item(self._mapping(mapping) + (f": {mapping['error']}" if mapping.get("error") else ""))
        for rule in self._some(evidence.get("rules") or ()):
            port = f":{rule['client_port']}" if rule["client_port"] else ""
            self._item(f"{rule['chain']}: {rule['protocol']} {rule['port']} -> {rule['client']}{port}")
        for name in self._some(evidence.get("chains") or ()):
            self._item(str(name))

    def _some(self, rows: Iterable[Any]) -> list[Any]:
        found = list(rows)
        return found if len(found) <= _SHOWN else found[:_SHOWN]

    def _item(self, text: str) -> None:
        self.lines.append(f"         - {text}")

    def _mapping(self, row: Mapping[str, Any]) -> str:
        client = f" -> {row['internal_client']}:{row['internal_port']}" if row.get("internal_client") else ""
        # A description is what a stranger wrote: no control characters, and not without end.
        told = "".join(one if one.isprintable() else "?" for one in str(row.get("description") or ""))[:60]
        return f"{row['protocol']} {row['external_port']}{client}{f' ({told})' if told else ''}"

    def mappings(self) -> None:
        """Say what was removed, and what nobody consented to."""
        report = self.report
        removed = [row for row in report["mappings"] if row["decision"] == "consented" and row["state"] == "removed"]
        for row in self._some(removed):
            self.add("GONE", self.texts.get("removed_would" if report["pending"] else "removed", mapping=self._mapping(row)))
        strangers = [row for row in report["mappings"] if row["decision"] == "not_consented" and row["there"] is not False]
        if strangers and (report["pending"] or report["mode"] == DISABLED):
            self.add("NOTE", self.texts.get("not_consented", count=len(strangers)))
            # Otherwise they stand with the router's list.
            for row in self._some(strangers if report["pending"] else ()):
                self._item(self._mapping(row))

    def todo(self) -> None:
        report, texts = self.report, self.texts
        router = report["router"]
        # The banner in parentheses belongs into the report, not into a sentence.
        product = str(router["product"]).split(" (", maxsplit=1)[0]
        values = {"address": router["address"] or "?", "product": product or texts.get("router")}
        strangers = [row for row in report["mappings"] if row["decision"] == "not_consented" and row["there"] is not False]
        if strangers:
            row = strangers[0]
            consent = f"{{protocol: {row['protocol']}, external_port: {row['external_port']}, internal_client: {row['internal_client']}}}"
            self.add("TODO", texts.get(f"todo.consent_{report['mode']}", consent=consent))
        if report["sheet"]:
            self.add("TODO", texts.get("sheet.title", **values))
            for number in range(1, 6):
                self._item(texts.get(f"sheet.step{number}", **values))
        if report["restart"]:
            self.add("TODO", texts.get("todo.restart", **values))
        if any(row["state"] == UNTESTED and row["reason"] == "no_vantage" for row in report["checks"]):
            self.add("TODO", texts.get("todo.vantage"))
        for vantage in report["vantages"]:
            if not vantage["valid"]:
                self.add("UNSURE", texts.get("vantage", host=vantage["host"], reason=texts.get(f"vantage_reason.{vantage['reason']}")))
        if report["connections_ended"] is None and router["driver"] and not report["pending"]:
            self.add("NOTE", texts.get("connections"))
        if not report["pending"]:
            self.add("UNDO", texts.get("undo"))
