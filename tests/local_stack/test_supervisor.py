"""Processes that die are started again, later each time, and take with them what they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.console_lines import StackError
from deploy.local.processes import LOG_SIZE_BYTES_MAX, Process, kill_marked, marked, rotate, start
from deploy.local.supervisor import FIRST_PAUSE_S, LAST_PAUSE_S, SETTLED_S, Kept, State, Supervisor
from tests.local_stack.conftest import wait_for
from tests.local_stack.programs import FAILS, FAMILY


class Bench:
    """A supervisor whose lines are kept."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.folder = folder
        self.supervisor = Supervisor(self.said.append, lambda name: f"log of {name}")

    def keep(self, argv: tuple[str, ...], *, ready: bool = True) -> Kept:
        def launch(mark: str) -> subprocess.Popen[bytes]:
            process = Process("one-1", "one", argv)
            return start(process, env=dict(os.environ), log=self.folder / "one.log", mark=mark)

        mark = f"{self.folder}#one-1#"
        kept = Kept("one-1", "one", None, "1", mark, launch, lambda: ready, stop_s=0.5)
        self.supervisor.keep(kept)
        return kept


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.supervisor.stop(made.supervisor.kept)
    kill_marked(f"{tmp_path}#")


def pid_of(kept: Kept) -> int:
    assert kept.child is not None
    return kept.child.pid


def test_what_dies_is_started_again_and_says_so(bench: Bench) -> None:
    kept = bench.keep(FAMILY)
    bench.supervisor.wait_ready(lambda: False)
    assert wait_for(lambda: len(marked(kept.mark)) == 2)
    first = marked(kept.mark)
    os.kill(pid_of(kept), signal.SIGKILL)
    assert kept.child is not None
    kept.child.wait()
    bench.supervisor.tend()
    assert kept.state is State.RESTARTING
    assert not set(first) & set(marked(kept.mark)), "its child, in another session, went with it"
    assert bench.said == ["one-1 ended (killed by SIGKILL); starting it again in 0.2 s"]
    bench.supervisor.wait_ready(lambda: False)
    row = bench.supervisor.rows()[0]
    assert (row["state"], row["restarts"], row["pid"]) == ("ready", 1, pid_of(kept))


def test_the_pause_doubles_up_to_its_limit_and_begins_anew_after_a_while(bench: Bench) -> None:
    kept = bench.keep(FAILS)
    pauses = []
    for _ in range(8):
        assert kept.child is not None
        kept.child.wait()
        bench.supervisor.tend()
        pauses.append(kept.pause_s / 2 if kept.pause_s < LAST_PAUSE_S else kept.pause_s)
        kept.due_s = 0.0
        bench.supervisor.tend()
    assert pauses[:3] == pytest.approx([FIRST_PAUSE_S, FIRST_PAUSE_S * 2, FIRST_PAUSE_S * 4])
    assert pauses[-1] == LAST_PAUSE_S
    assert kept.child is not None
    kept.child.wait()
    kept.started_s -= SETTLED_S + 1
    bench.supervisor.tend()
    assert bench.said[-1].endswith("in 0.2 s")


def test_it_is_not_started_again_before_its_time(bench: Bench) -> None:
    kept = bench.keep(FAILS)
    assert kept.child is not None
    kept.child.wait()
    bench.supervisor.tend()
    kept.due_s = (kept.due_s or 0.0) + 3600
    bench.supervisor.tend()
    assert kept.child is None
    assert kept.restarts == 0


def test_one_that_never_gets_ready_ends_the_start_with_its_log(bench: Bench) -> None:
    bench.keep(FAILS, ready=False)
    with pytest.raises(StackError, match=r"one-1 does not get ready[^$]*log of one-1"):
        bench.supervisor.wait_ready(lambda: False)


def test_one_that_ignores_the_request_to_end_is_killed_with_its_family(bench: Bench) -> None:
    code = (
        "import signal, subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "subprocess.Popen(['sleep', '600'], start_new_session=True).wait()"
    )
    kept = bench.keep((sys.executable, "-c", code))
    assert wait_for(lambda: len(marked(kept.mark)) == 2)
    bench.supervisor.stop([kept])
    assert marked(kept.mark) == []
    assert bench.supervisor.kept == []


def test_large_logs_are_moved_aside_and_three_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    for n in range(5):
        with log.open("wb") as file:
            file.write(str(n).encode())
            file.truncate(LOG_SIZE_BYTES_MAX)
        rotate(log)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.log.1", "one.log.2", "one.log.3"]
    with (tmp_path / "one.log.1").open("rb") as newest:
        assert newest.read(1) == b"4"
