# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a router may keep this host waiting in all.

Private to this collection.

A deadline for each request is not enough: a router that answers each of twenty requests just in time keeps a host for a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ._errors import AnswerError

#: Nobody gets less, however short the search may be: reading a long list takes longer than finding the router.
LEAST = 3.0
#: What a router has for the first thing that it is asked to write, and to take it back, however long reading took.
WRITE, UNDO = 1.0, 0.5

_TOO_LITTLE = 0.02


class Patience:
    """Time for everything that a router is asked, until it does what was asked for.

    Args:
        seconds: how long.
        clock: for tests.
    """

    def __init__(self, seconds: float = LEAST, clock: Callable[[], float] = time.monotonic) -> None:
        self._full = max(seconds, LEAST)
        self._clock = clock
        self._end = clock() + self._full

    def left(self) -> float:
        """Return how many seconds the next answer may take, or raise AnswerError."""
        left = self._end - self._clock()
        if left < _TOO_LITTLE:
            raise AnswerError(f"the router is too slow: it did not get done within {self._full:g} s; if it is only slow, set timeout higher")
        return left

    def renew(self, seconds: float | None = None) -> None:
        """Allow at least so many seconds from now on; all of them again if no number is given, for a router that did its work."""
        self._end = max(self._end, self._clock() + (self._full if seconds is None else seconds))

    def share(self, parts: int) -> Patience:
        """Return a part of what is left, so that the first of several cannot use up everything."""
        part = Patience(self._full, self._clock)
        part._end = self._clock() + self.left() / parts
        return part
