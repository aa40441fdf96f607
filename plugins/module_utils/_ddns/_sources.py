# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the public address of this host comes from. Exactly one source is asked, the one that was chosen: no hidden second try.

Private to this collection.
"""

from __future__ import annotations

import os
import subprocess
from typing import Callable

from .._address._interfaces import NetlinkError, preferred, read_network
from .._portmap._errors import PortmapError
from .._portmap._service import Selection, open_gateway
from ._config import Config
from ._result import NO_ADDRESS, DdnsError

COMMAND_TIMEOUT = 20

#: A source returns the address of a family, or raises.
Source = Callable[[str], str]


def make_source(config: Config) -> Source:
    """Return the source that the settings name. What is the same for both families is asked once."""
    if config.address_source == "interface":
        return _from_interface
    if config.address_source == "router":
        return lambda family: _from_router(family, config.gateway)
    lines = config.addresses if config.address_source == "static" else _run(config.address_command)
    return lambda family: _pick(lines, family, config.address_source)


def _from_interface(family: str) -> str:
    try:
        network = read_network()
    except NetlinkError as error:
        raise DdnsError(NO_ADDRESS, f"the addresses of this host cannot be read: {error}") from error
    found = preferred(network.addresses, family)
    if found:
        return found[0].address
    # Nothing fit: hand on what there is on the way to the Internet, so that the guard can say why it is not published.
    others = [row for row in network.addresses if row.family == family and row.up and row.on_default_route and not row.tentative]
    if not others:
        raise DdnsError(NO_ADDRESS, f"this host has no {family} address on an interface with a default route")
    usable = [row for row in others if not row.temporary and not row.deprecated]
    if not usable:
        raise DdnsError(NO_ADDRESS, f"this host has only temporary or deprecated {family} addresses ({others[0].address}); give it a stable one")
    return usable[0].address


def _from_router(family: str, gateway: str) -> str:
    if family != "ipv4":
        # Without NAT the address of the host itself is the public one.
        return _from_interface(family)
    try:
        address = open_gateway(Selection(gateway=gateway or None)).external_address()
    except PortmapError as error:
        raise DdnsError(NO_ADDRESS, f"the router did not say its address: {error}") from error
    if not address:
        raise DdnsError(NO_ADDRESS, "the router says that it has no address on the Internet side; is it online?")
    return address


def _run(command: tuple[str, ...]) -> tuple[str, ...]:
    shown = os.path.basename(command[0])
    try:
        # The core has no AnsibleModule and so no run_command.
        # pylint: disable-next=ansible-bad-function
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT, check=False, cwd="/")
    except subprocess.TimeoutExpired as error:
        raise DdnsError(NO_ADDRESS, f"the address command {shown} did not end within {COMMAND_TIMEOUT} s") from error
    except OSError as error:
        raise DdnsError(NO_ADDRESS, f"the address command {command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip().splitlines()
        raise DdnsError(NO_ADDRESS, f"the address command {shown} ended with status {done.returncode}{': ' + text[-1][:200] if text else ''}")
    return tuple(done.stdout.decode(errors="replace")[:4096].split("\n"))


def _pick(lines: tuple[str, ...], family: str, source: str) -> str:
    found = [line.strip() for line in lines if line.strip() and (":" in line) == (family == "ipv6")]
    if not found:
        raise DdnsError(NO_ADDRESS, f"the address source {source!r} gave no {family} address")
    if len(set(found)) > 1:
        raise DdnsError(NO_ADDRESS, f"the address source {source!r} gave several {family} addresses ({', '.join(found[:4])[:200]}); it must give one")
    return found[0]
