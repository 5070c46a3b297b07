"""Every change of a task that the scheduler may make, as data: from which state, to which, and what is stored with it.

Called by: recovery.py, dispatch.py, requests.py; applied by store.tasks as one guarded update. Each change is checked
against the edge table with the scheduler as owner. Change also: ARCHITECTURE.md (tasks, hand-offs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain.priority import list_key, rank_at_end, rank_at_front
from shared.domain.retry import RetryPolicy, RetryPosition, Verdict
from shared.domain.task_state import EVENTS, FINAL, TASK, FailureKind, HoldReason, ReturnReason, TaskState

OWNER = "scheduler"
HINT_GRACE_S = 2.0
"""How long a hint may take before the receiver's sweep looks at the document itself."""
TEXT_MAX = 2000


@dataclass(frozen=True)
class Change:
    """One change of a task, ready to be applied under a guard on `before`."""

    before: TaskState
    after: TaskState
    reason: str
    """For the task's history."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What is set besides state, times and history."""
    place: Mapping[str, Any] | None = None
    """Its place in the queue, or none when it may not run (now)."""
    attempts: int = 0
    """Added to the number of attempts."""
    uncount: tuple[str, ...] = ()
    """Counters of limits that the task is taken out of in the same transaction."""

    @property
    def event(self) -> str | None:
        """What its partner hears of it, if anything."""
        return self.after.value if self.after in EVENTS and self.after is not self.before else None


def pending(to: str, what: str, at: datetime) -> dict[str, Any]:
    """The part of a document that hands it to another service; a hint follows."""
    due = at + timedelta(seconds=HINT_GRACE_S)
    return {"to": to, "what": what, "since": at, "due_at": due, "claims": 0}


def microseconds(at: datetime) -> int:
    """A stored time in microseconds since the epoch."""
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def old_place(task: Mapping[str, Any]) -> dict[str, Any]:
    """Where a task stood before a run took it or a person held it; by its times, if that was not kept."""
    placed = task.get("placed") or {}
    return _place(task, int(placed["rank"])) if "rank" in placed else _joined(task)


def _joined(task: Mapping[str, Any]) -> dict[str, Any]:
    """The place by the moment from which a task might run."""
    times = (task.get(key) for key in ("created_at", "not_before", "eligible_at"))
    return _place(task, rank_at_end(max(microseconds(at) for at in times if at is not None)))


def due_place(
    task: Mapping[str, Any], policy: RetryPolicy, now: datetime, *, front: int | None = None
) -> dict[str, Any]:
    """The place of a task whose `not_before` has come: a retry joins where the workflow says, others at the end.

    front: rank of the first task of its list, if one stands there.

    From then on the time is kept as `eligible_at`, and `not_before` is none: it stands in nobody's way any more.
    """
    if task.get("placed"):
        return old_place(task)  # its turn never came: it goes back as it was
    if task.get("attempts", 0) > 0 and policy.position is RetryPosition.FRONT:
        return _place(task, rank_at_front(microseconds(now), front))
    return _joined(task)


def given_back(
    task: Mapping[str, Any], what: ReturnReason, policy: RetryPolicy, now: datetime, *, front: int | None = None
) -> Change:
    """A run gives a task back: as it was, or for another attempt. Cancelled meanwhile, it ends here.

    task: its document, with `pending` as the executor set it (`delay_s` there: not before that time). front: rank of
    the first task of its list, if one stands there. An attempt that was none is taken out of the limits again.
    """
    reason = "its run ended before its turn" if what is ReturnReason.NOT_STARTED else "an attempt is left"
    attempts = -1 if what is ReturnReason.NOT_STARTED else 0
    fields: dict[str, Any] = {"held_by": None, "pending": None}
    out = uncounted(task, (task.get("held_by") or {}).get("run")) if what is ReturnReason.NOT_STARTED else ()
    if out:
        fields["counted"] = None
    if task.get("cancel"):
        TASK.check(TaskState.RUNNING, TaskState.QUEUED, owner=OWNER)
        TASK.check(TaskState.QUEUED, TaskState.CANCELLED, owner=OWNER)
        fields.update(pending=pending("delivery", TaskState.CANCELLED.value, now), finished_at=now)
        return Change(TaskState.RUNNING, TaskState.CANCELLED, "cancelled while it ran", fields, None, attempts, out)
    if what is ReturnReason.RETRY:
        fields["placed"] = None
    delay_s = float((task.get("pending") or {}).get("delay_s") or 0.0)
    if what is ReturnReason.RETRY:
        delay_s = max(delay_s, policy.delay_s)
    place: dict[str, Any] | None
    if delay_s > 0:
        fields["not_before"], place = now + timedelta(seconds=delay_s), None
    elif what is ReturnReason.NOT_STARTED:
        place = old_place(task)
    elif policy.position is RetryPosition.FRONT:
        place = _place(task, rank_at_front(microseconds(now), front))
    else:
        fields["eligible_at"] = now
        place = _place(task, rank_at_end(microseconds(now)))
    return _change(TaskState.RUNNING, TaskState.QUEUED, reason, now, fields, place, attempts, out)


def orphaned(
    task: Mapping[str, Any], verdict: Verdict | None, policy: RetryPolicy, now: datetime, *, why: str,
    front: int | None = None,
) -> Change:  # fmt: skip
    """A task whose run ended without saying what became of it.

    verdict: as core.zombies found it; none: the run never began on it.
    """
    if verdict is None or verdict is Verdict.RETRY:
        what = ReturnReason.NOT_STARTED if verdict is None else ReturnReason.RETRY
        return given_back(task, what, policy, now, front=front)
    error = {"kind": FailureKind.SYSTEM.value, "code": "RUN_ENDED", "message": why, "line": None, "traceback": None}
    fields: dict[str, Any] = {"error": error, "held_by": None}
    if verdict is Verdict.FAIL:
        return _change(TaskState.RUNNING, TaskState.FAILED, why, now, fields)
    fields["error"] = {**error, "kind": FailureKind.IN_DOUBT.value}
    fields["hold"] = _hold(task, HoldReason.IN_DOUBT, f"an act that can't be taken back may have been done; {why}", now)
    return _change(TaskState.RUNNING, TaskState.HELD, why, now, fields)


def poisoned(task: Mapping[str, Any], claims: int, now: datetime) -> Change:
    """A task that could not be handed on, however often it was tried."""
    text = f"it could not be given back to the queue in {claims} tries; look at the scheduler's log"
    fields = {"hold": _hold(task, HoldReason.POISON, text, now), "held_by": None}
    return _change(TaskState.RUNNING, TaskState.HELD, text, now, fields)


def misfit(task: Mapping[str, Any], text: str, now: datetime) -> Change:
    """A queued task that no longer fits its workflow's current version."""
    fields = {"hold": _hold(task, HoldReason.INPUT, text, now)}
    return _change(TaskState.QUEUED, TaskState.HELD, text, now, fields)


def expired(now: datetime) -> Change:
    """A queued task whose deadline passed before it ran."""
    return _change(TaskState.QUEUED, TaskState.EXPIRED, "its deadline passed before it ran", now, {})


def cancelled(state: TaskState, by: str, command: str, now: datetime) -> Change:
    """A queued or held task that somebody calls off."""
    fields = {"cancel": {"by": by, "at": now, "command": command}, "hold": None}
    return _change(state, TaskState.CANCELLED, f"cancelled by {by}", now, fields)


def held_by_person(task: Mapping[str, Any], by: str, text: str, now: datetime) -> Change:
    """A queued task that a person holds back."""
    said = text or f"held by {by}"
    return _change(TaskState.QUEUED, TaskState.HELD, said, now, {"hold": _hold(task, HoldReason.PERSON, said, now)})


def released(task: Mapping[str, Any], by: str, now: datetime) -> Change:
    """A held task that a person lets go on, at its old place; the attempts made so far stay counted."""
    fields = {"hold": None, "error": None, "held_by": None}
    place: dict[str, Any] | None = old_place(task)
    if task.get("not_before") is not None and microseconds(task["not_before"]) > microseconds(now):
        place = None
    return _change(TaskState.HELD, TaskState.QUEUED, f"{by} says: again", now, fields, place)


def to_front(task: Mapping[str, Any], by: str, front: int | None, now: datetime) -> Change:
    """A queued task that a person moves to the front.

    front: the lowest rank among the tasks of its level in its account; none: it stands alone.
    """
    place = {**_place(task, rank_at_front(int(task["queue"]["rank"]), front))}
    return Change(TaskState.QUEUED, TaskState.QUEUED, f"moved to the front by {by}", {}, place)


def with_priority(task: Mapping[str, Any], priority: int | None, by: str) -> Change:
    """A queued or held task that a person gives another priority (none: its workflow's); its age stays."""
    said = "its workflow's" if priority is None else str(priority)
    place = None
    if task.get("queue"):
        place = _place_in(task, priority, int(task["queue"]["rank"]))
    state = TaskState(task["state"])
    return Change(state, state, f"priority set to {said} by {by}", {"priority": priority}, place)


def uncounted(task: Mapping[str, Any], run: str | None) -> tuple[str, ...]:
    """The counters that a task is taken out of when the attempt that counted it, in `run`, was none after all."""
    counted = task.get("counted") or {}
    return tuple(counted.get("in") or ()) if run is not None and counted.get("run") == run else ()


def _change(
    before: TaskState,
    after: TaskState,
    reason: str,
    now: datetime,
    fields: Mapping[str, Any],
    place: Mapping[str, Any] | None = None,
    attempts: int = 0,
    uncount: tuple[str, ...] = (),
) -> Change:
    """A checked change, with the hand-over to delivery and the final time where the new state wants them."""
    TASK.check(before, after, owner=OWNER)
    stored = dict(fields)
    if after in EVENTS:
        stored["pending"] = pending("delivery", after.value, now)
    if after in FINAL:
        stored["finished_at"] = now
    return Change(before, after, reason[:TEXT_MAX], stored, place, attempts, uncount)


def _place(task: Mapping[str, Any], rank: int) -> dict[str, Any]:
    own = task.get("priority")
    return _place_in(task, own, rank)


def _place_in(task: Mapping[str, Any], priority: int | None, rank: int) -> dict[str, Any]:
    lists = list_key(task["account"], task["workflow"], priority)
    return {"list": str(lists), "key": task.get("group") or "", "rank": rank}


def _hold(task: Mapping[str, Any], reason: HoldReason, text: str, now: datetime) -> dict[str, Any]:
    run = (task.get("held_by") or {}).get("run")
    return {"reason": reason.value, "text": text[:TEXT_MAX], "at": now, "run": run, "seq": None}
