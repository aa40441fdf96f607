# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge: asks services from a host of the lab, with nothing of the collection, and prints what came back as JSON.

The argument is JSON: [{"protocol": "tcp", "host": "203.0.113.4", "port": 80}]. State: answered, connected (but said nothing),
refused, silent or an error's text.
"""

import json
import secrets
import socket
import sys
import threading

TIMEOUT = 3.0


def tcp(host, port):
    """Ask with HTTP."""
    try:
        connection = socket.create_connection((host, port), TIMEOUT)
    except ConnectionRefusedError:
        return "refused", ""
    except (TimeoutError, socket.timeout):
        return "silent", ""
    except OSError as error:
        return str(error), ""
    with connection:
        try:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while True:
                data = connection.recv(4096)
                if not data:
                    break
                answer += data
        except OSError as error:
            return "connected, then " + str(error), ""
    return ("answered" if answer else "connected"), answer.decode(errors="replace").rpartition("\r\n\r\n")[2].strip()


def udp(host, port):
    """Ask with a challenge that must come back."""
    challenge = secrets.token_hex(8)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT / 3)
        for _attempt in range(3):
            try:
                client.connect((host, port))
                client.send(challenge.encode())
                answer = client.recv(2048).decode(errors="replace")
            except ConnectionRefusedError:
                return "refused", ""
            except (TimeoutError, socket.timeout):
                continue
            except OSError as error:
                return str(error), ""
            if challenge in answer:
                return "answered", answer.replace(challenge, "").strip()
    return "silent", ""


def main():
    """Entry point."""
    rows = json.loads(sys.argv[1])

    def one(row):
        row["state"], row["answer"] = (tcp if row["protocol"] == "tcp" else udp)(row["host"], row["port"])

    threads = [threading.Thread(target=one, args=(row,)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(rows))


main()
