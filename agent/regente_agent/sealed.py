"""Opens arguments that hold secrets: they come sealed with a key that only this robot and the server have.

Called by: engine, for each instruction that says so; supervisor (whether it can). Survives a crash: nothing; the key is
in memory only and comes with each enrolment. Change also: the server's shared/seal/instructions.py, which seals; a test
in the server's repository holds both together.

AES-256-GCM (NIST SP 800-38D) over the arguments' JSON: one byte for the format, 12 bytes of nonce, then ciphertext and
tag. Robot, run, seq and epoch are authenticated with it, so nothing can be moved to another place.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any, Optional

from regente_agent.wire import Instruction

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except BaseException as error:  # no build of it for this machine, or a broken one, which may say so by a panic
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise
    AESGCM = None  # type: ignore[assignment,misc]

FORMAT = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16


class Unopened(Exception):
    """Arguments that this robot can't open; the text says why, without any of them."""


def available() -> bool:
    """Whether this machine can open anything."""
    return AESGCM is not None


def opened(instruction: Instruction, worker: str, key: Optional[str]) -> Instruction:
    """The instruction with its arguments in place. key: of the last enrolment, none when it gave none.

    Raises: Unopened.
    """
    if instruction.sealed is None:
        return instruction
    if AESGCM is None:
        raise Unopened("the package cryptography is not installed on this robot")
    if not key:
        raise Unopened("the server gave this robot no key when it enrolled")
    args = _plain(instruction, worker, key, instruction.sealed)
    return dataclasses.replace(instruction, args=args, sealed=None)


def _plain(instruction: Instruction, worker: str, key: str, text: str) -> "dict[str, Any]":
    place = f"{worker}/{instruction.run}/{instruction.seq}/{instruction.epoch}".encode()
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii"))
        if data[:1] != FORMAT or len(data) < 1 + NONCE_BYTES + TAG_BYTES:
            raise Unopened("the arguments are sealed in a way that this agent does not know: update it")
        cipher = AESGCM(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)))
        plain = cipher.decrypt(data[1 : 1 + NONCE_BYTES], data[1 + NONCE_BYTES :], FORMAT + place)
        args = json.loads(plain.decode("utf-8", "surrogatepass"))
    except InvalidTag:
        raise Unopened("the arguments are sealed for another key or place, or were changed") from None
    except ValueError:
        raise Unopened("the sealed arguments can't be read") from None
    if not isinstance(args, dict):
        raise Unopened("the sealed arguments are no object")
    return args
