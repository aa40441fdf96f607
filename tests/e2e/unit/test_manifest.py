# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison finds what it is for: each test plants one difference. No lab needed."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import collector
import manifest

RULESET = """\
table ip nat {
\tchain DOCKER {
\t\tiifname "docker0" counter packets 4 bytes 240 return
\t}
}
table inet homeserver {
\tcomment "hs"
\tset blocked {
\t\ttype ipv4_addr
\t\telements = { 192.0.2.1 }
\t}

\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t\ttcp dport 80 accept comment "hs:00000000:http"
\t}
}
"""

UNITS = """\
ssh.service loaded active running OpenBSD Secure Shell server
apt-daily.timer loaded active waiting Daily apt download activities
idle.service loaded inactive dead Idle
broken.service loaded failed failed Broken
"""

LEASES = "TCP:80:192.168.10.20:80:0:hs:00000000:http\nUDP:51820:192.168.10.20:51820:1790000000:hs:00000000:wg\n"

TRANSFER = """\
home.example. 60 IN SOA ns.home.example. admin.home.example. 7 3600 600 86400 60
www.home.example. 60 IN A 203.0.113.4
www.home.example. 60 IN A 203.0.113.3
key. 0 ANY TSIG hmac-sha256. 1 2 3 4
"""


@pytest.fixture
def say(monkeypatch):
    """Return a function that sets what commands print."""
    texts = {}
    monkeypatch.setattr(collector, "output", lambda *argv: texts.get(argv[0] if argv[0] != "systemctl" else argv[1], ""))
    return texts.update


def read(say_, **texts):
    """Return a manifest of one host from texts."""
    say_(texts)
    return {"server": {"nftables": collector.nftables(True), "units": collector.units(["service", "timer"]), "unit_files": collector.unit_files(True)}}


def test_every_exclusion_has_a_reason():
    assert all(len(row["reason"]) > 20 for row in manifest.specification()["exclusions"])


def test_an_exclusion_without_a_reason_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "manifest.yml"
    path.write_text("hosts: {}\nexclusions:\n  - {facet: files, item: /etc/passwd, reason: ' '}\n")
    monkeypatch.setattr(manifest, "SPECIFICATION", path)
    with pytest.raises(ValueError, match="/etc/passwd"):
        manifest.specification()


@pytest.mark.parametrize(
    "item",
    [
        "files /etc/homeserver",
        "files /etc/shadow",
        "files /etc/resolv.conf",
        "files /etc/systemd/system/homeserver-ddns.timer",
        "files /var/lib/homeserver/journal.json",
        "files /var/lib/systemd/timers/stamp-homeserver-ddns.timer",
        "files /usr/local/lib/homeserver/agent.pyz",
        "files /usr/local/sbin/homeserver-agent",
        "files /run/systemd/transient/homeserver-rollback.timer",
        "units homeserver-ddns.service",
        "units homeserver-rollback.timer",
        "units run-u12.service",
        "unit_files homeserver-ddns.timer",
        "nftables table inet homeserver",
        "nftables table inet labrouter chain prerouting",
        "iptables iptables-save nat",
        "sockets udp 0.0.0.0:51820",
        "sockets tcp 0.0.0.0:8080",
        "leases tcp 80",
        "processes python3 -",
        "dns 203.0.113.1 www.home.example. A",
    ],
)
def test_no_exclusion_hides_what_a_run_could_leave(item):
    facet, name = item.split(" ", 1)
    assert not manifest.excluded(manifest.specification(), "server", facet, name)


def test_the_server_s_resolver_counts_the_neighbour_s_does_not():
    spec = manifest.specification()
    assert manifest.excluded(spec, "neighbour", "files", "/etc/resolv.conf")


def test_equal_is_equal(say):
    one = read(say, nft=RULESET, **{"list-units": UNITS})
    forgotten = UNITS.replace("idle.service loaded inactive dead Idle\n", "")
    two = read(say, nft=RULESET.replace("packets 4 bytes 240", "packets 900 bytes 54000"), **{"list-units": forgotten})
    assert manifest.compare(one, two) == []


def test_added_unit(say):
    before = read(say, **{"list-units": UNITS, "list-unit-files": "ssh.service enabled enabled\n"})
    after = read(
        say,
        **{
            "list-units": UNITS + "homeserver-ddns.timer loaded active waiting DDNS\n",
            "list-unit-files": "ssh.service enabled enabled\nhomeserver-ddns.timer enabled enabled\n",
        },
    )
    found = manifest.compare(before, after)
    assert len(found) == 2
    assert all("homeserver-ddns.timer" in text and "(nothing)" in text for text in found)


def test_disabled_unit(say):
    before = read(say, **{"list-unit-files": "ssh.service enabled enabled\n"})
    after = read(say, **{"list-unit-files": "ssh.service disabled enabled\n"})
    assert len(manifest.compare(before, after)) == 1


def test_failed_unit(say):
    before = read(say, **{"list-units": UNITS.replace("broken.service loaded failed failed Broken\n", "")})
    assert "broken.service" in manifest.compare(before, read(say, **{"list-units": UNITS}))[0]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('\t\tiifname "docker0" counter packets 4 bytes 240 return\n', "", "docker0"),
        ("policy accept", "policy drop", "policy drop"),
        ("192.0.2.1 }", "192.0.2.1, 192.0.2.2 }", "192.0.2.2"),
        ('\tcomment "hs"\n', "", "comment"),
        ("table inet homeserver", "table inet other", "other"),
        ("dport 80 accept", "dport 81 accept", "dport 81"),
    ],
)
def test_rule_set(say, old, new, named):
    assert old in RULESET
    found = manifest.compare(read(say, nft=RULESET), read(say, nft=RULESET.replace(old, new)))
    assert found
    assert named in "\n".join(found)


def test_order_of_rules(say):
    lines = '\t\ttcp dport 80 accept comment "hs:00000000:http"\n'
    before = RULESET.replace(lines, lines + "\t\tdrop\n")
    after = RULESET.replace(lines, "\t\tdrop\n" + lines)
    assert manifest.compare(read(say, nft=before), read(say, nft=after))


def test_iptables_without_counters(say):
    rules = "# Generated\n*nat\n:DOCKER - [3:4]\n-A DOCKER -i docker0 -j RETURN\nCOMMIT\n# Completed\n"
    say({"iptables-save": rules})
    before = {"server": {"iptables": collector.iptables(True)}}
    say({"iptables-save": rules.replace("[3:4]", "[9:9]")})
    assert manifest.compare(before, {"server": {"iptables": collector.iptables(True)}}) == []
    say({"iptables-save": rules.replace("-A DOCKER -i docker0 -j RETURN\n", "")})
    assert "docker0" in manifest.compare(before, {"server": {"iptables": collector.iptables(True)}})[0]


def tree(directory):
    return {"server": {"files": collector.files([str(directory), str(directory / "missing")])}}


def test_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("a")
    (tmp_path / "link").symlink_to("sub/file")
    before = tree(tmp_path)
    assert manifest.compare(before, tree(tmp_path)) == []

    (tmp_path / "sub" / "file").chmod(0o600)
    assert "/sub/file" in manifest.compare(before, tree(tmp_path))[0]
    (tmp_path / "sub" / "file").chmod(0o644)
    os.utime(tmp_path / "sub" / "file", (0, 0))
    assert manifest.compare(before, tree(tmp_path)) == []

    (tmp_path / "sub" / "file").write_text("b")
    assert "sha256" in manifest.compare(before, tree(tmp_path))[0]
    (tmp_path / "sub" / "file").write_text("a")

    (tmp_path / "link").unlink()
    assert "link" in manifest.compare(before, tree(tmp_path))[0]
    (tmp_path / "link").symlink_to("sub")
    assert "-> sub\n" in manifest.compare(before, tree(tmp_path))[0] + "\n"
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("sub/file")

    (tmp_path / "missing").mkdir()
    assert "missing" in manifest.compare(before, tree(tmp_path))[0]
    (tmp_path / "missing").rmdir()
    (tmp_path / "sub").chmod(0o700)
    assert "/sub" in manifest.compare(before, tree(tmp_path))[0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_owner(tmp_path):
    (tmp_path / "file").write_text("a")
    before = tree(tmp_path)
    os.chown(tmp_path / "file", 65534, 65534)
    assert "65534" in manifest.compare(before, tree(tmp_path))[0] or "nobody" in manifest.compare(before, tree(tmp_path))[0]


def test_mapping_left(tmp_path):
    path = tmp_path / "upnp.leases"
    path.write_text("")
    before = {"router": {"leases": collector.leases(str(path))}}
    path.write_text(LEASES)
    found = manifest.compare(before, {"router": {"leases": collector.leases(str(path))}})
    assert [text.splitlines()[0] for text in found] == ["router: leases: tcp 80", "router: leases: udp 51820"]


def test_only_the_moving_end_of_a_lease_does_not_count(tmp_path):
    path = tmp_path / "upnp.leases"
    path.write_text(LEASES)
    before = {"router": {"leases": collector.leases(str(path))}}
    path.write_text(LEASES.replace("1790000000", "1790000009"))
    assert manifest.compare(before, {"router": {"leases": collector.leases(str(path))}}) == []
    path.write_text(LEASES.replace("1790000000", "0"))
    assert manifest.compare(before, {"router": {"leases": collector.leases(str(path))}})
    path.write_text(LEASES.replace("00000000:wg", "11111111:wg"))
    assert manifest.compare(before, {"router": {"leases": collector.leases(str(path))}})


def zone(say_, text):
    say_({"dig": text})
    return {"internet": {"dns": collector.dns({"servers": ["203.0.113.1"], "zone": "home.example"})}}


def test_record_left_and_record_changed(say):
    before = zone(say, TRANSFER)
    assert "203.0.113.3" in str(before)
    assert manifest.compare(before, zone(say, TRANSFER.replace(" 7 3600", " 8 3600"))) == []
    assert manifest.compare(before, zone(say, TRANSFER.replace("203.0.113.4", "203.0.113.5")))
    assert manifest.compare(before, zone(say, TRANSFER.replace("www.home.example. 60 IN A 203.0.113.4", "www.home.example. 61 IN A 203.0.113.4")))
    left = manifest.compare(before, zone(say, TRANSFER + "new.home.example. 60 IN AAAA 2001:db8::1\n"))
    assert "new.home.example." in left[0]
    assert "(new)" in left[0]


def test_an_authority_that_refuses_is_an_error(say):
    with pytest.raises(SystemExit, match="home.example"):
        zone(say, "; Transfer failed.\n")


def test_a_host_that_is_gone_is_a_difference(say):
    before = read(say, nft=RULESET)
    after = copy.deepcopy(before)
    after.clear()
    assert manifest.compare(before, after)


def test_listening_socket(say):
    say({"ss": 'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=90,fd=3))\n'})
    before = {"server": {"sockets": collector.sockets(True)}}
    say({"ss": 'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=99,fd=3))\n'})
    assert manifest.compare(before, {"server": {"sockets": collector.sockets(True)}}) == []
    say({"ss": 'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("python3",pid=99,fd=3))\n'})
    assert manifest.compare(before, {"server": {"sockets": collector.sockets(True)}})


def test_what_was_read_while_a_job_ran_is_read_again(monkeypatch):
    """One that runs, one that runs meanwhile, and then quiet."""
    idle, later, running = (f"ActiveState={state}\nInvocationID={run}\n" for state, run in (("inactive", 1), ("inactive", 2), ("activating", 1)))
    told = iter([running, idle, later, later, later])
    monkeypatch.setattr(collector, "jobs", lambda: next(told))
    monkeypatch.setattr(collector.time, "sleep", lambda _seconds: None)
    reads = iter(["with the job's socket", "quiet"])
    assert collector.settled(lambda: next(reads)) == "quiet"


def test_a_job_that_never_ends_is_said(monkeypatch):
    monkeypatch.setattr(collector, "jobs", lambda: "ActiveState=activating")
    monkeypatch.setattr(collector.time, "sleep", lambda _seconds: None)
    with pytest.raises(SystemExit, match="ran all the time"):
        collector.settled(lambda: None)
