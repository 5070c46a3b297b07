"""The frame of a push."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.core.body import ITEMS_MAX, Misfit, PushBody, Unreadable, read_push


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b'{"workflow": NaN}', b"[" * 100_000, b"1" * 5000, b'{"a": 1} x'],
    ids=["empty", "cut", "not utf-8", "NaN", "deep", "long number", "more after it"],
)
def test_what_is_no_json_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read_push(data)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], ""),
        ({"workflow": "w", "tasks": [{}], "priority": 1}, ""),
        ({"tasks": [{}]}, "/workflow"),
        ({"workflow": "", "tasks": [{}]}, "/workflow"),
        ({"workflow": "w" * 64, "tasks": [{}]}, "/workflow"),
        ({"workflow": "w"}, "/tasks"),
        ({"workflow": "w", "tasks": []}, "/tasks"),
        ({"workflow": "w", "tasks": {}}, "/tasks"),
        ({"workflow": "w", "tasks": [0] * (ITEMS_MAX + 1)}, "/tasks"),
    ],
)
def test_what_is_no_push_names_the_place(body: Any, path: str) -> None:
    with pytest.raises(Misfit) as caught:
        read_push(json.dumps(body).encode())
    assert caught.value.path == path


def test_the_items_are_left_alone() -> None:
    body = {"workflow": "w", "tasks": [1, None, {"x": []}]}
    assert read_push(json.dumps(body).encode()) == PushBody("w", [1, None, {"x": []}])
    assert len(read_push(json.dumps({"workflow": "w", "tasks": [0] * ITEMS_MAX}).encode()).tasks) == ITEMS_MAX


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_bytes_come_the_answer_is_one_of_three(data: bytes) -> None:
    try:
        assert isinstance(read_push(data), PushBody)
    except (Unreadable, Misfit) as error:
        str(error).encode()
