"""Tasks, runs, evidence, the queue, and the requests that people make about them."""

from __future__ import annotations

import uuid
from datetime import timedelta

import httpx
import pytest

from tests.integration.console.site import (
    ACME,
    PNG,
    Site,
    answer_commands,
    now,
    put_run,
    put_task,
    put_worker,
    workflow_files,
)


def test_tasks_are_listed_newest_first_in_pages(console: Site, admin: httpx.Client) -> None:
    batch = f"batch_{uuid.uuid4().hex}"
    at = now()
    made = [put_task(console, batch=batch, created_at=at - timedelta(seconds=n // 2)) for n in range(7)]
    seen: list[str] = []
    params: dict[str, str | int] = {"batch": batch, "limit": 3}
    while True:
        answer = admin.get("tasks", params=params)
        seen += [one["id"] for one in answer.json()["items"]]
        cursor = answer.json()["next"]
        assert ('rel="next"' in answer.headers.get("link", "")) == (cursor is not None)
        if cursor is None:
            break
        params["cursor"] = cursor
    assert sorted(seen) == sorted(made)
    created = {one: n // 2 for n, one in enumerate(made)}
    assert [created[one] for one in seen] == sorted(created.values())


def test_filters(console: Site, admin: httpx.Client) -> None:
    workflow = f"flow-{uuid.uuid4().hex[:6]}"
    admin.post("workflows", json={"account": ACME, "files": workflow_files(workflow)}).raise_for_status()
    failed = put_task(
        console,
        workflow=workflow,
        state="failed",
        reference="r-1",
        error={"kind": "business", "code": "X", "message": "m"},
    )
    queued = put_task(console, workflow=workflow, reference="r-2")
    for params, wanted in [
        ({"workflow": workflow}, {failed, queued}),
        ({"workflow": workflow, "state": "failed"}, {failed}),
        ({"reference": "r-2"}, {queued}),
        ({"workflow": workflow, "account": "other"}, set()),
    ]:
        assert {one["id"] for one in admin.get("tasks", params=params).json()["items"]} == wanted, params
    assert admin.get("tasks", params={"state": "nonsense"}).status_code == 422
    assert admin.get("tasks", params={"cursor": "nonsense"}).status_code == 400
    assert "input" not in admin.get("tasks", params={"reference": "r-2"}).json()["items"][0]


def test_task_says_why_it_waits(console: Site, admin: httpx.Client) -> None:
    workflow = f"flow-{uuid.uuid4().hex[:6]}"
    task = put_task(console, workflow=workflow)
    assert "no published version" in admin.get(f"tasks/{task}").json()["why_waiting"]
    why = admin.get("queue/why", params={"task": task}).json()
    assert why["why"] == admin.get(f"tasks/{task}").json()["why_waiting"]
    assert admin.get("queue/why", params={"task": "task_none"}).status_code == 404
    done = put_task(console, workflow=workflow, state="succeeded", result={"output": {"protocol": "p"}})
    shown = admin.get(f"tasks/{done}").json()
    assert (shown["why_waiting"], shown["result"]) == (None, {"output": {"protocol": "p"}})


def test_queue_counts_per_workflow(console: Site, admin: httpx.Client) -> None:
    workflow = f"flow-{uuid.uuid4().hex[:6]}"
    admin.post("workflows", json={"account": ACME, "files": workflow_files(workflow)}).raise_for_status()
    put_task(console, workflow=workflow, created_at=now() - timedelta(minutes=3))
    put_task(console, workflow=workflow)
    put_task(console, workflow=workflow, state="held", hold={"reason": "in_doubt", "text": "?"})
    put_task(console, workflow=workflow, state="running")
    for _ in range(100):  # counts are kept for a second
        rows = {one["workflow"]: one for one in admin.get("queue", params={"limit": 200}).json()["items"]}
        if workflow in rows and rows[workflow]["running"] == 1:
            break
    row = rows[workflow]
    assert (row["waiting"], row["running"], row["held"], row["priority"]) == (2, 1, 1, 1)
    assert 170 < row["oldest_age_s"] < 240


def test_steps_carry_their_own_outcome_and_evidence(console: Site, admin: httpx.Client) -> None:
    task, worker = put_task(console, state="succeeded"), put_worker(console, "0a0000000011", ACME)
    run = put_run(console, task, worker)
    steps = {one["seq"]: one for one in admin.get(f"runs/{run}/steps").json()["items"]}
    assert list(steps) == [1, 2, 3, 4, 5, 6]
    assert (steps[2]["name"], steps[2]["line"], steps[2]["outcome"]) == ("browser.click", 11, "error")
    assert steps[2]["error"] == "TIMEOUT: the button did not appear"
    assert (steps[3]["outcome"], steps[3]["value"], len(steps[3]["evidence"])) == ("done", "ok", 1)
    assert (steps[5]["commit"], steps[5]["outcome"], steps[5]["duration_s"]) == (True, "done", 0.25)
    assert (steps[4]["kind"], steps[6]["text"]) == ("takeover", "succeeded")
    paged: list[int] = []
    cursor = None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        found = admin.get(f"runs/{run}/steps", params=params).json()
        paged += [one["seq"] for one in found["items"]]
        assert all(one["outcome"] == steps[one["seq"]]["outcome"] for one in found["items"])
        cursor = found["next"]
        if cursor is None:
            break
    assert paged == list(steps)
    assert [one["id"] for one in admin.get("runs", params={"task": task}).json()["items"]] == [run]
    assert [one["id"] for one in admin.get("runs", params={"worker": worker}).json()["items"]] == [run]
    assert admin.get(f"runs/{run}").json()["tasks"][0]["outcome"] == "succeeded"


def test_evidence_comes_as_it_was_and_can_run_nothing(console: Site, admin: httpx.Client) -> None:
    task, worker = put_task(console, state="succeeded"), put_worker(console, "0a0000000012", ACME)
    put_run(console, task, worker)
    (evidence,) = admin.get(f"tasks/{task}").json()["evidence"]
    answer = admin.get(f"evidence/{evidence['id']}")
    assert answer.content == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{evidence["sha256"]}"'
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    console.db["evidence_links"].update_one(
        {"_id": evidence["id"]}, {"$set": {"media_type": "text/html", "name": 'a"b\n.html'}}
    )
    hostile = admin.get(f"evidence/{evidence['id']}")
    assert hostile.headers["content-disposition"].startswith("attachment")
    assert admin.get("evidence/ev_none").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "kind", "to"),
    [
        ("tasks/{held}/cancel", None, "task.cancel", "scheduler"),
        ("tasks/{held}/settle", {"outcome": "succeeded", "output": {"p": 1}}, "task.settle", "executor"),
        ("tasks/{held}/settle", {"outcome": "failed", "note": "seen"}, "task.settle", "executor"),
        ("tasks/{held}/settle", {"outcome": "again"}, "task.requeue", "scheduler"),
        ("runs/{run}/abort", {"reason": "why not"}, "run.abort", "executor"),
        ("workers/{worker}/authorise", {"account": ACME}, "worker.authorise", "scheduler"),
        ("workers/{worker}/authorise", None, "worker.authorise", "scheduler"),
        ("workers/{worker}/revoke", None, "worker.revoke", "scheduler"),
        ("workers/{worker}/mode", {"mode": "pause"}, "worker.mode", "scheduler"),
    ],
)
def test_actions_are_requests_to_the_owner(
    console: Site, admin: httpx.Client, path: str, body: dict[str, object] | None, kind: str, to: str
) -> None:
    held = put_task(console, state="held", hold={"reason": "in_doubt", "text": "?"})
    worker = put_worker(console, "0a0000000013", ACME)
    run = put_run(console, held, worker, state="executing", finished_at=None, end=None)
    with answer_commands(console) as commands:
        answer = admin.post(path.format(held=held, worker=worker, run=run), json=body)
    assert answer.status_code == 200, answer.text
    (command,) = commands
    assert answer.json() == {"command": command["_id"], "state": "done", "reason": None}
    assert (command["kind"], command["to"], command["by"]) == (kind, to, "admin")
    assert command["target"] in (held, worker, run)
    expected = {
        name: value for name, value in (body or {}).items() if not (kind == "task.requeue" and name == "outcome")
    }
    assert {name: command["args"].get(name) for name in expected} == expected
    audited = console.db["audit"].find_one({"action": kind, "details.command": command["_id"]})
    assert audited is not None
    assert audited["by"] == "admin"


def test_refused_and_unanswered_requests_say_so(console: Site, admin: httpx.Client) -> None:
    worker = put_worker(console, "0a0000000014", ACME)
    with answer_commands(console, "refused", "it is the last one"):
        refused = admin.delete(f"workers/{worker}")
    assert (refused.status_code, refused.json()["detail"]) == (409, "it is the last one")
    pending = admin.delete(f"workers/{worker}")
    assert (pending.status_code, pending.json()["state"]) == (202, "pending")
    stored = console.db["commands"].find_one({"_id": pending.json()["command"]})
    assert stored is not None
    assert stored["state"] == "pending"
    console.db["commands"].delete_one({"_id": stored["_id"]})


def test_final_tasks_and_runs_are_left_alone(console: Site, admin: httpx.Client) -> None:
    task = put_task(console, state="succeeded")
    run = put_run(console, task, put_worker(console, "0a0000000015", ACME))
    queued = put_task(console)
    for path, body in [
        (f"tasks/{task}/cancel", None),
        (f"tasks/{task}/settle", {"outcome": "failed"}),
        (f"tasks/{queued}/settle", {"outcome": "failed"}),
        (f"runs/{run}/abort", {}),
    ]:
        assert (path, admin.post(path, json=body).status_code) == (path, 409)
    assert console.db["commands"].count_documents({"target": {"$in": [task, run, queued]}}) == 0


def test_results_that_the_database_could_not_hold_are_refused(console: Site, admin: httpx.Client) -> None:
    held = put_task(console, state="held", hold={"reason": "in_doubt", "text": "?"})
    for output in ('{"a": 99999999999999999999}', '{"a\\u0000": 1}', '{"a": NaN}', '{"a": "\\ud800"}', "[1]"):
        body = f'{{"outcome": "succeeded", "output": {output}}}'
        answer = admin.post(f"tasks/{held}/settle", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), output


def test_deliveries_are_listed_and_replayed(console: Site, admin: httpx.Client) -> None:
    ids = []
    for n, state in enumerate(["dead", "delivered"]):
        delivery = f"task_{uuid.uuid4().hex}:results:failed"
        about = {
            "account": ACME,
            "task": delivery.split(":")[0],
            "endpoint": "results",
            "event": "failed",
            "body": "secret body",
        }
        attempts = [{"at": now(), "status": 500, "duration_s": 0.1, "error": None, "answer": "no"}]
        made = {"state": state, "attempts": attempts, "attempts_made": n + 1, "next_at": None, "created_at": now()}
        console.db["deliveries"].insert_one(
            {"_id": delivery, "schema_version": 1, "webhook_id": "msg_1", **about, **made}
        )
        ids.append(delivery)
    dead = admin.get("deliveries", params={"state": "dead", "account": ACME, "endpoint": "results"}).json()["items"]
    assert [one["id"] for one in dead] == ids[:1]
    assert "secret body" not in admin.get("deliveries").text
    with answer_commands(console) as commands:
        assert admin.post("deliveries/replay", json={"ids": ids[:1]}).status_code == 200
    assert (commands[0]["to"], commands[0]["args"]) == ("delivery", {"ids": ids[:1]})
    assert admin.post("deliveries/replay", json={"ids": ["none"]}).status_code == 404
    assert admin.post("deliveries/replay", json={"ids": ids, "state": "dead"}).status_code == 422
    assert admin.post("deliveries/replay", json={"state": "dead", "account": ACME}).status_code == 422
    admin.put(f"endpoints/{ACME}/results", json={"url": "https://acme.example/"}).raise_for_status()
    with answer_commands(console) as commands:
        body = {"state": "dead", "account": ACME, "endpoint": "results"}
        assert admin.post("deliveries/replay", json=body).status_code == 200
    assert commands[0]["args"] == body
    with console.client("olga") as other:
        assert other.post("deliveries/replay", json={"ids": ids[:1]}).status_code == 404
