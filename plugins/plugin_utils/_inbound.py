# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a port cannot be reached from outside: by a probe of it, a control port beside it, and whether its packets arrived.

Runs on the controller only. Pure: no I/O, no Ansible.

    judge_port(trial)       one Trial, as a mapping with state, sure and notes

The control port goes through the same router, with the same kind of mapping and the same rules, in the same minute. So if its packets
arrive and those of the port in question do not, mapping, rules and host are in order, and something before them keeps the port.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["STATES", "WORM_PORTS", "Trial", "judge_port"]

PUBLISHED = "published"
ANOTHER_DEVICE = "another_device"
CLOSED_BEFORE_HOME = "closed_before_home"
NOT_FORWARDED = "not_forwarded"
REJECTED_ON_THE_WAY = "rejected_on_the_way"
HOST_FIREWALL = "host_firewall"
HOST_REFUSES = "host_refuses"
SERVICE_DOWN = "service_down"
UNTESTED = "untested"
UNKNOWN = "unknown"

STATES = (
    *(PUBLISHED, ANOTHER_DEVICE, CLOSED_BEFORE_HOME, NOT_FORWARDED, REJECTED_ON_THE_WAY),
    *(HOST_FIREWALL, HOST_REFUSES, SERVICE_DOWN, UNTESTED, UNKNOWN),
)

#: Ports that worms use and providers therefore close.
WORM_PORTS = frozenset({135, 137, 138, 139, 445})
#: Where routers have pages of their own.
_PAGE_PORTS = frozenset({80, 443, 8080, 8443})
#: What providers of servers do not let out, so that a vantage there may be the one that keeps it.
_KEPT_BY_VANTAGES = WORM_PORTS | {25}
_SILENT = frozenset({"filtered", "open_or_filtered", "host_unreachable"})
_NOT_THE_PORT = frozenset({"no_route", "local_drop", "local_reject", "error"})


@dataclass(frozen=True)
class Trial:
    """What is known of one port, over one family.

    Attributes:
        state: of the probe from outside, a word of C(port_probe_info); None if there was none.
        nonce_verified: whether the nonce came back.
        rejected_by: who sent an ICMP error.
        outside_valid: whether the vantage counts: it is neither on the same line nor in the same LAN.
        listening: whether the service, or a responder in its place, listens on this host; None if not known.
        arrived: whether packets of the probe arrived at this host; None if nobody watched.
        control: whether the control port was reached, that is, its nonce came back or its packets arrived; None if there was no control.
    """

    protocol: str
    port: int
    state: str | None
    nonce_verified: bool | None = None
    rejected_by: str | None = None
    outside_valid: bool = True
    listening: bool | None = None
    arrived: bool | None = None
    control: bool | None = None


def _result(state: str, sure: bool, *notes: str) -> dict[str, Any]:
    return {"state": state, "sure": sure, "notes": [note for note in notes if note]}


def judge_port(trial: Trial) -> dict[str, Any]:
    """Return C(state), C(sure), and C(notes): stable names of what else is to be said."""
    if trial.state is None or not trial.outside_valid:
        return _result(UNTESTED, True, "no_vantage" if trial.state is None else "hairpin")
    if trial.state in _NOT_THE_PORT:
        return _result(UNTESTED, True, "vantage_cannot_ask")
    if trial.state == "open" and trial.nonce_verified:
        return _result(PUBLISHED, True)
    if trial.state == "open":
        return _result(ANOTHER_DEVICE, trial.nonce_verified is False, "router_page" if trial.port in _PAGE_PORTS else "")
    worm = "worm_port" if trial.port in WORM_PORTS else ""
    if trial.arrived:
        return _arrived(trial)
    if trial.control and (trial.arrived is False or trial.listening):
        # The router may keep the port for itself, or the vantage's own provider, so that the home's provider is not blamed for certain.
        vantage = "vantage_may_keep_it" if trial.port in _KEPT_BY_VANTAGES else ""
        router = "router_may_keep_it" if trial.port in _PAGE_PORTS else ""
        return _result(CLOSED_BEFORE_HOME, trial.arrived is False and not vantage and not router, worm, vantage, router)
    if trial.state == "rejected":
        return _result(REJECTED_ON_THE_WAY, trial.rejected_by is not None, worm)
    if trial.state == "closed" and trial.arrived is False:
        return _result(NOT_FORWARDED, True, "router_refuses")
    if trial.arrived is False and trial.listening is not False:
        return _result(NOT_FORWARDED, False, worm, "line_or_forward" if trial.control is False else "no_control")
    return _result(UNKNOWN, False, worm, "start_responder" if not trial.listening else "watch_arrival")


def _arrived(trial: Trial) -> dict[str, Any]:
    """Judge what came as far as this host."""
    if trial.state in _SILENT:
        if trial.protocol == "udp" and trial.listening is False:
            return _result(SERVICE_DOWN, False)
        # Or the answers take another way back and are lost there.
        return _result(HOST_FIREWALL, bool(trial.listening), "or_way_back")
    if trial.state == "closed" and trial.listening is False:
        return _result(SERVICE_DOWN, True, "path_works")
    return _result(HOST_REFUSES, trial.state == "closed" and trial.listening is not None, "address_or_family" if trial.listening else "")
