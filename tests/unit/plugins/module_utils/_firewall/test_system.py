# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._firewall import system
from ansible_collections.homeserver.hardening.plugins.module_utils._firewall.system import SystemProblem, read_listing

CHAIN = '{"chain": {"family": "inet", "table": "tp", "name": "c", "handle": 1}}'


def listing(flags):
    return (
        '{"nftables": [{"table": {"family": "ip", "name": "nat", "handle": 1}}, {"table": {"family": "inet", "name": "tp", "handle": 7'
        + flags
        + "}}, "
        + CHAIN
        + "]}\n"
    )


@pytest.mark.parametrize(
    "garbage",
    [', "flags": "tp"', ', "flags": \n', ', "flags": "a"b\n', ', "flags": "\ufffd\x01"', ', "flags": "}"', ', "flags": ', ""],
)
def test_flags_that_nft_fills_with_garbage(garbage):
    rows = read_listing(listing(garbage))["nftables"]
    assert [next(iter(row)) for row in rows] == ["table", "table", "chain"]
    assert rows[1]["table"]["name"] == "tp"


def test_garbage_in_the_last_object():
    text = '{"nftables": [' + CHAIN + ', {"table": {"family": "inet", "name": "tp", "handle": 7, "flags": \n}}]}\n'
    assert len(read_listing(text)["nftables"]) == 2


def test_good_flags_are_kept():
    assert read_listing(listing(', "flags": ["dormant"]'))["nftables"][1]["table"]["flags"] == ["dormant"]


def test_nothing_is_an_empty_listing():
    assert read_listing("") == {"nftables": []}


class Tables:
    """An nft that stops amid the listing of one table."""

    def __init__(self, broken):
        self.broken = broken

    def __call__(self, arguments, text=None):
        out = '{"nftables": [{"metainfo": {}}, ' + '{"table": {"family": "inet", "name": "x", "handle": 1, "flags": \n'
        if arguments[1:] == ["list", "tables"]:
            out = f"table ip nat\ntable inet {self.broken}\n"
        elif arguments[-1] == "nat":
            out = '{"nftables": [{"metainfo": {}}, {"table": {"family": "ip", "name": "nat", "handle": 1}}]}\n'
        return subprocess.CompletedProcess(arguments, 0, out, "")


@pytest.fixture
def nft(monkeypatch):
    def make(broken):
        monkeypatch.setattr(system, "tool", lambda name, package: f"/usr/sbin/{name}")
        monkeypatch.setattr(system, "run", Tables(broken))
        return system.Nft()

    return make


def test_a_table_of_a_proof_that_nft_cannot_write_hides_no_other(nft):
    assert [row["table"]["name"] for row in nft("homeserver_probe_41cc6ee4").ruleset()["nftables"] if "table" in row] == ["nat"]


def test_a_stranger_s_table_that_nft_cannot_write_is_not_passed_over(nft):
    with pytest.raises(SystemProblem, match="not JSON"):
        nft("mine").ruleset()


def test_what_is_no_listing_is_refused():
    with pytest.raises(SystemProblem, match="not JSON"):
        read_listing("Error: something\n")
