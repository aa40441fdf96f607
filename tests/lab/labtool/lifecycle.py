# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Up, down, reboot, sweep and status of labs."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import cgroup, holder, images, inventory, limits, line, render
from .ready import __file__ as READY
from .topology import Host, Topology, plan
from .util import NAME, RUN, LabError, Places, locked, run, say, store

BOOT_PATIENCE = 60.0


def up(places: Places, line_file: Path, server_os: str, seed: int | None, replace: bool, keep_failed: bool) -> None:
    """Bring a lab up; return when every host is booted and every service answers."""
    the_line = line.load(line_file)
    topology = plan(the_line, server_os, secrets.randbits(32) if seed is None else seed)
    references = {suite: images.reference(suite) for suite in sorted({"bookworm", server_os})}
    pictures = {host: references[server_os if host == "server" else "bookworm"] for host in topology.hosts}
    sweep(quiet=True)
    with locked(places.lock, wait=False) as mine:
        if not mine:
            raise LabError(f"lab {places.name!r} is going up or down just now; try again, or use another --name")
        if cgroup.lab_pid(places.name) and places.complete.exists() and not replace:
            raise LabError(f"lab {places.name!r} is up already: tests/lab/lab down --name {places.name}, or --replace, or another --name")
        if _elsewhere(places):
            raise LabError(f"a lab {places.name!r} runs where another /run is mounted (a container, say): use another --name")
        _teardown(places)
        limits.make_room(len(topology.hosts))
        say(f"lab {places.name}: line {the_line.name}, server {server_os}, seed {topology.seed}")
        try:
            _create(places, topology, pictures)
            _wait(places, _checks(topology), list(topology.hosts))
        except BaseException:
            if keep_failed:
                say(f"lab {places.name} is kept as it is (--keep-failed)")
            else:
                _teardown(places)
            raise
        places.complete.write_text("", encoding="ascii")
        say(f"lab {places.name}: up. Inventory: {places.inventory}")


def _create(places: Places, topology: Topology, pictures: dict[str, str]) -> None:
    places.state.mkdir(parents=True, mode=0o755)
    places.disk.mkdir(parents=True)
    record = {
        "line": topology.line.name,
        "server_os": topology.server_os,
        "seed": topology.seed,
        "since": time.time(),
        "disk": str(places.disk),
        "checks": _checks(topology),
    }
    (places.state / "lab.json").write_text(json.dumps(record), encoding="ascii")
    holder.write_podman_config(places)
    holder.create(places)
    public_key = inventory.write_key(places)
    for host in topology.hosts.values():
        _write_host(places, render.render(topology, host, public_key), host)
    inventory.write_ssh(places, topology)
    inventory.write(places, topology)
    script = [f"podman network create {_network(topology, name)} >/dev/null" for name in topology.segments]
    # The controller's legs are no router between the segments.
    script.append("echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding")
    run(holder.enter(places, "sh", "-ec", "\n".join(script)), what="podman network create")
    (places.state / "ids").mkdir()
    with ThreadPoolExecutor(len(topology.hosts)) as pool:
        list(pool.map(lambda host: _start(places, host, pictures[host.name], topology), topology.hosts.values()))


def _network(topology: Topology, name: str) -> str:
    segment = topology.segments[name]
    number = topology.controller[name]
    text = f"--internal --disable-dns --subnet {segment.v4} --gateway {segment.v4_of(number).ip}"
    six = segment.v6_of(number)
    if six:
        text = f"--ipv6 {text} --subnet {segment.v6} --gateway {six.ip}"
    return f"{text} {name}"


def _write_host(places: Places, content: render.HostFiles, host: Host) -> None:
    top = places.state / "hosts" / host.name
    files = top / "files"
    files.mkdir(parents=True)
    for name, text in content.files.items():
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    for name, target in content.links.items():
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    for name, mode in content.modes.items():
        (files / name).chmod(mode)
    (top / "first").write_text("\n".join(["set -eu", *content.first, ""]), encoding="ascii")
    (top / "net").write_text("\n".join(["set -eu", *content.net, ""]), encoding="ascii")


def _start(places: Places, host: Host, image: str, topology: Topology) -> None:
    argv = ["run", "-d", "--pull=never", "--name", host.name, "--hostname", host.name, "--no-hosts", "--dns", str(topology.resolver)]
    argv += [
        "--systemd=always",
        "--restart=always",
        "--privileged",
        "--pids-limit",
        "0",
        *limits.of_container(),
        "-v",
        f"{places.state}/hosts/{host.name}:/lab:ro",
    ]
    for leg in host.interfaces:
        six = f",ip6={leg.v6.ip}" if leg.v6 else ""
        argv += ["--network", f"{leg.segment}:ip={leg.v4.ip}{six},mac={leg.mac},interface_name={leg.name}"]
    identity = holder.podman(places, *argv, image, "/usr/local/sbin/lab-init").strip().splitlines()[-1]
    (places.state / "ids" / host.name).write_text(identity, encoding="ascii")


def _checks(topology: Topology) -> list[dict[str, str]]:
    """What has to answer before a lab is up."""
    checks = []
    for name, host in topology.hosts.items():
        checks.append({"host": name, "kind": "ssh", "address": str(host.ssh), "port": "22", "detail": ""})
        if name in topology.router_chain and topology.line.upnp.enabled and name in topology.line.upnp.routers:
            lan = str(host.interface("lan0").v4.ip)
            checks.append({"host": name, "kind": "upnp", "address": lan, "port": str(topology.upnp_port), "detail": ""})
    for name, address in zip(("internet", "isp"), topology.authorities):
        checks.append({"host": name, "kind": "dns", "address": str(address), "port": "53", "detail": topology.zone})
    checks.append({"host": "internet", "kind": "resolver", "address": str(topology.resolver), "port": "53", "detail": topology.zone})
    for helper in topology.all_helpers:
        checks.append({"host": "internet", "kind": "stun", "address": helper, "port": str(render.STUN_PORT), "detail": ""})
    for helper in (str(topology.helpers[0].ip), *(str(six.ip) for six in topology.helpers6[:1])):
        checks.append({"host": "internet", "kind": "web", "address": helper, "port": "80", "detail": ""})
    for name in topology.line.page:
        if name in topology.hosts:
            checks.append({"host": name, "kind": "web", "address": str(topology.hosts[name].interface("lan0").v4.ip), "port": "80", "detail": ""})
    return checks


def _wait(places: Places, checks: list[dict[str, str]], names: list[str]) -> None:
    """Until systemd has started everything and each service answers; a clear failure otherwise."""
    patience = BOOT_PATIENCE
    argv = holder.network_only(places, sys.executable, "-I", READY, json.dumps(checks), str(patience), bound=True)
    services = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    with ThreadPoolExecutor(len(names)) as pool:
        states = dict(zip(names, pool.map(lambda name: _booted(places, name, patience), names)))
    bad = {name: state for name, state in states.items() if state != "running"}
    if bad:
        services.kill()
        services.wait()
        raise LabError("\n".join(f"host {name} is {state!r}\n{_journal(places, name)}" for name, state in bad.items()))
    silent = json.loads(services.communicate(timeout=patience + 10)[0])
    if silent:
        lines = [f"host {row['host']}: {row['kind']} at {row['address']}:{row['port']} does not answer: {row['reason']}" for row in silent]
        lines += [_journal(places, name) for name in sorted({row["host"] for row in silent})]
        raise LabError("\n".join(lines))


def _booted(places: Places, host: str, patience: float) -> str:
    end = time.monotonic() + patience
    state = "not started"
    while time.monotonic() < end:
        try:
            argv = holder.enter_host(places, host, ["systemctl", "is-system-running"])
        except LabError:
            time.sleep(0.03)
            continue
        state = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "starting"
        if state in ("running", "degraded", "maintenance"):
            return state
        time.sleep(0.04)
    return state


def _journal(places: Places, host: str) -> str:
    try:
        argv = holder.enter_host(places, host, ["sh", "-c", "systemctl --failed --no-legend --plain; journalctl -q --no-pager -n 25"])
        text = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout
    except (LabError, subprocess.TimeoutExpired) as exc:
        text = str(exc)
        log = next((places.disk / "storage").rglob("ctr.log"), None) if (places.disk / "storage").exists() else None
        if log:
            text += "\n" + log.read_text(encoding="utf-8", errors="replace")[-2000:]
    return f"--- {host}: failed units and the end of its journal\n{text}"


def down(places: Places) -> None:
    """Take a lab down, whatever is left of it."""
    with locked(places.lock):
        known = places.state.exists() or places.disk.exists() or cgroup.of(places.name).exists()
        _teardown(places)
    say(f"lab {places.name}: down" if known else f"lab {places.name}: there was none")


def _teardown(places: Places) -> None:
    """The same routine for a healthy lab and for leftovers."""
    cgroup.remove(cgroup.of(places.name))
    disks = {places.disk}
    with contextlib.suppress(OSError, ValueError, KeyError):
        # It may have been made with another HOMESERVER_LAB_STORE.
        disks.add(Path(json.loads((places.state / "lab.json").read_text(encoding="ascii"))["disk"]))
    for path in (places.state, *disks):
        if path.exists():
            shutil.rmtree(path)


def _elsewhere(places: Places) -> bool:
    """A living lab whose state is not to be seen: whoever made it has another /run."""
    return cgroup.populated(cgroup.of(places.name)) and not places.state.exists()


def known_names() -> list[str]:
    names = set(cgroup.names())
    for parent in (RUN / "labs", store() / "labs"):
        if parent.is_dir():
            names |= {path.name for path in parent.iterdir()}
    return sorted(name for name in names if NAME.fullmatch(name))


def sweep(quiet: bool = False) -> None:
    """Remove what dead labs, and commands killed half way, have left."""
    for name in known_names():
        places = Places.of(name)
        with locked(places.lock, wait=False) as mine:
            # Somebody works on it, or it is well, or it is not to be judged from here.
            if not mine or (cgroup.lab_pid(name) and places.complete.exists()) or _elsewhere(places):
                continue
            _teardown(places)
            say(f"swept the leftovers of lab {name}")
    if not quiet:
        say("swept")


def reboot(places: Places, host: str, hard: bool) -> None:
    """Restart a host as a power cycle does, and wait until it is up again."""
    if not places.complete.exists():
        raise LabError(f"lab {places.name!r} is not up")
    hosts = sorted(path.name for path in (places.state / "ids").iterdir())
    if host not in hosts:
        raise LabError(f"lab {places.name!r} has no host {host!r}: it has {', '.join(hosts)}")
    checks = json.loads((places.state / "lab.json").read_text(encoding="ascii"))["checks"]
    holder.podman(places, "restart", "-t", "0" if hard else "10", host)
    _wait(places, [check for check in checks if check["host"] == host], [host])
    say(f"host {host} is up again")


def status() -> None:
    """One line for each lab."""
    names = known_names()
    if not names:
        print("no lab")
    for name in names:
        places = Places.of(name)
        alive = cgroup.lab_pid(name) is not None
        state = (
            "runs where another /run is mounted"
            if _elsewhere(places)
            else "up"
            if alive and places.complete.exists()
            else "going up or broken"
            if alive
            else "dead (tests/lab/lab sweep removes it)"
        )
        try:
            record = json.loads((places.state / "lab.json").read_text(encoding="ascii"))
            age = time.time() - record["since"]
            detail = f"line {record['line']}, server {record['server_os']}, seed {record['seed']}, {age:.0f} s old"
            hosts = sorted(path.name for path in (places.state / "ids").iterdir())
            detail += "; " + ", ".join(f"{host} {'up' if holder.host_pid(places, host) else 'down'}" for host in hosts)
        except (OSError, ValueError, KeyError):
            detail = "no record"
        print(f"{name}: {state}; {detail}")
