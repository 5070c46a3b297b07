"""Secrets of a whole run are nowhere to be read: not in logs, not in the database, not in what the broker carried.

Every secret of the installation and of its account is looked for, as text and in the usual encodings, in everything
that was written while a workflow used them all and failed.
"""

from __future__ import annotations

import base64
import gzip
import json
import secrets as random
import threading
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pika
import pytest
from bson import BSON

from deploy.local.settings import SERVICES
from tests.e2e.stack import Stack
from tests.e2e.test_faults import healthy_portal

__all__ = ["healthy_portal"]
ANSWERED_S = 120.0
WORKFLOW = """
name: {name}
input: {{type: object}}
scenarios: [{{name: only, worker: true, script: only.py}}]
settings:
  retry: {{attempts: 1}}
  breaker: {{failures: null}}
  delivery: {{endpoint: acme-results, events: [succeeded, failed]}}
"""
OBJECTS = """
enter: {selectors: ["css=#enter"]}
registration: {selectors: ["css=#registration"]}
nowhere: {selectors: ["css=#nowhere"]}
"""
SCRIPT = """
from regente import http, log, objects, secrets
from robot import browser, screen

def execute(task: dict[str, str]) -> dict[str, object]:
    browser.open("PORTAL/login", certificate=secrets.get("portal/acme"))
    browser.click(objects.enter)
    browser.wait(objects.registration)
    browser.fill(objects.registration, secrets.get(task["text"]))
    screen.evidence("typed")
    browser.fill(objects.registration, secrets.totp(task["totp"]))
    print("typed", secrets.get(task["text"]))
    log.info(f"handled {secrets.get(task['login'])}")
    try:
        http.request("GET", "http://127.0.0.1:9/never", auth=secrets.get(task["login"]))
    except Exception as error:
        print("refused", error)
    browser.click(objects.nowhere, timeout=1)
    return {}
"""


class Planted:
    """Secrets by what they are."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        mark = uuid.uuid4().hex[:6]
        self.names = {kind: f"planted/{kind}-{mark}" for kind in ("text", "login", "totp")}
        home = stack.home
        self.values: dict[str, str] = {
            "text document": f"PLANTED-{random.token_hex(12)}",
            "password of a login": f"PLANTED-{random.token_hex(12)}",
            "secret of one-time codes": base64.b32encode(random.token_bytes(20)).decode(),
            "passphrase of the certificate": (stack.demo.pki_folder / "acme.p12.password").read_text().strip(),
            "endpoint's secret": f"whsec_{base64.b64encode(random.token_bytes(32)).decode()}",
            "recipient's secret": f"whsec_{base64.b64encode(random.token_bytes(32)).decode()}",
            "partner's key": stack.admin.key,
            "administrator's password": stack.admin.password,
            "master key": (home / "secrets" / "master_key").read_text().strip(),
            "broker's password": (home / "secrets" / "amqp_password").read_text().strip(),
            "database's password": (home / "secrets" / "mongo_password").read_text().strip(),
        }
        users = sorted((home / "secrets").glob("user_*"))
        assert len(users) == len(SERVICES)
        self.values |= {f"password of {file.name}": file.read_text().strip() for file in users}

    def store(self) -> None:
        """Hand them to the installation, as people do."""
        account, call = self.stack.console.account, self.stack.console._call
        documents: dict[str, dict[str, Any]] = {
            "text": {"kind": "text", "text": self.values["text document"]},
            "login": {"kind": "login", "user": "ann", "password": self.values["password of a login"]},
            "totp": {"kind": "totp", "secret": self.values["secret of one-time codes"]},
        }
        for kind, body in documents.items():
            call("PUT", f"documents/{account}/{quote(self.names[kind])}", json=body)
        url = self.stack.partner_settings.webhook_url
        endpoint = {"url": url, "secret": self.values["endpoint's secret"], "events": ["succeeded"]}
        call("PUT", f"endpoints/{account}/planted", json=endpoint)
        channel = {"kind": "webhook", "address": url, "secret": self.values["recipient's secret"]}
        call("PUT", f"recipients/{account}/planted", json={"title": "Planted", "channels": [channel]})

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """Each secret as it could stand somewhere: as it is, quoted, in base64, in hex; also without its prefix."""
        for what, value in self.values.items():
            for text in {value, value.removeprefix("whsec_"), value.split("_")[-1]}:
                if len(text) < 8:
                    continue
                raw = text.encode()
                yield what, raw
                yield what, quote(text, safe="").encode()
                yield what, json.dumps(text)[1:-1].encode()
                yield what, raw.hex().encode()
                yield what, base64.b64encode(raw).rstrip(b"=")[:-1]

    def found(self, places: Mapping[str, list[bytes]]) -> dict[str, set[str]]:
        """Where which of them stand."""
        forms = set(self.forms())
        hits: dict[str, set[str]] = {}
        for place, texts in places.items():
            for what, form in forms:
                if any(form in text for text in texts):
                    hits.setdefault(place, set()).add(what)
        return hits


class Listener:
    """Keeps every message that the broker carries: RabbitMQ's own tracing of a virtual host."""

    def __init__(self, stack: Stack) -> None:
        assert stack.launcher.servers is not None
        self._servers = stack.launcher.servers
        self.bodies: list[bytes] = []
        self._ending = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Listener:
        self._trace(True)
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(30)
        self._trace(False)

    def _trace(self, on: bool) -> None:
        url = self._servers.amqp_admin_url
        httpx.put(f"{url}/api/vhosts/regente", json={"tracing": on}, timeout=20).raise_for_status()

    def _listen(self) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(self._servers.amqp_url))
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "amq.rabbitmq.trace", routing_key="#")
        self._ready.set()
        for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.2):
            if method is not None:
                self.bodies.append(b"\n".join([body, str(properties.headers).encode()]))
            if self._ending.is_set() and method is None:
                break
        connection.close()


def database(stack: Stack) -> dict[str, list[bytes]]:
    """Every document of every collection, with what is packed in it unpacked."""
    places: dict[str, list[bytes]] = {}
    for name in stack.database.list_collection_names():
        places[f"collection {name}"] = [
            part for document in stack.database[name].find({}) for part in [BSON.encode(document), *_packed(document)]
        ]
    return places


def _packed(value: Any) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _packed(each)
    elif isinstance(value, list):
        for each in value:
            yield from _packed(each)
    elif isinstance(value, bytes):
        for unpack in (zlib.decompress, gzip.decompress, lambda data: zlib.decompress(data, -15)):
            try:
                yield unpack(value)
            except (OSError, zlib.error, EOFError):
                continue


def logs(stack: Stack) -> dict[str, list[bytes]]:
    """What processes wrote: every log, of servers, services and robots."""
    files = [path for path in (stack.home / "logs").rglob("*") if path.is_file()]
    assert len(files) > 8
    return {f"log {path.relative_to(stack.home)}": [path.read_bytes()] for path in files}


@pytest.fixture(scope="module")
def planted(stack: Stack) -> Planted:
    made = Planted(stack)
    made.store()
    return made


def test_nothing_that_is_secret_can_be_read_anywhere(stack: Stack, planted: Planted) -> None:
    name = f"secrets-{uuid.uuid4().hex[:6]}"
    script = SCRIPT.replace("PORTAL", stack.demo.portal_origin)
    files = {"workflow.yaml": WORKFLOW.format(name=name), "only.py": script, "objects.yaml": OBJECTS}
    stack.console.publish(files)
    with Listener(stack) as listener:
        rows = [{"reference": uuid.uuid4().hex, "input": planted.names}]
        (task,) = stack.push(rows, name).values()
        assert stack.until_settled([task], ANSWERED_S) == ["failed"]
        stack.console._call("POST", f"recipients/{stack.console.account}/planted/test", json={})
    failed = stack.task(task)["error"]
    assert "nowhere did not appear" in failed["message"], failed  # at the last line, after all secrets were used
    steps = list(stack.database["steps"].find({"task": task, "kind": "instruction"}))
    assert {"browser.fill", "http.request"} <= {step["instruction"]["name"] for step in steps}, "they were used"
    assert sum(task.encode() in body for body in listener.bodies) > 10, "it was listened to"
    assert sum(b'"sealed":"' in body for body in listener.bodies) >= 3, "a certificate, a text and a code"
    places = {**database(stack), **logs(stack), "messages": listener.bodies}
    assert planted.found(places) == {}


def test_a_leak_would_be_found(stack: Stack, planted: Planted) -> None:
    """Somebody writes a secret where it does not belong: into a task's input, from where it goes everywhere."""
    value = planted.values["text document"]
    later = "2099-01-01T00:00:00Z"
    (task,) = stack.push([{"reference": f"leak {value}", "input": {}, "not_before": later}], _any(stack)).values()
    hits = planted.found({**database(stack), **logs(stack)})
    assert hits["collection tasks"] == {"text document"}
    stack.console._call("POST", f"tasks/{task}/cancel", json={})
    packed = {"a": [{"b": zlib.compress(b"before " + value.encode() + b" after")}]}
    assert planted.found({"packed": list(_packed(packed))}) == {"packed": {"text document"}}
    assert planted.found({"quoted": [quote(planted.values["endpoint's secret"], safe="").encode()]})


def _any(stack: Stack) -> str:
    found = stack.database["workflows"].find_one({"name": {"$regex": "^secrets-"}})
    assert found is not None
    return str(found["name"])


def test_files_of_the_installation_are_for_its_user_alone(stack: Stack) -> None:
    wrong = [
        str(path)
        for path in [stack.home / "admin.json", *(stack.home / "secrets").iterdir()]
        if path.stat().st_mode & 0o077 and path.is_file()
    ]
    assert wrong == []
    assert Path(stack.home).stat().st_mode & 0o077 == 0
