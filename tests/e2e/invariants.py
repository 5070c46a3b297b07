"""What must hold after every fault, whatever was killed: nothing lost, nothing twice, nothing left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx

from demo.config import ROBOTS
from tests.e2e.stack import FINAL, Stack


def check(stack: Stack, ids: Sequence[str]) -> None:
    """Assert all of it for the tasks of one test."""
    references = [stack.task(id)["reference"] for id in ids]
    check_portal(stack, references)
    check_partner(stack, ids)
    check_steps(stack, ids)
    check_robots(stack, ids)
    check_nothing_left(stack, ids)


def check_portal(stack: Stack, references: Sequence[str]) -> None:
    """No submit was counted twice."""
    counted = stack.portal.get("/_demo/submits").json()["by_reference"]
    assert all(counted.get(reference, 0) <= 1 for reference in references), counted


def check_partner(stack: Stack, ids: Sequence[str]) -> None:
    """Each webhook id has one content; each final task was told of once, under one id per event."""
    received = stack.partner.get("/_demo/received").json()
    assert received["conflicts"] == 0
    assert received["rejected"] == 0
    events = Counter((one["content"]["data"]["id"], one["content"]["type"]) for one in received["deliveries"])
    assert all(count == 1 for (task, _), count in events.items() if task in ids), events
    told = {task for task, _ in events}
    assert set(ids) <= told


def check_steps(stack: Stack, ids: Sequence[str]) -> None:
    """Every final task has one outcome that says so; an act that was done is answered once in the journal."""
    for id in ids:
        task = stack.task(id)
        if task["state"] not in FINAL - {"cancelled", "expired"}:
            continue
        outcomes = [step["outcome"]["state"] for step in stack.database["steps"].find({"task": id, "kind": "outcome"})]
        assert outcomes.count(task["state"]) == 1, (id, outcomes)
    runs = {step["run"] for step in stack.database["steps"].find({"task": {"$in": list(ids)}}, {"run": 1})}
    for run in runs:
        seqs = [step["reply"]["seq"] for step in stack.database["steps"].find({"run": run, "reply": {"$ne": None}})]
        assert len(seqs) == len(set(seqs)), f"run {run}: an instruction was answered twice in the journal"


def check_robots(stack: Stack, ids: Sequence[str]) -> None:
    """No robot did an act twice: it writes one line for each instruction it performs, none when it answers again."""
    database = stack.database
    query = {"task": {"$in": list(ids)}, "instruction.effect": "act"}
    asked = {(step["run"], step["seq"]) for step in database["steps"].find(query, {"run": 1, "seq": 1})}
    if not asked:
        return
    runs = sorted({run for run, _ in asked})
    performed = {"service": "agent", "run": {"$in": runs}, "event": {"$regex": r"^[a-z]+\.[a-z]+$"}}
    stack.until(lambda: database["logs"].count_documents(performed), "the robots' lines", 30)
    done = Counter((line["run"], line["seq"]) for line in database["logs"].find(performed))
    assert not [key for key in asked if done[key] > 1], "an act was done twice"


def check_nothing_left(stack: Stack, ids: Sequence[str]) -> None:
    """No task, run or robot is still held by anything, and no message waits."""
    database = stack.database

    def clean() -> bool:
        return (
            database["tasks"].count_documents({"_id": {"$in": list(ids)}, "pending": {"$ne": None}}) == 0
            and database["tasks"].count_documents({"_id": {"$in": list(ids)}, "held_by": {"$ne": None}}) == 0
            and database["runs"].count_documents({"state": {"$nin": ["finished", "aborted"]}}) == 0
            and database["runs"].count_documents({"pending": {"$ne": None}}) == 0
            and database["runs"].count_documents({"trim": True}) == 0
            and database["deliveries"].count_documents({"state": {"$in": ["pending", "retrying", "dead"]}}) == 0
            and all(_free(worker) for worker in database["workers"].find({"_id": {"$in": list(ROBOTS)}}))
        )

    stack.until(clean, f"nothing left over: {stack.tell(ids)}", 60)
    stack.until(lambda: not waiting_messages(stack), f"queues empty: {waiting_messages(stack)}", 30)


def waiting_messages(stack: Stack) -> dict[str, int]:
    """Hand-off queues that are not empty, and dead letters."""
    servers = stack.launcher.servers
    assert servers is not None
    rows: list[dict[str, Any]] = httpx.get(
        f"{servers.amqp_admin_url.split(',')[0]}/api/queues", timeout=10, verify=stack.trust
    ).json()
    named = [row for row in rows if row["name"].endswith((".handoffs", ".dead"))]
    return {row["name"]: row["messages"] for row in named if row.get("messages")}


def _free(worker: dict[str, Any]) -> bool:
    return worker["run"] is None and worker["status"] == "waiting" and bool(worker["connected"])
