# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._ddns._service import JOB as DDNS
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._renewal_service import JOB as RENEW
from ansible_collections.homeserver.hardening.plugins.module_utils._timer import Job

#: What systemd calls OK, and then some; docs/dns.md says what others have.
MOST = 2.0


def exposure(directory: Path, text: str) -> float:
    """Return systemd's own rating, from 0 to 10. It reads the file only; systemd need not run."""
    unit = directory / "homeserver-test.service"
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)], capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for homeserver-test.service: ([0-9.]+) ", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


@pytest.mark.parametrize("job", [DDNS, RENEW], ids=lambda job: job.name)
def test_the_unit_is_hardly_exposed(job: Job, tmp_path: Path) -> None:
    text = job.service_text("/var/lib/homeserver", "/bin/true", "/etc/homeserver/credentials/secret")
    assert exposure(tmp_path, text) <= MOST
    # The bound notices when something of it is missing.
    weaker = text.replace("CapabilityBoundingSet=\n", "").replace("SystemCallFilter=", "#SystemCallFilter=")
    assert weaker != text
    assert exposure(tmp_path, weaker) > MOST
