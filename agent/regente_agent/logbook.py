"""This robot's log: each line goes to stderr as JSON at once, and into a store until the server has it.

Owns: REGENTE_AGENT_HOME/logs.db. Called by: every part of the supervisor, from any thread; the link takes bundles out.
Survives a crash: a line is committed before `write` returns (a power cut may lose the last ones: synchronous=NORMAL,
because a robot should not sync its disk for a log line). Line numbers come in blocks from the journal, so a number is
never given out twice whatever is lost here. Change also: wire.py if the bundle's shape changes.

The store is bounded. When it is full, the oldest lines go, and one line stands in their place that says how many.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from regente_agent import wire
from regente_agent.settings import LEVELS

LINES_MAX = 50_000
DROP_AT_ONCE = 1_000
BLOCK = 1_000
BUNDLE_LINES_MAX = 200
BUNDLE_BYTES_MAX = 512 * 1024
EVENT_MAX = 2000
FIELDS_BYTES_MAX = 8_000

Bundle = Tuple[List[int], str, List[Dict[str, Any]]]
"""Numbers of the lines in the store, the journal that numbered them, and the lines."""


class Logbook:
    """The log of one agent; safe to use from any thread."""

    def __init__(
        self,
        path: Path,
        *,
        worker: str,
        journal: str,
        reserve: Callable[[int], int],
        level: str = "info",
        lines_max: int = LINES_MAX,
    ) -> None:
        """`reserve(n)` takes n line numbers for ever and gives the first; `level` is the lowest that is kept."""
        self._worker, self._journal, self._reserve = worker, journal, reserve
        self._level, self._lines_max = LEVELS.index(level), lines_max
        self._lock = threading.Lock()
        self._db = sqlite3.connect(str(path), isolation_level=None, timeout=10, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS lines (n INTEGER PRIMARY KEY, journal TEXT NOT NULL, line TEXT NOT NULL,"
            " stands_for INTEGER NOT NULL DEFAULT 0)"
        )
        self._waiting = int(self._db.execute("SELECT count(*) FROM lines").fetchone()[0])
        self._next = self._last = 0

    @property
    def waiting(self) -> int:
        """How many lines the server does not have yet."""
        return self._waiting

    def write(self, level: str, event: str, **facts: Any) -> None:
        """Log a line. `run`, `task` and `seq` among the facts become fields of their own; values must not be secret."""
        if LEVELS.index(level) < self._level:
            return
        line = _line(level, event, facts)
        shown = dict(line["fields"], worker=self._worker)
        shown.update((k, v) for k, v in line.items() if v is not None and k != "fields")
        print(json.dumps(shown, default=str), file=sys.stderr, flush=True)
        with self._lock:
            self._store(line)

    def bundle(self) -> Optional[Bundle]:
        """The oldest lines that are still to be sent, or None. They stay until `sent` is called."""
        with self._lock:
            rows = self._db.execute(
                "SELECT n, journal, line FROM lines ORDER BY n LIMIT ?", (BUNDLE_LINES_MAX,)
            ).fetchall()
        numbers: List[int] = []
        lines: List[Dict[str, Any]] = []
        size = 0
        for n, journal, text in rows:
            size += len(text)
            if lines and (journal != rows[0][1] or size > BUNDLE_BYTES_MAX):
                break
            numbers.append(n)
            lines.append(dict(json.loads(text), n=n))
        return (numbers, rows[0][1], lines) if rows else None

    def sent(self, numbers: List[int]) -> None:
        """The broker has confirmed these lines: forget them."""
        with self._lock:
            gone = self._db.execute("DELETE FROM lines WHERE n BETWEEN ? AND ?", (numbers[0], numbers[-1])).rowcount
            self._waiting -= gone

    def close(self) -> None:
        """Close the store; what waits is sent after the next start."""
        with self._lock:
            self._db.close()

    def _store(self, line: Mapping[str, Any]) -> None:
        if self._next >= self._last:
            self._next = self._reserve(BLOCK)
            self._last = self._next + BLOCK
        self._db.execute(
            "INSERT INTO lines (n, journal, line) VALUES (?, ?, ?)",
            (self._next, self._journal, json.dumps(line, default=str)),
        )
        self._next += 1
        self._waiting += 1
        if self._waiting > self._lines_max:
            self._drop_oldest(min(DROP_AT_ONCE, self._lines_max // 2) or 1)

    def _drop_oldest(self, count: int) -> None:
        """Put one line in the place of the oldest ones; it takes the number of the newest line that it stands for."""
        rows = self._db.execute("SELECT n, stands_for FROM lines ORDER BY n LIMIT ?", (count + 1,)).fetchall()
        lost = sum(stands_for or 1 for _, stands_for in rows)
        place = rows[-1][0]
        notice = _line(
            "warning", f"{lost} log lines were dropped here: the server did not take them in time", {"dropped": lost}
        )
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM lines WHERE n < ?", (place,))
        self._db.execute("UPDATE lines SET line=?, stands_for=? WHERE n=?", (json.dumps(notice), lost, place))
        self._db.execute("COMMIT")
        self._waiting -= len(rows) - 1


def _line(level: str, event: str, facts: Mapping[str, Any]) -> Dict[str, Any]:
    """A line as it travels, but for its number. Facts that are too long for a log are cut, and say so."""
    fields = {k: v for k, v in facts.items() if k not in ("run", "task", "seq")}
    if len(json.dumps(fields, default=str)) > FIELDS_BYTES_MAX:
        fields = {k: str(v)[:500] for k, v in list(fields.items())[:12]}
        fields["cut"] = True
    line: Dict[str, Any] = {"at": wire.utc_now(), "level": level, "event": event[:EVENT_MAX]}
    line.update({k: facts.get(k) for k in ("run", "task", "seq")})
    line["fields"] = fields
    return line
