"""A phase played again from its entries, without a robot: how a state is rebuilt when its snapshot can't be read.

Called by: runner.py. The script is fed what the journal says it was told: replies, times, the same seed. If it then
asks for another instruction than was stored, the script or the interpreter changed under the run, and the run ends
with a clear error; it never goes on by guessing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from services.executor.core.args import checked
from services.executor.core.calls import ClockCall, LogCall, RobotCall, SecretCall, SleepCall, read_call
from services.executor.core.journal import Kind
from services.executor.core.reply import Raise, Resume, follow
from services.executor.interpreter import Session, Stopped, Turn, clock_answer
from shared.contracts.catalogue import BadCall
from shared.contracts.messages import JournalPosition, ReplyError, ReplyOutcome, WorkerReply
from shared.script.modules import secret_handle


class ReplayDiverged(Exception):
    """The script asks for something else than the journal says it asked for."""


async def replay(session: Session, turn: Turn, entries: Sequence[Mapping[str, Any]], instruction_s: float) -> Turn:
    """Drive a phase that has just begun through its stored entries.

    Returns: the stop at the last stored instruction if its reply is not stored, else where the script stands after
    the last reply. Raises: ReplayDiverged."""
    asked = [entry for entry in entries if entry["kind"] == Kind.INSTRUCTION]
    replies = {entry["reply"]["seq"]: entry["reply"] for entry in entries if entry.get("reply")}
    answers = iter([at for entry in entries for at in entry.get("answers", [])])
    for entry in asked:
        turn = await _to_robot_call(session, turn, answers, instruction_s)
        _same(turn, entry, instruction_s)
        reply = replies.get(entry["seq"])
        if reply is None:
            return turn
        turn = await _feed(session, reply)
    return turn


async def _to_robot_call(session: Session, turn: Turn, answers: Iterator[datetime], instruction_s: float) -> Turn:
    """Answer the server's own calls as they were answered, up to the next instruction."""
    while isinstance(turn, Stopped):
        try:
            call = read_call(turn.function, turn.args, turn.kwargs, is_os=turn.is_os, instruction_s=instruction_s)
        except BadCall as error:
            turn = await session.throw(ValueError(f"BAD_ARGUMENT: {error}"))
            continue
        if isinstance(call, RobotCall):
            return turn
        if isinstance(call, ClockCall):
            at = next(answers, None)
            if at is None:
                raise ReplayDiverged(f"line {turn.line}: it asks for the time once more than it did")
            turn = await session.resume(clock_answer(call.function, at.replace(tzinfo=UTC)))
        elif isinstance(call, SecretCall):
            turn = await session.resume(secret_handle(call.name))
        elif isinstance(call, LogCall | SleepCall):
            turn = await session.resume(None)
        else:
            return turn
    return turn


def _same(turn: Turn, entry: Mapping[str, Any], instruction_s: float) -> None:
    stored = entry["instruction"]
    if not isinstance(turn, Stopped):
        raise ReplayDiverged(
            f"entry {entry['seq']}: it asked for {stored['name']} (line {stored.get('line')}), now it ends"
        )
    call = read_call(turn.function, turn.args, turn.kwargs, is_os=turn.is_os, instruction_s=instruction_s)
    if not isinstance(call, RobotCall):
        raise ReplayDiverged(f"entry {entry['seq']}: it asked for {stored['name']}, now for {turn.function}")
    now_asked = {"name": call.instruction.name, "args": checked(call.args), "commit": call.commit}
    then_asked = {key: stored[key] for key in now_asked}
    if json.dumps(now_asked, sort_keys=True) != json.dumps(then_asked, sort_keys=True):
        raise ReplayDiverged(f"entry {entry['seq']}: it asked for {then_asked}, now for {now_asked}")


async def _feed(session: Session, stored: Mapping[str, Any]) -> Turn:
    """Tell the script what it was told then."""
    if stored.get("local"):
        return await session.throw(LookupError(f"{stored['error']['code']}: {stored['error']['message']}"))
    following = follow(_reply(stored))
    if isinstance(following, Resume):
        return await session.resume(following.value)
    if isinstance(following, Raise):
        return await session.throw(following.exception)
    raise ReplayDiverged(f"entry {stored['seq']} ended the phase; nothing follows it")


def _reply(stored: Mapping[str, Any]) -> WorkerReply:
    """A stored reply as the message it was, as far as consequences depend on it."""
    error = stored.get("error")
    return WorkerReply(
        worker="", session="", journal=JournalPosition(id="", counter=0), run="", seq=stored["seq"], epoch=1,
        outcome=ReplyOutcome(stored["outcome"]), value=stored.get("value"),
        value_too_large=bool(stored.get("value_too_large")), error=ReplyError(**error) if error else None,
        desktop=stored.get("desktop", "kept"),
    )  # fmt: skip
