# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which driver speaks to which provider.

Private to this collection.
"""

from __future__ import annotations

from ._config import Config
from ._driver import Driver
from ._http_driver import Cloudflare, HttpDriver
from ._reading import authorities_of
from ._rfc2136 import Rfc2136


def make_driver(config: Config, secret: str) -> Driver:
    """Return the driver of the provider that the settings name."""
    config.check_secret(secret)
    if config.row is None:
        return Rfc2136(config, config.key(secret))
    kind = Cloudflare if config.provider == "cloudflare" else HttpDriver
    return kind(config, config.row, secret, authorities_of)
