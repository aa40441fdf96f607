# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line from beginning to end: what a user does, judged by the lab's own eyes and by what the line's file expects."""

from __future__ import annotations

import json
import time
from typing import Any

import lablib
import manifest
import pytest
from conftest import PUBLISH, UNPUBLISH, ok, refused, report_of

STATE: dict[str, Any] = {}


@pytest.fixture(scope="module")
def expect(lab: lablib.Lab) -> dict[str, Any]:
    """What the line's file says must come out."""
    found: dict[str, Any] = lab.vars["lab_expect"] or {}
    if "publish" not in found:
        pytest.fail(f"the line {lab.vars['lab_line']} expects nothing of publish, so there is nothing to compare with")
    return found


@pytest.fixture(autouse=True)
def _kind(request: pytest.FixtureRequest, expect: dict[str, Any]) -> None:
    kind = request.node.get_closest_marker("possible")
    if kind is not None and kind.args[0] is not expect["publish"]["possible"]:
        pytest.skip("the line's file expects the other outcome")


def assert_diagnosed(lab: lablib.Lab, run: lablib.Run) -> None:
    """The report says of the line what the line's file expects, and it took neither long nor many tasks."""
    line, expected = report_of(lab)["line"], dict(lab.vars["lab_expect"]["line"])
    assert set(expected.pop("reasons", [])) <= set(line["verdict_reasons"]), json.dumps(line, indent=1)
    assert [row["name"] for row in line["contradictions"]] == expected.pop("contradictions", []), json.dumps(line["contradictions"], indent=1)
    assert {key: line[key] for key in expected} == expected, json.dumps(line, indent=1)
    assert 0 < run.tasks <= 10, str(run)
    assert run.seconds <= 12, str(run)


@pytest.mark.possible(True)
@pytest.mark.steps
class TestPossible:
    """The services can be reached on this line."""

    def test_before(self, home: lablib.Home, virgin: manifest.Manifest) -> None:
        """Remember what someone on the Internet sees before; the name leads nowhere."""
        STATE["before"] = home.from_outside()
        assert virgin["server"]["files"]
        if home.lab.behind_router:
            assert "open" not in STATE["before"].values()
        assert home.resolve() == []

    def test_check_mode(self, lab: lablib.Lab, unchanged: Any) -> None:
        """On a virgin host, --check --diff prints the whole plan and changes nothing."""
        run = ok(lab.playbook(PUBLISH, "--check", "--diff"))
        assert run.changed["server"] > 0
        for word in ("80", "51820", lab.vars["lab_name"]):
            assert word in run.output, str(run)
        assert lab.vars["lab_tsig_secret"] not in run.output
        unchanged()

    def test_publish(self, lab: lablib.Lab, expect: dict[str, Any]) -> None:
        """One command does it, and says so to someone in a hurry."""
        run = ok(lab.playbook(PUBLISH, "--diff"))
        assert run.changed["server"] > 0
        assert lab.vars["lab_tsig_secret"] not in run.output
        STATE["report"] = report_of(lab)
        assert STATE["report"]["line"]["verdict"] == expect["line"]["verdict"], STATE["report"]["line"]
        services = {row["name"]: row for row in STATE["report"]["services"]}
        assert set(services) == {"http", "https", "wg"}
        for name, row in services.items():
            assert row["families"]["ipv4"]["path"] == expect["publish"]["path"], (name, row)
        assert "3 of 3" in run.output, str(run)
        assert "internet" in run.output

    def test_seen_from_outside(self, home: lablib.Home) -> None:
        """A client that is none of ours finds the services, and finds them by name."""
        assert set(home.from_outside().values()) == {"open"}, home.from_outside()
        assert home.resolve() == [home.lab.vars["lab_wan_address"]]

    def test_seen_over_ipv6(self, home: lablib.Home) -> None:
        """Where the server has a global IPv6 address, it is found there as well; where it has none, no name says so."""
        address = home.lab.vars["lab_server_wan_ipv6"]
        assert home.resolve("AAAA") == ([address] if address else [])
        if address:
            assert set(home.from_outside(address=address).values()) == {"open"}, home.from_outside(address=address)

    def test_nothing_else_opened(self, home: lablib.Home) -> None:
        """The ports next to the published ones stay as they were."""
        rows = [{"name": f"p{port}", "protocol": "tcp", "port": port} for port in (22, 81, 8080, 8444)]
        if home.lab.behind_router:
            assert not [name for name, state in home.from_outside(rows).items() if state.startswith(("open", "connected", "answered"))]

    def test_no_secret_in_the_open(self, lab: lablib.Lab) -> None:
        """The key of the DNS lies in files of root alone, and is in no argument list, report or log."""
        secret = lab.vars["lab_tsig_secret"]
        found = lab.exec("server", "grep", "-rlFs", "--", secret, "/etc", "/var/lib", "/var/log", "/run", "/usr/local", "/tmp", "/root", check=False)
        for path in found.stdout.decode().split():
            mode = lab.sh("server", f"stat -c '%a %U' '{path}'").split()
            assert mode[0].endswith("00"), f"{path} has mode {mode} and holds the secret"
            assert mode[1] == "root"
        assert lab.exec("server", "sh", "-c", f"journalctl --no-pager -q | grep -cF -- '{secret}'", check=False).stdout.strip() in (b"", b"0")
        for path in (lab.output / "reports").rglob("*"):
            assert not path.is_file() or secret not in path.read_text(errors="replace"), path

    def test_again(self, lab: lablib.Lab) -> None:
        """The second run changes nothing, on no host."""
        before = manifest.collect(lab)
        run = ok(lab.playbook(PUBLISH))
        assert set(run.changed.values()) == {0}, str(run)
        differences = manifest.compare(before, manifest.collect(lab))
        # A run leaves its time in the state file.
        assert not [text for text in differences if "/var/lib/homeserver" not in text], "\n".join(differences)

    def test_verify(self, lab: lablib.Lab) -> None:
        """Verify proves again, and changes nothing."""
        run = ok(lab.playbook("homeserver.hardening.verify"))
        assert set(run.changed.values()) == {0}, str(run)

    def test_status(self, lab: lablib.Lab) -> None:
        """Status tells what is published, without asking from outside."""
        run = ok(lab.playbook("homeserver.hardening.status"))
        assert set(run.changed.values()) == {0}, str(run)
        assert "3 services" in run.output, str(run)

    def test_diagnose(self, lab: lablib.Lab) -> None:
        """Diagnose names the line."""
        run = ok(lab.playbook("homeserver.hardening.diagnose"))
        assert set(run.changed.values()) == {0}, str(run)
        assert lab.vars["lab_wan_address"] in run.output, str(run)
        assert_diagnosed(lab, run)

    def test_path_and_service_are_two_facts(self, home: lablib.Home, lab: lablib.Lab) -> None:
        """With the services stopped, the path is still proved, and the report says that the services do not answer."""
        home.stop_services()
        try:
            run = lab.playbook("homeserver.hardening.verify")
            ok(run)
            assert "does not answer" in run.output, str(run)
        finally:
            home.start_services()
        assert set(home.from_outside().values()) == {"open"}

    def test_survives_a_reboot(self, home: lablib.Home) -> None:
        """After a reboot of the server everything is still there."""
        home.lab.forget_connections()
        home.lab.reboot("server")
        home.start_services()
        deadline = time.monotonic() + 20
        while set(home.from_outside().values()) != {"open"} and time.monotonic() < deadline:
            time.sleep(1)
        assert set(home.from_outside().values()) == {"open"}
        ok(home.lab.playbook("homeserver.hardening.verify"))

    def test_unpublish_check_mode(self, lab: lablib.Lab, home: lablib.Home) -> None:
        """--check of unpublish takes nothing back."""
        before = manifest.collect(lab)
        run = ok(lab.playbook(UNPUBLISH, "--check", "--diff"))
        assert run.changed["server"] > 0
        differences = manifest.compare(before, manifest.collect(lab))
        assert not differences, "\n".join(differences)
        assert set(home.from_outside().values()) == {"open"}

    def test_unpublish(self, lab: lablib.Lab, home: lablib.Home, unchanged: Any) -> None:
        """One command takes all of it back: host, router and DNS are as they were, and so is what one sees from outside."""
        run = ok(lab.playbook(UNPUBLISH, "--diff"))
        assert lab.vars["lab_tsig_secret"] not in run.output
        assert home.from_outside() == STATE["before"]
        assert home.resolve() == []
        unchanged()

    def test_unpublish_again(self, lab: lablib.Lab, unchanged: Any) -> None:
        """There is nothing left to take back."""
        run = ok(lab.playbook(UNPUBLISH))
        assert set(run.changed.values()) == {0}, str(run)
        unchanged()


@pytest.mark.possible(False)
@pytest.mark.steps
class TestImpossible:
    """Nothing can be forwarded on this line."""

    def test_check_mode(self, lab: lablib.Lab, unchanged: Any) -> None:
        """--check says it already, and changes nothing."""
        run = lab.playbook(PUBLISH, "--check", "--diff")
        assert run.returncode in (0, 2), str(run)
        assert "WAYS" in run.output, str(run)
        unchanged()

    def test_publish(self, lab: lablib.Lab, expect: dict[str, Any], unchanged: Any, home: lablib.Home) -> None:
        """The run fails, says why and which ways remain, and has changed nothing."""
        run = refused(lab.playbook(PUBLISH), "Nothing was changed", "WAYS", "http", "https", "wg")
        assert set(run.changed.values()) == {0}, str(run)
        report = report_of(lab)
        # What a home can see without outside help does not tell these two apart.
        verdicts = {expect["line"]["verdict"]} | ({"double_nat_or_cgn"} if expect["line"]["verdict"] in ("double_nat", "cgn") else set())
        assert report["line"]["verdict"] in verdicts, report["line"]
        decisions = [row["families"]["ipv4"] for row in report["services"]]
        assert all(row["path"] == "impossible" and row["ways"] for row in decisions), json.dumps(report, indent=1)
        assert home.open_names() == []
        assert home.resolve() == []
        unchanged()

    def test_diagnose(self, lab: lablib.Lab, unchanged: Any) -> None:
        """Diagnose says it as well."""
        run = ok(lab.playbook("homeserver.hardening.diagnose"))
        assert set(run.changed.values()) == {0}, str(run)
        assert_diagnosed(lab, run)
        unchanged()

    def test_unpublish(self, lab: lablib.Lab, unchanged: Any) -> None:
        """There is nothing to take back."""
        run = ok(lab.playbook(UNPUBLISH))
        assert set(run.changed.values()) == {0}, str(run)
        unchanged()
