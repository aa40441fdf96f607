# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines: how each is built, and what has to be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.homeserver.hardening.plugins.module_utils._line._map_e import PortSet
from ansible_collections.homeserver.hardening.tests.integration.line.lines import ECHO_PORT, HERE, OCTET, PYTHON, STUN, STUN6, Line, ip, map_e_rules, run

INSIDE = ("192.168.0.1", "192.168.0.2")
UNUSED = f"{OCTET}.200.9.9"


@dataclass(frozen=True)
class Case:
    """One line. C(truth) is what it is, where the verdict has to stay a weaker word."""

    name: str
    build: Callable[[Line], dict[str, Any] | None]
    verdict: str
    inbound: str
    truth: str = ""
    confidence: str = ""
    contradictions: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def direct(line: Line) -> None:
    line.host(line.outside, line.wan, ipv6=True)


def direct_dhcp(line: Line) -> None:
    line.host(line.outside, line.wan)
    ip([f"addr change {line.wan}/24 dev eth0 valid_lft 3600 preferred_lft 3600"], line.inner)


def single_upnp(line: Line) -> None:
    line.router()
    router = line.inner
    line.host(ipv6=False)
    line.miniupnpd(router, "192.168.1.0/24", "down2")


def single(line: Line) -> None:
    line.router()
    line.host()


def single_random(line: Line) -> None:
    line.router("fully-random")
    line.host()


def single_overlay(line: Line) -> None:
    single(line)
    ip(["tuntap add tailscale0 mode tun", "addr add 100.101.102.103/32 dev tailscale0", "link set tailscale0 up"], line.inner)
    ip(["link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up"], line.inner)


def silent(line: Line) -> None:
    line.router()
    line.rules(line.inner, "table inet quiet { chain output { type filter hook output priority 0; ip protocol icmp drop; }; }")
    line.host()


def carrier(line: Line, their: str, our: str, flags: str = "fully-random", answer: bool = True) -> None:
    line.router(flags, part="carrier")
    line.router("", their, our)
    router = line.inner
    line.host()
    if answer:
        line.miniupnpd(router, "192.168.1.0/24", "down3")


def double(line: Line, opened: bool) -> None:
    line.router("", part="outer")
    outer = line.inner
    line.router("", *INSIDE)
    line.host()
    if opened:
        line.listen(outer, INSIDE[0], 80)


def double_upnp(line: Line) -> None:
    line.router("", part="outer")
    outer = line.inner
    line.router("", *INSIDE)
    inner = line.inner
    line.host()
    line.miniupnpd(outer, "192.168.0.0/24", "down2")
    line.miniupnpd(inner, "192.168.1.0/24", "down3")


def map_e(line: Line, address: str, ports: PortSet, ipv6: str = "", second: bool = False) -> None:
    line.announce(f"{address}/32")
    line.attach("router", line.outside, line.wan)
    ip([f"addr add {address}/32 dev wan", f"route replace default via {line.outside} dev wan src {address}"], line.inner)
    line.route_inside(f"{address}/32", line.wan)
    line.rules(line.inner, map_e_rules(address, ports.ranges()))
    if second:
        line.router("", *INSIDE, part="second")
    line.host()
    if ipv6:
        ip([f"addr add {ipv6}/64 dev eth0"], line.inner)


def v6plus(line: Line) -> None:
    map_e(line, "106.72.164.96", PortSet(4, 8, 97), "240b:10:a460:6100::10")


def map_e_by_rule(line: Line) -> dict[str, Any]:
    """Build a line with a rule that is in no table, made of the line's number."""
    number = line.number
    prefix, network = f"2a0d:5{number:03x}:8000::/34", f"{OCTET}.77.{number}.0/24"
    # EA bits: 8 of the IPv4 address, 6 of the PSID.
    bits = (0x21 << 6) | 0x2B
    ipv6 = f"2a0d:5{number:03x}:{0x8000 | bits:x}::10"
    map_e(line, f"{OCTET}.77.{number}.33", PortSet(6, 6, 0x2B), ipv6)
    return {"map_rules": [{"name": "own", "ipv6_prefix": prefix, "ipv4_prefix": network, "ea_length": 14, "psid_offset": 6}]}


def ds_lite(line: Line) -> None:
    line.router("fully-random", part="aftr")
    line.router("", "192.0.0.1", "192.0.0.2")
    line.host()


def ipv6_only(line: Line) -> dict[str, Any]:
    line.attach("host", None, None, "eth0", f"{line.prefix6}:1::1", f"{line.prefix6}:1::10")
    return {"stun_servers": [f"[{one}]:3478" for one in STUN6], "echo_urls": []}


def one_to_one(line: Line) -> None:
    mapped = f"{OCTET}.1.{line.number}.77"
    out = f'chain post {{ type nat hook postrouting priority srcnat; oifname "core0" ip saddr {line.wan} snat to {mapped}; }}'
    into = f"chain pre {{ type nat hook prerouting priority dstnat; ip daddr {mapped} dnat to {line.wan}; }}"
    line.rules(line.isp, f"table ip nat {{\n{out}\n{into}\n}}\n")
    line.router()
    line.host()


def one_to_one_proved(line: Line) -> dict[str, Any]:
    one_to_one(line)
    return {"observed": {"inbound": [{"family": "ipv4", "protocol": "tcp", "port": 443}]}}


def tunnel(line: Line) -> None:
    single(line)
    ip(["tuntap add vpn0 mode tun", "addr add 10.8.0.2/24 dev vpn0", "link set vpn0 up"], line.inner)
    # Somebody has to hold the other end, else it has no carrier. What is sent there is lost.
    hold = "f=os.open('/dev/net/tun',os.O_RDWR)\nfcntl.ioctl(f,0x400454ca,struct.pack('16sH',b'vpn0',0x1001))\nwhile True: os.read(f,4096)"
    line.world.spawn(line.inner, PYTHON, "-c", f"import fcntl,os,struct\n{hold}")
    line.wait(lambda: "LOWER_UP" in run(line.inner, "ip", "link", "show", "vpn0"))
    ip(["route del default", "route add default via 192.168.1.1 dev eth0 metric 100", "route add default dev vpn0 metric 1"], line.inner)


def tunnel_named(line: Line) -> dict[str, Any]:
    tunnel(line)
    return {"interface": "eth0"}


def mobile(line: Line) -> None:
    line.attach("host", line.outside, line.wan, "wwan0")


def mobile_shared(line: Line) -> None:
    line.router("fully-random", part="carrier")
    line.attach("host", "100.64.9.1", "100.64.9.2", "wwan0")


def mobile_clat(line: Line) -> None:
    """A phone without IPv4 of its own: a translator on it, and one in the provider's network."""
    line.router("fully-random", part="plat")
    line.attach("host", "192.0.0.1", "192.0.0.4", "v4-wwan0")


def filtered(line: Line, rule: str) -> None:
    line.rules(line.isp, f"table inet filter {{ chain forward {{ type filter hook forward priority 0; {rule}; }}; }}")


def udp_dropped(line: Line) -> None:
    single(line)
    filtered(line, "udp dport 3478 drop")


def unplugged(line: Line) -> dict[str, Any]:
    single(line)
    filtered(line, "drop")
    line.rules(line.isp, "table inet quiet { chain output { type filter hook output priority 0; ip protocol icmp drop; }; }")
    return {"timeout": 1.0}


def redirected(line: Line, answer: str) -> None:
    single(line)
    chain = f'chain pre {{ type nat hook prerouting priority dstnat; iifname "down1" tcp dport {ECHO_PORT} redirect to :3128; }}'
    line.rules(line.isp, f"table ip proxy {{ {chain}; }}")
    line.world.spawn(line.isp, PYTHON, str(HERE / "echo_server.py"), "0.0.0.0", "3128", answer)
    line.wait(lambda: ":3128" in run(line.isp, "ss", "-Hltn"))


def portal(line: Line) -> None:
    redirected(line, "<html>Please sign in</html>")
    filtered(line, "drop")


def bad_helpers(line: Line) -> dict[str, Any]:
    single(line)
    base = f"http://{STUN[0]}:{ECHO_PORT}"
    servers = [f"{STUN[0]}:3478", f"{STUN[1]}:3478", f"{UNUSED}:3478", f"{STUN[0]}:9", "no-such-name.invalid"]
    return {"stun_servers": servers, "echo_urls": [f"{base}/", f"{base}/lie", f"{base}/portal", f"{base}/move", f"{base}/wrong"], "timeout": 1.0}


def inside_helper(line: Line) -> dict[str, Any]:
    """A helper in the same home sees the private address."""
    single(line)
    ip(["addr add 192.168.1.11/24 dev eth0"], line.inner)
    line.world.spawn(line.inner, PYTHON, str(HERE / "echo_server.py"), "192.168.1.11", "8080")
    line.wait(lambda: ":8080" in run(line.inner, "ss", "-Hltn"))
    return {"echo_urls": ["http://192.168.1.11:8080/"]}


def alone(line: Line) -> dict[str, Any]:
    line.router()
    router = line.inner
    line.host()
    line.miniupnpd(router, "192.168.1.0/24", "down2")
    return {"stun_servers": [], "echo_urls": []}


def wrong_wan(line: Line) -> None:
    """The daemon names an address that is not the router's."""
    line.router()
    router = line.inner
    line.host()
    line.miniupnpd(router, "192.168.1.0/24", "down2", external=f"{OCTET}.250.3.3")


CASES = [
    Case("direct", direct, "public_direct", "open", confidence="high"),
    Case("direct_dhcp", direct_dhcp, "public_direct", "open", confidence="high"),
    Case("single_upnp", single_upnp, "nat_single", "needs_forward", confidence="high"),
    Case("single", single, "nat_single", "needs_forward", confidence="high"),
    Case("single_random", single_random, "nat_single", "needs_forward", confidence="high"),
    Case("single_overlay", single_overlay, "nat_single", "needs_forward", confidence="high"),
    Case("silent", silent, "nat_unknown", "unknown", truth="nat_single"),
    Case("cgn", lambda line: carrier(line, "100.64.7.1", "100.64.7.2"), "cgn", "blocked", confidence="high"),
    Case("cgn_no_upnp", lambda line: carrier(line, "100.64.7.1", "100.64.7.2", answer=False), "cgn", "blocked", confidence="high"),
    Case("cgn_kept_ports", lambda line: carrier(line, "100.64.7.1", "100.64.7.2", "", False), "cgn", "blocked", confidence="high"),
    Case("cgn_rfc1918", lambda line: carrier(line, "10.9.0.1", "10.9.0.2"), "double_nat_or_cgn", "unknown", truth="cgn"),
    Case("cgn_public", lambda line: carrier(line, "25.9.0.1", "25.9.0.2"), "cgn", "blocked", contradictions=("wan_not_seen",)),
    Case("double_open", lambda line: double(line, True), "double_nat", "needs_forward", reasons=("second_router",)),
    Case("double_upnp", double_upnp, "double_nat", "needs_forward", confidence="high"),
    Case("double_closed", lambda line: double(line, False), "double_nat_or_cgn", "unknown", truth="double_nat"),
    Case("map_e_v6plus", v6plus, "map_e", "port_set", confidence="high", reasons=("map_rule", "map_ports")),
    Case("map_e_unknown", lambda line: map_e(line, f"{OCTET}.66.1.1", PortSet(4, 8, 40)), "map_e", "port_set", confidence="medium"),
    Case("map_e_ocn_shape", lambda line: map_e(line, f"{OCTET}.66.1.2", PortSet(6, 6, 33)), "map_e", "port_set"),
    Case("map_e_own_rule", map_e_by_rule, "map_e", "port_set", confidence="high", reasons=("map_rule",)),
    Case("map_e_second", lambda line: map_e(line, f"{OCTET}.66.1.3", PortSet(4, 8, 41), second=True), "map_e", "port_set", reasons=("double_nat",)),
    Case("ds_lite", ds_lite, "ds_lite", "blocked", confidence="high"),
    Case("ipv6_only", ipv6_only, "no_ipv4", "blocked", confidence="high"),
    Case("one_to_one", one_to_one, "nat_unknown", "unknown", truth="one_to_one_nat"),
    Case("one_to_one_proved", one_to_one_proved, "one_to_one_nat", "open"),
    Case("tunnel", tunnel, "vpn_or_proxy_egress", "unknown"),
    Case("tunnel_named", tunnel_named, "nat_single", "needs_forward"),
    Case("mobile", mobile, "public_direct", "open", confidence="high"),
    Case("mobile_shared", mobile_shared, "cgn", "blocked", confidence="high"),
    Case("mobile_clat", mobile_clat, "nat64_464xlat", "blocked", confidence="high"),
    Case("udp_dropped", udp_dropped, "nat_unknown", "unknown", truth="nat_single"),
    Case("unplugged", unplugged, "offline", "blocked"),
    Case("http_proxy", lambda line: redirected(line, f"{OCTET}.250.7.7"), "nat_single", "needs_forward", contradictions=("mapped_addresses_differ",)),
    Case("portal", portal, "nat_unknown", "unknown", truth="offline", reasons=("captive_portal",)),
    Case("bad_helpers", bad_helpers, "nat_single", "needs_forward", contradictions=("mapped_addresses_differ",)),
    Case("inside_helper", inside_helper, "nat_single", "needs_forward", contradictions=("mapped_not_global",)),
    Case("alone", alone, "nat_unknown", "unknown", truth="nat_single"),
    Case("wrong_wan", wrong_wan, "nat_unknown", "unknown", truth="nat_single", contradictions=("wan_not_seen",)),
]
