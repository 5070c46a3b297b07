"""The three headers of a webhook.

Called by: delivery (webhooks), alerts (messages). Pure: the time is an argument. HMAC by the Standard Webhooks
project's own library; ed25519, which that library does not have, as its specification says: the same text is signed,
marked v1a. Source:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md ("Signature scheme")
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

from shared.domain.endpoint import ED25519, seed_of

USER_AGENT = "Regente/1"


def headers(
    secrets: Sequence[str], keys: Sequence[str] = (), *, webhook_id: str, at: datetime, body: str
) -> dict[str, str]:
    """Headers of one attempt. secrets: `whsec_` texts; keys: `whsk_` texts; newest first. Each of them signs, so that a
    partner can change over.

    Raises: ValueError without any, or for one that is none.
    """
    if not secrets and not keys:
        raise ValueError("the endpoint has no secret")
    whole = at.astimezone(UTC).replace(microsecond=0)
    signatures = [Webhook(secret).sign(webhook_id, whole, body) for secret in secrets]
    signed = f"{webhook_id}.{int(whole.timestamp())}.{body}".encode()
    signatures += [f"{ED25519},{_ed25519(key, signed)}" for key in keys]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(whole.timestamp())),
        "webhook-signature": " ".join(signatures),
        "content-type": "application/json; charset=utf-8",
        "user-agent": USER_AGENT,
    }


def _ed25519(key: str, signed: bytes) -> str:
    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(seed_of(key)).sign(signed)).decode()
