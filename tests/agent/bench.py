"""The server's side as a robot sees it, for tests of the real agent on the real broker.

Owns: an enrolment server, a robot's broker user and queues, an executor's reply queue, and the agent's process. Called
by: the tests of this folder. Survives a crash: nothing. Change also: nothing; every message passes through
shared.contracts.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx
import pika

from shared.contracts.catalogue import catalogue
from shared.contracts.envelope import decode, encode
from shared.contracts.messages.worker_abort import WorkerAbort
from shared.contracts.messages.worker_heartbeat import WorkerHeartbeat
from shared.contracts.messages.worker_instruction import BlobTarget, WorkerInstruction
from shared.contracts.messages.worker_log import WorkerLog, WorkerLogLine
from shared.contracts.messages.worker_reply import WorkerReply
from shared.contracts.messages.worker_run_ended import WorkerRunEnded
from shared.contracts.topology import (
    EXCHANGES,
    WORKERS,
    control_queue,
    instructions_queue,
    worker_permissions,
    worker_user,
)

AGENT = Path(__file__).resolve().parents[2] / "agent"
DEADLINE_S = 20.0


class EnrolmentServer(ThreadingHTTPServer):
    """Answers enrolments with what the test says, keeps blobs, and counts."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, Any]]] = []
        """Answers to give, the last one again and again."""
        self.asked: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.blob_status = 201
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: EnrolmentServer

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        answers = self.server.answers
        status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self._say(status, answer)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.blobs[self.path.rsplit("/", 1)[1]] = data
        self._say(self.server.blob_status, {})

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""


class Bench:
    """One robot, and the server around it."""

    def __init__(self, amqp_url: str, admin_url: str, home: Path, **environment: str) -> None:
        self.url, self.home = urlsplit(amqp_url), home
        self.vhost = unquote(self.url.path.lstrip("/") or "/")
        self.worker = "02" + secrets.token_hex(5)
        self.executor = "executor-" + secrets.token_hex(4)
        self.password = secrets.token_urlsafe(16)
        self.seal_key: str | None = secrets.token_urlsafe(32)
        self.environment = environment
        self.replies: list[WorkerReply] = []
        self.raw_replies: list[bytes] = []
        self.beats: list[WorkerHeartbeat] = []
        self.lines: list[WorkerLogLine] = []
        self.agent: subprocess.Popen[bytes] | None = None
        admin = urlsplit(admin_url)
        self._admin = httpx.Client(
            base_url=f"{admin.scheme}://{admin.hostname}:{admin.port}/api",
            auth=(unquote(admin.username or ""), unquote(admin.password or "")),
            timeout=10,
        )
        self.enrolment = EnrolmentServer()
        self.authorise()
        self._connect(amqp_url)

    # --- the scheduler's part
    # ------------------------------------------------------------------------------------------

    def authorise(self) -> None:
        """Make the robot's broker user as the scheduler does, and answer enrolments with it."""
        user, vhost = quote(worker_user(self.worker), safe=""), quote(self.vhost, safe="")
        rights = worker_permissions(self.worker)
        self._put(f"/users/{user}", {"password": self.password, "tags": ""})
        self._put(
            f"/permissions/{vhost}/{user}", {"configure": rights.configure, "write": rights.write, "read": rights.read}
        )
        topic = {"exchange": rights.topic_exchange, "write": rights.topic_write, "read": rights.topic_read}
        self._put(f"/topic-permissions/{vhost}/{user}", topic)
        self.enrolment.answers = [(200, self.access())]

    def access(self) -> dict[str, Any]:
        """The answer to an enrolment that is authorised."""
        amqp = {"hosts": [f"{self.url.hostname}:{self.url.port}"], "vhost": self.vhost}
        amqp |= {"user": worker_user(self.worker), "password": self.password}
        return {"state": "authorised", "amqp": amqp, "seal_key": self.seal_key}

    def revoke(self) -> None:
        """Take the broker user away; the broker then closes its connections by itself."""
        self._admin.delete(f"/users/{quote(worker_user(self.worker), safe='')}").raise_for_status()

    def cut(self) -> None:
        """Close the robot's connection as soon as the broker's list shows it, which is not at once."""
        path = f"/connections/username/{quote(worker_user(self.worker), safe='')}"
        self.until(lambda: bool(self._admin.get(path).raise_for_status().json()), "the connection to be listed")
        self._admin.delete(path).raise_for_status()

    def _put(self, path: str, body: dict[str, Any]) -> None:
        self._admin.put(path, json=body).raise_for_status()

    def _connect(self, amqp_url: str) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        self.channel = self.connection.channel()
        for exchange in EXCHANGES:
            self.channel.exchange_declare(exchange.name, exchange.type, durable=True)
        self.declare()
        for key, take in (
            (f"reply.{self.worker}.{self.executor}", self._on_reply),
            (f"heartbeat.{self.worker}", self._on_beat),
            (f"log.{self.worker}", self._on_log),
        ):
            self.listen(key, take)

    def listen(self, key: str, take: Callable[[bytes], None]) -> None:
        """Read what is published under a routing key."""
        queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.queue_bind(queue, WORKERS, key)
        self.channel.basic_consume(queue, lambda _c, _m, _p, body: take(body), auto_ack=True)

    def declare(self) -> None:
        """The robot's queues, as topology has them."""
        for queue in (instructions_queue(self.worker), control_queue(self.worker)):
            self.channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)

    def _on_reply(self, body: bytes) -> None:
        message = decode(body)[1]
        assert isinstance(message, WorkerReply)
        self.raw_replies.append(body)
        self.replies.append(message)

    def _on_beat(self, body: bytes) -> None:
        message = decode(body)[1]
        assert isinstance(message, WorkerHeartbeat)
        self.beats.append(message)

    def _on_log(self, body: bytes) -> None:
        message = decode(body)[1]
        assert isinstance(message, WorkerLog)
        self.lines.extend(message.lines)

    # --- the executor's part
    # -------------------------------------------------------------------------------------------

    def instruction(
        self, seq: int, of: str, /, *, run: str = "run_1", epoch: int = 1, **args: Any
    ) -> WorkerInstruction:
        """An instruction of the catalogue with its own effect and time; `commit`, `timeout_s`, `blobs` are special."""
        known = catalogue().get(of)
        blobs = args.pop("blobs", None)
        special = {key: args.pop(key) for key in ("timeout_s", "effect", "commit") if key in args}
        timeout_s = special.get("timeout_s") or (known.deadline_s(args) if known else 30.0)
        return WorkerInstruction(
            worker=self.worker, run=run, seq=seq, epoch=epoch, task="task_1", phase="task", name=of, args=args,
            effect=special.get("effect") or (known.effect if known else "act"), commit=special.get("commit", False),
            timeout_s=timeout_s, line=seq + 10, reply_to=self.executor,
            blobs=BlobTarget(url=blobs, token="blob-token") if blobs else None,
        )  # fmt: skip

    def send(self, message: WorkerInstruction | WorkerAbort | WorkerRunEnded) -> None:
        """Publish to the robot's queue of that kind."""
        queue = instructions_queue if isinstance(message, WorkerInstruction) else control_queue
        body = encode(message, id=secrets.token_hex(16), sent_at=datetime.now(UTC), sender=self.executor)
        self.publish(queue(self.worker).name, body)

    def publish(self, queue: str, body: bytes) -> None:
        """Publish bytes to a queue."""
        self.channel.basic_publish("", queue, body)

    def ask(self, seq: int, of: str, /, **rest: Any) -> WorkerReply:
        """Send an instruction and wait for the next reply."""
        return self.answer(self.instruction(seq, of, **rest))

    def answer(self, message: WorkerInstruction) -> WorkerReply:
        """Send it and wait for the next reply to it."""
        seen = len(self.replies)
        self.send(message)
        self.until(lambda: any(r.seq == message.seq and r.run == message.run for r in self.replies[seen:]), "a reply")
        return next(r for r in self.replies[seen:] if r.seq == message.seq and r.run == message.run)

    def abort(self, run: str, epoch: int) -> None:
        """Cut the instruction in flight."""
        self.send(WorkerAbort(worker=self.worker, run=run, epoch=epoch, reason="a person said so"))

    def end_run(self, run: str, epoch: int) -> None:
        """Let the robot forget the run."""
        self.send(WorkerRunEnded(worker=self.worker, run=run, epoch=epoch))

    def until(self, condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Take messages until something holds."""
        end = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited {deadline_s} s for {what}\n{self.agent_output()}")
            self.connection.process_data_events(0.05)

    # --- the agent
    # -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the agent and wait until it beats."""
        self.spawn()
        seen = len(self.beats)
        self.until(lambda: len(self.beats) > seen and self.beats[-1].driver != "starting", "a heartbeat")

    def spawn(self) -> None:
        """Start the agent."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REGENTE_")}
        environment |= {
            "PYTHONPATH": str(AGENT), "REGENTE_AGENT_HOME": str(self.home), "REGENTE_SERVER_URL": self.enrolment.url,
            "REGENTE_AGENT_ADDRESS": self.worker, "REGENTE_AGENT_LOG_LEVEL": "debug", **self.environment,
        }  # fmt: skip
        with open(self.home.parent / "agent.log", "ab") as output:
            self.agent = subprocess.Popen([sys.executable, "-m", "regente_agent"], env=environment, stderr=output)

    def agent_output(self) -> str:
        """What the agent wrote on stderr: its last lines."""
        log = self.home.parent / "agent.log"
        return log.read_text(errors="replace")[-6000:] if log.exists() else ""

    def driver_pid(self) -> int:
        """The driver process of the running agent."""
        assert self.agent is not None
        children = Path(f"/proc/{self.agent.pid}/task/{self.agent.pid}/children").parent.parent
        pids = [pid for task in children.iterdir() for pid in (task / "children").read_text().split()]
        assert len(pids) == 1, pids
        return int(pids[0])

    def kill(self) -> None:
        """kill -9 of the agent."""
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()
        self.agent = None

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.agent is not None
        self.agent.terminate()
        code = self.agent.wait(15)
        self.agent = None
        return code

    def close(self) -> None:
        """End everything."""
        if self.agent is not None:
            self.kill()
        user = quote(worker_user(self.worker), safe="")
        self._admin.delete(f"/users/{user}")
        for queue in (instructions_queue(self.worker), control_queue(self.worker)):
            self.channel.queue_delete(queue.name)
        self.connection.close()
        self._admin.close()
        self.enrolment.shutdown()
        self.enrolment.server_close()
