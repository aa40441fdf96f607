# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every provider against every answer, with imitations of the providers and a stub in the place of the authorities."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address._interfaces import InterfaceAddress, Network
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns import _engine, _guard, _http, _http_driver
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._config import Config
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._driver import Driver, RecordSet
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._engine import Engine, Parts
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._http_driver import Cloudflare, HttpDriver
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._memory import FILE, Memory
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._providers import DEAD, IN_URL, PROVIDERS
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._result import DdnsError, Outcome
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._authority import Answer
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._lookup import Server
from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._ddns.fake_providers import Authority, Fake, make_authority

NOW = 1_800_000_000.0
ADDRESS, OTHER = "20.1.1.1", "20.1.1.2"
FAMILIES = {"ipv4": "A", "ipv6": "AAAA"}


class Host:
    """A host that speaks to one provider; the authorities have what that believes to publish, unless they are late."""

    def __init__(self, fake: Fake, authority: Authority, path: Path) -> None:
        self.fake = fake
        self.path = path / "state"
        self.secret = fake.secret
        self.settings: dict[str, Any] = {**fake.settings(authority.file), "families": ["ipv4"], "adopt": True}
        self.addresses: dict[str, str] = {"ipv4": ADDRESS, "ipv6": "2a00::1"}
        self.late: dict[str, list[str]] | None = None
        self.now = NOW
        self.timeout = 5.0
        self.writers: list[dict[str, str]] = []

    def records(self) -> dict[str, list[str]]:
        return self.fake.records if self.late is None else self.late

    def driver(self, config: Config, secret: str) -> Driver:
        assert config.row is not None
        made = (Cloudflare if config.provider == "cloudflare" else HttpDriver)(config, config.row, secret, lambda config: [])
        made.timeout = self.timeout
        return made

    def ask(self, servers: Sequence[Server], question: Any, done: Callable[[list[Answer]], bool], wait: float) -> list[Answer]:
        records = {rtype: list(values) for rtype, values in self.records().items()}
        return [Answer(server, authoritative=True, exists=bool(records), records=records) for server in servers]

    def engine(self, **how: Any) -> Engine:
        parts = Parts(
            driver=self.driver,
            source=lambda config: lambda family: self.addresses[family],
            authorities=lambda config: [Server(None, "20.0.0.53")],
            ask=self.ask,
            writers=lambda name: self.writers,
            clock=lambda: self.now,
        )
        return Engine(Config.from_mapping(self.settings), self.secret, StateDir(str(self.path)), parts=parts, **how)

    def present(self, **how: Any) -> Outcome:
        outcome = self.engine(**how).present()
        kept = [path.read_text() for path in self.path.glob("*.json")] if self.path.exists() else []
        assert self.secret not in json.dumps(outcome.as_data(), ensure_ascii=False) + "".join(kept)
        return outcome

    def absent(self) -> Outcome:
        return self.engine(now=True).absent()

    def requests(self) -> int:
        """Return how many requests there were since this was asked for the last time."""
        count = len(self.fake.log)
        self.fake.log.clear()
        return count

    def memory(self) -> Memory:
        return Memory.load(StateDir(str(self.path)))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("trusted"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(params=list(PROVIDERS))
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the addresses of this machine out of it, and set a proxy that nobody must use."""
    monkeypatch.setattr(_guard, "read_network", lambda: Network([], []))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


@pytest.fixture
def host(provider: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    yield from make_host(provider, authority, authority.certificate("DNS:localhost"), tmp_path, monkeypatch)


def make_host(provider: str, authority: Authority, certificate: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    fake = Fake(provider, seen={"A": ADDRESS})
    fake.start(certificate)
    host = Host(fake, authority, path)

    def read(config: Config, rtypes: Sequence[str], servers: Sequence[Server]) -> dict[str, RecordSet]:
        return {rtype: RecordSet(tuple(host.records().get(rtype, ())), 60 if host.records().get(rtype) else 0) for rtype in rtypes}

    monkeypatch.setattr(_http_driver, "read_records", read)
    yield host
    fake.stop()


def sent(provider: str) -> int:
    """Return how many requests a successful update takes."""
    return 3 if provider == "cloudflare" else 1


# -- the matrix -----------------------------------------------------------------------------------------------------------------------------


def test_success(host: Host, provider: str) -> None:
    outcome = host.present()
    assert (outcome.result, outcome.exit_status, outcome.changed) == ("ok", 0, True), outcome.message
    assert (host.fake.records["A"], host.requests()) == ([ADDRESS], sent(provider))
    assert host.memory().owned == ["A"]
    # What is right is left alone, whoever asks and however often.
    for how in ({}, {"now": True}, {"apply": False}):
        again = host.present(**how)
        assert (again.result, again.exit_status, again.changed) == ("unchanged", 0, False)
    assert len([row for row in host.fake.log if row.method != "GET"]) == 0
    assert host.requests() == (2 if provider == "cloudflare" else 0)


def test_unchanged_says_the_provider_but_the_authority_decides(host: Host, provider: str) -> None:
    host.fake.records["A"] = [ADDRESS]
    host.late = {"A": ["20.9.9.9"]}
    outcome = host.present()
    assert (outcome.result, outcome.exit_status, host.requests()) == ("lagging", 30, sent(provider)), outcome.message
    # Providers block for updates that change nothing: it is not told again with each run.
    for wait in (300, 299):
        host.now += wait
        assert (host.present().result, host.present(now=True).exit_status, host.requests()) == ("lagging", 30, 0)
    host.now += 2
    assert (host.present().exit_status, host.requests()) == (30, sent(provider))
    host.now += 1199
    assert (host.present().exit_status, host.requests()) == (30, 0)
    host.now += 2
    assert (host.present().exit_status, host.requests()) == (30, sent(provider))
    host.late = None
    assert (host.present().result, host.requests()) == ("unchanged", 0)


#: By mode: the result, its exit status, whether the update may have been received, and the seconds until the next request.
CELLS: dict[str, tuple[str, int, bool, int | None]] = {
    "badauth": ("stop", 21, False, None),
    "abuse": ("stop", 21, False, None),
    "throttle": ("retry", 20, True, 600),
    "fault": ("retry", 20, True, 60),
    "hang": ("retry", 20, True, 60),
    "html": ("unknown", 22, True, 60),
    "empty": ("unknown", 22, True, 60),
    "redirect": ("unknown", 22, True, 60),
}


@pytest.mark.parametrize("mode", CELLS)
def test_what_goes_wrong(host: Host, provider: str, mode: str) -> None:
    result, status, received, wait = CELLS[mode]
    host.fake.mode, host.timeout = mode, 0.4 if mode == "hang" else 5.0
    outcome = host.present()
    assert (outcome.result, outcome.exit_status, outcome.changed) == (result, status, False), outcome.message
    # Above all, what was redirected was not followed.
    assert (host.requests(), host.fake.records) == (1, {})
    # Cloudflare is asked for its records first, so nothing can have been written; nothing it says then counts as an update either.
    unsure = received and not (provider == "cloudflare" and result == "retry")
    assert host.memory().owned == (["A"] if unsure else [])
    assert host.present().exit_status in (status, 20)
    assert host.requests() == 0
    host.fake.mode = "good"
    if wait is None:
        host.now += 10**7
        assert (host.present().result, host.requests()) == ("stop", 0)
        host.settings["readback_timeout"] = 21
    else:
        host.now += wait - 1
        assert (host.present().result, host.requests()) == ("retry", 0)
        host.now += 1
    assert (host.present().result, host.requests()) == ("ok", sent(provider))


@pytest.mark.parametrize("names", ["DNS:localhost", "DNS:elsewhere.example"])
def test_wrong_certificate(provider: str, names: str, authority: Authority, stranger: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = stranger if names == "DNS:localhost" else authority
    for host in make_host(provider, authority, signer.certificate(names), tmp_path, monkeypatch):
        for how in ({}, {"now": True}, {"apply": False, "now": True}):
            outcome = host.present(**how)
            assert (outcome.result, outcome.exit_status, outcome.changed) == ("retry", 20, False), outcome.message
            assert "certificate" in outcome.message
        assert (host.requests(), host.fake.records, host.memory().owned) == (0, {}, [])


def test_nobody_listens(host: Host, provider: str) -> None:
    host.fake.stop()
    outcome = host.present()
    assert (outcome.result, outcome.exit_status, "nothing was sent" in outcome.message, host.memory().owned) == ("retry", 20, True, [])


def test_the_wrong_password_is_what_stops(host: Host, provider: str) -> None:
    host.secret = "not-the-one"
    outcome = host.present()
    assert (outcome.result, host.requests(), host.fake.records) == ("stop", 1, {}), outcome.message
    host.secret = host.fake.secret
    assert (host.present().result, host.fake.records["A"]) == ("ok", [ADDRESS])


def test_check_mode_sends_nothing(host: Host, provider: str) -> None:
    outcome = host.present(apply=False, now=True)
    assert (outcome.result, outcome.changed) == ("ok", True), outcome.message
    assert {row.method for row in host.fake.log} <= {"GET"}
    assert (host.requests(), host.path.exists()) == (2 if provider == "cloudflare" else 0, False)


def test_the_secret_is_where_it_belongs(host: Host, provider: str) -> None:
    host.present()
    for row in host.fake.log:
        assert (host.secret in "".join(row.query.values())) == (PROVIDERS[provider].auth == IN_URL)
        assert row.headers.get("user-agent", "").startswith("homeserver.hardening ")
        assert "myip" not in row.query or row.query["myip"] == ADDRESS


def test_no_answer_brings_the_secret_into_a_message(host: Host, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def echo(request: Any) -> tuple[int, dict[str, str], str]:
        said = f"{host.secret} {request.path} {request.query} {request.headers.get('authorization')}"
        return 200, {}, said.replace("'", " ")

    monkeypatch.setattr(host.fake, "answer", echo)
    outcome = host.present()
    assert (outcome.result, "***" in outcome.message) == ("unknown", True)
    for part in (host.secret, *(row.headers.get("authorization", "none").split()[-1] for row in host.fake.log)):
        assert part not in json.dumps(outcome.as_data(), ensure_ascii=False)


# -- families -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", [name for name, row in PROVIDERS.items() if "ipv6" in row.families and name != "mydns_jp"])
def test_two_families_do_not_disturb_each_other(host: Host, provider: str) -> None:
    host.settings["families"] = ["ipv4", "ipv6"]
    assert host.present().result == "ok"
    assert host.fake.records == {"A": [ADDRESS], "AAAA": ["2a00::1"]}
    requests = host.requests()
    assert requests == {True: 1, False: 2}[PROVIDERS[provider].together] if provider != "cloudflare" else requests == 5
    for family, value in (("ipv6", "2a00::2"), ("ipv4", OTHER)):
        host.now += 300
        host.addresses[family] = value
        before = {rtype: list(values) for rtype, values in host.fake.records.items()}
        assert (host.present().result, host.fake.records) == ("ok", {**before, FAMILIES[family]: [value]})
        assert host.requests() == sent(provider)
    # A family whose address is not known stays as it is.
    host.now += 300
    host.addresses.update(ipv4="", ipv6="2a00::3")
    outcome = host.present()
    assert (outcome.exit_status, host.fake.records) == (11, {"A": [OTHER], "AAAA": ["2a00::3"]})


@pytest.mark.parametrize("provider", ["no_ip", "he_net", "custom"])
def test_one_family_fails_the_other_is_published(host: Host, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host.settings["families"] = ["ipv4", "ipv6"]
    good = host.fake.answer
    monkeypatch.setattr(host.fake, "answer", lambda request: good(request) if ADDRESS not in str(request.query) else (503, {}, ""))
    outcome = host.present()
    assert (outcome.result, outcome.changed, host.fake.records, host.requests()) == ("retry", True, {"AAAA": ["2a00::1"]}, 2)
    monkeypatch.setattr(host.fake, "answer", good)
    host.now += 60
    assert (host.present().result, host.fake.records, host.requests()) == ("ok", {"A": [ADDRESS], "AAAA": ["2a00::1"]}, 1)


def test_wrong_password_is_not_tried_for_the_other_family_too(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in make_host("no_ip", authority, authority.certificate("DNS:localhost"), tmp_path, monkeypatch):
        host.settings["families"] = ["ipv4", "ipv6"]
        host.fake.mode = "badauth"
        assert (host.present().result, host.requests()) == ("stop", 1)


# -- limits ---------------------------------------------------------------------------------------------------------------------------------


def test_flapping_line_gives_one_update_for_each_change_and_none_within_the_limit(host: Host, provider: str) -> None:
    minimum = PROVIDERS[provider].minimum
    updates: list[float] = []
    for number in range(50):
        host.addresses["ipv4"] = host.fake.seen["A"] = (ADDRESS, OTHER)[number % 2]
        host.now += 7
        outcome = host.present(now=bool(number % 3))
        assert outcome.exit_status in (0, 20), outcome.message
        if host.requests():
            updates.append(host.now)
    assert updates[0] == NOW + 7
    assert len(updates) > 2
    assert all(later - earlier >= minimum for earlier, later in zip(updates, updates[1:]))
    host.now += minimum
    host.present()
    assert host.fake.records["A"] == [host.addresses["ipv4"]]
    # To wait for one's turn is no failure.
    assert host.memory().failures == 0


@pytest.mark.parametrize("provider", ["mydns_jp"])
def test_notice_is_repeated_daily_where_names_lapse(host: Host, provider: str) -> None:
    host.present()
    host.requests()
    for hours in range(1, 73):
        host.now += 3600
        outcome = host.present(now=hours % 5 == 0)
        assert (outcome.result, outcome.changed, host.requests()) == ("unchanged", False, 1 if hours % 24 == 0 else 0), hours
    # The longer it fails, the more is said about what comes of it.
    host.fake.mode = "fault"
    for day in (1, 2, 6):
        host.now = host.memory().last_sent() + day * 86400
        outcome = host.present(now=True)
        assert (outcome.result, f"for {day} days no notice was accepted" in outcome.message) == ("retry", day > 1), outcome.message
    host.requests()
    host.fake.mode = "badauth"
    assert (host.present(now=True).result, host.requests(), host.present().result, host.requests()) == ("stop", 1, "stop", 0)


def test_no_other_provider_is_told_what_it_knows(host: Host, provider: str) -> None:
    host.present()
    host.requests()
    for _unused in range(40):
        host.now += 86400
        assert host.present().result == "unchanged"
    assert host.requests() == (40 if PROVIDERS[provider].refresh else 0)


@pytest.mark.parametrize("provider", ["no_ip", "ovh", "custom"])
def test_fault_of_the_provider_is_waited_for_as_long_as_it_wants(host: Host, provider: str) -> None:
    host.fake.mode = "911"
    assert (host.present().exit_status, host.memory().not_before - host.now) == (20, PROVIDERS[provider].pause or 60)


# -- taking back ----------------------------------------------------------------------------------------------------------------------------


def test_taking_back_where_that_is_possible_else_saying_what_stays(host: Host, provider: str) -> None:
    host.settings["families"] = list(PROVIDERS[provider].families) if provider != "mydns_jp" else ["ipv4"]
    host.present()
    host.requests()
    outcome = host.absent()
    assert outcome.good, outcome.message
    if PROVIDERS[provider].removal:
        assert (outcome.changed, outcome.left, any(host.fake.records.values())) == (True, [], False)
    else:
        assert (outcome.changed, host.requests(), outcome.left[0]) == (False, 0, {"type": "A", "records": [ADDRESS]})
        assert "remove the record on its web page" in outcome.message
    assert not (host.path / FILE).exists()


@pytest.mark.parametrize("provider", ["no_ip", "desec", "cloudflare", "duckdns"])
def test_what_was_taken_over_is_put_back(host: Host, provider: str) -> None:
    host.fake.records["A"] = ["20.9.9.9"]
    host.settings["adopt"] = False
    assert (host.present().result, host.requests()) == ("foreign", 0)
    host.settings["adopt"] = True
    assert (host.present().result, host.absent().result, host.fake.records["A"]) == ("ok", "ok", ["20.9.9.9"])


@pytest.mark.parametrize("provider", ["no_ip", "desec", "duckdns"])
def test_a_family_that_is_no_longer_published_is_taken_back_if_possible(host: Host, provider: str) -> None:
    host.settings["families"] = ["ipv4", "ipv6"]
    host.present()
    host.settings["families"] = ["ipv4"]
    host.now += 300
    outcome = host.present()
    assert outcome.good, outcome.message
    if provider == "desec":
        assert (host.fake.records["AAAA"], outcome.left) == ([], [])
    else:
        assert (host.fake.records["AAAA"], outcome.left) == (["2a00::1"], [{"type": "AAAA", "records": ["2a00::1"]}])
        assert "AAAA 2a00::1 stays, because the provider" in outcome.message
    assert host.memory().owned == ["A"]


def test_a_record_behind_the_proxy_of_the_provider_is_refused(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in make_host("cloudflare", authority, authority.certificate("DNS:localhost"), tmp_path, monkeypatch):
        host.fake.records["A"], host.fake.proxied = ["20.9.9.9"], True
        for how in ({"apply": False, "now": True}, {}):
            outcome = host.present(**how)
            assert (outcome.result, "DNS only" in outcome.message, host.fake.records["A"]) == ("stop", True, ["20.9.9.9"])


# -- what must never be published -----------------------------------------------------------------------------------------------------------

LIES = {
    "ipv4": ["", " ", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1", "127.0.0.1", "0.0.0.0", "192.0.2.1", "198.51.100.7", "203.0.113.9",
             "224.0.0.1", "255.255.255.255", "198.18.0.1", "<html>", "2a00::1", "20.1.1.1, 20.1.1.2"],
    "ipv6": ["", "fd00::1", "fe80::1", "::1", "::", "2001:db8::1", "3fff::1", "ff02::1", "::ffff:20.1.1.1", "::ffff:10.0.0.1", "64:ff9b::1401:101", "20.1.1.1"],
}  # fmt: skip


@pytest.mark.parametrize("how", [{}, {"now": True}, {"apply": False, "now": True}])
def test_nothing_unfit_is_ever_sent(host: Host, provider: str, how: dict[str, Any]) -> None:
    for family in PROVIDERS[provider].families:
        host.settings["families"] = [family]
        for lie in LIES[family]:
            host.addresses[family] = host.fake.seen["A"] = lie
            outcome = host.present(**how)
            assert (outcome.exit_status, outcome.changed) == (11, False), (lie, outcome.message)
    assert (host.requests(), host.fake.records) == (0, {})


@pytest.mark.parametrize("word", ["temporary", "deprecated", "tentative"])
@pytest.mark.parametrize("how", [{}, {"now": True}, {"apply": False, "now": True}])
def test_no_address_that_will_pass_is_ever_sent(host: Host, provider: str, how: dict[str, Any], word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "ipv6" not in PROVIDERS[provider].families:
        host.settings["families"] = ["ipv6"]
        with pytest.raises(DdnsError, match="takes ipv4 only"):
            host.present(**how)
        return
    flags = dict.fromkeys(("up", "temporary", "deprecated", "tentative", "dynamic", "on_default_route", "publish_candidate"), False)
    address = {"name": "eth0", "address": "2a00::1", "family": "ipv6", "prefix_length": 64, "address_class": "global", "kind": None}
    row = InterfaceAddress(**{**address, **flags, word: True, "valid_lifetime": None, "preferred_lifetime": None})
    monkeypatch.setattr(_guard, "read_network", lambda: Network([row], []))
    host.settings["families"] = ["ipv6"]
    outcome = host.present(**how)
    assert (outcome.exit_status, word in outcome.message, host.requests(), host.fake.records) == (11, True, 0, {})


def test_a_provider_that_takes_the_source_is_not_asked_from_another_address(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in make_host("mydns_jp", authority, authority.certificate("DNS:localhost,IP:127.0.0.1"), tmp_path, monkeypatch):
        fake = Fake("mydns_jp")
        fake.start(authority.certificate("IP:::1"), "::1")
        host.settings.update(families=["ipv6"], url=f"https://[::1]:{fake.port}/login.html")
        outcome = host.present()
        assert (outcome.result, "does not have 2a00::1" in outcome.message, fake.log) == ("retry", True, [])
        # Nor over the other family.
        host.settings.update(families=["ipv6"], url=f"https://127.0.0.1:{host.fake.port}/login.html")
        host.now += 10**5
        assert (host.present(now=True).result, host.requests()) == ("retry", 0)
        fake.stop()


# -- settings and table ---------------------------------------------------------------------------------------------------------------------


# -- planted faults ---------------------------------------------------------------------------------------------------------------------------


def test_planted_fault_without_verification_the_password_goes_to_a_stranger(
    provider: str, authority: Authority, stranger: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "_context", lambda ca_file: ssl._create_unverified_context())
    for host in make_host(provider, authority, stranger.certificate("DNS:localhost"), tmp_path, monkeypatch):
        assert (host.present().result, host.requests()) == ("ok", sent(provider))


def test_planted_fault_without_patience_the_same_is_sent_with_each_run(host: Host, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "may_send_again", lambda *arguments: 0.0)
    host.late = {"A": ["20.9.9.9"]}
    for _unused in range(3):
        host.present()
        host.now += 300
    assert host.requests() == 3 * sent(provider)


def test_planted_fault_without_the_guard_nonsense_is_published(host: Host, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "check_publishable", lambda address, *rest: address)
    host.addresses["ipv4"] = host.fake.seen["A"] = "10.1.2.3"
    assert (host.present().result, host.fake.records["A"]) == ("ok", ["10.1.2.3"])


def test_planted_fault_a_provider_that_is_believed_hides_a_wrong_record(host: Host, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host.late = {"A": ["20.9.9.9"]}
    monkeypatch.setattr(Engine, "_prove", lambda self, wanted, result, text: self._finish(result, text))
    assert host.present().result == "ok"


@pytest.mark.parametrize(
    ("provider", "changes", "says"),
    [
        ("no_ip", {"url": "http://localhost/nic/update"}, "must begin with https"),
        ("no_ip", {"url": "https:///x"}, "name a host"),
        ("no_ip", {"url": "https://me:secret@localhost/"}, "leave them out"),
        ("no_ip", {"url": "https://localhost/#x"}, "leave them out"),
        ("no_ip", {"url": "https://localhost/a b"}, "no spaces"),
        ("no_ip", {"url": "https://localhost/?a=b"}, "added by itself"),
        ("no_ip", {"url": "https://localhost/{password}"}, "braces"),
        ("no_ip", {"url": "https://localhost:99999/"}, "no URL"),
        ("no_ip", {"username": ""}, "wants a user name"),
        ("no_ip", {"username": "a:b"}, "colon"),
        ("no_ip", {"ca_file": "ca.pem"}, "absolute path"),
        ("no_ip", {"success_pattern": "good"}, "only the provider custom"),
        ("no_ip", {"server": "20.0.0.53"}, "takes none"),
        ("no_ip", {"tsig_name": "key"}, "takes none"),
        ("no_ip", {"name": "*.example.net"}, "no wildcards"),
        ("dyndns2", {"url": ""}, "it is empty"),
        ("custom", {"url": ""}, "it is empty"),
        ("custom", {"url": "https://localhost/{ip}"}, "braces"),
        ("custom", {"success_pattern": ""}, "nobody knows a success"),
        ("custom", {"success_pattern": ".*"}, "empty answer"),
        ("custom", {"stop_pattern": "("}, "no regular expression"),
        ("custom", {"url": "https://localhost/?key={password}"}, "credentials_in_url is False"),
        ("duckdns", {"credentials_in_url": False}, "takes the secret in the URL only"),
        ("dynv6", {"families": ["ipv6"]}, "takes ipv4 only"),
        ("cloudflare", {"zone": ""}, "zone is ''"),
        ("cloudflare", {"ttl": 1}, "60 to 86400"),
        ("cloudflare", {"zone": "example.org"}, "does not lie in the zone"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_sent(host: Host, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DdnsError, match=re.escape(says)) as caught:
        Config.from_mapping({**host.settings, **changes})
    assert caught.value.result == "config"


def test_authority_file_that_is_none(host: Host, provider: str, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing")
    for path in (tmp_path / "ca", tmp_path / "none"):
        host.settings["ca_file"] = str(path)
        outcome = host.present()
        assert (outcome.exit_status, str(path) in outcome.message, host.requests()) == (12, True, 0)


@pytest.mark.parametrize("provider", ["custom"])
def test_secret_in_the_url_of_a_custom_provider_only_when_allowed(host: Host, provider: str) -> None:
    base = host.settings["url"].split("?")[0]
    host.settings.update(url=base + "?token={password}&host={name}&ip={address}", credentials_in_url=True, success_pattern=r"\Abad password\Z", stop_pattern="")
    host.present()
    row = host.fake.log[0]
    assert (row.query["token"], "authorization" in row.headers) == (host.secret, False)


@pytest.mark.parametrize("name", PROVIDERS)
def test_row(name: str) -> None:
    row = PROVIDERS[name]
    assert row.title
    assert row.source
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", row.date)
    assert row.verified in ("fake", "doc", "real")
    assert name in ("dyndns2", "custom") or row.url.startswith("https://")
    assert (row.auth == IN_URL) == any("{password}" in value for _unused, value in row.query)
    for pattern in (row.success, row.stop, row.retry):
        assert not pattern or not re.search(pattern, "")
        assert not pattern or not re.search(pattern, "<html>good OK 911 abuse KO</html>")
    assert not set(row.families) - set(FAMILIES)
    assert row.minimum > 0
    assert set(DEAD).isdisjoint(PROVIDERS)


@pytest.mark.parametrize("name", DEAD)
def test_a_provider_that_is_gone_is_refused_by_name(name: str) -> None:
    with pytest.raises(DdnsError, match="ended|closed"):
        Config.from_mapping({"name": "home.example.net", "provider": name, "families": ["ipv4"]})


def test_second_writer_is_named_and_the_run_goes_on(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in make_host("no_ip", authority, authority.certificate("DNS:localhost"), tmp_path, monkeypatch):
        host.writers = [{"program": "ddclient", "file": "/etc/ddclient.conf"}]
        outcome = host.present()
        assert (outcome.result, outcome.second_writers) == ("ok", host.writers)
        assert "ddclient (/etc/ddclient.conf)" in outcome.message
