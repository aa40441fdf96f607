# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SOAP as UPnP speaks it: one action, its arguments in order, and an answer or a code.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import _http_client as http_client
from ._document import Node, escape_text, parse
from ._errors import AnswerError, DocumentError, ProtocolError

#: What people need to know about the codes that WANIPConnection, WANPPPConnection and routers in the field return.
HINTS: Mapping[int, str] = {
    401: "it does not know this action",
    402: "it does not like one of the values",
    501: "it could not do it; routers say this when their own WAN side has no public address or is down",
    600: "it does not like one of the values",
    601: "a value is out of its range",
    602: "it does not offer this",
    603: "its memory is full: remove mappings that nobody needs, or restart it",
    604: "it wants a person to act, see its own page",
    605: "a text is too long for it",
    606: "its rules do not allow this host to map this port. Many routers allow only ports from 1024 on, or only hosts that were permitted on the"
    " router's own page: permit this host there, choose a port from 1024 on, or make the forwarding on the router's page",
    713: "there is no such entry",
    714: "there is no such entry",
    715: "it does not take mappings for any source",
    716: "it does not take a mapping of all ports",
    718: "the port is taken, or the router maps ports to the asking host only and takes this host for another one",
    724: "it maps a port only to the same port: make the service listen on the external port, or choose the same number for both",
    725: "it takes permanent mappings only",
    726: "it takes mappings for any source only",
    727: "it takes a mapping of all ports only",
    728: "it has no room for another mapping: remove some that nobody needs",
    729: "the port is used by another mechanism of the router, such as a forwarding that was typed in on its own page or a service of the router"
    " itself: remove it there or choose another external port",
    730: "there is no such entry",
    731: "the entry cannot be changed by UPnP: change it on the router's own page",
    732: "it does not take a mapping to all ports",
    733: "the values contradict each other",
    866: "it wants a second factor: confirm on the router's own page",
    867: "a second factor is blocked on the router: see its own page",
    868: "a second factor is being asked for by somebody else: try again later",
}


def call(
    url: http_client.Url,
    service: str,
    action: str,
    arguments: Sequence[tuple[str, str]] = (),
    source: str | None = None,
    timeout: float = http_client.TIMEOUT,
    hints: Mapping[int, str] | None = None,
) -> Node:
    """Perform an action and return the element of its answer.

    Raises:
        ProtocolError: the router refused and said why.
        AnswerError: it did not answer, or not in a form that can be used.
    """
    reply = http_client.post(
        url,
        {"Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": f'"{service}#{action}"'},
        envelope(service, action, arguments),
        source,
        timeout,
    )
    try:
        root = parse(reply.body)
    except DocumentError as error:
        if reply.status != 200:
            raise AnswerError(f"{url} answers {action} with HTTP status {reply.status}") from error
        raise
    code = root.find("errorcode")
    if code is not None:
        text = root.find("errordescription")
        try:
            number = int(code.text.strip())
        except ValueError:
            raise AnswerError(f"{url} answers {action} with the unreadable error code {code.text.strip()[:40]!r}") from None
        raise ProtocolError(action, number, text.text.strip()[:120] if text else "", (HINTS if hints is None else hints).get(number))
    if root.find("fault") is not None:
        # Some firmware leaves out the part that has the code.
        words = root.find("faultstring")
        said = " ".join(words.text.split())[:120] if words else ""
        raise ProtocolError(action, 0, said, "it does not say why; see its own page, or make the forwarding there")
    if reply.status != 200:
        raise AnswerError(f"{url} answers {action} with HTTP status {reply.status}")
    answer = root.find(f"{action}Response".lower())
    if answer is None:
        raise AnswerError(f"{url} answers {action} with something else than {action}Response")
    return answer


def envelope(service: str, action: str, arguments: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the request's body."""
    inner = "".join(f"<{name}>{escape_text(value)}</{name}>" for name, value in arguments)
    return (
        '<?xml version="1.0"?>\r\n'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
        f'<s:Body><u:{action} xmlns:u="{escape_text(service)}">{inner}</u:{action}></s:Body></s:Envelope>\r\n'
    ).encode()
