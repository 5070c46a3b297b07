"""What happens to processes and robots from outside, and what people do: at moments that the scene has drawn.

Called by: world.py. After the storm everything is put right, as an operator would: robots work again, quarantines and
held workflows are released. So what then stands still is a defect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.run_state import FINAL as RUN_FINAL
from tests.sim.broker import Broker
from tests.sim.scene import Deed

if TYPE_CHECKING:
    from tests.sim.world import World


class Deeds:
    """Does them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rate_before: float | None = None

    def do(self, deed: Deed) -> None:
        """One deed, unless the storm is over."""
        if not self._world.calm:
            self._world.tell(f"deed: {deed.what} {deed.whom} {deed.for_s:.2f}")
            getattr(self, f"_{deed.what}")(deed)

    def undo(self) -> None:
        """Nothing lasts beyond the storm."""
        world = self._world
        self._end_outage()
        for process in world.processes:
            process.life.frozen_until_s = min(process.life.frozen_until_s, world.loop.time())
            self._reconnect(process.broker)
        for robot in world.robots:
            if robot.broker is not None:
                self._reconnect(robot.broker)

    def look_after(self) -> None:
        """An operator releases what has been put aside."""
        world = self._world
        asked = {
            (one["kind"], one["target"]) for one in world.server.documents("commands") if one["state"] == "pending"
        }
        for worker in world.server.documents("workers"):
            if worker["mode"] != "run" and ("worker.mode", worker["_id"]) not in asked:
                world.outside.ask("worker.mode", "scheduler", worker["_id"], {"mode": "run"})
            if worker.get("quarantine") and ("worker.release", worker["_id"]) not in asked:
                world.outside.ask("worker.release", "scheduler", worker["_id"], {})
        for circuit in world.server.documents("circuits"):
            if circuit["state"] == "open" and ("workflow.release", circuit["_id"]) not in asked:
                world.outside.ask("workflow.release", "scheduler", circuit["_id"], {})

    # faults

    def _die(self, deed: Deed) -> None:
        self._world.processes[deed.whom % len(self._world.processes)].life.die("as it was killed")

    def _robot_dies(self, deed: Deed) -> None:
        self._world.robots[deed.whom % len(self._world.robots)].life.die("as it was killed")

    def _freeze(self, deed: Deed) -> None:
        life = self._world.processes[deed.whom % len(self._world.processes)].life
        life.frozen_until_s = self._world.loop.time() + 3 * deed.for_s

    def _restart(self, deed: Deed) -> None:
        process = self._world.processes[deed.whom % len(self._world.processes)]
        self._world.loop.create_task(process.leave())

    def _cut(self, deed: Deed) -> None:
        self._cut_broker(self._world.processes[deed.whom % len(self._world.processes)].broker, deed.for_s)

    def _robot_cut(self, deed: Deed) -> None:
        broker = self._world.robots[deed.whom % len(self._world.robots)].broker
        if broker is not None:
            self._cut_broker(broker, 4 * deed.for_s)

    def _cut_broker(self, broker: Broker, for_s: float) -> None:
        if not broker.life.dead:
            broker.cut()
            self._world.loop.call_later(for_s, self._reconnect, broker)

    def _reconnect(self, broker: Broker) -> None:
        self._world.loop.create_task(broker.come_back())

    def _purge(self, deed: Deed) -> None:
        names = list(self._world.post.boxes)
        for name in names if deed.whom % 5 == 0 else [names[deed.whom % len(names)]]:
            self._world.post.purge(name)

    def _outage(self, deed: Deed) -> None:
        """The database answers nobody."""
        if self._rate_before is None:
            self._rate_before, self._world.faults.fails_before = self._world.faults.fails_before, 1.0
            self._world.loop.call_later(deed.for_s, self._end_outage)

    def _end_outage(self) -> None:
        if self._rate_before is not None:
            self._world.faults.fails_before, self._rate_before = self._rate_before, None

    # people

    def _abort(self, deed: Deed) -> None:
        self._of_run("run.abort", deed)

    def _stop(self, deed: Deed) -> None:
        self._of_run("run.stop", deed)

    def _of_run(self, kind: str, deed: Deed) -> None:
        live = [run["_id"] for run in self._world.server.documents("runs") if run["state"] not in RUN_FINAL]
        if live:
            self._world.outside.ask(kind, "executor", live[deed.whom % len(live)], {"reason": "as asked"})

    def _cancel(self, deed: Deed) -> None:
        tasks = self._world.server.documents("tasks")
        if tasks:
            self._world.outside.ask("task.cancel", "scheduler", tasks[deed.whom % len(tasks)]["_id"], {})

    def _settle(self, deed: Deed) -> None:
        held = [task["_id"] for task in self._world.server.documents("tasks") if task["state"] == "held"]
        if not held:
            return
        target, way = held[deed.whom % len(held)], deed.whom % 3
        if way == 0:
            self._world.outside.ask("task.requeue", "scheduler", target, {})
        else:
            outcome = ("succeeded", "failed")[way - 1]
            self._world.outside.ask("task.settle", "executor", target, {"outcome": outcome, "note": "as seen"})

    def _mode(self, deed: Deed) -> None:
        robots, mode = self._world.robots, ("stop", "abort", "pause")[deed.whom % 3]
        target = robots[deed.whom % len(robots)].name
        self._world.outside.ask("worker.mode", "scheduler", target, {"mode": mode})
        self._world.loop.call_later(deed.for_s, self._back_to_work, target)

    def _back_to_work(self, target: str) -> None:
        self._world.outside.ask("worker.mode", "scheduler", target, {"mode": "run"})
