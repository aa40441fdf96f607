# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Internet line: what can be read of it (_probe_*, _parse), and what the readings mean (_verdict, _map_e, _ways)."""

from __future__ import annotations
