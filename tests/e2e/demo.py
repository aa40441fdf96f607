# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish a server of the lab, see it from outside, take it back, see that it is closed.

LINE names the line (a name of tests/lab/lines, or the path of a file), OS the server's Debian, KEEP=1 leaves the lab up.
The exit status is 0 only if everything came out as the line's file expects. A line that expects nothing has the exit status
of publish_server.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent))

import lablib
import manifest

PUBLISH = "homeserver.hardening.publish_server"
UNPUBLISH = "homeserver.hardening.unpublish_server"
STARTED = time.monotonic()


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"[{time.monotonic() - STARTED:5.1f} s] {text}", flush=True)


def keep(lines: Iterable[str], stream: TextIO) -> Iterator[str]:
    """Hand lines on, and write them down."""
    for line in lines:
        stream.write(line)
        yield line.rstrip("\n")


def readable(lines: Iterable[str]) -> Iterator[str]:
    """Leave out what is as it was, and put a task's name beside what it did."""
    task = ""
    quiet = True
    for line in lines:
        banner = re.match(r"(TASK|PLAY|RUNNING HANDLER) \[?(.*?)\]? \*+$", line)
        if banner:
            task, quiet = banner[2], True
        if banner or re.match(r"(ok|skipping|included): ", line) or (quiet and not line):
            continue
        if line.startswith("changed: "):
            yield f"  changed: {task.removeprefix('homeserver.hardening.')}"
            continue
        if quiet and re.match(r"fatal|failed|\[ERROR\]", line):
            yield f"  in task: {task}"
        quiet = False
        yield line


class Demo:
    """One demonstration."""

    def __init__(self, line: Path, system: str) -> None:
        self.line = line
        self.system = system
        self.lab = lablib.Lab(lablib.name_of("demo"))
        self.home = lablib.Home(self.lab)
        self.wrong: list[str] = []

    def check(self, right: bool, text: str) -> None:
        """Say whether something is as it should be."""
        say(f"{'as it should be' if right else 'WRONG'}: {text}")
        if not right:
            self.wrong.append(text)

    def play(self, playbook: str) -> int:
        """Run a playbook; show what changes, what fails and what the collection says, as it comes."""
        print(f"\n$ ansible-playbook -i {self.lab.name} {playbook}", flush=True)
        argv = lablib.in_place(["ansible-playbook", "-i", str(self.lab.inventory_file()), playbook])
        log = self.lab.output / f"{playbook.rsplit('.', 1)[-1]}.log"
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(argv, env=self.lab.environment(), cwd=lablib.ROOT, **pipes)
        assert process.stdout is not None
        # A play that hangs ends as well: the loop below ends with its output.
        timer = threading.Timer(300, process.kill)
        timer.start()
        with process.stdout, log.open("w") as stream:
            for text in readable(keep(process.stdout, stream)):
                print(text, flush=True)
        status = process.wait()
        timer.cancel()
        print(flush=True)
        say(f"{playbook} ended with status {status} (all it printed: {log})")
        return status

    def look(self, text: str) -> dict[str, str]:
        """Ask from the Internet side, with a client that knows nothing of the collection."""
        seen = self.home.from_outside()
        services = {row["name"]: row for row in lablib.services_for(self.lab.vars)}
        say(text)
        for name, state in seen.items():
            row = services[name]
            external = row.get("external_port", row["port"])
            ports = str(row["port"]) if external == row["port"] else f"{external} to {row['port']}"
            print(f"            {name:6} {row['protocol'].upper()} {ports:12} {'answers, and it is this server' if state == 'open' else 'no answer: ' + state}")
        return seen

    def run(self) -> int:
        """The demonstration; return the exit status."""
        say(f"line {self.line.stem}, server on Debian {'12' if self.system == 'bookworm' else '13'}: bringing the lab up")
        self.lab.up(self.line, self.system)
        self.home.start_services()
        variables = self.lab.vars
        expect: dict[str, Any] = variables["lab_expect"] or {}
        possible = (expect.get("publish") or {}).get("possible")
        hosts = sorted(self.lab.inventory()["_meta"]["hostvars"])
        say(f"{len(hosts)} hosts are up: {', '.join(hosts)}. The server offers HTTP and an echo.")
        before = manifest.collect(self.lab)
        seen_before = self.look("what someone on the Internet sees before:")

        status = self.play(PUBLISH)
        seen = self.look("what someone on the Internet sees now:")
        published = set(seen.values()) == {"open"}
        if possible is None:
            say(f"the line's file does not say what to expect; the status is that of the playbook, {status}")
        elif possible:
            self.check(status == 0, "publish_server ended well")
            self.check(published, "all services answer from outside")
            self.check(self.home.resolve() == [variables["lab_wan_address"]], f"{variables['lab_name']} leads to {variables['lab_wan_address']}")
        else:
            self.check(status != 0, "publish_server says that it cannot be done on this line")
            self.check(seen == seen_before, "nothing answers from outside that did not before")
            self.check(self.unchanged(before), "host, router and DNS are exactly as they were")
        if published or possible:
            undo = self.play(UNPUBLISH)
            seen = self.look("what someone on the Internet sees after it was taken back:")
            self.check(undo == 0, "unpublish_server ended well")
            if self.lab.behind_router:
                self.check("open" not in seen.values(), "everything is closed again")
            else:
                self.check(seen == seen_before, "the same as before (this line has no router that would close anything)")
            self.check(self.unchanged(before), "host, router and DNS are exactly as they were before publishing")
        if self.wrong:
            say(f"{len(self.wrong)} things are not as they should be: {'; '.join(self.wrong)}")
            return 1
        return status if possible is None else 0

    def unchanged(self, before: manifest.Manifest) -> bool:
        """Compare with the beginning; print what differs."""
        differences = manifest.compare(before, manifest.collect(self.lab))
        print("\n".join(differences), end="\n" if differences else "", flush=True)
        return not differences


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("line", nargs="?", default=os.environ.get("LINE") or "dynamic_global")
    parser.add_argument("--os", default=os.environ.get("OS") or "bookworm", choices=["bookworm", "trixie"])
    options = parser.parse_args()
    line = Path(options.line)
    if not line.is_file():
        line = lablib.LINES / f"{options.line}.yml"
    if not line.is_file():
        parser.error(f"there is no line {options.line}: give one of {', '.join(sorted(path.stem for path in lablib.LINES.glob('*.yml')))}, or a file's path")
    keep = os.environ.get("KEEP", "") not in ("", "0", "no")
    # Images take minutes the first time; the lab says how far it is.
    if subprocess.run([str(lablib.LAB), "images", *dict.fromkeys(["bookworm", options.os])], check=False).returncode:
        return 1
    demo = Demo(line, options.os)
    demo.lab.down()
    status = 1
    try:
        status = demo.run()
    except lablib.LabError as error:
        say(str(error))
    finally:
        if keep:
            say(f"the lab stays up: tests/lab/lab exec --name {demo.lab.name} server -- bash; end it with tests/lab/lab down --name {demo.lab.name}")
        else:
            demo.lab.forget_connections()
            demo.lab.down()
    say("the demo ended as it should" if status == 0 else f"the demo ended with status {status}")
    return status


if __name__ == "__main__":
    sys.exit(main())
