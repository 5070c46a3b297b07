"""Requests that are signed instead of carrying a key: Standard Webhooks, from the partner to us.

Called by: auth.py. Survives a crash: nothing lives here. Change also: docs/adr/0020, docs/pushing.md.
Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

The headers are webhook-id, webhook-timestamp and webhook-signature, and Regente-Key, which names the key whose signing
secret was used. Signed is `id.timestamp.payload`, where the payload is `METHOD target` (path and query as sent), a
newline, and the SHA-256 of the body in hex: so the address is covered, and any body can be signed. A request with a
text body and no query may also be signed with the body itself as the payload, which is what senders of webhooks do.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime

from standardwebhooks import Webhook, WebhookVerificationError

KEY_HEADER = "Regente-Key"
TOLERANCE_S = 300
"""The library's own: either way."""
PURPOSE = "key-signing"
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_ID = re.compile(r"^[\x21-\x2d\x2f-\x7e]{1,255}$")
"""Without full stops, which would let the parts of what is signed be cut elsewhere."""
_LATE = "the webhook-timestamp is more than 5 minutes from now"
_SECONDS = re.compile(r"^\d{1,12}$")


NOT_VALID = "this signature is not valid for this request and this key"


class BadSignature(Exception):
    """The request is not signed as it should be; the text may be told."""


def new_secret() -> str:
    """A new signing secret: `whsec_` and 32 random bytes in base64."""
    return f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


def signed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The three headers of a signature.

    Raises: BadSignature when one is missing or malformed.
    """
    found = {name: headers.get(name, "") for name in _HEADERS}
    if missing := [name for name, value in found.items() if not value]:
        raise BadSignature(f"a signed request has the header {missing[0]}")
    if not _ID.match(found["webhook-id"]):
        raise BadSignature("a webhook-id is 1 to 255 visible ASCII characters without full stops")
    if not _SECONDS.match(found["webhook-timestamp"]):
        raise BadSignature("a webhook-timestamp is in whole seconds since 1970")
    return found


def check_time(headers: Mapping[str, str], at: datetime) -> None:
    """Check a signature's time, before anything else is read. headers: as signed_headers gave them. at: now.

    Raises: BadSignature.
    """
    if abs(at.timestamp() - int(headers["webhook-timestamp"])) > TOLERANCE_S + 1:  # verify is exact
        raise BadSignature(_LATE)


def signed_payload(method: str, target: str, body: bytes) -> str:
    """What is signed of a request, between its id and time and the end."""
    return f"{method} {target}\n{hashlib.sha256(body).hexdigest()}"


def verify(secret: str, headers: Mapping[str, str], *, method: str, target: str, body: bytes) -> None:
    """Check a signature.

    secret: `whsec_...`. headers: as signed_headers gave them. target: path and query, as sent.
    Raises: BadSignature.
    """
    payloads: list[str] = [signed_payload(method, target, body)]
    if body and "?" not in target:
        payloads.append(body.decode("utf-8", "replace"))
    for payload in payloads:
        try:
            Webhook(secret).verify(payload, dict(headers), json_parse=False)
        except WebhookVerificationError as error:
            if "timestamp" in str(error).lower():
                raise BadSignature(_LATE) from None
        except ValueError:  # no base64, no comma
            raise BadSignature("the webhook-signature is none: v1,<base64>") from None
        else:
            return
    raise BadSignature(NOT_VALID)
