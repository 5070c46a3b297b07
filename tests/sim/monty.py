"""Real scripts in the real interpreter, in virtual time: the same programs as Python, run by Monty's subprocesses.

Called by: test_monty.py. The interpreter lives in a loop and a thread of its own, for the length of a test; a
simulation hands it one step at a time and waits for it without letting virtual time pass. So what a script does takes
no time at all and comes in the same order whenever the seed is run: to the simulation it is one function call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from services.executor.interpreter import Interpreter, Session, SnapshotUnreadable
from tests.sim.scene import Scene, draw_scene
from tests.sim.script import Operation, Program

if TYPE_CHECKING:
    from tests.sim.world import World

T = TypeVar("T")
STEP_S_MAX = 120.0
PROCESSES_MAX = 64
"""An executor that dies in a simulation leaves its interpreters to the end of the seed."""
HEAD = """import time
import datetime
import regente
from robot import browser
from regente import http, job, log, secrets
"""


class Side:
    """The loop and the thread beside the simulation, with one pool of interpreters."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.pool = Interpreter(processes_max=PROCESSES_MAX)
        self.wait(self.pool.__aenter__())

    def wait(self, step: Coroutine[Any, Any, T]) -> T:
        """The result of a step over there."""
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(STEP_S_MAX)

    def close(self) -> None:
        """End the subprocesses and the thread."""
        self.wait(self.pool.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Beside:
    """As Interpreter and Session: whatever is called is done over there."""

    def __init__(self, side: Side, of: Any, unreadable: Callable[[], bool]) -> None:
        self._side = side
        self._of = of
        self._unreadable = unreadable

    async def __aenter__(self) -> Beside:
        if isinstance(self._of, Session):
            self._side.wait(self._of.__aenter__())
        return self

    async def __aexit__(self, *_: object) -> None:
        if isinstance(self._of, Session):
            self._side.wait(self._of.__aexit__(None, None, None))

    def session(self, *, script: str, source: str, objects: Iterable[str], seed: int, **more: Any) -> Beside:
        """As Interpreter.session."""
        opened = self._of.session(script=script, source=source, objects=objects, seed=seed, **more)
        return Beside(self._side, opened, self._unreadable)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def step(*args: Any) -> Any:
            if name == "load_stop" and self._unreadable():
                raise SnapshotUnreadable("as drawn")
            return self._side.wait(found(*args))

        return step


@contextmanager
def side() -> Iterator[Callable[[World], Any]]:
    """What `simulate` takes as its interpreter, as long as the block lasts."""
    beside = Side()

    def interpreter(world: World) -> Callable[..., Any]:
        def unreadable() -> bool:
            return world.draw.random() < world.faults.unreadable

        return lambda **_: Beside(beside, beside.pool, unreadable)

    try:
        yield interpreter
    finally:
        beside.close()


def written_out(seed: int) -> Scene:
    """The scene of a seed, with its programs as scripts."""
    scene = draw_scene(seed)
    written = {one.name: replace(one, source=source_of(one.program)) for one in scene.workflows}
    tasks = [replace(task, workflow=written[task.workflow.name]) for task in scene.tasks]
    return replace(scene, workflows=list(written.values()), tasks=tasks)


# programs as Python


def source_of(program: Program) -> str:
    """A program as the script that does the same."""
    text = HEAD + "left = []\n"
    for function, argument in (("setup", "group"), ("execute", "task"), ("keepalive", "group"), ("teardown", "group")):
        if function in program:
            text += f"\ndef {function}({argument}):\n"
            text += "    got = left\n" if function == "setup" else "    got = []\n"
            text += "".join(f"    {line}\n" for line in _lines(program[function]))
            if function == "execute":
                text += "    return {'id': task.get('id'), 'setup': left, 'got': got}\n"
    return text


def _lines(code: list[Operation]) -> list[str]:
    """A function's operations as lines of Python."""
    lines: list[str] = []
    loops = {n - one[1]: (n, one[2]) for n, one in enumerate(code) if one[0] == "loop"}
    n = 0
    while n < len(code):
        name, *args = code[n]
        if n in loops:
            end, times = loops.pop(n)
            lines += [f"for _ in range({times}):", *_indented(_lines(code[n:end]))]
            n = end
        elif name == "try":
            caught = ["except Exception as error:", "    got.append('!' + type(error).__name__)"]
            lines += ["try:", *_indented(_lines(code[n + 1 : args[0]])), *caught]
            n = args[0]
        elif name in ("unless", "fate"):
            head = f"if task.get('fate') == {args[0]!r}:"
            if name == "unless":
                head = f"if [n % 2 for n in got if type(n) is int][-1:] == [{args[0]}]:"
            lines += [head, *_indented(_lines(code[n + 1 : n + 1 + args[1]]))]
            n += args[1]
        else:
            lines += _line(name, args)
        n += 1
    return lines


def _line(name: str, args: list[Any]) -> list[str]:
    if name == "raises":
        kind, _, text = args[0].partition(": ")
        return [f"raise {kind}({text!r})"]
    if name == "no_dict":
        return ["return 'no dict'"]
    assert name == "call", name
    function, given, named = args
    called = {"datetime.now": "datetime.datetime.now", "time.sleep": "time.sleep"}.get(function)
    called = called or function.removeprefix("robot.")
    text = ", ".join([*(repr(one) for one in given), *(f"{key}={one!r}" for key, one in named.items())])
    return [f"got.append(str({called}({text})))" if function == "datetime.now" else f"got.append({called}({text}))"]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines or ["pass"]]
