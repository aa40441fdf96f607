# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other programs on this host that update the same name: ddclient and inadyn. They are found and named, never touched.

Private to this collection.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence

from .._dns._name import Name, name_to_text

#: By program: where it is, and where its settings are.
_PROGRAMS = {
    "ddclient": (("usr/sbin/ddclient", "usr/bin/ddclient", "usr/local/sbin/ddclient"), ("etc/ddclient.conf", "etc/ddclient/*.conf")),
    "inadyn": (
        ("usr/sbin/inadyn", "usr/bin/inadyn", "usr/local/sbin/inadyn"),
        ("etc/inadyn.conf", "etc/inadyn/*.conf", "etc/inadyn.d/*"),
    ),
}
_MAX_SIZE = 1 << 20


def find_writers(name: Name, root: str = "/") -> list[dict[str, str]]:
    """Return the programs whose settings name this host name, and the files that do."""
    text = name_to_text(name)[:-1]
    pattern = re.compile(rf"(?<![\w.*-]){re.escape(text)}\.?(?![\w.-])", re.IGNORECASE)
    found = []
    for program, (places, patterns) in _PROGRAMS.items():
        if not any(os.path.exists(os.path.join(root, place)) for place in places):
            continue
        for path in sorted({path for each in patterns for path in glob.glob(os.path.join(root, each))}):
            if pattern.search(_settings(path)):
                found.append({"program": program, "file": path})
    return found


def warning(name: str, writers: Sequence[dict[str, str]]) -> str:
    """Return what people are told about them; empty if there are none."""
    if not writers:
        return ""
    shown = ", ".join(f"{row['program']} ({row['file']})" for row in writers)
    return f"{name} is updated by {shown} as well, so each undoes what the other did; remove the name there, or stop that program"


def _settings(path: str) -> str:
    """Return the lines that are no comments. What cannot be read says nothing."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return "\n".join(line.split("#", 1)[0] for line in stream.read(_MAX_SIZE).splitlines())
    except OSError:
        return ""
