# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: real hosts come up, behave as their line says, and go without a trace. Run as root."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from labtool import cgroup, images, limits  # noqa: E402
from labtool import line as lines  # noqa: E402
from labtool.topology import plan  # noqa: E402
from labtool.util import LabError, Places  # noqa: E402

PREFIX = f"t{os.getpid()}"
LISTEN = """
import socket, sys
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    with listener.accept()[0] as visitor:
        visitor.send(b"here")
"""
ASK = "import socket,sys\nprint(socket.create_connection((sys.argv[1],int(sys.argv[2])),1).recv(9).decode())"


def lab(*argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, str(HERE / "lab.py"), *argv], input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, f"lab {' '.join(argv)}: {done.stderr}"
    return done


@dataclass
class Lab:
    name: str
    variables: dict[str, Any]

    def run(self, host: str, *argv: str, check: bool = True, stdin: str | None = None) -> str:
        return lab("exec", "--name", self.name, host, "--", *argv, check=check, stdin=stdin).stdout.strip()

    @property
    def upnpc(self) -> list[str]:
        """With the location given, it does not wait for two seconds."""
        if not hasattr(self, "location"):
            text = self.run("server", "upnpc", "-s")
            self.location = next(row.split("desc: ")[1] for row in text.splitlines() if "desc: " in row)
        return ["upnpc", "-u", self.location]

    def listen(self, host: str, port: int) -> None:
        self.run(host, "systemd-run", "-q", f"--unit=listen-{port}", "python3", "-c", LISTEN, str(port))
        for _attempt in range(40):
            if self.ask(host, "127.0.0.1", port):
                return
            time.sleep(0.05)
        raise AssertionError(f"nothing listens on {host}:{port}")

    def ask(self, host: str, address: str, port: int) -> bool:
        return self.run(host, "python3", "-c", ASK, address, str(port), check=False) == "here"

    def ssh(self, host: str, command: str) -> str:
        config = str(Places.of(self.name).ssh_config)
        return subprocess.run(["ssh", "-F", config, host, command], capture_output=True, text=True, timeout=20, check=True).stdout.strip()


@contextlib.contextmanager
def running(suffix: str, line: str | Path, *options: str) -> Iterator[Lab]:
    name = f"{PREFIX}-{suffix}"
    path = line if isinstance(line, Path) else lines.LINES / f"{line}.yml"
    try:
        lab("up", str(path), "--name", name, *options)
        yield Lab(name, json.loads(lab("inventory", "--name", name).stdout)["all"]["vars"])
    finally:
        lab("down", "--name", name)


@pytest.fixture(scope="module")
def dynamic() -> Iterator[Lab]:
    with running("dynamic", "dynamic_global") as one:
        yield one


@pytest.fixture(scope="module")
def static() -> Iterator[Lab]:
    with running("static", "static_global", "--os", "trixie") as one:
        yield one


def machine(name: str) -> dict[str, Any]:
    """What a lab could leave behind, or take from the user's own containers. Others work on this machine too: what only they make is left out."""
    podman = subprocess.run(["podman", "ps", "-a", "--format", "{{.ID}} {{.Names}} {{.Status}}"], capture_output=True, text=True, check=True).stdout
    links = [row.split()[0] for row in subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout.splitlines()]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout.splitlines()
    mounts = [row.split(" ", 5)[4] for row in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    places = Places.of(name)
    found: dict[str, Any] = {
        "containers": podman,
        "links": sorted(link for link in links if re.match(r"podman|veth\d", link)),
        "tables": [table for table in tables if re.search(r"netavark|lab(router|isp)", table)],
        "mounts": sorted(mount for mount in mounts if re.search(r"homeserver-lab|/run/(containers|libpod|crun)|/dev/shm|cgroup", mount)),
        "netns": sorted(entry for entry in _listing("/run/netns") if entry.startswith("netns-")),
        "own": [str(path) for path in (places.state, places.disk, cgroup.of(name)) if path.exists()],
    }
    for place in ("/run/crun", "/run/libpod", "/etc/containers/networks", "/dev/shm"):
        found[place] = sorted(_listing(place))
    return found


def _listing(place: str) -> list[str]:
    return os.listdir(place) if os.path.isdir(place) else []


def assert_same(name: str, before: dict[str, Any]) -> None:
    """Equal, at the latest when others' containers have settled; ours would stay."""
    for _attempt in range(20):
        if machine(name) == before:
            return
        time.sleep(0.2)
    assert machine(name) == before


# --- without hosts


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("topology: {routres: 1}", "unknown key 'topology.routres'; allowed here: blocks, interface, ipv6,"),
        ("topology: {upnp: {mode: x}}", "unknown key 'topology.upnp.mode'"),
        ("topology: {wan: dhcp}", "topology.wan is 'dhcp'; allowed: global, cgn, "),
        ("topology: {routers: true}", "topology.routers must be of type int"),
        ("topology: {port_filter: {inbound: [0]}}", "topology.port_filter.inbound has 0"),
        ("topology: {}\nextra: 1", "unknown key 'extra'"),
        ("expect: {}", "topology is missing"),
        ("topology: {blocks: [tcp]}", "topology.blocks is ['tcp']; allowed: gre, udp, everything"),
        ("topology: {wan: ds_lite, routers: 0}", "topology.routers: 1"),
        ("topology: {wan: map_e}", "topology.ipv6: true"),
        ("topology: {lease: 60}", "topology.lease and topology.interface are for a server without a router"),
        ("topology: {}\nservices: [{name: x, protocol: tcp, port: 80, external_port: in_set}]", "external_port in_set needs a port set; topology.wan: map_e"),
        ("topology: {}\nservices: [{name: x, protocol: tcp, port: 80, external_port: 0}]", "services[0].external_port is 0"),
        ("topology: {}\nservices: [{name: x, protocol: tcp}]", "services[0].port is missing"),
    ],
)
def test_a_wrong_line_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "line.yml"
    path.write_text(f"name: x\ndescription: x\n{text}\n", encoding="ascii")
    with pytest.raises(LabError) as caught:
        lines.load(path)
    assert complaint in str(caught.value)


def test_addresses_are_of_the_class_that_the_line_says() -> None:
    seen = set()
    classes = {"cgn": "100.64.0.0/10", "ds_lite": "192.0.0.0/29", "clat": "192.0.0.0/29"}
    for path in lines.LINES.glob("*.yml"):
        line = lines.load(path)
        for seed in range(60):
            topology = plan(line, "bookworm", seed)
            seen.add(topology.zone)
            for name, segment in topology.segments.items():
                if name == "access" and line.wan in classes:
                    assert segment.v4.subnet_of(ipaddress.IPv4Network(classes[line.wan]))
                elif name == "core" or (name == "access" and line.wan != "cgn_private"):
                    assert segment.v4.is_global, segment
                else:
                    assert segment.v4.is_private
                assert segment.v6 is None or segment.v6.is_global
            numbers = [str(one.ip) for host in topology.hosts.values() for leg in host.interfaces for one in (leg.v4, *leg.more_v4)]
            numbers += [str(topology.segments[name].v4_of(number).ip) for name, number in topology.controller.items()]
            assert len(numbers) == len(set(numbers))
    assert len(seen) > 50, "names differ from run to run"


def test_every_line_has_a_verdict_and_a_name_of_its_own() -> None:
    shipped = {path.stem: lines.load(path) for path in lines.LINES.glob("*.yml")}
    assert len(shipped) >= 26
    for stem, line in shipped.items():
        assert line.name == stem
        assert set(line.expect) == {"line", "publish", "inbound", "egress"}, stem
        names = {service.name for service in line.services}
        assert {word.removesuffix(" ipv6") for word in line.expect["inbound"]} <= names, stem


def test_a_home_with_map_e_has_the_address_and_ports_of_its_prefix() -> None:
    for name, count in (("map_e_v6plus", 240), ("map_e_ocn", 1008)):
        line = lines.load(lines.LINES / f"{name}.yml")
        for seed in range(50):
            topology = plan(line, "bookworm", seed)
            assert topology.map_e and topology.wan_address == topology.map_e.address
            lan = topology.segments["lan"].v6
            assert lan and lan.subnet_of(topology.map_e.site)
            assert sum(last - first + 1 for first, last in topology.map_e.blocks) == count
            # Those that the set's ports are drawn for lie in it, the others never do.
            inside = {topology.map_e.has(service.get("external_port", service["port"])) for service in topology.services}
            assert inside == {name == "map_e_v6plus"}


def test_a_seed_repeats_a_lab() -> None:
    line = lines.load(lines.LINES / "double_nat.yml")
    assert plan(line, "bookworm", 7) == plan(line, "bookworm", 7)


@pytest.mark.parametrize(
    ("mountinfo", "place"),
    [
        ("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"),
        ("35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", "/sys/fs/cgroup"),
        ("9 8 0:3 / /mnt/other rw - cgroup2 none rw\n35 24 0:30 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup"),
    ],
)
def test_the_place_of_cgroup_v2(mountinfo: str, place: str) -> None:
    assert cgroup.mount_point(mountinfo) == Path(place)


def test_room_is_made_only_when_needed_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(limits, "INOTIFY", tmp_path / "limit")
    for before, after in ((10**6, 10**6), (1, 1024)):
        limits.INOTIFY.write_text(str(before), encoding="ascii")
        limits.make_room(1)
        assert int(limits.INOTIFY.read_text(encoding="ascii")) >= after
        assert ("raised" in capsys.readouterr().err) == (before == 1)


def test_other_pythons() -> None:
    code = "import sys, pytest, ansible_collections.homeserver.hardening.plugins; print('%d.%d' % sys.version_info[:2])"
    for version in ("3.9", "3.13"):
        assert lab("python", version, "--", "-c", code).stdout.strip() == version
    missing = lab("python", "3.5", "--", "-V", check=False)
    assert missing.returncode == 1 and "3.5" in missing.stderr


def test_checkouts_with_other_recipes_share_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMESERVER_LAB_STORE", str(tmp_path))
    (tmp_path / "stamps").mkdir()
    ours = images.image_hash("bookworm")
    (tmp_path / "stamps" / "bookworm-another").touch()
    with pytest.raises(LabError, match=f"with the recipe {ours} .*lab images bookworm"):
        images.reference("bookworm")
    (tmp_path / "stamps" / f"bookworm-{ours}").touch()
    assert images.reference("bookworm") == f"{images.REPOSITORY}:bookworm-{ours}"


# --- up and down


def test_nothing_is_left_and_nobody_is_touched() -> None:
    name = f"{PREFIX}-trace"
    before = machine(name)
    with running("trace", "dynamic_global"):
        during = machine(name)
        assert len(during.pop("own")) == 3
        assert during == {key: value for key, value in before.items() if key != "own"}
    assert_same(name, before)


@pytest.mark.parametrize("victim", ["first process", "holder"])
def test_a_killed_lab_is_swept(victim: str) -> None:
    name = f"{PREFIX}-killed"
    before = machine(name)
    with running("killed", "dynamic_global"):
        pid = cgroup.lab_pid(name)
        assert pid
        if victim == "holder":
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()[1])
        os.kill(pid, signal.SIGKILL)
        for _attempt in range(100):
            if not cgroup.populated(cgroup.of(name)):
                break
            time.sleep(0.05)
        # Another lab that comes up at this moment may have swept it already.
        assert f"{name}: up" not in lab("status").stdout
        assert lab("exec", "--name", name, "server", "--", "true", check=False).returncode == 1
        lab("sweep")
        assert_same(name, before)


def test_what_does_not_come_up_is_named_and_removed() -> None:
    name = f"{PREFIX}-broken"
    before = machine(name)
    code = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from labtool import cli, lifecycle, render
lifecycle.BOOT_PATIENCE = 3.0
zone = render._zone
render._zone = lambda topology: zone(topology).replace("SOA", "NONSENSE")
sys.exit(cli.main(["up", {str(lines.LINES / "dynamic_global.yml")!r}, "--name", {name!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "host internet: dns at" in done.stderr and "unknown RR type 'NONSENSE'" in done.stderr, done.stderr
    assert_same(name, before)


@pytest.mark.parametrize("after", [0.15, 0.5, 0.9])
def test_a_killed_up_is_swept(after: float) -> None:
    name = f"{PREFIX}-half"
    before = machine(name)
    started = subprocess.Popen([sys.executable, str(HERE / "lab.py"), "up", str(lines.LINES / "cgn.yml"), "--name", name], stderr=subprocess.DEVNULL)
    time.sleep(after)
    started.kill()
    started.wait()
    lab("sweep")
    assert_same(name, before)


def test_a_name_that_is_up_is_not_taken(dynamic: Lab) -> None:
    again = lab("up", str(lines.LINES / "cgn.yml"), "--name", dynamic.name, check=False)
    assert again.returncode == 1 and "is up already" in again.stderr
    assert dynamic.run("server", "hostname") == "server"


def test_a_lab_that_cannot_be_judged_is_left_alone(dynamic: Lab) -> None:
    script = 'mount -t tmpfs lab /run/homeserver-lab && exec "$@"'
    argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, str(HERE / "lab.py")]
    for command, status in (("sweep", 0), ("status", 0)):
        assert subprocess.run([*argv, command], capture_output=True, check=False).returncode == status
    taken = subprocess.run([*argv, "up", str(lines.LINES / "cgn.yml"), "--name", dynamic.name], capture_output=True, text=True, check=False)
    assert taken.returncode == 1 and "another --name" in taken.stderr
    assert dynamic.run("server", "hostname") == "server"


def test_two_labs_with_the_same_addresses_at_the_same_moment() -> None:
    with ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as stack:
        twins = [running(suffix, "dynamic_global", "--seed", "42") for suffix in ("twin1", "twin2")]
        one, two = pool.map(stack.enter_context, twins)
        assert one.variables["lab_server_address"] == two.variables["lab_server_address"]
        one.run("server", "sh", "-c", "echo one >/which")
        two.run("server", "sh", "-c", "echo two >/which")
        assert (one.ssh("server", "cat /which"), two.ssh("server", "cat /which")) == ("one", "two")
        lab("down", "--name", two.name)
        assert one.ssh("server", "cat /which") == "one"


# --- lines


def test_ssh_reaches_every_host(dynamic: Lab) -> None:
    hosts = ("server", "neighbour", "router", "isp", "internet")
    assert [dynamic.ssh(host, "hostname") for host in hosts] == list(hosts)


@pytest.mark.parametrize("fixture", ["dynamic", "static"])
def test_no_way_out(fixture: str, request: pytest.FixtureRequest) -> None:
    one: Lab = request.getfixturevalue(fixture)
    assert lab("enter", "--name", one.name, "--", "ip", "route", "show", "default").stdout == ""
    own = [row.split()[0].split("@")[0] for row in lab("enter", "--name", one.name, "--", "ip", "-brief", "link").stdout.splitlines()]
    assert all(name == "lo" or name.startswith(("podman", "veth")) for name in own), own
    assert Path(f"/proc/{cgroup.lab_pid(one.name)}/ns/net").stat().st_ino != Path("/proc/self/ns/net").stat().st_ino
    assert "unreachable" in lab("exec", "--name", one.name, "internet", "--", "ip", "route", "get", "8.8.8.8", check=False).stderr
    assert not one.ask("server", "8.8.8.8", 53)


def test_a_mapping_opens_and_closes(dynamic: Lab) -> None:
    wan = dynamic.variables["lab_wan_address"]
    dynamic.listen("server", 8000)
    assert not dynamic.ask("internet", wan, 80)
    assert dynamic.variables["lab_router_lan_address"] in dynamic.run("server", "upnpc", "-s"), "found by its announcement"
    dynamic.run("server", *dynamic.upnpc, "-r", "8000", "80", "tcp")
    assert dynamic.ask("internet", wan, 80)
    dynamic.run("server", *dynamic.upnpc, "-d", "80", "tcp")
    assert not dynamic.ask("internet", wan, 80)


def test_a_mapping_survives_a_reboot_of_the_router(dynamic: Lab) -> None:
    wan = dynamic.variables["lab_wan_address"]
    dynamic.listen("server", 8001)
    dynamic.run("server", *dynamic.upnpc, "-r", "8001", "81", "tcp")
    lab("reboot", "--name", dynamic.name, "router", "--hard")
    assert dynamic.ask("internet", wan, 81)


def test_the_secure_mode_refuses_third_parties(dynamic: Lab) -> None:
    target = dynamic.variables["lab_server_address"]
    dynamic.run("neighbour", *dynamic.upnpc, "-a", target, "9000", "9000", "tcp", check=False)
    assert "9000" not in dynamic.run("router", "nft", "list", "chain", "inet", "labrouter", "prerouting_miniupnpd")


@pytest.mark.parametrize("line", ["cgn", "double_nat"])
def test_a_router_without_a_global_address_refuses(line: str) -> None:
    with running(line.replace("_", ""), line) as one:
        said = one.run("server", "sh", "-c", "upnpc -r 8000 8080 tcp 2>&1", check=False)
        assert "501" in said or "not connected" in said, said
        assert "dnat" not in one.run("router", "nft", "list", "chain", "inet", "labrouter", "prerouting_miniupnpd")
        assert (one.variables["lab_wan_address"] is None) == (line == "cgn")
        # The way out works all the same.
        one.listen("internet", 4000)
        assert one.ask("server", one.variables["lab_internet_address"], 4000)


def test_a_server_without_a_router_is_reachable(static: Lab) -> None:
    static.listen("server", 443)
    assert static.ask("internet", static.variables["lab_wan_address"], 443)
    assert static.ask("internet", static.variables["lab_server_wan_ipv6"], 443)
    assert static.run("server", "cut", "-d.", "-f1", "/etc/debian_version") == "13"


def test_addresses_and_routes_survive_a_reboot(static: Lab) -> None:
    show = "(ip -brief address show scope global; ip -brief link) | sed 's/@if[0-9]* */ /'  | sort; ip route | sort; ip -6 route show default"
    show += "; cat /etc/resolv.conf /etc/machine-id"
    before = static.run("server", "sh", "-c", show)
    lab("reboot", "--name", static.name, "server")
    assert static.run("server", "sh", "-c", show) == before


def test_a_host_can_restart_itself(static: Lab) -> None:
    began = static.run("neighbour", "stat", "-c", "%z", "/proc/1")
    static.run("neighbour", "systemctl", "reboot", check=False)
    for _attempt in range(100):
        with contextlib.suppress(AssertionError):
            if static.run("neighbour", "systemctl", "is-system-running") == "running" and static.run("neighbour", "stat", "-c", "%z", "/proc/1") != began:
                break
        time.sleep(0.1)
    else:
        raise AssertionError("neighbour did not come back")
    assert static.ssh("neighbour", "hostname") == "neighbour"


def test_a_signed_update_reaches_both_authorities(dynamic: Lab) -> None:
    have = dynamic.variables

    def update(name: str, address: str, key: str) -> bool:
        text = f"server {have['lab_dns_servers'][0]}\nzone {have['lab_zone']}.\n{key}update delete {name}. A\nupdate add {name}. 60 A {address}\nsend\n"
        return lab("exec", "--name", dynamic.name, "server", "--", "nsupdate", check=False, stdin=text).returncode == 0

    key = f"key {have['lab_tsig_algorithm']}:{have['lab_tsig_name']} {have['lab_tsig_secret']}\n"
    assert not update(have["lab_name"], "20.0.0.1", "")
    assert not update(f"other.{have['lab_zone']}", "20.0.0.1", key)
    assert update(have["lab_name"], "20.0.0.2", key)
    for server in have["lab_dns_servers"]:
        for _attempt in range(30):
            seen = dynamic.run("server", "dig", "+short", f"@{server}", have["lab_name"])
            if seen:
                break
            time.sleep(0.1)
        assert seen == "20.0.0.2"
    assert dynamic.run("neighbour", "getent", "ahostsv4", have["lab_name"]).startswith("20.0.0.2")


def test_the_provider_filters_ports(tmp_path: Path) -> None:
    path = tmp_path / "filtered.yml"
    path.write_text("name: filtered\ndescription: x\ntopology: {routers: 0, port_filter: {inbound: [80], outbound: [25]}}\n", encoding="ascii")
    with running("filter", path) as one:
        for host, port in (("server", 80), ("server", 81), ("internet", 25), ("internet", 587)):
            one.listen(host, port)
        home, away = one.variables["lab_wan_address"], one.variables["lab_internet_address"]
        assert [one.ask("internet", home, 80), one.ask("internet", home, 81)] == [False, True]
        assert [one.ask("server", away, 25), one.ask("server", away, 587)] == [False, True]


def test_a_shared_address_lets_in_the_ports_of_its_set() -> None:
    with running("mape", "map_e_v6plus") as one:
        wan, inside = one.variables["lab_wan_address"], one.variables["lab_services"][0]["external_port"]
        # The next home's.
        outside = inside + 16
        one.listen("server", 8000)
        for port in (inside, outside):
            one.run("server", *one.upnpc, "-r", "8000", str(port), "tcp")
        assert [one.ask("internet", wan, inside), one.ask("internet", wan, outside)] == [True, False]
        assert one.run("server", "curl", "-s", one.variables["lab_echo_urls"][0]) == wan


def test_a_proxy_answers_in_place_of_the_page() -> None:
    with running("proxy", "http_proxy") as one:
        seen = one.run("server", "curl", "-s", one.variables["lab_echo_urls"][0])
        assert seen != one.variables["lab_wan_address"] and ipaddress.ip_address(seen) in ipaddress.ip_network(one.variables["lab_networks"]["core"])
        one.listen("internet", 81)
        assert one.ask("server", one.variables["lab_internet_address"], 81)


def test_a_vpn_hides_the_line() -> None:
    with running("vpn", "vpn_default_route") as one:
        ask = ["curl", "-s", "-m", "3", one.variables["lab_echo_urls"][0]]
        seen = one.run("server", *ask)
        assert ipaddress.ip_address(seen) in ipaddress.ip_network(one.variables["lab_networks"]["core"])
        assert one.run("server", *ask, "--interface", "lan0") == one.variables["lab_wan_address"] != seen


def test_the_rules_that_routers_ship_with(tmp_path: Path) -> None:
    path = tmp_path / "shipped.yml"
    path.write_text("name: shipped\ndescription: x\ntopology: {upnp: {rules: default, secure_mode: false}}\n", encoding="ascii")
    with running("shipped", path) as one:
        one.run("server", *one.upnpc, "-r", "8080", "80", "tcp", check=False)
        one.run("neighbour", *one.upnpc, "-a", one.variables["lab_server_address"], "8080", "8080", "tcp", check=False)
        rules = one.run("router", "nft", "list", "chain", "inet", "labrouter", "prerouting_miniupnpd")
        assert "dport 8080" in rules and "dport 80 " not in rules
