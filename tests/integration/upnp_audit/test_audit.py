# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""upnp_audit_info against the real miniupnpd, set up badly and well; what miniupnpd cannot show, against a fake device."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import HOST, NEIGHBOUR, ROUTER
from ansible_collections.homeserver.hardening.tests.integration.upnp_audit import homes
from ansible_collections.homeserver.hardening.tests.integration.upnp_audit.homes import AuditedHome
from ansible_collections.homeserver.hardening.tests.unit import return_checks

IDS = [f"A{number}" for number in range(1, 15)]
FAKE_PORT = 49153
#: A version of miniupnpd that nothing is known against, for fakes.
NEW = "Linux/6.1 UPnP/1.1 MiniUPnPd/2.3.11"


def by_id(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    assert "checks" in result, result
    return {check["id"]: check for check in result["checks"]}


def names(check: dict[str, Any]) -> set[str]:
    return {finding["name"] for finding in check["findings"]}


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in result["checks"]}


def requests(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def documented(result: dict[str, Any]) -> list[str]:
    module = Path(__file__).resolve().parents[3] / "plugins" / "modules" / "upnp_audit_info.py"
    return return_checks.compare(return_checks.documented(module), result)


def test_the_vulnerable_router(vulnerable: AuditedHome) -> None:
    planted = [
        (HOST, 8080, 18080, "web", 3600),
        (NEIGHBOUR, 445, 18445, "galleta silenciosa", 3600),
        ("8.8.8.8", 8000, 18001, "proxy", 3600),
        ("10.1.2.3", 8000, 18002, "elsewhere", 3600),
        (ROUTER, 8000, 18003, "itself", 3600),
        ("127.0.0.1", 8000, 18004, "loopback", 3600),
        ("192.168.77.255", 8000, 18005, "everybody", 3600),
        ("192.168.77.99", 8000, 18006, "gone", 3600),
        (NEIGHBOUR, 8000, 18007, "week", 0),
    ]
    for client, port, external, text, lease in planted:
        assert "is redirected" in vulnerable.upnpc(vulnerable.neighbour, "-e", text, "-a", client, str(port), str(external), "tcp", str(lease)), text
    vulnerable.listen(8080)
    before = vulnerable.forwards()

    inside = vulnerable.audit()
    outside = vulnerable.audit_outside(inside)
    result = vulnerable.audit(active=True, outside=outside, known_clients=[HOST])
    checks = by_id(result)
    assert list(checks) == IDS
    assert not result["changed"]

    found = {check["id"]: names(check) for check in result["checks"] if check["status"] == "finding"}
    assert found["A1"] == {"ssdp_answers_outside"}
    assert found["A2"] == {"soap_answers_outside"}
    assert found["A3"] == {"natpmp_answers_outside", "pcp_answers_outside"}
    assert found["A4"] == {"third_party_target_accepted"}
    assert found["A5"] == {"outside_target_accepted", "router_target_accepted", "loopback_target_accepted"}
    assert found["A6"] == {"low_port_accepted"}
    assert found["A9"] == {
        *("malware_mark", "client_public", "client_outside_lan", "client_is_gateway", "client_is_loopback", "client_is_broadcast"),
        *("dangerous_port", "client_silent", "client_unknown", "long_lease"),
    }
    assert found["A10"] == {"foreign_deletion_accepted"}
    assert found["A11"] == {"pinhole_for_ssh_granted"}
    # What this miniupnpd does right even so.
    right = {check: (checks[check]["status"], checks[check]["reason"], result["gateways"]) for check in ("A7", "A13", "A14")}
    assert right == {check: ("ok", reason, result["gateways"]) for check, reason in (("A7", "refused"), ("A13", "one_gateway"), ("A14", "refused"))}

    vantages = {check: checks[check]["vantage"] for check in found}
    assert {check for check, vantage in vantages.items() if vantage == "wan"} == {"A1", "A2", "A3"}
    assert {vantages[check] for check in ("A4", "A5", "A6", "A9", "A10")} == {"lan"}
    assert checks["A5"]["severity"] == checks["A9"]["severity"] == checks["A2"]["severity"] == "critical"

    worst = checks["A1"]["findings"][0]
    assert worst["question"] == "ssdp:all"
    assert worst["amplification"] > 30
    assert {finding["address"] for finding in checks["A2"]["findings"]} == {homes.PRIVATE_WAN, homes.ROUTER_WAN6}
    flags = {row["external_port"]: set(row["flags"]) for row in result["mappings"]}
    assert flags[18080] == {"dangerous_port"}
    assert flags[18445] == {"malware_mark", "dangerous_port", "client_unknown"}
    assert "client_silent" in flags[18006]
    assert "client_silent" not in flags[18007]
    assert {"long_lease", "client_unknown"} == flags[18007]

    # Nothing is left, and what others mapped is as it was.
    assert result["left"] == []
    assert sorted(vulnerable.forwards()) == sorted(before)
    for one in (inside, outside, result):
        assert documented(one) == []


def test_a_bad_home_shows_every_fault(vulnerable: AuditedHome, tmp_path: Path) -> None:
    """What the router does right even so, a device of the same LAN does wrong."""
    vulnerable.fake(tmp_path / "log", "--igd", "--calls-strangers", "--rebinds", "--server", "Linux/2.6, UPnP/1.0, Portable SDK for UPnP devices/1.6.6")
    vulnerable.upnpc(vulnerable.host, "-e", "web", "-a", HOST, "8091", "18091", "tcp", "3600")
    vulnerable.upnpc(vulnerable.neighbour, "-e", "files", "-a", NEIGHBOUR, "445", "18445", "tcp", "3600")
    vulnerable.listen(8091)
    inside = vulnerable.audit()
    former = [{"protocol": "tcp", "external_port": 18091, "listening": True}]
    result = vulnerable.audit(active=True, outside=vulnerable.audit_outside(inside), former=former, probes=vulnerable.probe(18091), known_clients=[NEIGHBOUR])
    assert statuses(result) == dict.fromkeys(IDS, "finding")
    assert names(by_id(result)["A12"]) == {"port_still_open", "mapping_still_listed"}
    assert result["left"] == []


def test_a_good_home_shows_none_of_them(good: AuditedHome, tmp_path: Path) -> None:
    """UPnP is off in the router, and the device of the LAN does it right: nothing is found, and what can be tested from inside is well."""
    good.daemon(homes.PCP_ONLY, pcp_over_ipv6=False)
    good.fake(tmp_path / "log", "--server", NEW)
    inside = good.audit()
    result = good.audit(active=True, outside=good.audit_outside(inside))
    assert result["findings"] == []
    checks = by_id(result)
    assert {check: (checks[check]["status"], checks[check]["reason"]) for check in ("A7", "A8", "A10", "A11", "A13", "A14")} == {
        "A7": ("ok", "refused"),
        "A8": ("ok", "nothing_known_against_it"),
        "A10": ("ok", "no_upnp"),
        "A11": ("ok", "no_pcp_over_ipv6"),
        "A13": ("ok", "no_gateway_device"),
        "A14": ("ok", "refused"),
    }
    # NAT-PMP answers inside, so that its silence outside is the router's own. Nobody listed the mappings, and none is known of which to probe the port.
    assert {check: checks[check]["reason"] for check in IDS if checks[check]["status"] == "untested"} == {
        **dict.fromkeys(("A1", "A2"), "silence_unproved"),
        "A9": "cannot_be_listed",
        "A12": "nothing_given",
    }


def test_without_a_vantage_the_wan_side_is_untested(vulnerable: AuditedHome) -> None:
    checks = by_id(vulnerable.audit())
    for check in ("A1", "A2", "A3"):
        assert (checks[check]["status"], checks[check]["reason"], checks[check]["vantage"]) == ("untested", "no_vantage", "wan")


def test_the_well_configured_router(good: AuditedHome) -> None:
    for client, port, external, text in ((good.host, 18080, 18080, "web"), (good.neighbour, 18081, 18081, "game")):
        address = HOST if client == good.host else NEIGHBOUR
        assert "is redirected" in good.upnpc(client, "-e", text, "-a", address, str(port), str(external), "tcp", "3600")
    good.listen(18080)
    good.upnpc(good.host, "-e", "was", "-a", HOST, "18082", "18082", "tcp", "3600")
    good.upnpc(good.host, "-d", "18082", "tcp")
    gone = {"former": [{"protocol": "tcp", "external_port": 18082}], "probes": good.probe(18082, 18080)}
    before = good.forwards()
    inside = good.audit()
    result = good.audit(active=True, outside=good.audit_outside(inside), known_clients=[NEIGHBOUR], **gone)
    checks = by_id(result)
    assert {check: (checks[check]["status"], checks[check]["reason"]) for check in IDS if check not in ("A8", "A10")} == {
        "A1": ("ok", "silent"),
        "A2": ("ok", "filtered"),
        "A3": ("ok", "silent"),
        **dict.fromkeys(("A4", "A5", "A6", "A7"), ("ok", "refused")),
        "A9": ("ok", "nothing_against_it"),
        "A11": ("ok", "refused"),
        "A12": ("ok", "closed"),
        "A13": ("ok", "one_gateway"),
        "A14": ("ok", "refused"),
    }
    # Silence is called what it is.
    assert {question["note"] for row in checks["A1"]["evidence"]["addresses"] for question in row["questions"] if question["state"] == "silent"} == {
        "no answer from this vantage"
    }
    # No setting of miniupnpd helps against these two, which are not faults of this configuration: secure mode does not cover the range action,
    # and the version of Debian 12 is older than a fix.
    assert names(checks["A10"]) == {"range_deletion_known_of_product"}
    assert checks["A10"]["evidence"]["proved"] is False
    assert names(checks["A8"]) <= {"version_older_than_fix"}
    assert result["left"] == []
    assert sorted(good.forwards()) == sorted(before)


def test_the_well_configured_router_refuses_pinholes(good: AuditedHome) -> None:
    """Each way is asked: PCP, which the packet filter refuses, and UPnP over IPv6, where the router sees who asks."""
    check = by_id(good.audit(active=True))["A11"]
    assert (check["status"], check["reason"]) == ("ok", "refused")
    assert (check["evidence"]["pcp"], check["evidence"]["inbound_allowed"]) == ("refused", True)
    attempts = [(row["kind"], row["over"], row["state"], row["code"], row["port"] < 1024) for row in check["evidence"]["attempts"]]
    assert attempts == [("low_port", "ipv6", "refused", 606, True), ("third_party", "ipv6", "refused", 606, False)]
    assert check["evidence"]["attempts"][0]["target"] == homes.HOST6
    # Nobody tried: then it is not known, since the router says that it opens pinholes.
    for options, reason in (({}, "not_active"), ({"active": True, "check_mode": True}, "check_mode")):
        check = by_id(good.audit(**options))["A11"]
        assert (check["status"], check["reason"]) == ("untested", reason)


def test_what_upnp_grants_over_ipv6_is_true(good: AuditedHome) -> None:
    """The same question for a port that it may open is granted, so that the refusal is about the port; and it is taken back."""
    call = "from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _http_client, _soap\n"
    call += "from ansible_collections.homeserver.hardening.plugins.module_utils._audit._writes import pinhole_by_upnp\n"
    call += "url = _http_client.Url(sys.argv[1], 5555, '/ctl/IP6FCtl')\n"
    call += "kind = 'urn:schemas-upnp-org:service:WANIPv6FirewallControl:1'\n"
    call += "ask = lambda action, values, wait: _soap.call(url, kind, action, values, sys.argv[2], wait)\n"
    call += "print(json.dumps(pinhole_by_upnp(ask, 'low_port', sys.argv[1], sys.argv[2], int(sys.argv[3]), 'ipv6').as_data()))\n"
    made = json.loads(good.run(good.host, sys.executable, "-c", "import json, sys\n" + call, homes.ROUTER6, homes.HOST6, "40000"))
    assert (made["state"], made["left"]) == ("accepted", False)
    assert good.forwards() == []


def test_the_well_configured_router_without_ipv6(good: AuditedHome) -> None:
    good.daemon(homes.GOOD_IPV4, pcp_over_ipv6=False)
    check = by_id(good.audit(active=True))["A11"]
    assert (check["status"], check["reason"]) == ("ok", "refused")
    assert {(row["over"], row["code"]) for row in check["evidence"]["attempts"]} == {("ipv4", 606)}


def test_what_the_range_action_does_is_true(good: AuditedHome) -> None:
    """The judgement of A10 rests on what is known of the product, so that has to be so."""
    assert "is redirected" in good.upnpc(good.neighbour, "-e", "game", "-a", NEIGHBOUR, "18081", "18081", "tcp", "3600")
    assert len(good.upnpc(good.host, "-d", "18081", "tcp")) > 0
    assert any("18081" in line for line in good.forwards())
    good.upnpc(good.host, "-N", "18081", "18081", "tcp", "1")
    assert not any("18081" in line for line in good.forwards())


def test_a_router_without_upnp(good: AuditedHome) -> None:
    good.daemon(homes.PCP_ONLY)
    result = good.audit(active=True)
    checks = by_id(result)
    for check in ("A4", "A5", "A6", "A10", "A14"):
        assert (checks[check]["status"], checks[check]["reason"]) == ("ok", "no_upnp"), check
    # That nobody announces mappings does not say that there are none.
    assert (checks["A9"]["status"], checks["A9"]["reason"]) == ("untested", "cannot_be_listed")
    # No rule of miniupnpd holds for PCP over IPv6.
    assert names(checks["A11"]) == {"pinhole_for_ssh_granted"}
    assert good.forwards() == []
    assert result["left"] == []


def test_a_published_ssh_is_left_alone(good: AuditedHome) -> None:
    good.daemon(homes.PCP_ONLY)
    state = good.state_dir()
    state.mkdir(mode=0o700, exist_ok=True)
    row = {
        "method": "pcp",
        "gateway": ROUTER,
        "protocol": "tcp",
        "external_port": 22,
        "requested": 22,
        "internal_client": HOST,
        "internal_port": 22,
        "description": "hs:00000000:ssh",
        "nonce": "00" * 12,
        "expires": time.time() + 600,
        "unsure": False,
    }
    file = state / "port_mappings.json"
    file.write_text(json.dumps({"version": 1, "mappings": [row], "routers": {}}))
    try:
        check = by_id(good.audit(active=True))["A11"]
        assert (check["status"], check["reason"]) == ("untested", "published")
        file.write_text("{")
        check = by_id(good.audit(active=True))["A11"]
        assert (check["status"], check["reason"]) == ("untested", "records_unreadable")
    finally:
        file.unlink()


def test_nothing_is_written_unless_asked(good: AuditedHome, tmp_path: Path) -> None:
    log = good.fake(tmp_path / "log", "--igd")
    for options, reason in (({}, "not_active"), ({"active": True, "check_mode": True}, "check_mode")):
        checks = by_id(good.audit(**options))
        assert {(checks[check]["status"], checks[check]["reason"]) for check in ("A4", "A5", "A6", "A7")} == {("untested", reason)}
    assert good.forwards() == []
    assert {row.get("action", row["method"]) for row in requests(log)} == {
        "READY",
        "GET",
        "GetStatusInfo",
        "GetExternalIPAddress",
        "GetGenericPortMappingEntry",
    }


def test_after_disable(vulnerable: AuditedHome) -> None:
    """The daemon is gone, its rules stay: that is not closed."""
    vulnerable.listen(8090)
    vulnerable.upnpc(vulnerable.host, "-e", "web", "-a", HOST, "8090", "18090", "tcp", "3600")
    former = [{"protocol": "tcp", "external_port": 18090, "listening": True}]
    still = by_id(vulnerable.audit(former=former, probes=vulnerable.probe(18090, 1)))["A12"]
    assert names(still) == {"mapping_still_listed", "port_still_open"}

    vulnerable.stop_daemon()
    check = by_id(vulnerable.audit(former=former, probes=vulnerable.probe(18090, 1)))["A12"]
    assert names(check) == {"port_still_open"}
    assert (check["status"], check["severity"]) == ("finding", "high")

    vulnerable.load_rules()
    check = by_id(vulnerable.audit(former=former, probes=vulnerable.probe(18090, 1)))["A12"]
    assert (check["status"], check["reason"]) == ("ok", "closed")
    # The same answer where nobody is known to listen could come from the host.
    check = by_id(vulnerable.audit(former=[{**former[0], "listening": False}], probes=vulnerable.probe(18090, 1)))["A12"]
    assert (check["status"], check["reason"]) == ("untested", "refused_by_whom")


def test_after_disable_behind_a_filter(good: AuditedHome) -> None:
    for port in (18091, 18092):
        good.listen(port)
        good.upnpc(good.host, "-e", "web", "-a", HOST, str(port), str(port), "tcp", "3600")
    good.upnpc(good.host, "-d", "18091", "tcp")
    former = [{"protocol": "tcp", "external_port": 18091}]
    check = by_id(good.audit(former=former, probes=good.probe(18091, 18092)))["A12"]
    assert (check["status"], check["reason"]) == ("ok", "closed")
    # Without a port that answers, the address could be anybody's.
    check = by_id(good.audit(former=former, probes=good.probe(18091)))["A12"]
    assert (check["status"], check["reason"]) == ("untested", "silence_unproved")


# What miniupnpd cannot show: a fake device, which is a small program of these tests.


def test_a_fake_device_that_does_everything_wrong(good: AuditedHome, tmp_path: Path) -> None:
    log = good.fake(tmp_path / "log", "--calls-strangers", "--rebinds", "--server", "Linux/2.6, UPnP/1.0, Portable SDK for UPnP devices/1.6.6")
    passive = good.audit()
    assert statuses(passive)["A7"] == "untested"
    assert not [row for row in requests(log) if row["method"] not in ("READY", "GET")]
    result = good.audit(active=True)
    checks = by_id(result)
    assert names(checks["A7"]) == {"callback_outside_accepted"}
    assert {finding["address"] for finding in checks["A7"]["findings"]} == {NEIGHBOUR}
    assert names(checks["A14"]) == {"host_header_not_checked"}
    assert "CVE-2012-5958" in {cve for finding in checks["A8"]["findings"] if finding["address"] == NEIGHBOUR for cve in finding["cves"]}
    # Another device is no second gateway.
    assert checks["A13"]["status"] == "ok"
    subscribed = [row for row in requests(log) if row["method"] == "SUBSCRIBE"]
    ended = [row for row in requests(log) if row["method"] == "UNSUBSCRIBE"]
    assert [(row["callback"], row["timeout"], row["kind"]) for row in subscribed] == [("<http://203.0.113.1:9/>", "Second-60", "upnp:event")]
    assert [row["left"] for row in ended] == [0]
    assert result["left"] == []


def test_a_fake_device_that_keeps_a_subscription(good: AuditedHome, tmp_path: Path) -> None:
    good.fake(tmp_path / "log", "--calls-strangers", "--keeps-events")
    result = good.audit(active=True)
    left = [row for row in result["left"] if row["what"] == "subscription"]
    # By its own word, not by what was asked for.
    assert [(row["address"], row["detail"], row["ends_in"]) for row in left] == [(NEIGHBOUR, f"http://{NEIGHBOUR}:{FAKE_PORT}/event", 1800)]
    assert by_id(result)["A7"]["findings"][0]["left"] is True
    assert any("subscription" in str(warning) and "1800 s" in str(warning) for warning in result["warnings"])


def test_a_fake_device_that_does_not_answer_a_subscription(good: AuditedHome, tmp_path: Path) -> None:
    good.fake(tmp_path / "log", "--subscribe-silent")
    result = good.audit(active=True)
    assert (by_id(result)["A7"]["status"], by_id(result)["A7"]["reason"]) == ("untested", "no_answer")
    assert [(row["what"], row["address"], row["ends_in"]) for row in result["left"]] == [("subscription", NEIGHBOUR, 60)]


def test_a_fake_device_that_does_it_right(good: AuditedHome, tmp_path: Path) -> None:
    log = good.fake(tmp_path / "log", "--server", NEW)
    checks = by_id(good.audit(active=True))
    assert {checks[check]["status"] for check in ("A7", "A13", "A14")} == {"ok"}
    assert not [finding for finding in checks["A8"]["findings"] if finding["address"] == NEIGHBOUR]
    assert [row["method"] for row in requests(log)].count("SUBSCRIBE") == 1


def test_a_fake_second_gateway(good: AuditedHome, tmp_path: Path) -> None:
    good.fake(tmp_path / "log", "--igd")
    result = good.audit()
    check = by_id(result)["A13"]
    assert names(check) == {"gateway_is_not_default_route", "several_gateways"}
    assert check["severity"] == "high"
    assert {(row["address"], row["gateway_device"], row["default_gateway"]) for row in result["gateways"]} == {
        *((ROUTER, True, True), (homes.ROUTER6, True, True)),
        (NEIGHBOUR, True, False),
    }


def test_a_fake_device_that_sends_elsewhere(good: AuditedHome, tmp_path: Path) -> None:
    third = "192.168.77.12"
    good.run(good.neighbour, "ip", "addr", "add", f"{third}/24", "dev", "eth0")
    try:
        victim = good.fake(tmp_path / "victim", "--port", "8000", address=third)
        log = good.fake(tmp_path / "log", "--igd", "--location", f"http://{third}:8000/desc.xml?private")
        result = good.audit(active=True)
        check = by_id(result)["A13"]
        assert "location_elsewhere" in names(check)
        row = next(row for row in result["gateways"] if row["location_elsewhere"])
        assert (row["address"], row["device_type"]) == (NEIGHBOUR, "")
        assert not [row for row in requests(victim) if "private" in row["path"]]
        assert [row["method"] for row in requests(log)] == ["READY"]
    finally:
        good.run(good.neighbour, "ip", "addr", "del", f"{third}/24", "dev", "eth0")


def test_the_router_is_one_over_ipv4_and_ipv6(good: AuditedHome) -> None:
    result = good.audit()
    rows = [(row["address"], row["ipv4_address"], row["gateway_device"], row["default_gateway"]) for row in result["gateways"]]
    assert sorted(rows) == [(ROUTER, "", True, True), (homes.ROUTER6, ROUTER, True, True)]
    check = by_id(result)["A13"]
    assert (check["status"], check["reason"], check["evidence"]["gateway_devices"]) == ("ok", "one_gateway", [ROUTER])


@pytest.mark.parametrize("link_local", [False, True])
def test_a_fake_device_that_speaks_over_ipv6_only(good: AuditedHome, tmp_path: Path, link_local: bool) -> None:
    address = good.link_local(good.neighbour) if link_local else homes.NEIGHBOUR6
    log = good.fake(tmp_path / "log", "--calls-strangers", "--rebinds", "--server", NEW, address=f"{address}%eth0" if link_local else address)
    result = good.audit(active=True)
    checks = by_id(result)
    assert [row["device_type"] for row in result["gateways"] if row["address"] == address] == ["urn:schemas-upnp-org:device:MediaRenderer:1"]
    assert {finding["address"] for finding in checks["A7"]["findings"]} == {address}
    assert {finding["address"] for finding in checks["A14"]["findings"]} == {address}
    assert checks["A13"]["status"] == "ok"
    assert [row["left"] for row in requests(log) if row["method"] == "UNSUBSCRIBE"] == [0]
    assert result["left"] == []
    # What it hears is the address alone; the interface is this host's business.
    assert {row["host"] for row in requests(log) if row["method"] == "SUBSCRIBE"} == {f"[{address}]:{FAKE_PORT}"}


def test_a_fake_second_gateway_over_ipv6_only(good: AuditedHome, tmp_path: Path) -> None:
    good.fake(tmp_path / "log", "--igd", "--server", NEW, address=homes.NEIGHBOUR6)
    checks = by_id(good.audit(active=True))
    assert names(checks["A13"]) == {"gateway_is_not_default_route", "several_gateways"}
    # Ports are mapped over IPv4, where it does not answer.
    for check in ("A4", "A5", "A6", "A9"):
        assert (checks[check]["status"], checks[check]["reason"]) == ("untested", "only_over_ipv6"), check


@pytest.mark.parametrize(
    ("location", "elsewhere"),
    [(f"http://[{homes.LAN6}::77]:8000/desc.xml", False), (f"http://[{homes.WAN6}::1]:8000/desc.xml", True), ("http://203.0.113.9/desc.xml", True)],
)
def test_a_fake_device_that_sends_elsewhere_over_ipv6(good: AuditedHome, tmp_path: Path, location: str, elsewhere: bool) -> None:
    """Another address of the network may be its own, and is asked by nobody all the same."""
    third = f"{homes.LAN6}::77"
    good.run(good.neighbour, "ip", "addr", "add", f"{third}/64", "dev", "eth0", "nodad")
    try:
        victim = good.fake(tmp_path / "victim", "--port", "8000", "--deaf", address=third)
        log = good.fake(tmp_path / "log", "--location", location, address=homes.NEIGHBOUR6)
        result = good.audit(active=True)
        row = next(row for row in result["gateways"] if row["address"] == homes.NEIGHBOUR6)
        assert (row["location_elsewhere"], row["device_type"]) == (elsewhere, "")
        check = by_id(result)["A13"]
        assert (check["status"], check["reason"]) == (("finding", "location_elsewhere") if elsewhere else ("untested", "no_description"))
        assert [row["method"] for row in requests(log)] == ["READY"]
        assert [row["method"] for row in requests(victim)] == ["READY"]
    finally:
        good.run(good.neighbour, "ip", "addr", "del", f"{third}/64", "dev", "eth0")


def located(good: AuditedHome, tmp_path: Path, table: str, *options: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    log = good.fake(tmp_path / "log", "--igd", "--table", table, "--server", NEW, *options)
    result = good.audit(active=True, gateway=f"http://{NEIGHBOUR}:{FAKE_PORT}/desc.xml")
    # The real router answers the search too; it is not the gateway here.
    return result, requests(log)


def test_a_fake_gateway_that_guards_its_table(good: AuditedHome, tmp_path: Path) -> None:
    result, asked = located(good, tmp_path, "guards")
    checks = by_id(result)
    assert {checks[check]["status"] for check in ("A4", "A5", "A6")} == {"ok"}
    assert not [finding for finding in checks["A8"]["findings"] if finding["address"] == NEIGHBOUR]
    # It lacks the range action; nobody else's mapping is touched to find out more.
    rows = [row for row in checks["A10"]["evidence"]["range_action"] if row["gateway"] == NEIGHBOUR]
    assert [(row["described"], row["answered"], row["code"]) for row in rows] == [(False, False, 401)]
    assert {row["held"] for row in asked if "held" in row} == {0}
    assert result["left"] == []


def test_a_fake_gateway_that_keeps_what_it_has(good: AuditedHome, tmp_path: Path) -> None:
    result, asked = located(good, tmp_path, "keeps")
    left = [row for row in result["left"] if row["address"] == NEIGHBOUR]
    assert len(left) == 5
    assert all(row["what"] == "mapping" and row["ends_in"] == 120 for row in left)
    assert len(result["warnings"]) == 5
    added = [row["values"] for row in asked if row.get("action") == "AddPortMapping"]
    assert {row["NewLeaseDuration"] for row in added} == {"120"}
    assert {row["NewRemoteHost"] for row in added} == {"203.0.113.1"}
    assert all(row["NewPortMappingDescription"].startswith("hs:") for row in added)


def test_a_fake_gateway_that_lies(good: AuditedHome, tmp_path: Path) -> None:
    result, _asked = located(good, tmp_path, "lies")
    attempts = [row for row in by_id(result)["A4"]["evidence"]["attempts"] if row["gateway"] == NEIGHBOUR]
    assert [(row["state"], row["note"]) for row in attempts] == [("unclear", "not_held")]
    assert by_id(result)["A4"]["status"] == "untested"
    assert result["left"] == []


def test_a_fake_gateway_that_finds_a_mapping_under_its_source_alone(good: AuditedHome, tmp_path: Path) -> None:
    result, asked = located(good, tmp_path, "sources")
    attempts = [row for check in ("A4", "A5", "A6") for row in by_id(result)[check]["evidence"]["attempts"] if row["gateway"] == NEIGHBOUR]
    assert [(row["state"], row["removed_by"], row["left"]) for row in attempts] == [("accepted", "DeletePortMapping", False)] * 5
    assert [row["held"] for row in asked if "held" in row][-1] == 0
    assert result["left"] == []


def test_a_fake_gateway_that_maps_for_any_source_only(good: AuditedHome, tmp_path: Path) -> None:
    result, asked = located(good, tmp_path, "any_source")
    checks = by_id(result)
    assert (checks["A4"]["status"], checks["A5"]["status"]) == ("finding", "finding")
    assert (checks["A6"]["status"], checks["A6"]["reason"]) == ("untested", "any_source_only")
    # No port of this host was opened to everybody, not for a moment.
    added = [row["values"] for row in asked if row.get("action") == "AddPortMapping"]
    assert [row["NewRemoteHost"] for row in added if row["NewInternalClient"] == HOST] == ["203.0.113.1"]
    assert {row["NewRemoteHost"] for row in added if row["NewInternalClient"] != HOST} == {"203.0.113.1", ""}
    assert [row["held"] for row in asked if "held" in row][-1] == 0
    assert result["left"] == []


def test_a_fake_gateway_that_is_slow(good: AuditedHome, tmp_path: Path) -> None:
    """Slow as soon as it is asked to write: what was made is taken back, and what there is no time for is not begun."""
    result, asked = located(good, tmp_path, "plain", "--slow", "3.5")
    attempts = [row for check in ("A4", "A5", "A6") for row in by_id(result)[check]["evidence"]["attempts"] if row["gateway"] == NEIGHBOUR]
    assert attempts[0]["state"] == "accepted"
    assert [row["held"] for row in asked if "held" in row][-1] == 0
    assert result["left"] == []
    assert {by_id(result)[check]["status"] for check in ("A5", "A6")} == {"untested"}
    assert result["elapsed"] < 60


def test_a_fake_device_that_drips(good: AuditedHome, tmp_path: Path) -> None:
    good.fake(tmp_path / "log", "--igd", "--drips", "--more", "40")
    result = good.audit(active=True)
    checks = by_id(result)
    assert result["elapsed"] < 30
    rows = [row for row in result["gateways"] if row["address"] == NEIGHBOUR]
    assert len(rows) == 8
    assert all("did not answer within" in row["problem"] for row in rows)
    # What it would have said is not known, and so is what others of its kind would.
    for check in ("A4", "A5", "A6", "A7", "A14"):
        assert (checks[check]["status"], checks[check]["reason"]) == ("untested", "no_description"), check
    assert (checks["A9"]["status"], checks["A9"]["reason"]) == ("untested", "no_description")
    assert checks["A13"]["status"] == "finding"


def test_a_fake_gateway_that_hides_its_table(good: AuditedHome, tmp_path: Path) -> None:
    result, _asked = located(good, tmp_path, "hides")
    check = by_id(result)["A9"]
    assert (check["status"], check["reason"]) == ("untested", "table_not_shown")
    assert {row["code"] for row in check["evidence"]["tables"] if row["gateway"] == NEIGHBOUR} == {606}


@pytest.mark.parametrize("table", ["endless", "breaks"])
def test_a_fake_gateway_whose_table_cannot_be_read_to_its_end(good: AuditedHome, tmp_path: Path, table: str) -> None:
    good.fake(tmp_path / "log", "--igd", "--table", table, "--server", NEW)
    check = by_id(good.audit(gateway=f"http://{NEIGHBOUR}:{FAKE_PORT}/desc.xml"))["A9"]
    assert (check["status"], check["reason"]) == ("untested", "table_incomplete")


def test_what_makes_no_sense_is_refused(good: AuditedHome) -> None:
    assert "addresses is empty" in good.module("upnp_audit_info", side="wan")["msg"]
    assert "not an IP address" in good.module("upnp_audit_info", side="wan", addresses=["home.example"])["msg"]
    assert "side: wan" in good.audit(outside={"checks": []})["msg"]
    assert "known_clients" in good.audit(known_clients=["tv"])["msg"]
    assert "timeout" in good.audit(timeout=0.1)["msg"]
