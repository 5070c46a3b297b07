"""Scripts as data: a small program drawn from the seed, and the machine that runs it one host call at a time. Pure.

Called by: interpreter.py (runs it), scene.py (draws it), monty.py (the same program as a real script). A program is
three lists of operations; its text is JSON, so it stands in a version's files as a script does. The machine's state is
plain data, so a stop can be dumped and loaded.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Operation = list[Any]
Program = dict[str, list[Operation]]
OBJECT = {"$object": "go"}
ACTS: tuple[tuple[str, list[Any], dict[str, Any]], ...] = (
    ("robot.browser.fill", [OBJECT, "text"], {}),
    ("robot.browser.click", [OBJECT], {}),
    ("robot.browser.fill", [OBJECT, {"$secret": "portal/a"}], {}),
    ("robot.browser.open", ["https://portal.test/"], {}),
)
COMMIT: tuple[str, list[Any], dict[str, Any]] = ("robot.browser.click", [OBJECT], {"commit": True})
READS: tuple[tuple[str, list[Any], dict[str, Any]], ...] = (
    ("robot.browser.text", [OBJECT], {}),
    ("robot.browser.url", [], {}),
    ("robot.browser.exists", [OBJECT], {"timeout": 3}),
)
SERVED: tuple[tuple[str, list[Any], dict[str, Any]], ...] = (
    ("regente.http.request", ["POST", "https://portal.test/"], {"json": {"n": 1}}),
    ("regente.http.request", ["GET", "https://portal.test/"], {}),
    ("regente.http.request", ["POST", "https://portal.test/pay"], {"commit": True}),
    ("regente.job.run", ["report", ["x"]], {}),
)
OPTIONS = ["yes", "no"]
NONSENSE: tuple[tuple[str, list[Any], dict[str, Any]], ...] = (
    ("robot.browser.fly", [], {}),
    ("robot.browser.click", [], {}),
    ("regente.nothing", ["x"], {}),
)
FATES = ("ok", "ok", "ok", "ok", "ok", "ok", "business", "raises", "login", "no_dict")
"""What an input may make of its task."""


@dataclass
class Asks:
    """The program calls something of the host."""

    function: str
    args: list[Any]
    kwargs: dict[str, Any]


@dataclass
class Ends:
    """The program returned, or an exception that nobody caught ended it."""

    value: Any = None
    error: str | None = None


class Machine:
    """One function of a program at work. Its state is `state`, all of it."""

    def __init__(self, program: Program, state: dict[str, Any]) -> None:
        self.state = state
        self._program = program

    @classmethod
    def begin(cls, program: Program, function: str, given: Mapping[str, Any], before: dict[str, Any]) -> Machine:
        """At the first line of a function. before: what setup left."""
        state = {"function": function, "pc": 0, "try": [], "loops": {}, "got": [], "given": given, "before": before}
        return cls(program, state)

    @property
    def line(self) -> int:
        """Number of the operation at hand, from 1."""
        return int(self.state["pc"]) + 1

    def run(self) -> Asks | Ends:
        """On to the next host call or the end."""
        state = self.state
        code = self._program.get(state["function"]) or []
        while state["pc"] < len(code):
            name, *args = code[state["pc"]]
            if name == "call":
                return Asks(args[0], args[1], args[2])
            ended = getattr(self, f"_{name}")(*args)
            if ended is not None:
                return ended
            state["pc"] += 1
        return Ends(self._result())

    def answer(self, value: Any) -> Asks | Ends:
        """Go on after a host call."""
        self.state["got"].append(value)
        self.state["pc"] += 1
        return self.run()

    def throw(self, error: str) -> Asks | Ends:
        """Go on with an exception at the host call."""
        return self._raise(error) or self._next()

    def _next(self) -> Asks | Ends:
        self.state["pc"] += 1
        return self.run()

    def _result(self) -> Any:
        state = self.state
        if state["function"] == "execute":
            return {"id": state["given"].get("id"), "setup": state["before"].get("got", []), "got": state["got"]}
        return None

    def _raise(self, error: str) -> Ends | None:
        handlers = self.state["try"]
        if not handlers:
            return Ends(error=error)
        self.state["pc"] = handlers.pop()
        self.state["got"].append(f"!{error.split(':')[0]}")
        return None

    # operations; each may end the program

    def _try(self, handler: int) -> Ends | None:
        """Until end_try an exception goes on behind operation number `handler`."""
        self.state["try"].append(handler)
        return None

    def _end_try(self) -> Ends | None:
        self.state["try"].pop()
        return None

    def _loop(self, back: int, times: int) -> Ends | None:
        """Back by `back` operations, `times` times in all."""
        loops, key = self.state["loops"], str(self.state["pc"])
        loops[key] = loops.get(key, 0) + 1
        if loops[key] < times:
            self.state["pc"] -= back + 1
        else:
            loops.pop(key)
        return None

    def _unless(self, parity: int, skip: int) -> Ends | None:
        """Leave out `skip` operations unless the last number that was got is of this parity."""
        numbers = [one for one in self.state["got"] if isinstance(one, int)]
        if not numbers or numbers[-1] % 2 != parity:
            self.state["pc"] += skip
        return None

    def _fate(self, fate: str, skip: int) -> Ends | None:
        """Leave out `skip` operations unless the input says so."""
        if self.state["given"].get("fate") != fate:
            self.state["pc"] += skip
        return None

    def _raises(self, text: str) -> Ends | None:
        return self._raise(text)

    def _no_dict(self) -> Ends | None:
        return Ends("no dict")


@lru_cache(maxsize=256)
def parsed(source: str) -> Program:
    """A program's text as the program."""
    return json.loads(source)


def source_of(program: Program) -> str:
    """A program as text."""
    return json.dumps(program)


# drawing


def draw_program(draw: random.Random, *, robot: bool = True) -> Program:
    """A program: setup and teardown are short, execute may do anything. robot: whether it has one."""
    if not robot:
        calls = [["call", *draw.choice(SERVED)] for _ in range(draw.randrange(1, 4))]
        more = [_wait(draw)] if draw.random() < 0.5 else []
        return {"setup": [], "execute": [*calls, *_ends(), *more], "teardown": []}
    return {
        "keepalive": [["call", *draw.choice(READS)]],
        "setup": _calls(draw, draw.randrange(3)),
        "execute": _execute(draw),
        "teardown": _calls(draw, draw.randrange(2)),
    }


def _execute(draw: random.Random) -> list[Operation]:
    code: list[Operation] = []
    for _ in range(draw.randrange(1, 4)):
        part = _calls(draw, draw.randrange(1, 4), commits=draw.random() < 0.4)
        shape = draw.random()
        if shape < 0.25:  # in a try; the handler is what follows
            code.append(["try", len(code) + len(part) + 1])
            code += [*part, ["end_try"]]
        elif shape < 0.4:
            code += [*part, ["loop", len(part), draw.randrange(2, 4)]]
        elif shape < 0.5:
            code += [["unless", draw.randrange(2), len(part)], *part]
        else:
            code += part
    at = draw.randrange(len(code) + 1) if not any(one[0] in ("try", "loop", "unless") for one in code) else len(code)
    return [*code[:at], *_ends(), *code[at:]]


def _ends() -> list[Operation]:
    """What the input's fate says."""
    return [
        ["fate", "business", 1], ["call", "regente.business_error", ["the input is wrong"], {}],
        ["fate", "raises", 1], ["raises", "ValueError: as drawn"],
        ["fate", "login", 1], ["call", "regente.login_rejected", ["no entry"], {}],
        ["fate", "no_dict", 1], ["no_dict"],
    ]  # fmt: skip


def _calls(draw: random.Random, count: int, *, commits: bool | None = None) -> list[Operation]:
    return [_call(draw, commits=commits) for _ in range(count)]


def _call(draw: random.Random, *, commits: bool | None) -> Operation:
    """commits: whether it may be a commit; none: nor nonsense, as in setup and teardown."""
    drawn = draw.random()
    if commits and drawn < 0.2:
        return ["call", *COMMIT]
    if drawn < 0.55:
        return ["call", *draw.choice(ACTS)]
    if drawn < 0.85:
        return ["call", *draw.choice(READS)]
    if drawn < 0.86 and commits is not None:
        return ["call", *draw.choice(NONSENSE)]
    if drawn < 0.90 and commits is not None:
        return ["call", *draw.choice(SERVED[: None if commits else 2])]
    if drawn < 0.97 and commits is not None:
        return draw.choice((_wait(draw), _decide(draw)))
    others: tuple[Operation, ...] = (
        ["call", "regente.log.info", ["a line"], {"n": 1}], ["call", "datetime.now", [], {}],
        ["call", "time.sleep", [round(draw.random(), 2)], {}], ["call", "regente.secrets.get", ["portal/a"], {}],
    )  # fmt: skip
    return draw.choice(others)


def _wait(draw: random.Random) -> Operation:
    """A wait: too short to be noted, sat out, or long enough to park the run (see processes.py)."""
    return ["call", "regente.wait", [draw.choice((0.5, 1.5, 4.0, 6.0))], {"release": draw.random() < 0.4}]


def _decide(draw: random.Random) -> Operation:
    more: dict[str, Any] = {"options": OPTIONS} if draw.random() < 0.7 else {}
    if draw.random() < 0.5:
        more["timeout"] = draw.choice((1.0, 5.0))
        more |= {"default": "no"} if draw.random() < 0.5 else {}
    if draw.random() < 0.4:
        more["release"] = True
    return ["call", "regente.decide", ["shall it go on?"], more]
