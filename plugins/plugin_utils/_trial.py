# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trial of a line before anything is published: what to set up for a short time, what to probe, and what came of it.

Runs on the controller only. Pure: no I/O, no Ansible.

    make_paths(plan)        every service and family that can be reached on some path
    set_up(paths, router)   those with what the router must forward for the time of the trial, and a port beside them that nobody blocks
    mappings, listeners     what it forwards, and where the host answers
    targets                 what the vantages ask
    judge(...)              probes, visits and arrivals, put together
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..module_utils._address._classify import address_class
from ._inbound import PUBLISHED, UNKNOWN, UNTESTED, Trial, judge_port
from ._publication import IMPOSSIBLE, PORT_MAPPING

CHECK_MODE = "check_mode"
NO_VANTAGE = "no_vantage"
NOTHING_PLANNED = "nothing_planned"
MAPPING_REFUSED = "mapping_refused"
NO_RESPONDER = "no_responder"

#: Where controls are looked for: high enough for no worm and no provider, below the ports that systems take for outgoing connections.
_CONTROL_PORTS = ((20000, 32767),)
_MAPPING_PREFIX = "trial-"


@dataclass(frozen=True)
class Path:
    """One port, over one family.

    Attributes:
        service: the service's name; that of a control is not one of them.
        port: the port on this host.
        address: at which it is asked for.
        path: C(direct) or C(port_mapping).
        mapping: name of the mapping that lets it through for the time of the trial, empty if none is needed.
        refused: why the router does not forward it, empty if it does; such a port is not asked for.
        control: whether it is there for comparison only.
    """

    service: str
    protocol: str
    external_port: int
    port: int
    family: str
    address: str
    path: str
    mapping: str = ""
    refused: str = ""
    control: bool = False

    @property
    def way(self) -> tuple[str, str]:
        """What a control shares with the ports that it is compared with."""
        return self.protocol, self.family

    @property
    def end(self) -> tuple[str, int, str]:
        """Where its packets come out. Two outer ports may lead to the same."""
        return self.protocol, self.port, self.family

    @property
    def probe(self) -> tuple[str, int, str]:
        """By which a row of C(port_probe_info) is known as its."""
        return self.protocol, self.external_port, self.address


# ---- setting up ---------------------------------------------------------------------------------------------------------------------


def make_paths(plan: Mapping[str, Any]) -> list[Path]:
    """Return what the plan lets be reached, in its order."""
    return [
        Path(service["name"], service["protocol"], int(service["external_port"]), int(service["port"]), family, str(decision["address"]), decision["path"])
        for service in plan.get("services") or ()
        for family, decision in service["families"].items()
        if decision["path"] != IMPOSSIBLE and decision["address"]
    ]


def set_up(
    paths: Sequence[Path], router: Mapping[str, Any] | None, line: Mapping[str, Any] | None = None, choose: Callable[[Sequence[int]], int] = min
) -> list[Path]:
    """Return the paths with the mappings that they need, or why the router does not let them through; and the controls.

    Args:
        paths: what is tested.
        router: what C(port_mapping_info) returned; None if nothing has to be mapped.
        line: the plan's C(line), which may have some of the ports only.
        choose: picks one of several ports, at random: two hosts behind one router need two.
    """
    router = router or {}
    ready = [_set_up_one(path, router) for path in paths]
    ready += [_set_up_one(path, router) for path in _make_controls(ready, router.get("mappings") or (), line or {}, choose)]
    names: dict[tuple[str, int], str] = {}
    for path in ready:
        if path.mapping:
            names.setdefault((path.protocol, path.external_port), f"{_MAPPING_PREFIX}{len(names) + 1}")
    return [replace(path, mapping=names[path.protocol, path.external_port]) if path.mapping else path for path in ready]


def _make_controls(
    paths: Sequence[Path], listed: Iterable[Mapping[str, Any]], line: Mapping[str, Any], choose: Callable[[Sequence[int]], int]
) -> list[Path]:
    """Return a control for every protocol, over each family in which something is tested."""
    taken = {port for path in paths for port in (path.external_port, path.port)} | {int(row["external_port"]) for row in listed}
    ranges = [(int(row["first"]), int(row["last"])) for row in line.get("ports") or ()] if line.get("inbound_ipv4") == "port_set" else []
    ranges = ranges or list(_CONTROL_PORTS)
    free = [port for low, high in ranges for port in range(max(low, 1024), high + 1) if port not in taken]
    tested = [path for path in paths if not path.refused]
    controls: list[Path] = []
    for protocol in dict.fromkeys(path.protocol for path in tested):
        if not free:
            break
        port = choose(free)
        free.remove(port)
        firsts: dict[tuple[str, str], Path] = {}
        for path in tested:
            if path.protocol == protocol:
                firsts.setdefault(path.way, path)
        controls += [replace(one, service=f"control-{protocol}", external_port=port, port=port, mapping="", control=True) for one in firsts.values()]
    return controls


def _set_up_one(path: Path, router: Mapping[str, Any]) -> Path:
    if path.path != PORT_MAPPING:
        return path
    if not router.get("available"):
        return replace(path, refused=str(router.get("reason") or router.get("msg") or "no router was found that maps ports"))
    for row in router.get("mappings") or ():
        # What is open for IPv6 takes no port of the router's.
        if (str(row.get("protocol")).lower(), row.get("external_port"), row.get("family") or "ipv4") != (path.protocol, path.external_port, path.family):
            continue
        if row.get("owner") in ("ours", "untagged_ours") and row.get("internal_port") == path.port:
            # It leads here already, and shall do so afterwards: if it is not in force, it is not for a trial to replace it.
            here = (router.get("gateway") or {}).get("source_address")
            if row.get("enabled") is False or (here and row.get("internal_client") not in (None, here)):
                return replace(path, refused=f"the mapping of {path.protocol.upper()} {path.external_port} is known, but not in force; publish again")
            return path
        where = f"{row.get('internal_client')} port {row.get('internal_port')}, described as {row.get('description')!r}"
        return replace(path, refused=f"the router forwards {path.protocol.upper()} {path.external_port} to {where}")
    return replace(path, mapping=_MAPPING_PREFIX)


def split_leftovers(router: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the names of mappings that a trial which was killed has left, and what the router holds besides.

    They would end with their lease in the middle of this trial, and look as if somebody closed the port.
    """
    rows = list(router.get("mappings") or ())
    left = [row for row in rows if row.get("owner") == "ours" and str(row.get("name") or "").startswith(_MAPPING_PREFIX)]
    return [str(row["name"]) for row in left], {**router, "mappings": [row for row in rows if row not in left]}


def refuse(paths: Sequence[Path], reasons: Mapping[str, str]) -> list[Path]:
    """Return the paths; those whose mappings the router did not make, by name, have the reason and no mapping."""
    return [replace(path, refused=reasons[path.mapping], mapping="") if path.mapping in reasons else path for path in paths]


def mappings(paths: Sequence[Path], lease: int) -> list[dict[str, Any]]:
    """Return what C(port_mapping) shall make."""
    found = {}
    for path in paths:
        if path.mapping:
            row = {"name": path.mapping, "protocol": path.protocol, "external_port": path.external_port, "port": path.port, "lease": lease}
            found[path.mapping] = row
    return list(found.values())


def listeners(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return where C(probe_responder) shall answer: each port of this host once, whatever leads there."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for path in paths:
        if path.refused:
            continue
        row = found.setdefault((path.protocol, path.port), {"name": path.service, "protocol": path.protocol, "port": path.port, "families": []})
        if path.family not in row["families"]:
            row["families"].append(path.family)
    return list(found.values())


def targets(paths: Sequence[Path], vantages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what each vantage asks: what the plan wants of it, as far as something leads here, and the controls."""
    found = []
    for vantage in vantages:
        wanted = {(row["protocol"], int(port), row["host"]) for row in vantage["targets"] for port in row["ports"]}
        asked = [path for path in paths if not path.refused and not path.control and path.probe in wanted]
        ways = {(path.address, path.way) for path in asked}
        asked += [path for path in paths if path.control and not path.refused and (path.address, path.way) in ways]
        if asked:
            rows = [{"host": path.address, "ports": [path.external_port], "protocol": path.protocol, "families": [path.family]} for path in asked]
            found.append({"host": vantage["host"], "targets": rows})
    return found


def as_data(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return paths as plain mappings."""
    return [asdict(path) for path in paths]


def from_data(rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Return what L(as_data) made plain."""
    return [Path(**row) for row in rows]


# ---- judging ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sight:
    """What one vantage saw, over one family.

    Attributes:
        probes: its rows, by L(Path.probe).
        known: whether it is known from which address it comes, so that its packets can be told from those of others.
        inside: whether its packets came from the inside: then it measured the router's hairpin and not the way in.
        reason: why it saw nothing.
    """

    host: str
    probes: Mapping[tuple[str, int, str], Mapping[str, Any]]
    known: bool
    inside: bool
    reason: str = ""


def by_vantage(probes: Any) -> dict[str, dict[str, Any]]:
    """Return results of C(port_probe_info) by vantage, from the registered result of a loop; one that failed has no rows."""
    rows = probes.get("results", []) if isinstance(probes, Mapping) else probes or []
    return {str(row["item"]["host"]): dict(row) for row in rows if isinstance(row, Mapping) and isinstance(row.get("item"), Mapping) and "host" in row["item"]}


def judge(
    paths: Sequence[Path],
    vantages: Mapping[str, Sequence[str]],
    probes: Mapping[str, Mapping[str, Any]],
    seen: Mapping[str, Any],
    wan_address: str | None,
    untested: str = "",
    why: str = "",
) -> list[dict[str, Any]]:
    """Return for every service and family whether it can be reached, and if not, what keeps it.

    Args:
        paths: as they were set up, controls among them.
        vantages: the addresses that each vantage may be seen from.
        probes: L(by_vantage).
        seen: what C(probe_responder) returned when it was stopped.
        wan_address: the home's address on the Internet.
        untested: why nothing was tried at all, one of the names above.
        why: the same in the words of whoever failed.
    """
    judged = []
    for path in paths:
        if path.control:
            continue
        if path.refused or untested:
            judged.append(_row(path, _untested(MAPPING_REFUSED if path.refused else untested), path.refused or why))
            continue
        rows = []
        for host, sources in vantages.items():
            sight = _see(host, path.family, probes.get(host) or {}, sources, wan_address)
            rows.append(_judge_one(path, paths, sight, seen))
        judged.append(min(rows, key=_weight) if rows else _row(path, _untested(NO_VANTAGE)))
    return judged


def _weight(row: Mapping[str, Any]) -> tuple[int, bool]:
    """Order what several vantages say: a proof first, and what says something before what does not."""
    return {PUBLISHED: 0, UNKNOWN: 2, UNTESTED: 3}.get(row["state"], 1), not row["sure"]


def _see(host: str, family: str, result: Mapping[str, Any], sources: Sequence[str], wan_address: str | None) -> _Sight:
    rows = [row for row in result.get("probes") or () if row.get("family") == family]
    own = [source for source in sources if (":" in source) == (family == "ipv6")]
    # Only who knows the nonce says as whom it saw the vantage, so that this is sure.
    seen = {str(row["seen_as"]) for row in rows if row.get("nonce_verified") and row.get("seen_as")}
    return _Sight(
        host,
        {(row["protocol"], int(row["port"]), str(row["address"])): row for row in rows},
        known=bool(seen & set(own)) if seen else any(address_class(source) == "global" for source in own),
        inside=any(address_class(address) != "global" or address == wan_address for address in seen),
        reason="" if rows else str(result.get("msg") or ""),
    )


def _judge_one(path: Path, paths: Sequence[Path], sight: _Sight, seen: Mapping[str, Any]) -> dict[str, Any]:
    probe = sight.probes.get(path.probe)
    listener = _listener(path, seen)
    mode = listener.get("mode") or "none"
    control, arrived = _control(path, paths, sight, seen), _arrived(path, paths, sight, seen)
    evidence = {
        "outside": probe["state"] if probe else None,
        "arrived": listener.get("arrived"),
        # Where the responder had the port to itself, no service was there.
        "listening": None if mode == "none" else mode == "redirected",
        "control": control,
    }
    if probe is None:
        return _row(path, _untested(NO_VANTAGE), sight.reason, None, evidence)
    reason = ""
    if sight.inside:
        result = _untested("hairpin")
    elif not probe.get("nonce_verified") and mode == "none":
        # Nobody could have answered with the nonce, so that its absence says nothing.
        result, reason = _untested(NO_RESPONDER), str(listener.get("reason") or seen.get("msg") or "")
    elif not probe.get("nonce_verified") and not sight.known:
        # It may be inside, or its packets may have gone to the service itself, since nobody knew that they were its.
        result = _untested("vantage_behind_nat")
    else:
        icmp = (probe.get("reason") or {}).get("icmp") or {}
        result = judge_port(
            Trial(
                path.protocol,
                path.external_port,
                probe["state"],
                nonce_verified=probe.get("nonce_verified"),
                rejected_by=icmp.get("from"),
                listening=mode != "none",
                arrived=arrived,
                control=control if _comparable(path, paths, sight, arrived) else None,
            )
        )
        if result["state"] == PUBLISHED and mode == "bound":
            result["notes"].append("no_service_yet")
    return _row(path, result, reason, sight.host, evidence)


def _listener(path: Path, seen: Mapping[str, Any]) -> Mapping[str, Any]:
    rows: Sequence[Mapping[str, Any]] = seen.get("listeners") or ()
    return next((row for row in rows if (row["protocol"], row["port"], row["family"]) == path.end), {})


def _arrived(path: Path, paths: Sequence[Path], sight: _Sight, seen: Mapping[str, Any]) -> bool | None:
    """Whether packets of this very port came; None if it was not counted, or if they may be those of another port that leads to the same place."""
    count = _listener(path, seen).get("arrived")
    # Datagrams are known by their code word, connections by where they come from.
    if count is None or (path.protocol == "tcp" and not sight.known):
        return None
    if not count:
        return False
    return None if _siblings(path, paths) else True


def _siblings(path: Path, paths: Sequence[Path]) -> list[Path]:
    return [other for other in paths if other.end == path.end and other.external_port != path.external_port and not other.refused]


def _comparable(path: Path, paths: Sequence[Path], sight: _Sight, arrived: bool | None) -> bool:
    """Whether the control says something of this port.

    Not where it is open whether packets came as far as this host: then its own filter may keep this port and not the control. Unless another
    port that leads to the same place was proved, for then it does not.
    """
    siblings = _siblings(path, paths)
    return arrived is not None or not siblings or any((sight.probes.get(other.probe) or {}).get("nonce_verified") for other in siblings)


def _control(path: Path, paths: Sequence[Path], sight: _Sight, seen: Mapping[str, Any]) -> bool | None:
    """Whether the control beside a path was reached; None if it was not tried, or could not be."""
    control = next((other for other in paths if other.control and other.way == path.way and not other.refused), None)
    if control is None:
        return None
    probe = sight.probes.get(control.probe)
    if probe is None or (_listener(control, seen).get("mode") or "none") == "none":
        return None
    return bool(probe.get("nonce_verified") or _arrived(control, paths, sight, seen))


def _untested(note: str) -> dict[str, Any]:
    return {"state": UNTESTED, "sure": True, "notes": [note]}


def _row(
    path: Path, result: Mapping[str, Any], reason: str = "", vantage: str | None = None, evidence: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "service": path.service,
        "protocol": path.protocol,
        "external_port": path.external_port,
        "family": path.family,
        **result,
        "reason": reason,
        "vantage": vantage,
        "evidence": dict(evidence or {"outside": None, "arrived": None, "listening": None, "control": None}),
    }
