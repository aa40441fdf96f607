# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the router for a mapping by NAT-PMP (RFC 6886), with nothing of the collection. Arguments: router, protocol, port, external port, seconds.

Runs on the lab's server. Prints JSON: {"result": 0, "external_port": 80}; result is null if the router does not answer.
"""

import json
import socket
import struct
import sys

router, protocol, port, external, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
answer = {"result": None, "external_port": None}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(0.5)
    client.connect((router, 5351))
    for _attempt in range(3):
        try:
            client.send(struct.pack("!BBHHHI", 0, 1 if protocol == "udp" else 2, 0, port, external, seconds))
            data = client.recv(64)
        except OSError:
            continue
        if len(data) >= 16:
            answer = {"result": struct.unpack_from("!H", data, 2)[0], "external_port": struct.unpack_from("!H", data, 10)[0]}
            break
print(json.dumps(answer))
