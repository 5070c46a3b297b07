"""The robot's decisions: what to do with each instruction, when to give one up, what to answer.

Owns: the engine thread, the journal, the driver process and the instruction in hand. Called by: supervisor; the link
posts deliveries, the driver's reader threads post frames, and everything is decided here, one event at a time. Survives
a crash: what the journal holds, see there. Change also: README.md's table of outcomes.

An instruction is acknowledged only after its reply was published. Nothing depends on it: a lost one is sent again by
the executor, a doubled one is answered from the journal. It makes the broker bring what was open as soon as the agent
is back. The exception are instructions that may take so long that the broker would close the channel of who holds a
message.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from regente_agent import catalogue, processes, reply, sealed, wire
from regente_agent.amqp import Delivery
from regente_agent.courier import Courier
from regente_agent.driver_process import DriverProcess
from regente_agent.folders import Folders
from regente_agent.hand import InHand
from regente_agent.journal import Go, Journal, Refusal, Refuse, Repeat, Session
from regente_agent.logbook import Logbook
from regente_agent.scrub import Scrubber
from regente_agent.settings import Settings
from regente_agent.wire import Instruction

STOP_GRACE_S = 4.0
HELD_S_MAX = 600.0
RESPAWN_S = 5.0
LOOK_S = 10.0
WAITERS_MAX = 16
SIGHT_S = {"TIMEOUT": 5.0, "ABORTED": 1.2}
"""How long a driver that is about to be killed may take to tell what it sees: a person who aborts waits for it."""

Event = Tuple[str, Any]


class Engine(threading.Thread):
    """The thread that decides. `post` is its only door."""

    def __init__(
        self,
        *,
        settings: Settings,
        worker: str,
        session: str,
        key: bytes,
        journal: Journal,
        log: Logbook,
        send: Callable[[str, bytes], None],
        settle: Callable[[Delivery, bool], None],
        seal_key: Callable[[], Optional[str]],
    ) -> None:
        """`send(executor, bytes)` publishes a reply, `settle(delivery, taken)` acknowledges or rejects a message.

        `seal_key` gives the key of the last enrolment.
        """
        super().__init__(name="engine", daemon=True)
        self._settings, self._worker, self._session, self._key = settings, worker, session, key
        self._journal, self._log, self._send, self._settle = journal, log, send, settle
        self._seal_key = seal_key
        self._events: "queue.Queue[Event]" = queue.Queue()
        self._courier = Courier(log.write)
        self._folders = Folders(settings.home)
        self._scrubber = Scrubber()
        self._hand: Optional[InHand] = None
        self._driver: Optional[DriverProcess] = None
        self._respawn_at = 0.0
        self._collect_at = 0.0
        self._jobs = 0
        self._recent: Deque[Dict[str, Any]] = deque(maxlen=reply.RECENT_MAX)
        self._leaving = False
        self._journal_run: Optional[str] = None
        self._handlers: Dict[str, Callable[[Any], None]] = {
            "instruction": self._on_instruction,
            "control": self._on_control,
            "frame": self._on_frame,
            "gone": self._on_gone,
            "line": self._on_line,
            "stop": self._on_stop,
        }
        self.drivers: List[str] = []
        """What the driver can do; filled by its first frame, then `greeted` is set."""
        self.greeted = threading.Event()
        self.failure: Optional[BaseException] = None
        """Why the thread ended, if it should not have."""

    # any thread

    def post(self, kind: str, what: Any = None) -> None:
        """Hand an event over: instruction, control, frame, gone, line or stop."""
        self._events.put((kind, what))

    def status(self) -> Dict[str, Any]:
        """What a heartbeat says about the work in hand."""
        hand, driver = self._hand, self._driver
        state = "absent" if driver is None else "busy" if hand else "ready" if driver.ready else "starting"
        return {
            "driver": state,
            "run": hand.instruction.run if hand else self._journal_run,
            "seq": hand.instruction.seq if hand else None,
            "epoch": self._journal.epoch,
            "busy_s": round(time.monotonic() - hand.began, 3) if hand else 0.0,
        }

    # the engine's thread

    def run(self) -> None:
        """Decide until told to stop. An error that nobody expected ends the agent: the journal makes that safe."""
        try:
            self._folders.clean_up(self._journal.known_runs())
            self._spawn()
            while not (self._leaving and self._hand is None):
                self._step()
        except BaseException as error:
            self.failure = error
        finally:
            self._kill_driver()

    def _step(self) -> None:
        try:
            kind, what = self._events.get(timeout=self._next_look_s())
        except queue.Empty:
            self._on_time()
            return
        self._handlers[kind](what)
        self._on_time()

    def _next_look_s(self) -> float:
        if self._hand is not None:
            return max(0.0, min(self._hand.due - time.monotonic(), LOOK_S))
        return LOOK_S if self._driver is not None else max(0.05, self._respawn_at - time.monotonic())

    def _on_time(self) -> None:
        now = time.monotonic()
        hand = self._hand
        if hand is not None and now >= hand.deadline:
            took = now - hand.began
            if hand.cutting is not None:
                self._cut(*hand.cutting)
            elif hand.stopping:
                self._cut("ABORTED", "the agent was stopped")
            else:
                text = f"{hand.instruction.name} was given up after {took:.1f} s: the driver was killed"
                self._give_up("TIMEOUT", text)
        elif hand is not None and now >= hand.due:
            self._hand_over(hand)
        if self._driver is None and not self._leaving and now >= self._respawn_at:
            self._spawn()
        if now >= self._collect_at:
            self._collect_at = now + LOOK_S
            processes.collect_orphans(self._pids())

    # instructions

    def _on_instruction(self, delivery: Delivery) -> None:
        if self._leaving:
            return  # not acknowledged: it comes again after the start
        try:
            instruction = wire.parse_instruction(delivery.body, self._worker)
        except wire.Malformed as error:
            self._on_malformed(delivery, error)
            return
        try:
            instruction = sealed.opened(instruction, self._worker, self._seal_key())
        except sealed.Unopened as error:
            self._on_unopened(instruction, delivery, error)
            return
        digest = instruction.digest(self._key)
        if self._hand is not None and self._beside(instruction, digest, delivery):
            return
        verdict = self._journal.look_up(instruction, digest)
        if verdict is None:
            wrong = catalogue.complaint(instruction.name, instruction.args, instruction.effect)
            if wrong is not None:
                self._answer(instruction, delivery, reply.failure("error", "BAD_ARGUMENT", wrong))
                return
            verdict = self._journal.admit(instruction, digest)
        if isinstance(verdict, Refuse):
            self._refuse(instruction, delivery, verdict)
        elif isinstance(verdict, Repeat):
            self._answer(instruction, delivery, verdict.reply, repeated=True)
        else:
            self._begin(instruction, delivery, verdict)

    def _on_unopened(self, instruction: Instruction, delivery: Delivery, error: sealed.Unopened) -> None:
        """Arguments that can't be opened: SEALED says that it was not done, so what is known of it comes first."""
        verdict = self._journal.look_up_unopened(instruction)
        if isinstance(verdict, Repeat):
            self._answer(instruction, delivery, verdict.reply, repeated=True)
        else:
            self._refuse(instruction, delivery, verdict or Refuse(Refusal.SEALED, str(error)))

    def _beside(self, instruction: Instruction, digest: str, delivery: Delivery) -> bool:
        """An instruction while another is in hand; False when it may now be looked at as usual."""
        hand = self._hand
        assert hand is not None
        mine = hand.instruction
        if (instruction.run, instruction.seq, instruction.epoch) == (mine.run, mine.seq, mine.epoch):
            if digest != mine.digest(self._key):
                self._refuse(
                    instruction, delivery, Refuse(Refusal.MALFORMED, "another instruction is in hand under this seq")
                )
            elif len(hand.waiters) < WAITERS_MAX:
                hand.waiters.append((instruction, delivery))
            else:
                self._settle(delivery, True)
            return True
        verdict = self._journal.look_up(instruction, digest)
        if isinstance(verdict, Repeat) or (isinstance(verdict, Refuse) and verdict.code is not Refusal.BUSY):
            return False
        if instruction.epoch > mine.epoch:
            self._cut("ABORTED", f"the robot was reserved again (epoch {instruction.epoch})")
            return False
        self._refuse(instruction, delivery, Refuse(Refusal.BUSY, f"seq {mine.seq} of run {mine.run} is in hand"))
        return True

    def _begin(self, instruction: Instruction, delivery: Delivery, verdict: Go) -> None:
        if verdict.fresh:
            self._fresh_desktop(instruction)
        self._scrubber.remember(instruction.args)
        now = time.monotonic()
        hand = self._hand = InHand.of(instruction, delivery, now)
        if instruction.timeout_s > HELD_S_MAX:
            self._settle(delivery, True)
        if self._driver is None:
            self._spawn()
        if instruction.effect == "act":
            self._folders.forget_evidence(instruction.run, below=instruction.seq)
        if now >= hand.due:
            self._hand_over(hand)

    def _hand_over(self, hand: InHand) -> None:
        driver, one = self._driver, hand.instruction
        hand.begun = True
        if driver is None:
            self._finish(reply.failure("error", "DRIVER_FAILED", "the driver process could not be started", lost=True))
            return
        self._jobs += 1
        driver.used = True
        driver.send(
            {
                "id": self._jobs,
                "name": one.name,
                "args": one.args,
                "effect": one.effect,
                "commit": one.commit,
                "timeout_s": one.timeout_s - hand.pause_s,
                "find_s": one.find_s,
                "folder": str(self._folders.run(one.run)),
                "evidence_folder": str(self._folders.evidence(one.run, one.seq)),
            }
        )

    def _finish(self, outcome: Dict[str, Any]) -> None:
        """The instruction in hand has an outcome: write it down, then tell everybody who asked."""
        hand = self._hand
        assert hand is not None
        one = hand.instruction
        outcome = dict(outcome, duration_s=round(time.monotonic() - hand.began, 4))
        self._recent.append(reply.recent_entry(one, outcome))
        if outcome["outcome"] != "done":
            outcome["recent"] = list(self._recent)
        outcome = reply.limited(outcome)
        if one.effect == "act":
            self._journal.finish(one.run, one.seq, outcome)
        if outcome.get("desktop") == "lost":
            self._journal.lose(one.run)
        self._hand = None
        level, text, facts = reply.log_line(one, outcome)
        self._log.write(level, text, **facts)
        answered = set()
        for asked, delivery in reversed(hand.waiters):
            if asked.reply_to not in answered:
                answered.add(asked.reply_to)
                self._answer(asked, delivery, outcome)
            elif delivery is not None:
                self._settle(delivery, True)

    def _give_up(self, code: str, text: str) -> None:
        """Have the driver tell what it sees, for at most SIGHT_S, then cut."""
        hand, driver = self._hand, self._driver
        assert hand is not None
        if driver is None or not driver.ready or not hand.begun:
            self._cut(code, text)
        elif hand.cutting is None:
            hand.cutting = (code, text)
            hand.deadline = time.monotonic() + SIGHT_S[code]
            driver.send({"look": self._jobs, "wait_s": SIGHT_S[code]})

    def _cut(self, code: str, text: str) -> None:
        """Give up what is in hand: kill the driver first, so that nothing happens after the answer."""
        hand = self._hand
        assert hand is not None
        self._kill_driver()
        self._respawn_at = 0.0
        outcome = "in_doubt" if hand.may_have_acted else "error"
        self._finish({**reply.failure(outcome, code, text, lost=True), **reply.sight(hand.seen, self._scrubber)})

    # answers

    def _refuse(self, instruction: Instruction, delivery: Delivery, verdict: Refuse) -> None:
        facts = {"run": instruction.run, "task": instruction.task, "seq": instruction.seq, "code": verdict.code.value}
        self._log.write("warning", f"{instruction.name} refused: {verdict.text}", **facts)
        self._answer(instruction, delivery, reply.failure("refused", verdict.code.value, verdict.text))

    def _answer(
        self, instruction: Instruction, delivery: Optional[Delivery], outcome: Dict[str, Any], *, repeated: bool = False
    ) -> None:
        """Publish the reply, at once or after its large evidence was carried over, then acknowledge the message."""
        lost = self._journal.session(instruction.run) is Session.LOST
        body = reply.body(
            outcome, instruction.run, instruction.seq, instruction.epoch, self._origin(), repeated=repeated, lost=lost
        )
        folder = self._folders.evidence(instruction.run, instruction.seq)
        body["evidence"], to_carry = reply.attach(outcome.get("evidence", []), folder)

        def publish(ready: Dict[str, Any]) -> None:
            self._send(instruction.reply_to, wire.encode(wire.REPLY, ready, self._worker))
            if delivery is not None:
                self._settle(delivery, True)

        if to_carry:
            self._courier.carry(body, to_carry, instruction.blobs, publish)
        else:
            publish(body)

    def _on_malformed(self, delivery: Delivery, error: wire.Malformed) -> None:
        known = error.known
        self._log.write("warning", f"a message that can't be read: {error}", run=known.get("run"), seq=known.get("seq"))
        if {"run", "seq", "epoch", "reply_to"} <= set(known):
            refusal = reply.failure("refused", Refusal.MALFORMED.value, str(error))
            body = reply.body(
                refusal, known["run"], known["seq"], known["epoch"], self._origin(), repeated=False, lost=False
            )
            self._send(known["reply_to"], wire.encode(wire.REPLY, body, self._worker))
        self._settle(delivery, False)

    def _origin(self) -> Dict[str, Any]:
        position = {"id": self._journal.id, "counter": self._journal.counter}
        return {"worker": self._worker, "session": self._session, "journal": position}

    # control

    def _on_control(self, delivery: Delivery) -> None:
        try:
            message = wire.parse_control(delivery.body, self._worker)
        except wire.Malformed as error:
            self._log.write("warning", f"a control message that can't be read: {error}")
            self._settle(delivery, False)
            return
        if isinstance(message, wire.Abort):
            self._on_abort(message)
        else:
            self._on_run_ended(message)
        self._settle(delivery, True)

    def _on_abort(self, message: wire.Abort) -> None:
        if message.epoch != self._journal.epoch or message.run != self._journal.live_run():
            self._log.write("info", "an abort for a run that is not on this desktop was ignored", run=message.run)
            return
        text = self._scrubber.clean(message.reason) or "aborted"
        self._log.write("warning", f"abort: {text}", run=message.run)
        if self._hand is not None:
            self._give_up("ABORTED", f"aborted: {text}")
        else:
            self._kill_driver()
            self._journal.lose(message.run)

    def _on_run_ended(self, message: wire.RunEnded) -> None:
        if self._hand is not None and self._hand.instruction.run == message.run:
            if message.epoch < self._hand.instruction.epoch:
                return
            self._cut("ABORTED", "the run was ended by the server")
        was_live = self._journal.live_run() == message.run
        if not self._journal.end(message.run, message.epoch):
            return
        if was_live:
            self._kill_driver()
        self._log.write("info", "the run has ended", run=message.run)
        self._remove(message.run)

    # the driver

    def _fresh_desktop(self, instruction: Instruction) -> None:
        """A reservation begins: nothing of an earlier one may be seen or reached."""
        if self._driver is not None and self._driver.used:
            self._kill_driver()
        self._scrubber.forget()
        self._recent.clear()
        self._remove(instruction.run)
        self._journal_run = instruction.run
        self._log.write("info", "a run begins on this robot", run=instruction.run, epoch=instruction.epoch)

    def _spawn(self) -> None:
        try:
            self._driver = DriverProcess(
                self._settings,
                on_frame=lambda driver, frame: self.post("frame", (driver, frame)),
                on_gone=lambda driver: self.post("gone", driver),
                on_line=lambda text: self.post("line", text),
            )
        except OSError as error:
            self._respawn_at = time.monotonic() + RESPAWN_S
            self._log.write("error", f"the driver process can't be started: {error}")
            self.greeted.set()

    def _kill_driver(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.kill()

    def _pids(self) -> List[int]:
        return [self._driver.pid] if self._driver is not None else []

    def _on_frame(self, what: Tuple[DriverProcess, Dict[str, Any]]) -> None:
        driver, frame = what
        if driver is not self._driver:
            return  # of a driver that was killed: its outcome is settled
        if "log" in frame:
            self._driver_says(str(frame.get("level", "info")), str(frame["log"]))
        elif "hello" in frame:
            driver.ready = True
            self.drivers = [str(name) for name in frame.get("drivers", [])]
            self.greeted.set()
        elif self._hand is not None and frame.get("seen") == self._jobs and self._hand.cutting is not None:
            self._hand.seen = frame
            self._cut(*self._hand.cutting)
        elif self._hand is not None and frame.get("id") == self._jobs and self._hand.cutting is None:
            self._on_done(frame)

    def _on_done(self, frame: Dict[str, Any]) -> None:
        lost = bool(frame.get("lost"))
        outcome: Dict[str, Any] = {
            "outcome": frame["outcome"],
            "value": frame.get("value"),
            "desktop": "lost" if lost else "kept",
            **reply.sight(frame, self._scrubber),
            "found_s": frame.get("found_s"),
        }
        error = frame.get("error")
        if error:
            text = self._scrubber.clean(str(error["message"]))[: reply.MESSAGE_MAX]
            outcome["error"] = {"code": error["code"], "message": text}
        if lost:
            self._kill_driver()
        self._finish(outcome)

    def _on_gone(self, driver: DriverProcess) -> None:
        if driver is not self._driver:
            return
        never_ready = not driver.ready
        self._kill_driver()
        self._respawn_at = time.monotonic() + (RESPAWN_S if never_ready else 0.0)
        self.greeted.set()
        if self._hand is not None and self._hand.cutting is not None:
            self._cut(*self._hand.cutting)
        elif self._hand is not None:
            text = "the driver process died while it was in hand"
            outcome = "in_doubt" if self._hand.may_have_acted else "error"
            self._finish(reply.failure(outcome, "DRIVER_FAILED", text, lost=True))
        elif driver.used:
            run = self._journal.live_run()
            self._log.write("error", "the driver process died between instructions: the desktop is gone", run=run)
            if run is not None:
                self._journal.lose(run)
        else:
            self._log.write("error", "the driver process died before it was needed")

    def _on_line(self, text: str) -> None:
        self._driver_says("info", text)

    def _driver_says(self, level: str, text: str) -> None:
        hand = self._hand
        facts = (
            {"run": hand.instruction.run, "task": hand.instruction.task, "seq": hand.instruction.seq} if hand else {}
        )
        self._log.write(level, self._scrubber.clean(text), source="driver", **facts)

    # the end

    def _on_stop(self, what: Any) -> None:
        self._leaving = True
        if self._hand is not None:
            self._hand.stopping = True
            self._hand.deadline = min(self._hand.deadline, time.monotonic() + STOP_GRACE_S)

    def _remove(self, run: str) -> None:
        if self._journal_run == run:
            self._journal_run = None
        self._folders.remove(run)
