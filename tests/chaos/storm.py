"""One fault after the other, on a cluster through which tasks flow; and what must be true when it is over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from pymongo.errors import PyMongoError

from deploy.local.supervisor import State
from tests.chaos.faults import Act, Fault, inject, thaw
from tests.chaos.flow import Flow, Pushed
from tests.chaos.judging import Measured, in_hand, recovered_s
from tests.e2e import invariants
from tests.e2e.stack import FINAL, Stack

NOTHING = "nothing"
LOOK_S = 0.1
CALM_S = 180.0
OLD_S, OLD_WITH_ROBOT_S = 5.0, 30.0
"""A task that is older and not delivered is not how it is when all is well."""
LEADS = {"evaluation/leader": "alerts", "keeping/leader": "delivery"}
"""Leases of work that one of several instances does; by which service."""


class Storm:
    """A cluster with tasks under way."""

    def __init__(self, stack: Stack, flow: Flow, say: Callable[[str], None] = lambda text: None) -> None:
        self.stack = stack
        self.flow = flow
        self._say = say
        self._looked_s = 0.0

    def run(self, faults: Iterable[Fault]) -> list[Measured]:
        """A quiet measurement, then each fault; tasks flow all the while."""
        self.calm("tasks flow")
        rows = [self._quiet()]
        self._say(_line(rows[0]))
        for fault in faults:
            rows.append(self._one(fault))
            self._say(_line(rows[-1]))
        return rows

    def tend(self) -> None:
        """Start again whoever died; note, a few times a second, what was delivered."""
        self.stack.launcher.tend()
        if time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            self.flow.look()

    def calm(self, what: str) -> None:
        """Until everything runs and nothing old is outstanding."""
        self._until(
            lambda: self.stack.all_ready() and not [one for one in self.flow.outstanding if _is_old(one)],
            CALM_S,
            what,
        )

    def finish(self) -> None:
        """Until all that was pushed is delivered; what never is, `check` says."""
        self._until(lambda: not self.flow.outstanding, CALM_S, "the last tasks", give_up=True)

    def _quiet(self) -> Measured:
        at_s = time.monotonic()
        self.flow.robot_next.set()
        self._wait(3)
        return self._measured(NOTHING, at_s, None, 0.0, 20.0)

    def _one(self, fault: Fault) -> Measured:
        kept = self.stack.kept(fault.name)
        led = self._led(fault.name)
        launches, at_s = kept.launches, time.monotonic()
        self.flow.robot_next.set()  # so that each fault hits one
        group = inject(fault, kept)
        leader_s: float | None = None
        try:
            if fault.act is Act.FREEZE:
                leader_s = self._follow(led, fault, at_s, at_s + fault.hold_s)
                self._wait(at_s + fault.hold_s - time.monotonic())
        finally:
            if fault.act is Act.FREEZE:
                thaw(group)
        if fault.act is Act.KILL:
            self._until(lambda: kept.launches > launches, CALM_S, f"{fault.name} is started again")
            leader_s = self._follow(led, fault, at_s, at_s + CALM_S)
        ended_s = at_s + fault.hold_s
        self._until(lambda: self._is_up(fault.name), CALM_S, f"{fault.name} is back")
        whole_s = time.monotonic() - ended_s
        return self._measured(fault.title, at_s, leader_s, whole_s, fault.bound_s)

    def _measured(self, title: str, at_s: float, leader_s: float | None, whole_s: float, bound_s: float) -> Measured:
        self._until(lambda: time.monotonic() > at_s + 3, 10, "the tasks that came just after")
        hit = in_hand(self.flow.pushed, at_s)
        self._until(
            lambda: all(one.delivered_s is not None for one in hit), CALM_S,
            f"what was in hand at '{title}' is delivered", give_up=True,
        )  # fmt: skip
        row = Measured(title, len(hit), recovered_s(hit, at_s), leader_s, whole_s, bound_s)
        self.calm(f"calm after '{title}'")
        return row

    def _is_up(self, name: str) -> bool:
        kept = self.stack.kept(name)
        return kept.state is State.READY and kept.answers()

    def _led(self, name: str) -> dict[str, int]:
        """Tokens of the leases that this instance holds for all."""
        found = self.stack.database["leases"].find({"_id": {"$in": list(LEADS)}, "owner": name})
        return {str(one["_id"]): int(one["token"]) for one in found}

    def _follow(self, led: dict[str, int], fault: Fault, at_s: float, until_s: float) -> float | None:
        """Seconds until all of these leases have a new owner, or its owner anew."""
        if not led:
            return None

        def followed() -> bool:
            try:
                found = list(self.stack.database["leases"].find({"_id": {"$in": list(led)}}))
            except PyMongoError:
                return False
            return all(int(one["token"]) > led[str(one["_id"])] for one in found)

        self._until(followed, until_s - time.monotonic(), f"somebody leads after {fault.title}")
        return time.monotonic() - at_s

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.tend()

    def _until(self, holds: Callable[[], bool], seconds: float, what: str, *, give_up: bool = False) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            self.tend()
            if time.monotonic() > deadline:
                if give_up:
                    return
                raise AssertionError(f"not within {seconds:.0f} s: {what}; {self._tell()}")

    def _tell(self) -> str:
        late = [one for one in self.flow.outstanding if _is_old(one)]
        rows = [kept for kept in self.stack.launcher.supervisor.kept if kept.state is not State.READY]
        said = self.stack.tell([one.id for one in late if one.id][:10])
        return f"not ready: {[kept.name for kept in rows]}; outstanding: {len(late)}\n{said}"


def check(stack: Stack, flow: Flow) -> list[str]:
    """What is wrong after a storm, once nothing is pushed any more: nothing may be lost, and nothing done twice."""
    wrong = [f"a push was refused: {text}" for text in flow.refused]
    wrong += [f"{one.reference} was never taken" for one in flow.pushed if not one.id]
    ids = [one.id for one in flow.pushed if one.id]
    wrong += [f"{one.reference} was never delivered" for one in flow.outstanding]
    states = Counter(stack.states(ids))
    wrong += [f"{count} tasks are {state}" for state, count in states.items() if state not in FINAL | {"held"}]
    got = stack.partner.get("/_demo/received").json()
    wrong += [f"{got[what]} deliveries: {what}" for what in ("conflicts", "rejected") if got[what]]
    told = Counter((one["content"]["data"]["id"], one["content"]["type"]) for one in got["deliveries"])
    wrong += [f"{id} was told {count} times of {what}" for (id, what), count in told.items() if count > 1]
    counted: dict[str, Any] = stack.portal.get("/_demo/submits").json()["by_reference"]
    wrong += [f"{one} was submitted {count} times" for one, count in counted.items() if count > 1]
    try:
        invariants.check_steps(stack, ids)
        invariants.check_robots(stack, ids)
    except AssertionError as error:
        wrong.append(str(error))
    return wrong


def _is_old(one: Pushed) -> bool:
    return time.monotonic() - one.at_s > (OLD_WITH_ROBOT_S if one.robot else OLD_S)


def _line(row: Measured) -> str:
    recovered = "never" if row.recovered_s is None else f"{row.recovered_s:.1f} s"
    leader = "" if row.leader_s is None else f", led on after {row.leader_s:.1f} s"
    return f"{row.title:<24} {row.in_hand:>3} in hand, all delivered after {recovered}{leader}" + (
        "" if row.holds else f"  (more than {row.bound_s:.0f} s)"
    )
