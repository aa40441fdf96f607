# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project that uses the collection as its users do: from the built tarball, in its own directory, with its own playbooks.

The working tree is not visible to it. It logs in as an ordinary user with sudo.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import lablib
import manifest


class Wrong(Exception):
    """Something is not as it should be."""


def must(right: bool, text: str) -> None:
    """Fail with a text."""
    if not right:
        raise Wrong(text)


class Consumer:
    """The project, its copy of the collection, and a lab."""

    def __init__(self, place: Path, system: str) -> None:
        self.project = place / "project"
        self.system = system
        self.lab = lablib.Lab(lablib.name_of("c", system), lablib.OUTPUT / "consumer")
        self.home = lablib.Home(self.lab)
        shutil.copytree(HERE / "project", self.project)

    def install(self) -> None:
        """Build the tarball and install it into an empty place."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_") and key != "PYTHONPATH"}
        build = self.project.parent / "build"
        argv = ["ansible-galaxy", "collection", "build", "--output-path", str(build), str(lablib.ROOT)]
        subprocess.run(argv, env=env, check=True, capture_output=True, timeout=120)
        tarball = next(build.glob("homeserver-hardening-*.tar.gz"))
        subprocess.run(
            ["ansible-galaxy", "collection", "install", "--offline", "-p", "collections", str(tarball)],
            env=env,
            cwd=self.project,
            check=True,
            capture_output=True,
            timeout=120,
        )
        installed = self.project / "collections" / "ansible_collections" / "homeserver" / "hardening"
        must((installed / "MANIFEST.json").is_file(), "the tarball was not installed")
        must(not (installed / "tests").exists(), "the tarball carries tests")

    def play(self, playbook: str, *options: str, status: int = 0, **extra: object) -> lablib.Run:
        """Run a playbook in the project's directory, as an ordinary user with sudo."""
        env = {key: value for key, value in self.lab.environment().items() if not key.startswith(("ANSIBLE_", "PYTHONPATH"))}
        run = self.lab.playbook(playbook, *options, extra={"ansible_user": "admin", **extra}, only_env=env, inplace=False, cwd=self.project)
        must(run.returncode == status, str(run))
        return run

    def four_times(self, playbook: str, look: Callable[[], None]) -> None:
        """Check, do, check again, do again; then take it back, and all is as it was."""
        virgin = manifest.collect(self.lab)
        self.play(playbook, "--check")
        self.same(virgin, "check mode changed something")
        must(self.play(playbook).changed["server"] > 0, f"{playbook} changed nothing")
        look()
        must(self.play(playbook, "--check").changed["server"] == 0, f"{playbook}: check mode after the run announces changes")
        must(self.play(playbook).changed["server"] == 0, f"{playbook}: the second run changed something")
        self.play(playbook, wanted="absent")
        self.same(virgin, f"{playbook}: something is left")
        must(self.play(playbook, wanted="absent").changed["server"] == 0, f"{playbook}: taking back a second time changed something")

    def same(self, before: manifest.Manifest, text: str) -> None:
        """All is as it was."""
        differences = manifest.compare(before, manifest.collect(self.lab))
        must(not differences, text + "\n" + "\n".join(differences))

    # What is tried.

    def firewall(self) -> None:
        """Role host_firewall alone."""
        server = self.lab.vars["lab_server_address"]

        def look() -> None:
            questions = [{"protocol": "tcp", "host": server, "port": port} for port in (80, 443)]
            states = {row["port"]: row["state"] for row in self.home.ask(questions, "neighbour")}
            must(states[80] == "answered", f"the allowed port: {states}")
            must(states[443] != "answered", f"a port that is not allowed answers: {states}")

        self.four_times("firewall.yml", look)

    def mapping(self) -> None:
        """Role port_mapping alone."""
        service = [{"name": "site", "protocol": "tcp", "port": 80, "external_port": 8090}]
        self.four_times("mapping.yml", lambda: must(self.home.open_names(service) == ["site"], f"from outside: {self.home.from_outside(service)}"))

    def name(self) -> None:
        """Role ddns alone."""
        wanted = [self.lab.vars["lab_wan_address"]]
        self.four_times("name.yml", lambda: must(self.home.resolve() == wanted, f"the name leads to {self.home.resolve()}, not {wanted}"))

    def own_role(self) -> None:
        """Role publish inside a role of the project, with the project's words; tags and limits skip nothing that protects."""
        service = [{"name": "site", "protocol": "tcp", "port": 80, "external_port": 8080}]
        self.lab.sh("server", "echo \"the project's own file\" >/srv/site.txt")
        virgin = manifest.collect(self.lab)
        run = self.play("site.yml", "--limit", "server", "--tags", "publish")
        must("the project goes on" not in run.output, "tags did not choose")
        must(self.home.open_names(service) == ["site"], f"from outside: {self.home.from_outside(service)}\n{run}")
        must("1 of 1" in run.output, f"the proof was skipped\n{run}")
        # A run with tags is not taken for a whole one: the next whole run completes its record.
        self.play("site.yml")
        run = self.play("site.yml")
        must(run.changed["server"] == 0, f"the second whole run changed something\n{run}")
        must("the project goes on" in run.output, "the project's next play did not run")
        self.play("homeserver.hardening.status", homeserver_hosts="server")
        self.play("site.yml", wanted="absent")
        must(self.home.open_names(service) == [], "still open from outside")
        self.same(virgin, "something is left")

    def playbooks(self) -> None:
        """The collection's playbooks by FQCN, from the installed tarball."""
        virgin = manifest.collect(self.lab)
        run = self.play("homeserver.hardening.diagnose", "--tags", "nothing_has_this_tag")
        must(self.lab.vars["lab_wan_address"] in run.output, str(run))
        self.play("homeserver.hardening.publish_server", "--limit", "server")
        must(set(self.home.from_outside().values()) == {"open"}, f"from outside: {self.home.from_outside()}")
        self.play("homeserver.hardening.unpublish_server", "--limit", "server")
        self.same(virgin, "something is left")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--os", default="trixie", choices=["bookworm", "trixie"])
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("parts", nargs="*", metavar="PART", help="firewall, mapping, name, own_role, playbooks (default: all)")
    options = parser.parse_args()
    parts = options.parts or ["firewall", "mapping", "name", "own_role", "playbooks"]
    started = time.monotonic()
    failed = 0
    shutil.rmtree(lablib.OUTPUT / "consumer", ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="consumer-") as place:
        consumer = Consumer(Path(place), options.os)
        try:
            consumer.install()
            consumer.lab.up("dynamic_global", options.os)
            consumer.home.start_services()
            for part in parts:
                began = time.monotonic()
                problem = ""
                try:
                    getattr(consumer, part)()
                except (Wrong, lablib.LabError) as error:
                    problem = str(error)
                print(f"{'failed' if problem else 'passed'}  {part:12} {time.monotonic() - began:6.1f} s", flush=True)
                if problem:
                    failed += 1
                    print("\n".join("    " + text[:400] for text in problem.splitlines()[-70:]), flush=True)
                    # The next part begins with a virgin host again.
                    consumer.lab.forget_connections()
                    consumer.lab.up("dynamic_global", options.os)
                    consumer.home.start_services()
        finally:
            consumer.lab.forget_connections()
            if not options.keep:
                consumer.lab.down()
    print(f"consumer: {len(parts) - failed} passed, {failed} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
