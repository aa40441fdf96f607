# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits until services answer. Runs in the lab's network; reads checks as JSON, prints what stays silent."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time


def ssh(address: str, port: int, _detail: str) -> bool:
    with socket.create_connection((address, port), 0.5) as connection:
        connection.settimeout(1)
        return connection.recv(4) == b"SSH-"


def dns(address: str, port: int, zone: str) -> bool:
    """An authoritative answer to SOA, from the zone's own server."""
    query_id = os.urandom(2)
    name = b"".join(bytes([len(label)]) + label.encode("ascii") for label in zone.split(".")) + b"\0"
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(0.3)
        connection.connect((address, port))
        connection.send(query_id + b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x06\x00\x01")
        answer = connection.recv(512)
    return answer[:2] == query_id and bool(answer[2] & 4) and answer[3] & 15 == 0 and answer[6:8] != b"\0\0"


def resolver(address: str, port: int, zone: str) -> bool:
    """An answer with recursion."""
    name = b"".join(bytes([len(label)]) + label.encode("ascii") for label in zone.split(".")) + b"\0"
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(0.5)
        connection.connect((address, port))
        connection.send(b"\0\1\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x06\x00\x01")
        answer = connection.recv(512)
    return bool(answer[3] & 0x80) and answer[3] & 15 == 0 and answer[6:8] != b"\0\0"


def upnp(address: str, port: int, _detail: str) -> bool:
    with socket.create_connection((address, port), 0.5) as connection:
        connection.settimeout(1)
        connection.sendall(f"GET /rootDesc.xml HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n\r\n".encode("ascii"))
        return b" 200 " in connection.recv(64)


def stun(address: str, port: int, _detail: str) -> bool:
    """An answer to a binding request (RFC 8489)."""
    request = b"\0\1\0\0\x21\x12\xa4\x42" + os.urandom(12)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(0.3)
        connection.connect((address, port))
        connection.send(request)
        answer = connection.recv(512)
    return answer[:2] == b"\1\1" and answer[4:20] == request[4:20]


def web(address: str, port: int, _detail: str) -> bool:
    with socket.create_connection((address, port), 0.5) as connection:
        connection.settimeout(1)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b" 200 " in connection.recv(64)


CHECKS = {"ssh": ssh, "dns": dns, "resolver": resolver, "upnp": upnp, "stun": stun, "web": web}


def wait(check: dict[str, str], end: float, silent: list[dict[str, str]]) -> None:
    reason = ""
    while time.monotonic() < end:
        try:
            if CHECKS[check["kind"]](check["address"], int(check["port"]), check["detail"]):
                return
            reason = "wrong answer"
        except OSError as exc:
            reason = str(exc)
        time.sleep(0.03)
    silent.append({**check, "reason": reason})


def main() -> None:
    checks, patience = json.loads(sys.argv[1]), float(sys.argv[2])
    silent: list[dict[str, str]] = []
    end = time.monotonic() + patience
    threads = [threading.Thread(target=wait, args=(check, end, silent)) for check in checks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(silent))


if __name__ == "__main__":
    main()
