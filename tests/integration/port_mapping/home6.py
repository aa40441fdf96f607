# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The home of the other tests, with IPv6: global addresses, and a router that lets nothing in unless it is asked to."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
import time
from collections.abc import Sequence

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import Home, batch

PREFIX, OTHER_PREFIX, WAN = "2a00:77:0:1::", "2a00:77:0:2::", "2a00:99::"
HOST6, NEIGHBOUR6 = f"{PREFIX}10", f"{PREFIX}11"
ROUTER6 = "fe80::1"


class Home6(Home):
    """A home whose hosts have global IPv6 addresses behind the same router."""

    def start(self) -> None:
        """Make the home, and give everybody an address that is valid at once."""
        super().start()
        # As with IPv4: where the kernel filters bridged packets, the router's rules would come between two hosts of the LAN.
        self.run(self.router, "sysctl", "-eqw", "net.bridge.bridge-nf-call-ip6tables=0", check=False)
        for name, address, local in ((self.host, HOST6, "fe80::10"), (self.neighbour, NEIGHBOUR6, "fe80::11")):
            self.run(name, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=0")
            batch([f"addr add {local}/64 dev eth0 nodad", f"addr add {address}/64 dev eth0 nodad", f"route add ::/0 via {ROUTER6} dev eth0"], name)
        router = [f"addr add {ROUTER6}/64 dev lan0 nodad", f"addr add {PREFIX}1/64 dev lan0 nodad", f"addr add {OTHER_PREFIX}1/64 dev lan0 nodad"]
        batch([*router, f"addr add {WAN}2/64 dev wan0 nodad", f"route add ::/0 via {WAN}1"], self.router)
        batch([f"addr add {WAN}1/64 dev eth0 nodad", f"route add 2a00:77::/48 via {WAN}2"], self.internet)
        self.run(self.router, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")

    def renumber(self, address: str, keep: Sequence[str] = ()) -> None:
        """Give the host another global address; earlier ones that are kept go out of use."""
        self.run(self.host, "ip", "-6", "addr", "flush", "dev", "eth0", "scope", "global")
        batch([f"addr add {address}/64 dev eth0 nodad", f"route replace ::/0 via {ROUTER6} dev eth0"], self.host)
        for old in keep:
            batch([f"addr add {old}/64 dev eth0 nodad preferred_lft 0"], self.host)

    def listen6(self, port: int) -> None:
        """Let the host listen on a TCP port over IPv6, whatever its address is."""
        code = "import socket,sys\ns=socket.create_server(('::', int(sys.argv[1])), family=socket.AF_INET6)\nwhile True: s.accept()[0].close()"
        self.spawn(self.host, sys.executable, "-c", code, str(port))
        deadline = time.monotonic() + 5
        while f":{port} " not in self.run(self.host, "ss", "-6Hltn"):
            if time.monotonic() > deadline:
                raise RuntimeError("nothing listens")
            time.sleep(0.05)

    def pinholes(self) -> list[str]:
        """Return what the router lets in over IPv6: address and port."""
        rules = self.run(self.router, "nft", "list", "chain", "inet", "filter", "miniupnpd").splitlines()
        found = [re.search(r"dport ([0-9]+) @nh,192,128 (0x[0-9a-f]+) .* accept", line) for line in rules]
        return sorted(f"{ipaddress.IPv6Address(int(match.group(2), 16))} {match.group(1)}" for match in found if match)

    def silence_pcp(self) -> None:
        """Let the router not answer PCP over IPv6, which this daemon cannot be told."""
        self.run(self.router, "nft", "insert", "rule", "inet", "filter", "input", "meta", "nfproto", "ipv6", "udp", "dport", "5351", "reject")

    def restore_pcp(self) -> None:
        """End that."""
        rules = self.run(self.router, "nft", "-a", "list", "chain", "inet", "filter", "input")
        for handle in re.findall(r"udp dport 5351 reject.*# handle ([0-9]+)", rules):
            self.run(self.router, "nft", "delete", "rule", "inet", "filter", "input", "handle", handle)

    def reaches(self, port: int, address: str = HOST6, timeout: float = 0.7) -> bool:
        """Ask a host of the home from the Internet over IPv6."""
        code = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()"
        arguments = ["ip", "netns", "exec", self.internet, sys.executable, "-c", code, address, str(port), str(timeout)]
        return subprocess.run(arguments, capture_output=True, check=False).returncode == 0
