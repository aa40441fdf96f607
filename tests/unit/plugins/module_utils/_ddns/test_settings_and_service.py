# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils import _timer
from ansible_collections.homeserver.hardening.plugins.module_utils._address._interfaces import InterfaceAddress, Network
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns import _sources
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._config import Config, read_config, read_secret
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._memory import Memory
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._providers import PROVIDERS
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._request import prepare
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._result import EXIT_STATUS, DdnsError
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._service import JOB, Paths, installation, wanted_files
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._sources import make_source
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._trial import run_service
from ansible_collections.homeserver.hardening.plugins.module_utils._plan import Plan
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import PortmapError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._renewal_service import JOB as RENEWAL
from ansible_collections.homeserver.hardening.plugins.module_utils._state import StateDir
from ansible_collections.homeserver.hardening.plugins.module_utils._timer import TimerError

SERVICE, TIMER = JOB.service, JOB.timer
SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0"
SETTINGS: dict[str, Any] = {"name": "home.example.net", "zone": "example.net", "server": "20.0.0.53", "tsig_name": "key", "families": ["ipv4"]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "name is ''"),
        ({"name": "a..b"}, "empty label"),
        ({"name": "."}, "root"),
        ({"zone": ""}, "zone is ''"),
        ({"name": "home.example.org"}, "does not lie in the zone"),
        ({"provider": "mydns"}, "known are rfc2136, mydns_jp, dyndns2"),
        ({"provider": "google_domains"}, "ended its dynamic DNS"),
        ({"server": ""}, "server is ''"),
        ({"server": "a b"}, "neither an address nor a name"),
        ({"server_port": 0}, "1 to 65535"),
        ({"server_port": 65536}, "1 to 65535"),
        ({"server_port": True}, "1 to 65535"),
        ({"tsig_name": ""}, "tsig_name is ''"),
        ({"ttl": 0}, "1 to 86400"),
        ({"ttl": 86401}, "1 to 86400"),
        ({"families": []}, "empty"),
        ({"families": ["ipv5"]}, "known are ipv4, ipv6"),
        ({"address_source": "web"}, "known are interface"),
        ({"address_source": "command"}, "belong together"),
        ({"address_command": ["/bin/x"]}, "belong together"),
        ({"address_source": "command", "address_command": ["x"]}, "absolute path"),
        ({"address_source": "static"}, "belong together"),
        ({"addresses": ["20.1.1.1"]}, "belong together"),
        ({"resolver": ["ns1"]}, "no IP address"),
        ({"readback_timeout": -1}, "0 to 600"),
        ({"secret": "x"}, "no such setting"),
    ],
)
def test_bad_settings_name_value_reason_and_way_out(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DdnsError, match=says) as caught:
        Config.from_mapping({**SETTINGS, **changes})
    assert caught.value.result == "config"


def test_fingerprint_changes_with_every_setting_and_the_secret() -> None:
    base = Config.from_mapping(SETTINGS).fingerprint(SECRET)
    assert base == Config.from_mapping(dict(SETTINGS)).fingerprint(SECRET)
    for change in ({"ttl": 61}, {"server": "20.0.0.54"}, {"families": ["ipv6"]}, {"adopt": True}, {"gateway": "192.168.1.1"}):
        assert Config.from_mapping({**SETTINGS, **change}).fingerprint(SECRET) != base
    assert Config.from_mapping(SETTINGS).fingerprint(SECRET + "x") != base


def test_settings_and_secret_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ddns.json"
    with pytest.raises(DdnsError, match="not set up"):
        read_config(str(path))
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(DdnsError, match="run the role"):
            read_config(str(path))
    path.write_text(json.dumps(SETTINGS))
    assert read_config(str(path)) == SETTINGS
    secret = tmp_path / "secret"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(DdnsError, match="cannot be read"):
        read_secret(path=str(secret))
    secret.write_text(SECRET + "\n")
    assert read_secret(path=str(secret)) == SECRET
    # What systemd hands over comes first; an empty directory is what it hands over in some containers.
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert read_secret(path=str(secret)) == SECRET
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "ddns-tsig").write_text("handed")
    assert read_secret(path=str(secret)) == "handed"


@pytest.mark.parametrize(
    ("output", "family", "expected"),
    [
        ("20.1.1.1\n", "ipv4", "20.1.1.1"),
        ("20.1.1.1\n2a00::1\n", "ipv6", "2a00::1"),
        ("\n 20.1.1.1 \n\n20.1.1.1\n", "ipv4", "20.1.1.1"),
        ("", "ipv4", "gave no ipv4"),
        ("2a00::1", "ipv4", "gave no ipv4"),
        ("20.1.1.1\n20.1.1.2", "ipv4", "several"),
    ],
)
def test_output_of_a_command(tmp_path: Path, output: str, family: str, expected: str) -> None:
    (tmp_path / "output").write_text(output)
    config = Config.from_mapping({**SETTINGS, "address_source": "command", "address_command": ["/bin/cat", str(tmp_path / "output")]})
    if expected.startswith(("g", "s")):
        with pytest.raises(DdnsError, match=expected):
            make_source(config)(family)
    else:
        assert make_source(config)(family) == expected


def test_command_gets_no_standard_input_and_its_failure_is_told() -> None:
    config = Config.from_mapping({**SETTINGS, "address_source": "command", "address_command": ["/bin/sh", "-c", "cat; echo broken >&2; exit 3"]})
    with pytest.raises(DdnsError, match="status 3: broken"):
        make_source(config)("ipv4")


def interface(address: str, **changes: Any) -> InterfaceAddress:
    family = "ipv6" if ":" in address else "ipv4"
    values = {"name": "eth0", "address": address, "family": family, "prefix_length": 64 if family == "ipv6" else 24, "address_class": "global", "kind": None}
    flags = {"temporary": False, "deprecated": False, "tentative": False, "dynamic": False, "on_default_route": True, "publish_candidate": True}
    return InterfaceAddress(**{**values, **flags, "up": True, "valid_lifetime": None, "preferred_lifetime": None, **changes})


@pytest.mark.parametrize(
    ("addresses", "family", "expected"),
    [
        ([interface("20.1.1.1")], "ipv4", "20.1.1.1"),
        ([interface("2a00::2", dynamic=True), interface("2a00::1")], "ipv6", "2a00::1"),
        # Nothing fit: what there is goes to the guard, which says why it is refused.
        ([interface("192.168.1.2", publish_candidate=False)], "ipv4", "192.168.1.2"),
        ([], "ipv4", "no ipv4 address"),
        ([interface("10.0.0.1", publish_candidate=False, on_default_route=False)], "ipv4", "no ipv4 address"),
        ([interface("2a00::3", publish_candidate=False, temporary=True)], "ipv6", "only temporary or deprecated"),
        ([interface("2a00::3", publish_candidate=False, deprecated=True)], "ipv6", "only temporary or deprecated"),
        ([interface("2a00::3", publish_candidate=False, tentative=True)], "ipv6", "no ipv6 address"),
    ],
)
def test_address_of_the_interface(monkeypatch: pytest.MonkeyPatch, addresses: list[InterfaceAddress], family: str, expected: str) -> None:
    monkeypatch.setattr(_sources, "read_network", lambda: Network(addresses, []))
    # Without NAT in between, the router is not asked for IPv6.
    source = "router" if family == "ipv6" else "interface"
    found = make_source(Config.from_mapping({**SETTINGS, "address_source": source}))
    if " " in expected:
        with pytest.raises(DdnsError, match=expected):
            found(family)
    else:
        assert found(family) == expected


@pytest.mark.parametrize(
    ("said", "expected"), [("20.1.1.1", "20.1.1.1"), (None, "no address on the Internet side"), (PortmapError("nobody answers"), "nobody answers")]
)
def test_address_of_the_router(monkeypatch: pytest.MonkeyPatch, said: Any, expected: str) -> None:
    asked: list[Any] = []

    class Gateway:
        def external_address(self) -> Any:
            if isinstance(said, Exception):
                raise said
            return said

    monkeypatch.setattr(_sources, "open_gateway", lambda selection: asked.append(selection.gateway) or Gateway())
    source = make_source(Config.from_mapping({**SETTINGS, "address_source": "router", "gateway": "192.168.1.1"}))
    if said == expected:
        assert source("ipv4") == expected
    else:
        with pytest.raises(DdnsError, match=expected):
            source("ipv4")
    assert asked == ["192.168.1.1"]


class Systemd:
    """Answers as systemctl would, and remembers what it was told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.on = False
        self.outdated = False
        self.status = 0
        self.after: Any = None

    def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
        words = " ".join(command[1:])
        if not words.startswith(("is-", "show")):
            self.log.append(words)
        code, output = 0, ""
        if words.startswith("is-"):
            code = 0 if self.on else 3
        elif "UnitFileState" in words:
            output = "UnitFileState=enabled\nActiveState=active\nNeedDaemonReload=no\n" if self.on else "UnitFileState=\nActiveState=inactive\n"
            output = output.replace("Reload=no", "Reload=yes") if self.outdated else output
        elif words == "daemon-reload":
            self.outdated = False
        elif words.startswith("show"):
            output = f"ExecMainStatus={self.status}\nResult={'exit-code' if self.status else 'success'}\n"
        elif words.startswith("enable"):
            self.on = True
        elif words.startswith("disable"):
            self.on = False
        elif words.startswith("start") and self.after is not None:
            code = self.after()
        return subprocess.CompletedProcess(command, code, output, "refused" if code else "")


@pytest.fixture(autouse=True)
def booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that systemd runs here."""
    monkeypatch.setattr(_timer, "_BOOTED", str(tmp_path))
    monkeypatch.setattr(_timer.shutil, "which", lambda name: "/bin/" + name)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "units").mkdir()
    (tmp_path / "agent").write_text("#!/bin/sh\n")
    (tmp_path / "agent").chmod(0o755)
    credentials = tmp_path / "etc" / "credentials"
    return Paths(
        str(tmp_path / "etc" / "ddns.json"),
        str(credentials / "ddns-tsig"),
        str(tmp_path / "units"),
        str(tmp_path / "agent"),
        str(credentials / "ddns-password"),
    )


def install(paths: Paths, systemd: Systemd, **changes: Any) -> Plan:
    files = wanted_files({**SETTINGS, **changes}, SECRET, 300, "/var/lib/homeserver", paths)
    job = installation(paths, systemd)
    plan = job.plan_started(files)
    job.check(plan, files)
    job.apply(plan, files)
    return plan


def test_service_is_installed_once_changed_and_removed(paths: Paths, tmp_path: Path) -> None:
    systemd = Systemd()
    first = install(paths, systemd)
    assert [(change.action, change.kind) for change in first.changes] == [("create", "file")] * 4 + [("create", "unit")]
    modes = {path: os.stat(path).st_mode & 0o777 for path in (paths.config, paths.credential, os.path.dirname(paths.credential), os.path.dirname(paths.config))}
    assert list(modes.values()) == [0o644, 0o600, 0o700, 0o755]
    assert Path(paths.credential).read_text() == SECRET + "\n"
    assert not install(paths, systemd).changed
    changed = install(paths, systemd, ttl=90)
    assert [change.name for change in changed.changes] == [paths.config]
    for text in (json.dumps(first.as_data()), json.dumps(first.diff()), *(Path(paths.unit(unit)).read_text() for unit in (SERVICE, TIMER))):
        assert SECRET not in text
    assert "ddns-tsig:" + paths.credential in Path(paths.unit(SERVICE)).read_text()
    job = installation(paths, systemd)
    job.apply(job.plan_stopped(), {})
    assert sorted(os.listdir(paths.units)) == []
    assert Path(paths.credential).exists()
    last = job.plan_absent()
    assert [change.name for change in last.changes] == [paths.config, paths.credential]
    assert SECRET not in json.dumps(last.as_data())
    job.apply(last, {})
    assert not (tmp_path / "etc").exists()
    assert not job.plan_absent().changed


def test_what_others_keep_beside_it_stays(paths: Paths, tmp_path: Path) -> None:
    systemd = Systemd()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "firewall.nft").write_text("")
    install(paths, systemd)
    job = installation(paths, systemd)
    job.apply(job.plan_absent(), {})
    assert os.listdir(tmp_path / "etc") == ["firewall.nft"]


def test_damaged_files_and_modes_are_repaired(paths: Paths) -> None:
    systemd = Systemd()
    install(paths, systemd)
    os.chmod(paths.credential, 0o644)
    Path(paths.unit(TIMER)).write_text("")
    systemd.on = False
    plan = install(paths, systemd)
    assert [(change.action, change.name) for change in plan.changes] == [
        ("update", paths.credential),
        ("update", paths.unit(TIMER)),
        ("create", TIMER),
    ]
    assert os.stat(paths.credential).st_mode & 0o777 == 0o600


def test_host_that_is_not_booted_is_only_prepared(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_timer, "_BOOTED", "/nonexistent")
    systemd = Systemd()
    assert install(paths, systemd).changes[-1].after == {"enabled": True}
    assert systemd.log == ["enable homeserver-ddns.timer"]
    assert not install(paths, systemd).changed


def test_systemd_is_told_even_if_the_run_before_was_killed_before_that(paths: Paths) -> None:
    systemd = Systemd()
    install(paths, systemd)
    systemd.outdated = True
    systemd.log.clear()
    plan = install(paths, systemd)
    assert [change.name for change in plan.changes] == [TIMER]
    assert systemd.log == ["daemon-reload", "enable --now homeserver-ddns.timer", "restart homeserver-ddns.timer"]
    assert not install(paths, systemd).changed


def test_units_that_systemd_refuses_are_not_installed(paths: Paths, tmp_path: Path) -> None:
    class Strict(Systemd):
        def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(command, 1, "", "no") if command[0] == "systemd-analyze" else super().__call__(*command)

    with pytest.raises(TimerError, match="systemd refuses the units: no"):
        install(paths, Strict())
    assert not (tmp_path / "etc").exists()


def test_nothing_is_written_without_the_agent_or_with_bad_settings(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "agent").unlink()
    with pytest.raises(TimerError, match="install the agent"):
        install(paths, Systemd())
    assert not (tmp_path / "etc").exists()
    for arguments in (({}, "no base64", 300, "/x"), ({}, SECRET, 59, "/x"), ({}, SECRET, 300, "x"), ({}, SECRET, 300, "/a b"), ({"ttl": 0}, SECRET, 300, "/x")):
        with pytest.raises((DdnsError, TimerError)):
            wanted_files({**SETTINGS, **arguments[0]}, *arguments[1:], paths)
    assert "OnUnitInactiveSec=60s" in JOB.timer_text(60)


def test_a_job_without_a_secret_asks_systemd_for_none(tmp_path: Path) -> None:
    job = _timer.Installation(RENEWAL, units=str(tmp_path / "units"), command=str(tmp_path / "agent"), run=Systemd())
    (tmp_path / "units").mkdir()
    (tmp_path / "agent").write_text("")
    (tmp_path / "agent").chmod(0o755)
    files = _timer.unit_files(RENEWAL, 300, "/var/lib/homeserver", str(tmp_path / "units"), str(tmp_path / "agent"))
    plan = job.plan_started(files)
    job.check(plan, files)
    job.apply(plan, files)
    assert sorted(os.listdir(tmp_path / "units")) == ["homeserver-renew.service", "homeserver-renew.timer"]
    text = (tmp_path / "units" / "homeserver-renew.service").read_text()
    assert "agent renew --state-dir /var/lib/homeserver\n" in text
    assert "\nSuccessExitStatus=75\n" in text
    assert "LoadCredential" not in text
    assert "\nCapabilityBoundingSet=\n" in text
    assert not job.plan_started(files).changed
    job.apply(job.plan_absent(), {})
    assert os.listdir(tmp_path / "units") == []


def test_run_of_the_service_is_told_of_the_playbook_run_and_its_result_is_read(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "state"))
    run_file = tmp_path / "run.env"
    systemd = Systemd()
    job = installation(Paths(), systemd)
    seen: list[str] = []

    def ran(result: str) -> Any:
        def run() -> int:
            seen.append(run_file.read_text())
            Memory(name="x", last={"result": result, "message": "because", "exit_status": EXIT_STATUS[result]}).save(state)
            systemd.status = EXIT_STATUS[result]
            return 1 if systemd.status else 0

        return run

    for result in ("unchanged", "ok", "stop", "lagging"):
        systemd.after = ran(result)
        outcome = run_service("run-1", state, job, str(run_file))
        assert (outcome.result, outcome.message) == (result, "because")
    assert set(seen) == {"HOMESERVER_NOW=1\nHOMESERVER_RUN_ID=run-1\n"}
    assert not run_file.exists()
    systemd.after, systemd.status = None, 75
    assert run_service("run-1", state, job, str(run_file)).result == "busy"
    systemd.status = 243
    assert run_service("run-1", state, job, str(run_file)).result == "unknown"
    systemd.after, systemd.status = (lambda: 1), 0
    assert run_service("run-1", state, job, str(run_file)).result == "unknown"
    assert run_service("run\n1", state, job, str(run_file)).result == "config"


def test_taking_back_needs_only_what_the_host_remembers(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "state"))
    options: dict[str, Any] = {"state": "absent", "name": None, "zone": "", "server": None, "tsig_name": None, "tsig_secret": None, "readback_timeout": 5}
    nowhere = str(tmp_path / "nothing")
    assert prepare(options, state, nowhere, nowhere) is None
    state.write(
        "ddns.json",
        {"published": {"A": {"values": ["20.1.1.1"], "ttl": 60}}, "name": "home.example.net.", "settings": Config.from_mapping(SETTINGS).to_take_back()},
    )
    with pytest.raises(DdnsError, match="cannot be read"):
        prepare(options, state, nowhere, nowhere)
    (tmp_path / "secret").write_text(SECRET)
    prepared = prepare(options, state, nowhere, str(tmp_path / "secret"))
    assert prepared is not None
    assert (prepared[0].full_name, prepared[0].server, prepared[0].readback_timeout, prepared[1]) == ("home.example.net.", "20.0.0.53", 5, SECRET)
    # Options about another name do not count, newer ones about the same name do.
    other = prepare({**options, "name": "other.example.net", "server": "20.0.0.99", "tsig_secret": "b3RoZXI="}, state, nowhere, nowhere)
    newer = prepare({**options, "name": "HOME.example.net", "server": "20.0.0.99", "tsig_secret": "b3RoZXI="}, state, nowhere, nowhere)
    assert other is not None
    assert newer is not None
    assert (other[0].server, newer[0].server, newer[1]) == ("20.0.0.53", "20.0.0.99", "b3RoZXI=")


HTTP_SETTINGS: dict[str, Any] = {"name": "home.example.net", "provider": "no_ip", "username": "me", "families": ["ipv4"]}


def test_another_kind_of_provider_brings_its_secret_and_leaves_none(paths: Paths, tmp_path: Path) -> None:
    systemd = Systemd()
    install(paths, systemd)
    files = wanted_files(HTTP_SETTINGS, " pass word ", 300, "/var/lib/homeserver", paths)
    job = installation(paths, systemd)
    plan = job.plan_started(files)
    assert [(change.action, os.path.basename(change.name)) for change in plan.changes] == [
        ("create", "ddns-password"),
        ("update", "ddns.json"),
        ("update", SERVICE),
        ("remove", "ddns-tsig"),
    ]
    shown = json.dumps(plan.as_data()) + json.dumps(plan.diff())
    assert not [word for word in (SECRET, "pass word") if word in shown]
    job.apply(plan, files)
    assert (Path(paths.password).read_text(), os.stat(paths.password).st_mode & 0o777, Path(paths.credential).exists()) == (" pass word \n", 0o600, False)
    assert os.stat(paths.config).st_mode & 0o777 == 0o600
    assert "LoadCredential=ddns-password:" + paths.password in Path(paths.unit(SERVICE)).read_text()
    assert not job.plan_started(files).changed
    assert install(paths, systemd).changes[-1].name == paths.password
    job.apply(job.plan_absent(), {})
    assert not (tmp_path / "etc").exists()


@pytest.mark.parametrize("secret", ["", "a\nb", "a\0"])
def test_a_password_that_is_none_is_refused(paths: Paths, secret: str) -> None:
    with pytest.raises(DdnsError, match="password is"):
        wanted_files(HTTP_SETTINGS, secret, 300, "/var/lib/homeserver", paths)


def test_the_password_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "ddns-password").write_text(" wörd \n", encoding="utf-8")
    (tmp_path / "ddns-tsig").write_text("other")
    assert (read_secret("no_ip"), read_secret()) == (" wörd ", "other")


def test_taking_back_at_the_provider_that_has_it(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "state"))
    settings = {**HTTP_SETTINGS, "provider": "duckdns", "username": "", "credentials_in_url": True}
    state.write(
        "ddns.json",
        {"published": {"A": {"values": ["20.1.1.1"], "ttl": 60}}, "name": "home.example.net.", "settings": Config.from_mapping(settings).to_take_back()},
    )
    nowhere = str(tmp_path / "nothing")
    # The name is to move to another provider, and what it has at this one counts. A default that says no takes nothing back that was allowed.
    for provider in ("rfc2136", "no_ip", "duckdns"):
        options = {"state": "absent", "name": "home.example.net", "provider": provider, "credentials_in_url": False, "tsig_secret": "x", "password": "token"}
        prepared = prepare(options, state, nowhere, nowhere)
        assert prepared is not None
        assert (prepared[0].provider, prepared[0].credentials_in_url, prepared[1]) == ("duckdns", True, "token")
    with pytest.raises(DdnsError, match="cannot be read"):
        prepare({"state": "absent"}, state, nowhere, nowhere)


def test_settings_of_every_provider_take_back_what_they_published() -> None:
    for name in PROVIDERS:
        given: dict[str, Any] = {"name": "home.example.net", "zone": "example.net", "provider": name, "username": "me", "families": ["ipv4"]}
        given.update(url="https://ddns.example.net/x", credentials_in_url=True, ca_file="/etc/ca.pem")
        if name == "custom":
            given.update(success_pattern="^good", stop_pattern="^bad", retry_pattern="^later")
        config = Config.from_mapping(given)
        again = Config.from_mapping(config.to_take_back())
        assert (again.url, again.username, again.ca_file, again.success_pattern) == (config.url, config.username, config.ca_file, config.success_pattern)
        assert again.to_take_back() == config.to_take_back()
