"""Messages as mails, through the installation's mail server.

Called by: channels/__init__.py. Survives a crash: nothing; a notification's Message-ID is the same at every attempt, so
a server or reader can tell a repeat.
"""

from __future__ import annotations

import ssl

from services.alerts.core.telling import Lane
from services.alerts.notify.channels.outcome import Outcome
from services.alerts.notify.message import Message
from services.alerts.notify.render import html, left_out, listing, subject, text
from shared.domain.letter import Attachment, letter
from shared.domain.mail_server import MailServer
from shared.outbound.mail import Courier, NotSent

TAKEN = 250
"""Status of a mail that was taken: the server's own code."""


class Mail:
    """Sends mails."""

    def __init__(self, server: MailServer | None, sender: str, tls: ssl.SSLContext) -> None:
        """server: none when no mail can be sent from here. Raises: ValueError for a sender that is no address."""
        self._courier = Courier(server, sender, tls) if server is not None else None

    async def send(self, lane: Lane, message: Message, *, timeout_s: float) -> Outcome:
        """Send one."""
        if self._courier is None:
            return Outcome(False, error="no mail server is set for this installation (REGENTE_SMTP_URL)")
        try:
            data = letter_of(message, self._courier.sender, lane.channel.address)
            await self._courier.send([lane.channel.address], data, timeout_s=timeout_s)
        except NotSent as error:
            return Outcome(False, error=error.message, doubt=error.doubt)
        except ValueError as error:
            return Outcome(False, error=f"not sent: {str(error).splitlines()[0]}")
        return Outcome(True, status=TAKEN)


def letter_of(message: Message, sender: str, to: str) -> bytes:
    """The mail's bytes. Raises: ValueError for one that is too large, or an address that is none."""
    files = [Attachment("alerts.csv", "text/csv", listing(message))] if left_out(message) else []
    return letter(
        sender=sender, recipients=[to], subject=subject(message), text=text(message), html=html(message),
        attachments=files, identity=f"<{message.id}@{sender.rpartition('@')[2]}>", at=message.at,
        pictures=message.pictures,
    )  # fmt: skip
