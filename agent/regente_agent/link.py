"""The robot's tie to the server: enrol, connect, keep reading, keep beating, hand the log over; for ever.

Owns: the link thread, and in memory (never on disk or in a log) the broker's password and the key of what is sealed to
this robot. Called by: supervisor; the engine through `reply` and `settle`. Survives a crash: log lines wait in the
logbook; everything else is asked again by the server. Change also: enrolment.py and amqp.py hold the two protocols.

A cut connection leads back to enrolment. When the enrolment server can't be reached, the last password is tried as it
is: a broker that comes back before the scheduler finds its robots there.
"""

from __future__ import annotations

import random
import threading
from typing import Any, Callable, Dict, List, Optional

from regente_agent import wire
from regente_agent.amqp import Connection, Consumer, Delivery
from regente_agent.enrolment import Access, Pending, Refused, Unreachable, enrol
from regente_agent.logbook import Logbook

HEARTBEAT_S = 2.0
HEARTBEAT_EXPIRES_MS = 10_000
REPLY_EXPIRES_MS = 600_000
LOG_LOOK_S = 0.2
LOG_RETRY_S = 2.0
REFUSED_RETRY_S = 10.0
BACKOFF_MIN_S = 0.25
BACKOFF_MAX_S = 10.0
INSTRUCTIONS_PREFETCH = 16
"""More than one, so that an instruction sent again is seen while the first is in flight; the queue holds no more."""
CONTROL_PREFETCH = 50


class Link:
    """The tie; `start` it once, `stop` it once."""

    def __init__(
        self,
        *,
        worker: str,
        server_url: str,
        log: Logbook,
        facts: Callable[[], Dict[str, Any]],
        beat: Callable[[], Dict[str, Any]],
        on_instruction: Callable[[Delivery], None],
        on_control: Callable[[Delivery], None],
    ) -> None:
        """`facts` gives the body of an enrolment, `beat` the body of a heartbeat; both run on the link's thread."""
        self._worker, self._server_url, self._log = worker, server_url, log
        self._facts, self._beat = facts, beat
        self._consumers = (
            Consumer(wire.instructions_queue(worker), INSTRUCTIONS_PREFETCH, on_instruction),
            Consumer(wire.control_queue(worker), CONTROL_PREFETCH, on_control),
        )
        self._stopping = threading.Event()
        self._connection: Optional[Connection] = None
        self._access: Optional[Access] = None
        self.seal_key: Optional[str] = None
        """Of the last enrolment that let this robot in."""
        self._said = ""
        self._hosts_tried = 0
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop_consuming(self) -> None:
        """Take no more messages; replies and log lines still go out."""
        connection = self._connection
        if connection is not None:
            connection.stop_consuming()

    def stop(self, timeout_s: float) -> None:
        """Close and end. What was published before goes out first."""
        self._stopping.set()
        connection = self._connection
        if connection is not None:
            connection.close()
        self._thread.join(timeout_s)

    @property
    def connected(self) -> bool:
        """Whether a connection is up."""
        return self._connection is not None

    @property
    def alive(self) -> bool:
        """Whether the thread runs; when it does not, the agent has to end."""
        return self._thread.is_alive()

    def reply(self, executor: str, body: bytes) -> None:
        """Answer; lost when there is no connection, since the executor asks again."""
        connection = self._connection
        if connection is not None:
            connection.publish(wire.EXCHANGE, wire.reply_key(self._worker, executor), body, REPLY_EXPIRES_MS)

    def settle(self, delivery: Delivery, taken: bool) -> None:
        """Acknowledge a message, or reject it for good."""
        connection = self._connection
        if connection is not None:
            connection.settle(delivery, taken)

    # the link's thread

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            access = self._enrolled()
            if access is None:
                return
            end = self._connect(access)
            if self._stopping.is_set():
                return
            if end.refused:
                self._access = None
            failures = 0 if end.opened else failures + 1
            self._say("warning", f"the connection to the broker has ended: {end.text}")
            self._wait(_backoff_s(failures))

    def _connect(self, access: Access) -> Any:
        """Serve one connection to its end, taking the brokers' hosts in turn."""
        host = access.hosts[self._hosts_tried % len(access.hosts)]
        self._hosts_tried += 1
        connection = Connection(
            access, host, self._consumers, self._opened, lambda text: self._log.write("warning", text)
        )
        self._connection = connection
        try:
            return connection.run()
        finally:
            self._connection = None

    def _enrolled(self) -> Optional[Access]:
        """Ask until the answer is yes; None when the agent ends."""
        failures = 0
        while not self._stopping.is_set():
            try:
                answer = enrol(self._server_url, self._facts())
            except Unreachable as error:
                self._say("warning", f"the server can't be asked for a place: {error}")
                if self._access is not None:
                    return self._access
                failures += 1
                self._wait(_backoff_s(failures))
                continue
            failures = 0
            if isinstance(answer, Access):
                self._access, self.seal_key = answer, answer.seal_key
                return answer
            self._access = None
            self._not_yet(answer)
        return None

    def _not_yet(self, answer: Any) -> None:
        if isinstance(answer, Pending):
            self._say("info", "waiting for a person to authorise this robot")
            self._wait(answer.retry_after_s)
        elif isinstance(answer, Refused):
            self._say("error", f"the server refuses this robot: {answer.detail}")
            self._wait(REFUSED_RETRY_S)

    def _opened(self, connection: Connection) -> None:
        self._said = ""
        self._log.write("info", "connected to the broker")
        self._heartbeat(connection)
        self._hand_over(connection)

    def _heartbeat(self, connection: Connection) -> None:
        body = wire.encode(wire.HEARTBEAT, self._beat(), self._worker)
        connection.publish(wire.EXCHANGE, wire.heartbeat_key(self._worker), body, HEARTBEAT_EXPIRES_MS)
        connection.call_later(HEARTBEAT_S, lambda: self._heartbeat(connection))

    def _hand_over(self, connection: Connection) -> None:
        """Publish the oldest log lines; one bundle at a time, so that they stay in order."""
        bundle = self._log.bundle()
        if bundle is None:
            connection.call_later(LOG_LOOK_S, lambda: self._hand_over(connection))
            return
        numbers, journal, lines = bundle
        body = wire.encode(wire.LOG, {"worker": self._worker, "journal": journal, "lines": lines}, self._worker)
        done = self._handed_over(connection, numbers)
        if not connection.publish_confirmed(wire.EXCHANGE, wire.log_key(self._worker), body, done):
            connection.call_later(LOG_LOOK_S, lambda: self._hand_over(connection))

    def _handed_over(self, connection: Connection, numbers: List[int]) -> Callable[[bool], None]:
        def done(taken: bool) -> None:
            if taken:
                self._log.sent(numbers)
                self._hand_over(connection)
            else:
                connection.call_later(LOG_RETRY_S, lambda: self._hand_over(connection))

        return done

    def _say(self, level: str, text: str) -> None:
        """Log a state once, not at every try."""
        if text != self._said:
            self._said = text
            self._log.write(level, text)

    def _wait(self, seconds: float) -> None:
        self._stopping.wait(seconds)


def _backoff_s(failures: int) -> float:
    return float(min(BACKOFF_MIN_S * 2 ** min(failures, 10), BACKOFF_MAX_S) * random.uniform(0.5, 1.0))
