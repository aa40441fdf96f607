# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a provider that is late, a record of somebody else, a stubborn pattern or an odd kernel must not lead to."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address._interfaces import InterfaceAddress, Network
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns import _guard, _http
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._config import Config
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._driver import RetryLater
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._memory import FILE
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._providers import PROVIDERS
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._request import prepare
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._result import DdnsError
from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._ddns.fake_providers import Authority, make_authority
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._ddns.test_providers import ADDRESS, OTHER, Host, make_host

Maker = Callable[[str], Host]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("trusted"))


@pytest.fixture
def made(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    """Return hosts by the provider that they speak to."""
    monkeypatch.setattr(_guard, "read_network", lambda: Network([], []))
    running: list[Iterator[Host]] = []

    def make(provider: str) -> Host:
        running.append(make_host(provider, authority, authority.certificate("DNS:localhost"), tmp_path / provider, monkeypatch))
        return next(running[-1])

    yield make
    for one in running:
        next(one, None)


def test_what_is_on_its_way_is_not_forgotten(made: Maker) -> None:
    host = made("desec")
    host.late = {}
    assert host.present().result == "lagging"
    host.requests()
    # The authorities have nothing yet, which proves nothing.
    outcome = host.absent()
    assert (outcome.result, outcome.good, host.requests(), (host.path / FILE).exists()) == ("lagging", False, 0, True)
    assert "on its way" in outcome.message
    host.late = None
    outcome = host.absent()
    assert (outcome.result, host.fake.records["A"], (host.path / FILE).exists()) == ("ok", [], False)


def test_what_never_came_is_no_reason_to_wait_for_ever(made: Maker) -> None:
    host = made("desec")
    host.late = {}
    host.present()
    host.now += 86400
    assert (host.absent().good, (host.path / FILE).exists()) == (True, False)


def test_taking_back_spares_the_family_that_was_never_published(made: Maker) -> None:
    host = made("duckdns")
    host.fake.records["A"] = ["20.9.9.9"]
    host.settings["families"] = ["ipv6"]
    host.present()
    host.requests()
    outcome = host.absent()
    assert (host.fake.records["A"], host.requests(), outcome.left) == (["20.9.9.9"], 0, [{"type": "AAAA", "records": ["2a00::1"]}])


def test_another_spelling_is_the_same_address(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    host = made("desec")
    host.settings["families"] = ["ipv6"]
    host.addresses["ipv6"] = "2A00:0000::0001"
    assert (host.present().result, host.fake.records["AAAA"]) == ("ok", ["2a00::1"])
    host.requests()
    assert (host.present(now=True).result, host.requests()) == ("unchanged", 0)
    flags = dict.fromkeys(("up", "deprecated", "tentative", "dynamic", "on_default_route", "publish_candidate"), False)
    address = {"name": "eth0", "address": "2a00::2", "family": "ipv6", "prefix_length": 64, "address_class": "global", "kind": None}
    row = InterfaceAddress(**{**address, **flags, "temporary": True, "valid_lifetime": None, "preferred_lifetime": None})
    monkeypatch.setattr(_guard, "read_network", lambda: Network([row], []))
    host.addresses["ipv6"] = "2A00:0:0::0002"
    outcome = host.present()
    assert (outcome.result, "temporary" in outcome.message, host.requests()) == ("not_public", True, 0)


def test_a_pattern_that_needs_years_ends_and_is_said(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    host = made("custom")
    host.settings["success_pattern"] = "(a+)+b"
    monkeypatch.setattr(host.fake, "answer", lambda request: (200, {}, "a" * 64))
    begin = time.monotonic()
    outcome = host.present()
    assert (outcome.result, "patterns need more" in outcome.message) == ("unknown", True)
    assert time.monotonic() - begin < 10
    # And it is a failure with its back-off, not the same request with every run.
    assert host.memory().not_before > host.now
    with pytest.raises(DdnsError, match="no regular expression"):
        Config.from_mapping({**host.settings, "success_pattern": "a{99999999999}"})


def test_a_stop_of_one_family_is_a_stop(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    host = made("no_ip")
    host.settings["families"] = ["ipv4", "ipv6"]
    monkeypatch.setattr(host.fake, "answer", lambda request: (503, {}, "") if ADDRESS in str(request.query) else (200, {}, "abuse"))
    assert (host.present().result, host.requests()) == ("stop", 2)
    host.now += 86400
    assert (host.present().result, host.requests()) == ("stop", 0)


def test_the_longest_wait_of_two_families_counts(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    host = made("no_ip")
    host.settings["families"] = ["ipv4", "ipv6"]
    monkeypatch.setattr(host.fake, "answer", lambda request: (503, {}, "") if ADDRESS in str(request.query) else (429, {"Retry-After": "7000"}, ""))
    assert (host.present().result, host.memory().not_before - host.now) == ("retry", 7000)


def test_giving_up_a_family_leaves_what_somebody_else_put_there(made: Maker) -> None:
    host = made("desec")
    host.settings["families"] = ["ipv4", "ipv6"]
    host.present()
    host.fake.records["AAAA"] = ["2a00::77"]
    host.settings["families"] = ["ipv4"]
    host.now += 300
    outcome = host.present()
    assert (host.fake.records["AAAA"], outcome.left) == (["2a00::77"], [{"type": "AAAA", "records": ["2a00::77"]}])
    assert host.memory().owned == ["A"]


def test_a_notice_that_fails_keeps_no_other_from_being_sent(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    host = made("no_ip")
    monkeypatch.setitem(PROVIDERS, "no_ip", dataclasses.replace(PROVIDERS["no_ip"], refresh=86400))
    host.settings["families"] = ["ipv4", "ipv6"]
    host.present()
    good = host.fake.answer
    monkeypatch.setattr(host.fake, "answer", lambda request: good(request) if ADDRESS not in str(request.query) else (503, {}, ""))
    for day in (1, 2, 3):
        host.now += 86400
        host.requests()
        outcome = host.present(now=True)
        assert (outcome.result, host.requests()) == ("retry", 2)
        # The family that fails is counted by itself.
        assert (f"for {day} days no notice was accepted" in outcome.message) == (day > 1)


def test_a_kernel_without_ipv6_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoIpv6(socket.socket):
        def __init__(self, family: int = -1, *more: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *more)

    monkeypatch.setattr(socket, "socket", NoIpv6)
    monkeypatch.setattr(_http.socket, "getaddrinfo", lambda *given, **how: [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 443, 0, 0))])
    with pytest.raises(RetryLater, match="not supported"):
        _http.fetch(_http.Call("https://ddns.example.net/x"))


@pytest.mark.parametrize("url", ["https://{password}.example.net/u?ip={address}", "https://{name}.example.net/"])
def test_a_host_is_asked_for_in_the_open_so_it_holds_no_secret(made: Maker, url: str) -> None:
    host = made("custom")
    with pytest.raises(DdnsError, match="its host has braces"):
        Config.from_mapping({**host.settings, "url": url, "credentials_in_url": True})
    Config.from_mapping({**host.settings, "url": "https://{family}.example.net/?k={password}", "credentials_in_url": True})


def test_what_is_not_said_is_taken_from_what_was_published(tmp_path: Path) -> None:
    state, nowhere = StateDir(str(tmp_path / "state")), str(tmp_path / "nothing")
    where = {"name": "home.example.net", "zone": "example.net", "families": ["ipv4"]}
    settings = {**where, "server": "20.0.0.53", "server_port": 5353, "tsig_name": "key", "tsig_algorithm": "hmac-sha512"}
    record = {"published": {"A": {"values": [OTHER], "ttl": 60}}, "name": "home.example.net.", "settings": Config.from_mapping(settings).to_take_back()}
    state.write(FILE, record)
    options = {"state": "absent", "name": "home.example.net", "server_port": 53, "tsig_algorithm": "hmac-sha256", "tsig_secret": "eA=="}
    prepared = prepare(options, state, nowhere, nowhere)
    assert prepared is not None
    assert (prepared[0].server_port, prepared[0].tsig_algorithm) == (5353, "hmac-sha512")
    # Who names server and key, means them.
    prepared = prepare({**options, "server": "20.0.0.54", "tsig_name": "other"}, state, nowhere, nowhere)
    assert prepared is not None
    assert (prepared[0].server_port, prepared[0].tsig_algorithm) == (53, "hmac-sha256")
