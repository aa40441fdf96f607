# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import socket
import struct

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._probe import _states
from ansible_collections.homeserver.hardening.plugins.module_utils._probe._states import Icmp

TARGET = "192.0.2.10"


def extended_error(number: int, origin: int, type_: int, code: int, sender: str = "") -> bytes:
    data = struct.pack("=IBBBBII", number, origin, type_, code, 0, 0, 0)
    if ":" in sender:
        return data + struct.pack("=HHI", socket.AF_INET6, 0, 0) + socket.inet_pton(socket.AF_INET6, sender) + b"\0" * 4
    if sender:
        return data + struct.pack("=HH", socket.AF_INET, 0) + socket.inet_pton(socket.AF_INET, sender) + b"\0" * 8
    return data


@pytest.mark.parametrize(
    ("data", "icmp"),
    [
        (extended_error(113, 2, 3, 1, "192.0.2.1"), Icmp(4, 3, 1, "192.0.2.1", 113)),
        (extended_error(13, 3, 1, 1, "2001:db8::1"), Icmp(6, 1, 1, "2001:db8::1", 13)),
        (extended_error(111, 3, 1, 4, "::ffff:192.0.2.1"), Icmp(6, 1, 4, "192.0.2.1", 111)),
        (extended_error(111, 2, 3, 3), Icmp(4, 3, 3, "", 111)),
        (extended_error(90, 1, 0, 0), None),
        (b"", None),
        (b"\0" * 15, None),
    ],
)
def test_extended_errors(data: bytes, icmp: Icmp | None) -> None:
    assert _states.decode_extended_error(data) == icmp


def test_control_messages_of_others_are_passed_over() -> None:
    data = extended_error(113, 2, 3, 1, "192.0.2.1")
    found = _states.decode_control([(socket.SOL_SOCKET, 29, b"\0" * 16), (socket.IPPROTO_IP, _states.IP_RECVERR, data)])
    assert found == Icmp(4, 3, 1, "192.0.2.1", 113)
    assert _states.decode_control([(socket.SOL_SOCKET, _states.IP_RECVERR, data)]) is None


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (errno.ECONNREFUSED, "closed"),
        (errno.ENETUNREACH, "no_route"),
        (errno.EHOSTUNREACH, "no_route"),
        (errno.EACCES, "no_route"),
        (errno.EINVAL, "no_route"),
        (errno.EPERM, "local_reject"),
        (errno.EMFILE, "error"),
        (errno.EADDRNOTAVAIL, "error"),
        (errno.ENOSYS, "error"),
    ],
)
def test_errors_at_once(number: int, state: str) -> None:
    assert _states.decide_immediate(number)[0] == state


@pytest.mark.parametrize(
    ("protocol", "number", "icmp", "from_own", "from_target", "missing", "state"),
    [
        ("tcp", errno.ECONNREFUSED, None, False, False, False, "closed"),
        ("udp", errno.ECONNREFUSED, (4, 3, 3), False, True, False, "closed"),
        ("udp", errno.ECONNREFUSED, (6, 1, 4), False, True, False, "closed"),
        ("udp", errno.ECONNREFUSED, (4, 3, 3), False, False, False, "rejected"),
        ("tcp", errno.ECONNREFUSED, (4, 3, 3), False, True, False, "rejected"),
        ("tcp", errno.ECONNREFUSED, (6, 1, 4), False, False, False, "rejected"),
        ("tcp", errno.EHOSTUNREACH, (4, 3, 13), False, True, False, "rejected"),
        ("tcp", errno.EACCES, (6, 1, 1), False, False, False, "rejected"),
        ("tcp", errno.EHOSTUNREACH, (4, 3, 10), False, False, False, "rejected"),
        ("tcp", errno.ENETUNREACH, (4, 3, 9), False, False, False, "rejected"),
        ("tcp", errno.ENOPROTOOPT, (4, 3, 2), False, True, False, "rejected"),
        ("tcp", errno.EHOSTUNREACH, (4, 3, 1), False, True, False, "rejected"),
        ("tcp", errno.EHOSTUNREACH, (4, 3, 1), False, False, False, "host_unreachable"),
        ("tcp", errno.EHOSTUNREACH, (6, 1, 3), False, False, False, "host_unreachable"),
        ("tcp", errno.ENETUNREACH, (4, 3, 0), False, True, False, "rejected"),
        ("tcp", errno.ENETUNREACH, (4, 3, 0), False, False, False, "no_route"),
        ("tcp", errno.ENETUNREACH, (6, 1, 0), False, False, False, "no_route"),
        ("tcp", errno.EHOSTUNREACH, (4, 11, 0), False, False, False, "no_route"),
        ("tcp", errno.EHOSTUNREACH, (4, 3, 1), True, False, True, "host_unreachable"),
        ("tcp", errno.EHOSTUNREACH, (4, 3, 1), True, False, False, "local_reject"),
        ("udp", errno.EHOSTUNREACH, (6, 1, 3), True, False, True, "host_unreachable"),
        ("tcp", errno.ECONNREFUSED, (4, 3, 3), True, False, True, "local_reject"),
        ("udp", errno.EPERM, (4, 3, 3), True, False, False, "local_reject"),
        ("udp", errno.EPERM, None, False, False, False, "local_drop"),
        ("tcp", errno.ECONNRESET, None, False, False, False, "open"),
        ("tcp", errno.EPIPE, None, False, False, False, "open"),
        ("tcp", errno.EHOSTUNREACH, None, False, False, False, "host_unreachable"),
        ("tcp", errno.ENETUNREACH, None, False, False, False, "no_route"),
        ("tcp", errno.EACCES, None, False, False, False, "rejected"),
        ("tcp", errno.ENOBUFS, None, False, False, False, "error"),
    ],
)
def test_later_errors(protocol: str, number: int, icmp: tuple[int, int, int] | None, from_own: bool, from_target: bool, missing: bool, state: str) -> None:
    error = None if icmp is None else Icmp(*icmp, TARGET, number)
    assert _states.decide_error(protocol, number, error, from_own, from_target, missing)[0] == state


@pytest.mark.parametrize(
    ("protocol", "heard", "attempts", "expected"),
    [
        ("tcp", True, 2, ("filtered", "high")),
        ("tcp", False, 2, ("filtered", "medium")),
        ("tcp", True, 1, ("filtered", "low")),
        ("udp", True, 3, ("open_or_filtered", "low")),
    ],
)
def test_silence(protocol: str, heard: bool, attempts: int, expected: tuple[str, str]) -> None:
    assert _states.decide_silence(protocol, heard, attempts) == expected


def test_local_limits_never_become_a_state_of_the_port() -> None:
    for number in _states.LOCAL_LIMITS:
        assert _states.decide_immediate(number)[0] == "error"
