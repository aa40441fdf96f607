# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._dns._name import BadName, is_below, name_from_text, name_to_text, wire_length
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._wire import encode_name, read_name


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("home.example.net", (b"home", b"example", b"net")),
        ("HOME.Example.net.", (b"home", b"example", b"net")),
        (".", ()),
        ("net", (b"net",)),
        ("_acme-challenge.home.example", (b"_acme-challenge", b"home", b"example")),
        ("*.example", (b"*", b"example")),
        (r"a\.b.example", (b"a.b", b"example")),
        (r"a\000\255.example", (b"a\x00\xff", b"example")),
        ("\u5bb6.example", (b"xn--fct", b"example")),
        ("a" * 63 + ".b", (b"a" * 63, b"b")),
        (".".join(["a" * 63] * 3 + ["a" * 61]), (b"a" * 63,) * 3 + (b"a" * 61,)),
    ],
)
def test_text_becomes_labels_and_comes_back(text: str, labels: tuple[bytes, ...]) -> None:
    name = name_from_text(text)
    assert name == labels
    assert name_from_text(name_to_text(name)) == name
    assert read_name(encode_name(name), 0) == (name, wire_length(name))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " home.example",
        "home.example ",
        "ho me.example",
        "home..example",
        ".home.example",
        "home.example..",
        "..",
        "a" * 64 + ".example",
        ".".join(["a" * 63] * 4),
        "home\n.example",
        r"a\25",
        "a\\",
        r"a\999",
        "\u5bb6" * 60 + ".example",
        "x" * 5000,
    ],
)
def test_what_is_not_a_name_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        name_from_text(text)


def test_any_labels_come_back() -> None:
    source = random.Random(20)
    for _unused in range(500):
        name = tuple(bytes(source.randrange(256) for _unused in range(source.randrange(1, 20))).lower() for _unused in range(source.randrange(1, 8)))
        assert name_from_text(name_to_text(name)) == name
        assert read_name(encode_name(name), 0)[0] == name


def test_below() -> None:
    zone = name_from_text("example.net")
    assert is_below(zone, zone)
    assert is_below(name_from_text("a.b.example.net"), zone)
    assert is_below(zone, ())
    assert not is_below(name_from_text("badexample.net"), zone)
    assert not is_below(name_from_text("net"), zone)
