"""The instruction that the robot has in hand: who asked, when it begins, when it is given up.

Called by: the engine, from its one thread. Survives a crash: nothing; the journal knows the act.

An instruction may be told to pause first. It does so here, before the driver hears of it: so whoever cuts it in its
pause knows that nothing was done. The pause is part of the instruction's time, and leaves room for the act.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from regente_agent.amqp import Delivery
from regente_agent.drivers.contract import WAIT_GRACE_S
from regente_agent.wire import Instruction


@dataclass
class InHand:
    """One instruction, from its message to its outcome. Times are of the monotonic clock."""

    instruction: Instruction
    deadline: float
    began: float
    pause_s: float
    waiters: List[Tuple[Instruction, Optional[Delivery]]] = field(default_factory=list)
    """Who asked, and the message that asked: the newest reply address last."""
    begun: bool = False
    """Whether the driver has it."""
    stopping: bool = False
    cutting: Optional[Tuple[str, str]] = None
    """Code and text of why it is given up: the driver is killed as soon as it has told what it sees, or at `deadline`.
    Whatever it does meanwhile counts no more."""
    seen: Dict[str, Any] = field(default_factory=dict)
    """What it told."""

    @classmethod
    def of(cls, instruction: Instruction, delivery: Delivery, now: float) -> "InHand":
        """What just came."""
        pause_s = min(instruction.pause_s, max(0.0, instruction.timeout_s - WAIT_GRACE_S - 1.0))
        return cls(instruction, now + instruction.timeout_s, now, pause_s, [(instruction, delivery)])

    @property
    def due(self) -> float:
        """When something has to be done about it: begin, or give it up."""
        return self.deadline if self.begun else min(self.began + self.pause_s, self.deadline)

    @property
    def may_have_acted(self) -> bool:
        """Whether something may have been changed by now."""
        return self.begun and self.instruction.effect == "act"
