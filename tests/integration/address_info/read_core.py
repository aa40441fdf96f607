# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON what the core in the given directory reads from the kernel."""

from __future__ import annotations

import json
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])

from _address._interfaces import read_network

network = read_network()
print(json.dumps({"addresses": [row.as_data() for row in network.addresses], "default_routes": [row.as_data() for row in network.default_routes]}))
