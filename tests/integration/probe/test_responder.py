# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Path and service are two facts: the responder answers where the service listens, and the service notices nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import FAMILIES, NOBODY, PYTHON, TARGET, VANTAGE, Net

NONCE = "00112233445566778899aabbccddeeff"
OTHER_NONCE = "ffeeddccbbaa99887766554433221100"

#: Admits the services' own ports and nothing else, statefully, as a home server's packet filter does.
#: An address that nobody has.
OTHER_SOURCE = "198.18.1.200"

STRICT = """
table inet strict {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    meta l4proto { icmp, ipv6-icmp } accept
    iif lo accept
    tcp dport { 443, 444 } accept
    udp dport { 51820, 51821 } accept
  }
  chain output {
    type filter hook output priority filter; policy drop;
    ct state established,related accept
    meta l4proto ipv6-icmp accept
    oif lo accept
  }
}
"""

CONTROL = textwrap.dedent("""
    import json, sys
    sys.path.insert(0, sys.argv[1])
    from _probe import _responder_control as control
    request = json.load(sys.stdin)
    action = request.pop("action")
    json.dump(getattr(control, action)(**request), sys.stdout)
""")

# Counts what reaches it: connections, bytes, datagrams.
SERVICE = textwrap.dedent("""
    import json, os, selectors, socket, sys
    selector = selectors.DefaultSelector()
    counts = {"connections": 0, "bytes": 0, "datagrams": 0}
    for port, kind in ((443, socket.SOCK_STREAM), (51820, socket.SOCK_DGRAM)):
        # One socket of both families, as most services have it.
        sock = socket.socket(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            sock.listen(16)
        selector.register(sock, selectors.EVENT_READ, kind)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.data == socket.SOCK_DGRAM:
                data, peer = key.fileobj.recvfrom(2048)
                counts["datagrams"] += 1
                key.fileobj.sendto(b"service:" + data, peer)
            elif key.data == socket.SOCK_STREAM:
                connection, _ = key.fileobj.accept()
                counts["connections"] += 1
                connection.sendall(b"hello ")
                selector.register(connection, selectors.EVENT_READ, "connection")
            else:
                data = b""
                try:
                    data = key.fileobj.recv(2048)
                    if data:
                        key.fileobj.sendall(b"service:" + data)
                except OSError:
                    pass
                counts["bytes"] += len(data)
                if not data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            with open(sys.argv[1] + ".new", "w") as file:
                json.dump(counts, file)
            os.rename(sys.argv[1] + ".new", sys.argv[1])
""")

LISTENERS = [
    {"name": "web", "protocol": "tcp", "port": 443, "families": ["ipv4", "ipv6"]},
    {"name": "vpn", "protocol": "udp", "port": 51820, "families": ["ipv4", "ipv6"]},
    {"name": "free-tcp", "protocol": "tcp", "port": 444, "families": ["ipv4", "ipv6"]},
    {"name": "free-udp", "protocol": "udp", "port": 51821, "families": ["ipv4", "ipv6"]},
]


class Host:
    """The home host: a service, a packet filter, and responders that tests start on it."""

    def __init__(self, net: Net, runtime: Path, counts: Path) -> None:
        self.net = net
        self.runtime = runtime
        self._counts = counts

    def control(self, action: str, **request: Any) -> Any:
        done = self.net.exec(
            "t",
            PYTHON,
            "-I",
            str(self.net.code / "control.py"),
            str(self.net.code),
            input=json.dumps({"action": action, "runtime": str(self.runtime), **request}),
        )
        return json.loads(done.stdout)

    def start(self, listeners: list[dict[str, Any]] | None = None, sources: list[str] | None = None, nonce: str = NONCE, timeout: int = 30) -> dict[str, Any]:
        chosen = [*VANTAGE.values()] if sources is None else sources
        started: dict[str, Any] = self.control("start", listeners=listeners or LISTENERS, sources=chosen, nonce=nonce, timeout=timeout)
        return started

    def counts(self) -> dict[str, int]:
        time.sleep(0.1)
        counts: dict[str, int] = json.loads(self._counts.read_text()) if self._counts.exists() else {"connections": 0, "bytes": 0, "datagrams": 0}
        return counts

    def traces(self) -> list[str]:
        """What a responder could have left: tables, listeners, processes, files."""
        found = [line for line in self.net.exec("t", "nft", "list", "tables").stdout.splitlines() if "homeserver" in line]
        found += [line for line in self.net.exec("t", "ss", "-Htulnp").stdout.splitlines() if ":444 " in line or ":51821 " in line or "127.0.0.1" in line]
        found += [str(path) for path in self.runtime.rglob("*")] if self.runtime.exists() else []
        return found

    def pid(self, identity: str) -> int:
        return int((self.runtime / f"probe-{identity}" / "pid").read_text())


@pytest.fixture(scope="module")
def host(net: Net) -> Iterator[Host]:
    base = Path(tempfile.mkdtemp(prefix="probe-responder-"))
    (net.code / "control.py").write_text(CONTROL)
    (net.code / "service.py").write_text(SERVICE)
    service = net.start("t", PYTHON, "-I", str(net.code / "service.py"), str(base / "counts"))
    made = Host(net, base / "run", base / "counts")
    with net.rules("t", STRICT):
        yield made
    net.stop(service)
    shutil.rmtree(base)


def modes(result: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(row["name"], row["family"]): row["mode"] for row in result["listeners"]}


def arrived(result: dict[str, Any]) -> dict[tuple[str, str], int | None]:
    return {(row["name"], row["family"]): row["arrived"] for row in result["listeners"]}


def rows_by_name(net: Net, family: str, nonce: str = NONCE, **options: Any) -> dict[str, dict[str, Any]]:
    names = {("tcp", 443): "web", ("udp", 51820): "vpn", ("tcp", 444): "free-tcp", ("udp", 51821): "free-udp"}
    result = net.probe(
        [{"host": TARGET[family], "ports": "443,444"}, {"host": TARGET[family], "ports": "51820,51821", "protocol": "udp"}], {"nonce": nonce, **options}
    )
    return {names[row["protocol"], row["port"]]: row for row in result["rows"]}


def talk(net: Net, family: str, source: str, host: str = "v") -> str:
    """Use the services as a client with that address does."""
    code = textwrap.dedent(f"""
        import socket
        family, target = (socket.AF_INET6 if ":" in "{TARGET[family]}" else socket.AF_INET), "{TARGET[family]}"
        source = ("{source}", 0)
        with socket.create_connection((target, 443), 5, source) as sock:
            sock.sendall(b"question"); sock.shutdown(socket.SHUT_WR)
            text = b""
            while chunk := sock.recv(100):
                text += chunk
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.bind(source)
            sock.sendto(b"x" * 200, (target, 51820))
            text += b"|" + sock.recv(300)[:9]
        print(text.decode())
    """)
    return net.exec(host, PYTHON, "-I", "-c", code).stdout.strip()


def test_path_is_proved_while_the_service_runs(net: Net, host: Host) -> None:
    before = host.counts()
    started = host.start()
    try:
        assert set(modes(started).values()) == {"bound", "redirected"}
        for family in FAMILIES:
            assert modes(started)["web", family] == modes(started)["vpn", family] == "redirected", started
            assert modes(started)["free-tcp", family] == modes(started)["free-udp", family] == "bound", started
            rows = rows_by_name(net, family)
            for name, row in rows.items():
                assert (row["state"], row["nonce_verified"], row["answered_by"]) == ("open", True, name), row
                assert row["seen_as"] == VANTAGE[family]
        assert host.counts() == before, "the service has seen the probe"
    finally:
        stopped = host.control("stop", identity=started["id"])
    assert len(stopped["visits"]) == 8
    assert {visit["source"] for visit in stopped["visits"]} == set(VANTAGE.values())
    assert all(visit["nonce_verified"] for visit in stopped["visits"])
    assert [{**row, "arrived": 0} for row in stopped["listeners"]] == started["listeners"]
    assert set(arrived(stopped).values()) == {1}
    assert host.traces() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_service_goes_on_for_everybody(net: Net, host: Host, family: str) -> None:
    other = {"ipv4": "198.18.1.77/24", "ipv6": "2001:db8:1::77/64"}[family]
    net.exec("v", "ip", "addr", "add", other, "dev", "wan0", *(["nodad"] if family == "ipv6" else []))
    started = host.start()
    try:
        assert talk(net, family, other.partition("/")[0]) == "hello service:question|service:x"
        # The vantage may be a client of the service, too.
        assert talk(net, family, VANTAGE[family]) == "hello service:question|service:x"
    finally:
        net.exec("v", "ip", "addr", "del", other, "dev", "wan0")
        stopped = host.control("stop", identity=started["id"])
    # Only the vantage's connection has passed through the responder, and nobody's datagrams.
    assert [(visit["name"], visit["source"], visit["nonce_verified"]) for visit in stopped["visits"]] == [("web", VANTAGE[family], False)]
    assert talk(net, family, VANTAGE[family]) == "hello service:question|service:x"


def test_a_connection_from_before_is_not_touched(net: Net, host: Host) -> None:
    code = textwrap.dedent(f"""
        import socket, sys
        sock = socket.create_connection(("{TARGET["ipv4"]}", 443), 5)
        print("ready", flush=True)
        sys.stdin.readline()
        sock.sendall(b"still there?")
        sock.settimeout(5)
        text = b""
        while b"there?" not in text:
            text += sock.recv(100)
        print(text, flush=True)
    """)
    client = net.start("v", PYTHON, "-I", "-c", code)
    started = host.start()
    try:
        answer, _errors = client.communicate("\n", timeout=10)
    finally:
        net.processes.remove(client)
        host.control("stop", identity=started["id"])
    assert "service:still there?" in answer


def test_the_packet_filter_judges_the_port_that_was_asked_for(net: Net, host: Host) -> None:
    """Planted fault: the filter does not admit the service's port, and then the proof must fail."""
    net.exec("t", "nft", "flush ruleset")
    net.exec("t", "nft", "-f", "-", input=STRICT.replace("443, 444", "444").replace("51820, 51821", "51821"))
    started = host.start()
    try:
        for family in FAMILIES:
            rows = rows_by_name(net, family, timeout=1)
            assert (rows["web"]["state"], rows["vpn"]["state"]) == ("filtered", "open_or_filtered")
            assert (rows["free-tcp"]["nonce_verified"], rows["free-udp"]["nonce_verified"]) == (True, True)
    finally:
        stopped = host.control("stop", identity=started["id"])
        net.exec("t", "nft", "flush ruleset")
        net.exec("t", "nft", "-f", "-", input=STRICT)
    # It came as far as this host, and that is how a filter here is told apart from one on the way.
    assert all(number for number in arrived(stopped).values()), stopped["listeners"]
    assert {visit["name"] for visit in stopped["visits"]} == {"free-tcp", "free-udp"}


def test_what_arrives_is_counted_before_any_filter(net: Net, host: Host) -> None:
    """Also before one that acts ahead of connection tracking, and although nobody answers."""
    early = "type filter hook prerouting priority raw; policy accept; tcp dport { 443, 444 } drop; udp dport 51820 drop"
    net.exec("t", "nft", "-f", "-", input=f"table inet early {{ chain prerouting {{ {early}\n}}\n}}")
    started = host.start()
    try:
        assert set(arrived(started).values()) == {0}
        assert rows_by_name(net, "ipv4", timeout=1)["web"]["state"] == "filtered"
    finally:
        stopped = host.control("stop", identity=started["id"])
        net.exec("t", "nft", "delete table inet early")
    found = arrived(stopped)
    assert all(found[name, "ipv4"] for name in ("web", "vpn", "free-tcp", "free-udp")), found
    assert not any(found[name, "ipv6"] for name in ("web", "vpn", "free-tcp", "free-udp")), found
    assert host.traces() == []


def test_what_is_dropped_on_the_way_does_not_arrive(net: Net, host: Host) -> None:
    """Planted fault: the router keeps one port of each protocol, and exactly these are missing."""
    started = host.start()
    keep = "table inet keep { chain forward { type filter hook forward priority filter; policy accept; tcp dport 443 drop; udp dport 51820 drop\n}\n}"
    try:
        with net.rules("r", keep):
            for family in FAMILIES:
                rows_by_name(net, family, timeout=1)
    finally:
        stopped = host.control("stop", identity=started["id"])
    found = arrived(stopped)
    assert {name for (name, _family), number in found.items() if number} == {"free-tcp", "free-udp"}, found
    assert {name for (name, _family), number in found.items() if number == 0} == {"web", "vpn"}, found


def test_strangers_are_not_counted(net: Net, host: Host) -> None:
    started = host.start(sources=[OTHER_SOURCE])
    try:
        assert talk(net, "ipv4", VANTAGE["ipv4"]) == "hello service:question|service:x"
    finally:
        stopped = host.control("stop", identity=started["id"])
    found = arrived(stopped)
    # Over TCP nothing is known of who comes over a family of which no source was given; the code word tells our datagrams.
    assert (found["web", "ipv4"], found["web", "ipv6"], found["vpn", "ipv4"], found["vpn", "ipv6"]) == (0, None, 0, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_ports_that_a_container_engine_translates(net: Net, host: Host, family: str) -> None:
    """A container engine sends new connections elsewhere before the host sees them, also while its proxy holds the port."""
    keyword, elsewhere = ("ip", "198.18.2.99") if family == "ipv4" else ("ip6", "2001:db8:2::99")
    net.exec(
        "t",
        *("nft", "-f", "-"),
        input=f"""table {keyword} engine {{ chain prerouting {{ type nat hook prerouting priority dstnat; policy accept;
            meta l4proto {{ tcp, udp }} th dport {{ 443, 444, 51820, 51821 }} fib daddr type local dnat to {elsewhere}
        }}
        }}
        """,
    )
    # Planted fault: the engine's rule takes the packets away.
    assert rows_by_name(net, family, attempts=1, timeout=0.3)["web"]["state"] != "open"
    started = host.start()
    try:
        for name, row in rows_by_name(net, family).items():
            assert (row["state"], row["nonce_verified"], row["answered_by"]) == ("open", True, name), row
    finally:
        host.control("stop", identity=started["id"])
        net.exec("t", "nft", "delete", "table", keyword, "engine")


def test_the_host_among_the_sources_does_not_talk_to_itself(net: Net, host: Host) -> None:
    started = host.start(sources=[*VANTAGE.values(), *TARGET.values()])
    try:
        assert talk(net, "ipv4", VANTAGE["ipv4"]) == "hello service:question|service:x"
        assert talk(net, "ipv4", TARGET["ipv4"], "t") == "hello service:question|service:x"
    finally:
        stopped = host.control("stop", identity=started["id"])
    assert len(stopped["visits"]) == 1


def test_another_nonce_proves_nothing(net: Net, host: Host) -> None:
    started = host.start(nonce=OTHER_NONCE)
    try:
        rows = rows_by_name(net, "ipv4")
    finally:
        stopped = host.control("stop", identity=started["id"])
    assert rows["web"]["nonce_verified"] is False
    assert rows["free-tcp"]["nonce_verified"] is False
    # Towards strangers the responder is silent over UDP: it must not tell that it is there.
    assert rows["free-udp"]["state"] == "open_or_filtered"
    assert not any(visit["nonce_verified"] for visit in stopped["visits"])


def test_an_echo_and_the_service_itself_prove_nothing(net: Net, host: Host) -> None:
    assert rows_by_name(net, "ipv4")["web"]["nonce_verified"] is False
    listeners = [net.listen("t", "444", "tcp", "echo"), net.listen("t", "51821", "udp", "echo")]
    try:
        rows = rows_by_name(net, "ipv6")
    finally:
        for listener in listeners:
            net.stop(listener)
    for name in ("free-tcp", "free-udp"):
        assert (rows[name]["state"], rows[name]["nonce_verified"]) == ("open", False), rows[name]


def test_a_box_on_the_way_that_answers_for_everything_is_found(net: Net, host: Host) -> None:
    box = net.listen("r", "7000", "tcp", "hold")
    started = host.start()
    intercept = """
    table inet intercept {
      chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        iifname "in0" tcp dport { 443, 444 } redirect to :7000
      }
    }
    """
    try:
        with net.rules("r", intercept):
            for family in FAMILIES:
                rows = rows_by_name(net, family, timeout=1)
                assert [(rows[name]["state"], rows[name]["nonce_verified"]) for name in ("web", "free-tcp")] == [("open", False)] * 2
                assert rows["vpn"]["nonce_verified"] is True
    finally:
        stopped = host.control("stop", identity=started["id"])
        net.stop(box)
    assert {visit["protocol"] for visit in stopped["visits"]} == {"udp"}


def test_without_sources_tcp_is_not_redirected(net: Net, host: Host) -> None:
    started = host.start(sources=[])
    try:
        found = modes(started)
        assert found["web", "ipv4"] == found["web", "ipv6"] == "none"
        assert "give the vantage's ipv4 address in sources" in started["listeners"][0]["reason"]
        assert found["vpn", "ipv4"] == "redirected"
        assert rows_by_name(net, "ipv4")["vpn"]["nonce_verified"] is True
    finally:
        host.control("stop", identity=started["id"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_responder_leaves_no_rule_and_no_listener(host: Host, number: int) -> None:
    started = host.start()
    assert any("homeserver_probe_" in line for line in host.traces())
    pid = host.pid(started["id"])
    os.kill(pid, number)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline and any(str(host.runtime) not in line for line in host.traces()):
        time.sleep(0.05)
    assert [line for line in host.traces() if str(host.runtime) not in line] == []
    stopped = host.control("stop", identity=started["id"])
    assert stopped == {"listeners": [], "visits": []}
    assert host.traces() == []


def test_a_responder_that_hangs_is_stopped_all_the_same(net: Net, host: Host) -> None:
    started = host.start()
    assert rows_by_name(net, "ipv4")["web"]["nonce_verified"] is True
    os.kill(host.pid(started["id"]), signal.SIGSTOP)
    stopped = host.control("stop", identity=started["id"])
    assert {visit["name"] for visit in stopped["visits"]} == {"web", "vpn", "free-tcp", "free-udp"}
    assert host.traces() == []


def test_it_ends_by_itself(host: Host) -> None:
    started = host.start(timeout=1)
    time.sleep(1.5)
    assert [line for line in host.traces() if line != str(host.runtime)] == []
    assert host.control("stop", identity=started["id"]) == {"listeners": [], "visits": []}


def test_the_nonce_is_in_no_argument_environment_or_file(host: Host) -> None:
    started = host.start()
    try:
        pid = host.pid(started["id"])
        for name in ("cmdline", "environ"):
            assert NONCE.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
        directory = host.runtime / f"probe-{started['id']}"
        assert oct(directory.stat().st_mode & 0o777) == "0o700"
        for path in directory.iterdir():
            if path.is_file():
                assert NONCE.encode() not in path.read_bytes()
                assert path.stat().st_mode & 0o077 == 0
    finally:
        host.control("stop", identity=started["id"])


def test_rules_of_others_survive_and_do_not_end_the_proof(net: Net, host: Host) -> None:
    before = net.exec("t", "nft", "list", "ruleset").stdout
    started = host.start()
    try:
        # What reloading a rule file does.
        net.exec("t", "nft", "-f", "-", input="flush ruleset\n" + STRICT)
        assert rows_by_name(net, "ipv4")["web"]["nonce_verified"] is True
    finally:
        host.control("stop", identity=started["id"])
    assert net.exec("t", "nft", "list", "ruleset").stdout == before


def test_only_root_can_start_one(net: Net, host: Host) -> None:
    done = net.exec(
        "t",
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", PYTHON, "-I", str(net.code / "control.py"), str(net.code)),
        input=json.dumps({"action": "start", "listeners": LISTENERS, "sources": [], "nonce": NONCE, "timeout": 5}),
        check=False,
    )
    assert "become: true" in done.stderr
