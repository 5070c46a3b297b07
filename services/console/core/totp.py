"""The secret of one-time codes, checked when it is stored.

Called by: api/documents.py. Change also: services/executor/core/totp.py, which makes the codes."""

from __future__ import annotations

import base64
import binascii

SECRET_BYTES_MIN = 10
"""80 bits: what many portals give, although RFC 4226 (4, R6) wants 128."""
SECRET_BYTES_MAX = 128


def checked_secret(text: str) -> str:
    """The secret in canonical base32 (RFC 4648), from how portals show it: in groups, in small letters, unpadded.

    Raises: ValueError.
    """
    plain = text.replace(" ", "").replace("-", "").rstrip("=").upper()
    padded = plain + "=" * (-len(plain) % 8)
    try:
        size = len(base64.b32decode(padded))
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is no base32") from error
    if not SECRET_BYTES_MIN <= size <= SECRET_BYTES_MAX:
        raise ValueError(f"it holds {size} bytes; {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} are taken")
    return padded
