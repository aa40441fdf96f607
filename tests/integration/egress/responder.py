# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the real responder on every port of a survey and print its listeners as JSON."""

from __future__ import annotations

import json
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])

from core._egress._survey import TCP_PORTS, UDP_PORTS
from core._probe import _responder_control

ports = [("tcp", port) for port in TCP_PORTS] + [("udp", port) for port in UDP_PORTS]
listeners = [{"name": f"{protocol}-{port}", "protocol": protocol, "port": port, "families": ["ipv4"]} for protocol, port in ports]
print(json.dumps(_responder_control.start(listeners, [], sys.argv[2], 120, runtime=sys.argv[3])))
