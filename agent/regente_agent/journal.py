"""What this robot did: the reason why nothing is done twice.

Owns: REGENTE_AGENT_HOME/journal.db. Called by: the engine, from its one thread. Survives a crash: everything; an act's
row is committed before the act begins and its outcome after, with synchronous=FULL, so after a power cut an act is
either unknown and was not begun, or known and answered from here. WAL is used because a commit is then one write and
one sync instead of three; it needs a local disk. Change also: the property test of this module holds a slow model
beside it.

Rules (`admit` applies them in this order):
- an epoch lower than the highest one seen is refused, and so is another run under the same epoch;
- instructions of an ended run are refused;
- a known act is answered again, never done again; another instruction under its (run, seq) is refused;
- a run whose desktop was lost (driver died or was killed, agent restarted) is refused;
- an unknown act below the run's highest seq is refused: it is an old message, or its entry was dropped;
- a read is simply done, as often as it is asked.
Arguments are never written here, only a keyed hash of the instruction.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Union

from regente_agent.wire import Instruction

ACTS_MAX = 20_000
RUNS_MAX = 1_000
PRUNE_EVERY = 100
"""Entries between two looks at the limits: counting is not free."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, epoch INTEGER NOT NULL, state TEXT NOT NULL,
    seq_max INTEGER NOT NULL, counter INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS acts (run TEXT NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, digest TEXT NOT NULL,
    state TEXT NOT NULL, reply TEXT, counter INTEGER NOT NULL, PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS acts_by_age ON acts (counter);
"""


class Session(str, Enum):
    """Whether the desktop that a run's setup prepared is still there."""

    LIVE = "live"
    """Its driver runs."""
    LOST = "lost"
    """Its driver died or was killed: the run can't go on here."""
    ENDED = "ended"
    """The server has stored the run's outcome and wants nothing more of it."""


class Refusal(str, Enum):
    """Why an instruction is not even tried; travels as the reply's error code."""

    STALE_EPOCH = "STALE_EPOCH"
    """The robot has been reserved again since."""
    RUN_ENDED = "RUN_ENDED"
    """The run is over."""
    UNKNOWN_SEQ = "UNKNOWN_SEQ"
    """An act at or below the highest seq that the journal does not hold."""
    SESSION_LOST = "SESSION_LOST"
    """The run's desktop is gone."""
    BUSY = "BUSY"
    """Another instruction is in flight."""
    MALFORMED = "MALFORMED"
    """Another instruction was done under this (run, seq), or the message can't be read."""
    SEALED = "SEALED"
    """The arguments can't be opened here."""


@dataclass(frozen=True)
class Refuse:
    """Do not act; say why."""

    code: Refusal
    text: str


@dataclass(frozen=True)
class Repeat:
    """Do not act; this is what came of it."""

    reply: Dict[str, Any]


@dataclass(frozen=True)
class Go:
    """Act. An act stands in the journal as started by now."""

    fresh: bool
    """The first instruction of a reservation: it needs a desktop of its own."""


Verdict = Union[Refuse, Repeat, Go]


class Journal:
    """The journal of one agent, for one thread; `reserve_lines`, `counter`, `epoch` and `id` are for any."""

    def __init__(self, path: Path) -> None:
        """Open or make the journal; acts that were in hand when the last process ended become in doubt."""
        self._db = sqlite3.connect(str(path), isolation_level=None, timeout=10, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._reads_seen: Dict[str, int] = {}
        self._lock = threading.RLock()
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('id', ?)", (secrets.token_hex(16),))
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('counter', 0), ('epoch', 0), ('epoch_run', '')")
            self.id = str(self._meta("id"))
            self.counter = int(self._meta("counter"))
            self.epoch = int(self._meta("epoch"))
            self._count()
            self.recovered = self._recover()

    def close(self) -> None:
        """Close the file; nothing is pending."""
        self._db.close()

    def admit(self, instruction: Instruction, digest: str) -> Verdict:
        """Decide about an instruction by the rules above; an admitted act is written as started before this returns."""
        refusal = self._fence(instruction)
        if refusal is not None:
            return refusal
        row = self._run(instruction.run)
        if row is not None and row["epoch"] == instruction.epoch and row["state"] == Session.ENDED.value:
            return Refuse(Refusal.RUN_ENDED, "the run has ended")
        known = self._known(instruction, digest)
        if known is not None:
            return known
        fresh = row is None or row["epoch"] < instruction.epoch
        if not fresh and row is not None and row["state"] == Session.LOST.value:
            return Refuse(Refusal.SESSION_LOST, "the desktop that the run's setup prepared is gone")
        below = self._below(instruction)
        if below is not None:
            return below
        self._begin(instruction, digest, fresh)
        return Go(fresh)

    def look_up(self, instruction: Instruction, digest: str) -> Optional[Verdict]:
        """The answer that needs no desk: a refusal or a repeated reply; None when it would have to be done."""
        refusal = self._fence(instruction)
        return refusal or self._known(instruction, digest)

    def look_up_unopened(self, instruction: Instruction) -> Optional[Union[Refuse, Repeat]]:
        """What is known of an instruction whose arguments can't be read; None when it was surely not done here."""
        refusal = self._fence(instruction)
        if refusal is not None:
            return refusal
        row = self._run(instruction.run)
        state = row["state"] if row is not None and row["epoch"] == instruction.epoch else None
        if state == Session.ENDED.value:
            return Refuse(Refusal.RUN_ENDED, "the run has ended")
        act = self._db.execute(
            "SELECT state, reply FROM acts WHERE run=? AND seq=?", (instruction.run, instruction.seq)
        ).fetchone()
        if act is not None:
            return Refuse(Refusal.BUSY, "the act is in hand") if act[0] == "started" else Repeat(json.loads(act[1]))
        if state == Session.LOST.value:
            return Refuse(Refusal.SESSION_LOST, "the desktop that the run's setup prepared is gone")
        return self._below(instruction)

    def finish(self, run: str, seq: int, reply: Mapping[str, Any]) -> None:
        """Write an act's outcome."""
        with self._transaction():
            counter = self._count()
            self._db.execute(
                "UPDATE acts SET state='done', reply=?, counter=? WHERE run=? AND seq=? AND state='started'",
                (json.dumps(reply), counter, run, seq),
            )

    def lose(self, run: str) -> None:
        """The run's desktop is gone, for good."""
        with self._transaction():
            self._db.execute(
                "UPDATE runs SET state='lost', counter=? WHERE run=? AND state='live'", (self._count(), run)
            )

    def end(self, run: str, epoch: int) -> bool:
        """The run is over on the server: forget its acts, refuse its instructions. False: reserved again since."""
        row = self._run(run)
        if row is not None and row["epoch"] > epoch:
            return False
        with self._transaction():
            counter = self._count()
            self._db.execute("DELETE FROM acts WHERE run=?", (run,))
            self._db.execute(
                "INSERT INTO runs VALUES (?, ?, 'ended', 0, ?) ON CONFLICT (run) DO UPDATE SET epoch=excluded.epoch,"
                " state='ended', counter=excluded.counter",
                (run, epoch, counter),
            )
            if epoch > self.epoch:
                self._raise_epoch(epoch, run)
        return True

    def session(self, run: str) -> Optional[Session]:
        """What became of the run's desktop; None for a run that is not known."""
        row = self._run(run)
        return Session(row["state"]) if row is not None else None

    def live_run(self) -> Optional[str]:
        """The run whose desktop is up, if there is one."""
        row = self._db.execute(
            "SELECT run FROM runs WHERE state='live' AND epoch=? ORDER BY counter DESC", (self.epoch,)
        ).fetchone()
        return str(row[0]) if row else None

    def known_runs(self) -> List[str]:
        """Runs that may still be asked about: their folders are kept."""
        return [str(row[0]) for row in self._db.execute("SELECT run FROM runs WHERE state<>'ended'")]

    def reserve_lines(self, count: int) -> int:
        """Take numbers for log lines; returns the first. They are never given out again, whatever is lost elsewhere."""
        with self._transaction():
            row = self._db.execute("SELECT value FROM meta WHERE name='lines'").fetchone()
            first = int(row[0]) if row else 1
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('lines', ?)", (first + count,))
        return first

    # private

    def _fence(self, instruction: Instruction) -> Optional[Refuse]:
        if instruction.epoch < self.epoch:
            return Refuse(
                Refusal.STALE_EPOCH, f"epoch {instruction.epoch} is below {self.epoch}, which this robot has seen"
            )
        if instruction.epoch == self.epoch and instruction.run != self._meta("epoch_run"):
            return Refuse(Refusal.STALE_EPOCH, f"epoch {instruction.epoch} belongs to another run")
        return None

    def _known(self, instruction: Instruction, digest: str) -> Optional[Verdict]:
        row = self._db.execute(
            "SELECT digest, state, reply FROM acts WHERE run=? AND seq=?", (instruction.run, instruction.seq)
        ).fetchone()
        if row is None:
            return None
        if row[0] != digest:
            return Refuse(Refusal.MALFORMED, f"another instruction stands in the journal under seq {instruction.seq}")
        if row[1] == "started":
            return Refuse(Refusal.BUSY, "the act is in hand")
        return Repeat(json.loads(row[2]))

    def _below(self, instruction: Instruction) -> Optional[Refuse]:
        if instruction.effect == "act" and instruction.seq <= self._seq_max(instruction.run):
            return Refuse(
                Refusal.UNKNOWN_SEQ, f"seq {instruction.seq} is not above what this robot has seen of the run"
            )
        return None

    def _seq_max(self, run: str) -> int:
        row = self._run(run)
        return max(row["seq_max"] if row is not None else 0, self._reads_seen.get(run, 0))

    def _begin(self, instruction: Instruction, digest: str, fresh: bool) -> None:
        if instruction.effect == "read" and not fresh:
            self._reads_seen[instruction.run] = max(self._reads_seen.get(instruction.run, 0), instruction.seq)
            return
        with self._transaction():
            counter = self._count()
            if instruction.epoch > self.epoch:
                self._raise_epoch(instruction.epoch, instruction.run)
            self._db.execute(
                "INSERT INTO runs VALUES (?, ?, 'live', ?, ?) ON CONFLICT (run) DO UPDATE SET epoch=excluded.epoch,"
                " state='live', seq_max=max(seq_max, excluded.seq_max), counter=excluded.counter",
                (instruction.run, instruction.epoch, instruction.seq, counter),
            )
            if instruction.effect == "act":
                self._db.execute(
                    "INSERT INTO acts VALUES (?, ?, ?, ?, 'started', NULL, ?)",
                    (instruction.run, instruction.seq, instruction.epoch, digest, counter),
                )
            if counter % PRUNE_EVERY == 0:
                self._prune()

    def _raise_epoch(self, epoch: int, run: str) -> None:
        """Every run of an earlier reservation has lost its desktop by this."""
        self._db.execute("UPDATE meta SET value=? WHERE name='epoch'", (epoch,))
        self._db.execute("UPDATE meta SET value=? WHERE name='epoch_run'", (run,))
        self._db.execute("UPDATE runs SET state='lost' WHERE state='live'")
        self._reads_seen.clear()
        self.epoch = epoch

    def _recover(self) -> int:
        """After a start: acts in hand are in doubt, desktops are gone. Returns how many acts."""
        reply = {
            "outcome": "in_doubt",
            "error": {"code": "DRIVER_FAILED", "message": "the agent ended while the act was in hand"},
            "desktop": "lost",
        }
        changed = self._db.execute("UPDATE acts SET state='done', reply=? WHERE state='started'", (json.dumps(reply),))
        self._db.execute("UPDATE runs SET state='lost' WHERE state='live'")
        return changed.rowcount

    def _prune(self) -> None:
        """Keep the file bounded: what goes first is what is least likely to be asked for, and is refused if it is."""
        excess = int(self._db.execute("SELECT count(*) FROM acts").fetchone()[0]) - ACTS_MAX
        if excess > 0:
            self._db.execute(
                "DELETE FROM acts WHERE (run, seq) IN (SELECT a.run, a.seq FROM acts a JOIN runs r ON r.run = a.run"
                " WHERE a.state='done' ORDER BY r.epoch = ?, a.counter LIMIT ?)",
                (self.epoch, excess + ACTS_MAX // 100),
            )
        self._db.execute(
            "DELETE FROM runs WHERE epoch < ? AND run NOT IN (SELECT run FROM acts) AND run NOT IN"
            " (SELECT run FROM runs ORDER BY counter DESC LIMIT ?)",
            (self.epoch, RUNS_MAX),
        )

    def _run(self, run: str) -> Optional[Dict[str, Any]]:
        row = self._db.execute("SELECT epoch, state, seq_max FROM runs WHERE run=?", (run,)).fetchone()
        return {"epoch": row[0], "state": row[1], "seq_max": row[2]} if row else None

    def _meta(self, name: str) -> Any:
        return self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()[0]

    def _count(self) -> int:
        self.counter += 1
        self._db.execute("UPDATE meta SET value=? WHERE name='counter'", (self.counter,))
        return self.counter

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db, self._lock)


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT; rolled back on an error, which ends the agent: memory may be ahead of the file."""

    def __init__(self, db: sqlite3.Connection, lock: "threading.RLock") -> None:
        self._db, self._lock = db, lock

    def __enter__(self) -> None:
        self._lock.acquire()
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            self._db.execute("COMMIT" if kind is None else "ROLLBACK")
        finally:
            self._lock.release()
