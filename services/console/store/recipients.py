"""Who is told of alerts: the recipients of the installation and of accounts, with their sealed secrets.

Owns: collection recipients. Called by: api/recipients.py, pages. Read by: alerts (services/alerts/notify), which also
sends the test messages; a change counts from its next look on. A secret is shown when it was made here, and never
again. Change also: docs/notifications.md, section 'Data' of ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.console.core.access import ALL_ACCOUNTS, Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page
from shared.domain.addresses import networks
from shared.domain.recipients import (
    RECIPIENTS_MAX,
    SECRET_PURPOSE,
    BadRecipient,
    Channel,
    Recipient,
    parse_channel,
    parse_recipient,
    recipient_document,
    stored_channel,
)
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.obs.clock import now
from shared.runtime.signing import new_secret

RECIPIENTS_PER_ACCOUNT_MAX = 200
HIDDEN = {"channels.secret": 0}
"""What is never read for people."""


@dataclass(frozen=True)
class Put:
    """A recipient after a change."""

    document: dict[str, Any]
    secrets: dict[str, str]
    """Those that were made here, by the id of their channel; to be shown this once."""


async def list_recipients(
    context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None
) -> Listed:
    """Recipients without their secrets, the last changed first; account `*`: the installation's, which only users of
    all accounts see."""
    query = viewer.account_filter(account)
    if account == ALL_ACCOUNTS:
        query = {"account": None} if viewer.everywhere else {"account": {"$in": []}}
    return await list_page(context, "recipients", query, by="updated_at", limit=limit, cursor=cursor, projection=HIDDEN)


async def get_recipient(context: Context, viewer: Viewer, account: str, name: str) -> dict[str, Any]:
    """One recipient without its secrets. account: `*` for the installation's.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["recipients"].find_one({"_id": f"{account}/{name}"}, HIDDEN)
    return found(document, viewer, f"recipient {account}/{name}")


async def put_recipient(context: Context, viewer: Viewer, account: str, name: str, fields: Mapping[str, Any]) -> Put:
    """Make a recipient, or put it in place of what was there; a channel that stays keeps its secret.

    fields: as the API takes them. Raises: PermanentError NOT_FOUND (account), INVALID_INPUT, TOO_MANY, CONFLICT
    (somebody else changed it at the same time).
    """
    await _check_account(context, viewer, account)
    id, recipients = f"{account}/{name}", context.mongo["recipients"]
    old = await recipients.find_one({"_id": id})
    if old is None:
        await _check_count(context, account)
    made: dict[str, str] = {}
    try:
        before = parse_recipient(old).channels if old is not None else ()
        channels = _channels(context, id, fields.get("channels") or (), before, made)
        recipient = parse_recipient({**fields, "_id": id, "channels": channels})
    except BadRecipient as error:
        raise PermanentError(ErrorCode.INVALID_INPUT, str(error)) from error
    document = recipient_document(recipient, at=now(), by=viewer.name)
    await _replace(context, old, document)
    details = {
        "channels": [{"kind": one.kind.value, "address": one.address} for one in recipient.channels],
        "enabled": recipient.enabled, "default": recipient.default, "new_secrets": sorted(made),
    }  # fmt: skip
    await audit(
        context.mongo, by=viewer.name, action="recipient.put", target=id, account=recipient.account, details=details
    )
    return Put(document, made)


def _channels(
    context: Context, id: str, sent: Sequence[Mapping[str, Any]], before: Sequence[Channel], made: dict[str, str]
) -> list[dict[str, Any]]:
    """What was sent, as it is stored; secrets that were made for it are noted in `made`.

    Raises: BadRecipient.
    """
    allowed = networks(context.settings.alerts_private_allowed)
    stored: list[dict[str, Any]] = []
    for number, one in enumerate(sent):
        fresh = new_secret()
        sealed: list[str] = []

        def seal(text: str, sealed: list[str] = sealed) -> bytes:
            sealed.append(text)
            return context.sealer.seal(SECRET_PURPOSE, text.encode(), id.encode())

        try:
            channel = stored_channel(parse_channel(one, allowed=allowed), seal=seal, before=before, new_secret=fresh)
        except BadRecipient as error:
            raise BadRecipient([(f"channels.{number}.{path}", said) for path, said in error.errors]) from None
        if fresh in sealed:
            made[channel.id] = fresh
        stored.append(channel.model_dump())
    return stored


async def _replace(context: Context, old: Mapping[str, Any] | None, document: dict[str, Any]) -> None:
    """Store it, if nobody else changed it meanwhile: what keeps its secret keeps the one that was read.

    Raises: PermanentError CONFLICT.
    """
    recipients = context.mongo["recipients"]
    if old is None:
        done = await recipients.update_one({"_id": document["_id"]}, {"$setOnInsert": document}, upsert=True)
        taken = done.upserted_id is not None
    else:
        expected = {"_id": old["_id"], "updated_at": old["updated_at"], "updated_by": old["updated_by"]}
        taken = (await recipients.replace_one(expected, document)).matched_count == 1
    if not taken:
        raise PermanentError(ErrorCode.CONFLICT, f"{document['_id']} was changed at the same time; look at it again")


async def delete_recipient(context: Context, viewer: Viewer, account: str, name: str) -> None:
    """Remove a recipient; messages that wait for it are given up. Rules that name it tell the default ones.

    Raises: PermanentError NOT_FOUND.
    """
    document = await get_recipient(context, viewer, account, name)
    await context.mongo["recipients"].delete_one({"_id": document["_id"]})
    await audit(
        context.mongo, by=viewer.name, action="recipient.delete", target=str(document["_id"]),
        account=document["account"],
    )  # fmt: skip


async def send_test(context: Context, viewer: Viewer, account: str, name: str, channel: str | None) -> Asked:
    """Ask alerts to send a test message. channel: the id of one; none: all of the recipient's.

    Raises: PermanentError NOT_FOUND.
    """
    document = await get_recipient(context, viewer, account, name)
    target = str(document["_id"])
    args = {"recipient": target, **({"channel": channel} if channel else {})}
    return await ask(
        context, viewer, kind="alert.test", to="alerts", target=target, account=document["account"], args=args
    )


def fields_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in a document, as it can be put again: without secrets, which stay as they are; the address of a
    Slack-style channel is one, so it is left empty."""
    kept = Recipient.model_fields.keys() - {"id", "channels", "schema_version"}
    channels = [
        {
            **{name: one[name] for name in ("kind", "min_severity", "rules", "targets")},
            "address": "" if one["kind"] == "slack" else one["address"],
        }
        for one in document["channels"]
    ]
    return {**{name: value for name, value in document.items() if name in kept}, "channels": channels}


async def _check_count(context: Context, account: str) -> None:
    own = {"account": None if account == ALL_ACCOUNTS else account}
    if await context.mongo["recipients"].count_documents(own) >= RECIPIENTS_PER_ACCOUNT_MAX:
        text = f"an account, and the installation, have at most {RECIPIENTS_PER_ACCOUNT_MAX} recipients; remove one"
        raise PermanentError(ErrorCode.TOO_MANY, text)
    if await context.mongo["recipients"].count_documents({}) >= RECIPIENTS_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"all accounts together have at most {RECIPIENTS_MAX} recipients")


async def _check_account(context: Context, viewer: Viewer, account: str) -> None:
    if account == ALL_ACCOUNTS:
        if not viewer.everywhere:
            text = "recipients of the installation are changed by who sees all accounts"
            raise PermanentError(ErrorCode.FORBIDDEN, text)
    elif not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}, {"_id": 1}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
