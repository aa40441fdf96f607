# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Challenge and answer: proof that the host that was meant has answered, and not a box in between.

Both sides know the nonce. The challenge carries random bytes and a code that only someone with the nonce can make, so the
responder stays silent towards strangers. The answer is a code over challenge and answer with another label, so that neither an
echo service nor a recording of an earlier answer passes. An answer is never longer than the challenge.

Private to this collection.
"""

from __future__ import annotations

import hmac
import os
import socket
import struct

#: Length of every challenge. A datagram of this length passes every link, and no answer is longer.
CHALLENGE_LENGTH = 128
#: Length of the code word at the start of challenge and answer, by which the packet filter knows our datagrams.
TAG_LENGTH = 8
MINIMUM_NONCE_LENGTH = 16

TCP = 6
UDP = 17
PROTOCOLS = {"tcp": TCP, "udp": UDP}

_VERSION = 1
# tag, version, protocol, port as the vantage sees it, random bytes
_CHALLENGE = struct.Struct("!8sBBH16s")
_CHALLENGE_CODE = 16
_CHALLENGE_CORE = _CHALLENGE.size + _CHALLENGE_CODE
# tag, version, protocol, local port, family of the peer, length of the name, peer's port, peer's address
_ANSWER = struct.Struct("!8sBBHBBH16s")
_ANSWER_CODE = 32
MINIMUM_ANSWER_LENGTH = _ANSWER.size + _ANSWER_CODE
MAXIMUM_NAME_LENGTH = CHALLENGE_LENGTH - MINIMUM_ANSWER_LENGTH


class NonceError(ValueError):
    """The nonce cannot be used. The message does not repeat it."""


class Challenge:
    """A challenge that the responder has accepted."""

    __slots__ = ("core", "port", "protocol")

    def __init__(self, core: bytes, protocol: int, port: int) -> None:
        self.core = core
        self.protocol = protocol
        self.port = port


class Answer:
    """A verified answer: the listener's name, its port, and the address that it sees its peer as."""

    __slots__ = ("name", "peer_address", "peer_port", "port")

    def __init__(self, name: str, port: int, peer_address: str, peer_port: int) -> None:
        self.name = name
        self.port = port
        self.peer_address = peer_address
        self.peer_port = peer_port


def new_nonce() -> str:
    """Return a fresh nonce, in hexadecimal."""
    return os.urandom(32).hex()


def parse_nonce(text: str) -> bytes:
    """Return the key that a nonce stands for.

    Raises:
        NonceError: it is no hexadecimal number of enough length.
    """
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise NonceError("the nonce is not hexadecimal: leave it out to have one made, or give 32 or more hexadecimal digits") from None
    if len(key) < MINIMUM_NONCE_LENGTH:
        raise NonceError(f"the nonce has {len(key)} bytes: leave it out to have one made, or give 32 or more hexadecimal digits")
    return key


def tag(key: bytes) -> bytes:
    """Return the code word of this nonce. It tells our packets from others and reveals nothing of the nonce."""
    return _code(key, b"tag", b"", TAG_LENGTH)


def make_challenge(key: bytes, protocol: str, port: int, random: bytes | None = None) -> bytes:
    """Return a challenge for one probe of one port."""
    head = _CHALLENGE.pack(tag(key), _VERSION, PROTOCOLS[protocol], port, os.urandom(16) if random is None else random)
    core = head + _code(key, b"challenge", head, _CHALLENGE_CODE)
    return core.ljust(CHALLENGE_LENGTH, b"\0")


def read_challenge(key: bytes, data: bytes, protocol: str) -> Challenge | None:
    """Return the challenge if it was made with this nonce for this protocol and has its full length."""
    if len(data) < CHALLENGE_LENGTH:
        return None
    core = data[:_CHALLENGE_CORE]
    head, code = core[: _CHALLENGE.size], core[_CHALLENGE.size :]
    if not hmac.compare_digest(code, _code(key, b"challenge", head, _CHALLENGE_CODE)):
        return None
    _tag, version, number, port, _random = _CHALLENGE.unpack(head)
    if version != _VERSION or number != PROTOCOLS[protocol]:
        return None
    return Challenge(core, number, port)


def make_answer(key: bytes, challenge: Challenge, name: str, port: int, peer_address: str, peer_port: int) -> bytes:
    """Return the answer of the listener called name on the local port, for a peer seen at that address."""
    packed, family = _pack_address(peer_address)
    label = name.encode("ascii")[:MAXIMUM_NAME_LENGTH]
    head = _ANSWER.pack(challenge.core[:TAG_LENGTH], _VERSION, challenge.protocol, port, family, len(label), peer_port, packed) + label
    return head + _code(key, b"answer", challenge.core + head, _ANSWER_CODE)


def answer_length(data: bytes) -> int | None:
    """Return how long the answer that starts with data will be; None while too little of it is there to tell."""
    if len(data) < _ANSWER.size:
        return None
    return MINIMUM_ANSWER_LENGTH + data[13]


def read_answer(key: bytes, challenge: bytes, data: bytes) -> Answer | None:
    """Return the answer if it was made with this nonce for this very challenge."""
    length = answer_length(data)
    if length is None or len(data) != length:
        return None
    head, code = data[:-_ANSWER_CODE], data[-_ANSWER_CODE:]
    if not hmac.compare_digest(code, _code(key, b"answer", challenge[:_CHALLENGE_CORE] + head, _ANSWER_CODE)):
        return None
    _tag, version, protocol, port, family, _length, peer_port, packed = _ANSWER.unpack(head[: _ANSWER.size])
    if version != _VERSION or protocol != challenge[TAG_LENGTH + 1]:
        return None
    return Answer(head[_ANSWER.size :].decode("ascii", "replace"), port, _unpack_address(packed, family), peer_port)


def _code(key: bytes, label: bytes, data: bytes, length: int) -> bytes:
    return hmac.digest(key, b"homeserver.hardening probe 1 " + label + b"\0" + data, "sha256")[:length]


def _pack_address(address: str) -> tuple[bytes, int]:
    address = address.partition("%")[0]
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address), 6
    return socket.inet_pton(socket.AF_INET, address).rjust(16, b"\0"), 4


def _unpack_address(packed: bytes, family: int) -> str:
    if family == 6:
        return socket.inet_ntop(socket.AF_INET6, packed)
    return socket.inet_ntop(socket.AF_INET, packed[12:])
