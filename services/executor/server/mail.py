"""mail.send: one mail to all or none of its recipients, through the installation's mail server.

Called by: perform.py. Survives a crash: nothing; the mail's Message-ID follows from (run, seq). The conversation, and
what a failure in it means, is in shared/outbound/mail.py."""

from __future__ import annotations

import ssl

from pydantic import Field

from services.executor.evidence import BadBlob, EvidenceStore
from services.executor.server.order import Args, Failed, InDoubt, Order, read_args
from shared.domain.letter import (
    ATTACHMENTS_MAX,
    SIZE_BYTES_MAX,
    TEXT_LENGTH_MAX,
    Attachment,
    checked_recipients,
    checked_subject,
    letter,
    message_id,
)
from shared.domain.mail_server import MailServer
from shared.obs.clock import now
from shared.outbound.mail import Courier, NotSent


class MailArgs(Args):
    """Arguments of mail.send."""

    to: str | list[str]
    subject: str
    text: str = Field(max_length=TEXT_LENGTH_MAX)
    html: str | None = Field(default=None, max_length=TEXT_LENGTH_MAX)
    attachments: list[str] = Field(default=[], max_length=ATTACHMENTS_MAX)


class Mail:
    """Sends mail."""

    def __init__(self, server: MailServer | None, sender: str, evidence: EvidenceStore, tls: ssl.SSLContext) -> None:
        """server: none when no mail can be sent from here. Raises: ValueError for a sender that is no address."""
        self._courier = Courier(server, sender, tls) if server is not None else None
        self._evidence = evidence

    async def send(self, order: Order) -> dict[str, str]:
        """The mail's Message-ID, once the mail server has taken it.

        Raises: Failed, InDoubt.
        """
        if self._courier is None:
            raise Failed("NOT_ALLOWED", "no mail server is set for this installation (REGENTE_SMTP_URL)")
        args = read_args(MailArgs, order)
        identity = message_id(order.run, order.seq, self._courier.sender)
        try:
            recipients = checked_recipients(args.to)
            data = await self._letter(self._courier.sender, order, args, recipients, identity)
            await self._courier.send(recipients, data, timeout_s=order.timeout_s)
        except NotSent as error:
            raised = InDoubt if error.doubt else Failed
            raise raised("TIMEOUT" if error.timeout else "FAILED", error.message) from None
        except ValueError as error:
            raise Failed("BAD_ARGUMENT", f"mail.send: {error}") from None
        return {"message_id": identity}

    async def _letter(self, sender: str, order: Order, args: MailArgs, recipients: list[str], identity: str) -> bytes:
        subject = checked_subject(args.subject)
        attachments, size = [], 0
        for proof in args.attachments:
            try:
                found = await self._evidence.read(order.account, proof, size_bytes_max=SIZE_BYTES_MAX - size)
            except BadBlob:
                raise ValueError(f"attachments of more than {SIZE_BYTES_MAX} bytes") from None
            if found is None:
                raise Failed("NOT_FOUND", f"mail.send: the account has no evidence or file {proof[:80]!r}")
            link, data = found
            size += len(data)
            attachments.append(Attachment(link["name"], link["media_type"], data))
        return letter(
            sender=sender, recipients=recipients, subject=subject, text=args.text, html=args.html,
            attachments=attachments, identity=identity, at=now(),
        )  # fmt: skip
