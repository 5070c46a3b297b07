"""Who a robot is: restored and cloned machines are noticed, late and doubled messages are not mistaken for them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.contact import (
    SESSIONS_GONE_MAX,
    SUSPICION_GAP_S,
    SUSPICION_S,
    Contact,
    Known,
    Standing,
    Suspicions,
    judge,
    sessions_gone,
)

FRESH = Known()
KNOWN = Known(session="s2", sessions_gone=("s1",), journal="j", counter=50, beat=7)


@pytest.mark.parametrize(
    ("contact", "standing"),
    [
        (Contact("s2", "j", 50, 8), Standing.NEWS),
        (Contact("s2", "j", 51, 8), Standing.NEWS),
        (Contact("s2", "j", 50, 7), Standing.OLD),
        (Contact("s2", "j", 40, 3), Standing.OLD),
        (Contact("s2", "j", 49, 8), Standing.OLD),
        (Contact("s1", "j", 48, 9), Standing.OLD),
        (Contact("s3", "j", 51, 0), Standing.NEWS),
        (Contact("s3", "j", 50, 0), Standing.NEWS),
        (Contact("s3", "j", 49, 0), Standing.DOUBT),
        (Contact("s2", "other", 99, 8), Standing.DOUBT),
        (Contact("s3", "other", 99, 0), Standing.DOUBT),
        # Enrolments come over HTTP: nothing about them can be late.
        (Contact("s2", "j", 50), Standing.NEWS),
        (Contact("s2", "j", 49), Standing.DOUBT),
        (Contact("s1", "j", 60), Standing.DOUBT),
        (Contact("s3", "j", 51), Standing.NEWS),
    ],
)
def test_contacts(contact: Contact, standing: Standing) -> None:
    judgement = judge(KNOWN, contact)
    assert judgement.standing is standing
    assert bool(judgement.doubt) == (standing is Standing.DOUBT)


@pytest.mark.parametrize("contact", [Contact("s1", "j", 48, 9), Contact("s2", "j", 40, 3)])
def test_old_contacts_that_go_on_are_a_doubt(contact: Contact) -> None:
    assert judge(KNOWN, contact, suspicious_for_s=SUSPICION_S - 0.1).standing is Standing.OLD
    assert judge(KNOWN, contact, suspicious_for_s=SUSPICION_S).standing is Standing.DOUBT


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0), st.none() | st.integers(0))
def test_after_an_authorisation_any_journal_is_taken(
    session: str, journal: str, counter: int, beat: int | None
) -> None:
    assert judge(FRESH, Contact(session, journal, counter, beat)).standing is Standing.NEWS


@given(st.lists(st.sampled_from([f"s{n}" for n in range(40)]), max_size=60))
def test_ended_sessions_are_remembered_newest_last(sessions: list[str]) -> None:
    known = FRESH
    for session in sessions:
        gone = sessions_gone(known, session)
        assert session not in gone
        assert len(gone) == len(set(gone)) <= SESSIONS_GONE_MAX
        if known.session not in (None, session):
            assert gone[-1] == known.session
        known = Known(session=session, sessions_gone=tuple(gone))


@dataclass
class Server:
    """The scheduler's side in small: what is stored, and how it judges."""

    known: Known = FRESH
    suspicions: Suspicions = field(default_factory=Suspicions)
    doubts: list[str] = field(default_factory=list)

    def take(self, contact: Contact, now_s: float) -> None:
        for_s = self.suspicions.standing_for_s("w", contact.session, now_s)
        judgement = judge(self.known, contact, suspicious_for_s=for_s)
        self.suspicions.note("w", contact.session, judgement.standing, now_s)
        if judgement.standing is Standing.DOUBT:
            self.doubts.append(judgement.doubt)
        if judgement.standing is Standing.NEWS:
            counter = max(contact.counter, self.known.counter or 0)
            gone = tuple(sessions_gone(self.known, contact.session))
            self.known = Known(contact.session, gone, contact.journal, counter, contact.beat)


@given(
    restarts=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    delays=st.lists(st.floats(0, 9.9), min_size=150, max_size=150),
)
def test_an_honest_robot_is_never_doubted(restarts: list[int], delays: list[float]) -> None:
    """It beats every two seconds, restarts now and then; each beat may be handled up to 10 s late, in any order."""
    sent: list[tuple[float, Contact]] = []
    now_s, counter = 0.0, 0
    for session, beats in enumerate(restarts):
        counter += 1
        for beat in range(beats):
            counter += beat % 3
            sent.append((now_s + delays[len(sent) % len(delays)], Contact(f"s{session}", "j", counter, beat)))
            now_s += 2.0
    server = Server()
    # The queue keeps the order between processes of one robot (each needs longer to start than a beat may be late).
    arrivals, last_of = [], 0.0
    for session in range(len(restarts)):
        mine = [(max(at, last_of), contact) for at, contact in sent if contact.session == f"s{session}"]
        arrivals += sorted(mine, key=lambda arrival: arrival[0])
        last_of = max((at for at, _ in mine), default=last_of)
    for at_s, contact in arrivals:
        server.take(contact, at_s)
    assert server.doubts == []


@given(st.integers(2, 5), st.floats(0.1, 1.9))
def test_a_cloned_robot_is_doubted_within_half_a_minute(beat_s: int, offset_s: float) -> None:
    server = Server()
    contacts = [(n * float(beat_s), Contact("first", "j", 10 + n, n)) for n in range(30)]
    contacts += [(20.0 + offset_s + n * float(beat_s), Contact("clone", "j", 30 + n, n)) for n in range(30)]
    for at_s, contact in sorted(contacts, key=lambda one: one[0]):
        server.take(contact, at_s)
        if server.doubts:
            assert at_s < 20 + offset_s + 30
            return
    pytest.fail("the clone was never noticed")


def test_a_machine_restored_while_it_ran_is_doubted() -> None:
    """The whole machine goes back, its process and its session with it: the beats start over from the past."""
    server = Server()
    for n in range(30):
        server.take(Contact("s", "j", 100 + n, n), 2.0 * n)
    for n in range(20):
        server.take(Contact("s", "j", 105 + n, 5 + n), 60.0 + 2.0 * n)
    assert server.doubts


def test_suspicions_start_anew_after_a_pause_and_are_bounded() -> None:
    suspicions = Suspicions(size_max=3)
    suspicions.note("w", "s", Standing.OLD, 0.0)
    assert suspicions.standing_for_s("w", "s", SUSPICION_GAP_S) == SUSPICION_GAP_S
    assert suspicions.standing_for_s("w", "s", SUSPICION_GAP_S + 0.1) == 0.0
    suspicions.note("w", "s", Standing.NEWS, 1.0)
    assert suspicions.standing_for_s("w", "s", 2.0) == 0.0
    for n in range(10):
        suspicions.note("w", f"s{n}", Standing.OLD, 0.0)
    assert len(suspicions._since) == 3
