# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.homeserver.hardening.plugins.module_utils._dns._authority import Question, ask, ask_expire
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._lookup import Server
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._name import name_from_text
from ansible_collections.homeserver.hardening.tests.integration.dns.bindlab import RESOLVER, SECONDARY, Bind


def test_bind_says_how_long_its_copy_lasts(bind: Bind) -> None:
    question = Question(name_from_text("fixed.example.net"), (1,), timeout=1)
    answer = ask(Server(None, SECONDARY), question)
    left = ask_expire(answer, question)
    assert answer.soa is not None
    assert left is not None
    assert 86400 - 300 <= left <= answer.soa.expire == 86400
    # A resolver has no copy.
    answer.server = Server(None, RESOLVER)
    assert ask_expire(answer, question) is None
