"""Wires the executor: interpreter, robots, lease, consumers, sweeps, API. Called by: `python -m services.executor`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import cached_property
from typing import Any

from fastapi import FastAPI
from pymongo.errors import PyMongoError

from services.executor.api import router
from services.executor.config import ExecutorSettings
from services.executor.evidence import EvidenceStore
from services.executor.handlers import Handlers
from services.executor.interpreter import Interpreter
from services.executor.limits import Limits, RunLimits
from services.executor.matches import Matches
from services.executor.pacing import FLUSH_S, Pacing
from services.executor.pacing_requests import PacingRequests
from services.executor.recovery import Crew
from services.executor.robots import Robots
from services.executor.sealing import Sealing
from services.executor.secrets import Secrets
from services.executor.server import Server
from services.executor.store import ExecutorStore
from services.executor.store_pacing import PacingStore
from services.executor.store_trials import TrialStore
from services.executor.store_waits import WaitStore
from services.executor.tools import Tools
from services.executor.trial_requests import AT_ONCE, TrialRequests
from services.executor.waking import Waking
from shared.broker import Consumer
from shared.contracts.envelope import Message
from shared.contracts.topology import EXECUTOR_HANDOFFS, HANDOFFS, presence_queue, replies_queue
from shared.errors import RegenteError
from shared.mongo.lease import Lease, Watch
from shared.obs.ids import new_id
from shared.runtime.http import create_app
from shared.runtime.service import Service, run
from shared.runtime.sweeper import Sweeper

HANDOFFS_AT_ONCE = 16
REPLIES_AT_ONCE = 200
WATCH_S = 0.4
TRIM_S = 60.0
MATCHES_S = 2.0


class Executor(Service):
    """The process of an executor."""

    name = "executor"
    beats = False  # its lease is what others take its runs over by
    settings: ExecutorSettings

    @cached_property
    def id(self) -> str:
        """Who this process is to runs and robots: another one after each start."""
        return f"{self.settings.instance}-{new_id()[-8:]}"

    @cached_property
    def store(self) -> ExecutorStore:
        """Its queries."""
        return ExecutorStore(self.mongo, self.sealer)

    @cached_property
    def evidence(self) -> EvidenceStore:
        """Evidence."""
        return EvidenceStore(self.mongo)

    @cached_property
    def matches(self) -> Matches:
        """Which selectors matched."""
        return Matches(self.mongo)

    def app(self) -> FastAPI:
        """The robots' API: blobs."""
        app = create_app(self, title="Regente executor", body_size_bytes_max=self.settings.blob_size_bytes_max)
        app.include_router(
            router(self.store, self.evidence, self.sealer, size_bytes_max=self.settings.blob_size_bytes_max)
        )
        return app

    async def start(self) -> None:
        """Be seen first (lease, presence, reply queue), then take runs."""
        settings = self.settings
        self._stack = AsyncExitStack()
        limits = Limits(
            memory_bytes_max=settings.script_memory_bytes_max, turn_s=settings.script_turn_s,
            host_calls_max=settings.host_calls_max,
        )  # fmt: skip
        processes_max = settings.runs_max + AT_ONCE
        interpreter = await self._stack.enter_async_context(Interpreter(processes_max=processes_max, limits=limits))
        robots = Robots(
            self.broker, self.sealer, executor=self.id, url=settings.executor_url, resend_s=settings.resend_s
        )
        waits, secrets = WaitStore(self.mongo), Secrets(self.store.secret)
        self._server = Server.of(settings, self.mongo, self.evidence, secrets)
        sealing = Sealing(self.store.robot, self.sealer, unsealed_allowed=settings.unsealed_robots_allowed)
        paces = PacingStore(self.mongo)
        self._pacing = Pacing(paces)
        tools = Tools(
            store=self.store, waits=waits, matches=self.matches, pacing=self._pacing,
            evidence=self.evidence, interpreter=interpreter,
            robots=robots, server=self._server, secrets=secrets, sealing=sealing, hint=self.hint,
            executor=self.id,
            limits=RunLimits(settings.instructions_max, settings.host_calls_max, settings.decisions_max),
        )  # fmt: skip
        self._crew = Crew(tools, self.broker, Watch(self.mongo, "executor"), settings)
        self._trials = TrialRequests(TrialStore(self.mongo), interpreter)
        self._handlers = Handlers(
            self.store, waits, self.evidence, self._crew, robots, self.hint, self._trials,
            PacingRequests(paces, self._pacing),
        )  # fmt: skip
        waking = Waking(waits, self._crew)
        self._lease = Lease(
            self.mongo, f"executor/{self.id}", self.id, beat_s=settings.lease_beat_s, facts=self.facts()
        )
        await self._be_seen()
        self._consumers: list[Consumer] = [
            await self.broker.consume(replies_queue(self.id), self._handlers.on_worker_reply, prefetch=REPLIES_AT_ONCE),
            await self.broker.consume(EXECUTOR_HANDOFFS, self._handlers.on_handoff, prefetch=HANDOFFS_AT_ONCE),
        ]
        self._sweepers = [
            Sweeper("executor.sweep", settings.sweep_s, self._crew.sweep, self.log),
            Sweeper("executor.commands", settings.sweep_s, self._handlers.sweep_commands, self.log),
            Sweeper("executor.waits", settings.sweep_s, waking.sweep, self.log),
            Sweeper("executor.watch", WATCH_S, self._crew.watch, self.log),
            Sweeper("executor.trim", TRIM_S, self._crew.trim, self.log),
            Sweeper("executor.matches", MATCHES_S, self.matches.flush, self.log),
            Sweeper("executor.pacing", FLUSH_S, self._pacing.flush, self.log),
        ]
        for sweeper in self._sweepers:
            await sweeper.start()
        self.log.info("executor ready", executor=self.id)

    async def _be_seen(self) -> None:
        """Lease and presence queue; when one of them can't be had, nothing of this start stays: it is called again.

        Raises: TemporaryError.
        """
        try:
            await self._lease.acquire()
            await self.broker.declare(presence_queue(self.id))
        except BaseException:
            await self._lease.release()
            self._server.close()
            await self._stack.aclose()
            raise
        self._lease.start()

    async def stop(self) -> None:
        """Take no more, park what is in hand where it stands, then be gone."""
        handoffs = self._consumers.pop()
        await handoffs.cancel()
        for sweeper in self._sweepers:
            await sweeper.stop()
        await self._trials.leave()
        await self._crew.leave()
        await self.matches.flush()
        try:
            await self._pacing.flush(all_held=True)
        except (RegenteError, PyMongoError) as error:
            self.log.warning("the last waits seen are not learned", reason=str(error))
        for consumer in self._consumers:
            await consumer.cancel()
        await self.broker.delete_queue(replies_queue(self.id).name)
        self._server.close()
        await self._lease.stop()
        await self._stack.aclose()

    async def hint(self, key: str, message: Message | Any) -> None:
        """Send a hint; when that fails the receiver's sweep finds what it was about."""
        try:
            await self.broker.send(HANDOFFS, key, message)
        except RegenteError as error:
            self.log.warning("hint not sent, its receiver will find out by itself", key=key, reason=str(error))


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run(Executor, ExecutorSettings)
