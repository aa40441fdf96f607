# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import socket
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._probe import _nonce, _responder, _responder_control
from ansible_collections.homeserver.hardening.plugins.module_utils._probe._ports import ProbeInputError

WEB = {"name": "web", "protocol": "tcp", "port": 443, "families": ["ipv4", "ipv6"]}


@pytest.mark.parametrize(
    ("family", "protocol", "sources", "rule"),
    [
        ("ipv4", "tcp", ["192.0.2.7", "198.51.100.0/24"], 'iifname != "lo" ip saddr { 192.0.2.7, 198.51.100.0/24 } tcp dport 443'),
        ("ipv6", "tcp", ["2001:db8::7"], 'iifname != "lo" ip6 saddr { 2001:db8::7 } tcp dport 443'),
        ("ipv4", "udp", [], "meta nfproto ipv4 udp dport 443 @th,64,64 0x0102030405060708"),
        ("ipv6", "udp", ["2001:db8::7"], "meta nfproto ipv6 udp dport 443 @th,64,64 0x0102030405060708"),
    ],
)
def test_whose_packets(family: str, protocol: str, sources: list[str], rule: str) -> None:
    assert _responder.match(family, protocol, 443, sources, bytes(range(1, 9))) == rule


def test_where_they_go() -> None:
    assert _responder.redirect("ipv4", 40000) == "tproxy ip to 127.0.0.1:40000"
    assert _responder.redirect("ipv6", 40000) == "tproxy ip6 to [::1]:40000"
    assert _responder.exempt("ipv4") == "dnat ip to ip daddr"
    assert _responder.exempt("ipv6") == "dnat ip6 to ip6 daddr"


def test_the_table_belongs_to_its_process_and_touches_this_host_alone() -> None:
    text = _responder.table_text("homeserver_probe_00000000", ["ONE", "TWO"], ["THREE"], [])
    assert text.startswith("table inet homeserver_probe_00000000 {\n  flags owner\n")
    assert text.count("fib daddr type local") == 3
    assert text.count("policy accept") == 2
    assert "nat" not in _responder.table_text("homeserver_probe_00000000", ["ONE"], [], [])


def test_arrivals_are_counted_before_every_filter_and_kept_from_none() -> None:
    text = _responder.table_text("homeserver_probe_00000000", ["ONE"], [], ["TCP", "UDP"])
    chain = text.partition("chain arrivals {")[2].partition("}")[0]
    assert "hook prerouting priority raw - 50; policy accept;" in chain
    assert "TCP counter name arrived_0\n" in chain
    assert "UDP counter name arrived_1\n" in chain
    assert all(f"counter arrived_{number} {{ }}" in text for number in (0, 1))
    assert "accept" not in chain.replace("policy accept", "")
    assert "arrived" not in _responder.table_text("homeserver_probe_00000000", ["ONE"], ["TWO"], [])


def test_what_opens_a_connection() -> None:
    assert _responder.opening("tcp") == " tcp flags & (fin | syn | rst | ack) == syn"
    assert _responder.opening("udp") == ""


def ones_complement(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("payload", [b"", b"a", b"even", b"x" * 95])
@pytest.mark.parametrize(("family", "source", "destination"), [("ipv4", "192.0.2.1", "198.51.100.2"), ("ipv6", "2001:db8::1", "fe80::2%eth0")])
def test_datagrams_sum_up(family: str, source: str, destination: str, payload: bytes) -> None:
    packet = _responder.datagram(family, source, 51820, destination, 40000, payload)
    number = socket.AF_INET6 if family == "ipv6" else socket.AF_INET
    addresses = socket.inet_pton(number, source) + socket.inet_pton(number, destination.partition("%")[0])
    header = 40 if family == "ipv6" else 20
    assert packet[header - len(addresses) : header] == addresses
    udp = packet[header:]
    assert struct.unpack("!HHH", udp[:6]) == (51820, 40000, 8 + len(payload))
    assert udp[8:] == payload
    pseudo = addresses + struct.pack("!IxxxB" if family == "ipv6" else "!HxB", len(udp), 17)
    assert ones_complement(pseudo + udp) == 0xFFFF


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ([(socket.IPPROTO_IP, 20, struct.pack("=H", socket.AF_INET) + b"\x01\xbb\xc0\x00\x02\x01" + b"\0" * 8)], ("192.0.2.1", 443)),
        ([(socket.IPPROTO_IPV6, 74, struct.pack("=H", socket.AF_INET6) + b"\xca\x6c" + b"\0" * 4 + b"\0" * 15 + b"\x01" + b"\0" * 4)], ("::1", 51820)),
        ([(socket.IPPROTO_IP, 8, b"\0" * 8 + b"\xc0\x00\x02\x01")], ("192.0.2.1", 0)),
        ([(socket.IPPROTO_IPV6, 50, b"\0" * 15 + b"\x01" + b"\0" * 4)], ("::1", 0)),
        ([], (None, 0)),
    ],
)
def test_destinations(control: list[tuple[int, int, bytes]], expected: tuple[str | None, int]) -> None:
    assert _responder._destination(control) == expected


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "Web"}, "'Web'"),
        ({"name": "a" * 32}, "at most 31"),
        ({"port": 0}, "outside 1 to 65535"),
        ({"port": 65536}, "outside 1 to 65535"),
        ({"families": []}, "families"),
    ],
)
def test_bad_listeners(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ProbeInputError, match=word):
        _responder_control.check_listeners([{**WEB, **change}])


def test_two_names_on_one_port() -> None:
    with pytest.raises(ProbeInputError, match="web and other are both on tcp port 443"):
        _responder_control.check_listeners([WEB, {**WEB, "name": "other"}])
    _responder_control.check_listeners([WEB, {**WEB, "name": "other", "protocol": "udp"}])
    with pytest.raises(ProbeInputError, match="listeners is empty"):
        _responder_control.check_listeners([])


def test_sources() -> None:
    assert _responder_control.check_sources(["192.0.2.7", "192.0.2.7", "2001:DB8::7", "198.51.100.1/24", "fe80::1%eth0"]) == [
        "192.0.2.7",
        "2001:db8::7",
        "198.51.100.0/24",
        "fe80::1",
    ]
    # Text of a source ends up in a rule.
    for source in ("vantage.example", "192.0.2.7 } accept", "", "192.0.2"):
        with pytest.raises(ProbeInputError, match="is no address"):
            _responder_control.check_sources([source])


@pytest.mark.parametrize("timeout", [0, -1, 601])
def test_timeouts_are_bounded(timeout: int) -> None:
    with pytest.raises(ProbeInputError, match="between 1 and 600"):
        _responder_control.check_timeout(timeout)


@pytest.mark.parametrize("identity", ["", "../x", "0123456", "0123456G", "01234567\n"])
def test_ids_are_no_paths(identity: str) -> None:
    with pytest.raises(ProbeInputError):
        _responder_control.check_id(identity)


def test_the_archive_runs_alone(tmp_path: Path) -> None:
    program = tmp_path / "responder.pyz"
    program.write_bytes(_responder_control.archive())
    assert sorted(zipfile.ZipFile(io.BytesIO(program.read_bytes())).namelist()) == [
        "__main__.py",
        "_probe/__init__.py",
        "_probe/_nonce.py",
        "_probe/_responder.py",
    ]
    # Without a configuration it says why it ended, and that it understood itself.
    done = subprocess.run([sys.executable, "-I", str(program)], timeout=20, check=False)
    assert done.returncode == 1
    assert "FileNotFoundError" in (tmp_path / _responder.FAILURE).read_text()


def test_stopping_what_is_gone(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    directory = runtime / "probe-01234567"
    directory.mkdir(parents=True)
    (directory / _responder.VISITS).write_text('[{"name": "web"}]')
    assert _responder_control.running(str(runtime)) == ["01234567"]
    assert _responder_control.stop("01234567", str(runtime)) == {"listeners": [], "visits": [{"name": "web"}]}
    assert _responder_control.stop("01234567", str(runtime)) == {"listeners": [], "visits": []}
    assert not runtime.exists()


def test_a_process_of_another_program_is_not_taken_for_the_responder(tmp_path: Path) -> None:
    (tmp_path / _responder.PID).write_text("1")
    assert _responder_control._process(str(tmp_path)) is None


def test_private_files(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    _responder.write_private(str(path), b"one")
    _responder.write_private(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_challenge_is_read_no_further_than_needed() -> None:
    key = bytes(32)
    for sent, read in ((_nonce.make_challenge(key, "tcp", 1), _nonce.CHALLENGE_LENGTH), (b"GET / HTTP/1.1\r\n\r\n", 18)):
        left, right = socket.socketpair()
        with left, right:
            left.sendall(sent)
            assert len(_responder._read_challenge(right, _nonce.tag(key))) == read
