"""Mail, through the installation's mail server."""

from typing import TypedDict

class Sent(TypedDict):
    """What the mail server took."""

    message_id: str

@act(timeout_s=60)
def send(
    to: str | list[str],
    subject: str,
    text: str,
    *,
    html: str | None = None,
    attachments: list[str] = [],
    commit: bool = False,
    timeout: float | None = None,
) -> Sent:
    """Send a mail to all or none of its recipients; attachments are the account's evidence (sha256 or id) or files."""
