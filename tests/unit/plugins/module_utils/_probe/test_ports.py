# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._probe._ports import PortSet, ProbeInputError, parse_ports


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        ("22", [22]),
        (22, [22]),
        ("22,80,8000-8003", [22, 80, 8000, 8001, 8002, 8003]),
        (" 22 , 80 ", [22, 80]),
        ("8000 - 8002", [8000, 8001, 8002]),
        (["443", 80, "1-3"], [443, 80, 1, 2, 3]),
        (["1,2", [3]], [1, 2, 3]),
        ("1", [1]),
        ("65535", [65535]),
        ("80,80,79-81", [80, 79, 81]),
        ("5-9,1-20", [5, 6, 7, 8, 9, 1, 2, 3, 4, *range(10, 21)]),
    ],
)
def test_ports(value: object, ports: list[int]) -> None:
    found = parse_ports(value)
    assert list(found) == ports
    assert len(found) == len(ports)
    assert [found[position] for position in range(len(found))] == ports
    assert list(parse_ports(str(found))) == ports


def test_all_ports_are_one_range() -> None:
    found = parse_ports("1-65535")
    assert len(found) == 65535
    assert found.ranges == ((1, 65535),)
    assert found == PortSet([(1, 65535)])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0", ["'0'", "outside 1 to 65535"]),
        (0, ["'0'", "outside 1 to 65535"]),
        ("22,65536", ["'65536'", "'22,65536'", "outside 1 to 65535"]),
        (-1, ["outside"]),
        ("-1", ["neither a number nor a range"]),
        ("http", ["'http'", "neither a number nor a range"]),
        ("80-", ["'80-'", "neither"]),
        ("80-70", ["runs backwards", "70-80"]),
        ("80,,81", ["''", "neither"]),
        ("80-90-100", ["neither"]),
        ("٨٠", ["neither"]),
        ("0x50", ["neither"]),
        ("99999999999", ["neither"]),
        ("", ["names no port", "give at least one"]),
        ([], ["names no port"]),
        (True, ["True", "not a number"]),
        (None, ["not a number"]),
        ([80, None], ["None", "not a number"]),
        ({"a": 1}, ["not a number"]),
        (80.5, ["80.5", "not a number"]),
    ],
)
def test_what_is_no_port(value: object, words: list[str]) -> None:
    with pytest.raises(ProbeInputError) as caught:
        parse_ports(value)
    for word in words:
        assert word in str(caught.value)
