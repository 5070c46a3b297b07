"""Which robots are there: heartbeats in, `workers` written in bulk, silence noticed, robots' log lines stored.

Owns: the buffer of heartbeats not yet written (losing it costs nothing: the next beat comes in two seconds). Called by:
handlers.py, main.py. Survives a crash: a new process starts counting silence from zero. Several schedulers share the
heartbeats' queue; what they know of one another is what stands in `workers`, so silence is judged by that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.scheduler.core.contact import Contact, Standing, Suspicions, judge, sessions_gone
from services.scheduler.core.enrolment import known_of
from services.scheduler.core.presence import ListeningClock, Stillness
from services.scheduler.store.workers import CONTACT_FIELDS, Beat, WorkerStore
from shared.contracts.messages import WorkerHeartbeat
from shared.domain.worker_state import WORKER, Authorisation, WorkerStatus
from shared.obs.clock import monotonic_s, now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge

BEATS_MAX = 50_000
HEARTBEATS = counter("regente_heartbeats_total", "Heartbeats received, by what they were worth.", ["standing"])
SILENT = counter("regente_robots_silenced_total", "Robots that were called disconnected.", [])
ROBOTS = gauge(
    "regente_robots", "Robots by authorisation, status and connection.", ["authorisation", "status", "connected"]
)

log = get_logger(__name__)


class Presence:
    """Keeps `connected`, `session`, `journal` and `seen` of robots up to date."""

    def __init__(
        self, workers: WorkerStore, *, silent_s: float, grace_s: float, doubt: Callable[[str, str], Awaitable[None]],
        robot_came: Callable[[], None], robot_went: Callable[[], None], clock: Callable[[], float] = monotonic_s,
    ) -> None:  # fmt: skip
        self._workers = workers
        self._silent_s = silent_s
        self._grace_s = grace_s
        self._doubt = doubt
        self._came = robot_came
        self._went = robot_went
        self._clock = clock
        self._beats: dict[tuple[str, str], WorkerHeartbeat] = {}
        self._suspicions = Suspicions()
        self._listening = ListeningClock()
        self._stillness = Stillness()
        self._deaf_until_s = 0.0

    def beat(self, heartbeat: WorkerHeartbeat) -> None:
        """Take a heartbeat; written at the next flush."""
        key = (heartbeat.worker, heartbeat.session)
        before = self._beats.get(key)
        if before is not None and before.beat >= heartbeat.beat:
            return
        if before is None and len(self._beats) >= BEATS_MAX:
            HEARTBEATS.labels("dropped").inc()
            return
        self._beats[key] = heartbeat

    def broker_came_back(self) -> None:
        """Robots need time to log in again: for a while nobody is called silent."""
        self._deaf_until_s = self._clock() + self._grace_s

    async def flush(self) -> None:
        """Judge the heartbeats taken since the last time, and write those that are news."""
        beats, self._beats = self._beats, {}
        if not beats:
            return
        known = await self._workers.workers(sorted({worker for worker, _ in beats}), CONTACT_FIELDS)
        writes: list[Beat] = []
        doubts: list[tuple[str, str]] = []
        arrivals = 0
        for heartbeat in beats.values():
            worker = known.get(heartbeat.worker)
            if worker is None or worker["authorisation"] != Authorisation.AUTHORISED:
                HEARTBEATS.labels("unauthorised").inc()
                continue
            doubt = self._judge(worker, heartbeat)
            if doubt is None:
                writes.append(_beat(worker, heartbeat))
                arrivals += not worker["connected"]
            elif doubt:
                doubts.append((heartbeat.worker, doubt))
        await self._workers.write_beats(writes)
        for id, reason in doubts:
            await self._doubt(id, reason)
        if arrivals:
            log.info("robots_connected", count=arrivals)
            self._came()

    async def watch(self, *, broker_connected: bool) -> None:
        """Call robots disconnected whose heartbeat has stood still; raises what the database raises when it is away."""
        now_s = self._clock()
        try:
            workers = await self._workers.connected()
        except Exception:
            self._listening.read(now_s, listening=False)
            raise
        listened_s = self._listening.read(now_s, listening=broker_connected and now_s >= self._deaf_until_s)
        marks = {worker["_id"]: (worker.get("session"), (worker.get("seen") or {}).get("beat")) for worker in workers}
        for id, still_s in self._stillness.observe(marks, listened_s).items():
            if still_s < self._silent_s or not await self._workers.silence(id, *marks[id]):
                continue
            SILENT.inc()
            log.warning("robot_silent", worker=id, still_s=round(still_s, 1))
            self._went()

    async def count(self) -> None:
        """Set the figures about robots."""
        ROBOTS.clear()
        for authorisation, status, connected, n in await self._workers.by_status():
            ROBOTS.labels(authorisation, status, "yes" if connected else "no").set(n)

    def _judge(self, worker: Mapping[str, Any], heartbeat: WorkerHeartbeat) -> str | None:
        """None: it is news; empty: ignore it; else the doubt."""
        now_s = self._clock()
        contact = Contact(heartbeat.session, heartbeat.journal.id, heartbeat.journal.counter, heartbeat.beat)
        suspicious_s = self._suspicions.standing_for_s(heartbeat.worker, heartbeat.session, now_s)
        judgement = judge(known_of(worker), contact, suspicious_for_s=suspicious_s)
        self._suspicions.note(heartbeat.worker, heartbeat.session, judgement.standing, now_s)
        HEARTBEATS.labels(judgement.standing.value).inc()
        return None if judgement.standing is Standing.NEWS else judgement.doubt


def _beat(worker: Mapping[str, Any], heartbeat: WorkerHeartbeat) -> Beat:
    """A heartbeat as it is written over what is known."""
    known = known_of(worker)
    begins = (
        worker["status"] == WorkerStatus.RESERVED and worker.get("run") is not None and heartbeat.run == worker["run"]
    )
    if begins:
        WORKER.check(WorkerStatus.RESERVED, WorkerStatus.RUNNING, owner="scheduler")
    fields: dict[str, Any] = {
        "session": heartbeat.session,
        "journal": {"id": heartbeat.journal.id, "counter": max(heartbeat.journal.counter, known.counter or 0)},
        "sessions_gone": sessions_gone(known, heartbeat.session),
        "connected": True,
        "agent_version": heartbeat.agent_version[:100],
        "seen": {
            "beat": heartbeat.beat, "at": now(), "driver": heartbeat.driver, "run": heartbeat.run, "seq": heartbeat.seq,
            "busy_s": heartbeat.busy_s, "logs_waiting": heartbeat.logs_waiting,
        },
    }  # fmt: skip
    ahead = worker.get("run") is None and heartbeat.epoch > worker["epoch"]
    if ahead:  # removed and enrolled again: it refuses epochs below those it has seen
        fields["epoch"] = heartbeat.epoch
    return Beat(
        worker=worker["_id"], session_before=known.session, beat_before=known.beat, fields=fields,
        begins_run=worker["run"] if begins else None, idle_epoch=worker["epoch"] if ahead else None,
    )  # fmt: skip
