"""Whatever happens to the launcher, none of its processes outlives it. Stand-ins first, then the real broker and
database.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.guardian import descendants
from deploy.local.processes import marked
from tests.local_stack.conftest import kill, launcher_below, nothing_left, wait_for, wait_line
from tests.local_stack.programs import running


@pytest.mark.parametrize("victims", ["guardian", "launcher", "both"])
def test_kill_9_leaves_nothing(victims: str, home: Path, env: dict[str, str]) -> None:
    with running("guarded", env) as child:
        assert "everything is ready" in wait_line(child, "everything is ready")
        launcher = launcher_below(child.pid)
        assert wait_for(lambda: len(marked(f"{home}#")) == 4)
        if victims == "both":
            # Of these two only the direct children can be known to die at once; the next start kills the rest.
            kill(child.pid, launcher)
            assert wait_for(lambda: len(marked(f"{home}#")) == 2)
        else:
            kill({"guardian": child.pid, "launcher": launcher}[victims])
            assert nothing_left(home)
            assert descendants(child.pid) == []
    if victims == "both":
        with running("guarded", env) as again:
            assert "killed 2 processes that an earlier start had left behind" in wait_line(again, "everything is ready")
            again.send_signal(signal.SIGTERM)
        assert nothing_left(home)


def test_a_request_to_end_stops_everything_and_gives_0(home: Path, env: dict[str, str]) -> None:
    with running("guarded", env) as child:
        wait_line(child, "everything is ready")
        rows = json.loads((home / "run" / "processes.json").read_text())
        assert {row["instance"] for row in rows} == {"family-1", "second-1"}
        assert all(row["state"] == "ready" and row["pid"] in marked(f"{home}#") for row in rows)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 0
    assert nothing_left(home)
    assert not (home / "run" / "processes.json").exists()


def test_a_second_launcher_on_the_same_folder_is_refused(home: Path, env: dict[str, str]) -> None:
    with running("guarded", env) as first:
        wait_line(first, "everything is ready")
        assert wait_for(lambda: len(marked(f"{home}#")) == 4)
        before = sorted(marked(f"{home}#"))
        with running("guarded", env) as second:
            assert f"a stack runs already on {home}" in wait_line(second, "a stack runs already")
            assert second.wait(timeout=30) == 1
        assert sorted(marked(f"{home}#")) == before
        down = [sys.executable, "-m", "deploy.local", "down"]
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=30) == 0
        done = subprocess.run(down, env=env, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, "no stack is running")


def test_kill_9_leaves_no_broker_and_no_database(home: Path, env: dict[str, str]) -> None:
    with running("stack", env) as child:
        said = wait_line(child, "everything is ready")
        assert "everything is ready" in said, said
        names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in marked(f"{home}#")}
        assert {"beam.smp", "epmd", "mongod"} <= names
        kill(launcher_below(child.pid))
        assert nothing_left(home)
        assert child.wait(timeout=30) == 128 + signal.SIGKILL


def test_a_start_that_fails_half_way_leaves_nothing(home: Path, env: dict[str, str]) -> None:
    with running("half-way", env) as child:
        said = wait_line(child, "no line says this")
        assert "second-1 can't be started" in said, said
        assert child.wait(timeout=30) == 1
    assert nothing_left(home)
    assert not (home / "run" / "processes.json").exists()
