# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake UPnP device, for faults that miniupnpd does not have. It keeps state: mappings, subscriptions, and what it was asked.

It answers searches by multicast and unicast, serves a description, takes event subscriptions and SOAP, and appends each request to a log.
Run as a program: python fake_device.py ADDRESS LOG [options]
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import socketserver
import struct
import threading
import time
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_IGD = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
_SPEAKER = "urn:schemas-upnp-org:device:MediaRenderer:1"
_WANIP = "urn:schemas-upnp-org:service:WANIPConnection:1"
_RENDERING = "urn:schemas-upnp-org:service:RenderingControl:1"


class Device:
    """What the device is and holds."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.type = _IGD if options.igd else _SPEAKER
        self.service = _WANIP if options.igd else _RENDERING
        host = options.address.partition("%")[0]
        self.host = f"[{host}]" if ":" in host else host
        self.location = options.location or f"http://{self.host}:{options.port}/desc.xml"
        #: By protocol, port and, where that is a part of the name, the only source.
        self.mappings: dict[tuple[str, str, str], dict[str, str]] = {}
        self.asked_to_write = False
        self.subscriptions: dict[str, str] = {}
        self._lock = threading.Lock()

    def log(self, **what: object) -> None:
        with self._lock, open(self.options.log, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(what) + "\n")

    def description(self) -> str:
        return (
            f'<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceType>{self.type}</deviceType>'
            f"<friendlyName>fake</friendlyName><manufacturer>tests</manufacturer><modelName>fake</modelName><serviceList><service>"
            f"<serviceType>{self.service}</serviceType><SCPDURL>/scpd.xml</SCPDURL><controlURL>/control</controlURL>"
            f"<eventSubURL>/event</eventSubURL></service></serviceList></device></root>"
        )

    def act(self, action: str, values: dict[str, str], sender: str) -> tuple[int, dict[str, str]]:
        """Perform an action and return the error code (0: none) and the answer."""
        if not self.options.igd:
            return 401, {}
        source = values.get("NewRemoteHost", "") if self.options.table == "sources" else ""
        key = (values.get("NewProtocol", ""), values.get("NewExternalPort", ""), source)
        if action == "GetExternalIPAddress":
            return 0, {"NewExternalIPAddress": "198.51.100.77"}
        if action == "GetStatusInfo":
            return 0, {"NewConnectionStatus": "Connected"}
        if action == "AddPortMapping":
            self.asked_to_write = True
            if self.options.table == "guards" and values["NewInternalClient"] != sender:
                return 718, {}
            if self.options.table == "guards" and int(values["NewExternalPort"]) < 1024:
                return 606, {}
            if self.options.table == "any_source" and values["NewRemoteHost"]:
                return 726, {}
            if self.options.table != "lies":
                self.mappings[key] = values
            return 0, {}
        if action == "DeletePortMapping":
            if key not in self.mappings:
                return 714, {}
            if self.options.table == "keeps" or (self.options.table == "guards" and self.mappings[key]["NewInternalClient"] != sender):
                return 606, {}
            del self.mappings[key]
            return 0, {}
        if action == "GetSpecificPortMappingEntry":
            return (0, self.mappings[key]) if key in self.mappings else (714, {})
        if action == "GetGenericPortMappingEntry":
            rows = list(self.mappings.values())
            index = int(values["NewPortMappingIndex"])
            if self.options.table == "hides":
                return 606, {}
            if self.options.table == "breaks" and index:
                time.sleep(60)
            if self.options.table in ("endless", "breaks"):
                row = {"NewRemoteHost": "", "NewExternalPort": str(10000 + index), "NewProtocol": "TCP", "NewInternalPort": "8000"}
                return 0, {**row, "NewInternalClient": "192.168.77.1", "NewEnabled": "1", "NewLeaseDuration": "600"}
            return (0, rows[index]) if index < len(rows) else (713, {})
        return 401, {}


def handler(device: Device) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = device.options.server
        sys_version = ""

        def log_message(self, *_arguments: object) -> None:
            pass

        def answer(self, status: int, body: str = "", **headers: str) -> None:
            data = body.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def seen(self, method: str, **what: object) -> None:
            device.log(method=method, path=self.path, host=self.headers.get("Host"), sender=self.client_address[0], **what)

        def do_GET(self) -> None:
            self.seen("GET")
            if device.options.drips:
                self.drip()
                return
            own = (self.headers.get("Host") or "").rpartition(":")[0] == device.host
            if not own and not device.options.rebinds:
                self.answer(404)
            elif self.path == "/desc.xml":
                self.answer(200, device.description())
            elif self.path == "/scpd.xml":
                self.answer(200, "<scpd><actionList><action><name>AddPortMapping</name></action></actionList></scpd>")
            else:
                self.answer(404)

        def drip(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.2)
            except OSError:
                pass

        def do_SUBSCRIBE(self) -> None:
            callback = self.headers.get("CALLBACK", "")
            self.seen("SUBSCRIBE", callback=callback, timeout=self.headers.get("TIMEOUT"), kind=self.headers.get("NT"))
            if device.options.subscribe_silent:
                time.sleep(60)
            if not device.options.calls_strangers:
                self.answer(412)
                return
            sid = f"uuid:{len(device.subscriptions)}"
            device.subscriptions[sid] = callback
            self.answer(200, SID=sid, TIMEOUT="Second-1800")

        def do_UNSUBSCRIBE(self) -> None:
            sid = self.headers.get("SID", "")
            if device.options.keeps_events:
                self.answer(500)
                return
            known = device.subscriptions.pop(sid, None) is not None
            self.seen("UNSUBSCRIBE", sid=sid, left=len(device.subscriptions))
            self.answer(200 if known else 412)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            action = (self.headers.get("SOAPAction") or "").strip('"').rpartition("#")[2]
            values = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
            code, result = device.act(action, values, self.client_address[0])
            if device.asked_to_write:
                time.sleep(device.options.slow)
            self.seen("POST", action=action, values=values, code=code, held=len(device.mappings))
            if code:
                inner = f"<s:Fault><detail><UPnPError><errorCode>{code}</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault>"
            else:
                fields = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in result.items())
                inner = f'<u:{action}Response xmlns:u="{device.service}">{fields}</u:{action}Response>'
            envelope = f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{inner}</s:Body></s:Envelope>'
            self.answer(500 if code else 200, envelope)

    return Handler


def answer_searches(device: Device) -> None:
    """Answer each search from an own port, as old devices do. At an IPv6 address it hears no search over IPv4."""
    six = ":" in device.options.address
    listener = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if six:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("", 1900))
    if six:
        group = socket.inet_pton(socket.AF_INET6, "ff02::c") + struct.pack("@I", socket.if_nametoindex("eth0"))
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    else:
        addresses = socket.inet_aton("239.255.255.250") + socket.inet_aton(device.options.address)
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, addresses)
    speaker = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    speaker.bind(socket.getaddrinfo(device.options.address, 0, type=socket.SOCK_DGRAM)[0][4])
    while True:
        data, sender = listener.recvfrom(2048)
        target = re.search(rb"(?im)^ST: *(\S+)", data)
        if not data.startswith(b"M-SEARCH") or not target:
            continue
        wanted = target.group(1).decode()
        if wanted in ("ssdp:all", "upnp:rootdevice", device.type):
            shown = device.type if wanted == "ssdp:all" else wanted
            for location in (device.location, *(f"{device.location}?{number}" for number in range(device.options.more))):
                text = (
                    f"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nEXT:\r\nLOCATION: {location}\r\nSERVER: {device.options.server}\r\n"
                    f"ST: {shown}\r\nUSN: uuid:fake::{shown}\r\n\r\n"
                )
                speaker.sendto(text.encode(), sender)


class Server(ThreadingHTTPServer):
    """Without the question for its own name, which nobody answers here."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], kind: type[BaseHTTPRequestHandler]) -> None:
        self.address_family, *_rest, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        super().__init__(place, kind)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "fake", int(self.server_address[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("log")
    parser.add_argument("--port", type=int, default=49153)
    parser.add_argument("--server", default="Linux/6.1 UPnP/1.1 fake/1")
    parser.add_argument("--location", help="what the answer to a search names instead of the truth")
    parser.add_argument("--igd", action="store_true", help="call itself a gateway")
    parser.add_argument("--rebinds", action="store_true", help="take any Host")
    parser.add_argument("--calls-strangers", action="store_true", help="take any callback")
    parser.add_argument("--keeps-events", action="store_true", help="end no subscription")
    parser.add_argument("--subscribe-silent", action="store_true", help="do not answer a subscription")
    parser.add_argument("--deaf", action="store_true", help="answer no search")
    parser.add_argument("--drips", action="store_true", help="send a byte now and then instead of a document, without end")
    parser.add_argument("--more", type=int, default=0, help="how many other descriptions the answers to a search name")
    parser.add_argument("--slow", type=float, default=0, help="for how many seconds each answer takes once it was asked to write")
    parser.add_argument(
        "--table",
        choices=["plain", "guards", "keeps", "lies", "hides", "sources", "any_source", "endless", "breaks"],
        default="plain",
        help="how a gateway treats mappings",
    )
    options = parser.parse_args()
    device = Device(options)
    server = Server((options.address, options.port), handler(device))
    if not options.deaf:
        threading.Thread(target=answer_searches, args=(device,), daemon=True).start()
    device.log(method="READY", path="", host="", sender="")
    server.serve_forever()


if __name__ == "__main__":
    main()
