"""A phase played again from its entries, without performing anything: how a state is rebuilt when its snapshot can't be
read.

Called by: scripts.py; trial.py uses `next_call`, to try a new version against a run that was. The script is fed what
the journal says it was told: replies, times, the same seed. If it then asks for another instruction than was stored,
the script or the interpreter changed under the run, and the run ends with a clear error; it never goes on by guessing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.executor.core.args import checked
from services.executor.core.calls import (
    Call,
    ClockCall,
    CodeCall,
    LogCall,
    NotedCall,
    SecretCall,
    WaitCall,
    noted_call,
    read_call,
)
from services.executor.core.journal import Kind
from services.executor.core.reply import Raise, Resume, follow, stored_answer
from services.executor.core.waits import NOTED_FROM_S
from services.executor.interpreter import Session, Stopped, Turn, clock_answer
from shared.contracts.catalogue import BadCall
from shared.script.modules import secret_handle, totp_handle


class ReplayDiverged(Exception):
    """The script asks for something else than the journal says it asked for."""


async def replay(session: Session, turn: Turn, entries: Sequence[Mapping[str, Any]], instruction_s: float) -> Turn:
    """Drive a phase that has just begun through its stored entries.

    entries: of this phase, in order, from its beginning. instruction_s: the version's least time for an instruction.
    Returns: the stop at the last stored instruction if its reply is not stored, else where the script stands after
    the last reply. Raises: ReplayDiverged.
    """
    asked = [entry for entry in entries if entry["kind"] == Kind.INSTRUCTION]
    replies = {entry["reply"]["seq"]: entry["reply"] for entry in entries if entry.get("reply")}
    clock = _stored_clock(iter([at for entry in entries for at in entry.get("answers", [])]))
    for entry in asked:
        turn, call = await next_call(session, turn, clock, instruction_s, str(entry["phase"]))
        _same(turn, call, entry)
        reply = replies.get(entry["seq"])
        if reply is None:
            return turn
        turn = await _feed(session, reply)
    return turn


async def next_call(
    session: Session, turn: Turn, clock: Callable[[int | None], datetime], instruction_s: float, phase: str
) -> tuple[Turn, NotedCall | Call | None]:
    """Answer what is answered at once, up to what comes next: a call that is an entry (its arguments as they are
    stored), a call that ends the phase, or none when the script has ended.

    clock: what the script is told when it asks for the time, by the line that asks.
    """
    while isinstance(turn, Stopped):
        try:
            call = read_call(turn.function, turn.args, turn.kwargs, is_os=turn.is_os, instruction_s=instruction_s)
            noted = noted_call(call, phase=phase, noted_from_s=NOTED_FROM_S)
            if noted is not None:
                return turn, replace(noted, args=checked(noted.args, noted.size_bytes_max))
        except BadCall as error:
            turn = await session.throw(ValueError(f"BAD_ARGUMENT: {error}"))
            continue
        if isinstance(call, ClockCall):
            turn = await session.resume(clock_answer(call.function, clock(turn.line)))
        elif isinstance(call, SecretCall):
            turn = await session.resume(secret_handle(call.name))
        elif isinstance(call, CodeCall):
            turn = await session.resume(totp_handle(call.name))
        elif isinstance(call, LogCall | WaitCall):
            turn = await session.resume(None)
        else:
            return turn, call
    return turn, None


def _stored_clock(answers: Iterator[datetime]) -> Callable[[int | None], datetime]:
    """Tells the times that were told, one after another; raises ReplayDiverged when there is none left."""

    def tell(line: int | None) -> datetime:
        at = next(answers, None)
        if at is None:
            raise ReplayDiverged(f"line {line}: it asks for the time once more than it did")
        return at.replace(tzinfo=UTC)

    return tell


def _same(turn: Turn, call: NotedCall | Call | None, entry: Mapping[str, Any]) -> None:
    """Whether the script asks for what was stored.

    Raises: ReplayDiverged.
    """
    stored = entry["instruction"]
    then = f"entry {entry['seq']}: it asked for {stored['name']} (line {stored.get('line')})"
    if not isinstance(turn, Stopped):
        raise ReplayDiverged(f"{then}, now it ends")
    if not isinstance(call, NotedCall):
        raise ReplayDiverged(f"{then}, now for {turn.function} (line {turn.line})")
    now_asked = {"name": call.name, "args": call.args, "commit": call.commit}
    then_asked = {key: stored[key] for key in now_asked}
    if json.dumps(now_asked, sort_keys=True) != json.dumps(then_asked, sort_keys=True):
        raise ReplayDiverged(f"{then} with {then_asked}, now for {now_asked} (line {turn.line})")


async def _feed(session: Session, stored: Mapping[str, Any]) -> Turn:
    """Tell the script what it was told then."""
    following = follow(stored_answer(stored))
    if isinstance(following, Resume):
        return await session.resume(following.value)
    if isinstance(following, Raise):
        return await session.throw(following.exception)
    raise ReplayDiverged(f"entry {stored['seq']} ended the phase; nothing follows it")
