"""An executor in a process of its own, as it runs in production, that tells what it costs.

Called by: long_run.py, parked.py. The bench asks over a pipe; the process answers between the executor's own work.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from services.executor.config import ExecutorSettings
from services.executor.main import Executor
from shared.broker.delivery import Delivery
from shared.contracts.messages import BlobTarget, WorkerInstruction, WorkerReply
from shared.contracts.topology import instructions_queue, replies_queue
from shared.obs import logs

READY_S = 60.0
BARE = "bench-bare"
MB = 2**20


class ExecutorProcess:
    """The other side of the pipe, for the bench."""

    def __init__(self, settings: dict[str, Any], *, traced: bool = False) -> None:
        """traced: the process counts its Python objects, which makes it slower."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(settings, theirs, traced), daemon=False)

    async def __aenter__(self) -> ExecutorProcess:
        self._process.start()
        await self._answer()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipe.send(("stop", ()))
        await asyncio.to_thread(self._process.join, READY_S)
        assert self._process.exitcode == 0, f"the executor ended with {self._process.exitcode}"

    async def memory(self) -> dict[str, float]:
        """MB: resident (this process), interpreters (its subprocesses), python (what is traced); and objects."""
        found: dict[str, float] = await self._ask("memory")
        return found

    async def bare(self, worker: str, count: int, size_bytes: int) -> dict[str, list[float]]:
        """Seconds of so many bare requests with replies, and of so many bare majority writes of that size."""
        found: dict[str, list[float]] = await self._ask("bare", worker, count, size_bytes)
        return found

    async def snapshots(self) -> list[int]:
        """Bytes of the snapshots sealed since the last call, in order."""
        found: list[int] = await self._ask("snapshots")
        return found

    async def idle(self) -> bool:
        """Whether it has no run in hand."""
        return bool(await self._ask("idle"))

    async def _ask(self, what: str, *args: Any) -> Any:
        self._pipe.send((what, args))
        return await self._answer()

    async def _answer(self) -> Any:
        return await asyncio.to_thread(self._pipe.recv)


def _main(settings: dict[str, Any], pipe: Connection, traced: bool) -> None:
    logs.setup("executor", settings["instance"], "ERROR")
    if traced:
        tracemalloc.start()
    asyncio.run(_serve(settings, pipe))


async def _serve(settings: dict[str, Any], pipe: Connection) -> None:
    service = Executor(ExecutorSettings(**settings))
    sizes: list[int] = []
    if not tracemalloc.is_tracing():
        _note_sizes(service, sizes)
    await service.broker.start()
    await service.start()
    pipe.send("ready")
    asks: dict[str, Callable[..., Any]] = {"memory": _memory, "bare": _bare, "idle": _idle}
    while True:
        what, args = await asyncio.to_thread(pipe.recv)
        if what == "stop":
            break
        if what == "snapshots":
            pipe.send(list(sizes))
            sizes.clear()
        else:
            pipe.send(await asks[what](service, *args))
    await service.stop()
    await service.broker.stop()
    await service.mongo.close()


def _note_sizes(service: Executor, sizes: list[int]) -> None:
    real = service.store.seal

    def seal(run: str, seq: int, dump: bytes) -> bytes:
        sealed = real(run, seq, dump)
        sizes.append(len(sealed))
        return sealed

    service.store.seal = seal  # type: ignore[method-assign]


async def _memory(_: Executor) -> dict[str, float]:
    for _n in range(3):
        gc.collect()
    traced = tracemalloc.get_traced_memory()[0] / MB if tracemalloc.is_tracing() else 0.0
    return {
        "resident": _resident(os.getpid()), "interpreters": sum(map(_resident, _children())), "python": traced,
        "objects": float(len(gc.get_objects())), "blocks": float(sys.getallocatedblocks()),
    }  # fmt: skip


async def _idle(service: Executor) -> bool:
    return not service._crew._works


async def _bare(service: Executor, worker: str, count: int, size_bytes: int) -> dict[str, list[float]]:
    """What a journalled instruction is made of, without a journal: by the executor's own broker and database."""
    awaited: list[asyncio.Future[None]] = []

    async def on_reply(_reply: WorkerReply, _delivery: Delivery) -> None:
        awaited.pop().set_result(None)

    consumer = await service.broker.consume(replies_queue(BARE), on_reply)
    times: dict[str, list[float]] = {"asked": [], "written": []}
    for n in range(count):
        message = WorkerInstruction(
            worker=worker, run=f"bare_{time.monotonic_ns()}", seq=n + 1, epoch=1, task=None, phase="task",
            name="browser.click", args={"target": {"$object": "go", "selectors": ["css=#go"]}}, effect="act",
            commit=False, timeout_s=30.0, line=1, reply_to=BARE, blobs=BlobTarget(url="http://none", token="none"),
        )  # fmt: skip
        began = time.perf_counter()
        awaited.append(asyncio.get_running_loop().create_future())
        answered = awaited[0]
        await service.broker.send("", instructions_queue(worker).name, message, persistent=False, confirm=False)
        await answered
        asked = time.perf_counter()
        await service.mongo.db["bench_writes"].insert_one({"_id": message.run, "data": os.urandom(size_bytes)})
        times["asked"].append(asked - began)
        times["written"].append(time.perf_counter() - asked)
    await consumer.cancel()
    await service.broker.delete_queue(replies_queue(BARE).name)
    return times


def _resident(pid: int) -> float:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB
    return 0.0


def _children() -> list[int]:
    """Subprocesses, whichever of this process's threads started them."""
    threads = Path(f"/proc/{os.getpid()}/task").iterdir()
    return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
