"""Rules fire because the condition is really there, and resolve because it is really gone: real tasks, partners,
robots and services, nothing written to the database. What is not caused here is caused by the tests of ELSEWHERE.

All conditions of a test are there at once, as on a bad day: none hides another.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo.console import ConsoleError
from docs.generate import ROOT
from shared.domain.alert_rules import DEFAULTS, RuleKind
from shared.domain.decision import address_of
from tests.e2e.stack import Stack
from tests.e2e.test_faults import healthy_portal, settle, slow_submits, submitting, tasks
from tests.integration.delivery.conftest import Answer, PartnerSide

__all__ = ["healthy_portal"]

K = RuleKind
WORK = (K.WORKFLOW_IDLE, K.TASK_WAITING, K.TASK_RUNNING, K.DEADLINE_DANGER, K.FAILURE_RATE, K.DECISION_WAITING)
PARTNERS = (K.DELIVERY_DEAD, K.ENDPOINT_DOWN, K.ENDPOINT_DISABLED, K.POLLER_FAILING, K.SCENARIO_HELD)
ROBOTS = (K.RUN_STUCK, K.ROBOT_FROZEN, K.TASK_IN_DOUBT)
AWAY = (K.ROBOT_LOST, K.SERVICE_DOWN, K.QUEUE_DEEP)
ELSEWHERE = {
    K.ROBOT_QUARANTINED: "test_chains.py::test_runs_that_fail_again_and_again",
    K.WORKFLOW_HELD: "test_chains.py::test_runs_that_fail_again_and_again",
    K.UNAUTHORISED_ATTEMPT: "test_chains.py::test_another_machine_with_a_robots_address",
    K.LIMIT_WARNING: "test_rules.py::test_a_limit_is_nearly_and_then_wholly_used_up",
    K.LIMIT_REACHED: "test_rules.py::test_a_limit_is_nearly_and_then_wholly_used_up",
    K.BROKER_UNHEALTHY: "test_health.py::test_without_a_broker",
    K.DATABASE_UNHEALTHY: "test_members.py::test_what_is_wrong_with_members",
    K.CANARY_FAILING: "test_canary.py::test_the_canary_is_missed_while_a_service_is_down_and_comes_back",
}
FIRES_S = RESOLVES_S = 90.0
WORKFLOW = """
name: {name}
input: {{type: object}}
scenarios: [{{name: only, worker: false, max_tasks: 1, script: only.py}}]
settings:
  retry: {{attempts: 1}}
  breaker: {{failures: null}}
  concurrency: {{runs: 2}}
  delivery: {{endpoint: {endpoint}, events: [succeeded]}}
"""
SCRIPT = """
from regente import business_error, decide, wait

def execute(task: dict[str, str]) -> dict[str, object]:
    if task["do"] == "fail":
        business_error("as it was asked to")
    if task["do"] == "work":
        for _ in range(int(task["rounds"])):
            wait(4)
    if task["do"] == "ask":
        return {"said": decide("Which of the two?", options=["A", "B"], timeout=3600)}
    return {}
"""
BAD_SETUP = """
def setup(group: dict[str, str]) -> None:
    raise RuntimeError("the log-in page is not what it was")

def execute(task: dict[str, str]) -> dict[str, object]:
    return {}
"""


class Scene:
    """Rules of the test's own, and what they made."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.account = stack.console.account
        self.mark = uuid.uuid4().hex[:6]

    def rule(self, kind: RuleKind, where: dict[str, str], **params: Any) -> None:
        """Set the installation's rule as an administrator would: at once, and only for what the test does."""
        default = next(rule for rule in DEFAULTS if rule.kind is kind)
        body = {"kind": kind.value, "title": default.title, "severity": default.severity.value, "for_s": 0.0}
        self.stack.console._call("PUT", f"rules/{kind.value}", json={**body, "where": where, "params": params})

    def workflow(self, what: str, endpoint: str = "acme-results", script: str = SCRIPT) -> str:
        """Publish a workflow that the server runs alone."""
        name = f"{what}-{self.mark}"
        files = {"workflow.yaml": WORKFLOW.format(name=name, endpoint=endpoint), "only.py": script}
        self.stack.console.publish(files)
        return name

    def push(self, workflow: str, *inputs: dict[str, str], **fields: Any) -> list[str]:
        """Tasks; their ids."""
        rows = [{"reference": uuid.uuid4().hex, "input": one, **fields} for one in inputs]
        return list(self.stack.push(rows, workflow).values())

    def endpoint(self, what: str, url: str) -> str:
        """An endpoint of the account."""
        name = f"{what}-{self.mark}"
        self.stack.console._call("PUT", f"endpoints/{self.account}/{name}", json={"url": url})
        return name

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """The console's API."""
        return self.stack.console._call(method, path, json=body)

    def alerts(self, kinds: tuple[RuleKind, ...], state: str) -> dict[RuleKind, dict[str, Any]]:
        """The newest alert of each kind in this state, as people see them."""
        params = {"state": state, "limit": 200}
        found = self.stack.console._call("GET", "alerts", params=params)["items"]
        return {K(one["kind"]): one for one in reversed(found) if one["kind"] in kinds}

    def until(
        self, kinds: tuple[RuleKind, ...], state: str, seconds: float, meanwhile: Callable[[], Any] = lambda: None
    ) -> dict[RuleKind, dict[str, Any]]:
        """Wait until there is an alert of each kind in this state."""

        def all_there() -> dict[RuleKind, dict[str, Any]] | None:
            meanwhile()
            found = self.alerts(kinds, state)
            return found if set(found) == set(kinds) else None

        missing = lambda: f"missing {set(kinds) - set(self.alerts(kinds, state))}"  # noqa: E731
        return dict(self.stack.until(all_there, f"{state}: {kinds}", seconds, tell=missing))

    def resolved(self, fired: dict[RuleKind, dict[str, Any]]) -> None:
        """Wait until these very alerts are over, by themselves."""
        ids = [alert["id"] for alert in fired.values()]

        def over() -> bool:
            return all(one["state"] == "resolved" for one in self.states(ids))

        def tell() -> str:
            return str([(one["kind"], one["text"]) for one in self.states(ids) if one["state"] != "resolved"])

        self.stack.until(over, "resolved", RESOLVES_S, tell=tell)
        assert {one["resolved_why"] for one in self.states(ids)} == {"over"}

    def states(self, ids: list[str]) -> list[dict[str, Any]]:
        """Alerts by their ids."""
        return [self.stack.console._call("GET", f"alerts/{id}") for id in ids]


@pytest.fixture
def scene(stack: Stack) -> Iterator[Scene]:
    made = Scene(stack)
    yield made
    for default in DEFAULTS:
        fields = default.model_dump(mode="json", exclude={"id", "account", "rev"})
        stack.console._call("PUT", f"rules/{default.id}", json=fields)


@pytest.fixture
def side() -> Iterator[PartnerSide]:
    made = PartnerSide()
    yield made
    made.close()


def test_every_kind_is_caused_for_real() -> None:
    assert {*WORK, *PARTNERS, *ROBOTS, *AWAY, *ELSEWHERE} == set(K)
    folder = ROOT / "tests" / "integration" / "alerts"
    for place in ELSEWHERE.values():
        file, _, name = place.partition("::")
        assert f"def {name}(" in (folder / file).read_text(), place


def test_rules_about_work(stack: Stack, scene: Scene) -> None:
    idle, waits, runs, late, fails, asks = (
        scene.workflow(what) for what in ("idle", "waits", "runs", "late", "fails", "asks")
    )
    scene.push(late, {"do": "work", "rounds": "1"})  # from which the scheduler learns how long one takes
    scene.rule(K.WORKFLOW_IDLE, {"workflow": idle}, idle_s=3)
    scene.rule(K.TASK_WAITING, {"workflow": waits}, still_s=2)
    scene.rule(K.TASK_RUNNING, {"workflow": runs}, still_s=2)
    scene.rule(K.DEADLINE_DANGER, {"workflow": late}, within_s=3600, margin_s=0)
    scene.rule(K.FAILURE_RATE, {"workflow": fails}, min_tasks=4, percent=50)
    scene.rule(K.DECISION_WAITING, {"workflow": asks}, still_s=1)
    stack.until(lambda: stack.database["paces"].find_one({"_id": f"{scene.account}/{late}"}), "its pace is known")
    scene.push(idle, {"do": "nothing"})
    scene.call("POST", f"workflows/{scene.account}/{waits}/hold", text="for a test", mode="pause")
    scene.push(waits, {"do": "nothing"})
    scene.push(fails, *({"do": "fail"},) * 4)
    scene.push(asks, {"do": "ask"})
    (running,) = scene.push(runs, {"do": "work", "rounds": "900"})
    soon = datetime.now(UTC) + timedelta(seconds=600)
    deadline = (soon + timedelta(seconds=1)).isoformat()
    (tight,) = scene.push(late, {"do": "work", "rounds": "1"}, not_before=soon.isoformat(), deadline=deadline)
    fired = scene.until(WORK, "firing", FIRES_S)
    assert fired[K.TASK_RUNNING]["target"] == f"task/{running}"
    assert "held" in fired[K.TASK_WAITING]["text"]
    assert "Which of the two?" in fired[K.DECISION_WAITING]["text"]
    assert "4 of the 4 newest tasks" in fired[K.FAILURE_RATE]["text"]
    assert "will probably miss the deadline" in fired[K.DEADLINE_DANGER]["text"]
    scene.rule(K.WORKFLOW_IDLE, {"workflow": idle}, idle_s=60)
    scene.push(idle, {"do": "nothing"})
    scene.call("POST", f"workflows/{scene.account}/{waits}/release")
    decision = address_of(fired[K.DECISION_WAITING]["target"].removeprefix("decision/"))
    scene.call("POST", f"decisions/{decision}/answer", answer="A")
    for task in (running, tight):
        scene.call("POST", f"tasks/{task}/cancel")
    scene.push(fails, *({"do": "nothing"},) * 5)
    scene.resolved(fired)


def test_rules_about_partners(stack: Stack, scene: Scene, side: PartnerSide) -> None:
    dead, down, gone = (scene.endpoint(what, f"{side.url}/{what}") for what in ("dead", "down", "gone"))
    side.will("/dead", *[Answer(500)] * 12)
    side.will("/down", *[Answer(503)] * 400)
    side.will("/gone", Answer(410))
    side.will("/orders", *[Answer(503)] * 50)
    to_dead, to_down, to_gone, bad = (
        scene.workflow("to-dead", dead), scene.workflow("to-down", down), scene.workflow("to-gone", gone),
        scene.workflow("bad-setup", script=BAD_SETUP),
    )  # fmt: skip
    scene.rule(K.DELIVERY_DEAD, {"endpoint": dead})
    scene.rule(K.ENDPOINT_DOWN, {"endpoint": down})
    scene.rule(K.ENDPOINT_DISABLED, {"endpoint": gone})
    source = f"orders-{scene.mark}"
    scene.rule(K.POLLER_FAILING, {"source": source})
    scene.rule(K.SCENARIO_HELD, {"workflow": bad})
    scene.push(to_dead, {"do": "nothing"})
    scene.push(to_down, *({"do": "nothing"},) * 12)
    scene.push(to_gone, {"do": "nothing"})
    waiting = scene.push(bad, *({"do": "nothing"},) * 5)  # each one's setup fails at once
    settings = {
        "kind": "poll", "schedule": {"every_s": 3600}, "request": {"url": f"{side.url}/orders", "method": "POST"},
        "item": {"reference": "id", "input": "@"},
    }  # fmt: skip
    scene.call("PUT", f"sources/{scene.account}/{source}", workflow=to_dead, settings=settings)

    def look() -> None:
        if not scene.alerts((K.POLLER_FAILING,), "firing"):
            with suppress(ConsoleError):  # it says that the partner refused
                scene.call("POST", f"sources/{scene.account}/{source}/run")

    fired = scene.until(PARTNERS, "firing", FIRES_S, look)
    assert "503" in fired[K.POLLER_FAILING]["text"]
    assert "410" in fired[K.ENDPOINT_DISABLED]["text"]
    side.will("/down")
    side.will("/dead")
    side.will("/orders", *[Answer(200, body=b"[]")] * 50)
    scene.call("POST", "deliveries/replay", account=scene.account, state="dead", endpoint=dead)
    scene.endpoint("gone", f"{side.url}/gone")
    scene.call("POST", f"sources/{scene.account}/{source}/run")
    for task in waiting:
        scene.call("POST", f"tasks/{task}/cancel")
    scene.call("POST", f"workflows/{scene.account}/{bad}/release")
    scene.call("POST", "deliveries/replay", account=scene.account, state="dead", endpoint=gone)
    scene.resolved(fired)
    stack.console._call("DELETE", f"sources/{scene.account}/{source}")
    open_ = {"state": {"$in": ["pending", "retrying", "dead"]}}
    stack.until(lambda: not stack.database["deliveries"].count_documents(open_), "everything is delivered")


def test_rules_about_robots_at_work(stack: Stack, scene: Scene) -> None:
    where = {"workflow": "tax-certificate"}
    scene.rule(K.RUN_STUCK, where, still_s=2)
    scene.rule(K.ROBOT_FROZEN, {}, still_s=2)
    scene.rule(K.TASK_IN_DOUBT, where)
    slow_submits(stack, 12.0)
    ids = list(stack.push(tasks(1)).values())
    step = stack.until(lambda: submitting(stack, ids), "a submit in flight")
    fired = scene.until((K.RUN_STUCK, K.ROBOT_FROZEN), "firing", FIRES_S)
    assert fired[K.RUN_STUCK]["target"] == f"run/{step['run']}"
    robot = fired[K.ROBOT_FROZEN]["target"].removeprefix("worker/")
    pid = stack.driver_pid({"02005e000001": "robot-1", "02005e000002": "robot-2"}[robot])
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    stack.portal.delete("/_demo/faults").raise_for_status()
    fired |= scene.until((K.TASK_IN_DOUBT,), "firing", FIRES_S)
    assert fired[K.TASK_IN_DOUBT]["target"] == f"task/{ids[0]}"
    settle(stack, ids[0], "failed")
    scene.resolved(fired)


def test_rules_about_what_is_away(stack: Stack, scene: Scene) -> None:
    """A robot and a service that hang: they are there, and do not answer."""
    workflow = scene.workflow("deep")
    scene.rule(K.ROBOT_LOST, {})
    scene.rule(K.SERVICE_DOWN, {"service": "delivery"})
    scene.rule(K.QUEUE_DEEP, {"service": "delivery.handoffs"}, depth=3)
    pids = [stack.pid("robot-1"), stack.pid("delivery-1")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        scene.push(workflow, *({"do": "nothing"},) * 5)
        fired = scene.until(AWAY, "firing", FIRES_S)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert fired[K.ROBOT_LOST]["target"] == "worker/02005e000001"
    assert fired[K.SERVICE_DOWN]["target"].startswith("service/delivery")
    assert fired[K.QUEUE_DEEP]["target"] == "queue/delivery.handoffs"
    scene.resolved(fired)
