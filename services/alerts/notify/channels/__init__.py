"""How a message reaches people: one class per kind of channel.

Called by: service.py (makes them), sender.py and unstored.py (send). Survives a crash: nothing lives here.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from services.alerts.core.telling import Lane
from services.alerts.notify.channels.mail import Mail
from services.alerts.notify.channels.outcome import Outcome
from services.alerts.notify.channels.web import Poster, Slack, Sms, Webhook
from services.alerts.notify.message import Message
from services.alerts.notify.settings import NotifySettings
from shared.domain.addresses import networks
from shared.domain.mail_server import MailServer
from shared.domain.recipients import ChannelKind
from shared.obs.logs import get_logger
from shared.outbound import Outbound, tls_context
from shared.outbound.resolver import Resolver
from shared.seal import Sealer

EVERYWHERE = "0.0.0.0/0,::/0"
GRACE_S = 5.0
log = get_logger(__name__)


class ChannelSender(Protocol):
    """One way to send."""

    async def send(self, lane: Lane, message: Message, *, timeout_s: float) -> Outcome:
        """Send a message once, within its time. Never raises for what can go wrong on the way."""
        ...


class Channels:
    """All of them."""

    def __init__(self, settings: NotifySettings, sealer: Sealer) -> None:
        """Raises: OSError, ValueError, ssl.SSLError for a setting that can't be used."""
        tls, smtp = tls_context(settings.ca_file), settings.smtp_url.get_secret_value()
        public = Outbound(Resolver(networks(settings.alerts_private_allowed)), tls)
        self.poster = Poster(public, Outbound(Resolver(networks(EVERYWHERE)), tls), sealer)
        self._timeout_s = settings.alerts_send_timeout_s
        self._kinds: dict[ChannelKind, ChannelSender] = {
            ChannelKind.MAIL: Mail(MailServer.of(smtp) if smtp else None, settings.mail_from, tls),
            ChannelKind.WEBHOOK: Webhook(self.poster),
            ChannelKind.SLACK: Slack(self.poster),
            ChannelKind.SMS: Sms(
                self.poster,
                settings.alerts_sms_url.get_secret_value(),
                settings.alerts_sms_body,
                settings.alerts_sms_authorization.get_secret_value(),
            ),
        }

    @property
    def limit_s(self) -> float:
        """How long one attempt takes at most."""
        return self._timeout_s + GRACE_S

    async def send(self, lane: Lane, message: Message) -> Outcome:
        """Send once; a fault of ours is a failed attempt like others, so that it is seen and tried again."""
        try:
            async with asyncio.timeout(self.limit_s):
                return await self._kinds[lane.channel.kind].send(lane, message, timeout_s=self._timeout_s)
        except TimeoutError:
            return Outcome(False, error=f"not sent within {self.limit_s:g} s", doubt=True)
        except Exception as error:
            log.exception("a channel failed", notification=message.id, kind=lane.channel.kind.value)
            return Outcome(False, error=f"a fault of this service: {type(error).__name__}", doubt=True)

    def close(self) -> None:
        """Let go of what is held."""
        self.poster.close()
