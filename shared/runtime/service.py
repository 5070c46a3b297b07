"""The skeleton of a service: what stands between `main()` and the work.

Called by: services/<name>/main.py. Survives a crash: nothing; a service starts again from the database. Change also:
nothing.

Order: settings, logs, HTTP (so that /healthz and /readyz answer from the first second), database, indexes, broker,
`start()`. A part that is away is waited for, with one line per change. SIGTERM or SIGINT: not ready, `stop()`, HTTP,
broker, logs, database; whatever hangs is cut off after LEAVE_S seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from pymongo.errors import PyMongoError

from shared.broker import Broker
from shared.contracts.rights import own_queues, user_of
from shared.contracts.topology import Queue, service_queues
from shared.errors import TemporaryError
from shared.mongo import Mongo, first_line
from shared.mongo.guarded import is_transient
from shared.mongo.indexes import apply_indexes
from shared.mongo.lease import Lease
from shared.mongo.rights import makes
from shared.obs import logs, tracing
from shared.obs.clock import now
from shared.obs.log_store import LogStore
from shared.obs.metrics import gauge
from shared.runtime.http import VERSION, create_app
from shared.runtime.settings import EXIT_SETTINGS, ServiceSettings, load
from shared.runtime.watchdog import Watchdog
from shared.seal import Sealer

LEAVE_S = 19.0
STOP_S = 12.0
HTTP_GRACE_S = 3
PAUSE_S = 1.0
TRACES_S = 2.0
PING_S = 2.0
PRESENCE_BEAT_S = 1.0
PRESENCE_KEEP_S = 86400.0
PING_TIMEOUT_S = 3.0

_ready = gauge("ready", "1 while the service works.")
T = TypeVar("T")


class Service:
    """Base of every service: subclass it, give it a name, say what it does."""

    name: ClassVar[str] = ""
    beats: ClassVar[bool] = True
    """Whether its instances beat in `leases`; false where a service's own lease does that already."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.log = logs.get_logger(f"services.{self.name}")
        self.sealer = Sealer(settings.master_key_bytes)
        self.mongo = Mongo(settings.mongo_url, settings.mongo_db, app_name=settings.instance, ca_file=settings.ca_file)
        self.broker = Broker(
            settings.amqp_urls, instance=settings.instance, topology=self.queues(), ca_file=settings.ca_file
        )
        self.watchdog = Watchdog(settings.watchdog_s)
        self.started = False
        self.stopping = asyncio.Event()

    def app(self) -> FastAPI:
        """The HTTP app; it serves before `start` was called, and while `stop` runs."""
        return create_app(self, title=f"Regente {self.name}")

    async def start(self) -> None:
        """Begin to work; database and broker are there. Called again when it raises a TemporaryError."""

    async def stop(self) -> None:
        """Take no more work, finish or park what is in hand, within STOP_S seconds."""

    def queues(self) -> Sequence[Queue]:
        """Queues that are declared at each connect: the services' common ones; as its own user those it reads."""
        is_own = urlsplit(self.settings.amqp_urls[0]).username == user_of(self.name)
        return own_queues(self.name) if is_own else service_queues()

    async def make_indexes(self) -> None:
        """Make the indexes that are missing: all; as its own user those of the collections it inserts into."""
        is_own = urlsplit(self.settings.mongo_url).username == user_of(self.name)
        await apply_indexes(self.mongo, makes(self.name) if is_own else None)

    def facts(self) -> dict[str, Any]:
        """What people want to know of this instance: the fields of its lease beside those of every lease."""
        settings = self.settings
        return {
            "service": self.name, "instance": settings.instance, "host": socket.gethostname(), "pid": os.getpid(),
            "version": VERSION, "started_at": now(), "url": f"{settings.http_scheme}://{settings.http_host}:{settings.http_port}",
        }  # fmt: skip

    async def missing(self) -> list[str]:
        """What keeps this service from working now, for /readyz; empty when it is ready."""
        if self.stopping.is_set():
            return ["it is stopping"]
        missing = [] if self.broker.connected else ["the broker is not connected"]
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self.mongo.ping()
        except (TemporaryError, TimeoutError):
            missing.append("the database does not answer")
        return missing or ([] if self.started else ["it is starting"])


S = TypeVar("S", bound=ServiceSettings)


def run(service_class: type[Service], settings_class: type[S]) -> None:
    """Run a service until SIGTERM or SIGINT; the process ends here.

    Exit codes: 0 stopped, 1 a fault, 2 wrong settings (a port that is taken among them).
    """
    settings = load(settings_class, service_class.name)
    logs.setup(service_class.name, settings.instance, settings.log_level)
    listening = _listen(service_class.name, settings)
    if settings.otlp_url:
        tracing.start(
            settings.otlp_url, share=settings.trace_share, service=service_class.name, instance=settings.instance,
            version=VERSION, headers=settings.otlp_header_values,
        )  # fmt: skip
    sys.exit(asyncio.run(_Process(service_class, settings).live(listening)))


def _listen(name: str, settings: ServiceSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.http_host, settings.http_port))
    except OSError as error:
        where = f"{settings.http_host}:{settings.http_port}"
        print(
            f"{name}: REGENTE_HTTP_PORT: can't listen on {where} ({error.strerror}); stop what uses it or set another",
            file=sys.stderr,
        )
        sys.exit(EXIT_SETTINGS)
    return sock


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: this module decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Process:
    """The life of one service in one process."""

    def __init__(self, service_class: type[Service], settings: ServiceSettings) -> None:
        self._service_class = service_class
        self._settings = settings
        self._presence: Lease | None = None

    async def live(self, listening: socket.socket) -> int:
        """From the first line to the last. Returns: the exit code."""
        service = self._service = self._service_class(self._settings)
        self._log = service.log
        self._watch_signals()
        service.watchdog.start()
        logs.log_unhandled(asyncio.get_running_loop())
        store = LogStore(service.mongo, service.name, self._settings.instance, keep_days=self._settings.log_keep_days)
        store.start()
        server = _Server(_http_config(service.app(), self._settings))
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="http")
        working = asyncio.create_task(self._work(), name="work")
        stopping = asyncio.create_task(service.stopping.wait(), name="stop")
        self._log.info("service starts", http=f"{self._settings.http_host}:{self._settings.http_port}")
        await asyncio.wait({serving, working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        code = self._why(serving, working)
        await self._leave(server, serving, working, store)
        stopping.cancel()
        return code

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._service.stopping.set)

    def _why(self, serving: asyncio.Task[None], working: asyncio.Task[None]) -> int:
        """0 when asked to stop, 1 when a part of the service ended by itself."""
        if self._service.stopping.is_set():
            return 0
        for task in (working, serving):
            if task.done() and not task.cancelled():
                self._log.error("service fails", part=task.get_name(), exc_info=task.exception() or False)
        return 1

    async def _work(self) -> None:
        """Bring everything up, each part when it is there, then watch the database for the log's sake."""
        service = self._service
        await self._until_there("database", service.mongo.ping)
        await self._until_there("database", service.make_indexes)
        if service.beats:
            self._presence = Lease(
                service.mongo, f"{service.name}/{service.settings.instance}", service.settings.instance,
                beat_s=PRESENCE_BEAT_S, facts=service.facts(), keep_s=PRESENCE_KEEP_S,
            )  # fmt: skip
            self._presence.start()
        await self._until_there("broker", service.broker.start, tell=False)  # the client tells it itself
        await self._until_there("work", service.start)
        service.started = True
        _ready.set(1)
        service.watchdog.ready()
        self._log.info("service ready")
        await self._watch_database()

    async def _until_there(self, what: str, act: Callable[[], Awaitable[Any]], *, tell: bool = True) -> None:
        told = ""
        while True:
            try:
                await act()
            except Exception as error:
                if not (isinstance(error, TemporaryError) or is_transient(error)):
                    raise
                reason = first_line(error)
                if tell and reason != told:
                    self._log.warning(f"waiting for the {what}", reason=reason)
                told = reason
                await asyncio.sleep(PAUSE_S)
            else:
                if told and tell:
                    self._log.info(f"{what} is there")
                return

    async def _watch_database(self) -> None:
        there = True
        while True:
            await asyncio.sleep(PING_S)
            reason = ""
            try:
                await self._service.mongo.ping()
            except (TemporaryError, PyMongoError) as error:
                reason = first_line(error)
            if there and reason:
                self._log.warning("database does not answer", reason=reason)
            elif not there and not reason:
                self._log.info("database answers again")
            there = not reason

    async def _leave(
        self, server: _Server, serving: asyncio.Task[None], working: asyncio.Task[None], store: LogStore
    ) -> None:
        """Everything down, in the opposite order; nothing here may keep the process for ever."""
        service = self._service
        last_resort = threading.Timer(LEAVE_S, os._exit, args=(1,))
        last_resort.daemon = True
        last_resort.start()
        service.stopping.set()
        _ready.set(0)
        service.watchdog.leaving()
        self._log.info("service stops")
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        if service.started:
            await self._bounded("work", service.stop(), STOP_S)
        server.should_exit = True
        await self._bounded("http", asyncio.wait({serving}), HTTP_GRACE_S + 1)
        await self._bounded("broker", service.broker.stop(), 4)
        if self._presence is not None:
            await self._bounded("presence", self._presence.stop(), 2)
        self._log.info("service stopped")
        await self._bounded("logs", store.stop(), 4)
        await self._bounded("traces", asyncio.to_thread(tracing.stop, TRACES_S), TRACES_S + 1)
        await self._bounded("database", service.mongo.close(), 2)
        service.watchdog.stop()
        last_resort.cancel()

    async def _bounded(self, what: str, leaving: Awaitable[Any], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await leaving
        except TimeoutError:
            self._log.warning("cut off while stopping", part=what, after_s=timeout_s)
        except Exception:
            self._log.exception("failed while stopping", part=what)


def _http_config(app: FastAPI, settings: ServiceSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ssl_certfile=settings.http_tls_cert or None,
        ssl_keyfile=settings.http_tls_key or None,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=HTTP_GRACE_S,
        timeout_keep_alive=15,
        proxy_headers=False,  # shared.runtime.http believes those that the settings name, nobody else
        ws_max_size=4 * 1024 * 1024,
        lifespan="on",
    )
