"""What every run of one executor uses. Called by: main.py (makes it), runner.py and what it is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from services.executor.evidence import EvidenceStore
from services.executor.interpreter import Interpreter
from services.executor.limits import RunLimits
from services.executor.matches import Matches
from services.executor.pacing import Pacing
from services.executor.robots import Robots
from services.executor.sealing import Sealing
from services.executor.secrets import Secrets
from services.executor.server import Server
from services.executor.store import ExecutorStore
from services.executor.store_waits import WaitStore

Hint = Callable[[str, Any], Awaitable[None]]


@dataclass(frozen=True)
class Tools:
    """The parts of an executor that its runs share."""

    store: ExecutorStore
    waits: WaitStore
    evidence: EvidenceStore
    interpreter: Interpreter
    robots: Robots
    matches: Matches
    pacing: Pacing
    server: Server
    secrets: Secrets
    sealing: Sealing
    hint: Hint
    """Sends a hint by routing key; a failure is not an error."""
    executor: str
    """Who this process is to runs and robots."""
    limits: RunLimits
    """Of each run."""
