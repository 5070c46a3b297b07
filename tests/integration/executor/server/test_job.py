"""job.run with real processes: what they get, what they say, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from services.executor.server import job as module
from services.executor.server.order import Order
from tests.integration.executor.server.conftest import Ground, order, told

PYTHON = [sys.executable, "-I", "-c"]
REGISTERED: dict[str, Any] = {
    "title": "", "env": {}, "folder": None, "timeout_s": 60, "memory_bytes_max": 256 * 1024 * 1024, "cpu_s_max": 30,
    "processes_max": 32, "output_bytes_max": 1000, "enabled": True, "schema_version": 1,
}  # fmt: skip
DEADLINE_S = 30.0


async def register(place: Ground, *command: str, account: str = "acme", name: str = "x", **more: Any) -> None:
    """As the console stores it."""
    one = {**REGISTERED, "_id": f"{account}/{name}", "account": account, "name": name, "command": list(command), **more}
    await place.mongo["jobs"].replace_one({"_id": one["_id"]}, one, upsert=True)


def run(*arguments: str, name: str = "x", timeout_s: float = 60, **more: Any) -> Order:
    return order("job.run", name=name, arguments=list(arguments), timeout_s=timeout_s, **more)


def marked(mark: str) -> list[int]:
    """Processes that live and have a mark in their command line or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in text:
                found.append(int(entry.name))
    return found


def until_gone(mark: str) -> float:
    """Wait until no process has the mark; how long that took, seconds."""
    began_s = time.monotonic()
    while marked(mark):
        assert time.monotonic() - began_s < DEADLINE_S, "something is left"
    return time.monotonic() - began_s


async def until_there(file: Path) -> None:
    """Wait until a process of the test has written a file."""
    async with asyncio.timeout(DEADLINE_S):
        while not file.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)


async def test_a_command_gets_its_words_and_text_and_gives_what_it_says(place: Ground) -> None:
    code = "import sys; print(sys.argv[1:]); print(sys.stdin.read(), file=sys.stderr); sys.exit(3)"
    await register(place, *PYTHON, code, "--")
    answer = await place.server().perform(run("a b", "$(id)", "; rm", text="hällo"))
    assert answer.value == {"exit_code": 3, "stdout": "['--', 'a b', '$(id)', '; rm']\n", "stderr": "hällo\n"}


async def test_a_command_inherits_nothing_of_ours(place: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGENTE_MASTER_KEY", "of-ours")
    place.documents["acme/db"] = {"kind": "text", "text": "hunter2-of-acme"}
    code = (
        "import os, json, sys; print(json.dumps(dict(os.environ))); print(os.getcwd()); "
        "print(sorted(int(n) for n in os.listdir('/proc/self/fd')), file=sys.stderr)"
    )
    await register(place, *PYTHON, code, env={"DB": {"secret": "db"}, "MODE": "fast"}, output_bytes_max=5000)
    answer = await place.server().perform(run())
    env, folder = answer.value["stdout"].splitlines()
    seen = json.loads(env)
    assert set(seen) == {"PATH", "LANG", "HOME", "TMPDIR", "REGENTE_OPERATION", "REGENTE_TASK", "DB", "MODE"}
    assert (seen["REGENTE_OPERATION"], seen["MODE"], seen["DB"]) == ("run_1/7", "fast", "***")
    assert seen["HOME"] == seen["TMPDIR"] == folder
    assert not Path(folder).exists()
    assert json.loads(answer.value["stderr"]) in ([0, 1, 2], [0, 1, 2, 3])  # 3: the folder that it lists


async def test_the_accounts_own_registration_counts_before_the_common_one(place: Ground) -> None:
    await register(place, "/bin/echo", "common", account="*")
    assert (await place.server().perform(run())).value["stdout"] == "common\n"
    await register(place, "/bin/echo", "own")
    await register(place, "/bin/echo", "others", account="other", name="theirs")
    server = place.server()
    assert (await server.perform(run())).value["stdout"] == "own\n"
    assert told(await server.perform(run(name="theirs"))) == ("error", "NOT_FOUND")
    await register(place, "/bin/echo", enabled=False)
    assert told(await server.perform(run())) == ("error", "NOT_ALLOWED")


@pytest.mark.parametrize(
    ("command", "arguments", "more", "code"),
    [
        (["/bin/echo", "{0}"], [], {}, "BAD_ARGUMENT"),
        (["/bin/echo"], ["a\0b"], {}, "BAD_ARGUMENT"),
        (["/bin/echo"], ["\ud800"], {}, "BAD_ARGUMENT"),
        (["/bin/echo"], [], {"env": {"A": {"secret": "gone"}}}, "BAD_ARGUMENT"),
        (["/no/such/program"], [], {}, "FAILED"),
        (["/etc/hostname"], [], {}, "FAILED"),
        (["/bin/echo"], [], {"folder": "/no/such/folder"}, "FAILED"),
    ],
)
async def test_what_never_began_was_not_done(
    place: Ground, command: list[str], arguments: list[str], more: dict[str, Any], code: str
) -> None:
    await register(place, *command, **more)
    assert told(await place.server().perform(run(*arguments))) == ("error", code)


async def test_output_without_end_is_cut_and_killed_in_time(place: Ground) -> None:
    mark = uuid.uuid4().hex
    await register(place, "/usr/bin/env", f"M={mark}", "yes", timeout_s=1)
    answer = await place.server().perform(run())
    assert told(answer) == ("in_doubt", "TIMEOUT")
    assert not marked(mark)
    await register(place, *PYTHON, "print('x' * 10_000_000)")
    answer = await place.server().perform(run())
    assert answer.value["stdout"] == "x" * 1000 + "\n[cut: 10000001 bytes; 1000 are kept]"


async def test_who_ignores_the_signal_is_killed_with_all_descendants(place: Ground, tmp_path: Path) -> None:
    """SIGTERM is ignored by all; one child stays in the group, one makes its own session, one is orphaned."""
    mark, ready = uuid.uuid4().hex, tmp_path / "ready"
    code = f"""if True:
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    open({str(ready)!r}, "w").close()
            else:
                os._exit(0)
        while True:
            signal.pause()
    """
    await register(place, *PYTHON, code, mark)
    working = asyncio.create_task(place.server().perform(run()))
    await until_there(ready)
    assert len(marked(mark)) >= 4
    working.cancel()
    began_s = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert not marked(mark), "perform returned before everything was gone"
    assert time.monotonic() - began_s < 10  # 2 s on a machine that has time


async def test_what_a_command_leaves_behind_goes_with_it(place: Ground) -> None:
    mark = uuid.uuid4().hex
    await register(place, "/bin/sh", "-c", f"M={mark} setsid sleep 1000 & M={mark} sleep 1000 & echo left")
    answer = await place.server().perform(run())
    assert answer.value == {"exit_code": 0, "stdout": "left\n", "stderr": ""}
    assert not marked(mark)


async def test_a_fork_bomb_is_bounded_and_killed(place: Ground) -> None:
    mark = uuid.uuid4().hex
    code = "import os\nwhile True:\n    os.fork()"
    await register(place, *PYTHON, code, mark)
    answer = await place.server().perform(run())
    assert told(answer) == ("in_doubt", "FAILED")
    assert answer.error is not None
    assert "more than its 32 processes" in answer.error.message
    assert not marked(mark)


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        (
            "import os, time\nfor _ in range(4): os.fork()\nx = bytearray(60_000_000)\nwhile True: time.sleep(1)",
            "memory",
        ),
        ("while True: pass", "computing time"),
    ],
)
async def test_limits_count_for_all_of_it_together(place: Ground, code: str, limit: str) -> None:
    mark = uuid.uuid4().hex
    await register(place, *PYTHON, code, mark, cpu_s_max=1)
    answer = await place.server().perform(run())
    assert told(answer) == ("in_doubt", "FAILED")
    assert answer.error is not None
    assert limit in answer.error.message
    assert not marked(mark)


async def test_one_process_can_not_have_more_memory_than_its_limit(place: Ground) -> None:
    await register(place, *PYTHON, "bytearray(600_000_000)")
    answer = await place.server().perform(run())
    assert answer.value["exit_code"] == 1
    assert "MemoryError" in answer.value["stderr"]


async def test_a_killed_launcher_takes_the_command_with_it(place: Ground) -> None:
    mark = uuid.uuid4().hex
    code = "import os, signal\nif os.fork(): os.kill(os.getppid(), signal.SIGKILL)\nwhile True: signal.pause()"
    await register(place, *PYTHON, code, mark)
    answer = await place.server().perform(run())
    assert told(answer) == ("in_doubt", "FAILED")
    until_gone(mark)


async def test_so_many_at_once(place: Ground, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    await register(place, "/bin/sh", "-c", f"touch {tmp_path}/ready; M={mark} exec sleep 1000")
    server = place.server(jobs_max=1)
    first = asyncio.create_task(server.perform(run()))
    await until_there(tmp_path / "ready")
    assert told(await server.perform(run(timeout_s=0.3))) == ("error", "TIMEOUT")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not marked(mark)


EXECUTOR = """if True:
    import asyncio, sys
    from services.executor.server.job import Process
    limits = {"memory_bytes": 2**28, "cpu_s": 30, "processes": 32, "file_bytes": 2**20, "scratch": sys.argv[1],
              "folder": sys.argv[1], "user": None}
    command = ["/bin/sh", "-c", sys.argv[2]]
    asyncio.run(Process(limits, command, {"PATH": "/usr/bin:/bin"}, 1000).run(b"", 1000.0))
"""


async def test_nothing_outlives_a_killed_executor(tmp_path: Path) -> None:
    mark, scratch = uuid.uuid4().hex, tmp_path / "scratch"
    scratch.mkdir()
    script = f"trap '' TERM; M={mark} setsid sleep 1000 & M={mark} sleep 1000 & touch {tmp_path}/ready; wait"
    executor = await asyncio.create_subprocess_exec(sys.executable, "-c", EXECUTOR, str(scratch), script)
    await until_there(tmp_path / "ready")
    executor.send_signal(signal.SIGKILL)
    await executor.wait()
    assert until_gone(mark) < 10  # 2 s on a machine that has time
    async with asyncio.timeout(DEADLINE_S):
        while scratch.exists():  # noqa: ASYNC110 - the launcher removes it
            await asyncio.sleep(0.01)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as somebody else")
async def test_commands_run_as_another_user(place: Ground) -> None:
    await register(place, "/bin/sh", "-c", "id -un; touch $TMPDIR/x && echo wrote; cat /proc/$PPID/environ")
    jobs = module.Jobs(place.mongo, None, user="nobody")  # type: ignore[arg-type]
    value, _ = await jobs.run(run())
    assert value["stdout"] == "nobody\nwrote\n"
    assert "denied" in value["stderr"]


def test_a_user_that_is_not_there_is_said_at_the_start(place: Ground) -> None:
    with pytest.raises(ValueError, match="REGENTE_JOB_USER"):
        module.Jobs(place.mongo, None, user="no-such-user")  # type: ignore[arg-type]
