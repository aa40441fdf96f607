# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.dns.bindlab import (
    CLONE_NEWNET,
    DELEGATED,
    LIBC,
    PRIMARY,
    RESOLVER,
    SECONDARY,
    WAN,
    Bind,
    find_named,
    write_server,
    zone_text,
)


@pytest.fixture(scope="module")
def namespace() -> Iterator[None]:
    """Let this process live in a network namespace of its own, as long as these tests run."""
    assert os.geteuid() == 0, "network namespaces need root"
    # Its package may still have to be fetched, which cannot be done from inside.
    find_named()
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert LIBC.unshare(CLONE_NEWNET) == 0
    try:
        for command in (
            "ip link set lo up",
            *(f"ip address add 127.0.0.{number}/8 dev lo" for number in (2, 3, 4, 5)),
            "ip link add wan0 type veth peer name wan1",
            f"ip address add {WAN}/24 dev wan0",
            "ip address add 2a00:20:30::10/64 dev wan0 nodad",
            "ip link set wan0 up",
            "ip link set wan1 up",
            "ip route add default via 20.30.41.1",
            "ip -6 route add default via 2a00:20:30::1",
        ):
            subprocess.run(command.split(), check=True)
        yield
    finally:
        LIBC.setns(home, CLONE_NEWNET)
        os.close(home)


@pytest.fixture(scope="module")
def bind(namespace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    """Start the servers once."""
    directory = tmp_path_factory.mktemp("bind")
    setup = Bind(directory)
    setup.servers["primary"] = write_server(
        directory,
        "primary",
        f"{PRIMARY};",
        f"""
        zone "example.net" {{
          type primary; file "zone"; also-notify {{ {SECONDARY}; }}; notify explicit;
          update-policy {{ grant ddns-home name home.example.net. A AAAA; grant ddns-home name other.example.net. A; grant admin zonesub ANY; }};
        }};
        """,
        v6="::1;",
    )
    (directory / "primary" / "zone").write_text(
        zone_text(
            "example.net",
            "@ IN NS ns1",
            "@ IN NS ns2",
            f"ns1 IN A {PRIMARY}",
            f"ns2 IN A {SECONDARY}",
            "fixed IN A 20.1.1.1",
            "fixed IN AAAA 2a00:1::1",
            "alias IN CNAME fixed",
            "sub IN NS ns.sub",
            f"ns.sub IN A {DELEGATED}",
            *(f"many IN A 20.2.{number // 50}.{number % 50 + 1}" for number in range(90)),
        )
    )
    setup.servers["secondary"] = write_server(
        directory,
        "secondary",
        f"{SECONDARY}; {DELEGATED};",
        f"""
        zone "example.net" {{ type secondary; primaries {{ {PRIMARY}; }}; file "copy"; allow-notify {{ {PRIMARY}; }}; masterfile-format text; }};
        zone "sub.example.net" {{ type primary; file "sub"; }};
        """,
    )
    (directory / "secondary" / "sub").write_text(zone_text("sub.example.net", "@ IN NS ns", f"ns IN A {DELEGATED}", "host IN A 20.3.3.3", "@ IN A 20.3.3.1"))
    setup.servers["resolver"] = write_server(
        directory,
        "resolver",
        f"{RESOLVER};",
        f"""zone "example.net" {{ type static-stub; server-addresses {{ {PRIMARY}; }}; }};""",
    )
    for server in setup.servers.values():
        server.start()
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if all(setup.dig(address, "fixed.example.net", "A", *more) for address, *more in ((PRIMARY,), (SECONDARY,), (RESOLVER, "+recurse"))):
                break
            time.sleep(0.1)
        else:
            pytest.fail("BIND did not start: " + "".join((directory / name / "log").read_text()[-2000:] for name in setup.servers))
        yield setup
    finally:
        for server in setup.servers.values():
            server.stop()


@pytest.fixture
def module(tmp_path: Path) -> Any:
    """Run a module as Ansible would on the host; return its result."""

    def run(module_name: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        payload = json.dumps(
            {"ANSIBLE_MODULE_ARGS": {"_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": str(tmp_path / "remote"), **arguments}}
        )
        program = f"ansible_collections.homeserver.hardening.plugins.modules.{module_name}"
        done = subprocess.run([sys.executable, "-m", program], input=payload, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return run
