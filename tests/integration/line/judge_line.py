# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON what the core below the given directory reads of the line and what it says of it."""

from __future__ import annotations

import json
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])

from core._line._collect import Observed, Request, collect, now_text
from core._line._map_e import known_rules, rule_from
from core._line._verdict import judge

options = json.loads(sys.argv[2])
rules = [*known_rules(), *(rule_from(rule) for rule in options.pop("map_rules", []))]
observed = Observed(**options.pop("observed", {}))
start = time.monotonic()
readings = collect(Request(observed=observed, **options))
elapsed = time.monotonic() - start
print(json.dumps({"line": judge(readings, rules, now_text()), "elapsed": elapsed}))
