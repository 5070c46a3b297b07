"""Where partners are told of outcomes: an endpoint's name, address, secrets and signing keys, and who signs when.

Called by: delivery (its API, its signatures), console (its API; operators write the same documents). Pure; a new
secret's bytes are an argument. Source of the forms: the Standard Webhooks specification, "Signature scheme"
(`whsec_` and base64 of 24 to 64 bytes; `whsk_` and `whpk_` and base64 of an ed25519 key, the private one followed by
its public one). An address that is written as one (not as a name) is refused here when it leads into a network that is
not allowed; where a name leads is looked at before each attempt (shared/outbound).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.domain.addresses import BadHost, Network, literal, refusal

WEBHOOK = "webhook"
"""The kind of an endpoint that names none."""
HMAC, ED25519 = "v1", "v1a"
SECRET_PREFIX, KEY_PREFIX, PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
SECRET_SIZE_BYTES_MIN = 24
SECRET_SIZE_BYTES_MAX = 64
SECRET_SIZE_BYTES_NEW = 32
SEED_SIZE_BYTES = 32
KEPT = 2
"""Secrets, and keys: the newest, and the one before it."""
URL_LENGTH_MAX = 2000
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
SECRET_PURPOSE, KEY_PURPOSE = "endpoint-secret", "endpoint-key"
"""What they are sealed for; the place is the endpoint's id."""


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


def key_pair(seed: bytes) -> tuple[str, str]:
    """The texts of a signing key and of its public key. seed: 32 random bytes.

    Raises: ValueError for another length.
    """
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return KEY_PREFIX + base64.b64encode(seed + public).decode(), PUBLIC_PREFIX + base64.b64encode(public).decode()


def seed_of(key: str) -> bytes:
    """The seed of a signing key's text.

    Raises: ValueError for what is no key.
    """
    data = base64.b64decode(key.removeprefix(KEY_PREFIX), validate=True)
    if not key.startswith(KEY_PREFIX) or len(data) < SEED_SIZE_BYTES:
        raise ValueError(f"a signing key is {KEY_PREFIX} and base64 of 64 bytes")
    return data[:SEED_SIZE_BYTES]


def schemes(endpoint: Mapping[str, Any]) -> list[str]:
    """How an endpoint's webhooks are signed: v1 (HMAC), v1a (ed25519), or both."""
    return list(endpoint.get("signatures") or (HMAC,))


def signing(kept: Sequence[Any], endpoint: Mapping[str, Any], now: datetime) -> list[Any]:
    """Which of an endpoint's secrets (or keys), newest first, sign now: the one before the newest until its time is
    over, so that a partner can change over."""
    until = endpoint.get("overlap_until")
    return list(kept[:1] if until is not None and until <= now else kept[:KEPT])


def url_problem(url: str, allowed: Sequence[Network] = ()) -> str | None:
    """Why a text is no address that webhooks can be posted to, or none. allowed: networks besides public ones."""
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
    if parts.fragment:
        return "an address has no fragment"
    return _host_problem(parts.hostname, allowed)


def _host_problem(host: str, allowed: Sequence[Network]) -> str | None:
    """Why a host that is written as an address may not be called; none for names."""
    try:
        address = literal(host)
    except BadHost as error:
        return str(error)
    why = refusal(address, allowed) if address is not None else None
    return f"{host} is a {why} address; webhooks go to public ones only" if why else None
