# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was found on a line against what its file expects: complaints, and tables of right and wrong. Pure.

A finding is plain data, so that a test can make one up:

    line, seed      the line's name, and the seed that repeats its addresses
    error           why there is nothing to judge; then nothing else counts
    expect          as in the line's file
    services        what the server offers: name, protocol, port, external_port
    report          report.json of the diagnosis
    looks           what line_info returned, each time that it ran
    returncode, seconds, tasks      of the diagnosis; tasks is ok and skipped together
    egress          what egress_info returned as egress, null if it failed
    contacted       whom the home spoke to: [address, protocol, port]
    allowed         whom it may speak to: [address, protocol, first port, last port]
    outside         what a client that is none of ours saw: open, or its words; by the service's name, "NAME ipv6" over IPv6
    left_behind     what was not as before afterwards
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

__all__ = ["Complaint", "claims", "complaints", "matrix", "pairs"]

MOST_TASKS = 10
MOST_SECONDS = 12.0
#: How long line_info may take after its slowest reading.
AFTERWARDS = 0.3
#: Services whose path the report calls open in these words.
PUBLISHED = "published"
PROVED = "proved"
NOTHING = "nothing"
#: Verdicts on what a network lets out that leave most ports open.
LETS_OUT = ("open", "restricted", "proxied")


@dataclass(frozen=True)
class Complaint:
    """What is wrong: C(about) is one of verdict, inbound, egress, safety, destinations, cost, robustness, run."""

    about: str
    text: str

    def __str__(self) -> str:
        return f"{self.about}: {self.text}"


def key_of(name: str, family: str) -> str:
    """Return what a line's file calls a service over a family."""
    return name if family == "ipv4" else f"{name} {family}"


def complaints(finding: Mapping[str, Any]) -> list[Complaint]:
    """Return everything that is not as expected."""
    if finding.get("error"):
        return [Complaint("run", str(finding["error"]))]
    found = [*_run(finding), *_verdict(finding)]
    found += [Complaint("inbound", f"{name} is {state}, not {wanted}") for name, wanted, state in _inbound(finding) if wanted != state]
    found += [Complaint("egress", f"{name} is {state}, not {wanted}") for name, wanted, state in _egress(finding) if wanted != state]
    return [*found, *_safety(finding), *_destinations(finding), *_cost(finding)]


def _run(finding: Mapping[str, Any]) -> Iterable[Complaint]:
    if finding["returncode"]:
        yield Complaint("run", f"the diagnosis ended with status {finding['returncode']}")
    for text in finding.get("left_behind") or ():
        yield Complaint("run", f"left behind: {text}")


def _line(finding: Mapping[str, Any]) -> Mapping[str, Any]:
    return (finding.get("report") or {}).get("line") or {}


def _verdict(finding: Mapping[str, Any]) -> Iterable[Complaint]:
    expect, line = finding["expect"].get("line"), _line(finding)
    if not expect:
        yield Complaint("verdict", "the line's file expects nothing of the line, so there is nothing to compare with")
        return
    because = ", ".join(line.get("verdict_reasons") or ()) or "no reasons"
    for name in ("verdict", "inbound_ipv4"):
        if name in expect and line.get(name) != expect[name]:
            yield Complaint("verdict", f"{name} is {line.get(name)}, not {expect[name]} ({because})")
    names = {one["name"] for one in line.get("contradictions") or ()}
    if names != set(expect.get("contradictions") or ()):
        texts = "; ".join(one["text"] for one in line.get("contradictions") or ())
        wanted = ", ".join(sorted(expect.get("contradictions") or ())) or "none"
        yield Complaint("verdict", f"contradictions are {', '.join(sorted(names)) or 'none'}, not {wanted}" + (f" ({texts})" if texts else ""))
    missing = sorted(set(expect.get("reasons") or ()) - set(line.get("verdict_reasons") or ()))
    if missing:
        yield Complaint("verdict", f"reasons are {because}, without {', '.join(missing)}")


def _states(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for row in rows:
        states = found.setdefault(key_of(str(row["service"]), str(row["family"])), [])
        if row["state"] not in states:
            states.append(str(row["state"]))
    return {name: "/".join(states) for name, states in found.items()}


def _inbound(finding: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, expected, found). What the file says nothing of must not have been judged, so that nothing is wrong unseen."""
    expect = finding["expect"].get("inbound")
    found = _states((finding.get("report") or {}).get("inbound") or ())
    if expect is None:
        return [(name, NOTHING, state) for name, state in found.items()]
    rows = [(str(name), str(state), found.get(name, NOTHING)) for name, state in expect.items()]
    return rows + [(name, NOTHING, state) for name, state in found.items() if name not in expect]


def _egress(finding: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, expected, found). The file names only what is not open; where nothing gets out, only what is no plain silence."""
    expect: Mapping[str, str] = finding["expect"].get("egress") or {}
    egress = finding.get("egress")
    verdict = expect.get("verdict", "open")
    if not egress:
        return [("verdict", verdict, NOTHING)]

    def wanted(state: str, good: str, *names: str) -> str:
        said = next((expect[name] for name in names if name in expect), None)
        if said is not None:
            return said
        if verdict in LETS_OUT:
            return good
        return f"not {good}" if state == good else state

    rows = [("verdict", verdict, str(egress["verdict"]))]
    named = {"verdict", "gre"}
    for row in egress["ports"]:
        plain, state = f"{row['protocol']} {row['port']}", str(row["state"])
        name = key_of(plain, str(row["family"]))
        named |= {plain, name}
        rows.append((name, wanted(state, "open", name, plain), state))
    gre = str(egress["gre"]["state"])
    # GRE is asked for over IPv4 alone.
    ipv4 = any(row["family"] == "ipv4" for row in egress["ports"])
    rows.append(("gre", wanted(gre, "passed" if ipv4 else "untested", "gre"), gre))
    return rows + [(name, state, NOTHING) for name, state in expect.items() if name not in named]


def claims(report: Mapping[str, Any]) -> list[str]:
    """Return the services of which the report says that they can be reached from outside."""
    found = [key_of(str(row["service"]), str(row["family"])) for row in report.get("inbound") or () if row["state"] == PUBLISHED]
    for service in report.get("services") or ():
        found += [key_of(str(service["name"]), str(row["family"])) for row in service.get("proof") or () if row["path"] == PROVED]
    return list(dict.fromkeys(found))


def _safety(finding: Mapping[str, Any]) -> Iterable[Complaint]:
    seen = finding.get("outside") or {}
    for name in claims(finding.get("report") or {}):
        if seen.get(name) != "open":
            yield Complaint("safety", f"the report says that {name} can be reached, but a client outside finds it {seen.get(name) or 'untried'}")


def _destinations(finding: Mapping[str, Any]) -> Iterable[Complaint]:
    rows = [(ip_address(address), protocol, first, last) for address, protocol, first, last in finding["allowed"]]
    for address, protocol, port in finding["contacted"]:
        at = ip_address(address)
        if not any(at == one and protocol == kind and first <= port <= last for one, kind, first, last in rows):
            yield Complaint("destinations", f"the home sent {protocol} to {address} port {port}, which nobody configured")


def _cost(finding: Mapping[str, Any]) -> Iterable[Complaint]:
    if finding["tasks"] > MOST_TASKS:
        yield Complaint("cost", f"the diagnosis shows {finding['tasks']} tasks, more than {MOST_TASKS}")
    if finding["seconds"] > MOST_SECONDS:
        yield Complaint("cost", f"the diagnosis took {finding['seconds']:.1f} s, more than {MOST_SECONDS:g}")
    if not finding["looks"]:
        yield Complaint("run", "line_info did not run")
    for look in finding["looks"]:
        readings = ((look.get("line") or {}).get("readings")) or [{"elapsed": 0.0}]
        slowest = max(float(one["elapsed"]) for one in readings)
        if look["elapsed"] > slowest + AFTERWARDS:
            yield Complaint("cost", f"line_info took {look['elapsed']:.2f} s, though the slowest reading was there after {slowest:.2f} s")


def pairs(finding: Mapping[str, Any], about: str) -> list[tuple[str, str]]:
    """Return (expected, found) of one kind: verdict, inbound or egress."""
    if finding.get("error"):
        return [(str(((finding.get("expect") or {}).get("line") or {}).get("verdict", NOTHING)), NOTHING)] if about == "verdict" else []
    if about == "verdict":
        expect = finding["expect"].get("line") or {}
        return [(str(expect.get("verdict", NOTHING)), str(_line(finding).get("verdict", NOTHING)))]
    return [(wanted, state) for _name, wanted, state in (_inbound if about == "inbound" else _egress)(finding)]


def matrix(rows: Sequence[tuple[str, str]], title: str) -> list[str]:
    """Return a table: a row for each word that was expected, a column for each that was found."""
    if not rows:
        return [f"{title}: nothing"]
    counts = Counter(rows)
    wanted = sorted({one for one, _found in rows})
    # The diagonal first, so that what lies beside it strikes the eye.
    found = [*wanted, *sorted({one for _wanted, one in rows} - set(wanted))]
    width = max(len(one) for one in [title, *wanted])
    lines = [f"{title:{width}}  " + "  ".join(found)]
    lines += [f"{row:{width}}  " + "  ".join(f"{counts[row, column] or '.':>{len(column)}}" for column in found) for row in wanted]
    return lines
