# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules call, with a router that is only an object."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._ownership import OwnershipError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _service as service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import AnswerError, BadRequestError, GatewayError, NoGatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._links import Link
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import MAX_LEASE, Entry, Wanted
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._planning import Named
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import Request, Result, Selection, run, run_info
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import MemoryGateway

ADDRESS = "192.168.1.10"
WEB = Wanted("web", "tcp", 80, 8080)
TLS = Wanted("tls", "tcp", 8443, 443)
MINE = Entry("tcp", 80, ADDRESS, 8080, "hs:01234567:web", True, MAX_LEASE)
OLD = replace(MINE, description="old tool", lease=100)
CAMERA = Entry("tcp", 8443, "192.168.1.9", 80, "camera")


@pytest.fixture(autouse=True)
def _host_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "host_id", lambda: "01234567")


def present(gateway: MemoryGateway, *wanted: Wanted, check_mode: bool = False, **options: Any) -> Result:
    return run(Request("present", wanted, **options), Selection(), check_mode, lambda selection: gateway)


def absent(gateway: MemoryGateway, *named: Named, check_mode: bool = False) -> Result:
    return run(Request("absent", named=named or None), Selection(), check_mode, lambda selection: gateway)


def test_present_then_absent() -> None:
    gateway = MemoryGateway()
    predicted = present(gateway, WEB, TLS, check_mode=True)
    assert predicted.changed
    assert gateway.writes == []
    done = present(gateway, WEB, TLS)
    assert done.error is None
    assert done.data["plan"] == predicted.data["plan"]
    assert [row["state"] for row in done.data["mappings"]] == ["present", "present"]
    assert done.data["mappings"][0]["lease"] == MAX_LEASE
    assert not present(gateway, WEB, TLS).changed
    assert absent(gateway, check_mode=True).changed
    assert len(gateway.entries) == 2
    gone = absent(gateway, Named("web"))
    assert [row["state"] for row in gone.data["mappings"]] == ["absent"]
    assert absent(gateway).changed
    assert not absent(gateway).changed
    assert gateway.entries == {}


def test_nothing_is_written_if_one_cannot_be_had() -> None:
    gateway = MemoryGateway([CAMERA])
    result = present(gateway, WEB, TLS)
    assert result.error is not None
    assert "192.168.1.9" in result.error
    assert "camera" in result.error
    assert gateway.writes == []
    assert not result.changed
    assert result.data["mappings"][1]["foreign"] == {"internal_client": "192.168.1.9", "internal_port": 80, "description": "camera"}


def test_a_forwarding_that_the_list_does_not_show_is_found() -> None:
    gateway = MemoryGateway([CAMERA])
    gateway.unlisted = {CAMERA.key}
    result = present(gateway, TLS)
    assert result.data["mappings"][0]["state"] == "foreign"


def test_a_write_that_fails_takes_the_others_back() -> None:
    stale = replace(MINE, external_port=81)
    gateway = MemoryGateway([stale])
    before = dict(gateway.entries)
    gateway.refuse = lambda operation, entry: operation == "add" and entry.external_port == 8443
    result = present(gateway, WEB, TLS)
    assert result.error is not None
    assert "taken back" in result.error
    assert not result.changed
    assert gateway.entries == before


def test_a_removal_that_fails_does_not_keep_the_others_open() -> None:
    gateway = MemoryGateway(
        [MINE, replace(MINE, external_port=81, description="hs:01234567:tls"), replace(MINE, external_port=82, description="hs:01234567:wg")]
    )
    gateway.refuse = lambda operation, entry: entry.external_port == 81
    result = absent(gateway)
    assert result.error == "no delete of 81; every other mapping was removed"
    assert result.changed
    assert [row["state"] for row in result.data["mappings"]] == ["absent", "error", "absent"]
    assert list(gateway.entries) == [("tcp", 81)]
    again = absent(gateway)
    assert again.error == "no delete of 81"
    assert not again.changed


def test_an_answer_that_got_lost_after_the_removal() -> None:
    gateway = MemoryGateway([OLD])

    def lose(operation: str, entry: Entry) -> bool:
        if operation == "delete" and entry == OLD and OLD.key in gateway.entries:
            del gateway.entries[OLD.key]
            return True
        return False

    gateway.refuse = lose
    result = present(gateway, WEB, adopt=True)
    assert result.error is not None
    assert not result.changed
    assert gateway.entries == {OLD.key: OLD}


def test_adoption_that_fails_puts_the_old_one_back() -> None:
    gateway = MemoryGateway([OLD])
    gateway.refuse = lambda operation, entry: operation == "add" and entry.description.startswith("hs:")
    result = present(gateway, WEB, adopt=True)
    assert result.error is not None
    assert gateway.entries == {OLD.key: OLD}
    assert not result.changed


def test_what_cannot_be_put_back_is_said() -> None:
    gateway = MemoryGateway([OLD])
    gateway.refuse = lambda operation, entry: operation == "add"
    result = present(gateway, WEB, adopt=True)
    assert result.error is not None
    assert "Not everything could be put back" in result.error
    assert result.changed


def test_taking_back_leaves_alone_what_somebody_else_made_meanwhile() -> None:
    gateway = MemoryGateway()

    def refuse(operation: str, entry: Entry) -> bool:
        if operation == "add" and entry.external_port == 8443:
            gateway.entries[entry.key] = CAMERA
            return True
        return False

    gateway.refuse = refuse
    assert present(gateway, WEB, TLS).error is not None
    assert gateway.entries == {CAMERA.key: CAMERA}


def test_a_router_that_forgets_descriptions_is_not_used() -> None:
    gateway = MemoryGateway()
    gateway.keep_description = False
    result = present(gateway, WEB)
    assert result.error is not None
    assert "does not keep descriptions" in result.error
    assert gateway.entries == {}


def test_a_router_that_cuts_descriptions_is_not_used() -> None:
    gateway = MemoryGateway()
    gateway.kept_length = 12
    result = present(gateway, WEB)
    assert result.error is not None
    assert "at least 3 characters shorter" in result.error
    assert gateway.entries == {}


def test_a_host_without_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OwnershipError("no machine id")

    monkeypatch.setattr(service, "host_id", fail)
    gateway = MemoryGateway([MINE])
    assert present(gateway, WEB).error == "no machine id"
    assert absent(gateway).error == "no machine id"
    info = run_info(Selection(), lambda selection: gateway)
    assert (info.data["available"], info.data["mappings"][0]["owner"], info.warnings) == (True, "homeserver", ["no machine id"])


def test_a_renewal_that_fails_is_a_warning() -> None:
    gateway = MemoryGateway([replace(MINE, lease=100)])
    gateway.refuse = lambda operation, entry: True
    result = present(gateway, WEB)
    assert result.error is None
    assert not result.changed
    assert "not renewed" in result.warnings[0]
    assert not result.data["mappings"][0]["renewed"]


def test_a_renewal_is_no_change() -> None:
    gateway = MemoryGateway([replace(MINE, lease=100)])
    assert present(gateway, WEB, check_mode=True).data["mappings"][0]["renewed"]
    assert gateway.writes == []
    result = present(gateway, WEB)
    assert not result.changed
    assert result.data["mappings"][0]["renewed"]
    assert gateway.entries[MINE.key].lease == MAX_LEASE


@pytest.mark.parametrize(
    ("wan", "words"),
    [
        (None, "no WAN address"),
        ("100.64.1.2", "shared_cgn"),
        ("192.168.0.2", "private"),
        ("0.0.0.0", "0.0.0.0"),
        ("127.0.0.1", "loopback"),
        ("198.51.100.7", "documentation"),
    ],
)
def test_a_wan_address_that_the_internet_cannot_reach(wan: str | None, words: str) -> None:
    gateway = MemoryGateway(wan=wan)
    result = present(gateway, WEB)
    assert result.error is not None
    assert words in result.error
    assert gateway.writes == []
    assert [(row["state"], row["error"]) for row in result.data["mappings"]] == [("error", result.error)]
    assert present(gateway, WEB, require_global_wan=False).changed
    assert absent(gateway).error is None


@pytest.mark.parametrize("wanted", [(), (replace(WEB, external_port=0),), (WEB, replace(TLS, external_port=80))])
def test_bad_requests_cost_no_packet(wanted: tuple[Wanted, ...]) -> None:
    def opener(selection: Selection) -> Any:
        raise AssertionError("the router was asked")

    assert run(Request("present", wanted), Selection(), False, opener).error


def test_no_router() -> None:
    def opener(selection: Selection) -> Any:
        raise NoGatewayError("nobody answered")

    assert run(Request("present", [WEB]), Selection(), False, opener).error == "nobody answered"
    gone = run(Request("absent", named=[Named("web")]), Selection(), False, opener)
    assert gone.error is None
    assert not gone.changed
    assert "nobody answered" in gone.warnings[0]
    assert [row["state"] for row in gone.data["mappings"]] == ["absent"]
    info = run_info(Selection(), opener)
    assert info.error is None
    assert (info.data["available"], info.data["reason"], info.data["gateway"]) == (False, "nobody answered", None)


def test_a_router_that_stops_answering_is_a_failure_of_absent() -> None:
    class Broken(MemoryGateway):
        def list(self) -> Any:
            raise GatewayError("silence")

    assert absent(Broken()).error == "silence"
    info = run_info(Selection(), lambda selection: Broken())
    assert (info.data["available"], info.data["reason"]) == (False, "silence")
    assert info.data["gateway"]["address"] == "192.168.1.1"


def test_info() -> None:
    gateway = MemoryGateway(
        [MINE, CAMERA, replace(OLD, external_port=81), replace(MINE, external_port=82, description="hs:89abcdef:web", internal_client="192.168.1.8")]
    )
    data = run_info(Selection(), lambda selection: gateway).data
    assert [(row["owner"], row["name"]) for row in data["mappings"]] == [("ours", "web"), ("foreign", None), ("untagged_ours", None), ("homeserver", "web")]
    assert data["gateway"]["wan_address_class"] == "global"


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection("pcp", gateway="http://192.0.2.1/"), "UPnP description"),
        (Selection("natpmp", gateway="http://192.0.2.1/"), "UPnP description"),
        (Selection(method="smoke"), "'smoke'"),
        (Selection(timeout=0.0), "timeout 0"),
        (Selection(timeout=float("nan")), "timeout nan"),
        (Selection(gateway="router.lan"), "'router.lan'"),
        (Selection(gateway="fe80::1"), "'fe80::1'"),
        (Selection(gateway="https://192.168.1.1/"), "https://192.168.1.1/"),
    ],
)
def test_bad_selections(selection: Selection, words: str) -> None:
    with pytest.raises(BadRequestError, match=words):
        service.open_gateway(selection)
    assert run(Request("absent"), selection, False).error
    assert run_info(selection).error


@pytest.mark.parametrize(
    ("source", "gateway", "word"),
    [("44.128.1.2", "44.128.1.1", "the global address 44.128.1.2"), ("100.72.3.9", "100.72.3.1", "shared_cgn"), ("192.0.0.2", "192.0.0.1", "providers give")],
)
def test_a_host_whose_next_hop_is_the_providers_asks_nobody(source: str, gateway: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = Link("eth0", ADDRESS, "192.168.1.1", ()), Link("eth1", source, gateway, ())
    asked: list[str] = []

    def discover(links: list[Link], *_arguments: Any) -> Any:
        asked.extend(link.interface for link in links)
        raise NoGatewayError("nobody")

    monkeypatch.setattr(service, "discover", discover)
    for links, expected in (([outside], []), ([outside, inside], ["eth0"])):
        monkeypatch.setattr(service, "read_links", lambda *_arguments, links=links: links)
        asked.clear()
        with pytest.raises(NoGatewayError, match="nobody" if expected else word):
            service.open_gateway(Selection())
        assert asked == expected
    monkeypatch.setattr(service, "read_links", lambda *_arguments: [outside])
    gone = run(Request("absent"), Selection(), False)
    assert (gone.error, gone.changed, gone.warnings) == (None, False, [])
    # Whoever names it knows better.
    for selection in (Selection(interface="eth1"), Selection(gateway=gateway)):
        monkeypatch.setattr(service, "read_links", lambda *_arguments: [outside])
        asked.clear()
        with pytest.raises(NoGatewayError):
            service.open_gateway(selection)
        assert asked == ["eth1"]


class Moving(MemoryGateway):
    """Its first lists pass over one mapping, as one that others write to meanwhile."""

    piecemeal = True

    def __init__(self, entries: list[Entry], lists: int) -> None:
        super().__init__(entries)
        self.lists = lists

    def list(self) -> Any:
        self.lists -= 1
        return super().list()[1:] if self.lists >= 0 else super().list()


@pytest.mark.parametrize("named", [(), (Named("web"), Named("tls"))])
def test_what_a_moving_list_passed_over_is_removed_too(named: tuple[Named, ...]) -> None:
    tls = replace(MINE, external_port=8443, internal_port=443, description="hs:01234567:tls")
    gateway = Moving([MINE, tls], 1)
    result = absent(gateway, *named)
    assert result.error is None
    assert gateway.entries == {}
    assert [change["name"] for change in result.data["plan"]] == ["tcp 8443", "tcp 80"]
    assert sorted(row["name"] for row in result.data["mappings"]) == ["tls", "web"]
    # Also where the first reading had none of ours.
    gateway = Moving([MINE], 1)
    assert absent(gateway, *named[:1]).changed
    assert gateway.entries == {}


def test_what_cannot_be_removed_is_not_tried_for_ever() -> None:
    gateway = MemoryGateway([MINE])
    tries: list[Entry] = []

    def refuse(operation: str, entry: Entry) -> bool:
        tries.append(entry)
        return True

    gateway.refuse = refuse
    result = absent(gateway)
    assert result.error == "no delete of 80"
    assert not result.changed
    assert len(tries) == 1


class Long(MemoryGateway):
    """Lists some of what it holds and says so."""

    incomplete = "the router lists more than 1 mapping, and no more are read"


def test_a_list_that_is_not_whole_is_not_taken_for_whole() -> None:
    gateway = Long([CAMERA, MINE])
    gateway.unlisted = {MINE.key}
    for named in ((), (Named("web"),)):
        result = absent(gateway, *named)
        assert result.error is not None
        assert result.error.startswith("nothing was removed: the router lists more than 1 mapping")
        assert MINE.key in gateway.entries
    assert absent(gateway, Named("web", "tcp", 80, 8080)).changed
    assert list(gateway.entries) == [CAMERA.key]
    assert any("more than 1 mapping" in warning for warning in present(gateway, WEB).warnings)
    assert any("not all" in warning for warning in run_info(Selection(), lambda selection: gateway).warnings)


def test_what_the_router_made_of_it_is_taken_back() -> None:
    class Bent(MemoryGateway):
        def add(self, entry: Entry) -> Entry:
            kept = super().add(replace(entry, internal_port=4464))
            raise AnswerError(f"it holds {kept.internal_port}")

    gateway = Bent()
    result = present(gateway, WEB)
    assert gateway.entries == {}
    assert result.error is not None
    assert result.error.startswith("it holds 4464. The router holds what it held before; 1 earlier change of this run was taken back. Restart the router")


def test_a_listed_mapping_of_ours_that_cannot_be_named_does_not_keep_the_others() -> None:
    class Strict(MemoryGateway):
        def delete(self, entry: Entry) -> None:
            if entry.external_port == 0:
                raise BadRequestError("port 0")
            super().delete(entry)

    gateway = Strict([replace(MINE, external_port=0), MINE])
    result = absent(gateway)
    assert result.error == "port 0; every other mapping was removed"
    assert list(gateway.entries) == [("tcp", 0)]
