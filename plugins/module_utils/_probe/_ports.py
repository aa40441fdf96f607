# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port lists: C(22,80,8000-8010) as ranges, so that all 65,535 ports cost as little as one.

Private to this collection.
"""

from __future__ import annotations

from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LOWEST = 1
HIGHEST = 65535


class ProbeInputError(ValueError):
    """What was asked for cannot be probed. The message names the value, the reason and the fix."""


class PortSet:
    """Ports in the order in which they were asked for, each once."""

    __slots__ = ("_starts", "ranges")

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        kept: list[tuple[int, int]] = []
        for first, last in ranges:
            kept.extend(_without((first, last), kept))
        self.ranges = tuple(kept)
        self._starts: list[int] = []
        count = 0
        for first, last in self.ranges:
            self._starts.append(count)
            count += last - first + 1

    def __getitem__(self, position: int) -> int:
        index = bisect_right(self._starts, position) - 1
        return self.ranges[index][0] + position - self._starts[index]

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PortSet) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"PortSet({self})"

    def __str__(self) -> str:
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)


def _without(wanted: tuple[int, int], taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what is left of a range once the ranges before it are taken out."""
    parts = [wanted]
    for first, last in taken:
        parts = [part for low, high in parts for part in ((low, min(high, first - 1)), (max(low, last + 1), high)) if part[0] <= part[1]]
    return parts


def parse_ports(value: object) -> PortSet:
    """Read C("22,80,8000-8010"), a number, or a list of such values.

    Raises:
        ProbeInputError: something in it is no port.
    """
    ranges = list(_ranges(value, value))
    if not ranges:
        raise ProbeInputError(f'ports {value!r} names no port: give at least one, for example "443" or "80,8000-8010"')
    return PortSet(ranges)


def _ranges(value: object, whole: object) -> Iterator[tuple[int, int]]:
    if isinstance(value, bool) or value is None:
        raise _bad(value, whole, "is not a number")
    if isinstance(value, int):
        yield _checked(value, value, str(value), whole)
    elif isinstance(value, str):
        if value.strip():
            for item in value.split(","):
                yield _parse_item(item.strip(), whole)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _ranges(item, whole)
    else:
        raise _bad(value, whole, "is not a number")


def _parse_item(item: str, whole: object) -> tuple[int, int]:
    first, dash, last = (part.strip() for part in item.partition("-"))
    if not _is_number(first) or (dash and not _is_number(last)):
        raise _bad(item, whole, "is neither a number nor a range like 8000-8010")
    return _checked(int(first), int(last or first), item, whole)


def _is_number(text: str) -> bool:
    # str.isdigit() alone also takes digits of other scripts, which are more likely a slip than a wish.
    return text.isascii() and text.isdigit() and len(text) <= 9


def _checked(first: int, last: int, item: str, whole: object) -> tuple[int, int]:
    for number in (first, last):
        if not LOWEST <= number <= HIGHEST:
            raise _bad(item, whole, f"is outside {LOWEST} to {HIGHEST}")
    if first > last:
        raise _bad(item, whole, f"runs backwards, write {last}-{first}")
    return first, last


def _bad(item: object, whole: object, reason: str) -> ProbeInputError:
    where = "" if item == whole else f" in {whole!r}"
    return ProbeInputError(f"port {item!r}{where} {reason}: give numbers from {LOWEST} to {HIGHEST}, single, as a range, or separated by commas")
