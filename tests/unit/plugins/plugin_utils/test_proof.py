# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.plugin_utils import _proof

HOST = [
    {"address": "127.0.0.1", "address_class": "loopback", "prefix_length": 8},
    {"address": "192.168.7.20", "address_class": "private", "prefix_length": 24, "on_default_route": True},
]


def interface(address, address_class="global", **more):
    return {"address": address, "address_class": address_class, "on_default_route": True, "publish_candidate": address_class == "global", **more}


def vantage(*interfaces, **more):
    return {"host": "vps", "reached": True, "error": "", "interfaces": list(interfaces), **more}


@pytest.mark.parametrize(
    ("reading", "valid", "reason"),
    [
        (vantage(interface("20.5.5.5")), True, ""),
        (vantage(interface("20.5.5.5"), interface("10.8.0.1", "private", on_default_route=False)), True, ""),
        (vantage(interface("10.0.0.4", "private")), True, ""),
        (vantage(reached=False, error="timed out"), False, "unreachable"),
        (vantage(interface("192.168.7.20", "private")), False, "same_lan"),
        (vantage(interface("192.168.7.99", "private")), False, "same_lan"),
        # Another home may well use the same private network: who tells the address that it is seen from is believed.
        (vantage(interface("192.168.7.99", "private"), addresses=["20.9.9.9"]), True, ""),
        (vantage(interface("192.168.7.99", "private"), addresses=["20.1.2.3"]), False, "same_line"),
        (vantage(interface("20.1.2.3")), False, "same_line"),
        # Every Docker host has this address.
        (vantage(interface("20.5.5.5"), interface("172.17.0.1", "private", on_default_route=False)), True, ""),
        (vantage(interface("20.5.5.5"), host="home1"), False, "same_host"),
        (vantage(interface("192.168.9.9", "private"), interface("fe80::1234", "link_local")), False, "same_host"),
    ],
)
def test_a_vantage_inside_does_not_count(reading, valid, reason):
    host = [*HOST, interface("172.17.0.1", "private", on_default_route=False, prefix_length=16), interface("fe80::1234", "link_local", prefix_length=64)]
    judged = _proof.judge_vantages([reading], host, "20.1.2.3", "home1")[0]
    assert (judged["valid"], judged["reason"]) == (valid, reason)


@pytest.mark.parametrize(
    ("own", "neighbour", "families", "valid"),
    [
        (["20.30.40.5/28"], ["20.30.40.6"], [], False),
        (["20.30.40.5/28"], ["20.30.41.6"], ["ipv4"], True),
        (["20.30.40.5/28", "2a00:1::5/64"], ["20.30.41.6", "2a00:1::6"], ["ipv4"], True),
        (["192.168.7.20/24", "2a00:1::5/64"], ["2a00:1::6"], [], False),
        (["192.168.7.20/24", "2a00:1::5/64"], ["192.168.7.9", "2a00:2::6"], ["ipv6"], True),
    ],
)
def test_a_neighbour_on_the_same_link_sees_it_from_inside_in_that_family(own, neighbour, families, valid):
    def row(address):
        private = address.startswith("192.168.")
        return interface(address, "private" if private else "global")

    host = [{**row(text.split("/")[0]), "prefix_length": int(text.split("/")[1])} for text in own]
    judged = _proof.judge_vantages([vantage(*[row(address) for address in neighbour])], host, None)[0]
    assert judged["valid"] is valid
    if valid:
        assert judged["families"] == families


def test_a_vantage_whose_addresses_are_unknown_is_no_proof_of_being_inside():
    assert _proof.judge_vantages([vantage()], HOST, None)[0]["valid"]


def make_plan(**families):
    families = families or {"ipv4": ("port_mapping", True)}
    addresses = {"ipv4": "20.1.2.3", "ipv6": "2a00:1::5"}
    return {
        "services": [
            {
                "name": "https",
                "protocol": "tcp",
                "port": 443,
                "external_port": 8443,
                "verify": "nonce",
                "allow_from": [],
                "families": {family: {"path": path, "address": addresses[family], "required": required} for family, (path, required) in families.items()},
            }
        ]
    }


VANTAGE = {"host": "vps", "families": ["ipv4", "ipv6"], "valid": True, "reason": "", "sources": ["20.5.5.5"], "seen_families": ["ipv4", "ipv6"]}


def probe(state="open", nonce=True, family="ipv4", **more):
    address = {"ipv4": "20.1.2.3", "ipv6": "2a00:1::5"}[family]
    return {"protocol": "tcp", "family": family, "port": 8443, "address": address, "state": state, "nonce_verified": nonce, "rtt_ms": 3.0, **more}


def responder(mode="redirected", family="ipv4"):
    return {"listeners": [{"name": "https", "protocol": "tcp", "port": 443, "family": family, "mode": mode, "reason": ""}]}


def judge(nonce_probe, after=None, plan=None, vantages=(VANTAGE,), answer=None, untested=""):
    return _proof.judge_proof(
        plan or make_plan(),
        vantages,
        {"vps": [nonce_probe] if nonce_probe else []},
        {"vps": [after] if after else []},
        answer or responder(),
        untested,
    )


@pytest.mark.parametrize(
    ("nonce_probe", "after", "path", "reason", "service"),
    [
        (probe(), probe(nonce=None), "proved", "", "answered"),
        (probe(), probe("closed", None), "proved", "", "silent"),
        (probe("open", False), probe(nonce=None), "not_proved", "another_answers", "answered"),
        (probe("filtered", None), probe("filtered", None), "not_proved", "filtered", "silent"),
        (probe("closed", None), None, "not_proved", "closed", "unknown"),
        (probe("error", None), None, "untested", "probe_error", "unknown"),
        (None, None, "untested", "probe_error", "unknown"),
    ],
)
def test_only_a_nonce_that_came_back_is_a_proof(nonce_probe, after, path, reason, service):
    proof = judge(nonce_probe, after)
    row = proof["rows"][0]
    assert (row["path"], row["reason"], row["service_state"]) == (path, reason, service)
    assert proof["proved"] is (path == "proved")
    assert proof["families"] == (["ipv4"] if path == "proved" else [])


def test_an_answer_of_another_address_or_port_is_not_this_one():
    assert judge(probe(address="20.9.9.9"))["rows"][0]["path"] == "untested"
    assert judge(probe(port=443))["rows"][0]["path"] == "untested"


def test_without_a_valid_vantage_nothing_is_claimed():
    row = judge(probe(), vantages=[{**VANTAGE, "valid": False}])["rows"][0]
    assert (row["path"], row["reason"]) == ("untested", "no_vantage")


def test_a_vantage_without_the_family_proves_nothing_about_it():
    row = judge(probe(), vantages=[{**VANTAGE, "families": ["ipv6"]}])["rows"][0]
    assert (row["path"], row["reason"]) == ("untested", "no_vantage")


def test_a_responder_that_could_not_answer_makes_it_untested_and_not_closed():
    row = judge(probe("filtered", None), answer=responder("none"))["rows"][0]
    assert (row["path"], row["reason"]) == ("untested", "no_responder")


def test_check_mode_tests_nothing():
    proof = judge(None, untested="check_mode")
    assert (proof["rows"][0]["path"], proof["rows"][0]["reason"], proof["proved"]) == ("untested", "check_mode", False)


def test_a_vantage_that_may_not_come_cannot_tell():
    plan = make_plan()
    plan["services"][0]["allow_from"] = ["198.51.100.0/24"]
    assert judge(probe("filtered", None), plan=plan)["rows"][0]["reason"] == "not_admitted"
    plan["services"][0]["allow_from"] = ["20.5.5.0/24"]
    assert judge(probe(), plan=plan)["rows"][0]["path"] == "proved"


def test_one_vantage_that_proves_it_is_enough_and_the_others_are_kept_as_observations():
    other = {**VANTAGE, "host": "office"}
    proof = _proof.judge_proof(make_plan(), [other, VANTAGE], {"office": [probe("filtered", None)], "vps": [probe()]}, {}, responder())
    row = proof["rows"][0]
    assert (row["path"], row["vantage"], row["reason"]) == ("proved", "vps", "")
    assert [observation["vantage"] for observation in row["observations"]] == ["office", "vps"]


def test_a_family_that_came_along_may_fail_but_gets_no_name():
    plan = make_plan(ipv4=("direct", True), ipv6=("direct", False))
    answer = {"listeners": responder()["listeners"] + responder(family="ipv6")["listeners"]}
    proof = _proof.judge_proof(plan, [VANTAGE], {"vps": [probe(), probe("filtered", None, "ipv6")]}, {}, answer)
    assert proof["proved"]
    assert proof["families"] == ["ipv4"]


def test_targets_are_what_can_be_reached_only():
    plan = make_plan(ipv4=("impossible", True), ipv6=("direct", True))
    assert _proof.targets(plan) == [{"host": "2a00:1::5", "ports": [8443], "protocol": "tcp", "families": ["ipv6"]}]
    assert _proof.targets(plan, ["ipv4"]) == []


def taken_back(method="port_mapping", protocol="tcp"):
    return {"service": "https", "protocol": protocol, "external_port": 8443, "port": 443, "family": "ipv4", "address": "20.1.2.3", "method": method}


@pytest.mark.parametrize(
    ("method", "state", "nonce", "verdict"),
    [
        ("port_mapping", "filtered", None, "closed"),
        ("port_mapping", "rejected", None, "closed"),
        # Nobody listens: an open way would look the same.
        ("port_mapping", "closed", None, "untested"),
        # What the vantage's own side does says nothing.
        ("port_mapping", "no_route", None, "untested"),
        ("port_mapping", "local_drop", None, "untested"),
        ("port_mapping", "local_reject", None, "untested"),
        ("port_mapping", "host_unreachable", None, "untested"),
        ("port_mapping", "open", None, "still_open"),
        ("port_mapping", "open", True, "still_open"),
        ("direct", "open", False, "open_unfiltered"),
        ("port_mapping", "error", None, "untested"),
    ],
)
def test_what_was_taken_back_must_not_answer(method, state, nonce, verdict):
    assert _proof.judge_closed([taken_back(method)], {"vps": [probe(state, nonce)]}, {})[0]["state"] == verdict


@pytest.mark.parametrize(
    ("state", "nonce", "mode", "verdict"),
    [
        ("open_or_filtered", None, "bound", "closed"),
        ("open_or_filtered", None, "none", "untested"),
        ("open_or_filtered", None, None, "untested"),
        ("open", True, "bound", "still_open"),
    ],
)
def test_silence_of_a_udp_port_says_something_only_while_somebody_would_answer(state, nonce, mode, verdict):
    listeners = [{"protocol": "udp", "family": "ipv4", "port": 443, "mode": mode}]
    seen = {"vps": [{**probe(state, nonce), "protocol": "udp"}]}
    assert _proof.judge_closed([taken_back(protocol="udp")], seen, {"listeners": listeners})[0]["state"] == verdict


def test_what_nobody_looked_at_is_untested():
    assert _proof.judge_closed([taken_back()], {}, {})[0]["state"] == "untested"


def test_a_vantage_behind_nat_that_hears_the_service_says_nothing_about_the_way():
    hidden = {**VANTAGE, "sources": ["10.0.0.4"], "seen_families": []}
    row = judge(probe("open", False), vantages=[hidden])["rows"][0]
    assert (row["path"], row["reason"]) == ("untested", "vantage_behind_nat")
    # A responder that listens by itself answers whoever comes.
    assert judge(probe("open", False), vantages=[hidden], answer=responder("bound"))["rows"][0]["reason"] == "another_answers"
    assert judge(probe("open", True), vantages=[hidden])["rows"][0]["path"] == "proved"


def test_the_address_of_a_vantage_behind_nat_can_be_told():
    judged = _proof.judge_vantages([vantage(interface("10.0.0.4", "private"), addresses=["20.5.5.5"])], HOST, None)[0]
    assert judged["sources"] == ["10.0.0.4", "20.5.5.5"]
    assert judged["seen_families"] == ["ipv4"]


def test_a_refusal_counts_as_closed_while_somebody_would_answer():
    listeners = [{"protocol": "tcp", "family": "ipv4", "port": 443, "mode": "redirected"}]
    assert _proof.judge_closed([taken_back()], {"vps": [probe("closed", None)]}, {"listeners": listeners})[0]["state"] == "closed"


@pytest.mark.parametrize(
    ("source", "path", "reason"),
    [("20.5.5.5", "proved", ""), ("192.168.7.1", "untested", "seen_inside"), ("fd00::1", "untested", "seen_inside")],
)
def test_a_visit_that_came_from_inside_proves_nothing(source, path, reason):
    visit = {"protocol": "tcp", "port": 443, "family": "ipv4", "source": source, "nonce_verified": True}
    row = judge(probe(), answer={**responder(), "visits": [visit]})["rows"][0]
    assert (row["path"], row["reason"]) == (path, reason)


@pytest.mark.parametrize(("state", "reason"), [("no_route", "no_route"), ("local_drop", "probe_error"), ("local_reject", "probe_error")])
def test_what_the_vantages_own_side_does_is_no_verdict_on_the_way(state, reason):
    row = judge(probe(state, None))["rows"][0]
    assert (row["path"], row["reason"]) == ("untested", reason)


def test_nothing_proved_is_not_all_proved():
    plan = make_plan()
    plan["services"][0]["verify"] = "none"
    proof = judge(None, plan=plan)
    assert (proof["proved"], proof["wanted"]) == (False, False)


def test_why_the_responder_could_not_answer_is_kept():
    row = judge(probe("filtered", None), answer={"listeners": [], "msg": "no root"})["rows"][0]
    assert (row["reason"], row["detail"]) == ("no_responder", "no root")


@pytest.mark.parametrize(
    ("entries", "checks"),
    [
        ([{"host": "vps"}], []),
        ([{"host": "vps", "families": ["ipv4"], "addresses": ["198.51.100.7"]}], []),
        ("vps", ["vantages-list"]),
        (["vps"], ["vantage-host"]),
        ([{"families": ["ipv4"]}], ["vantage-host"]),
        ([{"host": "vps", "families": "ipv4"}], ["vantage-families"]),
        ([{"host": "vps", "families": ["ipv5"]}], ["vantage-families"]),
        ([{"host": "vps", "addresses": "198.51.100.7"}], ["vantage-addresses"]),
        ([{"host": "vps", "addresses": ["vps.example"]}], ["vantage-addresses"]),
        ([{"host": "vps", "url": "x"}], ["vantage-key"]),
    ],
)
def test_a_vantage_that_is_written_wrongly_is_named(entries, checks):
    assert [problem.check for problem in _proof.read_vantages(entries)] == checks


def test_what_was_given_back_answers_as_it_did_before():
    row = _proof.judge_closed([taken_back()], {"vps": [probe("open", True)]}, {}, [{"protocol": "tcp", "external_port": 8443}])[0]
    assert row["state"] == "given_back"
    other = _proof.judge_closed([taken_back()], {"vps": [probe("open", True)]}, {}, [{"protocol": "udp", "external_port": 8443}])[0]
    assert other["state"] == "still_open"
    # A mapping that was given back leads nowhere over IPv6.
    row = {**taken_back("direct"), "family": "ipv6", "address": "2a00:1::5"}
    direct = _proof.judge_closed([row], {"vps": [probe("open", True, "ipv6")]}, {}, [{"protocol": "tcp", "external_port": 8443}])[0]
    assert direct["state"] == "open_unfiltered"
