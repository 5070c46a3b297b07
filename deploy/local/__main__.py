"""`python -m deploy.local run|up|down|parts`: what the Makefile calls. Signals: SIGINT and SIGTERM stop the stack."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.local import parts
from deploy.local.console_lines import StackError, fail, say, step
from deploy.local.launcher import Launcher
from deploy.local.processes import guarded
from deploy.local.settings import REPO, read_settings

UP_S = 180.0


def main() -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="The local stack.")
    parser.add_argument("command", choices=["run", "up", "down", "parts"])
    command = parser.parse_args().command
    try:
        settings = read_settings()
        if command == "parts":
            return fetch_parts(settings.home, settings.own_servers)
        if command == "down":
            return down(settings.home)
        if command == "up":
            return up(settings.home)
        return guarded(lambda: run(demo="REGENTE_NO_DEMO" not in os.environ))
    except StackError as error:
        return fail(error)


def fetch_parts(home: Path, own_servers: bool) -> int:
    """Fetch what is missing, without starting anything."""
    if own_servers:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        parts.rabbitmq(home)
        parts.mongod(home)
    parts.browser()
    return 0


def run(*, demo: bool) -> int:
    """Start the stack, with the demo unless told otherwise, and stay up until a signal; the exit code."""
    launcher = Launcher(read_settings())
    signal.signal(signal.SIGINT, lambda *_: _stop(launcher))
    signal.signal(signal.SIGTERM, lambda *_: _stop(launcher))
    signal.signal(signal.SIGHUP, lambda *_: _stop(launcher))
    started = time.monotonic()
    code = 0
    try:
        launcher.start()
        if demo:
            code = run_demo(launcher, started)
        else:
            say(
                f"up after {time.monotonic() - started:.1f} s: console http://127.0.0.1:"
                f"{launcher.settings.ports['console']}, log-in in {launcher.home}/admin.json"
            )
            (launcher.home / "run" / "up").touch()
        while not launcher.stopping and not (demo and os.environ.get("REGENTE_RUN_EXIT")):
            launcher.tend()
            time.sleep(0.1)
    except StackError as error:
        if not launcher.stopping:
            code = fail(error)
    finally:
        with step("stopping"):
            launcher.stop()
    return code


def run_demo(launcher: Launcher, started: float) -> int:
    """Start portal, partner and robots, and let the demo push its tasks; the demo's exit code."""
    browser = parts.browser()
    with step("demo portal, partner and two robots"):
        env = {**launcher.environment(), "REGENTE_AGENT_BROWSER": browser}
        launcher.add(importlib.import_module("demo.processes").processes(launcher.home, env))
        launcher.wait_ready()
    say(f"set up after {time.monotonic() - started:.1f} s; now the demo")
    child = subprocess.Popen([sys.executable, "-m", "demo.run"], env=env, cwd=REPO)
    while child.poll() is None:
        if launcher.stopping:
            child.terminate()
            child.wait(timeout=10)
            return 0
        launcher.tend()
        time.sleep(0.1)
    if child.returncode != 0:
        say(f"the demo did not end as it should (exit code {child.returncode}); logs are in {launcher.home}/logs")
    if not os.environ.get("REGENTE_RUN_EXIT"):
        say("the stack stays up; Ctrl-C stops all of it")
    return int(child.returncode)


def up(home: Path) -> int:
    """Start the stack in the background, without the demo; returns when it is ready."""
    (home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    flag = home / "run" / "up"
    flag.unlink(missing_ok=True)
    log = home / "run" / "up.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "run"], cwd=REPO, env={**os.environ, "REGENTE_NO_DEMO": "1"},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline:
        if flag.exists():
            print(log.read_text(), end="")
            return 0
        if child.poll() is not None:
            print(log.read_text(), end="", file=sys.stderr)
            return child.returncode or 1
        time.sleep(0.1)
    child.terminate()
    raise StackError(f"the stack did not get ready within {UP_S:.0f} s; see {log}")


def down(home: Path) -> int:
    """Stop a stack that was started in the background (or elsewhere)."""
    file = home / "run" / "pid"
    pid = int(file.read_text()) if file.exists() else 0
    if not pid or not _is_stack(pid):
        say("no stack is running")
        return 0
    with step("stopping"):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while _is_stack(pid):
            if time.monotonic() > deadline:
                raise StackError(f"the stack (pid {pid}) does not stop; see {home}/run/up.log")
            time.sleep(0.1)
    return 0


def _is_stack(pid: int) -> bool:
    try:
        return b"deploy.local" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _stop(launcher: Launcher) -> None:
    launcher.stopping = True


if __name__ == "__main__":
    raise SystemExit(main())
