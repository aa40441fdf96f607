# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner's files are programs, not a package."""

from __future__ import annotations

import sys
from pathlib import Path

LINES = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(path) for path in (LINES, LINES.parent / "e2e") if str(path) not in sys.path]
