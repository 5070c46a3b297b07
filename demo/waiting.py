"""Waiting with a deadline, and saying precisely what is missing when it passes.

Owns: the deadlines' texts. Called by: demo.run. Survives a crash: nothing lives here. Change also: nothing.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from demo.config import Admin, DemoSettings, read_admin
from demo.console import Console, identify
from demo.partner.config import PartnerSettings
from demo.summary import FINAL, Observed, expected_outcome

STEP_S = 0.3


class NotInTime(Exception):
    """Something did not happen before its deadline; the text says what, and what to do."""


def until(holds: Callable[[], bool], seconds: float, step_s: float) -> bool:
    """Ask again and again; False when it did not hold within the time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(step_s)
    return True


def until_answering(settings: DemoSettings, partner: PartnerSettings) -> Admin:
    """Wait until admin.json stands there and everything that the demo talks to is ready.

    Raises: NotInTime, naming what does not answer.
    """
    path = settings.home / "admin.json"
    if not until(path.exists, settings.demo_start_s, STEP_S):
        raise NotInTime(
            f"{path} is not there: is Regente up? `make run` starts it, REGENTE_HOME says where its data is"
        )
    admin = read_admin(settings)
    needed = {
        "console": f"{admin.url.rstrip('/')}/readyz",
        "collector": f"{admin.collector_url}/readyz",
        "portal": f"{settings.portal_origin}/healthz",
        "partner": partner.webhook_url.removesuffix("/webhooks") + "/healthz",
    }
    silent = dict(needed)

    def look() -> bool:
        for name, url in list(silent.items()):
            if _answers(url, settings):
                del silent[name]
        return not silent

    if not until(look, settings.demo_start_s, STEP_S):
        raise NotInTime("not ready: " + ", ".join(f"{name} ({url})" for name, url in silent.items()))
    return admin


def until_robots(console: Console, robots: Mapping[str, str], seconds: float, say: Callable[[str], None]) -> None:
    """Authorise the demo's robots as they show up, and wait until they are connected.

    Raises: NotInTime, saying of each robot what it lacks.
    """
    asked: set[str] = set()

    def look() -> bool:
        workers = console.workers()
        for robot, name in robots.items():
            worker = workers.get(robot)
            if worker and worker["authorisation"] == "pending" and robot not in asked:
                doubt = (worker.get("doubt") or {}).get("reason")
                console.authorise(robot)
                asked.add(robot)
                say(f"authorised {name} ({robot})" + (f", which was in doubt: {doubt}" if doubt else ""))
        return all(_working(workers.get(robot)) for robot in robots)

    if not until(look, seconds, STEP_S):
        workers = console.workers()
        lacking = [f"{name} ({robot}): {_lack(workers.get(robot))}" for robot, name in robots.items()]
        raise NotInTime("the robots are not at work: " + "; ".join(lacking))
    say(f"{len(robots)} robots are authorised and connected")


def missing(console: Console, observed: Observed, robots: Mapping[str, str]) -> list[str]:
    """A line for every task that is not as it should be, and one for every robot when work is left."""
    lines = []
    for task in observed.pushed:
        line = _missing_of(console, observed, task)
        if line:
            lines.append(line)
    if not observed.done():
        workers = console.workers()
        lines += [f"{name} ({robot}): {_lack(workers.get(robot))}" for robot, name in robots.items()]
        lines += _missing_deliveries(console, observed)
    return lines


def _missing_of(console: Console, observed: Observed, task: dict[str, Any]) -> str | None:
    name = task["reference"]
    seen = observed.tasks.get(name)
    if seen is None:
        return f"{name}: not in the batch"
    outcome = observed.outcome(name)
    if outcome == expected_outcome(task):
        return None if observed.delivered(name) else f"{name}: {outcome}, but the partner has not got its delivery"
    known = console.task(identify(seen))
    why = known.get("why_waiting") if seen["state"] not in FINAL else None
    reasons = [str(part) for part in (why, known.get("hold"), known.get("error")) if part]
    return f"{name}: {outcome}, attempts {known.get('attempts')}: {'; '.join(reasons) or 'no reason given'}"


def _missing_deliveries(console: Console, observed: Observed) -> list[str]:
    mine = {identify(task) for task in observed.tasks.values()}
    waiting = [one for one in console.deliveries() if one["task"] in mine and one["state"] != "delivered"]
    return [f"delivery {identify(one)}: {one['state']}, last attempt {_last_attempt(one)}" for one in waiting]


def _last_attempt(delivery: dict[str, Any]) -> str:
    attempts = delivery.get("attempts")
    return str(attempts[-1]) if isinstance(attempts, list) and attempts else "none"


def _working(worker: dict[str, Any] | None) -> bool:
    return worker is not None and worker["authorisation"] == "authorised" and bool(worker["connected"])


def _lack(worker: dict[str, Any] | None) -> str:
    if worker is None:
        return "has not enrolled; its log says why"
    doubt = (worker.get("doubt") or {}).get("reason")
    connected = "connected" if worker["connected"] else "not connected"
    return f"{worker['authorisation']}, {connected}, {worker.get('status')}" + (f", in doubt: {doubt}" if doubt else "")


def _answers(url: str, settings: DemoSettings) -> bool:
    try:
        if not url.startswith("https:"):
            return httpx.get(url, timeout=5).status_code == 200
        # The portal makes its authority at its first start: until then there is nothing to trust.
        context = ssl.create_default_context(cafile=settings.pki_folder / "ca.pem")
        return httpx.get(url, timeout=5, verify=context).status_code == 200
    except (httpx.TransportError, OSError):
        return False
