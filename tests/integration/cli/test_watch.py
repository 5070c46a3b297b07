"""`regente watch` for real: a process of its own, whose server is frozen and killed under it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.integration.collector.running import ROOT, free_port, launch, wait_ready
from tests.integration.console.site import ACME, Site, until

LOST_S = 3.0
NOISE_S = 30.0
"""More than that is no noise of a busy machine."""
SOUND = "import os, sys; open(sys.argv[1], 'a').write(os.environ['REGENTE_ALARM'] + chr(10) + '--' + chr(10))"


def put_alert(console: Site, id: str, **fields: Any) -> None:
    """A critical alert that fires."""
    at = datetime.now(UTC)
    console.db["alerts"].insert_one(
        {"_id": id, "rule": "service_down", "kind": "service_down", "target": f"service/{id}", "account": ACME,
         "severity": "critical", "text": f"{id} is down", "facts": {}, "state": "firing", "since": at, "fired_at": at,
         "acked": None, **fields}
    )  # fmt: skip


@contextmanager
def watching(url: str, token: str, *options: str, out: Any, err: Any = None) -> Iterator[subprocess.Popen[bytes]]:
    """The command as people start it."""
    own = {"REGENTE_URL": url, "REGENTE_TOKEN": token, "TERM": "xterm", "COLUMNS": "200", "LINES": "40"}
    env = {**{name: value for name, value in os.environ.items() if not name.startswith("REGENTE_")}, **own}
    words = [sys.executable, "-m", "cli", "watch", "--every", "0.3", "--lost-after", str(LOST_S), "--repeat", "1"]
    process = subprocess.Popen(
        [*words, *options], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err or out
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(NOISE_S) == 0
        finally:
            process.kill()


def test_it_sounds_for_a_new_alert_and_when_the_server_freezes_or_dies(console: Site, tmp_path: Path) -> None:
    sounds, out, port = tmp_path / "sounds", tmp_path / "out", free_port()
    sounds.touch()
    server = launch("console", console.ground, tmp_path, "console-2", port=port, REGENTE_PAGES="false")
    wait_ready(server)

    def notes(what: str) -> list[dict[str, Any]]:
        lines = [line for line in out.read_text().splitlines() if line.startswith("{")]
        return [one for one in map(json.loads, lines) if one["what"] == what]

    def sounded(text: str, after: int = 0) -> Callable[[], bool]:
        return lambda: text in sounds.read_text()[after:]

    command = f'{sys.executable} -c "{SOUND}" {sounds}'
    with (
        out.open("wb") as file,
        watching(
            server.url, console.token("vera"), "--json", "--show", "critical", "--sound", command, out=file
        ) as process,
    ):
        put_alert(console, "watched")
        until(sounded("watched is down"), "the alarm for a new alert", NOISE_S)
        assert [(one["alarm"], one["alert"]["id"]) for one in notes("new")] == [(True, "watched")]
        length = len(sounds.read_text())
        until(sounded("watched is down", length), "it sounds again", NOISE_S)
        console.db["alerts"].update_one({"_id": "watched"}, {"$set": {"acked": {"by": "otto", "note": ""}}})
        until(lambda: len(notes("taken")) == 1, "somebody looks at it", NOISE_S)

        frozen_s = time.monotonic()
        server.process.send_signal(signal.SIGSTOP)
        until(sounded("does not answer"), "the alarm for a frozen server", LOST_S + NOISE_S)
        assert time.monotonic() - frozen_s >= LOST_S - 1
        server.process.send_signal(signal.SIGCONT)
        until(lambda: len(notes("found")) == 1, "the server is back", NOISE_S)

        length = len(sounds.read_text())
        server.kill()
        until(sounded("does not answer", length), "the alarm for a dead server", LOST_S + NOISE_S)
        again = launch("console", console.ground, tmp_path, "console-2", port=port, REGENTE_PAGES="false")
        try:
            until(lambda: len(notes("found")) == 2, "the next server is found", 90)
            assert process.poll() is None
        finally:
            again.kill()
    assert [len(notes(what)) for what in ("new", "lost", "over")] == [1, 2, 0]


def test_a_terminal_shows_what_is_open_and_rings_its_bell(console: Site) -> None:
    put_alert(console, "shown", text="the shown one \x1b[2J is down")
    ours, theirs = pty.openpty()
    seen = bytearray()

    def shows(*texts: bytes) -> bool:
        seen.extend(os.read(ours, 65536))
        return all(text in seen for text in texts)

    with watching(console.url, console.token("vera"), "--sound", "/no/such/player", out=theirs):
        os.close(theirs)
        wanted = (b"looked at by", b"shown one  [2J is down", b"can't be played", b"\a")
        until(lambda: shows(*wanted), f"it shows {wanted}", NOISE_S)
    os.close(ours)
    assert b"\x1b[2J" not in seen
    console.db["alerts"].delete_many({"_id": "shown"})


def test_the_alarm_can_be_tried_and_wrong_words_are_refused(regente: Any) -> None:
    assert "\a" in regente("watch", "--try").stderr
    assert "none of info" in regente("watch", "--severity", "bad", code=2).stderr
    assert "can't be read" in regente("watch", "--sound", "play 'x", code=2).stderr
