# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab and what tests do with it: bring it up, look into its hosts, run the collection's playbooks against it.

Standard library only, so that Molecule's inventory script, the demo and the tests share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

E2E = Path(__file__).resolve().parent
ROOT = E2E.parent.parent
LAB = E2E.parent / "lab" / "lab"
LINES = E2E.parent / "lab" / "lines"
OUTPUT = Path(os.environ.get("HOMESERVER_TEST_OUTPUT") or E2E.parent / "output")

#: What the server offers in nearly every test: the same number on both sides, two different numbers, and UDP.
SERVICES: list[dict[str, Any]] = [
    {"name": "http", "protocol": "tcp", "port": 80},
    {"name": "https", "protocol": "tcp", "port": 443, "external_port": 8443},
    {"name": "wg", "protocol": "udp", "port": 51820},
]

_RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)\s+unreachable=(?P<unreachable>\d+)\s+failed=(?P<failed>\d+)\s+skipped=(?P<skipped>\d+)", re.M
)


def services_for(lab: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the services that tests publish on a line: without NAT, nothing translates a port."""
    if lab["lab_router_lan_address"] is None:
        return [{key: value for key, value in row.items() if key != "external_port"} for row in SERVICES]
    return SERVICES


def name_of(*parts: str) -> str:
    """Return a lab's name that is this checkout's own: other checkouts may run the same tests at the same time."""
    # A bind mount of a checkout has another path, but is the same directory.
    found = ROOT.stat()
    checkout = hashlib.sha256(f"{found.st_dev}:{found.st_ino}".encode()).hexdigest()[:4]
    return "-".join([*parts, checkout]).replace("_", "-")[:31]


def in_place(argv: list[str]) -> list[str]:
    """Return the command that runs another with this checkout visible as the collection."""
    if ROOT.parts[-3:] == ("ansible_collections", "homeserver", "hardening") and os.environ.get("ANSIBLE_COLLECTIONS_PATH"):
        return argv
    return [str(ROOT / "tools" / "inplace"), *argv]


class LabError(Exception):
    """The lab did not do what it was asked."""


@dataclass(repr=False)
class Run:
    """One run of a playbook."""

    argv: list[str]
    returncode: int
    output: str
    seconds: float
    recap: dict[str, dict[str, int]] = field(default_factory=dict)
    log: Path | None = None

    @property
    def changed(self) -> dict[str, int]:
        """How many tasks changed something, per host."""
        return {host: row["changed"] for host, row in self.recap.items()}

    @property
    def tasks(self) -> int:
        """How many tasks it took: those that ran, and those that were skipped."""
        return sum(row["ok"] + row["skipped"] for row in self.recap.values())

    def __repr__(self) -> str:
        return f"<{self.argv[-1]} ended {self.returncode}>"

    @property
    def head(self) -> str:
        """What was run and how it ended."""
        return f"{' '.join(self.argv)} ended {self.returncode} after {self.seconds:.1f} s"

    def __str__(self) -> str:
        """What a reader of a failed test wants: around the first error, and the end."""
        lines = [line for line in self.output.splitlines() if line.strip() and not re.match(r"(ok|skipping|included): ", line)]
        first = next((number for number, line in enumerate(lines) if re.match(r"fatal: |failed: |\[ERROR\]|ERROR", line)), len(lines))
        shown = lines if len(lines) <= 60 else [*lines[max(0, first - 4) : first + 25], "[...]", *lines[max(first + 25, len(lines) - 25) :]]
        return "\n".join([self.head, *shown, f"whole output: {self.log}"])


class Lab:
    """A lab, by its name."""

    def __init__(self, name: str, output: Path | None = None) -> None:
        self.name = name
        self.output = output or OUTPUT / "labs" / name
        self._inventory: dict[str, Any] | None = None
        self._runs = 0

    # The lab itself.

    def lab(self, *argv: str, stdin: bytes | None = None, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run tests/lab/lab for this lab."""
        command = [str(LAB), argv[0], "--name", self.name, *argv[1:]]
        done = subprocess.run(command, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, timeout=timeout, check=False)
        if check and done.returncode:
            raise LabError(f"{' '.join(command)} ended {done.returncode}\n{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}")
        return done

    def up(self, line: str | Path, system: str = "bookworm") -> float:
        """Bring it up with a line, given by name or path; return how long that took."""
        path = Path(line) if os.sep in str(line) or str(line).endswith((".yml", ".yaml")) else LINES / f"{line}.yml"
        started = time.monotonic()
        self.lab("up", str(path), "--os", system, "--replace", timeout=300)
        self._inventory = None
        return time.monotonic() - started

    def down(self) -> None:
        """Take it down; nothing happens if it is not up."""
        self.lab("down", timeout=60, check=False)

    def exec(self, host: str, *argv: str, stdin: bytes | str | None = None, timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run a command on a host of the lab, not through Ansible nor SSH."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        return self.lab("exec", host, "--", *argv, stdin=data, timeout=timeout, check=check)

    def sh(self, host: str, script: str, timeout: float = 60, check: bool = True) -> str:
        """Run a shell script on a host; return what it printed."""
        return self.exec(host, "sh", "-ec", script, timeout=timeout, check=check).stdout.decode(errors="replace")

    def python(self, host: str, program: str, *argv: str, timeout: float = 60) -> Any:
        """Run a Python program on a host, which prints JSON; return the data."""
        done = self.exec(host, "python3", "-", *argv, stdin=program, timeout=timeout)
        return json.loads(done.stdout)

    def reboot(self, host: str, timeout: float = 60) -> None:
        """Restart a host and wait until it is up again."""
        self.lab("reboot", host, timeout=timeout)

    # Inventory.

    def raw_inventory(self) -> dict[str, Any]:
        """Return what the lab prints, as an inventory script would."""
        data: dict[str, Any] = json.loads(self.lab("inventory").stdout)
        return data if "_meta" in data else _script_form(data)

    def inventory(self) -> dict[str, Any]:
        """Return the lab's inventory together with the inputs that nearly every test shares."""
        if self._inventory is None:
            data = self.raw_inventory()
            hostvars: dict[str, dict[str, Any]] = data["_meta"]["hostvars"]
            shared = {**(data.get("all") or {}).get("vars", {})}
            for name, values in hostvars.items():
                for key, value in self.inputs({**shared, **values}).items() if name == "server" else ():
                    values.setdefault(key, value)
            self._inventory = data
        return self._inventory

    @property
    def vars(self) -> dict[str, Any]:
        """The variables of the host server."""
        data = self.inventory()
        return {**(data.get("all") or {}).get("vars", {}), **data["_meta"]["hostvars"]["server"]}

    @staticmethod
    def inputs(lab: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a user of the collection would write into the inventory for the lab's server."""
        return {
            "publish_services": services_for(lab),
            "publish_vantages": [{"host": "internet"}],
            "publish_name": lab["lab_name"],
            "ddns_provider": "rfc2136",
            "ddns_name": lab["lab_name"],
            "ddns_zone": lab["lab_zone"],
            "ddns_server": lab["lab_dns_servers"][0],
            "ddns_tsig_name": lab["lab_tsig_name"],
            "ddns_tsig_algorithm": lab["lab_tsig_algorithm"],
            "ddns_tsig_secret": lab["lab_tsig_secret"],
            "homeserver_outside": {"stun_servers": lab["lab_stun_servers"]},
            "homeserver_report_dir": "{{ lookup('ansible.builtin.env', 'HOMESERVER_TEST_REPORTS') | default('/tmp/homeserver-reports', true) }}",
        }

    def inventory_file(self) -> Path:
        """Write the inventory as a file that Ansible reads without running anything; return its path."""
        data = self.inventory()
        shared = data.get("all", {}).get("vars", {})
        tree: dict[str, Any] = {"all": {"hosts": data["_meta"]["hostvars"], "vars": shared, "children": {}}}
        for group, content in data.items():
            if group in ("_meta", "all", "ungrouped"):
                continue
            hosts = content if isinstance(content, list) else content.get("hosts", [])
            values = {} if isinstance(content, list) else content.get("vars", {})
            tree["all"]["children"][group] = {"hosts": dict.fromkeys(hosts), "vars": values}
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / "inventory.json"
        path.write_text(json.dumps(tree, indent=1))
        path.chmod(0o600)
        return path

    # The collection.

    @property
    def behind_router(self) -> bool:
        """Whether a router stands between the server and the Internet."""
        return self.vars["lab_router_lan_address"] is not None

    def environment(self) -> dict[str, str]:
        """Return the environment in which Ansible works with this lab."""
        self.output.mkdir(parents=True, exist_ok=True)
        # An empty one of our own: neither the user's nor the system's counts.
        configuration = self.output / "ansible.cfg"
        configuration.write_text("[defaults]\n")
        env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_") or key == "ANSIBLE_COLLECTIONS_PATH"}
        env.update(
            LAB=self.name,
            HOMESERVER_TEST_REPORTS=str(self.output / "reports"),
            ANSIBLE_CONFIG=str(configuration),
            ANSIBLE_FORCE_COLOR="0",
            ANSIBLE_NOCOWS="1",
            ANSIBLE_PIPELINING="1",
            ANSIBLE_GATHERING="explicit",
            ANSIBLE_TIMEOUT="10",
            ANSIBLE_INVENTORY_UNPARSED_FAILED="1",
            ANSIBLE_HOST_PATTERN_MISMATCH="error",
            ANSIBLE_RETRY_FILES_ENABLED="0",
            ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o ControlPersist=60s -o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=2",
            PYTHONUNBUFFERED="1",
            PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", os.defpath),
        )
        if env.get("HOMESERVER_RECORD"):
            # What our modules return is compared with their documentation afterwards.
            env.update(ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "tests" / "recorder"), ANSIBLE_CALLBACKS_ENABLED="record_returns")
        return env

    def forget_connections(self) -> None:
        """End the SSH connections that earlier runs left open."""
        control = Path(self.lab("path", "state").stdout.decode().strip()) / "cp"
        for socket in control.glob("*") if control.is_dir() else ():
            subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "x"], capture_output=True, timeout=10, check=False)
            with contextlib.suppress(OSError):
                socket.unlink()

    def playbook(
        self,
        playbook: str,
        *options: str,
        extra: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        only_env: Mapping[str, str] | None = None,
        timeout: float = 300,
        inplace: bool = True,
        cwd: Path | None = None,
        show: bool = False,
    ) -> Run:
        """Run a playbook, by its FQCN or path, and return what came of it.

        The run is a process group of its own, and ends with its time.
        """
        argv = ["ansible-playbook", "-i", str(self.inventory_file()), *options]
        if extra:
            argv += ["-e", json.dumps(extra)]
        argv.append(playbook)
        command = in_place(argv) if inplace else argv
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            env={**(self.environment() if only_env is None else only_env), **(env or {})},
            cwd=cwd or ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            raw, _unused = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raw, _unused = process.communicate()
            raw += f"\nkilled after {timeout:g} s\n".encode()
        text = raw.decode(errors="replace")
        seconds = time.monotonic() - started
        recap = {match["host"]: {key: int(match[key]) for key in ("ok", "changed", "unreachable", "failed", "skipped")} for match in _RECAP.finditer(text)}
        run = Run(argv, process.returncode, text, seconds, recap)
        self._runs += 1
        run.log = self.output / f"{self._runs:03d}-{playbook.rsplit('.', 1)[-1] if os.sep not in playbook else Path(playbook).stem}.log"
        run.log.write_text(f"{run.head}\n{text}")
        if show:
            print(text)
        return run


def _script_form(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Turn an inventory in the form of a file into that of an inventory script."""
    hostvars: dict[str, dict[str, Any]] = {}
    result: dict[str, Any] = {"_meta": {"hostvars": hostvars}}

    def walk(name: str, group: Mapping[str, Any]) -> None:
        row = result.setdefault(name, {"hosts": [], "vars": {}, "children": []})
        for host, values in (group.get("hosts") or {}).items():
            row["hosts"].append(host)
            hostvars.setdefault(host, {}).update(values or {})
        row["vars"].update(group.get("vars") or {})
        for child, content in (group.get("children") or {}).items():
            row["children"].append(child)
            walk(child, content or {})

    for name, group in tree.items():
        walk(name, group or {})
    return result


class Home:
    """The server of a lab with real services on it, and the view from outside."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.token = ""

    def start_services(self, ports: Sequence[str] = ("tcp:80", "tcp:443", "udp:51820")) -> None:
        """Offer something real on each port that gets published."""
        # The same after a restart, so that the unit and the process are the same to the manifest.
        self.token = self.token or secrets.token_hex(8)
        numbers = "|".join(sorted({port.partition(":")[2] for port in ports}))
        self.lab.exec("server", "sh", "-ec", "mkdir -p /opt && cat >/opt/lab-services.py", stdin=(E2E / "services.py").read_bytes())
        self.lab.sh(
            "server",
            "systemctl stop lab-services.service 2>/dev/null || :\n"
            f"systemd-run --quiet --collect --unit=lab-services python3 /opt/lab-services.py {self.token} {' '.join(ports)}\n"
            f"for attempt in $(seq 50); do [ $(ss -Hlntu | grep -Ec ':({numbers}) ') -ge {len(ports)} ] && exit 0; sleep 0.1; done\n"
            "echo 'the services did not start' >&2; exit 1",
        )

    def stop_services(self) -> None:
        """Offer nothing."""
        self.lab.sh("server", "systemctl stop lab-services.service")

    def ask(self, rows: list[dict[str, Any]], host: str = "internet") -> list[dict[str, Any]]:
        """Ask from a host of the lab with a client that is none of ours."""
        answer: list[dict[str, Any]] = self.lab.python(host, (E2E / "outside.py").read_text(), json.dumps(rows))
        return answer

    def from_outside(self, services: list[dict[str, Any]] | None = None, address: str | None = None) -> dict[str, str]:
        """Return for each service what someone on the Internet sees.

        C(open) only if this server's own token came back; otherwise the client's words.
        """
        services = services_for(self.lab.vars) if services is None else services
        # Behind a carrier's NAT, the carrier's own address is where a visitor would end up.
        target = address or self.lab.vars["lab_wan_address"] or self.lab.inventory()["_meta"]["hostvars"]["isp"]["lab_addresses"]["core0"][0]
        rows = [{"protocol": row["protocol"], "host": target, "port": row.get("external_port", row["port"])} for row in services]
        result = {}
        for service, row in zip(services, self.ask(rows)):
            wanted = f"{self.token} {service['protocol']} {service['port']}"
            result[service["name"]] = "open" if row["state"] == "answered" and row["answer"].startswith(wanted) else f"{row['state']} {row['answer']}".strip()
        return result

    def open_names(self, services: list[dict[str, Any]] | None = None) -> list[str]:
        """Return the names of the services that answer someone on the Internet."""
        return sorted(name for name, state in self.from_outside(services).items() if state == "open")

    def resolve(self, kind: str = "A") -> list[str]:
        """Ask each authority for the server's name; return the addresses that all of them agree on."""
        variables = self.lab.vars
        answers = [
            sorted(self.lab.sh("internet", f"dig +short +time=3 +norecurse @{server} {variables['lab_name']} {kind}").split())
            for server in variables["lab_dns_servers"]
        ]
        if any(answer != answers[0] for answer in answers):
            raise LabError(f"the authorities do not agree on {variables['lab_name']}: {answers}")
        return answers[0]
