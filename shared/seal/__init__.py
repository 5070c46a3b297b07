"""Sealing bytes with keys that all derive from one master key, and deriving the secrets of robots from it.

Called by: executor (snapshots, documents, blob tokens), console (documents, endpoints' secrets), delivery (signing
secrets), scheduler (robots' broker passwords). Survives a crash: everything is recomputed from the master key, which
only the settings hold. Losing that key loses what was sealed; there is no way around it, so it belongs in a backup.

AES-256-GCM (NIST SP 800-38D) with random nonces of 96 bits, under keys made by HKDF-SHA256 (RFC 5869), one per
purpose, so that bytes sealed for one purpose never open under another. The first byte names this format.
"""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import RegenteError

MASTER_KEY_SIZE_BYTES = 32
_VERSION = b"\x01"
_NONCE_SIZE_BYTES = 12
_TAG_SIZE_BYTES = 16


class SealBroken(RegenteError):
    """Sealed bytes that were changed, cut, moved to another place, or made with another master key."""


class Sealer:
    """Seals, opens and derives under one master key of 32 bytes.

    Raises: ValueError when the key has another length.
    """

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != MASTER_KEY_SIZE_BYTES:
            raise ValueError(f"the master key has {len(master_key)} bytes; it needs {MASTER_KEY_SIZE_BYTES}")
        self._master_key = master_key
        self._ciphers: dict[str, AESGCM] = {}

    def seal(self, purpose: str, plain: bytes, aad: bytes) -> bytes:
        """Encrypt and authenticate; `aad` is the place where the result belongs, and opening needs the same."""
        nonce = os.urandom(_NONCE_SIZE_BYTES)
        return _VERSION + nonce + self._cipher(purpose).encrypt(nonce, plain, _VERSION + aad)

    def open(self, purpose: str, sealed: bytes, aad: bytes) -> bytes:
        """The plain bytes again.

        Raises: SealBroken when anything differs from what was sealed: the bytes, the place, the purpose, the key.
        """
        start = len(_VERSION) + _NONCE_SIZE_BYTES
        if len(sealed) < start + _TAG_SIZE_BYTES:
            raise SealBroken(f"sealed bytes for {purpose} are too short to be any")
        if sealed[:1] != _VERSION:
            raise SealBroken(f"sealed bytes for {purpose} have the unknown format {sealed[0]}")
        try:
            return self._cipher(purpose).decrypt(sealed[1:start], sealed[start:], _VERSION + aad)
        except InvalidTag:
            raise SealBroken(f"sealed bytes for {purpose} were changed, or made with another master key") from None

    def derive(self, purpose: str, context: str) -> str:
        """A secret of 32 bytes in URL-safe base64 (43 characters): always the same for the same arguments."""
        key = self._key(b"derive", f"{len(purpose)}:{purpose}:{context}".encode())
        return base64.urlsafe_b64encode(key).rstrip(b"=").decode()

    def _cipher(self, purpose: str) -> AESGCM:
        if purpose not in self._ciphers:
            self._ciphers[purpose] = AESGCM(self._key(b"seal", purpose.encode()))
        return self._ciphers[purpose]

    def _key(self, use: bytes, info: bytes) -> bytes:
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=b"regente/" + use, info=info)
        return hkdf.derive(self._master_key)
