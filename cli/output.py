"""What is printed: tables for people, JSON for programs.

Called by: every module of commands. With --json exactly one JSON document goes to stdout (one per line for what
follows); everything for people that is no result goes to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PIPE_WIDTH = 400
"""Tables that no terminal shows are not cut."""
WIDTHS_MIN = {"id": 37, "state": 9}
COLOURS = {
    "succeeded": "green",
    "done": "green",
    "delivered": "green",
    "finished": "green",
    "authorised": "green",
    "ok": "green",
    "ready": "green",
    "running": "cyan",
    "executing": "cyan",
    "queued": "blue",
    "held": "yellow",
    "in_doubt": "yellow",
    "pending": "yellow",
    "retrying": "yellow",
    "warning": "yellow",
    "failed": "red",
    "error": "red",
    "critical": "red",
    "dead": "red",
    "aborted": "red",
    "revoked": "red",
    "wrong": "red",
}


def stdout() -> Console:
    """Where results go; made anew, because tests replace the stream."""
    return Console(highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_json_line(value: Any) -> None:
    """One JSON document on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def complain(text: str) -> None:
    """One line for people, on stderr."""
    typer.echo(f"regente: {text}", err=True)


def note(text: str) -> None:
    """How far something is, for people, on stderr."""
    typer.echo(text, err=True)


def say(text: str) -> None:
    """A result in words, on stdout."""
    typer.echo(text)


def coloured(word: str | None) -> Text:
    """A state in its colour."""
    return Text(word or "-", style=COLOURS.get(word or "", ""))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "nothing") -> None:
    """A table; the state columns are coloured."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns[:-1]:
        table.add_column(column, overflow="ellipsis", no_wrap=True, min_width=WIDTHS_MIN.get(column))
    table.add_column(columns[-1], overflow="fold")
    filled = False
    for row in rows:
        filled = True
        table.add_row(*(_cell(column, value) for column, value in zip(columns, row, strict=True)))
    if filled:
        Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)
    else:
        say(empty)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, one a line; what is missing is left out."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        if value is None or value == "" or value == [] or value == {}:
            continue
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        stdout().print(Text(f"{name:<{width}}  ", style="dim").append(_cell(name, shown)))


def moment(value: str | None) -> str:
    """A time of the API as people read it, in their own time zone."""
    if not value:
        return "-"
    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(value: str | None) -> str:
    """How long ago a time of the API is."""
    if not value:
        return "-"
    return duration((datetime.now(UTC) - datetime.fromisoformat(value)).total_seconds())


def duration(seconds: float | None) -> str:
    """Seconds as people read them."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for unit, size_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size_s * 2:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.1f} s"


def _cell(column: str, value: Any) -> Text:
    text = "-" if value is None or value == "" else str(value)
    return coloured(text) if column in {"state", "status", "authorisation", "outcome", "level", "ready"} else Text(text)
