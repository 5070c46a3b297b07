"""One trace leads from a partner's push to the delivery, through the real services, to a real collector of traces."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from shared.obs.trace import derived, trace_id
from tests.e2e.stack import Stack
from tests.e2e.test_faults import GOOD, slow_submits, submitting, tasks
from tests.otlp_receiver import ROOT, Received, gaps

SERVICES = {f"regente-{name}" for name in ("collector", "scheduler", "executor", "delivery")}
ONCE = ["attempt", "delivery", "outcome", "push", "queue", "run", "settle", "setup", "task", "teardown"]


@pytest.fixture(autouse=True)
def healthy_portal(stack: Stack) -> Iterator[None]:
    yield
    stack.until(stack.all_ready, "whatever a test killed is back")
    stack.portal.delete("/_demo/faults").raise_for_status()
    stack.forgive()


def trace_of(stack: Stack, task: str) -> str:
    found = trace_id(stack.task(task)["traceparent"])
    assert found is not None
    return found


def connected(stack: Stack, trace: str, root: str = ROOT) -> list[Received]:
    """The spans of a task's trace once they are all there: each of them once, and all under one root."""

    def there() -> list[Received] | None:
        spans = stack.traces.trace(trace)
        names = [span.name for span in spans]
        return spans if not gaps(spans, root=root) and set(ONCE) <= set(names) else None

    def tell() -> str:
        spans = stack.traces.trace(trace)
        return f"{gaps(spans, root=root)} in {sorted(span.name for span in spans)}"

    return stack.until(there, "the trace is whole", tell=tell)  # type: ignore[no-any-return]


def one(spans: list[Received], name: str) -> Received:
    (found,) = [
        span for span in spans if span.name == name and not (name == "queue" and "regente.seq" in span.attributes)
    ]
    return found


def test_from_push_to_delivery_in_one_trace(stack: Stack) -> None:
    (id,) = stack.push(tasks(1)).values()
    assert stack.until_settled([id]) == ["succeeded"]
    spans = connected(stack, trace_of(stack, id))
    assert {span.service for span in spans} == SERVICES
    by_id = {span.id: span for span in spans}
    under = {name: by_id[one(spans, name).parent].name for name in ONCE if name != "push"}
    assert under == {
        "task": "push", "queue": "task", "run": "task", "settle": "task", "delivery": "task", "setup": "run",
        "teardown": "run", "attempt": "run", "outcome": "attempt",
    }  # fmt: skip
    steps = stack.database["steps"].count_documents({"run": one(spans, "run").attributes["regente.run"],
                                                     "kind": "instruction"})  # fmt: skip
    instructions = [span for span in spans if span.name.startswith("instruction ")]
    assert len(instructions) == steps > 5
    for span in instructions:
        parts = {part.name: part for part in spans if part.parent == span.id}
        assert set(parts) == {"server", "queue", "robot"}
        assert all(span.start_ns <= part.start_ns <= part.end_ns <= span.end_ns for part in parts.values())
        assert by_id[span.parent].name in {"setup", "attempt", "teardown"}
    assert not any(span.failed for span in spans)
    whole = one(spans, "task")
    assert whole.attributes["regente.task"] == id
    assert one(spans, "delivery").start_ns >= one(spans, "push").start_ns


def test_a_partners_trace_is_continued_and_the_partner_gets_it_back(stack: Stack) -> None:
    trace, parent = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    body = {"workflow": "tax-certificate", "tasks": tasks(2)}
    answer = stack.collector.post("/v1/tasks", json=body, headers={"traceparent": f"00-{trace}-{parent}-01"})
    ids = [item["id"] for item in answer.raise_for_status().json()["accepted"]]
    assert stack.until_settled(ids) == ["succeeded"] * 2
    spans = connected(stack, trace, root=parent)
    assert len([span for span in spans if span.name == "task"]) == 2

    def handed_over() -> bool:
        return len([span for span in stack.traces.trace(trace) if span.name == "delivery"]) == 2

    stack.until(handed_over, "both deliveries")


def test_each_task_of_a_push_has_a_trace_linked_to_the_push(stack: Stack) -> None:
    first, other = stack.push(tasks(2)).values()
    assert stack.until_settled([first, other]) == ["succeeded"] * 2
    mine, its = trace_of(stack, first), trace_of(stack, other)
    assert mine != its
    push = one(connected(stack, mine), "push")

    def there() -> list[Received] | None:
        spans = stack.traces.trace(its)
        return spans if not gaps(spans) and {"task", "attempt", "delivery"} <= {span.name for span in spans} else None

    spans = stack.until(there, "the other task's trace")
    assert one(spans, "task").parent == ROOT
    assert one(spans, "task").links == ((mine, push.id),)
    run = one(spans, "attempt").links or ((its, one(spans, "run").id),)
    assert run[0][1] == derived("run", stack.database["runs"].find_one({"tasks.task": other})["_id"])  # type: ignore[index]


def test_the_trace_goes_on_after_the_executor_was_killed(stack: Stack) -> None:
    slow_submits(stack, 4.0)
    (id,) = stack.push(tasks(1)).values()
    step = stack.until(lambda: submitting(stack, [id]), "a submit in flight")
    stack.kill("-".join(step["executor"].split("-")[:2]))
    assert stack.until_settled([id]) == ["succeeded"]
    spans = connected(stack, trace_of(stack, id))
    (submit,) = [span for span in spans if span.id == derived("instruction", f"{step['run']}/{step['seq']}")]
    assert submit.attributes["regente.again"] is True
    assert submit.end_ns - submit.start_ns > 3_000_000_000, "it began with the executor that was killed"
    run = one(spans, "run")
    assert run.start_ns <= one(spans, "setup").start_ns, (
        "what it did before stands under the run that another one ended"
    )
    assert run.attributes["regente.executor"] != step["executor"]


def test_logs_of_every_service_name_the_trace_and_spans_name_no_inputs(stack: Stack) -> None:
    (pushed,) = rows = tasks(1)
    (id,) = stack.push(rows).values()
    assert stack.until_settled([id]) == ["succeeded"]
    trace = trace_of(stack, id)
    connected(stack, trace)

    def named() -> bool:
        return {"scheduler", "executor", "delivery"} <= set(
            stack.database["logs"].distinct("service", {"trace": trace})
        )

    stack.until(named, "log lines of the trace")
    password = (stack.demo.pki_folder / "acme.p12.password").read_text()
    planted = [GOOD, pushed["reference"], password, stack.admin.key, stack.admin.password]
    everything = b"".join(stack.traces.bodies)
    assert everything
    assert not [text for text in planted if text.encode() in everything]


def test_nobody_minds_a_collector_of_traces_that_fails(stack: Stack) -> None:
    stack.traces.status = 503
    try:
        ids = list(stack.push(tasks(2)).values())
        assert stack.until_settled(ids) == ["succeeded"] * 2
    finally:
        stack.traces.status = 200
    missing: list[Any] = [one for one in stack.launcher.supervisor.kept if one.child is None]
    assert not missing
