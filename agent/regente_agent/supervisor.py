"""The agent as a whole: puts the parts together, watches them, and ends in order.

Owns: the process's life. Called by: __main__. Survives a crash: see journal.py and logbook.py.
Change also: agent/README.md when what an operator sees changes.
"""

from __future__ import annotations

import platform
import secrets
import threading
import time
from typing import Any, Dict

from regente_agent import __version__, identity, processes, sealed
from regente_agent.engine import STOP_GRACE_S, Engine
from regente_agent.journal import Journal
from regente_agent.link import Link
from regente_agent.logbook import Logbook
from regente_agent.settings import Settings

DRIVER_HELLO_S = 20.0
WATCH_S = 0.5
FLUSH_S = 2.0
CLOSE_S = 2.0


class Supervisor:
    """One agent; `run` it once, `stop` it from a signal handler."""

    def __init__(self, settings: Settings) -> None:
        """Open everything that is on disk.

        Raises: OSError or ValueError when the agent's folder can't be used.
        """
        self._settings = settings
        self._who = identity.load(settings.home, settings.address, settings.name)
        self._session = secrets.token_hex(16)
        self._journal = Journal(settings.home / "journal.db")
        self._log = Logbook(
            settings.home / "logs.db",
            worker=self._who.worker,
            journal=self._journal.id,
            reserve=self._journal.reserve_lines,
            level=settings.log_level,
        )
        self._beats = 0
        self._stopping = threading.Event()
        self._link = Link(
            worker=self._who.worker,
            server_url=settings.server_url,
            log=self._log,
            facts=self._facts,
            beat=self._beat,
            on_instruction=lambda delivery: self._engine.post("instruction", delivery),
            on_control=lambda delivery: self._engine.post("control", delivery),
        )
        self._engine = Engine(
            settings=settings,
            worker=self._who.worker,
            session=self._session,
            key=self._who.key,
            journal=self._journal,
            log=self._log,
            send=self._link.reply,
            settle=self._link.settle,
            seal_key=lambda: self._link.seal_key,
        )

    def stop(self) -> None:
        """Ask for the end; returns at once."""
        self._stopping.set()

    def run(self) -> int:
        """Work until stopped; returns the exit code: 0 when asked to stop, 70 when a part broke."""
        self._log.write("info", f"agent {__version__} starts", session=self._session, recovered=self._journal.recovered)
        if self._journal.recovered:
            self._log.write("error", f"{self._journal.recovered} acts were in hand when the last agent ended: in doubt")
        processes.adopt_orphans()
        self._engine.start()
        self._engine.greeted.wait(DRIVER_HELLO_S)
        self._link.start()
        while self._engine.is_alive() and self._link.alive and not self._stopping.wait(WATCH_S):
            pass
        return self._end()

    def _end(self) -> int:
        """Finish what is in hand, say it, leave."""
        self._link.stop_consuming()
        self._engine.post("stop")
        self._engine.join(STOP_GRACE_S + 3)
        failure = self._engine.failure
        broken = failure is not None or not self._stopping.is_set()
        text = (
            f"the agent ends because a part of it broke: {failure!r}" if broken else "the agent ends as it was asked to"
        )
        self._log.write("error" if broken else "info", text)
        self._flush()
        self._link.stop(CLOSE_S)
        return 70 if broken else 0

    def _flush(self) -> None:
        """Give the last log lines a moment to go out; what stays is sent after the next start."""
        end = time.monotonic() + FLUSH_S
        while self._link.connected and self._log.waiting and time.monotonic() < end:
            time.sleep(0.02)

    def _facts(self) -> Dict[str, Any]:
        """What an enrolment says."""
        return {
            "worker": self._who.worker,
            "addresses": self._who.addresses,
            "key": self._who.key.hex(),
            "name": self._who.name,
            "os": f"{platform.system()} {platform.release()}"[:100],
            "agent_version": __version__,
            "drivers": self._engine.drivers,
            "journal": {"id": self._journal.id, "counter": self._journal.counter},
            "epoch": self._journal.epoch,
            "session": self._session,
            "opens_sealed": sealed.available(),
        }

    def _beat(self) -> Dict[str, Any]:
        """What a heartbeat says."""
        self._beats += 1
        return dict(
            self._engine.status(),
            worker=self._who.worker,
            session=self._session,
            journal={"id": self._journal.id, "counter": self._journal.counter},
            beat=self._beats,
            agent_version=__version__,
            logs_waiting=self._log.waiting,
        )
