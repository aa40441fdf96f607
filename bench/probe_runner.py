# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe engine as a program, for whole processes to be compared with other programs.

python3 -I bench/probe_runner.py HOST PORTS [tcp|udp] [OPTION=VALUE ...]
Prints the counts, the time and the peak memory as one line of JSON; show=STATE,STATE prints rows of these states before it.
"""

from __future__ import annotations

import os
import resource
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "plugins", "module_utils"))

from _probe import _engine, _ports, _targets  # type: ignore[import-not-found]


def main(arguments: list[str]) -> int:
    """Run one probe; return the exit status."""
    rest = [argument for argument in arguments if "=" not in argument]
    if not 2 <= len(rest) <= 3:
        print("usage: HOST PORTS [tcp|udp] [timeout=S] [attempts=N] [concurrency=N] [rate=N] [interface=NAME] [nonce=FILE] [show=STATES]", file=sys.stderr)
        return 2
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    key = None
    if "nonce" in given:
        from _probe import _nonce

        with open(given["nonce"], encoding="ascii") as file:
            key = _nonce.parse_nonce(file.read().strip())
    shown = set(given.get("show", "").split(","))
    rows: list[str] = []

    def sink(_key: int, outcome: _engine.Outcome) -> None:
        if outcome.state in shown:
            reason = "" if outcome.icmp is None else f" icmp={outcome.icmp.type}/{outcome.icmp.code} from={outcome.icmp.sender}"
            nonce = "" if outcome.nonce_verified is None else f" nonce={outcome.nonce_verified} by={outcome.answered_by} seen={outcome.seen_as}"
            rows.append(
                f"{outcome.target.address} {outcome.target.protocol} {outcome.port} {outcome.state} {outcome.confidence}"
                f" errno={outcome.errno}{reason} attempts={outcome.attempts} rtt={outcome.rtt_ms}{nonce}"
            )

    try:
        options = _engine.Options(
            timeout=float(given.get("timeout", _engine.DEFAULT_TIMEOUT)),
            attempts=int(given.get("attempts", _engine.DEFAULT_ATTEMPTS)),
            concurrency=int(given["concurrency"]) if "concurrency" in given else None,
            rate=float(given["rate"]) if "rate" in given else None,
            key=key,
            interface=given.get("interface"),
        )
        targets = _targets.make_targets(rest[0], rest[1], rest[2] if len(rest) == 3 else "tcp")
    except (_ports.ProbeInputError, _engine.ProbeError) as error:
        print(error, file=sys.stderr)
        return 2
    summary = _engine.Engine(options).run(targets, sink)
    for row in rows:
        print(row)
    counts = ", ".join(f'"{state}": {count}' for state, count in summary.counts.items() if count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f'{{"counts": {{{counts}}}, "elapsed": {summary.elapsed:.4f}, "peak_kib": {peak}}}')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
