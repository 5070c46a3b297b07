"""What people ask of sources: a look now, and a trial.

Called by: handlers.py. Survives a crash: a look that is wanted stands in the source, and its end in the log, under the
request's id; so a request that comes again is told what became of it. A trial stores nothing and is tried again. Change
also: services/console/store/sources.py (asks).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from services.collector.core.looks import Failure
from services.collector.intake import Intake
from services.collector.sources.keeper import Look
from services.collector.sources.session import Trial
from services.collector.sources.store import SourceStore
from services.collector.sources.timer import fired_until
from shared.errors import PermanentError, TemporaryError
from shared.intake.source_settings import BadSettings, TimerSettings, read_settings
from shared.mongo import Mongo
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.runtime import commands

RUN, TRY = "source.run", "source.try"
TRY_S = 60.0
REPORT_SIZE_BYTES_MAX = 1024 * 1024
TIMES_SHOWN = 5

log = get_logger(__name__)


class Requests:
    """Works requests about sources."""

    def __init__(
        self,
        store: SourceStore,
        intake: Intake,
        looks: Mapping[str, Look],
        *,
        kick: Callable[[], None],
        at_once: int = 4,
    ) -> None:
        """kick: a source wants to be looked at."""
        self._store = store
        self._intake = intake
        self._looks = looks
        self._kick = kick
        self._turns = asyncio.Semaphore(at_once)
        self._trials: dict[str, asyncio.Task[None]] = {}

    @property
    def _mongo(self) -> Mongo:
        return self._store.mongo

    async def on_run(self, command: Mapping[str, Any]) -> None:
        """Have a source looked at now; the look ends the request. Raises: TemporaryError."""
        id, target = str(command["_id"]), str(command["target"])
        source = await self._store.source(target)
        if source is None:
            await commands.finish(self._mongo, id, "refused", f"there is no source {target}")
            return
        if id in (_command(source, "wanted"), _command(source, "asked")):
            self._kick()
            return
        looked = await self._store.looked_for(id, target)
        if looked is not None:
            failed = looked["reason"]
            text = f"{looked['taken']} taken, {looked['duplicates']} there before, {looked['refused']} refused"
            await commands.finish(self._mongo, id, "refused" if failed else "done", failed or text)
            return
        await self._store.want(target, {"command": id, "by": command["by"], "at": now()})
        self._kick()

    async def on_try(self, command: Mapping[str, Any]) -> None:
        """Begin a trial; it ends by itself, with a report."""
        id = str(command["_id"])
        if id not in self._trials:
            trial = asyncio.create_task(self._try(command), name=f"trial of source {command['target']}")
            self._trials[id] = trial
            trial.add_done_callback(lambda _: self._trials.pop(id, None))

    async def stop(self) -> None:
        """Drop the trials in hand; their requests come again."""
        trials = list(self._trials.values())
        for trial in trials:
            trial.cancel()
        await asyncio.gather(*trials, return_exceptions=True)

    async def _try(self, command: Mapping[str, Any]) -> None:
        id = str(command["_id"])
        try:
            async with self._turns, asyncio.timeout(TRY_S):
                report = await self._report(command)
            text = json.dumps(report, default=str)
            if len(text) > REPORT_SIZE_BYTES_MAX:
                report["items"] = []
                report["words"] = [*report["words"], "the items are too large to be shown"]
                text = json.dumps(report, default=str)
            progress = {"report": text, "finished": True}
            await self._mongo["commands"].update_one({"_id": id, "state": "pending"}, {"$set": {"progress": progress}})
            await commands.finish(self._mongo, id, "done")
        except TemporaryError as error:
            log.warning("trial interrupted, it comes again", command=id, reason=error.message)
        except (Failure, PermanentError) as error:
            await commands.finish(self._mongo, id, "refused", error.message[:1000])
        except TimeoutError:
            await commands.finish(self._mongo, id, "refused", f"it took longer than {TRY_S:g} s")
        except Exception as error:
            log.exception("trial failed by a defect", command=id)
            await commands.finish(self._mongo, id, "refused", f"a defect of this program: {type(error).__name__}")

    async def _report(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """What a look would bring. Raises: Failure, PermanentError, TemporaryError."""
        source = await self._tried(command)
        at = now()
        try:
            settings = read_settings({**source["settings"], "kind": source["kind"]})
        except BadSettings as error:
            raise Failure(f"the settings are wrong: {error}") from error
        session = Trial(source, settings, self._store, self._intake, at, lambda: True)
        times: list[str] = []
        if isinstance(settings, TimerSettings):
            times = await asyncio.to_thread(_times, settings, source)
        more = await self._looks[source["kind"]](session, at)
        notes = session.notes
        return {
            "items": session.shown, "came": notes.tally.came, "would_be_taken": notes.tally.taken,
            "refused": notes.tally.refused, "refusals": notes.refusals, "pages": notes.pages, "files": notes.files,
            "more": more, "cursor": source.get("cursor"), "times": times, "words": notes.words,
        }  # fmt: skip

    async def _tried(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """The source as it is, or as the request has it. Raises: Failure."""
        args, target = command["args"], str(command["target"])
        stored = await self._store.source(target)
        if args.get("settings") is None:
            if stored is None:
                raise Failure(f"there is no source {target}")
            return stored
        same = stored is not None and stored["kind"] == args["kind"]
        kept = {name: stored.get(name) for name in ("cursor", "fired", "since")} if stored and same else {}
        account, _, name = target.partition("/")
        return {
            "_id": target, "account": account, "name": name, "kind": args["kind"], "settings": args["settings"],
            "workflow": args["workflow"], "enabled": True, "rev": command["_id"], "token": 0, "since": now(), **kept,
        }  # fmt: skip


def _command(source: Mapping[str, Any], field: str) -> str | None:
    found = (source.get(field) or {}).get("command")
    return str(found) if found else None


def _times(settings: TimerSettings, source: dict[str, Any]) -> list[str]:
    """The next times of a timer, by its own clock."""
    clock = settings.schedule.clock()
    assert clock is not None
    found = []
    for at in clock.times(max(fired_until(source), now())):
        found.append(at.astimezone(clock.zone).isoformat(timespec="minutes"))
        if len(found) >= TIMES_SHOWN:
            break
    return found
