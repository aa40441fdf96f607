# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Over which SSH connection this process was started, read from its ancestors.

sudo drops SSH_CONNECTION from the environment, but the login shell above it has it, and the sshd process above that shell
was started for this one connection: its start time tells a new connection from an old one that merely lives on.

Private to this collection.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Session:
    """One SSH connection.

    Attributes:
        client: the address that the host sees.
        client_port: the port of it.
        port: the port of the host's sshd.
        started: when its sshd process began, in seconds since boot; None if no such process is among the ancestors.
    """

    client: str
    client_port: int
    port: int
    started: float | None = None


def current(proc: str = "/proc", start: int | None = None) -> Session | None:
    """Return the connection over which this process was started, None if it was started otherwise."""
    pid = os.getpid() if start is None else start
    found: tuple[str, int, int] | None = None
    for _step in range(64):
        try:
            with open(f"{proc}/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                stat = stream.read()
        except OSError:
            break
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2 :].split()
        if name.startswith("sshd") and found is not None:
            # Field 22 of proc_pid_stat(5), in clock ticks; fields[0] is field 3.
            return Session(*found, started=int(fields[19]) / os.sysconf("SC_CLK_TCK"))
        found = found or _environment(f"{proc}/{pid}/environ")
        pid = int(fields[1])
        if pid <= 0:
            break
    return None if found is None else Session(*found)


def _environment(path: str) -> tuple[str, int, int] | None:
    try:
        with open(path, "rb") as stream:
            entries = stream.read().split(b"\0")
    except OSError:
        return None
    for entry in entries:
        if entry.startswith(b"SSH_CONNECTION="):
            parts = entry.split(b"=", 1)[1].decode("ascii", "replace").split()
            try:
                client, client_port, _server, port = parts
                address = ipaddress.ip_address(client.split("%", 1)[0])
                mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
                return str(mapped or address), int(client_port), int(port)
            except ValueError:
                return None
    return None
