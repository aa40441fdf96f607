# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of each host: addresses and routes, NAT, miniupnpd, DNS. Pure: path in the host → content."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface

from .line import TRANSLATED
from .topology import Host, MapE, Topology

WANTS = "etc/systemd/system/multi-user.target.wants"
ZONE_DIR = "var/lib/bind"
#: A port that no test of the network outside asks for.
STUN_PORT = 19302
#: Where the web services listen in truth. Ports 80 of the internet host itself and of the provider stay free.
WEB_PORT = 18080
VPN_PORT = 18094
NGINX = """worker_processes 1;
pid /run/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  server_tokens off;
  default_type text/plain;
  server {{
{body}
  }}
}}
"""


@dataclass
class HostFiles:
    """What the lab hands to one host."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    # Shell, run once before the first boot, and before every boot.
    first: list[str] = field(default_factory=list)
    net: list[str] = field(default_factory=list)

    def enable(self, unit: str) -> None:
        self.links[f"{WANTS}/{unit}"] = f"/lib/systemd/system/{unit}"


def render(topology: Topology, host: Host, public_key: str) -> HostFiles:
    """All files of one host."""
    out = HostFiles()
    _base(topology, host, public_key, out)
    if host.name in topology.router_chain:
        _router(topology, host, out)
    if host.name == "internet":
        _primary(topology, host, out)
        _helpers(topology, out)
    if host.name == "isp":
        _provider(topology, host, out)
        _secondary(topology, host, out)
    if host.name == "server":
        _server(topology, host, out)
    return out


def _base(topology: Topology, host: Host, public_key: str, out: HostFiles) -> None:
    out.files["root/.ssh/authorized_keys"] = public_key
    out.files["home/admin/.ssh/authorized_keys"] = public_key
    out.modes["root/.ssh"] = out.modes["home/admin/.ssh"] = 0o700
    out.modes["root/.ssh/authorized_keys"] = out.modes["home/admin/.ssh/authorized_keys"] = 0o600
    out.first.append("chown -R admin:admin /home/admin/.ssh")
    out.files["etc/hosts"] = f"127.0.0.1\tlocalhost\n127.0.1.1\t{host.name}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    # A new network namespace copies switches of the machine, so each is set, whether on or off.
    switch = int(host.forward)
    out.net.append(f"sysctl -qw net.ipv4.ip_forward={switch} net.ipv6.conf.all.forwarding={switch}")
    for leg in host.interfaces:
        if leg.v6:
            # Set again without duplicate address detection: a daemon that starts at once could not bind it.
            out.net.append(f"ip -6 address flush dev {leg.name} scope global; ip -6 address add {leg.v6} dev {leg.name} nodad")
        out.net.extend(f"ip -6 address replace {more} dev {leg.name} nodad" for more in leg.more_v6)
        out.net.extend(f"ip address replace {more} dev {leg.name}" for more in leg.more_v4)
    if host.default4:
        out.net.append(f"ip route replace default via {host.default4}")
    if host.default6:
        out.net.append(f"ip -6 route replace default via {host.default6}")
    for network, via in host.routes:
        out.net.append(f"ip -{network.version} route replace {network} via {via}")


def _server(topology: Topology, host: Host, out: HostFiles) -> None:
    line = topology.line
    if line.lease:
        leg = host.interface(line.interface)
        # As a DHCP client leaves it.
        out.net.append(f"ip address change {leg.v4} dev {leg.name} valid_lft {line.lease} preferred_lft {line.lease}")
    if line.vpn == "overlay":
        out.net.append(f"ip tuntap add tailscale0 mode tun; ip address add {topology.overlay}/32 dev tailscale0; ip link set tailscale0 up")
    elif line.vpn == "default_route":
        end, device = topology.vpn_end, f"TUN:{topology.vpn_net[2]}/24,tun-name=vpn0,iff-no-pi,iff-up"
        # The tunnel's own packets go by the router, everything else into the tunnel.
        out.net.append(f"ip route replace {end} via {host.default4}; ip route del default; ip route add default via {host.default4} metric 100")
        _vpn(out, f"UDP-DATAGRAM:{end}:{VPN_PORT},bind=:{VPN_PORT}", device, "ip route replace default dev vpn0 metric 1")


def _vpn(out: HostFiles, way: str, device: str, then: str = "") -> None:
    """One end of a tunnel over UDP. It is not encrypted: nobody here listens.

    Neither end is connected: a connected one would end where the other is not there yet, and would not take it back when it comes from another port.
    Both stand before anybody can log in, so that the tunnel is there when the lab is up.
    """
    wait = f"for _ in $(seq 200); do if ip -br link show vpn0 2>/dev/null | grep -q LOWER_UP; then {then or 'true'}; exit; fi; sleep 0.02; done; exit 1"
    out.files["etc/systemd/system/lab-vpn.service"] = f"""[Unit]
After=network.target
Before=ssh.service
[Service]
ExecStart=/usr/bin/socat {way} {device}
ExecStartPost=/bin/sh -c '{wait.replace("$", "$$")}'
Restart=always
RestartSec=0.1
"""
    out.links[f"{WANTS}/lab-vpn.service"] = "/etc/systemd/system/lab-vpn.service"


def _helpers(topology: Topology, out: HostFiles) -> None:
    """Servers outside that tell what they see: STUN at two addresses (coturn), and a web page. Far ends of VPNs."""
    out.files["etc/systemd/system/lab-stun.service"] = f"""[Unit]
After=network.target
[Service]
RuntimeDirectory=lab-stun
ExecStart=/usr/bin/turnserver -n --stun-only --no-cli --no-tls --no-dtls --no-tcp {" ".join(f"-L {one}" for one in topology.all_helpers)} -p {STUN_PORT} \
  --pidfile /run/lab-stun/pid --userdb /run/lab-stun/db --log-file /dev/null
"""
    out.links[f"{WANTS}/lab-stun.service"] = "/etc/systemd/system/lab-stun.service"
    _web(out, [f"    listen {WEB_PORT};", f"    listen [::]:{WEB_PORT};", '    location / { return 200 "$remote_addr\n"; }'])
    rules = [f"    ip daddr {topology.helpers[0].ip} tcp dport 80 dnat ip to {topology.helpers[0].ip}:{WEB_PORT}"]
    rules += [f"    ip6 daddr {six.ip} tcp dport 80 dnat ip6 to [{six.ip}]:{WEB_PORT}" for six in topology.helpers6[:1]]
    vpn = ""
    if topology.line.vpn == "default_route":
        # The home's router keeps the port.
        way = f"UDP-DATAGRAM:{topology.wan_address}:{VPN_PORT},bind={topology.vpn_end}:{VPN_PORT}"
        _vpn(out, way, f"TUN:{topology.vpn_net[1]}/24,tun-name=vpn0,iff-no-pi,iff-up")
        vpn = f"""
  chain input {{
    type nat hook input priority 100; policy accept;
    iifname "vpn0" snat ip to {topology.vpn_end}
  }}"""
    body = "\n".join(rules)
    out.files["etc/nftables.conf"] = f"""add table inet labinternet
delete table inet labinternet
table inet labinternet {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
{body}
  }}{vpn}
}}
"""
    out.enable("nftables.service")


def _web(out: HostFiles, body: list[str]) -> None:
    out.files["etc/nginx/nginx.conf"] = NGINX.format(body="\n".join(body))
    out.enable("nginx.service")


def _router(topology: Topology, host: Host, out: HostFiles) -> None:
    line = topology.line
    upnp = line.upnp
    lan: IPv4Interface = host.interface("lan0").v4
    vulnerable = upnp.variant == "vulnerable"
    six = '    iifname "wan0" meta nfproto ipv6 accept\n' if line.ipv6_inbound == "open" else ""
    quiet = (
        """
  chain output {
    type filter hook output priority filter; policy accept;
    meta l4proto icmp drop
  }"""
        if host.name in line.silent
        else ""
    )
    shared = topology.map_e if host.name == topology.router_chain[0] else None
    translate = _port_set(shared) if shared else '    iifname != "wan0" oifname "wan0" meta nfproto ipv4 masquerade\n'
    if shared:
        wan = host.interface("wan0")
        out.net.append(f"ip address replace {shared.address}/32 dev wan0; ip route replace default via {host.default4} dev {wan.name} src {shared.address}")
    if host.name in line.page:
        _web(out, [f"    listen {lan.ip}:80;", '    location / { default_type text/html; return 200 "<title>Router</title>\\n"; }'])
    out.files["etc/nftables.conf"] = f"""add table inet labrouter
delete table inet labrouter
table inet labrouter {{
{_blocks(shared) if shared else ""}  chain input {{
    type filter hook input priority filter; policy {"accept" if vulnerable else "drop"};
    iif "lo" accept
    ct state established,related accept
    iifname "lan0" accept
    meta l4proto {{ icmp, ipv6-icmp }} accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan0" oifname "wan0" accept
    meta l4proto ipv6-icmp accept
{six}    jump miniupnpd
  }}{quiet}
  chain miniupnpd {{ }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump prerouting_miniupnpd
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    jump postrouting_miniupnpd
{translate}  }}
  chain prerouting_miniupnpd {{ }}
  chain postrouting_miniupnpd {{ }}
}}
"""
    out.enable("nftables.service")
    if not upnp.enabled or host.name not in upnp.routers:
        return
    lowest = 1 if upnp.rules == "open" else 1024
    permissions = "" if vulnerable else f"allow {lowest}-65535 {lan.network} {lowest}-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n"
    out.files["etc/miniupnpd/miniupnpd.conf"] = f"""ext_ifname=wan0
{f"ext_ip={shared.address}" if shared else ""}
listening_ip=lan0
http_port={topology.upnp_port}
enable_natpmp=yes
enable_upnp=yes
min_lifetime=120
max_lifetime=86400
secure_mode={"yes" if upnp.secure_mode and not vulnerable else "no"}
system_uptime=yes
notify_interval=60
clean_ruleset_interval=0
uuid={topology.upnp_uuids[host.name]}
lease_file=/var/lib/miniupnpd/upnp.leases
presentation_url=
upnp_table_name=labrouter
upnp_nat_table_name=labrouter
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
{permissions}"""
    # Debian's helper expects tables that are not there. Stopping flushes the chains, as routers' own init scripts do.
    chains = ("miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd")
    flush = "".join(f"ExecStopPost=/usr/sbin/nft flush chain inet labrouter {chain}\n" for chain in chains)
    out.files["etc/systemd/system/miniupnpd.service.d/lab.conf"] = f"""[Unit]
Requires=nftables.service
After=nftables.service
PartOf=nftables.service
[Service]
StateDirectory=miniupnpd
ExecStartPre=
ExecStartPre=/usr/bin/touch /var/lib/miniupnpd/upnp.leases
ExecStopPost=
{flush}"""
    out.enable("miniupnpd.service")


def _port_set(shared: MapE) -> str:
    """Rules of a router that uses only the ports of its set."""
    jumps = ", ".join(f"{index} : jump block{index}" for index in range(len(shared.blocks)))
    return f"""    iifname != "wan0" oifname "wan0" meta l4proto {{ tcp, udp }} meta nfproto ipv4 numgen random mod {len(shared.blocks)} vmap {{ {jumps} }}
    iifname != "wan0" oifname "wan0" meta nfproto ipv4 snat ip to {shared.address}
"""


def _blocks(shared: MapE) -> str:
    return "".join(
        f"  chain block{index} {{\n" + "".join(f"    meta l4proto {kind} snat ip to {shared.address}:{first}-{last}\n" for kind in ("tcp", "udp")) + "  }\n"
        for index, (first, last) in enumerate(shared.blocks)
    )


def _provider(topology: Topology, host: Host, out: HostFiles) -> None:
    line = topology.line
    access0 = host.interface("access0")
    ports = line.port_filter
    refuse = "drop" if ports.action == "drop" else "reject with icmpx type admin-prohibited"
    down, up = 'iifname "core0" oifname "access0"', 'iifname "access0" oifname "core0"'
    rules, prerouting, postrouting, more = [], [], [], ""
    if "everything" in line.blocks or line.web == "portal":
        rules.append("    drop")
    if "everything" in line.blocks:
        more = """
  chain output {
    type filter hook output priority filter; policy accept;
    oifname "access0" meta l4proto { icmp, ipv6-icmp } drop
  }"""
    if "gre" in line.blocks:
        rules.append("    meta l4proto gre drop")
    if "udp" in line.blocks:
        rules += [f"    {up} udp dport != 53 drop", f"    {down} udp sport != 53 drop"]
    for way, numbers in ((down, ports.inbound), (up, ports.outbound)):
        if numbers:
            chosen = ", ".join(map(str, sorted(set(numbers))))
            rules += [f"    {way} tcp dport {{ {chosen} }} {refuse}", f"    {way} udp dport {{ {chosen} }} {refuse}"]
    if line.wan in TRANSLATED:
        rules += ["    ct state established,related accept", f"    {down} meta nfproto ipv4 drop"]
        postrouting.append(f"    {up} meta nfproto ipv4 masquerade fully-random")
    elif line.wan == "none":
        rules.append("    meta nfproto ipv4 drop")
    elif topology.map_e:
        chosen = ", ".join(f"{first}-{last}" for first, last in topology.map_e.blocks)
        rules += [f"    {down} ip daddr {topology.map_e.address} {kind} dport != {{ {chosen} }} drop" for kind in ("tcp", "udp")]
    elif topology.one_to_one:
        home = topology.hosts[topology.router_chain[0]].interface("wan0").v4.ip
        prerouting.append(f"    ip daddr {topology.one_to_one} dnat ip to {home}")
        postrouting.append(f'    oifname "core0" ip saddr {home} snat ip to {topology.one_to_one}')
    if line.web != "open":
        prerouting.append(f'    iifname "access0" tcp dport 80 redirect to :{WEB_PORT}')
        # Any page is answered: by the page that was asked for, seen from here, or by one to sign in.
        page = "proxy_pass http://$http_host$request_uri;" if line.web == "proxy" else 'default_type text/html; return 200 "<html>Please sign in</html>\\n";'
        _web(out, [f"    listen {access0.v4.ip}:{WEB_PORT};", f"    location / {{ {page} }}"])
    chains = [
        f"  chain {name} {{\n    type nat hook {name} priority {priority}; policy accept;\n" + "\n".join(body) + "\n  }"
        for name, priority, body in (("prerouting", "dstnat", prerouting), ("postrouting", "srcnat", postrouting))
        if body
    ]
    body = "\n".join(rules)
    nat = "".join(f"\n{chain}" for chain in chains)
    out.files["etc/nftables.conf"] = f"""add table inet labisp
delete table inet labisp
table inet labisp {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
{body}
  }}{more}{nat}
}}
"""
    out.enable("nftables.service")


def _zone(topology: Topology) -> str:
    hosts = topology.hosts
    lines = ["$TTL 60", "@ IN SOA ns1 hostmaster 1 60 30 3600 30", "@ IN NS ns1", "@ IN NS ns2"]
    for label, name, leg in (("ns1", "internet", "net0"), ("ns2", "isp", "core0")):
        interface = hosts[name].interface(leg)
        lines.append(f"{label} IN A {interface.v4.ip}")
        if interface.v6:
            lines.append(f"{label} IN AAAA {interface.v6.ip}")
    return "\n".join(lines) + "\n"


def _root_zone(topology: Topology) -> str:
    zone = f"{topology.zone}."
    ns1, ns2 = topology.authorities
    return f"""$TTL 60
. IN SOA ns1.{zone} hostmaster.{zone} 1 60 30 3600 30
. IN NS ns1.{zone}
{zone} IN NS ns1.{zone}
{zone} IN NS ns2.{zone}
ns1.{zone} IN A {ns1}
ns2.{zone} IN A {ns2}
"""


def _primary(topology: Topology, host: Host, out: HostFiles) -> None:
    """The zone's primary, and on a second address the resolver that the home's machines use, with a real cache."""
    net0 = host.interface("net0")
    destinations = f"{net0.v4.ip}; " + (f"{net0.v6.ip}; " if net0.v6 else "")
    zone = topology.zone
    out.files["etc/bind/named.conf"] = f"""options {{
  directory "/var/cache/bind";
  dnssec-validation no;
  listen-on {{ any; }};
  listen-on-v6 {{ any; }};
  notify-delay 0;
  notify-rate 1000;
  startup-notify-rate 1000;
}};
key "{topology.tsig_name}" {{ algorithm hmac-sha256; secret "{topology.tsig_secret}"; }};
view "authority" {{
  match-destinations {{ {destinations}}};
  recursion no;
  zone "." {{ type primary; file "/{ZONE_DIR}/root.zone"; notify no; }};
  zone "{zone}" {{
    type primary;
    file "/{ZONE_DIR}/lab.zone";
    update-policy {{ grant {topology.tsig_name} name {topology.server_name}. A AAAA; }};
    allow-transfer {{ any; }};
    notify yes;
  }};
}};
view "resolver" {{
  recursion yes;
  allow-recursion {{ any; }};
  allow-query {{ any; }};
  zone "." {{ type hint; file "/etc/bind/root.hints"; }};
}};
"""
    out.files["etc/bind/root.hints"] = f". 60 IN NS ns1.{zone}.\nns1.{zone}. 60 IN A {topology.authorities[0]}\n"
    out.files[f"{ZONE_DIR}/root.zone"] = _root_zone(topology)
    out.files[f"{ZONE_DIR}/lab.zone"] = _zone(topology)
    _named(out)


def _secondary(topology: Topology, host: Host, out: HostFiles) -> None:
    """The second authority. It begins with a copy of the zone, so that it answers before its first transfer."""
    out.files["etc/bind/named.conf"] = f"""options {{
  directory "/var/cache/bind";
  dnssec-validation no;
  recursion no;
  listen-on {{ any; }};
  listen-on-v6 {{ any; }};
  serial-query-rate 1000;
}};
zone "{topology.zone}" {{
  type secondary;
  primaries {{ {topology.authorities[0]}; }};
  file "/{ZONE_DIR}/lab.zone";
  masterfile-format text;
  notify no;
}};
"""
    out.files[f"{ZONE_DIR}/lab.zone"] = _zone(topology)
    _named(out)


def _named(out: HostFiles) -> None:
    out.enable("named.service")
    out.first.append(f"chown -R bind:bind /{ZONE_DIR}; chown root:bind /etc/bind/named.conf; chmod 640 /etc/bind/named.conf")
