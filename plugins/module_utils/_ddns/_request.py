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
from ._config import CONFIG_FILE, KEYS, Config, read_config, read_secret
from ._memory import Memory
from ._providers import RFC2136
from ._result import DdnsError


def prepare(options: Mapping[str, Any], state: StateDir, config_file: str = CONFIG_FILE, credential_file: str = "") -> tuple[Config, str] | None:
    """Return the settings and the secret, None if there is nothing to take back."""
    given = {key: options[key] for key in KEYS if options.get(key) not in (None, "", [])}
    if options["state"] == "present":
        config = Config.from_mapping(given)
        secret = secret_of(config.provider, options)
        config.check_secret(secret)
        return config, secret
    memory = Memory.load(state)
    if not memory.owned:
        return None
    # What is published counts, not what would be published next. The key may have been replaced since: then the newer settings of the same
    # name say which it is.
    settings = dict(memory.settings)
    for newer in (_installed(config_file), given):
        if name_of(newer) == memory.name and newer.get("provider", RFC2136) == settings.get("provider"):
            # What was allowed when it was published is still allowed.
            # A port or algorithm without its server or key is the default of an option, not something that was said.
            needs = {"server_port": "server", "tsig_algorithm": "tsig_name"}
            settings.update({key: newer[key] for key in memory.settings if newer.get(key) not in (None, False) and newer.get(needs.get(key, key))})
    settings["readback_timeout"] = given.get("readback_timeout", 20)
    config = Config.from_mapping(settings)
    return config, secret_of(config.provider, options) or read_secret(config.provider, credential_file)


def secret_of(provider: str, options: Mapping[str, Any]) -> str:
    """Return the secret that was given for a kind of provider; empty if there is none."""
    return str(options.get("tsig_secret" if provider == RFC2136 else "password") or "")


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
