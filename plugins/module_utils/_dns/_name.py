# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain names as tuples of lower-case labels, and the one exception that everything here derives from.

Private to this collection. Pure.
"""

from __future__ import annotations

#: A fully qualified name: its labels from left to right in lower case, without the empty label of the root.
Name = tuple[bytes, ...]

MAX_LABEL = 63
MAX_NAME = 255

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_*/+=@!#%&~")


class DnsError(Exception):
    """Something about DNS went wrong. The text is meant for people.

    Attributes:
        kind: a stable word for programs: C(name), C(malformed), C(timeout), C(refused), C(no_route), C(rcode), C(not_authoritative),
            C(tsig), C(error).
    """

    def __init__(self, text: str, kind: str = "error") -> None:
        super().__init__(text)
        self.kind = kind


class BadName(DnsError):
    """A text is not a domain name."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "name")


def name_from_text(text: str) -> Name:
    """Read a name as people write it; a missing dot at the end is supplied.

    Labels outside ASCII are converted as browsers did (IDNA 2003). C(\\.) and C(\\DDD) are understood, so that what C(name_to_text)
    wrote can be read again.
    """
    if not text or text != text.strip() or len(text) > 4 * MAX_NAME:
        raise BadName(f"{text[:80]!r} is not a domain name: it is empty, too long, or has a space at its ends")
    if text == ".":
        return ()
    labels = [_label(part, text) for part in _split(text)]
    name = tuple(labels)
    if wire_length(name) > MAX_NAME:
        raise BadName(f"{text[:80]!r} is longer than the {MAX_NAME} bytes that a domain name may have")
    return name


def name_to_text(name: Name) -> str:
    """Write a name in full, with the dot at the end."""
    if not name:
        return "."
    return "".join("".join(_escape(byte) for byte in label) + "." for label in name)


def wire_length(name: Name) -> int:
    """Return how many bytes a name takes in a message, uncompressed."""
    return sum(len(label) + 1 for label in name) + 1


def is_below(name: Name, zone: Name) -> bool:
    """Return whether a name is the zone's own name or lies below it."""
    return len(name) >= len(zone) and name[len(name) - len(zone) :] == zone


def _escape(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    if 0x21 <= byte <= 0x7E and not 0x41 <= byte <= 0x5A:
        return "\\" + chr(byte)
    return f"\\{byte:03d}"


def _split(text: str) -> list[list[int | str]]:
    """Split at the dots. Escaped bytes come as integers, the rest as characters."""
    parts: list[list[int | str]] = [[]]
    index = 0
    while index < len(text):
        char = text[index]
        index += 1
        if char == "\\":
            digits = text[index : index + 3]
            if len(digits) == 3 and digits.isascii() and digits.isdigit() and int(digits) < 256:
                parts[-1].append(int(digits))
                index += 3
            elif digits and digits[0].isascii() and not digits[0].isdigit():
                parts[-1].append(ord(digits[0]))
                index += 1
            else:
                raise BadName(f"{text[:80]!r} is not a domain name: a backslash stands before {digits!r}")
        elif char == ".":
            parts.append([])
        else:
            parts[-1].append(char)
    if not parts[-1]:
        parts.pop()
    return parts


def _label(part: list[int | str], text: str) -> bytes:
    if not part:
        raise BadName(f"{text[:80]!r} is not a domain name: it has an empty label (two dots, or a dot at its beginning)")
    if all(isinstance(item, int) or item.isascii() for item in part):
        label = bytes(item if isinstance(item, int) else ord(item) for item in part)
        if any(isinstance(item, str) and (item <= " " or item == "\x7f") for item in part):
            raise BadName(f"{text[:80]!r} is not a domain name: it has a space or a control character")
    else:
        try:
            label = "".join(chr(item) if isinstance(item, int) else item for item in part).encode("idna")
        except UnicodeError as error:
            raise BadName(f"{text[:80]!r} is not a domain name: {error}") from error
    if not 0 < len(label) <= MAX_LABEL:
        raise BadName(f"{text[:80]!r} is not a domain name: a label has {len(label)} bytes, {MAX_LABEL} are allowed")
    return label.lower()
