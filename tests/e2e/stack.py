"""The whole system for a test: real servers, services, portal, partner and robots, through the launcher that `make
run` uses.

`Stack.until` keeps tending the processes while it waits, so what a test kills is started again as in real life.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from pymongo import MongoClient

from demo.config import ROBOTS, Admin, DemoSettings
from demo.console import Console
from demo.partner.config import PartnerSettings, ensure_credentials
from demo.processes import PORTS as DEMO_PORTS
from demo.processes import processes as demo_processes
from demo.run import CERTIFICATE, ENDPOINT, workflow_files
from demo.waiting import until_robots
from deploy.local import parts
from deploy.local.guardian import descendants
from deploy.local.launcher import Launcher
from deploy.local.processes import kill_group
from deploy.local.settings import CLUSTER_PORTS, PORTS, StackSettings, free_ports
from deploy.local.supervisor import Kept, State
from tests.otlp_receiver import receiving

EVENTS = ["succeeded", "failed", "held", "cancelled", "expired"]
FINAL = {"succeeded", "failed", "cancelled", "expired"}
DEADLINE_S = 90.0


class Stack:
    """A running system with two executors and two robots; as a cluster, with three of each server and two of each
    service behind a proxy."""

    def __init__(self, home: Path, parts_home: Path, *, cluster: bool = False) -> None:
        ports = free_ports((*PORTS, *DEMO_PORTS, "executor_2_base", *CLUSTER_PORTS))
        self.home = home
        self._clients = contextlib.ExitStack()
        _link_parts(home, parts_home)
        own = {name: ports[name] for name in PORTS}
        members = {name: ports[name] for name in CLUSTER_PORTS} if cluster else None
        self.launcher = Launcher(StackSettings(home, own, None, None, None, members))
        self._demo_env = {setting: str(ports[name]) for name, (setting, _) in DEMO_PORTS.items()}
        self._spare_port = ports["executor_2_base"]
        self.workflow = workflow_files(f"https://127.0.0.1:{ports['portal']}")

    def start(self) -> None:
        """Start everything, as an operator would set it up."""
        os.environ["REGENTE_DELIVERY_SCHEDULE_S"] = "0.2,0.5,1,1,1,2,2,2"
        os.environ["REGENTE_ALERTS_PRIVATE_ALLOWED"] = "127.0.0.0/8,::1/128"  # the partner, who is told of alerts too
        os.environ["REGENTE_ALERTS_EVALUATE_S"] = os.environ["REGENTE_ALERTS_FORECAST_S"] = "1"
        self.traces = self._clients.enter_context(receiving())
        os.environ["REGENTE_OTLP_URL"] = self.traces.url
        self.launcher.prepare({})
        self.launcher.start()
        if self.launcher.settings.cluster is None:
            self._add_executor()
        env = {**self.launcher.environment(), **self._demo_env, "REGENTE_AGENT_BROWSER": parts.browser(self.home)}
        self.launcher.add(demo_processes(self.home, env))
        self._connect()
        self._prepare()

    def _add_executor(self) -> None:
        url = f"http://127.0.0.1:{self._spare_port}"
        first = self.launcher.service("executor")
        moved = {
            **first.env,
            "REGENTE_HTTP_PORT": str(self._spare_port),
            "REGENTE_INSTANCE": "executor-2",
            "REGENTE_EXECUTOR_URL": url,
        }
        self.launcher.add([replace(first, name="executor-2", env=moved, port=self._spare_port)])

    def stop(self) -> None:
        """Stop everything."""
        self.launcher.stop()
        self._clients.close()
        os.environ.pop("REGENTE_OTLP_URL", None)

    def _connect(self) -> None:
        self.demo = DemoSettings(home=self.home, portal_port=int(self._demo_env["REGENTE_PORTAL_PORT"]))
        self.partner_settings = PartnerSettings(
            home=self.home, partner_port=int(self._demo_env["REGENTE_PARTNER_PORT"])
        )
        self.admin = Admin.model_validate(json.loads((self.home / "admin.json").read_text()))
        opened = self._clients.enter_context
        self.trust = self._services_trust()
        self.console = opened(Console(self.admin, self.trust))
        self.portal = opened(httpx.Client(base_url=self.demo.portal_origin, verify=self._trust(), timeout=15))
        partner_url = self.partner_settings.webhook_url.removesuffix("/webhooks")
        self.partner = opened(httpx.Client(base_url=partner_url, timeout=15))
        key = {"authorization": f"Bearer {self.admin.key}"}
        self.collector = opened(
            httpx.Client(base_url=self.admin.collector_url, timeout=30, headers=key, verify=self.trust)
        )
        assert self.launcher.servers is not None
        client: MongoClient[dict[str, Any]] = opened(MongoClient(self.launcher.servers.mongo_url, tz_aware=True))
        self.database = client["regente"]

    def _services_trust(self) -> ssl.SSLContext | bool:
        """Whom to believe of the services: a cluster speaks TLS, with an authority of its own."""
        if self.launcher.settings.cluster is None:
            return True
        return ssl.create_default_context(cafile=self.home / "certs" / "ca.pem")

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.demo.pki_folder / "ca.pem")

    def _prepare(self) -> None:
        pki = self.demo.pki_folder
        password = (pki / "acme.p12.password").read_text()
        self.console.store_certificate(CERTIFICATE, (pki / "acme.p12").read_bytes(), password, self.demo.portal_origin)
        credentials = ensure_credentials(self.partner_settings)
        self.console.store_endpoint(ENDPOINT, credentials.url, credentials.secret, EVENTS)
        self.console.publish(self.workflow)
        until_robots(self.console, ROBOTS, 60, lambda text: None)

    # what tests do

    def push(self, tasks: Sequence[dict[str, Any]], workflow: str = "tax-certificate") -> dict[str, str]:
        """Push tasks; their ids by reference."""
        answer = self.collector.post("/v1/tasks", json={"workflow": workflow, "tasks": list(tasks)})
        answer.raise_for_status()
        body = answer.json()
        assert not body["rejected"], body["rejected"]
        return {item["reference"]: item["id"] for item in body["accepted"]}

    def task(self, id: str) -> dict[str, Any]:
        """A task's document."""
        found = self.database["tasks"].find_one({"_id": id})
        assert found is not None
        return dict(found)

    def states(self, ids: Sequence[str]) -> list[str]:
        """Their states, in order."""
        return [self.task(id)["state"] for id in ids]

    def until(
        self, holds: Callable[[], Any], what: str, seconds: float = DEADLINE_S, *, tell: Callable[[], str] | None = None
    ) -> Any:
        """Tend the processes until something holds; what it gave. tell: how things stand, when it does not in time."""
        deadline = time.monotonic() + seconds
        while True:
            self.launcher.tend()  # first: what was killed must not be taken for ready
            with contextlib.suppress(httpx.TransportError):
                found = holds()
                if found:
                    return found
            if time.monotonic() >= deadline:
                raise AssertionError(f"not within {seconds:.0f} s: {what}{': ' + tell() if tell else ''}")

    def until_settled(self, ids: Sequence[str], seconds: float = DEADLINE_S) -> list[str]:
        """Wait until every task is final or held, and its outcome was delivered."""
        self.until(
            lambda: all(state in FINAL | {"held"} for state in self.states(ids)),
            "tasks settled",
            seconds,
            tell=lambda: self.tell(ids),
        )
        self.until(lambda: set(ids) <= {one["content"]["data"]["id"] for one in self.received()}, "deliveries", seconds)
        return self.states(ids)

    def forgive(self) -> None:
        """Release the robots and workflows that failures of a test put into quarantine or held."""
        for worker in self.database["workers"].find({"failures": {"$gt": 0}}):
            self.console._call("POST", f"workers/{worker['_id']}/release")
        held = {f"{one['account']}/{one['workflow']}" for one in self.database["circuits"].find({"state": "open"})}
        for workflow in held:
            self.console._call("POST", f"workflows/{workflow}/release", json={})

    def received(self) -> list[dict[str, Any]]:
        """What the partner has verified."""
        return list(self.partner.get("/_demo/received").json()["deliveries"])

    def pid(self, name: str) -> int:
        """Pid of a process by its name, such as executor-1."""
        child = self.kept(name).child
        assert child is not None, f"{name} does not run"
        return child.pid

    def kept(self, name: str) -> Kept:
        """A process by its name."""
        return next(kept for kept in self.launcher.supervisor.kept if kept.name == name)

    def kill(self, name: str) -> None:
        """kill -9, of this one process only; returns when it is dead."""
        child = self.kept(name).child
        assert child is not None, f"{name} does not run"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()

    def restart_server(self, name: str, *, wipe: bool = False) -> None:
        """kill -9 of the broker or the database; with `wipe` its data is deleted before it is started again."""
        kept = self.kept(name)
        assert kept.child is not None
        kill_group(kept.child)
        if wipe:
            shutil.rmtree(self.home / "data" / name)
        self.until(lambda: kept.launches > 1 and kept.state is State.READY, f"{name} is back")

    def all_ready(self) -> bool:
        """Whether every process is up."""
        return all(kept.state is State.READY for kept in self.launcher.supervisor.kept)

    def driver_pid(self, robot: str) -> int | None:
        """Pid of a robot's driver process, if it runs."""
        for pid in descendants(self.pid(robot)):
            with contextlib.suppress(OSError):
                if b"regente_agent.driver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def running(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Those of the tasks that a run works on now: their steps have begun."""
        found = self.database["tasks"].find(
            {"_id": {"$in": list(ids)}, "state": "running", "started_at": {"$ne": None}}
        )
        return [dict(task) for task in found if task.get("held_by")]

    def run_of(self, task: str) -> dict[str, Any] | None:
        """The run that holds a task."""
        held = self.task(task).get("held_by")
        return self.database["runs"].find_one({"_id": held["run"]}) if held else None

    def tell(self, ids: Sequence[str]) -> str:
        """The tasks as they are, for a failing test."""
        keys = ("reference", "state", "attempts", "held_by", "pending", "error", "hold")
        rows = [{key: self.task(id).get(key) for key in keys} for id in ids]
        for row in rows:
            if row.get("error"):
                row["error"] = {k: v for k, v in row["error"].items() if k not in ("recent", "traceback")}
        return "\n".join(map(str, rows))


def _link_parts(home: Path, parts_home: Path) -> None:
    """Use the parts that are fetched already."""
    (parts_home / "parts").mkdir(parents=True, exist_ok=True)
    if not (home / "parts").exists():
        (home / "parts").symlink_to(parts_home / "parts")


@contextlib.contextmanager
def running_stack(home: Path, parts_home: Path, *, cluster: bool = False) -> Iterator[Stack]:
    """A started stack, stopped at the end in any case."""
    stack = Stack(home, parts_home, cluster=cluster)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
