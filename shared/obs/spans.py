"""The spans of a task's way, made from the documents that remember it.

Called by: the services, where a piece of work ends. Survives a crash: a span's id and parent follow from ids of
documents, so a span that two processes make (the second because it can't know of the first) is one span, and one whose
parent never came to its end still has the parent that whoever ends it will send. Change also: docs/tracing.md,
docs/adr/0029.

    push                    collector  the request that brought the task, or what a source brought
      task                  delivery   from its insert to its end
        queue               scheduler  from its place in the queue to the run that took it
        run                 executor   from its opening to its end, in the trace of its first task
          setup, teardown   executor
          attempt           executor   a task's turn; of the run's other tasks it stands under `task`, with a link
            instruction     executor   stored, performed, answered
              server, queue, robot     where its time went
            outcome         executor   the outcome is brought to the task
        settle              delivery   deliveries and the feed's entry are made
        delivery            delivery   an attempt to hand it over

A partner's push may bring ten thousand tasks. Where the partner gave a trace, all of them continue it. Otherwise the
first item's trace is the push's, and each other task has one of its own, with a link to the push.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.obs.clock import now
from shared.obs.trace import begun, derived, derived_trace, span_id, trace_id, use, within
from shared.obs.tracing import Span, SpanKind, record, records

Document = Mapping[str, Any]


def push_context(batch: str, given: str | None) -> str:
    """The traceparent of a push's span. given: the trace that the partner asked to continue."""
    trace = trace_id(given)
    return begun(trace or derived_trace("push", batch), derived("push", batch))


def own_trace(task: str) -> str:
    """The traceparent of the span of a task that begins a trace of its own: stored on it, it says that there is no
    parent. What other tasks store is their parent, the push's span."""
    return begun(derived_trace("task", task), derived("task", task))


def task_context(task: Document) -> str:
    """The traceparent of a task's span; also of one that was made when nobody stored any."""
    id, stored = str(task["_id"]), task.get("traceparent")
    span = derived("task", id)
    return within(stored, span) if trace_id(stored) else begun(derived_trace("task", id), span)


def run_context(run: Document) -> str:
    """The traceparent of a run's span: in the trace of its first task, which it stores; in one of its own when
    it was opened without tasks."""
    id, stored = str(run["_id"]), run.get("traceparent")
    span = derived("run", id)
    return within(stored, span) if trace_id(stored) else begun(derived_trace("run", id), span)


def phase_context(run: Document, seq: int) -> str:
    """The traceparent of a phase of a run. seq: of the entry with which it began."""
    return within(run_context(run), derived("phase", f"{run['_id']}/{seq}"))


def attempt_context(run: Document, task: Document, attempt: int) -> str:
    """The traceparent of an attempt at a task: in the trace of the task, whatever the run's is."""
    return within(task_context(task), derived("attempt", f"{run['_id']}/{task['_id']}/{attempt}"))


def delivery_context(delivery: Document) -> str:
    """The traceparent of the next attempt at a delivery; its header carries it to the partner."""
    made = int(delivery.get("attempts_made") or 0)
    return within(task_of(delivery), derived("delivery", f"{delivery['_id']}/{made + 1}"))


def task_of(document: Document) -> str:
    """The traceparent of the task's span, of a document that names a task and stores the same trace."""
    about = str(document.get("task") or document["_id"])
    return task_context({"_id": about, "traceparent": document.get("traceparent")})


def note_push(context: str, given: str | None, start: datetime, end: datetime, **attributes: Any) -> None:
    """A push was taken. given: the trace that the partner asked to continue."""
    kind = SpanKind.INTERNAL if attributes.get("source") else SpanKind.SERVER
    record(Span("push", context, span_id(given), start, end, kind, attributes=attributes))


def note_queue(run: Document, task: Document, at: datetime) -> None:
    """A run took a task, as it was read before, from its place in the queue."""
    context = task_context(task)
    if not records(context):
        return
    own = within(context, derived("queue", f"{run['_id']}/{task['_id']}"))
    attributes = {
        **_about(task), "task": task["_id"], "run": run["_id"], "scenario": run.get("scenario"),
        "worker": run.get("worker"),
    }  # fmt: skip
    record(Span("queue", own, span_id(context), _queued_at(task), at, attributes=attributes))


@contextmanager
def taken(run: Document, tasks: Sequence[Document]) -> Iterator[None]:
    """A run took tasks; what is inside belongs to the run. tasks: as they were read before; those that the run does not
    list, where it lists any, were gone by then."""
    had, at = {item["task"] for item in run.get("tasks") or ()}, now()
    for task in tasks:
        if not had or task["_id"] in had:
            note_queue(run, task, at)
    with use(run_context(run)):
        yield


def note_run(run: Document, at: datetime, *, state: str, reason: str, code: str) -> None:
    """A run came to its end."""
    context = run_context(run)
    if not records(context):
        return
    attributes = {
        **_about(run), "run": run["_id"], "worker": run.get("worker"), "scenario": run.get("scenario"), "state": state,
        "reason": reason, "tasks": len(run.get("tasks") or ()), "executor": run.get("executor"),
    }  # fmt: skip
    parent = span_id(run["traceparent"]) if trace_id(run.get("traceparent")) else None
    error = (code or reason) if state != "finished" else None
    record(Span("run", context, parent, run["opened_at"], at, error=error, attributes=attributes))


def note_phase(run: Document, seq: int, phase: str, start: datetime, end: datetime, code: str) -> None:
    """Setup, a keep-alive or teardown ended. seq: of the entry with which it began; code: of its failure, or empty."""
    attributes = {**_about(run), "run": run["_id"], "phase": phase, "seq": seq, "code": code or None}
    own, parent = phase_context(run, seq), span_id(run_context(run))
    record(Span(phase, own, parent, start, end, error=code or None, attributes=attributes))


def note_attempt(
    run: Document, task: Document, attempt: int, start: datetime, ends: tuple[datetime, datetime], *, state: str,
    code: str,
) -> None:  # fmt: skip
    """An attempt at a task ended, and its outcome was brought to the task. ends: of the one, and of the other."""
    own, of_run = attempt_context(run, task, attempt), run_context(run)
    same = trace_id(own) == trace_id(of_run)
    parent, links = (of_run, ()) if same else (task_context(task), (of_run,))
    attributes = {
        **_about(run), "task": task["_id"], "run": run["_id"], "attempt": attempt, "state": state, "code": code or None
    }  # fmt: skip
    ended, applied = ends
    record(Span("attempt", own, span_id(parent), start, ended, error=code or None, attributes=attributes, links=links))
    bringing = within(own, derived("outcome", f"{run['_id']}/{task['_id']}/{attempt}"))
    record(Span("outcome", bringing, span_id(own), ended, applied, attributes=attributes))


def instruction_context(phase: str, run: Document, seq: int) -> str:
    """The traceparent of an instruction. phase: the span of the phase or attempt that it is a part of."""
    return within(phase, derived("instruction", f"{run['_id']}/{seq}"))


@dataclass(frozen=True)
class Performed:
    """When what happened to an instruction, by the executor's clock."""

    stored: datetime
    answered: datetime
    sent: datetime | None = None
    """When it was sent to a robot; none: the server performed it, or it was a wait."""
    robot_s: float | None = None
    """How long the robot says that it took."""
    place: str = ""
    outcome: str | None = None
    code: str | None = None
    again: bool = False
    """It was stored by an executor that is gone, or before the run was parked."""


def note_instruction(phase: str, run: Document, entry: Document, how: Performed) -> None:
    """An instruction was answered, or given up. phase: the span that it is a part of; entry: the journal's.

    What the robot took is placed in the middle of the time in which the executor waited for it: clocks of two machines
    are never compared, so the ways there and back count as equally long, and the spans say that they are estimated.
    """
    if not records(phase):
        return
    asked, own = entry["instruction"], instruction_context(phase, run, int(entry["seq"]))
    attributes = {
        "run": run["_id"], "task": entry.get("task"), "worker": run.get("worker"), "seq": entry["seq"],
        "name": asked["name"], "effect": asked["effect"], "commit": asked["commit"], "place": how.place,
        "outcome": how.outcome, "code": how.code, "again": how.again or None,
    }  # fmt: skip
    failed = (how.code or how.outcome or "none") if how.outcome != "done" else None
    record(
        Span(
            f"instruction {asked['name']}", own, span_id(phase), how.stored, how.answered, SpanKind.CLIENT,
            error=failed, attributes=attributes,
        )
    )  # fmt: skip
    for name, start, end, estimated in _parts(how):
        part = within(own, derived(name, f"{run['_id']}/{entry['seq']}"))
        more = {"run": run["_id"], "seq": entry["seq"], "estimated": estimated or None}
        record(Span(name, part, span_id(own), start, end, attributes=more))


def note_task(task: Document) -> None:
    """A task came to its end."""
    context = task_context(task)
    if not records(context):
        return
    stored = task.get("traceparent")
    parent = span_id(stored) if trace_id(stored) and stored != context else None
    batch = task.get("batch")
    links = (push_context(str(batch), None),) if parent is None and batch else ()
    failed = task["state"] != "succeeded"
    code = (task.get("error") or {}).get("code") or task["state"]
    attributes = {
        **_about(task), "task": task["_id"], "batch": batch, "source": task.get("source"), "state": task["state"],
        "attempts": task.get("attempts"), "code": code if failed else None,
    }  # fmt: skip
    end = task.get("finished_at") or task["updated_at"]
    record(
        Span("task", context, parent, task["created_at"], end, error=code if failed else None, attributes=attributes,
             links=links)
    )  # fmt: skip


def note_settle(task: Document, event: str, start: datetime, end: datetime) -> None:
    """The deliveries and the feed's entry of a task's event stand. event: its key."""
    context = task_context(task)
    if not records(context):
        return
    own = within(context, derived("settle", f"{task['_id']}/{event}"))
    record(
        Span(
            "settle",
            own,
            span_id(context),
            start,
            end,
            attributes={**_about(task), "task": task["_id"], "event": event},
        )
    )


def note_delivery(delivery: Document, start: datetime, end: datetime, *, outcome: str, status: int | None) -> None:
    """An attempt to hand a delivery over ended."""
    if not records(delivery.get("traceparent")):
        return
    attributes = {
        "account": delivery["account"], "workflow": delivery.get("workflow"), "task": delivery.get("task"),
        "delivery": delivery["_id"], "endpoint": delivery["endpoint"], "event": delivery["event"],
        "attempt": int(delivery.get("attempts_made") or 0) + 1, "outcome": outcome, "status": status,
    }  # fmt: skip
    own, parent = delivery_context(delivery), span_id(task_of(delivery))
    error = outcome if not 200 <= (status or 0) < 300 else None
    record(Span("delivery", own, parent, start, end, SpanKind.CLIENT, error=error, attributes=attributes))


def _about(document: Document) -> dict[str, Any]:
    return {"account": document.get("account"), "workflow": document.get("workflow")}


def _queued_at(task: Document) -> datetime:
    """Since when a task has been waiting for a run: it was made, came back, was released, or its time came."""
    entries = task.get("history") or ()
    back: datetime = entries[-1]["at"] if entries and entries[-1]["state"] == "queued" else task["created_at"]
    eligible = task.get("eligible_at")
    return max(back, eligible) if eligible is not None else back


def _parts(how: Performed) -> list[tuple[str, datetime, datetime, bool]]:
    """Where an instruction's time went: name, start, end, whether that is an estimate. Pure."""
    if how.sent is None:
        return [("server", how.stored, how.answered, False)] if how.place == "server" else []
    parts = [("server", how.stored, how.sent, False), ("queue", how.sent, how.answered, False)]
    if how.robot_s is None:
        return parts
    waited = how.answered - how.sent
    took = min(timedelta(seconds=max(0.0, how.robot_s)), waited)
    began = how.sent + (waited - took) / 2
    return [*parts, ("robot", began, began + took, True)]
