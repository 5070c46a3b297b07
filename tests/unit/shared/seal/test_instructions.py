"""Arguments that are sealed to a robot open there, at their place, and nowhere else."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.seal import SealBroken, Sealer
from shared.seal.instructions import open_args, robot_key, seal_args

SEALER = Sealer(bytes(range(32)))
KEY = robot_key(SEALER, "0a0b0c0d0e0f", 1)
PLACE: dict[str, Any] = {"worker": "0a0b0c0d0e0f", "run": "run_1", "seq": 7, "epoch": 3}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
SEALED = seal_args(KEY, {"text": "a secret to type"}, **PLACE)


@given(st.dictionaries(st.text(max_size=9), VALUES, max_size=4))
def test_they_open_to_what_was_sealed(args: dict[str, Any]) -> None:
    assert open_args(KEY, seal_args(KEY, args, **PLACE), **PLACE) == args


def test_nothing_of_them_can_be_read_and_no_two_are_alike() -> None:
    made = {seal_args(KEY, {"text": "a secret to type"}, **PLACE) for _ in range(50)}
    assert len(made) == 50
    assert not any(b"secret" in base64.urlsafe_b64decode(one) for one in made)


@pytest.mark.parametrize("other", [{"worker": "0a0b0c0d0e0e"}, {"run": "run_2"}, {"seq": 8}, {"epoch": 4}])
def test_they_cannot_be_moved(other: dict[str, Any]) -> None:
    with pytest.raises(SealBroken):
        open_args(KEY, SEALED, **{**PLACE, **other})


@given(st.integers(0, len(base64.urlsafe_b64decode(SEALED)) * 8 - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(base64.urlsafe_b64decode(SEALED))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        open_args(KEY, base64.urlsafe_b64encode(data).decode(), **PLACE)


def test_every_robot_and_every_grant_has_a_key_of_its_own() -> None:
    keys = {robot_key(SEALER, worker, grant) for worker in ("0a0b0c0d0e0f", "0a0b0c0d0e0e") for grant in (1, 2)}
    assert len(keys) == 4
    for key in keys - {KEY}:
        with pytest.raises(SealBroken):
            open_args(key, SEALED, **PLACE)
