"""Messages as HTTP requests: signed webhooks, Slack-style webhooks, and the gateway of short messages.

Called by: channels/__init__.py. Survives a crash: nothing; a webhook's id follows from the notification's, so that a
receiver can tell a repeat. Where a request may go is shared/outbound's to say: to public addresses and to networks that
the installation allows; the administrator's own addresses (gateway, settings) are taken as they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus

from services.alerts.core.bundles import Entry
from services.alerts.core.telling import Lane
from services.alerts.notify.channels.outcome import Outcome
from services.alerts.notify.directory import OWN
from services.alerts.notify.message import Message
from services.alerts.notify.render import (
    left_out,
    line,
    listed,
    severity_word,
    short,
    subject,
    summary,
    takes,
    translate,
)
from shared.domain.recipients import SECRET_PURPOSE
from shared.domain.retry_after import retry_after_s
from shared.domain.signature import headers
from shared.obs.clock import now
from shared.outbound import Outbound, OutboundError, Refused, Request, checked_url
from shared.outbound.errors import Broken
from shared.seal import SealBroken, Sealer

ANSWER_SIZE_BYTES_MAX = 2048
ALERTS_MAX = 500
"""Alerts that a webhook names one by one; the list behind `url` has all of them."""
SLACK_LENGTH_MAX = 3500
JSON_TYPE, FORM_TYPE = "application/json; charset=utf-8", "application/x-www-form-urlencoded"


class Poster:
    """Posts, and says what the answer means."""

    def __init__(self, public: Outbound, own: Outbound, sealer: Sealer) -> None:
        """public: for addresses that people gave. own: for the administrator's."""
        self._public = public
        self._own = own
        self._sealer = sealer

    async def post(self, url: str, body: bytes, sent: Mapping[str, str], *, own: bool, timeout_s: float) -> Outcome:
        """Post once."""
        outbound = self._own if own else self._public
        try:
            async with asyncio.timeout(timeout_s):
                request = Request("POST", checked_url(url), dict(sent), body)
                found = await outbound.send(request, size_bytes_max=ANSWER_SIZE_BYTES_MAX, start_only=True)
        except TimeoutError:
            return Outcome(False, error=f"no answer within {timeout_s:g} s", doubt=True)
        except Refused as error:
            return Outcome(False, error=f"not sent: {error.message}")
        except Broken as error:
            return Outcome(False, error=error.message, doubt=error.sent)
        except OutboundError as error:
            return Outcome(False, error=error.message, doubt=True)
        if 200 <= found.status < 300:
            return Outcome(True, status=found.status)
        after_s = retry_after_s(found.headers.get("retry-after"), now())
        return Outcome(False, status=found.status, error=f"it answered {found.status}", retry_after_s=after_s)

    def opened(self, lane: Lane) -> str:
        """A channel's secret. Raises: SealBroken when it has none, or it was sealed with another master key."""
        if lane.channel.secret is None:
            raise SealBroken("the channel has no secret")
        return self._sealer.open(SECRET_PURPOSE, lane.channel.secret, lane.recipient.id.encode()).decode()

    def close(self) -> None:
        """Let the resolvers' threads go."""
        self._public.close()
        self._own.close()


class Webhook:
    """Signed, as Standard Webhooks says."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def send(self, lane: Lane, message: Message, *, timeout_s: float) -> Outcome:
        """Post one."""
        body = json.dumps(webhook_body(message), ensure_ascii=False)
        try:
            id = webhook_id(message.id)
            sent = headers([self._poster.opened(lane)], webhook_id=id, at=now(), body=body)
        except (SealBroken, ValueError):
            return Outcome(False, error="the channel's secret can't be opened with this installation's master key")
        own = lane.recipient.id == OWN
        return await self._poster.post(lane.channel.address, body.encode(), sent, own=own, timeout_s=timeout_s)


class Slack:
    """As Slack's incoming webhooks take it; the address itself is the secret."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def send(self, lane: Lane, message: Message, *, timeout_s: float) -> Outcome:
        """Post one."""
        try:
            url = self._poster.opened(lane)
        except SealBroken:
            return Outcome(False, error="the channel's address can't be opened with this installation's master key")
        body = json.dumps({"text": slack_text(message)}, ensure_ascii=False).encode()
        sent = {"content-type": JSON_TYPE}
        return await self._poster.post(url, body, sent, own=lane.recipient.id == OWN, timeout_s=timeout_s)


class Sms:
    """Short messages, by a gateway that takes HTTP requests."""

    def __init__(self, poster: Poster, url: str, template: str, authorization: str) -> None:
        """url: empty when there is none. template: of the body, with {to} and {text}."""
        self._poster = poster
        self._url = url
        self._template = template
        self._authorization = authorization

    async def send(self, lane: Lane, message: Message, *, timeout_s: float) -> Outcome:
        """Post one."""
        if not self._url:
            return Outcome(False, error="no gateway of short messages is set (REGENTE_ALERTS_SMS_URL)")
        kind, body = sms_body(self._template, lane.channel.address, short(message))
        sent = {"content-type": kind}
        if self._authorization:
            sent["authorization"] = self._authorization
        return await self._poster.post(self._url, body, sent, own=True, timeout_s=timeout_s)


def webhook_id(id: str) -> str:
    """The webhook-id of a notification: the same at every attempt."""
    return "msg_" + hashlib.sha256(id.encode()).hexdigest()[:32]


def webhook_body(message: Message) -> dict[str, Any]:
    """What a webhook's receiver gets."""
    found = message.contents
    return {
        "type": "alerts.notification",
        "timestamp": message.at.isoformat(),
        "data": {
            "id": message.id, "maybe_repeat": message.maybe_repeat, "test": found.only_test,
            "severity": found.worst.value, "subject": subject(message), "url": message.links.digest or None,
            "counts": {
                "alerts": len(found.entries), "firing": len(found.firing), "over": len(found.over),
                "events": found.events,
            },
            "alerts": [_alert(one, message) for one in found.entries[:ALERTS_MAX]],
            "more": max(len(found.entries) - ALERTS_MAX, 0),
        },
    }  # fmt: skip


def _alert(one: Entry, message: Message) -> dict[str, Any]:
    runbook = message.links.runbook.replace("{kind}", one.kind)
    return {
        "id": one.alert, "what": one.what.value, "state": "resolved" if one.over else "firing",
        "severity": one.severity.value, "account": one.account, "rule": one.rule, "kind": one.kind,
        "title": one.title, "target": one.target, "text": one.text, "since": _iso(one.since),
        "resolved_at": _iso(one.resolved_at), "events": one.count, "acknowledged_by": one.acked,
        "runbook": runbook or None,
    }  # fmt: skip


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def slack_text(message: Message) -> str:
    """The text of a Slack-style message: what others wrote can't mention people or make links there."""
    _ = translate(message.language)
    lines = [f"*{_escaped(subject(message))}*", *(_escaped(one) for one in summary(message))]
    kept = len(message.links.digest) + len(message.links.take) + 150
    room, more = SLACK_LENGTH_MAX - sum(len(one) + 1 for one in lines) - kept, 0
    for _rule, entries in listed(message):
        for one in entries:
            mark = _("over") if one.over else severity_word(one.severity, _)
            said = f"\u2022 [{mark}] {_escaped(line(one, message))}"
            room -= len(said) + 1
            if room < 0:
                more += 1
            else:
                lines.append(said)
    more += left_out(message)
    if more:
        lines.append(_escaped(_("- and {count} more, in the whole list").replace("{count}", str(more))))
    if takes(message):
        lines.append(f"<{message.links.take}|{_escaped(_('I look at it'))}>")
    if message.links.digest:
        lines.append(f"<{message.links.digest}|{_escaped(_('The whole list'))}>")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def sms_body(template: str, to: str, text: str) -> tuple[str, bytes]:
    """Media type and body of a gateway's request: JSON when the template is, else a form."""
    as_json = template.lstrip().startswith("{") and not template.lstrip().startswith(("{to}", "{text}"))

    def put(value: str) -> str:
        return json.dumps(value, ensure_ascii=False)[1:-1] if as_json else quote_plus(value)

    made = template.replace("{to}", put(to)).replace("{text}", put(text))  # a number holds no {text}
    return (JSON_TYPE if as_json else FORM_TYPE), made.encode()
