"""Bad input from every side: each is a clear error or a dead letter, and the services go on."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pika
import pika.exceptions
import pytest

from shared.seal import Sealer
from tests.e2e import invariants
from tests.e2e.stack import Stack

ROBOT = "02005e000001"

WORKFLOW = """
name: {name}
input: {{type: object}}
timeouts: {{task: 2m, instruction: 10s}}
scenarios:
  - {{name: only, max_tasks: 2, worker: true, script: only.py}}
settings:
  retry: {{attempts: 1}}
  delivery: {{endpoint: acme-results, events: [succeeded, failed, held]}}
"""

HOSTILE = {
    "loops-for-ever": "    while True:\n        pass\n",
    "eats-memory": "    rows = [0]\n    while True:\n        rows = rows + rows\n",
    "recurses": "    return execute(task)\n",
    "returns-nonsense": "    return {'n': 10 ** 400 * 1.5}\n",
}


def publish(stack: Stack, name: str, body: str) -> None:
    script = f"def execute(task: dict[str, str]) -> dict[str, object]:\n{body}"
    stack.console.publish({"workflow.yaml": WORKFLOW.format(name=name), "only.py": script})


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_script_is_stopped_and_hurts_nobody(stack: Stack, name: str) -> None:
    publish(stack, name, HOSTILE[name])
    ids = list(stack.push([{"reference": uuid.uuid4().hex, "input": {}}], name).values())
    assert stack.until_settled(ids) == ["failed"]
    error = stack.task(ids[0])["error"]
    assert error["kind"] == "system"
    assert error["code"] in ("SCRIPT_LIMIT", "SCRIPT_ERROR", "BAD_RESULT")
    assert error["message"]
    assert stack.all_ready()
    invariants.check(stack, ids)


def test_a_script_that_does_not_fit_the_stubs_is_not_published(stack: Stack) -> None:
    script = "from robot import browser\n\ndef execute(task: dict[str, str]) -> None:\n    browser.clik(3)\n"
    files = {"workflow.yaml": WORKFLOW.format(name="misspelt"), "only.py": script}
    answer = call(stack, "POST", "workflows", {"account": stack.console.account, "files": files, "publish": True})
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert any(error["file"] == "only.py" and error["line"] == 4 for error in errors), errors


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"workflow": "nobody-knows-it", "tasks": [{"reference": "r", "input": {}}]}', 404),
        (b'{"workflow": "tax-certificate", "tasks": 3}', 422),
        (b'{"workflow": "tax-certificate", "tasks": []}', 422),
        (b'{"workflow": "' + b"x" * (16 * 1024 * 1024) + b'"}', 413),
    ],
)
def test_a_bad_push_is_a_problem_that_says_what_to_do(stack: Stack, body: bytes, status: int) -> None:
    answer = stack.collector.post("/v1/tasks", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["detail"]


def test_bad_items_are_refused_by_themselves(stack: Stack) -> None:
    good = {
        "registration": "10.482.113/0001-07",
        "certificate": "portal/acme",
        "kind": "clearance",
        "period": "2026-10",
    }
    stamp = uuid.uuid4().hex
    rows = [
        {"reference": f"{stamp}-1", "input": {**good, "reference": f"{stamp}-1"}},
        {"reference": f"{stamp}-2", "input": {"registration": 3}},
        {"reference": f"{stamp}-1", "input": {**good, "period": "2026-09"}},
        {"reference": f"{stamp}-3", "input": good, "priority": 9},
    ]
    answer = stack.collector.post("/v1/tasks", json={"workflow": "tax-certificate", "tasks": rows})
    assert answer.status_code == 202
    body = answer.json()
    assert [item["index"] for item in body["accepted"]] == [0]
    assert [item["index"] for item in body["rejected"]] == [1, 2, 3]
    assert all(item["errors"] for item in body["rejected"])
    stack.until_settled([body["accepted"][0]["id"]])


def test_a_wrong_key_opens_nothing(stack: Stack) -> None:
    for key in ("", "Bearer nonsense", f"Bearer {stack.admin.key[:-4]}AAAA"):
        answer = httpx.get(f"{stack.admin.collector_url}/v1/tasks", headers={"authorization": key} if key else {})
        assert answer.status_code == 401
        assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.fixture
def robot_channel(stack: Stack) -> Iterator[Any]:
    """A channel under the robot's own broker user, as somebody has it who stole the robot."""
    key = base64.b64decode((stack.home / "secrets" / "master_key").read_text())
    worker = stack.database["workers"].find_one({"_id": ROBOT})
    assert worker is not None
    password = Sealer(key).derive("worker-amqp", f"{ROBOT}:{worker['grant']}")
    assert stack.launcher.servers is not None
    port = stack.launcher.servers.ports["broker"]
    credentials = pika.PlainCredentials(f"worker.{ROBOT}", password)
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, "regente", credentials))
    yield connection.channel()
    connection.close()


def test_replies_that_make_no_sense_are_dead_letters(stack: Stack, robot_channel: Any) -> None:
    executor = next(iter(stack.database["leases"].find({"_id": {"$regex": "^executor/executor-1"}}).sort("at", -1)))
    key = f"reply.{ROBOT}.{executor['owner']}"
    reply = {
        "worker": ROBOT, "session": "s", "journal": {"id": "j", "counter": 1}, "run": "run_nobody_has",
        "seq": 1, "epoch": 1, "outcome": "done",
    }  # fmt: skip
    envelope = {
        "kind": "regente.worker.reply.v1",
        "id": "x",
        "sent_at": "2026-01-01T00:00:00Z",
        "sender": ROBOT,
        "body": reply,
    }
    mine = pika.BasicProperties(user_id=f"worker.{ROBOT}")
    for data in (b"this is no JSON", b'{"kind": "regente.unknown.v1"}', json.dumps(envelope).encode()):
        robot_channel.basic_publish("regente.workers", key, data, mine)
    stack.until(lambda: invariants.waiting_messages(stack).get("executor.replies.dead") == 3, "three dead letters", 30)
    assert stack.all_ready()
    assert stack.launcher.servers is not None
    httpx.delete(
        f"{stack.launcher.servers.amqp_admin_url}/api/queues/regente/executor.replies.dead/contents", timeout=10
    ).raise_for_status()
    stack.until(lambda: not invariants.waiting_messages(stack), "dead letters purged", 30)


@pytest.mark.parametrize(
    "act",
    [
        lambda channel: channel.basic_publish("", "executor.handoffs", b"x"),
        lambda channel: channel.basic_publish("regente.handoffs", "run.opened", b"x"),
        lambda channel: channel.basic_publish("regente.workers", "reply.02005e000002.executor-1", b"x"),
        lambda channel: channel.queue_declare("mine"),
        lambda channel: channel.queue_purge("worker.02005e000002.instructions"),
        lambda channel: channel.basic_get("worker.02005e000002.control"),
        lambda channel: list(channel.consume("worker.02005e000002.instructions", inactivity_timeout=1)),
    ],
)
def test_a_robot_may_use_nothing_but_its_own(stack: Stack, robot_channel: Any, act: Callable[[Any], Any]) -> None:
    robot_channel.confirm_delivery()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        act(robot_channel)
    assert caught.value.reply_code == 403


def test_a_robot_with_another_key_is_refused(stack: Stack) -> None:
    """And the address it claims is a doubt that a person has to look at; here: an address of nobody's."""
    body = {
        "worker": "02005e0000ff", "addresses": ["02005e0000ff"], "key": "ab" * 32, "name": "x", "os": "x",
        "agent_version": "0", "drivers": [], "journal": {"id": "j", "counter": 0}, "session": "s",
    }  # fmt: skip
    url = f"http://127.0.0.1:{stack.launcher.settings.ports['scheduler']}/v1/workers/enrol"
    first = httpx.post(url, json=body, timeout=10)
    assert first.json()["state"] == "pending"
    other = httpx.post(url, json={**body, "key": "cd" * 32}, timeout=10)
    assert other.status_code == 403
    assert other.json()["detail"]
    stack.database["workers"].delete_one({"_id": "02005e0000ff"})


def call(stack: Stack, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
    """A call of the console's API that may be refused."""
    session = httpx.post(
        f"{stack.admin.url}/api/v1/session",
        json={"user": stack.admin.user, "password": stack.admin.password},
        timeout=15,
    )
    headers = {"authorization": f"Bearer {session.json()['token']}"}
    return httpx.request(method, f"{stack.admin.url}/api/v1/{path}", json=body, headers=headers, timeout=30)
