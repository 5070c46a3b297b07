"""Calls to other people's systems: where they may go, and how one request is made.

Called by: executor (http.request, mail.send of scripts), delivery (webhooks, mails, files), collector (pollers). The
rules of addresses are in shared/domain/addresses.py. Survives a crash: nothing lives here.

What is sent goes to the address that was checked, never to what a name resolves to a moment later; redirects are not
followed here; certificates are always checked. What can go wrong:

    OutboundError
    +-- Refused    nothing was sent: no address, an address that is not allowed, an unusable URL
    +-- TooLarge   the answer is larger than what is taken
    +-- BadBody    the answer is broken, or packed in a way that was not asked for
    +-- Broken     no connection, or it broke; `sent` says whether the other side may have read some of it
"""

from shared.outbound.errors import BadBody, Broken, OutboundError, Refused, TooLarge
from shared.outbound.exchange import Answer, Outbound, Request, checked_url
from shared.outbound.trust import tls_context

__all__ = [
    "Answer",
    "BadBody",
    "Broken",
    "Outbound",
    "OutboundError",
    "Refused",
    "Request",
    "TooLarge",
    "checked_url",
    "tls_context",
]
