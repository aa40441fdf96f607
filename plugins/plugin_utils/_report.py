# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of one host: the facts as data, and the block of text that a person in a hurry reads.

Runs on the controller only. Pure: no I/O, no Ansible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._inbound import PUBLISHED
from ._proof import NOT_PROVED, PROVED, UNTESTED
from ._publication import nearest_port
from ._texts import Texts

#: Version of the shape of report.json; see docs/report.md.
SCHEMA = 1

#: How many mappings of the router the block lists.
_MAPPINGS = 6

#: How many port ranges of a shared address the block names.
_RANGES = 3

#: Consequences that the headline, the line or the ways say already.
_SAID_ELSEWHERE = ("one_forward", "no_inbound_ipv4", "ipv6_remains", "no_ipv6")

#: What is said of a port by what came of the trial. What the host's own firewall keeps is opened when it is published.
_INBOUND_TAGS = {
    PUBLISHED: "OK",
    "host_firewall": "NOTE",
    "service_down": "TODO",
    "host_refuses": "TODO",
    **dict.fromkeys(("another_device", "closed_before_home", "not_forwarded", "rejected_on_the_way"), "NO"),
}

#: Address families by service, as the block names it.
_Items = dict[str, list[str]]


def build_report(
    kind: str,
    host: str,
    time: str,
    plan: Mapping[str, Any] | None = None,
    proof: Mapping[str, Any] | None = None,
    closed: Sequence[Mapping[str, Any]] = (),
    name: Mapping[str, Any] | None = None,
    changes: Mapping[str, int] | None = None,
    journal: Mapping[str, Any] | None = None,
    outcome: str = "done",
    reason: str = "",
    untested: str = "",
    todo: Sequence[Mapping[str, Any]] = (),
    vantages: Sequence[Mapping[str, Any]] = (),
    mappings: Sequence[Mapping[str, Any]] = (),
    inbound: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the report as data; everything that the block says is in it.

    Args:
        kind: C(publish), C(unpublish), C(verify), C(status) or C(diagnose).
        host: the host's inventory name.
        time: when, RFC 3339 in UTC.
        plan: the plan as data.
        proof: as L(judge_proof) returns it.
        closed: as L(judge_closed) returns it.
        name: C({name, state, expected, servers, stale_until}); state is one of the texts C(name.*), expected the addresses that were
            published, servers the rows of C(dns_record_info).
        changes: how many rules, mappings and records the publication consists of.
        journal: result of C(publication_journal).
        outcome: C(done), C(check_mode), C(impossible), C(failed), C(failed_restored) or C(failed_both).
        reason: why it failed.
        untested: why nothing was tested from outside.
        todo: what the user should do, C({id, ...values}).
        vantages: as L(judge_vantages) returns them.
        mappings: what the router forwards, as C(port_mapping_info) returns it.
        inbound: what came in when it was tried, as C(inbound_trial) returns it.
    """
    services = []
    for service in (plan or {}).get("services") or ():
        rows = [row for row in (proof or {}).get("rows") or () if row["service"] == service["name"]]
        services.append({**service, "proof": rows})
    return {
        "schema": SCHEMA,
        "kind": kind,
        "host": host,
        "time": time,
        "outcome": outcome,
        "reason": reason,
        "untested": untested,
        "line": (plan or {}).get("line"),
        "services": services,
        "problems": list((plan or {}).get("problems") or ()),
        "proved": bool((proof or {}).get("proved")),
        "closed": list(closed),
        "name": _summarise_name(name) if name else None,
        # Templates of older cores turn numbers into text.
        "changes": {key: int(value) for key, value in (changes or {}).items()},
        "todo": list(todo),
        "vantages": [{key: vantage[key] for key in ("host", "families", "valid", "reason", "error")} for vantage in vantages],
        "mappings": [dict(row) for row in mappings],
        "inbound": [dict(row) for row in inbound],
        "published_since": ((journal or {}).get("committed") or {}).get("since"),
        "pending_since": ((journal or {}).get("pending") or {}).get("since"),
        "last_proof": ((journal or {}).get("proof") or {}).get("time"),
    }


def render_block(report: Mapping[str, Any], texts: Texts) -> list[str]:
    """Return the block: the answer first, then the line, the services, what to do, and how to undo."""
    block = _Block(report, texts)
    block.headline()
    if report["kind"] in ("publish", "verify", "diagnose", "status") and report["line"]:
        block.picture()
        block.line()
    if report["kind"] == "diagnose" and report["line"]:
        block.evidence()
    if report["outcome"] == "impossible":
        block.impossible()
        block.ways()
    elif report["kind"] == "unpublish":
        block.closed()
    else:
        if report["inbound"]:
            block.inbound()
        else:
            block.services()
        if report["kind"] == "diagnose":
            block.ways()
            block.mappings()
    block.name()
    block.problems()
    block.todo()
    if report["kind"] in ("publish", "status") and report["outcome"] == "done" and report["services"]:
        block.undo()
    return block.lines


class _Block:
    def __init__(self, report: Mapping[str, Any], texts: Texts) -> None:
        self.report = report
        self.texts = texts
        self.lines: list[str] = []
        self._rows = [row for service in report["services"] for row in service["proof"]]

    def add(self, tag: str, text: str) -> None:
        self.lines.append(self.texts.line(tag, text))

    def headline(self) -> None:
        report, texts = self.report, self.texts
        total = len(report["services"])
        values: dict[str, Any] = {"host": report["host"], "total": total, "time": report["time"][11:16], "reason": report["reason"]}
        kind, outcome = report["kind"], report["outcome"]
        if outcome in ("failed", "failed_restored", "failed_both", "check_mode"):
            key = outcome
        elif outcome == "impossible":
            key = "impossible"
            values["services"] = self._join(self._item(service) for service in report["services"] if _impossible_families(service))
        elif kind == "diagnose":
            key = "diagnose"
            line = report["line"]
            tried = [row for row in report["inbound"] if row["state"] != UNTESTED]
            if tried:
                key = "diagnose_tried"
                values.update(
                    rows=len(tried),
                    open=len([row for row in tried if row["state"] == PUBLISHED]),
                    vantage=self._join(sorted({row["vantage"] for row in tried})),
                )
            # What the router says and the readings do not contradict can be tried; only the proof decides then.
            likely = line["verdict"] == "nat_unknown" and line["mapping_available"] and not line["blocked_by"]
            # An address that is translated one to one is of no use behind a router that has none on the Internet, as the line is now.
            summary = "double_nat_or_cgn" if line["verdict"] == "one_to_one_nat" and line["blocked_by"] else line["verdict"]
            values["summary"] = texts.get("diagnosis.to_be_tried" if likely else f"diagnosis.{summary}")
        elif kind == "unpublish":
            key = self._headline_unpublish(values)
        elif kind == "status" and report["pending_since"]:
            key = "status_pending"
            values["since"] = report["pending_since"]
        elif not total:
            key = "nothing_published"
        elif kind == "status":
            key = "status"
            values["since"] = report["published_since"]
        else:
            key = self._headline_proof(values)
        self.lines.append(texts.get(f"headline.{key}", **values))

    def _headline_unpublish(self, values: dict[str, Any]) -> str:
        closed = self.report["closed"]
        if not values["total"]:
            return "nothing_published"
        tested = [row for row in closed if row["state"] != UNTESTED]
        if not tested:
            values["reason"] = self._untested(self.report["untested"] or "no_vantage")
            return "unpublished_untested"
        opened = [row for row in closed if row["state"] in ("still_open", "open_unfiltered", "given_back")]
        values.update(
            closed=len([row for row in closed if row["state"] == "closed"]),
            rows=len(closed),
            open=len(opened),
            vantage=self._join(sorted({vantage for row in tested for vantage in row["observations"]})),
        )
        return "unpublished_open" if opened else "unpublished"

    def _headline_proof(self, values: dict[str, Any]) -> str:
        tested = [row for row in self._rows if row["path"] != UNTESTED]
        if not tested:
            reasons = {row["reason"] for row in self._rows}
            values["reason"] = self._untested(self.report["untested"] or (reasons.pop() if len(reasons) == 1 else "no_vantage"))
            return "untested"
        values["proved"] = len([service for service in self.report["services"] if any(row["path"] == PROVED for row in service["proof"])])
        values["vantage"] = self._join(sorted({row["vantage"] for row in tested if row["vantage"]}))
        if values["proved"] == values["total"] and all(row["path"] == PROVED or not row["required"] or not row["wanted"] for row in self._rows):
            return "all_proved"
        return "some_proved" if values["proved"] else "none_proved"

    def picture(self) -> None:
        line = self.report["line"]
        hops = ["Internet"]
        if line["verdict"] != "public_direct":
            wan = line["wan_address"] or "?"
            # The banner in parentheses belongs into the report, not into a picture.
            product = str(line["router_product"] or "router").split(" (", maxsplit=1)[0]
            hops.append(f"{wan} {product} {line['router_address'] or '?'}")
        host_address = line["wan_address"] if line["verdict"] == "public_direct" else line["host_address"]
        hops.append(f"{self.report['host']} {host_address or '?'}")
        self.lines.append("  " + " == ".join(hops))

    def line(self) -> None:
        line, texts = self.report["line"], self.texts
        told = line.get("router_wan_address") or line["wan_address"]
        wan = texts.get("wan_value.value", wan_address=told) if told else texts.get("wan_value.hidden")
        key = line["blocked_by"] if texts.has(f"why.{line['blocked_by']}") else "other"
        why = texts.get(f"why.{key}", detail=line["mapping_reason"], wan_address=line["wan_address"], wan_class=line["wan_address_class"])
        shared = line.get("map_e") or {}
        ranges = [f"{row['first']}-{row['last']}" for row in line.get("ports") or ()]
        values = {
            "wan_address": line["wan_address"] or "?",
            "router": line["router_address"] or "?",
            "wan": wan,
            "why": why,
            "count": shared.get("count"),
            "service": shared.get("service") or "MAP-E",
            "ports": ", ".join(ranges[:_RANGES]) + (", …" if len(ranges) > _RANGES else ""),
        }
        candidates = [name for name in line.get("candidates") or () if name != line["verdict"]]
        if line["verdict"] == "nat_unknown" and candidates and not line["blocked_by"]:
            self.add("LINE", texts.get("line.candidates", candidates=texts.get("or").join(texts.get(f"kind.{name}") for name in candidates)))
        elif line["verdict"] == "cgn" and line["wan_address_class"] != "shared_cgn":
            # The router need not tell: the readings show that somebody beyond it translates.
            self.add("LINE", texts.get("line.cgn_beyond", **values))
        elif line["verdict"] == "nat_single" and "wan_seen" in (line.get("verdict_reasons") or ()):
            self.add("LINE", texts.get("line.nat_single_seen", **values))
        else:
            self.add("LINE", texts.get(f"line.{line['verdict']}", **values))

    def evidence(self) -> None:
        """Say how long the address stays, what does not fit together, what follows, and what would decide."""
        line, texts = self.report["line"], self.texts
        stability = line.get("address_stability") or {}
        seen = stability.get("ipv4") or {}
        if stability.get("kind") == "static":
            self.add("NOTE", texts.get(f"stability.static_{stability['evidence']}"))
        if seen.get("observed_days"):
            self.add("NOTE", texts.get("stability.seen", days=seen["stable_days"], changes=seen["changes"], observed=seen["observed_days"]))
        elif stability.get("kind") == "dynamic":
            self.add("NOTE", texts.get("stability.dynamic"))
        for row in line.get("contradictions") or ():
            self.add("UNSURE", texts.get(f"contradiction.{row['name']}", sources=self._join(row["sources"]) or texts.get("contradiction.own")))
        values = {"host_address": line["host_address"] or "?", "router": line["router_address"] or "?"}
        for row in line.get("consequences") or ():
            if row["name"] not in _SAID_ELSEWHERE:
                self.add("TODO" if row["name"] == "lan_address_dynamic" else "NOTE", texts.get(f"consequence.{row['name']}", **values))
        for row in line.get("questions") or ():
            self.add("TODO", texts.get(f"question.{row['name']}", **values))

    def impossible(self) -> None:
        """Say what cannot be, services with one reason together."""
        groups: dict[str, _Items] = {}
        for service in self.report["services"]:
            for family, decision in _impossible_families(service):
                groups.setdefault(decision["reason"], {}).setdefault(self._item(service), []).append(family)
        for reason, items in groups.items():
            self.add("NO", f"{self._with_families(items)}: {self.texts.get('impossible.' + reason)}")

    def ways(self) -> None:
        seen: list[str] = []
        line = self.report["line"] or {}
        others: list[str] = []
        for service in self.report["services"]:
            for _family, decision in _impossible_families(service):
                seen.extend(way for way in decision["ways"] if way not in seen)
                if "other_port" in decision["ways"]:
                    others.append(self.texts.get("other_port", service=service["name"], port=nearest_port(line, service["external_port"])))
        values = {
            "ports": self._join(others),
            "router": line.get("router_address") or "?",
            "inner_address": line.get("router_wan_address") or self.texts.get("inner_address"),
            "host_address": line.get("host_address") or "?",
        }
        for letter, way in zip("abcdefghij", seen):
            self.add("WAYS", f"{letter}) {self.texts.get('way.' + way, **values)}")

    def services(self) -> None:
        texts = self.texts
        if self.report["outcome"].startswith("failed"):
            return
        if self.report["outcome"] != "done" or not self._rows:
            planned: dict[str, _Items] = {}
            for service in self.report["services"]:
                for family, decision in service["families"].items():
                    if decision["path"] != "impossible":
                        planned.setdefault(decision["path"], {}).setdefault(self._item(service), []).append(family)
            for path, items in planned.items():
                self.add("NOTE", f"{self._with_families(items)}: {texts.get('path.' + path)}")
            return
        groups: dict[tuple[str, str, str], _Items] = {}
        optional: list[str] = []
        silent: list[str] = []
        for service in self.report["services"]:
            item = self._item(service)
            for row in service["proof"]:
                if row["path"] == NOT_PROVED and not row["required"]:
                    optional.append(item)
                    continue
                groups.setdefault((row["path"], row["method"], row["reason"]), {}).setdefault(item, []).append(row["family"])
                if row["path"] == PROVED and row["service_state"] == "silent" and item not in silent:
                    silent.append(item)
        for (path, method, reason), items in groups.items():
            services = self._with_families(items)
            if path == PROVED:
                self.add("OK", f"{services}: {texts.get('path.' + method)}; {texts.get('nonce_each')}")
            elif path == NOT_PROVED:
                self.add("NO", f"{services}: {texts.get('state.' + reason) if texts.has('state.' + reason) else reason}")
            else:
                self.add("UNSURE", f"{services}: {self._untested(reason)}")
        if silent:
            self.add("NOTE", texts.get("service_state.silent", services=self._join(silent)))
        if optional:
            self.add("TODO", texts.get("todo.ipv6_not_proved", services=self._join(optional)))

    def inbound(self) -> None:
        """Say what came in when it was tried, and what keeps the rest; ports with one cause together."""
        items = {service["name"]: self._item(service) for service in self.report["services"]}
        groups: dict[tuple[str, str, bool, tuple[str, ...], str], _Items] = {}
        for row in self.report["inbound"]:
            path = next((one["families"][row["family"]]["path"] for one in self.report["services"] if one["name"] == row["service"]), "")
            cause = (row["state"], path, row["sure"], tuple(row["notes"]), row["reason"])
            groups.setdefault(cause, {}).setdefault(items[row["service"]], []).append(row["family"])
        for (state, path, sure, notes, reason), services in groups.items():
            said = [self.texts.get(f"inbound_note.{note}") for note in notes]
            if state in (PUBLISHED, UNTESTED):
                said.insert(0, self.texts.get(f"path.{path}"))
            if state != UNTESTED:
                said.insert(-len(notes) or len(said), self.texts.get(f"inbound.{state}"))
            tag = _INBOUND_TAGS.get(state, "UNSURE") if sure or state == "host_firewall" else "UNSURE"
            if state == UNTESTED and set(notes) <= {"check_mode", "no_vantage"}:
                # Nobody tried, as was asked for.
                tag = "NOTE"
            self.add(tag, f"{self._with_families(services)}: " + self.texts.get("and_also").join([*said, *([reason] if reason else [])]))

    def mappings(self) -> None:
        """List what the router forwards already, whoever made it; a long list goes on in report.json."""
        rows = self.report["mappings"]
        for row in rows[:_MAPPINGS]:
            values = {key: row.get(key) for key in ("external_port", "internal_client", "internal_port", "description")}
            owner = self.texts.get("owner." + (row["owner"] if self.texts.has(f"owner.{row['owner']}") else "foreign"))
            self.add("NOTE", self.texts.get("mapping", protocol=str(row["protocol"]).upper(), owner=owner, **values))
        if len(rows) > _MAPPINGS:
            self.add("NOTE", self.texts.get("mappings_more", count=len(rows) - _MAPPINGS))

    def closed(self) -> None:
        groups: dict[str, _Items] = {}
        for row in self.report["closed"]:
            item = f"{row['service']} {row['protocol'].upper()} {row['external_port']}"
            groups.setdefault(row["state"], {}).setdefault(item, []).append(row["family"])
        for state, items in groups.items():
            self.add("GONE" if state == "closed" else "NOTE", self.texts.get(f"closed.{state}", services=self._with_families(items)))

    def name(self) -> None:
        name = self.report["name"]
        if not name:
            return
        state = name["state"]
        if state == "published" and name["agreeing"] < name["authorities"]:
            state = "published_partly"
        elif state == "published" and name["stale_until"]:
            state = "published_stale"
        values = {**name, "addresses": self._join(name["addresses"]), "until": (name["stale_until"] or "")[11:16]}
        self.add("NAME", self.texts.get(f"name.{state}", **values))

    def problems(self) -> None:
        for problem in self.report["problems"]:
            self.add("NO", f"{problem['subject']}: {problem['reason']}. {problem['remedy']}")
        for vantage in self.report["vantages"]:
            if not vantage["valid"]:
                self.add("NOTE", self.texts.get(f"vantage.{vantage['reason']}", host=vantage["host"], error=vantage["error"]))

    def todo(self) -> None:
        for row in self.report["todo"]:
            values = {key: value for key, value in row.items() if key != "id"}
            self.add("TODO", self.texts.get(f"todo.{row['id']}", **values))

    def undo(self) -> None:
        changes = self.report["changes"]
        self.add("UNDO", self.texts.get("undo", **{key: changes.get(key, 0) for key in ("rules", "mappings", "records")}))

    def _item(self, service: Mapping[str, Any]) -> str:
        ports = str(service["external_port"])
        if service["external_port"] != service["port"]:
            ports = self.texts.get("ports_translated", external_port=service["external_port"], port=service["port"])
        return self.texts.get("service_item", name=service["name"], protocol=service["protocol"].upper(), ports=ports)

    def _with_families(self, items: _Items) -> str:
        return self._join(f"{item} ({', '.join(self.texts.get('family.' + family) for family in families)})" for item, families in items.items())

    def _untested(self, reason: str) -> str:
        return self.texts.get(f"untested.{reason}") if self.texts.has(f"untested.{reason}") else reason

    def _join(self, items: Any) -> str:
        return self.texts.get("and").join(str(item) for item in items)


def _summarise_name(name: Mapping[str, Any]) -> dict[str, Any]:
    """Count the authorities that tell visitors what was published; a server may have several addresses."""
    expected = sorted(name.get("expected") or ())
    servers: dict[str, bool] = {}
    for row in name.get("servers") or ():
        if not row.get("authoritative") and not row.get("error"):
            continue
        told = sorted(value for values in (row.get("records") or {}).values() for value in values)
        right = bool(row.get("authoritative")) and told == expected
        servers[str(row.get("name"))] = servers.get(str(row.get("name")), True) and right
    return {
        "name": name["name"],
        "state": name["state"],
        "addresses": expected,
        "agreeing": sum(servers.values()),
        "authorities": len(servers),
        "stale_until": name.get("stale_until") or None,
    }


def _impossible_families(service: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(family, decision) for family, decision in service["families"].items() if decision["path"] == "impossible" and decision["required"]]
