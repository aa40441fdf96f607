# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes a helper outside on all ports at the same time, over TCP and UDP, and asks for its nonce.

Private to this collection: no compatibility is promised to code outside it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._probe import _engine, _nonce, _targets
from . import _gre as gre
from ._judge import judge, port_row

__all__ = ["TCP_PORTS", "UDP_PORTS", "Request", "survey"]

TCP_PORTS = (22, 25, 53, 80, 443, 465, 587, 993, 1723, 8443)
UDP_PORTS = (53, 123, 443, 500, 3478, 4500, 51820)


@dataclass(frozen=True)
class Request:
    """What to probe.

    Attributes:
        listeners: rows of the helper's responder; None if it listens on all ports that are probed.
    """

    host: str
    nonce: str
    families: Sequence[str] | None = None
    tcp_ports: Sequence[int] = TCP_PORTS
    udp_ports: Sequence[int] = UDP_PORTS
    listeners: Sequence[Mapping[str, Any]] | None = None
    gre: bool = True
    interface: str | None = None
    timeout: float = 1.5


def _as_probe(outcome: _engine.Outcome) -> dict[str, Any]:
    return {
        "family": "ipv6" if outcome.target.family == socket.AF_INET6 else "ipv4",
        "protocol": outcome.target.protocol,
        "port": outcome.port,
        "state": outcome.state,
        "nonce_verified": outcome.nonce_verified,
        "seen_as": outcome.seen_as,
        "icmp_from": outcome.icmp.sender if outcome.icmp is not None else None,
        "rtt_ms": outcome.rtt_ms,
    }


def survey(request: Request) -> dict[str, Any]:
    """Return what the network between this host and the helper lets through.

    Raises:
        ProbeInputError, ProbeError, NonceError: the request makes no sense; nothing was sent.
        OSError: this host cannot probe.
    """
    interface = request.interface or None
    if interface is not None and not os.path.exists(f"/sys/class/net/{interface}"):
        raise _engine.ProbeError(f"interface {interface!r} does not exist on this host: name one of those that `ip link` lists")
    options = _engine.Options(timeout=request.timeout, key=_nonce.parse_nonce(request.nonce), interface=interface)
    targets: list[_engine.Target] = []
    for protocol, ports in (("tcp", request.tcp_ports), ("udp", request.udp_ports)):
        if ports:
            targets += _targets.make_targets(request.host, ",".join(str(port) for port in ports), protocol, request.families)
    found: list[dict[str, Any]] = []
    address = next((target.address for target in targets if target.family == socket.AF_INET), None)
    if not request.gre:
        found.append(gre.untested("it was not asked for"))
    elif address is None:
        found.append(gre.untested("the helper has no IPv4 address"))
    thread = None
    if not found and address is not None:
        chosen = address
        thread = threading.Thread(target=lambda: found.append(gre.probe(chosen, interface, request.timeout)), daemon=True)
        thread.start()
    outcomes: dict[int, dict[str, Any]] = {}

    def sink(key: int, outcome: _engine.Outcome) -> None:
        outcomes[key] = _as_probe(outcome)

    summary = _engine.Engine(options).run(targets, sink)
    if thread is not None:
        thread.join(2 * request.timeout + 1)
    listening = None
    if request.listeners is not None:
        listening = {(row["protocol"], int(row["port"]), row["family"]) for row in request.listeners if row["mode"] != "none"}
    rows = []
    for key in sorted(outcomes):
        probe = outcomes[key]
        rows.append(port_row(probe, listening is None or (probe["protocol"], probe["port"], probe["family"]) in listening))
    result = judge(rows, found[0] if found else gre.untested("it did not end in time"))
    return {**result, "elapsed": round(summary.elapsed, 3)}
