# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of tests/lab/lab."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from . import holder, images, inventory, lifecycle, line, pythons
from .util import LabError, Places, require_machine

EPILOG = """The lab needs root. Its images and disks lie in $HOMESERVER_LAB_STORE (default /var/lib/homeserver-lab), what runs in /run/homeserver-lab.
The name of a lab is --name, else $LAB, else "lab"."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=os.environ.get("LAB") or "lab", help="which lab (default: $LAB, else lab)")

    sub = commands.add_parser("images", help="build what is missing or out of date: images of hosts, and roots with other Pythons")
    sub.add_argument("image", nargs="*", help=f"{', '.join([*images.HOSTS, *images.ROOTS])} (default: all)")

    sub = commands.add_parser("up", parents=[named], help="bring up a line")
    sub.add_argument("line", type=Path, help="any YAML file; those that ship: tests/lab/lines")
    sub.add_argument("--os", choices=images.HOSTS, default="bookworm", help="the server's Debian (default: bookworm)")
    sub.add_argument("--seed", type=int, help="repeat the addresses and names of an earlier run")
    sub.add_argument("--replace", action="store_true", help="take a lab of this name down first")
    sub.add_argument("--keep-failed", action="store_true", help="leave a lab that did not come up as it is")

    sub = commands.add_parser("inventory", parents=[named], help="print the inventory (JSON)")
    sub.add_argument("--list", action="store_true", help="in the form of an inventory script; empty when the lab is down")

    sub = commands.add_parser("path", parents=[named], help="print where one of the lab's files lies")
    sub.add_argument("what", choices=("inventory", "ssh_config", "key", "state"))

    sub = commands.add_parser("exec", parents=[named], help="run a command as root inside a host")
    sub.add_argument("host")
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD …")

    sub = commands.add_parser("enter", parents=[named], help="run a command of this machine in the lab's network, as the controller")
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD …")

    sub = commands.add_parser("reboot", parents=[named], help="restart a host and wait until it is up again")
    sub.add_argument("host")
    sub.add_argument("--hard", action="store_true", help="as when the power fails")

    sub = commands.add_parser("python", help="run another Python in a throw-away root with pytest and the checkout (read-only)")
    sub.add_argument("version", help=", ".join(root.version for root in images.ROOTS.values()))
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- ARGS …")

    commands.add_parser("status", help="list the labs")
    commands.add_parser("down", parents=[named], help="take a lab down")
    commands.add_parser("sweep", help="remove what dead labs have left")
    commands.add_parser("lines", help="list the lines that ship")
    return parser


def _rest(argv: list[str], need: str) -> list[str]:
    argv = argv[1:] if argv[:1] == ["--"] else argv
    if not argv:
        raise LabError(f"nothing to run: {need}")
    return argv


def _lines() -> None:
    for path in sorted(line.LINES.glob("*.yml")):
        one = line.load(path)
        print(f"{path}\n    {one.description}")


def _inventory(places: Places, as_script: bool) -> None:
    if as_script:
        print(json.dumps(inventory.dynamic(places.inventory if places.complete.exists() else Path("/nonexistent")), indent=2))
    elif places.complete.exists():
        print(places.inventory.read_text(encoding="ascii"), end="")
    else:
        raise LabError(f"lab {places.name!r} is not up: tests/lab/lab up LINE.yml --name {places.name}")


def _dispatch(arguments: argparse.Namespace) -> None:
    command = arguments.command
    if command == "lines":
        return _lines()
    places = Places.of(getattr(arguments, "name", "lab"))
    if command == "path":
        names = {"inventory": places.inventory, "ssh_config": places.ssh_config, "key": places.state / "key", "state": places.state}
        return print(names[arguments.what])
    if command == "inventory":
        return _inventory(places, arguments.list)
    require_machine()
    if command == "images":
        images.build(arguments.image)
    elif command == "up":
        lifecycle.up(places, arguments.line, arguments.os, arguments.seed, arguments.replace, arguments.keep_failed)
    elif command == "exec":
        command_line = _rest(arguments.argv, "lab exec HOST -- CMD")
        if command_line[0].startswith("-"):
            raise LabError(f"{command_line[0]!r} stands behind the host: options go before it, and the command follows --")
        argv = holder.enter_host(places, arguments.host, command_line)
        os.execvp(argv[0], argv)
    elif command == "enter":
        argv = holder.network_only(places, *_rest(arguments.argv, "lab enter -- CMD"))
        os.execvp(argv[0], argv)
    elif command == "python":
        pythons.execute(arguments.version, _rest(arguments.argv, "lab python 3.9 -- -m pytest PATH"))
    elif command == "reboot":
        lifecycle.reboot(places, arguments.host, arguments.hard)
    elif command == "status":
        lifecycle.status()
    elif command == "down":
        lifecycle.down(places)
    elif command == "sweep":
        lifecycle.sweep()
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 with one message for what went wrong, 130 when interrupted."""
    # Taken down rather than left half done, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _dispatch(_parser().parse_args(argv))
    except LabError as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 1
    except PermissionError as exc:
        print(f"lab: {exc.filename}: {exc.strerror}: run it as root (sudo)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130
    return 0
