# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""port_mapping and port_mapping_info as real processes against a fake router that misbehaves.

Whatever it does: each call ends within five seconds, with a result and no traceback; nobody but the router is asked; an error names what is wrong and
what to do; what others have in the table stays, and nothing of ours is left where the module says that there is none.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.homeserver.hardening.tests.integration.port_mapping.home import HOST, NEIGHBOUR, ROUTER, Home
from ansible_collections.homeserver.hardening.tests.integration.port_mapping.hostile import HTTP, UUID, HostileRouter, Recorder, inside, recorder, silence, ssdp
from ansible_collections.homeserver.hardening.tests.unit.plugins.module_utils._portmap.fake_igd import drip, reply

WEB = {"name": "web", "protocol": "tcp", "external_port": 80, "port": 8080}
#: Longer than any call may take.
FOREVER = 6.0
HANG = 5.0
#: An error that says none of this leaves people alone with it.
ADVICE = re.compile(
    r"restart|switch UPnP on|see that|choose another|remove (it|some|mappings) |make the forwarding|set timeout higher|ask the provider|name it as the gateway"
    r"|type the forwarding|permit this host|try method|run again later|give back|leave the option out|set require_global_wan",
    re.IGNORECASE,
)


@dataclass
class Expect:
    """What the modules shall make of a case. A text is a pattern that the error must have; None is success.

    Attributes:
        info: the reason of port_mapping_info, and None if it can list.
        present: the error of port_mapping.
        absent: the same for taking back; a router that cannot be found is a warning there.
        left: whether something of ours may be in the table in the end, because the router does not let go of it.
        options: of all modules.
        check: called with the results of all three.
    """

    info: str | None = None
    present: str | None = None
    absent: str | None = None
    left: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    check: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], None] | None = None


def unusable(words: str, **options: Any) -> Expect:
    """The router cannot be used at all."""
    return Expect(info=words, present=words, options=options)


def upnp(**options: Any) -> dict[str, Any]:
    return {"method": "upnp", **options}


# --- Where the description is ------------------------------------------------------------------------------------------------------------------------


def location_at_another_host(router: HostileRouter) -> Expect:
    # The path is taken, the host is not.
    router.location = f"http://{NEIGHBOUR}:{HTTP}/rootDesc.xml"
    return Expect(check=lambda info, *_rest: same(info["gateway"]["location"], f"http://{ROUTER}:{HTTP}/rootDesc.xml"))


def locations_that_are_no_addresses(router: HostileRouter) -> Expect:
    texts = ["https://192.168.77.11/x", "file:///etc/passwd", "http://router.lan/x"]
    texts += ["http://u:p@192.168.77.11/x", "http://[fe80::1]/x", "http://192.168.77.1:0/x"]
    router.search = lambda request: [ssdp(text) for text in texts]
    return unusable("not a usable address", **upnp())


def spoofed_by_another_host(router: HostileRouter) -> Expect:
    router.search = silence
    router.neighbour = lambda request: [ssdp(f"http://{NEIGHBOUR}:{HTTP}/rootDesc.xml"), ssdp(f"http://{ROUTER}:{HTTP}/rootDesc.xml")]
    return unusable(f"{NEIGHBOUR} calls itself a gateway", **upnp())


def spoofed_in_the_name_of_the_router(router: HostileRouter) -> Expect:
    # The forged answers come first and again, with an address of the attacker.
    router.forged = lambda request: [ssdp(f"http://{NEIGHBOUR}:{HTTP}/evil.xml")]
    real = router.search

    def late(request: bytes) -> list[bytes]:
        # The forged answers shall come first.
        time.sleep(0.05)
        return real(request)

    router.search = late
    return Expect()


def two_devices_with_one_uuid(router: HostileRouter) -> Expect:
    router.search = lambda request: [ssdp(f"http://{ROUTER}:{HTTP}/other.xml", uuid=UUID), ssdp(router.location, uuid=UUID)]
    router.neighbour = lambda request: [ssdp(f"http://{NEIGHBOUR}:{HTTP}/rootDesc.xml", uuid=UUID)]
    return Expect(check=lambda info, *_rest: same(info["gateway"]["address"], ROUTER))


def a_flood_of_answers(router: HostileRouter) -> Expect:
    rubbish = [b"", b"\xff" * 900, b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nLOCATION:\r\n\r\n", ssdp("x" * 1500)]
    router.search = lambda request: [*(rubbish * 60), *(ssdp(f"http://{ROUTER}:{HTTP}/{number}.xml") for number in range(40))]
    return unusable("HTTP status 404", **upnp())


def named_gateway_redirects_to_itself(router: HostileRouter) -> Expect:
    router.raw = redirect(f"http://{ROUTER}:{HTTP}/rootDesc.xml")
    return unusable("redirect", gateway=router.location)


def redirect_to_a_third_host(router: HostileRouter) -> Expect:
    router.raw = redirect(f"http://{NEIGHBOUR}:{HTTP}/rootDesc.xml")
    return unusable("redirect", gateway=router.location)


def redirect_in_a_loop_after_a_search(router: HostileRouter) -> Expect:
    router.raw = redirect("/rootDesc.xml", "307 Temporary Redirect")
    return unusable("redirect", **upnp())


def redirect_of_a_request_that_writes(router: HostileRouter) -> Expect:
    router.raw = only("AddPortMapping", reply(b"", "308 Permanent Redirect", f"Location: http://{NEIGHBOUR}:{HTTP}/ctl\r\n"))
    return Expect(present="redirect")


def control_at_another_host(router: HostileRouter) -> Expect:
    router.controls = [f"http://{NEIGHBOUR}:{HTTP}/ctl", f"//{NEIGHBOUR}/ctl", "http://127.0.0.1/ctl", "http://169.254.169.254/latest"]
    return unusable("leads to another host", gateway=router.location)


def one_control_of_several_at_another_host(router: HostileRouter) -> Expect:
    router.controls = [f"http://{NEIGHBOUR}:{HTTP}/ctl", "/ctl"]
    return Expect()


def base_at_another_host(router: HostileRouter) -> Expect:
    router.base = f"<URLBase>http://{NEIGHBOUR}:{HTTP}/</URLBase>"
    return Expect()


# --- HTTP --------------------------------------------------------------------------------------------------------------------------------------------


def drip_of_the_head(router: HostileRouter) -> Expect:
    router.raw = slowly("", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    return unusable("did not answer within", gateway=router.location)


def drip_of_the_body(router: HostileRouter) -> Expect:
    router.raw = slowly("", b"<root>" * 50, head=b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
    # Whichever deadline comes first.
    return unusable("answered the search but not the request for its description|rootDesc.xml did not answer within", **upnp())


def drip_when_writing(router: HostileRouter) -> Expect:
    router.raw = slowly("AddPortMapping", b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
    return Expect(present="did not answer within")


def drip_of_everything_after_the_description(router: HostileRouter) -> Expect:
    router.raw = slowly("*", b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
    return unusable("did not answer within|too slow", gateway=router.location)


def each_answer_just_in_time(router: HostileRouter) -> Expect:
    def wait(_action: str, _request: bytes, _connection: socket.socket) -> bool:
        # Quick enough for each by itself.
        time.sleep(0.9)
        return False

    router.raw = wait
    return Expect(info="did not answer within|too slow", present="did not answer within|too slow", absent="did not answer within|too slow", options=upnp())


def answer_after_the_deadline(router: HostileRouter) -> Expect:
    router.raw = after("", FOREVER)
    return unusable("did not answer within", gateway=router.location)


def written_but_answered_after_the_deadline(router: HostileRouter) -> Expect:
    def late(action: str, request: bytes, connection: socket.socket) -> bool:
        if action != "AddPortMapping":
            return False
        perform(router, request)
        time.sleep(FOREVER)
        return True

    router.raw = late
    return Expect(present="did not answer within.*taken back")


def written_and_silent_ever_after(router: HostileRouter) -> Expect:
    state = {"dead": False}

    def late(action: str, request: bytes, connection: socket.socket) -> bool:
        if action == "AddPortMapping":
            perform(router, request)
            state["dead"] = True
        if state["dead"]:
            time.sleep(FOREVER)
        return state["dead"]

    router.raw = late
    return Expect(present="did not answer within.*Not everything could be put back", left=True)


def removed_and_silent_ever_after(router: HostileRouter) -> Expect:
    state = {"dead": False}

    def late(action: str, request: bytes, connection: socket.socket) -> bool:
        if state["dead"]:
            time.sleep(FOREVER)
            return True
        state["dead"] = action == "DeletePortMapping"
        return False

    def check(_info: dict[str, Any], _present: dict[str, Any], absent: dict[str, Any]) -> None:
        assert any("could not be read in the end" in warning for warning in absent["warnings"])

    router.raw = late
    return Expect(absent="did not answer within", check=check)


def endless_body(router: HostileRouter) -> Expect:
    router.raw = endless(b"HTTP/1.1 200 OK\r\n\r\n")
    return unusable("more than 64 KiB", gateway=router.location)


def endless_chunks(router: HostileRouter) -> Expect:
    router.raw = endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")
    return unusable("more than 64 KiB", gateway=router.location)


def endless_head(router: HostileRouter) -> Expect:
    router.raw = endless(b"HTTP/1.1 200 OK\r\nX-A: ")
    return unusable("more than 16384 bytes", gateway=router.location)


def endless_continue(router: HostileRouter) -> Expect:
    router.raw = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
    return unusable("did not answer within", gateway=router.location)


def endless_body_when_listing(router: HostileRouter) -> Expect:
    router.raw = endless(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n", action="GetListOfPortMappings")
    return Expect()


def no_content_length(router: HostileRouter) -> Expect:
    def bare(action: str, request: bytes, connection: socket.socket) -> bool:
        if not action:
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + router.description().encode())
        return not action

    router.raw = bare
    return Expect()


def content_length_that_lies(router: HostileRouter) -> Expect:
    router.raw = only("", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n<root><device>" + b"x" * 500)
    return unusable("malformed", gateway=router.location)


def chunked_garbage(router: HostileRouter) -> Expect:
    router.raw = only("", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n<root/>\r\nzz\r\n")
    return unusable("not the size of a chunk", gateway=router.location)


def http_0_9(router: HostileRouter) -> Expect:
    router.raw = only("", b"<?xml version='1.0'?><root/>")
    return unusable("does not answer with HTTP", gateway=router.location)


def gzip_unasked(router: HostileRouter) -> Expect:
    router.raw = only("", reply(gzip.compress(router.description().encode()), head="Content-Encoding: gzip\r\n"))
    return unusable("encoded as 'gzip'", gateway=router.location)


def reset_in_the_description(router: HostileRouter) -> Expect:
    router.raw = reset("", b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n<root>")
    return unusable("broke the connection off", gateway=router.location)


def reset_after_writing(router: HostileRouter) -> Expect:
    broken = reset("AddPortMapping", b"HTTP/1.1 200 OK\r\n")

    def write(action: str, request: bytes, connection: socket.socket) -> bool:
        if action == "AddPortMapping":
            perform(router, request)
        return broken(action, request, connection)

    router.raw = write
    return Expect(present="broke the connection off.*taken back")


# --- XML and SOAP ------------------------------------------------------------------------------------------------------------------------------------

BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 or str()};" * 10}">' for n in range(1, 10)) + "]><root>&a9;</root>"


def entity_bomb(router: HostileRouter) -> Expect:
    router.raw = only("", reply(BOMB.encode()))
    return unusable("DOCTYPE", gateway=router.location)


def external_entity(router: HostileRouter) -> Expect:
    router.raw = only("", reply(f'<!DOCTYPE root SYSTEM "http://{NEIGHBOUR}:{HTTP}/x.dtd"><root/>'.encode()))
    return unusable("DOCTYPE", gateway=router.location)


def entity_bomb_in_the_list(router: HostileRouter) -> Expect:
    router.hook = lambda action, arguments: (
        router.response(action, f"<NewPortListing><![CDATA[{BOMB}]]></NewPortListing>") if action == "GetListOfPortMappings" else None
    )
    return Expect()


def entity_bomb_in_every_list(router: HostileRouter) -> Expect:
    router.hook = lambda action, arguments: BOMB if action.startswith(("GetList", "GetGeneric")) else None
    return Expect(info="DOCTYPE", present="DOCTYPE", absent="DOCTYPE")


def wrong_namespace(router: HostileRouter) -> Expect:
    # Many routers in the field have it wrong; the names decide.
    router.namespace = "urn:example:nonsense"
    router.hook = lambda action, arguments: router._perform(action, arguments).replace(router.service, "urn:example:other") if action else None
    return Expect()


def deep_document(router: HostileRouter) -> Expect:
    router.raw = only("", reply(b"<root>" + b"<a>" * 9000 + b"</a>" * 9000 + b"</root>"))
    return unusable("nested more than", gateway=router.location)


def fault_in_odd_case(router: HostileRouter) -> Expect:
    body = "<S:Envelope><S:Body><S:FAULT><faultCode>s:Client</faultCode><faultString>UPnPError</faultString><DETAIL><UPNPERROR><ERRORCODE>606</ERRORCODE>"
    body += "</UPNPERROR></DETAIL></S:FAULT></S:Body></S:Envelope>"
    router.hook = lambda action, arguments: body if action == "AddPortMapping" else None
    return Expect(present="error 606: its rules do not allow")


def fault_without_a_code(router: HostileRouter) -> Expect:
    body = "<s:Envelope><s:Body><s:Fault><faultcode>s:Server</faultcode><faultstring>broken</faultstring></s:Fault></s:Body></s:Envelope>"
    router.raw = only("AddPortMapping", reply(body.encode(), "500 Internal Server Error"))
    return Expect(present=r"refuses AddPortMapping without an error code \(broken\)")


def fault_that_is_a_page(router: HostileRouter) -> Expect:
    router.raw = only("AddPortMapping", reply(b"<html><body>Error</body></html>", "500 Internal Server Error"))
    return Expect(present="HTTP status 500")


def answer_to_another_action(router: HostileRouter) -> Expect:
    router.hook = lambda action, arguments: router.response("GetStatusInfo") if action == "AddPortMapping" else None
    return Expect(present="something else than AddPortMappingResponse")


# --- The table ---------------------------------------------------------------------------------------------------------------------------------------


def huge_table(router: HostileRouter) -> Expect:
    # More than that is read of no list; it makes no difference how much more.
    fill(router, 10000)

    def check(info: dict[str, Any], present: dict[str, Any], absent: dict[str, Any]) -> None:
        assert len(info["mappings"]) == 512
        assert any("more than 512" in warning for warning in info["warnings"])
        assert present["changed"]
        # Its port is known, so it is found beyond what the list shows.
        assert absent["changed"]

    # On a busy machine the fake needs its time.
    return Expect(check=check, options={"timeout": 4.0})


def huge_table_of_version_1(router: HostileRouter) -> Expect:
    router.version, router.service = 1, router.service[:-1] + "1"
    return huge_table(router)


def one_row_for_ever(router: HostileRouter) -> Expect:
    inner = "<NewExternalPort>9</NewExternalPort><NewProtocol>TCP</NewProtocol><NewInternalPort>1</NewInternalPort>"
    inner += f"<NewInternalClient>{NEIGHBOUR}</NewInternalClient>"
    router.hook = lambda action, arguments: router.response(action, inner) if action == "GetGenericPortMappingEntry" else None
    return Expect(check=lambda info, *_rest: same(len(info["mappings"]), 1))


def shifting_table(router: HostileRouter) -> Expect:
    router.version, router.service = 1, router.service[:-1] + "1"
    fill(router, 30)
    moves = {"left": 0}

    def move(action: str, arguments: dict[str, str]) -> None:
        # Once, while it is read to be cleared: the first row goes, and what follows moves up, ours among it.
        if action == "GetGenericPortMappingEntry" and router.ours() and moves["left"] == 0:
            position = list(router.entries).index(router.ours()[0])
            if int(arguments["NewPortMappingIndex"]) == position and len(router.calls) > router_calls["present"]:
                moves["left"] = 1
                router.entries.pop(next(iter(router.entries)))

    router_calls = {"present": 10**9}
    router.hook = move  # type: ignore[assignment]
    router.between = lambda: router_calls.update(present=len(router.calls))

    def check(_info: dict[str, Any], _present: dict[str, Any], absent: dict[str, Any]) -> None:
        assert moves["left"] == 1
        assert absent["changed"]

    return Expect(check=check)


def invalid_utf8(router: HostileRouter) -> Expect:
    def spoil(action: str, request: bytes, connection: socket.socket) -> bool:
        if not action.startswith(("GetList", "GetGeneric", "GetSpecific")):
            return False
        arguments = dict(re.findall(r"<(New\w+)>([^<]*)</New\w+>", request.decode()))
        made = router._perform(action, arguments).encode().replace(b"camera", b"cam\xff\xfe\xed\xa0\x80era\x00\x1b[31m")
        connection.sendall(reply(made, "500 Internal Server Error" if b"errorCode" in made else "200 OK"))
        return True

    router.raw = spoil
    return Expect(check=lambda info, *_rest: same([row["external_port"] for row in info["mappings"]], [8443]))


def negative_lease(router: HostileRouter) -> Expect:
    router.put("TCP", 8444, NEIGHBOUR, 80, "odd", -5)
    router.put("UDP", 8444, NEIGHBOUR, 80, "odd", 10**30)
    return Expect(check=lambda info, *_rest: same({row["lease"] for row in info["mappings"]}, {0}))


def nonsense_in_rows(router: HostileRouter) -> Expect:
    router.put("TCP", 8444, "not an address", 99999999999999, "odd")
    router.put("SCTP", 0, "", -1, "x" * 3000)
    return Expect(check=lambda info, *_rest: same(len(info["mappings"]), 3 if router.version == 1 else 2))


def a_tagged_row_that_cannot_be_named(router: HostileRouter) -> Expect:
    router.version, router.service = 1, router.service[:-1] + "1"
    real = router.hook

    def poison(action: str, arguments: dict[str, str]) -> str | None:
        # As soon as there is one of ours, a copy of it with port 0 stands before it.
        ours = [entry["description"] for key, entry in router.entries.items() if key[1] == 80]
        if ours and ("TCP", 0) not in router.entries:
            rows = {("TCP", 0): {"client": HOST, "port": "8080", "description": ours[0], "lease": "0", "enabled": "1"}, **router.entries}
            router.entries.clear()
            router.entries.update(rows)
        return real(action, arguments)

    router.hook = poison
    return Expect(absent="remove it on the router's own page; every other mapping was removed", left=True)


def another_port_granted(router: HostileRouter) -> Expect:
    def elsewhere(action: str, arguments: dict[str, str]) -> str | None:
        return router._perform(action, {**arguments, "NewExternalPort": "1024"}) if action == "AddPortMapping" else None

    router.hook = elsewhere
    return Expect(present="gave port 1024 instead, which was given back")


def mapped_to_another_host(router: HostileRouter) -> Expect:
    def elsewhere(action: str, arguments: dict[str, str]) -> str | None:
        return router._perform(action, {**arguments, "NewInternalClient": NEIGHBOUR}) if action == "AddPortMapping" else None

    router.hook = elsewhere
    return Expect(present=f"it holds {NEIGHBOUR}:8080.*taken back")


def success_that_is_none(router: HostileRouter) -> Expect:
    router.hook = lambda action, arguments: router.response(action) if action == "AddPortMapping" else None
    return Expect(present="says that it maps tcp port 80, but its list does not have it")


def removal_that_is_none(router: HostileRouter) -> Expect:
    router.hook = lambda action, arguments: router.response(action) if action.startswith("DeletePortMapping") else None
    return Expect(absent="says that it removed tcp port 80 .*, but its list still has it", left=True)


def full_table(router: HostileRouter) -> Expect:
    router.faults["AddPortMapping"] = 728
    return Expect(present="728.*remove some")


# --- The WAN address ---------------------------------------------------------------------------------------------------------------------------------


def wan_address(text: str, words: str) -> Callable[[HostileRouter], Expect]:
    def case(router: HostileRouter) -> Expect:
        router.wan = text
        return Expect(present=words)

    case.__name__ = f"wan_address_{text or 'empty'}"
    return case


WAN = [
    wan_address("", "no WAN address"),
    wan_address("0.0.0.0", r"WAN address of the router is 0\.0\.0\.0"),
    wan_address("192.168.1.2", "of the class private"),
    wan_address("router.example", "no WAN address"),
    wan_address("fe80::1", "no WAN address"),
    wan_address("44.128.1.2, 8.8.8.8", "no WAN address"),
]


# --- NAT-PMP and PCP ---------------------------------------------------------------------------------------------------------------------------------


def mapping_answers(router: HostileRouter, method: str, change: Callable[[bytes, bytes], list[bytes]]) -> None:
    """Bend the answers about mappings; those that open the conversation stay true."""

    def bend(request: bytes) -> list[bytes] | None:
        maps = request[:2] == b"\2\1" if method == "pcp" else request[0] == 0 and request[1] in (1, 2)
        return change(request, router.recorded.real(request)) if maps else None

    router.recorded.bend = bend


def put(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def unanswered(name: str, change: Callable[[bytes, bytes, str], list[bytes]], words: str) -> list[Callable[[HostileRouter], Expect]]:
    """A case for each method: what comes is no answer, so that nothing is known and the mapping stays recorded."""

    def case(method: str) -> Callable[[HostileRouter], Expect]:
        def run(router: HostileRouter) -> Expect:
            mapping_answers(router, method, lambda request, real: change(request, real, method))
            # The deadline is the same for all; one case waits for the usual one.
            options = {"method": method, "timeout": 3.0 if name == "silence" else 1.0}
            return Expect(present=words, absent="did not answer|none of them answers", left=True, options=options)

        run.__name__ = f"{method}_{name}"
        return run

    return [case(method) for method in ("pcp", "natpmp")]


RECORDED = [
    *unanswered("wrong_port", lambda request, real, method: [put(real, 40 if method == "pcp" else 8, b"\x22\x22")], "did not answer within.*what came was"),
    *unanswered("wrong_opcode", lambda request, real, method: [put(real, 1, bytes([real[1] ^ 3]))], "did not answer within.*what came was"),
    *unanswered("wrong_version", lambda request, real, method: [put(real, 0, b"\7")], "did not answer within.*version 7"),
    *unanswered("no_answer_bit", lambda request, real, method: [request], "did not answer within.*what came was"),
    *unanswered("short", lambda request, real, method: [b"", real[:1], real[:7], real[:15]], "did not answer within.*too short"),
    *unanswered("flood", lambda request, real, method: [b"rubbish"] * 250, "none of them answers"),
    *unanswered("silence", lambda request, real, method: [], "did not answer within"),
    *unanswered("stale", lambda request, real, method: [b"\2\x80" + real[2:24], b"\0\x80\0\0" + real[4:12]], "did not answer within.*what came was"),
]


def pcp_wrong_nonce(router: HostileRouter) -> Expect:
    mapping_answers(router, "pcp", lambda request, real: [put(real, 24, b"\0" * 12)])
    return Expect(present="nonce", absent="did not answer", left=True, options={"method": "pcp"})


def pcp_answer_of_another_port(router: HostileRouter) -> Expect:
    def elsewhere(request: bytes, real: bytes) -> list[bytes]:
        router.elsewhere.sendto(real, router.asker)
        return []

    mapping_answers(router, "pcp", elsewhere)
    return Expect(present="did not answer", absent="did not answer", left=True, options={"method": "pcp"})


def pcp_private_wan_address(router: HostileRouter) -> Expect:
    router.recorded.wan = "192.168.1.2"
    # NAT-PMP does not answer, so that the address comes with the mapping only.
    router.recorded.bend = lambda request: [] if request[0] == 0 else None
    return Expect(present="given back: the WAN address of the router is 192.168.1.2", options={"method": "pcp"})


def recorded_case(method: str, name: str, prepare: Callable[[HostileRouter, str], Expect]) -> Callable[[HostileRouter], Expect]:
    def case(router: HostileRouter) -> Expect:
        expect = prepare(router, method)
        expect.options = {"method": method}
        return expect

    case.__name__ = f"{method}_{name}"
    return case


def other_port(router: HostileRouter, _method: str) -> Expect:
    router.recorded.other = 1024
    return Expect(present="owner unknown.*gave port 1024 instead, which was given back")


def other_port_that_stays(router: HostileRouter, method: str) -> Expect:
    router.recorded.other = 1024
    mapping_answers(router, method, lambda request, real: [] if lease_of(request) == 0 else [real])
    return Expect(present="did not answer within", absent="did not answer within", left=True)


def no_lease(router: HostileRouter, method: str) -> Expect:
    mapping_answers(router, method, lambda request, real: [put(real, 4 if method == "pcp" else 12, b"\0\0\0\0")])
    return Expect(present="but for 0 s")


def lease_without_end(router: HostileRouter, method: str) -> Expect:
    at = 4 if method == "pcp" else 12
    mapping_answers(router, method, lambda request, real: [put(real, at, b"\xff\xff\xff\xff") if lease_of(request) else real])
    return Expect(check=lambda _info, present, _absent: same(present["mappings"][0]["lease"], 86400))


def removal_refused(router: HostileRouter, method: str) -> Expect:
    at = 4 if method == "pcp" else 12
    mapping_answers(router, method, lambda request, real: [real if lease_of(request) else put(real, at, b"\0\0\x0e\x10")])
    return Expect(absent="says that it keeps it for 3600 s", left=True)


BOTH = [
    recorded_case(method, prepare.__name__, prepare)
    for method in ("pcp", "natpmp")
    for prepare in (other_port, other_port_that_stays, no_lease, lease_without_end, removal_refused)
]


def auto_with_hostile_upnp_and_bent_pcp(router: HostileRouter) -> Expect:
    router.raw = slowly("", b"HTTP/1.1 200 OK\r\n")
    mapping_answers(router, "pcp", lambda request, real: [])
    return Expect(present="did not answer", absent="did not answer", left=True, options={"method": "auto"})


# --- What the cases are made of ----------------------------------------------------------------------------------------------------------------------


def same(one: object, other: object) -> None:
    assert one == other


def lease_of(request: bytes) -> int:
    at = 4 if request[0] == 2 else 8
    lease: int = struct.unpack("!I", request[at : at + 4])[0]
    return lease


def fill(router: HostileRouter, rows: int) -> None:
    for number in range(rows):
        router.put(("TCP", "UDP")[number % 2], 10000 + number, NEIGHBOUR, 80, "camera")


def perform(router: HostileRouter, request: bytes) -> None:
    """Do what a request asks for, without an answer."""
    router._perform("AddPortMapping", dict(re.findall(r"<(New\w+)>([^<]*)</New\w+>", request.decode())))


def only(wanted: str, answer: bytes) -> Callable[[str, bytes, socket.socket], bool]:
    """Answer one action with these bytes."""

    def raw(action: str, _request: bytes, connection: socket.socket) -> bool:
        if action == wanted:
            connection.sendall(answer)
        return action == wanted

    return raw


def redirect(target: str, status: str = "301 Moved Permanently") -> Callable[[str, bytes, socket.socket], bool]:
    return only("", reply(b"", status, f"Location: {target}\r\n"))


def slowly(wanted: str, data: bytes, head: bytes = b"") -> Callable[[str, bytes, socket.socket], bool]:
    """Answer one action, or with C(*) all of them, a byte in half a second."""

    def raw(action: str, _request: bytes, connection: socket.socket) -> bool:
        if action != wanted and not (action and wanted == "*"):
            return False
        connection.sendall(head)
        drip(connection, data, 0.5)
        return True

    return raw


def after(wanted: str, seconds: float) -> Callable[[str, bytes, socket.socket], bool]:
    def raw(action: str, _request: bytes, _connection: socket.socket) -> bool:
        if action == wanted:
            time.sleep(seconds)
        return False

    return raw


def endless(head: bytes, piece: bytes = b"x" * 1024, action: str = "") -> Callable[[str, bytes, socket.socket], bool]:
    """Send for as long as anybody listens."""

    def raw(asked: str, _request: bytes, connection: socket.socket) -> bool:
        if asked != action:
            return False
        connection.sendall(head)
        # Not as fast as it can, which would take the processor from the module.
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            connection.sendall(piece * 200)
            time.sleep(0.002)
        return True

    return raw


def reset(wanted: str, data: bytes) -> Callable[[str, bytes, socket.socket], bool]:
    """Send something and break the connection."""

    def raw(action: str, _request: bytes, connection: socket.socket) -> bool:
        if action != wanted:
            return False
        connection.sendall(data)
        # So that it is read before the reset throws it away.
        time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True

    return raw


CASES = [
    location_at_another_host,
    locations_that_are_no_addresses,
    spoofed_by_another_host,
    spoofed_in_the_name_of_the_router,
    two_devices_with_one_uuid,
    a_flood_of_answers,
    named_gateway_redirects_to_itself,
    redirect_to_a_third_host,
    redirect_in_a_loop_after_a_search,
    redirect_of_a_request_that_writes,
    control_at_another_host,
    one_control_of_several_at_another_host,
    base_at_another_host,
    drip_of_the_head,
    drip_of_the_body,
    drip_when_writing,
    drip_of_everything_after_the_description,
    each_answer_just_in_time,
    answer_after_the_deadline,
    written_but_answered_after_the_deadline,
    written_and_silent_ever_after,
    removed_and_silent_ever_after,
    endless_body,
    endless_chunks,
    endless_head,
    endless_continue,
    endless_body_when_listing,
    no_content_length,
    content_length_that_lies,
    chunked_garbage,
    http_0_9,
    gzip_unasked,
    reset_in_the_description,
    reset_after_writing,
    entity_bomb,
    external_entity,
    entity_bomb_in_the_list,
    entity_bomb_in_every_list,
    wrong_namespace,
    deep_document,
    fault_in_odd_case,
    fault_without_a_code,
    fault_that_is_a_page,
    answer_to_another_action,
    huge_table,
    huge_table_of_version_1,
    one_row_for_ever,
    shifting_table,
    invalid_utf8,
    negative_lease,
    nonsense_in_rows,
    a_tagged_row_that_cannot_be_named,
    another_port_granted,
    mapped_to_another_host,
    success_that_is_none,
    removal_that_is_none,
    full_table,
    *WAN,
    *RECORDED,
    pcp_wrong_nonce,
    pcp_answer_of_another_port,
    pcp_private_wan_address,
    *BOTH,
    auto_with_hostile_upnp_and_bent_pcp,
]


@pytest.fixture(scope="module")
def third_hosts(fake_home: Home) -> Iterator[Recorder]:
    with recorder(fake_home) as made:
        yield made


@pytest.fixture
def router(fake_home: Home) -> Iterator[HostileRouter]:
    shutil.rmtree(fake_home.state_dir(), ignore_errors=True)
    with HostileRouter(fake_home) as made:
        # Something of somebody else, which must not be touched.
        made.put("TCP", 8443, NEIGHBOUR, 80, "camera")
        yield made


def call(home: Home, name: str, **options: Any) -> dict[str, Any]:
    """Run a module and see that it ends in time, with a result."""
    begin = time.monotonic()
    done = home.process(name, **options)
    took = time.monotonic() - begin
    assert took < HANG, f"{name} took {took:.1f} s: {done.stdout[:2000]}"
    assert done.stderr == ""
    assert "Traceback" not in done.stdout
    result: dict[str, Any] = json.loads(done.stdout)
    # Newer versions of Ansible return warnings in a form of their own.
    return {**result, "warnings": [json.dumps(warning) for warning in result.get("warnings", [])]}


def judge(expected: str | None, text: str) -> None:
    """Compare an error, empty for none, with what is expected."""
    if expected is None:
        assert text == ""
        return
    assert re.search(expected, text), text
    assert ADVICE.search(text), f"no advice in: {text}"
    assert len(text) < 1500


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_hostile_router(fake_home: Home, third_hosts: Recorder, router: HostileRouter, case: Callable[[HostileRouter], Expect]) -> None:
    expect = case(router)
    # The fake speaks PCP as well, which would be taken first.
    options = {"method": "upnp", **expect.options}
    others = {key: entry for key, entry in router.table().items() if entry["description"] == "camera"}
    before = third_hosts.count()
    # What cannot be used at all does not change, so that all three can wait for it at once. Those that write hold the host against each other.
    apart = {"state_dir": f"{fake_home.state_dir()}-apart"}
    with ThreadPoolExecutor(3 if expect.info else 1) as pool:
        read = pool.submit(call, fake_home, "port_mapping_info", **options)
        written = pool.submit(call, fake_home, "port_mapping", mappings=[WEB], **options)
        removed = pool.submit(call, fake_home, "port_mapping", state="absent", mappings=[WEB], **apart, **options) if expect.info else None
    info, present = read.result(), written.result()
    judge(expect.info, "" if info["available"] else info["reason"])
    judge(expect.present, present["msg"] if present.get("failed") else "")
    if expect.present is None:
        assert [row["state"] for row in present["mappings"]] == ["present"]
    elif not expect.left:
        assert not present["changed"]
        assert router.ours() == []
        assert router.recorded.maps == {}
    router.between()
    absent = removed.result() if removed else call(fake_home, "port_mapping", state="absent", mappings=[WEB], **options)
    judge(expect.absent, absent["msg"] if absent.get("failed") else "")
    if expect.info is not None and expect.absent is None:
        # Nobody could look: that is said.
        assert any("no mapping could be looked for" in warning for warning in absent["warnings"])
    if not expect.left:
        assert router.ours() == []
        assert router.recorded.maps == {}
    if expect.check is not None:
        expect.check(info, present, absent)
    kept = {key: entry for key, entry in router.table().items() if key in others}
    assert kept == others or case is shifting_table
    assert third_hosts.count() == before


def test_there_are_enough_cases() -> None:
    assert len({case.__name__ for case in CASES}) == len(CASES) >= 30


@pytest.mark.parametrize("where", ["neighbour", "internet"])
def test_a_request_to_a_third_host_is_noticed(fake_home: Home, third_hosts: Recorder, where: str) -> None:
    # What finds nothing anywhere has to be seen to find something.
    target = NEIGHBOUR if where == "neighbour" else third_hosts.internet
    before = third_hosts.count()
    opened = inside(fake_home.host, lambda: socket.create_connection((target, HTTP), 2))
    with opened:
        opened.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"caught" in opened.recv(4096)
    assert third_hosts.count() > before + 1
