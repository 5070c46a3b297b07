"""job.run: a command that an administrator registered, run on this machine.

Called by: perform.py. Survives a crash: nothing; the launcher ends the command when this process is gone. Reads:
collection jobs (the console writes it). Change also: launcher.py, services/console/api/jobs.py.

Whatever ends `run` (its time, an abort that cancels it) closes the pipe that the launcher watches; within two seconds
nothing of the command is left, and `run` returns only then."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from services.executor.core.command import environment, words
from services.executor.secrets import Secrets
from services.executor.server.order import Args, Failed, InDoubt, Order, read_args
from shared.contracts.catalogue import BadCall
from shared.mongo import Mongo
from shared.obs.clock import monotonic_s

LAUNCHER = Path(__file__).with_name("launcher.py")
TEXT_SIZE_BYTES_MAX = 1024 * 1024
FILE_BYTES_MAX = 1024 * 1024 * 1024
STOP_S = 2.0
SHORTEST_S = 0.1
DRAIN_S = 0.5
CHUNK_BYTES = 64 * 1024
REASONS = {
    "memory": "it took more memory than its {memory_bytes_max} bytes",
    "cpu": "it took more than its {cpu_s_max} s of computing time",
    "processes": "it started more than its {processes_max} processes",
    "stopped": "it was stopped",
}


class JobArgs(Args):
    """Arguments of job.run."""

    name: str = Field(max_length=63)
    arguments: list[str] = Field(default_factory=list)
    text: str = Field(default="", max_length=TEXT_SIZE_BYTES_MAX)


class Jobs:
    """Runs registered commands."""

    def __init__(self, mongo: Mongo, secrets: Secrets, *, at_once_max: int = 8, user: str | None = None) -> None:
        """user: whom commands run as; this process must be root then. None: as this process.

        Raises: ValueError when that user does not exist.
        """
        self._mongo = mongo
        self._secrets = secrets
        self._places = asyncio.Semaphore(at_once_max)
        self._user = _identity(user) if user else None

    async def run(self, order: Order) -> tuple[dict[str, Any], frozenset[str]]:
        """Its exit code and what it said; and the secrets in its environment, which must not be seen in that.

        Raises: Failed, InDoubt.
        """
        args = read_args(JobArgs, order)
        job = await self._registered(order.account, args.name)
        try:
            command = words(job["command"], args.arguments)
            own, secrets = await self._own_environment(order.account, job["env"])
            text = args.text.encode()
        except UnicodeEncodeError:
            raise Failed("BAD_ARGUMENT", f"job {args.name}: a text is not Unicode") from None
        except (ValueError, BadCall) as error:
            raise Failed("BAD_ARGUMENT", f"job {args.name}: {error}") from None
        begun_s = monotonic_s()
        try:
            async with asyncio.timeout(order.timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise Failed("TIMEOUT", f"job {args.name}: no free place within {order.timeout_s:g} s") from None
        try:
            left_s = order.timeout_s - (monotonic_s() - begun_s)
            time_s = max(SHORTEST_S, min(float(job["timeout_s"]), left_s))
            return await self._in_scratch(order, job, command, own, text, time_s), secrets
        finally:
            self._places.release()

    async def _registered(self, account: str, name: str) -> dict[str, Any]:
        """The account's own registration, else the one for all accounts."""
        own, common = f"{account}/{name}", f"*/{name}"
        found = {one["_id"]: one async for one in self._mongo["jobs"].find({"_id": {"$in": [own, common]}})}
        job = found.get(own) or found.get(common)
        if job is None:
            raise Failed("NOT_FOUND", f"no job {name} is registered for this account; an administrator can do it")
        if not job["enabled"]:
            raise Failed("NOT_ALLOWED", f"job {name} is switched off")
        if not sys.platform.startswith("linux"):
            raise Failed("NOT_ALLOWED", "jobs run on Linux only")
        return job

    async def _own_environment(self, account: str, env: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
        """The registered variables, with documents of the account for secrets."""
        own, secrets = {}, set()
        for name, value in env.items():
            if isinstance(value, dict):
                own[name] = await self._secrets.text(account, value["secret"])
                secrets.add(own[name])
            else:
                own[name] = value
        return own, frozenset(secrets)

    async def _in_scratch(
        self, order: Order, job: Mapping[str, Any], command: list[str], own: dict[str, str], text: bytes, time_s: float
    ) -> dict[str, Any]:
        """Run it with a folder of its own."""
        scratch = await asyncio.to_thread(tempfile.mkdtemp, prefix="regente-job-")
        try:
            if self._user is not None:
                os.chown(scratch, *self._user)
            limits = {
                "memory_bytes": job["memory_bytes_max"], "cpu_s": job["cpu_s_max"], "processes": job["processes_max"],
                "file_bytes": FILE_BYTES_MAX, "scratch": scratch, "folder": job["folder"] or scratch,
                "user": self._user,
            }  # fmt: skip
            env = environment(own, folder=scratch, run=order.run, seq=order.seq, task=order.task)
            process = Process(limits, command, env, job["output_bytes_max"])
            return _value(job, time_s, await process.run(text, time_s))
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, scratch, True))


class Process:
    """One launcher with its command."""

    def __init__(
        self, limits: Mapping[str, Any], command: list[str], env: Mapping[str, str], output_bytes_max: int
    ) -> None:
        self._limits = limits
        self._command = command
        self._env = env
        self._output_bytes_max = output_bytes_max

    async def run(self, text: bytes, time_s: float) -> dict[str, Any]:
        """What the launcher reports, with `stdout`, `stderr` and `timed_out`."""
        control, keep = os.pipe()
        report, tell = os.pipe()
        try:
            launcher = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(LAUNCHER), str(control), str(tell), json.dumps(self._limits), "--",
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, env=dict(self._env), pass_fds=(control, tell), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(keep)
            os.close(report)
            raise
        finally:
            os.close(control)
            os.close(tell)
        told = asyncio.create_task(_reported(report))
        outputs = [asyncio.create_task(self._read(stream)) for stream in (launcher.stdout, launcher.stderr)]
        feeding = asyncio.create_task(_feed(launcher.stdin, text))
        try:
            _, late = await asyncio.wait({told}, timeout=time_s)
        finally:
            os.close(keep)
            ending = asyncio.create_task(_ended(launcher, told, [*outputs, feeding]))
            told_at_end = await asyncio.shield(ending)
        return {**told_at_end, "timed_out": bool(late), "stdout": _text(outputs[0]), "stderr": _text(outputs[1])}

    async def _read(self, stream: asyncio.StreamReader | None) -> str:
        """The beginning of what it says; all of it is taken, so that it never waits for us."""
        assert stream is not None
        kept, size = bytearray(), 0
        while chunk := await stream.read(CHUNK_BYTES):
            size += len(chunk)
            kept += chunk[: self._output_bytes_max - len(kept)]
        mark = f"\n[cut: {size} bytes; {self._output_bytes_max} are kept]" if size > len(kept) else ""
        return kept.decode(errors="replace") + mark


async def _feed(stream: asyncio.StreamWriter | None, text: bytes) -> None:
    assert stream is not None
    with contextlib.suppress(ConnectionError):  # it does not want to read
        stream.write(text)
        await stream.drain()
    stream.close()
    with contextlib.suppress(ConnectionError):
        await stream.wait_closed()


async def _ended(
    launcher: asyncio.subprocess.Process, told: asyncio.Task[dict[str, Any]], tasks: list[asyncio.Task[Any]]
) -> dict[str, Any]:
    """Wait until nothing of it is left; what the launcher reported."""
    _, late = await asyncio.wait({told}, timeout=STOP_S)
    if late:
        with contextlib.suppress(ProcessLookupError):
            launcher.kill()
    report = await told
    if "ended_for" not in report and "pid" in report:  # the launcher itself was killed
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(report["pid"], signal.SIGKILL)
    _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(TimeoutError):  # where something still holds its output, only its parent is waited for
        async with asyncio.timeout(DRAIN_S):
            await launcher.wait()
    return report


async def _reported(report: int) -> dict[str, Any]:
    """What the launcher says; the end of that is the launcher's own, as nobody else holds the pipe."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(report, "rb"))
    try:
        said: dict[str, Any] = {}
        for line in (await reader.read()).splitlines():
            with contextlib.suppress(ValueError):
                said |= json.loads(line)
        return said
    finally:
        pipe.close()


def _text(output: asyncio.Task[str]) -> str:
    return output.result() if not output.cancelled() else ""


def _value(job: Mapping[str, Any], time_s: float, told: Mapping[str, Any]) -> dict[str, Any]:
    """What became of it.

    Raises: Failed when it never began, InDoubt when it did not end by itself.
    """
    name = job["name"]
    if "error" in told:
        raise Failed("FAILED", f"job {name} could not be started: {told['error']}")
    if told["timed_out"]:
        raise InDoubt("TIMEOUT", f"job {name} did not end within {time_s:g} s and was killed")
    if "ended_for" not in told:
        raise InDoubt("FAILED", f"job {name} was killed together with its launcher")
    if told["ended_for"] is not None:
        raise InDoubt("FAILED", f"job {name} was killed: {REASONS[told['ended_for']].format(**job)}")
    return {"exit_code": told["exit_code"], "stdout": told["stdout"], "stderr": told["stderr"]}


def _identity(user: str) -> tuple[int, int]:
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise ValueError(f"REGENTE_JOB_USER: there is no user {user}") from None
    if os.geteuid() != 0:
        raise ValueError("REGENTE_JOB_USER: only root can run commands as somebody else")
    return found.pw_uid, found.pw_gid
