"""The link in a message under which whoever has it may say, without a log-in, that somebody looks at its alerts.

Called by: alerts (puts it into messages), console (serves it). Pure: the token is made by the sealer for PURPOSE and
the message's id. Change also: docs/notifications.md.
"""

from __future__ import annotations

import re

PURPOSE = "alert-link"
"""What the token derives for (shared.seal)."""
PREFIX = "/a"
_ID = re.compile(r"ntf_[0-9a-f]{20}_[0-9]{8}")


def link_url(console_url: str, id: str, token: str) -> str:
    """Where it is said. id: of the notification."""
    return f"{console_url.rstrip('/')}{PREFIX}/{id}?t={token}"


def is_id(text: str) -> bool:
    """Whether it can be the id of a notification."""
    return _ID.fullmatch(text) is not None


def said_by(recipient: str) -> str:
    """Who acknowledged, when it was done by the link that this recipient got."""
    return f"{recipient} (link)"
