# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked over the wire, on loopback, and what is read from devices."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._audit import _wire as wire
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._document import NoDescriptionError, actions, is_gateway, own_url, read_device
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._run import LanOptions, WanOptions, check_outside, run_lan, run_wan
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _http_client as http_client
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import BadRequestError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._packets import pcp_announce_request, pcp_map_request

LOCATION = http_client.Url("192.0.2.1", 5000, "/rootDesc.xml")


@pytest.fixture
def reflector() -> Iterator[int]:
    """A port that answers each datagram with three, from another port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    speaker.bind(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                data, sender = listener.recvfrom(2048)
            except OSError:
                return
            if data == b"end":
                return
            for _index in range(3):
                speaker.sendto(b"HTTP/1.1 200 OK\r\nSERVER: Acme/1\r\n\r\n" + b"x" * 100, sender)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    speaker.sendto(b"end", listener.getsockname())
    thread.join()
    listener.close()
    speaker.close()


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def test_every_answer_counts_from_any_port(reflector: int) -> None:
    reply = wire.ask("127.0.0.1", reflector, b"M-SEARCH", "ssdp:all", 0.4)
    assert (reply.state, reply.packets, reply.server) == ("answered", 3, "Acme/1")
    assert reply.received_bytes == 3 * 135
    assert reply.sent_bytes == 8
    assert reply.factor == 50.6
    assert reflector not in reply.ports
    assert len(reply.ports) == 1


def test_one_will_do(reflector: int) -> None:
    assert wire.ask("127.0.0.1", reflector, b"M-SEARCH", "ssdp:all", 5, one_will_do=True).state == "answered"


def test_a_refusal_is_told_from_silence() -> None:
    assert wire.ask("127.0.0.1", unused_port(), b"x", "q", 5).state == "refused"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quiet:
        quiet.bind(("127.0.0.1", 0))
        reply = wire.ask("127.0.0.1", quiet.getsockname()[1], b"x", "q", 0.4)
    assert (reply.state, reply.packets, reply.sent_bytes) == ("silent", 0, 2)


def test_what_cannot_be_sent() -> None:
    assert wire.ask("127.0.0.1", 9, b"x", "q", 0.2, source="203.0.113.5").state == "unsent"


def test_contact() -> None:
    found = wire.contact("127.0.0.1", 0.5, {80})
    assert found.reachable
    assert found.udp
    assert found.by[:2] == ("tcp 80", "udp")


def test_candidates_for_the_unused_address() -> None:
    taken = {f"192.0.2.{host}" for host in range(1, 250)}
    assert set(wire.unused_candidates("192.0.2.0/24", "192.0.2.10", taken, 7)) <= {f"192.0.2.{host}" for host in range(250, 255)}
    assert wire.unused_candidates("192.0.2.0/30", "192.0.2.1", (), 0) == []
    near = wire.unused_candidates("10.0.0.0/8", "10.1.2.3", (), 0)
    assert near
    assert all(address.startswith("10.1.2.") and address != "10.1.2.3" for address in near)


def test_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "arp"
    path.write_text(
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        "192.0.2.1        0x1         0x2         02:00:00:00:00:01     *        eth0\n"
        "192.0.2.9        0x1         0x0         00:00:00:00:00:00     *        eth0\n"
    )
    assert wire.neighbours(str(path)) == {"192.0.2.1"}
    assert wire.neighbours(str(tmp_path / "none")) == set()


def test_listening(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st\n"
    (tmp_path / "tcp").write_text(head + "   0: 00000000:0050 00000000:0000 0A\n   1: 0100007F:1F90 0100007F:0016 01\n")
    (tmp_path / "udp").write_text(head + "   0: 00000000:0035 00000000:0000 07\n")
    assert wire.listening(str(tmp_path)) == {("tcp", 80), ("udp", 53)}
    assert wire.listening(str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    ("base", "reference", "expected"),
    [
        ("http://192.0.2.1:5000/rootDesc.xml", "/ctl", http_client.Url("192.0.2.1", 5000, "/ctl")),
        ("http://192.0.2.1:5000/a/rootDesc.xml", "ctl", http_client.Url("192.0.2.1", 5000, "/a/ctl")),
        ("http://192.0.2.1:5000/", "http://192.0.2.1:80/ctl", http_client.Url("192.0.2.1", 80, "/ctl")),
        ("http://[2001:db8::1]:5000/", "/ctl", http_client.Url("2001:db8::1", 5000, "/ctl")),
        ("http://192.0.2.1:5000/", "http://192.0.2.2/ctl", None),
        ("http://192.0.2.1:5000/", "//192.0.2.2/ctl", None),
        ("http://192.0.2.1:5000/", "http://router/ctl", None),
        ("http://192.0.2.1:5000/", "https://192.0.2.1/ctl", None),
        ("http://192.0.2.1:5000/", "http://me@192.0.2.1/ctl", None),
        ("http://192.0.2.1:5000/", "http://192.0.2.1:x/ctl", None),
        ("http://192.0.2.1:5000/", "/c tl", None),
        ("http://192.0.2.1:5000/", "", None),
    ],
)
def test_only_the_device_itself(base: str, reference: str, expected: http_client.Url | None) -> None:
    assert own_url(base, reference) == expected


def test_a_description() -> None:
    text = """<root><URLBase>http://203.0.113.9/</URLBase><device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
    <friendlyName>Box</friendlyName><deviceList><device><serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>
    <controlURL>/ctl</controlURL><eventSubURL>http://203.0.113.9/evt</eventSubURL></service></serviceList></device></deviceList></device></root>"""
    kind, product, services = read_device(text.encode(), LOCATION)
    assert (kind.rpartition(":device:")[2], product) == ("InternetGatewayDevice:1", "Box")
    assert services[0].control == http_client.Url("192.0.2.1", 5000, "/ctl")
    assert services[0].event is None
    assert is_gateway("", services)
    assert not is_gateway("urn:schemas-upnp-org:device:MediaRenderer:1", ())
    assert actions(b"<scpd><actionList><action><name>A</name></action></actionList></scpd>") == {"A"}


@pytest.mark.parametrize("body", [b"", b"hello", b"<root/>", b"<!DOCTYPE x><root><device/></root>"])
def test_what_describes_nothing(body: bytes) -> None:
    with pytest.raises(NoDescriptionError):
        read_device(body, LOCATION)


def test_packets_over_ipv6() -> None:
    address = bytes.fromhex("20010db8000000000000000000000010")
    assert pcp_announce_request("2001:db8::10")[8:24] == address
    packet = pcp_map_request("2001:db8::10", "tcp", 22, 22, 120, b"n" * 12)
    assert packet[8:24] == address
    assert packet[44:60] == b"\0" * 16
    assert pcp_map_request("192.0.2.10", "tcp", 22, 22, 120, b"n" * 12)[44:60] == b"\0" * 10 + b"\xff\xff" + b"\0" * 4


@pytest.mark.parametrize(
    "outside",
    [{"checks": []}, {"side": "lan", "checks": []}, {"side": "wan"}, {"side": "wan", "checks": [{"id": "A1"}]}, {"failed": True, "msg": "unreachable"}],
)
def test_what_is_no_result_from_outside(outside: dict[str, object]) -> None:
    with pytest.raises(BadRequestError, match="side: wan"):
        check_outside(outside)


def test_no_result_from_outside() -> None:
    assert check_outside({}) == {}
    assert check_outside({"skipped": True}) == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (WanOptions(["home.example"]), "not an IP address"),
        (WanOptions(["192.0.2.1"], [0]), "location_ports"),
        (WanOptions(["192.0.2.1"], [], ["x"]), "location_paths"),
        (WanOptions(["192.0.2.1"], timeout=99), "timeout"),
    ],
)
def test_requests_from_outside_that_make_no_sense(options: WanOptions, text: str) -> None:
    with pytest.raises(BadRequestError, match=text):
        run_wan(options)


@pytest.mark.parametrize(
    ("options", "text"),
    [(LanOptions(known_clients=["tv"]), "known_clients"), (LanOptions(gateway="router"), "gateway"), (LanOptions(gateway="https://192.0.2.1/"), "gateway")],
)
def test_requests_from_inside_that_make_no_sense(options: LanOptions, text: str) -> None:
    with pytest.raises(BadRequestError, match=text):
        run_lan(options)
