"""Who is let in: nobody by default."""

from __future__ import annotations

from typing import Any

import pytest

from services.scheduler.core.contact import Contact
from services.scheduler.core.enrolment import OTHER_KEY, Answer, decide
from services.scheduler.core.rate import Buckets

CONTACT = Contact("s1", "j1", 5)


def _robot(**fields: Any) -> dict[str, Any]:
    return {
        "_id": "00155d01020a", "key_hash": "mine", "authorisation": "authorised", "session": "s1", "sessions_gone": [],
        "journal": {"id": "j1", "counter": 5}, "seen": {"beat": 3}, "doubt": None, **fields,
    }  # fmt: skip


def test_a_new_robot_waits_for_a_person() -> None:
    decision = decide(None, key_hash="mine", contact=CONTACT)
    assert (decision.answer, decision.insert, decision.doubt) == (Answer.PENDING, True, None)


def test_a_pending_robot_goes_on_waiting_and_may_have_restarted() -> None:
    decision = decide(_robot(authorisation="pending"), key_hash="mine", contact=Contact("s9", "other", 0))
    assert (decision.answer, decision.refresh, decision.doubt) == (Answer.PENDING, True, None)


def test_an_authorised_robot_is_let_in() -> None:
    decision = decide(_robot(), key_hash="mine", contact=CONTACT)
    assert (decision.answer, decision.refresh, decision.doubt) == (Answer.AUTHORISED, True, None)


@pytest.mark.parametrize("authorisation", ["pending", "authorised", "revoked"])
def test_another_key_is_refused_and_doubted_whatever_the_robot_is(authorisation: str) -> None:
    decision = decide(_robot(authorisation=authorisation), key_hash="theirs", contact=CONTACT)
    assert (decision.answer, decision.refresh, decision.insert) == (Answer.REFUSED, False, False)
    assert decision.doubt == OTHER_KEY
    assert "worker remove 00155d01020a" in decision.detail


@pytest.mark.parametrize(
    "contact", [Contact("s2", "j2", 9), Contact("s2", "j1", 4), Contact("s1", "j1", 4), Contact("gone", "j1", 9)]
)
def test_a_restored_or_cloned_robot_is_refused_and_doubted(contact: Contact) -> None:
    decision = decide(_robot(sessions_gone=["gone"]), key_hash="mine", contact=contact)
    assert decision.answer is Answer.REFUSED
    assert decision.doubt
    assert decision.doubt in decision.detail


def test_a_revoked_robot_hears_why_and_what_to_do() -> None:
    by_person = decide(_robot(authorisation="revoked"), key_hash="mine", contact=CONTACT)
    assert by_person.answer is Answer.REFUSED
    assert by_person.doubt is None
    assert "a person revoked it" in by_person.detail
    assert "worker authorise" in by_person.detail
    doubted = decide(_robot(authorisation="revoked", doubt={"reason": "of this"}), key_hash="mine", contact=CONTACT)
    assert "because of this" in doubted.detail


def test_senders_are_limited_each_for_itself() -> None:
    buckets = Buckets(per_s=2.0, burst=3)
    assert [buckets.take("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert buckets.take("b", 0.0)
    assert [buckets.take("a", 1.0) for _ in range(3)] == [True, True, False]
    assert [buckets.take("a", 100.0) for _ in range(4)] == [True, True, True, False]


def test_senders_are_forgotten_not_hoarded() -> None:
    buckets = Buckets(per_s=1.0, burst=1, senders_max=10)
    for n in range(100):
        buckets.take(f"sender {n}", 0.0)
    assert len(buckets._levels) == 10
