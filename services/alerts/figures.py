"""Figures of the database for /metrics, read now and then by the instance that leads; the others show none.

Called by: main.py, by a sweeper; a scrape reads memory only. Owns nothing. Survives a crash: the next leader reads
anew. A part that can't be read shows nothing until it can, rather than what was so once. Change also: reads/figures.py.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Gauge

from services.alerts.reads.figures import FigureReads, Labelled
from shared.mongo import Mongo
from shared.obs.clock import now
from shared.obs.metrics import gauge

TASKS = gauge(
    "tasks", "Tasks that are not final, by state, each counted up to 10000.", ["account", "workflow", "state"]
)
OLDEST = gauge(
    "task_oldest_age_seconds", "Age of the task that waits longest of those next in line; 0: none waits.",
    ["account", "workflow"],
)  # fmt: skip
USED = gauge("limit_used", "Tasks counted against a limit in its current period.", ["account", "workflow", "per"])
MOST = gauge("limit_max", "Tasks that a limit allows in a period.", ["account", "workflow", "per"])
RUNS = gauge("runs", "Runs that are not final, by state, each counted up to 10000.", ["state"])
DELIVERIES = gauge("deliveries", "Deliveries that have not arrived, by state, each counted up to 10000.", ["state"])
QUESTIONS = gauge("questions_open", "What waits for people: open decisions, tasks in doubt.", ["kind"])
MEMBERS = gauge("mongo_members", "Members of the replica set, by state.", ["state"])
LAG = gauge("mongo_replication_lag_seconds", "How far a member is behind the primary.", ["member"])
CONNECTIONS = gauge("mongo_connections", "Connections of the primary: current, available.", ["kind"])
OPLOG = gauge("mongo_oplog_window_seconds", "Time that the primary's log of operations covers.", ["member"])
LEADS = gauge("figures_leads", "1 while this instance reads the figures of the database.")
ALL = (TASKS, OLDEST, USED, MOST, RUNS, DELIVERIES, QUESTIONS, MEMBERS, LAG, CONNECTIONS, OPLOG)


class Figures:
    """Reads and shows."""

    def __init__(self, mongo: Mongo, leads: Callable[[], bool]) -> None:
        """leads: whether this instance is the one that reads."""
        self._reads = FigureReads(mongo)
        self._leads = leads

    async def show(self) -> None:
        """Set all figures; without the lead: have none, so that a sum over instances counts everything once.

        Raises: PyMongoError, TimeoutError: then nothing is shown.
        """
        LEADS.set(int(self._leads()))
        if not self._leads():
            self.clear()
            return
        try:
            await self._read()
        except BaseException:
            self.clear()
            raise

    def clear(self) -> None:
        """Show nothing."""
        for one in ALL:
            one.clear()

    async def _read(self) -> None:
        reads, at = self._reads, now()
        workflows, more = await reads.workflows()
        used, most = await reads.limits(workflows, at)
        replicas = await reads.replicas()
        found: list[tuple[Gauge, Labelled]] = [
            (TASKS, await reads.tasks(workflows, more=more)), (OLDEST, await reads.oldest(workflows, at)),
            (USED, used), (MOST, most), (RUNS, await reads.runs()), (DELIVERIES, await reads.deliveries()),
            (QUESTIONS, await reads.questions()), (MEMBERS, replicas.states), (LAG, replicas.lags_s),
            (CONNECTIONS, replicas.connections), (OPLOG, replicas.oplog_window_s),
        ]  # fmt: skip
        for figure, values in found:  # without an await: a scrape never sees half of it
            figure.clear()
            for labels, value in values.items():
                figure.labels(*labels).set(value)
