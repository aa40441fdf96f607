# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The providers that are told over HTTPS: how each is asked, and what its answers mean. One row each; no code.

Private to this collection. Checked against its own rules by the unit tests. A row says where it comes from and how well it was tried:
C(doc) is built from the provider's documents, C(fake) from what others reported; both were tried against imitations of the provider only,
C(real) against the provider itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

RFC2136 = "rfc2136"
CUSTOM = "custom"

#: Where the secret goes. C(url) is for providers that have nothing else.
BASIC, BEARER, IN_URL = "basic", "bearer", "url"

#: How a record is removed: not at all, by an empty value, by C(clear=true) for both families at once, or by the provider's interface.
NEVER, EMPTY, CLEAR, BY_API = "", "empty", "clear", "api"


@dataclass(frozen=True)
class Provider:
    """One row.

    Attributes:
        title: the name that people know.
        url: where updates go; C({family}) is ipv4 or ipv6. Empty if the user has to say it.
        auth: where the secret goes.
        username: what stands for the user if none is given; empty if one must be.
        query: the parameters. C({address}) makes one request for each family; C({ipv4}) and C({ipv6}) make one for both. Without any of them
            the provider takes the address that the request comes from.
        keep: the value of a family that shall stay as it is; empty to leave the parameter out.
        success, stop, retry: patterns of the answer. C(stop) and C(retry) are looked for first.
        stop_statuses: HTTP statuses that do not pass without somebody changing something.
        pause: seconds until the next try after an answer that matched C(retry).
        minimum: seconds between two updates.
        refresh: seconds after which the provider is told although nothing changed; 0 for never.
        families: what can be published.
        removal: how a record is removed.
        wildcard: whether the name may begin with C(*).
        sets_ttl: whether the TTL can be chosen.
        min_ttl: the shortest one.
        source, date: where this comes from, and when that was read.
        verified: C(fake), C(doc) or C(real).
    """

    title: str
    url: str
    auth: str
    success: str
    source: str
    query: tuple[tuple[str, str], ...] = ()
    username: str = ""
    keep: str = ""
    stop: str = ""
    retry: str = ""
    stop_statuses: tuple[int, ...] = (401, 403)
    pause: int = 0
    minimum: int = 60
    refresh: int = 0
    families: tuple[str, ...] = ("ipv4", "ipv6")
    removal: str = NEVER
    wildcard: bool = False
    sets_ttl: bool = False
    min_ttl: int = 1
    date: str = "2026-11-24"
    verified: str = "doc"

    @property
    def together(self) -> bool:
        """Whether both families go into one request."""
        return self.auth == BEARER or any("{ipv4}" in value for _unused, value in self.query)


def _word(*words: str) -> str:
    """Return the pattern of an answer that begins with one of these words, and is no page that contains it."""
    return rf"\A(?:{'|'.join(re.escape(word) for word in words)})(?:\s|\Z)"


_GOOD = _word("good", "nochg")
_STOP = _word("badauth", "!donator", "!yours", "nohost", "notfqdn", "numhost", "badsys", "badagent", "badrequest", "abuse")
_FAULT = _word("911", "dnserr", "servererror")
_NIC_UPDATE = (("hostname", "{name}"), ("myip", "{address}"))

#: What the relatives of dyndns2 have in common with it.
_DYNDNS2 = Provider(
    title="any server that speaks dyndns2",
    url="",
    auth=BASIC,
    query=_NIC_UPDATE,
    success=_GOOD,
    stop=_STOP,
    retry=_FAULT,
    # No-IP wants half an hour.
    pause=1800,
    source="help.dyn.com/return-codes",
)

PROVIDERS: dict[str, Provider] = {
    "mydns_jp": Provider(
        title="MyDNS.JP",
        url="https://{family}.mydns.jp/login.html",
        auth=BASIC,
        success=r"Login and IP address notify OK\.",
        # A wrong password is answered with status 200.
        stop=r"login_status\s*=\s*0",
        # Names are dropped a week after the last notice.
        refresh=86400,
        source="mydns.jp HOW TO USE; disco-v8/mydns-adapter-win11 src/notify.rs; the wrong password as one user reported it",
        verified="fake",
    ),
    "dyndns2": _DYNDNS2,
    "no_ip": replace(
        _DYNDNS2,
        title="No-IP",
        url="https://dynupdate.no-ip.com/nic/update",
        source="www.noip.com/integrate/request and /response",
    ),
    "dynu": replace(
        _DYNDNS2,
        title="Dynu",
        url="https://api.dynu.com/nic/update",
        query=(("hostname", "{name}"), ("myip", "{ipv4}"), ("myipv6", "{ipv6}")),
        keep="no",
        source="www.dynu.com/DynamicDNS/IP-Update-Protocol",
    ),
    "he_net": replace(
        _DYNDNS2,
        title="Hurricane Electric (dns.he.net)",
        url="https://dyn.dns.he.net/nic/update",
        username="{name}",
        source="openwrt/packages ddns-scripts he.net.json; inadyn plugin",
        verified="fake",
    ),
    "ovh": replace(
        _DYNDNS2,
        title="OVH DynHost",
        url="https://dns.eu.ovhapis.com/nic/update",
        query=(("system", "dyndns"), *_NIC_UPDATE),
        source="ovh/docs DynHost guide",
    ),
    "duckdns": Provider(
        title="DuckDNS",
        url="https://www.duckdns.org/update",
        auth=IN_URL,
        query=(("domains", "{label}"), ("token", "{password}"), ("ip", "{ipv4}"), ("ipv6", "{ipv6}")),
        success=_word("OK"),
        stop=_word("KO"),
        removal=CLEAR,
        source="www.duckdns.org/spec.jsp",
    ),
    "cloudflare": Provider(
        title="Cloudflare",
        url="https://api.cloudflare.com/client/v4",
        auth=BEARER,
        success=r'"success"\s*:\s*true',
        stop_statuses=(400, 401, 403, 404),
        minimum=10,
        removal=BY_API,
        wildcard=True,
        sets_ttl=True,
        # 1 would mean "automatic", which is 300.
        min_ttl=60,
        source="developers.cloudflare.com/api DNS Records",
    ),
    "desec": Provider(
        title="deSEC",
        url="https://update.dedyn.io/update",
        auth=BASIC,
        query=(("hostname", "{name}"), ("myipv4", "{ipv4}"), ("myipv6", "{ipv6}")),
        # Whatever is not mentioned is deleted.
        keep="preserve",
        success=_word("good"),
        stop=_STOP,
        retry=_FAULT,
        stop_statuses=(400, 401, 403, 404),
        # At most two updates in two minutes for each domain; updates that change nothing are against its terms of use.
        minimum=60,
        removal=EMPTY,
        source="desec.readthedocs.io/en/latest/dyndns/update-api.html",
    ),
    "dynv6": replace(
        _DYNDNS2,
        title="dynv6",
        url="https://dynv6.com/nic/update",
        username="none",
        # Over HTTPS it takes IPv6 only with the token in the URL; signed updates (rfc2136) take both.
        families=("ipv4",),
        source="dynv6.com/docs/apis (Remote Access API)",
    ),
    CUSTOM: Provider(
        title="a provider of your own",
        url="",
        auth=BASIC,
        success="",
        source="what you say",
        minimum=60,
    ),
}

#: Providers that exist no more.
DEAD = {
    "google_domains": "Google Domains ended its dynamic DNS on 22 January 2024",
    "googledomains": "Google Domains ended its dynamic DNS on 22 January 2024",
    "google": "Google Domains ended its dynamic DNS on 22 January 2024",
    "dtdns": "DtDNS has closed",
    "dnspark": "DNS Park has closed",
    "hammernode": "Hammernode (hn.org) has closed",
    "concont": "ConCont (dydns.za.net) has closed",
}

KNOWN = (RFC2136, *PROVIDERS)
