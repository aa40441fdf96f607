# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runners do not believe a run that did nothing, and the kill test forgets no task. No lab needed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

E2E = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(E2E))

import lablib

RECAP = "server                     : ok={ok}    changed=0    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0\n"


def load(name: str, path: Path) -> ModuleType:
    """Import a file that is no module of a package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


molecule = load("molecule_runner", E2E.parent / "molecule" / "run.py")
kill_after = load("kill_after", E2E / "callback_plugins" / "kill_after.py")


def log(**ok: int) -> str:
    """Return a log of Molecule in which each step touched the server so many times."""
    return "".join(f"INFO     [some > {step}] Executing\n{RECAP.format(ok=count)}INFO     [some > {step}] Executed: Successful\n" for step, count in ok.items())


def test_a_run_that_touched_the_server_is_believed() -> None:
    assert molecule.step_problem(log(check=1, converge=2, idempotence=2, verify=1)) == ""


@pytest.mark.parametrize("step", ["check", "converge", "idempotence", "verify"])
def test_a_step_that_touched_no_host_is_not_believed(step: str) -> None:
    counts = {"check": 1, "converge": 1, "idempotence": 1, "verify": 1}
    assert step in molecule.step_problem(log(**{**counts, step: 0}))
    del counts[step]
    assert step in molecule.step_problem(log(**counts))


def test_another_host_does_not_stand_in_for_the_server() -> None:
    text = log(check=1, converge=1, idempotence=1, verify=1).replace("server  ", "internet")
    assert molecule.step_problem(text)


def test_there_are_scenarios_and_each_is_complete() -> None:
    found = molecule.scenarios()
    assert {"default", "publish", "diagnose"} <= set(found)
    for name in found:
        place = molecule.SCENARIOS / name
        assert (place / "converge.yml").is_file(), name
        assert (place / "verify.yml").is_file(), name
        assert (place / "absent.yml").is_file() or "absent.yml" not in sequence(place), name


def sequence(place: Path) -> str:
    """Return the text that says which steps a scenario has."""
    own = (place / "molecule.yml").read_text()
    return own if "test_sequence" in own else (molecule.SCENARIOS / "config.yml").read_text()


@pytest.mark.parametrize(
    ("action", "arguments", "expected"),
    [
        ("ansible.builtin.command", {}, True),
        ("ansible.builtin.copy", {}, True),
        ("homeserver.hardening.port_mapping", {}, True),
        ("homeserver.hardening.firewall_policy", {}, True),
        ("homeserver.hardening.publication_report", {}, True),
        ("homeserver.hardening.publication_journal", {"state": "pending"}, True),
        ("homeserver.hardening.publication_journal", {"state": "status"}, False),
        ("homeserver.hardening.port_probe_info", {}, False),
        ("ansible.builtin.assert", {}, False),
        ("set_fact", {}, False),
    ],
)
def test_which_tasks_can_change_something(action: str, arguments: dict[str, str], expected: bool) -> None:
    assert kill_after.can_change(SimpleNamespace(action=action, args=arguments)) is expected


def test_no_module_of_ours_that_writes_is_taken_for_harmless() -> None:
    names = {path.stem for path in (lablib.ROOT / "plugins" / "modules").glob("*.py")}
    assert {"port_mapping", "firewall_policy", "rollback_guard"} <= names
    assert names & kill_after.READ_ONLY <= {"publication_plan"}


def test_recaps_are_read_for_every_host() -> None:
    text = RECAP.format(ok=7) + RECAP.format(ok=1).replace("server", "internet").replace("changed=0", "changed=12")
    found = {match["host"]: int(match["changed"]) for match in lablib._RECAP.finditer(text)}
    assert found == {"server": 0, "internet": 12}


def test_names_of_labs_fit_and_are_this_checkout_s_own() -> None:
    name = lablib.name_of("m", "bookworm", "host_firewall")
    assert len(name) <= 31
    assert "_" not in name
    assert name != "m-bookworm-host-firewall"
