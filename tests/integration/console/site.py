"""One real console on a vhost and a database of its own, with accounts, users and documents to look at.

Used by the tests of the console and of the command line. The services that own tasks, runs and robots don't run here:
their documents are written as they write them, and `answer_commands` ends requests as they would.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from gridfs import GridFSBucket
from pymongo.database import Database

from shared.obs.ids import new_id
from shared.seal import Sealer
from tests.integration.collector.running import MASTER_KEY, ROOT, Ground, ground, launch, until, wait_ready

PASSWORD = "correct horse battery"
ACME, OTHER = "acme", "other"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cfc0f01f00050001ff"
    "a1bd1c7f0000000049454e44ae426082"
)
"""A picture of one pixel."""


@dataclass
class Site:
    """A console that answers."""

    url: str
    home: Path
    ground: Ground
    admin: dict[str, str]
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def db(self) -> Database[dict[str, Any]]:
        """The database as it is."""
        return self.ground.db

    def token(self, user: str) -> str:
        """A session's token of this user."""
        if user not in self._tokens:
            password = self.admin["password"] if user == "admin" else PASSWORD
            answer = httpx.post(f"{self.url}/api/v1/session", json={"user": user, "password": password}, timeout=20)
            assert answer.status_code == 201, answer.text
            self._tokens[user] = answer.json()["token"]
        return self._tokens[user]

    def client(self, user: str = "admin") -> httpx.Client:
        """The API as this user."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        return httpx.Client(base_url=f"{self.url}/api/v1/", headers=headers, timeout=30)


@contextmanager
def site(servers: Any, folder: Path) -> Iterator[Site]:
    """A bootstrapped console with the accounts acme and other, and a user of each kind."""
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as made:
        silent = {
            f"REGENTE_{name}_URL": "http://127.0.0.1:9" for name in ("COLLECTOR", "SCHEDULER", "EXECUTOR", "DELIVERY")
        }
        silent["REGENTE_ALERTS_SILENT_S"] = "3"
        silent["REGENTE_DELIVERY_PRIVATE_ALLOWED"] = "127.0.0.0/8,::1/128"
        instance = launch("console", made, folder, REGENTE_COMMAND_WAIT_S="1.5", REGENTE_LOG_LEVEL="DEBUG", **silent)
        try:
            admin = bootstrap(instance.env, folder / "admin.json", instance.url)
            wait_ready(instance)
            found = Site(instance.url, folder, made, admin)
            _people(found)
            yield found
        finally:
            instance.process.terminate()
            instance.process.wait(25)


def bootstrap(env: dict[str, str], out: Path, url: str) -> dict[str, str]:
    """Run the console's bootstrap."""
    run_bootstrap({**env, "REGENTE_CONSOLE_URL": url}, out)
    content: dict[str, str] = json.loads(out.read_text())
    return content


def run_bootstrap(env: dict[str, str], out: Path) -> str:
    """What the bootstrap says."""
    command = [sys.executable, "-m", "services.console.bootstrap", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _people(on: Site) -> None:
    with on.client() as admin:
        for name in (ACME, OTHER):
            assert admin.post("accounts", json={"name": name, "title": name.title()}).status_code == 201
        people = {
            "vera": ("viewer", [ACME]),
            "otto": ("operator", [ACME]),
            "ada": ("admin", [ACME]),
            "olga": ("admin", [OTHER]),
            "ole": ("operator", ["*"]),
        }
        for user, (role, accounts) in people.items():
            body = {"user": user, "password": PASSWORD, "role": role, "accounts": accounts}
            assert admin.post("users", json=body).status_code == 201


def now() -> datetime:
    """Now, as the database stores it."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def put_task(on: Site, account: str = ACME, workflow: str = "tax", **fields: Any) -> str:
    """A task as the collector inserts it; `fields` go over it."""
    task = new_id("task_")
    state = fields.get("state", "queued")
    document = {
        "_id": task,
        "schema_version": 1,
        "account": account,
        "partner": "erp",
        "workflow": workflow,
        "batch": "batch_1",
        "reference": f"ref-{task[-10:]}",
        "input": {"registration": "123"},
        "priority": None,
        "state": state,
        "attempts": 0,
        "created_at": now(),
        "updated_at": now(),
        "history": [{"at": now(), "state": state, "reason": "pushed", "by": "collector", "run": None}],
        "evidence": [],
        "events": {},
    }
    if state == "queued":
        document["queue"] = {"list": f"{account}/{workflow}/i", "rank": int(now().timestamp() * 1e6)}
    on.db["tasks"].insert_one({**document, **fields})
    return task


def put_worker(on: Site, worker: str, account: str | None = None, **fields: Any) -> str:
    """A robot as the scheduler keeps it."""
    document = {
        "_id": worker,
        "schema_version": 1,
        "name": f"robot-{worker[-2:]}",
        "addresses": [worker],
        "os": "Windows 11",
        "agent_version": "0.1.0",
        "drivers": ["browser", "screen"],
        "account": account,
        "key_hash": "secret-hash-of-a-key",
        "authorisation": "authorised",
        "connected": True,
        "status": "waiting",
        "mode": "run",
        "epoch": 1,
        "run": None,
        "grant": 1,
        "seen": {},
        "enrolled_at": now(),
        **fields,
    }
    on.db["workers"].replace_one({"_id": worker}, document, upsert=True)
    return worker


def put_run(on: Site, task: str, worker: str, account: str = ACME, **fields: Any) -> str:
    """A run with a short journal and one screenshot, as scheduler and executor write them."""
    run = new_id("run_")
    at = now()
    document = {
        "_id": run,
        "schema_version": 1,
        "account": account,
        "workflow": "tax",
        "version": f"{account}/tax/1",
        "scenario": "certificates",
        "worker": worker,
        "epoch": 3,
        "state": "finished",
        "tasks": [{"task": task, "attempt": 1, "state": "ended", "outcome": "succeeded"}],
        "token": 1,
        "executor": None,
        "seed": 7,
        "opened_at": at - timedelta(seconds=30),
        "started_at": at - timedelta(seconds=29),
        "finished_at": at,
        "progressed_at": at,
        "last_seq": 6,
        "end": {"reason": "completed", "text": ""},
        "abort": None,
        **fields,
    }
    on.db["runs"].insert_one(document)
    on.db["steps"].insert_many(_steps(run, task))
    put_evidence(on, run, task, 3, "before issuing", account)
    return run


def _steps(run: str, task: str) -> list[dict[str, Any]]:
    def step(seq: int, kind: str, phase: str, **fields: Any) -> dict[str, Any]:
        of_task = {"task": task, "attempt": 1} if phase == "task" else {"task": None, "attempt": None}
        head = {"_id": f"{run}/{seq:08d}", "schema_version": 1, "run": run, "seq": seq, "token": 1, "kind": kind}
        return {
            **head,
            "at": now(),
            "executor": "executor-1",
            "phase": phase,
            "snapshot": b"sealed",
            **of_task,
            **fields,
        }

    def instruction(name: str, line: int, *, effect: str = "act", commit: bool = False) -> dict[str, Any]:
        more = {"script": "tax.py", "function": "execute", "args": {"target": {"$object": "issue"}}, "timeout_s": 30}
        return {"name": name, "line": line, "effect": effect, "commit": commit, **more}

    def reply(seq: int, outcome: str = "done", value: Any = None, **fields: Any) -> dict[str, Any]:
        return {
            "seq": seq,
            "outcome": outcome,
            "value": value,
            "error": None,
            "evidence": [],
            "duration_s": 0.25,
            **fields,
        }

    error = {"code": "TIMEOUT", "message": "the button did not appear"}
    return [
        step(1, "phase", "task"),
        step(2, "instruction", "task", instruction=instruction("browser.click", 11)),
        step(
            3,
            "instruction",
            "task",
            instruction=instruction("screen.evidence", 12),
            reply=reply(2, "error", error=error),
        ),
        step(4, "takeover", "task"),
        step(
            5,
            "instruction",
            "task",
            instruction=instruction("browser.click", 14, commit=True),
            reply=reply(3, value="ok"),
        ),
        step(6, "outcome", "task", outcome={"state": "succeeded"}, reply=reply(5)),
    ]


def put_evidence(on: Site, run: str, task: str, seq: int, name: str, account: str = ACME, data: bytes = PNG) -> str:
    """A piece of evidence as the executor keeps it."""
    sha256 = hashlib.sha256(data).hexdigest()
    if on.db["evidence"].find_one({"_id": sha256}) is None:
        file = GridFSBucket(on.db, bucket_name="blobs").upload_from_stream(sha256, data)
        entry = {"_id": sha256, "file": file, "size_bytes": len(data), "media_type": "image/png", "created_at": now()}
        on.db["evidence"].insert_one({**entry, "schema_version": 1})
    link = new_id("ev_")
    about = {"account": account, "workflow": "tax", "task": task, "run": run, "seq": seq, "name": name, "worker": "w"}
    size = {"sha256": sha256, "media_type": "image/png", "size_bytes": len(data), "at": now(), "dropped": None}
    on.db["evidence_links"].insert_one({"_id": link, "schema_version": 1, **about, **size})
    return link


def put_decision(on: Site, account: str = ACME, workflow: str = "tax", **fields: Any) -> str:
    """A question of a script, as the executor keeps it; its run and task need not exist."""
    run, seq = fields.pop("run", None) or new_id("run_"), fields.pop("seq", 12)
    id = f"{run}/{seq:08d}"
    about = {"account": account, "workflow": workflow, "task": new_id("task_"), "run": run, "seq": seq, "worker": "w1"}
    asked = {
        "question": "Is the amount right?",
        "options": ["yes", "no"],
        "image": None,
        "asked_at": now(),
        "due_at": now() + timedelta(hours=2),
        "default": None,
    }
    standing = {"state": "open", "answer": None, "by": None, "at": None, "op": "ask"}
    on.db["decisions"].insert_one({"_id": id, "schema_version": 1, **about, **asked, **standing, **fields})
    return id


def decision_token(id: str) -> str:
    """What the link of a decision holds."""
    return Sealer(MASTER_KEY).derive("decision", id)


def decision_link(on: Site, id: str, **more: str) -> str:
    """The address under which it is answered without a log-in."""
    extra = "".join(f"&{name}={value}" for name, value in more.items())
    return f"{on.url}/d/{id.replace('/', '.')}?t={decision_token(id)}{extra}"


@contextmanager
def answer_decisions(on: Site) -> Iterator[list[dict[str, Any]]]:
    """The executor's part: the first answer that fits counts, every later one is refused; gives the requests."""
    seen: list[dict[str, Any]] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            found = on.db["commands"].find_one({"state": "pending", "kind": "decision.answer"})
            if found is None:
                over.wait(0.02)
                continue
            seen.append(found)
            fresh = {"state": "answered", "answer": found["args"]["answer"], "by": found["by"], "at": now()}
            guard = {"_id": found["target"], "state": "open"}
            taken = on.db["decisions"].update_one(guard, {"$set": {**fresh, "op": found["_id"]}}).matched_count == 1
            end = ("done", None) if taken else ("refused", "the decision is answered already")
            change = {"state": end[0], "reason": end[1], "ended_at": now()}
            on.db["commands"].update_one({"_id": found["_id"]}, {"$set": change})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def put_event(on: Site, account: str | None = ACME, **fields: Any) -> str:
    """An event as any service raises it."""
    event = new_id("event_")
    about = {"kind": "limit_reached", "severity": "warning", "target": f"{account}/tax", "text": "its limit is reached"}
    document = {"_id": event, "schema_version": 1, "at": now(), "account": account, "facts": {}, "service": "scheduler"}
    on.db["events"].insert_one({**document, **about, "expires_at": now() + timedelta(days=1), **fields})
    return event


def put_circuit(on: Site, workflow: str, account: str = ACME, **fields: Any) -> None:
    """A workflow that the scheduler holds."""
    id = f"{account}/{workflow}"
    document = {"_id": id, "account": account, "workflow": workflow, "state": "open", "failures": 5, "run": None}
    said = {"reason": "failures", "text": "5 system failures in a row", "at": now(), "by": "scheduler"}
    on.db["circuits"].replace_one({"_id": id}, {**document, **said, **fields}, upsert=True)


def put_log(on: Site, event: str, **fields: Any) -> None:
    """A log line."""
    line = {"_id": new_id("log_"), "at": now(), "service": "executor", "instance": "executor-1", "level": "info"}
    on.db["logs"].insert_one({**line, "event": event, "fields": {}, "expires_at": now() + timedelta(days=1), **fields})


@contextmanager
def answer_commands(
    on: Site, state: str = "done", reason: str | None = None, **fields: Any
) -> Iterator[list[dict[str, Any]]]:
    """End every request that comes, as its owner would; gives the requests. fields: what else is noted on them."""
    seen: list[dict[str, Any]] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            change = {"$set": {"state": state, "reason": reason, "ended_at": now(), **fields}}
            found = on.db["commands"].find_one_and_update({"state": "pending"}, change)
            if found is not None:
                seen.append(found)
            else:
                over.wait(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def workflow_files(name: str = "tax", line: str = "", priority: int = 1) -> dict[str, str]:
    """A small workflow's folder."""
    definition = (
        f"name: {name}\ntitle: Taxes\ninput: {{type: object}}\n"
        "scenarios:\n  - {name: only, script: tax.py}\n"
        f"settings: {{priority: {priority}, retry: {{attempts: 2, delay: 5s}}}}\n"
    )
    script = (
        "from regente import log, objects\nfrom robot import browser, screen\n\n\n"
        "def setup(group: dict[str, str]) -> None:\n    browser.open('https://portal.example')\n\n\n"
        "def execute(task: dict[str, str]) -> dict[str, str]:\n    log.info('begins')\n"
        f"    browser.click(objects.issue)\n    screen.evidence('before issuing'){line}\n"
        "    browser.click(objects.issue, commit=True)\n    return {'protocol': 'p'}\n"
    )
    return {"workflow.yaml": definition, "tax.py": script, "objects.yaml": 'issue: {selectors: ["css=#issue"]}\n'}


def replay_report(run: str) -> dict[str, Any]:
    """What an executor answers when a run is replayed against files that act otherwise."""
    asked = {"what": "instruction", "commit": False, "function": "execute"}
    then = {**asked, "name": "browser.click", "args": {"target": {"$object": "issue"}}, "line": 11}
    now_asked = {**asked, "name": "browser.fill", "args": {"target": {"$object": "issue"}, "text": "x"}, "line": 12}
    base = {"task": None, "attempt": None, "begun": 1, "seq": None, "then": None, "now": None, "note": ""}
    phases = [
        {**base, "phase": "setup", "verdict": "same", "instructions": 1},
        {
            **base, "phase": "task", "task": "task_1", "attempt": 1, "begun": 3, "verdict": "differs",
            "instructions": 0, "seq": 4, "then": then, "now": now_asked,
        },
        {**base, "phase": "teardown", "begun": 9, "verdict": "unknown", "instructions": 0, "note": "no time was left"},
    ]  # fmt: skip
    return {
        "run": run, "workflow": f"{ACME}/tax", "version": f"{ACME}/tax/1", "scenario": "only", "same": False,
        "counts": {"same": 1, "differs": 1, "ends_otherwise": 0, "unknown": 1}, "phases": phases, "left_out": 0,
        "objects": [{"name": "issue", "then": ["css=#issue"], "now": ["css=#go"]}],
    }  # fmt: skip


__all__ = ["ACME", "MASTER_KEY", "OTHER", "PASSWORD", "PNG", "Site", "answer_commands", "site", "until"]
