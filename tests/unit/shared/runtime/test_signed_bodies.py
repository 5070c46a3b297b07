"""What bodies of signed requests may take of a process."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime import signed_bodies
from shared.runtime.problems import Problem
from shared.runtime.signed_bodies import Room, declared_size, read_body

steps = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.booleans()), max_size=40)


@given(steps)
def test_room_against_a_list_of_what_is_held(steps: list[tuple[str, int, bool]]) -> None:
    """Each step begins a body, and where it says so the oldest ends."""
    room = Room(bytes_max=60, key_bytes_max=30)
    held: list[tuple[str, int, ExitStack]] = []
    for key, size, end in steps:
        fits = sum(n for _, n, _ in held) + size <= 60 and sum(n for k, n, _ in held if k == key) + size <= 30
        stack = ExitStack()
        if fits or not size:
            stack.enter_context(room.of(key, size))
            held.append((key, size, stack))
        else:
            with pytest.raises(Problem) as full:
                stack.enter_context(room.of(key, size))
            assert full.value.status == 429
        if end and held:
            held.pop(0)[2].close()
        assert room.taken == sum(n for _, n, _ in held)
    for _, _, stack in held:
        stack.close()
    assert (room.taken, dict(room._by_key)) == (0, {})


def request(receive: Any = None, **headers: str) -> Request:
    """A request with these headers."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def test_only_bodies_with_a_size_are_read() -> None:
    assert declared_size(request()) == 0
    assert declared_size(request(content_length="7")) == 7
    for headers in ({"content_length": str(16 * 1024 * 1024 + 1)}, {"transfer_encoding": "chunked"}):
        with pytest.raises(Problem) as refused:
            declared_size(request(**headers))
        assert refused.value.status == 413


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing() -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(signed_bodies, "READ_S", 0.01)
    async with asyncio.timeout(10):
        with pytest.raises(Problem) as late:
            await read_body(request(nothing), 100)
    assert late.value.status == 408
