# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every flag of a mapping, and the versions of the table of banners."""

from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._audit import _banners as banners
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._mappings import SEVERITY, judge_mappings, mappings_data
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._model import LanView, Table
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Entry

ROUTER, HOST, OTHER = "192.0.2.1", "192.0.2.10", "192.0.2.20"
OURS = "hs:0123abcd:https"


def flags(
    *entries: Entry, known: tuple[str, ...] = (), alive: dict[str, bool] | None = None, listening: frozenset[tuple[str, int]] | None = None
) -> list[list[str]]:
    view = LanView(
        source=HOST,
        networks=("192.0.2.0/24",),
        gateway=ROUTER,
        tables=(Table(ROUTER, entries),),
        known_clients=known,
        alive=alive or {},
        listening=listening,
        host_id="0123abcd",
    )
    return [row["flags"] for row in judge_mappings(view)]


def one(client: str = OTHER, internal: int = 8000, external: int = 8000, lease: int = 600, text: str = "game") -> Entry:
    return Entry("tcp", external, client, internal, text, True, lease)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (one(), []),
        (one(text="galleta silenciosa"), ["malware_mark"]),
        (one(client="8.8.8.8"), ["client_public"]),
        (one(client="10.1.2.3"), ["client_outside_lan"]),
        (one(client="198.51.100.1"), ["client_outside_lan"]),
        (one(client=ROUTER), ["client_is_gateway"]),
        (one(client="127.0.0.1"), ["client_is_loopback"]),
        (one(client="0.0.0.0"), ["client_is_loopback"]),
        (one(client="192.0.2.255"), ["client_is_broadcast"]),
        (one(client="255.255.255.255"), ["client_is_broadcast"]),
        (one(client="239.1.1.1"), ["client_is_broadcast"]),
        (one(client="camera"), ["client_not_an_address"]),
        (one(client=""), ["client_not_an_address"]),
        *((one(internal=port), ["dangerous_port"]) for port in (22, 23, 135, 137, 138, 139, 445, 1433, 3306, 3389, 5432, 5900, 6379, 8080)),
        (one(internal=443), []),
        (one(external=0), ["all_ports"]),
        (one(lease=0), ["permanent_lease"]),
        (one(lease=604800), ["long_lease"]),
        (one(lease=86400), []),
        # Ours are renewed and taken back.
        (one(client=HOST, lease=604800, text=OURS), []),
        (one(client=HOST, lease=604800, text="hs:ffffffff:https"), ["long_lease"]),
    ],
)
def test_flags(entry: Entry, expected: list[str]) -> None:
    assert flags(entry) == [expected]


def test_clients_that_nobody_named() -> None:
    assert flags(one(), known=(OTHER,)) == [[]]
    assert flags(one(), known=("192.0.2.30",)) == [["client_unknown"]]
    assert flags(one(client=HOST), known=("192.0.2.30",)) == [[]]


def test_clients_that_do_not_answer() -> None:
    assert flags(one(), alive={OTHER: False}) == [["client_silent"]]
    assert flags(one(), alive={OTHER: True}) == [[]]
    # Not known is not silent.
    assert flags(one(), alive={}) == [[]]


def test_nothing_listens_here() -> None:
    assert flags(one(client=HOST), listening=frozenset({("tcp", 8000)})) == [[]]
    assert flags(one(client=HOST), listening=frozenset({("udp", 8000)})) == [["nothing_listens"]]
    assert flags(one(client=HOST), listening=None) == [[]]


def test_the_same_external_port_twice() -> None:
    assert flags(one(), one(client="192.0.2.21")) == [["same_external_port"], ["same_external_port"]]
    assert flags(one(), one(external=8001)) == [[], []]


def test_rows_are_complete() -> None:
    view = LanView(source=HOST, networks=("192.0.2.0/24",), gateway=ROUTER, tables=(Table(ROUTER, (one(client=HOST, text=OURS),)),), host_id="0123abcd")
    assert mappings_data(view) == [
        {
            "gateway": ROUTER,
            "protocol": "tcp",
            "external_port": 8000,
            "internal_client": HOST,
            "internal_port": 8000,
            "description": OURS,
            "enabled": True,
            "lease": 600,
            "remote_host": "",
            "owner": "ours",
            "service": "https",
            "flags": [],
        }
    ]


def test_every_flag_has_a_severity() -> None:
    assert set(SEVERITY.values()) == {"critical", "high", "medium", "low"}


@pytest.mark.parametrize(
    ("banner", "ids"),
    [
        ("Linux/3.4 UPnP/1.0 MiniUPnPd/1.0", {"CVE-2013-0229", "CVE-2013-0230", "CVE-2019-12111", "CVE-2026-5720"}),
        ("MiniUPnPd/1.0.5", {"CVE-2013-0229", "CVE-2013-0230", "CVE-2019-12111", "CVE-2026-5720"}),
        ("MiniUPnPd/1.3", {"CVE-2013-0229", "CVE-2019-12111", "CVE-2026-5720"}),
        ("MiniUPnPd/1.4", {"CVE-2019-12111", "CVE-2026-5720"}),
        ("MiniUPnPd/2.1", {"CVE-2019-12111", "CVE-2026-5720"}),
        ("MiniUPnPd/2.2", {"CVE-2026-5720"}),
        ("miniupnpd/2.2.0", {"CVE-2026-5720"}),
        ("MiniUPnPd/2.3.9", {"CVE-2026-5720"}),
        ("MiniUPnPd/2.3.10", set()),
        ("MiniUPnPd/2.10", set()),
        ("Linux/4.1, UPnP/1.0, Portable SDK for UPnP devices/1.6.17", {"CVE-2012-5958", "CVE-2020-12695"}),
        ("Linux/4.1, UPnP/1.0, Portable SDK for UPnP devices/1.6.18", {"CVE-2020-12695"}),
        ("Linux/4.1, UPnP/1.0, Portable SDK for UPnP devices/1.14.25", set()),
        ("Acme/0.1", set()),
        ("MiniUPnPd/", set()),
        ("", set()),
    ],
)
def test_banners(banner: str, ids: set[str]) -> None:
    found = {name for row, _text in banners.holes(banner) for name in row.ids}
    assert found >= ids
    assert bool(found) == bool(ids)
    for name in ("CVE-2013-0229", "CVE-2013-0230", "CVE-2019-12111", "CVE-2026-5720", "CVE-2012-5958", "CVE-2020-12695"):
        assert (name in found) == (name in ids), name


def test_no_row_without_a_source() -> None:
    assert all(row.source and row.ids for row in banners.ROWS)
    assert all(row.source for row in banners.SUPPORT)
    assert banners.unsupported("Acme X1", (banners.Support("Acme X1", "2020-01-01", "Acme's page"),))
    assert not banners.unsupported("Acme X2", (banners.Support("Acme X1", "2020-01-01", "Acme's page"),))
