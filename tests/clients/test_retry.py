"""When a call is repeated: the rules alone, then both clients against an HTTP peer that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regente_client import (
    AsyncClient,
    Client,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    NewTask,
    NotAllowed,
    NotFound,
    RetryPolicy,
    ServiceUnavailable,
    TooManyRequests,
)
from regente_client.retry import Attempts, retry_after_s

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
POLICY = RetryPolicy(attempts=4, base_s=1.0, wait_s_max=3.0, retry_after_s_max=30.0, total_s=100.0)
TASK = {"id": "task_1", "reference": "a", "workflow": "tax", "state": "cancelled"}

policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 20),
    base_s=st.floats(0.001, 5),
    wait_s_max=st.floats(0.001, 60),
    retry_after_s_max=st.floats(0, 100),
    total_s=st.floats(0, 500),
)
chances = st.floats(0, 1)
asked = st.none() | st.floats(0, 200)


@given(policies, st.integers(1, 2000), chances, asked)
def test_a_wait_doubles_up_to_its_cap_and_never_undercuts_the_service(
    policy: RetryPolicy, attempt: int, chance: float, after_s: float | None
) -> None:
    wait_s = policy.wait_s(attempt, chance, after_s)
    slow = policy.base_s
    for _ in range(min(attempt - 1, 40)):
        slow = min(slow * 2, 1e6)
    whole = min(policy.wait_s_max, slow)
    assert wait_s >= (after_s or 0.0)
    if wait_s > (after_s or 0.0):
        assert whole * 0.499 <= wait_s <= whole * 1.001
    assert policy.wait_s(attempt + 1, chance, after_s) >= wait_s


@given(
    policies,
    st.lists(st.tuples(st.sampled_from([200, 429, 502, 503, 504, None]), chances, asked), min_size=21, max_size=21),
)
def test_a_call_ends_within_its_attempts_and_its_time(policy: RetryPolicy, answers: list[Any]) -> None:
    attempts, now_s, begun = Attempts(policy, 0.0), 0.0, []
    for status, chance, after_s in answers:
        begun.append(now_s)
        try:
            if status is None:
                wait_s: float | None = attempts.failed(OSError("gone"), now_s=now_s, chance=chance)
            else:
                headers = {} if after_s is None else {"retry-after": str(int(after_s))}
                wait_s = attempts.answered(status, headers, b"", now_s=now_s, chance=chance, at=NOW)
                assert (wait_s is None) == (status == 200)
                if wait_s is not None and after_s is not None:
                    assert int(after_s) <= wait_s
                    assert int(after_s) <= policy.retry_after_s_max
        except (ConnectionFailed, ServiceUnavailable, TooManyRequests):
            break
        if wait_s is None:
            break
        now_s += wait_s
    assert len(begun) == attempts.made <= policy.attempts
    assert begun[-1] <= policy.total_s or len(begun) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("7", 7.0), (" 0 ", 0.0), ("-1", None), ("soon", None), ("9" * 200, None),
     ("Sun, 31 Jan 2027 12:00:10 GMT", 10.0), ("Sun, 31 Jan 2027 11:00:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_as_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


class Peer:
    """Answers in the order given; keeps what it was asked and how long the client waited."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.left = list(answers)
        self.asked: list[httpx.Request] = []
        self.waits: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        found = self.left.pop(0)
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("idempotency-key") for request in self.asked]


def sync(peer: Peer, work: Callable[[Client], Any]) -> Any:
    """With the sync client."""
    with Client(
        "http://c.test", key="k", delivery="http://d.test", retry=POLICY, transport=httpx.MockTransport(peer.answer),
        sleep=peer.waits.append,
    ) as client:  # fmt: skip
        found = work(client)
        return list(found) if hasattr(found, "__next__") else found


def aio(peer: Peer, work: Callable[[Any], Any]) -> Any:
    """With the async client."""

    async def sleep(seconds: float) -> None:
        peer.waits.append(seconds)

    async def run() -> Any:
        async with AsyncClient(
            "http://c.test", key="k", delivery="http://d.test", retry=POLICY,
            transport=httpx.MockTransport(peer.answer), sleep=sleep,
        ) as client:  # fmt: skip
            found = work(client)
            return [one async for one in found] if hasattr(found, "__anext__") else await found

    return asyncio.run(run())


def problem(status: int, code: str = "", **headers: str) -> httpx.Response:
    body = {"type": "about:blank", "title": "T", "status": status, "code": code or f"C{status}", "detail": "because"}
    return httpx.Response(status, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def pushed(count: int = 1) -> httpx.Response:
    items = [{"index": n, "reference": str(n), "id": f"task_{n}", "duplicate": False} for n in range(count)]
    return httpx.Response(202, json={"batch": "batch_1", "accepted": items, "rejected": []})


both = pytest.mark.parametrize("run", [sync, aio])


@both
@pytest.mark.parametrize(
    "trouble",
    [problem(429), problem(502), problem(503), problem(504), problem(409, Retry_After="1"),
     httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.RemoteProtocolError("closed"),
     httpx.ReadTimeout("late"), httpx.Response(502, html="<h1>Bad Gateway</h1>")],
    ids=repr,
)  # fmt: skip
def test_a_push_is_repeated_with_the_same_key_and_the_same_bytes(run: Any, trouble: Any) -> None:
    peer = Peer(trouble, trouble, pushed())
    answer = run(peer, lambda client: client.push("tax", [NewTask("0", {"a": 1})]))
    assert answer.ids == {"0": "task_0"}
    assert len(peer.asked) == 3
    assert len(set(peer.keys)) == 1
    assert peer.keys[0]
    assert len({request.content for request in peer.asked}) == 1
    assert 0.5 <= peer.waits[0] <= 1.0 <= peer.waits[1] <= 2.0


@both
@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidRequest), (401, NotAllowed), (403, NotAllowed), (404, NotFound), (409, Conflict),
                         (413, InvalidRequest), (422, InvalidRequest), (500, ServiceUnavailable)],
)  # fmt: skip
def test_what_will_not_get_better_is_told_at_once(run: Any, status: int, kind: type[Exception]) -> None:
    peer = Peer(problem(status, "CODE"))
    with pytest.raises(kind, match=f"{status} CODE: because") as caught:
        run(peer, lambda client: client.push("tax", [NewTask("0", {})]))
    assert (len(peer.asked), peer.waits) == (1, [])
    assert (caught.value.status, caught.value.code, caught.value.attempts) == (status, "CODE", 1)  # type: ignore[attr-defined]


@both
def test_it_waits_as_long_as_the_service_asks(run: Any) -> None:
    peer = Peer(problem(429, Retry_After="17"), pushed())
    run(peer, lambda client: client.push("tax", [NewTask("0", {})]))
    assert peer.waits == [17.0]


@both
def test_a_service_that_asks_for_too_long_is_told(run: Any) -> None:
    peer = Peer(problem(429, Retry_After="31"))
    with pytest.raises(TooManyRequests) as caught:
        run(peer, lambda client: client.push("tax", [NewTask("0", {})]))
    assert (caught.value.retry_after_s, peer.waits) == (31.0, [])


@both
def test_in_the_end_it_gives_up(run: Any) -> None:
    peer = Peer(*[httpx.ConnectError("refused")] * 4)
    with pytest.raises(ConnectionFailed, match=r"after 4 attempts.*refused"):
        run(peer, lambda client: client.task("task_1"))
    assert len(peer.waits) == 3


@both
def test_calls_have_keys_of_their_own(run: Any) -> None:
    peer = Peer(*[pushed(2), pushed(1)])
    answer = run(peer, lambda client: client.push("tax", [NewTask(str(n), {}) for n in range(3)], items_max=2))
    assert [item.index for item in answer.accepted] == [0, 1, 2]
    assert len(set(peer.keys)) == 2
    peer = Peer(*[pushed(2), pushed(1)])
    items = [NewTask(str(n), {}) for n in range(3)]
    run(peer, lambda client: client.push("tax", items, items_max=2, idempotency_key="mine"))
    assert peer.keys == ["mine", "mine-2"]


@both
def test_a_cancel_whose_answer_was_lost_is_no_conflict(run: Any) -> None:
    peer = Peer(httpx.ReadError("lost"), problem(409, "FINAL"), httpx.Response(200, json=TASK))
    assert run(peer, lambda client: client.cancel("task_1")).state == "cancelled"
    peer = Peer(problem(409, "FINAL"))
    with pytest.raises(Conflict):
        run(peer, lambda client: client.cancel("task_1"))
    peer = Peer(httpx.ReadError("lost"), problem(409, "FINAL"), httpx.Response(200, json={**TASK, "state": "failed"}))
    with pytest.raises(Conflict):
        run(peer, lambda client: client.cancel("task_1"))


@both
def test_a_removal_whose_answer_was_lost_is_done(run: Any) -> None:
    peer = Peer(httpx.ReadError("lost"), problem(404))
    run(peer, lambda client: client.delete_endpoint("hook"))
    with pytest.raises(NotFound):
        run(Peer(problem(404)), lambda client: client.delete_endpoint("hook"))


@both
def test_pages_follow_one_another(run: Any) -> None:
    pages: Iterable[dict[str, Any]] = [{"items": [TASK], "next": "c1"}, {"items": [], "next": "c2"},
                                       {"items": [TASK, TASK], "next": None}]  # fmt: skip
    peer = Peer(*[httpx.Response(200, json=page) for page in pages])
    assert len(run(peer, lambda client: client.tasks(workflow="tax"))) == 3
    assert [request.url.params.get("cursor") for request in peer.asked] == [None, "c1", "c2"]


@both
def test_the_feed_is_read_to_its_end_or_for_ever(run: Any) -> None:
    pages = [{"items": [TASK], "next": "b", "after": "b"}, {"items": [TASK], "next": None, "after": "c"}]
    peer = Peer(*[httpx.Response(200, json=page) for page in pages])
    found = run(peer, lambda client: client.results("a", follow=False))
    assert [page.after for page in found] == ["b", "c"]
    assert [dict(request.url.params) for request in peer.asked] == [
        {"after": "a", "limit": "100"}, {"after": "b", "limit": "100"},
    ]  # fmt: skip
    empty = {"items": [], "next": None, "after": "c"}
    peer = Peer(*[httpx.Response(200, json=page) for page in (empty, empty, pages[0])], problem(401))
    with pytest.raises(NotAllowed):
        run(peer, lambda client: client.results("c", wait_s=5))
    assert [request.url.params["wait"] for request in peer.asked] == ["5"] * 4
    assert str(peer.asked[0].url).startswith("http://d.test/")


@both
def test_waiting_looks_until_the_task_has_ended(run: Any) -> None:
    running = {**TASK, "state": "running"}
    peer = Peer(*[httpx.Response(200, json=one) for one in (running, running, TASK)])
    assert run(peer, lambda client: client.wait("task_1")).is_final
    assert len(peer.waits) == 2


def test_what_is_pushed_is_split_by_count_and_size() -> None:
    big = "x" * (5 * 1024 * 1024)
    peer = Peer(*[pushed(3)] * 2)
    sync(peer, lambda client: client.push("tax", [{"reference": str(n), "input": {"a": big}} for n in range(6)]))
    sizes = [len(request.content.splitlines()) for request in peer.asked]
    assert sizes == [3, 3]
    assert all(len(request.content) <= 16 * 1024 * 1024 for request in peer.asked)
    assert all(request.url.params["workflow"] == "tax" for request in peer.asked)


def test_a_large_push_goes_in_lines_and_a_small_one_as_one_object() -> None:
    items = [{"reference": str(n), "input": {"a": "x" * 1000 + "\n"}} for n in range(300)]
    peer = Peer(pushed(300), pushed(2))
    sync(peer, lambda client: client.push("tax", items))
    sync(peer, lambda client: client.push("tax", items[:2]))
    lines, whole = peer.asked
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.content.splitlines()] == items
    assert json.loads(whole.content) == {"workflow": "tax", "tasks": items[:2]}


def test_a_time_without_its_zone_is_refused_before_it_is_sent() -> None:
    peer = Peer()
    with pytest.raises(ValueError, match="deadline needs a time zone"):
        sync(peer, lambda client: client.push("tax", [NewTask("a", {}, deadline=datetime(2027, 1, 1))]))
    assert peer.asked == []


def test_an_id_can_not_ask_for_something_else() -> None:
    peer = Peer(httpx.Response(200, json=TASK))
    sync(peer, lambda client: client.task("../results?x"))
    assert peer.asked[0].url.raw_path == b"/v1/tasks/..%2Fresults%3Fx"
    with pytest.raises(ValueError, match="needed"):
        sync(peer, lambda client: client.task(""))
