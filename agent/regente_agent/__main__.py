"""`python -m regente_agent`: the robot's supervisor, until SIGTERM or Ctrl-C.

Owns: the process, and the lock on its folder. Called by: the service manager, the local stack. Survives a crash: see
supervisor.py. Change also: agent/README.md.

Exit codes: 0 stopped, 2 a setting is wrong, 3 another agent uses the folder, 70 a part broke (start it again).
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from regente_agent import processes, settings, trust
from regente_agent.supervisor import Supervisor


def main() -> int:
    """Run the agent; returns the exit code."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # what matters of it is told by the link
    try:
        found = settings.load(os.environ)
        found.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (settings.BadSetting, OSError) as error:
        return _refuse(2, f"a setting is wrong: {error}")
    try:
        lock = processes.lock(found.home / "lock")
    except OSError:
        return _refuse(3, f"another agent uses {found.home}: stop it, or set REGENTE_AGENT_HOME")
    with lock:
        try:
            trust.believe(found.ca_file)
        except (OSError, ValueError) as error:
            return _refuse(2, f"REGENTE_AGENT_CA_FILE: {found.ca_file} can't be used: {error}")
        try:
            supervisor = Supervisor(found)
        except (OSError, ValueError) as error:
            return _refuse(2, str(error))
        for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: supervisor.stop())
        return supervisor.run()


def _refuse(code: int, text: str) -> int:
    print(f"regente-agent: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
