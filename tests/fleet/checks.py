"""What must hold at the end, and what must hold all the time.

Each function gives lines of text, one for each thing that is wrong; an empty list is a proof for this run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from shared.domain.gates import workflow_lock
from shared.domain.task_state import TaskState
from shared.mongo import Mongo
from tests.fleet.ledger import Ledger, overlapping
from tests.fleet.scene import Workflow
from tests.fleet.watching import Witness

SHOWN = 10
LEFT_OVER: dict[str, tuple[str, dict[str, object]]] = {
    "tasks that nobody has ended": ("tasks", {"state": {"$nin": [TaskState.SUCCEEDED, TaskState.FAILED]}}),
    "tasks with a hand-over": ("tasks", {"pending": {"$ne": None}}),
    "tasks with a holder": ("tasks", {"held_by": {"$ne": None}}),
    "tasks with a place in the queue": ("tasks", {"queue": {"$exists": True}}),
    "runs at work": ("runs", {"state": {"$nin": ["finished", "aborted"]}}),
    "runs with a hand-over": ("runs", {"pending": {"$ne": None}}),
    "robots with a run": ("workers", {"run": {"$ne": None}}),
    "robots that are not free": ("workers", {"status": {"$ne": "waiting"}}),
    "locks with holders": ("slots", {"holders": {"$exists": True, "$ne": []}}),
    "commands that wait": ("commands", {"state": "pending"}),
}


async def left_over(mongo: Mongo) -> list[str]:
    """What is not finished yet: empty when all work is done and nothing is held by anybody."""
    counts = {what: await mongo[name].count_documents(query) for what, (name, query) in LEFT_OVER.items()}
    return [f"{count} {what}" for what, count in counts.items() if count]


def held_once(ledger: Ledger) -> list[str]:
    """Each task is worked on by one run at a time, and each attempt was started by one run only."""
    wrong = []
    for task, spans in ledger.work.items():
        for one, two in overlapping(spans):
            wrong.append(
                f"task {task} was worked on by {one.run} until {one.end_s:.4f}, by {two.run} from {two.start_s:.4f}"
            )
        runs: dict[str, set[str]] = defaultdict(set)
        for span in spans:
            runs[span.what].add(span.run)
        wrong += [f"attempt {n} of task {task} was started by {sorted(of)}" for n, of in runs.items() if len(of) > 1]
    return wrong[:SHOWN]


def one_run_per_robot(ledger: Ledger) -> list[str]:
    """No robot has two runs at a time, and its epochs strictly grow in the order in which its runs come."""
    wrong = []
    for robot, spans in ledger.robots.items():
        for one, two in overlapping(spans):
            wrong.append(
                f"robot {robot} had run {one.run} (epoch {one.what}) and run {two.run} (epoch {two.what}) at once"
            )
    for robot, epochs in ledger.epochs.items():
        if any(after <= before for before, after in pairwise(epochs)):
            wrong.append(f"robot {robot} was given epochs {epochs}")
    return wrong[:SHOWN]


def ended_once(tasks: Iterable[str], ledger: Ledger, witness: Witness) -> list[str]:
    """Every task reached a final state exactly once, and delivery was told of it exactly once."""
    known = list(tasks)
    wrong = [
        f"task {task} reached a final state {witness.finals[task]} times" for task in known if witness.finals[task] != 1
    ]
    wrong += [f"delivery took over task {task} {ledger.told[task]} times" for task in known if ledger.told[task] != 1]
    return wrong[:SHOWN]


def within_limits(witness: Witness, workflows: Mapping[str, Workflow]) -> list[str]:
    """As many runs at once of a workflow, and of a group of tasks, as its settings say."""
    wrong = []
    for one in workflows.values():
        most = witness.held_most[workflow_lock(one.account, one.name)]
        if one.runs is not None and most > one.runs:
            wrong.append(f"{most} runs of {one.id} were at work at once; at most {one.runs}")
        groups = {lock: n for lock, n in witness.held_most.items() if lock.startswith(f"group/{one.account}/")}
        if one.group_by and most and not groups:
            wrong.append(f"no run of {one.id} held the lock of its group")
        if one.group_by:
            wrong += [
                f"{n} runs held {lock} at once; at most {one.group_runs}"
                for lock, n in groups.items()
                if n > one.group_runs
            ]
    return wrong[:SHOWN]
