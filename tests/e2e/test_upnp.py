# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""UPnP switched off: what it had opened is closed, or the run says that it is not. UPnP guarded: only what was declared stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import lablib
import manifest
import pytest
from conftest import ok, refused

ROLE = str(lablib.E2E / "playbooks" / "upnp.yml")
OURS = str(lablib.E2E / "playbooks" / "upnp_ours.yml")
#: The neighbour's own program, and the port that it has the router open.
INSIDE, OUTSIDE = 8081, 9999
ROUTER = {"driver": "linux", "host": "router", "end_connections": True}
VANTAGES = [{"host": "internet"}]
_DROP_IN = "/run/systemd/system/miniupnpd.service.d/zz-test.conf"


class Router:
    """The lab's router, its daemon, and what the neighbour has it do; not through the collection."""

    def __init__(self, lab: lablib.Lab) -> None:
        self.lab = lab
        router = lab.vars["lab_router_lan_address"]
        self.neighbour = lab.sh("neighbour", f"ip -4 route get {router} | sed -n 's/.* src \\([^ ]*\\).*/\\1/p'").strip()

    def stops_like_most(self) -> None:
        """The lab's unit empties the chains when it stops. Most daemons do not."""
        self.lab.exec("router", "sh", "-ec", f"mkdir -p {_DROP_IN.rpartition('/')[0]} && cat >{_DROP_IN}", stdin="[Service]\nExecStopPost=\nRestart=no\n")
        self.lab.sh("router", "systemctl daemon-reload")

    def stops_like_the_labs(self) -> None:
        self.lab.sh("router", f"rm -f {_DROP_IN}; rmdir --ignore-fail-on-non-empty {_DROP_IN.rpartition('/')[0]}; systemctl daemon-reload")

    def neighbour_maps(self) -> None:
        self.lab.exec("neighbour", "upnpc", "-e", "Camera 7", "-a", self.neighbour, str(INSIDE), str(OUTSIDE), "tcp")

    def rules(self) -> str:
        chains = ("miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd")
        return "".join(self.lab.sh("router", f"nft list chain inet labrouter {chain} | grep -E 'dnat|accept|masquerade|snat' || :") for chain in chains)

    def leases(self) -> str:
        return self.lab.sh("router", "cat /var/lib/miniupnpd/upnp.leases")

    def from_outside(self) -> dict[int, str]:
        """What a client of its own on the Internet sees of the two ports."""
        address = self.lab.vars["lab_wan_address"]
        program = (
            "import json,socket,sys\n"
            "found = {}\n"
            "for port in sys.argv[2:]:\n"
            "    try:\n"
            "        socket.create_connection((sys.argv[1], int(port)), 2).close()\n"
            "        found[port] = 'open'\n"
            "    except OSError as error:\n"
            "        found[port] = type(error).__name__\n"
            "print(json.dumps(found))\n"
        )
        found = self.lab.python("internet", program, address, "80", str(OUTSIDE))
        return {int(port): state for port, state in found.items()}


@pytest.fixture(scope="module")
def router(lab: lablib.Lab, virgin: manifest.Manifest) -> Iterator[Router]:
    """A router whose daemon leaves its rules when it ends, and a neighbour who listens."""
    one = Router(lab)
    lab.sh("neighbour", f"systemd-run --quiet --collect --unit=camera python3 -m http.server --directory /var/empty {INSIDE} ")
    yield one
    lab.sh("neighbour", "systemctl stop camera.service", check=False)


def run(lab: lablib.Lab, *options: str, **inputs: Any) -> tuple[lablib.Run, dict[str, Any]]:
    """Run the role; return the run and its report."""
    place = lab.output / "upnp.json"
    place.unlink(missing_ok=True)
    extra = {"upnp_vantages": VANTAGES, "homeserver_language": "en", "report_to": str(place), **{f"upnp_{key}": value for key, value in inputs.items()}}
    done = lab.playbook(ROLE, *options, extra=extra)
    return done, json.loads(place.read_text()) if place.is_file() else {}


def states(report: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["state"] for row in report["checks"]}


def port(report: dict[str, Any], number: int) -> dict[str, Any]:
    rows = next(row for row in report["checks"] if row["id"] == "ports_closed")["evidence"]["ports"]
    found: dict[str, Any] = next(row for row in rows if row["external_port"] == number)
    return found


@pytest.mark.steps
class TestDrill:
    """One home from the first mapping to the last trace."""

    def test_two_ports_are_open(self, lab: lablib.Lab, router: Router) -> None:
        router.stops_like_most()
        ok(lab.playbook(OURS))
        router.neighbour_maps()
        assert router.from_outside() == {80: "open", OUTSIDE: "open"}

    def test_check_mode_changes_nothing_and_says_what_it_would(self, lab: lablib.Lab, router: Router) -> None:
        before = manifest.collect(lab)
        done, report = run(lab, "--check", "--diff", router=ROUTER)
        ok(done)
        assert manifest.compare(before, manifest.collect(lab)) == []
        assert set(states(report).values()) == {"untested"}
        assert "this is what a run would do" in done.output
        assert "prerouting_miniupnpd" in done.output and "Camera 7" in done.output, str(done)
        assert router.from_outside() == {80: "open", OUTSIDE: "open"}

    def test_a_driver_that_is_not_there_is_said_before_anything_changes(self, lab: lablib.Lab, router: Router) -> None:
        before = manifest.collect(lab)
        done, _report = run(lab, router={"driver": "openwrt", "host": "router"})
        refused(done, "driver openwrt is not there yet; there is: linux")
        assert manifest.compare(before, manifest.collect(lab)) == []

    def test_without_consent_the_neighbours_mapping_stays_and_is_reported(self, lab: lablib.Lab, router: Router) -> None:
        done, report = run(lab)
        ok(done)
        found = states(report)
        assert found["table_empty"] == found["ports_closed"] == found["ssdp_silent"] == found["soap_refused"] == "fail", report
        assert found["host_blocked"] == "ok"
        assert "rules_gone" not in found, "nobody could see that"
        assert (port(report, OUTSIDE)["state"], port(report, OUTSIDE)["reason"]) == ("fail", "open")
        assert (port(report, 80)["state"], port(report, 80)["listening"]) == ("ok", True), report
        assert [(row["external_port"], row["decision"], row["there"]) for row in report["mappings"] if row["owner"] == "foreign"] == [
            (OUTSIDE, "not_consented", True)
        ]
        text = " ".join(done.output.split())
        for words in ("UPnP is not off", f"{OUTSIDE} -> {router.neighbour}:{INSIDE} (Camera 7)", "upnp_remove: [{", "Switch UPnP off on the page"):
            assert words in text, f"{words!r}\n{done}"
        seen = router.from_outside()
        assert seen[80] != "open"
        assert seen[OUTSIDE] == "open"
        assert "9999" in router.leases()

    def test_the_hosts_programs_may_not_ask_any_more(self, lab: lablib.Lab, router: Router) -> None:
        gateway = lab.vars["lab_router_lan_address"]
        listed = lab.exec("server", "setpriv", "--reuid=nobody", "--clear-groups", "upnpc", "-l", check=False, timeout=60)
        assert b"redirect" not in listed.stdout and b"No IGD" in listed.stdout + listed.stderr, listed
        program = (
            "import json,socket,sys\n"
            "opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); opened.settimeout(2)\n"
            "try:\n"
            "    opened.sendto(b'\\0\\0', (sys.argv[1], 5351)); print(json.dumps(len(opened.recv(64))))\n"
            "except OSError as error:\n"
            "    print(json.dumps(type(error).__name__))\n"
        )
        asked = lab.exec("server", "setpriv", "--reuid=nobody", "--clear-groups", "python3", "-c", program, gateway, check=False)
        assert json.loads(asked.stdout) in ("PermissionError", "ConnectionRefusedError"), asked
        # Others of the LAN, and what runs as root, get their answer.
        assert json.loads(lab.exec("server", "python3", "-c", program, gateway).stdout) == 12
        assert json.loads(lab.exec("neighbour", "python3", "-c", program, gateway).stdout) == 12

    def test_a_second_run_changes_nothing(self, lab: lablib.Lab, router: Router) -> None:
        done, report = run(lab)
        assert set(ok(done).changed.values()) == {0}, str(done)
        assert states(report)["ports_closed"] == "fail"

    def test_a_daemon_that_is_gone_while_its_rules_stay_is_reported_as_failed(self, lab: lablib.Lab, router: Router) -> None:
        lab.sh("router", "kill -KILL $(systemctl show --property=MainPID --value miniupnpd.service); sleep 0.5; ! systemctl is-active miniupnpd.service")
        assert router.from_outside()[OUTSIDE] == "open"
        done, report = run(lab)
        found = states(ok(done) and report)
        assert found["ssdp_silent"] == found["soap_refused"] == found["natpmp_silent"] == found["pcp_silent"] == "ok", report
        assert found["table_empty"] == "untested"
        assert found["ports_closed"] == "fail"
        assert (port(report, OUTSIDE)["state"], port(report, OUTSIDE)["reason"]) == ("fail", "open")
        assert "Restart the router" in " ".join(done.output.split())
        refused(run(lab, require_proof=True)[0], "upnp_require_proof", "ports_closed")

    def test_without_a_vantage_nothing_is_said_of_ports(self, lab: lablib.Lab, router: Router) -> None:
        done, report = run(lab, vantages=[])
        found = states(ok(done) and report)
        assert found["ports_closed"] == found["ssdp_outside"] == found["soap_outside"] == found["pmp_outside"] == "untested"

    def test_a_vantage_in_the_same_lan_does_not_count(self, lab: lablib.Lab, router: Router) -> None:
        done, report = run(lab, vantages=[{"host": "neighbour"}])
        assert states(ok(done) and report)["ports_closed"] == "untested"
        assert "does not count as a view from outside" in " ".join(done.output.split())

    def test_the_driver_closes_everything(self, lab: lablib.Lab, router: Router) -> None:
        assert "dport 9999" in router.rules()
        done, report = run(lab, router=ROUTER)
        ok(done)
        assert set(states(report).values()) == {"ok"}, json.dumps(report["checks"], indent=1)
        assert port(report, OUTSIDE)["state"] == "ok"
        assert "UPnP is off, and what it had opened is closed" in " ".join(done.output.split())
        assert "open" not in router.from_outside().values()
        assert router.rules() == router.leases() == ""
        assert "disabled" in lab.sh("router", "systemctl is-enabled miniupnpd.service || :")

    def test_that_again_changes_nothing(self, lab: lablib.Lab, router: Router) -> None:
        done, report = run(lab, router=ROUTER, require_proof=True)
        assert set(ok(done).changed.values()) == {0}, str(done)
        assert set(states(report).values()) == {"ok"}

    def test_it_outlives_a_restart_of_the_host(self, lab: lablib.Lab, router: Router, home: lablib.Home) -> None:
        lab.forget_connections()
        lab.reboot("server")
        assert "239.255.255.250" in lab.sh("server", "nft list table inet homeserver_upnp")
        home.start_services()

    def test_guarded_has_upnp_on_again_and_reports_what_nobody_declared(self, lab: lablib.Lab, router: Router) -> None:
        done, report = run(lab, mode="guarded", router=ROUTER)
        assert set(states(ok(done) and report).values()) == {"ok"}, json.dumps(report["checks"], indent=1)
        assert "homeserver_upnp" not in lab.sh("server", "nft list tables")
        assert lab.sh("router", "systemctl is-active miniupnpd.service").strip() == "active"
        router.neighbour_maps()
        ok(lab.playbook(OURS))
        done, report = run(lab, mode="guarded", router=ROUTER)
        found = states(ok(done) and report)
        assert (found["only_declared"], found["removed_gone"]) == ("warn", "ok"), report
        assert set(done.changed.values()) == {0}
        assert router.from_outside() == {80: "open", OUTSIDE: "open"}
        assert "more is mapped than was declared" in " ".join(done.output.split())

    def test_guarded_keeps_what_is_declared(self, lab: lablib.Lab, router: Router) -> None:
        declared = [{"protocol": "tcp", "external_port": OUTSIDE, "internal_client": router.neighbour}]
        done, report = run(lab, mode="guarded", declared=declared)
        assert states(ok(done) and report)["only_declared"] == "ok"
        assert set(done.changed.values()) == {0}
        assert router.from_outside() == {80: "open", OUTSIDE: "open"}

    def test_guarded_removes_what_is_named_and_nothing_else(self, lab: lablib.Lab, router: Router) -> None:
        other = [{"protocol": "tcp", "external_port": OUTSIDE, "internal_client": "192.0.2.77"}]
        done, report = run(lab, mode="guarded", remove=other)
        assert set(ok(done).changed.values()) == {0}
        assert router.from_outside()[OUTSIDE] == "open"
        done, report = run(lab, mode="guarded", remove=[{"protocol": "tcp", "external_port": OUTSIDE, "internal_client": router.neighbour}])
        found = states(ok(done) and report)
        assert (found["only_declared"], found["removed_gone"], found["ports_closed"]) == ("ok", "ok", "ok"), json.dumps(report["checks"], indent=1)
        seen = router.from_outside()
        assert seen[80] == "open"
        assert seen[OUTSIDE] != "open"
        done, report = run(lab, mode="guarded", remove=[{"protocol": "tcp", "external_port": OUTSIDE, "internal_client": router.neighbour}])
        assert set(ok(done).changed.values()) == {0}

    def test_disabled_removes_what_is_named_and_its_own(self, lab: lablib.Lab, router: Router) -> None:
        router.neighbour_maps()
        done, report = run(lab, remove=[{"description": "Camera 7"}], forwarded=[{"protocol": "tcp", "external_port": 80}])
        found = states(ok(done) and report)
        assert (found["table_empty"], found["ports_closed"], found["ssdp_silent"]) == ("ok", "ok", "fail"), json.dumps(report["checks"], indent=1)
        assert "removed as you said: tcp 9999" in " ".join(done.output.split())
        assert "open" not in router.from_outside().values()
        assert router.leases() == ""

    def test_absent_leaves_nothing(self, lab: lablib.Lab, router: Router, unchanged: Any) -> None:
        done, _report = run(lab, state="absent", router=ROUTER)
        ok(done)
        done, _report = run(lab, state="absent", router=ROUTER)
        assert set(ok(done).changed.values()) == {0}, str(done)
        router.stops_like_the_labs()
        lab.sh("neighbour", "systemctl stop camera.service")
        unchanged()
