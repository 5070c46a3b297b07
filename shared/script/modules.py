"""The modules that a script can import: `robot` (from the catalogue) and `regente`, as Monty wants them.

Called by: shared.script.check (type check), services/executor (runs scripts). Survives a crash: nothing lives here. A
host call arrives under its full name (`robot.browser.click`, `regente.http.request`); the functions given here are
never called. Objects and secrets are handles, plain dicts in the script, opaque classes to the type checker, so a
script can pass them on but has nothing to read in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_monty import ExternalModule

from shared.contracts.catalogue import MODULES, SERVER_MODULES, catalogue, stub_source, typed_stub

OBJECT = "$object"
SECRET = "$secret"
TOTP = "$totp"
HANDLES = frozenset({OBJECT, SECRET, TOTP})
"""A dict with one of these as its only key stands for something else; nothing from outside may look like one."""
LOG_LEVELS = ("debug", "info", "warning", "error")
ROBOT_PREFIX = "robot."
SERVER_PREFIX = "regente."

_LOG_STUB = "".join(
    f"def {level}(message: str, **fields: str | int | float | bool) -> None: ...\n" for level in LOG_LEVELS
)
_SECRETS_STUB = (
    "from regente import Secret\n"
    "def get(name: str) -> Secret:\n"
    '    """A handle to a stored document of the account; its value only ever reaches who is to use it."""\n'
    "def totp(name: str) -> Secret:\n"
    '    """A handle to a one-time code; it becomes the code of the moment when it is sent."""\n'
)


def object_handle(name: str) -> dict[str, str]:
    """What `objects.<name>` is inside a script."""
    return {OBJECT: name}


def secret_handle(name: str) -> dict[str, str]:
    """What `secrets.get(name)` gives inside a script."""
    return {SECRET: name}


def totp_handle(name: str) -> dict[str, str]:
    """What `secrets.totp(name)` gives inside a script."""
    return {TOTP: name}


def script_modules(objects: Iterable[str], *, worker: bool = True) -> dict[str, ExternalModule]:
    """`robot` and `regente` for a workflow with these object names.

    worker: whether the scenario has a robot; without one there is no module `robot`.
    """
    robot = {module: ExternalModule(_functions(module), stubs=typed_stub(module)) for module in MODULES}
    server = {module: ExternalModule(_functions(module), stubs=typed_stub(module)) for module in SERVER_MODULES}
    return {
        **({"robot": ExternalModule(robot, stubs="")} if worker else {}),
        "regente": ExternalModule(
            {
                "log": ExternalModule(dict.fromkeys(LOG_LEVELS, _never), stubs=_LOG_STUB),
                "objects": _objects(list(objects)),
                "secrets": ExternalModule({"get": _never, "totp": _never}, stubs=_SECRETS_STUB),
                "business_error": _never,
                "login_rejected": _never,
                "wait": _never,
                "decide": _never,
                **server,
            },
            stubs=stub_source("regente"),
        ),
    }


def _functions(module: str) -> dict[str, Any]:
    prefix = f"{module}."
    return {name.removeprefix(prefix): _never for name in catalogue() if name.startswith(prefix)}


def _objects(names: list[str]) -> ExternalModule:
    stub = "from regente import Object\n" + "".join(f"{name}: Object\n" for name in names)
    return ExternalModule({name: object_handle(name) for name in names}, stubs=stub)


def _never(*args: object, **kwargs: object) -> None:
    raise AssertionError("host calls are answered by the executor, one by one")
