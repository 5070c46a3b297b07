"""Tasks that come again and again, as from a partner: some for the server alone, now and then one for a robot."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.stack import Stack
from tests.e2e.test_faults import tasks

EVERY_S = 0.5
ROBOT_EVERY = 50
"""One of so many tasks is for a robot, and one at each fault."""
RETRY_S = 0.3
WORKFLOW = """
name: chaos
input: {type: object}
scenarios: [{name: only, worker: false, max_tasks: 5, script: only.py}]
settings:
  retry: {attempts: 5, delay: 1s}
  breaker: {failures: null}
  delivery: {endpoint: acme-results, events: [succeeded, failed, held]}
"""
SCRIPT = """
from regente import wait

def execute(task: dict[str, str]) -> dict[str, object]:
    wait(0.3)
    wait(0.3)
    return {"did": task["n"]}
"""


@dataclass
class Pushed:
    """A task that the partner wants done."""

    reference: str
    at_s: float
    """When it was first tried to push it, monotonic."""
    robot: bool
    id: str = ""
    """Once the push was answered."""
    tries: int = 0
    delivered_s: float | None = None


@dataclass
class Flow:
    """Pushes from a thread of its own; `look` notes what was delivered."""

    stack: Stack
    pushed: list[Pushed] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _after: int = 0

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self.robot_next = threading.Event()
        self._thread = threading.Thread(target=self._push, daemon=True)
        self._open: dict[str, Pushed] = {}
        self._http = httpx.Client(
            base_url=self.stack.admin.collector_url, timeout=10, trust_env=False, verify=self.stack.trust
        )

    def start(self) -> None:
        """Publish the workflow and begin."""
        self.stack.console.publish({"workflow.yaml": WORKFLOW, "only.py": SCRIPT})
        self._thread.start()

    def stop(self) -> None:
        """Push no more; what is being pushed is pushed to its end."""
        self._ending.set()
        self._thread.join(60)
        self._http.close()

    def look(self) -> None:
        """Note what came to the partner since the last look."""
        answer = self.stack.partner.get("/_demo/received", params={"after": self._after}).json()
        self._after = answer["last"]
        for one in answer["deliveries"]:
            pushed = self._open.get(one["content"]["data"]["reference"])
            if pushed is not None and pushed.delivered_s is None:
                pushed.delivered_s = time.monotonic()

    @property
    def outstanding(self) -> list[Pushed]:
        """Not delivered yet."""
        return [one for one in self.pushed if one.delivered_s is None]

    def _push(self) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            robot = len(self.pushed) % ROBOT_EVERY == ROBOT_EVERY - 1 or self.robot_next.is_set()
            self.robot_next.clear()
            body = self._task(robot)
            one = Pushed(body["tasks"][0]["reference"], time.monotonic(), robot)
            self._open[one.reference] = one
            self.pushed.append(one)
            self._send(one, body)
            due = max(due + EVERY_S, time.monotonic())
            self._ending.wait(max(0.0, due - time.monotonic()))

    def _task(self, robot: bool) -> dict[str, Any]:
        if robot:
            return {"workflow": "tax-certificate", "tasks": tasks(1)}
        reference = f"chaos-{uuid.uuid4().hex}"
        return {"workflow": "chaos", "tasks": [{"reference": reference, "input": {"n": reference}}]}

    def _send(self, one: Pushed, body: dict[str, Any]) -> None:
        """Until it is answered: the same reference is one task, however often it comes."""
        key = {"authorization": f"Bearer {self.stack.admin.key}"}
        while True:
            one.tries += 1
            try:
                answer = self._http.post("/v1/tasks", json=body, headers=key)
            except httpx.TransportError:
                time.sleep(RETRY_S)
                continue
            if answer.status_code == 202:
                one.id = answer.json()["accepted"][0]["id"]
                return
            if answer.status_code < 500 and answer.status_code != 429:
                self.refused.append(f"{answer.status_code} {answer.text[:300]}")
                return
            time.sleep(RETRY_S)
