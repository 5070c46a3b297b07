"""Ids, clock, trace, metrics and log lines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from typing import Any

import pytest
from bson import encode as bson_encode
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect, BulkWriteError

from shared.obs import ids, log_store, logs, metrics, trace
from shared.obs.clock import monotonic_s, now, now_us
from shared.obs.log_store import LogStore


def test_ids_are_unique_sorted_and_of_version_7() -> None:
    made = [ids.uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert all(len(each) == 32 and each[12] == "7" and each[16] in "89ab" for each in made)
    assert ids.new_id("task_").startswith("task_")
    assert abs(int(made[0][:12], 16) - now_us() // 1000) < 60_000


def test_clock_is_what_the_database_gives_back() -> None:
    assert now().tzinfo is not None
    assert now().microsecond % 1000 == 0
    assert monotonic_s() <= monotonic_s()


def test_children_stay_in_their_trace() -> None:
    first = trace.new_traceparent()
    second = trace.child(first)
    assert first != second
    assert trace.trace_id(first) == trace.trace_id(second)


@given(st.text(max_size=60))
def test_what_is_no_traceparent_begins_a_new_trace(text: str) -> None:
    if trace.trace_id(text) is None:
        assert trace.trace_id(trace.child(text)) is not None
        with trace.use(text) as used:
            assert used != text
            assert trace.current() == used


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "1" * 16 + "-01",
    ],
)
def test_forbidden_traceparents(wrong: str | None) -> None:
    assert trace.trace_id(wrong) is None


def test_trace_ends_with_its_block() -> None:
    with trace.use(None) as outer:
        with trace.use(None) as inner:
            assert trace.current() == inner
        assert trace.current() == outer
    assert trace.current() is None


def test_metric_asked_for_twice_is_one() -> None:
    made = metrics.counter("regente_obs_test_total", "For this test.", ["a"])
    assert metrics.counter("obs_test_total", "For this test.", ["a"]) is made
    made.labels("x").inc(3)
    assert b'regente_obs_test_total{a="x"} 3.0' in metrics.exposition()
    with pytest.raises(ValueError, match="another kind"):
        metrics.gauge("obs_test_total", "For this test.")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The log lines that reach stderr, under the real set-up, which is undone after."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.setup("collector", "collector-1", "INFO")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], level = before
    root.setLevel(level)
    logs.structlog.reset_defaults()


def test_lines_are_json_with_all_that_is_bound(written: Any) -> None:
    log = logs.get_logger("test")
    with logs.bind(run="run_1", task=None), trace.use(None) as traceparent:
        log.info("task ended", task="task_1", count=3)
        logging.getLogger("foreign").warning("from %s", "elsewhere")
    log.debug("not shown")
    logging.getLogger("pika.adapters").error("stack traces of planned events")
    first, second = written()
    assert first["event"] == "task ended"
    assert (first["service"], first["instance"], first["run"], first["task"]) == (
        "collector",
        "collector-1",
        "run_1",
        "task_1",
    )
    assert first["trace"] == trace.trace_id(traceparent)
    assert first["level"] == "info"
    assert second["event"] == "from elsewhere"
    assert second["run"] == "run_1"


def test_stack_is_one_field_of_one_line(written: Any) -> None:
    try:
        raise ValueError("inner")
    except ValueError:
        logs.get_logger("test").exception("it failed")
    (line,) = written()
    assert "ValueError: inner" in line["exception"]
    assert line["level"] == "error"


async def test_unhandled_error_of_a_task_is_logged_once(written: Any) -> None:
    loop = asyncio.get_running_loop()
    logs.log_unhandled(loop)
    try:
        loop.call_exception_handler({"message": "it got lost", "exception": RuntimeError("boom")})
    finally:
        loop.set_exception_handler(None)
    (line,) = written()
    assert line["event"] == "unhandled error"
    assert "RuntimeError: boom" in line["exception"]


class Database:
    """`mongo["logs"].insert_many` as told: keeps what comes, or raises."""

    def __init__(self, *errors: Exception) -> None:
        self.kept: list[dict[str, Any]] = []
        self.errors = list(errors)
        self.tries = 0

    def __getitem__(self, _: str) -> Database:
        return self

    async def insert_many(self, lines: list[dict[str, Any]], ordered: bool) -> None:
        self.tries += 1
        if self.errors:
            logs.get_logger("shared.mongo").error("a line about the failure to insert")
            raise self.errors.pop(0)
        self.kept += lines


async def test_lines_reach_the_database_and_never_tell_of_themselves(written: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(log_store, "BACKOFF_S", 0.01)
    monkeypatch.setattr(log_store, "FLUSH_S", 0.01)
    duplicates = BulkWriteError({"writeErrors": [{"code": 11000}]})
    database = Database(AutoReconnect("away"), AutoReconnect("away"))
    store = LogStore(database, "collector", "collector-1")
    store.start()
    with logs.bind(run="run_1"):
        logs.get_logger("test").info("kept", big=2**80, odd=object, extra={"a": 1})
    logging.getLogger("pymongo.client").error("not kept")
    async with asyncio.timeout(5):
        while True:
            if database.kept:
                break
            await asyncio.sleep(0.01)
    await store.stop()
    assert [line["event"] for line in database.kept] == ["kept"]
    line = database.kept[0]
    assert line["run"] == "run_1"
    assert line["fields"]["big"] == str(2**80)
    assert "run" not in line["fields"]
    assert bson_encode(line)
    assert database.tries == 3
    assert log_store._only_duplicates(duplicates)


async def test_full_queue_drops_the_oldest_and_counts_them(monkeypatch: Any) -> None:
    monkeypatch.setattr(log_store, "QUEUE_LENGTH_MAX", 10)
    store = LogStore(Database(), "x", "x-1")
    before = log_store.DROPPED._value.get()
    for n in range(25):
        store.add({"event": str(n), "level": "info"})
    assert [line["event"] for line in store._lines] == [str(n) for n in range(15, 25)]
    assert log_store.DROPPED._value.get() - before == 15


async def test_stop_gives_up_on_a_database_that_is_away() -> None:
    store = LogStore(Database(*(AutoReconnect("away") for _ in range(99))), "x", "x-1")
    store.start()
    store.add({"event": "lost", "level": "info"})
    async with asyncio.timeout(5):
        await store.stop()
    assert not store._lines
