"""What this robot can do: the drivers' methods, by name, with their arguments and effects.

Called by: engine (checks an instruction before anything happens), tests. Survives a crash: nothing lives here.
Change also: the server's instruction stubs; a test holds both together.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any, Callable, Dict, Mapping, Optional

from regente_agent import wire
from regente_agent.drivers.browser import Browser
from regente_agent.drivers.files import Files
from regente_agent.drivers.process import Process
from regente_agent.drivers.screen import Screen

DRIVERS: Dict[str, type] = {"browser": Browser, "screen": Screen, "files": Files, "process": Process}
TEXT_MAX = 2_000_000
SELECTOR_MAX = 2_000


@lru_cache(maxsize=1)
def instructions() -> Dict[str, Callable[..., Any]]:
    """All instructions: name -> the driver's method, unbound, with its `effect`."""
    found: Dict[str, Callable[..., Any]] = {}
    for driver, cls in DRIVERS.items():
        for name, method in vars(cls).items():
            if hasattr(method, "effect"):
                found[f"{driver}.{name}"] = method
    return found


def effect_of(name: str) -> Optional[str]:
    """`read` or `act`; None for a name that is no instruction."""
    method = instructions().get(name)
    return str(method.effect) if method is not None else None  # type: ignore[attr-defined]


def complaint(name: str, args: Mapping[str, Any], effect: str) -> Optional[str]:
    """What is wrong with an instruction, in words that hold no argument's value; None when it can be tried."""
    method = instructions().get(name)
    if method is None:
        return f"this robot has no instruction {name}"
    if effect != effect_of(name):
        return f"{name} is of effect {effect_of(name)}, not {effect}"
    parameters = dict(list(inspect.signature(method).parameters.items())[1:])
    for given in args:
        if given not in parameters:
            return f"{name} has no argument {given[:80]!r}"
    for known, parameter in parameters.items():
        if known not in args:
            if parameter.default is inspect.Parameter.empty:
                return f"{name} needs {known}"
        elif not _fits(str(parameter.annotation).strip('"'), args[known]):
            return f"{name}: {known} is not of the form {parameter.annotation}"
    return None


def _fits(annotation: str, value: Any) -> bool:
    if annotation.startswith("Optional["):
        return value is None or _fits(annotation[len("Optional[") : -1], value)
    return _FORMS[annotation](value)


def _is_target(value: Any) -> bool:
    selectors = value.get("selectors") if isinstance(value, dict) else None
    return (
        isinstance(selectors, list)
        and len(selectors) > 0
        and all(_is_text(s) and len(s) <= SELECTOR_MAX for s in selectors)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_MAX


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= wire.TIMEOUT_S_MAX


_FORMS: Dict[str, Callable[[Any], bool]] = {
    "str": _is_text,
    "bool": lambda value: isinstance(value, bool),
    "float": _is_seconds,
    "List[str]": lambda value: isinstance(value, list) and all(_is_text(inner) for inner in value),
    "Target": _is_target,
    "Certificate": lambda value: wire.certificate_of(value) is not None,
}
