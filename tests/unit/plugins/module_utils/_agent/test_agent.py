# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._agent._install import Installation, InstallError, Layout, bundle_name
from ansible_collections.homeserver.hardening.plugins.plugin_utils._bundle import build, module_utils, needed_files


def test_the_same_files_give_the_same_bytes_wherever_and_whenever(tmp_path: Path) -> None:
    first = build()
    for number, place in enumerate(("here", "a/longer/place")):
        copy = tmp_path / place
        shutil.copytree(module_utils(), copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "_agent" / "not_needed.py").write_text("x = 1\n")
        for path in copy.rglob("*"):
            os.utime(path, (number * 10**6, number * 10**6))
            path.chmod(0o755 if path.is_dir() or number else 0o600)
        assert build(str(copy)).data == first.data
    (tmp_path / "here" / "_dns" / "_wire.py").open("a").write("# changed\n")
    assert build(str(tmp_path / "here")).digest != first.digest


def test_only_what_is_needed_is_in_it() -> None:
    files = build().files
    assert {"_agent/_cli.py", "_ddns/_engine.py", "_dns/_wire.py", "_address/_iana.py", "_state.py", "_plan.py"} <= set(files)
    assert {"_portmap/_renewal.py", "_portmap/_recorded.py", "_portmap/_igd.py"} <= set(files)
    assert not {"_agent/_install.py", "_timer.py", "_ddns/_service.py", "_portmap/_renewal_service.py", "_journal.py"} & set(files)


def test_kinds_of_import_are_followed(tmp_path: Path) -> None:
    tree = {
        "_agent/__init__.py": "",
        "_agent/_cli.py": (
            "from .. import _top\nfrom . import _near\nfrom ..deep.inner import thing\ndef f():\n    from ._late import x\nimport os\nfrom json import loads\n"
        ),
        "_agent/_near.py": "from ._cli import f\n",
        "_agent/_late.py": "",
        "_agent/_unused.py": "",
        "_top.py": "from .deep import *\n",
        "deep/__init__.py": "from ._hidden import y\n",
        "deep/_hidden.py": "",
        "deep/inner.py": "",
    }
    for name, text in tree.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(needed_files(str(tmp_path))) == set(tree) - {"_agent/_unused.py"}


def run(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Away from the checkout and isolated, as on a host.
    return subprocess.run([sys.executable, "-I", str(bundle), *arguments], capture_output=True, text=True, check=False, cwd="/", env={"PATH": "/usr/bin:/bin"})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "agent.pyz"
    path.write_bytes(build().data)
    return path


def test_it_runs_alone(bundle: Path, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    done = run(bundle, "status", "--json", "--state-dir", state)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ddns"]["name"] == ""
    done = run(bundle, "ddns", "--state-dir", state, "--config", str(tmp_path / "none.json"))
    assert (done.returncode, done.stderr, "run the role ddns" in done.stdout) == (12, "", True)
    done = run(bundle, "renew", "--state-dir", state)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "nothing is mapped that has to be renewed\n")
    assert not os.path.exists(state)


def test_status_says_how_long_the_addresses_have_stayed(bundle: Path, tmp_path: Path) -> None:
    def said() -> tuple[list[str], dict[str, object]]:
        data = json.loads(run(bundle, "status", "--json", "--state-dir", str(tmp_path)).stdout)
        return [text for text in data["message"].splitlines() if text.startswith("line:")], data["line"]["ipv4"]

    assert said() == ([], {"stable_days": None, "changes": 0, "observed_days": None})
    now = datetime.now(timezone.utc)
    entries = [
        {"time": (now - timedelta(days=days, hours=1)).isoformat(), "ipv4": address, "ipv6_prefix": "2a0d::/64"}
        for days, address in ((40, "44.1.1.1"), (12, "44.1.1.2"), (0, "44.1.1.2"))
    ]
    (tmp_path / "line.json").write_text(json.dumps({"entries": entries}))
    assert said() == (
        ["line: IPv4 address stable for 12 days, changed 1 time", "line: IPv6 prefix stable for 40 days, changed 0 times"],
        {"stable_days": 12, "changes": 1, "observed_days": 40},
    )


@pytest.mark.parametrize(
    "arguments", [["watch"], ["watch", "--json"], ["--state-dir", "x", "watch"], ["nonsense"], [], ["status", "--state-dir", "relative"]]
)
def test_wrong_calls_end_with_status_2(bundle: Path, arguments: list[str]) -> None:
    done = run(bundle, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage:" in done.stderr
    if arguments and arguments[0] == "watch":
        assert "not in this version" in done.stderr


def test_archive_states_no_time_and_no_owner(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        for info in archive.infolist():
            assert (info.date_time, info.compress_type, info.create_system) == ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 3)
        assert archive.namelist() == sorted(archive.namelist())


def make(tmp_path: Path) -> tuple[Layout, Installation]:
    layout = Layout(str(tmp_path / "lib" / "homeserver"), str(tmp_path / "sbin" / "homeserver-agent"))
    return layout, Installation(layout)


def put(installation: Installation, data: bytes, consumer: str) -> int:
    plan = installation.plan(installation.wanted(hashlib.sha256(data).hexdigest(), consumer))
    installation.apply(plan, data)
    return len(plan.changes)


def test_installed_twice_updated_and_removed(tmp_path: Path) -> None:
    layout, installation = make(tmp_path)
    assert put(installation, b"one", "ddns") == 4
    assert put(installation, b"one", "ddns") == 0
    assert Path(layout.path("agent.pyz")).read_bytes() == b"one"
    assert Path(layout.path("agent.pyz")).is_symlink()
    assert os.access(layout.command, os.X_OK)
    assert layout.directory in Path(layout.command).read_text()
    # New version: new file, switched link, the old one is gone.
    assert put(installation, b"two", "ddns") == 3
    assert Path(layout.path("agent.pyz")).read_bytes() == b"two"
    assert len(list(Path(layout.directory).glob("agent-*.pyz"))) == 1
    # It stays as long as somebody needs it.
    assert put(installation, b"two", "homeserver") == 1
    installation.apply(installation.plan(installation.without("ddns")), b"")
    assert Path(layout.path("agent.pyz")).read_bytes() == b"two"
    assert not installation.plan(installation.without("ddns")).changed
    installation.apply(installation.plan(installation.without("homeserver")), b"")
    assert not Path(layout.directory).exists()
    assert not Path(layout.command).exists()
    assert not installation.plan(installation.without("homeserver")).changed


def test_damage_is_repaired(tmp_path: Path) -> None:
    layout, installation = make(tmp_path)
    put(installation, b"one", "ddns")
    digest = hashlib.sha256(b"one").hexdigest()
    path = Path(layout.path(bundle_name(digest)))
    path.write_bytes(b"0ne")
    plan = installation.plan(installation.wanted(digest, "ddns"))
    assert installation.needs_bundle(plan)
    with pytest.raises(InstallError, match="damaged"):
        installation.apply(plan, b"0ne")
    assert put(installation, b"one", "ddns") == 1
    Path(layout.path("agent.pyz")).unlink()
    Path(layout.path("agent.pyz")).symlink_to("elsewhere")
    os.chmod(layout.command, 0o777)
    plan = installation.plan(installation.wanted(digest, "ddns"))
    assert not installation.needs_bundle(plan)
    assert len(plan.changes) == 2
    installation.apply(plan, b"")
    assert Path(layout.path("agent.pyz")).read_bytes() == b"one"


def test_foreign_files_stay(tmp_path: Path) -> None:
    layout, installation = make(tmp_path)
    put(installation, b"one", "ddns")
    other = Path(layout.path("agent-other.pyz"))
    other.write_text("")
    installation.apply(installation.plan(installation.without("ddns")), b"")
    assert [entry.name for entry in Path(layout.directory).iterdir()] == ["agent-other.pyz"]
