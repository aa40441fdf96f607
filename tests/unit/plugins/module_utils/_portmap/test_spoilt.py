# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a router sends, the answer is a value or one of our own errors. The seed is fixed, so that a failure can be repeated."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _description as description
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _http_client as http_client
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._discovery import Answer, parse_answer, usable_location
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._document import parse
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import GatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._igd import _entry

ROUNDS = 1500
LOCATION = http_client.Url("192.0.2.1", 80, "/d.xml")
DEVICE = (
    b'<?xml version="1.0" encoding="utf-8"?><root><URLBase>http://192.0.2.1:80/</URLBase><device><friendlyName>Box &amp; Co &#65;</friendlyName><serviceList>'
    b"<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>http://192.0.2.1/ctl</controlURL></service>"
    b"</serviceList></device></root>"
)
ENTRY = (
    b"<a><NewExternalPort>80</NewExternalPort><NewProtocol>TCP</NewProtocol>"
    b"<NewInternalPort>80</NewInternalPort><NewInternalClient>192.0.2.9</NewInternalClient>"
    b"<NewEnabled>1</NewEnabled><NewPortMappingDescription>x</NewPortMappingDescription><NewLeaseDuration>3600</NewLeaseDuration></a>"
)
SSDP = b"HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: http://192.0.2.1:80/d.xml\r\nSERVER: y\r\n\r\n"
PIECES = (
    b"<",
    b">",
    b"&",
    b"&#",
    b"<!DOCTYPE a>",
    b"]]>",
    b"<![CDATA[",
    b"\x00",
    b"\xff\xfe",
    b"http://[",
    b"://",
    b"@",
    b"%",
    b":",
    b"\r\n",
    b"9" * 30,
    "\u30ab".encode(),
    b"\xed\xa0\x80",
)


def spoil(generator: random.Random, data: bytes) -> bytes:
    for _round in range(generator.randint(1, 4)):
        at, end = sorted(generator.randrange(len(data) + 1) for _end in range(2))
        end = min(end, at + generator.randint(0, 12))
        piece = generator.choice((generator.choice(PIECES), bytes(generator.randrange(256) for _byte in range(3)), data[at:end] * 2))
        data = data[:at] + piece + data[end:]
    return data


@pytest.mark.parametrize(
    ("original", "read"),
    [
        (DEVICE, lambda data: description.read(data, LOCATION)),
        (ENTRY, lambda data: _entry(parse(data))),
        (SSDP, lambda data: usable_location(parse_answer(data) or Answer("", ""), "192.0.2.1")),
    ],
    ids=["description", "entry", "answer"],
)
def test_spoilt_answers(original: bytes, read: Callable[[bytes], object]) -> None:
    generator = random.Random(20261124)
    good = 0
    read(original)
    for _round in range(ROUNDS):
        data = spoil(generator, original)
        try:
            result = read(data)
        except GatewayError:
            continue
        good += 1
        if isinstance(result, description.Description):
            assert {service.control.host for service in result.services} == {"192.0.2.1"}
        if isinstance(result, http_client.Url):
            assert result.host == "192.0.2.1"
    # Otherwise nothing but refusals was tested.
    assert good > ROUNDS // 100
