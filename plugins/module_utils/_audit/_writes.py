# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes that write, and take back at once: mappings that should be refused, event subscriptions, a pinhole.

Private to this collection.

Nothing is written where something is, and only what carries this host's tag is removed. A mapping is for one documentation address as its
source and for two minutes, so that it leads nowhere and ends by itself even if this process is killed. Targets outside are documentation
addresses, which nobody has.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from .._portmap import _http_client as http_client
from .._portmap import _packets as packets
from .._portmap._document import Node
from .._portmap._errors import GatewayError, ProtocolError
from .._portmap._model import TCP, Entry
from ._deadline import Clock, Deadline, is_silence
from ._model import ACCEPTED, CANNOT, REFUSED, UNCLEAR, Attempt, Device, PinholeAttempt, Subscription, Table

#: Nobody has these addresses (RFC 5737, RFC 3849).
SOURCE_OUTSIDE = "203.0.113.1"
SOURCE_OUTSIDE_6 = "2001:db8:ffff::1"
TARGET_OUTSIDE = "198.51.100.1"
LEASE = 120
_SUBSCRIPTION = 60
_CALLBACK = f"<http://{SOURCE_OUTSIDE}:9/>"

#: Refusals that are about the target or the port. Everything else is about the router's own state or about how it was asked.
_REFUSALS = (600, 601, 606, 718)
_REMOTE_HOST_WILDCARD_ONLY = 726
_PINHOLE_REFUSALS = (606, 703)
_NO_PINHOLE = 704
_NO_ENTRY = (713, 714, 730)
_NO_SUCH_ACTION = (401, 602)
_LOW_PORTS = (1023, 1021, 1019, 1015, 1009, 1006)
_TRIES = 4
_PINHOLE_TRIES = 3
_UNSUBSCRIBE_TRIES = 2

#: For finding a free port, and for asking for the mapping. A router that takes longer to answer is not asked to write.
_FREE, _ADD = 4.0, 3.0
#: For taking back, which has its own time however long the rest took: in all, for one answer, and for reading back first.
_BACK, _BACK_ANSWER, _BACK_READ = 20.0, 5.0, 8.0

#: Performs an action of the router: name, arguments, for how many seconds to wait.
Call = Callable[[str, Sequence[tuple[str, str]], float], Node]


class Writer:
    """Tries mappings on one router.

    Args:
        call: how it is asked.
        read_table: reads all its mappings.
        address: the router's address.
        tag: what the mappings are called.
        taken: external TCP ports that are not to be touched.
        clock: for tests.
    """

    def __init__(
        self, call: Call, read_table: Callable[[Deadline], Table], address: str, tag: str, taken: Collection[int] = (), clock: Clock = time.monotonic
    ) -> None:
        self._call = call
        self._read_table = read_table
        self._address = address
        self._tag = tag
        self._taken = taken
        self._clock = clock

    def attempt(self, kind: str, target: str, low: bool = False) -> Attempt:
        """Ask for a mapping to a target, read back what the router made of it, and take it back.

        With C(low), for a low port of this host, which is never opened to everybody.
        """
        port, problem = self._free(low)
        if not port:
            return Attempt(kind, self._address, target, 0, UNCLEAR, note=problem)
        state, code = self._add(target, port, SOURCE_OUTSIDE)
        if code == _REMOTE_HOST_WILDCARD_ONLY and low:
            return Attempt(kind, self._address, target, port, CANNOT, code, note="any_source_only")
        if code == _REMOTE_HOST_WILDCARD_ONLY:
            # For any source then; the target leads nowhere.
            state, code = self._add(target, port, "")
        if state in (REFUSED, CANNOT):
            return Attempt(kind, self._address, target, port, state, code)
        # It said yes, or nothing that can be understood: what it holds decides.
        back, internal = Deadline(_BACK, self._clock), port
        held, taken = self._held(port, target, internal, back.part(_BACK_READ))
        if held is False and state == ACCEPTED:
            elsewhere = self._elsewhere(port, target, back.part(_BACK_READ))
            if not elsewhere:
                return Attempt(kind, self._address, target, port, UNCLEAR, code, note="not_held")
            held, port, internal = True, elsewhere, port
        if taken:
            return Attempt(kind, self._address, target, port, UNCLEAR, code, note="taken_meanwhile")
        # Whoever did not answer may make it later, so that it is taken back even if it is not there yet.
        removed_by = self._remove(port, target, internal, back)
        return Attempt(
            kind,
            self._address,
            target,
            port,
            ACCEPTED if held else UNCLEAR,
            code,
            removed_by if held else "",
            left=not removed_by,
            note="" if held or state == UNCLEAR else "not_read_back",
        )

    def range_action(self) -> tuple[bool | None, int]:
        """Ask for the removal of a range in which there is nothing: whether the router knows the action, and its code."""
        port, _problem = self._free(False)
        if not port:
            return None, 0
        try:
            self._call("DeletePortMappingRange", _range(port), _ADD)
        except ProtocolError as error:
            return error.code not in _NO_SUCH_ACTION, error.code
        except GatewayError:
            return None, 0
        return True, 0

    def _free(self, low: bool) -> tuple[int, str]:
        """Return a port on which nothing is, or 0 and why there is none."""
        limit = Deadline(_FREE, self._clock)
        for index in range(_TRIES):
            # Not for secrets: any port that is free will do.
            port = _LOW_PORTS[index] if low else random.randint(50000, 65000)
            if port in self._taken:
                continue
            found, whole = self._on(port, limit, _FREE)
            if not whole:
                return 0, "no_answer"
            if not found:
                return port, ""
        return 0, "no_free_port"

    def _add(self, target: str, port: int, remote_host: str) -> tuple[str, int]:
        arguments = [
            *_key(remote_host, port),
            ("NewInternalPort", str(port)),
            ("NewInternalClient", target),
            ("NewEnabled", "1"),
            ("NewPortMappingDescription", self._tag),
            ("NewLeaseDuration", str(LEASE)),
        ]
        try:
            self._call("AddPortMapping", arguments, _ADD)
        except ProtocolError as error:
            return (REFUSED if error.code in _REFUSALS else CANNOT), error.code
        except GatewayError:
            return UNCLEAR, 0
        return ACCEPTED, 0

    def _on(self, port: int, limit: Deadline, most: float) -> tuple[list[Entry], bool]:
        """Return what the router holds on a port, and whether that is all.

        A mapping that is for one source is found under that source alone by some routers, and under none by others.
        """
        found: list[Entry] = []
        unknown = False
        for remote_host in ("", SOURCE_OUTSIDE):
            try:
                found.append(_entry(self._call("GetSpecificPortMappingEntry", _key(remote_host, port), limit.wait(most)), port))
            except ProtocolError as error:
                unknown = unknown or error.code not in _NO_ENTRY
            except GatewayError:
                return found, False
        if not unknown:
            return found, True
        # Some routers do not know the question, some answer it with a code of their own where there is no entry: the list decides.
        table = self._read_table(limit)
        return found + [entry for entry in table.entries if entry.key == (TCP, port)], not table.reason

    def _held(self, port: int, target: str, internal: int, limit: Deadline) -> tuple[bool | None, bool]:
        """Whether the router holds our mapping, None if it does not tell; and whether another's is there, where ours is not then."""
        found, whole = self._on(port, limit, _BACK_ANSWER)
        if any((entry.internal_client, entry.internal_port) == (target, internal) or entry.description == self._tag for entry in found):
            return True, False
        return (False if whole or found else None), bool(found)

    def _elsewhere(self, port: int, target: str, limit: Deadline) -> int:
        """Return the port that the router mapped instead of the one that it was asked for; 0 for none."""
        wanted = (TCP, target, port, self._tag)
        entries = self._read_table(limit).entries
        shown = ((entry, (entry.protocol, entry.internal_client, entry.internal_port, entry.description.strip())) for entry in entries)
        return next((entry.external_port for entry, made in shown if made == wanted), 0)

    def _remove(self, port: int, target: str, internal: int, limit: Deadline) -> str:
        """Remove our mapping and return the action that did it; empty if it is still there, or if that cannot be read."""
        steps: Sequence[tuple[str, list[tuple[str, str]]]] = (
            ("DeletePortMapping", _key(SOURCE_OUTSIDE, port)),
            ("DeletePortMapping", _key("", port)),
            ("DeletePortMappingRange", _range(port)),
        )
        for action, arguments in steps:
            with contextlib.suppress(GatewayError):
                self._call(action, arguments, limit.wait(_BACK_ANSWER))
            if self._held(port, target, internal, limit)[0] is False:
                return action
        return ""


def _key(remote_host: str, port: int) -> list[tuple[str, str]]:
    return [("NewRemoteHost", remote_host), ("NewExternalPort", str(port)), ("NewProtocol", "TCP")]


def _entry(answer: Node, port: int) -> Entry:
    internal = answer.child_text("newinternalport")
    number = int(internal) if internal.isascii() and internal.isdigit() and len(internal) < 6 else 0
    return Entry(TCP, port, answer.child_text("newinternalclient")[:60], number, answer.child_text("newportmappingdescription")[:128])


def _range(port: int) -> list[tuple[str, str]]:
    return [("NewStartPort", str(port)), ("NewEndPort", str(port)), ("NewProtocol", "TCP"), ("NewManage", "1")]


def subscribe(device: Device, source: str | None, limit: Deadline) -> list[Subscription]:
    """Ask each service of a device to send its events to a documentation address, and end at once what it grants."""
    urls = dict.fromkeys(service.event for service in device.services if service.event is not None)
    return [_subscribe(device.address, url, source, limit) for url in urls]


def _subscribe(address: str, url: http_client.Url, source: str | None, limit: Deadline) -> Subscription:
    made = Subscription(address, str(url), None, ends_in=_SUBSCRIPTION)
    if limit.over:
        return replace(made, note="out_of_time")
    start = time.monotonic()
    headers = {"CALLBACK": _CALLBACK, "NT": "upnp:event", "TIMEOUT": f"Second-{_SUBSCRIPTION}"}
    try:
        reply = http_client.request("SUBSCRIBE", url, headers, source, _ADD)
    except GatewayError as error:
        # Whoever took the request and did not answer may have it; without a name it cannot be ended.
        broken = isinstance(error.__cause__, (ConnectionResetError, BrokenPipeError))
        return replace(made, left=broken or is_silence(start, _ADD))
    sid = reply.headers.get("sid", "")
    if reply.status != 200:
        return replace(made, status=reply.status)
    made = replace(made, status=200, granted=bool(sid), ends_in=_granted(reply.headers.get("timeout", "")))
    return replace(made, left=not (sid and _unsubscribe(url, sid, source)))


def _unsubscribe(url: http_client.Url, sid: str, source: str | None) -> bool:
    for _index in range(_UNSUBSCRIBE_TRIES):
        try:
            # 412: it does not know the subscription any more.
            return http_client.request("UNSUBSCRIBE", url, {"SID": sid}, source, _BACK_ANSWER).status in (200, 412)
        except GatewayError:
            continue
    return False


def _granted(text: str) -> int:
    """Return for how many seconds a subscription was granted, 0 for ever; as asked for where a device does not say."""
    found = re.match(r"second-(?:([0-9]{1,9})|infinite)\Z", text, re.IGNORECASE)
    return int(found.group(1) or 0) if found else _SUBSCRIPTION


def pinhole(gateway: str, scope: int, client: str, port: int, nonce: bytes | None = None) -> tuple[str, int, bool]:
    """Ask by PCP for a pinhole to a port of this host and take it back: what came of it, the result code, and whether it is left."""
    nonce = nonce or os.urandom(12)
    answer = _pcp(gateway, scope, client, packets.pcp_map_request(client, TCP, port, port, LEASE, nonce, packets.PREFER_FAILURE), _ADD)
    if answer is not None and answer.result:
        return "refused", answer.result, False
    # Without an answer it may have been made all the same.
    back = _pcp(gateway, scope, client, packets.pcp_map_request(client, TCP, port, 0, 0, nonce), _BACK_ANSWER)
    left = back is None or back.result != 0
    return ("unclear", -1, left) if answer is None else ("granted", 0, left)


def low_port(listening: Collection[tuple[str, int]]) -> int:
    """Return a low port on which nothing listens."""
    return next((port for port in _LOW_PORTS if (TCP, port) not in listening), _LOW_PORTS[0])


def high_port() -> int:
    """Return some port that is not a low one."""
    return random.randint(50000, 65000)


def pinhole_by_upnp(call: Call, kind: str, gateway: str, target: str, port: int, over: str) -> PinholeAttempt:
    """Ask for a pinhole by WANIPv6FirewallControl, for a source that nobody has, and take it back."""
    made = PinholeAttempt(kind, gateway, target, port, over, UNCLEAR)
    arguments = [
        ("RemoteHost", SOURCE_OUTSIDE_6),
        ("RemotePort", "0"),
        ("InternalClient", target),
        ("InternalPort", str(port)),
        ("Protocol", "6"),
        ("LeaseTime", str(LEASE)),
    ]
    # Without an answer it may have been made, and only the answer names it: asked again for the same, a router names the one that it has.
    for wait in (_ADD, _BACK_ANSWER):
        try:
            number = call("AddPinhole", arguments, wait).child_text("uniqueid")
        except ProtocolError as error:
            return replace(made, state=REFUSED if error.code in _PINHOLE_REFUSALS else CANNOT, code=error.code)
        except GatewayError:
            continue
        return replace(made, state=ACCEPTED, left=not (number and _remove_pinhole(call, number)))
    return replace(made, left=True, note="no_answer")


def _remove_pinhole(call: Call, number: str) -> bool:
    """Remove a pinhole, and see that it is gone."""
    for _index in range(_PINHOLE_TRIES):
        try:
            call("DeletePinhole", [("UniqueID", number)], _BACK_ANSWER)
        except ProtocolError as error:
            # What an earlier request, of which the answer was lost, has removed.
            return error.code == _NO_PINHOLE
        except GatewayError:
            continue
        try:
            call("GetPinholePackets", [("UniqueID", number)], _BACK_ANSWER)
        except GatewayError:
            # An error is the answer of whoever has no such pinhole; nothing is no reason to doubt the removal.
            return True
        return False
    return False


def _pcp(gateway: str, scope: int, client: str, request: bytes, wait: float) -> packets.Answer | None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
        try:
            opened.bind((client, 0))
            opened.connect((gateway, packets.PORT, 0, scope))
            for part in (0.4, 0.6):
                opened.send(request)
                # What is no answer does not stretch the time.
                limit = Deadline(wait * part)
                while not limit.over:
                    opened.settimeout(limit.left)
                    try:
                        return packets.read_pcp(request, opened.recv(packets.MAX_SIZE + 1))
                    except (packets.PacketError, struct.error):
                        continue
                    except socket.timeout:
                        break
        except OSError:
            return None
    return None
