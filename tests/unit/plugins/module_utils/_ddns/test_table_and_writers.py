# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._driver import RecordSet
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._memory import Memory
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._providers import KNOWN, PROVIDERS
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._reading import newest
from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._writers import find_writers, warning
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._authority import Answer
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._lookup import Server
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._name import name_from_text

ROOT = Path(__file__).parents[5]


@pytest.mark.parametrize(
    ("program", "file", "text", "found"),
    [
        ("ddclient", "etc/ddclient.conf", "protocol=dyndns2\nlogin=x\nhome.example.net\n", True),
        ("ddclient", "etc/ddclient.conf", "other.example.net,HOME.example.net.", True),
        ("ddclient", "etc/ddclient/ddclient.conf", "zone=example.net, home.example.net", True),
        ("ddclient", "etc/ddclient.conf", "# home.example.net\nother.example.net", False),
        ("ddclient", "etc/ddclient.conf", "myhome.example.net\nhome.example.net.org\nwww.home.example.net\nhome.example.network", False),
        ("inadyn", "etc/inadyn.conf", "provider no-ip.com {\n hostname = home.example.net\n}", True),
        ("inadyn", "etc/inadyn/inadyn.conf", 'hostname = { "a.example.net", "home.example.net" }', True),
        ("inadyn", "etc/inadyn.conf", "hostname = example.net", False),
        # Settings without the program update nothing.
        ("", "etc/ddclient.conf", "home.example.net", False),
        ("inadyn", "etc/ddclient.conf", "home.example.net", False),
    ],
)
def test_second_writer(tmp_path: Path, program: str, file: str, text: str, found: bool) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    if program:
        (tmp_path / "usr/sbin").mkdir(parents=True)
        (tmp_path / "usr/sbin" / program).write_text("")
    before = path.read_bytes()
    writers = find_writers(name_from_text("home.example.net"), str(tmp_path))
    assert writers == ([{"program": program, "file": str(path)}] if found else [])
    assert (str(path) in warning("home.example.net.", writers)) == found
    assert path.read_bytes() == before


def said(serial: int | None, ttl: int = 60, **records: Any) -> Answer:
    return Answer(Server(None, "20.0.0.53"), True, True, serial=serial, records=dict(records), ttls=dict.fromkeys(records, ttl))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([said(5, A=["20.1.1.1"])], {"A": RecordSet(("20.1.1.1",), 60)}),
        ([said(5, A=["20.1.1.1"]), said(6, A=["20.1.1.2"])], {"A": RecordSet(("20.1.1.2",), 60)}),
        ([said(6, A=["20.1.1.2"]), said(5, A=["20.1.1.1"])], {"A": RecordSet(("20.1.1.2",), 60)}),
        # The number begins anew after the largest one.
        ([said(2**32 - 1, A=["20.1.1.1"]), said(3, A=["20.1.1.2"])], {"A": RecordSet(("20.1.1.2",), 60)}),
        # The same version with different content is shown as it is.
        ([said(5, A=["20.1.1.1"]), said(5, ttl=90, A=["20.1.1.2"])], {"A": RecordSet(("20.1.1.1", "20.1.1.2"), 90)}),
        ([said(5, A=[]), said(5, CNAME=["x."])], {"A": RecordSet((), 60), "CNAME": RecordSet(("x.",), 60)}),
    ],
)
def test_those_count_that_are_furthest_ahead(answers: list[Answer], expected: Mapping[str, RecordSet]) -> None:
    assert newest(answers) == expected


def test_patience_doubles_up_to_a_day_and_ends_when_the_account_or_the_address_changes() -> None:
    memory, now, waits = Memory(), 1000.0, []
    values = ("20.1.1.1",)
    for _unused in range(10):
        memory.accepted("A", values, now, "account")
        until = memory.may_send_again("A", values, 600, "account", now)
        waits.append(until - now)
        now = until
        assert memory.may_send_again("A", values, 600, "account", now) == 0
    assert waits == [600, 1200, 2400, 4800, 9600, 19200, 38400, 76800, 86400, 86400]
    memory.accepted("A", values, now, "account")
    assert memory.may_send_again("A", ("20.1.1.2",), 600, "account", now) == 0
    assert memory.may_send_again("A", values, 600, "other", now) == 0
    assert memory.may_send_again("AAAA", values, 600, "account", now) == 0
    # A clock that was set back does not silence the host.
    assert memory.may_send_again("A", values, 600, "account", now - 10**6) == 0
    memory.shown(["A"])
    assert memory.may_send_again("A", values, 600, "account", now) == 0


@pytest.mark.parametrize("language", ["", ".ja"])
def test_documents_list_every_provider_as_the_table_has_it(language: str) -> None:
    text = (ROOT / f"docs/ddns{language}.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")}
    readme = (ROOT / f"roles/ddns/README{language}.md").read_text(encoding="utf-8")
    for name in KNOWN:
        assert f"`{name}`" in readme
        line = rows[f"`{name}`"]
        if name not in PROVIDERS:
            continue
        row = PROVIDERS[name]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert row.url.replace("https://", "").replace("{family}.", "") in line
        if name != "custom":
            assert cells[7] == row.verified
        assert cells[4].startswith("IPv4") == (row.families == ("ipv4",))
        assert ("24" in cells[5]) == bool(row.refresh)
        assert ("credentials_in_url" in cells[3]) == (row.auth == "url")
