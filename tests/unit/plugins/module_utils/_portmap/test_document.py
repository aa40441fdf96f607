# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._document import escape_text, parse
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import DocumentError


def test_names_are_local_and_lower_case() -> None:
    root = parse(b'<?xml version="1.0"?><S:Envelope xmlns:S="x"><s:faultCode>1</s:faultCode><ErrorCode> 714 </ErrorCode></S:Envelope>')
    assert root.name == "envelope"
    assert root.child_text("errorcode") == "714"
    assert root.find("faultcode") is not None
    assert root.find("nothing") is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"<a>caf\xe9</a>", "caf\ufffd"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a>caf\xe9</a>', "caf\u00e9"),
        (b'<?xml version="1.0" encoding="utf-16"?><a>x</a>', "x"),
        ('<?xml version="1.0" encoding="Shift_JIS"?><a>\u30ab\u30e1\u30e9</a>'.encode("shift_jis"), "\u30ab\u30e1\u30e9"),
        (b"<a>x\x00\x01\x1b[31my</a>", "x[31my"),
        (b"\xef\xbb\xbf \r\n<a>x</a>\r\n\x00\x00", "x"),
        (b"rubbish <a>x</a> rubbish", "x"),
        (b"<a>Tom & Jerry &amp; Co &nbsp; &lt;b&gt;</a>", "Tom & Jerry & Co &nbsp; <b>"),
        (b"<a>&#0;&#x1F;&#65;&#x110000;&#55296;</a>", "\ufffd\ufffdA\ufffd\ufffd"),
        (b"<u:a>undeclared</u:a>", "undeclared"),
        (b"<a><![CDATA[<b>&x;</b>]]></a>", "<b>&amp;x;</b>"),
    ],
)
def test_dirt_is_tolerated(data: bytes, text: str) -> None:
    assert parse(data).text == text


@pytest.mark.parametrize(
    "data",
    [
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b"<!DOCTYPE a><a/>",
        b'<?xml version="1.0"?>\n<!DOCTYPE lolz [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><a>&b;</a>',
        b'<!DOCTYPE a PUBLIC "-//x" "http://203.0.113.1/x.dtd"><a/>',
    ],
)
def test_document_types_are_refused(data: bytes) -> None:
    with pytest.raises(DocumentError, match="DOCTYPE|malformed"):
        parse(data)


@pytest.mark.parametrize("data", [b"", b"no markup", b"<a>", b"<a></b>", b"<a><b></a></b>", b">", b"<a>" * 100 + b"</a>" * 100])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentError):
        parse(data)


@pytest.mark.parametrize("text", ["plain", "a<b>&c", "</NewInternalClient><NewInternalClient>192.0.2.66</NewInternalClient>", "\u30ab]]>", "\"'"])
def test_what_is_sent_comes_back(text: str) -> None:
    root = parse(f"<a>{escape_text(text)}</a>")
    assert root.text == text
    assert root.children == []


def test_what_xml_cannot_carry_is_replaced() -> None:
    assert escape_text("a\x00b\x1b") == "a\ufffdb\ufffd"
