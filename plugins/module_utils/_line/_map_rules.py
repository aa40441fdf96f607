# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MAP-E mapping rules and other marks of Japanese IPv4-over-IPv6 services.

Private to this collection. Data only.

Providers hand these rules to their routers and do not publish them, so the tables come from people who read them there.
They age: nothing is claimed from a rule unless the address that it computes was also seen from outside or named by the router.

Source: the scripts map-e*.sh of github.com/site-u2023/config-software and the tables of github.com/fakemanhk/openwrt-jp-ipoe, which go back to
ipv4.web.fc2.com/map-e.html. Neighbouring rows of one service are joined into one where the result is the same.
"""

from __future__ import annotations

RULES_DATE = "2025-06-08"

#: service: (offset of the PSID, IPv6 address of the border relay)
SERVICES: dict[str, tuple[int, str]] = {
    "v6plus": (4, "2404:9200:225:100::64"),
    "biglobe_ipv6_option": (4, "2001:260:700:1::1:275"),
    "ocn_virtual_connect": (6, "2001:380:a120::9"),
}

#: (service, IPv6 prefix, IPv4 prefix, length of the EA bits)
RULES: tuple[tuple[str, str, str, int], ...] = (
    ("v6plus", "240b:10::/31", "106.72.0.0/15", 25),
    ("v6plus", "240b:12::/31", "14.8.0.0/15", 25),
    ("v6plus", "240b:250::/31", "14.10.0.0/15", 25),
    ("v6plus", "240b:252::/31", "14.12.0.0/15", 25),
    ("biglobe_ipv6_option", "2404:7a80::/31", "133.200.0.0/15", 25),
    ("biglobe_ipv6_option", "2404:7a84::/31", "133.206.0.0/15", 25),
    ("biglobe_ipv6_option", "2404:7a82::/37", "125.196.208.0/21", 19),
    ("biglobe_ipv6_option", "2404:7a82:800::/38", "125.198.140.0/22", 18),
    ("biglobe_ipv6_option", "2404:7a82:c00::/38", "125.198.144.0/22", 18),
    ("biglobe_ipv6_option", "2404:7a82:1000::/38", "125.198.212.0/22", 18),
    ("biglobe_ipv6_option", "2404:7a82:1400::/38", "125.198.244.0/22", 18),
    ("biglobe_ipv6_option", "2404:7a82:1800::/38", "122.131.104.0/22", 18),
    ("biglobe_ipv6_option", "2404:7a82:1c00::/38", "125.195.20.0/22", 18),
    ("biglobe_ipv6_option", "2404:7a82:2000::/35", "133.203.160.0/19", 21),
    ("biglobe_ipv6_option", "2404:7a82:4000::/35", "133.209.0.0/19", 21),
    ("biglobe_ipv6_option", "2404:7a82:6000::/35", "133.204.192.0/19", 21),
    ("biglobe_ipv6_option", "2404:7a82:8000::/35", "133.203.224.0/19", 21),
    ("biglobe_ipv6_option", "2404:7a82:a000::/36", "125.194.192.0/20", 20),
    ("biglobe_ipv6_option", "2404:7a82:b000::/36", "119.239.128.0/20", 20),
    ("biglobe_ipv6_option", "2404:7a82:c000::/36", "125.194.32.0/20", 20),
    ("biglobe_ipv6_option", "2404:7a82:d000::/37", "125.195.24.0/21", 19),
    ("biglobe_ipv6_option", "2404:7a82:d800::/37", "122.130.192.0/21", 19),
    ("biglobe_ipv6_option", "2404:7a82:e000::/37", "122.135.64.0/21", 19),
    ("biglobe_ipv6_option", "2404:7a82:e800::/37", "125.192.240.0/21", 19),
    ("biglobe_ipv6_option", "2404:7a82:f000::/37", "125.193.176.0/21", 19),
    ("ocn_virtual_connect", "2400:4050::/34", "153.240.0.0/16", 22),
    ("ocn_virtual_connect", "2400:4050:4000::/35", "153.241.0.0/17", 21),
    ("ocn_virtual_connect", "2400:4050:6000::/35", "153.241.128.0/17", 21),
    ("ocn_virtual_connect", "2400:4050:8000::/33", "153.242.0.0/15", 23),
    ("ocn_virtual_connect", "2400:4051::/35", "122.26.0.0/17", 21),
    ("ocn_virtual_connect", "2400:4051:2000::/36", "114.146.64.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:3000::/36", "114.148.192.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:4000::/36", "114.150.192.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:5000::/36", "114.163.64.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:6000::/36", "114.163.128.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:7000::/36", "114.167.64.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:8000::/36", "114.172.192.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:9000::/36", "114.177.64.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:a000::/36", "118.0.64.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:b000::/36", "118.7.64.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:c000::/36", "118.8.192.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:d000::/36", "118.9.0.0/18", 20),
    ("ocn_virtual_connect", "2400:4051:e000::/36", "123.218.64.0/18", 20),
)

#: Prefixes that suggest a service and prove nothing: (IPv6 prefix, service, technique). Source: calib.lua of ikm-san/openwrt.
HINTS: tuple[tuple[str, str, str], ...] = (
    ("240b::/16", "v6plus", "map_e"),
    ("2404::/16", "biglobe_ipv6_option", "map_e"),
    ("2400::/16", "ocn_virtual_connect", "map_e"),
    ("2409::/16", "transix", "ds_lite"),
    ("2405::/16", "v6_connect", "ds_lite"),
    ("2001:f00::/24", "xpass", "ds_lite"),
    ("2408::/16", "ntt_closed_network", "none"),
)

#: DS-Lite: the far ends of the tunnels (AFTR).
AFTR: dict[str, tuple[str, ...]] = {
    "transix": ("2404:8e00::feed:100", "2404:8e01::feed:100"),
    "xpass": ("2001:f60:0:200::1:1",),
    "v6_connect": ("2001:c28:5:301::11",),
}
