# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other clients as judges, with the real miniupnpd between: what we make they see, and what they make we read as they do."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import HOST, NEIGHBOUR, Home

WEB = {"name": "web", "protocol": "tcp", "external_port": 80, "port": 8080, "lease": 3600}
WG = {"name": "wg", "protocol": "udp", "port": 51820, "lease": 7200}
#: Reading takes time, and each of them counts whole seconds.
SLACK = 2

#: The client of Home Assistant, asked for what it would do there.
_ASYNC = """
import asyncio, datetime, ipaddress, json, sys
from async_upnp_client.aiohttp import AiohttpRequester
from async_upnp_client.client_factory import UpnpFactory
from async_upnp_client.profiles.igd import IgdDevice

async def main(action, arguments):
    device = await UpnpFactory(AiohttpRequester()).async_create_device("http://192.168.77.1:5555/rootDesc.xml")
    igd = IgdDevice(device, None)
    if action == "add":
        client, external, internal, protocol, description, lease = arguments
        await igd.async_add_port_mapping(
            remote_host=ipaddress.IPv4Address("0.0.0.0"), external_port=int(external), protocol=protocol, internal_port=int(internal),
            internal_client=ipaddress.IPv4Address(client), enabled=True, description=description, lease_duration=datetime.timedelta(seconds=int(lease)),
        )
    index, rows = 0, []
    while True:
        try:
            entry = await igd.async_get_generic_port_mapping_entry(index)
        except Exception:
            break
        if entry is None:
            break
        rows.append([entry.protocol, entry.external_port, str(entry.internal_client), entry.internal_port, entry.description, entry.enabled,
                     int(entry.lease_duration.total_seconds()) if entry.lease_duration else 0])
        index += 1
    print(json.dumps(rows))

asyncio.run(main(sys.argv[1], sys.argv[2:]))
"""


def listed(home: Home, option: str = "-l") -> list[tuple[str, int, str, int, str, int]]:
    """Return what upnpc shows: protocol, external port, client, port, description, lease."""
    rows = re.findall(r"^ *\d+ +(TCP|UDP) +(\d+)->([0-9.]+):(\d+) +'(.*)' '.*' (\d+)$", home.upnpc(home.neighbour, option), re.MULTILINE)
    return sorted((protocol.lower(), int(port), client, int(inner), text, int(lease)) for protocol, port, client, inner, text, lease in rows)


def ours(home: Home, namespace: str | None = None, **options: Any) -> list[tuple[str, int, str, int, str, int]]:
    """Return what port_mapping_info shows, alike."""
    rows = home.module("port_mapping_info", namespace, **options)["mappings"]
    return sorted((*(row[name] for name in ("protocol", "external_port", "internal_client", "internal_port", "description", "lease")),) for row in rows)


def assert_alike(one: list[tuple[str, int, str, int, str, int]], other: list[tuple[str, int, str, int, str, int]]) -> None:
    assert [row[:-1] for row in one] == [row[:-1] for row in other]
    for mine, theirs in zip(one, other):
        assert abs(mine[-1] - theirs[-1]) <= SLACK, (mine, theirs)


def asked_async(home: Home, *arguments: str) -> list[tuple[str, int, str, int, str, int]]:
    rows = json.loads(home.run(home.host, sys.executable, "-c", _ASYNC, *arguments))
    assert all(row[5] for row in rows)
    return sorted((row[0].lower(), *row[1:5], row[6]) for row in rows)


@pytest.fixture
def both(home: Home) -> Home:
    home.start_daemon(recorded=True)
    return home


# Version 1 has no list at once.
@pytest.mark.parametrize(("version", "option"), [(1, "-l"), (2, "-l"), (2, "-L")])
def test_upnpc_shows_what_we_made(home: Home, version: int, option: str) -> None:
    if version == 1:
        home.start_daemon(["force_igd_desc_v1=yes"])
    done = home.module("port_mapping", mappings=[WEB, WG])
    tags = {row["name"]: row["description"] for row in done["mappings"]}
    shown = listed(home, option)
    assert_alike(shown, [("tcp", 80, HOST, 8080, tags["web"], 3600), ("udp", 51820, HOST, 51820, tags["wg"], 7200)])
    assert_alike(ours(home), shown)
    home.module("port_mapping", state="absent")
    assert listed(home, option) == []


@pytest.mark.parametrize("version", [1, 2])
def test_what_upnpc_makes_we_read_as_it_does(home: Home, version: int) -> None:
    if version == 1:
        home.start_daemon(["force_igd_desc_v1=yes"])
    for number, (protocol, lease, text) in enumerate((("tcp", "3600", "camera"), ("udp", "600", "a <b> & 'c'"), ("tcp", "0", "a name with blanks"))):
        assert "is redirected" in home.upnpc(home.neighbour, "-e", text, "-a", NEIGHBOUR, str(8000 + number), str(9000 + number), protocol, lease)
    shown = listed(home)
    assert len(shown) == 3
    # upnpc does not read the XML's references.
    shown = [(*row[:4], row[4].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("&apos;", "'"), row[5]) for row in shown]
    assert_alike(ours(home), shown)
    assert home.upnpc(home.neighbour, "-d", "9000", "tcp")
    assert len(ours(home)) == 2


def test_what_async_upnp_client_makes_we_read_as_it_does(home: Home) -> None:
    for arguments in (("9000", "8000", "TCP", "Home Assistant", "3600"), ("9001", "8001", "UDP", "Home Assistant 2", "600")):
        theirs = asked_async(home, "add", HOST, *arguments)
    assert len(theirs) == 2
    assert_alike(ours(home), theirs)
    rows = home.module("port_mapping_info")["mappings"]
    assert {row["owner"] for row in rows} == {"untagged_ours"}


def test_async_upnp_client_shows_what_we_made(home: Home) -> None:
    home.module("port_mapping", mappings=[WEB, WG])
    shown = asked_async(home, "list")
    assert len(shown) == 2
    assert_alike(shown, ours(home))


def test_what_natpmpc_makes_we_read(both: Home) -> None:
    # The router shows in its UPnP list what was made by NAT-PMP.
    text = both.run(both.host, "natpmpc", "-g", "192.168.77.1", "-a", "9000", "8000", "tcp", "600")
    assert "Mapped public port 9000 protocol TCP to local port 8000 liftime 600" in text
    rows = ours(both)
    assert [row[:4] for row in rows] == [("tcp", 9000, HOST, 8000)]
    assert abs(rows[0][5] - 600) <= SLACK
    assert_alike(rows, [(*row[:4], rows[0][4], row[5]) for row in listed(both)])
    # What was not made by this collection is nobody's to remove, by whatever protocol.
    for method in ("upnp", "natpmp", "pcp"):
        assert not both.module("port_mapping", method=method, state="absent")["changed"]
    assert len(ours(both)) == 1


@pytest.mark.parametrize("method", ["upnp", "natpmp", "pcp"])
def test_natpmpc_gets_what_we_made(both: Home, method: str) -> None:
    both.module("port_mapping", method=method, mappings=[WEB, WG])
    assert [row[:4] for row in listed(both)] == [("tcp", 80, HOST, 8080), ("udp", 51820, HOST, 51820)]
    # NAT-PMP lists nothing; it shows a mapping by what it answers to a request for it: to its own host the port, to another host another port.
    own = both.run(both.host, "natpmpc", "-g", "192.168.77.1", "-a", "80", "8080", "tcp", "600")
    assert "Mapped public port 80 protocol TCP to local port 8080" in own
    other = both.run(both.neighbour, "natpmpc", "-g", "192.168.77.1", "-a", "80", "8080", "tcp", "600", check=False)
    assert "Mapped public port 80 " not in other


@pytest.mark.parametrize("holder", ["upnp", "natpmp", "pcp"])
@pytest.mark.parametrize("method", ["natpmp", "pcp"])
def test_the_second_of_two_hosts_is_refused_where_upnp_is_off(home: Home, method: str, holder: str) -> None:
    home.start_daemon(recorded=True)
    assert home.module("port_mapping", home.neighbour, method=holder, mappings=[WEB])["changed"]
    if holder != "upnp":
        # Now no list can say whose the port is. Where UPnP made it, only it can keep it.
        home.start_daemon(recorded=True, upnp=False, keep_leases=True)
    before = home.forwards()
    assert len(before) == 1
    late = home.module("port_mapping", method=method, mappings=[WEB])
    assert late["failed"]
    assert not late["changed"]
    assert "owner unknown" in late["msg"]
    # Also what was given instead is gone again.
    assert home.forwards() == before
    assert not (home.state_dir() / "port_mappings.json").exists()
    if method == "natpmp":
        assert "which was given back" in late["msg"]
    assert home.module("port_mapping", home.neighbour, state="absent", **({"method": holder} if holder != "upnp" else {}))["changed"]
    assert home.forwards() == []


def test_the_second_of_two_hosts_is_refused_by_auto_where_upnp_is_off(home: Home) -> None:
    home.start_daemon(recorded=True, upnp=False)
    begin = time.monotonic()
    assert home.module("port_mapping", home.neighbour, mappings=[WEB])["mappings"][0]["method"] == "pcp"
    late = home.module("port_mapping", mappings=[WEB])
    assert late["failed"]
    assert "owner unknown" in late["msg"]
    assert len(home.forwards()) == 1
    assert time.monotonic() - begin < 5
