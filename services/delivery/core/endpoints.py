"""What an endpoint may be: its name, its address, its secret.

Called by: api.py. Pure; a new secret's bytes are an argument. Source of the secrets' form: the Standard Webhooks
specification (`whsec_` and base64 of 24 to 64 bytes). The check of where an address leads (a partner must not make us
call our own network) belongs before the request in sender.py as well: names can resolve to something else later.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlsplit

SECRET_PREFIX = "whsec_"
SECRET_SIZE_BYTES_MIN = 24
SECRET_SIZE_BYTES_MAX = 64
SECRET_SIZE_BYTES_NEW = 32
SECRETS_KEPT = 2
URL_LENGTH_MAX = 2000
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
SEAL_PURPOSE = "endpoint-secret"


def secret_text(data: bytes) -> str:
    """The text of a secret with these bytes."""
    return SECRET_PREFIX + base64.b64encode(data).decode()


def secret_problem(text: str) -> str | None:
    """Why a text is no secret, or none. The text itself is never repeated."""
    if not text.startswith(SECRET_PREFIX):
        return f"a secret begins with {SECRET_PREFIX}"
    try:
        data = base64.b64decode(text[len(SECRET_PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        return f"a secret is {SECRET_PREFIX} and base64"
    if not SECRET_SIZE_BYTES_MIN <= len(data) <= SECRET_SIZE_BYTES_MAX:
        return f"a secret has {SECRET_SIZE_BYTES_MIN} to {SECRET_SIZE_BYTES_MAX} bytes, not {len(data)}"
    return None


def url_problem(url: str) -> str | None:
    """Why a text is no address that webhooks can be posted to, or none."""
    if len(url) > URL_LENGTH_MAX:
        return f"an address has at most {URL_LENGTH_MAX} characters"
    if not url.isascii() or any(char.isspace() or not char.isprintable() for char in url):
        return "an address is printable ASCII without white space"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "this is no address"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "an address is https://host/path (or http://)"
    if parts.username is not None or parts.password is not None:
        return "an address holds no user or password"
    return "an address has no fragment" if parts.fragment else None
