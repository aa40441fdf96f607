# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between this host and its router, as exceptions that carry a message for people.

Private to this collection.
"""

from __future__ import annotations


class PortmapError(Exception):
    """Base of all: the text names the value, the reason and, where there is one, the way out.

    Attributes:
        advice: the way out, where the text does not have it.
        family: the only family that it concerns; empty if it concerns all.
    """

    advice = ""
    family = ""


class BadRequestError(PortmapError):
    """What was asked for makes no sense; no packet was sent."""


class NoGatewayError(PortmapError):
    """No router answered, or none that may be used."""


class NoNatError(NoGatewayError):
    """There is nothing to map, because this host is on the Internet itself."""


class GatewayError(PortmapError):
    """The router answered something that cannot be used, or stopped answering."""


class AnswerError(GatewayError):
    """The answer itself is at fault: late, cut off, not in the form that was agreed on, or untrue."""

    advice = "Restart the router or look for newer firmware; if that does not help, make the forwarding on its own page and do without UPnP, PCP and NAT-PMP"


class DocumentError(AnswerError):
    """An XML document of the router is malformed or not acceptable."""


class ProtocolError(GatewayError):
    """The router refused an action and said why by a code.

    Attributes:
        action: the action that was refused.
        code: the router's error code, 0 if it did not give one.
        text: the router's own words.
    """

    def __init__(self, action: str, code: int, text: str, hint: str | None = None) -> None:
        self.action = action
        self.code = code
        self.text = text
        message = f"the router refuses {action} with error {code}" if code else f"the router refuses {action} without an error code"
        if text:
            message += f" ({text})"
        if hint:
            message += f": {hint}"
        super().__init__(message)
