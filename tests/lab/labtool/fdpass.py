# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ProxyCommand of ssh: connect inside the lab's network, and hand the socket over. Copied next to each lab's ssh_config."""

import array
import os
import socket
import sys


def lab_pid(group: str) -> str:
    with open(f"{group}/init/cgroup.procs", encoding="ascii") as procs:
        for pid in procs.read().split():
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
                ids = next(line.split()[1:] for line in status if line.startswith("NSpid:"))
            if len(ids) > 1 and ids[-1] == "1":
                return pid
    raise OSError("the lab is not running")


def main() -> None:
    group, host, port = sys.argv[1:4]
    try:
        pid = lab_pid(group)
        if os.stat(f"/proc/{pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino:
            os.execvp("nsenter", ["nsenter", "-t", pid, "-n", *sys.argv])
        connection = socket.create_connection((host, int(port)), 5)
        connection.settimeout(None)
    except OSError as exc:
        # Ansible shows one line of this in its UNREACHABLE message.
        sys.exit(f"lab: no connection to {host}:{port}: {exc}")
    rights = array.array("i", [connection.fileno()])
    socket.socket(fileno=1).sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


if __name__ == "__main__":
    main()
