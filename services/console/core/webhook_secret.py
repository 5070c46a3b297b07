"""Secrets of delivery endpoints, in the format of the Standard Webhooks specification.

Called by: store/endpoints.py. Source:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md ("whsec_" and base64 of 24
to 64 bytes).
"""

from __future__ import annotations

import base64
import binascii

PREFIX = "whsec_"
SIZE_BYTES_MIN = 24
SIZE_BYTES_MAX = 64


def encode_secret(secret: bytes) -> str:
    """The text of a secret.

    Raises: ValueError for a size that the specification does not allow.
    """
    if not SIZE_BYTES_MIN <= len(secret) <= SIZE_BYTES_MAX:
        raise ValueError(f"a webhook secret has {SIZE_BYTES_MIN} to {SIZE_BYTES_MAX} bytes, not {len(secret)}")
    return PREFIX + base64.b64encode(secret).decode()


def check_secret(text: str) -> str:
    """The same text, when it is a secret.

    Raises: ValueError that says what is wrong, without the text.
    """
    if not text.startswith(PREFIX):
        raise ValueError(f"a webhook secret begins with {PREFIX}")
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"a webhook secret is {PREFIX} and base64") from error
    return encode_secret(secret)
