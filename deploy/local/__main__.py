"""`python -m deploy.local run|up|cluster|down|parts`: what the Makefile calls. SIGINT, SIGTERM and SIGHUP stop
the stack.

`run` is the guardian with the launcher below it; `up` starts such a `run`, without the demo, in a session of its own.
Exit codes: 0 it was stopped, 1 it could not start or lost something it can't do without, with REGENTE_RUN_EXIT=1 the
demo's own.
"""

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
from deploy.local.guardian import guarded
from deploy.local.launcher import PID_FILE, Launcher, clear_state
from deploy.local.settings import REPO, StackSettings, as_cluster, ports_from, read_settings

UP_S = 180.0
DOWN_S = 45.0
WITHOUT_DEMO = "REGENTE_NO_DEMO"
AS_CLUSTER = "REGENTE_AS_CLUSTER"
CANARY_S = "60"
"""With the demo a canary flies; `up` leaves that to the setting."""
EXIT_AFTER_DEMO = "REGENTE_RUN_EXIT"
READY_FILE = Path("run") / "ready"
UP_LOG = Path("logs") / "up.log"


def main() -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="The local stack.")
    parser.add_argument("command", choices=["run", "up", "cluster", "down", "parts"])
    command = parser.parse_args().command
    try:
        settings = read_settings()
        if command == "cluster" or os.environ.get(AS_CLUSTER) == "1":
            settings = as_cluster(settings)
            os.environ[AS_CLUSTER] = "1"  # for the process in the background
        if command == "parts":
            fetch_parts(settings, browser=True)
            for wanted in (parts.prometheus, parts.haproxy, parts.helm, parts.systemd_analyze):
                wanted(settings.home)  # tests want them, `make run` does not
            return 0
        if command == "down":
            return down(settings.home)
        if command in ("up", "cluster"):
            return up(settings)
        demo = os.environ.get(WITHOUT_DEMO) != "1"
        if demo:
            os.environ.setdefault("REGENTE_CANARY_S", CANARY_S)
        return run(settings, demo=demo)
    except StackError as error:
        return fail(error)
    except KeyboardInterrupt:
        return 130


def fetch_parts(settings: StackSettings, *, browser: bool) -> int:
    """Fetch what is missing, without starting anything."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.own_servers:
        parts.rabbitmq(settings.home)
        parts.mongod(settings.home)
    if settings.cluster is not None:
        parts.haproxy(settings.home)
    if browser:
        parts.browser(settings.home)
    return 0


def run(settings: StackSettings, *, demo: bool) -> int:
    """Start the stack, with the demo unless told otherwise, and stay up until a signal; the exit code."""
    started = time.monotonic()
    fetch_parts(settings, browser=demo)

    def after() -> None:
        (settings.home / READY_FILE).unlink(missing_ok=True)
        _forget(settings.home)

    return guarded(lambda: _launch(settings, demo=demo, started=started), after=after)


def up(settings: StackSettings) -> int:
    """Start the stack in the background, without the demo; returns when it is ready."""
    fetch_parts(settings, browser=False)
    home = settings.home
    for folder in ("run", "logs"):
        (home / folder).mkdir(mode=0o700, exist_ok=True)
    log = home / UP_LOG
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "run"],
            cwd=REPO,
            env={**os.environ, WITHOUT_DEMO: "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return _follow(child, home, log)
    except BaseException:
        child.terminate()
        child.wait()
        raise


def down(home: Path) -> int:
    """Stop a stack that was started in the background (or elsewhere)."""
    pid = _running(home)
    if pid is None:
        say("no stack is running")
        return 0
    with step("stopping"):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + DOWN_S
        while _is_stack(pid):
            if time.monotonic() > deadline:
                raise StackError(f"the stack (pid {pid}) does not stop; its log is {home / UP_LOG}")
            time.sleep(0.05)
    return 0


def _launch(settings: StackSettings, *, demo: bool, started: float) -> int:
    """The launcher's process."""
    launcher = Launcher(settings)
    launcher.obey_signals()
    try:
        code = _up(launcher, demo=demo, started=started)
    except StackError as error:
        # Being stopped while starting is no failure of the start.
        code = 0 if launcher.stopping else fail(error)
    finally:
        _stop(launcher)
    return code


def _up(launcher: Launcher, *, demo: bool, started: float) -> int:
    home = launcher.home
    extra = importlib.import_module("demo.processes").PORTS if demo else {}
    launcher.prepare(ports_from(extra))
    launcher.start()
    console = launcher.settings.ports["console"]
    code: int | None = 0
    if demo:
        environment = {**launcher.environment(), "REGENTE_AGENT_BROWSER": parts.browser(home)}
        with step("demo portal, partner and two robots"):
            launcher.add(importlib.import_module("demo.processes").processes(home, environment))
        say(f"everything is ready after {time.monotonic() - started:.1f} s; now the demo")
        code = launcher.run_attached([sys.executable, "-m", "demo.run"], environment)
        if os.environ.get(EXIT_AFTER_DEMO) == "1":
            return code or 0
        if code:
            say(f"the demo failed (exit code {code}); the stack stays up, its logs are in {home / 'logs'}")
    url = f"{'https' if launcher.settings.cluster is not None else 'http'}://127.0.0.1:{console}"
    say(f"up after {time.monotonic() - started:.1f} s: {url}, password in {home / 'admin.json'}")
    if demo:
        say("Ctrl-C stops all of it")
    (home / READY_FILE).touch()
    launcher.stay_up()
    return 0


def _stop(launcher: Launcher) -> None:
    if launcher.supervisor.kept or launcher.servers:
        with step("stopping"):
            launcher.stop()
    else:
        launcher.stop()


def _follow(child: subprocess.Popen[bytes], home: Path, log: Path) -> int:
    """Show what a stack in the background says, until it is ready."""
    shown = 0
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline:
        code = child.poll()
        ready = (home / READY_FILE).exists() and _running(home) == child.pid
        text = log.read_text(errors="replace")
        sys.stdout.write(text[shown:])
        sys.stdout.flush()
        shown = len(text)
        if code is not None:
            return code or 1
        if ready:
            return 0
        time.sleep(0.1)
    raise StackError(f"the stack was not ready within {UP_S:.0f} s; its log is {log}")


def _running(home: Path) -> int | None:
    """The pid of the guardian of the stack that runs on this folder."""
    try:
        pid = int((home / PID_FILE).read_text())
    except (OSError, ValueError):
        return None
    return pid if _is_stack(pid) else None


def _is_stack(pid: int) -> bool:
    try:
        return b"deploy.local" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _forget(home: Path) -> None:
    """Remove what says that we run, unless it is another stack that does."""
    try:
        ours = int((home / PID_FILE).read_text()) == os.getpid()
    except (OSError, ValueError):
        return
    if ours:
        clear_state(home)


if __name__ == "__main__":
    raise SystemExit(main())
