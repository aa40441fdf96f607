# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a router that can be told to lie."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _http_client as http_client
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._description import Description, Service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import BadRequestError, GatewayError, ProtocolError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._igd import IgdGateway
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Entry
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._patience import Patience
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import SOURCE, FakeIgd, RawServer

WEB = Entry("tcp", 80, SOURCE, 8080, "hs:01234567:web", True, 604800)


class Clock:
    """Goes on only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(params=[1, 2])
def igd(request: pytest.FixtureRequest) -> Iterator[FakeIgd]:
    with FakeIgd(request.param) as made:
        yield made


@pytest.fixture
def igd2() -> Iterator[FakeIgd]:
    with FakeIgd(2) as made:
        yield made


def test_add_find_list_delete(igd: FakeIgd) -> None:
    gateway = igd.gateway()
    assert gateway.list() == []
    assert gateway.find("tcp", 80) is None
    assert gateway.add(WEB) == WEB
    assert gateway.find("tcp", 80) == WEB
    assert gateway.find("udp", 80) is None
    assert gateway.list() == [WEB]
    gateway.delete(WEB)
    assert gateway.list() == []
    assert igd.entries == {}


def test_arguments_in_order_and_protocol_in_upper_case(igd: FakeIgd) -> None:
    igd.gateway().add(WEB)
    arguments = next(arguments for action, arguments in igd.calls if action == "AddPortMapping")
    assert arguments == [
        ("NewRemoteHost", ""),
        ("NewExternalPort", "80"),
        ("NewProtocol", "TCP"),
        ("NewInternalPort", "8080"),
        ("NewInternalClient", SOURCE),
        ("NewEnabled", "1"),
        ("NewPortMappingDescription", "hs:01234567:web"),
        ("NewLeaseDuration", "604800"),
    ]


def test_what_is_known_of_the_router(igd: FakeIgd) -> None:
    info = igd.gateway().describe()
    assert (info.wan_address, info.wan_status, info.source_address, info.method) == ("44.128.1.2", "Connected", SOURCE, "upnp")
    assert info.service_type == igd.service


@pytest.mark.parametrize("wan", ["", "unknown", "44.128.1", "2001:db8::1"])
def test_no_wan_address(igd2: FakeIgd, wan: str) -> None:
    igd2.wan = wan
    assert igd2.gateway().external_address() is None


def test_the_list_at_once_is_one_request_for_each_protocol(igd2: FakeIgd) -> None:
    for number in range(100):
        igd2.put("TCP" if number % 2 else "UDP", 1000 + number, "192.168.1.9", 80, f"<& {number}", 3600)
    entries = igd2.gateway().list()
    assert len(entries) == 100
    assert {entry.lease for entry in entries} == {3600}
    assert igd2.actions().count("GetListOfPortMappings") == 2
    # Whether there is a hundred and first one.
    assert igd2.actions().count("GetGenericPortMappingEntry") == 1


def test_a_long_list_is_never_asked_for_at_once(igd2: FakeIgd) -> None:
    # Daemons in the field crash.
    for number in range(101):
        igd2.put("TCP" if number % 2 else "UDP", 1000 + number, "192.168.1.9", 80)
    gateway = igd2.gateway()
    assert len(gateway.list()) == 101
    assert "GetListOfPortMappings" not in igd2.actions()
    assert gateway.piecemeal
    assert not gateway.incomplete


@pytest.mark.parametrize("code", [401, 402, 501, 606])
def test_without_the_list_at_once_entries_are_read_one_by_one(igd2: FakeIgd, code: int) -> None:
    igd2.faults["GetListOfPortMappings"] = code
    igd2.put("TCP", 80, "192.168.1.9", 80)
    igd2.put("UDP", 80, "192.168.1.9", 80)
    assert len(igd2.gateway().list()) == 2


def test_a_list_that_is_too_long_to_read_at_once(igd2: FakeIgd) -> None:
    for number in range(300):
        igd2.put("TCP", 1000 + number, "192.168.1.9", 80, "x" * 128)
    assert len(igd2.gateway().list()) == 300


@pytest.mark.parametrize("code", [402, 501, 606, 713, 714])
def test_codes_that_end_the_list(code: int) -> None:
    with FakeIgd(1) as igd:
        igd.put("TCP", 80, "192.168.1.9", 80)
        real = igd.hook
        igd.hook = lambda action, arguments: igd.fault(code) if arguments.get("NewPortMappingIndex") == "1" else real(action, arguments)
        assert len(igd.gateway().list()) == 1


def test_a_list_without_an_end_is_cut() -> None:
    with FakeIgd(1) as igd:
        inner = "<NewExternalPort>80</NewExternalPort><NewProtocol>TCP</NewProtocol>"
        inner += "<NewInternalPort>1</NewInternalPort><NewInternalClient>192.168.1.9</NewInternalClient>"
        igd.hook = lambda action, arguments: igd.response(action, inner) if action == "GetGenericPortMappingEntry" else None
        gateway = igd.gateway()
        assert len(gateway.list()) == 1
        assert igd.actions().count("GetGenericPortMappingEntry") == 512
        assert gateway.incomplete


def test_a_slow_list_is_given_up() -> None:
    with FakeIgd(1) as igd:
        for number in range(100):
            igd.put("TCP", 80 + number, "192.168.1.9", 80)
        clock = Clock()
        gateway = igd.gateway(Patience(3.0, clock))
        igd.hook = lambda action, arguments: clock.pass_by(0.2)
        with pytest.raises(GatewayError, match=r"\(15 until then\): the router is too slow: it did not get done within 3 s; if .* set timeout higher"):
            gateway.list()


@pytest.mark.parametrize("version", [1, 2])
def test_a_port_that_was_given_instead_is_given_back(version: int) -> None:
    with FakeIgd(version) as igd:
        # Made earlier, and by others: these stay.
        igd.put("TCP", 8000, SOURCE, 8080, WEB.description)
        igd.put("TCP", 8001, "192.168.1.9", 8080, "camera")
        gateway = igd.gateway()
        gateway.list()

        def elsewhere(action: str, arguments: dict[str, str]) -> str | None:
            if action != "AddPortMapping":
                return None
            igd.put("TCP", 1024, arguments["NewInternalClient"], int(arguments["NewInternalPort"]), arguments["NewPortMappingDescription"])
            return igd.response(action)

        igd.hook = elsewhere
        with pytest.raises(GatewayError, match="list does not have it; it gave port 1024 instead, which was given back"):
            gateway.add(WEB)
        assert sorted(igd.entries) == [("TCP", 8000), ("TCP", 8001)]
        igd.faults["DeletePortMapping"] = 606
        with pytest.raises(GatewayError, match="port 1024 instead, which could not be given back: .*606"):
            gateway.add(WEB)


def test_a_mapping_for_one_source_only_is_no_mapping(igd: FakeIgd) -> None:
    gateway = igd.gateway()
    igd.hook = lambda action, arguments: (
        igd.response(action, f"<NewRemoteHost>192.0.2.9</NewRemoteHost><NewInternalPort>8080</NewInternalPort><NewInternalClient>{SOURCE}</NewInternalClient>")
        if action == "GetSpecificPortMappingEntry" and igd.entries
        else None
    )
    with pytest.raises(GatewayError, match="for 192.0.2.9 only"):
        gateway.add(WEB)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"client": "192.168.1.99"}, "192.168.1.99:8080"),
        ({"port": "4464"}, ":4464"),
        ({"enabled": "0"}, "disabled"),
    ],
)
def test_a_success_is_not_believed(igd: FakeIgd, lie: dict[str, str], words: str) -> None:
    gateway = igd.gateway()

    def hook(action: str, arguments: dict[str, str]) -> str | None:
        if action != "AddPortMapping":
            return None
        igd.put("TCP", 80, SOURCE, 8080)
        igd.entries[("TCP", 80)].update(lie)
        return igd.response(action)

    igd.hook = hook
    with pytest.raises(GatewayError, match=words):
        gateway.add(WEB)


def test_a_mapping_that_was_not_made(igd: FakeIgd) -> None:
    gateway = igd.gateway()
    igd.hook = lambda action, arguments: igd.response(action) if action == "AddPortMapping" else None
    with pytest.raises(GatewayError, match="its list does not have it"):
        gateway.add(WEB)


def test_a_mapping_that_was_not_removed(igd: FakeIgd) -> None:
    gateway = igd.gateway()
    gateway.add(WEB)
    igd.hook = lambda action, arguments: igd.response(action) if action == "DeletePortMapping" else None
    with pytest.raises(GatewayError, match="its list still has it"):
        gateway.delete(WEB)


def test_removing_what_is_not_there_is_fine(igd: FakeIgd) -> None:
    igd.gateway().delete(WEB)


def test_a_port_that_was_taken_meanwhile(igd: FakeIgd) -> None:
    gateway = igd.gateway()
    igd.put("TCP", 80, "192.168.1.9", 80, "camera")
    with pytest.raises(GatewayError, match="192.168.1.9:80.*camera"):
        gateway.add(WEB)
    assert "AddPortMapping" not in igd.actions()


def test_permanent_leases_only(igd: FakeIgd) -> None:
    gateway = igd.gateway()
    igd.hook = lambda action, arguments: igd.fault(725) if action == "AddPortMapping" and arguments["NewLeaseDuration"] != "0" else None
    assert gateway.add(WEB).lease == 0
    assert igd.actions().count("AddPortMapping") == 2


@pytest.mark.parametrize(("lease", "accepted"), [(604800, "0"), (0, "604800")])
def test_the_other_lease_where_one_is_an_invalid_argument(igd: FakeIgd, lease: int, accepted: str) -> None:
    gateway = igd.gateway()
    igd.hook = lambda action, arguments: igd.fault(402) if action == "AddPortMapping" and arguments["NewLeaseDuration"] != accepted else None
    assert gateway.add(replace(WEB, lease=lease)).lease == int(accepted)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (606, "permit this host there"),
        (718, "takes this host for another one"),
        (729, "another mechanism"),
        (728, "no room"),
        (724, "only to the same port"),
        (501, "44.128.1.2"),
        (402, "does not like"),
        (725, "permanent"),
        (899, "Words"),
    ],
)
def test_refusals_are_explained(igd: FakeIgd, code: int, words: str) -> None:
    gateway = igd.gateway()
    igd.faults["AddPortMapping"] = code
    with pytest.raises(GatewayError, match=words) as caught:
        gateway.add(WEB)
    assert str(code) in str(caught.value)
    assert "tcp port 80" in str(caught.value)


def test_a_conflict_names_the_holder_where_there_is_one(igd: FakeIgd) -> None:
    gateway = igd.gateway()

    def hook(action: str, arguments: dict[str, str]) -> str | None:
        if action != "AddPortMapping":
            return None
        igd.put("TCP", 80, "192.168.1.9", 80, "camera")
        return igd.fault(718)

    igd.hook = hook
    with pytest.raises(GatewayError, match="belongs to 192.168.1.9:80 .'camera'"):
        gateway.add(WEB)


def test_an_entry_of_an_earlier_address_is_removed_by_the_range_action(igd2: FakeIgd) -> None:
    gateway = igd2.gateway()
    igd2.put("TCP", 80, "192.168.1.9", 8080, WEB.description, 100)

    def hook(action: str, arguments: dict[str, str]) -> str | None:
        if action == "DeletePortMapping":
            return igd2.fault(606)
        if action == "DeletePortMappingRange":
            assert (arguments["NewStartPort"], arguments["NewEndPort"]) == ("80", "80")
            igd2.entries.clear()
            return igd2.response(action)
        return None

    igd2.hook = hook
    gateway.delete(replace(WEB, internal_client="192.168.1.9"))
    assert igd2.entries == {}


def test_an_entry_of_an_earlier_address_that_cannot_be_removed(igd: FakeIgd) -> None:
    gateway = igd.gateway()
    igd.put("TCP", 80, "192.168.1.9", 8080, WEB.description, 100)
    igd.faults["DeletePortMapping"] = 606
    with pytest.raises(GatewayError, match="wait until its lease ends in 100 s"):
        gateway.delete(replace(WEB, internal_client="192.168.1.9"))


def test_an_entry_for_one_source_that_cannot_be_removed(igd: FakeIgd) -> None:
    """Asked for without its source it is not there, which does not show that it is gone."""
    gateway = igd.gateway()
    igd.faults["DeletePortMapping"] = 606
    with pytest.raises(GatewayError, match=r"does not let this host .* for 203\.0\.113\.9"):
        gateway.delete(replace(WEB, internal_client="192.168.1.9", remote_host="203.0.113.9"))


@pytest.mark.parametrize(
    "change", [{"external_port": 0}, {"external_port": 65536}, {"internal_port": 0}, {"protocol": "sctp"}, {"description": "hs:" + "x" * 60}]
)
def test_nonsense_is_never_sent(igd2: FakeIgd, change: dict[str, object]) -> None:
    gateway = igd2.gateway()
    igd2.calls.clear()
    bad = replace(WEB, **change)  # type: ignore[arg-type]
    with pytest.raises(BadRequestError):
        gateway.add(bad)
    assert igd2.calls == []


@pytest.mark.parametrize("change", [{"external_port": 0}, {"external_port": 65536}, {"protocol": "sctp"}])
def test_nonsense_in_the_list_cannot_be_removed(igd2: FakeIgd, change: dict[str, object]) -> None:
    gateway = igd2.gateway()
    igd2.calls.clear()
    with pytest.raises(GatewayError, match="the router's own page"):
        gateway.delete(replace(WEB, **change))  # type: ignore[arg-type]
    assert igd2.calls == []


def test_a_fault_without_a_code(igd2: FakeIgd) -> None:
    gateway = igd2.gateway()
    fault = "<S:Envelope><S:Body><S:FAULT><faultCode>s:Client</faultCode><faultString>no &amp; no</faultString></S:FAULT></S:Body></S:Envelope>"
    igd2.hook = lambda action, arguments: fault if action == "AddPortMapping" else None
    with pytest.raises(GatewayError, match=r"refuses AddPortMapping without an error code \(no & no\)"):
        gateway.add(WEB)
    # The list decides where a router cannot be asked for one.
    igd2.hook = lambda action, arguments: fault if action == "GetSpecificPortMappingEntry" else None
    assert gateway.find("tcp", 80) is None
    assert gateway.add(WEB) == WEB


def test_what_is_sent_is_escaped(igd2: FakeIgd) -> None:
    text = "</NewPortMappingDescription><NewInternalClient>192.0.2.66</NewInternalClient>&"
    igd2.gateway().add(replace(WEB, description=text))
    assert igd2.entries[("TCP", 80)]["client"] == SOURCE
    assert igd2.entries[("TCP", 80)]["description"] == text


@pytest.mark.parametrize(
    "body",
    [
        "<S:Fault><faultCode>s:Client</faultCode><faultString>UPnPError</faultString><detail><ERRORCODE>714</ERRORCODE></detail></S:Fault>",
        "<x:errorCode> 714 </x:errorCode>",
    ],
)
def test_faults_in_other_spellings(igd2: FakeIgd, body: str) -> None:
    gateway = igd2.gateway()
    igd2.hook = lambda action, arguments: body
    assert gateway.find("tcp", 80) is None


@pytest.mark.parametrize("body", ["", "<html>errorCode</html>", "<a><errorCode>many</errorCode></a>", "<s:Envelope/>", "<!DOCTYPE x><a/>"])
def test_answers_that_cannot_be_used(igd2: FakeIgd, body: str) -> None:
    gateway = igd2.gateway()
    igd2.hook = lambda action, arguments: body
    with pytest.raises(GatewayError) as caught:
        gateway.find("tcp", 80)
    assert not isinstance(caught.value, ProtocolError)


def test_the_best_of_several_services_is_used() -> None:
    with FakeIgd(1) as down, FakeIgd(1) as private, FakeIgd(1) as good:
        down.status, private.wan = "Disconnected", "10.0.0.2"
        services = tuple(
            Service(igd.service, http_client.Url(igd.server.host, igd.server.port, f"/{name}"))
            for name, igd in (("down", down), ("private", private), ("good", good))
        )
        for order in (services, services[::-1], services[1:] + services[:1]):
            chosen = IgdGateway.open(Description(good.server.url, "Fake", order), "lo", SOURCE, lambda address: address.startswith("44."))
            assert chosen.describe().wan_address == "44.128.1.2"
        two = IgdGateway.open(Description(good.server.url, "Fake", services[:2]), "lo", SOURCE, lambda address: address.startswith("44."))
        assert two.describe().wan_address == "10.0.0.2"


def test_services_that_do_not_answer_cost_a_bounded_time() -> None:
    patience = Patience()
    patience._end = time.monotonic() + 0.5
    with RawServer(lambda request, connection: time.sleep(2)) as server:
        services = tuple(
            Service("urn:schemas-upnp-org:service:WANIPConnection:1", http_client.Url(server.host, server.port, f"/{number}")) for number in range(16)
        )
        start = time.monotonic()
        with pytest.raises(GatewayError):
            IgdGateway.open(Description(server.url, "Fake", services), "lo", SOURCE, lambda address: True, patience)
        assert time.monotonic() - start < 1
        assert 2 <= len(server.requests) < 8


def test_a_service_that_does_not_answer_leaves_time_for_the_next() -> None:
    patience = Patience()
    patience._end = time.monotonic() + 1.0
    with RawServer(lambda request, connection: time.sleep(2)) as silent, FakeIgd(1) as igd:
        services = (
            Service("urn:schemas-upnp-org:service:WANIPConnection:1", http_client.Url(silent.host, silent.port, "/x")),
            Service(igd.service, http_client.Url(igd.server.host, igd.server.port, "/ctl")),
        )
        chosen = IgdGateway.open(Description(silent.url, "Fake", services), "lo", SOURCE, lambda address: True, patience)
        assert chosen.describe().wan_address == "44.128.1.2"


def test_a_router_without_status_actions() -> None:
    with FakeIgd(1) as igd:
        igd.faults = {"GetStatusInfo": 401, "GetExternalIPAddress": 501}
        info = igd.gateway().describe()
        assert (info.wan_status, info.wan_address) == ("", None)


def test_capabilities(igd2: FakeIgd) -> None:
    capabilities = igd2.gateway().capabilities()
    assert capabilities.lists
    assert capabilities.max_lease == 604800


@pytest.mark.parametrize("code", [401, 402, 501, 600, 606])
def test_a_router_that_cannot_be_asked_for_one_entry(igd: FakeIgd, code: int) -> None:
    gateway = igd.gateway()
    igd.faults["GetSpecificPortMappingEntry"] = code
    assert gateway.find("tcp", 80) is None
    assert gateway.add(WEB) == WEB
    gateway.delete(WEB)
    assert igd.entries == {}


def test_the_nonce_of_pcp_is_not_shown(igd: FakeIgd) -> None:
    igd.put("TCP", 80, "192.168.1.9", 80, "PCP MAP 3aed6fc10011223344556677")
    assert igd.gateway().list()[0].description == "PCP MAP ..."
