# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server really offers: HTTP on TCP ports, an echo on UDP ports. Each answer carries the token. Arguments: token, then PROTOCOL:PORT…

Runs on the lab's server; knows nothing of the collection.
"""

import http.server
import socket
import sys
import threading

TOKEN = sys.argv[1]


class Page(http.server.BaseHTTPRequestHandler):
    """Answers any path with the port, the token and who asked."""

    timeout = 10

    def do_GET(self):
        """Answer."""
        text = f"{TOKEN} tcp {self.server.server_address[1]} {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_arguments):
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """One socket for IPv4 and IPv6."""

    address_family = socket.AF_INET6

    def server_bind(self):
        """Bind."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def echo(server, port):
    """Return each datagram behind the token."""
    while True:
        data, client = server.recvfrom(512)
        server.sendto(f"{TOKEN} udp {port} {client[0]} ".encode() + data, client)


def open_udp(port):
    """Bind a socket of both families."""
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", port))
    return server


running = []
for argument in sys.argv[2:]:
    protocol, number = argument.split(":")
    if protocol == "tcp":
        target, arguments = Server(("::", int(number)), Page).serve_forever, ()
    else:
        target, arguments = echo, (open_udp(int(number)), int(number))
    running.append(threading.Thread(target=target, args=arguments))
for thread in running:
    thread.start()
