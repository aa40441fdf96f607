# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible and ssh need to reach the lab's hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import cgroup, render
from .topology import GROUPS, Topology
from .util import LAB_DIR, Places

FDPASS = LAB_DIR / "labtool" / "fdpass.py"


def write_key(places: Places) -> str:
    """An own key pair for each lab; returns the public half."""
    key = places.state / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {places.name}", "-f", str(key)], check=True, capture_output=True)
    return key.with_suffix(".pub").read_text(encoding="ascii")


def write_ssh(places: Places, topology: Topology) -> None:
    """An ssh_config that puts any ssh on the lab's network: a helper enters it and hands the connected socket over."""
    helper = places.state / "fdpass"
    # ssh runs it for each connection, so it starts without what it does not use.
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    helper.write_text(f"#!{python} -IS\n{FDPASS.read_text(encoding='ascii')}", encoding="ascii")
    helper.chmod(0o755)
    (places.state / "cp").mkdir(mode=0o700)
    parts = [f"Host {host.name}\n  HostName {host.ssh}\n" for host in topology.hosts.values()]
    parts.append(
        f"Host *\n  User root\n  IdentityFile {places.state}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile {places.state}/known_hosts\n"
        f"  StrictHostKeyChecking accept-new\n  LogLevel ERROR\n  ProxyCommand {helper} {cgroup.of(places.name)} %h %p\n  ProxyUseFdpass yes\n"
    )
    places.ssh_config.write_text("".join(parts), encoding="ascii")


def write(places: Places, topology: Topology) -> None:
    helpers = topology.helpers6 if topology.line.wan == "none" else topology.helpers
    common: dict[str, Any] = {
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": f"-F {places.ssh_config}",
        "ansible_ssh_transfer_method": "piped",
        "ansible_ssh_pipelining": True,
        # The name of a control socket is made of address, port and user: two labs may share all three.
        "ansible_control_path_dir": f"{places.state}/cp",
        "lab_instance": places.name,
        "lab_line": topology.line.name,
        "lab_description": topology.line.description,
        "lab_seed": topology.seed,
        "lab_server_os": topology.server_os,
        "lab_zone": topology.zone,
        "lab_name": topology.server_name,
        "lab_dns_servers": _authorities(topology),
        "lab_resolver": str(topology.resolver),
        "lab_tsig_name": topology.tsig_name,
        "lab_tsig_algorithm": "hmac-sha256",
        "lab_tsig_secret": topology.tsig_secret,
        "lab_wan_address": str(topology.wan_address) if topology.wan_address else None,
        "lab_stun_servers": [f"[{one.ip}]:{render.STUN_PORT}" if one.version == 6 else f"{one.ip}:{render.STUN_PORT}" for one in helpers],
        "lab_echo_urls": [f"http://[{one.ip}]/" if one.version == 6 else f"http://{one.ip}/" for one in helpers[:1]],
        "lab_vpn": f"{topology.vpn_end}:{render.VPN_PORT}" if topology.line.vpn == "default_route" else None,
        "lab_services": topology.services,
        "lab_diagnose": topology.line.diagnose,
        "lab_expect": topology.line.expect,
        "lab_server_address": str(topology.hosts["server"].interface("lan0").v4.ip),
        "lab_neighbour_address": str(topology.hosts["neighbour"].interface("lan0").v4.ip),
        "lab_router_lan_address": str(topology.hosts["router"].interface("lan0").v4.ip) if "router" in topology.hosts else None,
        "lab_internet_address": str(topology.hosts["internet"].ssh),
        "lab_internet_ipv6": _v6_of(topology, "internet"),
        "lab_server_wan_ipv6": _v6_of(topology, "server"),
        "lab_networks": {name: str(segment.v4) for name, segment in topology.segments.items()},
    }
    groups: dict[str, Any] = {}
    for host in topology.hosts.values():
        addresses = {leg.name: [str(leg.v4.ip), *(str(more.ip) for more in leg.more_v4), *([str(leg.v6.ip)] if leg.v6 else [])] for leg in host.interfaces}
        groups.setdefault(GROUPS[host.name], {"hosts": {}})["hosts"][host.name] = {"ansible_host": str(host.ssh), "lab_addresses": addresses}
    _write_json(places.inventory, {"all": {"vars": common, "children": groups}})


def _authorities(topology: Topology) -> list[str]:
    if topology.line.wan != "none":
        return [str(address) for address in topology.authorities]
    legs = [topology.hosts[name].interfaces[0].v6 for name in ("internet", "isp")]
    return [str(leg.ip) for leg in legs if leg]


def _v6_of(topology: Topology, host: str) -> str | None:
    for leg in reversed(topology.hosts[host].interfaces):
        if leg.v6:
            return str(leg.v6.ip)
    return None


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="ascii")


def dynamic(path: Path) -> dict[str, Any]:
    """The same in the form of an inventory script; empty when there is no lab."""
    if not path.exists():
        return {"_meta": {"hostvars": {}}, "all": {"hosts": []}}
    data = json.loads(path.read_text(encoding="ascii"))["all"]
    out: dict[str, Any] = {"_meta": {"hostvars": {}}, "all": {"vars": data["vars"], "children": list(data["children"])}}
    for group, content in data["children"].items():
        out[group] = {"hosts": list(content["hosts"])}
        out["_meta"]["hostvars"].update(content["hosts"])
    return out
