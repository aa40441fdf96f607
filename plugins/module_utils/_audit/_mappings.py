# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The router's table of mappings, judged row by row. Pure.

Private to this collection.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Any

from .._portmap._model import Entry
from .._portmap._planning import OURS, Host, owner_of
from ._model import LanView

#: Services that are not meant for the Internet, by the port that they listen on.
DANGEROUS = {
    21: "ftp",
    22: "ssh",
    23: "telnet",
    111: "rpcbind",
    135: "msrpc",
    137: "netbios",
    138: "netbios",
    139: "netbios",
    445: "smb",
    1433: "mssql",
    2049: "nfs",
    2375: "docker",
    3306: "mysql",
    3389: "rdp",
    5432: "postgresql",
    5900: "vnc",
    6379: "redis",
    8080: "admin_page",
    9200: "elasticsearch",
    11211: "memcached",
    27017: "mongodb",
}

#: What intruders call the mappings that they make.
MALWARE = {"galleta silenciosa": "EternalSilence"}

#: A lease with more than this left outlives its maker for long. Those of this collection are renewed and taken back, so theirs may be long.
LONG_LEASE = 86400

SEVERITY = {
    "malware_mark": "critical",
    "client_public": "critical",
    "client_outside_lan": "high",
    "client_is_gateway": "high",
    "client_is_loopback": "high",
    "client_is_broadcast": "medium",
    "client_not_an_address": "medium",
    "dangerous_port": "high",
    "all_ports": "high",
    "same_external_port": "medium",
    "client_unknown": "medium",
    "client_silent": "medium",
    "nothing_listens": "low",
    "permanent_lease": "low",
    "long_lease": "low",
}


def judge_mappings(view: LanView) -> list[dict[str, Any]]:
    """Return every mapping with its owner, its flags, and C(judged): the flags with how bad each is."""
    rows = []
    for table in view.tables:
        keys = Counter(entry.key for entry in table.entries)
        for entry in table.entries:
            owner, name = owner_of(entry, Host(view.source, view.host_id))
            flags = _flags(view, table.gateway, entry, owner)
            if keys[entry.key] > 1:
                flags.append("same_external_port")
            rows.append(
                {
                    "gateway": table.gateway,
                    **entry.as_data(),
                    "lease": entry.lease,
                    "remote_host": entry.remote_host,
                    "owner": owner,
                    "service": name,
                    "flags": flags,
                    "judged": [(flag, SEVERITY[flag]) for flag in flags],
                }
            )
    return rows


def mappings_data(view: LanView) -> list[dict[str, Any]]:
    """Return the table as the module returns it."""
    return [{key: value for key, value in row.items() if key != "judged"} for row in judge_mappings(view)]


def _flags(view: LanView, gateway: str, entry: Entry, owner: str) -> list[str]:
    flags = []
    if any(mark in entry.description.lower() for mark in MALWARE):
        flags.append("malware_mark")
    flags += _client_flags(view, gateway, entry)
    if not entry.external_port or not entry.internal_port:
        flags.append("all_ports")
    if entry.internal_port in DANGEROUS:
        flags.append("dangerous_port")
    if owner != OURS:
        if entry.lease == 0:
            flags.append("permanent_lease")
        elif entry.lease > LONG_LEASE:
            flags.append("long_lease")
    return flags


def _client_flags(view: LanView, gateway: str, entry: Entry) -> list[str]:
    client = entry.internal_client
    try:
        address = ipaddress.IPv4Address(client)
    except ValueError:
        return ["client_not_an_address"]
    if client == view.source:
        known = view.listening is None or (entry.protocol, entry.internal_port) in view.listening
        return [] if known else ["nothing_listens"]
    if client in (gateway, view.gateway):
        return ["client_is_gateway"]
    if address.is_loopback or address.is_unspecified:
        return ["client_is_loopback"]
    networks = [ipaddress.IPv4Network(network) for network in view.networks]
    inside = [network for network in networks if address in network]
    if (
        address.is_multicast
        or address == ipaddress.IPv4Address("255.255.255.255")
        or any(address in (network.network_address, network.broadcast_address) for network in inside)
    ):
        return ["client_is_broadcast"]
    flags = []
    if not inside:
        flags.append("client_public" if address.is_global else "client_outside_lan")
    elif view.alive.get(client) is False:
        flags.append("client_silent")
    # Without a list of known clients there is nothing to compare with.
    if view.known_clients and client not in view.known_clients:
        flags.append("client_unknown")
    return flags
