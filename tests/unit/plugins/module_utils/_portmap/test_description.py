# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homeserver.hardening.plugins.module_utils._portmap import _http_client as http_client
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._description import read
from ansible_collections.homeserver.hardening.plugins.module_utils._portmap._errors import GatewayError

LOCATION = http_client.Url("192.0.2.1", 5000, "/dir/desc.xml")
IP1 = "urn:schemas-upnp-org:service:WANIPConnection:1"
IP2 = "urn:schemas-upnp-org:service:WANIPConnection:2"
PPP1 = "urn:schemas-upnp-org:service:WANPPPConnection:1"
OLD = "urn:dslforum-org:service:WANIPConnection:1"


def root(*services: tuple[str, str], base: str = "", device: str = "<friendlyName>Box</friendlyName>") -> bytes:
    listed = "".join(f"<service><serviceType>{kind}</serviceType><controlURL>{url}</controlURL></service>" for kind, url in services)
    stated = f"<URLBase>{base}</URLBase>" if base else ""
    inner = f"{device}<deviceList><device><serviceList>{listed}</serviceList></device></deviceList>"
    return f'<root xmlns="urn:schemas-upnp-org:device-1-0">{stated}<device>{inner}</device></root>'.encode()


@pytest.mark.parametrize(
    ("base", "control", "url"),
    [
        ("", "/ctl", "http://192.0.2.1:5000/ctl"),
        ("", "ctl", "http://192.0.2.1:5000/dir/ctl"),
        ("", "http://192.0.2.1:49000/ctl", "http://192.0.2.1:49000/ctl"),
        ("http://192.0.2.1:81/", "ctl", "http://192.0.2.1:81/ctl"),
        ("http://203.0.113.7:81/", "/ctl", "http://192.0.2.1:5000/ctl"),
        ("http://router.lan/", "/ctl", "http://192.0.2.1:5000/ctl"),
    ],
)
def test_where_the_service_is(base: str, control: str, url: str) -> None:
    assert str(read(root((IP1, control), base=base), LOCATION).services[0].control) == url


def test_order_of_the_services() -> None:
    kinds = [IP1, PPP1, "urn:schemas-upnp-org:service:Layer3Forwarding:1", OLD, IP2, "urn:schemas-upnp-org:service:WANIPConnection:3"]
    found = read(root(*((kind, "/ctl") for kind in kinds)), LOCATION).services
    assert [service.service_type for service in found] == [IP2, IP1, PPP1, OLD, "urn:schemas-upnp-org:service:WANIPConnection:3"]
    assert [service.version for service in found] == [2, 1, 1, 1, 3]


def test_the_type_is_repeated_as_it_was_written() -> None:
    assert read(root(("urn:schemas-upnp-org:service:wanipconnection:1", "/c")), LOCATION).services[0].service_type.endswith("wanipconnection:1")


def test_product() -> None:
    device = "<friendlyName>Box\n 5</friendlyName><manufacturer>Maker</manufacturer><modelName>Maker</modelName>"
    assert read(root((IP1, "/c"), device=device), LOCATION, "Linux UPnP/1.1").product == "Box 5 Maker (Linux UPnP/1.1)"


@pytest.mark.parametrize("control", ["http://192.0.2.2/ctl", "http://127.0.0.1:5000/ctl", "https://192.0.2.1/ctl", "http://evil.example/ctl"])
def test_a_service_on_another_host_is_not_used(control: str) -> None:
    with pytest.raises(GatewayError, match="no usable service"):
        read(root((IP1, control)), LOCATION)
    assert [str(service.control) for service in read(root((IP2, control), (IP1, "/ctl")), LOCATION).services] == ["http://192.0.2.1:5000/ctl"]


@pytest.mark.parametrize("kind", ["urn:schemas-upnp-org:service:RenderingControl:1", 'urn:x:service:WANIPConnection:1"\r\nX: y', "WANIPConnection:1"])
def test_other_devices_are_no_gateways(kind: str) -> None:
    with pytest.raises(GatewayError, match="no service that maps ports"):
        read(root((kind, "/ctl")), LOCATION)


def test_the_number_of_services_is_bounded() -> None:
    assert len(read(root(*((IP1, f"/{number}") for number in range(500))), LOCATION).services) == 16
