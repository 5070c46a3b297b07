"""`regente watch`: open alerts, live, with an alarm that sounds.

The server is asked by a thread of its own, so that a connection that hangs delays no alarm. Called by: cli/main.py.
What sounds when is decided in cli/watching.py.
"""

from __future__ import annotations

import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli import output
from cli.client import Client
from cli.errors import CliError, Usage
from cli.home import read_access
from cli.output import JsonOption
from cli.watching import SEVERITIES, Limits, Note, Watching, What, printable, reasons_in_words, worst_first

TICK_S = 0.25
DRAW_S = 1.0
ASK_TIMEOUT_S = 10.0
REFUSED_WAIT_S = 30.0
"""Between log-ins that were refused: trying faster locks the user out."""
SOUND_S_MAX = 30.0
SHOWN_MAX = 20
_STYLES = {What.NEW: "yellow", What.LOST: "bold red", What.UNWATCHED: "bold red", What.FOUND: "green", What.OVER: "dim"}


def watch(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    severity: Annotated[str, typer.Option(help="Alarm for alerts as bad as this.")] = "critical",
    show: Annotated[str, typer.Option(help="Show alerts as bad as this.")] = "info",
    every: Annotated[float, typer.Option(min=0.2, max=300, help="Ask the server so often, seconds.")] = 3.0,
    lost_after: Annotated[float, typer.Option(min=1, max=3600, help="Alarm after so long without an answer.")] = 20.0,
    repeat: Annotated[float, typer.Option(min=0, max=3600, help="Sound again after this time; 0: once.")] = 15.0,
    sound: Annotated[str | None, typer.Option(help="A command to run instead of the terminal's bell.")] = None,
    try_out: Annotated[bool, typer.Option("--try", help="Sound the alarm once, and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show open alerts until Ctrl-C; sound an alarm for a new critical one, and when the server is gone.

    The alarm goes on until somebody acknowledges the alert, silences it, or it is over. A sound's command gets
    REGENTE_ALARM, a line for each reason.
    """
    for name in (severity, show):
        if name not in SEVERITIES:
            raise Usage(f"{name!r} is none of {', '.join(SEVERITIES)}")
    alarm = Alarm(sound)
    if try_out:
        alarm.sound("a try")
        alarm.finish()
        return
    if not read_access().url:
        raise Usage("no installation found: set REGENTE_URL and REGENTE_TOKEN, or REGENTE_HOME")
    query = {"account": account, "severity": min(show, severity, key=SEVERITIES.index)}
    asking = Asking({name: value for name, value in query.items() if value is not None}, every)
    watching = Watching(Limits(lost_after, repeat, severity), time.monotonic())
    asking.start()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)  # the terminal's cursor comes back
    try:
        _follow(watching, asking, alarm, Screen(as_json))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        asking.stop()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _follow(watching: Watching, asking: Asking, alarm: Alarm, screen: Screen) -> None:
    with screen:
        while True:
            notes: list[Note] = []
            for answer in asking.answers():
                if isinstance(answer, str):
                    watching.failed(answer)
                else:
                    notes += watching.heard(answer, time.monotonic())
            notes += watching.tick(time.monotonic())
            screen.show(watching, notes)
            if watching.sounds(time.monotonic()):
                alarm.sound("\n".join(reasons_in_words(watching)))
            alarm.look()
            asking.wait(TICK_S)


class Asking:
    """Asks the server again and again, in a thread of its own."""

    def __init__(self, query: Mapping[str, str], every_s: float) -> None:
        self._query = query
        self._every_s = every_s
        self._worked = False
        """Whether the log-in that is used now was good once: it may have run out since."""
        self._answers: queue.SimpleQueue[Mapping[str, Any] | str] = queue.SimpleQueue()
        self._came = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; what hangs is left to itself."""
        self._over.set()
        self._thread.join(1.0)

    def wait(self, limit_s: float) -> None:
        """Until something came, but no longer."""
        self._came.wait(limit_s)
        self._came.clear()

    def answers(self) -> list[Mapping[str, Any] | str]:
        """What came meanwhile: answers, or why there was none."""
        found = []
        while not self._answers.empty():
            found.append(self._answers.get())
        return found

    def _work(self) -> None:
        while not self._over.is_set():
            self._worked = False
            try:
                with Client(timeout_s=ASK_TIMEOUT_S) as client:
                    self._ask(client)
            except CliError as error:
                self._tell(str(error))
                refused = getattr(error, "status", None) in (401, 403, 429) and not self._worked
                self._over.wait(REFUSED_WAIT_S if refused else self._every_s)
            except Exception as error:  # whatever it is, silence is what raises the alarm
                self._tell(f"{type(error).__name__}: {error}")
                self._over.wait(self._every_s)

    def _ask(self, client: Client) -> None:
        """Until something goes wrong: then a new connection, and a new log-in, are tried."""
        while not self._over.is_set():
            self._tell(client.call("GET", "watch", params=self._query))
            self._worked = True
            self._over.wait(self._every_s)

    def _tell(self, answer: Mapping[str, Any] | str) -> None:
        self._answers.put(answer)
        self._came.set()


class Alarm:
    """The bell, or a command; one at a time."""

    def __init__(self, command: str | None) -> None:
        """Raises: Usage for a command that can't be read."""
        try:
            self._words = shlex.split(command) if command else []
        except ValueError as error:
            raise Usage(f"--sound {command!r} can't be read: {error}") from None
        self._bell = sys.stderr
        """As it is now: what draws the screen puts something before it that lets no bell through."""
        self._running: subprocess.Popen[bytes] | None = None
        self._began_s = 0.0

    def sound(self, why: str) -> None:
        """Sound; a command that does not work makes the bell ring. why: what the command is told."""
        if not self._words:
            self._ring()
            return
        self.look()
        if self._running is not None:
            return
        try:
            environment = {**os.environ, "REGENTE_ALARM": why}
            quiet = subprocess.DEVNULL
            self._running = subprocess.Popen(self._words, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
            self._began_s = time.monotonic()
        except OSError as error:
            output.complain(f"the sound can't be played: {error}")
            self._ring()

    def look(self) -> None:
        """Whether the command has ended; one that takes too long is ended."""
        if self._running is None:
            return
        code = self._running.poll()
        if code is None and time.monotonic() - self._began_s > SOUND_S_MAX:
            self._running.kill()
            code = self._running.wait()
        if code is not None:
            self._running = None
            if code != 0:
                output.complain(f"the sound's command ended with {code}")
                self._ring()

    def _ring(self) -> None:
        """To the terminal, also when what is printed goes to a file."""
        self._bell.write("\a")
        self._bell.flush()

    def finish(self) -> None:
        """Wait for the command's end."""
        while self._running is not None:
            self.look()
            time.sleep(TICK_S / 5)


class Screen:
    """A line for each note; on a terminal also, below them, what is open now."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._drawn_s = -DRAW_S
        self._console = Console(highlight=False, soft_wrap=True)
        live = self._console.is_terminal and not as_json
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if live else None

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, watching: Watching, notes: list[Note]) -> None:
        """Print what is new, and draw what is open."""
        for note in notes:
            if self._json:
                output.print_json_line(_document(note))
                continue
            style = "bold red" if note.alarming else _STYLES.get(note.what, "")
            text = Text(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} ", style="dim")
            self._console.print(text.append(f"{note.what:<9} {note.text}", style=style))
        sys.stdout.flush()
        if self._live is not None and (notes or time.monotonic() - self._drawn_s >= DRAW_S):
            self._drawn_s = time.monotonic()
            self._live.update(_table(watching), refresh=True)


def _document(note: Note) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"at": at, "what": note.what.value, "alarm": note.alarming, "text": note.text, "alert": note.alert}


def _table(watching: Watching) -> Group:
    """What is open, the worst first, below why it sounds."""
    head = [Text(f" {line} ", style="bold white on red") for line in reasons_in_words(watching)[:3]]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("severity", "since", "account", "what", "looked at by"):
        table.add_column(column, overflow="ellipsis", no_wrap=column != "what")
    alerts = worst_first(list(watching.alerts.values()))
    for one in alerts[:SHOWN_MAX]:
        by = (one["acked"] or {}).get("by") or ("silenced" if one["silenced_until"] else "")
        severity, style = output.coloured(one["severity"]), "dim" if by else ""
        table.add_row(
            severity, output.age(one["since"]), one["account"] or "", Text(printable(one["text"]), style=style), by
        )
    more = len(alerts) - SHOWN_MAX
    rest = f"and {more}{' or more' if watching.more else ''}: regente alert list" if more > 0 else ""
    foot = Text(rest if alerts else "nothing fires" if watching.answered else "waiting for the server", style="dim")
    return Group(*head, table, foot) if alerts else Group(*head, foot)
