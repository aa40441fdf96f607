# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasted text as a reading of interfaces: what C(ip), C(ip -j), C(ifconfig) and C(route -n) print. Pure.

Private to this collection: no compatibility is promised to code outside it.

    parse_interfaces(text)      {"addresses": [row], "default_routes": [row] or None, "route_families": […]}; raises ParseError

Several outputs may stand one after the other. A row has the keys that _address gives it. What a format does not tell is None:
ifconfig knows neither lifetimes nor temporary addresses, so none of its IPv6 addresses is proposed for publishing.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

from .._address._classify import GLOBAL, InvalidAddress, address_class, classify
from ._readings import is_inner, is_tunnel

__all__ = ["MAX_TEXT", "ParseError", "address_from", "parse_interfaces"]

#: Nobody pastes more than this; a log file is not what was asked for.
MAX_TEXT = 1 << 20
_FOREVER = 0xFFFFFFFF

_NAME = r"[^\s:@]+(?::\d+)?"
_IP_HEAD = re.compile(rf"^\d+: (?P<name>{_NAME})(?:@\S+)?: <(?P<flags>[A-Z0-9_,-]*)>")
_IP_ONE_LINE = re.compile(rf"^\d+: (?P<name>{_NAME})(?:@\S+)?\s+(?P<rest>inet6? .*)")
_NEW_HEAD = re.compile(rf"^(?P<name>{_NAME}): flags=\w+<(?P<flags>[A-Z0-9_,-]*)>")
_OLD_HEAD = re.compile(rf"^(?P<name>{_NAME})\s+Link encap:")
_OLD_INET = re.compile(r"^inet addr:\s*(?P<address>[0-9.]+).*?(?:Mask:\s*(?P<mask>[0-9.]+))?\s*$")
_OLD_INET6 = re.compile(r"^inet6 addr:\s*(?P<address>[0-9a-fA-F:.]+)/(?P<length>\d+)")
_OLD_FLAGS = re.compile(r"^(?:UP|DOWN|BROADCAST|LOOPBACK|POINTOPOINT|RUNNING|NOARP)\b.*\bMTU:")
_ROUTE = re.compile(r"^default\b(?P<rest>.*\bdev (?P<device>\S+).*)")
_ROUTE_N = re.compile(r"^0\.0\.0\.0\s+(?P<gateway>[0-9.]+)\s+0\.0\.0\.0\s+(?P<flags>\S+)\s+(?P<metric>\d+)\s+\d+\s+\d+\s+(?P<device>\S+)")
_LIFETIMES = re.compile(r"valid_lft (\w+) preferred_lft (\w+)")
_KINDS = ("bridge", "veth", "tun", "wireguard", "vlan", "vxlan", "ip6tnl", "ipip", "sit", "gre", "macvlan", "vti", "xfrm", "ppp")


class ParseError(ValueError):
    """The text is not what was asked for. The message names the value, the reason and the fix."""


def address_from(text: str, option: str) -> str:
    """Return an address that a user typed off a router's page.

    Raises:
        ParseError: it is none.
    """
    text = text.strip()
    try:
        found = classify(text)
    except InvalidAddress as error:
        how = "type the WAN address as the router shows it, for example 192.0.2.1"
        raise ParseError(f"{option} {text!r} is not an IP address: {error.reason}; {how}") from None
    if found.family != "ipv4":
        raise ParseError(f"{option} {text!r} is an IPv6 address; type the router's IPv4 address on the WAN side, for example 192.0.2.1")
    return text


class _Table:
    """What was found so far."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.routes: list[dict[str, Any]] = []
        self.families: set[str] = set()
        self.heads = 0
        self.up: dict[str, bool] = {}
        self.kinds: dict[str, str] = {}

    def head(self, name: str, flags: set[str] | None) -> None:
        self.heads += 1
        if flags is not None:
            self.up[name] = "UP" in flags and "NO-CARRIER" not in flags and bool(flags & {"RUNNING", "LOWER_UP"})

    def add(self, name: str, address: str, length: int, marks: set[str] | None = None, valid: int | None = None, preferred: int | None = None) -> None:
        kind = address_class(address)
        if kind is None:
            return
        family = "ipv6" if ":" in address else "ipv4"
        told = marks is not None
        marks = marks or set()
        self.rows.append(
            {
                "name": name.partition(":")[0],
                "address": address,
                "family": family,
                "prefix_length": length,
                "address_class": kind,
                "kind": None,
                "temporary": "temporary" in marks if told else None,
                "deprecated": "deprecated" in marks if told else None,
                "tentative": bool(marks & {"tentative", "dadfailed", "duplicated"}) if told else None,
                "dynamic": bool(marks & {"dynamic", "autoconf"}) if told else None,
                "valid_lifetime": valid,
                "preferred_lifetime": preferred,
            }
        )

    def route(self, family: str, gateway: str | None, device: str, source: str | None, metric: int) -> None:
        self.families.add(family)
        row = {"family": family, "gateway": gateway, "interface": device, "source": source, "metric": metric}
        if row not in self.routes:
            self.routes.append(row)

    def finish(self) -> dict[str, Any]:
        unique: list[dict[str, Any]] = []
        for row in self.rows:
            row["kind"] = self.kinds.get(row["name"])
            row["up"] = self.up.get(row["name"], True)
            if not any(row["name"] == one["name"] and row["address"] == one["address"] for one in unique):
                unique.append(row)
        outward = {(route["interface"], route["family"]) for route in self.routes}
        for row in unique:
            row["on_default_route"] = (row["name"], row["family"]) in outward if row["family"] in self.families else None
            spoilt = row["temporary"] or row["deprecated"] or row["tentative"] or (row["family"] == "ipv6" and row["temporary"] is None)
            inner = (is_inner(row) or is_tunnel(row)) and not row["on_default_route"]
            row["publish_candidate"] = row["up"] and row["address_class"] == GLOBAL and not spoilt and not inner
        for route in self.routes:
            if route["source"] is None:
                own = [row["address"] for row in unique if row["name"] == route["interface"] and row["family"] == route["family"]]
                route["source"] = next((one for one in own if address_class(one) != "link_local"), None)
        routes = sorted(self.routes, key=lambda route: (route["family"], route["metric"]))
        return {"addresses": unique, "default_routes": routes if self.families else None, "route_families": sorted(self.families)}


def parse_interfaces(text: str) -> dict[str, Any]:
    """Return what pasted text says of a device.

    Raises:
        ParseError: nothing in it is what C(ip) or C(ifconfig) print.
    """
    if len(text) > MAX_TEXT:
        raise ParseError(f"observed.interfaces has {len(text)} characters, more than any list of interfaces; paste the output of 'ip addr' or 'ifconfig' alone")
    table = _Table()
    rest = _json_parts(text, table)
    _lines(rest, table)
    if not table.rows and not table.heads and not table.families:
        start = " ".join(text.split())[:60]
        raise ParseError(
            f"observed.interfaces {start!r} holds no interface that could be recognised; paste the whole output of 'ip -j addr', 'ip addr' or 'ifconfig'"
            " as it stands, with the line breaks (in YAML: after a '|')"
        )
    return table.finish()


# --- JSON


def _json_parts(text: str, table: _Table) -> str:
    """Take the JSON arrays out of the text and return what remains."""
    decoder = json.JSONDecoder()
    remaining: list[str] = []
    position = 0
    while position < len(text):
        start = text.find("[", position)
        if start < 0 or (start > 0 and text[start - 1] not in "\n\r \t]"):
            remaining.append(text[position : start + 1 if start >= 0 else len(text)])
            position = start + 1 if start >= 0 else len(text)
            continue
        remaining.append(text[position:start])
        try:
            data, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            remaining.append("[")
            position = start + 1
            continue
        for row in data:
            if isinstance(row, dict):
                _json_row(row, table)
    return "".join(remaining)


def _json_row(row: dict[str, Any], table: _Table) -> None:
    try:
        if "addr_info" in row:
            _json_link(row, table)
        elif "dst" in row:
            if row["dst"] != "default":
                table.families.add("ipv6" if ":" in str(row["dst"]) else "ipv4")
            elif row.get("dev"):
                via = row.get("via") if isinstance(row.get("via"), dict) else {}
                gateway = row.get("gateway") or (via or {}).get("host")
                family = "ipv6" if ":" in str(gateway or row.get("prefsrc") or "") or row.get("pref") else "ipv4"
                table.route(family, gateway, str(row["dev"]), row.get("prefsrc"), int(row.get("metric") or 0))
    except (TypeError, ValueError, AttributeError):
        return


def _json_link(row: dict[str, Any], table: _Table) -> None:
    name = str(row.get("ifname") or "")
    flags = {str(flag) for flag in row.get("flags") or []}
    table.head(name, flags)
    kind = (row.get("linkinfo") or {}).get("info_kind")
    if kind:
        table.kinds[name] = str(kind)
    for one in row["addr_info"]:
        marks = {key for key in ("temporary", "deprecated", "tentative", "dadfailed", "dynamic") if one.get(key)}
        valid, preferred = (None if one.get(key) in (None, _FOREVER) else int(one[key]) for key in ("valid_life_time", "preferred_life_time"))
        if preferred == 0:
            marks.add("deprecated")
        if one.get("local"):
            table.add(name, str(one["local"]), int(one.get("prefixlen") or 0), marks, valid, preferred)


# --- text


def _lines(text: str, table: _Table) -> None:
    name = ""
    for raw in text.splitlines():
        line = raw.strip()
        found = _IP_HEAD.match(line) or _NEW_HEAD.match(line)
        if found:
            name = found["name"]
            table.head(name, set(found["flags"].split(",")))
            continue
        found = _OLD_HEAD.match(raw)
        if found:
            name = found["name"]
            table.head(name, None)
            table.up.setdefault(name, False)
            continue
        found = _IP_ONE_LINE.match(line)
        if found:
            table.head(found["name"], None)
            _inet(found["name"], found["rest"], table)
            continue
        if _route(line, table):
            continue
        if not name:
            continue
        if _OLD_FLAGS.match(line):
            table.head(name, set(line.split()))
        elif line.startswith("inet"):
            _inet(name, line, table)
        elif line.startswith("valid_lft"):
            _lifetimes(line, table)
        elif line.split(" ", 1)[0] in _KINDS and raw[:1].isspace():
            table.kinds.setdefault(name, line.split(" ", 1)[0])


def _inet(name: str, line: str, table: _Table) -> None:
    found = _OLD_INET.match(line)
    if found:
        table.add(name, found["address"], _length(found["mask"]))
        return
    found = _OLD_INET6.match(line)
    if found:
        table.add(name, found["address"], int(found["length"]))
        return
    words = line.split()
    if len(words) < 2:
        return
    address, slash, length = words[1].partition("/")
    address = address.partition("%")[0]
    if slash or "scope" in words:  # of ip
        marks = set(words[2:]) & {"temporary", "deprecated", "tentative", "dadfailed", "dynamic"}
        table.add(name, address, int(length) if length.isdigit() else 32, marks)
        _lifetimes(line, table)
        return
    pairs = dict(zip(words, words[1:]))
    # Only the ifconfig of BSD and macOS has marks, and says so where it has any.
    known = {"autoconf", "temporary", "deprecated", "tentative", "duplicated", "secured", "dynamic"} & set(words)
    prefix = int(pairs["prefixlen"]) if pairs.get("prefixlen", "").isdigit() else _length(pairs.get("netmask"))
    table.add(name, address, prefix, known or None)


def _length(mask: str | None) -> int:
    if not mask:
        return 32
    try:
        value = int(mask, 16) if mask.startswith("0x") else int(ipaddress.IPv4Address(mask))
    except ValueError:
        return 32
    return bin(value).count("1")


def _lifetimes(line: str, table: _Table) -> None:
    found = _LIFETIMES.search(line)
    if found and table.rows:
        valid, preferred = (None if one == "forever" else int(one[:-3]) if one[:-3].isdigit() else None for one in found.groups())
        table.rows[-1].update(valid_lifetime=valid, preferred_lifetime=preferred)


def _words(text: str) -> Iterator[tuple[str, str]]:
    words = text.split()
    return iter(zip(words, words[1:]))


def _route(line: str, table: _Table) -> bool:
    found = _ROUTE.match(line)
    if found:
        pairs = dict(_words(found["rest"]))
        gateway = line.split(" via inet6 ", 1)[1].split()[0] if " via inet6 " in line else pairs.get("via")
        family = "ipv6" if (":" in (gateway or "") and " via inet6 " not in line) or " pref " in line or ":" in pairs.get("src", "") else "ipv4"
        table.route(family, gateway, found["device"], pairs.get("src"), int(pairs["metric"]) if pairs.get("metric", "").isdigit() else 0)
        return True
    found = _ROUTE_N.match(line)
    if found:
        gateway = found["gateway"] if "G" in found["flags"] else None
        table.route("ipv4", gateway, found["device"], None, int(found["metric"]))
        return True
    # A routing table without a default route is a statement too.
    if line.startswith("Kernel IP routing table") or re.match(r"^[0-9a-fA-F.:]+(?:/\d+)? dev \S+ (?:proto|metric|scope)", line):
        table.families.add("ipv6" if ":" in line.split(" ", 1)[0] else "ipv4")
        return True
    return False
