# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of each host: addresses and routes, NAT, miniupnpd, DNS. Pure: path in the host → content."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface

from .topology import Host, Topology

WANTS = "etc/systemd/system/multi-user.target.wants"
ZONE_DIR = "var/lib/bind"


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
        _stun(host, out)
    if host.name == "isp":
        _provider(topology, host, out)
        _secondary(topology, host, out)
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
        out.net.extend(f"ip address replace {more} dev {leg.name}" for more in leg.more_v4)
    if host.default4:
        out.net.append(f"ip route replace default via {host.default4}")
    if host.default6:
        out.net.append(f"ip -6 route replace default via {host.default6}")
    for network, via in host.routes:
        out.net.append(f"ip -{network.version} route replace {network} via {via}")


def _router(topology: Topology, host: Host, out: HostFiles) -> None:
    upnp = topology.line.upnp
    lan: IPv4Interface = host.interface("lan0").v4
    vulnerable = upnp.variant == "vulnerable"
    out.files["etc/nftables.conf"] = f"""add table inet labrouter
delete table inet labrouter
table inet labrouter {{
  chain input {{
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
    jump miniupnpd
  }}
  chain miniupnpd {{ }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump prerouting_miniupnpd
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    jump postrouting_miniupnpd
    iifname != "wan0" oifname "wan0" meta nfproto ipv4 masquerade
  }}
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


def _provider(topology: Topology, host: Host, out: HostFiles) -> None:
    ports = topology.line.port_filter
    refuse = "drop" if ports.action == "drop" else "reject with icmpx type admin-prohibited"
    rules = []
    for way, numbers in (('iifname "core0" oifname "access0"', ports.inbound), ('iifname "access0" oifname "core0"', ports.outbound)):
        if numbers:
            chosen = ", ".join(map(str, sorted(set(numbers))))
            rules += [f"    {way} tcp dport {{ {chosen} }} {refuse}", f"    {way} udp dport {{ {chosen} }} {refuse}"]
    nat = ""
    if topology.line.wan == "cgn":
        rules += ["    ct state established,related accept", '    iifname "core0" oifname "access0" meta nfproto ipv4 drop']
        nat = """
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    iifname "access0" oifname "core0" meta nfproto ipv4 masquerade
  }"""
    body = "\n".join(rules)
    out.files["etc/nftables.conf"] = f"""add table inet labisp
delete table inet labisp
table inet labisp {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
{body}
  }}{nat}
}}
"""
    out.enable("nftables.service")


def _stun(host: Host, out: HostFiles) -> None:
    """A STUN server on both addresses, so that two answers come from two places."""
    net0 = host.interface("net0")
    addresses = [net0.v4.ip, *(more.ip for more in net0.more_v4), *([net0.v6.ip] if net0.v6 else [])]
    listening = "".join(f"listening-ip={address}\n" for address in addresses)
    switches = "stun-only\nno-tls\nno-dtls\nno-tcp\nno-cli\n"
    out.files["etc/turnserver.conf"] = f"{listening}listening-port=3478\n{switches}userdb=/var/lib/turn/turndb\nlog-file=stdout\n"
    out.enable("coturn.service")


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
