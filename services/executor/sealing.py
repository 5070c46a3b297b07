"""Seals instructions that hold secrets, so that only the robot that they are for can read them.

Called by: performing.py, just before such an instruction is sent. Survives a crash: nothing; sealed anew, the same
arguments are the same instruction to the robot, which knows them by what they open to. Change also:
shared/seal/instructions.py and the agent's sealed.py (the format), the scheduler's enrolment (who has which key).

The key belongs to the robot's grant, so the document of the robot is read each time: who is authorised anew between
two sends is sent what its new key opens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from shared.contracts.messages import WorkerInstruction
from shared.errors import RegenteError
from shared.obs.logs import get_logger
from shared.seal import Sealer
from shared.seal.instructions import robot_key, seal_args

Robot = Callable[[str], Awaitable[dict[str, Any] | None]]
"""A robot by its id: its grant, and whether its agent opens what is sealed; none when there is none."""

log = get_logger(__name__)


class Unsealable(RegenteError):
    """A robot that can't be sent secrets; the text says what a person can do."""


class Sealing:
    """Seals for the robots of one executor."""

    def __init__(self, robot: Robot, sealer: Sealer, *, unsealed_allowed: bool) -> None:
        self._robot = robot
        self._sealer = sealer
        self._unsealed_allowed = unsealed_allowed
        self._told: set[str] = set()

    async def sealed(self, message: WorkerInstruction) -> WorkerInstruction:
        """The instruction with its arguments for its robot's eyes only.

        Raises: Unsealable when its agent can't open them, and the settings don't allow to send them as they are.
        """
        robot = await self._robot(message.worker) or {}
        if not robot.get("opens_sealed"):
            return self._unsealed(message)
        key = robot_key(self._sealer, message.worker, int(robot["grant"]))
        sealed = seal_args(
            key, message.args, worker=message.worker, run=message.run, seq=message.seq, epoch=message.epoch
        )
        return message.model_copy(update={"args": {}, "sealed": sealed})

    def _unsealed(self, message: WorkerInstruction) -> WorkerInstruction:
        if not self._unsealed_allowed:
            raise Unsealable(
                f"robot {message.worker} is sent no secrets: its agent can't open what is sealed. Renew the agent, "
                "with the package cryptography, or set REGENTE_UNSEALED_ROBOTS_ALLOWED=1"
            )
        if message.worker not in self._told:
            self._told.add(message.worker)
            log.warning("secrets_unsealed", worker=message.worker, reason="its agent can't open what is sealed")
        return message
