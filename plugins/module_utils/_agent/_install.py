# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the agent on the host, or take it away: a bundle with its hash in its name, a link to it that is switched at once, a command.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from typing import Any

from .._files import replace_file
from .._plan import Plan, compare

LIBRARY = "/usr/local/lib/homeserver"
COMMAND = "/usr/local/sbin/homeserver-agent"
LINK = "agent.pyz"

_BUNDLE = re.compile(r"agent-[0-9a-f]{16}\.pyz\Z")
_MARK = "used-by-"
CONSUMER = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")

WRAPPER = f"""#!/bin/sh
# Managed by the Ansible collection homeserver.hardening.
exec /usr/bin/python3 -I {LIBRARY}/{LINK} "$@"
"""


class InstallError(Exception):
    """The agent cannot be put there or taken away."""


@dataclass(frozen=True)
class Layout:
    """Where things are."""

    directory: str = LIBRARY
    command: str = COMMAND

    def path(self, name: str) -> str:
        """Return the path of a file in the library directory."""
        return os.path.join(self.directory, name)


def bundle_name(digest: str) -> str:
    """Return the file name of a bundle."""
    return f"agent-{digest[:16]}.pyz"


class Installation:
    """The agent as it is and as it shall be. It stays as long as any consumer (a role, usually) needs it."""

    def __init__(self, layout: Layout | None = None) -> None:
        self._layout = layout or Layout()

    def current(self) -> dict[str, Any]:
        """Return what is there, by path."""
        found: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._layout.directory)):
                path = self._layout.path(name)
                if os.path.islink(path):
                    if name == LINK:
                        found[path] = {"link": os.readlink(path)}
                elif _BUNDLE.match(name) or name.startswith(_MARK):
                    found[path] = _describe(path)
        with contextlib.suppress(FileNotFoundError):
            found[self._layout.command] = _describe(self._layout.command)
        return found

    def wanted(self, digest: str, consumer: str) -> dict[str, Any]:
        """Return what shall be there for a consumer, beside what others need."""
        wanted = {path: value for path, value in self.current().items() if os.path.basename(path).startswith(_MARK)}
        wanted[self._layout.path(bundle_name(digest))] = {"sha256": digest, "mode": "0644"}
        wanted[self._layout.path(LINK)] = {"link": bundle_name(digest)}
        wanted[self._layout.command] = {"sha256": _sha256(self._wrapper()), "mode": "0755"}
        wanted[self._layout.path(_MARK + consumer)] = {"sha256": _sha256(b""), "mode": "0644"}
        return wanted

    def without(self, consumer: str) -> dict[str, Any]:
        """Return what shall be there when a consumer needs it no more: nothing, if it was the last one."""
        current = self.current()
        current.pop(self._layout.path(_MARK + consumer), None)
        return current if any(os.path.basename(path).startswith(_MARK) for path in current) else {}

    def plan(self, wanted: dict[str, Any]) -> Plan:
        """Return what leads there: new files, the link, and only then removals."""
        current = self.current()
        plan = Plan()
        for path, value in sorted(wanted.items(), key=lambda item: "link" in item[1]):
            plan.add(compare("file", path, current.get(path), value))
        for path in current:
            if path not in wanted:
                plan.add(compare("file", path, current[path], None))
        return plan

    def needs_bundle(self, plan: Plan) -> bool:
        """Return whether the plan can be executed only with the bytes of the bundle."""
        return any(change.after is not None and _BUNDLE.match(os.path.basename(change.name)) for change in plan.changes)

    def apply(self, plan: Plan, bundle: bytes) -> None:
        """Execute a plan."""
        try:
            for change in plan.changes:
                if change.after is None:
                    os.unlink(change.name)
                elif "link" in change.after:
                    _switch(change.name, change.after["link"])
                else:
                    _write(change.name, self._content(change.name, bundle, change.after["sha256"]), int(change.after["mode"], 8))
            if not self.current():
                with contextlib.suppress(OSError):
                    os.rmdir(self._layout.directory)
        except OSError as error:
            raise InstallError(
                f"{error.filename or self._layout.directory} cannot be changed: {error.strerror}; run as root on a writable file system"
            ) from error

    def _content(self, path: str, bundle: bytes, digest: str) -> bytes:
        if path == self._layout.command:
            return self._wrapper()
        data = bundle if _BUNDLE.match(os.path.basename(path)) else b""
        if _sha256(data) != digest:
            raise InstallError(f"the bundle for {path} arrived damaged; run again")
        return data

    def _wrapper(self) -> bytes:
        return WRAPPER.replace(LIBRARY, self._layout.directory).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _describe(path: str) -> dict[str, str]:
    with open(path, "rb") as stream:
        data = stream.read()
    return {"sha256": _sha256(data), "mode": f"{os.stat(path).st_mode & 0o7777:04o}"}


def _write(path: str, data: bytes, mode: int) -> None:
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        os.makedirs(directory)
        os.chmod(directory, 0o755)
    replace_file(path, data, mode)


def _switch(path: str, target: str) -> None:
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)
