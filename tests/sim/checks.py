"""What must hold at the end, when the faults are over and nothing moves any more.

Called by: world.py. Each function gives lines of text, one for each thing that is wrong. What really happened is known
from the robots (`Effect`), so the database's word is not taken for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.domain.run_state import FINAL as RUN_FINAL
from shared.domain.task_state import EVENTS, FINAL, TaskState
from shared.domain.warm import is_parked
from tests.sim.robot import ACT, Effect
from tests.sim.scene import SECRET, Scene
from tests.sim.server import Server
from tests.sim.serving import SERVER
from tests.sim.values import Document
from tests.sim.witness import Witness

RESTING = {"run": "waiting", "pause": "paused", "stop": "stopped", "abort": "stopped"}


def left_over(server: Server) -> list[str]:
    """What still moves, or is held by somebody."""
    found = []
    for task in server.documents("tasks"):
        if task["state"] not in FINAL and task["state"] != TaskState.HELD:
            found.append(f"task {task['_id']} is {task['state']}")
        if task.get("pending") is not None:
            found.append(f"task {task['_id']} has a hand-over {task['pending']}")
        if task["state"] in FINAL and (task.get("held_by") is not None or task.get("queue")):
            found.append(f"task {task['_id']} is {task['state']} and held_by {task.get('held_by')}")
    ready = {run["_id"] for run in server.documents("runs") if run.get("warm") and is_parked(run)}
    for run in server.documents("runs"):
        if run["_id"] in ready:
            continue
        if run["state"] not in RUN_FINAL or run.get("pending") is not None:
            found.append(f"run {run['_id']} is {run['state']}, hand-over {run.get('pending')}")
    for worker in server.documents("workers"):
        if worker.get("run") in ready:
            continue
        if worker.get("run") is not None or worker["status"] != RESTING[worker["mode"]]:
            found.append(f"robot {worker['_id']} is {worker['status']} with run {worker.get('run')}")
    found += [f"question {one['_id']} is open" for one in server.documents("decisions") if one["state"] == "open"]
    found += [
        f"command {one['_id']} ({one['kind']} of {one['target']}) is pending"
        for one in server.documents("commands")
        if one["state"] == "pending"
    ]
    return found


def acts_once(effects: Sequence[Effect]) -> list[str]:
    """No act was done twice for one (run, seq)."""
    counts = Counter((effect.run, effect.seq) for effect in effects)
    return [f"act {run} {seq} was done {count} times" for (run, seq), count in counts.items() if count > 1]


def in_order(effects: Sequence[Effect]) -> list[str]:
    """No robot acted for an earlier reservation once a later one had begun on it."""
    wrong, highest = [], dict[str, Effect]()
    for effect in effects:
        if effect.robot == SERVER:
            continue
        before = highest.setdefault(effect.robot, effect)
        if effect.epoch < before.epoch:
            wrong.append(f"act {effect.run} {effect.seq} (epoch {effect.epoch}) was done after epoch {before.epoch}")
        else:
            highest[effect.robot] = effect
    return wrong


class Verdicts:
    """Judges the end of one seed."""

    def __init__(self, scene: Scene, server: Server, witness: Witness, effects: Sequence[Effect]) -> None:
        self._scene = scene
        self._server = server
        self._witness = witness
        self._effects = effects
        self._workflows = {workflow.name: workflow for workflow in scene.workflows}
        self._setups: Counter[str] = Counter()
        self._commits: dict[tuple[str, int], bool] = {}
        self._replies: dict[tuple[str, int], str] = {}
        self._asked: dict[tuple[str, str], list[Document]] = defaultdict(list)
        for step in server.documents("steps"):
            if step.get("reply"):
                self._replies[step["run"], step["reply"]["seq"]] = step["reply"]["outcome"]
            self._setups[step["run"]] += step["kind"] == "phase" and step["phase"] == "setup"
            if step["kind"] == "instruction":
                self._commits[step["run"], step["seq"]] = bool(step["instruction"]["commit"])
            if step["kind"] == "instruction" and step.get("task"):
                self._asked[step["run"], step["task"]].append(step)

    def all(self, told: Mapping[tuple[str, str], int]) -> list[str]:
        """Everything that is wrong."""
        wrong = acts_once(self._effects) + in_order(self._effects)
        for task in self._server.documents("tasks"):
            wrong += [f"task {task['_id']}: {text}" for text in (*self._task(task), *self._delivered(task, told))]
        wrong += [f"robot {one['_id']} was doubted: {one['doubt']}" for one in self._server.documents("workers")
                  if one["doubt"] is not None]  # fmt: skip
        wrong += list(self._after_login())
        for name in ("steps", "tasks", "runs", "events"):
            stored = self._server.collections.get(name, {}).items()
            wrong += [f"{name} {id} holds a secret" for id, version in stored if SECRET.encode() in version.raw]
        return wrong

    def _after_login(self) -> Iterator[str]:
        """When a portal refused a log-in, the run tries no further task."""
        rejected: set[str] = set()
        for step in self._server.documents("steps"):
            if step["kind"] == "phase" and step["phase"] == "task" and step["run"] in rejected:
                yield f"run {step['run']} began task {step['task']} after its log-in was refused"
            error = (step.get("outcome") or {}).get("error") or {}
            if step["kind"] == "outcome" and step["phase"] == "task" and error.get("code") == "LOGIN_REJECTED":
                rejected.add(step["run"])

    def _task(self, task: Document) -> Iterator[str]:
        settled = any(entry["state"] == task["state"] and entry["by"] == "ada" for entry in task["history"][-1:])
        policy = self._workflows[task["workflow"]].settings["retry"]
        released = self._witness.released.get(task["_id"], 0)
        if task["attempts"] > policy["attempts"] and not released:
            yield f"{task['attempts']} attempts; its policy allows {policy['attempts']}"
        if task["attempts"] < 0:
            yield f"{task['attempts']} attempts"
        yield from self._repeated(task, policy, released)
        if settled or not self._witness.runs_of.get(task["_id"]):
            return
        run = self._witness.runs_of[task["_id"]][-1]
        if task["state"] == TaskState.SUCCEEDED:
            yield from self._succeeded(task, run)
        elif task["state"] == TaskState.FAILED:
            yield from self._failed(task, policy, run)
        elif task["state"] == TaskState.HELD:
            yield from self._held(task, policy, run)

    def _succeeded(self, task: Document, run: str) -> Iterator[str]:
        """Its result is what its last run really did, in order and without gaps."""
        output = (task.get("result") or {}).get("output") or {}
        if output.get("id") != task["input"]["id"]:
            yield f"its result is another's: {output}"
        for key, phase, of in (("got", "task", task["_id"]), ("setup", "setup", None)):
            done = [one.value for one in self._effects if (one.run, one.phase, one.task) == (run, phase, of)]
            said = [one for one in output.get(key, ()) if isinstance(one, str) and one.startswith(ACT)]
            setups = self._setups[run] if phase == "setup" else 1
            if said != (done if setups == 1 else done[: len(said)]):  # later ones were for another robot's desktop
                yield f"its result says {said} for {phase}, the robot did {done}"
        if task["input"]["fate"] == "business":
            yield "it succeeded although its script says that its input is wrong"

    def _failed(self, task: Document, policy: Mapping[str, Any], run: str) -> Iterator[str]:
        error = task.get("error") or {}
        if error.get("kind") == "business":
            if task["input"]["fate"] != "business":
                yield f"it failed for business, its script does not say so: {error}"
        elif task["attempts"] < policy["attempts"] and not (policy["in_doubt"] == "fail" and self._doubtful(task, run)):
            yield f"it failed at attempt {task['attempts']} of {policy['attempts']}: {error.get('code')}"

    def _held(self, task: Document, policy: Mapping[str, Any], run: str) -> Iterator[str]:
        reason = (task.get("hold") or {}).get("reason")
        if reason == "in_doubt":
            if policy["in_doubt"] != "hold":
                yield f"it is held in doubt; its policy is {policy['in_doubt']}"
            if not self._doubtful(task, run):
                yield "it is held in doubt, and nothing that its run did is doubtful"
        elif reason not in ("person", "setup"):
            yield f"it is held: {task.get('hold')}"

    def _doubtful(self, task: Document, run: str) -> bool:
        """Whether the journal of its last run holds a commit, or an act unanswered or in doubt."""
        for step in self._asked[run, task["_id"]]:
            instruction, answer = step["instruction"], self._replies.get((run, step["seq"]))
            if instruction["effect"] == "act" and (
                answer in (None, "in_doubt", "refused") or (instruction["commit"] and answer == "done")
            ):
                return True
        return False

    def _repeated(self, task: Document, policy: Mapping[str, Any], released: int) -> Iterator[str]:
        """What may have been done was not repeated by itself."""
        if policy["in_doubt"] == "retry":
            return
        runs = self._witness.runs_of.get(task["_id"], [])
        for effect in self._effects:
            if effect.task != task["_id"] or effect.run not in runs:
                continue
            at = runs.index(effect.run)
            commit = self._commits.get((effect.run, effect.seq), effect.commit)
            sure = not commit and self._replies.get((effect.run, effect.seq)) == "done"
            if not sure and at < len(runs) - 1 and at + 1 > released:
                what = "commit" if commit else "act without an answer"
                yield f"{what} {effect.run} {effect.seq} was done, and run {runs[at + 1]} tried the task again"

    def _delivered(self, task: Document, told: Mapping[tuple[str, str], int]) -> Iterator[str]:
        for event in EVENTS:
            entered = sum(
                1
                for n, entry in enumerate(task["history"])
                if entry["state"] == event and (n == 0 or task["history"][n - 1]["state"] != event)
            )
            if told.get((task["_id"], event), 0) != entered:
                heard = told.get((task["_id"], event), 0)
                yield f"it became {event} {entered} times, delivery heard of it {heard} times"
