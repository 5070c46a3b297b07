"""Robots' rights at the broker: a user of its own for each authorised robot, its permissions, and its two queues.

Owns: broker users `worker.*` and queues `worker.*`. Called by: robots.py (a person decided), main.py (comparison every
few seconds and after each reconnect). Survives a crash, also the broker's: all of it is made anew from `workers`;
passwords derive from the master key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from services.scheduler.broker_view import BrokerView
from services.scheduler.core.rights import Plan, plan
from services.scheduler.store.workers import WorkerStore
from shared.broker import Broker
from shared.broker.admin import BrokerAdmin
from shared.contracts.topology import control_queue, instructions_queue, worker_permissions, worker_user
from shared.errors import RegenteError
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.seal import Sealer

AT_ONCE = 16
"""Calls to the management API at the same time."""
REBUILT = counter(
    "regente_robot_rights_rebuilt_total", "Robots' broker users or queues that a comparison put right.", ["what"]
)

log = get_logger(__name__)


class Rights:
    """Makes the broker follow `workers`."""

    def __init__(
        self, workers: WorkerStore, broker: Broker, admin: BrokerAdmin, view: BrokerView, sealer: Sealer, *,
        kick: Callable[[], None],
    ) -> None:  # fmt: skip
        self._workers = workers
        self._broker = broker
        self._admin = admin
        self._view = view
        self._sealer = sealer
        self._kick = kick
        """Has the comparison run at once."""

    def password(self, worker: str, grant: int) -> str:
        """The password of a robot's broker user under one grant."""
        return self._sealer.derive("worker-amqp", f"{worker}:{grant}")

    async def grant(self, worker: str, grant: int) -> None:
        """Let a robot in.

        Raises: TemporaryError when the broker can't be changed now.
        """
        user = worker_user(worker)
        await self._broker.declare(instructions_queue(worker), control_queue(worker))
        await self._admin.put_user(user, self.password(worker, grant))
        await self._admin.put_permissions(user, worker_permissions(worker))

    async def grant_soon(self, worker: str, grant: int) -> None:
        """Let a robot in now if the broker is there; else the next comparison does."""
        try:
            await self.grant(worker, grant)
        except RegenteError as error:
            log.warning("robot_grant_put_off", worker=worker, reason=str(error))
            self._kick()

    async def withdraw(self, worker: str) -> None:
        """Shut a robot out: its user, then its connections, then its queues.

        Raises: TemporaryError when that can't be done now; the robot may still be connected.
        """
        user = worker_user(worker)
        await self._admin.delete_user(user)
        await self._admin.close_connections(user)
        for queue in (instructions_queue(worker), control_queue(worker)):
            await self._broker.delete_queue(queue.name)

    async def withdraw_soon(self, worker: str) -> None:
        """Shut a robot out now if the broker is there; else the next comparison does."""
        try:
            await self.withdraw(worker)
        except RegenteError as error:
            log.warning("robot_withdrawal_put_off", worker=worker, reason=str(error))
            self._kick()

    async def compare(self) -> Plan:
        """Compare the broker with `workers`, and put right what differs.

        Returns: what differed. Raises: TemporaryError when broker or database don't answer.
        """
        grants = await self._workers.grants()
        found = await self._view.look()
        passwords = {worker: self.password(worker, grant) for worker, grant in grants.items()}
        wanted = {worker: [instructions_queue(worker).name, control_queue(worker).name] for worker in passwords}
        todo = plan(passwords, found, wanted)
        if todo.empty:
            return todo
        current = await self._workers.grants()
        strays = [queue for queue in todo.drop if queue.split(".")[1] not in current]
        changed = [w for w in todo.grant if current.get(w) == grants[w]]
        missing = [w for w in todo.declare if w not in todo.grant and w in current]
        failures = [
            *await self._each([w for w in todo.revoke if w not in current], self.withdraw, "revoked"),
            *await self._each(strays, self._broker.delete_queue, "stray"),
            *await self._each(changed, lambda w: self.grant(w, grants[w]), "user"),
            *await self._each(missing, self._declare, "queue"),
        ]
        if failures:
            raise failures[0]
        return todo

    async def _declare(self, worker: str) -> None:
        await self._broker.declare(instructions_queue(worker), control_queue(worker))

    async def _each(
        self, names: Sequence[str], work: Callable[[str], Awaitable[Any]], what: str
    ) -> list[BaseException]:
        """Do something for many robots, a few at once; trouble with one keeps no other from its turn.

        Returns: what went wrong.
        """
        if not names:
            return []
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> None:
            async with gate:
                await work(name)
                REBUILT.labels(what).inc()

        log.info("robot_rights_rebuilt", what=what, robots=len(names))
        done = await asyncio.gather(*(one(name) for name in names), return_exceptions=True)
        return [error for error in done if error is not None]
