# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host says and what is done to it: nft(8), systemctl(1), ip(8), and files. No decisions here."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Any

from .conflicts import Surroundings
from .ruleset import FAMILY, TABLE, Network

#: Where system tools live, whatever PATH an unprivileged login has.
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT = 30.0
_PROBE_TABLES = "homeserver_probe_"


class SystemProblem(Exception):
    """The host refused or lacks something; the message says what and what to do."""


def tool(name: str, package: str) -> str:
    """Return the path of a system tool."""
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        raise SystemProblem(f"{name} is not installed on this host; install the package {package} (on Debian: apt-get install {package})")
    return path


def run(arguments: list[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool with a fixed environment; the caller judges the exit status."""
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"}
    try:
        # The core has no AnsibleModule and so no run_command.
        # pylint: disable-next=ansible-bad-function
        return subprocess.run(
            arguments, input=text, capture_output=True, encoding="utf-8", errors="replace", timeout=_TIMEOUT, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise SystemProblem(f"{' '.join(arguments)} did not end within {_TIMEOUT:g} s") from error
    except OSError as error:
        raise SystemProblem(f"{arguments[0]} cannot be run: {error.strerror}") from error


# nft 1.0.6 (Debian 12) writes bytes of its memory for the flags of a table that has an owner.
_TABLE_FLAGS = re.compile(r'(\{"table": \{"family": "[a-z]+", "name": "[^"]*", "handle": [0-9]+), "flags": .*?\}\}(?=\]\}\s*\Z|, \{")', re.DOTALL)


def read_listing(text: str) -> dict[str, Any]:
    """Return the listing that nft wrote as JSON."""
    for candidate in (text or '{"nftables": []}', _TABLE_FLAGS.sub(r"\1}}", text)):
        try:
            listing: dict[str, Any] = json.loads(candidate)
        except ValueError as error:
            problem = error
        else:
            return listing
    raise SystemProblem(f"nft listed the rules in a form that is not JSON: {problem}")


class Nft:
    """nft(8)."""

    def __init__(self) -> None:
        self.path = tool("nft", "nftables")

    def ruleset(self) -> dict[str, Any]:
        """Return everything that nftables holds."""
        result = run([self.path, "-j", "list", "ruleset"])
        if result.returncode != 0:
            raise SystemProblem(f"nft cannot list the rules: {_first_line(result.stderr)}; this needs root (become: true) and a kernel with nf_tables")
        try:
            return read_listing(result.stdout)
        except SystemProblem:
            return self._table_by_table()

    def _table_by_table(self) -> dict[str, Any]:
        """Return the same where nft 1.0.6 stops amid a table that has an owner: that one is left out."""
        rows: list[Any] = []
        for line in run([self.path, "list", "tables"]).stdout.splitlines():
            words = line.split()
            if len(words) != 3 or words[0] != "table":
                continue
            result = run([self.path, "-j", "list", "table", words[1], words[2]])
            try:
                rows.extend(read_listing(result.stdout)["nftables"])
            except SystemProblem:
                # The table of a proof that is going on or was interrupted. It lives as long as its process, and drops nothing.
                if not words[2].startswith(_PROBE_TABLES):
                    raise
        return {"nftables": rows}

    def text(self) -> str:
        """Return the same with handles, as text."""
        return run([self.path, "-a", "list", "ruleset"]).stdout

    def check(self, script: str) -> None:
        """Refuse a script that the kernel would refuse; nothing is changed."""
        self._execute(["-c", "-f", "-"], script)

    def load(self, script: str) -> None:
        """Execute a script as one transaction."""
        self._execute(["-f", "-"], script)

    def _execute(self, arguments: list[str], script: str) -> None:
        result = run([self.path, *arguments], script)
        if result.returncode != 0:
            raise SystemProblem(f"nft refuses the rules of table {FAMILY} {TABLE}: {result.stderr.strip()}")


class Systemd:
    """systemctl(1); on a host that is not booted with systemd, units are files only."""

    def __init__(self) -> None:
        self.booted = os.path.isdir("/run/systemd/system")

    def is_active(self, unit: str) -> bool:
        """Return whether a unit is active now."""
        return self.booted and run([tool("systemctl", "systemd"), "is-active", "--quiet", unit]).returncode == 0

    def is_stale(self, unit: str) -> bool:
        """Return whether systemd knows an older file of this unit than the one on disk."""
        return self.booted and run([tool("systemctl", "systemd"), "show", "--property=NeedDaemonReload", "--value", unit]).stdout.strip() == "yes"

    def call(self, *arguments: str) -> None:
        """Run a command of systemctl that must succeed."""
        if not self.booted:
            return
        result = run([tool("systemctl", "systemd"), *arguments])
        if result.returncode != 0:
            raise SystemProblem(f"systemctl {' '.join(arguments)} failed: {result.stderr.strip()}")


@dataclass(frozen=True)
class FileState:
    """A regular file with content and mode, or a symbolic link with a target."""

    content: str = ""
    mode: int = 0o644
    link: str = ""

    def text(self) -> str:
        """Return what the plan shows: readable line by line."""
        return f"-> {self.link}" if self.link else f"mode {self.mode:04o}\n{self.content}"


def read_file(path: str) -> FileState | None:
    """Return what is at a path; None if nothing is."""
    try:
        if os.path.islink(path):
            return FileState(link=os.readlink(path))
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return FileState(stream.read(), os.fstat(stream.fileno()).st_mode & 0o7777)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SystemProblem(f"{path} cannot be read: {error.strerror}") from error


def write_file(path: str, state: FileState) -> None:
    """Put a file or a link in place at once: after a crash there is the old one or the new one."""
    directory, name = os.path.split(path)
    try:
        if state.link:
            temporary = os.path.join(directory, f".{name}.{os.getpid()}")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            os.symlink(state.link, temporary)
        else:
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(state.content)
                os.fchmod(stream.fileno(), state.mode)
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise SystemProblem(f"{path} cannot be written: {error.strerror}") from error


def remove_file(path: str) -> None:
    """Remove a file or a link, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SystemProblem(f"{path} cannot be removed: {error.strerror}") from error


@dataclass(frozen=True)
class Interface:
    """An interface of the host with its networks, as C(ip) tells them."""

    name: str
    addresses: tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]
    default_route: bool
    kind: str = ""


def interfaces() -> list[Interface]:
    """Return the interfaces that are up, without the loopback."""
    ip = tool("ip", "iproute2")
    listing = _json(run([ip, "-j", "-d", "address", "show", "up"]))
    routes = _json(run([ip, "-j", "-4", "route", "show", "default"])) + _json(run([ip, "-j", "-6", "route", "show", "default"]))
    with_route = {str(route.get("dev", "")) for route in routes} | {str(hop.get("dev", "")) for route in routes for hop in route.get("nexthops", [])}
    found: list[Interface] = []
    for link in listing:
        name = str(link.get("ifname", ""))
        if "LOOPBACK" in link.get("flags", []):
            continue
        addresses = [
            ipaddress.ip_interface(f"{entry['local']}/{entry['prefixlen']}")
            for entry in link.get("addr_info", [])
            if "local" in entry and entry.get("family") in ("inet", "inet6")
        ]
        kind = str(link.get("linkinfo", {}).get("info_kind", ""))
        found.append(Interface(name, tuple(addresses), name in with_route, kind))
    return found


def _json(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    try:
        data = json.loads(result.stdout or "[]")
    except ValueError:
        return []
    return [entry for entry in data if isinstance(entry, dict) and entry]


def surroundings(links: list[Interface]) -> Surroundings:
    """Return what the judgement of conflicts needs to know besides the rules."""
    arriving = [link for link in links if link.default_route] or links
    return Surroundings(
        interfaces=tuple(link.name for link in arriving),
        addresses=tuple(str(address.ip) for link in arriving for address in link.addresses),
        legacy_tables=_legacy_tables(),
        ufw_enabled=_ufw_enabled(),
    )


def _legacy_tables() -> tuple[str, ...]:
    found: list[str] = []
    for path in ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as stream:
            found += stream.read().split()
    return tuple(dict.fromkeys(found))


def _ufw_enabled() -> bool:
    with contextlib.suppress(OSError), open("/etc/ufw/ufw.conf", encoding="utf-8") as stream:
        return any(line.split("#")[0].strip().lower().replace('"', "") == "enabled=yes" for line in stream)
    return False


def lan_networks(links: list[Interface]) -> list[Network]:
    """Return the networks at home: those of the interfaces that carry a private address, and link-local ones.

    The public network of a host that the provider numbers directly is a neighbourhood of strangers, and bridges of
    containers and tunnels are no home either, unless the way to the router is over them. Where strangers share a link with
    the host, link-local addresses are theirs as well, and left out.
    """
    real = [link for link in links if link.default_route or link.kind not in _VIRTUAL]
    found: list[Network] = []
    for link in real:
        if _at_home(link):
            found += [address.network for address in link.addresses if _is_home_network(address)]
    if found and all(_at_home(link) for link in real if link.addresses):
        found.append(_FE80)
    return list(dict.fromkeys(found))


#: Kinds of interfaces behind which containers, virtual machines and the far ends of tunnels are.
_VIRTUAL = ("bridge", "tun", "wireguard", "dummy", "ipip", "sit", "gre", "gretap", "ip6tnl", "vti", "vti6", "xfrm", "vxlan", "geneve", "vrf")
_FE80 = ipaddress.IPv6Network("fe80::/10")
_HOME = tuple(ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))


def _at_home(link: Interface) -> bool:
    return any(address.ip in network for address in link.addresses for network in _HOME)


def _is_home_network(address: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> bool:
    if isinstance(address, ipaddress.IPv6Interface):
        # At home, global addresses are the prefix that the provider delegated: the LAN's too.
        return address.network.prefixlen >= 48 and address.ip not in _FE80
    return address.network.prefixlen >= 8 and any(address.ip in network for network in _HOME)


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[0]
