# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a module's options to checked settings; taking back needs none of them, because the host itself knows.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._dns._name import DnsError, name_from_text, name_to_text
from .._state import StateDir
from ._config import CONFIG_FILE, CREDENTIAL_FILE, Config, read_config, read_secret
from ._memory import Memory
from ._result import DdnsError

_OPTIONS = (
    *("name", "zone", "provider", "server", "server_port", "tsig_name", "tsig_algorithm", "ttl", "families"),
    *("address_source", "address_command", "addresses", "gateway", "resolver", "adopt", "readback_timeout"),
)


def prepare(options: Mapping[str, Any], state: StateDir, config_file: str = CONFIG_FILE, credential_file: str = CREDENTIAL_FILE) -> tuple[Config, str] | None:
    """Return the settings and the secret, None if there is nothing to take back."""
    given = {key: options[key] for key in _OPTIONS if options.get(key) not in (None, "")}
    if options["state"] == "present":
        return Config.from_mapping(given), str(options["tsig_secret"])
    memory = Memory.load(state)
    if not memory.owned:
        return None
    # What is published counts, not what would be published next. The key may have been replaced since: then the newer settings of the same
    # name say which it is.
    settings = dict(memory.settings)
    for newer in (_installed(config_file), given):
        if name_of(newer) == memory.name:
            settings.update({key: newer[key] for key in memory.settings if newer.get(key) is not None})
    settings["readback_timeout"] = given.get("readback_timeout", 20)
    secret = str(options["tsig_secret"]) if options.get("tsig_secret") else read_secret(credential_file)
    return Config.from_mapping(settings), secret


def name_of(settings: Mapping[str, Any]) -> str:
    """Return the name that settings are about, in full; empty if there is none."""
    try:
        return name_to_text(name_from_text(str(settings.get("name") or "")))
    except DnsError:
        return ""


def _installed(path: str) -> dict[str, Any]:
    try:
        return read_config(path)
    except DdnsError:
        return {}
