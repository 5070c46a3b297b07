"""The log's store: bounded, in order, each number once."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from regente_agent.logbook import BUNDLE_LINES_MAX, Logbook
from regente_agent.scrub import Scrubber


def make(path: Path, lines_max: int = 50_000, first: int = 1) -> Logbook:
    blocks = count(first, 1000)
    return Logbook(
        path / "logs.db", worker="02", journal="j", reserve=lambda n: next(blocks), level="info", lines_max=lines_max
    )


def test_lines_go_out_in_order_and_stay_until_they_are_sent(tmp_path: Path) -> None:
    log = make(tmp_path)
    for n in range(250):
        log.write("info", f"line {n}", run="run_1", seq=n, extra=n)
    log.write("debug", "below the level")
    assert log.waiting == 250
    numbers, journal, lines = log.bundle() or ([], "", [])
    assert (len(lines), journal) == (BUNDLE_LINES_MAX, "j")
    assert log.bundle() == (numbers, journal, lines), "not sent, so it is still the first"
    log.sent(numbers)
    log.close()
    log = make(tmp_path, first=5001)
    log.write("warning", "after a restart")
    numbers, _, lines = log.bundle() or ([], "", [])
    assert [line["event"] for line in lines] == [f"line {n}" for n in range(200, 250)] + ["after a restart"]
    assert lines[0]["fields"] == {"extra": 200}
    assert numbers[-1] == 5001
    log.sent(numbers)
    assert log.bundle() is None
    assert log.waiting == 0
    log.close()


def test_a_full_store_says_how_many_lines_it_dropped_and_where(tmp_path: Path) -> None:
    log = make(tmp_path, lines_max=20)
    for n in range(1, 101):
        log.write("info", f"line {n}")
        assert log.waiting <= 20
    lines = (log.bundle() or ([], "", []))[2]
    assert lines[0]["level"] == "warning"
    dropped = lines[0]["fields"]["dropped"]
    assert lines[0]["n"] == dropped
    assert [line["event"] for line in lines[1:]] == [f"line {n}" for n in range(dropped + 1, 101)]
    log.close()


def test_large_fields_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = make(tmp_path)
    log.write("error", "e" * 5000, big="x" * 100_000)
    line = (log.bundle() or ([], "", []))[2][0]
    assert len(line["event"]) == 2000
    assert line["fields"]["cut"] is True
    assert '"worker": "02"' in capsys.readouterr().err
    log.close()


def test_values_of_arguments_are_taken_out_of_texts() -> None:
    scrubber = Scrubber()
    scrubber.remember(
        {"target": {"selectors": ["css=#password"]}, "text": "hunter2-hunter2", "arguments": ["hunter2"], "timeout": 5}
    )
    scrubber.remember({"certificate": {"$certificate": {"pkcs12": "QUJDRA==", "passphrase": "pass phrase"}}})
    text = "fill css=#password with hunter2-hunter2, hunter2, QUJDRA== and pass phrase"
    assert scrubber.clean(text) == "fill css=#password with ***, ***, *** and ***"
