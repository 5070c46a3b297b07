"""The journal against a slow, obvious model: whatever is asked in whatever order, no act is done twice."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from regente_agent import journal as journals
from regente_agent.journal import Go, Journal, Refusal, Refuse, Repeat, Session
from regente_agent.wire import Instruction

RUNS = ("run_a", "run_b")
# Mostly what an executor sends: the run and epoch of the reservation, as it was; now and then something else.
ASKED_RUNS = st.sampled_from([""] * 6 + list(RUNS))
AHEAD = st.sampled_from([0] * 8 + [-1, 1, 1])
EFFECTS = st.sampled_from(["act", "act", "read"])
DIGESTS = st.sampled_from(["a"] * 5 + ["b"])


def instruction(run: str, seq: int, epoch: int, effect: str = "act") -> Instruction:
    name = "files.write" if effect == "act" else "files.read"
    return Instruction(run, seq, epoch, None, "task", name, {}, effect, False, 5.0, None, "executor-1")


class Model:
    """What the rules say, with everything remembered for ever in plain dictionaries."""

    def __init__(self) -> None:
        self.epoch, self.epoch_run = 0, ""
        self.acts: dict[tuple[str, int], tuple[str, str]] = {}
        """(run, seq) -> digest, outcome."""
        self.runs: dict[str, tuple[int, str]] = {}
        """run -> epoch, state."""
        self.highest: dict[str, int] = {}
        self.highest_read: dict[str, int] = {}
        """Reads but the first of a reservation: known until the robot is reserved again or the agent restarts."""

    def verdict(self, one: Instruction, digest: str) -> str:
        epoch, state = self.runs.get(one.run, (0, ""))
        if one.epoch < self.epoch or (one.epoch == self.epoch and one.run != self.epoch_run):
            return "STALE_EPOCH"
        if epoch == one.epoch and state == "ended":
            return "RUN_ENDED"
        if (one.run, one.seq) in self.acts:
            known, outcome = self.acts[one.run, one.seq]
            return "MALFORMED" if known != digest else f"repeat {outcome}"
        if epoch == one.epoch and state == "lost":
            return "SESSION_LOST"
        if one.effect == "act" and one.seq <= max(self.highest.get(one.run, 0), self.highest_read.get(one.run, 0)):
            return "UNKNOWN_SEQ"
        return "go"

    def begin(self, one: Instruction) -> None:
        if one.effect == "read" and self.runs.get(one.run, (0, ""))[0] == one.epoch:
            self.highest_read[one.run] = max(self.highest_read.get(one.run, 0), one.seq)
            return
        if one.epoch > self.epoch:
            self.raise_epoch(one.epoch, one.run)
        self.runs[one.run] = (one.epoch, "live")
        self.highest[one.run] = max(self.highest.get(one.run, 0), one.seq)

    def raise_epoch(self, epoch: int, run: str) -> None:
        self.epoch, self.epoch_run = epoch, run
        self.highest_read = {}
        self.lose_all()

    def lose_all(self) -> None:
        self.runs = {run: (epoch, "lost" if state == "live" else state) for run, (epoch, state) in self.runs.items()}

    def end(self, run: str, epoch: int) -> None:
        if self.runs.get(run, (0, ""))[0] > epoch:
            return
        self.runs[run] = (epoch, "ended")
        self.acts = {key: act for key, act in self.acts.items() if key[0] != run}
        if epoch > self.epoch:
            self.raise_epoch(epoch, run)


class JournalMachine(RuleBasedStateMachine):
    """Starts, crashes, repeats and changes of epoch in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.journal = self.open()
        self.model = Model()
        self.in_hand: Instruction | None = None
        self.done: list[tuple[str, int]] = []
        self.counter, self.epoch, self.id = 0, 0, self.journal.id

    def open(self) -> Journal:
        return Journal(Path(self.folder.name) / "journal.db")

    def teardown(self) -> None:
        self.journal.close()
        self.folder.cleanup()

    @precondition(lambda self: self.in_hand is None)
    @rule(run=ASKED_RUNS, seq=st.integers(1, 4), ahead=AHEAD, effect=EFFECTS, digest=DIGESTS)
    def ask(self, run: str, seq: int, ahead: int, effect: str, digest: str) -> None:
        run, epoch = run or self.model.epoch_run or RUNS[0], max(1, self.model.epoch + ahead)
        one = instruction(run, seq, epoch, effect)
        digest += effect
        expected = self.model.verdict(one, digest)
        verdict = self.journal.admit(one, digest)
        if isinstance(verdict, Go):
            assert expected == "go"
            assert verdict.fresh == (self.model.runs.get(run, (0, ""))[0] < epoch)
            self.model.begin(one)
            if effect == "act":
                assert (run, seq) not in self.done, "done twice"
                self.done.append((run, seq))
                self.model.acts[run, seq] = (digest, "in_doubt")
                self.in_hand = one
        elif isinstance(verdict, Repeat):
            assert f"repeat {verdict.reply['outcome']}" == expected
        else:
            assert verdict.code.value == expected

    @precondition(lambda self: self.in_hand is not None)
    @rule(outcome=st.sampled_from(["done", "error"]))
    def finish(self, outcome: str) -> None:
        assert self.in_hand is not None
        key = (self.in_hand.run, self.in_hand.seq)
        assert isinstance(self.journal.look_up(self.in_hand, self.model.acts[key][0]), Refuse), "it is in hand"
        self.journal.finish(*key, {"outcome": outcome})
        self.model.acts[key] = (self.model.acts[key][0], outcome)
        self.in_hand = None

    @precondition(lambda self: self.in_hand is None)
    @rule(run=st.sampled_from(RUNS))
    def driver_dies(self, run: str) -> None:
        self.journal.lose(run)
        epoch, state = self.model.runs.get(run, (0, ""))
        if state == "live":
            self.model.runs[run] = (epoch, "lost")

    @rule()
    def agent_dies(self) -> None:
        self.journal.close()
        self.journal = self.open()
        assert self.journal.recovered == (self.in_hand is not None)
        self.in_hand = None
        self.model.highest_read = {}
        self.model.lose_all()

    @precondition(lambda self: self.in_hand is None)
    @rule(run=ASKED_RUNS, ahead=AHEAD)
    def run_ends(self, run: str, ahead: int) -> None:
        run, epoch = run or self.model.epoch_run or RUNS[0], max(1, self.model.epoch + ahead)
        self.journal.end(run, epoch)
        self.model.end(run, epoch)

    @invariant()
    def never_goes_back(self) -> None:
        assert self.journal.counter >= self.counter
        assert self.journal.epoch == self.model.epoch >= self.epoch
        assert self.journal.id == self.id
        self.counter, self.epoch = self.journal.counter, self.journal.epoch
        for run, (_, state) in self.model.runs.items():
            assert self.journal.session(run) == Session(state)


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_a_journal_stays_bounded_and_what_it_dropped_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "ACTS_MAX", 50)
    monkeypatch.setattr(journals, "PRUNE_EVERY", 1)
    journal = Journal(tmp_path / "journal.db")
    for epoch, run in ((1, "old"), (2, "new")):
        for seq in range(1, 41):
            assert isinstance(journal.admit(instruction(run, seq, epoch), "a"), Go)
            journal.finish(run, seq, {"outcome": "done"})
    assert isinstance(journal.admit(instruction("new", 1, 2), "a"), Repeat), "the run in hand is kept longest"
    for seq in range(41, 81):
        assert isinstance(journal.admit(instruction("new", seq, 2), "a"), Go)
        journal.finish("new", seq, {"outcome": "done"})
    dropped = journal.admit(instruction("new", 1, 2), "a")
    assert isinstance(dropped, Refuse)
    assert dropped.code is Refusal.UNKNOWN_SEQ
    assert isinstance(journal.admit(instruction("new", 80, 2), "a"), Repeat)
    journal.close()
