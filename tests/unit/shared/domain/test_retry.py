"""What follows from a failed attempt: nothing that may have been done is repeated unless the workflow says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.retry import InDoubtPolicy, RetryPolicy, RetryPosition, Verdict, after_failure, backoff_s
from shared.domain.task_state import FailureKind

policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 20),
    position=st.sampled_from(RetryPosition),
    delay_s=st.floats(0, 3600),
    in_doubt=st.sampled_from(InDoubtPolicy),
)
kinds = st.sampled_from(FailureKind)


@given(policies, kinds, st.integers(1, 25), st.booleans())
def test_the_rule_of_repetition(policy: RetryPolicy, kind: FailureKind, attempt: int, acted: bool) -> None:
    """The same rule written as a table from the top down."""
    doubtful = kind is FailureKind.IN_DOUBT or acted
    if kind is FailureKind.BUSINESS:
        expected = Verdict.FAIL
    elif doubtful and policy.in_doubt is InDoubtPolicy.HOLD:
        expected = Verdict.HOLD
    elif doubtful and policy.in_doubt is InDoubtPolicy.FAIL:
        expected = Verdict.FAIL
    else:
        expected = Verdict.RETRY if attempt < policy.attempts else Verdict.FAIL
    assert after_failure(policy, kind=kind, attempt=attempt, may_have_acted=acted) is expected


@given(policies, kinds.filter(lambda kind: kind is not FailureKind.BUSINESS), st.integers(1, 25))
def test_what_may_have_been_done_is_only_repeated_when_the_workflow_allows_it(
    policy: RetryPolicy, kind: FailureKind, attempt: int
) -> None:
    verdict = after_failure(policy, kind=kind, attempt=attempt, may_have_acted=True)
    if verdict is Verdict.RETRY:
        assert policy.in_doubt is InDoubtPolicy.RETRY


@given(policies, kinds, st.booleans())
def test_retries_end(policy: RetryPolicy, kind: FailureKind, acted: bool) -> None:
    attempt = 1
    while after_failure(policy, kind=kind, attempt=attempt, may_have_acted=acted) is Verdict.RETRY:
        attempt += 1
    assert attempt <= policy.attempts


waits = {
    "first_s": st.floats(0.01, 100),
    "factor": st.floats(1.0, 10.0),
    "max_s": st.floats(0.01, 10_000),
    "jitter": st.floats(0.0, 1.0),
}


@given(st.integers(1, 10_000), st.fixed_dictionaries(waits))
def test_waits_grow_up_to_their_limit(attempt: int, how: dict[str, float]) -> None:
    wait = backoff_s(attempt, **how)
    still = {**how, "jitter": 0.0}
    assert 0 < backoff_s(attempt, **still) <= wait <= backoff_s(attempt, **still) * 1.2 + 1e-9
    assert backoff_s(attempt, **still) <= how["max_s"]
    assert backoff_s(attempt, **still) <= backoff_s(attempt + 1, **still)


def test_waits_double() -> None:
    waits_s = [backoff_s(n, first_s=2, factor=2, max_s=60) for n in range(1, 8)]
    assert waits_s == [2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_are_counted_from_one(attempt: int) -> None:
    with pytest.raises(ValueError, match="from 1"):
        backoff_s(attempt, first_s=1, factor=2, max_s=60)
