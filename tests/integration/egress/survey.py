# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON what the core below the given directory finds that a network lets out."""

from __future__ import annotations

import json
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])

from core._egress._survey import Request, survey

print(json.dumps(survey(Request(**json.loads(sys.argv[2])))))
