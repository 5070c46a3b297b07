"""What `regente watch` tells and when it sounds, against a slow and obvious model."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.watching import LOST, SEVERITIES, UNWATCHED, Limits, Note, Watching, What, reasons_in_words, worst_first

LOST_S, REPEAT_S = 20.0, 15.0
LIMITS = Limits(LOST_S, REPEAT_S)


def alert(id: str, severity: str = "critical", **more: Any) -> dict[str, Any]:
    """An alert as the API gives it."""
    common = {"account": None, "text": f"{id} is wrong", "since": "2026-11-26T10:00:00Z", "acked": None}
    return {"id": id, "severity": severity, "silenced_until": None, **common, **more}


def seen(*alerts: dict[str, Any], silent_s: float | None = None, more: bool = False) -> dict[str, Any]:
    """An answer of the API."""
    return {"silent_s": silent_s, "alerts": list(alerts), "more": more}


def whats(notes: list[Note]) -> list[What]:
    """What the notes say."""
    return [note.what for note in notes]


def test_a_new_critical_alert_sounds_again_and_again_until_somebody_takes_it() -> None:
    watching = Watching(LIMITS, 0.0)
    assert whats(watching.heard(seen(), 1.0)) == []
    assert not watching.sounds(1.0)
    assert whats(watching.heard(seen(alert("a")), 2.0)) == [What.NEW]
    assert [watching.sounds(at) for at in (2.0, 3.0, 16.9, 17.0, 18.0)] == [True, False, False, True, False]
    taken = alert("a", acked={"by": "otto"})
    (note,) = watching.heard(seen(taken), 18.0)
    assert (note.what, note.alarming, "otto" in note.text) == (What.TAKEN, False, True)
    assert not watching.sounds(100.0)
    assert whats(watching.heard(seen(alert("a")), 101.0)) == [What.BACK]
    assert watching.sounds(101.0)
    assert whats(watching.heard(seen(), 102.0)) == [What.OVER]
    assert not watching.sounds(200.0)


def test_a_second_one_sounds_at_once() -> None:
    watching = Watching(LIMITS, 0.0)
    watching.heard(seen(alert("a")), 1.0)
    assert watching.sounds(1.0)
    watching.heard(seen(alert("a"), alert("b"), alert("c", "error")), 2.0)
    assert watching.sounds(2.0)
    assert not watching.sounds(2.1)


def test_once_is_once() -> None:
    watching = Watching(Limits(LOST_S, 0.0), 0.0)
    watching.heard(seen(alert("a")), 1.0)
    assert [watching.sounds(at) for at in (1.0, 1000.0)] == [True, False]


def test_a_server_that_never_answered_is_lost_too() -> None:
    watching = Watching(LIMITS, 100.0)
    watching.failed("connection refused")
    assert watching.tick(119.9) == []
    (note,) = watching.tick(120.0)
    assert (note.what, note.alarming, "connection refused" in note.text) == (What.LOST, True, True)
    assert watching.sounds(120.0)
    assert watching.tick(121.0) == []
    assert reasons_in_words(watching) == ["the server does not answer: connection refused"]
    assert whats(watching.heard(seen(), 122.0)) == [What.FOUND]
    assert not watching.sounds(200.0)


def test_that_alerts_is_gone_is_told_once_and_sounds() -> None:
    watching = Watching(LIMITS, 0.0)
    assert whats(watching.heard(seen(silent_s=16.0), 1.0)) == [What.UNWATCHED]
    assert watching.sounds(1.0)
    assert watching.heard(seen(silent_s=19.0), 2.0) == []
    assert whats(watching.heard(seen(), 3.0)) == [What.WATCHED]
    assert watching.reasons == set()


def test_what_a_cut_answer_leaves_out_is_not_over() -> None:
    watching = Watching(LIMITS, 0.0)
    watching.heard(seen(alert("a"), alert("b")), 1.0)
    assert watching.heard(seen(alert("b"), more=True), 2.0) == []
    assert watching.reasons == {"a", "b"}
    assert whats(watching.heard(seen(alert("b")), 3.0)) == [What.OVER]


def test_what_comes_from_outside_commands_no_terminal() -> None:
    watching = Watching(LIMITS, 0.0)
    (note,) = watching.heard(seen(alert("a", text="x\x1b]0;y\x07\nz")), 1.0)
    assert note.text.isprintable()


ALERTS = st.builds(
    alert,
    st.sampled_from("abcd"),
    st.sampled_from(SEVERITIES),
    acked=st.sampled_from([None, {"by": "otto"}]),
    silenced_until=st.sampled_from([None, "2027-01-01T00:00:00Z"]),
)
ANSWERS = st.builds(
    lambda alerts, silent_s: seen(*{one["id"]: one for one in alerts}.values(), silent_s=silent_s),
    st.lists(ALERTS, max_size=4),
    st.sampled_from([None, 30.0]),
)
STEPS = st.lists(st.tuples(st.floats(0.1, 12), st.none() | ANSWERS), max_size=60)


@given(STEPS)
def test_it_sounds_when_a_slow_model_says_so(steps: list[tuple[float, dict[str, Any] | None]]) -> None:
    """At each step some time passes, and the server answers or fails."""
    watching = Watching(LIMITS, 0.0)
    at_s, heard_s = 0.0, 0.0
    before: set[str] = set()
    known: dict[str, Any] = {}
    sounded_s: float | None = None
    told: dict[str, list[What]] = {LOST: [], UNWATCHED: []}
    for pause_s, answer in steps:
        at_s += pause_s
        if answer is None:
            watching.failed("refused")
            notes = watching.tick(at_s)
        else:
            notes = watching.heard(answer, at_s) + watching.tick(at_s)
            heard_s, known = at_s, answer
        told[LOST] += [one.what for one in notes if one.what in (What.LOST, What.FOUND)]
        told[UNWATCHED] += [one.what for one in notes if one.what in (What.UNWATCHED, What.WATCHED)]
        wrong = {
            one["id"]
            for one in known.get("alerts", [])
            if one["severity"] == "critical" and not one["acked"] and not one["silenced_until"]
        }
        wrong |= {LOST} if at_s - heard_s >= LOST_S else set()
        wrong |= {UNWATCHED} if known.get("silent_s") else set()
        due = bool(wrong - before) or bool(wrong and sounded_s is not None and at_s - sounded_s >= REPEAT_S)
        assert watching.reasons == wrong
        assert watching.sounds(at_s) == due
        assert len(reasons_in_words(watching)) == len(wrong)
        sounded_s = at_s if due else sounded_s
        before = wrong
    for first, second in ((What.LOST, What.FOUND), (What.UNWATCHED, What.WATCHED)):
        said = [one for one in told[LOST] + told[UNWATCHED] if one in (first, second)]
        assert said == [first if number % 2 == 0 else second for number in range(len(said))]


@given(st.lists(ALERTS, max_size=8))
def test_the_worst_come_first(alerts: list[dict[str, Any]]) -> None:
    ranks = [SEVERITIES.index(one["severity"]) for one in worst_first(alerts)]
    assert ranks == sorted(ranks, reverse=True)
