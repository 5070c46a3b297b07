"""What a script's host call asks for: a robot's instruction, something of the server's, or nothing that exists.

Called by: services/executor/runner.py at every stop of the interpreter. Every call is checked against the catalogue
here, again at each resume: a dump carries the names it was made with, and would go on with a renamed instruction
without complaint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.contracts.catalogue import BadCall, Instruction, catalogue
from shared.script.modules import LOG_LEVELS, ROBOT_PREFIX

LOG_MESSAGE_CHARS_MAX = 2000
ERROR_MESSAGE_CHARS_MAX = 2000
CLOCK_CALLS = frozenset({"datetime.now", "date.today", "time.time"})


@dataclass(frozen=True)
class RobotCall:
    """An instruction for the robot, with its arguments by name (handles, not values)."""

    instruction: Instruction
    args: dict[str, Any]
    commit: bool
    timeout_s: float


@dataclass(frozen=True)
class LogCall:
    """A line for the log."""

    level: str
    message: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class SecretCall:
    """A handle to a document."""

    name: str


@dataclass(frozen=True)
class BusinessErrorCall:
    """The script ends the task: its input is wrong."""

    message: str


@dataclass(frozen=True)
class LoginRejectedCall:
    """The script says that the portal refused its log-in: every further try brings the user nearer to being locked."""

    message: str


@dataclass(frozen=True)
class ClockCall:
    """The script asks for the time."""

    function: str


@dataclass(frozen=True)
class SleepCall:
    """The script wants to wait."""

    seconds: float


Call = RobotCall | LogCall | SecretCall | BusinessErrorCall | LoginRejectedCall | ClockCall | SleepCall


def read_call(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_os: bool, instruction_s: float
) -> Call:
    """What a host call asks for. `instruction_s`: the workflow's own least time for an instruction, seconds.

    Raises: BadCall for a call that does not exist or has wrong arguments.
    """
    if is_os:
        return _os_call(name, args)
    if name.startswith(ROBOT_PREFIX):
        return _robot_call(name.removeprefix(ROBOT_PREFIX), args, kwargs, instruction_s)
    if name == "regente.secrets.get":
        return SecretCall(_text(name, args, kwargs, "name"))
    if name == "regente.business_error":
        return BusinessErrorCall(_text(name, args, kwargs, "message")[:ERROR_MESSAGE_CHARS_MAX])
    if name == "regente.login_rejected":
        return LoginRejectedCall(_text(name, args, kwargs, "message")[:ERROR_MESSAGE_CHARS_MAX])
    module, _, function = name.rpartition(".")
    if module == "regente.log" and function in LOG_LEVELS:
        message = _text(name, args, {k: v for k, v in kwargs.items() if k == "message"}, "message")
        fields = {k: _plain(v) for k, v in list(kwargs.items())[:20] if k != "message"}
        return LogCall(function, message[:LOG_MESSAGE_CHARS_MAX], fields)
    raise BadCall(f"there is no {name}")


def _robot_call(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], instruction_s: float) -> RobotCall:
    instruction = catalogue().get(name)
    if instruction is None:
        raise BadCall(f"there is no instruction {name}")
    bound = instruction.bind(args, kwargs)
    commit = bound.pop("commit", False)
    if not isinstance(commit, bool):
        raise BadCall(f"{name}: commit must be True or False")
    wait = bound.get("timeout")
    if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float) or wait < 0):
        raise BadCall(f"{name}: timeout must be a number of seconds")
    return RobotCall(instruction, bound, commit, instruction.deadline_s(bound, instruction_s))


def _os_call(name: str, args: tuple[Any, ...]) -> Call:
    if name in CLOCK_CALLS:
        return ClockCall(name)
    if name in ("time.sleep", "asyncio.sleep") and args and isinstance(args[0], int | float):
        return SleepCall(float(args[0]))
    raise BadCall(f"{name} is not allowed in a script")


def _text(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], parameter: str) -> str:
    values = [*args, *kwargs.values()]
    if len(values) != 1 or not isinstance(values[0], str) or any(key != parameter for key in kwargs):
        raise BadCall(f"{name} takes one text")
    return values[0]


def _plain(value: Any) -> Any:
    """A log field: numbers and short texts as they are, anything else as text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:500]
