# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The router as somebody sees it who is not root, after root has mapped a port through the real miniupnpd."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible
import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import _MACHINE_ID, _RUNNER, HOST, NEIGHBOUR, Home

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534
WEB = {"name": "web", "protocol": "tcp", "external_port": 80, "port": 8080}
TLS = {"name": "tls", "protocol": "tcp", "external_port": 8443, "port": 443}


class User:
    """Runs modules on the host without root, from copies that everybody may read, with a state directory that only root may."""

    def __init__(self, home: Home, directory: Path) -> None:
        self.home = home
        self.directory = directory
        self.state = directory / "state"
        code = directory / "code"
        shutil.copytree(Path(ansible.__file__).parent / "module_utils", code / "ansible" / "module_utils")
        (code / "ansible" / "__init__.py").write_text(f"__version__ = {ansible.__version__!r}\n")
        plugins = code / "ansible_collections" / "homeserver" / "hardening" / "plugins"
        for part in ("module_utils", "modules"):
            shutil.copytree(ROOT / "plugins" / part, plugins / part, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (directory, code, *code.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def module(self, name: str, **options: Any) -> dict[str, Any]:
        arguments = {"state_dir": str(self.state), **options}
        identity = self.home.directory / f"id-{self.home.host}"
        command = ["ip", "netns", "exec", self.home.host, "sh", "-ec", _MACHINE_ID, "sh", str(identity)]
        command += ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", f"PYTHONPATH={self.directory / 'code'}"]
        given = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
        done = subprocess.run(
            [*command, "/usr/bin/python3", "-B", "-c", _RUNNER, name], input=given, capture_output=True, text=True, check=False, timeout=60, cwd="/"
        )
        assert done.stdout, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def root(self, name: str, **options: Any) -> dict[str, Any]:
        return self.home.module(name, **{"state_dir": str(self.state), **options})


@pytest.fixture
def user(home: Home) -> Iterator[User]:
    directory = Path(tempfile.mkdtemp(prefix="homeserver-user-", dir="/tmp"))
    try:
        yield User(home, directory)
    finally:
        shutil.rmtree(directory)


def owners(result: dict[str, Any]) -> list[tuple[int, str]]:
    return sorted((row["external_port"], row["owner"]) for row in result["mappings"])


def warnings(result: dict[str, Any]) -> str:
    """Return all of them, in whatever form this version of Ansible has them."""
    return json.dumps(result["warnings"]) if result.get("warnings") else ""


def test_the_user_is_not_root(user: User) -> None:
    """The means of these tests: without them, all of them would pass as root."""
    user.home.start_daemon(recorded=True)
    user.root("port_mapping", method="pcp", mappings=[WEB])
    assert (user.state / "port_mappings.json").exists()
    text = f"import os, sys; sys.exit(os.geteuid() != {NOBODY} or os.access(sys.argv[1], os.R_OK))"
    done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3", "-c", text, str(user.state)], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("method", ["auto", "pcp", "natpmp"])
def test_a_router_without_upnp(user: User, method: str) -> None:
    home = user.home
    home.start_daemon(recorded=True, upnp=False)
    made = user.root("port_mapping", method=method, mappings=[WEB])
    assert not made.get("failed"), made["msg"]
    before = home.forwards()
    spoken = "pcp" if method == "auto" else method
    seen = user.module("port_mapping_info", method=method)
    assert (seen["available"], seen["reason"], seen["gateway"]["method"], seen["gateway"]["wan_address"]) == (True, "", spoken, home.wan)
    assert seen["mappings"] == []
    assert f"{user.state / 'port_mappings.json'} cannot be read" in warnings(seen)
    assert "owner is unknown" in warnings(seen)
    assert "become" in seen["missing"]
    assert seen["missing"] in warnings(seen)
    # What it says is so.
    refused = user.module("port_mapping", method=method, mappings=[TLS])
    assert refused["failed"]
    assert not refused["changed"]
    if method != "auto":
        assert "become" in refused["msg"]
    assert home.forwards() == before
    by_root = user.root("port_mapping_info", method=method)
    assert (owners(by_root), by_root["missing"], warnings(by_root)) == ([(80, "ours")], "", "")


@pytest.mark.parametrize("method", ["pcp", "natpmp"])
def test_a_router_that_speaks_everything(user: User, method: str) -> None:
    home = user.home
    home.start_daemon(recorded=True)
    home.upnpc(home.neighbour, "-e", "camera", "-a", NEIGHBOUR, "81", "81", "tcp", "3600")
    assert user.root("port_mapping", method=method, mappings=[WEB])["changed"]
    seen = user.module("port_mapping_info")
    assert seen["available"]
    # UPnP shows it without our tag; that it is ours stands where only root may read.
    assert owners(seen) == [(80, "unknown"), (81, "foreign")]
    assert "cannot be read" in warnings(seen)
    assert seen["missing"] == ""
    # Mapping needs no root here, and is by UPnP.
    done = user.module("port_mapping", mappings=[TLS])
    assert not done.get("failed"), done["msg"]
    assert [(row["method"], row["internal_client"]) for row in done["mappings"]] == [("upnp", HOST)]
    assert owners(user.module("port_mapping_info")) == [(80, "unknown"), (81, "foreign"), (8443, "ours")]
    # Without the records, what may be ours is not taken for it.
    assert user.module("port_mapping", state="absent")["changed"]
    assert owners(user.root("port_mapping_info")) == [(80, "ours"), (81, "foreign")]


def test_without_any_record_nothing_is_unknown(user: User) -> None:
    home = user.home
    home.start_daemon(recorded=True)
    home.upnpc(home.host, "-e", "old tool", "-a", HOST, "6881", "6881", "tcp", "3600")
    seen = user.module("port_mapping_info")
    assert (owners(seen), seen["missing"], warnings(seen)) == ([(6881, "untagged_ours")], "", "")


def test_records_that_may_be_read_and_not_written(user: User) -> None:
    home = user.home
    home.start_daemon(recorded=True, upnp=False)
    user.root("port_mapping", mappings=[WEB])
    user.state.chmod(0o755)
    (user.state / "port_mappings.json").chmod(0o644)
    seen = user.module("port_mapping_info")
    assert owners(seen) == [(80, "ours")]
    assert "cannot be written" in seen["missing"]
    assert "cannot be read" not in warnings(seen)
