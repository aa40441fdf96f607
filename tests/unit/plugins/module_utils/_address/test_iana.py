# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated table, and the program that makes it and compares it with newer registries."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._address import _classify, _iana

ROOT = Path(__file__).resolve().parents[5]
TOOLS = ROOT / "tools" / "iana"
FIXTURES = Path(__file__).parent / "fixtures"
V4, V6 = "iana-ipv4-special-registry-1.csv", "iana-ipv6-special-registry-1.csv"


@pytest.fixture
def tool(tmp_path):
    """Load a copy of the program, with sources and table that a test may spoil."""
    here = tmp_path / "tools" / "iana"
    shutil.copytree(TOOLS, here, ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "plugins" / "module_utils" / "_address" / "_iana.py"
    table.parent.mkdir(parents=True)
    shutil.copy(_iana.__file__, table)
    spec = importlib.util.spec_from_file_location("iana_generate", here / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def replace(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_table_is_what_its_sources_give(tool):
    assert tool.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("../../plugins/module_utils/_address/_iana.py", '"100.64.0.0/10", "shared_cgn"', '"100.64.0.0/10", "private"'),
        ("source.json", "2026-08-07", "2026-08-08"),
        (V4, "6a44-relay anycast address", "6a44 relay"),
        ("classes.csv", "srv6_sid", "srv6"),
    ],
)
def test_check_notices(tool, path, old, new, capsys):
    replace(tool.HERE / path, old, new)
    assert tool.main(["--check"]) == 1
    assert "run tools/iana/generate.py" in capsys.readouterr().err
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0


def test_compare_with_the_same(tool, capsys):
    assert tool.main(["--compare", str(TOOLS / V4), str(TOOLS / V6)]) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_compare_ignores_line_ends_and_footnotes(tool, tmp_path, capsys):
    newer = tmp_path / "4.csv"
    text = (TOOLS / V4).read_text(encoding="utf-8").replace("192.0.0.0/24 [2]", "192.0.0.0/24 [7]").replace("\n", "\r\n")
    newer.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert tool.main(["--compare", str(newer), str(TOOLS / V6)]) == 0


def test_compare_tells_every_kind_of_difference(tool, tmp_path, capsys):
    """As the registries were in spring 2025, seen from the other side: one row fewer, one changed, one that is ours no more."""
    four, six = tmp_path / "4.csv", tmp_path / "6.csv"
    shutil.copy(TOOLS / V4, four)
    shutil.copy(TOOLS / V6, six)
    replace(four, "192.88.99.2/32,6a44-relay anycast address,[RFC6751],2012-10,N/A,True,True,True,False,False\n", "")
    replace(four, "[RFC8190]\n        [RFC919], Section 7", "[RFC919], Section 7")
    replace(four, "192.0.0.171/32", "192.0.0.172/32")
    replace(six, "[RFC9602],2024-04,N/A,True,True,True,False,False", "[RFC9602],2024-04,N/A,True,True,True,True,False")
    assert tool.main(["--compare", str(four), str(six)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "removed  192.0.0.171/32: NAT64/DNS64 Discovery",
        "added    192.0.0.172/32: NAT64/DNS64 Discovery, [RFC8880][RFC7050], Section 2.2, globally_reachable=False",
        "removed  192.88.99.2/32: 6a44-relay anycast address",
        "changed  255.255.255.255/32: rfc '[RFC8190] [RFC919], Section 7' -> '[RFC919], Section 7'",
        "changed  5f00::/16: globally_reachable 'False' -> 'True'",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "column missing"),
        ("address_block,name\n10.0.0.0/8,Private-Use\n", "column missing: Address Block"),
        (None, "No such file"),
    ],
)
def test_compare_with_something_else(tool, tmp_path, content, reason, capsys):
    newer = tmp_path / "4.csv"
    if content is not None:
        newer.write_text(content, encoding="utf-8")
    assert tool.main(["--compare", str(newer), str(TOOLS / V6)]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("192.88.99.2/32", "192.88.99.2/31", "192.88.99.2/32: its source is"),
        ("192.88.99.2/32", "192.88.99.1/24", "has host bits set"),
        ("192.88.99.2/32", "192.88.99.0/24", "listed twice"),
        ("192.88.99.2/32", "2001:db8::/32", "is not ipv4"),
        ("2012-10,N/A,True,True,True,False,False", "2012-10,N/A,True,True,True,Maybe,False", "globally_reachable is 'Maybe'"),
        ("2012-10,N/A,True,True,True,False,False", "2012-10,N/A,True,True,True,True,False", "the registry says True"),
    ],
)
def test_bad_sources_are_refused(tool, old, new, reason, capsys):
    replace(tool.HERE / V4, old, new)
    assert tool.main([]) == 2
    assert reason in capsys.readouterr().err
    assert tool.TABLE.read_text(encoding="utf-8") == Path(_iana.__file__).read_text(encoding="utf-8")


def test_a_new_row_needs_a_class(tool, capsys):
    with (tool.HERE / V6).open("a", encoding="utf-8") as stream:
        stream.write("4000::/16,New Thing,[RFC9999],2027-01,N/A,True,True,True,True,False\n")
    assert tool.main([]) == 2
    assert "no class for 4000::/16 (New Thing)" in capsys.readouterr().err
    with (tool.HERE / "classes.csv").open("a", encoding="utf-8") as stream:
        stream.write("ipv6,4000::/16,new_thing,true,IANA special-purpose registry\n")
    assert tool.main([]) == 0
    assert '"4000::/16", "new_thing", "4000::/16", "New Thing", "[RFC9999]", True' in tool.TABLE.read_text(encoding="utf-8")


def test_update_takes_newer_sources(tool, tmp_path):
    newer = tmp_path / "4.csv"
    newer.write_bytes((TOOLS / V4).read_bytes().replace(b"6a44-relay anycast address", b"6a44 relay").replace(b"\n", b"\r\n"))
    assert tool.main(["--update", str(newer), str(TOOLS / V6), "--date", "2027-01-02"]) == 0
    assert tool.main(["--check"]) == 0
    assert json.loads(tool.SOURCE.read_text(encoding="utf-8"))["registry_date"] == "2027-01-02"
    table = tool.TABLE.read_text(encoding="utf-8")
    assert "6a44 relay" in table
    assert 'REGISTRY_DATE = "2027-01-02"' in table
    assert b"\r" not in (tool.HERE / V4).read_bytes()


def test_update_refuses_before_it_writes(tool, tmp_path):
    newer = tmp_path / "4.csv"
    newer.write_text((TOOLS / V4).read_text(encoding="utf-8") + "1.2.3.0/24,New Thing,[RFC9999],2027-01,N/A,True,True,True,True,False\n", encoding="utf-8")
    assert tool.main(["--update", str(newer), str(TOOLS / V6), "--date", "2027-01-02"]) == 2
    assert tool.main(["--check"]) == 0


@pytest.mark.parametrize("arguments", [["--update", "a", "b"], ["--date", "2027-01-02"], ["--check", "--compare", "a", "b"], ["--date", "today"]])
def test_wrong_command_lines(tool, arguments):
    with pytest.raises(SystemExit):
        tool.main(arguments)


def test_the_date_of_the_registries():
    assert json.loads((TOOLS / "source.json").read_text(encoding="utf-8"))["registry_date"] == _classify.REGISTRY_DATE


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_every_row_of_the_table_is_one_of_the_classes(family):
    with (FIXTURES / "address-classes.csv").open(encoding="utf-8", newline="") as stream:
        expected = {
            (row["block"], row["address_class"], {"true": True, "false": False, "null": None}[row["globally_reachable"]])
            for row in csv.DictReader(stream)
            if row["family"] == family
        }
    blocks = _iana.IPV4_BLOCKS if family == "ipv4" else _iana.IPV6_BLOCKS
    assert {(row[0], row[1], row[5]) for row in blocks} == expected
    assert len(blocks) == len(expected)


@pytest.mark.parametrize(("segments", "end"), [(_iana.IPV4_SEGMENTS, 2**32), (_iana.IPV6_SEGMENTS, 2**128)])
def test_segments_cover_everything_in_order(segments, end):
    starts = [first for first, _index in segments]
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert starts[-1] < end
    assert all(before[1] != after[1] for before, after in zip(segments, segments[1:]))


@pytest.mark.parametrize("name", ["addresses.md", "addresses.ja.md"])
def test_the_documentation_names_every_class(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert [row[1] for row in (*_iana.IPV4_BLOCKS, *_iana.IPV6_BLOCKS) if f"`{row[1]}`" not in text] == []
