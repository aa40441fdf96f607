# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NAT-PMP and PCP, with a router that is only a function; and the exchange, with one on the loopback."""

from __future__ import annotations

import ipaddress
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _moment as moments
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _packets as packets
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _recorded as recorded
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _service as service
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import GatewayError, NoGatewayError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._links import Link
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._model import Entry, Wanted
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._packets import Answer
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._recorded import NatPmpGateway, PcpGateway, RecordedGateway, exchange
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._records import FILE, Record, Store
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._service import Request, Result, Selection, run

LINK = Link("eth0", "192.168.1.10", "192.168.1.1", (ipaddress.IPv4Network("192.168.1.0/24"),))
WEB = Wanted("web", "tcp", 80, 8080)
TLS = Wanted("tls", "tcp", 443, 8443)
KINDS = [PcpGateway, NatPmpGateway]


class Router:
    """Answers as a router would, and may be told to misbehave.

    Attributes:
        taken: external ports that others have.
        override: returns an answer, None for the honest one, or raises.
    """

    def __init__(self) -> None:
        self.mappings: dict[tuple[int, int], tuple[int, bytes]] = {}
        self.taken: set[int] = set()
        self.epoch = 1000
        self.wan: str | None = "44.128.1.2"
        self.natpmp = True
        self.override: Callable[[bytes], Answer | None] = lambda request: None

    def __call__(self, link: Link, address: str, request: bytes, read: Any, timeout: float) -> Answer:
        answer = self.override(request)
        if answer is not None:
            return answer
        if request == packets.natpmp_address_request():
            if not self.natpmp:
                raise NoGatewayError("silence")
            return Answer(0 if self.wan else 3, self.epoch, external_address=self.wan)
        if request[0] == 2:
            if request[1] == packets.PCP_ANNOUNCE:
                return Answer(0, self.epoch)
            nonce, protocol = request[24:36], request[36]
            inside, outside = (int.from_bytes(request[at : at + 2], "big") for at in (40, 42))
            lifetime = int.from_bytes(request[4:8], "big")
            strict = request[60:] == packets.PREFER_FAILURE
        else:
            nonce, protocol, strict = b"", request[1], False
            inside, outside = (int.from_bytes(request[at : at + 2], "big") for at in (4, 6))
            lifetime = int.from_bytes(request[8:12], "big")
        key = (protocol, inside)
        held = self.mappings.get(key)
        if held is not None and held[1] != nonce:
            return Answer(2, self.epoch)
        if not lifetime:
            self.mappings.pop(key, None)
            return Answer(0, self.epoch, 0, 0)
        if held is None and outside in self.taken:
            if strict:
                return Answer(11, self.epoch, 30)
            outside = 1024
        self.mappings[key] = (held[0] if held else outside, nonce)
        return Answer(0, self.epoch, lifetime, self.mappings[key][0], self.wan if request[0] == 2 else None)


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Router:
    made = Router()
    monkeypatch.setattr(recorded, "exchange", made)
    monkeypatch.setattr(service, "host_id", lambda: "01234567")
    return made


def present(kind: type[RecordedGateway], path: Path, *wanted: Wanted, check_mode: bool = False, **options: Any) -> Result:
    other = options.get("allow_other_external_port", False)
    return run(Request("present", wanted, **options), Selection(), check_mode, lambda selection: kind(LINK, "192.168.1.1", Store(str(path)), 1.0, other))


def absent(kind: type[RecordedGateway], path: Path, link: Link = LINK) -> Result:
    return run(Request("absent"), Selection(), False, lambda selection: kind(link, "192.168.1.1", Store(str(path)), 1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(router: Router, kind: type[RecordedGateway], tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert present(kind, path, WEB, check_mode=True).changed
    assert not path.exists()
    assert router.mappings == {}
    done = present(kind, path, WEB)
    assert done.error is None
    assert done.data["mappings"][0]["state"] == "present"
    assert stat.S_IMODE((path / FILE).stat().st_mode) == 0o600
    nonces = set(router.mappings.values())
    assert not present(kind, path, WEB).changed
    assert set(router.mappings.values()) == nonces
    assert absent(kind, path).changed
    assert router.mappings == {}
    assert not (path / FILE).exists()
    assert not absent(kind, path).changed


@pytest.mark.parametrize("kind", KINDS)
def test_another_port_is_given_back(router: Router, kind: type[RecordedGateway], tmp_path: Path) -> None:
    router.taken = {443}
    result = present(kind, tmp_path, WEB, TLS)
    assert result.error is not None
    assert "owner unknown" in result.error
    assert not result.changed
    assert router.mappings == {}
    assert not (tmp_path / FILE).exists()
    other = present(kind, tmp_path, TLS, allow_other_external_port=True)
    assert (other.data["mappings"][0]["external_port"], other.data["mappings"][0]["requested_external_port"]) == (1024, 443)
    assert not present(kind, tmp_path, TLS, allow_other_external_port=True).changed


@pytest.mark.parametrize("kind", KINDS)
def test_a_router_that_restarted_holds_nothing_for_sure(router: Router, kind: type[RecordedGateway], tmp_path: Path) -> None:
    present(kind, tmp_path, WEB)
    router.epoch, router.mappings = 5, {}
    again = present(kind, tmp_path, WEB)
    assert [change["action"] for change in again.data["plan"]] == ["update"]
    assert len(router.mappings) == 1
    assert not present(kind, tmp_path, WEB).changed
    # A router that kept its mappings over the restart is rid of them all the same.
    router.epoch = 1
    assert absent(kind, tmp_path).changed
    assert router.mappings == {}


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_got_lost(router: Router, kind: type[RecordedGateway], tmp_path: Path) -> None:
    honest, lost = Router(), []

    def lose(request: bytes) -> Answer | None:
        if not lost and len(request) > 2 and (request[0] == 0 or request[1] == packets.PCP_MAP):
            honest.mappings = router.mappings
            honest(LINK, "", request, None, 1.0)
            lost.append(request)
            raise NoGatewayError("silence")
        return None

    router.override = lose
    gateway = kind(LINK, "192.168.1.1", Store(str(tmp_path)), 1.0)
    with pytest.raises(GatewayError, match="silence"):
        gateway.add(Entry("tcp", 80, LINK.source, 8080, "hs:01234567:web", True, 3600))
    assert len(router.mappings) == 1
    assert [entry.enabled for entry in gateway.list()] == [False]
    assert absent(kind, tmp_path).changed
    assert router.mappings == {}


@pytest.mark.parametrize("kind", KINDS)
def test_silence_midway_takes_back_what_was_written(router: Router, kind: type[RecordedGateway], tmp_path: Path) -> None:
    honest, lost = Router(), []

    def lose(request: bytes) -> Answer | None:
        inside = request[40:42] if request[0] == 2 else request[4:6]
        if not lost and inside == (8443).to_bytes(2, "big"):
            honest.mappings = router.mappings
            honest(LINK, "", request, None, 1.0)
            lost.append(request)
            raise NoGatewayError("silence")
        return None

    router.override = lose
    result = present(kind, tmp_path, WEB, TLS)
    assert result.error is not None
    assert not result.changed, result.error
    assert router.mappings == {}


@pytest.mark.parametrize("code", sorted(packets.PCP_RESULTS) + [77])
def test_every_result_of_pcp_is_told_apart(router: Router, tmp_path: Path, code: int) -> None:
    router.override = lambda request: Answer(code, 1, 30) if request[:2] == b"\x02\x01" else None
    result = present(PcpGateway, tmp_path, WEB)
    assert result.error is not None
    assert f"error {code}" in result.error
    assert packets.PCP_RESULTS.get(code, ("", "a code that PCP does not have"))[1] in result.error
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("code", sorted(packets.NATPMP_RESULTS) + [77])
def test_every_result_of_natpmp_is_told_apart(router: Router, tmp_path: Path, code: int) -> None:
    router.override = lambda request: Answer(code, 1) if request[:2] == b"\0\2" else None
    result = present(NatPmpGateway, tmp_path, WEB)
    assert result.error is not None
    assert packets.NATPMP_RESULTS.get(code, ("", "a code that NAT-PMP does not have"))[1] in result.error
    assert not (tmp_path / FILE).exists()


def test_the_nonce_is_kept_and_a_foreign_one_is_owner_unknown(router: Router, tmp_path: Path) -> None:
    router.mappings[(6, 8080)] = (80, bytes(12))
    result = present(PcpGateway, tmp_path, WEB)
    assert result.error is not None
    assert "owner unknown" in result.error
    assert router.mappings == {(6, 8080): (80, bytes(12))}
    gateway = PcpGateway(LINK, "192.168.1.1", Store(str(tmp_path)), 1.0)
    with pytest.raises(GatewayError, match="owner is unknown"):
        gateway.delete(Entry("tcp", 80, LINK.source, 8080))


def test_the_wan_address_that_comes_with_the_mapping(router: Router, tmp_path: Path) -> None:
    router.natpmp, router.wan = False, "100.64.1.2"
    result = present(PcpGateway, tmp_path, WEB)
    assert result.error is not None
    assert "100.64.1.2" in result.error
    assert router.mappings == {}
    assert present(PcpGateway, tmp_path, WEB, require_global_wan=False).error is None


@pytest.mark.parametrize("kind", KINDS)
def test_no_wan_address_is_refused_before_anything_is_written(router: Router, kind: type[RecordedGateway], tmp_path: Path) -> None:
    router.wan = None
    result = present(kind, tmp_path, WEB)
    assert "no WAN address" in (result.error or "")
    assert router.mappings == {}


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_that_changed(router: Router, kind: type[RecordedGateway], tmp_path: Path) -> None:
    present(kind, tmp_path, WEB)
    moved = Link("eth0", "192.168.1.44", "192.168.1.1", LINK.networks)
    result = absent(kind, tmp_path, moved)
    assert "had earlier" in (result.error or "")
    assert len(router.mappings) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_port_of_the_host_for_two(router: Router, kind: type[RecordedGateway], tmp_path: Path) -> None:
    result = present(kind, tmp_path, WEB, Wanted("alt", "tcp", 81, 8080))
    assert "one external port only" in (result.error or "")
    assert router.mappings == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_lease_that_ended(router: Router, kind: type[RecordedGateway], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present(kind, tmp_path, WEB)
    later = moments.now().after(90000)
    router.epoch += 90000
    router.mappings = {}
    monkeypatch.setattr(moments, "now", lambda: later)
    assert kind(LINK, "192.168.1.1", Store(str(tmp_path)), 1.0).list() == []
    assert present(kind, tmp_path, WEB).changed


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2}', '{"version": 1, "mappings": [{}], "routers": {}}'])
def test_a_damaged_file_stops_everything(router: Router, tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert FILE in (present(PcpGateway, tmp_path, WEB).error or "")
    assert router.mappings == {}
    assert not Store(str(tmp_path)).usable()


def test_a_removal_of_what_the_router_does_not_have(router: Router, tmp_path: Path) -> None:
    present(PcpGateway, tmp_path, WEB)
    router.mappings = {}

    def like_miniupnpd(request: bytes) -> Answer | None:
        gone = request[:2] == b"\x02\x01" and request[4:8] == bytes(4) and not router.mappings
        return Answer(8, 1000, 30) if gone else None

    router.override = like_miniupnpd
    assert absent(PcpGateway, tmp_path).error is None
    assert router.mappings == {}


def test_a_router_that_is_full_keeps_what_it_has(router: Router, tmp_path: Path) -> None:
    present(PcpGateway, tmp_path, WEB)
    router.override = lambda request: Answer(8, 1000, 30) if request[:2] == b"\x02\x01" else None
    assert "NO_RESOURCES" in (absent(PcpGateway, tmp_path).error or "")
    assert (tmp_path / FILE).exists()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[list[bytes]]], list[float]]]:
    """A UDP server on the loopback that sends the listed datagrams for each request in turn."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    monkeypatch.setattr(packets, "PORT", opened.getsockname()[1])
    threads: list[threading.Thread] = []

    def start(script: list[list[bytes]]) -> list[float]:
        moments: list[float] = []

        def serve() -> None:
            for datagrams in script:
                try:
                    _data, sender = opened.recvfrom(2000)
                except OSError:
                    return
                moments.append(time.monotonic())
                for datagram in datagrams:
                    opened.sendto(datagram, sender)

        opened.settimeout(3)
        threads.append(threading.Thread(target=serve))
        threads[0].start()
        return moments

    yield start
    for thread in threads:
        thread.join()
    opened.close()


LOOPBACK = Link("lo", "127.0.0.1", None, ())
GOOD = bytes.fromhex("0080 0000 00000007 cb007107")


def test_rubbish_before_the_answer_is_passed_over(server: Any) -> None:
    server([[b"", b"x", b"\0\x81" + GOOD[2:], GOOD[:9], GOOD]])
    assert exchange(LOOPBACK, "127.0.0.1", b"\0\0", packets.read_natpmp, 1.0).external_address == "203.0.113.7"


def test_a_lost_request_is_sent_again(server: Any) -> None:
    moments = server([[], [], [GOOD]])
    assert exchange(LOOPBACK, "127.0.0.1", b"\0\0", packets.read_natpmp, 2.0).epoch == 7
    waits = [later - sooner for sooner, later in zip(moments, moments[1:])]
    assert waits[0] == pytest.approx(0.25, abs=0.15)
    assert waits[1] == pytest.approx(0.5, abs=0.15)


def test_only_rubbish_is_named_in_time(server: Any) -> None:
    server([[b"x"] * 5, [b"y"]])
    start = time.monotonic()
    with pytest.raises(NoGatewayError, match="did not answer within 0.5 s; what came was an answer of 1 bytes, too short"):
        exchange(LOOPBACK, "127.0.0.1", b"\0\0", packets.read_natpmp, 0.5)
    assert time.monotonic() - start < 1


def test_a_flood_ends(server: Any) -> None:
    server([[b"x" * 40] * 300])
    start = time.monotonic()
    with pytest.raises(NoGatewayError):
        exchange(LOOPBACK, "127.0.0.1", b"\0\0", packets.read_natpmp, 0.5)
    assert time.monotonic() - start < 1


def test_a_closed_port_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
        reserved.bind(("127.0.0.1", 0))
        monkeypatch.setattr(packets, "PORT", reserved.getsockname()[1])
    start = time.monotonic()
    with pytest.raises(NoGatewayError, match="is closed"):
        exchange(LOOPBACK, "127.0.0.1", b"\0\0", packets.read_natpmp, 3.0)
    assert time.monotonic() - start < 1


def test_what_another_process_writes_is_seen(tmp_path: Path) -> None:
    one, other = Store(str(tmp_path)), Store(str(tmp_path))
    record = Record("pcp", "192.0.2.1", "tcp", 80, 80, "192.0.2.9", 8080, "hs:01234567:web", "00" * 12, 2e9)
    one.update(lambda table, clocks: table.update({record.key: record}))
    assert other.read() == one.read() == ([record], {})
    other.update(lambda table, clocks: table.update({record.key: replace(record, unsure=True)}))
    assert [found.unsure for found in one.read()[0]] == [True]
    # What a caller does with its copy is its own affair.
    one.read()[0].clear()
    assert len(one.read()[0]) == 1
    other.update(lambda table, clocks: table.clear())
    assert one.read() == ([], {})


@pytest.mark.parametrize("kind", KINDS)
def test_all_is_recorded_before_the_first_is_asked_for(router: Router, kind: type[RecordedGateway], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    real = Store._write
    monkeypatch.setattr(Store, "_write", lambda store, changes: (writes.append(len(changes)), real(store, changes))[1])
    on_disk: list[list[Record]] = []

    def look(request: bytes) -> Answer | None:
        if request[:2] == b"\2\1" or request[:2] in (b"\0\1", b"\0\2"):
            on_disk.append(Store(str(tmp_path)).read()[0])
        return None

    router.override = look
    wanted = [Wanted(f"s{number}", "tcp", 1000 + number, 2000 + number) for number in range(20)]
    assert present(kind, tmp_path, *wanted).changed
    assert {len(records) for records in on_disk} == {20}
    assert {record.unsure for records in on_disk for record in records} == {True}
    after = Store(str(tmp_path)).read()[0]
    assert [record.unsure for record in after] == [False] * 20
    # Whoever is killed in the middle knows what to remove.
    assert {record.nonce for record in after} == {record.nonce for record in on_disk[0]}
    assert len(writes) == 2
    assert absent(kind, tmp_path).changed
    assert router.mappings == {}
    assert len(writes) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_never_asked_for_is_forgotten(router: Router, kind: type[RecordedGateway], tmp_path: Path) -> None:
    router.taken = {443}
    ssh = Wanted("ssh", "tcp", 22, 22)
    assert present(kind, tmp_path, WEB, TLS, ssh).error is not None
    assert Store(str(tmp_path)).read() == ([], {})
    assert not (tmp_path / FILE).exists()


def test_what_others_write_during_a_batch_stays(tmp_path: Path) -> None:
    one, other = Store(str(tmp_path)), Store(str(tmp_path))
    first = Record("pcp", "192.0.2.1", "tcp", 80, 80, "192.0.2.9", 8080, "hs:01234567:web", "00" * 12, 2e9)
    second = replace(first, external_port=81)
    with one.batch():
        one.update(lambda table, clocks: table.update({first.key: first}))
        assert one.read()[0] == [first]
        assert other.read()[0] == []
        other.update(lambda table, clocks: table.update({second.key: second}))
    assert one.read()[0] == [first, second]
    with pytest.raises(KeyError), one.batch():
        one.update(lambda table, clocks: table.pop(first.key, None))
        raise KeyError
    assert other.read()[0] == [second]
