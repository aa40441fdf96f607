# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is behind an open port: a refusal is what the router says, not that it says nothing."""

from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._audit import _doors as doors
from ansible_collections.homeserver.hardening.plugins.module_utils._audit._deadline import Deadline
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import AnswerError, GatewayError, ProtocolError
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._http_client import Reply

ROUTER = "192.0.2.1"
_SERVICE = "<service><serviceType>urn:schemas-upnp-org:service:{}</serviceType><controlURL>/ctl</controlURL></service>"


def description(*services: str) -> bytes:
    rows = "".join(_SERVICE.format(name) for name in services)
    return f"<root><device><deviceType>urn:x</deviceType><serviceList>{rows}</serviceList></device></root>".encode()


@pytest.mark.parametrize(
    ("services", "error", "state"),
    [
        (("WANIPConnection:1",), ProtocolError("GetExternalIPAddress", 501, "Action Failed", None), "answered"),
        (("WANIPConnection:1",), GatewayError("it stopped answering"), ""),
        (("WANIPConnection:1",), AnswerError("HTTP status 503"), ""),
        (("Layer3Forwarding:1", "WANIPConnection:1"), GatewayError("it stopped answering"), ""),
        # it has no such service
        (("Layer3Forwarding:1",), None, "refused"),
        ((), None, "refused"),
    ],
)
def test_soap(services, error, state, monkeypatch):
    def call(*_arguments):
        assert error is not None, "nobody is asked there"
        raise error

    monkeypatch.setattr(doors, "tcp_states", lambda address, ports, timeout: dict.fromkeys(ports, "open"))
    monkeypatch.setattr(doors.http_client, "get", lambda url, source, timeout: Reply(200, {}, description(*services)))
    monkeypatch.setattr(doors.soap, "call", call)
    (found,) = doors.knock(ROUTER, [5000], ["/d.xml"], 1.0, Deadline(5.0))
    assert (found.soap, found.http, found.description) == (state, "answered", "http://192.0.2.1:5000/d.xml")
