# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mappings stay, and which are removed because somebody named them: by table, and against a router that is a list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import AnswerError, BadRequestError, GatewayError, NoGatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Capabilities, Entry, Gateway, GatewayInfo
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._planning import Host
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import Selection
from ansible_collections.homeserver.hardening.plugins.module_utils._upnp import _judge, _mappings
from ansible_collections.homeserver.hardening.plugins.module_utils._upnp._mappings import Request, run

HOST = Host("192.0.2.10", "0123abcd")
OURS = Entry("tcp", 80, "192.0.2.10", 80, "hs:0123abcd:http", lease=3600)
OTHER_HOST = Entry("tcp", 81, "192.0.2.11", 80, "hs:ffffffff:http")
UNTAGGED = Entry("tcp", 82, "192.0.2.10", 82, "kaiho-kun")
CAMERA = Entry("tcp", 9999, "192.0.2.20", 80, "camera", lease=3600)
SAME_PORT = Entry("udp", 9999, "192.0.2.21", 80, "camera")
ALL = [OURS, OTHER_HOST, UNTAGGED, CAMERA, SAME_PORT]

BY_PORT = {"protocol": "tcp", "external_port": 9999, "internal_client": "192.0.2.20", "description": None}
BY_NAME = {"protocol": None, "external_port": None, "internal_client": None, "description": "camera"}


@pytest.mark.parametrize(
    ("declared", "remove", "decisions"),
    [
        ([], [], ["ours", "not_consented", "not_consented", "not_consented", "not_consented"]),
        ([], [BY_PORT], ["ours", "not_consented", "not_consented", "consented", "not_consented"]),
        ([], [BY_NAME], ["ours", "not_consented", "not_consented", "consented", "consented"]),
        # everything that is given has to hold
        ([], [{**BY_PORT, "description": "camera"}], ["ours", "not_consented", "not_consented", "consented", "not_consented"]),
        ([], [{**BY_PORT, "description": "Camera"}], ["ours", *["not_consented"] * 4]),
        ([], [{**BY_PORT, "internal_client": "192.0.2.2"}], ["ours", *["not_consented"] * 4]),
        ([], [{**BY_PORT, "external_port": 999}], ["ours", *["not_consented"] * 4]),
        ([], [{**BY_NAME, "description": "cam"}], ["ours", *["not_consented"] * 4]),
        # those of another managed host, and what something else made for this one, need consent like any other
        ([], [{"protocol": "tcp", "external_port": 81, "internal_client": "192.0.2.11"}], ["ours", "consented", *["not_consented"] * 3]),
        ([], [{"description": "kaiho-kun"}], ["ours", "not_consented", "consented", "not_consented", "not_consented"]),
        # this host's own are for port_mapping
        ([], [{"protocol": "tcp", "external_port": 80, "internal_client": "192.0.2.10"}], ["ours", *["not_consented"] * 4]),
        ([{"protocol": "tcp", "external_port": 9999}], [], ["ours", "not_consented", "not_consented", "declared", "not_consented"]),
        ([{"protocol": "tcp", "external_port": 9999, "internal_client": "192.0.2.9"}], [], ["ours", *["not_consented"] * 4]),
        ([{"protocol": "tcp", "external_port": 80}], [], ["declared", *["not_consented"] * 4]),
    ],
)
def test_judge(declared, remove, decisions):
    assert [row.decision for row in _judge.judge(ALL, HOST, declared, remove)] == decisions


@pytest.mark.parametrize(
    ("declared", "remove", "words"),
    [
        ([], [{}], "remove[0] does not name a mapping: it lacks protocol, external_port, internal_client"),
        ([], [BY_NAME, {"external_port": 9999, "protocol": "tcp"}], "remove[1] does not name a mapping: it lacks internal_client"),
        ([], [{"description": ""}], "remove[0] does not name a mapping"),
        ([], [{**BY_PORT, "external_port": 70000}], "external_port 70000"),
        ([], [{**BY_PORT, "protocol": "both"}], "protocol 'both'"),
        ([{"protocol": "tcp"}], [], "declared[0] needs protocol and external_port"),
        ([{"protocol": "tcp", "external_port": 9999}], [BY_PORT], "tcp port 9999 to 192.0.2.20 ('camera')"),
    ],
)
def test_what_names_nothing_or_both(declared, remove, words):
    with pytest.raises(BadRequestError) as caught:
        _judge.judge(ALL, HOST, declared, remove)
    assert words in str(caught.value)


def test_a_mapping_of_all_ports_can_be_named():
    everything = Entry("tcp", 0, "192.0.2.20", 80, "")
    consent = {"protocol": "tcp", "external_port": 0, "internal_client": "192.0.2.20"}
    assert [row.decision for row in _judge.judge([everything, CAMERA], HOST, [], [consent])] == ["consented", "not_consented"]


def test_unmatched():
    gone = {"description": "gone"}
    assert _judge.unmatched(_judge.judge(ALL, HOST, [], [gone, BY_PORT]), [gone, BY_PORT]) == [0]


def test_former_ones_are_kept_each_port_once():
    first = _judge.merge_former([], _judge.judge(ALL, HOST, [], []), "T1")
    assert [(row["protocol"], row["external_port"], row["owner"]) for row in first][-2:] == [("tcp", 9999, "foreign"), ("udp", 9999, "foreign")]
    moved = replace(CAMERA, internal_client="192.0.2.30")
    second = _judge.merge_former(first, _judge.judge([moved], HOST, [], []), "T2")
    assert len(second) == len(first)
    assert (second[-1]["internal_client"], second[-1]["seen"]) == ("192.0.2.30", "T2")
    many = [replace(CAMERA, external_port=number) for number in range(1, _judge.MAX_FORMER + 9)]
    assert len(_judge.merge_former(second, _judge.judge(many, HOST, [], []), "T3")) == _judge.MAX_FORMER


class ListRouter(Gateway):
    """A router that is a list; C(stubborn) are ports of which it lets nobody remove a mapping."""

    def __init__(self, *entries: Entry, stubborn: tuple[int, ...] = (), moved: Entry | None = None) -> None:
        self.entries = list(entries)
        self.stubborn = stubborn
        self.moved = moved
        self.removed: list[int] = []

    def describe(self) -> GatewayInfo:
        return GatewayInfo("192.0.2.1", "upnp", "http://192.0.2.1:5000/d.xml", "urn:x", "Router", "eth0", HOST.address, "203.0.113.7", "Connected")

    def capabilities(self) -> Capabilities:
        return Capabilities(True, True, True, 604800)

    def external_address(self) -> str | None:
        return "203.0.113.7"

    def list(self) -> list[Entry]:
        return list(self.entries)

    def find(self, protocol: str, external_port: int) -> Entry | None:
        if self.moved is not None and self.moved.key == (protocol, external_port):
            return self.moved
        return next((one for one in self.entries if one.key == (protocol, external_port)), None)

    def add(self, entry: Entry) -> Entry:
        raise AssertionError("nothing is ever added")

    def delete(self, entry: Entry) -> None:
        if entry.external_port in self.stubborn:
            raise GatewayError("the router does not let this host remove it")
        self.entries.remove(entry)
        self.removed.append(entry.external_port)


@pytest.fixture(autouse=True)
def _one_host(monkeypatch):
    monkeypatch.setattr(_mappings, "host_id", lambda: HOST.host_id)


def do(router: Any, tmp_path: Any, check_mode: bool = False, **request: Any) -> _mappings.Result:
    def opener(selection: Selection) -> Gateway:
        if isinstance(router, Exception):
            raise router
        found: Gateway = router
        return found

    return run(Request(**request), Selection(state_dir=str(tmp_path / "state")), check_mode, opener)


def test_check_do_again_forget(tmp_path):
    router = ListRouter(OURS, CAMERA, SAME_PORT)
    check = do(router, tmp_path, True, remove=[BY_PORT])
    assert check.changed
    assert router.removed == []
    assert not (tmp_path / "state").exists()

    done = do(router, tmp_path, remove=[BY_PORT])
    assert done.changed
    assert done.plan.as_data() == check.plan.as_data()
    assert [(row["external_port"], row["decision"], row["state"]) for row in done.data["mappings"]] == [
        (80, "ours", "present"),
        (9999, "consented", "removed"),
        (9999, "not_consented", "present"),
    ]
    assert router.entries == [OURS, SAME_PORT]

    again = do(router, tmp_path, remove=[BY_PORT])
    assert not again.changed
    assert again.data["unmatched"] == [BY_PORT]
    assert [row["external_port"] for row in again.data["former"]] == [9999, 80, 9999]

    # Off, and still remembered.
    off = do(NoGatewayError("no router answered"), tmp_path)
    assert (off.data["available"], off.error, off.warnings) == (False, "", [])
    assert len(off.data["former"]) == 3
    assert off.data["remembered"]["wan_address"] == "203.0.113.7"

    assert do(router, tmp_path, True, forget=True).changed
    assert do(router, tmp_path, forget=True).changed
    assert not do(router, tmp_path, forget=True).changed
    assert not (tmp_path / "state").exists()


def test_a_list_that_was_cut_stays_cut(tmp_path):
    """The ports that nobody saw are as unknown in the next run."""

    class Cut(ListRouter):
        @property
        def incomplete(self) -> str:
            return "it took too long"

    assert not do(ListRouter(CAMERA), tmp_path).data["cut"]
    assert do(Cut(CAMERA), tmp_path, True).data["cut"]
    assert not do(ListRouter(CAMERA), tmp_path).data["cut"]
    assert do(Cut(CAMERA), tmp_path).data["cut"]
    assert do(ListRouter(CAMERA), tmp_path).data["cut"]
    assert do(NoGatewayError("no router answered"), tmp_path).data["cut"]
    do(ListRouter(), tmp_path, forget=True)
    assert not do(ListRouter(CAMERA), tmp_path).data["cut"]


def test_more_mappings_than_are_remembered(tmp_path):
    many = [replace(CAMERA, external_port=number) for number in range(1, _judge.MAX_FORMER + 9)]
    result = do(ListRouter(*many), tmp_path)
    assert (result.data["cut"], len(result.data["former"])) == (True, _judge.MAX_FORMER)


def test_a_mapping_for_one_source_is_removed_although_it_is_not_found_without(tmp_path):
    one = replace(CAMERA, remote_host="203.0.113.9")

    class Picky(ListRouter):
        def find(self, protocol: str, external_port: int) -> Entry | None:
            found = super().find(protocol, external_port)
            return None if found is None or found.remote_host else found

    router = Picky(one)
    result = do(router, tmp_path, remove=[BY_PORT])
    assert (result.data["mappings"][0]["state"], router.entries) == ("removed", [])


def test_what_the_router_refuses_is_said_and_is_no_change(tmp_path):
    result = do(ListRouter(CAMERA, stubborn=(9999,)), tmp_path, remove=[BY_PORT])
    assert not result.changed
    assert (result.data["mappings"][0]["state"], result.data["mappings"][0]["error"]) == ("refused", "the router does not let this host remove it")
    assert any("tcp port 9999" in warning for warning in result.warnings)


def test_who_has_come_to_the_port_meanwhile_is_left_alone(tmp_path):
    router = ListRouter(CAMERA, moved=replace(CAMERA, internal_client="192.0.2.66"))
    result = do(router, tmp_path, remove=[BY_PORT])
    assert router.removed == []
    assert not result.changed
    assert "192.0.2.66" in result.data["mappings"][0]["error"]


def test_a_list_that_cannot_be_read_is_no_empty_list(tmp_path):
    class Broken(ListRouter):
        def list(self) -> list[Entry]:
            raise AnswerError("cut off")

    result = do(Broken(), tmp_path)
    assert not result.data["available"]
    assert "cut off" in result.data["reason"]
    assert any("cannot be read" in warning for warning in result.warnings)


def test_what_makes_no_sense_is_refused_before_the_router_is_asked(tmp_path):
    result = do(AssertionError("asked"), tmp_path, remove=[{"external_port": 1}])
    assert "remove[0] does not name a mapping" in result.error
