"""Who can be told, and what nobody is to be told of: recipients and silences, as they were read last.

Called by: planner.py, closing.py, sender.py, unstored.py. Owns nothing: the console writes both. Survives a crash:
nothing; while there is no database, what was read before still stands. Change also: shared/domain/recipients.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from services.alerts.core.telling import Lane, covering
from services.alerts.notify.settings import NotifySettings
from shared.domain.alert_rules import Rule
from shared.domain.recipients import (
    INSTALLATION,
    RECIPIENTS_MAX,
    SECRET_PURPOSE,
    BadRecipient,
    Channel,
    ChannelKind,
    Recipient,
    channel_id,
    chosen,
    parse_recipient,
)
from shared.domain.silences import SILENCES_MAX, BadSilence, Silence, labels_of, parse_silence, silenced_until
from shared.mongo import Mongo
from shared.obs.logs import get_logger
from shared.seal import Sealer

OWN = f"{INSTALLATION}/settings"
"""The recipient that the settings name."""
log = get_logger(__name__)


class Directory:
    """Recipients and silences."""

    def __init__(self, mongo: Mongo, own: Recipient | None) -> None:
        """own: who is told when nobody else is."""
        self._mongo = mongo
        self._own = own
        self._bad: set[str] = set()
        self._known: dict[str, Recipient] = {}
        self._silences: list[Silence] = []
        self._lanes: dict[str, Lane] = {}
        self._set({})
        self.read = False
        """Whether they were ever read."""

    async def refresh(self, now: datetime) -> None:
        """Read both. Raises: PyMongoError; then what was read before stands."""
        documents = await self._mongo["recipients"].find({}).limit(RECIPIENTS_MAX).to_list()
        ends = {"ends_at": {"$gt": now}}
        silences = await self._mongo["silences"].find(ends).limit(SILENCES_MAX).to_list()
        self._set({one.id: one for one in self._recipients(documents)})
        self._silences = list(self._parsed_silences(silences))
        self.read = True

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """Every channel of everybody who is enabled, by id."""
        return self._lanes

    def routes(self, alert: Mapping[str, Any], rule: Rule | None) -> list[Lane]:
        """The lanes that are told of an alert."""
        people = chosen(rule.recipients if rule else (), alert["account"], self._known)
        if not people and self._own is not None:
            people = [self._own]
        return covering([lane for one in people for lane in lanes_of(one)], alert)

    def silenced_until(self, alert: Mapping[str, Any], now: datetime) -> datetime | None:
        """Until when an alert is held back by people; none: it isn't."""
        return silenced_until(labels_of(alert), self._silences, now)

    def _set(self, known: dict[str, Recipient]) -> None:
        self._known = known
        people = [one for one in known.values() if one.enabled] + ([self._own] if self._own else [])
        self._lanes = {lane.id: lane for one in people for lane in lanes_of(one)}

    def _recipients(self, documents: Iterable[Mapping[str, Any]]) -> Iterable[Recipient]:
        for document in documents:
            try:
                yield parse_recipient(document)
            except BadRecipient as error:
                self._tell("recipient", document["_id"], error)

    def _parsed_silences(self, documents: Iterable[Mapping[str, Any]]) -> Iterable[Silence]:
        for document in documents:
            try:
                yield parse_silence(document)
            except BadSilence as error:
                self._tell("silence", document["_id"], error)

    def _tell(self, what: str, id: str, error: Exception) -> None:
        if f"{what}/{id}" not in self._bad:
            log.error(f"{what} can't be used; it is left out", **{what: id}, reason=str(error))
        self._bad.add(f"{what}/{id}")


def lanes_of(recipient: Recipient) -> list[Lane]:
    """One for each channel."""
    return [Lane(recipient, channel) for channel in recipient.channels]


def own_recipient(settings: NotifySettings, sealer: Sealer) -> Recipient | None:
    """Whom the settings name; none: nobody."""

    def seal(text: str) -> bytes:
        return sealer.seal(SECRET_PURPOSE, text.encode(), OWN.encode())

    def channel(kind: ChannelKind, address: str, shown: str, secret: bytes | None = None) -> Channel:
        return Channel(id=channel_id(kind, address), kind=kind, address=shown, secret=secret)

    channels: list[Channel] = []
    if mail := settings.alerts_mail_to:
        channels.append(channel(ChannelKind.MAIL, mail, mail))
    if hook := settings.alerts_webhook_url:
        secret = seal(settings.alerts_webhook_secret.get_secret_value())
        channels.append(channel(ChannelKind.WEBHOOK, hook, hook, secret))
    if slack := settings.alerts_slack_url.get_secret_value():
        channels.append(channel(ChannelKind.SLACK, slack, "slack", seal(slack)))
    if not channels:
        return None
    return Recipient(
        id=OWN, title="REGENTE_ALERTS_MAIL_TO", language=settings.alerts_language, channels=tuple(channels)
    )
