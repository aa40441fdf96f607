# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serial numbers of zones, which wrap around: RFC 1982.

Private to this collection. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

_HALF = 1 << 31


def compare_serials(one: int, other: int) -> int | None:
    """Return 1 if one serial is newer than the other, -1 if it is older, 0 if they are equal, None where the RFC leaves it open."""
    distance = (one - other) % (1 << 32)
    if distance == _HALF:
        return None
    return 0 if distance == 0 else 1 if distance < _HALF else -1


def newest_serial(serials: Iterable[int]) -> int | None:
    """Return the serial that none of the others is newer than; None if there is none, or if they stand in no order."""
    found = sorted(set(serials))
    # Three serials can be newer than one another in a circle.
    return next((one for one in found if all(compare_serials(one, other) in (0, 1) for other in found)), None)
