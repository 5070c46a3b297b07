"""What may be archived, deleted, erased: pure rules against slow models."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core.erasure import MARK, erased_body, erased_step, erased_task, query_of
from services.delivery.core.retention import Cutoffs, cutoffs, obstacle
from shared.domain.delivery_state import DeliveryState
from shared.domain.erasure import canonical
from shared.domain.legal_hold import covered, covers
from shared.domain.run_state import RunState
from shared.domain.task_state import TaskState

AT = datetime(2027, 1, 31, 12, tzinfo=UTC)
SECRET = "Maria-52998224725"
maybe = st.none() | st.sampled_from(["a", "b"])
holds = st.fixed_dictionaries(
    {
        "account": st.sampled_from(["acme", "other"]),
        "workflow": maybe,
        "task": maybe,
        "reference": maybe,
        "lifted_at": st.sampled_from([None, None, AT]),
    }
)
things = st.fixed_dictionaries({"account": st.just("acme"), "workflow": maybe, "task": maybe, "reference": maybe})
days = st.none() | st.integers(1, 400)


@given(holds, things)
def test_a_hold_covers_what_is_the_same_in_all_that_it_names(hold: dict[str, Any], thing: dict[str, Any]) -> None:
    expected = hold["lifted_at"] is None and hold["account"] == thing["account"]
    for name in ("workflow", "task", "reference"):
        expected = expected and (hold[name] is None or hold[name] == thing[name])
    assert covers(hold, thing) == expected
    assert covered([hold], thing) == expected


@given(days, days, days)
def test_what_is_not_set_is_kept_for_ever(results: int | None, archive: int | None, evidence: int | None) -> None:
    settings = {"retention": {"results_days": results, "archive_days": archive, "evidence_days": evidence}}
    found = cutoffs(settings, AT)
    assert found.results == (AT - timedelta(days=results) if results else None)
    assert found.archive == (AT - timedelta(days=archive) if archive and results else None)
    assert found.evidence == (AT - timedelta(days=evidence) if evidence else None)
    for nothing in (None, {}, {"retention": None}, {"retention": {}}):
        assert cutoffs(nothing, AT) == Cutoffs(None, None, None)


@given(
    state=st.sampled_from(list(TaskState)),
    age_s=st.none() | st.integers(-10, 10),
    pending=st.sampled_from([None, {"to": "delivery"}]),
    held_by=st.sampled_from([None, {"run": "r"}]),
    found=st.lists(holds, max_size=3),
    deliveries=st.lists(st.sampled_from(list(DeliveryState)), max_size=3),
    runs=st.lists(st.tuples(st.sampled_from(list(RunState)), st.booleans()), max_size=2),
)
def test_a_task_is_archived_only_when_nobody_has_anything_more_to_do_with_it(
    state: TaskState,
    age_s: int | None,
    pending: Any,
    held_by: Any,
    found: list[dict[str, Any]],
    deliveries: list[DeliveryState],
    runs: list[tuple[RunState, bool]],
) -> None:
    task = {
        "_id": "a", "account": "acme", "workflow": "b", "reference": "a", "state": state.value, "pending": pending,
        "held_by": held_by, "finished_at": None if age_s is None else AT - timedelta(seconds=age_s),
    }  # fmt: skip
    why = obstacle(
        task,
        before=AT,
        holds=found,
        deliveries=[one.value for one in deliveries],
        runs=[{"state": one.value, "pending": {"to": "scheduler"} if waits else None} for one, waits in runs],
    )
    free = (
        state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED)
        and age_s is not None
        and age_s > 0
        and pending is None
        and held_by is None
        and not any(covers(hold, {"account": "acme", "workflow": "b", "task": "a", "reference": "a"}) for hold in found)
        and all(one in (DeliveryState.DELIVERED, DeliveryState.DEAD) for one in deliveries)
        and all(one in (RunState.FINISHED, RunState.ABORTED) and not waits for one, waits in runs)
    )
    assert (why is None) == free


leaves = st.sampled_from([SECRET, f"x {SECRET} y", 5, None, True])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3)
)


@given(values, values, st.booleans())
def test_nothing_of_the_person_stays(value: Any, other: Any, wrapped: bool) -> None:
    error = {"kind": "system", "code": "TIMEOUT", "message": SECRET, "recent": [other], "context": other}
    view = {
        "id": "task_1", "reference": "R1", "workflow": "tax", "state": "failed", "attempts": 2, "result": value,
        "error": error, "evidence": [{"id": "ev_1", "name": SECRET}], "hold": {"reason": "person", "text": SECRET},
        "task": other,
    }  # fmt: skip
    body = {"type": "task.failed", "timestamp": "t", "data": view} if wrapped else view
    erased = erased_body(json.dumps(body))
    assert SECRET not in erased
    data = json.loads(erased)["data"] if wrapped else json.loads(erased)
    assert (data["id"], data["reference"], data["attempts"], data["error"]["code"]) == ("task_1", "R1", 2, "TIMEOUT")
    assert erased_body(erased) == erased
    task = {
        "input": value, "result": {"output": other}, "error": error, "hold": {"reason": "input", "text": SECRET},
        "evidence": [other], "history": [{"at": AT, "state": "failed", "reason": SECRET}], "group": SECRET,
        "input_digest": SECRET, "files": [SECRET],
    }  # fmt: skip
    assert set(erased_task(task, "e")) == set(task)
    assert SECRET not in repr(erased_task(task, "e"))
    step = {
        "instruction": {"name": "browser.fill", "args": {"text": other}, "effect": "act", "line": 4, "note": SECRET},
        "reply": {"seq": 3, "outcome": "done", "value": value, "error": error, "context": other},
        "outcome": {"state": "failed", "output": value, "error": error, "hold": {"reason": "person", "text": SECRET}},
        "logs": [{"message": SECRET}], "answers": [AT],
    }  # fmt: skip
    left = erased_step(step)
    assert set(step) <= set(left)
    assert SECRET not in repr(left)
    assert (left["instruction"]["name"], left["reply"]["outcome"]) == ("browser.fill", "done")


def test_a_broken_body_is_erased_too() -> None:
    assert SECRET not in erased_body(SECRET)
    assert json.loads(erased_body(SECRET))["erased"] is True
    assert erased_task({"error": None}, "e")["input"] == {MARK: "e"}


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5), st.randoms())
def test_the_same_criteria_are_the_same_text(references: list[str], random: Any) -> None:
    shuffled = [*references, references[0]]
    random.shuffle(shuffled)
    first, second = canonical({"references": references, "workflow": None}), canonical({"references": shuffled})
    assert first == second
    assert canonical({"field": "cpf", "value": "1"}) != canonical({"field": "cpf", "value": 1})


def test_criteria_become_queries_that_leave_out_what_is_erased() -> None:
    query = query_of({"references": ["a"]}, "acme", ["tax", "vat"])
    assert query == {
        "account": "acme",
        "erased": None,
        "workflow": {"$in": ["tax", "vat"]},
        "reference": {"$in": ["a"]},
    }
    query = query_of({"field": "customer.cpf", "value": "1", "workflow": "tax"}, "acme", [])
    assert query == {"account": "acme", "erased": None, "workflow": "tax", "input.customer.cpf": {"$eq": "1"}}
