"""What a person sees while the demo runs: a live table on a terminal, a line per change elsewhere.

Owns: the drawing. Called by: demo.run. Survives a crash: nothing lives here. Change also: nothing.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console as Terminal
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from demo.summary import Observed

_COLOURS = {"succeeded": "green", "running": "yellow", "queued": "dim", "held": "magenta", "business failure": "cyan"}


class Progress:
    """Shows the observed state whenever `show` is called. Use as a context manager."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._live = Live(console=terminal, auto_refresh=False) if terminal.is_terminal else None
        self._shown: dict[str, str] = {}
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, observed: Observed) -> None:
        """Draw what is known now."""
        if self._live:
            self._live.update(_table(observed), refresh=True)
            return
        for task in observed.pushed:
            name = task["reference"]
            now = observed.outcome(name) + (", delivered" if observed.delivered(name) else "")
            if self._shown.get(name) != now:
                self._shown[name] = now
                self._terminal.print(f"  {time.monotonic() - self._started:6.1f} s  {name}  {now}", highlight=False)


def _table(observed: Observed) -> Table:
    table = Table(title=None, expand=False, header_style="bold")
    for heading in ("Reference", "Priority", "Registration", "State", "Result", "Delivered"):
        table.add_column(heading)
    for task in sorted(observed.pushed, key=lambda one: -one["priority"]):
        name = task["reference"]
        outcome = observed.outcome(name)
        result = observed.result(name)
        colour = _COLOURS.get(outcome, "red")
        delivered = "[green]verified[/]" if observed.delivered(name) else ""
        table.add_row(
            name,
            str(task["priority"]),
            task["input"]["registration"],
            f"[{colour}]{outcome}[/]",
            escape(result[:40]),
            delivered,
        )
    return table
