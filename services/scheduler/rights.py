"""Robots' rights at the broker: a user of its own for each authorised robot, its permissions, and its two queues.

Owns: broker users `worker.*` and queues `worker.*`. Called by: robots.py (a person decided), main.py (comparison every
few seconds and after each reconnect). Survives a crash, also the broker's: all of it is made anew from `workers`;
passwords derive from the master key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.scheduler.broker_view import BrokerView
from services.scheduler.core.rights import Plan, plan
from services.scheduler.store.workers import WorkerStore
from shared.broker import Broker
from shared.broker.admin import BrokerAdmin
from shared.contracts.topology import control_queue, instructions_queue, worker_permissions, worker_user
from shared.errors import RegenteError, TemporaryError
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.seal import Sealer
from shared.seal.instructions import robot_key

AT_ONCE = 16
"""Calls to the management API at the same time."""
LOOKS_MAX = 5
"""How often a robot's document may change while the broker is made to follow it."""
REBUILT = counter("regente_robot_rights_rebuilt_total", "Robots that a comparison let in or shut out.", ["what"])

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

    def seal_key(self, worker: str, grant: int) -> str:
        """What executors seal a robot's secrets with under one grant."""
        return robot_key(self._sealer, worker, grant)

    async def follow(self, worker: str) -> None:
        """Make the broker say about one robot what its document says: let it in, or shut it out.

        People may change their mind meanwhile, and others (another scheduler, the comparison) may be doing the same:
        whoever was last looks again, so what the broker holds in the end is what the document says.
        Raises: TemporaryError when the broker can't be changed now; a robot to be shut out may still be connected.
        """
        for _ in range(LOOKS_MAX):
            grant = await self._workers.grant(worker)
            if grant is None:
                await self._shut_out(worker)
            else:
                await self._let_in(worker, grant)
            if await self._workers.grant(worker) == grant:
                return
        raise TemporaryError(f"robot {worker} is authorised and revoked faster than the broker follows", delay_s=1.0)

    async def follow_soon(self, worker: str) -> None:
        """The same, now if the broker is there; else the next comparison does it."""
        try:
            await self.follow(worker)
        except RegenteError as error:
            log.warning("robot_rights_put_off", worker=worker, reason=str(error))
            self._kick()

    async def compare(self) -> Plan:
        """Compare the broker with `workers`, and put right what differs; those to be shut out first.

        Returns: what differed. Raises: TemporaryError when broker or database don't answer.
        """
        grants = await self._workers.grants()
        found = await self._view.look()
        passwords = {worker: self.password(worker, grant) for worker, grant in grants.items()}
        wanted = {worker: [instructions_queue(worker).name, control_queue(worker).name] for worker in passwords}
        todo = plan(passwords, found, wanted)
        out = sorted({*todo.revoke, *todo.drop})
        failures = await self._each(out, "out") + await self._each(sorted({*todo.grant, *todo.declare}), "in")
        if failures:
            raise failures[0]
        return todo

    async def _let_in(self, worker: str, grant: int) -> None:
        """Its queues, its user, its permissions."""
        user = worker_user(worker)
        await self._broker.declare(instructions_queue(worker), control_queue(worker))
        await self._admin.put_user(user, self.password(worker, grant))
        await self._admin.put_permissions(user, worker_permissions(worker))

    async def _shut_out(self, worker: str) -> None:
        """Its user, then its connections, then its queues."""
        user = worker_user(worker)
        await self._admin.delete_user(user)
        await self._admin.close_connections(user)
        for queue in (instructions_queue(worker), control_queue(worker)):
            await self._broker.delete_queue(queue.name)

    async def _each(self, workers: Sequence[str], what: str) -> list[BaseException]:
        """Follow many robots, a few at once; trouble with one keeps no other from its turn.

        Returns: what went wrong.
        """
        if not workers:
            return []
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(worker: str) -> None:
            async with gate:
                await self.follow(worker)
                REBUILT.labels(what).inc()

        log.info("robot_rights_rebuilt", what=what, robots=len(workers))
        done = await asyncio.gather(*(one(worker) for worker in workers), return_exceptions=True)
        return [error for error in done if error is not None]
