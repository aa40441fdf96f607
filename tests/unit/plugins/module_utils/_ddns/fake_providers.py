# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imitations of the providers: HTTPS servers with a state, built from what the providers document or others reported. None of them is the real thing."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

NAME = "home.example.net"
USER, PASSWORD = "me", "pa ss/wörd+?&"
NIC_UPDATE = ("dyndns2", "no_ip", "dynu", "he_net", "ovh", "dynv6")
PAGE = "<!DOCTYPE html><html><body>good news: OK, token, cookies, success</body></html>"

#: Status, headers, body.
Said = tuple[int, dict[str, str], str]


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test, and what it signed."""

    directory: Path

    @property
    def file(self) -> str:
        return str(self.directory / "ca.pem")

    def certificate(self, names: str) -> str:
        """Return a file with a key and a certificate for names like C(DNS:localhost,IP:127.0.0.1)."""
        place = self.directory / names.replace(":", "_").replace(",", "-")
        if not place.exists():
            place.mkdir()
            make = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test", "-keyout", "key", "-out", "csr"]
            (place / "ext").write_text(f"subjectAltName={names}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
            sign = ["openssl", "x509", "-req", "-in", "csr", "-CA", "../ca.pem", "-CAkey", "../ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext"]
            for command in (make, [*sign, "-out", "crt"]):
                subprocess.run(command, cwd=place, check=True, capture_output=True)
            (place / "both").write_text((place / "key").read_text() + (place / "crt").read_text())
        return str(place / "both")


def make_authority(directory: Path) -> Authority:
    """Make a certificate authority."""
    directory.mkdir(exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN=test {directory.name}", "-days", "2"]
    # Python from 3.13 on accepts no authority that does not say that it signs certificates.
    command += ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    subprocess.run([*command, "-keyout", "ca.key", "-out", "ca.pem"], cwd=directory, check=True, capture_output=True)
    return Authority(directory)


@dataclass
class Request:
    """What the server was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    client: str

    def basic(self) -> str:
        scheme, _unused, text = self.headers.get("authorization", "").partition(" ")
        return base64.b64decode(text).decode() if scheme == "Basic" else ""


@dataclass
class Fake:
    """One provider.

    Attributes:
        mode: C(good), or what goes wrong.
        records: what it believes to publish.
        seen: where requests come from, by family; by default, where they do come from.
        changed: is told of each change, so that an authority can have it.
    """

    provider: str
    name: str = NAME
    mode: str = "good"
    records: dict[str, list[str]] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    changed: Callable[[str, list[str]], None] = lambda rtype, values: None
    log: list[Request] = field(default_factory=list)
    proxied: bool = False
    server: ThreadingHTTPServer | None = None

    def start(self, certificate: str, address: str = "127.0.0.1", port: int = 0) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                parts = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
                headers = {key.lower(): value for key, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                request = Request(self.command, parts.path, query, headers, body, self.client_address[0])
                fake.log.append(request)
                status, more, text = fake.answer(request)
                data = text.encode()
                self.send_response(status)
                for key, value in {"Content-Length": str(len(data)), **more}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if ":" in address:
            Server.address_family = 10  # type: ignore[assignment]
        self.server = Server((address, port), Handler)
        # The handshake belongs to the thread of the connection.
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()

    @property
    def secret(self) -> str:
        return "t0ken-_x" if self.provider == "cloudflare" else PASSWORD

    @property
    def port(self) -> int:
        assert self.server is not None
        return int(self.server.server_address[1])

    def settings(self, ca_file: str, host: str = "localhost") -> dict[str, Any]:
        """Return what a user would set."""
        base = f"https://{host}:{self.port}"
        paths = {"mydns_jp": "/login.html", "duckdns": "/update", "cloudflare": "/client/v4", "desec": "/update"}
        found: dict[str, Any] = {"name": self.name, "provider": self.provider, "url": base + paths.get(self.provider, "/nic/update"), "ca_file": ca_file}
        if self.provider not in ("duckdns", "cloudflare", "he_net"):
            found["username"] = USER
        if self.provider == "duckdns":
            found["credentials_in_url"] = True
        if self.provider == "cloudflare":
            found["zone"] = self.name.split(".", 1)[1]
        if self.provider == "custom":
            found["url"] = base + "/set?host={name}&ip={address}"
            found.update(success_pattern=r"\Aupdated ", stop_pattern=r"\A(bad password|blocked)", retry_pattern=r"\Abusy")
        return found

    # -- answers ----------------------------------------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Said:
        if self.mode == "throttle":
            return 429, {"Retry-After": "600"}, "Too many requests"
        if self.mode == "fault":
            return 503, {}, "Service unavailable"
        if self.mode == "hang":
            time.sleep(3)
        if self.mode == "html":
            return 200, {"Content-Type": "text/html"}, PAGE
        if self.mode == "empty":
            return 200, {}, ""
        if self.mode == "redirect":
            return 302, {"Location": f"https://localhost:{self.port}/elsewhere"}, ""
        if self.provider in NIC_UPDATE:
            return self._nic_update(request)
        return getattr(self, f"_{self.provider}")(request)  # type: ignore[no-any-return]

    def _set(self, rtype: str, values: list[str]) -> bool:
        if self.records.get(rtype, []) == values:
            return False
        self.records[rtype] = values
        self.changed(rtype, values)
        return True

    def _wrong(self, pair: str) -> bool:
        user = {"he_net": self.name}.get(self.provider, USER)
        return self.mode == "badauth" or pair != f"{user}:{PASSWORD}"

    def _nic_update(self, request: Request) -> Said:
        if not request.headers.get("user-agent"):
            return 200, {}, "badagent"
        if self._wrong(request.basic()):
            return 200, {}, "badauth"
        if self.mode in ("abuse", "911"):
            return 200, {}, self.mode
        if request.query.get("hostname") != self.name:
            return 200, {}, "nohost"
        addresses = [value for key, value in request.query.items() if key in ("myip", "myipv6") and value != "no"]
        # An empty address is replaced by the one that the request comes from; that must never happen.
        changed = [self._set("AAAA" if ":" in value else "A", [value or "127.0.0.1"]) for value in addresses]
        return 200, {}, f"{'good' if any(changed) else 'nochg'} {' '.join(addresses)}\r\n"

    def _mydns_jp(self, request: Request) -> Said:
        if "authorization" not in request.headers:
            return 401, {"WWW-Authenticate": 'Basic realm="Enter MasterID and Password."'}, "<html>401</html>"
        if self.mode == "abuse":
            return 403, {}, "<html>403 Forbidden</html>"
        if self._wrong(request.basic()):
            return 200, {}, "<html><body>login_status = 0.<BR></body></html>"
        rtype = "AAAA" if ":" in request.client.replace("::ffff:", "") else "A"
        address = self.seen.get(rtype, request.client.replace("::ffff:", ""))
        self._set(rtype, [address])
        text = (
            f"<html><body>Login and IP address notify OK.<BR>\nREMOTE ADDRESS:{address}<BR>\nSERVER ADDRESS:192.0.2.1<BR>\nlogin_status = 1.<BR></body></html>"
        )
        return 200, {}, text

    def _duckdns(self, request: Request) -> Said:
        query = request.query
        if self.mode == "abuse":
            return 403, {}, "Forbidden"
        if self.mode == "badauth" or query.get("token") != PASSWORD or query.get("domains") != self.name.split(".", maxsplit=1)[0]:
            return 200, {}, "KO"
        if query.get("clear") == "true":
            for rtype in ("A", "AAAA"):
                self._set(rtype, [])
            return 200, {}, "OK"
        if not query.get("ip") and not query.get("ipv6"):
            # Found out by itself.
            self._set("A", [request.client])
        for key, rtype in (("ip", "A"), ("ipv6", "AAAA")):
            if query.get(key):
                self._set(rtype, [query[key]])
        return 200, {}, "OK"

    def _desec(self, request: Request) -> Said:
        if self._wrong(request.basic()):
            return 401, {}, "badauth"
        if self.mode == "abuse":
            return 403, {}, '{"detail":"blocked"}'
        if request.query.get("hostname") != self.name:
            return 404, {}, "nohost"
        for key, rtype in (("myipv4", "A"), ("myipv6", "AAAA")):
            value = request.query.get(key, "")
            if value != "preserve":
                self._set(rtype, [value] if value else [])
        return 200, {}, "good"

    def _custom(self, request: Request) -> Said:
        if self._wrong(request.basic()):
            return 200, {}, "bad password"
        if self.mode in ("abuse", "911"):
            return 200, {}, {"abuse": "blocked", "911": "busy"}[self.mode]
        value = request.query.get("ip", "")
        self._set("AAAA" if ":" in value else "A", [value] if value else [])
        return 200, {}, f"updated {value}"

    def _cloudflare(self, request: Request) -> Said:
        def said(result: Any, status: int = 200, error: str = "") -> Said:
            errors = [{"code": 10000, "message": error}] if error else []
            return status, {"Content-Type": "application/json"}, json.dumps({"success": not error, "errors": errors, "messages": [], "result": result})

        if self.mode == "abuse":
            return said(None, 403, "Account blocked")
        if self.mode == "badauth" or request.headers.get("authorization") != f"Bearer {self.secret}":
            return said(None, 403, "Authentication error")
        path = request.path.removeprefix("/client/v4").strip("/").split("/")
        if path == ["zones"]:
            return said([{"id": "z1", "name": request.query["name"]}] if request.query["name"] == self.name.split(".", 1)[1] else [])
        if path[:3] != ["zones", "z1", "dns_records"]:
            return said(None, 404, "Could not route")
        if request.method == "GET":
            rtype = request.query["type"]
            values = self.records.get(rtype, []) if request.query["name"] == self.name else []
            rows = [{"id": f"{rtype}{n}", "type": rtype, "content": value, "ttl": 60, "proxied": self.proxied} for n, value in enumerate(values)]
            return said(rows)
        content = json.loads(request.body or b"{}")
        if request.method == "DELETE":
            rtype, number = path[3][:-1], int(path[3][-1])
            self._set(rtype, [value for n, value in enumerate(self.records[rtype]) if n != number])
        elif request.method == "POST":
            self._set(content["type"], [*self.records.get(content["type"], []), content["content"]])
        else:
            rtype, number = path[3][:-1], int(path[3][-1])
            self._set(rtype, [content["content"] if n == number else value for n, value in enumerate(self.records[rtype])])
        return said({"id": "x"})


def main() -> None:
    """Imitate a provider on a host of the lab, as the settings on standard input say, until it is stopped."""
    settings = json.load(sys.stdin)

    def change(rtype: str, values: list[str]) -> None:
        lines = [f"server {settings['server']}", f"zone {settings['zone']}", f"key {settings['key']}", f"update delete {settings['name']}. {rtype}"]
        lines += [f"update add {settings['name']}. 60 {rtype} {value}" for value in values]
        subprocess.run(["nsupdate"], input="\n".join([*lines, "send", ""]).encode(), check=True)

    fake = Fake(settings["provider"], settings["name"], changed=change)
    fake.start(settings["certificate"], settings["address"], settings["port"])
    threading.Event().wait()


if __name__ == "__main__":
    main()
