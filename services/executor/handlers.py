"""What the executor does with messages: hints of runs and commands, and robots' replies.

Called by: main.py, which consumes. Survives a crash: everything a hint speaks of is a document that the sweeps find
too; a reply that is lost is asked for again."""

from __future__ import annotations

from typing import Any

from services.executor.core.ending import TaskOutcome
from services.executor.core.reply import answer_document, answer_of
from services.executor.core.waits import answer_problem
from services.executor.evidence import EvidenceStore
from services.executor.pacing_requests import PacingRequests
from services.executor.recovery import Crew
from services.executor.robots import Robots
from services.executor.store import ExecutorStore
from services.executor.store_waits import WaitStore
from services.executor.tools import Hint
from services.executor.trial_requests import TrialRequests
from shared.broker import Delivery
from shared.contracts.messages import CommandIssued, RunOpened, TaskFinished, WorkerReply
from shared.contracts.topology import worker_user
from shared.domain.run_state import FINAL as RUN_FINAL
from shared.domain.task_state import FINAL as TASK_FINAL
from shared.domain.task_state import TaskState
from shared.errors import ErrorCode, PermanentError
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.runtime import commands

log = get_logger("executor.handlers")
NOTE_CHARS_MAX = 1000


class Handlers:
    """The executor's handlers."""

    def __init__(
        self, store: ExecutorStore, waits: WaitStore, evidence: EvidenceStore, crew: Crew, robots: Robots, hint: Hint,
        trials: TrialRequests, pacing: PacingRequests,
    ) -> None:  # fmt: skip
        self._store = store
        self._waits = waits
        self._evidence = evidence
        self._crew = crew
        self._robots = robots
        self._hint = hint
        self._trials = trials
        self._pacing = pacing

    async def on_handoff(self, message: Any, delivery: Delivery) -> None:
        """A hint on the executors' queue."""
        if isinstance(message, RunOpened):
            await self.on_run_opened(message)
        elif isinstance(message, CommandIssued):
            await self.on_command_issued(message)
        else:
            raise PermanentError(ErrorCode.MALFORMED, f"{message.KIND} is not for executors")

    async def on_run_opened(self, message: RunOpened) -> None:
        """A run waits: take it, unless there is no room; then whoever sweeps first takes it."""
        run = await self._store.run(message.run)
        if run is not None and (run.get("pending") or {}).get("to") == "executor":
            await self._crew.take(run)

    async def on_command_issued(self, message: CommandIssued) -> None:
        """Somebody asks for something."""
        command = await self._store.mongo["commands"].find_one({"_id": message.command})
        if command is not None and command["state"] == "pending" and command["to"] == "executor":
            await self.work_command(command)

    async def sweep_commands(self) -> None:
        """Work the commands that no hint told of."""
        for command in await commands.pending(self._store.mongo, "executor"):
            await self.work_command(command)

    async def work_command(self, command: dict[str, Any]) -> None:
        """Do what a command asks, once; then say so on it."""
        work = {
            "run.abort": self._abort, "run.stop": self._stop_after_task, "run.robot_lost": self._robot_lost,
            "task.cancel": self._cancel, "task.settle": self._settle, "decision.answer": self._answer,
            "run.replay": self._trials.on_request,
            "pacing.reset": self._pacing.reset, "pacing.freeze": self._pacing.freeze,
        }.get(command["kind"])  # fmt: skip
        refusal: str | None = f"executors know no {command['kind']}" if work is None else None
        done = True
        if work is not None:
            done, refusal = await work(command)
        if done:
            await commands.finish(self._store.mongo, command["_id"], "refused" if refusal else "done", refusal or "")

    async def _abort(self, command: dict[str, Any]) -> tuple[bool, str | None]:
        reason = str(command["args"].get("reason") or "aborted by a person")[:500]
        return await self._stop(command, "person", reason)

    async def _stop_after_task(self, command: dict[str, Any]) -> tuple[bool, str | None]:
        reason = str(command["args"].get("reason") or "stopped by a person")[:500]
        return await self._stop(command, "after_task", reason)

    async def _robot_lost(self, command: dict[str, Any]) -> tuple[bool, str | None]:
        reason = str(command["args"].get("reason") or "the robot is gone")[:500]
        lost = {key: command["args"][key] for key in ("worker", "epoch") if key in command["args"]}
        return await self._stop(command, "robot_lost", reason, lost)

    async def _stop(
        self, command: dict[str, Any], kind: str, reason: str, robot: dict[str, Any] | None = None
    ) -> tuple[bool, str | None]:
        """robot: worker and epoch for which this was asked: a run may have given that robot back since."""
        run = command["args"].get("run") or command["target"]
        stop = {"kind": kind, "reason": reason, "by": command["by"], "at": now(), "command": command["_id"]}
        noted = await self._store.ask_stop(run, stop, robot)
        found = noted.document if noted.applied else await self._store.run(run)
        if found is None:
            return True, f"there is no run {run}"
        if not noted.applied and found["state"] in RUN_FINAL:
            return True, f"the run is {found['state']} already"
        if not noted.applied and any(found.get(key) != value for key, value in (robot or {}).items()):
            return True, "the run has left that robot"
        job = self._crew.job(run)
        if job is not None:
            job.stop(found["abort"] if found.get("abort") else stop)
        elif kind != "after_task" or (found.get("wait") or {}).get("kind") == "warm":
            await self._rouse(run)
        return True, None

    async def _rouse(self, run: str, seq: int | None = None) -> None:
        """Have a parked run go on at once. seq: of the wait that is over; none: it is to stop."""
        woken = await self._waits.wake(run, seq)
        if woken is not None:
            await self._crew.take(woken)

    async def _answer(self, command: dict[str, Any]) -> tuple[bool, str | None]:
        """A person answers a script's question."""
        decision = await self._waits.decision(command["target"])
        if decision is None:
            return True, f"there is no question {command['target']}"
        answer = command["args"].get("answer")
        problem = answer_problem(decision, answer, now())
        if problem is not None and decision.get("op") != f"answer/{command['_id']}":
            return True, problem
        answered = await self._waits.answer(decision["_id"], str(answer), str(command["by"]), command["_id"])
        if not answered.applied:
            return True, "somebody else answered first, or the time for an answer was over"
        await self._rouse(decision["run"], int(decision["seq"]))
        return True, None

    async def _cancel(self, command: dict[str, Any]) -> tuple[bool, str | None]:
        """Cancelling a running task takes effect at its next instruction; until then the command stays pending.

        With {now: true} its run is aborted for it: the instruction in flight is cut, the run's other tasks go back.
        """
        task = await self._store.mongo["tasks"].find_one({"_id": command["target"]})
        if task is None:
            return True, f"there is no task {command['target']}"
        if task["state"] == TaskState.CANCELLED:
            return True, None
        if task["state"] in TASK_FINAL:
            return True, f"the task is {task['state']} already"
        if task["state"] != TaskState.RUNNING or (task.get("pending") or {}).get("to") == "scheduler":
            await self._store.readdress(command["_id"], "scheduler")
            return False, None
        await self._store.ask_cancel(task["_id"], str(command["by"]), command["_id"])
        job = self._crew.job(task["held_by"]["run"])
        if job is not None:
            job.signals.cancelled[task["_id"]] = command["_id"]
        else:
            await self._rouse(task["held_by"]["run"])
        if command["args"].get("now"):
            reason = f"{command['by']} aborted its task {task['_id']}"
            await self._stop({**command, "args": {"run": task["held_by"]["run"]}}, "person", reason)
        return False, None

    async def _settle(self, command: dict[str, Any]) -> tuple[bool, str | None]:
        """A person says what became of a held task."""
        arguments = command["args"]
        outcome = arguments.get("outcome")
        note = str(arguments.get("note") or "")[:NOTE_CHARS_MAX]
        if outcome == TaskState.SUCCEEDED:
            ended = TaskOutcome(TaskState.SUCCEEDED, output=arguments.get("output") or {})
        elif outcome == TaskState.FAILED:
            error: dict[str, Any] = {
                "kind": "system",
                "code": "SETTLED",
                "message": note or "a person says that it failed",
                "line": None,
                "traceback": [],
            }
            ended = TaskOutcome(TaskState.FAILED, error=error)
        else:
            return True, f"a held task is settled as succeeded or failed, not {outcome!r}"
        settled = await self._store.settle_task(command["target"], ended, str(command["by"]), command["_id"])
        if not settled.applied:
            return True, "the task is not held"
        await self._hint("task.finished", TaskFinished(task=command["target"], event=ended.state))
        return True, None

    async def on_worker_reply(self, message: WorkerReply, delivery: Delivery) -> None:
        """A robot's reply: to whoever waits for it, else to its step as evidence."""
        if delivery.user_id != worker_user(message.worker):
            raise PermanentError(ErrorCode.FORBIDDEN, f"a reply of {message.worker} came from {delivery.user_id}")
        job = self._crew.job(message.run)
        mine = job is not None and (job.run["worker"], job.run["epoch"]) == (message.worker, message.epoch)
        if mine and (self._robots.answered(message) or message.repeated):
            return
        await self._late(message)

    async def _late(self, message: WorkerReply) -> None:
        run = await self._store.run(message.run)
        if run is None or run["worker"] != message.worker:
            raise PermanentError(
                ErrorCode.NOT_FOUND, f"a reply for run {message.run}, which {message.worker} does not have"
            )
        if message.repeated:
            return
        task = next((item["task"] for item in run["tasks"] if item.get("state") == "running"), None)
        link = {
            "account": run["account"], "workflow": run["workflow"], "task": task,
            "run": message.run, "seq": message.seq, "worker": message.worker,
        }  # fmt: skip
        evidence = await self._evidence.keep(message.evidence, link=link)
        document = answer_document(answer_of(message), evidence)
        await self._store.late_reply(message.run, message.seq, f"{message.session}-{message.journal.counter}", document)
        log.info(
            "late reply kept with its step",
            run=message.run,
            seq=message.seq,
            worker=message.worker,
            outcome=message.outcome,
        )
