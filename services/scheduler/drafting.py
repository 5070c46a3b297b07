"""What a run is opened with: who it is for, which locks it holds, what it uses up.

Called by: dispatch.py, standby.py. Owns nothing; what it is made from was read before, so the transaction that opens
the run (store/opening.py) checks all of it again.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from services.scheduler.core.opening import SEED_BITS, Fence, Opening
from services.scheduler.core.order import Plan
from shared.domain.gates import SERVER_LOCK, account_lock, group_lock, workflow_lock
from shared.domain.scenario import group_digest, needs_robot
from shared.mongo.gates import WorkflowGate
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.obs.spans import task_context


def draft(
    robot: Mapping[str, Any], workflow: WorkflowGate, plan: Plan, number: int, *, key: str, values: Mapping[str, Any],
    tasks: Sequence[Mapping[str, Any]], done: Sequence[int], server_runs_max: int, warm: str | None = None,
) -> Opening:  # fmt: skip
    """A run of the scenario `number` of a plan.

    robot: its document, or order.SERVER. key: of scenario and group; values: what its tasks share. tasks: candidates in
    order. done: numbers of the scenarios that the robot has run for this group before. server_runs_max: runs without a
    robot at once. warm: the lock of a run that is to be kept ready.
    """
    account, name = str(workflow.document["account"]), str(workflow.document["name"])
    scenario, rules = plan.scenarios[number], workflow.rules
    digest, on_robot = group_digest(values), needs_robot(scenario)
    limited = [
        (workflow_lock(account, name), rules.runs_max),
        (account_lock(account), workflow.account.runs_max),
        (group_lock(account, name, digest, of_workflow=rules.group_of_workflow), rules.group_max),
    ]
    fences = [Fence(lock, most) for lock, most in limited if lock is not None and most is not None]
    locks = [lock for lock, _ in limited if lock is not None]
    if not on_robot:
        locks.append(SERVER_LOCK)
        fences.append(Fence(SERVER_LOCK, server_runs_max, parked=False))
    if warm is not None:
        locks.append(warm)
        fences.append(Fence(warm, 1))
    follows = on_robot and warm is None and digest and len(plan.scenarios) > 1
    follow = {"workflow": workflow.id, "key": key, "done": [*done, number]}
    return Opening(
        run=new_id("run_"), account=account, workflow=name, version=plan.version, scenario=str(scenario["name"]),
        worker=str(robot["_id"]) if on_robot else None, epoch_before=int(robot.get("epoch") or 0),
        tasks=[str(task["_id"]) for task in tasks], seed=secrets.randbits(SEED_BITS), at=now(),
        traceparent=task_context(tasks[0]) if tasks else None, group=dict(values), group_key=key,
        follow=follow if follows else None, locks=locks, fences=fences, warm=warm,
        used=tuple(workflow.standing.used), environment=rules.environment or workflow.account.environment,
    )  # fmt: skip
