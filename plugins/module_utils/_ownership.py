# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who made it: the tag that every object of ours carries, and the id of the host that made it.

Private to this collection.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

#: Names of services and of other things that a tag carries.
SERVICE_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")

_TAG = re.compile(r"hs:(?P<host_id>[0-9a-f]{8}):(?P<name>[a-z][a-z0-9-]{0,30})\Z")
_MACHINE_ID = "/etc/machine-id"
_APPLICATION = b"homeserver.hardening"


class OwnershipError(Exception):
    """The host cannot be told apart from others."""


@dataclass(frozen=True)
class Tag:
    """The parts of a tag: which host made the object, and for which service."""

    host_id: str
    name: str

    def __str__(self) -> str:
        return f"hs:{self.host_id}:{self.name}"


def host_id(path: str = _MACHINE_ID) -> str:
    """Return this host's id: 8 hexadecimal digits, the same in every run.

    Derived from /etc/machine-id with a keyed hash, as machine-id(5) asks of applications, so that the machine id
    itself is never shown to others and so that the id is known before anything was written.
    """
    try:
        with open(path, encoding="ascii") as stream:
            machine = stream.read().strip()
    except OSError as error:
        raise OwnershipError(f"{path} cannot be read ({error.strerror}); run 'systemd-machine-id-setup' on this host") from error
    if not re.match(r"[0-9a-f]{32}\Z", machine):
        raise OwnershipError(f"{path} holds no machine id but {machine[:40]!r}; run 'systemd-machine-id-setup' on this host")
    return hmac.new(bytes.fromhex(machine), _APPLICATION, hashlib.sha256).hexdigest()[:8]


def make_tag(owner: str, name: str) -> str:
    """Return the tag of a service of ours; at most 43 ASCII characters, so that it fits every router's description field."""
    if not SERVICE_NAME.match(name):
        raise ValueError(f"{name!r} is not a service name: use a lower-case letter, then up to 30 of a-z, 0-9 and '-'")
    return str(Tag(owner, name))


def parse_tag(text: str) -> Tag | None:
    """Return the parts of a tag, or None if the text is not one."""
    match = _TAG.match(text.strip())
    return Tag(match.group("host_id"), match.group("name")) if match else None
