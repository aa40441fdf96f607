# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab per session; tests of a module run in order, and stop where one fails that the next ones build on."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import lablib
import manifest as manifest_module

PUBLISH = "homeserver.hardening.publish_server"
UNPUBLISH = "homeserver.hardening.unpublish_server"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which lab."""
    group = parser.getgroup("lab")
    group.addoption("--line", default="dynamic_global", help="name of a line, or path of one")
    group.addoption("--os", default="bookworm", help="the server's Debian")
    group.addoption("--lab", default=None, help="the lab's name; it is brought up and taken down")
    group.addoption("--keep", action="store_true", help="leave the lab up")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line("markers", "possible(outcome): only on lines that expect this outcome")
    config.addinivalue_line("markers", "steps: the tests of this class are steps; after one that failed, the rest is not tried")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Remember a step that failed."""
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        item.__dict__["has_failed"] = True
    if "steps" in item.keywords and call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception) and item.parent is not None:
        item.parent.__dict__.setdefault("failed_step", item.name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Do not try steps after one that failed."""
    if "steps" in item.keywords and item.parent is not None:
        failed = item.parent.__dict__.get("failed_step")
        if failed:
            pytest.skip(f"not tried, since {failed} failed")


@pytest.fixture(scope="session")
def line(request: pytest.FixtureRequest) -> str:
    """The line's name."""
    return Path(request.config.getoption("--line")).stem


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[lablib.Lab]:
    """A fresh lab."""
    option = request.config.getoption
    name = option("--lab") or lablib.name_of("e2e", Path(option("--line")).stem, option("--os"))
    one = lablib.Lab(name)
    shutil.rmtree(one.output, ignore_errors=True)
    one.down()
    one.up(option("--line"), option("--os"))
    yield one
    one.forget_connections()
    if not option("--keep"):
        one.down()


@pytest.fixture(scope="session")
def home(lab: lablib.Lab) -> lablib.Home:
    """The lab's server, with real services on it."""
    one = lablib.Home(lab)
    one.start_services()
    return one


@pytest.fixture(scope="session")
def virgin(home: lablib.Home) -> manifest_module.Manifest:
    """What the lab looks like before anything of ours touched it."""
    return manifest_module.collect(home.lab)


@pytest.fixture
def unchanged(lab: lablib.Lab, virgin: manifest_module.Manifest) -> Callable[[], None]:
    """Return a function that fails if anything is not as it was before the first test."""

    def assert_unchanged() -> None:
        differences = manifest_module.compare(virgin, manifest_module.collect(lab))
        assert not differences, "not as it was before:\n" + "\n".join(differences)

    return assert_unchanged


@pytest.fixture
def fresh_after_failure(request: pytest.FixtureRequest, lab: lablib.Lab, home: lablib.Home, virgin: manifest_module.Manifest) -> Iterator[None]:
    """A test that failed leaves what it has done; the next one gets a fresh lab instead."""
    yield
    if request.node.__dict__.get("has_failed"):
        lab.forget_connections()
        lab.up(request.config.getoption("--line"), request.config.getoption("--os"))
        home.start_services()
        virgin.clear()
        virgin.update(manifest_module.collect(lab))


def ok(run: lablib.Run) -> lablib.Run:
    """Assert that a run ended well."""
    assert run.returncode == 0, str(run)
    assert run.recap, f"no host took part\n{run}"
    return run


def refused(run: lablib.Run, *words: str) -> lablib.Run:
    """Assert that a run failed (it did not crash, and no host was unreachable) with a message that has all the words."""
    assert run.returncode not in (0, 4), str(run)
    text = " ".join(run.output.split())
    for word in words:
        assert word in text, f"{word!r} is not in the message\n{run}"
    assert "Traceback" not in run.output, str(run)
    return run


def report_of(lab: lablib.Lab, host: str = "server") -> dict[str, Any]:
    """Return the report that the last run wrote on the controller."""
    found = sorted((lab.output / "reports").rglob("report.json"), key=lambda path: path.stat().st_mtime)
    found = [path for path in found if host in str(path)] or found
    assert found, f"no report.json below {lab.output / 'reports'}"
    data: dict[str, Any] = json.loads(found[-1].read_text())
    return data
