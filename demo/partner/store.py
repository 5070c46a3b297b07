"""Every delivery the partner ever got, in one SQLite file.

Owns: the file and its queries. Called by: demo.partner.app from worker threads. Survives a crash: one committed
transaction per call with synchronous=FULL; a delivery is answered 2xx only after it. Change also: demo/run.py and
tests, which read `/_demo/received`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from enum import StrEnum
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, webhook_id TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL,
    body BLOB NOT NULL, received_at TEXT NOT NULL, repeats INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS oddities (
    number INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, webhook_id TEXT NOT NULL, reason TEXT NOT NULL,
    sha256 TEXT NOT NULL, received_at TEXT NOT NULL
) STRICT;
"""


class Reception(StrEnum):
    """What a verified delivery turned out to be."""

    NEW = "new"
    """Its webhook-id was never seen."""
    REPEAT = "repeat"
    """The same webhook-id with the same bytes: the sender did not get our answer, which is allowed."""
    CONFLICT = "conflict"
    """The same webhook-id with other bytes: never allowed."""
    REJECTED = "rejected"
    """Not verified: the signature, its time or a header was wrong."""


class Inbox:
    """The partner's SQLite file; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def receive(self, webhook_id: str, body: bytes, now: str) -> Reception:
        """Store a verified delivery once, and say whether it was new."""
        digest = hashlib.sha256(body).hexdigest()
        with self._lock:
            made = self._connection.execute(
                "INSERT INTO deliveries (webhook_id, sha256, body, received_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (webhook_id) DO NOTHING",
                (webhook_id, digest, body, now),
            ).rowcount
            if made:
                return Reception.NEW
            same = self._connection.execute(
                "UPDATE deliveries SET repeats = repeats + 1 WHERE webhook_id = ? AND sha256 = ?", (webhook_id, digest)
            ).rowcount
            if same:
                return Reception.REPEAT
            self._note(Reception.CONFLICT, webhook_id, "the same webhook-id came with other content", digest, now)
        return Reception.CONFLICT

    def reject(self, webhook_id: str, body: bytes, reason: str, now: str) -> None:
        """Note a delivery that could not be verified; its content is not kept."""
        with self._lock:
            self._note(Reception.REJECTED, webhook_id[:200], reason[:500], hashlib.sha256(body).hexdigest(), now)

    def received(self, after: int = 0) -> dict[str, Any]:
        """Counts and contents of everything that came, of deliveries only those numbered above `after`."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT * FROM deliveries WHERE number > ? ORDER BY number", (after,)
            ).fetchall()
            oddities = self._connection.execute("SELECT * FROM oddities ORDER BY number").fetchall()
        odd = [dict(row) for row in oddities]
        return {
            "verified": len(rows),
            "exact_repeats": sum(row["repeats"] for row in rows),
            "conflicts": sum(one["what"] == Reception.CONFLICT for one in odd),
            "rejected": sum(one["what"] == Reception.REJECTED for one in odd),
            "last": rows[-1]["number"] if rows else after,
            "deliveries": [_as_json(row) for row in rows],
            "oddities": odd,
        }

    def forget(self) -> int:
        """Delete everything received (a switch for tests); returns how many deliveries there were."""
        with self._lock:
            self._connection.execute("DELETE FROM oddities")
            return self._connection.execute("DELETE FROM deliveries").rowcount

    def _note(self, what: Reception, webhook_id: str, reason: str, digest: str, now: str) -> None:
        self._connection.execute(
            "INSERT INTO oddities (what, webhook_id, reason, sha256, received_at) VALUES (?, ?, ?, ?, ?)",
            (what.value, webhook_id, reason, digest, now),
        )


def _as_json(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "number": row["number"],
        "id": row["webhook_id"],
        "sha256": row["sha256"],
        "repeats": row["repeats"],
        "received_at": row["received_at"],
        "content": json.loads(row["body"]),
    }
