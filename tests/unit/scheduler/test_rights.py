"""What the broker must hold follows from the robots, however it was wiped or meddled with."""

from __future__ import annotations

import base64
import hashlib
import os

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.rights import Found, Plan, password_matches, plan

IDS = [f"00155d0102{n:02x}" for n in range(6)]


def _hash(password: str) -> str:
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _queues(worker: str) -> list[str]:
    return [f"worker.{worker}.instructions", f"worker.{worker}.control"]


QUEUES = {worker: _queues(worker) for worker in IDS}
OURS = {"regente": _hash("admin"), "guest": ""}


def _apply(todo: Plan, found: Found, passwords: dict[str, str]) -> Found:
    """What the broker holds once the plan was carried out."""
    users = {name: hash_ for name, hash_ in found.users.items() if name not in {f"worker.{w}" for w in todo.revoke}}
    users |= {f"worker.{worker}": _hash(passwords[worker]) for worker in todo.grant}
    here = (found.here | {f"worker.{w}" for w in todo.grant}) & set(users)
    queues = {queue for queue in found.queues if queue.split(".")[1] not in todo.drop} | {
        queue for w in todo.declare for queue in _queues(w)
    }
    return Found(
        users, frozenset(here), (found.permitted | {f"worker.{w}" for w in todo.grant}) & here, frozenset(queues)
    )


@given(
    authorised=st.sets(st.sampled_from(IDS)),
    users=st.dictionaries(st.sampled_from(IDS), st.sampled_from(["right", "wrong"])),
    permitted=st.sets(st.sampled_from(IDS)),
    queues=st.sets(st.sampled_from([queue for worker in IDS for queue in _queues(worker)])),
)
def test_one_pass_puts_everything_right(
    authorised: set[str], users: dict[str, str], permitted: set[str], queues: set[str]
) -> None:
    passwords = {worker: f"secret of {worker}" for worker in authorised}
    names = {f"worker.{worker}" for worker in users}
    held = {f"worker.{w}": _hash(f"secret of {w}" if kind == "right" else "old") for w, kind in users.items()}
    found = Found(
        users=OURS | held, here=frozenset(names), permitted=frozenset(f"worker.{w}" for w in permitted) & names,
        queues=frozenset({*queues, "scheduler.handoffs"}),
    )  # fmt: skip
    after = _apply(plan(passwords, found, QUEUES), found, passwords)
    assert plan(passwords, after, QUEUES).empty
    assert {name for name in after.users if name.startswith("worker.")} == {f"worker.{w}" for w in authorised}
    assert after.users["regente"] == OURS["regente"]
    assert "scheduler.handoffs" in after.queues
    assert {q for q in after.queues if q.startswith("worker.")} == {q for w in authorised for q in _queues(w)}


def test_a_broker_that_is_right_is_left_alone() -> None:
    worker = IDS[0]
    found = Found(
        {f"worker.{worker}": _hash("s")}, frozenset({f"worker.{worker}"}), frozenset({f"worker.{worker}"}),
        frozenset(_queues(worker)),
    )  # fmt: skip
    assert plan({worker: "s"}, found, QUEUES).empty


def test_a_new_grant_gives_a_new_password() -> None:
    worker = IDS[0]
    names = frozenset({f"worker.{worker}"})
    found = Found({f"worker.{worker}": _hash("grant 1")}, names, names, frozenset(_queues(worker)))
    assert plan({worker: "grant 2"}, found, QUEUES).grant == (worker,)


def test_robots_of_another_virtual_host_are_nobodys_business_here() -> None:
    found = Found({f"worker.{IDS[0]}": _hash("s")}, frozenset(), frozenset(), frozenset())
    assert plan({}, found, QUEUES).empty


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_passwords_match_their_own_hash_only(password: str, other: str) -> None:
    assert password_matches(password, _hash(password))
    assert password_matches(other, _hash(password)) == (other == password)


def test_what_is_no_hash_matches_nothing() -> None:
    for stored in ("", "=", "not base64 at all", base64.b64encode(b"abc").decode()):
        assert not password_matches("", stored)
        assert not password_matches("x", stored)
