# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a part of the audit may take, whatever it is made of.

Private to this collection.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .._portmap._errors import AnswerError

#: Less is no time to answer in.
_TOO_LITTLE = 0.02
_ALMOST = 0.95

Clock = Callable[[], float]


class OutOfTimeError(AnswerError):
    """The time for this part is over; nothing was sent."""


class Deadline:
    """A moment in the future.

    Args:
        seconds: when, from now.
        clock: for tests.
    """

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        """How many seconds remain, 0 if it is over."""
        return max(0.0, self._end - self._clock())

    @property
    def over(self) -> bool:
        """Whether nothing more is to be begun."""
        return self.left < _TOO_LITTLE

    def wait(self, most: float) -> float:
        """Return for how long the next answer may be waited for, or raise OutOfTimeError."""
        if self.over:
            raise OutOfTimeError("there is no time left to ask")
        return min(most, self.left)

    def part(self, seconds: float) -> Deadline:
        """Return a deadline that is so far away, and no later than this one."""
        return Deadline(min(seconds, self.left), self._clock)


def is_silence(start: float, waited: float) -> bool:
    """Whether an error that was noticed now comes of waiting in vain, and not of an answer that cannot be used."""
    return time.monotonic() - start >= waited * _ALMOST
