"""`python -m tests.chaos [--only TEXT] [--write PAGE]`: a cluster, tasks, and every fault once; `make chaos`.

Exit code: 0 nothing was lost or done twice, and work flowed again in time; 1 otherwise.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from deploy.local.settings import read_settings
from tests.chaos.faults import faults
from tests.chaos.flow import Flow
from tests.chaos.judging import placed, table
from tests.chaos.storm import Storm, check
from tests.e2e.stack import running_stack

BEGIN, END = "<!-- make chaos: begin -->", "<!-- make chaos: end -->"


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults in a running cluster.")
    parser.add_argument("--only", default="", help="only faults whose name has this in it, such as 'freeze broker'")
    parser.add_argument("--write", type=Path, help="put the table into this page, between its marks")
    given = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    home = Path(tempfile.mkdtemp(prefix="regente-chaos-"))
    kept = False
    try:
        code = run(home, given.only, given.write)
        kept = code != 0
        return code
    except BaseException:
        kept = True
        raise
    finally:
        if kept:
            print(f"logs: {home}", flush=True)
        else:
            shutil.rmtree(home, ignore_errors=True)


def run(home: Path, only: str, write: Path | None) -> int:
    """The storm on a cluster in a folder of its own."""
    started_s = time.monotonic()
    with running_stack(home, read_settings().home, cluster=True) as stack:
        flow = Flow(stack)
        flow.start()
        storm = Storm(stack, flow, lambda text: print(f"  {text}", flush=True))
        try:
            rows = storm.run(faults(stack.launcher.supervisor.kept, only))
        finally:
            flow.stop()
        storm.finish()
        wrong = check(stack, flow)
        robots = sum(one.robot for one in flow.pushed)
        count = (
            f"{len(flow.pushed)} tasks, {robots} of them with a robot, {sum(one.tries for one in flow.pushed)} pushes"
        )
    late = [row for row in rows if not row.holds]
    said = f"{count}; {len(rows) - 1} faults in {time.monotonic() - started_s:.0f} s; " + (
        f"{len(wrong)} things are wrong" if wrong else "nothing lost, nothing done twice"
    )
    print(f"\n{table(rows)}\n\n{said}")
    for one in wrong[:20]:
        print(f"  {one}")
    if write is not None:
        write.write_text(placed(write.read_text(), f"{table(rows)}\n\n{said}.", BEGIN, END))
    return 1 if wrong or late else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
