"""Webhooks: who sent this, was it changed on its way, and what does it say.

Source: the Standard Webhooks specification, https://www.standardwebhooks.com. HMAC is checked by that project's own
library; ed25519 (`whpk_`) needs the package `cryptography`: pip install "regente-client[ed25519]".
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from standardwebhooks import Webhook

from regente_client.errors import WebhookInvalid
from regente_client.models import Task, moment

TOLERANCE_S = 300.0
PUBLIC_PREFIX = "whpk_"
SECRET_PREFIX = "whsec_"


@dataclass(frozen=True)
class Event:
    """A verified webhook."""

    id: str
    """The header webhook-id: the same on every attempt. Remember it to notice repeats."""
    type: str
    """Such as task.succeeded."""
    timestamp: datetime | None
    """When the event was noticed."""
    task: Task | None
    """None for events of other types."""
    data: Any
    """The content as it came."""


def new_secret() -> str:
    """A secret for an endpoint."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def verify(
    headers: Mapping[str, str], body: bytes | str, secret: str | Iterable[str], *, now_s: float | None = None
) -> Event:
    """Check a webhook and read it.

    headers: of the request, in any case. body: its bytes as they came; never parse and write them anew before.
    secret: `whsec_...` (HMAC) or the public key `whpk_...` (ed25519); several while you change over: one must fit.
    now_s: seconds since the epoch; none: now.
    Raises: WebhookInvalid; answer 400 then, and do nothing else.
    """
    plain = {name.lower(): value for name, value in headers.items()}
    id, sent, signatures = (plain.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    if not (id and sent and signatures):
        raise WebhookInvalid("the headers webhook-id, webhook-timestamp and webhook-signature are needed")
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 12):
        raise WebhookInvalid("webhook-timestamp is no number of seconds")
    if abs((time.time() if now_s is None else now_s) - int(sent)) > TOLERANCE_S:
        raise WebhookInvalid("the webhook is too old or too new; check this machine's clock")
    data = body.encode() if isinstance(body, str) else bytes(body)
    keys = [secret] if isinstance(secret, str) else list(secret)
    if not any(_fits(key, id, sent, data, signatures.split()) for key in keys):
        raise WebhookInvalid("no signature fits: it is not from this endpoint, or its body was changed on the way")
    return _event(id, data)


def _fits(key: str, id: str, sent: str, data: bytes, signatures: list[str]) -> bool:
    if key.startswith(PUBLIC_PREFIX):
        signed = f"{id}.{sent}.".encode() + data
        return any(_ed25519(key, signed, one[4:]) for one in signatures if one.startswith("v1a,"))
    try:
        expected = Webhook(key).sign(id, datetime.fromtimestamp(int(sent), tz=timezone.utc), data.decode())
    except UnicodeDecodeError:
        return False
    except Exception as error:
        raise WebhookInvalid("the secret is none: whsec_ and base64") from error
    return any(secrets.compare_digest(expected.encode(), one.encode()) for one in signatures)


def _ed25519(key: str, signed: bytes, signature: str) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise WebhookInvalid('ed25519 needs a package: pip install "regente-client[ed25519]"') from error
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key[len(PUBLIC_PREFIX) :], validate=True))
    except ValueError as error:
        raise WebhookInvalid("the public key is none: whpk_ and base64 of 32 bytes") from error
    try:
        public.verify(base64.b64decode(signature, validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _event(id: str, data: bytes) -> Event:
    try:
        value = json.loads(data)
        kind, content = str(value["type"]), value["data"]
        is_task = kind.startswith("task.") and isinstance(content, dict) and "reference" in content
        return Event(id, kind, moment(value.get("timestamp")), Task.of(content) if is_task else None, content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WebhookInvalid(f"signed, but not an event: {error!r}") from error
