# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A router that speaks PCP and UPnP: which of them makes, renews and removes a mapping. Both are only objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _recorded as recorded
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._auto import JoinedGateway
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import GatewayError, ProtocolError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._igd import IgdGateway
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Entry
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._packets import PCP_MAP, Answer
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._recorded import PcpGateway
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._records import Store
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import MemoryGateway
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.test_recorded import LINK, Router

WEB = Entry("tcp", 80, LINK.source, 8080, "hs:01234567:web", True, 3600)
ALT = replace(WEB, external_port=81, description="hs:01234567:alt")


class Both:
    """The router, as it is asked by PCP and as it shows itself by UPnP."""

    def __init__(self, path: Path) -> None:
        self.pcp = Router()
        self.upnp = MemoryGateway()
        self.path = path

    def open(self, source: str = LINK.source) -> JoinedGateway:
        """What the next run sees, by the address that this host has then."""
        first = PcpGateway(replace(LINK, source=source), "192.168.1.1", Store(str(self.path)), 1.0)
        joined = JoinedGateway(cast(IgdGateway, self.upnp), [first], first)
        joined.list()
        return joined

    def shows(self, entry: Entry) -> None:
        """Let UPnP show what PCP has made, as some routers do."""
        self.upnp.entries[entry.key] = replace(entry, description="PCP MAP")

    def refuses(self, code: int) -> None:
        """Let PCP refuse every mapping."""
        self.pcp.override = lambda request: Answer(code, 1000, 30) if request[:2] == bytes((2, PCP_MAP)) else None


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Both:
    made = Both(tmp_path)
    monkeypatch.setattr(recorded, "exchange", made.pcp)
    return made


def test_pcp_makes_what_is_new_and_upnp_keeps_what_it_made(both: Both) -> None:
    both.upnp.add(ALT)
    gateway = both.open()
    assert (gateway.method_of("tcp", 80), gateway.method_of("tcp", 81)) == ("pcp", "upnp")
    gateway.add(replace(WEB, internal_port=9000))
    assert len(both.pcp.mappings) == 1
    gateway.add(ALT)
    assert [entry.key for _operation, entry in both.upnp.writes] == [ALT.key] * 2


@pytest.mark.parametrize("code", [1, 2, 4, 5, 8, 11])
def test_upnp_makes_what_pcp_refuses(both: Both, code: int) -> None:
    both.refuses(code)
    gateway = both.open()
    assert gateway.add(WEB) == WEB
    assert gateway.method_of(*WEB.key) == "upnp"
    assert [entry.key for entry in both.open().list()] == [WEB.key]


def test_both_refuse(both: Both) -> None:
    both.refuses(11)

    def refuse(_operation: str, _entry: Entry) -> bool:
        raise ProtocolError("AddPortMapping", 718, "ConflictInMappingEntry")

    both.upnp.refuse = refuse
    # What UPnP says tells more.
    with pytest.raises(ProtocolError, match="718"):
        both.open().add(WEB)
    assert both.open().list() == []


def test_the_second_mapping_of_a_port_is_made_by_upnp(both: Both) -> None:
    gateway = both.open()
    gateway.add(WEB)
    gateway.add(ALT)
    assert (gateway.method_of(*WEB.key), gateway.method_of(*ALT.key)) == ("pcp", "upnp")


@pytest.mark.parametrize(("code", "method"), [(2, "upnp"), (8, "pcp"), (3, "pcp")])
def test_a_renewal_that_pcp_refuses(both: Both, code: int, method: str) -> None:
    both.open().add(WEB)
    both.shows(WEB)
    both.refuses(code)
    gateway = both.open()
    if method == "upnp":
        # The router mistakes it for another one, so it is made anew.
        gateway.add(WEB)
        assert both.upnp.entries[WEB.key] == WEB
    else:
        with pytest.raises(ProtocolError, match=f"error {code}"):
            gateway.add(WEB)
        # What is there is not taken away for that.
        assert both.upnp.writes == []
    assert both.open().method_of(*WEB.key) == method


def test_what_upnp_showed_and_shows_no_more_is_gone(both: Both) -> None:
    both.open().add(WEB)
    # It was never shown: nothing follows from its absence.
    assert [entry.enabled for entry in both.open().list()] == [True]
    both.shows(WEB)
    both.open().add(WEB)
    assert [entry.enabled for entry in both.open().list()] == [True]
    both.upnp.entries.clear()
    assert [entry.enabled for entry in both.open().list()] == [False]
    found = both.open().find(*WEB.key)
    assert found is not None
    assert not found.enabled


def test_who_has_the_port_by_now_is_believed(both: Both) -> None:
    both.open().add(WEB)
    other = replace(WEB, internal_client="192.168.1.9", internal_port=80, description="camera")
    both.upnp.entries[WEB.key] = other
    assert both.open().list() == [other]


def test_what_leads_to_an_earlier_address_is_removed_by_upnp(both: Both) -> None:
    both.open().add(WEB)
    both.shows(WEB)
    gateway = both.open("192.168.1.77")
    (entry,) = gateway.list()
    gateway.delete(entry)
    assert (both.upnp.entries, both.open().list()) == ({}, [])


def test_what_nobody_can_remove_is_said(both: Both) -> None:
    both.open().add(WEB)
    gateway = both.open("192.168.1.77")
    (entry,) = gateway.list()
    with pytest.raises(GatewayError, match="had earlier"):
        gateway.delete(entry)
    assert len(both.open().list()) == 1
