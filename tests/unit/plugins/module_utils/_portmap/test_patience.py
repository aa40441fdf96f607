# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import AnswerError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._patience import Patience


def test_time_is_used_up_and_renewed() -> None:
    now = [10.0]
    patience = Patience(5.0, lambda: now[0])
    assert patience.left() == 5.0
    now[0] = 14.0
    assert patience.left() == 1.0
    # More than is allowed anew is not taken away.
    patience.renew(0.5)
    assert patience.left() == 1.0
    now[0] = 15.0
    with pytest.raises(AnswerError, match="within 5 s; if it is only slow, set timeout higher") as caught:
        patience.left()
    assert "Restart the router" in caught.value.advice
    patience.renew(0.5)
    assert patience.left() == 0.5
    patience.renew()
    assert patience.left() == 5.0


def test_a_short_search_does_not_shorten_what_follows() -> None:
    assert Patience(0.5, lambda: 0.0).left() == 3.0


def test_a_share_does_not_use_up_the_rest() -> None:
    now = [0.0]
    patience = Patience(4.0, lambda: now[0])
    part = patience.share(2)
    assert part.left() == 2.0
    now[0] = 2.5
    with pytest.raises(AnswerError):
        part.left()
    assert patience.left() == 1.5
