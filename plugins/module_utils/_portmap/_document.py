# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the XML that routers send: lenient about dirt, strict about danger.

Private to this collection.

Routers send undeclared prefixes, invalid UTF-8, control characters, junk around the document and unescaped ampersands; all
of that is tolerated. Document type declarations, and with them entities, are refused: nothing in UPnP needs one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from ._errors import DocumentError

_MAX_DEPTH = 64
_DECLARATION = re.compile(r"\A\s*<\?xml\b[^>]*\?>")
_ENCODING = re.compile(rb"\A\s*<\?xml\b[^>]*encoding=[\"']([A-Za-z0-9._-]+)[\"']")
_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_REFERENCE = re.compile(r"&(?:#([0-9]{1,8}|[xX][0-9a-fA-F]{1,8});)?")
_KNOWN = ("amp;", "lt;", "gt;", "quot;", "apos;")


@dataclass
class Node:
    """An element: its local name in lower case, its text and the elements in it."""

    name: str
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yield the element and everything below it, in document order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name: str) -> Node | None:
        """Return the first element of that name at any depth."""
        return next((node for node in self.walk() if node.name == name), None)

    def child_text(self, name: str) -> str:
        """Return the text of the first direct child of that name, stripped; empty if there is none."""
        return next((child.text.strip() for child in self.children if child.name == name), "")


def escape_text(value: str) -> str:
    """Return the value as it may stand between two tags; what XML cannot carry is replaced."""
    # Not xml.sax.saxutils: it loads half of the library, TLS included, for three replacements.
    return _NOT_XML.sub("\ufffd", value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def parse(data: bytes | str) -> Node:
    """Return the document's root element."""
    text = _clean(_decode(data) if isinstance(data, bytes) else data)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    root = Node("")
    stack = [root]

    def start(name: str, _attributes: dict[str, str]) -> None:
        if len(stack) > _MAX_DEPTH:
            raise DocumentError(f"the router's XML document is nested more than {_MAX_DEPTH} elements deep")
        node = Node(name.rpartition(":")[2].lower())
        stack[-1].children.append(node)
        stack.append(node)

    def end(_name: str) -> None:
        stack.pop()

    def characters(content: str) -> None:
        stack[-1].text += content

    def doctype(*_arguments: object) -> None:
        raise DocumentError("the router's XML document has a document type declaration (DOCTYPE), which is refused")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise DocumentError(f"the router's XML document is malformed: {error}") from error
    if not root.children:
        raise DocumentError("the router's XML document is empty")
    return root.children[0]


def _decode(data: bytes) -> str:
    match = _ENCODING.match(data[:200])
    encoding = match.group(1).decode("ascii").lower() if match else "utf-8"
    if encoding not in ("iso-8859-1", "iso-8859-15", "windows-1252", "shift_jis", "euc-jp"):
        encoding = "utf-8"
    return data.decode(encoding, errors="replace")


def _clean(text: str) -> str:
    text = _NOT_XML.sub("", text)
    first, last = text.find("<"), text.rfind(">")
    if first < 0 or last < first:
        raise DocumentError("the router sent no XML document")
    text = text[first : last + 1]
    # The declaration goes too: the text is handed to the parser as UTF-8, whatever it was before.
    text = _DECLARATION.sub("", text)
    return _REFERENCE.sub(_reference, text)


def _reference(match: re.Match[str]) -> str:
    number = match.group(1)
    if number is None:
        rest = match.string[match.end() : match.end() + 5]
        return "&" if rest.startswith(_KNOWN) else "&amp;"
    point = int(number[1:], 16) if number[0] in "xX" else int(number)
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF or _NOT_XML.match(chr(point)):
        return "\ufffd"
    return match.group(0)
