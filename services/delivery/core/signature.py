"""The three headers of a webhook, by the Standard Webhooks project's own library.

Called by: sender.py. Pure: the time is an argument. Source: https://github.com/standard-webhooks/standard-webhooks
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

USER_AGENT = "Regente/1"


def headers(secrets: Sequence[str], *, webhook_id: str, at: datetime, body: str) -> dict[str, str]:
    """Headers of one attempt. secrets: `whsec_` texts, newest first; each of them signs, so that a partner can change
    over.

    Raises: ValueError without a secret, or for one that is none.
    """
    if not secrets:
        raise ValueError("the endpoint has no secret")
    whole = at.astimezone(UTC).replace(microsecond=0)
    signatures = [Webhook(secret).sign(webhook_id, whole, body) for secret in secrets]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(whole.timestamp())),
        "webhook-signature": " ".join(signatures),
        "content-type": "application/json; charset=utf-8",
        "user-agent": USER_AGENT,
    }
