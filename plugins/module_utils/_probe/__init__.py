# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port probing over plain sockets, and the responder that proves who answered.

Private to this collection. The modules below avoid imports that cost more than a probe does (typing, dataclasses, json):
a probe of a thousand ports takes less time than starting Python with them.
"""

from __future__ import annotations
