#!/usr/bin/env python
# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts for Molecule, with the inputs that most scenarios share. No lab, no hosts: then a play fails."""

import json
import os
import sys

TESTS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "..", "tests")
sys.path.insert(0, os.path.join(TESTS, "e2e"))

import lablib  # noqa: E402


def main() -> None:
    """Print the inventory in the form that Ansible asks a script for."""
    if "--host" in sys.argv:
        print("{}")
        return
    lab = lablib.Lab(os.environ.get("LAB", "molecule"))
    try:
        inventory = lab.inventory()
    except (lablib.LabError, ValueError):
        inventory = {"all": {"hosts": []}, "_meta": {"hostvars": {}}}
    print(json.dumps(inventory))


main()
