"""What a new version of a script would have done otherwise in a run that was: the comparison, entry by entry.

Called by: services/executor/trial.py, which plays the script in the interpreter and asks here what it is told and
whether it still does the same. Pure. The rule: up to the first difference the script is told what it was told then;
behind it nobody knows what the robot would have answered, so nothing is compared any more. It never guesses.

What counts is what leaves the script: instructions with their arguments (and `commit`), questions and waits in their
order, and how the phase ends. Log lines, how often it asks for the time, and lines of the script don't count."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.executor.core.plays import Asked, Ended, Play
from services.executor.core.reply import Raise, Resume, follow
from shared.contracts.catalogue import CATALOGUE
from shared.domain.run_state import FINAL
from shared.domain.scenario import matching

TIMES_MORE_MAX = 1000
"""How often more than then a script may ask for the time, in one phase; the time then stands still."""
SHOWN_CHARS_MAX = 500
"""Of a value in a report; what is longer is cut."""
PHASES_SHOWN_MAX = 500


class Verdict(StrEnum):
    """What a trial says about one phase."""

    SAME = "same"
    """It asked for the same and ended the same; where the phase was ended from outside: it came that far."""
    DIFFERS = "differs"
    """It asked for something else than it did."""
    ENDS_OTHERWISE = "ends_otherwise"
    """It ended where it went on, went on where it ended, or ended in another way."""
    UNKNOWN = "unknown"
    """It could not be tried; the note says why."""


@dataclass(frozen=True)
class Finding:
    """What a trial says about one phase, and where."""

    verdict: Verdict
    instructions: int = 0
    """So many were the same."""
    seq: int | None = None
    """Entry at which it differs."""
    then: Asked | Ended | None = None
    now: Asked | Ended | None = None
    note: str = ""


class Walk:
    """One phase, played again: what the script is told next, until there is a finding."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._met = 0
        self._told = 0
        self._more = 0
        self._now = play.begun_at

    @property
    def over(self) -> Finding | None:
        """The finding, when nothing is left to compare: the phase was ended from outside."""
        if self._play.ended is None and self._met == len(self._play.asked):
            return self._found(Verdict.SAME, note="then it was ended from outside")
        return None

    def meet(self, now: Asked) -> Resume | Raise | Finding:
        """What follows from what the script asks for now: what it was told then, or a finding."""
        if self._met == len(self._play.asked):
            return self._found(Verdict.ENDS_OTHERWISE, self._play.ended_seq, self._play.ended, now)
        then = self._play.asked[self._met]
        if not then.same_as(now):
            return self._found(Verdict.DIFFERS, then.seq, then, now)
        self._now = max(self._now, self._play.asked_at[self._met])
        self._met, self._told = self._met + 1, 0
        if self.over is not None:
            return self.over
        answer = self._play.answers.get(then.seq or 0)
        following = follow(answer) if answer is not None else None
        if isinstance(following, Resume | Raise):
            return following
        return self._found(Verdict.UNKNOWN, then.seq, note="the journal does not say what it was told")

    def end(self, now: Ended) -> Finding:
        """What it means that the script ends so now."""
        if self._met < len(self._play.asked):
            then = self._play.asked[self._met]
            return self._found(Verdict.ENDS_OTHERWISE, then.seq, then, now)
        ended = self._play.ended
        if ended is None or ended.same_as(now):
            return self._found(Verdict.SAME)
        return self._found(Verdict.ENDS_OTHERWISE, self._play.ended_seq, ended, now)

    def time(self) -> datetime | None:
        """What the script is told when it asks for the time: what it was told at this place.

        When it asks more often than then: the last time that is known of that moment; none once it asks so often that
        it seems to wait for the time to pass.
        """
        told = self._play.times[self._met]
        if self._told < len(told):
            self._now = max(self._now, told[self._told])
            self._told += 1
            return told[self._told - 1]
        self._more += 1
        return self._now if self._more <= TIMES_MORE_MAX else None

    def unknown(self, note: str) -> Finding:
        """It can't be said how it goes on."""
        return self._found(Verdict.UNKNOWN, note=note)

    def _found(
        self, verdict: Verdict, seq: int | None = None, then: Asked | Ended | None = None,
        now: Asked | Ended | None = None, note: str = "",
    ) -> Finding:  # fmt: skip
        return Finding(verdict, self._met, seq, then, now, note)


def refusal(
    run: Mapping[str, Any], version: Mapping[str, Any] | None, *, account: str, workflow: str,
    scenarios: Sequence[Mapping[str, Any]], last_seq: int,
) -> str | None:  # fmt: skip
    """Why a run can't be tried against new files, or none.

    version: the one that it ran. workflow, scenarios: of the new files. last_seq: of its journal; 0: it has none.
    """
    if run["account"] != account or run["workflow"] != workflow:
        return f"the run is one of {run['account']}/{run['workflow']}, the files are {account}/{workflow}"
    if run["state"] not in FINAL:
        return f"the run is {run['state']}; it can be replayed when it has ended"
    if last_seq == 0 or last_seq < int(run.get("last_seq") or 0):
        return "the run's journal is gone, or not whole"
    if version is None:
        return f"the run's version {run['version']} is gone"
    if version.get("catalogue") != CATALOGUE:
        return f"the run's instructions are of catalogue {version.get('catalogue')}; this server's is {CATALOGUE}"
    if all(one["name"] != run["scenario"] for one in scenarios):
        return f"the new version has no scenario {run['scenario']}, which the run executed"
    return None


def elsewhere(scenario: str, scenarios: Sequence[Mapping[str, Any]], value: Mapping[str, Any]) -> Ended | None:
    """How a task would end unbegun under the new version because another scenario takes it, or none does."""
    number = matching(scenarios, value)
    taken = None if number is None else str(scenarios[number]["name"])
    if taken == scenario:
        return None
    text = f"scenario {taken} takes it" if taken is not None else "no scenario takes it: it would be held"
    return Ended("not_begun", "SCENARIO", text)


def objects_changed(
    plays: Sequence[Play], then: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Objects that the run used and that have other selectors now. What is asked for is the same; where it is looked
    for on the page is not, and a journal can't say whether it is found there."""
    used = {name for play in plays for asked in play.asked for name in _objects(asked.args)}
    rows = [
        {"name": name, "then": _selectors(then, name), "now": _selectors(now, name)} for name in sorted(used)
    ]  # fmt: skip
    return [row for row in rows if row["then"] != row["now"]]


def report(
    run: Mapping[str, Any], tried: Sequence[tuple[Play, Finding]], objects: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What is answered: a verdict for each phase, and over all of them."""
    counts = {str(verdict): sum(1 for _, one in tried if one.verdict is verdict) for verdict in Verdict}
    # of a long run, what is not the same comes first
    order = sorted(range(len(tried)), key=lambda n: tried[n][1].verdict is Verdict.SAME)
    shown = sorted(order[:PHASES_SHOWN_MAX])
    return {
        "run": run["_id"], "workflow": f"{run['account']}/{run['workflow']}", "version": run["version"],
        "scenario": run["scenario"], "same": counts[Verdict.SAME] == len(tried), "counts": counts,
        "phases": [_row(*tried[n]) for n in shown], "left_out": len(tried) - len(shown), "objects": list(objects),
    }  # fmt: skip


def _row(play: Play, finding: Finding) -> dict[str, Any]:
    return {
        "phase": play.phase.value, "task": play.task, "attempt": play.attempt, "begun": play.seq,
        "verdict": finding.verdict.value, "instructions": finding.instructions, "seq": finding.seq,
        "then": _side(finding.then), "now": _side(finding.now), "note": finding.note[:SHOWN_CHARS_MAX],
    }  # fmt: skip


def _side(side: Asked | Ended | None) -> dict[str, Any] | None:
    """What was, or is, asked for or ended with, as people and programs read it."""
    if side is None:
        return None
    if isinstance(side, Asked):
        args = {shown(name): shown(value) for name, value in list(side.args.items())[:20]}
        return {
            "what": "instruction", "name": side.name, "args": args, "commit": side.commit, "line": side.line,
            "function": side.function,
        }  # fmt: skip
    return {
        "what": side.kind, "code": side.code, "message": shown(side.message), "output": shown(side.output),
        "line": side.line,
    }  # fmt: skip


def shown(value: Any) -> Any:
    """A value as it is when its JSON is short, else the beginning of that; always something that can be sent."""
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
    if len(text) > SHOWN_CHARS_MAX:
        return text[:SHOWN_CHARS_MAX] + " ..."
    return json.loads(text)


def _objects(value: Any) -> set[str]:
    if not isinstance(value, Mapping):
        return set()
    names = {str(value["$object"])} if "$object" in value else set()
    return names.union(*(_objects(one) for one in value.values()))


def _selectors(objects: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    return list((objects.get(name) or {}).get("selectors") or [])
