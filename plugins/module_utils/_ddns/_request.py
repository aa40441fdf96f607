# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a module's options to checked settings; taking back needs none of them, because the host itself knows.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._state import StateDir
from ._config import CONFIG_FILE, CREDENTIAL_FILE, Config, read_config, read_secret
from ._memory import Memory
from ._result import CONFIG, DdnsError

_OPTIONS = (
    *("name", "zone", "provider", "server", "server_port", "tsig_name", "tsig_algorithm", "ttl", "families"),
    *("address_source", "address_command", "addresses", "resolver", "adopt", "readback_timeout"),
)


def prepare(options: Mapping[str, Any], state: StateDir, config_file: str = CONFIG_FILE, credential_file: str = CREDENTIAL_FILE) -> tuple[Config, str] | None:
    """Return the settings and the secret, None if there is nothing to take back."""
    given = {key: options[key] for key in _OPTIONS if options.get(key) is not None}
    if options["state"] == "present":
        return Config.from_mapping(given), str(options["tsig_secret"])
    memory = Memory.load(state)
    if not memory.owned:
        return None
    try:
        settings = read_config(config_file)
    except DdnsError:
        settings = {}
    # What is published counts, not what the role would publish next.
    settings = {key: value for key, value in settings.items() if key in _OPTIONS} or given
    if memory.name != _full(settings.get("name")):
        settings = given
    if memory.name != _full(settings.get("name")):
        raise DdnsError(
            CONFIG,
            f"this host published {memory.name} at {memory.server}, but neither {config_file} nor the options are about that name: "
            "give the options that it was published with",
        )
    # A source is not asked when something is taken back, so it need not be complete.
    settings.update(address_source="interface", address_command=None, addresses=None)
    secret = str(options["tsig_secret"]) if options.get("tsig_secret") else read_secret(credential_file)
    return Config.from_mapping({key: value for key, value in settings.items() if value is not None}), secret


def _full(name: Any) -> str:
    text = str(name or "").lower()
    return text if text.endswith(".") else text + "."
