"""Requests to try the files of a new version against a run that has ended (`run.replay`).

Called by: handlers.py (the request), main.py (leaves). Survives a crash: the request is a document that comes again.
A trial takes seconds, so it is worked beside the handlers, a few at a time, and on interpreters of its own: requests
to stop a run don't wait behind it. Change also: the console's store/replays.py, which reads the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from services.executor.core.plays import Unplayable, plays_of
from services.executor.core.trial import objects_changed, refusal, report
from services.executor.interpreter import Interpreter
from services.executor.store_trials import TrialStore
from services.executor.trial import TRIAL_S, Past, Trial
from shared.errors import PermanentError, TemporaryError
from shared.obs.logs import get_logger
from shared.script.check import Checked, check_workflow

log = get_logger("executor.trial")
AT_ONCE = 2
WAITING_MAX = 20
IN_HAND_S = 90.0
"""How long a request is this executor's; then another one takes it."""
REPORT_SIZE_BYTES_MAX = 4 * 1024 * 1024


class Refused(Exception):
    """Why there is no trial."""


class TrialRequests:
    """Works requests for trials."""

    def __init__(self, store: TrialStore, interpreter: Interpreter) -> None:
        self._store = store
        self._interpreter = interpreter
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._works: dict[str, asyncio.Task[None]] = {}

    async def on_request(self, command: dict[str, Any]) -> tuple[bool, str | None]:
        """Take a request in hand; it ends by itself. With too many in hand it is left, for its next turn."""
        id = command["_id"]
        if id in self._works or len(self._works) >= WAITING_MAX:
            return False, None
        work = asyncio.create_task(self._work(command), name=f"trial {id}")
        self._works[id] = work
        work.add_done_callback(lambda _: self._works.pop(id, None))
        return False, None

    async def leave(self) -> None:
        """Lay down what is in hand."""
        works = dict(self._works)
        for work in works.values():
            work.cancel()
        await asyncio.gather(*works.values(), return_exceptions=True)
        for id in works:
            await self._store.leave(id)

    async def _work(self, command: Mapping[str, Any]) -> None:
        """Answer one request. What fails for now leaves it pending: it comes again."""
        id, target = command["_id"], command["target"]
        try:
            if not await self._store.take(command, IN_HAND_S):
                return
            async with self._turn:
                text = await self._try(target, command["args"])
            await self._store.answer(id, "done", "", text)
            log.info("run replayed against new files", run=target, command=id)
        except (Refused, PermanentError) as error:
            await self._store.answer(id, "refused", str(error), None)
        except TemporaryError as error:
            log.warning("replay interrupted, it comes again", run=target, command=id, reason=str(error))
        except Exception:
            log.exception("replay interrupted by a defect", run=target, command=id)

    async def _try(self, target: str, args: Mapping[str, Any]) -> str:
        """The report as JSON.

        Raises: Refused, PermanentError.
        """
        run = await self._store.run(target)
        if run is None or run["account"] != args["account"]:
            raise Refused(f"there is no run {target}")
        checked = await check_workflow(args["files"])
        if checked.errors or checked.definition is None:
            raise Refused(f"the files are not a workflow: {checked.errors[0].message}")
        version, ran = _version(args["files"], checked), await self._store.version(run["version"])
        entries = await self._store.entries(target)
        refused = refusal(
            run, ran, account=args["account"], workflow=checked.definition.name, scenarios=version["scenarios"],
            last_seq=int(entries[-1]["seq"]) if entries else 0,
        )  # fmt: skip
        if refused is not None or ran is None:
            raise Refused(refused or "")
        try:
            plays = plays_of(entries)
        except Unplayable as error:
            raise Refused(str(error)) from error
        past = Past(run, plays, await self._store.inputs(run))
        tried = await Trial(self._interpreter, past, version, time_s=TRIAL_S).run()
        text = json.dumps(report(run, tried, objects_changed(plays, ran["objects"], version["objects"])))
        if len(text) > REPORT_SIZE_BYTES_MAX:
            raise Refused(f"the report has {len(text)} bytes; at most {REPORT_SIZE_BYTES_MAX} are kept")
        return text


def _version(files: Mapping[str, str], checked: Checked) -> dict[str, Any]:
    """The files as the part of a version that is executed."""
    definition = checked.definition
    assert definition is not None
    return {
        "files": dict(files),
        "input": definition.input,
        "timeouts": {"task_s": definition.timeouts.task, "instruction_s": definition.timeouts.instruction},
        "scenarios": [scenario.model_dump(mode="json") for scenario in definition.scenarios],
        "objects": {name: one.model_dump(mode="json") for name, one in checked.objects.items()},
    }
