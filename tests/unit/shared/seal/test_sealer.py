"""Sealed bytes open only as what they were sealed as, and any change is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.seal import SealBroken, Sealer

SEALER = Sealer(bytes(range(32)))
PLAIN, AAD = b"the plain bytes", b"run_1/00000001"
SEALED = SEALER.seal("snapshot", PLAIN, AAD)


@given(st.binary(max_size=2000), st.binary(max_size=100), st.text(max_size=20))
def test_round_trip(plain: bytes, aad: bytes, purpose: str) -> None:
    sealed = SEALER.seal(purpose, plain, aad)
    assert SEALER.open(purpose, sealed, aad) == plain
    assert len(plain) < 16 or plain not in sealed


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    changed = bytearray(SEALED)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        SEALER.open("snapshot", bytes(changed), AAD)


@given(st.integers(0, len(SEALED) - 1))
def test_cut_bytes_are_refused(length: int) -> None:
    with pytest.raises(SealBroken):
        SEALER.open("snapshot", SEALED[:length], AAD)


def test_bytes_longer_than_sealed_are_refused() -> None:
    with pytest.raises(SealBroken):
        SEALER.open("snapshot", SEALED + b"\0", AAD)


def test_another_place_purpose_or_key_is_refused() -> None:
    for sealer, purpose, aad in (
        (SEALER, "snapshot", b"run_1/00000002"),
        (SEALER, "document", AAD),
        (Sealer(bytes(32)), "snapshot", AAD),
    ):
        with pytest.raises(SealBroken):
            sealer.open(purpose, SEALED, aad)


def test_same_plain_is_never_sealed_alike() -> None:
    assert len({SEALER.seal("x", PLAIN, AAD) for _ in range(100)}) == 100


def test_derived_secrets_are_stable_and_all_different() -> None:
    contexts = [
        ("worker", "0a/1"),
        ("worker", "0a/2"),
        ("blob", "0a/1"),
        ("worker0", "a/1"),
        ("a:b", "c"),
        ("a", "b:c"),
    ]
    secrets = [SEALER.derive(*each) for each in contexts]
    assert secrets == [SEALER.derive(*each) for each in contexts]
    assert len(set(secrets)) == len(contexts)
    assert all(len(secret) == 43 for secret in secrets)
    assert Sealer(bytes(32)).derive("worker", "0a/1") != secrets[0]


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="needs 32"):
        Sealer(bytes(size))
