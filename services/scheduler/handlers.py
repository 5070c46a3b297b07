"""What the scheduler does with each message: one `on_<kind>` per kind.

Called by: the broker's consumers (main.py). Survives a crash: a hint that is lost is found by a sweep; hand-offs are
acked after their work. Robots' messages are believed only about the robot whose broker user sent them; the broker
checks that user.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.scheduler.presence import Presence
from services.scheduler.recovery import Recovery
from services.scheduler.requests import Requests
from services.scheduler.store.away import database_errors
from services.scheduler.worker_logs import WorkerLogs
from shared.broker import Delivery
from shared.contracts.envelope import Message
from shared.contracts.messages import CommandIssued, RunFinished, TaskAccepted, TaskReturned, WorkerHeartbeat, WorkerLog
from shared.contracts.topology import worker_user
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.obs.logs import get_logger

NUMBER_MAX = 2**53
"""Larger numbers from a robot are nonsense, and would not fit the database."""
NAME_MAX = 200
LOGS_AGAIN_S = 20.0
"""Pause before log lines are tried again while the database is away; their queue counts the tries."""

log = get_logger(__name__)


class Handlers:
    """Routes messages to the parts that know what to do."""

    def __init__(
        self, *, requests: Requests, recovery: Recovery, presence: Presence, logs: WorkerLogs,
        kick: Callable[[], None], doubt: Callable[[str, str], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._requests = requests
        self._recovery = recovery
        self._presence = presence
        self._logs = logs
        self._kick = kick
        self._doubt = doubt

    async def on_handoff(self, message: Message, delivery: Delivery) -> None:
        """A hint from another service."""
        try:
            with database_errors():
                await self._work(message)
        except TemporaryError as error:  # delivering it again and again would only make it a dead letter
            log.info("hint_left_to_the_sweep", kind=message.KIND, reason=str(error))

    async def on_heartbeat(self, message: Message, delivery: Delivery) -> None:
        """A robot's sign of life; written with others at the next flush."""
        if not isinstance(message, WorkerHeartbeat):
            raise PermanentError(ErrorCode.MALFORMED, f"a {message.KIND} came as a heartbeat")
        await self._check_sender(message.worker, delivery)
        numbers = (message.beat, message.seq or 0, message.epoch, message.journal.counter, message.logs_waiting)
        names = (message.session, message.journal.id, message.run or "")
        if any(number > NUMBER_MAX for number in numbers) or any(len(name) > NAME_MAX for name in names):
            raise PermanentError(ErrorCode.MALFORMED, f"robot {message.worker} sent a heartbeat with impossible values")
        self._presence.beat(message)

    async def on_log(self, message: Message, delivery: Delivery) -> None:
        """A bundle of a robot's log lines."""
        if not isinstance(message, WorkerLog):
            raise PermanentError(ErrorCode.MALFORMED, f"a {message.KIND} came as log lines")
        await self._check_sender(message.worker, delivery)
        if len(message.journal) > NAME_MAX or any(line.n > NUMBER_MAX for line in message.lines):
            raise PermanentError(ErrorCode.MALFORMED, f"robot {message.worker} sent log lines with impossible values")
        try:
            with database_errors():
                await self._logs.store(message)
        except TemporaryError as error:
            raise TemporaryError(str(error), delay_s=LOGS_AGAIN_S) from error

    async def _work(self, message: Message) -> None:
        match message:
            case TaskAccepted():
                self._kick()
            case TaskReturned():
                await self._recovery.task_returned(message.task)
            case RunFinished():
                await self._recovery.run_finished(message.run)
            case CommandIssued():
                await self._requests.work(message.command)
            case _:
                raise PermanentError(ErrorCode.MALFORMED, f"the scheduler takes no {message.KIND}")

    async def _check_sender(self, worker: str, delivery: Delivery) -> None:
        """A robot speaks for itself only.

        Raises: PermanentError: the message becomes a dead letter. Who is caught speaking for another is doubted.
        """
        if delivery.user_id == worker_user(worker) and delivery.routing_key.endswith(f".{worker}"):
            return
        sender = delivery.routing_key.rpartition(".")[2]
        log.warning("robot_speaks_for_another", sender=sender, user=delivery.user_id, worker=worker)
        if delivery.user_id == worker_user(sender):
            with database_errors():
                await self._doubt(sender, f"it sent a message in the name of {worker}")
        raise PermanentError(
            ErrorCode.FORBIDDEN, f"a message about robot {worker} came from {delivery.user_id or 'nobody'}"
        )
