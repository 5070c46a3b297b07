"""Who this robot is: its MAC addresses and a random key of its own.

Owns: REGENTE_AGENT_HOME/key. Called by: __main__, enrolment. Survives a crash: the key is written under another name
and moved into place, so it is whole or absent; absent means a new one, and the server then asks a person again.
Change also: nothing; the server keeps only a hash of the key.
"""

from __future__ import annotations

import os
import secrets
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

KEY_BYTES = 32
_INTERFACES = Path("/sys/class/net")


@dataclass(frozen=True)
class Identity:
    """What the server knows a robot by."""

    worker: str
    """The primary MAC address in hex: the robot's id."""
    addresses: List[str]
    """All MAC addresses of the machine, the primary one first."""
    key: bytes
    """32 random bytes: the same address with another key is refused."""
    name: str
    """For people."""


def load(home: Path, address: Optional[str], name: Optional[str]) -> Identity:
    """Read or make the identity. `address` stands for the primary MAC address if given."""
    found = _mac_addresses()
    primary = address or (found[0] if found else f"{uuid.getnode():012x}")
    others = [other for other in found if other != primary]
    return Identity(primary, [primary, *others[:31]], _key(home / "key"), name or socket.gethostname())


def _mac_addresses() -> List[str]:
    """MAC addresses of real interfaces, by name; empty where the system does not list them."""
    found: List[str] = []
    for interface in sorted(_INTERFACES.glob("*")) if _INTERFACES.is_dir() else []:
        try:
            plain = (interface / "address").read_text().strip().replace(":", "").lower()
        except OSError:
            continue
        if len(plain) == 12 and plain.strip("0") and plain not in found:
            found.append(plain)
    return found


def _key(path: Path) -> bytes:
    """The key, made once and readable by this user only.

    Raises: ValueError when the file holds something else, so that a damaged key is not replaced unseen.
    """
    if not path.exists():
        part = path.with_name("key.part")
        if part.exists():
            part.unlink()
        with os.fdopen(os.open(str(part), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.replace(str(part), str(path))
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} holds {len(key)} bytes instead of {KEY_BYTES}: remove it to enrol as a new robot")
    return key
