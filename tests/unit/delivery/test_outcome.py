"""What an answer means for its delivery."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core.outcome import Answer, Meaning, after_attempt, complaint, meaning
from shared.domain.delivery_state import DELIVERY, DeliveryState

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
answers = st.builds(Answer, st.none() | st.integers(100, 599), st.text(max_size=20), st.none() | st.floats(0, 1e6))


@given(answers, st.lists(st.floats(0, 9e4), max_size=10), st.integers(0, 12), st.floats(0, 1))
def test_every_answer_has_one_consequence(
    answer: Answer, schedule: list[float], failed_before: int, jitter: float
) -> None:
    found = after_attempt(answer, schedule=schedule, failed_before=failed_before, now=NOW, jitter=jitter)
    if answer.status is not None and 200 <= answer.status <= 299:
        assert (found.state, found.next_at, found.reason) == (DeliveryState.DELIVERED, None, None)
    elif answer.status == 410:
        assert (found.state, found.disable_endpoint) == (DeliveryState.DEAD, True)
    elif failed_before < len(schedule):
        assert found.state is DeliveryState.RETRYING
        assert found.next_at is not None
        assert found.next_at >= NOW
    else:
        assert (found.state, found.next_at) == (DeliveryState.DEAD, None)
    assert found.disable_endpoint == (answer.status == 410)
    assert (found.reason is None) == (found.state is DeliveryState.DELIVERED)


@given(answers, st.integers(0, 3), st.sampled_from([DeliveryState.PENDING, DeliveryState.RETRYING]))
def test_every_consequence_is_an_edge_of_the_machine(answer: Answer, failed: int, before: DeliveryState) -> None:
    after = after_attempt(answer, schedule=[1, 2], failed_before=failed, now=NOW, jitter=0).state
    if after is not before:
        DELIVERY.check(before, after, owner="delivery")


def test_a_redirect_is_a_failure_that_says_why() -> None:
    assert meaning(Answer(302)) is Meaning.FAILED
    assert "redirects are not followed" in complaint(Answer(302))


def test_silence_is_told_in_its_own_words() -> None:
    assert complaint(Answer(None, "ConnectError: refused")) == "ConnectError: refused"
    assert complaint(Answer(None)) == "no answer"
