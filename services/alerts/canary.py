"""The canary's rounds: hand a task in as a partner would, wait for its result, and note how long that took.

Called by: main.py (the leader's sweep). Owns: the collection `canaries`, one document per workflow. Survives a crash:
a round that was not noted is as if it had not been; the next leader makes the next one. Two rounds at once do no harm.
Change also: shared/domain/canary.py, reads/canary.py, docs/canary.md.

Everything goes over the partners' HTTP: collector, queue, scheduler, executor (and the robot), the hand-off to delivery
and the results feed are all on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from shared.domain.canary import KEY_PURPOSE, ROBOT, SERVER, TAG
from shared.domain.worker_state import Authorisation
from shared.mongo import Mongo
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge, histogram
from shared.outbound.trust import tls_context
from shared.runtime.auth import derived_key
from shared.seal import Sealer

ROUNDS_KEPT = 20
WAIT_S = 10.0
PAUSE_S = 0.5
REASON_LENGTH_MAX = 300
BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)

_seconds = histogram("canary_seconds", "From handing a canary in to its result.", ["workflow"], BUCKETS)
_rounds = counter("canary_rounds_total", "Rounds of the canary, by how they ended.", ["workflow", "outcome"])
_success = gauge("canary_last_success_timestamp_seconds", "When a canary last came through.", ["workflow"])
log = get_logger(__name__)


@dataclass(frozen=True)
class Round:
    """How one went."""

    task: str | None
    seconds: float | None
    """From the push to the result; none: it did not come through."""
    reason: str | None = None


class Lost(Exception):
    """The canary did not come through; the text says how far it came."""


class Canary:
    """Makes rounds. collector, delivery: their addresses; every_s: between rounds; timeout_s: of one."""

    def __init__(
        self, mongo: Mongo, sealer: Sealer, *, collector: str, delivery: str, every_s: float, timeout_s: float,
        leads: Callable[[], bool], ca_file: str = "",
    ) -> None:  # fmt: skip
        self._mongo = mongo
        self._key = derived_key(sealer, KEY_PURPOSE)[1]
        self._collector = collector
        self._delivery = delivery
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._leads = leads
        self._trust = tls_context(ca_file)

    async def sweep(self) -> None:
        """A round of each workflow, where this instance leads; on a robot only where one is named."""
        if not self._leads():
            return
        named = {"tags": TAG, "authorisation": Authorisation.AUTHORISED.value}
        robots = await self._mongo["workers"].find_one(named, {"_id": 1}) is not None
        if not robots:
            await self._mongo["canaries"].delete_one({"_id": ROBOT})
        await asyncio.gather(*(self.round(name) for name in (SERVER, *((ROBOT,) if robots else ()))))

    async def forget(self) -> None:
        """The canary is off: nothing is known of it any more."""
        await self._mongo["canaries"].delete_many({})

    async def round(self, workflow: str) -> Round:
        """One round, noted."""
        made = await self._made(workflow)
        at = now()
        _rounds.labels(workflow, "failed" if made.seconds is None else "ok").inc()
        if made.seconds is not None:
            _seconds.labels(workflow).observe(made.seconds)
            _success.labels(workflow).set_to_current_time()
        else:
            log.warning("canary did not come through", workflow=workflow, task=made.task, reason=made.reason)
        entry = {"at": at, "task": made.task, "seconds": made.seconds, "reason": made.reason}
        change: dict[str, Any] = {
            "$set": {"schema_version": 1, "at": at, "every_s": self._every_s, "timeout_s": self._timeout_s},
            "$push": {"rounds": {"$each": [entry], "$position": 0, "$slice": ROUNDS_KEPT}},
        }
        if made.seconds is not None:
            change["$set"]["ok_at"] = at
        await self._mongo["canaries"].update_one({"_id": workflow}, change, upsert=True)
        return made

    async def _made(self, workflow: str) -> Round:
        task: str | None = None
        started_s = monotonic_s()
        headers = {"authorization": f"Bearer {self._key}"}
        async with httpx.AsyncClient(
            headers=headers, timeout=WAIT_S + 5, trust_env=False, verify=self._trust
        ) as client:
            try:
                async with asyncio.timeout(self._timeout_s):
                    task, mark = await self._push(client, workflow)
                    await self._result(client, workflow, task, mark)
                return Round(task, monotonic_s() - started_s)
            except TimeoutError:
                where = await self._where(client, task)
                return Round(task, None, f"not through after {self._timeout_s:g} s: {where}"[:REASON_LENGTH_MAX])
            except (Lost, httpx.HTTPError) as error:
                return Round(task, None, (str(error) or type(error).__name__)[:REASON_LENGTH_MAX])

    async def _push(self, client: httpx.AsyncClient, workflow: str) -> tuple[str, str]:
        """Hand one in. Returns: the task's id, and what its result must hold. Raises: Lost, httpx.HTTPError."""
        mark = new_id("mark_")
        body = {"workflow": workflow, "tasks": [{"reference": mark, "input": {"mark": mark}}]}
        answer = await client.post(f"{self._collector}/v1/tasks", json=body)
        if answer.status_code != 202 or not answer.json()["accepted"]:
            raise Lost(f"the collector did not take it: status {answer.status_code}: {answer.text}")
        return str(answer.json()["accepted"][0]["id"]), mark

    async def _result(self, client: httpx.AsyncClient, workflow: str, task: str, mark: str) -> None:
        """Read the results feed on to the task's entry. Raises: Lost, httpx.HTTPError."""
        reader, after = f"canary-{workflow}", None
        while True:
            asked: dict[str, Any] = {"workflow": workflow, "wait": int(WAIT_S), "reader": reader}
            answer = await client.get(f"{self._delivery}/v1/results", params={**asked, **_given(after=after)})
            if answer.status_code == 429:
                await asyncio.sleep(PAUSE_S)
                continue
            if answer.status_code != 200:
                raise Lost(f"the results feed does not answer: status {answer.status_code}: {answer.text}")
            page = answer.json()
            after = page["after"]
            mine = [item for item in page["items"] if item["id"] == task]
            if mine:
                await client.post(f"{self._delivery}/v1/results/ack", json={"name": reader, "after": after})
                _check(mine[0], mark)
                return

    async def _where(self, client: httpx.AsyncClient, task: str | None) -> str:
        """How far a task has come, for people."""
        if task is None:
            return "the collector did not answer"
        try:
            answer = await client.get(f"{self._collector}/v1/tasks/{task}")
            found = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError) as error:
            return f"the collector does not answer: {error}"
        why = found.get("why_waiting")
        return f"the task is {found.get('state', 'unknown')}{f': {why}' if why else ''}"


def _check(item: dict[str, Any], mark: str) -> None:
    """Raises: Lost when a result is another than it must be."""
    if item["state"] != "succeeded":
        error = item.get("error") or {}
        raise Lost(f"the task is {item['state']}: {error.get('code') or ''} {error.get('message') or ''}".strip())
    if (item.get("result") or {}).get("mark") != mark:
        raise Lost("the result is not what the script returned")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
