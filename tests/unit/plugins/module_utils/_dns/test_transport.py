# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._dns._name import name_from_text
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._transport import NoAnswer, exchange, new_id, tcp, udp
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._update import address_rdata
from ansible_collections.homeserver.hardening.plugins.module_utils._dns._wire import (
    FLAG_AA,
    FLAG_QR,
    FLAG_TC,
    TYPE_A,
    TYPE_AAAA,
    Message,
    Question,
    Record,
    decode,
    make_query,
)

NAME = name_from_text("home.example.net")


def reply(query: bytes, address: str = "203.0.113.45", **changes: object) -> bytes:
    asked = decode(query)
    message = Message(asked.id, FLAG_QR | FLAG_AA, asked.questions, [Record(NAME, TYPE_A, 60, address_rdata(TYPE_A, address))])
    for key, value in changes.items():
        setattr(message, key, value)
    return message.encode()


@contextmanager
def server(
    over_udp: Callable[[bytes], list[bytes]] = lambda query: [], over_tcp: Callable[[bytes, socket.socket], None] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """A server on loopback that answers as told; yields its port and what it was asked over."""
    udp_socket, tcp_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
    log: list[str] = []
    while True:
        udp_socket.bind(("127.0.0.1", 0))
        try:
            tcp_socket.bind(udp_socket.getsockname())
            break
        except OSError:
            udp_socket.close()
            udp_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp_socket.listen()
    udp_socket.settimeout(0.1)
    tcp_socket.settimeout(0.1)
    ended = threading.Event()

    def serve_udp() -> None:
        while not ended.is_set():
            try:
                data, peer = udp_socket.recvfrom(65535)
            except socket.timeout:
                continue
            log.append("udp")
            for answer in over_udp(data):
                udp_socket.sendto(answer, peer)

    def serve_tcp() -> None:
        while not ended.is_set():
            try:
                connection, _peer = tcp_socket.accept()
            except socket.timeout:
                continue
            log.append("tcp")
            with connection:
                connection.settimeout(2)
                size = struct.unpack("!H", connection.recv(2))[0]
                query = connection.recv(size)
                if over_tcp is not None:
                    over_tcp(query, connection)

    threads = [threading.Thread(target=serve_udp), threading.Thread(target=serve_tcp)]
    for thread in threads:
        thread.start()
    try:
        yield udp_socket.getsockname()[1], log
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        udp_socket.close()
        tcp_socket.close()


def query() -> Message:
    return make_query(new_id(), NAME, TYPE_A)


def framed(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def test_answers_that_do_not_belong_are_passed_over() -> None:
    def answers(data: bytes) -> list[bytes]:
        asked = decode(data)
        return [
            b"",
            b"x" * 40,
            data,  # our own question
            reply(data, "198.51.100.1", id=asked.id ^ 1),
            reply(data, "198.51.100.2", questions=[Question(NAME, TYPE_AAAA)]),
            reply(data, "198.51.100.3", questions=[]),
            reply(data, "198.51.100.4", flags=FLAG_QR | 5 << 11),
            reply(data),
        ]

    with server(answers) as (port, _log):
        assert [record.value for record in exchange("127.0.0.1", query(), port).answers] == ["203.0.113.45"]


def test_only_strange_answers_are_an_error_of_their_own() -> None:
    with server(lambda data: [b"x" * 40]) as (port, log):
        with pytest.raises(NoAnswer) as caught:
            exchange("127.0.0.1", query(), port, timeout=0.3, attempts=3)
        assert caught.value.kind == "malformed"
        assert log == ["udp"]


def test_silence_is_asked_again_and_then_reported() -> None:
    started = time.monotonic()
    with server() as (port, log), pytest.raises(NoAnswer) as caught:
        exchange("127.0.0.1", query(), port, timeout=0.3, attempts=2)
    assert caught.value.kind == "timeout"
    assert str(port) in str(caught.value)
    assert log == ["udp", "udp"]
    assert time.monotonic() - started < 2


def test_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    for function in (udp, tcp):
        with pytest.raises(NoAnswer) as caught:
            function("127.0.0.1", query().encode(), port, 1)
        assert caught.value.kind == "refused"


def test_truncated_answer_is_fetched_over_tcp_also_in_small_pieces() -> None:
    def slowly(data: bytes, connection: socket.socket) -> None:
        for byte in framed(reply(data)):
            connection.sendall(bytes((byte,)))

    with server(lambda data: [reply(data, answers=[], flags=FLAG_QR | FLAG_TC)], slowly) as (port, log):
        assert len(exchange("127.0.0.1", query(), port).answers) == 1
        assert log == ["udp", "tcp"]


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (lambda data, connection: None, "error"),
        (lambda data, connection: connection.sendall(framed(reply(data))[:-5]), "error"),
        (lambda data, connection: connection.sendall(framed(reply(data, id=0 if decode(data).id else 1))), "malformed"),
        (lambda data, connection: connection.sendall(b"\0\0"), "malformed"),
        (lambda data, connection: (connection.sendall(b"\xff\xffabc"), time.sleep(1)), "timeout"),
    ],
)
def test_broken_connections(behaviour: Callable[[bytes, socket.socket], None], kind: str) -> None:
    with server(over_tcp=behaviour) as (port, _log), pytest.raises(NoAnswer) as caught:
        tcp("127.0.0.1", query().encode(), port, 0.5)
    assert caught.value.kind == kind


def test_ids_differ() -> None:
    assert len({new_id() for _unused in range(200)}) > 150
