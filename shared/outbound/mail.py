"""One mail, as bytes, to all or none of its recipients, through the installation's mail server.

Called by: executor (mail.send of scripts), delivery (results by mail). Survives a crash: nothing; who sends gives each
mail a Message-ID that a repeat has too. The conversation is led command by command, because what a failure means
depends on how far it went: until DATA nothing was sent, a reply after it is the server's word, and silence after it is
doubt (RFC 5321, 4.2.5 and 6.1). The server is the administrator's, so the rules of addresses do not apply to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence

import aiosmtplib

from shared.domain.letter import checked_address
from shared.domain.mail_server import MailServer

AT_ONCE_MAX = 4
QUIT_S = 2.0


class NotSent(Exception):
    """The mail server did not take a mail, or nobody knows."""

    def __init__(self, message: str, *, doubt: bool, timeout: bool) -> None:
        super().__init__(message)
        self.message = message
        """For people, without anything of the mail."""
        self.doubt = doubt
        """It may have been taken."""
        self.timeout = timeout


class Courier:
    """Sends mails."""

    def __init__(self, server: MailServer, sender: str, tls: ssl.SSLContext, *, at_once_max: int = AT_ONCE_MAX) -> None:
        """Raises: ValueError for a sender that is no address."""
        self.sender = checked_address(sender)
        self._server = server
        self._tls = tls
        self._places = asyncio.Semaphore(at_once_max)

    async def send(self, recipients: Sequence[str], data: bytes, *, timeout_s: float) -> None:
        """Returns when the server has taken the mail.

        Raises: NotSent.
        """
        conversation = _Conversation(self._server, self.sender, self._tls)
        try:
            async with asyncio.timeout(timeout_s), self._places:
                await conversation.lead(recipients, data)
        except (TimeoutError, aiosmtplib.SMTPException, OSError) as error:
            raise _failure(error, conversation.begun, timeout_s) from None


class _Conversation:
    """One connection to the server."""

    def __init__(self, server: MailServer, sender: str, tls: ssl.SSLContext) -> None:
        self._server = server
        self._sender = sender
        self._tls = tls
        self.begun = False
        """DATA was sent."""

    async def lead(self, recipients: Sequence[str], data: bytes) -> None:
        """From the first word to the last."""
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host, port=server.port, timeout=None, use_tls=server.tls == "from the start",
            start_tls=False, tls_context=self._tls, local_hostname=self._sender.rpartition("@")[2],
        )  # fmt: skip
        try:
            await client.connect()
            if server.tls == "starttls":
                await client.starttls()
            if server.user:
                await client.login(server.user, server.password)
            await client.mail(self._sender)
            for recipient in recipients:
                await client.rcpt(recipient)
            self.begun = True
            await client.data(data)
            with contextlib.suppress(TimeoutError, aiosmtplib.SMTPException, OSError):  # it is sent, whatever this says
                async with asyncio.timeout(QUIT_S):
                    await client.quit()
        finally:
            client.close()


def _failure(error: Exception, begun: bool, timeout_s: float) -> NotSent:
    """What a failure means: only a reply of the server to DATA says that nothing was sent."""
    timeout = isinstance(error, TimeoutError)
    if begun and not isinstance(error, aiosmtplib.SMTPDataError):
        return NotSent("the mail server did not say whether it took the mail", doubt=True, timeout=timeout)
    if timeout:
        return NotSent(f"the mail server did not take the mail within {timeout_s:g} s", doubt=False, timeout=True)
    return NotSent(f"the mail server did not take the mail: {_said(error)}", doubt=False, timeout=False)


def _said(error: Exception) -> str:
    """A reply's code and first line, or the kind of failure; never what we sent."""
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return f"it refuses our log-in ({error.code})"
    if isinstance(error, aiosmtplib.SMTPResponseException):
        lines = error.message.splitlines() or [""]
        return f"{error.code} {lines[0][:200]}"
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return "it refuses a recipient"
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return "it offers no STARTTLS or no log-in that we know"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return "no connection to it, or the connection broke"
