"""What follows from looks, times, pages and files: pure rules, against obvious models where there are some."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.collector.core.answers import (
    UNACKNOWLEDGED_BYTES_MAX,
    UNACKNOWLEDGED_MAX,
    Refusal,
    owed_for,
    read_page,
    status_failure,
    unacknowledged,
)
from services.collector.core.files import Found, candidates, finished, names_aside, other_name, report
from services.collector.core.looks import (
    DOWN_AFTER,
    Failure,
    Notes,
    Tally,
    after_failure,
    after_success,
    log_entry,
    next_look,
)
from services.collector.core.paging import BadPage, newer_cursor, next_link, next_place, place_params
from services.collector.core.timers import firing, timer_item
from shared.domain.events import EventKind
from shared.intake.expressions import Purse
from shared.intake.source_settings import (
    Acknowledgement,
    FolderSettings,
    PollSettings,
    Schedule,
    TimerSettings,
    read_settings,
)

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def poll(**changes: Any) -> PollSettings:
    found = read_settings(
        {
            "kind": "poll", "schedule": {"every_s": 60}, "request": {"url": "https://x.example/a"}, "items": "items",
            "item": {"reference": "id", "input": "@"}, **changes,
        }
    )  # fmt: skip
    assert isinstance(found, PollSettings)
    return found


def timer(cron: str, **changes: Any) -> TimerSettings:
    found = read_settings({"kind": "timer", "schedule": {"cron": cron, "timezone": "UTC"}, "input": {}, **changes})
    assert isinstance(found, TimerSettings)
    return found


# timers


@settings(max_examples=80)
@given(
    st.sampled_from([1, 5, 17, 30]), st.integers(0, 3000), st.integers(0, 600), st.integers(1, 40),
    st.sampled_from(["catch_up", "skip"]),
)  # fmt: skip
def test_a_timer_against_a_walk_over_minutes(step: int, start: int, gap: int, late_min: int, missed: Any) -> None:
    since, now = NOW + timedelta(minutes=start), NOW + timedelta(minutes=start + gap)
    minutes = [since + timedelta(minutes=n) for n in range(1, gap + 1)]
    due = [at for at in minutes if at.minute % step == 0]
    found = firing(timer(f"*/{step} * * * *", missed=missed, late_s=late_min * 60), since, now)
    if not due:
        assert (found.task_at, found.missed, found.handled_until) == (None, None, since)
        return
    in_time = now - due[-1] <= timedelta(minutes=late_min)
    assert found.task_at == (due[-1] if in_time or missed == "catch_up" else None)
    assert found.handled_until == due[-1]
    gone = due[:-1] if in_time else due
    assert (found.missed or {"count": 0})["count"] == len(gone)
    assert (found.missed or {"times": []})["times"] == gone[:20]
    again = firing(timer(f"*/{step} * * * *", missed=missed), found.handled_until, now)
    assert (again.task_at, again.missed) == (None, None)


def test_a_times_item_is_the_same_however_late_it_is_made() -> None:
    made = timer_item("daily", timer("0 9 * * *", input={"day": "{due_date}"}, deadline_s=60), NOW)
    assert made == {
        "reference": "daily:2026-03-04T12:00:00Z",
        "input": {"day": "2026-03-04"},
        "deadline": "2026-03-04T12:01:00+00:00",
    }


# looks


@given(st.integers(0, 40), st.one_of(st.none(), st.floats(0, 1e6)), st.floats(0, 1))
def test_failures_are_looked_again_ever_later_and_never_before_the_partner_said(
    failures: int, asked_s: float | None, jitter: float
) -> None:
    failure = Failure("away", retry_after_s=asked_s)
    changes = after_failure({"failures": failures}, failure, now=NOW, jitter=jitter)
    wait_s = (changes["next_at"] - NOW).total_seconds()
    assert min(10 * 2**failures, 3600) - 1 <= max(wait_s, 0) or asked_s is not None
    assert wait_s <= max(3600 * 1.2, min(asked_s or 0, 86_400)) + 1
    assert asked_s is None or wait_s >= min(asked_s, 86_400) - 1
    assert ("down" in changes) == (failures + 1 >= DOWN_AFTER)


def test_a_source_is_down_once_until_it_is_up_again() -> None:
    source: dict[str, Any] = {"failures": 2}
    source |= after_failure(source, Failure("a"), now=NOW, jitter=0)
    since = source["down"]["since"]
    later = after_failure(source, Failure("b"), now=NOW + timedelta(hours=1), jitter=0)
    assert "down" not in later
    assert source["down"]["since"] == since
    assert after_success(next_at=None, now=NOW)["down"] is None
    assert {EventKind.SOURCE_DOWN.value, EventKind.SOURCE_UP.value} == {"source_down", "source_up"}


def test_the_next_look_keeps_the_schedule() -> None:
    every = Schedule(every_s=60)
    assert next_look(every, NOW, NOW + timedelta(seconds=5)) == NOW + timedelta(seconds=60)
    assert next_look(every, NOW, NOW + timedelta(seconds=90)) == NOW + timedelta(seconds=90)
    cron = Schedule(cron="0 9 * * *", timezone="America/Sao_Paulo")
    assert next_look(cron, NOW, NOW) == datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


def test_the_log_keeps_what_matters_longer() -> None:
    source = {"_id": "a/b", "account": "a", "kind": "poll", "token": 7}
    empty = log_entry(source, Notes(), began=NOW, ended=NOW, by="c", reason=None)
    full = log_entry(source, Notes(tally=Tally(1, 1)), began=NOW, ended=NOW, by="c", reason=None)
    failed = log_entry(source, Notes(), began=NOW, ended=NOW, by="c", reason="x" * 900)
    assert empty["_id"] == "a/b/0000000007"
    assert empty["expires_at"] < full["expires_at"] == failed["expires_at"]
    assert len(failed["reason"]) == 500


# pages


def test_links_are_found_among_others() -> None:
    header = '<https://x/1>; rel="first", <https://x/a,b>; title="a, rel=next"; rel="prev next", <https://x/9>'
    assert next_link(header) == "https://x/a,b"
    assert next_link('<https://x/1>; rel="nextish"') is None
    assert next_link("nonsense") is None


def test_places_lead_on_and_never_elsewhere() -> None:
    link = poll(paging={"kind": "link"})

    def following(header: str | None, place: Any = None) -> Any:
        return next_place(
            link, place or {}, url="https://x.example/a?p=1", link=header, body={}, count=1, purse=Purse()
        )

    assert following('<?p=2>; rel="next"') == {"url": "https://x.example/a?p=2"}
    assert following(None) is None
    for bad in ("https://x.example:444/a", "http://x.example/a", "//evil.example/a", "https://x.example.evil/a"):
        with pytest.raises(BadPage, match="another server"):
            following(f'<{bad}>; rel="next"')
    with pytest.raises(BadPage, match="this page again"):
        following('<?p=1>; rel="next"', {"url": "https://x.example/a?p=1"})
    feed = poll(paging={"kind": "cursor", "expression": "next", "param": "after"})
    more = next_place(feed, {}, url="https://x", link=None, body={"next": 5}, count=0, purse=Purse())
    assert more == {"value": 5}
    assert place_params(feed, more) == {"after": "5"}
    assert next_place(feed, more, url="https://x", link=None, body={"next": 5}, count=0, purse=Purse()) is None


def test_cursors() -> None:
    last, largest = (
        poll(cursor={"expression": "last", "keep": keep}, request={"url": "https://x.example/{cursor}"})
        for keep in ("last", "largest")
    )
    assert [newer_cursor(last, "b", found) for found in ("a", None, 5)] == ["a", "b", 5]
    assert [newer_cursor(largest, "b", found) for found in ("a", None, "c", 5)] == ["b", "b", "c", 5]


@pytest.mark.parametrize("value", ["[1]", "{}", str(2**63), '"\\ud800"', f'"{"x" * 5000}"'])
def test_what_the_database_can_not_hold_is_no_cursor(value: str) -> None:
    settings = poll(cursor={"expression": "c"}, request={"url": "https://x.example/{cursor}"})
    with pytest.raises(Failure, match="cursor: the expression gives no text"):
        read_page(settings, f'{{"items": [], "c": {value}}}'.encode(), {}, url="https://x", link=None)


def test_a_page_is_read_whole_or_not_at_all() -> None:
    page = read_page(poll(), b'{"items": [{"id": 1}, 7]}', {}, url="https://x", link=None)
    assert [item.get("reference") for item in page.items] == ["1", None]
    assert read_page(poll(), b" ", {}, url="https://x", link=None).items == []
    for body, said in ((b"{", "can't be read"), (b'{"items": 1}', "gives no list"), (b"[NaN]", "can't be read")):
        with pytest.raises(Failure, match=said):
            read_page(poll(), body, {}, url="https://x", link=None)


def test_statuses_say_what_to_do() -> None:
    def said(status: int, retry_after: str | None = None, place: Any = None) -> Failure:
        found = status_failure("it", status, retry_after=retry_after, now=NOW, place=place or {})
        assert found is not None
        return found

    assert status_failure("it", 204, retry_after=None, now=NOW, place={}) is None
    assert "redirects are not followed" in said(307).message
    assert said(429, "Wed, 04 Mar 2026 12:02:00 GMT").retry_after_s == 120
    assert said(500, "7").retry_after_s is None
    assert (said(410, place={"url": "x"}).restart, said(410).restart, said(429, place={"url": "x"}).restart) == (
        True, False, False,
    )  # fmt: skip


def test_what_is_owed() -> None:
    accepted = [{"reference": "A", "id": "t1"}, {"reference": "B", "id": "t2"}]
    answer = {"accepted": accepted, "rejected": [{"reference": "C"}, {"reference": None}]}
    page = Acknowledgement(url="https://x/a")
    assert owed_for(page, answer, 5) == [{"references": ["A", "B"], "ids": ["t1", "t2"], "count": 2, "cursor": 5}]
    task = Acknowledgement(url="https://x/a", per="task", refused=True)
    assert [one["reference"] for one in owed_for(task, answer, None)] == ["A", "B", "C"]
    assert owed_for(None, answer, 5) == []
    assert owed_for(page, {"accepted": [], "rejected": []}, 5) == []


@given(
    st.lists(
        st.one_of(
            st.builds(lambda n: {"reference": "r" * n, "id": None, "cursor": n}, st.integers(0, 5000)),
            st.builds(lambda n: {"references": ["é" * 200] * n, "ids": [n] * n, "count": n}, st.integers(0, 1000)),
        ),
        min_size=1,
        max_size=150,
    )
)
def test_what_is_refused_for_good_is_listed_and_fits_into_the_source(values: list[dict[str, Any]]) -> None:
    found: list[Any] = []
    for n, one in enumerate(values):
        found = unacknowledged(found, [Refusal(one, n)], NOW)
        assert found[-1]["status"] == n
    assert [one["status"] for one in found] == list(range(len(values)))[-len(found) :]
    assert len(found) <= UNACKNOWLEDGED_MAX
    assert len(json.dumps(found, default=str)) <= UNACKNOWLEDGED_BYTES_MAX + 2 * len(found)


# files


def test_only_finished_files_of_the_right_name_are_taken() -> None:
    found = read_settings({"kind": "folder", "schedule": {"every_s": 1}, "folder": "in", "pattern": "*.CSV"})
    assert isinstance(found, FolderSettings)
    names = [
        "b.csv",
        "a.csv",
        "a.xlsx",
        "a.csv.part",
        ".a.csv",
        "x/y.csv",
        "n\n.csv",
        "\udcff.csv",
        "a.csv.report.txt",
        "~a.csv",
    ]
    seen = candidates([Found(name, 1, 1.0) for name in names], found)
    assert [one.name for one in seen] == ["a.csv", "b.csv"]
    assert [one.name for one in finished(seen, [Found("a.csv", 2, 1.0), Found("b.csv", 1, 1.0)])] == ["b.csv"]
    assert other_name("a.b.csv", "f" * 64) == "a.b.ffffffffffff.csv"
    assert other_name("abc", "f" * 64) == "abc.ffffffffffff"
    assert candidates([Found("é" * 99 + ".csv", 1, 1.0)], found) == []  # no room for what is added to its name
    assert len(candidates([Found("é" * 98 + ".csv", 1, 1.0)], found)) == 1


def test_what_a_look_began_to_take_is_a_file_of_its_name_and_comes_first() -> None:
    found = read_settings({"kind": "folder", "schedule": {"every_s": 1}, "folder": "in"})
    assert isinstance(found, FolderSettings)
    old, new = Found("b.csv", 1, 1.0), Found("a.csv", 1, 2.0)
    token = "0123456789ab"
    claimed = old.claimed(token)
    assert (claimed.name, claimed.own_name, claimed.is_claimed) == (".taking.0123456789ab.b.csv", "b.csv", True)
    assert claimed.claimed("f" * 12).own_name == "b.csv"
    assert not Found(".taking.b.csv", 1, 1.0).is_claimed
    assert candidates([new, claimed, Found(f".taking.{token}.b.exe", 1, 1.0)], found) == [claimed, new]


@given(st.text(st.characters(codec="ascii", exclude_characters="/"), min_size=1, max_size=20), st.booleans())
def test_a_file_aside_takes_no_other_files_name(name: str, is_content: bool) -> None:
    """Only one whose content is known may end under a name that is used: that of the same content."""
    names = names_aside(name, "a" * 64, is_content, "f" * 32)
    assert names[:2] == [name, other_name(name, "a" * 64)]
    assert names[2:] == ([] if is_content else [other_name(name, "f" * 32)])
    assert len(set(names)) == len(names)


def test_a_report_is_bounded_and_plain() -> None:
    rows = [{"place": "row 2", "reference": "A", "errors": [{"path": "/input/x", "message": "is wrong"}]}]
    text = report("a.csv", NOW, Tally(5, 2, 1, 2000), None, rows).decode()
    assert "a.csv: 2 taken, 1 there before, 2000 refused (2026-03-04 12:00:00 UTC)" in text
    assert "row 2, reference A: /input/x: is wrong" in text
    assert "and 1000 more rows" in text
