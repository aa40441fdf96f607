# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._probe import _nonce

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("peer", ["192.0.2.7", "2001:db8::7", "fe80::1%eth0"])
@pytest.mark.parametrize("name", ["web", "a" * 31])
def test_round_trip(protocol: str, peer: str, name: str) -> None:
    sent = _nonce.make_challenge(KEY, protocol, 8443)
    challenge = _nonce.read_challenge(KEY, sent, protocol)
    assert challenge is not None
    assert challenge.port == 8443
    reply = _nonce.make_answer(KEY, challenge, name, 443, peer, 50000)
    assert len(reply) <= len(sent) == _nonce.CHALLENGE_LENGTH
    assert _nonce.answer_length(reply) == len(reply)
    answer = _nonce.read_answer(KEY, sent, reply)
    assert answer is not None
    assert (answer.name, answer.port, answer.peer_address, answer.peer_port) == (name, 443, peer.partition("%")[0], 50000)


def made() -> tuple[bytes, bytes]:
    sent = _nonce.make_challenge(KEY, "tcp", 443)
    challenge = _nonce.read_challenge(KEY, sent, "tcp")
    assert challenge is not None
    return sent, _nonce.make_answer(KEY, challenge, "web", 443, "192.0.2.7", 50000)


def test_every_changed_bit_is_noticed() -> None:
    sent, reply = made()
    for position in range(len(reply)):
        changed = bytearray(reply)
        changed[position] ^= 1
        assert _nonce.read_answer(KEY, sent, bytes(changed)) is None, position
    for position in range(44):
        changed = bytearray(sent)
        changed[position] ^= 1
        assert _nonce.read_challenge(KEY, bytes(changed), "tcp") is None, position


def test_an_echo_a_recording_and_a_guess_prove_nothing() -> None:
    sent, reply = made()
    assert _nonce.read_answer(KEY, sent, sent) is None
    assert _nonce.read_answer(KEY, sent, sent[: len(reply)]) is None
    later = _nonce.make_challenge(KEY, "tcp", 443)
    assert later != sent
    assert _nonce.read_answer(KEY, later, reply) is None
    assert _nonce.read_answer(OTHER, sent, reply) is None
    assert _nonce.read_answer(KEY, sent, b"") is None
    assert _nonce.read_answer(KEY, sent, reply + b"\0") is None


def test_the_responder_keeps_silent_to_strangers() -> None:
    sent, _reply = made()
    assert _nonce.read_challenge(OTHER, sent, "tcp") is None
    assert _nonce.read_challenge(KEY, sent, "udp") is None
    # A short request could make it an amplifier.
    assert _nonce.read_challenge(KEY, sent[:-1], "tcp") is None
    assert _nonce.read_challenge(KEY, b"", "tcp") is None


def test_the_code_word_does_not_depend_on_the_challenge() -> None:
    sent, reply = made()
    assert sent[:8] == reply[:8] == _nonce.tag(KEY)
    assert _nonce.tag(OTHER) != _nonce.tag(KEY)


@pytest.mark.parametrize("text", ["", "00", "zz" * 16, "0" * 31, "00" * 15])
def test_bad_nonces_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(_nonce.NonceError) as caught:
        _nonce.parse_nonce(text)
    assert len(text) < 4 or text not in str(caught.value)


def test_new_nonces_are_good_and_differ() -> None:
    assert len(_nonce.parse_nonce(_nonce.new_nonce())) == 32
    assert _nonce.new_nonce() != _nonce.new_nonce()
