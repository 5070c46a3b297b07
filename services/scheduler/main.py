"""Wires the scheduler: stores, loops, consumers, API. Called by: `python -m services.scheduler`."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from services.scheduler.api import REQUEST_SIZE_BYTES_MAX, router
from services.scheduler.broker_view import BrokerView
from services.scheduler.bulk import Bulk
from services.scheduler.closing import Closing
from services.scheduler.config import SchedulerSettings
from services.scheduler.dispatch import Dispatcher
from services.scheduler.handlers import Handlers
from services.scheduler.hints import Hints
from services.scheduler.keys import Keys
from services.scheduler.once import Once
from services.scheduler.presence import Presence
from services.scheduler.recovery import Recovery
from services.scheduler.requests import Requests
from services.scheduler.rights import Rights
from services.scheduler.robots import Robots
from services.scheduler.stalls import Stalls
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.workers import WorkerStore
from services.scheduler.task_requests import TaskRequests
from services.scheduler.versions import Versions
from services.scheduler.worker_logs import WorkerLogs
from services.scheduler.workflow_requests import WorkflowRequests
from shared.broker import Consumer
from shared.broker.admin import BrokerAdmin
from shared.contracts.topology import SCHEDULER_HANDOFFS, WORKER_HEARTBEATS, WORKER_LOGS
from shared.errors import TemporaryError
from shared.runtime.commands import pending
from shared.runtime.http import create_app
from shared.runtime.service import Service, run
from shared.runtime.settings import ServiceSettings
from shared.runtime.sweeper import LONG_TURN_S, Sweeper

HANDOFFS_AT_ONCE = 32
HEARTBEATS_AT_ONCE = 500
LOGS_AT_ONCE = 16
WATCH_S = 0.5
HANDED_OVER_S = 2.0
FIGURES_S = 5.0
COMPARE_AGAIN_S = 0.3
"""First wait before the broker is compared again when its management API did not answer; doubles up to the sweep."""


class Scheduler(Service):
    """The process of the scheduler."""

    name = "scheduler"
    settings: SchedulerSettings
    _compare_again_s = COMPARE_AGAIN_S

    def __init__(self, settings: ServiceSettings) -> None:
        super().__init__(settings)
        self._wire()

    def app(self) -> FastAPI:
        """The robots' API: enrolment."""
        app = create_app(self, title="Regente scheduler", body_size_bytes_max=REQUEST_SIZE_BYTES_MAX)
        app.include_router(router(self.robots, self.rights, self.settings))
        return app

    async def start(self) -> None:
        """Compare the broker with the database first, so that robots can log in; then listen, sweep and dispatch."""
        for sweeper in self._sweepers:
            await sweeper.start()
        self._consumers: list[Consumer] = [
            await self.broker.consume(WORKER_HEARTBEATS, self._handlers.on_heartbeat, prefetch=HEARTBEATS_AT_ONCE),
            await self.broker.consume(WORKER_LOGS, self._handlers.on_log, prefetch=LOGS_AT_ONCE),
            await self.broker.consume(SCHEDULER_HANDOFFS, self._handlers.on_handoff, prefetch=HANDOFFS_AT_ONCE),
        ]
        self.broker.on_connect.append(self._broker_came_back)

    async def stop(self) -> None:
        """Take no more; what is in hand ends, what is not written comes again."""
        for consumer in self._consumers:
            await consumer.cancel()
        for sweeper in self._sweepers:
            await sweeper.stop()
        await self._dispatcher.close()
        await self.presence.flush()
        await self.hints.drain()
        await self._view.close()
        await self._admin.close()

    def _wire(self) -> None:
        """Make the loops and what they call."""
        settings, log = self.settings, self.log
        self.hints = Hints(self.broker)
        self._view = BrokerView(settings.amqp_admin_url, settings.vhost, settings.ca_file)
        self._admin = BrokerAdmin(settings.amqp_admin_url, settings.vhost, settings.ca_file)
        self._compare = Sweeper(
            "scheduler.rights", settings.rights_sweep_s, self._compare_rights, log, turn_s_max=LONG_TURN_S
        )
        workers = WorkerStore(self.mongo)
        self.rights = Rights(workers, self.broker, self._admin, self._view, self.sealer, kick=self._compare.kick)
        self.robots = Robots(
            self.mongo, self.rights, self.hints, pending_max=settings.robots_pending_max, kick=self._robots_changed
        )
        self._dispatch = Sweeper("scheduler.dispatch", settings.dispatch_sweep_s, self._dispatch_all, log)
        self._once = Once(self.mongo, self.hints, kick=self._dispatch.kick)
        self._dispatcher = Dispatcher(
            self.mongo, self.hints, server_runs_max=settings.server_runs_max, wanted=self._once.wanted
        )
        recovery = self.recovery = Recovery(self.mongo, self.hints, kick=self._dispatch.kick)
        self._lost = Sweeper("scheduler.lost", settings.dispatch_sweep_s, recovery.sweep_lost, log)
        self.presence = Presence(
            WorkerStore(self.mongo), silent_s=settings.silent_s, grace_s=settings.reconnect_grace_s,
            doubt=self.robots.doubt, robot_came=self._dispatch.kick, robot_went=self._lost.kick,
        )  # fmt: skip
        closing = Closing(self.mongo, self.hints)
        self._closing = Sweeper("scheduler.closing", settings.closing_sweep_s, closing.sweep, log)
        tasks = TaskRequests(self.mongo, self.hints, kick=self._dispatch.kick)
        bulk = Bulk(self.mongo, self.hints, tasks)
        workflows = WorkflowRequests(self.mongo, kick=self._dispatch.kick, close=self._closing.kick)
        routes = {
            **tasks.routes(),
            **bulk.routes(),
            **workflows.routes(),
            **self.robots.routes(),
            **self._once.routes(),
        }
        self._requests = Requests(self.mongo, self.hints, routes)
        self.stalls = Stalls(self.mongo, self.hints, grace_s=settings.stall_grace_s, wanting_s=settings.wanting_robot_s)
        keys = Keys(self.mongo, self.hints, Versions(QueueStore(self.mongo)))
        self._handlers = Handlers(
            requests=self._requests, recovery=recovery, presence=self.presence,
            logs=WorkerLogs(self.mongo, keep_days=settings.log_keep_days), kick=self._dispatch.kick,
            doubt=self.robots.doubt,
        )  # fmt: skip
        self._sweepers = [
            self._compare,
            Sweeper("scheduler.beats", settings.beats_flush_s, self.presence.flush, log),
            Sweeper("scheduler.watch", WATCH_S, self._watch, log),
            self._lost,
            Sweeper("scheduler.due", settings.dispatch_sweep_s, recovery.sweep_due, log),
            Sweeper("scheduler.handed_over", HANDED_OVER_S, recovery.sweep_handed_over, log),
            Sweeper("scheduler.zombies", settings.zombie_sweep_s, recovery.sweep_zombies, log),
            Sweeper("scheduler.stalls", settings.zombie_sweep_s, self._watch_progress, log),
            self._closing,
            Sweeper("scheduler.keys", settings.keys_sweep_s, keys.sweep, log),
            Sweeper("scheduler.requests", settings.dispatch_sweep_s, self._sweep_requests, log, turn_s_max=LONG_TURN_S),
            Sweeper("scheduler.figures", FIGURES_S, self.presence.count, log),
            self._dispatch,
        ]

    async def _dispatch_all(self) -> None:
        """Open runs until no free robot finds work; one-off runs first, on the robots that people chose for them."""
        await self._once.serve()
        while await self._dispatcher.run_turn():
            pass

    async def _compare_rights(self) -> None:
        """Compare; while the management API is not there (it starts after the broker), soon again."""
        try:
            await self.rights.compare()
            self._compare_again_s = COMPARE_AGAIN_S
        except TemporaryError:
            asyncio.get_running_loop().call_later(self._compare_again_s, self._compare.kick)
            self._compare_again_s = min(self._compare_again_s * 2, self.settings.rights_sweep_s)
            raise

    async def _watch(self) -> None:
        await self.presence.watch(broker_connected=self.broker.connected)

    async def _watch_progress(self) -> None:
        await self.stalls.sweep(listening=self.broker.connected)

    async def _sweep_requests(self) -> None:
        """Requests whose hint was lost, or that had to wait."""
        for command in await pending(self.mongo, "scheduler"):
            await self._requests.work(command["_id"])

    async def _broker_came_back(self) -> None:
        """A broker that was away may have been wiped: robots need their users and queues now."""
        self.presence.broker_came_back()
        self._compare_again_s = COMPARE_AGAIN_S
        self._compare.kick()

    def _robots_changed(self) -> None:
        self._dispatch.kick()
        self._lost.kick()
        self._closing.kick()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run(Scheduler, SchedulerSettings)
