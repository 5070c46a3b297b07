"""The header Idempotency-Key, and what makes two requests the same.

Called by: claims.py, api.py. Pure. Source: draft-ietf-httpapi-idempotency-key-header, which makes the value a
structured-field string (RFC 8941, section 3.3.3): `"8e03978e-40d5"`. The bare text without quotes, which most clients
send, is the same key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

LENGTH_MAX = 255
_BARE = re.compile(r"^[\x21\x23-\x7e]+$")
_QUOTED = re.compile(r'^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$')


class BadKey(ValueError):
    """The header is no key; the text says what one looks like."""


def read_key(values: Sequence[str]) -> str | None:
    """The key in the values of the header, or none when it was not sent.

    Raises: BadKey.
    """
    if not values:
        return None
    if len(values) > 1:
        raise BadKey("send one Idempotency-Key, not several")
    text = values[0].strip(" \t")
    quoted = _QUOTED.match(text)
    key = re.sub(r'\\(["\\])', r"\1", quoted.group(1)) if quoted else text
    if not quoted and not _BARE.match(text):
        raise BadKey("an Idempotency-Key is visible ASCII characters, such as a UUID, in double quotes or bare")
    if not 1 <= len(key) <= LENGTH_MAX:
        raise BadKey(f"an Idempotency-Key has 1 to {LENGTH_MAX} characters; yours has {len(key)}")
    return key


def claim_id(account: str, kind: str, key: str) -> str:
    """The _id of what is kept of a key. kind: `header`, or what else gave the key, so that they never meet."""
    return f"{account}/{hashlib.sha256(f'{kind}:{key}'.encode()).hexdigest()}"


def fingerprint(method: str, target: str, digest: str) -> str:
    """What must be the same when a key comes again. target: path and query. digest: of the content, in hex."""
    return hashlib.sha256(f"{method} {target}\n{digest}".encode()).hexdigest()
