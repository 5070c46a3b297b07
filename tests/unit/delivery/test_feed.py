"""Pages of the results feed: nothing is skipped, nothing comes twice, whatever a reader wants."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core.feed import page_of

FEEDS = st.lists(st.booleans(), max_size=60)


def look(feed: list[bool], first: int, after: int, scanned_max: int) -> list[dict[str, Any]]:
    """What the database gives: entries behind `after`; those that are not wanted come without a body."""
    entries = [{"n": first + at, **({"body": "x"} if wanted else {})} for at, wanted in enumerate(feed)]
    return [entry for entry in entries if entry["n"] > after][:scanned_max]


@given(feed=FEEDS, first=st.integers(1, 9), limit=st.integers(1, 7), more=st.integers(1, 20))
def test_a_filtered_feed_is_read_whole_and_in_order(feed: list[bool], first: int, limit: int, more: int) -> None:
    after, got, scanned_max = 0, [], limit + more
    for _ in range(len(feed) + 2):
        scanned = look(feed, first, after, scanned_max)
        page = page_of(scanned, after=after, limit=limit, scanned_max=scanned_max)
        assert len(page.entries) <= limit
        got += [entry["n"] for entry in page.entries]
        assert page.after >= after
        after = page.after
        if not page.more:
            break
    assert got == [first + at for at, wanted in enumerate(feed) if wanted]
    assert after == (first + len(feed) - 1 if feed else 0)


@given(count=st.integers(0, 30), limit=st.integers(1, 7))
def test_without_a_filter_there_is_more_exactly_when_there_is(count: int, limit: int) -> None:
    page = page_of(look([True] * count, 1, 0, limit + 1), after=0, limit=limit, scanned_max=limit + 1)
    assert (len(page.entries), page.more) == (min(count, limit), count > limit)
