"""The instruction catalogue, read from the `.pyi` stubs in `instructions/`.

Called by: shared.script (types for scripts), services/executor (effect, timeouts, check of every host call), tests
that hold the agent's drivers against it. Survives a crash: nothing lives here. Change also: CATALOGUE when an
instruction changes its meaning; the agent's drivers; `docs/instructions.md` (generated).

A stub is plain Python: a decorator `@act(timeout_s=60)` or `@read(timeout_s=30)` gives an instruction's effect and
the time that the robot (or the server) has for it. The decorators are taken out before a type checker sees the text.
The module says who performs it: those of MODULES a robot, those of SERVER_MODULES the executor itself."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

CATALOGUE = 1
"""Version of the catalogue's meaning; runs store it and an executor takes only runs of one that it knows."""

MODULES = ("browser", "screen", "files", "process")
"""What a robot does: `from robot import ...`."""
SERVER_MODULES = ("http", "job", "mail")
"""What the server does between two instructions of a robot: `from regente import ...`."""
Place = Literal["robot", "server"]
ELEMENT_WAIT_GRACE_S = 10.0
"""What a robot gets on top of the `timeout` argument before it gives the instruction up."""
TIMEOUT_S_MAX = 3600.0


class BadCall(Exception):
    """A host call that the catalogue does not allow; the text says what is wrong with it."""


@dataclass(frozen=True)
class Parameter:
    """One argument of an instruction."""

    name: str
    annotation: str
    required: bool
    keyword_only: bool


@dataclass(frozen=True)
class Instruction:
    """One instruction of the catalogue."""

    name: str
    """Module and function, such as browser.click."""
    effect: Literal["read", "act"]
    timeout_s: float
    parameters: tuple[Parameter, ...]
    title: str
    """First line of its docstring."""
    place: Place = "robot"
    """Who performs it."""

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name.

        Raises: BadCall for unknown, doubled or missing ones.
        """
        positional = [parameter.name for parameter in self.parameters if not parameter.keyword_only]
        if len(args) > len(positional):
            raise BadCall(f"{self.name} takes {len(positional)} positional arguments, not {len(args)}")
        bound = dict(zip(positional, args, strict=False))
        known = {parameter.name for parameter in self.parameters}
        for key, value in kwargs.items():
            if key not in known:
                raise BadCall(f"{self.name} has no argument {key!r}")
            if key in bound:
                raise BadCall(f"{self.name} got {key!r} twice")
            bound[key] = value
        missing = [p.name for p in self.parameters if p.required and p.name not in bound]
        if missing:
            raise BadCall(f"{self.name} needs {', '.join(missing)}")
        return bound

    def deadline_s(self, args: Mapping[str, Any], default_s: float | None = None) -> float:
        """How long a call with these arguments may be worked on before it is given up.

        `default_s`: the workflow's own time for instructions, if it sets one; it only ever lengthens the catalogue's.
        `timeout` is how long a robot waits for its element, so it gets more; on the server it is the whole time.
        """
        base = max(self.timeout_s, default_s or 0.0)
        wait = args.get("timeout")
        if self.place == "server":
            return min(base if wait is None else float(wait), TIMEOUT_S_MAX)
        if isinstance(wait, (int, float)) and not isinstance(wait, bool):
            base = max(base, float(wait) + ELEMENT_WAIT_GRACE_S)
        return min(base, TIMEOUT_S_MAX)


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Instruction]:
    """All instructions by name."""
    found: dict[str, Instruction] = {}
    for module in (*MODULES, *SERVER_MODULES):
        for node in ast.parse(stub_source(module)).body:
            if isinstance(node, ast.FunctionDef):
                instruction = _instruction(module, node)
                found[instruction.name] = instruction
    return found


def stub_source(module: str) -> str:
    """The stub's text as it lies in the package."""
    return (resources.files("shared.contracts.instructions") / f"{module}.pyi").read_text(encoding="utf-8")


@lru_cache(maxsize=16)
def typed_stub(module: str) -> str:
    """The stub's text as a type checker wants it: without our decorators."""
    tree = ast.parse(stub_source(module))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
    return ast.unparse(tree) + "\n"


def _instruction(module: str, node: ast.FunctionDef) -> Instruction:
    """Read one function of a stub. A stub without an effect is a defect of this package, so it fails at import."""
    decorator = next(d for d in node.decorator_list if isinstance(d, ast.Call) and isinstance(d.func, ast.Name))
    assert isinstance(decorator.func, ast.Name)
    effect = decorator.func.id
    if effect not in ("read", "act"):
        raise ValueError(f"{module}.{node.name}: effect must be read or act, not {effect}")
    timeout = next(k.value for k in decorator.keywords if k.arg == "timeout_s")
    return Instruction(
        name=f"{module}.{node.name}",
        effect="read" if effect == "read" else "act",
        timeout_s=float(ast.literal_eval(timeout)),
        parameters=tuple(_parameters(node.args)),
        title=(ast.get_docstring(node) or "").split("\n")[0],
        place="server" if module in SERVER_MODULES else "robot",
    )


def _parameters(arguments: ast.arguments) -> list[Parameter]:
    """The parameters of a stub's function, in order."""
    positional = arguments.posonlyargs + arguments.args
    required = len(positional) - len(arguments.defaults)
    found = [
        Parameter(a.arg, ast.unparse(a.annotation) if a.annotation else "", i < required, False)
        for i, a in enumerate(positional)
    ]
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        annotation = ast.unparse(argument.annotation) if argument.annotation else ""
        found.append(Parameter(argument.arg, annotation, default is None, True))
    return found
