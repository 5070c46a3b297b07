"""What a script, and the run it belongs to, may use; and what people read when it wanted more.

Called by: main.py (from the settings), interpreter.py (holds one script to it), phase.py (holds the run to it).
Survives a crash: the run's counts are in its journal (core/journal.py), because the interpreter's own begin anew when a
snapshot is loaded. Every text says what to change in the script."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What one script may use between being loaded and its end, or its next load."""

    memory_bytes_max: int = 64 * MB
    turn_s: float = 5.0
    """Computing time between two host calls."""
    host_calls_max: int = 200_000

    def said(self, kind: str, text: str) -> str | None:
        """What people read about an exception that is a limit's; none: it is the script's own.

        kind: name of the exception's class. text: its text.
        """
        if kind == "MemoryError":
            size = f"{self.memory_bytes_max // MB} MB"
            return f"the script needs more than {size} of memory: keep less at once, and drop what is done with"
        if kind == "RecursionError":
            return "the script's functions call each other too deeply: use a loop instead"
        if "time limit exceeded" in text or "exceeding request timeout" in text:
            return (
                f"the script computed for more than {self.turn_s:g} s without a call to the robot or the server: "
                "it loops without end, or has to do its work in smaller parts"
            )
        if text.startswith("suspension limit"):
            return calls_text(self.host_calls_max)
        return None


@dataclass(frozen=True)
class RunLimits:
    """What one run may use, on however many executors."""

    instructions_max: int = 10_000
    host_calls_max: int = 200_000
    """Calls out of the script: instructions, log lines, questions for the time, short waits."""
    decisions_max: int = 100
    """Questions to people."""

    def exceeded(self, *, calls: int) -> str | None:
        """Why a run may not go on after so many host calls, or none."""
        return calls_text(self.host_calls_max) if calls > self.host_calls_max else None

    def refusal(self, *, instructions: int, decisions: int, asks: bool) -> str | None:
        """Why a run may not have another instruction, or none. asks: it is a question to a person."""
        if instructions >= self.instructions_max:
            return f"the run asked for more than {self.instructions_max} instructions: a loop in the script has no end"
        if asks and decisions >= self.decisions_max:
            return f"the run asked people more than {self.decisions_max} questions: ask one question for many items"
        return None


def calls_text(host_calls_max: int) -> str:
    """The text about too many calls out of the script."""
    return (
        f"the run made more than {host_calls_max} calls (log lines, questions for the time, short waits): "
        "a loop in the script has no end, or asks too often"
    )
