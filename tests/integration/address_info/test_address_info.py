# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against the kernel, in a network namespace that ends with the process that made it. Needs root.

What is expected is said here in words of the set-up, and compared with what ip says as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
ADDRESSES = ["100.64.0.1", "::1", "8.8.8.8", "01.2.3.4"]


@pytest.fixture(scope="module")
def reports():
    """Build the namespace, and there read the network by the core (as an ordinary user), by ip, and by a playbook."""
    if os.geteuid() != 0:
        pytest.fail("a network namespace needs root")
    playbook = Path(sys.executable).with_name("ansible-playbook")
    script = """
        set -e
        sh "$1"
        ip -j -d addr >"$2/ip.json"
        setpriv --reuid=65534 --clear-groups /usr/bin/python3 -I "$3" "$4" >"$2/core.json"
        shift 4
        exec "$@"
    """
    directory = Path(os.environ.get("TMPDIR", "/tmp")) / f"homeserver-address-info-{os.getpid()}"
    directory.mkdir()
    try:
        # Readable by the ordinary user, wherever the checkout is.
        shutil.copytree(ROOT / "plugins" / "module_utils" / "_address", directory / "core" / "_address", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "read_core.py", directory)
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        subprocess.run(
            [
                *("unshare", "-n", "sh", "-c", script, "-", str(HERE / "network.sh"), str(directory), str(directory / "read_core.py"), str(directory / "core")),
                *(str(playbook), "-i", "localhost,", "-c", "local", str(HERE / "playbook.yml")),
                *("-e", json.dumps({"report": str(directory / "module.json"), "texts": ADDRESSES})),
                *("-e", f"ansible_python_interpreter={sys.executable}"),
            ],
            check=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "ANSIBLE_GATHERING": "explicit", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        yield {name: json.loads((directory / f"{name}.json").read_text(encoding="utf-8")) for name in ("ip", "core", "module")}
    finally:
        shutil.rmtree(directory)


def test_every_address_as_ip_says(reports):
    expected = {}
    for link in reports["ip"]:
        for row in link["addr_info"]:
            expected[link["ifname"], row["local"]] = {
                "family": "ipv4" if row["family"] == "inet" else "ipv6",
                "prefix_length": row["prefixlen"],
                "kind": link.get("linkinfo", {}).get("info_kind"),
                "up": {"UP", "LOWER_UP"} <= set(link["flags"]),
                "temporary": row.get("temporary", False),
                "deprecated": row.get("deprecated", False),
                "dynamic": row.get("dynamic", False),
                "forever": row["valid_life_time"] == 4294967295,
            }
    got = {}
    for row in reports["core"]["addresses"]:
        compared = {key: row[key] for key in ("family", "prefix_length", "kind", "up", "temporary", "deprecated", "dynamic")}
        got[row["name"], row["address"]] = {**compared, "forever": row["valid_lifetime"] is None}
    assert got == expected


def test_lifetimes(reports):
    row = next(row for row in reports["core"]["addresses"] if row["address"] == "20.30.41.10")
    assert 590 < row["valid_lifetime"] <= 600
    assert 290 < row["preferred_lifetime"] <= 300


def test_candidates(reports):
    rows = reports["core"]["addresses"]
    assert {row["address"] for row in rows if row["publish_candidate"]} == {
        "20.30.41.10",
        "20.30.41.11",
        "2a00:db8:5::20",
        "2a00:db8:5:0:5054:ff:fe12:3456",
    }
    # each reason against a candidate is there once: temporary, deprecated, tentative, a bridge, no carrier, not global
    assert [(row["name"], row["tentative"]) for row in rows if row["temporary"]] == [("wan0", False)]
    assert [row["address"] for row in rows if row["deprecated"]] == ["2a00:db8:5::30"]
    assert "2a00:db8:5::40" in [row["address"] for row in rows if row["tentative"]]
    assert {("docker0", "global"), ("tunnel0", "shared_cgn"), ("wan0", "ula")} <= {(row["name"], row["address_class"]) for row in rows}


def test_default_routes(reports):
    routes = reports["core"]["default_routes"]
    assert [(row["family"], row["interface"], row["gateway"]) for row in routes] == [
        ("ipv4", "wan0", "20.30.41.1"),
        ("ipv4", "tunnel0", None),
        ("ipv6", "wan0", "fe80::1"),
    ]
    # What the kernel sends from is not what to publish: for IPv6 it takes the temporary address.
    temporary = next(row["address"] for row in reports["core"]["addresses"] if row["temporary"])
    assert [row["source"] for row in routes] == ["20.30.41.10", "100.101.102.103", temporary]


def test_module_filter_and_test_in_a_play(reports):
    """The playbook ran: normally and under check mode, and it compared the filter and the test with the module."""
    module = reports["module"]

    def stable(rows):
        # The kernel searches for duplicates of link-local addresses meanwhile.
        return [{key: value for key, value in row.items() if not key.endswith("_lifetime") and key != "tentative"} for row in rows]

    assert stable(module["interfaces"]) == stable(reports["core"]["addresses"])
    assert module["default_routes"] == reports["core"]["default_routes"]
    assert [row["address"] for row in module["addresses"]] == ADDRESSES
