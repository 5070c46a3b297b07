"""Erases one person's data: carries out the erasures that the console has stored.

Called by: passes.py. Owns: what erasures change in tasks, deliveries, results, steps and the rest, and the state of
`erasures` (the console inserts them). Survives a crash at any line: a task gets its mark `erased` last, so everything
before it is done again; what was erased matches no criteria any more. The criteria are sealed while they are needed,
and gone when the erasure has ended; a keyed hash of them stays. Change also: core/erasure.py, docs/retention.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from services.delivery.core.erasure import MARK, erased_body, erased_step, erased_task, query_of
from services.delivery.core.retention import RUN_ENDED, TASK_ENDED
from services.delivery.keeping.archive import PREFIX, NotLeading
from services.delivery.keeping.evidence import EvidenceKeeping
from services.delivery.keeping.marking import mark
from shared.domain.legal_hold import covered, of_task
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.mongo.files import Files
from shared.mongo.guarded import guarded_update
from shared.mongo.holds import standing
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.seal import SealBroken, Sealer

BATCH = 50
PURPOSE = "erasure"
SIDES = ("", PREFIX)
LIVE = ("pending", "retrying")
ERASED_DECISION: dict[str, Any] = {"question": MARK, "options": [], "answer": None, "default": None, "image": None}
ERASED = counter("tasks_erased_total", "Tasks whose data were erased.", [])

log = get_logger(__name__)


class Erasing:
    """Carries out erasures."""

    def __init__(
        self, mongo: Mongo, sealer: Sealer, evidence: EvidenceKeeping, files: Files, leading: Callable[[], bool]
    ) -> None:
        """leading: whether this process leads still."""
        self._mongo = mongo
        self._sealer = sealer
        self._evidence = evidence
        self._files = files
        self._leading = leading

    async def sweep(self) -> None:
        """Carry out what waits, oldest first."""
        query = {"state": {"$in": ["pending", "running"]}}
        for erasure in await self._mongo["erasures"].find(query).sort("created_at", 1).limit(20).to_list(20):
            try:
                await self._carry_out(erasure)
            except NotLeading:
                raise
            except SealBroken:
                await self._unreadable(erasure)
            except Exception:
                log.exception("erasure not carried out; the next sweep comes back to it", erasure=erasure["_id"])

    async def _unreadable(self, erasure: Mapping[str, Any]) -> None:
        """End an erasure whose criteria were sealed with another master key: nobody can carry it out."""
        end = {"state": "incomplete", "ended_at": now(), "counts": None}
        change = {"$set": end, "$unset": {"criteria": ""}}
        expect = {"state": {"$in": ["pending", "running"]}}
        await guarded_update(self._mongo["erasures"], erasure["_id"], expect, change, op=f"unreadable/{erasure['_id']}")
        log.error("an erasure's criteria can't be opened with this master key; ask for it again", id=erasure["_id"])

    async def _carry_out(self, erasure: Mapping[str, Any]) -> None:
        id, account = str(erasure["_id"]), str(erasure["account"])
        await guarded_update(
            self._mongo["erasures"], id, {"state": "pending"}, {"$set": {"state": "running"}}, op=f"run/{id}"
        )
        criteria = json.loads(self._sealer.open(PURPOSE, bytes(erasure["criteria"]), id.encode()))
        known = [await self._mongo[f"{side}tasks"].distinct("workflow", {"account": account}) for side in SIDES]
        query = query_of(criteria, account, sorted({str(name) for names in known for name in names}))
        if not erasure["dry_run"]:
            for side in SIDES:
                await self._erase_all(erasure, query, side)
        counts = await self._counts(erasure, query)
        end = {"state": "done", "ended_at": now(), "counts": counts}
        left = counts["unfinished"] + counts["on_hold"]
        if not erasure["dry_run"] and left:
            end["state"] = "incomplete"
        if not erasure["dry_run"]:  # before the end, after which nobody comes back to it
            await audit(
                self._mongo, by=str(erasure["by"]), action="erasure.ended", target=id, account=account, details=counts,
                id=f"audit_{id.removeprefix('erasure_')}",
            )  # fmt: skip
        done = await guarded_update(
            self._mongo["erasures"], id, {"state": "running"}, {"$set": end, "$unset": {"criteria": ""}}, op=f"end/{id}"
        )
        if done.applied and not erasure["dry_run"]:
            log.info("erasure ended", erasure=id, account=account, **counts)

    async def _erase_all(self, erasure: Mapping[str, Any], query: Mapping[str, Any], side: str) -> None:
        """Every task that can be erased now; those that can't are counted at the end."""
        after = ""
        while True:
            wanted = {"$and": [query, {"_id": {"$gt": after}, "state": {"$in": list(TASK_ENDED)}, "pending": None}]}
            found = await self._mongo[f"{side}tasks"].find(wanted).sort("_id", 1).limit(BATCH).to_list(BATCH)
            if not found:
                return
            after = str(found[-1]["_id"])
            if not self._leading():
                raise NotLeading
            marking = {"erasing": erasure["_id"]}
            free = await mark(self._mongo, f"{side}tasks", str(erasure["account"]), found, of_task, marking)
            for task in free:
                await self._erase(str(erasure["_id"]), task, side)

    async def _erase(self, erasure: str, task: Mapping[str, Any], side: str) -> None:
        """One task with everything that belongs to it; the task itself last."""
        id = str(task["_id"])
        for each in SIDES:
            await self._deliveries(each, erasure, {"task": id})
            await self._results(each, id)
            await self._runs(each, erasure, id)
            await self._decisions(each, id)
        await self._evidence.let_go({"task": id}, keep_as={"dropped": True, "gone": "erasure", "name": MARK})
        await self._mongo["logs"].delete_many({"task": id})
        await self._mongo["events"].update_many({"target": id}, {"$set": {"text": MARK, "facts": {}}})
        ended = {"target": id, "state": {"$ne": "pending"}}
        await self._mongo["commands"].update_many(ended, {"$set": {"args": {}, "reason": MARK}})
        await self._mongo["tombstones"].update_one({"task": id}, {"$set": {"input_digest": MARK}})
        fields = {**erased_task(task, erasure), "erased": {"erasure": erasure, "at": now()}}
        change = {"$set": fields, "$unset": {"erasing": "", "placed": ""}}
        await self._files.let_go(task["account"], task.get("files") or ())  # the mark forgets their names
        await self._mongo[f"{side}tasks"].update_one({"_id": id, "erasing": erasure}, change)
        await self._files.drop_unused(task["account"], task.get("files") or ())
        ERASED.inc()

    async def _deliveries(self, side: str, erasure: str, which: Mapping[str, Any]) -> None:
        """What was sent is gone from here; what was not sent yet is not sent any more."""
        deliveries = self._mongo[f"{side}deliveries"]
        stop = {"state": "dead", "reason": f"erased by {erasure}", "claimed_by": None, "claimed_until": None}
        waits_no_more = dict.fromkeys(("next_at", "lane", "behind", "collect"), "")
        await deliveries.update_many({**which, "state": {"$in": list(LIVE)}}, {"$set": stop, "$unset": waits_no_more})
        async for one in deliveries.find({**which, "erased": None}, {"body": 1, "attempts": 1}):
            attempts = [{**attempt, "answer": ""} for attempt in one.get("attempts") or ()]
            change = {"body": erased_body(one["body"]), "attempts": attempts, "erased": True}
            await deliveries.update_one({"_id": one["_id"]}, {"$set": change})

    async def _results(self, side: str, task: str) -> None:
        results = self._mongo[f"{side}results"]
        async for one in results.find({"task": task, "erased": None}, {"body": 1}):
            change = {"body": erased_body(one["body"]), "erased": True}
            await results.update_one({"_id": one["_id"]}, {"$set": change})

    async def _runs(self, side: str, erasure: str, task: str) -> None:
        """The task's entries in the journals of its runs, and what the runs themselves say of it."""
        async for run in self._mongo[f"{side}runs"].find({"tasks.task": task}, {"_id": 1, "tasks": 1, "state": 1}):
            span = {"$gte": f"{run['_id']}/", "$lt": f"{run['_id']}0"}
            steps, seqs = self._mongo[f"{side}steps"], []
            async for step in steps.find({"_id": span, "task": task}):
                seqs.append(step["seq"])
                change = {"$set": erased_step(step), "$unset": {"snapshot": "", "session": ""}}
                await steps.update_one({"_id": step["_id"]}, change)
            for at in range(0, len(seqs), 1000):
                part = {"run": run["_id"], "seq": {"$in": seqs[at : at + 1000]}}
                await self._mongo[f"{side}late_replies"].delete_many(part)
                await self._mongo["logs"].delete_many(part)
            await self._run(side, erasure, run, task)

    async def _run(self, side: str, erasure: str, run: Mapping[str, Any], task: str) -> None:
        runs = self._mongo[f"{side}runs"]
        await runs.update_one(
            {"_id": run["_id"], "tasks": {"$elemMatch": {"task": task, "failure": {"$type": "object"}}}},
            {"$set": {"tasks.$[one].failure.message": MARK}},
            array_filters=[{"one.task": task, "one.failure": {"$type": "object"}}],
        )
        if run["state"] in RUN_ENDED and await self._is_last(run, task):
            await self._shared(erasure, str(run["_id"]))
            await runs.update_one({"_id": run["_id"]}, {"$set": {"group": {}, "group_key": MARK, "end.text": MARK}})

    async def _is_last(self, run: Mapping[str, Any], task: str) -> bool:
        """Whether every other task of the run is erased already, or gone."""
        others = {"_id": {"$in": sorted({item["task"] for item in run["tasks"]} - {task})}, "erased": None}
        found = [await self._mongo[f"{side}tasks"].find_one(others, {"_id": 1}) for side in SIDES]
        return not any(found)

    async def _shared(self, erasure: str, run: str) -> None:
        """What belongs to no task of a run but to all, such as steps of setup and teardown: they hold its group."""
        span = {"$gte": f"{run}/", "$lt": f"{run}0"}
        for side in SIDES:
            steps = self._mongo[f"{side}steps"]
            async for step in steps.find({"_id": span, "task": None}):
                change = {"$set": erased_step(step), "$unset": {"snapshot": "", "session": ""}}
                await steps.update_one({"_id": step["_id"]}, change)
            await self._mongo[f"{side}late_replies"].delete_many({"run": run})
            questions = {"_id": {"$gte": f"{run}:", "$lt": f"{run};"}, "task": None}
            await self._deliveries(side, erasure, questions)
            closed = {"run": run, "task": None, "state": {"$ne": "open"}}
            await self._mongo[f"{side}decisions"].update_many(closed, {"$set": dict(ERASED_DECISION)})
        await self._mongo["logs"].delete_many({"run": run})

    async def _decisions(self, side: str, task: str) -> None:
        closed = {"task": task, "state": {"$ne": "open"}}
        await self._mongo[f"{side}decisions"].update_many(closed, {"$set": dict(ERASED_DECISION)})

    async def _counts(self, erasure: Mapping[str, Any], query: Mapping[str, Any]) -> dict[str, int]:
        """What it did, or would do: numbers only."""
        counts = {"tasks": 0, "unfinished": 0, "on_hold": 0, "deliveries": 0, "results": 0, "evidence": 0, "steps": 0}
        holds = await standing(self._mongo, str(erasure["account"]))
        shown = {"account": 1, "workflow": 1, "reference": 1, "state": 1, "pending": 1}
        for side in SIDES:
            async for task in self._mongo[f"{side}tasks"].find(query, shown):
                if task["state"] not in TASK_ENDED or task.get("pending") is not None:
                    counts["unfinished"] += 1
                elif covered(holds, of_task(task)):
                    counts["on_hold"] += 1
                elif erasure["dry_run"]:
                    counts["tasks"] += 1
                    await self._add(counts, side, str(task["_id"]))
            if not erasure["dry_run"]:
                done = {"account": erasure["account"], "erased.erasure": erasure["_id"]}
                async for task in self._mongo[f"{side}tasks"].find(done, {"_id": 1}):
                    counts["tasks"] += 1
                    await self._add(counts, side, str(task["_id"]))
        return counts

    async def _add(self, counts: dict[str, int], side: str, task: str) -> None:
        for each in SIDES:
            counts["deliveries"] += await self._mongo[f"{each}deliveries"].count_documents({"task": task})
            counts["results"] += await self._mongo[f"{each}results"].count_documents({"task": task})
            async for run in self._mongo[f"{each}runs"].find({"tasks.task": task}, {"_id": 1}):
                span = {"$gte": f"{run['_id']}/", "$lt": f"{run['_id']}0"}
                counts["steps"] += await self._mongo[f"{each}steps"].count_documents({"_id": span, "task": task})
        counts["evidence"] += await self._mongo["evidence_links"].count_documents({"task": task})
