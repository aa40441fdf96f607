# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web service that answers with the address that it sees; under /lie with another one, under /portal with a page, under /move elsewhere.

With a third argument it answers with that everywhere, as a proxy or a sign-in page would.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = {"/lie": "44.250.1.1", "/portal": "<html>Please sign in</html>", "/wrong": "2001:db8::1"}.get(self.path, self.client_address[0])
        body = sys.argv[3] if len(sys.argv) > 3 else body
        self.send_response(302 if self.path == "/move" else 200)
        if self.path == "/move":
            self.send_header("Location", "http://portal.example/")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        return


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
