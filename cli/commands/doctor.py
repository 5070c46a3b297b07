"""`regente doctor`: what is wrong with this installation, and what to do about it.

Each check is a function that gives findings; a finding that is wrong says what to do. Nothing is changed. New checks
go into CHECKS; a check that can't be made (nobody answers) is a finding too.
"""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli import output
from cli.client import Client
from cli.errors import CliError, Refused
from cli.home import ADMIN_FILE, find_home
from cli.output import JsonOption
from cli.processes import read_processes, with_readiness

DISK_FREE_BYTES_MIN = 1_000_000_000
RESTARTS_MANY = 3
PYTHON_MIN = (3, 11)


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    state: str
    """ok, warning or wrong."""
    text: str
    todo: str = ""
    """What to do; empty when it is ok."""


@dataclass
class Patient:
    """What the checks look at."""

    home: Path | None
    client: Client
    _cluster: Any = None

    def cluster(self) -> dict[str, Any]:
        """The console's view of the installation, asked for once."""
        if self._cluster is None:
            self._cluster = self.client.call("GET", "cluster")
        return dict(self._cluster)


def doctor(as_json: JsonOption = False) -> None:
    """Say what is wrong with this installation, and what to do; exit code 1 when something is."""
    with Client() as client:
        findings = examine(Patient(find_home(), client))
    if as_json:
        output.print_json([asdict(one) for one in findings])
    else:
        rows = [(one.state, one.check, one.text + (f"\n→ {one.todo}" if one.todo else "")) for one in findings]
        output.print_table(("state", "check", "finding"), rows)
    wrong = sum(1 for one in findings if one.state == "wrong")
    if wrong:
        raise Refused(f"{wrong} thing{' is' if wrong == 1 else 's are'} wrong")


def examine(patient: Patient) -> list[Finding]:
    """Every check's findings. When the console does not answer, what needs it is left out after saying so once."""
    findings: list[Finding] = []
    for name, check in CHECKS:
        try:
            findings += check(patient)
        except CliError as error:
            findings.append(Finding(name, "wrong", str(error), "start it with `make up`, or see `regente status`"))
            if name == "console":
                break
    return findings


def _python(patient: Patient) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info >= PYTHON_MIN:
        yield Finding("python", "ok", version)
    else:
        yield Finding("python", "wrong", version, "use Python 3.11 or newer")


def _home(patient: Patient) -> Iterator[Finding]:
    if patient.home is None:
        yield Finding("home", "warning", "no .regente here or above", "set REGENTE_HOME, or run `make up` in the repo")
        return
    yield Finding("home", "ok", str(patient.home))
    if not patient.home.exists():
        yield Finding("home", "wrong", f"{patient.home} does not exist", "correct REGENTE_HOME, or run `make up`")
        return
    free = shutil.disk_usage(patient.home).free
    text = f"{free / 1e9:.1f} GB free"
    todo = "make room: broker and database stop taking work on a full disk"
    yield Finding("disk", "ok", text) if free >= DISK_FREE_BYTES_MIN else Finding("disk", "wrong", text, todo)


def _admin_file(patient: Patient) -> Iterator[Finding]:
    if patient.home is None:
        return
    path = patient.home / ADMIN_FILE
    if not path.exists():
        yield Finding(
            "admin.json", "warning", f"{path} is missing", "`make up` writes it; or use REGENTE_URL and REGENTE_TOKEN"
        )
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding("admin.json", "wrong", f"others may read it (mode {mode:04o})", f"chmod 600 {path}")
    else:
        yield Finding("admin.json", "ok", "readable by its owner only")


def _processes(patient: Patient) -> Iterator[Finding]:
    processes = read_processes(patient.home) if patient.home else None
    if processes is None:
        return
    for one in with_readiness(processes):
        name = str(one.get("instance") or one.get("service"))
        if not one["alive"]:
            yield Finding(
                "processes", "wrong", f"{name} is not running", "`make down`, then `make up`; see its log under run/"
            )
        elif one["ready"] is False:
            yield Finding(
                "processes",
                "wrong",
                f"{name} is not ready: {one['reason']}",
                f"regente logs --service {one['service']}",
            )
        elif int(one.get("restarts") or 0) >= RESTARTS_MANY:
            yield Finding(
                "processes",
                "warning",
                f"{name} was restarted {one['restarts']} times",
                f"regente logs --service {one['service']} --level error",
            )
        else:
            yield Finding("processes", "ok", name)


def _console(patient: Patient) -> Iterator[Finding]:
    me = patient.client.call("GET", "session")
    yield Finding("console", "ok", f"logged in as {me['user']} ({me['role']})")


def _services(patient: Patient) -> Iterator[Finding]:
    for one in patient.cluster()["services"]:
        if one["ready"]:
            yield Finding("services", "ok", f"{one['service']} is ready")
        else:
            todo = f"is it started? is its address {one['url']} right?"
            yield Finding("services", "wrong", f"{one['service']}: {one['reason']}", todo)


def _database(patient: Patient) -> Iterator[Finding]:
    database = patient.cluster()["database"]
    if database["ready"]:
        yield Finding("database", "ok", f"primary {database['primary']}, {len(database['hosts'])} member(s)")
    else:
        yield Finding("database", "wrong", str(database["reason"]), "start it; with three members two have to run")


def _broker(patient: Patient) -> Iterator[Finding]:
    broker = patient.cluster()["broker"]
    if not broker["connected"] or broker["reason"]:
        yield Finding(
            "broker",
            "wrong",
            broker["reason"] or "the console has no connection",
            "start RabbitMQ with its management plugin",
        )
        return
    yield Finding("broker", "ok", f"{len(broker['queues'])} queues")
    for queue in broker["queues"]:
        if queue["name"].endswith(".dead") and queue["messages"]:
            text = f"{queue['messages']} dead letter(s) in {queue['name']}"
            yield Finding("dead letters", "warning", text, "look at them on the page Logs, or GET /api/v1/dead-letters")
        elif not queue["name"].endswith(".dead") and queue["messages"] > 1000 and not queue["consumers"]:
            text = f"nobody reads {queue['name']} ({queue['messages']} messages)"
            yield Finding("queues", "wrong", text, "start the service that reads it")


def _robots(patient: Patient) -> Iterator[Finding]:
    workers = list(patient.client.pages("workers", 10_000))
    authorised = [one for one in workers if one["authorisation"] == "authorised"]
    connected = [one for one in authorised if one["connected"]]
    for one in workers:
        if one["authorisation"] == "pending":
            text = f"{one['id']} waits to be authorised" + (f" ({one['doubt']['reason']})" if one.get("doubt") else "")
            yield Finding("robots", "warning", text, f"regente worker authorise {one['id']}")
    if not authorised:
        yield Finding(
            "robots", "warning", "no robot is authorised: nothing will run", "start an agent and authorise it"
        )
    elif not connected:
        yield Finding("robots", "wrong", "no authorised robot is connected", "look at the agents' machines")
    else:
        yield Finding("robots", "ok", f"{len(connected)} of {len(authorised)} connected")


def _work(patient: Patient) -> Iterator[Finding]:
    for one in patient.client.pages("queue", 1000):
        if one["held"]:
            text = f"{one['held']} task(s) of {one['workflow']} wait for a person"
            yield Finding(
                "held",
                "warning",
                text,
                f"regente task list --state held --workflow {one['workflow']}, then task settle",
            )
    dead = list(patient.client.pages("deliveries", 100, state="dead"))
    if dead:
        yield Finding(
            "deliveries",
            "warning",
            f"{len(dead)} delivery(ies) are dead",
            "regente delivery list --state dead, then delivery replay",
        )
    else:
        yield Finding("deliveries", "ok", "none is dead")


CHECKS: tuple[tuple[str, Callable[[Patient], Iterator[Finding]]], ...] = (
    ("python", _python),
    ("home", _home),
    ("admin.json", _admin_file),
    ("processes", _processes),
    ("console", _console),
    ("services", _services),
    ("database", _database),
    ("broker", _broker),
    ("robots", _robots),
    ("work", _work),
)
