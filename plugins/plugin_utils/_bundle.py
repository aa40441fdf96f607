# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the agent: one Python archive of those files of module_utils that its entry point needs.

Private to this collection. The bytes depend on the files' content alone: not on time, owner, directory, or the version of Python or zlib.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import zipfile
from dataclasses import dataclass

ENTRY = "_agent/_cli.py"
PACKAGE = "homeserver_agent/module_utils"

_MAIN = """from homeserver_agent.module_utils._agent._cli import main

raise SystemExit(main())
"""
#: The oldest time that an archive can state.
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """An archive, its SHA-256, and the files of module_utils in it."""

    data: bytes
    digest: str
    files: tuple[str, ...]


def module_utils() -> str:
    """Return the directory of this collection's module_utils."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "module_utils")


def build(root: str | None = None) -> Bundle:
    """Return the archive."""
    base = root or module_utils()
    sources = needed_files(base)
    content = {f"{PACKAGE}/{path}": data for path, data in sources.items()}
    content["__main__.py"] = _MAIN.encode()
    content["homeserver_agent/__init__.py"] = b""
    content.setdefault(f"{PACKAGE}/__init__.py", b"")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content[name])
    data = stream.getvalue()
    return Bundle(data, hashlib.sha256(data).hexdigest(), tuple(sorted(sources)))


def needed_files(root: str, entry: str = ENTRY) -> dict[str, bytes]:
    """Return the entry point, all that it imports from module_utils, and their packages, by path."""
    found: dict[str, bytes] = {}
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        with open(os.path.join(root, *path.split("/")), "rb") as stream:
            found[path] = stream.read()
        package = path.split("/")[:-1]
        for depth in range(1, len(package) + 1):
            waiting.append("/".join([*package[:depth], "__init__.py"]))
        waiting.extend(target for target in _imports(found[path], path, package) if os.path.isfile(os.path.join(root, *target.split("/"))))
    return found


def _imports(source: bytes, path: str, package: list[str]) -> list[str]:
    """Return the files that relative imports may mean; some of them do not exist."""
    targets = []
    for node in ast.walk(ast.parse(source, path)):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
        for parts in (base, *([*base, alias.name] for alias in node.names)):
            targets.append("/".join(parts) + ".py")
            targets.append("/".join([*parts, "__init__.py"]))
    return targets
