"""Ids: UUIDs of version 7 (RFC 9562, section 5.7), so that what was made later sorts later.

Called by: everything that makes a document or a message. Survives a crash: nothing lives here; after a restart the
clock carries on. Within one process ids are strictly increasing, also within a millisecond.
"""

from __future__ import annotations

import os
import threading
import time

_lock = threading.Lock()
_last = 0


def uuid7() -> str:
    """A new UUIDv7 as 32 hex digits."""
    global _last
    random = int.from_bytes(os.urandom(8), "big")
    stamp = (time.time_ns() // 1_000_000) << 12 | (random >> 52)
    with _lock:
        _last = stamp = stamp if stamp > _last else _last + 1
    return f"{stamp >> 12:012x}7{stamp & 0xFFF:03x}{0x8000000000000000 | random & 0x3FFFFFFFFFFFFFFF:016x}"


def new_id(prefix: str = "") -> str:
    """A new id: `task_` + 32 hex digits, by the prefix given."""
    return prefix + uuid7()
