"""Stands-in for the processes of a stack, each run as a program of its own: `python -m tests.local_stack.programs NAME
FOLDER`.

Used by: the tests beside this file. `family` starts a child in a session of its own, as a browser is started, and waits
for ever; `fails` ends at once; `guarded` is a guardian with a launcher that keeps a family; `stack` is that, on the
real broker and database.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.console_lines import StackError, fail
from deploy.local.guardian import guarded
from deploy.local.launcher import Launcher
from deploy.local.processes import Process
from deploy.local.settings import read_settings

FAMILY = (sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True).wait()")
MISSING = ("/nowhere/program",)
FAILS = (sys.executable, "-c", "raise SystemExit(3)")


def main(name: str) -> int:
    """Run one of the programs."""
    if name == "guarded":
        return guarded(lambda: _launch(with_servers=False, argv=FAMILY))
    if name == "stack":
        return guarded(lambda: _launch(with_servers=True, argv=FAMILY))
    if name == "half-way":
        return guarded(lambda: _launch(with_servers=True, argv=MISSING))
    raise SystemExit(f"no program {name}")


@contextmanager
def running(name: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program during a test; its output is a pipe. Killed at the end, in case the test did not."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.local_stack.programs", name],
        env=env,
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _launch(*, with_servers: bool, argv: tuple[str, ...]) -> int:
    launcher = Launcher(read_settings())
    launcher.obey_signals()
    try:
        launcher.prepare({})
        if with_servers:
            launcher.start_servers()
        launcher.add([Process("family-1", "family", FAMILY), Process("second-1", "second", argv)])
        print("everything is ready", flush=True)
        launcher.stay_up()
    except StackError as error:
        return fail(error)
    finally:
        launcher.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
