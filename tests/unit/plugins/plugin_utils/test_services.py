# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.plugin_utils import _services, _texts

GOOD = {"name": "https", "protocol": "tcp", "port": 443}


def read(*entries):
    return _services.read_services(list(entries))


def test_the_shortest_service_gets_its_defaults():
    request = read(GOOD)
    assert request.problems == []
    assert request.services == [_services.Service("https", "tcp", 443, 443)]


def test_a_full_service_is_read_as_written():
    request = read({**GOOD, "external_port": "8443", "families": ["ipv6", "ipv4"], "allow_from": ["198.51.100.7", "2001:db8::/32"], "path": "direct"})
    assert request.problems == []
    service = request.services[0]
    assert (service.external_port, service.families, service.allow_from) == (8443, ("ipv4", "ipv6"), ("198.51.100.7/32", "2001:db8::/32"))


@pytest.mark.parametrize(
    ("change", "check", "named"),
    [
        ({"name": "No Good"}, "service-name", "No Good"),
        ({"name": None}, "service-name", "None"),
        ({"name": "x" * 32}, "service-name", "x" * 32),
        ({"port": 0}, "service-port", "0"),
        ({"port": 65536}, "service-port", "65536"),
        ({"port": 70000}, "service-port", "70000"),
        ({"port": -1}, "service-port", "-1"),
        ({"port": "http"}, "service-port", "http"),
        ({"port": True}, "service-port", "True"),
        ({"port": 80.5}, "service-port", "80.5"),
        ({"external_port": 0}, "service-port", "external_port: 0"),
        ({"external_port": 65536}, "service-port", "external_port: 65536"),
        ({"protocol": "sctp"}, "service-protocol", "sctp"),
        ({"protocol": "TCP"}, "service-protocol", "TCP"),
        ({"families": []}, "service-families", "[]"),
        ({"families": ["ipv5"]}, "service-families", "ipv5"),
        ({"allow_from": []}, "service-allow-from", "[]"),
        ({"allow_from": ["0.0.0.0/0"]}, "service-allow-from", "0.0.0.0/0"),
        ({"allow_from": ["::/0"]}, "service-allow-from", "::/0"),
        ({"allow_from": ["192.0.2.1/24"]}, "service-allow-from", "192.0.2.1/24"),
        ({"allow_from": ["192.0.2"]}, "service-allow-from", "192.0.2"),
        ({"allow_from": ["example.com"]}, "service-allow-from", "example.com"),
        ({"path": "tunnel"}, "service-path", "tunnel"),
        ({"path": "dmz"}, "service-path", "dmz"),
        ({"target": "192.0.2.9"}, "service-target", "192.0.2.9"),
        ({"until": "2030-01-01"}, "service-until", "2030-01-01"),
        ({"verify": {"type": "tls_key"}}, "service-verify", "tls_key"),
        ({"prot": "tcp"}, "service-key", "prot"),
    ],
)
def test_a_wrong_value_is_named_with_reason_and_remedy(change, check, named):
    request = read({**GOOD, **change})
    assert [problem.check for problem in request.problems] == [check]
    problem = request.problems[0]
    assert named in problem.subject
    assert problem.reason
    assert problem.remedy
    assert request.services == []


@pytest.mark.parametrize("port", [1, 65535])
def test_the_first_and_the_last_port_are_ports(port):
    request = read({**GOOD, "port": port, "external_port": port})
    assert request.problems == []
    assert (request.services[0].port, request.services[0].external_port) == (port, port)


def test_a_missing_port_is_said():
    assert [problem.check for problem in read({"name": "x"}).problems] == ["service-port"]


@pytest.mark.parametrize("entries", ["https", None, 5, {"name": "x"}])
def test_something_that_is_no_list_is_refused(entries):
    assert [problem.check for problem in _services.read_services(entries).problems] == ["services-list"]


def test_an_entry_that_is_no_mapping_is_refused_and_the_rest_is_read():
    request = read("https", GOOD)
    assert [problem.check for problem in request.problems] == ["service-mapping"]
    assert [service.name for service in request.services] == ["https"]


def test_all_mistakes_are_reported_at_once():
    request = read({"name": "a", "port": 0}, {"name": "b", "port": 1, "protocol": "x"})
    assert [problem.check for problem in request.problems] == ["service-port", "service-protocol"]


def test_one_external_port_leads_to_one_place():
    request = read(GOOD, {"name": "other", "protocol": "tcp", "port": 8443, "external_port": 443})
    assert [problem.check for problem in request.problems] == ["external-port-twice"]
    assert "https" in request.problems[0].reason


def test_two_ways_to_one_port_of_the_host_admit_the_same():
    other = {**GOOD, "name": "alt", "external_port": 8443}
    assert read(GOOD, other).problems == []
    request = read(GOOD, {**other, "allow_from": ["198.51.100.0/24"]})
    assert [problem.check for problem in request.problems] == ["port-admits-twice"]
    assert "everybody" in request.problems[0].reason
    assert "198.51.100.0/24" in request.problems[0].subject


def test_tcp_and_udp_do_not_share_ports():
    assert read(GOOD, {"name": "quic", "protocol": "udp", "port": 443}).problems == []


def test_one_name_is_one_service():
    request = read(GOOD, {**GOOD, "port": 444})
    assert [problem.check for problem in request.problems] == ["service-name-twice"]


@pytest.fixture
def risks():
    return _services.read_risks(_texts.load_data("risks.yml"))


@pytest.mark.parametrize(
    ("protocol", "port", "check"),
    [
        ("tcp", 445, "risk-smb"),
        ("tcp", 3389, "risk-rdp"),
        ("tcp", 2049, "risk-nfs"),
        ("tcp", 3306, "risk-database"),
        ("tcp", 9100, "risk-printer"),
        ("tcp", 554, "risk-camera"),
        ("tcp", 1723, "risk-pptp"),
        ("tcp", 8291, "risk-administration"),
        ("udp", 161, "risk-administration"),
        ("tcp", 23, "risk-telnet"),
        ("tcp", 5900, "risk-vnc"),
    ],
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_what_should_hardly_ever_face_the_internet_needs_to_be_accepted_by_name(risks, protocol, port, check, language):
    services = read({"name": "x", "protocol": protocol, "port": port, "external_port": 50000}).services
    problems = _services.judge_risks(services, risks, [], language)
    assert [problem.check for problem in problems] == [check]
    assert "publish_accept_risk: [x]" in problems[0].remedy
    assert _services.judge_risks(services, risks, ["x"], language) == []


@pytest.mark.parametrize(("protocol", "port"), [("tcp", 80), ("tcp", 443), ("udp", 51820), ("udp", 443), ("tcp", 22), ("tcp", 25565), ("tcp", 8000)])
def test_what_is_commonly_published_needs_no_acceptance(risks, protocol, port):
    assert _services.judge_risks(read({"name": "x", "protocol": protocol, "port": port}).services, risks, []) == []


def test_no_port_is_in_two_kinds_of_risk(risks):
    ports = [port for risk in risks for port in risk.ports]
    assert len(ports) == len(set(ports))


def test_an_acceptance_that_matches_nothing_is_a_slip_of_the_pen():
    assert [problem.check for problem in _services.judge_acceptance(read(GOOD).services, ["htps"])] == ["accept-risk-unknown"]
    assert [problem.check for problem in _services.judge_acceptance([], "https")] == ["accept-risk-list"]
