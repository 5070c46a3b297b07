"""A mail as bytes: its addresses, its parts, its id.

Called by: whatever sends mail. Sources: RFC 5322 (message), RFC 5321, 4.5.3.1 (limits), RFC 2392
(Message-ID). Addresses are ASCII, `name@domain` and nothing else: no names, comments, groups or routes, in which more
recipients or header lines could hide."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP

RECIPIENTS_MAX = 50
SUBJECT_LENGTH_MAX = 500
TEXT_LENGTH_MAX = 1024 * 1024
ATTACHMENTS_MAX = 20
SIZE_BYTES_MAX = 10 * 1024 * 1024
"""Of the whole message as it is sent."""
_ADDRESS = re.compile(
    r"^(?P<local>[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*)"
    r"@(?P<domain>([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)$"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_-]")
_NOT_IN_NAME = re.compile(r"[^\w .()+,=-]")


@dataclass(frozen=True)
class Attachment:
    """One file."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True)
class Picture:
    """A picture inside the HTML, which shows it as `cid:<id>` (RFC 2392)."""

    id: str
    """Letters, digits, - and _ only."""
    media_type: str
    data: bytes


def checked_address(text: str) -> str:
    """The address. Raises: ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or len(match["local"]) > 64 or len(match["domain"]) > 255:
        raise ValueError("an address is name@domain, in ASCII, without anything around it")
    return text


def checked_recipients(to: str | Sequence[str]) -> list[str]:
    """The recipients, each once. Raises: ValueError."""
    given = [to] if isinstance(to, str) else list(to)
    if not 1 <= len(given) <= RECIPIENTS_MAX:
        raise ValueError(f"to: 1 to {RECIPIENTS_MAX} addresses")
    return list(dict.fromkeys(checked_address(one) for one in given))


def checked_subject(text: str) -> str:
    """The subject. Raises: ValueError when it holds a line break: what follows would be a header of its own."""
    if _CONTROL.search(text):
        raise ValueError("subject: line breaks and control characters are not allowed")
    if not 1 <= len(text) <= SUBJECT_LENGTH_MAX:
        raise ValueError(f"subject: 1 to {SUBJECT_LENGTH_MAX} characters")
    return text


def message_id(run: str, seq: int, sender: str) -> str:
    """The same for the same instruction, whoever sends it: a server or a reader can tell a repeat."""
    return f"<{_NOT_IN_ID.sub('-', run)}.{seq}@{sender.rpartition('@')[2]}>"


def letter(
    *,
    sender: str,
    recipients: Sequence[str],
    subject: str,
    text: str,
    html: str | None,
    attachments: Sequence[Attachment],
    identity: str,
    at: datetime,
    pictures: Sequence[Picture] = (),
) -> bytes:
    """The message. pictures: shown by the HTML; they need one.

    Raises: ValueError when it is larger than what is sent.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message["Date"] = at
    message["Message-ID"] = identity
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
        _show(message, pictures)
    for one in attachments:
        main, _, sub = one.media_type.partition("/")
        message.add_attachment(
            one.data, maintype=main or "application", subtype=sub or "octet-stream", filename=file_name(one)
        )
    data = message.as_bytes()
    if len(data) > SIZE_BYTES_MAX:
        raise ValueError(f"a mail of {len(data)} bytes; at most {SIZE_BYTES_MAX} are sent")
    return data


def _show(message: EmailMessage, pictures: Sequence[Picture]) -> None:
    """Put pictures beside the HTML that shows them (multipart/related)."""
    html = message.get_body(("html",))
    assert isinstance(html, EmailMessage)
    for one in pictures:
        main, _, sub = one.media_type.partition("/")
        html.add_related(one.data, maintype=main, subtype=sub, cid=f"<{one.id}>", disposition="inline")


def file_name(attachment: Attachment) -> str:
    """A name that a file can have, with the extension of its kind."""
    name = _NOT_IN_NAME.sub("_", attachment.name).strip(" .")[:100] or "attachment"
    extension = mimetypes.guess_extension(attachment.media_type) or ""
    return name if "." in name or name.endswith(extension) else name + extension
