# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a router without the right to read, or to write, what this host recorded: nothing is claimed that only the records could tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _auto as auto
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _recorded as recorded
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _service as service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import GatewayError, NoGatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._igd import IgdGateway
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Entry
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._records import FILE, ReadingStore, Store
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import Request, Result, Selection, Wanted, run, run_info
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import MemoryGateway
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.test_recorded import LINK, Router

WEB = Wanted("web", "tcp", 80, 8080)
SHOWN = Entry("tcp", 80, LINK.source, 8080, "PCP MAP 0123", True, 3600)
CAMERA = Entry("tcp", 81, "192.168.1.9", 81, "camera")


class House:
    """A router that speaks what it is told to, and a host whose rights may be taken away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.monkeypatch = monkeypatch
        self.path = path
        self.router = Router()
        self.speaks = {"upnp", "pcp", "natpmp"}
        self.upnp = MemoryGateway()
        self.searched = 0
        monkeypatch.setattr(service, "host_id", lambda: "01234567")
        monkeypatch.setattr(service, "read_links", lambda *arguments, **more: [LINK])
        monkeypatch.setattr(recorded, "exchange", self._exchange)
        for place in (auto, service):
            monkeypatch.setattr(place, "discover", self._discover)

    def _exchange(self, link: Any, address: str, request: bytes, read: Any, timeout: float) -> Any:
        if ("pcp" if request[0] == 2 else "natpmp") not in self.speaks:
            raise NoGatewayError("closed")
        return self.router(link, address, request, read, timeout)

    def _discover(self, *arguments: Any) -> IgdGateway:
        self.searched += 1
        if "upnp" not in self.speaks:
            raise NoGatewayError("nobody speaks UPnP")
        return cast(IgdGateway, self.upnp)

    def info(self, method: str = "auto") -> Result:
        return run_info(Selection(method, state_dir=str(self.path)))

    def present(self, method: str = "auto") -> Result:
        return run(Request("present", [WEB]), Selection(method, state_dir=str(self.path)), False)

    def without_rights(self) -> None:
        """From now on this user may not read the state directory, nor write it."""
        self.monkeypatch.setattr("os.access", lambda *arguments: False)

        def refuse(store: Store) -> Any:
            raise GatewayError(f"{self.path / FILE} cannot be read: Permission denied")

        self.monkeypatch.setattr(Store, "_read", refuse)
        self.monkeypatch.setattr(Store, "_signature", lambda store: ())


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> House:
    return House(monkeypatch, tmp_path / "state")


@pytest.mark.parametrize("speaks", [("pcp",), ("natpmp",), ("pcp", "natpmp")])
def test_a_router_without_upnp_is_found_by_those_who_may_not_write(house: House, speaks: tuple[str, ...]) -> None:
    house.speaks = set(speaks)
    house.without_rights()
    for method in ("auto", speaks[0]):
        info = house.info(method)
        assert (info.error, info.data["available"], info.data["reason"]) == (None, True, "")
        assert info.data["gateway"]["method"] == speaks[0]
        assert info.data["mappings"] == []
        # That it is there does not mean that this user could map.
        assert "cannot be written" in info.data["missing"]
        assert "become" in info.data["missing"]
        assert len(info.warnings) == 2
        assert f"{house.path / FILE} cannot be read: Permission denied" in info.warnings[0]
        assert "owner is unknown" in info.warnings[0]
        assert f"could not map by {speaks[0]}" in info.warnings[1]
        # And so it is.
        refused = house.present(method)
        assert refused.error is not None
        assert not refused.changed
    assert house.router.mappings == {}
    assert not house.path.exists()


def test_nothing_is_missing_where_upnp_is_spoken(house: House) -> None:
    house.without_rights()
    info = house.info()
    assert (info.data["available"], info.data["gateway"]["method"], info.data["missing"]) == (True, "upnp", "")
    assert len(info.warnings) == 1
    done = house.present()
    assert done.error is None
    assert [row["method"] for row in done.data["mappings"]] == ["upnp"]
    # What carries the tag is known without records.
    assert [row["owner"] for row in house.info().data["mappings"]] == ["ours"]


@pytest.mark.parametrize("speaks", [("upnp", "pcp"), ("upnp", "natpmp"), ("upnp", "pcp", "natpmp")])
def test_what_only_the_records_could_tell_is_unknown(house: House, speaks: tuple[str, ...]) -> None:
    house.speaks = set(speaks)
    house.upnp.entries = {entry.key: entry for entry in (SHOWN, CAMERA)}
    readable = house.info()
    assert [row["owner"] for row in readable.data["mappings"]] == ["untagged_ours", "foreign"]
    assert readable.warnings == []
    house.without_rights()
    assert [(row["owner"], row["name"]) for row in house.info().data["mappings"]] == [("unknown", None), ("foreign", None)]


def test_a_router_that_speaks_upnp_alone_leaves_nothing_open_but_what_ipv6_has(house: House) -> None:
    house.speaks = {"upnp"}
    house.upnp.entries = {SHOWN.key: SHOWN}
    house.without_rights()
    info = house.info()
    assert ([row["owner"] for row in info.data["mappings"]], info.data["missing"]) == (["untagged_ours"], "")
    # Nobody lists pinholes, so who cannot read the records cannot say that there are none.
    assert ["what this host opened for IPv6 is not listed" in warning for warning in info.warnings] == [True]


def test_the_records_are_used_where_they_may_be_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.speaks = {"pcp"}
    assert house.present().error is None
    before = (house.path / FILE).read_text()
    # A group, for instance, that may read and not write.
    monkeypatch.setattr("os.access", lambda *arguments: False)
    info = house.info()
    assert [(row["owner"], row["name"]) for row in info.data["mappings"]] == [("ours", "web")]
    assert "cannot be written" in info.data["missing"]
    assert len(info.warnings) == 1
    assert (house.path / FILE).read_text() == before


def test_root_sees_everything_and_misses_nothing(house: House) -> None:
    house.speaks = {"pcp"}
    assert house.present().error is None
    info = house.info()
    assert (info.data["missing"], info.warnings, [row["owner"] for row in info.data["mappings"]]) == ("", [], ["ours"])


def test_records_that_are_damaged_are_named_and_the_router_is_read_all_the_same(house: House) -> None:
    house.path.mkdir()
    (house.path / FILE).write_text("{")
    for method in ("auto", "pcp"):
        info = house.info(method)
        assert info.data["available"]
        assert "is damaged" in info.warnings[0]
    assert "is damaged" in house.info("pcp").data["missing"]
    assert ["is damaged" in warning and "for IPv6 is not listed" in warning for warning in house.info("upnp").warnings] == [True]


@pytest.mark.parametrize(("kind", "raises"), [(Store, True), (ReadingStore, False)])
def test_who_writes_is_not_told_that_nothing_is_recorded(kind: Callable[[str], Store], raises: bool, tmp_path: Path) -> None:
    """Planted fault: a module that takes unreadable records for none would make a mapping twice, and could not remove it."""
    (tmp_path / FILE).write_text("{")
    store = kind(str(tmp_path))
    if raises:
        with pytest.raises(GatewayError, match="damaged"):
            store.read()
    else:
        assert store.read() == ([], {})
        assert "damaged" in store.unread
    assert not Store(str(tmp_path)).usable()


def test_those_who_write_still_leave_it_to_upnp(house: House) -> None:
    house.without_rights()
    house.speaks = {"pcp", "natpmp"}
    refused = house.present()
    assert refused.error == "nobody speaks UPnP"
    assert house.router.mappings == {}


def test_a_record_of_a_port_that_leads_elsewhere_by_now_is_nothing_to_warn_of(house: House) -> None:
    assert [row["method"] for row in house.present().data["mappings"]] == ["pcp"]
    house.upnp.entries = {SHOWN.key: Entry("tcp", 80, "192.168.1.9", 80, "camera")}
    gone = run(Request("absent"), Selection(state_dir=str(house.path)), False)
    assert (gone.changed, gone.error, gone.warnings) == (False, None, [])
    # Where nobody says so, it may be open.
    house.upnp.entries = {}
    told = run(Request("absent"), Selection("upnp", state_dir=str(house.path)), False)
    assert ["tcp port 80 to 192.168.1.10 (web) was made by pcp" in warning for warning in told.warnings] == [True]
