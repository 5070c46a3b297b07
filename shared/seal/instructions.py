"""Sealing what only one robot may read: the arguments of an instruction that holds secrets.

Called by: executor (seals), scheduler (hands the key out at enrolment). Survives a crash: nothing to survive; the key
derives from the master key, the robot and its grant, so a robot that is authorised anew has another one, as it has
another password. Change also: the agent's sealed.py opens what this makes; tests/agent/test_sealed.py holds both
together.

AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits. The instruction's place is authenticated with it, so
sealed arguments can't be moved to another robot, run, instruction or reservation.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.seal import SealBroken, Sealer

PURPOSE = "worker-seal"
_FORMAT = b"\x01"
_NONCE_SIZE_BYTES = 12


def robot_key(sealer: Sealer, worker: str, grant: int) -> str:
    """The key of one robot under one grant: 32 bytes in URL-safe base64 without padding."""
    return sealer.derive(PURPOSE, f"{worker}:{grant}")


def seal_args(key: str, args: Mapping[str, Any], *, worker: str, run: str, seq: int, epoch: int) -> str:
    """Arguments as only the robot with this key reads them: URL-safe base64 of format, nonce, ciphertext and tag."""
    nonce = os.urandom(_NONCE_SIZE_BYTES)
    plain = json.dumps(args, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
    sealed = AESGCM(_bytes(key)).encrypt(nonce, plain, _place(worker, run, seq, epoch))
    return base64.urlsafe_b64encode(_FORMAT + nonce + sealed).decode()


def open_args(key: str, sealed: str, *, worker: str, run: str, seq: int, epoch: int) -> dict[str, Any]:
    """The arguments again, as a robot opens them (for robots of tests).

    Raises: SealBroken when they were changed, belong elsewhere, or were sealed for another key.
    """
    data = base64.urlsafe_b64decode(sealed)
    nonce, rest = data[1 : 1 + _NONCE_SIZE_BYTES], data[1 + _NONCE_SIZE_BYTES :]
    try:
        if data[:1] != _FORMAT:
            raise InvalidTag
        plain = AESGCM(_bytes(key)).decrypt(nonce, rest, _place(worker, run, seq, epoch))
    except InvalidTag:
        raise SealBroken("sealed arguments were changed, or are for another robot, run or instruction") from None
    args: dict[str, Any] = json.loads(plain.decode("utf-8", "surrogatepass"))
    return args


def _place(worker: str, run: str, seq: int, epoch: int) -> bytes:
    return _FORMAT + f"{worker}/{run}/{seq}/{epoch}".encode()


def _bytes(key: str) -> bytes:
    return base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
