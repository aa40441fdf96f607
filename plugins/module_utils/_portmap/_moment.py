# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Points in time that a jump of the clock does not move.

Private to this collection.

Within one boot the time since the boot counts, which nobody can set. Between two boots only the clock is left.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Moment:
    """A point in time.

    Attributes:
        wall: seconds since 1970, by this host's clock.
        boot: which boot it was, empty if that is not known.
        ticks: seconds since that boot, time asleep included.
    """

    wall: float
    boot: str = ""
    ticks: float = 0.0

    def until(self, later: Moment) -> float:
        """Return the seconds from here to there; negative if there is before here, which then was written by a clock that ran ahead."""
        if self.boot and self.boot == later.boot:
            return later.ticks - self.ticks
        return later.wall - self.wall

    def after(self, seconds: float) -> Moment:
        """Return the moment so many seconds later."""
        return Moment(self.wall + seconds, self.boot, self.ticks + seconds)


def now() -> Moment:
    """Return the present. Callers name the module, so that a test can put another clock in for all of them."""
    try:
        with open(_BOOT_ID, encoding="ascii") as stream:
            boot = stream.read().strip()
    except OSError:
        boot = ""
    return Moment(time.time(), boot, time.clock_gettime(time.CLOCK_BOOTTIME))
