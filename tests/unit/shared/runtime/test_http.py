"""The common HTTP side: problems for every error, limits, paging, health, keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Query, Request, Response
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pymongo.errors import AutoReconnect

from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.obs import trace
from shared.obs.clock import now
from shared.runtime.auth import CACHE_S, Keys, Partner, new_key, partner_key
from shared.runtime.http import Problem, create_app, decode_cursor, encode_cursor, paged
from shared.runtime.problems import STATUS_OF_CODE
from shared.testing import FakeClock

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


class Body(BaseModel):
    n: int


class FakeService:
    """What create_app needs of a service."""

    name = "test"
    settings = SimpleNamespace(instance="test-1")

    def __init__(self) -> None:
        self.lacks: list[str] = []
        self.mongo: Any = None

    async def missing(self) -> list[str]:
        return self.lacks


class KeysCollection:
    """`mongo["keys"].find_one`."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        self.documents = {document["_id"]: document for document in documents}
        self.reads = 0

    def __getitem__(self, _: str) -> KeysCollection:
        return self

    def with_options(self, **_: Any) -> KeysCollection:
        return self

    async def update_one(self, query: dict[str, Any], change: dict[str, Any]) -> None:
        self.documents[query["_id"]].update(change["$set"])

    async def find_one(self, query: dict[str, Any]) -> dict[str, Any] | None:
        self.reads += 1
        return self.documents.get(query["_id"])


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def app(service: FakeService) -> FastAPI:
    app = create_app(service, title="Test", body_size_bytes_max=1000)  # type: ignore[arg-type]
    errors: dict[str, Exception] = {
        "problem": Problem(409, ErrorCode.FINAL, "it ended", errors=[{"a": 1}]),
        "short": Problem(403, "not you"),
        "named": Problem(409, "no", code="CONFLICT", command="cmd_1"),
        "permanent": PermanentError(ErrorCode.UNKNOWN_WORKFLOW, "none"),
        "temporary": TemporaryError("later", delay_s=7),
        "database": AutoReconnect("away"),
        "bug": RuntimeError("secret detail"),
    }

    async def fail(what: str) -> None:
        raise errors[what]

    async def echo(body: Body) -> dict[str, Any]:
        return {"n": body.n, "trace": trace.trace_id(trace.current())}

    async def items(response: Response, cursor: Annotated[str | None, Query()] = None) -> Any:
        start = decode_cursor(cursor) if cursor else 0
        return paged(response, [start], encode_cursor(start + 1) if start < 2 else None)

    async def answers(request: Request) -> Response:
        return paged(request, [now()], "next")

    async def mine(partner: Annotated[Partner, Depends(partner_key("tasks"))]) -> str:
        return partner.account

    app.add_api_route("/fail/{what}", fail)
    app.add_api_route("/echo", echo, methods=["POST"])
    app.add_api_route("/items", items)
    app.add_api_route("/answers", answers)
    app.add_api_route("/mine", mine)
    return app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    ("what", "status", "code", "detail"),
    [
        ("problem", 409, "FINAL", "it ended"),
        ("short", 403, "FORBIDDEN", "not you"),
        ("named", 409, "CONFLICT", "no"),
        ("permanent", 404, "UNKNOWN_WORKFLOW", "none"),
        ("temporary", 503, "UNAVAILABLE", "later"),
        ("database", 503, "UNAVAILABLE", "the database does not answer at the moment; try again"),
        ("bug", 500, "INTERNAL", "a fault of this program; its log holds the details"),
    ],
)
async def test_every_error_is_a_problem(
    http: httpx.AsyncClient, what: str, status: int, code: str, detail: str
) -> None:
    answer = await http.get(f"/fail/{what}")
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, body["status"], body["code"], body["detail"]) == (status, status, code, detail)
    assert "secret detail" not in answer.text
    if what == "temporary":
        assert answer.headers["retry-after"] == "7"
    if what == "named":
        assert body["command"] == "cmd_1"


async def test_wrong_requests_are_problems(http: httpx.AsyncClient) -> None:
    for answer, status, code in (
        (await http.get("/nowhere"), 404, "NOT_FOUND"),
        (await http.get("/echo"), 405, "METHOD_NOT_ALLOWED"),
        (await http.post("/echo", content=b"{no json", headers={"content-type": "application/json"}), 400, "MALFORMED"),
        (await http.post("/echo", content=b"\xff\xfe", headers={"content-type": "application/json"}), 400, "MALFORMED"),
        (await http.post("/echo", json={"n": "x"}), 422, "INVALID_INPUT"),
        (await http.post("/echo", content=b"x" * 1001), 413, "TOO_LARGE"),
        (await http.get("/items?cursor=!!"), 400, "MALFORMED"),
    ):
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_wrong_input_says_where(http: httpx.AsyncClient) -> None:
    body = (await http.post("/echo", json={"n": "x"})).json()
    assert body["errors"][0]["path"] == "body.n"
    assert body["detail"].startswith("body.n: ")


async def test_body_without_declared_length_has_the_limit_too(http: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 100

    answer = await http.post("/echo", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["code"] == "TOO_LARGE"


async def test_trace_of_the_caller_goes_on(http: httpx.AsyncClient) -> None:
    given = trace.new_traceparent()
    answer = await http.post("/echo", json={"n": 1}, headers={"traceparent": given})
    assert answer.json() == {"n": 1, "trace": trace.trace_id(given)}
    assert (await http.post("/echo", json={"n": 1}, headers={"traceparent": "x"})).json()["trace"]


async def test_pages_are_linked_to_the_end(http: httpx.AsyncClient) -> None:
    url, seen = "/items?limit=1", []
    while url:
        answer = await http.get(url)
        seen += answer.json()["items"]
        url = str(answer.links.get("next", {}).get("url", ""))
        assert bool(url) == (answer.json()["next"] is not None)
    assert seen == [0, 1, 2]
    assert 'rel="next"' in (await http.get("/answers")).headers["link"]


@given(JSON_VALUES)
def test_cursor_round_trip(position: Any) -> None:
    assert decode_cursor(encode_cursor(position)) == position


@given(st.text(max_size=200))
def test_foreign_cursor_is_refused_or_read_but_never_a_fault(text: str) -> None:
    try:
        position = decode_cursor(text)
    except Problem as problem:
        status = problem.status
    else:
        status = 400 if position != decode_cursor(encode_cursor(position)) else 200
    assert status in (200, 400)


async def test_health_readiness_and_metrics(http: httpx.AsyncClient, service: FakeService) -> None:
    assert (await http.get("/healthz")).json()["instance"] == "test-1"
    assert (await http.get("/readyz")).status_code == 200
    service.lacks = ["the broker is not connected"]
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["the broker is not connected"]
    await http.post("/echo", json={"n": 1})
    metrics = (await http.get("/metrics")).text
    assert 'regente_http_request_seconds_count{method="POST",route="/echo",status="200"}' in metrics


async def test_keys_by_scope_state_and_time(http: httpx.AsyncClient, service: FakeService) -> None:
    made = [new_key() for _ in range(5)]
    base = {"account": "acme", "partner": "erp", "scopes": ["tasks"]}
    extra: list[dict[str, Any]] = [
        {},
        {"revoked_at": now()},
        {"expires_at": now() - timedelta(seconds=1)},
        {"scopes": ["results"]},
        {"hash": "0" * 64},
    ]
    documents = [{"_id": made[n][0], "hash": made[n][2], **base, **more} for n, more in enumerate(extra)]
    service.mongo = KeysCollection(*documents)
    statuses = []
    for _, plain, _ in made:
        answer = await http.get("/mine", headers={"authorization": f"Bearer {plain}"})
        statuses.append(answer.status_code)
    assert statuses == [200, 401, 401, 403, 401]
    for wrong in ("", "rgk_x_y", made[0][1] + "x", f"rgk_{'0' * 16}_{'a' * 43}"):
        answer = await http.get("/mine", headers={"authorization": f"Bearer {wrong}"} if wrong else {})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_keys_are_read_again_after_the_cache_time() -> None:
    key_id, plain, hashed = new_key()
    document = {"_id": key_id, "hash": hashed, "account": "a", "partner": "p", "scopes": ["tasks"]}
    collection, clock = KeysCollection(document), FakeClock()
    keys = Keys(collection, clock)  # type: ignore[arg-type]
    for _ in range(5):
        assert (await keys.check(plain, "tasks")).partner == "p"
    assert collection.reads == 1
    document["revoked_at"] = now()
    collection.documents[key_id] = dict(document)
    clock.advance(CACHE_S)
    with pytest.raises(Problem):
        await keys.check(plain, "tasks")


def test_every_code_has_a_status() -> None:
    assert set(STATUS_OF_CODE) == set(ErrorCode)
