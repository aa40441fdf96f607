# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What miniupnpd's rules say, in the form in which nft lists them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._router import _miniupnpd as miniupnpd
from ansible_collections.homeserver.hardening.plugins.module_utils._router._drivers import FORESEEN, check_driver
from ansible_collections.homeserver.hardening.plugins.module_utils._router._miniupnpd import CHAINS, Chain, RouterError

FORWARD = Chain("inet", "filter", "miniupnpd")
NAT = Chain("inet", "filter", "prerouting_miniupnpd")


def header(offset: int, length: int, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"base": "nh", "offset": offset, "len": length}}, "right": right}}


def port(number: Any, protocol: str = "th") -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": "dport"}}, "right": number}}


IIF: dict[str, Any] = {"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "wan0"}}
DNAT: dict[str, Any] = {"dnat": {"family": "ip", "addr": "192.0.2.20", "port": 443}}

RULES = [
    # expr, protocol, port, client, client_port
    # as miniupnpd 2.3.1 writes them
    ([IIF, header(72, 8, 6), port(8443), DNAT], "tcp", 8443, "192.0.2.20", 443),
    ([IIF, port(443), header(128, 32, 3221226004), header(72, 8, 6), {"accept": None}], "tcp", 443, "192.0.2.20", 0),
    ([IIF, header(72, 8, 17), port(51820), {"dnat": {"family": "ip", "addr": "192.0.2.20", "port": 51820}}], "udp", 51820, "192.0.2.20", 51820),
    # a pinhole
    ([IIF, header(48, 8, 6), header(192, 128, int("20010db8000000000000000000000010", 16)), port(8080), {"accept": None}], "tcp", 8080, "2001:db8::10", 0),
    # a translation of the address alone leaves the port
    ([header(72, 8, 6), port(22), {"dnat": {"family": "ip", "addr": "192.0.2.20"}}], "tcp", 22, "192.0.2.20", 22),
    # words instead of raw payload
    ([port(25, "tcp"), {"dnat": {"addr": "192.0.2.20", "port": 25}}], "tcp", 25, "192.0.2.20", 25),
    ([{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "udp"}}, port(53), {"accept": None}], "udp", 53, "", 0),
    ([{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "192.0.2.9"}}, {"accept": None}], "", 0, "192.0.2.9", 0),
    # what cannot be read is a rule all the same
    ([{"match": {"op": "==", "left": {"payload": {"base": "nh", "offset": 128, "len": 32}}, "right": -1}}], "", 0, "", 0),
    ([{"xt": None}], "", 0, "", 0),
    ([port({"set": [1, 2]})], "", 0, "", 0),
    ([], "", 0, "", 0),
]


@pytest.mark.parametrize(("expressions", "protocol", "number", "client", "client_port"), RULES)
def test_rule(expressions, protocol, number, client, client_port):
    rule = miniupnpd.read_rule(NAT, {"expr": expressions, "handle": 7})
    assert (rule.protocol, rule.port, rule.client, rule.client_port, rule.handle) == (protocol, number, client, client_port, 7)
    assert str(rule)
    assert rule.as_data()["table"] == "inet filter"


def listing(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"nftables": [{"metainfo": {"version": "1.0.6"}}, *entries]}


def chain(name: str, family: str = "inet", table: str = "filter", **more: Any) -> dict[str, Any]:
    return {"chain": {"family": family, "table": table, "name": name, **more}}


def rule(name: str, *expressions: dict[str, Any], family: str = "inet", table: str = "filter") -> dict[str, Any]:
    return {"rule": {"family": family, "table": table, "chain": name, "handle": 1, "expr": list(expressions)}}


JUMP = rule("forward", {"jump": {"target": "miniupnpd"}})
MAPPED = rule("prerouting_miniupnpd", IIF, header(72, 8, 6), port(8443), DNAT)


def test_find():
    found = miniupnpd.find(
        listing(chain("forward", hook="forward"), JUMP, *(chain(name) for name in CHAINS), MAPPED, chain("other"), rule("other", {"accept": None})), CHAINS
    )
    assert [str(one) for one in found.chains] == [f"inet filter {name}" for name in CHAINS]
    assert [str(one) for one in found.rules] == ["tcp port 8443 to 192.0.2.20:443"]
    assert found.others == ()


@pytest.mark.parametrize(
    ("entries", "names", "table", "chains", "others"),
    [
        # nothing
        ([], CHAINS, "", [], []),
        # in several tables, or in the one that was named
        ([chain("miniupnpd", table="a"), chain("miniupnpd", table="b")], CHAINS, "", ["inet a miniupnpd", "inet b miniupnpd"], []),
        ([chain("miniupnpd", table="a"), chain("miniupnpd", table="b")], CHAINS, "inet b", ["inet b miniupnpd"], []),
        # one of another table or name that holds rules is said to be there
        ([chain("miniupnpd", table="a"), rule("miniupnpd", table="a")], CHAINS, "inet b", [], ["inet a miniupnpd"]),
        ([chain("MINIUPNPD", "ip", "nat"), rule("MINIUPNPD", family="ip", table="nat")], CHAINS, "", [], ["ip nat MINIUPNPD"]),
        ([chain("upnp_forward"), rule("upnp_forward")], ["upnp_forward"], "", ["inet filter upnp_forward"], []),
        # empty ones are not
        ([chain("MINIUPNPD", "ip", "nat")], CHAINS, "", [], []),
        # a base chain of that name would be somebody's whole filter
        ([chain("miniupnpd", hook="forward"), rule("miniupnpd")], CHAINS, "", [], ["inet filter miniupnpd"]),
        ([chain("miniupnpd", hook="forward")], CHAINS, "", [], []),
        # other families have no such chains
        ([chain("miniupnpd", "bridge")], CHAINS, "", [], []),
    ],
)
def test_find_by_name_and_table(entries, names, table, chains, others):
    found = miniupnpd.find(listing(*entries), names, table)
    assert ([str(one) for one in found.chains], [str(one) for one in found.others]) == (chains, others)


@pytest.mark.parametrize(
    ("chains", "table", "word"),
    [
        ([], "", "chains is empty"),
        (["a b"], "", "'a b'"),
        (["x; flush ruleset"], "", "flush ruleset"),
        (["-x"], "", "'-x'"),
        (["x"], "filter", "'filter'"),
        (["x"], "inet a b", "'inet a b'"),
        (["x"], "bridge a", "'bridge a'"),
        (["x"], "inet a;b", "a;b"),
    ],
)
def test_names_that_are_none(chains, table, word):
    with pytest.raises(RouterError, match=word):
        miniupnpd.check_names(chains, table)


def test_names():
    miniupnpd.check_names(CHAINS, "inet filter")
    miniupnpd.check_names(["upnp_forward"], "")


def read(*expressions: dict[str, Any], where: Chain = NAT) -> miniupnpd.Rule:
    return miniupnpd.read_rule(where, {"expr": list(expressions)})


TCP = read(IIF, header(72, 8, 6), port(8443), DNAT)
UDP = read(IIF, header(72, 8, 17), port(51820), {"dnat": {"addr": "192.0.2.21", "port": 51820}})
ACCEPT = read(IIF, port(443), header(128, 32, 3221226004), header(72, 8, 6), {"accept": None}, where=FORWARD)
PINHOLE = read(*RULES[3][0], where=FORWARD)
UNREADABLE = read({"xt": None})


def test_mappings_are_what_translates():
    assert miniupnpd.mappings([ACCEPT, TCP, TCP, UDP, PINHOLE, UNREADABLE]) == [
        {"protocol": "tcp", "external_port": 8443, "internal_client": "192.0.2.20", "internal_port": 443},
        {"protocol": "udp", "external_port": 51820, "internal_client": "192.0.2.21", "internal_port": 51820},
    ]


def test_connections_to_end():
    """Those that were translated, and those through pinholes; the accepting rule of a translation names the same ones."""
    assert miniupnpd.flow_filters([ACCEPT, TCP, TCP, UDP, PINHOLE, UNREADABLE]) == [
        ["-p", "tcp", "--orig-port-dst", "8443", "--reply-src", "192.0.2.20"],
        ["-p", "udp", "--orig-port-dst", "51820", "--reply-src", "192.0.2.21"],
        ["-f", "ipv6", "-p", "tcp", "--orig-dst", "2001:db8::10", "--orig-port-dst", "8080"],
    ]


def test_flush():
    assert miniupnpd.flush_script([FORWARD, NAT]) == "flush chain inet filter miniupnpd\nflush chain inet filter prerouting_miniupnpd\n"


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("", []),
        ("ext_ifname=wan0\nlease_file=/var/lib/miniupnpd/upnp.leases\n", ["/var/lib/miniupnpd/upnp.leases"]),
        ("lease_file=/a\nlease_file6=/b\nlease_file=/a\n", ["/a", "/b"]),
        ("#lease_file=/a\n# lease_file6=/b\n", []),
        ("lease_file = /a b \n", ["/a b"]),
        ("lease_file=\nlease_file=relative\n", []),
    ],
)
def test_lease_files(text, files):
    assert miniupnpd.lease_files(text) == files


def test_leases():
    assert miniupnpd.leases("TCP:8443:192.0.2.20:443:1700000000:my: camera\n\nUDP:1:192.0.2.20:2:0:\n") == ["TCP:8443:192.0.2.20:443", "UDP:1:192.0.2.20:2"]


def test_drivers():
    check_driver("linux")
    for name in FORESEEN:
        with pytest.raises(RouterError, match=f"{name} is not there yet; there is: linux"):
            check_driver(name)
    with pytest.raises(RouterError, match="'Linux' is unknown; there is: linux"):
        check_driver("Linux")
