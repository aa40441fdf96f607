# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe engine against nmap and a wait_for loop: whole processes, in two network namespaces joined by a cable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import REPETITIONS, Row, best, peak_memory, show, verdict

RUNNER = Path(__file__).resolve().with_name("probe_runner.py")
PYTHON = "/usr/bin/python3"
TARGET = "198.18.7.2"
OPEN = "20000-20999"
CLOSED = "30000-30999"
DROPPED = "40000-40999"
LOSS_RUNS = 10

# Drops what the benchmark calls dropped, and one SYN in twenty where it calls for loss.
RULES = """
table inet bench {{
  chain input {{
    type filter hook input priority filter; policy accept;
    tcp dport 40000-45534 drop
    {loss}
  }}
}}
"""
LOSS = "tcp dport 20000-20999 tcp flags syn / syn,ack,rst,fin numgen random mod 100 < 5 drop"

LISTENER = textwrap.dedent("""
    import resource, selectors, socket
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    selector = selectors.DefaultSelector()
    for port in range(20000, 21000):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", port))
        sock.listen(64)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            try:
                key.fileobj.accept()[0].close()
            except OSError:
                pass
""")

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.wait_for: {host: "%s", port: "{{ item }}", timeout: 1, connect_timeout: 1}
      loop: "{{ range(20000, 20020) | list }}"
"""


class Namespaces:
    """A vantage and a target, and programs run in them."""

    def __init__(self) -> None:
        self.vantage = f"hsb{os.getpid()}v"
        self.target = f"hsb{os.getpid()}t"

    def command(self, *words: str) -> list[str]:
        """Return the command that runs words on the vantage."""
        return ["ip", "netns", "exec", self.vantage, *words]

    def ours(self, ports: str, *options: str) -> dict[str, object]:
        """Run our engine as a whole process; return what it found."""
        done = subprocess.run(self.command(PYTHON, "-I", str(RUNNER), TARGET, ports, *options), text=True, stdout=subprocess.PIPE, check=True)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def nmap(self, ports: str) -> None:
        """Run nmap as a whole process."""
        subprocess.run(self.command("nmap", "-sT", "-n", "-Pn", "-p", ports, TARGET), stdout=subprocess.DEVNULL, check=True)

    def load(self, loss: str = "") -> None:
        """Load the target's packet filter."""
        text = "flush ruleset\n" + RULES.format(loss=loss)
        subprocess.run(["ip", "netns", "exec", self.target, "nft", "-f", "-"], input=text, text=True, check=True)


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    made = Namespaces()
    listener = None
    try:
        for name in (made.vantage, made.target):
            subprocess.run(["ip", "netns", "add", name], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "link", "add", "near", "netns", made.vantage, "type", "veth", "peer", "name", "far", "netns", made.target], check=True)
        for name, link, address in ((made.vantage, "near", "198.18.7.1/24"), (made.target, "far", f"{TARGET}/24")):
            subprocess.run(["ip", "-n", name, "addr", "add", address, "dev", link], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", link, "up"], check=True)
        made.load()
        listener = subprocess.Popen(["ip", "netns", "exec", made.target, PYTHON, "-I", "-c", LISTENER], text=True, stdout=subprocess.PIPE)
        assert listener.stdout is not None
        if listener.stdout.readline().strip() != "ready":
            raise RuntimeError("the listener did not start")
        yield made
    finally:
        if listener is not None:
            listener.kill()
            listener.wait()
        for name in (made.vantage, made.target):
            subprocess.run(["ip", "netns", "delete", name], check=False)


def wait_for(net: Namespaces) -> float | None:
    """Time a play that waits for twenty open ports, in seconds; None without Ansible."""
    program = shutil.which("ansible-playbook", path=os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""))
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as directory:
        play = Path(directory, "play.yml")
        play.write_text(PLAY % TARGET)
        environment = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false", "ANSIBLE_PYTHON_INTERPRETER": PYTHON}
        begin = time.perf_counter()
        subprocess.run(net.command(program, str(play)), stdout=subprocess.DEVNULL, check=True, env=environment)
        return time.perf_counter() - begin


def lost(net: Namespaces, ports: str, state: str, runs: int) -> float:
    """Give the mean number of ports out of a thousand that were not told right."""
    wrong = 0
    for _run in range(runs):
        counts = net.ours(ports)["counts"]
        assert isinstance(counts, dict)
        wrong += 1000 - int(counts.get(state, 0))
    return wrong / runs


def measure(net: Namespaces) -> int:
    """Measure everything and print the tables."""
    rows = []
    ours = "homeserver.hardening"
    for name, ports in (("open", OPEN), ("closed", CLOSED)):
        mine, theirs = best(lambda ports=ports: net.ours(ports), lambda ports=ports: net.nmap(ports))  # type: ignore[misc]
        rows.append(Row(f"1000 {name} ports", ours, mine, "nmap -sT -n -Pn", theirs, at_most_times=2))
    (mine,) = best(lambda: net.ours("20000-20019"))
    theirs_once = wait_for(net)
    rows.append(
        Row("20 open ports", ours, mine, "wait_for loop", theirs_once, at_least=10, note="the loop is a whole play, once; ours is the engine's process")
    )
    (mine,) = best(lambda: net.ours("40000-40099"))
    # Its time is made of waiting, so that five at once take as long as one.
    begin = time.perf_counter()
    running = [
        subprocess.Popen(net.command("nmap", "-sT", "-n", "-Pn", "-p", "40000-40099", TARGET), stdout=subprocess.DEVNULL) for _repetition in range(REPETITIONS)
    ]
    times = []
    for process in running:
        process.wait()
        times.append(time.perf_counter() - begin)
    rows.append(Row("100 dropped ports", ours, mine, "nmap -sT -n -Pn", min(times), at_least=10, note="five nmap at the same time, the quickest counts"))
    (mine,) = best(lambda: net.ours(DROPPED))
    rows.append(Row("1000 dropped ports", ours, mine, at_most=4))
    show("Probing, whole processes", rows)

    truth = []
    for name, ports, state in (("open", OPEN, "open"), ("closed", CLOSED, "closed"), ("dropped", DROPPED, "filtered")):
        truth.append(Row(f"1000 {name} ports, no loss", ours, lost(net, ports, state, 1), at_most=0, unit="false"))
    net.load(LOSS)
    truth.append(Row("1000 open ports, 5 % of SYNs lost", ours, lost(net, OPEN, "open", LOSS_RUNS), at_most=1, unit="false", note=f"mean of {LOSS_RUNS} runs"))
    net.load()
    show("False states", truth)

    everything = "1-65535"
    memory = [
        Row(
            "65,535 ports, peak memory",
            ours,
            peak_memory(net.command(PYTHON, "-I", str(RUNNER), TARGET, everything, "concurrency=1024")),
            "nmap --min-parallelism 1000 --max-retries 0",
            peak_memory(net.command("nmap", "-sT", "-n", "-Pn", "--min-parallelism", "1000", "--max-retries", "0", "-p", everything, TARGET)),
            unit="MiB",
            note="1000 open, 5535 dropped, the rest closed",
        )
    ]
    show("Memory", memory)
    return verdict([*rows, *truth, *memory])


def main() -> int:
    """Run the benchmark; 1 if a bound is missed, 2 if it cannot be measured here."""
    missing = [program for program in ("ip", "nft", "nmap") if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        reason = f"{', '.join(missing)} is missing: apt-get install iproute2 nftables nmap" if missing else "it makes network namespaces: run it as root"
        print(f"\nprobe: {reason}", file=sys.stderr)
        return 2
    with namespaces() as net:
        return measure(net)


if __name__ == "__main__":
    sys.exit(main())
