"""`python -m tests.replay.make`: acts every scene on the real parts and keeps those that have no golden journal yet.

A golden that is there is never made again: it stands for what executors wrote at its time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Make what is missing."""
    (HERE / "golden").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", str(HERE / "test_scenes.py"), *sys.argv[1:]]
    sys.exit(subprocess.run(command, env={**os.environ, "REGENTE_MAKE_GOLDENS": "1"}, check=False).returncode)


if __name__ == "__main__":
    main()
