# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at one line: brings up its lab, diagnoses it as a user does, and gathers what judging needs. Needs root."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import judging
import lablib
import plants

from ansible_collections.homeserver.hardening.plugins.module_utils._egress._survey import TCP_PORTS, UDP_PORTS

DIAGNOSE = "homeserver.hardening.diagnose"
OUTPUT = lablib.OUTPUT / "lines"
#: What egress_info asks for if it is told nothing.
EGRESS_PORTS = {"tcp": TCP_PORTS, "udp": UDP_PORTS}
#: Where the hops are asked: what traceroute uses.
HOP_PORTS = (33434, 33466)
#: From where a vantage asks: net.ipv4.ip_local_port_range.
ANSWER_PORTS = (32768, 60999)
#: How a second home router is asked whether it is one.
ROUTER_PORTS = {"udp": (5351, 1900), "tcp": (80, 443, 8080)}

#: Whom the home speaks to of its own accord: the first packets only of what it began, so no answers to somebody outside. The provider's end sees
#: all of it, also what came to it inside IPv6. The far end of a VPN sees what the tunnel hides.
_SET = "type {kind} . inet_proto . inet_service; flags dynamic; size 65535;"
_RECORD = """
table inet record {{
  set seen4 {{ {four} }}
  set seen6 {{ {six} }}
  chain pre {{
    type filter hook prerouting priority -150;
    iifname {ours} jump note
  }}
  chain note {{
    ct direction reply return
    ip6 daddr fe80::/10 return
    ip6 daddr ff02::/16 return
    meta l4proto {{ tcp, udp }} ip daddr != 0.0.0.0 add @seen4 {{ ip daddr . meta l4proto . th dport }}
    meta l4proto {{ tcp, udp }} ip6 daddr != :: add @seen6 {{ ip6 daddr . meta l4proto . th dport }}
    icmp type echo-request add @seen4 {{ ip daddr . meta l4proto . 0 }}
    icmpv6 type echo-request add @seen6 {{ ip6 daddr . meta l4proto . 0 }}
  }}
}}
"""
RECORDERS = {"isp": '!= { "core0", "lo" }', "internet": '"vpn0"'}


class Look:
    """One line in a lab of its own."""

    def __init__(self, path: Path, system: str, seed: int | None, plant: str = "") -> None:
        self.path = path
        self.system = system
        self.seed = seed
        self.plant = plants.PLANTS[plant] if plant else None
        self.lab = lablib.Lab(lablib.name_of("m", plant[:6], path.stem[:18]))
        self.home = lablib.Home(self.lab)

    def finding(self, keep: bool = False) -> dict[str, Any]:
        """Return what was found, as judging reads it. The lab is gone afterwards."""
        finding: dict[str, Any] = {"line": self.path.stem, "seed": self.seed}
        try:
            self._up()
            self._look(finding)
            if self.plant and self.plant.change:
                self.plant.change(finding)
        except Exception as error:
            # A line that cannot be looked at is wrong like any other, and the others go on.
            finding["error"] = f"{type(error).__name__}: {error}"
        finally:
            if not keep:
                self.lab.down()
        return finding

    def _up(self) -> None:
        shutil.rmtree(self.lab.output, ignore_errors=True)
        seed = [] if self.seed is None else ["--seed", str(self.seed)]
        self.lab.lab("up", str(self.path), "--os", self.system, "--replace", *seed, timeout=300)

    @property
    def _hosts(self) -> set[str]:
        return set(self.lab.inventory()["_meta"]["hostvars"])

    def _look(self, finding: dict[str, Any]) -> None:
        lab = self.lab.vars
        finding.update(line=lab["lab_line"], seed=lab["lab_seed"], expect=lab["lab_expect"] or {}, services=lab["lab_services"])
        self.home.start_services(sorted({f"{row['protocol']}:{row['port']}" for row in lab["lab_services"]}))
        before = self._rules()
        isp = [address for row in self.lab.inventory()["_meta"]["hostvars"]["isp"]["lab_addresses"].values() for address in row]
        allowed = _configured(lab, isp)
        if self.plant and self.plant.scripts:
            for host, script in self.plant.scripts(lab).items():
                if host in self._hosts:
                    self.lab.sh(host, script)
        self._record()
        finding.update(self._diagnose(lab))
        finding["contacted"] = self._contacted()
        finding["allowed"] = [*allowed, *_second_routers(finding["looks"])]
        after = self._rules()
        finding["left_behind"] = [f"rules of {host} are not as before" for host in before if before[host] != after[host]]
        finding["egress"] = self._egress(lab)
        finding["outside"] = self._outside(lab, finding["report"])

    def _rules(self) -> dict[str, str]:
        """Return the packet filters of the home's hosts. A planted fault changes the router's all the time."""
        hosts = sorted(self._hosts & {"server", "router", "router2"}) if not self.plant else ["server"]
        return {host: self.lab.sh(host, "nft -s list ruleset 2>/dev/null") for host in hosts}

    def _record(self) -> None:
        four, six = _SET.format(kind="ipv4_addr"), _SET.format(kind="ipv6_addr")
        for host, ours in RECORDERS.items():
            self.lab.exec(host, "nft", "-f", "-", stdin=_RECORD.format(four=four, six=six, ours=ours))

    def _contacted(self) -> list[list[Any]]:
        rows = []
        for host in RECORDERS:
            for name in ("seen4", "seen6"):
                listing = json.loads(self.lab.sh(host, f"nft -j list set inet record {name}"))["nftables"]
                for element in next(one["set"].get("elem", []) for one in listing if "set" in one):
                    row = element["elem"]["val"] if "elem" in element else element
                    rows.append(row["concat"])
            self.lab.sh(host, "nft delete table inet record")
        return sorted(rows, key=str)

    def _diagnose(self, lab: Mapping[str, Any]) -> dict[str, Any]:
        given = {
            "publish_services": lab["lab_services"],
            "publish_vantages": [{"host": "internet"}],
            "homeserver_outside": {"stun_servers": lab["lab_stun_servers"], "echo_urls": lab["lab_echo_urls"]},
            **(lab["lab_diagnose"] or {}),
        }
        run, rows = self._play(DIAGNOSE, given)
        report = self.lab.output / "reports"
        found = sorted(report.rglob("report.json"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise lablib.LabError(f"the diagnosis wrote no report.json below {report}\n{run}")
        (self.lab.output / "block.txt").write_text(run.output)
        return {
            "returncode": run.returncode,
            "seconds": run.seconds,
            "tasks": run.tasks,
            "report": json.loads(found[-1].read_text()),
            "looks": [{name: row[name] for name in ("line", "elapsed")} for row in rows.get("line_info", [])],
        }

    def _egress(self, lab: Mapping[str, Any]) -> dict[str, Any] | None:
        # Of two unusual packets, both have to be answered.
        self.lab.sh("internet", "sysctl -qw net.ipv4.icmp_ratelimit=0")
        host = lab["lab_internet_address"] if lab["lab_expect"].get("line", {}).get("verdict") != "no_ipv4" else lab["lab_internet_ipv6"]
        listeners = [{"name": f"{protocol}{port}", "protocol": protocol, "port": port} for protocol, ports in EGRESS_PORTS.items() for port in ports]
        given = {"egress_host": host, "egress_listeners": listeners}
        run, rows = self._play(str(HERE / "playbooks" / "egress.yml"), given)
        found = [row["egress"] for row in rows.get("egress_info", [])]
        if run.returncode or not found:
            raise lablib.LabError(f"egress_info could not be asked\n{run}")
        return dict(found[-1])

    def _play(self, playbook: str, given: Mapping[str, Any]) -> tuple[lablib.Run, dict[str, list[dict[str, Any]]]]:
        """Run a playbook; return the run, and what each of our modules returned."""
        record = self.lab.output / "returned" / f"{Path(playbook).stem if '/' in playbook else playbook.rsplit('.', 1)[-1]}"
        shared = lablib.os.environ.get("HOMESERVER_RECORD")
        env = {
            "HOMESERVER_RECORD": str(record),
            "ANSIBLE_CALLBACK_PLUGINS": str(lablib.ROOT / "tests" / "recorder"),
            "ANSIBLE_CALLBACKS_ENABLED": "record_returns",
        }
        run = self.lab.playbook(playbook, extra=given, env=env)
        rows: dict[str, list[dict[str, Any]]] = {}
        for path in sorted(record.glob("*.jsonl")):
            for text in path.read_text().splitlines():
                row = json.loads(text)
                if not row["failed"]:
                    rows.setdefault(row["module"], []).append(row["result"])
            if shared:
                Path(shared).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, Path(shared) / f"{self.lab.name}-{record.name}-{path.name}")
        return run, rows

    def _outside(self, lab: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, str]:
        """Ask from the vantage, with a client that is none of ours, for what the report says can be reached.

        The mappings of the trial are gone by then, so the router is asked for the same again, by a program that is none of ours either.
        """
        claimed = judging.claims(report)
        services = [{**row, "external_port": row.get("external_port") or row["port"]} for row in lab["lab_services"]]
        seen = self.home.from_outside([row for row in services if row["name"] in claimed])
        for row in services:
            if seen.get(row["name"], "open") == "open" or not lab["lab_router_lan_address"]:
                continue
            with contextlib.suppress(lablib.LabError):
                self._map(lab, row, 120)
                seen.update(self.home.from_outside([row]))
                self._map(lab, row, 0)
        address = lab["lab_server_wan_ipv6"]
        if address and any(name.endswith(" ipv6") for name in claimed):
            # Over IPv6 nothing translates a port.
            rows = [{**row, "external_port": row["port"]} for row in services]
            seen.update({f"{name} ipv6": state for name, state in self.home.from_outside(rows, address=address).items()})
        return seen

    def _map(self, lab: Mapping[str, Any], row: Mapping[str, Any], seconds: int) -> None:
        external = row["external_port"] if seconds else 0
        argv = [lab["lab_router_lan_address"], row["protocol"], str(row["port"]), str(external), str(seconds)]
        self.lab.python("server", (HERE / "map_port.py").read_text(), *argv)


def _configured(lab: Mapping[str, Any], isp: list[str]) -> list[list[Any]]:
    """Return whom the home may speak to: the helpers that were named, the resolver, the far end of its VPN, and hops on the way to the first helper,
    to that end, and to the address under which the home is seen, its own or one of the provider's.
    """
    rows: list[list[Any]] = []
    for server in lab["lab_stun_servers"]:
        host, _colon, port = server.rpartition(":")
        rows.append([host.strip("[]"), "udp", int(port), int(port)])
    for url in lab["lab_echo_urls"]:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        rows.append([parts.hostname, "tcp", port, port])
    rows += [[lab["lab_resolver"], protocol, 53, 53] for protocol in ("udp", "tcp")]
    targets = [rows[0][0], lab["lab_wan_address"], *isp]
    if lab["lab_vpn"]:
        host, _colon, port = lab["lab_vpn"].rpartition(":")
        rows.append([host, "udp", int(port), int(port)])
        targets.append(host)
        # What the vantage asked is answered through the VPN, where it looks as if it began here.
        rows += [[lab["lab_internet_address"], protocol, *ANSWER_PORTS] for protocol in ("tcp", "udp")]
    return rows + [[address, "udp", *HOP_PORTS] for address in targets if address]


def _second_routers(looks: list[dict[str, Any]]) -> list[list[Any]]:
    """Return how a second router may be asked: the second hop, if its address is a private one."""
    found = {(reading["value"] or {}).get("address") for look in looks for reading in look["line"]["readings"] if reading["kind"] == "second_gateway"}
    private = [address for address in found if address and ip_address(address).is_private]
    return [[address, protocol, port, port] for address in sorted(private) for protocol, ports in ROUTER_PORTS.items() for port in ports]
