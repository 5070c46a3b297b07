"""Recipients: who is told of alerts, by which channels, of what, when, and how often.

Called by: console and cli (check what people write; the console owns the collection `recipients`), alerts (tells).
Pure: moments and sealing are arguments. Change also: docs/notifications.md, services/alerts/notify (sends).

A recipient's id is `<account>/<name>`, or `*/<name>` for one of the installation. A rule names recipients by name: the
alert's account is looked in first, then the installation. What a channel may not show stands sealed in `secret`: a
webhook's `whsec_` text, the whole address of a Slack-style webhook. `stored_channel` is the only way from what a person
sends to what is stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.contracts.settings_file import TimeZone, Window
from shared.domain.addresses import Network
from shared.domain.alert_rules import ACCOUNT, DAY, AlertSeverity
from shared.domain.calendar import calendar_of, is_open, opens_at
from shared.domain.endpoint import secret_problem, url_problem
from shared.domain.letter import checked_address

INSTALLATION = "*"
"""Stands for an account in the ids of the installation's own recipients."""
ID_PATTERN = re.compile(rf"^(?:\*|{ACCOUNT})/[a-z0-9][a-z0-9_-]{{0,62}}$")
RECIPIENTS_MAX = 2000
"""Recipients that an installation may have."""
CHANNELS_MAX = 10
SECRET_PURPOSE = "recipient-secret"
"""What a channel's secret is sealed for; the place is the recipient's id."""
_NUMBER = re.compile(r"^\+[1-9][0-9]{6,14}$")
_CHANNEL_ID = re.compile(r"^(?:mail|webhook|slack|sms)-[0-9a-f]{12}$")
Pattern = Annotated[str, Field(min_length=1, max_length=300)]


class ChannelKind(StrEnum):
    """How people are told."""

    MAIL = "mail"
    """A mail, with HTML and pictures."""
    WEBHOOK = "webhook"
    """A request to a program, signed as Standard Webhooks says."""
    SLACK = "slack"
    """A request as Slack's incoming webhooks take it; others take the same."""
    SMS = "sms"
    """A short message, by the gateway that the settings name."""


class Channel(BaseModel):
    """One way to tell a recipient, as it is stored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = Field(description="From kind and address: the same way keeps its id when the rest is edited.")
    kind: ChannelKind
    address: str = Field(max_length=2000, description="Mail address, number (+5511..) or URL; of Slack only its host.")
    secret: bytes | None = Field(default=None, description="Sealed; webhook: `whsec_` text, slack: the whole URL.")
    min_severity: AlertSeverity = Field(default=AlertSeverity.INFO, description="Nothing less is told.")
    rules: tuple[Pattern, ...] = Field(default=(), max_length=100, description="Ids or patterns of rules; empty: all.")
    targets: tuple[Pattern, ...] = Field(default=(), max_length=100, description="Patterns of targets; empty: all.")

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        if not _CHANNEL_ID.match(value):
            raise ValueError("a channel's id is made by stored_channel")
        return value

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Whether it is told of an alert with these labels (shared/domain/silences.py, `labels_of`)."""
        if AlertSeverity(labels["severity"]).rank < self.min_severity.rank:
            return False
        return all(
            not patterns or any(fnmatchcase(labels.get(name, ""), pattern) for pattern in patterns)
            for name, patterns in (("rule", self.rules), ("target", self.targets))
        )


class ChannelGiven(BaseModel):
    """One way to tell a recipient, as a person writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ChannelKind
    address: str = Field(
        default="", max_length=2000, description="Mail address, number or URL; empty for slack: as stored before."
    )
    secret: str | None = Field(
        default=None, max_length=200, description="webhook: a `whsec_` secret; none: as stored before, or a new one."
    )
    min_severity: AlertSeverity = AlertSeverity.INFO
    rules: tuple[Pattern, ...] = Field(default=(), max_length=100)
    targets: tuple[Pattern, ...] = Field(default=(), max_length=100)


class Hours(BaseModel):
    """When a recipient is told at all; outside only of what is critical. The rest waits for the next window."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timezone: TimeZone = "UTC"
    windows: tuple[Window, ...] = Field(min_length=1, max_length=50)

    def wait_until(self, now: datetime) -> datetime | None:
        """When it is told next; none: now."""
        calendar = calendar_of(self.model_dump(mode="json"))
        return None if is_open(calendar, now) else opens_at(calendar, now)


class Rate(BaseModel):
    """How many messages go out by one channel at most; what is more comes together in the next one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: int = Field(default=6, ge=1, le=1000)
    per_s: float = Field(default=900.0, ge=1, le=DAY)


class Recipient(BaseModel):
    """Somebody who is told of alerts, checked."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    id: str = Field(alias="_id", description="`<account>/<name>`, or `*/<name>` of the installation.")
    title: str = Field(default="", max_length=200)
    language: Literal["en", "pt_BR"] = "en"
    channels: tuple[Channel, ...] = Field(min_length=1, max_length=CHANNELS_MAX)
    hours: Hours | None = Field(default=None, description="None: always.")
    repeat_s: float | None = Field(default=None, ge=60, le=30 * DAY, description="In place of the rules' repeat_s.")
    group_wait_s: float = Field(default=10.0, ge=0, le=3600, description="Gather so long before the first message.")
    group_interval_s: float = Field(default=300.0, ge=0, le=DAY, description="Between messages about the same rule.")
    rate: Rate = Field(default_factory=Rate)
    default: bool = Field(default=True, description="Told of what rules say that name nobody.")
    enabled: bool = True
    schema_version: int = Field(default=1, ge=1)

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        if not ID_PATTERN.match(value):
            raise ValueError("`<account>/<name>` or `*/<name>`, of a-z, 0-9, - and _")
        return value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        ids = [channel.id for channel in self.channels]
        if len(set(ids)) < len(ids):
            raise ValueError("channels: the same address twice")
        return self

    @property
    def account(self) -> str | None:
        """Whose it is; none: the installation's."""
        account = self.id.partition("/")[0]
        return None if account == INSTALLATION else account

    @property
    def name(self) -> str:
        """Without its account."""
        return self.id.partition("/")[2]

    def wait_until(self, severity: AlertSeverity, now: datetime) -> datetime | None:
        """When it may be told of something that bad; none: now."""
        if self.hours is None or severity is AlertSeverity.CRITICAL:
            return None
        return self.hours.wait_until(now)


class BadRecipient(ValueError):
    """What was sent is no recipient; `errors` says where: [(path, message)]."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in errors))
        self.errors = errors


def parse_recipient(document: Mapping[str, Any]) -> Recipient:
    """The recipient of a document.

    Raises: BadRecipient.
    """
    try:
        return Recipient.model_validate(dict(document))
    except ValidationError as error:
        raise BadRecipient([_said(fault) for fault in error.errors()]) from None


def parse_channel(sent: Mapping[str, Any], *, allowed: Iterable[Network] = ()) -> ChannelGiven:
    """A channel as a person sends it, its address checked. allowed: networks besides public ones that may be called.

    Raises: BadRecipient.
    """
    try:
        given = ChannelGiven.model_validate(dict(sent))
    except ValidationError as error:
        raise BadRecipient([_said(fault) for fault in error.errors()]) from None
    wrong = _wrong(given, tuple(allowed))
    if wrong is not None:
        raise BadRecipient([wrong])
    return given


def _wrong(given: ChannelGiven, allowed: tuple[Network, ...]) -> tuple[str, str] | None:
    if given.secret is not None and given.kind is not ChannelKind.WEBHOOK:
        return "secret", "only a webhook has one"
    match given.kind:
        case ChannelKind.MAIL:
            try:
                checked_address(given.address)
            except ValueError as error:
                return "address", str(error)
        case ChannelKind.SMS:
            if not _NUMBER.match(given.address):
                return "address", "a number is + and 7 to 15 digits, its country's first"
        case ChannelKind.WEBHOOK | ChannelKind.SLACK:
            why = url_problem(given.address, allowed) if given.address else None
            if why or (not given.address and given.kind is ChannelKind.WEBHOOK):
                return "address", why or "an address is https://host/path (or http://)"
            wrong = secret_problem(given.secret) if given.secret is not None else None
            if wrong:
                return "secret", wrong
    return None


def channel_id(kind: ChannelKind, address: str) -> str:
    """The id of a channel; address: the whole one."""
    return f"{kind}-{hashlib.sha256(f'{kind}:{address}'.encode()).hexdigest()[:12]}"


def stored_channel(
    given: ChannelGiven, *, seal: Callable[[str], bytes], before: Iterable[Channel], new_secret: str
) -> Channel:
    """A checked channel as it is stored.

    seal: seals a text for SECRET_PURPOSE at the recipient's id. before: the recipient's channels until now: a webhook
    without a secret keeps the one that it has, a slack channel without an address too. new_secret: a fresh `whsec_`
    text, taken by a webhook that has none; the caller shows it once. Raises: BadRecipient.
    """
    known = {channel.id: channel for channel in before}
    fields: dict[str, Any] = {
        "kind": given.kind, "min_severity": given.min_severity, "rules": given.rules, "targets": given.targets,
    }  # fmt: skip
    if given.kind is ChannelKind.SLACK:
        kept = [one for one in known.values() if one.kind is ChannelKind.SLACK]
        if given.address:
            id, secret = channel_id(given.kind, given.address), seal(given.address)
            return Channel(id=id, address=f"https://{urlsplit(given.address).netloc}/", secret=secret, **fields)
        if len(kept) != 1:
            raise BadRecipient([("address", "an address is https://host/path (or http://)")])
        return Channel(id=kept[0].id, address=kept[0].address, secret=kept[0].secret, **fields)
    id = channel_id(given.kind, given.address)
    sealed: bytes | None = None
    if given.kind is ChannelKind.WEBHOOK:
        earlier = known.get(id)
        keeps = given.secret is None and earlier is not None and earlier.secret is not None
        sealed = earlier.secret if keeps and earlier else seal(given.secret or new_secret)
    return Channel(id=id, address=given.address, secret=sealed, **fields)


def recipient_document(recipient: Recipient, *, at: datetime, by: str) -> dict[str, Any]:
    """A recipient as it is stored."""
    fields = recipient.model_dump(mode="json", by_alias=True, exclude={"id", "channels"})
    channels = [
        {**channel.model_dump(mode="json", exclude={"secret"}), "secret": channel.secret}
        for channel in recipient.channels
    ]
    own = {"account": recipient.account, "name": recipient.name}
    return {"_id": recipient.id, **own, **fields, "channels": channels, "updated_at": at, "updated_by": by}


def chosen(names: Iterable[str], account: str | None, known: Mapping[str, Recipient]) -> list[Recipient]:
    """Who is told of an alert of an account (none: of the installation) whose rule names these.

    known: all by id. A name of the account hides the installation's. Names that nobody (enabled) has are passed over;
    when nobody is left, or no names are given, the account's default ones are told, or else the installation's.
    """
    found: dict[str, Recipient] = {}
    for name in names:
        own = known.get(f"{account}/{name}") if account is not None else None
        one = own or known.get(f"{INSTALLATION}/{name}")
        if one is not None and one.enabled:
            found[one.id] = one
    for owner in (account, None):
        if not found:
            found = {one.id: one for one in known.values() if one.enabled and one.default and one.account == owner}
    return list(found.values())


def _said(fault: Mapping[str, Any]) -> tuple[str, str]:
    path = ".".join(str(part) for part in fault["loc"])
    return path or "recipient", str(fault["msg"]).removeprefix("Value error, ")
