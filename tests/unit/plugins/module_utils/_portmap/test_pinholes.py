# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinholes for IPv6: by PCP with a router that is a function, by WANIPv6FirewallControl with one on the loopback, and beside mappings over IPv4."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _firewall_control as firewall_control
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _moment as moments
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _recorded as recorded
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _service as service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import GatewayError, NoGatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._kept import Keeping
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._links import Link6
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import IPV4, IPV6, Entry, Gateway, Wanted
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._moment import Moment
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._packets import Answer
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._pinholes import open_pinholes
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._planning import Named
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._records import FILE, Store
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._renewal import Renewal, Renewed
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import Request, Result, Selection, run, run_info
from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_firewall import FakeFirewall, FakePcp
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import MemoryGateway

#: All that the loopback has; the fake router does not care that it is not global.
HERE, EARLIER = "::1", "2a00:77::9"
LINK = Link6("lo", HERE, "::1", (), frozenset({HERE}), "")
WEB = Wanted("web", "tcp", 8443, 8443, family=IPV6)
DNS = Wanted("dns", "udp", 5353, 5353, family=IPV6)
LOW = Wanted("tls", "tcp", 443, 443, family=IPV6)
WEB4 = Wanted("web", "tcp", 443, 8443)
OPEN = ("tcp", HERE, 8443)
METHODS = ["pcp", "upnp"]


@dataclass
class Home:
    """A host, and a router that speaks both."""

    path: Path
    pcp: FakePcp
    upnp: FakeFirewall
    ipv4: MemoryGateway
    method: str = "auto"
    link: Link6 = LINK

    def opener(self, selection: Selection) -> Gateway:
        if selection.family == IPV4:
            return self.ipv4
        return open_pinholes(self.link, selection.method, Store(str(self.path)), 1.0)

    def present(self, *wanted: Wanted, check_mode: bool = False, **options: Any) -> Result:
        return run(Request("present", wanted, **options), self.selection(), check_mode, self.opener)

    def absent(self, *named: Named, check_mode: bool = False) -> Result:
        return run(Request("absent", named=named or None), self.selection(), check_mode, self.opener)

    def info(self) -> Result:
        return run_info(self.selection(), self.opener)

    def renew(self) -> Renewed:
        return Renewal(StateDir(str(self.path)), now=True, opener=self.opener).run()

    def selection(self) -> Selection:
        return Selection(self.method, state_dir=str(self.path))

    @property
    def open(self) -> set[tuple[str, str, int]]:
        return self.pcp.open | self.upnp.open

    def records(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads((self.path / FILE).read_text())["mappings"]
        return rows


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Home]:
    monkeypatch.setattr(service, "host_id", lambda: "01234567")
    pcp = FakePcp()
    monkeypatch.setattr(recorded, "exchange", pcp)
    with FakeFirewall() as upnp:
        monkeypatch.setattr(firewall_control, "find", upnp.found)
        yield Home(tmp_path / "state", pcp, upnp, MemoryGateway())


@pytest.fixture(params=METHODS)
def each(home: Home, request: pytest.FixtureRequest) -> Home:
    """The same by one protocol, then by the other."""
    home.method = request.param
    return home


@pytest.fixture
def upnp(home: Home) -> Home:
    home.method = "upnp"
    return home


def states(result: Result) -> list[str]:
    return [row["state"] for row in result.data["mappings"]]


def test_there_and_back(each: Home) -> None:
    predicted = each.present(WEB, DNS, check_mode=True)
    assert (predicted.changed, predicted.error, states(predicted)) == (True, None, ["absent", "absent"])
    assert not each.path.exists()
    assert each.open == set()
    done = each.present(WEB, DNS)
    assert done.error is None
    assert done.data["plan"] == predicted.data["plan"]
    assert [change["name"] for change in done.data["plan"]] == ["tcp 8443 over IPv6", "udp 5353 over IPv6"]
    row = done.data["mappings"][0]
    assert (row["family"], row["state"], row["method"], row["internal_client"], row["lease"]) == (IPV6, "present", each.method, HERE, 86400)
    assert done.data["gateway"] is None
    assert (done.data["gateway_ipv6"]["address"], done.data["gateway_ipv6"]["wan_address"]) == ("::1", HERE)
    assert each.open == {OPEN, ("udp", HERE, 5353)}
    assert stat.S_IMODE((each.path / FILE).stat().st_mode) == 0o600
    for check_mode in (True, False):
        again = each.present(WEB, DNS, check_mode=check_mode)
        assert (again.changed, again.error, again.data["plan"], states(again)) == (False, None, [], ["present", "present"])
    one = each.absent(Named("dns", family=IPV6))
    assert (one.changed, states(one)) == (True, ["absent"])
    assert each.open == {OPEN}
    assert each.absent(check_mode=True).changed
    gone = each.absent()
    assert (gone.changed, gone.error, states(gone)) == (True, None, ["absent"])
    assert each.open == set()
    assert not each.path.exists()
    assert not each.absent().changed


def test_auto_takes_pcp_first_and_upnp_where_there_is_none(home: Home) -> None:
    assert [row["method"] for row in home.present(WEB, LOW).data["mappings"]] == ["pcp", "pcp"]
    assert home.upnp.actions == []
    assert home.absent().changed
    home.pcp.on = False
    assert [row["method"] for row in home.present(WEB).data["mappings"]] == ["upnp"]
    # It stays with what it was made by, also when PCP is there again.
    home.pcp.on = True
    again = home.present(WEB)
    assert (again.changed, [row["method"] for row in again.data["mappings"]]) == (False, ["upnp"])
    assert home.absent().changed
    assert home.open == set()


def test_what_pcp_refuses_is_asked_for_by_upnp(home: Home) -> None:
    home.pcp.override = lambda request: Answer(2, 1000, 30)
    done = home.present(WEB)
    assert (done.error, [row["method"] for row in done.data["mappings"]]) == (None, ["upnp"])
    assert not home.present(WEB).changed
    refused = home.present(WEB, LOW)
    assert refused.error is not None
    assert "NOT_AUTHORIZED" in refused.error
    assert "606" in refused.error
    assert home.open == {OPEN}


def test_nothing_answers(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.pcp.on = False

    def silence(*_arguments: object) -> Any:
        raise NoGatewayError("nobody answers")

    monkeypatch.setattr(firewall_control, "find", silence)
    result = home.present(WEB)
    assert result.error is not None
    assert "by PCP, ::1 is closed; by UPnP, nobody answers" in result.error
    assert "open the port in the IPv6 firewall" in result.error
    assert states(result) == ["error"]
    assert not home.absent().changed


def test_natpmp_knows_no_ipv6(home: Home) -> None:
    home.method = "natpmp"
    assert "does not know IPv6" in (home.present(WEB).error or "")


def test_a_low_port_by_upnp(upnp: Home) -> None:
    result = upnp.present(WEB, LOW)
    assert result.error is not None
    assert "from 1024 on" in result.error
    assert "switch PCP on" in result.error
    assert (result.changed, upnp.open, upnp.path.exists()) == (False, set(), False)


@pytest.mark.parametrize(("enabled", "allowed", "words"), [("0", "0", "FirewallEnabled 0"), ("1", "0", "InboundPinholeAllowed 0")])
def test_a_firewall_that_says_in_advance_that_it_does_not(upnp: Home, enabled: str, allowed: str, words: str) -> None:
    assert upnp.present(WEB).error is None
    upnp.upnp.enabled, upnp.upnp.allowed = enabled, allowed
    for check_mode in (True, False):
        result = upnp.present(WEB, DNS, check_mode=check_mode)
        assert result.error is not None
        assert words in result.error
        assert "nothing was changed" in result.error
    # Taking back needs no permission.
    assert upnp.absent().error is None
    assert upnp.open == set()


@pytest.mark.parametrize("code", [402, 501, 606, 701, 702, 703, 705, 999])
def test_each_code_is_explained_and_nothing_stays(upnp: Home, code: int) -> None:
    upnp.upnp.faults = {"AddPinhole": code}
    result = upnp.present(WEB, DNS)
    assert result.error is not None
    assert f"error {code}" in result.error
    assert code == 999 or firewall_control.HINTS[code] in result.error
    assert (result.changed, upnp.open, upnp.path.exists()) == (False, set(), False)


@pytest.mark.parametrize(("code", "words"), sorted((code, words) for code, words in firewall_control.HINTS.items() if code < 704))
def test_every_refusal_says_what_to_do(code: int, words: str) -> None:
    assert any(way in words for way in ("open the port in", "on the router's own page", "remove mappings")), code


def _answers(action: str, **values: str) -> Callable[[Home], None]:
    def bend(home: Home) -> None:
        home.upnp.hook = lambda asked, arguments: home.upnp.response(action, **values) if asked == action else None

    return bend


@pytest.mark.parametrize("unique_id", ["", "x", "-1", "65536", "1 2", "9" * 400])
def test_a_unique_id_that_is_none(upnp: Home, unique_id: str) -> None:
    _answers("AddPinhole", UniqueID=unique_id)(upnp)
    result = upnp.present(WEB)
    assert result.error is not None
    assert "no UniqueID" in result.error
    assert len(result.error) < 1000


def test_a_success_that_is_none(upnp: Home) -> None:
    _answers("AddPinhole", UniqueID="7")(upnp)
    assert "does not know it when asked" in (upnp.present(WEB).error or "")


def test_a_removal_that_is_none(upnp: Home) -> None:
    assert upnp.present(WEB).error is None
    _answers("DeletePinhole")(upnp)
    result = upnp.absent()
    assert "still knows it when asked" in (result.error or "")
    assert states(result) == ["error"]
    upnp.upnp.hook = lambda action, arguments: None
    assert upnp.absent().changed
    assert upnp.open == set()


@pytest.mark.parametrize("code", [401, 602])
def test_a_router_that_cannot_be_asked_what_it_has(upnp: Home, code: int) -> None:
    upnp.upnp.faults = {"GetPinholePackets": code}
    assert upnp.present(WEB).error is None
    assert not upnp.present(WEB).changed
    assert upnp.absent().error is None
    assert upnp.open == set()


def test_a_removal_of_what_is_gone(upnp: Home) -> None:
    upnp.present(WEB)
    upnp.upnp.pinholes.clear()
    assert upnp.absent().error is None
    assert upnp.open == set()
    assert not upnp.path.exists()


def test_what_vanished_is_made_anew(upnp: Home) -> None:
    upnp.present(WEB)
    upnp.upnp.pinholes.clear()
    again = upnp.present(WEB)
    assert (again.changed, again.error) == (True, None)
    assert upnp.open == {OPEN}
    assert not upnp.present(WEB).changed


def test_a_number_that_something_else_has_since_a_restart(upnp: Home) -> None:
    upnp.present(WEB)
    upnp.upnp.restart()
    other = upnp.upnp.put("tcp", HERE, 6881)
    assert upnp.records()[0]["unique_id"] == other
    again = upnp.present(WEB)
    assert (again.changed, again.error) == (True, None)
    assert upnp.open == {OPEN, ("tcp", HERE, 6881)}
    upnp.upnp.restart()
    upnp.upnp.put("udp", HERE, 5353)
    upnp.upnp.put("tcp", HERE, 6881)
    assert upnp.absent().error is None
    assert upnp.open == {("tcp", HERE, 6881), ("udp", HERE, 5353)}


def test_an_old_router_that_does_not_tell_its_boots(upnp: Home) -> None:
    upnp.upnp.boot_id = 0
    upnp.present(WEB)
    assert not upnp.present(WEB).changed
    assert upnp.absent().error is None


def test_a_number_is_not_trusted_where_the_router_does_not_tell_its_boots(upnp: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: the number of our pinhole belongs to that of another host since a restart that nobody was told of."""
    other = ("tcp", "2a00:77::5", 6881)
    upnp.upnp.boot_id = 0
    upnp.present(WEB)
    upnp.upnp.restart()
    upnp.upnp.boot_id = 0
    assert upnp.upnp.put(*other) == upnp.records()[0]["unique_id"]
    begin = moments.now()
    monkeypatch.setattr(moments, "now", lambda: begin.after(50000))
    assert upnp.renew().result == "ok"
    assert "UpdatePinhole" not in upnp.upnp.actions
    assert upnp.open == {OPEN, other}
    upnp.upnp.restart()
    upnp.upnp.boot_id = 0
    assert upnp.upnp.put(*other) == "1"
    assert upnp.absent().error is None
    assert upnp.open == {other}


def test_numbers_from_before_the_router_told_its_boots_are_not_trusted(upnp: Home) -> None:
    upnp.upnp.boot_id = 0
    upnp.present(WEB, DNS)
    upnp.upnp.restart()
    others = {("tcp", "2a00:77::5", 6881), ("udp", "2a00:77::5", 6881)}
    for other in sorted(others):
        upnp.upnp.put(*other)
    # This writes down the new boot, in which the number of the other one was never given.
    assert upnp.absent(Named("dns")).error is None
    assert upnp.absent().error is None
    assert upnp.open == others


def test_a_router_that_restarts_forgets_what_pcp_opened(home: Home) -> None:
    home.present(WEB)
    home.pcp.epoch, home.pcp.pinholes = 5, {}
    again = home.present(WEB)
    assert (again.changed, again.error, home.open) == (True, None, {OPEN})
    assert not home.present(WEB).changed


def test_another_port_or_address_is_given_back(home: Home) -> None:
    for answer, words in (
        (Answer(0, 1000, 3600, 8444, HERE), "port 8444 instead"),
        (Answer(0, 1000, 3600, 8443, "2a00:78::1"), "NPTv6"),
        (Answer(0, 1000, 0, 8443, HERE), "for 0 s"),
    ):
        home.pcp.override = lambda request, answer=answer: answer if request[4:8] != bytes(4) else None  # type: ignore[misc]
        result = home.present(WEB)
        assert result.error is not None
        assert words in result.error
        assert (result.changed, home.open, home.path.exists()) == (False, set(), False)


def test_the_external_port_must_be_the_port(home: Home) -> None:
    result = home.present(replace(WEB, external_port=443))
    assert "external_port 443 differs from port 8443" in (result.error or "")
    assert "let the service listen on port 443" in (result.error or "")
    assert home.pcp.asked == []
    assert "'ipx' is not a family" in (home.present(replace(WEB, family="ipx")).error or "")


def test_both_families_are_there_and_back(home: Home) -> None:
    done = home.present(WEB4, WEB)
    assert done.error is None
    assert [(row["family"], row["external_port"], row["internal_client"], row["method"]) for row in done.data["mappings"]] == [
        (IPV4, 443, "192.168.1.10", "upnp"),
        (IPV6, 8443, HERE, "pcp"),
    ]
    assert done.data["gateway"]["address"] == "192.168.1.1"
    assert done.data["kept"] == ["web"]
    assert not home.present(WEB4, WEB).changed
    assert home.open == {OPEN}
    assert len(home.ipv4.entries) == 1
    gone = home.absent(Named("web"), Named("web", family=IPV6))
    assert (gone.changed, gone.error, states(gone)) == (True, None, ["absent", "absent"])
    assert (home.open, home.ipv4.entries) == (set(), {})


def test_one_family_that_fails_takes_the_other_back(home: Home) -> None:
    home.pcp.override = lambda request: Answer(11, 1000, 30)
    home.upnp.faults = {"AddPinhole": 606}
    result = home.present(WEB4, WEB)
    assert result.error is not None
    assert (result.changed, home.open, home.ipv4.entries) == (False, set(), {})
    home.pcp.override = lambda request: None
    home.ipv4.refuse = lambda operation, entry: operation == "add"
    result = home.present(WEB, WEB4)
    assert (result.changed, home.open, home.ipv4.entries) == (False, set(), {})


def test_a_port_of_another_host_keeps_the_pinhole_from_being_made(home: Home) -> None:
    camera = Entry("tcp", 443, "192.168.1.9", 80, "camera")
    home.ipv4.entries[camera.key] = camera
    result = home.present(WEB4, WEB)
    assert states(result) == ["foreign", "absent"]
    assert (home.open, list(home.ipv4.entries)) == (set(), [camera.key])


def test_a_family_that_is_no_longer_named_goes(home: Home) -> None:
    home.present(WEB4, WEB)
    less = home.present(WEB4)
    assert (less.changed, [(change["action"], change["name"]) for change in less.data["plan"]]) == (True, [("remove", "tcp 8443 over IPv6")])
    assert home.open == set()
    assert not home.present(WEB4).changed
    assert home.present(WEB4, WEB).changed
    less = home.present(WEB)
    assert [(change["action"], change["name"]) for change in less.data["plan"]] == [("remove", "tcp 443")]
    assert (home.open, home.ipv4.entries) == ({OPEN}, {})


def test_without_ipv6_nobody_is_asked_over_it(home: Home) -> None:
    home.opener = lambda selection: home.ipv4 if selection.family == IPV4 else pytest.fail("asked over IPv6")  # type: ignore[method-assign, assignment]
    home.present(WEB4)
    home.info()
    home.absent()


def test_absent_goes_on_where_one_family_does_not_answer(home: Home) -> None:
    home.present(WEB4, WEB)
    home.pcp.on = False
    home.upnp.faults = {"GetFirewallStatus": 501}
    gone = home.absent()
    assert (gone.error, gone.changed, home.ipv4.entries) == (None, True, {})
    assert any("could not be taken back" in warning for warning in gone.warnings)
    home.pcp.on, home.upnp.faults = True, {}
    home.present(WEB4, WEB)
    home.ipv4.list = lambda: _raise(GatewayError("no list"))  # type: ignore[method-assign]
    half = home.absent()
    assert (half.error, half.changed, home.open) == ("no list; everything else was removed", True, set())


def _raise(error: Exception) -> Any:
    raise error


def test_info_shows_what_is_recorded(each: Home) -> None:
    assert each.info().data["gateway_ipv6"] is None
    each.present(WEB)
    # Whatever the module asks by, what was made by the other protocol is shown as well.
    each.pcp.on = each.method == "pcp"
    info = each.info().data
    assert info["gateway_ipv6"]["method"] == each.method
    row = info["mappings"][0]
    assert (row["family"], row["name"], row["owner"], row["enabled"], row["external_port"], row["internal_client"]) == (IPV6, "web", "ours", True, 8443, HERE)
    each.pcp.on = False
    each.upnp.faults = {"GetFirewallStatus": 501}
    silent = each.info()
    assert [(row["owner"], row["enabled"]) for row in silent.data["mappings"]] == [("ours", False)]
    assert "as it was recorded" in silent.warnings[0]


def _moved(home: Home) -> None:
    """What is open was made for another address, which this host has no more."""
    data = json.loads((home.path / FILE).read_text())
    for row in data["mappings"]:
        row["internal_client"] = EARLIER
    (home.path / FILE).write_text(json.dumps(data))
    home.pcp.pinholes = {("tcp", EARLIER, port): nonce for (_protocol, _client, port), nonce in home.pcp.pinholes.items()}
    home.upnp.pinholes = {unique_id: ("tcp", EARLIER, port) for unique_id, (_protocol, _client, port) in home.upnp.pinholes.items()}


def test_an_earlier_address_that_the_router_does_not_let_go_of(home: Home) -> None:
    home.present(WEB)
    _moved(home)
    done = home.present(WEB)
    assert (done.changed, done.error) == (True, None)
    assert f"stays open to {EARLIER}" in done.warnings[0]
    assert home.open == {OPEN, ("tcp", EARLIER, 8443)}
    # Nothing more can be done about it, so it is not told again and again, and it is not ours to show.
    again = home.present(WEB)
    assert (again.changed, again.warnings) == (False, [])
    assert len(home.info().data["mappings"]) == 1
    gone = home.absent()
    assert (gone.changed, gone.error, home.open) == (True, None, {("tcp", EARLIER, 8443)})
    assert not home.absent().changed
    # Should it come back while its lease lasts, it is ours again.
    home.link = replace(LINK, source=EARLIER, addresses=frozenset({EARLIER}))
    assert home.present(WEB).error is None
    assert home.pcp.open == {("tcp", EARLIER, 8443)}


def test_an_earlier_address_by_upnp(upnp: Home) -> None:
    upnp.present(WEB)
    _moved(upnp)
    # This router does not look at who asks.
    done = upnp.present(WEB)
    assert (done.changed, done.error, done.warnings) == (True, None, [])
    assert upnp.open == {OPEN}


def test_what_fails_to_be_made_for_the_new_address_leaves_the_old_one_recorded(upnp: Home) -> None:
    upnp.present(WEB)
    _moved(upnp)
    upnp.upnp.faults = {"AddPinhole": 701, "DeletePinhole": 606}
    assert upnp.present(WEB).error is not None
    assert [row["internal_client"] for row in upnp.records()] == [EARLIER]


def test_renewal(each: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    each.present(WEB4, WEB)
    assert each.renew().result == "unchanged"
    begin = moments.now()
    monkeypatch.setattr(moments, "now", lambda: begin.after(50000))
    each.pcp.epoch += 50000
    said = each.renew()
    assert (said.result, [(row["family"], row["action"]) for row in said.rows]) == ("ok", [(IPV4, ""), (IPV6, "half")])
    assert "web (tcp 8443 over IPv6): renewed, half of the lease was over" in said.message
    assert each.method == "pcp" or "UpdatePinhole" in each.upnp.actions
    assert each.open == {OPEN}
    assert each.renew().result == "unchanged"


def test_renewal_makes_anew_what_the_router_forgot(each: Home) -> None:
    each.present(WEB)
    each.pcp.epoch, each.pcp.pinholes = 5, {}
    each.upnp.restart()
    said = each.renew()
    assert (said.result, said.rows[0]["action"], each.open) == ("ok", "restarted", {OPEN})
    assert each.renew().result == "unchanged"


def test_renewal_follows_the_address(each: Home) -> None:
    each.present(WEB)
    _moved(each)
    keeping = Keeping.load(StateDir(str(each.path)))
    keeping.mappings = [replace(kept, client=EARLIER) for kept in keeping.mappings]
    keeping.save(StateDir(str(each.path)))
    each.upnp.faults = {"DeletePinhole": 606} if each.method == "upnp" else {}
    said = each.renew()
    assert (said.result, said.rows[0]["action"], said.rows[0]["client"]) == ("ok", "address", HERE)
    assert f"stays open to {EARLIER}" in said.message
    assert OPEN in each.open
    assert each.renew().result == "unchanged"


def test_one_family_that_fails_does_not_keep_the_other_from_being_renewed(home: Home) -> None:
    home.present(WEB4, WEB)
    home.ipv4.entries.clear()
    home.pcp.on = False
    home.upnp.faults = {"GetFirewallStatus": 501}
    said = home.renew()
    assert (said.result, [(row["family"], row["state"], row["action"]) for row in said.rows]) == (
        "retry",
        [(IPV4, "held", "missing"), (IPV6, "error", "")],
    )


def test_state_files_of_earlier_versions_are_read(home: Home) -> None:
    home.present(WEB4, WEB)
    for name, lists in ((FILE, {"family", "unique_id", "abandoned"}), ("port_renewals.json", {"family"})):
        data = json.loads((home.path / name).read_text())
        data["mappings"] = [{key: value for key, value in row.items() if key not in lists} for row in data["mappings"]]
        (home.path / name).write_text(json.dumps(data))
    assert {kept.family for kept in Keeping.load(StateDir(str(home.path))).mappings} == {IPV4}
    assert {record.family for record in Store(str(home.path)).read()[0]} == {IPV4}


def test_nothing_is_opened_where_it_could_not_be_recorded(home: Home, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    home.path = blocked
    result = home.present(WEB)
    assert str(blocked) in (result.error or "")
    assert home.open == set()


def test_a_lease_that_is_over_is_not_shown(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.present(WEB)
    begin = moments.now()
    monkeypatch.setattr(moments, "now", lambda: Moment(begin.wall + 90000, begin.boot, begin.ticks + 90000))
    assert home.info().data["mappings"] == []


def test_what_cannot_be_asked_for_by_the_protocol_that_made_it_is_named(home: Home) -> None:
    home.present(WEB)
    home.pcp.on = False
    assert home.absent(Named("dns")).warnings == []
    for check_mode in (True, False):
        gone = home.absent(check_mode=check_mode)
        assert (gone.changed, gone.error, home.open) == (False, None, {OPEN})
        assert ["tcp port 8443 over IPv6" in warning and "(web) was made by pcp at ::1" in warning for warning in gone.warnings] == [True]
    home.pcp.on = True
    again = home.absent()
    assert (again.changed, again.warnings, home.open) == (True, [], set())


def test_what_is_left_is_named_where_no_router_answers(home: Home) -> None:
    def nobody(selection: Selection) -> Gateway:
        raise NoGatewayError("nobody answers")

    home.present(WEB)
    gone = run(Request("absent"), home.selection(), False, nobody)
    assert (gone.changed, gone.error) == (False, None)
    assert any("tcp port 8443 over IPv6" in warning and "(web)" in warning for warning in gone.warnings)


def _is_from(address: str, request: bytes) -> bool:
    return request[8:24] == socket.inet_pton(socket.AF_INET6, address)


def test_an_earlier_address_that_is_still_there_costs_the_good_pinhole_nothing(home: Home) -> None:
    home.present(WEB)
    _moved(home)
    home.link = replace(LINK, addresses=frozenset({HERE, EARLIER}))
    home.pcp.override = lambda request: Answer(2, 1000, 30) if _is_from(EARLIER, request) else None
    moved = home.present(WEB)
    assert (moved.changed, moved.error) == (True, None)
    assert f"stays open to {EARLIER}" in moved.warnings[0]
    home.pcp.asked.clear()
    again = home.present(WEB)
    assert (again.changed, again.warnings) == (False, [])
    assert home.renew().result == "unchanged"
    assert home.pcp.asked == []
    gone = home.absent()
    assert (gone.changed, gone.error, home.open) == (True, None, {("tcp", EARLIER, 8443)})
    assert ["stays open until its lease ends" in warning for warning in gone.warnings] == [True]


def test_a_pinhole_that_was_lost_in_its_renewal_is_no_success(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.present(WEB, DNS)
    begin = moments.now()
    monkeypatch.setattr(moments, "now", lambda: begin.after(50000))
    home.pcp.epoch += 50000
    home.pcp.override = lambda request: Answer(8, home.pcp.epoch, 30) if request[4:8] != bytes(4) and request[36] == 6 else None
    result = home.present(WEB, DNS)
    assert "'web' was closed to be renewed" in (result.error or "")
    assert (result.changed, states(result), home.open) == (True, ["error", "present"], {("udp", HERE, 5353)})
    assert result.data["kept"] == ["dns", "web"]
    home.pcp.override = lambda request: None
    again = home.present(WEB, DNS)
    assert (again.changed, again.error, states(again), OPEN in home.open) == (True, None, ["present", "present"], True)


@pytest.mark.parametrize(("enabled", "allowed"), [("0", "0"), ("1", "0")])
def test_a_family_that_only_has_to_go_needs_no_permission(home: Home, enabled: str, allowed: str) -> None:
    home.pcp.on = False
    home.present(WEB4, WEB)
    home.upnp.enabled, home.upnp.allowed = enabled, allowed
    less = home.present(WEB4)
    assert (less.changed, less.error, states(less), home.open) == (True, None, ["present"], set())


def test_what_is_left_in_the_other_family_goes_also_where_nothing_is_renewed(home: Home) -> None:
    home.present(WEB, renew=False)
    data = json.loads((home.path / FILE).read_text())
    data["mappings"][0].update(family=IPV4, internal_client="192.168.1.10", external_port=443)
    (home.path / FILE).write_text(json.dumps(data))
    home.ipv4.add(Entry("tcp", 443, "192.168.1.10", 8443, "hs:01234567:web", True, 3600))
    done = home.present(WEB, renew=False)
    assert (done.error, home.ipv4.entries, home.open) == (None, {}, {OPEN})


def test_who_may_not_read_the_records_is_told_what_was_not_looked_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.present(WEB4, WEB)
    monkeypatch.setattr("os.access", lambda *arguments: False)

    def refuse(store: Store) -> Any:
        raise GatewayError(f"{home.path / FILE} cannot be read: Permission denied")

    monkeypatch.setattr(Store, "_read", refuse)
    monkeypatch.setattr(Store, "_signature", lambda store: ())
    gone = home.absent()
    assert (gone.error, home.ipv4.entries, home.open) == (None, {}, {OPEN})
    assert ["Permission denied" in warning and "for IPv6 was not looked for" in warning and "become" in warning for warning in gone.warnings] == [True]


def test_check_mode_tells_of_a_list_that_cannot_be_read(home: Home) -> None:
    home.present(WEB4, WEB)
    home.ipv4.list = lambda: _raise(GatewayError("no list"))  # type: ignore[method-assign]
    assert home.absent(check_mode=True).error == "no list; everything else would be removed"
    assert home.open == {OPEN}


@pytest.mark.parametrize("method", METHODS)
def test_what_the_router_never_let_go_of_counts_as_put_back(home: Home, method: str) -> None:
    # Both are spoken; what was made by the second one is put back by that one.
    refused = {"pcp": lambda request: Answer(8, 1000, 30) if request[4:8] != bytes(4) else None, "upnp": lambda request: Answer(2, 1000, 30)}
    home.pcp.override = refused["upnp"] if method == "upnp" else lambda request: None
    assert [row["method"] for row in home.present(WEB).data["mappings"]] == [method]
    _moved(home)
    home.pcp.override = refused[method]
    home.upnp.faults = {"AddPinhole": 701, "DeletePinhole": 606}
    failed = home.present(WEB)
    assert failed.error is not None
    assert "Not everything" not in failed.error
    assert failed.changed is False
    assert [(row["internal_client"], row["method"], row["abandoned"]) for row in home.records()] == [(EARLIER, method, False)]


def test_info_asks_both_families_at_once(home: Home) -> None:
    home.present(WEB4, WEB)
    both = threading.Barrier(2)

    def opener(selection: Selection) -> Gateway:
        # Who is asked only after the other one breaks this.
        both.wait(5)
        return home.opener(selection)

    info = run_info(home.selection(), opener)
    assert [row["family"] for row in info.data["mappings"]] == [IPV4, IPV6]


class RefusingSocket:
    """What a host's own firewall may do to a search."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.sent: list[str] = []

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> None:
        if address[0].partition("%")[0] in self.refused:
            raise PermissionError(1, "Operation not permitted")
        self.sent.append(address[0])


@pytest.mark.parametrize(("refused", "count"), [((), 4), (("::1",), 2), ((firewall_control.GROUP,), 2)])
def test_a_search_goes_on_where_one_way_of_asking_is_refused(refused: tuple[str, ...], count: int) -> None:
    opened = RefusingSocket(*refused)
    firewall_control._send(opened, LINK, ("one", "two"))  # type: ignore[arg-type]
    assert len(opened.sent) == count


def test_a_search_that_cannot_be_sent_at_all_says_why() -> None:
    with pytest.raises(OSError, match="Operation not permitted"):
        firewall_control._send(RefusingSocket("::1", firewall_control.GROUP), LINK, ("one", "two"))  # type: ignore[arg-type]


def test_who_knows_no_families_does_not_take_a_pinhole_for_a_forwarding(home: Home) -> None:
    def version() -> int:
        return int(json.loads((home.path / "port_renewals.json").read_text())["version"])

    home.present(WEB4)
    assert version() == 1
    home.present(WEB4, WEB)
    # An agent from before pinholes reads version 1 only, and stops here instead of forwarding the port over IPv4.
    assert version() == 2
    assert {kept.family for kept in Keeping.load(StateDir(str(home.path))).mappings} == {IPV4, IPV6}
    home.present(WEB4)
    assert version() == 1


def test_the_error_of_one_family_is_not_that_of_the_other(home: Home) -> None:
    home.pcp.on = False
    home.upnp.allowed = "0"
    blocked = home.present(WEB4, WEB)
    assert "InboundPinholeAllowed 0" in (blocked.error or "")
    home.upnp.faults = {"GetFirewallStatus": 501}
    silent = home.present(WEB4, WEB)
    home.upnp.faults, home.upnp.allowed, home.ipv4.wan = {}, "1", "192.168.9.9"
    private = home.present(WEB4, WEB)
    for result, concerned in ((blocked, 1), (silent, 1), (private, 0)):
        rows = result.data["mappings"]
        assert states(result) == ["error", "error"]
        assert rows[concerned]["error"] == result.error
        assert f"not looked at, since what is wanted over {('IPv4', 'IPv6')[concerned]} cannot be had" in rows[1 - concerned]["error"]
