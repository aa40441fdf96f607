# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import BadRequestError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import MAX_LEASE, Entry, Wanted
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._planning import Host, Named, check, owner_of, plan_absent, plan_present

HOST = Host("192.168.1.10", "01234567")
WEB = Wanted("web", "tcp", 80, 8080)
WG = Wanted("wg", "udp", 51820, 51820)
MINE = Entry("tcp", 80, HOST.address, 8080, "hs:01234567:web", True, MAX_LEASE)


def entry(**changes: Any) -> Entry:
    return replace(MINE, **changes)


@pytest.mark.parametrize(
    ("there", "owner"),
    [
        (MINE, ("ours", "web")),
        (entry(internal_client="192.168.1.99"), ("ours", "web")),
        (entry(description=" hs:01234567:web\n"), ("ours", "web")),
        (entry(description="hs:89abcdef:web"), ("homeserver", "web")),
        (entry(description="hs:89abcdef:web", internal_client="192.168.1.9"), ("homeserver", "web")),
        (entry(description=""), ("untagged_ours", None)),
        (entry(description="hs:01234567:Web"), ("untagged_ours", None)),
        (entry(description="hs:01234567:web and more"), ("untagged_ours", None)),
        (entry(description="x", internal_client="192.168.1.9"), ("foreign", None)),
    ],
)
def test_owner(there: Entry, owner: tuple[str, str | None]) -> None:
    assert owner_of(there, HOST) == owner


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ([replace(WEB, external_port=0)], "external_port 0"),
        ([replace(WEB, external_port=65536)], "65536"),
        ([replace(WEB, external_port=-1)], "-1"),
        ([replace(WEB, port=0)], "port 0"),
        ([replace(WEB, port=70000)], "70000"),
        ([replace(WEB, protocol="sctp")], "'sctp'"),
        ([replace(WEB, protocol="TCP")], "'TCP'"),
        ([replace(WEB, name="Web")], "'Web'"),
        ([replace(WEB, name="web\n")], "service name"),
        ([replace(WEB, name="")], "''"),
        ([replace(WEB, name="a" * 32)], "service name"),
        ([replace(WEB, lease=-1)], "lease -1"),
        ([replace(WEB, lease=1)], "lease 1 "),
        ([replace(WEB, lease=604801)], "604801"),
        ([WEB, replace(WG, protocol="tcp", external_port=80)], "'web' too"),
    ],
)
def test_bad_requests_are_named(wanted: list[Wanted], words: str) -> None:
    with pytest.raises(BadRequestError, match=words):
        check(wanted)


def test_all_bad_requests_are_named_at_once() -> None:
    with pytest.raises(BadRequestError) as caught:
        check([replace(WEB, port=0), replace(WG, lease=5)])
    assert "'web'" in str(caught.value)
    assert "'wg'" in str(caught.value)


def test_names_that_shall_be_removed_are_checked_too() -> None:
    check([], [Named("web")])
    with pytest.raises(BadRequestError, match="'Web_1'"):
        check([], [Named("web"), Named("Web_1")])


def test_good_requests() -> None:
    check([WEB, replace(WEB, protocol="udp"), replace(WG, lease=0), replace(WG, external_port=1, port=65535, lease=120)])


def test_nothing_there() -> None:
    plan = plan_present([WEB, WG], [], HOST)
    assert [row.state for row in plan.rows] == ["absent", "absent"]
    assert [(change.action, change.name) for change in plan.plan.changes] == [("create", "tcp 80"), ("create", "udp 51820")]
    assert [step.add[0] for step in plan.steps][0] == MINE
    assert plan.refusals == []


def test_all_there() -> None:
    plan = plan_present([WEB], [MINE, entry(external_port=81, description="other", internal_client="192.168.1.9")], HOST)
    assert not plan.plan.changed
    assert plan.renewals == []
    assert plan.rows[0].state == "present"


@pytest.mark.parametrize(
    ("there", "action"),
    [
        (entry(internal_port=8081), "update"),
        (entry(enabled=False), "update"),
        (entry(internal_client="192.168.1.99"), "update"),
        (entry(description="hs:01234567:other"), "update"),
        (entry(remote_host="203.0.113.9"), "update"),
    ],
)
def test_ours_that_is_not_as_wanted(there: Entry, action: str) -> None:
    plan = plan_present([WEB], [there], HOST)
    assert [change.action for change in plan.plan.changes] == [action]
    assert plan.steps[0].delete == (there,)
    assert plan.steps[0].add == (MINE,)


@pytest.mark.parametrize(
    ("there", "state", "owner"),
    [
        (entry(description="cam", internal_client="192.168.1.9", internal_port=88), "foreign", "foreign"),
        (entry(description="hs:89abcdef:web", internal_client="192.168.1.9"), "foreign", "foreign"),
        (entry(description="old"), "adoptable", "untagged"),
        (entry(description="old", internal_port=9), "conflict", "untagged"),
    ],
)
def test_refusals(there: Entry, state: str, owner: str) -> None:
    plan = plan_present([WEB, WG], [there], HOST)
    assert (plan.rows[0].state, plan.rows[0].owner) == (state, owner)
    assert len(plan.refusals) == 1
    assert "'web'" in plan.refusals[0]
    assert there.description in plan.refusals[0]
    # The other mapping is judged all the same.
    assert plan.rows[1].state == "absent"
    adopted = plan_present([WEB], [there], HOST, adopt=True)
    assert bool(adopted.refusals) is (state != "adoptable")


def test_one_of_several_for_a_port_that_is_not_ours_decides() -> None:
    other = entry(remote_host="203.0.113.9", internal_client="192.168.1.9", description="cam")
    for entries in ([MINE, other], [other, MINE]):
        assert plan_present([WEB], entries, HOST).rows[0].state == "foreign"


def test_earlier_mappings_of_the_same_service_go() -> None:
    moved = plan_present([replace(WEB, external_port=8080)], [MINE, entry(external_port=443, description="hs:01234567:tls")], HOST)
    assert [(change.action, change.name) for change in moved.plan.changes] == [("remove", "tcp 80"), ("create", "tcp 8080")]


def test_two_services_that_change_places() -> None:
    tls = Wanted("tls", "tcp", 80, 443)
    web = replace(WEB, external_port=443)
    plan = plan_present([tls, web], [MINE, entry(external_port=443, internal_port=443, description="hs:01234567:tls")], HOST)
    assert [(change.action, change.name) for change in plan.plan.changes] == [("update", "tcp 80"), ("update", "tcp 443")]


@pytest.mark.parametrize(
    ("left", "asked", "due"),
    [
        (604800, 604800, False),
        (302400, 604800, False),
        (302399, 604800, True),
        (3600, 7200, False),
        (604800, 7200, True),
        (7230, 7200, False),
        (0, 604800, True),
        (0, 0, False),
        (604800, 0, False),
        (1000, 0, True),
    ],
)
def test_renewal(left: int, asked: int, due: bool) -> None:
    plan = plan_present([replace(WEB, lease=asked)], [entry(lease=left)], HOST)
    assert not plan.plan.changed
    assert plan.rows[0].renewed is due
    assert len(plan.renewals) == int(due)


def test_another_port_is_chosen_only_if_it_may_be_and_stays_the_same() -> None:
    camera = entry(description="cam", internal_client="192.168.1.9")
    assert plan_present([WEB], [camera], HOST).refusals
    plan = plan_present([WEB], [camera], HOST, other_port=True)
    row = plan.rows[0]
    assert (row.external_port, row.requested_external_port, row.state) == (8080, 80, "absent")
    made = plan.steps[0].add[0]
    again = plan_present([WEB], [camera, made], HOST, other_port=True)
    assert not again.plan.changed
    assert again.rows[0].external_port == 8080
    # Once the port is free, the mapping goes where it was wanted.
    home = plan_present([WEB], [made], HOST, other_port=True)
    assert [(change.action, change.name) for change in home.plan.changes] == [("remove", "tcp 8080"), ("create", "tcp 80")]


def test_the_other_port_is_never_one_that_is_asked_for_or_taken() -> None:
    camera = entry(description="cam", internal_client="192.168.1.9")
    eighty = Wanted("alt", "tcp", 8080, 1)
    plan = plan_present([WEB, eighty, Wanted("low", "tcp", 81, 22)], [camera, replace(camera, external_port=81)], HOST, other_port=True)
    ports = [row.external_port for row in plan.rows]
    assert ports[1] == 8080
    assert len(set(ports)) == 3
    assert all(port is not None and port >= 1024 for port in ports)


def test_absent_removes_ours_only() -> None:
    others = [
        entry(external_port=1, description="hs:89abcdef:web", internal_client="192.168.1.9"),
        entry(external_port=2, description="", internal_client="192.168.1.9"),
        entry(external_port=3, description="tool"),
    ]
    stale = entry(external_port=4, internal_client="192.168.1.77")
    plan = plan_absent(None, [MINE, *others, stale], HOST)
    assert [change.name for change in plan.plan.changes] == ["tcp 80", "tcp 4"]
    assert [row.state for row in plan.rows] == ["present", "present"]
    assert plan.left == [others[2]]


def test_absent_gives_back_what_was_taken_over() -> None:
    tool = entry(description="tool", lease=3600)
    tls = entry(external_port=443, description="hs:01234567:tls")
    others = [
        entry(external_port=443, description="x", internal_client="192.168.1.9"),
        entry(external_port=444, description="gone since"),
        entry(external_port=443, protocol="udp", description="another protocol"),
    ]
    plan = plan_absent(None, [MINE, tls], HOST, [tool, *others])
    assert [(change.action, change.name) for change in plan.plan.changes] == [("update", "tcp 80"), ("remove", "tcp 443")]
    assert [(step.delete, step.add) for step in plan.steps] == [((MINE,), (tool,)), ((tls,), ())]
    assert plan_absent(None, [tool], HOST, [tool]).steps == []


def test_absent_by_name() -> None:
    tls = entry(external_port=443, description="hs:01234567:tls")
    both = [entry(protocol="udp", external_port=80), MINE]
    plan = plan_absent([Named("web", "tcp", 80), Named("gone"), Named("web", "udp", 80)], [*both, tls], HOST)
    assert [(row.name, row.protocol, row.state) for row in plan.rows] == [("web", "tcp", "present"), ("gone", None, "absent"), ("web", "udp", "present")]
    assert sorted(change.name for change in plan.plan.changes) == ["tcp 80", "udp 80"]
