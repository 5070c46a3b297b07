"""Everything the portal remembers: log-ins and submissions, in one SQLite file.

Owns: the file and all its queries. Called by: demo.portal.pages and demo.portal.switches, from worker threads.
Survives a crash: every call is one committed transaction with synchronous=FULL, so a submission that was counted stays
counted whatever happens to the answer. Change also: demo/run.py, which reads the submissions through `/_demo/submits`.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

SESSIONS_MAX = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    token TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, name TEXT NOT NULL, organisation TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS submits (
    number INTEGER PRIMARY KEY AUTOINCREMENT, registration TEXT NOT NULL, kind TEXT NOT NULL, period TEXT NOT NULL,
    reference TEXT NOT NULL, client TEXT NOT NULL, protocol TEXT NOT NULL UNIQUE, submitted_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS submits_by_registration ON submits (registration);
"""


@dataclass(frozen=True)
class Submit:
    """One submission of the form: it can't be taken back, and the same form sent twice is two of them."""

    number: int
    registration: str
    kind: str
    period: str
    reference: str
    client: str
    protocol: str
    submitted_at: str

    def as_json(self) -> dict[str, str | int]:
        """The fields as `/_demo/submits` shows them."""
        return asdict(self)


class Store:
    """The portal's SQLite file; safe to call from several threads."""

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

    def open_session(self, fingerprint: str, name: str, organisation: str, now: str) -> str:
        """Begin a session for this certificate; returns its cookie's value. The oldest beyond the limit end."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", (token, fingerprint, name, organisation, now)
            )
            self._connection.execute(
                "DELETE FROM sessions WHERE rowid <= (SELECT max(rowid) FROM sessions) - ?", (SESSIONS_MAX,)
            )
        return token

    def has_session(self, token: str, fingerprint: str) -> bool:
        """Is this cookie's session open, and was it begun with this very certificate?"""
        query = "SELECT 1 FROM sessions WHERE token = ? AND fingerprint = ?"
        with self._lock:
            return self._connection.execute(query, (token, fingerprint)).fetchone() is not None

    def close_session(self, token: str) -> None:
        """End the session of this cookie."""
        with self._lock:
            self._connection.execute("DELETE FROM sessions WHERE token = ?", (token,))

    def add_submit(self, registration: str, kind: str, period: str, reference: str, client: str, now: str) -> Submit:
        """Enter one submission and give it its protocol number. There is no way to tell two equal ones apart."""
        protocol = f"{now[:4]}.{secrets.randbelow(10**6):06d}.{secrets.randbelow(10**6):06d}"
        row = (registration, kind, period, reference, client, protocol, now)
        query = (
            "INSERT INTO submits (registration, kind, period, reference, client, protocol, submitted_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        with self._lock:
            number = self._connection.execute(query, row).lastrowid
        assert number is not None
        return Submit(number, *row)

    def submit(self, protocol: str) -> Submit | None:
        """The submission with this protocol number."""
        with self._lock:
            row = self._connection.execute("SELECT * FROM submits WHERE protocol = ?", (protocol,)).fetchone()
        return Submit(**dict(row)) if row else None

    def submits(self, after: int = 0, registration: str | None = None) -> list[Submit]:
        """Submissions numbered above `after`, in order, of one registration or of all."""
        query = "SELECT * FROM submits WHERE number > ? AND (? IS NULL OR registration = ?) ORDER BY number"
        with self._lock:
            rows = self._connection.execute(query, (after, registration, registration)).fetchall()
        return [Submit(**dict(row)) for row in rows]

    def forget_submits(self) -> int:
        """Delete every submission (a switch for tests); returns how many there were."""
        with self._lock:
            return self._connection.execute("DELETE FROM submits").rowcount
