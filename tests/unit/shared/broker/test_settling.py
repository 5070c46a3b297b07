"""What becomes of a message, as a pure rule; and pika's errors in few words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.exceptions import AMQPConnectionError, ConnectionClosedByBroker, ProbableAuthenticationError

from shared.broker.delivery import Delivery
from shared.broker.link import LoginRefused, _open_error, place, reason_of
from shared.broker.settling import REQUEUE_DELAY_S_MAX, Action, dead_headers, dead_key, verdict_of
from shared.contracts.envelope import MalformedMessage
from shared.contracts.topology import Queue
from shared.errors import ErrorCode, PermanentError, TemporaryError

CLASSIC = Queue("c", reader="t", dead="c.dead")
QUORUM = Queue("q", reader="t", dead="q.dead", arguments={"x-queue-type": "quorum"})


def delivery(redelivered: bool = False, count: int = 0) -> Delivery:
    return Delivery(b"{}", "e", "k", "q", redelivered, None, {"a": 1}, count)


@pytest.mark.parametrize(
    ("error", "queue", "redelivered", "action"),
    [
        (MalformedMessage("no json"), QUORUM, False, Action.DEAD),
        (PermanentError(ErrorCode.FINAL, "ended"), CLASSIC, False, Action.DEAD),
        (TemporaryError("away"), CLASSIC, True, Action.REQUEUE),
        (RuntimeError("bug"), CLASSIC, False, Action.REQUEUE),
        (RuntimeError("bug"), CLASSIC, True, Action.DEAD),
        (RuntimeError("bug"), QUORUM, True, Action.REQUEUE),
    ],
)
def test_verdicts(error: Exception, queue: Queue, redelivered: bool, action: Action) -> None:
    assert verdict_of(error, queue, delivery(redelivered)).action is action


@given(st.none() | st.floats(allow_nan=False), st.integers(0, 1000))
def test_delay_has_its_limit_and_grows(wished: float | None, count: int) -> None:
    verdict = verdict_of(TemporaryError("away", wished), QUORUM, delivery(True, count))
    assert 0 <= verdict.delay_s <= REQUEUE_DELAY_S_MAX
    if wished is None:
        earlier = verdict_of(TemporaryError("away"), QUORUM, delivery(True, max(0, count - 1)))
        assert earlier.delay_s <= verdict.delay_s


def test_dead_letters_say_where_and_why() -> None:
    assert dead_key(CLASSIC) == "c"
    assert dead_key(Queue("x", reader="t")) is None
    assert dead_headers(delivery(), "why") == {"a": 1, "regente-reason": "why", "regente-queue": "q"}
    assert len(verdict_of(RuntimeError("x" * 9999), CLASSIC, delivery(True)).reason) < 600


def test_addresses_in_log_lines_hold_no_password() -> None:
    assert place("amqp://user:secret@host:1234/vhost") == "host:1234"
    assert place("amqp://user:secret@host/vhost") == "host:5672"


def test_errors_of_opening_say_what_to_do() -> None:
    refused = _open_error(ProbableAuthenticationError("403"), "amqp://anna:secret@host/v")
    assert isinstance(refused, LoginRefused)
    assert "'anna'" in str(refused)
    assert "secret" not in str(refused)
    away = _open_error(AMQPConnectionError(OSError(111, "Connection refused")), "amqp://host")
    assert not isinstance(away, LoginRefused)
    assert "host:5672 can't be reached" in str(away)
    assert reason_of(ConnectionClosedByBroker(320, "CONNECTION_FORCED")) == "320 CONNECTION_FORCED"
