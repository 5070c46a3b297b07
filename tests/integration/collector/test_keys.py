"""Keys at the door: where from, how often, until when, and requests that are signed instead."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from standardwebhooks import Webhook

from shared.domain.rate import draw
from shared.mongo import Mongo
from shared.runtime.auth import signing_secret
from shared.runtime.rates import Rates
from shared.runtime.signing import signed_payload
from shared.seal import Sealer
from tests.integration.collector.conftest import SCHEMA, Account, add_workflow, item
from tests.integration.collector.running import MASTER_KEY, Ground, Instance, running, until


@pytest.fixture(scope="module")
def behind(collector_ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A collector that believes a proxy on this machine."""
    folder = tmp_path_factory.mktemp("behind")
    more = {"REGENTE_PROXIES": "127.0.0.0/8", "REGENTE_BODY_IDLE_S": "1"}
    with running("collector", collector_ground, folder, "collector-b", **more) as instance:
        yield instance


@pytest.fixture
async def mongo(collector_ground: Ground) -> AsyncIterator[Mongo]:
    """The collector's database, as the services use it."""
    found = Mongo(collector_ground.mongo_url, collector_ground.db.name)
    yield found
    await found.close()


def ask(instance: Instance, headers: dict[str, str], **more: str) -> httpx.Response:
    """A request that any key with the scope may make."""
    return httpx.get(f"{instance.url}/v1/tasks", headers={**headers, **more}, timeout=20)


def test_a_key_works_only_from_its_networks(collector: Instance, collector_ground: Ground) -> None:
    here = collector_ground.key("acme", "tasks", networks=["127.0.0.0/8", "::1/128"])
    elsewhere = collector_ground.key("acme", "tasks", networks=["203.0.113.0/24"])
    assert ask(collector, here).status_code == 200
    refused = ask(collector, elsewhere)
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
    assert "127.0.0.1" in refused.json()["detail"]
    spoofed = ask(collector, elsewhere, **{"X-Forwarded-For": "203.0.113.7"})
    assert spoofed.status_code == 403


def test_a_named_proxy_is_believed(behind: Instance, collector_ground: Ground) -> None:
    key = collector_ground.key("acme", "tasks", networks=["203.0.113.0/24"])
    assert ask(behind, key, **{"X-Forwarded-For": "203.0.113.7"}).status_code == 200
    assert ask(behind, key, **{"X-Forwarded-For": "203.0.113.7, 198.51.100.1"}).status_code == 403
    assert ask(behind, key).status_code == 403


def test_why_a_key_is_refused_is_told_to_its_owner_only(collector: Instance, collector_ground: Ground) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    for fields, why in (({"revoked_at": past}, "revoked"), ({"expires_at": past}, "expired")):
        headers = collector_ground.key("acme", "tasks", **fields)
        assert why in ask(collector, headers).json()["detail"]
        forged = {
            "Authorization": headers["Authorization"][:-1] + ("A" if headers["Authorization"][-1] != "A" else "B")
        }
        unknown = {"Authorization": f"Bearer rgk_{'0' * 16}_{'a' * 43}"}
        assert ask(collector, forged).json() == ask(collector, unknown).json()
        assert why not in ask(collector, forged).text


def test_a_body_that_stops_coming_is_given_up_with_what_was_taken(behind: Instance, account: Account) -> None:
    parts = urlsplit(behind.url)
    data = b"".join(json.dumps(item(f"r{i}")).encode() + b"\n" for i in range(1200))
    head = (
        f"POST /v1/tasks?workflow=tax HTTP/1.1\r\nHost: x\r\nAuthorization: {account.http.headers['authorization']}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(data) + 1}\r\n\r\n"
    )
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20) as raw:
        raw.sendall(head.encode() + data)
        answer = ""
        while "}" not in answer:  # headers and body may come apart
            piece = raw.recv(65_536).decode()
            assert piece, f"closed after {answer!r}"
            answer += piece
    assert " 408 " in answer.splitlines()[0]
    assert "the first 1000 items were looked at as batch" in answer
    assert len(account.stored()) == 1000


def test_requests_over_the_rate_are_told_when_to_come_back_on_every_collector(
    collector: Instance, behind: Instance, collector_ground: Ground
) -> None:
    headers = collector_ground.key("acme", "tasks", limits={"requests_per_min": 6})
    answers = [ask((collector, behind)[n % 2], headers) for n in range(8)]
    allowed = [one for one in answers if one.status_code == 200]
    assert 6 <= len(allowed) <= 7  # one may have come in meanwhile, at six a minute
    refused = answers[-1]
    assert (refused.status_code, refused.json()["code"]) == (429, "TOO_MANY")
    assert 1 <= int(refused.headers["retry-after"]) <= 10


def test_tasks_over_the_rate_are_not_taken(account: Account) -> None:
    headers = account.ground.key(account.name, "tasks", limits={"tasks_per_min": 10})
    first = account.push(*(item(f"a{i}") for i in range(8)), **headers)
    second = account.push(*(item(f"b{i}") for i in range(8)), **{**headers, "Idempotency-Key": "k"})
    assert (first.status_code, second.status_code) == (202, 429)
    assert int(second.headers["retry-after"]) >= 30
    assert len(account.stored()) == 8
    assert account.db["idempotency"].count_documents({"_id": {"$regex": f"^{account.name}/"}}) == 0
    lines = b"".join(json.dumps(item(f"c{i}")).encode() + b"\n" for i in range(30))
    kind = {"content-type": "application/x-ndjson"}
    streamed = account.http.post("/v1/tasks?workflow=tax", content=lines, headers={**headers, **kind})
    again = account.http.post("/v1/tasks?workflow=tax", content=lines, headers={**headers, **kind})
    assert (streamed.status_code, again.status_code) == (202, 429)  # what streams goes into debt; the next one waits


async def test_the_databases_buckets_are_those_of_the_rule(mongo: Mongo) -> None:
    """The same draws by the pure rule and by the update, at the times that the database saw."""
    rates, level, at = Rates(mongo), 40.0, None
    for cost, force in [(10, False), (25, False), (10, False), (60, True), (1, False), (0, False)]:
        drawn = await rates.draw("model", per_min=40, cost=cost, force=force)
        stored = await mongo["rates"].find_one({"_id": "model"})
        assert stored is not None
        elapsed_s = (stored["at"] - at).total_seconds() if at else 0.0
        expected = draw(level, elapsed_s, per_min=40, cost=cost, force=force)
        assert (drawn.allowed, pytest.approx(drawn.level)) == (expected.allowed, expected.level)
        assert drawn.wait_s == pytest.approx(expected.wait_s)
        assert (stored["expires_at"] - stored["at"]).total_seconds() == pytest.approx(
            (40 - drawn.level) * 1.5 + 60, abs=0.1
        )
        level, at = drawn.level, stored["at"]


async def test_draws_at_once_never_exceed_the_bucket(mongo: Mongo) -> None:
    drawn = await asyncio.gather(*(Rates(mongo).draw("crowd", per_min=5, cost=1) for _ in range(30)))
    assert 5 <= sum(one.allowed for one in drawn) <= 6


def test_the_last_use_of_a_key_is_noted(collector: Instance, collector_ground: Ground) -> None:
    headers = collector_ground.key("acme", "tasks")
    id = headers["Authorization"].split("_")[1]
    ask(collector, headers)
    used = collector_ground.db["keys"].find_one({"_id": id})["last_used_at"]
    assert abs((datetime.now(UTC) - used).total_seconds()) < 30


class Signer:
    """A partner that signs."""

    def __init__(self, account: Account) -> None:
        headers = account.ground.key(account.name, "tasks")
        self.key_id = headers["Authorization"].split("_")[1]
        self.secret, sealed = signing_secret(Sealer(MASTER_KEY), self.key_id)
        account.db["keys"].update_one({"_id": self.key_id}, {"$set": {"signing": sealed}})

    def headers(self, payload: str, id: str, at: datetime | None = None) -> dict[str, str]:
        """The headers of a request whose payload is this."""
        moment = at or datetime.now(UTC)
        return {
            "Regente-Key": self.key_id,
            "webhook-id": id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(id, moment, payload),
        }


@pytest.fixture
def signer(account: Account) -> Signer:
    """A partner of the account that signs its requests."""
    return Signer(account)


@pytest.fixture
def bare(collector: Instance) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=collector.url, timeout=20) as client:
        yield client


def test_a_signed_push_is_taken_and_its_repetition_answered_as_the_first(
    account: Account, signer: Signer, bare: httpx.Client
) -> None:
    body = json.dumps({"workflow": "tax", "tasks": [item("a")]})
    headers = {**signer.headers(body, "msg_1"), "content-type": "application/json"}
    first = bare.post("/v1/tasks", content=body, headers=headers)
    again = bare.post("/v1/tasks", content=body, headers=headers)
    assert (first.status_code, first.json()["accepted"][0]["duplicate"]) == (202, False)
    assert (again.json(), again.headers.get("idempotency-replayed")) == (first.json(), "true")
    other = json.dumps({"workflow": "tax", "tasks": [item("b")]})
    changed = bare.post("/v1/tasks", content=other, headers={**headers, **signer.headers(other, "msg_1")})
    assert changed.status_code == 422
    forged = bare.post("/v1/tasks", content=other, headers=headers)
    assert forged.status_code == 401
    assert [task["reference"] for task in account.stored()] == ["a"]
    # the header is not signed: with another one the same request would be carried out anew
    assert bare.post("/v1/tasks", content=body, headers={**headers, "Idempotency-Key": "k"}).status_code == 401
    keyed = {**signer.headers(other, "msg_2"), "content-type": "application/json", "Idempotency-Key": "k"}
    answers = [bare.post("/v1/tasks", content=other, headers=keyed) for _ in range(2)]
    assert [(one.status_code, one.headers.get("idempotency-replayed")) for one in answers] == [
        (202, None),
        (202, "true"),
    ]


def test_signed_lines_and_files_cover_the_address(account: Account, signer: Signer, bare: httpx.Client) -> None:
    data = b"".join(json.dumps(item(f"r{i}")).encode() + b"\n" for i in range(3))
    kind = {"content-type": "application/x-ndjson"}
    signed = signer.headers(signed_payload("POST", "/v1/tasks?workflow=tax", data), "lines")
    assert bare.post("/v1/tasks?workflow=tax", content=data, headers={**signed, **kind}).status_code == 202
    add_workflow(account.ground, account.name, "other", SCHEMA)
    assert bare.post("/v1/tasks?workflow=other", content=data, headers={**signed, **kind}).status_code == 401
    photo = b"\x89PNG\xff\xfe"
    sent = signer.headers(signed_payload("POST", "/v1/files?name=a.png", photo), "photo")
    assert (
        bare.post("/v1/files?name=a.png", content=photo, headers={**sent, "content-type": "image/png"}).status_code
        == 201
    )


def test_a_signed_get_works_once(account: Account, signer: Signer, bare: httpx.Client) -> None:
    id = account.push(item("a")).json()["accepted"][0]["id"]
    headers = signer.headers(signed_payload("GET", f"/v1/tasks/{id}", b""), "get-1")
    assert bare.get("/v1/tasks", headers=headers).status_code == 401
    assert bare.get(f"/v1/tasks/{id}", headers=headers).json()["reference"] == "a"
    replayed = bare.get(f"/v1/tasks/{id}", headers=headers)
    assert (replayed.status_code, "used before" in replayed.json()["detail"]) == (401, True)


def test_what_is_not_signed_well_is_refused_without_a_hint(
    account: Account, signer: Signer, bare: httpx.Client
) -> None:
    payload = signed_payload("GET", "/v1/tasks", b"")
    old = signer.headers(payload, "a", datetime.now(UTC) - timedelta(minutes=6))
    assert "5 minutes" in bare.get("/v1/tasks", headers=old).json()["detail"]
    good = signer.headers(payload, "b")
    unsigned_key = account.ground.key(account.name, "tasks")["Authorization"].split("_")[1]
    refusals = [
        bare.get("/v1/tasks", headers={**good, "webhook-signature": f"v1,{'A' * 43}="}),
        bare.get("/v1/tasks", headers={**good, "Regente-Key": "0" * 16}),
        bare.get("/v1/tasks", headers={**good, "Regente-Key": unsigned_key}),
        bare.get("/v1/tasks", headers={**good, "Regente-Key": "none"}),
    ]
    assert {answer.status_code for answer in refusals} == {401}
    assert len({answer.json()["detail"] for answer in refusals}) == 1
    missing = {name: value for name, value in good.items() if name != "webhook-id"}
    assert "webhook-id" in bare.get("/v1/tasks", headers=missing).json()["detail"]
    assert bare.get("/v1/tasks", headers=good).status_code == 200  # none of that used the id up


def test_bodies_that_nobody_signed_take_a_bounded_part_of_the_memory(
    collector: Instance, account: Account, signer: Signer, bare: httpx.Client
) -> None:
    """A key's id is no secret: anybody could have 16 MB held for each connection that he opened."""
    parts = urlsplit(collector.url)

    def begun(key_id: str, size: int) -> socket.socket:
        """A request whose body does not come."""
        forged = {**signer.headers("", "msg_1"), "Regente-Key": key_id, "Host": "x", "Content-Length": str(size)}
        head = "".join(f"{name}: {value}\r\n" for name, value in forged.items())
        raw = socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20)
        raw.sendall(f"POST /v1/tasks HTTP/1.1\r\n{head}\r\n".encode())
        return raw

    body = json.dumps({"workflow": "tax", "tasks": [item("a")]})
    number = iter(range(1000))

    def push(by: Signer) -> int:
        headers = {**by.headers(body, f"push-{next(number)}"), "content-type": "application/json"}
        return bare.post("/v1/tasks", content=body, headers=headers).status_code

    other = Signer(account)
    held = [begun(signer.key_id, 16 * 1024 * 1024) for _ in range(2)]
    try:
        until(lambda: push(signer) == 429, "the key's part is full")
        assert push(other) == 202
        assert bare.get("/v1/tasks", headers=signer.headers(signed_payload("GET", "/v1/tasks", b""), "get")).is_success
        with begun(signer.key_id, 1) as refused:
            answer = refused.recv(65_536).decode()
        assert " 429 " in answer
        assert "retry-after: 2" in answer.lower()
    finally:
        for raw in held:
            raw.close()
    until(lambda: push(signer) == 202, "what was given up takes no room")


def test_a_body_is_not_read_where_what_comes_before_it_is_enough_to_refuse(
    collector: Instance, account: Account, signer: Signer
) -> None:
    parts = urlsplit(collector.url)
    revoked, elsewhere = Signer(account), Signer(account)
    account.db["keys"].update_one({"_id": revoked.key_id}, {"$set": {"revoked_at": datetime.now(UTC)}})
    account.db["keys"].update_one({"_id": elsewhere.key_id}, {"$set": {"networks": ["203.0.113.0/24"]}})
    late = datetime.now(UTC) - timedelta(minutes=6)
    for by, at, said in ((revoked, None, "not valid"), (elsewhere, None, "not valid"), (signer, late, "5 minutes")):
        sent = {**by.headers("", "msg_1", at), "Host": "x", "Content-Length": "1000000"}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20) as raw:
            raw.sendall(f"POST /v1/tasks HTTP/1.1\r\n{head}\r\n".encode())
            answer = ""
            while said not in answer:
                piece = raw.recv(65_536).decode()
                assert piece, f"closed after {answer!r}"
                answer += piece
        assert " 401 " in answer.splitlines()[0]


def test_a_revoked_keys_signature_is_worth_nothing(account: Account, signer: Signer, bare: httpx.Client) -> None:
    account.db["keys"].update_one({"_id": signer.key_id}, {"$set": {"revoked_at": datetime.now(UTC)}})
    headers = signer.headers(signed_payload("GET", "/v1/tasks", b""), str(time.time_ns()))
    assert "revoked" in bare.get("/v1/tasks", headers=headers).json()["detail"]
