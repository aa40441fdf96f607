# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imitations of the providers whose changes reach real authorities: what counts is what BIND has."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._ddns import _http
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._config import Config
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._engine import Engine
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._providers import PROVIDERS
from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir
from ansible_collections.homeserver.hardening.plugins.plugin_utils._bundle import build
from ansible_collections.homeserver.hardening.tests.integration.dns.bindlab import PRIMARY, RESOLVER, SECONDARY, WAN, Bind
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._ddns.fake_providers import NAME, Authority, Fake, make_authority

WAN6 = "2a00:20:30::10"
OTHER = "20.30.41.99"

Module = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=list(PROVIDERS))
def fake(request: pytest.FixtureRequest, bind: Bind, authority: Authority) -> Iterator[Fake]:
    """Start a provider that writes to the primary, as they do."""

    def change(rtype: str, values: list[str]) -> None:
        bind.update(f"update delete {NAME}. {rtype}", *(f"update add {NAME}. 60 {rtype} {value}" for value in values))

    fake = Fake(str(request.param), changed=change)
    # One socket for both families, since some providers take the address that they see.
    fake.start(authority.certificate("DNS:localhost"), "::")
    yield fake
    fake.stop()
    bind.change(f"update delete {NAME}.")


class Host:
    """A host, by its module and by its agent."""

    def __init__(self, fake: Fake, authority: Authority, module: Module, directory: Path) -> None:
        self.fake = fake
        self.module = module
        self.directory = directory
        self.settings: dict[str, Any] = {**fake.settings(authority.file), "resolver": [RESOLVER], "readback_timeout": 10, "families": ["ipv4"]}
        (directory / "credentials").mkdir()
        self.secret(fake.secret)
        (directory / "agent.pyz").write_bytes(build().data)

    def secret(self, text: str) -> None:
        self.password = text
        path = self.directory / "credentials" / "ddns-password"
        path.write_text(text + "\n", encoding="utf-8")
        path.chmod(0o600)

    def record(self, **changes: Any) -> dict[str, Any]:
        arguments = {**self.settings, "password": self.password, "state_dir": str(self.directory / "state"), **changes}
        result = self.module("ddns_record", **arguments)
        assert self.password not in json.dumps(result, ensure_ascii=False)
        return result

    def agent(self, *words: str, **settings: Any) -> tuple[int, dict[str, Any]]:
        self.settings.update(settings)
        (self.directory / "ddns.json").write_text(json.dumps(self.settings))
        command = [sys.executable, "-I", str(self.directory / "agent.pyz"), "ddns", "--json", "--state-dir", str(self.directory / "state")]
        done = subprocess.run(
            [*command, "--config", str(self.directory / "ddns.json"), *words],
            capture_output=True,
            text=True,
            check=False,
            env={"CREDENTIALS_DIRECTORY": str(self.directory / "credentials"), "PATH": os.environ["PATH"], "https_proxy": "http://127.0.0.1:9"},
        )
        assert done.stderr == ""
        assert self.password not in done.stdout
        return done.returncode, json.loads(done.stdout)

    def later(self, seconds: float) -> None:
        """Let so much time pass since all that the host remembers."""
        path = self.directory / "state" / "ddns.json"
        memory = json.loads(path.read_text())
        for entry in memory["sent"].values():
            entry["moment"] -= seconds
        for key in ("not_before", "waiting_since"):
            memory[key] -= seconds
        path.write_text(json.dumps(memory))

    def updates(self) -> int:
        """Return how many requests there were that are no questions."""
        count = len([row for row in self.fake.log if row.method != "GET" or self.fake.provider != "cloudflare"])
        self.fake.log.clear()
        return count


@pytest.fixture
def host(fake: Fake, authority: Authority, module: Module, tmp_path: Path) -> Host:
    return Host(fake, authority, module, tmp_path)


def records(bind: Bind, rtype: str = "A") -> list[list[str]]:
    return [bind.dig(server, NAME, rtype) for server in (PRIMARY, SECONDARY)]


def test_published_kept_changed_and_taken_back(bind: Bind, host: Host, fake: Fake) -> None:
    planned = host.record(_ansible_check_mode=True)
    assert (planned["changed"], planned.get("failed", False), host.updates(), records(bind)) == (True, False, 0, [[], []]), planned
    done = host.record()
    assert (done["result"], done["changed"], records(bind), host.updates()) == ("ok", True, [[WAN], [WAN]], 1), done
    assert {row["address"] for row in done["authorities"]} == {PRIMARY, SECONDARY}
    again = host.record()
    assert (again["result"], again["changed"], host.updates()) == ("unchanged", False, 0)

    status, result = host.agent()
    assert (status, result["result"], host.updates()) == (0, "unchanged", 0), result
    if fake.provider != "mydns_jp":
        host.later(3600)
        status, result = host.agent(address_source="static", addresses=[OTHER])
        assert (status, result["result"], records(bind), host.updates()) == (0, "ok", [[OTHER], [OTHER]], 1), result

    gone = host.record(state="absent")
    assert not gone.get("failed"), gone
    if PROVIDERS[fake.provider].removal:
        assert (gone["changed"], gone["left"], records(bind)) == (True, [], [[], []])
    else:
        assert (gone["changed"], len(gone["left"]), "remove the record on its web page" in gone["message"]) == (False, 1, True)
    assert not (host.directory / "state" / "ddns.json").exists()


def test_somebody_changes_the_record_and_it_is_repaired(bind: Bind, host: Host, fake: Fake) -> None:
    assert host.record()["result"] == "ok"
    bind.change(f"update delete {NAME}. A", f"update add {NAME}. 60 A 20.7.7.7")
    fake.records["A"] = ["20.7.7.7"]
    host.updates()
    status, result = host.agent()
    assert (status, "in between" in result["message"], host.updates()) == (20, True, 0), result
    host.later(PROVIDERS[fake.provider].minimum)
    status, result = host.agent()
    assert (status, records(bind), host.updates()) == (0, [[WAN], [WAN]], 1), result


@pytest.mark.parametrize("fake", ["no_ip", "desec", "duckdns", "cloudflare"], indirect=True)
def test_both_families(bind: Bind, host: Host, fake: Fake) -> None:
    done = host.record(families=["ipv4", "ipv6"])
    assert (done["result"], records(bind), records(bind, "AAAA")) == ("ok", [[WAN]] * 2, [[WAN6]] * 2), done
    assert host.updates() == (1 if fake.provider in ("desec", "duckdns") else 2)


@pytest.mark.parametrize("fake", ["mydns_jp"], indirect=True)
def test_a_notice_for_each_family(bind: Bind, host: Host, fake: Fake, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Fake("mydns_jp", changed=fake.changed)
    two.start(authority.certificate("DNS:ipv4.notice.example,DNS:ipv6.notice.example"), "::")
    known = {"ipv4.notice.example": "127.0.0.1", "ipv6.notice.example": "::1"}
    lookup = socket.getaddrinfo
    monkeypatch.setattr(_http.socket, "getaddrinfo", lambda host, *rest: lookup(known.get(host, host), *rest))
    settings = {**host.settings, "url": f"https://{{family}}.notice.example:{two.port}/login.html", "families": ["ipv4", "ipv6"]}
    outcome = Engine(Config.from_mapping(settings), fake.secret, StateDir(str(tmp_path / "state")), now=True).present()
    two.stop()
    assert (outcome.result, records(bind), records(bind, "AAAA")) == ("ok", [[WAN]] * 2, [[WAN6]] * 2), outcome.message
    # Each came from the address that was to be published.
    assert [row.client.replace("::ffff:", "") for row in two.log] == [WAN, WAN6]


@pytest.mark.parametrize("fake", ["mydns_jp"], indirect=True)
def test_a_deprecated_address_is_neither_published_nor_spoken_from(bind: Bind, host: Host, fake: Fake, authority: Authority) -> None:
    old, stable = "2a00:20:30::bad", "2a00:20:30::10:1"
    fake.stop()
    fake.start(authority.certificate("IP:::1"), "::")
    for words in (f"add {old}/64 dev wan0 nodad preferred_lft 0 valid_lft 3600", f"add {stable}/64 dev wan0 nodad"):
        subprocess.run(["ip", "address", *words.split()], check=True)
    try:
        settings = {"families": ["ipv6"], "address_source": "static", "url": f"https://[::1]:{fake.port}/login.html"}
        refused = host.record(**settings, addresses=[old])
        assert (refused["result"], "deprecated" in refused["msg"], host.updates(), records(bind, "AAAA")) == ("not_public", True, 0, [[], []]), refused
        for address in (WAN6, stable):
            done = host.record(**settings, addresses=[address])
            assert (done["result"], records(bind, "AAAA"), fake.log[-1].client) == ("ok", [[address]] * 2, address), done
            host.later(3600)
    finally:
        for address in (old, stable):
            subprocess.run(["ip", "address", "del", f"{address}/64", "dev", "wan0"], check=True)


@pytest.mark.parametrize("fake", ["mydns_jp"], indirect=True)
def test_the_provider_saw_another_address_than_ours(bind: Bind, host: Host, fake: Fake) -> None:
    """For instance, because the request went through a VPN: the provider says yes, the authority shows what came of it."""
    fake.seen["A"] = "20.8.8.8"
    result = host.record(readback_timeout=0.5)
    assert (result["result"], "20.8.8.8" in result["message"], records(bind)) == ("lagging", True, [["20.8.8.8"]] * 2), result
    host.updates()
    status, result = host.agent()
    assert (status, host.updates(), "20.8.8.8" in result["message"]) == (30, 0, True), result


@pytest.mark.parametrize("fake", ["dyndns2"], indirect=True)
def test_good_without_an_effect_is_not_believed(bind: Bind, host: Host, fake: Fake) -> None:
    fake.changed = lambda rtype, values: None
    result = host.record(readback_timeout=0.5)
    assert (result["result"], "not at every authority" in result["message"]) == ("lagging", True), result
    host.updates()
    assert (host.agent()[0], host.agent("--now")[0], host.updates()) == (30, 30, 0)


@pytest.mark.parametrize("fake", ["no_ip", "cloudflare"], indirect=True)
def test_agent_stops_until_the_password_changes(bind: Bind, host: Host, fake: Fake) -> None:
    host.secret("not-this-one")
    assert host.agent()[0] == 21
    assert len(fake.log) == 1
    assert (host.agent()[0], host.agent()[0], len(fake.log)) == (21, 21, 1)
    host.secret(fake.secret)
    assert (host.agent()[0], records(bind)) == (0, [[WAN], [WAN]])


@pytest.mark.parametrize("fake", ["no_ip"], indirect=True)
def test_agent_waits_as_long_as_the_provider_wants(bind: Bind, host: Host, fake: Fake) -> None:
    fake.mode = "throttle"
    assert host.agent()[0] == 20
    memory = json.loads((host.directory / "state" / "ddns.json").read_text())
    assert 590 < memory["not_before"] - time.time() <= 600
    fake.mode = "good"
    host.later(580)
    assert (host.agent()[0], len(fake.log)) == (20, 1)
    host.later(20)
    assert (host.agent()[0], records(bind)) == (0, [[WAN], [WAN]])


def test_nothing_that_stays_holds_the_password(host: Host, fake: Fake) -> None:
    host.agent()
    fake.mode = "badauth"
    host.later(3600)
    host.agent(address_source="static", addresses=[OTHER])
    for path in host.directory.rglob("*"):
        if path.is_file() and path.parent.name != "credentials":
            assert fake.secret.encode() not in path.read_bytes()


@pytest.mark.parametrize("fake", ["no_ip"], indirect=True)
def test_authorities_are_found_without_the_zone(bind: Bind, host: Host, fake: Fake) -> None:
    """And the name is not asked for at a resolver, which would remember that it does not exist."""
    assert "zone" not in host.settings
    assert host.record()["result"] == "ok"
    assert bind.dig(RESOLVER, NAME, "A", "+recurse") == [WAN]
