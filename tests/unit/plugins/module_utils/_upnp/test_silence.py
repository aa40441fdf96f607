# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an answer, a refusal and a silence of the router mean."""

from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._audit._model import Device, Door
from ansible_collections.homeserver.hardening.plugins.module_utils._upnp._silence import judge

ROUTER = Device("192.0.2.1", "eth0", "http://192.0.2.1:5000/d.xml", igd=True)
TELEVISION = Device("192.0.2.9", "eth0", "http://192.0.2.9:80/d.xml")
#: The router itself, as the media server that it is as well, and as something whose description nobody could read.
MEDIA = Device("192.0.2.1", "eth0", "http://192.0.2.1:8200/d.xml", device_type="urn:schemas-upnp-org:device:MediaServer:1", default_gateway=True)
UNREAD = Device("192.0.2.1", "eth0", "http://192.0.2.1:5000/d.xml", default_gateway=True)


@pytest.mark.parametrize(
    ("ssdp", "devices", "reached", "state", "reason"),
    [
        ("answered", [], True, "answered", ""),
        # answered the multicast alone
        ("silent", [ROUTER], True, "answered", ""),
        ("refused", [ROUTER], True, "answered", ""),
        # devices that are no routers may answer
        ("refused", [TELEVISION], True, "refused", ""),
        # nor does the router, as another device
        ("answered", [MEDIA], True, "silent", ""),
        ("answered", [MEDIA, TELEVISION], True, "silent", ""),
        ("answered", [MEDIA, UNREAD], True, "answered", ""),
        ("answered", [MEDIA, ROUTER], True, "answered", ""),
        ("answered", [TELEVISION], True, "answered", ""),
        ("silent", [], True, "silent", ""),
        ("silent", [], False, "untested", "silence_unproved"),
        ("unsent", [], True, "untested", "not_sent"),
        ("rejected", [], True, "untested", "rejected_on_the_way"),
        ("", [], False, "untested", "no_gateway"),
    ],
)
def test_ssdp(ssdp, devices, reached, state, reason):
    found = judge(ssdp, devices, [], {}, [], [], reached)["ssdp"]
    assert (found["state"], found["reason"]) == (state, reason)
    assert len(found["devices"]) == sum(device.igd for device in devices)


@pytest.mark.parametrize("name", ["natpmp", "pcp"])
@pytest.mark.parametrize(("sent", "reached", "state"), [("answered", True, "answered"), ("refused", True, "refused"), ("silent", False, "untested")])
def test_pmp(name, sent, reached, state):
    assert judge("", [], [], {name: sent}, [], [], reached)[name]["state"] == state


def door(state: str, port: int = 5000, soap: str = "", http: str = "answered", description: str = "") -> Door:
    return Door("192.0.2.1", port, state, description, soap, http=http if state == "open" else "")


@pytest.mark.parametrize(
    ("doors", "ports", "reached", "state", "reason"),
    [
        # an answer counts wherever it comes from
        ([door("open", 49152, "answered")], [], True, "answered", ""),
        ([door("closed"), door("open", 49152, "answered")], [5000], True, "answered", ""),
        # a refusal counts only where it used to answer
        ([door("closed", 49152)], [], True, "untested", "location_unknown"),
        ([door("closed"), door("closed", 49152)], [5000], True, "refused", ""),
        ([door("rejected")], [5000], True, "refused", ""),
        ([door("open", soap="refused")], [5000], True, "refused", ""),
        ([door("open")], [5000], True, "refused", ""),
        ([door("open", http="other")], [5000], True, "refused", ""),
        ([door("open", soap="refused", description="http://192.0.2.1:5000/d.xml")], [5000], True, "refused", ""),
        # a daemon that hangs, or is busy, is not off
        ([door("open", http="silent")], [5000], True, "untested", "no_answer"),
        ([door("open", http="")], [5000], True, "untested", "no_answer"),
        ([door("closed"), door("open", 49152, http="silent")], [5000, 49152], True, "untested", "no_answer"),
        ([door("open", description="http://192.0.2.1:5000/d.xml")], [5000], True, "untested", "no_answer"),
        # another port than that where it was
        ([door("closed"), door("open", 49152, http="silent")], [5000], True, "refused", ""),
        ([door("filtered")], [5000], True, "silent", ""),
        ([door("filtered")], [5000], False, "untested", "silence_unproved"),
        ([door("local_drop")], [5000], True, "untested", "not_sent"),
        ([], [5000], True, "untested", "no_gateway"),
    ],
)
def test_soap(doors, ports, reached, state, reason):
    found = judge("", [], doors, {}, ports, [], reached)["soap"]
    assert (found["state"], found["reason"]) == (state, reason)
