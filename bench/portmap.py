# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port mapping beside upnpc and natpmpc: whole processes against the real miniupnpd, in the namespaces of the integration tests."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import REPETITIONS, Row, show, verdict

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import HOST, NEEDED, ROUTER, Home

WEB = {"name": "web", "protocol": "tcp", "external_port": 80, "port": 8080}
MANY = [{"name": f"s{number}", "protocol": ("tcp", "udp")[number % 2], "port": 20000 + number} for number in range(200)]
LIMIT, LIMIT_MANY = 0.5, 5.0
MODULES = ("present", "nothing to do", "absent")


def module(home: Home, changed: bool, **options: Any) -> None:
    """Run the module; a measurement of something else than what is meant is none."""
    result = home.module("port_mapping", **options)
    if result.get("failed") or result["changed"] != changed:
        raise RuntimeError(f"port_mapping {options} was to end with changed={changed}: {result.get('msg') or result['mappings']}")


def least(turns: list[Callable[[], object]], repetitions: int = REPETITIONS) -> list[float]:
    """Do the turns one after the other, since each needs what the one before left, and return the least time of each."""
    times = [float("inf")] * len(turns)
    for _repetition in range(repetitions):
        for position, turn in enumerate(turns):
            begin = time.perf_counter()
            turn()
            times[position] = min(times[position], time.perf_counter() - begin)
    return times


def peer(home: Home, expected: str, *command: str) -> None:
    """Run another client and see that it did what it was asked for."""
    shown = home.run(home.host, *command, check=False)
    if expected not in shown:
        raise RuntimeError(f"{' '.join(command)}: no {expected!r} in {shown!r}")


def ours(home: Home, mappings: list[dict[str, Any]], repetitions: int = REPETITIONS, **options: Any) -> list[float]:
    return least(
        [
            lambda: module(home, True, mappings=mappings, **options),
            lambda: module(home, False, mappings=mappings, **options),
            lambda: module(home, True, state="absent", **options),
        ],
        repetitions,
    )


def measure(home: Home) -> int:
    """Measure everything and print the tables."""
    home.start_daemon(recorded=True)
    upnpc = least(
        [
            lambda: peer(home, "is redirected", "upnpc", "-e", "bench", "-a", HOST, "8080", "80", "tcp", "3600"),
            lambda: peer(home, "80->", "upnpc", "-l"),
            lambda: peer(home, "returned : 0", "upnpc", "-d", "80", "tcp"),
        ],
        # Two seconds of each are its search.
        2,
    )
    location = f"http://{ROUTER}:5555/rootDesc.xml"
    known = least(
        [
            lambda: peer(home, "is redirected", "upnpc", "-u", location, "-e", "bench", "-a", HOST, "8080", "80", "tcp", "3600"),
            lambda: peer(home, "80->", "upnpc", "-u", location, "-l"),
            lambda: peer(home, "returned : 0", "upnpc", "-u", location, "-d", "80", "tcp"),
        ]
    )
    natpmpc = least(
        [
            lambda: peer(home, "Mapped public port 80", "natpmpc", "-g", ROUTER, "-a", "80", "8080", "tcp", "3600"),
            lambda: peer(home, "Public IP address", "natpmpc", "-g", ROUTER),
            lambda: peer(home, "liftime 0", "natpmpc", "-g", ROUTER, "-a", "0", "8080", "tcp", "0"),
        ]
    )
    rows = []
    for title, theirs_name, theirs, options in (
        ("searched for", "upnpc", upnpc, {}),
        ("address known", "upnpc -u", known, {"gateway": location}),
        ("PCP", "natpmpc (NAT-PMP)", natpmpc, {"method": "pcp"}),
        ("NAT-PMP", "natpmpc", natpmpc, {"method": "natpmp"}),
    ):
        times = ours(home, [WEB], **options)
        rows += [Row(f"{what}, {title}", "port_mapping", mine, theirs_name, other, at_most=LIMIT) for what, mine, other in zip(MODULES, times, theirs)]
    show("Port mapping, one mapping, whole processes", rows)

    many = []
    for method in ("upnp", "pcp", "natpmp"):
        home.start_daemon(recorded=True)
        times = ours(home, MANY, 2, method=method)
        many += [Row(f"{what}, {method}", "port_mapping", mine, at_most=LIMIT_MANY) for what, mine in zip(MODULES, times)]

    def loop() -> None:
        for one in MANY:
            port = str(one["port"])
            peer(home, "is redirected", "upnpc", "-u", location, "-e", "bench", "-a", HOST, port, port, str(one["protocol"]), "3600")

    home.start_daemon(recorded=True)
    theirs = least([loop], 1)[0]
    many[0] = Row(many[0].subject, "port_mapping", many[0].ours, "200 times upnpc -u", theirs, at_most=LIMIT_MANY)
    show("Port mapping, 200 mappings in one call", many)
    return verdict([*rows, *many])


def main() -> int:
    """Run the benchmark; 1 if a bound is missed, 2 if it cannot be measured here."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        packages = "apt-get install iproute2 nftables miniupnpd-nftables miniupnpc natpmpc"
        reason = f"{', '.join(missing)} is missing: {packages}" if missing else "it makes network namespaces: run it as root"
        print(f"\nportmap: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        home = Home(Path(directory))
        try:
            home.start()
            return measure(home)
        finally:
            home.stop()


if __name__ == "__main__":
    sys.exit(main())
