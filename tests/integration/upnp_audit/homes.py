# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two homes with the real miniupnpd, IPv4 and IPv6: one whose router does everything wrong that its configuration allows, and one set up well.

Needs root, iproute2, nftables and miniupnpd with its nftables backend. Nothing leaves the namespaces.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import COMMON, GLOBAL_WAN, NEIGHBOUR, PRIVATE_WAN, RULES, Home

LAN6, WAN6 = "2001:db8:77", "2001:db8:ff"
HOST6, NEIGHBOUR6, ROUTER6, ROUTER_WAN6 = f"{LAN6}::10", f"{LAN6}::11", f"{LAN6}::1", f"{WAN6}::2"

_COMMON = (
    COMMON
    + """min_lifetime=120
max_lifetime=86400
system_uptime=yes
"""
)

#: Listens on the WAN too, maps for anybody to anywhere, has no rules.
VULNERABLE = ("listening_ip=wan0", "ext_ip=44.128.1.2", "enable_upnp=yes", "enable_natpmp=yes", "secure_mode=no")
#: As a careful owner sets it up. None of its rules limits PCP over IPv6, which answers even with enable_natpmp=no: the router's packet filter refuses it.
GOOD = (
    "enable_upnp=yes",
    "enable_natpmp=yes",
    "secure_mode=yes",
    "allow 1024-65535 192.168.77.0/24 0-65535",
    "allow 80 192.168.77.10/32 80",
    "allow 443 192.168.77.10/32 443",
    "deny 0-65535 0.0.0.0/0 0-65535",
)
#: The same without IPv6 in miniupnpd.
GOOD_IPV4 = (*GOOD, "ipv6_disable=yes")
#: UPnP off, NAT-PMP and PCP on.
PCP_ONLY = ("enable_upnp=no", "enable_natpmp=yes", "secure_mode=yes", "deny 0-65535 0.0.0.0/0 0-65535")


class AuditedHome(Home):
    """A home with IPv6 whose router's rules and daemon are chosen."""

    def __init__(self, directory: Path, wan: str, open_input: bool) -> None:
        super().__init__(directory, wan)
        self._open_input = open_input
        self._fakes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        super().start()
        # The vantage runs modules too.
        (self.directory / f"id-{self.internet}").write_text(f"{uuid.uuid4().hex}\n")
        for index, name in enumerate((self.host, self.neighbour)):
            self.run(name, "ip", "addr", "add", f"{LAN6}::{10 + index}/64", "dev", "eth0", "nodad")
            self.run(name, "ip", "-6", "route", "add", "default", "via", ROUTER6)
        self.run(self.router, "ip", "addr", "add", f"{ROUTER6}/64", "dev", "lan0", "nodad")
        self.run(self.router, "ip", "addr", "add", f"{ROUTER_WAN6}/64", "dev", "wan0", "nodad")
        self.run(self.internet, "ip", "addr", "add", f"{WAN6}::1/64", "dev", "eth0", "nodad")
        self.run(self.internet, "ip", "-6", "route", "add", f"{LAN6}::/64", "via", ROUTER_WAN6)
        self.run(self.router, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        # As over IPv4: the router's rules are not for what two hosts of the LAN say to each other.
        self.run(self.router, "sysctl", "-eqw", "net.bridge.bridge-nf-call-ip6tables=0", check=False)
        self.load_rules()

    def load_rules(self, pcp_over_ipv6: bool = True) -> None:
        """Give the router its rules, with nothing mapped."""
        text = "flush ruleset\n" + RULES % ("accept" if self._open_input else "drop")
        if not pcp_over_ipv6:
            text += 'insert rule inet filter input iifname "lan0" meta nfproto ipv6 udp dport 5351 reject\n'
        self.run(self.router, "nft", "-f", "-", text=text)

    def daemon(self, lines: Sequence[str], pcp_over_ipv6: bool = True) -> None:
        """Start miniupnpd with this configuration, with nothing mapped."""
        self.stop_daemon()
        self.load_rules(pcp_over_ipv6)
        (self.directory / "leases").write_text("")
        self.start_configured(_COMMON.format(directory=self.directory) + "\n".join(lines) + "\n", upnp="enable_upnp=yes" in lines)

    def audit(self, timeout: float = 1.5, **options: Any) -> dict[str, Any]:
        """Audit from inside."""
        return self.module("upnp_audit_info", timeout=timeout, **options)

    def audit_outside(self, inside: dict[str, Any], timeout: float = 1.5) -> dict[str, Any]:
        """Audit from the Internet, with what the census inside told."""
        result = self.module(
            "upnp_audit_info",
            namespace=self.internet,
            side="wan",
            addresses=[self.wan, ROUTER_WAN6, HOST6],
            location_ports=inside["location_ports"],
            location_paths=inside["location_paths"],
            timeout=timeout,
        )
        result.pop("invocation", None)
        return result

    def probe(self, *ports: int) -> list[dict[str, Any]]:
        """Probe TCP ports of the router's WAN address from the Internet."""
        targets = [{"host": self.wan, "ports": ",".join(str(port) for port in ports)}]
        rows: list[dict[str, Any]] = self.call("port_probe_info", self.internet, {"targets": targets})["probes"]
        return rows

    def fake(self, log: Path, *options: str, address: str = NEIGHBOUR) -> Path:
        """Start a fake device on the neighbour, and return its log."""
        self._fakes.append(self.spawn(self.neighbour, sys.executable, str(Path(__file__).with_name("fake_device.py")), address, str(log), *options))
        deadline = time.monotonic() + 10
        while not log.exists() or not log.read_text().strip():
            if time.monotonic() > deadline:
                raise RuntimeError("the fake device did not start")
            time.sleep(0.05)
        return log

    def link_local(self, namespace: str) -> str:
        """Return the address of a host that is good in the LAN only."""
        deadline = time.monotonic() + 10
        while True:
            rows = json.loads(self.run(namespace, "ip", "-j", "-6", "addr", "show", "dev", "eth0", "scope", "link"))
            (info,) = [info for row in rows for info in row["addr_info"] if "local" in info]
            # Until duplicate address detection has ended nothing can be bound to it (RFC 4862, section 5.4).
            if not info.get("tentative"):
                return str(info["local"])
            if time.monotonic() > deadline:
                raise RuntimeError(f"the link-local address of {namespace} is still tentative")
            time.sleep(0.05)

    def stop_fakes(self) -> None:
        """End the fake devices."""
        for child in self._fakes:
            child.kill()
            child.wait()
        self._fakes.clear()

    def forwards(self) -> list[str]:
        """Return the router's rules that forward, over IPv4 and IPv6."""
        listed = "".join(self.run(self.router, "nft", "list", "chain", "inet", "filter", chain) for chain in ("miniupnpd", "prerouting_miniupnpd"))
        return [line.strip() for line in listed.splitlines() if "dport" in line or "dnat" in line]


def vulnerable(directory: Path) -> AuditedHome:
    """A router behind another NAT that answers everybody."""
    return AuditedHome(directory, PRIVATE_WAN, open_input=True)


def good(directory: Path) -> AuditedHome:
    """A router that answers its LAN alone."""
    return AuditedHome(directory, GLOBAL_WAN, open_input=False)
