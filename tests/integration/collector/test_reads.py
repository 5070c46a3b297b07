"""What partners can ask about their tasks, batches and evidence, and how they cancel."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from typing import Any

import gridfs
import httpx
import pytest

from tests.integration.collector.conftest import Account, item
from tests.integration.collector.running import Ground, Instance, until


def push_one(account: Account, reference: str = "a") -> str:
    answer: str = account.push(item(reference)).json()["accepted"][0]["id"]
    return answer


def test_a_task_is_shown_in_the_one_shape(account: Account) -> None:
    id = push_one(account)
    view = account.http.get(f"/v1/tasks/{id}").json()
    assert (view["id"], view["reference"], view["state"], view["attempts"]) == (id, "a", "queued", 0)
    assert isinstance(view["why_waiting"], str)
    assert "input" not in view
    ended = {"state": "failed", "error": {"kind": "business", "code": "C", "message": "m", "traceback": ["x"]}}
    evidence = [{"id": "ev_1", "name": "n", "sha256": "s", "media_type": "image/png", "size_bytes": 1}]
    account.db["tasks"].update_one({"_id": id}, {"$set": {**ended, "evidence": evidence}})
    view = account.http.get(f"/v1/tasks/{id}").json()
    assert (view["error"], view["why_waiting"]) == ({"kind": "business", "code": "C", "message": "m"}, None)
    assert view["evidence"][0]["url"] == "http://collector.test/v1/evidence/ev_1"


def test_another_accounts_things_do_not_exist(account: Account, collector: Instance, collector_ground: Ground) -> None:
    id = push_one(account)
    batch = account.db["tasks"].find_one({"_id": id})["batch"]
    account.db["evidence_links"].insert_one({"_id": f"ev_{account.name}", "account": account.name, "sha256": "x"})
    stranger = httpx.Client(base_url=collector.url, headers=collector_ground.key("stranger", "tasks"))
    with stranger:
        for path in (f"tasks/{id}", f"batches/{batch}", f"evidence/ev_{account.name}", "tasks/nothing"):
            assert stranger.get(f"/v1/{path}").status_code == 404
        assert stranger.delete(f"/v1/tasks/{id}").status_code == 404
        assert stranger.get("/v1/tasks").json()["items"] == []


def test_pages_follow_one_another_without_gaps(account: Account) -> None:
    account.push(*(item(f"r{i}") for i in range(5)))
    account.push(*(item(f"s{i}") for i in range(2)))
    seen: list[str] = []
    url: str | None = "/v1/tasks?limit=3"
    pages = 0
    while url:
        answer = account.http.get(url)
        seen += [task["reference"] for task in answer.json()["items"]]
        url = answer.links.get("next", {}).get("url")
        assert (url is None) == (answer.json()["next"] is None)
        pages += 1
    assert pages == 3
    assert sorted(seen) == sorted([f"r{i}" for i in range(5)] + [f"s{i}" for i in range(2)])
    assert set(seen[:2]) == {"s0", "s1"}


def test_filters(account: Account) -> None:
    ids = [entry["id"] for entry in account.push(item("a"), item("b"), item("c")).json()["accepted"]]
    account.db["tasks"].update_one({"_id": ids[1]}, {"$set": {"state": "running"}})

    def found(query: str) -> set[str]:
        return {task["reference"] for task in account.http.get(f"/v1/tasks?{query}").json()["items"]}

    assert found("reference=a") == {"a"}
    assert found("reference=a&workflow=tax") == {"a"}
    assert found("reference=a&workflow=other") == set()
    assert found("state=running") == {"b"}
    assert found("workflow=tax&state=queued") == {"a", "c"}


@pytest.mark.parametrize(
    ("query", "status"),
    [("cursor=nonsense", 400), ("cursor=e30", 400), ("limit=0", 422), ("limit=201", 422), ("state=lost", 422)],
)
def test_bad_questions_are_problems(account: Account, query: str, status: int) -> None:
    answer = account.http.get(f"/v1/tasks?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_a_batch_counts_by_state(account: Account) -> None:
    account.push(item("old"))
    body = account.push(item("a"), item("b"), item("c", "x"), item("old"), item("old", "2")).json()
    account.db["tasks"].update_one({"_id": body["accepted"][0]["id"]}, {"$set": {"state": "succeeded"}})
    batch = account.http.get(f"/v1/batches/{body['batch']}").json()
    assert (batch["count"], batch["rejected"], batch["duplicates"]) == (5, 2, 1)
    assert {state: n for state, n in batch["states"].items() if n} == {"queued": 1, "succeeded": 1}


class FakeScheduler(threading.Thread):
    """Carries out the next `task.cancel` as the scheduler would."""

    def __init__(self, db: Any, task: str, update: dict[str, Any], state: str, reason: str) -> None:
        super().__init__(daemon=True)
        self._db, self._task, self._update, self._end = db, task, update, {"state": state, "reason": reason}
        self.command: dict[str, Any] = {}

    def run(self) -> None:
        """Wait for the command, change the task, end the command."""
        query = {"target": self._task, "state": "pending"}
        self.command = until(lambda: self._db["commands"].find_one(query), "a command")
        if self._update:
            self._db["tasks"].update_one({"_id": self._task}, {"$set": self._update})
        self._db["commands"].update_one(
            {"_id": self.command["_id"]}, {"$set": {**self._end, "ended_at": datetime.now(UTC)}}
        )


@pytest.mark.parametrize(
    ("update", "state", "reason", "status"),
    [
        ({"state": "cancelled"}, "done", "", 200),
        ({"state": "running"}, "done", "ends at its next instruction", 202),
        ({"state": "succeeded"}, "refused", "it has ended", 409),
        ({}, "refused", "not now", 409),
    ],
    ids=["cancelled", "running", "was faster", "refused"],
)
def test_cancelling(account: Account, update: dict[str, Any], state: str, reason: str, status: int) -> None:
    id = push_one(account)
    scheduler = FakeScheduler(account.db, id, update, state, reason)
    scheduler.start()
    answer = account.http.delete(f"/v1/tasks/{id}")
    scheduler.join(10)
    assert answer.status_code == status
    assert (scheduler.command["kind"], scheduler.command["to"]) == ("task.cancel", "scheduler")
    if status < 300:
        assert answer.json()["state"] == update["state"]
    elif update:
        assert answer.json()["code"] == "FINAL"


def test_cancelling_while_nobody_answers_is_accepted_and_stays(account: Account) -> None:
    id = push_one(account)
    answer = account.http.delete(f"/v1/tasks/{id}")
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert account.db["commands"].count_documents({"target": id, "state": "pending"}) == 1


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled", "expired"])
def test_what_has_ended_is_not_cancelled(account: Account, state: str) -> None:
    id = push_one(account)
    account.db["tasks"].update_one({"_id": id}, {"$set": {"state": state}})
    answer = account.http.delete(f"/v1/tasks/{id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "FINAL")
    assert account.db["commands"].count_documents({"target": id}) == 0


def keep(account: Account, data: bytes, name: str, media_type: str) -> str:
    """Evidence as the executor keeps it."""
    digest = hashlib.sha256(data).hexdigest()
    file = gridfs.GridFSBucket(account.db, "blobs").upload_from_stream(digest, data)
    account.db["evidence"].insert_one({"_id": digest, "file": file, "size_bytes": len(data), "media_type": media_type})
    id = f"ev_{digest[:16]}"
    link = {"account": account.name, "name": name, "sha256": digest, "media_type": media_type, "size_bytes": len(data)}
    account.db["evidence_links"].insert_one({"_id": id, **link})
    return id


def test_evidence_comes_as_it_was_kept(account: Account) -> None:
    data = account.name.encode() + bytes(range(256)) * 3000
    id = keep(account, data, "página final.png", "image/png")
    answer = account.http.get(f"/v1/evidence/{id}")
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert answer.headers["content-disposition"].startswith("inline; ")
    assert "p%C3%A1gina%20final.png" in answer.headers["content-disposition"]
    again = account.http.get(f"/v1/evidence/{id}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_a_browser_would_run_is_never_shown_inline(account: Account) -> None:
    id = keep(account, f"<script>{account.name}</script>".encode(), 'a"b\r\n.html', "text/html")
    answer = account.http.get(f"/v1/evidence/{id}")
    assert answer.headers["content-disposition"].startswith('attachment; filename="a_b__.html"')
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_evidence_whose_bytes_are_gone_is_404(account: Account) -> None:
    account.db["evidence_links"].insert_one(
        {"_id": f"ev_gone_{account.name}", "account": account.name, "name": "n", "sha256": account.name,
         "media_type": "image/png", "size_bytes": 1}
    )  # fmt: skip
    assert account.http.get(f"/v1/evidence/ev_gone_{account.name}").status_code == 404


def test_one_off_runs_are_no_partners(account: Account) -> None:
    id, other = push_one(account, "a"), push_one(account, "b")
    account.db["tasks"].update_one({"_id": id}, {"$set": {"once": {"worker": "w", "by": "ana"}}})
    assert [one["id"] for one in account.http.get("/v1/tasks").json()["items"]] == [other]
    assert account.http.get(f"/v1/tasks/{id}").status_code == 404
    assert account.http.delete(f"/v1/tasks/{id}").status_code == 404


def test_batches_are_listed_newest_first_with_their_progress(account: Account) -> None:
    batches = [account.push(item(f"r{i}"), item(f"r{i}"), item(f"x{i}", "no")).json()["batch"] for i in range(5)]
    account.db["tasks"].update_one({"batch": batches[3]}, {"$set": {"state": "succeeded"}})
    account.db["batches"].update_one({"_id": batches[0]}, {"$set": {"workflow": "other"}})
    seen: list[dict[str, Any]] = []
    url: str | None = "/v1/batches?limit=2"
    while url:
        answer = account.http.get(url)
        seen += answer.json()["items"]
        url = answer.links.get("next", {}).get("url")
    assert [one["id"] for one in seen] == batches[::-1]
    assert [one["done"] for one in seen] == [False, True, False, False, False]
    assert [(one["count"], one["rejected"], one["duplicates"], one["tasks"]) for one in seen] == [(3, 1, 1, 1)] * 5
    assert (seen[1]["finished"], seen[1]["progress"]) == (1, 1.0)
    assert seen[1] == account.http.get(f"/v1/batches/{batches[3]}").json()
    tax = account.http.get("/v1/batches?workflow=tax").json()["items"]
    assert [one["id"] for one in tax] == batches[:0:-1]
    assert account.http.get("/v1/batches?cursor=nonsense").status_code == 400
    assert account.http.get("/v1/batches", headers=account.ground.key("stranger", "tasks")).json()["items"] == []


def test_a_push_that_died_before_its_tasks_is_no_complete_batch(account: Account) -> None:
    """kill -9 between the batch, which has the figures to expect, and the tasks."""
    batch = account.push(item("a"), item("b")).json()["batch"]
    account.db["tasks"].delete_one({"batch": batch, "reference": "b"})
    view = account.http.get(f"/v1/batches/{batch}").json()
    assert (view["complete"], view["done"], view["tasks"], view["finished"]) == (False, False, 1, 0)
