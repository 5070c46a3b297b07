"""A real SMTP server (aiosmtpd) of the test, and notify in this process, to be taken step by step."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from services.alerts.config import AlertsSettings
from services.alerts.notify.service import Notify
from services.alerts.store import AlertStore
from shared.domain.addresses import networks
from shared.domain.recipients import (
    SECRET_PURPOSE,
    parse_channel,
    parse_recipient,
    recipient_document,
    stored_channel,
)
from shared.mongo import Mongo
from shared.obs.clock import now
from shared.seal import Sealer
from tests.integration.scheduler.conftest import World

SECRET = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
LOCAL = "127.0.0.0/8"
ANN, BOB = "ann@acme.example", "bob@acme.example"


@dataclass
class Post:
    """What came."""

    port: int = 0
    got: list[tuple[str, EmailMessage]] = field(default_factory=list)
    """Address and mail."""
    secured: list[bool] = field(default_factory=list)
    refuse: list[str] = field(default_factory=list)
    """What the next messages are answered instead of being taken."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        """One mail."""
        if self.refuse:
            return self.refuse.pop(0)
        content = envelope.content
        found = message_from_bytes(content if isinstance(content, bytes) else b"", policy=default)
        assert isinstance(found, EmailMessage)
        self.secured.append(server.transport.get_extra_info("ssl_object") is not None)
        self.got += [(to, found) for to in envelope.rcpt_tos]
        return "250 taken"

    def subjects(self, to: str = ANN) -> list[str]:
        """Of the mails to an address, in their order."""
        return [mail["subject"] for address, mail in self.got if address == to]

    def text(self, n: int = -1) -> str:
        """The text of a mail."""
        body = self.got[n][1].get_body(("plain",))
        assert body is not None
        return str(body.get_content())


@asynccontextmanager
async def post_office(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Post]:
    """The server while the test runs. starttls, tls: with a certificate, upgraded on request, or from the start."""
    post, loop = Post(), asyncio.get_running_loop()

    def conversation() -> SMTP:
        return SMTP(
            post, loop=loop, hostname="mail.test", tls_context=starttls, require_starttls=starttls is not None,
            enable_SMTPUTF8=True,
        )  # fmt: skip

    server = await loop.create_server(conversation, "127.0.0.1", 0, ssl=tls)
    post.port = server.sockets[0].getsockname()[1]
    try:
        yield post
    finally:
        server.close()
        await server.wait_closed()


@dataclass
class Telling:
    """Notify in this process, and who is told."""

    world: World
    settings: AlertsSettings
    notify: Notify

    @classmethod
    def of(cls, world: World, *, mongo: Mongo | None = None, **settings: Any) -> Telling:
        """As the service makes it, but for its loops. settings: over those of the tests."""
        quick = {"instance": "alerts-1", "alerts_retry_s": 0.01, "alerts_private_allowed": LOCAL, **settings}
        made = AlertsSettings(**{**world.settings, "mail_from": "regente@acme.example", **quick})
        handle = mongo or world.mongo
        notify = Notify(
            handle, Sealer(made.master_key_bytes), made, AlertStore(handle), leads=lambda: True,
            evaluated_s_ago=lambda: 0.0, evaluate_s=5.0, keep_days=400,
        )  # fmt: skip
        return cls(world, made, notify)

    async def recipient(self, id: str = "*/ops", channel: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Store one, as the console does; told at once where nothing else is said."""
        sealer = Sealer(self.settings.master_key_bytes)
        kept = stored_channel(
            parse_channel(channel or {"kind": "mail", "address": ANN}, allowed=networks(LOCAL)),
            seal=lambda text: sealer.seal(SECRET_PURPOSE, text.encode(), id.encode()), before=(), new_secret=SECRET,
        )  # fmt: skip
        given = {"group_wait_s": 0, "group_interval_s": 0, "rate": {"messages": 100, "per_s": 60}, **fields}
        document = recipient_document(
            parse_recipient({"_id": id, "channels": [kept.model_dump()], **given}), at=now(), by="test"
        )
        await self.world.mongo["recipients"].replace_one({"_id": id}, document, upsert=True)

    async def step(self) -> None:
        """Plan, close, send: once."""
        await self.notify.planner.sweep()
        await self.notify.closing.sweep()
        await self.notify.sender.sweep()

    async def look_again(self, **query: Any) -> None:
        """As if the time had come at which alerts are looked at again."""
        await self.world.mongo["alerts"].update_many(
            {"notify.to": "notify", **query}, {"$set": {"notify.due_at": now(), "notify.lanes.$[].at": now()}}
        )

    async def all(self, **query: Any) -> list[dict[str, Any]]:
        """Notifications, in the order of their opening."""
        return await self.world.mongo["notifications"].find(query).sort("opened_at", 1).to_list(None)
