# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of several mappings is blamed when the router refuses one of them on writing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _recorded as recorded
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _service as service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._apply import ApplyError, make
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import AnswerError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import MAX_LEASE, Entry, Wanted
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._planning import Host, plan_present
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._recorded import NatPmpGateway, PcpGateway, RecordedGateway
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._records import Store
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import Request, Result, Selection, run
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import MemoryGateway
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.test_recorded import LINK, Router

ADDRESS = "192.168.1.10"
WEB, TLS, WG = Wanted("web", "tcp", 80, 8080), Wanted("tls", "tcp", 8443, 443), Wanted("wg", "udp", 51820, 51820)
MINE = Entry("tcp", 80, ADDRESS, 8080, "hs:01234567:web", True, MAX_LEASE)


@pytest.fixture(autouse=True)
def _host_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "host_id", lambda: "01234567")


def present(gateway: MemoryGateway, *wanted: Wanted, **options: bool) -> Result:
    return run(Request("present", wanted, **options), Selection(), False, lambda selection: gateway)


def errors(result: Result) -> list[tuple[str, str, str | None]]:
    return [(row["name"], row["state"], row["error"]) for row in result.data["mappings"]]


def refusing(gateway: MemoryGateway, *ports: int, operation: str = "add") -> MemoryGateway:
    gateway.refuse = lambda asked, entry: asked == operation and entry.external_port in ports
    return gateway


@pytest.mark.parametrize("refused", [WEB, TLS, WG])
def test_the_one_that_was_refused_is_named_and_no_other(refused: Wanted) -> None:
    gateway = refusing(MemoryGateway(), refused.external_port)
    result = present(gateway, WEB, TLS, WG)
    text = f"no add of {refused.external_port}"
    assert errors(result) == [(one.name, "error" if one is refused else "absent", text if one is refused else None) for one in (WEB, TLS, WG)]
    assert result.error is not None
    assert result.error.startswith(f"{text}. The router holds what it held before")
    # All or nothing, as before.
    assert (gateway.entries, result.changed) == ({}, False)


def test_what_was_there_already_is_not_blamed() -> None:
    result = present(refusing(MemoryGateway([MINE]), 8443), WEB, TLS)
    assert errors(result) == [("web", "present", None), ("tls", "error", "no add of 8443")]


def test_what_cannot_be_put_back_is_named_too() -> None:
    gateway = MemoryGateway()
    gateway.refuse = lambda operation, entry: (operation, entry.external_port) in (("add", 51820), ("delete", 80))
    result = present(gateway, WEB, TLS, WG)
    assert [(name, state) for name, state, _error in errors(result)] == [("web", "error"), ("tls", "absent"), ("wg", "error")]
    for _name, _state, error in (errors(result)[0], errors(result)[2]):
        assert error == "no add of 51820. Not everything could be put back as it was: tcp port 80: no delete of 80"
    assert result.changed
    assert list(gateway.entries) == [("tcp", 80)]


def test_an_earlier_mapping_of_a_service_that_cannot_be_removed_is_its_own() -> None:
    stale = replace(MINE, external_port=81)
    gateway = refusing(MemoryGateway([stale]), 81, operation="delete")
    assert errors(present(gateway, WEB, TLS)) == [("web", "error", "no delete of 81"), ("tls", "absent", None)]
    # Also where the new one is there: then only the old one is left.
    gateway = refusing(MemoryGateway([stale, MINE]), 81, operation="delete")
    assert errors(present(gateway, WEB, TLS)) == [("web", "present", "no delete of 81"), ("tls", "absent", None)]


def test_one_name_for_two_protocols_is_told_apart() -> None:
    both = (Wanted("dns", "tcp", 5300, 53), Wanted("dns", "udp", 5301, 53))
    assert errors(present(refusing(MemoryGateway(), 5301), *both)) == [("dns", "absent", None), ("dns", "error", "no add of 5301")]


def test_advice_stands_with_the_one_that_failed() -> None:
    class Untrue(MemoryGateway):
        def add(self, entry: Entry) -> Entry:
            if entry.external_port == 8443:
                raise AnswerError("it says so and does not do it")
            return super().add(entry)

    rows = errors(present(Untrue(), WEB, TLS))
    assert rows[0] == ("web", "absent", None)
    assert rows[1][2] == f"it says so and does not do it. {AnswerError.advice}"


def test_the_exception_says_it_without_words() -> None:
    gateway = refusing(MemoryGateway(), 8443)
    with pytest.raises(ApplyError) as caught:
        make(gateway, plan_present([WEB, TLS], [], Host(ADDRESS, "01234567")))
    assert caught.value.failed is not None
    assert caught.value.failed.key == ("tcp", 8443)
    assert (caught.value.unsettled, caught.value.complete, str(caught.value.cause)) == ((), True, "no add of 8443")


@pytest.mark.parametrize("kind", [PcpGateway, NatPmpGateway])
@pytest.mark.parametrize("first", [True, False])
def test_protocols_that_list_nothing(kind: type[RecordedGateway], first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router()
    monkeypatch.setattr(recorded, "exchange", router)
    router.taken = {8443}
    wanted = [TLS, WEB] if first else [WEB, TLS]
    result = run(Request("present", wanted), Selection(), False, lambda selection: kind(LINK, "192.168.1.1", Store(str(tmp_path)), 1.0))
    named = {name: error for name, _state, error in errors(result)}
    assert named["web"] is None
    assert named["tls"] is not None
    assert "tcp port 8443" in named["tls"]
    assert "taken back" not in named["tls"]
    assert router.mappings == {}
